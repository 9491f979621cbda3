"""A history of which no rival tool has anything to say, and changes that give it something to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from pipeline.tensor_norms import TensorNorms
from pipeline.training.history import History

STEPS, EPOCH = 120, 10
TENSORS = ("model.0.conv.weight", "model.0.bn.weight", "model.0.bn.bias", "model.1.conv.weight", "model.2.cv3.weight")


def calm(*changes: Callable[[History], History]) -> History:
    """Return 120 steps in 12 epochs of which no tool has anything to say, changed by the given functions in turn."""
    steps, ends = np.arange(STEPS), np.arange(EPOCH, STEPS + 1, EPOCH)
    loss = 9 * 0.98**steps
    probes = [
        *({"kind": "update", "step": int(s), "ratio": {"a": 1e-3, "b": 1e-3}, "unmoved": []} for s in steps),
        *({"kind": "health", "step": int(s) - 1, "norms": {"a.bn": {"dead": 0.0}}} for s in ends),
    ]
    epochs = {
        "epoch": np.arange(len(ends)),
        "steps": ends,
        "train_loss": loss[ends - 1],
        "val_loss": 1.05 * loss[ends - 1],
        "val_map50": 0.1 + 0.05 * np.arange(len(ends)),
    }
    rows = {"step": steps, "images": 8, "loss": loss, "cls_loss": loss / 2, "skip_reason": pl.lit(None, pl.String)}
    history = History(
        steps=pl.select(**{name: pl.lit(v) if isinstance(v, int) else v for name, v in rows.items()}),
        epochs=pl.DataFrame(epochs),
        events=[],
        probes=sorted(probes, key=lambda probe: probe["step"]),
        norms=TensorNorms(TENSORS, TENSORS, steps, np.full((STEPS, len(TENSORS)), 0.5, np.float32)),
        incidents=[],
        context={
            "epochs": len(ends),
            "warmup_steps": 5,
            "classes": 2,
            "imgsz": 96,
            "batch": 8,
            "gains": {"cls": 0.5},
            "pretrained": False,
            "frozen": [],
        },
    )
    for change in changes:
        history = change(history)
    return history


def steps_with(name: str, values: dict[int, Any]) -> Callable[[History], History]:
    """Put values into a column of the steps, by step."""
    return lambda history: replace(history, steps=_with(history.steps, name, values))


def epochs_with(name: str, values: dict[int, Any]) -> Callable[[History], History]:
    """Put values into a column of the epochs, by epoch."""
    return lambda history: replace(history, epochs=_with(history.epochs, name, values))


def _with(table: pl.DataFrame, name: str, values: dict[int, Any]) -> pl.DataFrame:
    column = table[name].to_list() if name in table.columns else [None] * table.height
    for row, value in values.items():
        column[row] = value
    return table.with_columns(pl.Series(name, column, strict=False))


def norms_with(rows: Any, columns: Any, value: float) -> Callable[[History], History]:
    """Set gradient norms per picture."""

    def change(history: History) -> History:
        values = history.norms.values.copy()
        values[rows, columns] = value
        return replace(history, norms=replace(history.norms, values=values))

    return change


def probes_with(kind: str, key: str, values: dict[int, Any]) -> Callable[[History], History]:
    """Replace what probes of a kind found, by step."""

    def change(history: History) -> History:
        probes = [
            {**p, key: values[p["step"]]} if p["kind"] == kind and p["step"] in values else p for p in history.probes
        ]
        return replace(history, probes=probes)

    return change


def context_with(**values: Any) -> Callable[[History], History]:
    return lambda history: replace(history, context={**history.context, **values})
