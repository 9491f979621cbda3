"""The model card: figures with intervals, thresholds, limits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from evaluated_run import evaluated_run
from fabricated_run import empty_run

from pipeline.reporting.model_card import card, write_card
from pipeline.runs import Run, write_atomic, write_json


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
        assert f"{value:.3g}" in text, name
    assert "chosen on these very pictures" in text
    escape = metrics["operating_point"]["figures"]["escape"]
    assert f"{escape['events']} of {escape['trials']}" in text
    assert f"`tuneup predict {metrics['checkpoint']} PICTURES`" in text  # the run has no weights of its own
    assert "found here" in text.split("## Limits")[1]


def test_a_run_with_weights_is_used_by_its_folder(run: Run, tmp_path: Path) -> None:
    trained = Run(shutil.copytree(run.path, tmp_path / "steel of may"))
    write_atomic(trained.weights("best"), b"weights")
    assert f"`tuneup predict '{trained.path}' PICTURES`" in card(trained)


@pytest.mark.parametrize(
    ("chose", "trained_on", "words"),
    [
        (False, True, "The network was trained on this split: no measure of quality."),
        (True, False, "This split chose the weights: the figures flatter."),
        (None, None, "It is not known whether this split trained or chose the weights."),
    ],
)
def test_the_card_says_what_a_split_took_part_in(
    run: Run, tmp_path: Path, chose: bool | None, trained_on: bool | None, words: str
) -> None:
    other = Run(shutil.copytree(run.path, tmp_path / "steel"))
    metrics = {**other.evaluations()["test"], "chose_checkpoint": chose, "trained_on": trained_on}
    other.save_evaluation("test", metrics, {})
    text = card(other)
    assert words in text
    assert text.count("This split") + text.count("The network was") + text.count("It is not known") == 1


def test_a_name_with_a_line_break_stays_on_its_line(run: Run, tmp_path: Path) -> None:
    other = Run(shutil.copytree(run.path, tmp_path / "steel"))
    metrics = other.evaluations()["test"]
    point = metrics["operating_point"]
    odd = {**point, "overall": -1.0, "thresholds": {"pit\n## Free": 0.25}}
    other.save_evaluation("test", {**metrics, "operating_point": odd}, {})
    assert r"pit \#\# Free 0.25" in card(other)


def test_names_do_not_become_markup(run: Run) -> None:
    text = card(run)
    assert "<blink>" not in text.replace("\\<blink", "")
    assert "\\<blink\\>&scratch" in text


def test_a_run_that_was_not_evaluated_has_a_short_card(tmp_path: Path) -> None:
    text = card(empty_run(tmp_path / "steel"))
    assert text.startswith("# steel")
    assert "##" not in text.removeprefix("# steel")


def test_the_card_says_how_pictures_were_changed(run: Run, tmp_path: Path) -> None:
    checked = Run(shutil.copytree(run.path, tmp_path / "checked"))
    assert "not checked on these pictures" in card(checked)
    finding = {"id": "augment.noise", "severity": "warning", "message": "", "evidence": {}, "advice": ""}
    for findings, words in (([], "kept its contract"), ([{**finding, "severity": "info"}], "kept its contract"),
                            ([finding], "1 warnings or errors")):  # fmt: skip
        write_json(checked.path / "contract.json", {"findings": findings})
        assert f"- Augmentation: Ultralytics' own stage, as the configuration sets it; {words} on these" in card(
            checked
        )
