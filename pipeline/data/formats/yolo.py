"""YOLO: a data.yaml with class names and splits, one label file per picture with `class cx cy w h` in fractions.

Format: https://docs.ultralytics.com/datasets/detect/
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import DataError, UsageError
from ...findings import Finding
from ...yaml_source import dump_yaml, read_yaml
from ..dataset import SPLITS, Dataset
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
    others = sorted(file for file in path.glob("*.y*ml") if file.is_file())
    return [file for file in others if "\ntrain:" in "\n" + file.read_text("utf-8", "replace")][:1]


def read_yolo(path: Path) -> RawDataset:
    """Read a YOLO dataset.

    Raises:
        DataError: there is no data.yaml, its keys are wrong, a split's folder is missing or has no pictures, or two
            pictures share one label file.
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
    pictures = [(split, picture, _label_file(picture)) for split, picture in _pictures(file, values)]
    _refuse_shared_labels(pictures)
    folder = _root(file, values, [picture for _, picture, _ in pictures])
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    refused: list[str] = []
    unlabelled: list[str] = []
    for split, picture, label in pictures:
        key = _relative(picture, folder)
        images.append({"path": key, "split": split})
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
        keys = [int(key) if str(key).isdecimal() else key for key in found]
        if sorted(keys, key=str) != sorted(range(len(keys)), key=str):
            raise DataError(
                f"{file}: the numbers of `names` must run from 0 without gaps, found {sorted(found, key=str)}"
            )
        found = [value for _, value in sorted(zip(keys, found.values(), strict=True))]
    if not isinstance(found, list) or not found:
        raise DataError(f"{file}: the list of classes `names:` is missing; write for instance `names: [scratch, pit]`")
    names = tuple("" if name is None else str(name).strip() for name in found)
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
    odd = [ascii(str(picture)) for _, picture in found if not _is_utf8(str(picture))]
    if odd:
        raise DataError(listed(f"{file}: names of pictures or folders are not UTF-8 text; rename them", odd))
    return found


def _is_utf8(text: str) -> bool:
    """Whether a file's name is text at all: the system allows any bytes, which Python keeps as lone surrogates."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _refuse_shared_labels(pictures: Sequence[tuple[str, Path, Path | None]]) -> None:
    owner: dict[Path, Path] = {}
    shared = [
        f"{label}: of {owner[label].name} and {picture.name}"
        for _, picture, label in pictures
        if label is not None and owner.setdefault(label, picture) != picture
    ]
    if shared:
        raise DataError(listed("label files stand for two pictures each; rename one of the two", shared))


def _root(file: Path, values: Mapping[str, Any], pictures: Sequence[Path]) -> Path:
    """Return the folder that paths count from: the data.yaml's, else `path:`, else the nearest above all pictures."""
    folder = Path(os.path.abspath(file.parent))
    common = Path(os.path.commonpath([picture.parent for picture in pictures]))
    base = Path(os.path.normpath(folder / str(values.get("path") or ".")))
    return next((place for place in (folder, base) if common.is_relative_to(place)), common)


def _resolve(file: Path, values: Mapping[str, Any], key: str, item: str) -> Path:
    """Return where a split lies; `path:` counts from the data.yaml, never from a hidden setting."""
    folder = Path(os.path.abspath(file.parent))
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
    if any(math.isfinite(number) and number > 2 for number in (cx, cy, width, height)):
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
        UsageError: the folder exists and is not empty, or is a file.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: not empty; choose another folder or remove it")
    rows: dict[int, list[str]] = {}
    sizes = {image_id: (w, h) for image_id, w, h in dataset.images.select("image_id", "width", "height").iter_rows()}
    boxes = dataset.boxes.filter(~pl.col("crowd")).select("image_id", "class_id", "x1", "y1", "x2", "y2")
    for image_id, class_id, x1, y1, x2, y2 in boxes.iter_rows():
        w, h = sizes[image_id]
        centre = f"{(x1 + x2) / 2 / w:.12f} {(y1 + y2) / 2 / h:.12f} {(x2 - x1) / w:.12f} {(y2 - y1) / h:.12f}"
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
    # No `path:`, so that the folders count from the data.yaml: Ultralytics takes "." for the working folder.
    written = set(dataset.images["split"].fill_null("train"))
    document: dict[str, Any] = {split: f"images/{split}" for split in SPLITS if split in written}
    document["names"] = dict(enumerate(dataset.names))
    target = folder / "data.yaml"
    target.write_text(dump_yaml(document), "utf-8")
    return target


def _free_name(path: str, split: str, taken: set[str]) -> str:
    """Return the picture's place below images/, without suffix; a second one of the same name gets a number.

    A folder named `images` inside it would send Ultralytics to the wrong label file, so it is left out.
    """
    folders = [part for part in Path(path).parent.parts if part not in {"images", "labels", "/", "..", split}]
    wanted = "/".join([split, *folders, Path(path).stem])
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
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
