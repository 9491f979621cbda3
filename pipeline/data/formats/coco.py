"""COCO JSON: one file per split, boxes as [x, y, width, height] in pixels.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from ...errors import DataError
from ..images import listed
from ..raw import RAW_BOXES_SCHEMA, RAW_IMAGES_SCHEMA, RawDataset

_SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SPLIT_WORDS |= {"test": "test", "testing": "test"}


def find_coco_files(path: Path) -> list[Path]:
    """Return the COCO files of a folder (in it, in `annotations/`, or `_annotations.coco.json` one below)."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" and _looks_like_coco(path) else []
    places = [*path.glob("*.json"), *path.glob("annotations/*.json"), *path.glob("*/_annotations.coco.json")]
    found = sorted(place for place in places if _looks_like_coco(place))
    instances = [place for place in found if place.name.startswith("instances_")]
    return instances or found  # COCO's own folder has captions and keypoints of the same pictures beside them


def _looks_like_coco(path: Path) -> bool:
    """Whether the keys of a COCO file stand in it; a look at the text, so that a broken file is found as well."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return '"images"' in text and '"annotations"' in text


def read_coco(path: Path) -> RawDataset:
    """Read the COCO files of a folder, or one file; the split is read off the file's or folder's name.

    Raises:
        DataError: a file is not JSON or not COCO, a picture is missing or lies outside of the dataset's folder.
    """
    path = Path(os.path.abspath(path))
    files = find_coco_files(path)
    if not files:
        raise DataError(f"{path}: no COCO file found (JSON with images, annotations and categories)")
    root = path if path.is_dir() else _above(path)
    documents = {file: _load(file) for file in files}
    names, class_ids = _classes(documents)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    refused: list[str] = []
    for file, document in documents.items():
        found = _images(file, document, root, _split_of(file))
        images.extend(found.values())
        paths = {image_id: image["path"] for image_id, image in found.items()}
        for number, annotation in enumerate(document["annotations"]):
            row = _box(annotation, paths, class_ids)
            known = annotation.get("id", number) if isinstance(annotation, dict) else number
            source = f"{file.relative_to(root).as_posix()}:annotation {known}"
            if isinstance(row, str):
                refused.append(f"{source}: {row}")
            else:
                boxes.append({**row, "source": source})
    return RawDataset(
        names,
        pl.DataFrame(images, RAW_IMAGES_SCHEMA),
        pl.DataFrame(boxes, RAW_BOXES_SCHEMA),
        root,
        refused=tuple(refused),
    )


def _above(file: Path) -> Path:
    """Return the folder that the pictures of a file named by itself lie in: beside it, or beside its annotations/."""
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _load(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: not a JSON file that can be read ({error}); export it again") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise DataError(f"{file}: no COCO file, the list '{key}' is missing; export it again as COCO detection")
    return dict(document)


def _split_of(file: Path) -> str:
    """Read the split off the name, such as instances_val2017.json or valid/_annotations.coco.json; else train."""
    name = file.parent.name if file.name == "_annotations.coco.json" else file.stem
    return next((_SPLIT_WORDS[word] for word in re.findall("[a-z]+", name.lower()) if word in _SPLIT_WORDS), "train")


def _classes(documents: Mapping[Path, dict[str, Any]]) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Return the class names ordered by category id, and the class index of each id."""
    categories: dict[Any, str] = {}
    for file, document in documents.items():
        for category in document["categories"]:
            if not isinstance(category, dict) or not isinstance(category.get("id"), int) or not category.get("name"):
                raise DataError(f"{file}: a category needs an integer 'id' and a 'name', found {category!r}")
            name = str(category["name"])
            if categories.setdefault(category["id"], name) != name:
                other = categories[category["id"]]
                raise DataError(f"{file}: category {category['id']} is '{name}' here and '{other}' in another split")
    names = tuple(categories[key] for key in sorted(categories))
    if not names:
        raise DataError(f"{next(iter(documents))}: the list of categories is empty; the classes are not known")
    if len(set(names)) < len(names):
        raise DataError(f"{next(iter(documents))}: two categories have the same name: {', '.join(names)}")
    return names, {key: index for index, key in enumerate(sorted(categories))}


def _images(file: Path, document: dict[str, Any], root: Path, split: str | None) -> dict[Any, dict[str, Any]]:
    names = {}
    for record in document["images"]:
        name = record.get("file_name") if isinstance(record, dict) else None
        if not isinstance(name, str) or not isinstance(record.get("id"), int | float | str):
            raise DataError(f"{file}: a picture needs 'id' and 'file_name', found {record!r}")
        name = name.replace("\\", "/")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{file}: the picture '{name}' lies outside of the dataset's folder; use relative names")
        if record["id"] in names:
            raise DataError(f"{file}: two pictures have the id {record['id']!r}")
        names[record["id"]] = (name, _side(record.get("width")), _side(record.get("height")))
    base = _picture_folder(file, root, split, [name for name, _, _ in names.values()])
    return {
        image_id: {
            "path": (base / name).relative_to(root).as_posix(),
            "split": split or "train",
            "width": w,
            "height": h,
        }
        for image_id, (name, w, h) in names.items()
    }


def _side(stated: Any) -> int | None:
    """Return a width or height as the file states it; nonsense counts as not stated, as the picture itself is asked."""
    return int(stated) if isinstance(stated, int | float) and 0 < stated < 2**32 else None


def _picture_folder(file: Path, root: Path, split: str | None, names: list[str]) -> Path:
    """Return the folder that holds all the pictures, out of the places where tools put them."""
    here = file.parent
    stem = file.stem.removeprefix("instances_")
    places = [here, here / "images", here / stem, here / "images" / stem, root, root / "images", root / stem]
    places += [root / "images" / stem, *([root / split, root / "images" / split] if split else [])]
    places = [place for place in dict.fromkeys(places) if place.is_relative_to(root)]
    missing = {place: sum(not (place / name).is_file() for name in names) for place in places if place.is_dir()}
    best = min(missing, key=lambda place: missing[place])
    if missing[best] == 0:
        return best
    absent = [str(best / name) for name in names if not (best / name).is_file()]
    tried = ", ".join(str(place) for place in missing)
    raise DataError(listed(f"{file}: {len(absent)} of {len(names)} pictures are missing (looked in {tried})", absent))


def _box(annotation: Any, paths: Mapping[Any, str], class_ids: Mapping[Any, int]) -> dict[str, Any] | str:
    """Return one raw row, or what is wrong with the annotation."""
    if not isinstance(annotation, dict):
        return "not an object"
    image_id, category_id, bbox = (annotation.get(key) for key in ("image_id", "category_id", "bbox"))
    if not isinstance(image_id, int | float | str) or image_id not in paths:
        return f"image_id {image_id!r} is no picture of this file"
    if not isinstance(category_id, int | float | str) or category_id not in class_ids:
        return f"category_id {category_id!r} is no category of this file"
    numbers = isinstance(bbox, list) and len(bbox) == 4 and all(isinstance(v, int | float) for v in bbox)
    if not numbers or bbox is None or any(abs(value) > 1e15 for value in bbox if isinstance(value, int)):
        return f"bbox is {str(bbox)[:100]}, expected [x, y, width, height]"
    x, y, width, height = (float(value) for value in bbox)
    return {
        "path": paths[image_id],
        "class_id": float(class_ids[category_id]),
        "x1": x,
        "y1": y,
        "x2": x + width,
        "y2": y + height,
        "crowd": bool(annotation.get("iscrowd", 0)),
        "difficult": False,
    }
