"""One label file per picture (Pascal VOC, LabelMe): which files and pictures belong together, and what is left over."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from ...errors import DataError
from ...findings import Finding
from ..raw import ROWS_NAMED
from .folder_listing import Pictures, claim, parts_of, split_of, stem_of
from .label_rows import LabelRows, file_finding
from .label_text import shown


def pair(rows: LabelRows, pictures: Pictures) -> list[Finding]:
    """Find the picture of each entry: by the label file's own name and place, then by the name that it states, then by
    its own name in any folder. What is found second or third never takes a picture that has a label file.

    Returns what a person should know: names that differ, files without picture, pictures of two files.
    """
    shared: list[str] = []
    for entry in rows.entries:
        found = pictures.of_label_file(entry.file)
        if len(found) > 1:  # they differ in their suffix: a.jpg and a.png
            stated = (parts_of(entry.name) or [""])[-1].casefold()
            named = [path for path in found if path.rpartition("/")[2].casefold() == stated]
            if len(named) != 1:
                shared.append(entry.file)
            found = named if len(named) == 1 else found[:1]
        entry.path = found[0] if found else None
    _pair_the_rest(rows, pictures)
    findings = [*_other_names(rows), *_two_files(rows), *no_picture(rows)]
    if shared:
        message = f"{len(shared)} label files stand for two pictures each, which differ in their suffix alone"
        advice = "rename one picture of each pair, or state its name in the label file"
        findings.append(file_finding("labels.shared_file", "error", message, shared, advice))
    return findings


def _pair_the_rest(rows: LabelRows, pictures: Pictures) -> None:
    rest = [entry for entry in rows.entries if entry.path is None]
    if not rest:
        return
    broken = {path for file, _, _ in rows.broken for path in pictures.of_label_file(file)}
    taken = {entry.path for entry in rows.entries} | broken
    free = Pictures(path for path in pictures.paths if path not in taken)
    for entry, path in zip(rest, claim([[entry.name] for entry in rest], free), strict=True):
        entry.path = path
    rest = [entry for entry in rest if entry.path is None]
    taken = {entry.path for entry in rows.entries}
    wanted = Counter(stem_of(entry.file).casefold() for entry in rest)
    for entry in rest:
        stem = stem_of(entry.file)
        if wanted[stem.casefold()] == 1:
            found = [path for path in free.of_stem(stem) if path not in taken]
            entry.path = found[0] if len(found) == 1 else None


def set_splits(rows: LabelRows) -> None:
    """Set the split of entries that state none: by the folders of the picture, then of the label file, else train."""
    for entry in rows.entries:
        if entry.split is None and not entry.listed and entry.path is not None:
            entry.split = split_of(entry.path) or split_of(entry.file) or "train"


def left_over(rows: LabelRows, pictures: Pictures) -> list[str]:
    """Return the pictures without label file; those whose label file is broken are not among them."""
    known = {entry.path for entry in rows.entries}
    known |= {path for file, _, _ in rows.broken for path in pictures.of_label_file(file)}
    return [path for path in pictures.paths if path not in known]


def refuse_unreadable(rows: LabelRows, root: Path, form: str) -> None:
    """Raise DataError where not one label file can be read; `form` is what such a file is called."""
    if rows.entries:
        return
    if not rows.broken:
        raise DataError(f"{root}: no {form} file found")
    file, line, why = rows.broken[0]
    where = f"{root / file}:{line}" if line else f"{root / file}"
    rest = f" ({len(rows.broken)} files are broken)" if len(rows.broken) > 1 else ""
    raise DataError(f"{where}: {why}; export it again{rest}")


def refuse_lost(rows: LabelRows, pictures: Pictures, root: Path) -> None:
    """Raise DataError where not a single picture that the label files tell of is there."""
    if any(entry.path for entry in rows.entries):
        return
    entry = rows.entries[0]
    raise DataError(
        f"{root}: none of the {len(rows.entries)} labelled pictures is there, for instance not "
        f"'{shown(entry.name)}' of {entry.file}; {len(pictures.paths)} pictures were found below the folder. "
        "Put the labelled pictures there; nothing is fetched from elsewhere"
    )


def _other_names(rows: LabelRows) -> list[Finding]:
    other = [
        entry.file
        for entry in rows.entries
        if entry.path and (parts_of(entry.name) or [""])[-1].casefold() != entry.path.rpartition("/")[2].casefold()
    ]
    if not other:
        return []
    message = f"{len(other)} label files state another name than the picture has that they were paired with"
    return [file_finding("labels.other_name", "info", message, other, "look whether boxes and pictures fit")]


def _two_files(rows: LabelRows) -> list[Finding]:
    files: dict[str, list[str]] = defaultdict(list)
    for entry in rows.entries:
        if entry.path:
            files[entry.path].append(entry.file)
    several = {path: names for path, names in files.items() if len(names) > 1}
    if not several:
        return []
    message = f"{len(several)} pictures have more than one label file; the boxes of all of them are used"
    named = [file for names in several.values() for file in names][:ROWS_NAMED]
    evidence = {"count": len(several), "pictures": list(several)[:ROWS_NAMED], "files": named}
    return [Finding("labels.two_files", "warning", message, evidence, "remove the files that are out of date")]


def no_picture(rows: LabelRows) -> list[Finding]:
    """Tell of entries whose picture is not there, with the boxes that are lost."""
    lost = [number for number, entry in enumerate(rows.entries) if entry.path is None]
    if not lost:
        return []
    boxes = rows.boxes_of()
    files = [f"{rows.entries[number].file} ({shown(rows.entries[number].name)})" for number in lost]
    count = sum(boxes[number] for number in lost)
    message = f"{len(lost)} labelled pictures are not there; {count} boxes were left out with them"
    return [file_finding("labels.no_picture", "warning", message, files, "put the pictures below the folder")]
