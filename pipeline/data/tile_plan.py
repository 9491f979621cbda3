"""Which tiles a dataset is cut into, and what each of them shows. Tables only: no picture is read.

Tiles are laid as prediction lays them (`tile_rectangles`). Each one that shows a part of a box has that part: as an
object when enough of the box is to be seen, else as ignored, which is never counted as a miss or a false alarm.
Ultralytics' loss knows no ignored regions: to it, what is ignored is background, even a part that a person would
recognise. That is why so little has to be visible by default; parts that a detector reports are joined again when tiles
are predicted (`evaluation/tile_merge.py`).

In train, tiles that show nothing are thinned out. In val and test all tiles stay, because a score on chosen tiles would
flatter: false alarms happen where nothing is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import UsageError
from .dataset import BOXES_SCHEMA, IMAGES_SCHEMA, Dataset
from .formats.placing import picture_places, split_of
from .tile import check_tiling, clip_to_tile, tile_rectangles

_CORNERS = ["x1", "y1", "x2", "y2"]


@dataclass(frozen=True)
class TileSettings:
    """How pictures are cut and which tiles are kept.

    Args:
        side: of a tile, in pixels.
        overlap: share of the side that neighbours have in common at least.
        visible: share of a box's area, above 0, that a tile has to show for an object. 0.1 is where Ultralytics' own
            augmentation stops taking a cut box for an object (`box_candidates`, area_thr), and the default of SAHI's
            `slice_coco`. With more, an object larger than the overlap may be an object in no tile. Measured against
            0.5 in `docs/benchmarks/tiled_training.md`: no gain.
        background: tiles without any box that are kept in train, for each training picture with objects; a large number
            keeps all. 0.1 is the upper end of what Ultralytics' training tips recommend (0 to 10 % of the pictures);
            tiles with objects show background almost everywhere as well.
        seed: decides which tiles without boxes are kept.

    Raises:
        UsageError: a value is out of range.
    """

    side: int
    overlap: float = 0.2
    visible: float = 0.1
    background: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_tiling(self.side, self.overlap)
        if not 0 < self.visible <= 1:
            raise UsageError(f"visible: {self.visible}: a share of a box's area, above 0 and up to 1")
        if not 0 <= self.background < math.inf:
            raise UsageError(f"background: {self.background}: tiles without a box for each with one, 0 or more")
        if self.seed < 0:
            raise UsageError(f"seed: {self.seed}: a whole number, 0 or more")


@dataclass(frozen=True)
class TilePlan:
    """The tiles that there will be, and what they show.

    Args:
        tiles: columns of `IMAGES_SCHEMA` about the tile, its path without suffix where the picture is cut; `source_id`
            u32 and `source` (path) say which picture it comes from, `left` and `top` i64 where in it, in pixels, and
            `cut` whether that picture is larger than a tile.
        boxes: columns of `BOXES_SCHEMA`, in pixels of the tile.
        shown: a row for each box and tile that shows a part of it, left-out tiles included: `box` u32 (row in the
            source's table of boxes), `share` f64 of its area that is to be seen, `crowd` (ignored in the tile),
            `across` and `down`: whether the tile holds it whole from left to right, and from top to bottom.
        left_out: number of training tiles without a box that were left out.
    """

    tiles: pl.DataFrame
    boxes: pl.DataFrame
    shown: pl.DataFrame
    left_out: int


def plan_tiles(dataset: Dataset, settings: TileSettings) -> TilePlan:
    """Lay tiles over all pictures, hand the boxes to them, and choose those that are kept.

    Pictures that fit into a tile stay as they are, and always stay. Every tile's group is its source's, or the source
    itself, so that no split can separate tiles that show the same pixels. Pictures without a split go to train, as with
    all writers, but keep all their tiles: some of them may become val later.
    """
    tiles = _lay(dataset.images, settings)
    shown = _shown(dataset, tiles, settings)
    kept = _kept(tiles, shown, settings)
    numbered = tiles.filter(kept).with_row_index("image_id", offset=1)
    boxes = shown.drop("image_id").join(
        numbered.select("tile", "image_id", "left", "top"), on="tile", maintain_order="left_right"
    )
    boxes = boxes.sort("image_id", maintain_order=True).with_columns(
        *(pl.col(name) - pl.col("left") for name in ("x1", "x2")),
        *(pl.col(name) - pl.col("top") for name in ("y1", "y2")),
    )
    named = numbered.with_columns(path=_paths(numbered), split=split_of(numbered), group=pl.coalesce("group", "source"))
    return TilePlan(
        named.select(
            *(pl.col(n).cast(t) for n, t in IMAGES_SCHEMA.items()), "source_id", "source", "left", "top", "cut"
        ),
        boxes.select(pl.col(name).cast(dtype) for name, dtype in BOXES_SCHEMA.items()),
        shown.select("box", "share", "crowd", "across", "down"),
        int((~kept).sum()),
    )


def _lay(images: pl.DataFrame, settings: TileSettings) -> pl.DataFrame:
    """Return all tiles, numbered by `tile`: picture by picture, in each of them row by row."""
    sizes = images.select("width", "height").unique(maintain_order=True)
    grids = [tile_rectangles(w, h, settings.side, settings.overlap) for w, h in sizes.iter_rows()]
    corners = np.concatenate([np.zeros((0, 4), np.int64), *grids])
    grid = pl.DataFrame(
        {
            "size": np.repeat(np.arange(len(grids), dtype=np.uint32), [len(grid) for grid in grids]),
            "left": corners[:, 0],
            "top": corners[:, 1],
            "width": corners[:, 2] - corners[:, 0],
            "height": corners[:, 3] - corners[:, 1],
        }
    ).with_columns(cut=pl.len().over("size") > 1)
    of_size = images.join(sizes.with_row_index("size"), on=["width", "height"], maintain_order="left")
    sources = of_size.select("size", "split", "group", source_id="image_id", source="path")
    return sources.join(grid, on="size", maintain_order="left_right").with_row_index("tile")


def _shown(dataset: Dataset, tiles: pl.DataFrame, settings: TileSettings) -> pl.DataFrame:
    """Return the boxes, cut at the edge of each tile, in pixels of the source, with the columns of `TilePlan.shown`."""
    first = tiles.group_by("source_id").agg(first=pl.col("tile").first())
    pictures = dataset.images.select("image_id", "width", "height").join(
        first, left_on="image_id", right_on="source_id"
    )
    boxes = dataset.boxes.with_row_index("box").join(pictures, on="image_id", maintain_order="left")
    parts = []
    for (width, height), of_size in boxes.partition_by("width", "height", as_dict=True).items():
        grid = tile_rectangles(width, height, settings.side, settings.overlap)
        corners = of_size.select(_CORNERS).to_numpy()
        box, tile = _meeting(corners, grid)
        clipped, share = clip_to_tile(corners[box], grid[tile])
        same = clipped == corners[box]
        part = of_size[box].with_columns(
            *(pl.Series(name, clipped[:, axis]) for axis, name in enumerate(_CORNERS)),
            tile=pl.col("first") + pl.Series(tile, dtype=pl.UInt32),
            share=pl.Series(share),
            across=pl.Series(same[:, 0] & same[:, 2]),
            down=pl.Series(same[:, 1] & same[:, 3]),
        )
        parts.append(part)
    if not parts:
        found = {"tile": pl.UInt32, "share": pl.Float64, "across": pl.Boolean, "down": pl.Boolean}
        parts.append(boxes.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in found.items()))
    shown = pl.concat(parts).filter(pl.col("share") > 0).sort("tile", "box")
    return shown.with_columns(crowd=pl.col("crowd") | (pl.col("share") < settings.visible))


def _meeting(corners: NDArray[np.float64], grid: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs (box, tile) that have an area in common.

    The tiles of a grid that a box meets are neighbours along both axes, so two binary searches find them.
    """
    ranges = []
    for axis in (0, 1):
        starts, side = np.unique(grid[:, axis]), grid[0, 2 + axis] - grid[0, axis]
        begin = np.searchsorted(starts, corners[:, axis] - side, side="right")
        end = np.searchsorted(starts, corners[:, 2 + axis], side="left")
        ranges.append((begin, np.maximum(end - begin, 0), len(starts)))
    (column, columns, width), (row, rows, _) = ranges
    count = columns * rows
    box = np.repeat(np.arange(len(corners)), count)
    number = np.arange(len(box)) - np.repeat(np.cumsum(count) - count, count)
    tile = (row[box] + number // columns[box]) * width + column[box] + number % columns[box]
    return box, tile


def _kept(tiles: pl.DataFrame, shown: pl.DataFrame, settings: TileSettings) -> pl.Series:
    """Return which tiles are kept; only training tiles without any box, ignored ones included, may go."""
    objects = shown.group_by("tile").agg(objects=(~pl.col("crowd")).any())  # null: no box, false: ignored ones alone
    table = tiles.join(objects, on="tile", how="left", maintain_order="left").with_columns(
        train=(pl.col("split") == "train").fill_null(False),
        bare=pl.col("objects").is_null().all().over("source_id"),  # the whole picture has no box
        turn=pl.Series(np.random.default_rng(settings.seed).permutation(tiles.height)),
    )
    spare = table.filter("train", "cut", pl.col("objects").is_null()).sort("turn")
    with_objects = table.filter("train", pl.col("objects").fill_null(False)).height
    wanted = min(spare.height, round(settings.background * with_objects))
    # Pictures without any box keep their share: they may show what the others do not.
    of_bare = round(wanted * spare["bare"].sum() / max(1, spare.height))
    chosen = [spare.filter("bare").head(of_bare), spare.filter(~pl.col("bare")).head(wanted - of_bare)]
    dropped = spare.join(pl.concat(chosen), on="tile", how="anti")
    return ~table["tile"].is_in(dropped["tile"].implode())


def _paths(tiles: pl.DataFrame) -> pl.Series:
    """Return where each tile goes: a folder for each picture that is cut, the position in the file's name."""
    sources = tiles.unique("source_id", keep="first", maintain_order=True)
    places = picture_places(sources.select("split", path="source"))
    named = sources.select("source_id", place=pl.Series(places, dtype=pl.String))
    stem = pl.col("place").str.replace(r"\.[^./]*$", "")
    part = pl.format("{}/{}_x{}_y{}.png", stem, stem.str.replace("^.*/", ""), "left", "top")
    wanted = tiles.join(named, on="source_id", maintain_order="left").select(
        "split", "cut", path=pl.when("cut").then(part).otherwise("place")
    )
    paths = pl.Series([f"images/{place}" for place in picture_places(wanted)], dtype=pl.String)
    return wanted.select(path=pl.when("cut").then(paths.str.strip_suffix(".png")).otherwise(paths))["path"]
