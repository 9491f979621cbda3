"""Where the pictures of a YOLO dataset are, by a data.yaml or by the names of its folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...findings import Finding
from ...sections import DataConfig
from ...yaml_source import MAX_BYTES, YamlDocument, parse_yaml
from ..images import listed
from ..raw import ROWS_NAMED
from .folder_listing import SPLIT_WORDS
from .label_text import printable, read_text
from .yolo_files import CLASS_LISTS, Folder, Folders, Picture, pair
from .yolo_names import Classes, classes_from_lists, classes_from_yaml
from .yolo_rows import parse_rows

_SPLIT_KEYS = ("train", "val", "valid", "test")  # of a data.yaml
_CVAT_FOLDER = re.compile(r"obj_([a-z]+)_data")  # of CVAT's "YOLO 1.1", with obj.names beside it
_FOLDERS_LOOKED_AT = 200  # to find out whether a folder holds a dataset; reading it looks at all of them
_FILES_LOOKED_AT = 100


@dataclass(frozen=True)
class Layout:
    """What a dataset consists of.

    Args:
        root: absolute folder that paths are relative to.
        pictures: of all splits, in the order of their names in each; a picture may be listed twice.
        classes: class names, or None where nothing lists them.
        findings: what was noticed.
        encodings: (name, encoding) of the text files that were read so far.
        keypoints: numbers of the keypoints that stand behind each box, 0 where there are none.
    """

    root: str
    pictures: list[Picture]
    classes: Classes | None
    findings: list[Finding]
    encodings: list[tuple[str, str]]
    keypoints: int = 0


def find_data_yaml(path: Path) -> list[Path]:
    """Return the data.yaml that a path names or a folder holds; any other YAML file counts if it has `train:`."""
    if os.path.isfile(path):
        return [path] if path.suffix.lower() in {".yaml", ".yml"} else []
    files = sorted(name for name in Folders()[str(path)].files if name.lower().endswith((".yaml", ".yml")))
    usual = [name for name in ("data.yaml", "data.yml", "dataset.yaml") if name in files]
    if usual:
        return [path / usual[0]]
    texts = ((name, read_text(str(path / name), MAX_BYTES).text) for name in files)
    return [path / name for name, text in texts if "\ntrain:" in "\n" + text][:1]


# ---- by a data.yaml -----------------------------------------------------------------------------------------------


def layout_of_yaml(file: Path, settings: DataConfig, folders: Folders) -> Layout:
    """Read a data.yaml.

    Raises:
        DataError: it cannot be read, has no class names, asks for a download, has a `kpt_shape` that is none, or none
            of its splits has pictures.
    """
    content = read_text(str(file), MAX_BYTES)
    if content.problem is not None:
        raise DataError(f"{printable(str(file))}: {content.problem}; save it as UTF-8 text")
    document = parse_yaml(content.text, printable(str(file)), DataError)
    if "download" in document.value:
        raise DataError(
            f"{document.source}:{document.line('download')}: `download:` would be run as a program; remove the line "
            "and put the pictures in place yourself"
        )
    classes = classes_from_yaml(document, settings.first_class)
    splits = _Splits(file, document, folders)
    pictures = splits.pictures()
    encodings = [(file.name, content.encoding), *splits.encodings]
    return Layout(splits.root(pictures), pictures, classes, splits.findings, encodings, _keypoints(document))


def _keypoints(document: YamlDocument) -> int:
    """Return how many numbers `kpt_shape: [keypoints, 2 or 3 numbers each]` of a set for poses puts behind a box.

    Source: https://docs.ultralytics.com/datasets/pose/
    """
    shape = document.value.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or any(type(n) is not int for n in shape):
        shape = [0, 0]
    count, numbers = shape
    if count < 1 or numbers not in (2, 3):
        raise DataError(
            f"{document.source}:{document.line('kpt_shape')}: `kpt_shape` should be the number of keypoints and the "
            "2 or 3 numbers of each, such as [17, 3]; remove the line if the label files hold boxes alone"
        )
    return int(count * numbers)


class _Splits:
    """The splits of a data.yaml; what is wrong with one of them becomes a finding, so that the others can be read."""

    def __init__(self, file: Path, document: YamlDocument, folders: Folders) -> None:
        self._document, self._folders = document, folders
        self._here = os.path.abspath(file.parent)
        self._base = os.path.normpath(os.path.join(self._here, str(document.value.get("path") or ".")))
        self._missing: list[tuple[str, str]] = []  # ("list:line", path)
        self.findings: list[Finding] = []
        self.encodings: list[tuple[str, str]] = []

    def pictures(self) -> list[Picture]:
        """Return the pictures of all splits.

        Raises:
            DataError: there are none at all.
        """
        found: list[Picture] = []
        for key in _SPLIT_KEYS:
            entry = self._document.value.get(key)
            if entry in (None, "", []):
                continue
            for item in entry if isinstance(entry, list) else [entry]:
                found.extend(Picture(SPLIT_WORDS[key], folder, name) for folder, name in self._pictures_of(key, item))
        if self._missing:
            message = f"{len(self._missing)} pictures of the lists are not there and were left out"
            evidence = {
                "count": len(self._missing),
                "rows": [source for source, _ in self._missing[:ROWS_NAMED]],
                "files": [path for _, path in self._missing[:ROWS_NAMED]],
            }
            advice = "put them in place, or remove these lines"
            self.findings.append(Finding("images.missing", "warning", message, evidence, advice))
        if not found and not self.findings:
            raise DataError(f"{self._document.source}: no split is given; write at least `train: images/train`")
        if not found:
            problems = [finding.message for finding in self.findings]
            raise DataError(listed(f"{self._document.source}: no pictures found", problems))
        return found

    def root(self, pictures: Sequence[Picture]) -> str:
        """Return the folder that paths count from: the data.yaml's, else `path:`, else the nearest above all."""
        common = os.path.commonpath([picture.folder for picture in pictures])
        return next((place for place in (self._here, self._base) if _is_below(common, place)), common)

    def _pictures_of(self, key: str, item: Any) -> list[tuple[str, str]]:
        said = f"{self._document.source}:{self._document.line(key)}: `{key}: {printable(str(item))[:200]}`"
        if isinstance(item, bool) or not isinstance(item, str | int):
            self._refuse("images.split_missing", f"{said} should be a folder or a .txt list of pictures", [])
            return []
        tried = self._places(str(item))
        place = next((place for place in tried if os.path.exists(place)), None)
        if place is None:
            paths = [printable(path) for path in tried]
            self._refuse("images.split_missing", f"{said} is not there; looked for {', '.join(paths)}", paths)
            return []
        if not os.path.isdir(place) and not place.lower().endswith(".txt"):
            words = f"{said}: {printable(place)} is neither a folder of pictures nor a .txt list of them"
            self._refuse("images.split_missing", words, [printable(place)])
            return []
        missing, told = len(self._missing), len(self.findings)
        found = list(_in_folder(place, self._folders) if os.path.isdir(place) else self._in_list(place))
        if not found and len(self.findings) == told:
            what = "names no picture that is there" if len(self._missing) > missing else "has no pictures"
            self._refuse("images.split_empty", f"{said} {what}: {printable(place)}", [printable(place)])
        return found

    def _refuse(self, key: str, message: str, places: Sequence[str]) -> None:
        advice = "mend the line, or remove it if there is no such split"
        self.findings.append(Finding(key, "error", message, {"count": 1, "files": list(places)}, advice))

    def _places(self, item: str) -> list[str]:
        """Return where a split may lie; `path:` counts from the data.yaml, never from a hidden setting."""
        stripped = item.replace("\\", "/")
        plain = stripped
        while stripped.startswith("../"):  # Roboflow writes ../train/images for train/images
            stripped = stripped[3:]
        tried = [(self._base, item), (self._here, item), (self._base, plain), (self._here, plain)]
        tried.append((self._here, stripped))
        return list(dict.fromkeys(os.path.normpath(os.path.join(base, name)) for base, name in tried))

    def _in_list(self, place: str) -> Iterator[tuple[str, str]]:
        """Yield (folder, name) of the pictures of a list; its lines count from the list, `path:` or the data.yaml."""
        content = read_text(place)
        name = _relative(place, self._here)
        if content.problem is not None:
            self._refuse("images.split_missing", f"{name}: {content.problem}; expected one picture a line", [name])
            return
        self.encodings.append((name, content.encoding))
        bases = list(dict.fromkeys([os.path.dirname(place), self._base, self._here]))
        for number, line in enumerate(content.text.split("\n"), start=1):
            if not (line := line.strip()):
                continue
            tried = (
                os.path.normpath(os.path.join(base, spelled))
                for spelled in (line, line.replace("\\", "/"))
                for base in bases
            )
            found = next((path for path in tried if self._folders.holds(path)), None)
            if found is None:
                self._missing.append((f"{name}:{number}", printable(os.path.normpath(os.path.join(bases[0], line)))))
            else:
                yield os.path.split(found)


def _is_below(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _relative(path: str, folder: str) -> str:
    """Return the path relative to a folder where it lies in it, else whole; always printable."""
    return printable(Path(path).relative_to(folder).as_posix() if _is_below(path, folder) else path)


def _in_folder(place: str, folders: Folders) -> Iterator[tuple[str, str]]:
    for listing in folders.below(place):
        for name in listing.pictures:
            yield listing.path, name


# ---- by the names of folders --------------------------------------------------------------------------------------


def is_plain_dataset(folder: str) -> bool:
    """Whether a folder without data.yaml holds pictures with label files that read as rows of numbers.

    Only the first folders and label files are looked at, so that the answer comes at once in a large tree as well.
    """
    folders = Folders()
    try:
        listings = [listing for listing, _ in zip(folders.below(folder), range(_FOLDERS_LOOKED_AT), strict=False)]
        numbers = {}
        if files := _class_lists(folder, listings):
            numbers = classes_from_lists(files[:1], 0).by_name()
        pictures = [Picture("", listing.path, name) for listing in listings for name in listing.pictures]
        # A picture that links into another set brings that set's label file, which says nothing about this folder.
        own = folder.rstrip("/") + "/"
        labels = dict.fromkeys(label for label in pair(pictures, folders).labels if label and label.startswith(own))
    except DataError:  # a list of names that cannot be read, a folder that may not be: reading it will say so
        return False
    for label, _ in zip(labels, range(_FILES_LOOKED_AT), strict=False):
        rows = parse_rows([read_text(label).text], numbers, pixels=True)
        if rows.height and rows["id"].null_count() == rows.height:
            return True
    return False


def plain_layout(folder: str, settings: DataConfig, folders: Folders) -> Layout:
    """Take the pictures of a folder without data.yaml; folders called `train`, `val` or `test` are splits.

    Where there are folders called `images`, only pictures in them count.

    Raises:
        DataError: there are no pictures, or the list of class names cannot be read.
    """
    listings = list(folders.below(folder))
    found = [(_relative(listing.path, folder), listing) for listing in listings if listing.pictures]
    in_images = [(name, listing) for name, listing in found if "images" in name.split("/")]
    findings = []
    if in_images and len(in_images) < len(found):
        left = [f"{name}/{listing.pictures[0]}" for name, listing in found if (name, listing) not in in_images]
        count = sum(len(listing.pictures) for name, listing in found if (name, listing) not in in_images)
        message = f"{count} pictures outside of the folders called `images` were left out"
        evidence = {"count": count, "pictures": [printable(name) for name in left[:ROWS_NAMED]]}
        advice = "write a data.yaml that names the folders of each split if they belong to the dataset"
        findings.append(Finding("images.outside", "info", message, evidence, advice))
    pictures: list[Picture] = []
    for name, listing in in_images or found:
        split = _split_of(name)
        pictures.extend(Picture(split, listing.path, picture) for picture in listing.pictures)
    if not pictures:
        raise DataError(f"{printable(folder)}: no data.yaml and no pictures found")
    files = _class_lists(folder, listings)
    classes = classes_from_lists(files, settings.first_class) if files else None
    encodings = [(_relative(file, folder), read_text(file).encoding) for file in files]
    return Layout(folder, pictures, classes, findings, encodings)


def _split_of(relative: str) -> str:
    """Return the split that a folder's path names, as `images/train` and `train/images` do; else train."""
    for part in relative.lower().split("/"):
        match = _CVAT_FOLDER.fullmatch(part)
        if (split := SPLIT_WORDS.get(match[1] if match else part)) is not None:
            return split
    return "train"


def _class_lists(folder: str, listings: Sequence[Folder]) -> list[str]:
    """Return the lists of class names below a folder, those nearest to its top first."""
    found = [
        os.path.join(listing.path, name)
        for listing in listings
        for name in sorted(listing.files)
        if name.lower() in CLASS_LISTS or name.lower().endswith((".names", "_darknet.labels"))
    ]
    return sorted(found, key=lambda path: (path.count(os.sep), path))
