"""YAML from people's hands: read safely, with line numbers, and written so that it reads the same again.

Plain values only. Of YAML 1.1's guesses the ones that spoil class names and rates are left out: `yes`, `no`, `on`
and `off` stay text, `1e-3` is a number, `010` and `1:30` stay text, and a date is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError, TuneUpError

MAX_BYTES = 4 * 1024 * 1024  # a thousand class names are 30 kB
MAX_ALIAS_VALUES = 10_000  # values that aliases may repeat; a "billion laughs" file asks for 10^9

_STANDARD = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT, _STR = (f"{_STANDARD}{name}" for name in ("null", "bool", "int", "float", "str"))
_MERGE, _SEQ, _MAP = (f"{_STANDARD}{name}" for name in ("merge", "seq", "map"))

_DIGITS = list("0123456789")
_PLAIN: tuple[tuple[str, re.Pattern[str], list[str]], ...] = (  # tag, what it looks like, how it starts
    (_NULL, re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    (_BOOL, re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    # Longer numbers and those with a leading zero are serial numbers rather than amounts: they stay text.
    (_INT, re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), ["-", "+", *_DIGITS]),
    (
        _FLOAT,
        re.compile(
            r"(?:[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        ["-", "+", ".", *_DIGITS],
    ),
    (_MERGE, re.compile(r"<<\Z"), ["<"]),
)


class _Loader(yaml.SafeLoader):
    """Knows the plain values of this module only."""


class _Dumper(yaml.SafeDumper):
    """Quotes what this module or a YAML 1.1 reader would otherwise take for something else than text."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes Unicode's own line breaks into single quotes, where they are read back as a blank.
    style = '"' if any(sign in text for sign in "\x85\u2028\u2029") else None
    return dumper.represent_scalar(_STR, text, style=style)


class _FlowDumper(_Dumper):
    """Keeps text with line breaks on one line."""


def _represent_on_one_line(dumper: _FlowDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_STR, text, style='"' if text and text.splitlines() != [text] else None)


_Dumper.add_representer(str, _represent_text)
_FlowDumper.add_representer(str, _represent_on_one_line)
_Loader.yaml_implicit_resolvers = {}
_Dumper.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)
for _character, _resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items():
    _Dumper.yaml_implicit_resolvers.setdefault(_character, []).extend(_resolvers)


@dataclass(frozen=True)
class YamlDocument:
    """What a YAML file says, and where it says so.

    Args:
        value: the top level mapping in plain Python; keys are text, or numbers where the file has numbers.
        source: the file's name as it was given.
        lines: line (from 1) of each key and list item, by dotted path (`train.epochs`, `names.3`).
    """

    value: dict[Any, Any]
    source: str
    lines: Mapping[str, int]

    def line(self, dotted_path: str) -> int | None:
        """Return the line on which the key stands, or None where the document has no such key."""
        return self.lines.get(dotted_path)


def read_yaml(path: Path, error: type[TuneUpError]) -> YamlDocument:
    """Read a YAML file whose top level is a mapping; an empty file is an empty mapping.

    Raises `error` (such as ConfigError or DataError) for a file that cannot be read or is not UTF-8, for a syntax
    error, a tag, a key given twice, aliases without end, and a top level that is not a mapping.
    """
    return parse_yaml(_read_text(path, error), str(path), error)


def parse_yaml(text: str, source: str, error: type[TuneUpError]) -> YamlDocument:
    """Read YAML text as `read_yaml` does; `source` is the file name for messages. Raises `error` likewise."""
    reader = _Reader(source)
    try:
        root = yaml.compose(text, Loader=_Loader)
        value = None if root is None else reader.value(root, "")
    except yaml.YAMLError as problem:
        raise _error(error, [_describe_syntax(problem, text, source)]) from None
    except RecursionError:
        raise _error(error, [f"{source}: nested too deeply to be a configuration or a list of names"]) from None
    if not reader.problems and value is not None and not isinstance(value, dict):
        reader.problems.append(f"{source}:1: the top level must be `key: value` lines, not {_kind(value)}")
    if reader.problems:
        raise _error(error, reader.problems)
    return YamlDocument(value=value or {}, source=source, lines=reader.lines)


def parse_scalar(text: str) -> Any:
    """Return the value that `text` stands for in `key=value`; what is nothing else is text. Never raises.

    Numbers, `true`/`false`, `null`/`none`, quoted text, lists `[0, 1]` and mappings `{a: 1}`. Anything that only begins
    like one, such as the regular expression `[a-z]+_(.*)`, is text.
    """
    text = text.strip()
    if text.lower() == "none":
        return None  # the spelling of those who come from Python
    if not text.startswith(("[", "{", '"', "'")):
        return _plain_value(text)
    reader = _Reader("")
    try:
        root = yaml.compose(text, Loader=_Loader)
        value = text if root is None else reader.value(root, "")
    except (yaml.YAMLError, RecursionError):
        return text
    return text if reader.problems else value


def dump_yaml(value: Mapping[str, Any]) -> str:
    """Return YAML text which `parse_yaml` reads back to the same value, in the given order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def flow(value: Any) -> str:
    """Return a value on one line, such as `[{GaussNoise: {p: 0.3}}]`, which `parse_scalar` reads back to the same."""
    text: str = yaml.dump(
        value, Dumper=_FlowDumper, sort_keys=False, allow_unicode=True, width=math.inf, default_flow_style=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


class _Reader:
    """Turns composed YAML nodes into plain Python; collects problems and line numbers on the way."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[str] = []
        self.lines: dict[str, int] = {}
        self._seen: set[int] = set()
        self._open: set[int] = set()  # nodes that are being read: meeting one again is a circle
        self._repeated = 0

    def value(self, node: yaml.Node, path: str) -> Any:
        if not self._may_enter(node):
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
                return self._sequence(node, path)
            if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
                return self._mapping(node, path)
        finally:
            self._open.discard(id(node))
        return self._refuse_tag(node)

    def _may_enter(self, node: yaml.Node) -> bool:
        if id(node) in self._open:
            self._problem(node, "an alias contains itself")
            return False
        if id(node) not in self._seen:
            self._seen.add(id(node))
            return True
        self._repeated += 1
        if self._repeated == MAX_ALIAS_VALUES + 1:
            self._problem(node, f"aliases repeat more than {MAX_ALIAS_VALUES:,} values; write the values out")
        return self._repeated <= MAX_ALIAS_VALUES

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag not in _CONVERT:
            return self._refuse_tag(node)
        try:
            return _CONVERT[node.tag](node.value)
        except (ValueError, KeyError):  # only an explicit tag gets here: `!!int five`
            return self._refuse_tag(node)

    def _sequence(self, node: yaml.SequenceNode, path: str) -> list[Any]:
        items = []
        for index, child in enumerate(node.value):
            where = _join(path, index)
            self.lines[where] = child.start_mark.line + 1
            items.append(self.value(child, where))
        return items

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        inherited: dict[Any, Any] = {}
        own_lines: dict[Any, int] = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                inherited = {**self._merged(child, path), **inherited}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, "a key must be a single word or number")
                continue
            key = self._scalar(key_node)
            if key in own_lines:
                first = f"{self.source}:{own_lines[key]}"
                self._problem(key_node, f"{_join(path, key)}: given twice; first in {first}; remove one")
                continue
            own_lines[key] = line
            self.lines[_join(path, key)] = line
            result[key] = self.value(child, _join(path, key))
        return {**inherited, **result}

    def _merged(self, node: yaml.Node, path: str) -> dict[Any, Any]:
        """Return what `<<: *defaults` brings in; of several mappings the first one wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[Any, Any] = {}
        for source in sources:
            lines_before = dict(self.lines)
            value = self.value(source, path)
            self.lines.update(lines_before)  # a key's own line goes before that of the one it replaces
            if isinstance(value, dict):
                result = {**value, **result}
            elif not self.problems:
                self._problem(source, "`<<` takes a mapping, such as an alias `*name` of one")
        return result

    def _refuse_tag(self, node: yaml.Node) -> None:
        name = node.tag.replace(_STANDARD, "!!")
        self._problem(node, f"tags are not allowed, found {name!r}; write the plain value")

    def _problem(self, node: yaml.Node, text: str) -> None:
        self.problems.append(f"{self.source}:{node.start_mark.line + 1}: {text}")


_BOOLEANS = {"true": True, "false": False}
_CONVERT: dict[str, Callable[[str], Any]] = {
    _NULL: lambda text: None,
    _BOOL: lambda text: _BOOLEANS[text.lower()],
    _INT: int,
    _FLOAT: lambda text: float(re.sub(r"\.(?=inf|nan)", "", text.lower())),
    _STR: str,
    _MERGE: str,  # `<<` as a value is only text
}


def _plain_value(text: str) -> Any:
    for tag, pattern, _ in _PLAIN:
        if pattern.match(text):
            return _CONVERT[tag](text)
    return text


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"the single value {str(value)[:40]!r}"


def _error(error: type[TuneUpError], problems: list[str]) -> TuneUpError:
    return error(problems) if issubclass(error, ConfigError) else error("\n".join(problems))


def _describe_syntax(problem: yaml.YAMLError, text: str, source: str) -> str:
    if isinstance(problem, yaml.reader.ReaderError):
        line = text.count("\n", 0, problem.position) + 1
        return f"{source}:{line}: the character U+{problem.character:04X} may not stand in a YAML file"
    mark = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
    what = getattr(problem, "problem", None) or getattr(problem, "context", None) or str(problem)
    line = 1 if mark is None else mark.line + 1
    return f"{source}:{line}: not valid YAML: {what}; look at this line and the one above"


def _read_text(path: Path, error: type[TuneUpError]) -> str:
    full = path.absolute()
    try:
        if not full.exists():
            raise _error(error, [f"no such file: {full}"])
        if not full.is_file():
            raise _error(error, [f"a folder or device, not a file: {full}"])
        with full.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as problem:  # ValueError: a zero byte in the name
        raise _error(error, [f"cannot be read: {full}: {getattr(problem, 'strerror', None) or problem}"]) from None
    if len(content) > MAX_BYTES:
        raise _error(error, [f"larger than {MAX_BYTES // 1024**2} MiB, so not what is expected here: {full}"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise _error(error, [f"not UTF-8 text (line {line}); save it as UTF-8: {full}"]) from None
