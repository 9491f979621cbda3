"""How long does the whole evaluation take beside Ultralytics' own `val`, which gives mAP alone?

The split that `tuneup eval` would take, cut to N pictures, is evaluated by turns with `pipeline.evaluate` (one pass,
intervals, error types, the inspector's view, all that `eval` does by default, the report included) and with
`YOLO(weights).val(...)` at the same settings; the bar is 1.05 times its time. Each first turn is not counted. Both read
the same pictures through links, with label files made for it.

DATA is a folder with a data set (COCO or YOLO). Without WEIGHTS a network is trained for one epoch on a part of it.

    OMP_NUM_THREADS=1 python benchmarks/one_pass.py DATA [WEIGHTS] [--pictures 500] [--imgsz 640] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

import pipeline
from pipeline.data.dataset import Dataset
from pipeline.data.formats.yolo_writer import write_yolo
from pipeline.evaluation.evaluate import choose_split
from pipeline.evaluation.predict import PredictSettings, predict_dataset
from pipeline.leash import tighten

BAR = 1.05
SETTINGS = {"conf": 0.001, "iou": 0.7, "max_det": 300, "batch": 16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path, nargs="?")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        weights = (asked.weights or train(asked.data, folder)).absolute()
        part = first_pictures(asked.data, asked.pictures)
        yaml = write_yolo(part, folder / "set")
        with_train = yaml.with_name("ultralytics.yaml")  # which insists on a train split
        with_train.write_text(yaml.read_text("utf-8") + "train: images/val\n", "utf-8")
        print(
            f"{part.images.height} pictures, imgsz {asked.imgsz}, {weights.name}, {asked.device}, ultralytics val = 1\n"
        )
        programs = {
            "ultralytics val": lambda: validate(weights, with_train, asked, folder),
            "tuneup eval": lambda: evaluate(weights, yaml, asked, folder),
            "predict_dataset alone": lambda: predict(weights, part, asked),
        }
        ratio = compare(programs, asked.rounds)["tuneup eval"]
        print(f"\ntuneup eval takes {ratio:.2f} times what val takes; the bar is {BAR}")
        sys.exit(ratio > BAR)


def compare(programs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run the programs by turns; print the medians, return their wall times as a multiple of the first one's."""
    wall: dict[str, list[float]] = {name: [] for name in programs}
    process: dict[str, list[float]] = {name: [] for name in programs}
    said: dict[str, object] = {}
    for number in range(rounds + 1):
        for name, program in programs.items():
            began, used = time.perf_counter(), time.process_time()
            said[name] = program()
            if number:  # the first turn loads libraries
                wall[name].append(time.perf_counter() - began)
                process[name].append(time.process_time() - used)
    first = next(iter(programs))
    base = statistics.median(wall[first]), statistics.median(process[first])
    print("| | wall s | process s | wall, ratio | process, ratio | says |\n|---|---|---|---|---|---|")
    ratios = {}
    for name in programs:
        now = statistics.median(wall[name]), statistics.median(process[name])
        ratios[name] = now[0] / base[0]
        spread = f"{min(wall[name]):.2f} to {max(wall[name]):.2f}"
        print(
            f"| {name} | {now[0]:.2f} ({spread}) | {now[1]:.2f} | {ratios[name]:.2f} | {now[1] / base[1]:.2f} "
            f"| {said[name]} |"
        )
    return ratios


def first_pictures(data: Path, count: int) -> Dataset:
    """Return the first pictures of the split that `tuneup eval` would take, called val."""
    dataset = pipeline.read_dataset(data).dataset
    names = dataset.splits
    part = dataset.split(choose_split(dataset, "auto")) if names else dataset
    images = part.images.head(count).with_columns(split=pl.lit("val"))
    boxes = part.boxes.join(images.select("image_id"), on="image_id", how="semi", maintain_order="left")
    return replace(part, images=images, boxes=boxes)


def train(data: Path, folder: Path) -> Path:
    """Train a network for a moment, so that there is one."""
    keys = ("model=yolo26n.yaml", "epochs=1", "fraction=0.05", "imgsz=320", "batch=4", "monitor.preflight=0")
    run = pipeline.train(overrides=[f"data={data}", f"runs={folder / 'training'}", *keys])
    return run.weights("best")


def validate(weights: Path, yaml: Path, asked: argparse.Namespace, folder: Path) -> str:
    tighten()
    from ultralytics import YOLO

    found = YOLO(weights).val(
        data=str(yaml),
        imgsz=asked.imgsz,
        device=asked.device,
        plots=False,
        verbose=False,
        project=str(folder / "val"),
        exist_ok=True,
        **SETTINGS,
    )
    return f"mAP50-95 {found.box.map:.4f}"


def evaluate(weights: Path, yaml: Path, asked: argparse.Namespace, folder: Path) -> str:
    keys = [f"eval.{key}={value}" for key, value in SETTINGS.items()]
    keys += [f"data={yaml}", f"runs={folder / 'runs'}", f"imgsz={asked.imgsz}", f"device={asked.device}"]
    found = pipeline.evaluate(weights, overrides=[*keys, "eval.split=val"])
    return f"mAP50-95 {found.map50_95:.4f}"


def predict(weights: Path, part: Dataset, asked: argparse.Namespace) -> str:
    found = predict_dataset(weights, part, PredictSettings(imgsz=asked.imgsz, device=asked.device, **SETTINGS))
    return f"{found.detections.height} detections"


if __name__ == "__main__":
    main()
