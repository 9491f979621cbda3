"""Boxes in the same place: found without comparing each with each, and without missing one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import box, dataset_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.checks import pairs as module
from pipeline.data.checks import take_snapshot
from pipeline.data.checks.overlaps import near_duplicate, two_classes
from pipeline.data.checks.pairs import boxes_in_one_place


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union


def _one_place(a: tuple[float, ...], b: tuple[float, ...], least: float) -> bool:
    size = a[2] - a[0], a[3] - a[1]
    copied = size == (b[2] - b[0], b[3] - b[1]) and abs(a[0] - b[0]) <= 2 and abs(a[1] - b[1]) <= 2
    return _iou(a, b) > least or (copied and min(size) >= 8)


_NUMBER = st.integers(0, 12).map(float)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), _NUMBER, _NUMBER, st.integers(1, 60), st.integers(1, 60)), min_size=0, max_size=30
    ),
    st.sampled_from([0.5, 0.8, 0.95]),
)
def test_the_pairs_are_those_of_comparing_each_with_each(
    rows: list[tuple[int, float, float, int, int]], least: float
) -> None:
    boxes = [(image, x, y, x + w, y + h) for image, x, y, w, h in rows]
    schema = dict.fromkeys(("x1", "y1", "x2", "y2"), pl.Float64)
    table = pl.DataFrame(boxes, {"image_id": pl.UInt32, **schema}, orient="row").sort("image_id", "x1")
    ordered = list(table.iter_rows())
    expected = {
        (i, j)
        for i in range(len(ordered))
        for j in range(i + 1, len(ordered))
        if ordered[i][0] == ordered[j][0] and _one_place(ordered[i][1:], ordered[j][1:], least)
    }
    one, other = boxes_in_one_place(table, least)
    assert set(zip(one.tolist(), other.tolist(), strict=True)) == expected
    assert len(one) == len(expected)


def test_one_object_labelled_twice_is_named_with_both_rows() -> None:
    rows = [
        box(1, 0, 10, 10, 60, 60, source="a.txt:1"),
        box(1, 0, 10.5, 10, 60, 60.5, source="a.txt:4"),
        box(2, 0, 10, 10, 60, 60, source="b.txt:1"),
    ]
    snapshot = take_snapshot(dataset_of(rows), 640)
    (finding,) = near_duplicate(snapshot)
    assert (finding.id, finding.severity, finding.evidence["count"]) == ("labels.near_duplicate", "warning", 1)
    assert finding.evidence["rows"] == ["a.txt:1", "a.txt:4"]
    assert finding.evidence["pictures"] == ["1.png"]
    assert two_classes(snapshot) == []


def test_one_object_of_two_classes_is_another_finding() -> None:
    rows = [box(1, 0, 10, 10, 60, 60), box(1, 1, 10, 10, 60, 60), box(2, 1, 5, 5, 70, 70), box(2, 0, 5, 6, 70, 70)]
    snapshot = take_snapshot(dataset_of(rows), 640)
    (finding,) = two_classes(snapshot)
    assert finding.evidence["classes"] == {"pit + scratch": 2}
    assert near_duplicate(snapshot) == []


def test_a_copy_that_nobody_moved_is_found_however_small() -> None:
    rows = [box(1, 0, 10, 10, 20, 22), box(1, 0, 12, 12, 22, 24), box(2, 0, 10, 10, 20, 22), box(2, 0, 12, 12, 22, 25)]
    (finding,) = near_duplicate(take_snapshot(dataset_of(rows), 640))
    assert finding.evidence["pictures"] == ["1.png"]


def test_small_objects_side_by_side_are_no_copies() -> None:
    rows = [box(1, 0, 10, 10, 17, 17), box(1, 0, 12, 12, 19, 19)]
    assert near_duplicate(take_snapshot(dataset_of(rows), 640)) == []


def test_a_copy_is_found_after_rounding_to_six_decimals() -> None:
    rows = [box(1, 0, 10, 10, 40, 40), box(1, 0, 12.009, 12, 42.012, 42.005)]
    assert len(near_duplicate(take_snapshot(dataset_of(rows), 640))) == 1
    apart = [box(1, 0, 10, 10, 40, 40), box(1, 0, 12, 12, 42.03, 42)]
    assert near_duplicate(take_snapshot(dataset_of(apart), 640)) == []


def test_objects_that_overlap_or_touch_are_two_objects() -> None:
    rows = [box(1, 0, 10, 10, 60, 60), box(1, 0, 16, 10, 60, 60), box(1, 1, 60, 10, 99, 60)]
    snapshot = take_snapshot(dataset_of(rows), 640)
    assert near_duplicate(snapshot) == [] == two_classes(snapshot)


def test_crowds_may_lie_on_objects() -> None:
    rows = [box(1, 0, 10, 10, 60, 60), box(1, 0, 10, 10, 60, 60.1, crowd=True)]
    assert near_duplicate(take_snapshot(dataset_of(rows), 640)) == []


def test_a_picture_with_ten_thousand_boxes_in_a_grid_is_no_burden() -> None:
    x, y = np.meshgrid(np.arange(100) * 12.0, np.arange(100) * 12.0)
    corner = np.stack([x.ravel(), y.ravel()], axis=1)
    xyxy = np.concatenate([corner, corner + 10], axis=1)
    table = pl.DataFrame(
        {"image_id": np.ones(10_000, np.uint32), **dict(zip(("x1", "y1", "x2", "y2"), xyxy.T, strict=True))}
    )
    one, _ = boxes_in_one_place(table.sort("image_id", "x1"))
    assert len(one) == 0


def _column(side: int, count: int) -> np.ndarray[Any, Any]:
    """Boxes of which one side (0 to 3: left, top, right, bottom) is the same for all, and no two in one place."""
    spread = np.arange(count) * 5.0
    across, along = (side % 2), 1 - side % 2
    xyxy = np.empty((count, 4))
    xyxy[:, [along, along + 2]] = np.stack([spread, spread + 4], axis=1)
    xyxy[:, [across, across + 2]] = (100.0, 140.0)
    free = across + 2 if side < 2 else across
    xyxy[:, free] += np.arange(count) % 7
    return xyxy


@pytest.mark.parametrize("side", range(4), ids=["left", "top", "right", "bottom"])
def test_boxes_that_share_a_side_are_compared_with_few_others(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count, twins = 20_000, [(7, 0.1), (19_990, 0.1)]
    xyxy = _column(side, count)
    extra = np.array([xyxy[row] + shift * np.array([0, 0, 1, 1]) for row, shift in twins])
    ordinary = np.array([[5.0, 5, 40, 40], [200.0, 5, 240, 40], [200.0, 5, 240, 40.5]])
    corners = np.concatenate([ordinary[:2], xyxy, extra, ordinary[2:]])
    images = np.repeat([1, 2, 3], [2, count + 2, 1]).astype(np.uint32)
    table = pl.DataFrame({"image_id": images, **dict(zip(("x1", "y1", "x2", "y2"), corners.T, strict=True))})
    table = table.sort("image_id", "x1", maintain_order=True)
    compared = 0
    walked = module._within_reach

    def counting(*parts: Any) -> Iterator[Any]:
        nonlocal compared
        for first, second in walked(*parts):
            compared += len(first)
            yield first, second

    monkeypatch.setattr(module, "_within_reach", counting)
    one, other = boxes_in_one_place(table)
    assert compared <= 4 * count  # each with each: 200 million
    rows = table.to_numpy()
    found = {tuple(sorted((tuple(rows[i, 1:]), tuple(rows[j, 1:])))) for i, j in zip(one, other, strict=True)}
    assert found == {
        tuple(sorted((tuple(xyxy[row]), tuple(twin)))) for (row, _), twin in zip(twins, extra, strict=True)
    }


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2), _NUMBER, st.integers(1, 60), st.integers(1, 60)), max_size=40))
def test_pairs_in_crowded_pictures_are_those_of_comparing_each_with_each(
    rows: list[tuple[int, float, int, int]],
) -> None:
    boxes = [(image, 3.0, y, 3.0 + w, y + h) for image, y, w, h in rows]
    schema = dict.fromkeys(("x1", "y1", "x2", "y2"), pl.Float64)
    table = pl.DataFrame(boxes, {"image_id": pl.UInt32, **schema}, orient="row").sort("image_id", "x1")
    ordered = list(table.iter_rows())
    expected = {
        (i, j)
        for i in range(len(ordered))
        for j in range(i + 1, len(ordered))
        if ordered[i][0] == ordered[j][0] and _one_place(ordered[i][1:], ordered[j][1:], 0.8)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MANY", 0)  # every picture counts as crowded
        one, other = boxes_in_one_place(table, 0.8)
    assert set(zip(one.tolist(), other.tolist(), strict=True)) == expected
    assert len(one) == len(expected)
