"""Error types: agreement of their costs with tidecv, and the time they take.

tidecv is no dependency of the project; install it beside (`pip install tidecv` in an environment of its own that also
sees this project, or in this one). Without it only the times are printed, and the program says so.

    python benchmarks/error_types.py [--sets 20] [--no-large]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.evaluation.average_precision import RECALLS
from pipeline.evaluation.error_costs import error_costs
from pipeline.evaluation.error_types import SPECIAL, TIDE_NAMES, TYPES, classify
from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.label_errors import suspects
from pipeline.evaluation.matching import match
from pipeline.evaluation.tables import Detections, Truth
from pipeline.runs import DETECTIONS_SCHEMA

WIDTH, HEIGHT = 640, 480
SPECIAL_NAMES = dict(zip(SPECIAL, ("FalsePos", "FalseNeg"), strict=True))
CORNERS = ("x1", "y1", "x2", "y2")


def random_set(
    seed: int, pictures: int = 40, classes: int = 4, boxes: float = 6.0, detections: float = 15.0
) -> tuple[Dataset, pl.DataFrame]:
    """Return ground truth and detections with confusions, shifts, duplicates, misses and background, no equal scores.

    The shares of each fault are drawn anew for each seed. `boxes` and `detections` are means per picture.
    """
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(pictures), rng.poisson(boxes, pictures))
    image = np.concatenate([image, rng.integers(0, pictures, classes)])  # every class has a box
    class_id = np.concatenate([rng.integers(0, classes, len(image) - classes), np.arange(classes)])
    corners = random_boxes(rng, len(image))
    found, shifted, confused, doubled = rng.uniform([0.6, 0.1, 0.05, 0.1], [0.95, 0.4, 0.3, 0.4])
    parts = []
    for share in (found, doubled * found):
        of = np.flatnonzero(rng.random(len(image)) < share)
        much = np.where(rng.random(len(of)) < shifted, 0.25, 0.04)[:, None]
        size = np.tile(corners[of, 2:] - corners[of, :2], 2)
        moved = corners[of] + rng.normal(0, 1, (len(of), 4)) * much * size
        other = (class_id[of] + rng.integers(1, max(classes, 2), len(of))) % classes
        named = np.where(rng.random(len(of)) < confused, other, class_id[of])
        parts.append((image[of], named, rng.beta(5, 2, len(of)), moved))
    clutter = max(0, round(pictures * detections) - sum(len(part[0]) for part in parts))
    own = (rng.integers(0, pictures, clutter), rng.integers(0, classes, clutter), rng.beta(1, 4, clutter))
    parts.append((*own, random_boxes(rng, clutter)))
    at, named, score, where = (np.concatenate(column) for column in zip(*parts, strict=True))
    where[:, 2:] = np.maximum(where[:, 2:], where[:, :2] + 1)
    frame = pl.DataFrame({"image_id": at + 1, "class_id": named, "score": score} | columns(where))
    dataset = dataset_of(pictures, classes, image + 1, class_id, corners)
    return dataset, frame.cast(DETECTIONS_SCHEMA)  # type: ignore[arg-type]


def random_boxes(rng: np.random.Generator, count: int) -> Any:
    """Return [count, 4] corners of boxes of 8 to 150 pixels a side."""
    size = rng.uniform(8, 150, (count, 2))
    first = rng.uniform(0, 1, (count, 2)) * (np.array([WIDTH, HEIGHT]) - size)
    return np.concatenate([first, first + size], axis=1)


def columns(corners: Any) -> dict[str, Any]:
    return dict(zip(CORNERS, corners.T, strict=True))


def dataset_of(pictures: int, classes: int, image_id: Any, class_id: Any, corners: Any) -> Dataset:
    images = [{"image_id": i + 1, "path": f"{i + 1}.png", "width": WIDTH, "height": HEIGHT} for i in range(pictures)]
    rows = pl.DataFrame({"image_id": image_id, "class_id": class_id} | columns(corners)).to_dicts()
    return dataset_from_rows([f"class {k}" for k in range(classes)], images, rows, Path("nowhere"))


def surest_100(frame: pl.DataFrame) -> pl.DataFrame:
    """Return what tidecv looks at: the 100 surest detections of each picture over all classes."""
    return frame.filter(pl.col("score").rank("ordinal", descending=True).over("image_id") <= 100)


def tide_costs(dataset: Dataset, frame: pl.DataFrame, *, coco_levels: bool) -> dict[str, float]:
    """Return the costs that tidecv finds, in points of 100; needs tidecv.

    Its 101 recall levels are i / 100; COCO's are `np.linspace(0, 1, 101)`, where ten of them (0.35, 0.57, 0.7, ...) are
    one last digit higher: a recall of exactly 7/10 reaches the one and not the other. `coco_levels` gives it COCO's.
    """
    import tidecv.ap  # type: ignore[import-not-found]
    from tidecv import TIDE, Data

    levels = RECALLS if coco_levels else np.arange(101) / 100
    # All that its integration takes from NumPy; the second argument of the search is the levels.
    tidecv.ap.np = SimpleNamespace(
        array=np.array,
        searchsorted=lambda recalls, _, side: np.searchsorted(recalls, levels, side=side),
    )
    truth, found = Data("truth"), Data("found")
    for row in dataset.images.iter_rows(named=True):
        truth.add_image(row["image_id"], row["path"])
    for row in dataset.boxes.iter_rows(named=True):
        if row["crowd"]:
            truth.add_ignore_region(row["image_id"], row["class_id"], box_of(row))
        else:
            truth.add_ground_truth(row["image_id"], row["class_id"], box_of(row))
    for row in frame.iter_rows(named=True):
        found.add_detection(row["image_id"], row["class_id"], row["score"], box_of(row))
    tide = TIDE()
    tide.evaluate(truth, found, mode=TIDE.BOX)
    costs = tide.get_all_errors()
    main, special = costs["main"]["found"], costs["special"]["found"]
    return {name: float(value) for name, value in (main | special).items()}


def box_of(row: dict[str, Any]) -> list[float]:
    return [row["x1"], row["y1"], row["x2"] - row["x1"], row["y2"] - row["y1"]]


def our_costs(dataset: Dataset, frame: pl.DataFrame) -> dict[str, float]:
    """Return the same figures of ours."""
    truth = Truth.of(dataset)
    errors = classify(match(truth, Detections.of(truth, frame)))
    costs = error_costs(errors, image_weights(len(truth.image_ids), 2))
    return {TIDE_NAMES.get(c.type) or SPECIAL_NAMES[c.type]: 100 * c.cost.value for c in costs}


def agreement(sets: int) -> None:
    names = [*(TIDE_NAMES[kind] for kind in TYPES), *SPECIAL_NAMES.values()]
    print(
        "Costs that tidecv finds, in points, and the largest difference of ours: with COCO's recall levels, as it is\n"
    )
    print("| set | " + " | ".join(names) + " | same levels | as it is |")
    print("|---" * (len(names) + 3) + "|")
    worst = np.zeros(2)
    for seed in range(sets):
        dataset, frame = random_set(seed, classes=2 + seed % 5, detections=10 + 5 * (seed % 4))
        frame = surest_100(frame)
        ours = our_costs(dataset, frame)
        theirs, as_it_is = (tide_costs(dataset, frame, coco_levels=levels) for levels in (True, False))
        differences = [max(abs(found[name] - ours[name]) for name in names) for found in (theirs, as_it_is)]
        worst = np.maximum(worst, differences)
        cells = [f"{theirs[name]:.2f}" for name in names] + [f"{d:.1e}" for d in differences]
        print(f"| {seed} | " + " | ".join(cells) + " |")
    print(f"\nlargest difference of all: {worst[0]:.1e} points, as it is {worst[1]:.2f} points\n")


def crowds(sets: int) -> None:
    """Print how far crowds, for which the rules differ, take the costs apart."""
    worst = 0.0
    for seed in range(sets):
        dataset, frame = random_set(seed)
        crowd = pl.Series(np.random.default_rng(seed).random(dataset.boxes.height) < 0.1)
        dataset = Dataset(dataset.names, dataset.images, dataset.boxes.with_columns(crowd=crowd), dataset.root)
        theirs, ours = tide_costs(dataset, frame, coco_levels=True), our_costs(dataset, frame)
        worst = max(worst, *(abs(theirs[name] - ours[name]) for name in ours))
    print(f"with 10 % of the boxes crowds, for which the rules differ: up to {worst:.2f} points apart\n")


# ---- labels broken on purpose ---------------------------------------------------------------------------------------

KINDS = ("missing", "class", "place", "extra")


def broken_set(seed: int, pictures: int = 200, classes: int = 4) -> tuple[Dataset, pl.DataFrame, Any, Any]:
    """Return labels of which 5 % each are dropped, renamed, shifted and made up, and a good detector's detections.

    The detector sees the true objects: it finds 96 %, places them with 3 % noise, calls 2 % by a wrong name, and has
    ten unsure detections of nothing per picture. A shifted label lies 0.2 to 0.45 of its sides off, in both directions.

    Returns:
        the dataset, the detections, the fault of every label ("" for none), and [d, 5] image_id and corners of what was
        dropped.
    """
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(pictures), rng.poisson(5, pictures)) + 1
    count = len(image)
    class_id, corners = rng.integers(0, classes, count), random_boxes(rng, count)
    seen = np.flatnonzero(rng.random(count) < 0.96)
    size = np.tile(corners[:, 2:] - corners[:, :2], 2)
    score, named = rng.beta(8, 2, len(seen)), class_id[seen]
    confused = rng.random(len(seen)) < 0.02
    named, score = np.where(confused, (named + 1) % classes, named), np.where(confused, 0.6, 1.0) * score
    clutter = 10 * pictures
    frame = pl.DataFrame(
        {
            "image_id": np.concatenate([image[seen], rng.integers(1, pictures + 1, clutter)]),
            "class_id": np.concatenate([named, rng.integers(0, classes, clutter)]),
            "score": np.concatenate([score, rng.beta(1, 8, clutter)]),
        }
        | columns(
            np.concatenate(
                [corners[seen] + rng.normal(0, 0.03, (len(seen), 4)) * size[seen], random_boxes(rng, clutter)]
            )
        )
    )
    fault = rng.choice(["", "missing", "class", "place"], count, p=[0.85, 0.05, 0.05, 0.05])
    shift = np.tile(rng.choice([-1, 1], (count, 2)) * rng.uniform(0.2, 0.45, (count, 2)), 2) * size
    labelled = np.where((fault == "place")[:, None], corners + shift, corners)
    renamed = np.where(fault == "class", (class_id + rng.integers(1, classes, count)) % classes, class_id)
    keep, extra = fault != "missing", count // 20
    dataset = dataset_of(
        pictures,
        classes,
        np.concatenate([image[keep], rng.integers(1, pictures + 1, extra)]),
        np.concatenate([renamed[keep], rng.integers(0, classes, extra)]),
        np.concatenate([labelled[keep], random_boxes(rng, extra)]),
    )
    faults = np.concatenate([fault[keep], np.full(extra, "extra")])
    return dataset, frame.cast(DETECTIONS_SCHEMA), faults, np.column_stack([image, corners])[~keep]  # type: ignore[arg-type]


def judged(seed: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return kind and `right` of every suspect, the most suspicious first, and the number of faults of each kind."""
    dataset, frame, faults, dropped = broken_set(seed)
    truth = Truth.of(dataset)
    found = suspects(dataset, classify(match(truth, Detections.of(truth, frame))))
    right = []
    for row in found.iter_rows(named=True):
        if row["kind"] == "missing":
            own = np.array([row[name] for name in CORNERS])
            near = dropped[dropped[:, 0] == row["image_id"], 1:]
            sides = np.maximum(np.minimum(near[:, 2:], own[2:]) - np.maximum(near[:, :2], own[:2]), 0)
            whole = (near[:, 2:] - near[:, :2]).prod(axis=1) + (own[2:] - own[:2]).prod()
            right.append(bool((2 * sides.prod(axis=1) > whole - sides.prod(axis=1)).any()))  # IoU above 0.5
        else:
            right.append(bool(faults[row["label"]] == row["kind"]))
    counts = {kind: int((faults == kind).sum()) for kind in KINDS} | {"missing": len(dropped)}
    return found.select("kind").with_columns(pl.Series("right", right, pl.Boolean)), counts


def broken_labels(seeds: int) -> None:
    print(f"Suspected label errors on labels broken on purpose, mean of {seeds} sets: share that is right\n")
    print("| kind | faults | among as many suspects as faults | faults found in all suspects |\n|---|---|---|---|")
    results = [judged(seed) for seed in range(seeds)]
    for kind in (*KINDS, "all"):
        figures = []
        for found, counts in results:
            rows = found if kind == "all" else found.filter(pl.col("kind") == kind)
            faults = sum(counts.values()) if kind == "all" else counts[kind]
            figures.append((faults, rows["right"].head(faults).mean(), rows["right"].sum() / faults))
        faults, first, every = np.mean(figures, axis=0)
        print(f"| {kind} | {faults:.0f} | {first:.2f} | {every:.2f} |")
    halves = [found["right"].head(sum(counts.values()) // 2).mean() for found, counts in results]
    print(f"\namong half as many suspects as faults: {np.mean(halves):.2f}\n")


def timing(label: str, pictures: int, classes: int, boxes: int, detections: int, resamples: int) -> None:
    dataset, frame = random_set(0, pictures, classes, boxes / pictures, detections / pictures)
    truth = Truth.of(dataset)
    found = Detections.of(truth, frame)
    marks = [time.perf_counter()]
    table = match(truth, found)
    marks.append(time.perf_counter())
    errors = classify(table)
    marks.append(time.perf_counter())
    errors.to_frame()
    marks.append(time.perf_counter())
    error_costs(errors, image_weights(pictures, resamples))
    marks.append(time.perf_counter())
    suspects(dataset, errors)
    marks.append(time.perf_counter())
    spent = np.diff(marks)
    print(f"| {label}, {resamples} resamples | " + " | ".join(f"{s:.2f}" for s in spent) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=20, help="random sets to compare with tidecv")
    parser.add_argument("--no-large", action="store_true", help="leave out 5,000 pictures with 500,000 detections")
    options = parser.parse_args()
    try:
        import tidecv  # noqa: F401
    except ImportError:
        print("tidecv is not installed: no comparison; install it beside (pip install tidecv) and run again\n")
    else:
        agreement(options.sets)
        crowds(options.sets)
    broken_labels(10)
    print("Seconds:\n\n| set | match | classify | to_frame | error_costs | suspects |\n|---|---|---|---|---|---|")
    timing("200 pictures / 1,500 boxes / 5 classes / 20,000 detections", 200, 5, 1500, 20_000, 1000)
    if not options.no_large:
        timing("5,000 / 36,000 / 80 / 500,000", 5000, 80, 36_000, 500_000, 100)


if __name__ == "__main__":
    main()
