"""Two evaluated sets of detections on one ground truth."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from simulated_detector import simulated_detections, simulated_truth

from pipeline.data.dataset import Dataset
from pipeline.errors import DataError
from pipeline.evaluation.subjects import Subject, on_ground_truth_of


def renumbered(dataset: Dataset, detections: pl.DataFrame) -> tuple[Dataset, pl.DataFrame]:
    """Return the same pictures, boxes and detections under other picture and class numbers."""
    other = {i: 1000 - i for i in dataset.images["image_id"]}
    swap = {0: 1, 1: 0}
    turned = [
        frame.with_columns(
            pl.col("image_id").replace_strict(other, return_dtype=pl.UInt32),
            *([pl.col("class_id").replace_strict(swap, return_dtype=pl.UInt16)] if "class_id" in frame.columns else []),
        )
        for frame in (dataset.images, dataset.boxes, detections)
    ]
    return Dataset(dataset.names[::-1], turned[0], turned[1], Path("/elsewhere")), turned[2]


def test_pictures_and_classes_are_brought_together_by_name() -> None:
    dataset = simulated_truth(12)
    found = simulated_detections(dataset, 1)
    part, numbered = renumbered(dataset, found)
    back = on_ground_truth_of(Subject("a", dataset, found), Subject("b", part, numbered))
    assert back.equals(found)


def test_what_differs_is_said() -> None:
    dataset = simulated_truth(12)
    found = simulated_detections(dataset, 1)
    ours = Subject("a", dataset, found)
    few = Dataset(dataset.names, dataset.images.head(8), dataset.boxes.filter(pl.col("image_id") <= 8), dataset.root)
    with pytest.raises(DataError, match="a was evaluated on 12 pictures and b on 8, of which 8 are the same"):
        on_ground_truth_of(ours, Subject("b", few, found))
    moved = Dataset(dataset.names, dataset.images, dataset.boxes.with_columns(pl.col("x1") - 1), dataset.root)
    with pytest.raises(DataError, match=r"other boxes on \d+ pictures, such as 00000\.png"):
        on_ground_truth_of(ours, Subject("b", moved, found))
    renamed = Dataset(("pit", "crack"), dataset.images, dataset.boxes, dataset.root)
    with pytest.raises(DataError, match="b knows pit, crack"):
        on_ground_truth_of(ours, Subject("b", renamed, found))
