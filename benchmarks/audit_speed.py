"""How long do the label checks of the audit take, and how does that grow with the number of boxes?

Tables are generated (10 boxes per picture, 20 classes of uneven frequency, lognormal sizes, three splits, groups of 20
pictures), so that no file is read. `audit(dataset, pictures=False)` is timed, the fastest of some rounds in a process
of its own for every size. Half a per cent of the boxes is planted a second time, nearly in the same place, and has to
be found. The bars: 3 s for a million boxes, and growth from 10,000 to 1,000,000 boxes at most linear.

    OMP_NUM_THREADS=1 python benchmarks/audit_speed.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.data.audit import audit
from pipeline.data.dataset import BOXES_SCHEMA, IMAGES_SCHEMA, Dataset

SIZES = (10_000, 100_000, 1_000_000)
BAR = 3.0  # seconds
EACH = 10  # boxes per picture
TWICE = 200  # one box in so many is planted a second time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--boxes", type=int, help="time this size alone and print JSON")
    asked = parser.parse_args()
    if asked.boxes:
        print(json.dumps(measure(asked.boxes, asked.rounds)))
        return
    results = {size: in_a_process(size, asked.rounds) for size in SIZES}
    print("| boxes | pictures | wall s | process s | wall s per million | memory MB | slowest parts |")
    print("|---|---|---|---|---|---|---|")
    for size, result in results.items():
        slowest = ", ".join(f"{name} {seconds:.2f}" for name, seconds in result["slowest"])
        print(
            f"| {size:,} | {size // EACH:,} | {result['seconds']:.2f} | {result['process']:.2f} | "
            f"{result['seconds'] * 1e6 / size:.2f} | {result['memory']:.0f} | {slowest} |"
        )
    fewest, most = min(SIZES), max(SIZES)
    largest = results[most]["seconds"]
    linear = largest / most <= results[fewest]["seconds"] / fewest
    print(
        f"\na million boxes: {largest:.2f} s, the bar is {BAR:g} s; growth at most linear: {'yes' if linear else 'no'}"
    )
    sys.exit(0 if largest <= BAR and linear else 1)


def in_a_process(size: int, rounds: int) -> dict:
    """Measure in a new process, so that memory is that of one size alone."""
    command = [sys.executable, str(Path(__file__)), "--boxes", str(size), "--rounds", str(rounds)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(size: int, rounds: int) -> dict:
    """Return seconds of the fastest round, the slowest parts of it, and the peak memory in MB."""
    dataset = generated(size)
    best, process, parts = float("inf"), 0.0, {}
    for _ in range(rounds + 1):  # the first one warms up
        began, used = time.perf_counter(), time.process_time()
        result = audit(dataset, pictures=False)
        seconds = time.perf_counter() - began
        if seconds < best:
            best, process, parts = seconds, time.process_time() - used, result.figures["seconds"]
    found = {finding.id: finding.evidence["count"] for finding in result.findings if "count" in finding.evidence}
    if found.get("labels.near_duplicate", 0) < size // EACH // TWICE:
        sys.exit(f"the planted pairs were not found: {found}")
    if any(finding.id == "audit.check_failed" for finding in result.findings):
        sys.exit("a check failed")
    slowest = sorted(parts.items(), key=lambda item: -item[1])[:4]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": best, "process": process, "slowest": slowest, "memory": memory}


def generated(size: int) -> Dataset:
    """Return tables with so many boxes, planted ones included."""
    rng = np.random.default_rng(0)
    pictures = size // EACH
    width, height = 1920, 1080
    split = rng.choice(["train", "val", "test"], pictures, p=[0.8, 0.1, 0.1])
    images = pl.DataFrame(
        {
            "image_id": np.arange(1, pictures + 1),
            "path": [f"images/{i // 1000:04d}/{i:07d}.jpg" for i in range(pictures)],
            "width": np.full(pictures, width),
            "height": np.full(pictures, height),
            "split": split,
            "group": [f"board{i // 20:05d}" for i in range(pictures)],
        },
        schema=IMAGES_SCHEMA,
    )
    planted = size // TWICE
    drawn = size - planted
    weights = 1 / np.arange(1, 21)
    sides = np.exp(rng.normal(np.log(60), 0.6, (drawn, 2))).clip(1, 700)
    corner = rng.random((drawn, 2)) * (np.array([width, height]) - sides)
    xyxy = np.concatenate([corner, corner + sides], axis=1)
    image = np.sort(rng.integers(1, pictures + 1, drawn))
    kind = rng.choice(20, drawn, p=weights / weights.sum())
    again = rng.choice(drawn, planted, replace=False)
    xyxy = np.concatenate([xyxy, xyxy[again] + 0.01 * np.minimum(sides[again], 10).min(axis=1, keepdims=True)])
    image, kind = np.concatenate([image, image[again]]), np.concatenate([kind, kind[again]])
    boxes = pl.DataFrame(
        {
            "image_id": image,
            "class_id": kind,
            **{name: xyxy[:, place] for place, name in enumerate(("x1", "y1", "x2", "y2"))},
            "crowd": np.zeros(size, bool),
            "difficult": np.zeros(size, bool),
            "source": [f"labels/{i // 1000:04d}/{i:07d}.txt:{n % EACH + 1}" for n, i in enumerate(image)],
        },
        schema=BOXES_SCHEMA,
    )
    return Dataset(tuple(f"class {number}" for number in range(20)), images, boxes, Path("generated"))


if __name__ == "__main__":
    main()
