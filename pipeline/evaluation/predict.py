"""One pass of a detector over a dataset; boxes come back in pixels of the original pictures."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.tile import check_tiling
from ..errors import ModelError, UsageError
from ..leash import thread_count
from ..runs import DETECTIONS_SCHEMA
from .letterbox import PADDING, Letterbox
from .predict_detector import Detector, PredictSettings
from .predict_pass import Change, Picture, Times, predict_pictures

__all__ = [
    "PADDING",
    "Change",
    "Letterbox",
    "PredictSettings",
    "Predictions",
    "load_detector",
    "pictures_of",
    "predict_dataset",
    "to_frame",
]


@dataclass(frozen=True)
class Predictions:
    """What a detector found.

    Args:
        detections: columns of `DETECTIONS_SCHEMA`, best first within a picture.
        seconds: wall time of the whole pass, loading included.
        ms_per_image: time of the network and NMS per picture, mean.
        head: the head that was used, "nms" or "end2end".
        latency: milliseconds per picture, `median` and `p95`, of each stage of `STAGES`, as they were in this pass: its
            batches shared out equally, reading and letterboxing in threads beside the network. `measure_latency` says
            how long one picture takes on its own.
    """

    detections: pl.DataFrame
    seconds: float
    ms_per_image: float
    head: str
    latency: dict[str, dict[str, float]]


def predict_dataset(
    weights: Path, dataset: Dataset, settings: PredictSettings, *, change: Change | None = None
) -> Predictions:
    """Predict all pictures of a dataset.

    On a CPU, detections do not depend on the batch size but for the rounding of 32-bit sums.

    Args:
        weights: checkpoint whose classes have the dataset's names; those that the dataset has not are left out.
        dataset: its pictures are predicted.
        settings: how.
        change: gets each picture, uint8 [height, width, 3] in BGR order, and its image_id, and returns what is
            predicted in its place, of the same size. It is called from several threads.

    Raises:
        ModelError: the checkpoint cannot be read, or knows other classes than the dataset.
        DataError: a picture cannot be read.
        UsageError: the device, precision, head or tiles cannot be had.
    """
    started = time.perf_counter()
    detector = load_detector(weights, settings)
    class_ids = _class_ids(weights, detector.names, dataset.names)
    times = Times()
    rows = [
        _as_rows(picture.image_id, found, class_ids)
        for picture, found in predict_pictures(detector, pictures_of(dataset), times, change=change)
    ]
    per_picture = 1000 * times.total("network", "nms") / max(dataset.images.height, 1)
    return Predictions(to_frame(rows), time.perf_counter() - started, per_picture, detector.head, times.summary())


def load_detector(weights: Path, settings: PredictSettings) -> Detector:
    """Return the detector of a checkpoint, on the device and with the head that the settings name.

    Raises:
        ModelError: the checkpoint cannot be read.
        UsageError: the device, precision, head or tiles cannot be had.
    """
    if settings.tile is not None:
        check_tiling(settings.tile, settings.overlap)
        if settings.overlap == 0:
            raise UsageError("overlap: 0: an object on a seam is put together by what both tiles show; take 0.2")
    return Detector.load(weights, settings, _device(settings.device))


def pictures_of(dataset: Dataset) -> list[Picture]:
    """Return what is predicted of a dataset."""
    rows = dataset.images.select("image_id", "path", "width", "height").iter_rows()
    return [
        Picture(image_id, dataset.picture_path(path), width, height, dataset.value_range)
        for image_id, path, width, height in rows
    ]


def to_frame(rows: Sequence[NDArray[np.float64]]) -> pl.DataFrame:
    """Return [n, 7] arrays of image, class, score and corners as one table, best first within a picture."""
    table = np.concatenate(rows) if rows else np.zeros((0, 7))
    frame = pl.DataFrame(table, schema=list(DETECTIONS_SCHEMA), orient="row").cast(pl.Schema(DETECTIONS_SCHEMA))
    return frame.sort(["image_id", "score"], descending=[False, True], maintain_order=True)


def _device(wanted: str) -> torch.device:
    """Return the device that a setting names, the first GPU or the CPU for an empty one.

    Raises:
        UsageError: it cannot be used here.
    """
    numbers = re.findall(r"-?\d+", wanted) if re.fullmatch(r"[\[\]\d,\s-]+", wanted) else []
    if wanted in {"", "None"} or numbers[:1] == ["-1"]:  # -1 is Ultralytics' word for an idle GPU
        wanted = "cuda:0" if torch.cuda.is_available() else "cpu"
    elif numbers:
        wanted = numbers[0]  # one GPU is enough to predict, however many trained
    try:
        device = torch.device(f"cuda:{wanted}" if wanted.isdigit() else wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"train.device: '{wanted}' cannot be used here ({str(error).splitlines()[0]})") from error
    if device.type == "cpu":
        torch.set_num_threads(thread_count())
    return device


def _class_ids(weights: Path, known: Sequence[str], names: Sequence[str]) -> NDArray[np.float64]:
    """Return for each class of the model the dataset's class of the same name; nan for one that the data has not."""
    ids = {name: index for index, name in enumerate(names)}
    missing = [name for name in names if name not in known]
    if missing:
        has = ", ".join(known[:20])
        raise ModelError(f"{weights}: does not know the data's class {', '.join(missing)}; it knows {has}")
    return np.array([ids.get(name, np.nan) for name in known])


def _as_rows(image_id: int, found: NDArray[np.float64], class_ids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [n, 7] image, class, score, corners; detections of classes that the data has not are left out."""
    classes = class_ids[found[:, 5].astype(int)]
    rows = np.column_stack([np.full(len(found), image_id), classes, found[:, 4], found[:, :4]])
    return np.asarray(rows[np.isfinite(classes)])
