"""The thin subclass of Ultralytics' trainer: it exposes moments and replaces what would lose or distort information.

What it overrides and why:

| method | what Ultralytics does | what happens here |
|---|---|---|
| get_dataset, build_dataset | reads a data.yaml and label files | feeds the run's tables |
| setup_model | reads checkpoints, resumes from half precision EMA weights | reads weights without running code |
| _build_train_pipeline | builds anew after running out of memory | forgets the open step, says so |
| preprocess_batch | - | notes the pictures of the batch, keeps them for a replay |
| build_optimizer | steps tensor by tensor on the CPU | torch's fused CPU step: the same update in one pass |
| optimizer_step | clips at 10, hides the norm, takes what is not finite | measures, guards, clips with that norm |
| save_metrics | appends to results.csv | appends the epoch's record, before the checkpoint is written |
| save_model | writes in place, optimiser inside | atomic; best/last hold weights, resume.pt the exact state |
| resume_training | half precision EMA and optimiser | both branches' losses; the exact state, as if never stopped |
| _handle_nan_recovery | goes back an epoch, or only warns | nothing to recover: the guard took no such step |
| final_eval | validates best.pt once more | nothing: these weights were validated when they were saved |

The class is built in three files: `run_data_trainer` (what feeds it), `stepping_trainer` (one optimiser step) and this
one (the moments of a run). `tests/unit/training/test_upstream.py` fails when one of these methods changes in the
installed Ultralytics.
"""

from __future__ import annotations

import math
import random
import time
from typing import Any

import numpy as np
import torch
import ultralytics.engine.trainer as upstream
from ultralytics.utils import DEFAULT_CFG, RANK
from ultralytics.utils.torch_utils import unwrap_model

from ..errors import TrainingError
from ..leash import thread_count, tighten
from ..runs import EPOCHS, STEPS, Run
from . import checkpoints, losses
from .context import step_batches, training_context
from .diagnosis import diagnose
from .gradients import GradientMonitor, layer_of
from .guard import Guard
from .history import History
from .observer import Observer
from .precision import amp_is_sound, autocast
from .probes import head_name
from .stepping_trainer import NAN_ADVICE, SteppingTrainer
from .watcher import StopRequested, Watcher

JUDGED_EVERY = 25  # optimiser steps between two diagnoses, at least; a run has about 40 of them besides its epochs


class TuneUpTrainer(SteppingTrainer):
    """Trains the dataset of a run folder; `save_dir` is that folder.

    Everything it needs it finds there, because Ultralytics starts several GPUs by building the trainer anew in other
    processes from `overrides` alone.
    """

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        self.run = Run((overrides or {})["save_dir"])
        config = self.run.config
        tighten(config["monitor"]["loggers"])
        upstream.check_amp, upstream.autocast = amp_is_sound, autocast
        self.watchers: list[Watcher] = []
        self.stop_requested = False
        self.monitor = GradientMonitor(config["monitor"]["clip"], self._keep_steps)
        self.guard = Guard(self.run)
        self.observer = Observer(self.run, records=RANK in {-1, 0})
        self.branch_weights: dict[str, float] = {}
        self._epoch_records: list[dict[str, Any]] = []
        self._judge_every = 0
        self._started = False
        self.steps_done = 0
        self.seconds_before = 0.0
        self._accumulate = self.nominal_accumulate = 1
        self._resumed: dict[str, Any] | None = None
        self.last_step_batch = -1
        self._first_step_delay = 0
        self.start_epoch: int
        self.best_fitness: Any
        super().__init__(cfg, overrides, _callbacks)
        if self.device.type == "cpu":
            torch.set_num_threads(thread_count())  # Ultralytics has just set cpu_count - 1
        self.add_callback("on_train_start", TuneUpTrainer._announce_start)
        self.add_callback("on_train_epoch_start", TuneUpTrainer._begin_epoch)
        self.add_callback("on_train_batch_end", TuneUpTrainer._end_batch)
        self.add_callback("on_val_batch_end", lambda _: self._stop_if_requested())

    def _keep_steps(self, records: list[dict[str, Any]], norms: Any) -> None:
        if RANK not in {-1, 0}:
            return
        self.run.append(STEPS, records)
        self.run.append_norms([record["step"] for record in records], norms)
        self._epoch_records += records
        for watcher in self.watchers:
            watcher.on_steps([*records[:-1], {**records[-1], **self.observer.newest}])

    # ---- moments ---------------------------------------------------------------------------------------------------

    def _announce_start(self) -> None:
        self._batches = len(self.train_loader) * self.start_epoch - 1
        self._first_step_delay = 0
        if self._resumed is not None:
            self.last_step_batch = self._resumed["last_step_batch"]
            self._first_step_delay = self.last_step_batch + 1
        model = unwrap_model(self.model)
        if checkpoints.spoilt(model):
            raise TrainingError(
                f"the weights to start from are not finite in {checkpoints.spoilt_words(model)}; choose another "
                f"checkpoint with model=FILE"
            )
        self.monitor.watch(self.model.named_parameters())
        self.guard.watch(model)
        self.observer.watch(model, self.optimizer, self._group_names())
        self._started = True
        if RANK not in {-1, 0}:
            return
        head = head_name(model)
        self.run.begin_norms(self.monitor.tensors, [layer_of(name, head) for name in self.monitor.tensors])
        self._describe()
        self._event("resume" if self.start_epoch else "start", self.start_epoch, f"epoch {self.start_epoch + 1}")
        for watcher in self.watchers:
            watcher.on_start(self.run, self.epochs, self.start_epoch, len(self.train_loader))
        self.observer.keep_sample(self.train_loader.dataset.tables, self.args.imgsz, self.stride, self.args)
        if not self.start_epoch:
            self.observer.probe_health(model, 0, 0, self.batch_size)
        self._judge()

    def _describe(self) -> None:
        """Record what the history is measured on."""
        batches = len(self.train_loader)
        warmup = self._get_warmup_iterations(batches)
        ends = list(step_batches(batches, self.epochs, warmup, self.nominal_accumulate))
        self.observer.schedule(len(ends), self.epochs)
        self._judge_every = max(JUDGED_EVERY, len(ends) // 40)
        context = training_context(self, ends, warmup)
        if self._resumed is not None:
            context["restored"] = self._resumed["restored"]
            context["pretrained"] = self.run.context.get("pretrained", False)  # a resume starts from its own weights
        self.run.save_context(context)
        self.run.update_state(
            epochs=self.epochs,
            optimizer=context["optimizer"],
            lr0=context["lr0"],
            batch=self.batch_size,
            device=str(self.device),
            threads=torch.get_num_threads(),
        )

    def _judge(self) -> None:
        """Let the diagnosis look at the history so far, and tell the watchers what is new."""
        self.judge_soon = False
        self.monitor.flush()
        known = {(finding.id, finding.severity) for finding in self.run.findings()}
        found = diagnose(History.of(self.run))
        new = [finding for finding in found if (finding.id, finding.severity) not in known]
        if new:
            self.run.add_findings(found)
            for watcher in self.watchers:
                watcher.on_findings(new)

    def _build_train_pipeline(self) -> None:
        """Build the loaders; called again, with half the batch, after running out of memory in the first epoch."""
        super()._build_train_pipeline()
        self.nominal_accumulate = self._accumulate
        if self._started:
            self.monitor.drop_open_step()
            self.guard.take_back()
            self.guard.forget_batches()
            self.observer.end_epoch()
            self._batches = len(self.train_loader) * self.start_epoch - 1  # the epoch begins anew, with more batches
            self.last_step_batch, self._first_step_delay = -1, 0
            self._event("out_of_memory", self.epoch, f"out of memory; batch halved to {self.batch_size}")
            self._describe()

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
        self.branch_weights = losses.branch_weights(unwrap_model(self.model))
        self._epoch_records = []
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
        due = self.judge_soon or self.steps_done % self._judge_every == 0
        if RANK in {-1, 0} and not self.monitor.images and due:
            self._judge()
        self._stop_if_requested()

    def _stop_if_requested(self) -> None:
        if self.stop_requested:
            raise StopRequested

    # ---- end of an epoch -------------------------------------------------------------------------------------------

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Append the epoch's record; called before the checkpoint, so that a checkpoint never lacks its record."""
        self.monitor.flush()
        self.observer.end_epoch()
        best = self.best_fitness == self.fitness
        val = {key.removeprefix("val/"): v for key, v in metrics.items() if key.startswith("val/")}
        record = {
            "epoch": self.epoch,
            "seconds": round(time.time() - self.epoch_started, 3),
            "steps": self.steps_done,
            **self.branch_weights,
            **{f"train_{name}": value for name, value in losses.epoch_means(self._epoch_records).items()},
            **self._loss_columns("val", val),
            **self._loss_columns("sample", self._sample_terms(), list(val)),
            "val_map50": self.metrics["metrics/mAP50(B)"],
            "val_map50_95": self.metrics["metrics/mAP50-95(B)"],
            "val_precision": self.metrics["metrics/precision(B)"],
            "val_recall": self.metrics["metrics/recall(B)"],
            "fitness": float(self.fitness),
            "best": bool(best),
        }
        self.run.append(EPOCHS, [record])
        if self.observer.is_due(self.epoch, self.epochs):
            self.observer.probe_health(unwrap_model(self.model), self.steps_done - 1, self.epoch, self.batch_size)
        self.run.update_state(epochs_done=self.epoch + 1, seconds=round(self.seconds(), 1))
        self.epoch_record = record
        self._judge()

    def _sample_terms(self) -> dict[str, float]:
        due = self.observer.is_due(self.epoch, self.epochs)
        return self.observer.sample_terms(self.ema.ema) if due else {}

    def _loss_columns(self, part: str, terms: dict[str, float], names: list[str] | None = None) -> dict[str, Any]:
        """Return the loss of a part of the data under the epoch's branch weights, and its terms; null if not taken."""
        if not terms:
            return {f"{part}_{name}": None for name in ("loss", *(names or ()))}
        columns = {f"{part}_{name}": value for name, value in terms.items()}
        return {f"{part}_loss": losses.total_of(terms, self.branch_weights), **columns}

    def save_model(self) -> bool:
        """Write last.pt, best.pt and, last of all, resume.pt, each in one piece."""
        checkpoint = checkpoints.for_use(self)
        if checkpoint is None:
            raise TrainingError(
                f"the weights are no longer finite after epoch {self.epoch + 1}, in "
                f"{checkpoints.spoilt_words(self.ema.ema)}; {self.what_is_kept()}; {NAN_ADVICE}"
            )
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
        """Settle the losses, and take up the exact state of the last complete epoch if the run folder has one."""
        for model in (unwrap_model(self.model), self.ema.ema):
            losses.install(model)
        path = self.run.weights("resume")
        if path.is_file():
            self._resumed = checkpoints.restore(self, path)

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Stop on a validation score that is no number; a loss that is none never reached the weights."""
        if self.fitness is None or math.isfinite(float(self.fitness)):
            return False
        raise TrainingError(
            f"the validation score is no number any more in epoch {epoch + 1}; {self.what_is_kept()}; {NAN_ADVICE}"
        )

    def final_eval(self) -> None:
        """Do nothing: best.pt was validated when it was saved."""

    def plot_metrics(self) -> None:
        """Do nothing: the report draws the curves."""
