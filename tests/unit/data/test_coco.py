"""COCO in: ids, classes, splits, folders and encodings as tools really write them."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from coco_documents import PIT
from coco_documents import document as _document
from coco_documents import finding as _finding
from coco_documents import note as _note
from coco_documents import raw as _raw
from coco_documents import refused as _refused
from coco_documents import write as _write
from helpers import ROOT, corners, draw
from pycocotools.coco import COCO

from pipeline.data.formats.coco import find_coco_files
from pipeline.data.intake import Intake, read_dataset
from pipeline.data.raw import RawDataset

DEEPPCB = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data" / "deeppcb"


# ---- ids and classes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        ({1: "pit", 2: "scratch"}, ("pit", "scratch")),
        ({0: "pit", 1: "scratch"}, ("pit", "scratch")),
        ({90: "scratch", 7: "pit", 3000: "dent"}, ("pit", "scratch", "dent")),
        ({-1: "pit", 0: "scratch"}, ("pit", "scratch")),
    ],
)
def test_classes_are_numbered_by_category_id_without_gaps(
    tmp_path: Path, ids: dict[int, str], names: tuple[str, ...]
) -> None:
    categories = [{"id": number, "name": name} for number, name in ids.items()]
    notes = [_note(n, [n, n, 5, 5], category_id=number) for n, number in enumerate(ids)]
    dataset = read_dataset(_write(tmp_path / "train.json", _document(None, notes, categories))).dataset
    assert dataset.names == names
    found = {x1: names[class_id] for x1, class_id in dataset.boxes.select("x1", "class_id").iter_rows()}
    assert found == {float(n): name for n, name in enumerate(ids.values())}


def test_picture_ids_may_have_gaps_start_at_zero_or_be_text(tmp_path: Path) -> None:
    images = [{"id": key, "file_name": f"{n}.png"} for n, key in enumerate((0, 77, "x9", 10**12))]
    notes = [_note(n, [n, 2, 5, 5], image_id=image["id"]) for n, image in enumerate(images)]
    dataset = read_dataset(_write(tmp_path / "train.json", _document(images, notes))).dataset
    joined = dataset.boxes.join(dataset.images, on="image_id")
    assert sorted(joined.select("path", "x1").rows()) == [(f"{n}.png", float(n)) for n in range(4)]


def test_corners_are_exact_and_sources_name_file_and_annotation(tmp_path: Path) -> None:
    notes = [_note(41, [1.5, 2.25, 10.125, 20]), _note(42, [0, 0, 40, 30])]
    intake = read_dataset(_write(tmp_path / "sub" / "train.json", _document(None, notes)).parent / "sub")
    assert corners(intake.dataset.boxes) == [(1.5, 2.25, 11.625, 22.25), (0, 0, 40, 30)]
    assert intake.dataset.boxes["source"].to_list() == ["train.json:annotation 41", "train.json:annotation 42"]


def test_a_crowd_stays_a_crowd(tmp_path: Path) -> None:
    notes = [_note(1, [1, 1, 5, 5], iscrowd=1), _note(2, [2, 2, 5, 5], iscrowd=0), _note(3, [3, 3, 5, 5])]
    dataset = read_dataset(_write(tmp_path / "train.json", _document(None, notes))).dataset
    assert dataset.boxes["crowd"].to_list() == [True, False, False]


def test_boxes_are_checked_like_those_of_any_format(tmp_path: Path) -> None:
    notes = [
        _note(1, [30, 10, 20, 10]),
        _note(2, [5, 5, 0, 3]),
        _note(3, [5, 5, float("nan"), 3]),
        _note(4, [1e308] * 4),
    ]
    intake = read_dataset(_write(tmp_path / "train.json", _document(None, notes)))
    assert corners(intake.dataset.boxes) == [(30, 10, 40, 20)]
    assert dict(zip(intake.ledger["source"], intake.ledger["id"], strict=True)) == {
        "train.json:annotation 1": "labels.outside_clipped",
        "train.json:annotation 2": "labels.no_size",
        "train.json:annotation 3": "labels.not_finite",
        "train.json:annotation 4": "labels.not_finite",
    }


def test_two_picture_ids_that_share_a_file_keep_all_their_rows(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": "a.png"} for n in (1, 2)]
    notes = [_note(7, [1, 2, 5, 5]), _note(7, [11, 2, 5, 5], image_id=2), _note(8, None, image_id=2)]
    raw = _raw(_write(tmp_path / "train.json", _document(images, notes)))
    assert raw.images["path"].to_list() == ["a.png", "a.png"]
    assert corners(raw.boxes) == [(1, 2, 6, 7), (11, 2, 16, 7)]
    assert (raw.rejected.height, raw.rows_read) == (1, 3)


def test_a_picture_in_two_files_has_the_rows_of_both_once(tmp_path: Path) -> None:
    for name in ("train", "val"):
        _write(tmp_path / f"{name}.json", _document(None, [_note(1, [1, 2, 5, 5]), _note(2, [2, 2, 5, 5])]))
    raw = _raw(tmp_path)
    assert raw.images.select("path", "split").rows() == [("a.png", "train"), ("a.png", "val")]
    assert raw.boxes["source"].to_list() == [f"{s}.json:annotation {n}" for s in ("train", "val") for n in (1, 2)]
    assert raw.rows_read == 4


@pytest.mark.parametrize("listed", [1, "1"])
@pytest.mark.parametrize("named", [1, "1"])
def test_a_number_and_its_text_are_one_id(tmp_path: Path, listed: int | str, named: int | str) -> None:
    categories = [{"id": listed, "name": "pit"}, {"id": 20, "name": "dent"}]
    document = _document([{"id": listed, "file_name": "a.png"}], [], categories)
    document["annotations"] = [_note(n, [1, 2, 5, 5], named, category) for n, category in enumerate((named, 20))]
    raw = _raw(_write(tmp_path / "train.json", document))
    assert raw.boxes.select("path", "class_id").rows() == [("a.png", 0.0), ("a.png", 1.0)]
    told = [finding.evidence for finding in raw.findings if finding.id == "labels.ids_as_text"]
    both = ["train.json:annotation 0", "train.json:annotation 1"]
    assert told == ([{"count": 2, "rows": both}] if named != listed else [])


def test_categories_whose_ids_are_text_are_told(tmp_path: Path) -> None:
    categories = [{"id": "10", "name": "dent"}, {"id": "9", "name": "pit"}, {"id": 11, "name": "scratch"}]
    notes = [_note(n, [1, 2, 5, 5], category_id=key) for n, key in enumerate((9, "10", 11, 9))]
    raw = _raw(_write(tmp_path / "train.json", _document(None, notes, categories)))
    assert raw.names == ("pit", "dent", "scratch")
    assert raw.boxes["class_id"].to_list() == [0, 1, 2, 0]
    rows = ["train.json:annotation 0", "train.json:annotation 3"]
    assert _finding(raw, "labels.ids_as_text").evidence == {"count": 2, "rows": rows}


def test_a_number_and_its_text_are_two_ids_where_both_are_listed(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "b.png"}]
    notes = [_note(1, [1, 2, 5, 5], 1), _note(2, [1, 2, 5, 5], "1"), _note(3, [1, 2, 5, 5], "01")]
    raw = _raw(_write(tmp_path / "train.json", _document(images, notes)))
    assert raw.boxes["path"].to_list() == ["a.png", "b.png"]
    assert raw.rejected["source"].to_list() == ["train.json:annotation 3"]
    assert [finding.id for finding in raw.findings] == []


@pytest.mark.parametrize(("bad", "refused"), [(1, False), (2, True), (4, True)])
def test_half_of_the_annotations_being_of_no_use_refuses_the_file(tmp_path: Path, bad: int, refused: bool) -> None:
    notes = [_note(n, [1, 2, 5, 5], image_id=9 if n < bad else 1) for n in range(4)]
    _write(tmp_path / "val.json", _document(None, [_note(n, [1, 2, 5, 5]) for n in range(9)]))
    raw = _raw(_write(tmp_path / "train.json", _document(None, notes)))
    told = [finding for finding in raw.findings if finding.severity == "error"]
    assert [finding.id for finding in told] == ["labels.not_parsed"] * refused
    if refused:
        assert f"train.json: {bad} of 4 annotations cannot be used, such as 'image_id 9 is no" in told[0].message
        assert told[0].evidence == {"count": bad, "rows": [f"train.json:annotation {n}" for n in range(bad)]}


# ---- splits and folders ---------------------------------------------------------------------------------------------


def _splits(intake: Intake) -> dict[str, str]:
    return dict(intake.dataset.images.select("path", "split").rows())


def test_splits_come_from_file_names_beside_a_folder_of_pictures(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        images = [{"id": 1, "file_name": f"{split}.png"}]
        _write(tmp_path / "annotations" / f"instances_{split}2017.json", _document(images), pictures=False)
        draw(tmp_path / f"{split}2017" / f"{split}.png")
    assert _splits(read_dataset(tmp_path)) == {f"{s}2017/{s}.png": s for s in ("train", "val", "test")}


def test_splits_come_from_the_folders_of_roboflow(tmp_path: Path) -> None:
    for folder in ("train", "valid", "test"):
        notes = [_note(5, [1, 1, 5, 5])]
        images = [{"id": 1, "file_name": f"{folder}.png"}]
        _write(tmp_path / folder / "_annotations.coco.json", _document(images, notes))
    intake = read_dataset(tmp_path)
    assert _splits(intake) == {"train/train.png": "train", "valid/valid.png": "val", "test/test.png": "test"}
    assert intake.dataset.boxes.sort("source")["source"].to_list() == [
        f"{folder}/_annotations.coco.json:annotation 5" for folder in ("test", "train", "valid")
    ]


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("train.json", "images/{}"),
        ("train.json", "images/train/{}"),
        ("train.json", "train/{}"),
        ("annotations/train.json", "images/{}"),
        ("annotations/train.json", "images/train/{}"),
        ("annotations/instances_train2017.json", "train2017/{}"),
        ("annotations/instances_train2017.json", "images/train2017/{}"),
    ],
)
def test_pictures_are_found_where_tools_put_them(tmp_path: Path, file: str, place: str) -> None:
    images = [{"id": 1, "file_name": "board1/a.png"}]
    _write(tmp_path / file, _document(images), pictures=False)
    draw(tmp_path / place.format("board1/a.png"))
    assert _splits(read_dataset(tmp_path)) == {place.format("board1/a.png"): "train"}
    assert _splits(read_dataset(tmp_path / file)) == {place.format("board1/a.png"): "train"}


@pytest.mark.parametrize(("name", "split"), [("instances_val", "val"), ("latest", "train"), ("test", "test")])
def test_a_single_file_is_one_split_named_by_its_words(tmp_path: Path, name: str, split: str) -> None:
    _write(tmp_path / f"{name}.json", _document())
    assert _splits(read_dataset(tmp_path / f"{name}.json")) == {"a.png": split}
    assert _splits(read_dataset(tmp_path)) == {"a.png": split}


def test_other_json_files_are_left_alone(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _document())
    (tmp_path / "settings.json").write_text('{"images": "where"}')
    (tmp_path / "counts.json").write_text('{"images": 12, "annotations": 40}')
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "latin.json").write_bytes('{"images": [], "notes": "ü"}'.encode("latin-1"))
    (tmp_path / "labelme.json").write_text('{"shapes": [], "text": "\\"images\\" \\"annotations\\""}')
    assert find_coco_files(tmp_path) == [tmp_path / "train.json"]
    assert _raw(tmp_path).images.height == 1


def test_rows_of_missing_pictures_are_counted_by_the_intake(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(13)]
    notes = [_note(n, [1, 1, 5, 5], image_id=n) for n in range(13)]
    _write(tmp_path / "set" / "train.json", _document(images, notes), pictures=False)
    for number in range(1, 13):
        draw(tmp_path / "set" / "images" / f"{number}.png")
    intake = read_dataset(tmp_path / "set")
    assert intake.counts() == {"read": 13, "kept": 12, "repaired": 0, "dropped": 1, "refused": 0}
    missing = [finding for finding in intake.findings if finding.id == "images.missing"]
    assert [finding.evidence["pictures"] for finding in missing] == [["images/0.png"]]


def test_when_no_picture_is_there_all_places_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "set" / "train.json", _document(), pictures=False)
    for folder in ("images", "images/train", "elsewhere"):
        (tmp_path / "set" / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    message = _refused(Path("set"))
    assert message.startswith("none of the pictures is there")
    for folder in ("set", "set/images", "set/images/train"):
        assert str(tmp_path / folder) in message
    assert "elsewhere" not in message


def test_a_split_without_any_of_its_pictures_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _document())
    _write(tmp_path / "val.json", _document([{"id": 1, "file_name": "b.png"}]), pictures=False)
    finding = _finding(_raw(tmp_path), "images.missing")
    assert finding.severity == "error"
    assert f"{tmp_path / 'val.json'}: 1 pictures, such as b.png; looked in {tmp_path}" in finding.message


def test_each_folder_is_looked_at_once_not_each_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [{"id": n, "file_name": f"board{n % 2}/{n}.png"} for n in range(40)]
    _write(tmp_path / "train.json", _document(images), pictures=False)
    for image in images:
        draw(tmp_path / "images" / image["file_name"])
    looked: list[Path] = []
    scandir = os.scandir

    def counting(folder: Path) -> Any:
        looked.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counting)
    monkeypatch.setattr(
        Path, "is_file", lambda path: pytest.fail(f"looked at {path}") if "board" in str(path) else False
    )
    assert _raw(tmp_path).images.height == 40
    boards = sorted(folder for folder in looked if "board" in str(folder))
    assert boards == sorted(tmp_path / f"{place}board{n}" for place in ("", "images/") for n in (0, 1))


def test_files_that_disagree_on_a_category_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _document())
    _write(tmp_path / "val.json", _document([{"id": 1, "file_name": "b.png"}], [], [{"id": 1, "name": "dent"}]))
    assert "category 1 is 'dent' here and 'pit' in another split" in _refused(tmp_path)


def test_files_with_other_categories_are_joined(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _document(None, [_note(1, [1, 1, 5, 5])]))
    other = _document(
        [{"id": 1, "file_name": "b.png"}], [_note(1, [1, 1, 5, 5], category_id=5)], [{"id": 5, "name": "dent"}]
    )
    _write(tmp_path / "val.json", other)
    dataset = read_dataset(tmp_path).dataset
    assert dataset.names == ("pit", "dent")
    assert dataset.split("val").boxes["class_id"].to_list() == [1]
    assert dataset.split("train").boxes["class_id"].to_list() == [0]


def _two_splits(tmp_path: Path, one: dict[int, str], other: dict[int, str]) -> Path:
    """Write train.json and val.json with these categories and, in each, one box of every category."""
    for split, known in (("train", one), ("val", other)):
        categories = [{"id": key, "name": name} for key, name in known.items()]
        notes = [_note(n, [n, 1, 5, 5], category_id=key) for n, key in enumerate(known)]
        _write(tmp_path / f"{split}.json", _document([{"id": 1, "file_name": f"{split}.png"}], notes, categories))
    return tmp_path


def test_files_with_other_ids_for_the_same_names_are_joined_by_name(tmp_path: Path) -> None:
    raw = _raw(_two_splits(tmp_path, {1: "pit", 2: "scratch"}, {1: "scratch", 7: "pit"}))
    assert raw.names == ("pit", "scratch")
    assert raw.boxes.select("path", "class_id").rows() == [
        *(("train.png", 0.0), ("train.png", 1.0)),
        *(("val.png", 1.0), ("val.png", 0.0)),
    ]
    assert _finding(raw, "names.joined").evidence["names"] == ["pit", "scratch"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({1: "scratch"}, "category 1 is 'scratch' here and 'pit' in another split"),
        ({3: "scratch"}, "the files give one name two category ids: pit, scratch, scratch"),
    ],
)
def test_files_that_contradict_each_other_are_refused(tmp_path: Path, other: dict[int, str], words: str) -> None:
    assert words in _refused(_two_splits(tmp_path, {1: "pit", 2: "scratch"}, other))


def test_the_same_class_under_two_ids_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _document(None, [], [PIT, {"id": 2, "name": "pit "}]))
    assert "two categories have the same name: pit, pit" in _refused(tmp_path)


def test_one_id_for_two_names_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _document(None, [], [PIT, {"id": 1, "name": "dent"}]))
    assert "category 1 is 'pit' and 'dent'" in _refused(tmp_path)


def _roboflow(tmp_path: Path, used: int, **root: Any) -> RawDataset:
    """Read a set with Roboflow's category 0 above `pit` and `scratch`, and one box of a category."""
    categories = [
        {"id": 0, "name": "defects", "supercategory": "none", **root},
        {"id": 1, "name": "defects" if used == 9 else "pit", "supercategory": "defects"},
        {"id": 2, "name": "scratch", "supercategory": "defects"},
    ]
    note = _note(1, [1, 1, 5, 5], category_id=min(used, 2))
    return _raw(_write(tmp_path / "train.json", _document(None, [note], categories)))


def test_the_unused_category_above_all_others_is_no_class(tmp_path: Path) -> None:
    raw = _roboflow(tmp_path, 2)
    assert raw.names == ("pit", "scratch")
    assert raw.boxes["class_id"].to_list() == [1.0]
    assert _finding(raw, "names.unused_root").severity == "info"
    assert _roboflow(tmp_path, 9).names == ("defects", "scratch")  # the project has the name of its class


def test_a_category_0_that_boxes_have_or_that_stands_beside_the_others_is_a_class(tmp_path: Path) -> None:
    assert _roboflow(tmp_path, 0).names == ("defects", "pit", "scratch")
    assert _roboflow(tmp_path, 2, name="other").names == ("other", "pit", "scratch")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_other_encodings_are_read_and_told(tmp_path: Path, encoding: str) -> None:
    document = _document(None, [_note(1, [1, 1, 5, 5])], [{"id": 1, "name": "Grübchen"}])
    _write(tmp_path / "train.json", document)
    (tmp_path / "train.json").write_bytes(json.dumps(document, ensure_ascii=False).encode(encoding))
    raw = _raw(tmp_path)
    assert raw.names == ("Grübchen",)
    assert raw.boxes.height == 1
    told = [finding for finding in raw.findings if finding.id == "labels.encoding"]
    assert [finding.evidence["files"] for finding in told] == ([] if encoding == "utf-8-sig" else [["train.json"]])


@pytest.mark.parametrize("before", [0, 4060, 4096, 4090, (1 << 20) + 4090])
def test_a_file_is_known_by_its_lists_wherever_they_stand(tmp_path: Path, before: int) -> None:
    for encoding in ("utf-8", "utf-16"):
        text = json.dumps({"info": "x" * before, "annotations": [], "y": "", "images": [], "categories": []})
        (tmp_path / "train.json").write_bytes(text.encode(encoding))
        assert find_coco_files(tmp_path) == [tmp_path / "train.json"]


# ---- pictures in other folders --------------------------------------------------------------------------------------


def _named(folder: Path, *names: str, file: str = "labels.json") -> RawDataset:
    """Read a set whose list has these names; no picture is written."""
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    notes = [_note(n, [1, 2, 5, 5], image_id=n) for n in range(len(names))]
    return _raw(_write(folder / file, _document(images, notes), pictures=False))


def test_pictures_in_several_folders_are_found_by_their_names(tmp_path: Path) -> None:
    for place in ("train/a.png", "train/b.png", "val/c.png", "deep/down/here/d.png"):
        draw(tmp_path / place)
    raw = _named(tmp_path, "a.png", "b.png", "c.png", "d.png", "gone.png")
    assert raw.images["path"].to_list() == [
        *("train/a.png", "train/b.png", "val/c.png", "deep/down/here/d.png", "train/gone.png")
    ]
    assert raw.boxes["path"].to_list() == raw.images["path"].to_list()
    told = _finding(raw, "images.found_by_name")
    assert (told.severity, told.evidence) == ("info", {"count": 2, "pictures": ["val/c.png", "deep/down/here/d.png"]})
    assert [finding.id for finding in raw.findings] == ["images.found_by_name"]


def test_a_set_whose_pictures_all_lie_deeper_is_read(tmp_path: Path) -> None:
    draw(tmp_path / "export/one/x/a.png")
    draw(tmp_path / "export/two/x/a.png")
    raw = _named(tmp_path, "one/x/a.png", "two/x/a.png")
    assert raw.images["path"].to_list() == ["export/one/x/a.png", "export/two/x/a.png"]


def test_a_name_that_leaves_doubt_is_not_looked_up(tmp_path: Path) -> None:
    for place in ("train/here.png", "one/a.png", "two/a.png", "three/b.png", ".trash/c.png"):
        draw(tmp_path / place)
    raw = _named(tmp_path, "here.png", "a.png", "x/b.png", "y/b.png", "c.png")
    assert raw.images["path"].to_list() == [f"train/{n}.png" for n in ("here", "a", "x/b", "y/b", "c")]
    assert raw.findings == ()


def test_a_picture_that_another_entry_has_is_not_taken(tmp_path: Path) -> None:
    draw(tmp_path / "train/a.png")
    draw(tmp_path / "val/b.png")
    _named(tmp_path, "a.png", file="train.json")
    raw = _named(tmp_path, "a.png", "b.png", file="val.json")
    assert raw.images.select("path", "split").rows() == [
        *(("train/a.png", "train"), ("val/a.png", "val"), ("val/b.png", "val"))
    ]


def test_no_name_is_looked_up_outside_of_the_folder_or_behind_a_link(tmp_path: Path) -> None:
    draw(tmp_path / "set/train/here.png")
    draw(tmp_path / "outside/a.png")
    (tmp_path / "set/linked").symlink_to(tmp_path / "outside")
    raw = _named(tmp_path / "set", "here.png", "a.png")
    assert raw.images["path"].to_list() == ["train/here.png", "train/a.png"]
    assert raw.findings == ()


# ---- against pycocotools --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not DEEPPCB.is_dir(), reason="the DeepPCB pictures are not here (TUNEUP_SHARED names their folder)")
def test_deeppcb_reads_as_pycocotools_and_plain_json_read_it() -> None:
    intake = read_dataset(DEEPPCB)
    assert intake.counts()["read"] == intake.counts()["kept"] == intake.dataset.boxes.height
    assert intake.findings == ()
    for split in ("train", "test"):
        part = intake.dataset.split(split)
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(DEEPPCB / f"{split}.json"))
        plain = json.loads((DEEPPCB / f"{split}.json").read_text())
        assert part.images.height == len(coco.getImgIds()) == len(plain["images"])
        assert part.boxes.height == len(coco.getAnnIds()) == len(plain["annotations"])
        names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
        assert Counter(intake.dataset.names[c] for c in part.boxes["class_id"]) == Counter(
            names[note["category_id"]] for note in plain["annotations"]
        )
        files = {image["id"]: f"images/{image['file_name']}" for image in plain["images"]}
        joined = part.boxes.join(part.images, on="image_id")
        assert Counter(joined.select("path", "x1", "y1", "x2", "y2").iter_rows()) == Counter(
            (files[note["image_id"]], x, y, x + w, y + h)
            for note in coco.loadAnns(coco.getAnnIds())
            for x, y, w, h in [map(float, note["bbox"])]
        )
        assert set(part.images.select("width", "height").iter_rows()) == {(640, 640)}
