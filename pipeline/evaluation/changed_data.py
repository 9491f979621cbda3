"""Is the data still what the run was trained on? Pictures by their content, labels, class names, splits."""

from __future__ import annotations

from typing import Any

import polars as pl

from ..config import Config
from ..data.dataset import Dataset
from ..data.digests import picture_digests
from ..data.intake import read
from ..data.raw import ROWS_NAMED
from ..errors import TuneUpError
from ..findings import Finding
from ..runs import Run


def changed_data(run: Run, part: Dataset, config: Config) -> list[Finding]:
    """Return findings about data on disk that is no longer what the run was trained on.

    Args:
        run: keeps the tables and the digests of the pictures.
        part: the split that is evaluated.
        config: its section `data` says where the data is and how it was read.
    """
    findings = changed_pictures(run, part)
    if config.data.path is None:
        return findings
    try:
        there = read(config.data).dataset
    except TuneUpError as error:
        message = "the data on disk cannot be compared with that of the run, whose labels were used"
        reason = {"reason": str(error).splitlines()[0]}
        return [*findings, Finding("evaluation.labels_unknown", "info", message, reason)]
    moved = changed_set(run.dataset(), there, own_splits=config.data.splits == "keep")
    return [*findings, *changed_labels(part, there), *moved]


def changed_pictures(run: Run, part: Dataset) -> list[Finding]:
    """Return a finding when pictures are not the files that they were when the run kept its data."""
    known = run.picture_digests()
    if known.is_empty():
        return []
    now_there = part.images.select("path").with_columns(
        now=pl.Series(picture_digests([part.picture_path(path) for path in part.images["path"]]), dtype=pl.String)
    )
    changed = now_there.join(known, on="path").filter(pl.col("now") != pl.col("digest"))["path"].to_list()
    if not changed:
        return []
    message = f"{len(changed)} of {part.images.height} pictures have changed since the run was started"
    evidence = {"pictures": changed[:10], "count": len(changed)}
    advice = "a figure on them is not comparable with earlier ones; restore the pictures, or train and evaluate anew"
    return [Finding("evaluation.pictures_changed", "warning", message, evidence, advice)]


def changed_labels(part: Dataset, there: Dataset) -> list[Finding]:
    """Return a finding when the labels on disk are not those that the run keeps, which are the ones evaluated."""
    changed = differing_labels(part, there)
    if not changed:
        return []
    message = (
        f"the labels of {len(changed)} of {part.images.height} pictures have changed on disk; the run's own were used"
    )
    evidence = {"pictures": changed[:10], "count": len(changed)}
    advice = "to measure with the new labels: tuneup eval RUN/weights/best.pt data=FOLDER"
    return [Finding("evaluation.labels_changed", "warning", message, evidence, advice)]


def changed_set(kept: Dataset, there: Dataset, *, own_splits: bool) -> list[Finding]:
    """Return a finding when class names, the list of pictures or their splits are others than at training.

    Args:
        kept: what the run was trained on, all splits.
        there: what is on disk now.
        own_splits: the run took the splits of the source, but for a val part that it may have taken from train.
    """
    parts, evidence = [], {}
    if kept.names != there.names:
        parts.append(f"the class names are {', '.join(there.names)} instead of {', '.join(kept.names)}")
        evidence["names"] = list(there.names)
    both = kept.images.select("path", "split").join(
        there.images.select("path", now="split"), on="path", how="full", coalesce=True
    )
    from_train = (pl.col("split") == "val") & (pl.col("now") == "train")
    columns = {
        "new": pl.col("split").is_null() & ~pl.col("path").is_in(kept.images["path"].implode()),
        "gone": ~pl.col("path").is_in(there.images["path"].implode()),
        "in another split": (pl.col("split") != pl.col("now")) & ~from_train & own_splits,
    }
    for word, holds in columns.items():
        paths = both.filter(holds)["path"].sort()
        if paths.len():
            parts.append(f"{paths.len()} pictures are {word}")
            evidence[word.replace(" ", "_")] = paths.head(ROWS_NAMED).to_list()
    if not parts:
        return []
    message = f"the data on disk is no longer that of the run: {'; '.join(parts)}"
    advice = "train again to use it as it is now; figures of this run stay those of the data it was trained on"
    return [Finding("evaluation.data_changed", "info", message, evidence, advice)]


def differing_labels(part: Dataset, there: Dataset) -> list[str]:
    """Return the pictures of `part` whose boxes differ; pictures that are gone count as well."""
    ours, theirs = (_boxes_by_path(dataset) for dataset in (part, there))
    paths = set(there.images["path"])
    return sorted(path for path in part.images["path"] if path not in paths or ours.get(path) != theirs.get(path))


def _boxes_by_path(dataset: Dataset) -> dict[str, list[tuple[Any, ...]]]:
    names = dict(enumerate(dataset.names))
    rows = dataset.boxes.join(dataset.images.select("image_id", "path"), on="image_id")
    columns = rows.select("path", "class_id", "x1", "y1", "x2", "y2", "crowd", "difficult")
    found: dict[str, list[tuple[Any, ...]]] = {}
    for path, class_id, *corners, crowd, difficult in columns.iter_rows():
        box = (names[class_id], *(round(v, 3) for v in corners), crowd, difficult)
        found.setdefault(path, []).append(box)
    return {path: sorted(boxes) for path, boxes in found.items()}
