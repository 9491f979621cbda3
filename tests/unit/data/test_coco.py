"""COCO in: ids, splits and folders as tools really write them, and files that are broken or mean harm."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, corners, draw
from pycocotools.coco import COCO

from pipeline.data.formats.coco import find_coco_files
from pipeline.data.intake import Intake, read_dataset
from pipeline.errors import DataError

DEEPPCB = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data" / "deeppcb"
PIT = {"id": 1, "name": "pit"}


def _document(
    images: list[Any] | None = None, annotations: list[Any] | None = None, categories: list[Any] | None = None
) -> dict[str, Any]:
    """Return a document of one picture a.png (id 1) and the category pit (id 1), unless told otherwise."""
    return {
        "images": [{"id": 1, "file_name": "a.png"}] if images is None else images,
        "annotations": annotations or [],
        "categories": [PIT] if categories is None else categories,
    }


def _write(file: Path, document: dict[str, Any], *, pictures: bool = True) -> Path:
    """Write a document and beside it the pictures (40 x 30 px) that it names; returns its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document), "utf-8")
    for image in document["images"] if pictures else []:
        draw(file.parent / image["file_name"])
    return file.parent


def _note(id: int, bbox: Any, image_id: Any = 1, category_id: Any = 1, **more: Any) -> dict[str, Any]:
    return {"id": id, "image_id": image_id, "category_id": category_id, "bbox": bbox, **more}


def _refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_dataset(folder)
    return str(caught.value)


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
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "latin.json").write_bytes('{"images": [], "annotations": "ü"}'.encode("latin-1"))
    assert find_coco_files(tmp_path) == [tmp_path / "train.json"]
    assert read_dataset(tmp_path).dataset.images.height == 1


def test_missing_pictures_are_listed_by_their_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(13)]
    _write(tmp_path / "set" / "train.json", _document(images), pictures=False)
    draw(tmp_path / "set" / "images" / "0.png")
    monkeypatch.chdir(tmp_path)
    message = _refused(Path("set"))
    assert "12 of 13 pictures are missing" in message
    assert str(tmp_path / "set" / "images" / "1.png") in message
    assert str(tmp_path / "set" / "images" / "0.png") not in message
    assert message.endswith("... and 2 more")


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


def test_the_same_class_under_two_ids_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _document(None, [], [PIT, {"id": 2, "name": "pit"}]))
    assert "two categories have the same name: pit, pit" in _refused(tmp_path)


# ---- broken and hostile files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png", "..\\secret.png", "{absolute}"])
def test_a_picture_outside_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    secret = draw(tmp_path / "secret.png")
    images = [{"id": 1, "file_name": name.format(absolute=secret)}]
    _write(tmp_path / "set" / "train.json", _document(images), pictures=False)
    (tmp_path / "set" / "sub").mkdir()
    assert "lies outside of the dataset's folder; use relative names" in _refused(tmp_path / "set")


@pytest.mark.parametrize(
    ("bbox", "shown"),
    [
        (None, "bbox is None"),
        ([1, 2, 3], r"bbox is [1, 2, 3]"),
        ([1, 2, 3, 4, 5], "bbox is [1, 2, 3, 4, 5]"),
        (["1", "2", "3", "4"], "bbox is ['1', '2', '3', '4']"),
        ([1, 2, 3, None], "bbox is [1, 2, 3, None]"),
        ({"x": 1}, "bbox is {'x': 1}"),
        ("1 2 3 4", "bbox is 1 2 3 4"),
        ([10**400, 1, 1, 1], "bbox is [1000000"),
    ],
)
def test_a_malformed_bbox_is_refused_with_the_annotations_id(tmp_path: Path, bbox: Any, shown: str) -> None:
    _write(tmp_path / "train.json", _document(None, [_note(1, [1, 1, 5, 5]), _note(812, bbox)]))
    message = _refused(tmp_path)
    assert message.startswith("1 label rows cannot be used")
    assert f"train.json:annotation 812: {shown}" in message
    assert "expected [x, y, width, height]" in message


@pytest.mark.parametrize(
    ("note", "words"),
    [
        (_note(9, [1, 1, 5, 5], image_id=2), "annotation 9: image_id 2 is no picture of this file"),
        (_note(9, [1, 1, 5, 5], image_id=None), "annotation 9: image_id None is no picture of this file"),
        (_note(9, [1, 1, 5, 5], image_id=[1]), "annotation 9: image_id [1] is no picture of this file"),
        (_note(9, [1, 1, 5, 5], category_id=0), "annotation 9: category_id 0 is no category of this file"),
        (_note(9, [1, 1, 5, 5], category_id={}), "annotation 9: category_id {} is no category of this file"),
        ({"image_id": 1, "category_id": 1}, "annotation 1: bbox is None"),  # by its place where it has no id
        ("text", "annotation 1: not an object"),
    ],
)
def test_an_annotation_of_nothing_known_is_refused(tmp_path: Path, note: Any, words: str) -> None:
    _write(tmp_path / "train.json", _document(None, [_note(7, [1, 1, 5, 5]), note]))
    assert words in _refused(tmp_path)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (["a.png"], "a picture needs 'id' and 'file_name', found 'a.png'"),
        ([{"id": 1}], "a picture needs 'id' and 'file_name'"),
        ([{"file_name": "a.png"}], "a picture needs 'id' and 'file_name'"),
        ([{"id": [1], "file_name": "a.png"}], "a picture needs 'id' and 'file_name'"),
        ([{"id": 1, "file_name": 5}], "a picture needs 'id' and 'file_name'"),
        ([{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}], "two pictures have the id 1"),
        ([{"id": 1, "file_name": ""}], "1 of 1 pictures are missing"),
        ([{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}], "listed more than once"),
    ],
)
def test_a_malformed_picture_is_refused(tmp_path: Path, images: list[Any], words: str) -> None:
    draw(tmp_path / "a.png")
    _write(tmp_path / "train.json", _document(images), pictures=False)
    assert words in _refused(tmp_path)


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ([], "list of categories is empty"),
        (["pit"], "a category needs an integer 'id' and a 'name', found 'pit'"),
        ([{"id": "1", "name": "pit"}], "a category needs an integer 'id'"),
        ([{"id": 1}], "a category needs an integer 'id' and a 'name'"),
        ([{"id": 1, "name": ""}], "a category needs an integer 'id' and a 'name'"),
    ],
)
def test_a_malformed_category_is_refused(tmp_path: Path, categories: list[Any], words: str) -> None:
    _write(tmp_path / "train.json", _document(None, [], categories))
    assert words in _refused(tmp_path)


@pytest.mark.parametrize("width", ["40", -40, 0, 39.5, None, 10**30, [40]])
def test_a_strange_stated_size_gives_way_to_the_true_one(tmp_path: Path, width: Any) -> None:
    images = [{"id": 1, "file_name": "a.png", "width": width, "height": 30}]
    intake = read_dataset(_write(tmp_path / "train.json", _document(images)))
    assert intake.dataset.images.select("width", "height").row(0) == (40, 30)
    assert [finding.id for finding in intake.findings] == (["images.size_differs"] if width == 39.5 else [])


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_cut_off_file_is_called_unreadable(tmp_path: Path, share: float) -> None:
    folder = _write(tmp_path / "train.json", _document([{"id": n, "file_name": f"{n}.png"} for n in range(3)]))
    document = {
        "categories": [PIT],
        "annotations": [],
        "images": json.loads((folder / "train.json").read_text())["images"],
    }
    text = json.dumps(document)
    (folder / "train.json").write_text(text[: int(len(text) * share)])
    assert "train.json: not a JSON file that can be read" in _refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"images": [], "annotations": []}', "the list 'categories' is missing"),
        ('{"images": {}, "annotations": [], "categories": []}', "the list 'images' is missing"),
        ('["images", "annotations"]', "the list 'images' is missing"),
        ('{"images": 1, "annotations": ' + "[" * 200_000, "not a JSON file that can be read"),
    ],
)
def test_what_only_looks_like_coco_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "train.json").write_text(text)
    assert words in _refused(tmp_path)
    assert words in _refused(tmp_path / "train.json")


def test_a_json_file_of_another_kind_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"shapes": []}')
    for place in (tmp_path, tmp_path / "other.json"):
        with pytest.raises(DataError, match="no COCO file found"):
            read_dataset(place, format="coco")


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
