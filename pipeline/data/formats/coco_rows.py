"""Annotations of a COCO file as columns.

What is as the format says is turned into columns piece by piece; the rest is looked at one by one, and becomes the box
of its outline or a rejected row with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .coco_outlines import box_of_outline
from .label_text import LONGEST_SHOWN, is_text, shown

_KEYS = {int, float, str}  # kinds of value that may be an id
_NUMBERS = {int, float}
_HUGE = 10**300  # whole numbers from here on may be too large for a float
_YES: tuple[Any, ...] = (1, "1")

_CORNERS = ("x1", "y1", "x2", "y2")
_PART_SCHEMA: dict[str, Any] = {
    "number": pl.UInt32,  # place in the file's list, from 0
    "label": pl.String,  # its id as text, or else its place
    "image": pl.Int32,  # place of the id among `image_ids`
    "category": pl.Int32,  # place of the id among `category_ids`
    "x1": pl.Float64,  # corners in pixels
    "y1": pl.Float64,
    "x2": pl.Float64,
    "y2": pl.Float64,
    "crowd": pl.Boolean,
    "difficult": pl.Boolean,
    "notes": pl.String,
    "text": pl.String,
}


@dataclass
class AnnotationColumns:
    """Takes the pieces of one file's list of annotations.

    Args:
        image_ids, category_ids: every id that occurs, with its place among them.
        rejected: (label, what is wrong) of annotations that are no box.
        count: annotations taken so far.
    """

    image_ids: dict[Any, int] = field(default_factory=dict)
    category_ids: dict[Any, int] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    count: int = 0
    _parts: list[pl.DataFrame] = field(default_factory=list)

    def __call__(self, piece: list[Any]) -> None:
        """Take the next annotations."""
        numbers = list(range(self.count, self.count + len(piece)))
        self.count += len(piece)
        columns = _columns(piece)
        if columns is None:
            sound = [_is_sound(annotation) for annotation in piece]
            self._take_odd([(n, a) for n, a, fine in zip(numbers, piece, sound, strict=True) if not fine])
            numbers, piece = list(compress(numbers, sound)), list(compress(piece, sound))
            columns = _columns(piece)
        if piece:
            assert columns is not None, "nothing else is sound"
            self._take(numbers, piece, columns)

    def table(self) -> pl.DataFrame:
        """Return what was taken, in the order of the file."""
        table = pl.concat(self._parts) if self._parts else pl.DataFrame(schema=_PART_SCHEMA)
        return table if table["number"].is_sorted() else table.sort("number")

    def _take(self, numbers: list[int], piece: list[dict[str, Any]], columns: _Columns) -> None:
        left, top, width, height = columns.boxes.T
        with np.errstate(over="ignore", invalid="ignore"):  # the intake judges what is not finite
            right, bottom = left + width, top + height
        image_ids, category_ids = self.image_ids, self.category_ids
        self._append(
            {
                "number": numbers,
                "label": _labels(piece, numbers),
                "image": [image_ids.setdefault(key, len(image_ids)) for key in columns.image_ids],
                "category": [category_ids.setdefault(key, len(category_ids)) for key in columns.category_ids],
                **dict(zip(_CORNERS, (left, top, right, bottom), strict=True)),
                "crowd": _flags(piece, "iscrowd"),
                "difficult": _flags(piece, "difficult"),
            }
        )

    def _take_odd(self, annotations: list[tuple[int, Any]]) -> None:
        """Take annotations one by one: those without a box that have an outline get the box around it."""
        mended: list[dict[str, Any]] = []
        for number, annotation in annotations:
            row = _mended(annotation)
            label = _label(annotation.get("id", number) if isinstance(annotation, dict) else number)
            if isinstance(row, str):
                self.rejected.append((label, row))
                continue
            image, category = (
                known.setdefault(annotation[key], len(known))
                for known, key in ((self.image_ids, "image_id"), (self.category_ids, "category_id"))
            )
            mended.append({"number": number, "label": label, "image": image, "category": category, **row})
        if mended:
            self._append({key: [row[key] for row in mended] for key in mended[0]})

    def _append(self, columns: Mapping[str, Any]) -> None:
        table = pl.DataFrame(columns, schema_overrides={key: _PART_SCHEMA[key] for key in columns})
        absent = [key for key in _PART_SCHEMA if key not in columns]
        table = table.with_columns(pl.lit(None, _PART_SCHEMA[key]).alias(key) for key in absent)
        self._parts.append(table.select(list(_PART_SCHEMA)))


@dataclass(frozen=True)
class _Columns:
    image_ids: list[Any]
    category_ids: list[Any]
    boxes: NDArray[np.float64]  # [n, 4] x, y, width, height in pixels


def _columns(piece: list[Any]) -> _Columns | None:
    """Return the columns of annotations that are all as the format says, else None."""
    try:
        image_ids = [annotation["image_id"] for annotation in piece]
        category_ids = [annotation["category_id"] for annotation in piece]
        boxes = [annotation["bbox"] for annotation in piece]
        flat = list(chain.from_iterable(boxes))
        numbers = np.array(flat, np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):  # not an object, a key missing, no list, no number
        return None
    as_they_should = (
        set(map(type, boxes)) == {list}
        and set(map(len, boxes)) == {4}
        and set(map(type, flat)) <= _NUMBERS  # NumPy makes numbers of "1" and true
        and set(map(type, image_ids)) <= _KEYS
        and set(map(type, category_ids)) <= _KEYS
    )
    return _Columns(image_ids, category_ids, numbers.reshape(-1, 4)) if as_they_should else None


def _is_sound(annotation: Any) -> bool:
    """Whether `_columns` takes the annotation."""
    if type(annotation) is not dict or type(box := annotation.get("bbox")) is not list:
        return False
    ids_fine = type(annotation.get("image_id")) in _KEYS and type(annotation.get("category_id")) in _KEYS
    return ids_fine and len(box) == 4 and all(type(v) is float or (type(v) is int and abs(v) < _HUGE) for v in box)


def _mended(annotation: Any) -> dict[str, Any] | str:
    """Return the row of an annotation without a box that has an outline, or what is wrong with it."""
    if not isinstance(annotation, dict):
        return f"not an object: {shown(annotation)}"
    for key, what in (("image_id", "picture"), ("category_id", "category")):
        if type(annotation.get(key)) not in _KEYS:
            return f"{key} {shown(annotation.get(key))} is no {what} of this file"
    outline = annotation.get("segmentation")
    corners = box_of_outline(outline)
    if corners is None:
        return f"bbox is {shown(annotation.get('bbox'))}, expected [x, y, width, height]"
    return {
        **dict(zip(_CORNERS, corners, strict=True)),
        "crowd": _flags([annotation], "iscrowd")[0],
        "difficult": _flags([annotation], "difficult")[0],
        "notes": "labels.polygon",
        "text": f"segmentation {shown(outline)}",
    }


def _flags(piece: list[dict[str, Any]], key: str) -> list[bool]:
    return [annotation.get(key) in _YES for annotation in piece]


def _labels(piece: list[dict[str, Any]], numbers: list[int]) -> pl.Series:
    """Return the ids as text; an annotation without one goes by its place in the list."""
    keys = [annotation.get("id", number) for annotation, number in zip(piece, numbers, strict=True)]
    if set(map(type, keys)) == {int}:
        try:
            whole = pl.Series(keys, dtype=pl.Int64)
        except (OverflowError, TypeError, pl.exceptions.PolarsError):  # more than 64 bits
            pass
        else:
            labels: pl.Series = whole.cast(pl.String)
            return labels
    return pl.Series([_label(key) for key in keys], dtype=pl.String)


def _label(key: Any) -> str:
    return key if type(key) is str and len(key) <= LONGEST_SHOWN and is_text(key) else shown(key)
