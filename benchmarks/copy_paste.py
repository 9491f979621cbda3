"""Does copy-paste help a class of which there are only five objects?

For each seed a steel set is drawn: pictures with pits are taken out of its train split at random until five pits are
left, val and test stay whole. YOLO26n is trained twice from random weights on the same pictures for the same number of
steps (configs/demo.yaml): as it is, and with pits pasted to 15 % of the boxes. What is compared on test is the recall
of each class at IoU 0.50 and at the thresholds that were chosen on val by the best F1 (`operating_point.check` of
metrics.json), and AP50, which needs no threshold. Set, five pits and initial weights are new for each seed, so the
interval over seeds (Student's t, paired) covers all three.

    OMP_NUM_THREADS=1 python benchmarks/copy_paste.py [--seeds 5] [--epochs 30] [--keep FOLDER]
    OMP_NUM_THREADS=1 python benchmarks/copy_paste.py --speed [--data FOLDER]      # milliseconds per picture, instead

With --keep, runs that are complete are not trained again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small gain nothing from a second thread

import cv2
import numpy as np
import polars as pl
import yaml

import pipeline
from pipeline.ablation_statistics import paired
from pipeline.augment.copy_paste import Paster
from pipeline.augment.object_bank import training_pictures
from pipeline.data.dataset import Dataset
from pipeline.data.intake import read_dataset
from pipeline.data.synthetic import make_demo
from pipeline.policy import CopyPaste
from pipeline.runs import Run

RARE, LEFT = "pit", 5  # of all classes, most pits can be cut out: neither the border nor another defect touches them
QUOTA = 0.15
COUNTS = {"train": 400, "val": 100, "test": 400}  # about 240 train pictures are left; 260 pits in test
ARMS: dict[str, dict[str, Any]] = {"without": {}, "with": {"copy_paste": {"quotas": {RARE: QUOTA}}}}
DEMO = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
QUICK = {"monitor": {"preflight": 0}, "report": {"samples": 0, "every": 1000}}


def thinned_set(folder: Path, seed: int) -> Path:
    """Draw a set, and delete train pictures with pits, in an order drawn from the seed, until five pits are left."""
    if (folder / "thinned").is_file():
        return folder / "data.yaml"
    shutil.rmtree(folder, ignore_errors=True)
    path = make_demo("steel", folder, seed=seed, counts=COUNTS)
    train = read_dataset(path).dataset.split("train")
    pits = train.boxes.filter(pl.col("class_id") == train.names.index(RARE)).group_by("image_id").len().sort("image_id")
    kept: list[int] = []
    for image_id, count in pits.sample(fraction=1, shuffle=True, seed=seed).iter_rows():
        if sum(dict(pits.iter_rows())[other] for other in kept) + count <= LEFT:
            kept.append(image_id)
    gone = set(pits["image_id"]) - set(kept)
    for image_id, name in train.images.select("image_id", "path").iter_rows():
        if image_id in gone:
            picture = train.picture_path(name)
            picture.unlink()
            (folder / "labels" / "train" / picture.name).with_suffix(".txt").unlink()
    (folder / "thinned").touch()
    return path


def trained(folder: Path, data: Path, arm: str, seed: int, epochs: int) -> Run:
    """Return the run of one arm; it is trained unless it is complete."""
    name = f"{arm}-{epochs}-{seed}"
    path = folder / "runs" / name
    if path.is_dir():
        run = Run.open(path)
        if run.state.get("state") == "complete" and "test" in run.evaluations():
            return run
        shutil.rmtree(path)
    values = yaml.safe_load(DEMO.read_text("utf-8"))
    started = time.perf_counter()
    run = pipeline.train(
        {
            **values,
            **QUICK,
            "data": str(data),
            "runs": str(folder / "runs"),
            "name": name,
            "train": {**values["train"], "epochs": epochs, "seed": seed, "workers": 0, "device": "cpu"},
            "augment": {**values["augment"], **ARMS[arm]},
        }
    )
    print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return run


def figures(run: Run) -> dict[str, dict[str, float]]:
    """Return recall and precision at the thresholds chosen on val, and AP50, by class, on test."""
    metrics = run.evaluations()["test"]
    point = metrics["operating_point"]
    if point is None or point["check"] is None:
        sys.exit(f"{run.path}: no thresholds were chosen on val ({metrics['operating_point_note']})")
    at_point = {row["name"]: row for row in point["check"]["figures"]["per_class"]}
    return {
        row["name"]: {
            "recall": at_point[row["name"]]["recall"]["value"],
            "precision": at_point[row["name"]]["precision"]["value"] or 0.0,
            "AP50": row["ap50"],
            "boxes": row["boxes"],
        }
        for row in metrics["per_class"]
    }


def in_points(differences: np.ndarray) -> str:
    """Return the mean difference with its 95 % interval, in points."""
    found = paired(differences.tolist())
    assert found is not None
    interval = "" if found.low is None else f" ({100 * found.low:+.1f} to {100 * (found.high or 0.0):+.1f})"
    return f"{100 * found.mean:+.1f}{interval}"


def compare(folder: Path, seeds: int, epochs: int) -> None:
    """Train what is missing and print the table."""
    found: dict[str, list[dict[str, dict[str, float]]]] = {arm: [] for arm in ARMS}
    for seed in range(seeds):
        data = thinned_set(folder / "data" / str(seed), seed)
        train = read_dataset(data).dataset.split("train")
        paster = Paster.of(train, CopyPaste(**ARMS["with"]["copy_paste"]), 128)
        assert paster is not None
        print(f"seed {seed}: {train.images.height} pictures, {train.boxes.height} boxes; {paster.plans[0]}", flush=True)
        for arm in ARMS:
            found[arm].append(figures(trained(folder, data, arm, seed, epochs)))
    print(f"\n| class | boxes in test | figure | without | with | difference, 95 % interval over {seeds} seeds |")
    print("|---|---|---|---|---|---|")
    for name in found["with"][0]:
        for what in ("recall", "precision", "AP50"):
            without, with_ = (np.array([row[name][what] for row in found[arm]]) for arm in ("without", "with"))
            boxes = np.mean([row[name]["boxes"] for row in found["with"]])
            cells = (name, f"{boxes:.0f}", what, f"{100 * without.mean():.1f}", f"{100 * with_.mean():.1f}")
            print(f"| {' | '.join(cells)} | {in_points(with_ - without)} |")


def speed(dataset: Dataset, imgsz: int) -> None:
    """Print what pasting two objects of each class takes, one thread."""
    cv2.setNumThreads(1)
    train = dataset.split("train")
    step = -(-train.images.height // 100)
    chosen = train.images["image_id"].gather_every(step).to_list()
    pictures = list(training_pictures(train, chosen, imgsz))
    sizes = {row["image_id"]: row for row in train.images.iter_rows(named=True)}
    boxes = {key[0]: part for key, part in train.boxes.partition_by("image_id", as_dict=True).items()}
    print("| class | cuts | blend | a place was found | ms per picture, 2 objects tried | ms, both blended |")
    print("|---|---|---|---|---|---|")
    for name in train.names:
        for blend in ("feather", "seamless"):
            try:
                paster = Paster.of(train, CopyPaste(quotas={name: 0.9}, blend=blend), imgsz)
            except pipeline.ConfigError as error:
                print(f"| {name} | 0 | {blend} | {error.problems[0]} | | |")
                continue
            assert paster is not None
            (plan,) = paster.plans
            both = Paster((replace(plan, per_picture=2.0),), paster.blend, paster.bank)
            draw, took, placed = random.Random(0), [], []
            for image_id, picture in pictures:
                row, table = sizes[image_id], boxes.get(image_id, train.boxes.clear())
                factors = np.tile((picture.shape[1] / row["width"], picture.shape[0] / row["height"]), 2)
                corners = table.select("x1", "y1", "x2", "y2").to_numpy() * factors
                started = time.process_time()  # of this thread alone: others work on the same machine
                placed.append(len(both.paste(picture, corners, draw).boxes))
                took.append(1000 * (time.process_time() - started))
            full = [ms for ms, count in zip(took, placed, strict=True) if count == 2]
            cells = (name, plan.cuts, blend, f"{np.mean(placed) / 2:.0%}", f"{np.mean(took):.1f}")
            print(f"| {' | '.join(map(str, cells))} | {f'{np.mean(full):.1f}' if full else ''} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="folder for data and runs; without it they go")
    parser.add_argument("--speed", action="store_true", help="measure the time per picture at 640 px")
    parser.add_argument(
        "--data", type=Path, help="with --speed: pictures to paste into; otherwise a steel set is drawn"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).absolute()
        if not options.speed:
            compare(folder, options.seeds, options.epochs)
            return
        data = options.data or make_demo("steel", Path(temporary) / "640", size=640, counts={"train": 100})
        speed(read_dataset(data).dataset, 640)


if __name__ == "__main__":
    main()
