"""Shapes that annotation tools draw, as the boxes around them, and the numbers in their files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Corners = tuple[float, float, float, float]  # x1, y1, x2, y2

POLYGON = "labels.polygon"  # an outline of any kind became the box around it
SWAPPED = "labels.swapped_corners"
DECIMAL_COMMA = "labels.decimal_comma"
NOT_PARSED = "labels.not_parsed"
NOT_RECTANGLE = "labels.not_rectangle"
OUTSIDE = "labels.outside"

_NO_NUMBER: Corners = (math.nan, math.nan, math.nan, math.nan)
_COMMA = re.compile(r"[+-]?\d+,\d+")


class Shape(NamedTuple):
    """A row that is a box.

    Args:
        name: its class.
        corners: x1, y1, x2, y2.
        notes: ids of what was mended in its form, blanks between them.
        text: the row as it stands in the file.
        difficult, crowd: as in `RAW_BOXES_SCHEMA`.
    """

    name: str
    corners: Corners
    notes: str = ""
    text: str = ""
    difficult: bool = False
    crowd: bool = False


class NoShape(NamedTuple):
    """A row that is no box: the id of the reason, and the row as it stands in the file."""

    id: str
    text: str


def class_name(value: Any) -> str:
    """Return the name of a class without blanks around it; empty where the value is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    try:
        return str(value).strip().encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    except ValueError:  # an integer of more than 4,300 digits
        return ""


def number(value: Any) -> float | None:
    """Return a JSON value as a number, or None; NaN and infinity are numbers, which the intake judges."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return None


def numbers(texts: Sequence[str | None]) -> tuple[list[float], str] | None:
    """Return the numbers that texts stand for, and a note if they had decimal commas; None if one is no number."""
    values, note = [], ""
    for text in texts:
        if text is not None and _COMMA.fullmatch(text.strip()):
            text, note = text.replace(",", "."), DECIMAL_COMMA
        try:
            if text is None or "_" in text:
                return None
            values.append(float(text))
        except ValueError:
            return None
    return values, note


def size(value: Any) -> int | None:
    """Return a stated width or height in pixels; what is no such thing counts as not stated."""
    try:
        found = float(value) if isinstance(value, str | int | float) else 0.0
    except (ValueError, OverflowError):
        return None
    return int(found) if 1 <= found < 2**32 else None


def sorted_corners(x1: float, y1: float, x2: float, y2: float) -> tuple[Corners, str]:
    """Return corners with the smaller numbers first, and a note if they were not."""
    if (x1 <= x2 and y1 <= y2) or not all(map(math.isfinite, (x1, y1, x2, y2))):
        return (x1, y1, x2, y2), ""
    return (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), SWAPPED


def around(points: Iterable[Sequence[float]]) -> Corners:
    """Return the box around points (x, y); not a number where one of them is not finite."""
    xs, ys = zip(*points, strict=True)
    if not all(map(math.isfinite, (*xs, *ys))):
        return _NO_NUMBER
    return min(xs), min(ys), max(xs), max(ys)


def around_turned(corners: Corners, degrees: float, pivot: tuple[float, float]) -> Corners:
    """Return the box around a rectangle that was turned clockwise (y points down) about a point."""
    if not all(map(math.isfinite, (*corners, degrees, *pivot))):
        return _NO_NUMBER
    x1, y1, x2, y2 = corners
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    px, py = pivot
    turned = [
        (px + (x - px) * cos - (y - py) * sin, py + (x - px) * sin + (y - py) * cos)
        for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    ]
    return around(turned)


def around_ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> Corners:
    """Return the box that a turned ellipse touches: half its width is sqrt((rx cos)^2 + (ry sin)^2)."""
    if not all(map(math.isfinite, (*centre, *radii, degrees))):
        return _NO_NUMBER
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_width = math.hypot(radii[0] * cos, radii[1] * sin)
    half_height = math.hypot(radii[0] * sin, radii[1] * cos)
    x, y = centre
    return x - half_width, y - half_height, x + half_width, y + half_height
