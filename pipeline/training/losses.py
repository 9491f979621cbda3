"""The loss that is optimised, with all its terms, and the same loss on pictures that were not augmented.

YOLO26 optimises `o2m * one-to-many + o2o * one-to-one`, with weights that move over the run; Ultralytics reports the
terms of one-to-one alone. Here both branches' terms are kept, so that terms and weights add up to the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.utils.loss import E2ELoss

from .probes import evaluation_mode

BRANCHES = ("o2m", "o2o")


class BranchLoss(E2ELoss):  # type: ignore[misc]
    """Ultralytics' loss of a two-branch model, reporting the terms of both branches as `<branch>_<term>`."""

    def __call__(self, preds: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted loss (a vector of terms, summed over the pictures) and the terms per picture."""
        preds = self.one2many.parse_output(preds)
        many, many_terms = self.one2many.loss(preds["one2many"], batch)
        one, one_terms = self.one2one.loss(preds["one2one"], batch)
        terms = {
            f"{branch}_{name}": v
            for branch, t in zip(BRANCHES, (many_terms, one_terms), strict=True)
            for name, v in t.items()
        }
        return many * self.o2m + one * self.o2o, terms


def install(model: nn.Module) -> None:
    """Give a detection model its criterion, with both branches' terms where it has two."""
    plain = model.init_criterion()  # type: ignore[operator]
    model.criterion = BranchLoss(model) if type(plain) is E2ELoss else plain


def branch_weights(model: nn.Module) -> dict[str, float]:
    """Return the weights of YOLO26's two branches in the loss, `o2m` and `o2o`; empty for other models."""
    criterion = getattr(model, "criterion", None)
    return {b: float(getattr(criterion, b)) for b in BRANCHES} if isinstance(criterion, E2ELoss) else {}


def total_of(terms: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the loss per picture that terms and branch weights add up to."""
    return sum(value * weights.get(name.split("_")[0], 1.0) for name, value in terms.items())


@torch.no_grad()
def mean_terms(model: nn.Module, batches: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the loss terms of a model in evaluation mode, as Ultralytics' validation has them: means over batches.

    Args:
        model: a detection model with its criterion.
        batches: preprocessed batches on the model's device.
    """
    sums: dict[str, Tensor] = {}
    count = 0
    with evaluation_mode(model):
        for batch in batches:
            _, terms = model.loss(batch, model(batch["img"]))  # type: ignore[operator]
            sums = {name: sums.get(name, 0.0) + value.detach().float() for name, value in terms.items()}
            count += 1
    return {name: float(value) / count for name, value in sums.items()}


def epoch_means(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return loss and terms of an epoch's step records, means over its pictures; skipped steps are left out."""
    taken = [r for r in records if not r["skipped"]]
    images = sum(r["images"] for r in taken)
    names = [key for key in (taken[0] if taken else {}) if key == "loss" or key.endswith("_loss")]
    return {name: sum(r[name] * r["images"] for r in taken) / images for name in names}
