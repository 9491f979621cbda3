"""The loss of single pictures compares weights: lagging statistics do not count, nor a network that assigns nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.advice_verb import losses_between
from pipeline.config import load_config
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


def write_changed(run: Run, target: Path, changes: Sequence[Change]) -> None:
    """Write the last weights of a run, changed."""
    record = torch.load(run.weights("last"), map_location="cpu", weights_only=False)
    record["model"] = record["model"].float()
    for change in changes:
        change(record["model"])
    torch.save(record, target)


@pytest.fixture
def losses_of(tiny_run: Run, tmp_path: Path) -> Callable[..., NDArray[np.float64]]:
    dataset = tiny_run.dataset()
    part, train = spread(dataset.split("val")), dataset.split("train")

    def losses(*changes: Change, freeze: Sequence[str] = ()) -> NDArray[np.float64]:
        write_changed(tiny_run, tmp_path / "changed.pt", changes)
        return picture_losses(tmp_path / "changed.pt", part, train, 64, "cpu", freeze)

    return losses


def test_statistics_that_lag_behind_do_not_count(losses_of: Callable[..., NDArray[np.float64]]) -> None:
    confident = bias_of_classes(2.0)
    own = losses_of(confident)
    assert np.isfinite(own).sum() >= 3  # boxes of a network that was hardly trained: one may overlap nothing
    assert (own > 0).all()
    assert np.array_equal(own, losses_of(confident))
    assert np.array_equal(own, losses_of(confident, other_statistics))
    kept = losses_of(confident, other_statistics, freeze=["model."])  # what is frozen works with those it has
    assert not np.allclose(kept, own, rtol=0.01)


def test_a_network_that_assigns_nothing_has_no_loss(losses_of: Callable[..., NDArray[np.float64]]) -> None:
    assert np.isinf(losses_of(bias_of_classes(-80.0))).all()


def test_two_runs_are_compared_by_their_weights(tiny_run: Run, tmp_path: Path) -> None:
    def run(name: str, *changes: Change, freeze: tuple[str, ...] = ()) -> Run:
        shutil.copytree(tiny_run.path, tmp_path / name)
        copy = Run(tmp_path / name)
        write_changed(tiny_run, copy.weights("last"), changes)
        copy.save_context({**copy.context, "freeze": [*copy.context["freeze"], *freeze]})
        return copy

    config = load_config(tiny_run.path / "config.yaml")
    confident = bias_of_classes(2.0)
    first = run("first", confident)
    lagging = losses_between(first, run("lagging", confident, other_statistics), config)
    assert (lagging.direction, lagging.figures["ratio"]["value"]) == ("none", 1.0)
    frozen = losses_between(first, run("frozen", confident, other_statistics, freeze=("model.",)), config)
    assert frozen.figures["ratio"]["value"] != pytest.approx(1.0, rel=0.01)
    collapsed = losses_between(first, run("collapsed", bias_of_classes(-80.0)), config)
    assert collapsed.direction == "down"
    assert losses_between(run("worse", bias_of_classes(-80.0)), first, config).direction == "up"
