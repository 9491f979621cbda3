"""What lies below a dataset's folder, each folder listed once, and which picture a label file belongs to.

Names are compared without case: a set that was made on Windows or macOS pairs `A.JPG` with `a.xml`.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from ..images import PICTURE_SUFFIXES
from .label_text import is_text, printable

# Folders that say what kind of file lies in them, not which picture it is: a label file in `labels/x` belongs to the
# picture of the same stem in `images/x`.
ROLE_FOLDERS = frozenset(
    "images image img imgs jpegimages pictures photos data annotations annotation ann anns labels label xml xmls json "
    "jsons voc labelme".split()
)
_LABEL_FOLDERS = frozenset({"annotations", "labels", "json", "jsons", "xml", "xmls"})
# What folders, files and tools call the splits.
SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_WORDS |= {"test": "test", "testing": "test"}
_DEEPEST = 64  # folders in one another that a stated path is compared with
_MANY = 100  # pictures of one name, from which on it is not worth looking which of them a name fits best
_RUN_FILES = frozenset({"environment.json", "config.yaml"})  # of a run of this program, which is no part of a dataset


@dataclass(frozen=True)
class Listing:
    """Files below a folder, by their relative paths with forward slashes, sorted.

    Args:
        root: the folder.
        pictures: files whose suffix is a picture's.
        files: files of the other suffixes that were asked for.
        odd_names: pictures and files whose names are not UTF-8 text, spelt with escapes; they are in no other list.
    """

    root: Path
    pictures: tuple[str, ...]
    files: tuple[str, ...]
    odd_names: tuple[str, ...] = ()

    def of_suffix(self, suffix: str) -> list[str]:
        """Return the files of one suffix, which is in lower case."""
        return [file for file in self.files if file.lower().endswith(suffix)]


def list_below(root: Path, suffixes: Collection[str]) -> Listing:
    """List pictures and files of these suffixes (lower case) below a folder; hidden ones and runs are left out.

    Raises:
        DataError: a folder cannot be listed.
    """
    pictures: list[str] = []
    files: list[str] = []
    odd: list[str] = []
    for folder, names in _walk(root):
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            kind = pictures if suffix in PICTURE_SUFFIXES else files if suffix in suffixes else None
            if kind is not None:
                path = folder + name
                (kind if is_text(path) else odd).append(printable(path))
    return Listing(root, tuple(sorted(pictures)), tuple(sorted(files)), tuple(sorted(odd)))


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Give each folder, as "" or "a/b/", with its files; linked folders are followed once, and never back up."""
    real_root = os.path.realpath(root)
    linked = {real_root}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        files, folders = [], []
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    if entry.is_dir():
                        if entry.is_symlink() and not _new_place(entry.path, real_root, linked):
                            continue
                        folders.append(f"{folder}{entry.name}/")
                    elif entry.is_file():
                        files.append(entry.name)
        except OSError as error:
            raise DataError(f"{root / folder}: cannot be listed ({error.strerror or error})") from error
        if folder and _RUN_FILES <= set(files):
            continue
        waiting.extend(folders)
        yield folder, files


def _new_place(link: str, real_root: str, linked: set[str]) -> bool:
    target = os.path.realpath(link)
    if target in linked or f"{real_root}/".startswith(f"{target}/") or target.startswith(f"{real_root}/"):
        return False  # above, or below where it is listed anyway
    linked.add(target)
    return True


def root_of(path: Path) -> Path:
    """Return the dataset's folder: the path itself, or the one around a label file and its pictures."""
    if path.is_dir():
        return path
    return path.parent.parent if path.parent.name.lower() in _LABEL_FOLDERS else path.parent


def sample_files(path: Path, suffix: str) -> list[Path]:
    """Return a few files of a suffix that a file or folder holds, to look into: 20 a folder, three folders deep."""
    if path.is_file():
        return [path] if path.suffix.lower() == suffix else []
    found: list[Path] = []
    for folder, names in _shallow(path):
        found.extend(path / folder / name for name in sorted(n for n in names if n.lower().endswith(suffix))[:20])
        if len(found) >= 200:
            break
    return found


def _shallow(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Give a folder and those below it, the upper ones first, without links, 1,000 at most."""
    level = [""]
    for _ in range(4):
        below: list[str] = []
        for folder in level:
            files = []
            try:
                with os.scandir(path / folder) as entries:
                    for entry in entries:
                        if entry.name.startswith(".") or entry.name == "__MACOSX" or not is_text(entry.name):
                            continue
                        if entry.is_dir():
                            below.append(f"{folder}{entry.name}/")
                        else:
                            files.append(entry.name)
            except OSError:
                continue  # the reader says what is wrong
            if not (folder and _RUN_FILES <= set(files)):
                yield folder, files
        level = sorted(below)[:1000]


def split_of(path: str) -> str | None:
    """Return the split that a folder on the way to a file names, such as `valid` or `train_images`, or None."""
    for part in path.split("/")[:-1]:
        words = [word for word in re.findall("[a-z]+", part.lower()) if word not in ROLE_FOLDERS and word != "set"]
        if len(words) == 1 and words[0] in SPLIT_WORDS:
            return SPLIT_WORDS[words[0]]
    return None


def split_word(text: str) -> str | None:
    """Return the split that a word names, such as "Validation", or None."""
    return SPLIT_WORDS.get(text.strip().lower())


class Pictures:
    """The pictures of a listing, to be looked up by the place or the name that a label file gives.

    Args:
        paths: relative paths.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = tuple(paths)
        self._by_place: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_tail: dict[str, list[str]] = defaultdict(list)  # "c.png", "b/c.png", "a/b/c.png"
        self._by_whole: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            folded = path.casefold()
            place = os.path.splitext(folded)[0]
            self._by_place[_roleless(place)].append(path)
            self._by_stem[place.rpartition("/")[2]].append(path)
            self._by_whole[_roleless(folded)].append(path)
            self._by_tail[folded].append(path)
            while "/" in folded:
                folded = folded.partition("/")[2]
                self._by_tail[folded].append(path)

    def of_label_file(self, file: str) -> list[str]:
        """Return the pictures that a label file may belong to by its own name and place: none, one, or several that
        differ in their suffix alone. One beside it wins over one in a sister folder, the same case over another.
        """
        inner = os.path.splitext(file)[0]
        found = self._by_place.get(_roleless(inner.casefold())) or self._by_whole.get(_roleless(inner.casefold()), [])
        folder, _, stem = inner.rpartition("/")
        for better in (
            [path for path in found if path.rpartition("/")[0] == folder],
            [path for path in found if os.path.splitext(path.rpartition("/")[2])[0] == stem],
        ):
            found = [path for path in found if path in better] or found
        return found

    def named(self, name: str) -> tuple[list[str], int]:
        """Return the pictures whose path ends like a stated one, as far back as possible, and how many parts agree.

        One picture, or several that agree equally well; of those, one whose whole path is the stated one wins.
        """
        parts = parts_of(name)[-_DEEPEST:]
        wanted = [part.casefold() for part in parts]
        for length in range(len(wanted), 0, -1):
            found = self._by_tail.get("/".join(wanted[-length:]))
            if found:
                break
        else:
            return [], 0
        if len(found) > 1:
            same_case = [path for path in found[:_MANY] if path.rpartition("/")[2] == parts[-1]]
            found = same_case if same_case and len(found) <= _MANY else found
            whole = self._by_whole.get(_roleless("/".join(wanted)), [])
            found = [path for path in whole if len(found) > _MANY or path in found] or found
        return found, length

    def of_stem(self, stem: str) -> list[str]:
        """Return the pictures of this stem, in any folder."""
        return self._by_stem.get(stem.casefold(), [])


def claim(names: Sequence[Sequence[str]], pictures: Pictures) -> list[str | None]:
    """Find the picture of each entry of a label file by the names that it may have, the likeliest first.

    A picture goes to the name that agrees with most of its path. Where two different names have equal claims to it, or
    a name fits two pictures equally well, nobody can say which is meant, and the answer is None.
    """
    claims: list[tuple[str, int, str] | None] = []
    best: dict[str, int] = {}
    for candidates in names:
        found = None
        for name in candidates:
            matches, length = pictures.named(name)
            if matches:
                found = (matches[0], length, "/".join(parts_of(candidates[0]))) if len(matches) == 1 else None
                break
        claims.append(found)
        if found:
            best[found[0]] = max(best.get(found[0], 0), found[1])
    owners: dict[str, set[str]] = defaultdict(set)
    for one in claims:
        if one and one[1] == best[one[0]]:
            owners[one[0]].add(one[2])
    return [one[0] if one and one[1] == best[one[0]] and len(owners[one[0]]) == 1 else None for one in claims]


def parts_of(name: str) -> list[str]:
    """Return the parts of a stated path that can lie below a folder: without drive, root, `.` and `..`."""
    parts = name.replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..") and not re.fullmatch("[A-Za-z]:", part)]


def stem_of(name: str) -> str:
    """Return the last part of a stated path without its suffix."""
    return os.path.splitext((parts_of(name) or [""])[-1])[0]


def _roleless(path: str) -> str:
    """Return a path in lower case without the folders that only say what kind of file lies in them."""
    *folders, name = path.split("/")
    return "/".join([*(folder for folder in folders if folder not in ROLE_FOLDERS), name])
