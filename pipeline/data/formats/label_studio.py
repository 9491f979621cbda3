"""Label Studio JSON: tasks with the annotations of one or more people, in percent of the picture's size.

Format: https://labelstud.io/guide/export, "JSON" and "JSON_MIN". Of the annotations of a task one is used: one that is
marked as ground truth before others, else the one that was submitted last; cancelled ones never. Predictions are what a
model said, not labels, and are not used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ...errors import DataError
from ...findings import Finding, Severity
from ...sections import DataConfig
from ..images import is_picture
from ..raw import RawDataset
from .folder_listing import Pictures, list_below, root_of, sample_files
from .json_documents import JsonError, load_json, outline
from .label_files import refuse_unreadable
from .label_rows import Entry, LabelRows, dataset_of, file_finding
from .label_studio_regions import regions, stated_size
from .label_text import shown
from .picture_lists import not_listed, resolve

_TASK_KEYS = frozenset({"data", "completions", "predictions", "drafts", "file_upload", "total_annotations"})
_MIN_KEYS = frozenset({"annotation_id", "completion_id", "annotator"})
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")  # that Label Studio puts before the name of an uploaded file


@dataclass
class _Seen:
    """What was met in the tasks and is told as a finding: "file:task ID" of each."""

    several: list[str] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)


def find_label_studio(path: Path) -> list[Path]:
    """Return a few of the files that a file or folder holds in this format, by a look at their first keys."""
    return [file for file in sample_files(path, ".json") if _is_label_studio(file)]


def _is_label_studio(file: Path) -> bool:
    kind, keys = outline(file)
    if kind == "object":
        return {"data", "annotations"} <= keys or {"data", "predictions"} <= keys
    return kind == "list" and bool(keys & (_TASK_KEYS | _MIN_KEYS) or {"id", "annotations"} <= keys)


def read_label_studio(path: Path, settings: DataConfig) -> RawDataset:
    """Read the Label Studio exports of a folder, or one file, with the pictures below the folder.

    The address of a picture (`/data/upload/...`, `/data/local-files/?d=...`, `s3://...`, `https://...`) is looked up
    below the folder by the end of its path, then by its name, then without the prefix of an upload; nothing is fetched.
    Splits come from folders, or the file's name; else all is train. Classes are sorted by name, as an export does not
    list them, or in the order of a classes.txt or labels.txt.

    Raises:
        DataError: there is no such file, none can be read, or not a single picture is there.
    """
    path = Path(os.path.abspath(path))
    root = root_of(path)
    listing = list_below(root, {".json", ".txt", ".pbtxt"})
    files = [path.relative_to(root).as_posix()] if path.is_file() else listing.of_suffix(".json")
    pictures = Pictures(listing.pictures)
    rows, seen = LabelRows(), _Seen()
    for file in files:
        if _is_label_studio(root / file):
            _read_file(root, file, rows, seen)
    refuse_unreadable(rows, root, "Label Studio JSON")
    findings = resolve(rows, [_names(entry.name) for entry in rows.entries], pictures, root)
    if all(entry.path is None or entry.unusable for entry in rows.entries):
        raise DataError(
            f"{root}: all pictures that are there were turned in Label Studio to be labelled, such as that of "
            f"{seen.turned[0]}; turn them back, check the boxes and export again"
        )
    findings += _findings(seen)
    findings += [] if path.is_file() else not_listed(rows, pictures)
    return replace(dataset_of(rows, listing, [], findings, settings), fractions=True)


def _read_file(root: Path, file: str, rows: LabelRows, seen: _Seen) -> None:
    try:
        document, encoding = load_json(root / file)
    except JsonError as error:
        rows.broken.append((file, error.line, str(error)))
        return
    rows.encodings.append((file, encoding))
    before = len(rows.entries)
    ids: set[str] = set()
    for place, tasks in enumerate(_by_task(document if isinstance(document, list) else [document])):
        known = _id(tasks[0], place)
        _read_task(tasks, f"{file}:task {known if known not in ids else f'{known} (at {place})'}", file, rows, seen)
        ids.add(known)
    if len(rows.entries) == before:
        rows.broken.append((file, 0, "no task with a picture in it"))


def _by_task(document: list[Any]) -> Iterator[list[Any]]:
    """Give the records of each task: one, or in the short form (JSON_MIN) one for each annotation."""
    tasks: dict[Any, list[Any]] = {}
    for place, record in enumerate(document):
        key = record.get("id") if isinstance(record, dict) and "data" not in record else None
        tasks.setdefault(key if isinstance(key, int | str) else ("place", place), []).append(record)
    yield from tasks.values()


def _id(record: Any, place: int) -> str:
    known = record.get("id") if isinstance(record, dict) else None
    return shown(known) if isinstance(known, int | str) else str(place)


def _read_task(records: list[Any], source: str, file: str, rows: LabelRows, seen: _Seen) -> None:
    name = _picture(records[0])
    if name is None:
        seen.malformed.append(source)
        return
    if _list(records[0], "predictions"):
        seen.predicted.append(source)
    annotations = [found for record in records for found in _annotations(record)]
    if len(annotations) > 1:
        seen.several.append(source)
    chosen = max(annotations, key=_rank) if annotations else None  # of equals the first, so the newest come first
    results = _list(chosen, "result")
    width, height, turned = stated_size(results)
    entry = Entry(file, name, width, height, labelled=chosen is not None)
    if turned:
        seen.turned.append(source)
        entry.unusable = "turned"
    rows.entries.append(entry)
    for place, found in regions(results):
        rows.read += len(found)
        for row in found:
            rows.add(row, f"{source} result {place}")


def _annotations(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the annotations that count, the newest first."""
    if "data" not in record:  # the short form: the regions stand in a key of the record
        results = [item for value in record.values() if isinstance(value, list) for item in value]
        found = [_long_form(item) for item in results if isinstance(item, dict)]
        return [{"result": found, "updated_at": record.get("updated_at") or record.get("created_at")}]
    annotations = _list(record, "annotations") or _list(record, "completions")  # the name up to version 0.9
    found = [one for one in annotations if isinstance(one, dict) and one.get("was_cancelled") is not True]
    return found[::-1]


def _long_form(region: dict[str, Any]) -> dict[str, Any]:
    kind = next((key for key in region if key.endswith("labels")), "")
    about = {key: region.get(key) for key in ("original_width", "original_height", "image_rotation")}
    return {**about, "type": kind, "value": region}


def _rank(annotation: dict[str, Any]) -> tuple[bool, str]:
    """Return by what one annotation goes before another: ground truth, then the time (ISO 8601, so text will do)."""
    time = annotation.get("updated_at") or annotation.get("created_at")
    return annotation.get("ground_truth") is True, time if isinstance(time, str) else ""


def _list(record: Any, key: str) -> list[Any]:
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, list) else []


def _picture(record: Any) -> str | None:
    """Return the address of a task's picture: `image`, or the first value that ends like a picture's name."""
    if not isinstance(record, dict):
        return None
    data = record.get("data", record)
    values = [data.get("image"), *data.values()] if isinstance(data, dict) else []
    texts = [value for value in values if isinstance(value, str) and not value.startswith("data:")]
    return next((text for text in texts if any(map(is_picture, map(Path, _names(text))))), None)


def _names(address: str) -> list[str]:
    """Return the paths that an address may mean, the likeliest first."""
    try:
        split = urlsplit(address)
        inside = parse_qs(split.query).get("d", [])  # /data/local-files/?d=path
        path = inside[0] if inside else unquote(split.path)
    except ValueError:  # no address at all
        path = address
    names = [path, address]
    ends = [name.replace("\\", "/").rpartition("/")[2] for name in names]
    short = [end[9:] for end in ends if _UPLOAD_PREFIX.match(end)]
    return list(dict.fromkeys([*names, *short]))


def _findings(seen: _Seen) -> list[Finding]:
    said: list[tuple[str, Severity, list[str], str, str]] = [
        (
            "labels.several_annotators",
            "info",
            seen.several,
            "tasks have several annotations; the one marked as ground truth, else the newest, was used",
            "mark the right one in Label Studio where people disagree",
        ),
        (
            "labels.predictions",
            "info",
            seen.predicted,
            "tasks hold predictions, which are no labels and were not used",
            "confirm them in Label Studio, then export again",
        ),
        (
            "labels.picture_turned",
            "warning",
            seen.turned,
            "pictures were turned in Label Studio while they were labelled, and were left out",
            "turn them back in Label Studio, check the boxes and export again",
        ),
        (
            "labels.task_without_picture",
            "warning",
            seen.malformed,
            "tasks have no picture in their data and were left out",
            "export the tasks of a project for pictures",
        ),
    ]
    return [
        file_finding(key, severity, f"{len(tasks)} {words}", tasks, advice)
        for key, severity, tasks, words, advice in said
        if tasks
    ]
