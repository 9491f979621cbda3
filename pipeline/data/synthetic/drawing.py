"""What both kinds of picture are drawn with: noise, outlines, sprites, and boxes read off a sprite's own mask.

A thing is first drawn whole on a sprite, then cut by the picture's border: so the share of it that remains
visible is known, and its box is that of the very pixels that reach the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

SEEN = 0.1  # a pixel belongs to an object where the object's opacity is above this
LEAST_SHARE = 0.25  # an object of which less is inside the picture is left out
LEAST_SIDE = 3  # pixels; an object whose visible box is narrower is left out


@dataclass(frozen=True)
class Picture:
    """One drawn picture and what is on it.

    Args:
        image: uint8 `[height, width, 3]`, BGR.
        boxes: float64 `[n, 4]`, corners x1 y1 x2 y2 in pixels, x2 and y2 exclusive.
        class_ids: int64 `[n]`.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]


@dataclass(frozen=True)
class Sprite:
    """One object drawn whole, before the picture's border cuts it.

    Args:
        opacity: `[h, w]`, 0 to 1.
        paint: `[h, w, 3]`, what is laid down where the opacity is 1.
    """

    opacity: FloatArray
    paint: FloatArray


@dataclass(frozen=True)
class Placement:
    """The part of a sprite that lies inside the picture.

    Args:
        rows, columns: where it lies in the picture.
        inside: the rows and columns of the sprite that it is.
        opacity: `[h, w]`, 0 where the object does not count as seen.
        paint: `[h, w, 3]`.
        box: x1 y1 x2 y2 in pixels of the picture.
    """

    rows: slice
    columns: slice
    inside: tuple[slice, slice]
    opacity: FloatArray
    paint: FloatArray
    box: tuple[float, float, float, float]


def box_of_mask(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """Return the tight box x1 y1 x2 y2 (exclusive end) of a mask `[h, w]`, or None where it is empty."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def place(sprite: Sprite, centre: tuple[float, float], size: int) -> Placement | None:
    """Cut a sprite around `centre` (x, y) by the border of a picture of `size` pixels a side.

    Returns:
        None where too little of the object would be left to call it visible.
    """
    height, width = sprite.opacity.shape
    left, top = round(centre[0] - width / 2), round(centre[1] - height / 2)
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + width, size), min(top + height, size)
    if x1 >= x2 or y1 >= y2:
        return None
    inside = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
    # Fainter traces than SEEN are dropped: then the box holds all that is painted.
    whole = np.where(sprite.opacity > SEEN, sprite.opacity, np.float32(0.0))
    opacity = whole[inside]
    box = box_of_mask(opacity > 0)
    if box is None or opacity.sum() < LEAST_SHARE * whole.sum():
        return None
    if min(box[2] - box[0], box[3] - box[1]) < LEAST_SIDE:
        return None
    shifted = (box[0] + x1, box[1] + y1, box[2] + x1, box[3] + y1)
    return Placement(slice(y1, y2), slice(x1, x2), inside, opacity, sprite.paint[inside], shifted)


def paint_over(image: FloatArray, placement: Placement, light: FloatArray | None = None) -> None:
    """Lay a placement over `image` `[size, size, 3]` in place; `light` `[size, size]` multiplies its paint."""
    window = (placement.rows, placement.columns)
    paint = placement.paint if light is None else placement.paint * light[window][..., None]
    image[window] += placement.opacity[..., None] * (paint - image[window])


def picture_of(image: FloatArray, placed: list[tuple[int, Placement]]) -> Picture:
    """Round `image` (`[size, size, 3]`, 0 to 1) to bytes and gather the boxes of what was placed on it."""
    return Picture(
        image=np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8),
        boxes=np.array([placement.box for _, placement in placed], dtype=np.float64).reshape(-1, 4),
        class_ids=np.array([class_id for class_id, _ in placed], dtype=np.int64),
    )


def resized(grid: FloatArray, height: int, width: int) -> FloatArray:
    """Return `grid` scaled smoothly to `[height, width]`."""
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def blurred(grid: FloatArray, sigma_x: float, sigma_y: float | None = None) -> FloatArray:
    """Return `grid` under a Gaussian of the given sigmas in pixels."""
    return np.asarray(cv2.GaussianBlur(grid, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y or sigma_x), dtype=np.float32)


def white_noise(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Return noise `[height, width]` with mean 0 and standard deviation 1.

    The sum of two random bytes is near enough to normal for a picture, and several times quicker to draw.
    """
    count = height * width
    grains = np.frombuffer(rng.bytes(2 * count), np.uint8).astype(np.float32)
    noise = grains[:count]
    noise += grains[count:]
    noise -= 255
    noise *= np.float32(1 / 104.51)
    return np.asarray(noise.reshape(height, width))


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> FloatArray:
    """Return noise `[height, width]` that varies over about `cell` pixels, standard deviation about 1."""
    if cell >= 16:  # slow enough to be worked out at a quarter of the resolution
        return resized(smooth_noise(rng, -(-height // 4), -(-width // 4), cell / 4), height, width)
    rows, columns = math.ceil(height / cell) + 1, math.ceil(width / cell) + 1
    grid = resized(white_noise(rng, rows, columns), round(rows * cell), round(columns * cell))
    top = rng.integers(0, len(grid) - height + 1)
    left = rng.integers(0, grid.shape[1] - width + 1)
    return np.asarray(grid[top : top + height, left : left + width] * np.float32(1.25))


def fractal_noise(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 3) -> FloatArray:
    """Return noise `[height, width]` summed over `octaves` scales from `cell` pixels down, deviation about 1."""
    total = np.zeros((height, width), np.float32)
    power = 0.0
    for octave in range(octaves):
        gain = 0.55**octave
        total += np.float32(gain) * smooth_noise(rng, height, width, max(cell / 2**octave, 1.0))
        power += gain**2
    return np.asarray(total / np.float32(math.sqrt(power)))


def coloured(grey: FloatArray, colour: Sequence[float]) -> FloatArray:
    """Return `grey` `[h, w]` times a colour, `[h, w, 3]`; numpy takes ten times as long over an axis of three."""
    return np.asarray(cv2.merge([grey * np.float32(part) for part in colour]), dtype=np.float32)


def soft_step(values: FloatArray) -> FloatArray:
    """Return 0 below 0, 1 above 1 and a smooth slope between."""
    clipped = np.clip(values, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), dtype=np.float32)


def centred_grid(side: int) -> tuple[FloatArray, FloatArray]:
    """Return x `[1, side]` and y `[side, 1]` in pixels from the middle of a square sprite."""
    axis = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    return axis[None, :], axis[:, None]


def blob_depth(rng: np.random.Generator, length: float, width: float, angle: float, roughness: float) -> FloatArray:
    """Return how deep each pixel lies inside an irregular blob: 1 in the middle, 0 at its outline, below 0 outside.

    Args:
        length, width: the axes of the ellipse that the outline strays from, in pixels.
        angle: of the long axis, in radians.
        roughness: 0 for a near ellipse, 1 for a ragged island.
    """
    side = math.ceil(length * (1.3 + 0.5 * roughness)) + 6
    x, y = centred_grid(side)
    along = (x * math.cos(angle) + y * math.sin(angle)) / (length / 2)
    across = (y * math.cos(angle) - x * math.sin(angle)) / (width / 2)
    bearing = np.arctan2(across, along)
    outline = np.ones_like(bearing)
    for harmonic in (2, 3, 4, 5):
        swing = 0.32 * roughness * rng.normal() / harmonic
        outline += np.float32(swing) * np.cos(harmonic * bearing + np.float32(rng.uniform(0, 2 * np.pi)))
    depth = 1 - np.hypot(along, across) / np.clip(outline, 0.45, 1.5)
    depth += np.float32(0.13 * roughness) * fractal_noise(rng, side, side, max(width / 5, 2.0), 3)
    return _without_islets(depth.astype(np.float32))


def _without_islets(depth: FloatArray) -> FloatArray:
    """Return `depth` with all but its largest part sunk: a crumb far out would stretch the box beyond what one sees."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((depth > 0).astype(np.uint8), connectivity=4)
    if count <= 2:
        return depth
    main = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return np.where((labels > 0) & (labels != main), np.float32(-1.0), depth)
