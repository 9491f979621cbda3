"""Text files from people's hands: whatever encoding an editor or an export tool left them in becomes plain text.

Line ends of every system become one newline, so that a line's number is the one that an editor shows.
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass

# Printable ASCII and the blanks that stand inside of a line; a carriage return is left to the careful way.
_PLAIN = bytes([9, 10, 11, 12, *range(32, 127)])
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# No text has these; DOS ends a file with U+001A.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
_BLOCK = 1 << 16


@dataclass(frozen=True)
class TextFile:
    """The content of a text file.

    Args:
        text: with `\n` as the only line end and without byte order mark; empty where there is a problem.
        encoding: what it was decoded from; `utf-8` also where a mark stood before it.
        problem: why it could not be read as text, as a clause for a person; else None.
    """

    text: str
    encoding: str = "utf-8"
    problem: str | None = None


def read_text(path: str, limit: int | None = None) -> TextFile:
    """Read a text file in UTF-8, UTF-16 (with mark, or told by its zero bytes) or Windows-1252. Never raises.

    Args:
        path: the file.
        limit: bytes above which a file is not what was looked for, or None.
    """
    try:
        content = _read_bytes(path, limit)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        return TextFile("", problem=getattr(error, "strerror", None) or str(error))
    if limit is not None and len(content) > limit:
        return TextFile("", problem=f"larger than {limit // 1024**2} MiB, so not what is expected here")
    return decode(content)


def _read_bytes(path: str, limit: int | None) -> bytes:
    """Return the file's bytes; `open()` takes three times as long, which counts with 100,000 label files."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        content = os.read(handle, _BLOCK)
        if len(content) < _BLOCK:
            return content
        blocks, size = [content], len(content)
        while (limit is None or size <= limit) and (block := os.read(handle, _BLOCK)):
            blocks.append(block)
            size += len(block)
        return b"".join(blocks)
    finally:
        os.close(handle)


def decode(content: bytes) -> TextFile:
    """Return the text of a file's bytes; `problem` says if they are something else than text.

    Windows-1252 contains what is printable in Latin-1 and comes last, because almost any bytes can be read as it.
    """
    if not content.translate(None, _PLAIN):
        return TextFile(content.decode("ascii"))
    for encoding in _likely(content):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").rstrip("\x1a")
        if not _CONTROL.search(text):
            return TextFile(text, encoding)
    return TextFile("", problem="its content is no text")


def _likely(content: bytes) -> list[str]:
    if content[:2] in _UTF16:
        return [_UTF16[content[:2]]]
    if b"\0" in content:  # of ASCII signs in UTF-16 every second byte is zero, and never the other one
        zeros = {"utf-16-be": content[::2].count(0), "utf-16-le": content[1::2].count(0)}
        encoding = max(zeros, key=lambda name: zeros[name])
        return [encoding] if min(zeros.values()) == 0 and zeros[encoding] * 4 >= len(content) else []
    return ["utf-8", "cp1252"]
