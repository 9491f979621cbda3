"""Objects on the seams of tiles, seen by a detector that is known: each is reported once, with the right box."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.tile import clip_to_tile, tile_rectangles
from pipeline.evaluation.tile_merge import Merged, TileDetections, merge_tiles

SIZE = (700, 500)
SIDE, OVERLAP = 200, 0.2
TILES = tile_rectangles(*SIZE, SIDE, OVERLAP)
Boxes = NDArray[np.float64]


def boxes_of(*corners: tuple[float, float, float, float]) -> Boxes:
    return np.array(corners, np.float64).reshape(-1, 4)


def detect(
    objects: Boxes,
    classes: Boxes,
    *,
    least: float = 6.0,
    jitter: Callable[[int], Boxes] = lambda count: np.zeros((count, 4)),
) -> TileDetections:
    """A detector that sees in each tile what is at least `least` pixels wide and high there, whole or cut."""
    rows = []
    for number, tile in enumerate(TILES):
        shown, share = clip_to_tile(objects, tile)
        seen = ((shown[:, 2:] - shown[:, :2]) >= least).all(axis=1)
        shown = np.clip(shown + jitter(len(objects)), np.tile(tile[:2], 2), np.tile(tile[2:], 2))
        rows += [(*shown[k], 0.5 + share[k] / 4 + 0.001 * number, classes[k], number) for k in np.flatnonzero(seen)]
    table = np.array(rows, np.float64).reshape(-1, 7)
    return TileDetections(table[:, :4], table[:, 4], table[:, 5], table[:, 6].astype(np.int64))


def merge(found: TileDetections, iou: float = 0.7) -> Merged:
    return merge_tiles(found, TILES, SIZE, 8.0, iou)


def expect(merged: Merged, objects: Boxes, classes: Boxes, within: float) -> None:
    """Every object once and nothing else, each side within so many pixels."""
    assert len(merged.boxes) == len(objects), (merged.boxes.round(), objects.round())
    left = set(range(len(objects)))
    for box, label in zip(merged.boxes, merged.classes, strict=True):
        near = [k for k in left if classes[k] == label and np.abs(objects[k] - box).max() <= within]
        assert near, (box, objects[sorted(left)])
        left.remove(near[0])
    assert (np.diff(merged.scores) <= 0).all()


def scene(seed: int, count: int, largest: float, gap: float) -> tuple[Boxes, Boxes]:
    """Random objects of three classes that keep a gap from each other within their class."""
    rng = np.random.default_rng(seed)
    objects: list[Boxes] = []
    classes: list[int] = []
    for _ in range(60 * count):
        size = rng.uniform(14, largest, 2)
        corner = rng.uniform(0, np.array(SIZE) - size)
        box, label = np.r_[corner, corner + size], int(rng.integers(3))
        others = [other for other, of in zip(objects, classes, strict=True) if of == label]
        if all((box[:2] > o[2:] + gap).any() or (box[2:] < o[:2] - gap).any() for o in others):
            objects.append(box)
            classes.append(label)
        if len(objects) == count:
            break
    return np.array(objects), np.array(classes, np.float64)


@pytest.mark.parametrize("seed", range(40))
def test_small_objects_are_reported_once(seed: int) -> None:
    objects, classes = scene(seed, count=60, largest=OVERLAP * SIDE, gap=1)
    expect(merge(detect(objects, classes)), objects, classes, within=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_large_objects_are_put_together_exactly(seed: int) -> None:
    # Up to twice a tile: some are seen whole by no tile, some are longer than three of them.
    objects, classes = scene(seed, count=12, largest=2 * SIDE, gap=3)
    expect(merge(detect(objects, classes, least=1.0)), objects, classes, within=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_a_detector_that_is_a_little_off_is_merged_all_the_same(seed: int) -> None:
    objects, classes = scene(seed, count=25, largest=1.5 * SIDE, gap=10)
    rng = np.random.default_rng(seed)
    merged = merge(detect(objects, classes, least=12.0, jitter=lambda n: rng.uniform(-2, 2, (n, 4))))
    expect(merged, objects, classes, within=16.0)


def test_neighbours_that_touch_stay_two() -> None:
    # 160 to 200 is shared by two tiles; both objects cross it, one above the other, and a third lies beside them.
    objects = boxes_of((100, 20, 260, 60), (100, 60, 260, 100), (165, 105, 195, 130), (195, 105, 225, 130))
    expect(merge(detect(objects, np.zeros(4))), objects, np.zeros(4), within=1e-9)


def test_objects_that_overlap_each_other_stay_two() -> None:
    objects = boxes_of((100, 20, 190, 100), (150, 30, 260, 110), (163, 130, 187, 160), (168, 135, 196, 165))
    expect(merge(detect(objects, np.zeros(4))), objects, np.zeros(4), within=1e-9)


def test_a_small_object_inside_a_large_one_of_its_class_stays() -> None:
    objects = boxes_of((20, 20, 300, 150), (165, 60, 190, 90), (150, 100, 175, 125))
    expect(merge(detect(objects, np.zeros(3))), objects, np.zeros(3), within=1e-9)


def test_classes_are_not_merged() -> None:
    objects = boxes_of((150, 20, 250, 100), (150, 20, 250, 100))
    expect(merge(detect(objects, np.array([0.0, 1.0]))), objects, np.array([0.0, 1.0]), within=1e-9)


def test_an_object_that_spans_three_tiles_is_one_even_when_the_middle_is_cut_on_both_sides() -> None:
    objects = boxes_of((50, 40, 480, 90))
    merged = merge(detect(objects, np.zeros(1)))
    expect(merged, objects, np.zeros(1), within=1e-9)


def test_the_whole_one_gives_box_and_score_though_a_fragment_is_surer() -> None:
    # Whole in the first tile, of which the second sees a cut part; the part has the higher score.
    boxes = boxes_of((120, 20, 185, 60), (160, 20, 186, 61))
    found = TileDetections(boxes, np.array([0.6, 0.9]), np.zeros(2), np.array([0, 1]))
    merged = merge(found)
    assert merged.boxes.tolist() == [[120, 20, 185, 60]]
    assert merged.scores.tolist() == [0.6]


def test_parts_give_their_union_and_the_best_score() -> None:
    boxes = boxes_of((100, 20, 200, 60), (160, 22, 250, 61))
    merged = merge(TileDetections(boxes, np.array([0.6, 0.9]), np.zeros(2), np.array([0, 1])))
    assert merged.boxes.tolist() == [[100, 20, 250, 61]]
    assert merged.scores.tolist() == [0.9]


def found_in(*rows: tuple[int, float, tuple[float, float, float, float]]) -> TileDetections:
    """Detections of one class as (tile, score, box); tile 0 ends at x = 200, tile 1 begins at 160."""
    tile, scores, boxes = zip(*rows, strict=True)
    return TileDetections(boxes_of(*boxes), np.array(scores), np.zeros(len(rows)), np.array(tile))


def test_what_one_tile_tells_apart_is_not_made_one() -> None:
    # A head without NMS reports both, which overlap by 0.8; the other tile sees the first of them only.
    one, two = (170, 20, 190, 60), (170, 20, 190, 52)
    merged = merge(found_in((0, 0.9, one), (0, 0.6, two), (1, 0.8, one)))
    assert sorted(merged.boxes.tolist()) == sorted([list(one), list(two)])


def test_overlapping_objects_are_each_joined_with_their_own() -> None:
    # They overlap by 0.59, and the surer one is found first in one tile and last in the other.
    one, two = (169, 20, 187, 60), (174, 20, 191, 60)
    merged = merge(found_in((0, 0.5, one), (0, 0.9, two), (1, 0.9, two), (1, 0.5, one)))
    assert sorted(merged.boxes.tolist()) == sorted([list(one), list(two)])


def test_different_objects_seen_by_one_tile_each_stay_two() -> None:
    assert len(merge(found_in((0, 0.9, (169, 20, 187, 60)), (1, 0.9, (177, 30, 195, 70)))).boxes) == 2
    # The second begins 3 pixels from the edge of its tile, as if it were cut there; most of it lies elsewhere.
    assert len(merge(found_in((0, 0.9, (60, 20, 165, 60)), (1, 0.9, (163, 20, 185, 60)))).boxes) == 2


def test_a_sliver_of_unsure_width_goes_with_its_object() -> None:
    # 5 pixels of it are to be seen in the second tile, which says 10: an IoU of 0.47.
    merged = merge(found_in((0, 0.9, (60, 20, 165, 60)), (1, 0.95, (160, 22, 170, 58))))
    assert merged.boxes.tolist() == [[60, 20, 165, 60]]


def test_two_views_that_disagree_about_an_edge_are_one_by_nms() -> None:
    # The first goes on 30 pixels beyond the second tile, which ends it 15 pixels before its edge: no cut part. They
    # overlap by 0.93 all the same.
    boxes = boxes_of((130, 20, 900, 60), (175, 20, 900, 60))
    found = TileDetections(boxes, np.array([0.9, 0.8]), np.zeros(2), np.array([0, 1]))
    assert len(merge(found, iou=0.9).boxes) == 1
    assert len(merge(found, iou=0.95).boxes) == 2


def test_nothing_found_is_nothing_merged() -> None:
    empty = TileDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    merged = merge(empty)
    assert merged.boxes.shape == (0, 4)
    assert merged.scores.shape == merged.classes.shape == (0,)


def test_a_crowded_picture_takes_seconds_at_most() -> None:
    rng = np.random.default_rng(0)
    tiles = tile_rectangles(4000, 3000, 640, 0.2)
    tile = np.repeat(np.arange(len(tiles)), 300)
    corner = tiles[tile, :2] + rng.uniform(0, 560, (len(tile), 2))
    boxes = np.column_stack([corner, corner + rng.uniform(10, 80, (len(tile), 2))])
    found = TileDetections(boxes, rng.uniform(0, 1, len(tile)), rng.integers(0, 6, len(tile)).astype(float), tile)
    merged = merge_tiles(found, tiles, (4000, 3000), 8.0, 0.7)
    assert 0.5 * len(tile) < len(merged.boxes) < len(tile)
