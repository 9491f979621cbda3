"""Loading the configuration: presets that build on each other, `key=value` overrides, all mistakes at once.

Paths in a configuration are relative to the working folder, as on a command line; only `base` is relative to the file
it stands in.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from .errors import ConfigError
from .known_keys import NOT_OURS
from .sections import (
    SECTIONS,
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    ExplainRow,
    ModelConfig,
    MonitorConfig,
    ReportConfig,
    Section,
    TrainConfig,
    explain,
    spell,
)
from .yaml_source import parse_scalar, read_yaml

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "EvalConfig",
    "ExplainRow",
    "ModelConfig",
    "MonitorConfig",
    "ReportConfig",
    "TrainConfig",
    "config_from_dict",
    "explain",
    "load_config",
    "require_data",
]

_SHORTHAND = {"data": "path", "model": "name"}  # `data: DIR` stands for `data: {path: DIR}`


def load_config(path: Path | str | None, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a YAML file and the presets it builds on, with `key=value` overrides on top.

    An override's key is dotted (`train.epochs=5`), a section's shorthand (`data=DIR`, `model=yolo11s.pt`), or a bare
    key that one section has (`mosaic=0`). A bare key that Ultralytics also knows means `train` or `augment`: `seed=1`
    is `train.seed`, `batch=8` is `train.batch`. Without a file all other values are the defaults.

    Raises ConfigError with every mistake found in files and overrides.
    """
    draft = _Draft()
    if path is not None:
        draft.add_file(Path(path))
    draft.add_overrides(overrides)
    return draft.finish()


def config_from_dict(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of plain values as a file would hold them, without `base`, with overrides on top.

    Raises ConfigError with every mistake found.
    """
    draft = _Draft()
    draft.merge(values, lambda key: _NOWHERE)
    draft.add_overrides(overrides)
    return draft.finish()


Configurable = Config | Mapping[str, Any] | Path | str | None


def settle(config: Configurable, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration that a verb was given in any form, with `key=value` texts laid over it."""
    if isinstance(config, Config):
        return config_from_dict(config.to_dict(), overrides) if overrides else config
    if isinstance(config, Mapping):
        return config_from_dict(config, overrides)
    return load_config(Path(config) if config is not None else None, overrides)


def require_data(config: Config) -> Path:
    """Return `data.path`. Raises ConfigError if it is not set."""
    if config.data.path is None:
        raise ConfigError(["data.path: not set; say where the pictures are, such as data=FOLDER on the command line"])
    return config.data.path


class _Origin(NamedTuple):
    """Where a value was given."""

    source: str = ""
    line: int = 0

    def prefix(self) -> str:
        if not self.source:
            return ""
        return f"{self.source}:{self.line}: " if self.line else f"{self.source}: "


_NOWHERE = _Origin()
_COMMAND_LINE = _Origin("command line")


@dataclass
class _Draft:
    """The values merged so far, where each was given, and what is wrong with them."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, _Origin] = field(default_factory=dict)
    problems: list[tuple[_Origin, str]] = field(default_factory=list)

    def add_file(self, path: Path, chain: tuple[Path, ...] = (), asked: _Origin = _NOWHERE) -> None:
        """Merge the presets that the file builds on, then the file; `chain` holds the files that led here."""
        if not os.path.exists(path):  # unlike Path.exists it never raises, whatever the name
            self.problems.append((asked, ("base: " if chain else "") + _missing_file(path)))
            return
        chain = (*chain, path.resolve())
        if chain[-1] in chain[:-1]:
            circle = " -> ".join(file.name for file in chain)
            self.problems.append((asked, f"base: goes round in a circle: {circle}"))
            return
        try:
            document = read_yaml(path, ConfigError)
        except ConfigError as error:
            told = [(_NOWHERE if text.startswith(f"{path}:") else asked, text) for text in error.problems]
            self.problems.extend(told)
            return

        def origin(key: str) -> _Origin:
            return _Origin(document.source, document.line(key) or document.line(key.partition(".")[0]) or 1)

        values = dict(document.value)
        bases = values.pop("base", None) or []
        bases = bases if isinstance(bases, list) else [bases]
        for base in bases:
            if isinstance(base, str):
                self.add_file(path.parent / base, chain, origin("base"))
            else:
                text = f"base: should be a path or a list of paths, found {_found(base)}"
                self.problems.append((origin("base"), text))
        self.merge(values, origin)

    def add_overrides(self, overrides: Sequence[str]) -> None:
        """Merge `key=value` texts in their order."""
        for text in overrides:
            key, equals, value = (part.strip() for part in text.partition("="))
            try:
                if not equals or not key:
                    raise ValueError(f"{text!r}: should be key=value, such as train.epochs=5")
                if not value:
                    raise ValueError(f"{key}: has no value; {key}=null is how to write none")
                section, _, name = _full_key(key).partition(".")
            except ValueError as problem:
                self.problems.append((_COMMAND_LINE, str(problem)))
                continue
            parsed = parse_scalar(value)
            if not name and parsed is None:
                name = _SHORTHAND.get(section, "")  # `data=null` unsets data.path; in a file it is an empty section
            self.merge({section: {name: parsed} if name else parsed}, lambda key: _COMMAND_LINE)

    def merge(self, values: Mapping[str, Any], origin: Callable[[str], _Origin]) -> None:
        """Lay the values over those so far, key by key within a section."""
        for name, given in values.items():
            self.origins[str(name)] = origin(str(name))
            value = _as_section(name, given)
            if name not in SECTIONS:
                self.values[name] = value
            elif not isinstance(
                value, dict
            ):  # told at once: kept as a value it would hide mistakes in the section's keys
                text = f"{name}: should be a section of `key: value` lines, found {_found(value)}"
                self.problems.append((origin(name), text))
            else:
                self.values[name] = {**self.values.get(name, {}), **value}
                self.origins.update({f"{name}.{key}": origin(f"{name}.{key}") for key in value})

    def finish(self) -> Config:
        """Return the configuration. Raises ConfigError with all problems, those of files first, by line."""
        config = None
        try:
            config = Config.model_validate(self.values)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                dotted = ".".join(str(part) for part in details["loc"][:2])
                origin = self.origins.get(dotted) or self.origins.get(dotted.partition(".")[0], _NOWHERE)
                self.problems.append((origin, _describe(dotted, details)))
        if config is None or self.problems:
            ordered = sorted(self.problems, key=lambda problem: (problem[0] == _COMMAND_LINE, problem[0]))
            raise ConfigError([origin.prefix() + text for origin, text in ordered])
        return config


def _as_section(name: str, value: Any) -> Any:
    """Return a section as a dict: an empty one for nothing, the shorthand written out; anything else as it is."""
    if name not in SECTIONS:
        return value
    if value is None:
        return {}
    if isinstance(value, Section):
        return value.model_dump(include=value.model_fields_set)
    if isinstance(value, Mapping):
        return dict(value)
    return {_SHORTHAND[name]: value} if name in _SHORTHAND else value


def _full_key(key: str) -> str:
    """Return the dotted or top level key that an override's key stands for. Raises ValueError if there is none."""
    if key in Config.model_fields or key.partition(".")[0] in SECTIONS:
        return key
    owners = _owners(key)
    # What Ultralytics' users have always typed keeps its meaning, even where another section has the same key.
    chosen = [owner for owner in owners if owner.startswith(("train.", "augment."))] or owners
    if not chosen:
        raise ValueError(_unknown(key))
    if len(chosen) > 1:
        raise ValueError(f"{key}: could be {' or '.join(chosen)}; write which one")
    return chosen[0]


def _owners(key: str) -> list[str]:
    """Return the dotted keys that end in this key."""
    return [f"{name}.{key}" for name, section in SECTIONS.items() if key in section.model_fields]


def _unknown(dotted: str) -> str:
    """Say that there is no such key, why, and which one may be meant."""
    if dotted == "base":
        return "base: only a file can build on presets; give that file instead"
    section, _, key = dotted.rpartition(".")
    owners = _owners(key)
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


def _describe(dotted: str, details: Mapping[str, Any]) -> str:
    """Put one of pydantic's errors in plain words."""
    if details["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown(dotted)
    if details["type"] == "value_error":
        expected = str(details["ctx"]["error"])
    else:
        expected = re.sub(r"^\w+ should", "should", details["msg"])
        for theirs, ours in _PLAIN_WORDS.items():
            expected = expected.replace(theirs, ours)
    return f"{dotted}: {expected}, found {_found(details['input'])}"


def _found(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a section"
    text = repr(value) if isinstance(value, str) else spell(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _missing_file(path: Path) -> str:
    """Say which file was looked for and which presets there are instead."""
    for folder in (path.absolute().parent, Path("configs").absolute()):
        presets = sorted(file.name for file in folder.glob("*.y*ml")) if os.path.isdir(folder) else []
        if presets:
            return f"no such file: {path.absolute()}; in {folder} there are {', '.join(presets[:20])}"
    return f"no such file: {path.absolute()}"
