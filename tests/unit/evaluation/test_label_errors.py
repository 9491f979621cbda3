"""Suspected label errors: each kind by hand, and the ranking on labels that are broken on purpose."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import ROOT, box, dataset_of

from pipeline.data.dataset import Dataset
from pipeline.evaluation.error_types import classify
from pipeline.evaluation.label_errors import SUSPECTS_SCHEMA, suspects
from pipeline.evaluation.matching import match
from pipeline.evaluation.tables import Detections, Truth
from pipeline.runs import DETECTIONS_SCHEMA

BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "error_types.py"))
PLACES = [(x, y, x + 15, y + 15) for x in (0, 20, 40, 60, 80) for y in (0, 20, 40, 60)]
PLACED = range(3, 23)  # pictures with a right detection in every one of the places


def found_in(dataset: Dataset, rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    truth = Truth.of(dataset)
    frame = pl.DataFrame([tuple(row) for row in rows], DETECTIONS_SCHEMA, orient="row")
    return suspects(dataset, classify(match(truth, Detections.of(truth, frame))))


def beside(boxes: Sequence[dict[str, Any]], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Return the suspects of pictures 1 and 2 beside pictures on which the detector is right about class 0."""
    right = [box(image, 0, *PLACES[0], source=f"{image}.txt:1") for image in PLACED]
    dataset = dataset_of([*boxes, *right], pictures=22)
    return found_in(dataset, [*rows, *((image, 0, 0.9, *PLACES[0]) for image in PLACED)])


def test_right_labels_are_not_suspected() -> None:
    found = beside([], [])
    assert found.height == 0
    assert dict(found.schema) == SUSPECTS_SCHEMA


def test_a_confident_detection_without_a_label() -> None:
    found = beside([], [(1, 0, 0.8, 5, 5, 25, 25), (1, 0, 0.7, 6, 5, 26, 25), (2, 0, 0.2, 5, 5, 25, 25)])
    assert found.select(
        "kind", "image_id", "path", "class_id", "score", "label", "label_class", "source", "iou"
    ).rows() == [("missing", 1, "1.png", 0, 0.8, None, None, None, None)]
    assert found.select("x1", "y1", "x2", "y2").row(0) == (5, 5, 25, 25)
    assert found["why"].to_list() == ["'pit' is detected with 0.80, and has no label of its own"]
    assert found["suspicion"].to_list() == [pytest.approx(0.8 * 21 / 24)]  # 20 of 22 detections are right


def test_a_label_missing_beside_another_is_less_suspicious() -> None:
    label = box(1, 0, 0, 0, 20, 20)
    found = beside([label], [(1, 0, 0.9, 0, 0, 20, 20), (1, 0, 0.8, 0, 10, 20, 30)])
    assert found["kind"].to_list() == ["missing"]
    assert found["suspicion"].to_list() == [pytest.approx(0.8 * 22 / 24 * (1 - 1 / 3))]


def test_a_label_of_another_class_than_is_detected() -> None:
    label = box(1, 1, 0, 0, 20, 20, source="1.txt:4")
    (row,) = beside([label], [(1, 0, 0.8, 0, 0, 20, 20), (1, 1, 0.1, 0, 0, 20, 20)]).to_dicts()
    assert (row["kind"], row["class_id"], row["label_class"], row["label"], row["source"]) == (
        "class",
        0,
        1,
        0,
        "1.txt:4",
    )
    assert row["suspicion"] == pytest.approx((0.8 - 0.1) * 21 / 23)
    assert row["why"] == "labelled 'scratch', detected as 'pit' with 0.80; as labelled with 0.10"
    surer = beside([label], [(1, 0, 0.8, 0, 0, 20, 20), (1, 1, 0.85, 0, 0, 20, 20)])
    assert surer.height == 0


@pytest.mark.parametrize("corners", [(0, 12, 20, 32), (0, 6, 20, 26)])  # IoU 0.25: not found; 0.54: found, but badly
def test_a_label_beside_its_object(corners: tuple[float, ...]) -> None:
    (row,) = beside([box(1, 0, 0, 0, 20, 20)], [(1, 0, 0.8, *corners)]).to_dicts()
    assert (row["kind"], row["label"], (row["x1"], row["y1"], row["x2"], row["y2"])) == ("place", 0, corners)
    assert row["suspicion"] == pytest.approx(0.8 * (1 - row["iou"]))  # the usual IoU is 1
    assert "overlaps the label by IoU 0." in row["why"]


def test_a_label_that_nothing_finds() -> None:
    rows = beside([box(1, 0, 0, 0, 20, 20), box(2, 0, 0, 0, 30, 30)], []).to_dicts()
    assert [(row["kind"], row["image_id"], row["score"], row["class_id"]) for row in rows] == [
        ("extra", 2, None, 0),  # the larger one first
        ("extra", 1, None, 0),
    ]
    assert rows[0]["suspicion"] == pytest.approx(21 / 24 / 2)
    assert (rows[1]["x2"], rows[1]["y2"], rows[1]["label"]) == (20, 20, 0)
    assert rows[0]["why"] == "no detection finds this label; of 'pit', 88% are found"


def test_a_crowd_or_a_difficult_label_is_not_suspected() -> None:
    assert beside([box(1, 0, 0, 0, 20, 20, crowd=True), box(2, 1, 0, 0, 20, 20, difficult=True)], []).height == 0


@pytest.mark.parametrize("boxes", [[], [box(1, 0, 0, 0, 20, 20)]])
@pytest.mark.parametrize("rows", [[], [(1, 0, 0.9, 0, 12, 20, 32)], [(1, 1, 0.9, 0, 0, 20, 20)]])
def test_a_detector_that_is_never_right(boxes: list[dict[str, Any]], rows: list[tuple[float, ...]]) -> None:
    found = found_in(dataset_of(boxes), rows)
    assert dict(found.schema) == SUSPECTS_SCHEMA
    assert "place" not in found["kind"].to_list()  # nothing is known of how right ones fit
    assert found["suspicion"].is_between(0, 1).all()


def test_labels_broken_on_purpose_come_first() -> None:
    results = [BENCHMARK["judged"](seed) for seed in range(3)]
    for found, counts in results:
        faults = sum(counts.values())
        assert found["right"].head(faults // 2).mean() > 0.95
        assert found["right"].head(faults).mean() > 0.75
    for kind, least in (("missing", 0.8), ("class", 0.8), ("place", 0.8), ("extra", 0.45)):
        shares = [found.filter(pl.col("kind") == kind)["right"].head(counts[kind]).mean() for found, counts in results]
        assert np.mean(shares) > least, kind


def test_the_most_suspicious_come_first() -> None:
    dataset, frame, _, _ = BENCHMARK["broken_set"](0, pictures=30)
    truth = Truth.of(dataset)
    found = suspects(dataset, classify(match(truth, Detections.of(truth, frame))))
    assert found["suspicion"].is_sorted(descending=True)
    assert set(found["kind"]) == {"missing", "class", "place", "extra"}
    assert found.null_count().select("suspicion", "path", "class_id", "x1", "y1", "x2", "y2", "why").row(0) == (0,) * 8
