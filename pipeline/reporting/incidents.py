"""Steps that were not finite and not taken, in words: where each began, with which pictures, how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import polars as pl

from ..runs import Run
from .curve import LayerNames
from .wording import count

MOST_SHOWN = 12
_MOST_FILES, _MOST_TENSORS = 8, 4


def skipped_steps(steps: pl.DataFrame, reason: str | None = None) -> int:
    """Return how many optimiser steps were not taken, for one reason (`amp`, `non_finite`) or in all."""
    if "skipped" not in steps.columns:
        return 0
    rows = steps.filter(pl.col("skipped").cast(pl.Boolean).fill_null(False))
    if reason is not None:
        rows = rows.filter(pl.col("skip_reason") == reason) if "skip_reason" in steps.columns else rows.clear()
    return rows.height


def listed(run: Run, steps: pl.DataFrame) -> dict[str, Any]:
    """Return the incidents for the page, the first ones first, and what is said about them all."""
    records = run.incidents()
    names, root = LayerNames(run.context), str(run.data_record.get("root", ""))
    amp = skipped_steps(steps, "amp")
    notes = []
    if len(records) > MOST_SHOWN:
        notes.append(f"{count(len(records) - MOST_SHOWN, 'more step')} like these: see `incidents/` in the run folder.")
    if amp:
        notes.append(
            f"{count(amp, 'step')} left out by half precision while it looked for its loss scale; "
            "a few of them are normal."
        )
    return {"rows": [_row(record, names, root) for record in records[:MOST_SHOWN]], "notes": notes}


def _row(record: Mapping[str, Any], names: LayerNames, root: str) -> dict[str, Any]:
    alone = bool(record.get("told_apart")) or record.get("phase") == "pictures"
    files = list(record.get("files") or record.get("batch_files") or ())
    return {
        "step": f"{int(record.get('step') or 0):,}",  # as on the axes, counted from 0
        "epoch": f"{int(record.get('epoch') or 0) + 1:,}",
        "began": _began(record, names),
        "alone": alone,
        "files": [_relative(str(file), root) for file in files[:_MOST_FILES]],
        "more_files": max(0, len(files) - _MOST_FILES),
        "folder": f"incidents/{record['name']}",
        "replay": str(record.get("replay") or ""),
    }


def _began(record: Mapping[str, Any], names: LayerNames) -> str:
    """Say where the first value that is not finite arose."""
    phase, module = record.get("phase"), str(record.get("module") or "")
    where = f"`{module}` ({record.get('kind') or 'module'}, in layer {names.part(module)})" if module else ""
    terms = ", ".join(str(term).removesuffix("_loss") for term in record.get("loss_terms") or ())
    if phase == "pictures":
        return "The pixels of the pictures below are not finite."
    if phase == "forward" and where:
        then = f"; with it the loss terms {terms}." if terms else "."
        return f"Forward pass: {where} made the first value that is not finite{then}"
    if phase == "forward":
        return f"Forward pass: every layer was finite, the loss term {terms} was not."
    if phase == "backward":
        return f"Backward pass: the loss was finite, the gradient of {where or 'some layer'} was not."
    if phase == "statistics":
        return f"Forward pass: loss and gradient were finite, the running statistics of {where} were not any more."
    gradients, statistics = record.get("tensors") or (), record.get("statistics") or ()
    tensors = _some([f"`{name}`" for name in gradients or statistics]) or "some tensor"
    what, was = ("running statistics", "were") if statistics and not gradients else ("gradient", "was")
    if "repeated" not in record:
        return f"The {what} of {tensors} {was} not finite. Not replayed: earlier steps had been."
    return f"The {what} of {where or tensors} {was} not finite; in a replay of the step everything was finite."


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_TENSORS} more" if len(names) > _MOST_TENSORS else ""
    return ", ".join(names[:_MOST_TENSORS]) + more


def _relative(file: str, root: str) -> str:
    """Return a picture's path below the dataset's root where it lies there."""
    path = PurePath(file)
    return str(path.relative_to(root)) if root and path.is_relative_to(root) else file
