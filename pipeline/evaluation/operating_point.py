"""The operating point: thresholds chosen on one split, fixed, and checked on another.

Chosen and reported on the same pictures, a threshold looks better than it is. So it is chosen on val, and what it does
is read off test. Three rules:

- `f1`, where nothing is asked: the best F1 score at IoU 0.50, of each class, and overall of all boxes.
- `cost`: an escape costs so many overkills. Overall, the least cost over the pictures of the split, which takes the
  split's share of defective pictures for that of the line. For single classes, and where pictures are not of both
  kinds, over the boxes (a missed box is an escape, a false alarm an overkill). Thresholds of single classes are kept
  where they cost no more over the pictures. There is no default: only the person knows what an escape costs.
- `max_escape`: the highest threshold, the same for all classes, and with it the least overkill, that promises an escape
  rate of at most X. The plain rate on val would break that promise half of the time. If the threshold lets the k lowest
  of D defective pictures pass, the true escape rate is above X with the probability that a binomial(D, X) is at most k
  (Wilks, Ann. Math. Stat. 12, 1941: free of any distribution, and exact although the threshold is read off the same
  pictures). The largest k for which this is 5 % at most is taken. For k = 0 that is the rule of three: D must be about
  3 / X, else the split is too small to promise X, and that is said.

A threshold lies half way between the last score that it keeps and the next below: no figure of the split changes, and
scores that differ in the last digit between machines fall on the same side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import DataError, RunError, UsageError
from .inspection import Pictures
from .matching import IOU50, MatchTable
from .metrics import FEW_BOXES
from .outcomes import Outcomes
from .rates import Floats, Groups, Weights, percent, units_of
from .threshold_figures import PLACES, Figures, figures_at, rate_of

CONFIDENCE = 0.95  # of a promise


@dataclass(frozen=True)
class Rule:
    """How thresholds are chosen.

    Args:
        kind: see the top of this file.
        value: for `cost` how many overkills an escape costs, for `max_escape` the largest escape rate.

    Raises:
        UsageError: the value does not fit.
    """

    kind: Literal["f1", "cost", "max_escape"] = "f1"
    value: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("f1", "cost", "max_escape"):
            raise UsageError(f"operating point: no rule '{self.kind}'; choose f1, cost or max_escape")
        if self.kind == "f1" and self.value is not None:
            raise UsageError("operating point: the rule f1 takes no value")
        if self.kind == "cost" and not (self.value is not None and 0 < self.value < math.inf):
            raise UsageError(f"operating point: an escape must cost some number of overkills above 0, not {self.value}")
        if self.kind == "max_escape" and not (self.value is not None and 0 < self.value < 1):
            raise UsageError(f"operating point: the largest escape rate lies between 0 and 1, not at {self.value}")

    @property
    def text(self) -> str:
        """The rule in words."""
        words = {"f1": "best F1 score", "cost": f"an escape costs {self.value:g} overkills" if self.value else ""}
        return words.get(self.kind, f"escape rate of at most {100 * (self.value or 0):g} %")


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds, where they come from and what they did there.

    Args:
        split: where they were chosen.
        rule: how.
        overall: one threshold for all classes.
        thresholds: by class name; what predictions are cut at.
        own: classes that have a threshold of their own, the others have the overall one.
        promised: whether the split was large enough for the promise of `max_escape`; None for other rules.
        figures: at `thresholds`, on the split.
        notes: plain sentences about the choice.
    """

    split: str
    rule: Rule
    overall: float
    thresholds: Mapping[str, float]
    own: tuple[str, ...]
    promised: bool | None
    figures: Mapping[str, Any]
    notes: tuple[str, ...]

    def array(self, names: Sequence[str]) -> Floats:
        """Return [K] the thresholds of classes; the overall one for a class that was unknown to the choice."""
        return np.array([self.thresholds.get(name, self.overall) for name in names])

    def to_dict(self) -> dict[str, Any]:
        """Return the record, as it stands in `operating_point.json`."""
        return {
            "split": self.split,
            "rule": {"kind": self.rule.kind, "value": self.rule.value, "text": self.rule.text},
            "overall": self.overall,
            "thresholds": dict(self.thresholds),
            "own": list(self.own),
            "promised": self.promised,
            "figures": dict(self.figures),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str = "operating_point.json") -> OperatingPoint:
        """Return the operating point of a record.

        Raises:
            RunError: the record is damaged.
        """
        try:
            point = cls(
                split=str(record["split"]),
                rule=Rule(record["rule"]["kind"], record["rule"]["value"]),
                overall=float(record["overall"]),
                thresholds={str(name): float(value) for name, value in record["thresholds"].items()},
                own=tuple(map(str, record["own"])),
                promised=record["promised"],
                figures=dict(record["figures"]),
                notes=tuple(map(str, record["notes"])),
            )
            for place in PLACES.values():
                rate_of(point.figures, place)
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise RunError(f"{where}: is no operating point ({error!r}); evaluate again") from error
        numbers = all(map(math.isfinite, [point.overall, *point.thresholds.values()]))
        if not numbers or point.promised not in (None, True, False) or not set(point.own) <= set(point.thresholds):
            raise RunError(f"{where}: its thresholds are no operating point; evaluate again")
        return point


def choose(table: MatchTable, rule: Rule, split: str, weights: Weights, groups: Groups = None) -> OperatingPoint:
    """Choose thresholds by a rule on the pictures of a match table.

    Args:
        table: the matches.
        rule: how.
        split: name of the split, for the record.
        weights: [R, I] resamples for the intervals.
        groups: [I] the group (board, field) of each picture; None for pictures that stand for themselves.

    Raises:
        DataError: there is nothing to choose by: no boxes, or no detection that finds one.
    """
    outcomes, pictures = table.outcomes(IOU50), Pictures.of(table)
    if not outcomes.hit.any():
        what = "has no boxes that count" if not len(outcomes.truth_image) else "has no box that a detection finds"
        raise DataError(f"the split {split} {what}, so no threshold can be chosen there; choose one on another split")
    notes: list[str] = []
    promised, own = None, {}
    if rule.kind == "max_escape":
        last, promised = _promise(pictures, float(rule.value or 0), groups, notes)
    elif rule.kind == "cost" and pictures.good.any() and pictures.defective.any():
        last = _cheapest(pictures, float(rule.value or 0))
    else:
        last = _best(outcomes, slice(None), len(outcomes.truth_image), rule)
    overall = _half_way(outcomes.score, last)
    names = table.truth.names
    thresholds = np.full(len(names), overall)
    figures = figures_at(table, thresholds, weights, groups)
    if rule.kind != "max_escape":
        own = _own_thresholds(outcomes, rule)
        single = np.array([own.get(k, overall) for k in range(len(names))])
        by_class = figures_at(table, single, weights, groups)
        if rule.kind == "f1" or _cost(by_class, rule) <= _cost(figures, rule):
            thresholds, figures = single, by_class
        else:
            own = {}
            notes.append("thresholds of single classes would cost more over the pictures, so all classes have the same")
    return OperatingPoint(
        split=split,
        rule=rule,
        overall=overall,
        thresholds=dict(zip(names, thresholds.tolist(), strict=True)),
        own=tuple(names[k] for k in own),
        promised=promised,
        figures=figures.to_dict(),
        notes=tuple(notes),
    )


def _best(outcomes: Outcomes, part: slice, boxes: int, rule: Rule) -> float:
    """Return the best score to stop at over boxes; ties go to the higher score; inf where none is worth keeping.

    Args:
        outcomes: at IoU 0.50.
        part: the detections of the class.
        boxes: how many boxes the class has.
        rule: f1 or cost.
    """
    use = np.flatnonzero(~outcomes.ignored[part])
    use = use[np.argsort(-outcomes.score[part][use], kind="stable")]
    score, hit = outcomes.score[part][use], outcomes.hit[part][use]
    ends = np.flatnonzero(np.diff(score, append=-np.inf))  # equal scores cannot be divided by a threshold
    found, kept = np.cumsum(hit)[ends], ends + 1
    if rule.kind == "cost":
        saved = np.append(0.0, float(rule.value or 0) * found - (kept - found))
        return float(np.append(np.inf, score[ends])[int(np.argmax(saved))])
    return float(score[ends][int(np.argmax(2 * found / (boxes + kept)))])


def _own_thresholds(outcomes: Outcomes, rule: Rule) -> dict[int, float]:
    """Return the thresholds of the classes that have enough boxes for one of their own."""
    boxes = np.bincount(outcomes.truth_class, minlength=outcomes.classes)
    return {
        k: _half_way(outcomes.score[part], _best(outcomes, part, int(boxes[k]), rule))
        for k, part in enumerate(outcomes.slices())
        if boxes[k] >= FEW_BOXES and outcomes.hit[part].any()
    }


def _half_way(scores: Floats, last: float) -> float:
    """Return a threshold between the last score that is kept and the next below; above all scores for inf."""
    if last == math.inf:
        return math.nextafter(float(scores.max()), math.inf)
    below = float(np.max(scores, initial=-math.inf, where=scores < last))
    middle = (last + below) / 2
    return middle if middle > below > -math.inf else last


def _cheapest(pictures: Pictures, ratio: float) -> float:
    """Return the score to stop at with the least cost over the pictures; ties go to the lower one: fewer escapes."""
    stops = np.append(np.unique(pictures.top[np.isfinite(pictures.top)]), np.inf)
    escaped = np.searchsorted(np.sort(pictures.top[pictures.defective]), stops)
    good = np.sort(pictures.top[pictures.good])
    return float(stops[int(np.argmin(ratio * escaped + len(good) - np.searchsorted(good, stops)))])


def _cost(figures: Figures, rule: Rule) -> float:
    """Return the cost over the pictures, or over the boxes where pictures are not of both kinds."""
    ratio, boxes = float(rule.value or 0), figures.boxes
    if figures.escape.trials and figures.overkill.trials:
        return ratio * figures.escape.events + figures.overkill.events
    missed = boxes.recall.trials - boxes.recall.events
    return ratio * missed + boxes.precision.trials - boxes.precision.events


def allowed_escapes(defective: int, most: float) -> int:
    """Return how many of the defective pictures may pass so that the rate is at most `most` at 95 %; -1: too few.

    Source: Wilks 1941, the largest k with P(binomial(D, most) <= k) <= 5 %.
    """
    k = np.arange(1, defective + 1)
    log = defective * math.log1p(-most) + np.append(
        0.0, np.cumsum(np.log((defective - k + 1) / k) + math.log(most / (1 - most)))
    )
    return int(np.searchsorted(np.cumsum(np.exp(log)), 1 - CONFIDENCE, side="right")) - 1


def _promise(pictures: Pictures, most: float, groups: Groups, notes: list[str]) -> tuple[float, bool]:
    """Return the score to stop at and whether the promise holds; where it does not, as few as possible pass."""
    top = np.sort(pictures.top[pictures.defective])
    # Pictures of one board may fail together: at worst the boards alone count.
    units = units_of(np.flatnonzero(pictures.defective), groups)
    allowed = allowed_escapes(units, most)
    what = "defective pictures" if groups is None else "groups with defective pictures"
    if allowed < 0:
        needed = math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-most))
        notes.append(
            f"{units} {what} are too few to promise an escape rate of at most {percent(most)}, {needed} are needed: "
            f"even if none passes, it may be {percent(1 - (1 - CONFIDENCE) ** (1 / units))}"
        )
    stop = float(top[max(allowed, 0) * len(top) // units])
    if stop == -math.inf:
        seen = pictures.top[np.isfinite(pictures.top)]
        passing = int((top == -math.inf).sum())
        notes.append(
            f"{passing} of {len(top)} defective pictures have no detection at all, so no threshold promises an escape "
            f"rate of at most {percent(most)}; a lower `eval.conf`, more data or a larger model may"
        )
        return float(seen.min()), False
    return stop, allowed >= 0
