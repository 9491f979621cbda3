"""The plain validation loss of a checkpoint, picture by picture, so that two checkpoints can be compared in pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from ultralytics.cfg import get_cfg
from ultralytics.utils import DEFAULT_CFG
from ultralytics.utils.torch_utils import select_device

from ..data.dataset import Dataset
from ..leash import tighten
from ..model_source import load_weights
from . import losses
from .observer import keep_pictures

MOST_PICTURES = 128  # of a split, evenly spread: 160 MB at 640 px


def spread(part: Dataset) -> Dataset:
    """Return at most `MOST_PICTURES` pictures with boxes of a split, evenly spread, ordered by their number.

    Without boxes a collapsed network has no loss, and an honest one has some. A split without any box is left whole.
    """
    images = part.images.sort("image_id")
    with_boxes = images.filter(pl.col("image_id").is_in(part.boxes["image_id"].implode()))
    images = images if with_boxes.is_empty() else with_boxes
    rows = np.linspace(0, images.height - 1, min(images.height, MOST_PICTURES)).round().astype(int)
    chosen = images[rows]
    kept = part.boxes["image_id"].is_in(chosen["image_id"].implode())
    return replace(part, images=chosen, boxes=part.boxes.filter(kept))


def picture_losses(weights: Path, part: Dataset, imgsz: int, device: str = "") -> NDArray[np.float64]:
    """Return the loss of each picture `[i]`, not augmented, in evaluation mode; inf where there is none to speak of.

    Terms are weighed by Ultralytics' default gains and both branches of YOLO26 alike, whatever the training had, so
    that checkpoints of trainings with other gains can be compared. A network that has collapsed assigns none of its
    predictions to any object: its loss is next to nothing, though it knows nothing. Where a picture with boxes has no
    loss for them, and where the loss is not finite, it is inf.

    Args:
        weights: a checkpoint of the classes of `part`.
        part: one split; the losses are in the order of its pictures by number.
        imgsz: long side in pixels.
        device: as in `train.device`; empty for the first GPU, or the CPU where there is none.

    Raises:
        ModelError: the checkpoint cannot be read.
        DataError: a picture cannot be read.
    """
    tighten()
    place = select_device(device, verbose=False)
    model: Any = load_weights(weights).to(place)
    model.args = get_cfg(DEFAULT_CFG, {"imgsz": imgsz})
    losses.install(model)
    images = part.images.sort("image_id")
    rows = {str(part.picture_path(path)): row for row, path in enumerate(images["path"])}
    found = np.full(images.height, np.inf)
    for batch in keep_pictures(part, images.height, imgsz, max(int(model.stride.max()), 32), model.args):
        for index, file in enumerate(batch["im_file"]):
            found[rows[str(file)]] = _loss(model, _alone(batch, index, place))
    return found


def _alone(batch: Mapping[str, Any], index: int, device: torch.device) -> dict[str, Tensor]:
    """Return one picture of a batch with its boxes as a batch of its own."""
    own = batch["batch_idx"] == index
    rows = {key: batch[key][own].to(device) for key in ("cls", "bboxes")}
    image = batch["img"][index : index + 1].to(device).float() / 255
    return {**rows, "batch_idx": torch.zeros(int(own.sum()), device=device), "img": image}


def _loss(model: nn.Module, batch: Mapping[str, Tensor]) -> float:
    terms = losses.mean_terms(model, [batch])
    branched = [value for name, value in terms.items() if name.startswith(losses.BRANCHES)]
    total = sum(branched) / len(losses.BRANCHES) if branched else sum(terms.values())
    of_boxes = sum(value for name, value in terms.items() if name.endswith("box_loss"))
    unknown = not math.isfinite(total) or (len(batch["cls"]) > 0 and of_boxes == 0)
    return math.inf if unknown else total
