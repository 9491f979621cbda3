"""Pictures on which objects were forgotten: far fewer boxes than chance allows, and not on purpose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from helpers import box, dataset_of
from scipy import stats

from pipeline.data.checks import Snapshot, take_snapshot
from pipeline.data.checks.forgotten import _chance_of_none, forgotten_class, suspiciously_empty


def _set(numbers: Sequence[int], others: Sequence[int] | None = None, groups: Sequence[str] | None = None) -> Snapshot:
    """Return a set with so many boxes of class 0 on each picture, and of class 1."""
    pictures = {n + 1: {"group": groups[n] if groups else None} for n in range(len(numbers))}
    rows = [box(n + 1, 0, i, 5, i + 3, 9) for n, number in enumerate(numbers) for i in range(number)]
    rows += [box(n + 1, 1, i, 15, i + 3, 19) for n, number in enumerate(others or ()) for i in range(number)]
    return take_snapshot(dataset_of(rows, pictures=pictures), 640)


def _many(count: int = 60, seed: int = 0) -> list[int]:
    return (8 + np.random.default_rng(seed).poisson(5, count)).tolist()


def test_a_forgotten_picture_is_named() -> None:
    (finding,) = suspiciously_empty(_set([*_many(), 0]))
    assert (finding.severity, finding.evidence["pictures"]) == ("warning", ["61.png"])
    assert finding.evidence["usual_boxes"] == pytest.approx(13, abs=1)


def test_no_empty_picture_or_few_boxes_or_empty_ones_on_purpose_are_silent() -> None:
    assert suspiciously_empty(_set(_many())) == []
    few = np.random.default_rng(0).poisson(2, 300).tolist()
    assert suspiciously_empty(_set([*few, 0])) == []
    assert suspiciously_empty(_set([*_many(), 0, 0, 0, 0])) == []  # more than 5 %
    assert suspiciously_empty(_set([*_many(18), 0])) == []  # too few pictures


@pytest.mark.parametrize(("others", "found"), [(18, False), (19, True), (44, True), (59, False)])
def test_the_expected_number_decides_and_one_of_twenty_is_rare_enough(others: int, found: bool) -> None:
    number = 7 if others > 19 else 12  # Poisson: 45 pictures with a mean of 7 have 0.041 empty ones, 60 have 0.055
    assert bool(suspiciously_empty(_set([number] * others + [0]))) == found


def test_numbers_that_vary_widely_make_none_likely() -> None:
    wide = np.random.default_rng(0).negative_binomial(1, 0.1, 400)
    assert suspiciously_empty(_set([int(n) for n in wide if n] + [0])) == []


def test_groups_are_judged_apart() -> None:
    rich, poor = _many(40), [0, 1, 0, 2, 1] * 8
    groups = ["field"] * 41 + ["path"] * 40
    (finding,) = suspiciously_empty(_set([*rich, 0, *poor], groups=groups))
    assert finding.evidence["pictures"] == ["41.png"]


def test_ignored_regions_are_not_empty() -> None:
    rows = [box(n, 0, i, 5, i + 3, 9) for n in range(1, 31) for i in range(10)]
    dataset = dataset_of([*rows, box(31, 0, 5, 5, 9, 9, crowd=True)], pictures=31)
    assert suspiciously_empty(take_snapshot(dataset, 640)) == []


def test_a_class_that_all_others_have_is_missed_on_pictures_with_other_boxes() -> None:
    numbers = [*_many(), 0, 0]
    snapshot = _set(numbers, others=[1] * len(numbers))
    assert suspiciously_empty(snapshot) == []
    (finding,) = forgotten_class(snapshot)
    assert (finding.severity, finding.evidence["classes"]) == ("warning", {"pit": 2})
    assert finding.evidence["pictures"] == ["61.png", "62.png"]
    assert "2 without pit" in finding.message


def test_pictures_without_any_box_are_no_matter_of_one_class() -> None:
    numbers = [*_many(), 0]
    assert forgotten_class(_set(numbers, others=[1] * 60 + [0])) == []


def test_a_class_on_half_of_the_pictures_is_not_missed() -> None:
    assert forgotten_class(_set([9, 0] * 40, others=[1] * 80)) == []


@pytest.mark.parametrize(("mean", "variance"), [(3.0, 9.0), (11.9, 13.15), (40.0, 41.0)])
def test_the_chance_of_none_is_that_of_scipy(mean: float, variance: float) -> None:
    expected = stats.nbinom.pmf(0, mean**2 / (variance - mean), mean / variance)
    assert _chance_of_none(np.array([mean]), np.array([variance]))[0] == pytest.approx(expected)


def test_the_chance_of_none_is_poissons_where_the_numbers_vary_little() -> None:
    assert _chance_of_none(np.array([4.0]), np.array([1.0]))[0] == pytest.approx(stats.poisson.pmf(0, 4.0))
