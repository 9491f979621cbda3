"""A training that is set up as the real one will be, on which checks may try things out; nothing of it is kept."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG
from ultralytics.utils.torch_utils import unset_deterministic, unwrap_model

from ..config import Config
from ..data.dataset import Dataset
from ..leash import chatter_to, tighten
from ..model_source import load_weights
from ..runs import Run, write_atomic
from .context import step_batches, training_context
from .observer import keep_pictures
from .replay import Batch, Situation
from .trainer import TuneUpTrainer


class Trial:
    """Model, optimizer and loader of a training to come.

    Args:
        trainer: set up, not started.
    """

    def __init__(self, trainer: TuneUpTrainer) -> None:
        self.trainer = trainer
        self.model: nn.Module = unwrap_model(trainer.model)
        self.device = trainer.device
        self._start = {name: value.clone() for name, value in self.model.state_dict().items()}
        scale = trainer.scaler.get_scale() if trainer.scaler.is_enabled() else 1.0
        self.situation = Situation(self.model, lambda batch: batch, trainer.precision, self.device.type, scale)

    def close(self) -> None:
        """Let go of everything, so that the real training finds the memory as it was."""
        for name in ("train_loader", "test_loader"):
            loader = getattr(self.trainer, name, None)
            if loader is not None:
                loader.close()
        vars(self).clear()

    def restore(self) -> None:
        """Put the weights back to where the training will start."""
        self.model.load_state_dict(self._start)
        self.model.zero_grad(set_to_none=True)
        self.model.train()

    def training_batches(self) -> Iterator[Batch]:
        """Yield augmented batches as the training will see them, without end."""
        while True:
            for batch in self.trainer.train_loader:
                yield self.trainer.preprocess_batch(batch)
                self.trainer.guard.forget_batches()

    def fixed_batch(self, pictures: int, imgsz: int) -> Batch | None:
        """Return a batch of pictures with boxes, not augmented; None if train has no boxes."""
        train = self.trainer.train_loader.dataset.tables
        with_boxes = train.images.filter(train.images["image_id"].is_in(train.boxes["image_id"].implode()))
        if with_boxes.is_empty():
            return None
        dataset = replace(train, images=with_boxes)
        batch = keep_pictures(dataset, pictures, imgsz, self.trainer.stride, self.trainer.args)[0]
        moved = {key: v.to(self.device) if isinstance(v, Tensor) else v for key, v in batch.items()}
        return {**moved, "img": moved["img"].float() / 255}

    def new_optimizer(self) -> torch.optim.Optimizer:
        """Return an optimizer as the training will have, without any state."""
        args, old = self.trainer.args, self.trainer.optimizer
        name = type(old).__name__
        new: Any = self.trainer.build_optimizer(
            self.model, name, args.lr0, args.momentum, old.param_groups[0].get("weight_decay", 0.0), 1
        )
        for group, known in zip(new.param_groups, old.param_groups, strict=True):
            group["weight_decay"] = known["weight_decay"]
        return new  # type: ignore[no-any-return]

    def context(self) -> dict[str, Any]:
        """Return the context of the training to come, as a run keeps it."""
        batches = len(self.trainer.train_loader)
        warmup = self.trainer._get_warmup_iterations(batches)
        ends = list(step_batches(batches, self.trainer.epochs, warmup, self.trainer.nominal_accumulate))
        return training_context(self.trainer, ends, warmup)


@contextmanager
def trial(config: Config, dataset: Dataset, overrides: dict[str, Any]) -> Iterator[Trial]:
    """Set a training up in a folder that is gone afterwards; on several GPUs, on the first.

    Args:
        config: of the training to come.
        dataset: with its splits.
        overrides: arguments for Ultralytics' trainer, as the training will get them.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        run.save_tables(dataset)
        quiet = config.model_copy(update={"monitor": config.monitor.model_copy(update={"loggers": []})})
        write_atomic(run.path / "config.yaml", quiet.to_yaml())
        devices = overrides.get("device")
        names = devices if isinstance(devices, list) else str(devices).split(",") if devices is not None else [None]
        first: dict[str, Any] = {"device": names[0], "save_dir": folder, "compile": False}
        if len(names) > 1 and int(overrides["batch"]) > 1:
            first["batch"] = max(1, int(overrides["batch"]) // len(names))  # each GPU's part
        made = None
        with chatter_to(run.path / "ultralytics.log"):
            try:
                trainer = TuneUpTrainer(overrides={**overrides, **first})
                trainer._setup_train()
                made = Trial(trainer)
                del trainer
                yield made
            finally:
                unset_deterministic()
                if made is not None:
                    made.close()
                gc.collect()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()


def bare_model(path: Path) -> nn.Module:
    """Return a detection model from an architecture (.yaml, random weights) or a checkpoint (.pt).

    Raises:
        ModelError: the checkpoint cannot be read.
    """
    tighten()
    if path.suffix == ".pt":
        model: Any = load_weights(path)
    else:
        torch.manual_seed(0)
        model = DetectionModel(str(path), verbose=False)
    model.args = get_cfg(DEFAULT_CFG)
    return model.float()  # type: ignore[no-any-return]
