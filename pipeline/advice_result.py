"""What became of an advice: from a run and the same training with knobs turned to one of four verdicts. Pure functions.

The two are compared on the pictures of val, in pairs. The interval holds chance between pictures; chance between two
trainings is not in it, and only more seeds would show that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .advice import Suggestion
from .evaluation.compare import BETTER, NOISE, WORSE, Comparison
from .evaluation.intervals import Interval, percentile_interval, to_record
from .findings import Finding, Severity
from .yaml_source import flow

Verdict = Literal["fixed", "better", "no change", "worse"]
Direction = Literal["up", "down", "none"]
BLIND = 0.01  # mAP50; below it a detector finds next to nothing, and differences of mAP say nothing. A judgement
# Loss of one picture against another checkpoint's: beyond this factor it counts no more, so that a handful of pictures
# cannot outweigh the others. A judgement.
MOST = 100.0
# By how much the loss must differ on average, with its whole interval. Of 16 pairs of trainings from random weights in
# which neither finds anything and that differ in the seed alone, one was beyond 1.1, 0.67 [0.50, 0.89], and none is
# beyond this (docs/benchmarks/loss_noise.md).
SAME = 1.25


@dataclass(frozen=True)
class Side:
    """One of the two trainings.

    Args:
        run: its folder.
        state: complete or failed.
        reason: why it stopped.
        alarms: severity of its errors and warnings by their names; see `alarms_of`.
    """

    run: str
    state: str
    reason: str
    alarms: Mapping[str, Severity]

    @property
    def is_complete(self) -> bool:
        """Whether it came to its end."""
        return self.state == "complete"

    def words(self) -> str:
        """Return in words how it ended and what was found."""
        found = ", ".join(f"{name} ({severity})" for name, severity in self.alarms.items())
        ended = "" if self.is_complete else f"stopped: {self.reason.partition('. ')[0]}; "
        return f"{ended}{found or 'no errors and no warnings'}"

    def to_dict(self) -> dict[str, Any]:
        """Return the record fit for JSON."""
        return {"run": self.run, "state": self.state, "reason": self.reason, "alarms": dict(self.alarms)}


@dataclass(frozen=True)
class Change:
    """What a comparison says of the second training.

    Args:
        measure: `map50_95`, `val_loss` where neither finds anything, or `end` where one left no weights to compare.
        direction: up for better.
        words: one plain sentence.
        figures: behind it, fit for JSON.
    """

    measure: Literal["map50_95", "val_loss", "end"]
    direction: Direction
    words: str
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """A training with the knobs of one finding turned, against the run that the finding is of."""

    suggestion: Suggestion
    before: Side
    after: Side
    change: Change

    @property
    def target(self) -> str:
        """The finding that was to be mended, by its name among the alarms."""
        return name_of(self.suggestion.finding)

    @property
    def verdict(self) -> Verdict:
        """See `judge`."""
        return judge(self.target, self.before, self.after, self.change.direction)

    @property
    def turned(self) -> str:
        """What was turned, with its value before."""
        pairs = zip(self.suggestion.knobs, self.suggestion.now, strict=True)
        return ", ".join(f"{knob.key} {_spelt(now)} -> {knob.value}" for knob, now in pairs)

    def lines(self) -> list[tuple[str, str]]:
        """Return heading and text for a person: what was turned, before, after, the verdict, what to do next."""
        return [
            ("Turned", f"{self.turned}; {self._kept()}"),
            ("Before", self.before.words()),
            ("After", self.after.words()),
            ("Measured", self.change.words),
            ("Verdict", f"{self.verdict}: {self._why()}"),
            ("Next", self._next()),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it stands in `advice.json`."""
        change = self.change
        return {
            "finding": self.suggestion.finding.to_dict(),
            "turned": {knob.key: knob.value for knob in self.suggestion.knobs},
            "from": {knob.key: now for knob, now in zip(self.suggestion.knobs, self.suggestion.now, strict=True)},
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "change": {
                "measure": change.measure,
                "direction": change.direction,
                "words": change.words,
                **change.figures,
            },
            "verdict": self.verdict,
            "words": dict(self.lines()),
        }

    def _kept(self) -> str:
        """Return what the two trainings share, and what a comparison cannot tell apart from the knob."""
        turned = {k.key: (now, k.value) for k, now in zip(self.suggestion.knobs, self.suggestion.now, strict=True)}
        if "model" in turned:
            return f"another start; data, seed and all else as in {self.before.run}"
        alike = f"start, data, seed and all else as in {self.before.run}"
        before, after = turned.get("train.epochs", (0, 0))
        return f"{alike}; a longer training may be better for its length alone" if int(after) > int(before) else alike

    def _why(self) -> str:
        alarms = _new(self.before, self.after)[1]
        parts = [f"{self.target} {'is still there' if self.target in self.after.alarms else 'is gone'}"]
        if not self.after.is_complete:
            parts.append("the training stopped before its end")
        if alarms:
            parts.append(f"new or graver: {', '.join(alarms)}")
        told = {"up": "detection is better", "down": "detection is worse", "none": "detection is as it was"}
        if self.change.measure == "val_loss":
            told = {"up": "the loss is lower", "down": "the loss is higher", "none": "the loss is as it was"}
        if self.change.measure != "end":
            parts.append(told[self.change.direction])
        elif self.after.is_complete and not self.before.is_complete:
            parts.append("the training came to its end")
        return ", ".join(parts)

    def _next(self) -> str:
        settings = " ".join(self.suggestion.overrides)
        if self.verdict in ("fixed", "better"):
            more = "" if not self.after.alarms else f"; what is left: tuneup advise {self.after.run}"
            return f"keep {settings} in the configuration{more}"
        if self.verdict == "no change" and self.after.is_complete:
            return f"{settings} alone does not mend it; what is left with it: tuneup advise {self.after.run}"
        kept = f"leave {settings} out"
        return f"{kept}, and look at the other findings and at docs/diagnoses.md: tuneup advise {self.before.run}"


def judge(target: str, before: Side, after: Side, direction: Direction) -> Verdict:
    """Return what an advice did.

    - `worse`: detection is worse, the training no longer comes to its end, or an error is new.
    - `fixed`: the finding is gone, the training came to its end, and no other error or warning is new.
    - `better`: detection is better and the training came to its end, though the finding, or a new warning, is there.
    - `no change`: all else.

    A first training that stopped had no time for other findings, so that new warnings say nothing against the second
    one, and a new error only that it is not mended.
    """
    errors, alarms = _new(before, after)
    spoilt = errors if not before.is_complete else alarms
    if direction == "down" or (before.is_complete and (errors or not after.is_complete)):
        return "worse"
    if target not in after.alarms and after.is_complete and not spoilt:
        return "fixed"
    return "better" if direction == "up" and after.is_complete and not errors else "no change"


def _new(before: Side, after: Side) -> tuple[list[str], list[str]]:
    """Return the errors, and the errors and warnings, that the first training did not have."""
    errors = [n for n, severity in after.alarms.items() if severity == "error" and before.alarms.get(n) != "error"]
    return errors, [name for name in after.alarms if name not in before.alarms or name in errors]


def name_of(finding: Finding, dropped: str = "") -> str:
    """Return what tells findings of one run apart: the id, with the entry of the policy where it is about one.

    Args:
        finding: of a run.
        dropped: the transform that this run's policy lacks beside another one's; where that had several of its kind,
            the later ones go by the names that they have there: `ToGray` without the first one is `ToGray#2`.
    """
    entry = finding.evidence.get("entry")
    return f"{finding.id} of {_entry_before(str(entry), dropped)}" if entry else finding.id


def _entry_before(entry: str, dropped: str) -> str:
    (kind, _, number), (own, _, gone) = entry.partition("#"), dropped.partition("#")
    same = kind == own and int(number or 1) >= int(gone or 1)
    return f"{kind}#{int(number or 1) + 1}" if same else entry


def alarms_of(findings: list[Finding], dropped: str = "") -> dict[str, Severity]:
    """Return the severity of errors and warnings by their names; see `name_of`."""
    return {name_of(finding, dropped): finding.severity for finding in findings if finding.severity != "info"}


def end_alone(before: Side, after: Side) -> Change:
    """Return the change where one of the two left no weights to compare: only whether it came to its end counts."""
    ended = [side.is_complete for side in (before, after)]
    direction: Direction = "none" if ended[0] == ended[1] else "up" if ended[1] else "down"
    which = "the first training" if not ended[0] else "the new training"
    return Change("end", direction, f"nothing to compare: {which} stopped and left no weights", {})


def map_change(comparison: Comparison) -> Change | None:
    """Return what the mAP says; None where neither of the two finds anything, or val has no boxes."""
    main, at_50 = comparison.overall
    scores = [score for score in (at_50.first, at_50.second) if score is not None]
    if main.difference is None or max(scores, default=0.0) < BLIND:
        return None
    direction: Direction = {BETTER: "up", WORSE: "down", NOISE: "none"}[main.verdict]  # type: ignore[assignment]
    values = f"mAP50-95 {main.first:.3f} before, {main.second:.3f} after"
    return Change("map50_95", direction, f"{values}; {comparison.words()}", {"comparison": comparison.to_dict()})


def loss_change(
    first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.int32], units: int
) -> Change:
    """Return what the losses of the same pictures say; inf is a loss that cannot be spoken of.

    The figure is the geometric mean over the pictures of second / first, each held between 1 / `MOST` and `MOST`. It
    must be beyond a factor of `SAME` with its whole interval.

    Args:
        first, second: [i] loss of each picture.
        weights: [R, i] resamples.
        units: pictures or groups that were drawn.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(second) - np.log(first)
    ratio = np.clip(np.where(np.isnan(ratio), 0.0, ratio), -np.log(MOST), np.log(MOST))  # inf on both sides: alike
    with np.errstate(invalid="ignore"):  # half of one picture is none; such draws are left out
        draws = weights @ ratio / weights.sum(axis=1)
    found = percentile_interval(float(ratio.mean()), draws, units=units)
    times = Interval(*(float(np.exp(bound)) for bound in (found.value, found.low, found.high)))
    direction: Direction = "up" if times.high < 1 / SAME else "down" if times.low > SAME else "none"
    broken = [int(np.isinf(losses).sum()) for losses in (first, second)]
    return Change(
        "val_loss",
        direction,
        f"neither finds anything yet (mAP50 below {BLIND:g}), so the plain loss of {len(first)} pictures of val is "
        f"compared: {_times(times, broken, len(first))}",
        {"ratio": to_record(times), "pictures": len(first), "without_loss": {"before": broken[0], "after": broken[1]}},
    )


def _times(times: Interval, broken: list[int], pictures: int) -> str:
    if broken[0] == pictures or broken[1] == pictures:
        return f"there is no usable loss on {broken[0]} of them before and {broken[1]} after"
    held = f"{times.value:.2f} times what it was"
    if not np.isnan(times.low):  # of a single picture nothing is known of chance
        held += f" [{times.low:.2f}, {times.high:.2f}]"
    if not any(broken):
        return held
    return (
        f"{held}; not finite, or with no prediction assigned to any object, on {broken[0]} of them before and "
        f"{broken[1]} after"
    )


def _spelt(value: Any) -> str:
    if isinstance(value, list | dict):
        return flow(value)
    return str(value).lower() if value is None or isinstance(value, bool) else f"{value}"
