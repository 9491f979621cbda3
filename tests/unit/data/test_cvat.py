"""CVAT for images in: shapes, subsets and names as CVAT writes them, videos, and files that are broken."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from grammar_cvat import cases
from grammar_voc import written
from helpers import box, corners, dataset_of, draw, snapshot
from hypothesis import HealthCheck, given, settings

from pipeline.data.formats.cvat import find_cvat, read_cvat
from pipeline.data.intake import read_dataset
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError
from pipeline.evaluation.prelabels import write_cvat
from pipeline.findings import Finding
from pipeline.sections import DataConfig

BOX = (3, 4, 20, 25)
PLAIN = '<box label="pit" source="manual" occluded="0" xtl="3.00" ytl="4.00" xbr="20.00" ybr="25.00" z_order="0"></box>'


def image(name: str, *shapes: str, more: str = "") -> str:
    return "\n".join([f'<image id="0" name="{name}" width="40" height="30" {more}>', *shapes, "</image>"])


def cvat(file: Path, *images: str, labels: str = "", more: str = "") -> Path:
    """Write a file as CVAT does; returns its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    listed = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in labels.split())
    meta = f"<meta><task><name>t</name><labels>{listed}</labels>{more}</task></meta>"
    text = "\n".join(['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", meta, *images, "</annotations>"])
    file.write_text(text, "utf-8")
    return file.parent


def read(path: Path, **settings: Any) -> RawDataset:
    return read_cvat(path, DataConfig(**settings))


def found(raw: RawDataset, id: str) -> Finding:
    return next(finding for finding in raw.findings if finding.id == id)


def ids(raw: RawDataset) -> list[str]:
    return sorted(finding.id for finding in raw.findings)


def one(folder: Path, *shapes: str) -> RawDataset:
    """Read a set of one picture with these shapes."""
    draw(folder / "a.png")
    return read(cvat(folder / "annotations.xml", image("a.png", *shapes)))


# ---- shapes ---------------------------------------------------------------------------------------------------------


def test_boxes_are_exact_and_sources_name_the_line(tmp_path: Path) -> None:
    raw = one(tmp_path, PLAIN, "", PLAIN.replace("3.00", "1.25"))
    assert corners(raw.boxes) == [BOX, (1.25, 4, 20, 25)]
    assert raw.boxes["source"].to_list() == ["annotations.xml:5", "annotations.xml:7"]
    assert raw.boxes["notes"].to_list() == [None, None]
    assert raw.images.rows() == [("a.png", "train", 40, 30)]
    assert ids(raw) == []


ROOT_HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('<polygon label="pit" points="3.00,9.00;20.00,4.00;8.00,25.00"/>', BOX),
        ('<mask label="pit" rle="1, 2" left="3" top="4" width="17" height="21"/>', BOX),
        ('<ellipse label="pit" cx="10" cy="12" rx="5" ry="3"/>', (5, 9, 15, 15)),
        ('<ellipse label="pit" cx="10" cy="12" rx="5" ry="3" rotation="90"/>', (7, 7, 13, 17)),
        ('<ellipse label="pit" cx="10" cy="12" rx="5" ry="5" rotation="31"/>', (5, 7, 15, 17)),
        ('<box label="pit" xtl="6" ytl="8" xbr="14" ybr="12" rotation="90.00"/>', (8, 6, 12, 14)),
        (
            '<box label="pit" xtl="6" ytl="6" xbr="14" ybr="14" rotation="45"/>',
            (10 - 8 * ROOT_HALF, 10 - 8 * ROOT_HALF, 10 + 8 * ROOT_HALF, 10 + 8 * ROOT_HALF),
        ),
    ],
)
def test_other_shapes_become_the_boxes_around_them(tmp_path: Path, row: str, expected: tuple[float, ...]) -> None:
    raw = one(tmp_path, row)
    assert corners(raw.boxes)[0] == pytest.approx(expected)
    assert raw.boxes["notes"].item() == "labels.polygon"
    assert raw.boxes["text"].item().startswith("pit ")


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 133, 200])
def test_the_box_around_an_ellipse_touches_it(tmp_path: Path, degrees: int) -> None:
    raw = one(tmp_path, f'<ellipse label="pit" cx="20" cy="15" rx="9" ry="4" rotation="{degrees}"/>')
    turn = math.radians(degrees)
    edge = [
        (
            20 + 9 * math.cos(t) * math.cos(turn) - 4 * math.sin(t) * math.sin(turn),
            15 + 9 * math.cos(t) * math.sin(turn) + 4 * math.sin(t) * math.cos(turn),
        )
        for t in (2 * math.pi * n / 20_000 for n in range(20_000))
    ]
    xs, ys = zip(*edge, strict=True)
    assert corners(raw.boxes)[0] == pytest.approx((min(xs), min(ys), max(xs), max(ys)), abs=1e-5)


def test_marks_of_voc_and_coco_are_kept(tmp_path: Path) -> None:
    rows = [
        PLAIN.replace("></box>", f'><attribute name="{name}">{value}</attribute></box>')
        for name, value in (("difficult", "true"), ("is_crowd", "true"), ("difficult", "false"), ("score", "0.5"))
    ]
    raw = one(tmp_path, *rows)
    assert raw.boxes["difficult"].to_list() == [True, False, False, False]
    assert raw.boxes["crowd"].to_list() == [False, True, False, False]


@pytest.mark.parametrize(
    ("row", "id"),
    [
        ('<polyline label="pit" points="1,2;3,4"/>', "labels.not_rectangle"),
        ('<points label="pit" points="1,2;3,4"/>', "labels.not_rectangle"),
        ('<cuboid label="pit" xtl1="1"/>', "labels.not_rectangle"),
        ('<skeleton label="pit"><points label="1" points="1,2"/></skeleton>', "labels.not_rectangle"),
        ('<tag label="pit"/>', "labels.not_rectangle"),
        (PLAIN.replace('occluded="0"', 'outside="1"'), "labels.outside"),
        (PLAIN.replace('label="pit"', ""), "labels.not_parsed"),
        (PLAIN.replace('label="pit"', 'label=" "'), "labels.not_parsed"),
        (PLAIN.replace('xtl="3.00"', ""), "labels.not_parsed"),
        (PLAIN.replace('xtl="3.00"', 'xtl="x"'), "labels.not_parsed"),
        ('<polygon label="pit" points="1,2"/>', "labels.not_parsed"),
        ('<polygon label="pit" points="1,2;3"/>', "labels.not_parsed"),
        ('<polygon label="pit"/>', "labels.not_parsed"),
        ('<ellipse label="pit" cx="1" cy="1" rx="2"/>', "labels.not_parsed"),
    ],
)
def test_a_row_that_is_no_box_is_dropped_and_stops_nothing(tmp_path: Path, row: str, id: str) -> None:
    raw = one(tmp_path, PLAIN, row, PLAIN)
    assert corners(raw.boxes) == [BOX, BOX]
    assert raw.rejected.select("id", "source", "action").rows() == [(id, "annotations.xml:6", "dropped")]
    assert read_dataset(tmp_path).counts()["read"] == 3


def test_swapped_corners_are_sorted_and_noted(tmp_path: Path) -> None:
    raw = one(tmp_path, '<box label="pit" xtl="20" ytl="25" xbr="3" ybr="4"/>', PLAIN.replace("3.00", "nan"))
    assert corners(raw.boxes)[0] == BOX
    assert raw.boxes["notes"].to_list() == ["labels.swapped_corners", None]


# ---- classes, splits, pictures --------------------------------------------------------------------------------------


def test_classes_are_in_the_order_of_the_task(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    rows = [PLAIN.replace("pit", name) for name in ("zinc", "pit", "burr")]
    assert read(cvat(tmp_path / "annotations.xml", image("a.png", *rows), labels="zinc fold")).names == (
        "zinc",
        "fold",
        "burr",
        "pit",
    )
    assert read(cvat(tmp_path / "annotations.xml", image("a.png", *rows))).names == ("burr", "pit", "zinc")


def test_points_of_a_skeleton_are_no_classes(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    cvat(tmp_path / "annotations.xml", image("a.png", PLAIN), labels="pit")
    text = (tmp_path / "annotations.xml").read_text()
    label = "<label><name>1</name><type>points</type><parent>plant</parent></label></labels>"
    (tmp_path / "annotations.xml").write_text(text.replace("</labels>", label))
    assert read(tmp_path).names == ("pit",)


def test_subsets_are_splits(tmp_path: Path) -> None:
    subsets = {
        "a": 'subset="Train"',
        "b": 'subset="Validation"',
        "c": 'subset="Test"',
        "d": 'subset="default"',
        "e": "",
    }
    for name in subsets:
        draw(tmp_path / "images" / f"{name}.png")
    raw = read(cvat(tmp_path / "annotations.xml", *(image(f"{name}.png", more=more) for name, more in subsets.items())))
    assert [split for _, split in sorted(raw.images.select("path", "split").rows())] == [
        "train",
        "val",
        "test",
        "train",
        "train",
    ]


def test_the_subset_of_the_task_counts_where_pictures_have_none(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    raw = read(cvat(tmp_path / "annotations.xml", image("a.png", PLAIN), more="<subset>test</subset>"))
    assert raw.images["split"].to_list() == ["test"]


def test_several_files_are_joined_and_may_name_their_split(tmp_path: Path) -> None:
    for name in ("train", "val"):
        draw(tmp_path / f"{name}.png")
        cvat(tmp_path / f"{name}.xml", image(f"{name}.png", PLAIN.replace("pit", name)), labels=name)
    raw = read(tmp_path)
    assert raw.names == ("train", "val")
    assert sorted(raw.images.select("path", "split").rows()) == [("train.png", "train"), ("val.png", "val")]
    assert raw.boxes.sort("path").select("path", "class_id", "source").rows() == [
        ("train.png", 0.0, "train.xml:5"),
        ("val.png", 1.0, "val.xml:5"),
    ]
    assert read(tmp_path / "val.xml").images["path"].to_list() == ["val.png"]


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("a.png", "a.png"),
        ("a.png", "images/a.png"),
        ("board/a.png", "images/board/a.png"),
        ("board\\a.png", "images/board/a.png"),
        ("/mnt/share/board/a.png", "board/a.png"),
        ("a.PNG", "images/train/A.png"),
    ],
)
def test_pictures_are_found_where_people_put_them(tmp_path: Path, name: str, picture: str) -> None:
    draw(tmp_path / picture)
    cvat(tmp_path / "annotations" / "annotations.xml", image(name, PLAIN))
    assert read(tmp_path).boxes["path"].to_list() == [picture]
    assert read(tmp_path / "annotations" / "annotations.xml").boxes["path"].to_list() == [picture]
    assert find_cvat(tmp_path) == [tmp_path / "annotations" / "annotations.xml"]


def test_missing_and_unlisted_pictures_are_told(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    draw(tmp_path / "other.png")
    raw = read(cvat(tmp_path / "annotations.xml", image("a.png", PLAIN), image("gone.png", PLAIN, PLAIN)))
    assert raw.images["path"].to_list() == ["a.png"]
    assert (
        found(raw, "labels.no_picture").message == "1 labelled pictures are not there; 2 boxes were left out with them"
    )
    assert found(raw, "images.not_listed").evidence == {"count": 1, "pictures": ["other.png"]}
    assert raw.rejected["id"].to_list() == ["labels.picture_unusable"] * 2
    assert read_dataset(tmp_path).counts() == {"read": 3, "kept": 1, "repaired": 0, "dropped": 2, "refused": 0}


@pytest.mark.parametrize("name", ["../secret.png", "{outside}", ""])
def test_no_picture_outside_of_the_folder_is_looked_at(tmp_path: Path, name: str) -> None:
    outside = draw(tmp_path / "secret.png")
    cvat(tmp_path / "set" / "annotations.xml", image(name.format(outside=outside), PLAIN))
    with pytest.raises(DataError, match="none of the 1 labelled pictures is there"):
        read(tmp_path / "set")


def test_a_picture_that_two_files_list_has_the_rows_of_both_once(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    cvat(tmp_path / "one.xml", image("a.png", PLAIN, PLAIN, more='subset="Train"'))
    cvat(tmp_path / "two.xml", image("a.png", PLAIN, '<points label="pit" points="1,2"/>', more='subset="Validation"'))
    raw = read(tmp_path)
    assert sorted(raw.images.select("path", "split").rows()) == [("a.png", "train"), ("a.png", "val")]
    assert raw.boxes["source"].to_list() == ["one.xml:5", "one.xml:6", "two.xml:5"]
    assert raw.rejected["source"].to_list() == ["two.xml:6"]
    assert raw.rows_read == 4


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_video_is_refused_with_a_way_out(tmp_path: Path) -> None:
    track = '<track id="0" label="pit"><box frame="0" outside="0" xtl="1" ytl="1" xbr="2" ybr="2"/></track>'
    cvat(tmp_path / "annotations.xml", track)
    with pytest.raises(DataError, match=r"annotations\.xml:4: .* export the task again as 'CVAT for images 1\.1'"):
        read(tmp_path)


def test_a_file_without_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotations\.xml: no picture in it; export it again"):
        read(cvat(tmp_path / "annotations.xml"))


def test_of_a_broken_file_nothing_is_used(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(tmp_path / f"{name}.png")
        cvat(tmp_path / f"{name}.xml", image(f"{name}.png", PLAIN), image("more.png", PLAIN))
    text = (tmp_path / "b.xml").read_text()
    (tmp_path / "b.xml").write_text(text[: text.index("more.png")])
    raw = read(tmp_path)
    assert raw.images["path"].to_list() == ["a.png"]
    assert found(raw, "labels.file_broken").evidence["files"] == ["b.xml:7"]
    assert found(raw, "images.not_listed").evidence["pictures"] == ["b.png"]
    (tmp_path / "a.xml").unlink()
    with pytest.raises(DataError, match=r"b\.xml:7: unclosed token; export it again"):
        read(tmp_path)


def test_a_document_type_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    cvat(tmp_path / "a.xml", image("a.png", PLAIN))
    doctype = "<!DOCTYPE annotations [<!ENTITY b 'c'>]>\n"
    text = (tmp_path / "a.xml").read_text().replace("<annotations>", f"{doctype}<annotations>")
    (tmp_path / "a.xml").write_text(text)
    for read_it in (read, read_dataset):
        with pytest.raises(DataError, match=r"a\.xml:2: has a DOCTYPE"):
            read_it(tmp_path)


def test_what_this_program_writes_for_cvat_reads_back(tmp_path: Path) -> None:
    dataset = dataset_of([], root=tmp_path)
    for path in dataset.images["path"]:
        draw(tmp_path / path, 100, 80)
    rows = dataset_of([box(1, 1, 3, 4, 20.5, 25), box(1, 0, 0, 0, 100, 80)]).boxes
    boxes = rows.with_columns(score=pl.lit(0.75), why=pl.lit("missed"))
    write_cvat(tmp_path / "cvat.xml", dataset, boxes)
    intake = read_dataset(tmp_path)
    assert (intake.format, intake.findings) == ("cvat", ())
    assert intake.dataset.names == dataset.names
    assert sorted(corners(intake.dataset.boxes)) == [(0, 0, 100, 80), (3, 4, 20.5, 25)]
    assert sorted(intake.dataset.boxes["class_id"]) == [0, 1]
    assert intake.dataset.counts()["train"] == {"images": 2, "boxes": 2, "empty": 1}


# Those inside of others have no label.
_SHAPE = r"<(?:box|polygon|ellipse|mask|polyline|points|cuboid|skeleton|tag)(?=[\s>/])(?!\s+points=)"


def _shapes_in(files: Mapping[str, bytes], raw: RawDataset) -> int:
    """Count rows by their tags in the files that are not told to be broken."""
    broken = [name for one in raw.findings if one.id == "labels.file_broken" for name in one.evidence["files"]]
    sound = (
        content
        for name, content in files.items()
        if name.lower().endswith(".xml") and not any(b.startswith(name) for b in broken)
    )
    texts = (
        text.decode("utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1", "replace") for text in sound
    )
    return sum(len(re.findall(_SHAPE, text)) for text in texts)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=cases())
def test_anything_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, files: Mapping[str, bytes]
) -> None:
    folder = written(tmp_path_factory.mktemp("cvat"), files)
    before = snapshot(folder)
    with contextlib.suppress(DataError):
        raw = read(folder)
        assert raw.rows_read == raw.boxes.height + raw.rejected.height == _shapes_in(files, raw)
    assert snapshot(folder) == before
