"""Which module, or which term of the loss, backpropagates wrongly: each is checked on its own, at what it really met.

A module gets the inputs of the base point and a random gradient from above; what it passes down to its inputs and to
its parameters must be what finite differences measure. The layers come first, then what is inside a wrong one: a module
is named only if everything inside it is right, for then the mistake is in its own `forward`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .finite_difference import Slope, gradients_of, slope
from .proof_twin import Call, Twin
from .proof_verdict import PART_TOLERANCE, Culprit, culprit_of, judge
from .stop_gradients import floats_of, map_tensors

_BRANCHES = {"one2many": "o2m", "one2one": "o2o"}


class ModuleSearch:
    """The search for wrong modules. To be used while the twin is open.

    Args:
        twin: model and base point.

    Attributes:
        reached: parameters that got a gradient in the check of a module, even if the loss sends them none.
        layers: how many layers were checked by themselves.
    """

    def __init__(self, twin: Twin) -> None:
        self.reached: set[str] = set()
        self.layers = 0
        self._twin = twin
        self._names = twin.module_names()
        self._generator = torch.Generator().manual_seed(twin.seed)
        self._known: dict[nn.Module, bool] = {}

    def run(self, *, whole: bool) -> list[Culprit]:
        """Return the smallest wrong modules of all layers; if none is wrong and `whole` is set, try the whole model."""
        model = self._twin.model
        layers = list(self._called_in(model))
        self.layers = len(layers)
        culprits = [culprit for layer in layers for culprit in self._visit(layer)]
        return culprits or (self._visit(model) if whole else [])

    def _visit(self, module: nn.Module) -> list[Culprit]:
        """Return the culprits in a module that were not returned before."""
        if module in self._known:  # shared by several parents, or wrong and returned
            return []
        wrong = self._wrong_call_of(module)
        self._known[module] = wrong is not None
        if wrong is None:
            return []
        children = list(self._called_in(module))
        culprits = [culprit for child in children for culprit in self._visit(child)]
        if any(self._known[child] for child in children):
            return culprits
        name = self._names[module] or "the model itself"
        calls = len(self._twin.calls[self._names[module]])
        return [culprit_of(name, module, wrong.details(), "forward", calls)]

    def _called_in(self, module: nn.Module) -> Iterator[nn.Module]:
        """Yield the nearest modules inside one that were called; a list of modules is not, its members are."""
        for child in module.children():
            name = self._names.get(child)
            if name is not None:
                yield from [child] if name in self._twin.calls else self._called_in(child)

    def _wrong_call_of(self, module: nn.Module) -> _Trial | None:
        """Return the first call of a module that shows a wrong gradient."""
        name = self._names[module]
        for call in self._twin.calls[name]:
            trial = _Trial(self._twin, module, call, self._generator)
            self.reached.update(f"{name}.{parameter}" for parameter in trial.reached())
            if trial.is_wrong():
                return trial
        return None


class _Trial:
    """One call of a module: what it sends back for a random gradient from above, against what is measured."""

    def __init__(self, twin: Twin, module: nn.Module, call: Call, generator: torch.Generator) -> None:
        self._twin, self._module, self._generator = twin, module, generator
        leaves: list[Tensor] = []

        def leaf(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            leaves.append(tensor.clone().requires_grad_())
            return leaves[-1]

        self._held = map_tensors(call, leaf)
        many = len(leaves) > 1
        inputs = {f"input {number}" if many else "input": tensor for number, tensor in enumerate(leaves)}
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._parts: dict[str, Tensor] = {**inputs, **parameters}
        self._parameters = list(parameters)
        self._groups = {"inputs": list(inputs), "parameters": list(parameters)}
        outputs = self._run()
        self._weights = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
        self._gradients = self._back(outputs, self._weights)

    def reached(self) -> list[str]:
        """Return the parameters that got a gradient."""
        return [name for name in self._parameters if bool(self._gradients[name].any())]

    def is_wrong(self) -> bool:
        """Whether the gradient of the inputs or of the parameters disagrees; keeps which."""
        self._groups = {
            kind: names
            for kind, names in self._groups.items()
            if names and self._compare(names).disagrees(PART_TOLERANCE)
        }
        return bool(self._groups)

    def details(self) -> dict[str, tuple[Slope, ...]]:
        """Return parts that are wrong; of several outputs, each is looked at alone until one shows why."""
        with torch.no_grad():
            sizes = {name: tensor.numel() for name, tensor in self._outputs().items()}
        found: dict[str, tuple[Slope, ...]] = {}
        random, end = self._weights, 0
        for output, size in sizes.items():
            self._weights = torch.zeros_like(random)
            self._weights[end : end + size] = random[end : end + size]
            end += size
            self._gradients = self._back(self._run(), self._weights)
            suffix = f" (of {output})" if len(sizes) > 1 else ""
            for names in self._groups.values():
                found.update({name + suffix: slopes for name, slopes in single_out(self._compare, names).items()})
            if found and judge(found)[0] not in {"mixed", "inexact"}:
                break
        # A mistake near the tolerance may show in one direction and not in the next.
        return found or {kind: (self._compare(names),) * 2 for kind, names in self._groups.items()}

    def _outputs(self) -> dict[str, Tensor]:
        # A copy, because a layer that works in place must not change the leaf.
        result = self._twin.call(self._module, map_tensors(self._held, torch.clone))
        return dict(floats_of(result, "output"))

    def _run(self) -> Tensor:
        return torch.cat([torch.zeros(0), *(output.reshape(-1) for output in self._outputs().values())])

    def _back(self, outputs: Tensor, weights: Tensor) -> dict[str, Tensor]:
        return dict(zip(self._parts, gradients_of(outputs, weights, list(self._parts.values())), strict=True))

    def _compare(self, names: Sequence[str]) -> Slope:
        leaves, gradients = [self._parts[n] for n in names], [self._gradients[n] for n in names]
        return slope(self._run, leaves, gradients, self._weights, self._generator)


def single_out(
    compare: Callable[[Sequence[str]], Slope], names: Sequence[str], limit: int = 8
) -> dict[str, tuple[Slope, ...]]:
    """Return the last of a group of parts that are wrong, with two slopes each; a group that is wrong is halved.

    The last, because parameters stand in the order of the forward pass, more or less: the last wrong one lies right
    before the mistake, with no short cut around it.

    Args:
        compare: gives the slope of some of the parts together.
        names: the parts.
        limit: how many are wanted: in a large block hundreds may be wrong for one reason.
    """
    together = compare(names)
    if not together.disagrees(PART_TOLERANCE):
        return {}
    middle = len(names) // 2
    found: dict[str, tuple[Slope, ...]] = {}
    for half in (names[middle:], names[:middle]) if middle else ():
        if len(found) < limit:
            found = {**single_out(compare, half, limit - len(found)), **found}
    label = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    return found or {label: (together, compare(names))}


def wrong_terms(twin: Twin, names: Sequence[str]) -> Iterator[Culprit]:
    """Yield every term of the loss that is wrong in what it sends to the raw outputs of the head, branch by branch.

    The loss is taken as a vector; the branches of an end-to-end model are told apart by whose outputs move.

    Args:
        twin: model and base point.
        names: of the elements of the loss vector.
    """
    generator = torch.Generator().manual_seed(twin.seed)
    for branch, leaves, predictions in _branches(twin.predictions):

        def run(held: Any = predictions) -> Tensor:
            return twin.loss(map_tensors(held, torch.clone))

        vector = run()
        for term, weights in zip(names, torch.eye(len(vector), dtype=torch.float64), strict=True):
            gradients = dict(zip(leaves, gradients_of(vector, weights, list(leaves.values()), keep=True), strict=True))
            every = {part: (leaf, gradients[part]) for part, leaf in leaves.items()}

            def compare(chosen: Sequence[str], weights: Tensor = weights, every: Any = every) -> Slope:
                return slope(run, [every[n][0] for n in chosen], [every[n][1] for n in chosen], weights, generator)

            bad = single_out(compare, list(leaves))
            if bad:
                name = " ".join(word for word in ("loss term", branch, term) if word)
                yield culprit_of(name, _criterion_of(twin.model.criterion, branch), bad, "loss")


def _criterion_of(criterion: Any, branch: str) -> Any:
    """Return the part of an end-to-end criterion that scores one branch, or the criterion where it has no parts."""
    return next(
        (getattr(criterion, long, criterion) for long, short in _BRANCHES.items() if short == branch), criterion
    )


def _branches(predictions: Any) -> Iterator[tuple[str, dict[str, Tensor], Any]]:
    """Yield, for each branch, its short name, its raw outputs as leaves, and all predictions with those in place."""
    branched = isinstance(predictions, dict) and all(isinstance(value, dict) for value in predictions.values())
    for branch in predictions if branched else [""]:
        mine = predictions[branch] if branched else predictions
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in floats_of(mine, "output")}
        waiting = iter(leaves.values())

        def place(tensor: Tensor, waiting: Iterator[Tensor] = waiting) -> Tensor:
            return next(waiting) if tensor.is_floating_point() else tensor

        held = map_tensors(mine, place)
        yield _BRANCHES.get(branch, branch), leaves, {**predictions, branch: held} if branched else held
