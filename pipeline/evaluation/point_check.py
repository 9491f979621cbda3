"""What thresholds that were chosen on one split do on another, and whether that is what was to be expected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .intervals import LEVEL
from .matching import MatchTable
from .operating_point import OperatingPoint
from .rates import Groups, Rate, Weights, percent
from .threshold_figures import PLACES, Figures, figures_at, rate_of


@dataclass(frozen=True)
class Check:
    """What the thresholds of an operating point do on other pictures, and whether that is what was to be expected."""

    split: str
    figures: Figures
    agrees: bool
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        words = {"agrees": self.agrees, "sentences": list(self.sentences)}
        return {"split": self.split, "figures": self.figures.to_dict(), **words}


def check(point: OperatingPoint, table: MatchTable, split: str, weights: Weights, groups: Groups = None) -> Check:
    """Return the figures of a split at thresholds that were fixed before, compared with where they were chosen.

    Two shares differ beyond noise when Newcombe's interval of their difference (Statistics in Medicine 17, 1998, method
    10) leaves 0 out; its level is that of four comparisons that together raise a false alarm in 5 % of all cases.
    """
    figures = figures_at(table, point.array(table.truth.names), weights, groups)
    level = 1 - (1 - LEVEL) / len(PLACES)
    sentences = []
    for name, place in PLACES.items():
        then, now = rate_of(point.figures, place), rate_of(figures.to_dict(), place)
        if _differ(then, now, level):
            both = f"{_counted(now)} on {split} against {_counted(then)} on {point.split}"
            sentences.append(f"{name}: {both}, more than chance explains; go by {split}, as {point.split} chose")
    agrees = not sentences
    if agrees:
        sentences.append(f"{split} agrees with {point.split} within noise")
    if point.rule.kind == "max_escape" and point.promised:
        sentences.append(_kept(figures.escape, float(point.rule.value or 0), split))
    return Check(split, figures, agrees, (*sentences, *figures.notes))


def _kept(escape: Rate, most: float, split: str) -> str:
    """Say what a split shows about the promise."""
    found = escape.interval()
    if found is None:
        return f"{split} has no defective pictures, so the promise of at most {percent(most)} escapes cannot be checked"
    words = (
        "is kept" if found.high <= most else "is broken" if found.low > most else "can neither be confirmed nor refuted"
    )
    return f"the promise of at most {percent(most)} escapes {words} on {split}: {_counted(escape)}"


def _differ(one: Rate, other: Rate, level: float) -> bool:
    a, b = one.interval(level), other.interval(level)
    if a is None or b is None:
        return False
    down, up = math.hypot(a.value - a.low, b.high - b.value), math.hypot(a.high - a.value, b.value - b.low)
    return not -up <= a.value - b.value <= down


def _counted(rate: Rate) -> str:
    found = rate.interval()
    words = "" if found is None else f", 95 % interval {percent(found.low)} to {percent(found.high)}"
    return f"{percent(rate.value or 0)} ({rate.events} of {rate.trials}{words})"
