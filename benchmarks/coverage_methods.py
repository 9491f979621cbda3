"""Ways to read a 95 % interval off the resamples of a value, which `coverage.py` compares."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.intervals import mean_interval, percentile_interval

Floats = NDArray[np.float64]
Bounds = tuple[float, float]
Z = NormalDist().inv_cdf(0.975)


def percentile(value: float, drawn: Floats, units: int) -> Bounds:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def basic(value: float, drawn: Floats, units: int) -> Bounds:
    low, high = percentile(value, drawn, units)
    return 2 * value - high, 2 * value - low


def bias_corrected(value: float, drawn: Floats, units: int) -> Bounds:
    normal = NormalDist()
    shift = normal.inv_cdf(float(np.clip((drawn < value).mean(), 0.5 / len(drawn), 1 - 0.5 / len(drawn))))
    low, high = np.quantile(drawn, [normal.cdf(2 * shift - Z), normal.cdf(2 * shift + Z)])
    return float(low), float(high)


def normal_minus_bias(value: float, drawn: Floats, units: int) -> Bounds:
    centre, half = 2 * value - drawn.mean(), Z * drawn.std(ddof=1)
    return float(centre - half), float(centre + half)


def ours(value: float, drawn: Floats, units: int) -> Bounds:
    interval = mean_interval(value, drawn, units=units)
    return interval.low, interval.high


def our_difference(value: float, drawn: Floats, units: int) -> Bounds:
    interval = percentile_interval(value, drawn, units=units)
    return interval.low, interval.high


METHODS: dict[str, tuple[str, Callable[[float, Floats, int], Bounds]]] = {
    "bootstrap, percentile": ("bootstrap", percentile),
    "bootstrap, basic": ("bootstrap", basic),
    "bootstrap, bias-corrected": ("bootstrap", bias_corrected),
    "bootstrap, normal minus bias": ("bootstrap", normal_minus_bias),
    "halves, percentile": ("halves", percentile),
    "halves, normal minus bias, t (`mean_interval`)": ("halves", ours),
    "halves, percentile, t (`percentile_interval`)": ("halves", our_difference),
}
