"""The Dataset: two tables and a list of class names.

Every reader fills it through the intake; every check, split and writer is a question to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from ..errors import DataError

IMAGES_SCHEMA: dict[str, Any] = {
    "image_id": pl.UInt32,
    "path": pl.String,  # relative to the dataset's root, with forward slashes
    "width": pl.UInt32,
    "height": pl.UInt32,
    "split": pl.String,  # train, val, test, or null
    "group": pl.String,  # pictures that belong together (one board, one field), or null
}
BOXES_SCHEMA: dict[str, Any] = {
    "image_id": pl.UInt32,
    "class_id": pl.UInt16,
    "x1": pl.Float64,  # corners in pixels of the original picture
    "y1": pl.Float64,
    "x2": pl.Float64,
    "y2": pl.Float64,
    "crowd": pl.Boolean,
    "difficult": pl.Boolean,
    "source": pl.String,  # "file:line" the row was read from
}
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Dataset:
    """Pictures, boxes and class names.

    Args:
        names: class names; a box's `class_id` is an index into them.
        images: columns of `IMAGES_SCHEMA`, one row per picture.
        boxes: columns of `BOXES_SCHEMA`, one row per box; corners in pixels of the original picture.
        root: the folder that `images.path` is relative to.
        value_range: (black, white) pixel values of pictures with more than 8 bits, one range for the whole set, or None
            where all have 8; `read_picture` takes it.
    """

    names: tuple[str, ...]
    images: pl.DataFrame
    boxes: pl.DataFrame
    root: Path
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for table, schema in (("images", IMAGES_SCHEMA), ("boxes", BOXES_SCHEMA)):
            found = dict(getattr(self, table).schema)
            if found != schema:
                raise ValueError(f"{table} has the columns {found}, expected {schema}")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have pictures, in the order train, val, test."""
        present = set(self.images["split"].drop_nulls().unique())
        return tuple(split for split in SPLITS if split in present)

    def split(self, name: str) -> Dataset:
        """Return the part of the dataset in one split.

        Raises:
            DataError: no picture is in that split.
        """
        images = self.images.filter(pl.col("split") == name)
        if images.is_empty():
            known = ", ".join(self.splits) or "none"
            raise DataError(f"{self.root}: no picture is in the split '{name}' (splits with pictures: {known})")
        boxes = self.boxes.join(images.select("image_id"), on="image_id", how="semi", maintain_order="left")
        return replace(self, images=images, boxes=boxes)

    def picture_path(self, path: str) -> Path:
        """Return where the picture of an `images.path` value lies."""
        return self.root / path

    def counts(self) -> dict[str, dict[str, int]]:
        """Return pictures, boxes and pictures without boxes for each split, for `data.json` and the screen."""
        with_boxes = self.boxes["image_id"].unique().implode()
        rows = (
            self.images.with_columns(empty=~pl.col("image_id").is_in(with_boxes))
            .group_by("split")
            .agg(images=pl.len(), empty=pl.col("empty").sum())
        )
        boxes = self.boxes.join(self.images.select("image_id", "split"), on="image_id").group_by("split").len("boxes")
        joined = rows.join(boxes, on="split", how="left", nulls_equal=True).with_columns(pl.col("boxes").fill_null(0))
        found = {r["split"] or "none": {k: int(r[k]) for k in ("images", "boxes", "empty")} for r in joined.to_dicts()}
        return {split: found[split] for split in (*SPLITS, "none") if split in found}

    def fingerprint(self, digests: Sequence[str] = ()) -> str:
        """Return a SHA-256 over class names, picture names and sizes, splits and boxes; row order does not matter.

        Args:
            digests: of the picture files, in the order of `images`, so that their content counts as well.
        """
        digest = hashlib.sha256(json.dumps(self.names).encode())
        images = self.images.with_columns(digest=pl.Series(digests, dtype=pl.String)) if digests else self.images
        images = images.sort("path").drop("image_id")
        boxes = (
            self.boxes.join(self.images.select("image_id", "path"), on="image_id")
            .drop("image_id", "source")
            .sort("path", "class_id", "x1", "y1", "x2", "y2", "crowd", "difficult")
        )
        for table in (images, boxes):
            digest.update(table.write_csv(float_precision=6).encode())
        return digest.hexdigest()


def dataset_from_rows(
    names: Sequence[str], images: Sequence[dict[str, Any]], boxes: Sequence[dict[str, Any]], root: Path
) -> Dataset:
    """Build a Dataset from plain records; columns that a record leaves out become null or false."""
    image_table = pl.DataFrame(list(images), schema=IMAGES_SCHEMA)
    box_table = pl.DataFrame(list(boxes), schema=BOXES_SCHEMA)
    box_table = box_table.with_columns(
        pl.col("crowd").fill_null(False), pl.col("difficult").fill_null(False), pl.col("source").fill_null("")
    )
    return Dataset(tuple(names), image_table, box_table, root)
