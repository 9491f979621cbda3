"""Pairs of boxes in the same place, found by sorting, without comparing each with each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
_SMALLEST_COPY = 8.0  # pixels a side; below, two objects side by side may well have the same whole numbers; judgement


# Boxes that lie within reach of the usual one along the left sides, from which on the other three sides are tried. It
# decides about time alone: trying costs three sorts.
_MANY = 32


def boxes_in_one_place(boxes: pl.DataFrame, least: float = SAME_PLACE) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of rows of one picture that mark one place, as two arrays of row numbers, the smaller one first.

    They do if their IoU is above `least`, or if they have the same size and are not more than 2 pixels apart in both
    directions. An IoU above t needs more than t of the larger width in common, so that left sides, and right sides, are
    less than (1 - t) / t of either width apart, and likewise for heights: along one side of the boxes each is compared
    only with those that follow it within that distance.

    Args:
        boxes: `image_id` and `x1` to `y2`, sorted by `image_id` and `x1`.
        least: IoU above which two boxes lie in one place.
    """
    image = boxes["image_id"].to_numpy()
    xyxy = np.ascontiguousarray(boxes.select("x1", "y1", "x2", "y2").to_numpy())
    reach = np.maximum((xyxy[:, 2:] - xyxy[:, :2]) * ((1 - least) / least), COPY_SHIFT + _ROUNDING)
    order, side = _walk(image, xyxy, reach)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for first, second in _within_reach(image, xyxy[order, side], reach[order, side % 2]):
        one, other = order[first], order[second]
        close = (np.abs(xyxy[other, :2] - xyxy[one, :2]) <= reach[one]).all(axis=1)
        one, other = one[close], other[close]
        same = (iou_of_pairs(xyxy[one], xyxy[other]) > least) | _copies(xyxy[one], xyxy[other])
        found.append((np.minimum(one[same], other[same]), np.maximum(one[same], other[same])))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])


def _within_reach(
    image: NDArray[np.integer[Any]], along: NDArray[np.float64], reach: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs of places of one picture that are within reach of the first; sorted by picture and `along`."""
    rows = np.arange(len(along), dtype=np.int64)
    step = 1
    while len(rows):
        rows = rows[: np.searchsorted(rows, len(along) - step)]
        after = rows + step
        follows = (image[after] == image[rows]) & (along[after] <= along[rows] + reach[rows])
        rows, after = rows[follows], after[follows]
        yield rows, after
        step += 1


def _walk(
    image: NDArray[np.integer[Any]], xyxy: NDArray[np.float64], reach: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows in the order in which to walk through each picture, and the side (0 to 3) that each goes along.

    Usually the left side. In a picture where many boxes share it, the side along which the fewest are within reach.
    """
    picture = np.cumsum(np.append(0, image[1:] != image[:-1])) if len(image) else np.zeros(0, np.int64)
    order, sides = np.arange(len(image), dtype=np.int64), np.zeros(len(image), np.int64)
    fewest = _pairs_along(picture, xyxy[:, 0], reach[:, 0])
    crowded = np.flatnonzero((fewest > _MANY * np.bincount(picture))[picture]) if len(image) else order
    for side in (1, 2, 3):
        rows = crowded[np.lexsort((xyxy[crowded, side], picture[crowded]))]  # of each picture in the same places
        count = _pairs_along(picture[rows], xyxy[rows, side], reach[rows, side % 2], len(fewest))
        better = (count < fewest)[picture[rows]]
        order[crowded[better]], sides[crowded[better]] = rows[better], side
        fewest = np.where(count < fewest, count, fewest)
    return order, sides


def _pairs_along(
    picture: NDArray[np.int64], along: NDArray[np.float64], reach: NDArray[np.float64], pictures: int = 0
) -> NDArray[np.float64]:
    """Return for each picture how many pairs are within reach, but for rounding; sorted by picture and `along`."""
    if not len(along):
        return np.zeros(pictures)
    apart = float(np.ptp(along) + reach.max()) + 1  # lays the pictures side by side on one axis
    place = along - along.min() + picture * apart
    following = np.searchsorted(place, place + reach, side="right") - np.arange(len(place)) - 1
    return np.bincount(picture, np.maximum(following, 0), minlength=pictures).astype(np.float64)


def _copies(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    shift = np.abs(other - one)
    sizes = one[:, 2:] - one[:, :2], other[:, 2:] - other[:, :2]
    same_size = (np.abs(sizes[0] - sizes[1]) <= _ROUNDING).all(axis=1) & (sizes[0] >= _SMALLEST_COPY).all(axis=1)
    return np.asarray(same_size & (shift <= COPY_SHIFT + _ROUNDING).all(axis=1))
