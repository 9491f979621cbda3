"""The stage as a measuring instrument: pictures drawn from the very dataset that the training's loader will use.

Nothing is re-enacted. A `TracedDataset` is the training's `TableDataset` which carries two things along with each box
that the stage takes for labels like any other: its row in the table of boxes, in place of the class, and its four
corners, as keypoints. Where a box ends up, and where its object really went, can be read off what comes out.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import Format
from ultralytics.utils import DEFAULT_CFG

from ..data.dataset import Dataset
from ..policy import Policy
from ..transform_specs import require_albumentations
from .copy_paste import Paster, Plan
from .table_dataset import TableDataset

Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """What the loader yields for one picture.

    Args:
        picture: uint8 `[h, w, 3]`, RGB, as the network gets it before the division by 255.
        boxes: `[n, 4]`, px, corners.
        rows: `[n]`, row in the table of boxes; -1 for a pasted object.
        class_ids: `[n]`.
        quads: `[n, 4, 2]`, px: where the corners of the labelled box went; clipped to the picture.
        whole: `[n]`, whether all four corners lie inside the picture.
    """

    picture: npt.NDArray[np.uint8]
    boxes: Boxes
    rows: npt.NDArray[np.int64]
    class_ids: npt.NDArray[np.int64]
    quads: Boxes
    whole: npt.NDArray[np.bool_]


class TracedDataset(TableDataset):
    """A `TableDataset` whose labels are row numbers and whose boxes carry their corners.

    Args:
        dataset: the pictures to draw.
        train: the whole train split, from which objects are pasted.
        kwargs: as `TableDataset`.
    """

    def __init__(self, dataset: Dataset, *, train: Dataset, **kwargs: Any) -> None:
        self._train = train
        self.tracing = True  # corners cost time in transforms that bend pictures: off while the time is taken
        self.objects: tuple[Any, ...] = ()  # Albumentations transforms that act besides the policy's
        super().__init__(dataset, **kwargs)

    def _new_paster(self, imgsz: int) -> Paster | None:
        pastes = self.policy.copy_paste
        return None if pastes is None else Paster.of(self._train, pastes, imgsz)

    def update_labels_info(self, label: dict[str, Any]) -> dict[str, Any]:
        """Return the record with its boxes as instances; without corners while the time is taken."""
        if not self.tracing:
            label["keypoints"] = None
        labels: dict[str, Any] = super().update_labels_info(label)
        return labels

    def get_labels(self) -> list[dict[str, Any]]:
        """Return the records of `TableDataset`, with rows for classes and corners for keypoints."""
        labels = super().get_labels()
        boxes = self.tables.boxes.with_row_index("row").filter(~pl.col("crowd"))
        rows = {key[0]: part["row"].to_numpy() for key, part in boxes.partition_by("image_id", as_dict=True).items()}
        for record, image_id in zip(labels, self.tables.images["image_id"], strict=True):
            own = rows.get(image_id, np.zeros(0))
            record["cls"] = own.astype(np.float32)[:, None]
            centre, half = record["bboxes"][:, :2], record["bboxes"][:, 2:] / 2
            record["keypoints"] = _corners(np.concatenate([centre - half, centre + half], axis=1))
        return labels

    def _albumentations(self) -> list[Any]:
        if not self.objects:
            return super()._albumentations()
        require_albumentations()
        from .albumentations_stage import AlbumentationsStage

        return [*super()._albumentations(), AlbumentationsStage(self.objects, self.policy.min_visibility)]

    def _pasted_labels(self, class_ids: Any) -> np.ndarray[Any, Any]:
        return -1 - np.asarray(class_ids, dtype=np.float32)

    def _pasted_keypoints(self, boxes: Any) -> np.ndarray[Any, Any] | None:
        return _corners(np.asarray(boxes)) if self.tracing else None


class Stage:
    """A policy's stage on some pictures of a train split.

    Args:
        train: the train split.
        indices: rows of the pictures that may be drawn. A mosaic takes its partners from them as well: what comes out
            can then be counted against what went in.
        policy: of the training.
        imgsz: px, of the training.
        rect: as `train.rect`.

    Raises:
        ConfigError, TrainingError: the stage cannot be built.
    """

    def __init__(
        self, train: Dataset, indices: Sequence[int], policy: Policy, imgsz: int, *, rect: bool = False
    ) -> None:
        self.classes = train.boxes["class_id"].to_numpy().astype(np.int64)
        self._position = {index: position for position, index in enumerate(indices)}
        names = dict(enumerate(train.names))
        self.dataset = TracedDataset(
            replace(train, images=train.images[list(indices)]),
            train=train,
            policy=policy,
            imgsz=imgsz,
            batch_size=1,
            augment=True,
            rect=rect,
            hyp=get_cfg(DEFAULT_CFG),
            data={"names": names, "nc": len(names), "channels": 3},
            task="detect",
        )

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What copy-paste sets out to do; nothing where every share is reached as it is."""
        return self.dataset.plans

    def read(self, index: int) -> None:
        """Read a picture, so that drawing it does not have to."""
        self.dataset.load_image(self._position[index])

    def seconds(self, index: int, seed: int) -> float:
        """Return how long the loader takes for a picture that has been read, mosaic partners included."""
        self.dataset.tracing = False
        try:
            with seeded(seed):
                started = time.perf_counter()
                self.dataset[self._position[index]]
                return time.perf_counter() - started
        finally:
            self.dataset.tracing = True

    @contextmanager
    def acting(self, policy: Policy, objects: Sequence[Any] = ()) -> Iterator[None]:
        """Let another policy act on the same pictures while the block runs, and Albumentations objects besides it.

        Raises:
            ConfigError, TrainingError: the stage cannot be built.
        """
        before = self.dataset.policy, self.dataset.objects, self.dataset.transforms
        try:
            self.dataset.policy, self.dataset.objects = policy, tuple(objects)
            self.dataset.transforms = self.dataset.build_transforms(None)
            yield
        finally:
            self.dataset.policy, self.dataset.objects, self.dataset.transforms = before

    def draw(self, index: int, seed: int) -> Drawn:
        """Return what the loader yields for a picture when its random numbers start from this seed.

        Raises:
            TrainingError: a transform breaks.
        """
        with seeded(seed):
            labels = self.dataset.get_image_and_label(self._position[index])
            *transforms, last = self.dataset.transforms.transforms
            assert isinstance(last, Format)
            for transform in transforms:
                labels = transform(labels)
            instances = labels["instances"]
            height, width = labels["img"].shape[:2]
            instances.denormalize(width, height)
            corners = instances.keypoints.copy()
            labels = last(labels)
        return self._drawn(labels, corners)

    def _drawn(self, labels: dict[str, Any], corners: Any) -> Drawn:
        picture = np.ascontiguousarray(labels["img"].permute(1, 2, 0).numpy())
        height, width = picture.shape[:2]
        centre_size = labels["bboxes"].numpy().astype(np.float64).reshape(-1, 4) * (width, height, width, height)
        centre, half = centre_size[:, :2], centre_size[:, 2:] / 2
        traced = labels["cls"].numpy().reshape(-1).astype(np.int64)
        known = np.maximum(traced, 0)
        own = self.classes[known] if len(self.classes) else known
        places = corners[..., :2].astype(np.float64)
        return Drawn(
            picture=picture,
            boxes=np.concatenate([centre - half, centre + half], axis=1),
            rows=np.where(traced < 0, -1, traced),
            class_ids=np.where(traced < 0, -1 - traced, own),
            quads=places,
            # Albumentations lets corners lie outside and does not say so; half a pixel is what it rounds by.
            whole=(
                (corners[..., 2] > 0)
                & (places >= -0.5).all(axis=2)
                & (places <= (width + 0.5, height + 0.5)).all(axis=2)
            ).all(axis=1),
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let all random numbers start from a seed while the block runs, and put the generators back afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  Ultralytics draws from it
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def _corners(boxes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the corners of boxes `[n, 4]` as visible keypoints `[n, 4, 3]`, clockwise from the top left."""
    x, y = boxes[:, [0, 2, 2, 0]], boxes[:, [1, 1, 3, 3]]
    return np.stack([x, y, np.full_like(x, 2.0)], axis=2).astype(np.float32)
