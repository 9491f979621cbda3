"""Effective labels: which boxes are really trained at this input size, and which only count against the score."""

from __future__ import annotations

import math

import polars as pl

from ...findings import Finding, Severity
from .evidence import boxes_word, of_boxes, plain, shares
from .snapshot import LEAST_SIDE, MOST_ASPECT, Snapshot

# From here on a loss of labels is worth a warning: a point of recall is what a validation of 1,000 pictures can just
# show (an interval of 3 points, docs/benchmarks/coverage.md); a single class is measured by fewer boxes.
SHARE_OF_SPLIT = 0.01
SHARE_OF_CLASS = 0.05
# YOLO11 and YOLO26 predict at strides 8, 16 and 32. Below one cell of the finest level, by the root of the area; 2 to 8
# pixels are also what AI-TOD (Wang et al., ICPR 2020) calls very tiny.
CELL = 8
# Ultralytics' default `scale=0.5` shows a picture at 0.5 to 1.5 times its size.
LARGEST_SCALE = 1.5
KEPT = (
    0.99  # share of the lost boxes that a suggested size has to keep; the smallest may be slips of the mouse; judgement
)
STRIDE = 32  # imgsz is a multiple of it
LARGEST_GROWTH = 2.0  # twice the side is four times the time and memory of a step; beyond it tiles are cheaper
SMALLEST_TILE = 128  # judgement: smaller ones show an object without its surroundings


def too_small_to_train(snapshot: Snapshot) -> list[Finding]:
    """Find boxes with a side of at most 2 pixels of the network's input: dropped in training, counted in validation.

    Ultralytics 8.4.190 drops them after the random scaling: a box is lost in the draws in which its shorter side times
    the scale is 2 pixels or less. The number given is that without augmentation.
    """
    small = snapshot.boxes.filter(pl.col("short") <= LEAST_SIDE).sort("short")
    if small.is_empty():
        return []
    never = int((small["short"] <= LEAST_SIDE / LARGEST_SCALE).sum())
    words = f"are at most {LEAST_SIDE:g} pixels wide or high at imgsz {snapshot.imgsz}"
    advice, suggestion = _larger(snapshot, small)
    more = {"imgsz": snapshot.imgsz, "never_trained_at_scale_half": never, **_by_part(snapshot, small), **suggestion}
    evidence = of_boxes(snapshot, small, **more)
    message = _lost(snapshot, small, words)
    return [Finding("labels.too_small_to_train", _severity(snapshot, small), message, evidence, advice)]


def too_thin_to_train(snapshot: Snapshot) -> list[Finding]:
    """Find boxes a hundred times as long as wide, which Ultralytics drops in training and counts in validation."""
    thin = snapshot.boxes.filter(~pl.col("trained") & (pl.col("short") > LEAST_SIDE)).sort("short")
    if thin.is_empty():
        return []
    words = f"are {MOST_ASPECT:g} times as long as wide"
    advice = "cut each into several boxes along its length; tiles (`tuneup tile`) do that by themselves"
    evidence = of_boxes(snapshot, thin, **_by_part(snapshot, thin))
    message = _lost(snapshot, thin, words)
    return [Finding("labels.too_thin_to_train", _severity(snapshot, thin), message, evidence, advice)]


def below_one_cell(snapshot: Snapshot) -> list[Finding]:
    """Find boxes that are trained, but are smaller than one cell of the finest level (8 pixels, root of the area)."""
    tiny = snapshot.boxes.filter(pl.col("trained") & (pl.col("seen_width") * pl.col("seen_height") < CELL**2))
    if tiny.height < SHARE_OF_SPLIT * snapshot.boxes.height or tiny.is_empty():
        return []
    counts, totals = _numbers(snapshot, tiny), _numbers(snapshot, snapshot.boxes)
    message = (
        f"{boxes_word(tiny.height)} ({tiny.height / snapshot.boxes.height:.0%}) are smaller than {CELL} x {CELL} "
        f"pixels at imgsz {snapshot.imgsz}, one cell of the network's finest level: {shares(counts, totals)}"
    )
    advice = "a larger train.imgsz or tiles (`tuneup tile`) if the score of small boxes in the evaluation is low"
    evidence = of_boxes(snapshot, tiny.sort("short"))
    return [Finding("labels.below_one_cell", "info", message, evidence, advice)]


def _numbers(snapshot: Snapshot, boxes: pl.DataFrame) -> dict[str, int]:
    counts = dict(boxes.group_by("class_id").len().iter_rows())
    return {name: counts.get(index, 0) for index, name in enumerate(snapshot.names)}


def _in_part(boxes: pl.DataFrame, part: str) -> pl.DataFrame:
    return boxes.filter(pl.col("part") == part)


def _by_part(snapshot: Snapshot, lost: pl.DataFrame) -> dict[str, object]:
    parts = lost.group_by("part").len().sort("part")
    totals = dict(snapshot.per_part.select("part", "boxes").iter_rows())
    return {"splits": {part: {"lost": count, "boxes": totals[part]} for part, count in parts.iter_rows()}}


def _severity(snapshot: Snapshot, lost: pl.DataFrame) -> Severity:
    """A warning from 1 % of a split or 5 % of a class in a split on."""
    of_part = lost.group_by("part").len("lost").join(snapshot.per_part, on="part")
    of_class = lost.group_by("part", "class_id").len("lost").join(snapshot.per_class, on=["part", "class_id"])
    many = (of_part["lost"] >= SHARE_OF_SPLIT * of_part["boxes"]).any()
    much = (of_class["lost"] >= SHARE_OF_CLASS * of_class["boxes"]).any()
    return "warning" if many or much else "info"


def _lost(snapshot: Snapshot, lost: pl.DataFrame, words: str) -> str:
    part = snapshot.training_part
    training, all_training = _in_part(lost, part), _in_part(snapshot.boxes, part)
    where = "" if part == "none" else f" {part}"
    measured = lost.height - training.height
    if training.is_empty():
        total = snapshot.boxes.height - all_training.height
        return (
            f"{measured:,} of {boxes_word(total)} of val and test {words}; the network is never trained on such boxes"
        )
    counts, totals = _numbers(snapshot, training), _numbers(snapshot, all_training)
    tail = f"; val and test count {measured:,} such boxes" if measured else ""
    return (
        f"{training.height:,} of {all_training.height:,}{where} boxes {words} and dropped in training without a word "
        f"({shares(counts, totals)}){tail}"
    )


def _larger(snapshot: Snapshot, small: pl.DataFrame) -> tuple[str, dict[str, int]]:
    """Return what keeps 99 % of the small boxes, as advice and as numbers: another imgsz, or tiles."""
    side = pl.min_horizontal("width", "height")
    long_side = pl.max_horizontal("picture_width", "picture_height")
    wanted = small.select(need=LEAST_SIDE * long_side / side, side=side)
    need = wanted["need"].quantile(KEPT, "higher")
    smallest = wanted["side"].quantile(1 - KEPT, "lower")
    assert need is not None
    assert smallest is not None
    imgsz = (math.floor(need / STRIDE) + 1) * STRIDE  # the side must be more than 2 pixels, not 2
    if imgsz <= LARGEST_GROWTH * snapshot.imgsz:
        kept = int((wanted["need"] < imgsz).sum())
        cost = plain((imgsz / snapshot.imgsz) ** 2, 1)
        advice = f"train.imgsz={imgsz} keeps {kept:,} of them, at {cost:g} times the time and memory of a step"
        return advice, {"suggested_imgsz": imgsz, "kept": kept}
    tile = math.ceil(snapshot.imgsz * smallest / LEAST_SIDE / STRIDE - 1) * STRIDE
    if tile < SMALLEST_TILE:
        return (
            f"no input size helps: the smallest of them have {smallest:.2g} pixels in the pictures themselves; leave "
            "out labels that nobody could see, or take pictures from nearer",
            {},
        )
    kept = int((wanted["side"] * snapshot.imgsz / tile > LEAST_SIDE).sum())
    advice = f"tiles of {tile} pixels (`tuneup tile`), trained at imgsz {snapshot.imgsz}, keep {kept:,} of them"
    return advice, {"suggested_tile": tile, "kept": kept}
