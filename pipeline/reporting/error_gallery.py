"""The worst errors as pictures: false alarms, missed boxes, confusions and wrong places, cut out with what is around.

The cut is a small JPEG inside the page; detection and truth are vectors above it, as in `gallery`. Which detection is
an error, and of which type, is read from the table that the evaluation stored (`eval/<split>/errors.parquet`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.images import ValueRange
from ..errors import DataError
from .gallery import Mark, encode, mark_of, name_of, to_8_bit

CONTEXT = 3.0  # a cut is so many times as long as the longest side of what it shows
SMALLEST = 64  # pixels of the picture; a smaller cut shows blocks and no surroundings
SHOWN = 320  # the longest side of a shown cut
_TAG_HEIGHT = 16.0
_CORNERS = ("x1", "y1", "x2", "y2")
_TRUTH_CORNERS = ("truth_x1", "truth_y1", "truth_x2", "truth_y2")


@dataclass(frozen=True)
class Cut:
    """A part of a picture with one error in it; `picture` is a data URI, or empty when there is a `problem`.

    Args:
        name: the picture's path, relative to the dataset's root.
        link: the address of the picture file.
        caption: what is wrong, in one line.
        width: of the shown cut, in the units of the marks.
        height: likewise.
        picture: JPEG as a data URI.
        problem: why there is no picture.
        truth: the labelled boxes in the cut, the one concerned last; drawn dashed.
        found: the detection; none for a missed box.
    """

    name: str
    link: str
    caption: str
    width: float
    height: float
    picture: str
    problem: str
    truth: tuple[Mark, ...]
    found: tuple[Mark, ...]


@dataclass(frozen=True)
class ErrorGroup:
    """The worst errors of one group; `total` is how many there are."""

    heading: str
    text: str
    total: int
    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class _Kind:
    heading: str
    text: str
    types: tuple[str, ...]
    order: tuple[pl.Expr, ...]  # the worst has the largest values


_SCORE = pl.col("score")
_LABELLED = (pl.col("truth_x2") - pl.col("truth_x1")) * (pl.col("truth_y2") - pl.col("truth_y1"))
_OWNS_FIRST = "those whose object nothing else found come first, then the surest."
_KINDS = (
    _Kind(
        "False alarms",
        "Detections that find no label of their own, the surest first.",
        ("background", "both", "duplicate"),
        (_SCORE,),
    ),
    _Kind("Missed", "Labelled, but found by no detection, the largest first.", ("missed",), (_LABELLED,)),
    _Kind(
        "Confusions",
        f"Found, but as another class; {_OWNS_FIRST}",
        ("class",),
        (pl.col("owns"), _SCORE),
    ),
    _Kind(
        "Wrong place",
        f"The right class, but too little overlap with the label; {_OWNS_FIRST}",
        ("place",),
        (pl.col("owns"), _SCORE),
    ),
)


def make_error_groups(dataset: Dataset, errors: pl.DataFrame, count: int) -> list[ErrorGroup]:
    """Return the worst errors in groups; a group without errors is left out.

    The worst error of every picture comes before the second worst of any: one bad picture shall not fill a group.

    Args:
        dataset: the evaluated split.
        errors: what the evaluation stored; corners in pixels of the original picture.
        count: how many of a group at most.
    """
    known = errors.join(
        dataset.images.select("image_id", "path", "width", "height"), on="image_id", maintain_order="left"
    )
    chosen = [(kind, rows, _worst(rows, kind, count)) for kind in _KINDS if (rows := _of(known, kind)).height]
    wanted = pl.concat([worst for _, _, worst in chosen]) if chosen and count > 0 else known.clear()
    cuts = _cuts(dataset, wanted)
    groups, first = [], 0
    for kind, rows, worst in chosen:
        groups.append(ErrorGroup(kind.heading, kind.text, rows.height, tuple(cuts[first : first + worst.height])))
        first += worst.height
    return groups


def _of(errors: pl.DataFrame, kind: _Kind) -> pl.DataFrame:
    return errors.filter(pl.col("type").is_in(kind.types))


def _worst(rows: pl.DataFrame, kind: _Kind, count: int) -> pl.DataFrame:
    rows = rows.sort(*kind.order, descending=True, nulls_last=True, maintain_order=True)
    turn = pl.int_range(pl.len()).over("image_id")
    return rows.sort(turn, maintain_order=True).head(max(count, 0))


def _cuts(dataset: Dataset, rows: pl.DataFrame) -> list[Cut]:
    """Return a cut for every row; a picture that several rows need is read once."""
    cuts: dict[int, Cut] = {}
    for _, part in rows.with_row_index("number").group_by("image_id", maintain_order=True):
        path = dataset.picture_path(part["path"][0])
        boxes = dataset.boxes.filter(pl.col("image_id") == part["image_id"][0])
        problem, pixels = "", None
        try:
            pixels = _read(path, (part["height"][0], part["width"][0]), dataset.value_range)
        except DataError as error:
            problem = str(error)
        for row in part.iter_rows(named=True):
            cuts[row["number"]] = _cut(dataset.names, path, row, boxes, pixels, problem)
    return [cuts[number] for number in range(rows.height)]


def _read(path: Path, size: tuple[int, int], value_range: ValueRange | None) -> NDArray[np.uint8]:
    """Return the whole picture, grey or BGR, as `gallery.read_for_display` does but in its own size.

    Raises:
        DataError: the file is missing, cannot be decoded, or has another size than when it was evaluated.
    """
    try:
        raw = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(raw, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR) if raw.size else None
    except OSError as error:
        raise DataError(error.strerror or str(error)) from error
    except cv2.error as error:
        raise DataError("the picture is too large, or damaged") from error
    if picture is None:
        raise DataError("the file is not a picture that can be decoded")
    if picture.shape[:2] != size:
        found = f"{picture.shape[1]} x {picture.shape[0]}"
        raise DataError(f"the picture is now {found} pixels, it was evaluated with {size[1]} x {size[0]}")
    return to_8_bit(np.asarray(picture), value_range)


def _cut(
    names: Sequence[str],
    path: Path,
    row: dict[str, Any],
    boxes: pl.DataFrame,
    pixels: NDArray[np.uint8] | None,
    problem: str,
) -> Cut:
    left, top, right, bottom = _window(row)
    scale = SHOWN / max(right - left, bottom - top)
    size = ((right - left) * scale, (bottom - top) * scale)

    def mark(box: dict[str, Any]) -> Mark:
        moved = {"x1": box["x1"] - left, "y1": box["y1"] - top, "x2": box["x2"] - left, "y2": box["y2"] - top}
        return mark_of({**box, **moved}, names, scale, size, False)

    concerned = dict(zip(_CORNERS, (row[name] for name in _TRUTH_CORNERS), strict=True))
    inside = boxes.filter(pl.col("x1") < right, pl.col("x2") > left, pl.col("y1") < bottom, pl.col("y2") > top)
    truth = [
        replace(mark(box), tag="") for box in inside.iter_rows(named=True) if {k: box[k] for k in _CORNERS} != concerned
    ]
    if row["truth"] is not None:
        own = mark({**concerned, "class_id": row["truth_class"]})
        below = min(own.y + own.height, size[1] - _TAG_HEIGHT)  # the detection's tag stands above
        truth.append(replace(own, tag_y=below))
    found = () if row["detection"] is None else (mark({k: row[k] for k in (*_CORNERS, "class_id", "score")}),)
    picture = ""
    if pixels is not None:
        part = pixels[top:bottom, left:right]
        if scale < 1:
            part = np.asarray(
                cv2.resize(part, (max(1, round(size[0])), max(1, round(size[1]))), interpolation=cv2.INTER_AREA),
                np.uint8,
            )
        picture = encode(part)
    return Cut(
        row["path"],
        path.absolute().as_uri(),
        _caption(names, row),
        size[0],
        size[1],
        picture,
        problem,
        tuple(truth),
        found,
    )


def _window(row: dict[str, Any]) -> tuple[int, int, int, int]:
    corners = [[row[name] for name in group] for group in (_CORNERS, _TRUTH_CORNERS) if row[group[0]] is not None]
    return window_around(np.array(corners), row["width"], row["height"])


def window_around(corners: NDArray[np.float64], width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a cut around boxes in whole pixels, within the picture, not empty.

    Args:
        corners: of the boxes that it shows, [n, 4].
        width, height: of the picture.
    """
    low, high = np.min(corners, axis=0)[:2], np.max(corners, axis=0)[2:]
    side = max(CONTEXT * float((high - low).max()), SMALLEST)
    bounds = []
    for centre, length in zip((low + high) / 2, (width, height), strict=True):
        extent = max(1, round(min(side, length)))
        first = int(np.clip(round(centre - extent / 2), 0, max(0, length - extent)))
        bounds.append((first, first + extent))
    (left, right), (top, bottom) = bounds
    return left, top, right, bottom


def _caption(names: Sequence[str], row: dict[str, Any]) -> str:
    label = "" if row["truth_class"] is None else name_of(names, row["truth_class"])
    if row["type"] == "missed":
        sides = (row["truth_x2"] - row["truth_x1"], row["truth_y2"] - row["truth_y1"])
        return f"{label} of {sides[0]:.0f} × {sides[1]:.0f} pixels, not found"
    found = f"{name_of(names, row['class_id'])} {row['score']:.2f}"
    if row["type"] == "class":
        return f"labelled {label}, found as {found} (IoU {row['iou']:.2f})"
    if row["type"] == "place":
        return f"{found} overlaps its label by IoU {row['iou']:.2f}"
    if row["type"] == "duplicate":
        return f"{found}, but a surer detection has found this {label}"
    if row["type"] == "both":
        return f"{found} near a {label} (IoU {row['iou']:.2f})"
    return f"{found}, nothing is labelled here"
