"""Sample pictures with their ground truth and what the model found.

The picture is a small JPEG inside the page; the boxes are vectors above it, so that labels stay sharp at every size and
class names in every script can be read.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data.class_colours import colour_of
from ..data.dataset import Dataset
from ..data.images import ValueRange, scaled
from ..errors import DataError
from ..run_evaluations import SHOWN_FROM

LARGEST = 480  # the longest side of a shown picture, in pixels
JPEG_QUALITY = 85
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,  # "grayscale" only in the absence of IMREAD_ANYCOLOR
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_PLAIN_COUNT = 12  # boxes on a picture up to which every one has a label
_LONGEST_NAME = 24
_TAG_HEIGHT, _CHARACTER = 16.0, 7.2  # of a label in 12 pixel type


@dataclass(frozen=True)
class Mark:
    """A box as it is drawn, in the units of the sample's picture; `tag` is its visible label, `text` the full one."""

    x: float
    y: float
    width: float
    height: float
    class_id: int
    text: str
    tag: str
    tag_x: float
    tag_y: float
    tag_width: float
    aside: bool  # crowd or difficult: not counted by the evaluation

    @property
    def colour(self) -> str:
        """The colour of its class."""
        return colour_of(self.class_id)


@dataclass(frozen=True)
class Sample:
    """A picture with its boxes; `picture` is a data URI, or empty when there is a `problem`."""

    name: str
    width: float
    height: float
    picture: str
    problem: str
    truth: tuple[Mark, ...]
    found: tuple[Mark, ...]


def name_of(names: Sequence[str], class_id: int) -> str:
    """Return the class name, or its number where the list of names is shorter."""
    return names[class_id] if class_id < len(names) else f"class {class_id}"


def make_samples(dataset: Dataset, detections: pl.DataFrame, count: int) -> list[Sample]:
    """Return up to `count` pictures of a split with ground truth and detections.

    Args:
        dataset: the evaluated split.
        detections: its detections, in pixels of the original pictures.
        count: how many pictures at most.
    """
    shown = detections.filter(pl.col("score") >= SHOWN_FROM).sort("score")  # the surest is drawn last, on top
    samples = []
    for row in choose(dataset, count).iter_rows(named=True):
        of_picture = pl.col("image_id") == row["image_id"]
        samples.append(_sample(dataset, row, dataset.boxes.filter(of_picture), shown.filter(of_picture)))
    return samples


def choose(dataset: Dataset, count: int) -> pl.DataFrame:
    """Return up to `count` rows of `dataset.images`, evenly spaced by path; one is without boxes if any is."""
    images = dataset.images.sort("path")
    if count <= 0 or images.is_empty():
        return images.clear()
    rows = np.unique(np.linspace(0, images.height - 1, min(count, images.height)).round().astype(int)).tolist()
    empty = (~images["image_id"].is_in(dataset.boxes["image_id"].unique().implode())).arg_true().to_list()
    if empty and not set(rows) & set(empty):
        wanted = empty[len(empty) // 2]
        rows.remove(min(rows, key=lambda row: abs(row - wanted)))
        rows.append(wanted)
    return images[sorted(rows)]


def _sample(dataset: Dataset, row: dict[str, Any], boxes: pl.DataFrame, detections: pl.DataFrame) -> Sample:
    width, height = max(1, row["width"]), max(1, row["height"])
    scale = LARGEST / max(width, height)  # labels of one size on small and on large pictures
    size = (max(1.0, width * scale), max(1.0, height * scale))
    problem, picture = "", ""
    try:
        picture = encode(read_for_display(dataset.picture_path(row["path"]), max(width, height), dataset.value_range))
    except DataError as error:
        problem = str(error)
    crowded = max(boxes.height, detections.height) > _PLAIN_COUNT
    return Sample(
        name=row["path"],
        width=size[0],
        height=size[1],
        picture=picture,
        problem=problem,
        truth=tuple(mark_of(box, dataset.names, scale, size, crowded) for box in boxes.iter_rows(named=True)),
        found=tuple(mark_of(box, dataset.names, scale, size, crowded) for box in detections.iter_rows(named=True)),
    )


def mark_of(box: dict[str, Any], names: Sequence[str], scale: float, size: tuple[float, float], crowded: bool) -> Mark:
    """Return a box of the picture as it is drawn at `scale` on a sample of `size`; `crowded` leaves out long labels."""
    x1, x2 = (min(max(box[k] * scale, 0.0), size[0]) for k in ("x1", "x2"))
    y1, y2 = (min(max(box[k] * scale, 0.0), size[1]) for k in ("y1", "y2"))
    name = name_of(names, box["class_id"])
    score = f" {box['score']:.2f}" if "score" in box else ""
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    tag = short + score
    tag_width = 8 + _CHARACTER * sum(1.7 if unicodedata.east_asian_width(c) in "WF" else 1 for c in tag)
    return Mark(
        x=x1,
        y=y1,
        width=x2 - x1,
        height=y2 - y1,
        class_id=box["class_id"],
        text=name + score,
        tag="" if crowded and tag_width > x2 - x1 else tag,
        tag_x=max(0.0, min(x1, size[0] - tag_width)),
        tag_y=y1 - _TAG_HEIGHT if y1 >= _TAG_HEIGHT else y1,
        tag_width=tag_width,
        aside=bool(box.get("crowd") or box.get("difficult")),
    )


def read_for_display(path: Path, longest: int, value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """Return a picture as uint8, grey or BGR, its longest side at most `LARGEST`, turned as its EXIF data says.

    Pictures with more than 8 bits are shown as the model sees them, by the range of the dataset; where none is known,
    in runs of older versions, each is stretched to its own darkest and brightest value.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    # A picture of 400 megapixels is decoded at an eighth: JPEG can do that without ever holding all of it.
    by = next((by for by in (8, 4, 2) if longest / by >= 2 * LARGEST), 1)
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | _REDUCED[by]
    try:
        raw = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(raw, flags) if raw.size else None
    except OSError as error:
        raise DataError(error.strerror or str(error)) from error
    except cv2.error as error:
        raise DataError("the picture is too large, or damaged") from error
    if picture is None:
        raise DataError("the file is not a picture that can be decoded")
    shown = to_8_bit(np.asarray(picture), value_range)
    scale = LARGEST / max(shown.shape[:2])
    if scale < 1:
        size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale)))
        shown = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), np.uint8)
    return shown


def to_8_bit(picture: NDArray[Any], value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """Return a picture of any depth as uint8: by the range, or stretched to its own darkest and brightest value."""
    if picture.dtype == np.uint8:
        return np.asarray(picture, np.uint8)
    if value_range is not None:
        return scaled(picture, value_range)
    values = np.nan_to_num(picture.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, (0.1, 99.9))
    stretched = (values - low) / max(high - low, np.finfo(np.float64).tiny) * 255
    return np.asarray(np.clip(stretched, 0, 255), np.uint8)


def encode(picture: NDArray[np.uint8]) -> str:
    """Return the picture as a JPEG in a data URI."""
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode("ascii")
