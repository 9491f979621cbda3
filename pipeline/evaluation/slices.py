"""mAP of parts of the pictures: by group, by tag, by any column; and which part is worse than the rest beyond noise.

Nothing is matched again: a picture's matches do not depend on other pictures, so a part of the match table is the match
table of a part. The figures are those of `intervals.resampled_map` with the weights of all other pictures at 0.

A slice and the rest share no picture, so the shifts of the resamples do not cancel in their difference as they do for
two detectors on the same pictures; the smaller part is shifted more. So the interval is the normal one around the value
minus the resamples' shift. How often it calls a slice worse that is not, and finds one that is, stands in
`docs/benchmarks/slices.md`: seldom, and not often. No finding is no proof that all slices are alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..findings import Finding
from .average_precision import scores
from .intervals import LEVEL, Interval, class_mean, mean_interval, resampled_map, to_record
from .matching import IOU50, MatchTable
from .metrics import FEW_BOXES
from .rates import units_drawn

MOST = 20  # slices that are measured: a longer table is not read
# Pictures or groups in a slice; with 10, false alarms were more than what is due (docs/benchmarks/slices.md).
FEWEST_UNITS = 15


@dataclass(frozen=True)
class Slice:
    """A part of the pictures.

    Args:
        name: the label that its pictures share.
        images: number of pictures.
        boxes: number of boxes that count.
        map50_95, map50: None without boxes; the bounds are nan where the slice is a single picture or group of
            pictures, which says nothing of others.
    """

    name: str
    images: int
    boxes: int
    map50_95: Interval | None
    map50: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record fit for JSON: the figures, and their intervals where there are any."""
        return {
            "name": self.name,
            "images": self.images,
            "boxes": self.boxes,
            "map50_95": None if self.map50_95 is None else self.map50_95.value,
            "map50": None if self.map50 is None else self.map50.value,
            "intervals": {"map50_95": to_record(self.map50_95), "map50": to_record(self.map50)},
        }


@dataclass(frozen=True)
class Slices:
    """The slices by one column.

    Args:
        column: what the pictures are sliced by.
        rows: the largest slices, by number of pictures and then by name; at most `MOST`.
        left_out: number of smaller slices, which are not measured.
        findings: one for every slice that is worse than the rest beyond noise, the worst first.
    """

    column: str
    rows: tuple[Slice, ...]
    left_out: int
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the record fit for JSON."""
        return {"column": self.column, "rows": [row.to_dict() for row in self.rows], "left_out": self.left_out}


def slices(
    table: MatchTable, labels: Sequence[str | None], weights: NDArray[np.int32], *, column: str = "group"
) -> Slices:
    """Measure the pictures of each label on their own, and compare them with all other pictures.

    Args:
        table: the matches of I pictures.
        labels: [I] of each picture in the order of its id; pictures without one (None) are in no slice, but among the
            others of each.
        weights: [R, I] resamples of the pictures. For slices by group they should have drawn pictures: a group drawn as
            a whole is the same in all resamples and has no interval.
        column: what the labels are, for the findings.
    """
    largest = sorted(
        Counter(label for label in labels if label is not None).items(), key=lambda item: (-item[1], item[0])
    )
    measured = [name for name, _ in largest[:MOST]]
    together = np.vstack([np.ones((1, weights.shape[1]), weights.dtype), weights])  # the first gives the plain figures
    rows: list[Slice] = []
    worse: list[tuple[float, Finding]] = []
    for name in measured:
        chosen = np.array([label == name for label in labels], dtype=np.bool_)
        draws = resampled_map(part_of(table, chosen), together)
        units = units_drawn(weights[:, chosen])
        rows.append(_row(table, name, chosen, draws, units))
        if rows[-1].boxes < FEW_BOXES or units < FEWEST_UNITS or chosen.all():
            continue
        difference = _worse(draws, part_of(table, ~chosen), weights, len(measured))
        if difference is not None:
            worse.append((difference.value, _finding(column, rows[-1], difference)))
    worse.sort(key=lambda item: item[0])
    return Slices(column, tuple(rows), len(largest) - len(measured), tuple(finding for _, finding in worse))


def part_of(table: MatchTable, chosen: NDArray[np.bool_]) -> MatchTable:
    """Return the match table of some of the pictures, over all sizes.

    Args:
        table: the matches of I pictures.
        chosen: [I] the pictures to keep; the boxes of the others no longer count.
    """
    keep = chosen[table.image]
    finders = keep[table.finders]
    return replace(
        table,
        ranges=table.ranges[:1],
        order=table.order[keep],
        rank=table.rank[keep],
        inside=table.inside[:1, keep],
        ignored_truth=table.ignored_truth[:1] | ~chosen[table.truth.image],
        finders=(np.cumsum(keep) - 1)[table.finders[finders]],
        found=table.found[:1, :, finders],
    )


def _row(table: MatchTable, name: str, chosen: NDArray[np.bool_], draws: NDArray[np.float64], units: int) -> Slice:
    """Return the figures of a slice; `draws` is [1 + R, T, K], the plain figures first."""
    boxes = int((chosen[table.truth.image] & ~table.ignored_truth[0]).sum())
    figures = (class_mean(draws).mean(axis=1), class_mean(draws[:, IOU50]))
    intervals = [mean_interval(float(figure[0]), figure[1:], units=units) for figure in figures]
    return Slice(name, int(chosen.sum()), boxes, *(intervals if boxes else (None, None)))


def _worse(draws: NDArray[np.float64], rest: MatchTable, weights: NDArray[np.int32], count: int) -> Interval | None:
    """Return the difference of mAP50-95, slice minus rest, if it is below 0 beyond noise.

    With many slices some would be worse by chance, so the bound is that of all `count` of them together (Bonferroni).
    The rest is the costly part to resample, and its noise only widens the interval: it is left alone where the slice's
    own noise explains the difference already.
    """
    values = scores(rest).precision[0]
    if _bound(_differences(draws, np.broadcast_to(values, draws.shape)), count) >= 0:
        return None
    others = np.concatenate([values[None], resampled_map(rest, weights)])
    differences = _differences(draws, others)
    if _bound(differences, count) >= 0:
        return None
    value, centre, deviation = _summary(differences)
    half = NormalDist().inv_cdf(0.5 + LEVEL / 2) * deviation
    return Interval(value, centre - half, centre + half)


def _differences(draws: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [1 + R] slice minus rest, over the classes that both have: hard classes alone make no slice worse."""
    return np.asarray(class_mean(draws - others).mean(axis=1))


def _summary(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the plain difference, the same without the resamples' shift, and its standard deviation."""
    value, resampled = float(differences[0]), differences[1:][~np.isnan(differences[1:])]
    if np.isnan(value) or len(resampled) < 2:
        return float("nan"), float("nan"), float("nan")
    return value, 2 * value - float(resampled.mean()), float(resampled.std(ddof=1))


def _bound(differences: NDArray[np.float64], count: int) -> float:
    """Return the upper bound of the difference, held for `count` comparisons at once; infinite where it is unknown."""
    value, centre, deviation = _summary(differences)
    if np.isnan(value):
        return float("inf")
    return max(value, centre + NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / count) * deviation)


def _finding(column: str, row: Slice, difference: Interval) -> Finding:
    value = row.map50_95.value if row.map50_95 is not None else None
    return Finding(
        id="evaluation.worse_slice",
        severity="warning",
        message=(
            f"{column} '{row.name}' is worse than the other pictures: {100 * difference.value:+.1f} points of mAP50-95 "
            f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}] on {row.images} pictures"
        ),
        evidence={
            "column": column,
            "slice": row.name,
            "images": row.images,
            "boxes": row.boxes,
            "map50_95": value,
            "difference": difference.to_dict(),
        },
        advice="look at its pictures and labels first (light, focus, another labeller), then train with more like them",
    )
