"""What is not finite, injected into a training: what plain Ultralytics makes of it, and what the guard does.

Three faults, each in fp32 and bf16 on the CPU (fp16 as well on a GPU): NaN pixels in one picture, one Inf in one
gradient at step 5, one activation that overflows at step 5. Both sides train the same model on the same pictures with
the same fault. "finite" counts the optimiser steps after which weights, statistics and average were finite.

    python benchmarks/guard.py [--device cpu]
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pipeline  # before Ultralytics: sets its switches

import torch  # isort: skip
import ultralytics.engine.trainer as upstream  # isort: skip
from torch import Tensor, nn  # isort: skip
from pipeline.augment.table_dataset import TableDataset
from pipeline.leash import chatter_to, tighten
from pipeline.runs import Run
from pipeline.training.incidents import describe_incident
from pipeline.training.precision import amp_is_sound, autocast
from pipeline.training.trainer import TuneUpTrainer

CONV = "model.4.cv2.conv"
BAD_STEP = 5
Steps = list[bool]  # after each optimiser step: is everything finite?


class Overflow(nn.Module):
    """A convolution whose output overflows while `now` says so."""

    def __init__(self, inner: nn.Module, now: Callable[[], bool]) -> None:
        super().__init__()
        self.weight, self.bias, self.inner, self.now = inner.weight, inner.bias, [inner], now

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner[0](x)
        return output * 1e30 * 1e30 if self.training and self.now() else output

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        import copy

        return copy.deepcopy(self.inner[0], memo)


def spoil_model(model: nn.Module, fault: str, now: Callable[[], bool]) -> None:
    if fault == "Inf in one gradient":

        def spoil(gradient: Tensor) -> Tensor:
            spoilt = gradient.clone()
            spoilt.view(-1)[3] = math.inf if now() else spoilt.view(-1)[3]
            return spoilt

        model.get_parameter(f"{CONV}.weight").register_hook(spoil)
    elif fault == "an activation overflows":
        parent = model.get_submodule(CONV.rpartition(".")[0])
        parent.conv = Overflow(parent.conv, now)


@contextmanager
def spoilt_pictures(fault: str, of: type) -> Iterator[None]:
    original = of.__getitem__

    def spoilt(self: Any, index: int) -> dict[str, Any]:
        item = dict(original(self, index))
        item["img"] = item["img"].float()
        if self.augment and item["im_file"] == min(self.im_files):
            item["img"][0, 5, 7] = math.nan
        return item

    of.__getitem__ = spoilt if fault == "NaN pixels in one picture" else original
    try:
        yield
    finally:
        of.__getitem__ = original


def all_finite(*modules: nn.Module) -> bool:
    return all(bool(v.isfinite().all()) for m in modules for v in m.state_dict().values())


def counting(base: type, steps: Steps, fault: str) -> type:
    """Return a trainer that injects the fault into its model and looks at everything after each step."""

    class Counting(base):  # type: ignore[misc, valid-type]
        def setup_model(self) -> Any:
            found = super().setup_model()
            spoil_model(self.model, fault, lambda: len(steps) == BAD_STEP)
            return found

        def optimizer_step(self) -> None:
            super().optimizer_step()
            steps.append(all_finite(upstream.unwrap_model(self.model), self.ema.ema))

    return Counting


def theirs(data: Path, folder: Path, fault: str, amp: str, device: str) -> tuple[Steps, str]:
    """Train with plain Ultralytics; its refusal of bf16 on a CPU is lifted, so that there is something to compare."""
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.models.yolo.detect import DetectionTrainer

    tighten()
    upstream.check_amp, upstream.autocast = amp_is_sound, autocast
    steps: Steps = []
    settings = {**SETTINGS, "amp": amp == "fp16" or (amp if amp == "bf16" else False), "device": device}
    settings |= {"data": str(data), "project": str(folder), "name": "plain", "plots": False}
    try:
        with chatter_to(folder / "plain.log"), spoilt_pictures(fault, YOLODataset):
            trainer = counting(DetectionTrainer, steps, fault)(overrides=settings)
            trainer.train()
    except Exception as error:
        return steps, f"stopped: {str(error).splitlines()[0][:70]}"
    saved = torch.load(trainer.last, map_location="cpu", weights_only=False)
    model = saved.get("ema") or saved["model"]
    clean = "finite" if all_finite(model.float()) else "not finite"
    return steps, f"ran to its end; last.pt {clean}, mAP50 {trainer.metrics['metrics/mAP50(B)']:.3f}"


def ours(data: Path, folder: Path, fault: str, amp: str, device: str) -> tuple[Steps, str]:
    """Train with the guard."""
    steps: Steps = []
    precision = {"fp32": "false", "bf16": "bf16", "fp16": "fp16"}[amp]
    words = [f"{key}={value}" for key, value in SETTINGS.items() if key != "plots"]
    from pipeline.training import session

    original = session.TuneUpTrainer
    session.TuneUpTrainer = counting(TuneUpTrainer, steps, fault)
    try:
        with spoilt_pictures(fault, TableDataset):
            where = [f"data={data}", f"runs={folder}", "name=guarded", f"device={device}", "monitor.preflight=0"]
            run = pipeline.train(overrides=[*words, *where, f"amp={precision}"])
    finally:
        session.TuneUpTrainer = original
    return steps, verdict(run)


def verdict(run: Run) -> str:
    taken, incidents = run.steps(), run.incidents()
    skipped = int(taken["skipped"].sum())
    model = torch.load(run.weights("last"), map_location="cpu", weights_only=False)["model"]
    clean = "finite" if all_finite(model.float()) else "not finite"
    found = describe_incident({**incidents[0], "files": [Path(f).name for f in incidents[0].get("files", ())]})
    score = run.epochs()["val_map50"][-1]
    return f"{skipped} steps not taken; {found}; ran to its end, last.pt {clean}, mAP50 {score:.3f}"


SETTINGS: dict[str, Any] = {
    "model": "yolo26n.yaml",
    "epochs": 4,
    "imgsz": 96,
    "batch": 8,
    "nbs": 8,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1,
    "mosaic": 0.0,
    "fraction": 0.2,
}
FAULTS = ("NaN pixels in one picture", "Inf in one gradient", "an activation overflows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    formats = ("fp32", "bf16") if options.device == "cpu" else ("fp32", "bf16", "fp16")
    print("| fault | format | | steps finite | outcome |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        data = pipeline.make_demo("steel", Path(name) / "steel")
        os.chdir(name)
        for fault in FAULTS:
            for amp in formats:
                for who, train in (("Ultralytics", theirs), ("guard", ours)):
                    folder = Path(name) / f"{FAULTS.index(fault)}-{amp}-{who}"
                    folder.mkdir()
                    steps, outcome = train(data, folder, fault, amp, options.device)
                    print(f"| {fault} | {amp} | {who} | {sum(steps)} of {len(steps)} | {outcome} |", flush=True)


if __name__ == "__main__":
    main()
