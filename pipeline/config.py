"""Loading the configuration: presets that build on each other, `key=value` overrides, all mistakes at once.

Paths in a configuration are relative to the working folder, as on a command line; only `base` is relative to the file
it stands in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from .config_words import describe, found, missing_file, owners_of, unknown
from .errors import ConfigError
from .policy import Policy
from .policy_files import find_policy
from .section import Section
from .sections import (
    SECTIONS,
    Config,
    ContractConfig,
    DataConfig,
    EvalConfig,
    ExplainRow,
    ModelConfig,
    MonitorConfig,
    ReportConfig,
    TrainConfig,
    explain,
)
from .yaml_source import YamlDocument, parse_scalar, read_yaml

__all__ = [
    "Config",
    "ContractConfig",
    "DataConfig",
    "EvalConfig",
    "ExplainRow",
    "ModelConfig",
    "MonitorConfig",
    "Policy",
    "ReportConfig",
    "TrainConfig",
    "config_from_dict",
    "explain",
    "load_config",
    "require_data",
]

_SHORTHAND = {"data": "path", "model": "name", "augment": "policy"}  # `data: DIR` stands for `data: {path: DIR}`


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
    policy: dict[str, Any] | None = None  # of the policy's file, to tell whether what came later changed it

    def add_file(self, path: Path, chain: tuple[Path, ...] = (), asked: _Origin = _NOWHERE) -> None:
        """Merge the presets that the file builds on, then the file; `chain` holds the files that led here."""
        if not os.path.exists(path):  # unlike Path.exists it never raises, whatever the name
            self.problems.append((asked, ("base: " if chain else "") + missing_file(path)))
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

        origin = _places(document)
        values = dict(document.value)
        bases = values.pop("base", None) or []
        bases = bases if isinstance(bases, list) else [bases]
        for base in bases:
            if isinstance(base, str):
                self.add_file(path.parent / base, chain, origin("base"))
            else:
                text = f"base: should be a path or a list of paths, found {found(base)}"
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
            if name == "augment" and isinstance(value, dict) and "policy" in value:
                self._take_policy(value.pop("policy"), origin("augment.policy"))
            if name not in SECTIONS:
                self.values[name] = value
            elif not isinstance(
                value, dict
            ):  # told at once: kept as a value it would hide mistakes in the section's keys
                text = f"{name}: should be a section of `key: value` lines, found {found(value)}"
                self.problems.append((origin(name), text))
            else:
                self.values[name] = {**self.values.get(name, {}), **value}
                self.origins.update({path: origin(path) for path in _paths(name, value)})

    def _take_policy(self, policy: Any, asked: _Origin) -> None:
        """Put the values of a policy's file in place of the whole section; what is said beside it comes on top."""
        policy = "none" if policy is None else policy  # `augment=none` on the command line
        try:
            path = find_policy(policy, Path(asked.source) if asked.line else None)
            document = read_yaml(path, ConfigError)
        except ConfigError as error:
            self.problems.extend((asked, f"augment: {text}") for text in error.problems)
            return
        origin = _places(document)
        if "policy" in document.value:
            text = "augment.policy: stands in a configuration; a policy's file holds the stage itself"
            self.problems.append((origin("policy"), text))
            return
        # A policy's file holds the whole stage: what it does not name does not act.
        values = {**Policy.off().model_dump(mode="json"), "name": path.stem, **document.value}
        self.values["augment"] = values
        self.policy = dict(values)
        self.origins.update({dotted: origin(dotted.removeprefix("augment.")) for dotted in _paths("augment", values)})

    def finish(self) -> Config:
        """Return the configuration. Raises ConfigError with all problems, those of files first, by line."""
        config = None
        try:
            config = Config.model_validate(self.values)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                parts = [str(part) for part in details["loc"]]
                known = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
                origin = next((self.origins[path] for path in known if path in self.origins), _NOWHERE)
                self.problems.append((origin, describe(parts, details)))
        if config is None or self.problems:
            ordered = sorted(self.problems, key=lambda problem: (problem[0] == _COMMAND_LINE, problem[0]))
            raise ConfigError([origin.prefix() + text for origin, text in ordered])
        return self._named(config)

    def _named(self, config: Config) -> Config:
        """Return the configuration with a policy's name that says so if keys beside or after it changed the policy."""
        policy = config.augment
        if self.policy is None or policy == Policy.model_validate(self.policy):
            return config
        return config.model_copy(update={"augment": policy.replaced(name=f"{self.policy['name']}-changed")})


def _places(document: YamlDocument) -> Callable[[str], _Origin]:
    """Return where a dotted path stands in a file: its own line, or that of what it belongs to."""

    def origin(path: str) -> _Origin:
        parts = path.split(".")
        lines = (document.line(".".join(parts[:length])) for length in range(len(parts), 0, -1))
        return _Origin(document.source, next((line for line in lines if line), 1))

    return origin


def _paths(prefix: str, value: Any) -> Iterator[str]:
    """Yield the dotted path of every key and list item below a value."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield f"{prefix}.{key}"
        yield from _paths(f"{prefix}.{key}", item)


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
    if name == "augment" and isinstance(value, list):
        return {"transforms": value}  # from Python: a plain list of Albumentations transforms
    return {_SHORTHAND[name]: value} if name in _SHORTHAND else value


def _full_key(key: str) -> str:
    """Return the dotted or top level key that an override's key stands for. Raises ValueError if there is none."""
    if key in Config.model_fields or key.partition(".")[0] in SECTIONS:
        return key
    owners = owners_of(key)
    # What Ultralytics' users have always typed keeps its meaning, even where another section has the same key.
    chosen = [owner for owner in owners if owner.startswith(("train.", "augment."))] or owners
    if not chosen:
        raise ValueError(unknown(key))
    if len(chosen) > 1:
        raise ValueError(f"{key}: could be {' or '.join(chosen)}; write which one")
    return chosen[0]
