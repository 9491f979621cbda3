"""COCO JSON: one file per split, boxes as [x, y, width, height] in pixels.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import DataError
from ...sections import DataConfig
from ..images import listed
from ..raw import RAW_IMAGES_SCHEMA, RawDataset, rejected_rows
from .coco_classes import join_classes
from .coco_join import join_findings, join_rows
from .coco_json import looks_like_coco, parse_document
from .coco_pictures import FilePictures, file_pictures, find_below, findings_of
from .coco_rows import AnnotationColumns
from .folder_listing import SPLIT_WORDS
from .label_text import encoding_findings, read_text, shown


@dataclass
class _File:
    """One COCO file: its pictures' records, its categories, and its annotations as columns."""

    path: Path
    source: str  # relative to the root
    split: str
    images: list[Any]
    categories: list[Any]
    annotations: AnnotationColumns
    encoding: str


def find_coco_files(path: Path) -> list[Path]:
    """Return the COCO files of a folder (in it, in `annotations/`, or `_annotations.coco.json` one below)."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" and looks_like_coco(path) else []
    places = [*path.glob("*.json"), *path.glob("annotations/*.json"), *path.glob("*/_annotations.coco.json")]
    found = sorted(place for place in places if looks_like_coco(place))
    instances = [place for place in found if place.name.startswith("instances_")]
    return instances or found  # COCO's own folder has captions and keypoints of the same pictures beside them


def read_coco(path: Path, settings: DataConfig) -> RawDataset:
    """Read the COCO files of a folder, or one file; the split is read off the file's or folder's name.

    Args:
        path: a folder or a JSON file.
        settings: not asked; COCO files say all that is needed.

    Raises:
        DataError: a file is not JSON or not COCO, its classes are not known, a picture's name leads out of the
            dataset's folder, or none of the pictures is there.
    """
    path = Path(os.path.abspath(path))
    files = find_coco_files(path)
    if not files:
        raise DataError(f"{path}: no COCO file found (JSON with images, annotations and categories)")
    root = path if path.is_dir() else _above(path)
    documents = [_load(file, root) for file in files]
    used = {key for document in documents for key in document.annotations.category_ids}
    first = next((document for document in documents if document.split == "train"), documents[0])
    classes = join_classes({document.path: document.categories for document in documents}, used, first.path)
    pictures = [file_pictures(document.path, document.images, root, document.split) for document in documents]
    find_below(pictures, root)
    if not any(one.paths for one in pictures):
        raise DataError(listed("no pictures are named", [f"{one.file}: {one.malformed_text()}" for one in pictures]))
    if not any(one.present for one in pictures):
        raise DataError(listed("none of the pictures is there", [one.absent_text() for one in pictures if one.paths]))
    rows = [
        join_rows(document.source, document.annotations, found, classes.index[document.path])
        for document, found in zip(documents, pictures, strict=True)
    ]
    return RawDataset(
        classes.names,
        pl.concat([_image_table(found, document.split) for document, found in zip(documents, pictures, strict=True)]),
        pl.concat([part.boxes for part in rows]),
        root,
        rejected=rejected_rows([row for part in rows for row in part.rejected]),
        findings=(
            *encoding_findings([(document.source, document.encoding) for document in documents]),
            *classes.findings,
            *findings_of(pictures),
            *join_findings(rows, classes.names),
        ),
        rows_read=sum(document.annotations.count for document in documents),
    )


def _above(file: Path) -> Path:
    """Return the folder that the pictures of a file named by itself lie in: beside it, or beside its annotations/."""
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _load(file: Path, root: Path) -> _File:
    content = read_text(str(file))
    try:
        if content.problem is not None:
            raise ValueError(content.problem)
        document = parse_document(content.text, "annotations", AnnotationColumns)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not a JSON file that can be read ({error}); export it again") from error
    kinds = {"images": list, "annotations": AnnotationColumns, "categories": list}
    for key, kind in kinds.items():
        if not isinstance(document, dict) or not isinstance(document.get(key), kind):
            raise DataError(f"{file}: no COCO file, the list '{key}' is missing; export it again as COCO detection")
    source = shown(file.relative_to(root).as_posix())
    return _File(
        file,
        source,
        _split_of(file),
        document["images"],
        document["categories"],
        document["annotations"],
        content.encoding,
    )


def _split_of(file: Path) -> str:
    """Read the split off the name, such as instances_val2017.json or valid/_annotations.coco.json; else train."""
    name = file.parent.name if file.name == "_annotations.coco.json" else file.stem
    return next((SPLIT_WORDS[word] for word in re.findall("[a-z]+", name.lower()) if word in SPLIT_WORDS), "train")


def _image_table(found: FilePictures, split: str) -> pl.DataFrame:
    columns = {"path": found.paths, "split": [split] * len(found.paths), "width": found.widths, "height": found.heights}
    return pl.DataFrame(columns, RAW_IMAGES_SCHEMA)
