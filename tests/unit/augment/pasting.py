"""Drawn sets for copy-paste: flat objects of a known colour on grainy backgrounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from helpers import box, dataset_of
from numpy.typing import NDArray

from pipeline.data.dataset import Dataset
from pipeline.policy import CopyPaste

BLUE, RED = (200, 40, 40), (40, 40, 200)
COLOURS = (BLUE, RED)


def background(seed: int, width: int = 96, height: int = 80, grey: float = 120) -> NDArray[np.uint8]:
    """Return fine grain around a grey level."""
    grain = np.random.default_rng(seed).normal(grey, 4, (height, width, 1))
    return np.repeat(grain, 3, axis=2).clip(0, 255).astype(np.uint8)


def drawn_set(
    folder: Path, rows: Sequence[Mapping[str, Any]], pictures: Mapping[int, NDArray[np.uint8]] | int = 2
) -> Dataset:
    """Write pictures with the objects of the rows, pits blue and scratches red, and return the dataset."""
    numbers = range(1, pictures + 1) if isinstance(pictures, int) else ()
    grounds = {n: background(n) for n in numbers} if isinstance(pictures, int) else dict(pictures)
    for number, ground in grounds.items():
        picture = ground.copy()
        for row in rows:
            if row["image_id"] == number:
                x1, y1, x2, y2 = (int(row[name]) for name in ("x1", "y1", "x2", "y2"))
                picture[y1:y2, x1:x2] = COLOURS[row["class_id"]]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    sizes = {n: {"width": ground.shape[1], "height": ground.shape[0]} for n, ground in grounds.items()}
    return dataset_of(rows, pictures=sizes, root=folder)


def one_rare(folder: Path, pictures: int = 12) -> Dataset:
    """Return pictures with a pit each, and a scratch of 18 x 10 px in the first."""
    rows = [box(n, 0, 10, 12, 24, 26) for n in range(1, pictures + 1)]
    return drawn_set(folder, [*rows, box(1, 1, 50, 30, 68, 40)], pictures)


def settings(**changes: Any) -> CopyPaste:
    """Return copy-paste that brings scratches to 30 % of the boxes."""
    return CopyPaste(**{"quotas": {"scratch": 0.3}, **changes})


def extent(picture: NDArray[np.uint8], colour: tuple[int, int, int] = RED) -> tuple[int, int, int, int]:
    """Return corners of the pixels that are nearer to the colour than to grey."""
    chosen = np.abs(picture.astype(int) - colour).max(axis=2) < 50
    y, x = np.nonzero(chosen)
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
