"""Which values of pictures with more than 8 bits become black and white: one range for a whole dataset."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .images import ValueRange, read_stored

MOST_SAMPLED = 200  # pictures looked at
# Shares and counts that are left out at either end; `docs/benchmarks/picture_headers.md` has what they were tried on.
STRAY_PIXELS = 1e-5  # of a picture: clusters of hot pixels
STRAY_PICTURES = 0.01  # of the sampled pictures: broken or over-exposed ones; at least one from ENOUGH on
ENOUGH = 20
_THREADS = 4  # decoding lets go of Python's lock; each holds one picture at full size
_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)


def value_range_of(paths: Sequence[Path]) -> ValueRange:
    """Return (black, white) for all pictures of a set alike, black < white; the same for the same files.

    Of each picture counts the largest value that a neighbouring pixel reaches as well, less a hundred-thousandth of
    its pixels: a hot pixel stands alone, a defect does not, however small. A quantile such as 99.9 % would clip a
    bright defect of a few hundred pixels to the brightness of an even surface around it. Of all pictures counts the
    largest of these values, less the hundredth with the most extreme ones. The same holds for the smallest.

    Args:
        paths: pictures; at most `MOST_SAMPLED` of them, spread evenly, are decoded. Those of 8 bits, and those that
            cannot be decoded, do not count.

    Raises:
        DataError: no picture among them has more than 8 bits and can be decoded, or some hold whole numbers and
            others fractions, which have no range in common.
    """
    count = min(len(paths), MOST_SAMPLED)
    sampled = [paths[k] for k in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = [extremes for extremes in pool.map(_extremes_of, sampled) if extremes is not None]
    if not found:
        raise DataError(f"none of {len(paths)} pictures has more than 8 bits and can be decoded")
    whole = [is_whole for _, _, is_whole in found]
    if any(whole) and not all(whole):
        raise DataError(
            f"{sum(whole)} of {len(found)} deep pictures hold whole numbers and the others fractions, which have no "
            "range in common; save all in one form"
        )
    low, high = (np.sort([extremes[k] for extremes in found]) for k in (0, 1))
    stray = max(int(STRAY_PICTURES * len(found)), 1 if len(found) >= ENOUGH else 0)
    black, white = float(low[stray]), float(high[-1 - stray])
    return (black, white) if black < white else (black, black + 1.0)


def _extremes_of(path: Path) -> tuple[float, float, bool] | None:
    """Return smallest and largest value of a picture and whether they are whole numbers; None where it does not count.

    A picture without a finite value does not count either.
    """
    try:
        stored = read_stored(path)
    except DataError:
        return None
    if stored.dtype == np.uint8:
        return None
    low, high = extremes(stored)
    return (low, high, stored.dtype.kind != "f") if np.isfinite(low) else None


def extremes(picture: NDArray[np.generic]) -> tuple[float, float]:
    """Return the smallest and the largest value of a picture without its stray pixels; nan where none is finite."""
    values = picture if picture.dtype in (np.uint16, np.int16) else picture.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return float("nan"), float("nan")
    if not finite.all():
        values = np.where(finite, values, np.median(values[finite]))
    if values.shape[:2] == (1, 1):
        return float(values.min()), float(values.max())
    # Each pixel moved to within the range of its neighbours.
    top = np.minimum(values, cv2.dilate(values, _NEIGHBOURS)).ravel()
    bottom = np.maximum(values, cv2.erode(values, _NEIGHBOURS)).ravel()
    stray = int(STRAY_PIXELS * top.size)
    return float(np.partition(bottom, stray)[stray]), float(np.partition(top, -1 - stray)[-1 - stray])
