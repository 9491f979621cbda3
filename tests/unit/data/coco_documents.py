"""COCO documents for tests: small ones, written to disk, and what the reader makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import draw

from pipeline.data.formats.coco import read_coco
from pipeline.data.intake import Intake, read_dataset
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError
from pipeline.findings import Finding
from pipeline.sections import DataConfig

PIT = {"id": 1, "name": "pit"}


def document(
    images: list[Any] | None = None, annotations: list[Any] | None = None, categories: list[Any] | None = None
) -> dict[str, Any]:
    """Return a document of one picture a.png (id 1) and the category pit (id 1), unless told otherwise."""
    return {
        "images": [{"id": 1, "file_name": "a.png"}] if images is None else images,
        "annotations": annotations or [],
        "categories": [PIT] if categories is None else categories,
    }


def write(file: Path, document: dict[str, Any], *, pictures: bool = True) -> Path:
    """Write a document and beside it the pictures (40 x 30 px) that it names; returns its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document), "utf-8")
    for image in document["images"] if pictures else []:
        draw(file.parent / image["file_name"])
    return file.parent


def note(id: int, bbox: Any, image_id: Any = 1, category_id: Any = 1, **more: Any) -> dict[str, Any]:
    return {"id": id, "image_id": image_id, "category_id": category_id, "bbox": bbox, **more}


def raw(folder: Path) -> RawDataset:
    return read_coco(folder, DataConfig())


def rejected(folder: Path) -> dict[str, tuple[str, str, str]]:
    """Return id, action and text of the rejected rows by their source."""
    table = raw(folder).rejected
    return {source: (key, action, text) for key, source, action, text, _ in table.iter_rows()}


def finding(found: RawDataset | Intake, key: str) -> Finding:
    return next(finding for finding in found.findings if finding.id == key)


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_dataset(folder, format="coco")
    return str(caught.value)
