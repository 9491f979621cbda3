"""Boxes that are strange by themselves: as large as the picture, unlike their class, at the border, all of one size."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from ...findings import Finding
from .evidence import boxes_word, by_class, listed_names, of_boxes, plain, shares
from .robust import FAR, deviations
from .snapshot import Snapshot

# "Judgement" marks what has no source; docs/findings-data.md has what four sets measure there.
WHOLE = 0.95  # of both sides of the picture; judgement: boxes of the four sets reach 0.63
# A class whose median box takes up a quarter of its picture may well fill one; judgement: those of the sets
# reach 0.16.
USUAL_SHARE = 0.25
ENOUGH = 30  # boxes of a class from which on its usual size means something; judgement
# No box within this factor of its class's usual size is far: Ultralytics' default `scale=0.5` makes as much of one and
# the same object (0.5 to 1.5 times).
SIZE_FACTOR = 3.0
SHAPE_FACTOR = 5.0  # of length to width; sound boxes reach 4.1 times the usual one (docs/findings-data.md)
TOUCHES = 1.0  # pixels between box and border: labels that count from 1 never reach 0
# Times as many boxes at right and bottom as at left and top, or the other way round; judgement: in sets of cut objects
# it is at most 1.12.
ONE_SIDED = 4.0
CHANCE = 1e-6  # of a split so uneven if both were equally likely; a set is asked once, so this is never luck
SAME = 0.5  # share of a class with one and the same size in pixels; judgement: drawn classes have at most 0.02


def covers_picture(snapshot: Snapshot) -> list[Finding]:
    """Find boxes that take up the whole picture: a slip of the mouse, or a set made for classification."""
    share = pl.col("width") * pl.col("height") / (pl.col("picture_width") * pl.col("picture_height"))
    whole = (pl.col("width") >= WHOLE * pl.col("picture_width")) & (
        pl.col("height") >= WHOLE * pl.col("picture_height")
    )
    found = snapshot.boxes.filter(whole)
    if found.is_empty():
        return []
    usual = snapshot.boxes.group_by("class_id").agg(usual=share.median())
    odd = found.join(usual.filter(pl.col("usual") < USUAL_SHARE), on="class_id", how="semi", maintain_order="left")
    if odd.is_empty():
        message = f"{boxes_word(found.height)} cover their whole picture, as usual for their classes"
        advice = "if each picture shows one object only, a classifier needs no boxes"
        return [Finding("labels.covers_picture", "info", message, of_boxes(snapshot, found), advice)]
    message = (
        f"{boxes_word(odd.height)} cover their whole picture, although boxes of "
        f"{listed_names(list(by_class(snapshot, odd)))} are usually much smaller"
    )
    advice = "look at them: a box drawn by mistake teaches the network that everything is one object"
    return [Finding("labels.covers_picture", "warning", message, of_boxes(snapshot, odd), advice)]


def unusual_size(snapshot: Snapshot) -> list[Finding]:
    """Find boxes whose size is far from that of their class: slips, or another class."""
    size = (pl.col("width") * pl.col("height")).sqrt() / (pl.col("picture_width") * pl.col("picture_height")).sqrt()
    far = _far_from_class(snapshot, size.log(), SIZE_FACTOR)
    far = far.filter((pl.col("deviation") > 0) | _inside())  # the border cuts boxes smaller
    if far.is_empty():
        return []
    small = int((far["deviation"] < 0).sum())
    message = (
        f"{boxes_word(far.height)} are far from the usual size of their class ({small:,} smaller, "
        f"{far.height - small:,} larger): {shares(by_class(snapshot, far), _totals(snapshot))}"
    )
    advice = "look at them: slips of the mouse, parts of objects, or boxes of another class"
    evidence = of_boxes(snapshot, far, smaller=small, larger=far.height - small)
    return [Finding("labels.unusual_size", "info", message, evidence, advice)]


def unusual_shape(snapshot: Snapshot) -> list[Finding]:
    """Find boxes that are far longer or flatter than those of their class."""
    far = _far_from_class(snapshot, (pl.col("long") / pl.col("short")).log(), SHAPE_FACTOR)
    far = far.filter((pl.col("deviation") > 0) & _inside())
    if far.is_empty():
        return []
    ratio = float((far["long"] / far["short"]).max())  # type: ignore[arg-type]
    message = (
        f"{boxes_word(far.height)} are far longer for their width than usual in their class, up to {ratio:.0f} times: "
        f"{shares(by_class(snapshot, far), _totals(snapshot))}"
    )
    advice = "look at them: slips of the mouse, or several objects in one box"
    return [Finding("labels.unusual_shape", "info", message, of_boxes(snapshot, far, most=plain(ratio, 1)), advice)]


def at_border(snapshot: Snapshot) -> list[Finding]:
    """Find boxes that touch the border at one end far more often than at the other.

    Objects are cut at all four sides alike. Where the right and bottom sides have nearly all of them, the boxes were
    drawn on a larger picture and then clipped; the intake clips them, too.
    """
    near = snapshot.boxes.with_columns(
        begin=(pl.col("x1") <= TOUCHES) | (pl.col("y1") <= TOUCHES),
        end=(pl.col("x2") >= pl.col("picture_width") - TOUCHES) | (pl.col("y2") >= pl.col("picture_height") - TOUCHES),
    )
    begin, end = near.filter(pl.col("begin") & ~pl.col("end")), near.filter(pl.col("end") & ~pl.col("begin"))
    fewer, more = sorted((begin, end), key=lambda table: table.height)
    if more.height < ONE_SIDED * max(fewer.height, 1) or not _uneven(fewer.height, more.height):
        return []
    sides, others = ("right or bottom", "left or top") if more is end else ("left or top", "right or bottom")
    message = (
        f"{boxes_word(more.height)} touch the {sides} border of their pictures and only {fewer.height:,} the {others} "
        "one; objects are cut at all sides alike"
    )
    advice = "look at some: the labels may be made for pictures of another size, or be shifted"
    evidence = of_boxes(snapshot, more, other_side=fewer.height)
    return [Finding("labels.at_one_border", "warning", message, evidence, advice)]


def same_size(snapshot: Snapshot) -> list[Finding]:
    """Find classes of which most boxes have one and the same size: boxes set by a click, not drawn."""
    tenths = [(pl.col(side) * 10).round(0).cast(pl.Int64) for side in ("width", "height")]
    inner = snapshot.boxes.filter(_inside()).with_columns(size=tenths[0] * 2**32 + tenths[1])
    totals = inner.group_by("class_id").agg(boxes=pl.len(), size=pl.col("size").mode().min())
    most = (
        inner.join(totals, on=["class_id", "size"])
        .group_by("class_id")
        .agg(same=pl.len(), boxes=pl.col("boxes").first(), size=pl.col("size").first())
        .filter((pl.col("boxes") >= ENOUGH) & (pl.col("same") >= SAME * pl.col("boxes")))
        .sort("class_id")
    )
    if most.is_empty():
        return []
    words = [
        f"{snapshot.names[class_id]} {same:,} of {boxes:,} with {size // 2**32 / 10:g} x {size % 2**32 / 10:g}"
        for class_id, same, boxes, size in most.iter_rows()
    ]
    same = inner.join(most.select("class_id", "size"), on=["class_id", "size"], how="semi", maintain_order="left")
    message = f"boxes of one and the same size in pixels: {listed_names(words)}"
    advice = "boxes set by a click do not fit their objects: draw them tight, or judge by IoU 0.5 alone"
    return [Finding("labels.same_size", "warning", message, of_boxes(snapshot, same), advice)]


def _totals(snapshot: Snapshot) -> dict[str, int]:
    return by_class(snapshot, snapshot.boxes)


def _inside() -> pl.Expr:
    """Whether a box touches no border of its picture."""
    begins = (pl.col("x1") > TOUCHES) & (pl.col("y1") > TOUCHES)
    width, height = pl.col("picture_width"), pl.col("picture_height")
    return begins & (pl.col("x2") < width - TOUCHES) & (pl.col("y2") < height - TOUCHES)


def _far_from_class(snapshot: Snapshot, measure: pl.Expr, factor: float) -> pl.DataFrame:
    """Return boxes of well-filled classes far from their class's median, farthest first, with their `deviation`.

    Args:
        snapshot: the boxes.
        measure: a logarithm.
        factor: how far from the median nothing is ever called far.
    """
    table = snapshot.boxes.with_columns(measure=measure)
    enough = table.group_by("class_id").len().filter(pl.col("len") >= ENOUGH)["class_id"]
    table = table.filter(pl.col("class_id").is_in(enough.implode()))
    off = deviations(table["measure"], table["class_id"], math.log(factor) / FAR)
    far = np.flatnonzero(np.abs(off) > FAR)
    far = far[np.argsort(-np.abs(off[far]), kind="stable")]
    return table[far].with_columns(deviation=pl.Series(off[far]))


def _uneven(fewer: int, more: int) -> bool:
    """Whether so uneven a split of two equally likely outcomes has a chance below `CHANCE` (normal approximation)."""
    total = fewer + more
    return math.erfc((more - fewer) / math.sqrt(2 * total)) < CHANCE if total else False
