"""Runs the batches of a step again, watched closely, to find out which module, loss term and pictures were not finite.

The weights are those that the step met, because the step was not taken. A live training replays at once; from the file
that it leaves behind, `load_step` builds the same situation again in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RunError
from . import losses
from .gradients import plain_name
from .precision import autocast
from .probes import evaluation_mode

Batch = dict[str, Any]
_KEPT = ("im_file", "size")
FORWARD, BACKWARD, STATISTICS = "forward", "backward", "statistics"


@dataclass(frozen=True)
class Situation:
    """What a batch met: the bare model with its criterion, and how the trainer calls it.

    Args:
        model: unwrapped, not compiled.
        prepare: moves a batch of the loader to the device and scales its pixels to 0..1, as for training.
        precision: format of mixed precision; None for float32 throughout.
        device: type of the device.
        loss_scale: what the loss is multiplied by before it is sent back (half precision).
    """

    model: nn.Module
    prepare: Callable[[Batch], Batch]
    precision: torch.dtype | None
    device: str
    loss_scale: float = 1.0

    def run(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss (summed over pictures and terms) and terms of a prepared batch."""
        context: AbstractContextManager[None] = autocast(self.precision or False, self.device)
        with context:
            loss, terms = self.model.loss(batch)  # type: ignore[operator]
            return loss.sum(), terms

    def snapshot(self, batches: Sequence[Batch]) -> dict[str, Any]:
        """Return all that `load_step` needs, in plain types."""
        model: Any = self.model
        plain = (bool, int, float, str, list, type(None))
        return {
            "architecture": model.yaml,
            "names": dict(model.names),
            "arguments": {k: v for k, v in vars(model.args).items() if isinstance(v, plain)},
            "model": model.state_dict(),
            "branches": losses.branch_weights(model),
            "precision": str(self.precision).removeprefix("torch.") if self.precision else "float32",
            "loss_scale": self.loss_scale,
            "batches": [{k: v for k, v in b.items() if isinstance(v, Tensor) or k in _KEPT} for b in batches],
        }


@dataclass(frozen=True)
class Culprit:
    """What a replay found.

    Args:
        repeated: whether the replay was not finite either.
        phase: `pictures` (their pixels are not finite), `forward`, `backward`, `statistics` (BatchNorm's, although loss
            and gradients are finite), or "" where nothing was repeated.
        module: the first module that made nan or inf out of finite values, by its name in the model; "" if unknown.
        kind: the module's class.
        loss_terms: terms of the loss that were not finite.
        files: the pictures that bring it about on their own; all of the batch where they could not be told apart.
        told_apart: whether `files` is narrower than the batch.
    """

    repeated: bool
    phase: str = ""
    module: str = ""
    kind: str = ""
    loss_terms: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    told_apart: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def replay(situation: Situation, batches: Sequence[Batch], tensors: Sequence[str]) -> Culprit:
    """Run the batches of a step again and return what is not finite in the first one that shows it.

    Changes BatchNorm's running statistics and clears all gradients; the caller puts back what it needs.

    Args:
        situation: model and trainer, before the step.
        batches: as the loader gave them.
        tensors: parameter tensors that were not finite in the original, for the case that nothing repeats.
    """
    statistics = [(buffer, buffer.detach().clone()) for buffer in situation.model.buffers()]
    for raw in batches:
        batch = situation.prepare(dict(raw))
        files = [str(file) for file in raw.get("im_file", ())]
        bad_pictures = [i for i, picture in enumerate(batch["img"]) if not bool(picture.isfinite().all())]
        watch = _Watch()
        terms, failed = _one_pass(situation, batch, watch)
        if not failed and not bad_pictures:
            owner = _spoilt_owner(situation.model, statistics)
            if owner is not None:
                return Culprit(True, STATISTICS, *owner, (), tuple(files))
            continue
        phase = "pictures" if bad_pictures else FORWARD if terms or watch.module else BACKWARD
        module, kind = ("", "") if bad_pictures else (watch.module or watch.backward_module, watch.kind)
        with torch.no_grad():
            for buffer, before in statistics:  # the pass has just spoilt them, and then no picture would be sound
                buffer.copy_(before)
        alone = bad_pictures or _bad_alone(situation, batch)
        narrowed = 0 < len(alone) < len(batch["img"])
        named = tuple(files[i] for i in alone if i < len(files)) if narrowed or bad_pictures else tuple(files)
        return Culprit(True, phase, module, kind, tuple(terms), named, narrowed)
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
    module = owners[0] if len(owners) == 1 else ""
    kinds = {plain_name(name): type(m).__name__ for name, m in situation.model.named_modules()}
    return Culprit(False, module=module, kind=kinds.get(module, ""))


def _one_pass(situation: Situation, batch: Batch, watch: _Watch) -> tuple[list[str], bool]:
    """Run a batch forward and back; returns the loss terms that are not finite, and whether anything was not."""
    situation.model.zero_grad(set_to_none=True)
    with watch.on(situation.model), torch.enable_grad():
        loss, terms = situation.run(batch)
        bad_terms = [name for name, value in terms.items() if not bool(value.isfinite().all())]
        if loss.requires_grad:
            (loss * situation.loss_scale).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in situation.model.parameters() if p.grad is not None]
    bad_gradients = not all(bool(g.isfinite().all()) for g in gradients)
    watch.judge_backward()
    situation.model.zero_grad(set_to_none=True)
    return bad_terms, bool(bad_terms) or not bool(loss.isfinite()) or bad_gradients


def _spoilt_owner(model: nn.Module, statistics: Sequence[tuple[Tensor, Tensor]]) -> tuple[str, str] | None:
    """Return name and class of the first module one of whose statistics was finite and is not any more."""
    spoilt = {id(now) for now, before in statistics if _finite([before]) and not _finite([now])}
    for name, module in model.named_modules():
        if any(id(buffer) in spoilt for buffer in module.buffers(recurse=False)):
            return plain_name(name), type(module).__name__
    return None


def _bad_alone(situation: Situation, batch: Batch) -> list[int]:
    """Return the pictures that are not finite on their own; BatchNorm's running statistics keep them apart."""
    alone = []
    with evaluation_mode(situation.model):
        for index in range(len(batch["img"])):
            member = batch["batch_idx"] == index
            single = {
                "img": batch["img"][index : index + 1],
                "cls": batch["cls"][member],
                "bboxes": batch["bboxes"][member],
                "batch_idx": torch.zeros_like(batch["batch_idx"][member]),
            }
            if _one_pass(situation, single, _Watch())[1]:
                alone.append(index)
    return alone


@dataclass
class _Watch:
    """Hooks on every module, to find the first one that makes nan or inf out of finite values."""

    module: str = ""
    kind: str = ""
    backward_module: str = ""
    _calls: list[tuple[str, nn.Module]] = field(default_factory=list)
    _finite_back: dict[str, bool] = field(default_factory=dict)
    _order_back: list[str] = field(default_factory=list)
    _hooks: list[Any] = field(default_factory=list)

    def on(self, model: nn.Module) -> _Watch:
        seen = [id(module) for _, module in model.named_modules(remove_duplicate=False)]
        shared = {number for number in seen if seen.count(number) > 1}  # SiLU: one instance under many names
        for name, module in model.named_modules():
            if id(module) not in shared and name:
                self._hooks.append(module.register_forward_hook(self._hook(plain_name(name))))
        return self

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *exception: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def forward_hook(module: nn.Module, inputs: Any, output: Any) -> None:
            results = _tensors(output)
            if not self.module and not _finite(results) and _finite(_tensors(inputs)):
                self.module, self.kind = name, type(module).__name__
            self._calls.append((name, module))
            for result in results:
                if result.requires_grad:
                    result.register_hook(self._backward_hook(name))  # type: ignore[no-untyped-call]

        return forward_hook

    def _backward_hook(self, name: str) -> Callable[[Tensor], None]:
        def backward_hook(gradient: Tensor) -> None:
            if name not in self._finite_back:
                self._order_back.append(name)
            self._finite_back[name] = self._finite_back.get(name, True) and bool(gradient.isfinite().all())

        return backward_hook

    def judge_backward(self) -> None:
        """Name the first module, on the way back, that made nan or inf out of a finite gradient."""
        if self.module:
            return
        modules = dict(self._calls)
        for name in self._order_back:
            own = [p.grad for p in modules[name].parameters(recurse=False) if p.grad is not None]
            if self._finite_back[name] and not _finite(own):
                self.backward_module, self.kind = name, type(modules[name]).__name__
                return
        # A module without parameters: the last one on the way back whose gradient was still finite.
        finite = [name for name in self._order_back if self._finite_back[name]]
        if finite and not all(self._finite_back.values()):
            first_bad = next(i for i, name in enumerate(self._order_back) if not self._finite_back[name])
            before = [name for name in self._order_back[:first_bad] if self._finite_back[name]]
            if before:
                self.backward_module, self.kind = before[-1], type(modules[before[-1]]).__name__


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, Mapping):
        value = list(value.values())
    return [t for item in value for t in _tensors(item)] if isinstance(value, list | tuple) else []


def _finite(tensors: Sequence[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def load_step(path: Path, device: str) -> tuple[Situation, list[Batch]]:
    """Build the situation of a kept step again; no code in the file is run.

    Args:
        path: `step.pt` of an incident.
        device: type of the device to replay on.

    Raises:
        RunError: the file is missing or damaged.
    """
    from ultralytics.nn.tasks import DetectionModel

    if not path.is_file():
        raise RunError(
            f"{path}: not there; only the first steps that were not finite are kept with weights and pictures"
        )
    try:
        kept = torch.load(path, map_location=device, weights_only=True)
        model: Any = DetectionModel(kept["architecture"], nc=len(kept["names"]), verbose=False)
        model.load_state_dict(kept["model"])
    except Exception as error:  # torch raises many kinds for a damaged file
        raise RunError(
            f"{path}: cannot be read ({type(error).__name__}); the incident's JSON has what was found"
        ) from error
    model.names, model.args = kept["names"], SimpleNamespace(**kept["arguments"])
    model.to(device).train()
    losses.install(model)
    for branch, weight in kept["branches"].items():
        setattr(model.criterion, branch, weight)

    def prepare(batch: Batch) -> Batch:
        pictures, size = batch["img"].to(device).float() / 255, batch.pop("size", None)
        if size is not None and tuple(pictures.shape[2:]) != tuple(size):  # multi_scale
            pictures = torch.nn.functional.interpolate(pictures, tuple(size), mode="bilinear", align_corners=False)
        return {**batch, "img": pictures}

    precision = None if kept["precision"] == "float32" else getattr(torch, kept["precision"])
    return Situation(model, prepare, precision, device, kept["loss_scale"]), kept["batches"]
