"""Thresholds are the best ones that a search over all of them finds, and a promise holds as often as it says."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scene import Scene, f1_by_hand, inspected, scenes, weights_of
from scipy import stats

from pipeline.errors import DataError, RunError, UsageError
from pipeline.evaluation import operating_point
from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.operating_point import OperatingPoint, Rule, allowed_escapes, choose
from pipeline.evaluation.threshold_figures import figures_at

F1 = Rule()


@pytest.fixture
def two_boxes_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operating_point, "FEW_BOXES", 2)


def stops(scene: Scene) -> list[float]:
    return [math.inf, *(score for _, _, score, _ in scene.found)]


# ---- the choice ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("two_boxes_are_enough")
@settings(max_examples=40, deadline=None)
@given(scene=scenes())
def test_no_other_threshold_has_a_better_f1(scene: Scene) -> None:
    assume(any(word == "hit" for *_, word in scene.outcomes()))
    point = choose(scene.table(), F1, "val", weights_of(scene))
    thresholds = point.array([f"class {k}" for k in range(scene.classes)])
    overall = np.full(scene.classes, point.overall)
    best = max(f1_by_hand(scene, np.full(scene.classes, stop)) for stop in stops(scene))
    assert f1_by_hand(scene, overall) == pytest.approx(best)
    for k in range(scene.classes):
        boxes = sum(class_id == k and not ignored for _, class_id, ignored in scene.boxes)
        hits = sum(word == "hit" and class_id == k for _, class_id, _, word in scene.outcomes())
        assert (f"class {k}" in point.own) == (boxes >= 2 and hits > 0)
        if f"class {k}" in point.own:
            best = max(f1_by_hand(scene, np.full(scene.classes, stop), k) for stop in stops(scene))
            assert f1_by_hand(scene, thresholds, k) == pytest.approx(best)
        else:
            assert thresholds[k] == point.overall


@pytest.mark.usefixtures("two_boxes_are_enough")
@settings(max_examples=40, deadline=None)
@given(scene=scenes(), ratio=st.sampled_from([0.1, 1.0, 10.0]))
def test_no_common_threshold_costs_less(scene: Scene, ratio: float) -> None:
    assume(any(word == "hit" for *_, word in scene.outcomes()))
    table, weights = scene.table(), weights_of(scene)

    def cost(thresholds: np.ndarray) -> float:
        figures = figures_at(table, thresholds, weights)
        if figures.escape.trials and figures.overkill.trials:
            return ratio * figures.escape.events + figures.overkill.events
        recall, precision = figures.boxes.recall, figures.boxes.precision
        return ratio * (recall.trials - recall.events) + precision.trials - precision.events

    point = choose(table, Rule("cost", ratio), "val", weights)
    least = min(cost(np.full(scene.classes, stop)) for stop in stops(scene))
    assert cost(np.full(scene.classes, point.overall)) == pytest.approx(least)
    assert cost(point.array(table.truth.names)) <= least + 1e-9


def test_the_dearer_an_escape_the_lower_the_threshold() -> None:
    rng = np.random.default_rng(5)
    boxes = [(i, 0, False) for i in range(100)]
    found = [(i, 0, float(rng.beta(5, 2)), i) for i in range(100)]
    found += [(i, 0, float(rng.beta(2, 5)), None) for i in range(100, 300)]
    table = Scene(300, boxes, found, classes=1).table()
    chosen = [choose(table, Rule("cost", ratio), "val", image_weights(300, 20)).overall for ratio in (0.1, 1, 10, 100)]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] > chosen[-1]


def test_a_threshold_lies_between_two_scores() -> None:
    found = [(0, 0, 0.9, 0), (1, 0, 0.6, 1), (1, 0, 0.2, None)]
    table = Scene(2, [(0, 0, False), (1, 0, False)], found).table()
    assert choose(table, F1, "val", np.ones((5, 2), np.int32)).overall == pytest.approx(0.4)
    lowest = Scene(2, [(0, 0, False)], [(0, 0, 0.9, 0)]).table()
    assert choose(lowest, F1, "val", np.ones((5, 2), np.int32)).overall == 0.9
    neighbours = [(0, 0, 0.5, 0), (1, 0, math.nextafter(0.5, 0), None)]
    point = choose(Scene(2, [(0, 0, False)], neighbours).table(), F1, "val", np.ones((5, 2), np.int32))
    assert point.overall == 0.5


def test_a_class_with_few_boxes_takes_the_overall_threshold() -> None:
    boxes = [(i, 0, False) for i in range(60)] + [(0, 1, False)]
    found = [(i, 0, 0.8, i) for i in range(60)] + [(0, 1, 0.1, 60), (1, 0, 0.5, None)]
    point = choose(Scene(60, boxes, found, classes=3).table(), F1, "val", image_weights(60, 20))
    assert point.own == ("class 0",)
    assert point.thresholds["class 1"] == point.thresholds["class 2"] == point.overall
    assert point.array(["class 1", "never seen"]).tolist() == [point.overall] * 2


@pytest.mark.parametrize("rule", [F1, Rule("cost", 10), Rule("max_escape", 0.05)])
def test_nothing_to_choose_by_is_said(rule: Rule) -> None:
    ones = np.ones((3, 2), np.int32)
    with pytest.raises(DataError, match="val has no boxes"):
        choose(Scene(2, [], [(0, 0, 0.5, None)]).table(), rule, "val", ones)
    for found in ([], [(0, 0, 0.5, None)]):
        with pytest.raises(DataError, match="no box that a detection finds"):
            choose(Scene(2, [(0, 0, False)], found).table(), rule, "val", ones)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("f1", 1.0),
        ("cost", None),
        ("cost", 0.0),
        ("cost", math.nan),
        ("max_escape", 0.0),
        ("max_escape", 1.0),
        ("best", 1),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(kind: Any, value: float | None) -> None:
    with pytest.raises(UsageError, match="operating point"):
        Rule(kind, value)


# ---- the promise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0.01, 0.05, 0.2, 0.5])
def test_the_number_of_allowed_escapes_is_the_binomials(most: float) -> None:
    for defective in (1, 2, 13, 14, 58, 59, 60, 299, 300, 1000, 5000):
        k = allowed_escapes(defective, most)
        assert k < 0 or stats.binom.cdf(k, defective, most) <= 0.05
        assert stats.binom.cdf(k + 1, defective, most) > 0.05


def test_the_rule_of_three_is_the_case_without_escapes() -> None:
    assert [allowed_escapes(defective, 0.05) for defective in (58, 59, 92, 93)] == [-1, 0, 0, 1]
    assert 0.05 * 59 == pytest.approx(3, abs=0.06)


def test_a_promise_is_broken_in_at_most_five_percent_of_all_choices_and_not_much_less() -> None:
    rng = np.random.default_rng(8)
    broken = 0
    for _ in range(200):
        scene = inspected(rng, 130, 1)
        point = choose(scene.table(), Rule("max_escape", 0.05), "val", np.ones((2, 131), np.int32))
        assert point.promised
        broken += stats.beta.cdf(point.overall, 4, 2) > 0.05
    assert stats.binomtest(broken, 200, 0.036).pvalue > 0.001  # P(binomial(130, 0.05) <= 2) = 3.6 %


def test_the_threshold_of_a_promise_is_the_highest_that_lets_no_more_pass() -> None:
    scene = inspected(np.random.default_rng(2), 100)
    table = scene.table()
    point = choose(table, Rule("max_escape", 0.05), "val", image_weights(120, 20))
    assert allowed_escapes(100, 0.05) == 1
    assert figures_at(table, point.array(table.truth.names), image_weights(120, 20)).escape.events == 1
    higher = min(score for _, _, score, _ in scene.found if score > point.overall)
    top = sorted(score for i, _, score, _ in scene.found if i < 100)
    assert point.overall < top[1] <= higher or higher <= top[1]
    assert figures_at(table, np.array([math.nextafter(top[1], 1)]), image_weights(120, 20)).escape.events == 2


def test_too_few_defective_pictures_promise_nothing_and_say_how_many_are_needed() -> None:
    scene = inspected(np.random.default_rng(2), 20)
    point = choose(scene.table(), Rule("max_escape", 0.05), "val", image_weights(40, 20))
    assert point.promised is False
    assert "20 defective pictures are too few" in point.notes[0]
    assert "59 are needed" in point.notes[0]
    assert f"{100 * (1 - 0.05 ** (1 / 20)):.3g} %" in point.notes[0]
    assert point.figures["escape"]["events"] == 0


def test_defects_without_any_detection_make_a_promise_impossible() -> None:
    boxes = [(i, 0, False) for i in range(80)]
    scene = Scene(90, boxes, [(i, 0, 0.3 + i / 200, i) for i in range(60)], classes=1)
    point = choose(scene.table(), Rule("max_escape", 0.05), "val", image_weights(90, 20))
    assert point.promised is False
    assert "20 of 80 defective pictures have no detection" in point.notes[0]
    assert point.overall == 0.3


def test_in_groups_the_groups_count_for_a_promise() -> None:
    scene = inspected(np.random.default_rng(2), 120)
    groups = (np.arange(140) // 4).astype(np.int32)
    point = choose(scene.table(), Rule("max_escape", 0.05), "val", image_weights(140, 20, groups=groups), groups)
    assert point.promised is False
    assert "30 groups with defective pictures are too few" in point.notes[0]


# ---- the record ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [F1, Rule("cost", 10), Rule("max_escape", 0.05)])
def test_an_operating_point_survives_its_record(rule: Rule) -> None:
    point = choose(inspected(np.random.default_rng(2), 70).table(), rule, "val", image_weights(90, 20))
    assert OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict(), allow_nan=False))) == point


@pytest.mark.parametrize(
    "changes",
    [
        {"overall": None},
        {"overall": math.nan},
        {"thresholds": {"a": "high"}},
        {"thresholds": [0.5]},
        {"rule": {"kind": "best", "value": None}},
        {"figures": {}},
        {"own": None},
        {"promised": "yes"},
    ],
)
def test_a_damaged_record_is_refused(changes: dict[str, Any]) -> None:
    point = choose(inspected(np.random.default_rng(2), 70).table(), F1, "val", image_weights(90, 20))
    with pytest.raises(RunError, match=r"there: .*evaluate again"):
        OperatingPoint.from_dict({**point.to_dict(), **changes}, "there")
    with pytest.raises(RunError):
        OperatingPoint.from_dict({})
