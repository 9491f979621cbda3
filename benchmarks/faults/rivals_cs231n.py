"""The rules by which the course CS231n teaches to watch a training, as a program that follows them to the letter.

Sources: "the notes", cs231n.github.io/neural-networks-3, sections "Before learning: sanity checks" and "Babysitting the
learning process"; "the slides", CS231n 2017, lecture 6 (Training Neural Networks I, April 20, 2017), "Babysitting the
Learning Process" and slide 76. Both are written for a person's eye: where they give no number, the comment says so, and
which was taken.
"""

from __future__ import annotations

import math

import numpy as np
from rivals_alarm import (
    Alarm,
    Rule,
    Steps,
    alarms_of,
    broken_gradients,
    broken_losses,
    epoch_ends,
    first_of,
    first_step,
)

from pipeline.training.history import History, Values
from pipeline.training.judging import median, number

TOOL = "CS231n"

# The notes, "Ratio of weights:updates": "somewhere around 1e-3"; their figure's 1e-2 is "within a relatively healthy
# limit for a smaller network". The upper edge is therefore 1e-2, and the lower one as far below 1e-3.
LARGE_RATIO, SMALL_RATIO = 1e-2, 1e-4
EXPLODED = 3.0  # slide 76: break out early "if the cost is ever > 3 * original cost"
# The slides show "loss barely changing" at a change of 0.007 % in ten epochs and give no number; one per cent is ours.
BARELY = 0.01
RISING = 2  # epochs in a row; the notes give no number, and one epoch alone may be noise
STRIDES = (8, 16, 32)  # of the detection head's levels
# Ultralytics' `Detect.bias_init`: 5 objects in a picture of 640 pixels, whatever the level and the number of classes.
OBJECTS, PICTURE = 5.0, 640.0

NOT_EVALUATED = {
    "gradient check": "is a computation of its own (tuneup proof), not a rule over a training",
    "overfit a tiny subset": "is a training of its own",
    "stronger regularization raises the loss": "needs a second loss, with other settings",
    "first-layer visualization": "is for the eye",
}


def loss_not_finite(history: History) -> int | None:
    """The loss is nan or inf: "almost always means high learning rate" (the slides).

    Only the loss is watched. After a step with a gradient that is not finite, a training without a guard has nan for
    weights and for its next loss: such a step counts one step later.
    """
    after = np.flatnonzero(broken_gradients(history)) + 1
    by_gradient = [int(step) for step in after[:1] if step < history.steps.height]
    return first_of(first_step(broken_losses(history.steps)), *by_gradient)


def _expected_start(history: History) -> tuple[float, float]:
    """Return the bounds of the classification loss at chance; nan where a number is missing.

    At the start every cell of a level with stride s answers with the prior p = 5 / classes * (s / 640)^2 for every
    class (`Detect.bias_init`). The loss is gain * (sum of cross-entropies) / (sum of targets). Cells with an object
    give a mean of -ln p per unit of target, p being that of some level; all others together give 5 * (imgsz / 640)^2
    per level and picture, over a sum of targets that Ultralytics takes as 1 at least.
    """
    context = history.context
    gain = number((context.get("gains") or {}).get("cls"))
    classes, imgsz, batch = (number(context.get(key)) for key in ("classes", "imgsz", "batch"))
    surprise = [-math.log(OBJECTS / classes * (stride / PICTURE) ** 2) for stride in STRIDES]
    others = len(STRIDES) * OBJECTS * (imgsz / PICTURE) ** 2 * batch
    return gain * min(surprise), gain * (max(surprise) + others)


def initial_loss(history: History) -> int | None:
    """The first classification loss is not that at chance ("look for correct loss at chance performance", the notes).

    For heads with Ultralytics' three levels, started at random: weights that are trained already are not at chance. The
    notes give no tolerance; the bounds hold whatever the objects' sizes. A first batch without any object is below.
    """
    if history.context.get("pretrained") is not False or not history.steps.height:
        return None
    low, high = _expected_start(history)
    name = next((n for n in ("o2m_cls_loss", "cls_loss") if n in history.steps.columns), "")
    loss = history.step_values(name)[0]
    return 0 if loss < low or loss > high else None


def _ratios(history: History) -> tuple[Steps, Values]:
    """Return the steps sampled after warm-up, `[p]`, and the median layer's |dw|/|w| in each.

    The notes track every set of parameters by itself and call their figure a rough heuristic. Of 20 layers some are
    outside in every training, and all are in a warm-up, which the notes do not know: the median layer stands in, in
    steps after warm-up. That favours the rule in false alarms and harms it where a single layer is wrong.
    """
    probes = [p for p in history.probes_of("update") if p["ratio"] and p["step"] >= history.warmup_steps]
    ratios = [median(number(value) for value in probe["ratio"].values()) for probe in probes]
    return np.array([probe["step"] for probe in probes], np.int64), np.array(ratios, float)


def large_update(history: History) -> int | None:
    """The ratio of update to weight is above 1e-2: "the learning rate is likely too high" (the notes)."""
    steps, ratios = _ratios(history)
    return first_step(ratios > LARGE_RATIO, steps)


def small_update(history: History) -> int | None:
    """The ratio of update to weight is below 1e-4: "the learning rate might be too low" (the notes)."""
    steps, ratios = _ratios(history)
    return first_step(ratios < SMALL_RATIO, steps)


def loss_exploded(history: History) -> int | None:
    """The loss is more than three times the first one; the slides' cause: "learning rate too high"."""
    loss = history.step_values("loss")
    known = loss[np.isfinite(loss)]
    return first_step(loss > EXPLODED * known[0]) if len(known) else None


def loss_barely_changes(history: History) -> int | None:
    """After an epoch the mean loss is not at least one per cent below that of the first epoch.

    The slides: "loss not going down: learning rate too low".
    """
    loss = history.epoch_values("train_loss")
    known = loss[np.isfinite(loss)]
    if not len(known):
        return None
    return first_step((loss > (1 - BARELY) * known[0]) & (np.cumsum(np.isfinite(loss)) > 1), epoch_ends(history))


def gap(history: History) -> int | None:
    """Validation gets worse in two epochs running while training gets better ("strong overfitting", the notes).

    The notes speak of accuracies; a history has none of training, so losses stand in, that of training as it is logged.
    They give no number for the gap between two curves; where the curves part needs none.
    """
    train, val = history.epoch_values("train_loss"), history.epoch_values("val_loss")
    parts = (np.diff(train) < 0) & (np.diff(val) > 0)
    running = np.array([parts[max(0, i - RISING + 1) : i + 1].sum() == RISING for i in range(len(parts))], bool)
    return first_step(running, epoch_ends(history)[1:])


RULES = (
    Rule("loss is not a number", "non_finite", loss_not_finite),
    Rule("loss at chance", "bad_initial_loss", initial_loss),
    Rule("loss above three times the first", "update_too_large", loss_exploded),
    Rule("weights:updates ratio (high)", "update_too_large", large_update),
    Rule("weights:updates ratio (low)", "update_too_small", small_update),
    Rule("loss barely changing", "loss_not_falling", loss_barely_changes),
    Rule("train/val gap", "overfitting", gap),
)


def cs231n(history: History) -> list[Alarm]:
    """Return the first alarm of each of CS231n's rules, by step."""
    return alarms_of(TOOL, RULES, history)
