"""XML read with care: no document type, no entities, no depth without end, and the line of every element.

Expat alone reads the bytes. A document that declares a DOCTYPE is refused before an entity of it could be expanded or
fetched (OWASP, "XML External Entity Prevention"; expat's own limits would come later). Label files have no use for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from .label_text import decode_other

DEEPEST = 64  # levels; CVAT's skeletons need 5, an element of VOC 4
HEAD_BYTES = 1 << 16  # in which the root element must begin when a file is only looked at
LONGEST_TEXT = 1 << 16  # characters of an element that are kept; names and numbers need a few
_PIECE = 1 << 20
_BY_EXPAT = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-16le", "utf-16be", "iso-8859-1"})
# Encodings that tools on Windows really write; Python's whole list has codecs that are no text, or take quadratic time.
_BY_PYTHON = re.compile(r"(windows-?|cp)\d+|iso-?8859-\d+|gb2312|gbk|gb18030|big5|shift_?jis|euc[-_](jp|kr)|koi8-[ru]")
_DECLARED = re.compile(rb"<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([A-Za-z][\w.:-]*)[\"']")


class XmlError(Exception):
    """A document that cannot be read; `line` is where, from 1, or 0 where it is the file itself."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class _OtherRoot(Exception):
    """The root element has another tag."""


class Element:
    """One element with what is inside: `tag`, `attributes`, `children`, `text` (before the first child), `line`."""

    __slots__ = ("attributes", "children", "line", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str], line: int) -> None:
        self.tag = tag
        self.attributes = attributes
        self.line = line
        self.children: list[Element] = []
        self.text = ""

    def child(self, tag: str) -> Element | None:
        """Return the first child with this tag."""
        return next((child for child in self.children if child.tag == tag), None)

    def text_of(self, tag: str) -> str | None:
        """Return the text of the first child with this tag, without the blanks around it."""
        child = self.child(tag)
        return None if child is None else child.text.strip()

    def below(self) -> Iterator[Element]:
        """Give all elements inside, in the order in which they begin."""
        for child in self.children:
            yield child
            yield from child.below()


class XmlDocument:
    """A document whose parts are given one by one, so that a file of a million boxes never stands in memory as a tree.

    Args:
        path: the file.
        tag: of the root element. A file that has another one is of another kind: it gives nothing, broken or not.

    Attributes:
        encoding: what it was read in where it is neither UTF-8 nor what it declares, as `TextFile` has it; else
            `utf-8`.

    Raises:
        XmlError: it cannot be opened, or declares an encoding that is not known.
    """

    def __init__(self, path: Path, tag: str) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise XmlError(error.strerror or str(error)) from error
        self._content, encoding, self.encoding = _as_expat_reads(content)
        self._tag = tag
        self._parser = _parser(encoding)
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._open: list[Element] = []
        self._done: list[Element] = []
        self._root: Element | None = None

    @property
    def fits(self) -> bool:
        """Whether the root element was met and has the tag."""
        return self._root is not None and self._root.tag == self._tag

    def __iter__(self) -> Iterator[Element]:
        """Give the children of the root element, each complete.

        Raises:
            XmlError: the document is broken, cut off, nested too deep or has a DOCTYPE.
        """
        content = memoryview(self._content)
        for begin in range(0, len(content) + 1, _PIECE):
            try:
                self._parser.Parse(content[begin : begin + _PIECE], begin + _PIECE > len(content))
            except _OtherRoot:
                return
            except expat.ExpatError as error:
                raise XmlError(expat.ErrorString(error.code), error.lineno) from error
            except (ValueError, LookupError) as error:  # an encoding that expat asks Python for
                raise XmlError(str(error), 1) from error
            yield from self._done
            self._done.clear()

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) == DEEPEST:
            raise XmlError(f"elements are nested deeper than {DEEPEST} levels", self._parser.CurrentLineNumber)
        element = Element(tag, attributes, self._parser.CurrentLineNumber)
        if self._root is None:
            self._root = element
            if tag != self._tag:
                raise _OtherRoot
        elif len(self._open) > 1:
            self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if len(self._open) == 1:
            self._done.append(element)

    def _characters(self, text: str) -> None:
        element = self._open[-1]
        if not element.children and len(element.text) < LONGEST_TEXT:
            element.text += text


def root_tag(path: Path) -> str:
    """Return the tag of the root element from the file's head alone; empty where it cannot be told.

    A DOCTYPE begins with that tag; nothing behind it is read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        content, encoding, _ = _as_expat_reads(head)
    except (OSError, XmlError):
        return ""
    found: list[str] = []

    def stop(tag: str, *_: Any) -> None:
        found.append(tag)
        raise XmlError("")  # what comes behind does not matter here

    parser = _parser(encoding)
    parser.StartElementHandler = parser.StartDoctypeDeclHandler = stop
    try:
        parser.Parse(content, False)
    except (expat.ExpatError, ValueError, LookupError, XmlError):
        pass
    return found[0] if found else ""


def _parser(encoding: str | None) -> Any:
    parser = expat.ParserCreate(encoding)
    parser.buffer_text = True

    def refuse(*_: Any) -> None:
        raise XmlError("has a DOCTYPE, which could pull in other files; remove it", parser.CurrentLineNumber)

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    return parser


def _as_expat_reads(content: bytes) -> tuple[bytes, str | None, str]:
    """Return the content, the encoding to tell expat (None: as declared), and `XmlDocument.encoding`."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, whatever is declared
        return content.decode("utf-16", "replace").encode(), "utf-8", "utf-8"
    if b"\0" in content[:4]:
        return content, None, "utf-8"
    match = _DECLARED.search(content[:200])
    declared = match.group(1).decode().lower() if match else "utf-8"
    if declared in ("utf-8", "utf8", "us-ascii", "ascii") or declared.startswith("utf-16"):
        # "UTF-16" in front of bytes that are plainly not: written by programs that only took over the first line.
        if _is_utf8(content):
            return content, "utf-8", "utf-8"
        text, encoding = decode_other(content)
        return text.encode(), "utf-8", encoding
    if declared in _BY_EXPAT:
        return content, None, "utf-8"
    if _BY_PYTHON.fullmatch(declared):
        try:
            return content.decode(declared).encode(), "utf-8", "utf-8"
        except (UnicodeError, LookupError) as error:
            raise XmlError(f"declares the encoding {declared}, which it does not have ({error})", 1) from error
    raise XmlError(f"declares the encoding {declared}, which is not known; save it as UTF-8", 1)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        # A head that was cut inside its last character is sound.
        return error.reason == "unexpected end of data" and error.start > len(content) - 4
    return True
