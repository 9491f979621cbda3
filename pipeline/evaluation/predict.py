"""One pass of a detector over pictures; boxes come back in pixels of the original pictures."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from ultralytics.utils.nms import non_max_suppression

from ..data.dataset import Dataset
from ..data.images import read_picture
from ..errors import ModelError, UsageError
from ..leash import thread_count
from ..model_source import load_weights
from ..runs import DETECTIONS_SCHEMA

PADDING = 114  # the grey that Ultralytics pads with in training
NEVER = 1e9  # seconds: Ultralytics' NMS stops half-way through a batch when it takes long, and drops the rest


@dataclass(frozen=True)
class Letterbox:
    """How a picture lies in the network's input: scaled by `ratio`, then moved by (`left`, `top`).

    The long side becomes `imgsz`, the other is padded evenly to a multiple of the stride, as `yolo predict` does.
    """

    ratio: float
    left: int
    top: int
    inner: tuple[int, int]  # (height, width) of the scaled picture
    shape: tuple[int, int]  # (height, width) of the network's input

    @classmethod
    def fit(cls, height: int, width: int, imgsz: int, stride: int) -> Letterbox:
        """Return how a picture of this size lies in an input of size `imgsz`, a multiple of `stride`."""
        ratio = min(imgsz / height, imgsz / width)
        inner = (max(1, round(height * ratio)), max(1, round(width * ratio)))
        shape = (-(-inner[0] // stride) * stride, -(-inner[1] // stride) * stride)
        return cls(ratio, (shape[1] - inner[1]) // 2, (shape[0] - inner[0]) // 2, inner, shape)

    def place(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the network's input, uint8 [height, width, 3]."""
        canvas = np.full((*self.shape, 3), PADDING, np.uint8)
        if picture.shape[:2] != self.inner:
            picture = np.asarray(
                cv2.resize(picture, (self.inner[1], self.inner[0]), interpolation=cv2.INTER_LINEAR), np.uint8
            )
        canvas[self.top : self.top + self.inner[0], self.left : self.left + self.inner[1]] = picture
        return canvas

    def to_original(self, xyxy: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
        """Return boxes [n, 4] of the network's input as corners in pixels of the original picture, clipped to it."""
        scale = np.array([width / self.inner[1], height / self.inner[0]] * 2)
        moved = (xyxy - (self.left, self.top) * 2) * scale
        return np.asarray(np.clip(moved, 0.0, (width, height) * 2))


@dataclass(frozen=True)
class Predictions:
    """Detections (columns of `DETECTIONS_SCHEMA`, best first within a picture) and how long the network took."""

    detections: pl.DataFrame
    seconds: float
    ms_per_image: float


@dataclass(frozen=True)
class PredictSettings:
    """How to predict: input size in pixels, least confidence, NMS overlap, most detections per picture, batch size."""

    imgsz: int
    conf: float
    iou: float
    max_det: int
    batch: int
    device: str = ""


def predict_dataset(weights: Path, dataset: Dataset, settings: PredictSettings) -> Predictions:
    """Predict all pictures of a dataset.

    Raises:
        ModelError: the checkpoint cannot be read, or knows other classes than the dataset.
        DataError: a picture cannot be read.
    """
    started = time.perf_counter()
    device = _device(settings.device)
    model = load_weights(weights).to(device).eval()
    if hasattr(model, "end2end"):
        model.end2end = False  # the head with NMS, which training validates as well
    class_ids = _class_ids(weights, model.names, dataset.names)
    stride = int(max(model.stride.max(), 32))
    imgsz = -(-settings.imgsz // stride) * stride
    rows: list[NDArray[np.float64]] = []
    spent = 0.0
    for batch in _batches(dataset, imgsz, stride, settings.batch):
        inputs = np.stack([box.place(read_picture(path)) for _, path, _, box in batch])
        tensor = torch.from_numpy(np.ascontiguousarray(inputs[..., ::-1].transpose(0, 3, 1, 2))).to(device)
        before = time.perf_counter()
        with torch.inference_mode():
            found = non_max_suppression(
                model(tensor.float() / 255),
                settings.conf,
                settings.iou,
                multi_label=True,
                max_det=settings.max_det,
                max_time_img=NEVER,
            )
            found = [item.double().cpu().numpy() for item in found]
        spent += time.perf_counter() - before
        for (image_id, _, (height, width), box), item in zip(batch, found, strict=True):
            rows.append(_as_rows(image_id, box.to_original(item[:, :4], height, width), item, class_ids))
    table = np.concatenate(rows) if rows else np.zeros((0, 7))
    frame = pl.DataFrame(table, schema=list(DETECTIONS_SCHEMA), orient="row").cast(pl.Schema(DETECTIONS_SCHEMA))
    frame = frame.sort(["image_id", "score"], descending=[False, True], maintain_order=True)
    return Predictions(frame, time.perf_counter() - started, 1000 * spent / max(dataset.images.height, 1))


def _device(wanted: str) -> torch.device:
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


def _class_ids(weights: Path, known: dict[int, str], names: Sequence[str]) -> NDArray[np.float64]:
    """Return for each class of the model the dataset's class of the same name; nan for one that the data has not."""
    ids = {name: index for index, name in enumerate(names)}
    missing = [name for name in names if name not in known.values()]
    if missing:
        has = ", ".join(str(name) for name in list(known.values())[:20])
        raise ModelError(f"{weights}: does not know the data's class {', '.join(missing)}; it knows {has}")
    return np.array([ids.get(known[index], np.nan) for index in range(len(known))])


def _batches(dataset: Dataset, imgsz: int, stride: int, size: int) -> Iterator[list[tuple[int, Path, Any, Letterbox]]]:
    """Yield (image_id, file, (height, width), letterbox) in batches of one input shape each."""
    shapes: dict[tuple[int, int], list[tuple[int, Path, Any, Letterbox]]] = {}
    for image_id, path, width, height in dataset.images.select("image_id", "path", "width", "height").iter_rows():
        box = Letterbox.fit(height, width, imgsz, stride)
        shapes.setdefault(box.shape, []).append((image_id, dataset.picture_path(path), (height, width), box))
    for items in shapes.values():
        for start in range(0, len(items), size):
            yield items[start : start + size]


def _as_rows(
    image_id: int, xyxy: NDArray[np.float64], found: NDArray[np.float64], class_ids: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return [n, 7] image, class, score, corners; detections of classes that the data has not are left out."""
    classes = class_ids[found[:, 5].astype(int)]
    rows = np.column_stack([np.full(len(found), image_id), classes, found[:, 4], xyxy])
    return np.asarray(rows[np.isfinite(classes)])
