"""Seeded ground truth and detectors of a chosen quality, as tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.runs import DETECTIONS_SCHEMA

NAMES = ("pit", "scratch")


def simulated_truth(images: int, seed: int = 0, *, names: tuple[str, ...] = NAMES, empty: int = 5) -> Dataset:
    """Return pictures of 200 x 200 px with one to four boxes each; every `empty`-th one has none."""
    rng = np.random.default_rng(seed)
    pictures = [
        {"image_id": i + 1, "path": f"{i:05}.png", "width": 200, "height": 200, "split": "test"} for i in range(images)
    ]
    boxes = []
    for i in range(images):
        for _ in range(0 if i % empty == empty - 1 else int(rng.integers(1, 5))):
            x, y = rng.uniform(0, 150, 2)
            w, h = rng.uniform(10, 50, 2)
            corners = {"x1": x, "y1": y, "x2": x + w, "y2": y + h}
            boxes.append({"image_id": i + 1, "class_id": int(rng.integers(len(names))), **corners})
    return dataset_from_rows(names, pictures, boxes, Path("/nowhere"))


def simulated_detections(dataset: Dataset, seed: int, *, found: float = 0.8, jitter: float = 0.08) -> pl.DataFrame:
    """Return detections: a box is found with probability `found`, its corners off by `jitter` of its size.

    With the same seed two detectors see the same difficulty of every box, as two checkpoints of one model do.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for image_id, class_id, *corners in dataset.boxes.select(
        "image_id", "class_id", "x1", "y1", "x2", "y2"
    ).iter_rows():
        x1, y1, x2, y2 = corners
        luck, score = rng.random(), rng.uniform(0.3, 1)
        shift = rng.normal(0, jitter, 4) * np.array([x2 - x1, y2 - y1] * 2)
        if luck < found:
            rows.append((image_id, class_id, score, *(np.array(corners) + shift)))
    for image_id in dataset.images["image_id"]:
        for _ in range(int(rng.integers(0, 3))):
            x, y = rng.uniform(0, 150, 2)
            score = rng.uniform(0, 0.6)
            rows.append((image_id, int(rng.integers(len(dataset.names))), score, x, y, x + 30, y + 30))
    frame = pl.DataFrame(rows, schema=list(DETECTIONS_SCHEMA), orient="row")
    return frame.cast(pl.Schema(DETECTIONS_SCHEMA))
