"""Where an object may be pasted: places that are free, and whose surroundings look like those that it was cut from.

What is compared is the margin of the cut with the same pixels of the place. The limits were set by looking at 800
pastes at random places of the demo sets, DeepPCB and BCCD (docs/benchmarks/copy_paste.md).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .blending import Sized
from .object_bank import Floats, Pixels

CANDIDATES = 256  # places drawn at random per object, compared coarsely
MATCHED = 512  # most alike in a reduced picture, compared where none of those fits: on boards that is the rule
CHECKED = 4  # of those that fit coarsely, compared pixel by pixel
GAP = 2.0  # px between a cut and the boxes around it
# Grey levels between the two margins' means, in the channel where they differ most. An object is brought to the place's
# brightness, but its own light and shade are not: beyond this it looks lit by another lamp.
MAX_BRIGHTNESS = 25.0
# Grey levels, deviation of the differences between parts of the two margins. Beyond it edges (a conductor, another
# cell) end at the cut: on steel and BCCD it was seen from 10 on, on DeepPCB from 15 on.
MAX_STRUCTURE = 10.0
# Binary logarithm of the ratio of the margins' deviations, and of their differences between neighbouring pixels.
# Beyond it a sharp object lies in a blurred picture, or the brushing of the steel runs the other way.
MAX_TEXTURE = 0.7
_REDUCED = 160  # px, long side of the reduced picture, at most: the search takes 0.4 ms there, and 8 ms at 640
_LEAST = 6  # px, shortest side of a cut in the reduced picture, so that its margin is still to be seen
_PARTS = 4  # of each side of the margin
_GRAIN = 1.5  # grey levels added before ratios are taken: below it nothing is seen
_SEEN = 64  # rows and columns of a cut, at most, in which its margin is compared pixel by pixel


class Surround(NamedTuple):
    """What the margin of a cut, or of a place, looks like.

    Args:
        mean: `[3]`, BGR, grey levels.
        texture: `[4]`, binary logarithms of its deviation and of the mean difference between neighbours across and
            down, and the difference of these two: which way it is brushed.
    """

    mean: Floats
    texture: Floats


@dataclass(frozen=True)
class Ground:
    """A picture that is to be pasted into: uint8 `[h, w, 3]`, BGR."""

    picture: Pixels

    @cached_property
    def sums(self) -> NDArray[np.int32]:
        """`[h + 1, w + 1]`, sums of the grey levels above and to the left."""
        return np.asarray(cv2.integral(self.grey), np.int32)

    def find(self, sized: Sized, taken: Floats, draw: random.Random) -> tuple[int, int] | None:
        """Return (left, top) of a place for the cut, or None if none of those that were tried will do.

        Args:
            sized: the cut at its final size.
            taken: `[n, 4]`, px, corners of boxes that it must keep clear of.
            draw: source of the random numbers.
        """
        height, width = sized.pixels.shape[:2]
        room = np.array([self.picture.shape[1] - width, self.picture.shape[0] - height])
        if room.min() < 0:
            return None
        rng = np.random.default_rng(draw.getrandbits(64))
        if not sized.band[[0, -1]].all() or not sized.band[:, [0, -1]].all():
            return None  # a margin that was clipped by the border was shrunk to nothing: it cannot be compared
        parts = _parts(sized)
        own = _part_means(np.asarray(cv2.integral(sized.grey), np.int32), np.zeros((1, 2), np.intp), parts)
        fitting, near = self._fitting(rng.integers(0, room + 1, (CANDIDATES, 2)), sized, own, parts, taken)
        if near and not len(fitting):  # the light is right, only edges are not where they should be
            fitting, _ = self._fitting(self._alike(sized, room, taken), sized, own, parts, taken)
        return self._best(sized, rng.permutation(fitting)[:CHECKED])

    def _fitting(
        self, corners: NDArray[np.intp], sized: Sized, own: Floats, parts: NDArray[np.intp], taken: Floats
    ) -> tuple[NDArray[np.intp], bool]:
        """Return those of the places that are free and fit coarsely, and whether any was at least bright enough."""
        height, width = sized.pixels.shape[:2]
        free = corners[_is_free(corners, (width, height), taken)]
        difference = _part_means(self.sums, free, parts) - own
        as_bright = np.abs(difference.mean(axis=1)) <= MAX_BRIGHTNESS
        return free[as_bright & (difference.std(axis=1) <= MAX_STRUCTURE)], bool(as_bright.any())

    @cached_property
    def grey(self) -> Pixels:
        """`[h, w]`."""
        return np.asarray(cv2.cvtColor(self.picture, cv2.COLOR_BGR2GRAY), np.uint8)

    @cached_property
    def factor(self) -> int:
        """By how much the picture is reduced to be searched."""
        return math.ceil(float(max(self.picture.shape[:2])) / _REDUCED)

    @cached_property
    def reduced(self) -> Pixels:
        """The grey picture, each side divided by `factor`."""
        return _reduced(self.grey, self.factor)

    def _alike(self, sized: Sized, room: NDArray[np.int_], taken: Floats) -> NDArray[np.intp]:
        """Return (left, top) `[k, 2]` of the places whose margin is most like the cut's in the reduced picture."""
        factor, band = self.factor, sized.band
        if min(band.shape) < _LEAST * factor:
            return np.zeros((0, 2), np.intp)
        mask = (_reduced(band.astype(np.uint8) * 255, factor) >= 128).astype(np.uint8)
        if not mask.any():
            return np.zeros((0, 2), np.intp)
        misfit = cv2.matchTemplate(self.reduced, _reduced(sized.grey, factor), cv2.TM_SQDIFF, mask=mask)
        height, width = band.shape
        # The corners of the cut's place at which it would touch a box.
        touching = np.concatenate([taken[:, :2] - GAP - (width, height), taken[:, 2:] + GAP], axis=1) / factor
        for left, top, right, bottom in np.ceil(touching).clip(0).astype(int).tolist():
            misfit[top:bottom, left:right] = np.inf
        count = min(max(MATCHED // factor**2, 1), misfit.size)
        top, left = np.divmod(np.argpartition(misfit, count - 1, axis=None)[:count], misfit.shape[1])
        within = np.stack(np.meshgrid(np.arange(factor), np.arange(factor)), axis=-1).reshape(-1, 2)
        found = (np.stack([left, top], axis=1)[:, None] * factor + within).reshape(-1, 2)
        return np.asarray(found[(found <= room).all(axis=1)], np.intp)

    def _best(self, sized: Sized, corners: NDArray[np.intp]) -> tuple[int, int] | None:
        """Return that of a few places whose margin is most like the cut's, pixel by pixel, or None."""
        height, width = sized.grey.shape
        step = math.ceil(max(height, width) / _SEEN)
        first, second = slice(0, -1, step), slice(1, None, step)
        seen = sized.band[first, first] & sized.band[first, second] & sized.band[second, first]
        own = _surround(sized.pixels, sized.grey, seen, step)
        found: list[tuple[float, int, int]] = []
        for left, top in corners.tolist():
            area = slice(top, top + height), slice(left, left + width)
            other = _surround(self.picture[area], self.grey[area], seen, step)
            brightness = float(np.abs(own.mean - other.mean).max()) / MAX_BRIGHTNESS
            texture = float(np.abs(own.texture - other.texture).max()) / MAX_TEXTURE
            if max(brightness, texture) <= 1:
                found.append((brightness + texture, left, top))
        return min(found)[1:] if found else None


def _is_free(corners: NDArray[np.intp], size: tuple[int, int], taken: Floats) -> NDArray[np.bool_]:
    """Return `[k]`: whether a cut of this size (width, height) touches no box when its corner is at each place."""
    left, top = corners[:, :1], corners[:, 1:]
    x1, y1, x2, y2 = taken.T
    apart = (left >= x2 + GAP) | (left + size[0] <= x1 - GAP) | (top >= y2 + GAP) | (top + size[1] <= y1 - GAP)
    return np.asarray(apart.all(axis=1))


def _reduced(grey: Pixels, factor: int) -> Pixels:
    height, width = (side // factor for side in grey.shape)
    whole = np.ascontiguousarray(grey[: height * factor, : width * factor])
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _parts(sized: Sized) -> NDArray[np.intp]:
    """Return corners `[p, 4]` of the parts of the margin, four to a side; those without a pixel are left out."""
    left, top, right, bottom = sized.inner
    height, width = sized.pixels.shape[:2]
    across = pairwise(np.linspace(0, width, _PARTS + 1).astype(int).tolist())
    down = pairwise(np.linspace(top, bottom, _PARTS + 1).astype(int).tolist())
    parts = [(x1, y1, x2, y2) for x1, x2 in across for y1, y2 in ((0, top), (bottom, height))]
    parts += [(x1, y1, x2, y2) for y1, y2 in down for x1, x2 in ((0, left), (right, width))]
    found = np.array(parts, np.intp)  # [16, 4]
    return found[(found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])]


def _part_means(sums: NDArray[np.int32], corners: NDArray[np.intp], parts: NDArray[np.intp]) -> Floats:
    """Return `[k, p]`: the mean grey level of each part with the cut's corner at each place."""
    row = sums.shape[1]
    flat, start = sums.ravel(), (corners[:, 1] * row + corners[:, 0])[:, None]
    x1, y1, x2, y2 = parts.T
    totals = flat[start + y2 * row + x2] - flat[start + y2 * row + x1] - flat[start + y1 * row + x2]
    return np.asarray((totals + flat[start + y1 * row + x1]) / ((x2 - x1) * (y2 - y1)))


def _surround(pixels: Pixels, grey: Pixels, seen: NDArray[np.bool_], step: int) -> Surround:
    """Measure a margin on pixels that lie on a grid, and on their neighbours to the right and below."""
    first, second = slice(0, -1, step), slice(1, None, step)
    levels = grey[first, first][seen].astype(np.float32)
    across, down = (np.abs(levels - grey[other][seen]).mean() for other in ((first, second), (second, first)))
    logarithms = np.log2(np.array([levels.std(), across, down]) + _GRAIN)
    return Surround(pixels[first, first][seen].mean(axis=0), np.append(logarithms, logarithms[1] - logarithms[2]))
