"""One range for a whole set: grey levels survive, and single pixels or pictures cannot spoil it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers import draw, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import value_range as module
from pipeline.data.images import read_picture
from pipeline.data.value_range import ENOUGH, MOST_SAMPLED, SampledRange, extremes, sampled_range, value_range_of
from pipeline.errors import DataError

Values = np.ndarray[Any, Any]


def surface(seed: int, low: int = 400, high: int = 900, side: int = 60) -> Values:
    """An evenly lit part: 12-bit values of one surface, with a camera's noise."""
    rng = np.random.default_rng(seed)
    return rng.integers(low, high + 1, (side, side)).astype(np.uint16)


def written(folder: Path, pictures: list[Values], suffix: str = ".png") -> list[Path]:
    paths = [folder / f"{number:04}{suffix}" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        assert cv2.imwrite(str(path), picture)
    return paths


def test_grey_levels_survive(tmp_path: Path) -> None:
    paths = written(tmp_path, [surface(number) for number in range(5)])
    black, white = value_range_of(paths)
    assert 395 <= black <= 410
    assert 890 <= white <= 905
    picture = read_picture(paths[0], (black, white))
    assert len(np.unique(picture)) > 250  # of the 501 values; without a range there were 3
    assert len(np.unique(cv2.imread(str(paths[0])))) == 3


def test_hot_and_dead_pixels_do_not_count(tmp_path: Path) -> None:
    pictures = [surface(number) for number in range(5)]
    clean = value_range_of(written(tmp_path, pictures))
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng(number)
        for value in (65_535, 0):
            rows, columns = rng.integers(0, 20, (2, 12)) * 3  # single ones, up to the edge
            picture[rows, columns] = value
        picture[-1, -1] = 65_535
    spoilt = value_range_of(written(tmp_path, pictures))
    assert np.abs(np.subtract(spoilt, clean)).max() < 10


@pytest.mark.parametrize("shape", [(2, 2), (1, 6), (5, 1), (20, 20)])
def test_a_small_bright_defect_keeps_its_distance_from_the_surface(tmp_path: Path, shape: tuple[int, int]) -> None:
    pictures = [surface(number, 990, 1010, side=200) for number in range(10)]
    for picture in pictures[::3]:
        picture[50 : 50 + shape[0], 60 : 60 + shape[1]] = 3000
    paths = written(tmp_path, pictures)
    picture = read_picture(paths[0], value_range_of(paths))
    assert picture[50, 60].min() >= 250
    assert picture[:40].max() < 20


def test_one_broken_picture_among_many_does_not_count(tmp_path: Path) -> None:
    pictures = [surface(number) for number in range(ENOUGH)]
    pictures[7][:] = 65_535
    pictures[3][:] = 0
    black, white = value_range_of(written(tmp_path, pictures))
    assert (black, white) == pytest.approx((400, 900), abs=5)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("value", [0, 7, 4000])
def test_a_set_of_one_value_has_a_range(tmp_path: Path, dtype: str, value: int) -> None:
    paths = written(tmp_path, [np.full((9, 9), value, dtype)] * 3, ".tif")
    black, white = value_range_of(paths)
    assert black == value < white
    assert read_picture(paths[0], (black, white)).max() == 0


def test_what_is_no_number_does_not_count(tmp_path: Path) -> None:
    picture = np.linspace(-1, 3, 2500, dtype=np.float32).reshape(50, 50)
    picture[:10] = np.nan
    picture[20, 5:9] = np.inf
    picture[30, 5:9] = -np.inf
    nothing = np.full((50, 50), np.nan, np.float32)
    black, white = value_range_of(written(tmp_path, [picture, nothing], ".tif"))
    assert (black, white) == pytest.approx((-0.2, 3), abs=0.01)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_type_has_a_range(tmp_path: Path, dtype: str, channels: int) -> None:
    low = 10 if dtype.startswith("u") else -300
    values = np.random.default_rng(0).integers(low, 2001, (40, 40, channels)).squeeze().astype(dtype)
    black, white = value_range_of(written(tmp_path, [values], ".tif"))
    assert low <= black < low + 40
    assert 1960 < white <= 2000


def test_pictures_of_8_bits_and_damaged_ones_do_not_count(tmp_path: Path) -> None:
    deep = written(tmp_path, [surface(1)])
    torn = tmp_path / "torn.png"
    torn.write_bytes(deep[0].read_bytes()[:300])
    shallow = draw(tmp_path / "shallow.png")
    before = snapshot(tmp_path)
    assert value_range_of([shallow, torn, *deep, tmp_path / "gone.png"]) == value_range_of(deep)
    for paths in ([shallow, torn], []):
        with pytest.raises(DataError, match=f"none of {len(paths)} pictures has more than 8 bits"):
            value_range_of(paths)
    assert snapshot(tmp_path) == before


def test_pictures_that_should_count_and_cannot_are_told_with_the_reason(tmp_path: Path) -> None:
    (deep,) = written(tmp_path, [surface(1)])
    torn = tmp_path / "torn.png"
    torn.write_bytes(deep.read_bytes()[:300])
    nothing = tmp_path / "nothing.tif"
    cv2.imwrite(str(nothing), np.full((9, 9), np.nan, np.float32))
    found = sampled_range([torn, deep, nothing])
    assert found.value_range == value_range_of([deep])
    assert (found.whole, found.fractions) == (deep, None)
    assert [path for path, _ in found.unusable] == [torn, nothing]
    assert found.unusable[0][1].startswith("not a picture that can be decoded")
    assert str(torn) not in found.unusable[0][1]
    assert "finite number" in found.unusable[1][1]
    with pytest.raises(DataError, match=r"torn\.png"):
        value_range_of([torn])


def test_whole_numbers_and_fractions_have_no_range_in_common(tmp_path: Path) -> None:
    (one,) = written(tmp_path, [surface(1)])
    (other,) = written(tmp_path, [np.random.default_rng(0).random((9, 9)).astype(np.float32)], ".tif")
    with pytest.raises(DataError, match=rf"whole numbers \({one}\) and others fractions \({other}\)"):
        value_range_of([one, other])
    assert sampled_range([other, one]) == SampledRange(None, (), one, other)


def test_a_large_set_is_sampled_evenly_and_always_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(module, "_extremes_of", lambda path: (seen.append(path), (1.0, 2.0, True))[1])
    paths = [tmp_path / f"{number:05}.png" for number in range(10_000)]
    assert value_range_of(paths) == (1, 2)
    numbers = sorted(int(path.stem) for path in seen)
    assert len(numbers) == MOST_SAMPLED
    assert (numbers[0], numbers[-1]) == (0, 9999)
    assert set(np.diff(numbers)) <= {50, 51}


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(["uint16", "float32", "int32"]), st.integers(0, 2**31))
def test_extremes_lie_within_the_values_of_pictures_of_every_size(h: int, w: int, dtype: str, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 60_000, (h, w)).astype(dtype)
    low, high = extremes(picture)
    assert picture.min() <= low <= picture.max()
    assert picture.min() <= high <= picture.max()
    # The largest value that two neighbours reach, found by looking at each pair.
    pairs = [
        min(picture[y, x], picture[v, u])
        for y in range(h)
        for x in range(w)
        for v in range(max(y - 1, 0), min(y + 2, h))
        for u in range(max(x - 1, 0), min(x + 2, w))
        if (v, u) != (y, x)
    ]
    assert not pairs or high == max(pairs)
