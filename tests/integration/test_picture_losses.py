"""The loss of single pictures compares weights: lagging statistics do not count, nor a network that assigns nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.runs import Run
from pipeline.training.picture_losses import picture_losses, spread

Change = Callable[[torch.nn.Module], None]


def bias_of_classes(value: float) -> Change:
    def change(network: torch.nn.Module) -> None:
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 and "cv3" in name and name.split(".")[-2] == "2":  # the last convolution of a level
                parameter.data.fill_(value)

    return change


def other_statistics(network: torch.nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.add_(3.0)
            layer.running_var.mul_(50.0)


@pytest.fixture
def losses_of(tiny_run: Run, tmp_path: Path) -> Callable[..., NDArray[np.float64]]:
    dataset = tiny_run.dataset()
    part, train = spread(dataset.split("val")), dataset.split("train")

    def losses(*changes: Change, frozen: list[str] | None = None) -> NDArray[np.float64]:
        record = torch.load(tiny_run.weights("last"), map_location="cpu", weights_only=False)
        record["model"] = record["model"].float()
        for change in changes:
            change(record["model"])
        torch.save(record, tmp_path / "changed.pt")
        return picture_losses(tmp_path / "changed.pt", part, train, 64, "cpu", frozen or ())

    return losses


def norms(tiny_run: Run) -> list[str]:
    network = torch.load(tiny_run.weights("last"), map_location="cpu", weights_only=False)["model"]
    return [f"{name}.weight" for name, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_statistics_that_lag_behind_do_not_count(losses_of: Callable[..., NDArray[np.float64]], tiny_run: Run) -> None:
    confident = bias_of_classes(2.0)
    own = losses_of(confident)
    assert np.isfinite(own).all()
    assert (own > 0).all()
    assert np.array_equal(own, losses_of(confident))
    assert np.array_equal(own, losses_of(confident, other_statistics))
    kept = losses_of(confident, other_statistics, frozen=norms(tiny_run))  # what is frozen works with those it has
    assert not np.isclose(kept, own, rtol=0.01).any()


def test_a_network_that_assigns_nothing_has_no_loss(losses_of: Callable[..., NDArray[np.float64]]) -> None:
    assert np.isinf(losses_of(bias_of_classes(-80.0))).all()
