"""Writing a demo set to disk: pictures, YOLO labels, `data.yaml` and a data card."""

from __future__ import annotations

import os
import shutil
import tempfile
import textwrap
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ..dataset import SPLITS
from .drawing import Picture
from .field import FIELD_NAMES, field_picture
from .steel import STEEL_NAMES, steel_picture

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95]
_LEAST_SIZE, _MOST_SIZE = 64, 2048  # pixels a side


@dataclass(frozen=True)
class DemoKind:
    """One kind of demo set.

    Args:
        names: class names, in the order of the class ids.
        draw: draws one picture from a generator and a size in pixels.
        size: side of a picture in pixels where the caller names none.
        counts: pictures per split where the caller names none.
        about: what is on the pictures, in a few sentences for the card.
    """

    names: tuple[str, ...]
    draw: Callable[[np.random.Generator, int], Picture]
    size: int
    counts: Mapping[str, int]
    about: str


DEMOS: dict[str, DemoKind] = {
    "steel": DemoKind(
        names=STEEL_NAMES,
        draw=steel_picture,
        size=256,
        counts={"train": 240, "val": 60, "test": 60},
        about=(
            "Brushed sheet steel under uneven light, with 0 to 5 defects in a picture: scratches (thin and long, "
            "bright or dark), pits (small round holes), inclusions (dark ragged slag) and patches (wide stains, rust "
            "and scale). About one defect in ten is faint on purpose, and about one picture in eight has none."
        ),
    ),
    "field": DemoKind(
        names=FIELD_NAMES,
        draw=field_picture,
        size=320,
        counts={"train": 120, "val": 30, "test": 30},
        about=(
            "Soil seen from above with rows of a young beet-like crop and with weeds between them (grasses, toothed "
            "rosettes and small-leaved plants), at several stages of growth; leaves overlap and throw shadows. A plant "
            "that is partly covered by another keeps the box of its whole extent inside the picture. About one picture "
            "in twelve shows bare soil."
        ),
    ),
}


def make_demo(
    kind: str,
    folder: Path,
    *,
    seed: int = 0,
    size: int | None = None,
    counts: Mapping[str, int] | None = None,
) -> Path:
    """Draw a demo set into `folder` in the YOLO layout.

    The same arguments give the same bytes under the same versions of numpy and OpenCV. A picture depends on the seed,
    the kind, its split and its number alone, not on how many others are made.

    Args:
        kind: a key of `DEMOS`.
        folder: made where it does not exist; it may hold anything but `images` and `labels`.
        seed: 0 or more.
        size: side of the pictures in pixels.
        counts: pictures per split; a split that is left out is not made.

    Returns:
        The path of the `data.yaml`, which is written last.

    Raises:
        UsageError: unknown kind, impossible numbers, or a folder that holds pictures already or cannot be written.
    """
    folder = Path(folder)
    demo, size, counts = _checked(kind, seed, size, counts)
    _refuse_taken(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".demo-", dir=folder))
        try:
            with _one_thread():
                tallies = {split: _write_split(kind, staging, split, seed, size, n) for split, n in counts.items()}
            (staging / "card.md").write_text(_card(kind, seed, size, tallies), encoding="utf-8")
            (staging / "data.yaml").write_text(_data_yaml(kind, demo, counts), encoding="utf-8")
            # Only whole folders arrive under their final names, and data.yaml after all of them.
            for name in ("labels", "images", "card.md", "data.yaml"):
                os.replace(staging / name, folder / name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"{folder}: the demo set cannot be written here ({error}); choose another folder") from error
    return folder / "data.yaml"


def demo_picture(kind: str, split: str, index: int, *, seed: int = 0, size: int | None = None) -> Picture:
    """Return picture number `index` (from 1) of a split of a demo set, as `make_demo` draws it."""
    demo, size, _ = _checked(kind, seed, size, {split: 1})
    if index < 1:
        raise UsageError(f"the pictures of a demo set are numbered from 1, so there is none with the number {index}")
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), SPLITS.index(split), index])
    return demo.draw(rng, size)


def _checked(
    kind: str, seed: int, size: int | None, counts: Mapping[str, int] | None
) -> tuple[DemoKind, int, dict[str, int]]:
    if kind not in DEMOS:
        raise UsageError(f"there is no demo set '{kind}'; choose one of: {', '.join(DEMOS)}")
    demo = DEMOS[kind]
    size = demo.size if size is None else size
    counts = demo.counts if counts is None else counts
    if seed < 0:
        raise UsageError(f"the seed of a demo set is 0 or more, not {seed}")
    if not _LEAST_SIZE <= size <= _MOST_SIZE:
        raise UsageError(f"the size of a demo picture is {_LEAST_SIZE} to {_MOST_SIZE} pixels, not {size}")
    for split, count in counts.items():
        if split not in SPLITS:
            raise UsageError(f"a demo set has no split '{split}'; choose from: {', '.join(SPLITS)}")
        if count < 1:
            raise UsageError(f"the split '{split}' of a demo set needs 1 picture or more, not {count}; or leave it out")
    if not counts:
        raise UsageError(f"a demo set needs at least one split; choose from: {', '.join(SPLITS)}")
    return demo, size, {split: counts[split] for split in SPLITS if split in counts}


def _refuse_taken(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the demo set")
    for name in ("images", "labels"):
        if os.path.lexists(folder / name):
            raise UsageError(
                f"{folder / name} exists already, and pictures are never overwritten; "
                f"choose another folder, or remove {folder / 'images'} and {folder / 'labels'} first"
            )


@dataclass(frozen=True)
class _Tally:
    """What one split came to hold."""

    pictures: int
    empty: int
    boxes: tuple[int, ...]  # per class


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread meanwhile: sharing out pictures this small takes longer than drawing them."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _write_split(kind: str, root: Path, split: str, seed: int, size: int, count: int) -> _Tally:
    images, labels = root / "images" / split, root / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)

    def write(index: int) -> NDArray[np.int64]:
        picture = demo_picture(kind, split, index, seed=seed, size=size)
        name = f"{kind}_{index:05d}"
        written, data = cv2.imencode(".jpg", picture.image, _JPEG)
        if not written:
            raise OSError(f"OpenCV could not encode {name}.jpg")
        (images / f"{name}.jpg").write_bytes(data.tobytes())
        (labels / f"{name}.txt").write_bytes(_label_lines(picture).encode())
        return picture.class_ids

    drawn = [write(index) for index in range(1, count + 1)]
    per_class = np.bincount(np.concatenate(drawn), minlength=len(DEMOS[kind].names))
    return _Tally(count, sum(len(class_ids) == 0 for class_ids in drawn), tuple(per_class.tolist()))


def _label_lines(picture: Picture) -> str:
    """Return one line `class cx cy w h` per box, in fractions of the picture; nothing for an empty picture."""
    height, width = picture.image.shape[:2]
    lines = []
    for class_id, (x1, y1, x2, y2) in zip(picture.class_ids, picture.boxes, strict=True):
        fractions = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(f"{class_id} " + " ".join(f"{fraction:.8f}" for fraction in fractions) + "\n")
    return "".join(lines)


def _data_yaml(kind: str, demo: DemoKind, splits: Mapping[str, int]) -> str:
    # No `path:`: the folders count from this file, and Ultralytics would take "." for the working folder.
    lines = [f"# Made by `tuneup demo {kind}`; see card.md."]
    lines += [f"{split}: images/{split}" for split in splits]
    lines += ["names:", *(f"  {class_id}: {name}" for class_id, name in enumerate(demo.names))]
    return "\n".join(lines) + "\n"


def _card(kind: str, seed: int, size: int, tallies: Mapping[str, _Tally]) -> str:
    demo = DEMOS[kind]
    table = [
        "| split | pictures | empty | " + " | ".join(demo.names) + " |",
        "| --- " * (3 + len(demo.names)) + "|",
    ]
    for split, tally in tallies.items():
        cells = (split, tally.pictures, tally.empty, *tally.boxes)
        table.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    counts = {split: tally.pictures for split, tally in tallies.items()}
    if size == demo.size and counts == demo.counts:
        command = f"tuneup demo {kind} DIR" + (f" --seed {seed}" if seed else "")
    else:  # the command line offers the seed alone
        command = f'make_demo("{kind}", Path("DIR"), seed={seed}, size={size}, counts={counts})'
    about = textwrap.fill(demo.about, 118)
    return _CARD.format(kind=kind, about=about, table="\n".join(table), seed=seed, size=size, command=command)


_CARD = """# Demo set: {kind}

**Synthetic.** Every picture was drawn by a program; nothing here was photographed.

{about}

## How it was made

    {command}

Seed {seed}, {size} × {size} pixels, JPEG. The same command gives the same files under the same versions of numpy and
OpenCV. Each box is the tight box of the pixels that the object's own mask covers inside the picture; nobody labelled
anything by hand.

## What is in it

{table}

The columns after `empty` count boxes.

## Limits

- It is for trying out the pipeline: whether it runs, learns and reports on this machine.
- A score on it says nothing about your own pictures.
- One program drew all splits, so the test split is as like the training split as can be. Real pictures never are.
- The labels are exact. Real labels are not, and this set puts no check of label quality to the test.
"""
