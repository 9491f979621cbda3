"""What a person reads in the terminal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.evaluation_terminal import evaluation_words
from pipeline.findings import Finding
from pipeline.reporting.wording import duration
from pipeline.runs import Run, list_runs, write_atomic
from pipeline.terminal import TrainingView, print_culprit, print_runs, run_row, summary_rows

EPOCH: dict[str, Any] = {
    "epoch": 0,
    "seconds": 12.3,
    "steps": 4,
    "train_loss": 3.21,
    "val_loss": 3.5,
    "sample_loss": None,
    "val_map50": 0.432,
    "val_map50_95": 0.21,
    "val_precision": 0.5,
    "val_recall": 0.4,
    "fitness": 0.21,
    "best": True,
}
STEP: dict[str, Any] = {
    "step": 3,
    "epoch": 0,
    "images": 8,
    "loss": 7.5,
    "lr_weight": 0.001,
    "lr_bias": 0.01,
    "grad_norm_before_clip": 35.1,
    "clipped": True,
}
METRICS: dict[str, Any] = {
    "split": "test",
    "chose_checkpoint": False,
    "trained_on": False,
    "images": 10,
    "boxes": 20,
    "map50": 0.8,
    "map50_95": 0.5,
    "per_class": [
        {"name": "pit", "images": 5, "boxes": 9, "ap50": 0.9, "ap50_95": 0.6},
        {"name": "[red]scratch", "images": 5, "boxes": 11, "ap50": 0.7, "ap50_95": 0.4},
    ],
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path, "demo")
    write_atomic(made.path / "config.yaml", "model: {name: yolo26n.yaml}\ndata: {path: /data/steel}\n")
    write_atomic(made.path / "data.json", '{"counts": {"train": {"images": 24, "boxes": 40, "empty": 2}}}')
    made.update_state(
        state="complete", reason="", epochs=2, epochs_done=1, seconds=75, device="cpu", threads=2, optimizer="AdamW",
        lr0=0.002, batch=8, started="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    made.append("epochs", [EPOCH])
    made.save_context({"layers": [{"layer": "model.5", "label": "5 Conv"}]})
    made.append("steps", [STEP])
    return made


def watched(run: Run, console: Console) -> None:
    view = TrainingView(console)
    view.on_start(run, 2, 0, 3)
    view.on_batch(0, 1)
    view.on_steps([{**STEP, "update_ratio": {"weight": 0.0123}, "largest": ("model.5", 0.031)}])
    view.on_findings([Finding("gradient.exploding", "error", "The gradient exploded.", {}, "train.lr0=0.0005")])
    view.on_batch(0, 2)
    view.on_epoch(EPOCH)
    view.close()


def test_a_pipe_gets_one_line_per_epoch_without_control_characters(run: Run) -> None:
    out = io.StringIO()
    watched(run, Console(file=out, width=200))
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    (line,) = [line for line in lines if line.startswith("epoch")]
    for part in (
        *("1/2", "loss train 3.21 val 3.5 ", "lr 1.00e-03", "|g| 35.1", "|dw|/|w| 1.2e-02 (most: 5 Conv 3.1e-02)"),
        *("mAP50 0.432", "12.3 s", "left", "best"),
    ):
        assert part in line
    assert "augmented" not in line  # not measured in this epoch


def test_a_finding_is_printed_when_it_fires_with_what_to_do(run: Run) -> None:
    out = io.StringIO()
    watched(run, Console(file=out, width=200))
    lines = [line.strip() for line in out.getvalue().splitlines()]
    place = lines.index("error The gradient exploded. (gradient.exploding)")
    assert lines[place + 1] == "-> train.lr0=0.0005"
    assert place < next(i for i, line in enumerate(lines) if line.startswith("epoch"))


def test_the_checks_before_a_training_are_listed(run: Run) -> None:
    out = io.StringIO()
    view = TrainingView(Console(file=out, width=200))
    view.on_preflight(30.0, None)
    view.on_preflight(30.0, {"checks": [{"name": "one_step", "state": "passed", "words": "fp32, loss 3.2"}]})
    assert "checking before the training, for at most 30 s" in out.getvalue()
    assert "passed one step: fp32, loss 3.2" in out.getvalue()


def test_a_replayed_incident_is_told_in_words() -> None:
    def told(**changes: Any) -> str:
        culprit = {"repeated": True, "phase": "forward", "module": "model.4.cv2.conv", "kind": "Conv2d"}
        rest = {"loss_terms": ["box_loss"], "files": ["a.png"], "told_apart": False}
        out = io.StringIO()
        print_culprit(Console(file=out, width=200), {**culprit, **rest, **changes})
        return out.getvalue()

    assert "model.4.cv2.conv (Conv2d)" in told()
    assert "every one of them" in told()
    assert "a.png" in told(told_apart=True)
    assert "finite when it was repeated" in told(repeated=False)


def test_a_terminal_gets_a_bar_as_well(run: Run) -> None:
    out = io.StringIO()
    watched(run, Console(file=out, width=120, force_terminal=True))
    assert "epoch 1/2" in out.getvalue()
    assert "2/3" in out.getvalue()


def test_the_summary_says_what_to_type_next(run: Run) -> None:
    run.save_evaluation("test", METRICS, {"detections": run.detections("test")})
    run.add_findings([Finding("labels.outside", "warning", "3 boxes lie outside")])
    rows = dict(summary_rows(run))
    assert rows["Run"] == "demo: complete, 1 of 2 epochs in 1 min 15 s"
    assert "val chose these weights" in rows["Verdict"]
    assert "did not choose" in rows["On test"]
    assert "AP50 0.700 on 11 boxes" in rows["Weakest"]
    assert rows["Findings"] == "1 warning"
    assert rows["Next"].startswith("tuneup eval")
    run.update_state(state="interrupted")
    assert dict(summary_rows(run))["Next"] == f"tuneup train --resume {run.path}"


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"chose_checkpoint": True}, "chose the weights, so the figure flatters"),
        ({"chose_checkpoint": None}, "not known"),
        ({"trained_on": True}, "no measure of quality"),
        ({"map50": None}, "none (no boxes)"),
    ],
)
def test_a_figure_says_how_far_it_can_be_trusted(about: dict[str, Any], words: str) -> None:
    assert words in evaluation_words({**METRICS, **about})


def test_a_run_whose_process_is_gone_is_listed_as_killed(run: Run) -> None:
    run.update_state(state="running", pid=2**22 + 1)
    assert run_row(run)["state"] == "killed"
    out = io.StringIO()
    print_runs(Console(file=out, width=200), [run])
    assert "killed" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (61, "1 min 1 s"), (59.6, "1 min 0 s"), (7260, "2 h 1 min")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_damaged_run_is_listed_and_hides_no_others(run: Run) -> None:
    broken = Run.create(run.path.parent, "broken")
    write_atomic(broken.path / "config.yaml", "model: {name: x.pt}")
    write_atomic(broken.path / "state.json", "{")
    rows = {row["name"]: row for row in (run_row(one) for one in list_runs(run.path.parent))}
    assert rows["broken"]["state"] == "damaged"
    assert rows["demo"]["state"] == "complete"
