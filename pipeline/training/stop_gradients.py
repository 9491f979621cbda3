"""What a detector's loss treats as a constant on purpose: recorded once, played back in every later pass.

Finite differences see everything that the loss depends on; backpropagation is told to overlook these three things. To
compare the two, the constants must be constants for both. The list is complete for Ultralytics' detection models and
their losses; nothing else is frozen, so a detach of the user's own is found.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from ultralytics.utils import metrics
from ultralytics.utils.tal import TaskAlignedAssigner

from ..errors import TrainingError

STOP_GRADIENTS = {
    "assigner": "which anchor learns which box is decided anew in each step and is a target, not a prediction",
    "one-to-one features": "YOLO26 keeps the one-to-one head out of the backbone on purpose (Detect.forward detaches)",
    "CIoU alpha": "the weight of the aspect-ratio term is a constant by its definition (arXiv 1911.08287)",
}
_T = TypeVar("_T")


class Tape:
    """Values that are recorded in the first pass and played back, in the same order, in every pass after `rewind`."""

    def __init__(self) -> None:
        self.recording = True
        self._kept: dict[Hashable, list[Any]] = {}
        self._place: dict[Hashable, int] = {}
        self._inside = False

    def rewind(self) -> None:
        self._place = {}

    def held(self) -> tuple[str, ...]:
        """Return the names, as in `STOP_GRADIENTS`, of what was recorded as a constant."""
        names = [str(key[0] if isinstance(key, tuple) else key) for key, kept in self._kept.items() if any(kept)]
        return tuple(name for name in STOP_GRADIENTS if name in names)

    def through(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        """Return what `compute` gave at the base point; what carries a gradient is no constant and is not frozen."""
        if self._inside:  # a constant inside a constant
            return compute()
        place = self._place[key] = self._place.get(key, -1) + 1
        if not self.recording:
            kept = self._kept.get(key, [])
            if place >= len(kept):
                raise TrainingError("the loss took another path when the weights changed by a millionth: not provable")
            return compute() if kept[place] is None else map_tensors(kept[place][0], torch.clone)
        self._inside = True
        try:
            value = compute()
        finally:
            self._inside = False
        live = any(tensor.requires_grad for tensor in tensors_of(value))
        self._kept.setdefault(key, []).append(None if live else (map_tensors(value, torch.clone),))
        return value


class _OnTape(TorchFunctionMode):
    """Sends every tensor that torch computes while this is active over the tape."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._tape.through("CIoU alpha", lambda: func(*args, **(kwargs or {})))


class _TorchInMetrics:
    """`torch` as ultralytics.utils.metrics sees it: under its `no_grad` stands CIoU's alpha, and nothing else."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    @contextmanager
    def no_grad(self) -> Iterator[None]:
        with torch.no_grad(), _OnTape(self._tape):
            yield

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def frozen_alpha(tape: Tape) -> Iterator[None]:
    """Record and play back CIoU's alpha, whoever calls `ultralytics.utils.metrics.bbox_iou`, while the block runs."""
    before = metrics.torch
    metrics.torch = _TorchInMetrics(tape)
    try:
        yield
    finally:
        metrics.torch = before


def freeze_assigners(parts: Sequence[Any], tape: Tape) -> None:
    """Record and play back the targets of every assigner among the parts of a criterion, which is changed for good."""
    for assigner in parts:
        if isinstance(assigner, TaskAlignedAssigner):
            assigner.forward = _recorded(assigner.forward, tape, ("assigner", id(assigner)))


def _recorded(forward: Callable[..., Any], tape: Tape, key: Hashable) -> Callable[..., Any]:
    return lambda *args, **kwargs: tape.through(key, lambda: forward(*args, **kwargs))


def freeze_features(head: Any, tape: Tape) -> None:
    """Record and play back the detached inputs of the one-to-one branch of a head, which is changed for good."""
    forward_head, own = head.forward_head, getattr(head, "one2one_cv2", None)

    def wrapped(features: Any, *args: Any, **kwargs: Any) -> Any:
        if own is not None and any(value is own for value in (*args, *kwargs.values())):
            features = tape.through("one-to-one features", lambda: features)
        return forward_head(features, *args, **kwargs)

    head.forward_head = wrapped


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return nested lists, tuples and dictionaries with every tensor in them changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(item, change) for key, item in value.items()}
    if type(value) in {list, tuple}:
        return type(value)(map_tensors(item, change) for item in value)
    return value


def tensors_of(value: Any) -> list[Tensor]:
    """Return the tensors in nested lists, tuples and dictionaries, in order."""
    found: list[Tensor] = []
    map_tensors(value, found.append)
    return found


def floats_of(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the floating-point tensors in nested lists, tuples and dictionaries with a name that tells them apart.

    Args:
        value: whatever a module returns.
        name: what a tensor is called that stands alone; keys take its place, numbers are added to it.
    """
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from floats_of(item, str(key) if name == "output" else f"{name} {key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from floats_of(item, f"{name} {number}")
