"""Loggers get every step's figures; TensorBoard's own reader, where it is installed, gets the same back."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pipeline.runs import Run
from pipeline.training.loggers import MlflowWatcher, TensorBoardWatcher, logger_watchers, step_figures

RECORDS: list[dict[str, Any]] = [
    {"step": 0, "loss": 7.5, "grad_norm_before_clip": 30.0, "lr_weight": 0.001, "o2m": 0.8},
    {"step": 1, "loss": None, "grad_norm_before_clip": math.inf, "lr_weight": 0.002, "update_ratio": {"weight": 0.01}},
]


def test_only_the_loggers_for_steps_are_made() -> None:
    assert [type(w) for w in logger_watchers(["wandb", "mlflow", "tensorboard"])] == [MlflowWatcher, TensorBoardWatcher]


def test_what_is_not_finite_is_not_logged() -> None:
    assert step_figures(RECORDS[0]) == {"step/loss": 7.5, "step/grad_norm_before_clip": 30.0, "step/lr_weight": 0.001}
    assert step_figures(RECORDS[1]) == {"step/lr_weight": 0.002, "update_ratio/weight": 0.01}


def test_mlflow_gets_figures_only_while_a_run_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[dict[str, float], int]] = []
    active: list[object] = []
    fake = types.ModuleType("mlflow")
    fake.active_run = lambda: active[0] if active else None
    fake.log_metrics = lambda figures, step: logged.append((figures, step))
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    watcher = MlflowWatcher()
    watcher.on_steps(RECORDS)
    assert logged == []
    active.append(object())
    watcher.on_steps(RECORDS)
    watcher.on_epoch({"sample_loss": 3.0, "steps": 2})
    assert [step for _, step in logged] == [0, 1, 2]
    assert logged[2][0] == {"epoch/sample_loss": 3.0}


def test_tensorboards_reader_gets_the_figures_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watcher = TensorBoardWatcher()
    watcher.on_start(Run(tmp_path), 1, 0, 2)
    watcher.on_steps(RECORDS)
    watcher.on_epoch({"sample_loss": 3.0, "steps": 2})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("step/loss")] == [(0, 7.5)]
    assert [e.step for e in events.Scalars("step/lr_weight")] == [0, 1]
    assert events.Scalars("epoch/sample_loss")[0].value == 3.0
