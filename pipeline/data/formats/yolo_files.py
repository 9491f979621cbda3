"""Pictures and their label files: what lies in which folder, and what belongs to what.

Each folder is listed once; names are then looked up in the listing. Asking the disk for each candidate by itself takes
minutes for 100,000 pictures on a network drive.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ...errors import DataError
from ..images import PICTURE_SUFFIXES
from .label_text import printable

CLASS_LISTS = frozenset({"classes.txt", "predefined_classes.txt"})  # LabelImg and Label Studio put one among the labels


class Picture(NamedTuple):
    """A picture of a split: the absolute path of its folder, and its name in it."""

    split: str
    folder: str
    name: str

    @property
    def path(self) -> str:
        """The absolute path; this is asked a million times, and `os.path.join` takes five times as long."""
        return f"{self.folder}{os.sep}{self.name}"


@dataclass(frozen=True)
class Folder:
    """What lies in a folder; links count as what they lead to.

    Args:
        path: absolute.
        files: names of all files.
        folders: names of folders, sorted.
        links: names of files that are symbolic links.
    """

    path: str
    files: frozenset[str] = frozenset()
    folders: tuple[str, ...] = ()
    links: frozenset[str] = frozenset()

    @cached_property
    def pictures(self) -> list[str]:
        """Names of pictures, sorted; hidden files (such as macOS' `._x.jpg`) are none."""
        return sorted(name for name in self.files if is_picture_name(name))

    @cached_property
    def stems(self) -> frozenset[str]:
        """Names of the pictures without their suffix."""
        return frozenset(stem_of(name) for name in self.pictures)

    @cached_property
    def labels(self) -> list[str]:
        """Names of what may be label files, sorted."""
        return sorted(
            name
            for name in self.files
            if name[-4:].lower() == ".txt" and not name.startswith(".") and name.lower() not in CLASS_LISTS
        )

    @cached_property
    def labels_by_case(self) -> dict[str, list[str]]:
        """Names of label files by their stem as `_folded` spells it."""
        found: dict[str, list[str]] = {}
        for name in self.labels:
            found.setdefault(_folded(stem_of(name)), []).append(name)
        return found


class Folders:
    """What lies in folders, each one read once."""

    def __init__(self) -> None:
        self._listings: dict[str, Folder] = {}
        self._real: dict[str, str] = {}

    def __getitem__(self, path: str) -> Folder:
        """Return what lies in a folder; nothing if there is none.

        Raises:
            DataError: the folder may not be read.
        """
        if path not in self._listings:
            self._listings[path] = _list(path)
        return self._listings[path]

    def holds(self, path: str) -> bool:
        """Whether a file stands there."""
        folder, name = os.path.split(path)
        return name in self[folder].files

    def real(self, path: str) -> str:
        """Return the folder's path with all links followed."""
        if path not in self._real:
            self._real[path] = os.path.realpath(path)
        return self._real[path]

    def below(self, path: str) -> Iterator[Folder]:
        """Yield a folder and all folders below it, also those behind links, none of them twice; hidden ones not."""
        waiting, seen = [path], set()
        while waiting:
            path = waiting.pop()
            if (real := self.real(path)) in seen:
                continue
            seen.add(real)
            yield (listing := self[path])
            visible = (name for name in reversed(listing.folders) if not name.startswith("."))
            waiting.extend(os.path.join(path, name) for name in visible)


def _list(path: str) -> Folder:
    files, folders, links = [], [], []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                kind = _kind(entry)
                if kind == "folder":
                    folders.append(entry.name)
                elif kind == "file":
                    files.append(entry.name)
                    if entry.is_symlink():
                        links.append(entry.name)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name that no file can have
        return Folder(path)
    except OSError as error:
        raise DataError(f"{printable(path)}: this folder cannot be read ({error.strerror or error})") from error
    return Folder(path, frozenset(files), tuple(sorted(folders)), frozenset(links))


def _kind(entry: os.DirEntry[str]) -> str | None:
    try:
        return "file" if entry.is_file() else "folder" if entry.is_dir() else None
    except OSError:  # a link in a circle, or to where nobody may look
        return None


def is_picture_name(name: str) -> bool:
    """Whether a name ends like a picture's and is not hidden."""
    return name[name.rfind(".") :].lower() in PICTURE_SUFFIXES and not name.startswith(".")


def stem_of(name: str) -> str:
    """Return the name of a file, which has one, without its last suffix."""
    return name[: name.rfind(".")]


def _folded(stem: str) -> str:
    """Return the stem without regard to case, and to the two ways in which systems write an accent."""
    return stem.lower() if stem.isascii() else unicodedata.normalize("NFC", stem).casefold()


@dataclass
class Pairs:
    """Which label file belongs to which picture.

    Args:
        labels: absolute path of the label file of each picture, or None.
        by_case: (picture, label file) whose names are equal only without regard to case.
        by_link: (picture, label file) found under the name that the picture's link leads to.
        orphans: label files that belong to no picture.
        shared: (label file, its pictures) where it has more than one.
    """

    labels: list[str | None]
    by_case: list[tuple[str, str]] = field(default_factory=list)
    by_link: list[tuple[str, str]] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    shared: list[tuple[str, list[str]]] = field(default_factory=list)


def label_places(folder: str) -> list[str]:
    """Return where the labels of a folder's pictures may lie: `images` becomes `labels` in its path, or beside them.

    Only the last folder called `images` counts, as in Ultralytics' `img2label_paths`.
    """
    head = folder
    tail: list[str] = []
    while (split := os.path.split(head))[1]:
        if split[1] == "images":
            return [os.path.join(split[0], "labels", *tail), folder]
        head, tail = split[0], [split[1], *tail]
    return [folder]


def pair(pictures: Sequence[Picture], folders: Folders) -> Pairs:
    """Find the label file of each picture; a picture that stands in two splits counts once.

    A name that is equal goes before one that differs in case, a label file under the picture's own name before one
    under the name that its link leads to.
    """
    places: dict[str, list[str]] = {}
    owners: dict[str, str] = {}  # label file: picture
    found: dict[str, str] = {}  # picture: label file
    shared: dict[str, list[str]] = {}
    left = []
    paths = [picture.path for picture in pictures]
    for path, (_, folder, name) in dict(zip(paths, pictures, strict=True)).items():
        if folder not in places:
            places[folder] = label_places(folder)
        label = _of_same_name(places[folder], stem_of(name) + ".txt", folders)
        if label is None:
            left.append((folder, name, path))
            continue
        found[path] = label
        if owners.setdefault(label, path) != path:
            shared.setdefault(label, [owners[label]]).append(path)
    pairs = Pairs([], shared=list(shared.items()))
    for folder, name, path in left:
        if label := _by_case(places[folder], name, owners, folders):
            pairs.by_case.append((path, label))
        elif label := _behind_link(folder, name, folders):
            pairs.by_link.append((path, label))
        else:
            continue
        found[path] = label
        owners.setdefault(label, path)
    pairs.labels = [found.get(path) for path in paths]
    pairs.orphans = _orphans(places, owners, folders)
    return pairs


def _of_same_name(places: Sequence[str], name: str, folders: Folders) -> str | None:
    for place in places:
        if name in folders[place].files:
            return f"{place}{os.sep}{name}"
    return None


def _by_case(places: Sequence[str], name: str, owners: dict[str, str], folders: Folders) -> str | None:
    """Return a free label file whose name differs in case only; one that differs in its suffix only goes first."""
    stem = stem_of(name)
    for place in places:
        names = folders[place].labels_by_case.get(_folded(stem), [])
        for label in sorted(names, key=lambda label: stem_of(label) != stem):
            if (path := os.path.join(place, label)) not in owners:
                return path
    return None


def _behind_link(folder: str, name: str, folders: Folders) -> str | None:
    """Return the label file of the picture that a link leads to; several links to one picture may all have it."""
    path = os.path.join(folder, name)
    real = os.path.realpath(path) if name in folders[folder].links else os.path.join(folders.real(folder), name)
    if real == path:
        return None
    place, target = os.path.split(real)
    places = label_places(place)
    return _of_same_name(places, stem_of(target) + ".txt", folders) or _by_case(places, target, {}, folders)


def _orphans(places: dict[str, list[str]], owners: dict[str, str], folders: Folders) -> list[str]:
    """Return label files without a picture, in folders of labels and where labels stand beside pictures.

    Beside pictures a text may be anything, a README too: there it has to begin like a row of numbers. A picture that
    is not part of the dataset, because a list leaves it out, keeps its label file from being one without picture.
    """
    pictures: dict[str, set[str]] = {}  # place of labels: stems of the pictures that may have them
    for folder, candidates in places.items():
        for place in candidates:
            pictures.setdefault(place, set()).update(folders[folder].stems)
    orphans = []
    for place, stems in pictures.items():
        beside = place in places
        for name in folders[place].labels:
            path = os.path.join(place, name)
            if stem_of(name) not in stems and path not in owners and not (beside and not _begins_like_a_row(path)):
                orphans.append(path)
    return orphans


def _begins_like_a_row(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            words = file.read(200).replace(b",", b" ").replace(b";", b" ").split()[:5]
        return len([float(word) for word in words]) == 5
    except (OSError, ValueError):
        return False
