"""Geometry of the overlapping tiles that a large picture is cut into; knows neither pictures nor networks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

MOST_OVERLAP = 0.9  # beyond it every pixel lies in more than a hundred tiles


def check_tiling(side: int, overlap: float) -> None:
    """Make sure that tiles of this kind can be laid.

    Raises:
        UsageError: the side is less than one pixel, or the overlap is out of range.
    """
    if side < 1:
        raise UsageError(f"tile: {side}: a tile has a side of at least 1 pixel")
    if not 0 <= overlap <= MOST_OVERLAP:
        raise UsageError(f"overlap: {overlap}: a fraction of the tile's side, from 0 to {MOST_OVERLAP}")


def tile_rectangles(width: int, height: int, side: int, overlap: float) -> NDArray[np.int64]:
    """Return the tiles that cover a picture, row by row, as whole pixels [n, 4] x1 y1 x2 y2.

    All tiles of a picture have one size: `side`, or the picture's own where that is less. Neighbours share at least
    `overlap` of the side. The last column and the last row are moved inwards instead of reaching beyond the picture.

    Args:
        width, height: of the picture, in pixels.
        side: of a tile, in pixels of the picture.
        overlap: fraction of the side that neighbours share at least.

    Raises:
        UsageError: as `check_tiling`.
    """
    check_tiling(side, overlap)
    x1, y1 = (axis.ravel() for axis in np.meshgrid(_starts(width, side, overlap), _starts(height, side, overlap)))
    return np.column_stack([x1, y1, x1 + min(side, width), y1 + min(side, height)])


def _starts(length: int, side: int, overlap: float) -> NDArray[np.int64]:
    """Return where tiles begin along one axis."""
    if length <= side:
        return np.zeros(1, np.int64)
    step = max(1, side - math.ceil(side * overlap))
    count = math.ceil((length - side) / step) + 1
    return np.minimum(np.arange(count, dtype=np.int64) * step, length - side)


def inner_edges(tiles: NDArray[np.int64], width: int, height: int) -> NDArray[np.bool_]:
    """Return for each tile whether its left, upper, right and lower edge lies inside the picture, [n, 4].

    Only there can a tile cut an object that the picture shows whole.
    """
    return np.asarray(tiles != np.array([0, 0, width, height]))


def clip_to_tile(
    boxes: NDArray[np.float64], tile: NDArray[np.int64] | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what a tile shows of boxes, and which fraction of each box's area that is.

    Args:
        boxes: [n, 4] corners in pixels of the picture, each of an area above 0.
        tile: [4] or [n, 4] corners of the tile, or of one for each box.

    Returns:
        Corners [n, 4] in pixels of the picture (of no area where the box lies outside), and fractions [n] from 0 to 1.
    """
    limits = np.broadcast_to(np.asarray(tile, np.float64), boxes.shape)
    low, high = limits[:, :2], limits[:, 2:]
    clipped = np.concatenate([np.clip(boxes[:, :2], low, high), np.clip(boxes[:, 2:], low, high)], axis=1)
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    left = (clipped[:, 2:] - clipped[:, :2]).prod(axis=1)
    return clipped, np.divide(left, whole, out=np.zeros_like(left), where=whole > 0)
