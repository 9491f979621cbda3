"""Annotations of COCO files joined with the pictures and categories that their ids name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ...findings import Finding
from ..raw import MOST_ROWS, ROWS_NAMED, raw_boxes
from .coco_pictures import FilePictures
from .coco_rows import AnnotationColumns
from .label_text import shown

_NOT_PARSED = "labels.not_parsed"


@dataclass(frozen=True)
class JoinedRows:
    """The rows of one file.

    Args:
        source: the file.
        count: annotations in it.
        boxes: columns of `RAW_BOXES_SCHEMA`.
        rejected: rows for `rejected_rows`.
        unknown: (category id, source) of those without a class.
        as_text: sources of those whose ids were compared as text.
    """

    source: str
    count: int
    boxes: pl.DataFrame
    rejected: list[tuple[str, str, str, str]]
    unknown: list[tuple[str, str]]
    as_text: list[str]


def join_rows(
    source: str, annotations: AnnotationColumns, pictures: FilePictures, classes: Mapping[Any, int]
) -> JoinedRows:
    """Look up the pictures and classes of one file's annotations.

    Args:
        source: the file, as messages name it.
        annotations: of the file.
        pictures: of the file.
        classes: class index by category id.
    """
    prefix = f"{source}:annotation "
    rejected = [(_NOT_PARSED, prefix + label, "dropped", text) for label, text in annotations.rejected]
    table = annotations.table().with_columns(source=pl.lit(prefix) + pl.col("label"), as_text=pl.lit(False))
    table, strangers = _looked_up(table, "image", annotations.image_ids, pictures.index)
    for key, row in strangers:
        rejected.append((_NOT_PARSED, row, "dropped", f"image_id {key} is no picture of this file"))
    table, unknown = _looked_up(table, "category", annotations.category_ids, classes)
    for key, row in unknown:
        rejected.append(("labels.class_out_of_range", row, "refused", f"category_id {key} is no category of this file"))
    columns = {
        "path": pl.Series(pictures.paths, dtype=pl.String).gather(table["image"]),
        "class_id": table["category"],
        **{key: table[key] for key in ("x1", "y1", "x2", "y2", "crowd", "difficult", "source", "notes", "text")},
    }
    as_text = table.filter("as_text")["source"].to_list()
    return JoinedRows(source, annotations.count, raw_boxes(columns), rejected, unknown, as_text)


def _looked_up(
    table: pl.DataFrame, column: str, codes: Mapping[Any, int], index: Mapping[Any, int]
) -> tuple[pl.DataFrame, list[tuple[str, str]]]:
    """Put what an index says of each id in the column of its code; return (id, source) of rows that it does not know.

    Args:
        table: has the columns `column`, `source` and `as_text`, which becomes true where only the texts are equal.
        column: codes of the ids.
        codes: code of each id.
        index: what to put there, by id.
    """
    place = np.array([index.get(key, -1) for key in codes], np.int32)
    keys = list(codes)
    told = np.zeros(len(keys), np.bool_)
    if (place < 0).any():
        # A number and its text are one id to the tools that write one for the other. Where a list has both, each
        # annotation finds its own, and never gets here.
        by_text = {str(key): number for key, number in index.items() if type(key) in (int, str)}
        for code in np.flatnonzero(place < 0).tolist():
            if type(keys[code]) in (int, str) and (number := by_text.get(str(keys[code]))) is not None:
                place[code], told[code] = number, True
    found = table.with_columns(
        pl.Series(place).gather(table[column]).alias("place"),
        as_text=pl.col("as_text") | pl.Series(told, dtype=pl.Boolean).gather(table[column]),
    )
    strange = found.filter(pl.col("place") < 0)
    strangers = [(shown(keys[code]), source) for code, source in strange.select(column, "source").iter_rows()]
    known = found.filter(pl.col("place") >= 0) if strangers else found
    return known.with_columns(pl.col("place").alias(column)), strangers


def join_findings(parts: Sequence[JoinedRows], names: Sequence[str]) -> list[Finding]:
    """Say which ids do not fit, and which files are of another form.

    Args:
        parts: the rows of each file.
        names: the classes.
    """
    return [*_unknown_classes(parts, names), *_other_form(parts), *_as_text(parts)]


def _unknown_classes(parts: Sequence[JoinedRows], names: Sequence[str]) -> list[Finding]:
    unknown = [one for part in parts for one in part.unknown]
    if not unknown:
        return []
    counts: dict[str, int] = {}
    for key, _ in unknown:
        counts[key] = counts.get(key, 0) + 1
    files = sum(bool(part.unknown) for part in parts)
    named = ", ".join(f"category {key} in {count}" for key, count in list(counts.items())[:ROWS_NAMED])
    message = f"{named} annotations of {files} files, which have no such category in their list"
    sources = [source for _, source in unknown[:ROWS_NAMED]]
    evidence = {"count": len(unknown), "rows": sources, "classes": list(counts)[:ROWS_NAMED]}
    advice = f"add it to the list `categories` ({', '.join(names[:ROWS_NAMED])}), or remove these annotations"
    return [Finding("labels.class_out_of_range", "error", message, evidence, advice)]


def _other_form(parts: Sequence[JoinedRows]) -> list[Finding]:
    """Return an error where at least half of a file's annotations are no boxes: it is the file, not single rows."""
    findings = []
    for part in parts:
        rows = [(source, text) for key, source, _, text in part.rejected if key == _NOT_PARSED]
        if rows and len(rows) >= MOST_ROWS * part.count:
            message = f"{part.source}: {len(rows)} of {part.count} annotations cannot be used, such as '{rows[0][1]}'"
            evidence = {"count": len(rows), "rows": [source for source, _ in rows[:ROWS_NAMED]]}
            advice = (
                "export the file again as COCO detection, with the list of its pictures and a box in each annotation"
            )
            findings.append(Finding(_NOT_PARSED, "error", message, evidence, advice))
    return findings


def _as_text(parts: Sequence[JoinedRows]) -> list[Finding]:
    rows = [source for part in parts for source in part.as_text]
    if not rows:
        return []
    message = (
        f"{len(rows)} annotations have an id as text where the list has a number, or the other way round; "
        "they were compared as text"
    )
    evidence = {"count": len(rows), "rows": rows[:ROWS_NAMED]}
    return [Finding("labels.ids_as_text", "info", message, evidence, "write ids as numbers for other programs")]
