"""Large JSON files read piece by piece, so that their objects need never all be in memory at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from pydantic_core import from_json

from ..errors import DataError

# Characters read at once, some 1,000 detections: they are gone before Python's garbage collector looks at them a second
# time, which takes a third off the time that pieces of 4 million characters need.
_PIECE = 100_000
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def read_lists(path: Path, wanted: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield (key, some entries) of the wanted lists of an object, in pieces, or of a list with the key "".

    A list yields at least once, even if it is empty.

    Raises:
        DataError: the file cannot be read, is cut off, or is neither; or a wanted key holds something else than a list.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = _Reader(path, file)
            start = reader.peek()
            if start == "":
                raise DataError(f"{path}: the file is empty; write it again")
            if start == "[":
                yield "", []
                for piece in reader.entries():
                    yield "", piece
            elif start == "{":
                yield from _read_object(path, reader, wanted)
            else:
                raise reader.fault("expected [ or {")
            if reader.peek():
                raise reader.fault("there is more text after the end")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason}); is it a JSON file?") from error


def _read_object(path: Path, reader: _Reader, wanted: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    for key in reader.keys():
        if key not in wanted:
            reader.value()
            continue
        if reader.peek() not in ("[", ""):
            raise DataError(f"{path}: no COCO file, '{key}' is not a list")
        yield key, []
        for piece in reader.entries():
            yield key, piece


class _Reader:
    """Reads JSON from a file, of which it keeps no more than a few pieces in memory."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._text = ""
        self._at = 0
        self._passed = 0  # characters before `_text`
        self._whole = False  # nothing more to come

    def peek(self) -> str:
        """Return the next character that is no space, "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if self._at < len(self._text):
                return self._text[self._at]
            if self._whole:
                return ""
            self._more()

    def value(self) -> Any:
        """Return the next value, whatever it is."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end + len("e+") < len(self._text) or self._whole:  # a number may go on in the next piece
                    self._at = end
                    return value
            except RecursionError:
                raise DataError(f"{self._path}: brackets are nested too deeply; this is no COCO file") from None
            except ValueError as error:
                if self._whole:
                    raise self._broken(error) from error
            self._more()

    def keys(self) -> Iterator[str]:
        """Yield the keys of an object; the caller takes the value of each."""
        return (self._key() for _ in self._members("{", "}"))

    def entries(self) -> Iterator[list[Any]]:
        """Yield the entries of a list, many at once.

        Up to the last "}," of the text at hand there should be whole entries, which pydantic's parser reads fast. If it
        refuses them, that comma stands inside of an entry or behind the list's end: then half the text is tried, and so
        on. What is left is read one by one.
        """
        window = _PIECE
        for _ in self._members("[", "]"):
            if len(self._text) - self._at < _PIECE and not self._whole:
                self._more()
            window = min(2 * window, _PIECE)
            piece: list[Any] = []
            while not piece and (end := self._text.rfind("},", self._at, self._at + window) + 1):
                try:
                    piece = from_json(f"[{self._text[self._at : end]}]")
                    self._at = end
                except ValueError:
                    window //= 2
            yield piece or [self.value()]

    def fault(self, why: str) -> DataError:
        """Return the error for what stands at the present place, or for the end of the file."""
        return self._cut_off() if self.peek() == "" else self._misplaced(why, self._at)

    def _broken(self, error: ValueError) -> DataError:
        """Return the error for a value that cannot be read, with the whole rest of the file at hand."""
        try:
            from_json(self._text[self._at :])
        except ValueError as other:  # unlike Python's own parser it tells an end from other mistakes
            if str(other).startswith("EOF"):
                return self._cut_off()
        if isinstance(error, json.JSONDecodeError):
            return self._misplaced(error.msg, error.pos)
        return self._misplaced(str(error), self._at)

    def _cut_off(self) -> DataError:
        length = self._passed + len(self._text)
        return DataError(f"{self._path}: ends in the middle, after {length:,} characters; write or copy it again")

    def _misplaced(self, why: str, at: int) -> DataError:
        near = self._text[max(at - 30, 0) : at + 30]
        return DataError(
            f"{self._path}: not JSON at character {self._passed + at:,} ({why}), near {near!r}; write it again"
        )

    def _members(self, opening: str, closing: str) -> Iterator[None]:
        """Stop at every member between brackets; the caller takes at least one."""
        if self.peek() != opening:
            raise self.fault(f"expected {opening}")
        self._at += 1
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            following = self.peek()
            if following not in (closing, ","):
                raise self.fault(f"expected , or {closing}")
            self._at += 1
            if following == closing:
                return

    def _key(self) -> str:
        if self.peek() != '"':
            raise self.fault("expected a key")
        key = str(self.value())
        if self.peek() != ":":
            raise self.fault("expected :")
        self._at += 1
        return key

    def _more(self) -> None:
        """Read on; what was taken is dropped. Reading doubles where one value is larger than a piece."""
        rest = self._text[self._at :]
        piece = self._file.read(max(_PIECE, len(rest)))
        self._passed += self._at
        self._text, self._at = rest + piece, 0
        self._whole = not piece
