"""The classes of one or more COCO files: names by category id, joined over the files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...findings import Finding
from .label_text import is_text, shown

_WHOLE = re.compile("0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Classes:
    """Class names, the class index of each category id by file, and what a person should know."""

    names: tuple[str, ...]
    index: Mapping[Path, Mapping[int | str, int]]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Category:
    name: str
    parent: str
    stated: int | str  # its id as it stands in the file


def join_classes(categories: Mapping[Path, list[Any]], used: Collection[Any], first: Path) -> Classes:
    """Number the classes by category id, from 0 and without gaps.

    Files that give one set of names other ids, as some exports do for each split, are joined by name.

    Args:
        categories: the list `categories` of each file.
        used: category ids that annotations of any file have.
        first: the file whose ids decide where the files differ.

    Raises:
        DataError: a category is none, two of them have one name, or the files contradict each other.
    """
    by_file = {file: _by_id(file, records) for file, records in categories.items()}
    by_file, findings = _without_root(by_file, set(map(_whole, used)))
    for file, known in by_file.items():
        names = [category.name for category in known.values()]
        if len(set(names)) < len(names):
            raise DataError(f"{file}: two categories have the same name: {', '.join(sorted(names))}; rename one")
    together, contradiction = _union(by_file)
    names = [together[key] for key in sorted(together)]
    if not names:
        raise DataError(f"{first}: the list of categories is empty; the classes are not known")
    if not contradiction and len(set(names)) == len(names):
        index = {key: number for number, key in enumerate(sorted(together))}
        return Classes(tuple(names), {file: _as_stated(index, known) for file, known in by_file.items()}, findings)
    sets = {frozenset(category.name for category in known.values()) for known in by_file.values()}
    if len(sets) > 1:
        raise DataError(contradiction or f"{first}: the files give one name two category ids: {', '.join(names)}")
    return _by_name(by_file, first, findings)


def _by_id(file: Path, records: list[Any]) -> dict[int, _Category]:
    found: dict[int, _Category] = {}
    for record in records:
        key, name = (_whole(record.get("id")), record.get("name")) if isinstance(record, dict) else (None, None)
        text = str(name).strip() if isinstance(name, str) or type(name) is int else ""
        if type(key) is not int or not text or not is_text(text):
            raise DataError(f"{file}: a category needs an integer 'id' and a 'name', found {shown(record)}")
        parent = record.get("supercategory")
        category = _Category(text, parent.strip() if isinstance(parent, str) else "", record["id"])
        if found.setdefault(key, category).name != text:
            raise DataError(f"{file}: category {key} is '{found[key].name}' and '{text}'; give each one its own id")
    return found


def _whole(key: Any) -> Any:
    """Return an id that is the text of a whole number as that number, any other as it is."""
    return int(key) if isinstance(key, str) and _WHOLE.fullmatch(key) else key


def _without_root(
    by_file: Mapping[Path, dict[int, _Category]], used: Collection[Any]
) -> tuple[dict[Path, dict[int, _Category]], tuple[Finding, ...]]:
    """Leave out the category 0 that Roboflow puts above all others: no box has it, and it is no class."""

    def is_root(known: Mapping[int, _Category]) -> bool:
        above = {category.parent for key, category in known.items() if key != 0}
        return 0 in known and above == {known[0].name}

    if 0 in used or not all(is_root(known) for known in by_file.values()):
        return dict(by_file), ()
    name = next(iter(by_file.values()))[0].name
    message = f"category 0, '{name}', only stands above the other categories and has no boxes: it is no class"
    finding = Finding("names.unused_root", "info", message, {"name": name, "files": [f.name for f in by_file][:10]})
    return {file: {k: c for k, c in known.items() if k != 0} for file, known in by_file.items()}, (finding,)


def _union(by_file: Mapping[Path, Mapping[int, _Category]]) -> tuple[dict[int, str], str]:
    """Return names by id over all files, and where the files contradict each other."""
    together: dict[int, str] = {}
    contradiction = ""
    for file, known in by_file.items():
        for key, category in known.items():
            other = together.setdefault(key, category.name)
            if other != category.name and not contradiction:
                contradiction = f"{file}: category {key} is '{category.name}' here and '{other}' in another split"
    return together, contradiction and f"{contradiction}; export all splits with one list of classes"


def _as_stated(index: Mapping[int, int], known: Mapping[int, _Category]) -> dict[int | str, int]:
    """Return the class index by id, with ids that a file states as text as such, so that their use is told."""
    return {known[key].stated if key in known else key: number for key, number in index.items()}


def _by_name(by_file: Mapping[Path, dict[int, _Category]], first: Path, findings: tuple[Finding, ...]) -> Classes:
    names = tuple(by_file[first][key].name for key in sorted(by_file[first]))
    number = {name: place for place, name in enumerate(names)}
    index = {file: {one.stated: number[one.name] for one in known.values()} for file, known in by_file.items()}
    message = f"the files give the same {len(names)} class names other category ids; classes were joined by name"
    evidence = {"count": len(by_file), "files": [file.name for file in by_file][:10], "names": list(names)}
    finding = Finding("names.joined", "info", message, evidence, f"the order is that of {first.name}")
    return Classes(names, index, (*findings, finding))
