"""Classes renamed, merged and left out: which old class becomes which new one. Knows names only, no boxes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import DataError
from ..findings import Finding
from .raw import ROWS_NAMED


@dataclass(frozen=True)
class ClassChanges:
    """What becomes of the classes.

    Args:
        names: the new class names; each is there once, in the order of the first old class that becomes it.
        index: for every old class, in their order, its number among the new ones, or None when it is left out.
        findings: `names.remapped`, unless everything stays as it was.
    """

    names: tuple[str, ...]
    index: tuple[int | None, ...]
    findings: list[Finding]


def class_changes(names: Sequence[str], remap: Mapping[str, str | None], keep: Sequence[str]) -> ClassChanges:
    """Rename, merge and leave out classes.

    All of `remap` happens at once: of `{a: b, b: a}` two names change places, and a new name that is an unchanged old
    one merges the two. Names are compared exactly, as two classes may differ by case alone.

    Args:
        names: the old class names, in the order of their numbers.
        remap: new name of an old class, or None to leave it out; classes that are not named stay.
        keep: names after `remap` of the classes to keep; none named: all.

    Raises:
        DataError: a name in `remap` or `keep` is none of the classes, a new name is empty, or no class is left.
    """
    if not remap and not keep:
        return ClassChanges(tuple(names), tuple(range(len(names))), [])
    _check_remap(names, remap)
    renamed = [remap.get(name, name) for name in names]
    there = dict.fromkeys(new for new in renamed if new is not None)
    _check_keep(tuple(there), remap, keep)
    kept = [name for name in there if not keep or name in keep]
    if not kept:
        raise DataError(f"data.remap leaves out every class ({_listed(names)}); give at least one a name")
    number = {name: index for index, name in enumerate(kept)}
    index = tuple(None if new is None else number.get(new) for new in renamed)
    return ClassChanges(tuple(kept), index, _findings(names, tuple(kept), index))


def _check_remap(names: Sequence[str], remap: Mapping[str, str | None]) -> None:
    unknown = [_unknown("data.remap", name, names) for name in remap if name not in names]
    unknown += [
        f"data.remap: the new name of '{old}' is empty; give it a name, or null to leave the class out"
        for old, new in remap.items()
        if new is not None and not new.strip()
    ]
    if unknown:
        raise DataError("\n".join([*unknown, f"the classes are {_listed(names)}"]))


def _check_keep(there: Sequence[str], remap: Mapping[str, str | None], keep: Sequence[str]) -> None:
    unknown = []
    for name in keep:
        if name in there:
            continue
        if name in remap:
            new = remap[name]
            became = "leaves it out" if new is None else f"calls it '{new}'"
            unknown.append(f"data.keep: '{name}': data.remap {became}; data.keep takes the names after data.remap")
        else:
            unknown.append(_unknown("data.keep", name, there))
    if unknown:
        raise DataError("\n".join([*unknown, f"the classes after data.remap are {_listed(there)}"]))


def _unknown(key: str, name: str, names: Sequence[str]) -> str:
    """Say that a name is none of the classes, with the one that was probably meant."""
    folded = {" ".join(known.split()).casefold(): known for known in reversed(names)}  # the first of its kind wins
    sought = " ".join(name.split()).casefold()
    close = [sought] if sought in folded else difflib.get_close_matches(sought, folded, n=1)
    meant = f"; did you mean '{folded[close[0]]}'?" if close else ""
    return f"{key}: no class is called '{name}'{meant}"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - ROWS_NAMED
    return ", ".join(f"'{name}'" for name in names[:ROWS_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _findings(names: Sequence[str], kept: Sequence[str], index: Sequence[int | None]) -> list[Finding]:
    """Say which old classes became which; nothing where every class keeps its name."""
    sources: dict[str, list[str]] = {new: [] for new in kept}
    left_out = []
    for old, number in zip(names, index, strict=True):
        if number is None:
            left_out.append(old)
        else:
            sources[kept[number]].append(old)
    became = {new: olds for new, olds in sources.items() if olds != [new]}
    if not became and not left_out:
        return []
    parts = [f"{_listed(olds)} became '{new}'" for new, olds in list(became.items())[:ROWS_NAMED]]
    parts += [f"{len(became) - ROWS_NAMED} more were changed"] if len(became) > ROWS_NAMED else []
    parts += [f"left out: {_listed(left_out)}"] if left_out else []
    evidence = {
        "count": sum(map(len, became.values())) + len(left_out),
        "became": {old: new for new, olds in became.items() for old in olds},
        "left_out": left_out,
    }
    message = f"{len(names)} classes are {len(kept)} now: " + "; ".join(parts)
    return [Finding("names.remapped", "info", message, evidence)]
