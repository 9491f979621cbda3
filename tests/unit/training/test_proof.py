"""The backprop proof on real detectors: correct code passes; what is wrong on purpose is found and named."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pipeline  # noqa: F401 - before Ultralytics
from pipeline.errors import TrainingError, UsageError
from pipeline.leash import tighten

tighten()

from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.nn.modules.block import Bottleneck  # noqa: E402
from ultralytics.nn.modules.conv import Conv  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils import loss as ultralytics_loss  # noqa: E402
from ultralytics.utils import metrics  # noqa: E402
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss  # noqa: E402

from pipeline.training import losses  # noqa: E402
from pipeline.training.proof import (  # noqa: E402
    ProofResult,
    explanation,
    findings_of,
    prove_backprop,
    textbook_example,
)

THREADS = torch.get_num_threads()


class Times(torch.autograd.Function):
    """Passes its input on, and its gradient back times a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class FlippedConv(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return Times.apply(super().forward(x), -1.0)


class HalvedConv(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return Times.apply(super().forward(x), 0.5)


class CutConv(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x).detach()))


class CutBottleneck(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x).detach())
        return x + y if self.add else y


class HalvedBottleneck(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(Times.apply(self.cv1(x), 0.5))
        return x + y if self.add else y


class CoarseConv(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float().to(x.dtype)


class Float32Conv(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, torch.ones(1, 1, 1, 1, dtype=torch.float32))


class RandomConv(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * random.random()


class TiredConv(Conv):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        TiredConv.calls += 1
        if TiredConv.calls > 5:
            raise ValueError("enough")
        return super().forward(x)


class DropoutConv(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.3, training=True)


class ReluConv(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu_(self.bn(self.conv(x)))


class BranchyLoss(v8DetectionLoss):
    """Sends back half of the gradient of the classification term."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.plain = self.bce
        self.bce = self.halved

    def halved(self, scores: Tensor, targets: Tensor) -> Tensor:
        return self.plain(Times.apply(scores, 0.5), targets)


def detector(name: str = "yolo26n.yaml") -> Any:
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = DetectionModel(name, nc=5, verbose=False)
    model.args = get_cfg()
    torch.random.set_rng_state(state)
    return model


def planted(place: str, kind: type[nn.Module]) -> Any:
    """Return a yolo26n in which one block is of another class."""
    model = detector()
    model.get_submodule(place).__class__ = kind
    return model


@pytest.fixture(scope="module")
def healthy() -> ProofResult:
    return prove_backprop(detector())


@pytest.mark.parametrize("name", ["yolo26n.yaml", "yolo11n.yaml", "yolov8n.yaml"])
def test_correct_models_pass_with_two_digits_to_spare(name: str, healthy: ProofResult) -> None:
    result = healthy if name == "yolo26n.yaml" else prove_backprop(detector(name))
    assert result.passed, result.culprits
    assert result.relative_error < 1e-8
    assert result.idle == ()
    assert result.layers > 20
    assert sum(result.terms.values()) == pytest.approx(result.loss)
    assert ("one-to-one features" in result.constants) == (name == "yolo26n.yaml")


@pytest.mark.parametrize(
    ("place", "kind", "fault", "factor"),
    [
        ("model.5", FlippedConv, "flipped", -1.0),  # backbone
        ("model.4.m.0", HalvedBottleneck, "scaled", 0.5),
        ("model.16.m.0.m.0", CutBottleneck, "blocked", 0.0),  # neck
        ("model.23.cv2.1.0", CutConv, "blocked", 0.0),  # head
        ("model.23.one2one_cv2.2.0", HalvedConv, "scaled", 0.5),  # which the loss of these pictures does not reach
    ],
)
def test_a_planted_fault_is_found_and_the_module_named(
    place: str, kind: type[nn.Module], fault: str, factor: float
) -> None:
    result = prove_backprop(planted(place, kind), directions=1)
    assert not result.passed
    (culprit,) = result.culprits
    assert (culprit.name, culprit.kind, culprit.fault) == (place, kind.__name__, fault)
    assert culprit.factor == pytest.approx(factor, abs=1e-6)
    assert "test_proof.py:" in culprit.where
    (finding,) = findings_of(result)
    assert (finding.id, finding.severity) == ("proof.gradient_wrong", "error")
    assert place in finding.message
    assert culprit.what in finding.message
    assert any(place in line for line in explanation(result))
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_wrong_term_of_a_custom_loss_is_named() -> None:
    model = detector()
    model.criterion = E2ELoss(model)
    model.criterion.one2one = BranchyLoss(model, tal_topk=7, tal_topk2=1)
    result = prove_backprop(model, directions=1)
    (culprit,) = result.culprits
    assert (culprit.name, culprit.kind, culprit.fault) == ("loss term o2o cls", "BranchyLoss", "scaled")
    assert culprit.factor == pytest.approx(0.5, rel=1e-6)
    assert culprit.parts == ("scores",)


def test_the_criterion_of_a_training_is_used_as_it_stands(healthy: ProofResult) -> None:
    model = detector()
    losses.install(model)
    model.criterion.o2m, model.criterion.o2o = 0.1, 0.9
    result = prove_backprop(model, directions=1)
    assert result.passed
    assert result.loss != pytest.approx(healthy.loss, rel=1e-3)
    assert model.criterion.one2many.proj.dtype == torch.float32


def test_nothing_of_the_callers_is_changed() -> None:
    model = detector()
    model.half()
    model.requires_grad_(False)
    model.eval()
    before = copy.deepcopy(model.state_dict())
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with torch.inference_mode():
        assert prove_backprop(model, directions=1).passed
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not model.training
    assert getattr(model, "criterion", None) is None
    assert "forward_head" not in vars(model.model[-1])
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert states[1] == random.getstate()
    assert states[2] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert_undone()


def assert_undone() -> None:
    assert metrics.torch is torch
    assert ultralytics_loss.bbox_iou is metrics.bbox_iou
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == THREADS


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (CoarseConv, r"model\.5 \(CoarseConv\) computes in less than float64"),
        (Float32Conv, r"model\.5 \(Float32Conv\) fails in float64"),
        (RandomConv, "another loss each time"),
        (TiredConv, "fails in float64.*ValueError: enough"),
    ],
)
def test_what_cannot_be_proved_is_said_and_everything_undone(kind: type[nn.Module], says: str) -> None:
    state = torch.random.get_rng_state()
    with pytest.raises(TrainingError, match=says):
        prove_backprop(planted("model.5", kind), directions=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert_undone()


def test_weights_that_are_broken_are_said() -> None:
    model = detector()
    with torch.no_grad():
        model.model[3].bn.weight[0] = float("nan")
    with pytest.raises(TrainingError, match="not finite"):
        prove_backprop(model)


@pytest.mark.parametrize("kind", [DropoutConv, ReluConv])
def test_custom_layers_that_are_right_pass(kind: type[nn.Module]) -> None:
    assert prove_backprop(planted("model.5", kind), directions=1).passed


def test_a_parameter_that_takes_no_part_is_said() -> None:
    model = detector()
    model.model[5].spare = nn.Conv2d(3, 3, 1)
    result = prove_backprop(model, directions=1)
    assert result.passed
    assert result.idle == ("model.5.spare.weight", "model.5.spare.bias")
    assert any("model.5.spare.weight" in line for line in explanation(result))


def test_the_same_seed_gives_the_same_result(healthy: ProofResult) -> None:
    again, other = prove_backprop(detector()), prove_backprop(detector(), directions=1, seed=1)
    assert {**again.to_dict(), "seconds": 0} == {**healthy.to_dict(), "seconds": 0}
    assert other.loss != again.loss


@pytest.mark.parametrize(
    "call",
    [
        lambda: prove_backprop(nn.Linear(2, 2)),
        lambda: prove_backprop(detector(), imgsz=65),
        lambda: prove_backprop(detector(), imgsz=32),
        lambda: prove_backprop(detector(), batch=0),
        lambda: prove_backprop(detector(), directions=0),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        call()


def test_the_textbook_example_is_right_three_times() -> None:
    example = textbook_example()
    assert (example.prediction, example.loss) == (6, 16)
    assert (example.dloss_dprediction, example.dprediction_dweight) == (-8, 3)
    assert example.by_hand == example.by_autograd == -24
    assert example.by_difference == pytest.approx(-24, rel=1e-9)
    assert example.next_loss < example.loss
    text = "\n".join(example.lines())
    for number in ("= 6", "= 16", "= -8", "= -24", "2.24"):
        assert number in text


def test_a_healthy_model_is_explained_step_by_step(healthy: ProofResult) -> None:
    lines = explanation(healthy)
    assert "\n".join(textbook_example().lines()) in "\n".join(lines)
    assert any("CIoU alpha" in line for line in lines)
    assert lines[-1].startswith("5. verdict     autograd and finite differences agree")
    (finding,) = findings_of(healthy)
    assert (finding.id, finding.severity) == ("proof.passed", "info")
