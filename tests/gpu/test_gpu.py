"""Training on a CUDA device; skipped where there is none. `benchmarks/gpu.sh` runs these and the timings in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import verbs
from pipeline.runs import Run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("amp", ["true", "bf16", "false"])
def test_training_records_every_step_and_keeps_finite_weights(
    tiny_overrides: list[str], tmp_path: Path, amp: str
) -> None:
    overrides = [word for word in tiny_overrides if not word.startswith("device=")]
    run = verbs.train(overrides=[*overrides, "device=0", f"amp={amp}", "workers=2", f"runs={tmp_path}", "name=gpu"])
    assert run.state["state"] == "complete"
    assert run.state["device"].startswith("cuda")
    steps = run.steps()
    assert steps["step"].to_list() == list(range(steps.height))
    finite = steps.filter(~steps["skipped"])
    assert finite["grad_norm_before_clip"].is_finite().all()
    model = torch.load(run.weights("best"), map_location="cpu", weights_only=False)["model"]
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert run.evaluations()["test"]["images"] == 5


def test_the_monitor_never_waits_for_the_device(tiny_overrides: list[str]) -> None:
    """Between the guard's one read per step nothing may read from the device: torch raises where something does."""
    from torch import nn

    from pipeline.training.gradients import GradientMonitor

    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4)).cuda()
    kept: list[dict[str, Any]] = []
    monitor = GradientMonitor(10.0, lambda records, norms: kept.extend(records))
    monitor.watch(net.named_parameters())
    pictures = torch.randn(4, 3, 8, 8, device="cuda")
    for step in range(120):
        loss = net(pictures).square().sum()
        loss.backward()
        torch.cuda.set_sync_debug_mode("error")
        try:
            monitor.add_batch(4, loss, {"box_loss": loss.detach() / 4})
            monitor.measure()
            monitor.clip_gradients()
            if (step + 1) % 50:  # a full block is handed on: its copy was finished long ago, but it is waited for
                monitor.end_step({"step": step})
        finally:
            torch.cuda.set_sync_debug_mode("default")
        if not (step + 1) % 50:
            monitor.end_step({"step": step})
        net.zero_grad()
    monitor.flush()
    assert [record["step"] for record in kept] == list(range(120))
    assert all(record["loss"] > 0 for record in kept)


@pytest.mark.parametrize("amp", ["true", "bf16", "false"])
def test_nan_pixels_are_kept_out_in_every_number_format(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amp: str
) -> None:
    from pipeline.augment.table_dataset import TableDataset

    original = TableDataset.__getitem__

    def spoilt(self: TableDataset, index: int) -> dict[str, Any]:
        item = dict(original(self, index))
        item["img"] = item["img"].float()
        if item["im_file"].endswith("train_003.png") and self.augment:
            item["img"][0, 5, 7] = float("nan")
        return item

    monkeypatch.setattr(TableDataset, "__getitem__", spoilt)
    overrides = [word for word in tiny_overrides if not word.startswith("device=")]
    words = ["device=0", f"amp={amp}", "workers=0", "mosaic=0", "nbs=4", f"runs={tmp_path}", "name=gpu"]
    run = verbs.train(overrides=[*overrides, *words])
    assert run.state["state"] == "complete"
    assert {Path(file).name for incident in run.incidents() for file in incident["files"]} == {"train_003.png"}
    model = torch.load(run.weights("last"), map_location="cpu", weights_only=False)["model"]
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_an_interrupted_run_goes_on(tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.training.trainer import TuneUpTrainer

    overrides = [word for word in tiny_overrides if not word.startswith("device=")]
    original = TuneUpTrainer.optimizer_step

    def stopping(self: TuneUpTrainer) -> None:
        original(self)
        self.stop_requested = self.epoch == 2

    with monkeypatch.context() as patch:
        patch.setattr(TuneUpTrainer, "optimizer_step", stopping)
        verbs.train(overrides=[*overrides, "device=0", f"runs={tmp_path}", "name=cut"])
    run = Run.open(tmp_path / "cut")
    assert run.state["state"] == "interrupted"
    verbs.resume(run)
    assert run.state["state"] == "complete"
    assert run.steps()["step"].to_list() == list(range(run.steps().height))
    assert run.epochs()["epoch"].to_list() == [0, 1, 2]
