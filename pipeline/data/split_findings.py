"""What there is to say about a dataset's splits: the table of shares, and what is not as it should be."""

from __future__ import annotations

from typing import Any

import polars as pl

from ..findings import Finding
from .dataset import Dataset
from .raw import ROWS_NAMED

_EVEN = 1.0  # points; what is divided this evenly is not worth a word
_FOLDERS = 3  # fewer folders are not boards or fields but the way in which the data is stored
_WHOLE = {"val": "validation", "test": "test"}
_COST = {
    "val": "their quality does not count in choosing weights",
    "test": "nothing tells how well they are found on new pictures",
}


def split_table(dataset: Dataset) -> pl.DataFrame:
    """Return how classes and pictures are divided: a row for each class, the last one for pictures.

    Ideal is a class whose boxes are spread like the pictures. Columns: `class`, and for each split that has pictures
    `SPLIT_boxes` (crowds left out; in the last row pictures), `SPLIT_share` of all boxes of the class in a split,
    `SPLIT_wanted` (the split's share of the pictures) and `SPLIT_deviation` (share minus wanted, in points of a
    hundred). A class without a box has neither share nor deviation. Pictures in no split are not counted.
    """
    splits = list(dataset.splits)
    images = dataset.images.select("image_id", "split").drop_nulls()
    boxes = dataset.boxes.filter(~pl.col("crowd")).select("image_id", "class_id").join(images, on="image_id")
    per_class = boxes.group_by("class_id", "split").len("boxes")
    classes = pl.DataFrame({"class": list(dataset.names)}, schema={"class": pl.String}).with_row_index("class_id")
    table = classes.with_columns(pl.col("class_id").cast(pl.UInt16))
    for split in splits:
        found = per_class.filter(pl.col("split") == split).select("class_id", pl.col("boxes").alias(f"{split}_boxes"))
        table = table.join(found, on="class_id", how="left", maintain_order="left")
    pictures = {f"{split}_boxes": images.filter(pl.col("split") == split).height for split in splits}
    last = pl.DataFrame({"class": ["pictures"], **{name: [count] for name, count in pictures.items()}})
    counted = [pl.col(f"{split}_boxes").fill_null(0).cast(pl.Int64) for split in splits]
    table = pl.concat([table.drop("class_id"), last], how="diagonal_relaxed").with_columns(counted)
    total = pl.sum_horizontal(pl.col(f"{split}_boxes") for split in splits) if splits else pl.lit(0)
    columns: list[pl.Expr] = [pl.col("class")]
    for split in splits:
        wanted = pictures[f"{split}_boxes"] / images.height
        share = pl.when(total > 0).then(pl.col(f"{split}_boxes") / total)
        columns += [
            pl.col(f"{split}_boxes"),
            share.alias(f"{split}_share"),
            pl.lit(wanted).alias(f"{split}_wanted"),
            (100 * (share - wanted)).alias(f"{split}_deviation"),
        ]
    return table.select(columns)


def division_findings(dataset: Dataset) -> list[Finding]:
    """Return what is to be said of a dataset with splits: groups that cross them, uneven and missing classes."""
    across = _groups_across(dataset) or _folders_across(dataset)
    return [*across, *_largest_deviation(dataset), *_missing_classes(dataset)]


def _groups_across(dataset: Dataset) -> list[Finding]:
    spread = dataset.images.drop_nulls("group").group_by("group").agg(pl.col("split").drop_nulls().n_unique())
    across = spread.filter(pl.col("split") > 1)["group"].sort()
    if across.is_empty():
        return []
    message = f"{across.len()} of {spread.height} groups stand in more than one split; the score will flatter"
    advice = (
        "if new pictures will come from new groups (boards, fields), data.splits=repair puts each group whole into one "
        "split, data.splits=new divides all anew"
    )
    evidence = {"count": across.len(), "groups": across.head(2 * ROWS_NAMED).to_list()}
    return [Finding("split.group_in_two_splits", "warning", message, evidence, advice)]


def _folders_across(dataset: Dataset) -> list[Finding]:
    """Look whether folders may be groups that nobody named: several folders of many pictures, some in two splits."""
    if dataset.images["group"].null_count() < dataset.images.height:
        return []
    folders = dataset.images.with_columns(folder=pl.col("path").str.replace(r"/?[^/]*$", ""))
    spread = folders.group_by("folder").agg(split=pl.col("split").drop_nulls().n_unique(), pictures=pl.len())
    across = spread.filter(pl.col("split") > 1)["folder"].sort()
    if spread.height < _FOLDERS or across.is_empty() or spread.height > dataset.images.height / 2:
        return []
    message = f"{across.len()} of {spread.height} folders have pictures in more than one split"
    advice = "if a folder stands for a board or a field, data.group=folder data.splits=repair keeps each in one split"
    evidence = {"count": across.len(), "folders": across.head(2 * ROWS_NAMED).to_list()}
    return [Finding("split.folder_in_two_splits", "info", message, evidence, advice)]


def _largest_deviation(dataset: Dataset) -> list[Finding]:
    classes = split_table(dataset)[:-1]
    cells = [
        (abs(row[f"{split}_deviation"] or 0.0), split, row) for row in classes.to_dicts() for split in dataset.splits
    ]
    if len(dataset.splits) < 2 or not cells:
        return []
    worst, split, row = max(cells, key=lambda cell: cell[0])
    boxes, total = row[f"{split}_boxes"], sum(row[f"{name}_boxes"] for name in dataset.splits)
    if not total or worst < _EVEN:
        return []
    message = (
        f"of all classes {row['class']} is divided least evenly: {split} has {row[f'{split}_wanted']:.1%} of the "
        f"pictures and {row[f'{split}_share']:.1%} of its boxes ({boxes} of {total})"
    )
    evidence = {
        "class": row["class"],
        "split": split,
        "boxes": boxes,
        "of": total,
        "share": round(row[f"{split}_share"], 4),
        "wanted": round(row[f"{split}_wanted"], 4),
        "points": round(row[f"{split}_deviation"], 2),
    }
    return [Finding("split.deviation", "info", message, evidence)]


def _missing_classes(dataset: Dataset) -> list[Finding]:
    """Find classes without a box in val or test; a crowd is none."""
    table = split_table(dataset)[:-1]
    findings: list[Finding] = []
    if dataset.boxes.filter(~pl.col("crowd")).is_empty():
        return findings  # that is another finding, and a worse one
    for split in dataset.splits:
        absent = table.filter(pl.col(f"{split}_boxes") == 0)["class"].to_list() if split in _WHOLE else []
        if not absent:
            continue
        groups = _groups_with(dataset, absent)
        message = f"the {_WHOLE[split]} split has no box of {', '.join(absent)}; {_COST[split]}"
        few = {name: count for name, count in groups.items() if count < len(dataset.splits)}
        if few:
            unit = "group" if dataset.images["group"].null_count() < dataset.images.height else "picture"
            words = ", ".join(f"{name} in {count} {unit}{'' if count == 1 else 's'}" for name, count in few.items())
            message += f". In fewer {unit}s than there are splits: {words}"
        advice = f"more pictures of them, or data.splits=new, perhaps with a larger data.{split}_fraction"
        evidence: dict[str, Any] = {"count": len(absent), "classes": absent, "groups": groups}
        findings.append(Finding(f"split.class_missing_in_{split}", "warning", message, evidence, advice))
    return findings


def _groups_with(dataset: Dataset, classes: list[str]) -> dict[str, int]:
    """Return in how many groups each class has a box; a picture without a group is one."""
    images = dataset.images.select("image_id", pl.coalesce("group", "path").alias("key"))
    boxes = dataset.boxes.filter(~pl.col("crowd")).join(images, on="image_id")
    found = dict(boxes.group_by("class_id").agg(pl.col("key").n_unique()).iter_rows())
    return {name: found.get(index, 0) for index, name in enumerate(dataset.names) if name in classes}
