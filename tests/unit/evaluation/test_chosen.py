"""What is chosen on val is kept for these weights alone, and checked on test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from simulated_detector import simulated_detections, simulated_truth

from pipeline.config import config_from_dict
from pipeline.errors import RunError, UsageError
from pipeline.evaluation import chosen
from pipeline.evaluation.analysis import Analysis, analyse, grouping
from pipeline.evaluation.evaluate import rule_of, threshold_views
from pipeline.evaluation.operating_point import Rule
from pipeline.evaluation.tables import Detections, Truth
from pipeline.runs import Run


def analysed(seed: int, images: int = 60) -> Analysis:
    dataset = simulated_truth(images, seed)
    truth = Truth.of(dataset)
    found = Detections.of(truth, simulated_detections(dataset, seed))
    return analyse(truth, found, grouping(dataset), resamples=200)


@pytest.fixture(scope="module")
def val() -> Analysis:
    return analysed(1)


@pytest.fixture(scope="module")
def test_split() -> Analysis:
    return analysed(2)


def test_what_was_chosen_comes_back_whole_and_only_for_its_weights(val: Analysis, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    assert chosen.kept(run, "w1") is None
    found, why_not = chosen.choose(val, Rule("f1"), "val", "w1", {"imgsz": 64})
    assert found is not None
    assert why_not == ""
    chosen.keep(run, found)
    assert chosen.kept(run, "w1") == found
    assert chosen.kept(run, "w2") is None
    (run.path / chosen.FILE).write_text('{"weights": "w1", "point": {}}')
    with pytest.raises(RunError, match=r"operating_point\.json"):
        chosen.kept(run, "w1")


def test_other_settings_than_those_it_was_chosen_with_are_named(val: Analysis) -> None:
    found, _ = chosen.choose(val, Rule("f1"), "val", "w", {"imgsz": 64, "head": "nms"})
    assert found is not None
    assert chosen.differing(found, {"imgsz": 64, "head": "nms"}) == ""
    assert chosen.differing(found, {"imgsz": 96, "head": "nms"}) == "imgsz 96 instead of 64"


def test_thresholds_of_val_are_fixed_and_checked_on_test(val: Analysis, test_split: Analysis) -> None:
    found, _ = chosen.choose(val, Rule("f1"), "val", "w", {"imgsz": 64})
    there, here = chosen.figures(test_split, "test", found), chosen.figures(val, "val", found)
    assert there["operating_point"]["thresholds"] == here["operating_point"]["thresholds"]
    assert there["operating_point"]["check"]["split"] == "test"
    assert here["operating_point"]["check"] is None
    assert there["operating_point_note"] == ""
    assert "very pictures (val)" in here["operating_point_note"]
    # The counts are those at the thresholds, on the split that is looked at.
    outcomes = test_split.table.outcomes(0)
    thresholds = found.point.array(test_split.table.truth.names) if found else []
    kept = int((outcomes.score >= thresholds[outcomes.class_id]).sum())
    assert there["counting"]["total"]["predicted"] == kept
    assert there["calibration"]["check"]["split"] == "test"
    assert here["calibration"]["check"] is None


def test_where_nothing_is_found_nothing_is_chosen_and_the_reason_is_said() -> None:
    empty = simulated_truth(4, empty=1)
    truth = Truth.of(empty)
    analysis = analyse(truth, Detections.of(truth, simulated_detections(empty, 1)), grouping(empty), resamples=100)
    found, why_not = chosen.choose(analysis, Rule("f1"), "val", "w", {"imgsz": 64})
    assert found is None
    assert "no boxes" in why_not
    record = chosen.figures(analysis, "val", found, why_not)
    assert (record["operating_point"], record["operating_point_note"]) == (None, why_not)


def test_the_configuration_says_how_thresholds_are_chosen() -> None:
    assert rule_of(config_from_dict({})) is None
    assert rule_of(config_from_dict({"eval": {"escape_rate": 0.02}})) == Rule("max_escape", 0.02)
    assert rule_of(config_from_dict({"eval": {"escape_cost": 20.0}})) == Rule("cost", 20.0)
    with pytest.raises(UsageError, match="one of them"):
        rule_of(config_from_dict({"eval": {"escape_rate": 0.02, "escape_cost": 20.0}}))


SETTINGS = {"imgsz": 64, "head": "nms"}


def test_a_rule_that_was_asked_for_stays_until_another_is(val: Analysis, test_split: Analysis, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    cost = Rule("cost", 7.0)

    def views(split: str, rule: Rule | None, settings: dict[str, Any] = SETTINGS) -> dict[str, Any]:
        return threshold_views(run, split, {"val": val, "test": test_split}[split], rule, "w", settings)

    asked = views("val", cost)["operating_point"]
    assert asked["rule"]["value"] == 7.0
    assert views("val", None)["operating_point"]["rule"] == asked["rule"]  # evaluated again, nothing asked
    assert views("test", None)["operating_point"]["thresholds"] == asked["thresholds"]
    assert views("test", cost)["operating_point"]["check"]["split"] == "test"
    other = views("test", Rule("cost", 3.0))
    assert other["operating_point"] is None
    assert "by another rule" in other["operating_point_note"]
    larger = views("test", None, {"imgsz": 96, "head": "nms"})
    assert larger["operating_point"] is None
    assert "imgsz 96 instead of 64" in larger["operating_point_note"]
    assert views("val", Rule("f1"))["operating_point"]["rule"]["kind"] == "f1"


def test_a_run_without_val_chooses_on_the_split_itself_and_says_so(test_split: Analysis, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    views = threshold_views(run, "test", test_split, None, "w", SETTINGS)
    assert views["operating_point"]["split"] == "test"
    assert "very pictures (test)" in views["operating_point_note"]
    assert chosen.kept(run, "w") is None
