"""Rules on layers that do not learn: frozen, forgotten by the optimizer, cut off from the loss, flat, out of scale."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..findings import Finding
from ..tensor_norms import NO_GRADIENT
from .history import History
from .judging import Rule, lags, latest, median, name_layer, number, percent, places, starts_random, trained_weights

ALWAYS_FROZEN = ".dfl"  # Ultralytics' integral over the box distribution has fixed weights
UNTOUCHED_STEPS = 3  # SageMaker Debugger, rule UnchangedTensor: num_steps = 3
LEAST_MOVE = 2e-4  # |dw| / |w| of a step; smaller ones are rounded away in large weights. Healthy runs: 1e-3 and more
LEAST_GRADIENT = 0.1  # of the median tensor's; calibrated: what healthy SGD runs leave unmoved has less than 1e-2
FED_SAMPLES = 100  # steps that this is looked up in
DEAD_SHARE = 0.5  # SageMaker Debugger, rule DeadRelu: threshold_layer = 0.5
DEAD_ALL = 0.9  # calibrated: healthy layers have at most 0.1 % flat outputs, a BatchNorm bias of -20 all of them
# Calibrated on benchmarks/healthy_runs.py: no layer of a healthy run changes by more than 3 % in a step (AdamW's first
# step without warm-up: 12 %), and none by more than 60 times the median of all layers. A convolution scaled by 1e-6
# changes by 160 %, 850 times the median.
OWN_CHANGE, OWN_CHANGE_TO_MEDIAN = 0.3, 100.0


def judge_optimizer_misses(history: History) -> Finding | None:
    """Report trainable tensors that no optimizer group holds."""
    missing = [str(name) for name in history.context.get("not_in_optimizer") or ()]
    if not missing:
        return None
    layers = _layers_of(history, missing)
    return Finding(
        "layer.not_in_optimizer",
        "error",
        f"{len(missing)} trainable tensors are not in the optimizer and never change: {_named(history, layers)}",
        {"step": 0, "layers": layers, "tensors": missing[:50], "count": len(missing)},
        "callbacks: take out what changes the optimizer's groups, or adds layers after the set-up: the groups that "
        f"Ultralytics builds hold every parameter, {layers[0]} too",
    )


def judge_frozen(history: History) -> Finding | None:
    """Report frozen layers that nobody asked to freeze, or whose freezing leaves nothing to learn with."""
    frozen = [str(name) for name in history.context.get("frozen") or () if ALWAYS_FROZEN not in str(name)]
    asked = [str(name) for name in history.context.get("freeze") or ()]
    if not frozen:
        return None
    where = places(history)
    uncalled = [name for name in frozen if not any(part in name for part in asked)]
    layers = _layers_of(history, uncalled or frozen)
    random_start = starts_random(history)
    if uncalled:
        why, severity = "although `freeze` does not name them", "error" if random_start else "warning"
    elif random_start:
        why, severity = "at their random values: the start has no trained weights", "warning"
    elif any(where.get(layer) in ("neck", "head") for layer in layers):
        why, severity = "neck or head among them: what is left can hardly adapt", "warning"
    else:
        return None
    wanted = 0 if random_start or uncalled else sum(place == "backbone" for place in _block_places(history).values())
    reason = "trains every layer" if wanted == 0 else "freezes the backbone alone"
    return Finding(
        "layer.frozen_unintended",
        "error" if severity == "error" else "warning",
        f"{len(uncalled or frozen)} tensors are frozen {why}: {_named(history, layers)}",
        {"step": 0, "layers": layers, "tensors": (uncalled or frozen)[:50], "freeze": asked, "frozen": len(frozen)},
        f"train.freeze={wanted}: {reason}",
    )


def judge_untouched(history: History) -> Finding | None:
    """Report tensors that no gradient reaches, or that stay as they were although a gradient reaches them."""
    norms = history.norms
    if len(norms.steps) < UNTOUCHED_STEPS:
        return None
    cut = (norms.values == NO_GRADIENT).all(axis=0)
    tensors = [name for name, gone in zip(norms.tensors, cut, strict=True) if gone]
    if tensors:
        layers = _layers_of(history, tensors)
        return Finding(
            "layer.never_updated",
            "error",
            f"no gradient reached {len(tensors)} tensors in any of {len(norms.steps)} steps: {_named(history, layers)}"
            "; something between them and the loss is detached",
            {"step": int(norms.steps[0]), "layers": layers, "tensors": tensors[:50], "count": len(tensors)},
            "model=yolo26n.yaml: try the unchanged architecture; if it learns, look for .detach(), .data, no_grad or "
            f".item() behind {layers[-1]} in the custom module (`tuneup proof` finds it)",
        )
    return _unmoved(history)


def _unmoved(history: History) -> Finding | None:
    probes = history.probes_of("update")
    moves = median(max(map(number, p.get("group_ratio", {}).values()), default=0.0) for p in probes)
    if len(probes) < UNTOUCHED_STEPS or not moves > LEAST_MOVE:
        return None
    unmoved = set.intersection(*(set(probe.get("unmoved") or ()) for probe in probes))
    fed = _is_fed(history)
    tensors = [name for name, has in zip(history.norms.tensors, fed, strict=True) if has and name in unmoved]
    forgotten = set(history.context.get("not_in_optimizer") or ())
    tensors = [name for name in tensors if name not in forgotten]
    if not tensors:
        return None
    layers = _layers_of(history, tensors)
    return Finding(
        "layer.never_updated",
        "error",
        f"{len(tensors)} tensors have gradients and yet never moved in {len(probes)} sampled steps: "
        f"{_named(history, layers)}",
        {"step": int(probes[0].get("step") or 0), "layers": layers, "tensors": tensors[:50], "count": len(tensors)},
        "train.freeze=0: and take out callbacks that set weights back or a learning rate of a group to zero",
    )


def _is_fed(history: History) -> np.ndarray:
    """Return which tensors usually have a gradient that a step would show, `[t]`.

    A level without objects has a gradient of zero, one with few a gradient that SGD's step rounds away.
    """
    values = history.norms.values[:: max(1, len(history.norms.values) // FED_SAMPLES)]
    values = np.nan_to_num(values)
    middle = np.median(values, axis=1, keepdims=True)
    fed: np.ndarray = (values > LEAST_GRADIENT * middle).mean(axis=0) > 0.5
    return fed


def judge_dead_units(history: History) -> Finding | None:
    """Report layers most of whose outputs lie where the activation is flat."""
    probes = history.probes_of("health")
    probe = latest(probes, "norms")
    if probe is None:
        return None
    dead = {layer: number(row.get("dead")) for layer, row in probe["norms"].items() if not lags(row)}
    flat = {layer: share for layer, share in dead.items() if share > DEAD_SHARE}
    if not flat:
        return None
    worst = next(layer for layer, share in flat.items() if share == max(flat.values()))
    since = next(
        int(p.get("step") or 0)
        for p in probes
        if number((p.get("norms") or {}).get(worst, {}).get("dead")) > DEAD_SHARE
    )
    return Finding(
        "layer.dead_units",
        "error" if flat[worst] >= DEAD_ALL else "warning",
        f"{percent(flat[worst])} of the outputs of {worst} lie below -6, where SiLU passes nothing back, since step "
        f"{since}; {len(flat)} of {len(dead)} layers are more than half flat",
        {"step": since, "layer": worst, "layers": list(flat), "dead": {k: round(v, 4) for k, v in flat.items()}},
        f"model={trained_weights(history)}: fresh pretrained weights, because a flat unit has no gradient to come back "
        f"with; {worst}'s "
        "own bias is what to look at in a checkpoint of your own",
    )


def judge_scale(history: History) -> Finding | None:
    """Report a layer whose weights are so small that single steps replace them."""
    for probe in history.probes_of("update"):
        ratios = {layer: value for layer, value in (probe.get("ratio") or {}).items() if number(value) > 0}
        worst = max(ratios, key=ratios.__getitem__, default="")
        if not worst or not ratios[worst] > OWN_CHANGE:
            continue
        middle = median(ratios.values())
        if ratios[worst] > OWN_CHANGE_TO_MEDIAN * middle:
            step = int(probe.get("step") or 0)
            return Finding(
                "layer.weights_out_of_scale",
                "warning",
                f"step {step} changed the weights of {name_layer(history, worst)} by {percent(ratios[worst])}, "
                f"{ratios[worst] / middle:,.0f} times as much as a layer's median: they are far too small for the rest",
                {"step": step, "layer": worst, "ratio": ratios[worst], "median_ratio": middle},
                f"model={trained_weights(history)}: fresh weights; a {worst} this small hides its input from all "
                "layers behind it, and what the steps put in its place is learnt from nothing",
            )
    return None


def _layers_of(history: History, tensors: Iterable[str]) -> list[str]:
    """Return the layers of tensors, in the order of the network; frozen tensors have no recorded layer."""
    recorded = dict(zip(history.norms.tensors, history.norms.layers, strict=True))
    known = list(places(history))
    found: dict[str, None] = {}
    for name in tensors:
        guesses = [layer for layer in known if name.startswith(f"{layer}.")]
        found.setdefault(recorded.get(name) or (max(guesses, key=len) if guesses else ".".join(name.split(".")[:2])))
    order = {layer: number for number, layer in enumerate(known)}
    return sorted(found, key=lambda layer: order.get(layer, len(order)))


def _block_places(history: History) -> dict[str, str]:
    """Return the place of every numbered block, those without parameters left out."""
    return {".".join(layer.split(".")[:2]): place for layer, place in places(history).items()}


def _named(history: History, layers: list[str]) -> str:
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return ", ".join(name_layer(history, layer) for layer in layers[:3]) + more


RULES: tuple[Rule, ...] = (judge_optimizer_misses, judge_frozen, judge_untouched, judge_scale, judge_dead_units)
