"""Rules on the terms of the loss: whether one of them leaves the others nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..findings import Finding
from .history import History
from .judging import UNSETTLED, Rule, lags, latest, number, starts_random

# A rule of thumb says "> 95 %", which healthy random starts break: box 95 %, cls 2 %.
ONE_TERM, OTHER_TERM = 0.99, 0.005
DEFAULT_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}  # of Ultralytics


def judge_terms(history: History) -> Finding | None:
    """Report a loss term that leaves the others no share of the gradient."""
    lagging = _lagging_steps(history)
    probes = [p for p in history.probes_of("terms") if p.get("shares") and p.get("step") not in lagging]
    gains = {str(k): number(v) for k, v in (history.context.get("gains") or {}).items()}
    if starts_random(history):
        probes = [p for p in probes if p.get("step")]  # what these send back before the first step says nothing
    probe = latest(probes, "shares")
    if probe is None:
        return None
    shares = {name.removesuffix("_loss"): number(value) for name, value in probe["shares"].items()}
    top = max(shares, key=shares.__getitem__)
    main = {name: share for name, share in shares.items() if name in ("box", "cls") and name != top}
    if not (shares[top] > ONE_TERM and main and min(main.values()) < OTHER_TERM):
        return None
    if top == "cls" and (starts_random(history) or (probe.get("step") or 0) < UNSETTLED) and _are_usual(gains):
        # The classes come first: boxes are weighed by how sure the network is of them. So it is in the first steps of
        # a trained network whose classes are new.
        return None
    gain, wanted = _gain_to_turn(top, min(main, key=main.__getitem__), gains)
    step = int(probe.get("step") or 0)
    since = next(int(p.get("step") or 0) for p in probes if number(p["shares"].get(f"{top}_loss")) > ONE_TERM)
    return Finding(
        "loss.term_imbalance",
        "warning",
        f"{top} has {shares[top]:.2%} of the gradient at the neck at step {step}, ".replace("%", " %")
        + ", ".join(f"{name} {share:.2g}" for name, share in main.items())
        + ": the other terms teach nothing",
        {"step": since, "shares": shares, "gains": gains},
        f"train.{gain}={wanted:g}: Ultralytics' default is {DEFAULT_GAINS.get(gain, wanted):g}",
    )


def _lagging_steps(history: History) -> set[Any]:
    """Return the measured steps at which a tenth of the layers answered with statistics of older weights."""
    found = set()
    for probe in history.probes_of("health"):
        rows = list((probe.get("norms") or {}).values())
        if sum(map(lags, rows)) > 0.1 * len(rows):
            found.add(probe.get("step"))
    return found


def _gain_to_turn(top: str, low: str, gains: Mapping[str, float]) -> tuple[str, float]:
    """Return the gain that is furthest off its default and its default, or a tenth of the one that dominates."""
    off = _off_default(gains)
    furthest = max(off, key=lambda name: abs(math.log(off[name])), default=top)
    if not _are_usual(gains):
        return furthest, DEFAULT_GAINS[furthest]
    return (top, gains[top] / 10) if gains.get(top) else (low, DEFAULT_GAINS.get(low, 1.0))


def _off_default(gains: Mapping[str, float]) -> dict[str, float]:
    return {name: gains[name] / default for name, default in DEFAULT_GAINS.items() if gains.get(name, 0.0) > 0}


def _are_usual(gains: Mapping[str, float]) -> bool:
    return all(0.5 < times < 2 for times in _off_default(gains).values())


RULES: tuple[Rule, ...] = (judge_terms,)
