"""What the parsers of picture headers share: the bytes of a file, what a header says, why a file is of no use."""

from __future__ import annotations

import struct
from io import FileIO
from typing import Any, NamedTuple

HEAD = 16 * 1024  # bytes read at once; the header of nearly every file lies within


class Header(NamedTuple):
    """What a header says.

    Args:
        width: pixels, as stored.
        height: likewise.
        mode: in Pillow's words: "L", "RGB", "RGBA", "LA", "P", "CMYK", "1", "I;16", "I", "F", ...
        bits: per channel, as stored; of a palette picture those of the index.
        orientation: EXIF, 1 to 8.
        pages: pictures in the file; OpenCV reads the first.
    """

    width: int
    height: int
    mode: str
    bits: int
    orientation: int = 1
    pages: int = 1


class Unusable(Exception):
    """Why a file is no picture that can be decoded: id of the finding, a clause for a person, what is known of it."""

    def __init__(self, problem: str, detail: str, header: Header | None = None) -> None:
        super().__init__(detail)
        self.problem, self.detail, self.header = problem, detail, header


class Content:
    """The bytes of a file, of which only the beginning is kept."""

    def __init__(self, file: FileIO, size: int) -> None:
        self._file, self.size = file, size
        self.head = file.read(HEAD)

    def at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset` on, fewer at the end of the file."""
        if offset + count <= len(self.head):
            return self.head[offset : offset + count]
        if offset >= self.size:
            return b""
        self._file.seek(offset)
        return self._file.read(min(count, self.size - offset))

    def find(self, wanted: bytes, start: int) -> int:
        """Return where `wanted` stands for the first time from `start` on, or -1."""
        while start < self.size:
            part = self.at(start, 1 << 20)
            found = part.find(wanted)
            if found >= 0:
                return start + found
            if len(part) < len(wanted):
                break
            start += len(part) - len(wanted) + 1
        return -1


def cut_off(what: str, header: Header | None = None) -> Unusable:
    """Return the problem of a file that ends too early."""
    return Unusable("images.truncated", what, header)


def undecodable(what: str, header: Header | None = None) -> Unusable:
    """Return the problem of a file that OpenCV does not decode."""
    return Unusable("images.not_a_picture", what, header)


def unpack(layout: str, content: Content, offset: int) -> tuple[Any, ...]:
    """Return numbers that stand at `offset`.

    Raises:
        Unusable: the file ends before them.
    """
    raw = content.at(offset, struct.calcsize(layout))
    if len(raw) < struct.calcsize(layout):
        raise cut_off("it ends within its header")
    return struct.unpack(layout, raw)
