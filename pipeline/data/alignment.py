"""How well two thumbnails agree when small movements between them are allowed for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .perceptual_hash import SIDE

_BLUR = 1.0  # pixels of the thumbnail: movements up to about that size become linear
_PLACES = np.arange(2, SIDE - 2, 2)  # rows and columns that are compared: after the blur the others tell the same
_RIDGE = 1e-5  # of the features' own variance: keeps the equations of a picture that is constant along a line solvable
# Sum of squares: one pixel that is off by one grey level gives 0.02 and more, rounding to 32 bits 1e-7.
_CONSTANT = 1e-3


def aligned_correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the correlation of pairs of thumbnails after the best small movement of the second.

    A copy that was turned by 3 degrees or cut by 3 % is off by up to a pixel of the thumbnail, which ruins the plain
    correlation of a picture with fine lines (0.48 on circuit boards). To first order, moving a picture adds a sum of
    its two slopes, each times 1, x and y (Lucas and Kanade 1981, for an affine movement). The correlation is that of
    `one` with its best approximation by `other` and these six pictures, by least squares.

    Args:
        one: [n, SIDE, SIDE].
        other: [n, SIDE, SIDE], already turned the way that `one` is.

    Returns:
        [n] from -1 to 1; negative where `other` would have to be inverted, 0 where one of the two is constant.
    """
    y = _rows(_BLURRING @ one.astype(np.float32) @ _BLURRING.T)
    second = other.astype(np.float32)
    smooth = _BLURRING @ second @ _BLURRING.T
    right, down = _BLURRING @ second @ _SLOPE.T, _SLOPE @ second @ _BLURRING.T
    pictures = (smooth, right, right * _ACROSS, right * _ACROSS.T, down, down * _ACROSS, down * _ACROSS.T)
    x = np.stack([_rows(picture) for picture in pictures], axis=1)  # [n, 7, places], each with mean 0
    scale = np.sqrt((x**2).sum(axis=2))
    x /= np.maximum(scale, 1e-9)[:, :, None]
    products, target = x @ x.transpose(0, 2, 1), x @ y[:, :, None]
    weights = np.linalg.solve(products + _RIDGE * np.eye(len(pictures)), target)
    explained = (weights * target).sum(axis=(1, 2))
    total = (y**2).sum(axis=1)
    share = np.clip(explained / np.maximum(total, _CONSTANT), 0.0, 1.0)
    varied = (total > _CONSTANT) & (scale[:, 0] ** 2 > _CONSTANT)
    return np.asarray(np.where(varied, np.sign(weights[:, 0, 0]) * np.sqrt(share), 0.0), np.float64)


def _rows(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pictures [n, places, places] as rows [n, places * places] with mean 0."""
    rows = pictures.reshape(len(pictures), len(_PLACES) ** 2)
    return np.asarray(rows - rows.mean(axis=1, keepdims=True))


def _blurring() -> NDArray[np.float32]:
    """Return the matrix [SIDE, SIDE] that blurs a column by a Gaussian; at the border it weighs what is there."""
    pixels = np.arange(SIDE)
    weights = np.exp(-0.5 * ((pixels[:, None] - pixels[None]) / _BLUR) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


# [places, SIDE]: the blurred column, and its slope as the central difference.
_BLURRING = _blurring()[_PLACES]
_SLOPE = (_blurring()[_PLACES + 1] - _blurring()[_PLACES - 1]) / 2
_ACROSS = np.linspace(-1.0, 1.0, len(_PLACES), dtype=np.float32)[None]  # [1, places], from left to right
