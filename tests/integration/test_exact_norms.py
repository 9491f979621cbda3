"""The norms that a real training records, against gradients computed anew in float64 from the same step.

A detector's gradient in float32 differs from that in float64 by some 1e-5 of its size, from rounding alone. So the
norms are compared twice: with float64 norms of the very gradients that the step met (1e-5), and with a float64 twin
that computes both passes anew (1e-3). `tests/unit/training/test_gradients.py` does the latter to 1e-5 on a net
small enough for float32.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import verbs
from pipeline.training import losses
from pipeline.training.trainer import TuneUpTrainer


def float64_norms(trainer: TuneUpTrainer) -> dict[str, float]:
    """Return the gradient norm of each trained tensor per picture, summed over the batches of the open step.

    BatchNorm works with the statistics of the batch, so that what the batches leave in it does not matter.
    """
    torch.set_default_dtype(torch.float64)
    try:
        twin: Any = copy.deepcopy(trainer.model)
        twin.criterion = None
        twin.double()  # modes stay: a frozen layer's BatchNorm does not take the batch's statistics
        losses.install(twin)
        for branch, weight in trainer.branch_weights.items():
            setattr(twin.criterion, branch, weight)
        twin.zero_grad(set_to_none=True)
        images = 0
        for held in trainer.guard._batches:
            batch = trainer._prepare_again(dict(held))
            batch = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
            loss, _ = twin.loss(batch)
            loss.sum().backward()
            images += len(batch["img"])
        trained = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
        return {
            name: float(p.grad.norm()) / images
            for name, p in twin.named_parameters()
            if name in trained and p.grad is not None
        }
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("case", ["plain", "accumulation", "freeze", "loss scale"])
def test_recorded_norms_are_those_of_float64(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    original, expected, met = TuneUpTrainer.optimizer_step, [], []

    def comparing(self: TuneUpTrainer) -> None:
        scale = self.scaler.get_scale() if self.scaler.is_enabled() else 1.0
        images = sum(len(batch["img"]) for batch in self.guard._batches)
        own = {n: p.grad.double() for n, p in self.model.named_parameters() if p.grad is not None and p.requires_grad}
        met.append({name: float((gradient / scale).norm()) / images for name, gradient in own.items()})
        expected.append(float64_norms(self))
        original(self)

    monkeypatch.setattr(TuneUpTrainer, "optimizer_step", comparing)
    if case == "loss scale":
        setup = TuneUpTrainer._setup_train

        def scaled(self: TuneUpTrainer) -> None:
            setup(self)
            self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, enabled=True)

        monkeypatch.setattr(TuneUpTrainer, "_setup_train", scaled)
    more = {"accumulation": ["nbs=12", "warmup_epochs=0"], "freeze": ["freeze=5"]}.get(case, [])
    run = verbs.train(overrides=[*tiny_overrides, "epochs=1", "nbs=4", *more, f"runs={tmp_path}"])
    norms = run.norms()
    assert run.steps()["images"][0] == (12 if case == "accumulation" else 4)
    for step, (gradients, twin) in enumerate(zip(met, expected, strict=True)):
        assert set(gradients) == set(twin) == set(norms.tensors)
        recorded = dict(zip(norms.tensors, norms.values[step].tolist(), strict=True))
        assert recorded == pytest.approx(gradients, rel=1e-5, abs=1e-30)
        total = run.steps()["grad_norm_before_clip"][step]
        assert total == pytest.approx(np.sqrt(sum(value**2 for value in gradients.values())), rel=1e-5)
        assert total == pytest.approx(np.sqrt(sum(value**2 for value in twin.values())), rel=1e-3)
