"""The numbers behind the pictures of the audit: counts by class and split, sizes, places, duplicates; fit for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from .snapshot import Snapshot

SIZE_EDGES = (0, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)  # pixels seen; then more
GRID = 20  # cells a side of the map of box centres
SIZES_NAMED = 20


def figures_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return the figures of an audit.

    `classes` and `splits`: `effective` boxes are trained without augmentation at this imgsz, `lost` ones are only
    counted when measuring. `box_sizes`: boxes by the root of their area in pixels of the network's input; the last bin
    is open.
    `duplicates`: `flat` pictures of nearly one grey were compared as files only, and so many further pairs of pictures
    with ten pairs each are `not_listed`.
    `box_centres`: boxes by the place of their centre, rows from top to bottom, in a grid over all pictures.
    """
    return {
        "imgsz": snapshot.imgsz,
        "splits": _splits(snapshot),
        "classes": _classes(snapshot),
        "box_sizes": {"edges": list(SIZE_EDGES), "classes": _box_sizes(snapshot)},
        "box_centres": _centres(snapshot),
        "picture_sizes": _picture_sizes(snapshot),
        "ledger": _ledger(snapshot),
        "duplicates": _duplicates(snapshot),
    }


def _splits(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    effective = snapshot.per_class.group_by("part").agg(pl.col("effective").sum())
    rows = snapshot.per_part.join(effective, on="part", how="left").with_columns(pl.col("effective").fill_null(0))
    rows = rows.with_columns(lost=pl.col("boxes").cast(pl.Int64) - pl.col("effective")).sort("part")
    return {row.pop("part"): {key: int(value) for key, value in row.items()} for row in rows.to_dicts()}


def _classes(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return a row per class and split, fit to be printed as a table."""
    rows = {(row["class_id"], row["part"]): row for row in snapshot.per_class.to_dicts()}
    none = {"pictures": 0, "boxes": 0, "effective": 0}
    found: list[dict[str, Any]] = []
    for index, name in enumerate(snapshot.names):
        for part in snapshot.per_part["part"]:
            row = rows.get((index, part), none)
            numbers = {key: int(row[key]) for key in none}
            found.append({"class": name, "split": part, **numbers, "lost": numbers["boxes"] - numbers["effective"]})
    return found


def _box_sizes(snapshot: Snapshot) -> dict[str, list[int]]:
    sizes = snapshot.boxes.select("class_id", size=(pl.col("seen_width") * pl.col("seen_height")).sqrt())
    bins = np.searchsorted(SIZE_EDGES, sizes["size"].to_numpy(), side="right") - 1
    flat = sizes["class_id"].to_numpy().astype(np.int64) * len(SIZE_EDGES) + bins
    counts = np.bincount(flat, minlength=len(snapshot.names) * len(SIZE_EDGES)).reshape(-1, len(SIZE_EDGES))
    return dict(zip(snapshot.names, counts.tolist(), strict=True))


def _centres(snapshot: Snapshot) -> list[list[int]]:
    x = (pl.col("x1") + pl.col("x2")) / 2 / pl.col("picture_width")
    y = (pl.col("y1") + pl.col("y2")) / 2 / pl.col("picture_height")
    cell = [(value * GRID).clip(0, GRID - 1).cast(pl.Int64) for value in (x, y)]
    flat = snapshot.boxes.select(cell[1] * GRID + cell[0]).to_series().to_numpy()
    counts: list[list[int]] = np.bincount(flat, minlength=GRID * GRID).reshape(GRID, GRID).tolist()
    return counts


def _picture_sizes(snapshot: Snapshot) -> dict[str, Any]:
    sizes = snapshot.images.group_by("width", "height").len("pictures")
    sizes = sizes.sort(["pictures", "width", "height"], descending=[True, False, False])
    return {"distinct": sizes.height, "most_frequent": sizes.head(SIZES_NAMED).to_dicts()}


def _ledger(snapshot: Snapshot) -> dict[str, Any] | None:
    if snapshot.intake is None:
        return None
    ids = snapshot.intake.ledger.select("action", pl.col("id").str.split(" ")).explode("id").group_by("id").len("rows")
    return {**snapshot.intake.counts(), "ids": dict(ids.sort(["rows", "id"], descending=[True, False]).iter_rows())}


def _duplicates(snapshot: Snapshot) -> dict[str, Any] | None:
    if snapshot.duplicates is None:
        return None
    pairs = snapshot.duplicates.pairs
    across = pl.col("one_split") != pl.col("other_split")
    counts = pairs.group_by("kind").agg(pairs=pl.len(), across=across.sum())
    kinds = {row["kind"]: {"pairs": row["pairs"], "across_splits": row["across"]} for row in counts.to_dicts()}
    none = {"pairs": 0, "across_splits": 0}
    clusters = snapshot.duplicates.clusters
    return {
        "identical": kinds.get("identical", none),
        "alike": kinds.get("alike", none),
        "clusters": len(clusters),
        "largest_cluster": max(map(len, clusters), default=0),
        "in_clusters": sum(map(len, clusters)),
        "flat": len(snapshot.duplicates.flat),
        "not_listed": snapshot.duplicates.left_out,
    }
