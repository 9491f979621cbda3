"""Readers turn one format on disk into raw rows for the intake; writers turn a Dataset into files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import DataError
from ..raw import RawDataset
from .coco import find_coco_files, read_coco
from .yolo import find_data_yaml, read_yolo

READERS: dict[str, Callable[[Path], RawDataset]] = {"coco": read_coco, "yolo": read_yolo}


def reader(format: str) -> Callable[[Path], RawDataset]:
    """Return the reader of a format.

    Raises:
        DataError: the format is not known.
    """
    if format not in READERS:
        raise DataError(f"data.format: '{format}' is not a known format ({', '.join(sorted(READERS))}, auto)")
    return READERS[format]


def detect_format(path: Path) -> str:
    """Return the format that a file or folder holds.

    Raises:
        DataError: there is nothing there, nothing known, or more than one format.
    """
    if not path.exists():
        hint = "; the demo sets are made by `make demo` or `tuneup demo steel DIR`" if "datasets" in path.parts else ""
        raise DataError(f"{path.absolute()}: no such file or folder{hint}")
    found = [name for name, find in (("yolo", find_data_yaml), ("coco", find_coco_files)) if find(path)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{path.absolute()}: holds both {' and '.join(found)}; choose with data.format=yolo or =coco")
    raise DataError(
        f"{path.absolute()}: no dataset found; expected a data.yaml with its list of classes (YOLO) "
        "or a JSON file with images, annotations and categories (COCO)"
    )
