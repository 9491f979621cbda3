"""Is the data still what the run was trained on? Pictures by their content, labels, class names, splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from ..config import Config
from ..data.dataset import Dataset
from ..data.digests import picture_digests
from ..data.images import listed
from ..data.intake import read
from ..data.raw import ROWS_NAMED
from ..errors import DataError, TuneUpError
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
        lines = [line.strip() for line in str(error).splitlines()][:2]
        message = f"the data on disk cannot be compared with that of the run, whose labels were used: {' '.join(lines)}"
        advice = "`tuneup audit` of the data says what is wrong with it now"
        return [*findings, Finding("evaluation.labels_unknown", "warning", message, {"reason": lines[0]}, advice)]
    kept = run.dataset()
    # A class that only has a new name has no new boxes.
    named = replace(there, names=kept.names) if len(there.names) == len(kept.names) else there
    labels = differing_labels(kept, named)
    return [*findings, *changed_labels(part, labels), *changed_set(kept, there, labels, config.data.splits == "keep")]


def refuse_missing(part: Dataset, split: str) -> None:
    """Make sure that the pictures that are to be evaluated are there.

    Raises:
        DataError: some are not; the message names them and says what to do.
    """
    gone = [str(place) for place in map(part.picture_path, part.images["path"]) if not place.is_file()]
    if gone:
        head = (
            f"{len(gone)} of the {part.images.height} pictures of '{split}' are gone since the run kept its data; "
            "restore them, or measure on what is there now: tuneup eval RUN/weights/best.pt data=FOLDER"
        )
        raise DataError(listed(head, gone))


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


def changed_labels(part: Dataset, changed: Sequence[str]) -> list[Finding]:
    """Return a finding when labels of the evaluated split are not those that the run keeps, which are the ones used.

    Args:
        part: the split.
        changed: pictures of all splits whose labels differ; see `differing_labels`.
    """
    own = sorted(set(changed) & set(part.images["path"]))
    if not own:
        return []
    message = f"the labels of {len(own)} of {part.images.height} pictures have changed on disk; the run's own were used"
    evidence = {"pictures": own[:ROWS_NAMED], "count": len(own)}
    advice = "to measure with the new labels: tuneup eval RUN/weights/best.pt data=FOLDER"
    return [Finding("evaluation.labels_changed", "warning", message, evidence, advice)]


def changed_set(kept: Dataset, there: Dataset, labels: Sequence[str], own_splits: bool) -> list[Finding]:
    """Return a finding when class names, pictures, their splits or their labels are others than at training.

    Args:
        kept: what the run was trained on, all splits.
        there: what is on disk now.
        labels: pictures whose labels differ.
        own_splits: the run took the splits of the source, but for a val part that it may have taken from train.
    """
    parts, evidence = [], {}
    if kept.names != there.names:
        parts.append(f"the class names are {', '.join(there.names)} instead of {', '.join(kept.names)}")
        evidence["names"] = list(there.names)
    relabelled = sorted(set(labels) & set(there.images["path"]))
    if relabelled:
        parts.append(f"{len(relabelled)} pictures of all splits have other labels")
        evidence["labels"] = relabelled[:ROWS_NAMED]
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
    """Return the pictures of `part` whose boxes differ; pictures that are gone count as well.

    Boxes are the same when class name, flags, and corners to a thousandth of a pixel are, as often as they occur.
    """
    ours, theirs = (_counted_boxes(dataset) for dataset in (part, there))
    keys = [column for column in ours.columns if column != "times"]
    both = ours.join(theirs, on=keys, how="full", coalesce=True, nulls_equal=True)
    differs = both.filter(pl.col("times").ne_missing(pl.col("times_right")))["path"]
    gone = part.images.join(there.images, on="path", how="anti")["path"]
    return sorted((set(differs) | set(gone)) & set(part.images["path"]))


def _counted_boxes(dataset: Dataset) -> pl.DataFrame:
    names = pl.Series("name", list(dataset.names), pl.String)
    rows = dataset.boxes.join(dataset.images.select("image_id", "path"), on="image_id")
    corners = [(pl.col(corner) * 1000).round().cast(pl.Int64) for corner in ("x1", "y1", "x2", "y2")]
    rows = rows.select("path", names.gather(rows["class_id"].cast(pl.UInt32)), *corners, "crowd", "difficult")
    return rows.group_by(rows.columns).len("times")
