"""Calibrators against scipy's optimisers, and detectors whose calibration is known."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scene import PICTURES, Scene, boastful, detector, honest
from scipy import optimize, stats

from pipeline.errors import DataError, RunError
from pipeline.evaluation.average_precision import scores as average_precision
from pipeline.evaluation.calibration import Scored, reliability_of
from pipeline.evaluation.calibrators import Calibrator, check, fit, isotonic, platt
from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.matching import match
from pipeline.evaluation.tables import Detections

# ---- isotonic --------------------------------------------------------------------------------------------------------


UNIT = st.floats(0, 1, width=32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(UNIT, st.sampled_from([0.0, 1.0]), st.integers(1, 5)), min_size=1, max_size=40))
def test_pooled_blocks_equal_scipys_isotonic_regression(rows: list[tuple[float, float, int]]) -> None:
    score, right, weight = (np.array(column, float) for column in zip(*rows, strict=True))
    x, y = isotonic(score, right, weight)
    level, place = np.unique(score, return_inverse=True)
    mass = np.bincount(place, weight)
    expected = optimize.isotonic_regression(np.bincount(place, weight * right) / mass, weights=mass).x
    for height in np.unique(np.round(expected, 12)):  # a block of scores that were pooled
        block = np.abs(expected - height) < 1e-11
        assert np.interp(np.average(level[block], weights=mass[block]), x, y) == pytest.approx(height, abs=1e-6)
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(UNIT, st.booleans(), st.integers(1, 4)), min_size=1, max_size=20))
def test_weights_equal_repeated_detections(rows: list[tuple[float, bool, int]]) -> None:
    score, right, weight = (np.array(column, float) for column in zip(*rows, strict=True))
    times = weight.astype(int)
    x, y = isotonic(score, right, weight)
    again_x, again_y = isotonic(score.repeat(times), right.repeat(times))
    grid = np.linspace(0, 1, 101)
    assert np.interp(grid, x, y) == pytest.approx(np.interp(grid, again_x, again_y), abs=1e-6)


# ---- Platt -----------------------------------------------------------------------------------------------------------


def platt_by_scipy(score: np.ndarray, hit: np.ndarray) -> np.ndarray:
    logit = np.log(np.clip(score, 1e-6, 1 - 1e-6) / (1 - np.clip(score, 1e-6, 1 - 1e-6)))
    target = np.where(hit, (hit.sum() + 1) / (hit.sum() + 2), 1 / ((~hit).sum() + 2))

    def loss(answer: np.ndarray) -> float:
        raised = answer[0] * logit + answer[1]
        return float((np.logaddexp(0, raised) - target * raised).sum())

    return np.asarray(optimize.minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-8}).x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(8))
def test_platts_fit_equals_a_general_optimiser(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.uniform(0.01, 0.99, 30 * (seed + 1))
    hit = rng.random(len(score)) < score**3
    assert platt(score, hit) == pytest.approx(platt_by_scipy(score, hit), abs=1e-4)


@pytest.mark.parametrize(
    ("score", "hit"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]),  # told apart without error
        ([0.0, 1.0], [0, 1]),
        ([0.5, 0.5, 0.5], [0, 1, 1]),
        ([0.2, 0.9, 0.8, 0.1], [1, 0, 0, 1]),  # upside down
    ],
)
def test_platts_fit_is_finite_and_never_falls(score: list[float], hit: list[int]) -> None:
    slope, offset = platt(np.array(score), np.array(hit, bool))
    assert math.isfinite(slope)
    assert math.isfinite(offset)
    assert slope >= 0
    grid = Calibrator("platt", (), (slope, offset), 4, "val", 0.0).apply(np.linspace(0, 1, 50))
    assert (np.diff(grid) >= 0).all()
    assert (grid > 0).all()
    assert (grid < 1).all()


# ---- calibrators -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [300, 4000])
def test_a_boastful_detector_is_put_right_on_new_pictures(count: int) -> None:
    val, test = (detector(count, boastful, seed).table() for seed in (1, 2))
    weights = image_weights(PICTURES, 300)
    calibrator = fit(val, "val")
    assert calibrator.method == ("isotonic" if count == 4000 else "platt")
    found = check(test, calibrator, "test", weights)
    assert found.before.d_ece is not None
    assert found.after.d_ece is not None
    assert found.d_ece_change is not None
    assert found.after.d_ece.value < found.before.d_ece.value / 2
    assert found.d_ece_change.high < 0
    assert "helps on test" in found.sentence
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()


def test_calibrating_what_is_calibrated_makes_no_difference() -> None:
    val, test = (detector(2000, honest, seed).table() for seed in (3, 4))
    found = check(test, fit(val, "val"), "test", image_weights(PICTURES, 300))
    assert "no difference beyond noise" in found.sentence or "worse" in found.sentence
    assert found.brier_change is not None
    assert abs(found.brier_change.value) < 0.01


def test_the_change_of_few_pictures_has_the_interval_for_few() -> None:
    scene = detector(300, boastful, 5)
    table, weights = scene.table(), image_weights(PICTURES, 400, groups=(np.arange(PICTURES) % 12).astype(np.int32))
    calibrator = fit(table, "val")
    found = check(table, calibrator, "test", weights)
    scored = Scored.of(table, calibrator.least)
    old, new = (
        reliability_of(dataclasses.replace(scored, score=score), weights, calibrator.least)[1]["brier"]
        for score in (scored.score, calibrator.apply(scored.score))
    )
    tail = stats.norm.cdf(-stats.t.ppf(0.975, 11))
    assert found.brier_change is not None
    assert (found.brier_change.low, found.brier_change.high) == pytest.approx(
        np.quantile(new - old, [tail, 1 - tail]), rel=0.01
    )


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(float, st.integers(2, 40), elements=UNIT), st.data(), st.sampled_from(["isotonic", "platt"]))
def test_a_calibrator_never_falls_and_survives_its_record(scores: np.ndarray, data: st.DataObject, method: Any) -> None:
    hit = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    if method == "isotonic":
        x, y = isotonic(scores, hit.astype(float))
        found = Calibrator(method, tuple(x.tolist()), tuple(y.tolist()), len(hit), "val", 0.25)
    else:
        found = Calibrator(method, (), platt(scores, hit), len(hit), "val", 0.25)
    grid = found.apply(np.linspace(0, 1, 301))
    assert (np.diff(grid) >= 0).all()
    assert (grid >= 0).all()
    assert (grid <= 1).all()
    assert Calibrator.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_average_precision_stays_where_scores_stay_apart() -> None:
    scene = detector(800, boastful)
    table = scene.table()
    calibrator = fit(table, "val")
    assert calibrator.method == "platt"
    given = table.detections
    again = Detections(given.image, given.class_id, calibrator.apply(given.score), given.xyxy, given.extent)
    assert len(np.unique(again.score)) == len(np.unique(given.score))
    before = average_precision(table).precision
    np.testing.assert_array_equal(average_precision(match(table.truth, again)).precision, before)


@pytest.mark.parametrize("right", [honest, lambda s: 0 * s, lambda s: 0 * s + 1])
def test_one_kind_of_detection_alone_cannot_be_calibrated(right: Any) -> None:
    table = detector(20 if right is not honest else 0, right).table()
    with pytest.raises(DataError, match="right and wrong"):
        fit(table, "val")


def test_a_check_without_detections_says_so() -> None:
    calibrator = fit(detector(100, honest).table(), "val")
    found = check(Scene(2, [(0, 0, False)]).table(), calibrator, "test", np.ones((3, 2), np.int32))
    assert "test has no detections" in found.sentence
    assert found.d_ece_change is None
    assert found.to_dict()["before"]["d_ece"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "magic"},
        {"x": [0.5, 0.2], "y": [0.1, 0.2]},
        {"x": [0.2, 0.5], "y": [0.4, 0.2]},
        {"x": [0.2, 0.5], "y": [0.4, 1.2]},
        {"x": [0.2], "y": [0.4, 0.5]},
        {"x": [0.2, math.nan], "y": [0.4, 0.5]},
        {"x": [], "y": []},
        {"y": None},
        {"method": "platt", "x": [], "y": [-1.0, 0.0]},
        {"method": "platt", "x": [], "y": [1.0]},
        {"fitted_on": "many"},
    ],
)
def test_a_damaged_calibrator_is_refused(changes: dict[str, Any]) -> None:
    record = Calibrator("isotonic", (0.2, 0.5), (0.1, 0.9), 5, "val", 0.25).to_dict()
    assert Calibrator.from_dict(record).y == (0.1, 0.9)
    with pytest.raises(RunError, match=r"there: .*evaluate again"):
        Calibrator.from_dict({**record, **changes}, "there")
