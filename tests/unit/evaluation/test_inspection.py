"""The inspector's view against a program that goes through pictures and thresholds one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.evaluation.inspection import (
    FALSE_ALARMS,
    IOU50,
    Pictures,
    Rate,
    _Ranked,
    effective_trials,
    froc,
    picture_rate,
    rejection_curve,
    student,
    wilson,
)
from pipeline.evaluation.intervals import image_weights, proportion_interval
from pipeline.evaluation.matching import MatchTable, match
from pipeline.evaluation.tables import Detections, Truth


@dataclass(frozen=True)
class Scene:
    """Pictures whose boxes lie so far apart that a detection is either on one of them or on none.

    Args:
        pictures: how many.
        boxes: (picture, class, ignored).
        found: (picture, class, score, number of the box it lies on or None); the box is of the same picture.
        classes: how many.
    """

    pictures: int
    boxes: Sequence[tuple[int, int, bool]] = ()
    found: Sequence[tuple[int, int, float, int | None]] = ()
    classes: int = 2

    def table(self) -> MatchTable:
        """Return the match table."""
        place = np.array([[20 * j, 0, 20 * j + 10, 10] for j in range(len(self.boxes))], float).reshape(-1, 4)
        alarm = np.array([[20 * j, 500, 20 * j + 10, 510] for j in range(len(self.found))], float).reshape(-1, 4)
        images, classes, ignored = (np.array([row[i] for row in self.boxes]) for i in range(3))
        size = np.full(len(self.boxes), 100.0)
        truth = Truth(
            names=tuple(f"class {k}" for k in range(self.classes)),
            image_ids=np.arange(1, self.pictures + 1),
            sizes=np.full((self.pictures, 2), 640.0),
            image=images.astype(np.int32),
            class_id=classes.astype(np.int32),
            xyxy=place,
            extent=size,
            area=size,
            crowd=np.zeros(len(size), np.bool_),
            ignored=ignored.astype(np.bool_),
        )
        xyxy = np.array([alarm[i] if row[3] is None else place[row[3]] for i, row in enumerate(self.found)])
        detections = Detections(
            image=np.array([row[0] for row in self.found], np.int32),
            class_id=np.array([row[1] for row in self.found], np.int32),
            score=np.array([row[2] for row in self.found], np.float64),
            xyxy=xyxy.reshape(-1, 4),
            extent=np.full(len(self.found), 100.0),
        )
        return match(truth, detections)

    def outcomes(self) -> list[tuple[int, int, float, str]]:
        """Return (picture, class, score, what became of it) of each detection: hit, ignored or alarm; one by one."""
        rows = sorted(range(len(self.found)), key=lambda i: (-self.found[i][2], self.found[i][0], i))
        taken: set[int] = set()
        result = []
        for i in rows:
            image, class_id, score, at = self.found[i]
            word = "alarm"
            if at is not None and self.boxes[at][1] == class_id and at not in taken:
                taken.add(at)
                word = "ignored" if self.boxes[at][2] else "hit"
            result.append((image, class_id, score, word))
        return result

    def repeated(self, times: Sequence[int]) -> Scene:
        """Return the scene with picture i `times[i]` times."""
        boxes: list[tuple[int, int, bool]] = []
        found: list[tuple[int, int, float, int | None]] = []
        copies = [image for image, count in enumerate(times) for _ in range(count)]
        for new, image in enumerate(copies):
            moved = {}
            for j, (of, class_id, ignored) in enumerate(self.boxes):
                if of == image:
                    moved[j] = len(boxes)
                    boxes.append((new, class_id, ignored))
            for of, class_id, score, at in self.found:
                if of == image:
                    found.append((new, class_id, score, None if at is None else moved[at]))
        return replace(self, pictures=len(copies), boxes=boxes, found=found)


SCORES = st.sampled_from([0.1, 0.25, 0.3, 0.3000001, 0.5, 0.75, 0.9, 1.0])  # few, so that many are equal


@st.composite
def scenes(draw: st.DrawFn, least: int = 1) -> Scene:
    pictures = draw(st.integers(least, 7))
    classes = draw(st.integers(1, 3))
    image, class_id = st.integers(0, pictures - 1), st.integers(0, classes - 1)
    boxes = draw(st.lists(st.tuples(image, class_id, st.sampled_from([False, False, False, True])), max_size=12))
    found = []
    for at in draw(st.lists(st.none() | st.integers(0, max(len(boxes) - 1, 0)), max_size=20)):
        if at is None or not boxes:
            found.append((draw(image), draw(class_id), draw(SCORES), None))
        else:
            found.append((boxes[at][0], draw(class_id | st.just(boxes[at][1])), draw(SCORES), at))
    return Scene(pictures, boxes, found, classes)


def weights_of(scene: Scene, resamples: int = 40) -> np.ndarray:
    return image_weights(scene.pictures, resamples)


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
            expected = proportion_interval(passing, len(defective))
            assert curve.escape[1:, p] == pytest.approx([expected.low, expected.high], abs=1e-12)
        if good:
            assert curve.overkill is not None
            expected = proportion_interval(sum(i in rejected for i in good), len(good))
            assert curve.overkill[:, p] == pytest.approx([expected.value, expected.low, expected.high], abs=1e-12)


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
    for record in (rejection_curve(scene.table(), weights_of(scene)), froc(scene.table(), weights_of(scene))):
        assert json.loads(json.dumps(record.to_dict(), allow_nan=False)) == record.to_dict()
    assert rejection_curve(scene.table(), weights_of(scene)).to_dict()["points"]["threshold"] == [None, 0.5]


# ---- shares and groups -----------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_equals_the_interval_of_a_single_proportion(successes: int, trials: int) -> None:
    if successes <= trials:
        expected = proportion_interval(successes, trials)
        low, high = wilson(np.array(successes / trials), np.array(float(trials)))
        assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)


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
    assert (interval.low, interval.high) == (0, pytest.approx(proportion_interval(0, 20).high))


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


def test_effective_trials_stay_between_one_and_the_trials() -> None:
    draws = np.array([[0.0, 0.5, 0.5], [1.0, 0.5, 0.5001], [np.nan, np.nan, np.nan]])
    assert effective_trials(np.array([0.5, 0.5, 0.5]), draws, 3, 30).tolist() == [1.0, 3.0, 30.0]
    assert effective_trials(np.array(0.0), np.full(4, np.nan), 0, 0) == 0
    assert effective_trials(np.array(0.5), np.array([0.4, 0.6]), 1, 30) == 1  # one group says nothing of another


@pytest.mark.parametrize("freedom", [3, 5, 10, 30, 200])
def test_the_quantile_of_students_t(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_a_share_survives_its_record() -> None:
    rate = Rate(3, 10, 7.5)
    assert Rate.from_dict(rate.to_dict()) == rate
    assert Rate.from_dict(Rate(0, 0, 0.0).to_dict()) == Rate(0, 0, 0.0)
    assert Rate(0, 0, 0.0).to_dict()["value"] is None
    for spoilt in ({"events": 11}, {"trials": -1}, {"effective_trials": 11.0}, {"effective_trials": math.nan}):
        with pytest.raises(ValueError, match="no share"):
            Rate.from_dict({**rate.to_dict(), **spoilt})


# ---- FROC ------------------------------------------------------------------------------------------------------------


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
    assert found.at[0].low == pytest.approx(proportion_interval(4, 4).low)


def test_no_detections_find_nothing() -> None:
    found = froc(Scene(2, [(0, 0, False)]).table(), np.ones((5, 2), np.int32))
    assert found.mean is not None
    assert found.mean.value == 0
    assert found.to_dict()["points"]["sensitivity"] == []
