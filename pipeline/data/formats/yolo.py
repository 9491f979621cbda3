"""YOLO: a data.yaml with class names and splits, one label file per picture with `class cx cy w h` in fractions.

Format: https://docs.ultralytics.com/datasets/detect/
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from ...errors import DataError, UsageError
from ...findings import Finding
from ...yaml_source import read_yaml
from ..dataset import Dataset
from ..images import is_picture, listed
from ..raw import RAW_BOXES_SCHEMA, RAW_IMAGES_SCHEMA, RawDataset

_SPLIT_KEYS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


# ---- reading ------------------------------------------------------------------------------------------------------


def find_data_yaml(path: Path) -> list[Path]:
    """Return the data.yaml that a path names or a folder holds; any other YAML file counts if it has `train:`."""
    if path.is_file():
        return [path] if path.suffix.lower() in {".yaml", ".yml"} else []
    usual = [path / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (path / name).is_file()]
    if usual:
        return usual[:1]
    others = sorted(file for file in path.glob("*.y*ml") if "\ntrain:" in "\n" + file.read_text("utf-8", "replace"))
    return others[:1]


def read_yolo(path: Path) -> RawDataset:
    """Read a YOLO dataset.

    Raises:
        DataError: there is no data.yaml, its keys are wrong, a split's folder is missing or has no pictures.
    """
    files = find_data_yaml(path)
    if not files:
        raise DataError(f"{path.absolute()}: no data.yaml found; it holds `train:`, `val:` and the list `names:`")
    file = files[0]
    document = read_yaml(file, DataError)
    values = document.value
    if "download" in values:
        raise DataError(
            f"{file}:{document.line('download')}: `download:` would be run as a program; remove the line "
            "and put the pictures in place yourself"
        )
    names = _names(file, values)
    pictures = _pictures(file, values)
    folder = file.parent.absolute()
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    refused: list[str] = []
    unlabelled: list[str] = []
    for split, picture in pictures:
        key = _relative(picture, folder)
        images.append({"path": key, "split": split})
        label = _label_file(picture)
        if label is None:
            unlabelled.append(key)
            continue
        for number, line in _lines(label):
            row = _row(line)
            source = f"{_relative(label, folder)}:{number}"
            if isinstance(row, str):
                refused.append(f"{source}: {row}")
            else:
                boxes.append({"path": key, **row, "crowd": False, "difficult": False, "source": source})
    return RawDataset(
        names,
        pl.DataFrame(images, RAW_IMAGES_SCHEMA),
        pl.DataFrame(boxes, RAW_BOXES_SCHEMA),
        folder,
        fractions=True,
        refused=tuple(refused),
        findings=_unlabelled(unlabelled, len(images)),
    )


def _names(file: Path, values: Mapping[str, Any]) -> tuple[str, ...]:
    found = values.get("names")
    if isinstance(found, dict):
        keys = [int(key) if str(key).isdigit() else key for key in found]
        if sorted(keys, key=str) != sorted(range(len(keys)), key=str):
            raise DataError(
                f"{file}: the numbers of `names` must run from 0 without gaps, found {sorted(found, key=str)}"
            )
        found = [value for _, value in sorted(zip(keys, found.values(), strict=True))]
    if not isinstance(found, list) or not found:
        raise DataError(f"{file}: the list of classes `names:` is missing; write for instance `names: [scratch, pit]`")
    names = tuple(str(name).strip() for name in found)
    if "" in names or len(set(names)) < len(names):
        raise DataError(f"{file}: `names` has an empty or repeated class: {', '.join(map(repr, names))}")
    if isinstance(values.get("nc"), int) and values["nc"] != len(names):
        raise DataError(f"{file}: `nc` is {values['nc']}, but `names` has {len(names)}; remove `nc` or mend the list")
    return names


def _pictures(file: Path, values: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """Return (split, picture) for all splits, each split in the order of its file names."""
    found: list[tuple[str, Path]] = []
    for key, split in _SPLIT_KEYS.items():
        entry = values.get(key)
        if entry in (None, "", []):
            continue
        for item in entry if isinstance(entry, list) else [entry]:
            pictures = list(_expand(_resolve(file, values, key, str(item))))
            if not pictures:
                raise DataError(f"{file}: `{key}: {item}` has no pictures")
            found.extend((split, picture) for picture in pictures)
    if not found:
        raise DataError(f"{file}: no split is given; write at least `train: images/train`")
    return found


def _resolve(file: Path, values: Mapping[str, Any], key: str, item: str) -> Path:
    """Return where a split lies; `path:` counts from the data.yaml, never from a hidden setting."""
    folder = file.parent.absolute()
    stripped = item.replace("\\", "/")
    while stripped.startswith("../"):  # Roboflow writes ../train/images for train/images
        stripped = stripped[3:]
    base = folder / str(values.get("path") or ".")
    tried = list(dict.fromkeys(Path(os.path.normpath(p)) for p in (base / item, folder / item, folder / stripped)))
    for place in tried:
        if place.exists():
            return place
    raise DataError(listed(f"{file}: `{key}: {item}` is not there; looked for", [str(place) for place in tried]))


def _expand(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from sorted(path for path in place.rglob("*") if is_picture(path) and path.is_file())
    elif place.suffix.lower() == ".txt":
        for number, line in _lines(place):
            picture = Path(os.path.normpath(place.parent / line))
            if not picture.is_file():
                raise DataError(f"{place}:{number}: no such picture: {picture}")
            yield picture
    else:
        raise DataError(f"{place}: neither a folder of pictures nor a .txt list of them")


def _label_file(picture: Path) -> Path | None:
    """Return the label file: `images` becomes `labels` in the last such folder, else it stands beside the picture."""
    parts = list(picture.parts)
    at = len(parts) - 1 - parts[::-1].index("images") if "images" in parts else None
    places = [picture.parent] if at is None else [Path(*parts[:at], "labels", *parts[at + 1 : -1]), picture.parent]
    for place in places:
        for suffix in (".txt", ".TXT"):
            label = place / (picture.stem + suffix)
            if label.is_file():
                return label
    return None


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return (line number, text) of the lines that hold something."""
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _row(line: str) -> dict[str, float] | str:
    """Return class and corners in fractions, or what is wrong with the row."""
    parts = line.split()
    if len(parts) != 5:
        return f"{len(parts)} columns, expected 5 (class, centre x, centre y, width, height)"
    try:
        class_id, cx, cy, width, height = (float(part) for part in parts)
    except ValueError:
        return f"'{line[:60]}' is not five numbers"
    if max(cx, cy, width, height) > 2:
        return f"'{line[:60]}' looks like pixels; YOLO labels are fractions of the picture's width and height"
    return {
        "class_id": class_id,
        "x1": cx - width / 2,
        "y1": cy - height / 2,
        "x2": cx + width / 2,
        "y2": cy + height / 2,
    }


def _relative(path: Path, folder: Path) -> str:
    """Return the path relative to the folder where it lies in it, else whole."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _unlabelled(paths: list[str], pictures: int) -> tuple[Finding, ...]:
    if not paths:
        return ()
    message = f"{len(paths)} of {pictures} pictures have no label file and count as empty"
    evidence = {"count": len(paths), "pictures": paths[:10]}
    advice = "put an empty .txt file beside pictures that are meant to be empty; label the others"
    return (Finding("labels.no_file", "warning", message, evidence, advice),)


# ---- writing ------------------------------------------------------------------------------------------------------


def write_yolo(dataset: Dataset, folder: Path) -> Path:
    """Write a dataset in YOLO form; the pictures are linked, not copied. Returns the data.yaml.

    YOLO has no word for crowds: their boxes are left out.

    Raises:
        UsageError: the folder exists and is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder}: not empty; choose another folder or remove it")
    rows: dict[int, list[str]] = {}
    sizes = {image_id: (w, h) for image_id, w, h in dataset.images.select("image_id", "width", "height").iter_rows()}
    boxes = dataset.boxes.filter(~pl.col("crowd")).select("image_id", "class_id", "x1", "y1", "x2", "y2")
    for image_id, class_id, x1, y1, x2, y2 in boxes.iter_rows():
        w, h = sizes[image_id]
        centre = f"{(x1 + x2) / 2 / w:.9f} {(y1 + y2) / 2 / h:.9f} {(x2 - x1) / w:.9f} {(y2 - y1) / h:.9f}"
        rows.setdefault(image_id, []).append(f"{class_id} {centre}\n")
    taken: set[str] = set()
    for image_id, path, split in dataset.images.select("image_id", "path", "split").iter_rows():
        name = _free_name(path, split or "train", taken)
        picture = folder / "images" / f"{name}{Path(path).suffix}"
        label = folder / "labels" / f"{name}.txt"
        for place in (picture, label):
            place.parent.mkdir(parents=True, exist_ok=True)
        _link(dataset.picture_path(path).absolute(), picture)
        label.write_text("".join(rows.get(image_id, [])), "utf-8")
    document: dict[str, Any] = {"path": ".", **{split: f"images/{split}" for split in dataset.splits or ("train",)}}
    document["names"] = dict(enumerate(dataset.names))
    target = folder / "data.yaml"
    target.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "utf-8")
    return target


def _free_name(path: str, split: str, taken: set[str]) -> str:
    """Return the picture's place below images/, without suffix; a second one of the same name gets a number.

    A folder named `images` inside it would send Ultralytics to the wrong label file, so it is left out.
    """
    parts = [part for part in Path(path).with_suffix("").parts if part not in {"images", "labels", "/", "..", split}]
    name, number = "/".join([split, *parts]), 1
    while name in taken:
        number += 1
        name = "/".join([split, *parts]) + f"-{number}"
    taken.add(name)
    return name


def _link(source: Path, target: Path) -> None:
    """Link a picture; where the file system has neither kind of link, copy it."""
    for make in (os.symlink, os.link, shutil.copyfile):
        try:
            make(source, target)
            return
        except (OSError, NotImplementedError):
            if make is shutil.copyfile:
                raise
