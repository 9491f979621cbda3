"""The backprop proof: does this model, with its loss, backpropagate what finite differences measure?

Autograd's gradient of the whole loss is compared with finite differences in float64, on the model and the loss that are
trained, with all terms and gains, both branches of YOLO26, and the loss's own constants held still (`stop_gradients`).
Then every layer and every term of the loss is checked by itself, which also covers what these pictures do not reach.
The smallest part that is wrong is named.

The threshold is 1e-6 relative. CS231n (cs231n.github.io/neural-networks-3, "Gradient Checks") is happy with 1e-7 and
calls more than 1e-2 probably wrong; Ultralytics' own models stay below 1e-8 here (docs/benchmarks/proof.md). So 1e-6 is
a hundred times what correct code reaches, and a gradient that is wrong by less than that does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import UsageError
from ..findings import Finding
from .finite_difference import Slope, finite_or_none, gradients_of, slope
from .proof_local import ModuleSearch, wrong_terms
from .proof_twin import Twin, twin_of
from .proof_verdict import TOLERANCE, Culprit, Fault
from .stop_gradients import STOP_GRADIENTS
from .textbook import TextbookExample, textbook_example

__all__ = [
    "TOLERANCE",
    "Culprit",
    "ProofResult",
    "TextbookExample",
    "explanation",
    "findings_of",
    "prove_backprop",
    "textbook_example",
]
_SHOWN = 3  # of culprits, or of a culprit's parts, in a sentence; all of them are in the evidence
_INDENT = " " * 15
_ADVICE: dict[Fault, str] = {
    "flipped": "Look for a minus sign in the backward of a custom autograd.Function there.",
    "blocked": "Look for detach(), .data, torch.no_grad() or a round trip through numpy there, and take it out.",
    "scaled": "Look for a factor that is in the backward but not in the forward there, or the other way round.",
    "invented": "Look for a rounding or a threshold there; if the trick is wanted, this proof cannot speak for it.",
    "mixed": "Compare the backward there with the derivative of the forward; or one of several paths is cut or scaled.",
    "inexact": "Look for a cast to a coarser type there, or a value that sits exactly on a kink.",
    "not_finite": "Look for a root, a logarithm or a division that meets 0 there, and keep it away from 0.",
}


@dataclass(frozen=True)
class ProofResult:
    """What the proof found.

    Args:
        model: name of the model.
        passed: whether autograd and finite differences agree everywhere.
        relative_error: the worst of the directions, |a - d| / max(|a|, |d|).
        directions: both derivatives of the whole loss, for each direction in the space of all parameters.
        loss: the loss that is optimised, summed over the pictures.
        terms: what it is the sum of, weighted by the branches.
        parameters: number of parameter tensors that were checked.
        values: number of weights in them.
        constants: which of `STOP_GRADIENTS` this model has; they were held still.
        layers: number of layers that were also checked by themselves.
        beside: parameters that these pictures do not reach; only the check of their layer speaks for them.
        idle: parameters that take no part in the loss at all; nothing was shown about them.
        culprits: the modules and loss terms that are wrong; may be empty although the whole is wrong.
        seconds: what the proof took.
        imgsz: side of the pictures in pixels.
        batch: number of pictures.
        seed: of the pictures and directions.
        textbook: the same check on one weight, for the reader.
    """

    model: str
    passed: bool
    relative_error: float
    directions: tuple[Slope, ...]
    loss: float
    terms: Mapping[str, float]
    parameters: int
    values: int
    constants: tuple[str, ...]
    layers: int
    beside: tuple[str, ...]
    idle: tuple[str, ...]
    culprits: tuple[Culprit, ...]
    seconds: float
    imgsz: int
    batch: int
    seed: int
    textbook: TextbookExample

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON."""
        return {
            "model": self.model,
            "passed": self.passed,
            "relative_error": finite_or_none(self.relative_error),
            "tolerance": TOLERANCE,
            "directions": [
                {"autograd": finite_or_none(d.autograd), "finite_difference": finite_or_none(d.difference)}
                for d in self.directions
            ],
            "loss": self.loss,
            "terms": dict(self.terms),
            "parameters": self.parameters,
            "values": self.values,
            "constants": list(self.constants),
            "layers": self.layers,
            "beside": list(self.beside),
            "idle": list(self.idle),
            "culprits": [culprit.to_dict() for culprit in self.culprits],
            "seconds": self.seconds,
            "imgsz": self.imgsz,
            "batch": self.batch,
            "seed": self.seed,
            "textbook": self.textbook.to_dict(),
        }


def prove_backprop(
    model: nn.Module, *, imgsz: int | None = None, batch: int = 2, directions: int = 3, seed: int = 0
) -> ProofResult:
    """Check a detection model's backpropagation against finite differences; the model is not changed.

    It works on a copy in float64 on the CPU, in train mode, with the model's criterion or, if it has none yet, the one
    that it would make. Whatever learns in training is checked, frozen or not. Memory: some four times the model in
    float32, and all its activations of one small batch.

    Args:
        model: a detection model of Ultralytics.
        imgsz: side of the random pictures in pixels, a multiple of the largest stride and at least twice it;
            None for twice.
        batch: number of pictures.
        directions: how many random directions in the space of all parameters.
        seed: of pictures and directions; the same seed gives the same result.

    Raises:
        UsageError: no detection model, or a number that does not fit.
        TrainingError: the model does not run in float64, is not repeatable, or its loss is not finite.
    """
    if directions < 1:
        raise UsageError(f"directions must be 1 or more, not {directions}")
    start = time.monotonic()
    with twin_of(model, imgsz, batch, seed) as twin:
        names, base = twin.term_names(len(twin.base)), twin.base.detach()
        slopes = _whole(twin, directions)
        error = max(each.relative_error for each in slopes)
        sound = error <= TOLERANCE
        search = ModuleSearch(twin)
        culprits = (*search.run(whole=not sound), *wrong_terms(twin, names))
        # A tensor with less than this share in every direction could have its sign flipped without being noticed.
        shares = [max(each) for each in zip(*(s.shares for s in slopes), strict=True)]
        unseen = [name for name, share in zip(twin.parameters, shares, strict=True) if share < TOLERANCE / 2]
        idle = tuple(name for name in unseen if name not in search.reached)
        checked = [parameter for name, parameter in twin.parameters.items() if name not in idle]
        return ProofResult(
            model=twin.name,
            passed=sound and not culprits,
            relative_error=error,
            directions=tuple(slopes),
            loss=float(base.sum()),
            terms=dict(zip(names, base.tolist(), strict=True)),
            parameters=len(checked),
            values=sum(parameter.numel() for parameter in checked),
            constants=twin.tape.held(),
            layers=search.layers,
            beside=tuple(name for name in unseen if name not in idle),
            idle=idle,
            culprits=culprits,
            seconds=time.monotonic() - start,
            imgsz=twin.batch["img"].shape[-1],
            batch=batch,
            seed=seed,
            textbook=textbook_example(),
        )


def _whole(twin: Twin, directions: int) -> list[Slope]:
    """Compare the derivatives of the loss, summed over its terms as the trainer does, for all parameters at once."""
    leaves, ones = list(twin.parameters.values()), torch.ones_like(twin.base)
    gradients = gradients_of(twin.base, ones, leaves)
    generator = torch.Generator().manual_seed(twin.seed)
    return [slope(twin.loss, leaves, gradients, ones, generator) for _ in range(directions)]


def findings_of(result: ProofResult) -> list[Finding]:
    """Return what the proof says.

    `proof.passed` (info), `proof.gradient_wrong` (error), or `proof.inconclusive` (warning) where finite differences
    could not be taken exactly enough and no part is wrong by itself.
    """
    evidence: dict[str, Any] = {
        "model": result.model,
        "relative_error": finite_or_none(result.relative_error),
        "tolerance": TOLERANCE,
        "parameters": result.parameters,
    }
    if result.passed:
        text = f"Backpropagation is right: autograd and finite differences agree to {result.relative_error:.1e}."
        return [Finding("proof.passed", "info", text, evidence)]
    evidence["culprits"] = [culprit.to_dict() for culprit in result.culprits]
    if not result.culprits and not any(each.disagrees(TOLERANCE) for each in result.directions):
        text = "Whether backpropagation is right could not be told: the loss has kinks where these pictures put it."
        return [Finding("proof.inconclusive", "warning", text, evidence, "Try another seed or other weights.")]
    if not result.culprits:
        text = f"Autograd and finite differences differ by {result.relative_error:.1e}, but each module is right alone."
        advice = (
            "Look at code between the modules and at the `loss` of the model; try another seed, to rule out a kink."
        )
        return [Finding("proof.gradient_wrong", "error", text, evidence, advice)]
    shown = "; ".join(_sentence(culprit) for culprit in result.culprits[:_SHOWN])
    more = f"; and {len(result.culprits) - _SHOWN} more" if len(result.culprits) > _SHOWN else ""
    return [
        Finding(
            "proof.gradient_wrong",
            "error",
            f"Backpropagation is wrong: {shown}{more}.",
            evidence,
            _ADVICE[result.culprits[0].fault],
        )
    ]


def _sentence(culprit: Culprit) -> str:
    place = f", {culprit.where}" if culprit.where else ""
    place += f", called {culprit.calls} times" if culprit.calls > 1 else ""
    more = f" and {len(culprit.parts) - _SHOWN} more" if len(culprit.parts) > _SHOWN else ""
    return f"{culprit.name} ({culprit.kind}{place}): {culprit.what}, at {', '.join(culprit.parts[:_SHOWN])}{more}"


def explanation(result: ProofResult) -> list[str]:
    """Return the textbook example and the proof as plain lines, for someone who wants to follow both."""
    terms = " + ".join(f"{name} {value:.4f}" for name, value in result.terms.items())
    lines = [
        *result.textbook.lines(),
        "",
        f"The same for {result.model}: {result.parameters} tensors with {result.values:,} weights, "
        f"{result.batch} random pictures of {result.imgsz} px, float64.",
        f"1. forward     loss = {terms} = {result.loss:.4f}",
        "2. constants   what the loss takes for constant on purpose is held still:",
        *(f"{_INDENT}{name}: {STOP_GRADIENTS[name]}" for name in result.constants),
        "3. the whole   all weights move a little in a random direction; slope of the loss by autograd, and measured:",
        *(
            f"{_INDENT}{d.autograd:.10g}   {d.difference:.10g}   relative error {d.relative_error:.1e}"
            for d in result.directions
        ),
        f"4. the parts   each of {result.layers} layers and each term of the loss by itself: "
        f"{f'{len(result.culprits)} wrong' if result.culprits else 'all right'}",
        *(f"{_INDENT}{_sentence(culprit)}" for culprit in result.culprits),
    ]
    if result.beside:
        lines.append(
            f"{_INDENT}{len(result.beside)} tensors get almost nothing from these pictures: step 4 covers them"
        )
    if result.idle:
        lines.append(f"{_INDENT}{len(result.idle)} tensors take no part in the loss: {', '.join(result.idle)}")
    agree = "agree" if result.relative_error <= TOLERANCE else "do not agree"
    but = ", but a part is wrong that these pictures do not show" if agree == "agree" and result.culprits else ""
    return [
        *lines,
        f"5. verdict     autograd and finite differences {agree}: relative error {result.relative_error:.1e}, "
        f"allowed {TOLERANCE:g}{but}",
    ]
