"""Rules on what the optimizer does with the gradients: how far a step moves the weights, and which way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..findings import Finding
from .history import History
from .judging import (
    USUAL_RATES,
    Rule,
    median,
    number,
    percent,
    plain_loss,
    rate_in_use,
    rate_knob,
    restart,
    usual_rate,
)

# |dw| / |w| of a step. CS231n's 1e-3 (cs231n.github.io/neural-networks-3) is no limit here: healthy medians are 1.1e-2
# with AdamW, 1.6e-3 with SGD, 5e-3 with MuSGD. Calibrated on benchmarks/healthy_runs.py: the largest of an optimizer
# group over three samples is 1.5e-2; AdamW at lr0=0.1 has 1.2e-1 and SGD at lr0=1 has 3.4e-1.
TOO_HIGH = 5e-2
# A rule of thumb. Healthy runs: 2e-4 and more at the full rate; AdamW at lr0=1e-7: 5e-7.
TOO_LOW = 1e-5
PROBES_HIGH, PROBES_LOW = 3, 5  # samples that have to agree
LEAST_RATE = 0.02  # of lr0: samples at a smaller rate say nothing about lr0
STILL = 0.15  # fall of the loss that shows that the steps do something after all; the end of mosaic alone brings 0.1
OPPOSED = -0.3  # mean cosine of successive gradients; calibrated: healthy runs -0.1 and more over ten samples
PROBES_OPPOSED = 10
COLLAPSED = 1e-2  # of the first loss; no detector comes that far, one that assigns no object does


def judge_rate_high(history: History) -> Finding | None:
    """Report steps that move the weights by a large part of their size."""
    probes = [probe for probe in history.probes_of("update") if probe.get("group_ratio")]
    largest = np.array([_largest_group(probe)[1] for probe in probes])
    found = _first_window(largest > TOO_HIGH, PROBES_HIGH)
    if found is None:
        return None
    window = probes[found : found + PROBES_HIGH]
    step, ratio = int(window[0].get("step") or 0), median(_largest_group(probe)[1] for probe in window)
    group = _largest_group(window[0])[0]
    rate = rate_in_use(history)
    optimizer = str(history.context.get("optimizer") or "the optimizer")
    harm = _harm(history)
    return Finding(
        "optimizer.lr_too_high",
        "error" if harm else "warning",
        f"{optimizer} changes the weights of group '{group}' by {percent(ratio)} per step since step {step}, more than "
        f"{percent(TOO_HIGH)}{harm and f': {harm}'}",
        {
            "step": step,
            "group": group,
            "ratio": ratio,
            "limit": TOO_HIGH,
            "lr0": rate,
            "largest_ratio": float(largest.max()),
        },
        _advise_rate(history, ratio, "steps of this size forget what earlier ones learnt, even while the loss falls"),
    )


def judge_rate_low(history: History) -> Finding | None:
    """Report steps that hardly move the weights, while the loss stays where it is."""
    rate = rate_in_use(history)
    context_rate = number(history.context.get("lr0"))
    ratios, steps = [], []
    for probe in history.probes_of("update"):
        now = _rate_at(history, int(probe.get("step") or 0))
        largest = _largest_group(probe)[1]
        if now > LEAST_RATE * context_rate and largest >= 0:
            ratios.append(largest * max(1.0, context_rate / now))
            steps.append(int(probe.get("step") or 0))
    if len(ratios) < PROBES_LOW or not median(ratios) < TOO_LOW or _fall(history) > STILL:
        return None
    ratio = median(ratios)
    optimizer = str(history.context.get("optimizer") or "the optimizer")
    return Finding(
        "optimizer.lr_too_low",
        "warning",
        f"{optimizer} changes the weights by {ratio:.1e} of their size per step, less than {TOO_LOW:.0e}, and the loss "
        f"has fallen by {percent(max(_fall(history), 0.0))} in {history.steps.height} steps",
        {"step": steps[0], "ratio": ratio, "limit": TOO_LOW, "lr0": rate},
        _advise_rate(history, ratio, "at this rate the run ends about where it began"),
    )


def judge_direction(history: History) -> Finding | None:
    """Report successive gradients that point against each other: the steps jump over the valley."""
    begin = restart(history)
    probes = [
        p for p in history.probes_of("update") if int(p.get("step") or 0) >= begin and p.get("cosine") is not None
    ]
    recent = probes[-PROBES_OPPOSED:]
    if len(recent) < PROBES_OPPOSED:
        return None
    cosine = float(np.mean([number(probe["cosine"]) for probe in recent]))
    limit = OPPOSED - _complementary(history)
    if not cosine < limit:
        return None
    by_layer: dict[str, list[float]] = {}
    for probe in recent:
        for layer, value in (probe.get("layer_cosine") or {}).items():
            by_layer.setdefault(layer, []).append(number(value))
    worst = min(by_layer, key=lambda layer: median(by_layer[layer]), default="")
    rate = rate_in_use(history)
    return Finding(
        "gradient.conflict",
        "warning",
        f"successive gradients point against each other: mean cosine {cosine:.2f} over the last {len(recent)} samples, "
        f"since step {recent[0].get('step')}{worst and f', most in {worst}'}",
        {"step": int(recent[0].get("step") or 0), "cosine": cosine, "layer": worst, "limit": limit},
        f"{rate_knob(history, rate / 3)}: a third, so that a step ends before the slope turns round",
    )


def _complementary(history: History) -> float:
    """Return how far below zero the cosine of successive gradients lies because an epoch's batches complete each other.

    Of n batches drawn without replacement, whose gradients differ from their mean, any two have a correlation of
    -1 / (n - 1) (Cochran, Sampling Techniques, 1977, section 2.9).
    """
    steps = int(history.context.get("batches_per_epoch") or 0) // max(int(history.context.get("accumulate") or 1), 1)
    return 1.0 / (steps - 1) if steps > 2 else 1.0


def _largest_group(probe: Mapping[str, Any]) -> tuple[str, float]:
    ratios = {name: number(value) for name, value in (probe.get("group_ratio") or {}).items()}
    ratios = {name: value for name, value in ratios.items() if value >= 0}
    name = max(ratios, key=ratios.__getitem__, default="")
    return name, ratios.get(name, float("nan"))


def _first_window(hits: np.ndarray, length: int) -> int | None:
    """Return where `length` hits in a row begin for the first time."""
    if len(hits) < length:
        return None
    whole = np.lib.stride_tricks.sliding_window_view(hits, length).all(axis=1)
    return int(whole.argmax()) if whole.any() else None


def _rate_at(history: History, step: int) -> float:
    """Return the largest learning rate among the groups with weights at a step; nan if it is not known."""
    names = [n for n in history.steps.columns if n.startswith("lr_") and "bias" not in n]
    names = names or [n for n in history.steps.columns if n.startswith("lr_")]
    if not names or step >= history.steps.height:
        return float("nan")
    return max(number(history.steps[name][step]) for name in names)


def _fall(history: History) -> float:
    """Return by which part the loss has fallen since the first steps."""
    loss = plain_loss(history)
    loss = loss[np.isfinite(loss)]
    if len(loss) < 20 or not loss[:10].any():
        return 0.0
    return 1 - median(loss[-10:]) / median(loss[:10])


def _harm(history: History) -> str:
    """Return what the large steps have done already, in words; nothing where the loss still falls."""
    loss = plain_loss(history)
    first = median(loss[:3])
    if len(loss) >= 20 and median(loss[-10:]) < COLLAPSED * first:
        return "no object is assigned to any prediction any more, so that the loss is zero"
    if len(loss) >= 20 and median(loss[-10:]) > 1.2 * first:
        return f"the loss is {median(loss[-10:]) / first:.1f} times what it was at first"
    for epoch, value in enumerate(plain_loss(history, "val")):
        if value > 10 * first:
            return f"the loss on val is {value:.1e} after epoch {epoch + 1}"
    # Pictures that are not finite in themselves, or that bring it about alone, are no work of the rate.
    own = [i for i in history.incidents if i.get("phase") != "pictures" and not i.get("told_apart")]
    return "steps are no longer finite" if own else ""


# Changes per step that healthy runs have at their full rate; what the advice aims at.
_AIMS = {"AdamW": 5e-3, "Adam": 5e-3, "SGD": 2.5e-3, "MuSGD": 5e-3}


def _advise_rate(history: History, ratio: float, why: str) -> str:
    """Return the rate that brings the change per step to a usual size, but no rate above the optimizer's usual one."""
    optimizer = str(history.context.get("optimizer"))
    rate, usual = rate_in_use(history), usual_rate(history)
    scaled = rate * _AIMS.get(optimizer, 5e-3) / ratio if ratio > 0 and np.isfinite(rate) else usual
    wanted = usual if ratio < TOO_LOW and optimizer in USUAL_RATES else min(scaled, usual)
    return f"{rate_knob(history, wanted)}: {why}"


RULES: tuple[Rule, ...] = (judge_rate_high, judge_rate_low, judge_direction)
