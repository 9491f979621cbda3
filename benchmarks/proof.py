"""The backprop proof on three detectors, and on faults that were planted in one of them.

python benchmarks/proof.py [--seeds 5] [--models yolo26n yolo11n yolov8n]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import pipeline  # noqa: F401 - before Ultralytics
from pipeline.leash import tighten

tighten()

from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.nn.modules.block import Bottleneck  # noqa: E402
from ultralytics.nn.modules.conv import Conv  # noqa: E402
from ultralytics.nn.modules.head import Detect  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss  # noqa: E402

from pipeline.training.finite_difference import gradients_of, slope  # noqa: E402
from pipeline.training.proof import prove_backprop  # noqa: E402
from pipeline.training.proof_twin import twin_of  # noqa: E402

MODELS = ("yolo26n", "yolo11n", "yolov8n")
FAULTS = {"wrong sign": -1.0, "wrong scale (0.5)": 0.5, "detach": 0.0}


class Times(torch.autograd.Function):
    """Passes its input on, and its gradient back times a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def spoilt(x: Tensor, factor: float) -> Tensor:
    return Times.apply(x, factor) if factor else x.detach()


def block(factor: float) -> type[nn.Module]:
    class WrongBottleneck(Bottleneck):
        def forward(self, x: Tensor) -> Tensor:
            y = self.cv2(spoilt(self.cv1(x), factor))
            return x + y if self.add else y

    return WrongBottleneck


def layer(factor: float) -> type[nn.Module]:
    class WrongConv(Conv):
        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.bn(spoilt(self.conv(x), factor)))

    return WrongConv


def head(factor: float) -> type[nn.Module]:
    class WrongDetect(Detect):
        def forward_head(self, x: list[Tensor], box_head: Any = None, cls_head: Any = None) -> dict[str, Any]:
            preds = super().forward_head(x, box_head, cls_head)
            other = super().forward_head([spoilt(level, factor) for level in x], box_head, cls_head)
            return {**preds, "scores": other["scores"]}

    return WrongDetect


def term(factor: float) -> type[v8DetectionLoss]:
    class WrongLoss(v8DetectionLoss):
        def loss(self, preds: dict[str, Any], batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            terms, items = super().loss(preds, batch)
            return torch.stack((spoilt(terms[0], factor), *terms[1:])), items

    return WrongLoss


# Where a fault is planted, and what is planted there.
PLACES: dict[str, tuple[str, Callable[[float], type[nn.Module]]]] = {
    "backbone": ("model.4.m.0", block),
    "backbone, attention": ("model.10.m.0.ffn.0", layer),
    "neck": ("model.16.m.0.m.0", block),
    "head, one-to-many": ("model.23.cv2.1.0", layer),
    "head, one-to-one, largest level": ("model.23.one2one_cv2.2.0", layer),
    "head, before the class branch": ("model.23", head),
}


def detector(name: str) -> Any:
    torch.manual_seed(0)
    model = DetectionModel(f"{name}.yaml", nc=5, verbose=False)
    model.args = get_cfg()
    return model


def naive_error(model: nn.Module) -> float:
    """Return the relative error of a finite-difference check that does not hold the loss's constants still."""
    with twin_of(model, None, 2, 0) as twin:
        leaves, ones = list(twin.parameters.values()), torch.ones_like(twin.base)
        gradients = gradients_of(twin.base, ones, leaves)
        twin.tape.recording = True  # compute everything anew in every pass
        generator = torch.Generator().manual_seed(0)
        return max(slope(twin.loss, leaves, gradients, ones, generator).relative_error for _ in range(3))


def healthy(models: list[str], seeds: int) -> None:
    print("| model | tensors | relative error, worst of seeds | constants not held | seconds |\n|---|---|---|---|---|")
    for name in models:
        model = detector(name)
        results = [prove_backprop(model, seed=seed) for seed in range(seeds)]
        assert all(result.passed for result in results), name
        worst = max(result.relative_error for result in results)
        seconds = statistics.median(result.seconds for result in results)
        row = f"| {name} | {results[0].parameters} | {worst:.1e} | {naive_error(model):.1e} | {seconds:.1f} |"
        print(row, flush=True)


def planted() -> None:
    print("\n| planted in yolo26n | at | whole model off by | named | said | seconds |\n|---|---|---|---|---|---|")
    for fault, factor in FAULTS.items():
        for part, (place, kind) in PLACES.items():
            model = detector("yolo26n")
            model.get_submodule(place).__class__ = kind(factor)
            report(f"{fault}, {part}", place, model)
        model = detector("yolo26n")
        model.criterion = E2ELoss(model)
        model.criterion.one2one = term(factor)(model, tal_topk=7, tal_topk2=1)
        report(f"{fault}, loss", "loss term o2o box", model)


def report(what: str, place: str, model: nn.Module) -> None:
    result = prove_backprop(model)
    named = ", ".join(culprit.name for culprit in result.culprits) or "nothing"
    said = "; ".join(culprit.what for culprit in result.culprits)
    mark = "" if named == place else " (WRONG)"
    off = f"{result.relative_error:.1e}"
    print(f"| {what} | {place} | {off} | {named}{mark} | {said} | {result.seconds:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    healthy(options.models, options.seeds)
    planted()


if __name__ == "__main__":
    main()
