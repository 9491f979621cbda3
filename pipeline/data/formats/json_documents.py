"""JSON label files: read whole, or looked at by the keys that stand near their beginning."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from .label_text import read_text

HEAD_BYTES = 1 << 16  # of a file that is only looked at
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(rf'({_STRING})(\s*:)?|([\[{{\]}}])|"', re.DOTALL)


class JsonError(Exception):
    """A document that cannot be read; `line` is where, from 1, or 0 where it is the file itself."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Outline(NamedTuple):
    """What the first bytes of a document show: `kind` is object, list or empty; the `keys` are those of the object,
    or of the objects in the list.
    """

    kind: str
    keys: frozenset[str]


def load_json(path: Path) -> tuple[Any, str]:
    """Return the document and the encoding that it was read in, as `TextFile` has it.

    Raises:
        JsonError: it cannot be opened or is no JSON.
    """
    content = read_text(str(path))
    if content.problem is not None:
        raise JsonError(content.problem)
    try:
        return json.loads(content.text), content.encoding
    except json.JSONDecodeError as error:
        raise JsonError(error.msg, error.lineno) from error
    except RecursionError as error:
        raise JsonError("lists or objects are nested too deep", 1) from error
    except ValueError as error:  # a number of more than 4,300 digits
        raise JsonError(str(error).split(";")[0], 1) from error


def outline(path: Path) -> Outline:
    """Look at the beginning of a file; a broken or cut document is looked at as well."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return Outline("", frozenset())
    text = head.decode(json.detect_encoding(head), "replace").lstrip("\ufeff \t\r\n")
    kind = {"{": "object", "[": "list"}.get(text[:1], "")
    wanted = {"object": ["{"], "list": ["[", "{"]}.get(kind)
    keys: set[str] = set()
    level: list[str] = []
    for match in _TOKEN.finditer(text):
        string, colon, bracket = match.groups()
        if bracket in ("[", "{"):
            level.append(bracket)
        elif bracket:
            del level[-1:]
        elif string is None:
            break  # a string that the head cuts off
        elif colon and level == wanted:
            keys.add(string[1:-1])
    return Outline(kind, frozenset(keys))
