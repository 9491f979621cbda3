"""What Albumentations has against a transform's parameters, in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

_EXPECTED = {  # kinds of pydantic's errors
    "tuple_type": "a list",
    "list_type": "a list",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "dict_type": "`key: value` lines",
    "missing": "given",
}


def plain_words(error: Exception) -> list[str]:
    """Return what an error says that Albumentations raised when a transform was built: one text per parameter."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return [f"{type(error).__name__}: {error}" if str(error) else type(error).__name__]
    wrong: dict[str, list[Mapping[str, Any]]] = {}
    for details in cause.errors(include_url=False):
        wrong.setdefault(str(details["loc"][0]) if details["loc"] else "", []).append(dict(details))
    return [_describe(parameter, told) for parameter, told in wrong.items()]


def words_of_warning(text: str) -> str:
    """Return what Albumentations warns of, without what it would do about it."""
    return re.sub(r"\s*Range [^.]* automatically adjusted [^.]*\.", "", text).rstrip(".")


def _describe(parameter: str, told: list[Mapping[str, Any]]) -> str:
    """Join what the alternatives of one parameter expect: a range may be given as a list or as one number."""
    expected = list(dict.fromkeys(_expectation(details) for details in told))
    if told[0]["type"] == "missing":
        return f"{parameter} is missing"
    if told[0]["type"] == "extra_forbidden":
        return f"{parameter} is unknown"
    if not parameter:
        return "; ".join(expected)
    if told[0]["type"] == "value_error":
        return f"{parameter}: {expected[0]}, found {found(told[0]['input'])}"
    return f"{parameter}: should be {' or '.join(expected)}, found {found(told[0]['input'])}"


def _expectation(details: Mapping[str, Any]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in ("too_long", "too_short"):
        return f"a list of {context.get('max_length', context.get('min_length'))}"
    text = str(details["msg"]).removeprefix("Value error, ")
    return text.removeprefix("Input should be ").removeprefix("Tuple should have ").rstrip(".")


def found(value: Any) -> str:
    """Return a value as a message shows it, short."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def spell(value: Any) -> str:
    """Return how strong a parameter is set as an advice shows it: `45`, `0.01 to 0.03`, `x 0.9 to 1.1, y 1`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {spell(part)}" for key, part in value.items() if not isinstance(part, str))
    if isinstance(value, list):
        numbers = not any(isinstance(part, list) for part in value)
        return (" to " if numbers else ", ").join(dict.fromkeys(spell(part) for part in value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
