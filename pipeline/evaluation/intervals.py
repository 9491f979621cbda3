"""How sure a figure is: resampling of pictures, by weights on the match table instead of copies of pictures.

A resample is half of the pictures, drawn anew each time; each counts twice. The spread of a mean over random halves is
that of the mean over all pictures itself: S^2 / (n / 2) * (1 - 1 / 2) = S^2 / n (McCarthy 1969, half-samples; Shao and
Wu 1989, jackknife that leaves out many at once). The usual bootstrap draws with replacement, and a picture that is
drawn twice repeats its scores, which makes average precision look steadier than it is: with 50 pictures of five classes
its spread is 6 % too small and its best interval holds the truth in 0.90 to 0.91 of the cases. Average precision with
weights equals that of a copied set to the last digits (`tests/unit/evaluation/test_intervals.py`), at a small part of
the cost, because nothing is matched.

Which interval is right for which figure was measured too (`benchmarks/coverage.py`, `docs/benchmarks/coverage.md`). For
one mAP the usual percentile interval covers the truth too rarely, as small sets score too high and the resamples shift
the same way again; the normal interval around the value minus that shift holds what it promises. For the difference of
two detectors on the same pictures the shifts cancel and the percentile interval is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .average_precision import RECALLS
from .matching import MatchTable
from .outcomes import Outcomes
from .weighted_sums import weighted_sums

LEVEL = 0.95
RESAMPLES = 1000
# Cells of a table of places and pictures, per detection, up to which a product of matrices counts faster than adding up
# rows does; measured, break-even at about 200.
_PRODUCT = 100
_BLOCK = 250  # resamples worked on at once: a row of them stays in the processor's cache


@dataclass(frozen=True)
class Interval:
    """A figure and the range in which its true value lies with the probability `level`."""

    value: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def width(self) -> float:
        """The length of the range."""
        return self.high - self.low

    def to_dict(self) -> dict[str, float]:
        """Return the record as it stands in `metrics.json`."""
        return {"value": self.value, "low": self.low, "high": self.high, "level": self.level}


def image_weights(
    images: int, resamples: int = RESAMPLES, *, groups: NDArray[np.int32] | None = None, seed: int = 0
) -> NDArray[np.int32]:
    """Return [R, I] the weight of each picture in each resample: 2 for a random half of them, 0 for the others.

    Of an odd number every other resample draws one more than the half and the rest one less, so that the mean weight
    is 1.

    Args:
        images: I, the number of pictures.
        resamples: R.
        groups: [I] number of the group of each picture; half of the groups are drawn, each as a whole, because pictures
            of one board or field are alike and say less than as many pictures of different ones.
        seed: the same seed gives the same weights.
    """
    group = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(group.max(initial=-1)) + 1
    drawn = np.zeros((resamples, units), np.int32)
    drawn[0::2, : units // 2] = 2
    drawn[1::2, : (units + 1) // 2] = 2
    np.random.default_rng(seed).permuted(drawn, axis=1, out=drawn)
    return drawn if groups is None else drawn[:, group]


def resampled_ap(outcomes: Outcomes, weights: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return [R, K] average precision with pictures weighted, nan where a class has no box in a resample.

    Args:
        outcomes: at one IoU threshold.
        weights: [R, I] whole numbers; all ones give the plain figure, 0 and 1 that of a part of the pictures.
    """
    return _resampled_ap([outcomes], weights)[:, 0]


def resampled_map(table: MatchTable, weights: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return [R, T, K] average precision of a match table, all sizes, with pictures weighted as in `resampled_ap`."""
    return _resampled_ap([table.outcomes(t) for t in range(len(table.thresholds))], weights)


def _resampled_ap(outcomes: Sequence[Outcomes], weights: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return [R, T, K]; the outcomes are those of the same detections at T thresholds."""
    classes = outcomes[0].classes
    found = np.full((len(weights), len(outcomes), classes), np.nan)
    truth = outcomes[0]
    for first in range(0, len(weights), _BLOCK):
        block = np.ascontiguousarray(weights[first : first + _BLOCK].T.astype(np.int32))  # [I, r]
        for k, part in enumerate(truth.slices()):
            boxes = block[truth.truth_image[truth.truth_class == k]].sum(axis=0, dtype=np.int64)
            if boxes.any():
                found[first : first + _BLOCK, :, k] = _class_ap(outcomes, part, block, boxes)
    return found


def _class_ap(
    outcomes: Sequence[Outcomes], part: slice, weights: NDArray[np.int32], boxes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return [r, T] average precision of one class; `weights` is [I, r], `boxes` [r] the weighted number of boxes.

    Precision need be known at hits alone. So detections are summed up between neighbouring hits first, and what is
    ignored, which differs from threshold to threshold and is little, is taken off afterwards.
    """
    image = outcomes[0].image[part]
    hit = np.stack([one.hit[part] for one in outcomes])
    ignored = np.stack([one.ignored[part] for one in outcomes])
    area = np.zeros((weights.shape[1], len(outcomes)))
    area[boxes == 0] = np.nan
    places = np.flatnonzero(hit.any(axis=0))  # [u]
    if not len(places):
        return area
    seen = _seen(image, places, weights)  # [u, r]
    aside = np.flatnonzero(ignored[:, : places[-1] + 1].any(axis=0))
    for t in range(len(outcomes)):
        hits = np.flatnonzero(hit[t, places])
        found = np.cumsum(weights[image[places[hits]]], axis=0, dtype=np.int32)
        counted = seen[hits]
        off = aside[ignored[t, aside]]
        if len(off) and len(hits):
            left_out = np.cumsum(weights[image[off]], axis=0, dtype=np.int32)
            before = np.searchsorted(off, places[hits])
            counted[before > 0] -= left_out[before[before > 0] - 1]
        area[boxes > 0, t] = _area(found, counted, boxes)[boxes > 0]
    return area


def _seen(image: NDArray[np.int32], places: NDArray[np.int64], weights: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return [u, r] the weighted number of detections up to each of the places [u], from the picture of each."""
    last, pictures = int(places[-1]) + 1, len(weights)
    if len(places) * pictures < _PRODUCT * last:
        between = np.searchsorted(places, np.arange(last))
        counts = np.bincount(between * pictures + image[:last], minlength=len(places) * pictures)
        # In single precision, which is exact for whole numbers below 2^24.
        product = weighted_sums(counts.reshape(-1, pictures).astype(np.float32), weights.astype(np.float32))
        seen = product.astype(np.int32)
    else:
        seen = np.add.reduceat(weights[image[:last]], np.append(0, places[:-1] + 1), axis=0)
    return np.cumsum(seen, axis=0, out=seen)


def _area(found: NDArray[np.int32], seen: NDArray[np.int32], boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return [r] the mean over 101 recall levels, from [h, r] boxes found and detections seen at each hit."""
    precision = found / np.maximum(seen, 1)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    levels = _levels(found, boxes)
    levels[1:] -= levels[:-1].copy()
    return np.asarray(np.einsum("hr,hr->r", best, levels) / len(RECALLS))


def _levels(found: NDArray[np.int32], boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many recall levels are reached, as `recall_levels`, but faster: the level is nearly 100 x recall."""
    recall = found / np.maximum(boxes, 1)
    level = (recall * 100).astype(np.int32)
    level += _NEXT[level] <= recall
    level -= _PADDED[level] > recall
    return np.where(found > 0, level + 1.0, 0.0)


_PADDED = np.append(RECALLS, np.inf)
_NEXT = np.append(RECALLS[1:], [np.inf, np.inf])


def class_mean(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis (classes) of what could be measured; nan where nothing could."""
    measured = ~np.isnan(resampled)
    count = measured.sum(axis=-1)
    total = np.where(measured, resampled, 0.0).sum(axis=-1)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))


def mean_interval(
    value: float, resampled: NDArray[np.float64], level: float = LEVEL, *, units: int | None = None
) -> Interval:
    """Return the interval around the value minus the resamples' shift, within 0 and 1: for one figure.

    value - (mean of the resamples - value) -+ t * their standard deviation, with Student's t of `units` - 1 degrees of
    freedom (Davison and Hinkley, Bootstrap Methods and their Application, 1997, equation 5.6, has the normal quantile;
    the t is for few units: Hesterberg, The American Statistician 69, 2015).

    Args:
        value: the figure on all pictures.
        resampled: [R] the figure on the resamples; nan where it could not be measured.
        level: probability.
        units: number of pictures, or of groups, that were drawn independently; None for many.
    """
    draws = resampled[~np.isnan(resampled)]
    if len(draws) < 2 or (units is not None and units < 2):
        return Interval(value, float("nan"), float("nan"), level)
    centre = value - (float(draws.mean()) - value)
    half = student_quantile(0.5 + level / 2, units) * float(draws.std(ddof=1))
    low, high = (float(np.clip(bound, 0.0, 1.0)) for bound in (centre - half, centre + half))
    return Interval(value, low, high, level)


def percentile_interval(
    value: float, resampled: NDArray[np.float64], level: float = LEVEL, *, units: int | None = None
) -> Interval:
    """Return the range of the middle `level` of the resamples: for differences on the same pictures.

    With few units the range is wider, as Student's t is wider than the normal quantile (expanded percentile interval,
    Hesterberg 2015). Arguments as those of `mean_interval`.
    """
    draws = resampled[~np.isnan(resampled)]
    if len(draws) < 2 or (units is not None and units < 2):
        return Interval(value, float("nan"), float("nan"), level)
    tail = NormalDist().cdf(-student_quantile(0.5 + level / 2, units))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(value, float(low), float(high), level)


def student_quantile(probability: float, units: int | None) -> float:
    """Return Student's quantile for `units` - 1 degrees of freedom, the normal one for None.

    For 1 and 2 degrees exact, for more the expansion of Abramowitz and Stegun, 26.7.5; it is 0.1 % off at 3.
    """
    z = NormalDist().inv_cdf(probability)
    if units is None:
        return z
    n = units - 1
    if n == 1:
        return float(np.tan(np.pi * (probability - 0.5)))
    if n == 2:
        return float((2 * probability - 1) / np.sqrt(2 * probability * (1 - probability)))
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / n**power for power, term in enumerate(terms, start=1)))


def to_record(interval: Interval | None) -> dict[str, Any] | None:
    """Return the interval for JSON; None where it could not be measured."""
    return None if interval is None or np.isnan(interval.low) else interval.to_dict()
