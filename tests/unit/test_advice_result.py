"""What is said of an advice that was tried: the verdict from both sides, and what counts as a change."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.advice import Knob, Suggestion
from pipeline.advice_result import (
    MOST,
    Change,
    Direction,
    Side,
    Trial,
    alarms_of,
    end_alone,
    judge,
    loss_change,
    map_change,
)
from pipeline.evaluation.compare import Comparison, Difference
from pipeline.evaluation.intervals import Interval, image_weights
from pipeline.findings import Finding, Severity

TARGET = "loss.plateau"
W, E = "warning", "error"


def side(state: str = "complete", **alarms: Severity) -> Side:
    names = {name.replace("__", "."): severity for name, severity in alarms.items()}
    return Side("runs/one", state, "" if state == "complete" else "NaN. Lower it", names)


PLATEAU = side(loss__plateau=W)
STOPPED = side("failed", loss__plateau=E)


@pytest.mark.parametrize(
    ("before", "after", "direction", "verdict"),
    [
        (PLATEAU, side(), "none", "fixed"),
        (PLATEAU, side(), "up", "fixed"),
        (PLATEAU, side(), "down", "worse"),
        (PLATEAU, PLATEAU, "up", "better"),
        (PLATEAU, PLATEAU, "none", "no change"),
        (PLATEAU, PLATEAU, "down", "worse"),
        (PLATEAU, side(amp__skipping=W), "none", "no change"),  # gone, but something else came
        (PLATEAU, side(amp__skipping=W), "up", "better"),
        (PLATEAU, side(amp__skipping=E), "up", "worse"),
        (PLATEAU, side(loss__plateau=E), "up", "worse"),  # graver than it was
        (side(loss__plateau=W, amp__skipping=E), side(amp__skipping=W), "none", "fixed"),
        (side(loss__plateau=W, amp__skipping=W), side(amp__skipping=W), "none", "fixed"),
        (PLATEAU, side("failed"), "up", "worse"),
        (STOPPED, side(), "up", "fixed"),
        (STOPPED, side(amp__skipping=W), "up", "fixed"),  # the first one had no time to find it
        (STOPPED, side(amp__skipping=E), "up", "no change"),
        (STOPPED, side(loss__plateau=W), "up", "better"),
        (STOPPED, STOPPED, "none", "no change"),
        (STOPPED, STOPPED, "up", "no change"),  # it still stops
        (STOPPED, side(), "down", "worse"),
    ],
)
def test_the_verdict(before: Side, after: Side, direction: Direction, verdict: str) -> None:
    assert judge(TARGET, before, after, direction) == verdict


_ALARMS = st.dictionaries(st.sampled_from([TARGET, "amp.skipping", "norm.drifting"]), st.sampled_from([W, E]))
_SIDES = st.builds(Side, st.just("r"), st.sampled_from(["complete", "failed"]), st.just(""), _ALARMS)


@given(before=_SIDES, after=_SIDES, direction=st.sampled_from(["up", "down", "none"]))
def test_what_every_verdict_promises(before: Side, after: Side, direction: Direction) -> None:
    verdict = judge(TARGET, before, after, direction)
    graver = {name for name, severity in after.alarms.items() if severity == E and before.alarms.get(name) != E}
    if verdict in ("fixed", "better"):
        assert after.is_complete
        assert not graver
        assert direction != "down"
    if verdict == "fixed":
        assert TARGET not in after.alarms
    if direction == "down" or (before.is_complete and graver):
        assert verdict == "worse"


def test_a_stop_that_is_mended_is_up_and_one_that_is_new_is_down() -> None:
    assert [end_alone(*pair).direction for pair in [(STOPPED, PLATEAU), (PLATEAU, STOPPED), (STOPPED, STOPPED)]] == [
        "up",
        "down",
        "none",
    ]


def test_alarms_are_told_apart_by_their_entry_and_notes_are_none() -> None:
    found = [
        Finding("augment.shift", W, "a", {"entry": "mosaic"}),
        Finding("augment.shift", E, "a", {"entry": "hsv_v"}),
        Finding("split.deviation", "info", "a"),
    ]
    assert alarms_of(found) == {"augment.shift of mosaic": W, "augment.shift of hsv_v": E}


# ---- detection -------------------------------------------------------------------------------------------------------


def comparison(first: float | None, second: float | None, verdict: str) -> Comparison:
    both = first is not None and second is not None
    interval = Interval(second - first, -0.1, 0.1) if both else None  # type: ignore[operator]
    rows = tuple(Difference(name, first, second, interval, verdict, 30) for name in ("map50_95", "map50"))
    return Comparison("old", "new", rows, (), 20, "picture", 20)


@pytest.mark.parametrize(("verdict", "direction"), [("better", "up"), ("worse", "down"), ("within noise", "none")])
def test_detection_goes_by_the_paired_comparison(verdict: str, direction: str) -> None:
    change = map_change(comparison(0.2, 0.3, verdict))
    assert change is not None
    assert (change.measure, change.direction) == ("map50_95", direction)
    assert "0.200 before, 0.300 after" in change.words


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.0), (0.009, 0.0), (None, None)])
def test_where_neither_finds_anything_detection_says_nothing(first: float | None, second: float | None) -> None:
    assert map_change(comparison(first, second, "within noise")) is None


def test_one_that_finds_something_is_enough() -> None:
    assert map_change(comparison(0.0, 0.02, "better")) is not None


# ---- losses ----------------------------------------------------------------------------------------------------------


def losses(factor: float, pictures: int = 40, noise: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = np.exp(rng.normal(2, 0.5, pictures))
    return first, first * factor * np.exp(rng.normal(0, noise, pictures))


def changed(first: np.ndarray, second: np.ndarray) -> Change:
    return loss_change(first, second, image_weights(len(first), 500), len(first))


@pytest.mark.parametrize(
    ("factor", "direction"), [(0.7, "up"), (1.0, "none"), (0.85, "none"), (1.15, "none"), (1.4, "down")]
)
def test_losses_are_compared_picture_by_picture(factor: float, direction: str) -> None:
    change = changed(*losses(factor))
    assert change.direction == direction
    ratio = change.figures["ratio"]
    assert ratio["low"] < factor < ratio["high"]
    assert ratio["value"] == pytest.approx(factor, rel=0.03)


def test_the_other_way_round_is_the_reciprocal() -> None:
    first, second = losses(0.7)
    there, back = changed(first, second).figures["ratio"], changed(second, first).figures["ratio"]
    assert there["value"] == pytest.approx(1 / back["value"])
    assert there["low"] == pytest.approx(1 / back["high"])


def test_a_network_that_has_collapsed_is_worse_than_any_other() -> None:
    first, _ = losses(1.0)
    broken = np.full_like(first, np.inf)
    assert changed(broken, first).direction == "up"
    assert changed(first, broken).direction == "down"
    assert changed(broken, broken).direction == "none"
    assert "on 40 of them before and 0 after" in changed(broken, first).words
    assert changed(broken, first).figures["ratio"]["value"] == pytest.approx(1 / MOST)


def test_a_few_wild_pictures_do_not_decide() -> None:
    first, second = losses(1.0)
    second[:3] *= 1e9
    assert changed(first, second).direction == "none"


def test_one_picture_says_nothing_of_chance() -> None:
    change = changed(np.array([2.0]), np.array([1.0]))
    assert change.direction == "none"
    assert "nan" not in change.words
    json.dumps(change.figures, allow_nan=False)


# ---- what a person reads ---------------------------------------------------------------------------------------------


def trial(before: Side, after: Side, change: Change) -> Trial:
    finding = Finding(TARGET, W, "it stands", {}, "train.lr0=0.01 with train.optimizer=SGD: why")
    knobs = (Knob("train.lr0", "0.01"), Knob("train.optimizer", "SGD"))
    return Trial(Suggestion(finding, knobs, (0.003, "auto")), before, after, change)


@pytest.mark.parametrize(
    ("knob", "now", "shared"),
    [
        (Knob("train.lr0", "0.01"), 0.1, "; start, data, seed and all else as in runs/one"),
        (Knob("model", "runs/one/weights/last.pt"), "yolo26n.yaml", "; another start; data, seed and all else as in"),
        (Knob("train.epochs", "50"), 5, "; a longer training may be better for its length alone"),
        (Knob("train.epochs", "5"), 50, "; start, data, seed and all else as in runs/one"),
    ],
)
def test_what_the_trainings_do_not_share_is_said(knob: Knob, now: object, shared: str) -> None:
    suggestion = Suggestion(Finding(TARGET, W, "it stands", {}, f"{knob}: why"), (knob,), (now,))
    found = Trial(suggestion, PLATEAU, side(), Change("map50_95", "up", "0.1 before, 0.2 after", {}))
    turned = dict(found.lines())["Turned"]
    assert shared in turned
    assert turned.startswith(f"{knob.key} ")


def test_the_words_tell_what_was_turned_before_after_and_what_to_do() -> None:
    found = trial(PLATEAU, side(amp__skipping=W), Change("map50_95", "up", "0.1 before, 0.2 after", {}))
    words = dict(found.lines())
    assert list(words) == ["Turned", "Before", "After", "Measured", "Verdict", "Next"]
    assert words["Turned"].startswith("train.lr0 0.003 -> 0.01, train.optimizer auto -> SGD")
    assert words["Verdict"] == ("better: loss.plateau is gone, new or graver: amp.skipping, detection is better")
    assert words["Next"] == (
        "keep train.lr0=0.01 train.optimizer=SGD in the configuration; what is left: tuneup advise runs/one"
    )


def test_a_stop_is_told_in_one_sentence() -> None:
    found = trial(STOPPED, STOPPED, end_alone(STOPPED, STOPPED))
    words = dict(found.lines())
    assert words["Before"] == "stopped: NaN; loss.plateau (error)"
    assert words["Verdict"] == "no change: loss.plateau is still there, the training stopped before its end"
    assert words["Next"].startswith("leave train.lr0=0.01 train.optimizer=SGD out")
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["verdict"] == "no change"


def test_transforms_keep_their_names_when_one_before_them_is_dropped() -> None:
    def of(entry: str, finding_id: str = "augment.black", severity: Severity = "error") -> Finding:
        return Finding(finding_id, severity, "x", {"entry": entry}, "")

    before = [of("ToGray"), of("ToGray#2"), of("Blur"), of("ToGray#3", "augment.shift", "warning")]
    after = [of("ToGray"), of("Blur"), of("ToGray#2", "augment.shift", "warning")]
    left = alarms_of(after, "ToGray")
    assert left == alarms_of(before[1:])
    assert alarms_of(after[:1], "ToGray#2") == alarms_of(before[:1])
    assert alarms_of(after) == alarms_of(after, "GaussNoise")
    assert alarms_of([Finding("loss.plateau", "warning", "x", {}, "")], "ToGray") == {"loss.plateau": "warning"}
    sides = Side("a", "complete", "", alarms_of(before)), Side("b", "complete", "", left)
    assert judge("augment.black of ToGray", *sides, "none") == "fixed"
