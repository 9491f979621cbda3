"""What fixed thresholds do on the pictures of a split: escape and overkill, recall and precision of every class.

A box is found at IoU 0.50. Shares have the interval of `rates.py`, for boxes of one picture, and pictures of one board,
that are no independent trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inspection import Pictures, picture_rate
from .matching import IOU50, MatchTable
from .outcomes import Outcomes
from .rates import Floats, Groups, Rate, Weights, effective_trials, units_of
from .weighted_sums import weighted_sums

PLACES = {  # of the rates in the record of `Figures`
    "escape rate": ("escape",),
    "overkill rate": ("overkill",),
    "recall": ("boxes", "recall"),
    "precision": ("boxes", "precision"),
}
_CELLS = 1_000_000  # pictures times classes that are counted at once; bounds the memory


@dataclass(frozen=True)
class BoxFigures:
    """What thresholds do to the boxes of a class, or of all: recall, precision, and the false alarms per picture."""

    recall: Rate
    precision: Rate
    false_alarms: float

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall, 0 without detections; None without boxes."""
        wrong = self.precision.trials - self.precision.events
        found = self.recall.events
        return 2 * found / (self.recall.trials + found + wrong) if self.recall.trials else None

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        rates = {"recall": self.recall.to_dict(), "precision": self.precision.to_dict()}
        return {**rates, "f1": self.f1, "false_alarms_per_picture": self.false_alarms}


@dataclass(frozen=True)
class Figures:
    """What fixed thresholds do on a split.

    Args:
        pictures: number of pictures, with those set aside (nothing but ignored boxes).
        escape: defective pictures without any detection that reaches its threshold.
        overkill: good pictures with one.
        by_luck: defective pictures that are rejected although none of their defects is found.
        boxes: all classes together.
        per_class: by name.
        notes: what cannot be said, and why.
    """

    pictures: int
    escape: Rate
    overkill: Rate
    by_luck: int
    boxes: BoxFigures
    per_class: Mapping[str, BoxFigures]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {
            "pictures": self.pictures,
            "escape": self.escape.to_dict(),
            "overkill": self.overkill.to_dict(),
            "rejected_by_luck": self.by_luck,
            "boxes": self.boxes.to_dict(),
            "per_class": [{"name": name, **figures.to_dict()} for name, figures in self.per_class.items()],
            "notes": list(self.notes),
        }


def figures_at(table: MatchTable, thresholds: Floats, weights: Weights, groups: Groups = None) -> Figures:
    """Return what thresholds [K], one for each class, do on the pictures of a match table.

    Args:
        table: the matches.
        thresholds: [K] a detection is kept when its score reaches that of its class.
        weights: [R, I] resamples for the intervals.
        groups: [I] the group (board, field) of each picture; None for pictures that stand for themselves.
    """
    outcomes, pictures = table.outcomes(IOU50), Pictures.of(table)
    kept = outcomes.score >= thresholds[outcomes.class_id]
    rejected, found = np.zeros((2, len(pictures.top)), np.bool_)
    rejected[outcomes.image[kept]] = True
    found[outcomes.image[kept & outcomes.hit]] = True
    boxes, per_class = _box_figures(outcomes, kept & ~outcomes.ignored, weights, groups)
    return Figures(
        pictures=len(rejected),
        escape=picture_rate(~rejected, pictures.defective, weights, groups),
        overkill=picture_rate(rejected, pictures.good, weights, groups),
        by_luck=int((rejected & ~found & pictures.defective).sum()),
        boxes=boxes,
        per_class=dict(zip(table.truth.names, per_class, strict=True)),
        notes=pictures.notes,
    )


def _box_figures(
    outcomes: Outcomes, kept: NDArray[np.bool_], weights: Weights, groups: Groups
) -> tuple[BoxFigures, list[BoxFigures]]:
    """Return the figures of all classes together and of each."""
    images, drawn = weights.shape[1], weights.astype(np.float64)
    hit = kept & outcomes.hit
    places = (  # found, kept and true boxes
        (outcomes.image[hit], outcomes.class_id[hit]),
        (outcomes.image[kept], outcomes.class_id[kept]),
        (outcomes.truth_image, outcomes.truth_class),
    )
    whole = np.stack([np.bincount(image, minlength=images) for image, _ in places], axis=1).astype(np.float64)
    together = _figures_of(whole, weighted_sums(drawn, whole), groups)
    found: list[BoxFigures] = []
    at_once = max(1, _CELLS // images)
    for first in range(0, outcomes.classes, at_once):
        count = min(at_once, outcomes.classes - first)
        block = np.zeros((images, 3, count))
        for i, (image, class_id) in enumerate(places):
            inside = (class_id >= first) & (class_id < first + count)
            np.add.at(block[:, i], (image[inside], class_id[inside] - first), 1.0)
        resampled = weighted_sums(drawn, block.reshape(images, -1)).reshape(-1, 3, count)
        found += [_figures_of(block[:, :, k], resampled[:, :, k], groups) for k in range(count)]
    return together, found


def _figures_of(counts: Floats, drawn: Floats, groups: Groups) -> BoxFigures:
    """Return the figures from [I, 3] found, kept and true boxes per picture and their sums [R, 3] in resamples."""
    rates = []
    for trials in (2, 1):
        events, cases = int(counts[:, 0].sum()), int(counts[:, trials].sum())
        draws = np.divide(drawn[:, 0], drawn[:, trials], out=np.full(len(drawn), np.nan), where=drawn[:, trials] > 0)
        units = units_of(np.flatnonzero(counts[:, trials]), groups)
        share = np.array(events / max(cases, 1))
        rates.append(Rate(events, cases, float(effective_trials(share, draws, units, cases))))
    wrong = rates[1].trials - rates[1].events
    return BoxFigures(rates[0], rates[1], wrong / max(len(counts), 1))


def rate_of(figures: Mapping[str, Any], place: Sequence[str]) -> Rate:
    """Return a rate out of the record of `Figures`; raises KeyError, TypeError or ValueError where there is none.

    Args:
        figures: the record.
        place: the keys that lead to the rate, one of `PLACES`.
    """
    for key in place:
        figures = figures[key]
    return Rate.from_dict(figures)
