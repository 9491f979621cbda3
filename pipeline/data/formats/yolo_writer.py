"""Write YOLO: `images/SPLIT/`, `labels/SPLIT/` with `class cx cy w h` in fractions, and a data.yaml.

Format: https://docs.ultralytics.com/datasets/detect/
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any

import polars as pl

from ...yaml_source import dump_yaml
from ..dataset import Dataset
from .placing import (
    empty_folder,
    make_folders,
    number_text,
    picture_places,
    place_pictures,
    splits_of,
    write_groups,
    write_new,
)

DECIMALS = 12  # of a fraction: a millionth of a pixel on the largest picture that there can be


def write_yolo(dataset: Dataset, folder: Path, *, copy: bool = False) -> Path:
    """Write a dataset in YOLO form. Returns the data.yaml.

    YOLO has no word for crowds: their boxes are left out. Difficult boxes are written like others.

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
        places = picture_places(dataset.images)
        place_pictures(dataset, [f"{base}/images/{place}" for place in places], copy=copy)
        labels = [f"{base}/labels/{posixpath.splitext(place)[0]}.txt" for place in places]
        make_folders(labels)
        texts = label_texts(dataset)
        for image_id, label in zip(dataset.images["image_id"].to_list(), labels, strict=True):
            write_new(label, texts.get(image_id, "").encode())
        write_groups(dataset.images, [f"images/{place}" for place in places], folder)
        # No `path:`, so that the folders count from the data.yaml: Ultralytics takes "." for the working folder.
        document: dict[str, Any] = {split: f"images/{split}" for split in splits_of(dataset.images)}
        document["names"] = dict(enumerate(dataset.names))
        target = folder / "data.yaml"
        target.write_text(dump_yaml(document), "utf-8")
    return target


def label_texts(dataset: Dataset) -> dict[int, str]:
    """Return the content of the label file of each picture that has boxes, by its id."""
    x1, y1, x2, y2, width, height = (pl.col(name) for name in ("x1", "y1", "x2", "y2", "width", "height"))
    fractions = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    boxes = dataset.boxes.filter(~pl.col("crowd")).join(
        dataset.images.select("image_id", "width", "height"), on="image_id", maintain_order="left"
    )
    numbers = [number_text(value.round(DECIMALS)) for value in fractions]
    lines = boxes.select("image_id", line=pl.concat_str("class_id", *numbers, separator=" "))
    texts = lines.group_by("image_id", maintain_order=True).agg(pl.col("line").str.join("\n"))
    return {image_id: text + "\n" for image_id, text in texts.iter_rows()}
