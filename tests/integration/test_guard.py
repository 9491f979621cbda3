"""Faults injected into real trainings: nothing that is not finite reaches weights, average or checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from alone import train_alone
from torch import Tensor, nn

from pipeline import verbs
from pipeline.augment.table_dataset import TableDataset
from pipeline.errors import TrainingError
from pipeline.runs import Run
from pipeline.training.trainer import TuneUpTrainer

BAD_STEP = 1
CONV = "model.4.cv2.conv"


def finite(module: nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for value in module.state_dict().values())


@pytest.fixture
def checked_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Check weights, statistics and average after every optimiser step; the list holds the steps that were checked."""
    original, steps = TuneUpTrainer.optimizer_step, []

    def checking(self: TuneUpTrainer) -> None:
        original(self)
        assert finite(self.model)
        assert finite(self.ema.ema)
        moments = [v for state in self.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
        assert all(bool(value.isfinite().all()) for value in moments)
        steps.append(self.steps_done)

    monkeypatch.setattr(TuneUpTrainer, "optimizer_step", checking)
    return steps


def with_model(monkeypatch: pytest.MonkeyPatch, change: Callable[[TuneUpTrainer, nn.Module], None]) -> None:
    """Let `change` see the model as soon as it is built."""
    original = TuneUpTrainer.setup_model

    def changed(self: TuneUpTrainer) -> None:
        original(self)
        change(self, self.model)

    monkeypatch.setattr(TuneUpTrainer, "setup_model", changed)


def nan_pixels(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the loader give float pictures, one of which has a pixel that is no number."""
    name, original = "train_003.png", TableDataset.__getitem__

    def spoilt(self: TableDataset, index: int) -> dict[str, Any]:
        item = dict(original(self, index))
        item["img"] = item["img"].float()
        if item["im_file"].endswith(name) and self.augment:
            item["img"][0, 5, 7] = math.nan
        return item

    monkeypatch.setattr(TableDataset, "__getitem__", spoilt)
    return name


def inf_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(trainer: TuneUpTrainer, model: nn.Module) -> None:
        def spoil(gradient: Tensor) -> Tensor:
            spoilt = gradient.clone()
            if trainer.steps_done == BAD_STEP:
                spoilt.view(-1)[3] = math.inf
            return spoilt

        model.get_parameter(f"{CONV}.weight").register_hook(spoil)

    with_model(monkeypatch, change)


class Overflowing(nn.Module):
    """A convolution whose output is too large at one step of the training, or from there on."""

    def __init__(self, inner: nn.Module, trainer: TuneUpTrainer, *, lasting: bool, times: float) -> None:
        super().__init__()
        self.times = times
        self.last = 10**6 if lasting else BAD_STEP
        self.weight, self.bias = inner.weight, inner.bias
        self.inner = [inner]  # not a submodule: names of parameters stay as they are
        self.trainer = [trainer]

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner[0](x)
        overflows = self.training and BAD_STEP <= self.trainer[0].steps_done <= self.last
        return output * self.times if overflows else output

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        import copy

        return copy.deepcopy(self.inner[0], memo)


def overflow(monkeypatch: pytest.MonkeyPatch, *, lasting: bool = False, times: float = math.inf) -> None:
    def change(trainer: TuneUpTrainer, model: nn.Module) -> None:
        parent = model.get_submodule(CONV.rpartition(".")[0])
        parent.conv = Overflowing(parent.conv, trainer, lasting=lasting, times=times)

    with_model(monkeypatch, change)


def train(overrides: list[str], folder: Path, *more: str) -> Run:
    return train_alone([*overrides, f"runs={folder}", "name=guarded", "mosaic=0", "epochs=3", *more])


def check_the_end(run: Run) -> None:
    assert run.state["state"] == "complete"
    for which in ("best", "last"):
        checkpoint = torch.load(run.weights(which), map_location="cpu", weights_only=False)
        assert finite(checkpoint["model"])
    assert math.isfinite(run.epochs()["val_map50"][-1])
    assert run.epochs()["train_loss"].is_finite().all()
    assert "gradient.non_finite" in [finding.id for finding in run.findings()]


@pytest.mark.parametrize("amp", ["false", "bf16"])
def test_nan_pixels_in_one_picture(
    tiny_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checked_steps: list[int],
    amp: str,
) -> None:
    name = nan_pixels(monkeypatch)
    run = train(tiny_overrides, tmp_path, f"amp={amp}", "nbs=4")
    check_the_end(run)
    steps = run.steps()
    assert len(checked_steps) == steps.height == 9
    assert int(steps["skipped"].sum()) == 3  # once in every epoch
    for incident in run.incidents():
        assert incident["phase"] == "pictures"
        assert [Path(file).name for file in incident["files"]] == [name]
    taken = steps.filter(~steps["skipped"])
    assert taken["grad_norm_before_clip"].is_finite().all()


@pytest.mark.parametrize("amp", ["false", "bf16"])
def test_inf_in_one_gradient(
    tiny_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checked_steps: list[int],
    amp: str,
) -> None:
    inf_gradient(monkeypatch)
    run = train(tiny_overrides, tmp_path, f"amp={amp}")
    check_the_end(run)
    (incident,) = run.incidents()
    assert (incident["step"], incident["phase"], incident["module"]) == (BAD_STEP, "backward", CONV)
    assert incident["tensors"] == [f"{CONV}.weight"]
    assert run.steps()["skipped"].to_list() == [False, True, False, False, False]


@pytest.mark.parametrize("amp", ["false", "bf16"])
def test_an_activation_that_overflows(
    tiny_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checked_steps: list[int],
    amp: str,
) -> None:
    overflow(monkeypatch)
    run = train(tiny_overrides, tmp_path, f"amp={amp}")
    check_the_end(run)
    (incident,) = run.incidents()
    assert (incident["step"], incident["phase"], incident["module"]) == (BAD_STEP, "forward", CONV)
    assert not incident["told_apart"]
    assert run.steps()["skipped"].to_list() == [False, True, False, False, False]


def test_a_variance_that_overflows_where_the_loss_does_not(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked_steps: list[int]
) -> None:
    """BatchNorm divides by an infinite deviation: zeros go on, the loss is finite, the statistics are not."""
    overflow(monkeypatch, lasting=True, times=1e30)
    norm = f"{CONV.rpartition('.')[0]}.bn"
    words = rf"3 optimiser steps in a row.*running statistics of {norm} \(BatchNorm2d\) overflow"
    with pytest.raises(TrainingError, match=words) as stopped:
        train(tiny_overrides, tmp_path, "monitor.skips=3")
    assert "the weights of the last complete epoch are kept. Lower train.lr0" in str(stopped.value)
    run = Run.open(tmp_path / "guarded")
    found = [(incident["step"], incident["phase"], incident["module"]) for incident in run.incidents()]
    assert found == [(step, "statistics", norm) for step in (1, 2, 3)]
    assert checked_steps == [1, 2, 3]  # all was finite after each of them; the fourth one raises
    assert all(incident["statistics"] == [f"{norm}.running_var"] for incident in run.incidents())
    assert run.steps()["skipped"].to_list() == [False, True, True, True]
    assert run.steps()["loss"].is_finite().all()
    verbs.report(run)
    page = (run.path / "report.html").read_text("utf-8")
    assert "loss and gradient were finite, the running statistics of" in page


def test_the_picture_that_makes_an_activation_overflow_is_told_apart(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked_steps: list[int]
) -> None:
    """Its pixels are finite; the layer cannot take them. BatchNorm spreads the damage over the whole batch."""
    name, original = "train_003.png", TableDataset.__getitem__

    def extreme(self: TableDataset, index: int) -> dict[str, Any]:
        item = dict(original(self, index))
        item["img"] = item["img"].float()
        if item["im_file"].endswith(name) and self.augment:
            item["img"][:] = 1e38
        return item

    monkeypatch.setattr(TableDataset, "__getitem__", extreme)
    run = train(tiny_overrides, tmp_path, "nbs=4")
    check_the_end(run)
    assert len(run.incidents()) == 3
    for incident in run.incidents():
        assert incident["phase"] in {"forward", "backward"}
        assert incident["told_apart"]
        assert [Path(file).name for file in incident["files"]] == [name]


def test_a_replay_that_breaks_down_does_not_end_the_training(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.training import guard

    def broken(*args: Any) -> Any:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(guard, "replay", broken)
    inf_gradient(monkeypatch)
    run = train(tiny_overrides, tmp_path)
    assert run.state["state"] == "complete"
    assert "out of memory" in run.incidents()[0]["replay_failed"]


def test_the_kept_step_is_repeated_elsewhere(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.training.replay import load_step, replay

    with monkeypatch.context() as patch:
        name = nan_pixels(patch)
        run = train(tiny_overrides, tmp_path)
    folder = run.incident_folder(run.incidents()[0]["name"])
    situation, batches = load_step(folder / "step.pt", "cpu")
    found = replay(situation, batches, [])
    assert (found.repeated, found.phase) == (True, "pictures")
    assert [Path(file).name for file in found.files] == [name]
    assert run.incidents()[0]["replay"] == f"tuneup doctor {folder}"


def test_a_training_in_which_nothing_is_finite_any_more_stops_and_says_why(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overflow(monkeypatch, lasting=True)
    with pytest.raises(TrainingError, match=rf"3 optimiser steps in a row were not finite.*{CONV}.*train.lr0"):
        train(tiny_overrides, tmp_path, "monitor.skips=3")
    run = Run.open(tmp_path / "guarded")
    assert run.state["state"] == "failed"
    assert run.steps()["skipped"].to_list() == [False, True, True, True]
    (finding,) = [finding for finding in run.findings() if finding.id == "gradient.non_finite"]
    assert finding.severity == "error"
    assert json.loads((run.path / "incidents" / "step-000001" / "incident.json").read_text())["module"] == CONV
    assert finite(torch.load(run.weights("last"), map_location="cpu", weights_only=False)["model"])


def test_weights_that_are_not_finite_are_not_trained(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(trainer: TuneUpTrainer, model: nn.Module) -> None:
        with torch.no_grad():
            model.get_parameter(f"{CONV}.weight")[0, 0, 0, 0] = math.nan

    with_model(monkeypatch, change)
    with pytest.raises(TrainingError, match=rf"not finite in {CONV}.weight; choose another checkpoint"):
        train(tiny_overrides, tmp_path)
    assert Run.open(tmp_path / "guarded").steps().is_empty()


def test_a_skipped_step_leaves_the_weights_bit_for_bit(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inf_gradient(monkeypatch)
    original = TuneUpTrainer.optimizer_step
    compared = []

    def comparing(self: TuneUpTrainer) -> None:
        before = {k: v.clone() for k, v in self.model.named_parameters()}
        average = {k: v.clone() for k, v in self.ema.ema.state_dict().items()}
        kept = [buffer.clone() for buffer in self.guard._kept]
        original(self)
        if self.steps_done == BAD_STEP + 1:
            assert all(torch.equal(v, before[k]) for k, v in self.model.named_parameters())
            assert all(torch.equal(v, average[k]) for k, v in self.ema.ema.state_dict().items())
            assert all(torch.equal(a, b) for a, b in zip(kept, self.guard._buffers, strict=True))
            compared.append(self.steps_done)

    monkeypatch.setattr(TuneUpTrainer, "optimizer_step", comparing)
    train(tiny_overrides, tmp_path)
    assert compared == [BAD_STEP + 1]


def test_half_precisions_search_for_its_loss_scale_is_no_incident(
    tiny_run: Run, tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked_steps: list[int]
) -> None:
    """A real GradScaler, on the CPU: its first scale makes the gradients overflow, some halvings later they fit."""
    original = TuneUpTrainer._setup_train

    def scaled(self: TuneUpTrainer) -> None:
        original(self)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**125, enabled=True)

    monkeypatch.setattr(TuneUpTrainer, "_setup_train", scaled)
    run = verbs.train(overrides=[*tiny_overrides, f"runs={tmp_path}", "epochs=6", "nbs=4", "warmup_epochs=0"])
    steps = run.steps()
    skipped, scales = steps["skipped"].to_list(), steps["loss_scale"].to_list()
    assert skipped[0]
    assert not skipped[-1]
    halved = [after / before for before, after in pairwise(scales)]
    assert halved == [0.5 if skip else 1.0 for skip in skipped[:-1]]
    assert set(steps["skip_reason"].to_list()) == {"amp", None}
    assert run.incidents() == []
    assert len(checked_steps) == steps.height
    norms = steps.filter(~steps["skipped"])["grad_norm_before_clip"]
    assert norms.is_finite().all()
    assert norms.max() < 2000  # unscaled: not multiplied by 2^100


def test_an_overflow_at_any_loss_scale_stops_the_training(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TuneUpTrainer._setup_train

    def scaled(self: TuneUpTrainer) -> None:
        original(self)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0, enabled=True)
        weight = self.model.get_parameter(f"{CONV}.weight")
        weight.register_hook(lambda gradient: torch.full_like(gradient, math.inf))

    monkeypatch.setattr(TuneUpTrainer, "_setup_train", scaled)
    with pytest.raises(TrainingError, match=r"4 optimiser steps in a row.*overflow half precision at any loss scale"):
        train(tiny_overrides, tmp_path, "monitor.skips=4", "nbs=4")
