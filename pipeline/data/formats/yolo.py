"""YOLO: one label file per picture with `class cx cy w h` in fractions; class names and splits in a data.yaml.

Formats: https://docs.ultralytics.com/datasets/detect/ and, without a data.yaml, the folders that Darknet, LabelImg,
Label Studio and CVAT write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ...errors import DataError
from ...findings import Finding
from ...sections import DataConfig
from ..images import listed
from ..raw import LEDGER_SCHEMA, RAW_BOXES_SCHEMA, RAW_IMAGES_SCHEMA, ROWS_NAMED, RawDataset
from .label_text import encoding_findings, is_text, printable, read_text
from .yolo_files import Folders, Picture, label_places, pair
from .yolo_findings import CLASS_PROBLEMS, class_errors, label_findings, pairing_findings, row_errors
from .yolo_layout import Layout, find_data_yaml, is_plain_dataset, layout_of_yaml, plain_layout
from .yolo_names import Classes, made_up_classes
from .yolo_rows import PARSED_SCHEMA, parse_rows

__all__ = [
    "find_data_yaml",
    "find_yolo",
    "read_yolo",
]

_TEXT_AT_ONCE = 32 * 1024**2  # characters of label files that are parsed together; tables of them take ten times that


# ---- reading ------------------------------------------------------------------------------------------------------


def find_yolo(path: Path) -> list[Path]:
    """Return the data.yaml that a path names or a folder holds, or the folder itself if it holds label files without
    one; nothing where there is no YOLO dataset.
    """
    if found := find_data_yaml(path):
        return found
    return [path] if os.path.isdir(path) and is_plain_dataset(os.path.abspath(path)) else []


def read_yolo(path: Path, settings: DataConfig) -> RawDataset:
    """Read a YOLO dataset.

    Args:
        path: a data.yaml, or a folder with one, or one with pictures and label files alone.
        settings: `coordinates`, `first_class` and `unlabelled` matter here.

    Raises:
        DataError: nothing can be read: no pictures at all, or no class names where there should be some.
    """
    folders = Folders()
    layout = _layout(path, settings, folders)
    pictures, name_findings = _with_names_of_text(layout.pictures)
    pairs = pair(pictures, folders)
    relative = _Relative(layout.root)
    labels = {p.path: label for p, label in zip(pictures, pairs.labels, strict=True) if label is not None}
    files = _parse_files(list(labels.values()), layout, pixels=settings.coordinates == "pixels")
    classes = layout.classes or made_up_classes(files.class_numbers, settings.first_class)
    names = [relative(label) for label in labels.values()]
    boxes, rejected = _tables(files.rows, [relative(picture) for picture in labels], names, classes)
    images = _picture_table(pictures, pairs.labels, dict(zip(labels.values(), files.problems, strict=True)), relative)
    findings = (
        *layout.findings,
        *name_findings,
        *classes.with_numbers_seen(files.class_numbers).findings,
        *pairing_findings(pairs, relative),
        *label_findings(images, settings.unlabelled, _looked_in(pictures)),
        *encoding_findings([*layout.encodings, *zip(names, files.encodings, strict=True)]),
        *row_errors(rejected, files.rows_read),
        *class_errors(rejected, classes.names, classes.numbers),
    )
    return RawDataset(
        classes.names,
        images.filter(pl.col("problem").is_null()).select(list(RAW_IMAGES_SCHEMA)),
        boxes,
        Path(layout.root),
        fractions=settings.coordinates == "fractions",
        rejected=rejected,
        findings=findings,
        rows_read=files.rows_read,
    )


def _layout(path: Path, settings: DataConfig, folders: Folders) -> Layout:
    if files := find_data_yaml(path):
        return layout_of_yaml(files[0], settings, folders)
    if os.path.isdir(path):
        return plain_layout(os.path.abspath(path), settings, folders)
    where = printable(str(path.absolute()))
    raise DataError(f"{where}: no data.yaml found; it holds `train:`, `val:` and the list `names:`")


def _with_names_of_text(pictures: list[Picture]) -> tuple[list[Picture], list[Finding]]:
    """Leave out pictures whose path is no text: the system allows any bytes, tables and reports do not.

    Raises:
        DataError: that is all of them.
    """
    odd = [printable(path) for path in (picture.path for picture in pictures) if not is_text(path)]
    if not odd:
        return pictures, []
    advice = "rename them"
    if len(odd) == len(pictures):
        raise DataError(listed(f"names of pictures or folders are not UTF-8 text; {advice}", odd))
    message = f"{len(odd)} names of pictures or folders are not UTF-8 text"
    finding = Finding(
        "images.name_encoding", "error", message, {"count": len(odd), "pictures": odd[:ROWS_NAMED]}, advice
    )
    return [picture for picture in pictures if is_text(picture.path)], [finding]


class _Relative:
    """Spells paths relative to the root where they lie in it, else whole; each folder is looked at once."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._folders: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        folder, _, name = path.rpartition(os.sep)
        if folder not in self._folders:
            place = Path(folder)
            inside = place.relative_to(self._root) if place.is_relative_to(self._root) else place
            self._folders[folder] = printable("" if inside == Path() else f"{inside.as_posix().rstrip('/')}/")
        return self._folders[folder] + (name if name.isascii() else printable(name))


def _picture_table(
    pictures: Sequence[Picture],
    labels: Sequence[str | None],
    problems: Mapping[str, str | None],
    relative: Callable[[str], str],
) -> pl.DataFrame:
    """Return the columns of `RAW_IMAGES_SCHEMA`, and `label` and `problem` of the label file of each picture."""
    columns = {
        "path": [relative(picture.path) for picture in pictures],
        "split": [picture.split for picture in pictures],
        "width": [None] * len(pictures),
        "height": [None] * len(pictures),
        "label": [None if label is None else relative(label) for label in labels],
        "problem": [None if label is None else problems[label] for label in labels],
    }
    return pl.DataFrame(columns, {**RAW_IMAGES_SCHEMA, "label": pl.String, "problem": pl.String})


def _looked_in(pictures: list[Picture]) -> str:
    """Name the folders of labels of the first pictures' folder."""
    return " and ".join(printable(place) for place in label_places(pictures[0].folder)) if pictures else ""


@dataclass(frozen=True)
class _Files:
    """The rows of all label files (`PARSED_SCHEMA`), encoding and problem of each, and a count of the rows."""

    rows: pl.DataFrame
    encodings: list[str]
    problems: list[str | None]
    rows_read: int

    @property
    def class_numbers(self) -> pl.Series:
        return self.rows.filter(pl.col("id").is_null())["class_id"]


def _parse_files(labels: list[str], layout: Layout, *, pixels: bool) -> _Files:
    """Read label files, a few thousand at a time."""
    numbers = layout.classes.by_name() if layout.classes else {}
    tables: list[pl.DataFrame] = [pl.DataFrame(schema=PARSED_SCHEMA)]
    encodings: list[str] = []
    problems: list[str | None] = []
    texts: list[str] = []
    waiting, rows_read = 0, 0
    for number, label in enumerate(labels, start=1):
        content = read_text(label)
        encodings.append(content.encoding)
        problems.append(content.problem)
        texts.append(content.text)
        rows_read += sum(not line.isspace() for line in content.text.split("\n") if line)
        waiting += len(content.text)
        if waiting > _TEXT_AT_ONCE or number == len(labels):
            rows = parse_rows(texts, numbers, pixels=pixels, keypoints=layout.keypoints)
            first = number - len(texts)
            tables.append(rows.with_columns((pl.col("file") + first).cast(pl.UInt32)))
            texts, waiting = [], 0
    return _Files(pl.concat(tables), encodings, problems, rows_read)


def _tables(
    rows: pl.DataFrame, pictures: list[str], labels: list[str], classes: Classes
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (raw boxes, rejected rows) of the rows of all files; pictures and labels are their names by file."""
    label = pl.Series(labels, dtype=pl.String).gather(rows["file"])
    rows = rows.with_columns(source=pl.concat_str(label, pl.lit(":"), rows["line"].cast(pl.String)))
    strange = rows["id"].is_null() & ~classes.knows(rows["class_id"])
    rows = rows.with_columns(
        id=pl.when(strange).then(pl.lit("labels.class_out_of_range")).otherwise("id"),
        text=pl.when(strange).then(_as_text()).otherwise("text"),
    )
    sound = rows["id"].is_null()
    boxes = rows.filter(sound)
    boxes = boxes.with_columns(
        path=pl.Series(pictures, dtype=pl.String).gather(boxes["file"]),
        class_id=classes.class_ids(boxes["class_id"]),
        crowd=pl.lit(False),
        difficult=pl.lit(False),
    )
    action = pl.when(pl.col("id").is_in(CLASS_PROBLEMS)).then(pl.lit("refused")).otherwise(pl.lit("dropped"))
    rejected = rows.filter(~sound).select("id", "source", action=action, before="text", after=pl.lit(""))
    return boxes.select(list(RAW_BOXES_SCHEMA)), rejected.select(list(LEDGER_SCHEMA))


def _as_text() -> pl.Expr:
    """Return class number and corners of a row; of most rows the text was not kept."""
    return pl.concat_str([pl.col(c).cast(pl.String) for c in ("class_id", "x1", "y1", "x2", "y2")], separator=" ")
