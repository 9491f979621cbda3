"""The gradient monitor against independent float64 autograd, and its clipping against torch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from pipeline.tensor_norms import NO_GRADIENT
from pipeline.training.gradients import GradientMonitor, layer_of, plain_name


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def batches(sizes: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 8, 8, generator=generator) for size in sizes]


def summed_loss(net: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    return net(pictures).square().mean(1).sum()  # a sum over the pictures, as YOLO's loss is


def twin_norms(net: nn.Module, all_batches: list[torch.Tensor]) -> dict[str, float]:
    """Return the gradient norm of each tensor per picture from one float64 pass over all pictures at once."""
    twin = small_net().double()
    twin.load_state_dict({name: value.double() for name, value in net.state_dict().items()})
    trained = {name: p for name, p in twin.named_parameters() if net.get_parameter(name).requires_grad}
    pictures = torch.cat(all_batches).double()
    gradients = torch.autograd.grad(twin(pictures).square().mean(1).sum(), list(trained.values()))
    return {name: float(g.norm()) / len(pictures) for name, g in zip(trained, gradients, strict=True)}


class Kept:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.norms: list[npt.NDArray[np.float32]] = []

    def __call__(self, records: list[dict[str, Any]], norms: npt.NDArray[np.float32]) -> None:
        self.records += records
        self.norms += list(norms)


def monitor_of(net: nn.Module, kept: Kept, clip: float = 10.0) -> GradientMonitor:
    monitor = GradientMonitor(clip, kept)
    monitor.watch(net.named_parameters())
    return monitor


def one_step(
    net: nn.Module, all_batches: list[torch.Tensor], *, clip: float = 10.0, scale: float = 1.0
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the record of one step and the norm of each tensor."""
    kept = Kept()
    monitor = monitor_of(net, kept, clip)
    for pictures in all_batches:
        loss = summed_loss(net, pictures)
        (loss * scale).backward()
        monitor.add_batch(len(pictures), loss, {"term": loss.detach() / len(pictures)})
    for parameter in net.parameters():
        if parameter.grad is not None:
            parameter.grad /= scale  # what GradScaler.unscale_ does
    monitor.measure()
    monitor.clip_gradients()
    monitor.end_step({"step": 0})
    return kept.records[0], dict(zip(monitor.tensors, kept.norms[0].tolist(), strict=True))


@pytest.mark.parametrize("scale", [1.0, 2.0**16], ids=["plain", "loss scale"])
@pytest.mark.parametrize("frozen", [[], [0]], ids=["all", "frozen"])
@pytest.mark.parametrize("sizes", [[4], [4, 4, 4], [4, 1], [1]], ids=str)
def test_every_norm_is_that_of_float64_autograd_per_picture(sizes: list[int], frozen: list[int], scale: float) -> None:
    net, data = small_net(), batches(sizes)
    for index in frozen:
        net[index].requires_grad_(False)
    record, norms = one_step(net, data, scale=scale)
    expected = twin_norms(net, data)
    assert norms == pytest.approx(expected, rel=1e-5)
    total = sum(value**2 for value in expected.values()) ** 0.5
    assert record["grad_norm_before_clip"] == pytest.approx(total, rel=1e-5)
    assert record["images"] == sum(sizes)


@pytest.mark.parametrize("clip", [1e-3, 0.5, 1e6])
def test_clipping_equals_torchs_clip_grad_norm(clip: float) -> None:
    net, reference, data = small_net(), small_net(), batches([4])
    record, _ = one_step(net, data, clip=clip)
    summed_loss(reference, data[0]).backward()
    norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), clip)
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=0)
    assert record["clipped"] is bool(norm > clip)


def test_losses_of_a_step_are_means_over_its_pictures() -> None:
    net, data = small_net(), batches([4, 1])
    losses = [float(summed_loss(net, pictures).detach()) for pictures in data]
    record, _ = one_step(net, data)
    assert record["loss"] == pytest.approx(sum(losses) / 5, rel=1e-6)
    assert record["term"] == pytest.approx(record["loss"], rel=1e-6)


def test_a_gradient_that_is_no_number_is_named_and_the_others_stay_as_they_are() -> None:
    net, data = small_net(), batches([2])
    kept = Kept()
    monitor = monitor_of(net, kept)
    loss = summed_loss(net, data[0])
    loss.backward()
    monitor.add_batch(2, loss, {})
    net[0].weight.grad[0, 0, 0, 0] = float("inf")
    net[3].bias.grad[0] = float("nan")
    assert not monitor.measure().isfinite()
    assert monitor.non_finite_tensors() == ["0.weight", "3.bias"]
    monitor.end_step({"step": 0})
    assert kept.records[0]["clipped"] is True
    assert np.isfinite(kept.norms[0]).tolist() == [False, True, True, False]


def test_a_tensor_without_a_gradient_is_told_from_one_whose_gradient_is_zero() -> None:
    net, data = small_net(), batches([2])
    kept = Kept()
    monitor = monitor_of(net, kept)
    loss = summed_loss(net, data[0])
    loss.backward()
    monitor.add_batch(2, loss, {})
    net[0].bias.grad, net[3].bias.grad = None, torch.zeros(2)
    monitor.measure()
    monitor.end_step({"step": 0})
    assert kept.norms[0][[1, 3]].tolist() == [NO_GRADIENT, 0.0]


def test_the_gradients_are_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring and clipping together take one pass over the gradients for norms, whatever torch's own would take."""
    calls = []
    original = torch._foreach_norm
    monkeypatch.setattr(torch, "_foreach_norm", lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs))
    one_step(small_net(), batches([4]))
    assert len(calls) == 1


def test_an_open_step_survives_a_checkpoint() -> None:
    kept, again = Kept(), Kept()
    net = small_net()
    first, second = monitor_of(net, kept), monitor_of(net, again)
    first.add_batch(3, torch.tensor(6.0), {"box": torch.tensor(2.0)})
    second.load_state(first.state())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    for monitor in (first, second):
        monitor.add_batch(1, torch.tensor(2.0), {"box": torch.tensor(6.0)})
        monitor.measure()
        monitor.end_step({"step": 0})
    assert kept.records == again.records
    record = kept.records[0]
    assert (record["loss"], record["box"]) == (pytest.approx(2.0), pytest.approx(3.0))
    size = sum(parameter.numel() for parameter in net.parameters()) ** 0.5
    assert record["grad_norm_before_clip"] == pytest.approx(size / 4)


def test_a_step_without_a_batch_is_refused() -> None:
    with pytest.raises(RuntimeError, match="without a batch"):
        monitor_of(small_net(), Kept()).end_step({})


def test_a_model_without_any_gradient_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no parameter has a gradient"):
        monitor_of(small_net(), Kept()).measure()


def test_names_are_those_of_the_plain_model() -> None:
    assert plain_name("module._orig_mod.model.0.conv.weight") == "model.0.conv.weight"
    assert plain_name("_orig_mod.model.0.conv.weight") == "model.0.conv.weight"
    net = nn.Module()
    net._orig_mod = small_net()
    monitor = monitor_of(net, Kept())
    assert monitor.tensors == ("0.weight", "0.bias", "3.weight", "3.bias")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.4.m.0.cv1.conv.weight", "model.4"),
        ("model.23.cv2.0.0.conv.weight", "model.23.cv2"),
        ("model.23.one2one_cv3.1.2.bias", "model.23.one2one_cv3"),
        ("model.23.weight", "model.23"),
    ],
)
def test_the_heads_branches_are_layers_of_their_own(name: str, layer: str) -> None:
    assert layer_of(name, "model.23") == layer
