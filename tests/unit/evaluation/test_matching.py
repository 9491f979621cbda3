"""The match table: COCO's rules one by one, and detection for detection as pycocotools matches."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from coco_oracle import CocoSet, arrays, matched, random_set, their_matches

from pipeline.evaluation import choice
from pipeline.evaluation.matching import COCO_RANGES, RELATIVE_RANGES, THRESHOLDS, MatchTable, SizeRange, match

BOX = (10.0, 10.0, 40.0, 20.0)


def part(share: float) -> tuple[float, ...]:
    """Return the left part of BOX, whose IoU with it is `share`."""
    return (10.0, 10.0, 40.0 * share, 20.0)


def found_at(table: MatchTable, iou: float) -> dict[int, int]:
    """Return the box by detection (row as given) that is found at an IoU threshold."""
    boxes = table.matched(int(np.argmin(np.abs(THRESHOLDS - iou))))
    return {int(row): int(box) for row, box in zip(table.order, boxes, strict=True) if box >= 0}


# ---- detection for detection as pycocotools ------------------------------------------------------------------------


def assert_matches_agree(given: CocoSet, limit: int) -> None:
    """Compare which box every detection found, in every size range and at every threshold."""
    table, theirs = matched(given, limit), their_matches(given, limit)
    found = np.full((len(COCO_RANGES), len(THRESHOLDS), len(table.order)), -1)
    found[:, :, table.finders] = table.found
    for a, one in enumerate(table.ranges):
        for image in range(given.images):
            for k in range(given.classes):
                own = found[a][:, (table.image == image) & (table.class_id == k)]
                other = theirs.get((a, image, k), np.zeros((len(THRESHOLDS), 0), int))
                np.testing.assert_array_equal(own, other, err_msg=f"{one.name}, picture {image}, class {k}")


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_every_detection_finds_the_box_that_pycocotools_gives_it(first: int) -> None:
    for seed in range(first, first + 20):
        assert_matches_agree(random_set(seed), (100, 5)[seed % 2])


def test_the_size_of_a_piece_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_AT_ONCE", 2)
    for seed in range(20):
        assert_matches_agree(random_set(seed), 100)


def test_a_heap_of_objects_on_each_other() -> None:
    rng = np.random.default_rng(0)
    box = np.array([20.0, 20.0, 60.0, 60.0])
    truth = [(int(rng.integers(2)), 0, tuple(box + rng.normal(0, 5, 4))) for _ in range(40)]
    found = [(int(rng.integers(2)), 0, float(rng.random()), tuple(box + rng.normal(0, 5, 4))) for _ in range(90)]
    assert_matches_agree(CocoSet.of(truth, found, crowd=(3, 20)), 100)


# ---- the rules ------------------------------------------------------------------------------------------------------


def test_the_surest_detection_chooses_first() -> None:
    table = matched(CocoSet.of([(0, 0, BOX)], [(0, 0, 0.4, BOX), (0, 0, 0.9, part(0.8)), (0, 0, 0.7, part(0.7))]))
    assert found_at(table, 0.5) == {1: 0}
    assert found_at(table, 0.85) == {0: 0}  # where the surest do not overlap enough, the next may


def test_a_detection_takes_the_free_box_that_it_overlaps_most() -> None:
    near = (12.0, 10.0, 40.0, 20.0)
    table = matched(CocoSet.of([(0, 0, BOX), (0, 0, near)], [(0, 0, 0.9, near), (0, 0, 0.8, near)]))
    assert found_at(table, 0.5) == {0: 1, 1: 0}


def test_of_equal_overlaps_the_later_box_is_taken() -> None:
    given = CocoSet.of([(0, 0, BOX)] * 3, [(0, 0, 0.9, BOX), (0, 0, 0.8, part(0.9))])
    assert found_at(matched(given), 0.5) == {0: 2, 1: 1}
    assert_matches_agree(given, 100)


def test_equal_scores_are_ordered_by_picture_then_row() -> None:
    found = [(1, 0, 0.5, BOX), (0, 0, 0.5, part(0.6)), (0, 0, 0.5, BOX), (0, 1, 0.5, BOX), (1, 0, 0.6, BOX)]
    table = matched(CocoSet.of([(0, 0, BOX)], found))
    assert table.order.tolist() == [4, 1, 2, 0, 3]
    assert found_at(table, 0.5) == {1: 0}


def test_all_scores_equal() -> None:
    rng = np.random.default_rng(1)
    given = random_set(5)
    given = replace(given, score=np.full(len(given.score), 0.5))
    assert_matches_agree(given, 100)
    shuffled = given.with_detections(rng.permutation(len(given.score)))
    assert_matches_agree(shuffled, 100)


def test_identical_and_doubled_detections() -> None:
    given = CocoSet.of([(0, 0, BOX), (1, 0, BOX)], [(0, 0, 0.5, BOX)] * 3 + [(1, 0, 0.7, BOX), (1, 0, 0.5, BOX)])
    assert found_at(matched(given), 0.95) == {0: 0, 3: 1}
    assert_matches_agree(given, 100)


def test_a_box_is_found_by_its_own_class_in_its_own_picture_only() -> None:
    table = matched(CocoSet.of([(0, 0, BOX)], [(0, 1, 0.9, BOX), (1, 0, 0.9, BOX)]))
    assert found_at(table, 0.5) == {}


@pytest.mark.parametrize("index", range(10))
def test_an_overlap_of_exactly_the_threshold_is_enough(index: int) -> None:
    # 20 x k of 20 x 20 pixels: IoU k / 20, which is a threshold where the division gives that very number.
    given = CocoSet.of([(0, 0, (0, 0, 20, 20))], [(0, 0, 0.9, (0, 0, 20, 10 + index))])
    table = matched(given)
    enough = (10 + index) / 20 >= THRESHOLDS
    assert enough[index] == ((10 + index) / 20 >= THRESHOLDS[index])
    assert [table.matched(t)[0] >= 0 for t in range(10)] == enough.tolist()
    assert_matches_agree(given, 100)


def test_a_crowd_takes_any_number_and_is_measured_by_the_detection_alone() -> None:
    crowd = (0.0, 0.0, 200.0, 200.0)
    inside = [(0, 0, 0.9 - n / 10, (20.0 * n, 5.0, 15.0, 15.0)) for n in range(4)]
    table = matched(CocoSet.of([(0, 0, crowd)], [*inside, (0, 0, 0.95, (190.0, 0.0, 30.0, 10.0))], crowd=(0,)))
    assert found_at(table, 0.95) == {0: 0, 1: 0, 2: 0, 3: 0}  # IoU as usual would be 0.006
    outcomes = table.outcomes(0)
    assert not outcomes.hit.any()
    assert outcomes.ignored.tolist() == [False, True, True, True, True]  # the surest lies outside by two thirds
    assert len(outcomes.truth_class) == 0


def test_a_crowd_is_taken_only_where_no_box_that_counts_is_free() -> None:
    given = CocoSet.of([(0, 0, BOX), (0, 0, part(0.6))], [(0, 0, 0.9, part(0.6)), (0, 0, 0.8, part(0.6))], crowd=(1,))
    # The crowd overlaps by 1 and the object by 0.6, yet the first detection finds the object while it may.
    assert found_at(matched(given), 0.5) == {0: 0, 1: 1}
    assert found_at(matched(given), 0.7) == {0: 1, 1: 1}
    assert_matches_agree(given, 100)


def test_a_difficult_box_is_ignored_but_taken_once() -> None:
    truth, detections = arrays(CocoSet.of([(0, 0, BOX)], [(0, 0, 0.9, BOX), (0, 0, 0.8, BOX)]))
    outcomes = match(replace(truth, ignored=np.array([True])), detections).outcomes(0)
    assert outcomes.hit.tolist() == [False, False]
    assert outcomes.ignored.tolist() == [True, False]


def test_detections_beyond_the_limit_are_left_out_by_picture_and_class() -> None:
    found = [(image, k, 0.5 + n / 100, BOX) for image in (0, 1) for k in (0, 1) for n in range(7)]
    table = matched(CocoSet.of([], found), limit=3)
    assert sorted(table.order.tolist()) == [4, 5, 6, 11, 12, 13, 18, 19, 20, 25, 26, 27]
    assert sorted(table.rank.tolist()) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert len(matched(CocoSet.of([], found), limit=7).order) == 28


def test_boxes_and_detections_of_no_or_negative_size_find_nothing() -> None:
    for size in ((0.0, 20.0), (-40.0, 20.0), (-40.0, -20.0), (0.0, 0.0)):
        odd = (10.0, 10.0, *size)
        for truth, found in (([odd], BOX), ([BOX], odd), ([odd], odd), ([odd, BOX], odd)):
            given = CocoSet.of([(0, 0, box) for box in truth], [(0, 0, 0.9, found)])
            assert found_at(matched(given), 0.5) == {}
            assert_matches_agree(given, 100)


def test_the_order_of_pictures_and_classes_of_the_input_does_not_matter() -> None:
    given = random_set(8)
    given = replace(given, score=np.random.default_rng(0).permutation(len(given.score)) / len(given.score))
    shuffled = np.random.default_rng(1).permutation(len(given.score))
    one, other = matched(given), matched(given.with_detections(shuffled))
    for t in range(len(THRESHOLDS)):
        np.testing.assert_array_equal(one.matched(t), other.matched(t))
    np.testing.assert_array_equal(one.order, shuffled[other.order])


# ---- size ranges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "ranges"), [(31.99, {0, 1}), (32, {0, 1, 2}), (32.01, {0, 2}), (96, {0, 2, 3}), (96.01, {0, 3})]
)
def test_both_bounds_belong_to_a_range(side: float, ranges: set[int]) -> None:
    given = CocoSet.of([(0, 0, (0, 0, side, side))], [(1, 0, 0.9, (0, 0, side, side))])
    table = matched(given)
    assert set(np.flatnonzero(~table.ignored_truth[:, 0])) == ranges
    assert set(np.flatnonzero(table.inside[:, 0])) == ranges


def test_the_size_of_an_object_is_its_own_area_and_that_of_a_detection_its_box() -> None:
    given = CocoSet.of([(0, 0, (0, 0, 40, 40))], [(0, 0, 0.9, (0, 0, 40, 40)), (0, 0, 0.8, (50, 50, 40, 40))])
    given = replace(given, area=np.array([900.0]))  # small, though its box of 1600 is not
    table = matched(given)
    small, medium = table.outcomes(0, 1), table.outcomes(0, 2)
    assert (small.hit.tolist(), small.ignored.tolist()) == ([True, False], [False, True])
    assert (medium.hit.tolist(), medium.ignored.tolist()) == ([False, False], [True, False])
    assert_matches_agree(given, 100)


def test_a_range_of_its_own_may_be_asked_for_and_sizes_may_be_relative() -> None:
    truth, detections = arrays(CocoSet.of([(0, 0, (0, 0, 30, 30)), (1, 0, (0, 0, 30, 30))], [], images=2))
    truth = replace(truth, sizes=np.array([[600.0, 600.0], [100.0, 100.0]]))
    ranges = (COCO_RANGES[0], *RELATIVE_RANGES, SizeRange("narrow", 900, 900))
    table = match(truth, detections, ranges=ranges)
    assert (~table.ignored_truth).tolist() == [[True, True], [True, False], [True, False], [False, True], [True, True]]
    truth = replace(truth, sizes=np.array([[math.nan, math.nan], [100.0, 100.0]]))  # unknown: in no relative range
    table = match(truth, detections, ranges=ranges)
    assert (~table.ignored_truth[:4, 0]).tolist() == [True, False, False, False]


# ---- the table ------------------------------------------------------------------------------------------------------


def test_outcomes_are_the_matches_in_other_words() -> None:
    for seed in range(20):
        table = matched(random_set(seed))
        for t in (0, 5, 9):
            outcomes, boxes = table.outcomes(t), table.matched(t)
            counts = (boxes >= 0) & ~table.truth.ignored[boxes] if len(table.truth.ignored) else boxes >= 0
            np.testing.assert_array_equal(outcomes.hit, counts)
            np.testing.assert_array_equal(outcomes.ignored, (boxes >= 0) & ~counts | ~table.inside[0] & (boxes < 0))
            assert len(outcomes.truth_class) == (~table.truth.ignored).sum()
            found = boxes[outcomes.hit]
            assert len(set(found.tolist())) == len(found)
            np.testing.assert_array_equal(table.truth.class_id[found], outcomes.class_id[outcomes.hit])
        assert [part.stop - part.start for part in outcomes.slices()] == np.bincount(
            table.class_id, minlength=outcomes.classes
        ).tolist()


def test_other_thresholds_may_be_asked_for() -> None:
    truth, detections = arrays(CocoSet.of([(0, 0, BOX)], [(0, 0, 0.9, part(0.3)), (0, 0, 0.8, BOX)]))
    table = match(truth, detections, thresholds=np.array([0.25, 0.5, 1.0]))
    assert [table.matched(t).tolist() for t in range(3)] == [[0, -1], [-1, 0], [-1, 0]]


def test_a_threshold_of_one_forgives_the_last_digits() -> None:
    truth, detections = arrays(
        CocoSet.of([(0, 0, BOX)] * 2, [(0, 0, 0.9, part(1 - 1e-12)), (0, 0, 0.8, part(1 - 1e-9))])
    )
    table = match(truth, detections, thresholds=np.array([0.5, 1.0]))
    assert [(table.matched(t) >= 0).tolist() for t in range(2)] == [[True, True], [True, False]]


def test_nothing_matches_nothing() -> None:
    for images in (0, 2):
        table = matched(CocoSet.of([], [], images=images))
        assert len(table.order) == len(table.matched(0)) == len(table.outcomes(0).hit) == 0
