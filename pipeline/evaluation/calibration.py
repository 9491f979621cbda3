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

A calibrator is fitted on val and checked on test. It never falls, so the order of detections, and with it AP, stays,
save for scores that it makes equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, RunError
from .inspection import IOU50, Floats, Weights, wilson
from .intervals import LEVEL, Interval, mean_interval, percentile_interval, to_record
from .matching import MatchTable

SHOWN_FROM = 0.25  # the score from which Ultralytics' predict shows a detection; pass the threshold that is used
MOST_BINS = 20  # more than a diagram shows; a sweep over 5,000 detections stops there or before
# Below, isotonic regression learns the noise (Niculescu-Mizil and Caruana, ICML 2005): even where Platt's curve has the
# wrong shape it is no better with 1,000 detections, and better with 3,000 (docs/benchmarks/inspection.md).
ENOUGH_FOR_ISOTONIC = 3000
_SIMULATED = 200  # calibrated detectors; the 95 % point of their errors is known within a tenth
_CELLS = 4_000_000  # simulated detections at once; bounds the memory
_EDGE = 1e-6  # scores of 0 and 1 have no logit
_STEPS = 100  # of Newton's method; it needs about ten

# ---- how well scores are calibrated ----------------------------------------------------------------------------------


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
        d_ece: detection calibration error; None without detections.
        brier: mean of (score - hit)^2; None without detections.
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


def reliability(
    table: MatchTable, weights: Weights, least: float = SHOWN_FROM, calibrator: Calibrator | None = None
) -> Reliability:
    """Return the reliability diagram and the calibration error of a match table's scores.

    Args:
        table: the matches.
        weights: [R, I] resamples of whole pictures or groups, for the intervals.
        least: detections below this score (before a calibrator) are left out.
        calibrator: applied to the scores first.
    """
    return _measure(Scored.of(table, least), weights, least, calibrator)[0]


def _measure(
    scored: Scored, weights: Weights, least: float, calibrator: Calibrator | None
) -> tuple[Reliability, dict[str, Floats]]:
    """Return the diagram, and its figures in the resamples [R]."""
    score = scored.score if calibrator is None else calibrator.apply(scored.score)
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
    share = totals[1] / totals[0]
    found = Reliability(
        least,
        len(score),
        edges,
        totals[0].astype(np.int64),
        totals[2] / totals[0],
        np.stack([share, *wilson(share, totals[0])]),
        mean_interval(value["d_ece"], draws["d_ece"]),
        mean_interval(value["brier"], draws["brier"]),
        by_chance(score),
    )
    return found, draws


def _drawn(image: NDArray[np.int32], place: NDArray[np.int64], sums: Floats, weights: Weights, bins: int) -> Floats:
    """Return [R, 4, B] the sums of each bin in the resamples."""
    images = weights.shape[1]
    cells = image.astype(np.int64) * bins + place
    per_image = np.stack([np.bincount(cells, row, minlength=images * bins) for row in sums])
    per_image = per_image.reshape(len(sums), images, bins).transpose(1, 0, 2).reshape(images, -1)
    return np.asarray(weights.astype(np.float64) @ per_image).reshape(len(weights), len(sums), bins)


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


# ---- calibrators -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Calibrator:
    """A function from score to probability that never falls.

    Args:
        method: `isotonic`, straight lines through the knots; or `platt`, 1 / (1 + exp(-(slope logit(score) + offset))).
        x: isotonic: scores of the knots, ascending. platt: empty.
        y: isotonic: probabilities of the knots. platt: slope and offset.
        fitted_on: number of detections.
        split: where they come from.
        least: lowest score among those that were used.
    """

    method: Literal["isotonic", "platt"]
    x: tuple[float, ...]
    y: tuple[float, ...]
    fitted_on: int
    split: str
    least: float

    def apply(self, scores: Floats) -> Floats:
        """Return the probabilities of scores [n] in 0 to 1."""
        if self.method == "isotonic":
            return np.interp(scores, self.x, self.y)
        return _sigmoid(self.y[0] * _logit(scores) + self.y[1])

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        about = {"fitted_on": self.fitted_on, "split": self.split, "least": self.least}
        return {"method": self.method, "x": list(self.x), "y": list(self.y), **about}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str = "calibrator") -> Calibrator:
        """Return the calibrator of a record.

        Raises:
            RunError: the record is damaged.
        """
        try:
            x, y = (tuple(map(float, record[name])) for name in ("x", "y"))
            found = cls(record["method"], x, y, int(record["fitted_on"]), str(record["split"]), float(record["least"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{where}: is no calibrator ({error!r}); evaluate again") from error
        rising = all(map(math.isfinite, (*x, *y))) and len(x) == len(y) > 0 and (np.diff(x) > 0).all()
        isotonic = rising and (np.diff(y) >= 0).all() and 0 <= y[0] and y[-1] <= 1
        platt = not x and len(y) == 2 and all(map(math.isfinite, y)) and y[0] >= 0
        if not (isotonic if found.method == "isotonic" else found.method == "platt" and platt):
            raise RunError(f"{where}: its numbers are no calibrator; evaluate again")
        return found


def fit(table: MatchTable, split: str, least: float = SHOWN_FROM) -> Calibrator:
    """Fit a calibrator on the detections of a match table: isotonic where there are enough of them, else Platt's.

    Raises:
        DataError: hits or false alarms are missing, so there is nothing to tell apart.
    """
    scored = Scored.of(table, least)
    hits = int(scored.hit.sum())
    if not 0 < hits < len(scored.hit):
        raise DataError(
            f"{len(scored.hit)} detections of the split {split} score at least {least:g}, {hits} of them are right: "
            "calibration needs right and wrong ones"
        )
    if len(scored.hit) >= ENOUGH_FOR_ISOTONIC:
        x, y = isotonic(scored.score, scored.hit.astype(np.float64))
        return Calibrator("isotonic", tuple(x.tolist()), tuple(y.tolist()), len(scored.hit), split, least)
    return Calibrator("platt", (), platt(scored.score, scored.hit), len(scored.hit), split, least)


def isotonic(score: Floats, right: Floats, weight: Floats | None = None) -> tuple[Floats, Floats]:
    """Return knots of the rising function with the least weighted squared error: pool adjacent violators.

    Each block of pooled scores becomes a knot at its mean score. Between two knots the function is a straight line, so
    that scores keep their order there; outside of them it is level, but for the line down to 0 at the score 0.

    Args:
        score: [n] at least one.
        right: [n] 0 to 1, the share that is right.
        weight: [n] above 0; all alike when None.

    Source: Ayer et al., Ann. Math. Stat. 26, 1955; as a calibrator Zadrozny and Elkan, KDD 2002.
    """
    level, place = np.unique(score, return_inverse=True)
    each = np.ones(len(score)) if weight is None else weight
    weights = np.bincount(place, each)
    heights = np.bincount(place, each * right) / weights
    blocks: list[tuple[float, float, float]] = []  # height, weight, mean score
    for height, mass, middle in zip(heights.tolist(), weights.tolist(), level.tolist(), strict=True):
        while blocks and blocks[-1][0] >= height:
            low, other, left = blocks.pop()
            height, middle = (
                (low * other + height * mass) / (other + mass),
                (left * other + middle * mass) / (other + mass),
            )
            mass += other
        blocks.append((height, mass, middle))
    y, _, x = np.array(blocks).T
    if x[0] > 0 and y[0] > 0:
        x, y = np.append(0.0, x), np.append(0.0, y)
    keep = np.diff(x, prepend=-np.inf) > 0  # rounding may put two means on one number
    return x[keep], np.clip(y[keep], 0.0, 1.0)


def platt(score: Floats, hit: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset on the logit of the score with the greatest likelihood; a slope below 0 becomes 0.

    Targets are smoothed as Platt does (Advances in Large Margin Classifiers, 1999): (hits + 1) / (hits + 2) and
    1 / (misses + 2), so that the fit is finite even when scores tell right from wrong without error. Newton's method
    with halved steps, as Lin, Lin and Weng (Machine Learning 68, 2007) advise.
    """
    hits, misses = int(hit.sum()), int((~hit).sum())
    target = np.where(hit, (hits + 1) / (hits + 2), 1 / (misses + 2))
    design = np.column_stack([_logit(score), np.ones(len(score))])
    answer = np.array([0.0, math.log((hits + 1) / (misses + 1))])
    loss = new = _loss(design @ answer, target)
    for _ in range(_STEPS):
        chance = _sigmoid(design @ answer)
        gradient = design.T @ (chance - target)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-10 and (new := _loss(design @ (answer - size * step), target)) > loss:
            size /= 2
        if size <= 1e-10 or float(np.abs(size * step).max()) < 1e-10:
            break
        answer, loss = answer - size * step, new
    if answer[0] < 0:  # a higher score would mean less: then the score says nothing
        share = float(target.mean())
        return 0.0, math.log(share / (1 - share))
    return float(answer[0]), float(answer[1])


def _loss(raised: Floats, target: Floats) -> float:
    return float((np.logaddexp(0, raised) - target * raised).sum())


def _logit(score: Floats) -> Floats:
    inside = np.clip(score, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


def _sigmoid(raised: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(raised / 2)))


# ---- the check -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CalibrationCheck:
    """What a calibrator does on pictures that it was not fitted on.

    Args:
        split: of these pictures.
        before: with the scores as they are.
        after: with the calibrator.
        d_ece_change: after minus before, the same resamples; None without detections.
        brier_change: likewise.
        sentence: whether it helps.
    """

    split: str
    before: Reliability
    after: Reliability
    d_ece_change: Interval | None
    brier_change: Interval | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return {
            "split": self.split,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "d_ece_change": to_record(self.d_ece_change),
            "brier_change": to_record(self.brier_change),
            "sentence": self.sentence,
        }


def check(table: MatchTable, calibrator: Calibrator, split: str, weights: Weights) -> CalibrationCheck:
    """Return calibration before and after on the pictures of a match table, with 95 % intervals over the pictures."""
    scored = Scored.of(table, calibrator.least)
    before, old = _measure(scored, weights, calibrator.least, None)
    after, new = _measure(scored, weights, calibrator.least, calibrator)
    if before.brier is None or after.brier is None or before.d_ece is None or after.d_ece is None:
        words = (
            f"{split} has no detections that score at least {calibrator.least:g}, so the calibration cannot be checked"
        )
        return CalibrationCheck(split, before, after, None, None, words)
    brier = percentile_interval(after.brier.value - before.brier.value, new["brier"] - old["brier"])
    d_ece = percentile_interval(after.d_ece.value - before.d_ece.value, new["d_ece"] - old["d_ece"])
    words = (
        "helps" if brier.high < 0 else "makes the scores worse" if brier.low > 0 else "makes no difference beyond noise"
    )
    figures = f"Brier score {before.brier.value:.3f} before, {after.brier.value:.3f} after"
    sentence = f"the calibration fitted on {calibrator.split} {words} on {split}: {figures}"
    return CalibrationCheck(split, before, after, d_ece, brier, sentence)
