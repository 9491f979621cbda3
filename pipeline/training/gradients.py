"""Measures every optimiser step at the one right moment: gradients accumulated and unscaled, not yet clipped.

Measures only; nothing here judges. Per step it keeps the loss that is optimised and its terms, both per image, and the
total gradient norm before clipping, per image: Ultralytics multiplies the loss by the batch size and sums it over
`accumulate` batches, which ramps up during warm-up, so that the plain norm would ramp with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

# Steps that wait on an accelerator before they are copied to the host in one go: reading each step at once would make
# the host wait for the device every time. The CPU has nothing to wait for.
STEPS_PER_COPY = 50


class StepMonitor:
    """Collects batches into optimiser steps and hands finished records on.

    Args:
        clip: largest total gradient norm of a step, as `torch.nn.utils.clip_grad_norm_` takes it.
        sink: receives finished records in order, several at a time.
    """

    def __init__(self, clip: float, sink: Callable[[list[dict[str, Any]]], None]) -> None:
        self.clip = clip
        self.sink = sink
        self.images = 0  # pictures whose gradients are in `.grad` now
        self._loss: Tensor | None = None  # sum over those pictures
        self._terms: dict[str, Tensor] = {}  # sums over those pictures
        self._waiting: list[tuple[dict[str, Any], list[str], Tensor]] = []

    def add_batch(self, images: int, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Count one batch that was back-propagated.

        Args:
            images: pictures in it.
            loss: what `backward` was called on, before loss scaling: the sum over the pictures. Scalar.
            terms: the criterion's detached terms, means per picture. Scalars.
        """
        loss = loss.detach().float()
        self._loss = loss if self._loss is None else self._loss + loss
        for name, value in terms.items():
            weighted = value.detach().float() * images
            self._terms[name] = self._terms[name] + weighted if name in self._terms else weighted
        self.images += images

    def measure_and_clip(self, parameters: Iterable[Tensor]) -> Tensor:
        """Return the total gradient norm before clipping (a scalar on the device), and clip with it in one pass.

        The gradients are unscaled already. Equal to `clip_grad_norm_`, whose norm is thrown away by Ultralytics.
        """
        with_gradient = [p for p in parameters if p.grad is not None]
        norm = get_total_norm([p.grad for p in with_gradient if p.grad is not None])
        clip_grads_with_norm_(with_gradient, self.clip, norm)
        return norm

    def end_step(self, norm: Tensor, facts: Mapping[str, Any]) -> None:
        """Close a step.

        Args:
            norm: total gradient norm of the step, as `measure_and_clip` returned it.
            facts: what is known on the host already: step, epoch, learning rates, ...
        """
        images = max(self.images, 1)
        names = ["loss", *self._terms]
        if self._loss is None:
            raise RuntimeError("end_step was called without a batch")
        values = torch.stack([self._loss, *self._terms.values(), norm.detach().float().to(self._loss.device)]) / images
        self._waiting.append(({**facts, "images": self.images}, names, values))
        self.images, self._loss, self._terms = 0, None, {}
        if not values.is_cuda or len(self._waiting) >= STEPS_PER_COPY:
            self.flush()

    def flush(self) -> None:
        """Copy what waits on the device and hand it on."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        rows = torch.stack([values for _, _, values in waiting]).tolist()
        records = []
        for (facts, names, _), row in zip(waiting, rows, strict=True):
            norm = row[-1]
            clipped = not norm * facts["images"] <= self.clip  # a norm that is no number was not left alone either
            measured = {**dict(zip(names, row, strict=False)), "grad_norm_before_clip": norm, "clipped": clipped}
            records.append({**facts, **measured})
        self.sink(records)

    def state(self) -> dict[str, Any]:
        """Return the open step's sums, for a checkpoint between two steps."""
        return {"images": self.images, "loss": self._loss, "terms": dict(self._terms)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue an open step."""
        self.images, self._loss, self._terms = state["images"], state["loss"], dict(state["terms"])
