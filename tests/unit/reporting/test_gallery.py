from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from fabricated_run import detections_of, make_dataset
from PIL import Image

from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.errors import DataError
from pipeline.reporting import gallery
from pipeline.runs import DETECTIONS_SCHEMA

NOTHING = pl.DataFrame(schema=DETECTIONS_SCHEMA)


def decode(uri: str) -> np.ndarray:
    head, content = uri.split(",", 1)
    assert head == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def one_picture(root: Path, picture: np.ndarray, name: str = "a.png", **box: float) -> Dataset:
    assert cv2.imwrite(str(root / name), picture)
    height, width = picture.shape[:2]
    images = [{"image_id": 0, "path": name, "width": width, "height": height, "split": "test"}]
    boxes = [{"image_id": 0, "class_id": 0, **box}] if box else []
    return dataset_from_rows(["pit"], images, boxes, root)


def test_samples_are_evenly_spaced_and_the_same_every_time(tmp_path: Path) -> None:
    images = [
        {"image_id": i, "path": f"{i:03}.png", "width": 9, "height": 9, "split": "test"} for i in reversed(range(101))
    ]
    boxes = [{"image_id": i, "class_id": 0, "x1": 0, "y1": 0, "x2": 2, "y2": 2} for i in range(101)]
    dataset = dataset_from_rows(["pit"], images, boxes, tmp_path)
    assert gallery.choose(dataset, 5)["image_id"].to_list() == [0, 25, 50, 75, 100]
    assert gallery.choose(dataset, 1000).height == 101
    assert gallery.choose(dataset, 0).is_empty()
    only_60_empty = Dataset(dataset.names, dataset.images, dataset.boxes.filter(pl.col("image_id") != 60), dataset.root)
    assert gallery.choose(only_60_empty, 5)["image_id"].to_list() == [0, 25, 60, 75, 100]
    assert gallery.choose(only_60_empty, 1)["image_id"].to_list() == [60]


def test_a_sample_has_both_sides_and_no_unsure_detections(tmp_path: Path) -> None:
    part = make_dataset(tmp_path).split("test")
    samples = gallery.make_samples(part, detections_of(part), 6)
    assert len(samples) == 6
    assert sum(len(s.truth) for s in samples) == part.boxes.height
    assert sum(len(s.found) for s in samples) == part.boxes.with_row_index().filter(pl.col("index") % 5 != 4).height
    assert all(" 0." in mark.text for s in samples for mark in s.found)
    assert any(not s.truth and not s.found for s in samples)
    assert not any(s.problem for s in samples)


def test_boxes_are_scaled_with_the_picture_and_kept_inside(tmp_path: Path) -> None:
    dataset = one_picture(tmp_path, np.zeros((500, 1000, 3), np.uint8), x1=100, y1=50, x2=1200, y2=300)
    (sample,) = gallery.make_samples(dataset, NOTHING, 1)
    assert (sample.width, sample.height) == (480, 240)
    (mark,) = sample.truth
    assert (mark.x, mark.y, mark.width, mark.height) == pytest.approx((48, 24, 432, 120))
    assert 0 <= mark.tag_x <= sample.width
    assert mark.tag_y >= 0


@pytest.mark.parametrize("size", [(64, 64), (8, 3), (1, 1), (2000, 3), (3000, 4000)])
def test_pictures_of_every_size_are_shown(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 90, np.uint8)
    (sample,) = gallery.make_samples(one_picture(tmp_path, picture, "a.jpg"), NOTHING, 1)
    shown = decode(sample.picture)
    assert max(shown.shape[:2]) <= gallery.LARGEST
    assert max(sample.width, sample.height) == gallery.LARGEST
    assert abs(int(shown.mean()) - 90) <= 2


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("grey.png", np.tile(np.arange(200, dtype=np.uint8), (100, 1))),
        ("twelve_bits.png", np.tile(np.linspace(0, 4095, 200).astype(np.uint16), (100, 1))),
        ("twelve_bits.tif", np.tile(np.linspace(0, 4095, 200).astype(np.uint16), (100, 1))),
        ("float.tif", np.tile(np.linspace(-1, 1, 200).astype(np.float32), (100, 1))),
        ("transparent.png", np.tile(np.arange(200, dtype=np.uint8)[:, None], (100, 1, 4))),
    ],
)
def test_every_kind_of_picture_keeps_its_range(tmp_path: Path, name: str, picture: np.ndarray) -> None:
    (sample,) = gallery.make_samples(one_picture(tmp_path, picture, name), NOTHING, 1)
    assert sample.problem == ""
    shown = decode(sample.picture)
    assert shown.shape == (100, 200, 3)
    assert int(shown[:, -5:].mean()) - int(shown[:, :5].mean()) > 150


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_deep_pictures_are_shown_as_the_model_sees_them(tmp_path: Path, dtype: str) -> None:
    picture = np.tile(np.linspace(1000, 2000, 200).astype(dtype), (100, 1))
    dataset = replace(one_picture(tmp_path, picture, "a.tif"), value_range=(0.0, 4000.0))
    (sample,) = gallery.make_samples(dataset, NOTHING, 1)
    shown = decode(sample.picture)
    assert abs(int(shown[:, :5].mean()) - 64) < 4
    assert abs(int(shown[:, -5:].mean()) - 128) < 4


@pytest.mark.parametrize("width", [80, 4000])
def test_pictures_are_turned_as_their_exif_data_says(tmp_path: Path, width: int) -> None:
    picture = Image.new("RGB", (width, 40))
    picture.paste((255, 255, 255), (0, 0, width // 2, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right: what was left is now on top
    picture.save(tmp_path / "a.jpg", exif=exif)
    shown = gallery.read_for_display(tmp_path / "a.jpg", width)
    assert shown.shape[0] > shown.shape[1]
    assert shown[: len(shown) // 3].mean() > 250
    assert shown[-len(shown) // 3 :].mean() < 5


def test_values_that_are_no_numbers_and_flat_pictures_are_shown(tmp_path: Path) -> None:
    odd = np.full((50, 50), np.nan, np.float32)
    assert cv2.imwrite(str(tmp_path / "nan.tif"), odd)
    assert gallery.read_for_display(tmp_path / "nan.tif", 50).shape == (50, 50)
    assert cv2.imwrite(str(tmp_path / "flat.png"), np.full((50, 50), 1000, np.uint16))
    assert gallery.read_for_display(tmp_path / "flat.png", 50).dtype == np.uint8


@pytest.mark.parametrize("content", [None, b"", b"not a picture", b"\x89PNG\r\n\x1a\n broken"])
def test_a_missing_or_broken_picture_becomes_a_placeholder(tmp_path: Path, content: bytes | None) -> None:
    dataset = one_picture(tmp_path, np.zeros((20, 20), np.uint8), x1=1, y1=1, x2=9, y2=9)
    (tmp_path / "a.png").unlink()
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    (sample,) = gallery.make_samples(dataset, NOTHING, 1)
    assert sample.name == "a.png"
    assert sample.picture == ""
    assert sample.problem
    with pytest.raises(DataError):
        gallery.read_for_display(tmp_path / "a.png", 20)


def test_a_class_number_beyond_the_names_is_shown_as_a_number(tmp_path: Path) -> None:
    dataset = one_picture(tmp_path, np.zeros((99, 99), np.uint8))
    row = {"image_id": 0, "class_id": 40, "score": 0.9, "x1": 5.0, "y1": 5.0, "x2": 50.0, "y2": 50.0}
    (sample,) = gallery.make_samples(dataset, pl.DataFrame([row], schema=DETECTIONS_SCHEMA), 1)
    assert sample.found[0].text == "class 40 0.90"


def test_on_a_crowded_picture_only_labels_that_fit_are_drawn(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((480, 480), np.uint8))
    image = {"image_id": 0, "path": "a.png", "width": 480, "height": 480, "split": "test"}
    box = {"image_id": 0, "class_id": 0, "y1": 5, "y2": 25}
    small = [{**box, "x1": 20 * i, "x2": 20 * i + 9} for i in range(20)]
    dataset = dataset_from_rows(["pit"], [image], [*small, {**box, "x1": 0, "x2": 400}], tmp_path)
    (sample,) = gallery.make_samples(dataset, NOTHING, 1)
    assert [mark.tag for mark in sample.truth if mark.tag] == ["pit"]
    assert {mark.text for mark in sample.truth} == {"pit"}


def test_crowd_and_difficult_boxes_are_set_apart(tmp_path: Path) -> None:
    dataset = one_picture(tmp_path, np.zeros((99, 99), np.uint8), x1=1, y1=1, x2=9, y2=9)
    crowd = Dataset(dataset.names, dataset.images, dataset.boxes.with_columns(crowd=pl.lit(True)), dataset.root)
    assert gallery.make_samples(crowd, NOTHING, 1)[0].truth[0].aside
    assert not gallery.make_samples(dataset, NOTHING, 1)[0].truth[0].aside
