"""Write Pascal VOC: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/SPLIT.txt`, and the classes in classes.txt.

Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from xml.sax.saxutils import escape

import polars as pl

from ...errors import DataError
from ..dataset import Dataset
from .placing import (
    empty_folder,
    make_folders,
    number_text,
    picture_places,
    place_pictures,
    split_of,
    splits_of,
    write_groups,
    write_new,
)

# What XML 1.0 cannot hold, not even as a number (https://www.w3.org/TR/xml/#charsets).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BLANKS = {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}  # a reader would make plain blanks and line ends of them

DECIMALS = 9  # of a pixel


def write_voc(dataset: Dataset, folder: Path, *, copy: bool = False) -> Path:
    """Write a dataset as Pascal VOC, corners as decimals without loss. Returns the folder.

    VOC has no word for crowds: their boxes are left out. Corners count from 0, as everywhere in this program.

    Args:
        dataset: what to write; pictures without a split go to train.
        folder: new or empty.
        copy: copy the pictures instead of linking them.

    Raises:
        UsageError: the folder is not empty or cannot be written.
        DataError: a class name cannot be written in XML, or a picture that should be copied cannot be read.
    """
    names = [_xml(name) for name in dataset.names]
    base = os.path.abspath(folder)
    with empty_folder(folder):
        places = picture_places(dataset.images, flat=True)
        place_pictures(dataset, [f"{base}/JPEGImages/{place}" for place in places], copy=copy)
        stems = [posixpath.splitext(place)[0] for place in places]
        files = [f"{base}/Annotations/{stem}.xml" for stem in stems]
        make_folders(files)
        objects = _objects(dataset, names)
        rows = dataset.images.select("image_id", "width", "height").iter_rows()
        for file, place, (image_id, width, height) in zip(files, places, rows, strict=True):
            write_new(file, _document(place, width, height, objects.get(image_id, "")).encode())
        _write_lists(dataset, stems, folder)
        # VOC has no list of classes; without one their order and those without boxes would be lost.
        if not any(len(name.splitlines()) > 1 for name in dataset.names):
            (folder / "classes.txt").write_text("".join(f"{name}\n" for name in dataset.names), "utf-8")
        write_groups(dataset.images, [f"JPEGImages/{place}" for place in places], folder)
    return folder


def _document(place: str, width: int, height: int, objects: str) -> str:
    return (
        f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{_xml(place)}</filename>\n"
        f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\t</size>\n{objects}</annotation>\n"
    )


def _objects(dataset: Dataset, names: list[str]) -> dict[int, str]:
    """Return the objects of each picture that has boxes, by its id."""
    # Programs that read VOC cut decimals off: of 67.99999999999999, the noise of a conversion, they would lose a pixel.
    corners = [number_text(pl.col(name).round(DECIMALS)) for name in ("x1", "y1", "x2", "y2")]
    text = pl.format(
        "\t<object>\n\t\t<name>{}</name>\n\t\t<difficult>{}</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{}</xmin>\n"
        "\t\t\t<ymin>{}</ymin>\n\t\t\t<xmax>{}</xmax>\n\t\t\t<ymax>{}</ymax>\n\t\t</bndbox>\n\t</object>\n",
        pl.lit(pl.Series(names, dtype=pl.String)).gather(pl.col("class_id").cast(pl.UInt32)),
        pl.col("difficult").cast(pl.UInt8),
        *corners,
    )
    boxes = dataset.boxes.filter(~pl.col("crowd")).select("image_id", text=text)
    return dict(boxes.group_by("image_id", maintain_order=True).agg(pl.col("text").str.join("")).iter_rows())


def _write_lists(dataset: Dataset, stems: list[str], folder: Path) -> None:
    """Write which pictures belong to which split, by their names without suffix."""
    place = folder / "ImageSets" / "Main"
    place.mkdir(parents=True)
    table = pl.DataFrame({"stem": stems, "split": split_of(dataset.images)})
    for split in splits_of(dataset.images):
        lines = table.filter(pl.col("split") == split)["stem"].to_list()
        (place / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _xml(text: str) -> str:
    unfit = _NO_XML.search(text)
    if unfit:
        raise DataError(
            f"{text!r}: XML cannot hold the character U+{ord(unfit[0]):04X}; rename the class with data.remap"
        )
    return escape(text, _BLANKS)
