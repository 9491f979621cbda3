"""The part of the trainer that takes the optimiser steps: measured, guarded, clipped with the measured norm."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from ultralytics.utils import RANK
from ultralytics.utils.torch_utils import unwrap_model

from ..errors import TrainingError
from ..runs import EVENTS, now
from .gradients import GradientMonitor
from .guard import Guard
from .incidents import describe_incident
from .observer import Observer
from .replay import Situation
from .run_data_trainer import RunDataTrainer

NAN_ADVICE = "lower train.lr0 to a third, or set train.amp=bf16 (or false) if this run used half precision"


class SteppingTrainer(RunDataTrainer):
    """Takes the steps; see `trainer` for what is overridden and why."""

    monitor: GradientMonitor
    guard: Guard
    observer: Observer
    steps_done: int  # optimiser steps of the run, those that were not taken included
    seconds_before: float  # training time before this process took up the run
    branch_weights: dict[str, float]
    last_step_batch: int
    nominal_accumulate: int  # batches per optimiser step after warm-up
    _accumulate: int
    _first_step_delay: int
    _batches: int
    _batch_images = 0
    judge_soon = False  # something happened that a person should hear of at once
    _batch_counted = False

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
        """Note how many pictures the batch has, and keep it until its step is taken."""
        raw = dict(batch)
        batch = super().preprocess_batch(batch)
        self._batch_images = len(batch["img"]) * max(self.world_size, 1)
        self._batch_counted = False
        self.guard.hold({**raw, "size": tuple(batch["img"].shape[2:])})
        return batch

    def _prepare_again(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Prepare a kept batch as it was the first time; multi_scale draws its size only once."""
        size = raw.pop("size")
        wanted, self.args.multi_scale = self.args.multi_scale, 0.0
        try:
            batch: dict[str, Any] = super().preprocess_batch(raw)
        finally:
            self.args.multi_scale = wanted
        if tuple(batch["img"].shape[2:]) != size:
            batch["img"] = torch.nn.functional.interpolate(batch["img"], size, mode="bilinear", align_corners=False)
        return batch

    def _count_batch(self) -> None:
        if not self._batch_counted:
            self.monitor.add_batch(self._batch_images, self.loss, self.loss_items, self.branch_weights)
            self._batch_counted = True

    def optimizer_step(self) -> None:
        """Step as Ultralytics does, with the norms measured once, before clipping, and kept; or not, if not finite."""
        self._count_batch()
        self.scaler.unscale_(self.optimizer)
        total, loss = self.monitor.measure(), self.monitor.loss
        # With several GPUs the gradients are the same on all of them; a single device's loss and statistics are not.
        alone = [] if loss is None or self.world_size > 1 else [loss, *self.guard.statistics()]
        watched = [total, *(value.to(total.device) for value in alone)]
        scaled = self.scaler.is_enabled()
        *read, scale = self.guard.read([*watched, self.scaler._scale if scaled else torch.zeros_like(total)])
        facts = self._step_facts(scale if scaled else None)
        taken = all(map(math.isfinite, read))
        if taken:
            self._take_step()
        else:
            facts |= self._skip_step(facts)
        self.optimizer.zero_grad()
        self.guard.forget_batches()
        self.monitor.end_step(facts)
        self.steps_done += 1
        self._first_step_delay = 0
        self.last_step_batch = self._batches + 1  # this batch's number; it is counted when it ends
        if not taken:
            self._stop_if_nothing_helps(facts)

    def _take_step(self) -> None:
        self.observer.before_step(self.steps_done, self.monitor.images)
        self.monitor.clip_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema:
            self.ema.update(self.model)
        self.observer.after_step(self.steps_done, self.epoch)
        self.guard.accept()

    def _skip_step(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Leave weights, average and statistics as they are, and find out what happened."""
        scaled = self.scaler.is_enabled()
        if scaled:
            self.scaler.update()  # lowers the loss scale
        statistics = self.guard.spoilt_statistics() if self.world_size <= 1 else []  # 0: no GPU
        self.guard.take_back()
        self.observer.step_was_skipped()
        self.guard.in_a_row += 1
        if scaled and self._loss_is_finite() and not statistics:
            return {"skipped": True, "skip_reason": "amp"}  # half precision finding its loss scale
        if RANK in {-1, 0}:
            model = unwrap_model(self.model)
            situation = Situation(
                model, self._prepare_again, self.precision, self.device.type, float(facts["loss_scale"] or 1.0)
            )
            facts = {"step": self.steps_done, "epoch": self.epoch, "statistics": statistics}
            self.guard.examine(situation, facts, self.monitor.non_finite_tensors())
            self._event("skipped", self.epoch, f"step {self.steps_done} was not finite and not taken")
            self.judge_soon = True
        return {"skipped": True, "skip_reason": "non_finite"}

    def _loss_is_finite(self) -> bool:
        """Whether the open step's loss is finite, on all devices together: they must give the same reason."""
        loss = self.monitor.loss
        finite = torch.ones((), device=self.device) if loss is None else loss.isfinite().float().to(self.device)
        if self.world_size > 1 and torch.distributed.is_initialized():
            torch.distributed.all_reduce(finite, op=torch.distributed.ReduceOp.MIN)
        return bool(finite)

    def _stop_if_nothing_helps(self, facts: Mapping[str, Any]) -> None:
        """Stop when so many steps in a row were not finite that going on is pointless."""
        most = self.run.config["monitor"]["skips"]
        still_searching = facts["skip_reason"] == "amp" and self.scaler.get_scale() > 1
        if self.guard.in_a_row >= most and not still_searching:
            self.monitor.flush()
            last = self.run.incidents()[-1:] if facts["skip_reason"] == "non_finite" else []
            why = describe_incident(last[0]) if last else "the gradients overflow half precision at any loss scale"
            taken = self.guard.in_a_row < self.steps_done
            raise TrainingError(
                f"{self.guard.in_a_row} optimiser steps in a row were not finite, up to step {self.steps_done - 1} "
                f"(epoch {self.epoch + 1}): {why}; {self.what_is_kept()}. "
                + (NAN_ADVICE.capitalize() if taken else f"No step was ever taken: tuneup advise {self.run.path}")
            )

    def what_is_kept(self) -> str:
        """Return in words which weights a training that stops here leaves behind."""
        if self.run.weights("last").is_file():
            return "the weights of the last complete epoch are kept"
        return "no epoch was complete, so that no weights are kept"

    @property
    def precision(self) -> torch.dtype | None:
        """Format of mixed precision; None for float32 throughout."""
        return torch.bfloat16 if self.args.amp == "bf16" else torch.float16 if self.amp else None

    @property
    def precision_name(self) -> str:
        """Number format of forward and backward pass: fp32, bf16 or fp16."""
        return {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.precision]

    def _step_facts(self, scale: float | None) -> dict[str, Any]:
        rates = zip(self._group_names(), self.optimizer.param_groups, strict=True)
        return {
            "step": self.steps_done,
            "epoch": self.epoch,
            "seconds": round(self.seconds(), 3),
            **{f"lr_{name}": group["lr"] for name, group in rates},
            **self.branch_weights,  # of YOLO26's two branches in the loss
            "loss_scale": scale,
            "skipped": False,
            "skip_reason": None,
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

    def _event(self, event: str, epoch: int, text: str) -> None:
        if RANK in {-1, 0}:
            record = {"event": event, "epoch": epoch, "step": self.steps_done, "time": now(), "text": text}
            self.run.append(EVENTS, [record])
