"""The thin subclass of Ultralytics' trainer: it exposes moments and replaces what would lose or distort information.

What it overrides and why:

| method | what Ultralytics does | what happens here |
|---|---|---|
| get_dataset, build_dataset | reads a data.yaml and label files | feeds the run's tables |
| setup_model | reads checkpoints, resumes from half precision EMA weights | reads weights without running code |
| preprocess_batch | - | notes the pictures of the batch |
| build_optimizer | steps tensor by tensor on the CPU | torch's fused CPU step: the same update in one pass |
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
from pathlib import Path
from typing import Any

import numpy as np
import torch
import ultralytics.engine.trainer as upstream
from torch import Tensor
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import DEFAULT_CFG, RANK
from ultralytics.utils.torch_utils import unwrap_model

from ..errors import TrainingError
from ..leash import thread_count, tighten
from ..model_source import load_weights
from ..runs import EPOCHS, EVENTS, STEPS, Run, now
from . import checkpoints
from .gradients import StepMonitor
from .precision import amp_is_sound
from .table_dataset import TableDataset
from .watcher import StopRequested, Watcher


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
        self.last_step_batch = -1
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

    def build_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Build the optimizer; on the CPU with torch's fused step, as Ultralytics does on a GPU."""
        optimizer: torch.optim.Optimizer = super().build_optimizer(*args, **kwargs)
        if self.device.type == "cpu" and type(optimizer) in {torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD}:
            for group in optimizer.param_groups:
                group.update(fused=True, foreach=False)
        return optimizer

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
        self.last_step_batch = self._batches + 1  # this batch's number; it is counted when it ends

    def _step_facts(self, scale: float | None) -> dict[str, Any]:
        criterion = unwrap_model(self.model).criterion
        rates = zip(self._group_names(), self.optimizer.param_groups, strict=True)
        return {
            "step": self.steps_done,
            "epoch": self.epoch,
            "seconds": round(self.seconds(), 3),
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

    def seconds(self) -> float:
        """Return the training time of the run so far, over all its parts."""
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
            self.last_step_batch = self._resumed["last_step_batch"]
            self._first_step_delay = self.last_step_batch + 1
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
        if self.args.mosaic and self.args.close_mosaic and self.epoch == max(self.epochs - self.args.close_mosaic, 0):
            self._event("close_mosaic", self.epoch, "mosaic off from here")

    def _end_batch(self) -> None:
        self._count_batch()
        self._batches += 1
        batches = len(self.train_loader)
        if self._batches and self._batches == self._get_warmup_iterations(batches):
            self._event("warmup_end", self.epoch, "warm-up ends")
        for watcher in self.watchers:
            watcher.on_batch(self.epoch, self._batches + 1 - batches * self.epoch)
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
        self.run.update_state(epochs_done=self.epoch + 1, seconds=round(self.seconds(), 1))
        self.epoch_record = record

    def save_model(self) -> bool:
        """Write last.pt, best.pt and, last of all, resume.pt, each in one piece."""
        checkpoint = checkpoints.for_use(self)
        if checkpoint is None:
            raise TrainingError(f"the weights are no longer finite after epoch {self.epoch + 1}; {_NAN_ADVICE}")
        checkpoints.write(self.last, checkpoint)
        if self.best_fitness == self.fitness:
            checkpoints.write(self.best, checkpoint)
        if self.save_period > 0 and self.epoch % self.save_period == 0:
            checkpoints.write(self.wdir / f"epoch{self.epoch}.pt", checkpoint)
        if not self.stop:
            checkpoints.write(self.run.weights("resume"), checkpoints.exact_state(self))
        for watcher in self.watchers:
            watcher.on_epoch(self.epoch_record)
        if self.stop and self.epoch + 1 < self.epochs:
            self._event("early_stop", self.epoch, f"no better epoch for {self.args.patience}")
        return True

    def resume_training(self, ckpt: Any) -> None:
        """Take up the exact state of the last complete epoch, if the run folder has one."""
        path = self.run.weights("resume")
        if path.is_file():
            self._resumed = checkpoints.restore(self, path)

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
