"""Rules on the curves of the loss: whether it rises, or falls on the train pictures alone."""

from __future__ import annotations

import numpy as np

from ..findings import Finding
from .history import History, Values
from .judging import (
    ASSIGNED,
    UNSETTLED,
    WINDOW,
    Flags,
    Rule,
    percent,
    plain_loss,
    rate_in_use,
    rate_knob,
    restart,
    smooth,
    starts_random,
)

ROSE, ROSE_VAL = 1.5, 5.0  # times the best so far: rules of thumb that healthy runs keep away from
# In the first steps from random weights a loss has to rise above all it was before, and not only because objects are at
# last assigned. Calibrated: healthy starts then reach 1.15 times their first loss.
ROSE_ABOVE = 1.2
AT_ITS_HEIGHT = 0.9  # of the highest since its best: below it a loss from random weights is on its way down again
SETTLING = 300  # batches after which a ten-thousandth is left of BatchNorm's initial statistics (momentum 0.03)
GAP, GAP_GROWTH = 0.3, 0.1  # (val - sample) / sample. SageMaker's Overfit has 0.1, too eager under mosaic
VAL_ROSE = 1.05  # times val's best: overfitting has a turning point
STILL_LEARNS = 0.95  # of the loss on train pictures at val's best: what gets no better there is not learnt by heart
SINKING = 0.7  # of val's highest since then: below it the loss comes down from where lagging statistics had put it
FINDS, AS_MUCH = 0.01, 0.5  # mAP50, and the part of its best: detection that diverges loses all of it
MEASURED = 4  # epochs with both losses
FEW_PICTURES, MANY_PASSES = 50, 20  # pictures, and how often each was seen: then it is they that have been learnt
MEMORISED = 0.4  # of the first loss, on pictures seen so often
# What moves pictures, as Ultralytics has it by default. Its mosaic is left out: on twenty pictures, in 180 steps, it
# took 4 points of mAP50-95 where these settings gave 2 (docs/benchmarks/faults.md).
MOVING = "augment.scale=0.5 with augment.translate=0.1 with augment.fliplr=0.5"
# Entries that leave everything in its place.
COLOURS = frozenset({"hsv_h", "hsv_s", "hsv_v", "bgr"})


def judge_divergence(history: History) -> Finding | None:
    """Report a loss that leaves its best far behind, in training or on val."""
    begin = restart(history)
    loss = smooth(plain_loss(history)[begin:])
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
        assigned = smooth(np.sum([history.step_values(name) for name in boxes], axis=0)[begin:])
        if assigned[best] < ASSIGNED * assigned[-1]:
            return False
    earlier = plain_loss(history)[: begin + best + WINDOW]
    # Above single batches too: small ones, of which some have hardly an object, differ by magnitudes.
    return bool(loss[-1] > max(ROSE_ABOVE * np.nanmax(smooth(earlier)), np.nanmax(earlier)))


def _val_rises(history: History, advice: str) -> Finding | None:
    val = plain_loss(history, "val")
    seen = np.flatnonzero(np.isfinite(val) & (val > 0) & _assigned(history))
    # While BatchNorm's running statistics catch up with the weights, val may be off by magnitudes for an epoch or two.
    if len(seen) < MEASURED or _is_settling(history) or val[seen[-1]] < val[seen[-2]]:
        return None
    best = int(seen[np.argmin(val[seen])])
    if not val[seen[-1]] > ROSE_VAL * val[best] or _finds_as_much(history, seen[-1]) or _lags(history, seen[-1]):
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


def _lags(history: History, epoch: int) -> bool:
    """Whether unaugmented train pictures are far off too: then statistics lag, which is `norm.drifting`'s to say."""
    sample, train = plain_loss(history, "sample")[: epoch + 1], plain_loss(history, "train")[: epoch + 1]
    known = np.flatnonzero(np.isfinite(sample) & np.isfinite(train))
    return bool(len(known) and sample[known[-1]] > ROSE * train[known[-1]])


def _finds_as_much(history: History, epoch: int) -> bool:
    """Whether what validation finds has not gone down with its loss: then the loss is off, not the network."""
    scores = history.epoch_values("val_map50")
    return bool(len(scores) > epoch and scores[epoch] > max(FINDS, AS_MUCH * np.nanmax(scores[: epoch + 1])))


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


def _is_settling(history: History) -> bool:
    """Whether BatchNorm's running statistics may not be those of the weights yet."""
    batches = history.epochs.height * int(history.context.get("batches_per_epoch") or 0) or history.steps.height
    return batches < SETTLING or history.steps.height < UNSETTLED


def judge_overfitting(history: History) -> Finding | None:
    """Report learning by heart: val rises while the same loss on train pictures, not augmented, keeps falling."""
    val, sample = plain_loss(history, "val"), plain_loss(history, "sample")
    both = np.flatnonzero(np.isfinite(val) & np.isfinite(sample) & (sample > 0) & _assigned(history))
    if len(both) >= MEASURED:
        gap = (val[both] - sample[both]) / sample[both]
        best = int(np.argmin(val[both]))
        since = val[both][best:]
        rose = since[-2:].min() > VAL_ROSE * since[0] and since[-1] > SINKING * since.max()
        train = plain_loss(history, "train")[both]
        # What is learnt by heart gets better in training too; else objects are still being assigned.
        learnt = sample[both[-1]] < STILL_LEARNS * sample[both[best]] and not train[-2:].min() > train[best]
        settled = not sample[both[-1]] > (1 + GAP) * train[-1]  # else it is BatchNorm that lags, on val and train alike
        if gap[-1] > GAP and gap[-1] > gap[best] + GAP_GROWTH and rose and settled and learnt:
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
    loss = smooth(plain_loss(history))
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
        _against_overfitting(history, _turning_point(val)),
    )


def _turning_point(val: Values) -> int | None:
    """Return the epoch of val's best loss, from which it has risen; None where it has not."""
    best = int(np.nanargmin(val))
    return best if val[-1] > VAL_ROSE * val[best] else None


def _against_overfitting(history: History, epoch: int | None) -> str:
    augmentation = history.context.get("augmentation")  # None: a run of an older version
    if augmentation is not None and not set(augmentation) - COLOURS:
        return (
            f"{MOVING}: nothing moves the pictures so far, and more of them help most; leave fliplr "
            "out where left and right differ"
        )
    backbone = sum(row.get("place") == "backbone" for row in history.context.get("layers") or ())
    if history.context.get("pretrained") and backbone and not history.context.get("frozen"):
        return f"train.freeze={backbone}: keeps the pretrained backbone, so that fewer weights can learn by heart"
    if epoch is None:
        return "label more pictures, which helps most; next comes stronger augmentation"
    return f"train.epochs={epoch + 1}: later epochs only learn the pictures by heart; more pictures help most"


def _steps_after(history: History, epoch: int) -> int:
    values = history.epoch_values("steps")
    return int(values[epoch]) if epoch < len(values) and np.isfinite(values[epoch]) else 0


RULES: tuple[Rule, ...] = (judge_overfitting, judge_divergence)
