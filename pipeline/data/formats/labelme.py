"""LabelMe JSON: one file per picture, with a list of shapes in pixels.

Format: https://github.com/wkentaro/labelme, as it and tools that took it over (X-AnyLabeling) write it. The picture
that a file may hold inside (`imageData`) is not looked at.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

from ...findings import Finding
from ...sections import DataConfig
from ..raw import RawDataset
from .folder_listing import Pictures, list_below, root_of, sample_files, split_of
from .json_documents import JsonError, load_json, outline
from .label_files import left_over, pair, refuse_lost, refuse_unreadable, set_splits
from .label_rows import Entry, LabelRows, dataset_of, file_finding
from .shapes import (
    NOT_PARSED,
    NOT_RECTANGLE,
    POLYGON,
    Corners,
    NoShape,
    Shape,
    around,
    around_ellipse,
    class_name,
    number,
    size,
)

_OUTLINES = frozenset({"polygon", "rotation", "mask", "quadrilateral"})  # a mask's points are the corners of its box
_NO_AREA = frozenset({"line", "linestrip", "point", "points"})


def find_labelme(path: Path) -> list[Path]:
    """Return a few of the files that a file or folder holds in this format, by a look at their first keys."""
    return [file for file in sample_files(path, ".json") if _is_labelme(file)]


def _is_labelme(file: Path) -> bool:
    kind, keys = outline(file)
    return kind == "object" and ("shapes" in keys or {"imagePath", "imageData"} <= keys)


def read_labelme(path: Path, settings: DataConfig) -> RawDataset:
    """Read a LabelMe dataset: JSON files beside their pictures, or in a folder of their own.

    Splits come from folders named train, val, valid or test; else all is train. Classes are in the order of a
    classes.txt or labels.txt, else sorted by name.

    Raises:
        DataError: there is no such file, none can be read, or not a single picture is there.
    """
    path = Path(os.path.abspath(path))
    root = root_of(path)
    listing = list_below(root, {".json", ".txt", ".pbtxt"})
    files = [path.relative_to(root).as_posix()] if path.is_file() else listing.of_suffix(".json")
    pictures = Pictures(listing.pictures)
    rows, grouped = LabelRows(), list[str]()
    for file in files:
        if _is_labelme(root / file):
            _read_file(root, file, rows, grouped)
        elif outline(root / file).kind == "" and pictures.of_label_file(file):
            rows.broken.append((file, 1, "neither list nor object, though it is named like a picture"))
    refuse_unreadable(rows, root, "LabelMe JSON")
    findings = [*pair(rows, pictures), *_grouped(grouped)]
    refuse_lost(rows, pictures, root)
    rest = [] if path.is_file() else left_over(rows, pictures)
    unlabelled = [(picture, split_of(picture) or "train") for picture in rest]
    set_splits(rows)
    return dataset_of(rows, listing, unlabelled, findings, settings)


def _read_file(root: Path, file: str, rows: LabelRows, grouped: list[str]) -> None:
    """Read one file; one that is broken gives no rows at all."""
    try:
        document, encoding = load_json(root / file)
    except JsonError as error:
        rows.broken.append((file, error.line, str(error)))
        return
    shapes = document.get("shapes") if isinstance(document, dict) else None
    if not isinstance(shapes, list):
        rows.broken.append((file, 0, "the list `shapes` is missing"))
        return
    rows.encodings.append((file, encoding))
    name = document.get("imagePath")
    width, height = size(document.get("imageWidth")), size(document.get("imageHeight"))
    rows.entries.append(Entry(file, name if isinstance(name, str) else "", width, height))
    rows.read += len(shapes)
    for place, shape in enumerate(shapes):
        rows.add(_row(shape), f"{file}:shape {place}")
    groups = Counter(
        (class_name(shape.get("label")), shape["group_id"])
        for shape in shapes
        if isinstance(shape, dict) and isinstance(shape.get("group_id"), int | str)
    )
    grouped.extend([file] if groups and max(groups.values()) > 1 else [])


def _row(shape: Any) -> Shape | NoShape:
    """Return a shape as a box; an outline or a circle becomes the box around it."""
    if not isinstance(shape, dict):
        return NoShape(NOT_PARSED, f"no shape: {shape}")
    kind = shape.get("shape_type") or "polygon"  # the first versions had no other
    name, text = class_name(shape.get("label")), f"{shape.get('label')} {kind} {shape.get('points')}"
    if not isinstance(kind, str) or kind in _NO_AREA:
        return NoShape(NOT_RECTANGLE, text)
    points = _points(shape.get("points"))
    corners = _corners(kind, points) if points else None
    if not name or corners is None:
        return NoShape(NOT_PARSED, text if name else f"shape without label: {text}")
    return Shape(name, corners, "" if kind == "rectangle" else POLYGON, text, shape.get("difficult") is True)


def _corners(kind: str, points: list[tuple[float, float]]) -> Corners | None:
    if kind == "circle":
        if len(points) != 2:
            return None
        radius = math.hypot(points[1][0] - points[0][0], points[1][1] - points[0][1])
        return around_ellipse(points[0], (radius, radius))
    if kind == "rectangle" or kind in _OUTLINES:
        return around(points) if len(points) >= 2 else None
    return None


def _points(value: Any) -> list[tuple[float, float]] | None:
    """Return points (x, y), or None if they are none; a third number (as for keypoints) does not count."""
    if not isinstance(value, list):
        return None
    points = []
    for point in value:
        x, y = (number(v) for v in point[:2]) if isinstance(point, list) and len(point) >= 2 else (None, None)
        if x is None or y is None:
            return None
        points.append((x, y))
    return points


def _grouped(files: list[str]) -> list[Finding]:
    if not files:
        return []
    message = f"in {len(files)} files shapes of one class share a group_id; each became a box of its own"
    advice = "join them in LabelMe if they are parts of one object"
    return [file_finding("labels.grouped", "info", message, files, advice)]
