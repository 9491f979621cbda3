"""Boxes as pre-labels for annotation tools: suspected label errors, or detections, to be confirmed or put right there.

- CVAT for images 1.1 (docs.cvat.ai, "XML annotation format"): create a task with the pictures and the class names as
  labels, then "Upload annotations". CVAT finds a picture by its name, and leaves out the attributes `score` and `why`
  where a label does not have them.
- Label Studio (labelstud.io, "Import pre-annotated data"): a project with the template "Object Detection with Bounding
  Boxes", whose control is named `label` and whose picture `image`; the class names are its labels. It fetches a picture
  from the address in the task: with local storage, `/data/local-files/?d=` and the path below its document root.

A box is cut at the picture's edges, and left out if nothing is left.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import polars as pl

from ..data.dataset import Dataset
from ..errors import DataError
from ..records import write_atomic

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's address of a picture in its local storage
FROM_NAME, TO_NAME = "label", "image"  # the names in Label Studio's own template for boxes
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2


def narrow(dataset: Dataset, boxes: pl.DataFrame) -> Dataset:
    """Return the dataset with only those pictures that have one of the boxes: what a person has to look at."""
    images = dataset.images.join(boxes.select("image_id").unique(), on="image_id", how="semi", maintain_order="left")
    labels = dataset.boxes.join(images.select("image_id"), on="image_id", how="semi", maintain_order="left")
    return replace(dataset, images=images, boxes=labels)


def write_cvat(path: Path, dataset: Dataset, boxes: pl.DataFrame) -> None:
    """Write boxes as XML in the form "CVAT for images 1.1"; every picture of the dataset has an entry.

    Args:
        path: the file, written whole or not at all.
        dataset: class names and pictures.
        boxes: image_id, class_id, score (may be null), x1, y1, x2, y2 in pixels, and, if known, `why`.

    Raises:
        DataError: a name holds a character that XML cannot hold.
        RunError: the file cannot be written.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(dataset.images.height)
    ElementTree.SubElement(task, "mode").text = "annotation"
    labels = ElementTree.SubElement(task, "labels")
    for name in dataset.names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = _for_xml(name)
        ElementTree.SubElement(label, "type").text = "rectangle"
    inside = _by_picture(dataset, boxes)
    for number, image in enumerate(dataset.images.sort("path").iter_rows(named=True)):
        about = {"id": str(number), "name": _for_xml(image["path"])}
        about |= {side: str(image[side]) for side in ("width", "height")}
        entry = ElementTree.SubElement(root, "image", about)
        for row in inside.get(image["image_id"], ()):
            corners = zip(("xtl", "ytl", "xbr", "ybr"), ("x1", "y1", "x2", "y2"), strict=True)
            box = {"label": _for_xml(dataset.names[row["class_id"]]), "source": "auto", "occluded": "0"}
            box |= {theirs: f"{row[ours]:.2f}" for theirs, ours in corners} | {"z_order": "0"}
            shape = ElementTree.SubElement(entry, "box", box)
            for name in ("score", "why"):
                value = row.get(name)
                if value is not None:
                    text = f"{value:.4f}" if name == "score" else _for_xml(str(value))
                    ElementTree.SubElement(shape, "attribute", name=name).text = text
    ElementTree.indent(root)
    write_atomic(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def write_label_studio(path: Path, dataset: Dataset, boxes: pl.DataFrame, *, address: str = LOCAL_FILES) -> None:
    """Write boxes as Label Studio tasks with predictions; every picture of the dataset is a task.

    Args:
        path: the file, written whole or not at all.
        dataset: class names and pictures.
        boxes: as for `write_cvat`.
        address: what stands before a picture's path in its address.

    Raises:
        RunError: the file cannot be written.
    """
    inside = _by_picture(dataset, boxes)
    tasks = []
    for image in dataset.images.sort("path").iter_rows(named=True):
        rows = inside.get(image["image_id"], [])
        scores = [row["score"] for row in rows if row["score"] is not None]
        prediction: dict[str, Any] = {
            "model_version": "yolo-tuneup",
            "result": [_region(row, image, dataset.names, f"{image['image_id']}-{i}") for i, row in enumerate(rows)],
        }
        if scores:
            prediction["score"] = sum(scores) / len(scores)
        tasks.append({"data": {"image": address + quote(image["path"])}, "predictions": [prediction]})
    write_atomic(path, json.dumps(tasks, indent=1, ensure_ascii=False) + "\n")


def _region(row: dict[str, Any], image: dict[str, Any], names: tuple[str, ...], number: str) -> dict[str, Any]:
    """Return a box in percent of the picture's width and height, as Label Studio has them."""
    width, height = image["width"], image["height"]
    region: dict[str, Any] = {
        "id": number,
        "type": "rectanglelabels",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "x": 100 * row["x1"] / width,
            "y": 100 * row["y1"] / height,
            "width": 100 * (row["x2"] - row["x1"]) / width,
            "height": 100 * (row["y2"] - row["y1"]) / height,
            "rotation": 0,
            "rectanglelabels": [names[row["class_id"]]],
        },
    }
    if row["score"] is not None:
        region["score"] = row["score"]
    if row.get("why") is not None:
        region["meta"] = {"text": [row["why"]]}
    return region


def _by_picture(dataset: Dataset, boxes: pl.DataFrame) -> dict[int, list[dict[str, Any]]]:
    """Return the boxes of each picture, cut at its edges, the surest first."""
    sizes = dataset.images.select("image_id", "width", "height")
    rows = boxes.join(sizes, on="image_id", how="inner", maintain_order="left")
    rows = rows.with_columns(
        pl.col("x1", "x2").clip(0, pl.col("width").cast(pl.Float64)),
        pl.col("y1", "y2").clip(0, pl.col("height").cast(pl.Float64)),
    ).filter(pl.col("x2") > pl.col("x1"), pl.col("y2") > pl.col("y1"))
    rows = rows.sort("score", descending=True, nulls_last=True, maintain_order=True)
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(row["image_id"], []).append(row)
    return found


def _for_xml(text: str) -> str:
    if _NOT_IN_XML.search(text):
        raise DataError(f"{text!r} holds a character that an XML file cannot hold; rename it, then export again")
    return text
