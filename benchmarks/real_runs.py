"""Real detectors: do our figures equal pycocotools', and do intervals of one half of the pictures fit the other half?

RUN is a run folder with an evaluated split. For the second question the pictures are divided at random again and again:
of two independent samples the difference should lie within sqrt(a^2 + b^2), a and b being half the widths of their
intervals, in 95 % of the cases. With two runs of the same pictures the same is asked of their difference.

    OMP_NUM_THREADS=1 python benchmarks/real_runs.py RUN [RUN] [--split test] [--rounds 200]
"""

from __future__ import annotations

import argparse
import contextlib
import io

import numpy as np

import pipeline
from pipeline.data.dataset import Dataset
from pipeline.evaluation.average_precision import mean, scores
from pipeline.evaluation.intervals import (
    Interval,
    class_mean,
    image_weights,
    mean_interval,
    percentile_interval,
    resampled_map,
)
from pipeline.evaluation.matching import MatchTable, match
from pipeline.evaluation.slices import part_of
from pipeline.evaluation.subjects import Subject, on_ground_truth_of
from pipeline.evaluation.tables import Detections, Truth

RESAMPLES = 200


def agreement(part: Dataset, table: MatchTable) -> float:
    """Return the largest difference to pycocotools over all sizes, thresholds and classes, precision and recall."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    boxes = [
        {
            "id": n,
            "image_id": i,
            "category_id": k + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": int(crowd),
        }
        for n, (i, k, x1, y1, x2, y2, crowd) in enumerate(
            part.boxes.select("image_id", "class_id", "x1", "y1", "x2", "y2", "crowd").iter_rows(), start=1
        )
    ]
    truth, found = table.truth, table.detections
    results = [
        {"image_id": int(i), "category_id": int(k) + 1, "score": float(s), "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for i, k, s, (x1, y1, x2, y2) in zip(
            truth.image_ids[found.image], found.class_id, found.score, found.xyxy.tolist(), strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": int(i)} for i in truth.image_ids],
            "annotations": boxes,
            "categories": [{"id": k + 1} for k in range(len(truth.names))],
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
    ours = scores(table)
    theirs = run.eval["precision"][..., -1].mean(axis=1).transpose(2, 0, 1)
    recall = run.eval["recall"][..., -1].transpose(2, 0, 1)
    pairs = ((ours.precision, theirs), (ours.recall, recall))
    return max(float(np.nanmax(np.abs(a - np.where(b < 0, np.nan, b)))) for a, b in pairs)


def interval_of(tables: list[MatchTable], chosen: np.ndarray, seed: int) -> tuple[float, float]:
    """Return centre and half the width of the interval of mAP50-95, or of the difference of two, on some pictures."""
    parts = [part_of(table, chosen) for table in tables]
    weights = image_weights(int(chosen.sum()), RESAMPLES, seed=seed)
    spread = np.zeros((RESAMPLES, len(chosen)), np.int32)
    spread[:, chosen] = weights
    values = [mean(scores(part).precision[0]) or 0.0 for part in parts]
    draws = [class_mean(resampled_map(part, spread)).mean(axis=1) for part in parts]
    found: Interval
    if len(tables) == 1:
        found = mean_interval(values[0], draws[0], units=int(chosen.sum()))
    else:
        found = percentile_interval(values[1] - values[0], draws[1] - draws[0], units=int(chosen.sum()))
    return (found.low + found.high) / 2, (found.high - found.low) / 2


def halves(tables: list[MatchTable], rounds: int) -> float:
    """Return the share of random divisions in which the two halves differ by no more than their intervals allow."""
    images, held = len(tables[0].truth.image_ids), 0
    for seed in range(rounds):
        chosen = np.random.default_rng(seed).permutation(images) < images // 2
        (a, width_a), (b, width_b) = (interval_of(tables, part, seed) for part in (chosen, ~chosen))
        held += abs(a - b) <= float(np.hypot(width_a, width_b))
    return held / rounds


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--split", default="test")
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    subjects = []
    for path in given.runs:
        run = pipeline.Run.open(path)
        subjects.append(Subject(run.name, run.dataset().split(given.split), run.detections(given.split)))
    tables = []
    for subject in subjects:
        frame = subject.detections if subject is subjects[0] else on_ground_truth_of(subjects[0], subject)
        truth = Truth.of(subjects[0].part)
        tables.append(match(truth, Detections.of(truth, frame)))
        apart = agreement(subjects[0].part, tables[-1])
        print(
            f"{subject.name}: largest difference to pycocotools {apart:.1e}, {subject.detections.height:,} detections"
        )
        print(f"{subject.name}: halves agree in {halves([tables[-1]], given.rounds):.3f} of {given.rounds} divisions")
    if len(tables) == 2:
        print(f"their difference: halves agree in {halves(tables, given.rounds):.3f} of {given.rounds} divisions")


if __name__ == "__main__":
    main()
