"""What fixed thresholds do, against a count of one detection after the other."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import Scene, f1_by_hand, kept_by_hand, scenes, weights_of

from pipeline.evaluation import threshold_figures
from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.threshold_figures import figures_at


@settings(max_examples=40, deadline=None)
@given(scenes(), st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.75, 2.0]), min_size=3, max_size=3))
def test_figures_at_thresholds_equal_a_count_one_by_one(scene: Scene, cuts: list[float]) -> None:
    thresholds = np.array(cuts[: scene.classes])
    figures = figures_at(scene.table(), thresholds, weights_of(scene))
    kept = kept_by_hand(scene, thresholds)
    rejected, right = {row[0] for row in kept}, {row[0] for row in kept if row[3] == "hit"}
    defective = {i for i, _, ignored in scene.boxes if not ignored}
    good = set(range(scene.pictures)) - {i for i, _, _ in scene.boxes}
    assert (figures.escape.events, figures.escape.trials) == (len(defective - rejected), len(defective))
    assert (figures.overkill.events, figures.overkill.trials) == (len(good & rejected), len(good))
    assert figures.by_luck == len(defective & rejected - right)
    for k, of_class in enumerate(figures.per_class.values()):
        words = [row[3] for row in kept if row[1] == k]
        hits, alarms = words.count("hit"), words.count("alarm")
        boxes = sum(class_id == k and not ignored for _, class_id, ignored in scene.boxes)
        assert (of_class.recall.events, of_class.recall.trials) == (hits, boxes)
        assert (of_class.precision.events, of_class.precision.trials) == (hits, hits + alarms)
        assert of_class.false_alarms == alarms / scene.pictures
        assert of_class.f1 == (pytest.approx(f1_by_hand(scene, thresholds, k)) if boxes else None)
    assert figures.boxes.recall.events == sum(f.recall.events for f in figures.per_class.values())
    assert figures.boxes.precision.trials == sum(f.precision.trials for f in figures.per_class.values())
    assert json.loads(json.dumps(figures.to_dict(), allow_nan=False)) == figures.to_dict()


def test_classes_are_counted_the_same_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    boxes = [(i % 9, i % 7, False) for i in range(63)]
    found = [(i % 9, i % 7, float(rng.random()), i) for i in range(63)]
    table = Scene(9, boxes, found, classes=7).table()
    whole = figures_at(table, np.full(7, 0.5), image_weights(9, 50))
    monkeypatch.setattr(threshold_figures, "_CELLS", 9 * 3)
    assert figures_at(table, np.full(7, 0.5), image_weights(9, 50)) == whole


def test_boxes_of_a_picture_that_are_missed_together_are_worth_a_picture() -> None:
    boxes = [(i, 0, False) for i in range(30) for _ in range(10)]
    found = [(i, 0, 0.9, 10 * i + j) for i in range(15) for j in range(10)]
    scene = Scene(30, boxes, found, classes=1)
    recall = figures_at(scene.table(), np.array([0.5]), image_weights(30, 2000)).boxes.recall
    assert (recall.events, recall.trials) == (150, 300)
    assert recall.effective == pytest.approx(30 * 29 / 30 * (1.96 / 2.045) ** 2, rel=0.1)
