"""Lists of class names that stand beside label files: one name a line, or a label map of TensorFlow."""

from __future__ import annotations

import re
from typing import NamedTuple

from .label_text import read_text

_LONGEST_LIST = 4 * 1024**2  # bytes; a thousand names are 30 kB
_ITEM = re.compile(r"item\s*\{([^}]*)\}")
_ID, _NAME = re.compile(r"\bid\s*:\s*(\d{1,9})"), re.compile(r"\bname\s*:\s*['\"]([^'\"]*)['\"]")


class ClassList(NamedTuple):
    """Class names in their order.

    Args:
        names: (line, name), without those that are empty; a name may stand there twice. In a label map the line is the
            class's id.
        encoding: as `TextFile` has it.
        problem: why it could not be read, as a clause for a person; else None.
    """

    names: list[tuple[int, str]]
    encoding: str
    problem: str | None


def read_class_list(file: str) -> ClassList:
    """Read a list of class names, a label map if its name ends in `.pbtxt`. Never raises."""
    content = read_text(file, _LONGEST_LIST)
    if file.endswith(".pbtxt"):
        items = ((_ID.search(item), _NAME.search(item)) for item in _ITEM.findall(content.text))
        lines = sorted(((int(key[1]), name[1]) for key, name in items if key and name), key=lambda pair: pair[0])
    else:
        lines = list(enumerate(content.text.split("\n"), start=1))
    names = [(number, name.strip()) for number, name in lines if name.strip()]
    return ClassList(names, content.encoding, content.problem)
