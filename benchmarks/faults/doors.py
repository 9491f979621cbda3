"""The doors through which the fault benchmark brings its faults in: code of a user's own, around or in Ultralytics.

Each is a context manager: what it changes is as before when it ends. They change Ultralytics' classes, as a person does
who edits a block, a preprocessing step or the optimizer's groups, so that the preflight, the training and plain
Ultralytics all meet the same fault. `Onset` notes the optimiser step at which the fault first acts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pipeline  # noqa: F401  # isort: skip  before Ultralytics, which it protects
import torch
from torch import Tensor
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules import block
from ultralytics.utils.torch_utils import unwrap_model


class Onset:
    """The optimiser step at which a fault first acts; None until then."""

    step: int | None = None

    def now(self, trainer: Any) -> None:
        """Note the trainer's present step, once."""
        if self.step is None:
            self.step = int(getattr(trainer, "steps_done", 0))


Door = Callable[[Onset], AbstractContextManager[None]]


@contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Put `make(original)` in the place of an attribute while the block runs."""
    own = name in vars(owner)
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


# ---- edited blocks ---------------------------------------------------------------------------------------------------


class _WrongSign(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return -gradient


def edited_block(kind: type, edit: str) -> Door:
    """An edited block: its input is detached, or its output has a backward pass of the wrong sign."""

    @contextmanager
    def door(onset: Onset) -> Iterator[None]:
        def make(forward: Any) -> Any:
            if edit == "detached":
                return lambda self, x: forward(self, x.detach())
            return lambda self, x: _WrongSign.apply(forward(self, x))

        onset.step = 0
        with replaced(kind, "forward", make):
            yield

    return door


# ---- own preprocessing -----------------------------------------------------------------------------------------------


def prepared(make_change: Callable[[], Callable[[dict[str, Any]], bool]]) -> Door:
    """Preprocessing of one's own behind Ultralytics'; the change says whether it did something to the batch."""

    @contextmanager
    def door(onset: Onset) -> Iterator[None]:
        change = make_change()

        def make(original: Any) -> Any:
            def preprocess(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
                batch = original(self, batch)
                if change(batch):
                    onset.now(self)
                return batch

            return preprocess

        with replaced(DetectionTrainer, "preprocess_batch", make):
            yield

    return door


def standardise_flat() -> Callable[[dict[str, Any]], bool]:
    """Divide a picture by its deviation, which is zero in one of them, the first of the eleventh batch."""
    seen: dict[str, Any] = {"batches": 0, "flat": None}

    def change(batch: dict[str, Any]) -> bool:
        seen["batches"] += 1
        if seen["batches"] == 11:
            seen["flat"] = batch["im_file"][0]
        hit = [number for number, file in enumerate(batch["im_file"]) if file == seen["flat"]]
        for number in hit:
            batch["img"][number] = (batch["img"][number] - batch["img"][number]) / 0.0
        return bool(hit)

    return change


def forget_scaling() -> Callable[[dict[str, Any]], bool]:
    """Leave pixels at 0 to 255."""

    def change(batch: dict[str, Any]) -> bool:
        batch["img"] = batch["img"] * 255
        return True

    return change


# ---- own optimizer, own callbacks ------------------------------------------------------------------------------------


def left_out_of_optimizer(part: str) -> Door:
    """Take a part of the network out of the optimizer's groups."""

    @contextmanager
    def door(onset: Onset) -> Iterator[None]:
        def make(original: Any) -> Any:
            def build(self: Any, model: Any, *args: Any, **settings: Any) -> Any:
                optimizer = original(self, model, *args, **settings)
                gone = {id(p) for p in unwrap_model(model).get_submodule(part).parameters()}
                for group in optimizer.param_groups:
                    group["params"] = [p for p in group["params"] if id(p) not in gone]
                return optimizer

            return build

        onset.step = 0
        with replaced(BaseTrainer, "build_optimizer", make):
            yield

    return door


def at_start(change: Callable[[Any], None]) -> Door:
    """Run code of one's own on the network when everything is set up, as a callback on_train_start does."""

    @contextmanager
    def door(onset: Onset) -> Iterator[None]:
        def make(original: Any) -> Any:
            def setup(self: Any) -> Any:
                result = original(self)
                change(unwrap_model(self.model))
                return result

            return setup

        onset.step = 0
        with replaced(BaseTrainer, "_setup_train", make):
            yield

    return door


def freeze_part(part: str) -> Callable[[Any], None]:
    """Switch the gradient of a part off, and forget to switch it on again."""

    def change(network: Any) -> None:
        network.get_submodule(part).requires_grad_(False)

    return change


def inf_in_gradient(part: str, at: int) -> Door:
    """Put one Inf into one gradient, at one backward pass, as a kernel does that overflows in an intermediate sum."""

    @contextmanager
    def door(onset: Onset) -> Iterator[None]:
        def make(original: Any) -> Any:
            def setup(self: Any) -> Any:
                result = original(self)
                calls = {"number": 0}

                def hook(gradient: Tensor) -> Tensor:
                    calls["number"] += 1
                    if calls["number"] != at:
                        return gradient
                    onset.now(self)
                    spoilt = gradient.clone()
                    spoilt.view(-1)[0] = float("inf")
                    return spoilt

                unwrap_model(self.model).get_submodule(part).conv.weight.register_hook(hook)
                return result

            return setup

        with replaced(BaseTrainer, "_setup_train", make):
            yield

    return door


@contextmanager
def scale_forced(onset: Onset) -> Iterator[None]:
    """Start half precision's loss scale at 2^24, where it takes eight skipped steps to come down to the usual 2^16."""

    def make(original: Any) -> Any:
        def setup(self: Any) -> Any:
            result = original(self)
            self.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**24)
            return result

        return setup

    onset.step = 0
    with replaced(BaseTrainer, "_setup_train", make):
        yield


BOTTLENECK, POOLING = block.Bottleneck, block.SPPF
