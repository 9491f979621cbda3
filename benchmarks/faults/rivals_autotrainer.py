"""The five detectors of AutoTrainer, written from its description, at its default thresholds.

Source: X. Zhang, J. Zhai, S. Ma, C. Shen, "AUTOTRAINER: An Automatic DNN Training Problem Detection and Repair System",
ICSE 2021; successor doi 10.1109/tdsc.2024.3450951. Thresholds: `default_param` in AutoTrainer/utils/utils.py of the
authors' repository, github.com/shiningrain/AUTOTRAINER; which is asked when: `IssueMonitor` in utils/monitor.py there.

AutoTrainer looks at the end of every third epoch and stops at the first problem. Trainings here have few epochs, and
the comparison asks for each rule's first alarm: it looks at the end of every epoch and goes on. Both mean more alarms,
right and false ones. It is built for classifiers. Accuracy is mAP50 on val here, the only one in a history; there is
none on train, so val stands in for both. It is noisier than an accuracy and slower to rise, which means more alarms
too.
"""

from __future__ import annotations

import numpy as np
from rivals_alarm import (
    Alarm,
    Flags,
    Rule,
    alarms_of,
    broken_gradients,
    broken_losses,
    epoch_ends,
    first_step,
)

from pipeline.tensor_norms import NO_GRADIENT
from pipeline.training.history import History, Values

TOOL = "AutoTrainer"

# `default_param`, by the names it has there.
BETA_1, BETA_2, BETA_3 = 1e-3, 1e-4, 70.0  # first layer's gradient to the last one's; the first one's; the ratio above
GAMMA = 0.7  # share of zero gradients
ZETA, ETA = 0.03, 0.2  # swing of the accuracy, and swings per epoch
DELTA = 0.01  # rise of the accuracy from one epoch to the next
THETA = 0.7  # accuracy with which a model has converged: its gradients are asked about no more
JUDGED_FROM = 0.3  # share of the epochs from which on anything but nan is judged (`judgment_point`)
HUGE_LOSS = 1e5  # a validation loss from here on is one that exploded

NOT_EVALUATED = {
    "overfitting": "the published detectors have it switched off",
    "large weights": "weights are not in a history; the published detectors count them and do not use the count",
}


def not_finite(history: History) -> int | None:
    """Exploding gradient, first part: a loss, weight or gradient is nan or inf at the end of an epoch.

    The guard keeps the step that a training without it would have taken, after which its weights, its gradients and the
    epoch's mean loss are nan: every such step counts at the end of its epoch.
    """
    ends = epoch_ends(history)
    broken = broken_gradients(history) | broken_losses(history.steps)
    before = np.concatenate([[0], np.cumsum(broken)])
    reached = before[np.minimum(ends + 1, len(broken))] > 0
    return first_step(reached | broken_losses(history.epochs, ("train_", "val_")), ends)


def _share_of_zeros(values: Values) -> Values:
    seen = values != NO_GRADIENT
    return (values == 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)


def _gradients_at_ends(history: History) -> Values:
    """Return norms per picture `[e, t]` in the last step of each epoch; nan where none is recorded.

    AutoTrainer takes the gradient of the first training batch, without dropout, of a loss that is a mean over pictures.
    The step's own batch stands in: as good on average, and it differs from epoch to epoch.
    """
    norms, ends = history.norms, epoch_ends(history)
    rows = np.searchsorted(norms.steps, ends)
    known = rows < len(norms.steps)
    known[known] = norms.steps[rows[known]] == ends[known]
    found = np.full((len(ends), len(norms.tensors)), np.nan)
    found[known] = norms.values[rows[known]]
    return found


def _first_and_last(history: History) -> tuple[Values, Values]:
    """Return the gradient norms `[e]` of the first and the last kernel that has a gradient; nan where none has."""
    kernels = [i for i, n in enumerate(history.norms.tensors) if n.endswith(".weight") and not n.endswith("bn.weight")]
    values = _gradients_at_ends(history)[:, kernels]
    if not kernels:
        return np.full(len(values), np.nan), np.full(len(values), np.nan)
    seen = values != NO_GRADIENT
    rows = np.arange(len(values))
    first, last = np.argmax(seen, axis=1), values.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)
    none = ~seen.any(axis=1)
    return np.where(none, np.nan, values[rows, first]), np.where(none, np.nan, values[rows, last])


def _rise(accuracy: Values) -> Values:
    """Return the largest rise from one epoch to the next so far, `[e]`; 0 where there was none."""
    rises = np.concatenate([[0.0], np.diff(accuracy)])[: len(accuracy)]
    return np.fmax.accumulate(np.fmax(rises, 0.0))


def _late_enough(history: History) -> Flags:
    accuracy = history.epoch_values("val_map50")
    if not len(accuracy):
        return np.zeros(0, bool)
    enough = np.arange(1, len(accuracy) + 1) >= JUDGED_FROM * float(history.context["epochs"])
    return enough & np.isfinite(np.fmax.accumulate(accuracy))


def _in_trouble(history: History) -> Flags:
    """Return whether AutoTrainer asks about gradients, `[e]`: late enough, and not converged or hardly moving."""
    accuracy = history.epoch_values("val_map50")
    if not len(accuracy):
        return np.zeros(0, bool)
    return _late_enough(history) & ((np.fmax.accumulate(accuracy) < THETA) | (_rise(accuracy) < DELTA))


def exploding_gradient(history: History) -> int | None:
    """Exploding gradient, second part: the first kernel's is above 70 times the last one's, or the val loss 1e5."""
    first, last = _first_and_last(history)
    steep = _in_trouble(history) & (first > BETA_3 * last)
    return first_step(steep | (history.epoch_values("val_loss") >= HUGE_LOSS), epoch_ends(history))


def vanishing_gradient(history: History) -> int | None:
    """The first kernel's gradient is below 1e-4, and below a thousandth of the last one's."""
    first, last = _first_and_last(history)
    return first_step(_in_trouble(history) & (first < BETA_1 * last) & (first < BETA_2), epoch_ends(history))


def dying_relu(history: History) -> int | None:
    """Seven tenths of all gradients are zero.

    Zeros are counted by element; a history has norms, so tensors are counted that are zero throughout. Single dead
    units of a tensor do not show: fewer alarms, right and false ones.
    """
    zeros = _share_of_zeros(_gradients_at_ends(history))
    return first_step(_in_trouble(history) & (zeros >= GAMMA), epoch_ends(history))


def slow_convergence(history: History) -> int | None:
    """No epoch has raised the accuracy by 0.01."""
    slow = _rise(history.epoch_values("val_map50")) < DELTA
    return first_step(_late_enough(history) & slow, epoch_ends(history))


def oscillating_loss(history: History) -> int | None:
    """The accuracy has swung down by 0.03 or more in a fifth of the epochs.

    A swing is a local maximum and a local minimum, paired in their order. Asked only about models that have reached an
    accuracy of 0.7, which an mAP50 seldom does within a short training.
    """
    accuracy, ends = history.epoch_values("val_map50"), epoch_ends(history)
    judged = _late_enough(history) & (np.fmax.accumulate(accuracy) >= THETA) if len(accuracy) else accuracy
    highs: list[float] = []
    lows: list[float] = []
    for epoch in range(len(accuracy)):
        if epoch >= 2:
            before, here, after = accuracy[epoch - 2 : epoch + 1]
            highs += [here] if here >= before and here >= after else []
            lows += [here] if here <= before and here <= after else []
        swings = sum(high - low >= ZETA for high, low in zip(highs, lows, strict=False))
        if judged[epoch] and swings >= ETA * (epoch + 1):
            return int(ends[epoch])
    return None


# In the order in which AutoTrainer asks, and names the first that it finds.
RULES = (
    Rule("Exploding gradient (not finite)", "non_finite", not_finite),
    Rule("Dying ReLU", "dead_units", dying_relu),
    Rule("Exploding gradient", "exploding_gradient", exploding_gradient),
    Rule("Vanishing gradient", "vanishing_gradient", vanishing_gradient),
    Rule("Slow convergence", "loss_not_falling", slow_convergence),
    Rule("Oscillating loss", "loss_oscillates", oscillating_loss),
)


def autotrainer(history: History) -> list[Alarm]:
    """Return the first alarm of each of AutoTrainer's rules, by step."""
    return alarms_of(TOOL, RULES, history)
