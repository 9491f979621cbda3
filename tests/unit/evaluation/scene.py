"""Small scenes whose matches can be counted by hand, and strategies that draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.matching import MatchTable, match
from pipeline.evaluation.tables import Detections, Truth

PICTURES = 60  # of a detector below


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


def kept_by_hand(scene: Scene, thresholds: np.ndarray) -> list[tuple[int, int, float, str]]:
    """Return the outcomes that reach the threshold of their class."""
    return [row for row in scene.outcomes() if row[2] >= thresholds[row[1]]]


def f1_by_hand(scene: Scene, thresholds: np.ndarray, class_id: int | None = None) -> float:
    """Return the F1 score of a class, or of all together."""
    kept = [row[3] for row in kept_by_hand(scene, thresholds) if class_id in (None, row[1])]
    boxes = sum(not ignored and class_id in (None, k) for _, k, ignored in scene.boxes)
    return 2 * kept.count("hit") / (boxes + kept.count("hit") + kept.count("alarm"))


def inspected(rng: np.random.Generator, defective: int, good: int = 20) -> Scene:
    """Return defective pictures with a box that is found, and good ones with a weaker false alarm."""
    boxes = [(i, 0, False) for i in range(defective)]
    found = [(i, 0, float(rng.beta(4, 2)), i) for i in range(defective)]
    found += [(i, 0, float(rng.beta(2, 4)), None) for i in range(defective, defective + good)]
    return Scene(defective + good, boxes, found, classes=1)


def detector(count: int, truth: Any, seed: int = 0) -> Scene:
    """Return a scene in which a detection with score s is right with the probability truth(s)."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0.25, 1, count)
    right = rng.random(count) < truth(score)
    image = rng.integers(0, PICTURES, count)
    boxes = [(int(i), 0, False) for i in image]
    found = [
        (int(i), 0, float(s), j if r else None) for j, (i, s, r) in enumerate(zip(image, score, right, strict=True))
    ]
    return Scene(PICTURES, boxes, found, classes=1)


def honest(score: np.ndarray) -> np.ndarray:
    """Return how often a calibrated detector is right at its scores."""
    return score


def boastful(score: np.ndarray) -> np.ndarray:
    """Return how often a detector that is too sure of itself is right at its scores."""
    return score**2


def wilson_of(successes: int, trials: int) -> Any:
    """Return Wilson's interval (low, high) of a share, by scipy."""
    return binomtest(successes, trials).proportion_ci(method="wilson")
