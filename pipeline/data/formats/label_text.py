"""Text from people's hands: whatever encoding an editor or an export tool left a file in becomes plain text, and what
stands in it becomes fit to be shown.

Line ends of every system become one newline, so that a line's number is the one that an editor shows.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...findings import Finding
from ..raw import ROWS_NAMED

LONGEST_SHOWN = 200  # characters of a value or row that a message or the ledger shows

# Printable ASCII and the blanks that stand inside of a line; a carriage return is left to the careful way.
_PLAIN = bytes([9, 10, 11, 12, *range(32, 127)])
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# No text has these; DOS ends a file with U+001A.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f]")
_SPOKEN = {"cp1252": "Windows-1252", "latin-1": "Latin-1", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}
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
    """Read a text file in UTF-8, UTF-16 (with mark, or told by its zero bytes), Windows-1252 or Latin-1. Never raises.

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

    Windows-1252 contains what is printable in Latin-1 and comes late, because almost any bytes can be read as it.
    Latin-1 has the five that it lacks, so that a file in an Asian encoding keeps at least its numbers.
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


def decode_other(content: bytes) -> tuple[str, str]:
    """Return the text of bytes that are known not to be UTF-8 or UTF-16, and the encoding that was taken."""
    try:
        return content.decode("cp1252"), "cp1252"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"  # has all bytes


def _likely(content: bytes) -> list[str]:
    if content[:2] in _UTF16:
        return [_UTF16[content[:2]]]
    if b"\0" in content:  # of ASCII signs in UTF-16 every second byte is zero, and never the other one
        zeros = {"utf-16-be": content[::2].count(0), "utf-16-le": content[1::2].count(0)}
        encoding = max(zeros, key=lambda name: zeros[name])
        return [encoding] if min(zeros.values()) == 0 and zeros[encoding] * 4 >= len(content) else []
    return ["utf-8", "cp1252", "latin-1"]


def encoding_findings(encodings: Sequence[tuple[str, str]]) -> list[Finding]:
    """Return the finding for text files that are not UTF-8, out of (name, encoding) of all files."""
    other = {name: encoding for name, encoding in encodings if encoding != "utf-8"}
    if not other:
        return []
    kinds = " and ".join(sorted({_SPOKEN[encoding] for encoding in other.values()}))
    message = f"{len(other)} text files are not UTF-8; they were read as {kinds}"
    advice = "look whether class names have their accents, and save them as UTF-8 for other programs"
    evidence = {"count": len(other), "files": list(other)[:ROWS_NAMED]}
    return [Finding("labels.encoding", "info", message, evidence, advice)]


def is_text(value: str) -> bool:
    r"""Whether a string can be written: JSON can hold half of a character, such as "\ud800", and the system allows any
    bytes in the name of a file, which Python keeps as such halves.
    """
    return value.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in value)


def printable(text: str) -> str:
    """Return text with what cannot be written (see `is_text`) spelt out; nothing else is changed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value: Any) -> str:
    """Return a value as a message or a table shows it: one line of `LONGEST_SHOWN` characters, writable."""
    try:
        text = str(value)
    except (RecursionError, ValueError):  # as deep as the decoder goes, or a whole number of thousands of digits
        return f"a {type(value).__name__} too large to show"
    text = printable(" ".join(text[: 4 * LONGEST_SHOWN].split())).replace("\0", "")
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."
