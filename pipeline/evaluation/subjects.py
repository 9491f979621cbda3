"""Two evaluated sets of detections brought onto one ground truth, so that they can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ..data.dataset import Dataset
from ..errors import DataError
from .changed_data import differing_labels


@dataclass(frozen=True)
class Subject:
    """Something that was evaluated: a name to call it by, the pictures and boxes, and its detections."""

    name: str
    part: Dataset
    detections: pl.DataFrame


def on_ground_truth_of(first: Subject, second: Subject) -> pl.DataFrame:
    """Return the second's detections with the picture and class numbers of the first.

    Raises:
        DataError: the two were not evaluated on the same pictures with the same boxes and classes.
    """
    ours, theirs = set(first.part.images["path"]), set(second.part.images["path"])
    advice = (
        "evaluate both weights on the same data: "
        "tuneup compare A/weights/best.pt B/weights/best.pt data=FOLDER eval.split=test"
    )
    if ours != theirs:
        raise DataError(
            f"{first.name} was evaluated on {len(ours)} pictures and {second.name} on {len(theirs)}, "
            f"of which {len(ours & theirs)} are the same; {advice}"
        )
    if set(first.part.names) != set(second.part.names):
        raise DataError(
            f"{first.name} knows the classes {', '.join(first.part.names)}, "
            f"{second.name} knows {', '.join(second.part.names)}; only detectors of the same classes can be compared"
        )
    different = differing_labels(first.part, second.part)
    if different:
        raise DataError(
            f"{first.name} and {second.name} were evaluated with other boxes on {len(different)} pictures, "
            f"such as {different[0]}; {advice}"
        )
    images = second.part.images.select("image_id", "path").join(
        first.part.images.select("path", number="image_id"), on="path"
    )
    classes = {k: first.part.names.index(name) for k, name in enumerate(second.part.names)}
    table = second.detections.join(images, on="image_id", maintain_order="left")
    return table.select(
        pl.col("number").alias("image_id"),
        pl.col("class_id").replace_strict(classes, return_dtype=pl.UInt16),
        *(column for column in second.detections.columns if column not in {"image_id", "class_id"}),
    )
