"""The built-in rules of Amazon SageMaker Debugger, written from its documentation, at its default parameters.

Sources: "List of Debugger Built-in Rules", Amazon SageMaker Developer Guide (docs.aws.amazon.com/sagemaker, page
debugger-built-in-rules; as text in github.com/awsdocs/amazon-sagemaker-developer-guide, doc_source/), below "the
guide", with a section per rule; docs/rules/FirstPartyRules.md of github.com/awslabs/sagemaker-debugger, below "the
rules page". The rules themselves are closed source: where the text leaves a choice, it is said which was taken.

By default the service saves tensors at every 500th step (`save_interval`, ruleConfigs.json of sagemaker-debugger-
rulesconfig) and would see one step of the trainings here. It gets every step instead: more alarms, right and false.
All its rules are switched on, as ours are; a user of the service chooses some.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from rivals_alarm import (
    Alarm,
    Rule,
    Steps,
    alarms_of,
    broken_losses,
    epoch_ends,
    first_of,
    first_step,
    smallest_gradients,
)

from pipeline.training.history import History, Values
from pipeline.training.judging import number

TOOL = "SageMaker Debugger"

VANISHING = 1e-7  # the guide, VanishingGradient, `threshold`
# LossNotDecreasing: `num_steps`, `diff_percent` and `increase_threshold_percent`, of today's guide. The archived text
# has no such allowance and a `diff_percent` of 0, with which the rule fires more often.
LOSS_STEPS, LOSS_FALL, LOSS_RISE = 10, 0.001, 0.05
OVERFIT_RATIO = 0.1  # Overfit, `ratio_threshold`; `patience` 1 and `start_step` 0: the first time counts
PATIENCE_TRAIN, PATIENCE_VALIDATION, DELTA = 5, 10, 0.01  # Overtraining; `delta` is 0.1 in the archived text
GRADIENT_RANGE, FIRST_STEPS = 1e-3, 10  # PoorWeightInitialization, `distribution_range` and `steps`
UNCHANGED_VALUES = 3  # UnchangedTensor, `num_steps`
LARGE_RATIO, SMALL_RATIO = 10.0, 1e-8  # WeightUpdateRatio
DEAD_SHARE = 0.5  # DeadRelu, `threshold_layer` 50 %

NOT_EVALUATED = {
    "SaturatedActivation": "needs the inputs of sigmoid and tanh; a history has no activations but the share below -6",
    "TensorVariance": "has no default thresholds, and a history no variances",
    "AllZero": "must be told which tensors; weights are not in a history, and of gradients it tells what "
    "VanishingGradient tells",
    "ClassImbalance": "needs labels and predictions by class; a history has only the number of boxes",
    "Confusion": "needs labels and predictions",
    "CheckInputImages": "needs the input pictures",
    "SimilarAcrossRuns": "compares two runs",
    "StalledTrainingRule": "tells that nothing was saved for half an hour, which is no fault of a training",
    "NLPSequenceRatio": "is about text",
    "TreeDepth": "is about XGBoost",
    "FeatureImportanceOverweight": "is about XGBoost",
    "PoorWeightInitialization (variances)": "needs the inputs of ReLU layers; of that rule the gradients are judged",
}


def vanishing_gradient(history: History) -> int | None:
    """A gradient tensor's mean absolute value is below 1e-7.

    A history has norms and no numbers of elements n. mean|g| <= |g| / sqrt(n) <= |g|, so the norm itself stands in:
    where it is below the threshold, the rule fires for certain. Where only the mean is, the rule would fire and does
    not here: fewer alarms, right and false ones, and later ones.
    """
    return first_step(smallest_gradients(history) < VANISHING, history.norms.steps)


def exploding_tensor(history: History) -> int | None:
    """A gradient or a loss is nan or inf (`only_nan` is False).

    Weights and activations are not in a history; the gradients of the same step are. A finite gradient whose norm
    overflows float32 counts as well, and so do the steps by which fp16 looks for its scale: the tool sees inf there.
    """
    by_gradient = first_step(~np.isfinite(history.norms.values).all(axis=1), history.norms.steps)
    by_loss = first_step(broken_losses(history.steps))
    by_epoch = first_step(broken_losses(history.epochs, ("train_", "val_")), epoch_ends(history))
    return first_of(by_gradient, by_loss, by_epoch)


def poor_weight_initialization(history: History) -> int | None:
    """In one of the first ten steps the 5th and 95th percentile of a gradient tensor are less than 0.001 apart.

    The distance of two elements is at most sqrt(2) |g|, so a norm below 0.001 / sqrt(2) makes the rule fire for
    certain; as with `vanishing_gradient`, more tensors may be below. By the guide this comparison alone is enough, and
    so is one of activations' variances, which are not in a history; of the loss it says only that it is looked at.
    """
    few = smallest_gradients(history)[:FIRST_STEPS] < GRADIENT_RANGE / np.sqrt(2)
    return first_step(few, history.norms.steps)


def unchanged_tensor(history: History) -> int | None:
    """Three saved values of a weight or bias in a row are `allclose`.

    The tool must be told which tensors: weights and biases are taken. A history names those that a sampled step left
    exactly as they were; two samples in a row stand for three equal values, though between them a tensor may have moved
    (more alarms). Changes below rtol 1e-5 and atol 1e-8 are missed, which harms the rule where a rate is far too low.
    Frozen tensors never change, wanted or not: known when two steps are taken.
    """
    frozen = UNCHANGED_VALUES - 2 if history.context.get("frozen") else None
    seen = [(int(probe["step"]), set(probe["unmoved"])) for probe in history.probes_of("update")]
    in_a_row = [step for (_, before), (step, now) in pairwise(seen) if before & now]
    reached = None if frozen is None or frozen >= history.steps.height else frozen
    return first_of(reached, *in_a_row[:1])


def _ratios(history: History) -> tuple[Values, Values, Steps]:
    """Return smallest and largest |dw|/|w| of the layers in each sampled step, nan without a value, and the steps."""
    probes = [(p["step"], [number(v) for v in p["ratio"].values()]) for p in history.probes_of("update") if p["ratio"]]
    rows = [np.array(values) for _, values in probes]
    low, high = (np.array([pick(r, initial=np.nan) for r in rows]) for pick in (np.fmin.reduce, np.fmax.reduce))
    return low, high, np.array([step for step, _ in probes], np.int64)


def large_update(history: History) -> int | None:
    """The ratio of update to weight is above 10 somewhere; a layer's matrices together stand in for single tensors."""
    _, high, steps = _ratios(history)
    return first_step(high > LARGE_RATIO, steps)


def small_update(history: History) -> int | None:
    """The ratio of update to weight is below 1e-8 somewhere, as in a warm-up's first step with its rate of zero."""
    low, _, steps = _ratios(history)
    return first_step(low < SMALL_RATIO, steps)


def loss_not_decreasing(history: History) -> int | None:
    """At every tenth step: the training loss is where it was ten steps before, or more than 5 % above it.

    How the two percentages work together is not said: it is read as "has not fallen by 0.1 %, and has not risen by an
    allowed 5 % or less", the reading with the fewest alarms. ruleConfigs.json sets `mode` to TRAIN. A loss that is not
    finite is no number to compare: left to ExplodingTensor.
    """
    loss = history.step_values("loss")[::LOSS_STEPS]
    stays = (loss[1:] > loss[:-1] * (1 - LOSS_FALL)) & (loss[1:] <= loss[:-1])
    rises = loss[1:] > loss[:-1] * (1 + LOSS_RISE)
    return first_step(stays | rises, LOSS_STEPS * np.arange(1, max(len(loss), 1)))


def overfit(history: History) -> int | None:
    """After an epoch the mean validation loss is above the mean training loss by more than a tenth of it."""
    train, val = history.epoch_values("train_loss"), history.epoch_values("val_loss")
    return first_step((train > 0) & (val - train > OVERFIT_RATIO * train), epoch_ends(history))


def overtraining(history: History) -> int | None:
    """Neither the training loss, for 5 steps, nor the validation loss, for 10 validations, found a new optimum.

    The guide does not say whether one of the two is enough. With noise from batch to batch the first is soon met by
    every training, so both are asked for: that favours the rule in false alarms, and it is silent within ten epochs.
    """
    ends, val = epoch_ends(history), history.epoch_values("val_loss")
    known = np.isfinite(val)
    waited = np.concatenate([[0], _since_optimum(val[known])])
    done = np.searchsorted(ends[known], np.arange(history.steps.height), side="right")
    train = _since_optimum(history.step_values("loss"))
    return first_step((train >= PATIENCE_TRAIN) & (waited[done] >= PATIENCE_VALIDATION))


def _since_optimum(values: Values) -> Steps:
    """Return how many values ago the last optimum was: a value that is lower than the one before it by DELTA."""
    best, since, counts = np.inf, 0, []
    for value in values:
        improved = value < best - DELTA
        best, since = (float(value), 0) if improved else (best, since + 1)
        counts.append(since)
    return np.array(counts, np.int64)


def dead_relu(history: History) -> int | None:
    """More than half of a layer is inactive.

    As published the rule looks at tensors named relu_output, and a YOLO has none. In their place: the share of a
    BatchNorm layer's outputs below -6, where SiLU passes on next to nothing. A layer of which half of the units are
    dead has that share, but so may one whose units are all alive now and then: more alarms than the rule's own.
    """
    for probe in history.probes_of("health"):
        if any(number(row["dead"]) > DEAD_SHARE for row in probe["norms"].values()):
            return int(probe["step"])
    return None


RULES = (
    Rule("ExplodingTensor", "non_finite", exploding_tensor),
    Rule("VanishingGradient", "vanishing_gradient", vanishing_gradient),
    Rule("UnchangedTensor", "unchanged_weights", unchanged_tensor),
    Rule("WeightUpdateRatio (large)", "update_too_large", large_update),
    Rule("WeightUpdateRatio (small)", "update_too_small", small_update),
    Rule("DeadRelu", "dead_units", dead_relu),
    Rule("PoorWeightInitialization", "bad_initialisation", poor_weight_initialization),
    Rule("LossNotDecreasing", "loss_not_falling", loss_not_decreasing),
    Rule("Overfit", "overfitting", overfit),
    Rule("Overtraining", "overfitting", overtraining),
)


def sagemaker_debugger(history: History) -> list[Alarm]:
    """Return the first alarm of each of SageMaker Debugger's rules, by step."""
    return alarms_of(TOOL, RULES, history)
