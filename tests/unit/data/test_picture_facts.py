"""What one look at every picture tells, on files of all kinds, broken ones among them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import picture_facts as module
from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.data.digests import picture_digests
from pipeline.data.perceptual_hash import dct_hashes, thumbnail
from pipeline.data.picture_facts import FACTS_SCHEMA, picture_facts, sharpness


def _save(path: Path, pixels: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def _noise(seed: int = 0, height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _dataset(root: Path, *names: str, **changes: Any) -> Dataset:
    rows = [{"image_id": i, "path": name, "width": 80, "height": 60} for i, name in enumerate(names)]
    return Dataset(("pit",), dataset_from_rows(["pit"], rows, [], root).images, _no_boxes(), root, **changes)


def _no_boxes() -> pl.DataFrame:
    return dataset_from_rows(["pit"], [], [], Path()).boxes


def test_brightness_and_contrast_are_mean_and_deviation_of_the_grey_levels(tmp_path: Path) -> None:
    half = np.zeros((60, 80, 3), np.uint8)
    half[:, 40:] = 255
    _save(tmp_path / "half.png", half)
    _save(tmp_path / "even.png", np.full((60, 80, 3), 100, np.uint8))
    _save(tmp_path / "noise.png", _noise())
    table = picture_facts(_dataset(tmp_path, "half.png", "even.png", "noise.png")).table
    grey = np.asarray(Image.open(tmp_path / "noise.png").convert("L"), float)
    assert table["brightness"].to_list() == pytest.approx([127.5, 100, grey.mean()], abs=0.5)
    assert table["contrast"].to_list() == pytest.approx([127.5, 0, grey.std()], abs=0.5)
    assert table["sharpness"][1] == 0.0


def test_sharpness_falls_with_blur_and_does_not_depend_on_the_size() -> None:
    grey = cv2.resize(_noise(1, 64, 64)[:, :, 0], (512, 512), interpolation=cv2.INTER_CUBIC)
    blurred = [cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (2, 4, 8)]
    values = [sharpness(picture) for picture in (grey, *blurred)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 10 * values[-1]
    twice = cv2.resize(grey, (1024, 1024), interpolation=cv2.INTER_LINEAR)
    assert sharpness(twice) == pytest.approx(values[0], rel=0.1)


def test_each_row_belongs_to_its_picture(tmp_path: Path) -> None:
    names = [f"{seed}.png" for seed in range(12)]
    for seed, name in enumerate(names):
        _save(tmp_path / name, _noise(seed, 40 + seed, 90 - seed))
    facts = picture_facts(_dataset(tmp_path, *names))
    assert facts.table.schema == FACTS_SCHEMA
    assert facts.table["path"].to_list() == names
    assert facts.table["digest"].to_list() == picture_digests([tmp_path / name for name in names])
    for place, name in enumerate(names):
        small = thumbnail(cv2.cvtColor(cv2.imread(str(tmp_path / name)), cv2.COLOR_BGR2GRAY))
        assert np.array_equal(facts.thumbnails[place], np.rint(small).astype(np.uint8))
        assert facts.table["hashes"][place].to_list() == dct_hashes(small).tolist()


def test_a_bad_file_is_a_row_with_a_problem_and_stops_nothing(tmp_path: Path) -> None:
    for name in ("a.png", "z.png"):
        _save(tmp_path / name, _noise())
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    names = ("a.png", "empty.png", "gone.png", "page.jpg", "z.png")
    facts = picture_facts(_dataset(tmp_path, *names))
    bad = facts.table.filter(pl.col("problem").is_not_null())
    assert bad["path"].to_list() == ["empty.png", "gone.png", "page.jpg"]
    assert all(name in problem for name, problem in bad.select("path", "problem").iter_rows())
    assert bad.select(pl.col("brightness", "contrast", "sharpness", "hashes").is_null().all()).row(0) == (True,) * 4
    assert [bool(digest) for digest in facts.table["digest"]] == [True, True, False, True, True]
    assert not facts.thumbnails[1:4].any()
    assert facts.thumbnails[0].any()


def test_only_the_named_paths_in_their_order(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        _save(tmp_path / name, _noise(seed))
    dataset = _dataset(tmp_path, "a.png", "b.png", "c.png")
    whole, part = picture_facts(dataset), picture_facts(dataset, paths=["c.png", "a.png"])
    assert part.table.equals(whole.table[[2, 0]])
    assert np.array_equal(part.thumbnails, whole.thumbnails[[2, 0]])
    nothing = picture_facts(dataset, paths=[])
    assert nothing.table.schema == FACTS_SCHEMA
    assert nothing.thumbnails.shape == (0, 32, 32)


def test_deep_pictures_are_read_by_the_range_of_the_dataset(tmp_path: Path) -> None:
    _save(tmp_path / "deep.png", np.full((60, 80), 2048, np.uint16))
    table = picture_facts(_dataset(tmp_path, "deep.png", value_range=(0.0, 4096.0))).table
    assert table["problem"].to_list() == [None]
    assert table["brightness"][0] == pytest.approx(127.5, abs=1)


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{seed}.png" for seed in range(16)]
    for seed, name in enumerate(names):
        _save(tmp_path / name, _noise(seed))
    dataset = _dataset(tmp_path, *names)
    usual = picture_facts(dataset)
    inside, most, lock = 0, 0, threading.Lock()
    read = module.read_picture

    def counting(path: Path, *more: Any) -> NDArray[np.uint8]:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        picture = read(path, *more)
        with lock:
            inside -= 1
        return picture

    monkeypatch.setattr(module, "read_picture", counting)
    monkeypatch.setattr(module, "_LARGE", 80 * 60 - 1)
    large = picture_facts(dataset)
    assert most == 1
    assert large.table.equals(usual.table)
    assert np.array_equal(large.thumbnails, usual.thumbnails)


def test_facts_survive_parquet(tmp_path: Path) -> None:
    _save(tmp_path / "a.png", _noise())
    (tmp_path / "b.png").write_bytes(b"no picture")
    table = picture_facts(_dataset(tmp_path, "a.png", "b.png")).table
    table.write_parquet(tmp_path / "facts.parquet")
    again = pl.read_parquet(tmp_path / "facts.parquet")
    assert again.schema == FACTS_SCHEMA
    assert again.equals(table)
