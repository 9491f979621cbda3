"""Counts per picture against a program that counts one picture after the other."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import Scene, scenes, weights_of
from scipy import stats

from pipeline.evaluation.counting import (
    FIGURES,
    _figures,
    _sums,
    count_figures,
    counting,
    unbiased_thresholds,
)
from pipeline.evaluation.intervals import image_weights

CUTS = st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.75, 2.0]), min_size=3, max_size=3)


def counts_by_hand(scene: Scene, thresholds: np.ndarray, class_id: int | None = None) -> list[tuple[int, int]]:
    """Return (objects, detections) of each picture."""
    kept = [(i, k) for i, k, score, word in scene.outcomes() if word != "ignored" and score >= thresholds[k]]
    boxes = [(i, k) for i, k, ignored in scene.boxes if not ignored]
    return [
        tuple(sum(at == i and class_id in (None, k) for at, k in rows) for rows in (boxes, kept))  # type: ignore[misc]
        for i in range(scene.pictures)
    ]


def figures_by_hand(pairs: list[tuple[int, int]]) -> dict[str, float | None]:
    errors = [predicted - true for true, predicted in pairs]
    boxes = sum(true for true, _ in pairs)
    shares = [abs(predicted - true) / true for true, predicted in pairs if true]
    return {
        "mae": sum(map(abs, errors)) / len(pairs),
        "rmse": math.sqrt(sum(error**2 for error in errors) / len(pairs)),
        "bias": sum(errors) / len(pairs),
        "relative_total": sum(errors) / boxes if boxes else None,
        "relative_mean": sum(shares) / len(shares) if shares else None,
    }


@settings(max_examples=50, deadline=None)
@given(scenes(), CUTS)
def test_count_errors_equal_a_count_picture_by_picture(scene: Scene, cuts: list[float]) -> None:
    thresholds = np.array(cuts[: scene.classes])
    found = counting(scene.table(), thresholds, weights_of(scene))
    for k, figures in [(None, found.total), *enumerate(found.per_class.values())]:
        pairs = counts_by_hand(scene, thresholds, k)
        assert (figures.boxes, figures.predicted) == tuple(map(sum, zip(*pairs, strict=True)))
        for name, expected in figures_by_hand(pairs).items():
            value = figures.values[name]
            if expected is None:
                assert value is None
                continue
            assert value is not None
            assert value.value == pytest.approx(expected, abs=1e-12)
            if not math.isnan(value.low):
                assert value.low <= value.value <= value.high
        assert sorted((t, p) for t, p, n in figures.scatter.tolist() for _ in range(n)) == sorted(pairs)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=8))
def test_weighted_pictures_equal_repeated_ones(rows: list[tuple[int, int, int]]) -> None:
    true, predicted, times = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    if times.any():
        weighted = _figures(times @ _sums(true, predicted))
        again = list(zip(true.repeat(times).tolist(), predicted.repeat(times).tolist(), strict=True))
        for name, expected in figures_by_hand(again).items():
            assert weighted[name] == pytest.approx(math.nan if expected is None else expected, abs=1e-12, nan_ok=True)


def test_a_perfect_count_has_no_error_and_no_interval() -> None:
    scene = Scene(3, [(0, 0, False), (1, 0, False)], [(0, 0, 0.9, 0), (1, 0, 0.9, 1)])
    record = counting(scene.table(), np.array([0.5, 0.5]), weights_of(scene)).to_dict()["total"]
    for name in FIGURES:
        assert record[name] == {"value": 0.0, "low": None, "high": None, "level": 0.95}
    assert record["scatter"] == [[0, 0, 1], [1, 1, 2]]


def test_a_single_picture_has_figures_without_intervals() -> None:
    found = counting(Scene(1, [(0, 0, False)]).table(), np.array([0.5, 0.5]), np.ones((9, 1), np.int32))
    mae = found.total.values["mae"]
    assert mae is not None
    assert mae.value == 1
    assert math.isnan(mae.low)


def test_without_boxes_there_is_no_relative_error() -> None:
    scene = Scene(2, [], [(0, 0, 0.9, None)])
    found = counting(scene.table(), np.array([0.5, 0.5]), weights_of(scene))
    assert found.total.values["relative_total"] is None
    assert found.total.values["bias"] is not None
    assert found.total.values["bias"].value == 0.5
    assert "no relative error" in found.notes[0]


def test_ignored_boxes_and_what_finds_them_count_on_neither_side() -> None:
    scene = Scene(1, [(0, 0, True), (0, 0, False)], [(0, 0, 0.9, 0), (0, 0, 0.9, 1)])
    total = counting(scene.table(), np.array([0.5, 0.5]), weights_of(scene)).total
    assert (total.boxes, total.predicted) == (1, 1)


def test_a_picture_that_is_cut_at_the_limit_is_pointed_out() -> None:
    scene = Scene(2, [], [(0, 0, 0.9, None)] * 101 + [(1, 0, 0.9, None)] * 100)
    found = counting(scene.table(), np.array([0.5, 0.5]), weights_of(scene))
    assert found.total.predicted == 200
    assert "1 times a picture has more than 100 detections" in found.notes[0]


@pytest.mark.parametrize("pictures", [8, 40])
def test_intervals_are_students_for_a_mean(pictures: int) -> None:
    rng = np.random.default_rng(0)
    true = rng.poisson(20, pictures)
    predicted = true + rng.integers(-3, 4, pictures)
    (figures,) = count_figures([(true, predicted)], image_weights(pictures, 20_000), pictures)
    bias = figures.values["bias"]
    expected = stats.t.interval(0.95, pictures - 1, np.mean(predicted - true), stats.sem(predicted - true))
    assert bias is not None
    assert (bias.low, bias.high) == pytest.approx(expected, rel=0.02, abs=0.02)


def test_groups_that_err_together_widen_the_interval() -> None:
    groups = np.repeat(np.arange(20), 5).astype(np.int32)
    error = np.random.default_rng(1).integers(-2, 3, 20)[groups]
    counts = [(np.full(100, 10), 10 + error)]
    single = count_figures(counts, image_weights(100, 2000), 100)[0].values["bias"]
    grouped = count_figures(counts, image_weights(100, 2000, groups=groups), 20)[0].values["bias"]
    assert single is not None
    assert grouped is not None
    assert 1.9 < grouped.width / single.width < 2.8


# ---- a threshold for counting ----------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(scenes())
def test_no_other_threshold_comes_nearer_to_the_true_total(scene: Scene) -> None:
    found = unbiased_thresholds(scene.table())
    for k, threshold in [(None, found.overall), *enumerate(found.per_class.values())]:
        scores = [s for _, c, s, word in scene.outcomes() if word != "ignored" and k in (None, c)]
        boxes = sum(not ignored and k in (None, c) for _, c, ignored in scene.boxes)
        if not boxes or len(scores) < boxes:
            assert threshold is None
            continue
        assert threshold is not None
        left = sum(score >= threshold for score in scores)
        assert left > 0
        assert abs(left - boxes) == min(abs(sum(s >= stop for s in scores) - boxes) for stop in scores)


def test_the_counts_at_that_threshold_are_right_in_total() -> None:
    rng = np.random.default_rng(3)
    boxes = [(i % 10, 0, False) for i in range(50)]
    found = [(i % 10, 0, float(rng.random()), i) for i in range(40)]
    found += [(int(rng.integers(10)), 0, float(rng.random()), None) for _ in range(60)]
    table = Scene(10, boxes, found, classes=1).table()
    threshold = unbiased_thresholds(table).overall
    assert threshold is not None
    bias = counting(table, np.array([threshold]), image_weights(10, 20)).total.values["bias"]
    assert bias is not None
    assert bias.value == 0
