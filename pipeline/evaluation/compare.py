"""Two detectors on the same pictures: which one is better, and by how much more than chance.

Both are resampled with the same weights, so that what makes a picture hard for both cancels out; the interval of the
difference is several times narrower than the two intervals laid side by side would suggest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .average_precision import mean, scores
from .intervals import LEVEL, Interval, class_mean, percentile_interval, resampled_map, to_record
from .matching import IOU50, MatchTable
from .metrics import FEW_BOXES

BETTER, WORSE, NOISE, FEW, UNKNOWN = "better", "worse", "within noise", "too few boxes", "not measured"
# A study of this size sees the difference in 4 of 5 cases (power 0.8): Cohen, Statistical Power Analysis (1988).
_POWER = 0.8
MOST_UNITS = 1_000_000  # beyond it nobody will collect them; the sentence then says that the two are alike


@dataclass(frozen=True)
class Difference:
    """One figure of two detectors: `difference` is the second minus the first."""

    name: str
    first: float | None
    second: float | None
    difference: Interval | None
    verdict: str
    boxes: int
    units_needed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record fit for JSON."""
        return {**asdict(self), "difference": to_record(self.difference)}


@dataclass(frozen=True)
class Comparison:
    """The second detector against the first.

    Args:
        first, second: how the two are called.
        overall: differences of `map50_95` and `map50`.
        classes: differences of each class's AP50-95. With many classes some would differ by chance, so a class is
            called better or worse only beyond the stricter bound of all of them together (Bonferroni), and only with
            `FEW_BOXES` boxes or more.
        images: number of pictures.
        unit: what was drawn: picture or group.
        units: how many of these there are.
    """

    first: str
    second: str
    overall: tuple[Difference, ...]
    classes: tuple[Difference, ...]
    images: int
    unit: str
    units: int

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `within noise` by mAP50-95; `not measured` without ground truth."""
        return self.overall[0].verdict

    def words(self) -> str:
        """Return the verdict as one plain sentence."""
        main = self.overall[0]
        if main.difference is None:
            return "nothing to compare: the ground truth has no boxes"
        points = (
            f"{100 * main.difference.value:+.1f} points of mAP50-95 "
            f"[{100 * main.difference.low:+.1f}, {100 * main.difference.high:+.1f}]"
        )
        if main.verdict != NOISE:
            return f"{self.second} is {main.verdict} than {self.first}: {points} on {self.images} pictures"
        if main.units_needed is None:
            return f"within noise: {points}; the two are alike on these {self.images} pictures"
        more = f"{_rounded(main.units_needed - self.units):,} more {self.unit}s"
        return (
            f"within noise: {points}; about {more} would show a difference of this size in 4 of 5 cases "
            f"({self.units} now)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the record fit for JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "verdict": self.verdict,
            "words": self.words(),
            "images": self.images,
            "unit": self.unit,
            "units": self.units,
            "overall": [row.to_dict() for row in self.overall],
            "per_class": [row.to_dict() for row in self.classes],
        }


def compare_tables(
    first: MatchTable,
    second: MatchTable,
    weights: NDArray[np.int32],
    names: Sequence[str],
    *,
    unit: str = "picture",
    units: int | None = None,
) -> Comparison:
    """Compare two detectors on the same ground truth.

    Args:
        first, second: their match tables.
        weights: [R, I] resamples of the pictures.
        names: how the two are called.
        unit: what the weights drew, picture or group.
        units: how many of them there are; None for as many as pictures.

    Raises:
        DataError: the tables are not of the same ground truth.
    """
    _check_same(first, second)
    values = [scores(table).precision[0] for table in (first, second)]  # [T, K] each
    draws = [resampled_map(table, weights) for table in (first, second)]  # [R, T, K] each
    counted = ~first.truth.ignored
    boxes = np.bincount(first.truth.class_id[counted], minlength=len(first.truth.names))
    images = len(first.truth.image_ids)
    units = images if units is None else units
    overall = (
        _difference(
            "map50_95", [mean(v) for v in values], [class_mean(d).mean(axis=1) for d in draws], int(boxes.sum()), units
        ),
        _difference(
            "map50",
            [mean(v[IOU50]) for v in values],
            [class_mean(d[:, IOU50]) for d in draws],
            int(boxes.sum()),
            units,
        ),
    )
    present = int((boxes > 0).sum())
    classes = tuple(
        _strict(
            _difference(
                name,
                [mean(v[:, k]) for v in values],
                [d[:, :, k].mean(axis=1) for d in draws],
                int(boxes[k]),
                units,
            ),
            present,
        )
        for k, name in enumerate(first.truth.names)
    )
    return Comparison(names[0], names[1], overall, classes, images, unit, units)


def _check_same(first: MatchTable, second: MatchTable) -> None:
    a, b = first.truth, second.truth
    same = (
        a.names == b.names
        and np.array_equal(a.image_ids, b.image_ids)
        and np.array_equal(a.image, b.image)
        and np.array_equal(a.class_id, b.class_id)
        and np.array_equal(a.xyxy, b.xyxy)
        and np.array_equal(a.ignored, b.ignored)
    )
    if not same:
        raise DataError("the two are not measured on the same pictures and boxes, so they cannot be compared")


def _difference(
    name: str, values: Sequence[float | None], draws: Sequence[NDArray[np.float64]], boxes: int, units: int
) -> Difference:
    first, second = values
    if first is None or second is None:
        return Difference(name, first, second, None, UNKNOWN, boxes)
    interval = percentile_interval(second - first, draws[1] - draws[0], units=units)
    if math.isnan(interval.low):
        return Difference(name, first, second, None, UNKNOWN, boxes)
    # The middle of the resamples can lie off the difference; both must be on the same side of nothing.
    verdict = NOISE
    if interval.low > 0 and interval.value > 0:
        verdict = BETTER
    elif interval.high < 0 and interval.value < 0:
        verdict = WORSE
    needed = units_needed(interval, units) if verdict == NOISE else None
    return Difference(name, first, second, interval, verdict, boxes, needed)


def units_needed(interval: Interval, units: int) -> int | None:
    """Return how many pictures or groups would show a difference of this size in 4 of 5 cases; None for next to none.

    The width of the interval falls with the square root of their number.
    """
    z = NormalDist().inv_cdf(0.5 + interval.level / 2)
    deviation = interval.width / (2 * z)
    if interval.value == 0 or deviation == 0:
        return None
    needed = units * ((z + NormalDist().inv_cdf(_POWER)) * deviation / abs(interval.value)) ** 2
    return None if needed > MOST_UNITS else max(math.ceil(needed), units + 1)


def _strict(row: Difference, classes: int) -> Difference:
    """Return the row with its verdict held to the bound for `classes` comparisons at once."""
    if row.difference is None or row.verdict == NOISE:
        return row
    if row.boxes < FEW_BOXES:
        return replace(row, verdict=FEW)
    plain, strict = (NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / n) for n in (1, max(classes, 1)))
    deviation = row.difference.width / (2 * plain)
    if abs(row.difference.value) >= strict * deviation:
        return row
    return replace(row, verdict=NOISE)


def _rounded(number: int) -> int:
    """Return the number with one or two digits that mean something."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return max(1, round(number / unit) * unit)
