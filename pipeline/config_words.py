"""What is wrong with a configuration, in words: which key is unknown, which one may be meant, what was expected."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .known_keys import NOT_OURS
from .policy import CopyPaste
from .sections import SECTIONS, Config, spell


def owners_of(key: str) -> list[str]:
    """Return the dotted keys that end in this key."""
    return [f"{name}.{key}" for name, section in SECTIONS.items() if key in section.model_fields]


def unknown(dotted: str) -> str:
    """Say that there is no such key, why, and which one may be meant."""
    if dotted == "base":
        return "base: only a file can build on presets; give that file instead"
    section, _, key = dotted.rpartition(".")
    owners = owners_of(key)
    if key in NOT_OURS and (section in ("train", "augment") or not (section or owners)):
        return f"{dotted}: cannot be set here: {NOT_OURS[key]}"
    meant = owners or _similar(section, key)
    if meant:
        return f"{dotted}: unknown key; did you mean {' or '.join(meant)}?"
    known = SECTIONS[section].model_fields if section in SECTIONS else Config.model_fields
    return f"{dotted}: unknown key; {section if section in SECTIONS else 'the top level'} has {', '.join(known)}"


def _similar(section: str, key: str) -> list[str]:
    """Return the dotted key that is spelt most alike: in the section itself, else at the top level, else anywhere."""
    if section in SECTIONS:
        near = difflib.get_close_matches(key, list(SECTIONS[section].model_fields), 1)
        if near:
            return [f"{section}.{near[0]}"]
    elif not section:
        near = difflib.get_close_matches(key, list(Config.model_fields), 1)
        if near:
            return near
    anywhere = {known: f"{name}.{known}" for name, model in SECTIONS.items() for known in model.model_fields}
    return [anywhere[known] for known in difflib.get_close_matches(key, list(anywhere), 1, 0.7)]


_PLAIN_WORDS = {"a valid integer": "a whole number", "a valid number": "a number", "a valid string": "text"}


def describe(parts: Sequence[str], details: Mapping[str, Any]) -> str:
    """Put one of pydantic's errors in plain words; `parts` lead to the value, section first."""
    dotted = ".".join(parts[:2]) + "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts[2:])
    if details["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown_below(parts) if len(parts) > 2 else unknown(dotted)
    if details["type"] == "value_error":
        expected = str(details["ctx"]["error"])
        if len(parts) > 2 and parts[1] == "transforms":
            return f"{dotted} {expected}"  # it names the transform, and what was found
    else:
        expected = re.sub(r"^\w+ should", "should", details["msg"])
        for theirs, ours in _PLAIN_WORDS.items():
            expected = expected.replace(theirs, ours)
    return f"{dotted}: {expected}, found {found(details['input'])}"


def _unknown_below(parts: Sequence[str]) -> str:
    """Say that a part of a section, such as `augment.copy_paste`, has no such key."""
    known = list(CopyPaste.model_fields)
    near = difflib.get_close_matches(parts[-1], known, 1)
    meant = f"did you mean {near[0]}?" if near else f"{parts[-2]} has {', '.join(known)}"
    return f"{'.'.join(parts)}: unknown key; {meant}"


def found(value: Any) -> str:
    """Return a value as a message shows it, short."""
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list) and not all(isinstance(item, int | float | str) for item in value):
        return "a list"
    text = repr(value) if isinstance(value, str) else spell(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def missing_file(path: Path) -> str:
    """Say which file was looked for and which presets there are instead."""
    for folder in (path.absolute().parent, Path("configs").absolute()):
        presets = sorted(file.name for file in folder.glob("*.y*ml")) if os.path.isdir(folder) else []
        if presets:
            return f"no such file: {path.absolute()}; in {folder} there are {', '.join(presets[:20])}"
    return f"no such file: {path.absolute()}"
