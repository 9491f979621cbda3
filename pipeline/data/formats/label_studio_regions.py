"""Regions of Label Studio's annotations as boxes, in fractions of the picture's size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from .shapes import (
    NOT_PARSED,
    NOT_RECTANGLE,
    POLYGON,
    Corners,
    NoShape,
    Shape,
    around,
    around_ellipse,
    around_turned,
    class_name,
    number,
    size,
)

# What is drawn, by the key that holds the classes; `rectangle` and the like stand alone where the class is a result of
# its own with the same id.
_RECTANGLES = frozenset({"rectanglelabels", "rectangle"})
_POLYGONS = frozenset({"polygonlabels", "polygon"})
_ELLIPSES = frozenset({"ellipselabels", "ellipse"})
_NO_BOX = frozenset(
    "brushlabels brush bitmasklabels bitmask keypointlabels keypoint vectorlabels vector videorectangle".split()
)


def stated_size(results: Sequence[Any]) -> tuple[int | None, int | None, bool]:
    """Return width and height of the picture as its regions state them, and whether it was turned to be labelled."""
    records = [result for result in results if isinstance(result, dict)]
    sizes = ((size(record.get("original_width")), size(record.get("original_height"))) for record in records)
    width, height = next((pair for pair in sizes if None not in pair), (None, None))
    return width, height, any(number(record.get("image_rotation")) not in (None, 0.0) for record in records)


def regions(results: Sequence[Any]) -> Iterator[tuple[int, list[Shape | NoShape]]]:
    """Give each result that is a row, by its place: as boxes, one for each of its classes, or as one row that is none.

    Rows are what is drawn and what cannot be read, but no choice, text or relation. Of two results with one id, a
    drawing and its class, the drawing is the row.
    """
    drawn = {_id(result) for result in results if _drawn(result)} - {None}
    names: dict[Any, list[str]] = {}
    for result in results:
        if (key := _id(result)) is not None and (own := _own_names(result)) is not None:
            names.setdefault(key, own)
    for place, result in enumerate(results):
        if _is_row(result, drawn):
            yield place, _rows(result, names)


def _id(result: Any) -> str | int | float | None:
    known = result.get("id") if isinstance(result, dict) else None
    return known if isinstance(known, str | int | float) else None


def _is_row(result: Any, drawn: Collection[Any]) -> bool:
    if not isinstance(result, dict):
        return True
    kind = result.get("type")
    if kind == "labels":
        return _id(result) not in drawn
    return _drawn(result) or not isinstance(kind, str) or "labels" in kind


def _drawn(result: Any) -> bool:
    kind = result.get("type") if isinstance(result, dict) else None
    return isinstance(kind, str) and kind in _RECTANGLES | _POLYGONS | _ELLIPSES | _NO_BOX


def _rows(result: Any, names_by_id: Mapping[Any, list[str]]) -> list[Shape | NoShape]:
    value = result.get("value") if isinstance(result, dict) else None
    if not isinstance(value, dict):
        return [NoShape(NOT_PARSED, f"no region: {result}")]
    kind = str(result.get("type"))
    text = f"{kind} { {key: value[key] for key in value if key != 'rle'} }"
    if kind in _NO_BOX:
        return [NoShape(NOT_RECTANGLE, text)]
    own = _own_names(result)  # else those of the result of the same id that holds them
    names = names_by_id.get(_id(result), []) if own is None else own
    found = _corners(kind, value, stated_size([result])[:2])
    if not names or found is None:
        return [NoShape(NOT_PARSED, text if names else f"region without label: {text}")]
    corners, note = found
    return [Shape(name, corners, note, text) for name in names]


def _own_names(result: Any) -> list[str] | None:
    """Return the classes that a result holds, or None if it has no list of them."""
    value = result.get("value") if isinstance(result, dict) else None
    for key, found in value.items() if isinstance(value, dict) else ():
        if str(key).endswith("labels") and isinstance(found, list):
            names = [class_name(name) for name in found]
            return list(dict.fromkeys(name for name in names if name))
    return None


def _corners(kind: str, value: dict[str, Any], stated: tuple[int | None, int | None]) -> tuple[Corners, str] | None:
    """Return corners in fractions, and a note if they are those around another shape."""
    if kind in _POLYGONS or (kind == "labels" and "points" in value):
        points = _points(value.get("points"))
        return (around(points), POLYGON) if points else None
    keys = ("x", "y", "radiusX", "radiusY") if kind in _ELLIPSES else ("x", "y", "width", "height")
    percent = [number(value.get(key)) for key in keys]
    degrees = number(value.get("rotation", 0))
    a, b, c, d = (v / 100 if v is not None else None for v in percent)
    if a is None or b is None or c is None or d is None or degrees is None:
        return None
    if kind in _ELLIPSES:
        return _turned_ellipse((a, b), (c, d), degrees, stated)
    if degrees == 0:
        return (a, b, a + c, b + d), ""
    width, height = stated
    if width is None or height is None:
        return None  # percent of an unknown size cannot be turned
    # Label Studio turns clockwise about the upper left corner (labelstud.io/tags/rectanglelabels, value.x and value.y).
    pixels = (a * width, b * height, (a + c) * width, (b + d) * height)
    return _fractions(around_turned(pixels, degrees, pixels[:2]), width, height), POLYGON


def _turned_ellipse(
    centre: tuple[float, float], radii: tuple[float, float], degrees: float, stated: tuple[int | None, int | None]
) -> tuple[Corners, str] | None:
    width, height = stated if degrees else (1, 1)
    if width is None or height is None:
        return None
    corners = around_ellipse((centre[0] * width, centre[1] * height), (radii[0] * width, radii[1] * height), degrees)
    return _fractions(corners, width, height), POLYGON


def _fractions(corners: Corners, width: int, height: int) -> Corners:
    x1, y1, x2, y2 = corners
    return x1 / width, y1 / height, x2 / width, y2 / height


def _points(value: Any) -> list[tuple[float, float]] | None:
    if not isinstance(value, list) or len(value) < 2:
        return None
    points = []
    for point in value:
        x, y = (number(v) for v in point) if isinstance(point, list) and len(point) == 2 else (None, None)
        if x is None or y is None:
            return None
        points.append((x / 100, y / 100))
    return points
