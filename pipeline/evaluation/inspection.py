"""The inspector's view: how many defective pieces pass, how many good ones are rejected, and at which threshold.

A picture is *defective* when it has a box that counts, *good* when it has no box at all; one with nothing but ignored
boxes is set aside, as such boxes are never held against anyone. A picture is *rejected* when a detection of any class
reaches the threshold. Escape rate: defective pictures that pass. Overkill rate: good pictures that are rejected.

Every share has the interval of `rates.py`. What it covers: `docs/benchmarks/inspection.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import LEVEL
from .matching import MatchTable
from .rates import MOST_POINTS, Floats, Groups, Rate, Weights, effective_trials, ratio, units_of, wilson


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
    draws = ratio(weights @ (events & among), weights @ among)
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
        trials = effective_trials(share, ratio(drawn[:, below], drawn[:, -1:]), units_of(rows, groups), len(rows))
    return np.stack([share, *wilson(share, trials)])
