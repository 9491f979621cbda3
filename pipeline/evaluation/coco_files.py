"""COCO files of any detector: ground truth, and detections as COCO's result format has them; no pictures are needed.

Format: https://cocodataset.org/#format-data and #format-results. It is read to the letter: corners are x, y, x + w and
y + h; the extent is w * h as written, which may differ from the corners' in the last digit; an object's area is the
annotation's `area` where it has one; `iscrowd` alone sets a box aside, `ignore` does not, as in pycocotools. Boxes of
negative or no size are taken, as COCO's tools take them, and overlap nothing. Scores of any size are taken.

The text is read piece by piece. 5 million detections (486 MB) take 10 s of one core and 0.8 GB, most of it the arrays;
json.loads takes 15 s and 2.8 GB before there is any array, polars' reader 10 s and 5.5 GB, and it turns `true` into 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data.images import listed
from ..errors import DataError
from ..findings import Finding
from .coco_boxes import Boxes, identity, shown, to_corners
from .json_lists import read_lists
from .tables import Detections, Truth

_LARGEST_ID = 2**32 - 1  # what the tables of a run hold as a picture's number
_MOST_CLASSES = 2**16  # likewise of a class
# A centre cannot lie outside of the picture, so a few per cent are no accident. Objects spread evenly over the picture
# and a scale that is 3 % too large put 6 % of the centres outside; clipped or loose boxes put none there.
_OUTSIDE = 0.05
# Detections that end before 0.7 of what the ground truth reaches, both ways: of 100 boxes spread evenly, 99 do so by
# chance once in 10 ** 28 cases. A scale that is 30 % too small shows.
_REACH = 0.7
_FEWEST_TO_JUDGE = 100


@dataclass(frozen=True)
class GroundTruth:
    """A COCO file of ground truth.

    Args:
        path: the file.
        truth: its boxes; classes are ordered by category id, pictures by id (numbers before texts). `truth.image_ids`
            are the file's own ids if all of them are whole numbers from 0 to 2^32 - 1, else the number of the row.
        pictures: one row per picture in the order of `truth.image_ids`: image_id (as there), file_id (as in the file,
            as text), file_name ("" where there is none), width and height (null where not stated).
        image_rows: row of each picture by its id in the file.
        class_rows: class index by category id.
        findings: what is odd, but allowed.
    """

    path: Path
    truth: Truth
    pictures: pl.DataFrame
    image_rows: Mapping[int | str, int]
    class_rows: Mapping[int | str, int]
    findings: tuple[Finding, ...]


def read_ground_truth(path: Path) -> GroundTruth:
    """Read ground truth: an object with the lists images, annotations and categories.

    Raises:
        DataError: the file is missing, cut off, no JSON or no COCO, or has entries that cannot be used: all are
            counted, the first ones named.
    """
    lists: dict[str, list[Any]] = {}
    boxes = Boxes(path, "annotations", {"area": np.nan, "iscrowd": 0.0})
    for key, piece in read_lists(path, ("images", "annotations", "categories")):
        if key == "":
            raise DataError(
                f"{path}: a list, as of detections; ground truth is an object with images, annotations and categories "
                "(were the two files given the wrong way round?)"
            )
        if key == "annotations":
            boxes.add(piece)
            piece = []
        lists.setdefault(key, []).extend(piece)
    for key in ("images", "annotations", "categories"):
        if key not in lists:
            raise DataError(f"{path}: no COCO ground truth, the list '{key}' is missing; export it as COCO detection")
    names, class_rows = _read_categories(path, lists["categories"])
    pictures, image_rows = _read_pictures(path, lists["images"])
    image, class_id, numbers = boxes.finish(path, image_rows, class_rows)
    xywh, area, crowd = numbers[:, :4], numbers[:, 4], numbers[:, 5] != 0
    extent = xywh[:, 2] * xywh[:, 3]
    truth = Truth(
        names=names,
        image_ids=pictures["image_id"].to_numpy().astype(np.int64),
        sizes=pictures.select("width", "height").cast(pl.Float64).fill_null(np.nan).to_numpy().reshape(-1, 2),
        image=image,
        class_id=class_id,
        xyxy=to_corners(xywh),
        extent=extent,
        area=np.where(np.isnan(area), extent, area),
        crowd=crowd,
        ignored=crowd.copy(),
    )
    findings = tuple(_truth_findings(path, truth, xywh, boxes.ids))
    return GroundTruth(path, truth, pictures, image_rows, class_rows, findings)


@dataclass(frozen=True)
class DetectionFile:
    """A COCO file of detections; `findings` are those of its ground truth and its own."""

    path: Path
    detections: Detections
    findings: tuple[Finding, ...]


def read_detections(path: Path, ground_truth: GroundTruth) -> DetectionFile:
    """Read detections: a list of {image_id, category_id, bbox, score}, or an object with such a list 'annotations'.

    Raises:
        DataError: as `read_ground_truth`; also for pictures and categories that the ground truth does not know.
    """
    boxes = Boxes(path, "detections", {"score": None})
    lists: dict[str, list[Any]] = {}
    for key, piece in read_lists(path, ("annotations", "categories")):
        if key in ("", "annotations"):
            boxes.add(piece)
            piece = []
        lists.setdefault(key, []).extend(piece)
    if not {"", "annotations"} & set(lists):
        raise DataError(f"{path}: no COCO detections; they are a list, or an object with the list 'annotations'")
    _check_names(path, lists.get("categories", []), ground_truth)
    image, class_id, numbers = boxes.finish(ground_truth.path, ground_truth.image_rows, ground_truth.class_rows)
    xywh = numbers[:, :4]
    found = Detections(image, class_id, numbers[:, 4].copy(), to_corners(xywh), xywh[:, 2] * xywh[:, 3])
    return DetectionFile(path, found, (*ground_truth.findings, *detection_findings(ground_truth.truth, found)))


def detection_findings(truth: Truth, detections: Detections) -> list[Finding]:
    """Return what is odd about detections: scores beyond 0 and 1, coordinates that do not fit the pictures' sizes."""
    found: list[Finding] = []
    score = detections.score
    beyond = (score < 0) | (score > 1)
    if beyond.any():
        found.append(
            Finding(
                "detections.scores_beyond_one",
                "info",
                f"{beyond.sum():,} of {len(score):,} scores lie outside of 0 to 1 ({score.min():g} to {score.max():g})",
                {"count": int(beyond.sum()), "lowest": float(score.min()), "highest": float(score.max())},
                "average precision only sorts by them; thresholds and calibration need scores from 0 to 1",
            )
        )
    return found + _size_findings(truth, detections)


def _size_findings(truth: Truth, detections: Detections) -> list[Finding]:
    """Compare detections with the pictures' stated sizes: those of another resolution lie outside or in a corner."""
    size, truth_size = truth.sizes[detections.image], truth.sizes[truth.image]
    known = np.isfinite(size).all(axis=1)
    if known.sum() < _FEWEST_TO_JUDGE:
        return []
    centre = (detections.xyxy[known, :2] + detections.xyxy[known, 2:]) / 2
    outside = ((centre < 0) | (centre > size[known])).any(axis=1)
    evidence: dict[str, Any] = {"detections": int(known.sum()), "outside": int(outside.sum())}
    if outside.mean() >= _OUTSIDE:
        message = f"the centres of {outside.sum():,} of {known.sum():,} detections lie outside of their pictures"
        advice = (
            "compare the sizes of the pictures that were predicted with width and height in the ground truth; bbox is "
            "[x, y, width, height] in pixels of that size, not two corners and not the centre"
        )
        return [Finding("detections.outside_of_pictures", "warning", message, evidence, advice)]
    known_truth = np.isfinite(truth_size).all(axis=1)
    if known_truth.sum() < _FEWEST_TO_JUDGE:
        return []
    # The 99th percentile instead of the largest: one stray box does not hide the rest.
    reach = np.quantile(detections.xyxy[known, 2:] / size[known], 0.99, axis=0)
    truth_reach = np.quantile(truth.xyxy[known_truth, 2:] / truth_size[known_truth], 0.99, axis=0)
    if (reach >= _REACH * truth_reach).any():
        return []
    evidence |= {"reach": reach.tolist(), "truth_reach": truth_reach.tolist()}
    message = (
        f"nearly all detections lie within the first {reach[0]:.2g} of the width and {reach[1]:.2g} of the height; the "
        f"ground truth reaches {truth_reach[0]:.2g} and {truth_reach[1]:.2g}"
    )
    advice = "the detections may be those of smaller pictures, or fractions; bbox is in pixels of the original picture"
    return [Finding("detections.in_a_corner", "warning", message, evidence, advice)]


def _truth_findings(path: Path, truth: Truth, xywh: NDArray[np.float64], ids: Sequence[Any]) -> list[Finding]:
    found: list[Finding] = []
    flat = int((xywh[:, 2:] <= 0).any(axis=1).sum())
    if flat:
        message = f"{path.name}: {flat:,} of {len(xywh):,} boxes have no width or no height, so nothing can find them"
        advice = "mend or remove them in the ground truth; until then they count as missed, as in COCO's tools"
        found.append(Finding("ground_truth.empty_boxes", "warning", message, {"count": flat}, advice))
    repeated = len(ids) - len(set(ids))
    if repeated:
        message = f"{path.name}: {repeated:,} annotations have an id that another one has already"
        advice = "each counts here; pycocotools takes the last one of an id several times, so its figures may differ"
        found.append(Finding("ground_truth.repeated_ids", "warning", message, {"count": repeated}, advice))
    if 0 in ids:
        message = f"{path.name}: an annotation has the id 0; it counts here like any other"
        advice = (
            "pycocotools takes a detection that finds it for a wrong one; let ids start at 1 if you compare figures"
        )
        found.append(Finding("ground_truth.id_zero", "info", message, {}, advice))
    return found


# ---- categories and pictures ----------------------------------------------------------------------------------------


def _read_categories(path: Path, records: list[Any]) -> tuple[tuple[str, ...], dict[int | str, int]]:
    """Return the class names in the order of the category ids, and the index of each id."""
    names: dict[int | str, str] = {}
    for record in records:
        key = identity(record.get("id")) if isinstance(record, dict) else None
        if not isinstance(key, int | str) or not isinstance(record.get("name"), str) or not record["name"]:
            raise DataError(f"{path}: a category needs 'id' and 'name', found {shown(record)}")
        if key in names:
            raise DataError(f"{path}: two categories have the id {key!r}, '{names[key]}' and '{record['name']}'")
        names[key] = record["name"]
    ordered = sorted(names, key=_by_kind)
    if not 0 < len(names) <= _MOST_CLASSES:
        raise DataError(f"{path}: {len(names)} categories; there should be 1 to {_MOST_CLASSES}")
    if len(set(names.values())) < len(names):
        twice = sorted(name for name in set(names.values()) if list(names.values()).count(name) > 1)
        raise DataError(f"{path}: two categories have the same name: {', '.join(twice)}; rename one of them")
    return tuple(names[key] for key in ordered), {key: row for row, key in enumerate(ordered)}


def _read_pictures(path: Path, records: list[Any]) -> tuple[pl.DataFrame, dict[int | str, int]]:
    """Return the table of pictures, ordered by id, and the row of each id."""
    found: dict[int | str, dict[str, Any]] = {}
    problems = []
    for position, record in enumerate(records):
        key = identity(record.get("id")) if isinstance(record, dict) else None
        if not isinstance(key, int | str):
            problems.append(f"images[{position}]: a picture needs an 'id', a whole number or a text: {shown(record)}")
        elif key in found:
            problems.append(f"images[{position}]: the id {key!r} was given to another picture already")
        else:
            found[key] = record
    if problems:
        raise DataError(listed(f"{path}: {len(problems)} of {len(records)} pictures cannot be told apart", problems))
    ordered = sorted(found, key=_by_kind)
    plain = all(isinstance(key, int) and 0 <= key <= _LARGEST_ID for key in ordered)
    table = pl.DataFrame(
        {
            "image_id": ordered if plain else range(len(ordered)),
            "file_id": [str(key) for key in ordered],
            "file_name": [str(found[key].get("file_name") or "") for key in ordered],
            "width": [_side(found[key].get("width")) for key in ordered],
            "height": [_side(found[key].get("height")) for key in ordered],
        },
        schema={
            "image_id": pl.Int64,
            "file_id": pl.String,
            "file_name": pl.String,
            "width": pl.Int64,
            "height": pl.Int64,
        },
    )
    return table, {key: row for row, key in enumerate(ordered)}


def _side(stated: Any) -> int | None:
    return int(stated) if type(stated) in (int, float) and 0 < stated < _LARGEST_ID else None


def _by_kind(key: int | str) -> tuple[bool, Any]:
    return isinstance(key, str), key


def _check_names(path: Path, records: list[Any], ground_truth: GroundTruth) -> None:
    """Refuse detections whose own list of categories gives an id another name than the ground truth does."""
    for record in records:
        key = identity(record.get("id")) if isinstance(record, dict) else None
        row = ground_truth.class_rows.get(key) if isinstance(key, int | str) else None
        if row is not None and record.get("name", ground_truth.truth.names[row]) != ground_truth.truth.names[row]:
            raise DataError(
                f"{path}: category {key!r} is {shown(record['name'])} here and '{ground_truth.truth.names[row]}' in "
                f"{ground_truth.path}; write the detections with the ground truth's category ids"
            )
