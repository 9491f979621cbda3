"""The headers of many pictures as one table: sizes, orientation, kind, and what is wrong with a file.

Files are known by their content and never by their name, and no pixel is decoded. What stands in the table is what
OpenCV makes of a file, because `images.read_picture` goes by it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from . import header_formats
from .header_content import Content, Header, Unusable, undecodable
from .tiff_header import tiff

HEADERS_SCHEMA: dict[str, Any] = {
    "width": pl.UInt32,  # pixels as `read_picture` delivers them; null where there is a problem
    "height": pl.UInt32,
    "stored_width": pl.UInt32,  # before the turn that EXIF asks for; null where the header cannot be read
    "stored_height": pl.UInt32,
    "orientation": pl.UInt8,  # EXIF, 1 to 8
    "mode": pl.String,  # Pillow's words: L, RGB, RGBA, LA, P, CMYK, 1, I;16, I;16S, I, F, YCbCr, LAB
    "bits": pl.UInt8,  # per channel, as stored
    "pages": pl.UInt16,  # pictures in the file; the first is read
    "bytes": pl.UInt64,
    "problem": pl.String,  # images.missing, .empty_file, .not_a_picture, .truncated, .too_large
    "detail": pl.String,  # one clause for a person
}
MOST_PIXELS = 1 << 30  # what OpenCV decodes unless its environment variables say otherwise
LONGEST_SIDE = 1 << 20  # likewise
_LONGEST_OF_KIND = {"png": 1_000_000, "jpeg": 65_500}  # limits built into libpng and libjpeg
_LARGEST = (1 << 32) - 1  # that the table holds; BigTIFF could state more
_THREADS = 8  # reading waits for disks and network drives; with files in memory threads neither help nor harm
_SHARE = 64  # files that a thread takes at once


class _Row(NamedTuple):
    header: Header | None
    size: int
    problem: str | None = None
    detail: str | None = None


def picture_headers(paths: Sequence[Path | str]) -> pl.DataFrame:
    """Return one row of `HEADERS_SCHEMA` for each path, in their order; a bad file is a row with a `problem`.

    Args:
        paths: picture files; what their names end in does not matter.
    """
    shares = [paths[start : start + _SHARE] for start in range(0, len(paths), _SHARE)]
    with ThreadPoolExecutor(_THREADS) as pool:
        rows = [row for share in pool.map(_read_share, shares) for row in share]
    return pl.DataFrame(rows, schema=HEADERS_SCHEMA, orient="row")


def problem_of(path: Path | str) -> str | None:
    """Return what is wrong with a file in one clause, or None."""
    return _look(path).detail


def _read_share(paths: Sequence[Path | str]) -> list[tuple[Any, ...]]:
    return [_as_row(_look(path)) for path in paths]


def _as_row(found: _Row) -> tuple[Any, ...]:
    header = found.header
    if header is None or max(header.width, header.height) > _LARGEST:
        return (*[None] * 8, found.size, found.problem, found.detail)
    width, height, mode, bits, orientation, pages = header
    read = (height, width) if orientation >= 5 else (width, height)
    shown = (None, None) if found.problem else read
    return (*shown, width, height, orientation, mode, bits, pages, found.size, found.problem, found.detail)


def _look(path: Path | str) -> _Row:
    size = 0
    try:
        state = os.stat(path)  # before it is opened: a pipe would never answer
        size = state.st_size
        if not stat.S_ISREG(state.st_mode):
            return _Row(None, 0, "images.not_a_picture", "a folder" if stat.S_ISDIR(state.st_mode) else "not a file")
        if not size:
            return _Row(None, 0, "images.empty_file", "the file is empty")
        with FileIO(path) as file:
            header = _parse(Content(file, size))
    except FileNotFoundError:
        return _Row(None, 0, "images.missing", "no such file")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or str(error)
        return _Row(None, size, "images.missing", f"the file cannot be opened ({why})")
    except Unusable as found:
        return _Row(found.header, size, found.problem, found.detail)
    return _Row(header, size)


_Parser = Callable[[Content], Header]
_SIGNATURES: tuple[tuple[bytes, str, _Parser], ...] = (
    (b"\xff\xd8\xff", "jpeg", header_formats.jpeg),
    (b"\x89PNG\r\n\x1a\n", "png", header_formats.png),
    (b"BM", "bmp", header_formats.bmp),
    (b"II*\0", "tiff", tiff),
    (b"MM\0*", "tiff", tiff),
    (b"II+\0", "tiff", tiff),
    (b"MM\0+", "tiff", tiff),
    (b"GIF87a", "gif", header_formats.gif),
    (b"GIF89a", "gif", header_formats.gif),
)


def _parse(content: Content) -> Header:
    head = content.head
    for signature, kind, parser in _SIGNATURES:
        if head.startswith(signature):
            return _checked(parser(content), kind)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _checked(header_formats.webp(content), "webp")
    raise undecodable(_looks_like(head))


def _checked(header: Header, kind: str) -> Header:
    width, height = header.width, header.height
    if not width or not height:
        raise undecodable(f"its header says {width} x {height} pixels")
    if width * height > MOST_PIXELS or max(width, height) > _LONGEST_OF_KIND.get(kind, LONGEST_SIDE):
        raise Unusable("images.too_large", f"{width:,} x {height:,} pixels; OpenCV decodes at most 2^30", header)
    return header


# What stands in place of pictures in real folders. Order matters: the first that fits is named.
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the pictures with `git lfs pull`"),
    (b"<?xml", "starts like XML or SVG"),
    (b"<svg", "starts like XML or SVG"),
    (b"<", "starts like a web page"),
    (b"{", "starts like JSON"),
    (b"[", "starts like JSON"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"v/1\x01", "an OpenEXR picture, which is not read; save it as TIFF of 32 bits"),
    (b"#?R", "a Radiance HDR picture, which is not read; save it as TIFF of 32 bits"),
    (b"8BPS", "a Photoshop file; save it as PNG or JPEG"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture, which is not read; save it as PNG"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture, which is not read; save it as PNG"),
    (b"\x93NUMPY", "a NumPy array; save it as PNG or TIFF"),
    (b"\0\0\x01\0", "an icon"),
)
_MEDIA = {  # brands of ISO base media files
    b"heic": "a HEIC picture, as phones take them; save it as JPEG",
    b"heix": "a HEIC picture, as phones take them; save it as JPEG",
    b"mif1": "a HEIC picture, as phones take them; save it as JPEG",
    b"avif": "an AVIF picture, which is not read; save it as PNG or JPEG",
    b"avis": "an AVIF picture, which is not read; save it as PNG or JPEG",
}


def _looks_like(head: bytes) -> str:
    """Return what a file is that is no picture, as far as its first bytes tell."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for signature, words in _FOREIGN:
        if head.startswith(signature) or text.startswith(signature):
            return words
    if head[4:8] == b"ftyp":
        return _MEDIA.get(head[8:12], "a film (MP4 or the like)")
    if head[128:132] == b"DICM":
        return "a DICOM file; save it as PNG of 16 bits"
    if head[:1] == b"P" and head[1:2] in b"1234567Ff" and head[2:3].isspace():
        return "a Netpbm picture, which is not read; save it as PNG"
    if not head.strip(b"\0"):
        return "starts with nothing but zeros, as after a copy that broke off"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head[:64]):
        return "starts like text"
    return f"starts with the bytes {head[:4].hex(' ')}, like no kind of picture that is known"
