"""FROC: the share of the boxes that is found at IoU 0.50 against the false alarms per picture.

It counts boxes in place of pictures (Bunch, Hamilton, Sanderson and Simmons, J. Appl. Photogr. Eng. 4, 1978). Its
intervals are those of `rates.py`, for boxes that are no independent trials. What they cover:
`docs/benchmarks/inspection.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import Interval, to_record
from .matching import IOU50, MatchTable
from .outcomes import Outcomes
from .rates import MOST_POINTS, Floats, Groups, Weights, effective_trials, ratio, units_of, wilson

FALSE_ALARMS = (
    1 / 8,
    1 / 4,
    1 / 2,
    1.0,
    2.0,
    4.0,
    8.0,
)  # per picture; LUNA16 (Setio et al., Med. Image Anal. 42, 2017)
_BLOCK = 100  # resamples worked on at once


@dataclass(frozen=True)
class Froc:
    """Share of the boxes found (sensitivity) against false alarms per picture, all classes together, at IoU 0.50.

    Args:
        boxes: number of boxes that count.
        score: [P] thresholds, falling.
        false_alarms: [P] per picture, at each threshold.
        sensitivity: [P] likewise.
        at: [7] the largest sensitivity with at most `FALSE_ALARMS` per picture; a step of the curve, where LUNA16's
            program draws a straight line between two, at which no threshold works. None without boxes.
        mean: their mean, LUNA16's competition performance metric.
    """

    boxes: int
    score: Floats
    false_alarms: Floats
    sensitivity: Floats
    at: tuple[Interval, ...] | None
    mean: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        columns = {"threshold": self.score, "false_alarms": self.false_alarms, "sensitivity": self.sensitivity}
        at = [{"false_alarms": rate, **i.to_dict()} for rate, i in zip(FALSE_ALARMS, self.at or (), strict=False)]
        points = {name: values.tolist() for name, values in columns.items()}
        note = [] if self.boxes else ["no picture has a box, so there is nothing to be found"]
        return {"boxes": self.boxes, "points": points, "at": at, "mean": to_record(self.mean), "notes": note}


def froc(table: MatchTable, weights: Weights, groups: Groups = None) -> Froc:
    """Return the FROC curve of a match table, with intervals from resamples [R, I] of whole pictures or groups."""
    outcomes, images = table.outcomes(IOU50), len(table.truth.image_ids)
    boxes = len(outcomes.truth_image)
    ranked = _Ranked.of(outcomes)
    if not boxes:
        none: Floats = np.zeros(0)
        return Froc(0, none, none, none, None, None)
    value = ranked.sensitivities(outcomes, np.ones((1, images), np.int32))[0]
    draws = ranked.sensitivities(outcomes, weights)
    value, draws = np.append(value, value.mean()), np.column_stack([draws, draws.mean(axis=1)])
    trials = effective_trials(value, draws, units_of(outcomes.truth_image, groups), boxes)
    *at, mean = (Interval(*map(float, bounds)) for bounds in zip(value, *wilson(value, trials), strict=True))
    sensitivity = ranked.hits_to / boxes
    kept = np.flatnonzero(np.diff(np.floor(sensitivity * MOST_POINTS), prepend=-1))
    kept = np.union1d(kept, np.arange(len(sensitivity))[-1:])
    return Froc(boxes, ranked.level[kept], ranked.alarms_to[kept] / images, sensitivity[kept], tuple(at), mean)


@dataclass(frozen=True)
class _Ranked:
    """The detections that count, of all classes, by falling score.

    Args:
        level: [L] the different scores.
        alarms_to: [L] number of false alarms down to a level.
        hits_to: [L] number of hits down to a level.
        alarms: pictures of the false alarms.
        hits: pictures of the hits.
    """

    level: Floats
    alarms_to: NDArray[np.int64]
    hits_to: NDArray[np.int64]
    alarms: NDArray[np.int32]
    hits: NDArray[np.int32]

    @classmethod
    def of(cls, outcomes: Outcomes) -> _Ranked:
        rows = np.flatnonzero(~outcomes.ignored)
        rows = rows[np.argsort(-outcomes.score[rows], kind="stable")]
        score, hit, image = outcomes.score[rows], outcomes.hit[rows], outcomes.image[rows]
        ends = np.flatnonzero(np.diff(score, append=-np.inf))  # equal scores cannot be divided by a threshold
        return cls(
            score[ends],
            np.cumsum(~hit, dtype=np.int64)[ends],
            np.cumsum(hit, dtype=np.int64)[ends],
            image[~hit],
            image[hit],
        )

    def sensitivities(self, outcomes: Outcomes, weights: Weights) -> Floats:
        """Return [R, 7] the largest share of the boxes found with so many false alarms; nan without boxes."""
        found = np.full((len(weights), len(FALSE_ALARMS)), np.nan)
        for first in range(0, len(weights), _BLOCK):
            block = np.ascontiguousarray(weights[first : first + _BLOCK])
            within = self._alarms_within(block)
            levels = np.searchsorted(self.alarms_to, within, side="right")  # [r, 7] how many levels are allowed
            hits = np.append(0, self.hits_to)[levels]
            drawn = np.zeros((len(block), len(self.hits) + 1), np.int64)
            np.cumsum(block[:, self.hits], axis=1, out=drawn[:, 1:])
            boxes = block[:, outcomes.truth_image].sum(axis=1)
            found[first : first + _BLOCK] = ratio(np.take_along_axis(drawn, hits, axis=1), boxes[:, None])
        return found

    def _alarms_within(self, block: Weights) -> NDArray[np.int64]:
        """Return [r, 7] how many false alarms can be let through, counted with the weights of their pictures."""
        bounds = np.array(FALSE_ALARMS) * block.sum(axis=1)[:, None]
        # Far down the list no false alarm is within the bounds any more: most of the list is not needed.
        drawn = np.cumsum(block[:, self.alarms[: int(1.5 * FALSE_ALARMS[-1] * block.shape[1])]], axis=1)
        if drawn.shape[1] < len(self.alarms) and (drawn[:, -1] <= bounds[:, -1]).any():
            drawn = np.cumsum(block[:, self.alarms], axis=1)
        return np.stack([np.searchsorted(row, bound, side="right") for row, bound in zip(drawn, bounds, strict=True)])
