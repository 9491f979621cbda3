"""Measurements that are too dear for every step: taken by a schedule that follows the length of the run.

- `UpdateProbe`: what the optimiser did with the gradient, per layer and optimiser group, in a step that it accompanies.
- `activation_health`: BatchNorm statistics and dead units, in a forward pass of its own over fixed pictures.
- `term_shares`: how much of the gradient at the neck each loss term sends back.

All figures are plain numbers per layer, ready for `history/probes.jsonl`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.head import Detect
from ultralytics.utils.loss import E2ELoss

from .gradients import layer_of, plain_name

SAMPLES_PER_RUN = (
    60  # a run of 300 steps is seen at every fifth: enough for trends, and cheap (docs/benchmarks/monitor)
)
LONGEST_PERIOD = 50  # steps: what goes wrong in a long run should not stay unseen for longer
DEAD_BELOW = -6.0  # SiLU passes back less than 1.3 % of a gradient there, and sigmoid less than 0.25 %


def period(total_steps: int) -> int:
    """Return how many optimiser steps lie between two samples of a run."""
    return min(max(1, total_steps // SAMPLES_PER_RUN), LONGEST_PERIOD)


class UpdateProbe:
    """Compares weights and gradients before and after one optimiser step, and the gradient of the step after it.

    `before` -> optimiser step -> `after`, and `successor` in the next step, whose gradient gives the cosine between
    successive gradients. From that cosine follows a hint at the gradient noise scale (McCandlish and others,
    arXiv 1812.06162): with g the mean gradient of B pictures, E|g|^2 = |G|^2 + tr(S)/B and E<g, g'> = |G|^2 for two
    independent batches, so tr(S)/|G|^2 = B (|g||g'|/<g, g'> - 1).
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, group_names: Sequence[str]) -> None:
        head = head_name(model)
        groups = {id(p): n for n, g in zip(group_names, optimizer.param_groups, strict=True) for p in g["params"]}
        trained = [(plain_name(n), p) for n, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.parameters: list[Tensor] = [parameter for _, parameter in trained]
        self.layers = [layer_of(name, head) for name in self.names]
        self.groups = [groups.get(id(p), "none") for p in self.parameters]
        self.optimizer = optimizer
        self._weights: list[Tensor] = []
        self._gradients: list[Tensor] | None = None

    @torch.no_grad()
    def before(self) -> None:
        """Keep weights and gradients (not clipped yet: only their directions count), before the optimiser steps."""
        self._weights = [p.detach().clone() for p in self.parameters]
        self._gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.parameters]

    @torch.no_grad()
    def after(self) -> dict[str, Any]:
        """Return what the step did. Called after the optimiser's step.

        Returns `ratio`, |dw|/|w| per layer over tensors of two or more dimensions; `group_ratio`, the same per
        optimiser group; `against_gradient`, the cosine between dw and the negative gradient per layer; and `unmoved`,
        the tensors that the optimiser left exactly as they were although their learning rate was not zero.
        """
        if self._gradients is None:
            raise RuntimeError("UpdateProbe.after was called without before")
        updates = list(torch._foreach_sub(self.parameters, self._weights))
        moved = torch.stack(torch._foreach_norm(updates)).double().cpu()
        weights = torch.stack(torch._foreach_norm(self._weights)).double().cpu()
        gradients = torch.stack(torch._foreach_norm(self._gradients)).double().cpu()
        dots = -_dots(updates, self._gradients)
        self._weights = []
        matrices = [p.ndim >= 2 for p in self.parameters]
        still = {
            id(p) for g in self.optimizer.param_groups if g["lr"] == 0 for p in g["params"]
        }  # warm-up's first step
        return {
            "ratio": _ratios(self.layers, moved, weights, matrices),
            "group_ratio": _ratios(self.groups, moved, weights, matrices),
            "against_gradient": _cosines(self.layers, dots, moved, gradients),
            "unmoved": [
                name
                for name, parameter, size in zip(self.names, self.parameters, moved.tolist(), strict=True)
                if size == 0.0 and id(parameter) not in still
            ],
        }

    @torch.no_grad()
    def successor(self, images: int) -> dict[str, Any] | None:
        """Return how the present gradient stands to the one kept by `before`; None if none is kept.

        Args:
            images: pictures of the present step.
        """
        if self._gradients is None:
            return None
        before, self._gradients = self._gradients, None
        now = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        dots = _dots(before, now)
        sizes = [torch.stack(torch._foreach_norm(part)).double().cpu() for part in (before, now)]
        product, norms = float(dots.sum()), float(sizes[0].norm() * sizes[1].norm())
        cosine = product / norms if norms > 0 else None
        return {
            "cosine": cosine,
            "layer_cosine": _cosines(self.layers, dots, *sizes),
            "noise_scale": images * (1 / cosine - 1) if cosine is not None and cosine > 0 else None,
        }

    def forget(self) -> None:
        """Drop what is kept: the step was skipped, so that there is nothing to compare."""
        self._weights, self._gradients = [], None


def _dots(left: list[Tensor], right: list[Tensor]) -> Tensor:
    return torch.stack([part.sum() for part in torch._foreach_mul(left, right)]).double().cpu()


def _sums(keys: Sequence[str], values: Tensor, use: Sequence[bool] | None = None) -> dict[str, float]:
    sums: dict[str, float] = {}
    for index, (key, value) in enumerate(zip(keys, values.tolist(), strict=True)):
        if use is None or use[index]:
            sums[key] = sums.get(key, 0.0) + value
    return sums


def _ratios(keys: Sequence[str], moved: Tensor, weights: Tensor, use: Sequence[bool]) -> dict[str, float]:
    top, bottom = _sums(keys, moved**2, use), _sums(keys, weights**2, use)
    return {key: (top[key] / bottom[key]) ** 0.5 for key in top if bottom[key] > 0}


def _cosines(keys: Sequence[str], dots: Tensor, left: Tensor, right: Tensor) -> dict[str, float]:
    products, lefts, rights = _sums(keys, dots), _sums(keys, left**2), _sums(keys, right**2)
    return {k: products[k] / (lefts[k] * rights[k]) ** 0.5 for k in products if lefts[k] > 0 and rights[k] > 0}


def head_name(model: nn.Module) -> str:
    """Return the name of the detection head, such as `model.23`."""
    names = [plain_name(name) for name, module in model.named_modules() if isinstance(module, Detect)]
    return names[-1] if names else ""


@torch.no_grad()
def activation_health(model: nn.Module, pictures: Tensor, batch: int) -> dict[str, dict[str, float]]:
    """Return the health of every BatchNorm layer over fixed pictures, in a forward pass that changes nothing.

    Hooks sit on BatchNorm, not on the activation behind it: all SiLU modules of a model are a few shared instances.

    Args:
        model: the live model; it is put into evaluation mode for the pass and back.
        pictures: float `[n, 3, h, w]` in 0..1, on the model's device.
        batch: pictures in a training batch, for the number of values that a training statistic rests on.

    Returns by layer name:
        `values`: values per channel of one training batch (batch x height x width);
        `smallest_variance`: of the running variances;
        `mean_shift`: median over channels of |batch mean - running mean| / running deviation;
        `variance_ratio`: median over channels of batch variance / running variance;
        `dead`: share of outputs below -6, where SiLU is flat;  `constant`: share of channels without variation;
        `non_finite`: whether a statistic is nan or inf.
    """
    found: dict[str, dict[str, float]] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            hooks.append(module.register_forward_hook(_watch_norm(plain_name(name), found, batch)))
    try:
        with evaluation_mode(model):
            model(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _watch_norm(name: str, found: dict[str, dict[str, float]], batch: int) -> Any:
    def hook(module: nn.BatchNorm2d, inputs: tuple[Tensor], output: Tensor) -> None:
        mean, variance = module.running_mean, module.running_var
        if mean is None or variance is None:
            return
        seen = inputs[0].float()
        spread = seen.var(dim=(0, 2, 3), unbiased=False)
        deviation = (variance + module.eps).sqrt()
        values = torch.stack(
            [
                variance.min(),
                ((seen.mean(dim=(0, 2, 3)) - mean).abs() / deviation).median(),
                ((spread + module.eps) / (variance + module.eps)).median(),
                (output < DEAD_BELOW).float().mean(),
                (spread < 1e-12).float().mean(),
            ]
        ).tolist()
        bad = not (mean.isfinite().all() and variance.isfinite().all())
        keys = ("smallest_variance", "mean_shift", "variance_ratio", "dead", "constant")
        size = float(batch * seen.shape[2] * seen.shape[3])
        found[name] = {"values": size, **dict(zip(keys, values, strict=True)), "non_finite": float(bad)}

    return hook


def term_shares(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, float]:
    """Return each loss term's share of the gradient at the input of the head, over a fixed batch.

    For YOLO26 these are the terms of the one-to-many branch: the other branch sends nothing back beyond the head.

    Args:
        model: the live model with its criterion; evaluated in evaluation mode.
        batch: `img` float `[n, 3, h, w]`, `cls`, `bboxes`, `batch_idx` as the loss takes them.

    Returns shares of the sum of the norms by term name (`box_loss`, ...); empty where nothing came back.
    """
    head: Any = next(m for m in reversed(list(model.modules())) if isinstance(m, Detect))
    criterion: Any = model.criterion
    criterion = criterion.one2many if isinstance(criterion, E2ELoss) else criterion
    inputs: list[list[Tensor]] = []
    hook = head.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    try:
        with evaluation_mode(model), torch.no_grad():
            model(batch["img"])
    finally:
        hook.remove()
    with evaluation_mode(model), torch.enable_grad():
        neck = [level.detach().float().requires_grad_() for level in inputs[0]]
        predictions = head.forward_head(neck, **head.one2many)
        losses, terms = criterion.loss(predictions, batch)
        norms = {}
        for name, loss in zip(terms, losses, strict=True):
            gradients = torch.autograd.grad(loss, neck, retain_graph=True, allow_unused=True)
            squares = [float(g.double().square().sum()) for g in gradients if g is not None]
            norms[name] = sum(squares) ** 0.5
    total = sum(norms.values())
    return {name: norm / total for name, norm in norms.items()} if total > 0 else {}


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode while the block runs, and every module back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
