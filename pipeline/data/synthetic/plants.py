"""Young plants from above, each drawn leaf by leaf on a sprite of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .drawing import FloatArray, Sprite, blurred, smooth_noise

Points = NDArray[np.float64]

_FINE = 2  # plants are drawn this much finer than they are shown
_GOLDEN = math.radians(137.5)  # the angle from one leaf to the next in most rosettes


@dataclass(frozen=True)
class Sun:
    """Where the light comes from (bearing in radians) and how hard it is, 0 overcast to 1 clear."""

    bearing: float
    strength: float


@dataclass(frozen=True)
class Plant:
    """A plant drawn whole, and the shadow `[h, w]` (0 none, 1 black) that it throws on what lies below."""

    sprite: Sprite
    shadow: FloatArray


@dataclass(frozen=True)
class _Leaf:
    """One leaf: its midrib from the base to the tip, and half its width at each point of it."""

    midrib: Points  # [n, 2], pixels of the fine canvas
    half_widths: NDArray[np.float64]  # [n]
    colour: Points  # [3], blue green red
    rib: float  # how much lighter the midrib is


class _Canvas:
    """The fine canvas on which the leaves of one plant are laid over each other."""

    def __init__(self, rng: np.random.Generator, across: float, sun: Sun, ground: Points) -> None:
        self.across = across * _FINE
        self.side = math.ceil(across * 1.5) * _FINE + 16
        self.middle = self.side / 2
        self.sun = sun
        self.opacity: FloatArray = np.zeros((self.side, self.side), np.float32)
        self.paint: FloatArray = np.tile(ground.astype(np.float32), (self.side, self.side, 1))
        cell = max(self.across / 14, 2.0)
        self.texture = 1 + np.float32(0.06) * smooth_noise(rng, self.side, self.side, cell)

    def lay(self, leaf: _Leaf) -> None:
        """Lay a leaf over those that are there, with its shadow on them."""
        left, right = _margins(leaf)
        outline = np.concatenate([left, right[::-1]])
        low = np.clip(np.floor(outline.min(axis=0)).astype(int) - 8, 0, self.side)
        high = np.clip(np.ceil(outline.max(axis=0)).astype(int) + 9, 0, self.side)
        if (high <= low).any():
            return
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        shape = (int(high[1] - low[1]), int(high[0] - low[0]))
        blade = _filled(outline - low, shape)
        half = _filled(np.concatenate([left, leaf.midrib[::-1]]) - low, shape)
        rib = _ribs(leaf, left, right, low, shape)
        self._throw_shadow(blade, window)
        colour = leaf.colour.astype(np.float32) * self._shade(leaf, half, rib, window)[..., None]
        # Ribs are paler, not only brighter.
        colour += (np.float32(leaf.rib) * rib)[..., None] * np.array([0.1, 0.12, 0.1], np.float32)
        paint, opacity = self.paint[window], self.opacity[window]
        paint += blade[..., None] * (colour - paint)
        opacity += blade * (1 - opacity)

    def _shade(
        self, leaf: _Leaf, half: FloatArray, rib: FloatArray, window: tuple[slice, slice]
    ) -> FloatArray:
        """Return the light on a leaf: one half of the fold lies towards the sun, and the heart of the plant is dark."""
        ahead = leaf.midrib[-1] - leaf.midrib[0]
        bearing = math.atan2(ahead[1], ahead[0])
        fold = 0.16 * (0.3 + 0.7 * self.sun.strength) * math.sin(bearing - self.sun.bearing)
        y, x = np.mgrid[window]
        outward = np.hypot(x - self.middle, y - self.middle) / (self.across / 2)
        light = 0.72 + 0.38 * np.clip(outward, 0, 1)
        light += 0.08 * math.cos(bearing - self.sun.bearing)
        return np.asarray(
            self.texture[window] * (light + fold * (2 * half - 1) + 0.3 * leaf.rib * rib), dtype=np.float32
        )

    def _throw_shadow(self, blade: FloatArray, window: tuple[slice, slice]) -> None:
        reach = max(self.across * 0.025, 1.0)
        dark = _moved(blurred(blade, reach), -reach, self.sun.bearing)
        self.paint[window] *= 1 - (0.25 + 0.25 * self.sun.strength) * dark[..., None]

    def finish(self) -> Plant:
        """Return the plant in the picture's own resolution."""
        side = self.side // _FINE
        opacity = cv2.resize(self.opacity, (side, side), interpolation=cv2.INTER_AREA)
        paint = cv2.resize(self.paint, (side, side), interpolation=cv2.INTER_AREA)
        reach = max(self.across / _FINE * 0.06, 1.2)
        shadow = _moved(blurred(opacity, 0.5 * reach + 0.4), -reach, self.sun.bearing)
        return Plant(Sprite(opacity, paint), shadow * np.float32(0.2 + 0.4 * self.sun.strength))


def draw_crop(rng: np.random.Generator, across: float, sun: Sun) -> Plant:
    """Draw a young beet about `across` pixels wide: seed leaves first, then a rosette of ovate leaves in pairs."""
    tone = np.array([0.2, 0.52, 0.32]) * rng.normal(1, 0.06, 3) * rng.uniform(0.85, 1.15)
    canvas = _Canvas(rng, across, sun, tone * 0.6)
    radius, turn = canvas.across / 2, rng.uniform(0, 2 * np.pi)
    pairs = int(np.clip(round(across / 17 + rng.normal(0, 0.5)), 1, 5))
    for pair in range(pairs):
        # The first true pairs are the longest; the youngest stand upright in the heart and look short from above.
        reach = radius * (1.0 - 0.62 * pair / max(pairs, 2)) * rng.uniform(0.93, 1.07)
        slender = 0.3 if pairs == 1 else rng.uniform(0.38, 0.54)
        for side in (0.0, np.pi):
            bearing = turn + side + rng.normal(0, 0.14)
            length = reach * rng.uniform(0.85, 1.08)
            stalk = rng.uniform(0.2, 0.32) * length
            midrib = _arc(rng, canvas.middle, bearing, (0.04 * radius, length), bend=0.18)
            colour = tone * (1 + 0.1 * pair / pairs + rng.normal(0, 0.04))
            canvas.lay(_Leaf(midrib, _ovate(length, stalk, slender), colour, rng.uniform(0.7, 1.2)))
        turn += np.pi / 2 + rng.normal(0, 0.2)
    return canvas.finish()


def draw_weed(rng: np.random.Generator, across: float, sun: Sun) -> Plant:
    """Draw a weed about `across` pixels wide: a grass, a toothed rosette, or a small-leaved branching plant."""
    habit = (_grass, _toothed, _branching)[rng.choice(3, p=(0.34, 0.33, 0.33))]
    return habit(rng, across, sun)


def _grass(rng: np.random.Generator, across: float, sun: Sun) -> Plant:
    tone = np.array([0.22, 0.52, 0.42]) * rng.normal(1, 0.07, 3) * rng.uniform(0.8, 1.15)
    canvas = _Canvas(rng, across, sun, tone * 0.7)
    radius = canvas.across / 2
    width = max(radius * rng.uniform(0.045, 0.075), 1.3)
    for _ in range(int(rng.integers(4, 6 + int(across / 9)))):
        length = radius * rng.uniform(0.55, 1.08)
        midrib = _arc(rng, canvas.middle, rng.uniform(0, 2 * np.pi), (0, length), bend=0.55)
        t = np.linspace(0, 1, len(midrib))
        half_widths = width * np.clip(1.25 * (1 - t) ** 0.6, 0.1, 1)
        canvas.lay(_Leaf(midrib, half_widths, tone * rng.normal(1, 0.09), 0.3))
    return canvas.finish()


def _toothed(rng: np.random.Generator, across: float, sun: Sun) -> Plant:
    """A flat rosette of narrow, deeply toothed leaves, such as a young thistle or dandelion."""
    tone = np.array([0.19, 0.42, 0.27]) * rng.normal(1, 0.08, 3) * rng.uniform(0.8, 1.15)
    canvas = _Canvas(rng, across, sun, tone * 0.6)
    radius, turn = canvas.across / 2, rng.uniform(0, 2 * np.pi)
    leaves = int(rng.integers(5, 7 + int(across / 12)))
    teeth = rng.uniform(3.5, 5.5)
    for leaf in range(leaves):
        length = radius * (1.05 - 0.45 * leaf / leaves) * rng.uniform(0.85, 1.05)
        midrib = _arc(rng, canvas.middle, turn, (0, length), bend=0.25)
        t = np.linspace(0, 1, len(midrib))
        saw = (t * teeth) % 1.0
        half_widths = 0.2 * length * np.sin(np.pi * np.clip(t, 0.03, 0.99) ** 0.75) ** 0.7 * (0.4 + 0.75 * saw)
        canvas.lay(_Leaf(midrib, half_widths, tone * rng.normal(1, 0.06), rng.uniform(0.8, 1.4)))
        turn += _GOLDEN + rng.normal(0, 0.15)
    return canvas.finish()


def _branching(rng: np.random.Generator, across: float, sun: Sun) -> Plant:
    """Thin stems with many small round leaves, such as chickweed or a young goosefoot."""
    tone = np.array([0.26, 0.45, 0.32]) * rng.normal(1, 0.08, 3) * rng.uniform(0.75, 1.15)
    canvas = _Canvas(rng, across, sun, tone * 0.6)
    radius, turn = canvas.across / 2, rng.uniform(0, 2 * np.pi)
    stem = np.array([0.24, 0.3, 0.36]) * rng.uniform(0.8, 1.2)
    blade = radius * float(np.clip(9 / radius**0.6, 0.2, 0.42)) * rng.uniform(0.85, 1.2)
    plumpness = rng.uniform(0.55, 0.8)
    for _ in range(int(rng.integers(3, 5 + int(across / 16)))):
        reach = max(radius * rng.uniform(0.6, 1.0) - blade * 0.7, 0.2 * radius)
        line = _arc(rng, canvas.middle, turn, (0, reach), bend=0.3)
        canvas.lay(_Leaf(line, np.full(len(line), max(0.02 * radius, 0.8)), stem, 0.2))
        for place in np.arange(0.3, 1.01, rng.uniform(0.3, 0.45)):
            node = line[min(int(place * len(line)), len(line) - 1)]
            for side in (-1.0, 1.0) if place < 0.9 else (-0.5, 0.4):
                length = blade * rng.uniform(0.75, 1.1)
                bearing = turn + side * rng.uniform(0.7, 1.1)
                midrib = _arc(rng, 0.0, bearing, (0, length), bend=0.2) + node
                colour = tone * (0.92 + 0.16 * place) * rng.normal(1, 0.05)
                canvas.lay(_Leaf(midrib, _ovate(length, 0.12 * length, plumpness), colour, 0.6))
        turn += _GOLDEN + rng.normal(0, 0.2)
    return canvas.finish()


# Shapes of leaves


def _arc(
    rng: np.random.Generator, middle: float, bearing: float, reach: tuple[float, float], bend: float
) -> Points:
    """Return points `[n, 2]` of a bent line from `reach[0]` to `reach[1]` pixels off the middle."""
    t = np.linspace(0, 1, 24)
    angle = bearing + bend * rng.normal() * (t - 0.3)
    distance = reach[0] + (reach[1] - reach[0]) * t
    return np.stack([middle + distance * np.cos(angle), middle + distance * np.sin(angle)], axis=1)


def _ovate(length: float, stalk: float, slender: float) -> NDArray[np.float64]:
    """Return half widths `[24]` of an egg-shaped leaf on a stalk; `slender` is the blade's width over its length."""
    t = np.linspace(0, 1, 24)
    blade = np.clip((t * length - stalk) / (length - stalk), 0, 1)
    half_widths = slender / 2 * (length - stalk) * np.sin(np.pi * blade**0.8) ** 0.75
    return np.asarray(np.maximum(half_widths, np.where(t < 0.97, 0.02 * length + 0.4, 0.2)))


def _margins(leaf: _Leaf) -> tuple[Points, Points]:
    ahead = np.gradient(leaf.midrib, axis=0)
    ahead /= np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-6)[:, None]
    offset = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) * leaf.half_widths[:, None]
    return leaf.midrib + offset, leaf.midrib - offset


def _ribs(leaf: _Leaf, left: Points, right: Points, low: NDArray[np.int64], shape: tuple[int, int]) -> FloatArray:
    """Return the midrib, and the side ribs of a leaf that is wide enough to show them."""
    mask = np.zeros(shape, np.uint8)
    lines = [leaf.midrib[:-2]]
    cv2.polylines(mask, [_fixed(line - low) for line in lines], False, 255, 1, cv2.LINE_AA, 4)
    if leaf.half_widths.max() > 8:
        sides = []
        for node in range(5, 20, 3):
            for margin in (left, right):
                edge = margin[min(node + 3, 23)]
                sides.append(_fixed(np.stack([leaf.midrib[node], 0.15 * leaf.midrib[node] + 0.85 * edge]) - low))
        cv2.polylines(mask, sides, False, 90, 1, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _filled(outline: Points, shape: tuple[int, int]) -> FloatArray:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _fixed(points: Points) -> NDArray[np.int32]:
    """Return points in the sixteenths of a pixel that OpenCV draws with."""
    return np.round(points * 16).astype(np.int32)


def _moved(grid: FloatArray, by: float, bearing: float) -> FloatArray:
    """Return `grid` shifted by `by` pixels towards `bearing`."""
    shift = np.array([[1, 0, by * math.cos(bearing)], [0, 1, by * math.sin(bearing)]], np.float32)
    return np.asarray(cv2.warpAffine(grid, shift, grid.shape[::-1]), dtype=np.float32)
