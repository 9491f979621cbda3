"""Whether there is anything to learn at all."""

from __future__ import annotations

import os
from typing import Any

import polars as pl

from ...findings import Finding
from ..formats.yolo_files import label_places
from .evidence import counted, of_pictures
from .snapshot import Snapshot

_PLACES = {
    "coco": "its JSON file has to list them under `annotations`, with the `image_id` of these pictures",
    "voc": "each picture has an XML file of its name, with an `object` for each box",
    "labelme": "each picture has a JSON file of its name, with `shapes`",
    "cvat": "its XML file has to hold a `box` below each `image`; export as 'CVAT for images'",
    "label_studio": "its JSON file has to hold `annotations`, not only `predictions` of tasks that nobody has finished",
}


def nothing_labelled(snapshot: Snapshot) -> list[Finding]:
    """Find a set without a single box that counts, or whose train split has none: there is nothing to learn."""
    images = snapshot.images
    if images.is_empty():
        return []
    training = images.filter(pl.col("part") == snapshot.training_part)
    if snapshot.boxes.is_empty():
        ignored = int(images["ignored"].sum())
        aside = f"; {counted(ignored, 'box', 'boxes')} marked as crowd, which are never trained" if ignored else ""
        message = f"no picture has a box: there is nothing to learn ({counted(images.height, 'picture')}{aside})"
        evidence: dict[str, Any] = of_pictures(images, ignored=ignored)
        return [Finding("labels.none", "error", message, evidence, _advice(snapshot, images))]
    if training["boxes"].sum():
        return []
    others = {part: boxes for part, boxes in snapshot.per_part.select("part", "boxes").iter_rows() if boxes}
    words = ", ".join(f"{part} has {counted(boxes, 'box', 'boxes')}" for part, boxes in others.items())
    message = (
        f"no picture of train has a box: there is nothing to learn ({counted(training.height, 'picture')}; {words})"
    )
    advice = f"{_advice(snapshot, training)}; data.splits=new divides all pictures anew"
    return [Finding("labels.none_in_train", "error", message, of_pictures(training, splits=others), advice)]


def _advice(snapshot: Snapshot, images: pl.DataFrame) -> str:
    """Say where boxes were looked for: of a YOLO set the label file of the first picture."""
    format = "" if snapshot.intake is None else snapshot.intake.format
    if format == "yolo" and not images.is_empty():
        path = images["path"][0]
        folder, name = os.path.split(snapshot.dataset.picture_path(path))
        label = os.path.join(label_places(folder)[0], os.path.splitext(name)[0] + ".txt")
        return f"check that the labels lie where they are looked for: those of {path} in {label}"
    known = f": {_PLACES[format]}" if format in _PLACES else ""
    return f"check that data.path holds the labels as well as the pictures, and that their names match{known}"
