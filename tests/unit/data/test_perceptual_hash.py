"""The hash of a picture, of the picture turned and mirrored, and the search for near ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.perceptual_hash import (
    BITS,
    ORIENTATIONS,
    SIDE,
    dct_hashes,
    distances,
    near_pairs,
    thumbnail,
    turned,
)


def textured(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return a grey picture of blobs of several sizes, as photographs have them."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width))
    for cells in (3, 6, 12, 24):
        pixels += cv2.resize(rng.normal(0, 1, (cells, cells)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 30 * pixels, 0, 255).astype(np.uint8)


def hashes_of(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return dct_hashes(thumbnail(grey))


def plain_hash(grey: NDArray[np.uint8]) -> int:
    """The method in other words: Pillow's box filter and the cosine transform as a sum of products."""
    small = np.asarray(Image.fromarray(grey).convert("F").resize((SIDE, SIDE), Image.Resampling.BOX), float)
    wave = np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(SIDE) + 1) / (2 * SIDE))
    wave[0] /= np.sqrt(2)
    values = (wave @ small @ wave.T).ravel()
    return sum(1 << (63 - place) for place, value in enumerate(values) if value > np.median(values))


def as_number(hashed: np.uint64) -> int:
    """The first coefficient is the highest bit of the first byte, in the memory of any machine."""
    return int.from_bytes(hashed.tobytes(), "big")


@pytest.mark.parametrize(
    ("shape", "bits"), [((256, 256), 0), ((480, 640), 2), ((64, 64), 0), ((333, 77), 2), ((1000, 40), 2), ((31, 17), 6)]
)
def test_hash_is_the_published_method(shape: tuple[int, int], bits: int) -> None:
    """A side of less than 32 pixels is enlarged, which libraries do in different ways."""
    for seed in range(5):
        picture = textured(seed, *shape)
        assert (as_number(hashes_of(picture)[0]) ^ plain_hash(picture)).bit_count() <= bits


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(40, 300), st.integers(40, 300), st.integers(0, 7))
def test_one_transform_gives_the_hashes_of_all_orientations(seed: int, height: int, width: int, way: int) -> None:
    picture = textured(seed, height, width)
    really = np.ascontiguousarray(turned(picture, way))
    assert distances(hashes_of(really)[:1], hashes_of(picture)[way : way + 1])[0] <= 2


def test_orientations_are_what_their_names_say() -> None:
    picture = Image.fromarray(textured(0, 30, 40))
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    expected = [base.rotate(-angle, expand=True) for base in (picture, mirrored) for angle in (0, 90, 180, 270)]
    for way, reference in enumerate(expected):
        assert np.array_equal(turned(np.asarray(picture), way), np.asarray(reference)), ORIENTATIONS[way]
        assert ("mirrored" in ORIENTATIONS[way]) == (way >= 4)
        assert str(90 * (way % 4)) in ORIENTATIONS[way] or way % 4 == 0


def test_turned_turns_each_of_a_stack() -> None:
    stack = np.stack([textured(seed, SIDE, SIDE) for seed in range(3)])
    for way in range(8):
        assert np.array_equal(turned(stack, way), np.stack([turned(picture, way) for picture in stack]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(50, 95))
def test_saving_again_and_brightness_change_few_bits(seed: int, quality: int) -> None:
    picture = textured(seed, 200, 240)
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    again = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    brighter = np.clip(picture.astype(int) + 15, 0, 255).astype(np.uint8)
    half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for copy in (again, brighter, half):
        assert distances(hashes_of(copy)[:1], hashes_of(picture)[:1])[0] <= 6


def test_other_pictures_are_far() -> None:
    hashes = np.array([hashes_of(textured(seed, 64, 64)) for seed in range(60)])
    apart = distances(hashes[:, None, :1], hashes[None])[~np.eye(60, dtype=bool)]
    assert apart.min() > 14
    assert np.median(apart) == pytest.approx(BITS / 2, abs=2)


def test_distances_count_differing_bits() -> None:
    one = np.array([[0], [1], [2**64 - 1]], np.uint64)
    other = np.array([[0, 3], [0, 1], [0, 2**63]], np.uint64)
    assert distances(one, other).tolist() == [[0, 2], [1, 0], [64, 63]]


@pytest.mark.parametrize("count", [0, 1, 2, 700])  # more than one tile
def test_near_pairs_are_those_of_a_plain_loop(count: int) -> None:
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**63, (count, 8), dtype=np.uint64)
    for place in range(1, count, 7):  # some are near another: up to 20 bits in one orientation
        bits = rng.choice(64, int(rng.integers(0, 20)), replace=False)
        mask = sum(1 << int(bit) for bit in bits)
        hashes[place, int(rng.integers(8))] = hashes[int(rng.integers(0, place)), 0] ^ np.uint64(mask)
    expected = {
        (i, j)
        for j in range(count)
        for i in np.flatnonzero((distances(hashes[:j, :1], hashes[None, j]) <= 10).any(axis=1)).tolist()
    }
    found = [(int(a), int(b)) for i, j in near_pairs(hashes, 10) for a, b in zip(i, j, strict=True)]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert count < 700 or len(expected) > 20
