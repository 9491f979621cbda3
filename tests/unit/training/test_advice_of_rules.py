"""What the rules advise can be turned by a program: every advice that begins like a setting is one, whole."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_diagnosis import CASES, Case, build

from pipeline import training
from pipeline.advice import knobs_of
from pipeline.config import settle
from pipeline.findings import Finding
from pipeline.training.diagnosis import diagnose

SETTING = re.compile(r"[a-z_0-9]+(?:\.[a-z_0-9]+)*=[^\s:;]+")
PLACEHOLDERS = ("data=PATH", "model=RUN/weights/last.pt")


def settings_at_the_start(advice: str) -> list[str]:
    """Return what a person would type: all settings before the reason begins."""
    head = advice.partition(": ")[0]
    return SETTING.findall(head) if SETTING.match(advice) else []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
@pytest.mark.parametrize("requested", ["AdamW", "auto"])
def test_every_finding_gives_all_of_its_settings_or_none(case: Case, requested: str) -> None:
    shape = replace(case[1], context={"optimizer_requested": requested, **case[1].context})
    for finding in diagnose(build(shape)):
        expected = settings_at_the_start(finding.advice)
        found = [str(knob) for knob in knobs_of(finding)]
        assert found == ([] if finding.advice.startswith(PLACEHOLDERS) else expected), finding.advice
        settle(None, found)
        if requested == "auto" and any(text.startswith("train.lr0") for text in found):
            assert any(text.startswith("train.optimizer") for text in found), "auto ignores a rate alone"


# What stands for the values that the rules compute, by the expression; else 1.
STAND_INS = {
    "rate_knob": "train.lr0=0.002 with train.optimizer=AdamW",
    "named": "train.optimizer=AdamW with train.momentum=0.9",
    "result.optimizer": "AdamW",
    "choice": "train.optimizer=AdamW",
    "gain": "box",
    "other": "bf16",
    "MOVING": "augment.scale=0.5 with augment.fliplr=0.5",
    "trained_weights": "yolo11n.pt",
}


def written_advice() -> Iterator[tuple[str, str]]:
    """Yield where a text begins like a setting in the source of rules and checks, and the text with stand-ins."""
    folder = Path(training.__file__).parent
    for path in [*sorted(folder.glob("rules_*.py")), folder / "preflight.py"]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = "".join(_part(part) for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                text = node.value
            else:
                continue
            if SETTING.match(text) and text.startswith(("augment.", "data=", "model=", "monitor.", "train.")):
                yield f"{path.name}:{node.lineno}", text


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    expression = ast.unparse(part.value)
    return next((value for name, value in STAND_INS.items() if expression.startswith(name)), "1")


def test_every_setting_that_is_written_down_can_be_turned() -> None:
    written = list(written_advice())
    assert len(written) > 25
    for place, text in written:
        found = [str(knob) for knob in knobs_of(Finding("some.finding", "info", "x", {}, text))]
        if not text.startswith(PLACEHOLDERS):
            assert found == settings_at_the_start(text), f"{place}: {text}"
            assert found, f"{place}: {text}"
