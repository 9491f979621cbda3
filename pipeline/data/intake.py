"""Intake: raw rows with their `file:line` become a Dataset, and every row that was touched stands in a ledger.

`read_dataset` is the one way in. Readers only parse; what is wrong with a row is decided here, for all formats alike.
Rows read = kept + repaired + dropped + refused, always. Nothing in the source is ever written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..errors import DataError
from ..findings import Finding
from .dataset import BOXES_SCHEMA, IMAGES_SCHEMA, Dataset
from .formats import detect_format, reader
from .images import listed, picture_sizes
from .raw import RawDataset

LEDGER_SCHEMA: dict[str, Any] = {
    "id": pl.String,
    "source": pl.String,  # "file:line"
    "action": pl.String,  # kept, repaired, dropped, refused
    "before": pl.String,
    "after": pl.String,
}
# A box may stand out of its picture by rounding alone; less than this many pixels is not worth a word.
ROUNDING = 0.51


@dataclass(frozen=True)
class Intake:
    """A dataset, the ledger of touched rows (`LEDGER_SCHEMA`; kept rows are only counted) and findings."""

    dataset: Dataset
    ledger: pl.DataFrame
    rows_read: int
    findings: tuple[Finding, ...] = field(default=())

    def counts(self) -> dict[str, int]:
        """Return the number of rows read, kept, repaired, dropped and refused."""
        by_action = dict(self.ledger.group_by("action").len().iter_rows())
        touched = {action: int(by_action.get(action, 0)) for action in ("repaired", "dropped", "refused")}
        return {"read": self.rows_read, "kept": self.rows_read - sum(touched.values()), **touched}


def read_dataset(path: Path | str, *, format: str = "auto") -> Intake:
    """Read a dataset from disk.

    Args:
        path: a folder, a data.yaml (YOLO) or a COCO JSON file.
        format: `yolo`, `coco`, or `auto` to find out.

    Raises:
        DataError: it cannot be found or read, or rows were refused; the message names ten and counts the rest.
    """
    where = Path(path)
    raw = reader(detect_format(where) if format == "auto" else format)(where)
    return take_in(raw)


def take_in(raw: RawDataset) -> Intake:
    """Check and repair raw rows.

    Raises:
        DataError: rows were refused, pictures cannot be read, or nothing is left.
    """
    if raw.images.is_empty():
        raise DataError(f"{raw.root}: no pictures found")
    refused = [*raw.refused, *_wrong_classes(raw)]
    if refused:
        advice = "mend these rows or the list of class names; nothing was changed"
        raise DataError(listed(f"{len(refused)} label rows cannot be used ({advice})", refused))
    images, size_findings = _with_true_sizes(raw)
    boxes = raw.boxes.join(images.select("path", "image_id", "width", "height"), on="path", maintain_order="left")
    if raw.fractions:
        boxes = boxes.with_columns(
            *(pl.col(c) * pl.col("width") for c in ("x1", "x2")), *(pl.col(c) * pl.col("height") for c in ("y1", "y2"))
        )
    boxes, ledger = _repair(boxes)
    table = boxes.select(pl.col(name).cast(dtype) for name, dtype in BOXES_SCHEMA.items())
    dataset = Dataset(raw.names, images, table, raw.root)
    findings = (*raw.findings, *size_findings, *_ledger_findings(ledger))
    return Intake(dataset, ledger, raw.boxes.height, findings)


def _wrong_classes(raw: RawDataset) -> list[str]:
    count = len(raw.names)
    class_id = pl.col("class_id")
    wrong = raw.boxes.filter(
        ~(class_id.is_finite() & (class_id == class_id.floor()) & class_id.is_between(0, count - 1))
    )
    known = f"names has {count} (0 to {count - 1})" if count > 1 else "names has 1 (0)"
    return [
        f"{source}: class {value:g}, but {known}" for source, value in wrong.select("source", "class_id").iter_rows()
    ]


def _with_true_sizes(raw: RawDataset) -> tuple[pl.DataFrame, list[Finding]]:
    """Add ids and the sizes that the picture files really have."""
    images = raw.images.sort("path")
    twice = images.filter(pl.col("path").is_duplicated())["path"].unique(maintain_order=True).to_list()
    if twice:
        raise DataError(listed("pictures are listed more than once, or in two splits; keep one entry each", twice))
    sizes = picture_sizes([raw.root / path for path in images["path"]])
    table = images.with_columns(
        true_width=pl.Series([w for w, _ in sizes], dtype=pl.UInt32),
        true_height=pl.Series([h for _, h in sizes], dtype=pl.UInt32),
    )
    other = table.filter((pl.col("width") != pl.col("true_width")) | (pl.col("height") != pl.col("true_height")))
    findings = []
    if other.height:
        message = f"{other.height} pictures have another size than their label file states; the picture's was used"
        evidence = {"pictures": other["path"].head(10).to_list(), "count": other.height}
        advice = "check that the labels were drawn on these very pictures, and not on turned or resized ones"
        findings.append(Finding("images.size_differs", "warning", message, evidence, advice))
    table = table.with_row_index("image_id", offset=1).with_columns(
        width="true_width", height="true_height", group=pl.lit(None, pl.String)
    )
    return table.select(pl.col(name).cast(dtype) for name, dtype in IMAGES_SCHEMA.items()), findings


def _repair(boxes: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Drop rows that cannot be a box, clip what stands out of the picture; both go into the ledger."""
    corners = ("x1", "y1", "x2", "y2")
    xyxy = boxes.select(corners).to_numpy()  # [n, 4] pixels
    limit = boxes.select(pl.col("width").alias("a"), pl.col("height").alias("b")).to_numpy().astype(np.float64)
    limits = np.concatenate([limit, limit], axis=1)
    finite = np.isfinite(xyxy).all(axis=1)
    sound = np.where(finite[:, None], xyxy, 0.0)
    clipped = np.clip(sound, 0.0, limits) + 0.0  # the sum turns -0.0 into 0.0
    overhang = np.abs(clipped - sound).max(axis=1, initial=0.0)

    reason = np.full(len(xyxy), "", dtype=object)
    reason[overhang > ROUNDING] = "labels.outside_clipped"
    reason[(clipped[:, 2:] <= clipped[:, :2]).any(axis=1)] = "labels.outside"
    reason[(sound[:, 2:] <= sound[:, :2]).any(axis=1)] = "labels.no_size"
    reason[~finite] = "labels.not_finite"
    table = boxes.with_columns(
        *(pl.Series(c, clipped[:, i]) for i, c in enumerate(corners)),
        id=pl.Series(reason, dtype=pl.String),
        before=_as_text(xyxy),
        after=_as_text(clipped),
    )
    repaired = pl.col("id") == "labels.outside_clipped"
    stays = (pl.col("id") == "") | repaired
    again = ~pl.struct("image_id", "class_id", *corners, "crowd", stays.alias("stays")).is_first_distinct()
    table = table.with_columns(id=pl.when(stays & again).then(pl.lit("labels.duplicate")).otherwise(pl.col("id")))
    ledger = table.filter(pl.col("id") != "").select(
        "id",
        "source",
        action=pl.when(repaired).then(pl.lit("repaired")).otherwise(pl.lit("dropped")),
        before="before",
        after=pl.when(repaired).then(pl.col("after")).otherwise(pl.lit("")),
    )
    return table.filter(stays), ledger.cast(pl.Schema(LEDGER_SCHEMA))


def _as_text(xyxy: np.ndarray[Any, np.dtype[np.float64]]) -> pl.Series:
    return pl.Series([" ".join(f"{value:.6g}" for value in row) for row in xyxy], dtype=pl.String)


_LEDGER_WORDS = {
    "labels.outside_clipped": (
        "stood out of their picture and were clipped to it",
        "check the tool that exported them",
    ),
    "labels.outside": ("lie outside their picture and were left out", "check that labels and pictures belong together"),
    "labels.no_size": ("have no width or no height and were left out", "draw them again if an object is there"),
    "labels.not_finite": ("hold a number that is not finite and were left out", "draw them again"),
    "labels.duplicate": ("repeat another box exactly and were left out", ""),
}


def _ledger_findings(ledger: pl.DataFrame) -> list[Finding]:
    findings = []
    for key, (words, advice) in _LEDGER_WORDS.items():
        rows = ledger.filter(pl.col("id") == key)
        if rows.height:
            evidence = {"count": rows.height, "rows": rows["source"].head(10).to_list()}
            findings.append(Finding(key, "warning", f"{rows.height} boxes {words}", evidence, advice))
    return findings
