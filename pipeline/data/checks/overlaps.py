"""Boxes that lie on one another: the same object labelled twice, or with two classes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from ...findings import Finding
from ..raw import ROWS_NAMED
from .evidence import by_class, counted, listed_names, paths_of
from .snapshot import Snapshot


def near_duplicate(snapshot: Snapshot) -> list[Finding]:
    """Find pairs of one class in the same place: in validation one of them counts as missed."""
    one, other = _pairs_by_class(snapshot, same=True)
    if not len(one):
        return []
    message = f"{counted(len(one), 'pair')} of boxes of one class lie in the same place"
    advice = "keep one of each: the other one counts as missed, and is taught as a second object"
    return [
        Finding(
            "labels.near_duplicate",
            "warning",
            message,
            _of_pairs(snapshot, one, other, by_class(snapshot, one)),
            advice,
        )
    ]


def two_classes(snapshot: Snapshot) -> list[Finding]:
    """Find pairs of two classes in the same place: one label is wrong, or the classes overlap in meaning."""
    one, other = _pairs_by_class(snapshot, same=False)
    if not len(one):
        return []
    names = Counter(
        " + ".join(sorted((snapshot.names[a], snapshot.names[b])))
        for a, b in zip(one["class_id"], other["class_id"], strict=True)
    )
    words = listed_names([f"{pair} {count:,}" for pair, count in names.most_common()], 5)
    message = f"{counted(len(one), 'pair')} of boxes of two classes lie in the same place: {words}"
    advice = "decide which class it is: an object of two classes is wrong for one of them"
    evidence = _of_pairs(snapshot, one, other, dict(names.most_common()))
    return [Finding("labels.two_classes", "warning", message, evidence, advice)]


def _pairs_by_class(snapshot: Snapshot, *, same: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    first, second = snapshot.pairs
    one, other = snapshot.boxes[first], snapshot.boxes[second]
    chosen = (one["class_id"] == other["class_id"]) == same
    return one.filter(chosen), other.filter(chosen)


def _of_pairs(snapshot: Snapshot, one: pl.DataFrame, other: pl.DataFrame, classes: dict[str, int]) -> dict[str, Any]:
    rows = list(zip(one["source"].head(ROWS_NAMED), other["source"].head(ROWS_NAMED), strict=True))
    return {
        "count": one.height,
        "classes": classes,
        "pictures": paths_of(snapshot, one["image_id"].unique(maintain_order=True).head(ROWS_NAMED)),
        "rows": [source for pair in rows for source in pair][:ROWS_NAMED],
        "pairs": [f"{a} and {b}" for a, b in rows],
    }
