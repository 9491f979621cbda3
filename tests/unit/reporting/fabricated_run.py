"""Runs made up for the tests of the report: every record that a real training writes, none of the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import yaml

from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.findings import Finding
from pipeline.runs import DETECTIONS_SCHEMA, EPOCHS, EVENTS, STEPS, Run

NAMES = ("scratch", "pit", "crack")
STARTED = "2026-03-01T09:00:00+00:00"


def steps_table(count: int, epochs: int) -> pl.DataFrame:
    """Return the history of a healthy YOLO26 training of `count` optimiser steps."""
    noise = np.random.default_rng(0)
    t = np.arange(count)
    falling = np.exp(-3 * t / count)
    warmup = np.clip(t / max(1, 0.06 * count), 0, 1)
    rate = 1e-3 * (1 - 0.99 * t / count)
    loss = (4 * falling + 1.5) * noise.lognormal(0, 0.15, count)
    norm = (60 * falling + 8) * noise.lognormal(0, 0.4, count)
    columns = {
        "step": t,
        "epoch": t * epochs // count,
        "images": np.full(count, 16),
        "loss": loss,
        "box_loss": loss * 0.4,
        "cls_loss": loss * 0.45 * noise.lognormal(0, 0.1, count),
        "l1_loss": loss * 0.15,
        "lr_weight": rate * warmup,
        "lr_bn": rate * warmup,
        "lr_bias": rate * (3 - 2 * warmup),
        "grad_norm_before_clip": norm,
        "clipped": norm > 20,
        "o2m": 0.8 - 0.7 * t / count,
        "seconds": np.full(count, 0.2),
    }
    return pl.DataFrame(columns)


def epochs_table(count: int) -> pl.DataFrame:
    """Return the epochs of the same training."""
    noise = np.random.default_rng(1)
    e = np.arange(count)
    quality = 0.62 * (1 - np.exp(-(e + 1) / max(1, 0.2 * count))) + noise.normal(0, 0.012, count)
    columns: dict[str, Any] = {"epoch": e, "seconds": np.full(count, 12.5), "steps": np.full(count, 40)}
    for term, size in (("box", 1.6), ("cls", 2.1), ("l1", 0.5)):
        columns[f"train_{term}_loss"] = size * (0.4 + np.exp(-e / (0.3 * count)))
        columns[f"val_{term}_loss"] = size * (0.5 + np.exp(-e / (0.25 * count))) + noise.normal(0, 0.02, count)
    columns |= {"val_map50": np.clip(quality * 1.35, 0, 1), "val_map50_95": quality, "fitness": quality}
    columns |= {"val_precision": np.clip(quality + 0.2, 0, 1), "val_recall": np.clip(quality + 0.15, 0, 1)}
    columns["best"] = quality >= np.maximum.accumulate(quality)
    return pl.DataFrame(columns)


def make_dataset(root: Path, names: Sequence[str] = NAMES, per_split: int = 6) -> Dataset:
    """Write grey pictures with bright spots; the second picture of every split is empty."""
    noise = np.random.default_rng(2)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for split in ("train", "val", "test"):
        (root / split).mkdir(parents=True, exist_ok=True)
        for number in range(per_split):
            picture = noise.normal(110, 9, (240, 320)).clip(0, 255).astype(np.uint8)
            path, image_id = f"{split}/{number:03}.png", len(images)
            images.append({"image_id": image_id, "path": path, "width": 320, "height": 240, "split": split})
            for box in range(0 if number == 1 else 3):
                x, y = (int(v) for v in noise.integers(10, 180, 2))
                cv2.ellipse(picture, (x + 25, y + 15), (22, 12), 20.0 * box, 0, 360, 215, -1)
                place = {"x1": x, "y1": y, "x2": x + 50, "y2": y + 30}
                boxes.append({"image_id": image_id, "class_id": box % len(names), **place})
            assert cv2.imwrite(str(root / path), picture)
    return dataset_from_rows(names, images, boxes, root)


def detections_of(dataset: Dataset) -> pl.DataFrame:
    """Return the ground truth a little shifted, every fifth box missed, and one detection below the shown score."""
    boxes = dataset.boxes.with_row_index("row").filter(pl.col("row") % 5 != 4)
    score = (0.95 - 0.02 * (pl.col("row") % 20)).alias("score")
    shifted = boxes.with_columns(score, pl.col("x1") + 3, pl.col("y1") - 2)
    low = shifted.head(1).with_columns(score=pl.lit(0.1))
    return pl.concat([shifted, low]).select([pl.col(name).cast(kind) for name, kind in DETECTIONS_SCHEMA.items()])


def evaluate(run: Run, split: str, chose_checkpoint: bool, without_boxes: Sequence[str] = ()) -> None:
    """Write an evaluation of one split; the classes of `without_boxes` have no ground truth in it."""
    part = run.dataset().split(split)
    classes = [
        {"name": n, "images": 4, "boxes": 9, "ap50_95": 0.7 - 0.13 * (i % 5), "ap50": 0.9 - 0.1 * (i % 5)}
        for i, n in enumerate(part.names)
    ]
    for row in classes:
        if row["name"] in without_boxes:
            row |= {"images": 0, "boxes": 0, "ap50_95": None, "ap50": None}
    value = {"test": 0.571, "val": 0.612}.get(split, 0.8)
    metrics = {
        "split": split,
        "chose_checkpoint": chose_checkpoint,
        "trained_on": split == "train",
        "definition": "COCO, computed by pycocotools",
        "images": part.images.height,
        "boxes": part.boxes.height,
        "map50_95": value,
        "map50": value + 0.2,
        "map75": value + 0.03,
        "map_small": None,
        "map_medium": value - 0.05,
        "map_large": value + 0.04,
        "per_class": classes,
        "checkpoint": str(run.weights("best")),
        "seconds": 2.5,
        "ms_per_image": 21.3,
        "settings": {"conf": 0.001, "iou": 0.7, "max_det": 300, "imgsz": 640},
    }
    run.save_evaluation(split, metrics, detections_of(part))


def empty_run(path: Path, state: str = "running", **fields: Any) -> Run:
    """Return a run that has just been set up: a configuration and a state, and nothing else."""
    path.mkdir(parents=True)
    run = Run(path)
    config = {
        "name": path.name,
        "model": {"name": "yolo26n.pt", "weights": "weights"},
        "train": {"epochs": 12, "optimizer": "AdamW", "lr0": 0.001, "freeze": None},
        "report": {"samples": 4},
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
    run.update_state(**{"state": state, "started": STARTED, "epochs": 12, "epochs_done": 0, "reason": "", **fields})
    return run


def full_run(path: Path, names: Sequence[str] = NAMES, state: str = "complete") -> Run:
    """Return a run with everything: history, findings, data, and the splits val (chose the checkpoint) and test."""
    run = empty_run(path, state, epochs_done=12, seconds=3725.0)
    run.update_state(device="cuda:0", optimizer="AdamW", lr0=0.001, batch=16)
    (path / "environment.json").write_text('{"python": "3.11.7", "torch": "2.9.0", "gpu": ["NVIDIA H100"]}', "utf-8")
    run.save_dataset(make_dataset(path.parent / f"{path.name}-pictures", names))
    run.append(STEPS, steps_table(480, 12).to_dicts())
    run.append(EPOCHS, epochs_table(12).to_dicts())
    marks = (("start", 0, 0), ("warmup_end", 0, 28), ("close_mosaic", 10, 400), ("end", 11, 479))
    run.append(EVENTS, [{"event": e, "epoch": n, "step": s, "time": STARTED, "text": ""} for e, n, s in marks])
    run.add_findings(
        [
            Finding("training.plateau", "info", "Nothing improved for 3 epochs.", {"epochs": 3}),
            Finding(
                "training.exploding",
                "error",
                "The gradient jumped three times.",
                {"steps": [12, 15, 19], "worst": 812.25},
                "Set train.lr0=0.0003: a third of the present rate.",
            ),
        ]
    )
    evaluate(run, "val", chose_checkpoint=True)
    evaluate(run, "test", chose_checkpoint=False)
    return run
