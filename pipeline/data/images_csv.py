"""images.csv: what a dataset's source says about its pictures beyond the labels, such as what belongs together.

The writers of this program put it beside the labels when pictures have groups; a person may write one by hand. The
column `path` is relative to the dataset's root, the others are free; the column `group` is read by itself.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ..errors import DataError
from ..findings import Finding
from .raw import ROWS_NAMED

NAME = "images.csv"


def read_images_csv(root: Path) -> pl.DataFrame | None:
    """Return the columns of a dataset's images.csv as text, or None where there is none.

    Raises:
        DataError: it cannot be read, has no column `path`, or names a picture twice.
    """
    file = root / NAME
    if not file.is_file():
        return None
    try:
        table = pl.read_csv(file, infer_schema=False, encoding="utf8")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{file}: not a table that can be read ({str(error).splitlines()[0]})") from error
    if "path" not in table.columns:
        raise DataError(f"{file}: the column `path` is missing; found {', '.join(table.columns)}")
    twice = table.filter(pl.col("path").is_duplicated())["path"].unique(maintain_order=True).head(3).to_list()
    if twice:
        raise DataError(f"{file}: names a picture more than once: {', '.join(map(str, twice))}")
    return table


def values_of(table: pl.DataFrame, images: pl.DataFrame, column: str) -> tuple[pl.Series, list[Finding]]:
    """Return a column's value for each picture, null where there is none, and what does not match.

    Args:
        table: of `read_images_csv`.
        images: has the column `path`.
        column: of the table.
    """
    listed = table.select("path", key=pl.col(column).str.strip_chars().replace("", None))
    joined = images.select("path").join(listed, on="path", how="left", maintain_order="left")
    unknown = listed.join(joined, on="path", how="anti")["path"].drop_nulls()
    findings = []
    if unknown.len():
        message = f"{unknown.len()} paths in {NAME} belong to no picture of the dataset"
        advice = "check their spelling; paths are relative to the folder of the file, with forward slashes"
        evidence = {"count": unknown.len(), "files": unknown.head(ROWS_NAMED).to_list()}
        findings.append(Finding("split.group_unknown_path", "warning", message, evidence, advice))
    return joined["key"], findings


def groups_of(root: Path, images: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Fill the column `group` from images.csv, where there is one that has it; a picture without one stands alone.

    Raises:
        DataError: as `read_images_csv`.
    """
    table = read_images_csv(root)
    if table is None or "group" not in table.columns:
        return images, []
    keys, findings = values_of(table, images, "group")
    filled = images.with_columns(group=keys.alias("group"))
    alone = filled.filter(pl.col("group").is_null())["path"]
    groups = keys.drop_nulls().n_unique()
    if not groups:
        return filled, findings
    evidence = {"groups": groups, "count": alone.len(), "pictures": alone.head(ROWS_NAMED).to_list()}
    rest = f"; {alone.len()} pictures stand in none" if alone.len() else ""
    message = f"{NAME} puts the pictures into {groups} groups that are never separated{rest}"
    return filled, [Finding("images.groups", "info", message, evidence), *findings]
