"""Ultralytics' number for the same detections: what its own functions compute, and explained cause by cause."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.metrics import DetMetrics, ap_per_class, box_iou

from pipeline.evaluation.average_precision import mean, scores
from pipeline.evaluation.matching import THRESHOLDS, match
from pipeline.evaluation.reconciliation import Reconciliation, reconcile
from pipeline.evaluation.tables import Detections, Truth

NAMES = ("map50_95", "map50")
CAUSES = ["interpolation", "detection_limit", "ignored_boxes", "matching"]
IOUV = torch.linspace(0.5, 0.95, 10)


def _truth(rows: Any, images: int, classes: int, crowd: Any = None, difficult: Any = None) -> Truth:
    """Return ground truth from rows of (image, class, x1, y1, x2, y2)."""
    table = np.asarray(rows, np.float64).reshape(-1, 6)
    xyxy = table[:, 2:]
    extent = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    crowd = np.zeros(len(table), np.bool_) if crowd is None else np.asarray(crowd, np.bool_)
    ignored = crowd if difficult is None else crowd | np.asarray(difficult, np.bool_)
    return Truth(
        names=tuple(f"class {k}" for k in range(classes)),
        image_ids=np.arange(1, images + 1, dtype=np.int64),
        sizes=np.full((images, 2), 640.0),
        image=table[:, 0].astype(np.int32),
        class_id=table[:, 1].astype(np.int32),
        xyxy=xyxy,
        extent=extent,
        area=extent,
        crowd=crowd,
        ignored=ignored,
    )


def _detections(rows: Any) -> Detections:
    """Return detections from rows of (image, class, score, x1, y1, x2, y2)."""
    table = np.asarray(rows, np.float64).reshape(-1, 7)
    xyxy = table[:, 3:]
    extent = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    return Detections(table[:, 0].astype(np.int32), table[:, 1].astype(np.int32), table[:, 2], xyxy, extent)


def _random(seed: int, *, whole: bool = False, digits: int = 15, crowds: float = 0.0, dense: bool = False) -> Any:
    """Return a random set; some pictures are empty, class 4 has no box and class 3 no detection.

    Args:
        seed: of the set.
        whole: corners in whole pixels, so that overlaps are equal and lie on thresholds.
        digits: of the scores; few make ties.
        crowds: share of the boxes that are crowds, and as many are difficult.
        dense: more than 100 detections of a class and more than 300 in all in some pictures.
    """
    rng = np.random.default_rng(seed)
    images, boxes = (4, 600) if dense else (25, 150)
    side = 700.0 if dense else 120.0
    corner, size = rng.uniform(0, side, (boxes, 2)), rng.uniform(8, 60, (boxes, 2))
    xyxy = np.hstack([corner, corner + size])
    image, class_id = rng.integers(0, images - 1, boxes), rng.integers(0, 4, boxes)
    again = rng.integers(0, boxes, boxes * 2)
    found = xyxy[again] + rng.normal(0, 4, (len(again), 4))
    if whole:
        xyxy, found = xyxy.round(), found.round()
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    wrong = rng.random(len(again)) < 0.2
    found_class = np.where(wrong, rng.integers(0, 5, len(again)), class_id[again])
    rows = np.column_stack([image[again], found_class, rng.random(len(again)).round(digits), found])
    rows = rows[found_class != 3]
    kind = rng.random(boxes)
    truth = _truth(
        np.column_stack([image, class_id, xyxy]), images, 5, kind < crowds, (kind >= crowds) & (kind < 2 * crowds)
    )
    return truth, _detections(rows)


def _in_single_precision(detections: Detections) -> Detections:
    return replace(detections, score=detections.score.astype(np.float32).astype(np.float64))


def _ultralytics(
    truth: Truth, detections: Detections, max_det: int = 300, *, stable: bool = True
) -> tuple[float, float]:
    """Return mAP50-95 and mAP50 by Ultralytics' own functions, called as its DetectionValidator calls them.

    With `stable` the sorted order of equal scores is made certain, by handing over the rank in place of the score.
    """
    matcher = SimpleNamespace(iouv=IOUV)
    tp, conf, pred_cls, target_cls = [], [], [], []
    for image in range(len(truth.image_ids)):
        rows = np.flatnonzero(detections.image == image)
        rows = rows[np.argsort(-detections.score[rows], kind="stable")][:max_det]
        of_image = (truth.image == image) & ~truth.crowd
        boxes = torch.from_numpy(truth.xyxy[of_image].astype(np.float32))
        cls = torch.from_numpy(truth.class_id[of_image].astype(np.float32))
        pred = torch.from_numpy(detections.xyxy[rows].astype(np.float32))
        pred_class = torch.from_numpy(detections.class_id[rows].astype(np.float32))
        if len(boxes) and len(pred):
            correct = BaseValidator.match_predictions(matcher, pred_class, cls, box_iou(boxes, pred)).numpy()
        else:
            correct = np.zeros((len(pred), 10), np.bool_)
        tp.append(correct)
        conf.append(detections.score[rows].astype(np.float32))
        pred_cls.append(pred_class.numpy())
        target_cls.append(cls.numpy())
    score: NDArray[Any] = np.concatenate(conf)
    if stable:
        rank = np.empty(len(score))
        rank[np.argsort(-score, kind="stable")] = np.linspace(1, 0.1, len(score))
        score = rank
    ap = ap_per_class(np.concatenate(tp), score, np.concatenate(pred_cls), np.concatenate(target_cls))[5]
    return (float(ap.mean()), float(ap[:, 0].mean())) if len(ap) else (0.0, 0.0)


def _account(truth: Truth, detections: Detections, **options: int) -> dict[str, Reconciliation]:
    return reconcile(match(truth, detections), **options)


def _assert_explained(found: dict[str, Reconciliation], truth: Truth, detections: Detections) -> None:
    """Assert that COCO's number is ours and that the causes add up to the difference."""
    precision = scores(match(truth, detections)).precision[0]
    for name, coco in zip(NAMES, (mean(precision), mean(precision[0])), strict=True):
        row = found[name]
        assert row.coco == pytest.approx(coco, abs=1e-14)
        assert list(row.causes) == CAUSES
        assert (row.coco or 0.0) + sum(row.causes.values()) == pytest.approx(row.ultralytics, abs=1e-14)


SETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "whole pixels": {"whole": True},
    "ties": {"digits": 1},
    "crowds": {"crowds": 0.15},
    "dense": {"dense": True},
    "all at once": {"whole": True, "digits": 2, "crowds": 0.1, "dense": True},
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", SETS)
def test_it_is_what_ultralytics_computes(kind: str, seed: int) -> None:
    truth, detections = _random(seed, **SETS[kind])
    found = _account(truth, detections)
    for name, value in zip(NAMES, _ultralytics(truth, _in_single_precision(detections)), strict=True):
        assert found[name].ultralytics == pytest.approx(value, abs=1e-9)
    _assert_explained(found, truth, detections)


@pytest.mark.parametrize("digits", [1, 2, 15])
@pytest.mark.parametrize("seed", range(4))
def test_its_own_order_of_equal_scores_stays_within_the_bounds(seed: int, digits: int) -> None:
    truth, detections = _random(seed, digits=digits)
    rng = np.random.default_rng(seed)
    for row, values in zip(
        _account(truth, detections).values(),
        zip(*(_shuffled_order(truth, detections, rng) for _ in range(5)), strict=True),
        strict=True,
    ):
        assert row.lowest - 1e-12 <= min(*values, row.ultralytics)
        assert max(*values, row.ultralytics) <= row.highest + 1e-12
        assert (row.highest > row.lowest) == (digits < 15)


def _shuffled_order(truth: Truth, detections: Detections, rng: np.random.Generator) -> tuple[float, float]:
    """Return Ultralytics' figures with the pictures in another order and its own unstable sort."""
    place = rng.permutation(len(truth.image_ids)).astype(np.int32)
    moved = replace(truth, image=place[truth.image])
    return _ultralytics(moved, replace(detections, image=place[detections.image]), stable=False)


def test_the_bounds_are_those_of_all_orders() -> None:
    truth = _truth([(0, 0, 0, 0, 10, 10), (1, 0, 0, 0, 10, 10)], 2, 1)
    hits = [(image, 0, 0.5, 0, 0, 10, 10) for image in range(2)]
    alarms = [(image, 0, 0.5, 20, 20, 30, 30) for image in range(2)]
    found = _account(truth, _detections([hits[0], alarms[0], alarms[1], hits[1]]))["map50"]
    assert found.highest == pytest.approx(0.995)  # hits first: precision 1
    assert found.lowest == pytest.approx(0.995 / 2)  # alarms first: precision 1/3, then 2/4
    assert found.ultralytics == pytest.approx(0.495 + 0.5 * 0.5)  # hit, alarm, alarm, hit: 1 up to half, then 2/4


def test_a_perfect_detector_loses_half_a_point_to_the_interpolation() -> None:
    truth, _ = _random(0)
    rows = np.column_stack([truth.image, truth.class_id, np.linspace(0.1, 0.9, len(truth.image)), truth.xyxy])
    found = _account(truth, _detections(rows))["map50_95"]
    assert found.coco == 1.0
    assert found.ultralytics == pytest.approx(0.995)
    assert found.causes == pytest.approx(
        {"interpolation": -0.005, "detection_limit": 0, "ignored_boxes": 0, "matching": 0}
    )
    assert found.words() == (
        "Ultralytics would report mAP50-95 0.9950 for the same detections, COCO 1.0000: -0.0050 interpolation"
    )


def test_a_hundred_and_fifty_objects_in_a_picture_show_the_limits() -> None:
    rows = [(0, 0, 6 * (n % 15), 7 * (n // 15), 6 * (n % 15) + 5, 7 * (n // 15) + 5) for n in range(150)]
    found = _account(_truth(rows, 1, 1), _detections([(0, 0, 0.9 - n / 1e3, *row[2:]) for n, row in enumerate(rows)]))
    assert found["map50"].coco == pytest.approx(67 / 101)
    assert found["map50"].ultralytics == pytest.approx(0.995)
    assert found["map50"].causes["detection_limit"] == pytest.approx(0.995 - 0.665)  # 100/150 is just above level 66
    assert "limit of 300 detections per picture" in found["map50"].words()


@pytest.mark.parametrize(("max_det", "looked_at"), [(300, 400), (299, 299), (500, 500)])
def test_the_default_limit_grows_with_the_fullest_picture_as_in_its_validator(max_det: int, looked_at: int) -> None:
    rows = [(0, 0, 12 * (n % 20), 12 * (n // 20), 12 * (n % 20) + 9, 12 * (n // 20) + 9) for n in range(400)]
    truth = _truth(rows, 1, 1)
    detections = _detections([(0, 0, 0.9 - n / 1e3, *row[2:]) for n, row in enumerate(rows)])
    args = SimpleNamespace(max_det=max_det)
    labels = SimpleNamespace(labels=[{"cls": np.zeros((400, 1))}])
    DetectionValidator._check_max_det(args, {"val": labels})
    assert args.max_det == looked_at
    found = _account(truth, detections, max_det=max_det)["map50"]
    assert found.max_det == looked_at
    assert found.ultralytics == pytest.approx(_ultralytics(truth, detections, looked_at)[1], abs=1e-9)


def test_what_is_found_in_a_crowd_is_a_false_alarm_and_a_difficult_box_counts() -> None:
    rows = [(0, 0, 0, 0, 10, 10), (0, 0, 50, 50, 100, 100), (1, 0, 0, 0, 20, 20)]
    truth = _truth(rows, 2, 1, [False, True, False], [False, False, True])
    found = _account(truth, _detections([(0, 0, 0.9, 60, 60, 90, 90), (0, 0, 0.8, 0, 0, 10, 10)]))["map50"]
    assert found.coco == 1.0
    assert found.ultralytics == pytest.approx(0.5 * 0.495)  # precision 1/2 up to a recall of 1/2, level 50 not included
    assert found.causes["ignored_boxes"] == pytest.approx(0.2475 - 0.995)


def test_of_two_equal_overlaps_it_takes_the_earlier_box() -> None:
    # the first detection overlaps both boxes alike, the second one only the later box
    truth = _truth([(0, 0, 0, 0, 10, 12), (0, 0, 0, 4, 10, 16)], 1, 1)
    detections = _detections([(0, 0, 0.9, 0, 2, 10, 14), (0, 0, 0.8, 0, 7, 10, 16)])
    found = _account(truth, detections)["map50"]
    assert found.causes["matching"] == pytest.approx(0.995 - 0.495)
    assert found.ultralytics == pytest.approx(_ultralytics(truth, detections)[1], abs=1e-12)


def test_what_it_adds_to_the_union_counts_for_objects_below_a_pixel() -> None:
    truth = _truth([(0, 0, 0, 0, 1, 0.5)], 1, 1)
    detections = _detections([(0, 0, 0.9, 0, 0, 0.5, 0.5)])  # half of it: an IoU of 0.5 by COCO, less by Ultralytics
    found = _account(truth, detections)["map50"]
    assert (found.coco, found.ultralytics) == (1.0, _ultralytics(truth, detections)[1])
    assert found.causes["matching"] == pytest.approx(-0.995)


def test_scores_that_differ_beyond_single_precision_are_equal_to_it() -> None:
    truth = _truth([(0, 0, 0, 0, 10, 10)], 2, 1)
    alarm_last = _detections([(1, 0, 0.5, 20, 20, 30, 30), (0, 0, 0.5 + 1e-9, 0, 0, 10, 10)])
    alarm_first = _detections([(0, 0, 0.5, 20, 20, 30, 30), (0, 0, 0.5 + 1e-9, 0, 0, 10, 10)])
    for detections, expected in ((alarm_last, 0.995), (alarm_first, 0.995 / 2)):
        found = _account(truth, detections)["map50"]
        assert found.coco == 1.0
        assert found.ultralytics == pytest.approx(expected)
        assert [found.lowest, found.highest] == pytest.approx([0.995 / 2, 0.995])


def test_empty_sets() -> None:
    full, found = _random(1)
    nothing = _detections([])
    for row in _account(full, nothing).values():
        assert (row.coco, row.ultralytics, row.lowest, row.highest) == (0.0, 0.0, 0.0, 0.0)
        assert row.words().startswith(f"Ultralytics would report {'mAP50' if row.name == 'map50' else 'mAP50-95'} 0.0")
    empty = _truth([], 25, 5)
    for detections in (nothing, found):
        for row in _account(empty, detections).values():
            assert (row.coco, row.ultralytics, row.causes) == (None, DetMetrics({}).box.map, {})
            assert "no box counts" in row.words()


def test_boxes_that_count_for_ultralytics_only() -> None:
    truth = _truth([(0, 0, 0, 0, 10, 10)], 1, 1, difficult=[True])
    found = _account(truth, _detections([(0, 0, 0.9, 0, 0, 10, 10)]))["map50_95"]
    assert (found.coco, found.causes) == (None, {})
    assert found.ultralytics == pytest.approx(0.995)


def test_the_thresholds_are_those_of_its_validator() -> None:
    assert np.array_equal(IOUV.numpy(), THRESHOLDS.astype(np.float32))


def test_the_record_names_every_cause() -> None:
    truth, detections = _random(3, digits=1, crowds=0.2)
    row = _account(truth, detections)["map50_95"]
    record = row.to_dict()
    assert list(record["causes"]) == CAUSES
    assert record["words"] == row.words()
    assert f"{row.ultralytics:.4f}" in row.words()
    assert f"{row.causes['ignored_boxes']:+.4f} crowds and difficult boxes" in row.words()
    assert "detections per picture" not in row.words()  # the limit changes nothing here
    assert f"{row.lowest:.4f} to {row.highest:.4f}" in row.words()
