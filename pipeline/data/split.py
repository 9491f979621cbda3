"""Splits: whole groups go to train, val and test so that each class has its share everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import DataError
from ..findings import Finding
from ..sections import DataConfig
from .dataset import SPLITS, Dataset
from .groups import fill_groups
from .raw import ROWS_NAMED
from .split_findings import division_findings
from .split_findings import split_table as split_table
from .stratify import stratify

_KEY = pl.coalesce("group", "path").alias("key")  # a picture without a group stands alone
# A group with at least twice the pictures wanted for a split leaves the split's size farther off than an empty one.
_TOO_LARGE = 2.0


def prepare_splits(dataset: Dataset, settings: DataConfig) -> tuple[Dataset, list[Finding]]:
    """Return the dataset with groups and with a train and a val split, and what is to be said about them.

    Args:
        dataset: as the intake returns it.
        settings: `group` says what belongs together. `splits`: `keep` the source's (pictures in none are used for
            training), `repair` them where groups cross them, or make `new` ones. `val_fraction` and `test_fraction`
            are shares of pictures; under `keep` and `repair` val is only taken, from train, where there is none.

    Raises:
        DataError: it cannot be divided like this, or the groups cannot be found.
    """
    dataset, findings = fill_groups(dataset, settings.group)
    if settings.splits == "new":
        dataset, more = _divided_anew(dataset, settings)
        findings += more
    else:
        dataset, more = _rest_to_train(dataset)
        findings += more
        if "train" not in dataset.splits:
            known = ", ".join(dataset.splits) or "none"
            raise DataError(f"{dataset.root}: no picture is in the split 'train' (there is {known})")
        if settings.splits == "repair":
            dataset, more = _repaired(dataset, settings.seed)
            findings += more
        if "val" not in dataset.splits:
            dataset, more = _val_from_train(dataset, settings)
            findings += more
    return dataset, [*findings, *division_findings(dataset)]


# ---- the three ways --------------------------------------------------------------------------------------------------


def _rest_to_train(dataset: Dataset) -> tuple[Dataset, list[Finding]]:
    rest = dataset.images.filter(pl.col("split").is_null())["path"]
    if rest.is_empty():
        return dataset, []
    findings = []
    if dataset.splits:
        message = f"{rest.len()} pictures are in no split of the data; they are used for training"
        evidence = {"count": rest.len(), "pictures": rest.head(ROWS_NAMED).to_list()}
        findings.append(Finding("split.rest_to_train", "info", message, evidence))
    return replace(dataset, images=dataset.images.with_columns(pl.col("split").fill_null("train"))), findings


def _val_from_train(dataset: Dataset, settings: DataConfig) -> tuple[Dataset, list[Finding]]:
    """Take part of train for val."""
    train = dataset.split("train")
    parts = _Parts.of(train)
    fractions = np.array([1 - settings.val_fraction, settings.val_fraction])
    place = _by_fraction(parts, fractions, settings.seed)
    if place is None:
        raise DataError(
            f"{dataset.root}: no validation split, and train ({train.images.height} pictures in {len(parts.keys)} "
            f"groups) cannot be divided at val_fraction={settings.val_fraction:g}; give a val split, another "
            "data.val_fraction, or data.group=none if no pictures belong together"
        )
    divided = _with_splits(dataset, parts, [("train", "val")[index] for index in place], only="train")
    chosen = parts.keys.filter(pl.Series(place == 1))
    taken = int(parts.pictures[place == 1].sum())
    groups = f" ({chosen.len()} of {parts.keys.len()} groups)" if parts.keys.len() < train.images.height else ""
    missed = _missed([taken / train.images.height], [settings.val_fraction], ["val"])
    message = (
        f"the data has no validation split: {taken} of {train.images.height} train pictures{groups} were taken for "
        f"it{missed}"
    )
    evidence = {
        "count": taken,
        "share": round(taken / train.images.height, 4),
        "wanted": settings.val_fraction,
        "groups": chosen.head(ROWS_NAMED).to_list(),
        "seed": settings.seed,
    }
    return divided, [Finding("split.val_from_train", "info", message, evidence)]


def _repaired(dataset: Dataset, seed: int) -> tuple[Dataset, list[Finding]]:
    """Put every group that crosses splits into one that it is in, near the sizes and class shares of the source."""
    parts = _Parts.of(dataset)
    before = [dataset.split(name) for name in dataset.splits]
    inside = np.stack([parts.pictures_of(part) for part in before], axis=1)  # [groups, splits] pictures
    crossing = (inside > 0).sum(axis=1) > 1
    if not crossing.any():
        return dataset, []
    counts = np.stack([parts.totals_of(part) for part in before])  # [splits, columns]
    wanted = counts / np.maximum(counts.sum(axis=0), 1)
    largest = inside == inside.max(axis=1, keepdims=True)
    fits = parts.pictures[:, None] < _TOO_LARGE * inside.sum(axis=0)
    place = stratify(parts.counts, wanted, seed, (inside > 0) & (fits | largest))
    divided = _with_splits(dataset, parts, [dataset.splits[index] for index in place])
    lost = [name for name in dataset.splits if name not in divided.splits and name != "val"]
    if lost:
        raise DataError(
            f"{dataset.root}: data.splits=repair would leave no picture in {lost[0]}, because its groups are for the "
            "most part in other splits; data.splits=new divides all pictures anew"
        )
    moves = (
        dataset.images.select("path", "split")
        .with_columns(to=divided.images["split"])
        .filter(pl.col("split") != pl.col("to"))
    )
    steps = moves.group_by("split", "to").len("count").sort("split", "to").rows()
    words = ", ".join(f"{count} from {source} to {target}" for source, target, count in steps)
    message = f"{int(crossing.sum())} groups stood in more than one split; {moves.height} pictures were moved: {words}"
    evidence = {
        "count": moves.height,
        "moved": {f"{source} to {target}": count for source, target, count in steps},
        "groups": parts.keys.filter(pl.Series(crossing)).head(ROWS_NAMED).to_list(),
        "pictures": moves["path"].head(ROWS_NAMED).to_list(),
        "before": _sizes(dataset),
        "after": _sizes(divided),
    }
    return divided, [Finding("split.repaired", "info", message, evidence)]


def _divided_anew(dataset: Dataset, settings: DataConfig) -> tuple[Dataset, list[Finding]]:
    """Divide all pictures, whatever split they were in."""
    parts, total = _Parts.of(dataset), dataset.images.height
    own_share = dataset.images.filter(pl.col("split") == "test").height / total
    test = own_share if settings.test_fraction is None else settings.test_fraction
    names = SPLITS if test else SPLITS[:2]
    fractions = np.array([1 - settings.val_fraction - test, settings.val_fraction, test])[: len(names)]
    place = None if fractions.min() <= 0 else _by_fraction(parts, fractions, settings.seed)
    if place is None:
        raise DataError(
            f"{dataset.root}: {total} pictures in {len(parts.keys)} groups cannot be divided into {', '.join(names)} "
            f"at val_fraction={settings.val_fraction:g} and test_fraction={test:g}; give other "
            "fractions, or data.group=none if no pictures belong together"
        )
    divided = _with_splits(dataset, parts, [names[index] for index in place])
    sizes = _sizes(divided)
    groups = f" ({len(parts.keys)} groups)" if len(parts.keys) < total else ""
    words = ", ".join(f"{count} {name}" for name, count in sizes.items())
    missed = _missed([sizes[name] / total for name in names[1:]], fractions[1:].tolist(), names[1:])
    message = f"all {total} pictures{groups} were divided anew: {words}{missed}"
    if dataset.splits:
        own = ", ".join(f"{count} {name}" for name, count in _sizes(dataset).items())
        message += f"; the data's own splits were not used ({own})"
    evidence = {"count": total, "before": _sizes(dataset), "after": sizes, "seed": settings.seed}
    return divided, [Finding("split.new", "info", message, evidence)]


def _sizes(dataset: Dataset) -> dict[str, int]:
    return {name: int(numbers["images"]) for name, numbers in dataset.counts().items()}


def _missed(shares: Sequence[float], wanted: Sequence[float], names: Sequence[str]) -> str:
    """Return words for splits whose share, in whole percent, is not the wanted one."""
    off = [
        f"{name} has {share:.0%} of the pictures instead of {target:.0%}"
        for share, target, name in zip(shares, wanted, names, strict=True)
        if f"{share:.0%}" != f"{target:.0%}"
    ]
    return f"; {', '.join(off)}, since groups stay whole" if off else ""


# ---- groups and what they hold ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """The groups of a dataset, single pictures among them, in the order of their names.

    Args:
        keys: [G] names.
        counts: [G, C + 2] boxes of each class, pictures, pictures without boxes; crowds are no boxes.
        classes: C.
    """

    keys: pl.Series
    counts: NDArray[np.float64]
    classes: int

    @classmethod
    def of(cls, dataset: Dataset) -> _Parts:
        keys = dataset.images.select(_KEY).to_series().unique().sort()
        empty = cls(keys, np.zeros((keys.len(), 0)), len(dataset.names))
        return replace(empty, counts=empty.counts_of(dataset))

    @property
    def pictures(self) -> NDArray[np.float64]:
        """Return the number of pictures in each group [G]."""
        return self.counts[:, self.classes]

    def counts_of(self, dataset: Dataset) -> NDArray[np.float64]:
        """Return what each group has in a part of the dataset, as `counts`."""
        number = pl.DataFrame({"key": self.keys}).with_row_index("number")
        images = dataset.images.select("image_id", _KEY).join(number, on="key")
        boxes = dataset.boxes.filter(~pl.col("crowd")).select("image_id", "class_id").join(images, on="image_id")
        alone = images.join(boxes, on="image_id", how="anti")
        groups, width = self.keys.len(), self.classes + 2
        cells = [
            boxes["number"].to_numpy().astype(np.int64) * width + boxes["class_id"].to_numpy(),
            images["number"].to_numpy().astype(np.int64) * width + self.classes,
            alone["number"].to_numpy().astype(np.int64) * width + self.classes + 1,
        ]
        counted = np.bincount(np.concatenate(cells), minlength=groups * width)
        return counted.reshape(groups, width).astype(np.float64)

    def pictures_of(self, dataset: Dataset) -> NDArray[np.float64]:
        """Return the number of pictures that each group has in a part of the dataset [G]."""
        return self.counts_of(dataset)[:, self.classes]

    def totals_of(self, dataset: Dataset) -> NDArray[np.float64]:
        """Return what a part of the dataset has of each column [C + 2]."""
        totals: NDArray[np.float64] = self.counts_of(dataset).sum(axis=0)
        return totals


def _by_fraction(parts: _Parts, fractions: NDArray[np.float64], seed: int) -> NDArray[np.intp] | None:
    """Return the split of every group, train first, or None if a split would stay empty."""
    allowed = parts.pictures[:, None] < _TOO_LARGE * fractions * parts.pictures.sum()
    allowed[:, 0] = True
    wanted = np.repeat(fractions[:, None], parts.counts.shape[1], axis=1)
    place = stratify(parts.counts, wanted, seed, allowed)
    return place if len(np.unique(place)) == len(fractions) else None


def _with_splits(dataset: Dataset, parts: _Parts, splits: Sequence[str], only: str | None = None) -> Dataset:
    """Return the dataset with the split of each group; `only`: just pictures of this split change theirs."""
    given = pl.DataFrame({"key": parts.keys, "given": splits}, schema={"key": pl.String, "given": pl.String})
    changes = pl.lit(True) if only is None else pl.col("split") == only
    images = (
        dataset.images.with_columns(_KEY)
        .join(given, on="key", how="left", maintain_order="left")
        .with_columns(split=pl.when(changes).then(pl.col("given")).otherwise(pl.col("split")))
        .select(dataset.images.columns)
    )
    return replace(dataset, images=images)
