"""Thresholds in sentences: those that are used, how far they can be trusted, and whether they still hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fabricated_run import empty_run

from pipeline.records import write_json
from pipeline.reporting.threshold_words import common_threshold, what_to_know, which
from pipeline.runs import Run

NONE = {"value": None, "low": None, "high": None, "events": 0, "trials": 0}
FIGURES = {"escape": {"value": 0.1, "low": 0.02, "high": 0.3, "events": 2, "trials": 20}, "overkill": NONE, "notes": []}
CHECK = {"split": "test", "figures": FIGURES, "agrees": True, "sentences": ["test agrees"]}


def point(thresholds: dict[str, float], **more: Any) -> dict[str, Any]:
    rule = {"kind": "max_escape", "value": 0.05, "text": "escape rate of at most 5 %"}
    base = {"split": "val", "rule": rule, "overall": 0.5, "thresholds": thresholds, "promised": True, "notes": []}
    return {**base, "figures": FIGURES, "check": CHECK, **more}


def measured(**more: Any) -> dict[str, Any]:
    return {"operating_point": point({"a": 0.5}), "operating_point_note": "", "weights": "w", **more}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return empty_run(tmp_path / "steel", state="complete")


def keep(run: Run, thresholds: dict[str, float], weights: str = "w") -> None:
    write_json(run.path / "operating_point.json", {"weights": weights, "point": {"thresholds": thresholds}})


def test_one_threshold_is_one_number() -> None:
    assert which(point({"a": 0.5, "b": 0.5})).startswith("Threshold 0.5 for every class (chosen on val: escape rate")
    assert common_threshold(point({"a": 0.5, "b": 0.5})) == 0.5


def test_a_threshold_that_no_class_uses_is_not_named() -> None:
    text = which(point({"a": 0.123, "b": 0.25}))
    assert text.endswith(": a 0.123, b 0.25.")
    assert "0.5" not in text
    assert common_threshold(point({"a": 0.123, "b": 0.25})) is None


@pytest.mark.parametrize(
    ("own", "shared", "end"),
    [
        (8, 0, "h 0.17."),
        (9, 0, "h 0.17, and 1 more."),
        (2, 80, ": a 0.1, b 0.11; 0.5 for the other 80."),
        (10, 5, "h 0.17, and 2 more; 0.5 for the other 5."),
    ],
)
def test_of_many_classes_the_first_own_thresholds_are_named(own: int, shared: int, end: str) -> None:
    thresholds = {"abcdefghij"[k]: 0.1 + k / 100 for k in range(own)} | {f"s{k}": 0.5 for k in range(shared)}
    assert which(point(thresholds)).endswith(end)


def test_thresholds_of_the_very_pictures_flatter(run: Run) -> None:
    alone = point({"a": 0.5}, check=None)
    assert any("very pictures (val)" in text for text in what_to_know(run, "val", measured(operating_point=alone)))
    noted = measured(operating_point=alone, operating_point_note="they flatter")
    assert [text for text in what_to_know(run, "val", noted) if "flatter" in text] == ["Thresholds: they flatter."]
    assert not any("flatter" in text for text in what_to_know(run, "test", measured()))


def test_without_thresholds_the_reason_is_all(run: Run) -> None:
    none = {"operating_point": None, "operating_point_note": "no boxes"}
    assert what_to_know(run, "test", none) == ["No thresholds: no boxes."]
    assert what_to_know(run, "test", {}) == []


def test_a_promise_that_cannot_be_given_is_said_with_its_reason(run: Run) -> None:
    weak = measured(operating_point=point({"a": 0.5}, promised=False, notes=["12 are too few"]))
    said = what_to_know(run, "test", weak)
    assert "val is too small, or lets too many pass, to promise an escape rate of at most 5 %." in said
    assert "12 are too few" in said
    assert not any("promise" in text for text in what_to_know(run, "test", measured()))


def test_rates_and_what_a_check_says(run: Run) -> None:
    said = what_to_know(run, "test", measured())
    assert said == ["2 of 20 defective pictures pass: 10 % (2 % to 30 %).", "test agrees"]


@pytest.mark.parametrize(
    ("kept", "stale"),
    [
        (({"a": 0.5}, "w"), False),
        (({"a": 0.4}, "w"), True),
        (({"a": 0.5}, "other"), True),
        (None, False),
    ],
)
def test_thresholds_chosen_anew_since_are_said(run: Run, kept: Any, stale: bool) -> None:
    if kept:
        keep(run, *kept)
    said = what_to_know(run, "test", measured())
    words = f"since this split was measured: `tuneup eval {run.path} eval.split=test`."
    assert any(text.endswith(words) for text in said) == stale
    assert len(said) == 2 + stale


def test_a_split_that_chose_its_own_is_not_stale_but_may_lack_thresholds_from_val(run: Run) -> None:
    own = measured(operating_point=point({"a": 0.5}, split="test", check=None))
    keep(run, {"a": 0.4})
    assert not any("tuneup eval" in text for text in what_to_know(run, "test", own))
    keep(run, {"a": 0.4}, "other")
    assert any(f"tuneup eval {run.path} eval.split=val" in text for text in what_to_know(run, "test", own))
