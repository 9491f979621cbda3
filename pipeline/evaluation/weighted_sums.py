"""Matrix products of counts and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def weighted_sums(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Return the matrix product of finite numbers.

    The libraries behind NumPy compute in whole registers, and what lies in unused lanes can raise a floating flag.
    NumPy then reports an invalid value although the result has none (seen with products of a few rows after torch was
    at work). So the flags are not looked at here, but the result.

    Raises:
        FloatingPointError: the result really is not finite.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore"):
        product = left @ right
    if not np.isfinite(product).all():
        raise FloatingPointError("a weighted sum of finite counts is not finite")
    return np.asarray(product)
