"""Numbers, times and nested records as a person would write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from markupsafe import Markup, escape

_LONGEST = 400  # characters of one value: a list of a thousand file names is not read


def sections(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the sections of a configuration, each as rows of key and value; keys outside of any come first."""
    general = {key: part for key, part in config.items() if not isinstance(part, Mapping)}
    found = [("general", rows(general))] if general else []
    return found + [(str(key), rows(part)) for key, part in config.items() if isinstance(part, Mapping)]


def rows(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested record as rows of dotted key and value."""
    found: list[tuple[str, str]] = []
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            found += rows(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", short(value)))
    return found


def short(value: Any) -> str:
    """Return a value as a person would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        value = [f"{key}: {short(item)}" for key, item in value.items()]
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = ", ".join(short(item) for item in value) or "none"
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def with_code(text: str) -> Markup:
    """Return escaped text with what stands between backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick without its partner is a plain character
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))


def precision(value: float | None) -> str:
    """Return an average precision with three decimals, or a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def percent(share: float) -> str:
    """Return a share in percent with two digits, whole numbers from ten on."""
    return f"{100 * share:.0f} %" if abs(share) >= 0.0995 else f"{100 * share:.2g} %"


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: "1 box", "2,000 boxes"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """Return seconds in the two largest units that matter; nothing for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(text: str | None) -> str:
    """Return an ISO time for reading, in UTC; text that is none stays as it is."""
    try:
        found = datetime.fromisoformat(str(text or "").replace("Z", "+00:00"))
    except ValueError:
        return str(text or "")
    return found.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
