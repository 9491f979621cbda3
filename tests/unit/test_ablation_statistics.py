"""Student's t, Holm's correction and the number of seeds, against SciPy, against an example by hand, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.ablation_statistics import holm, paired, pooled_deviation, seeds_needed, t_probability, t_quantile

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 9, 29, 30, 120])
@pytest.mark.parametrize("t", [0.0, 0.01, 0.7, 1.0, 2.5, -2.5, 12.0, 300.0])
def test_the_p_value_is_that_of_scipy(t: float, freedom: int) -> None:
    assert t_probability(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), abs=1e-13)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 100])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_the_quantile_is_that_of_scipy(freedom: int, level: float) -> None:
    assert t_quantile(freedom, level) == pytest.approx(stats.t.ppf(0.5 + level / 2, freedom), rel=1e-11)


@given(st.lists(st.floats(-1, 1).map(lambda v: round(v, 6)), min_size=2, max_size=12))
def test_the_interval_and_p_are_those_of_scipys_paired_test(differences: list[float]) -> None:
    found = paired(differences)
    assert found is not None
    if np.std(differences) < 1e-9:
        assert found.low == found.high == (0.0 if not any(differences) else None)
        return
    expected = stats.ttest_1samp(differences, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(differences), low, high), abs=1e-9)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.deviation == pytest.approx(np.std(differences, ddof=1))


def test_differences_without_spread_prove_nothing_unless_they_are_0() -> None:
    same = paired([0.3 - 0.1, 0.4 - 0.2])  # equal but for rounding
    assert same is not None
    assert (same.deviation, same.low, same.p) == (0.0, None, None)
    nothing = paired([0.0, 0.0, 0.0])
    assert nothing is not None
    assert (nothing.mean, nothing.low, nothing.high, nothing.p) == (0.0, 0.0, 0.0, 1.0)
    one = paired([0.2])
    assert one is not None
    assert (one.mean, one.low, one.p) == (0.2, None, None)
    assert paired([]) is None


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_holds_the_true_difference_in_95_percent_of_all_cases(seeds: int) -> None:
    draws = np.random.default_rng(seeds).normal(0.01, 0.02, (4000, seeds))
    found = [paired(list(row)) for row in draws]
    held = sum(one.low <= 0.01 <= one.high for one in found if one and one.low is not None and one.high is not None)
    low, high = stats.binom.interval(0.999, len(draws), 0.95)
    assert low <= held <= high


def test_holm_by_hand() -> None:
    # In their order 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04, and none below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_is_not_measured_yet_counts_as_an_entry() -> None:
    assert holm([0.01, None, None]) == [pytest.approx(0.03), None, None]


@given(PROBABILITIES)
def test_holm_is_never_below_the_raw_p_keeps_their_order_and_lies_below_bonferroni(raw: list[float]) -> None:
    corrected = [p for p in holm(raw) if p is not None]
    assert len(corrected) == len(raw)
    for p, q in zip(raw, corrected, strict=True):
        assert p <= q <= min(1.0, len(raw) * p) + 1e-15
    in_order = [corrected[i] for i in np.argsort(raw, kind="stable")]
    assert in_order == sorted(in_order)


@given(PROBABILITIES, st.randoms())
def test_holm_does_not_depend_on_the_order(raw: list[float], random: object) -> None:
    order = list(range(len(raw)))
    random.shuffle(order)  # type: ignore[attr-defined]
    whole = holm(raw)
    assert holm([raw[i] for i in order]) == [whole[i] for i in order]


@pytest.mark.parametrize("entries", [1, 3, 8, 15])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.8, 1.2, 2.0])
def test_so_many_seeds_have_a_power_of_80_percent(ratio: float, entries: int) -> None:
    """Against the exact power of the t test, by the noncentral t distribution; off by 1 or 2 at most."""

    def power(seeds: int) -> float:
        limit, shift = stats.t.ppf(1 - 0.025 / entries, seeds - 1), ratio * math.sqrt(seeds)
        return float(stats.nct.sf(limit, seeds - 1, shift) + stats.nct.cdf(-limit, seeds - 1, shift))

    found = seeds_needed(-ratio * 0.01, 0.01, entries)
    assert found >= 3
    assert power(found + 2) >= 0.8
    assert power(max(2, found - 2)) <= 0.8


def test_the_deviation_inside_groups_leaves_out_what_lies_between_them() -> None:
    groups = [[1.0, 3.0], [101.0, 103.0], [7.0], []]
    assert pooled_deviation(groups) == pytest.approx(math.sqrt(2.0))
    assert pooled_deviation([[1.0], []]) is None
