"""Tiles cover the picture, stay inside it and overlap as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.tile import clip_to_tile, inner_edges, tile_rectangles
from pipeline.errors import UsageError

SIDES = st.integers(1, 300)
OVERLAPS = st.floats(0, 0.9)


@settings(deadline=None, max_examples=150)
@given(width=SIDES, height=SIDES, side=st.integers(1, 120), overlap=OVERLAPS)
def test_every_pixel_is_in_a_tile_and_every_tile_in_the_picture(
    width: int, height: int, side: int, overlap: float
) -> None:
    side = max(side, width // 12, height // 12)  # a picture of 300 pixels in tiles of one would take minutes
    tiles = tile_rectangles(width, height, side, overlap)
    seen = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in tiles:
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (x2 - x1, y2 - y1) == (min(side, width), min(side, height))  # moved inwards, never padded
        seen[y1:y2, x1:x2] = True
    assert seen.all()
    assert len(np.unique(tiles, axis=0)) == len(tiles)


@settings(deadline=None, max_examples=150)
@given(width=st.integers(1, 5000), side=st.integers(1, 900), overlap=OVERLAPS)
def test_neighbours_share_what_was_asked_and_no_tile_is_idle(width: int, side: int, overlap: float) -> None:
    side = max(side, width // 50)
    tiles = tile_rectangles(width, side, side, overlap)
    shared = tiles[:-1, 2] - tiles[1:, 0]
    assert (shared >= np.floor(side * overlap)).all() or side == 1
    # Without any one of them, the picture would not be covered, or neighbours would share too little.
    if len(tiles) > 1:
        step = max(1, side - int(np.ceil(side * overlap)))
        assert (len(tiles) - 2) * step + side < width


@pytest.mark.parametrize(
    ("length", "side", "overlap", "starts"),
    [
        (100, 100, 0.2, [0]),
        (99, 100, 0.2, [0]),
        (101, 100, 0.2, [0, 1]),
        (180, 100, 0.2, [0, 80]),
        (181, 100, 0.2, [0, 80, 81]),
        (300, 100, 0.0, [0, 100, 200]),
        (250, 100, 0.0, [0, 100, 150]),
        (3, 1, 0.9, [0, 1, 2]),
    ],
)
def test_known_tilings(length: int, side: int, overlap: float, starts: list[int]) -> None:
    assert tile_rectangles(length, 1, side, overlap)[:, 0].tolist() == starts
    assert tile_rectangles(1, length, side, overlap)[:, 1].tolist() == starts


def test_tiles_come_row_by_row_and_know_their_inner_edges() -> None:
    tiles = tile_rectangles(180, 150, 100, 0.2)
    assert tiles.tolist() == [[0, 0, 100, 100], [80, 0, 180, 100], [0, 50, 100, 150], [80, 50, 180, 150]]
    assert inner_edges(tiles, 180, 150).astype(int).tolist() == [[0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0]]


@pytest.mark.parametrize(("side", "overlap"), [(0, 0.2), (-5, 0.2), (10, -0.1), (10, 0.95), (10, float("nan"))])
def test_impossible_tilings_are_refused(side: int, overlap: float) -> None:
    with pytest.raises(UsageError, match=r"tile|overlap"):
        tile_rectangles(100, 100, side, overlap)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 60), min_size=4, max_size=4), st.lists(st.integers(0, 60), min_size=4, max_size=4))
def test_what_a_tile_shows_of_a_box_is_counted_pixel_by_pixel(box: list[int], tile: list[int]) -> None:
    (x1, x2), (y1, y2) = (sorted((box[0], box[1] + 61)), sorted((box[2], box[3] + 61)))
    (u1, u2), (v1, v2) = (sorted((tile[0], tile[1] + 1)), sorted((tile[2], tile[3] + 1)))
    if u1 == u2 or v1 == v2:
        u2, v2 = u2 + 1, v2 + 1
    canvas = np.zeros((130, 130), int)
    canvas[y1:y2, x1:x2] = 1
    clipped, fraction = clip_to_tile(np.array([[x1, y1, x2, y2]], float), np.array([u1, v1, u2, v2]))
    seen = canvas[v1:v2, u1:u2].sum()
    assert fraction == pytest.approx([seen / canvas.sum()])
    assert (clipped[0, 2:] - clipped[0, :2]).prod() == seen


def test_a_box_of_no_area_has_nothing_left() -> None:
    _, fraction = clip_to_tile(np.array([[5.0, 5.0, 5.0, 9.0]]), np.array([0, 0, 10, 10]))
    assert fraction.tolist() == [0.0]
