"""Feeds the tables of a Dataset to Ultralytics' augmentation and loaders, without label files, caches or source writes.

Ultralytics' own dataset class scans label files, drops a whole picture for one bad row, may rewrite a JPEG, and keeps
`.cache` and `.npy` files beside the pictures. Here labels come from the table, and pictures are read by `read_picture`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import polars as pl
import psutil
from ultralytics.data.dataset import YOLODataset

from ..data.dataset import Dataset
from ..data.images import read_picture

# Share of the free memory that decoded pictures may take, all loader processes together; beyond it they are read anew
# for every epoch. A quarter leaves room for the loader's copies, the model and the person's other programs.
CACHE_SHARE = 0.25


def _thinned(dataset: Dataset, fraction: float) -> Dataset:
    total = dataset.images.height
    count = fraction if isinstance(fraction, int) and fraction > 1 else max(1, round(total * fraction))
    if count >= total:
        return dataset
    images = dataset.images[[index * total // int(count) for index in range(int(count))]]
    return replace(dataset, images=images)


class TableDataset(YOLODataset):  # type: ignore[misc]
    """One split of a Dataset as Ultralytics' loaders want it.

    Args:
        dataset: the tables of one split.
        processes: how many processes will hold a copy of the picture cache.
        fraction: share of the pictures to use, or their number if it is an integer above 1; evenly spread over the
            table, where Ultralytics would take the first ones in the order of their names.
        kwargs: what `YOLODataset` takes besides `img_path`.
    """

    def __init__(self, dataset: Dataset, *, processes: int = 1, fraction: float = 1.0, **kwargs: Any) -> None:
        dataset = self._dataset = _thinned(dataset, fraction)
        imgsz = kwargs["imgsz"]
        free = psutil.virtual_memory().available
        self.keeps_pictures = dataset.images.height * imgsz * imgsz * 3 * processes <= CACHE_SHARE * free
        super().__init__(img_path="", cache=False, **kwargs)
        self.npy_files: list[Any] = []

    @property
    def tables(self) -> Dataset:
        """The tables of the pictures that are really used, after `fraction`."""
        return self._dataset

    def get_img_files(self, img_path: str) -> list[str]:
        """Return the picture files in the order of the table."""
        return [str(self._dataset.picture_path(path)) for path in self._dataset.images["path"]]

    def get_labels(self) -> list[dict[str, Any]]:
        """Return one label record per picture: class ids [n, 1] and boxes [n, 4] as centre and size in fractions."""
        boxes = self._dataset.boxes.filter(~pl.col("crowd")).partition_by("image_id", as_dict=True)
        empty = self._dataset.boxes.clear()
        rows = self._dataset.images.select("image_id", "width", "height").iter_rows()
        labels = []
        for file, (image_id, width, height) in zip(self.im_files, rows, strict=True):
            table = boxes.get((image_id,), empty)
            xyxy = table.select("x1", "y1", "x2", "y2").to_numpy() / (width, height, width, height)
            centre, size = (xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]
            labels.append(
                {
                    "im_file": file,
                    "shape": (height, width),
                    "cls": table["class_id"].to_numpy().astype(np.float32)[:, None],
                    "bboxes": np.concatenate([centre, size], axis=1).astype(np.float32),
                    "segments": [],
                    "keypoints": None,
                    "normalized": True,
                    "bbox_format": "xywh",
                }
            )
        return labels

    def build_transforms(self, hyp: Any) -> Any:
        """Build the transforms; with all pictures in memory a mosaic draws its partners from the whole split.

        Ultralytics' mosaic otherwise draws from the pictures read last, which depends on what was read before: a
        resumed run would differ from one that was never interrupted.
        """
        self.cache = "ram" if self.keeps_pictures else None
        return super().build_transforms(hyp)

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[np.ndarray[Any, Any], tuple[int, int], tuple[int, int]]:
        """Return the picture with its long side at `imgsz`, its original and its present (height, width)."""
        if self.ims[i] is None:
            path = self._dataset.picture_path(self._dataset.images["path"][i])
            picture = read_picture(path, self._dataset.value_range)
            height, width = picture.shape[:2]
            ratio = self.imgsz / max(height, width)
            resized: np.ndarray[Any, Any] = picture
            if ratio != 1:
                size = (min(math.ceil(width * ratio), self.imgsz), min(math.ceil(height * ratio), self.imgsz))
                resized = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
            if not (self.keeps_pictures or self.augment):
                return resized, (height, width), resized.shape[:2]
            self.ims[i], self.im_hw0[i], self.im_hw[i] = resized, (height, width), resized.shape[:2]
            if not self.keeps_pictures:
                self._remember(i)
        return self.ims[i], self.im_hw0[i], self.im_hw[i]

    def _remember(self, i: int) -> None:
        """Keep the pictures read last for the mosaic, and forget the oldest."""
        self.buffer.append(i)
        if 1 < len(self.buffer) >= self.max_buffer_length:
            oldest = self.buffer.pop(0)
            self.ims[oldest] = self.im_hw0[oldest] = self.im_hw[oldest] = None
