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
from pipeline.runs import DETECTIONS_SCHEMA, EPOCHS, EVENTS, PROBES, STEPS, Run
from pipeline.tensor_norms import TensorNorms

NAMES = ("scratch", "pit", "crack")
STARTED = "2026-03-01T09:00:00+00:00"


def steps_table(count: int, epochs: int, branches: bool = True) -> pl.DataFrame:
    """Return the history of a healthy training of `count` optimiser steps; `branches`: of YOLO26, with two of them."""
    noise = np.random.default_rng(0)
    t = np.arange(count)
    falling = np.exp(-3 * t / count)
    warmup = np.clip(t / max(1, 0.06 * count), 0, 1)
    rate = 1e-3 * (1 - 0.99 * t / count)
    size = (4 * falling + 1.5) * noise.lognormal(0, 0.15, count)
    norm = (60 * falling + 8) * noise.lognormal(0, 0.4, count)
    columns: dict[str, Any] = {"step": t, "epoch": t * epochs // count, "images": np.full(count, 16)}
    weights = {"o2m": 0.8 - 0.7 * t / count, "o2o": 0.2 + 0.7 * t / count} if branches else {}
    for branch in weights or [""]:
        prefix = f"{branch}_" if branch else ""
        columns[f"{prefix}box_loss"] = size * 0.4 * noise.lognormal(0, 0.1, count)
        columns[f"{prefix}cls_loss"] = size * 0.45 * noise.lognormal(0, 0.1, count)
        columns[f"{prefix}{'l1' if branch else 'dfl'}_loss"] = size * 0.15
    terms = {name: values for name, values in columns.items() if name.endswith("_loss")}
    loss = sum(values * weights.get(name.split("_")[0], 1.0) for name, values in terms.items())
    columns |= {"loss": loss, **weights}
    columns |= {"lr_weight": rate * warmup, "lr_bn": rate * warmup, "lr_bias": rate * (3 - 2 * warmup)}
    columns |= {"grad_norm_before_clip": norm, "clipped": norm > 20, "seconds": np.full(count, 0.2)}
    columns |= {"skipped": np.full(count, False), "skip_reason": [None] * count}
    return pl.DataFrame(columns, schema_overrides={"skip_reason": pl.String})


def old_steps_table(count: int, epochs: int) -> pl.DataFrame:
    """Return the same as a run from before the gradient monitor had it: one branch's terms, no branch weight o2o."""
    table = steps_table(count, epochs)
    renamed = {f"o2o_{term}_loss": f"{term}_loss" for term in ("box", "cls", "l1")}
    gone = ["o2m_box_loss", "o2m_cls_loss", "o2m_l1_loss", "o2o", "skipped", "skip_reason"]
    return table.drop(gone).rename(renamed)


def epochs_table(count: int, branches: bool = True) -> pl.DataFrame:
    """Return the epochs of the same training; the sample of train is measured in every second one, and the last."""
    noise = np.random.default_rng(1)
    e = np.arange(count)
    quality = 0.62 * (1 - np.exp(-(e + 1) / max(1, 0.2 * count))) + noise.normal(0, 0.012, count)
    columns: dict[str, Any] = {"epoch": e, "seconds": np.full(count, 12.5), "steps": np.full(count, 40)}
    names = [f"{b}_{t}" for b in ("o2m", "o2o") for t in ("box", "cls", "l1")] if branches else ["box", "cls", "dfl"]
    sizes = {"box": 1.6, "cls": 2.1, "l1": 0.5, "dfl": 0.9}
    sampled = (e % 2 == 1) | (e == count - 1)
    for name in names:
        size = sizes[name.split("_")[-1]]
        columns[f"train_{name}_loss"] = size * (0.4 + np.exp(-e / (0.3 * count)))
        columns[f"val_{name}_loss"] = size * (0.5 + np.exp(-e / (0.25 * count))) + noise.normal(0, 0.02, count)
        sample = size * (0.45 + np.exp(-e / (0.25 * count)))
        columns[f"sample_{name}_loss"] = [float(s) if used else None for s, used in zip(sample, sampled, strict=True)]
    table = pl.DataFrame(columns, schema_overrides={f"sample_{name}_loss": pl.Float64 for name in names})
    weight = 0.5 if branches else 1.0
    whole = [
        sum(pl.col(f"{part}_{name}_loss") * weight for name in names).alias(f"{part}_loss")
        for part in ("train", "val", "sample")
    ]
    scores = {"val_map50": np.clip(quality * 1.35, 0, 1), "val_map50_95": quality, "fitness": quality}
    scores |= {"val_precision": np.clip(quality + 0.2, 0, 1), "val_recall": np.clip(quality + 0.15, 0, 1)}
    scores["best"] = quality >= np.maximum.accumulate(quality)
    return table.with_columns(*whole, **{name: pl.Series(values) for name, values in scores.items()})


# ---- what the gradient monitor leaves behind -------------------------------------------------------------------------

_BLOCKS = ("Conv", "Conv", "C3k2", "Conv", "C3k2", "Conv", "C3k2", "Conv", "C3k2", "SPPF", "C2PSA")
_NECK = {13: "C3k2", 16: "C3k2", 17: "Conv", 19: "C3k2", 20: "Conv", 22: "C3k2"}


def context_of(steps: int, epochs: int, branches: bool = True) -> dict[str, Any]:
    """Return the context of a yolo26n's (or, with one branch, a yolo11n's) training."""
    layers = [
        {"layer": f"model.{i}", "place": "backbone", "kind": k, "label": f"{i} {k}"} for i, k in enumerate(_BLOCKS)
    ]
    layers += [{"layer": f"model.{i}", "place": "neck", "kind": k, "label": f"{i} {k}"} for i, k in _NECK.items()]
    head = ["cv2", "cv3", *(["one2one_cv2", "one2one_cv3"] if branches else [])]
    layers += [{"layer": f"model.23.{k}", "place": "head", "kind": k, "label": f"23 {k}"} for k in head]
    facts = {"optimizer": "AdamW", "lr0": 1e-3, "batch": 16, "clip": 10.0, "epochs": epochs, "total_steps": steps}
    return {**facts, "warmup_steps": 30, "layers": layers}


def norms_of(steps: int, layers: Sequence[str], per_layer: int = 3) -> TensorNorms:
    """Return gradient norms that fall with the steps; `per_layer` tensors in every layer."""
    noise = np.random.default_rng(3)
    tensors = [(f"{layer}.{number}.weight", layer) for layer in layers for number in range(per_layer)]
    falling = (4 * np.exp(-3 * np.arange(steps) / steps) + 0.5)[:, None]
    size = falling * 10.0 ** noise.uniform(-2, 0.5, len(tensors))
    values = (size * noise.lognormal(0, 0.4, (steps, len(tensors)))).astype(np.float32)
    names, owners = zip(*tensors, strict=True)
    return TensorNorms(tuple(names), tuple(owners), np.arange(steps), values)


def probes_table(steps: int, epochs: int, layers: Sequence[str], per_layer: int = 5) -> list[dict[str, Any]]:
    """Return the sampled measurements: an update about 60 times, health and the terms' shares every epoch."""
    noise = np.random.default_rng(4)
    found: list[dict[str, Any]] = []
    for step in range(0, steps, max(1, steps // 60)):
        size = 1e-2 * (1 - 0.9 * step / steps) * (step > 0)  # the first step of warm-up has a rate of zero
        ratio = {layer: float(size * noise.lognormal(0, 0.7)) for layer in layers}
        cosine = float(noise.normal(0.05, 0.15))
        update = {"kind": "update", "step": step, "epoch": step * epochs // steps, "ratio": ratio}
        update |= {
            "group_ratio": {"weight": float(size)},
            "against_gradient": dict.fromkeys(layers, 0.02),
            "unmoved": [],
        }
        found.append({**update, "cosine": cosine, "layer_cosine": {}, "noise_scale": 80.0 if cosine > 0 else None})
    for epoch in range(epochs):
        at = {"step": (epoch + 1) * steps // epochs - 1, "epoch": epoch}
        row = {"values": 4096.0, "smallest_variance": 0.02, "mean_shift": 0.2, "variance_ratio": 0.9}
        row |= {"dead": 0.03, "constant": 0.0, "non_finite": 0.0}
        norms = {
            f"{layer}.m.{i}.bn": {**row, "dead": float(noise.uniform(0, 0.3))}
            for layer in layers
            for i in range(per_layer)
        }
        found.append({"kind": "health", **at, "norms": norms})
        box = 0.9 - 0.2 * epoch / epochs
        found.append({"kind": "terms", **at, "shares": {"box_loss": box, "cls_loss": 0.95 - box, "l1_loss": 0.05}})
    return found


def monitored(run: Run, steps: int = 480, epochs: int = 12, branches: bool = True, tensors_per_layer: int = 3) -> Run:
    """Add context, gradient norms and probes to a run."""
    context = context_of(steps, epochs, branches)
    layers = [row["layer"] for row in context["layers"]]
    norms = norms_of(steps, layers, tensors_per_layer)
    run.save_context(context)
    run.begin_norms(norms.tensors, norms.layers)
    run.append_norms(norms.steps.tolist(), norms.values)
    run.append(PROBES, probes_table(steps, epochs, layers))
    return run


def incident(step: int, **changes: Any) -> dict[str, Any]:
    """Return the record of a step that was not finite: a forward pass, one picture of the batch told apart."""
    record = {"step": step, "epoch": step // 40, "time": STARTED, "tensors": ["model.0.conv.weight", "model.0.bn.bias"]}
    record |= {"repeated": True, "phase": "forward", "module": "model.2.cv1.conv", "kind": "Conv2d", "told_apart": True}
    record |= {
        "loss_terms": ["o2m_box_loss"],
        "files": ["train/004.png"],
        "batch_files": ["train/003.png", "train/004.png"],
    }
    return {**record, "replay": f"tuneup doctor runs/steel/incidents/step-{step:06}", **changes}


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
    run.save_evaluation(split, metrics, {"detections": detections_of(part)})


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
    monitored(run)
    evaluate(run, "val", chose_checkpoint=True)
    evaluate(run, "test", chose_checkpoint=False)
    return run
