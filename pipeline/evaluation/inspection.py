"""The inspector's view: how many defective pieces pass, how many good ones are rejected, and at which threshold.

A picture is *defective* when it has a box that counts, *good* when it has no box at all; one with nothing but ignored
boxes is set aside, as such boxes are never held against anyone. A picture is *rejected* when a detection of any class
reaches the threshold. Escape rate: defective pictures that pass. Overkill rate: good pictures that are rejected.

FROC counts boxes in place of pictures: the share of the boxes that is found at IoU 0.50 against the false alarms per
picture (Bunch, Hamilton, Sanderson and Simmons, J. Appl. Photogr. Eng. 4, 1978).

Every share here is a proportion and has Wilson's score interval (Wilson 1927), because it holds its level for few
pictures and for shares near 0 and 1, where inspection lives: the normal interval of "none of 40 escaped" has no width
(Brown, Cai and DasGupta, Statistical Science 16, 2001). Boxes of one picture, and pictures of one board, are no
independent trials. There the interval is made for the effective number of trials, p (1 - p) over the variance of the
bootstrap that draws whole pictures or boards (Korn and Graubard, Survey Methodology 24, 1998; recommended with Wilson's
interval by Franco et al., J. Surv. Stat. Methodol. 7, 2019). What it covers: `docs/benchmarks/inspection.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import LEVEL, Interval, to_record
from .matching import MatchTable
from .outcomes import Outcomes

IOU50 = 0  # place of 0.50 among the thresholds of the match table
FALSE_ALARMS = (
    1 / 8,
    1 / 4,
    1 / 2,
    1.0,
    2.0,
    4.0,
    8.0,
)  # per picture; LUNA16 (Setio et al., Med. Image Anal. 42, 2017)
MOST_POINTS = 400  # of a stored curve: neighbours differ by half a percent at most, less than a figure shows
_NORMAL = NormalDist().inv_cdf(0.5 + LEVEL / 2)
_BLOCK = 100  # resamples worked on at once

Floats = NDArray[np.float64]
Weights = NDArray[np.int32]
Groups = NDArray[np.int32] | None

# ---- shares ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """A share: `events` of `trials` cases, which say as much as `effective` independent ones."""

    events: int
    trials: int
    effective: float

    @property
    def value(self) -> float | None:
        """The share; None without cases."""
        return self.events / self.trials if self.trials else None

    def interval(self, level: float = LEVEL) -> Interval | None:
        """Return Wilson's interval for the effective number of trials; None without cases."""
        if self.value is None:
            return None
        low, high = wilson(np.array(self.value), np.array(self.effective), level)
        return Interval(self.value, float(low), float(high), level)

    def to_dict(self) -> dict[str, Any]:
        """Return the record: value, low, high, level (None without cases), events, trials, effective_trials."""
        nothing = {"value": None, "low": None, "high": None, "level": LEVEL}
        counts = {"events": self.events, "trials": self.trials, "effective_trials": self.effective}
        return {**(to_record(self.interval()) or nothing), **counts}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Rate:
        """Return the share of a record; raises KeyError, TypeError or ValueError where it is not one."""
        rate = cls(int(record["events"]), int(record["trials"]), float(record["effective_trials"]))
        if not (0 <= rate.events <= rate.trials and 0 <= rate.effective <= rate.trials):
            raise ValueError(f"{rate.events} of {rate.trials} cases, worth {rate.effective:g}, is no share")
        return rate


def wilson(share: Floats, trials: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the bounds of Wilson's score interval, for any number of shares at once; trials above 0."""
    z2 = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    # At the ends of the scale a bound is the end itself, which rounding would miss by a hair.
    return np.where(share > 0, centre - half, 0.0), np.where(share < 1, centre + half, 1.0)


def effective_trials(share: Floats, draws: Floats, units: int, most: int) -> Floats:
    """Return how many independent trials shares are worth, for the level of `LEVEL`.

    The variance of few groups is itself uncertain; the factor for it is Korn and Graubard's, with Student's t.

    Args:
        share: [...] the shares.
        draws: [R, ...] the same in resamples of whole groups; nan where a resample has no case.
        units: number of groups; what a share is worth that no resample can vary, such as 0 or 1.
        most: number of trials.
    """
    drawn = ~np.isnan(draws)
    count = np.maximum(drawn.sum(axis=0), 1)
    deviation = np.where(drawn, draws - np.where(drawn, draws, 0.0).sum(axis=0) / count, 0.0)
    variance = (deviation**2).sum(axis=0) / np.maximum(count - 1, 1)
    worth = np.divide(share * (1 - share), variance, out=np.zeros(np.shape(share)), where=variance > 0)
    # A resample of n groups varies by (n - 1) / n too little.
    factor = (units - 1) / units * (_NORMAL / student(units - 1)) ** 2 if units > 1 else 0.0
    return np.asarray(np.clip(np.where(worth > 0, worth * factor, units), min(1, most), most))


def student(freedom: int) -> float:
    """Return the quantile of Student's t for `LEVEL`, both tails.

    Source: Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5), within 1 % from 3 degrees of freedom on.
    """
    z = _NORMAL
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def units_of(images: NDArray[np.int32] | NDArray[np.int64], groups: Groups) -> int:
    """Return how many pictures, or groups of pictures, some rows of pictures come from."""
    return len(np.unique(images if groups is None else groups[images]))


def _ratio(events: NDArray[Any], trials: NDArray[Any]) -> Floats:
    return np.asarray(
        np.divide(
            events, trials, out=np.full(np.broadcast_shapes(events.shape, trials.shape), np.nan), where=trials > 0
        )
    )


# ---- pictures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures:
    """What the pictures are and the score that rejects each.

    Args:
        defective: [I] has a box that counts.
        good: [I] has no box at all.
        top: [I] the highest score of its detections; -inf without any.
    """

    defective: NDArray[np.bool_]
    good: NDArray[np.bool_]
    top: Floats

    @classmethod
    def of(cls, table: MatchTable) -> Pictures:
        """Return the pictures of a match table."""
        truth = table.truth
        defective, boxed = (np.zeros(len(truth.image_ids), np.bool_) for _ in range(2))
        defective[truth.image[~truth.ignored]] = True
        boxed[truth.image] = True
        top = np.full(len(defective), -np.inf)
        np.maximum.at(top, table.image, table.score)
        return cls(defective, ~boxed, top)

    @property
    def notes(self) -> tuple[str, ...]:
        """What cannot be said, and why."""
        found = []
        if not self.good.any():
            found.append("no picture is without boxes, so it cannot be said how many good pictures would be rejected")
        if not self.defective.any():
            found.append("no picture has a box, so it cannot be said how many defective pictures would pass")
        return tuple(found)


def picture_rate(events: NDArray[np.bool_], among: NDArray[np.bool_], weights: Weights, groups: Groups) -> Rate:
    """Return the share of some pictures with a property.

    Args:
        events: [I] has the property.
        among: [I] counts.
        weights: [R, I] resamples; used where pictures belong to groups.
        groups: [I] the group of each picture; None for pictures that stand for themselves.
    """
    count, trials = int((events & among).sum()), int(among.sum())
    if groups is None or not trials:
        return Rate(count, trials, float(trials))
    draws = _ratio(weights @ (events & among), weights @ among)
    units = units_of(np.flatnonzero(among), groups)
    return Rate(count, trials, float(effective_trials(np.array(count / trials), draws, units, trials)))


@dataclass(frozen=True)
class RejectionCurve:
    """Escape and overkill over the threshold, P points from "nothing is rejected" to "whatever has a detection is".

    Args:
        pictures: number of pictures, with those set aside.
        defective: number of defective ones.
        good: number of good ones.
        threshold: [P] falling, the first one inf; between two of them other thresholds may lie.
        escape: [3, P] rate, low and high, exact at its threshold; None without defective pictures.
        overkill: [3, P] likewise; None without good pictures.
        notes: what cannot be said, and why.
    """

    pictures: int
    defective: int
    good: int
    threshold: Floats
    escape: Floats | None
    overkill: Floats | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the record; the first threshold, which nothing reaches, is None."""
        columns = {"threshold": [None, *self.threshold[1:].tolist()]}
        for name, rates in (("escape", self.escape), ("overkill", self.overkill)):
            for suffix, row in zip(("", "_low", "_high"), () if rates is None else rates, strict=False):
                columns[name + suffix] = row.tolist()
        counts = {"pictures": self.pictures, "defective": self.defective, "good": self.good}
        return {**counts, "level": LEVEL, "points": columns, "notes": list(self.notes)}


def rejection_curve(table: MatchTable, weights: Weights, groups: Groups = None) -> RejectionCurve:
    """Return escape and overkill over all thresholds, with 95 % intervals of each point.

    Args:
        table: the matches.
        weights: [R, I] resamples; used where pictures belong to groups.
        groups: [I] the group (board, field) of each picture; None for pictures that stand for themselves.
    """
    pictures = Pictures.of(table)
    scores = np.unique(pictures.top[(pictures.defective | pictures.good) & np.isfinite(pictures.top)])[::-1]
    threshold = np.append(np.inf, scores)
    below = [  # [P] how many pictures of each kind pass
        np.searchsorted(np.sort(pictures.top[kind]), threshold) for kind in (pictures.defective, pictures.good)
    ]
    share = sum((passing / max(int(passing[0]), 1) for passing in below), start=np.zeros(len(threshold)))
    steps = np.floor((share[0] - share) / 2 * MOST_POINTS)
    kept = np.unique([0, *np.flatnonzero(np.diff(steps)) + 1, len(threshold) - 1])
    threshold = threshold[kept]
    curves = [
        _rates(pictures.top, kind, threshold, weights, groups) if kind.any() else None
        for kind in (pictures.defective, pictures.good)
    ]
    overkill = None if curves[1] is None else 1 - curves[1][[0, 2, 1]]
    counts = (len(pictures.top), int(pictures.defective.sum()), int(pictures.good.sum()))
    return RejectionCurve(*counts, threshold, curves[0], overkill, pictures.notes)


def _rates(top: Floats, kind: NDArray[np.bool_], threshold: Floats, weights: Weights, groups: Groups) -> Floats:
    """Return [3, P] the share of pictures of a kind that pass, low and high."""
    rows = np.flatnonzero(kind)
    rows = rows[np.argsort(top[rows], kind="stable")]
    below = np.searchsorted(top[rows], threshold)
    share = below / len(rows)
    trials = np.full(len(share), float(len(rows)))
    if groups is not None:
        drawn = np.cumsum(weights[:, rows], axis=1, dtype=np.float64)
        drawn = np.concatenate([np.zeros((len(drawn), 1)), drawn], axis=1)
        trials = effective_trials(share, _ratio(drawn[:, below], drawn[:, -1:]), units_of(rows, groups), len(rows))
    return np.stack([share, *wilson(share, trials)])


# ---- boxes -----------------------------------------------------------------------------------------------------------


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
            found[first : first + _BLOCK] = _ratio(np.take_along_axis(drawn, hits, axis=1), boxes[:, None])
        return found

    def _alarms_within(self, block: Weights) -> NDArray[np.int64]:
        """Return [r, 7] how many false alarms can be let through, counted with the weights of their pictures."""
        bounds = np.array(FALSE_ALARMS) * block.sum(axis=1)[:, None]
        # Far down the list no false alarm is within the bounds any more: most of the list is not needed.
        drawn = np.cumsum(block[:, self.alarms[: int(1.5 * FALSE_ALARMS[-1] * block.shape[1])]], axis=1)
        if drawn.shape[1] < len(self.alarms) and (drawn[:, -1] <= bounds[:, -1]).any():
            drawn = np.cumsum(block[:, self.alarms], axis=1)
        return np.stack([np.searchsorted(row, bound, side="right") for row, bound in zip(drawn, bounds, strict=True)])
