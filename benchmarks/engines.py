"""COCO's 12 numbers by several engines on the same data: time, memory, agreement, growth.

Every measurement runs in a process of its own, and the engines take turns, so that a change of the machine's speed hits
all of them alike. Engines that are not installed are named and left out; none of them is a dependency of the project:

    pip install pycocotools faster-coco-eval hotcoco ultrafast-pycocotools
    python benchmarks/engines.py [--sets b a] [--rounds 5] [--growth] [--resamples]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SETS = {"a": (5000, 36000, 80, 500_000), "b": (200, 1500, 5, 20_000)}  # images, boxes, classes, detections
NOISE = {"a": 0.033, "b": 0.03}  # where detections lie; set so that AP is .31 and .35, as of a usable detector
GROWTH = (10_000, 50_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000)
OTHERS_UP_TO = 500_000  # detections; beyond it they need gigabytes or minutes
ROUNDS_OF_SLOW = 3
WIDTH, HEIGHT = 640, 480
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
ENGINES = {
    "pycocotools": "pycocotools",
    "faster-coco-eval": "faster_coco_eval",
    "hotcoco": "hotcoco",
    "ultrafast-pycocotools": "ultrafast_pycocotools",
    "ours": "pipeline",
}


# ---- data -----------------------------------------------------------------------------------------------------------


def make_set(
    shape: tuple[int, int, int, int], noise: float, seed: int = 0
) -> tuple[list[Any], list[Any], Iterator[Any]]:
    """Return COCO's lists of images and annotations, and one detection after the other.

    Six of ten detections lie near an object, the surer the nearer, one in ten of them with a wrong class; the others
    lie anywhere and have low scores.
    """
    images, boxes, classes, detections = shape
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, images, boxes))
    class_id = rng.integers(0, classes, boxes)
    xywh = _boxes(boxes, rng)
    crowd = rng.random(boxes) < 0.01
    area = xywh[:, 2] * xywh[:, 3] * rng.uniform(0.4, 1.0, boxes)  # of the outline, as COCO's
    near = rng.permutation(np.arange(round(0.6 * detections)) % boxes)
    turn = np.arange(len(near)) // boxes  # the later ones of a box lie farther off
    scale = noise * (0.5 + rng.exponential(1.0, len(near))) * (1 + turn)
    placed = xywh[near] + rng.normal(size=(len(near), 4)) * scale[:, None] * xywh[near][:, [2, 3, 2, 3]]
    placed[:, 2:] = np.maximum(placed[:, 2:], 2.0)
    named = np.where(rng.random(len(near)) < 0.1, rng.integers(0, classes, len(near)), class_id[near])
    sure = 1.5 - 6 * scale + rng.normal(0, 1.2, len(near))
    anywhere = detections - len(near)
    where = np.concatenate([image[near], rng.integers(0, images, anywhere)])
    what = np.concatenate([named, rng.integers(0, classes, anywhere)])
    score = 1 / (1 + np.exp(-np.concatenate([sure, rng.normal(-3.0, 1.0, anywhere)])))
    found = np.concatenate([placed, _boxes(anywhere, rng)]).round(2)
    order = np.argsort(where, kind="stable")
    pictures = [{"id": i + 1, "width": WIDTH, "height": HEIGHT, "file_name": f"{i + 1}.jpg"} for i in range(images)]
    annotations = [
        {
            "id": n + 1,
            "image_id": int(image[n]) + 1,
            "category_id": int(class_id[n]) + 1,
            "bbox": xywh[n].tolist(),
            "area": float(area[n]),
            "iscrowd": int(crowd[n]),
        }
        for n in range(boxes)
    ]
    results = (
        {
            "image_id": int(where[n]) + 1,
            "category_id": int(what[n]) + 1,
            "bbox": found[n].tolist(),
            "score": float(score[n]),
        }
        for n in order
    )
    return pictures, annotations, results


def _boxes(count: int, rng: np.random.Generator) -> Floats:
    """Return [count, 4] x, y, width, height of all three of COCO's sizes."""
    size = np.exp(rng.normal(4.0, 0.8, (count, 2))).clip(4, 400)
    first = rng.random((count, 2)) * (np.array([WIDTH, HEIGHT]) - size).clip(1)
    return np.concatenate([first, size], axis=1).round(2)


def write_set(folder: Path, shape: tuple[int, int, int, int], noise: float) -> None:
    """Write gt.json and dt.json."""
    images, annotations, results = make_set(shape, noise)
    categories = [{"id": k + 1, "name": f"class {k + 1}"} for k in range(shape[2])]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "gt.json").write_text(json.dumps(truth), "utf-8")
    with (folder / "dt.json").open("w", encoding="utf-8") as file:
        for number, result in enumerate(results):
            file.write(("[" if number == 0 else ",") + json.dumps(result))
        file.write("]")


# ---- one measurement, in a process of its own -----------------------------------------------------------------------


def measure(engine: str, folder: Path) -> dict[str, Any]:
    """Load the files, evaluate once; returns seconds, memory and the 12 numbers."""
    load, evaluate = _ours() if engine == "ours" else _like_pycocotools(ENGINES[engine])
    started = time.perf_counter()
    loaded = load(folder)
    load_seconds = time.perf_counter() - started
    before = _reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    numbers = evaluate(*loaded)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"load": load_seconds, "wall": wall, "cpu": cpu, "megabytes": _peak() - before, "numbers": numbers}


def _like_pycocotools(module: str) -> tuple[Callable[..., Any], Callable[..., list[float]]]:
    package = importlib.import_module(module)
    coco, evaluator = getattr(package, "COCO", None), getattr(package, "COCOeval", None)
    evaluator = getattr(package, "COCOeval_faster", evaluator)
    if module == "pycocotools":
        coco = importlib.import_module("pycocotools.coco").COCO
        evaluator = importlib.import_module("pycocotools.cocoeval").COCOeval
    assert coco is not None
    assert evaluator is not None

    def load(folder: Path) -> tuple[Any, Any]:
        with contextlib.redirect_stdout(io.StringIO()):
            truth = coco(str(folder / "gt.json"))
            return truth, truth.loadRes(str(folder / "dt.json"))

    def evaluate(truth: Any, found: Any) -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            run = evaluator(truth, found, "bbox")
            run.evaluate()
            run.accumulate()
            run.summarize()
        return [float(value) for value in run.stats[:12]]

    return load, evaluate


def _ours() -> tuple[Callable[..., Any], Callable[..., list[float]]]:
    from pipeline.evaluation import average_precision, coco_files, matching

    def load(folder: Path) -> tuple[Any, Any]:
        truth = coco_files.read_ground_truth(folder / "gt.json")
        return truth.truth, coco_files.read_detections(folder / "dt.json", truth).detections

    def evaluate(truth: Any, found: Any) -> list[float]:
        scores = average_precision.scores(matching.match(truth, found))
        mean = average_precision.mean
        precision = [scores.precision[0], scores.precision[0, 0], scores.precision[0, 5], *scores.precision[1:]]
        recall = [*scores.recall_at, *scores.recall]
        return [-1.0 if mean(part) is None else float(mean(part) or 0.0) for part in (*precision, *recall)]

    return load, evaluate


def measure_resamples(folder: Path, resamples: int = 1000) -> dict[str, Any]:
    """Return seconds of `resamples` mAP and of matching, on the files."""
    from pipeline.evaluation import intervals, matching

    load, _ = _ours()
    table = matching.match(*load(folder))
    before = _reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    weights = intervals.image_weights(len(table.truth.image_ids), resamples)
    drawn = intervals.class_mean(intervals.resampled_map(table, weights)).mean(axis=1)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "megabytes": _peak() - before, "deviation": float(drawn.std(ddof=1))}


def _reset_peak() -> float:
    """Forget the largest memory so far; returns the present one in MB. Linux only, nan elsewhere."""
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    except OSError:
        return float("nan")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM") if Path("/proc/self/status").exists() else float("nan")


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":"))


# ---- the comparison -------------------------------------------------------------------------------------------------


def in_a_process(what: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    return dict(json.loads(done.stdout.splitlines()[-1]))


def installed() -> list[str]:
    for name, module in ENGINES.items():
        if importlib.util.find_spec(module) is None:
            print(f"{name} is not installed and left out")
    return [name for name, module in ENGINES.items() if importlib.util.find_spec(module) is not None]


def compare(name: str, folder: Path, rounds: int) -> None:
    """Print a table of all engines on one set."""
    write_set(folder, SETS[name], NOISE[name])
    found: dict[str, list[dict[str, Any]]] = {engine: [] for engine in installed()}
    for turn in range(rounds):
        for engine, results in found.items():
            if turn < ROUNDS_OF_SLOW or results[0]["wall"] < 20:
                results.append(in_a_process(engine, folder))
    images, boxes, classes, detections = SETS[name]
    print(f"\n({name}) {images:,} images, {boxes:,} boxes, {classes} classes, {detections:,} detections\n")
    print("| engine | AP / AP50 / AP75 | APs / APm / APl | s | s of CPU | MB | with reading the files, s |")
    print("|---|---|---|---|---|---|---|")
    for engine, results in found.items():
        n = results[0]["numbers"]
        wall, cpu, memory = (_median(results, key) for key in ("wall", "cpu", "megabytes"))
        total = statistics.median(row["wall"] + row["load"] for row in results)
        values = f"{' / '.join(f'{v:.6f}' for v in n[:3])} | {' / '.join(f'{v:.6f}' for v in n[3:6])}"
        print(f"| {engine} | {values} | {wall:.3f} | {cpu:.3f} | {memory:.0f} | {total:.2f} |")
    ours = found["ours"]
    for engine, results in found.items():
        if engine != "ours":
            pairs = list(zip(results, ours, strict=False))
            wall, cpu = (statistics.median(other[key] / own[key] for other, own in pairs) for key in ("wall", "cpu"))
            apart = max(abs(x - y) for x, y in zip(results[0]["numbers"], ours[0]["numbers"], strict=True))
            print(f"{engine}: {wall:.2f} times our time, {cpu:.2f} times our CPU time; numbers differ by {apart:.1e}")


def _median(results: list[dict[str, Any]], key: str) -> float:
    return statistics.median(row[key] for row in results)


def growth(folder: Path, rounds: int) -> None:
    """Print time and memory over the number of detections, on pictures like those of set (a)."""
    engines = installed()
    print("\n| detections | " + " | ".join(f"{engine}, s of CPU (MB)" for engine in engines) + " |")
    print("|---" * (len(engines) + 1) + "|")
    for count in GROWTH:
        images = count // 100
        write_set(folder, (images, round(7.2 * images), 80, count), NOISE["a"])
        cells = []
        for engine in engines:
            if engine != "ours" and count > OTHERS_UP_TO:
                cells.append("")
                continue
            slow = engine == "pycocotools"
            results = [in_a_process(engine, folder) for _ in range(1 if slow else rounds)]
            cells.append(f"{_median(results, 'cpu'):.2f} ({_median(results, 'megabytes'):.0f})")
        print(f"| {count:,} | " + " | ".join(cells) + " |", flush=True)


def resamples(name: str, folder: Path, rounds: int) -> None:
    write_set(folder, SETS[name], NOISE[name])
    results = [in_a_process("resamples", folder) for _ in range(rounds)]
    wall, cpu, memory = (_median(results, key) for key in ("wall", "cpu", "megabytes"))
    print(f"({name}) 1,000 resamples of mAP: {wall:.2f} s ({cpu:.2f} s of CPU), {memory:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=["b", "a"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", action="store_true", help="also time and memory over the number of detections")
    parser.add_argument("--resamples", action="store_true", help="also the time of 1,000 resamples")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        one = measure_resamples(options.folder) if options.measure == "resamples" else None
        print(json.dumps(one or measure(options.measure, options.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sets:
            compare(name, Path(folder), options.rounds)
            if options.resamples:
                resamples(name, Path(folder), options.rounds)
        if options.growth:
            growth(Path(folder), min(options.rounds, 3))


if __name__ == "__main__":
    main()
