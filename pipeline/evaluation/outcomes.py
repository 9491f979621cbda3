"""What became of each detection at one IoU threshold: all that average precision needs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Outcomes:
    """Hits and misses in the order in which average precision counts them.

    Args:
        classes: K, the number of classes.
        image: [n] row of the picture.
        class_id: [n] class, ascending.
        score: [n] falling within a class; ties by picture, then by row.
        hit: [n] a true positive.
        ignored: [n] found a box that does not count: neither right nor wrong.
        truth_image: [m] picture of every box that counts.
        truth_class: [m] class of every box that counts.
    """

    classes: int
    image: NDArray[np.int32]
    class_id: NDArray[np.int32]
    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truth_image: NDArray[np.int32]
    truth_class: NDArray[np.int32]

    def slices(self) -> list[slice]:
        """Return where each class lies among the detections."""
        bounds = np.searchsorted(self.class_id, np.arange(self.classes + 1))
        return [slice(int(first), int(last)) for first, last in itertools.pairwise(bounds)]
