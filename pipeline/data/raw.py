"""What a reader hands to the intake: rows as they stand in the files, each with its `file:line`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ..findings import Finding

RAW_IMAGES_SCHEMA: dict[str, Any] = {
    "path": pl.String,  # relative to root
    "split": pl.String,
    "width": pl.UInt32,  # as the label file states it, or null
    "height": pl.UInt32,
}
RAW_BOXES_SCHEMA: dict[str, Any] = {
    "path": pl.String,
    "class_id": pl.Float64,  # as read: 1.5 and -1 are possible here
    "x1": pl.Float64,  # corners in pixels, or in fractions of the picture where `fractions` is set
    "y1": pl.Float64,
    "x2": pl.Float64,
    "y2": pl.Float64,
    "crowd": pl.Boolean,
    "difficult": pl.Boolean,
    "source": pl.String,
}


@dataclass(frozen=True)
class RawDataset:
    """What a reader found: rows as they stand in the files.

    Args:
        names: class names.
        images: columns of `RAW_IMAGES_SCHEMA`.
        boxes: columns of `RAW_BOXES_SCHEMA`.
        root: folder that paths are relative to.
        fractions: box coordinates are fractions of the picture's size instead of pixels.
        refused: rows that could not even be parsed, each as "file:line: what, what to do".
        findings: what the reader itself noticed.
    """

    names: tuple[str, ...]
    images: pl.DataFrame
    boxes: pl.DataFrame
    root: Path
    fractions: bool = False
    refused: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
