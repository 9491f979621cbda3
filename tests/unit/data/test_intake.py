"""Intake: what happens to every row, and that each one can be found again in its file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import corners, draw, snapshot, yolo_set
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline.data.images import read_picture
from pipeline.data.intake import read_dataset, survey, take_in
from pipeline.data.raw import LEDGER_SCHEMA, RAW_IMAGES_SCHEMA, RawDataset, raw_boxes, rejected_rows
from pipeline.data.repair import ROUNDING
from pipeline.errors import ConfigError, DataError
from pipeline.sections import DataConfig

SIZES = {"a.png": (40, 30), "b.png": (17, 200)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name, (width, height) in SIZES.items():
        draw(folder / name, width, height)
    return folder


def _raw(root: Path, rows: list[dict[str, Any]], **more: Any) -> RawDataset:
    images = [{"path": name, "split": "train"} for name in SIZES]
    return RawDataset(("pit", "scratch"), pl.DataFrame(images, RAW_IMAGES_SCHEMA), raw_boxes(rows), root, **more)


def _row(number: int, path: str, class_id: float, xyxy: tuple[float, ...], crowd: bool = False) -> dict[str, Any]:
    edges = dict(zip(("x1", "y1", "x2", "y2"), xyxy, strict=True))
    source = f"{path}.txt:{number + 1}"
    return {"path": path, "class_id": class_id, **edges, "crowd": crowd, "difficult": False, "source": source}


# ---- every row is accounted for -------------------------------------------------------------------------------------

_NEAR = st.one_of(
    st.integers(-3, 205).map(float),
    st.floats(-1, 201, width=32),
    st.sampled_from([0.0, -0.0, 16.6, 17.0, 17.4, 40.5, 40.6, -0.5, -0.52, 1e9, -1e9, 1e308, -1e308]),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
_ROWS = st.lists(
    st.tuples(st.sampled_from(list(SIZES)), st.integers(0, 1), st.tuples(_NEAR, _NEAR, _NEAR, _NEAR), st.booleans()),
    max_size=12,
)


def _expected(rows: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], dict[int, str]]:
    """Decide in plain Python, row by row: (what stays, the ledger's id of each touched row)."""
    stays: list[tuple[Any, ...]] = []
    touched: dict[int, str] = {}
    for number, (path, class_id, edges, crowd) in enumerate(rows):
        width, height = SIZES[path]
        x1, y1, x2, y2 = edges
        clipped = tuple(min(max(v, 0.0), limit) for v, limit in zip(edges, (width, height, width, height), strict=True))
        if not all(map(math.isfinite, edges)):
            touched[number] = "labels.not_finite"
        elif x2 <= x1 or y2 <= y1:
            touched[number] = "labels.no_size"
        elif clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            touched[number] = "labels.outside"
        elif (path, class_id, clipped, crowd) in stays:
            touched[number] = "labels.duplicate"
        else:
            stays.append((path, class_id, clipped, crowd))
            if max(abs(a - b) for a, b in zip(edges, clipped, strict=True)) > ROUNDING:
                touched[number] = "labels.outside_clipped"
    return stays, touched


@settings(deadline=None, max_examples=120)
@given(given_rows=_ROWS, again=st.lists(st.integers(0, 11), max_size=4))
def test_rows_read_are_kept_repaired_or_dropped(pictures: Path, given_rows: list[Any], again: list[int]) -> None:
    rows = given_rows + [given_rows[index] for index in again if index < len(given_rows)]
    intake = take_in(_raw(pictures, [_row(n, path, c, xyxy, crowd) for n, (path, c, xyxy, crowd) in enumerate(rows)]))
    stays, touched = _expected(rows)

    counts = intake.counts()
    assert counts["read"] == len(rows)
    assert counts["read"] == counts["kept"] + counts["repaired"] + counts["dropped"] + counts["refused"]
    assert intake.dataset.boxes.height == counts["kept"] + counts["repaired"]
    assert dict(intake.ledger.schema) == LEDGER_SCHEMA
    assert sorted(zip(intake.ledger["source"], intake.ledger["id"], strict=True)) == sorted(
        (f"{rows[number][0]}.txt:{number + 1}", id) for number, id in touched.items()
    )
    table = intake.dataset.boxes.join(intake.dataset.images, on="image_id", maintain_order="left")
    found = [
        (path, class_id, edges, crowd)
        for path, class_id, edges, crowd in zip(
            table["path"], table["class_id"], corners(table), table["crowd"], strict=True
        )
    ]
    assert found == stays  # to the last bit, and in the order of the rows
    counted = {finding.id: finding.evidence["count"] for finding in intake.findings}
    assert counted == {id: list(touched.values()).count(id) for id in touched.values()}


def test_fractions_are_scaled_by_the_true_size_of_their_picture(pictures: Path) -> None:
    rows = [_row(0, "a.png", 0, (0.25, 0.5, 0.75, 1.0)), _row(1, "b.png", 1, (0.0, 0.1, 1.0, 0.2))]
    intake = take_in(_raw(pictures, rows, fractions=True))
    assert corners(intake.dataset.boxes) == [(10.0, 15.0, 30.0, 30.0), (0.0, 20.0, 17.0, 40.0)]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_fractions_of_a_picture_that_was_labelled_unturned(tmp_path: Path, orientation: int) -> None:
    draw(tmp_path / "a.png", 60, 40, orientation=orientation)  # as stored: a red quarter at the upper left
    images = pl.DataFrame([{"path": "a.png", "split": "train", "width": 60, "height": 40}], RAW_IMAGES_SCHEMA)
    rows = raw_boxes([_row(0, "a.png", 0, (0, 0, 0.5, 0.5))])
    intake = take_in(RawDataset(("pit",), images, rows, tmp_path, fractions=True))
    ((x1, y1, x2, y2),) = (tuple(map(int, c)) for c in corners(intake.dataset.boxes))
    red = (read_picture(tmp_path / "a.png") == (10, 10, 250)).all(axis=2)
    assert red[y1:y2, x1:x2].all()
    assert red.sum() == (y2 - y1) * (x2 - x1) == 600
    assert intake.ledger["id"].to_list() == ["labels.turned"]


def test_a_row_that_is_dropped_takes_no_good_row_with_it(pictures: Path) -> None:
    rows = [_row(0, "a.png", 0, (10, 10, math.inf, 30)), _row(1, "a.png", 0, (10, 10, 40, 30))]
    intake = take_in(_raw(pictures, rows))
    assert corners(intake.dataset.boxes) == [(10, 10, 40, 30)]
    assert intake.counts() == {"read": 2, "kept": 1, "repaired": 0, "dropped": 1, "refused": 0}


def test_an_overhanging_box_that_stands_there_twice_is_kept_once(pictures: Path) -> None:
    rows = [_row(n, "a.png", 0, (30, 10, 50, 20)) for n in range(2)]
    intake = take_in(_raw(pictures, rows))
    assert corners(intake.dataset.boxes) == [(30, 10, 40, 20)]
    assert intake.ledger["action"].to_list() == ["repaired", "dropped"]


def test_the_ledger_tells_before_and_after(pictures: Path) -> None:
    rows = [_row(0, "a.png", 0, (-2.5, 10, 50.25, 20)), _row(1, "a.png", 1, (5, 5, 5, 9))]
    ledger = take_in(_raw(pictures, rows)).ledger.to_dicts()
    assert ledger == [
        {
            "id": "labels.outside_clipped",
            "source": "a.png.txt:1",
            "action": "repaired",
            "before": "-2.5 10 50.25 20",
            "after": "0 10 40 20",
        },
        {"id": "labels.no_size", "source": "a.png.txt:2", "action": "dropped", "before": "5 5 5 9", "after": ""},
    ]


# ---- files and lines ------------------------------------------------------------------------------------------------


def test_sources_name_file_and_line_in_ledger_boxes_and_findings(tmp_path: Path) -> None:
    text = "0 .5 .5 .2 .2\n\n1 .5 .5 0 .2\n0 .9 .5 .4 .2\n0 nan .5 .2 .2\n0 .5 .5 .2 .2\n"
    folder = yolo_set(tmp_path, {"train/a.png": text, "train/b.png": ""})
    intake = read_dataset(folder)
    assert intake.dataset.boxes["source"].to_list() == ["labels/train/a.txt:1", "labels/train/a.txt:4"]
    assert dict(zip(intake.ledger["source"], intake.ledger["id"], strict=True)) == {
        "labels/train/a.txt:3": "labels.no_size",
        "labels/train/a.txt:4": "labels.outside_clipped",
        "labels/train/a.txt:5": "labels.not_finite",
        "labels/train/a.txt:6": "labels.duplicate",
    }
    assert {finding.id: finding.evidence["rows"] for finding in intake.findings} == {
        "labels.no_size": ["labels/train/a.txt:3"],
        "labels.outside_clipped": ["labels/train/a.txt:4"],
        "labels.not_finite": ["labels/train/a.txt:5"],
        "labels.duplicate": ["labels/train/a.txt:6"],
    }
    for finding in intake.findings:
        assert json.loads(json.dumps(finding.to_dict()))["severity"] == "warning"


@pytest.mark.parametrize(
    ("class_id", "shown"), [("2", "2"), ("-1", "-1"), ("1.5", "1.5"), ("nan", "nan"), ("9e9", "9e")]
)
def test_an_unknown_class_is_refused_with_its_line_and_the_known_range(
    tmp_path: Path, class_id: str, shown: str
) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": f"0 .5 .5 .2 .2\n{class_id} .5 .5 .2 .2\n"})
    with pytest.raises(DataError) as caught:
        read_dataset(folder)
    message = str(caught.value)
    assert f"class {shown}" in message
    assert "in 1 row of 1 file" in message
    assert "labels/train/a.txt:2" in message
    assert "names has 2 (0 to 1)" in message
    surveyed = survey(DataConfig(path=folder))
    assert surveyed.counts() == {"read": 2, "kept": 1, "repaired": 0, "dropped": 0, "refused": 1}
    assert [f.severity for f in surveyed.findings] == ["error"]


def test_the_known_range_of_a_single_class_and_the_hint_at_counting_from_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"class 1 in 1 row of 1 file, but names has 1 \(0\)") as caught:
        read_dataset(yolo_set(tmp_path, {"train/a.png": "1 .5 .5 .2 .2\n"}, "names: [pit]\n"))
    assert "data.first_class=1" in str(caught.value)
    assert read_dataset(tmp_path, first_class=1).dataset.boxes["class_id"].to_list() == [0]


def test_refused_rows_are_counted_by_class_and_file(tmp_path: Path) -> None:
    labels = {"train/a.png": "7 .5 .5 .2 .2\n" * 14, "train/b.png": "3 .5 .5 .2 .2\n7 .1 .1 .2 .2\n"}
    with pytest.raises(DataError, match="class 3 in 1 row of 1 file, class 7 in 15 rows of 2 files") as caught:
        read_dataset(yolo_set(tmp_path, labels))
    assert "and 13 more" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n\x00"])
def test_a_picture_that_is_none_is_left_out_and_named(tmp_path: Path, content: bytes) -> None:
    folder = yolo_set(tmp_path, {f"train/{name}.jpg": "0 .5 .5 .2 .2\n" for name in "abc"})
    (folder / "images/train/b.jpg").write_bytes(content)
    intake = read_dataset(folder)
    assert intake.dataset.images["path"].to_list() == ["images/train/a.jpg", "images/train/c.jpg"]
    assert intake.counts()["dropped"] == 1
    assert ["images/train/b.jpg"] in [finding.evidence.get("pictures") for finding in intake.findings]


def test_a_picture_in_two_splits_is_refused(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": "", "train/b.png": ""}, "val: images/train\nnames: [pit]\n")
    with pytest.raises(DataError, match="2 of 2 pictures stand in two splits") as caught:
        read_dataset(folder)
    assert str(caught.value).count("images/train/") == 2  # each one once


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_boxes_of_a_turned_picture_fit_the_picture_that_training_reads(tmp_path: Path, orientation: int) -> None:
    folder = yolo_set(tmp_path, {"train/a.jpg": "0 .5 .5 1 1\n"})
    draw(folder / "images/train/a.jpg", 60, 40, orientation=orientation)
    dataset = read_dataset(folder).dataset
    height, width = read_picture(folder / "images/train/a.jpg").shape[:2]
    assert dataset.images.select("width", "height").row(0) == (width, height)
    assert corners(dataset.boxes) == [(0, 0, width, height)]


def test_a_stated_size_that_differs_from_the_picture_is_reported(pictures: Path) -> None:
    images = [
        {"path": "a.png", "split": "train", "width": 30, "height": 40},
        {"path": "b.png", "split": "train", "width": 17, "height": 200},
    ]
    raw = RawDataset(("pit",), pl.DataFrame(images, RAW_IMAGES_SCHEMA), raw_boxes([]), pictures)
    intake = take_in(raw)
    assert [finding.id for finding in intake.findings] == ["images.size_differs"]
    assert intake.findings[0].evidence == {"pictures": ["a.png"], "count": 1}
    assert intake.dataset.images["width"].to_list() == [40, 17]


def test_no_pictures_at_all_is_an_error(tmp_path: Path) -> None:
    empty = RawDataset(("pit",), pl.DataFrame([], RAW_IMAGES_SCHEMA), raw_boxes([]), tmp_path)
    with pytest.raises(DataError, match="no pictures found"):
        take_in(empty)


# ---- what readers tell, and what the settings ask for ---------------------------------------------------------------


def test_what_the_reader_mended_is_a_repair_and_joins_what_the_intake_did(pictures: Path) -> None:
    rows = [
        {**_row(0, "a.png", 0, (1, 1, 9, 9)), "notes": "labels.polygon", "text": "0 .1 .1 .2 .2 .1 .2"},
        {**_row(1, "a.png", 0, (30, 1, 60, 9)), "notes": "labels.polygon labels.decimal_comma", "text": "0 0,1"},
        _row(2, "a.png", 0, (2, 2, 9, 9)),
    ]
    rejected = rejected_rows([("labels.not_parsed", "a.txt:9", "dropped", "what is this")])
    intake = take_in(_raw(pictures, rows, rejected=rejected))
    assert intake.counts() == {"read": 4, "kept": 1, "repaired": 2, "dropped": 1, "refused": 0}
    assert intake.ledger.select("id", "action", "before").rows() == [
        ("labels.not_parsed", "dropped", "what is this"),
        ("labels.polygon", "repaired", "0 .1 .1 .2 .2 .1 .2"),
        ("labels.polygon labels.decimal_comma labels.outside_clipped", "repaired", "0 0,1"),
    ]
    told = {finding.id: finding.evidence["count"] for finding in intake.findings}
    assert told == {
        "labels.polygon": 2,
        "labels.decimal_comma": 1,
        "labels.outside_clipped": 1,
        "labels.not_parsed": 1,
    }


def test_classes_are_merged_and_left_out_and_what_becomes_the_same_box_stays_once(pictures: Path) -> None:
    rows = [
        _row(0, "a.png", 0, (1, 1, 9, 9)),
        _row(1, "a.png", 1, (1, 1, 9, 9)),
        _row(2, "b.png", 1, (1, 1, 9, 9)),
    ]
    merged = take_in(_raw(pictures, rows), DataConfig(remap={"scratch": "pit"}))
    assert merged.dataset.names == ("pit",)
    assert merged.dataset.boxes["source"].to_list() == ["a.png.txt:1", "b.png.txt:3"]
    kept = take_in(_raw(pictures, rows), DataConfig(keep=["scratch"]))
    assert kept.dataset.names == ("scratch",)
    assert kept.dataset.boxes.select("class_id", "source").rows() == [(0, "a.png.txt:2"), (0, "b.png.txt:3")]
    assert kept.ledger.select("id", "action", "source").rows() == [("labels.class_left_out", "dropped", "a.png.txt:1")]
    assert kept.dataset.images.height == 2  # what is left out makes no picture disappear


def test_groups_come_from_images_csv(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": "", "train/b.png": "", "train/c.png": ""})
    (folder / "images.csv").write_text("path,group\nimages/train/a.png,one\nimages/train/b.png,one\n", "utf-8")
    intake = read_dataset(folder)
    assert intake.dataset.images["group"].to_list() == ["one", "one", None]
    assert [f.evidence["count"] for f in intake.findings if f.id == "images.groups"] == [1]


@pytest.mark.parametrize("text", ["group\n1\n", "path,group\na,1\na,2\n", "\xff\xfe"])
def test_an_images_csv_that_cannot_be_right_is_refused(tmp_path: Path, text: str) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ""})
    (folder / "images.csv").write_text(text, "utf-8")
    with pytest.raises(DataError, match=r"images\.csv"):
        read_dataset(folder)


# ---- which reader ---------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_named_by_its_whole_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder") as caught:
        read_dataset(tmp_path / "gone")
    assert str(tmp_path / "gone") in str(caught.value)
    with pytest.raises(DataError, match="make demo"):
        read_dataset(tmp_path / "datasets" / "steel")


def test_a_folder_with_no_dataset_or_with_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no dataset found; expected a data\.yaml"):
        read_dataset(tmp_path)
    folder = yolo_set(tmp_path / "both", {"train/a.png": ""})
    (folder / "train.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(DataError, match=r"more than one format.*[Cc]hoose data\.format=yolo or data\.format=coco"):
        read_dataset(folder)
    assert read_dataset(folder, format="yolo").dataset.images.height == 1


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.format: should be 'auto', 'yolo', 'coco', 'voc'"):
        read_dataset(tmp_path, format="voc2")


def test_reading_leaves_the_source_as_it_was(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.jpg": "0 .9 .5 .4 .2\n0 .5 .5 0 0\n", "val/b.png": ""})
    before = snapshot(folder)
    intake = pipeline.read_dataset(folder)
    assert intake.counts()["repaired"] == 1
    assert snapshot(folder) == before
