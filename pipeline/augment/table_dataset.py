"""Feeds the tables of a Dataset to Ultralytics' augmentation and loaders, without label files, caches or source writes.

Ultralytics' own dataset class scans label files, drops a whole picture for one bad row, may rewrite a JPEG, and keeps
`.cache` and `.npy` files beside the pictures. Here labels come from the table, and pictures are read by `read_picture`.

The stage is the policy's, and nothing else: Ultralytics' own transforms with the policy's numbers, and where
Ultralytics puts its Albumentations wrapper, the policy's transforms in a wrapper that swallows nothing.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import polars as pl
import psutil
from ultralytics.data.augment import Compose, CutMix, Format, MixUp, Mosaic, RandomFlip, RandomHSV, RandomPerspective
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils.instance import Instances

from ..data.dataset import Dataset
from ..data.images import read_picture
from ..policy import Policy
from ..transform_specs import build_transforms, require_albumentations
from .copy_paste import Paster, Plan
from .used_pictures import at_training_size, thinned

# Share of the free memory that decoded pictures may take, all loader processes together; beyond it they are read anew
# for every epoch. A quarter leaves room for the loader's copies, the model and the person's other programs.
CACHE_SHARE = 0.25


def fits_in_memory(pictures: int, imgsz: int, processes: int) -> bool:
    """Return whether decoded pictures may be kept, one copy for each loader process."""
    return pictures * imgsz * imgsz * 3 * processes <= CACHE_SHARE * psutil.virtual_memory().available


def _crowds(dataset: Dataset) -> dict[int, np.ndarray[Any, Any]]:
    """Return the crowd boxes of pictures, by row, as fractions `[n, 4]`; they do not train, but are not pasted over."""
    found = {}
    crowds = dataset.boxes.filter("crowd").partition_by("image_id", as_dict=True)
    for index, (image_id, width, height) in enumerate(
        dataset.images.select("image_id", "width", "height").iter_rows() if crowds else ()
    ):
        if (image_id,) in crowds:
            corners = crowds[(image_id,)].select("x1", "y1", "x2", "y2").to_numpy()
            found[index] = corners / (width, height, width, height)
    return found


class TableDataset(YOLODataset):  # type: ignore[misc]
    """One split of a Dataset as Ultralytics' loaders want it.

    Args:
        dataset: the tables of one split.
        policy: how pictures are changed where `augment` is true.
        processes: how many processes will hold a copy of the picture cache.
        fraction: share of the pictures to use, or their number if it is an integer above 1; evenly spread over the
            table, where Ultralytics would take the first ones in the order of their names.
        kwargs: what `YOLODataset` takes besides `img_path`.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        policy: Policy | None = None,
        processes: int = 1,
        fraction: float = 1.0,
        **kwargs: Any,
    ) -> None:
        dataset = self._dataset = thinned(dataset, fraction)
        self.policy = policy or Policy.off()
        imgsz = kwargs["imgsz"]
        self.keeps_pictures = fits_in_memory(dataset.images.height, imgsz, processes)
        self._paster = self._new_paster(imgsz) if kwargs.get("augment") else None
        self._crowds = {} if self._paster is None else _crowds(dataset)
        super().__init__(img_path="", cache=False, **kwargs)
        self.npy_files: list[Any] = []

    def _new_paster(self, imgsz: int) -> Paster | None:
        """Cut out what the policy pastes, from the pictures of this split."""
        pastes = self.policy.copy_paste
        return None if pastes is None else Paster.of(self._dataset, pastes, imgsz)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What copy-paste sets out to do; nothing without it."""
        return self._paster.plans if self._paster is not None else ()

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
        """Build the stage; with all pictures in memory a mosaic draws its partners from the whole split.

        Ultralytics' mosaic otherwise draws from the pictures read last, which depends on what was read before: a
        resumed run would differ from one that was never interrupted.
        """
        self.cache = "ram" if self.keeps_pictures else None
        return self._stage() if self.augment else super().build_transforms(hyp)

    def close_mosaic(self, hyp: Any) -> None:
        """Leave out what mixes pictures from here on; copy-paste stays, its pictures look like real ones."""
        self.policy = self.policy.replaced(mosaic=0.0, mixup=0.0, cutmix=0.0)
        self.transforms = self.build_transforms(hyp)

    def _stage(self) -> Compose:
        """Return the stage of the policy, in Ultralytics' order (`v8_transforms`; a test compares the two)."""
        policy = self.policy
        mixes = 0.0 if self.rect else 1.0  # pictures of several shapes are not mixed, as Ultralytics has it
        geometry = {knob: policy[knob] for knob in ("degrees", "translate", "scale", "shear", "perspective")}
        before = Compose(
            [
                Mosaic(self, imgsz=self.imgsz, p=policy["mosaic"] * mixes),
                RandomPerspective(**geometry, size=(self.imgsz, self.imgsz)),
            ]
        )
        return Compose(
            [
                before,
                MixUp(self, pre_transform=before, p=policy["mixup"] * mixes),
                CutMix(self, pre_transform=before, p=policy["cutmix"] * mixes),
                *self._albumentations(),
                RandomHSV(hgain=policy["hsv_h"], sgain=policy["hsv_s"], vgain=policy["hsv_v"]),
                RandomFlip(direction="vertical", p=policy["flipud"]),
                RandomFlip(direction="horizontal", p=policy["fliplr"]),
                Format(bbox_format="xywh", normalize=True, batch_idx=True, bgr=policy["bgr"]),
            ]
        )

    def _albumentations(self) -> list[Any]:
        if not self.policy.transforms:
            return []  # and Albumentations, which takes seconds to load, is not imported
        from .albumentations_stage import AlbumentationsStage

        require_albumentations()
        return [AlbumentationsStage(build_transforms(self.policy.transforms), self.policy.min_visibility)]

    def get_image_and_label(self, index: int) -> dict[str, Any]:
        """Return the picture with its labels, with objects pasted into it where the policy says so."""
        labels: dict[str, Any] = super().get_image_and_label(index)
        if self._paster is None or self.policy.copy_paste is None:
            return labels
        return self._with_pasted(labels, self._paster, self._crowds.get(index, np.empty((0, 4))))

    def _with_pasted(self, labels: dict[str, Any], paster: Paster, crowds: np.ndarray[Any, Any]) -> dict[str, Any]:
        height, width = labels["img"].shape[:2]
        instances: Instances = labels["instances"]
        instances.convert_bbox("xyxy")
        instances.denormalize(width, height)
        taken = np.concatenate([instances.bboxes.astype(np.float64), crowds * (width, height, width, height)])
        pasted = paster.paste(labels["img"], taken, random.Random(random.getrandbits(64)))
        if not len(pasted.boxes):
            return labels
        labels["img"] = pasted.picture
        labels["cls"] = np.concatenate([labels["cls"], self._pasted_labels(pasted.class_ids)[:, None]])
        new = Instances(
            pasted.boxes.astype(np.float32),
            instances.segments[:0],
            self._pasted_keypoints(pasted.boxes),
            bbox_format="xyxy",
            normalized=False,
        )
        labels["instances"] = Instances.concatenate([instances, new])
        return labels

    def _pasted_labels(self, class_ids: Any) -> np.ndarray[Any, Any]:
        return np.asarray(class_ids, dtype=np.float32)

    def _pasted_keypoints(self, boxes: Any) -> np.ndarray[Any, Any] | None:
        return None

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[np.ndarray[Any, Any], tuple[int, int], tuple[int, int]]:
        """Return the picture with its long side at `imgsz`, its original and its present (height, width)."""
        if self.ims[i] is None:
            path = self._dataset.picture_path(self._dataset.images["path"][i])
            picture = read_picture(path, self._dataset.value_range)
            height, width = picture.shape[:2]
            resized = at_training_size(picture, self.imgsz)
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
