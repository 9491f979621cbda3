"""Albumentations in Ultralytics' stage, in place of Ultralytics' own wrapper, which swallows what goes wrong.

What differs from `ultralytics.data.augment.Albumentations`:
- nothing is caught: a transform that breaks, or that changes the picture's size or number type, stops with its name;
- every transform is seeded anew for each picture from Python's `random`, each with a number of its own. Albumentations
  2.0.8 draws from a generator that no seed of the training reaches, and given one seed it hands the same one to all its
  transforms, so that those of equal probability always act together;
- pictures are turned to RGB, which Albumentations' colour transforms expect, and back;
- boxes that a transform leaves less than `min_visibility` of, or no more than 2 px wide or high, are dropped.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
from ultralytics.utils.instance import Instances

from ..errors import TrainingError

SMALLEST = 2.0  # px: what Ultralytics' own geometry drops (box_candidates, wh_thr)
_CORNERS = 4  # traced boxes carry their corners as keypoints


class AlbumentationsStage:
    """Applies transforms to a label record of Ultralytics' loader.

    Args:
        transforms: Albumentations transforms, in their order.
        min_visibility: a box of which less than this share of its area is left is dropped.
    """

    def __init__(self, transforms: Sequence[A.BasicTransform], min_visibility: float) -> None:
        self.transforms = list(transforms)
        self.moves = any(isinstance(transform, A.DualTransform) for transform in self.transforms)
        parameters: dict[str, Any] = {}
        if self.moves:
            parameters["bbox_params"] = A.BboxParams(
                format="pascal_voc",
                label_fields=["rows"],
                min_visibility=min_visibility,
                min_width=SMALLEST,
                min_height=SMALLEST,
                clip=True,
            )
            parameters["keypoint_params"] = A.KeypointParams(
                format="xy", label_fields=["corners"], remove_invisible=False
            )
        self.compose = A.Compose(self.transforms, **parameters)

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Change the picture and its boxes.

        Raises:
            TrainingError: a transform breaks, or gives another size or number type; its name is told.
        """
        for transform in self.transforms:
            transform.set_random_seed(random.getrandbits(32))
        picture = cv2.cvtColor(labels["img"], cv2.COLOR_BGR2RGB)
        instances: Instances = labels["instances"]
        height, width = picture.shape[:2]
        instances.convert_bbox("xyxy")
        instances.denormalize(width, height)
        given = self._given(instances) if self.moves else {}
        try:
            result = self.compose(image=picture, **given)
        except Exception as error:  # a library of 100 transforms raises whatever it likes
            raise TrainingError(f"augmentation {self._culprit(error)}: {type(error).__name__}: {error}") from error
        self._check(result["image"], picture)
        labels["img"] = cv2.cvtColor(result["image"], cv2.COLOR_RGB2BGR)
        if self.moves:
            self._take_boxes(labels, result)
        return labels

    def _given(self, instances: Instances) -> dict[str, Any]:
        corners = np.empty((0, 2)) if instances.keypoints is None else instances.keypoints[..., :2].reshape(-1, 2)
        return {
            "bboxes": instances.bboxes.astype(np.float64),
            "rows": np.arange(len(instances)),
            "keypoints": corners.astype(np.float32),
            "corners": np.arange(len(corners)),
        }

    def _check(self, after: Any, before: Any) -> None:
        if after.dtype != before.dtype:
            raise TrainingError(
                f"augmentation {self._names()}: gives {after.dtype} instead of {before.dtype}; Ultralytics divides by "
                f"255 itself, so that the picture would be black"
            )
        if after.shape != before.shape:
            raise TrainingError(
                f"augmentation {self._names()}: gives {_size(after)} instead of {_size(before)}; all pictures of a "
                f"batch must be of one size"
            )

    def _take_boxes(self, labels: dict[str, Any], result: dict[str, Any]) -> None:
        rows = np.asarray(result["rows"], dtype=int)
        boxes = np.asarray(result["bboxes"], dtype=np.float32).reshape(-1, 4)
        known = labels["instances"].keypoints
        keypoints = None
        if known is not None:
            moved = known.reshape(-1, 3).copy()
            moved[:, 2] = 0  # a corner that a transform drops is not seen any more
            seen = np.asarray(result["corners"], dtype=int)
            moved[seen, :2] = np.asarray(result["keypoints"], dtype=np.float32).reshape(-1, 2)
            moved[seen, 2] = known.reshape(-1, 3)[seen, 2]
            keypoints = moved.reshape(known.shape)[rows]
        labels["instances"] = Instances(
            boxes, np.zeros((0, 1000, 2), np.float32), keypoints, bbox_format="xyxy", normalized=False
        )
        labels["cls"] = labels["cls"][rows]

    def _culprit(self, error: Exception) -> str:
        """Return the name of the transform that was at work when an error was raised; of all if none was."""
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        at_work = [t for frame in frames for t in self.transforms if frame.f_locals.get("self") is t]
        return type(at_work[-1]).__name__ if at_work else self._names()

    def _names(self) -> str:
        return ", ".join(type(transform).__name__ for transform in self.transforms)


def _size(picture: Any) -> str:
    return " x ".join(str(length) for length in picture.shape)
