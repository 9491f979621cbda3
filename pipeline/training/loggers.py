"""Sends what the monitor measures to TensorBoard or MLflow, where `monitor.loggers` asks for it.

Ultralytics' own integration, switched on by the same key, logs its epoch figures; these are the figures it does not
have: every optimiser step's loss, gradient norm and learning rates, and the sampled update ratios.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..runs import Run
from .watcher import Watcher


def logger_watchers(names: Sequence[str]) -> list[Watcher]:
    """Return a watcher for each of the loggers that takes figures of single steps."""
    makers = {"tensorboard": TensorBoardWatcher, "mlflow": MlflowWatcher}
    return [makers[name]() for name in names if name in makers]


def step_figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one step by their names in a logger; what is not finite or not measured is left out."""
    figures = {
        "step/loss": record.get("loss"),
        "step/grad_norm_before_clip": record.get("grad_norm_before_clip"),
        **{f"step/{key}": value for key, value in record.items() if key.startswith("lr_")},
        **{f"update_ratio/{key}": value for key, value in record.get("update_ratio", {}).items()},
    }
    return {key: float(value) for key, value in figures.items() if value is not None and abs(value) < float("inf")}


class _StepLogger(Watcher):
    """Passes the newest figures on; the other moments are Ultralytics' integrations' business."""

    def on_steps(self, records: list[dict[str, Any]]) -> None:
        """Log every step."""
        for record in records:
            self._log(step_figures(record), int(record["step"]))

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Log the loss on the fixed sample of train, which Ultralytics does not have."""
        if record.get("sample_loss") is not None:
            self._log({"epoch/sample_loss": float(record["sample_loss"])}, int(record["steps"]))

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it logs")


class TensorBoardWatcher(_StepLogger):
    """Writes events below `tensorboard/` in the run folder; `tensorboard --logdir RUN` shows them."""

    def __init__(self) -> None:
        self.writer: Any = None

    def on_start(self, run: Run, epochs: int, first_epoch: int, batches: int) -> None:
        """Open the event file; what a resumed run repeats replaces what it had written."""
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        purge = run.steps().height if first_epoch else None
        self.writer = writer(str(run.path / "tensorboard"), purge_step=purge)

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Log the sample's loss and write out, so that the curves can be followed."""
        super().on_epoch(record)
        if self.writer is not None:
            self.writer.flush()

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        if self.writer is not None:
            for name, value in figures.items():
                self.writer.add_scalar(name, value, step)


class MlflowWatcher(_StepLogger):
    """Logs into the MLflow run that Ultralytics' integration has opened."""

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        mlflow = importlib.import_module("mlflow")
        if mlflow.active_run() is not None:
            mlflow.log_metrics(dict(figures), step=step)
