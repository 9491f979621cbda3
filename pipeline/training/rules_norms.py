"""Rules on BatchNorm: whether its statistics rest on enough values, have collapsed, or differ from the batches'."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..findings import Finding
from .history import History
from .judging import (
    Rule,
    lags,
    latest,
    number,
    plain_loss,
    rate_in_use,
    rate_knob,
    starts_random,
    trained_weights,
)

Row = Mapping[str, Any]

# Per channel in a training batch: a rule of thumb; healthy runs: 128 and more.
FEWEST_VALUES = 16
GOOD_VALUES = 64  # what the advice aims at
# Of the running statistics: a rule of thumb; healthy runs: 2e-4 and more.
SMALLEST_VARIANCE = 1e-6
MANY_LAG = 0.1  # of the layers
CONSTANT_SHARE = 0.5  # of a layer's channels; healthy runs: 0 once a dozen batches went by
KEPT_PER_BATCH = 0.97  # of the running statistics: Ultralytics sets BatchNorm's momentum to 0.03
STARTED = 0.7  # of the initial statistics are left: from here on a random start's own constants are gone
SETTLED = 1e-6  # of the initial statistics is left; until then they may explain any difference (454 batches)
# Calibrated: once settled, the first layer of healthy runs keeps within 0.3 and 1, and all layers below 5 and within 1
# deviation.
LARGEST_RATIO, LARGEST_SHIFT = 100.0, 5.0
HARM = 1.5  # loss with running statistics over that in training; healthy runs: 1.1 once the statistics have settled
ABOVE_LEFTOVER = 10.0  # times what is left of the initial variance of 1: then the batches have made this variance
# Steps from which statistics may be judged; with batches of two those of healthy trainings on steel and boards are off
# by magnitudes at step 111, and have come right by step 170 (docs/benchmarks/faults.md).
SETTLED_FROM = 200


def judge_batch_size(history: History) -> Finding | None:
    """Report BatchNorm statistics that rest on too few values, or on a single picture."""
    probe = latest(history.probes_of("health"), "norms")
    batch = int(number(history.context.get("batch")) if history.context.get("batch") else 0)
    if probe is None:
        return None
    values = {layer: number(row.get("values")) for layer, row in probe["norms"].items()}
    values = {layer: count for layer, count in values.items() if count > 0}
    if not values:
        return None
    least = min(values, key=values.__getitem__)
    few = [layer for layer, count in values.items() if count < FEWEST_VALUES]
    if not few and batch != 1:
        return None
    wanted = max(4, math.ceil(GOOD_VALUES / values[least] * max(batch, 1)) if few else 4)
    what = (
        f"{least} computes its statistics from {values[least]:.0f} values per channel (batch x height x width), "
        f"{len(few)} layers from fewer than {FEWEST_VALUES}"
        if few
        else "batch=1: every BatchNorm layer normalises each picture with its own statistics, not with those that "
        "validation uses"
    )
    return Finding(
        "norm.batch_too_small",
        "warning",
        what,
        {"step": 0, "layer": least, "values": values[least], "layers": few, "batch": batch},
        f"train.batch={wanted}: statistics of several pictures; train.nbs leaves the step's size as it is",
    )


def judge_variance(history: History) -> Finding | None:
    """Report layers whose channels do not vary at all."""
    for probe in history.probes_of("health"):
        step = int(probe.get("step") or 0)
        if starts_random(history) and _left(_batches(history, probe)) > STARTED:
            continue
        rows: Mapping[str, Row] = probe.get("norms") or {}
        # Behind statistics of older weights outputs may stand still in evaluation that vary in training.
        layers = rows if sum(map(lags, rows.values())) <= MANY_LAG * len(rows) else {}
        collapsed = [layer for layer in layers if _is_collapsed(rows[layer])]
        if collapsed:
            row = rows[collapsed[0]]
            constant, smallest = number(row.get("constant")), number(row.get("smallest_variance"))
            what = (
                f"{constant:.0%} of its channels are constant".replace("%", " %", 1)
                if constant > CONSTANT_SHARE
                else f"its smallest running variance is {smallest:.1g}"
            )
            return Finding(
                "norm.variance_collapsed",
                "warning",
                f"the outputs before {collapsed[0]} hardly vary at step {step}: {what}; {len(collapsed)} of "
                f"{len(rows)} layers are like this",
                {"step": step, "layer": collapsed[0], "layers": collapsed, "constant": constant, "variance": smallest},
                f"model={trained_weights(history)}: fresh weights; {collapsed[0]} gets nothing to tell pictures "
                "apart by",
            )
    return None


def _is_collapsed(row: Row) -> bool:
    return number(row.get("constant")) > CONSTANT_SHARE or 0 <= number(row.get("smallest_variance")) < SMALLEST_VARIANCE


def judge_drift(history: History) -> Finding | None:
    """Report layers whose running statistics, which validation uses, are not those of the pictures."""
    probes = history.probes_of("health")
    still = {str(name).rpartition(".")[0] for name in history.context.get("frozen") or ()}
    for before, probe in zip([None, *probes], probes, strict=False):
        batches = _batches(history, probe)
        rows: Mapping[str, Row] = {
            layer: row for layer, row in (probe.get("norms") or {}).items() if layer not in still
        }
        step = int(probe.get("step") or 0)
        first = next(iter(probe.get("norms") or ()), "")
        if first in rows and _has_own_variance(rows[first], batches) and _is_off(rows[first]):
            return _input_scale(first, rows[first], step)
        if before is None or step < SETTLED_FROM or not _is_settled(rows, batches) or not _harms(history, step):
            continue
        earlier: Mapping[str, Row] = before.get("norms") or {}
        off = [layer for layer, row in rows.items() if _stays_off(earlier.get(layer), row)]
        if off:
            return _drifted(history, off, rows, step)
    return None


def _batches(history: History, probe: Mapping[str, Any]) -> int:
    """Return how many batches had gone forward when a probe was taken, at the start or after an epoch."""
    step, of_epoch = int(probe.get("step") or 0), int(history.context.get("batches_per_epoch") or 0)
    return (int(probe.get("epoch") or 0) + 1) * of_epoch if step and of_epoch else step


def _left(batches: int) -> float:
    """Return the share of the initial running statistics that is left after so many batches.

    They are those of random weights or of a checkpoint, which may itself come from a short training.
    """
    return float(KEPT_PER_BATCH**batches)


def _has_own_variance(row: Row, batches: int) -> bool:
    return number(row.get("smallest_variance")) > ABOVE_LEFTOVER * _left(batches)


def _is_settled(rows: Mapping[str, Row], batches: int) -> bool:
    """Whether what the statistics began with plays no part any more, here or in a layer that feeds this one."""
    return _left(batches) < SETTLED or all(_has_own_variance(row, batches) for row in rows.values())


def _is_off(row: Row) -> bool:
    ratio, shift = number(row.get("variance_ratio")), number(row.get("mean_shift"))
    return ratio > LARGEST_RATIO or 0 <= ratio < 1 / LARGEST_RATIO or shift > LARGEST_SHIFT


def _is_ahead(row: Row) -> bool:
    return number(row.get("variance_ratio")) > LARGEST_RATIO or number(row.get("mean_shift")) > LARGEST_SHIFT


def _harms(history: History, step: int) -> bool:
    """Whether the loss on unaugmented train pictures, with running statistics, is far above that in training."""
    sample, train = plain_loss(history, "sample"), plain_loss(history, "train")
    known = np.flatnonzero(np.isfinite(sample) & (history.epoch_values("steps") <= step + 1))
    return bool(len(known) and sample[known[-1]] > HARM * train[known[-1]])


def _stays_off(before: Row | None, row: Row) -> bool:
    """Whether a layer has too small statistics, had them already, and does not come nearer as one that is settling.

    Too large ones are no fault: deep layers of healthy runs see a ten-thousandth of the variance in evaluation mode.
    """
    if before is None or not (_is_ahead(before) and _is_ahead(row)):
        return False
    return _distance(row) > 0.75 * _distance(before)


def _distance(row: Row) -> float:
    ratio, shift = number(row.get("variance_ratio")), number(row.get("mean_shift"))
    return abs(math.log(max(ratio, 1e-12))) + math.log1p(max(shift, 0.0))


def _input_scale(layer: str, row: Row, step: int) -> Finding:
    ratio = number(row.get("variance_ratio"))
    scale = 1 / math.sqrt(ratio) if ratio > 0 else math.inf
    return Finding(
        "norm.drifting",
        "error",
        f"the pictures of training are not those of validation: the first layer, {layer}, has statistics of inputs "
        f"{scale:,.2g} times as large at step {step}",
        {"step": step, "layer": layer, "variance_ratio": ratio, "mean_shift": row.get("mean_shift"), "scale": scale},
        "augment: divide pixels by 255 exactly once; whatever replaces preprocess_batch or the loader leaves training "
        f"pictures {scale:,.2g} times too large, and the trained network is useless on ordinary ones",
    )


def _drifted(history: History, off: list[str], rows: Mapping[str, Row], step: int) -> Finding:
    worst = max(off, key=lambda layer: _distance(rows[layer]))
    row = rows[worst]
    return Finding(
        "norm.drifting",
        "warning",
        f"the running statistics of {worst} are not those of its batches at step {step}: variance "
        f"{number(row.get('variance_ratio')):.2g} times, mean {number(row.get('mean_shift')):.2g} deviations away; "
        f"{len(off)} layers are like this",
        {
            "step": step,
            "layer": worst,
            "layers": off,
            "variance_ratio": row.get("variance_ratio"),
            "mean_shift": row.get("mean_shift"),
        },
        f"{rate_knob(history, rate_in_use(history) / 3)}: a third, because weights that move faster than the "
        "statistics (3 % a batch) leave validation with statistics of older weights",
    )


RULES: tuple[Rule, ...] = (judge_batch_size, judge_drift, judge_variance)
