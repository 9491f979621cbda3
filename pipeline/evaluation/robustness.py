"""How much a detector loses when pictures get worse: mAP under the corruptions of `corruptions`.

mPC is the mean over corruptions and strengths, rPC its share of the clean figure (Michaelis et al. 2019, arXiv
1907.07484).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import TuneUpError
from ..findings import Finding
from .average_precision import mean, scores
from .corruptions import BY_NAME, CORRUPTIONS, STRENGTHS, Change, Picture, check_corruptions, corrupt
from .intervals import Interval, class_mean, mean_interval, percentile_interval, resampled_map, to_record
from .matching import ALL, LIMIT, match
from .tables import Detections, Truth

Predict = Callable[[Change], pl.DataFrame]  # detections (`DETECTIONS_SCHEMA`) of the pictures as `change` leaves them


@dataclass(frozen=True)
class Condition:
    """One corruption at one strength: the figures, and what was lost against clean pictures (positive: worse)."""

    corruption: str
    strength: int
    map50_95: float
    map50: float
    drop: Interval
    drop50: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it stands in the metrics."""
        return {
            "corruption": self.corruption,
            "strength": self.strength,
            "parameter": BY_NAME[self.corruption].levels[STRENGTHS.index(self.strength)],
            "map50_95": self.map50_95,
            "map50": self.map50,
            "drop50_95": to_record(self.drop),
            "drop50": to_record(self.drop50),
        }


@dataclass(frozen=True)
class Robustness:
    """How a detector fares with worse pictures.

    Args:
        clean: mean average precision (IoU 0.50 to 0.95) on the pictures as they are.
        conditions: every corruption at every strength.
        drops: what each corruption costs, mean over the strengths; paired intervals.
        mpc: mean performance under corruption: mean average precision, mean over all conditions.
        rpc: mpc as a share of clean; None where clean is 0.
    """

    clean: Interval
    conditions: tuple[Condition, ...]
    drops: dict[str, Interval]
    mpc: Interval
    rpc: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it stands in the metrics."""
        return {
            "clean": to_record(self.clean),
            "mpc": to_record(self.mpc),
            "rpc": to_record(self.rpc),
            "drops": {name: to_record(drop) for name, drop in self.drops.items()},
            "conditions": [condition.to_dict() for condition in self.conditions],
        }

    def finding(self) -> Finding:
        """Name the corruption that costs most and what helps against it.

        A warning where it costs more than noise already at strength 1, which a person hardly sees.
        """
        name = max(self.drops, key=lambda one: self.drops[one].value)
        worst, drop = BY_NAME[name], self.drops[name]
        first = next(one for one in self.conditions if one.corruption == name and one.strength == 1)
        evidence = {"corruption": name, "drop": to_record(drop), "drop_at_strength_1": to_record(first.drop)}
        if not drop.low > 0:
            message = "no corruption costs more than noise"
            return Finding("robustness.worst", "info", message, evidence)
        message = (
            f"{worst.title} costs most: {100 * drop.value:.1f} points of mAP50-95 on average over five strengths "
            f"[{100 * drop.low:.1f}, {100 * drop.high:.1f}]"
        )
        if not first.drop.low > 0:
            return Finding("robustness.worst", "info", message, evidence, worst.advice)
        message += f", and {100 * first.drop.value:.1f} at strength 1, which is hardly visible"
        return Finding("robustness.worst", "warning", message, evidence, worst.advice)


def robustness(
    predict: Predict,
    truth: Truth,
    clean: pl.DataFrame,
    weights: NDArray[np.int32],
    *,
    units: int,
    limit: int = LIMIT,
) -> Robustness | None:
    """Measure a detector on corrupted pictures; predicts all pictures 30 times.

    Args:
        predict: returns the detections of all pictures of `truth`, each passed through the change it is given.
        truth: I pictures.
        clean: the detections on the pictures as they are.
        weights: [R, I] of `image_weights`; all differences are paired, with the same resamples.
        units: number of pictures, or of groups, that the resamples draw from.
        limit: detections per picture and class that count.

    Returns:
        None where there is no box that counts.

    Raises:
        TuneUpError: a corruption does not work, or `predict` left pictures as they were.
    """
    check_corruptions()
    base = _measure(truth, clean, weights, limit)
    if math.isnan(base.value):
        return None
    conditions, measured = [], []
    for corruption in CORRUPTIONS:
        for strength in STRENGTHS:
            frame = _predict_corrupted(predict, truth, corruption.name, strength)
            found = _measure(truth, frame, weights, limit)
            measured.append(found)
            conditions.append(_condition(corruption.name, strength, base, found, units))
    values = np.array([one.value for one in measured]).reshape(len(CORRUPTIONS), len(STRENGTHS))
    resampled = np.array([one.resampled for one in measured]).reshape(*values.shape, -1)
    drops = {
        corruption.name: percentile_interval(
            base.value - float(value.mean()), base.resampled - draws.mean(axis=0), units=units
        )
        for corruption, value, draws in zip(CORRUPTIONS, values, resampled, strict=True)
    }
    mpc, mpc_resampled = float(values.mean()), resampled.mean(axis=(0, 1))
    share = np.divide(mpc_resampled, base.resampled, out=np.full_like(mpc_resampled, np.nan), where=base.resampled > 0)
    return Robustness(
        clean=mean_interval(base.value, base.resampled, units=units),
        conditions=tuple(conditions),
        drops=drops,
        mpc=mean_interval(mpc, mpc_resampled, units=units),
        rpc=percentile_interval(mpc / base.value, share, units=units) if base.value > 0 else None,
    )


@dataclass(frozen=True)
class _Measured:
    """mAP50-95 and mAP50, and [R] of each."""

    value: float
    value50: float
    resampled: NDArray[np.float64]
    resampled50: NDArray[np.float64]


def _condition(name: str, strength: int, base: _Measured, found: _Measured, units: int) -> Condition:
    drop = percentile_interval(base.value - found.value, base.resampled - found.resampled, units=units)
    drop50 = percentile_interval(base.value50 - found.value50, base.resampled50 - found.resampled50, units=units)
    return Condition(name, strength, found.value, found.value50, drop, drop50)


def _measure(truth: Truth, frame: pl.DataFrame, weights: NDArray[np.int32], limit: int) -> _Measured:
    table = match(truth, Detections.of(truth, frame), limit=limit, ranges=(ALL,))
    precision = scores(table).precision[0]
    value, value50 = mean(precision), mean(precision[0])
    if value is None or value50 is None:
        return _Measured(math.nan, math.nan, np.zeros(0), np.zeros(0))
    resampled = class_mean(resampled_map(table, weights))  # [R, T]
    return _Measured(value, value50, resampled.mean(axis=1), resampled[:, 0])


def _predict_corrupted(predict: Predict, truth: Truth, name: str, strength: int) -> pl.DataFrame:
    seen: set[int] = set()

    def change(picture: Picture, image_id: int) -> Picture:
        seen.add(int(image_id))
        # A generator for each picture: neither the order of the pictures nor their number matters.
        return corrupt(name, strength, picture, zlib.crc32(f"{image_id} {name} {strength}".encode()))

    frame = predict(change)
    left_out = set(truth.image_ids.tolist()) - seen
    if left_out:
        raise TuneUpError(f"{len(left_out)} of {len(truth.image_ids)} pictures were predicted without '{name}'")
    return frame
