"""What the checks look at: the tables of a dataset with everything joined that several checks need, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..dataset import SPLITS, Dataset
from .pairs import boxes_in_one_place

if TYPE_CHECKING:
    from ..duplicates import Duplicates
    from ..intake import Intake
    from ..picture_facts import PictureFacts

# Ultralytics' `box_candidates` (8.4.190), by which the last geometric step of every training picture, mosaic or not,
# keeps a box: both sides above 2 pixels and a ratio of the sides below 100, in pixels of the network's input.
LEAST_SIDE = 2.0
MOST_ASPECT = 100.0
WHOLE_SET = "none"  # the part of pictures without a split, as `Dataset.counts` calls it
PARTS = (*SPLITS, WHOLE_SET)


@dataclass(frozen=True)
class Snapshot:
    """A dataset as the checks see it; `take_snapshot` makes it.

    Args:
        dataset: with splits and groups.
        imgsz: side of the network's input in pixels.
        images: `IMAGES_SCHEMA` and `part` (an Enum: the split or `none`), `long_side` in pixels, `boxes` (those that
            count) and `ignored` (crowd) as numbers of rows.
        boxes: rows that count, hence without `crowd`: `image_id`, `class_id`, `x1` to `y2`, `source`, `part`,
            `picture_width`, `picture_height`, `width` and `height` in pixels of the picture, `seen_width` and
            `seen_height` in pixels of the network's input without augmentation, `short` and `long` (the smaller and the
            larger of these two), `trained` (kept in training without augmentation); sorted by picture and `x1`.
        intake: how the dataset was read, if that is known.
        headers: `path` and columns of `picture_headers`; None without a look at the pictures.
        facts: what the pixels say, likewise.
        duplicates: pictures that are the same or alike, likewise.
    """

    dataset: Dataset
    imgsz: int
    images: pl.DataFrame
    boxes: pl.DataFrame
    intake: Intake | None = None
    headers: pl.DataFrame | None = None
    facts: PictureFacts | None = None
    duplicates: Duplicates | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
        return self.dataset.names

    @property
    def training_part(self) -> str:
        """What is trained on: `train`, or `none` where no picture has a split."""
        return "train" if self.dataset.splits else WHOLE_SET

    @property
    def measured_parts(self) -> tuple[str, ...]:
        """The splits on which a score is measured: `val` and `test`, as far as there are."""
        return tuple(split for split in self.dataset.splits if split != "train")

    @cached_property
    def per_picture(self) -> pl.DataFrame:
        """`part`, `class_id`, `image_id`, `boxes`, `effective`: a row for each class on each picture."""
        return self.boxes.group_by("part", "class_id", "image_id").agg(
            boxes=pl.len(), effective=pl.col("trained").sum()
        )

    @cached_property
    def per_class(self) -> pl.DataFrame:
        """`part`, `class_id`, `pictures`, `boxes`, `effective` (trained without augmentation) of classes that occur."""
        return (
            self.per_picture.group_by("part", "class_id")
            .agg(pictures=pl.len(), boxes=pl.col("boxes").sum(), effective=pl.col("effective").sum())
            .sort("part", "class_id")
        )

    @cached_property
    def per_part(self) -> pl.DataFrame:
        """`part`, `pictures`, `empty` (without any box), `boxes`, `ignored`; one row per part that has pictures."""
        empty = (pl.col("boxes") == 0) & (pl.col("ignored") == 0)
        return (
            self.images.group_by("part")
            .agg(pictures=pl.len(), empty=empty.sum(), boxes=pl.col("boxes").sum(), ignored=pl.col("ignored").sum())
            .sort("part")
        )

    @cached_property
    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of `boxes` that lie in the same place, as `boxes_in_one_place` gives them."""
        return boxes_in_one_place(self.boxes)

    def said(self, id: str) -> bool:
        """Whether reading the set has found this already."""
        return self.intake is not None and any(finding.id == id for finding in self.intake.findings)

    def counts(self, part: str) -> dict[int, int]:
        """Return the number of boxes of each class in a part, zeros included."""
        rows = self.per_class.filter(pl.col("part") == part).select("class_id", "boxes")
        return {**dict.fromkeys(range(len(self.names)), 0), **dict(rows.iter_rows())}


def take_snapshot(
    dataset: Dataset,
    imgsz: int,
    *,
    intake: Intake | None = None,
    headers: pl.DataFrame | None = None,
    facts: PictureFacts | None = None,
    duplicates: Duplicates | None = None,
) -> Snapshot:
    """Join the tables once."""
    part = pl.col("split").fill_null(WHOLE_SET).cast(pl.Enum(PARTS))
    images = dataset.images.with_columns(part=part, long_side=pl.max_horizontal("width", "height"))
    sizes = images.select("image_id", "part", picture_width="width", picture_height="height")
    counted = dataset.boxes.filter(~pl.col("crowd")).drop("crowd", "difficult").join(sizes, on="image_id")
    # Placed as `TableDataset.load_image` does it: the long side becomes imgsz, the other is rounded up.
    ratio = imgsz / pl.max_horizontal("picture_width", "picture_height")
    width, height = pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1")
    boxes = (
        counted.with_columns(width=width, height=height, ratio=ratio)
        .with_columns(
            seen_width=_resized("width", "picture_width", imgsz),
            seen_height=_resized("height", "picture_height", imgsz),
        )
        .drop("ratio")
        .with_columns(
            short=pl.min_horizontal("seen_width", "seen_height"), long=pl.max_horizontal("seen_width", "seen_height")
        )
        .with_columns(
            trained=(pl.col("short") > LEAST_SIDE) & (pl.col("long") / (pl.col("short") + 1e-16) < MOST_ASPECT)
        )
        .sort("image_id", "x1")
    )
    images = _with_numbers(images, dataset.boxes)
    return Snapshot(dataset, imgsz, images, boxes, intake, headers, facts, duplicates)


def _resized(side: str, picture_side: str, imgsz: int) -> pl.Expr:
    whole = (pl.col(picture_side) * pl.col("ratio")).ceil().clip(upper_bound=imgsz)
    return pl.col(side) * whole / pl.col(picture_side)


def _with_numbers(images: pl.DataFrame, boxes: pl.DataFrame) -> pl.DataFrame:
    numbers = boxes.group_by("image_id").agg(boxes=(~pl.col("crowd")).sum(), ignored=pl.col("crowd").sum())
    joined = images.join(numbers, on="image_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("boxes", "ignored").fill_null(0))
