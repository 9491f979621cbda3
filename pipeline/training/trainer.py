"""The thin subclass of Ultralytics' trainer: it exposes moments and replaces what would lose or distort information.

What it overrides and why:

| method | what Ultralytics does | what happens here |
|---|---|---|
| get_dataset, build_dataset | reads a data.yaml and label files | feeds the run's tables |
| setup_model | reads checkpoints, resumes from half precision EMA weights | reads weights without running code |
| preprocess_batch | - | notes the pictures of the batch |
| optimizer_step | clips at 10 and throws the norm away | measures, clips with the measured norm |
| save_metrics | appends to results.csv | appends the epoch's record, before the checkpoint is written |
| save_model | writes in place, optimiser inside | atomic; best/last hold weights, resume.pt the exact state |
| resume_training | half precision EMA and optimiser | the exact state: on the CPU as if never stopped |
| _handle_nan_recovery | goes back an epoch, or only warns | stops and says why; nothing non-finite was saved |
| final_eval | validates best.pt once more | nothing: these weights were validated when they were saved |

`tests/unit/training/test_upstream.py` fails when one of these methods changes in the installed Ultralytics.
"""

from __future__ import annotations

import math
import random
import time
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import ultralytics.engine.trainer as upstream
from torch import Tensor, nn
from ultralytics import __version__ as ultralytics_version
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import DEFAULT_CFG, RANK
from ultralytics.utils.torch_utils import unwrap_model

from ..errors import TrainingError
from ..leash import thread_count, tighten
from ..model_source import load_weights
from ..runs import EPOCHS, EVENTS, STEPS, Run, now, write_atomic
from .gradients import StepMonitor
from .table_dataset import TableDataset


class Watcher(Protocol):
    """Someone who follows a training: the terminal, the report, a logger. Called on rank 0 only."""

    def on_start(self, run: Run, epochs: int, first_epoch: int, batches: int) -> None:
        """Training begins or goes on; `batches` per epoch."""

    def on_batch(self, epoch: int, batch: int) -> None:
        """A batch was back-propagated."""

    def on_steps(self, records: list[dict[str, Any]]) -> None:
        """Optimiser steps were taken; the records of `steps.jsonl`."""

    def on_epoch(self, record: dict[str, Any]) -> None:
        """An epoch was trained and validated; the record of `epochs.jsonl`."""


class StopRequested(Exception):
    """Raised between two batches when somebody asked the training to stop."""


def amp_is_sound(model: nn.Module) -> bool:
    """Whether this model gives finite values in half precision on its device.

    Ultralytics' own check downloads weights of another model and compares on them; here the model itself is tried.
    """
    parameter = next(model.parameters())
    if parameter.device.type != "cuda":
        return False
    training = model.training
    picture = torch.full((1, 3, 256, 256), 0.5, device=parameter.device)
    with torch.no_grad(), torch.autocast("cuda"):
        output = model.eval()(picture)
    model.train(training)
    first = output[0] if isinstance(output, tuple | list) else output
    return bool(torch.isfinite(first).all())


class TuneUpTrainer(DetectionTrainer):  # type: ignore[misc]
    """Trains the dataset of a run folder; `save_dir` is that folder.

    Everything it needs it finds there, because Ultralytics starts several GPUs by building the trainer anew in other
    processes from `overrides` alone.
    """

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        self.run = Run((overrides or {})["save_dir"])
        config = self.run.config
        tighten(config["monitor"]["loggers"])
        upstream.check_amp = amp_is_sound
        self.watchers: list[Watcher] = []
        self.stop_requested = False
        self.monitor = StepMonitor(config["monitor"]["clip"], self._keep_steps)
        self.steps_done = 0
        self.seconds_before = 0.0
        self._accumulate = 1
        self._resumed: dict[str, Any] | None = None
        self._last_step_batch = -1
        self._first_step_delay = 0
        self._batch_counted = False
        self.model: Any
        self.start_epoch: int
        self.best_fitness: Any
        super().__init__(cfg, overrides, _callbacks)
        if self.device.type == "cpu":
            torch.set_num_threads(thread_count())  # Ultralytics has just set cpu_count - 1
        self.add_callback("on_train_start", TuneUpTrainer._announce_start)
        self.add_callback("on_train_epoch_start", TuneUpTrainer._begin_epoch)
        self.add_callback("on_train_batch_end", TuneUpTrainer._end_batch)
        self.add_callback("on_val_batch_end", lambda _: self._stop_if_requested())

    # ---- data and model --------------------------------------------------------------------------------------------

    def get_dataset(self) -> dict[str, Any]:
        """Describe the run's dataset the way Ultralytics wants it; a split's name stands for its path."""
        self.dataset = self.run.dataset()
        names = dict(enumerate(self.dataset.names))
        splits = {name: name for name in ("train", "val", "test")}
        return {"names": names, "nc": len(names), "channels": 3, "path": str(self.dataset.root), **splits}

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> TableDataset:
        """Build the loader's dataset of one split."""
        training = mode == "train"
        processes = max(1, self.args.workers) * (1 if training else 2) if self.args.workers else 1
        return TableDataset(
            self.dataset.split(img_path),
            processes=processes,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            rect=self.args.rect or not training,
            stride=max(int(unwrap_model(self.model).stride.max()), 32),
            pad=0.0 if training else 0.5,
            single_cls=self.args.single_cls or False,
            fraction=self.args.fraction if training else 1.0,
            data=self.data,
            task="detect",
        )

    def setup_model(self) -> None:
        """Build the model, with the weights of a checkpoint where there is one."""
        path = str(self.model)
        weights = load_weights(Path(path)) if path.endswith(".pt") else None
        cfg = weights.yaml if weights is not None else path
        if isinstance(self.args.pretrained, str):
            weights = load_weights(Path(self.args.pretrained))
        elif self.args.pretrained is False:
            weights = None
        self.model = self.get_model(cfg=cfg, weights=weights, verbose=False)

    # ---- one step --------------------------------------------------------------------------------------------------

    @property
    def accumulate(self) -> int:
        """Batches per optimiser step.

        Ultralytics' loop steps when enough batches passed since the last step, and has forgotten that step after a
        resume; until the first one afterwards the missing count is added here.
        """
        return self._accumulate + self._first_step_delay

    @accumulate.setter
    def accumulate(self, value: int) -> None:
        self._accumulate = value

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Note how many pictures the batch has."""
        batch = super().preprocess_batch(batch)
        self._batch_images = len(batch["img"])
        self._batch_counted = False
        return batch

    def _count_batch(self) -> None:
        if not self._batch_counted:
            self.monitor.add_batch(self._batch_images, self.loss, self.loss_items)
            self._batch_counted = True

    def optimizer_step(self) -> None:
        """Step as Ultralytics does, with the norm measured once, before clipping, and kept."""
        self._count_batch()
        self.scaler.unscale_(self.optimizer)
        norm = self.monitor.measure_and_clip(self.model.parameters())
        scale = self.scaler.get_scale() if self.scaler.is_enabled() else None
        facts = self._step_facts(scale)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        facts["skipped"] = scale is not None and self.scaler.get_scale() < scale
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)
        if RANK in {-1, 0}:
            self.monitor.end_step(norm, facts)
        self.steps_done += 1
        self._first_step_delay = 0
        self._last_step_batch = self._batches + 1  # this batch's number; it is counted when it ends

    def _step_facts(self, scale: float | None) -> dict[str, Any]:
        criterion = unwrap_model(self.model).criterion
        rates = zip(self._group_names(), self.optimizer.param_groups, strict=True)
        return {
            "step": self.steps_done,
            "epoch": self.epoch,
            "seconds": round(self._seconds(), 3),
            **{f"lr_{name}": group["lr"] for name, group in rates},
            "o2m": getattr(criterion, "o2m", None),  # weight of YOLO26's one-to-many branch in the loss
            "loss_scale": scale,
        }

    def _group_names(self) -> list[str]:
        """Return a name for each parameter group; MuSGD splits each into the faster head and the rest."""
        names: list[str] = []
        for index, group in enumerate(self.optimizer.param_groups):
            name = str(group.get("param_group", index))
            names.append(f"{name}_rest" if name in names else name)
        return names

    def _seconds(self) -> float:
        return self.seconds_before + time.time() - float(self.train_time_start)

    def _keep_steps(self, records: list[dict[str, Any]]) -> None:
        self.run.append(STEPS, records)
        for watcher in self.watchers:
            watcher.on_steps(records)

    # ---- moments ---------------------------------------------------------------------------------------------------

    def _announce_start(self) -> None:
        self._batches = len(self.train_loader) * self.start_epoch - 1
        self._first_step_delay = 0
        if self._resumed is not None:
            self._last_step_batch = self._resumed["last_step_batch"]
            self._first_step_delay = self._last_step_batch + 1
        if RANK in {-1, 0}:
            group = self.optimizer.param_groups[0]
            self.run.update_state(
                epochs=self.epochs,
                optimizer=type(self.optimizer).__name__,
                lr0=group["initial_lr"],
                batch=self.batch_size,
                device=str(self.device),
                threads=torch.get_num_threads(),
            )
            self._event("resume" if self.start_epoch else "start", self.start_epoch, f"epoch {self.start_epoch + 1}")
            for watcher in self.watchers:
                watcher.on_start(self.run, self.epochs, self.start_epoch, len(self.train_loader))

    def _begin_epoch(self) -> None:
        """Make the epoch a function of seed and number alone, so that a resumed run takes the same path."""
        seed = (self.args.seed + 1) * 1_000_003 + self.epoch * 101 + max(RANK, 0)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  Ultralytics' transforms draw from the global generator
        torch.manual_seed(seed)
        loader = self.train_loader
        if loader.num_workers == 0 or (self._resumed is not None and self.epoch == self.start_epoch):
            loader.generator.manual_seed(seed)
            loader.reset()
        if self._resumed is not None and self.epoch == self.start_epoch:
            for name, parameter in unwrap_model(self.model).named_parameters():
                gradient = self._resumed["gradients"].get(name)
                parameter.grad = None if gradient is None else gradient.to(self.device)
            self.monitor.load_state(self._resumed["open_step"])
        self.epoch_started = time.time()
        if self.args.close_mosaic and self.epoch == max(self.epochs - self.args.close_mosaic, 0):
            self._event("close_mosaic", self.epoch, "mosaic off from here")

    def _end_batch(self) -> None:
        self._count_batch()
        self._batches += 1
        batches = len(self.train_loader)
        if self._batches and self._batches == self._get_warmup_iterations(batches):
            self._event("warmup_end", self.epoch, "warm-up ends")
        for watcher in self.watchers:
            watcher.on_batch(self.epoch, self._batches - batches * self.epoch)
        self._stop_if_requested()

    def _stop_if_requested(self) -> None:
        if self.stop_requested:
            raise StopRequested

    def _event(self, event: str, epoch: int, text: str) -> None:
        if RANK in {-1, 0}:
            record = {"event": event, "epoch": epoch, "step": self.steps_done, "time": now(), "text": text}
            self.run.append(EVENTS, [record])

    # ---- end of an epoch -------------------------------------------------------------------------------------------

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Append the epoch's record; called before the checkpoint, so that a checkpoint never lacks its record."""
        self.monitor.flush()
        best = self.best_fitness == self.fitness
        record = {
            "epoch": self.epoch,
            "seconds": round(time.time() - self.epoch_started, 3),
            "steps": self.steps_done,
            **{key.replace("/", "_"): value for key, value in metrics.items() if key.startswith(("train/", "val/"))},
            "val_map50": self.metrics["metrics/mAP50(B)"],
            "val_map50_95": self.metrics["metrics/mAP50-95(B)"],
            "val_precision": self.metrics["metrics/precision(B)"],
            "val_recall": self.metrics["metrics/recall(B)"],
            "fitness": float(self.fitness),
            "best": bool(best),
        }
        self.run.append(EPOCHS, [record])
        self.run.update_state(epochs_done=self.epoch + 1, seconds=round(self._seconds(), 1))
        self.epoch_record = record

    def save_model(self) -> bool:
        """Write last.pt, best.pt and, last of all, resume.pt, each in one piece."""
        model = deepcopy(self.ema.ema)
        model.criterion = None
        if not all(bool(torch.isfinite(v).all()) for v in model.state_dict().values()):
            raise TrainingError(f"the weights are no longer finite after epoch {self.epoch + 1}; {_NAN_ADVICE}")
        model.half().requires_grad_(False)
        for value in model.state_dict().values():
            if value.is_floating_point():
                torch.nan_to_num_(value)  # a value too large for half precision becomes the largest one
        checkpoint = {
            "epoch": -1,  # complete, as Ultralytics marks it: going on is resume.pt's business
            "model": model,
            "ema": None,
            "optimizer": None,
            "best_fitness": None,
            "updates": None,
            "train_args": vars(self.args),
            "train_metrics": {**self.metrics, "fitness": float(self.fitness)},
            "date": now(),
            "version": ultralytics_version,
            "license": "AGPL-3.0 (https://ultralytics.com/license)",
            "docs": "https://docs.ultralytics.com",
            "tuneup": {"run": self.run.name, "epoch": self.epoch},
        }
        write_atomic(self.last, lambda path: torch.save(checkpoint, path))
        if self.best_fitness == self.fitness:
            write_atomic(self.best, lambda path: torch.save(checkpoint, path))
        period = self.save_period
        if period > 0 and self.epoch % period == 0:
            write_atomic(self.wdir / f"epoch{self.epoch}.pt", lambda path: torch.save(checkpoint, path))
        if not self.stop:
            write_atomic(self.run.weights("resume"), lambda path: torch.save(self._exact_state(), path))
        for watcher in self.watchers:
            watcher.on_epoch(self.epoch_record)
        if self.stop and self.epoch + 1 < self.epochs:
            self._event("early_stop", self.epoch, f"no better epoch for {self.args.patience}")
        return True

    def _exact_state(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on, in full precision and plain types."""
        model = unwrap_model(self.model)
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None and self.monitor.images}
        return {
            "epoch": self.epoch,
            "model": model.state_dict(),
            "ema": self.ema.ema.state_dict(),
            "ema_updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_fitness": float(self.best_fitness),
            "stopper": {"best_fitness": self.stopper.best_fitness, "best_epoch": self.stopper.best_epoch},
            "criterion_updates": getattr(model.criterion, "updates", None),
            "gradients": gradients,
            "open_step": self.monitor.state(),
            "last_step_batch": self._last_step_batch,
            "steps_done": self.steps_done,
            "seconds": self._seconds(),
        }

    def resume_training(self, ckpt: Any) -> None:
        """Take up the exact state of the last complete epoch, if the run folder has one."""
        path = self.run.weights("resume")
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        model = unwrap_model(self.model)
        model.load_state_dict(state["model"])
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["ema_updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.best_fitness = state["best_fitness"]
        self.stopper.best_fitness = state["stopper"]["best_fitness"]
        self.stopper.best_epoch = state["stopper"]["best_epoch"]
        model.criterion = model.init_criterion()
        if state["criterion_updates"]:
            model.criterion.updates = state["criterion_updates"] - 1
            model.criterion.update()
        self.start_epoch = state["epoch"] + 1
        self.steps_done = state["steps_done"]
        self.seconds_before = state["seconds"]
        self._resumed = state

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Stop on a loss or score that is no number; nothing of this epoch was or will be saved."""
        loss = float(self.loss.detach()) if isinstance(self.loss, Tensor) else 0.0
        if math.isfinite(loss) and (self.fitness is None or math.isfinite(float(self.fitness))):
            return False
        what = "loss" if not math.isfinite(loss) else "validation score"
        raise TrainingError(f"the {what} is no number any more in epoch {epoch + 1}; {_NAN_ADVICE}")

    def final_eval(self) -> None:
        """Do nothing: best.pt was validated when it was saved."""

    def plot_metrics(self) -> None:
        """Do nothing: the report draws the curves."""


_NAN_ADVICE = (
    "the weights of the last sound epoch are kept. Lower train.lr0 to a third, "
    "or set train.amp=bf16 (or false) if this run used half precision"
)
