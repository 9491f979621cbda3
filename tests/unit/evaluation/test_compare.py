"""Two detectors against each other, and the gate."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from simulated_detector import simulated_detections, simulated_truth

from pipeline.data.dataset import Dataset
from pipeline.errors import DataError
from pipeline.evaluation.compare import BETTER, FEW, NOISE, UNKNOWN, WORSE, Comparison, compare_tables, units_needed
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.intervals import Interval, image_weights
from pipeline.evaluation.matching import MatchTable, match
from pipeline.evaluation.tables import Detections, Truth


def table_of(dataset: Dataset, seed: int, **quality: float) -> MatchTable:
    truth = Truth.of(dataset)
    return match(truth, Detections.of(truth, simulated_detections(dataset, seed, **quality)))


def compared(first: MatchTable, second: MatchTable, resamples: int = 400) -> Comparison:
    weights = image_weights(len(first.truth.image_ids), resamples)
    return compare_tables(first, second, weights, ("old", "new"))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulated_truth(120)


def test_a_detector_against_itself_is_exactly_zero_and_never_better(dataset: Dataset) -> None:
    table = table_of(dataset, 1)
    result = compared(table, table)
    assert result.verdict == NOISE
    for row in (*result.overall, *result.classes):
        assert row.difference is not None
        assert (row.difference.low, row.difference.value, row.difference.high) == (0.0, 0.0, 0.0)
        assert (row.verdict, row.units_needed) == (NOISE, None)
    assert "the two are alike" in result.words()


def test_a_clear_difference_is_seen_in_both_directions_with_the_same_size(dataset: Dataset) -> None:
    weak, strong = table_of(dataset, 1, found=0.5, jitter=0.15), table_of(dataset, 1, found=0.9, jitter=0.03)
    up, down = compared(weak, strong), compared(strong, weak)
    assert (up.verdict, down.verdict) == (BETTER, WORSE)
    for row, back in zip(up.overall, down.overall, strict=True):
        assert row.difference is not None
        assert back.difference is not None
        assert row.difference.value == -back.difference.value > 0
        assert row.difference.low == pytest.approx(-back.difference.high, abs=1e-12)
    assert all(row.verdict == BETTER for row in up.classes)
    assert up.words().startswith("new is better than old: +")


def test_a_difference_within_noise_says_how_many_more_pictures_would_settle_it() -> None:
    few = simulated_truth(20)
    result = compared(table_of(few, 1), table_of(few, 2))
    assert result.verdict == NOISE
    needed = result.overall[0].units_needed
    assert needed is not None
    assert needed > 20
    assert "more pictures would show" in result.words()


def test_the_number_of_pictures_makes_the_interval_narrow_enough_to_see_the_difference() -> None:
    # 1.96 + 0.84 standard deviations: a difference of this size is seen in 4 of 5 cases.
    narrow = Interval(0.01, 0.01 - 0.0196, 0.01 + 0.0196)
    assert units_needed(narrow, 100) == pytest.approx(100 * 2.8016**2, abs=2)
    assert units_needed(Interval(0.0, -0.1, 0.1), 100) is None


def test_the_paired_interval_is_much_narrower_than_two_single_ones(dataset: Dataset) -> None:
    first, second = table_of(dataset, 1, found=0.8), table_of(dataset, 1, found=0.84)
    paired = compared(first, second).overall[0].difference
    weights = [image_weights(120, 400, seed=seed) for seed in (1, 2)]
    from pipeline.evaluation.intervals import class_mean, resampled_map

    apart = np.subtract(
        *(class_mean(resampled_map(t, w)).mean(axis=1) for t, w in zip((second, first), weights, strict=True))
    )
    low, high = np.quantile(apart, [0.025, 0.975])
    assert paired is not None
    assert paired.width < 0.7 * (high - low)


def test_a_class_is_held_to_the_bound_of_all_classes_together() -> None:
    names = tuple(f"class {i}" for i in range(12))
    dataset = simulated_truth(250, names=names)
    rows = [
        row
        for seed in range(5)
        for row in compared(table_of(dataset, 2 * seed), table_of(dataset, 2 * seed + 1), resamples=200).classes
    ]
    # 60 comparisons of equal detectors: at 5 % each three would stand out, by the common bound hardly one does.
    alone = [row for row in rows if row.difference and not row.difference.low <= 0 <= row.difference.high]
    named = [row for row in rows if row.verdict in {BETTER, WORSE}]
    assert len(named) <= 1 <= len(alone)


def test_a_class_of_a_few_boxes_is_not_called_better() -> None:
    dataset = simulated_truth(10)
    rows = compared(table_of(dataset, 1, found=0.2), table_of(dataset, 1, found=1.0, jitter=0.01)).classes
    assert {row.verdict for row in rows} == {FEW}


def test_a_few_groups_make_a_wider_interval_and_are_what_is_counted() -> None:
    data = simulated_truth(66)
    first, second = table_of(data, 1), table_of(data, 2)
    group = (np.arange(66) % 11).astype(np.int32)
    weights = image_weights(66, 400, groups=group)
    few = compare_tables(first, second, weights, ("old", "new"), unit="group", units=11)
    plain = compare_tables(first, second, weights, ("old", "new"), unit="group")
    assert few.overall[0].difference is not None
    assert plain.overall[0].difference is not None
    assert few.overall[0].difference.width > 1.05 * plain.overall[0].difference.width
    assert "more groups would show" in few.words()
    assert "(11 now)" in few.words()


def test_other_ground_truth_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="same pictures and boxes"):
        compared(table_of(dataset, 1), table_of(simulated_truth(120, seed=3), 1))


def test_without_boxes_nothing_is_measured() -> None:
    empty = simulated_truth(4, empty=1)
    result = compared(table_of(empty, 1), table_of(empty, 2))
    assert result.verdict == UNKNOWN
    assert "no boxes" in result.words()
    gate = Gate(result, 0.01, False)
    assert not gate.passed
    assert "no boxes" in gate.words()


# ---- gate -----------------------------------------------------------------------------------------------------------


def difference(value: float, low: float, high: float) -> Comparison:
    from pipeline.evaluation.compare import Difference

    row = Difference("map50_95", 0.5, 0.5 + value, Interval(value, low, high), NOISE, 100)
    return Comparison("old", "new", (row, row), (), 50, "picture", 50)


@pytest.mark.parametrize(
    ("low", "high", "margin", "non_inferiority", "passed"),
    [
        (-0.05, -0.02, 0.01, False, False),  # a drop of more than a point is shown
        (-0.05, -0.005, 0.01, False, True),  # a drop, but perhaps a small one
        (-0.05, 0.03, 0.01, False, True),  # noise
        (-0.05, -0.005, 0.0, False, False),
        (-0.05, 0.03, 0.01, True, False),  # a larger drop cannot be ruled out
        (-0.008, 0.03, 0.01, True, True),
        (0.01, 0.03, 0.0, True, True),
    ],
)
def test_the_gate(low: float, high: float, margin: float, non_inferiority: bool, passed: bool) -> None:
    gate = Gate(difference((low + high) / 2, low, high), margin, non_inferiority)
    assert gate.passed is passed
    assert gate.words().startswith("passed" if passed else "failed")
    suite = ElementTree.fromstring(gate.to_junit())
    assert suite.tag == "testsuite"
    assert suite.get("failures") == str(int(not passed))
    assert (suite.find("testcase/failure") is None) is passed
    assert gate.to_dict()["comparison"]["overall"][0]["difference"]["low"] == low
