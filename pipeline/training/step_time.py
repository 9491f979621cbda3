"""How long a training step takes, without data and without weights: neither changes the time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import torch
from ultralytics.utils.torch_utils import select_device

from ..config import Config
from ..errors import ModelError
from ..model_source import resolve_model
from .trial import bare_model

_PICTURES = 4  # timed; a step grows in proportion from there on
_PASSES = 2  # the first one is slower: memory is allocated, kernels are chosen
_BOXES = 4  # of each picture: their number hardly matters


class StepTime(NamedTuple):
    """Seconds of one optimiser step's forward and backward pass, for how many pictures, on what."""

    seconds: float
    batch: int
    device: str


def step_time(config: Config) -> StepTime:
    """Time forward and backward passes of the configured network on random pictures, and scale them to its batch.

    Raises:
        ModelError: there is no such architecture.
    """
    device = select_device(config.train.device, verbose=False) if config.train.device is not None else _default()
    model = bare_model(_architecture(config)).to(device).train()
    batch = config.train.batch if isinstance(config.train.batch, int) and config.train.batch > 0 else 16
    pictures = min(_PICTURES, batch)
    size = int(config.train.imgsz)
    example = {
        "img": torch.rand(pictures, 3, size, size, device=device),
        "cls": torch.zeros(pictures * _BOXES, 1, device=device),
        "bboxes": torch.full((pictures * _BOXES, 4), 0.3, device=device),
        "batch_idx": torch.arange(pictures, device=device).repeat_interleave(_BOXES).float(),
    }
    seconds = 0.0
    for _ in range(_PASSES):
        model.zero_grad(set_to_none=True)
        started = time.perf_counter()
        loss, _ = model(dict(example))
        loss.sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return StepTime(seconds / pictures * batch, batch, device.type)


def _default() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _architecture(config: Config) -> Path:
    """Return the file of the network, or its architecture where the weights are not on this machine."""
    name = config.model.name
    for place in (Path(name), config.model.weights / name):
        if place.is_file():
            return place
    if name.endswith(".pt") and Path(name).name == name:
        return resolve_model(f"{Path(name).stem}.yaml", config.model.weights)
    if name.endswith(".pt"):
        raise ModelError(f"no such file: {Path(name).absolute()}")
    return resolve_model(name, config.model.weights)
