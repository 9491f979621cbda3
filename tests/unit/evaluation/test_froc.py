"""FROC against a program that goes through the thresholds one by one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import Scene, scenes, weights_of, wilson_of

from pipeline.evaluation.froc import FALSE_ALARMS, _Ranked, froc
from pipeline.evaluation.matching import IOU50


def froc_by_hand(scene: Scene) -> list[float]:
    """Return the largest sensitivity with at most so many false alarms per picture, threshold by threshold."""
    outcomes = scene.outcomes()
    boxes = sum(not ignored for _, _, ignored in scene.boxes)
    best = [0.0] * len(FALSE_ALARMS)
    for threshold in {score for _, _, score, _ in outcomes}:
        kept = [word for _, _, score, word in outcomes if score >= threshold]
        for i, rate in enumerate(FALSE_ALARMS):
            if kept.count("alarm") / scene.pictures <= rate:
                best[i] = max(best[i], kept.count("hit") / boxes)
    return best


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_froc_equals_a_count_threshold_by_threshold(scene: Scene) -> None:
    found = froc(scene.table(), weights_of(scene))
    if all(ignored for _, _, ignored in scene.boxes):
        assert (found.at, found.mean, found.boxes) == (None, None, 0)
        return
    assert found.at is not None
    assert found.mean is not None
    assert [interval.value for interval in found.at] == pytest.approx(froc_by_hand(scene), abs=1e-12)
    assert found.mean.value == pytest.approx(np.mean(froc_by_hand(scene)))
    for interval in (*found.at, found.mean):
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert (np.diff(found.score) < 0).all()
    assert (np.diff(found.sensitivity) >= 0).all()
    assert (np.diff(found.false_alarms) >= 0).all()
    outcomes = [row for row in scene.outcomes() if row[3] != "ignored"]
    for score, alarms, sensitivity in zip(found.score, found.false_alarms, found.sensitivity, strict=True):
        kept = [word for _, _, s, word in outcomes if s >= score]
        assert kept.count("alarm") / scene.pictures == pytest.approx(alarms)
        assert kept.count("hit") / found.boxes == pytest.approx(sensitivity)


@settings(max_examples=60, deadline=None)
@given(scenes(), st.data())
def test_weighted_pictures_equal_repeated_ones(scene: Scene, data: st.DataObject) -> None:
    times = data.draw(st.lists(st.integers(0, 3), min_size=scene.pictures, max_size=scene.pictures))
    outcomes = scene.table().outcomes(IOU50)
    weighted = _Ranked.of(outcomes).sensitivities(outcomes, np.array([times], np.int32))[0]
    again = scene.repeated(times)
    if all(ignored for _, _, ignored in again.boxes):
        assert np.isnan(weighted).all()
    else:
        assert weighted == pytest.approx(froc_by_hand(again), abs=1e-12)


def test_a_long_list_of_false_alarms_is_cut_without_a_change() -> None:
    rng = np.random.default_rng(3)
    boxes = [(i, 0, False) for i in range(20)]
    hits = [(i, 0, float(rng.random()), i) for i in range(20)]
    alarms = [(int(rng.integers(20)), 0, float(rng.random()), None) for _ in range(1500)]
    scene = Scene(20, boxes, [*hits, *alarms])
    found = froc(scene.table(), weights_of(scene))
    assert found.at is not None
    assert [interval.value for interval in found.at] == pytest.approx(froc_by_hand(scene))
    weights = np.zeros((3, 20), np.int32)
    weights[[0, 1, 2], [3, 4, 5]] = 20  # one picture alone: its eight false alarms come at another place of the list
    outcomes = scene.table().outcomes(IOU50)
    drawn = _Ranked.of(outcomes).sensitivities(outcomes, weights)
    for row, image in zip(drawn, (3, 4, 5), strict=True):
        assert row == pytest.approx(froc_by_hand(scene.repeated([int(i == image) for i in range(20)])))


def test_a_perfect_detector_finds_all_without_false_alarms_but_few_boxes_prove_little() -> None:
    scene = Scene(4, [(i, 0, False) for i in range(4)], [(i, 0, 0.9, i) for i in range(4)])
    found = froc(scene.table(), weights_of(scene))
    assert found.at is not None
    assert [interval.value for interval in found.at] == [1.0] * 7
    assert found.at[0].low == pytest.approx(wilson_of(4, 4).low)


def test_no_detections_find_nothing() -> None:
    found = froc(Scene(2, [(0, 0, False)]).table(), np.ones((5, 2), np.int32))
    assert found.mean is not None
    assert found.mean.value == 0
    assert found.to_dict()["points"]["sensitivity"] == []


def test_the_record_is_plain_json() -> None:
    scene = Scene(3, [(0, 0, False)], [(0, 0, 0.5, 0)])
    record = froc(scene.table(), weights_of(scene)).to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
