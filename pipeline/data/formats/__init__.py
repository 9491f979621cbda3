"""Readers turn one format on disk into raw rows for the intake; writers turn a Dataset into files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import DataError
from ...sections import DataConfig
from ..archives import is_archive
from ..raw import RawDataset
from .coco import find_coco_files, read_coco
from .cvat import find_cvat, read_cvat
from .label_studio import find_label_studio, read_label_studio
from .labelme import find_labelme, read_labelme
from .voc import find_voc, read_voc
from .yolo import find_yolo, read_yolo

Reader = Callable[[Path, DataConfig], RawDataset]

READERS: dict[str, Reader] = {
    "yolo": read_yolo,
    "coco": read_coco,
    "voc": read_voc,
    "labelme": read_labelme,
    "cvat": read_cvat,
    "label_studio": read_label_studio,
}
_FINDERS: dict[str, Callable[[Path], list[Path]]] = {
    "yolo": find_yolo,
    "coco": find_coco_files,
    "voc": find_voc,
    "labelme": find_labelme,
    "cvat": find_cvat,
    "label_studio": find_label_studio,
}
_CALLED = {
    "yolo": "YOLO",
    "coco": "COCO",
    "voc": "Pascal VOC",
    "labelme": "LabelMe",
    "cvat": "CVAT for images",
    "label_studio": "Label Studio",
}
_RUN_FILES = ("config.yaml", "environment.json")


class Detected(NamedTuple):
    """The format that a file or folder holds, and what told it."""

    format: str
    why: str


def reader(format: str) -> Reader:
    """Return the reader of a format.

    Raises:
        DataError: the format is not known.
    """
    if format not in READERS:
        raise DataError(f"data.format: '{format}' is not a known format ({', '.join(READERS)}, auto)")
    return READERS[format]


def detect_format(path: Path) -> Detected:
    """Return the format that a file or folder holds, by a look into a few of its files.

    Raises:
        DataError: there is nothing there, nothing known, an archive, a run of this program, or more than one format.
    """
    if not path.exists():
        hint = "; the demo sets are made by `make demo` or `tuneup demo steel DIR`" if "datasets" in path.parts else ""
        raise DataError(f"{path.absolute()}: no such file or folder{hint}")
    if path.is_file() and is_archive(path):
        raise DataError(f"{path.absolute()}: an archive; `tuneup import {path} FOLDER` unpacks and reads it")
    if all((path / name).is_file() for name in _RUN_FILES):
        raise DataError(f"{path.absolute()}: a run of this program, not a dataset; its config.yaml names its data")
    found = _settled({name: files for name, find in _FINDERS.items() if (files := find(path))})
    whys = {name: _why(path, files, name) for name, files in found.items()}
    if len(whys) == 1:
        return Detected(*next(iter(whys.items())))
    if whys:
        choose = " or ".join(f"data.format={name}" for name in whys)
        raise DataError(f"{path.absolute()}: holds more than one format: {'; '.join(whys.values())}. Choose {choose}")
    raise DataError(
        f"{path.absolute()}: no dataset found; expected a data.yaml or label files beside pictures (YOLO), a JSON file "
        "with images, annotations and categories (COCO), XML or JSON files of Pascal VOC, LabelMe or CVAT, or a JSON "
        "export of Label Studio"
    )


def _settled(found: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Take away what only looks like COCO: its words may also stand in the texts of another JSON file."""
    others = {file for name in ("labelme", "label_studio") for file in found.get(name, ())}
    coco = [file for file in found.get("coco", ()) if file not in others]
    return {name: files for name, files in found.items() if name != "coco"} | ({"coco": coco} if coco else {})


def _why(path: Path, files: Sequence[Path], name: str) -> str:
    file = files[0]
    shown = os.path.relpath(file, path) if path.is_dir() and file != path else file.name
    return f"{shown} is {_CALLED[name]}"
