"""Young plants from above, each drawn leaf by leaf on a sprite of its own."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .drawing import FloatArray, Sprite, blurred, centred_grid, smooth_noise

Points = NDArray[np.complex128]  # x + iy, in pixels: turning and going sideways are then one product
Colour = NDArray[np.float64]  # [3], blue green red, 0 to 1

_SMALL = 32  # pixels; plants below this are drawn twice as fine as they are shown
_NARROW = 2.5  # pixels; a leaf with a smaller half width shows neither fold, ribs nor shadow
_ALONG = np.linspace(0, 1, 24)  # places along a leaf, from its base to its tip
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

    midrib: Points  # [n], pixels of the fine canvas
    half_widths: NDArray[np.float64]  # [n]
    colour: Colour
    rib: float  # how much lighter the midrib is


class _Canvas:
    """The fine canvas on which the leaves of one plant are laid over each other."""

    def __init__(self, rng: np.random.Generator, across: float, sun: Sun, ground: Colour) -> None:
        self.fine = 2 if across < _SMALL else 1
        self.across = across * self.fine
        self.side = math.ceil(across * 1.32 + 8) * self.fine
        self.middle = self.side / 2
        self.sun = sun
        self.opacity: NDArray[np.uint8] = np.zeros((self.side, self.side), np.uint8)
        self.colour: NDArray[np.uint8] = np.full((self.side, self.side, 3), ground * 255, np.uint8)
        x, y = centred_grid(self.side)
        # The heart of a plant is in its own shade.
        light = 0.72 + 0.38 * np.minimum(np.hypot(x, y) / np.float32(self.across / 2), 1)
        grain = smooth_noise(rng, self.side, self.side, max(self.across / 14, 2.0))
        self.light: FloatArray = (light * (1 + np.float32(0.06) * grain)).astype(np.float32)
        self.shade: NDArray[np.uint8] = np.full((self.side, self.side), 255, np.uint8)

    def lay(self, leaf: _Leaf) -> None:
        """Lay a leaf over those that are there; a wide one has a fold, of which one half faces the sun, and ribs."""
        lines = _lines(leaf)
        outline = np.concatenate([lines[0], lines[2, ::-1]])
        bearing = cmath.phase(leaf.midrib[-1] - leaf.midrib[0]) - self.sun.bearing
        light = 1 + 0.08 * math.cos(bearing)
        cv2.fillPoly(self.opacity, [outline], 255, cv2.LINE_AA, 4)
        if leaf.half_widths.max() <= _NARROW * self.fine:
            cv2.fillPoly(self.colour, [outline], _ink(leaf.colour, light), cv2.LINE_AA, 4)
            return
        self._throw_shadow(outline)
        fold = 0.16 * (0.3 + 0.7 * self.sun.strength) * math.sin(bearing)
        half = np.concatenate([lines[0], lines[1, ::-1]])
        cv2.fillPoly(self.colour, [outline], _ink(leaf.colour, light * (1 - fold)), cv2.LINE_AA, 4)
        cv2.fillPoly(self.colour, [half], _ink(leaf.colour, light * (1 + fold)), cv2.LINE_AA, 4)
        self._draw_ribs(lines, leaf, light)

    def _draw_ribs(self, lines: NDArray[np.int32], leaf: _Leaf, light: float) -> None:
        middle, strength = lines[1], leaf.rib
        if leaf.half_widths.max() > 5 * self.fine:  # wide enough to show side ribs
            nodes = np.arange(5, 20, 3)
            pale = _ink(leaf.colour, light * (1 + 0.1 * strength), 0.035 * strength)
            ends = (3 * middle[nodes] + 17 * lines[::2, nodes + 3]) // 20
            ribs = np.stack([np.broadcast_to(middle[nodes], ends.shape), ends], axis=2).reshape(-1, 2, 2)
            cv2.polylines(self.colour, list(ribs), False, pale, 1, cv2.LINE_AA, 4)
        pale = _ink(leaf.colour, light * (1 + 0.25 * strength), 0.1 * strength)
        cv2.polylines(self.colour, [middle[:-2]], False, pale, 1, cv2.LINE_AA, 4)

    def _throw_shadow(self, outline: NDArray[np.int32]) -> None:
        """Darken what lies under the leaf on the side away from the sun, and lift the leaf itself into the light."""
        reach = max(self.across * 0.025, 1.0)
        edge = math.ceil(reach) + 4
        low = np.maximum(outline.min(axis=0) // 16 - edge, 0)
        high = np.minimum(outline.max(axis=0) // 16 + edge, self.side)
        dark = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        away = np.array([math.cos(self.sun.bearing), math.sin(self.sun.bearing)]) * -16 * reach
        depth = 255 * (0.25 + 0.25 * self.sun.strength)
        cv2.fillPoly(dark, [outline - 16 * low + away.astype(np.int32)], depth, cv2.LINE_AA, 4)
        dark = cv2.blur(dark, (2 * round(reach) + 1, 2 * round(reach) + 1))
        light = self.shade[low[1] : high[1], low[0] : high[0]]
        light[...] = cv2.multiply(light, cv2.bitwise_not(dark), scale=1 / 255)
        cv2.fillPoly(self.shade, [outline], 255, cv2.LINE_AA, 4)

    def finish(self) -> Plant:
        """Return the plant in the picture's own resolution."""
        opacity: FloatArray = self.opacity * np.float32(1 / 255)
        paint: FloatArray = self.colour * (np.float32(1 / 255**2) * self.light * self.shade)[..., None]
        if self.fine > 1:
            side = self.side // self.fine
            opacity = cv2.resize(opacity, (side, side), interpolation=cv2.INTER_AREA)
            paint = cv2.resize(paint, (side, side), interpolation=cv2.INTER_AREA)
        reach = max(self.across / self.fine * 0.06, 1.2)
        shadow = _moved(blurred(opacity, 0.5 * reach + 0.4), -reach, self.sun.bearing)
        return Plant(Sprite(opacity, paint), shadow * np.float32(0.2 + 0.4 * self.sun.strength))


def draw_crop(rng: np.random.Generator, across: float, sun: Sun) -> Plant:
    """Draw a young beet about `across` pixels wide: seed leaves first, then a rosette of ovate leaves in pairs."""
    tone = np.array([0.2, 0.52, 0.32]) * rng.normal(1, 0.06, 3) * rng.uniform(0.85, 1.15)
    canvas = _Canvas(rng, across, sun, tone * 0.6)
    radius, turn = canvas.across / 2, rng.uniform(0, 2 * np.pi)
    pairs = int(np.clip(round(across / 19 + rng.normal(0, 0.5)), 1, 5))
    for pair in range(pairs):
        # The first true pairs are the longest; the youngest stand upright in the heart and look short from above.
        reach = radius * (1.0 - 0.62 * pair / max(pairs, 2)) * rng.uniform(0.93, 1.07)
        slender = rng.uniform(0.44, 0.62)
        for side in (0.0, np.pi):
            bearing = turn + side + rng.normal(0, 0.16)
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
    tone = np.array([0.22, 0.54, 0.43]) * rng.normal(1, 0.07, 3) * rng.uniform(0.9, 1.2)
    canvas = _Canvas(rng, across, sun, tone * 0.7)
    radius = canvas.across / 2
    width = max(radius * rng.uniform(0.045, 0.075), 1.3)
    for _ in range(int(rng.integers(4, 6 + int(across / 9)))):
        length = radius * rng.uniform(0.55, 1.08)
        midrib = _arc(rng, canvas.middle, rng.uniform(0, 2 * np.pi), (0, length), bend=0.55)
        half_widths = width * np.clip(1.25 * (1 - _ALONG) ** 0.6, 0.1, 1)
        canvas.lay(_Leaf(midrib, half_widths, tone * rng.normal(1, 0.09), 0.3))
    return canvas.finish()


def _toothed(rng: np.random.Generator, across: float, sun: Sun) -> Plant:
    """A flat rosette of narrow, deeply toothed leaves, such as a young thistle or dandelion."""
    tone = np.array([0.2, 0.44, 0.28]) * rng.normal(1, 0.08, 3) * rng.uniform(0.9, 1.25)
    canvas = _Canvas(rng, across, sun, tone * 0.6)
    radius, turn = canvas.across / 2, rng.uniform(0, 2 * np.pi)
    leaves = int(rng.integers(5, 7 + int(across / 12)))
    saw = (_ALONG * rng.uniform(3.5, 5.5)) % 1.0
    outline = np.sin(np.pi * np.clip(_ALONG, 0.03, 0.99) ** 0.75) ** 0.7 * (0.4 + 0.75 * saw)
    for leaf in range(leaves):
        length = radius * (1.05 - 0.45 * leaf / leaves) * rng.uniform(0.85, 1.05)
        midrib = _arc(rng, canvas.middle, turn, (0, length), bend=0.25)
        half_widths = 0.2 * length * outline
        canvas.lay(_Leaf(midrib, half_widths, tone * rng.normal(1, 0.06), rng.uniform(0.8, 1.4)))
        turn += _GOLDEN + rng.normal(0, 0.15)
    return canvas.finish()


def _branching(rng: np.random.Generator, across: float, sun: Sun) -> Plant:
    """Thin stems with many small round leaves, such as chickweed or a young goosefoot."""
    tone = np.array([0.27, 0.46, 0.33]) * rng.normal(1, 0.08, 3) * rng.uniform(0.9, 1.25)
    canvas = _Canvas(rng, across, sun, tone * 0.6)
    radius, turn = canvas.across / 2, rng.uniform(0, 2 * np.pi)
    stem = np.array([0.24, 0.3, 0.36]) * rng.uniform(0.8, 1.2)
    blade = radius * float(np.clip(9 / radius**0.6, 0.2, 0.42)) * rng.uniform(0.85, 1.2)
    plumpness = rng.uniform(0.55, 0.8)
    for _ in range(int(rng.integers(3, 5 + int(across / 20)))):
        reach = max(radius * rng.uniform(0.6, 1.0) - blade * 0.7, 0.2 * radius)
        line = _arc(rng, canvas.middle, turn, (0, reach), bend=0.3)
        canvas.lay(_Leaf(line, np.full(len(line), max(0.02 * radius, 0.8)), stem, 0.2))
        for place in np.arange(0.35, 1.01, rng.uniform(0.32, 0.5)):
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


def _arc(rng: np.random.Generator, middle: float, bearing: float, reach: tuple[float, float], bend: float) -> Points:
    """Return a bent line `[24]` from `reach[0]` to `reach[1]` pixels off the point (middle, middle)."""
    angle = bearing + bend * rng.normal() * (_ALONG - 0.3)
    distance = reach[0] + (reach[1] - reach[0]) * _ALONG
    return np.asarray(middle * (1 + 1j) + distance * np.exp(1j * angle))


def _ovate(length: float, stalk: float, slender: float) -> NDArray[np.float64]:
    """Return half widths `[24]` of an egg-shaped leaf on a stalk; `slender` is the blade's width over its length."""
    blade = np.clip((_ALONG * length - stalk) / (length - stalk), 0, 1)
    half_widths = slender / 2 * (length - stalk) * np.sin(np.pi * blade**0.8) ** 0.75
    return np.asarray(np.maximum(half_widths, np.where(_ALONG < 0.97, 0.02 * length + 0.4, 0.2)))


def _lines(leaf: _Leaf) -> NDArray[np.int32]:
    """Return the left margin, the midrib and the right margin, `[3, n, 2]`, in sixteenths of a pixel, for OpenCV."""
    midrib = leaf.midrib
    ahead = np.empty_like(midrib)
    ahead[1:-1] = midrib[2:] - midrib[:-2]
    ahead[0], ahead[-1] = midrib[1] - midrib[0], midrib[-1] - midrib[-2]
    offset = 1j * ahead * (leaf.half_widths / np.abs(ahead))
    lines = np.stack([midrib + offset, midrib, midrib - offset])
    return np.rint(16 * lines.view(np.float64)).astype(np.int32).reshape(3, -1, 2)


def _ink(colour: Colour, light: float, pallor: float = 0.0) -> tuple[float, ...]:
    """Return a colour under some light, as OpenCV draws with it."""
    return tuple(min(255 * (part * light + pallor), 255.0) for part in colour.tolist())


def _moved(grid: FloatArray, by: float, bearing: float) -> FloatArray:
    """Return `grid` shifted by `by` pixels towards `bearing`."""
    shift = np.array([[1, 0, by * math.cos(bearing)], [0, 1, by * math.sin(bearing)]], np.float32)
    return np.asarray(cv2.warpAffine(grid, shift, grid.shape[::-1]), dtype=np.float32)
