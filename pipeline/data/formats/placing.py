"""What all writers share: where each picture goes, links and copies, groups, and never writing over anything."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from ...errors import DataError, UsageError
from ..dataset import SPLITS, Dataset
from ..images import PICTURE_SUFFIXES
from ..images_csv import NAME as IMAGES_CSV

# Folders of other formats; one named `images` inside would send Ultralytics to the wrong label file.
_LEFT_OUT = {"", ".", "..", "images", "labels", "JPEGImages", "Annotations"}
# Signs that are no part of a name on some system, end a line of a list, or cannot stand in XML.
_UNFIT = re.compile("[\\\\:\x00-\x1f\x7f\x85\u2028\u2029\ufffe\uffff]")


@contextmanager
def empty_folder(folder: Path) -> Iterator[None]:
    """Make the folder, and see to it that what is written there is new.

    Raises:
        UsageError: it exists and is not empty, is a file, or cannot be written.
    """
    try:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UsageError(f"{folder}: not empty; choose another folder or remove it")
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error


def split_of(images: pl.DataFrame) -> pl.Series:
    """Return the split that each picture is written to: train where it has none."""
    return images["split"].fill_null("train")


def splits_of(images: pl.DataFrame) -> list[str]:
    """Return the splits that are written, in the order train, val, test."""
    present = set(split_of(images))
    return [split for split in SPLITS if split in present]


def picture_places(images: pl.DataFrame, *, flat: bool = False) -> list[str]:
    """Return a relative path for each picture, below a folder for its split, or all in one folder.

    Folders of the source stay, so that pictures of one folder stay together; flat, they become part of the name. No two
    pictures differ only in suffix or case, as they would share a label file or, on some systems, one place; a second
    one of a name gets a number.

    Args:
        images: columns of `IMAGES_SCHEMA`.
        flat: no folders at all, as the lists of VOC name pictures without them.
    """
    rows = zip(images["path"].to_list(), split_of(images).to_list(), strict=True)
    parts = [(_flat_parts if flat else _parts)(path, split) for path, split in rows]
    # Nor may a file be named like a folder.
    taken = {above.casefold() for folder in {folder for folder, _, _ in parts} for above in _ancestors(folder)}
    places = []
    for folder, stem, suffix in parts:
        name = wanted = f"{folder}/{stem}" if folder else stem
        number = 1
        while not taken.isdisjoint(files := _files(name.casefold(), suffix.casefold())):
            number += 1
            name = f"{wanted}-{number}"
        taken.update(files)
        places.append(name + suffix)
    return places


def _parts(path: str, split: str) -> tuple[str, str, str]:
    """Return folder, stem and suffix of the place that a picture should get."""
    folder, name = posixpath.split(path)
    stem, suffix = posixpath.splitext(name)
    kept = [part for part in folder.split("/") if part not in _LEFT_OUT and part not in SPLITS]
    return _UNFIT.sub("_", "/".join([split, *kept])), _UNFIT.sub("_", stem), suffix


def _flat_parts(path: str, split: str) -> tuple[str, str, str]:
    """Return no folder, stem and suffix; a stem that ends like a file's name would be cut short in a list."""
    folder, stem, suffix = _parts(path, split)
    name = "_".join([*folder.split("/")[1:], stem]).strip()
    inner, ending = posixpath.splitext(name)
    return "", f"{inner}_{ending[1:]}" if ending.lower() in {*PICTURE_SUFFIXES, ".xml"} else name, suffix


def _ancestors(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = posixpath.dirname(folder)


def _files(name: str, suffix: str) -> tuple[str, ...]:
    """Return what a picture takes: its stem, itself and its label files."""
    return (f"{name}/", name + suffix, f"{name}.txt", f"{name}.xml")


def place_pictures(dataset: Dataset, targets: Sequence[str], *, copy: bool) -> None:
    """Link or copy the pictures, each to its absolute target; folders are made.

    Raises:
        DataError: a picture that should be copied cannot be read.
        OSError: a target exists or cannot be written.
    """
    make_folders(targets)
    root = os.path.abspath(dataset.root)
    put = _copy if copy else _link
    for path, target in zip(dataset.images["path"].to_list(), targets, strict=True):
        put(os.path.join(root, path), target)


def make_folders(files: Sequence[str]) -> None:
    """Make the folders that the files lie in."""
    for folder in {os.path.dirname(file) for file in files}:
        os.makedirs(folder, exist_ok=True)


def _link(source: str, target: str) -> None:
    """Link a picture; where the file system has neither kind of link, copy it."""
    for make in (os.symlink, os.link):
        try:
            make(source, target)
            return
        except FileExistsError:  # never through a link into the source
            raise
        except (OSError, NotImplementedError):
            continue
    _copy(source, target)


def _copy(source: str, target: str) -> None:
    try:
        content = open(source, "rb")  # closed below
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror or error}); nothing was changed") from error
    with content, open(target, "xb") as copied:
        shutil.copyfileobj(content, copied, 1 << 20)


def write_new(file: str, content: bytes) -> None:
    """Write a small file that does not exist yet, with as few calls of the system as there can be.

    Raises:
        OSError: it exists or cannot be written.
    """
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        while content:
            content = content[os.write(handle, content) :]
    finally:
        os.close(handle)


def write_groups(images: pl.DataFrame, paths: Sequence[str], folder: Path) -> None:
    """Write which pictures belong together, if any do; the intake reads it back.

    Args:
        images: columns of `IMAGES_SCHEMA`.
        paths: where each one was put, relative to the folder.
        folder: that was written.
    """
    if images["group"].null_count() < images.height:
        pl.DataFrame({"path": paths, "group": images["group"]}).write_csv(folder / IMAGES_CSV)


def number_text(column: pl.Expr) -> pl.Expr:
    """Return numbers as the shortest text that reads back the same, whole ones without a point."""
    return column.cast(pl.String).str.strip_suffix(".0")
