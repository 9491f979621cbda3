"""The plain validation loss of a checkpoint, picture by picture, so that two checkpoints can be compared in pairs.

After a hundred steps from random weights BatchNorm's running statistics lag behind the weights: a training that learnt
had 3.6 times the loss of one that learnt nothing (docs/benchmarks/faults.md). The statistics are therefore measured
anew on train pictures, by the weights as they are, so that weights are compared. Wu and Johnson (arXiv 2105.07576) call
such statistics precise; theirs count the spread between batches as well, which batches of mixed pictures hardly have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from ..errors import DataError
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
    weights: Path, part: Dataset, train: Dataset, imgsz: int, device: str = "", freeze: Sequence[str] = ()
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
        freeze: parts of the names of layers that were frozen (`freeze` of the context): there BatchNorm keeps its
            statistics, as Ultralytics lets it do in training.

    Raises:
        ModelError: the checkpoint cannot be read.
        DataError: a picture cannot be read, or there is none of train.
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
    _measure_statistics(model, keep_pictures(train, MOST_PICTURES, imgsz, stride, model.args), place, freeze)
    for batch in keep_pictures(part, images.height, imgsz, stride, model.args):
        for index, file in enumerate(batch["im_file"]):
            found[rows[str(file)]] = _loss(model, _alone(batch, index, place))
    return found


def _measure_statistics(
    model: nn.Module, batches: Sequence[Mapping[str, Any]], device: torch.device, freeze: Sequence[str]
) -> None:
    """Set running means and variances to the means of those of whole batches, and leave the model in evaluation mode.

    A last batch of fewer pictures would weigh as much as the others.
    """
    if not batches:
        raise DataError("no picture of train to measure BatchNorm's statistics on")
    layers = [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, _BatchNorm) and not any(part in name for part in freeze)
    ]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    with torch.no_grad():
        for batch in batches:
            if len(batch["img"]) == len(batches[0]["img"]):
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
