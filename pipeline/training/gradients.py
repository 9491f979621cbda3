"""Measures every optimiser step at the one right moment: gradients accumulated and unscaled, not yet clipped.

Measures only; nothing here judges. Per step it keeps the loss that is optimised and its terms, the total gradient norm
and the norm of every parameter tensor before clipping, all per picture: Ultralytics multiplies the loss by the batch
size and sums it over `accumulate` batches, which ramps up during warm-up, so that a plain norm would ramp with it.

One pass over the gradients gives all of it: the norms of the tensors, the total as the norm of those norms, and the
clipping with that total. Nothing is read on the host here: on an accelerator the figures wait in a ring on the device
and are copied in blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_

from ..tensor_norms import NO_GRADIENT

STEPS_PER_COPY = 50  # steps that wait on an accelerator before they are copied to the host in one block
Sink = Callable[[list[dict[str, Any]], npt.NDArray[np.float32]], None]


def plain_name(name: str) -> str:
    """Return a parameter's name without what torch.compile and DistributedDataParallel put before it."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def layer_of(name: str, head: str) -> str:
    """Return the layer of a parameter: `model.<i>`, and `model.<i>.<branch>` inside the head.

    The branches of the head learn at different speeds (YOLO26 gives them different weights in the loss), so they count
    as layers of their own.
    """
    parts = name.split(".")
    return ".".join(parts[:3] if ".".join(parts[:2]) == head and len(parts) > 3 else parts[:2])


class GradientMonitor:
    """Collects batches into optimiser steps and hands finished records on.

    Args:
        clip: largest total gradient norm of a step, as `torch.nn.utils.clip_grad_norm_` takes it.
        sink: receives finished records in order, several at a time, and with them float32 norms `[steps, tensors]` per
            picture (`tensor_norms.NO_GRADIENT` where a tensor had no gradient).
    """

    def __init__(self, clip: float, sink: Sink) -> None:
        self.clip = clip
        self.sink = sink
        self.images = 0  # pictures whose gradients are in `.grad` now
        self.loss: Tensor | None = None  # sum over those pictures
        self._terms: dict[str, Tensor] = {}  # sums over those pictures
        self._branches: dict[str, Tensor] = {}  # sums over those pictures of each branch's weighted terms
        self.tensors: tuple[str, ...] = ()
        self._parameters: list[nn.Parameter] = []
        self._norms: Tensor | None = None
        self._present: tuple[list[int], Tensor] | None = None
        self._total: Tensor | None = None
        self._ring: _Ring | None = None

    def watch(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Take the trainable tensors of `named_parameters`; called once, when freezing is settled."""
        trained = [(plain_name(name), p) for name, p in parameters if p.requires_grad]
        self.tensors = tuple(name for name, _ in trained)
        self._parameters = [parameter for _, parameter in trained]

    def add_batch(
        self, images: int, loss: Tensor, terms: Mapping[str, Tensor], weights: Mapping[str, float] | None = None
    ) -> None:
        """Count one batch that was back-propagated.

        A step may reach over the end of an epoch, where the branches' weights change. What is recorded as the weight of
        a branch is therefore the one with which its recorded terms give its part of the loss.

        Args:
            images: pictures in it, on all devices together.
            loss: what `backward` was called on, before loss scaling: the sum over the pictures. Scalar.
            terms: the criterion's detached terms, means per picture. Scalars.
            weights: of the branches in the loss; a branch's terms have its name before the first underscore.
        """
        loss = loss.detach().float()
        self.loss = loss if self.loss is None else self.loss + loss
        for name, value in terms.items():
            weighted = value.detach().float() * images
            self._terms[name] = self._terms[name] + weighted if name in self._terms else weighted
            branch = name.split("_")[0]
            if weights and branch in weights:
                part = weighted * weights[branch]
                self._branches[branch] = self._branches[branch] + part if branch in self._branches else part
        self.images += images

    def measure(self) -> Tensor:
        """Return the total gradient norm of the open step before clipping, a scalar on the device.

        The gradients are unscaled already. Equal to what `clip_grad_norm_` computes and Ultralytics throws away. On a
        GPU a norm whose square does not fit float32 (above 1.8e19) comes out as inf.
        """
        present = [i for i, p in enumerate(self._parameters) if p.grad is not None]
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if not gradients:
            raise RuntimeError("no parameter has a gradient: backward was not called, or everything is frozen")
        # A CPU adds up in float32 with an error of 1e-5 for large tensors; a GPU adds in a tree, which is exact enough.
        wide = torch.float64 if gradients[0].device.type == "cpu" else None
        exact = torch.stack(torch._foreach_norm(gradients, 2, wide))
        found = exact.float()
        if len(present) == len(self._parameters):
            self._norms = found
        else:
            self._norms = found.new_full((len(self._parameters),), NO_GRADIENT)
            if self._present is None or self._present[0] != present:  # the same tensors every time: copied over once
                self._present = (present, torch.tensor(present, device=found.device))
            self._norms[self._present[1]] = found
        self._total = torch.linalg.vector_norm(exact).float()
        return self._total

    def clip_gradients(self) -> None:
        """Scale the gradients down to `clip` where their total norm, as measured, is larger."""
        if self._total is None:
            raise RuntimeError("clip_gradients was called before measure")
        clip_grads_with_norm_([p for p in self._parameters if p.grad is not None], self.clip, self._total)

    def non_finite_tensors(self) -> list[str]:
        """Return the tensors whose measured gradient is nan or inf. Reads the device: for the guard alone."""
        if self._norms is None:
            return []
        return [name for name, bad in zip(self.tensors, (~self._norms.isfinite()).tolist(), strict=True) if bad]

    def end_step(self, facts: Mapping[str, Any]) -> None:
        """Close a step that was measured.

        Args:
            facts: what is known on the host already: step, epoch, learning rates, ...
        """
        if self.loss is None or self._total is None or self._norms is None:
            raise RuntimeError("end_step was called without a batch, or before measure")
        images = max(self.images, 1)
        sums = [self.loss, *self._terms.values(), *self._branches.values()]
        scalars = torch.stack([*sums, self._total.detach().float().to(self.loss.device)])
        norms = torch.where(self._norms < 0, self._norms, self._norms / images)  # NO_GRADIENT stays as it is
        row = torch.cat([scalars / images, norms.float().to(scalars.device)])
        if self._ring is None:
            self._ring = _Ring(row, STEPS_PER_COPY if row.is_cuda else 1, self._deliver)
        self._ring.add(row, {**facts, "images": self.images, "sums": [*self._terms, *self._branches]})
        self.drop_open_step()

    def drop_open_step(self) -> None:
        """Forget the batches of the open step."""
        self.images, self.loss, self._norms, self._total = 0, None, None, None
        self._terms, self._branches = {}, {}

    def flush(self) -> None:
        """Copy what waits on the device and hand it on."""
        if self._ring is not None:
            self._ring.flush()

    def _deliver(self, waiting: list[dict[str, Any]], rows: npt.NDArray[np.float32]) -> None:
        records = []
        for facts, row in zip(waiting, rows, strict=True):
            values = dict(zip(("loss", *facts.pop("sums"), "grad_norm_before_clip"), row.tolist(), strict=False))
            for branch in [name for name in values if name in facts]:  # from its part of the loss to its weight
                terms = sum(value for name, value in values.items() if name.startswith(f"{branch}_"))
                part = values.pop(branch)
                values |= {branch: part / terms} if math.isfinite(part) and terms > 0 else {}
            norm = values["grad_norm_before_clip"] * facts["images"]
            clipped = not norm <= self.clip  # a norm that is no number was not left alone either
            records.append({**facts, **values, "clipped": clipped})
        self.sink(records, rows[:, rows.shape[1] - len(self.tensors) :])

    def state(self) -> dict[str, Any]:
        """Return the open step's sums, for a checkpoint between two steps."""
        return {
            "images": self.images,
            "loss": self.loss,
            "terms": dict(self._terms),
            "branches": dict(self._branches),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue an open step."""
        self.images, self.loss = state["images"], state["loss"]
        self._terms, self._branches = dict(state["terms"]), dict(state["branches"])


class _Ring:
    """Rows on the device that reach the host in blocks, without the host waiting for the device.

    A full block is copied to pinned memory in the background and delivered when the next one is full, so that its copy
    has long been finished. The device rows may be overwritten at once: copy and overwriting are in one stream.
    """

    def __init__(self, row: Tensor, size: int, deliver: Callable[[list[dict[str, Any]], Any], None]) -> None:
        self.rows = row.new_empty((size, len(row)))
        self.deliver = deliver
        self.facts: list[dict[str, Any]] = []
        self._flying: tuple[list[dict[str, Any]], Tensor, torch.cuda.Event] | None = None

    def add(self, row: Tensor, facts: dict[str, Any]) -> None:
        self.rows[len(self.facts)] = row
        self.facts.append(facts)
        if len(self.facts) < len(self.rows):
            return
        if not self.rows.is_cuda:
            self.flush()
            return
        host = torch.empty(self.rows.shape, dtype=self.rows.dtype, pin_memory=True)
        host.copy_(self.rows, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        self._land()
        self._flying, self.facts = (self.facts, host, arrived), []

    def flush(self) -> None:
        self._land()
        facts, self.facts = self.facts, []
        if facts:
            self.deliver(facts, self.rows[: len(facts)].cpu().numpy().copy())

    def _land(self) -> None:
        if self._flying is not None:
            facts, host, arrived = self._flying
            self._flying = None
            arrived.synchronize()
            self.deliver(facts, host.numpy())
