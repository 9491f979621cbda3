"""COCO's figures: exact where the answer is known, equal to pycocotools and to a small program of the definition."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from coco_oracle import (
    SMALLEST,
    CocoSet,
    arrays,
    assert_agrees,
    matched,
    pycocotools_on,
    random_set,
    their_scores,
    twelve,
)
from helpers import ROOT, box, dataset_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.dataset import Dataset
from pipeline.evaluation.average_precision import RECALLS, Scores, curves, mean, recall_levels, scores
from pipeline.evaluation.matching import match
from pipeline.evaluation.tables import Detections, Truth
from pipeline.runs import DETECTIONS_SCHEMA

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
SHARED = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data"
LIMITS = (1, 10, 100, 300, 500)


def found(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Return detections from (image_id, class_id, score, x1, y1, x2, y2)."""
    return pl.DataFrame(list(rows), DETECTIONS_SCHEMA, orient="row")


def scores_of(dataset: Dataset, detections: pl.DataFrame) -> Scores:
    truth = Truth.of(dataset)
    return scores(match(truth, Detections.of(truth, detections)))


def numbers(dataset: Dataset, detections: pl.DataFrame) -> dict[str, float | None]:
    return dict(zip(NUMBERS, twelve(scores_of(dataset, detections)), strict=True))


def perfect(dataset: Dataset, score: float = 0.9) -> pl.DataFrame:
    """Return each true box as a detection; all the scores are alike."""
    return dataset.boxes.filter(~pl.col("crowd")).select(
        "image_id", "class_id", pl.lit(score).alias("score"), "x1", "y1", "x2", "y2"
    )


# ---- equal to pycocotools -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 300, 30))
def test_300_random_sets_agree(first: int) -> None:
    for seed in range(first, first + 30):
        assert_agrees(random_set(seed), LIMITS[seed % len(LIMITS)])


@pytest.mark.parametrize("limit", LIMITS)
def test_a_dense_picture_agrees_at_every_limit(limit: int) -> None:
    rng = np.random.default_rng(0)
    grid = [(0, 0, (40.0 * (n % 10), 40.0 * (n // 10), 30.0, 30.0)) for n in range(60)]
    scored = [(0, 0, float(rng.random()), tuple(np.array(grid[n % 60][2]) + rng.normal(0, 4, 4))) for n in range(520)]
    dense = CocoSet.of(grid, scored, images=1, classes=1)
    assert len(matched(dense, limit).order) == limit
    assert_agrees(dense, limit)


def test_a_third_of_the_boxes_are_crowds() -> None:
    given_set = random_set(4)
    assert_agrees(replace(given_set, crowd=np.arange(len(given_set.box)) % 3 == 0))
    assert_agrees(replace(given_set, crowd=np.ones(len(given_set.box), bool)))  # nothing is left to find


def test_tied_scores_agree() -> None:
    for seed in range(10):
        given_set = random_set(seed)
        assert_agrees(replace(given_set, score=np.round(given_set.score)))


def test_repeated_detections_agree() -> None:
    given_set = random_set(7)
    assert_agrees(given_set.with_detections(np.repeat(np.arange(len(given_set.score)), 3)))


def test_integer_boxes_agree_where_an_overlap_is_just_a_threshold() -> None:
    sides = range(10, 21)
    truth = [(n, 0, (0.0, 0.0, 20.0, 20.0)) for n in range(len(sides))]
    shapes = [(n, 0, 0.9 - n / 100, (0.0, 0.0, 20.0, float(side))) for n, side in enumerate(sides)]
    assert_agrees(CocoSet.of(truth, shapes, images=len(sides)))


def test_areas_on_the_bounds_agree() -> None:
    sides = (31.0, 32.0, 33.0, 95.0, 96.0, 97.0)
    truth = [(n, 0, (0.0, 0.0, side, side)) for n, side in enumerate(sides)]
    boxes = [(n, 0, 0.5 + n / 100, (0.0, 0.0, side, side)) for n, side in enumerate(sides)]
    alarms = [(n, 0, 0.9, (100.0, 100.0, side, side)) for n, side in enumerate(sides)]
    assert_agrees(CocoSet.of(truth, boxes + alarms, images=len(sides)))


def test_areas_unlike_width_times_height_agree() -> None:
    for seed in range(10):
        given_set = random_set(seed)
        assert_agrees(replace(given_set, area=given_set.area * 0.25))
        assert_agrees(replace(given_set, area=np.full_like(given_set.area, 32.0**2)))


def test_sizes_of_zero_and_below_agree() -> None:
    for seed in range(10):
        given_set = random_set(seed)
        odd = np.resize([1.0, 0.0, -1.0, 1.0, 1.0], (len(given_set.score), 1))
        assert_agrees(replace(given_set, found=given_set.found * np.append(odd * 0 + 1, np.tile(odd, 3), axis=1)))
        assert_agrees(replace(given_set, box=given_set.box * np.resize([1, 1, -1, 1], (len(given_set.box), 4))))


def test_false_alarms_in_pictures_without_objects_agree() -> None:
    given_set = random_set(10)
    assert_agrees(replace(given_set, images=given_set.images + 3, found_image=given_set.found_image + 2))


def test_classes_without_boxes_or_without_detections_agree() -> None:
    given_set = random_set(11)
    assert_agrees(replace(given_set, classes=given_set.classes + 2))
    assert_agrees(replace(given_set, classes=given_set.classes + 2, found_class=given_set.found_class + 1))
    assert_agrees(replace(given_set, classes=given_set.classes + 2, box_class=given_set.box_class + 1))
    assert_agrees(given_set.with_detections(np.zeros(0, int)))


def deeppcb_boxes(folder: Path) -> list[tuple[int, str, tuple[float, ...]]]:
    """Return (picture, class, x, y, width, height) of the COCO file of the test split."""
    content = json.loads((folder / "test.json").read_text("utf-8"))
    return [(one["image_id"], str(one["category_id"]), tuple(one["bbox"])) for one in content["annotations"]]


def bccd_boxes(folder: Path) -> list[tuple[int, str, tuple[float, ...]]]:
    """Return likewise from the VOC files."""
    rows = []
    for number, path in enumerate(sorted((folder / "Annotations").glob("*.xml"))):
        for one in ElementTree.parse(path).iter("object"):
            x1, y1, x2, y2 = (float(one.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax"))
            rows.append((number, one.findtext("name", ""), (x1, y1, x2 - x1, y2 - y1)))
    return rows


@pytest.mark.parametrize(("name", "read"), [("deeppcb", deeppcb_boxes), ("bccd", bccd_boxes)])
def test_real_ground_truth_agrees(name: str, read: Callable[[Path], list[tuple[int, str, tuple[float, ...]]]]) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not here (TUNEUP_SHARED names the folder that holds data/{name})")
    rows = read(SHARED / name)
    pictures, names = sorted({row[0] for row in rows})[:150], sorted({row[1] for row in rows})
    truth = [(pictures.index(i), names.index(k), xywh) for i, k, xywh in rows if i in pictures]
    rng = np.random.default_rng(0)
    seen = []  # as a detector has them after half an epoch: many, doubled, confused, tied
    for image, k, xywh in truth:
        for spread in (0.0, 0.05, 0.05, 0.2):
            shift = rng.normal(0, 1, 4) * spread * np.array([*xywh[2:], *xywh[2:]])
            named = k if rng.random() < 0.8 else int(rng.integers(len(names)))
            seen.append((image, named, round(float(rng.random()), 2), tuple(np.round(np.array(xywh) + shift, 1))))
    ours = assert_agrees(CocoSet.of(truth, seen, images=len(pictures), classes=len(names)))
    assert ours.boxes[0].sum() == len(truth) > 500


# ---- curves ---------------------------------------------------------------------------------------------------------


def test_curves_are_pycocotools_curves() -> None:
    for seed in range(40):
        given_set = random_set(seed)
        theirs = their_scores(pycocotools_on(given_set))["curve"]
        table = matched(given_set)
        average = scores(table).precision
        for t in (0, 5, 9):
            for k, curve in enumerate(curves(table.outcomes(t))):
                assert (curve is None) == bool(np.isnan(average[0, t, k]))
                if curve is not None:
                    np.testing.assert_allclose(curve.interpolated, theirs[0, t, k], rtol=0, atol=SMALLEST)
                    assert curve.interpolated.mean() == pytest.approx(average[0, t, k], abs=SMALLEST)


def test_a_curve_by_hand() -> None:
    spot = (10.0, 10.0, 40.0, 20.0)
    truth = [(0, 0, spot), (1, 0, spot), (2, 0, spot), (3, 0, spot)]
    seen = [(0, 0, 0.9, spot), (1, 0, 0.8, (200.0, 10.0, 40.0, 20.0)), (1, 0, 0.7, spot), (2, 0, 0.6, spot)]
    curve = curves(matched(CocoSet.of(truth, seen, images=4)).outcomes(0))[0]
    assert curve is not None
    assert curve.score.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4])
    assert curve.recall.tolist() == [0.25, 0.25, 0.5, 0.75]
    assert curve.f1.tolist() == pytest.approx([0.4, 1 / 3, 4 / 7, 3 / 4])
    assert curve.interpolated.tolist() == [1.0] * 26 + [0.75] * 50 + [0.0] * 25


def test_a_class_without_detections_has_an_empty_curve() -> None:
    curve = curves(matched(CocoSet.of([(0, 0, (1.0, 1.0, 5.0, 5.0))], [])).outcomes(0))[0]
    assert curve is not None
    assert (len(curve.precision), len(curve.f1), curve.interpolated.sum()) == (0, 0, 0.0)


def test_recall_levels_are_counted_as_numbers_are_stored() -> None:
    assert len(RECALLS) == 101
    assert recall_levels(np.array([0.0, 0.009, 0.01, 0.5, 1.0])).tolist() == [1, 1, 2, 51, 101]
    # 0.57 is stored a little below 57 times 0.01: with 57 of 100 found, the level 57 is not reached.
    assert recall_levels(np.array([57 / 100])).tolist() == [57 + int(RECALLS[57] <= 57 / 100)]


def test_the_mean_leaves_out_what_could_not_be_measured() -> None:
    assert mean(np.array([[1.0, np.nan], [0.5, 0.0]])) == 0.5
    assert mean(np.array([np.nan])) is None
    assert mean(np.zeros(0)) is None


# ---- known answers --------------------------------------------------------------------------------------------------


def test_a_perfect_detector_scores_exactly_one_everywhere() -> None:
    sizes = (10, 50, 99)  # small, medium, large: up to 32^2, up to 96^2, above
    rows = [box(image, c, 0.25, 0.5, 0.25 + sizes[c], 0.5 + sizes[c]) for image in (1, 2) for c in range(3)]
    dataset = dataset_of(rows, names=("a", "b", "c"))
    result = scores_of(dataset, perfect(dataset))
    assert twelve(result) == [1.0] * 12
    assert (result.precision[0] == 1.0).all()
    assert result.boxes.tolist() == [[2, 2, 2], [2, 0, 0], [0, 2, 0], [0, 0, 2]]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_a_perfect_detector_scores_exactly_one_whatever_the_set(seed: int) -> None:
    one = random_set(seed)
    real = replace(one, crowd=np.zeros(len(one.box), bool))
    copied = replace(real, found=real.box, found_image=real.box_image, found_class=real.box_class)
    result = scores(matched(replace(copied, score=np.linspace(1, 0, len(real.box)))))
    assert set(result.precision[~np.isnan(result.precision)].tolist()) <= {1.0}


def test_no_detections_score_zero() -> None:
    result = scores_of(dataset_of([box(1, 0, 1, 1, 50, 60)]), found())
    assert twelve(result) == [0, 0, 0, None, 0, None, 0, 0, 0, None, 0, None]
    np.testing.assert_array_equal(result.precision[0, 0], [0, np.nan])


def test_a_class_without_ground_truth_is_left_out_and_not_counted_as_zero() -> None:
    dataset = dataset_of([box(1, 0, 1, 1, 50, 60)], names=("a", "b"))
    detections = found((1, 0, 0.5, 1, 1, 50, 60), (2, 1, 0.9, 5, 5, 20, 20))
    assert numbers(dataset, detections)["AP50"] == 1.0
    np.testing.assert_array_equal(scores_of(dataset, detections).precision[0, 0], [1, np.nan])


def test_without_any_ground_truth_nothing_is_defined() -> None:
    for detections in (found(), found((1, 0, 0.9, 1, 1, 9, 9))):
        result = scores_of(dataset_of([]), detections)
        assert twelve(result) == [None] * 12
        assert np.isnan(result.precision).all()


def test_without_any_class_nothing_is_defined() -> None:
    assert twelve(scores_of(dataset_of([], names=()), found())) == [None] * 12


def test_a_false_alarm_on_an_empty_picture_counts() -> None:
    dataset = dataset_of([box(1, 0, 1, 1, 50, 60)])
    alarm = (2, 0, 0.9, 5, 5, 50, 50)
    assert numbers(dataset, found((1, 0, 0.5, 1, 1, 50, 60), alarm))["AP50"] == pytest.approx(0.5)
    assert numbers(dataset, found((1, 0, 0.95, 1, 1, 50, 60), alarm))["AP50"] == 1.0


@pytest.mark.parametrize("shift", [0, 10])
def test_a_crowd_is_neither_missed_nor_found_wrongly(shift: float) -> None:
    rows = [box(1, 0, 1, 1, 21, 21), box(1, 0, 40, 0, 100, 80, crowd=True), box(2, 1, 0, 0, 9, 9, crowd=True)]
    inside = [(1, 0, 0.95, 45 + shift + n, 10, 60 + shift + n, 40) for n in range(3)]  # several in one crowd
    dataset = dataset_of(rows)
    result = scores_of(dataset, found((1, 0, 0.5, 1, 1, 21, 21), *inside))
    assert mean(result.precision[0]) == 1.0
    assert result.boxes[0].tolist() == [1, 0]
    outside = (1, 0, 0.96, 10, 50, 30, 70)
    assert numbers(dataset, found((1, 0, 0.5, 1, 1, 21, 21), outside))["AP50"] == pytest.approx(0.5)


def test_at_most_a_hundred_detections_of_a_class_in_a_picture_count() -> None:
    rows = [box(1, 0, 6 * (n % 15), 7 * (n // 15), 6 * (n % 15) + 5, 7 * (n // 15) + 5) for n in range(150)]
    dataset = dataset_of(rows)
    result = numbers(dataset, perfect(dataset))
    assert result["AP50"] == pytest.approx(67 / 101)  # recall ends at 100 of 150: the points 0.00 to 0.66
    assert f"{result['AP50']:.6f}" == "0.663366"
    assert result["AR100"] == pytest.approx(100 / 150)
    assert result["AR10"] == pytest.approx(10 / 150)
    truth = Truth.of(dataset)
    wider = scores(match(truth, Detections.of(truth, perfect(dataset)), limit=150))
    assert mean(wider.precision[0]) == 1.0


@pytest.mark.parametrize(
    ("side", "kind"), [(31.9, "APs"), (32, "APs"), (32, "APm"), (96, "APm"), (96, "APl"), (96.1, "APl")]
)
def test_areas_on_the_border_belong_to_both_kinds(side: float, kind: str) -> None:
    dataset = dataset_of([box(1, 0, 0, 0, side, side)], pictures={1: {"width": 200, "height": 200}})
    assert numbers(dataset, perfect(dataset))[kind] == 1.0


@pytest.mark.parametrize(
    ("iou", "hits"), [(0.499, 0), (0.5, 1), (0.551, 2), (0.749, 5), (0.76, 6), (0.949, 9), (0.951, 10), (1.0, 10)]
)
def test_the_thresholds_run_from_half_to_095(iou: float, hits: int) -> None:
    dataset = dataset_of([box(1, 0, 0, 0, 80, 50)])
    result = numbers(dataset, found((1, 0, 0.9, 0, 0, 80 * iou, 50)))
    assert result["AP"] == pytest.approx(hits / 10)
    assert result["AP75"] == (1.0 if hits >= 6 else 0.0)


def test_ids_may_start_at_zero_have_gaps_and_be_large() -> None:
    rows = [(1, 0, (1, 1, 50, 60)), (2, 1, (5, 5, 30, 30)), (2, 0, (0, 0, 9, 9))]
    results = []
    for ids in ({1: 1, 2: 2}, {1: 0, 2: 1}, {1: 7, 2: 0}, {1: 2**32 - 1, 2: 12}):
        dataset = dataset_of([box(ids[i], c, *xyxy) for i, c, xyxy in rows], pictures={new: {} for new in ids.values()})
        near = perfect(dataset).with_columns(pl.col("x2") + 3, score=pl.Series([0.9, 0.8, 0.7]))
        results.append(numbers(dataset, near))
        assert numbers(dataset, perfect(dataset))["AP"] == 1.0
    assert all(result == results[0] for result in results)


# ---- against a program of the definition ----------------------------------------------------------------------------


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _average_precision(truth: list[tuple[Any, ...]], seen: list[tuple[Any, ...]], threshold: float) -> float:
    """One class: greedy by score, the best free true box of the picture, precision at 101 points of recall."""
    free = {index: (image, xyxy) for index, (image, xyxy) in enumerate(truth)}
    hits = []
    for image, _, xyxy in sorted(seen, key=lambda row: -row[1]):
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


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_it_agrees_with_a_program_of_the_definition(seed: int) -> None:
    one = random_set(seed)
    distinct = np.random.default_rng(seed).permutation(len(one.score)) / 1000  # ties and crowds have tests of their own
    one = replace(one, crowd=np.zeros(len(one.box), bool), score=distinct, found=np.abs(one.found))
    truth, detections = arrays(one)
    result = scores(matched(one))
    for k in range(one.classes):
        objects = [(truth.image[m], tuple(truth.xyxy[m])) for m in np.flatnonzero(truth.class_id == k)]
        rows = np.flatnonzero(detections.class_id == k)
        seen = [(detections.image[n], detections.score[n], tuple(detections.xyxy[n])) for n in rows]
        assert result.boxes[0, k] == len(objects)
        for t, threshold in enumerate(np.linspace(0.5, 0.95, 10)):
            expected = _average_precision(objects, seen, threshold) if objects else np.nan
            assert result.precision[0, t, k] == pytest.approx(expected, abs=1e-9, nan_ok=True)
