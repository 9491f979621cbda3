"""YOLO, COCO and Pascal VOC out: nothing is lost that a format can say, nothing is ever written over."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from helpers import box, corners, dataset_of, draw, files_below, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from pipeline.data.dataset import Dataset
from pipeline.data.formats.coco_writer import write_coco, write_coco_labels
from pipeline.data.formats.placing import empty_folder, write_new
from pipeline.data.formats.voc_writer import DECIMALS, write_voc
from pipeline.data.formats.yolo_writer import write_yolo
from pipeline.data.groups import fill_groups
from pipeline.data.intake import read_dataset
from pipeline.errors import DataError, UsageError

Writer = Callable[..., Path]
WRITERS: tuple[Writer, ...] = (write_yolo, write_coco, write_voc)
each_writer = pytest.mark.parametrize("write", WRITERS)

_SIZES = {"s.png": (17, 11), "m.png": (640, 480), "l.png": (5000, 4)}
_NAMES = ("yes", "1e-3", "a: b, [c] <d> & \"e\" 'f' \\g {h}", "Größe 中 🦟", "tab\there")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name, (width, height) in _SIZES.items():
        draw(folder / name, width, height)
    return folder


# ---- round trips ----------------------------------------------------------------------------------------------------


@st.composite
def _boxes(draw_from: st.DrawFn) -> list[dict[str, Any]]:
    """Return rows of boxes at least a thousandth of a pixel wide, no two of a class alike."""
    rows = {}
    for _ in range(draw_from(st.integers(0, 6))):
        index = draw_from(st.integers(0, len(_SIZES) - 1))
        edges: list[float] = []
        for side in list(_SIZES.values())[index]:
            edges += sorted(draw_from(st.tuples(st.floats(0, side / 2), st.floats(side / 2 + 1e-3, side))))
        x1, x2, y1, y2 = edges
        class_id = draw_from(st.integers(0, len(_NAMES) - 1))
        flags = {"crowd": draw_from(st.booleans()), "difficult": draw_from(st.booleans())}
        row = box(index + 1, class_id, x1, y1, x2, y2, **flags)
        rows[index, class_id, tuple(round(edge, 3) for edge in edges)] = row
    return list(rows.values())


def _dataset(rows: list[dict[str, Any]], pictures: Path) -> Dataset:
    splits = ("train", "val", "test")
    table = {
        number: {"path": name, "width": w, "height": h, "split": split}
        for number, ((name, (w, h)), split) in enumerate(zip(_SIZES.items(), splits, strict=True), start=1)
    }
    return dataset_of(rows, pictures=table, names=_NAMES, root=pictures)


def _by_picture(dataset: Dataset) -> dict[str, list[tuple[int, bool, bool, tuple[float, ...]]]]:
    """Return class, crowd, difficult and corners of each picture's boxes, in their order."""
    found: dict[str, list[Any]] = {name: [] for name in _SIZES}
    joined = dataset.boxes.join(dataset.images, on="image_id", maintain_order="left")
    rows = zip(joined.select("path", "class_id", "crowd", "difficult").iter_rows(), corners(joined), strict=True)
    for (path, class_id, crowd, difficult), xyxy in rows:
        found[Path(path).name].append((class_id, crowd, difficult, xyxy))
    return found


def _round_trip(write: Writer, rows: list[dict[str, Any]], pictures: Path, plain: Callable[[Path], Any]) -> Any:
    """Write and read; returns the boxes by picture as written, as read, and as the plain reader finds them."""
    dataset = _dataset(rows, pictures)
    with tempfile.TemporaryDirectory() as scratch:
        data = write(dataset, Path(scratch) / "new")
        again = read_dataset(data)
        others = plain(Path(scratch) / "new")
    assert [finding.id for finding in again.findings if finding.severity != "info"] == []
    if write is not write_voc or again.dataset.boxes.height:  # VOC's classes are those of its boxes
        assert again.dataset.names == dataset.names
    names = pl.col("path").str.split("/").list.last()
    kept = [one.images.select(names, "width", "height", "split").sort("path") for one in (dataset, again.dataset)]
    assert kept[0].equals(kept[1])
    return _by_picture(dataset), _by_picture(again.dataset), others


@settings(deadline=None, max_examples=25)
@given(_boxes())
def test_yolo_reads_back_the_same_but_for_flags(pictures: Path, rows: list[dict[str, Any]]) -> None:
    written, read, plain = _round_trip(write_yolo, rows, pictures, _plain_yolo)
    for name, (width, height) in _SIZES.items():
        expected = [(class_id, xyxy) for class_id, crowd, _, xyxy in written[name] if not crowd]
        assert [class_id for class_id, *_ in read[name]] == [class_id for class_id, _ in expected]
        assert [flags for _, *flags, _ in read[name]] == [[False, False]] * len(expected)
        for (*_, one), (_, other) in zip(read[name], expected, strict=True):
            assert one == pytest.approx(other, abs=1e-8, rel=0)  # 5,000 pixels times half of 1e-12
        centres = [
            [c, (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
            for c, (x1, y1, x2, y2) in expected
        ]
        for one, other in zip(plain[name], centres, strict=True):
            assert one == pytest.approx(other, abs=1e-12, rel=0)


def _plain_yolo(folder: Path) -> dict[str, list[list[float]]]:
    """Read labels as YOLO describes them, without the program: class, centre and size in fractions by picture."""
    found = {}
    for picture in sorted((folder / "images").rglob("*.png")):
        label = folder / "labels" / picture.relative_to(folder / "images").with_suffix(".txt")
        found[picture.name] = [[float(v) for v in line.split()] for line in label.read_text().splitlines()]
    return found


@settings(deadline=None, max_examples=25)
@given(_boxes())
def test_coco_reads_back_the_same_and_pycocotools_agrees(pictures: Path, rows: list[dict[str, Any]]) -> None:
    written, read, plain = _round_trip(write_coco, rows, pictures, _pycocotools)
    for name, expected in written.items():
        for found in (read[name], plain[name]):
            assert [row[:-1] for row in found] == [row[:-1] for row in expected]
            for (*_, one), (*_, other) in zip(found, expected, strict=True):
                assert one[:2] == other[:2]
                # The far corner is a sum in COCO; where no width gives it exactly, its last bit may differ.
                assert all(abs(a - b) <= math.ulp(b) for a, b in zip(one[2:], other[2:], strict=True))


def _pycocotools(folder: Path) -> dict[str, list[tuple[int, bool, bool, tuple[float, ...]]]]:
    found = {}
    for file in sorted((folder / "annotations").iterdir()):
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(file))
        assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(_NAMES)
        for image in coco.loadImgs(coco.getImgIds()):
            assert (folder / "images" / file.stem.removeprefix("instances_") / image["file_name"]).is_file()
            notes = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            assert all(note["area"] == pytest.approx(note["bbox"][2] * note["bbox"][3]) for note in notes)
            found[image["file_name"]] = [
                (n["category_id"] - 1, n["iscrowd"] == 1, n.get("difficult", False), (x, y, x + w, y + h))
                for n in notes
                for x, y, w, h in [n["bbox"]]
            ]
    return found


@settings(deadline=None, max_examples=25)
@given(_boxes())
def test_voc_reads_back_exactly_but_for_crowds(pictures: Path, rows: list[dict[str, Any]]) -> None:
    written, read, plain = _round_trip(write_voc, rows, pictures, _element_tree)
    for name, boxes in written.items():
        expected = [(*row[:3], tuple(round(edge, DECIMALS) for edge in row[3])) for row in boxes if not row[1]]
        assert read[name] == expected
        assert plain[name] == [(_NAMES[class_id], difficult, xyxy) for class_id, _, difficult, xyxy in expected]


def _element_tree(folder: Path) -> dict[str, list[tuple[str, bool, tuple[float, ...]]]]:
    found = {}
    for file in sorted((folder / "Annotations").iterdir()):
        root = ET.parse(file).getroot()
        name = root.findtext("filename", "")
        assert (folder / "JPEGImages" / name).is_file()
        assert tuple(int(root.findtext(f"size/{side}", "")) for side in ("width", "height")) == _SIZES[name]
        sides = [f"bndbox/{side}" for side in ("xmin", "ymin", "xmax", "ymax")]
        found[name] = [
            (
                thing.findtext("name", ""),
                thing.findtext("difficult") == "1",
                tuple(float(thing.findtext(side, "")) for side in sides),
            )
            for thing in root.iter("object")
        ]
    lists = {file.stem: file.read_text().split() for file in (folder / "ImageSets" / "Main").iterdir()}
    assert lists == {"train": ["s"], "val": ["m"], "test": ["l"]}
    return found


def test_a_width_that_was_read_is_written_with_the_same_digits(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 500, 500)
    rows = [(331.28, 9.57, 80.39, 58.12), (0.1, 0.2, 0.3, 0.6), (12, 40, 7, 1.5)]
    notes = [{"id": n, "image_id": 1, "category_id": 1, "bbox": list(row)} for n, row in enumerate(rows)]
    document = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": notes}
    (tmp_path / "train.json").write_text(json.dumps(document | {"categories": [{"id": 1, "name": "pit"}]}))
    folder = write_coco(read_dataset(tmp_path).dataset, tmp_path / "new")
    written = json.loads((folder / "annotations" / "instances_train.json").read_text())
    assert [note["bbox"] for note in written["annotations"]] == [list(row) for row in rows]
    assert "[12, 40, 7, 1.5]" in (folder / "annotations" / "instances_train.json").read_text()


# ---- pictures -------------------------------------------------------------------------------------------------------


def _written(
    tmp_path: Path, paths: dict[str, str | None], write: Writer = write_yolo, **more: Any
) -> tuple[Path, Path]:
    """Write pictures by their path with a split, each with one box as wide as its number; returns (source, data)."""
    source = tmp_path / "source"
    for number, path in enumerate(paths):
        draw(source / path, 20 + number, 10)
    table = {
        n: {"path": path, "width": 19 + n, "height": 10, "split": split}
        for n, (path, split) in enumerate(paths.items(), start=1)
    }
    boxes = [box(n, 0, 1, 1, 1 + n, 5) for n in table]
    return source, write(dataset_of(boxes, pictures=table, root=source), tmp_path / "written", **more)


@each_writer
@pytest.mark.parametrize("copy", [False, True])
def test_pictures_are_linked_or_copied_and_the_source_stays_as_it_was(
    tmp_path: Path, write: Writer, copy: bool
) -> None:
    source = tmp_path / "source"
    draw(source / "sub" / "a.png", 100, 80)
    before = snapshot(source)
    dataset = dataset_of([box(1, 0, 1, 1, 5, 5)], pictures={1: {"path": "sub/a.png"}}, root=source)
    write(dataset, tmp_path / "written", copy=copy)
    written = [tmp_path / "written" / file for file in files_below(tmp_path / "written")]
    linked = {file for file in written if file.is_symlink()}
    copied = {file for file in written if not file.is_symlink()}
    alike = [file for file in (copied if copy else linked) if file.suffix == ".png"]
    assert [file.read_bytes() for file in alike] == [(source / "sub" / "a.png").read_bytes()]
    assert len(linked) == (0 if copy else 1)
    read_dataset(tmp_path / "written")
    assert snapshot(source) == before


@each_writer
@pytest.mark.parametrize(
    "paths",
    [
        ["left/a.png", "right/a.png"],
        ["train/a.png", "images/train/a.png", "a.png"],  # folders that are left out make names alike
        ["a.png", "a.jpg", "a-2.png"],
        ["images/a.png", "deep/images/a.png", "deep/labels/a.png"],
        ["train.png", "train/train.png", "images.png", "images/images/images.png"],  # files named like folders
        ["a.b.png", "a.c.png"],
        ["a.png", "sub/A.PNG", "images/A.png"],  # one place where case does not count
        ["x/a.png", "x.png", "x.txt/b.png", "x.png.d/c.png", "x.xml/d.png"],
        ["x_a.png", "x/a.png", "x_a-2.png"],
        ["a.png.png", "a.jpg.png", "a.xml.png"],
        [" a .png", "a.png", "b c.png", "d\\e.png", "f\ng.png", "h\u2028i.png", "d/e.png"],
    ],
)
def test_no_two_pictures_take_the_same_place(tmp_path: Path, write: Writer, paths: list[str]) -> None:
    source, data = _written(tmp_path, dict.fromkeys(paths, "train"), write)
    intake = read_dataset(data)
    assert [finding.id for finding in intake.findings if finding.severity != "info"] == []
    dataset = intake.dataset
    assert sorted(dataset.images["width"]) == [20 + n for n in range(len(paths))]
    joined = dataset.boxes.join(dataset.images, on="image_id")
    assert joined.height == len(paths)
    for x2, width, path in joined.select("x2", "width", "path").iter_rows():
        assert x2 == pytest.approx(width - 18)  # each one has its own box
        assert dataset.picture_path(path).resolve().is_relative_to(source)
        folders = Path(path).parent.parts
        assert folders.count("images") <= 1
        assert "labels" not in folders


@each_writer
def test_pictures_without_a_split_are_written_for_training(tmp_path: Path, write: Writer) -> None:
    _, data = _written(tmp_path, {"a.png": "val", "b.png": None}, write)
    assert read_dataset(data).dataset.counts() == {
        split: {"images": 1, "boxes": 1, "empty": 0} for split in ("train", "val")
    }


@each_writer
def test_pictures_without_boxes_and_sets_without_boxes_are_written(tmp_path: Path, write: Writer) -> None:
    for number in (1, 2):
        draw(tmp_path / "source" / f"{number}.png", 100, 80)
    for place, rows in (("one", [box(1, 1, 1, 1, 9, 9)]), ("none", [])):
        data = write(dataset_of(rows, root=tmp_path / "source"), tmp_path / place)
        if rows or write is not write_voc:  # without boxes VOC has no classes
            counts = {"images": 2, "boxes": len(rows), "empty": 2 - len(rows)}
            assert read_dataset(data).dataset.counts() == {"train": counts}


@each_writer
def test_groups_are_written_beside_the_labels_and_read_back(tmp_path: Path, write: Writer) -> None:
    paths = ["board1/a.png", "board2/a.png", "board2/b,c.png", "d.png"]
    for path in paths:
        draw(tmp_path / "source" / path, 100, 80)
    table = {n: {"path": path, "group": group} for n, (path, group) in enumerate(zip(paths, "xyy", strict=False), 1)}
    table[4] = {"path": paths[3]}
    boxes = [box(n, 0, 1, 1, 5 + n, 5) for n in table]
    data = write(dataset_of(boxes, pictures=table, root=tmp_path / "source"), tmp_path / "written")
    again = read_dataset(data).dataset
    joined = again.boxes.join(again.images, on="image_id")
    groups = {round(x2): group for x2, group in joined.select("x2", "group").iter_rows()}
    assert groups == {6: "x", 7: "y", 8: "y", 9: None}


@each_writer
def test_without_groups_there_is_no_table_of_them(tmp_path: Path, write: Writer) -> None:
    _written(tmp_path, {"a.png": "train"}, write)
    assert not (tmp_path / "written" / "images.csv").exists()


def test_a_written_set_has_groups_by_folder(tmp_path: Path) -> None:
    paths = {"board1/a.png": "train", "board2/a.png": "train", "board2/b.png": "train"}
    for write in (write_yolo, write_coco):
        _, data = _written(tmp_path / write.__name__, paths, write)
        grouped = fill_groups(read_dataset(data).dataset, "folder")[0]
        assert grouped.images.group_by("group").len().height == 2


def test_labels_can_be_written_beside_pictures_that_are_there(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "val" / "board" / "a.png", 100, 80)
    table = {1: {"path": "images/val/board/a.png", "split": "val", "group": "g"}}
    dataset = dataset_of([box(1, 1, 2, 3, 4, 5, crowd=True)], pictures=table, root=tmp_path)
    assert write_coco_labels(dataset, tmp_path) == tmp_path
    again = read_dataset(tmp_path).dataset
    assert again.images.select("path", "split", "group").rows() == [("images/val/board/a.png", "val", "g")]
    assert again.boxes["crowd"].to_list() == [True]


# ---- details of one format ------------------------------------------------------------------------------------------


def test_the_data_yaml_reads_the_same_with_any_yaml_reader_and_names_no_path(tmp_path: Path) -> None:
    names = ["yes", "on", "1e-3", "010", "1:30", "null", "grün", "# hash", "2024-01-31"]
    draw(tmp_path / "a.png", 100, 80)
    dataset = dataset_of([], pictures={1: {"path": "a.png", "split": "val"}}, names=names, root=tmp_path)
    file = write_yolo(dataset, tmp_path / "written")
    document = yaml.safe_load(file.read_text("utf-8"))
    assert document == {"val": "images/val", "names": dict(enumerate(names))}
    assert read_dataset(file).dataset.names == tuple(names)


def test_a_yolo_label_has_no_more_digits_than_it_needs(tmp_path: Path) -> None:
    draw(tmp_path / "1.png", 100, 80)
    rows = [box(1, 0, 10, 20, 30, 60), box(1, 1, 1, 1, 1.0000001, 80), box(1, 1, 0, 0, 100 / 3, 80)]
    file = write_yolo(dataset_of(rows, pictures=1, root=tmp_path), tmp_path / "new")
    text = (file.parent / "labels" / "train" / "1.txt").read_text()
    assert text.splitlines() == [
        "0 0.2 0.5 0.2 0.5",
        "1 0.0100000005 0.50625 1e-9 0.9875",
        "1 0.166666666667 0.5 0.333333333333 1",
    ]


@pytest.mark.parametrize(("name", "shown"), [("a\x01b", "U+0001"), ("\ufffe", "U+FFFE")])
def test_a_class_name_that_xml_cannot_hold_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, shown: str
) -> None:
    with pytest.raises(DataError, match=rf"XML cannot hold the character {shown.replace('+', '[+]')}; rename"):
        write_voc(dataset_of([], names=["pit", name], root=tmp_path), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_names_with_line_ends_survive_in_xml(tmp_path: Path) -> None:
    draw(tmp_path / "1.png", 100, 80)
    names = ("b\r\nc", "a\rb\nc")
    dataset = dataset_of([box(1, 0, 1, 1, 9, 9), box(1, 1, 1, 1, 5, 5)], pictures=1, names=names, root=tmp_path)
    again = read_dataset(write_voc(dataset, tmp_path / "new")).dataset
    assert {again.names[class_id]: x2 for class_id, x2 in again.boxes.select("class_id", "x2").iter_rows()} == {
        "b\r\nc": 9,
        "a\rb\nc": 5,
    }


# ---- never over anything --------------------------------------------------------------------------------------------


@each_writer
def test_a_folder_with_anything_in_it_and_a_file_are_refused(tmp_path: Path, write: Writer) -> None:
    dataset = dataset_of([], root=tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").touch()
    (tmp_path / "file").touch()
    for place in ("full", "file"):
        with pytest.raises(UsageError, match="not empty; choose another folder"):
            write(dataset, tmp_path / place)
    assert [path.name for path in (tmp_path / "full").iterdir()] == [".hidden"]
    assert (tmp_path / "file").read_bytes() == b""


@each_writer
def test_what_cannot_be_read_or_written_is_named(tmp_path: Path, write: Writer) -> None:
    dataset = dataset_of([], pictures=1, root=tmp_path)
    with pytest.raises(DataError, match=r"1\.png: cannot be read \(No such file"):
        write(dataset, tmp_path / "new", copy=True)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        write(dataset, tmp_path / "file" / "new")


def test_where_links_are_not_possible_pictures_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(os, "link", refuse)
    _, data = _written(tmp_path, {"a.png": "train"})
    assert not (data.parent / "images" / "train" / "a.png").is_symlink()
    assert read_dataset(data).dataset.boxes.height == 1


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    source = draw(tmp_path / "source" / "a.png", 100, 80)
    before = snapshot(tmp_path / "source")
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(UsageError, match="cannot be written"), empty_folder(tmp_path / "new"):
        write_new(str(tmp_path / "link"), b"other")
    assert snapshot(tmp_path / "source") == before
