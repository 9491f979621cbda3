"""Keeps what is not finite out of the weights, their average and the checkpoints, within the step in which it appears.

Ultralytics lets it through: with fp32 and bf16 nothing checks the gradients, one NaN makes clipping turn all of them
NaN, and BatchNorm's running statistics take up a NaN in the forward pass, before any gradient exists. Here the step is
not taken, the statistics go back to where they stood when the step began, the average is not updated, the batches are
replayed to find the culprit (`replay`), and what was found stays in the run as an incident.

The decision costs one read from the device per optimiser step (with fp16, GradScaler reads its own flag besides).
Ultralytics' loop reads the loss terms on the host after every batch, so that the device is waited for in any case.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..runs import Run, now, write_atomic
from .gradients import plain_name
from .replay import Batch, Situation, replay

KEPT_STEPS = 3  # with weights and pictures, enough to repeat them; later incidents keep their record alone
REPLAYED_STEPS = 10  # a replay costs several passes, and the tenth says what the first said


class Guard:
    """Watches one training.

    Args:
        run: gets the incidents.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.in_a_row = 0
        self.incidents = len(run.incidents())
        self._buffers: list[Tensor] = []
        self._watched: dict[str, Tensor] = {}
        self._kept: list[Tensor] = []
        self._batches: list[Batch] = []

    def watch(self, model: nn.Module) -> None:
        """Take the buffers of a model that is set up: BatchNorm's running statistics."""
        self._buffers = [buffer for buffer in model.buffers() if buffer.numel()]
        self._kept = [buffer.detach().clone() for buffer in self._buffers]
        named = {name: b for name, b in model.named_buffers() if b.numel() and b.is_floating_point()}
        # What is not finite to begin with, such as a mask, is not made so by a step.
        self._watched = {plain_name(name): b for name, b in named.items() if bool(b.isfinite().all())}

    def hold(self, batch: Mapping[str, Any]) -> None:
        """Keep a batch of the open step as the loader gave it: pictures in bytes in the host's memory, no copy."""
        self._batches.append(dict(batch))

    def forget_batches(self) -> None:
        """Drop the batches of the open step."""
        self._batches = []

    @staticmethod
    def read(values: Iterable[Tensor]) -> list[float]:
        """Return scalars on the host: the one read from the device per step."""
        found: list[float] = torch.stack([value.detach().float() for value in values]).tolist()
        return found

    def statistics(self) -> list[Tensor]:
        """Return the largest size among the running statistics, nan or inf where one of them is; [] without any.

        A variance overflows where the outputs themselves and the loss, which sees them divided by it, are still finite.
        """
        if not self._watched:
            return []
        sizes = torch._foreach_norm([buffer.detach() for buffer in self._watched.values()], float("inf"))
        return [torch.stack([size.float() for size in sizes]).max()]

    def spoilt_statistics(self) -> list[str]:
        """Return the names of the running statistics that are not finite. Reads the device."""
        return [name for name, buffer in self._watched.items() if not bool(buffer.isfinite().all())]

    @torch.no_grad()
    def accept(self) -> None:
        """The step was taken: its statistics are what a later one goes back to if it must."""
        torch._foreach_copy_(self._kept, self._buffers)
        self.forget_batches()
        self.in_a_row = 0

    @torch.no_grad()
    def take_back(self) -> None:
        """The step is not taken: put the statistics back."""
        torch._foreach_copy_(self._buffers, self._kept)

    def examine(self, situation: Situation, facts: Mapping[str, Any], tensors: Sequence[str]) -> dict[str, Any]:
        """Find out what was not finite in the open step and write it into the run; call `take_back` before.

        Args:
            situation: the model and how its trainer calls it.
            facts: step, epoch, the running statistics that were not finite.
            tensors: parameter tensors whose gradient was not finite.

        Returns the incident's record.
        """
        self.incidents += 1
        name = f"step-{facts['step']:06}"
        files = [str(file) for batch in self._batches for file in batch.get("im_file", ())]
        record: dict[str, Any] = {**facts, "time": now(), "tensors": list(tensors), "batch_files": files}
        if self.incidents <= KEPT_STEPS:
            path = self.run.incident_folder(name) / "step.pt"
            write_atomic(path, lambda file: torch.save(situation.snapshot(self._batches), file))
            record["replay"] = f"tuneup doctor {shlex.quote(str(path.parent))}"
        if self.incidents <= REPLAYED_STEPS:
            try:
                record |= replay(situation, self._batches, tensors or facts["statistics"]).to_dict()
            except Exception as error:  # such as no memory for it: the training goes on without an answer
                record["replay_failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            situation.model.zero_grad(set_to_none=True)
            self.take_back()
        self.run.add_incident(name, record)
        return record
