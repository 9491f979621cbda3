"""The correlation of thumbnails that are a little off."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data.alignment import aligned_correlation


def _lines(seed: int) -> NDArray[np.uint8]:
    """Return 320 x 320 pixels of dark lines on white, the hard case for a plain correlation."""
    rng = np.random.default_rng(seed)
    picture = np.full((320, 320), 235, np.uint8)
    for _ in range(25):
        a, b = (tuple(int(v) for v in rng.integers(0, 320, 2)) for _ in range(2))
        cv2.line(picture, a, b, int(rng.integers(0, 120)), int(rng.integers(8, 24)), cv2.LINE_AA)
    return picture


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA), np.uint8)[None]


def _plain(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(0.97, 1.03), st.floats(-6, 6), st.floats(-6, 6))
def test_small_movements_do_not_matter(seed: int, degrees: float, scale: float, right: float, down: float) -> None:
    picture = _lines(seed)
    matrix = cv2.getRotationMatrix2D((160, 160), degrees, scale)
    matrix[:, 2] += (right, down)
    moved = cv2.warpAffine(picture, matrix, (320, 320), borderMode=cv2.BORDER_REFLECT)
    aligned = aligned_correlation(_small(picture), _small(moved))[0]
    assert aligned > 0.9
    assert aligned > _plain(_small(picture), _small(moved)) - 0.02


MOVEMENTS = {
    "right": [[0, 0, 1], [0, 0, 0]],
    "down": [[0, 0, 0], [0, 0, 1]],
    "wider": [[1, 0, 0], [0, 0, 0]],
    "higher": [[0, 0, 0], [0, 1, 0]],
    "sheared to the right": [[0, 1, 0], [0, 0, 0]],
    "sheared downwards": [[0, 0, 0], [1, 0, 0]],
}


@pytest.mark.parametrize("movement", MOVEMENTS)
def test_each_of_the_six_movements_is_allowed_for(movement: str) -> None:
    """By 1.5 pixels of the thumbnail at the border, where the plain correlation has fallen by far."""
    change = 15 * np.array(MOVEMENTS[movement], float)
    about_centre = np.eye(2, 3) + change / [160, 160, 1]
    about_centre[:, 2] -= (change[:, :2] / 160).sum(axis=1) * 160
    for seed in range(5):
        rng = np.random.default_rng(seed)
        motif = cv2.resize(rng.normal(0, 1, (12, 12)), (360, 360), interpolation=cv2.INTER_CUBIC)
        picture = np.clip(128 + 45 * motif, 0, 255).astype(np.uint8)
        one, other = picture[20:340, 20:340], cv2.warpAffine(picture, about_centre, (360, 360))[20:340, 20:340]
        aligned = aligned_correlation(_small(one), _small(other))[0]
        assert aligned > 0.96
        assert 1 - aligned < 0.35 * (1 - _plain(_small(one), _small(other)))


def test_other_pictures_stay_other() -> None:
    small = np.concatenate([_small(_lines(seed)) for seed in range(80)])
    i, j = np.triu_indices(80, 1)
    assert aligned_correlation(small[i], small[j]).max() < 0.9


@pytest.mark.parametrize(("gain", "offset", "expected"), [(0.5, 20, 1), (1, 0, 1), (0.1, 200, 1), (-0.5, 230, -1)])
def test_brightness_and_contrast_do_not_matter_but_an_inverted_picture_is_another(
    gain: float, offset: float, expected: float
) -> None:
    one = _small(_lines(1))
    other = np.rint(one * gain + offset).astype(np.uint8)
    assert aligned_correlation(one, other)[0] == pytest.approx(expected, abs=0.01)


def test_constant_pictures_and_no_pictures() -> None:
    even, lines = np.full((1, 32, 32), 90, np.uint8), _small(_lines(0))
    columns = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (1, 32, 1))
    assert aligned_correlation(even, lines).tolist() == [0]
    assert aligned_correlation(lines, even).tolist() == [0]
    assert aligned_correlation(even, even).tolist() == [0]
    assert aligned_correlation(columns, columns)[0] == pytest.approx(1, abs=1e-3)  # no slope from top to bottom
    assert aligned_correlation(even[:0], even[:0]).shape == (0,)


def test_each_pair_is_judged_alone() -> None:
    one = np.concatenate([_small(_lines(seed)) for seed in range(6)])
    other = np.concatenate([_small(cv2.GaussianBlur(_lines(seed % 3), (0, 0), 4)) for seed in range(6)])
    together = aligned_correlation(one, other)
    alone = [aligned_correlation(one[k : k + 1], other[k : k + 1])[0] for k in range(6)]
    assert together == pytest.approx(alone, abs=1e-4)
