"""Runs that are killed, interrupted and continued."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from alone import train_alone

from pipeline import verbs
from pipeline.errors import RunError
from pipeline.runs import Run
from pipeline.training import session
from pipeline.training.trainer import TuneUpTrainer


class Killed(BaseException):
    """Ends a training the way a power cut does: nothing after it is written."""


def killed_in(overrides: list[str], monkeypatch: pytest.MonkeyPatch, method: str, epoch: int) -> None:
    """Train until `method` is called in `epoch`, then stop without any tidying up."""
    original = getattr(TuneUpTrainer, method)

    def dying(self: TuneUpTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.epoch == epoch:
            raise Killed
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(TuneUpTrainer, method, dying)
        patch.setattr("pipeline.training.session._close", lambda *args: None)
        with pytest.raises(Killed):
            train_alone(overrides)


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in {"seconds", "time"}} for record in records]


@pytest.mark.parametrize(("method", "epoch"), [("optimizer_step", 2), ("save_model", 1), ("save_metrics", 0)])
def test_a_resumed_run_equals_one_that_was_never_stopped(
    tiny_run: Run,
    tiny_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    epoch: int,
) -> None:
    """Also in the middle of an accumulation: three batches of four at nbs 8 leave one batch open per epoch."""
    killed_in([*tiny_overrides, f"runs={tmp_path}", "name=cut"], monkeypatch, method, epoch)
    run = Run.open(tmp_path / "cut")
    run.update_state(pid=None)
    assert run.state["state"] == "running"
    assert run.epochs().height >= epoch
    evaluated = method == "optimizer_step"
    resumed = verbs.resume(run) if evaluated else session.resume(run)
    assert resumed.state["state"] == "complete"
    for kind in ("steps", "epochs", "probes"):
        assert without_times(resumed.records(kind)) == without_times(tiny_run.records(kind))
    assert resumed.norms().values.tobytes() == tiny_run.norms().values.tobytes()
    weights = [torch.load(r.weights("last"), weights_only=False)["model"].state_dict() for r in (resumed, tiny_run)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not evaluated or resumed.detections("test").equals(tiny_run.detections("test"))


def test_a_resumed_run_draws_the_pictures_that_it_would_have_drawn(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transforms and pasted objects included."""
    policy = ["augment.transforms=[{GaussNoise: {p: 0.5}}]", "augment.copy_paste={quotas: {disc: 0.8}}"]
    overrides = [*tiny_overrides, *policy, f"runs={tmp_path}"]
    killed_in([*overrides, "name=cut"], monkeypatch, "optimizer_step", 2)
    resumed = session.resume(Run(tmp_path / "cut"))
    whole = train_alone([*overrides, "name=whole"])
    assert without_times(resumed.records("steps")) == without_times(whole.records("steps"))
    assert resumed.norms().values.tobytes() == whole.norms().values.tobytes()
    assert resumed.config["augment"] == whole.config["augment"]
    assert resumed.config["augment"]["copy_paste"]["quotas"] == {"disc": 0.8}


def test_a_resumed_run_with_frozen_layers_lacks_nothing(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_in([*tiny_overrides, "freeze=20", f"runs={tmp_path}", "name=cut"], monkeypatch, "optimizer_step", 2)
    resumed = session.resume(Run(tmp_path / "cut"))
    restored = resumed.context["restored"]
    assert restored["optimizer_tensors"] == restored["optimizer_tensors_expected"] > 0
    assert "resume.not_restored" not in [finding.id for finding in resumed.findings()]
    assert resumed.context["pretrained"] is False  # it began with random weights; a resume does not change that


@pytest.mark.parametrize("write", [1, 2, 3], ids=["before last.pt", "before best.pt", "before resume.pt"])
def test_a_run_cut_off_while_its_first_checkpoints_are_written_begins_anew(
    tiny_run: Run, tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    from pipeline.training import checkpoints

    original, calls = checkpoints.write, []

    def dying(path: Path, checkpoint: dict[str, Any]) -> None:
        calls.append(path)
        if len(calls) == write:
            raise Killed
        original(path, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write", dying)
        patch.setattr("pipeline.training.session._close", lambda *args: None)
        with pytest.raises(Killed):
            train_alone([*tiny_overrides, f"runs={tmp_path}", "name=cut"])
    resumed = session.resume(Run(tmp_path / "cut"))
    assert without_times(resumed.records("steps")) == without_times(tiny_run.records("steps"))


def test_a_missing_exact_state_is_said_and_the_history_kept(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_in([*tiny_overrides, f"runs={tmp_path}", "name=cut"], monkeypatch, "optimizer_step", 2)
    run = Run.open(tmp_path / "cut")
    run.weights("resume").unlink()
    with pytest.raises(RunError, match=r"resume.pt: missing, although 2 epochs are recorded.*model="):
        verbs.resume(run)
    assert run.epochs().height == 2


def test_a_run_is_trained_by_one_process_at_a_time(
    tiny_overrides: list[str], tmp_path: Path, tuneup: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    run = Run(tmp_path / "cut")
    process = start([*tiny_overrides, "epochs=200"], tmp_path)
    wait_for(lambda: (run.path / "config.yaml").is_file() and run.epochs().height >= 1, process)
    second = tuneup("train", "--resume", str(run.path))
    assert process.poll() is None
    process.kill()
    process.communicate()
    assert second.returncode == 2
    assert "is being trained by another process" in second.stderr


def test_a_complete_run_has_nothing_to_resume(tiny_run: Run) -> None:
    with pytest.raises(RunError, match="complete"):
        verbs.resume(tiny_run)


def start(overrides: list[str], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline", "train", *overrides, f"runs={folder}", "name=cut"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not condition():
        if process.poll() is not None or time.monotonic() > until:
            output = process.communicate()[0]
            pytest.fail(f"the training ended before it could be stopped:\n{output}")
        time.sleep(0.02)


def test_kill_9_and_resume_through_the_command_line(
    tiny_overrides: list[str], tmp_path: Path, tuneup: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    overrides = [*tiny_overrides, "epochs=6"]
    run = Run(tmp_path / "cut")
    process = start(overrides, tmp_path)
    wait_for(lambda: (run.path / "config.yaml").is_file() and run.epochs().height >= 2, process)
    time.sleep(random.Random(0).uniform(0, 0.3))
    process.kill()
    process.communicate()
    for table in (run.steps(), run.epochs()):
        assert table.height > 0
    assert "killed" in tuneup("runs", str(tmp_path)).stdout
    done = tuneup("train", "--resume", str(run.path))
    assert done.returncode == 0, done.stdout + done.stderr
    steps = run.steps()
    assert steps["step"].to_list() == list(range(steps.height))
    assert steps["images"].to_list() == [4, 4, *[8] * (steps.height - 2)]
    assert run.epochs()["epoch"].to_list() == list(range(6))
    assert "resume" in [event["event"] for event in run.events()]


def test_ctrl_c_stops_cleanly_and_leaves_a_complete_run(tiny_overrides: list[str], tmp_path: Path) -> None:
    run = Run(tmp_path / "cut")
    process = start([*tiny_overrides, "epochs=200"], tmp_path)
    wait_for(lambda: (run.path / "config.yaml").is_file() and run.epochs().height >= 1, process)
    os.kill(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert f"--resume {run.path}" in output
    assert run.state["state"] == "interrupted"
    assert run.evaluations()["test"]["images"] == 5
    assert (run.path / "report.html").is_file()
    assert run.weights("resume").is_file()
