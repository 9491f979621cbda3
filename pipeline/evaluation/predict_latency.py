"""How long one picture takes on its own: batch 1, one stage after the other, nothing beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.images import read_picture
from ..errors import DataError, UsageError
from .predict import PredictSettings, load_detector, pictures_of
from .predict_detector import Detector
from .predict_pass import STAGES, Picture, Times, plan

WARM_UP = 5  # pictures before the clock starts: first calls load kernels and grow memory


@dataclass(frozen=True)
class Latency:
    """Milliseconds per picture with batch 1.

    Args:
        stages: `median` and `p95` of each of `STAGES`, and of `total`, their sum picture by picture.
        pictures: how many were timed, after `WARM_UP` others that were not.
        device: where the network ran, in torch's words.
        head: "nms" or "end2end".
    """

    stages: dict[str, dict[str, float]]
    pictures: int
    device: str
    head: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it stands in the metrics."""
        return {"stages": self.stages, "pictures": self.pictures, "device": self.device, "head": self.head}


def measure_latency(weights: Path, dataset: Dataset, settings: PredictSettings, *, pictures: int = 50) -> Latency:
    """Measure how long each stage takes for one picture after the other, the device having finished each time.

    Reading is from a warm disk cache: each picture is read once before it is timed.

    Args:
        weights: checkpoint.
        dataset: pictures are taken from it evenly; each is timed once, so there may be fewer.
        settings: how; its batch size does not matter.
        pictures: how many are timed at most.

    Raises:
        DataError: a picture cannot be read, or there is none.
        ModelError, UsageError: as `predict_dataset`.
    """
    if pictures < 1:
        raise UsageError(f"pictures: {pictures}: at least 1 is timed")
    every = pictures_of(dataset)
    if not every:
        raise DataError(f"{dataset.root}: no pictures to time")
    detector = load_detector(weights, settings)
    chosen = [
        every[k] for k in np.unique(np.linspace(0, len(every) - 1, min(pictures, len(every))).round().astype(int))
    ]
    for picture in [chosen[k % len(chosen)] for k in range(WARM_UP)]:
        _one(detector, picture, Times())
    times, total = Times(), []
    for picture in chosen:
        read_picture(picture.path, picture.value_range)
        own = Times()
        _one(detector, picture, own)
        for stage in STAGES:
            times.add(stage, own.total(stage))
        total.append(1000 * own.total(*STAGES))
    stages = {**times.summary(), "total": {"median": float(np.median(total)), "p95": float(np.percentile(total, 95))}}
    return Latency(stages, len(chosen), str(detector.device), detector.head)


def _one(detector: Detector, picture: Picture, times: Times) -> None:
    """Predict one picture, its tiles one by one, and note every stage."""
    clock = time.perf_counter
    started = clock()
    pixels = read_picture(picture.path, picture.value_range)
    times.add("read", clock() - started)
    job = plan(detector, picture)
    inputs = job.inputs(pixels)
    for index in range(len(job.windows)):
        started = clock()
        item = next(inputs)
        times.add("letterbox", clock() - started)
        found = detector.detect([item])
        for stage, seconds in found.seconds.items():
            times.add(stage, seconds)
        job.found[index] = found.rows[0]
    started = clock()
    job.result(detector.settings.iou)
    times.add("to_picture", clock() - started)
