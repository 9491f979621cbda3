"""What an ablation needs of statistics: Student's t for few seeds, Holm's correction, and how many seeds would tell.

SciPy is a development dependency only; the tests compare what stands here with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean, stdev

LEVEL = 0.95
POWER = 0.8  # with which a difference should be seen; the convention of Cohen, Statistical Power Analysis (1988)
# Differences of average precisions below this are rounding: 0.3 - 0.1 and 0.4 - 0.2 are 3e-17 apart.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Paired:
    """The mean of paired differences, and what their spread says about it.

    `deviation`, `low`, `high` and `p` are None where they cannot be known: of fewer than two differences, and of
    differences that are all the same but not 0, from which no spread can be learnt.
    """

    pairs: int
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def paired(differences: Sequence[float]) -> Paired | None:
    """Return the mean with its 95 % interval and two-sided p value; None without differences.

    mean -+ t * s / sqrt(n), with s the standard deviation of the n differences and t Student's quantile of n - 1
    degrees of freedom (Student, The Probable Error of a Mean, Biometrika 6, 1908). The differences are taken as
    normally distributed around the true one. Where all are exactly 0, so is the interval, and p is 1.
    """
    count = len(differences)
    if count == 0:
        return None
    mean = fmean(differences)
    if count == 1:
        return Paired(1, mean)
    if not any(differences):
        return Paired(count, 0.0, 0.0, 0.0, 0.0, 1.0)
    deviation = stdev(differences)
    if deviation < _ROUNDING:
        return Paired(count, mean, 0.0)
    error = deviation / math.sqrt(count)
    half = t_quantile(count - 1) * error
    return Paired(count, mean, deviation, mean - half, mean + half, t_probability(mean / error, count - 1))


def t_probability(t: float, freedom: int) -> float:
    """Return the probability that Student's t of `freedom` degrees lies farther from 0 than `t`: the p value.

    Exact for whole degrees of freedom, by the finite sums of Abramowitz and Stegun, Handbook of Mathematical Functions
    (1964), 26.7.3 and 26.7.4; right to about 1e-15.
    """
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):  # the k-th term goes with the power k - 1 of the cosine
        total += term
        term *= cosine * cosine * k / (k + 1)
    inside = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return min(1.0, max(0.0, 1.0 - inside))


@cache
def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """Return how far Student's t of `freedom` degrees reaches from 0 with the probability `level`."""
    low, high = 0.0, 1.0
    while t_probability(high, freedom) > 1 - level:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if t_probability(middle, freedom) > 1 - level else (low, middle)
    return high


def holm(probabilities: Sequence[float | None]) -> list[float | None]:
    """Return the p values with Holm's correction, in their order.

    What is below 0.05 then is a false alarm in at most 5 % of all ablations, however the entries depend on each other
    (Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979). A None,
    which was not measured yet, stays one but counts as an entry, so that a verdict of a table in part is never bolder.
    """
    count = len(probabilities)
    known = sorted((p, place) for place, p in enumerate(probabilities) if p is not None)
    corrected: list[float | None] = [None] * count
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (count - rank) * p))
        corrected[place] = largest
    return corrected


def seeds_needed(difference: float, deviation: float, entries: int) -> int:
    """Return how many seeds show a difference of this size with a probability of 0.8, were it the true one.

    ((z1 + z2) * s / d)^2 + z1^2 / 2 with the normal quantiles z1 of 1 - 0.05 / (2 * entries), which is the strictest
    limit that Holm's correction may ask for, and z2 of 0.8 (Guenther, Sample Size Formulas for Normal Theory T Tests,
    The American Statistician 35, 1981).

    Args:
        difference: not 0.
        deviation: of the paired differences.
        entries: of the policy.
    """
    tail = NormalDist().inv_cdf(1 - (1 - LEVEL) / (2 * entries))
    reach = tail + NormalDist().inv_cdf(POWER)
    return math.ceil((reach * deviation / abs(difference)) ** 2 + tail * tail / 2)


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation inside the groups, all taken together; None where no group has two values."""
    usable = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in usable)
    if not freedom:
        return None
    return math.sqrt(sum((len(group) - 1) * stdev(group) ** 2 for group in usable) / freedom)
