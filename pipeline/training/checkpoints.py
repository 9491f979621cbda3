"""Checkpoints of two kinds: weights for use, and the exact state that the next epoch depends on."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from ultralytics import __version__ as ultralytics_version
from ultralytics.utils.torch_utils import unwrap_model

from ..runs import now, write_atomic

if TYPE_CHECKING:
    from .trainer import TuneUpTrainer


def write(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint in one piece; raises RunError as `write_atomic` does."""
    write_atomic(path, lambda temporary: torch.save(checkpoint, temporary))


def spoilt(model: nn.Module) -> list[str]:
    """Return the names of weights and statistics that are nan or inf."""
    return [name for name, value in model.state_dict().items() if not bool(value.isfinite().all())]


def spoilt_words(model: nn.Module) -> str:
    """Return the first of them, and how many more there are."""
    names = spoilt(model)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def for_use(trainer: TuneUpTrainer) -> dict[str, Any] | None:
    """Return an ordinary Ultralytics checkpoint of the EMA weights in half precision; None if they are not finite."""
    model = deepcopy(trainer.ema.ema)
    model.criterion = None
    if spoilt(model):
        return None
    model.half().requires_grad_(False)
    for value in model.state_dict().values():
        if value.is_floating_point():
            torch.nan_to_num_(value)  # a value too large for half precision becomes the largest one
    return {
        "epoch": -1,  # complete, as Ultralytics marks it: going on is resume.pt's business
        "model": model,
        "ema": None,
        "optimizer": None,
        "best_fitness": None,
        "updates": None,
        "train_args": vars(trainer.args),
        "train_metrics": {**trainer.metrics, "fitness": float(trainer.fitness)},
        "date": now(),
        "version": ultralytics_version,
        "license": "AGPL-3.0 (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
        "tuneup": {"run": trainer.run.name, "epoch": trainer.epoch},
    }


def exact_state(trainer: TuneUpTrainer) -> dict[str, Any]:
    """Return everything that the next epoch depends on, in full precision and plain types.

    Ultralytics' own resume starts from half precision EMA weights and optimiser moments; this one from the weights
    themselves, with the gradients of a step that is still open. Random generators are not part of it: every epoch
    sets them from its number.
    """
    model = unwrap_model(trainer.model)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None and trainer.monitor.images}
    return {
        "epoch": trainer.epoch,
        "model": model.state_dict(),
        "ema": trainer.ema.ema.state_dict(),
        "ema_updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "best_fitness": float(trainer.best_fitness),
        "stopper": {"best_fitness": trainer.stopper.best_fitness, "best_epoch": trainer.stopper.best_epoch},
        "criterion_updates": getattr(model.criterion, "updates", None),
        "gradients": gradients,
        "open_step": trainer.monitor.state(),
        "last_step_batch": trainer.last_step_batch,
        "steps_done": trainer.steps_done,
        "seconds": trainer.seconds(),
    }


def restore(trainer: TuneUpTrainer, path: Path) -> dict[str, Any]:
    """Put an exact state into a trainer that is set up but has not started; returns it for the rest."""
    state: dict[str, Any] = torch.load(path, map_location=trainer.device, weights_only=True)
    model = unwrap_model(trainer.model)
    model.load_state_dict(state["model"])
    trainer.ema.ema.load_state_dict(state["ema"])
    trainer.ema.updates = state["ema_updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.best_fitness = state["best_fitness"]
    trainer.stopper.best_fitness = state["stopper"]["best_fitness"]
    trainer.stopper.best_epoch = state["stopper"]["best_epoch"]
    if state["criterion_updates"]:  # YOLO26: its weight of the two branches follows from the number of epochs
        model.criterion.updates = state["criterion_updates"] - 1
        model.criterion.update()
    # What diagnosis compares: an optimizer that lost its moments starts with a jump.
    state["restored"] = {
        "optimizer_tensors": len(state["optimizer"]["state"]),
        "optimizer_tensors_expected": sum(
            p.requires_grad for group in trainer.optimizer.param_groups for p in group["params"]
        ),
    }
    trainer.start_epoch = state["epoch"] + 1
    trainer.steps_done = state["steps_done"]
    trainer.seconds_before = state["seconds"]
    return state
