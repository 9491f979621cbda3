"""From what was measured to what is wrong with it; pure, so that other limits can be laid on the same figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import ContractConfig
from ..findings import Severity
from .entry_measure import WHOLE, EntryMeasure

_Z = 1.96  # 95 %
_FEW = 5  # boxes of a class: the median of fewer says nothing
_LOST_HALF = 0.5  # of a class, in the stage as trained: what is left is another data set
_BLACK = (
    0.05  # share of the pictures as trained (judgement): one in a thousand is a nuisance, not the end of a training
)
_BY_CHANCE = 0.001  # of a stage that works, to change nothing
_SHRUNK = 0.1  # share of boxes: scale reaches a tenth of them on any data with small objects (docs/benchmarks)
COLOUR = frozenset({"hsv_h", "hsv_s", "bgr", "ToGray", "ChannelShuffle"})  # do nothing on grey pictures, nor harm


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
    if measure.probability == 0:
        return found  # what it would do does not happen
    lost = _lost_altogether(measure) if measure.entry == WHOLE else []
    return [
        *found,
        *_black(measure),
        *(lost or _lost(measure, limits)),
        *_grown(measure, limits),
        *_small(measure, limits),
        *_hidden(measure, limits),
        *_faded(measure, limits),
        *_noisy(measure, limits),
        *_shifted(measure, limits),
    ]


def _failed(measure: EntryMeasure) -> Violation:
    text = measure.failure
    if text.startswith("augmentation "):  # a transform's own: the name stands before it anyway
        text = text.partition(": ")[2] or text
    kinds = {"instead of uint8": "augment.dtype", "of one size": "augment.shape"}
    finding_id = next((kind for words, kind in kinds.items() if words in text), "augment.failed")
    if text.startswith("Albumentations"):  # what `require_albumentations` says
        finding_id = "augment.library"
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
    if (1 - measure.probability) ** measure.pictures > _BY_CHANCE and measure.entry == WHOLE:
        return []  # it acts too seldom to be seen
    text = f"changes no pixel of {measure.pictures} pictures"
    if measure.grey and measure.entry.partition("#")[0] in COLOUR:
        return [Violation("augment.no_effect", "info", f"{text}: they are grey", {"pictures": measure.pictures})]
    if measure.entry == "cutmix":
        text += ": it pastes only where there is no box, and found no such place"
    severity: Severity = "error" if measure.entry == WHOLE else "warning"
    return [Violation("augment.no_effect", severity, text, {"pictures": measure.pictures})]


def _black(measure: EntryMeasure) -> list[Violation]:
    if measure.black == 0:
        return []
    text = f"leaves {measure.black:.0%} of the pictures all but black"
    severity: Severity = "error" if measure.black > (_BLACK if measure.entry == WHOLE else _LOST_HALF) else "warning"
    return [Violation("augment.black", severity, text, {"share": measure.black}, weaker_helps=True)]


def upper_bound(kept: int, total: int, error: float = 0.0, pictures: int = 24) -> float:
    """Return the upper end of a 95 % interval for the share of boxes that come through.

    The larger of Wilson's for single boxes (Journal of the ASA 22, 1927) and Student's around the share with its
    standard error over pictures. A mosaic draws its partners: on DeepPCB, where it keeps 1.03 to 1.09 of every class,
    24 pictures gave 0.76 of one, which Wilson's interval alone would call a loss.
    """
    if total == 0:
        return 1.0
    share = min(1.0, kept / total)
    middle = share + _Z**2 / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    return max(min(1.0, (middle + spread) / (1 + _Z**2 / total)), kept / total + _student(pictures - 1) * error)


def _student(freedom: int) -> float:
    """Return Student's two-sided 95 % point: Cornish and Fisher's expansion, 0.5 % too low at 3 degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z, n = _Z, max(freedom, 1)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def _survivals(measure: EntryMeasure, limit: float) -> list[tuple[str, int, int]]:
    """Return class, kept and total where chance does not explain the loss: the limit lies above the whole interval."""
    rows = [(name, measure.yielded.get(name, 0), own) for name, own in sorted(measure.own.items())]
    errors, pictures = measure.survival_error, measure.drawn_pictures
    return [row for row in rows if upper_bound(*row[1:], errors.get(row[0], 0.0), pictures) < limit]


def _lost(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    lost = _survivals(measure, limits.survival)
    if not lost:
        return []
    words = ", ".join(f"{1 - kept / total:.0%} of {name} ({total - kept} of {total})" for name, kept, total in lost)
    figures = {"survival": {name: kept / total for name, kept, total in lost}, "limit": limits.survival}
    return [Violation("augment.boxes_lost", "warning", f"loses boxes: {words}", figures, weaker_helps=True)]


def _lost_altogether(measure: EntryMeasure) -> list[Violation]:
    lost = _survivals(measure, _LOST_HALF)
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
    # Of the whole stage a note: mosaic and scale together halve boxes on any data, which at a small imgsz concerns a
    # quarter of them (the field demo at 96 px); each entry by itself has been judged.
    severity: Severity = "info" if measure.entry == WHOLE else "warning"
    return [Violation("augment.boxes_small", severity, text, figures, weaker_helps=True)]


def _hidden(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    """Judge what stands in boxes: by class, and over all classes where each has too few objects to prove it."""
    shares = {name: 1 - measure.made_out[name] / total for name, total in sorted(measure.looked_at.items())}
    most = [name for name in shares if measure.entry == WHOLE and _least_hidden(measure, name) > _LOST_HALF]
    if most:
        text = f"leaves boxes on objects of which less than a third can be made out: {_counts(measure, most)}"
        figures = {"hidden": {name: shares[name] for name in most}, "limit": _LOST_HALF}
        return [Violation("augment.objects_hidden", "error", text, figures)]
    some = [name for name in shares if _least_hidden(measure, name) > limits.hidden]
    if not some and _least_hidden(measure) <= limits.hidden:
        return []
    text = f"leaves boxes on objects of which less than a third can be made out: {_counts(measure, some)}"
    # An entry that hides some of all has told of every class; the whole stage tells it only where no entry does.
    told = some or ([] if measure.entry == WHOLE else list(shares))
    figures = {"hidden": {name: shares[name] for name in told}, "share": measure.hidden, "limit": limits.hidden}
    return [Violation("augment.objects_hidden", "warning", text, figures, weaker_helps=True)]


def doubtful(measure: EntryMeasure, limits: ContractConfig) -> bool:
    """Return whether more is hidden than the limit, but by so little that it may be chance: more draws would tell."""
    return (measure.hidden or 0.0) > limits.hidden and not _hidden(measure, limits)


def _least_hidden(measure: EntryMeasure, name: str | None = None) -> float:
    """Return the lower end of the interval for the share of hidden objects of a class, or of all classes."""
    if name is None:
        total, kept, error = sum(measure.looked_at.values()), sum(measure.made_out.values()), measure.hidden_error
    else:
        total, kept, error = measure.looked_at[name], measure.made_out[name], measure.made_out_error.get(name, 0.0)
    return 1 - upper_bound(kept, total, error, measure.drawn_pictures)


def _counts(measure: EntryMeasure, names: Sequence[str]) -> str:
    known = {name: (total - measure.made_out[name], total) for name, total in measure.looked_at.items()}
    rows = [(f" of {name}", *known[name]) for name in names]
    rows = rows or [(" of all", sum(hidden for hidden, _ in known.values()), sum(total for _, total in known.values()))]
    return ", ".join(f"{hidden / total:.0%}{words} ({hidden} of {total})" for words, hidden, total in rows)


def _faded(measure: EntryMeasure, limits: ContractConfig) -> list[Violation]:
    contrast, detail = _known(measure.contrast), _known(measure.detail)
    low, high = limits.contrast
    parts, figures = [], {}
    for what, ratios in (("contrast of objects against their surround", contrast), ("detail inside objects", detail)):
        faded = {name: ratio for name, ratio in ratios.items() if ratio < low}
        if faded:
            parts.append(f"the {what} to {_list(faded)} of what it was")
            figures[what.partition(" ")[0]] = faded
    found = []
    if parts:
        text = f"takes {' and '.join(parts)}"
        found.append(Violation("augment.contrast_lost", "warning", text, {**figures, "limit": low}, weaker_helps=True))
    raised = {name: ratio for name, ratio in contrast.items() if ratio > high}
    if raised:
        text = f"raises the contrast of objects against their surround to {_list(raised)} of what it was"
        raised_figures = {"contrast": raised, "limit": high}
        found.append(Violation("augment.contrast_raised", "info", text, raised_figures, weaker_helps=True))
    return found


def _known(ratios: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    return {name: ratio for name, (ratio, boxes) in ratios.items() if boxes >= _FEW}


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
    parts: list[str] = []
    change = measure.mean_change
    if measure.moves:
        return []  # what they are laid on, or mixed with, changes mean and deviation by itself
    if change > limits.shift:
        parts.append(f"shifts the mean of a picture by {change:.0f} of 255 grey levels")
    low, high = limits.deviation
    if not low <= measure.deviation_ratio <= high:
        parts.append(f"makes the deviation of a picture {measure.deviation_ratio:.2f} times what it was")
    if measure.clipped > limits.clipped:
        parts.append(f"drives {measure.clipped:.0%} of the pixels to black or white")
    if not parts:
        return []
    figures = {"mean": change, "deviation": measure.deviation_ratio, "clipped": measure.clipped}
    return [Violation("augment.shift", "warning", " and ".join(parts), figures, weaker_helps=True)]


def named(found: Sequence[Violation], finding_id: str) -> bool:
    """Return whether a violation of this id is among them."""
    return any(violation.id == finding_id for violation in found)
