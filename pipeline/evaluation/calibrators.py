"""Calibrators: functions that turn a score into the probability that the detection is right.

A calibrator is fitted on val and checked on test. It never falls, so the order of detections, and with it AP, stays,
save for scores that it makes equal. It is isotonic regression where there are enough detections, else Platt's curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, RunError
from ..run_evaluations import SHOWN_FROM
from .calibration import Reliability, Scored, reliability_of
from .intervals import Interval, percentile_interval, to_record
from .matching import MatchTable
from .rates import Floats, Weights

# Below, isotonic regression learns the noise (Niculescu-Mizil and Caruana, ICML 2005): even where Platt's curve has the
# wrong shape it is no better with 1,000 detections, and better with 3,000 (docs/benchmarks/inspection.md).
ENOUGH_FOR_ISOTONIC = 3000
_EDGE = 1e-6  # scores of 0 and 1 have no logit
_STEPS = 100  # of Newton's method; it needs about ten


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
    calibrated = replace(scored, score=calibrator.apply(scored.score))
    before, old = reliability_of(scored, weights, calibrator.least)
    after, new = reliability_of(calibrated, weights, calibrator.least)
    if before.brier is None or after.brier is None or before.d_ece is None or after.d_ece is None:
        words = (
            f"{split} has no detections that score at least {calibrator.least:g}, so the calibration cannot be checked"
        )
        return CalibrationCheck(split, before, after, None, None, words)
    units = scored.units(weights)
    brier = percentile_interval(after.brier.value - before.brier.value, new["brier"] - old["brier"], units=units)
    d_ece = percentile_interval(after.d_ece.value - before.d_ece.value, new["d_ece"] - old["d_ece"], units=units)
    words = (
        "helps" if brier.high < 0 else "makes the scores worse" if brier.low > 0 else "makes no difference beyond noise"
    )
    figures = f"Brier score {before.brier.value:.3f} before, {after.brier.value:.3f} after"
    sentence = f"the calibration fitted on {calibrator.split} {words} on {split}: {figures}"
    return CalibrationCheck(split, before, after, d_ece, brier, sentence)
