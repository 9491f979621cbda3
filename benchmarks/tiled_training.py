"""Do tiles find small objects of large pictures that the resized whole misses, at the same cost of training?

FOLDER is DeepPCB as COCO JSON (train.json, test.json, images/). Sixteen of its pictures at a time become one of 2560 x
2560 pixels; all six kinds of defects become one class. The same network, from random weights, is trained twice with as
many optimiser steps and as many pixels in each of them: on whole pictures (640 x 640, one in a batch), and on tiles of
640 pixels (320 x 320, four in a batch). Both are measured on the same large test pictures, the second with `eval.tile`.

Then, on the tiles of the test pictures: which parts of cut boxes are found, by the share of the box that a tile shows?

    python benchmarks/tiled_training.py FOLDER [--steps 300] [--visible 0.1 0.5] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import polars as pl

import pipeline
from pipeline.config import load_config
from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.data.formats.coco_writer import write_coco_labels
from pipeline.data.images import read_picture
from pipeline.data.intake import read_dataset
from pipeline.data.tile_plan import plan_tiles
from pipeline.data.tiling import TileSettings, tile_dataset
from pipeline.evaluation.evaluate import predict_settings
from pipeline.evaluation.intervals import image_weights, mean_interval
from pipeline.evaluation.matching import COCO_RANGES, match
from pipeline.evaluation.predict import predict_dataset
from pipeline.evaluation.tables import Detections, Truth

ACROSS, PICTURE, TILE = 4, 640, 640  # pictures along a side of a large one, and their pixels; pixels of a tile
COUNTS = {"train": 24, "val": 2, "test": 16}  # large pictures
CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
WHOLE = ("imgsz=640", "batch=1", "nbs=1", "eval.batch=1")
TILES = ("imgsz=320", "batch=4", "nbs=4", "eval.batch=8")
COMMON = (
    *("model=yolo26n.yaml", "optimizer=AdamW", "lr0=0.002", "lrf=0.05", "warmup_epochs=0.1", "warmup_bias_lr=0"),
    *("mosaic=0", "close_mosaic=0", "scale=0.3", "hsv_h=0", "hsv_s=0", "flipud=0.5", "workers=0", "device=cpu"),
    *("eval.limit=1000", "eval.max_det=1000", "monitor.preflight=0", "report.every=1000", "report.samples=0"),
)


def stitched(source: Dataset, splits: Sequence[str], folder: Path) -> Dataset:
    """Write large pictures with COCO labels, made of pictures in a random order that is always the same."""
    images: list[dict[str, Any]] = []
    boxes = []
    small = source.images.sort("path").sample(fraction=1, shuffle=True, seed=0).rows(named=True)
    of_picture = source.boxes.partition_by("image_id", as_dict=True)
    for split in splits:
        (folder / "images" / split).mkdir(parents=True)
        for _ in range(COUNTS[split]):
            number, side = len(images) + 1, ACROSS * PICTURE
            large = np.zeros((side, side), np.uint8)
            for place in range(ACROSS**2):
                row = small.pop(0)
                top, left = (PICTURE * part for part in divmod(place, ACROSS))
                pixels = read_picture(source.picture_path(row["path"]))
                large[top : top + PICTURE, left : left + PICTURE] = pixels[..., 0]
                shift = {"x1": left, "y1": top, "x2": left, "y2": top}
                for box in of_picture.get((row["image_id"],), source.boxes.clear()).iter_rows(named=True):
                    boxes.append({**box, "image_id": number, **{name: box[name] + by for name, by in shift.items()}})
            path = f"images/{split}/{number:03d}.jpg"
            cv2.imwrite(str(folder / path), large, [cv2.IMWRITE_JPEG_QUALITY, 95])
            images.append({"image_id": number, "path": path, "width": side, "height": side, "split": split})
    made = dataset_from_rows(source.names, images, boxes, folder)
    write_coco_labels(made, folder)
    return made


def trained(data: Path, folder: Path, name: str, epochs: int, settings: Sequence[str]) -> tuple[Path, float]:
    """Return the best weights, and the seconds that the training took."""
    started = time.perf_counter()
    own = [f"data={data}", f"runs={folder / 'runs'}", f"name={name}", f"epochs={epochs}", "eval.split=val"]
    run = pipeline.train(overrides=[*COMMON, *settings, *own])
    return run.weights("best"), time.perf_counter() - started


def measured(weights: Path, data: Path, folder: Path, settings: Sequence[str]) -> tuple[Path, dict[str, Any], float]:
    """Evaluate on the large test pictures; returns the run, its metrics, and the seconds that it took."""
    started = time.perf_counter()
    own = [f"data={data}", f"runs={folder / 'runs'}", "eval.split=test"]
    evaluation = pipeline.evaluate(weights, overrides=[*COMMON, *settings, *own])
    return evaluation.run.path, evaluation.metrics, time.perf_counter() - started


def small_recall(run: Path) -> str:
    """Return COCO's average recall of small objects with its interval, by resampling pictures."""
    held = pipeline.Run.open(run)
    truth = Truth.of(held.dataset().split("test"))
    table = match(truth, Detections.of(truth, held.detections("test")), limit=1000, ranges=COCO_RANGES)
    pictures = len(truth.image_ids)
    found = np.zeros((len(table.thresholds), pictures))
    for t in range(len(table.thresholds)):
        outcomes = table.outcomes(t, 1)
        found[t] = np.bincount(outcomes.image[outcomes.hit], minlength=pictures)
    there = np.bincount(table.outcomes(0, 1).truth_image, minlength=pictures)
    weights = image_weights(pictures)
    draws = (weights @ found.mean(axis=0)) / (weights @ there)
    interval = mean_interval(float(found.mean(axis=0).sum() / there.sum()), draws, units=pictures)
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def parts_found(weights: Path, test: Dataset, folder: Path, settings: Sequence[str]) -> None:
    """Print the recall of parts of boxes on single tiles, at an IoU of 0.5, by the share that the tile shows."""
    every = TileSettings(TILE, visible=1e-6)
    tiled = tile_dataset(test, folder, every).dataset
    plan = plan_tiles(test, every)
    config = load_config(None, [*COMMON, *settings])
    found = predict_dataset(weights, tiled, predict_settings(config)).detections
    truth = Truth.of(tiled)
    table = plan.shown.select(tenth=(10 * pl.col("share") - 1e-9).floor().cast(pl.Int32))
    table = table.with_columns(tenth=pl.when(plan.shown["share"] == 1).then(10).otherwise("tenth"))
    for least in (0.25, 0.05):
        matched = match(truth, Detections.of(truth, found.filter(pl.col("score") >= least)), limit=1000).matched(0)
        hit = np.zeros(len(truth.image), np.bool_)
        hit[matched[matched >= 0]] = True
        table = table.with_columns(pl.Series(f"{least}", hit))
    print("\n| share shown | parts | found, score from 0.25 | from 0.05 |\n|---|---|---|---|")
    rows = table.group_by("tenth").agg(pl.len(), pl.col("0.25").mean(), pl.col("0.05").mean()).sort("tenth")
    for tenth, parts, sure, any_score in rows.iter_rows():
        words = "all" if tenth == 10 else f"{10 * tenth} to {10 * tenth + 10} %"
        print(f"| {words} | {parts} | {sure:.2f} | {any_score:.2f} |")


def figure(metrics: dict[str, Any], name: str) -> str:
    interval = metrics["intervals"][name]
    return f"{metrics[name]:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def drawn(run: Path, file: Path) -> None:
    """Draw what was found in the first test picture, above 0.25, over what is there."""
    held = pipeline.Run.open(run)
    part = held.dataset().split("test")
    image = part.images.row(0, named=True)
    pixels = read_picture(part.picture_path(image["path"]))
    here = pl.col("image_id") == image["image_id"]
    layers = ((part.boxes, (0, 200, 0), 6), (held.detections("test").filter(pl.col("score") > 0.25), (0, 0, 255), 3))
    for table, colour, width in layers:
        for corners in table.filter(here).select("x1", "y1", "x2", "y2").to_numpy().round().astype(int).tolist():
            cv2.rectangle(pixels, tuple(corners[:2]), tuple(corners[2:]), colour, width)
    cv2.imwrite(str(file), pixels)


def cut(whole: Dataset, folder: Path, visible: float) -> int:
    """Cut the pictures into tiles and say how long it took; returns the number of training tiles."""
    started = time.perf_counter()
    tiled = tile_dataset(whole, folder, TileSettings(TILE, visible=visible))
    seconds = time.perf_counter() - started
    speed = whole.images.height * (ACROSS * PICTURE) ** 2 / 1e6 / seconds
    print(
        f"{folder.name}: {whole.images.height} pictures became {tiled.dataset.images.height} tiles in {seconds:.1f} s,"
    )
    print(f"{speed:.0f} megapixels of picture a second; {tiled.dataset.counts()}")
    for finding in tiled.findings:
        print(f"  {finding.id}: {finding.message}")
    return tiled.dataset.counts()["train"]["images"]


def study(source: Dataset, folder: Path, steps: int, visible: Sequence[float]) -> None:
    """Run everything and print it."""
    whole = stitched(source.split("train"), ("train", "val"), folder / "whole")
    test = stitched(source.split("test"), ("test",), folder / "test")
    arms: dict[str, tuple[Path, Sequence[str], int]] = {
        "whole": (folder / "whole", WHOLE, round(steps / COUNTS["train"]))
    }
    for share in visible:
        name = f"tiles-{share:g}"
        count = cut(whole, folder / name, share)
        arms[name] = (folder / name, (*TILES, f"eval.tile={TILE}"), round(steps / (count / 4)))
    print(
        "\n| trained and predicted on | epochs, steps | mAP50-95 | mAP50 | recall, small | trained in | measured in |"
    )
    print("|---|---|---|---|---|---|---|")
    runs = []
    for name, (data, settings, epochs) in arms.items():
        weights, training = trained(data, folder, name, max(1, epochs), settings)
        run, metrics, spent = measured(weights, folder / "test", folder, [*settings, f"name={name}-test"])
        taken = pl.read_ndjson(folder / "runs" / name / "history" / "steps.jsonl").height
        scores = (figure(metrics, "map50_95"), figure(metrics, "map50"), small_recall(run))
        times = (f"{training:.0f} s", f"{spent / test.images.height:.1f} s a picture")
        cells = (name, f"{max(1, epochs)}, {taken}", *scores, *times)
        print(f"| {' | '.join(cells)} |", flush=True)
        drawn(run, folder / f"{name}.jpg")
        runs.append(run)
    print(f"\n{test.images.height} test pictures, {test.boxes.height} boxes")
    for run in runs[1:]:
        print(pipeline.compare(runs[0], run).words())
    for name in list(arms)[1:]:
        print(f"\n{name}, on single tiles:")
        parts_found(folder / "runs" / name / "weights" / "best.pt", test, folder / f"{name}-parts", TILES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--visible", type=float, nargs="+", default=[TileSettings(TILE).visible])
    parser.add_argument("--keep", type=Path, help="folder for pictures and runs; without it they go")
    given = parser.parse_args()
    if not (given.folder / "train.json").is_file():
        sys.exit(f"{given.folder}: DeepPCB is not here (train.json, test.json and images/); nothing was measured")
    source = read_dataset(given.folder, remap=dict.fromkeys(CLASSES, "defect")).dataset
    with tempfile.TemporaryDirectory() as temporary:
        study(source, (given.keep or Path(temporary)).absolute(), given.steps, given.visible)


if __name__ == "__main__":
    main()
