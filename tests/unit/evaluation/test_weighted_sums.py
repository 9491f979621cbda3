"""Products of counts and weights: right, silent, and never not finite."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.weighted_sums import weighted_sums


def test_the_product_is_that_of_whole_numbers() -> None:
    rng = np.random.default_rng(0)
    for rows, inner, columns in ((3, 5, 1), (1, 1, 1), (40, 500, 250)):
        left, right = rng.integers(0, 9, (rows, inner)), rng.integers(0, 3, (inner, columns))
        assert np.array_equal(weighted_sums(left.astype(np.float32), right.astype(np.float32)), left @ right)


def test_what_is_not_finite_is_not_hidden() -> None:
    with pytest.raises(FloatingPointError):
        weighted_sums(np.array([[np.inf, 1.0]]), np.array([[0.0], [1.0]]))
