"""Predict folders of pictures and single pictures, without a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..data.images import PICTURE_SUFFIXES, ValueRange, is_picture, listed, sizes_or_problems
from ..errors import DataError, UsageError
from .predict import PredictSettings, load_detector, to_frame
from .predict_pass import Picture, Times, predict_pictures

PICTURES_SCHEMA: dict[str, Any] = {
    "image_id": pl.UInt32,  # 1, 2, ... in the order of the names
    "path": pl.String,  # as it was found, from the source on
    "name": pl.String,  # below the source it was found in, with forward slashes; unique
    "width": pl.UInt32,
    "height": pl.UInt32,
}


@dataclass(frozen=True)
class FilePredictions:
    """What a detector found in pictures that belong to no dataset.

    Args:
        names: the detector's class names; a detection's `class_id` is an index into them.
        pictures: columns of `PICTURES_SCHEMA`, one row for each picture that could be read.
        detections: columns of `DETECTIONS_SCHEMA`, those that reach their class's threshold, best first in a picture.
        unreadable: path and reason of each picture that could not be read.
        sources: the folders and files that were asked for.
        weights: the checkpoint.
        settings: how.
        thresholds: the least score of each class.
        thresholds_from: where they come from, in words.
        head: "nms" or "end2end".
        latency: as `Predictions.latency`.
        value_range: (black, white) by which pictures with more than 8 bits were read; None where there was none.
    """

    names: tuple[str, ...]
    pictures: pl.DataFrame
    detections: pl.DataFrame
    unreadable: tuple[tuple[str, str], ...]
    sources: tuple[Path, ...]
    weights: Path
    settings: PredictSettings
    thresholds: dict[str, float]
    thresholds_from: str
    head: str
    latency: dict[str, dict[str, float]]
    value_range: ValueRange | None = None

    def problem(self) -> str | None:
        """Return what a person is told at the end of pictures that could not be read; None where all could."""
        if not self.unreadable:
            return None
        total = self.pictures.height + len(self.unreadable)
        head = f"{len(self.unreadable)} of {total} pictures cannot be read, the others are predicted"
        return listed(head, [why for _, why in self.unreadable])


def predict_files(
    sources: Sequence[Path | str],
    weights: Path,
    settings: PredictSettings,
    thresholds: Mapping[str, float] | None = None,
    *,
    thresholds_from: str = "given",
    value_range: ValueRange | None = None,
) -> FilePredictions:
    """Predict all pictures in folders, their sub-folders included, and single pictures.

    As in the evaluation, a box can stand for several classes, so that the figures measured there hold here.

    Args:
        sources: folders and picture files; a picture that is found twice is predicted once.
        weights: checkpoint.
        settings: how; `conf` is the least score of every class that `thresholds` does not name.
        thresholds: class name to least score (inclusive), such as those chosen on val.
        thresholds_from: where they come from, for the record.
        value_range: that of the dataset that the weights were trained on; without it, pictures with more than 8 bits
            cannot be read.

    Raises:
        DataError: a source is not there, holds no pictures, or none of the pictures can be read.
        UsageError: a threshold names no class of the detector or is out of range; else as `predict_dataset`.
        ModelError: the checkpoint cannot be read.
    """
    places = tuple(Path(source) for source in sources)
    found = _find(places)
    wanted = dict(thresholds or {})
    wrong = [f"{name}={score}" for name, score in wanted.items() if not 0 <= score <= 1]
    if wrong:
        raise UsageError(f"thresholds: {', '.join(wrong)}: a score lies from 0 to 1")
    # NMS starts at the surest, so going lower adds detections below and changes none above.
    detector = load_detector(weights, replace(settings, conf=min([settings.conf, *wanted.values()])))
    unknown = [name for name in wanted if name not in detector.names]
    if unknown:
        raise UsageError(f"thresholds: no class {', '.join(unknown)}; {weights} knows {', '.join(detector.names[:20])}")
    least = {name: wanted.get(name, settings.conf) for name in detector.names}
    pictures, unreadable = _sizes(found, value_range)
    times, rows, read = Times(), [], []

    def failed(picture: Picture, error: DataError) -> None:
        unreadable[str(picture.path)] = str(error)

    for picture, boxes in predict_pictures(detector, pictures, times, failed=failed):
        read.append(picture)
        rows.append(np.column_stack([np.full(len(boxes), picture.image_id), boxes[:, [5, 4]], boxes[:, :4]]))
    if not read:
        raise DataError(listed(f"none of {len(found)} pictures can be read", list(unreadable.values())))
    detections = to_frame(rows)
    at_least = np.array([least[name] for name in detector.names])[detections["class_id"].to_numpy()]
    return FilePredictions(
        names=detector.names,
        pictures=_table(read, {str(path): name for name, path in found.items()}),
        detections=detections.filter(detections["score"].to_numpy() >= at_least),
        unreadable=tuple(sorted(unreadable.items())),
        sources=places,
        weights=weights,
        settings=settings,
        thresholds=least,
        thresholds_from=thresholds_from,
        head=detector.head,
        latency=times.summary(),
        value_range=value_range,
    )


def _find(sources: Sequence[Path]) -> dict[str, Path]:
    """Return the pictures of all sources by their name below the source, sorted."""
    found: list[tuple[Path, str, Path]] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in _below(source) if is_picture(path))
            if not inside:
                kinds = ", ".join(sorted(PICTURE_SUFFIXES))
                raise DataError(f"{source}: no pictures in this folder or below it ({kinds})")
            found += [(source, path.relative_to(source).as_posix(), path) for path in inside]
        elif not source.is_file():
            raise DataError(f"{source}: no such file or folder")
        elif not is_picture(source):
            raise DataError(
                f"{source}: not a picture file; its name ends in one of {', '.join(sorted(PICTURE_SUFFIXES))}"
            )
        else:
            found.append((source.parent, source.name, source))
    once = {path.resolve(): (source, name, path) for source, name, path in reversed(found)}
    taken = Counter(name for _, name, _ in once.values())
    named: dict[str, Path] = {}
    for source, name, path in reversed(once.values()):
        # Two folders may hold the same names: then each is kept apart by the folder's own.
        unique = name if taken[name] == 1 else f"{source.resolve().name}/{name}"
        if unique in named:
            raise UsageError(f"{named[unique]} and {path}: results of both would be named {unique}; predict them apart")
        named[unique] = path
    return dict(sorted(named.items()))


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; hidden folders are left out."""
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts[:-1]):
            yield path


def _sizes(found: Mapping[str, Path], value_range: ValueRange | None) -> tuple[list[Picture], dict[str, str]]:
    """Return the pictures whose header can be read, numbered from 1, and why the others cannot, by path."""
    pictures: list[Picture] = []
    unreadable: dict[str, str] = {}
    sizes = sizes_or_problems(list(found.values()))
    for number, (path, size_or_why) in enumerate(zip(found.values(), sizes, strict=True), start=1):
        if isinstance(size_or_why, str):
            unreadable[str(path)] = size_or_why
        else:
            pictures.append(Picture(number, path, *size_or_why, value_range))
    return pictures, unreadable


def _table(pictures: Sequence[Picture], names: Mapping[str, str]) -> pl.DataFrame:
    rows = [(one.image_id, str(one.path), names[str(one.path)], one.width, one.height) for one in pictures]
    return pl.DataFrame(rows, schema=PICTURES_SCHEMA, orient="row").sort("image_id")
