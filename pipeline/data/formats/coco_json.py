"""JSON of a COCO file, read without ever holding all of its annotations as objects.

A million annotations are a gigabyte of dictionaries, outlines not counted. Here they are decoded one by one with the
standard library's own decoder and handed on in pieces; everything else in the file is small and comes back whole.
"""

from __future__ import annotations

import codecs
import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

PIECE = 10_000  # annotations handed on at once; from 1,000 to 100,000 the time is the same
_HEAD, _BLOCK = 4096, 1 << 20  # bytes looked at first, and then in one go
_LISTS = tuple(re.compile(rf'"{key}"\s{{0,20}}:\s{{0,20}}\[') for key in ("images", "annotations"))
_LONGEST = 64  # characters of what is looked for
_BLANKS = re.compile(r"[ \t\n\r]*").match
_COMMA_OR_END = re.compile(r"[ \t\n\r]*(?:,[ \t\n\r]*|(\]))").match
_LABELME = re.compile(r'"shapes"\s*:\s*\[')

Consumer = Callable[[list[Any]], None]


def looks_like_coco(file: Path) -> bool:
    """Whether lists `images` and `annotations` begin in a file; a look at the text, so that a broken one is found."""
    missing = list(_LISTS)
    tail = ""
    try:
        with file.open("rb") as stream:
            block = stream.read(_HEAD)
            decoder = codecs.getincrementaldecoder(json.detect_encoding(block))("replace")
            while block and missing:
                text = tail + decoder.decode(block)
                missing = [key for key in missing if not key.search(text)]
                if not tail and _LABELME.search(text):
                    return False  # there may be thousands of them, each with a picture inside
                tail = text[-_LONGEST:]
                block = stream.read(_BLOCK)
    except OSError:
        return False
    return not missing


def parse_document(text: str, key: str, consumer: Callable[[], Consumer]) -> Any:
    """Return what `json.loads(text)` returns, but for the list under the top level's `key`.

    Args:
        text: the JSON text.
        key: a key of the top level whose value, if it is a list, is handed on in pieces of at most `PIECE`.
        consumer: called where such a list begins, and returns what takes the pieces; that stands in the document
            instead of the list.

    Raises:
        ValueError, RecursionError: the text is not JSON, or nested too deeply.
    """
    with _without_collector():
        return _Parser(text, key, consumer).document()


@contextmanager
def _without_collector() -> Iterator[None]:
    """Rest the garbage collector, which finds nothing in plain values and takes a third of the time to look."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Parser:
    def __init__(self, text: str, key: str, consumer: Callable[[], Consumer]) -> None:
        self.text, self.key, self.consumer = text, key, consumer
        self.decode = JSONDecoder().raw_decode

    def document(self) -> Any:
        at = self._skip(0)
        value, at = self._object(at) if self._sign(at) == "{" else self.decode(self.text, at)
        at = self._skip(at)
        if at != len(self.text):
            raise JSONDecodeError("Extra data", self.text, at)
        return value

    def _object(self, at: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self._skip(at + 1)
        if self._sign(at) == "}":
            return found, at + 1
        while True:
            if self._sign(at) != '"':
                raise JSONDecodeError("Expecting property name enclosed in double quotes", self.text, at)
            key, at = self.decode(self.text, at)
            at = self._skip(self._expect(":", self._skip(at)))
            streamed = key == self.key and self._sign(at) == "["
            found[key], at = self._list(at) if streamed else self.decode(self.text, at)
            at = self._skip(at)
            if self._sign(at) == "}":
                return found, at + 1
            at = self._skip(self._expect(",", at))

    def _list(self, at: int) -> tuple[Consumer, int]:
        consume = self.consumer()
        at = self._skip(at + 1)
        if self._sign(at) == "]":
            return consume, at + 1
        text, decode = self.text, self.decode
        piece: list[Any] = []
        while True:
            value, at = decode(text, at)
            piece.append(value)
            follows = _COMMA_OR_END(text, at)
            if follows is None:
                raise JSONDecodeError("Expecting ',' delimiter", text, at)
            at = follows.end()
            ends = follows[1] == "]"
            if ends or len(piece) == PIECE:
                consume(piece)
                piece = []
            if ends:
                return consume, at

    def _skip(self, at: int) -> int:
        return _BLANKS(self.text, at).end()  # type: ignore[union-attr]  # the expression matches everywhere

    def _sign(self, at: int) -> str:
        return self.text[at : at + 1]

    def _expect(self, sign: str, at: int) -> int:
        if self._sign(at) != sign:
            raise JSONDecodeError(f"Expecting '{sign}' delimiter", self.text, at)
        return at + 1
