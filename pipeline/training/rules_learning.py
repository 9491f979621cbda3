"""Rules on whether anything is learnt: a loss that hardly falls, or stands still."""

from __future__ import annotations

import numpy as np

from ..findings import Finding
from .history import History, Values
from .judging import (
    UNUSUAL,
    WINDOW,
    Rule,
    assigned_from,
    median,
    number,
    percent,
    plain_loss,
    rate_in_use,
    rate_knob,
    smooth,
    starts_random,
    total_steps,
    usual_rate,
)

# Calibrated on runs of 120 steps, see docs/benchmarks/healthy_runs.md; docs/benchmarks/faults.md has longer ones: the
# fall of the loss by 90 % of a run, which grows with the way of the weights, the sum of |dw| / |w| over the steps.
# Healthy: 15 % after a way of 0.3 (SGD), 22 % and more after 0.5 (AdamW, MuSGD); with labels shuffled between pictures
# 10 to 13 % after 0.5.
LEARNS, LEARNS_PER_WAY, JUDGED_FROM = 0.15, 0.3, 0.9
# In 250 steps healthy starts on circuit boards may fall as little as ones with shuffled labels, and find nothing either
# (docs/benchmarks/faults.md, which also has when they part).
LEAST_STEPS, LEAST_PICTURES = 400, 3200
# Labels shuffled between pictures that resemble each other teach where objects usually are: the loss falls by a
# quarter. Healthy runs whose validation has caught up with training find something by then: mAP50 0.04 and more.
BLIND_FALL, CAUGHT_UP, BLIND = 0.3, 1.05, 0.01
WAY = 0.2  # less movement than this explains a loss that stays
FOUND = 0.05  # mAP50 from which the labels obviously can be learnt
# Of the run; fall of the loss over it; least steps in it: healthy starts on circuit boards stand for a hundred.
STALLED_PART, STALLED, STALLED_STEPS = 0.3, 0.02, 200
STALLED_PICTURES = 8 * STALLED_STEPS  # and least pictures: batches of two say little in as many steps


def judge_learning(history: History) -> Finding | None:
    """Report a loss that hardly falls although the weights move: labels that do not belong to their pictures."""
    loss, way = plain_loss(history), _way(history)
    steps, total = history.steps.height, total_steps(history)
    if steps < JUDGED_FROM * total or not way >= WAY or not starts_random(history):
        return None
    since = min(assigned_from(history) - history.warmup_steps, steps)  # a late start is no slow one
    if steps - since < LEAST_STEPS or np.nansum(history.step_values("images")[since:]) < LEAST_PICTURES:
        return None
    first, last, fall = fall_of(loss)
    little = fall < min(LEARNS, LEARNS_PER_WAY * way)
    slow = rate_in_use(history) < usual_rate(history) / UNUSUAL  # explains by itself that nothing is found yet
    blind = fall < BLIND_FALL and not slow and _is_blind(history, last)
    if not (little or blind) or (history.epoch_values("val_map50") > FOUND).any():
        return None
    what = (
        "although the weights have moved enough"
        if little
        else "and validation finds nothing, although its loss is as low as in training"
    )
    return Finding(
        "labels.not_learnable",
        "warning",
        f"after {steps} steps the loss has fallen by only {percent(max(fall, 0.0))}, {what}: the labels do not tell "
        "what is in the pictures",
        {"step": steps, "fall": fall, "first": first, "last": last, "way": way},
        "data: look at a dozen pictures with their boxes drawn in; label files of other pictures and class numbers of "
        "another list look like this; `tuneup proof` rules out a wrong gradient",
    )


def fall_of(loss: Values) -> tuple[float, float, float]:
    """Return where a loss began, where it is, and by which part it has fallen.

    From its highest, not its first steps: random weights may assign hardly any object then, and it rises at first.

    Args:
        loss: [s] of each step, at least `WINDOW`.
    """
    early = smooth(loss)[: 3 * len(loss) // 4]
    first = max(median(loss[: 2 * WINDOW]), float(np.nanmax(early)) if np.isfinite(early).any() else 0.0)
    last = median(loss[-2 * WINDOW :])
    return first, last, 1 - last / first if first > 0 else 1.0


def _is_blind(history: History, loss: float) -> bool:
    """Whether the network that validation uses has caught up with the one in training, and still finds nothing."""
    sample, scores = plain_loss(history, "sample"), history.epoch_values("val_map50")
    sample, scores = sample[np.isfinite(sample)], scores[np.isfinite(scores)]
    return bool(len(sample) and len(scores) and sample[-1] < CAUGHT_UP * loss and scores.max() < BLIND)


def _way(history: History) -> float:
    """Return how far the weights have moved in all, in units of their size: the sum over the steps of |dw| / |w|."""
    probes = [probe for probe in history.probes_of("update") if probe.get("group_ratio")]
    ratios = [max(map(number, probe["group_ratio"].values())) for probe in probes]
    return float(np.nansum(ratios)) / max(len(probes), 1) * history.steps.height


def judge_plateau(history: History) -> Finding | None:
    """Report a loss that has stood still for a good part of the run while the learning rate was not yet spent."""
    total, steps = total_steps(history), history.steps.height
    begin = assigned_from(history)
    length = max(int(STALLED_PART * total), STALLED_STEPS)
    loss = plain_loss(history)
    if steps < begin + length + WINDOW or not starts_random(history):
        return None
    if np.nansum(history.step_values("images")[-length:]) < STALLED_PICTURES:
        return None
    window = loss[-length:]
    third = length // 3
    start, end = median(window[:third]), median(window[-third:])
    rates = [name for name in history.steps.columns if name.startswith("lr_")]
    spent = not rates or median(history.step_values(rates[0])[-third:]) < 0.3 * np.nanmax(history.step_values(rates[0]))
    if not start > 0 or 1 - end / start > STALLED or spent or (history.epoch_values("val_map50") > FOUND).any():
        return None
    return Finding(
        "loss.plateau",
        "warning",
        f"the loss has stood at {end:.3g} for {length} steps, since step {steps - length}, and val finds nothing yet",
        {"step": steps - length, "loss": end, "fall": 1 - end / start},
        f"{rate_knob(history, rate_in_use(history) * 3)}: three times the rate may lead off the plateau; if not, look "
        "at the labels",
    )


RULES: tuple[Rule, ...] = (judge_learning, judge_plateau)
