"""The bank: objects that are cut from training pictures, with a margin around them, at the size of training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.images import read_picture
from .used_pictures import at_training_size, evenly, training_size

if TYPE_CHECKING:
    from ..policy import CopyPaste

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

SMALL_AREA = 32.0 * 32.0  # px of the network's input: COCO's limit of small objects
# px. Ultralytics' geometry drops boxes of at most 2 px (box_candidates, wh_thr); one more is left for the scaling.
MIN_SIDE = 3.0
# px. Narrower margins have no room to blend in; an object nearer to the border than this may be cut by it.
MIN_MARGIN = 2.0
# Largest share of the smaller of the two that a neighbour's box and a cut may have in common. Beyond it a cut brings a
# visible part of the neighbour, without a label. Boxes are loose at their corners, so touching ones are let pass.
MAX_OVERLAP = 0.1
MAX_CUTS = 300  # per kind: more add little variety, and each loader process holds them
MAX_BYTES = 32 * 2**20  # per kind, for sets of large objects
REASONS = {
    "crowd": "mark a crowd",
    "tiny": f"are less than {MIN_SIDE:g} px wide or high at imgsz={{}}",
    "border": "touch the border of their picture",
    "overlap": "overlap other boxes",
}


@dataclass(frozen=True)
class Cut:
    """An object with its surroundings.

    Args:
        pixels: `[h, w, 3]`, BGR.
        box: `[4]`, px, corners of the object in the cut.
        class_id: of the object.
        scale: smallest and largest factor by which it may be rescaled.
    """

    pixels: Pixels
    box: Floats
    class_id: int
    scale: tuple[float, float]


def survey(dataset: Dataset, settings: CopyPaste, imgsz: int) -> pl.DataFrame:
    """Return the boxes at training size, and why each cannot be cut out.

    Returns:
        One row per box: image_id, class_id, crowd, x1 y1 x2 y2 (px), width, height (of the picture, px), area, and
        `reason`, a key of `REASONS`, or null for a box that can be cut out.
    """
    original = dataset.images.select("width", "height").iter_rows()
    sizes = [training_size(width, height, imgsz) for width, height in original]
    images = dataset.images.select("image_id", old_width="width", old_height="height").with_columns(
        width=pl.Series([size[0] for size in sizes], dtype=pl.Int64),
        height=pl.Series([size[1] for size in sizes], dtype=pl.Int64),
    )
    across, down = pl.col("width") / pl.col("old_width"), pl.col("height") / pl.col("old_height")
    boxes = (
        dataset.boxes.select("image_id", "class_id", "crowd", "x1", "y1", "x2", "y2")
        .join(images, on="image_id", how="inner", maintain_order="left")
        .with_columns(pl.col("x1", "x2") * across, pl.col("y1", "y2") * down)
        .drop("old_width", "old_height")
        .with_columns(area=(pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1")))
    )
    overlaps = pl.Series(_overlaps(boxes, settings), dtype=pl.Float64)
    shortest = pl.min_horizontal(pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1"))
    room = pl.min_horizontal("x1", "y1", pl.col("width") - pl.col("x2"), pl.col("height") - pl.col("y2"))
    reason = (
        pl.when("crowd")
        .then(pl.lit("crowd"))
        .when(shortest * min(1.0, settings.scale[1]) < MIN_SIDE)
        .then(pl.lit("tiny"))
        .when(room < MIN_MARGIN)
        .then(pl.lit("border"))
        .when(overlaps > MAX_OVERLAP)
        .then(pl.lit("overlap"))
    )
    return boxes.with_columns(reason=reason)


def cut_rectangles(boxes: Floats, sizes: Floats, settings: CopyPaste) -> Floats:
    """Return `[n, 4]` whole pixels: the boxes `[n, 4]` with their margins, inside pictures of these sizes `[n, 2]`."""
    least = MIN_MARGIN / min(1.0, settings.scale[0])  # so that it is left after the object was shrunk
    around = np.maximum(settings.margin * (boxes[:, 2:] - boxes[:, :2]), least)
    first, last = np.floor(boxes[:, :2] - around), np.ceil(boxes[:, 2:] + around)
    return np.concatenate([np.maximum(first, 0), np.minimum(last, sizes)], axis=1)


def _overlaps(boxes: pl.DataFrame, settings: CopyPaste) -> Floats:
    """Return for each box what its cut has in common with another box, as share of the smaller; the largest one."""
    corners = boxes.select("x1", "y1", "x2", "y2").to_numpy()
    cuts = cut_rectangles(corners, boxes.select("width", "height").to_numpy().astype(float), settings)
    worst = np.zeros(len(corners))
    for rows in boxes.with_row_index("row").group_by("image_id").agg("row")["row"]:
        own = rows.to_numpy()
        for row in own if len(own) > 1 else ():
            others = corners[own[own != row]]
            sides = np.minimum(others[:, 2:], cuts[row, 2:]) - np.maximum(others[:, :2], cuts[row, :2])
            areas = np.minimum((others[:, 2:] - others[:, :2]).prod(axis=1), (cuts[row, 2:] - cuts[row, :2]).prod())
            worst[row] = (np.maximum(sides, 0).prod(axis=1) / np.maximum(areas, 1e-9)).max()
    return worst


def pick(found: pl.DataFrame, settings: CopyPaste) -> pl.DataFrame:
    """Return those of the surveyed boxes that are taken: all, or evenly spread where they are too many or too large."""
    corners, sizes = found.select("x1", "y1", "x2", "y2").to_numpy(), found.select("width", "height").to_numpy()
    rectangles = cut_rectangles(corners, sizes.astype(float), settings)
    bytes_each = 3 * (rectangles[:, 2:] - rectangles[:, :2]).prod(axis=1)
    rows = evenly(found.height, MAX_CUTS)
    while len(rows) > 1 and bytes_each[rows].sum() > MAX_BYTES:
        rows = evenly(found.height, max(1, min(len(rows) - 1, int(len(rows) * MAX_BYTES / bytes_each[rows].sum()))))
    return found.select(pl.all().gather(rows))


def training_pictures(dataset: Dataset, image_ids: Sequence[int], imgsz: int) -> Iterator[tuple[int, Pixels]]:
    """Yield (image_id, uint8 [h, w, 3] BGR) as `TableDataset.load_image` delivers the pictures.

    Raises:
        DataError: a picture cannot be read.
    """
    wanted = dataset.images.filter(pl.col("image_id").is_in(image_ids))
    for image_id, path in wanted.select("image_id", "path").iter_rows():
        picture = read_picture(dataset.picture_path(path), dataset.value_range)
        yield image_id, at_training_size(picture, imgsz)


def cut_out(
    dataset: Dataset, picked: Mapping[str, pl.DataFrame], settings: CopyPaste, imgsz: int, largest: Mapping[str, float]
) -> dict[str, tuple[Cut, ...]]:
    """Cut the picked boxes of each kind out of their pictures, each of which is read once.

    Args:
        dataset: the training split.
        picked: kind: rows of `survey`.
        settings: of the policy.
        imgsz: px.
        largest: kind: area in px that its objects must stay below when they are rescaled.

    Raises:
        DataError: a picture cannot be read.
    """
    rows = pl.concat([table.with_columns(kind=pl.lit(kind)) for kind, table in picked.items()])
    by_image = rows.partition_by("image_id", as_dict=True)
    cuts: dict[str, list[Cut]] = {kind: [] for kind in picked}
    for image_id, picture in training_pictures(dataset, rows["image_id"].unique().to_list(), imgsz):
        for row in by_image[(image_id,)].iter_rows(named=True):
            box = np.array([row[name] for name in ("x1", "y1", "x2", "y2")])
            scale = _scale(box, settings.scale, largest.get(row["kind"], math.inf))
            cuts[row["kind"]].append(_cut(picture, box, row["class_id"], settings, scale))
    return {kind: tuple(found) for kind, found in cuts.items()}


def _scale(box: Floats, scale: Sequence[float], largest: float) -> tuple[float, float]:
    """Return the factors that keep an object within MIN_SIDE and an area; the survey has seen to it that one exists."""
    width, height = box[2:] - box[:2]
    low = max(scale[0], MIN_SIDE / min(width, height))
    high = min(scale[1], math.sqrt(largest / (width * height)))
    return min(low, high), high


def _cut(picture: Pixels, box: Floats, class_id: int, settings: CopyPaste, scale: tuple[float, float]) -> Cut:
    size = np.array([picture.shape[1], picture.shape[0]], float)
    left, top, right, bottom = cut_rectangles(box[None], size[None], settings)[0].astype(int)
    pixels = picture[top:bottom, left:right].copy()
    return Cut(pixels, box - (left, top, left, top), class_id, scale)
