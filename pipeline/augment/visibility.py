"""How much of an object can still be made out where it went: its own structure, looked for in the changed picture.

Contrast does not tell: the edge of a hole that was cut over an object is contrast too, and the median of a class says
nothing of those few that are gone. Here the object is compared with itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]

# Below it an object is hidden. A third, from 3,600 boxes of the steel and field demos, DeepPCB and BCCD under black and
# grey holes: of objects that are covered by a tenth at most 0.99 can be made out (median), by half 0.4 to 0.5, by two
# thirds 0.25, by 0.75 to 0.9 of their area 0.1 to 0.2. Turns by 30 degrees, blur of sigma 2, noise of 3 %, JPEG of
# quality 20, inversion, gentle bending and all shipped policies leave 0.5 or more of 95 % of the objects.
MADE_OUT = 1 / 3
# Of an object that is left as it is, but for what any camera does: else nothing can be said about it.
_SURE = 2 * MADE_OUT
_MARGIN = 0.25  # of the box's side, on each side: a flat object is made out by its edge
_CELLS = 24  # on a side: the box takes 16 of them
_FINEST = 4  # samples along a cell, averaged: 16 of them leave a quarter of the noise of a large object
_WINDOW = 7  # cells: 0.44 of the box's side; half of it may be bent or shifted away
_EDGE = 3  # cells of the margin whose windows hardly touch the object
_STEPS = [(x, y) for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0) if x or y]  # px
_UNSEEN = 2.0  # grey levels: what stands out by less is as good as gone in 8 bits
_WHOLE = np.ones((_CELLS, _CELLS), bool)
_HARMLESS_SCALE, _HARMLESS_BLUR, _HARMLESS_NOISE = 0.7, 1.0, 5.0  # share, px, grey levels: what the shipped ones do


class Looks(NamedTuple):
    """Objects cut out with their margin, as float32 `[n, 24, 24]` grey levels and bool: inside the picture."""

    cells: npt.NDArray[np.float32]
    there: npt.NDArray[np.bool_]

    def of(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Looks:
        """Return some of them."""
        return Looks(self.cells[rows], self.there[rows])


class Sight(NamedTuple):
    """What can be made out of objects, `[n]` each.

    Args:
        share: 0 to 1, of what stood out in and around the box, by its variance.
        gain: by which it stands out more than before; what does not come from the object does not count.
    """

    share: npt.NDArray[np.float64]
    gain: npt.NDArray[np.float64]


def quads_of(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the corners `[n, 4, 2]` of boxes `[n, 4]`, clockwise from the top left."""
    corners: npt.NDArray[np.float64] = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    return corners


def looks_at(grey: Grey, quads: npt.NDArray[np.float64]) -> Looks:
    """Cut out what lies in and around quadrilaterals, each straightened to the same small square.

    Args:
        grey: `[h, w]`.
        quads: `[n, 4, 2]`, px: where the corners of the labelled boxes went.
    """
    cut = [_straightened(grey, quad) for quad in quads]
    if not cut:
        return Looks(np.zeros((0, _CELLS, _CELLS), np.float32), np.zeros((0, _CELLS, _CELLS), bool))
    return Looks(np.stack([cells for cells, _ in cut]), np.stack([there for _, there in cut]))


def _straightened(grey: Grey, quad: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    height, width = grey.shape
    low, high = quad.min(axis=0), quad.max(axis=0)
    ring = _MARGIN * (high - low)
    fine = int(min(max(math.ceil((high - low + 2 * ring).max() / _CELLS), 1), _FINEST))
    back = cv2.getPerspectiveTransform(_square(fine), (quad - 0.5).astype(np.float32))
    how, side = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, fine * _CELLS
    samples = cv2.warpPerspective(grey, back, (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE)
    cells = samples.astype(np.float32)
    if fine > 1:
        cells = cv2.resize(cells, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    if (low - ring).min() >= 0 and (high + ring <= (width, height)).all():
        return np.asarray(cells), _WHOLE
    middles = (np.arange(_CELLS, dtype=np.float32) + 0.5) * fine - 0.5
    grid = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(1, -1, 2)
    places = cv2.perspectiveTransform(grid, back)[0]
    there = ((places >= -0.5) & (places <= (width - 0.5, height - 0.5))).all(axis=1)
    return np.asarray(cells), there.reshape(_CELLS, _CELLS)


@cache
def _square(fine: int) -> npt.NDArray[np.float32]:
    """Return where the corners of a box lie among the samples."""
    near, far = (fine * _CELLS * part / (1 + 2 * _MARGIN) - 0.5 for part in (_MARGIN, 1 + _MARGIN))
    return np.array([[near, near], [far, near], [far, far], [near, far]], np.float32)


def seen(before: Looks, grey: Grey, quads: npt.NDArray[np.float64]) -> Sight:
    """Return what can be made out of objects in a picture, at the places where the corners of their boxes went.

    Before an object counts as hidden, it is looked for one pixel to each side as well: Albumentations' flips and
    quarter turns mirror corners as if they were pixels, at `width - 1 - x`, which for an object of 3 px is a third.
    """
    found = sight(before, looks_at(grey, quads))
    missing = np.flatnonzero(found.share < MADE_OUT)
    for step in _STEPS if len(missing) else ():
        again = sight(before.of(missing), looks_at(grey, quads[missing] + step))
        better = again.share > found.share[missing]
        for values, new in zip(found, again, strict=True):
            values[missing[better]] = new[better]
    return found


def sight(before: Looks, after: Looks) -> Sight:
    """Return what can be made out of objects.

    In each window of 7 x 7 cells the grey levels after are explained by those before, in a straight line: as in the
    structure term of SSIM (Wang et al., IEEE Transactions on Image Processing 13, 2004), light and contrast do not
    count, nor does inversion. The coefficients of determination are averaged, each weighted by how much stood out in
    its window: the edge of an object counts, a flat surround does not. What is covered explains nothing.
    """
    if not len(before.cells):
        return Sight(np.zeros(0), np.zeros(0))
    there = np.moveaxis(before.there & after.there, 0, -1).astype(np.float32)
    one, other = (np.moveaxis(looks.cells, 0, -1) for looks in (before, after))
    one, other = (cells - cells.mean(axis=(0, 1)) for cells in (one, other))  # float32 squares lose digits otherwise
    weight = np.maximum(_windows(there), 1e-6)
    mean_one, mean_other = _windows(one * there) / weight, _windows(other * there) / weight
    variance_one = np.maximum(_windows(one * one * there) / weight - mean_one**2, 0)
    variance_other = np.maximum(_windows(other * other * there) / weight - mean_other**2, 0)
    both = _windows(one * other * there) / weight - mean_one * mean_other
    inner = (slice(_EDGE, _CELLS - _EDGE), slice(_EDGE, _CELLS - _EDGE))
    explained = both**2 / (variance_other + _UNSEEN**2)
    stood_out, explained, both = ((sums * there)[inner].sum(axis=(0, 1)) for sums in (variance_one, explained, both))
    stood_out = np.maximum(stood_out, 1e-6)
    return Sight((explained / stood_out).astype(np.float64), (np.abs(both) / stood_out).astype(np.float64))


def _windows(stack: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the means over windows, `[24, 24, n]`."""
    # One call for all of them; OpenCV takes up to 512 channels.
    parts = [
        cv2.boxFilter(
            np.ascontiguousarray(stack[..., at : at + 512]), -1, (_WINDOW, _WINDOW), borderType=cv2.BORDER_CONSTANT
        ).reshape(_CELLS, _CELLS, -1)
        for at in range(0, stack.shape[-1], 512)
    ]
    return np.concatenate(parts, axis=-1)


def certain(grey: Grey, boxes: npt.NDArray[np.float64]) -> tuple[Looks, npt.NDArray[np.bool_]]:
    """Return objects as they are, and of which of them one could say that they are hidden, `[n]`.

    An object that cannot be made out once the picture was made a little smaller, softer and noisier (scale 0.7, blur of
    sigma 1 px, noise of 5 grey levels) is told from its surround by so little that nothing can be said about it.
    """
    quads = quads_of(boxes)
    looks = looks_at(grey, quads)
    height, width = grey.shape
    smaller = (max(1, round(width * _HARMLESS_SCALE)), max(1, round(height * _HARMLESS_SCALE)))
    soft = cv2.resize(cv2.resize(grey, smaller, interpolation=cv2.INTER_AREA), (width, height))
    soft = cv2.GaussianBlur(soft, (0, 0), _HARMLESS_BLUR)
    noisy = cv2.add(soft, _noise(height, width), dtype=cv2.CV_8U)
    return looks, sight(looks, looks_at(np.asarray(noisy), quads)).share >= _SURE


@cache
def _noise(height: int, width: int) -> npt.NDArray[np.int16]:
    noise = np.random.default_rng(0).normal(0, _HARMLESS_NOISE, (height, width))
    return np.asarray(noise.round(), dtype=np.int16)
