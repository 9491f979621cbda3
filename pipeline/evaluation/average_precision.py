"""COCO's average precision, computed by pycocotools.

Definition: https://cocodataset.org/#detection-eval. At most 100 detections per picture and class, 101 recall points,
IoU 0.50 to 0.95 in steps of 0.05. Ultralytics' own number differs: it interpolates in another way (a perfect detector
scores 0.995), takes 300 detections per picture over all classes, and knows no crowds.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import polars as pl
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.dataset import Dataset
from ..errors import DataError

_STATS = ("map50_95", "map50", "map75", "map_small", "map_medium", "map_large", "ar1", "ar10", "ar100")


def coco_metrics(dataset: Dataset, detections: pl.DataFrame) -> dict[str, Any]:
    """Return COCO's figures for one set of pictures, overall and per class.

    Args:
        dataset: ground truth; all its pictures count.
        detections: columns `image_id, class_id, score, x1, y1, x2, y2`, corners in pixels.

    Returns:
        `map50_95`, `map50`, `map75`, `map_small`, `map_medium`, `map_large`, `ar1`, `ar10`, `ar100` (None where there
        is no ground truth of that kind) and `per_class`: name, images, boxes, ap50_95, ap50.

    Raises:
        DataError: a score or corner is no number, or a detection belongs to no picture of the dataset.
    """
    _check(dataset, detections)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _coco(dataset, dataset.boxes.with_columns(score=pl.lit(1.0)))
        found = _coco(dataset, detections.with_columns(crowd=pl.lit(False)))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics: dict[str, Any] = {name: _number(value) for name, value in zip(_STATS, evaluation.stats, strict=False)}
    precision = evaluation.eval["precision"]  # [iou, recall, class, area, detections]
    metrics["per_class"] = [
        _per_class(dataset, index, precision[:, :, index, 0, -1]) for index in range(len(dataset.names))
    ]
    return metrics


def _check(dataset: Dataset, detections: pl.DataFrame) -> None:
    numbers = detections.select("score", "x1", "y1", "x2", "y2")
    if not numbers.is_empty() and not np.isfinite(numbers.to_numpy()).all():
        raise DataError("a detection has a score or corner that is no number; the weights are damaged, train again")
    strange = detections.join(dataset.images.select("image_id"), on="image_id", how="anti").height
    if strange:
        raise DataError(f"{strange} detections belong to no picture of the evaluated split")


def _coco(dataset: Dataset, boxes: pl.DataFrame) -> COCO:
    """Return tables as pycocotools wants them; its ids start at 1, because it takes a match with id 0 for none."""
    annotations = []
    columns = boxes.select("image_id", "class_id", "x1", "y1", "x2", "y2", "crowd", "score")
    for number, (image_id, class_id, x1, y1, x2, y2, crowd, score) in enumerate(columns.iter_rows(), start=1):
        annotations.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": class_id + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(crowd),
                "score": score,
            }
        )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image_id} for image_id in dataset.images["image_id"]],
        "annotations": annotations,
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(dataset.names)],
    }
    coco.createIndex()
    return coco


def _per_class(dataset: Dataset, index: int, precision: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return one row of the table; `precision` is [iou, recall], -1 where the class has no ground truth."""
    boxes = dataset.boxes.filter((pl.col("class_id") == index) & ~pl.col("crowd"))
    return {
        "name": dataset.names[index],
        "images": boxes["image_id"].n_unique(),
        "boxes": boxes.height,
        "ap50_95": _number(precision.mean()),
        "ap50": _number(precision[0].mean()),
    }


def _number(value: float) -> float | None:
    """Return None for pycocotools' -1, which means that there was nothing to measure.

    It divides by a count plus 2e-16, so that a perfect score would be a hair below 1; the rounding takes that away.
    """
    return None if value < 0 else round(float(value), 12)
