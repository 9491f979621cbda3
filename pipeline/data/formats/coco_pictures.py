"""The pictures that COCO files name, and the folders in which tools put them."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...findings import Finding
from ..raw import ROWS_NAMED
from .folder_listing import Pictures, claim
from .label_text import is_text, shown


@dataclass
class FilePictures:
    """The pictures of one COCO file, in its order.

    Args:
        file: the COCO file.
        paths: relative to the dataset's root.
        widths, heights: in pixels as stated, or None.
        index: place in these lists by picture id.
        malformed: records that name no picture.
        shared_ids: ids of two pictures.
        present: number of pictures that are there.
        missing: names, as stated, of pictures that are in none of the usual folders, by their place in these lists.
        found: paths of those that `find_below` found.
        tried: folders that were looked in.
    """

    file: Path
    paths: list[str] = field(default_factory=list)
    widths: list[int | None] = field(default_factory=list)
    heights: list[int | None] = field(default_factory=list)
    index: dict[Any, int] = field(default_factory=dict)
    malformed: list[str] = field(default_factory=list)
    shared_ids: list[str] = field(default_factory=list)
    present: int = 0
    missing: dict[int, str] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    tried: tuple[Path, ...] = ()

    def absent_text(self) -> str:
        """Say where the pictures were looked for."""
        tried = ", ".join(str(place) for place in self.tried)
        found = f"{self.file}: {len(self.paths)} pictures, such as {self.paths[0]}"
        return f"{found}; looked in {tried}, and for their names below"

    def malformed_text(self) -> str:
        """Say what a record should have."""
        example = f", found {self.malformed[0]}" if self.malformed else ""
        return f"the list 'images' needs records with 'id' and 'file_name'{example}"


def file_pictures(file: Path, records: Sequence[Any], root: Path, split: str) -> FilePictures:
    """Read the list `images` of a file, and find the folder of the pictures.

    Raises:
        DataError: a name leads out of the dataset's folder.
    """
    found = FilePictures(file)
    names: list[str] = []
    for record in records:
        name = _name(file, record)
        if name is None:
            found.malformed.append(shown(record))
            continue
        place = found.index.setdefault(record["id"], len(names))
        if place == len(names):
            names.append(name)
            found.widths.append(_side(record.get("width")))
            found.heights.append(_side(record.get("height")))
        elif names[place] != name:
            found.shared_ids.append(shown(record["id"]))
    base, absent, found.tried = _picture_folder(file, root, split, names)
    prefix = base.relative_to(root).as_posix()
    found.paths = [posixpath.normpath(f"{prefix}/{name}") for name in names]
    found.missing = {place: name for place, name in enumerate(names) if posixpath.normpath(name) in absent}
    found.present = len(set(map(posixpath.normpath, names))) - len(absent)
    return found


def find_below(pictures: Sequence[FilePictures], root: Path) -> None:
    """Look for pictures that are in none of the usual folders in all folders below the root, by name and folders.

    A picture is taken where a name leaves no doubt, and no other entry has it. Linked folders are not followed.

    Args:
        pictures: of all files; what is found changes them.
        root: the dataset's folder.
    """
    missing = [(one, place, name) for one in pictures for place, name in one.missing.items()]
    if not missing:
        return
    taken = {path for one in pictures for path in set(one.paths) - {one.paths[place] for place in one.missing}}
    wanted = {posixpath.basename(name).casefold() for _, _, name in missing}
    free: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        inside = Path(folder).relative_to(root).as_posix()
        paths = (posixpath.normpath(f"{inside}/{name}") for name in sorted(files) if name.casefold() in wanted)
        free.extend(path for path in paths if is_text(path) and path not in taken and os.path.isfile(root / path))
    claims = claim([[name] for _, _, name in missing], Pictures(free))
    owners: dict[str, set[str]] = {}
    for (one, place, _), path in zip(missing, claims, strict=True):
        owners.setdefault(path or "", set()).add(one.paths[place])
    for (one, place, _), path in zip(missing, claims, strict=True):
        if path is not None and len(owners[path]) == 1:  # two files may give two pictures one name
            one.paths[place] = path
            one.found.append(path)
            one.present += 1


def _name(file: Path, record: Any) -> str | None:
    """Return a picture's relative name with forward slashes, or None where the record is no picture."""
    name = record.get("file_name") if isinstance(record, dict) else None
    if not isinstance(name, str) or not name.strip() or not is_text(name) or "\0" in name:
        return None
    if type(record.get("id")) not in {int, float, str}:
        return None
    name = name.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:/", name) or ".." in name.split("/"):
        raise DataError(f"{file}: the picture '{name}' lies outside of the dataset's folder; use relative names")
    return name


def _side(stated: Any) -> int | None:
    """Return a width or height as the file states it; nonsense counts as not stated, as the picture itself is asked."""
    return int(stated) if type(stated) in {int, float} and 0 < stated < 2**32 else None


def _picture_folder(
    file: Path, root: Path, split: str, names: Sequence[str]
) -> tuple[Path, set[str], tuple[Path, ...]]:
    """Return the folder that holds most of the pictures, out of the places where tools put them.

    Returns:
        The folder, the names of the pictures that are not in it, and all folders that were looked in.
    """
    here = file.parent
    stem = file.stem.removeprefix("instances_")
    places = [here, here / "images", here / stem, here / "images" / stem, root, root / "images", root / stem]
    places += [root / "images" / stem, root / split, root / "images" / split]
    inside = [place for place in dict.fromkeys(places) if place.is_relative_to(root)]
    tried = [place for place in inside if os.path.isdir(place) and is_text(str(place.relative_to(root)))]
    by_folder: dict[str, set[str]] = {}
    for name in names:
        folder, last = posixpath.split(posixpath.normpath(name))
        by_folder.setdefault(folder, set()).add(last)
    best, fewest = tried[0], {posixpath.normpath(name) for name in names}
    for place in tried:
        absent = {
            posixpath.join(folder, name)
            for folder, wanted in by_folder.items()
            for name in wanted - _files_in(place / folder)
        }
        if len(absent) < len(fewest):
            best, fewest = place, absent
        if not absent:
            break
    return best, fewest, tuple(tried)


def _files_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder: one look at the folder instead of one at each file."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:  # not there, or no folder
        return set()


def findings_of(pictures: Sequence[FilePictures]) -> list[Finding]:
    """Say what is wrong with lists of pictures; single pictures that are missing are for the intake to tell."""
    findings = []
    for one in pictures:
        if one.paths and not one.present:
            evidence = {"count": len(one.paths), "pictures": one.paths[:ROWS_NAMED]}
            message = f"none of the pictures is there: {one.absent_text()}"
            findings.append(Finding("images.missing", "error", message, evidence, "put them into one of these folders"))
    elsewhere = [path for one in pictures for path in one.found]
    if elsewhere:
        message = (
            f"{len(elsewhere)} pictures lie in other folders than the label files say, and were found by their names"
        )
        evidence = {"count": len(elsewhere), "pictures": elsewhere[:ROWS_NAMED]}
        findings.append(
            Finding("images.found_by_name", "info", message, evidence, "look whether they are the right ones")
        )
    malformed = [(one, text) for one in pictures for text in one.malformed]
    if malformed:
        message = f"{len(malformed)} entries of the list 'images' have no 'id' or no 'file_name' and were left out"
        evidence = {"count": len(malformed), "files": [f"{one.file.name}: {text}" for one, text in malformed[:10]]}
        findings.append(Finding("images.not_parsed", "warning", message, evidence, "export the labels again"))
    shared = [(one, key) for one in pictures for key in one.shared_ids]
    if shared:
        message = f"{len(shared)} picture ids stand for two pictures each; nothing tells whose their boxes are"
        evidence = {"count": len(shared), "files": [f"{one.file.name}: id {key}" for one, key in shared[:10]]}
        findings.append(Finding("images.shared_id", "error", message, evidence, "give every picture its own id"))
    return findings
