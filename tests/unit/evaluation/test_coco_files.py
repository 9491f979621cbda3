"""COCO files of any detector: read to the letter, in pieces, and refused with the place of what is wrong."""

from __future__ import annotations

import contextlib
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.errors import DataError
from pipeline.evaluation import json_lists
from pipeline.evaluation.average_precision import mean, scores
from pipeline.evaluation.coco_files import (
    GroundTruth,
    detection_findings,
    read_detections,
    read_ground_truth,
)
from pipeline.evaluation.matching import match

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a value as JSON, or a text as it is, and return the file."""

    def write_file(content: Any, name: str = "gt.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return write_file


def _truth(annotations: Any = (), *, without: str = "", **changes: Any) -> dict[str, Any]:
    """Return a ground truth of pictures 3 and 7 (100 x 80 px) and the categories 2 and 5."""
    given = {
        "info": {"year": 2024},
        "images": [{"id": 7, "file_name": "b.png", "width": 100, "height": 80}, {"id": 3, "width": 100, "height": 80}],
        "annotations": list(annotations),
        "categories": [{"id": 5, "name": "scratch"}, {"id": 2, "name": "pit"}],
    }
    return {key: value for key, value in (given | changes).items() if key != without}


def _box(image_id: Any = 7, category_id: Any = 2, bbox: Any = (1, 2, 3, 4), **more: Any) -> dict[str, Any]:
    record = {"image_id": image_id, "category_id": category_id, "bbox": bbox, **more}
    return {key: value for key, value in record.items() if value is not ...}  # ... leaves a key out


def _found(image_id: Any = 7, category_id: Any = 2, bbox: Any = (1, 2, 3, 4), score: Any = 0.5) -> dict[str, Any]:
    return _box(image_id, category_id, bbox, score=score)


# ---- read to the letter ---------------------------------------------------------------------------------------------


def test_ground_truth_is_read_to_the_letter(write: Write) -> None:
    boxes = [
        _box(7, 5, [0.1, 0.2, 0.7, 0.1], id=0, area=3.5, iscrowd=1, ignore=0),
        _box(3, 2, [10, 20, 30, 40], id=12, iscrowd=0, ignore=1, segmentation=[[1, 2, 3, 4, 5, 6]]),
        _box(3, 5, [1, 1, 2, 2], id=13, area=None, iscrowd=False),
    ]
    read = read_ground_truth(write(_truth(boxes)))
    truth = read.truth
    assert truth.names == ("pit", "scratch")
    assert truth.image_ids.tolist() == [3, 7]
    assert truth.sizes.tolist() == [[100, 80], [100, 80]]
    assert truth.image.tolist() == [1, 0, 0]
    assert truth.class_id.tolist() == [1, 0, 1]
    assert truth.xyxy.tolist() == [[0.1, 0.2, 0.1 + 0.7, 0.2 + 0.1], [10, 20, 40, 60], [1, 1, 3, 3]]
    assert truth.extent.tolist() == [0.7 * 0.1, 1200, 4]
    assert truth.area.tolist() == [3.5, 1200, 4]
    assert truth.crowd.tolist() == [True, False, False]
    assert truth.ignored.tolist() == [True, False, False]
    assert read.pictures.rows() == [(3, "3", "", 100, 80), (7, "7", "b.png", 100, 80)]
    assert (dict(read.image_rows), dict(read.class_rows)) == ({3: 0, 7: 1}, {2: 0, 5: 1})


@pytest.mark.parametrize("as_object", [False, True])
def test_detections_keep_their_order(write: Write, as_object: bool) -> None:
    rows = [_found(7, 5, [0.1, 0.2, 0.7, 0.1], 0.25), _found(3, 2, [5, 6, 7, 8], 1), _found(7, 2, [0, 0, 1, 1], 0.75)]
    content = {"images": [], "annotations": rows, "categories": [{"id": 5, "name": "scratch"}]} if as_object else rows
    read = read_detections(write(content, "dt.json"), read_ground_truth(write(_truth())))
    found = read.detections
    assert found.image.tolist() == [1, 0, 1]
    assert found.class_id.tolist() == [1, 0, 0]
    assert found.score.tolist() == [0.25, 1, 0.75]
    assert found.xyxy.tolist() == [[0.1, 0.2, 0.1 + 0.7, 0.2 + 0.1], [5, 6, 12, 14], [0, 0, 1, 1]]
    assert found.extent.tolist() == [0.7 * 0.1, 56, 1]
    assert read.findings == ()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e14, 1e14), min_size=5, max_size=5),
    st.sampled_from([repr, "{:.17e}".format, "{:.25f}".format]),
)
def test_numbers_are_read_as_python_reads_them(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], text: Callable[[float], str]
) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    (folder / "gt.json").write_text(json.dumps(_truth()), "utf-8")
    words = [text(value) for value in values]
    entry = f'{{"image_id": 7, "category_id": 2, "bbox": [{", ".join(words[:4])}], "score": {words[4]}}}'
    (folder / "dt.json").write_text(f"[{entry}, {entry}, {entry}]", "utf-8")
    found = read_detections(folder / "dt.json", read_ground_truth(folder / "gt.json")).detections
    x, y, w, h, score = map(float, words)
    assert found.xyxy.tolist() == [[x, y, x + w, y + h]] * 3
    assert found.extent.tolist() == [w * h] * 3
    assert found.score.tolist() == [score] * 3


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([5, 0, 2**32 - 1], [0, 5, 2**32 - 1]),
        ([5, 2**32, 7], [0, 1, 2]),
        ([2**62, -1, 2**53 + 1], [0, 1, 2]),
        (["b", "a", "10"], [0, 1, 2]),
        (["b", 3, "3"], [0, 1, 2]),
    ],
)
def test_pictures_may_have_any_ids(write: Write, ids: list[Any], expected: list[int]) -> None:
    images = [{"id": value, "file_name": f"{value!r}.png"} for value in ids]
    read = read_ground_truth(write(_truth([_box(value) for value in ids], images=images)))
    ordered = sorted(v for v in ids if isinstance(v, int)) + sorted(v for v in ids if isinstance(v, str))
    assert read.truth.image_ids.tolist() == expected
    assert read.truth.image.tolist() == [ordered.index(value) for value in ids]
    assert read.pictures["file_name"].to_list() == [f"{value!r}.png" for value in ordered]
    assert read.pictures["file_id"].to_list() == [str(value) for value in ordered]
    assert np.isnan(read.truth.sizes).all()
    found = read_detections(write([_found(value) for value in ids], "dt.json"), read).detections
    assert found.image.tolist() == [ordered.index(value) for value in ids]


def test_a_whole_number_may_be_written_as_a_decimal_one(write: Write) -> None:
    read = read_ground_truth(write(_truth([_box(7.0, 2.0)])))
    assert (read.truth.image.tolist(), read.truth.class_id.tolist()) == ([1], [0])
    assert read_detections(write([_found(3.0)], "dt.json"), read).detections.image.tolist() == [0]


def _official(truth: Path, found: Path) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(truth))
        judge = COCOeval(known, known.loadRes(str(found)), "bbox")
        judge.evaluate()
        judge.accumulate()
    return judge


def test_the_figures_are_those_of_the_official_tool(write: Write) -> None:
    rng = np.random.default_rng(5)
    images = [{"id": int(value), "width": 640, "height": 480} for value in rng.permutation(900)[:12]]
    categories = [{"id": value, "name": f"c{value}"} for value in (90, 4, 17, 33)]
    boxes, rows = [], []
    for number in range(1, 161):
        owner, kind = int(rng.choice([i["id"] for i in images])), int(rng.choice([90, 4, 17]))
        x, y, w, h = np.round(rng.uniform([0, 0, 4, 4], [400, 300, 150, 150]), 2).tolist()
        boxes.append(_box(owner, kind, [x, y, w, h], id=number, area=w * h * 0.8, iscrowd=int(rng.random() < 0.1)))
        for _ in range(3):
            near = np.round(np.array([x, y, w, h]) + rng.normal(0, 4, 4), 2)
            near[2:] = np.maximum(near[2:], -1)  # of no size, too
            rows.append(_found(owner, int(rng.choice([90, 4, 17, 33])) if rng.random() < 0.2 else kind, near.tolist()))
            rows[-1]["score"] = round(float(rng.random()), 2)  # with ties
    truth, found = write(_truth(boxes, images=images, categories=categories)), write(rows, "dt.json")
    read = read_ground_truth(truth)
    ours = scores(match(read.truth, read_detections(found, read).detections))
    theirs = _official(truth, found).eval
    expected = np.where(theirs["precision"] < 0, np.nan, theirs["precision"])[..., 2].mean(axis=1)  # [T, K, A]
    assert np.allclose(ours.precision, expected.transpose(2, 0, 1), rtol=0, atol=1e-9, equal_nan=True)
    recall = np.where(theirs["recall"] < 0, np.nan, theirs["recall"])[..., 2]
    assert np.allclose(ours.recall, recall.transpose(2, 0, 1), rtol=0, atol=1e-9, equal_nan=True)


def test_boxes_of_negative_size_are_taken_and_match_nothing(write: Write) -> None:
    read = read_ground_truth(write(_truth([_box(bbox=[10, 10, 20, 20], id=1)])))
    rows = [_found(bbox=[30, 30, -20, -20], score=0.9), _found(bbox=[10, 10, 20, 0], score=0.8)]
    found = read_detections(write(rows, "dt.json"), read).detections
    assert found.xyxy.tolist()[0] == [30, 30, 10, 10]
    assert found.extent.tolist() == [400, 0]
    assert (match(read.truth, found).matched(0) == -1).all()


# ---- nothing there --------------------------------------------------------------------------------------------------


def test_without_detections_everything_is_missed(write: Write) -> None:
    read = read_ground_truth(write(_truth([_box()])))
    found = read_detections(write([], "dt.json"), read).detections
    assert found.xyxy.shape == (0, 4)
    assert mean(scores(match(read.truth, found)).precision[0]) == 0


@pytest.mark.parametrize("images", [None, []])
def test_without_ground_truth_nothing_is_defined(write: Write, images: list[Any] | None) -> None:
    read = read_ground_truth(write(_truth(**({} if images is None else {"images": images}))))
    assert read.truth.xyxy.shape == (0, 4)
    rows = [] if images == [] else [_found()]
    found = read_detections(write(rows, "dt.json"), read).detections
    assert mean(scores(match(read.truth, found)).precision[0]) is None


# ---- what cannot be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ('{"images": [[1, 2]', "ends in the middle"),
        ("hello", "not JSON"),
        ("7", "not JSON"),
        ('{"images": []} {}', "more text after the end"),
        ('{"images": [1 2]}', r"not JSON at character 14 .expected , or \].*near"),
        ('{"images": [1,]}', "not JSON"),
        ('{"images" []}', "expected :"),
        ("{images: []}", "expected a key"),
        ('{"images": ' + "[" * 100_000, "nested too deeply|ends in the middle"),
        ([], "the wrong way round"),
        ({"images": {}}, "'images' is not a list"),
        (_truth(without="annotations"), "the list 'annotations' is missing"),
        (_truth(without="categories"), "the list 'categories' is missing"),
        (_truth(categories=[]), "0 categories"),
        (_truth(categories=[{"id": 1}]), "a category needs 'id' and 'name', found {\"id\": 1}"),
        (_truth(categories=["pit"]), "a category needs"),
        (_truth(categories=[{"id": True, "name": "pit"}]), "a category needs"),
        (_truth(categories=[{"id": 1, "name": "pit"}, {"id": 1, "name": "dent"}]), "two categories have the id 1"),
        (_truth(categories=[{"id": 1, "name": "pit"}, {"id": 2, "name": "pit"}]), "the same name: pit"),
        (_truth(images=[{"file_name": "a.png"}]), r"images\[0\]: a picture needs an 'id'"),
        (_truth(images=[{"id": 1}, {"id": 1.0}]), r"images\[1\]: the id 1 was given"),
        (_truth(images=[{"id": 0.5}, 7, {"id": None}]), "3 of 3 pictures cannot be told apart"),
    ],
)
def test_no_coco_ground_truth(write: Write, content: Any, message: str) -> None:
    path = write(content)
    with pytest.raises(DataError, match=message) as caught:
        read_ground_truth(path)
    assert str(path) in str(caught.value)


def test_no_file_a_folder_and_no_text(write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read_ground_truth(tmp_path / "none.json")
    with pytest.raises(DataError, match=r"cannot be read .*directory"):
        read_ground_truth(tmp_path)
    (tmp_path / "picture.json").write_bytes(b"[\x89PNG\r\n\xff\xfe")
    with pytest.raises(DataError, match="not text in UTF-8"):
        read_ground_truth(tmp_path / "picture.json")
    with pytest.raises(DataError, match="no COCO detections"):
        read_detections(write({"predictions": []}, "dt.json"), read_ground_truth(write(_truth())))


def test_a_byte_order_mark_does_no_harm(write: Write) -> None:
    assert read_ground_truth(write("\ufeff" + json.dumps(_truth()))).truth.names == ("pit", "scratch")


@pytest.mark.parametrize("piece", [7, 4_000_000])
def test_a_file_that_was_cut_off_anywhere_says_so(write: Write, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(json_lists, "_PIECE", piece)
    known = read_ground_truth(write(_truth()))
    whole = json.dumps([_found(score=0.25), {**_found(score=1e-3), "note": 'a "},{" b', "ok": True, "x": None}])
    for end in range(1, len(whole)):
        with pytest.raises(DataError, match="ends in the middle"):
            read_detections(write(whole[:end], "dt.json"), known)
    assert len(read_detections(write(whole, "dt.json"), known).detections.score) == 2
    whole = json.dumps(_truth([_box(id=1)]))
    for end in range(1, len(whole), 3):
        with pytest.raises(DataError, match="ends in the middle"):
            read_ground_truth(write(whole[:end]))


@pytest.mark.parametrize("piece", [5, 90, 4_000_000])
@pytest.mark.parametrize("wrong", ["?", "]", "\x00"])
def test_a_mistake_in_the_middle_is_named_with_its_place(
    write: Write, monkeypatch: pytest.MonkeyPatch, piece: int, wrong: str
) -> None:
    monkeypatch.setattr(json_lists, "_PIECE", piece)
    known = read_ground_truth(write(_truth()))
    text = json.dumps([_found()] * 20)
    place = text.index('"score"', len(text) // 2)
    with pytest.raises(DataError, match=rf"not JSON at character {place:,} "):
        read_detections(write(text[:place] + wrong + text[place:], "dt.json"), known)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text('{}[],":\\ é\n'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("},{", max_size=3), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(
    entries=st.lists(_VALUES, max_size=8),
    others=st.lists(_VALUES, max_size=2),
    indent=st.sampled_from([None, 0, 2]),
    piece=st.integers(1, 60),
)
def test_pieces_add_up_to_the_whole(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Any], others: list[Any], indent: int | None, piece: int
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "x.json"
    wrapped = {"a": others, "annotations": entries, "images": entries, "n": 12, "b": {"images": others}}
    for content, expected in (
        (entries, {"": entries}),
        (wrapped, {"annotations": entries, "images": entries}),
    ):
        path.write_text(json.dumps(content, indent=indent, ensure_ascii=False), "utf-8")
        found: dict[str, list[Any]] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_lists, "_PIECE", piece)
            for key, part in json_lists.read_lists(path, ("images", "annotations")):
                found.setdefault(key, []).extend(part)
        assert found == expected


def test_a_large_file_is_never_in_memory_as_a_whole(write: Write) -> None:
    known = read_ground_truth(write(_truth([_box(id=1)])))
    entry = json.dumps(_found(bbox=[1.25, 2.5, 30.125, 40.5], score=0.125))
    count = 20_000
    path = write("[" + ", ".join([entry] * count) + "]", "dt.json")
    tracemalloc.start()
    try:
        json.loads(path.read_bytes())
        _, loading = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        found = read_detections(path, known).detections
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.score) == count
    assert found.xyxy[[0, -1]].tolist() == [[1.25, 2.5, 31.375, 43]] * 2
    assert peak < loading / 2  # and most of it is the arrays


# ---- entries that cannot be used ------------------------------------------------------------------------------------

_NO_BOX = "whose bbox is not"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_found(99), "1 with image_id that is no picture of .*gt.json: 99 at 1 .known are 3, 7."),
        (_found("7"), 'image_id that is no picture of .*: "7" at 1'),
        (_found(True), "image_id that is no picture of .*: true at 1"),
        (_found(7.5), r"image_id that is no picture of .*: 7\.5 at 1"),
        (_found(None), "image_id that is no picture of .*: null at 1"),
        (_found([7]), r"image_id that is no picture of .*: \[7\] at 1"),
        (_found(float("nan")), "image_id that is no picture of .*: NaN at 1"),
        (_found(2**80), "image_id that is no picture of .*: 1208925819614629174706176 at 1"),
        (_found(7, 0), "1 with category_id that is no category of .*gt.json: 0 at 1 .known are 2, 5."),
        (_found(7, True), "category_id that is no category of .*: true at 1"),
        (_found(bbox=...), f"{_NO_BOX} .*: missing at 1"),
        (_found(bbox=None), f"{_NO_BOX} .*: null at 1"),
        (_found(bbox=[1, 2, 3]), rf"{_NO_BOX} .*: \[1, 2, 3\] at 1"),
        (_found(bbox=[1, 2, 3, 4, 0.5]), _NO_BOX),
        (_found(bbox={"x": 1}), _NO_BOX),
        (_found(bbox="1234"), _NO_BOX),
        (_found(bbox=[1, 2, "3", 4]), _NO_BOX),
        (_found(bbox=[1, 2, True, 4]), _NO_BOX),
        (_found(bbox=[1, 2, None, 4]), _NO_BOX),
        (_found(bbox=[1, 2, float("nan"), 4]), rf"{_NO_BOX} .*: \[1, 2, NaN, 4\] at 1"),
        (_found(bbox=[float("-inf"), 2, 3, 4]), rf"{_NO_BOX} .*: \[-Infinity, 2, 3, 4\] at 1"),
        (_found(bbox=[10**400, 2, 3, 4]), _NO_BOX),
        (_found(bbox=[1e200, 2, 1e200, 4]), _NO_BOX),
        (_found(score=...), "whose score is not a finite number: missing at 1"),
        (_found(score=None), "score is not a finite number: null at 1"),
        (_found(score=float("nan")), "score is not a finite number: NaN at 1"),
        (_found(score=float("inf")), "score is not a finite number: Infinity at 1"),
        (_found(score=10**400), "score is not a finite number: 1000000.* at 1"),
        (_found(score="0.5"), 'score is not a finite number: "0.5" at 1'),
        (_found(score=True), "score is not a finite number: true at 1"),
        (_found(score=[0.5]), r"score is not a finite number: \[0\.5\] at 1"),
        ([7, 2, 1, 2, 3, 4], r"1 that are no objects: \[7, 2, 1, 2, 3, 4\] at 1"),
        (None, "1 that are no objects: null at 1"),
    ],
)
def test_a_detection_that_cannot_be_used_is_refused_with_its_place(write: Write, row: Any, message: str) -> None:
    known = read_ground_truth(write(_truth()))
    for rows in ([_found(), row], [_found(), row, _found()]):  # in the middle and at the end of the file
        with pytest.raises(DataError, match=message) as caught:
            read_detections(write(rows, "dt.json"), known)
        assert f"dt.json: detections that cannot be used, of {len(rows)} " in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_box(99), "1 with image_id that is no picture of .*: 99 at 1"),
        (_box(7, 3), "1 with category_id that is no category of .*: 3 at 1"),
        (_box(bbox=[]), _NO_BOX),
        (_box(bbox=...), _NO_BOX),
        (_box(area="12"), 'area is not a finite number: "12" at 1'),
        (_box(area=float("nan")), "area is not a finite number: NaN at 1"),
        (_box(area=True), "area is not a finite number: true at 1"),
        (_box(iscrowd="yes"), 'iscrowd is not a finite number: "yes" at 1'),
    ],
)
def test_an_annotation_that_cannot_be_used_is_refused_with_its_place(write: Write, row: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_ground_truth(write(_truth([_box(id=1), row])))


def test_all_mistakes_are_counted_and_ten_of_a_kind_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [_found(score="high") for _ in range(37)] + [_found(1000 + n % 14) for n in range(40)] + [_found()] * 5
    known = read_ground_truth(write(_truth()))
    messages = []
    for piece in (300, 4_000_000):
        monkeypatch.setattr(json_lists, "_PIECE", piece)
        with pytest.raises(DataError) as caught:
            read_detections(write(rows, "dt.json"), known)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    head, scores_line, ids_line, tail = messages[0].splitlines()
    assert head.endswith("dt.json: detections that cannot be used, of 82 (places are counted from 0):")
    assert scores_line.startswith('  37 whose score is not a finite number: "high" at 0, "high" at 1')
    assert scores_line.endswith('"high" at 9 and 27 more')
    assert ids_line.startswith("  40 with image_id that is no picture of ")
    assert "1000 at 37, 1001 at 38" in ids_line
    assert ids_line.endswith("1009 at 46 and 4 more ids (known are 3, 7)")
    assert tail == "Mend the file or write it again."


def test_another_meaning_of_the_category_ids_is_refused(write: Write) -> None:
    known = read_ground_truth(write(_truth()))
    content = {"annotations": [_found()], "categories": [{"id": 2, "name": "scratch"}, {"id": 8, "name": "dent"}]}
    with pytest.raises(DataError, match=r"category 2 is \"scratch\" here and 'pit' in .*gt\.json"):
        read_detections(write(content, "dt.json"), known)


# ---- allowed, but odd -----------------------------------------------------------------------------------------------


def test_odd_ground_truth_is_told(write: Write) -> None:
    boxes = [_box(id=0), _box(id=4), _box(id=4), _box(bbox=[1, 1, 0, 5], id=5), _box(bbox=[9, 9, 5, -1], id=6)]
    found = {finding.id: finding for finding in read_ground_truth(write(_truth(boxes))).findings}
    assert set(found) == {"ground_truth.empty_boxes", "ground_truth.repeated_ids", "ground_truth.id_zero"}
    assert found["ground_truth.empty_boxes"].evidence == {"count": 2}
    assert found["ground_truth.repeated_ids"].evidence == {"count": 1}
    assert read_ground_truth(write(_truth([_box(id=1), _box(id=2), _box()]))).findings == ()


def test_scores_beyond_one_are_taken_and_told(write: Write) -> None:
    read = read_ground_truth(write(_truth([_box(id=0)])))
    read_file = read_detections(write([_found(score=87), _found(score=-2), _found(score=1)], "dt.json"), read)
    assert read_file.detections.score.tolist() == [87, -2, 1]
    assert [finding.id for finding in read_file.findings] == ["ground_truth.id_zero", "detections.scores_beyond_one"]
    assert read_file.findings[1].evidence == {"count": 2, "lowest": -2.0, "highest": 87.0}


def _spread(write: Write, count: int = 200, *, sizes: bool = True) -> tuple[GroundTruth, np.ndarray[Any, Any]]:
    """Return ground truth with boxes all over two pictures of 100 x 80 px, and their [n, 4] bbox."""
    rng = np.random.default_rng(0)
    bbox = rng.uniform([0, 0, 5, 5], [90, 70, 10, 10], (count, 4))
    boxes = [_box((3, 7)[n % 2], 2, row.tolist(), id=n + 1) for n, row in enumerate(bbox)]
    images = [{"id": 3}, {"id": 7}]
    return read_ground_truth(write(_truth(boxes, **({} if sizes else {"images": images})))), bbox


def _two_corners(bbox: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda bbox: bbox, []),
        (lambda bbox: bbox + np.array([-3, -3, 6, 6]), []),  # loose boxes
        (lambda bbox: bbox[:120] * 0.9, []),
        (lambda bbox: bbox * 2, ["detections.outside_of_pictures"]),
        (lambda bbox: bbox * 1.15, ["detections.outside_of_pictures"]),
        (_two_corners, ["detections.outside_of_pictures"]),
        (lambda bbox: bbox * 0.5, ["detections.in_a_corner"]),
        (lambda bbox: bbox / 100, ["detections.in_a_corner"]),
        (lambda bbox: bbox[:90] * 2, []),  # too few to judge
    ],
)
def test_coordinates_of_another_size_are_told(write: Write, change: Any, expected: list[str]) -> None:
    known, bbox = _spread(write)
    rows = [_found((3, 7)[n % 2], 2, row.tolist()) for n, row in enumerate(change(bbox))]
    found = read_detections(write(rows, "dt.json"), known)
    assert [finding.id for finding in found.findings] == expected
    assert all(finding.severity == "warning" and finding.advice for finding in found.findings)


def test_without_stated_sizes_coordinates_are_not_judged(write: Write) -> None:
    known, bbox = _spread(write, sizes=False)
    found = read_detections(write([_found(7, 2, row.tolist()) for row in bbox * 5], "dt.json"), known)
    assert detection_findings(known.truth, found.detections) == []
