"""The records of metrics.json."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from simulated_detector import simulated_detections, simulated_truth

from pipeline.evaluation.analysis import FEWEST_GROUPS, Analysis, analyse, grouping
from pipeline.evaluation.metrics import FEW_BOXES
from pipeline.evaluation.tables import Detections, Truth

from pipeline.data.dataset import Dataset  # isort: skip


def analysed(dataset: Dataset, frame: pl.DataFrame, resamples: int = 200, limit: int = 100) -> Analysis:
    truth = Truth.of(dataset)
    return analyse(truth, Detections.of(truth, frame), grouping(dataset), resamples=resamples, limit=limit)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    dataset = simulated_truth(60, names=("pit", "scratch", "never"))
    boxes = dataset.boxes.filter(pl.col("class_id") < 2)
    return analysed(Dataset(dataset.names, dataset.images, boxes, dataset.root), simulated_detections(dataset, 1))


def test_the_records_are_json_and_name_the_resampling(analysis: Analysis) -> None:
    metrics = json.loads(json.dumps(analysis.metrics, allow_nan=False))
    assert metrics["resampling"] == {"unit": "picture", "units": 60, "resamples": 200, "seed": 0}
    assert metrics["schema"].startswith("tuneup.metrics/")
    for name in ("map50_95", "map50", "map75"):
        interval = metrics["intervals"][name]
        assert interval["value"] == metrics[name]
        assert 0 < interval["high"] - interval["low"] < 0.3


def test_the_mean_of_the_classes_is_the_map(analysis: Analysis) -> None:
    rows = analysis.metrics["per_class"]
    assert [row["name"] for row in rows] == ["pit", "scratch", "never"]
    measured = [row for row in rows if row["boxes"]]
    for name, of_class in (("map50_95", "ap50_95"), ("map50", "ap50"), ("map75", "ap75")):
        assert analysis.metrics[name] == pytest.approx(np.mean([row[of_class] for row in measured]), abs=1e-12)
    for row in measured:
        assert row["ap50_95"] == pytest.approx(np.mean(row["ap_by_iou"]), abs=1e-12)
        assert row["ap_by_iou"][0] == row["ap50"]
        assert row["intervals"]["ap50_95"]["value"] == row["ap50_95"]


def test_a_class_without_boxes_is_not_measured(analysis: Analysis) -> None:
    row = analysis.metrics["per_class"][2]
    assert (row["ap50_95"], row["best_f1"], row["note"]) == (None, None, "")
    assert row["intervals"] == {"ap50_95": None, "ap50": None}
    assert "never" not in analysis.curves["precision_recall"]


def test_the_best_threshold_gives_the_f1_that_it_promises() -> None:
    dataset = simulated_truth(80, names=("pit",))
    frame = simulated_detections(dataset, 3)
    result = analysed(dataset, frame)
    best = result.metrics["per_class"][0]["best_f1"]
    outcomes = result.table.outcomes(0)

    def f1_at(threshold: float) -> float:
        hits = int(outcomes.hit[outcomes.score >= threshold].sum())
        taken = int((outcomes.score >= threshold).sum())
        return 2 * hits / (taken + len(outcomes.truth_class))

    assert f1_at(best["score"]) == pytest.approx(best["f1"])
    assert best["f1"] == pytest.approx(max(f1_at(score) for score in np.unique(outcomes.score)))


def test_few_boxes_are_said_in_a_sentence() -> None:
    dataset = simulated_truth(6, names=("pit",))
    result = analysed(dataset, simulated_detections(dataset, 1))
    row = result.metrics["per_class"][0]
    assert row["boxes"] < FEW_BOXES
    wide = 100 * (row["intervals"]["ap50_95"]["high"] - row["intervals"]["ap50_95"]["low"])
    assert row["note"] == f"pit: {row['boxes']} boxes, interval {wide:.0f} points wide"


def test_relative_sizes_divide_the_boxes() -> None:
    dataset = simulated_truth(60)
    result = analysed(dataset, simulated_detections(dataset, 1))
    rows = result.metrics["relative_size"]
    assert sum(row["boxes"] for row in rows) == result.metrics["boxes"]
    side = np.sqrt(Truth.of(dataset).extent / 200**2)
    assert [row["boxes"] for row in rows] == [
        int((side < 0.05).sum()),
        int(((side >= 0.05) & (side <= 0.15)).sum()),
        int((side > 0.15).sum()),
    ]


@pytest.mark.parametrize("groups", [FEWEST_GROUPS - 1, FEWEST_GROUPS, 30])
def test_groups_are_drawn_where_there_are_enough(groups: int) -> None:
    dataset = simulated_truth(60)
    images = dataset.images.with_columns(group=pl.format("board {}", pl.col("image_id") % groups))
    drawn = grouping(Dataset(dataset.names, images, dataset.boxes, dataset.root))
    if groups < FEWEST_GROUPS:
        assert (drawn.unit, drawn.units, drawn.number) == ("picture", 60, None)
    else:
        assert (drawn.unit, drawn.units) == ("group", groups)
        assert drawn.number is not None
        keys = images.sort("image_id")["group"].to_numpy()
        assert all(len(set(keys[drawn.number == n])) == 1 for n in np.unique(drawn.number))


def test_alike_pictures_of_a_group_make_the_interval_wider() -> None:
    boards = simulated_truth(20)
    frame = simulated_detections(boards, 2)
    pictures = [
        boards.images.with_columns(
            pl.col("image_id") + 100 * n, path=pl.format("{}-{}", "path", pl.lit(n)), group="path"
        )
        for n in range(6)
    ]
    boxes = [boards.boxes.with_columns(pl.col("image_id") + 100 * n) for n in range(6)]
    found = pl.concat([frame.with_columns(pl.col("image_id") + 100 * n) for n in range(6)])
    copied = Dataset(boards.names, pl.concat(pictures), pl.concat(boxes), boards.root)
    alone = Dataset(boards.names, copied.images.with_columns(group=pl.lit(None, pl.String)), copied.boxes, boards.root)
    wide, narrow = (analysed(d, found).deviation for d in (copied, alone))
    assert wide is not None
    assert narrow is not None
    assert wide == pytest.approx(narrow * np.sqrt(6), rel=0.25)


def test_nothing_at_all_is_an_answer() -> None:
    dataset = simulated_truth(3, empty=1)
    frame = simulated_detections(dataset, 1).clear()
    metrics = analysed(dataset, frame).metrics
    json.dumps(metrics, allow_nan=False)
    assert metrics["map50_95"] is None
    assert metrics["intervals"] == {"map50_95": None, "map50": None, "map75": None}
