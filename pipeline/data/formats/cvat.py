"""CVAT for images 1.1: one XML file for many pictures, with boxes, outlines and ellipses in pixels.

Format: https://docs.cvat.ai/docs/dataset_management/formats/xml_format/, part "Annotation".
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import DataError
from ...sections import DataConfig
from ..raw import RawDataset
from .folder_listing import Pictures, list_below, root_of, sample_files, split_word
from .label_files import refuse_unreadable
from .label_rows import Entry, LabelRows, dataset_of
from .picture_lists import not_listed, resolve
from .shapes import (
    NOT_PARSED,
    NOT_RECTANGLE,
    OUTSIDE,
    POLYGON,
    Corners,
    NoShape,
    Shape,
    around,
    around_ellipse,
    around_turned,
    class_name,
    numbers,
    size,
    sorted_corners,
)
from .xml_elements import Element, XmlDocument, XmlError, root_tag

_NO_AREA = frozenset({"polyline", "points", "cuboid", "skeleton", "tag"})
_SHAPES = frozenset({"box", "polygon", "ellipse", "mask"}) | _NO_AREA
_KEYS = {
    "box": ("xtl", "ytl", "xbr", "ybr"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "mask": ("left", "top", "width", "height"),
}


def find_cvat(path: Path) -> list[Path]:
    """Return a few of the files that a file or folder holds in this format, by a look at their root elements."""
    return [file for file in sample_files(path, ".xml") if root_tag(file) == "annotations"]


def read_cvat(path: Path, settings: DataConfig) -> RawDataset:
    """Read the CVAT files of a folder, or one file, with the pictures beside it or below the folder.

    The split is the picture's `subset`, else the task's, else that of a folder or of the file's name; else train.
    Classes are in the order of the task's labels; labels that are used but not listed there come behind them.

    Raises:
        DataError: there is no such file, none can be read, it is of a video, or not a single picture is there.
    """
    path = Path(os.path.abspath(path))
    root = root_of(path)
    listing = list_below(root, {".xml", ".txt", ".pbtxt"})
    files = [path.relative_to(root).as_posix()] if path.is_file() else listing.of_suffix(".xml")
    pictures = Pictures(listing.pictures)
    rows, labels = LabelRows(), list[str]()
    for file in files:
        _read_file(root, file, rows, labels)
    refuse_unreadable(rows, root, "CVAT XML")
    findings = resolve(rows, [[entry.name] for entry in rows.entries], pictures, root)
    findings += [] if path.is_file() else not_listed(rows, pictures)
    return dataset_of(rows, listing, [], findings, settings, order=labels)


def _read_file(root: Path, file: str, rows: LabelRows, labels: list[str]) -> None:
    """Read one file; one of another kind is passed over, and what a broken one holds before its fault is not used."""
    found, names, subset = LabelRows(), list[str](), None
    try:
        document = XmlDocument(root / file, "annotations")
        for element in document:
            if element.tag == "track":
                raise DataError(
                    f"{root / file}:{element.line}: this is a CVAT export of a video; export the task again as "
                    "'CVAT for images 1.1', which has one entry for each frame"
                )
            if element.tag == "meta":
                names, subset = _meta(element)
            elif element.tag == "image":
                _read_image(element, file, subset, found)
    except XmlError as error:
        rows.broken.append((file, error.line, str(error)))
        return
    if document.fits and not found.entries:
        rows.broken.append((file, 0, "no picture in it"))
    elif document.fits:
        rows.encodings.append((file, document.encoding))
        rows.take(found)
        labels.extend(name for name in names if name not in labels)


def _meta(meta: Element) -> tuple[list[str], str | None]:
    """Return the names of the labels in their order, and the split of the task."""
    names = [
        class_name(label.text_of("name"))
        for part in meta.below()
        if part.tag == "labels"
        for label in part.children
        # The points of a skeleton are listed as labels too, with the skeleton that they belong to.
        if label.tag == "label" and label.child("parent") is None
    ]
    subset = next((part.text for part in meta.below() if part.tag == "subset"), "")
    return [name for name in names if name], split_word(subset)


def _read_image(image: Element, file: str, subset: str | None, rows: LabelRows) -> None:
    about = image.attributes
    split = split_word(about.get("subset", "")) or subset
    rows.entries.append(Entry(file, about.get("name", ""), size(about.get("width")), size(about.get("height")), split))
    rows.read += sum(element.tag in _SHAPES for element in image.children)
    for element in image.children:
        if element.tag in _SHAPES:
            rows.add(_row(element), f"{file}:{element.line}")


def _row(element: Element) -> Shape | NoShape:
    """Return a shape as a box; an outline, an ellipse, a mask or a turned box becomes the box around it."""
    about = element.attributes
    name, text = class_name(about.get("label")), _spelt(element)
    if element.tag in _NO_AREA:
        return NoShape(NOT_RECTANGLE, text)
    if about.get("outside") == "1":
        return NoShape(OUTSIDE, text)
    found = _corners(element)
    if not name or found is None:
        return NoShape(NOT_PARSED, text if name else f"shape without label: {text}")
    corners, notes = found
    marks = {
        part.attributes.get("name", "").lower()
        for part in element.children
        if part.text.strip().lower() in ("true", "1")
    }
    crowd = bool(marks & {"is_crowd", "iscrowd"})  # CVAT's own names for what it took over from COCO and VOC
    return Shape(name, corners, " ".join(notes), text, "difficult" in marks, crowd)


def _corners(element: Element) -> tuple[Corners, list[str]] | None:
    about = element.attributes
    if element.tag == "polygon":
        points = _points(about.get("points", ""))
        return (around(points), [POLYGON]) if points else None
    found = numbers([*(about.get(key) for key in _KEYS[element.tag]), about.get("rotation", "0")])
    if found is None:
        return None
    (a, b, c, d, degrees), comma = found
    notes = [comma] if comma else []
    if element.tag == "ellipse":
        return around_ellipse((a, b), (c, d), degrees), [*notes, POLYGON]
    if element.tag == "mask":
        return (a, b, a + c, b + d), [*notes, POLYGON]
    corners, swapped = sorted_corners(a, b, c, d)
    notes += [swapped] if swapped else []
    if degrees == 0:
        return corners, notes
    # CVAT turns about the centre.
    return around_turned(corners, degrees, ((a + c) / 2, (b + d) / 2)), [*notes, POLYGON]


def _points(text: str) -> Sequence[tuple[float, float]] | None:
    """Return the points of "x,y;x,y;...", or None if they are none or fewer than two."""
    pairs = [pair.split(",") for pair in re.split("[; ]+", text.strip("; "))]
    if len(pairs) < 2 or any(len(pair) != 2 for pair in pairs):
        return None
    found = numbers([value for pair in pairs for value in pair])
    return None if found is None else list(zip(found[0][::2], found[0][1::2], strict=True))


def _spelt(element: Element) -> str:
    """Return a shape as it stands in the file, without what is no geometry."""
    keys = (*_KEYS.get(element.tag, ("points",)), "rotation")
    values = [f"{key}={element.attributes[key]}" for key in keys if key in element.attributes]
    return " ".join([element.attributes.get("label", ""), element.tag, *values])
