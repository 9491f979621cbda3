"""Findings about data as pictures: the boxes or pictures that a finding names, a handful for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ..data.dataset import Dataset
from ..data.images import read_picture
from ..errors import DataError
from .error_gallery import SHOWN, Cut, window_around
from .gallery import Mark, encode, mark_of, name_of, read_for_display

PER_FINDING = 4  # one row of the page
_CORNERS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class FindingGroup:
    """What a finding is about, as pictures; the boxes concerned are solid, others dashed."""

    id: str
    severity: str
    message: str
    cuts: tuple[Cut, ...]


def finding_groups(dataset: Dataset, findings: Sequence[Mapping[str, Any]]) -> list[FindingGroup]:
    """Return pictures for every finding that names boxes (`rows`) or pictures which the dataset still has.

    Args:
        dataset: the tables that were audited.
        findings: records of `Finding.to_dict`.
    """
    groups = []
    for finding in findings:
        evidence = finding["evidence"]
        cuts = _of_rows(dataset, evidence.get("rows") or ()) or _of_pictures(dataset, evidence.get("pictures") or ())
        if cuts:
            groups.append(FindingGroup(finding["id"], finding["severity"], finding["message"], tuple(cuts)))
    return groups


def _of_rows(dataset: Dataset, sources: Sequence[str]) -> list[Cut]:
    wanted = pl.DataFrame({"source": [source for source in sources if isinstance(source, str)]}, {"source": pl.String})
    boxes = wanted.join(dataset.boxes, on="source", maintain_order="left").unique("source", maintain_order=True)
    joined = boxes.join(dataset.images, on="image_id", maintain_order="left")
    return [_cut(dataset, row, [row]) for row in joined.head(PER_FINDING).iter_rows(named=True)]


def _of_pictures(dataset: Dataset, paths: Sequence[Any]) -> list[Cut]:
    """Return the first of the pictures, in their order: a finding names pairs side by side, the most telling first."""
    wanted = pl.DataFrame({"path": [path for path in paths if isinstance(path, str)]}, {"path": pl.String})
    images = wanted.join(dataset.images, on="path", maintain_order="left").head(PER_FINDING)
    return [_cut(dataset, row, []) for row in images.iter_rows(named=True)]


def _cut(dataset: Dataset, row: Mapping[str, Any], concerned: Sequence[Mapping[str, Any]]) -> Cut:
    """Return the picture, or the surroundings of the boxes concerned."""
    path = dataset.picture_path(row["path"])
    left, top, right, bottom = _window(row, concerned)
    scale = SHOWN / max(right - left, bottom - top)
    size = ((right - left) * scale, (bottom - top) * scale)
    problem, picture = "", ""
    try:
        picture = encode(_part(dataset, row, (left, top, right, bottom)))
    except DataError as error:
        problem = str(error)

    def mark(box: Mapping[str, Any], crowded: bool) -> Mark:
        moved = {key: box[key] - shift for key, shift in zip(_CORNERS, (left, top, left, top), strict=True)}
        return mark_of({**box, **moved}, dataset.names, scale, size, crowded)

    inside = dataset.boxes.filter(
        pl.col("image_id") == row["image_id"],
        *(pl.col("x1") < right, pl.col("x2") > left, pl.col("y1") < bottom, pl.col("y2") > top),
    )
    own = {box["source"] for box in concerned}
    others = tuple(mark(box, True) for box in inside.iter_rows(named=True) if box["source"] not in own)
    found = tuple(mark(box, False) for box in concerned)
    return Cut(
        row["path"], path.absolute().as_uri(), _caption(dataset, row, concerned), *size, picture, problem, others, found
    )


def _window(row: Mapping[str, Any], concerned: Sequence[Mapping[str, Any]]) -> tuple[int, int, int, int]:
    if not concerned:
        return 0, 0, row["width"], row["height"]
    corners = np.array([[box[name] for name in _CORNERS] for box in concerned])
    return window_around(corners, row["width"], row["height"])


def _part(dataset: Dataset, row: Mapping[str, Any], window: tuple[int, int, int, int]) -> Any:
    """Return the pixels of the window; a whole picture is read in reduced size where its format can do that."""
    path = dataset.picture_path(row["path"])
    left, top, right, bottom = window
    if (left, top, right, bottom) == (0, 0, row["width"], row["height"]):
        return read_for_display(path, max(row["width"], row["height"]), dataset.value_range)
    pixels = read_picture(path, dataset.value_range)
    if pixels.shape[:2] != (row["height"], row["width"]):
        raise DataError("the picture has another size by now")
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def _caption(dataset: Dataset, row: Mapping[str, Any], concerned: Sequence[Mapping[str, Any]]) -> str:
    if not concerned:
        return f"{row['width']} × {row['height']} pixels, {row['split'] or 'no split'}"
    box = concerned[0]
    sides = f"{box['x2'] - box['x1']:.0f} × {box['y2'] - box['y1']:.0f}"
    return f"{name_of(dataset.names, box['class_id'])}, {sides} pixels ({box['source']})"
