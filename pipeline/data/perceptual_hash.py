"""A perceptual hash of 64 bits that stays nearly the same when a picture is saved again, and its eight orientations.

Method: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), chapter 3.2.1, the hash of
low frequencies: the grey picture is shrunk to 32 x 32 pixels, of its cosine transform the 8 x 8 lowest frequencies are
kept, and each bit says whether one of them lies above their median.

A picture that is turned or mirrored has the same frequencies with other signs and in other places, so one transform
gives the hashes of all eight orientations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
SIDE = 32  # pixels a side of the thumbnail
FREQUENCIES = 8  # kept on each axis, the constant one included
# Number 4 * m + t: mirrored left to right if m is 1, then turned clockwise by t quarters.
ORIENTATIONS = (
    "as it is",
    "turned by 90",
    "turned by 180",
    "turned by 270",
    "mirrored",
    "mirrored, turned by 90",
    "mirrored, turned by 180",
    "mirrored, turned by 270",
)
BITS = FREQUENCIES * FREQUENCIES
_MIDDLE = 256  # pixels a side, at most, between the picture and its thumbnail
# A cosine of even number is the same from right to left, one of odd number has the other sign.
_MIRROR = np.where(np.arange(FREQUENCIES) % 2, -1, 1).astype(np.float32)
_TILE = 512  # hashes a side that are compared at a time; 1 MB of distances


def thumbnail(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Shrink a picture to a thumbnail by averaging areas.

    Two steps, the second in floating point: rounding to whole grey levels would drown pictures of little contrast.

    Args:
        grey: [height, width], any size.

    Returns:
        [SIDE, SIDE] grey levels; the ratio of the sides is not kept.
    """
    height, width = grey.shape
    middle = cv2.resize(grey, (min(_MIDDLE, width), min(_MIDDLE, height)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(middle.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def dct_hashes(small: NDArray[np.float32]) -> Hashes:
    """Return the hashes of a picture in all eight orientations.

    The hash of a nearly constant picture is noise.

    Args:
        small: thumbnail, [SIDE, SIDE].

    Returns:
        [8], in the order of `ORIENTATIONS`: entry k is the hash that `turned(small, k)` has as it is.
    """
    block = np.asarray(cv2.dct(np.ascontiguousarray(small, np.float32)), np.float32)[:FREQUENCIES, :FREQUENCIES]
    blocks = []
    for start in (block, block * _MIRROR):
        turning = start
        for _ in range(4):
            blocks.append(turning)
            turning = turning.T * _MIRROR  # a quarter clockwise: transposed, then mirrored left to right
    values = np.stack(blocks).reshape(len(blocks), BITS)
    bits = values > np.median(values, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def turned(pictures: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn pictures [..., height, width] into one of `ORIENTATIONS`."""
    mirrored = pictures[..., ::-1] if orientation >= 4 else pictures
    return np.rot90(mirrored, -(orientation % 4), axes=(-2, -1))


def distances(one: Hashes, other: Hashes) -> NDArray[np.uint8]:
    """Return the Hamming distances of hashes, element by element (broadcast).

    Through `unpackbits`, because NumPy counts bits only from version 2 on.
    """
    differing = np.bitwise_xor(one, other)
    bits = np.unpackbits(np.ascontiguousarray(differing).view(np.uint8), axis=-1)
    return np.asarray(bits.reshape(*differing.shape, BITS).sum(axis=-1), np.uint8)


def near_pairs(hashes: Hashes, limit: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Find all pairs of pictures whose hashes differ in few bits in some orientation.

    Every hash is compared with every other: as vectors of +1 and -1, two hashes have the product 64 - 2 * distance, and
    products of matrices are what computers are fastest at. The time grows with the square of the number of pictures.

    Args:
        hashes: [n, 8] as `dct_hashes` returns them.
        limit: bits that may differ.

    Yields:
        (i, j) with i < j, tile by tile: at most a quarter of a million pairs at a time, however alike the pictures are.
        The hash of picture i as it is is near one of the eight of picture j.
    """
    least = BITS - 2 * limit
    for right in range(0, len(hashes), _TILE):
        columns = [_signs(hashes[right : right + _TILE, k]).T for k in range(len(ORIENTATIONS))]
        for left in range(0, right + 1, _TILE):
            rows = _signs(hashes[left : left + _TILE, 0])
            best = rows @ columns[0]
            for column in columns[1:]:
                np.maximum(best, rows @ column, out=best)
            i, j = np.nonzero(best >= least)
            i, j = i + left, j + right
            ordered = i < j
            if ordered.any():
                yield i[ordered], j[ordered]


def _signs(hashes: Hashes) -> NDArray[np.float32]:
    bits = np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8)).reshape(-1, BITS)
    return bits.astype(np.float32) * 2 - 1
