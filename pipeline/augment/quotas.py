"""How many objects to paste so that classes, and small objects, reach their share of all boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Wanted:
    """One quota.

    Args:
        count: boxes of this kind that there are.
        share: of all boxes, pasted ones included, that the kind is to have.
        small: share of this kind's pasted objects that are small.
    """

    count: int
    share: float
    small: float


def numbers_to_paste(boxes: int, classes: Sequence[Wanted], small: Wanted | None) -> NDArray[np.float64]:
    """Return how many objects to paste of each class, and last of the small ones of other classes.

    With T boxes in the end, class c needs max(0, q_c T - n_c), and the small ones what is missing of theirs after the
    small ones among those: T = B + sum of all that. The right side is convex and piecewise linear in T, so Newton's
    method from T = B rises to the smallest solution and ends after as many steps as there are pieces.

    Args:
        boxes: B, all boxes that there are.
        classes: their quotas.
        small: that of small objects, or None.

    Raises:
        ValueError: the shares leave nothing for the rest.
    """
    counts, shares = (np.array([getattr(wanted, name) for wanted in classes], float) for name in ("count", "share"))
    other = 1 - np.array([wanted.small for wanted in classes], float)
    total = float(boxes)
    while True:
        lacking = shares * total > counts
        missing = np.where(lacking, shares * total - counts, 0.0)
        of_small = 0.0 if small is None else small.share * total - small.count - float((missing * (1 - other)).sum())
        # The piece of the right side that holds at this T, as slope and intercept.
        weight = np.where(lacking, other if of_small > 0 else 1.0, 0.0)
        slope, rest = float((weight * shares).sum()), boxes - float((weight * counts).sum())
        if small is not None and of_small > 0:
            slope, rest = slope + small.share, rest - small.count
        if slope >= 1 - 1e-9:
            raise ValueError(f"the shares add up to {slope:g}")
        following = rest / (1 - slope)
        if following <= total * (1 + 1e-12):
            return np.append(missing, max(of_small, 0.0))
        total = following


def rates(numbers: NDArray[np.float64], pictures: int, placed: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Return the objects of each kind to try per picture.

    Args:
        numbers: `[n]`, objects to paste in one pass over the pictures.
        pictures: their number.
        placed: `[n]`, share of the tries that found a place.
        most: objects that may be tried per picture; above it all kinds are lowered alike.
    """
    tried = numbers / pictures / placed
    return np.asarray(tried * min(1.0, most / max(float(tried.sum()), 1e-12)))
