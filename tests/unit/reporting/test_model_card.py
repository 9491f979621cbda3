"""The model card: figures with intervals, thresholds, limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluated_run import evaluated_run
from fabricated_run import empty_run

from pipeline.reporting.model_card import card, write_card
from pipeline.runs import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return evaluated_run(tmp_path_factory.mktemp("evaluated"))


def test_the_card_says_what_a_user_must_know(run: Run) -> None:
    text = write_card(run).read_text("utf-8")
    metrics = run.evaluations()["test"]
    interval = metrics["intervals"]["map50_95"]
    assert f"| mAP50-95 | {metrics['map50_95']:.3f} | {interval['low']:.3f} to {interval['high']:.3f} |" in text
    assert "This split neither trained nor chose the weights." in text
    for name, value in metrics["operating_point"]["thresholds"].items():
        assert f"{value:.3f}" in text, name
    escape = metrics["operating_point"]["figures"]["escape"]
    assert f"{escape['events']} of {escape['trials']}" in text
    assert "tuneup predict" in text
    assert "found here" in text.split("## Limits")[1]


def test_names_do_not_become_markup(run: Run) -> None:
    text = card(run)
    assert "<blink>" not in text.replace("\\<blink", "")
    assert "\\<blink\\>&scratch" in text


def test_a_run_that_was_not_evaluated_has_a_short_card(tmp_path: Path) -> None:
    text = card(empty_run(tmp_path / "steel"))
    assert text.startswith("# steel")
    assert "##" not in text.removeprefix("# steel")
