"""One label file for many pictures (CVAT, Label Studio): which picture each entry means, and what is left over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...findings import Finding
from ..raw import ROWS_NAMED
from .folder_listing import Pictures, claim, split_of, split_word
from .label_files import no_picture, refuse_lost
from .label_rows import LabelRows


def resolve(rows: LabelRows, names: Sequence[Sequence[str]], pictures: Pictures, root: Path) -> list[Finding]:
    """Find the picture of each entry and settle its split: stated, of a folder, of the label file's name, else train.

    Args:
        rows: entries get their `path` and `split`.
        names: for each entry the names that its picture may have, the likeliest first.
        pictures: below the dataset's folder; nothing outside is ever looked at.
        root: the dataset's folder, for messages.

    Raises:
        DataError: not a single picture is there.
    """
    for entry, path in zip(rows.entries, claim(names, pictures), strict=True):
        entry.path = path
        if path is not None and entry.split is None:
            stem = os.path.splitext(entry.file.rpartition("/")[2])[0]
            entry.split = split_of(path) or split_of(entry.file) or split_word(stem) or "train"
    refuse_lost(rows, pictures, root)
    return no_picture(rows)


def not_listed(rows: LabelRows, pictures: Pictures) -> list[Finding]:
    """Tell of pictures in the folder that no label file lists: they are left out."""
    known = {entry.path for entry in rows.entries}
    rest = [path for path in pictures.paths if path not in known]
    if not rest:
        return []
    message = f"{len(rest)} of {len(pictures.paths)} pictures in the folder are in no label file and were left out"
    evidence = {"count": len(rest), "pictures": rest[:ROWS_NAMED]}
    advice = "nothing to do if they belong to another task; else export the labels again, with all pictures"
    return [Finding("images.not_listed", "warning", message, evidence, advice)]
