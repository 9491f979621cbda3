"""What lies in a box, as numbers: a small patch of the box and its surroundings, and features of it.

The features are the plain ones of texture and defect inspection: levels and colours inside and around, contrast,
strength and direction of gradients (the structure tensor), steps at the outline, and the patch itself at 8 x 8 pixels.
They only have to tell objects from background and classes from each other better than chance does, in any set; they are
no detector.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

CUT = 32  # pixels of a patch as it is cut: twice what is looked at, against aliasing
SIDE = CUT // 2
_IN = slice(SIDE // 4, 3 * SIDE // 4)  # the box is the middle half of the patch, the rest lies around it
_INSIDE = (SIDE // 2) ** 2  # pixels of a patch that belong to the box
_LEAST = 6.0  # pixels of a box's side: of a smaller one more of the surroundings is taken, for there is nothing else
_MOST_SIDE = 32_000  # pixels of a picture that OpenCV warps
_SMALL = 8  # pixels of the reduced patch
_GREY = np.array([[0.114, 0.587, 0.299], [0.886, -0.587, -0.299], [-0.114, -0.587, 0.701]], np.float32)  # Y, B-Y, R-Y
_EXTREME = _INSIDE // 20  # pixels beyond the 5 % and the 95 % quantile
_STRIP = 2  # pixels on each side of an edge that are compared

Floats = NDArray[np.float32]


def cut(picture: NDArray[np.uint8], corners: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a patch of each box and half its size around it.

    Args:
        picture: uint8 [height, width, 3].
        corners: [n, 4], pixels; beyond the border of the picture the outermost pixels are repeated.

    Returns:
        uint8 [n, 32, 32, 3]; the box is the 16 x 16 pixels in the middle.
    """
    step = max(picture.shape) // _MOST_SIDE + 1
    if step > 1:
        picture, corners = np.ascontiguousarray(picture[::step, ::step]), corners / step
    sizes = 2 * np.maximum(corners[:, 2:] - corners[:, :2], _LEAST)
    middles = (corners[:, :2] + corners[:, 2:]) / 2
    ratios = sizes / CUT
    starts = middles - sizes / 2 + ratios / 2 - 0.5  # OpenCV counts from the middle of a pixel
    patches = np.empty((len(corners), CUT, CUT, 3), np.uint8)
    for patch, (across, down), (left, top) in zip(patches, ratios.tolist(), starts.tolist(), strict=True):
        where = np.array([[across, 0, left], [0, down, top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(picture, where, (CUT, CUT), dst=patch, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return patches


def features(patches: NDArray[np.uint8]) -> Floats:
    """Return float32 [n, features] of patches as `cut` makes them."""
    if not len(patches):
        return np.zeros((0, len(features(np.zeros((1, CUT, CUT, 3), np.uint8))[0])), np.float32)
    tall = cv2.resize(patches.reshape(-1, CUT, 3), (SIDE, len(patches) * SIDE), interpolation=cv2.INTER_AREA)
    colours = cv2.transform(tall.astype(np.float32), _GREY)
    grey = np.ascontiguousarray(colours[:, :, 0]).reshape(-1, SIDE, SIDE)
    tints = colours[:, :, 1:].reshape(-1, SIDE, SIDE, 2)
    columns = [_levels(grey), _tints(tints), _gradients(grey), _outline(grey), _reduced(grey)]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _parts(values: Floats) -> tuple[Floats, Floats]:
    """Return the means of [n, side, side, ...] inside the box and around it; a margin may have been cut off."""
    side = values.shape[1]
    margin = (SIDE - side) // 2
    box = slice(_IN.start - margin, _IN.stop - margin)
    inside = values[:, box, box].sum((1, 2))
    return inside / _INSIDE, (values.sum((1, 2)) - inside) / (side**2 - _INSIDE)


def _levels(grey: Floats) -> Floats:
    """Return mean, difference, its size, spread and extremes of grey levels inside, against those around."""
    mean, usual = _parts(grey)
    spreads = [
        np.log(np.sqrt(np.maximum(part, 0)) + 1) for part in _parts((grey - grey.mean((1, 2), keepdims=True)) ** 2)
    ]
    inside = np.partition(grey[:, _IN, _IN].reshape(len(grey), -1), [_EXTREME, _INSIDE - 1 - _EXTREME], axis=1)
    low, high = inside[:, _EXTREME] - usual, inside[:, _INSIDE - 1 - _EXTREME] - usual
    strength = np.log(np.abs(np.stack([mean - usual, low, high])) + 1)
    return np.stack([mean, mean - usual, *spreads, spreads[0] - spreads[1], low, high, *strength], axis=1)


def _tints(tints: Floats) -> Floats:
    """Return mean inside, difference and its size of two colour channels."""
    mean, usual = _parts(tints)
    return np.concatenate([mean, mean - usual, np.log(np.abs(mean - usual) + 1)], axis=1)


def _gradients(grey: Floats) -> Floats:
    """Return strength, direction and roughness inside, around, and their differences."""
    stacked = grey.reshape(-1, SIDE)  # one tall picture, which OpenCV is fast on; where patches meet is cut off again
    across, down, curved = (
        filtered.reshape(grey.shape)[:, 1:-1, 1:-1]
        for filtered in (
            cv2.Sobel(stacked, cv2.CV_32F, 1, 0, ksize=1),
            cv2.Sobel(stacked, cv2.CV_32F, 0, 1, ksize=1),
            cv2.Laplacian(stacked, cv2.CV_32F),
        )
    )
    means = [_parts(values) for values in (across * across, down * down, across * down, np.abs(curved))]
    parts = []
    for xx, yy, xy, rough in zip(*means, strict=True):
        energy = xx + yy + 1
        parts.append(np.stack([np.log(energy), (xx - yy) / energy, 2 * xy / energy, np.log(rough + 1)], axis=1))
    return np.concatenate([*parts, parts[0] - parts[1]], axis=1)


def _outline(grey: Floats) -> Floats:
    """Return how much the strips along each edge of the box differ: a drawn box ends where the object does."""
    steps = []
    for line in (grey[:, :, _IN].mean(2), grey[:, _IN].mean(1)):
        for edge, way in ((_IN.start, 1), (_IN.stop, -1)):
            strips = [
                line[:, min(edge, edge + side) : max(edge, edge + side)] for side in (way * _STRIP, -way * _STRIP)
            ]
            steps.append(strips[0].mean(1) - strips[1].mean(1))
    table = np.stack(steps, axis=1)
    sizes = np.log(np.abs(table) + 1)
    return np.concatenate([table, sizes, sizes.min(1, keepdims=True)], axis=1)


def _reduced(grey: Floats) -> Floats:
    """Return the patch at 8 x 8 pixels, without its level and contrast, which stand for themselves."""
    side = SIDE // _SMALL
    small = grey.reshape(len(grey), _SMALL, side, _SMALL, side).mean((2, 4)).reshape(len(grey), -1)
    small -= small.mean(1, keepdims=True)
    return np.asarray(small / (small.std(1, keepdims=True) + 4))
