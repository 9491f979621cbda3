"""The lists in ImageSets of a Pascal VOC dataset: which pictures are for training, validation and test."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ...findings import Finding
from ..images import PICTURE_SUFFIXES
from ..raw import ROWS_NAMED
from .folder_listing import SPLIT_WORDS, Listing, split_of
from .label_rows import LabelRows, file_finding
from .label_text import read_text

_LISTS = {**SPLIT_WORDS, "trainval": "train"}
_Lists = dict[str, dict[str, set[str]]]  # folder above ImageSets: stem of a picture: splits


def splits_of_lists(
    rows: LabelRows, listing: Listing, rest: Sequence[str]
) -> tuple[list[tuple[str, str | None]], list[Finding]]:
    """Set the splits of entries by the lists, where there are lists.

    `trainval` counts only for pictures that are in no other list. A picture in two lists gets an entry for each, which
    the intake reports. A picture in none gets no split if it is labelled, and is left out if it is not.

    Args:
        rows: with the pictures of their entries found.
        listing: of the dataset's folder.
        rest: pictures without label file.

    Returns (picture, split) of the pictures without label file that count as empty, and findings.
    """
    lists = _lists(listing)
    if not lists:
        return [(path, split_of(path) or "train") for path in rest], []
    alone: list[str] = []
    for number, entry in enumerate(tuple(rows.entries)):
        if entry.path is not None:
            splits = _splits(lists, entry.path)
            alone.extend([] if splits else [entry.path])
            rows.entries[number] = replace(entry, split=splits[0] if splits else None, listed=True)
            rows.entries.extend(replace(entry, split=split, listed=True) for split in splits[1:])
    unlabelled: list[tuple[str, str | None]] = [(path, split) for path in rest for split in _splits(lists, path)]
    findings = []
    if alone:
        message = f"{len(alone)} labelled pictures stand in none of the lists in ImageSets and belong to no split"
        evidence = {"count": len(alone), "pictures": alone[:ROWS_NAMED]}
        findings.append(Finding("split.not_listed", "warning", message, evidence, "add them to a list, or remove them"))
    missing = _missing(lists, listing)
    if missing:
        message = f"{len(missing)} names in the lists of ImageSets are no pictures that are there"
        advice = "put the pictures there, or remove the names"
        findings.append(file_finding("split.listed_missing", "warning", message, missing, advice))
    return unlabelled, findings


def _lists(listing: Listing) -> _Lists:
    found: _Lists = defaultdict(lambda: defaultdict(set))
    late: _Lists = defaultdict(lambda: defaultdict(set))
    for file in listing.of_suffix(".txt"):
        *folders, name = file.split("/")
        lower = [folder.lower() for folder in folders]
        list_name = name[:-4].lower()
        if "imagesets" in lower and lower[-1] in ("imagesets", "main") and list_name in _LISTS:
            base = "".join(f"{folder}/" for folder in folders[: lower.index("imagesets")])
            for stem in _stems(listing, file):
                (late if list_name == "trainval" else found)[base][stem].add(_LISTS[list_name])
    for base, stems in late.items():
        for stem, splits in stems.items():
            found[base].setdefault(stem, splits)
    return found


def _stems(listing: Listing, file: str) -> list[str]:
    """Return the stems that a list names: one in each line, at times with folder and suffix."""
    lines = read_text(str(listing.root / file)).text.split("\n")
    names = (line.strip().replace("\\", "/").rpartition("/")[2] for line in lines)
    return [_stem(name) for name in names if name]


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return (stem if suffix.lower() in PICTURE_SUFFIXES or suffix.lower() == ".xml" else name).casefold()


def _splits(lists: _Lists, path: str) -> list[str]:
    """Return the splits of a picture, by the lists of the nearest folder above it that has any."""
    bases = [base for base in lists if path.startswith(base)]
    stem = _stem(path.rpartition("/")[2])
    return sorted(lists[max(bases, key=len)].get(stem, ())) if bases else []


def _missing(lists: _Lists, listing: Listing) -> list[str]:
    stems = {_stem(path.rpartition("/")[2]) for path in listing.pictures}
    return sorted(f"{base}{stem}" for base, listed in lists.items() for stem in listed if stem not in stems)
