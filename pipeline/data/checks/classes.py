"""Classes: how many boxes each has, which are missing where, and names that may mean the same."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import polars as pl

from ...findings import Finding, Severity
from .evidence import counted, listed_names, plain
from .snapshot import Snapshot

# LVIS (Gupta et al., CVPR 2019) calls classes with 1 to 10 training pictures rare, up to 100 common, beyond frequent.
RARE = 10
COMMON = 100
# docs/benchmarks/coverage.md: from 15 boxes on the interval of one class holds the truth, below 10 it does not.
FEW_MEASURED = 15
UNEVEN = 10.0  # largest class over smallest; an order of magnitude is worth a note; judgement, BCCD has 11
VERY_UNEVEN = 50.0  # datumaro's default for its warning
SHORTEST_PLURAL = 4  # letters before an s that may be a plural; "gas" and "ga" are two words


def missing_classes(snapshot: Snapshot) -> list[Finding]:
    """Find classes without a box: in the whole set, in train (it cannot be learnt), in val or test (not measured)."""
    counts = {part: snapshot.counts(part) for part in {*snapshot.per_part["part"], snapshot.training_part}}
    unused = [index for index in range(len(snapshot.names)) if not any(count[index] for count in counts.values())]
    findings = []
    if unused and len(unused) < len(snapshot.names):
        words = _classes(snapshot, unused)
        message = f"{words} not a single box; the network gets an output for it that never learns"
        advice = "leave it out of the names (data.keep), or check that its labels were exported"
        findings.append(Finding("classes.unused", "warning", message, _evidence(snapshot, unused), advice))
    if snapshot.training_part != "train" or not any(counts["train"].values()):
        return findings
    measured = {index for split in snapshot.measured_parts for index, n in counts[split].items() if n}
    untrained = [index for index in sorted(measured) if not counts["train"][index]]
    if untrained:
        message = f"{_classes(snapshot, untrained)} boxes in val or test, but none in train: it cannot be learnt"
        advice = "data.splits=new divides the set so that every split has every class"
        findings.append(
            Finding("split.class_missing_in_train", "error", message, _evidence(snapshot, untrained), advice)
        )
    for split in snapshot.measured_parts:
        absent = [index for index, n in counts["train"].items() if n and not counts[split][index]]
        if absent:
            message = f"{_classes(snapshot, absent)} no box in {split}: nothing tells how well it is found"
            advice = "data.splits=new divides the set so that every split has every class; or label more pictures"
            evidence = {**_evidence(snapshot, absent), "split": split}
            findings.append(Finding(f"split.class_missing_in_{split}", "warning", message, evidence, advice))
    return findings


def rare_classes(snapshot: Snapshot) -> list[Finding]:
    """Find classes that few training pictures show."""
    rows = snapshot.per_class.filter((pl.col("part") == snapshot.training_part) & (pl.col("boxes") > 0))
    findings = []
    levels: tuple[tuple[str, Severity, int, int], ...] = (("rare", "warning", 0, RARE), ("few", "info", RARE, COMMON))
    for word, severity, above, most in levels:
        found = rows.filter((pl.col("pictures") > above) & (pl.col("pictures") <= most)).sort("pictures")
        if found.is_empty():
            continue
        pictures = {snapshot.names[row["class_id"]]: row["pictures"] for row in found.to_dicts()}
        boxes = {snapshot.names[row["class_id"]]: row["boxes"] for row in found.to_dicts()}
        words = listed_names([f"{name} {count}" for name, count in pictures.items()])
        message = f"{counted(len(pictures), 'class', 'classes')} with at most {most} training pictures: {words}"
        advice = "more pictures of them help more than anything else"
        evidence = {"count": len(pictures), "classes": boxes, "training_pictures": pictures}
        findings.append(Finding(f"classes.{word}_pictures", severity, message, evidence, advice))
    return findings


def few_measured(snapshot: Snapshot) -> list[Finding]:
    """Find classes with so few boxes in val or test that their score means nothing."""
    findings = []
    for split in snapshot.measured_parts:
        counts = {snapshot.names[i]: n for i, n in snapshot.counts(split).items() if 0 < n < FEW_MEASURED}
        if counts:
            few = listed_names([f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: item[1])])
            message = f"{split} has fewer than {FEW_MEASURED} boxes of {few}: the score of such a class is luck"
            advice = "read the intervals in the evaluation; more pictures, or a larger share for this split"
            evidence = {"count": len(counts), "classes": counts, "split": split}
            findings.append(Finding(f"split.few_boxes_in_{split}", "warning", message, evidence, advice))
    return findings


def balance(snapshot: Snapshot) -> list[Finding]:
    """Compare the largest class with the smallest one that has training boxes.

    `evenness` is the effective number of classes, e to the entropy of their shares (Hill's number), over their number:
    1 where all have equally many boxes.
    """
    counts = {index: n for index, n in snapshot.counts(snapshot.training_part).items() if n}
    if len(counts) < 2:
        return []
    numbers = np.array(list(counts.values()), np.float64)
    ratio = float(numbers.max() / numbers.min())
    if ratio < UNEVEN:
        return []
    largest, smallest = max(counts, key=lambda i: counts[i]), min(counts, key=lambda i: counts[i])
    share = numbers / numbers.sum()
    evenness = float(np.exp(-(share * np.log(share)).sum()) / len(share))
    message = (
        f"{snapshot.names[largest]} has {counts[largest]:,} training boxes, {snapshot.names[smallest]} "
        f"{counts[smallest]:,}: {ratio:,.0f} times as many"
    )
    advice = "read the score of each class, not their mean alone; train.cls_pw=0.5 gives rare classes more weight"
    evidence = {
        "classes": {snapshot.names[i]: n for i, n in sorted(counts.items(), key=lambda item: -item[1])},
        "ratio": plain(ratio, 1),
        "evenness": plain(evenness),
    }
    severity: Severity = "warning" if ratio >= VERY_UNEVEN else "info"
    return [Finding("classes.uneven", severity, message, evidence, advice)]


def names_alike(snapshot: Snapshot) -> list[Finding]:
    """Find class names that differ only by case, blanks, underscores, hyphens or a plural s."""
    plain_names = [_folded(name) for name in snapshot.names]
    present = set(plain_names)
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(plain_names):
        single = name[:-1] if name.endswith("s") and len(name) > SHORTEST_PLURAL and name[:-1] in present else name
        groups.setdefault(single, []).append(index)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    total = {part: snapshot.counts(part) for part in snapshot.per_part["part"]}
    boxes = [sum(counts[index] for counts in total.values()) for index in range(len(snapshot.names))]
    sets = [[f"'{snapshot.names[i]}' ({boxes[i]:,} boxes)" for i in group] for group in alike]
    message = f"class names that look like one: {'; '.join(' and '.join(names) for names in sets)}"
    first = alike[0]
    advice = (
        f"merge them if they mean the same: data.remap={{'{snapshot.names[first[1]]}': '{snapshot.names[first[0]]}'}}"
    )
    evidence = {"count": len(alike), "names": [[snapshot.names[i] for i in group] for group in alike]}
    return [Finding("names.alike", "warning", message, evidence, advice)]


def _folded(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_-]+", "", folded) or folded


def _classes(snapshot: Snapshot, indices: list[int]) -> str:
    names = listed_names([snapshot.names[index] for index in indices])
    return f"{names} has" if len(indices) == 1 else f"{counted(len(indices), 'class', 'classes')} ({names}) have"


def _evidence(snapshot: Snapshot, indices: list[int]) -> dict[str, object]:
    return {"count": len(indices), "classes": [snapshot.names[index] for index in indices]}
