"""YOLO in and out: the many ways in which people's sets differ, and a round trip that loses nothing.

Rows are tested in test_yolo_rows.py, the pairing of pictures and label files in test_yolo_files.py.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from grammar_yolo import cases
from helpers import corners, draw, snapshot, yolo_set
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.formats.yolo import find_data_yaml, find_yolo, read_yolo
from pipeline.data.intake import read_dataset
from pipeline.data.raw import LEDGER_SCHEMA, RAW_BOXES_SCHEMA, RAW_IMAGES_SCHEMA, RawDataset
from pipeline.errors import DataError
from pipeline.findings import Finding
from pipeline.sections import DataConfig

ROW = "0 .5 .5 .5 .5\n"


def raw(path: Path, **changes: Any) -> RawDataset:
    """Read a set with settings other than the defaults."""
    return read_yolo(path, DataConfig(path=path, **changes))


def finding(found: RawDataset, key: str) -> Finding:
    """Return the one finding of that id."""
    (only,) = [one for one in found.findings if one.id == key]
    return only


def _read(folder: Path, document: str, **changes: Any) -> RawDataset:
    """Read a set of one labelled picture, images/train/a.png, with this data.yaml."""
    yolo_set(folder, {"train/a.png": ROW})
    (folder / "data.yaml").write_text(document, "utf-8")
    return raw(folder, **changes)


def _names(folder: Path, names: str) -> tuple[str, ...]:
    return _read(folder, f"train: images/train\n{names}\n").names


# ---- data.yaml: names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [pit, scratch]", ("pit", "scratch")),
        ("names:\n  - pit\n  - scratch", ("pit", "scratch")),
        ("names:\n  0: pit\n  1: scratch", ("pit", "scratch")),
        ("names: {1: scratch, 0: pit}", ("pit", "scratch")),
        ("names: {'0': pit, '1': scratch}", ("pit", "scratch")),
        ("names: {" + ", ".join(f"{n}: c{n}" for n in range(12)) + "}", tuple(f"c{n}" for n in range(12))),
        ("names: [yes, no]", ("yes", "no")),  # YAML 1.1 would make True and False of them
        ("names: [1, 007, on, ~pit]", ("1", "007", "on", "~pit")),
        ("names: ['true', 'null']", ("true", "null")),
        ("names: [' pit ', Grübchen]", ("pit", "Grübchen")),
        ("nc: 1\nnames: [pit]", ("pit",)),
        ("nc: '1'\nnames: [pit]", ("pit",)),
        ("nc:\nnames: [pit]", ("pit",)),
    ],
)
def test_names_are_read(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    found = _read(tmp_path, f"train: images/train\n{text}\n")
    assert found.names == names
    assert found.findings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"data\.yaml: the list of classes `names:` is missing"),
        ("names:", r"data\.yaml:2: the list of classes `names:` is missing"),
        ("names: []", "list of classes `names:` is missing"),
        ("names: {}", "list of classes `names:` is missing"),
        ("nc: 2", "list of classes `names:` is missing"),
        ("names: pit", "list of classes `names:` is missing"),
        ("names: {0: pit, one: scratch}", "keys of `names` are class numbers from 0 on, found 'one'"),
        ("names: {'²': pit}", "class numbers from 0 on"),
        ("names: {-1: pit}", "class numbers from 0 on"),
        ("names: {1.5: pit}", "class numbers from 0 on"),
        ("names: {true: pit}", "class numbers from 0 on"),
        ("names: {9999999999: pit}", "class numbers from 0 on"),
        ("names: {0: pit, 0: scratch}", "given twice"),
        ("names: {0: pit, '0': scratch}", "a class number stands twice"),
        ("names: [pit, pit]", "the class name 'pit' is given twice"),
        ("names:\n- pit\n- ' pit'", r"data\.yaml:4: .*'pit' is given twice; first in .*data\.yaml:3"),
        ("names: [pit, '']", "a class name is empty"),
        ("names:\n  - pit\n  -", r"data\.yaml:4: YAML takes this class name for nothing at all; put it in quotes"),
        ("names: [pit, ~]", "put it in quotes"),
        ("names: [true, false]", "for the truth value true; put it in quotes"),
        ("names: [pit, [scratch]]", "a class name must be text, found"),
        ("names: [{pit: 1}]", "a class name must be text, found"),
        ('names: ["\\uD800"]', "has signs that are no text"),
        ("nc: 3\nnames: [pit, scratch]", r"data\.yaml:2: `nc` is 3, but `names` has 2; remove `nc` or mend the list"),
        ("names: [pit]\nnc: true", r"data\.yaml:3: `nc` is True, but `names` has 1"),
    ],
)
def test_wrong_names_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _names(tmp_path, text)
    assert str(tmp_path / "data.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ("{1: pit, 2: scratch}", {0: None, 1: 0.0, 2: 1.0, 3: None}),
        ("{0: pit, 2: scratch}", {0: 0.0, 1: None, 2: 1.0, 3: None}),
        ("{40: scratch, 3: pit, 4: hole}", {0: None, 1: None, 2: None, 3: 0.0, 4: 1.0, 5: None, 40: 2.0}),
    ],
)
def test_the_keys_of_names_are_the_class_numbers(tmp_path: Path, names: str, ids: dict[int, float | None]) -> None:
    yolo_set(tmp_path, {"train/a.png": "".join(f"{number} .5 .5 .2 .2\n" for number in ids)}, f"names: {names}\n")
    found = raw(tmp_path)
    assert found.boxes["class_id"].to_list() == [place for place in ids.values() if place is not None]
    error = finding(found, "labels.class_out_of_range")  # told by the numbers that stand in the files
    assert error.evidence["classes"] == [str(number) for number, place in ids.items() if place is None]
    assert error.message.endswith(f"but names has {', '.join(map(str, sorted(yaml.safe_load(names))))}")
    assert found.rejected["action"].unique().to_list() == ["refused"]
    notice = finding(found, "names.renumbered")
    document = yaml.safe_load(f"names: {names}")["names"]
    assert notice.evidence["mapping"] == {str(key): place for place, key in enumerate(sorted(document))}
    assert found.names == tuple(document[key] for key in sorted(document))
    unknown = sorted(set(ids) - set(document))
    assert notice.evidence["unknown"] == unknown
    assert notice.message.endswith(f"not among them: {', '.join(map(str, unknown))}")


@pytest.mark.parametrize(
    ("names", "first", "ids"),
    [
        ("[pit, scratch]", 0, [0, 1, 2]),
        ("[pit, scratch]", 1, [0, 1]),
        ("{0: pit, 1: scratch}", 1, [0, 1]),
        ("{1: pit, 2: scratch}", 1, [0, 1]),  # the keys say it already
        ("{0: pit, 1: scratch, 9: hole}", 1, [0, 1]),
    ],
)
def test_classes_that_are_counted_from_one(tmp_path: Path, names: str, first: int, ids: list[int]) -> None:
    yolo_set(tmp_path, {"train/a.png": "".join(f"{n} .5 .5 .2 .2\n" for n in range(3))}, f"names: {names}\n")
    found = raw(tmp_path, first_class=first)
    assert found.boxes["class_id"].to_list() == ids
    pits = found.boxes.filter(pl.col("class_id") == 0)["source"].to_list()
    assert pits == [f"labels/train/a.txt:{first + 1}"]


def test_a_class_name_stands_for_its_class_however_they_are_counted(tmp_path: Path) -> None:
    for names, first in (("[pit, hole]", 0), ("[pit, hole]", 1), ("{3: pit, 9: hole}", 0), ("{1: pit, 2: hole}", 1)):
        yolo_set(tmp_path, {"train/a.png": "hole .5 .5 .2 .2\npit .5 .5 .2 .2\n"}, f"names: {names}\n")
        assert raw(tmp_path, first_class=first).boxes["class_id"].to_list() == [1, 0]


# ---- data.yaml: what is never done ----------------------------------------------------------------------------------


def test_a_download_line_is_refused_with_its_line_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    script = f"download: |\n  from pathlib import Path\n  Path({str(trap)!r}).touch()\n"
    with pytest.raises(DataError, match=r"data\.yaml:3: `download:` would be run as a program"):
        _read(tmp_path, f"train: images/train\nnames: [pit]\n{script}")
    assert not trap.exists()


def test_a_python_tag_is_refused_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(DataError, match="tags are not allowed"):
        _names(tmp_path, f"names: !!python/object/apply:os.mkdir ['{trap}']")
    assert not trap.exists()


def test_the_boxes_of_a_set_of_poses_are_read(tmp_path: Path) -> None:
    yolo_set(tmp_path, {"train/a.png": "0 .5 .5 .5 .2 .1 .1 .9 .9\n1 .5 .5 .5 .2\n"})
    with (tmp_path / "data.yaml").open("a") as file:
        file.write("kpt_shape: [2, 2]\n")
    found = raw(tmp_path)
    assert corners(found.boxes) == [pytest.approx((0.25, 0.4, 0.75, 0.6))] * 2
    assert found.boxes["notes"].to_list() == ["labels.keypoints", None]


@pytest.mark.parametrize("shape", ["17", "[17]", "[0, 3]", "[17, 4]", "[a, 3]", "[true, 3]", "[1.5, 2]", "{a: 1}"])
def test_a_kpt_shape_that_is_none_is_refused_with_its_line(tmp_path: Path, shape: str) -> None:
    with pytest.raises(DataError, match=r"data\.yaml:2: `kpt_shape` should be the number of keypoints"):
        _read(tmp_path, f"train: images/train\nkpt_shape: {shape}\nnames: [pit]\n")


# ---- data.yaml: splits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [pit]", "no split is given; write at least `train: images/train`"),
        ("train:\nval: ''\nnames: [pit]", "no split is given"),
        ("train: empty\nnames: [pit]", r"data\.yaml:1: `train: empty` has no pictures"),
        ("train: images/train/a.png\nnames: [pit]", r"neither a folder of pictures nor a \.txt list"),
        ("train: {a: b}\nnames: [pit]", r"should be a folder or a \.txt list"),
        ("train: [[images]]\nnames: [pit]", r"should be a folder or a \.txt list"),
        ("train: true\nnames: [pit]", r"should be a folder or a \.txt list"),
        ('train: "a\\0b"\nnames: [pit]', "is not there; looked for"),
        (f"train: {'x' * 300}\nnames: [pit]", "is not there; looked for"),
    ],
)
def test_without_any_picture_it_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        _read(tmp_path, text + "\n")


@pytest.mark.parametrize("base", ["", "path: ../elsewhere\n"])
def test_a_missing_folder_names_the_absolute_paths_that_were_tried(tmp_path: Path, base: str) -> None:
    folder = tmp_path / "set"
    found = _read(folder, f"{base}train: {folder}/images/train\nval: ../valid/images\nnames: [pit]\n")
    notice = finding(found, "images.split_missing")
    assert notice.severity == "error"
    assert f"data.yaml:{3 if base else 2}: `val: ../valid/images` is not there; looked for " in notice.message
    tried = set(notice.evidence["files"])
    assert {str(tmp_path / "valid/images"), str(folder / "valid/images")} <= tried
    assert all(place in notice.message for place in tried)
    assert found.images.height == 1  # the other split can be looked at


def test_an_empty_split_is_an_error_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = _read(tmp_path, "train: images/train\nval: empty\nnames: [pit]\n")
    notice = finding(found, "images.split_empty")
    assert notice.severity == "error"
    assert "`val: empty` has no pictures" in notice.message


@pytest.mark.parametrize("key", ["val", "valid"])
def test_both_words_for_validation_are_understood(tmp_path: Path, key: str) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW, "other/b.png": ROW})
    (tmp_path / "data.yaml").write_text(f"train: images/train\n{key}: images/other\nnames: [pit]\n")
    images = raw(tmp_path).images
    assert images.sort("path").select("path", "split").rows() == [
        ("images/other/b.png", "val"),
        ("images/train/a.png", "train"),
    ]


def test_roboflows_paths_that_lead_out_of_the_folder(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        draw(tmp_path / split / "images" / f"{split}.jpg")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / f"{split}.txt").write_text(ROW)
    lines = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['pit']\n"
    (tmp_path / "data.yaml").write_text(lines)
    found = raw(tmp_path)
    assert found.findings == ()
    assert found.images.select("path", "split").rows() == [
        ("train/images/train.jpg", "train"),
        ("valid/images/valid.jpg", "val"),
        ("test/images/test.jpg", "test"),
    ]
    assert found.boxes.height == 3


@pytest.mark.parametrize("name", ["data.yml", "dataset.yaml", "steel.yaml", "STEEL.YAML"])
def test_a_data_yaml_of_another_name_is_found(tmp_path: Path, name: str) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW})
    (tmp_path / "data.yaml").rename(tmp_path / name)
    (tmp_path / "notes.yaml").write_text("author: somebody\n")
    (tmp_path / "folder.yaml").mkdir()
    assert find_data_yaml(tmp_path) == [tmp_path / name]
    assert find_yolo(tmp_path) == [tmp_path / name]
    assert raw(tmp_path).boxes.height == 1
    assert raw(tmp_path / name).boxes.height == 1


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_a_data_yaml_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW})
    (tmp_path / "data.yaml").write_bytes("train: images/train\nnames: [grün]\n".encode(encoding))
    found = raw(tmp_path)
    assert found.names == ("grün",)
    if encoding == "utf-8-sig":
        assert found.findings == ()
    else:
        assert finding(found, "labels.encoding").evidence == {"count": 1, "files": ["data.yaml"]}


def test_a_data_yaml_that_is_no_text_is_refused(tmp_path: Path) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW})
    (tmp_path / "data.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\1train:")
    with pytest.raises(DataError, match=r"data\.yaml: its content is no text; save it as UTF-8"):
        raw(tmp_path)


def test_train_and_val_may_be_the_same_folder_here(tmp_path: Path) -> None:
    """That it spoils the score is for the intake to say, in all formats alike."""
    found = _read(tmp_path, "train: images/train\nval: images/train\nnames: [pit]\n")
    assert found.images.select("path", "split").rows() == [("images/train/a.png", s) for s in ("train", "val")]
    assert found.boxes.height == 1


# ---- where the pictures are ------------------------------------------------------------------------------------------


def test_a_list_of_pictures_with_relative_absolute_and_blank_lines(tmp_path: Path) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW, "train/b.png": ROW, "train/c.png": ROW, "train/d.png": ROW})
    lists = tmp_path / "lists"
    lists.mkdir()
    text = f"\ufeff../images/train/a.png\r\n\r\n{tmp_path}/images/train/c.png  \r\n.\\images\\train\\d.png"
    (lists / "train.txt").write_bytes(text.encode())
    (tmp_path / "data.yaml").write_text("train: lists/train.txt\nnames: [pit]\n")
    found = raw(tmp_path)
    assert found.images["path"].to_list() == [f"images/train/{name}.png" for name in "acd"]
    assert found.findings == ()  # b.txt has its picture, although the list leaves it out


def test_a_picture_that_is_listed_twice_has_its_rows_once(tmp_path: Path) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW * 2 + "\n0 x\n", "train/b.png": ROW})
    (tmp_path / "train.txt").write_text("images/train/a.png\n./images/train/a.png\nimages/train/b.png\n", "utf-8")
    (tmp_path / "val.txt").write_text("images/train/a.png\n", "utf-8")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [pit]\n", "utf-8")
    found = raw(tmp_path)
    assert found.images["path"].to_list().count("images/train/a.png") == 3
    assert sorted(found.boxes["source"]) == ["labels/train/a.txt:1", "labels/train/a.txt:2", "labels/train/b.txt:1"]
    assert found.rejected["source"].to_list() == ["labels/train/a.txt:4"]
    assert found.rows_read == 4


def test_rows_of_a_label_file_that_cannot_be_read_are_in_no_count(tmp_path: Path) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW, "train/b.png": ROW})
    (tmp_path / "labels/train/b.txt").write_bytes(b"0 .5 .5 .5 .5\n\0\1")
    assert raw(tmp_path).rows_read == 1


def test_lines_of_missing_pictures_are_named_and_left_out(tmp_path: Path) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW})
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/train.txt").write_bytes("../images/train/a.png\n\n../images/train/größe.png\n".encode("cp1252"))
    (tmp_path / "data.yaml").write_text("train: lists/train.txt\nval: lists/train.txt\nnames: [pit]\n")
    found = raw(tmp_path)
    assert found.images["path"].to_list() == ["images/train/a.png"] * 2
    notice = finding(found, "images.missing")
    assert notice.severity == "warning"
    assert notice.evidence["rows"] == ["lists/train.txt:3"] * 2
    assert notice.evidence["files"][0] == str(tmp_path / "images/train/größe.png")
    assert [one.evidence["files"] for one in found.findings if one.id == "labels.encoding"] == [["lists/train.txt"]]
    (tmp_path / "lists/train.txt").write_text("gone.png\n")
    with pytest.raises(DataError, match="names no picture that is there"):
        raw(tmp_path)


def test_a_list_that_is_no_text_is_an_error_of_its_split(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    found = _read(tmp_path, "train: images/train\nval: val.txt\nnames: [pit]\n")
    (notice,) = found.findings
    assert (notice.id, notice.severity) == ("images.split_missing", "error")
    assert notice.message == "val.txt: its content is no text; expected one picture a line"


def test_a_split_may_be_a_list_of_folders(tmp_path: Path) -> None:
    yolo_set(tmp_path, {"a/1.png": ROW, "b/2.png": ROW})
    (tmp_path / "data.yaml").write_text("train: [images/a, images/b]\nnames: [pit]\n")
    assert raw(tmp_path).images["path"].to_list() == ["images/a/1.png", "images/b/2.png"]


def test_only_the_last_folder_called_images_has_its_labels_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "shop" / "images" / "set"
    yolo_set(folder, {"train/images.png": ROW, "train/sub/b.png": ROW})
    assert raw(folder).boxes["source"].to_list() == ["labels/train/images.txt:1", "labels/train/sub/b.txt:1"]


def test_pictures_outside_of_the_data_yaml_keep_relative_names_and_the_fingerprint_travels(tmp_path: Path) -> None:
    found = []
    for place in ("here", "there"):
        folder = tmp_path / place / "pictures"
        yolo_set(folder, {"train/a.png": ROW, "val/b.png": ROW})
        for written in (str(folder), "../pictures"):
            file = tmp_path / place / "configs" / "steel.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"path: {written}\ntrain: images/train\nval: images/val\nnames: [pit]\n")
            found.append(read_dataset(file, format="yolo").dataset)
    for dataset in found:
        assert dataset.images["path"].to_list() == ["images/train/a.png", "images/val/b.png"]
        assert dataset.boxes["source"].to_list() == ["labels/train/a.txt:1", "labels/val/b.txt:1"]
        assert all(dataset.picture_path(path).is_file() for path in dataset.images["path"])
    assert len({dataset.fingerprint() for dataset in found}) == 1


def test_a_way_with_dots_gives_the_same_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yolo_set(tmp_path / "set", {"train/a.png": ROW})
    expected = raw(tmp_path / "set")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    for way in (Path("../set"), Path("../other/../set/data.yaml")):
        found = raw(way)
        assert found.root == expected.root
        assert found.images.equals(expected.images)
        assert found.boxes.equals(expected.boxes)


def test_a_picture_whose_name_is_no_text_is_an_error(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ROW, "train/b.png": ROW})

    def spoil(name: str) -> None:
        try:
            os.rename(
                folder / f"images/train/{name}.png",
                os.fsencode(folder / "images/train") + b"/gr\xfcn%s.png" % name.encode(),
            )
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")

    spoil("a")
    notice = finding(raw(folder), "images.name_encoding")
    assert notice.severity == "error"
    assert notice.evidence["pictures"] == [rf"{folder}/images/train/gr\udcfcna.png"]
    spoil("b")
    with pytest.raises(DataError, match=r"not UTF-8 text; rename them(.|\n)*gr\\udcfcnb\.png"):
        raw(folder)


# ---- without a data.yaml ---------------------------------------------------------------------------------------------


def _plain(folder: Path, files: dict[str, str]) -> Path:
    """Write pictures (40 x 30 px) and texts by their paths."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith((".png", ".jpg")):
            draw(folder / name)
        else:
            (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        ({"images/a.png": "", "labels/a.txt": ROW}, {"images/a.png": "train"}),
        (
            {f"images/{s}/a.png": "" for s in ("train", "valid", "Test")}
            | {f"labels/{s}/a.txt": ROW for s in ("train", "valid", "Test")},
            {"images/Test/a.png": "test", "images/train/a.png": "train", "images/valid/a.png": "val"},
        ),
        (
            {f"{s}/images/sub/a.png": "" for s in ("training", "val")}
            | {f"{s}/labels/sub/a.txt": ROW for s in ("training", "val")},
            {"training/images/sub/a.png": "train", "val/images/sub/a.png": "val"},
        ),
        ({"a.png": "", "a.txt": ROW, "README.txt": "Taken on 3 May.\n"}, {"a.png": "train"}),
        (
            {"train/a.png": "", "train/a.txt": ROW, "val/b.png": "", "val/b.txt": ROW},
            {"train/a.png": "train", "val/b.png": "val"},
        ),
        (
            {
                "obj_train_data/a.png": "",
                "obj_train_data/a.txt": ROW,
                "obj_Validation_data/b.png": "",
                "obj_Validation_data/b.txt": ROW,
            }
            | {"train.txt": "data/obj_train_data/a.png\n", "obj.names": "pit\n", "obj.data": "classes = 1\n"},
            {"obj_Validation_data/b.png": "val", "obj_train_data/a.png": "train"},
        ),
    ],
    ids=["images", "images-split", "split-images", "beside", "split-beside", "cvat"],
)
def test_folders_alone_are_a_dataset(tmp_path: Path, files: dict[str, str], splits: dict[str, str]) -> None:
    folder = _plain(tmp_path, {"classes.txt": "pit\n"} | files)
    before = snapshot(folder)
    assert find_yolo(folder) == [folder]
    found = raw(folder)
    assert dict(found.images.sort("path").select("path", "split").iter_rows()) == splits
    assert found.names == ("pit",)
    assert found.boxes.height == len(splits)
    assert found.findings == ()
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"a.png": "", "b.png": ""},
        {"images/a.png": ""},
        {"images/a.png": "", "labels/b.txt": ROW},
        {"images/a.png": "", "labels/a.txt": ""},
        {"a.png": "", "a.txt": "A picture of the sea.\n"},
        {"a.png": "", "a.txt": "12.3 14.0\n"},
        {"a.txt": ROW},
        {"a.png": "", "a.xml": "<annotation/>"},
    ],
    ids=str,
)
def test_pictures_without_labels_are_no_dataset(tmp_path: Path, files: dict[str, str]) -> None:
    assert find_yolo(_plain(tmp_path, files)) == []


def test_names_come_from_the_list_nearest_to_the_top(tmp_path: Path) -> None:
    files = {"images/a.png": "", "labels/a.txt": "scratch .5 .5 .2 .2\n", "labels/classes.txt": "\npit\n scratch \n"}
    folder = _plain(tmp_path, files)
    found = raw(folder)
    assert found.names == ("pit", "scratch")
    assert found.boxes.select("class_id", "notes").rows() == [(1.0, "labels.class_name")]
    assert found.findings == ()
    _plain(folder, {"steel.names": "hole\nscratch\n"})
    found = raw(folder)
    assert found.names == ("hole", "scratch")
    notice = finding(found, "names.differ")
    assert notice.severity == "error"
    assert notice.evidence["files"] == [str(folder / "steel.names"), str(folder / "labels/classes.txt")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "list of class names is empty"),
        (b"pit\n\npit\n", r"classes\.txt:3: the class name 'pit' is given twice; first in .*classes\.txt:1"),
        (b"pit\0\1\2", "its content is no text"),
    ],
)
def test_a_wrong_list_of_names_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    folder = _plain(tmp_path, {"images/a.png": "", "labels/a.txt": ROW})
    (folder / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        raw(folder)
    assert find_yolo(folder) == []


@pytest.mark.parametrize(
    ("numbers", "first", "count", "ids"),
    [
        ("0 2", 0, 3, [0, 2]),
        ("1 2", 1, 2, [0, 1]),
        ("0 -1 1.5 1e9 1203 nan", 0, 1, [0, -1, 1.5, 1e9, 1203]),  # no list of names is made as long as that
        ("1202", 0, 1203, [1202]),
    ],
)
def test_names_are_made_up_where_nothing_lists_them(
    tmp_path: Path, numbers: str, first: int, count: int, ids: list[float]
) -> None:
    rows = "".join(f"{number} .5 .5 .2 .2\n" for number in numbers.split())
    found = raw(_plain(tmp_path, {"images/a.png": "", "labels/a.txt": rows}), first_class=first)
    assert found.names == tuple(f"class{number}" for number in range(count))
    assert found.boxes["class_id"].drop_nans().to_list() == ids
    assert finding(found, "names.made_up").severity == "warning"


def test_pictures_beside_the_folders_of_images_are_left_out_in_the_open(tmp_path: Path) -> None:
    files = {"images/a.png": "", "labels/a.txt": ROW, "preview/a.png": "", "classes.txt": "pit\n"}
    found = raw(_plain(tmp_path, files))
    assert found.images["path"].to_list() == ["images/a.png"]
    assert finding(found, "images.outside").evidence == {"count": 1, "pictures": ["preview/a.png"]}


def test_a_folder_without_anything_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data\.yaml and no pictures found"):
        raw(tmp_path)
    (tmp_path / "a.txt").write_text(ROW)
    with pytest.raises(DataError, match=r"a\.txt: no data\.yaml found"):
        raw(tmp_path / "a.txt")


# ---- anything at all -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), first=st.integers(0, 1), coordinates=st.sampled_from(["fractions", "pixels"]))
def test_whatever_stands_there_is_read_or_refused_with_words(
    case: dict[str, bytes], first: int, coordinates: str
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, content in case.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        before = snapshot(folder)
        assert find_yolo(folder) in ([], [folder], find_data_yaml(folder))
        try:
            found = raw(folder, first_class=first, coordinates=coordinates)
        except DataError:
            found = None
        assert snapshot(folder) == before
    if found is None:
        return
    assert dict(found.images.schema) == RAW_IMAGES_SCHEMA
    assert dict(found.boxes.schema) == RAW_BOXES_SCHEMA
    assert dict(found.rejected.schema) == LEDGER_SCHEMA
    assert found.rows_read == found.boxes.height + found.rejected.height
    pictures = set(found.images["path"])
    assert pictures <= set(case)
    assert set(found.boxes["path"]) <= pictures
    assert found.boxes["text"].null_count() == found.boxes["notes"].null_count()
    assert set(found.rejected["action"]) <= {"dropped", "refused"}
    every = pl.concat([found.boxes["source"], found.rejected["source"]])
    assert every.is_duplicated().any() is False or any(f.id == "labels.shared_file" for f in found.findings)
