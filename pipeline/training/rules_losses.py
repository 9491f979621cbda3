"""Rules on the curves of the loss: whether it falls, rises, hangs on one term, or falls on the train pictures alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..findings import Finding
from .history import History, Values
from .judging import (
    Flags,
    Rule,
    lags,
    latest,
    median,
    number,
    percent,
    plain_loss,
    rate_in_use,
    rate_knob,
    restart,
    starts_random,
    total_steps,
)

WINDOW = 10  # steps over which a loss is taken: a batch more or less crowded changes it by a tenth
# A rule of thumb says "> 95 %", which healthy random starts break: box 95 %, cls 2 %.
ONE_TERM, OTHER_TERM = 0.99, 0.005
DEFAULT_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}  # of Ultralytics
ROSE, ROSE_VAL = 1.5, 5.0  # times the best so far: rules of thumb that healthy runs keep away from
# In the first steps from random weights a loss has to rise above all it was before, and not only because objects are at
# last assigned. Calibrated: healthy starts then reach 1.15 times their first loss, from less than 0.4 of the box loss.
UNSETTLED, ROSE_ABOVE, ASSIGNED = 100, 1.2, 0.4
AT_ITS_HEIGHT = 0.9  # of the highest since its best: below it a loss from random weights is on its way down again
SETTLING = 300  # batches after which a ten-thousandth is left of BatchNorm's initial statistics (momentum 0.03)
GAP, GAP_GROWTH = 0.3, 0.1  # (val - sample) / sample. SageMaker's Overfit has 0.1, too eager under mosaic
VAL_ROSE = 1.05  # times val's best: overfitting has a turning point
SINKING = 0.7  # of val's highest since then: below it the loss comes down from where lagging statistics had put it
MEASURED = 4  # epochs with both losses
FEW_PICTURES, MANY_PASSES = 50, 20  # pictures, and how often each was seen: then it is they that have been learnt
MEMORISED = 0.4  # of the first loss, on pictures seen so often
# Calibrated, see docs/benchmarks/healthy_runs.md: the fall of the loss by 90 % of a run, which grows with the way that
# the weights have gone, the sum of |dw| / |w| over the steps. Healthy: 15 % after a way of 0.3 (SGD), 22 % and more
# after 0.5 (AdamW, MuSGD); with labels shuffled between pictures 10 to 13 % after 0.5.
LEARNS, LEARNS_PER_WAY, JUDGED_FROM = 0.15, 0.3, 0.9
# In 120 steps healthy starts on circuit boards fall as little as ones with shuffled labels, and find nothing either
# (docs/benchmarks/faults.md, which also has when they part).
LEAST_STEPS, LEAST_PICTURES = 200, 1600
# Labels shuffled between pictures that resemble each other teach where objects usually are: the loss falls by a
# quarter. Healthy runs whose validation has caught up with training find something by then: mAP50 0.04 and more.
BLIND_FALL, CAUGHT_UP, BLIND = 0.3, 1.05, 0.01
WAY = 0.2  # less movement than this explains a loss that stays
FOUND = 0.05  # mAP50 from which the labels obviously can be learnt
STALLED_PART, STALLED, STALLED_STEPS = 0.3, 0.02, 100  # of the run; fall of the loss over it; least steps in it


def judge_terms(history: History) -> Finding | None:
    """Report a loss term that leaves the others no share of the gradient."""
    lagging = _lagging_steps(history)
    probes = [p for p in history.probes_of("terms") if p.get("shares") and p.get("step") not in lagging]
    if starts_random(history):
        probes = [
            p for p in probes if p.get("step")
        ]  # what random weights send back before the first step says nothing
    probe = latest(probes, "shares")
    if probe is None:
        return None
    shares = {name.removesuffix("_loss"): number(value) for name, value in probe["shares"].items()}
    top = max(shares, key=shares.__getitem__)
    main = {name: share for name, share in shares.items() if name in ("box", "cls") and name != top}
    if not (shares[top] > ONE_TERM and main and min(main.values()) < OTHER_TERM):
        return None
    gains = {str(k): number(v) for k, v in (history.context.get("gains") or {}).items()}
    if top == "cls" and starts_random(history) and _are_usual(gains):
        return None  # the classes come first: boxes are weighed by how sure the network is of them
    gain, wanted = _gain_to_turn(top, min(main, key=main.__getitem__), gains)
    step = int(probe.get("step") or 0)
    since = next(int(p.get("step") or 0) for p in probes if number(p["shares"].get(f"{top}_loss")) > ONE_TERM)
    return Finding(
        "loss.term_imbalance",
        "warning",
        f"{top} has {shares[top]:.2%} of the gradient at the neck at step {step}, ".replace("%", " %")
        + ", ".join(f"{name} {share:.2g}" for name, share in main.items())
        + ": the other terms teach nothing",
        {"step": since, "shares": shares, "gains": gains},
        f"train.{gain}={wanted:g}: Ultralytics' default is {DEFAULT_GAINS.get(gain, wanted):g}",
    )


def _lagging_steps(history: History) -> set[Any]:
    """Return the measured steps at which a tenth of the layers answered with statistics of older weights."""
    found = set()
    for probe in history.probes_of("health"):
        rows = list((probe.get("norms") or {}).values())
        if sum(map(lags, rows)) > 0.1 * len(rows):
            found.add(probe.get("step"))
    return found


def _gain_to_turn(top: str, low: str, gains: Mapping[str, float]) -> tuple[str, float]:
    """Return the gain that is furthest off its default and its default, or a tenth of the one that dominates."""
    off = _off_default(gains)
    furthest = max(off, key=lambda name: abs(math.log(off[name])), default=top)
    if not _are_usual(gains):
        return furthest, DEFAULT_GAINS[furthest]
    return (top, gains[top] / 10) if gains.get(top) else (low, DEFAULT_GAINS.get(low, 1.0))


def _off_default(gains: Mapping[str, float]) -> dict[str, float]:
    return {name: gains[name] / default for name, default in DEFAULT_GAINS.items() if gains.get(name, 0.0) > 0}


def _are_usual(gains: Mapping[str, float]) -> bool:
    return all(0.5 < times < 2 for times in _off_default(gains).values())


def judge_divergence(history: History) -> Finding | None:
    """Report a loss that leaves its best far behind, in training or on val."""
    begin = restart(history)
    loss = _smooth(plain_loss(history)[begin:])
    rate = rate_in_use(history)
    advice = f"{rate_knob(history, rate / 3)}: a third; lower it again if the loss still leaves its best behind"
    if len(loss) > WINDOW:
        best = int(np.nanargmin(loss)) if np.isfinite(loss).any() else 0
        if loss[-1] > ROSE * loss[best] > 0 and _really_rises(history, loss, begin, best):
            step = begin + best + WINDOW
            return Finding(
                "loss.divergence",
                "warning",
                f"the loss is {loss[-1] / loss[best]:.1f} times its best, {loss[best]:.3g} at step {step}, and rises",
                {"step": step, "best": float(loss[best]), "now": float(loss[-1])},
                advice,
            )
    return _val_rises(history, advice)


def _really_rises(history: History, loss: Values, begin: int, best: int) -> bool:
    """Whether a rise is more than objects being assigned at last.

    Random weights assign hardly any object for some steps, so that the loss is small until they do: it then rises to
    its usual height, the box term by magnitudes, and falls from there.
    """
    if not starts_random(history) or begin + best >= UNSETTLED:
        return True
    if loss[-1] < AT_ITS_HEIGHT * np.nanmax(loss[best:]):
        return False
    boxes = [name for name in history.steps.columns if name.endswith("box_loss")]
    if boxes:
        assigned = _smooth(np.sum([history.step_values(name) for name in boxes], axis=0)[begin:])
        if assigned[best] < ASSIGNED * assigned[-1]:
            return False
    earlier = _smooth(plain_loss(history))[: begin + best + 1]
    return bool(loss[-1] > ROSE_ABOVE * np.nanmax(earlier))


def _val_rises(history: History, advice: str) -> Finding | None:
    val = plain_loss(history, "val")
    seen = np.flatnonzero(np.isfinite(val) & (val > 0) & _assigned(history))
    # While BatchNorm's running statistics catch up with the weights, val may be off by magnitudes for an epoch or two.
    if len(seen) < MEASURED or _batches(history) < SETTLING or val[seen[-1]] < val[seen[-2]]:
        return None
    best = int(seen[np.argmin(val[seen])])
    if not val[seen[-1]] > ROSE_VAL * val[best]:
        return None
    return Finding(
        "loss.divergence",
        "warning",
        f"the loss on val: {val[best]:.3g} after epoch {best + 1}, {val[seen[-1]]:.3g} after epoch {seen[-1] + 1}",
        {
            "epoch": int(seen[-1]),
            "step": _steps_after(history, best),
            "best": float(val[best]),
            "now": float(val[seen[-1]]),
        },
        advice,
    )


def _assigned(history: History) -> Flags:
    """Return whether objects were assigned in validation after each epoch, `[e]`; else its loss is one of nothing.

    A network that is unsure of all it finds has next to no box loss. In validation that is so while BatchNorm's running
    statistics are not those of its weights, and at a random start in training as well.
    """
    val, train = _box_loss(history, "val"), _box_loss(history, "train")
    found: Flags = ~(val < ASSIGNED * train)
    if starts_random(history) and len(train):
        found &= ~(train < ASSIGNED * train[-1])
    return found


def _box_loss(history: History, part: str) -> Values:
    names = [name for name in history.epochs.columns if name.startswith(f"{part}_") and name.endswith("box_loss")]
    if not names:
        return np.full(history.epochs.height, np.nan)
    total: Values = np.sum([history.epoch_values(name) for name in names], axis=0)
    return total


def _batches(history: History) -> int:
    """Return how many batches went forward in training."""
    return history.epochs.height * int(history.context.get("batches_per_epoch") or 0) or history.steps.height


def judge_overfitting(history: History) -> Finding | None:
    """Report learning by heart: val rises while the same loss on train pictures, not augmented, keeps falling."""
    val, sample = plain_loss(history, "val"), plain_loss(history, "sample")
    both = np.flatnonzero(np.isfinite(val) & np.isfinite(sample) & (sample > 0) & _assigned(history))
    if len(both) >= MEASURED:
        gap = (val[both] - sample[both]) / sample[both]
        best = int(np.argmin(val[both]))
        since = val[both][best:]
        rose = since[-2:].min() > VAL_ROSE * since[0] and since[-1] > SINKING * since.max()
        train = plain_loss(history, "train")[both[-1]]
        settled = not sample[both[-1]] > (1 + GAP) * train  # else it is BatchNorm that lags, on val and train alike
        if gap[-1] > GAP and gap[-1] > gap[best] + GAP_GROWTH and rose and settled:
            epoch = int(both[best])
            return Finding(
                "loss.overfitting",
                "warning",
                f"the loss on val is {percent(gap[-1])} above that on unaugmented train pictures and has risen since "
                f"epoch {epoch + 1} ({val[epoch]:.3g} to {val[both[-1]]:.3g})",
                {
                    "epoch": epoch,
                    "step": _steps_after(history, epoch),
                    "gap": float(gap[-1]),
                    "gap_at_best": float(gap[best]),
                },
                _against_overfitting(history, epoch),
            )
    return _memorised(history)


def _memorised(history: History) -> Finding | None:
    context = history.context
    batch, batches = int(context.get("batch") or 0), int(context.get("batches_per_epoch") or 0)
    pictures = min(int(context.get("train_images") or 0), batch * batches)
    passes = history.epochs.height
    loss = _smooth(plain_loss(history))
    if not 0 < pictures <= FEW_PICTURES or passes < MANY_PASSES or len(loss) < 2:
        return None
    first = float(np.nanmax(loss[: len(loss) // 2 + 1]))  # hardly any object may be assigned in the very first steps
    if not loss[-1] < MEMORISED * first:
        return None
    val = plain_loss(history, "val")
    if not val[-1] > (1 + GAP) * loss[-1]:
        return None
    since = int(np.nanargmax(loss)) + int(np.argmax(loss[int(np.nanargmax(loss)) :] < MEMORISED * first)) + WINDOW
    return Finding(
        "loss.overfitting",
        "warning",
        f"at most {pictures} pictures were seen {passes} times each; their loss fell to {percent(loss[-1] / first)} "
        f"({loss[-1]:.3g}), on val it is {val[-1]:.3g}: they are learnt by heart",
        {
            "step": since,
            "pictures": pictures,
            "passes": passes,
            "train_loss": float(loss[-1]),
            "val_loss": float(val[-1]),
        },
        _against_overfitting(history, MANY_PASSES - 1),
    )


def _against_overfitting(history: History, epoch: int) -> str:
    backbone = sum(row.get("place") == "backbone" for row in history.context.get("layers") or ())
    if history.context.get("pretrained") and backbone and not history.context.get("frozen"):
        return f"train.freeze={backbone}: keeps the pretrained backbone, so that fewer weights can learn by heart"
    return f"train.epochs={epoch + 1}: later epochs only learn the pictures by heart; more pictures help most"


def judge_learning(history: History) -> Finding | None:
    """Report a loss that hardly falls although the weights move: labels that do not belong to their pictures."""
    loss, way = plain_loss(history), _way(history)
    steps, total = history.steps.height, total_steps(history)
    if steps < max(LEAST_STEPS, JUDGED_FROM * total) or not way >= WAY or not starts_random(history):
        return None
    if np.nansum(history.step_values("images")) < LEAST_PICTURES:
        return None
    first, last, fall = fall_of(loss)
    little = fall < min(LEARNS, LEARNS_PER_WAY * way)
    blind = fall < BLIND_FALL and _is_blind(history, last)
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
        {"step": LEAST_STEPS, "fall": fall, "first": first, "last": last, "way": way},
        "data: look at a dozen pictures with their boxes drawn in; label files of other pictures and class numbers of "
        "another list look like this; `tuneup proof` rules out a wrong gradient",
    )


def fall_of(loss: Values) -> tuple[float, float, float]:
    """Return where a loss began, where it is, and by which part it has fallen.

    From its highest, not its first steps: random weights may assign hardly any object then, and it rises at first.

    Args:
        loss: [s] of each step, at least `WINDOW`.
    """
    early = _smooth(loss)[: 3 * len(loss) // 4]
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
    begin = restart(history)
    length = max(int(STALLED_PART * total), STALLED_STEPS)
    loss = plain_loss(history)
    if steps < begin + length + WINDOW or not starts_random(history):
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


def _smooth(loss: Values) -> Values:
    """Return the medians of WINDOW steps each, `[s - WINDOW + 1]`; empty for a shorter curve."""
    if len(loss) < WINDOW:
        return np.zeros(0)
    filled = np.where(np.isfinite(loss), loss, np.nanmedian(loss) if np.isfinite(loss).any() else 0.0)
    smooth: Values = np.median(np.lib.stride_tricks.sliding_window_view(filled, WINDOW), axis=1)
    return smooth


def _steps_after(history: History, epoch: int) -> int:
    values = history.epoch_values("steps")
    return int(values[epoch]) if epoch < len(values) and np.isfinite(values[epoch]) else 0


RULES: tuple[Rule, ...] = (judge_terms, judge_learning, judge_overfitting, judge_divergence, judge_plateau)
