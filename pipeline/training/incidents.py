"""What happened in a step that was not finite, in words. Pure: diagnosis, trainer and command line all say the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_NAMED = 3  # files or tensors named in a sentence; the record has them all


def describe_incident(record: Mapping[str, Any]) -> str:
    """Return one sentence about an incident: where it began, and with which pictures.

    Args:
        record: `incident.json` of a step, as the guard writes it.
    """
    files, module = list(record.get("files") or ()), record.get("module")
    where = f"{module} ({record.get('kind') or 'module'})" if module else ""
    phase = record.get("phase")
    if phase == "pictures":
        return f"pixels of {some_of(files)} are not finite"
    if phase == "forward":
        terms = ", ".join(record.get("loss_terms") or ())
        begun = f"{where} makes the first value that is not finite" if where else f"the loss term {terms} is not finite"
        return f"{begun}, {f'with {some_of(files)}' if record.get('told_apart') else 'whatever the picture'}"
    if phase == "backward":
        return f"the gradient of {where or 'some layer'} is not finite although the loss is"
    if phase == "statistics":
        return f"the running statistics of {where} overflow although the loss is finite"
    tensors, statistics = list(record.get("tensors") or ()), list(record.get("statistics") or ())
    what, names = ("running statistics", statistics) if statistics and not tensors else ("gradient", tensors)
    verb = "were" if what == "running statistics" else "was"
    named = where or some_of(names) or "some layer"
    return f"the {what} of {named} {verb} not finite" + ("" if "repeated" not in record else "; a replay was")


def some_of(names: Sequence[str], count: int = _NAMED) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def distinct(records: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """Return the values of lists and strings in records, each once, in their order."""
    found: dict[str, None] = {}
    for record in records:
        value = record.get(key) or ()
        found.update(dict.fromkeys([value] if isinstance(value, str) else [str(item) for item in value]))
    return list(found)
