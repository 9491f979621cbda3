"""Groups to splits: as good as trying everything where that is possible, far better than chance where it is not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data import stratify as module
from pipeline.data.stratify import stratify

FRACTIONS = ([0.8, 0.2], [0.5, 0.5], [0.7, 0.15, 0.15], [0.6, 0.2, 0.2])
Table = NDArray[np.float64]


def _wanted(fractions: list[float], counts: Table) -> Table:
    return np.repeat(np.array(fractions)[:, None], counts.shape[1], axis=1)


def _judged(counts: Table, place: Any, wanted: Table) -> tuple[int, float]:
    """Return what is missing and how far off it is, reckoned group by group as the module's first lines say it."""
    missing, squares, largest = 0, [], 0.0
    for column in range(counts.shape[1]):
        total, holders = counts[:, column].sum(), int((counts[:, column] > 0).sum())
        for split in range(len(wanted)):
            inside = counts[np.asarray(place) == split, column]
            missing += holders > split and not (inside > 0).any()
            off = inside.sum() / total - wanted[split, column]
            squares.append(off**2)
            largest = max(largest, abs(off))
    return missing, largest + float(np.sqrt(np.mean(squares)))


def _random_counts(seed: int, groups: int, classes: int) -> Table:
    """Return boxes of classes whose frequencies fall, with a column of pictures, 1 to 50 of them in a group."""
    rng = np.random.default_rng(seed)
    frequency = np.arange(1, classes + 1) ** -1.5
    pictures = rng.lognormal(1.5, 1, groups).astype(int).clip(1, 50)
    mixtures = np.array([rng.dirichlet(3 * frequency) for _ in range(groups)])
    counts = np.column_stack([rng.multinomial(3 * pictures, mixtures), pictures]).astype(float)
    return counts[:, counts.sum(axis=0) > 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 3), st.sampled_from(FRACTIONS))
def test_few_groups_are_divided_in_the_best_of_all_ways(
    seed: int, groups: int, classes: int, fractions: list[float]
) -> None:
    counts = _random_counts(seed, groups, classes)
    wanted = _wanted(fractions, counts)
    every = itertools.product(range(len(fractions)), repeat=groups)
    best = min(_judged(counts, place, wanted) for place in every)
    assert _judged(counts, stratify(counts, wanted, seed), wanted) == pytest.approx(best)


@pytest.mark.parametrize("fractions", FRACTIONS)
def test_the_search_comes_near_the_best_where_both_are_possible(
    fractions: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for limit in (module.EXHAUSTIVE, 0):
        monkeypatch.setattr(module, "EXHAUSTIVE", limit)
        cases = [_random_counts(seed, 9, 3) for seed in range(6)]
        found[limit] = [_judged(c, stratify(c, _wanted(fractions, c), 0), _wanted(fractions, c)) for c in cases]
    best, searched = found.values()
    assert [missing for missing, _ in searched] == [missing for missing, _ in best]
    assert np.mean([off for _, off in searched]) <= 1.03 * np.mean([off for _, off in best])


@pytest.mark.parametrize("fractions", [[0.8, 0.2], [0.7, 0.15, 0.15]])
@pytest.mark.parametrize("groups", [30, 90])
def test_the_best_of_a_hundred_random_divisions_is_far_worse(groups: int, fractions: list[float]) -> None:
    for seed in range(2):
        counts = _random_counts(seed, groups, 6)
        wanted = _wanted(fractions, counts)
        rng = np.random.default_rng(seed)
        drawn = [rng.choice(len(fractions), groups, p=fractions) for _ in range(100)]
        by_chance = min(_judged(counts, place, wanted) for place in drawn)
        ours = _judged(counts, stratify(counts, wanted, 0), wanted)
        assert ours[0] == 0
        assert ours[1] < 0.6 * by_chance[1]


def test_a_class_goes_to_train_first_then_to_val_then_to_test() -> None:
    groups = np.ones((12, 4))
    groups[:, 0] = np.arange(12) < 1  # in one group
    groups[:, 1] = (np.arange(12) > 0) & (np.arange(12) < 3)  # in two
    groups[:, 2] = np.arange(12) > 8  # in three
    place = stratify(groups, _wanted([0.7, 0.15, 0.15], groups), 4)
    assert set(place[:1]) == {0}
    assert set(place[1:3]) == {0, 1}
    assert set(place[9:]) == {0, 1, 2}


@pytest.mark.parametrize("count", [12, 400])  # tried in all ways, and searched
def test_groups_stay_where_they_are_told_to(count: int) -> None:
    counts = _random_counts(1, count, 4)
    rng = np.random.default_rng(2)
    allowed = rng.random((count, 3)) < 0.5
    allowed[np.arange(count), rng.integers(0, 3, count)] = True
    place = stratify(counts, _wanted([0.4, 0.3, 0.3], counts), 0, allowed)
    assert allowed[np.arange(count), place].all()
    assert set(place) == {0, 1, 2}


def test_shares_may_differ_by_column() -> None:
    counts = np.ones((40, 3))
    counts[:, 1] = np.arange(40) < 20
    counts[:, 2] = 1 - counts[:, 1]
    wanted = np.array([[0.5, 0.8, 0.2], [0.5, 0.2, 0.8]])
    place = stratify(counts, wanted, 0)
    assert (place[:20] == 0).sum() == 16
    assert (place[20:] == 0).sum() == 4


def test_the_same_seed_divides_alike_and_another_one_differs() -> None:
    counts = _random_counts(3, 60, 5)
    wanted = _wanted([0.8, 0.2], counts)
    places = [stratify(counts, wanted, seed).tolist() for seed in (0, 0, 1, 2)]
    assert places[0] == places[1]
    assert len({tuple(place) for place in places}) == 3


def test_columns_and_groups_may_be_empty() -> None:
    counts = np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0]])
    place = stratify(counts, _wanted([0.5, 0.5], counts), 0)
    assert sorted(place[[0, 1, 3, 4]]) == [0, 0, 1, 1]


def test_a_hundred_thousand_groups_of_thirty_classes_are_divided_evenly() -> None:
    rng = np.random.default_rng(0)
    frequency = np.arange(1, 31) ** -1.5
    counts = rng.poisson(10 * frequency / frequency.sum(), (100_000, 30)).astype(float)
    wanted = _wanted([0.85, 0.15], counts)
    place = stratify(counts, wanted, 0)
    off = counts[place == 1].sum(axis=0) / counts.sum(axis=0) - 0.15
    assert np.abs(off).max() < 0.001
