"""Calibration against plain loops, and detectors whose calibration is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import PICTURES, Scene, boastful, detector, honest, scenes, weights_of
from scipy import stats

from pipeline.errors import DataError
from pipeline.evaluation.calibration import MOST_BINS, Scored, by_chance, reliability, reliability_of, sweep
from pipeline.evaluation.intervals import image_weights


@settings(max_examples=50, deadline=None)
@given(scenes(), st.sampled_from([0.0, 0.25, 0.5]))
def test_the_error_equals_the_definition_bin_by_bin(scene: Scene, least: float) -> None:
    found = reliability(scene.table(), weights_of(scene), least)
    rows = [(s, word == "hit") for _, _, s, word in scene.outcomes() if word != "ignored" and s >= least]
    assert found.detections == len(rows) == int(found.count.sum())
    if not rows:
        assert (found.d_ece, found.brier) == (None, None)
        return
    assert found.d_ece is not None
    assert found.brier is not None
    gap = 0.0
    for b, (low, high) in enumerate(zip(found.edges[:-1], found.edges[1:], strict=True)):
        inside = [row for row in rows if low <= row[0] < high]
        hits = sum(hit for _, hit in inside)
        assert (len(inside), sum(s for s, _ in inside) / len(inside)) == (found.count[b], pytest.approx(found.score[b]))
        expected = stats.binomtest(hits, len(inside)).proportion_ci(method="wilson")
        assert found.precision[:, b] == pytest.approx([hits / len(inside), expected.low, expected.high], abs=1e-12)
        gap += len(inside) / len(rows) * abs(hits / len(inside) - sum(s for s, _ in inside) / len(inside))
    assert found.d_ece.value == pytest.approx(gap, abs=1e-12)
    assert found.brier.value == pytest.approx(np.mean([(s - hit) ** 2 for s, hit in rows]))
    assert (np.diff(found.precision[0]) >= 0).all()
    assert len(found.count) <= MOST_BINS
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()


def test_bins_are_as_many_as_leave_precision_rising() -> None:
    rng = np.random.default_rng(0)
    score = np.sort(rng.random(400))
    hit = rng.random(400) < score
    bins = len(sweep(score, hit)) - 1
    precision = {n: [part.mean() for part in np.array_split(hit, n)] for n in range(1, MOST_BINS + 2)}
    rising = [n for n, values in precision.items() if (np.diff(values) >= 0).all()]
    assert bins in rising
    assert bins + 1 not in rising or bins == MOST_BINS
    assert all(n in rising for n in range(1, bins))


def test_calibrated_detectors_stay_below_what_chance_explains_and_boastful_ones_do_not() -> None:
    rng = np.random.default_rng(5)
    above = {honest: 0, boastful: 0}
    for _ in range(60):
        score = np.sort(rng.uniform(0.25, 1, 300))
        limit = by_chance(score)
        for truth in above:
            hit = rng.random(300) < truth(score)
            place = np.clip(np.searchsorted(sweep(score, hit), score, side="right") - 1, 0, None)
            place = np.minimum(place, len(sweep(score, hit)) - 2)
            above[truth] += np.abs(np.bincount(place, hit) - np.bincount(place, score)).sum() / 300 > limit
    assert above[honest] <= 9  # 3 expected; more than 9 happen once in a thousand times
    assert above[boastful] == 60


@pytest.mark.parametrize("score", [[0.5], [0.3, 0.9], [0.5] * 40, [0.0, 0.0, 1.0]])
def test_chance_is_known_for_any_scores(score: list[float]) -> None:
    assert 0 <= by_chance(np.array(score)) <= 1


def test_equal_scores_share_a_bin() -> None:
    assert len(sweep(np.full(50, 0.7), np.arange(50) % 2 == 0)) == 2
    edges = sweep(np.array([0.3] * 30 + [0.8] * 10), np.array([False] * 30 + [True] * 10))
    assert len(edges) == 3


def test_a_calibrated_detector_has_nearly_no_error_and_a_boastful_one_its_own() -> None:
    weights = image_weights(PICTURES, 200)
    for truth, expected in ((honest, 0.0), (boastful, 0.625 - 0.4375)):  # the means of s and s^2 on 0.25 to 1
        found = reliability(detector(6000, truth).table(), weights).d_ece
        assert found is not None
        assert found.value == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize("together", [1, 3])
def test_the_interval_of_the_brier_score_is_students_for_the_pictures_or_groups_it_comes_from(together: int) -> None:
    units, rng = 8, np.random.default_rng(2)
    score, hit = np.sort(rng.uniform(0.3, 0.9, units)), rng.random(units) < 0.6
    image = np.arange(units * together, dtype=np.int32)
    groups = np.append(image // together, np.full(5, units)).astype(np.int32)  # the last group has no detections
    scored = Scored(image, np.repeat(score, together), np.repeat(hit, together))
    weights = image_weights(len(groups), 20_000, groups=groups)[:, : len(image)]
    weights = weights[weights.sum(axis=1) == len(image)]  # as many groups in each: the error of the mean is then exact
    found = reliability_of(scored, weights, 0.3)[0].brier
    assert found is not None
    error = (score - hit) ** 2
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.95, units - 1, error.mean(), stats.sem(error)), rel=0.03
    )


def test_detections_of_one_picture_have_an_error_and_no_interval() -> None:
    scene = Scene(3, [], [(0, 0, 0.8, None), (0, 0, 0.4, None)])
    found = reliability(scene.table(), image_weights(3, 50))
    assert found.brier is not None
    assert (found.brier.value, found.to_dict()["brier"]) == (pytest.approx((0.64 + 0.16) / 2), None)


def test_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(DataError, match="no probabilities"):
        reliability(Scene(1, [], [(0, 0, 7.5, None)]).table(), np.ones((2, 1), np.int32))
