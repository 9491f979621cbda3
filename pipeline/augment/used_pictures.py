"""Which pictures of a split are used, and at which size the network gets them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import polars as pl

from ..data.dataset import Dataset


def evenly(total: int, count: int) -> list[int]:
    """Return `count` of the numbers below `total`, evenly spread; all of them if there are no more."""
    wanted = min(max(count, 0), total)
    return [index * total // wanted for index in range(wanted)]


def thinned(dataset: Dataset, fraction: float) -> Dataset:
    """Return the pictures that `train.fraction` leaves, evenly spread over the table.

    Args:
        dataset: one split.
        fraction: share of its pictures, or their number if it is an integer above 1.
    """
    total = dataset.images.height
    count = fraction if isinstance(fraction, int) and fraction > 1 else max(1, round(total * fraction))
    return dataset if count >= total else replace(dataset, images=dataset.images[evenly(total, int(count))])


def choose_pictures(dataset: Dataset, count: int) -> list[int]:
    """Return the rows of pictures to look at: some of every class, rare classes first, evenly spread over the split."""
    rows = {image_id: row for row, image_id in enumerate(dataset.images["image_id"])}
    boxes = dataset.boxes.filter(~pl.col("crowd") & pl.col("image_id").is_in(dataset.images["image_id"].implode()))
    chosen: dict[int, None] = {}
    by_class = boxes.group_by("class_id", maintain_order=True).agg("image_id").sort("class_id")
    classes = sorted(by_class.iter_rows(), key=lambda pair: len(set(pair[1])))
    share = max(1, count // max(1, len(classes)))
    for _, image_ids in classes:
        chosen.update(dict.fromkeys(_some_of(sorted({rows[image_id] for image_id in image_ids}), share)))
    rest = [row for row in range(dataset.images.height) if row not in chosen]
    chosen.update(dict.fromkeys(_some_of(rest, count - len(chosen))))
    return sorted(list(chosen)[:count])


def _some_of(rows: list[int], count: int) -> list[int]:
    return [rows[place] for place in evenly(len(rows), count)]


def training_size(width: int, height: int, imgsz: int) -> tuple[int, int]:
    """Return (width, height) of a picture whose long side is brought to `imgsz`, rounded up as Ultralytics does it."""
    ratio = imgsz / max(width, height)
    return min(math.ceil(width * ratio), imgsz), min(math.ceil(height * ratio), imgsz)


def at_training_size(picture: npt.NDArray[Any], imgsz: int) -> npt.NDArray[Any]:
    """Return a picture `[h, w, 3]` with its long side at `imgsz`."""
    height, width = picture.shape[:2]
    if max(width, height) == imgsz:
        return picture
    return np.asarray(cv2.resize(picture, training_size(width, height, imgsz), interpolation=cv2.INTER_LINEAR))
