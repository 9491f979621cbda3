"""The inspector's view against a program that goes through pictures and thresholds one by one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from scene import Scene, scenes, weights_of, wilson_of

from pipeline.evaluation.inspection import Pictures, picture_rate, rejection_curve
from pipeline.evaluation.intervals import image_weights

# ---- pictures --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_escape_and_overkill_equal_a_count_picture_by_picture(scene: Scene) -> None:
    curve = rejection_curve(scene.table(), weights_of(scene))
    defective = [i for i in range(scene.pictures) if any(b[0] == i and not b[2] for b in scene.boxes)]
    good = [i for i in range(scene.pictures) if all(b[0] != i for b in scene.boxes)]
    assert (curve.defective, curve.good, curve.pictures) == (len(defective), len(good), scene.pictures)
    counted = {*defective, *good}
    stops = {max(s for i, _, s, _ in scene.found if i == image) for image in counted & {f[0] for f in scene.found}}
    assert list(curve.threshold) == [math.inf, *sorted(stops, reverse=True)]
    for p, threshold in enumerate(curve.threshold):
        rejected = {image for image, _, score, _ in scene.found if score >= threshold}
        passing = sum(i not in rejected for i in defective)
        if defective:
            assert curve.escape is not None
            assert curve.escape[0, p] == passing / len(defective)
            expected = wilson_of(passing, len(defective))
            assert curve.escape[1:, p] == pytest.approx([expected.low, expected.high], abs=1e-12)
        if good:
            assert curve.overkill is not None
            wrong = sum(i in rejected for i in good)
            expected = wilson_of(wrong, len(good))
            assert curve.overkill[:, p] == pytest.approx([wrong / len(good), expected.low, expected.high], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_escape_falls_and_overkill_rises_with_their_bounds(scene: Scene) -> None:
    curve = rejection_curve(scene.table(), weights_of(scene))
    assert (np.diff(curve.threshold) < 0).all()
    for rates, sign in ((curve.escape, -1), (curve.overkill, 1)):
        if rates is not None:
            assert (sign * np.diff(rates, axis=1) >= -1e-12).all()
            assert (rates[1] <= rates[0]).all()
            assert (rates[0] <= rates[2]).all()
            assert rates[0, 0] == (1 if sign < 0 else 0)


def test_without_good_or_defective_pictures_it_says_so_and_gives_no_number() -> None:
    only_defective = rejection_curve(Scene(2, [(0, 0, False), (1, 0, False)]).table(), np.ones((3, 2), np.int32))
    assert only_defective.overkill is None
    assert "good pictures" in only_defective.notes[0]
    assert "overkill" not in only_defective.to_dict()["points"]
    only_good = rejection_curve(Scene(2, [], [(0, 0, 0.5, None)]).table(), np.ones((3, 2), np.int32))
    assert only_good.escape is None
    assert "defective pictures" in only_good.notes[0]
    assert only_good.overkill is not None
    assert only_good.overkill[0].tolist() == [0.0, 0.5]


def test_a_picture_with_nothing_but_ignored_boxes_is_set_aside() -> None:
    pictures = Pictures.of(Scene(3, [(0, 0, True), (1, 0, False), (1, 1, True)], [(0, 0, 0.9, 0)]).table())
    assert pictures.defective.tolist() == [False, True, False]
    assert pictures.good.tolist() == [False, False, True]


def test_no_detections_let_everything_pass() -> None:
    curve = rejection_curve(Scene(3, [(0, 0, False)]).table(), np.ones((3, 3), np.int32))
    assert curve.escape is not None
    assert curve.overkill is not None
    assert (curve.escape[0].tolist(), curve.overkill[0].tolist()) == ([1.0], [0.0])
    assert curve.escape[1, 0] < 0.5  # one picture proves little


def test_a_long_curve_is_thinned_to_exact_points_without_gaps() -> None:
    rng = np.random.default_rng(1)
    count = 6000
    boxes = [(i, 0, False) for i in range(0, count, 2)]
    found = [(i, 0, float(rng.random()), i // 2 if i % 2 == 0 else None) for i in range(count)]
    curve = rejection_curve(Scene(count, boxes, found).table(), np.ones((1, count), np.int32))
    assert curve.escape is not None
    assert curve.overkill is not None
    assert 200 < len(curve.threshold) < 900
    assert np.abs(np.diff(curve.escape[0])).max() < 0.006
    assert np.abs(np.diff(curve.overkill[0])).max() < 0.006
    p = len(curve.threshold) // 3
    assert curve.escape[0, p] == sum(row[2] < curve.threshold[p] for row in found[::2]) / (count / 2)
    assert (curve.escape[0, -1], curve.overkill[0, -1]) == (0, 1)


def test_the_record_is_plain_json() -> None:
    scene = Scene(3, [(0, 0, False)], [(0, 0, 0.5, 0)])
    record = rejection_curve(scene.table(), weights_of(scene)).to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["points"]["threshold"] == [None, 0.5]


# ---- groups ----------------------------------------------------------------------------------------------------------


def test_boards_whose_pictures_fail_together_are_worth_one_picture_each() -> None:
    groups = np.repeat(np.arange(40), 5).astype(np.int32)
    weights = image_weights(200, 4000, groups=groups)
    everyone = np.ones(200, np.bool_)
    together = picture_rate(groups < 10, everyone, weights, groups)
    assert (together.events, together.trials) == (50, 200)
    assert together.effective == pytest.approx(40 * 39 / 40 * (1.96 / 2.023) ** 2, rel=0.06)
    alone = picture_rate(groups < 10, everyone, weights, None)
    assert alone.effective == 200
    a, b = together.interval(), alone.interval()
    assert a is not None
    assert b is not None
    assert a.width == pytest.approx(math.sqrt(5) * b.width, rel=0.12)


def test_a_rate_of_zero_in_groups_is_worth_the_groups_and_still_has_width() -> None:
    groups = np.repeat(np.arange(20), 3).astype(np.int32)
    rate = picture_rate(np.zeros(60, np.bool_), np.ones(60, np.bool_), image_weights(60, 50, groups=groups), groups)
    assert rate.effective == 20
    interval = rate.interval()
    assert interval is not None
    assert (interval.low, interval.high) == (0, pytest.approx(wilson_of(0, 20).high))


def test_the_curve_in_groups_has_at_its_points_the_interval_of_the_rate() -> None:
    rng = np.random.default_rng(4)
    groups = (np.arange(60) // 4).astype(np.int32)
    found = [(i, 0, round(float(rng.random()), 1), i if i < 40 else None) for i in range(60)]
    table = Scene(60, [(i, 0, False) for i in range(40)], found).table()
    weights = image_weights(60, 300, groups=groups)
    curve, pictures = rejection_curve(table, weights, groups), Pictures.of(table)
    assert curve.escape is not None
    assert curve.overkill is not None
    for p, threshold in enumerate(curve.threshold):
        for rates, kind, rejected in ((curve.escape, pictures.defective, False), (curve.overkill, pictures.good, True)):
            interval = picture_rate((pictures.top >= threshold) == rejected, kind, weights, groups).interval()
            assert interval is not None
            assert rates[:, p] == pytest.approx([interval.value, interval.low, interval.high], abs=1e-9)
