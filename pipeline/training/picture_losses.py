"""The plain validation loss of a checkpoint, picture by picture, so that two checkpoints can be compared in pairs.

After a hundred steps from random weights BatchNorm's running statistics lag behind the weights: a training that learns
can have many times the loss of one that learns nothing. The statistics are therefore measured anew on train pictures,
by the weights as they are ("precise" statistics: Wu and Johnson, arXiv 2105.07576), so that weights are compared.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from ultralytics.cfg import get_cfg
from ultralytics.utils import DEFAULT_CFG
from ultralytics.utils.torch_utils import select_device

from ..data.dataset import Dataset
from ..leash import tighten
from ..model_source import load_weights
from . import losses
from .observer import keep_pictures

MOST_PICTURES = 128  # of a split, evenly spread: 160 MB at 640 px
# Box loss of a picture with boxes, below which no prediction is assigned to speak of. With Ultralytics' gain of 7.5 it
# would otherwise be a mean overlap of 0.987, which no detector reaches; networks that learn have 3 (drawn steel).
UNASSIGNED = 0.1


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


def picture_losses(
    weights: Path, part: Dataset, train: Dataset, imgsz: int, device: str = "", frozen: Collection[str] = ()
) -> NDArray[np.float64]:
    """Return the loss of each picture `[i]`, not augmented, in evaluation mode; inf where there is none to speak of.

    Terms are weighed by Ultralytics' default gains and both branches of YOLO26 alike, whatever the training had, so
    that checkpoints of trainings with other gains can be compared. A network that has collapsed assigns none of its
    predictions to any object: its loss is next to nothing, though it knows nothing. Where the boxes of a picture have
    less than `UNASSIGNED`, and where the loss is not finite, it is inf.

    Args:
        weights: a checkpoint of the classes of `part`.
        part: one split; the losses are in the order of its pictures by number.
        train: pictures on which BatchNorm's statistics are measured, `MOST_PICTURES` of them at most.
        imgsz: long side in pixels.
        device: as in `train.device`; empty for the first GPU, or the CPU where there is none.
        frozen: names of weights that did not learn; BatchNorm did not either there, and keeps its statistics.

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
    stride = max(int(model.stride.max()), 32)
    _measure_statistics(model, keep_pictures(train, MOST_PICTURES, imgsz, stride, model.args), place, frozen)
    for batch in keep_pictures(part, images.height, imgsz, stride, model.args):
        for index, file in enumerate(batch["im_file"]):
            found[rows[str(file)]] = _loss(model, _alone(batch, index, place))
    return found


def _measure_statistics(
    model: nn.Module, batches: Sequence[Mapping[str, Any]], device: torch.device, frozen: Collection[str]
) -> None:
    """Set running means and variances to the averages over these batches, and leave the model in evaluation mode."""
    still = {name.rpartition(".")[0] for name in frozen}
    layers = [m for name, m in model.named_modules() if isinstance(m, _BatchNorm) and name not in still]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    with torch.no_grad():
        for batch in batches:
            model(batch["img"].to(device).float() / 255)
    model.eval()


def _alone(batch: Mapping[str, Any], index: int, device: torch.device) -> dict[str, Tensor]:
    """Return one picture of a batch with its boxes as a batch of its own."""
    own = batch["batch_idx"] == index
    rows = {key: batch[key][own].to(device) for key in ("cls", "bboxes")}
    image = batch["img"][index : index + 1].to(device).float() / 255
    return {**rows, "batch_idx": torch.zeros(int(own.sum()), device=device), "img": image}


def _loss(model: nn.Module, batch: Mapping[str, Tensor]) -> float:
    terms = losses.mean_terms(model, [batch])
    branches = len(losses.BRANCHES) if any(name.startswith(losses.BRANCHES) for name in terms) else 1
    total = sum(terms.values()) / branches
    of_boxes = sum(value for name, value in terms.items() if name.endswith("box_loss")) / branches
    unknown = not math.isfinite(total) or (len(batch["cls"]) > 0 and of_boxes < UNASSIGNED)
    return math.inf if unknown else total
