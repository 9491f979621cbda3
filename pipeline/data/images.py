"""Picture files: which ones count, how large they are, and how they are read."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from ..errors import DataError

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_ORIENTATION = 0x0112  # EXIF tag; values 5 to 8 turn the picture by a quarter
MAX_LISTED = 10  # problems named one by one before the rest is counted


def is_picture(path: Path) -> bool:
    """Whether the file's name ends like a picture's; hidden files (such as macOS' `._x.jpg`) are none."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def picture_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels as `read_picture` will deliver it, from the file's header alone.

    Raises:
        DataError: the file is missing, empty or not a picture.
    """
    try:
        with Image.open(path) as picture:
            width, height = _stored_size(picture)
            turned = _orientation(path, picture) in {5, 6, 7, 8}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: too large to be opened safely ({error}); cut it into smaller pictures") from error
    except Exception as error:  # Pillow raises anything for a damaged header, Ultralytics' patch of it even ImportError
        empty = path.is_file() and path.stat().st_size == 0
        why = "the file is empty" if empty else getattr(error, "strerror", None) or "not a picture that can be read"
        raise DataError(f"{path}: {why}; remove it or save it again") from error
    return (height, width) if turned else (width, height)


def _stored_size(picture: Image.Image) -> tuple[int, int]:
    """Return (width, height) as stored in the file; of a TIFF, Pillow's own size may be the turned one."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(picture.tag_v2[TiffImagePlugin.IMAGEWIDTH]), int(picture.tag_v2[TiffImagePlugin.IMAGELENGTH])
    return picture.size


def _orientation(path: Path, picture: Image.Image) -> int:
    """Return what OpenCV goes by: EXIF alone. Pillow's `getexif` counts XMP as well, and decodes a whole PNG for it."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(picture.tag_v2.get(_ORIENTATION, 1))
    content = _png_exif(path) if picture.format == "PNG" else picture.info.get("exif", b"")
    exif = Image.Exif()
    try:
        exif.load(content)
        return int(exif.get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF raises anything, and turns nothing
        return 1


def _png_exif(path: Path) -> bytes:
    """Return the content of the chunk eXIf, which may stand before or behind the pixels."""
    with path.open("rb") as file:
        file.seek(len(b"\x89PNG\r\n\x1a\n"))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return file.read(length)
            file.seek(length + len(b"CRC."), os.SEEK_CUR)
    return b""


def picture_sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Return the size of many pictures.

    Raises:
        DataError: naming all the pictures that cannot be read.
    """

    def size_or_problem(path: Path) -> tuple[int, int] | str:
        try:
            return picture_size(path)
        except DataError as error:
            return str(error)

    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("ignore")  # what Pillow says of large pictures and odd tags is of no use here
        found = list(pool.map(size_or_problem, paths))
    problems = [item for item in found if isinstance(item, str)]
    if problems:
        raise DataError(listed(f"{len(problems)} of {len(paths)} pictures cannot be read", problems))
    return [item for item in found if not isinstance(item, str)]


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return the picture as uint8 [height, width, 3] in BGR order, turned as its EXIF data says.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    try:
        raw = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    try:
        picture = cv2.imdecode(raw, cv2.IMREAD_COLOR) if raw.size else None
    except cv2.error:  # more pixels than OpenCV reads
        picture = None
    if picture is None:
        raise DataError(f"{path}: not a picture that can be decoded; remove it or save it again")
    return np.asarray(picture, np.uint8)


def listed(head: str, problems: Sequence[str]) -> str:
    """Return a message with the first problems on lines of their own and the number of the rest."""
    rest = len(problems) - MAX_LISTED
    tail = [f"  ... and {rest} more"] if rest > 0 else []
    return "\n".join([f"{head}:", *(f"  {problem}" for problem in problems[:MAX_LISTED]), *tail])
