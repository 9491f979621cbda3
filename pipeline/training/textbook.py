"""The smallest backpropagation there is, by hand, by autograd and by finite difference: one weight, one picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

_STEP = 1e-3  # any will do: the central difference of a square is exact
_RATE = 0.01


@dataclass(frozen=True)
class TextbookExample:
    """A model `prediction = weight * input` and its loss `(prediction - target)²`, followed step by step.

    Args:
        weight: what is learned.
        input: what the model sees.
        target: the right answer.
        prediction: weight * input.
        loss: (prediction - target)².
        dloss_dprediction: 2 (prediction - target).
        dprediction_dweight: input.
        by_hand: dL/dw, the product of the two (chain rule).
        by_autograd: dL/dw as torch's backpropagation has it.
        by_difference: (loss(w + h) - loss(w - h)) / 2h.
        step: h.
        rate: learning rate of the one step below.
        next_weight: weight - rate * dL/dw.
        next_loss: the loss there.
    """

    weight: float
    input: float
    target: float
    prediction: float
    loss: float
    dloss_dprediction: float
    dprediction_dweight: float
    by_hand: float
    by_autograd: float
    by_difference: float
    step: float
    rate: float
    next_weight: float
    next_loss: float

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the example as it would stand on a blackboard."""
        w, x, t, p, h = self.weight, self.input, self.target, self.prediction, self.step
        miss = p - t
        return [
            f"One weight: prediction = w * x, loss = (prediction - target)²; w = {w:g}, x = {x:g}, target = {t:g}.",
            f"1. forward     prediction = {w:g} * {x:g} = {p:g}",
            f"2. loss        ({p:g} - {t:g})² = {self.loss:g}",
            f"3. backward    how the loss follows the prediction: 2 * ({p:g} - {t:g}) = {2 * miss:g}",
            f"4. backward    how the prediction follows the weight: x = {self.dprediction_dweight:g}",
            f"5. chain rule  dL/dw = {self.dloss_dprediction:g} * {self.dprediction_dweight:g} = {self.by_hand:g}",
            f"6. autograd    {self.by_autograd:g}: what torch's backpropagation says",
            f"7. measured    (loss at w + {h:g} minus loss at w - {h:g}) / {2 * h:g} = {self.by_difference:.6g}, "
            "without any backpropagation",
            f"8. learning    w - {self.rate:g} * ({self.by_hand:g}) = {self.next_weight:g}: "
            f"the loss falls from {self.loss:g} to {self.next_loss:.4f}",
        ]


def textbook_example(weight: float = 2.0, x: float = 3.0, target: float = 10.0) -> TextbookExample:
    """Return the example for w = 2, x = 3 and target 10: prediction 6, loss 16, dL/dw = -24."""

    def loss_at(w: float) -> float:
        return (w * x - target) ** 2

    with torch.inference_mode(False), torch.enable_grad():
        learned = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
        (by_autograd,) = torch.autograd.grad((learned * x - target) ** 2, learned)
    prediction = weight * x
    outer, inner = 2 * (prediction - target), x
    next_weight = weight - _RATE * outer * inner
    return TextbookExample(
        weight=weight,
        input=x,
        target=target,
        prediction=prediction,
        loss=loss_at(weight),
        dloss_dprediction=outer,
        dprediction_dweight=inner,
        by_hand=outer * inner,
        by_autograd=float(by_autograd),
        by_difference=(loss_at(weight + _STEP) - loss_at(weight - _STEP)) / (2 * _STEP),
        step=_STEP,
        rate=_RATE,
        next_weight=next_weight,
        next_loss=loss_at(next_weight),
    )
