"""Whether a score is a probability: of the detections with a score of 0.8, are 80 % right?

The detection calibration error is D-ECE of Küppers et al. (CVPR Workshops 2020, arXiv 2004.13546), on the score alone:
the mean over all detections of |precision - mean score| of the bin that their score falls into, right meaning a hit at
IoU 0.50. Detections on ignored boxes are left out, and so are those below a score that nobody is shown: weak
detections are so many that the error would be theirs alone (Neumann et al., NeurIPS workshop 2018).

Bins: as many of the same number of detections as can be had with precision rising from bin to bin, `MOST_BINS` at
most (the sweep of Roelofs et al., AISTATS 2022). Few detections in many bins look uncalibrated by chance: for 200
detections of a calibrated detector the usual twenty bins of one width find an error of 0.09, these bins 0.05
(`docs/benchmarks/inspection.md`). What remains is still biased upward, the more so the fewer detections there are. So
`by_chance` says beside it what calibrated detectors with the same scores stay below in 95 % of all cases (consistency
resampling, Broecker and Smith, Weather and Forecasting 22, 2007): an error below it is no sign of bad calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..run_evaluations import SHOWN_FROM
from .intervals import LEVEL, Interval, mean_interval, to_record
from .matching import IOU50, MatchTable
from .rates import Floats, Weights, units_drawn, wilson
from .weighted_sums import weighted_sums

MOST_BINS = 20  # more than a diagram shows; a sweep over 5,000 detections stops there or before
_SIMULATED = 200  # calibrated detectors; the 95 % point of their errors is known within a tenth
_CELLS = 4_000_000  # simulated detections at once; bounds the memory


@dataclass(frozen=True)
class Scored:
    """The detections that count and are shown: [n] picture, score, and whether each is right."""

    image: NDArray[np.int32]
    score: Floats
    hit: NDArray[np.bool_]

    @classmethod
    def of(cls, table: MatchTable, least: float = SHOWN_FROM) -> Scored:
        """Return the detections of a match table with a score of at least `least`, by rising score.

        Raises:
            DataError: a score lies outside of 0 to 1, so that it cannot be a probability.
        """
        outcomes = table.outcomes(IOU50)
        score = outcomes.score
        if len(score) and (score.min() < 0 or score.max() > 1):
            raise DataError(
                f"scores from {score.min():g} to {score.max():g} are no probabilities, so they cannot be calibrated"
            )
        rows = np.flatnonzero(~outcomes.ignored & (score >= least))
        rows = rows[np.argsort(score[rows], kind="stable")]
        return cls(outcomes.image[rows], score[rows], outcomes.hit[rows])

    def units(self, weights: Weights) -> int:
        """Return how many pictures, or groups, the detections come from, as [R, I] resamples drew them."""
        return units_drawn(weights[:, np.unique(self.image)])


@dataclass(frozen=True)
class Reliability:
    """Precision against score in B bins, and the error that sums it up.

    Args:
        least: lowest score that was looked at.
        detections: how many there are.
        edges: [B + 1] bounds of the bins; the upper belongs to the next bin.
        count: [B] detections in the bin, at least one.
        score: [B] their mean score.
        precision: [3, B] share of hits, low and high (Wilson; detections of one picture taken for independent).
        d_ece: detection calibration error; None without detections. Detections of one picture or group have no bounds.
        brier: mean of (score - hit)^2; likewise.
        by_chance: the error that 95 % of calibrated detectors with these scores stay below; None without detections.
    """

    least: float
    detections: int
    edges: Floats
    count: NDArray[np.int64]
    score: Floats
    precision: Floats
    d_ece: Interval | None
    brier: Interval | None
    by_chance: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        bins = {"count": self.count, "score": self.score}
        bins |= dict(zip(("precision", "precision_low", "precision_high"), self.precision, strict=True))
        return {
            "least": self.least,
            "detections": self.detections,
            "d_ece": to_record(self.d_ece),
            "brier": to_record(self.brier),
            "by_chance": self.by_chance,
            "edges": self.edges.tolist(),
            "bins": {name: values.tolist() for name, values in bins.items()},
            "level": LEVEL,
        }


def reliability(table: MatchTable, weights: Weights, least: float = SHOWN_FROM) -> Reliability:
    """Return the reliability diagram and the calibration error of a match table's scores.

    Args:
        table: the matches.
        weights: [R, I] resamples of whole pictures or groups, for the intervals.
        least: detections below this score are left out.
    """
    return reliability_of(Scored.of(table, least), weights, least)[0]


def reliability_of(scored: Scored, weights: Weights, least: float) -> tuple[Reliability, dict[str, Floats]]:
    """Return the diagram of some detections, and `d_ece` and `brier` in the resamples [R].

    Args:
        scored: the detections, by rising score; calibrated or as they are.
        weights: [R, I] resamples of whole pictures or groups.
        least: lowest score that was looked at, before a calibrator; for the record.
    """
    score = scored.score
    edges = sweep(score, scored.hit)
    bins = len(edges) - 1
    if not len(score):
        none: Floats = np.zeros(0)
        empty = Reliability(least, 0, edges, np.zeros(0, np.int64), none, np.zeros((3, 0)), None, None, None)
        return empty, {"d_ece": none, "brier": none}
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, bins - 1)
    sums = np.stack([np.ones(len(score)), scored.hit, score, (score - scored.hit) ** 2])  # [4, n]
    totals = np.stack([np.bincount(place, row, minlength=bins).astype(np.float64) for row in sums])
    value = {name: float(found) for name, found in _errors(totals).items()}
    drawn = _drawn(scored.image, place, sums, weights, bins)
    draws = _errors(drawn)
    units = scored.units(weights)
    share = totals[1] / totals[0]
    found = Reliability(
        least,
        len(score),
        edges,
        totals[0].astype(np.int64),
        totals[2] / totals[0],
        np.stack([share, *wilson(share, totals[0])]),
        mean_interval(value["d_ece"], draws["d_ece"], units=units),
        mean_interval(value["brier"], draws["brier"], units=units),
        by_chance(score),
    )
    return found, draws


def _drawn(image: NDArray[np.int32], place: NDArray[np.int64], sums: Floats, weights: Weights, bins: int) -> Floats:
    """Return [R, 4, B] the sums of each bin in the resamples."""
    images = weights.shape[1]
    cells = image.astype(np.int64) * bins + place
    per_image = np.stack([np.bincount(cells, row, minlength=images * bins) for row in sums])
    per_image = per_image.reshape(len(sums), images, bins).transpose(1, 0, 2).reshape(images, -1)
    return np.asarray(weighted_sums(weights.astype(np.float64), per_image)).reshape(len(weights), len(sums), bins)


def _errors(sums: Floats) -> dict[str, Floats]:
    """Return D-ECE and Brier score from [..., 4, B] count, hits, score and squared error of each bin."""
    count = sums[..., 0, :].sum(axis=-1)
    gap = np.abs(sums[..., 1, :] - sums[..., 2, :]).sum(axis=-1)
    empty = np.full(np.shape(count), np.nan)
    found = {"d_ece": gap, "brier": sums[..., 3, :].sum(axis=-1)}
    return {name: np.divide(total, count, out=empty.copy(), where=count > 0) for name, total in found.items()}


def sweep(score: Floats, hit: NDArray[np.bool_]) -> Floats:
    """Return the edges of the bins: as many of equal number as leave precision rising, from the lowest score up.

    Args:
        score: [n] ascending.
        hit: [n] whether each is right.
    """
    edges = _edges(score, 1)
    for bins in range(2, min(MOST_BINS, len(score)) + 1):
        finer = _edges(score, bins)
        place = np.searchsorted(finer[1:-1], score, side="right")
        precision = np.bincount(place, hit) / np.maximum(np.bincount(place), 1)
        if (np.diff(precision) < 0).any():
            break
        edges = finer
    return edges


def _edges(score: Floats, bins: int) -> Floats:
    """Return the edges of bins of equal number from the ascending scores; equal scores stay in one bin."""
    if not len(score):
        return np.zeros(1)
    inner = score[np.arange(1, bins) * len(score) // bins]
    return np.unique(np.concatenate([score[:1], inner, [np.nextafter(score[-1], np.inf)]]))


def by_chance(score: Floats) -> float:
    """Return the error that 95 % of detectors stay below whose hits have just the probability of their score.

    Args:
        score: [n] ascending, at least one. Bins are chosen by the sweep for each simulated detector.
    """
    rng = np.random.default_rng(0)
    count = len(score)
    summed = np.append(0.0, np.cumsum(score))
    errors = []
    at_once = max(1, min(_SIMULATED, _CELLS // count))
    for first in range(0, _SIMULATED, at_once):
        rounds = min(at_once, _SIMULATED - first)
        hits = np.zeros((rounds, count + 1))
        np.cumsum(rng.random((rounds, count)) < score, axis=1, out=hits[:, 1:])
        error = np.abs(hits[:, -1] - summed[-1]) / count
        rising = np.ones(rounds, np.bool_)
        for bins in range(2, min(MOST_BINS, count) + 1):
            ends = np.append(np.searchsorted(score, _edges(score, bins)[:-1]), count)
            found = np.diff(hits[:, ends], axis=1)
            rising &= (np.diff(found / np.diff(ends), axis=1) >= 0).all(axis=1)
            if not rising.any():
                break
            gap = np.abs(found - np.diff(summed[ends])).sum(axis=1) / count
            error = np.where(rising, gap, error)
        errors.append(error)
    return float(np.quantile(np.concatenate(errors), LEVEL))
