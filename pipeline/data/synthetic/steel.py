"""Pictures of rolled steel with scratches, pits, inclusions and patches.

A surface is a slow light times a brushed texture. A defect is a sprite whose paint is a factor of that light, so that
it takes part in the lamp's gradient as a real one does, and the brushing shows through wherever it is not opaque.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .drawing import (
    FloatArray,
    Picture,
    Placement,
    Sprite,
    blob_depth,
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

STEEL_NAMES = ("scratch", "pit", "inclusion", "patch")

_DRAWN_AT = 128  # the picture size that the lengths in this file are meant for: the demo trains at 128
_SHARES = (0.28, 0.28, 0.23, 0.21)  # how often each class is drawn
_COUNTS = (0.12, 0.14, 0.22, 0.24, 0.18, 0.1)  # chance of 0, 1, ... 5 defects in a picture
_ORDER = (3, 2, 1, 0)  # patches lie lowest, scratches on top
_GREY = (1.0, 1.0, 1.0)
_TRIES = 12  # places tried for a defect before it is left out


@dataclass(frozen=True)
class _Sheet:
    """One bare surface and how it is lit."""

    image: FloatArray  # [size, size, 3], 0 to 1
    light: FloatArray  # [size, size], the surface without its texture
    rolling: float  # direction of the brushing, radians
    lamp: float  # bearing that the light comes from, radians
    scale: float  # picture size / _DRAWN_AT


def steel_picture(rng: np.random.Generator, size: int) -> Picture:
    """Draw one picture of a steel surface, `size` pixels a side, with 0 to 5 defects."""
    sheet = _bare_sheet(rng, size)
    count = int(rng.choice(len(_COUNTS), p=_COUNTS))
    wanted = rng.choice(len(STEEL_NAMES), size=count, p=_SHARES)
    taken = np.zeros((size, size), bool)
    placed: list[tuple[int, Placement]] = []
    for class_id in sorted(wanted.tolist(), key=_ORDER.index):
        placement = _find_room(rng, _DRAW[class_id](rng, sheet), taken)
        if placement is None:
            continue
        paint_over(sheet.image, placement, sheet.light)
        taken[placement.rows, placement.columns] |= placement.opacity > 0
        placed.append((class_id, placement))
    return picture_of(_through_camera(rng, sheet), placed)


def _find_room(rng: np.random.Generator, sprite: Sprite, taken: np.ndarray) -> Placement | None:
    """Return a place where the defect hardly covers an earlier one, or None."""
    size = len(taken)
    for _ in range(_TRIES):
        x, y = rng.uniform(0.03 * size, 0.97 * size, 2)
        placement = place(sprite, (x, y), size)
        if placement is None:
            continue
        seen = placement.opacity > 0
        if (taken[placement.rows, placement.columns] & seen).sum() <= 0.08 * seen.sum():
            return placement
    return None


# The surface


def _bare_sheet(rng: np.random.Generator, size: int) -> _Sheet:
    rolling = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.05)
    lamp = rng.uniform(0, 2 * np.pi)
    light = _light(rng, size, rolling, lamp)
    texture = _brushing(rng, size, rolling)
    mottle = fractal_noise(rng, size, size, size / 4, 3)
    grey = light * (1 + texture + np.float32(rng.uniform(0.01, 0.035)) * mottle)
    tint = (1 + rng.normal(0.01, 0.02), 1.0, 1 + rng.normal(0, 0.02))
    return _Sheet(coloured(grey, tint), light, float(rolling), float(lamp), size / _DRAWN_AT)


def _light(rng: np.random.Generator, size: int, rolling: float, lamp: float) -> FloatArray:
    """Return the slow light: a gradient towards the lamp, and the sheen that brushed metal shows across its grain."""
    x, y = (axis / size for axis in centred_grid(size))
    slope = rng.uniform(0.05, 0.35)
    light = 1 + slope * (x * math.cos(lamp) + y * math.sin(lamp)) - rng.uniform(0, 0.35) * (x * x + y * y)
    along = x * math.cos(rolling) + y * math.sin(rolling)
    sheen = np.exp(-(((along - rng.uniform(-0.6, 0.6)) / rng.uniform(0.18, 0.4)) ** 2))
    light += rng.uniform(0, 0.28) * sheen
    return np.asarray(rng.uniform(0.36, 0.62) * light, dtype=np.float32)


def _brushing(rng: np.random.Generator, size: int, rolling: float) -> FloatArray:
    """Return the grain, `[size, size]` around 0: streaks of several lengths along the rolling, and roll bands."""
    side = math.ceil(size * 1.45)
    streaky = np.zeros((side, side), np.float32)
    for length, weight in ((0.6, 0.5), (0.2, 0.6), (0.04, 0.45)):
        reach = (math.ceil(length * size), 1)
        streaks = cv2.blur(cv2.blur(white_noise(rng, side, side), reach), reach)
        streaky += np.float32(weight) * streaks / streaks.std()
    bands = smooth_noise(rng, side, 1, size / 9) + 0.6 * smooth_noise(rng, side, 1, size / 40)
    grain = rng.uniform(0.02, 0.05) * blurred(streaky, 0.4, 0.5) + rng.uniform(0.005, 0.035) * bands
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), -math.degrees(rolling), 1.0)
    turn[:, 2] -= (side - size) / 2
    turned = cv2.warpAffine(grain.astype(np.float32), turn, (size, size), flags=cv2.INTER_LINEAR)
    return np.asarray(turned, dtype=np.float32)


def _through_camera(rng: np.random.Generator, sheet: _Sheet) -> FloatArray:
    """Return the picture as a sensor sees it: slightly soft, with noise that grows with the light."""
    size = len(sheet.image)
    image = blurred(sheet.image, rng.uniform(0.35, 0.6))
    noise = white_noise(rng, size, size) * np.sqrt(np.clip(image[..., 1], 0.02, 1))
    return np.asarray(image + np.float32(rng.uniform(0.008, 0.022)) * noise[..., None], dtype=np.float32)


# The defects


def _strength(rng: np.random.Generator) -> float:
    """Return how plainly a defect shows: mostly near 1, now and then faint."""
    return float(rng.uniform(0.45, 0.7) if rng.random() < 0.1 else rng.uniform(0.75, 1.0))


def _scratch(rng: np.random.Generator, sheet: _Sheet) -> Sprite:
    """A thin, slightly bent groove: one side of it dark, the other catching the light."""
    length = rng.uniform(36, 84) * sheet.scale
    width = rng.uniform(3.0, 4.8) * sheet.scale
    angle = rng.uniform(0.3, 1.27) + np.pi / 2 * rng.integers(0, 2)  # handling marks run across the sheet's axes
    line = _bent_line(rng, length, angle)
    side = math.ceil(np.abs(line).max() * 2 + 4 * width + 6)
    t = np.linspace(0, 1, len(line))
    reach = rng.uniform(4, 25, 2)  # one end where the point bit in, the other where it lifted off
    taper = np.clip(np.minimum(t * reach[0], (1 - t) * reach[1]), 0.2, 1)
    pressure = np.clip(0.8 + 0.13 * smooth_noise(rng, len(t), 1, len(t) / 5)[:, 0], 0.5, 1)
    widths = width * taper * pressure
    groove = _stroke(line, widths, side)
    across = np.array([-math.sin(angle), math.cos(angle)])
    lit = math.copysign(1, float(across @ [math.cos(sheet.lamp), math.sin(sheet.lamp)]))
    burr = _stroke(line + lit * across * width * 0.35, 0.5 * widths, side)
    strength = _strength(rng)
    if rng.random() < 0.5:  # a fresh scratch is bright, an old one dark
        factor = 1 + strength * (rng.uniform(0.5, 0.85) - 0.5 * burr)
    else:
        factor = 1 - strength * (rng.uniform(0.45, 0.65) - 0.65 * burr)
    x, y = centred_grid(side)
    along = np.clip((x * math.cos(angle) + y * math.sin(angle)) / length + 0.5, 0, 1)
    chatter = 0.8 + 0.2 * smooth_noise(rng, side, side, max(3 * sheet.scale, 2.0))
    opacity = groove * np.clip(np.interp(along, t, pressure) * chatter, 0.3, 1)
    return Sprite(opacity.astype(np.float32), coloured(np.broadcast_to(factor, opacity.shape), _GREY))


def _bent_line(rng: np.random.Generator, length: float, angle: float) -> np.ndarray:
    """Return points `[n, 2]` of a nearly straight line, centred on the origin."""
    t = np.linspace(-0.5, 0.5, max(int(length / 3), 16))
    bend = rng.normal(0, 0.06) * 4 * (t - rng.uniform(-0.3, 0.3)) ** 2
    waver = smooth_noise(rng, len(t), 1, len(t) / 4)[:, 0]
    x, y = t * length, bend * length + rng.uniform(0, 0.006) * length * waver
    line = np.stack([x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)], axis=1)
    return np.asarray(line - (line.max(axis=0) + line.min(axis=0)) / 2)


def _stroke(line: np.ndarray, widths: np.ndarray, side: int) -> FloatArray:
    """Return the coverage `[side, side]` of a line of changing width, drawn four times finer."""
    fine = 4
    ahead = np.gradient(line, axis=0)
    ahead /= np.hypot(ahead[:, 0], ahead[:, 1])[:, None]
    offset = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) * widths[:, None] / 2
    outline = np.concatenate([line + offset, (line - offset)[::-1]])
    points = np.round((outline + side / 2) * fine * 16 - 8).astype(np.int32)
    mask = np.zeros((side * fine, side * fine), np.uint8)
    cv2.fillPoly(mask, [points], 255, lineType=cv2.LINE_8, shift=4)
    coverage = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(coverage * np.float32(1 / 255))


def _pit(rng: np.random.Generator, sheet: _Sheet) -> Sprite:
    """A small hole: shadow on the lamp's side, light on the far wall and on the rim."""
    across = rng.uniform(11, 20) * sheet.scale
    depth = blob_depth(rng, across, across * rng.uniform(0.72, 1.0), rng.uniform(0, np.pi), 0.5)
    x, y = centred_grid(len(depth))
    towards = (x * math.cos(sheet.lamp) + y * math.sin(sheet.lamp)) / (across / 2)
    floor = rng.uniform(0.32, 0.5) - 0.2 * towards
    rim = np.where(towards < 0, 1.1 - 0.75 * towards, 1.0 - 0.35 * towards)
    factor = rim + soft_step((depth - 0.02) / 0.45) * (floor - rim)
    opacity = soft_step((depth + 0.12) * (across / 2) / 2.0) * np.float32(_strength(rng))
    return Sprite(opacity, coloured(np.clip(factor, 0.15, 1.8), _GREY))


def _inclusion(rng: np.random.Generator, sheet: _Sheet) -> Sprite:
    """Slag rolled into the sheet: a dark ragged blob, drawn out along the rolling direction more often than not."""
    length = rng.uniform(26, 46) * sheet.scale
    width = max(length / rng.uniform(1.9, 3.4), 8 * sheet.scale)
    angle = sheet.rolling + rng.normal(0, 0.25) if rng.random() < 0.75 else rng.uniform(0, np.pi)
    depth = blob_depth(rng, length, width, angle, 1.0)
    side = len(depth)
    grain = fractal_noise(rng, side, side, 5 * sheet.scale, 2)
    factor = rng.uniform(0.2, 0.42) + 0.07 * grain
    edge = soft_step(depth * (width / 2) / (2.2 * sheet.scale))
    holes = 1 - 0.45 * soft_step((grain - 1.2) * 2)
    opacity = edge * holes * np.float32(_strength(rng))
    tint = (float(rng.uniform(0.88, 1.0)), 0.97, 1.0)
    return Sprite(opacity.astype(np.float32), coloured(np.clip(factor, 0.05, 0.8), tint))


def _patch(rng: np.random.Generator, sheet: _Sheet) -> Sprite:
    """Scale, rust or a stain: a wide, flat, mottled island with a darker shore, the brushing showing through."""
    length = rng.uniform(42, 84) * sheet.scale
    depth = blob_depth(rng, length, length / rng.uniform(1.0, 1.9), rng.uniform(0, np.pi), 0.9)
    side = len(depth)
    mottle = fractal_noise(rng, side, side, 11 * sheet.scale, 4)
    shore = np.exp(-(((depth - 0.12) / 0.14) ** 2))
    if rng.random() < 0.3:  # bare or limed metal, lighter than its surroundings
        factor, tint = rng.uniform(1.25, 1.4) + 0.03 * mottle - 0.05 * shore, (1.0, 1.0, 1.0)
        haze = 0.06
    else:
        factor = rng.uniform(0.5, 0.68) + 0.08 * mottle - 0.1 * shore
        rust, haze = rng.uniform(0, 0.16), 0.1
        tint = (float(1 - 1.4 * rust), float(1 - 0.4 * rust), float(1 + 0.6 * rust))
    edge = soft_step(depth * (length / 2) / (rng.uniform(3, 9) * sheet.scale))
    cover = np.clip(0.76 + haze * mottle, 0.45, 0.95)
    opacity = edge * cover * np.float32(_strength(rng))
    return Sprite(opacity.astype(np.float32), coloured(np.clip(factor, 0.2, 1.8), tint))


_DRAW: tuple[Callable[[np.random.Generator, _Sheet], Sprite], ...] = (_scratch, _pit, _inclusion, _patch)
