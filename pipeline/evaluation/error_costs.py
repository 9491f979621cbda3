"""What each type of error costs: AP50 without it, minus AP50, with an interval; the rules stand in `error_types`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .error_types import SPECIAL, TYPES, ErrorTable
from .intervals import Interval, class_mean, percentile_interval, resampled_ap, to_record
from .outcomes import Outcomes
from .remedies import remedy


@dataclass(frozen=True)
class ErrorCost:
    """What a type of error costs.

    Args:
        type: one of `TYPES` or `SPECIAL`.
        count: number of errors, at all scores.
        confident: of these, detections with a score of at least `CONFIDENT`, or missed boxes.
        cost: AP50, mean over classes, that mending these alone would gain (0 to 1).
        remedy: what to try, in plain words; empty where there is no error.
    """

    type: str
    count: int
    confident: int
    cost: Interval
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it stands in `metrics.json`."""
        value = None if np.isnan(self.cost.value) else self.cost.value
        cost = to_record(self.cost) or {"value": value, "low": None, "high": None, "level": self.cost.level}
        counts = {"count": self.count, "confident": self.confident}
        return {"type": self.type, **counts, "cost": cost, "remedy": self.remedy}


def mended(errors: ErrorTable, kind: str) -> Outcomes:
    """Return the outcomes as they would be without one of `TYPES` or `SPECIAL`, by TIDE's rules."""
    before, truth = errors.outcomes, errors.table.truth
    if kind in ("missed", "false_negatives"):
        counted = ~errors.table.ignored_truth[0]
        if kind == "missed":
            counted[errors.missed] = False
            left = np.flatnonzero(counted)
        else:
            left = errors.found
        return replace(before, truth_image=truth.image[left], truth_class=truth.class_id[left])
    chosen = errors.type == TYPES.index(kind) if kind in TYPES else np.ones(len(errors.type), np.bool_)
    keep, hit, class_id = np.ones(len(before.hit), np.bool_), before.hit.copy(), before.class_id.copy()
    keep[errors.place[chosen]] = False
    if kind in ("class", "place"):
        put_right = chosen & errors.owns
        at = errors.place[put_right]
        keep[at] = hit[at] = True
        class_id[at] = truth.class_id[errors.truth[put_right]]
    rows = np.flatnonzero(keep)
    if kind == "class":
        rows = rows[np.lexsort((errors.table.order[rows], before.image[rows], -before.score[rows], class_id[rows]))]
    return replace(
        before,
        image=before.image[rows],
        class_id=class_id[rows],
        score=before.score[rows],
        hit=hit[rows],
        ignored=before.ignored[rows],
    )


def error_costs(errors: ErrorTable, weights: NDArray[np.int32], units: int | None = None) -> list[ErrorCost]:
    """Return count, cost and remedy of every type, then of the two special ones.

    The interval is that of a paired difference: both AP50 of the same resample. Like tidecv's, the cost of a type is at
    least 0. Without a class that counts it is nan; if mending leaves nothing to find and nothing found, AP50 is 1.

    Args:
        errors: from `classify`.
        weights: [R, I] of `image_weights`.
        units: number of pictures or groups that were drawn; None for many.
    """
    plain = np.ones((1, len(errors.table.truth.image_ids)), np.int32)
    weights = np.concatenate([plain, weights])  # the first row gives the figure itself
    before = resampled_ap(errors.outcomes, weights)
    costs = []
    for kind in (*TYPES, *SPECIAL):
        gain = _mended_mean(mended(errors, kind), before, weights) - class_mean(before)
        if kind in TYPES:
            gain = np.maximum(gain, 0.0)
        cost = percentile_interval(float(gain[0]), gain[1:], units=units)
        count = errors.count(kind)
        advice = remedy(errors, kind) if count and kind in TYPES else ""
        costs.append(ErrorCost(kind, count, errors.confident(kind), cost, advice))
    return costs


def _mended_mean(after: Outcomes, before: NDArray[np.float64], weights: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return [R] the mean over classes after mending; see the module's text for a class that has no boxes any more."""
    ap = resampled_ap(after, weights)
    emptied = np.isnan(ap) & ~np.isnan(before)
    for k in np.flatnonzero(emptied.any(axis=0)):
        pictures = np.unique(after.image[(after.class_id == k) & ~after.ignored])
        ap[emptied[:, k] & weights[:, pictures].any(axis=1), k] = 0.0
    nothing_wrong = np.isnan(ap).all(axis=1) & ~np.isnan(before).all(axis=1)
    return np.where(nothing_wrong, 1.0, class_mean(ap))
