"""How well an object stands out from its surround, and how much of that is drowned in noise; in grey levels."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
_RING = 0.25  # of the box's side: wide enough for a histogram, narrow enough to stay near
_NARROWEST = 3  # px
_LEVELS = 256
_FLAT = (
    8.0  # grey levels: twice what the estimate leaves of the noise of the demo sets, whose blur would look like loss
)
# Second differences in both directions: blind to brightness, slopes and straight edges (Immerkaer 1996).
_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)


class Contrast(NamedTuple):
    """All in grey levels of 255."""

    contrast: float
    noise: float
    detail: float


def contrast_of(grey: Grey, box: npt.NDArray[np.float64]) -> Contrast | None:
    """Return how a box's inside differs from the ring around it; None where there is no inside or no ring.

    `contrast` is the Wasserstein-1 distance between the grey levels inside and in the ring: it sees a spot that is
    darker as well as a texture that is only rougher. `noise` is the deviation of Gaussian noise which Immerkaer's
    estimate finds in box and ring ("Fast noise variance estimation", Computer Vision and Image Understanding 64, 1996).
    `detail` is the deviation of the pixels inside the box, less what noise has in it: where the object is a break in a
    pattern, as on a circuit board, inside and ring may be equally bright, and only the pattern fades.

    Args:
        grey: `[h, w]`.
        box: `[4]`, px, corners.
    """
    height, width = grey.shape
    x1, y1 = np.floor(box[:2]).astype(int).clip(0)
    x2, y2 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    if x2 - x1 < 1 or y2 - y1 < 1:
        return None
    ring_x, ring_y = (max(_NARROWEST, round(_RING * side)) for side in (x2 - x1, y2 - y1))
    left, top = max(x1 - ring_x, 0), max(y1 - ring_y, 0)
    around = grey[top : y2 + ring_y, left : x2 + ring_x]
    inside = np.bincount(grey[y1:y2, x1:x2].ravel(), minlength=_LEVELS)
    ring = np.bincount(around.ravel(), minlength=_LEVELS) - inside
    if ring.sum() == 0:
        return None
    distance = np.abs(np.cumsum(inside / inside.sum() - ring / ring.sum())).sum()
    noise = _noise(around)
    detail = max(0.0, float(grey[y1:y2, x1:x2].var()) - noise**2) ** 0.5
    return Contrast(float(distance), noise, detail)


def _noise(patch: Grey) -> float:
    if min(patch.shape) < 3:
        return 0.0
    response = cv2.filter2D(patch.astype(np.float32), -1, _NOISE)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(response).mean())


def contrast_ratio(before: Contrast, after: Contrast) -> float:
    """Return contrast after / before.

    One grey level is added to each: below it there is nothing to be seen in 8 bits, and nothing to be divided by.
    """
    return (after.contrast + 1) / (before.contrast + 1)


def detail_ratio(before: Contrast, after: Contrast) -> float | None:
    """Return detail after / before; None where there was hardly any, as in a flat, evenly lit object."""
    return after.detail / before.detail if before.detail >= _FLAT else None


def noise_ratio(value: Contrast) -> float:
    """Return noise / contrast: above 1 the pixels of the object differ more by chance than from their surround."""
    return value.noise / (value.contrast + 1)
