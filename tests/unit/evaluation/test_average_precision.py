"""COCO's figures: exact where the answer is known, and equal to a small program of the definition elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import box, dataset_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.dataset import Dataset
from pipeline.errors import DataError
from pipeline.evaluation.average_precision import coco_metrics
from pipeline.runs import DETECTIONS_SCHEMA

OVERALL = ("map50_95", "map50", "map75", "map_small", "map_medium", "map_large", "ar1", "ar10", "ar100")


def _found(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Return detections from (image_id, class_id, score, x1, y1, x2, y2)."""
    return pl.DataFrame(list(rows), DETECTIONS_SCHEMA, orient="row")


def _perfect(dataset: Dataset, score: float = 0.9) -> pl.DataFrame:
    """Return each true box as a detection; all the scores are alike."""
    return dataset.boxes.filter(~pl.col("crowd")).select(
        "image_id", "class_id", pl.lit(score).alias("score"), "x1", "y1", "x2", "y2"
    )


# ---- known answers --------------------------------------------------------------------------------------------------


def test_a_perfect_detector_scores_exactly_one_everywhere() -> None:
    sizes = (10, 50, 99)  # small, medium, large: up to 32^2, up to 96^2, above
    rows = [box(image, c, 0.25, 0.5, 0.25 + sizes[c], 0.5 + sizes[c]) for image in (1, 2) for c in range(3)]
    dataset = dataset_of(rows, names=("a", "b", "c"))
    metrics = coco_metrics(dataset, _perfect(dataset))
    assert {name: metrics[name] for name in OVERALL} == dict.fromkeys(OVERALL, 1.0)
    assert metrics["per_class"] == [
        {"name": name, "images": 2, "boxes": 2, "ap50_95": 1.0, "ap50": 1.0} for name in ("a", "b", "c")
    ]


def test_no_detections_score_zero() -> None:
    metrics = coco_metrics(dataset_of([box(1, 0, 1, 1, 50, 60)]), _found())
    assert [metrics[name] for name in OVERALL] == [0, 0, 0, None, 0, None, 0, 0, 0]
    assert [row["ap50_95"] for row in metrics["per_class"]] == [0.0, None]


def test_a_class_without_ground_truth_is_left_out_and_not_counted_as_zero() -> None:
    dataset = dataset_of([box(1, 0, 1, 1, 50, 60)], names=("a", "b"))
    metrics = coco_metrics(dataset, _found((1, 0, 0.5, 1, 1, 50, 60), (2, 1, 0.9, 5, 5, 20, 20)))
    assert metrics["map50"] == 1.0
    assert metrics["per_class"][1] == {"name": "b", "images": 0, "boxes": 0, "ap50_95": None, "ap50": None}


def test_without_any_ground_truth_nothing_is_defined() -> None:
    for found in (_found(), _found((1, 0, 0.9, 1, 1, 9, 9))):
        metrics = coco_metrics(dataset_of([]), found)
        assert [metrics[name] for name in OVERALL] == [None] * 9
        assert [row["ap50"] for row in metrics["per_class"]] == [None, None]


def test_a_false_alarm_on_an_empty_picture_counts() -> None:
    dataset = dataset_of([box(1, 0, 1, 1, 50, 60)])
    alarm = (2, 0, 0.9, 5, 5, 50, 50)
    assert coco_metrics(dataset, _found((1, 0, 0.5, 1, 1, 50, 60), alarm))["map50"] == pytest.approx(0.5)
    assert coco_metrics(dataset, _found((1, 0, 0.95, 1, 1, 50, 60), alarm))["map50"] == 1.0


def test_a_detection_may_be_of_one_class_only() -> None:
    dataset = dataset_of([box(1, 0, 1, 1, 50, 60)])
    metrics = coco_metrics(dataset, _found((1, 1, 0.9, 1, 1, 50, 60)))
    assert metrics["map50"] == 0.0


@pytest.mark.parametrize("shift", [0, 10])
def test_a_crowd_is_neither_missed_nor_found_wrongly(shift: float) -> None:
    rows = [box(1, 0, 1, 1, 21, 21), box(1, 0, 40, 0, 100, 80, crowd=True), box(2, 1, 0, 0, 9, 9, crowd=True)]
    inside = [(1, 0, 0.95, 45 + shift + n, 10, 60 + shift + n, 40) for n in range(3)]  # several in one crowd
    metrics = coco_metrics(dataset_of(rows), _found((1, 0, 0.5, 1, 1, 21, 21), *inside))
    assert metrics["map50_95"] == 1.0
    assert metrics["per_class"][0] == {"name": "pit", "images": 1, "boxes": 1, "ap50_95": 1.0, "ap50": 1.0}
    assert metrics["per_class"][1] == {"name": "scratch", "images": 0, "boxes": 0, "ap50_95": None, "ap50": None}
    outside = (1, 0, 0.96, 10, 50, 30, 70)
    assert coco_metrics(dataset_of(rows), _found((1, 0, 0.5, 1, 1, 21, 21), outside))["map50"] == pytest.approx(0.5)


def test_at_most_a_hundred_detections_of_a_class_in_a_picture_count() -> None:
    rows = [box(1, 0, 6 * (n % 15), 7 * (n // 15), 6 * (n % 15) + 5, 7 * (n // 15) + 5) for n in range(150)]
    dataset = dataset_of(rows)
    metrics = coco_metrics(dataset, _perfect(dataset))
    assert metrics["map50"] == pytest.approx(67 / 101)  # recall ends at 100 of 150: the points 0.00 to 0.66
    assert f"{metrics['map50']:.6f}" == "0.663366"
    assert metrics["ar100"] == pytest.approx(100 / 150)
    assert metrics["ar10"] == pytest.approx(10 / 150)


@pytest.mark.parametrize(
    ("side", "kind"), [(31.9, "small"), (32, "small"), (32, "medium"), (96, "medium"), (96, "large")]
)
def test_areas_on_the_border_belong_to_both_kinds(side: float, kind: str) -> None:
    dataset = dataset_of([box(1, 0, 0, 0, side, side)], pictures={1: {"width": 200, "height": 200}})
    assert coco_metrics(dataset, _perfect(dataset))[f"map_{kind}"] == 1.0


@pytest.mark.parametrize(
    ("iou", "hits"), [(0.499, 0), (0.5, 1), (0.551, 2), (0.749, 5), (0.76, 6), (0.949, 9), (0.951, 10), (1.0, 10)]
)
def test_the_thresholds_run_from_half_to_095(iou: float, hits: int) -> None:
    dataset = dataset_of([box(1, 0, 0, 0, 80, 50)])
    metrics = coco_metrics(dataset, _found((1, 0, 0.9, 0, 0, 80 * iou, 50)))
    assert metrics["map50_95"] == pytest.approx(hits / 10)
    assert metrics["map75"] == (1.0 if hits >= 6 else 0.0)


def test_ids_may_start_at_zero_have_gaps_and_be_large() -> None:
    rows = [(1, 0, (1, 1, 50, 60)), (2, 1, (5, 5, 30, 30)), (2, 0, (0, 0, 9, 9))]
    results = []
    for ids in ({1: 1, 2: 2}, {1: 0, 2: 1}, {1: 7, 2: 0}, {1: 2**32 - 1, 2: 12}):
        dataset = dataset_of([box(ids[i], c, *xyxy) for i, c, xyxy in rows], pictures={new: {} for new in ids.values()})
        near = _perfect(dataset).with_columns(pl.col("x2") + 3, score=pl.Series([0.9, 0.8, 0.7]))
        results.append(coco_metrics(dataset, near))
        assert coco_metrics(dataset, _perfect(dataset))["map50_95"] == 1.0
    assert all(result == results[0] for result in results)


# ---- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["score", "x1", "y1", "x2", "y2"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(column: str, value: float) -> None:
    good = _found((1, 0, 0.5, 1, 1, 9, 9), (1, 0, 0.4, 2, 2, 9, 9))
    spoilt = good.with_columns(pl.Series(column, [good[column][0], value]))
    with pytest.raises(DataError, match="a detection has a score or corner that is no number"):
        coco_metrics(dataset_of([box(1, 0, 1, 1, 9, 9)]), spoilt)


def test_detections_of_unknown_pictures_are_refused_and_counted() -> None:
    found = _found((1, 0, 0.5, 1, 1, 9, 9), (3, 0, 0.5, 1, 1, 9, 9), (9, 0, 0.5, 1, 1, 9, 9))
    with pytest.raises(DataError, match="2 detections belong to no picture of the evaluated split"):
        coco_metrics(dataset_of([box(1, 0, 1, 1, 9, 9)]), found)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    coco_metrics(dataset_of([box(1, 0, 1, 1, 9, 9)]), _found((1, 0, 0.5, 1, 1, 9, 9)))
    assert capfd.readouterr() == ("", "")


# ---- against a program of the definition ----------------------------------------------------------------------------


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _average_precision(truth: list[tuple[Any, ...]], found: list[tuple[Any, ...]], threshold: float) -> float:
    """One class: greedy by score, the best free true box of the picture, precision at 101 points of recall."""
    free = {index: (image, xyxy) for index, (image, xyxy) in enumerate(truth)}
    hits = []
    for image, _, xyxy in sorted(found, key=lambda row: -row[1]):
        candidates = {i: _iou(xyxy, other) for i, (where, other) in free.items() if where == image}
        best = max(candidates, key=lambda i: candidates[i], default=None)
        hit = best is not None and candidates[best] >= threshold
        if hit and best is not None:
            del free[best]
        hits.append(hit)
    true = np.cumsum(hits)
    recall, precision = true / len(truth), true / np.arange(1, len(hits) + 1)
    points = [
        max((p for r, p in zip(recall, precision, strict=True) if r >= point), default=0.0)
        for point in np.linspace(0, 1, 101)
    ]
    return float(np.mean(points))


@st.composite
def _scene(draw_from: st.DrawFn) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return (image, class, corners) of true boxes and (image, class, score, corners) of detections near them."""
    side = st.integers(0, 90)

    def corners_of() -> tuple[float, ...]:
        x, y = draw_from(side), draw_from(st.integers(0, 70))
        return (x, y, x + draw_from(st.integers(3, 10)), y + draw_from(st.integers(3, 10)))

    images, classes = st.integers(1, 3), st.integers(0, 1)
    truth = [(draw_from(images), draw_from(classes), corners_of()) for _ in range(draw_from(st.integers(1, 6)))]
    count = draw_from(st.integers(0, 10))
    scores = draw_from(st.lists(st.integers(1, 999), min_size=count, max_size=count, unique=True))
    found = []
    for score in scores:
        if draw_from(st.booleans()):
            image, class_id, xyxy = draw_from(st.sampled_from(truth))
            shift = draw_from(st.tuples(*[st.integers(-1, 1)] * 4))
            xyxy = tuple(a + b for a, b in zip(xyxy, shift, strict=True))
        else:
            image, class_id, xyxy = draw_from(images), draw_from(classes), corners_of()
        found.append((image, class_id, score / 1000, xyxy))
    return truth, found


@settings(deadline=None, max_examples=60)
@given(_scene())
def test_it_agrees_with_a_program_of_the_definition(scene: tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]) -> None:
    truth, found = scene
    dataset = dataset_of([box(image, c, *xyxy) for image, c, xyxy in truth], pictures=3)
    metrics = coco_metrics(dataset, _found(*((image, c, score, *map(float, xyxy)) for image, c, score, xyxy in found)))
    expected: list[list[float]] = []
    for class_id, row in enumerate(metrics["per_class"]):
        one = [(image, xyxy) for image, c, xyxy in truth if c == class_id]
        other = [(image, score, xyxy) for image, c, score, xyxy in found if c == class_id]
        assert row["boxes"] == len(one)
        assert row["images"] == len({image for image, _ in one})
        if not one:
            assert row["ap50_95"] is None
            continue
        expected.append([_average_precision(one, other, threshold) for threshold in np.linspace(0.5, 0.95, 10)])
        assert row["ap50_95"] == pytest.approx(np.mean(expected[-1]), abs=1e-9)
        assert row["ap50"] == pytest.approx(expected[-1][0], abs=1e-9)
    assert metrics["map50_95"] == pytest.approx(np.mean(expected), abs=1e-9)
    assert metrics["map50"] == pytest.approx(np.mean([row[0] for row in expected]), abs=1e-9)
    assert metrics["map75"] == pytest.approx(np.mean([row[5] for row in expected]), abs=1e-9)
