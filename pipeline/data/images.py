"""Picture files: which ones count, how large they are, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .picture_headers import picture_headers, problem_of

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_LISTED = 10  # problems named one by one before the rest is counted
ValueRange = tuple[float, float]  # the values of deep pictures that become 0 and 255
_DEEP_KINDS = (b"II", b"MM", b"\x89PNG")  # TIFF, PNG: not Radiance HDR, which OpenCV would read as well
_ROWS = 256  # of a picture, scaled at once


def is_picture(path: Path) -> bool:
    """Whether the file's name ends like a picture's; hidden files (such as macOS' `._x.jpg`) are none."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def picture_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels as `read_picture` will deliver it, from the file's header alone.

    Raises:
        DataError: the file is missing, empty, cut off, not a picture, or too large to be decoded.
    """
    (found,) = sizes_or_problems([path])
    if isinstance(found, str):
        raise DataError(found)
    return found


def sizes_or_problems(paths: Sequence[Path]) -> list[tuple[int, int] | str]:
    """Return (width, height) of each picture as `read_picture` will deliver it, or what is wrong and what to do."""
    rows = picture_headers(paths).select("width", "height", "problem", "detail").iter_rows()
    return [
        (width, height) if problem is None else f"{path}: {_WORDS[problem].format(detail)}"
        for path, (width, height, problem, detail) in zip(paths, rows, strict=True)
    ]


_WORDS = {
    "images.missing": "{}",
    "images.empty_file": "{}; remove it or save it again",
    "images.not_a_picture": "not a picture that can be read ({}); remove it or save it again",
    "images.truncated": "the file is cut off ({}); copy it again, or remove it",
    "images.too_large": "too large to be decoded ({}); cut it into smaller pictures",
}


def picture_sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Return the size of many pictures.

    Raises:
        DataError: naming all the pictures that cannot be read.
    """
    found = sizes_or_problems(paths)
    problems = [item for item in found if isinstance(item, str)]
    if problems:
        raise DataError(listed(f"{len(problems)} of {len(paths)} pictures cannot be read", problems))
    return [item for item in found if not isinstance(item, str)]


def read_stored(path: Path) -> NDArray[Any]:
    """Return the picture in the depth of its file, turned as its EXIF data says.

    Grey is [height, width], everything else [height, width, 3] in BGR order: palettes and CMYK are made BGR, an alpha
    channel is dropped as Ultralytics drops it, and of several pages the first is read. The type is uint8, uint16,
    int16, or a number of 32 or 64 bits of a TIFF.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    try:
        raw = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    try:
        picture = cv2.imdecode(raw, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH) if raw.size else None
    except cv2.error:  # more pixels than OpenCV reads
        picture = None
    known = picture is not None and (picture.dtype == np.uint8 or raw[:4].tobytes().startswith(_DEEP_KINDS))
    if picture is None or not known:
        why = problem_of(path) or "damaged, or of a kind that OpenCV does not decode"
        raise DataError(f"{path}: not a picture that can be decoded ({why}); remove it or save it again")
    return np.asarray(picture)


def read_picture(path: Path, value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """Return the picture as uint8 [height, width, 3] in BGR order, turned as its EXIF data says.

    Args:
        path: the file.
        value_range: (black, white) of the dataset, for pictures with more than 8 bits; others it does not change.

    Raises:
        DataError: the file is missing or cannot be decoded, or has more than 8 bits and there is no range.
    """
    stored = read_stored(path)
    if stored.dtype != np.uint8:
        if value_range is None:
            raise DataError(
                f"{path}: has {8 * stored.itemsize} bits per channel, and which of its values are black and white is "
                "not known here; that is kept in a run trained on such pictures (tuneup predict runs/NAME), "
                "else save the picture with 8 bits"
            )
        stored = scaled(stored, value_range)
    picture = cv2.cvtColor(stored, cv2.COLOR_GRAY2BGR) if stored.ndim == 2 else stored
    return np.asarray(picture, np.uint8)


def scaled(picture: NDArray[Any], value_range: ValueRange) -> NDArray[np.uint8]:
    """Return a picture of any depth as uint8: black becomes 0, white 255, what lies beyond is clipped, NaN is black.

    Raises:
        ValueError: black does not lie below white.
    """
    black, white = value_range
    if not (np.isfinite(black) and np.isfinite(white) and black < white):
        raise ValueError(f"value_range: black, {black}, does not lie below white, {white}")
    if picture.dtype in (np.uint16, np.int16):  # 65,536 possible values: each is worked out once
        table = _table(picture.dtype.str, float(black), float(white))
        return table[picture.view(np.uint16)]
    result = np.empty(picture.shape, np.uint8)
    for row in range(0, len(picture), _ROWS):  # in parts, as float64 takes eight times the memory of the result
        result[row : row + _ROWS] = _to_8_bit(picture[row : row + _ROWS].astype(np.float64), black, white)
    return result


@lru_cache(maxsize=4)
def _table(dtype: str, black: float, white: float) -> NDArray[np.uint8]:
    values = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    return _to_8_bit(values.astype(np.float64), black, white)


def _to_8_bit(values: NDArray[np.float64], black: float, white: float) -> NDArray[np.uint8]:
    parts = np.clip((values - black) / (white - black), 0, 1)
    return np.rint(np.nan_to_num(parts, copy=False, nan=0.0) * 255).astype(np.uint8)


def listed(head: str, problems: Sequence[str]) -> str:
    """Return a message with the first problems on lines of their own and the number of the rest."""
    rest = len(problems) - MAX_LISTED
    tail = [f"  ... and {rest} more"] if rest > 0 else []
    return "\n".join([f"{head}:", *(f"  {problem}" for problem in problems[:MAX_LISTED]), *tail])
