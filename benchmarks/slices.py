"""How often is a slice called worse than the rest when there is no difference, and how often when there is one?

Pictures differ in difficulty, slices are drawn at random, so every slice that is called worse is a false alarm. In the
second table the scores of 40 % of one slice's detections are cut to 0.3 of what they were.

    OMP_NUM_THREADS=1 python benchmarks/slices.py [--quick]
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.matching import ALL, match
from pipeline.evaluation.slices import slices
from pipeline.evaluation.tables import Detections, Truth

RESAMPLES = 200
CLASSES = 3
FIRST_SEED = 10_000  # none of these sets was looked at when the thresholds were chosen


def simulated(images: int, seed: int) -> tuple[Truth, Detections]:
    """Return four boxes a picture on average, found more rarely where the picture is difficult, and false alarms."""
    rng = np.random.default_rng(seed)
    boxes, alarms = 4 * images, 6 * images
    difficulty = rng.normal(0, 1, images)
    corner = rng.uniform(0, 500, (boxes, 2))
    xyxy = np.hstack([corner, corner + rng.uniform(10, 100, (boxes, 2))])
    image, class_id = rng.integers(0, images, boxes), rng.integers(0, CLASSES, boxes)
    found = np.flatnonzero(rng.random(boxes) < 1 / (1 + np.exp(-1.5 + difficulty[image])))
    corner = rng.uniform(0, 500, (alarms, 2))
    wrong = np.hstack([corner, corner + rng.uniform(10, 100, (alarms, 2))])
    seen = np.vstack([xyxy[found] + rng.normal(0, 3, (len(found), 4)), wrong])
    seen[:, 2:] = np.maximum(seen[:, 2:], seen[:, :2] + 1)
    none = np.zeros(boxes, np.bool_)
    extent = (xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1)
    truth = Truth(
        names=tuple(map(str, range(CLASSES))),
        image_ids=np.arange(images),
        sizes=np.full((images, 2), 600.0),
        image=image.astype(np.int32),
        class_id=class_id.astype(np.int32),
        xyxy=xyxy,
        extent=extent,
        area=extent,
        crowd=none,
        ignored=none,
    )
    detections = Detections(
        image=np.append(image[found], rng.integers(0, images, alarms)).astype(np.int32),
        class_id=np.append(class_id[found], rng.integers(0, CLASSES, alarms)).astype(np.int32),
        score=np.append(rng.beta(3, 2, len(found)), rng.beta(1, 3, alarms)),
        xyxy=seen,
        extent=(seen[:, 2:] - seen[:, :2]).prod(axis=1),
    )
    return truth, detections


def weakened(detections: Detections, labels: list[str], name: str, seed: int) -> Detections:
    """Return the detections with the scores of 40 % of one slice's cut."""
    inside = np.array([label == name for label in labels])[detections.image]
    chosen = inside & (np.random.default_rng(seed).random(len(detections.score)) < 0.4)
    return replace(detections, score=np.where(chosen, 0.3 * detections.score, detections.score))


def called_worse(images: int, count: int, sets: int, weak: str | None = None) -> float:
    """Return the share of sets in which a slice was called worse: any, or the weak one."""
    labels = [f"slice {i * count // images}" for i in range(images)]
    called = 0
    for seed in range(FIRST_SEED, FIRST_SEED + sets):
        truth, detections = simulated(images, seed)
        if weak is not None:
            detections = weakened(detections, labels, weak, seed)
        found = slices(match(truth, detections, ranges=(ALL,)), labels, image_weights(images, RESAMPLES, seed=seed))
        named = {finding.evidence["slice"] for finding in found.findings}
        called += weak in named if weak is not None else bool(named)
    return called / sets


def main() -> None:
    """Print both tables."""
    sets = 20 if "--quick" in sys.argv else 200
    print(f"{sets} sets a row\n\n| pictures | slices | any slice called worse, none is |\n|---|---|---|")
    for images, count in ((200, 10), (300, 20), (400, 20), (120, 2)):
        print(f"| {images} | {count} | {called_worse(images, count, sets):.3f} |", flush=True)
    print("\n| pictures | slices | the weak slice called worse |\n|---|---|---|")
    for images, count in ((200, 4), (400, 4), (800, 4)):
        print(f"| {images} | {count} | {called_worse(images, count, sets // 2, 'slice 1'):.3f} |", flush=True)


if __name__ == "__main__":
    main()
