"""Pascal VOC XML: one file per picture, with a `bndbox` of pixel numbers for each object.

Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html, "Annotation files".

In the original the corners are the numbers of pixels, counted from 1, and both belong to the box. A box that covers a
picture of W pixels has xmin 1 and xmax W; between the edges of pixels that is 0 to W. `data.voc_offset=1` therefore
takes 1 from xmin and ymin and leaves xmax and ymax (as Detectron2's reader does). Most tools of today write the edges
themselves, from 0: `data.voc_offset=0` takes the numbers as they are.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from ...findings import Finding
from ...sections import DataConfig
from ..raw import ROWS_NAMED, RawDataset
from .folder_listing import Listing, Pictures, list_below, root_of, sample_files
from .label_files import left_over, pair, refuse_lost, refuse_unreadable, set_splits
from .label_rows import Entry, LabelRows, dataset_of
from .shapes import (
    NOT_PARSED,
    POLYGON,
    Corners,
    NoShape,
    Shape,
    around,
    around_turned,
    class_name,
    numbers,
    size,
    sorted_corners,
)
from .voc_splits import splits_of_lists
from .xml_elements import Element, XmlDocument, XmlError, root_tag

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def find_voc(path: Path) -> list[Path]:
    """Return a few of the files that a file or folder holds in this format, by a look at their root elements."""
    return [file for file in sample_files(path, ".xml") if root_tag(file) == "annotation"]


def read_voc(path: Path, settings: DataConfig) -> RawDataset:
    """Read a Pascal VOC dataset: XML files beside their pictures or in a sister folder such as Annotations.

    Splits come from ImageSets/Main (train, val, test, trainval; a picture in none of them has no split), else from
    folders named train, val, valid or test; else all is train. Classes are in the order of a classes.txt, labels.txt or
    label_map.pbtxt, else sorted by name.

    Raises:
        DataError: there is no such file, none can be read, or not a single picture is there.
    """
    path = Path(os.path.abspath(path))
    root = root_of(path)
    listing = list_below(root, {".xml", ".txt", ".pbtxt"})
    files = [path.relative_to(root).as_posix()] if path.is_file() else listing.of_suffix(".xml")
    pictures = Pictures(_pictures(listing))
    rows, seen = LabelRows(), _Extremes()
    for file in files:
        _read_file(root, file, settings, rows, seen)
    refuse_unreadable(rows, root, "Pascal VOC XML")
    findings = pair(rows, pictures)
    refuse_lost(rows, pictures, root)
    rest = [] if path.is_file() else left_over(rows, pictures)
    unlabelled, split_findings = splits_of_lists(rows, listing, rest)
    set_splits(rows)
    findings = [*findings, *split_findings, *seen.findings(settings)]
    return dataset_of(rows, listing, unlabelled, findings, settings)


def _pictures(listing: Listing) -> list[str]:
    """Return the pictures that can be labelled: VOC's own folder also holds masks, of the same names."""
    usual = [path for path in listing.pictures if "jpegimages" in path.lower().split("/")[:-1]]
    return usual or list(listing.pictures)


def _read_file(root: Path, file: str, settings: DataConfig, rows: LabelRows, seen: _Extremes) -> None:
    """Read one XML file; one of another kind is passed over, one that breaks off gives no rows at all."""
    try:
        document = XmlDocument(root / file, "annotation")
        parts = list(document)
    except XmlError as error:
        rows.broken.append((file, error.line, str(error)))
        return
    if not document.fits:
        return
    rows.encodings.append((file, document.encoding))
    about = {part.tag: part for part in reversed(parts)}  # the first of each kind counts
    stated = about.get("size")
    width, height = (size(stated.text_of(side)) if stated else None for side in ("width", "height"))
    rows.entries.append(Entry(file, about["filename"].text.strip() if "filename" in about else "", width, height))
    rows.read += sum(part.tag == "object" for part in parts)
    for part in parts:
        if part.tag == "object":
            row, source = _row(part, settings.voc_offset), f"{file}:{part.line}"
            rows.add(row, source)
            if isinstance(row, Shape):
                seen.add(row.corners, (width, height), source)


def _row(element: Element, offset: int) -> Shape | NoShape:
    """Return an object as a box; an outline or a turned box becomes the box around it."""
    name = class_name(element.text_of("name") or "")
    if not name:
        return NoShape(NOT_PARSED, f"object without name: {_spelt(element)}")
    found = _corners(element)
    if found is None:
        return NoShape(NOT_PARSED, f"{name}: {_spelt(element)}")
    corners, notes = found
    corners = (corners[0] - offset, corners[1] - offset, corners[2], corners[3])
    difficult = (element.text_of("difficult") or "").lower() in ("1", "true")
    return Shape(name, corners, " ".join(notes), f"{name} {_spelt(element)}", difficult)


def _corners(element: Element) -> tuple[Corners, list[str]] | None:
    box = element.child("bndbox")
    if box is not None and (found := numbers([box.text_of(side) for side in _SIDES])):
        (x1, y1, x2, y2), comma = found
        corners, swapped = sorted_corners(x1, y1, x2, y2)
        return corners, [note for note in (comma, swapped) if note]
    turned = element.child("robndbox")  # roLabelImg: centre, size, angle in radians
    if turned is not None and (found := numbers([turned.text_of(key) for key in ("cx", "cy", "w", "h", "angle")])):
        (x, y, width, height, angle), comma = found
        whole = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return around_turned(whole, math.degrees(angle), (x, y)), [note for note in (comma, POLYGON) if note]
    outline = element.child("polygon")
    if outline is None:
        return None
    # <x1>, <y1>, <x2>, ... in one row (Roboflow), or <pt><x/><y/></pt> (the first, web-based LabelMe).
    parts = [part for part in outline.below() if part.tag.lower().rstrip("0123456789") in ("x", "y")]
    found = numbers([part.text.strip() for part in parts])
    if found is None:
        return None
    values, comma = found
    across, down = (
        [value for part, value in zip(parts, values, strict=True) if part.tag.lower().startswith(axis)]
        for axis in ("x", "y")
    )
    if len(across) < 2 or len(across) != len(down):
        return None
    return around(list(zip(across, down, strict=True))), [note for note in (comma, POLYGON) if note]


def _spelt(element: Element) -> str:
    """Return the numbers of an object as they stand in the file."""
    shape = next((part for part in element.children if part.tag in ("bndbox", "robndbox", "polygon")), None)
    if shape is None:
        return "no bndbox"
    return " ".join(f"{part.tag}={part.text.strip()}" for part in shape.below() if part.text.strip()) or "empty bndbox"


@dataclass
class _Extremes:
    """Where the boxes of all files begin and end, which tells whether pixels are counted from 0 or from 1."""

    least: float = float("inf")
    below: list[str] = field(default_factory=list)  # sources of boxes that begin below 0
    at_one: int = 0
    full: int = 0  # boxes that reach the stated width or height

    def add(self, corners: Corners, stated: tuple[int | None, int | None], source: str) -> None:
        least = min(corners[:2])
        self.least = min(self.least, least)
        self.at_one += least == 1
        self.full += corners[2] == stated[0] or corners[3] == stated[1]
        if least < 0:
            self.below.append(source)

    def findings(self, settings: DataConfig) -> list[Finding]:
        """Say where the numbers look as if they were counted otherwise than `data.voc_offset` says."""
        if settings.voc_offset == 0 and self.least == 1 and self.full:
            message = (
                f"no box begins at 0, {self.at_one} begin at 1 and {self.full} reach the picture's full width or "
                "height: either pixels are counted from 1, or the tool wrote 1 for 0, as labelImg does"
            )
            advice = "data.voc_offset=1 if they are counted from 1; it moves left and upper edges by one pixel"
            return [Finding("labels.voc_offset", "info", message, {"count": self.at_one}, advice)]
        if settings.voc_offset == 1 and self.below:
            message = f"{len(self.below)} boxes begin at pixel 0, so pixels are not counted from 1"
            evidence = {"count": len(self.below), "rows": self.below[:ROWS_NAMED]}
            return [Finding("labels.voc_offset", "warning", message, evidence, "data.voc_offset=0")]
        return []
