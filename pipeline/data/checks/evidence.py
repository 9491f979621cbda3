"""How checks name what they found: counts, ten pictures, ten rows, and words for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ..raw import ROWS_NAMED
from .snapshot import Snapshot


def counted(count: int, one: str, more: str | None = None) -> str:
    """Return `1 box`, `1,234 boxes`; the second word where the plural is not an added s."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def boxes_word(count: int) -> str:
    """Return `1 box` or `7 boxes`."""
    return counted(count, "box", "boxes")


def plain(value: float, digits: int = 3) -> float:
    """Return the number rounded, so that findings stay readable as JSON."""
    return round(float(value), digits)


def of_boxes(snapshot: Snapshot, boxes: pl.DataFrame, **more: Any) -> dict[str, Any]:
    """Return the evidence for rows of `Snapshot.boxes`: their number, numbers by class, the first rows and pictures.

    Args:
        snapshot: where the paths are looked up.
        boxes: the rows, the most telling first.
        more: further entries.
    """
    first = boxes.head(ROWS_NAMED)
    return {
        "count": boxes.height,
        "classes": by_class(snapshot, boxes),
        "pictures": paths_of(snapshot, boxes["image_id"].unique(maintain_order=True).head(ROWS_NAMED)),
        "rows": first["source"].to_list(),
        **more,
    }


def of_pictures(images: pl.DataFrame, **more: Any) -> dict[str, Any]:
    """Return the evidence for rows that have a `path`: their number and the first of them."""
    return {"count": images.height, "pictures": images["path"].head(ROWS_NAMED).to_list(), **more}


def paths_of(snapshot: Snapshot, image_ids: pl.Series) -> list[str]:
    """Return the paths of a few pictures, in the order of their ids as given."""
    wanted = snapshot.images.filter(pl.col("image_id").is_in(image_ids.implode())).select("image_id", "path")
    paths = dict(wanted.iter_rows())
    return [paths[image_id] for image_id in image_ids]


def by_class(snapshot: Snapshot, boxes: pl.DataFrame) -> dict[str, int]:
    """Return the number of boxes of each class that occurs, most first."""
    counts = boxes.group_by("class_id").len("count").sort(["count", "class_id"], descending=[True, False])
    return {snapshot.names[class_id]: count for class_id, count in counts.iter_rows()}


def shares(counts: Mapping[str, int], totals: Mapping[str, int], most: int = 5) -> str:
    """Return `pit 30 of 45, dent 2 of 9`, largest counts first, and how many more classes there are."""
    ranked = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
    words = [f"{name} {counts[name]:,} of {totals[name]:,}" for name in ranked[:most]]
    return ", ".join(words) + (f" and {len(ranked) - most} more classes" if len(ranked) > most else "")


def listed_names(names: list[str], most: int = 10) -> str:
    """Return the names with commas, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
