"""Boxes as arrays: corners in pixels, [n, 4] float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def iou_of_pairs(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [n] intersection over union of boxes pair by pair, or of one box with n; 0 where both have no area."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    whole = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1) - shared
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0))
