"""What was predicted, as files that other programs read: JSON, COCO results, YOLO labels, pictures with boxes.

Nothing is ever overwritten, and nothing is written into the folders that the pictures came from: their own labels may
lie there, and pictures with boxes on them would be predicted the next time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import polars as pl

from ..data.images import read_picture
from ..errors import UsageError
from ..records import write_atomic
from ..records import write_json as write_document
from .drawing import Label, draw_boxes
from .predict_files import FilePredictions

JPEG_QUALITY = 95  # OpenCV's own default
COCO_DETECTIONS = "detections.json"
COCO_PICTURES = "images.json"


def document(predictions: FilePredictions) -> dict[str, Any]:
    """Return everything as one document fit for JSON.

    `pictures` is a list of `name`, `path`, `width`, `height` and `detections`, each of which has `class_id`, `class`,
    `score` and `box` (corners x1 y1 x2 y2 in pixels of the picture); `unreadable` is a list of `path` and `why`.
    Beside them stand `weights`, `names`, `settings`, `thresholds`, `thresholds_from`, `head`, `latency` and
    `value_range`.
    """
    pictures = [
        {
            **{key: row[key] for key in ("name", "path", "width", "height")},
            "detections": [
                {"class_id": k, "class": predictions.names[k], "score": score, "box": list(box)}
                for k, score, *box in found.iter_rows()
            ],
        }
        for row, found in _by_picture(predictions)
    ]
    return {
        "weights": str(predictions.weights),
        "names": list(predictions.names),
        "settings": asdict(predictions.settings),
        "thresholds": predictions.thresholds,
        "thresholds_from": predictions.thresholds_from,
        "head": predictions.head,
        "latency": predictions.latency,
        "value_range": None if predictions.value_range is None else list(predictions.value_range),
        "pictures": pictures,
        "unreadable": [{"path": name, "why": why} for name, why in predictions.unreadable],
    }


def write_json(predictions: FilePredictions, path: Path) -> Path:
    """Write everything as one `document`; returns its path.

    Raises:
        UsageError: the file exists, or lies in a folder that pictures were read from.
        RunError: it cannot be written.
    """
    _check_target(predictions, path)
    write_document(path, document(predictions))
    return path


def write_coco(predictions: FilePredictions, folder: Path) -> Path:
    """Write `detections.json`, COCO's list of results, and `images.json` with its images and categories.

    `image_id` is the picture's number, from 1 in the order of the names; `category_id` is the class index plus 1, as
    pycocotools does not count a ground truth of id 0. `bbox` is x y width height in pixels. The second file has the
    form of a ground truth without annotations, for programs that want one beside the results.

    Raises:
        UsageError: one of the files exists, or the folder is one that pictures were read from.
        RunError: they cannot be written.
    """
    for name in (COCO_DETECTIONS, COCO_PICTURES):
        _check_target(predictions, folder / name)
    results = [
        {"image_id": i, "category_id": k + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for i, k, score, x1, y1, x2, y2 in predictions.detections.iter_rows()
    ]
    about = {
        "images": [
            {"id": row["image_id"], "file_name": row["name"], "width": row["width"], "height": row["height"]}
            for row in predictions.pictures.iter_rows(named=True)
        ],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(predictions.names)],
        "annotations": [],
    }
    write_document(folder / COCO_PICTURES, about)
    write_document(folder / COCO_DETECTIONS, results)
    return folder


def write_yolo(predictions: FilePredictions, folder: Path) -> Path:
    """Write one label file per picture, also for those without detections; sub-folders are kept.

    A row is class, centre x, centre y, width, height (fractions of the picture) and score. The file is named after the
    picture without its suffix; where a.jpg and a.png lie side by side, after the picture with it: `a.jpg.txt`.

    Raises:
        UsageError: a file exists, or the folder is one that pictures were read from.
        RunError: a file cannot be written.
    """
    targets = _targets(predictions, folder, ".txt")
    for row, found in _by_picture(predictions):
        w, h = row["width"], row["height"]
        lines = [
            f"{k} {(x1 + x2) / 2 / w:.9f} {(y1 + y2) / 2 / h:.9f} {(x2 - x1) / w:.9f} {(y2 - y1) / h:.9f} {score:.9f}\n"
            for k, score, x1, y1, x2, y2 in found.iter_rows()
        ]
        write_atomic(targets[row["name"]], "".join(lines))
    return folder


def draw(predictions: FilePredictions, folder: Path) -> Path:
    """Write every picture with its boxes, class names and scores on it, as JPEG at full size; sub-folders are kept.

    Files are named as in `write_yolo`.

    Raises:
        UsageError: a file exists, or the folder is one that pictures were read from.
        DataError: a picture has gone meanwhile.
        RunError: a file cannot be written.
    """
    targets = _targets(predictions, folder, ".jpg")
    for row, found in _by_picture(predictions):
        labels = [
            Label((x1, y1, x2, y2), k, f"{predictions.names[k]} {score:.2f}")
            for k, score, x1, y1, x2, y2 in found.reverse().iter_rows()  # the surest is drawn last, on top
        ]
        drawn = draw_boxes(read_picture(Path(row["path"]), predictions.value_range), labels)
        _, encoded = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        write_atomic(targets[row["name"]], encoded.tobytes())
    return folder


def _by_picture(predictions: FilePredictions) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    """Yield every picture and its detections: class_id, score, x1, y1, x2, y2."""
    parts = predictions.detections.partition_by("image_id", as_dict=True)
    none = predictions.detections.clear()
    for row in predictions.pictures.iter_rows(named=True):
        yield row, parts.get((row["image_id"],), none).drop("image_id")


def _targets(predictions: FilePredictions, folder: Path, suffix: str) -> dict[str, Path]:
    """Return for each picture's name the file that is written for it."""
    names = [PurePosixPath(name) for name in predictions.pictures["name"]]
    # Names that differ in case alone are one file on some systems.
    taken = Counter(str(name.with_suffix("")).casefold() for name in names)
    plain = {name: taken[str(name.with_suffix("")).casefold()] == 1 for name in names}
    targets = {str(name): folder / (name.with_suffix(suffix) if plain[name] else f"{name}{suffix}") for name in names}
    shared = Counter(targets.values())
    for name, target in targets.items():
        if shared[target] > 1:
            raise UsageError(f"{name}: another picture's result would be {target} as well; rename one of the two")
        _check_target(predictions, target)
    return targets


def _check_target(predictions: FilePredictions, target: Path) -> None:
    """Make sure that a file is new and outside the folders that pictures came from."""
    if target.exists():
        raise UsageError(f"{target}: exists already; nothing is overwritten, choose another place")
    resolved = target.resolve()
    for source in predictions.sources:
        folder = (source if source.is_dir() else source.parent).resolve()
        inside = folder in resolved.parents if source.is_dir() else folder == resolved.parent
        if inside:
            raise UsageError(f"{target}: lies among the pictures of {source}; choose a folder outside of them")
