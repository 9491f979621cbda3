"""Rates against scipy's distributions and the interval of a single proportion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.evaluation.intervals import Interval, image_weights
from pipeline.evaluation.rates import Rate, effective_trials, student, units_drawn, wilson


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_equals_scipys_interval_of_a_proportion(successes: int, trials: int) -> None:
    if successes <= trials:
        expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
        low, high = wilson(np.array(successes / trials), np.array(float(trials)))
        assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_effective_trials_stay_between_one_and_the_trials() -> None:
    draws = np.array([[0.0, 0.5, 0.5], [1.0, 0.5, 0.5001], [np.nan, np.nan, np.nan]])
    assert effective_trials(np.array([0.5, 0.5, 0.5]), draws, 3, 30).tolist() == [1.0, 3.0, 30.0]
    assert effective_trials(np.array(0.0), np.full(4, np.nan), 0, 0) == 0
    assert effective_trials(np.array(0.5), np.array([0.4, 0.6]), 1, 30) == 1  # one group says nothing of another


@pytest.mark.parametrize("units", [8, 20, 40])
def test_independent_pictures_are_worth_what_students_t_leaves_of_them(units: int) -> None:
    event = np.arange(units) < units // 4
    draws = image_weights(units, 20_000) @ event / units
    # The variance of a mean is p (1 - p) n / (n - 1) / n, and the quantile that of n - 1 degrees of freedom.
    expected = (units - 1) * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, units - 1)) ** 2
    assert effective_trials(np.array(event.mean()), draws, units, units) == pytest.approx(expected, rel=0.03)


def test_pictures_of_a_group_are_one_unit() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2, 3], np.int32)
    weights = image_weights(7, 50, groups=groups)
    assert units_drawn(weights) == 4
    assert units_drawn(weights[:, 3:]) == 2
    assert units_drawn(image_weights(7, 50)) == 7
    assert units_drawn(weights[:, :0]) == 0


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 10, 30, 200])
def test_the_quantile_of_students_t(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.002)


def test_a_share_survives_its_record() -> None:
    rate = Rate(3, 10, 7.5)
    assert Rate.from_dict(rate.to_dict()) == rate
    assert Rate.from_dict(Rate(0, 0, 0.0).to_dict()) == Rate(0, 0, 0.0)
    assert Rate(0, 0, 0.0).to_dict()["value"] is None
    for spoilt in ({"events": 11}, {"trials": -1}, {"effective_trials": 11.0}, {"effective_trials": math.nan}):
        with pytest.raises(ValueError, match="no share"):
            Rate.from_dict({**rate.to_dict(), **spoilt})


def _proportion(successes: int, trials: int) -> Interval:
    """Return the interval of a share of independent cases."""
    interval = Rate(successes, trials, float(trials)).interval()
    assert interval is not None
    return interval


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.data())
def test_a_proportions_interval_is_where_the_score_test_does_not_reject(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    interval = _proportion(successes, trials)
    share = successes / trials
    assert interval.value == share
    for bound, outer in ((interval.low, share <= 0), (interval.high, share >= 1)):
        assert 0 <= bound <= 1
        if not outer and 0 < bound < 1:  # at its bounds the share lies 1.96 standard errors away
            assert abs(share - bound) / math.sqrt(bound * (1 - bound) / trials) == pytest.approx(1.959964, abs=1e-5)
    mirrored = _proportion(trials - successes, trials)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((interval.low, interval.high), abs=1e-12)


@pytest.mark.parametrize("trials", [10, 20, 50, 200])
def test_a_proportions_interval_holds_the_truth_as_often_as_it_says(trials: int) -> None:
    held = []
    bounds = [_proportion(k, trials) for k in range(trials + 1)]
    for truth in np.linspace(0.02, 0.98, 49):
        chance = [math.comb(trials, k) * truth**k * (1 - truth) ** (trials - k) for k in range(trials + 1)]
        held.append(sum(p for p, one in zip(chance, bounds, strict=True) if one.low <= truth <= one.high))
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)
    assert min(held) > 0.83  # Brown, Cai and DasGupta: dips near 0 and 1
