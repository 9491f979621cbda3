"""Rates with their intervals: Wilson's, for as many independent trials as the pictures are worth.

Every share here is a proportion and has Wilson's score interval (Wilson 1927), because it holds its level for few
pictures and for shares near 0 and 1, where inspection lives: the normal interval of "none of 40 escaped" has no width
(Brown, Cai and DasGupta, Statistical Science 16, 2001). Boxes of one picture, and pictures of one board, are no
independent trials. There the interval is made for the effective number of trials, p (1 - p) over the variance of the
share (Korn and Graubard, Survey Methodology 24, 1998; recommended with Wilson's interval by Franco et al., J. Surv.
Stat. Methodol. 7, 2019). The variance is that of random halves of the pictures or boards (`intervals.image_weights`),
which needs no correction for their number. What it covers: `docs/benchmarks/inspection.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import LEVEL, Interval, student_quantile, to_record

MOST_POINTS = 400  # of a stored curve: neighbours differ by half a percent at most, less than a figure shows
_NORMAL = NormalDist().inv_cdf(0.5 + LEVEL / 2)

Floats = NDArray[np.float64]
Weights = NDArray[np.int32]
Groups = NDArray[np.int32] | None


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
        draws: [R, ...] the same in the resamples of `intervals.image_weights`; nan where a resample has no case.
        units: number of groups; what a share is worth that no resample can vary, such as 0 or 1.
        most: number of trials.
    """
    drawn = ~np.isnan(draws)
    count = np.maximum(drawn.sum(axis=0), 1)
    deviation = np.where(drawn, draws - np.where(drawn, draws, 0.0).sum(axis=0) / count, 0.0)
    variance = (deviation**2).sum(axis=0) / np.maximum(count - 1, 1)
    worth = np.divide(share * (1 - share), variance, out=np.zeros(np.shape(share)), where=variance > 0)
    factor = (_NORMAL / student(units - 1)) ** 2 if units > 1 else 0.0
    return np.asarray(np.clip(np.where(worth > 0, worth * factor, units), min(1, most), most))


def student(freedom: int) -> float:
    """Return the quantile of Student's t for `LEVEL`, both tails, and 1 or more degrees of freedom."""
    return student_quantile(0.5 + LEVEL / 2, freedom + 1)


def units_of(images: NDArray[np.int32] | NDArray[np.int64], groups: Groups) -> int:
    """Return how many pictures, or groups of pictures, some rows of pictures come from."""
    return len(np.unique(images if groups is None else groups[images]))


def units_drawn(weights: Weights) -> int:
    """Return how many pictures, or groups, [R, n] resamples drew independently: pictures of a group weigh the same."""
    probe = np.random.default_rng(0).integers(1, 2**40, len(weights))
    return len(np.unique(probe @ weights.astype(np.int64)))


def ratio(events: NDArray[Any], trials: NDArray[Any]) -> Floats:
    """Return events over trials; nan where there are no trials."""
    return np.asarray(
        np.divide(
            events, trials, out=np.full(np.broadcast_shapes(events.shape, trials.shape), np.nan), where=trials > 0
        )
    )


def percent(share: float) -> str:
    """Return a share in percent, three digits of it."""
    return f"{100 * share:.3g} %"
