"""Ground truth and detections as arrays, the form in which they are matched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..errors import DataError

_CORNERS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Truth:
    """Ground truth: I pictures, K classes, M boxes.

    Args:
        names: K class names.
        image_ids: [I] ascending.
        sizes: [I, 2] width and height in pixels; nan where they are not known.
        image: [M] row of `image_ids`.
        class_id: [M] index into `names`.
        xyxy: [M, 4] corners in pixels of the original picture.
        extent: [M] width times height of the box.
        area: [M] the object's area: its outline's where the annotation tells it, else the extent.
        crowd: [M] a box around many objects.
        ignored: [M] crowd or difficult: neither counted nor held against anyone.
    """

    names: tuple[str, ...]
    image_ids: NDArray[np.int64]
    sizes: NDArray[np.float64]
    image: NDArray[np.int32]
    class_id: NDArray[np.int32]
    xyxy: NDArray[np.float64]
    extent: NDArray[np.float64]
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    @classmethod
    def of(cls, dataset: Dataset) -> Truth:
        """Return a dataset's ground truth; the boxes keep their order.

        Raises:
            DataError: a corner of a box is no number.
        """
        images = dataset.images.sort("image_id")
        boxes = dataset.boxes
        xyxy = boxes.select(_CORNERS).to_numpy().astype(np.float64).reshape(-1, 4)
        spoilt = ~np.isfinite(xyxy).all(axis=1)
        if spoilt.any():
            raise DataError(
                f"{spoilt.sum()} boxes of the ground truth have a corner that is no number, the first in row "
                f"{spoilt.argmax()} of the table of boxes; correct the labels"
            )
        crowd = boxes["crowd"].to_numpy().astype(np.bool_)
        image_ids = images["image_id"].to_numpy().astype(np.int64)
        extent = _extent(xyxy)
        return cls(
            names=dataset.names,
            image_ids=image_ids,
            sizes=images.select("width", "height").to_numpy().astype(np.float64).reshape(-1, 2),
            image=np.searchsorted(image_ids, boxes["image_id"].to_numpy()).astype(np.int32),
            class_id=boxes["class_id"].to_numpy().astype(np.int32),
            xyxy=xyxy,
            extent=extent,
            area=extent,
            crowd=crowd,
            ignored=crowd | boxes["difficult"].to_numpy().astype(np.bool_),
        )


@dataclass(frozen=True)
class Detections:
    """Detections of the pictures of a `Truth`, in the order given.

    Args:
        image: [N] row of `Truth.image_ids`.
        class_id: [N] index into `Truth.names`.
        score: [N] finite.
        xyxy: [N, 4] corners in pixels of the original picture, finite.
        extent: [N] width times height of the box.
    """

    image: NDArray[np.int32]
    class_id: NDArray[np.int32]
    score: NDArray[np.float64]
    xyxy: NDArray[np.float64]
    extent: NDArray[np.float64]

    @classmethod
    def of(cls, truth: Truth, frame: pl.DataFrame) -> Detections:
        """Return the detections of a table with the columns of `DETECTIONS_SCHEMA`.

        Raises:
            DataError: a score or corner is no number, or a picture or class is missing or not the ground truth's.
        """
        missing = frame["image_id"].is_null() | frame["class_id"].is_null()
        if missing.any():
            raise DataError(
                f"{missing.sum()} detections have no image_id or no class_id, the first in row {missing.arg_max()}; "
                "every detection needs both"
            )
        score = frame["score"].to_numpy().astype(np.float64)
        xyxy = frame.select(_CORNERS).to_numpy().astype(np.float64).reshape(-1, 4)
        spoilt = ~(np.isfinite(score) & np.isfinite(xyxy).all(axis=1))
        if spoilt.any():
            raise DataError(
                f"{spoilt.sum()} detections have a score or corner that is no number, the first in row "
                f"{spoilt.argmax()}; the weights may be damaged, train again"
            )
        ids = frame["image_id"].to_numpy().astype(np.int64)
        image = np.searchsorted(truth.image_ids, ids)
        known = image < len(truth.image_ids)
        known[known] = truth.image_ids[image[known]] == ids[known]
        if not known.all():
            examples = ", ".join(str(value) for value in np.unique(ids[~known])[:10])
            raise DataError(
                f"{(~known).sum()} detections belong to no picture of the evaluated split (image_id {examples})"
            )
        class_id = frame["class_id"].to_numpy().astype(np.int32)
        if len(class_id) and class_id.max() >= len(truth.names):
            raise DataError(
                f"a detection has class {class_id.max()}, but there are {len(truth.names)} classes, counted from 0; "
                "use the ground truth that the detector was trained for"
            )
        return cls(image.astype(np.int32), class_id, score, xyxy, _extent(xyxy))


def _extent(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]))
