"""Rates against scipy's distributions and the interval of a single proportion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.evaluation.intervals import proportion_interval
from pipeline.evaluation.rates import Rate, effective_trials, student, wilson


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_equals_the_interval_of_a_single_proportion(successes: int, trials: int) -> None:
    if successes <= trials:
        expected = proportion_interval(successes, trials)
        low, high = wilson(np.array(successes / trials), np.array(float(trials)))
        assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_effective_trials_stay_between_one_and_the_trials() -> None:
    draws = np.array([[0.0, 0.5, 0.5], [1.0, 0.5, 0.5001], [np.nan, np.nan, np.nan]])
    assert effective_trials(np.array([0.5, 0.5, 0.5]), draws, 3, 30).tolist() == [1.0, 3.0, 30.0]
    assert effective_trials(np.array(0.0), np.full(4, np.nan), 0, 0) == 0
    assert effective_trials(np.array(0.5), np.array([0.4, 0.6]), 1, 30) == 1  # one group says nothing of another


@pytest.mark.parametrize("freedom", [3, 5, 10, 30, 200])
def test_the_quantile_of_students_t(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_a_share_survives_its_record() -> None:
    rate = Rate(3, 10, 7.5)
    assert Rate.from_dict(rate.to_dict()) == rate
    assert Rate.from_dict(Rate(0, 0, 0.0).to_dict()) == Rate(0, 0, 0.0)
    assert Rate(0, 0, 0.0).to_dict()["value"] is None
    for spoilt in ({"events": 11}, {"trials": -1}, {"effective_trials": 11.0}, {"effective_trials": math.nan}):
        with pytest.raises(ValueError, match="no share"):
            Rate.from_dict({**rate.to_dict(), **spoilt})
