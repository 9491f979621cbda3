"""Large pictures are cut into a dataset of overlapping tiles, written as pictures with COCO labels.

COCO, because it can say that a region is ignored; images.csv beside it says which picture a tile comes from. The score
on tiles is not the score on pictures: an object in an overlap counts once in each tile that shows it, and nothing is
joined at the seams. It serves to choose a checkpoint; what a detector is worth is measured on the source, with
`eval.tile`.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import DataError
from ..findings import Finding
from .dataset import IMAGES_SCHEMA, Dataset
from .formats.coco_writer import write_coco_labels
from .formats.placing import empty_folder, split_of
from .images import listed, read_stored
from .raw import ROWS_NAMED
from .tile import MOST_OVERLAP
from .tile_plan import TilePlan, TileSettings, plan_tiles

__all__ = ["TileSettings", "Tiled", "tile_dataset"]

# Chroma is not thinned out again: at an odd position that costs 4 dB (44.0 against 39.7 on coloured noise), for a third
# less of bytes.
_JPEG_OPTIONS = (
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)
_JPEG_START = b"\xff\xd8"  # of every JPEG file, whatever its name
_PNG_TYPES = (np.uint8, np.uint16)  # what PNG holds without loss


@dataclass(frozen=True)
class Tiled:
    """A dataset of tiles on disk.

    Args:
        data: what to give to `data=`.
        dataset: pictures and boxes of the tiles; each tile's `group` is its source's, or the source itself.
        findings: what a person should know.
    """

    data: Path
    dataset: Dataset
    findings: tuple[Finding, ...]


def tile_dataset(dataset: Dataset, folder: Path, settings: TileSettings) -> Tiled:
    """Cut every picture that is larger than a tile, and write tiles and labels into a new or empty folder.

    Pictures that fit are copied as they are. Tiles of a JPEG are JPEGs of quality 95, all others are lossless (PNG, or
    TIFF where PNG cannot hold the values) and keep depth and channels. A picture that cannot be decoded is left out and
    named in a finding.

    Args:
        dataset: divide it first: its splits decide which tiles may be thinned out, and a val split that is taken from
            thinned tiles flatters.
        folder: gets `images/SPLIT/.../NAME/NAME_xLEFT_yTOP.png`, `annotations/instances_SPLIT.json` and `images.csv`.
        settings: how pictures are cut.

    Raises:
        UsageError: the folder is not empty or cannot be written.
        DataError: none of the pictures can be decoded, or train has no box and so no tile would be left.
    """
    plan = plan_tiles(dataset, settings)
    if set(plan.tiles["split"]) != set(split_of(dataset.images)):
        raise DataError(
            f"{dataset.root}: no training picture has a box; tiles without one are kept in proportion to those with, "
            "so that none would be left"
        )
    with empty_folder(folder):
        return _written(dataset, folder, settings, plan)


def _written(dataset: Dataset, folder: Path, settings: TileSettings, plan: TilePlan) -> Tiled:
    suffixes, problems = _write_pictures(dataset, plan.tiles, folder)
    if not suffixes:
        raise DataError(listed(f"none of the {dataset.images.height} pictures can be decoded", list(problems.values())))
    tiles = plan.tiles.join(
        pl.DataFrame(list(suffixes.items()), {"source_id": pl.UInt32, "suffix": pl.String}, orient="row"),
        on="source_id",
        maintain_order="left",
    ).with_columns(path=pl.col("path") + pl.col("suffix"))
    images = tiles.select(list(IMAGES_SCHEMA))
    boxes = plan.boxes.join(images, on="image_id", how="semi", maintain_order="left")
    tiled = Dataset(dataset.names, images, boxes, folder.absolute(), dataset.value_range)
    data = write_coco_labels(tiled, folder)
    return Tiled(data, tiled, tuple(_findings(dataset, plan, settings, problems)))


# ---- pictures -------------------------------------------------------------------------------------------------------


def _write_pictures(dataset: Dataset, tiles: pl.DataFrame, folder: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Write the tiles of all pictures; each thread holds one picture.

    Returns:
        By the picture's id: the suffix that its tiles were given (none where it was copied), or why there are none.
    """
    for place in {os.path.dirname(path) for path in tiles["path"]}:
        (folder / place).mkdir(parents=True, exist_ok=True)
    sizes = {key: size for key, *size in dataset.images.select("image_id", "height", "width").iter_rows()}

    def write(job: pl.DataFrame) -> tuple[int, str, str]:
        key, source = job["source_id"][0], dataset.picture_path(job["source"][0])
        try:
            if not job["cut"][0]:
                (folder / job["path"][0]).write_bytes(_content(source))
                return key, "", ""
            pixels = read_stored(source)
        except DataError as error:
            return key, "", str(error)
        if list(pixels.shape[:2]) != sizes[key]:
            height, width = sizes[key]
            found = f"{source}: {pixels.shape[1]} x {pixels.shape[0]} pixels, but its header says {width} x {height}"
            return key, "", f"{found}; save it again"
        return key, _write_tiles(pixels, job, folder, jpeg=_is_jpeg(source)), ""

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        done = list(pool.map(write, tiles.partition_by("source_id", maintain_order=True)))
    written = {key: suffix for key, suffix, problem in done if not problem}
    return written, {key: problem for key, _, problem in done if problem}


def _content(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror or error})") from error


def _is_jpeg(source: Path) -> bool:
    with source.open("rb") as file:
        return file.read(len(_JPEG_START)) == _JPEG_START


def _write_tiles(pixels: NDArray[Any], tiles: pl.DataFrame, folder: Path, *, jpeg: bool) -> str:
    """Write the tiles of a picture [h, w] or [h, w, 3]; returns the suffix that they were given."""
    suffix = ".jpg" if jpeg else ".png" if pixels.dtype in _PNG_TYPES else ".tif"
    options = [*_JPEG_OPTIONS] if jpeg else []
    for path, left, top, width, height in tiles.select("path", "left", "top", "width", "height").iter_rows():
        tile = pixels[top : top + height, left : left + width]
        (folder / f"{path}{suffix}").write_bytes(cv2.imencode(suffix, tile, options)[1].tobytes())
    return suffix


# ---- what a person should know --------------------------------------------------------------------------------------


def _findings(dataset: Dataset, plan: TilePlan, settings: TileSettings, problems: dict[int, str]) -> list[Finding]:
    found = [_cut(dataset, plan, settings), _fragments(dataset, plan, settings), _too_small(dataset, plan, settings)]
    if plan.left_out and "val" not in dataset.splits:
        message = f"{plan.left_out} training tiles without a box were left out, and there is no val split"
        advice = (
            "divide the data before it is cut: a val split taken from thinned tiles has too few chances to go wrong"
        )
        found.append(Finding("tiles.no_val", "warning", message, {"count": plan.left_out}, advice))
    if problems:
        paths = dict(dataset.images.select("image_id", "path").iter_rows())
        named = [paths[key] for key in problems]
        evidence = {"count": len(named), "pictures": named[:ROWS_NAMED], "files": list(problems.values())[:ROWS_NAMED]}
        message = (
            f"{len(named)} of {dataset.images.height} pictures cannot be decoded; they and their boxes were left out"
        )
        found.append(Finding("tiles.unreadable", "warning", message, evidence, "save or copy them again"))
    return [finding for finding in found if finding is not None]


def _cut(dataset: Dataset, plan: TilePlan, settings: TileSettings) -> Finding:
    cut = plan.tiles.filter("cut")
    pictures = dataset.images.filter(pl.max_horizontal("width", "height") > settings.side).height
    evidence = {
        "count": pictures,
        "tiles": cut.height,
        "left_out": plan.left_out,
        "by_split": dict(cut.group_by("split").len().sort("split").iter_rows()),
    }
    if not pictures:
        message = f"no picture is larger than {settings.side} pixels: nothing was cut"
        return Finding("tiles.cut", "warning", message, evidence, "choose smaller tiles")
    message = (
        f"{pictures} of {dataset.images.height} pictures were cut into {cut.height} tiles of {settings.side} pixels"
    )
    if plan.left_out:
        message += f"; {plan.left_out} more training tiles without a box were left out"
    advice = (
        f"measure on the source, with eval.tile={settings.side} eval.overlap={settings.overlap:g}: on tiles, an object "
        "counts once in each tile that shows it"
    )
    return Finding("tiles.cut", "info", message, evidence, advice)


def _fragments(dataset: Dataset, plan: TilePlan, settings: TileSettings) -> Finding | None:
    """Say what became of boxes at the edges of tiles."""
    crowd = dataset.boxes["crowd"]
    parts = plan.shown.filter(~(pl.col("across") & pl.col("down")), ~crowd.gather(plan.shown["box"]))
    if parts.is_empty():
        return None
    ignored = int(parts["crowd"].sum())
    evidence = {"count": parts.height, "objects": parts.height - ignored, "ignored": ignored}
    message = (
        f"{parts.height} times a tile cuts a box: {evidence['objects']} times it shows {100 * settings.visible:g} % of "
        f"it or more, and that part is an object; {ignored} times less, and that part is ignored"
    )
    advice = "ignored parts are background to the training's loss, and count for nothing in an evaluation"
    return Finding("tiles.fragments", "info", message, evidence, advice)


def _too_small(dataset: Dataset, plan: TilePlan, settings: TileSettings) -> Finding | None:
    """Say which boxes no tile shows whole, and the overlap that would do.

    Along an axis, neighbours that share s pixels show every box of up to s pixels whole: of the tiles that begin before
    the box does, the last one ends at least s pixels after the next one begins.
    """
    whole = plan.shown.group_by("box").agg(pl.col("across").any(), pl.col("down").any(), nowhere=pl.col("crowd").all())
    boxes = dataset.boxes.with_row_index("box").filter(~pl.col("crowd"))
    cut = boxes.join(whole.filter(~(pl.col("across") & pl.col("down"))), on="box", maintain_order="left").with_columns(
        extent=pl.max_horizontal(
            pl.when(~pl.col("across")).then(pl.col("x2") - pl.col("x1")),
            pl.when(~pl.col("down")).then(pl.col("y2") - pl.col("y1")),
        )
    )
    if cut.is_empty():
        return None
    largest = float(cut.select(pl.col("extent").max()).item())
    overlap, side = math.ceil(100 * largest / settings.side) / 100, math.ceil(largest / (settings.overlap or 0.2))
    nowhere = int(cut["nowhere"].sum())
    evidence = {
        "count": cut.height,
        "nowhere": nowhere,
        "largest": largest,
        "overlap": overlap if overlap <= MOST_OVERLAP else None,
        "tile": side,
        "rows": cut["source"].head(ROWS_NAMED).to_list(),
    }
    shared = math.ceil(settings.side * settings.overlap)
    message = (
        f"{cut.height} of {boxes.height} boxes are whole in no tile; the largest has {largest:g} pixels, neighbours "
        f"share {shared}" + (f"; {nowhere} of them are an object in none" if nowhere else "")
    )
    larger = f"tile={side} overlap={settings.overlap or 0.2:g}"
    advice = f"overlap={overlap:g} shows all of them whole, or {larger}" if overlap <= MOST_OVERLAP else larger
    return Finding("tiles.overlap_too_small", "warning", message, evidence, advice)
