"""What the rules of the diagnosis share: normalised gradients, baselines that start anew at marked events, words.

Nothing here judges; every function is pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..findings import Finding
from .history import History, Values

Rule = Callable[[History], "Finding | None"]
Flags = NDArray[np.bool_]

# From these events on, earlier steps are no measure of later ones. The end of mosaic is left out: it is no alarm, and
# robust statistics ride over it.
RESTARTS = ("resume", "out_of_memory", "warmup_end")
# Rates at which the three optimizers of Ultralytics usually work; AdamW: what `optimizer=auto` takes for one class.
USUAL_RATES = {"AdamW": 0.002, "Adam": 0.002, "SGD": 0.01, "MuSGD": 0.01}
UNUSUAL = 3.0  # times a usual rate, which trains well so far (docs/benchmarks/faults.md); beyond it a rate is doubted
WINDOW = 10  # steps over which a loss is taken: a batch more or less crowded changes it by a tenth
# Steps in which weights may move so fast that BatchNorm's running statistics lag behind by magnitudes, most of all with
# batches of two (docs/benchmarks/faults.md), and in which a loss from random weights has not found its height.
UNSETTLED = 100
ASSIGNED = 0.4  # of its later box loss: below it a network has not assigned its objects yet. Calibrated
LAG_RATIO, LAG_SHIFT = 4.0, 2.0  # calibrated: settled layers of healthy runs have 2 and 1 at most
# Architectures with trained weights, as Ultralytics spells them.
KNOWN = re.compile(r"yolo(v8|v10|11|12|26)[nsmlx]")
MAD_TO_DEVIATION = 1.4826  # of a normal distribution


def usual_rate(history: History) -> float:
    """Return a usual initial learning rate for the optimizer of a history."""
    return USUAL_RATES.get(str(history.context.get("optimizer")), 0.002)


def trained_weights(history: History) -> str:
    """Return the name of trained weights for the architecture of a history, by which Ultralytics knows them."""
    own = str(history.context.get("architecture") or "")
    return f"{own if KNOWN.fullmatch(own) else 'yolo26n'}.pt"


def rate_in_use(history: History) -> float:
    """Return the initial learning rate that the training really has; nan if it is not known."""
    asked, used = history.context.get("lr0_requested"), history.context.get("lr0")
    auto = history.context.get("optimizer_requested") == "auto"
    return number(used if auto or asked is None else asked)  # MuSGD multiplies the rate of some groups


def rate_knob(history: History, rate: float) -> str:
    """Return the setting that gives this initial learning rate; `optimizer=auto` would ignore a rate alone."""
    if not math.isfinite(rate):
        return "train.lr0"
    chosen = history.context.get("optimizer")
    auto = history.context.get("optimizer_requested") == "auto" and chosen
    return f"train.lr0={one_digit(rate)}{f' with {named(str(chosen))}' if auto else ''}"


def named(optimizer: str) -> str:
    """Return the settings that give the optimizer which `auto` chose, and what it sets beside (`build_optimizer`).

    Without them biases warm up from Ultralytics' 0.1, which is meant for SGD.
    """
    momentum = " with train.momentum=0.9" if optimizer == "AdamW" else ""  # of MuSGD the warm-up puts it back
    return f"train.optimizer={optimizer}{momentum} with train.warmup_bias_lr=0"


def number(value: Any) -> float:
    """Return a recorded number; nan for what is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def median(values: Iterable[float] | Values) -> float:
    """Return the median of the finite values; nan if there are none."""
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=float)
    finite = array[np.isfinite(array)]
    return float(np.median(finite)) if finite.size else math.nan


def medians(values: Values) -> Values:
    """Return the medians `[l]` of the finite values of each column of `[s, l]`; nan where there is none."""
    if not len(values):
        return np.full(values.shape[1], np.nan)
    if np.isfinite(values).all():
        whole: Values = np.median(values, axis=0)
        return whole
    return np.array([median(column) for column in values.T])


def deviation(values: Values) -> float:
    """Return the robust standard deviation, from the median absolute deviation; nan without values."""
    return MAD_TO_DEVIATION * median(np.abs(values - median(values)))


def one_digit(value: float) -> str:
    """Return a number with one significant digit, without an exponent where it is readable: 0.0007."""
    rounded = float(f"{value:.0e}")
    return f"{rounded:.10f}".rstrip("0").rstrip(".") if 1e-6 <= abs(rounded) < 1e6 else f"{rounded:.0e}"


def percent(share: float) -> str:
    """Return a share in percent: 30 %, 0.4 %."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 else f"{share:.1%}".replace("%", " %")


def total_steps(history: History) -> int:
    """Return how many optimiser steps the run is meant to have; those it has, if that is not known."""
    return int(history.context.get("total_steps") or 0) or history.steps.height


def restart(history: History) -> int:
    """Return the newest step from which a baseline may be taken: start, end of warm-up, resume, out of memory."""
    starts = [int(event.get("step") or 0) for event in history.events if event.get("event") in RESTARTS]
    return max([history.warmup_steps, *starts])


def assigned_from(history: History) -> int:
    """Return from which step on losses and gradients may be compared: from `restart`, and once objects are assigned.

    Random weights may assign hardly any object for a hundred steps and more; loss and gradient sink to nothing, and
    rise to their usual height when they do.
    """
    begin = restart(history)
    boxes = [name for name in history.steps.columns if name.endswith("box_loss")]
    if not starts_random(history) or not boxes:
        return begin
    loss = smooth(np.sum([history.step_values(name) for name in boxes], axis=0))
    low = np.flatnonzero(loss < ASSIGNED * median(loss[-WINDOW:])) if len(loss) else np.zeros(0, int)
    return max(begin, int(low[-1]) + WINDOW) if len(low) else begin


def starts_random(history: History) -> bool:
    """Whether a run began with random weights."""
    return history.context.get("pretrained") is not True


def branch_weights(history: History, layers: Sequence[str]) -> Values:
    """Return the weight of the loss that feeds each layer, `[s, l]`; 1 for models with one branch.

    YOLO26: one-to-one feeds its own branches of the head only; backbone, neck and the other branches hear one-to-many.
    """
    own = {name: history.step_values(name) for name in ("o2m", "o2o")}
    safe = {name: np.where(values > 0, values, 1.0) for name, values in own.items()}
    chosen = [safe["o2o" if ".one2one_" in layer else "o2m"] for layer in layers]
    return np.stack(chosen, axis=1) if chosen else np.zeros((history.steps.height, 0))


def layer_norms(history: History) -> Values:
    """Return gradient norms `[s, l]` per picture and unit of the loss that feeds the layer; nan for skipped steps."""
    rows = min(history.steps.height, len(history.norms.steps))
    norms = history.norms.by_layer[:rows] / branch_weights(history, history.norms.layer_names)[:rows]
    norms[taken_steps(history)[:rows] == 0] = np.nan
    return norms


def taken_steps(history: History) -> Values:
    """Return 1 for every step that was taken and 0 for the skipped ones, `[s]`."""
    return np.where(history.step_values("skipped") == 1, 0.0, 1.0)


def plain_loss(history: History, part: str = "") -> Values:
    """Return the loss with fixed equal weights of the branches, by step, or by epoch for `train`, `val`, `sample`.

    The weights of YOLO26's branches move over a run; a loss under moving weights falls or rises by that alone.
    """
    table = history.epochs if part else history.steps
    read = history.epoch_values if part else history.step_values
    prefix = f"{part}_" if part else ""
    terms = [n for n in table.columns if n.startswith(prefix) and n.endswith("_loss") and n != f"{prefix}loss"]
    branched = [name for name in terms if name.startswith((f"{prefix}o2m_", f"{prefix}o2o_"))]
    if not terms:
        return read(f"{prefix}loss")
    total: Values = np.sum([read(name) for name in branched or terms], axis=0) * (0.5 if branched else 1.0)
    return total


def places(history: History) -> dict[str, str]:
    """Return the place of each layer: backbone, neck or head."""
    return {str(row["layer"]): str(row.get("place", "")) for row in history.context.get("layers") or ()}


def name_layer(history: History, layer: str) -> str:
    """Return a layer's name with what it is: model.5 (Conv, backbone)."""
    for row in history.context.get("layers") or ():
        if row.get("layer") == layer:
            return f"{layer} ({row.get('kind')}, {row.get('place')})"
    return layer


def files_of_steps(history: History, steps: Iterable[int]) -> list[str]:
    """Return the pictures of the steps of which a record names them (incidents)."""
    wanted = set(steps)
    found = [r for r in history.incidents if r.get("step") in wanted]
    return [str(file) for record in found for file in record.get("files") or record.get("batch_files") or ()]


def lags(row: Mapping[str, Any]) -> bool:
    """Whether a BatchNorm layer's running statistics lie so far behind its batches that its outputs are not training's.

    Health and shares are measured in evaluation mode; for an epoch or two the outputs there may be off by magnitudes.
    """
    return number(row.get("variance_ratio")) > LAG_RATIO or number(row.get("mean_shift")) > LAG_SHIFT


def latest(probes: Sequence[Mapping[str, Any]], key: str) -> Mapping[str, Any] | None:
    """Return the newest probe that has something under `key`."""
    return next((probe for probe in reversed(probes) if probe.get(key)), None)


def smooth(loss: Values) -> Values:
    """Return the medians of WINDOW steps each, `[s - WINDOW + 1]`; empty for a shorter curve."""
    if len(loss) < WINDOW:
        return np.zeros(0)
    filled = np.where(np.isfinite(loss), loss, np.nanmedian(loss) if np.isfinite(loss).any() else 0.0)
    smooth: Values = np.median(np.lib.stride_tricks.sliding_window_view(filled, WINDOW), axis=1)
    return smooth
