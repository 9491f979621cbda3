"""Resampling by weights equals copying pictures; intervals hold the truth as often as they say where that is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from coco_oracle import CocoSet, matched, random_set
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import intervals
from pipeline.evaluation.average_precision import scores
from pipeline.evaluation.intervals import (
    Interval,
    class_mean,
    image_weights,
    mean_interval,
    percentile_interval,
    resampled_ap,
    resampled_map,
    to_record,
)

SEEDS = st.integers(0, 10**6)


def copied(given_set: CocoSet, times: list[int]) -> CocoSet:
    """Return a set with as many copies of each picture as `times` says; copies stand side by side."""
    first = np.cumsum([0, *times])
    boxes = [(m, first[i] + n) for m, i in enumerate(given_set.box_image) for n in range(times[i])]
    rows = [(r, first[i] + n) for r, i in enumerate(given_set.found_image) for n in range(times[i])]
    m, where = np.array(boxes, int).reshape(-1, 2).T
    r, seen_in = np.array(rows, int).reshape(-1, 2).T
    return replace(
        given_set.with_detections(r),
        images=int(first[-1]),
        box=given_set.box[m],
        box_image=where,
        box_class=given_set.box_class[m],
        area=given_set.area[m],
        crowd=given_set.crowd[m],
        found_image=seen_in,
    )


def untied(given_set: CocoSet) -> CocoSet:
    order = np.random.default_rng(0).permutation(len(given_set.score))
    return replace(given_set, score=order / 1000)


def average_precision(given_set: CocoSet) -> np.ndarray:
    return scores(matched(given_set)).precision[0]


# ---- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 2, 7, 50])
def test_half_of_the_pictures_count_twice(images: int) -> None:
    weights = image_weights(images, 400)
    assert (weights.shape, weights.dtype) == ((400, images), np.int32)
    assert set(np.unique(weights)) <= {0, 2}
    sizes = weights.sum(axis=1) // 2
    assert set(sizes[0::2]) == {images // 2}
    assert set(sizes[1::2]) == {(images + 1) // 2}
    assert weights.sum() == 400 * images
    assert np.abs(weights.mean(axis=0) - 1).max() < 5 / math.sqrt(400)  # every picture as often as every other


def test_the_same_seed_gives_the_same_weights() -> None:
    np.testing.assert_array_equal(image_weights(30, 50, seed=3), image_weights(30, 50, seed=3))
    assert (image_weights(30, 50, seed=3) != image_weights(30, 50, seed=4)).any()


def test_pictures_of_a_group_are_drawn_together() -> None:
    groups = np.array([7, 7, 2, 2, 2, 9, 7, 40], np.int32)
    weights = image_weights(8, 300, groups=groups)
    for number in np.unique(groups):
        assert (np.ptp(weights[:, groups == number], axis=1) == 0).all()
    drawn = weights[:, [0, 2, 5, 7]]
    assert (drawn.sum(axis=1) == 4).all()  # two of four groups, twice
    assert len(np.unique(drawn, axis=0)) == 6  # all pairs of groups occur


def test_no_pictures_have_no_weights() -> None:
    assert image_weights(0, 5).shape == (5, 0)


def test_the_spread_of_a_mean_over_halves_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=80)
    draws = image_weights(80, 20_000) @ values / 80
    assert draws.std() == pytest.approx(values.std(ddof=1) / math.sqrt(80), rel=0.02)
    assert draws.mean() == pytest.approx(values.mean(), abs=0.002)


# ---- weights and copies ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_weights_of_one_give_the_figure_itself(seed: int) -> None:
    table = matched(random_set(seed))
    ones = np.ones((2, len(table.truth.image_ids)), np.int32)
    expected = scores(table).precision[0]
    for draw in resampled_map(table, ones):
        np.testing.assert_allclose(draw, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(resampled_ap(table.outcomes(0), ones)[1], expected[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("product", [0, 10**9])
def test_both_ways_of_counting_give_the_figure_itself(product: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_PRODUCT", product)
    for seed in range(30):
        table = matched(random_set(seed))
        ones = np.ones((1, len(table.truth.image_ids)), np.int32)
        np.testing.assert_allclose(resampled_map(table, ones)[0], scores(table).precision[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("boxes", [7, 25, 50, 100, 150, 200, 300])
def test_every_recall_level_is_met_where_it_should_be(boxes: int) -> None:
    # 29 of 100 is stored as 0.29, and 100 times that as 28.999999999999996.
    grid = [(0, 0, (12.0 * (n % 20), 12.0 * (n // 20), 10.0, 10.0)) for n in range(boxes)]
    hits = [(0, 0, 1 - n / 1000, one[2]) for n, one in enumerate(grid)]
    alarms = [(0, 0, 1 - n / 1000 - 0.0005, (500.0, 500.0, 10.0, 10.0)) for n in range(boxes)]  # one after every hit
    table = matched(CocoSet.of(grid, hits + alarms, images=1, classes=1), limit=1000)
    drawn = resampled_map(table, np.array([[1], [2]], np.int32))
    np.testing.assert_allclose(drawn, np.stack([scores(table).precision[0]] * 2), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.data())
def test_whole_weights_equal_a_copied_set(seed: int, data: st.DataObject) -> None:
    # Without ties: of a hit and a miss with one score all copies of the hit come first by weights, in turns by copies.
    one = untied(random_set(seed))
    times = data.draw(st.lists(st.integers(0, 3), min_size=one.images, max_size=one.images))
    weighted = resampled_map(matched(one), np.array([times], np.int32))[0]
    np.testing.assert_allclose(weighted, average_precision(copied(one, times)), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.data())
def test_weights_of_nought_and_one_equal_a_part_of_the_set(seed: int, data: st.DataObject) -> None:
    given_set = random_set(seed)
    keep = data.draw(st.lists(st.integers(0, 1), min_size=given_set.images, max_size=given_set.images))
    weighted = resampled_map(matched(given_set), np.array([keep], np.int32))[0]
    np.testing.assert_allclose(weighted, average_precision(copied(given_set, keep)), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_the_order_of_pictures_does_not_matter_without_ties(seed: int) -> None:
    given_set = untied(random_set(seed))
    new = np.random.default_rng(seed).permutation(given_set.images)
    moved = replace(given_set, box_image=new[given_set.box_image], found_image=new[given_set.found_image])
    np.testing.assert_allclose(average_precision(moved), average_precision(given_set), rtol=0, atol=1e-12)
    weights = image_weights(given_set.images, 10)
    moved_weights = np.empty_like(weights)
    moved_weights[:, new] = weights
    one, other = resampled_map(matched(given_set), weights), resampled_map(matched(moved), moved_weights)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = matched(random_set(12))
    weights = image_weights(len(table.truth.image_ids), 30)
    whole = resampled_map(table, weights)
    monkeypatch.setattr(intervals, "_BLOCK", 7)
    np.testing.assert_array_equal(resampled_map(table, weights), whole)


def test_a_class_that_is_not_drawn_has_no_figure() -> None:
    box = (10.0, 10.0, 40.0, 20.0)
    one = CocoSet.of([(0, 0, box), (1, 1, box)], [(0, 0, 0.9, box)], classes=3)
    weights = np.array([[1, 1], [2, 0], [0, 2], [0, 0]], np.int32)
    drawn = resampled_map(matched(one), weights)[:, 0]
    expected = [[1, 0, np.nan], [1, np.nan, np.nan], [np.nan, 0, np.nan], [np.nan] * 3]
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(class_mean(drawn), [0.5, 1, 0, np.nan])


def test_a_detector_against_itself_differs_by_nothing() -> None:
    given_set = random_set(3)
    weights = image_weights(given_set.images, 200)
    first, second = (class_mean(resampled_map(matched(given_set), weights)).mean(axis=1) for _ in range(2))
    interval = percentile_interval(0.0, second - first)
    assert (interval.low, interval.value, interval.high) == (0.0, 0.0, 0.0)


# ---- intervals ------------------------------------------------------------------------------------------------------


def test_intervals_of_known_normal_draws() -> None:
    draws = np.random.default_rng(0).normal(0.52, 0.02, 200_000)
    interval = mean_interval(0.5, draws)
    # The draws lie 0.02 above the value, so the truth is taken to lie 0.02 below it.
    assert (interval.low, interval.high) == pytest.approx((0.48 - 1.96 * 0.02, 0.48 + 1.96 * 0.02), abs=5e-4)
    middle = percentile_interval(0.5, draws)
    assert (middle.low, middle.high) == pytest.approx((0.52 - 1.96 * 0.02, 0.52 + 1.96 * 0.02), abs=5e-4)
    assert mean_interval(0.5, draws, 0.8).width == pytest.approx(2 * 1.2816 * 0.02, abs=5e-4)
    assert percentile_interval(0.5, draws, 0.8).width == pytest.approx(2 * 1.2816 * 0.02, abs=5e-4)


@pytest.mark.parametrize(
    ("units", "quantile"), [(2, 12.706), (3, 4.303), (4, 3.182), (6, 2.571), (11, 2.228), (31, 2.042), (1001, 1.962)]
)
def test_few_units_make_an_interval_as_wide_as_students_t(units: int, quantile: float) -> None:
    draws = np.random.default_rng(0).normal(0.5, 0.01, 400_000)
    assert mean_interval(0.5, draws, units=units).width / 2 == pytest.approx(quantile * 0.01, rel=0.005)
    if quantile < 3:  # beyond it the percentile is that of a handful of draws
        assert percentile_interval(0.5, draws, units=units).width / 2 == pytest.approx(quantile * 0.01, rel=0.02)


def test_one_figure_lies_between_nought_and_one_and_a_difference_may_be_negative() -> None:
    draws = np.random.default_rng(0).normal(0.99, 0.05, 1000)
    assert mean_interval(0.99, draws).high == 1.0
    assert mean_interval(0.01, draws - 0.98).low == 0.0
    assert percentile_interval(-0.2, draws - 1.2).low < -0.25


def test_what_could_not_be_measured_is_left_out_and_too_little_gives_no_interval() -> None:
    draws = np.array([0.4, np.nan, 0.6, 0.5, np.nan])
    for interval_of in (mean_interval, percentile_interval):
        assert interval_of(0.5, draws) == interval_of(0.5, np.array([0.4, 0.6, 0.5]))
        for few in (np.array([]), np.array([0.5]), np.array([np.nan, 0.5, np.nan])):
            assert np.isnan(interval_of(0.5, few).low)
            assert to_record(interval_of(0.5, few)) is None
        assert np.isnan(interval_of(0.5, np.full(100, 0.5), units=1).low)  # one board says nothing of others


def test_an_interval_as_it_stands_in_the_record() -> None:
    assert to_record(Interval(0.5, 0.4, 0.7)) == {"value": 0.5, "low": 0.4, "high": 0.7, "level": 0.95}
    assert Interval(0.5, 0.4, 0.7).width == pytest.approx(0.3)
    assert to_record(None) is None
