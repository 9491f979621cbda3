"""Boxes around the outlines that COCO's `segmentation` may hold: polygons and run-length encoded masks.

Encoding of masks: the runs of zeros and ones by turns, down the columns; packed as text in groups of 5 bits, each run
after the third as the difference to the one two before (https://github.com/cocodataset/cocoapi, common/maskApi.c).
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Corners = tuple[float, float, float, float]
_MAX_SIDE = 2**31  # pixels; a picture's sides are 32-bit numbers
_MAX_GROUPS = 7  # of 5 bits: a run is shorter than 2^32 pixels


def box_of_outline(outline: Any) -> Corners | None:
    """Return the corners in pixels of the box around a `segmentation`, or None where it holds no outline.

    Args:
        outline: a list of polygons `[x1, y1, x2, y2, ...]`, one such polygon, or `{"size": [height, width],
            "counts": ...}` with the run lengths as a list or packed as text.
    """
    if isinstance(outline, dict):
        return _box_of_mask(outline.get("counts"), outline.get("size"))
    if not isinstance(outline, list) or not outline:
        return None
    return _box_of_polygons(outline if all(isinstance(part, list) for part in outline) else [outline])


def _box_of_polygons(polygons: list[Any]) -> Corners | None:
    flat = list(chain.from_iterable(polygons))
    if not flat or any(len(polygon) % 2 for polygon in polygons) or not set(map(type, flat)) <= {int, float}:
        return None
    try:
        points = np.array(flat, np.float64).reshape(-1, 2)  # [points, (x, y)]
    except OverflowError:
        return None
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return (x1, y1, x2, y2)


def _box_of_mask(counts: Any, size: Any) -> Corners | None:
    """Return the box of a mask's pixels; each pixel is one wide, as in pycocotools."""
    if not isinstance(size, list) or len(size) != 2 or not all(type(v) is int and 0 < v < _MAX_SIDE for v in size):
        return None
    height, width = size
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and 0 <= run <= height * width for run in runs):
        return None
    ends = np.cumsum(np.array(runs, np.int64))
    first, last = ends[:-1:2], ends[1::2] - 1  # of the runs of ones, in pixels down the columns
    filled = last >= first
    if not filled.any() or ends[-1] > height * width or ends.min() < 0:
        return None
    first, last = first[filled], last[filled]
    (x1, top), (x2, bottom) = np.divmod(first, height), np.divmod(last, height)
    over_columns = bool((x1 < x2).any())  # such a run touches the lower and the upper edge
    y1, y2 = (0, height - 1) if over_columns else (int(top.min()), int(bottom.max()))
    return (float(x1.min()), float(y1), float(x2.max() + 1), float(y2 + 1))


def _unpacked(text: str) -> list[int] | None:
    """Return the runs of a packed mask, or None where the text is no such thing."""
    signs: NDArray[np.int64] = np.array([ord(sign) - 48 for sign in text], np.int64)
    if not signs.size or signs.min() < 0 or signs.max() > 63 or signs[-1] & 32:
        return None
    runs: list[int] = []
    value, groups = 0, 0
    for sign in signs.tolist():
        value |= (sign & 31) << (5 * groups)
        groups += 1
        if groups > _MAX_GROUPS:
            return None
        if sign & 32:  # more groups follow
            continue
        value -= (sign & 16) << (5 * groups - 4)  # the highest bit is the number's sign
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, groups = 0, 0
    return runs
