"""Do the inspector's and the grower's figures hold what they promise, and what do they cost?

Simulated detectors whose true figures are known: how often 95 % intervals cover them, how often a promised escape rate
is broken, when a class deserves a threshold of its own, how biased the calibration error is, which calibrator needs how
much data. And the time of every part. All seeded.

    OMP_NUM_THREADS=1 python benchmarks/inspection.py --rounds 1000
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from calibration_studies import calibrators, error_intervals, errors
from inspection_studies import boards, counts, froc, heading, own_thresholds, promise, row, single_pictures

from pipeline.evaluation import calibration, counting, inspection, operating_point, point_check
from pipeline.evaluation.calibrators import check, fit
from pipeline.evaluation.froc import froc as froc_curve
from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.matching import MatchTable, match
from pipeline.evaluation.tables import Detections, Truth


def dense_table(images: int, boxes: int, classes: int, detections: int) -> MatchTable:
    rng = np.random.default_rng(8)
    image, class_id = rng.integers(0, int(0.7 * images), boxes), rng.integers(0, classes, boxes)
    corner, size = rng.uniform(0, 560, (boxes, 2)), rng.uniform(10, 80, (boxes, 2))
    xyxy = np.hstack([corner, corner + size])
    no = np.zeros(boxes, np.bool_)
    truth = Truth(
        names=tuple(f"class {k}" for k in range(classes)),
        image_ids=np.arange(1, images + 1),
        sizes=np.full((images, 2), 640.0),
        image=image.astype(np.int32),
        class_id=class_id.astype(np.int32),
        xyxy=xyxy,
        extent=size.prod(axis=1),
        area=size.prod(axis=1),
        crowd=no,
        ignored=no,
    )
    seen = rng.random(boxes) < 0.9
    hits, alarms = int(seen.sum()), detections - int(seen.sum())
    place = rng.uniform(0, 560, (alarms, 2))
    found = np.vstack(
        [xyxy[seen] + rng.normal(0, 2, (hits, 4)), np.hstack([place, place + rng.uniform(10, 80, (alarms, 2))])]
    )
    of = np.append(image[seen], rng.integers(0, images, alarms)).astype(np.int32)
    kind = np.append(class_id[seen], rng.integers(0, classes, alarms)).astype(np.int32)
    score = np.append(rng.beta(5, 2, hits), rng.beta(0.5, 6, alarms))
    extent = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    return match(truth, Detections(of, kind, score, found, extent))


def seconds(_: int) -> None:
    names = (
        "escape/overkill",
        "the same in groups",
        "FROC",
        "choose",
        "check",
        "counts",
        "reliability",
        "fit",
        "check ",
    )
    heading("Seconds with 1,000 resamples (median of 3)", "pictures / boxes / classes / detections", *names)
    for size in ((200, 1500, 5, 20_000), (500, 3500, 6, 50_000), (5000, 36_000, 80, 500_000)):
        row(" / ".join(f"{n:,}" for n in size), *(median(part) for part in parts_of(dense_table(*size))))


def parts_of(table: MatchTable) -> tuple[Callable[[], object], ...]:
    images = len(table.truth.image_ids)
    weights, groups = image_weights(images), (np.arange(images) // 5).astype(np.int32)
    point = operating_point.choose(table, operating_point.Rule(), "val", weights)
    thresholds, fitted = point.array(table.truth.names), fit(table, "val")
    return (
        lambda: inspection.rejection_curve(table, weights),
        lambda: inspection.rejection_curve(table, weights, groups),
        lambda: froc_curve(table, weights),
        lambda: operating_point.choose(table, operating_point.Rule(), "val", weights),
        lambda: point_check.check(point, table, "test", weights),
        lambda: counting.counting(table, thresholds, weights),
        lambda: calibration.reliability(table, weights),
        lambda: fit(table, "val"),
        lambda: check(table, fitted, "test", weights),
    )


def median(part: Callable[[], object]) -> float:
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        part()
        spent.append(time.perf_counter() - started)
    return float(np.median(spent))


PARTS = (single_pictures, boards, froc, promise, own_thresholds, counts, errors, error_intervals, calibrators, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000, help="simulated sets for each row")
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS])
    chosen = parser.parse_args()
    for part in PARTS:
        if chosen.only in (None, part.__name__):
            part(chosen.rounds)


if __name__ == "__main__":
    main()
