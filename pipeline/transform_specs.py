"""What the installed Albumentations can be told: transforms as plain values, checked, built and read back.

A *spec* is a mapping with one key, `{"GaussNoise": {"std_range": [0.01, 0.03], "p": 0.3}}`. Only the names in
`transform_list` are ever built. Albumentations 2.0.8 merely warns of a parameter that it does not know, or of a value
that it dislikes, and goes on with another: here both are errors. It takes seconds to load, so it is imported only when
there is a transform to check.
"""

from __future__ import annotations

import difflib
import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any

from .transform_library import albumentations_library, require_albumentations
from .transform_list import HELD, HELD_IN, REFUSED, TRANSFORMS
from .transform_words import found, plain_words, spell, words_of_warning

__all__ = [
    "Spec",
    "build_transforms",
    "check_transform",
    "check_transforms",
    "require_albumentations",
    "spec_of",
    "strength",
    "transform_problems",
    "weaker",
]

Spec = dict[str, dict[str, Any]]


def check_transforms(value: Any) -> list[Spec]:
    """Return the specs of a list of transforms; see `check_transform` for what an item may be.

    Raises:
        ValueError: with every problem on a line of its own, as `transforms[2] GausNoise: what, what to do`.
        ConfigError: Albumentations is not as it should be.
    """
    problems = transform_problems(value)
    if problems:
        texts = (f"transforms{f'[{position}]' if position >= 0 else ''} {text}" for position, text in problems)
        raise ValueError("\n".join(texts))
    return [check_transform(item) for item in value]


def transform_problems(value: Any) -> list[tuple[int, str]]:
    """Return what is wrong with a list of transforms, as (position in the list, text); -1 is the list itself."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return [(-1, f"should be a list of transforms, found {found(value)}")]
    return [(position, text) for position, item in enumerate(value) for text in _check(item)[1]]


def check_transform(item: Any) -> Spec:
    """Return the spec of one transform: what was given, as plain YAML values, and `p` in any case.

    Args:
        item: a name, a mapping of one name to its parameters (or to nothing), or an Albumentations transform.

    Raises:
        ValueError: with all problems of this item, without its position.
        ConfigError: Albumentations is not as it should be.
    """
    spec, problems = _check(item)
    if problems:
        raise ValueError("; ".join(problems))
    return spec


def build_transforms(specs: Sequence[Spec]) -> list[Any]:
    """Return the Albumentations transforms that checked specs stand for.

    Raises:
        ValueError: a spec is wrong; all problems are told as by `check_transforms`.
        ConfigError: Albumentations is not as it should be.
    """
    return [_build(*next(iter(spec.items()))) for spec in check_transforms(specs)]


def spec_of(transform: Any) -> Spec:
    """Return the spec of an Albumentations transform: its parameters where they differ from the default, and `p`.

    What is built from the spec does the same to every picture, given the same seed.

    Raises:
        ValueError: a policy cannot have this transform, or its parameters cannot be written down; with the reason.
        ConfigError: Albumentations is not as it should be.
    """
    name = type(transform).__name__
    own = not type(transform).__module__.startswith("albumentations.")
    if own or type(transform) is not getattr(albumentations_library(), name, None):
        raise ValueError(f"{name}: not a transform of Albumentations; own code cannot be saved with the run")
    if name not in TRANSFORMS:
        raise ValueError(f"{name}: cannot be used: {REFUSED[name]}")
    try:
        values = _values(transform)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    default = _defaults(name)
    given = {key: value for key, value in values.items() if key not in default or value != default[key]}
    spec = check_transform({name: {**given, "p": values["p"]}})
    if _processed(spec)[1] != values:
        raise ValueError(f"{name}: its parameters cannot be read back from it; write them down in place of the object")
    return spec


def weaker(spec: Spec, share: float) -> Spec | None:
    """Return the spec with everything that says how strong it is moved towards where the transform does nothing.

    Args:
        spec: a checked spec.
        share: how strong the result is: 0.5 is half as strong, 1 the spec itself.

    Returns:
        The spec; it equals the given one where whole numbers (the side of a filter) leave nothing in between. None
        where nothing says how strong the transform is, as for a flip.

    Raises:
        ValueError: `share` is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share should be above 0 and at most 1, not {share}")
    name, values = _processed(spec)
    moved = {m.parameter: values[m.parameter] for m in TRANSFORMS[name] if values[m.parameter] is not None}
    if not moved:
        return None
    if share == 1:
        return spec
    for magnitude in TRANSFORMS[name]:
        if magnitude.parameter in moved:
            moved[magnitude.parameter] = magnitude.moved(moved[magnitude.parameter], share)
    changed = {key: value for key, value in moved.items() if value != values[key]}
    return check_transform({name: {**spec[name], **changed}})


def strength(spec: Spec) -> str:
    """Return how strong a checked spec is, in words such as `limit 45` or `std_range 0.01 to 0.03`; may be empty."""
    name, values = _processed(spec)
    told = {m.parameter: spec[name].get(m.parameter, values[m.parameter]) for m in TRANSFORMS[name]}
    acting = [m.parameter for m in TRANSFORMS[name] if not m.is_neutral(values[m.parameter])]
    return ", ".join(f"{parameter} {spell(told[parameter])}" for parameter in acting)


def _processed(spec: Spec) -> tuple[str, dict[str, Any]]:
    """Return the name and all parameters of a checked spec as Albumentations uses them.

    Defaults are filled in and ranges written out: a `limit` of 10 becomes `[-10, 10]`.
    """
    name, given = next(iter(spec.items()))
    return name, _values(_build(name, given))


def _values(transform: Any) -> dict[str, Any]:
    return {key: _plain(key, getattr(transform, key)) for key in _signature(type(transform).__name__)}


@cache
def _defaults(name: str) -> dict[str, Any]:
    """Return the parameters of a transform that is told nothing; empty where it has to be told something."""
    try:
        return _values(_build(name, {}))
    except ValueError:
        return {}


def _check(item: Any) -> tuple[Spec, list[str]]:
    """Return the spec of an item and what is wrong with it; the spec is empty where there are problems."""
    if isinstance(item, str):
        name, given = item, None
    elif isinstance(item, Mapping):
        if len(item) != 1:
            return {}, [f"should be one transform with its parameters indented below it, found {found(list(item))}"]
        name, given = next(iter(item.items()))
    elif item is None or isinstance(item, bool | int | float | list | tuple):
        return {}, [f"should be the name of a transform, or a name with its parameters, found {found(item)}"]
    else:
        try:
            return spec_of(item), []
        except ValueError as error:
            return {}, [str(error)]
    problems = _name_problems(name)
    if problems:
        return {}, problems
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        return {}, [f"{name}: its parameters should be `key: value` lines, found {found(given)}"]
    parameters, problems = _parameter_problems(name, given)
    problems = problems or _value_problems(name, parameters)
    if problems:
        return {}, [f"{name}: {text}" for text in problems]
    return {name: {**parameters, "p": parameters.get("p", _signature(name)["p"].default)}}, []


def _name_problems(name: Any) -> list[str]:
    if not isinstance(name, str):
        return [f"should be the name of a transform, found {found(name)}"]
    if name in TRANSFORMS:
        return []
    by_lower_case = {known.lower(): known for known in (*REFUSED, *TRANSFORMS)}
    if by_lower_case.get(name.lower()) in REFUSED:
        return [f"{name}: cannot be used: {REFUSED[by_lower_case[name.lower()]]}"]
    near = difflib.get_close_matches(name.lower(), list(by_lower_case), 1)
    meant = f"; did you mean {by_lower_case[near[0]]}?" if near else "; Albumentations has none of this name"
    return [f"{name}: unknown transform{meant}"]


def _parameter_problems(name: str, given: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters as plain values, and what is wrong with their names or visible without Albumentations."""
    parameters: dict[str, Any] = {}
    problems = []
    known = list(_signature(name))
    for key, value in given.items():
        try:
            if key not in known:
                raise ValueError(_unknown_parameter(key, known))
            parameters[key] = _plain(key, value)
            kept, why = HELD_IN.get((name, key)) or HELD.get(key) or (parameters[key], "")
            if parameters[key] != kept:
                raise ValueError(f"{key}: cannot be set: {why}")
            if key == "p" and not _is_probability(parameters[key]):
                raise ValueError(f"p: should be a number from 0 to 1, found {found(value)}")
        except ValueError as error:
            problems.append(str(error))
    return parameters, problems


def _unknown_parameter(key: Any, known: Sequence[str]) -> str:
    key = str(key)
    near = [name for name in known if key and key in name] or difflib.get_close_matches(key, known, 1, 0.5)
    there = f"it has {', '.join(known)}"
    return f"unknown parameter {key}; " + (f"did you mean {near[0]}? I{there[1:]}" if near else there)


def _value_problems(name: str, parameters: Mapping[str, Any]) -> list[str]:
    """Return what Albumentations says against the values, in plain words."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            _build(name, parameters)
        except Exception as error:  # its validators raise whatever they like
            return plain_words(error)
    # It warns where it goes on with another value than the one that was given.
    return [words_of_warning(str(note.message)) for note in told if issubclass(note.category, UserWarning)]


def _build(name: str, parameters: Mapping[str, Any]) -> Any:
    if name not in TRANSFORMS:
        raise ValueError(f"{name}: not a transform that a policy may name")
    return getattr(albumentations_library(), name)(**parameters)


@cache
def _signature(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(getattr(albumentations_library(), name)).parameters


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _plain(key: str, value: Any) -> Any:
    """Return a parameter's value as YAML has it: lists for tuples, numbers for NumPy's.

    Raises:
        ValueError: YAML has nothing for it.
    """
    value = value.value if isinstance(value, Enum) else value
    value = value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 else value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key}: should be a finite number, found {found(value)}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {_plain(key, inner): _plain(key, part) for inner, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(key, part) for part in value]
    raise ValueError(f"{key}: a value of type {type(value).__name__} cannot be written down in a policy")
