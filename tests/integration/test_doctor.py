"""`tuneup doctor` on a configuration, a run and an incident, and `tuneup proof`: what is shown, and the exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline import cli, verbs
from pipeline.errors import RunError
from pipeline.findings import Finding
from pipeline.runs import Run
from pipeline.training import trial_checks


@pytest.fixture
def tuneup(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `tuneup ...` in this process; returns exit code and what was printed on stdout and stderr."""

    def call(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        printed = capsys.readouterr()
        text = printed.out + printed.err
        assert "Traceback" not in text
        return int(ended.value.code or 0), text

    return call


def test_doctor_of_a_configuration(tuneup: Any, tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_checks, "RANGE_STEPS", 12)
    code, text = tuneup("doctor", *tiny_overrides)
    assert code == 0
    for words in ("passed memory", "passed one step: fp32, batch 4", "learnt by heart", "passed backprop", "proposed"):
        assert words in text


def test_doctor_of_data_without_boxes_says_so_and_fails(
    tuneup: Any, tiny_data: Path, tiny_overrides: list[str], tmp_path: Path
) -> None:
    shutil.copytree(tiny_data, tmp_path / "set")
    for label in (tmp_path / "set" / "labels" / "train").glob("*.txt"):
        label.write_text("")
    rest = [word for word in tiny_overrides if not word.startswith("data=")]
    code, text = tuneup("doctor", f"data={tmp_path / 'set'}", *rest, "--json")
    assert code == 1
    found = {finding["id"]: finding for finding in json.loads(text)["findings"]}
    assert found["preflight.no_boxes"]["severity"] == "error"
    assert "label files" in found["preflight.no_boxes"]["advice"]


def test_a_training_without_boxes_is_not_started(
    tuneup: Any, tiny_data: Path, tiny_overrides: list[str], tmp_path: Path
) -> None:
    shutil.copytree(tiny_data, tmp_path / "set")
    for label in (tmp_path / "set" / "labels" / "train").glob("*.txt"):
        label.write_text("")
    rest = [word for word in tiny_overrides if not word.startswith(("data=", "monitor.preflight"))]
    code, text = tuneup("train", f"data={tmp_path / 'set'}", *rest, f"runs={tmp_path / 'runs'}", "name=empty")
    assert code == 1  # a finding of severity error
    assert "not started: " in text
    assert "box" in text
    assert "monitor.preflight=0 starts all the same" in text
    assert Run(tmp_path / "runs" / "empty").state["state"] == "failed"


def test_doctor_of_a_run_judges_it_again(tuneup: Any, tiny_run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(tiny_run.path, tmp_path / "copy")))
    (copy.path / "findings.json").unlink()
    code, text = tuneup("doctor", str(copy.path), "--json")
    judged = [Finding.from_dict(record) for record in json.loads(text)]
    assert judged == pipeline.diagnose(tiny_run)
    assert {finding.id for finding in judged} <= {finding.id for finding in copy.findings()}
    assert code == (1 if any(finding.severity == "error" for finding in judged) else 0)


def test_doctor_of_a_folder_takes_no_settings(tuneup: Any, tiny_run: Run) -> None:
    code, text = tuneup("doctor", str(tiny_run.path), "epochs=3")
    assert code == 2
    assert "leave out the settings" in text


def test_doctor_of_a_folder_that_is_no_run(tuneup: Any, tmp_path: Path) -> None:
    code, text = tuneup("doctor", str(tmp_path))
    assert code == 2
    assert f"tuneup doctor data={tmp_path}" in " ".join(text.split())
    incident = tmp_path / "incidents" / "step-000001" / "incident.json"
    incident.parent.mkdir(parents=True)
    incident.write_text("{}")
    code, text = tuneup("doctor", str(tmp_path / "incidents"))
    assert code == 2
    assert "step-000001" in text


def test_a_damaged_step_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "step.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match=r"step.pt: cannot be read"):
        verbs.replay(tmp_path)


def test_proof_can_be_followed_by_hand(tuneup: Any) -> None:
    code, text = tuneup("proof", "yolo26n.yaml")
    assert code == 0
    for words in ("w = 2, x = 3, target = 10", "16", "-24", "yolo26n", "autograd and finite differences agree"):
        assert words in text


def test_proof_of_a_run_takes_its_best_weights(tuneup: Any, tiny_run: Run) -> None:
    code, text = tuneup("proof", str(tiny_run.path), "--json")
    assert code == 0
    result = json.loads(text)
    assert result["passed"] is True
    assert result["relative_error"] < 1e-6


def test_proof_of_a_model_that_does_not_exist(tuneup: Any) -> None:
    code, text = tuneup("proof", "yolo26q.yaml")
    assert code == 2
    assert "did you mean yolo26" in text
