"""The figures of a dataset: tables in, inline SVG out; `""` where there is nothing to draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter

from ..data.dataset import SPLITS, Dataset
from .panels import LEGEND_FOOT, SERIES, Margins, colours, legend_at_the_foot, name_panel, svg

_MOST_CLASSES = 30  # bars that a figure has room for; the table has all classes
_CELLS = 32  # of the map of places, along each side
_SIZE_BINS = np.geomspace(0.002, 1.0, 41)  # relative size: from 1 pixel of 500 to the whole picture
_COLUMN = 28  # characters of a class name beside its bar


def data_figures(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the figures of a dataset as the template's macro wants them.

    They are read off the tables alone: boxes per class and split, how large the boxes are relative to their picture,
    where they lie, and how large the pictures are.
    """
    boxes = dataset.boxes.filter(~pl.col("crowd")).join(
        dataset.images.select("image_id", "split", "width", "height"), on="image_id", maintain_order="left"
    )
    drawn = (
        (
            "Boxes of each class",
            "By split. A class with few boxes is learnt badly, and measured badly where it is rare in val or test.",
            _classes(dataset, boxes),
        ),
        (
            "How large the boxes are",
            "Square root of the box's share of its picture: 0.1 is a tenth of the side. The splits should agree.",
            _sizes(boxes),
        ),
        (
            "Where the boxes lie",
            "All boxes laid over each other, each picture stretched to one square; brighter is more. Bands and corners "
            "tell how the pictures were taken, and what the network may learn instead of the object.",
            _places(boxes),
        ),
        (
            "How large the pictures are",
            "Each dot stands for the pictures of one size; larger dots for more of them.",
            _pictures(dataset.images),
        ),
    )
    return [
        {"title": title, "caption": words, "svg": Markup(drawing), "facts": [], "table": None}
        for title, words, drawing in drawn
        if drawing
    ]


def _present(table: pl.DataFrame) -> list[str]:
    found = set(table["split"].fill_null("none").unique())
    return [split for split in (*SPLITS, "none") if split in found]


def _classes(dataset: Dataset, boxes: pl.DataFrame) -> str:
    splits = _present(dataset.images)
    counts = boxes.with_columns(pl.col("split").fill_null("none")).group_by("class_id", "split").len()
    table = {(int(c), str(s)): int(n) for c, s, n in counts.iter_rows()}
    totals = [sum(table.get((c, split), 0) for split in splits) for c in range(len(dataset.names))]
    order = sorted(range(len(dataset.names)), key=lambda c: -totals[c])[:_MOST_CLASSES]
    if not order:
        return ""
    names = [_short(dataset.names[c]) for c in order]

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        left = np.zeros(len(order))
        for split, colour in zip(splits, colours(len(splits)), strict=True):
            width = np.array([table.get((c, split), 0) for c in order], float)
            axes.barh(np.arange(len(order)), width, left=left, color=colour, label=split, height=0.7)
            left += width
        axes.set_yticks(np.arange(len(order)), [name.replace("$", r"\$") for name in names])
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        more = len(dataset.names) - len(order)
        name_panel(axes, "boxes" + (f"; {more} rarer classes are not shown" if more else ""))
        legend_at_the_foot(axes)

    height = max(80.0, 17.0 * len(order))
    margins = Margins(left=20.0 + 6.6 * max(len(name) for name in names), foot=LEGEND_FOOT)
    return svg("classes", "Boxes of each class by split", [height], draw, margins=margins)


def _sizes(boxes: pl.DataFrame) -> str:
    if boxes.is_empty():
        return ""
    area = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
    table = boxes.with_columns(size=(area / (pl.col("width") * pl.col("height").cast(pl.Float64))).sqrt())
    splits = _present(table)
    middle = np.sqrt(_SIZE_BINS[1:] * _SIZE_BINS[:-1])

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        for split, colour in zip(splits, colours(len(splits)), strict=True):
            sizes = table.filter(pl.col("split").fill_null("none") == split)["size"].to_numpy()
            share = np.histogram(np.clip(sizes, _SIZE_BINS[0], 1.0), _SIZE_BINS)[0] / len(sizes)
            axes.step(middle, share, where="mid", color=colour, label=split, linewidth=1.6)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))
        axes.set_xlabel("side of the box, as a share of the picture's")
        axes.set_ylim(bottom=0)
        name_panel(axes, "share of the boxes")
        legend_at_the_foot(axes)

    return svg("sizes", "Relative sizes of the boxes by split", [190], draw, margins=Margins(foot=LEGEND_FOOT + 6))


def _places(boxes: pl.DataFrame) -> str:
    if boxes.is_empty():
        return ""
    density = _coverage(boxes)

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        axes.imshow(density, cmap="cividis", origin="upper", interpolation="nearest", aspect="auto")
        axes.set_xticks([0, _CELLS - 1], ["left", "right"])
        axes.set_yticks([0, _CELLS - 1], ["top", "bottom"])
        name_panel(axes, "boxes over each part of the picture")

    return svg("places", "Where in the pictures boxes lie", [300], draw)


def _coverage(boxes: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return how many boxes cover each cell of the unit square, [rows, columns], by a two-dimensional running sum."""
    edges = boxes.select(
        x1=pl.col("x1") / pl.col("width"),
        y1=pl.col("y1") / pl.col("height"),
        x2=pl.col("x2") / pl.col("width"),
        y2=pl.col("y2") / pl.col("height"),
    ).to_numpy()
    first = np.clip(np.floor(edges[:, :2] * _CELLS), 0, _CELLS - 1).astype(int)
    last = np.clip(np.ceil(edges[:, 2:] * _CELLS), first + 1, _CELLS).astype(int)
    change = np.zeros((_CELLS + 1, _CELLS + 1))
    for rows, columns, sign in (
        (first[:, 1], first[:, 0], 1.0),
        (first[:, 1], last[:, 0], -1.0),
        (last[:, 1], first[:, 0], -1.0),
        (last[:, 1], last[:, 0], 1.0),
    ):
        np.add.at(change, (rows, columns), sign)
    return np.asarray(change.cumsum(axis=0).cumsum(axis=1)[:_CELLS, :_CELLS])


def _pictures(images: pl.DataFrame) -> str:
    sizes = images.group_by("width", "height").len().sort("len", descending=True)
    if sizes.height < 2:
        return ""  # one size is said in a fact
    width, height, count = (sizes[name].to_numpy().astype(float) for name in ("width", "height", "len"))

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        axes.scatter(width, height, s=12 + 200 * count / count.max(), color=SERIES[0], alpha=0.6, linewidths=0)
        axes.set_xlabel("width, pixels")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        name_panel(axes, "height, pixels")

    return svg("picture-sizes", "Widths and heights of the pictures", [200], draw)


def _short(name: str) -> str:
    return name if len(name) <= _COLUMN else name[: _COLUMN - 1] + "…"


def size_fact(images: pl.DataFrame) -> str:
    """Return the pictures' size in words: the one that all have, or the smallest and the largest."""
    sizes = images.select("width", "height").unique().sort("width", "height").rows()
    if not sizes:
        return ""
    first, last = sizes[0], sizes[-1]
    text = f"{first[0]} × {first[1]} pixels"
    return text if len(sizes) == 1 else f"{len(sizes)} sizes, {text} to {last[0]} × {last[1]}"
