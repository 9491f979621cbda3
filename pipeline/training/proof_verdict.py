"""What is off in a gradient that is wrong: its sign, its size, or that it is missing. From slopes, without a model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .finite_difference import Slope, finite_or_none

Fault = Literal["flipped", "blocked", "scaled", "invented", "mixed", "inexact", "not_finite"]
TOLERANCE = 1e-6  # relative; why, stands in proof.py
PART_TOLERANCE = 1e-5  # of a part by itself: its slopes may nearly cancel; correct ones reach 2.7e-6 (yolov3-tiny)
_PURE = 0.01  # ratios this close to each other count as the same: what matters is the kind of the mistake
_INEXACT = 1e-2  # a gradient that is less wrong than that is no blunder (CS231n, neural-networks-3)
_WORDS: dict[Fault, str] = {
    "flipped": "the sign of the gradient is flipped",
    "blocked": "the gradient is blocked",
    "scaled": "the gradient is scaled by {factor:.4g}",
    "invented": "it sends a gradient back where its output does not change",
    "mixed": "the gradient is wrong by another factor in every direction",
    "inexact": "the gradient is off by {error:.1e}",
    "not_finite": "the gradient is not a finite number",
}


@dataclass(frozen=True)
class Culprit:
    """The smallest part whose gradient is wrong.

    Args:
        name: dotted name of the module, or `loss term o2m cls`.
        kind: its class.
        fault: what is off, for programs.
        what: the same in words.
        factor: autograd divided by the finite difference, in the part that shows the fault most clearly.
        relative_error: of that part.
        parts: inputs and parameters of the module, or outputs of the head, whose gradient is wrong: the clearest
            first, and of many only some.
        where: file and line of its `forward`, if they can be found.
        calls: how often it is called in a forward pass; one module may be shared by many blocks.
    """

    name: str
    kind: str
    fault: Fault
    what: str
    factor: float | None
    relative_error: float
    parts: tuple[str, ...]
    where: str = ""
    calls: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON."""
        return {
            **asdict(self),
            "factor": finite_or_none(self.factor),
            "relative_error": finite_or_none(self.relative_error),
            "parts": list(self.parts),
        }


def culprit_of(name: str, thing: object, parts: Mapping[str, Sequence[Slope]], method: str, calls: int = 1) -> Culprit:
    """Return the record of a part that is wrong.

    Args:
        name: what to call it.
        thing: module or criterion.
        parts: the slopes that are wrong, in several directions each, by the name of what moved.
        method: the method of `thing` that computes it.
        calls: how often it is called.
    """
    fault, shown = judge(parts)
    worst = max(parts[shown], key=lambda each: each.relative_error)
    factor = worst.autograd / worst.difference if worst.difference else None
    return Culprit(
        name=name,
        kind=type(thing).__name__,
        fault=fault,
        what=_WORDS[fault].format(factor=factor, error=worst.relative_error),
        factor=factor,
        relative_error=worst.relative_error,
        parts=(shown, *(part for part in parts if part != shown)),
        where=_place_of(type(thing), method),
        calls=calls,
    )


def judge(parts: Mapping[str, Sequence[Slope]]) -> tuple[Fault, str]:
    """Say what is off in slopes that are wrong, and name the part that shows it best.

    A mistake beside a short cut changes a gradient by another fraction in every direction; a part that lies behind the
    mistake only shows it pure, by the same ratio in all directions. So one pure part decides.
    """
    broken = next((name for name, slopes in parts.items() if not all(math.isfinite(s.autograd) for s in slopes)), None)
    if broken is not None:
        return "not_finite", broken
    ratios = {name: [_ratio(each) for each in slopes] for name, slopes in parts.items()}
    pure = {name: r[0] for name, r in ratios.items() if all(_alike(r[0], other) for other in r[1:])}
    tests: list[tuple[Fault, Callable[[float], bool]]] = [
        ("flipped", lambda ratio: _alike(ratio, -1.0)),
        ("blocked", lambda ratio: abs(ratio) < _PURE),
        ("invented", math.isinf),
        ("scaled", lambda ratio: abs(ratio - 1) >= _INEXACT),
    ]
    for fault, fits in tests:
        found = next((name for name, ratio in pure.items() if fits(ratio)), None)
        if found is not None:
            return fault, found
    worst = max(parts, key=lambda name: max(each.relative_error for each in parts[name]))
    error = max(each.relative_error for each in parts[worst])
    return ("inexact" if error < _INEXACT else "mixed"), worst


def _ratio(each: Slope) -> float:
    return each.autograd / each.difference if abs(each.difference) > each.doubt else math.inf


def _alike(one: float, other: float) -> bool:
    return one == other or abs(one - other) < _PURE * max(abs(one), 1.0)


def _place_of(kind: type, method: str) -> str:
    """Return `file:line` of a method that a class defines itself, else of the class; nothing where there is no file."""
    try:
        thing = inspect.unwrap(vars(kind).get(method, kind))
        file, line = Path(inspect.getsourcefile(thing) or ""), inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return ""
    return f"{file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}:{line}"
