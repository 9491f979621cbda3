"""The sampled measurements against figures worked out by hand or by float64 autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pipeline  # noqa: F401  sets the switches before Ultralytics is imported
from pipeline.training import losses
from pipeline.training.context import step_batches
from pipeline.training.probes import UpdateProbe, activation_health, period, term_shares


class TwoLayers(nn.Module):
    """A model whose parameters are called as a detector's are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)  # type: ignore[no-any-return]


def stepped(optimizer_of: Any, freeze: bool = False) -> tuple[TwoLayers, dict[str, Any], dict[str, torch.Tensor], Any]:
    """Return model, what the probe said, the weights before and the gradients of one step."""
    net = TwoLayers()
    if freeze:
        net.model[0].requires_grad_(False)
    optimizer = optimizer_of([p for p in net.parameters() if p.requires_grad])
    probe = UpdateProbe(net, optimizer, ["weight"])
    net(torch.ones(5, 4)).square().sum().backward()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    probe.before()
    optimizer.step()
    return net, probe.after(), before, (gradients, probe)


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_update_to_weight_ratio_is_that_of_the_layers_matrices(kind: str) -> None:
    net, found, before, _ = stepped(lambda ps: getattr(torch.optim, kind)(ps, lr=0.01))
    for index in (0, 1):
        name = f"model.{index}"
        weight, old = net.get_parameter(f"{name}.weight").detach().double(), before[f"{name}.weight"].double()
        assert found["ratio"][name] == pytest.approx(float((weight - old).norm() / old.norm()), rel=1e-5)
    moved = sum(
        float((net.get_parameter(f"model.{i}.weight").detach() - before[f"model.{i}.weight"]).norm()) ** 2
        for i in (0, 1)
    )
    size = sum(float(before[f"model.{i}.weight"].norm()) ** 2 for i in (0, 1))
    assert found["group_ratio"] == {"weight": pytest.approx((moved / size) ** 0.5, rel=1e-4)}


def test_plain_descent_goes_straight_against_the_gradient() -> None:
    _, found, _, _ = stepped(lambda ps: torch.optim.SGD(ps, lr=0.01))
    assert found["against_gradient"] == {name: pytest.approx(1.0, abs=1e-4) for name in ("model.0", "model.1")}


def test_ascent_is_seen() -> None:
    _, found, _, _ = stepped(lambda ps: torch.optim.SGD(ps, lr=0.01, maximize=True))
    assert found["against_gradient"] == {name: pytest.approx(-1.0, abs=1e-4) for name in ("model.0", "model.1")}


def test_a_tensor_that_the_optimizer_does_not_know_is_unmoved() -> None:
    _, found, _, _ = stepped(lambda ps: torch.optim.SGD(ps[:-1], lr=0.01))
    assert found["unmoved"] == ["model.1.bias"]


def test_frozen_tensors_are_not_expected_to_move() -> None:
    _, found, _, _ = stepped(lambda ps: torch.optim.SGD(ps, lr=0.01), freeze=True)
    assert found["unmoved"] == []
    assert set(found["ratio"]) == {"model.1"}


def test_the_cosine_of_successive_gradients_and_the_noise_scale_that_follows() -> None:
    net, _, _, (first, probe) = stepped(lambda ps: torch.optim.SGD(ps, lr=0.01))
    net.zero_grad()
    net(torch.full((5, 4), 0.5)).square().sum().backward()
    flat = [
        torch.cat([g.flatten().double() for g in part])
        for part in (first.values(), [p.grad for p in net.parameters() if p.grad is not None])
    ]
    expected = float(torch.dot(*flat) / (flat[0].norm() * flat[1].norm()))
    found = probe.successor(5)
    assert found["cosine"] == pytest.approx(expected, rel=1e-5)
    assert found["noise_scale"] == pytest.approx(5 * (1 / expected - 1), rel=1e-3)
    assert probe.successor(5) is None


def test_noise_scale_recovers_that_of_a_simulated_gradient() -> None:
    """g = G + noise/sqrt(B): the hint's expectation is tr(S)/|G|^2, whatever B."""
    rng = np.random.default_rng(0)
    mean, deviation, batch = np.ones(200), 3.0, 64
    truth = 200 * deviation**2 / float(mean @ mean)
    products, squares = [], []
    for _ in range(400):
        left, right = (mean + deviation * rng.standard_normal(200) / batch**0.5 for _ in range(2))
        products.append(left @ right)
        squares.append(np.linalg.norm(left) * np.linalg.norm(right))
    assert batch * (np.mean(squares) / np.mean(products) - 1) == pytest.approx(truth, rel=0.1)


@pytest.fixture(scope="module")
def detector() -> Any:
    from pathlib import Path

    from pipeline.training.trial import bare_model

    model = bare_model(Path("yolo26n.yaml"))
    losses.install(model)
    return model.train()


def batch_of(count: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(count, 2, generator=generator) * 0.4 + 0.3
    return {
        "img": torch.rand(count, 3, 64, 64, generator=generator),
        "cls": torch.zeros(count, 1),
        "bboxes": torch.cat([centres, torch.full((count, 2), 0.3)], 1),
        "batch_idx": torch.arange(count, dtype=torch.float32),
    }


def test_activation_health_changes_nothing_and_knows_every_norm_layer(detector: Any) -> None:
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    state = torch.get_rng_state()
    found = activation_health(detector, batch_of()["img"], batch=16)
    assert len(found) == 114
    assert found["model.0.bn"]["values"] == 16 * 32 * 32
    assert detector.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_dead_units_and_bad_statistics_are_seen(detector: Any) -> None:
    layer = detector.get_submodule("model.2.cv1.bn")
    with torch.no_grad():
        layer.bias.fill_(-20.0)
        layer.running_var[0] = float("nan")
    try:
        found = activation_health(detector, batch_of()["img"], batch=16)
    finally:
        with torch.no_grad():
            layer.bias.zero_()
            layer.running_var[0] = 1.0
    assert found["model.2.cv1.bn"]["dead"] > 0.9
    assert found["model.2.cv1.bn"]["non_finite"] == 1.0
    assert found["model.1.bn"]["dead"] < 0.1


def test_statistics_of_the_batch_are_compared_with_the_running_ones(detector: Any) -> None:
    """After its running statistics were set to those of the pictures, a layer shows no shift."""
    first = detector.get_submodule("model.0.bn")
    kept = first.running_mean.clone(), first.running_var.clone()
    pictures = batch_of()["img"]
    with torch.no_grad():
        seen = detector.get_submodule("model.0.conv")(pictures)
        first.running_mean.copy_(seen.mean((0, 2, 3)))
        first.running_var.copy_(seen.var((0, 2, 3), unbiased=False))
    try:
        found = activation_health(detector, pictures, batch=16)["model.0.bn"]
    finally:
        with torch.no_grad():
            first.running_mean.copy_(kept[0])
            first.running_var.copy_(kept[1])
    assert found["mean_shift"] == pytest.approx(0.0, abs=1e-4)
    assert found["variance_ratio"] == pytest.approx(1.0, rel=1e-2)


def test_term_shares_are_those_of_autograd_and_leave_no_gradient_behind(detector: Any) -> None:
    detector.zero_grad(set_to_none=True)
    batch = batch_of()
    shares = term_shares(detector, batch)
    assert set(shares) == {"box_loss", "cls_loss", "l1_loss"}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(p.grad is None for p in detector.parameters())
    # A term whose gain is raised tenfold takes a larger share; here the classes'.
    detector.criterion.one2many.hyp.cls, kept = 5.0, detector.criterion.one2many.hyp.cls
    try:
        raised = term_shares(detector, batch)
    finally:
        detector.criterion.one2many.hyp.cls = kept
    ratio = raised["cls_loss"] / raised["box_loss"] / (shares["cls_loss"] / shares["box_loss"])
    assert ratio == pytest.approx(10.0, rel=1e-3)


def test_both_branches_terms_add_up_to_the_loss(detector: Any) -> None:
    loss, terms = detector.loss(batch_of())
    values = {name: float(value) for name, value in terms.items()}
    weights = losses.branch_weights(detector)
    assert weights == {"o2m": pytest.approx(0.8), "o2o": pytest.approx(0.2)}
    assert losses.total_of(values, weights) * 2 == pytest.approx(float(loss.detach().sum()), rel=1e-5)


def test_the_mean_of_an_epoch_weighs_pictures_and_leaves_skipped_steps_out() -> None:
    records = [
        {"loss": 1.0, "box_loss": 2.0, "images": 2, "skipped": False, "lr_bn": 9.0},
        {"loss": 4.0, "box_loss": 5.0, "images": 1, "skipped": False, "lr_bn": 9.0},
        {"loss": float("nan"), "box_loss": float("nan"), "images": 2, "skipped": True, "lr_bn": 9.0},
    ]
    assert losses.epoch_means(records) == {"loss": pytest.approx(2.0), "box_loss": pytest.approx(3.0)}
    assert losses.epoch_means(records[2:]) == {}


@pytest.mark.parametrize(("steps", "expected"), [(5, 1), (60, 1), (300, 5), (900, 15), (3000, 50), (100_000, 50)])
def test_the_schedule_follows_the_length_of_the_run(steps: int, expected: int) -> None:
    assert period(steps) == expected
    assert steps < 60 or steps // period(steps) >= 60  # at least 60 looks, also at short runs


@pytest.mark.parametrize(("warmup", "accumulate"), [(0, 1), (0, 4), (6, 4), (3, 2)])
def test_step_batches_are_those_of_ultralytics_loop(warmup: int, accumulate: int) -> None:
    last, expected, wanted = -1, [], accumulate
    for number in range(30):  # the loop of BaseTrainer._do_train, written out
        if warmup and number <= warmup:
            wanted = max(1, int(np.interp(number, [0, warmup], [1, accumulate]).round()))
        if number - last >= wanted:
            expected.append(number)
            last = number
    assert list(step_batches(10, 3, warmup, accumulate)) == expected
