"""The check of thresholds on other pictures: it sees another camera, and false alarms are as rare as it says."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scene import Scene, inspected, wilson_of

from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.operating_point import Rule, choose
from pipeline.evaluation.point_check import _differ, check
from pipeline.evaluation.rates import Rate
from pipeline.evaluation.threshold_figures import figures_at


def test_the_check_uses_the_thresholds_of_the_choice() -> None:
    val, test = (inspected(np.random.default_rng(seed), 70).table() for seed in (1, 2))
    weights = image_weights(90, 50)
    point = choose(val, Rule("max_escape", 0.05), "val", weights)
    found = check(point, test, "test", weights)
    assert found.figures == figures_at(test, np.array([point.overall]), weights)
    assert found.agrees
    assert "test agrees with val within noise" in found.sentences
    assert any("promise of at most 5 %" in sentence for sentence in found.sentences)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()


def test_another_camera_is_told_from_noise() -> None:
    scene = inspected(np.random.default_rng(1), 70)
    darker = Scene(90, scene.boxes, [(i, k, score / 3, at) for i, k, score, at in scene.found], 1)
    weights = image_weights(90, 50)
    point = choose(scene.table(), Rule("max_escape", 0.05), "val", weights)
    found = check(point, darker.table(), "test", weights)
    assert not found.agrees
    assert any(s.startswith("escape rate: ") and "more than chance explains" in s for s in found.sentences)
    assert any("is broken on test" in sentence for sentence in found.sentences)


def test_a_check_without_defective_pictures_says_so() -> None:
    point = choose(
        inspected(np.random.default_rng(1), 70).table(), Rule("max_escape", 0.05), "val", image_weights(90, 9)
    )
    found = check(point, Scene(3).table(), "test", np.ones((2, 3), np.int32))
    assert any("cannot be checked" in sentence for sentence in found.sentences)
    assert any("no picture has a box" in sentence for sentence in found.sentences)


def test_newcombes_example_and_the_rate_of_false_alarms() -> None:
    # Newcombe 1998, table II (a): 56/70 - 48/80 = 0.2, method 10: 0.0524 to 0.3339.
    assert _differ(Rate(56, 70, 70.0), Rate(48, 80, 80.0), 0.95)
    assert not _differ(Rate(56, 70, 70.0), Rate(48, 80, 80.0), 0.999)
    a, b = wilson_of(56, 70), wilson_of(48, 80)
    assert 0.2 - math.hypot(0.8 - a.low, b.high - 0.6) == pytest.approx(0.0524, abs=1e-4)
    assert not _differ(Rate(0, 0, 0.0), Rate(5, 10, 10.0), 0.95)
    rng = np.random.default_rng(0)
    pairs = rng.binomial((60, 90), 0.2, (1500, 2)).tolist()
    share = np.mean([_differ(Rate(x, 60, 60.0), Rate(y, 90, 90.0), 0.95) for x, y in pairs])
    assert 0.03 < share < 0.07
