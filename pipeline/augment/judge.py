"""From what was measured to what is wrong with it; pure, so that other limits can be laid on the same figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import ContractConfig
from ..findings import Severity
from .measure import WHOLE, EntryMeasure

_Z = 1.96  # 95 %
_FEW = 5  # boxes of a class: the median of fewer says nothing
_LOST_HALF = 0.5  # of a class, in the stage as trained: what is left is another data set
_SHRUNK = 0.1  # share of boxes: scale reaches a tenth of them on any data with small objects (docs/benchmarks)
_GREY_KNOBS = frozenset({"hsv_h", "hsv_s", "bgr"})  # do nothing on grey pictures, and harm nothing there


@dataclass(frozen=True)
class Violation:
    """One limit that one entry does not keep.

    Args:
        id: of the finding it becomes, such as `augment.boxes_lost`.
        severity: as in findings.
        text: what happens, after the entry's name: "loses 32 % of the boxes of pit".
        figures: behind it.
        weaker_helps: whether a weaker setting of the entry may mend it.
    """

    id: str
    severity: Severity
    text: str
    figures: Mapping[str, Any]
    weaker_helps: bool = False


def violations(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    """Return the limits that an entry, or the whole stage, does not keep."""
    if measure.failure:
        return [_failed(measure)]
    found = [*_broken(measure), *_without_effect(measure)]
    if measure.entry == WHOLE:
        return found + _black(measure) + _lost_altogether(measure)
    return [
        *found,
        *_black(measure),
        *_lost(measure, limits),
        *_grown(measure, limits),
        *_small(measure, limits),
        *_faded(measure, limits),
        *_noisy(measure, limits),
        *_shifted(measure, limits),
    ]


def _failed(measure: EntryMeasure) -> Violation:
    kinds = {"instead of uint8": "augment.dtype", "of one size": "augment.shape"}
    finding_id = next((kind for words, kind in kinds.items() if words in measure.failure), "augment.failed")
    text = measure.failure.removeprefix("augmentation ").partition(": ")[2] or measure.failure
    return Violation(finding_id, "error", f"cannot be used: {text}", {"error": measure.failure})


def _broken(measure: EntryMeasure) -> list[Violation]:
    found = []
    if not measure.repeatable:
        text = "gives two different pictures for one seed: no training with it can be repeated"
        found.append(Violation("augment.not_repeatable", "error", text, {}))
    if measure.restored:
        text = f"does not survive being saved: {measure.restored}"
        found.append(Violation("augment.not_restored", "error", text, {"restored": measure.restored}))
    return found


def _without_effect(measure: EntryMeasure) -> list[Violation]:
    if measure.changed > 0 or measure.pasted:
        if measure.probability > 0:
            return []
        return [Violation("augment.never", "warning", "has p 0: it never acts", {"p": 0.0})]
    text = f"changes no pixel of {measure.pictures} pictures"
    if measure.entry in _GREY_KNOBS:
        return [Violation("augment.no_effect", "info", f"{text}: they are grey", {"pictures": measure.pictures})]
    if measure.entry == "cutmix":
        text += ": it pastes only where there is no box, and found no such place"
    severity: Severity = "error" if measure.entry == WHOLE else "warning"
    return [Violation("augment.no_effect", severity, text, {"pictures": measure.pictures})]


def _black(measure: EntryMeasure) -> list[Violation]:
    if measure.black == 0:
        return []
    text = f"leaves {measure.black:.0%} of the pictures all but black"
    severity: Severity = "error" if measure.black > _LOST_HALF or measure.entry == WHOLE else "warning"
    return [Violation("augment.black", severity, text, {"share": measure.black}, weaker_helps=True)]


def upper_bound(kept: int, total: int) -> float:
    """Return the upper end of Wilson's 95 % interval for a share (Journal of the ASA 22, 1927)."""
    if total == 0:
        return 1.0
    share = min(1.0, kept / total)
    middle = share + _Z**2 / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    return min(1.0, (middle + spread) / (1 + _Z**2 / total))


def _survivals(measure: EntryMeasure) -> list[tuple[str, int, int]]:
    return [(name, measure.yielded.get(name, 0), own) for name, own in sorted(measure.own.items())]


def _lost(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    """Report classes that lose more boxes than chance explains: the limit lies above the whole interval."""
    lost = [row for row in _survivals(measure) if upper_bound(*row[1:]) < limits.survival]
    if not lost:
        return []
    words = ", ".join(f"{1 - kept / total:.0%} of {name} ({total - kept} of {total})" for name, kept, total in lost)
    figures = {"survival": {name: kept / total for name, kept, total in lost}, "limit": limits.survival}
    return [Violation("augment.boxes_lost", "warning", f"loses boxes: {words}", figures, weaker_helps=True)]


def _lost_altogether(measure: EntryMeasure) -> list[Violation]:
    lost = [row for row in _survivals(measure) if upper_bound(*row[1:]) < _LOST_HALF]
    if not lost:
        return []
    words = ", ".join(f"{name} ({kept} of {total} come through)" for name, kept, total in lost)
    figures = {"survival": {name: kept / total for name, kept, total in lost}, "limit": _LOST_HALF}
    return [Violation("augment.boxes_lost", "error", f"loses most boxes of {words}", figures)]


def _grown(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    if measure.inflation is None or measure.inflation <= limits.inflation:
        return []
    text = f"makes boxes {measure.inflation:.2f} times as large as what they enclose (median)"
    figures = {"inflation": measure.inflation, "limit": limits.inflation}
    return [Violation("augment.boxes_grown", "warning", text, figures, weaker_helps=True)]


def _small(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    before, after = (np.array(sides) for sides in (measure.short_before, measure.short_after))
    if not len(before) or not len(after):
        return []
    shares = [float((sides < limits.smallest).mean()) for sides in (before, after)]
    if shares[1] - shares[0] <= _SHRUNK:
        return []
    text = f"makes {shares[1]:.0%} of the boxes smaller than {limits.smallest:g} px (before: {shares[0]:.0%})"
    figures = {"before": shares[0], "after": shares[1], "limit": limits.smallest}
    return [Violation("augment.boxes_small", "warning", text, figures, weaker_helps=True)]


def _faded(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    known = {name: ratio for name, (ratio, boxes) in measure.contrast.items() if boxes >= _FEW}
    low, high = limits.contrast
    found = []
    faded = {name: ratio for name, ratio in known.items() if ratio < low}
    if faded:
        text = f"takes the contrast of objects against their surround to {_list(faded)} of what it was"
        figures = {"contrast": faded, "limit": low}
        found.append(Violation("augment.contrast_lost", "warning", text, figures, weaker_helps=True))
    raised = {name: ratio for name, ratio in known.items() if ratio > high}
    if raised:
        text = f"raises the contrast of objects against their surround to {_list(raised)} of what it was"
        figures = {"contrast": raised, "limit": high}
        found.append(Violation("augment.contrast_raised", "info", text, figures, weaker_helps=True))
    return found


def _list(ratios: Mapping[str, float]) -> str:
    return ", ".join(f"{ratio:.2f} ({name})" for name, ratio in ratios.items())


def _noisy(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    boxes = {name: count for name, (_, count) in measure.contrast.items()}
    drowned = {
        name: after
        for name, (after, before) in measure.noise.items()
        if after > limits.noise >= before and boxes[name] >= _FEW
    }
    if not drowned:
        return []
    words = ", ".join(f"{ratio:.1f} times the contrast of {name}" for name, ratio in drowned.items())
    figures = {"noise": drowned, "limit": limits.noise}
    return [Violation("augment.noise", "warning", f"drowns objects in noise: {words}", figures, weaker_helps=True)]


def _shifted(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    parts = []
    if abs(measure.mean_shift) > limits.shift:
        parts.append(f"shifts the mean of pictures by {measure.mean_shift:+.0f} of 255 grey levels")
    low, high = limits.deviation
    if not low <= measure.deviation_ratio <= high:
        parts.append(f"makes their deviation {measure.deviation_ratio:.2f} times what it was")
    if measure.clipped > limits.clipped:
        parts.append(f"drives {measure.clipped:.0%} of the pixels to black or white")
    if not parts:
        return []
    figures = {"mean": measure.mean_shift, "deviation": measure.deviation_ratio, "clipped": measure.clipped}
    return [Violation("augment.shift", "warning", ", ".join(parts), figures, weaker_helps=True)]


def named(found: Sequence[Violation], finding_id: str) -> bool:
    """Return whether a violation of this id is among them."""
    return any(violation.id == finding_id for violation in found)
