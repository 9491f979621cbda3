"""Boxes that mark nothing: what lies in them cannot be told from what lies elsewhere in the same pictures.

That is judged by a linear discriminant of plain features that never saw the pictures it is tested on. It knows less
than a network will, so nothing is said where it merely does badly: only where it does no better than with the boxes of
other pictures, or where it does well with one mistake undone.
"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from ...findings import Finding
from ..label_discriminant import Share
from ..label_explanations import LEAST_PICTURES, ONE_SIDED, PartLooks
from ..raw import ROWS_NAMED
from .evidence import counted, plain
from .snapshot import PARTS, WHOLE_SET, Snapshot

# All limits were set on the seeds 0 to 4 of benchmarks/label_looks.py; docs/benchmarks/label_looks.md has the others.
# A mistake is named where boxes without it are told apart this much more often, by so many standard errors, and well.
GAIN = 0.15
CERTAIN = 4.0  # standard errors: one in 30,000, for seven mistakes and three splits
TOLD = 0.7
# Without one, boxes mark nothing where they are not told apart more often than those of pictures far away: the chance
# of as much is above 1 %, and even at the upper end of the interval it is less than this.
NO_BETTER = 2.33  # standard errors
AT_MOST = 0.2

_WORDS = {
    "axes": "with x and y exchanged they do",
    "mirrored": "mirrored, left for right, they do",
    "upside_down": "mirrored, top for bottom, they do",
    "next": "with the labels of the next picture in the order of names they do",
    "previous": "with the labels of the picture before in the order of names they do",
    "corners_as_centre": "as rows x1 y1 x2 y2 do that are read as centre and size",
    "corners_as_size": "as rows x1 y1 x2 y2 do that are read as corner and size",
}
_ADVICE = {
    "axes": "exchange x and y, width and height in the label files, or in the converter that wrote them",
    "mirrored": "mirror the labels, x becomes 1 - x, or take the pictures that were labelled",
    "upside_down": "turn the labels over, y becomes 1 - y, or count y from the top in the converter that wrote them",
    "next": "pair labels and pictures by name, not by their places in two lists: one list has an entry more",
    "previous": "pair labels and pictures by name, not by their places in two lists: one list has an entry more",
    "corners_as_centre": "write x_centre y_centre width height in each row, as fractions of the picture",
    "corners_as_size": "write x y width height in each row",
}
_UNEXPLAINED = (
    "look at some of these pictures with their boxes (tuneup audit DATA --page audit.html): label files may belong to "
    "other pictures, or coordinates to pictures of another size or cut; keep them if objects this faint are meant"
)


def not_on_objects(snapshot: Snapshot) -> list[Finding]:
    """Find parts whose boxes cannot be told from other places of their pictures, and the mistake that explains it."""
    labels = snapshot.facts.labels if snapshot.facts is not None else None
    found = [part for part in labels.parts if misplaced(part)] if labels is not None else []
    by_mistake: dict[str | None, list[PartLooks]] = {}
    for part in sorted(found, key=lambda part: PARTS.index(part.part)):
        by_mistake.setdefault(_mistake(part), []).append(part)
    findings = []
    for mistake, parts in by_mistake.items():
        names = [part.part for part in parts]
        assert labels is not None
        pictures = labels.looks.boxes.filter(pl.col("part") == names[0])["path"].unique(maintain_order=True)
        evidence = {
            "parts": names,
            "explanation": mistake,
            "told_apart": {part.part: _plain(part.told) for part in parts},
            "again": {part.part: {name: _plain(share) for name, share in _again(part).items()} for part in parts},
            "pictures": pictures.head(ROWS_NAMED).to_list(),
        }
        advice = _UNEXPLAINED if mistake is None else _ADVICE[mistake]
        findings.append(Finding("labels.not_on_objects", "warning", _message(mistake, parts), evidence, advice))
    return findings


def _message(mistake: str | None, parts: list[PartLooks]) -> str:
    without = "" if mistake is None else _percents({part.part: (part.tried or {})[mistake] for part in parts})
    if mistake is not None and mistake.startswith("corners"):
        where = ", ".join(part.part for part in parts if part.part != WHOLE_SET)
        return (
            f"the boxes{' of ' + where if where else ''} grow with their distance from the upper left corner, "
            f"{_WORDS[mistake]}; as corners they are told from other places of the same pictures ({without})"
        )
    words = (
        "what lies in the boxes cannot be told from other places of the same pictures "
        f"({_percents({part.part: part.told for part in parts})}; 50 % is chance): the labels do not belong to what "
        "the pictures show"
    )
    return words if mistake is None else f"{words}; {_WORDS[mistake]} ({without})"


def _again(part: PartLooks) -> dict[str, Share]:
    """Return all that was found on the pictures that were read again."""
    found = {"given": part.given, "boxes_of_other_pictures": part.reference, **(part.tried or {})}
    return {name: share for name, share in found.items() if share is not None}


def misplaced(part: PartLooks) -> bool:
    """Whether the boxes of a part do not lie on what they should."""
    return _mistake(part) is not None or _mark_nothing(part)


def _mistake(part: PartLooks) -> str | None:
    """Return the mistake without which boxes are told from other places, if there is one."""
    if not part.tried or part.given is None:
        return None
    name, share = max(part.tried.items(), key=lambda item: item[1].value)
    if share.value < TOLD:
        return None
    if name.startswith("corners"):  # tried only where nearly all boxes' sizes and places are such
        return name if share.value - NO_BETTER * share.error > 0.5 else None
    gain = share.value - part.given.value
    return name if gain > max(GAIN, CERTAIN * math.hypot(share.error, part.given.error)) else None


def _mark_nothing(part: PartLooks) -> bool:
    if part.given is None or part.reference is None or part.given.pictures < LEAST_PICTURES:
        return False
    if part.told.value + ONE_SIDED * part.told.error >= part.reference.value + AT_MOST:
        return False
    better, error = part.given.value - part.reference.value, math.hypot(part.given.error, part.reference.error)
    return better < NO_BETTER * error and better + ONE_SIDED * error < AT_MOST


def _percents(shares: dict[str, Share]) -> str:
    """Return `train 52 % of 160 pairs, val 47 % of 60 pairs`."""
    words = [(part, f"{100 * share.value:.0f} % of {counted(share.count, 'pair')}") for part, share in shares.items()]
    return ", ".join(text if part == WHOLE_SET else f"{part} {text}" for part, text in words)


def _plain(share: Share) -> dict[str, Any]:
    return {
        "share": plain(share.value),
        "error": plain(share.error),
        "count": share.count,
        "pictures": share.pictures,
    }
