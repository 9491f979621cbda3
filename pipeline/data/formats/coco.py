"""COCO JSON: one file per split, boxes as [x, y, width, height] in pixels.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...errors import DataError
from ...findings import Finding
from ...sections import DataConfig
from ..images import listed
from ..raw import RAW_IMAGES_SCHEMA, ROWS_NAMED, RawDataset, raw_boxes, rejected_rows
from .coco_classes import Classes, join_classes
from .coco_json import looks_like_coco, parse_document, read_text
from .coco_pictures import FilePictures, file_pictures, findings_of
from .coco_rows import AnnotationColumns, shown

_SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SPLIT_WORDS |= {"test": "test", "testing": "test"}


@dataclass
class _File:
    """One COCO file: its pictures' records, its categories, and its annotations as columns."""

    path: Path
    source: str  # relative to the root
    split: str
    images: list[Any]
    categories: list[Any]
    annotations: AnnotationColumns
    encoding: str | None


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
    if not any(one.paths for one in pictures):
        raise DataError(listed("no pictures are named", [f"{one.file}: {one.malformed_text()}" for one in pictures]))
    if not any(one.present for one in pictures):
        raise DataError(listed("none of the pictures is there", [one.absent_text() for one in pictures if one.paths]))
    rows = [_rows(document, found, classes) for document, found in zip(documents, pictures, strict=True)]
    return RawDataset(
        classes.names,
        pl.concat([_image_table(found, document.split) for document, found in zip(documents, pictures, strict=True)]),
        pl.concat([part.boxes for part in rows]),
        root,
        rejected=rejected_rows([row for part in rows for row in part.rejected]),
        findings=(*_encodings(documents), *classes.findings, *findings_of(pictures), *_unknown_classes(rows, classes)),
        rows_read=sum(document.annotations.count for document in documents),
    )


def _above(file: Path) -> Path:
    """Return the folder that the pictures of a file named by itself lie in: beside it, or beside its annotations/."""
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _load(file: Path, root: Path) -> _File:
    try:
        text, encoding = read_text(file)
        document = parse_document(text, "annotations", AnnotationColumns)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: not a JSON file that can be read ({error}); export it again") from error
    kinds = {"images": list, "annotations": AnnotationColumns, "categories": list}
    for key, kind in kinds.items():
        if not isinstance(document, dict) or not isinstance(document.get(key), kind):
            raise DataError(f"{file}: no COCO file, the list '{key}' is missing; export it again as COCO detection")
    source = shown(file.relative_to(root).as_posix())
    return _File(
        file, source, _split_of(file), document["images"], document["categories"], document["annotations"], encoding
    )


def _split_of(file: Path) -> str:
    """Read the split off the name, such as instances_val2017.json or valid/_annotations.coco.json; else train."""
    name = file.parent.name if file.name == "_annotations.coco.json" else file.stem
    return next((_SPLIT_WORDS[word] for word in re.findall("[a-z]+", name.lower()) if word in _SPLIT_WORDS), "train")


def _image_table(found: FilePictures, split: str) -> pl.DataFrame:
    columns = {"path": found.paths, "split": [split] * len(found.paths), "width": found.widths, "height": found.heights}
    return pl.DataFrame(columns, RAW_IMAGES_SCHEMA)


@dataclass(frozen=True)
class _Rows:
    """Raw boxes of one file, rows for `rejected_rows`, and (category id, source) of those without a class."""

    boxes: pl.DataFrame
    rejected: list[tuple[str, str, str, str]]
    unknown: list[tuple[str, str]]


def _rows(document: _File, pictures: FilePictures, classes: Classes) -> _Rows:
    """Look up the pictures and classes of one file's annotations."""
    annotations = document.annotations
    prefix = f"{document.source}:annotation "
    rejected = [("labels.not_parsed", prefix + label, "dropped", text) for label, text in annotations.rejected]
    table = annotations.table().with_columns(source=pl.lit(prefix) + pl.col("label"))
    table, strangers = _looked_up(table, "image", annotations.image_ids, pictures.index)
    for key, source in strangers:
        rejected.append(("labels.not_parsed", source, "dropped", f"image_id {key} is no picture of this file"))
    table, unknown = _looked_up(table, "category", annotations.category_ids, classes.index[document.path])
    for key, source in unknown:
        text = f"category_id {key} is no category of this file"
        rejected.append(("labels.class_out_of_range", source, "refused", text))
    columns = {
        "path": pl.Series(pictures.paths, dtype=pl.String).gather(table["image"]),
        "class_id": table["category"],
        **{key: table[key] for key in ("x1", "y1", "x2", "y2", "crowd", "difficult", "source", "notes", "text")},
    }
    return _Rows(raw_boxes(columns), rejected, unknown)


def _looked_up(
    table: pl.DataFrame, column: str, codes: Mapping[Any, int], index: Mapping[Any, int]
) -> tuple[pl.DataFrame, list[tuple[str, str]]]:
    """Put what an index says of each id in the column of its code; return (id, source) of rows that it does not know.

    Args:
        table: has the columns `column` and `source`.
        column: codes of the ids.
        codes: code of each id.
        index: what to put there, by id.
    """
    place = np.array([index.get(key, -1) for key in codes], np.int32)
    found = table.with_columns(pl.Series(place).gather(table[column]).alias("place"))
    strange = found.filter(pl.col("place") < 0)
    keys = list(codes)
    strangers = [(shown(keys[code]), source) for code, source in strange.select(column, "source").iter_rows()]
    known = found.filter(pl.col("place") >= 0) if strangers else found
    return known.with_columns(pl.col("place").alias(column)), strangers


def _unknown_classes(rows: Sequence[_Rows], classes: Classes) -> list[Finding]:
    unknown = [one for part in rows for one in part.unknown]
    if not unknown:
        return []
    counts: dict[str, int] = {}
    for key, _ in unknown:
        counts[key] = counts.get(key, 0) + 1
    files = sum(bool(part.unknown) for part in rows)
    named = ", ".join(f"category {key} in {count}" for key, count in list(counts.items())[:ROWS_NAMED])
    message = f"{named} annotations of {files} files, which have no such category in their list"
    sources = [source for _, source in unknown[:ROWS_NAMED]]
    evidence = {"count": len(unknown), "rows": sources, "classes": list(counts)[:ROWS_NAMED]}
    advice = f"add it to the list `categories` ({', '.join(classes.names[:ROWS_NAMED])}), or remove these annotations"
    return [Finding("labels.class_out_of_range", "error", message, evidence, advice)]


def _encodings(documents: Sequence[_File]) -> list[Finding]:
    odd = [document for document in documents if document.encoding]
    if not odd:
        return []
    kinds = sorted({str(document.encoding) for document in odd})
    message = f"{len(odd)} JSON files are not UTF-8 and were read as {' and '.join(kinds)}"
    evidence = {"count": len(odd), "files": [document.source for document in odd[:ROWS_NAMED]]}
    return [Finding("labels.encoding", "info", message, evidence, "look whether class names have their accents")]
