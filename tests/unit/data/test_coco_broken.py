"""COCO in: outlines, rows and files that are broken or mean harm, and JSON read in pieces."""

from __future__ import annotations

import gc
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_documents import PIT
from coco_documents import document as _document
from coco_documents import finding as _finding
from coco_documents import note as _note
from coco_documents import raw as _raw
from coco_documents import refused as _refused
from coco_documents import rejected as _rejected
from coco_documents import write as _write
from grammar_coco import cases
from helpers import corners, draw, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_masks

from pipeline.data.formats.coco import find_coco_files
from pipeline.data.formats.coco_json import PIECE, parse_document
from pipeline.data.formats.coco_outlines import box_of_outline
from pipeline.data.intake import read_dataset
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError

# ---- outlines -------------------------------------------------------------------------------------------------------


def test_an_annotation_with_an_outline_alone_becomes_the_box_around_it(tmp_path: Path) -> None:
    notes = [
        _note(1, [], segmentation=[[10, 5, 12.5, 8, 11, 20], [3, 6, 4, 6, 4, 7]]),
        _note(2, [1, 1, 5, 5], segmentation=[[0, 0, 9, 9, 0, 9]]),
        {"id": 3, "image_id": 1, "category_id": 1, "segmentation": {"counts": [61, 2, 28, 2, 1107], "size": [30, 40]}},
        _note(4, None, segmentation=[30, 10, 35, 10, 35, 12], iscrowd=1),
        _note(5, [1, 2], segmentation=[[1, 2, 3]]),
    ]
    raw = _raw(_write(tmp_path / "train.json", _document(None, notes)))
    assert corners(raw.boxes) == [(3, 5, 12.5, 20), (1, 1, 6, 6), (2, 1, 4, 3), (30, 10, 35, 12)]
    assert raw.boxes["notes"].to_list() == ["labels.polygon", None, "labels.polygon", "labels.polygon"]
    assert raw.boxes["crowd"].to_list() == [False, False, False, True]
    assert raw.boxes["text"][0].startswith("segmentation [[10, 5, 12.5")
    assert raw.rejected["source"].to_list() == ["train.json:annotation 5"]
    intake = read_dataset(tmp_path)
    assert intake.counts() == {"read": 5, "kept": 1, "repaired": 3, "dropped": 1, "refused": 0}


_masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda size: st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
        lambda flat: np.array(flat, np.uint8).reshape(size)
    )
)


@settings(deadline=None, max_examples=60)
@given(_masks, st.booleans())
def test_the_box_of_a_mask_is_that_of_pycocotools(mask: np.ndarray[Any, np.dtype[np.uint8]], large: bool) -> None:
    if large:  # runs of several groups of bits, and of falling lengths
        mask = np.kron(mask, np.ones((37, 41), np.uint8))
    packed = coco_masks.encode(np.asfortranarray(mask))
    x, y, width, height = coco_masks.toBbox(packed)
    expected = (x, y, x + width, y + height) if mask.any() else None
    size = list(mask.shape)
    assert box_of_outline({"counts": packed["counts"].decode(), "size": size}) == expected
    flat = mask.flatten(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    assert box_of_outline({"counts": runs, "size": size}) == expected


@pytest.mark.parametrize(
    "outline",
    [
        None,
        [],
        [[]],
        [[1, 2, 3]],
        [["1", "2"]],
        [[1, 2], 3],
        {},
        {"counts": [1, 2], "size": [3]},
        {"counts": [1, 2], "size": [3, 3.5]},
        {"counts": [0, 10], "size": [3, 3]},
        {"counts": [-1, 2], "size": [3, 3]},
        {"counts": [2**62] * 4, "size": [2**31 - 1] * 2},
        {"counts": "", "size": [3, 3]},
        {"counts": "~", "size": [3, 3]},
        {"counts": "P", "size": [3, 3]},  # breaks off inside a number
        {"counts": "o" * 40, "size": [3, 3]},
        {"counts": [9], "size": [3, 3]},
        [[10**400, 1, 1, 1]],
    ],
)
def test_what_is_no_outline_has_no_box(outline: Any) -> None:
    assert box_of_outline(outline) is None


# ---- broken and hostile files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../secret.png", "sub/../../secret.png", "..\\secret.png", "{absolute}", "C:\\data\\secret.png"]
)
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
        ([1, 2, True, 4], "bbox is [1, 2, True, 4]"),
    ],
)
def test_a_malformed_bbox_drops_its_row_alone(tmp_path: Path, bbox: Any, shown: str) -> None:
    _write(tmp_path / "train.json", _document(None, [_note(1, [1, 1, 5, 5]), _note(812, bbox), _note(3, [2, 2, 5, 5])]))
    assert _raw(tmp_path).boxes["source"].to_list() == ["train.json:annotation 1", "train.json:annotation 3"]
    ((source, (key, action, text)),) = _rejected(tmp_path).items()
    assert (source, key, action) == ("train.json:annotation 812", "labels.not_parsed", "dropped")
    assert text.startswith(shown)
    assert text.endswith("expected [x, y, width, height]")
    assert len(text) < 250
    assert read_dataset(tmp_path).counts()["dropped"] == 1


@pytest.mark.parametrize(
    ("note", "source", "text"),
    [
        (_note(9, [1, 1, 5, 5], image_id=2), "9", "image_id 2 is no picture of this file"),
        (_note(9, [1, 1, 5, 5], image_id=None), "9", "image_id None is no picture of this file"),
        (_note(9, [1, 1, 5, 5], image_id=[1]), "9", "image_id [1] is no picture of this file"),
        (_note(9, [1, 1, 5, 5], category_id={}), "9", "category_id {} is no category of this file"),
        ({"image_id": 1, "category_id": 1}, "1", "bbox is None, expected [x, y, width, height]"),  # no id: by its place
        ("text", "1", "not an object: text"),
        ("\ud800", "1", "not an object: \\ud800"),
        (_note("\ud800" * 200, 0), "\\ud800" * 32 + "\\ud80...", "bbox is 0, expected [x, y, width, height]"),
        (_note(10**30, 0), str(10**30), "bbox is 0, expected [x, y, width, height]"),
    ],
)
def test_an_annotation_of_nothing_known_is_dropped(tmp_path: Path, note: Any, source: str, text: str) -> None:
    _write(tmp_path / "train.json", _document(None, [_note(7, [1, 1, 5, 5]), note]))
    assert _raw(tmp_path).boxes.height == 1
    found = _rejected(tmp_path)
    assert found == {f"train.json:annotation {source}": ("labels.not_parsed", "dropped", text)}


def test_unknown_categories_refuse_the_dataset_and_are_counted(tmp_path: Path) -> None:
    notes = [_note(n, [1, 1, 5, 5], category_id=key) for n, key in enumerate((1, 0, 0, 9))]
    _write(tmp_path / "train.json", _document(None, notes))
    assert _rejected(tmp_path)["train.json:annotation 3"] == (
        "labels.class_out_of_range",
        "refused",
        "category_id 9 is no category of this file",
    )
    finding = _finding(_raw(tmp_path), "labels.class_out_of_range")
    assert finding.severity == "error"
    assert finding.evidence["count"] == 3
    assert "category 0 in 2, category 9 in 1 annotations of 1 file" in finding.message
    assert "category 0 in 2" in _refused(tmp_path)


def test_one_bad_row_in_many_costs_only_itself(tmp_path: Path) -> None:
    notes: list[Any] = [_note(n, [n % 30, 2, 5, 5]) for n in range(2 * PIECE + 7)]
    notes[5], notes[PIECE], notes[-1] = None, _note(PIECE, [1]), _note(0, [3, 3, 4, "4"])
    raw = _raw(_write(tmp_path / "train.json", _document(None, notes)))
    assert raw.rejected.height == 3
    kept = [n for n in range(2 * PIECE + 6) if n not in (5, PIECE)]
    assert raw.boxes["source"].to_list() == [f"train.json:annotation {n}" for n in kept]
    assert raw.boxes["x1"].to_list() == [n % 30 for n in kept]


@pytest.mark.parametrize(
    "image",
    [
        "b.png",
        {"id": 2},
        {"file_name": "b.png"},
        {"id": [2], "file_name": "b.png"},
        {"id": 2, "file_name": 5},
        {"id": 2, "file_name": ""},
        {"id": 2, "file_name": "\0.png"},
        {"id": 2, "file_name": "\ud800.png"},
    ],
)
def test_a_malformed_picture_is_left_out_with_its_rows(tmp_path: Path, image: Any) -> None:
    draw(tmp_path / "a.png")
    images = [{"id": 1, "file_name": "a.png"}, image]
    notes = [_note(1, [1, 1, 5, 5]), _note(2, [1, 1, 5, 5], image_id=2)]
    _write(tmp_path / "train.json", _document(images, notes), pictures=False)
    raw = _raw(tmp_path)
    assert raw.images["path"].to_list() == ["a.png"]
    assert _finding(raw, "images.not_parsed").evidence["count"] == 1
    assert list(_rejected(tmp_path)) == ["train.json:annotation 2"]
    with pytest.raises(DataError, match="needs records with 'id' and 'file_name', found"):
        _raw(_write(tmp_path / "train.json", _document([image]), pictures=False))


def test_one_id_for_two_pictures_refuses_the_dataset(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": name} for name in ("a.png", "b.png", "a.png")]
    folder = _write(tmp_path / "train.json", _document(images))
    assert _finding(_raw(folder), "images.shared_id").evidence == {"count": 1, "files": ["train.json: id 1"]}
    assert "picture ids stand for two pictures each" in _refused(folder)


def test_a_picture_under_two_ids_is_handed_on(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}]
    notes = [_note(1, [1, 1, 5, 5]), _note(2, [2, 2, 5, 5], image_id=2)]
    folder = _write(tmp_path / "train.json", _document(images, notes))
    assert _raw(folder).images["path"].to_list() == ["a.png", "a.png"]
    intake = read_dataset(folder)
    assert intake.dataset.images.height == 1
    assert intake.dataset.boxes.height == 2
    assert [finding.id for finding in intake.findings] == ["images.listed_twice"]


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ([], "list of categories is empty"),
        (["pit"], "a category needs an integer 'id' and a 'name', found pit"),
        ([{"id": "x1", "name": "pit"}], "a category needs an integer 'id'"),
        ([{"id": 1}], "a category needs an integer 'id' and a 'name'"),
        ([{"id": 1, "name": ""}], "a category needs an integer 'id' and a 'name'"),
        ([{"id": 1, "name": " \t"}], "a category needs an integer 'id' and a 'name'"),
        ([{"id": True, "name": "pit"}], "a category needs an integer 'id' and a 'name'"),
        ([{"id": 1, "name": ["pit"]}], "a category needs an integer 'id' and a 'name'"),
        ([{"id": 1, "name": "\ud800"}], "a category needs an integer 'id' and a 'name'"),
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
        ('{"a": {"images": []}, "annotations": [], "categories": []}', "the list 'images' is missing"),
        ('[{"images": [], "annotations": []}]', "the list 'images' is missing"),
        ('{"images": [], "annotations": [], "annotations": {}}', "the list 'annotations' is missing"),
        ('{"images": [], "annotations": ' + "[" * 200_000, "not a JSON file that can be read"),
        ('{"images": [], "annotations": [' + '{"a":' * 200_000, "not a JSON file that can be read"),
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


# ---- JSON in pieces -------------------------------------------------------------------------------------------------

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


class _Collected(list[Any]):
    def __call__(self, piece: list[Any]) -> None:
        self.extend(piece)


def _outcome(parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except json.JSONDecodeError as error:
        return ("refused", len(text[: error.pos].rstrip()))  # the same place, before or behind a blank


@settings(deadline=None, max_examples=200)
@given(
    _values | st.fixed_dictionaries({"annotations": _values, "a": _values}, optional={"b": _values}),
    st.sampled_from([None, 0, 3]),
    st.integers(0, 60),
    st.sampled_from(["", ",", "}", "]", "[", '"', "x", " ", "\n", ":", '{"annotations": [1]}', "\x00", "\u00a0"]),
    st.booleans(),
)
def test_json_in_pieces_is_what_the_standard_library_reads(
    value: Any, indent: int | None, place: int, insert: str, cut: bool
) -> None:
    text = json.dumps(value, indent=indent)
    text = text[:place] + insert + ("" if cut else text[place:])
    assert _outcome(lambda text: parse_document(text, "annotations", _Collected), text) == _outcome(json.loads, text)


def test_a_list_given_twice_counts_once_as_in_the_standard_library() -> None:
    text = '{"annotations": [1, 2], "annotations": [3]}'
    assert parse_document(text, "annotations", _Collected) == json.loads(text) == {"annotations": [3]}


def test_the_collector_of_garbage_works_again_afterwards() -> None:
    assert gc.isenabled()
    for text in ('{"annotations": [1]}', '{"annotations": [1'):
        _outcome(lambda text: parse_document(text, "annotations", _Collected), text)
        assert gc.isenabled()


# ---- anything at all ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(cases())
def test_whatever_is_there_is_read_or_refused_in_words_and_stays_as_it_is(case: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name, content in case.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        before = snapshot(root)
        found = _raw_or_none(root)
        if found is not None:
            assert isinstance(found, RawDataset)
            assert found.boxes.height + found.rejected.height == sum(map(_rows_in, find_coco_files(root)))
            assert found.rows_read == found.boxes.height + found.rejected.height
        assert snapshot(root) == before


def _raw_or_none(root: Path) -> RawDataset | None:
    try:
        return _raw(root)
    except DataError:
        return None


def _rows_in(file: Path) -> int:
    content = file.read_bytes()
    try:
        return len(json.loads(content)["annotations"])
    except UnicodeDecodeError:
        return len(json.loads(content.decode("latin-1"))["annotations"])
