"""Slopes of functions whose derivative is known, smooth and not, and of backward passes that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.training.finite_difference import Slope, finite_or_none, gradients_of, slope


def compare(function: Callable[[Tensor], Tensor], at: Tensor, *, seed: int = 0) -> Slope:
    """Compare both derivatives of the sum of a function in a random direction."""
    leaf = at.double().clone().requires_grad_()

    def run() -> Tensor:
        return function(leaf).reshape(-1)

    outputs = run()
    weights = torch.ones_like(outputs)
    gradients = gradients_of(outputs, weights, [leaf])
    return slope(run, [leaf], gradients, weights, torch.Generator().manual_seed(seed))


def numbers(seed: int = 3) -> Tensor:
    return torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("function", [torch.sin, torch.exp, lambda x: x**3, lambda x: x.softmax(0) ** 2])
def test_smooth_functions_agree_to_many_digits(function: Callable[[Tensor], Tensor]) -> None:
    for scale in (1.0, 30.0):
        assert compare(function, numbers() * scale).relative_error < 1e-8
    # Here a function is large beside its slope: rounding decides, and the doubt says so.
    assert not compare(function, numbers() * 1e-3).disagrees(1e-8)


def test_a_slope_is_that_of_the_formula() -> None:
    leaf = numbers().requires_grad_()
    gradient = 3 * leaf.detach() ** 2
    found = slope(lambda: leaf**3, [leaf], [gradient], torch.ones(50).double(), torch.Generator().manual_seed(0))
    assert found.autograd > 0, "the direction is turned so that the slope is not negative"
    assert found.difference == pytest.approx(found.autograd, rel=1e-9)


@pytest.mark.parametrize(("factor", "ratio"), [(-1.0, -1.0), (0.5, 0.5), (1 + 1e-5, 1 + 1e-5)])
def test_a_wrong_gradient_disagrees_by_its_factor(factor: float, ratio: float) -> None:
    leaf = numbers().requires_grad_()
    wrong = [factor * leaf.detach().cos()]
    found = slope(leaf.sin, [leaf], wrong, torch.ones(50).double(), torch.Generator().manual_seed(0))
    assert found.disagrees(1e-6)
    assert found.autograd / found.difference == pytest.approx(ratio, rel=1e-7)


def test_kinks_near_the_point_are_stepped_around() -> None:
    at = numbers()
    at[:5] = 1e-7  # relu's kink lies within the larger steps
    found = compare(torch.relu, at)
    assert found.relative_error < 1e-7


def test_a_kink_at_the_point_itself_is_doubt_and_no_disagreement() -> None:
    tie = torch.full((1, 1, 4, 4), 2.0)  # max pooling must choose one of four equal values
    found = compare(lambda x: torch.nn.functional.max_pool2d(x, 2), tie)
    assert found.relative_error > 1e-2
    assert found.doubt > 0.01 * abs(found.difference)
    assert not found.disagrees(1e-6)


def test_a_tensor_with_a_tiny_share_is_moved_further() -> None:
    large, small = numbers().requires_grad_(), numbers(4).requires_grad_()

    def run() -> Tensor:
        return large**2 + 1e-4 * small**2

    gradients = [2 * large.detach(), -2e-4 * small.detach()]  # the small one has its sign flipped
    found = slope(run, [large, small], gradients, torch.ones(50).double(), torch.Generator().manual_seed(0))
    assert found.shares[1] > 1e-3
    assert found.relative_error > 1e-3


def test_leaves_are_put_back_also_after_an_error() -> None:
    leaf = numbers().requires_grad_()
    calls = 0

    def breaks() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("in between")
        return leaf.sin()

    with pytest.raises(RuntimeError, match="in between"):
        slope(breaks, [leaf], [leaf.detach().cos()], torch.ones(50).double(), torch.Generator().manual_seed(0))
    assert torch.equal(leaf.detach(), numbers())


def test_what_is_not_finite_disagrees_and_is_infinitely_wrong() -> None:
    found = Slope(float("nan"), 1.0)
    assert found.disagrees(1e-6)
    assert found.relative_error == float("inf")
    assert finite_or_none(found.relative_error) is None
    assert Slope(0.0, 0.0).relative_error == 0.0


def test_no_graph_is_a_gradient_of_zero() -> None:
    leaf = numbers().requires_grad_()
    assert not gradients_of(leaf.detach().sin(), torch.ones(50).double(), [leaf])[0].any()
