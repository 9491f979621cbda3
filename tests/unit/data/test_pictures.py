"""The intake's look at pictures: which are used, what is said of the others, and which way up boxes stand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from helpers import ORIENTATION, corners, draw
from PIL import Image

from pipeline.data import pictures as module
from pipeline.data.audit import audit
from pipeline.data.images import read_picture
from pipeline.data.intake import Intake, take_in
from pipeline.data.raw import RAW_IMAGES_SCHEMA, RawDataset, raw_boxes
from pipeline.errors import DataError

MARK = (250, 10, 10)


def _marked(path: Path, orientation: int, size: tuple[int, int] = (60, 40)) -> tuple[int, int, int, int]:
    """Write a picture with one red patch, stored unturned; return the patch as it is stored."""
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    box = (6, 4, 20, 12)
    pixels[box[1] : box[3], box[0] : box[2]] = MARK
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return box


def _intake(root: Path, rows: list[dict[str, object]], boxes: list[dict[str, object]]) -> Intake:
    return take_in(RawDataset(("pit",), pl.DataFrame(rows, RAW_IMAGES_SCHEMA), raw_boxes(boxes), root))


def _box(path: str, xyxy: tuple[float, ...], line: int = 1) -> dict[str, object]:
    edges = dict(zip(("x1", "y1", "x2", "y2"), map(float, xyxy), strict=True))
    return {"path": path, "class_id": 0.0, **edges, "source": f"{path}:{line}"}


def _ids(intake: Intake) -> dict[str, str]:
    return {finding.id: finding.severity for finding in intake.findings}


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_the_unturned_picture_are_turned_with_it(tmp_path: Path, orientation: int) -> None:
    stored = _marked(tmp_path / "a.png", orientation)
    rows = [{"path": "a.png", "split": "train", "width": 60, "height": 40}]  # as stored: read, it is 40 x 60
    intake = _intake(tmp_path, rows, [_box("a.png", stored)])
    ((x1, y1, x2, y2),) = (tuple(map(int, c)) for c in corners(intake.dataset.boxes))
    picture = read_picture(tmp_path / "a.png")
    assert picture.shape[:2] == (60, 40)
    red = (picture == MARK[::-1]).all(axis=2)
    assert red[y1:y2, x1:x2].all()
    assert red.sum() == (y2 - y1) * (x2 - x1)
    assert intake.counts() == {"read": 1, "kept": 0, "repaired": 1, "dropped": 0, "refused": 0}
    assert intake.ledger["id"].to_list() == ["labels.turned"]
    assert _ids(intake)["images.labelled_unturned"] == "warning"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [((40, 60), set()), ((None, None), {"images.turned"}), ((400, 600), {"images.size_differs", "images.turned"})],
    ids=["as read", "not stated", "another size"],
)
def test_boxes_stay_where_nothing_tells_that_they_were_drawn_unturned(
    tmp_path: Path, stated: tuple[int | None, int | None], expected: set[str]
) -> None:
    _marked(tmp_path / "a.png", 6)
    rows = [{"path": "a.png", "split": "train", "width": stated[0], "height": stated[1]}]
    intake = _intake(tmp_path, rows, [_box("a.png", (1, 2, 11, 22))])
    assert corners(intake.dataset.boxes) == [(1, 2, 11, 22)]
    assert set(_ids(intake)) == expected


def test_broken_pictures_are_left_out_with_their_rows_and_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png"):
        _marked(tmp_path / name, 1)
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").write_bytes(b"<!DOCTYPE html><html></html>")
    rows = [{"path": name, "split": "train"} for name in ("a.png", "b.png", "c.png", "d.png", "e.png")]
    intake = _intake(tmp_path, rows, [_box(name, (1, 1, 9, 9)) for name in ("a.png", "b.png", "c.png")])
    assert intake.dataset.images["path"].to_list() == ["a.png", "d.png", "e.png"]
    assert intake.counts() == {"read": 3, "kept": 1, "repaired": 0, "dropped": 2, "refused": 0}
    found = _ids(intake)
    assert found == {
        "images.empty_file": "warning",
        "images.not_a_picture": "warning",
        "labels.picture_unusable": "warning",
    }
    assert {f.id: f.evidence.get("pictures") for f in intake.findings}["images.empty_file"] == ["b.png"]


def test_a_split_that_is_mostly_broken_is_an_error_and_nothing_at_all_is_refused(tmp_path: Path) -> None:
    _marked(tmp_path / "a.png", 1)
    for name in ("b.png", "c.png"):
        (tmp_path / name).write_bytes(b"")
    rows = [{"path": n, "split": s} for n, s in (("a.png", "train"), ("b.png", "val"), ("c.png", "train"))]
    intake = _intake(tmp_path, rows, [])
    shares = {f.evidence["split"]: f.evidence["share"] for f in intake.errors}
    assert shares == {"train": 0.5, "val": 1.0}
    with pytest.raises(DataError, match=r"none of the 2 pictures"):
        _intake(tmp_path, rows[1:], [])


def test_a_picture_in_two_splits_is_an_error_and_counts_for_the_test(tmp_path: Path) -> None:
    _marked(tmp_path / "a.png", 1)
    rows = [{"path": "a.png", "split": split} for split in ("train", "test")]
    intake = _intake(tmp_path, rows, [_box("a.png", (1, 1, 9, 9))])
    assert intake.dataset.images["split"].to_list() == ["test"]
    assert _ids(intake) == {"images.two_splits": "error"}
    assert intake.counts()["read"] == 1


def test_a_picture_listed_twice_in_one_split_is_taken_once(tmp_path: Path) -> None:
    _marked(tmp_path / "a.png", 1)
    rows = [{"path": "a.png", "split": "train"}] * 2
    intake = _intake(tmp_path, rows, [_box("a.png", (1, 1, 9, 9))])
    assert intake.dataset.images.height == 1
    assert intake.dataset.boxes.height == 1
    assert _ids(intake) == {"images.listed_twice": "warning"}


def test_deep_pictures_have_one_range_for_the_whole_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, top in (("a.png", 2000), ("b.png", 4095)):
        Image.fromarray(rng.integers(0, top, (40, 60)).astype(np.uint16)).save(tmp_path / name)
    rows = [{"path": name, "split": "train"} for name in ("a.png", "b.png")]
    intake = _intake(tmp_path, rows, [])
    assert intake.dataset.value_range is not None
    low, high = intake.dataset.value_range
    assert 0 <= low < 50
    assert 3900 < high <= 4095
    assert _ids(intake) == {"images.deep": "info"}
    read = [read_picture(tmp_path / name, intake.dataset.value_range).max() for name in ("a.png", "b.png")]
    assert read[1] == 255
    assert 110 < read[0] < 140  # half as bright stays half as bright


def _deep(path: Path, dtype: str = "uint16", channels: int = 1) -> None:
    values = np.random.default_rng(0).integers(100, 4000, (30, 40, channels)).squeeze().astype(dtype)
    assert cv2.imwrite(str(path), values)


def _damage(path: Path) -> None:
    """Spoil the packed pixels of a PNG; its header and its parts stay as they were."""
    raw = bytearray(path.read_bytes())
    start = raw.index(b"IDAT") + 4
    raw[start : start + 40] = bytes(40)
    path.write_bytes(raw)


def test_a_deep_picture_that_cannot_be_decoded_is_named_and_does_not_stop_the_others(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    _deep(tmp_path / "b.png")
    _damage(tmp_path / "b.png")
    rows = [{"path": name, "split": "train"} for name in ("a.png", "b.png")]
    intake = _intake(tmp_path, rows, [_box("a.png", (1, 1, 9, 9))])
    assert _ids(intake) == {"images.undecodable": "warning"}
    (finding,) = intake.findings
    assert finding.evidence["pictures"] == ["b.png"]
    assert finding.evidence["files"][0].startswith("b.png: not a picture that can be decoded")
    assert intake.dataset.value_range is None
    assert intake.dataset.images["path"].to_list() == ["a.png", "b.png"]  # the audit refuses it, with all others
    assert {f.id: f.severity for f in audit(intake.dataset, intake=intake).findings}["images.not_decoded"] == "error"


def test_a_range_is_that_of_the_deep_pictures_that_can_be_decoded(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        _deep(tmp_path / name)
    alone = _intake(tmp_path, [{"path": "a.png", "split": "train"}], [])
    _damage(tmp_path / "b.png")
    both = _intake(tmp_path, [{"path": name, "split": "train"} for name in ("a.png", "b.png")], [])
    assert _ids(both) == {"images.undecodable": "warning", "images.deep": "info"}
    assert alone.dataset.value_range is not None
    assert both.dataset.value_range == alone.dataset.value_range


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
def test_whole_numbers_and_fractions_in_one_set_are_an_error_that_names_one_of_each(
    tmp_path: Path, channels: int
) -> None:
    draw(tmp_path / "a.png")
    _deep(tmp_path / "b.png", "uint16", channels)
    _deep(tmp_path / "c.tif", "float32", channels)
    _deep(tmp_path / "d.png", "uint16", channels)
    intake = _intake(tmp_path, [{"path": f"{n}", "split": "train"} for n in ("a.png", "b.png", "c.tif", "d.png")], [])
    (finding,) = intake.errors
    assert finding.id == "images.mixed_depth"
    assert finding.evidence["pictures"] == ["b.png", "c.tif"]
    assert "b.png" in finding.message
    assert "c.tif" in finding.message
    assert intake.dataset.value_range is None
    again = [finding.id for finding in audit(intake.dataset, intake=intake).findings]
    assert "images.not_decoded" not in again  # they are sound, each by itself


def test_one_grey_picture_of_fractions_among_very_many_is_found_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(module, "sampled_range", never)
    _deep(tmp_path / "b.png")
    _deep(tmp_path / "c.tif", "float32")
    intake = _intake(tmp_path, [{"path": name, "split": "train"} for name in ("b.png", "c.tif")], [])
    assert _ids(intake) == {"images.mixed_depth": "error"}
