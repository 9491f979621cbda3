"""Rescaling a cut and blending it into a place of a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .object_bank import Cut, Floats, Pixels

_PAD = 4  # px around the place that seamlessClone sees as well: it treats the border of its picture as known
_EROSION = 3  # px that seamlessClone takes off the mask's edge (three erosions by 3 x 3)


@dataclass(frozen=True)
class Sized:
    """A cut that was brought to the size at which it is pasted.

    Args:
        pixels: `[h, w, 3]`, BGR.
        box: `[4]`, px, corners of the object in it.
        class_id: of the object.
    """

    pixels: Pixels
    box: Floats
    class_id: int

    @property
    def inner(self) -> tuple[int, int, int, int]:
        """The whole pixels that the box touches: left, top, right, bottom."""
        x1, y1, x2, y2 = self.box
        return math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)

    @cached_property
    def grey(self) -> Pixels:
        """`[h, w]`."""
        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_BGR2GRAY), np.uint8)

    @cached_property
    def band(self) -> NDArray[np.bool_]:
        """`[h, w]`, the margin: all pixels that the box does not touch."""
        left, top, right, bottom = self.inner
        mask = np.ones(self.pixels.shape[:2], np.bool_)
        mask[top:bottom, left:right] = False
        return mask


def rescaled(cut: Cut, factor: float) -> Sized:
    """Return the cut rescaled to whole pixels, at most by this factor."""
    height, width = cut.pixels.shape[:2]
    size = max(math.floor(width * factor), 1), max(math.floor(height * factor), 1)
    if size == (width, height):
        return Sized(cut.pixels, cut.box, cut.class_id)
    # Area averages where it shrinks, so that no stripes arise; it would make blocks where it grows.
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    pixels = np.asarray(cv2.resize(cut.pixels, size, interpolation=how), np.uint8)
    return Sized(pixels, cut.box * np.tile(np.divide(size, (width, height)), 2), cut.class_id)


def blended(sized: Sized, place: Pixels, how: Literal["feather", "seamless"]) -> Pixels:
    """Return the pixels of a place, `[h, w, 3]` as large as the cut, with the object in it."""
    return _feather(sized, place) if how == "feather" else _seamless(sized, place)


def opacity(sized: Sized) -> NDArray[np.float32]:
    """Return `[h, w]`: 1 on every pixel that the box touches, from there falling linearly to 0 beyond the margin."""
    left, top, right, bottom = sized.inner
    height, width = sized.pixels.shape[:2]
    return np.outer(_ramp(height, top, bottom), _ramp(width, left, right))


def _ramp(length: int, start: int, stop: int) -> NDArray[np.float32]:
    at = np.arange(length)
    before, after = (at + 1) / (start + 1), (length - at) / (length - stop + 1)
    return np.minimum(np.minimum(before, after), 1).astype(np.float32)


def _feather(sized: Sized, place: Pixels) -> Pixels:
    """Blend with the opacity, after the cut was brought to the place's brightness: the margins' means agree."""
    band = sized.band.view(np.uint8)
    brighter = np.subtract(cv2.mean(place, mask=band), cv2.mean(sized.pixels, mask=band))
    weight = opacity(sized)
    return np.asarray(cv2.blendLinear(cv2.add(sized.pixels, brighter), place, weight, 1 - weight), np.uint8)


def _seamless(sized: Sized, place: Pixels) -> Pixels:
    """Blend with OpenCV's Poisson solver, over the place alone: over a whole picture it takes twenty times as long."""
    height, width = (side + 2 * _PAD for side in place.shape[:2])
    source, target = (
        cv2.copyMakeBorder(pixels, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_REPLICATE) for pixels in (sized.pixels, place)
    )
    mask = np.zeros((height, width), np.uint8)
    inset = _PAD - _EROSION  # so that what is left of the mask is the cut
    mask[inset:-inset, inset:-inset] = 255
    mixed = cv2.seamlessClone(source, target, mask, (width // 2, height // 2), cv2.NORMAL_CLONE)
    return np.asarray(mixed[_PAD:-_PAD, _PAD:-_PAD], np.uint8)
