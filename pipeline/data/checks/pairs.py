"""Pairs of boxes in the same place, found by sorting, without comparing each with each."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..boxes import iou_of_pairs

# In BCCD the pairs of an IoU above 0.9 are one object labelled twice; the next one has 0.83. Sound sets reach 0.48
# (docs/findings-data.md).
SAME_PLACE = 0.9
# labelImg's command "duplicate" puts the copy 2 pixels to the right and down. Copies that nobody moved have exactly the
# size of the first box; of small ones the IoU is far below 0.9.
COPY_SHIFT = 2.0
_ROUNDING = 0.02  # pixels: YOLO's six decimals of a picture of 10,000 pixels
_SMALLEST_COPY = 8.0  # pixels a side; below, two objects side by side may well have the same whole numbers


def boxes_in_one_place(boxes: pl.DataFrame, least: float = SAME_PLACE) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of rows of one picture that mark one place, as two arrays of row numbers.

    They do if their IoU is above `least`, or if they have the same size and are not more than 2 pixels apart in both
    directions. An IoU above t needs more than t of the wider box's width in common, so that the left sides are less
    than 1 - t of a width apart: each box is compared only with those that follow it within that distance.

    Args:
        boxes: `image_id` and `x1` to `y2`, sorted by `image_id` and `x1`.
        least: IoU above which two boxes lie in one place.
    """
    image = boxes["image_id"].to_numpy()
    xyxy = np.ascontiguousarray(boxes.select("x1", "y1", "x2", "y2").to_numpy())
    left, top = np.ascontiguousarray(xyxy[:, 0]), np.ascontiguousarray(xyxy[:, 1])
    size = xyxy[:, 2:] - xyxy[:, :2]
    near = COPY_SHIFT + _ROUNDING
    reach_x = left + np.maximum((1 - least) * size[:, 0], near)
    reach_y = np.maximum((1 - least) * size[:, 1] / least, near)  # the other one may be the higher of the two
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    open_rows = np.arange(len(boxes), dtype=np.int64)
    step = 1
    while len(open_rows):
        open_rows = open_rows[: np.searchsorted(open_rows, len(boxes) - step)]
        after = open_rows + step
        follows = (image[after] == image[open_rows]) & (left[after] <= reach_x[open_rows])
        open_rows, after = open_rows[follows], after[follows]
        close = np.abs(top[after] - top[open_rows]) <= reach_y[open_rows]
        first, second = open_rows[close], after[close]
        same = (iou_of_pairs(xyxy[first], xyxy[second]) > least) | _copies(xyxy[first], xyxy[second])
        found.append((first[same], second[same]))
        step += 1
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])


def _copies(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    shift = np.abs(other - one)
    sizes = one[:, 2:] - one[:, :2], other[:, 2:] - other[:, :2]
    same_size = (np.abs(sizes[0] - sizes[1]) <= _ROUNDING).all(axis=1) & (sizes[0] >= _SMALLEST_COPY).all(axis=1)
    return np.asarray(same_size & (shift <= COPY_SHIFT + _ROUNDING).all(axis=1))
