"""Which values of pictures with more than 8 bits become black and white: one range for a whole dataset."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .images import ValueRange, listed, read_stored

MOST_SAMPLED = 200  # pictures looked at
# Shares and counts that are left out at either end; `docs/benchmarks/picture_headers.md` has what they were tried on.
STRAY_PIXELS = 1e-5  # of a picture: clusters of hot pixels
STRAY_PICTURES = 0.01  # of the sampled pictures: broken or over-exposed ones; at least one from ENOUGH on
ENOUGH = 20
_THREADS = 4  # decoding lets go of Python's lock; each holds one picture at full size
_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)


@dataclass(frozen=True)
class SampledRange:
    """What a look at pictures with more than 8 bits told.

    Args:
        value_range: (black, white), or None where no picture counts or whole numbers and fractions are mixed.
        unusable: picture and reason of each that was looked at and has no values that count.
        whole: the first picture that holds whole numbers, or None.
        fractions: the first picture that holds fractions, or None.
    """

    value_range: ValueRange | None
    unusable: tuple[tuple[Path, str], ...]
    whole: Path | None
    fractions: Path | None


def value_range_of(paths: Sequence[Path]) -> ValueRange:
    """Return (black, white) for all pictures of a set alike, black < white; the same for the same files.

    Args:
        paths: as for `sampled_range`.

    Raises:
        DataError: no picture among them has more than 8 bits and can be decoded, or some hold whole numbers and
            others fractions, which have no range in common.
    """
    found = sampled_range(paths)
    if found.whole and found.fractions:
        raise DataError(
            f"some deep pictures hold whole numbers ({found.whole}) and others fractions ({found.fractions}), which "
            "have no range in common; save all in one form"
        )
    if found.value_range is None:
        head = f"none of {len(paths)} pictures has more than 8 bits and can be decoded"
        raise DataError(listed(head, [f"{path}: {why}" for path, why in found.unusable]) if found.unusable else head)
    return found.value_range


def sampled_range(paths: Sequence[Path]) -> SampledRange:
    """Look for one range for all pictures of a set; the same for the same files.

    Of each picture counts the largest value that a neighbouring pixel reaches as well, less a hundred-thousandth of
    its pixels: a hot pixel stands alone, a defect does not, however small. A quantile such as 99.9 % would clip a
    bright defect of a few hundred pixels to the brightness of an even surface around it. Of all pictures counts the
    largest of these values, less the hundredth with the most extreme ones. The same holds for the smallest.

    Args:
        paths: pictures; at most `MOST_SAMPLED` of them, spread evenly, are decoded. Those of 8 bits, and those that
            cannot be decoded, do not count.
    """
    count = min(len(paths), MOST_SAMPLED)
    sampled = [paths[k] for k in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))]
    with ThreadPoolExecutor(_THREADS) as pool:
        looked = list(zip(sampled, pool.map(_extremes_of, sampled), strict=True))
    unusable = tuple((path, seen) for path, seen in looked if isinstance(seen, str))
    found = [(path, seen) for path, seen in looked if seen is not None and not isinstance(seen, str)]
    whole, fractions = (next((path for path, seen in found if seen[2] is kind), None) for kind in (True, False))
    one_form = not (whole and fractions)
    value_range = _common([seen[:2] for _, seen in found]) if found and one_form else None
    return SampledRange(value_range, unusable, whole, fractions)


def _common(found: list[tuple[float, float]]) -> ValueRange:
    """Return the range of all pictures from the (smallest, largest) value of each."""
    low, high = (np.sort([extremes[k] for extremes in found]) for k in (0, 1))
    stray = max(int(STRAY_PICTURES * len(found)), 1 if len(found) >= ENOUGH else 0)
    black, white = float(low[stray]), float(high[-1 - stray])
    return (black, white) if black < white else (black, black + 1.0)


def _extremes_of(path: Path) -> tuple[float, float, bool] | str | None:
    """Return smallest and largest value of a picture and whether they are whole numbers.

    None where it has 8 bits and so does not count, and the reason where it should count and cannot.
    """
    try:
        stored = read_stored(path)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")
    if stored.dtype == np.uint8:
        return None
    low, high = extremes(stored)
    return (low, high, stored.dtype.kind != "f") if np.isfinite(low) else "not one of its values is a finite number"


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
