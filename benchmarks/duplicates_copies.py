"""Copies of pictures as people really make them, for `duplicates.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.data.images import read_picture

Picture = NDArray[np.uint8]
COPY = "copies"  # folder below the root, with a folder for each kind


def jpeg_50(picture: Picture, rng: np.random.Generator) -> Picture:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)


def flip(picture: Picture, rng: np.random.Generator) -> Picture:
    return cv2.flip(picture, int(rng.integers(0, 2)))


def quarter_turn(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.ascontiguousarray(np.rot90(picture, int(rng.integers(1, 4))))


def brightness(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.clip(picture * rng.choice([0.7, 1.3]) + rng.choice([-20, 20]), 0, 255).astype(np.uint8)


def crop(share: float) -> Callable[[Picture, np.random.Generator], Picture]:
    def cut(picture: Picture, rng: np.random.Generator) -> Picture:
        height, width = picture.shape[:2]
        top, left = int(rng.integers(0, int(height * share) + 1)), int(rng.integers(0, int(width * share) + 1))
        return picture[top : top + round(height * (1 - share)), left : left + round(width * (1 - share))]

    return cut


def moved(picture: Picture, matrix: NDArray[np.float64]) -> Picture:
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def three_degrees(picture: Picture, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    return moved(picture, cv2.getRotationMatrix2D((width / 2, height / 2), 3 * int(rng.choice([-1, 1])), 1))


def shift_5(picture: Picture, rng: np.random.Generator) -> Picture:
    way = np.eye(2)[rng.integers(2)] * 0.05 * np.array(picture.shape[1::-1])
    return moved(picture, np.column_stack([np.eye(2), way]))


# kind: (how it is made, what the research before this said of hashes within 10 bits)
KINDS: dict[str, tuple[Callable[[Picture, np.random.Generator], Picture], float]] = {
    "JPEG 50": (jpeg_50, 1.0),
    "flip": (flip, 1.0),
    "quarter turn": (quarter_turn, 1.0),
    "brightness": (brightness, 0.96),
    "3 degrees": (three_degrees, 0.98),
    "crop 3 %": (crop(0.03), 0.94),
    "crop 10 %": (crop(0.10), 0.52),
    "shift 5 %": (shift_5, 0.16),
}


def plant(root: Path, originals: Sequence[str], each: int) -> dict[str, list[str]]:
    """Write copies of every kind of some originals; returns the originals that were copied, by kind."""
    rng = np.random.default_rng(0)
    chosen = [originals[k] for k in sorted(rng.choice(len(originals), min(each, len(originals)), replace=False))]
    for number, path in enumerate(chosen):
        picture = read_picture(root / path)
        for kind, (change, _) in KINDS.items():
            file = root / COPY / kind / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), change(picture, rng), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return {kind: chosen for kind in KINDS}
