"""Class names of YOLO datasets, and the numbers that stand for them in the label files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from ...errors import DataError
from ...findings import Finding
from ...yaml_source import YamlDocument
from ..raw import ROWS_NAMED
from .class_lists import read_class_list
from .label_text import printable

_MOST_CLASSES = 2**16 - 1  # the column class_id holds 16 bits
_NUMBER_DIGITS = 9  # of a class number; longer ones are something else
# Without a list of names, larger numbers than this are taken for mistakes: LVIS, the detection set with the most
# classes in wide use, has 1203 (arXiv 1908.03195).
_LARGEST_MADE_UP = 1202


@dataclass(frozen=True)
class Classes:
    """Class names and their numbers in the label files.

    Args:
        names: class names; their place is the `class_id` of the dataset.
        numbers: the number of each class in the label files, in the same order.
        findings: what was noticed about them.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    findings: tuple[Finding, ...] = ()

    def by_name(self) -> dict[str, int]:
        """Return the number in the label files by name."""
        return dict(zip(self.names, self.numbers, strict=True))

    def with_numbers_seen(self, numbers: pl.Series) -> Classes:
        """Return the classes; if they were renumbered, the finding also tells which numbers of the rows are no key."""
        renumbered = [finding for finding in self.findings if finding.id == "names.renumbered"]
        strange = numbers.filter(~numbers.is_in(list(map(float, self.numbers)))).unique().sort()
        if not renumbered or not strange.len():
            return self
        finding = renumbered[0]
        first = ", ".join(f"{number:g}" for number in strange.head(ROWS_NAMED))
        message = f"{finding.message}; label files use numbers that are not among them: {first}"
        told = replace(
            finding, message=message, evidence={**finding.evidence, "unknown": strange.head(ROWS_NAMED).to_list()}
        )
        return replace(self, findings=tuple(told if one is finding else one for one in self.findings))

    def knows(self, numbers: pl.Series) -> pl.Series:
        """Return whether each number may be judged by the list: where the list has gaps, only its own numbers may.

        A number in a gap, or beyond, must not become that of another class or be told by another number.
        """
        if self.numbers == tuple(range(len(self.numbers))):
            return pl.repeat(True, numbers.len(), eager=True)
        own = [*map(float, self.numbers)]
        return numbers.fill_nan(own[0]).is_in(own)  # what is no number is judged like a class of any list

    def class_ids(self, numbers: pl.Series) -> pl.Series:
        """Return the class id of each number of the label files; one that stands for no class comes out of range."""
        first = self.numbers[0]
        if self.numbers[-1] - first == len(self.numbers) - 1:  # they are sorted: no gaps
            return numbers.to_frame().select(pl.first() - first).to_series()
        schema = {"number": pl.Float64, "id": pl.Float64}
        known = pl.DataFrame(
            {"number": list(map(float, self.numbers)), "id": list(map(float, range(len(self.numbers))))}, schema
        )
        table = numbers.alias("number").to_frame().join(known, on="number", how="left", maintain_order="left")
        # A number in a gap must not become that of another class: it is moved behind the last one.
        gap = pl.col("number").is_between(0, len(self.names) - 1)
        moved = pl.when(gap).then(pl.col("number") + len(self.names)).otherwise("number")
        return table.select(pl.coalesce("id", moved)).to_series()


def classes_from_yaml(document: YamlDocument, first_class: int) -> Classes:
    """Return the classes that `names:` of a data.yaml lists.

    Args:
        document: the data.yaml.
        first_class: number of the first class in the label files. Keys that do not begin with 0 say it themselves.

    Raises:
        DataError: there is no such list, a name is empty, given twice or no text, a key is no class number, or `nc`
            says another number of classes; with the line.
    """
    found = document.value.get("names")
    if not isinstance(found, list | dict) or not found:
        raise DataError(
            f"{_at(document, 'names')}: the list of classes `names:` is missing; "
            "write for instance `names: [scratch, pit]`"
        )
    if isinstance(found, dict):
        keys = {_class_number(document, key): key for key in found}
        if len(keys) < len(found):
            raise DataError(f"{_at(document, 'names')}: a class number stands twice in `names`, found {list(found)}")
        ordered = [(number, f"names.{keys[number]}", found[keys[number]]) for number in sorted(keys)]
    else:
        ordered = [(number, f"names.{number}", value) for number, value in enumerate(found)]
    names = [_name(document, path, value) for _, path, value in ordered]
    _refuse_repeated(names, [_at(document, path) for _, path, _ in ordered])
    nc = document.value.get("nc")
    if nc is not None and (type(nc) is bool or str(nc).strip() != str(len(names))):
        raise DataError(
            f"{_at(document, 'nc')}: `nc` is {printable(str(nc))[:40]}, but `names` has {len(names)}; "
            "remove `nc` or mend the list"
        )
    numbers = [number for number, _, _ in ordered]
    if numbers == list(range(len(names))):
        return Classes(tuple(names), tuple(number + first_class for number in numbers))
    if numbers[0] == 0:
        numbers = [number + first_class for number in numbers]
    return Classes(tuple(names), tuple(numbers), (_renumbered(document, names, numbers),))


def _at(document: YamlDocument, path: str) -> str:
    line = document.line(path)
    return document.source if line is None else f"{document.source}:{line}"


def _class_number(document: YamlDocument, key: Any) -> int:
    text = str(key).strip()
    if isinstance(key, bool) or not (text.isascii() and text.isdecimal() and len(text) <= _NUMBER_DIGITS):
        raise DataError(
            f"{_at(document, f'names.{key}')}: the keys of `names` are class numbers from 0 on, found "
            f"{printable(text)!r}"
        )
    return int(text)


def _name(document: YamlDocument, path: str, value: Any) -> str:
    """Return a name as text; what YAML takes for something else than text is a class called otherwise in the end."""
    if value is None or isinstance(value, bool):
        word = "nothing at all" if value is None else f"the truth value {str(value).lower()}"
        raise DataError(f"{_at(document, path)}: YAML takes this class name for {word}; put it in quotes")
    if not isinstance(value, str | int | float):
        raise DataError(f"{_at(document, path)}: a class name must be text, found {printable(str(value))[:60]}")
    text = str(value).strip()
    if printable(text) != text:
        raise DataError(f"{_at(document, path)}: the class name {printable(text)!r} has signs that are no text")
    return text


def _refuse_repeated(names: Sequence[str], places: Sequence[str]) -> None:
    """Raise DataError for empty names and for names given twice, with the place of the first one."""
    seen: dict[str, str] = {}
    for name, place in zip(names, places, strict=True):
        if not name:
            raise DataError(f"{place}: a class name is empty; every class needs its own")
        if name in seen:
            raise DataError(f"{place}: the class name '{name}' is given twice; first in {seen[name]}")
        seen[name] = place
    if len(names) > _MOST_CLASSES:
        raise DataError(f"{places[0]}: {len(names)} class names; at most {_MOST_CLASSES} are possible")


def _renumbered(document: YamlDocument, names: Sequence[str], numbers: Sequence[int]) -> Finding:
    mapping = {str(number): class_id for class_id, number in enumerate(numbers)}
    first = ", ".join(f"{number} is now {class_id} ({names[class_id]})" for number, class_id in mapping.items())
    message = f"the class numbers in `names` do not run from 0 without gaps and were renumbered: {first[:300]}"
    evidence = {"count": len(names), "mapping": mapping, "files": [_at(document, "names")]}
    advice = "check that the label files use the numbers of `names`; nothing in them was changed"
    return Finding("names.renumbered", "warning", message, evidence, advice)


def classes_from_lists(files: Sequence[str], first_class: int) -> Classes:
    """Return the classes of plain lists, one name a line, such as classes.txt or obj.names.

    Args:
        files: absolute paths; the first one counts, and others that say something else are an error finding.
        first_class: number of the first class in the label files.

    Raises:
        DataError: the first list cannot be read, is empty, or has a name twice.
    """
    lists = {}
    findings = []
    for file in files:
        found = read_class_list(file)
        if found.problem is not None:
            raise DataError(f"{printable(file)}: {found.problem}; expected a list of class names, one a line")
        lists[file] = [(f"{printable(file)}:{line}", name) for line, name in found.names]
    first, *others = lists
    names = [name for _, name in lists[first]]
    if not names:
        raise DataError(f"{printable(first)}: the list of class names is empty; write one name a line")
    _refuse_repeated(names, [place for place, _ in lists[first]])
    different = [file for file in others if [name for _, name in lists[file]] != names]
    if different:
        message = f"the lists of class names differ: {printable(first)} and {printable(different[0])}"
        evidence = {
            "count": len(different) + 1,
            "files": [printable(file) for file in (first, *different)][:ROWS_NAMED],
        }
        advice = "a number would stand for two classes; find the right list, and remove the others"
        findings.append(Finding("names.differ", "error", message, evidence, advice))
    return Classes(tuple(names), tuple(range(first_class, first_class + len(names))), tuple(findings))


def made_up_classes(numbers: pl.Series, first_class: int) -> Classes:
    """Return `class0`, `class1` ... up to the largest number in the label files, for sets without any list of names.

    Args:
        numbers: class numbers as read; those that are no possible class number are left to the intake.
        first_class: number of the first class in the label files.
    """
    possible = numbers.filter((numbers == numbers.floor()) & numbers.is_between(first_class, _LARGEST_MADE_UP))
    last = possible.max()
    count = int(last) - first_class + 1 if isinstance(last, float) else 1
    names = tuple(f"class{number}" for number in range(count))
    message = f"there is no list of class names; the {count} classes are called class0 to class{count - 1}"
    if count == 1:
        message = "there is no list of class names; the class is called class0"
    advice = "write a data.yaml, or a classes.txt with one name a line in the order of the class numbers"
    finding = Finding("names.made_up", "warning", message, {"count": count}, advice)
    return Classes(names, tuple(range(first_class, first_class + count)), (finding,))
