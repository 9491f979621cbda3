"""Directional derivatives by autograd and by finite differences, side by side, in float64.

For a function f, a point w and a direction v, backpropagation gives g = df/dw and with it g·v; the central difference
(f(w + hv) - f(w - hv)) / 2h measures the same number without any backpropagation.

The step h: rounding makes an error of about eps |f| / h, the third derivative one of h² f'''/6, and a kink (max
pooling, ReLU, an absolute value) between w - hv and w + hv one that does not shrink with h. No single h is right for
every function, so h falls in steps until the result is certain: neighbours are extrapolated to h = 0 (Richardson),
which removes the h² term, and the result that its neighbours confirm best is believed. What autograd says plays no part
in that choice.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

STEPS = (3.2e-6, 8e-7, 2e-7, 5e-8, 1.25e-8, 3.125e-9)  # relative to the size of each tensor; smooth models need three
_RATIO = (STEPS[0] / STEPS[1]) ** 2
_MARGIN = 10.0  # two differences that agree by chance are off by more than their distance
_BENT = 1e-4  # of the usual slope of an output: less is rounding
_FURTHEST = 100.0
_ENOUGH = 3  # steps, the fewest whose extrapolations confirm each other
_SHRINKS = 0.25
_DRAWS = 8
_SURE = 1e-8  # relative doubt that is good enough to compare to 1e-6
_ROUNDING = torch.finfo(torch.float64).eps / STEPS[0]  # of the largest step, as a share of the function's size


@dataclass(frozen=True)
class Slope:
    """One directional derivative, twice.

    Args:
        autograd: g·v as backpropagation has it.
        difference: the finite difference.
        doubt: how far the finite difference may be off: what its best two versions differ by, or its rounding.
        shares: of each tensor in autograd's slope; they add up to 1 unless all are 0.
    """

    autograd: float
    difference: float
    doubt: float = 0.0
    shares: tuple[float, ...] = field(default=(), repr=False)

    @property
    def relative_error(self) -> float:
        """|a - d| / max(|a|, |d|), as CS231n (neural-networks-3, "Gradient Checks") defines it; 0 where both are 0.

        Infinite where one of them is not a finite number.
        """
        if not (math.isfinite(self.autograd) and math.isfinite(self.difference)):
            return math.inf
        size = max(abs(self.autograd), abs(self.difference))
        return abs(self.autograd - self.difference) / size if size else 0.0

    def disagrees(self, tolerance: float) -> bool:
        """Whether the two differ by more than `tolerance` of their size, beyond doubt; nan and inf disagree."""
        allowed = tolerance * max(abs(self.autograd), abs(self.difference)) + _MARGIN * self.doubt
        return not abs(self.autograd - self.difference) <= allowed


def slope(
    run: Callable[[], Tensor],
    leaves: Sequence[Tensor],
    gradients: Sequence[Tensor],
    weights: Tensor,
    generator: torch.Generator,
) -> Slope:
    """Compare both derivatives of `weights · run()` in a random direction of `leaves`.

    Each tensor moves by normal random numbers in the measure of its own size (its root mean square), turned so that
    autograd's share of the slope is not negative: shares cannot cancel. Tensors with less than the median share move
    further, up to a hundredfold, so that a mistake in them is not lost beside the others. A direction in which the
    finite difference is in doubt, because a kink lies within the steps, is drawn again.

    Args:
        run: computes the outputs, shape (n,), from what the leaves hold at that moment; must be repeatable.
        leaves: float64 tensors, changed in place while this runs and put back.
        gradients: of `weights · run()` with respect to each leaf, by autograd.
        weights: shape (n,).
        generator: where the direction is drawn from.
    """
    found = []
    for _ in range(_DRAWS):
        direction, parts = _direction(leaves, gradients, generator)
        difference, doubt = _central_difference(run, leaves, direction, weights)
        autograd = sum(parts)
        found.append(Slope(autograd, difference, doubt, tuple(part / (autograd or 1.0) for part in parts)))
        size = max(abs(autograd), abs(difference))
        if doubt <= _SURE * size or size <= doubt:  # certain enough, or certainly nothing
            return found[-1]
    return min(found, key=lambda each: each.doubt)


@torch.no_grad()
def _central_difference(
    run: Callable[[], Tensor], leaves: Sequence[Tensor], direction: Sequence[Tensor], weights: Tensor
) -> tuple[float, float]:
    """Return the slope of `weights · run()` in one direction, and how far it may be off."""
    base = [leaf.clone() for leaf in leaves]

    def moved(step: float) -> Tensor:
        try:
            for leaf, start, v in zip(leaves, base, direction, strict=True):
                leaf.copy_(start + step * v)
            return run()
        finally:
            for leaf, start in zip(leaves, base, strict=True):
                leaf.copy_(start)

    here = run()
    plain: list[float] = []
    bends: list[Tensor] = []
    for h in STEPS:
        ahead, behind = moved(h), moved(-h)
        # The outputs are subtracted before they are weighted and added up: that loses the fewest digits.
        plain.append(float((weights * (ahead - behind)).sum()) / (2 * h))
        bends = [*bends[-1:], (ahead - 2 * here + behind) / (2 * h)]
        if len(plain) < _ENOUGH:
            continue
        doubt, difference = _best(plain)
        if doubt <= _SURE * abs(difference):
            break
    usual = float(((ahead - behind) / (2 * h)).square().mean().sqrt())
    # What the slopes ahead and behind differ by falls with h on a smooth function. What is left at h = 0 is a kink at
    # this very point (a tie in max pooling): there autograd may take any slope between the two.
    kink = ((_RATIO**0.5 * bends[1] - bends[0]) / (_RATIO**0.5 - 1)).abs()
    kinks = float((weights.abs() * kink)[kink > _BENT * usual].sum())
    return difference, max(doubt + kinks, _ROUNDING * float((weights * here).abs().sum()))


def _best(plain: Sequence[float]) -> tuple[float, float]:
    """Return the smallest doubt and its difference, from the central differences at the first of `STEPS`."""
    pairs = list(itertools.pairwise(plain))
    changes = [abs(fine - coarse) for coarse, fine in pairs]
    better = [fine + (fine - coarse) / (_RATIO - 1) for coarse, fine in pairs]
    candidates = list(zip(changes, better, strict=True))
    for (before, after), (first, second) in zip(itertools.pairwise(changes), itertools.pairwise(better), strict=True):
        # On a smooth function each change is a sixteenth of the one before. Where changes do not shrink, there are
        # kinks or rounding, and that two extrapolations agree is chance.
        if after <= _SHRINKS * before:
            candidates.append((abs(second - first), second))
    return min(candidates)


def finite_or_none(value: float | None) -> float | None:
    """Return a number as JSON can hold it."""
    return value if value is not None and math.isfinite(value) else None


def gradients_of(outputs: Tensor, weights: Tensor, leaves: Sequence[Tensor], *, keep: bool = False) -> list[Tensor]:
    """Return the gradient of `weights · outputs` with respect to each leaf by autograd; zeros where there is none.

    Args:
        outputs: shape (n,).
        weights: shape (n,).
        leaves: tensors that may have taken part.
        keep: keep the graph for another call.
    """
    if not outputs.requires_grad or not leaves:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(outputs, leaves, weights, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g.detach() for leaf, g in zip(leaves, found, strict=True)]


def _direction(
    leaves: Sequence[Tensor], gradients: Sequence[Tensor], generator: torch.Generator
) -> tuple[list[Tensor], list[float]]:
    """Return a direction and each tensor's part of autograd's slope in it."""
    drawn, parts = [], []
    for leaf, gradient in zip(leaves, gradients, strict=True):
        size = float(leaf.detach().square().mean().sqrt()) if leaf.numel() else 0.0
        drawn.append(torch.randn(leaf.shape, generator=generator, dtype=torch.float64) * (size or 1.0))
        parts.append(float((gradient * drawn[-1]).sum()))
    median = statistics.median([abs(part) for part in parts if part] or [0.0])
    factors = [min(_FURTHEST, max(1.0, median / abs(p))) if p else _FURTHEST if median else 1.0 for p in parts]
    signed = [-factor if part < 0 else factor for factor, part in zip(factors, parts, strict=True)]
    return [v * f for v, f in zip(drawn, signed, strict=True)], [p * f for p, f in zip(parts, signed, strict=True)]
