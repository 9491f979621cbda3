"""Training on a CUDA device; skipped where there is none. `benchmarks/gpu.sh` runs these and the timings in one go."""

from __future__ import annotations

from pathlib import Path

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
