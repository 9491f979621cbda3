"""Pictures of a field from above: soil with rows of a young beet-like crop and with weeds.

Soil is a height map under a low sun. A plant is a sprite of leaves laid over each other from the oldest to the
youngest, each with its shadow; the plants then lie over each other from the lowest to the tallest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .drawing import (
    FloatArray,
    Picture,
    Placement,
    blurred,
    centred_grid,
    coloured,
    fractal_noise,
    paint_over,
    picture_of,
    place,
    smooth_noise,
    soft_step,
    white_noise,
)
from .plants import Sun, draw_crop, draw_weed

FIELD_NAMES = ("crop", "weed")

_DRAWN_AT = 320  # the picture size that the lengths in this file are meant for
_BARE = 0.08  # share of the pictures without plants
_LEAST_VISIBLE = 0.45  # a plant of which less shows between the leaves of others is left out
# Blue, green, red of dry soil: loam, silt, peat, clay.
_SOILS = ((0.26, 0.335, 0.42), (0.37, 0.42, 0.465), (0.19, 0.22, 0.255), (0.24, 0.31, 0.42))


@dataclass(frozen=True)
class _Spot:
    """Where a plant grows and how wide it is, in pixels."""

    class_id: int
    x: float
    y: float
    across: float


def field_picture(rng: np.random.Generator, size: int) -> Picture:
    """Draw one picture of a field, `size` pixels a side, with a row crop and weeds or with bare soil."""
    sun = Sun(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.15, 1.0)))
    rows = float(rng.uniform(0, np.pi))  # direction of the rows, radians
    image = _soil(rng, size, sun, rows)
    spots = [] if rng.random() < _BARE else _spots(rng, size, rows)
    placed = []
    for spot in sorted(spots, key=lambda spot: spot.across):
        draw = (draw_crop, draw_weed)[spot.class_id]
        plant = draw(rng, spot.across, sun)
        placement = place(plant.sprite, (spot.x, spot.y), size)
        if placement is not None:
            placed.append((spot.class_id, placement, plant.shadow))
    shown = _not_hidden(placed, size)
    for _, placement, shadow in shown:
        window = (placement.rows, placement.columns)
        image[window] *= 1 - shadow[placement.inside][..., None]
        paint_over(image, placement)
    return picture_of(_through_camera(rng, image), [(class_id, placement) for class_id, placement, _ in shown])


def _not_hidden(placed: list[tuple[int, Placement, FloatArray]], size: int) -> list[tuple[int, Placement, FloatArray]]:
    """Return the plants, in their order, without those that the ones above them cover almost whole."""
    covered = np.zeros((size, size), bool)
    kept = []
    for item in reversed(placed):
        placement = item[1]
        own = placement.opacity > 0
        above = covered[placement.rows, placement.columns]
        if (own & ~above).sum() >= _LEAST_VISIBLE * own.sum():
            kept.append(item)
            above |= own  # a view: marks `covered`
    return kept[::-1]


# Where the plants grow


def _spots(rng: np.random.Generator, size: int, rows: float) -> list[_Spot]:
    """Return rows of crop at one stage of growth, and weeds wherever there is room."""
    scale = size / _DRAWN_AT
    across = rng.uniform(28, 104) * scale
    spots = list(_row_spots(rng, size, rows, across))
    for _ in range(min(int(rng.poisson(4.5)), 16)):
        width = rng.uniform(16, 26 + 0.45 * across / scale) * scale
        for _ in range(8):
            x, y = rng.uniform(-0.03 * size, 1.03 * size, 2)
            if all(math.hypot(x - s.x, y - s.y) > 0.36 * (s.across + width) for s in spots):
                spots.append(_Spot(1, float(x), float(y), float(width)))
                break
    return spots


def _row_spots(rng: np.random.Generator, size: int, rows: float, across: float) -> Iterator[_Spot]:
    scale = size / _DRAWN_AT
    apart = max(rng.uniform(108, 180) * scale, 1.2 * across)
    step = max(rng.uniform(0.7, 1.5) * across, 60 * scale)
    along = np.array([math.cos(rows), math.sin(rows)])
    over = np.array([-along[1], along[0]])
    reach = math.ceil(0.75 * size / apart) + 1
    phase = rng.uniform(0, apart)
    for row in range(-reach, reach + 1):
        position = -0.75 * size + rng.uniform(0, step)
        while position < 0.75 * size:
            position += step * rng.uniform(0.8, 1.2)
            x, y = size / 2 + along * position + over * (row * apart + phase + rng.normal(0, 0.03) * apart)
            width = across * rng.uniform(0.72, 1.15)
            # A tenth of the seeds did not come up.
            near = -0.3 * width < min(x, y) and max(x, y) < size + 0.3 * width
            if rng.random() > 0.1 and near:
                yield _Spot(0, float(x), float(y), float(width))


# Soil and light


def _soil(rng: np.random.Generator, size: int, sun: Sun, rows: float) -> FloatArray:
    """Return bare soil `[size, size, 3]`: clods under the sun, patches of damp, stones and straw."""
    scale = size / _DRAWN_AT
    height = _relief(rng, size, rows)
    slope_y, slope_x = np.gradient(height)
    lit = -(slope_x * math.cos(sun.bearing) + slope_y * math.sin(sun.bearing))
    shade = 1 + (0.2 + 0.35 * sun.strength) * np.tanh(lit * scale * 1.1) + 0.16 * np.clip(height, -2, 1.5)
    crumbs = blurred(white_noise(rng, size, size), 0.8 * scale)
    shade += np.float32(rng.uniform(0.15, 0.4)) * crumbs
    damp = soft_step(0.5 + 0.5 * fractal_noise(rng, size, size, size / 2.5, 4) + float(rng.normal(0, 0.5)))
    shade *= 1 - float(rng.uniform(0.1, 0.32)) * damp
    dry = np.array(_SOILS[rng.integers(len(_SOILS))]) * rng.uniform(0.85, 1.2)
    hue = np.float32(0.02) * fractal_noise(rng, size, size, size / 8, 3)
    image = coloured(shade, dry.tolist())
    image[..., 0] *= 1 - hue
    image[..., 2] *= 1 + hue
    _scatter_stones(rng, image, sun, scale)
    if rng.random() < 0.5:
        _scatter_straw(rng, image, scale)
    return np.asarray(image)


def _relief(rng: np.random.Generator, size: int, rows: float) -> FloatArray:
    """Return the height of the soil: round clods of several sizes with creases between them, and drilled rows."""
    scale = size / _DRAWN_AT
    coarse = rng.uniform(10, 26) * scale
    height = np.zeros((size, size), np.float32)
    for cell, weight in ((coarse, 1.1), (coarse / 2, 0.8), (coarse / 4, 0.55), (2.2 * scale, 0.35)):
        noise = smooth_noise(rng, size, size, max(cell, 1.5))
        height += np.float32(weight) * (np.sqrt(noise * noise + np.float32(0.05)) - np.float32(0.8))
    x, y = centred_grid(size)
    over = y * math.cos(rows) - x * math.sin(rows)
    waver = smooth_noise(rng, size, size, 60 * scale)
    ridges = np.sin(over / (rng.uniform(12, 22) * scale) + rng.uniform(0, 6) + 0.5 * waver)
    return np.asarray(height + rng.uniform(0, 0.9) * ridges, dtype=np.float32)


def _scatter_stones(rng: np.random.Generator, image: FloatArray, sun: Sun, scale: float) -> None:
    for _ in range(int(rng.poisson(7))):
        across = min(rng.gamma(2.0, 2.0) * scale + 2, len(image) / 8)
        side = math.ceil(across) + 6
        x0, y0 = rng.integers(0, len(image) - side, 2)
        x, y = centred_grid(side)
        turn, flat = rng.uniform(0, np.pi), rng.uniform(0.55, 0.95)
        u, v = x * math.cos(turn) + y * math.sin(turn), (y * math.cos(turn) - x * math.sin(turn)) / flat
        dents = smooth_noise(rng, side, side, max(across / 2.5, 1.5))
        radius: FloatArray = np.hypot(u, v) / np.float32(across / 2) + np.float32(0.1) * dents
        towards = (x * math.cos(sun.bearing) + y * math.sin(sun.bearing)) / across
        window = image[y0 : y0 + side, x0 : x0 + side]
        away = 0.3 * across
        x, y = x + away * math.cos(sun.bearing), y + away * math.sin(sun.bearing)
        gap: FloatArray = np.hypot(x, y) / np.float32(across / 2)
        window *= 1 - 0.35 * sun.strength * soft_step(1.3 - gap)[..., None]
        grey = rng.uniform(0.35, 0.62) * np.array([0.92, 0.97, 1.0]) * (1 + 0.55 * towards[..., None])
        opacity = soft_step((1 - radius) * np.float32(across / 3) + np.float32(0.3))[..., None]
        window += (opacity * (grey - window)).astype(np.float32)


def _scatter_straw(rng: np.random.Generator, image: FloatArray, scale: float) -> None:
    """Lay a few bits of last year's straw on the soil."""
    mask = np.zeros(image.shape[:2], np.uint8)
    for _ in range(int(rng.integers(2, 14))):
        start = rng.uniform(0, len(image), 2)
        angle, length = rng.uniform(0, np.pi), rng.uniform(5, 24) * scale
        end = start + length * np.array([math.cos(angle), math.sin(angle)])
        ends: NDArray[np.int32] = np.round(np.stack([start, end]) * 16).astype(np.int32)
        cv2.polylines(mask, [ends], False, int(rng.integers(120, 230)), 1, cv2.LINE_AA, 4)
    straw = np.array([0.36, 0.52, 0.6], np.float32) * np.float32(rng.uniform(0.8, 1.1))
    hit = mask > 0
    image[hit] += (mask[hit] * np.float32(1 / 255))[:, None] * (straw - image[hit])


def _through_camera(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Return the picture as a camera sees it: drifting light, white balance, slight blur and noise."""
    size = len(image)
    cloud = 1 + np.float32(rng.uniform(0.02, 0.14)) * smooth_noise(rng, size, size, size / 1.5)
    balance = rng.uniform(0.85, 1.15) * (1 + rng.normal(0, 0.018, 3))
    seen = blurred(image * coloured(cloud, balance.tolist()), rng.uniform(0.4, 0.75))
    noise = white_noise(rng, size, size * 3).reshape(size, size, 3)
    return np.asarray(seen + np.float32(rng.uniform(0.006, 0.018)) * noise, dtype=np.float32)
