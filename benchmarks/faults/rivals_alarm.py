"""What the rules of all rival tools share: their alarms, and what a tool that watches a training would have seen.

Step numbers are those of `history_until`: an alarm at step s needs nothing but the first s + 1 steps. What is known
only at the end of an epoch counts from the epoch's last step on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.tensor_norms import NO_GRADIENT
from pipeline.training.history import History, Values

KINDS = (
    "non_finite",
    "vanishing_gradient",
    "exploding_gradient",
    "dead_units",
    "unchanged_weights",
    "update_too_large",
    "update_too_small",
    "loss_not_falling",
    "loss_oscillates",
    "overfitting",
    "bad_initial_loss",
    "bad_initialisation",
    "class_imbalance",
)

Flags = npt.NDArray[np.bool_]
Steps = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Alarm:
    """The first time at which a rule of a tool fires.

    Args:
        tool: a key of `RIVALS`.
        rule: as the tool's authors name it; what stands in brackets parts a rule that tells two things.
        kind: the symptom it tells, one of `KINDS`.
        step: optimiser step, counted from 0, after which the tool knows enough.
    """

    tool: str
    rule: str
    kind: str
    step: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the kind of an alarm is one of {', '.join(KINDS)}, not {self.kind!r}")


@dataclass(frozen=True)
class Rule:
    """One rule of a tool: `first` returns the step at which it first fires, None if it stays silent."""

    name: str
    kind: str
    first: Callable[[History], int | None]


def alarms_of(tool: str, rules: Sequence[Rule], history: History) -> list[Alarm]:
    """Return the first alarm of each rule by step; of those in one step, in the order of the rules."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is nan compares as false
        steps = [(rule, rule.first(history)) for rule in rules]
    return sorted((Alarm(tool, r.name, r.kind, s) for r, s in steps if s is not None), key=lambda alarm: alarm.step)


def first_step(fires: Flags, steps: Steps | None = None) -> int | None:
    """Return the step of the first row that fires; rows are steps from 0 on unless `steps` says otherwise."""
    if not fires.any():
        return None
    row = int(np.argmax(fires))
    return row if steps is None else int(steps[row])


def first_of(*steps: int | None) -> int | None:
    """Return the earliest of the steps that are not None."""
    return min((step for step in steps if step is not None), default=None)


def epoch_ends(history: History) -> Steps:
    """Return the last optimiser step of every epoch, `[e]`."""
    return history.epoch_values("steps").astype(np.int64) - 1


def smallest_gradients(history: History) -> Values:
    """Return the norm of the tensor with the smallest gradient in every step of `history.norms`, as it is in `.grad`.

    History keeps norms per picture; Ultralytics multiplies the loss by the batch, and a tool that is hung onto the
    tensors sees that. Loss scaling (fp16) is taken out. Tensors without any gradient have nothing to see.
    """
    norms = history.norms
    images = np.full(len(norms.steps), np.nan)
    rows = int(np.searchsorted(norms.steps, history.steps.height))
    images[:rows] = history.step_values("images")[norms.steps[:rows]]
    values = np.where(norms.values == NO_GRADIENT, np.float32(np.nan), norms.values)
    return np.fmin.reduce(values, axis=1, initial=np.nan) * images


def broken_losses(table: pl.DataFrame, prefixes: tuple[str, ...] = ("",)) -> Flags:
    """Return whether a loss of a row is not finite; records keep such a number as null and name it in `non_finite`.

    Args:
        table: steps or epochs.
        prefixes: a loss counts if its name begins with one of them.
    """
    names = {n for n in table.columns if n.endswith("loss") and n.startswith(prefixes)}
    found = np.zeros(table.height, bool)
    if names:
        bad = [~pl.col(name).cast(pl.Float64, strict=False).is_finite() for name in sorted(names)]
        found |= table.select(bad=pl.any_horizontal(bad).fill_null(False))["bad"].to_numpy()
    if "non_finite" in table.columns:
        found |= np.array([bool(names & set(listed or ())) for listed in table["non_finite"].to_list()], bool)
    return found


def broken_gradients(history: History) -> Flags:
    """Return whether a gradient of a step is not finite, `[s]`.

    Steps that fp16's GradScaler leaves out while it looks for its scale do not count: weights and losses stay whole.
    """
    found = np.zeros(history.steps.height, bool)
    norms = history.norms
    rows = int(np.searchsorted(norms.steps, len(found)))
    found[norms.steps[:rows]] = ~np.isfinite(norms.values[:rows]).all(axis=1)
    if "skip_reason" not in history.steps.columns:
        return found
    reasons: list[Any] = history.steps["skip_reason"].to_list()
    found |= np.array([reason == "non_finite" for reason in reasons], bool)
    found &= np.array([reason != "amp" for reason in reasons], bool)
    return found
