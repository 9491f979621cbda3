"""Splits: take a validation part from train without separating pictures that belong together."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

import polars as pl

from ..errors import DataError
from ..findings import Finding
from .dataset import Dataset


def with_groups(dataset: Dataset, group: str) -> Dataset:
    """Fill the column `group`.

    Args:
        dataset: any dataset.
        group: `none`; `folder` (pictures of one folder belong together); or a regular expression whose first group,
            searched for in the picture's relative path, is the key.

    Raises:
        DataError: the expression matches no picture at all.
    """
    if group == "none":
        return dataset
    paths = dataset.images["path"].to_list()
    if group == "folder":
        keys: list[str | None] = [PurePosixPath(path).parent.as_posix() for path in paths]
    else:
        pattern = re.compile(group)
        keys = [match.group(1) if (match := pattern.search(path)) else None for path in paths]
        if not any(keys):
            raise DataError(f"data.group: the expression '{group}' matches no picture, for instance not '{paths[0]}'")
    images = dataset.images.with_columns(group=pl.Series(keys, dtype=pl.String))
    return Dataset(dataset.names, images, dataset.boxes, dataset.root)


def with_validation(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, list[Finding]]:
    """Take part of train for validation where the data brings none; whole groups go together.

    Args:
        dataset: its column `group` says what belongs together; a picture without a group stands alone.
        fraction: share of the train pictures wanted for val.
        seed: another seed takes another part; the same one always the same.

    Raises:
        DataError: there is no train split, or it cannot be divided.
    """
    if "train" not in dataset.splits:
        raise DataError(f"{dataset.root}: no picture is in the split 'train' (there is {', '.join(dataset.splits)})")
    findings = _groups_across(dataset)
    if "val" in dataset.splits:
        return dataset, [*findings, *_missing_classes(dataset)]
    key = pl.coalesce("group", "path")
    train = dataset.images.filter(pl.col("split") == "train")
    sizes = {str(name): int(count) for name, count in train.group_by(key.alias("key")).len().iter_rows()}
    chosen = _choose(sizes, fraction * train.height, seed)
    if not chosen or len(chosen) == len(sizes):
        raise DataError(
            f"{dataset.root}: no validation split, and train ({train.height} pictures in {len(sizes)} groups) cannot "
            f"be divided at val_fraction={fraction:g}; give a val split, another data.val_fraction, "
            "or data.group=none if no pictures belong together"
        )
    to_val = (pl.col("split") == "train") & key.is_in(list(chosen))
    images = dataset.images.with_columns(split=pl.when(to_val).then(pl.lit("val")).otherwise(pl.col("split")))
    taken = sum(sizes[name] for name in chosen)
    groups = f" ({len(chosen)} of {len(sizes)} groups)" if len(sizes) < train.height else ""
    message = f"the data has no validation split: {taken} of {train.height} train pictures{groups} were taken for it"
    evidence = {"pictures": taken, "groups": sorted(chosen)[:20], "seed": seed}
    findings.append(Finding("split.val_from_train", "info", message, evidence))
    divided = Dataset(dataset.names, images, dataset.boxes, dataset.root)
    return divided, [*findings, *_missing_classes(divided)]


def _choose(sizes: dict[str, int], target: float, seed: int) -> set[str]:
    """Add groups in a seeded order as long as each one brings the number of pictures nearer to the target."""

    def order(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:{name}".encode()).digest()

    chosen: set[str] = set()
    taken = 0
    for name in sorted(sizes, key=order):
        if abs(taken + sizes[name] - target) < abs(taken - target):
            chosen.add(name)
            taken += sizes[name]
    return chosen


def _groups_across(dataset: Dataset) -> list[Finding]:
    spread = dataset.images.drop_nulls("group").group_by("group").agg(pl.col("split").drop_nulls().unique())
    across = sorted(str(name) for name, splits in spread.iter_rows() if len(splits) > 1)
    if not across:
        return []
    message = f"{len(across)} of {spread.height} groups stand in more than one split; the score will flatter"
    advice = "split by group if new pictures will come from new groups (boards, fields)"
    return [Finding("split.group_in_two_splits", "warning", message, {"groups": across[:20]}, advice)]


def _missing_classes(dataset: Dataset) -> list[Finding]:
    present = set(dataset.split("val").boxes.filter(~pl.col("crowd"))["class_id"])
    absent = [name for index, name in enumerate(dataset.names) if index not in present]
    if not absent:
        return []
    message = (
        f"the validation split has no box of {', '.join(absent)}; their quality does not count in choosing weights"
    )
    advice = "another data.seed, a larger data.val_fraction, or more pictures of them"
    return [Finding("split.class_missing_in_val", "warning", message, {"classes": absent}, advice)]
