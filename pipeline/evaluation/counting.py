"""The grower's view: how well the number of detections tells the number of objects in a picture.

The error of a picture is the number of detections that reach the threshold minus the number of boxes; detections on
ignored boxes, and these boxes, count on neither side. MAE is the mean of its size, RMSE the root of its mean square,
bias its mean. The relative error is that of the total (the sum of the errors over the number of boxes) and the mean
over the pictures with boxes of |error| / boxes.

Intervals: the deviation comes from random halves of the pictures, or groups of them, widened as Student's t is for
their number. Signed figures have a symmetric interval, figures that cannot be negative one on the logarithmic scale:
errors are skewed, and with few pictures the usual percentile interval covers far too rarely
(`docs/benchmarks/inspection.md`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import LEVEL, Interval, to_record
from .matching import IOU50, MatchTable
from .rates import Floats, Groups, Weights, student, units_of
from .weighted_sums import weighted_sums

_SIGNED = ("bias", "relative_total")
_CELLS = 150_000  # pictures times classes that are counted at once; bounds the memory
FIGURES = ("mae", "rmse", *_SIGNED, "relative_mean")


@dataclass(frozen=True)
class CountFigures:
    """How wrong the counts of a class are, or of all classes together.

    Args:
        boxes: objects in all pictures.
        predicted: detections in all pictures.
        values: by name of `FIGURES`; None where it is not defined (no boxes), nan bounds where there is no interval.
        scatter: [n, 3] objects, detections, and how many pictures have just these; by objects, then detections.
    """

    boxes: int
    predicted: int
    values: Mapping[str, Interval | None]
    scatter: NDArray[np.int64]

    def to_dict(self) -> dict[str, Any]:
        """Return the record; a figure without an interval has None for its bounds."""
        bare = {"low": None, "high": None, "level": LEVEL}
        figures = {
            name: None if found is None else to_record(found) or {"value": found.value, **bare}
            for name, found in self.values.items()
        }
        return {"boxes": self.boxes, "predicted": self.predicted, **figures, "scatter": self.scatter.tolist()}


@dataclass(frozen=True)
class Counting:
    """The counts of a split at fixed thresholds.

    Args:
        pictures: number of pictures.
        total: all classes together; errors of one class may make up for those of another.
        per_class: by name.
        notes: what to keep in mind.
    """

    pictures: int
    total: CountFigures
    per_class: Mapping[str, CountFigures]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        rows = [{"name": name, **figures.to_dict()} for name, figures in self.per_class.items()]
        return {"pictures": self.pictures, "total": self.total.to_dict(), "per_class": rows, "notes": list(self.notes)}


def counting(table: MatchTable, thresholds: Floats, weights: Weights, groups: Groups = None) -> Counting:
    """Return the count errors of a match table.

    Args:
        table: the matches.
        thresholds: [K] a detection is counted when its score reaches that of its class.
        weights: [R, I] resamples of the pictures.
        groups: [I] the group (board, field) of each picture; None for pictures that stand for themselves.
    """
    outcomes, images = table.outcomes(IOU50), len(table.truth.image_ids)
    kept = ~outcomes.ignored & (outcomes.score >= thresholds[outcomes.class_id])
    units = units_of(np.arange(images), groups)
    classes: list[int | None] = [None, *range(outcomes.classes)]
    found: list[CountFigures] = []
    at_once = max(1, _CELLS // images)
    for first in range(0, len(classes), at_once):
        pairs = []
        for k in classes[first : first + at_once]:
            detections = kept if k is None else kept & (outcomes.class_id == k)
            boxes = outcomes.truth_image if k is None else outcomes.truth_image[outcomes.truth_class == k]
            predicted = np.bincount(outcomes.image[detections], minlength=images)
            pairs.append((np.bincount(boxes, minlength=images), predicted))
        found += count_figures(pairs, weights, units)
    per_class = dict(zip(table.truth.names, found[1:], strict=True))
    return Counting(images, found[0], per_class, _notes(table, found[0]))


def _notes(table: MatchTable, total: CountFigures) -> tuple[str, ...]:
    notes = []
    key = table.detections.class_id.astype(np.int64) * len(table.truth.image_ids) + table.detections.image
    full = int((np.unique(key, return_counts=True)[1] > table.limit).sum())
    if full:
        notes.append(
            f"{full} times a picture has more than {table.limit} detections of a class, and no more are counted; raise "
            "the limit of the evaluation for dense pictures"
        )
    if not total.boxes:
        notes.append("no picture has a box, so there is no relative error")
    return tuple(notes)


def count_figures(
    pairs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], weights: Weights, units: int
) -> list[CountFigures]:
    """Return the figures of several counts of the same pictures.

    Args:
        pairs: objects and detections, [I] each.
        weights: [R, I] resamples.
        units: how many pictures, or groups of them, the resamples draw from.
    """
    sums = [_sums(*pair) for pair in pairs]
    drawn = weighted_sums(weights.astype(np.float64), np.concatenate(sums, axis=1))
    found = []
    for (true, predicted), own, resampled in zip(pairs, sums, np.split(drawn, len(pairs), axis=1), strict=True):
        value, draws = _figures(own.sum(axis=0)), _figures(resampled)
        values = {name: _interval(name, float(value[name]), draws[name], units) for name in FIGURES}
        width = int(predicted.max()) + 1
        cells, pictures = np.unique(true * width + predicted, return_counts=True)
        scatter = np.column_stack([cells // width, cells % width, pictures]).astype(np.int64)
        found.append(CountFigures(int(true.sum()), int(predicted.sum()), values, scatter))
    return found


def _sums(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> Floats:
    """Return [I, 7] what each picture adds to the sums that the figures are made of."""
    error = (predicted - true).astype(np.float64)
    share = np.divide(np.abs(error), true, out=np.zeros(len(true)), where=true > 0)
    return np.stack([np.ones(len(true)), np.abs(error), error**2, error, true, share, true > 0], axis=1)


def _figures(sums: Floats) -> dict[str, Floats]:
    """Return the figures from [..., 7] sums over the pictures; nan where one is not defined."""
    pictures, size, square, error, boxes, share, boxed = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "mae": size / pictures,
            "rmse": np.sqrt(square / pictures),
            "bias": error / pictures,
            "relative_total": np.where(boxes > 0, error / boxes, np.nan),
            "relative_mean": np.where(boxed > 0, share / boxed, np.nan),
        }


def _interval(name: str, value: float, draws: Floats, units: int) -> Interval | None:
    """Return the interval of a figure; without bounds where the pictures say nothing of how it varies."""
    draws = draws[np.isfinite(draws)]
    if math.isnan(value):
        return None
    deviation = float(draws.std(ddof=1)) if len(draws) > 1 else 0.0
    if units < 2 or deviation == 0:
        return Interval(value, math.nan, math.nan)
    half = student(units - 1) * deviation
    if name in _SIGNED:
        return Interval(value, value - half, value + half)
    factor = math.exp(min(half / value, 100.0)) if value > 0 else 1.0
    return Interval(value, value / factor, value * factor)


# ---- a threshold for counting ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unbiased:
    """Thresholds at which as many detections are left as there are objects; None where no threshold leaves so many.

    Args:
        overall: for all classes together.
        per_class: by name; None for a class without boxes, too.
    """

    overall: float | None
    per_class: Mapping[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {"overall": self.overall, "per_class": dict(self.per_class)}


def unbiased_thresholds(table: MatchTable) -> Unbiased:
    """Return the thresholds at which the counts of a split are right in total: a suggestion for those who count.

    Misses and false alarms still occur, they make up for each other. Choose on val, and read the bias off test.
    """
    outcomes = table.outcomes(IOU50)
    score = np.where(outcomes.ignored, -np.inf, outcomes.score)
    boxes = np.bincount(outcomes.truth_class, minlength=outcomes.classes)
    per_class = [_unbiased(score[part], int(count)) for part, count in zip(outcomes.slices(), boxes, strict=True)]
    return Unbiased(_unbiased(score, int(boxes.sum())), dict(zip(table.truth.names, per_class, strict=True)))


def _unbiased(score: Floats, boxes: int) -> float | None:
    """Return the threshold that the number of scores nearest to `boxes` reach; of two as near the higher."""
    score = np.sort(score[np.isfinite(score)])[::-1]
    if not boxes or len(score) < boxes:
        return None
    kept = np.flatnonzero(np.diff(score, append=-np.inf)) + 1  # equal scores cannot be divided by a threshold
    last = int(kept[int(np.argmin(np.abs(kept - boxes)))])
    middle = (score[last - 1] + score[last]) / 2 if last < len(score) else score[last - 1]
    return float(middle if last == len(score) or middle > score[last] else score[last - 1])
