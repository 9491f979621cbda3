"""Pascal VOC in: layouts, splits and numbers as tools and people really write them, and files that mean harm."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from grammar_voc import cases, written
from helpers import ROOT, corners, draw, snapshot
from hypothesis import HealthCheck, given, settings

from pipeline.data.formats.voc import find_voc, read_voc
from pipeline.data.intake import read_dataset
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError
from pipeline.findings import Finding
from pipeline.sections import DataConfig

BCCD = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data" / "bccd"
BOX = (3, 4, 20, 25)


def obj(*box: Any, name: str = "pit", more: str = "") -> str:
    """Return an object; without numbers the one of BOX."""
    inside = "".join(f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), box or BOX, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{inside}</bndbox></object>"


def voc(file: Path, *objects: str, name: str | None = None, size: str = "40 30", picture: str | None = None) -> Path:
    """Write an XML file, and its picture unless `picture` is empty; returns the XML file's folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    width, height = size.split()
    filename = f"{file.stem}.png" if name is None else name
    about = f"<filename>{filename}</filename><size><width>{width}</width><height>{height}</height></size>"
    file.write_text("\n".join(["<annotation>", about, *objects, "</annotation>"]), "utf-8")
    if picture != "":
        draw(file.parent / (picture or f"{file.stem}.png"))
    return file.parent


def read(path: Path, **settings: Any) -> RawDataset:
    return read_voc(path, DataConfig(**settings))


def found(raw: RawDataset, id: str) -> Finding:
    return next(finding for finding in raw.findings if finding.id == id)


def ids(raw: RawDataset) -> list[str]:
    return sorted(finding.id for finding in raw.findings)


def splits(raw: RawDataset) -> dict[str, str | None]:
    return dict(raw.images.select("path", "split").rows())


# ---- where things lie ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "picture"),
    [
        ("Annotations/a.xml", "JPEGImages/a.png"),
        ("annotations/a.xml", "images/a.jpg"),
        ("a.xml", "a.png"),
        ("labels/x/a.xml", "images/x/a.png"),
        ("VOC2012/Annotations/a.xml", "VOC2012/JPEGImages/a.jpeg"),
        ("Annotations/a.XML", "JPEGImages/A.JPG"),
        ("a.png.xml", "a.png"),
        ("xml/x/a.xml", "elsewhere/a.png"),
    ],
)
def test_a_label_file_and_its_picture_are_paired_by_stem(tmp_path: Path, label: str, picture: str) -> None:
    voc(tmp_path / label, obj(), picture="")
    draw(tmp_path / picture)
    raw = read(tmp_path)
    assert raw.images.rows() == [(picture, "train", 40, 30)]
    assert raw.boxes["path"].to_list() == [picture]
    assert find_voc(tmp_path) == [tmp_path / label]


def test_a_name_that_lies_gives_way_to_the_stem(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(), name="b.png")
    voc(tmp_path / "b.xml", obj(1, 1, 2, 2), name="b.jpg")
    raw = read(tmp_path)
    assert raw.boxes.select("path", "x1").rows() == [("a.png", 3.0), ("b.png", 1.0)]
    assert found(raw, "labels.other_name").evidence == {"count": 2, "files": ["a.xml", "b.xml"]}


def test_where_the_stem_fits_nothing_the_stated_name_decides(tmp_path: Path) -> None:
    voc(tmp_path / "Annotations" / "0001.xml", obj(), name="C:\\work\\photo.PNG", picture="")
    draw(tmp_path / "JPEGImages" / "photo.png")
    assert read(tmp_path).boxes["path"].to_list() == ["JPEGImages/photo.png"]


@pytest.mark.parametrize("name", ["../secret.png", "{outside}", "..\\secret.png"])
def test_no_picture_outside_of_the_folder_is_looked_at(tmp_path: Path, name: str) -> None:
    outside = draw(tmp_path / "secret.png")
    voc(tmp_path / "set" / "a.xml", obj(), name=name.format(outside=outside), picture="")
    with pytest.raises(DataError, match="none of the 1 labelled pictures is there"):
        read(tmp_path / "set")


def test_of_two_pictures_of_one_stem_the_named_one_is_meant(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(), name="a.jpg")
    draw(tmp_path / "a.jpg")
    raw = read(tmp_path)
    assert raw.boxes["path"].to_list() == ["a.jpg"]
    assert found(raw, "labels.no_file").evidence["pictures"] == ["a.png"]


def test_a_file_that_may_mean_two_pictures_refuses_the_dataset(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(), name="a.tif")
    draw(tmp_path / "a.jpg")
    assert found(read(tmp_path), "labels.shared_file").severity == "error"


def test_a_file_never_takes_the_picture_of_another(tmp_path: Path) -> None:
    voc(tmp_path / "train" / "a.xml", obj(1, 1, 2, 2), picture="")
    voc(tmp_path / "val" / "a.xml", obj())
    raw = read(tmp_path)
    assert raw.boxes.select("path", "x1").rows() == [("val/a.png", 3.0)]
    lost = found(raw, "labels.no_picture")
    assert lost.evidence == {"count": 1, "files": ["train/a.xml (a.png)"]}
    assert "1 boxes" in lost.message
    assert raw.rejected.select("id", "source", "action").rows() == [
        ("labels.picture_unusable", "train/a.xml:3", "dropped")
    ]


def test_a_single_file_is_a_dataset_of_one_picture(tmp_path: Path) -> None:
    voc(tmp_path / "Annotations" / "a.xml", obj(), picture="")
    draw(tmp_path / "JPEGImages" / "a.png")
    draw(tmp_path / "JPEGImages" / "b.png")
    raw = read(tmp_path / "Annotations" / "a.xml")
    assert (raw.root, splits(raw), ids(raw)) == (tmp_path, {"JPEGImages/a.png": "train"}, [])


def test_masks_hidden_files_and_runs_are_no_pictures(tmp_path: Path) -> None:
    voc(tmp_path / "Annotations" / "a.xml", obj(), picture="")
    for picture in (
        "JPEGImages/a.png",
        "SegmentationClass/a.png",
        "JPEGImages/._a.png",
        ".cache/a.png",
        "runs/r/a.png",
    ):
        draw(tmp_path / picture)
    for name in ("config.yaml", "environment.json"):
        (tmp_path / "runs" / "r" / name).touch()
    raw = read(tmp_path)
    assert list(splits(raw)) == ["JPEGImages/a.png"]
    assert ids(raw) == []


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    draw(tmp_path / "disk" / "a.png")
    voc(tmp_path / "set" / "Annotations" / "a.xml", obj(), picture="")
    (tmp_path / "set" / "JPEGImages").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "set")
    assert list(splits(read(tmp_path / "set"))) == ["JPEGImages/a.png"]


# ---- splits and classes ---------------------------------------------------------------------------------------------


def _lists(folder: Path, **lists: str) -> Path:
    place = folder / "ImageSets" / "Main"
    place.mkdir(parents=True)
    for name, text in lists.items():
        (place / f"{name}.txt").write_text(text)
    return folder


def _abcd(folder: Path) -> Path:
    for stem in "abcd":
        voc(folder / "Annotations" / f"{stem}.xml", obj(), picture=f"../JPEGImages/{stem}.png")
    return folder


def test_splits_come_from_the_lists(tmp_path: Path) -> None:
    _lists(
        _abcd(tmp_path), train="a\n", val="b\r\n\n", test="JPEGImages/c.png\n", trainval="a\nb\nd\n", pit_train="b -1\n"
    )
    raw = read(tmp_path)
    assert splits(raw) == {
        f"JPEGImages/{s}.png": split for s, split in zip("abcd", ("train", "val", "test", "train"), strict=True)
    }
    assert ids(raw) == []


def test_what_the_lists_leave_out_has_no_split(tmp_path: Path) -> None:
    _lists(_abcd(tmp_path), train="a\nb\ngone\n", val="c\n")
    draw(tmp_path / "JPEGImages" / "never_listed.png")
    raw = read(tmp_path)
    assert splits(raw)["JPEGImages/d.png"] is None
    assert "JPEGImages/never_listed.png" not in splits(raw)
    assert found(raw, "split.not_listed").evidence == {"count": 1, "pictures": ["JPEGImages/d.png"]}
    assert found(raw, "split.listed_missing").evidence == {"count": 1, "files": ["gone"]}


def test_a_picture_in_two_lists_has_its_rows_once(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(), obj(1, 2, 3, 4), obj(name=""))
    raw = read(_lists(tmp_path, train="a", val="a"))
    assert sorted(raw.images.select("path", "split").rows()) == [("a.png", "train"), ("a.png", "val")]
    assert (raw.boxes.height, raw.rejected.height, raw.rows_read) == (2, 1, 3)


def test_a_picture_in_two_lists_refuses_the_dataset(tmp_path: Path) -> None:
    _lists(_abcd(tmp_path), train="a\nb\n", val="a\nc\nd\n")
    assert sorted(read(tmp_path).images.filter(path="JPEGImages/a.png")["split"]) == ["train", "val"]
    with pytest.raises(DataError, match="stand in two splits"):
        read_dataset(tmp_path)


def test_lists_count_for_their_own_folder(tmp_path: Path) -> None:
    for year, split in (("VOC2007", "train"), ("VOC2012", "val")):
        folder = tmp_path / year
        voc(folder / "Annotations" / "a.xml", obj(), picture="../JPEGImages/a.png")
        _lists(folder, **{split: "a"})
    assert splits(read(tmp_path)) == {"VOC2007/JPEGImages/a.png": "train", "VOC2012/JPEGImages/a.png": "val"}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("valid", "val"),
        ("test/images", "test"),
        ("images/Validation", "val"),
        ("train_images", "train"),
        ("steel", "train"),
    ],
)
def test_without_lists_folders_name_the_split(tmp_path: Path, folder: str, split: str) -> None:
    voc(tmp_path / folder / "a.xml", obj())
    assert splits(read(tmp_path)) == {f"{folder}/a.png": split}


def test_classes_are_sorted_or_in_the_order_of_a_list(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(name="pit"), obj(name=" Dent\n"), obj(name="scratch"))
    assert read(tmp_path).names == ("Dent", "pit", "scratch")
    (tmp_path / "classes.txt").write_text("scratch\npit\nfold\n")
    raw = read(tmp_path)
    assert raw.names == ("scratch", "pit", "fold", "Dent")
    assert raw.boxes["class_id"].to_list() == [1, 3, 0]
    assert found(raw, "names.not_listed").evidence["classes"] == ["Dent"]


def test_a_list_of_something_else_is_no_list_of_classes(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj())
    (tmp_path / "labels.txt").write_text("a.xml\nb.xml\n")
    (tmp_path / "label_map.pbtxt").write_text("item { id: 2\n name: 'pit' }\nitem { name: \"fold\" id: 1 }\n")
    raw = read(tmp_path)
    assert (raw.names, ids(raw)) == (("fold", "pit"), [])


# ---- rows -----------------------------------------------------------------------------------------------------------


def test_corners_are_exact_and_sources_name_the_line(tmp_path: Path) -> None:
    voc(
        tmp_path / "a.xml", obj(1.5, 2.25, 10.125, 20), "", obj(more="<difficult>1</difficult><truncated>1</truncated>")
    )
    raw = read(tmp_path)
    assert corners(raw.boxes) == [(1.5, 2.25, 10.125, 20), BOX]
    assert raw.boxes["source"].to_list() == ["a.xml:3", "a.xml:5"]
    assert raw.boxes["difficult"].to_list() == [False, True]
    assert raw.boxes["notes"].to_list() == [None, None]


def test_objects_in_one_line_are_told_apart(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(), "<object/>", obj(), obj())
    (tmp_path / "a.xml").write_text((tmp_path / "a.xml").read_text().replace("\n", ""))
    raw = read(tmp_path)
    assert raw.boxes["source"].to_list() == ["a.xml:1", "a.xml:1 #3", "a.xml:1 #4"]
    assert raw.rejected["source"].to_list() == ["a.xml:1 #2"]


@pytest.mark.parametrize(
    ("row", "box", "notes"),
    [
        (obj(20, 25, 3, 4), BOX, "labels.swapped_corners"),
        (obj("3,0", 4, "20,5", 25), (3, 4, 20.5, 25), "labels.decimal_comma"),
        (obj("20,0", 4, 3, 25), (3, 4, 20, 25), "labels.decimal_comma labels.swapped_corners"),
        (
            "<object><name>pit</name><polygon><x1>3</x1><y1>9</y1><x2>20</x2><y2>4</y2><x3>8</x3><y3>25</y3></polygon></object>",
            BOX,
            "labels.polygon",
        ),
        (
            "<object><name>pit</name><polygon><pt><x>20</x><y>4</y></pt><pt><x>3</x><y>25</y></pt></polygon></object>",
            BOX,
            "labels.polygon",
        ),
        (
            "<object><name>pit</name><robndbox><cx>10</cx><cy>10</cy><w>8</w><h>2</h>"
            "<angle>1.5707963267948966</angle></robndbox></object>",
            (9, 6, 11, 14),
            "labels.polygon",
        ),
    ],
)
def test_a_row_in_another_form_is_read_and_noted(tmp_path: Path, row: str, box: tuple[float, ...], notes: str) -> None:
    raw = read(voc(tmp_path / "a.xml", row))
    assert corners(raw.boxes)[0] == pytest.approx(box)
    assert raw.boxes["notes"].to_list() == [notes]
    assert raw.boxes["text"].item().startswith("pit ")
    assert read_dataset(tmp_path).counts() == {"read": 1, "kept": 0, "repaired": 1, "dropped": 0, "refused": 0}


@pytest.mark.parametrize(
    "row",
    [
        "<object><name>pit</name></object>",
        "<object><name>pit</name><bndbox/></object>",
        "<object><name>pit</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax></bndbox></object>",
        obj(1, 2, "ten", 4),
        obj(1, 2, "1_0", 4),
        obj(1, 2, "", 4),
        obj(name=""),
        obj(name=" \n"),
        "<object><bndbox><xmin>1</xmin></bndbox></object>",
        "<object><name>pit</name><polygon><x1>1</x1></polygon></object>",
        "<object/>",
    ],
)
def test_a_row_that_is_no_box_is_dropped_and_stops_nothing(tmp_path: Path, row: str) -> None:
    voc(tmp_path / "a.xml", obj(), row, obj(5, 5, 9, 9))
    raw = read(tmp_path)
    assert corners(raw.boxes) == [BOX, (5, 5, 9, 9)]
    assert raw.rejected.select("id", "source", "action").rows() == [("labels.not_parsed", "a.xml:4", "dropped")]
    assert read_dataset(tmp_path).counts() == {"read": 3, "kept": 2, "repaired": 0, "dropped": 1, "refused": 0}


def test_numbers_that_are_not_finite_are_the_intakes_to_judge(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(), obj("nan", 1, 2, 3), obj(1, 1, "inf", 3), obj(1, 1, "1e400", 3))
    intake = read_dataset(tmp_path)
    assert intake.ledger.select("id", "source").rows() == [("labels.not_finite", f"a.xml:{n}") for n in (4, 5, 6)]


def test_parts_of_an_object_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>wheel</name><bndbox><xmin>1</xmin></bndbox></part>"
    raw = read(voc(tmp_path / "a.xml", obj(more=part)))
    assert (raw.names, corners(raw.boxes)) == (("pit",), [BOX])


def test_the_offset_moves_the_edges_where_pixels_begin(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(1, 1, 40, 30), obj(1, 3, 20, 25))
    assert corners(read(tmp_path, voc_offset=1).boxes) == [(0, 0, 40, 30), (0, 2, 20, 25)]
    raw = read(tmp_path)
    assert corners(raw.boxes) == [(1, 1, 40, 30), (1, 3, 20, 25)]
    assert found(raw, "labels.voc_offset").severity == "info"
    assert found(raw, "labels.voc_offset").evidence == {"count": 2}
    assert ids(read(tmp_path, voc_offset=1)) == []


def test_an_offset_that_the_numbers_speak_against_is_told(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(0, 3, 20, 25), obj(1, 1, 40, 30))
    finding = found(read(tmp_path, voc_offset=1), "labels.voc_offset")
    assert (finding.severity, finding.evidence, finding.advice) == (
        "warning",
        {"count": 1, "rows": ["a.xml:3"]},
        "data.voc_offset=0",
    )
    assert ids(read(tmp_path)) == []


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_broken_file_takes_its_picture_along_and_nothing_else(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj())
    voc(tmp_path / "b.xml", obj(), obj(name="dent"))
    text = (tmp_path / "b.xml").read_text()
    (tmp_path / "b.xml").write_text(text[: text.index("dent")])
    raw = read(tmp_path)
    assert list(splits(raw)) == ["a.png"]
    assert raw.names == ("pit",)
    finding = found(raw, "labels.file_broken")
    assert finding.evidence == {"count": 1, "files": ["b.xml:4"]}
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a.xml:1: no element found"),
        (b"<annotation>", "a.xml:1: no element found"),
        (b"<annotation></object>", "a.xml:1: mismatched tag"),
        (b"\x00\x01\x02", "a.xml:1: not well-formed"),
        (b"<annotation>&b;</annotation>", "a.xml:1: undefined entity"),
        (b"<annotation>" + b"<a>" * 10**6, "nested deeper than 64 levels"),
        (b"<?xml version='1.0' encoding='idna'?><annotation/>", "declares the encoding idna"),
        (b"<?xml version='1.0' encoding='big5'?><annotation>\xff\xff</annotation>", "declares the encoding big5"),
    ],
)
def test_where_no_file_can_be_read_the_first_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(DataError, match="export it again") as caught:
        read(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;">]>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE annotation SYSTEM "http://localhost:1/a.dtd">',
    ],
)
def test_a_document_type_is_refused_before_anything_of_it_is_read(tmp_path: Path, doctype: str) -> None:
    voc(tmp_path / "a.xml", obj())
    voc(tmp_path / "b.xml", obj(name="&b;"))
    (tmp_path / "b.xml").write_text(f"<?xml version='1.0'?>\n{doctype}\n{(tmp_path / 'b.xml').read_text()}")
    finding = found(read(tmp_path), "labels.file_broken")
    assert finding.evidence["files"] == ["b.xml:2"]
    assert "has a DOCTYPE" in finding.message


def test_a_long_text_is_no_matter(tmp_path: Path) -> None:
    raw = read(voc(tmp_path / "a.xml", obj(more=f"<pose>{'x' * 5_000_000}</pose><a b='{'y' * 5_000_000}'/>")))
    assert corners(raw.boxes) == [BOX]


@pytest.mark.parametrize(
    ("encoding", "head"),
    [
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("utf-16", "<?xml version='1.0' encoding='utf-8'?>"),
        ("utf-8", "<?xml version='1.0' encoding='utf-16'?>"),
        ("gb18030", "<?xml version='1.0' encoding='gb2312'?>"),
        ("cp1251", "<?xml version='1.0' encoding='windows-1251'?>"),
        ("iso-8859-1", "<?xml version='1.0' encoding='ISO-8859-1'?>"),
    ],
)
def test_any_encoding_that_tools_write_is_read(tmp_path: Path, encoding: str, head: str) -> None:
    name = {"gb18030": "划痕", "cp1251": "трещина"}.get(encoding, "Öl")
    voc(tmp_path / "a.xml", obj(name=name))
    (tmp_path / "a.xml").write_bytes((head + (tmp_path / "a.xml").read_text("utf-8")).encode(encoding))
    raw = read(tmp_path)
    assert (raw.names, ids(raw)) == ((name,), [])
    assert find_voc(tmp_path) == [tmp_path / "a.xml"]


def test_latin_1_without_a_word_is_read_and_told(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(name="Öl"))
    (tmp_path / "a.xml").write_bytes((tmp_path / "a.xml").read_text("utf-8").encode("latin-1"))
    raw = read(tmp_path)
    assert (raw.names, ids(raw)) == (("Öl",), ["labels.encoding"])


def test_bytes_of_any_encoding_are_read(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj(name="Öl – €"))
    voc(tmp_path / "b.xml", obj(name="pit"))
    (tmp_path / "a.xml").write_bytes((tmp_path / "a.xml").read_text("utf-8").encode("cp1252"))
    (tmp_path / "b.xml").write_bytes((tmp_path / "b.xml").read_bytes().replace(b"pit", b"\x81\xff"))
    raw = read(tmp_path)
    assert raw.names == ("\x81ÿ", "Öl – €")
    told = found(raw, "labels.encoding")
    assert (told.severity, told.evidence["files"]) == ("info", ["a.xml", "b.xml"])


def test_a_list_of_classes_counts_where_there_is_not_a_single_box(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml")
    (tmp_path / "classes.txt").write_bytes("scratch\nÖl\n".encode("cp1252"))
    raw = read(tmp_path)
    assert (raw.names, ids(raw)) == (("scratch", "Öl"), ["labels.encoding"])


def test_the_line_of_a_row_is_told_however_long_the_path_is(tmp_path: Path) -> None:
    voc(tmp_path / ("deep/" * 60) / "a.xml", obj(), obj(name=""))
    raw = read(tmp_path)
    assert raw.boxes["source"].to_list() == [f"{'deep/' * 60}a.xml:3"]
    assert raw.rejected["source"].to_list() == [f"{'deep/' * 60}a.xml:4"]


def test_rows_of_broken_files_are_in_no_count(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj())
    voc(tmp_path / "b.xml", obj(), obj())
    (tmp_path / "b.xml").write_bytes((tmp_path / "b.xml").read_bytes()[:-5])
    raw = read(tmp_path)
    assert raw.rows_read == 1
    assert found(raw, "labels.file_broken").message.endswith(
        "how many rows they have is not known, they are in no count"
    )


def test_pictures_without_label_file_count_as_empty_and_too_many_refuse_the_dataset(tmp_path: Path) -> None:
    for stem in "ab":
        voc(tmp_path / "train" / f"{stem}.xml", obj())
    voc(tmp_path / "val" / "c.xml", obj())
    draw(tmp_path / "train" / "d.png")
    assert found(read(tmp_path), "labels.no_file").severity == "warning"
    draw(tmp_path / "val" / "e.png")
    draw(tmp_path / "val" / "f.png")
    finding = found(read(tmp_path), "labels.no_file")
    assert finding.severity == "error"
    assert "67% of the split val" in finding.message
    assert finding.evidence == {"count": 3, "pictures": ["train/d.png", "val/e.png", "val/f.png"]}
    assert found(read(tmp_path, unlabelled=1.0), "labels.no_file").severity == "warning"


def test_two_files_of_one_picture_are_both_read_and_told(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj())
    voc(tmp_path / "Annotations" / "a.xml", obj(5, 5, 9, 9), picture="")
    raw = read(tmp_path)
    assert raw.images.height == 1
    assert sorted(corners(raw.boxes)) == [BOX, (5, 5, 9, 9)]
    evidence = {"count": 1, "pictures": ["a.png"], "files": ["Annotations/a.xml", "a.xml"]}
    assert found(raw, "labels.two_files").evidence == evidence


def test_names_that_are_no_text_refuse_the_dataset(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj())
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).touch()
    except OSError:
        pytest.skip("this disk takes no such names")
    finding = found(read(tmp_path), "images.name_encoding")
    assert (finding.severity, finding.evidence["files"]) == ("error", ["\\udcff.png"])


def test_other_xml_files_are_left_alone(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml", obj())
    (tmp_path / "b.xml").write_text("<project>")
    assert ids(read(tmp_path)) == []
    (tmp_path / "a.xml").unlink()
    with pytest.raises(DataError, match="no Pascal VOC XML file found"):
        read(tmp_path)


def _objects_in(files: Mapping[str, bytes], raw: RawDataset) -> int:
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
    return sum(len(re.findall("<object>", text)) for text in texts)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=cases())
def test_anything_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, files: Mapping[str, bytes]
) -> None:
    folder = written(tmp_path_factory.mktemp("voc"), files)
    before = snapshot(folder)
    with contextlib.suppress(DataError):
        raw = read(folder)
        assert raw.rows_read == raw.boxes.height + raw.rejected.height == _objects_in(files, raw)
    assert snapshot(folder) == before


# ---- real data ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not BCCD.is_dir(), reason="the BCCD pictures are not here (TUNEUP_SHARED names their folder)")
def test_bccd_reads_as_elementtree_reads_it() -> None:
    raw = read(BCCD)
    boxes: Counter[tuple[Any, ...]] = Counter()
    for file in (BCCD / "Annotations").glob("*.xml"):
        for element in ElementTree.parse(file).getroot().findall("object"):
            sides = (float(element.findtext(f"bndbox/{side}", "nan")) for side in ("xmin", "ymin", "xmax", "ymax"))
            boxes[(f"JPEGImages/{file.stem}.jpg", element.findtext("name"), *sides)] += 1
    rows = raw.boxes.select("path", "class_id", "x1", "y1", "x2", "y2").iter_rows()
    assert Counter((path, raw.names[int(c)], *box) for path, c, *box in rows) == boxes
    assert raw.rejected.height == 0
    lists = {s: (BCCD / "ImageSets" / "Main" / f"{s}.txt").read_text().split() for s in ("train", "val", "test")}
    assert splits(raw) == {f"JPEGImages/{stem}.jpg": split for split, stems in lists.items() for stem in stems}
    intake = read_dataset(BCCD)
    assert intake.ledger.select("id", "action").rows() == [("labels.no_size", "dropped")] * 2
    assert intake.dataset.boxes.height == sum(boxes.values()) - 2
