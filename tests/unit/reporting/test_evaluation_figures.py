"""The figures of an evaluation are drawn from the very records that the evaluation writes."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import box, dataset_of

from pipeline.evaluation.calibration import reliability as measure_reliability
from pipeline.evaluation.calibrators import check, fit
from pipeline.evaluation.counting import counting
from pipeline.evaluation.froc import froc as measure_froc
from pipeline.evaluation.inspection import rejection_curve
from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.matching import MatchTable, match
from pipeline.evaluation.operating_point import Rule, choose
from pipeline.evaluation.tables import Detections, Truth
from pipeline.reporting import evaluation_figures as figures
from pipeline.runs import DETECTIONS_SCHEMA

PICTURES = 40
WEIGHTS = image_weights(PICTURES, 30)


def table_of(found: int = 200, boxes: int = 60, scale: float = 1.0) -> MatchTable:
    """Return a match table of 40 pictures, the first 30 with boxes, and detections of which some are right."""
    rng = np.random.default_rng(0)
    rows = [box(int(i % 30) + 1, int(i % 2), x := 2.0 + 6 * (i // 30), 5, x + 5, 20) for i in range(boxes)]
    dataset = dataset_of(rows, pictures=PICTURES)
    detections = []
    for i in range(found):
        score = scale * float(rng.uniform(0.05, 1))
        if i < boxes and rng.random() < score / scale:
            row = rows[i]
            corners = [row[side] for side in ("x1", "y1", "x2", "y2")]
            detections.append((row["image_id"], row["class_id"], score, *corners))
        else:
            detections.append((int(rng.integers(PICTURES)) + 1, int(i % 2), score, 50.0, 50.0, 60.0, 60.0))
    truth = Truth.of(dataset)
    return match(truth, Detections.of(truth, pl.DataFrame(detections, DETECTIONS_SCHEMA, orient="row")))


def stored(record: Any) -> dict[str, Any]:
    """Return the record as it is after a way through a file."""
    return dict(json.loads(json.dumps(record.to_dict(), allow_nan=False)))


def words(svg: str) -> str:
    return " | ".join(text.strip() for text in ET.fromstring(svg).itertext() if text.strip())


def curves_of(count: int) -> dict[str, list[float]]:
    recall = np.linspace(0, 1, 101)
    return {f"class {k}": (1 - recall ** (k + 1)).tolist() for k in range(count)}


def every_figure(table: MatchTable) -> dict[str, str]:
    point = choose(table, Rule(), "val", WEIGHTS)
    calibration = stored(check(table, fit(table, "val"), "val", WEIGHTS))
    counted = counting(table, point.array(table.truth.names), WEIGHTS)
    curve = stored(rejection_curve(table, WEIGHTS))
    return {
        "rejection": figures.rejection(curve, point.to_dict()["figures"], point.overall),
        "froc": figures.froc(stored(measure_froc(table, WEIGHTS))),
        "counts": figures.count_scatter(stored(counted)["total"]),
        "reliability": figures.reliability(calibration["before"], calibration["after"]),
        "precision-recall": figures.precision_recall(curves_of(6)),
    }


def test_every_figure_is_drawn_from_what_the_evaluation_writes() -> None:
    drawn = every_figure(table_of())
    parts = {
        "rejection": ("escape", "overkill", "threshold on the score", "overkill rate, %", "chosen"),
        "froc": ("share of the boxes found", "1/8", "false alarms per picture"),
        "counts": ("pictures (40)", "objects in the picture"),
        "reliability": ("share that is right", "scores, error", "calibrated, error", "detections lie"),
        "precision-recall": ("precision", "recall", "mean", "class 5"),
    }
    for name, svg in drawn.items():
        shown = words(svg)
        for part in parts[name]:
            assert part in shown
    assert every_figure(table_of()) == drawn


def test_figures_take_font_ink_and_colours_from_the_page_and_share_no_ids() -> None:
    drawn = list(every_figure(table_of()).values())
    ids = [name for svg in drawn for name in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    for svg in drawn:
        own = set(re.findall(r'\bid="([^"]+)"', svg))
        assert {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)} <= own
        assert "font-family" not in svg
        assert "#010203" not in svg
        assert "currentColor" in svg
        assert "var(--series-1" in svg
        assert "http" not in svg


@pytest.mark.parametrize(
    "svg",
    [
        lambda: figures.rejection({}),
        lambda: figures.rejection(stored(rejection_curve(table_of(found=0), WEIGHTS))),
        lambda: figures.froc({}),
        lambda: figures.froc(stored(measure_froc(table_of(boxes=0), WEIGHTS))),
        lambda: figures.count_scatter({}),
        lambda: figures.reliability({}),
        lambda: figures.reliability(stored(measure_reliability(table_of(found=0), WEIGHTS)), {}),
        lambda: figures.precision_recall({}),
    ],
)
def test_nothing_to_draw_draws_nothing(svg: Callable[[], str]) -> None:
    assert svg() == ""


def test_without_good_pictures_only_the_escapes_are_drawn() -> None:
    table = table_of()
    curve = stored(rejection_curve(table, WEIGHTS))
    for name in ("overkill", "overkill_low", "overkill_high"):
        del curve["points"][name]
    point = {**choose(table, Rule(), "val", WEIGHTS).to_dict()["figures"]}
    point["overkill"] = {"value": None, "low": None, "high": None}
    shown = words(figures.rejection(curve, point, 0.5))
    assert "escape" in shown
    assert "overkill" not in shown


def test_an_operating_point_without_good_pictures_is_not_marked() -> None:
    curve = stored(rejection_curve(table_of(), WEIGHTS))
    point = {"escape": {"value": 0.1, "low": 0.0, "high": 0.2}, "overkill": {"value": None, "low": None, "high": None}}
    assert "chosen" not in words(figures.rejection(curve, point))


def test_scores_of_any_range_have_their_rates_over_the_threshold() -> None:
    shown = words(figures.rejection(stored(rejection_curve(table_of(scale=40.0), WEIGHTS))))
    assert "30" in shown
    assert "overkill rate, %" not in shown  # has no axis in common with scores up to 40


@pytest.mark.parametrize("found", [1, 5])
def test_few_detections_are_drawn(found: int) -> None:
    table = table_of(found=found)
    for svg in (
        figures.rejection(stored(rejection_curve(table, WEIGHTS))),
        figures.froc(stored(measure_froc(table, WEIGHTS))),
        figures.count_scatter(stored(counting(table, np.array([0.5, 0.5]), WEIGHTS))["total"]),
        figures.reliability(stored(measure_reliability(table, WEIGHTS, 0.0))),
    ):
        assert ET.fromstring(svg).tag == "svg"


def test_a_perfect_detector_without_false_alarms_is_drawn() -> None:
    at = [{"false_alarms": rate, "value": 1.0, "low": 0.6, "high": 1.0} for rate in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)]
    points = {"threshold": [0.9], "false_alarms": [0.0], "sensitivity": [1.0]}
    assert "100 %" in words(figures.froc({"points": points, "at": at}))


@pytest.mark.parametrize("count", [1, 2, 6, 7, 40])
def test_any_number_of_classes_is_readable(count: int) -> None:
    shown = words(figures.precision_recall(curves_of(count)))
    assert ("mean" in shown) == (count > 1)
    named = [k for k in range(count) if re.search(rf"class {k}( \||$)", shown)]
    assert named == (list(range(count)) if count <= 6 else [0, 1, 2])  # of many only the lowest


def test_many_classes_and_many_pictures_stay_small() -> None:
    rng = np.random.default_rng(0)
    scatter = np.unique(rng.poisson(100, (5000, 2)), axis=0)
    assert len(figures.precision_recall(curves_of(80))) < 250_000
    svg = figures.count_scatter({"scatter": np.column_stack([scatter, np.ones(len(scatter))]).tolist()})
    assert len(svg) < 250_000
    assert f"pictures ({len(scatter):,})" in words(svg)


def test_names_are_escaped_cut_and_never_read_as_formulas() -> None:
    name = r"<b>$\frac a very long name of a class"
    svg = figures.precision_recall({name: [1.0] * 101})
    assert "<b>" not in svg
    assert r"<b>$\frac a very long…" in words(svg)
