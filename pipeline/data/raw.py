"""What a reader hands to the intake: rows as they stand in the files, each with its `file:line`.

A reader parses and judges nothing that another format could have as well. It has three ways to tell what it met: a row
that it could only read after mending its *form* (a decimal comma, a polygon) carries the ids in `notes` and its text in
`text`; a row that is no box at all goes to `rejected`; what concerns files or pictures as a whole is a finding. A
finding of severity error refuses the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    "notes": pl.String,  # ids of what the reader mended in the row's form, blanks between them; null for most rows
    "text": pl.String,  # the row as it stands in the file, where there are notes
}
LEDGER_SCHEMA: dict[str, Any] = {
    "id": pl.String,  # ids of all that happened to the row, blanks between them
    "source": pl.String,  # "file:line"
    "action": pl.String,  # repaired, dropped, refused
    "before": pl.String,
    "after": pl.String,
}
# At this share of all rows it is the files that are in another form, and no longer single rows that are spoiled.
MOST_ROWS = 0.5
ROWS_NAMED = 10  # rows or files that a finding names; the ledger has all of them


@dataclass(frozen=True)
class RawDataset:
    """What a reader found: rows as they stand in the files.

    Args:
        names: class names.
        images: columns of `RAW_IMAGES_SCHEMA`.
        boxes: columns of `RAW_BOXES_SCHEMA`; `notes` and `text` may be left out.
        root: folder that paths are relative to.
        fractions: box coordinates are fractions of the picture's size instead of pixels.
        rejected: columns of `LEDGER_SCHEMA`: rows that could not be read as a box, dropped or refused.
        findings: what the reader noticed about files and pictures; an error refuses the dataset.
        rows_read: rows met in the label files, counted where they are parsed and not from these tables, so that a row
            lost on the way shows: it must be `boxes.height + rejected.height`. None where nothing was counted.
    """

    names: tuple[str, ...]
    images: pl.DataFrame
    boxes: pl.DataFrame
    root: Path
    fractions: bool = False
    rejected: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LEDGER_SCHEMA))
    findings: tuple[Finding, ...] = ()
    rows_read: int | None = None


def raw_boxes(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> pl.DataFrame:
    """Return raw rows as a table of `RAW_BOXES_SCHEMA`; columns left out are false or null.

    Args:
        rows: records, or whole columns by name (much faster for many rows).
    """
    table = pl.DataFrame(rows, schema_overrides=RAW_BOXES_SCHEMA, infer_schema_length=None) if rows else pl.DataFrame()
    missing = {name: False if name in ("crowd", "difficult") else None for name in RAW_BOXES_SCHEMA}
    table = (
        table.with_columns(
            **{
                name: pl.lit(value, RAW_BOXES_SCHEMA[name])
                for name, value in missing.items()
                if name not in table.columns
            }
        )
        if table.width
        else pl.DataFrame(schema=RAW_BOXES_SCHEMA)
    )
    return table.select(pl.col(name).cast(dtype) for name, dtype in RAW_BOXES_SCHEMA.items())


def rejected_rows(rows: Sequence[tuple[str, str, str, str]]) -> pl.DataFrame:
    """Return rows that are no box as a table of `LEDGER_SCHEMA`.

    Args:
        rows: (id, source, action, text of the row); the action is `dropped` or `refused`.
    """
    columns = ("id", "source", "action", "before")
    table = pl.DataFrame(list(rows), schema=dict.fromkeys(columns, pl.String), orient="row")
    return table.with_columns(after=pl.lit("")).select(list(LEDGER_SCHEMA))
