"""Splits: too small to measure anything, or different from one another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...findings import Finding, Severity
from .evidence import listed_names, plain
from .snapshot import Snapshot

# docs/benchmarks/coverage.md: the 95 % interval of one mAP is 13.7 to 14.9 points wide on 50 pictures of 4 boxes each,
# 9.7 to 10.3 on 100, 6.9 to 7.3 on 200, 3.1 to 3.3 on 1,000: about 100 points over the root of their number.
FEW_PICTURES = 50
ENOUGH_PICTURES = 200
BOXES_EACH = 4  # in that measurement; boxes make up for pictures
NEXT_TO_NONE = 10  # pictures, however many boxes they have: whatever happens to be on them decides; judgement
# Largest distance of two cumulative distributions: 0.2 is that of two normal ones half a standard deviation apart
# (2 Phi(0.25) - 1), a medium effect in J. Cohen's words.
DISTANCE = 0.2
# Share of boxes that would have to change class: 0.15 between two even classes is w = 0.3, Cohen's medium effect.
CLASS_DISTANCE = 0.15
KS_ALPHA = 1.95  # critical value of Kolmogorov and Smirnov for a chance of 0.001
CHANCE_FACTOR = 2.0  # times what a random division of so many pictures differs by on average; judgement


def too_small(snapshot: Snapshot) -> list[Finding]:
    """Find val and test splits so small that their score is mostly luck."""
    if snapshot.boxes.is_empty():  # without any box there is no score at all: another finding
        return []
    findings = []
    rows = {row["part"]: row for row in snapshot.per_part.to_dicts()}
    for split in snapshot.measured_parts:
        pictures, boxes = rows[split]["pictures"], rows[split]["boxes"]
        worth = pictures if pictures < NEXT_TO_NONE else max(pictures, boxes / BOXES_EACH)
        if worth >= ENOUGH_PICTURES:
            continue
        width = min(100 / math.sqrt(max(worth, 1)), 100)
        message = (
            f"{split} has {pictures:,} pictures with {boxes:,} boxes: expect the 95 % interval of its mAP to be about "
            f"{width:.0f} points wide"
        )
        advice = "differences smaller than that are luck: more pictures in this split, or compare on the same pictures"
        severity: Severity = "warning" if worth < FEW_PICTURES else "info"
        evidence = {"split": split, "count": pictures, "boxes": boxes, "width_points": plain(width, 1)}
        findings.append(Finding(f"split.{split}_too_small", severity, message, evidence, advice))
    return findings


def classes_differ(snapshot: Snapshot) -> list[Finding]:
    """Compare the shares of classes in val and test with train: half the sum of differences (total variation)."""
    if "train" not in snapshot.dataset.splits:
        return []
    train = _counts(snapshot, "train")
    findings = []
    for split in snapshot.measured_parts:
        other = _counts(snapshot, split)
        pictures = [_labelled(snapshot, part) for part in ("train", split)]
        if not train.sum() or not other.sum():
            continue
        share, other_share = train / train.sum(), other / other.sum()
        distance = float(np.abs(share - other_share).sum() / 2)
        if distance < max(CLASS_DISTANCE, CHANCE_FACTOR * _by_chance(share, *pictures)):
            continue
        order = np.argsort(-np.abs(share - other_share))[:3]
        words = listed_names([f"{snapshot.names[i]} {share[i]:.0%} and {other_share[i]:.0%}" for i in order])
        message = f"classes are distributed differently in train and {split} ({distance:.0%} of the boxes): {words}"
        advice = "data.splits=new divides by class; keep it if this split is what the network will meet"
        evidence = {
            "split": split,
            "distance": plain(distance),
            "train": _named(snapshot, share),
            split: _named(snapshot, other_share),
        }
        findings.append(Finding(f"split.classes_differ_in_{split}", "warning", message, evidence, advice))
    return findings


def looks_differ(snapshot: Snapshot) -> list[Finding]:
    """Compare box sizes, picture sizes and brightness of val and test with train.

    The distance is that of Kolmogorov and Smirnov; the number of pictures counts as the number of observations, because
    boxes of one picture resemble each other.
    """
    if "train" not in snapshot.dataset.splits:
        return []
    findings = []
    for measure in _measures(snapshot):
        for split in snapshot.measured_parts:
            one, other = measure.values["train"], measure.values[split]
            if not len(one) or not len(other):
                continue
            distance = _ks(one, other)
            numbers = measure.pictures["train"], measure.pictures[split]
            if distance < max(DISTANCE, KS_ALPHA * math.sqrt(sum(1 / n for n in numbers))):
                continue
            medians = [float(np.median(values)) for values in (one, other)]
            message = (
                f"{measure.words} differ between train and {split}: medians {medians[0]:.4g} and {medians[1]:.4g}, "
                f"Kolmogorov-Smirnov distance {distance:.2f}"
            )
            advice = "fine if new pictures will be like this split; else data.splits=new divides all pictures anew"
            evidence = {"split": split, "distance": plain(distance), "medians": [plain(m) for m in medians]}
            findings.append(Finding(f"split.{measure.name}_differ_in_{split}", "warning", message, evidence, advice))
    return findings


class _Measure(NamedTuple):
    """Values of each part, sorted, and the number of pictures that they come from."""

    name: str
    words: str
    values: dict[str, NDArray[np.float64]]
    pictures: dict[str, int]


def _measures(snapshot: Snapshot) -> Iterator[_Measure]:
    parts = ("train", *snapshot.measured_parts)
    area = pl.col("width") * pl.col("height") / (pl.col("picture_width") * pl.col("picture_height"))
    sizes = {part: _column(snapshot.boxes, part, area.sqrt()) for part in parts}
    pictures = {part: _labelled(snapshot, part) for part in parts}
    yield _Measure("box_sizes", "box sizes (share of the picture's side)", sizes, pictures)
    sides = {part: _column(snapshot.images, part, pl.col("long_side")) for part in parts}
    pictures = {part: len(values) for part, values in sides.items()}
    yield _Measure("picture_sizes", "picture sizes (long side in pixels)", sides, pictures)
    if snapshot.facts is not None:
        decoded = snapshot.facts.table.filter(pl.col("problem").is_null()).select("path", "brightness")
        table = decoded.join(snapshot.images.select("path", "part"), on="path")
        grey = {part: _column(table, part, pl.col("brightness")) for part in parts}
        pictures = {part: len(values) for part, values in grey.items()}
        yield _Measure("brightness", "brightness levels (mean grey level of a picture)", grey, pictures)


def _column(table: pl.DataFrame, part: str, value: pl.Expr) -> NDArray[np.float64]:
    return np.sort(table.filter(pl.col("part") == part).select(value.cast(pl.Float64)).to_series().to_numpy())


def _ks(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the largest distance of two cumulative distributions, from sorted values."""
    values = np.concatenate([one, other])
    below = [np.searchsorted(part, values, side="right") / len(part) for part in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def _counts(snapshot: Snapshot, part: str) -> NDArray[np.float64]:
    counts = snapshot.counts(part)
    return np.array([counts[index] for index in range(len(snapshot.names))], np.float64)


def _labelled(snapshot: Snapshot, part: str) -> int:
    return int(snapshot.images.filter((pl.col("part") == part) & (pl.col("boxes") > 0)).height)


def _by_chance(share: NDArray[np.float64], one: int, other: int) -> float:
    """Return the mean total variation of two random parts, as if each picture had boxes of one class only."""
    deviation = np.sqrt(share * (1 - share) * (1 / max(one, 1) + 1 / max(other, 1)))
    return float(deviation.sum() * math.sqrt(2 / math.pi) / 2)


def _named(snapshot: Snapshot, share: NDArray[np.float64]) -> dict[str, float]:
    return {name: plain(value) for name, value in zip(snapshot.names, share, strict=True)}
