"""What a history was measured on: optimizer, schedule, layers, what is frozen. Diagnosis reads it, the report too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ultralytics.utils.torch_utils import unwrap_model

from ..policy import Policy, entries
from .gradients import layer_of, plain_name
from .probes import head_name

if TYPE_CHECKING:
    from .trainer import TuneUpTrainer


def step_batches(batches: int, epochs: int, warmup: int, accumulate: int) -> Iterator[int]:
    """Yield the number of the batch that ends each optimiser step, as Ultralytics' loop takes them.

    Args:
        batches: per epoch.
        epochs: of the run.
        warmup: batches of warm-up, over which the batches per step grow from 1 to `accumulate`.
        accumulate: batches per step afterwards.
    """
    last, wanted = -1, accumulate
    for number in range(batches * epochs):
        if warmup and number <= warmup:
            wanted = max(1, int(np.interp(number, [0, warmup], [1, accumulate]).round()))
        if number - last >= wanted:
            last = number
            yield number


def training_context(trainer: TuneUpTrainer, ends: Sequence[int], warmup: int) -> dict[str, Any]:
    """Return the context of a trainer that is set up, in plain types.

    Args:
        trainer: after `_setup_train`.
        ends: the batches that end an optimiser step, as `step_batches` yields them.
        warmup: batches of warm-up.
    """
    model: Any = unwrap_model(trainer.model)
    args, batches = trainer.args, len(trainer.train_loader)
    in_optimizer = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    named = [(plain_name(name), p) for name, p in model.named_parameters()]
    labels = [
        len(label["cls"]) for label in trainer.train_loader.dataset.labels
    ]  # of the pictures that `fraction` leaves
    requested = trainer.run.config.get("train", {})
    policy = Policy.model_validate(trainer.run.config.get("augment", {}))
    return {
        "optimizer": type(trainer.optimizer).__name__,
        "optimizer_requested": requested.get("optimizer"),
        "lr0": float(trainer.optimizer.param_groups[-1]["initial_lr"]),
        "lr0_requested": requested.get("lr0"),
        "momentum": args.momentum,
        "weight_decay": max(float(group.get("weight_decay", 0.0)) for group in trainer.optimizer.param_groups),
        "batch": trainer.batch_size,
        "accumulate": trainer.nominal_accumulate,
        "epochs": trainer.epochs,
        "batches_per_epoch": batches,
        "total_steps": len(ends),
        "warmup_steps": sum(end <= warmup for end in ends) if warmup else 0,
        "warmup_epochs": args.warmup_epochs,
        "close_mosaic": args.close_mosaic if args.mosaic else 0,
        "patience": args.patience,
        "imgsz": args.imgsz,
        "precision": trainer.precision_name,
        "clip": trainer.monitor.clip,
        "pretrained": trainer.starts_from_weights,
        "architecture": Path(str(model.yaml.get("yaml_file") or "")).stem,
        "augmentation": list(entries(policy)),
        "gains": {"box": args.box, "cls": args.cls, "dfl": args.dfl},
        "freeze": list(trainer.freeze_layer_names),
        "frozen": [name for name, p in named if not p.requires_grad],
        "not_in_optimizer": [name for name, p in named if p.requires_grad and id(p) not in in_optimizer],
        "classes": len(trainer.dataset.names),
        "train_images": len(labels),
        "train_boxes": sum(labels),
        "train_backgrounds": labels.count(0),
        "layers": _layers(model),
        "device": str(trainer.device),
        "probe_period": trainer.observer.period,
        "last_step_batches": ends[-1] + 1 if ends else 0,
    }


def _layers(model: Any) -> list[dict[str, str]]:
    """Return every layer with its name, its place (backbone, neck, head) and what it is, in the network's order."""
    head = head_name(model)
    backbone = len(model.yaml.get("backbone", ())) if isinstance(getattr(model, "yaml", None), dict) else 0
    kinds = {plain_name(name): type(module).__name__ for name, module in model.named_modules()}
    rows: dict[str, dict[str, str]] = {}
    for name, _ in model.named_parameters():
        layer = layer_of(plain_name(name), head)
        block = ".".join(layer.split(".")[:2])
        number = block.split(".")[1] if block.count(".") else ""
        place = "head" if block == head else "backbone" if number.isdigit() and int(number) < backbone else "neck"
        what = layer.removeprefix(f"{head}.") if place == "head" else kinds.get(block, "")
        rows.setdefault(layer, {"layer": layer, "place": place, "kind": what, "label": f"{number} {what}"})
    return list(rows.values())
