"""The step monitor against independent float64 autograd, and its clipping against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.training.gradients import StepMonitor


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def batches(sizes: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 8, 8, generator=generator) for size in sizes]


def summed_loss(net: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    return net(pictures).square().mean(1).sum()  # a sum over the pictures, as YOLO's loss is


def twin_norm(net: nn.Module, all_batches: list[torch.Tensor]) -> float:
    """Return the gradient norm per picture from one float64 pass over all pictures at once."""
    twin = small_net().double()
    twin.load_state_dict({name: value.double() for name, value in net.state_dict().items()})
    pictures = torch.cat(all_batches).double()
    loss = twin(pictures).square().mean(1).sum()
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    return float(torch.sqrt(sum((g**2).sum() for g in gradients)) / len(pictures))


def one_step(
    net: nn.Module, all_batches: list[torch.Tensor], *, clip: float = 10.0, scale: float = 1.0
) -> dict[str, Any]:
    records: list[dict[str, Any]] = []
    monitor = StepMonitor(clip, records.extend)
    for pictures in all_batches:
        loss = summed_loss(net, pictures)
        (loss * scale).backward()
        monitor.add_batch(len(pictures), loss, {"term": loss.detach() / len(pictures)})
    for parameter in net.parameters():
        if parameter.grad is not None:
            parameter.grad /= scale  # what GradScaler.unscale_ does
    monitor.end_step(monitor.measure_and_clip(net.parameters()), {"step": 0})
    return records[0]


@pytest.mark.parametrize("sizes", [[4], [4, 4, 4], [4, 1], [1]], ids=str)
def test_norm_is_that_of_float64_autograd_per_picture_also_with_accumulation(sizes: list[int]) -> None:
    net, data = small_net(), batches(sizes)
    record = one_step(net, data)
    assert record["grad_norm_before_clip"] == pytest.approx(twin_norm(net, data), rel=1e-5)
    assert record["images"] == sum(sizes)


def test_norm_does_not_depend_on_the_loss_scale() -> None:
    data = batches([4])
    plain, scaled = one_step(small_net(), data), one_step(small_net(), data, scale=2.0**16)
    assert scaled["grad_norm_before_clip"] == pytest.approx(plain["grad_norm_before_clip"], rel=1e-5)
    assert scaled["loss"] == pytest.approx(plain["loss"], rel=1e-6)


def test_norm_counts_only_parameters_that_are_trained() -> None:
    net, data = small_net(), batches([4])
    net[0].requires_grad_(False)
    gradients = torch.autograd.grad(summed_loss(net, data[0]), list(net[3].parameters()))
    expected = float(torch.sqrt(sum((g.double() ** 2).sum() for g in gradients)) / 4)
    assert one_step(net, data)["grad_norm_before_clip"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("clip", [1e-3, 0.5, 1e6])
def test_clipping_equals_torchs_clip_grad_norm(clip: float) -> None:
    net, reference, data = small_net(), small_net(), batches([4])
    record = one_step(net, data, clip=clip)
    summed_loss(reference, data[0]).backward()
    norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), clip)
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=0)
    assert record["clipped"] is bool(norm > clip)


def test_losses_of_a_step_are_means_over_its_pictures() -> None:
    net, data = small_net(), batches([4, 1])
    losses = [float(summed_loss(net, pictures).detach()) for pictures in data]
    record = one_step(net, data)
    assert record["loss"] == pytest.approx(sum(losses) / 5, rel=1e-6)
    assert record["term"] == pytest.approx(record["loss"], rel=1e-6)


def test_a_gradient_that_is_no_number_is_recorded_as_clipped_not_hidden() -> None:
    net, data = small_net(), batches([2])
    data[0][0, 0, 0, 0] = float("nan")
    record = one_step(net, data)
    assert record["grad_norm_before_clip"] != record["grad_norm_before_clip"]
    assert record["clipped"] is True


def test_an_open_step_survives_a_checkpoint() -> None:
    records: list[dict[str, Any]] = []
    first, second = StepMonitor(10.0, records.extend), StepMonitor(10.0, records.extend)
    first.add_batch(3, torch.tensor(6.0), {"box": torch.tensor(2.0)})
    second.load_state(first.state())
    for monitor in (first, second):
        monitor.add_batch(1, torch.tensor(2.0), {"box": torch.tensor(6.0)})
        monitor.end_step(torch.tensor(8.0), {"step": 0})
    assert records[0] == records[1]
    assert records[0]["loss"] == pytest.approx(2.0)
    assert records[0]["box"] == pytest.approx(3.0)
    assert records[0]["grad_norm_before_clip"] == pytest.approx(2.0)


def test_a_step_without_a_batch_is_refused() -> None:
    with pytest.raises(RuntimeError, match="without a batch"):
        StepMonitor(10.0, list).end_step(torch.tensor(1.0), {})
