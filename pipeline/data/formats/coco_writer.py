"""Write COCO: `annotations/instances_SPLIT.json` and `images/SPLIT/`.

Format: https://cocodataset.org/#format-data. Two keys are this program's own: `difficult` of an annotation, where it
is, and `group` of a picture.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..dataset import Dataset
from .placing import (
    empty_folder,
    number_text,
    picture_places,
    place_pictures,
    split_of,
    splits_of,
    write_groups,
)

_ROWS = 50_000  # annotations whose text is made at once


def write_coco(dataset: Dataset, folder: Path, *, copy: bool = False) -> Path:
    """Write a dataset as COCO: one file per split, boxes without loss. Returns the folder.

    Args:
        dataset: what to write; pictures without a split go to train.
        folder: new or empty.
        copy: copy the pictures instead of linking them.

    Raises:
        UsageError: the folder is not empty or cannot be written.
        DataError: a picture that should be copied cannot be read.
    """
    base = os.path.abspath(folder)
    with empty_folder(folder):
        places = [f"images/{place}" for place in picture_places(dataset.images)]
        place_pictures(dataset, [f"{base}/{place}" for place in places], copy=copy)
        _write_labels(dataset, places, folder)
    return folder


def write_coco_labels(dataset: Dataset, folder: Path) -> Path:
    """Write labels and groups beside pictures that lie in `images/SPLIT/` of the folder already. Returns the folder.

    Args:
        dataset: its `images.path` are relative to the folder and begin with `images/SPLIT/`.
        folder: has no `annotations/` yet.

    Raises:
        OSError: it cannot be written.
    """
    _write_labels(dataset, dataset.images["path"].to_list(), folder)
    return folder


def _write_labels(dataset: Dataset, places: Sequence[str], folder: Path) -> None:
    (folder / "annotations").mkdir()
    images = dataset.images.with_columns(place=pl.Series(places, dtype=pl.String), split=split_of(dataset.images))
    first = 1
    for split in splits_of(images):
        part = images.filter(pl.col("split") == split)
        boxes = dataset.boxes.join(part.select("image_id"), on="image_id", how="semi", maintain_order="left")
        categories = [{"id": number, "name": name} for number, name in enumerate(dataset.names, start=1)]
        with (folder / "annotations" / f"instances_{split}.json").open("x", encoding="utf-8") as file:
            file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [\n')
            file.writelines(_separated(_image_texts(part, split)))
            file.write('\n],\n"annotations": [\n')
            file.writelines(_separated(_annotation_texts(boxes, first)))
            file.write("\n]}\n")
        first += boxes.height
    write_groups(dataset.images, places, folder)


def _separated(texts: Iterator[str]) -> Iterator[str]:
    return chain((next(texts, ""),), (f",\n{text}" for text in texts))


def _image_texts(images: pl.DataFrame, split: str) -> Iterator[str]:
    start = len(f"images/{split}/")
    for key, place, width, height, group in images.select("image_id", "place", "width", "height", "group").iter_rows():
        record: dict[str, Any] = {"id": key, "file_name": place[start:], "width": width, "height": height}
        if group is not None:
            record["group"] = group
        yield json.dumps(record, ensure_ascii=False)


def _annotation_texts(boxes: pl.DataFrame, first: int) -> Iterator[str]:
    """Return the annotations as JSON, many to a text; they are numbered from `first`."""
    table = boxes.select(
        "image_id",
        "x1",
        "y1",
        _side(boxes, "x1", "x2").alias("width"),
        _side(boxes, "y1", "y2").alias("height"),
        category=pl.col("class_id").cast(pl.UInt32) + 1,
        crowd=pl.col("crowd").cast(pl.UInt8),
        more=pl.when("difficult").then(pl.lit(', "difficult": true')).otherwise(pl.lit("")),
    ).with_row_index("number", offset=first)
    sides = [number_text(pl.col(name)) for name in ("x1", "y1", "width", "height")]
    pieces: dict[str, str | pl.Expr] = {
        '{"id": ': "number",
        ', "image_id": ': "image_id",
        ', "category_id": ': "category",
        ', "bbox": [': pl.concat_str(sides, separator=", "),
        '], "area": ': number_text(pl.col("width") * pl.col("height")),
        ', "segmentation": [], "iscrowd": ': "crowd",
        "": pl.col("more") + "}",
    }
    line = pl.concat_str(chain.from_iterable((pl.lit(text), value) for text, value in pieces.items()))
    for start in range(0, table.height, _ROWS):
        yield ",\n".join(table.slice(start, _ROWS).select(line.alias("line"))["line"].to_list())


def _side(boxes: pl.DataFrame, low: str, high: str) -> pl.Series:
    """Return widths or heights which give the far corner back when they are added to the near one.

    Rounded to a millionth of a pixel where that is exact (a width of 80.39 was 80.39 before the subtraction), else the
    difference or one of its neighbours. Where none is exact, the far corner is off by its last bit.
    """
    near, far = boxes[low].to_numpy(), boxes[high].to_numpy()
    side: NDArray[np.float64] = far - near
    candidates = [np.round(side, 6), side, np.nextafter(side, np.inf), np.nextafter(side, -np.inf)]
    return pl.Series(np.select([near + candidate == far for candidate in candidates], candidates, side))
