"""How often do 95 % intervals hold the truth? Simulated detectors whose true mAP is known from 200,000 pictures.

Samples of 50 to 1,000 pictures are drawn again and again; of each, the intervals are made by several ways of resampling
and reading the resamples, for one mAP and for the difference of two detectors on the same pictures. Also: intervals of
single classes by their number of boxes, pictures that come in groups, how often a true difference is seen, and whether
the number of further pictures that `tuneup compare` names would settle it.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from coverage_methods import METHODS, Bounds, Floats, Z, our_difference, ours
from numpy.typing import NDArray
from simulated import Detector, Kind, groups_of, simulate

from pipeline.evaluation.average_precision import scores
from pipeline.evaluation.intervals import class_mean, image_weights, resampled_map
from pipeline.evaluation.matching import ALL, match

WEAK, STRONG = (Detector(0.0), Detector(0.09)), (Detector(1.2), Detector(1.29))  # two checkpoints of one model each
SCENARIOS = {
    "1 class": (Kind(1), WEAK),
    "5 classes": (Kind(5), WEAK),
    "5 classes, strong": (Kind(5), STRONG),
}
REPETITIONS = {50: 1000, 100: 800, 200: 500, 1000: 400}
RESAMPLES = {50: 300, 100: 300, 200: 300, 1000: 200}
RARE = Kind(10, boxes=3.0)  # the rarest class has one box in 33 pictures
RARE_REPETITIONS = {50: 500, 100: 400, 200: 300}
BOARDS = Kind(1, group=10, alike=0.6)
BOARD_REPETITIONS = {80: 400, 200: 400, 500: 250}  # 8, 20 and 50 boards
BOXES = (1, 5, 10, 15, 20, 30, 50, 100, 200, 10**9)
POPULATION = (40_000, 5)  # pictures at once, times


@dataclass(frozen=True)
class Samples:
    """What S samples of one size gave.

    Args:
        truth: [D, K] AP by detector and class, mean over the thresholds.
        values: [S, D, K] on the samples.
        drawn: by way of resampling [S, R, D, K].
        boxes: [S, K] number of boxes.
        units: pictures or groups that were drawn, by way of resampling.
    """

    truth: Floats
    values: Floats
    drawn: dict[str, Floats]
    boxes: NDArray[np.int64]
    units: dict[str, int]


def bootstrap_weights(units: int, resamples: int, seed: int) -> NDArray[np.int32]:
    """Return weights of the usual bootstrap: pictures drawn with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(units, np.full(units, 1 / units), resamples).astype(np.int32)


def true_values(kind: Kind, detectors: tuple[Detector, ...], quick: bool) -> Floats:
    pictures, times = POPULATION
    return np.mean([values_of(kind, detectors, pictures, 10**6 + n)[1] for n in range(1 if quick else times)], axis=0)


def values_of(kind: Kind, detectors: tuple[Detector, ...], images: int, seed: int) -> tuple[list[Any], Floats, Any]:
    """Return the match tables, [D, K] AP, and the number of boxes of each class of a new sample."""
    truth, found = simulate(kind, images, detectors, seed)
    tables = [match(truth, one, ranges=(ALL,)) for one in found]
    values = np.stack([scores(table).precision[0].mean(axis=0) for table in tables])
    return tables, values, np.bincount(truth.class_id, minlength=kind.classes)


def draw(
    kind: Kind, detectors: tuple[Detector, ...], images: int, repetitions: int, resamples: int, truth: Floats
) -> Samples:
    """Take `repetitions` samples and resample each."""
    groups = groups_of(kind, images)
    units = int(groups[-1]) + 1
    ways = {"halves": units, "bootstrap": units} if units == images else {"halves": units, "pictures": images}
    values = np.zeros((repetitions, len(detectors), kind.classes))
    drawn = {way: np.zeros((repetitions, resamples, *values.shape[1:]), np.float32) for way in ways}
    boxes = np.zeros((repetitions, kind.classes), np.int64)
    for number in range(repetitions):
        tables, values[number], boxes[number] = values_of(kind, detectors, images, 10_000 * images + number)
        for way in ways:
            if way == "bootstrap":
                weights = bootstrap_weights(images, resamples, number)
            else:
                weights = image_weights(images, resamples, groups=groups if way == "halves" else None, seed=number)
            for d, table in enumerate(tables):
                drawn[way][number, :, d] = resampled_map(table, weights).mean(axis=1)
    return Samples(truth, values, drawn, boxes, ways)


# ---- intervals ------------------------------------------------------------------------------------------------------


def judge(
    samples: Samples, way: str, method: Callable[[float, Floats, int], Bounds], figure: Callable[[Floats], Floats]
) -> dict[str, float]:
    """Return the share of intervals that hold the truth, lie above it, below it, above 0, and their mean width.

    `figure` makes one number of [..., D, K].
    """
    truth, values, drawn = (figure(part) for part in (samples.truth, samples.values, samples.drawn[way]))
    drawn = drawn.astype(float)
    found = np.array(
        [method(value, row[~np.isnan(row)], samples.units[way]) for value, row in zip(values, drawn, strict=True)]
    )
    low, high = found.T
    return {
        "holds": float(((low <= truth) & (truth <= high)).mean()),
        "above": float((low > truth).mean()),
        "below": float((high < truth).mean()),
        "better": float((low > 0).mean()),
        "worse": float((high < 0).mean()),
        "width": float((high - low).mean()),
        "deviation": float(np.nanstd(drawn, axis=1, ddof=1).mean()),
    }


def one_map(part: Floats) -> Floats:
    return class_mean(part)[..., 0]


def difference(part: Floats) -> Floats:
    mean = class_mean(part)
    return np.asarray(mean[..., 1] - mean[..., 0])


# ---- tables ---------------------------------------------------------------------------------------------------------


def coverage_tables(name: str, by_size: dict[int, Samples]) -> None:
    truth = next(iter(by_size.values())).truth
    print(f"\n### {name}: true mAP {one_map(truth):.4f}, the second detector {100 * difference(truth):+.2f} points\n")
    for title, figure in (("one mAP", one_map), ("difference of two", difference)):
        print(f"| {title} | " + " | ".join(f"{n:,} pictures" for n in by_size) + " |")
        print("|---" * (len(by_size) + 1) + "|")
        for label, (way, method) in METHODS.items():
            found = [judge(samples, way, method, figure) for samples in by_size.values()]
            cells = [f"{row['holds']:.3f}" for row in found]
            print(f"| {label} | " + " | ".join(cells) + " |")
            if method is (ours if figure is one_map else our_difference):
                chosen = found
        print("| width of ours, points | " + " | ".join(f"{100 * row['width']:.1f}" for row in chosen) + " |")
        print(
            "| truth below / above ours | " + " | ".join(f"{r['above']:.3f} / {r['below']:.3f}" for r in chosen) + " |"
        )
        if figure is one_map:
            bias = [float((one_map(s.values) - one_map(truth)).mean()) for s in by_size.values()]
            print("| sets score too high by, points | " + " | ".join(f"{100 * b:.2f}" for b in bias) + " |\n")
        else:
            print("| called better | " + " | ".join(f"{row['better']:.2f}" for row in chosen) + " |\n", flush=True)


def class_table(samples: list[Samples]) -> None:
    """Print coverage of the interval of one class by its number of boxes."""
    print("\n### One class, by its number of boxes in the sample\n")
    print(
        "| boxes | samples | holds the truth | truth below | truth above | width, points | scores too high by, points |"
    )
    print("|---|---|---|---|---|---|---|")
    for least, beyond in itertools.pairwise(BOXES):
        rows = []
        for sample in samples:
            for s, k in np.argwhere((sample.boxes >= least) & (sample.boxes < beyond)):
                drawn = sample.drawn["halves"][s, :, 0, k].astype(float)
                low, high = ours(sample.values[s, 0, k], drawn, sample.units["halves"])
                rows.append((low, high, sample.truth[0, k], sample.values[s, 0, k]))
        if not rows:
            continue
        low, high, truth, value = np.array(rows).T
        there = ~np.isnan(low)  # no interval: the class was in too few halves
        held = (low <= truth) & (truth <= high)
        label = f"{least} and more" if beyond > 10**6 else f"{least} to {beyond - 1}"
        print(
            f"| {label} | {len(low):,} | {held[there].mean():.3f} | {(low > truth)[there].mean():.3f} "
            f"| {(high < truth)[there].mean():.3f} | {100 * (high - low)[there].mean():.0f} "
            f"| {100 * (value - truth).mean():+.1f} |",
            flush=True,
        )


def rare_table(quick: bool) -> list[Samples]:
    """Print coverage of the mAP of ten classes of which some have hardly any box; returns the samples."""
    truth = true_values(RARE, WEAK, quick)
    print("\n### Ten classes, the rare ones with hardly any box\n")
    print("| pictures | boxes of the rarest class, mean | one mAP | sets score too high by, points | difference |")
    print("|---|---|---|---|---|")
    found = []
    for images, repetitions in RARE_REPETITIONS.items():
        samples = draw(RARE, WEAK, images, repetitions // (8 if quick else 1), 200, truth)
        one, two = (judge(samples, "halves", *pair) for pair in ((ours, one_map), (our_difference, difference)))
        bias = 100 * float((one_map(samples.values) - one_map(truth)).mean())
        rarest = samples.boxes[:, -1].mean()
        print(f"| {images} | {rarest:.1f} | {one['holds']:.3f} | {bias:.1f} | {two['holds']:.3f} |", flush=True)
        found.append(samples)
    return found


def board_table(quick: bool) -> None:
    """Print coverage for pictures that come in groups, drawn as groups and, wrongly, one by one."""
    truth = true_values(BOARDS, WEAK, quick)
    print("\n### Boards of 10 pictures that are alike\n")
    print("| boards | drawn | one mAP | width, points | difference |\n|---|---|---|---|---|", flush=True)
    for images, repetitions in BOARD_REPETITIONS.items():
        samples = draw(BOARDS, WEAK, images, repetitions // (8 if quick else 1), 300, truth)
        for way, label in (("pictures", "pictures (wrong)"), ("halves", "boards")):
            one, two = (judge(samples, way, *pair) for pair in ((ours, one_map), (our_difference, difference)))
            print(
                f"| {images // 10} | {label} | {one['holds']:.3f} | {100 * one['width']:.1f} | {two['holds']:.3f} |",
                flush=True,
            )


def equal_table(quick: bool) -> None:
    """Print how often two detectors that are equally good are told apart."""
    pair = (Detector(0.0), Detector(0.0))
    truth = true_values(Kind(1), pair, quick) * 0  # equal by construction
    print("\n### Two detectors that are equally good\n")
    print("| pictures | called better | called worse |\n|---|---|---|")
    for images, repetitions in {50: 1000, 200: 500}.items():
        samples = draw(Kind(1), pair, images, repetitions // (8 if quick else 1), 300, truth)
        row = judge(samples, "halves", our_difference, difference)
        print(f"| {images} | {row['better']:.3f} | {row['worse']:.3f} |", flush=True)


def further_table(by_name: dict[str, dict[int, Samples]], quick: bool) -> None:
    """Print how often the difference is seen with as many pictures as the formula asks for."""
    print("\n### Pictures that would settle it: n (1.96 s / d)^2\n")
    print("| | from | asks for | called better there |\n|---|---|---|---|")
    for name, by_size in by_name.items():
        for images in (50, 200):
            if images in by_size:
                kind, detectors = SCENARIOS[name]
                samples = by_size[images]
                deviation = judge(samples, "halves", our_difference, difference)["deviation"]
                asked = round(images * (Z * deviation / float(difference(samples.truth))) ** 2)
                there = draw(kind, detectors, asked, 40 if quick else 300, 200, samples.truth)
                better = judge(there, "halves", our_difference, difference)["better"]
                print(f"| {name} | {images} | {asked} | {better:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the samples, 50 and 200 pictures only")
    quick = parser.parse_args().quick
    started = time.process_time()
    by_name: dict[str, dict[int, Samples]] = {}
    for name, (kind, detectors) in SCENARIOS.items():
        truth = true_values(kind, detectors, quick)
        by_name[name] = {
            images: draw(kind, detectors, images, many // (8 if quick else 1), RESAMPLES[images], truth)
            for images, many in REPETITIONS.items()
            if not quick or images in (50, 200)
        }
        coverage_tables(name, by_name[name])
    rare = rare_table(quick)
    class_table([*rare, *(samples for by_size in by_name.values() for samples in by_size.values())])
    equal_table(quick)
    board_table(quick)
    further_table(by_name, quick)
    print(f"\n{time.process_time() - started:.0f} s of CPU")


if __name__ == "__main__":
    main()
