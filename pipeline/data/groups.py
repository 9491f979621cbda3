"""What belongs together: filling the column `group`, which no split ever crosses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

import polars as pl

from ..errors import DataError
from ..findings import Finding
from .dataset import Dataset
from .images_csv import NAME, read_images_csv, values_of
from .raw import ROWS_NAMED

Keys = list[str | None]


def fill_groups(dataset: Dataset, group: str) -> tuple[Dataset, list[Finding]]:
    """Fill the column `group`.

    What the source brought in that column (the tiles of one picture, say) stays together: the rule only adds to it.
    Groups that share a picture become one, and so do groups of the same name.

    Args:
        dataset: any dataset.
        group: `none` (what the source brought); `folder` (pictures of one folder belong together); `duplicates`
            (pictures that look alike; all pictures are read for it); `column:NAME` (a column of images.csv); or a
            regular expression whose one group, searched for in the picture's relative path, is the key.

    Raises:
        DataError: the expression matches no picture, or the column cannot be found or names no picture.
    """
    if group == "none" or dataset.images.is_empty():
        return dataset, []
    findings: list[Finding] = []
    paths = dataset.images["path"].to_list()
    if group == "folder":
        keys: Keys = [PurePosixPath(path).parent.as_posix() for path in paths]
    elif group == "duplicates":
        keys, findings = _duplicate_keys(dataset)
    elif group.startswith("column:"):
        keys, findings = _column_keys(dataset, group.removeprefix("column:"))
    else:
        pattern = re.compile(group)
        keys = [match.group(1) if (match := pattern.search(path)) else None for path in paths]
        if not any(keys):
            raise DataError(f"data.group: the expression '{group}' matches no picture, for instance not '{paths[0]}'")
        findings = _not_matched(group, [path for path, key in zip(paths, keys, strict=True) if key is None], len(paths))
    joined = _joined(dataset.images["group"].to_list(), [key or None for key in keys])
    images = dataset.images.with_columns(group=pl.Series(joined, dtype=pl.String))
    return replace(dataset, images=images), findings


def _not_matched(expression: str, alone: list[str], total: int) -> list[Finding]:
    if not alone:
        return []
    message = f"data.group: '{expression}' does not match {len(alone)} of {total} pictures; each of them stands alone"
    advice = "widen the expression if they belong to others: alone they may go to any split"
    evidence = {"count": len(alone), "pictures": alone[:ROWS_NAMED]}
    return [Finding("split.group_no_match", "warning", message, evidence, advice)]


def _column_keys(dataset: Dataset, column: str) -> tuple[Keys, list[Finding]]:
    file = dataset.root / NAME
    table = read_images_csv(dataset.root)
    if table is None:
        raise DataError(
            f"data.group=column:{column}: {file} does not exist; it needs the columns path (relative to that folder) "
            f"and {column}"
        )
    if column not in table.columns or column == "path":
        found = ", ".join(name for name in table.columns if name != "path") or "none besides path"
        raise DataError(f"data.group=column:{column}: {file} has no such column (columns: {found})")
    keys, unknown = values_of(table, dataset.images, column)
    if keys.null_count() == keys.len():
        raise DataError(
            f"data.group=column:{column}: {file} gives no picture of the dataset a value; it names "
            f"{table['path'].head(1).to_list()}, the dataset has ['{dataset.images['path'][0]}']"
        )
    findings = []
    alone = dataset.images.filter(keys.is_null())["path"]
    if alone.len():
        message = f"{alone.len()} of {keys.len()} pictures have no value in the column {column} of {NAME}"
        advice = "each of them stands alone and may go to any split; give it a value if it belongs to others"
        evidence = {"count": alone.len(), "pictures": alone.head(ROWS_NAMED).to_list()}
        findings.append(Finding("split.group_not_listed", "warning", message, evidence, advice))
    return keys.to_list(), [*findings, *unknown]


def _duplicate_keys(dataset: Dataset) -> tuple[Keys, list[Finding]]:
    from .duplicates import cluster_keys, find_duplicates  # with OpenCV, which the other rules do not need
    from .picture_facts import picture_facts

    duplicates = find_duplicates(dataset, picture_facts(dataset))
    count = sum(map(len, duplicates.clusters))
    message = (
        f"{count} of {dataset.images.height} pictures look like another one; their {len(duplicates.clusters)} clusters "
        "are never separated"
    )
    evidence = {
        "count": count,
        "clusters": len(duplicates.clusters),
        "largest": max(map(len, duplicates.clusters), default=0),
        "pictures": [path for cluster in duplicates.clusters for path in cluster][:ROWS_NAMED],
    }
    return cluster_keys(dataset, duplicates), [Finding("split.grouped_by_looks", "info", message, evidence)]


def _joined(brought: Keys, added: Keys) -> Keys:
    """Return keys of the finest groups that neither of two groupings crosses; a joined group has its least name."""
    parent: dict[str, str] = {}
    for one, other in _distinct(zip(brought, added, strict=True)):
        a, b = _root(parent, one), _root(parent, other)
        parent[max(a, b)] = min(a, b)
    keys: Keys = [one if one is not None else other for one, other in zip(brought, added, strict=True)]
    return [None if key is None else _root(parent, key) for key in keys]


def _distinct(pairs: Iterable[tuple[str | None, str | None]]) -> Iterable[tuple[str, str]]:
    return dict.fromkeys((one, other) for one, other in pairs if one is not None and other is not None)


def _root(parent: dict[str, str], key: str) -> str:
    while (above := parent.setdefault(key, key)) != key:
        parent[key] = key = parent[above]
    return key
