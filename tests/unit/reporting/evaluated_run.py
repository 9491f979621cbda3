"""A run whose test split was evaluated with a simulated detector."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from fabricated_run import empty_run

from pipeline.evaluation import chosen
from pipeline.evaluation.analysis import analyse, grouping
from pipeline.evaluation.label_errors import suspects
from pipeline.evaluation.operating_point import Rule
from pipeline.evaluation.tables import Detections, Truth
from pipeline.runs import Run

sys.path.append(str(Path(__file__).parents[1] / "evaluation"))
from simulated_detector import simulated_detections, simulated_truth

HOSTILE = "<blink>&scratch"


def evaluated_run(folder: Path) -> Run:
    """Return a run with an evaluation of its test split, whose pictures exist."""
    simulated = simulated_truth(24, names=("pit", HOSTILE))
    dataset = type(simulated)(simulated.names, simulated.images, simulated.boxes, folder / "pictures")
    dataset.root.mkdir()
    for path in dataset.images["path"]:
        cv2.imwrite(str(dataset.root / path), np.full((200, 200), 90, np.uint8))
    run = empty_run(folder / "steel", state="complete")
    run.save_dataset(dataset)
    truth, frame = Truth.of(dataset), simulated_detections(dataset, 3, found=0.6)
    analysis = analyse(truth, Detections.of(truth, frame), grouping(dataset), resamples=100)
    found, _ = chosen.choose(analysis, Rule("f1"), "test", "w", {})
    metrics = {
        "split": "test",
        "chose_checkpoint": False,
        "trained_on": False,
        "optimism": None,
        **analysis.metrics,
        **chosen.figures(analysis, "test", found),
        "weights": "w",
        "checkpoint": "elsewhere/best.pt",
    }
    metrics["findings"] = [
        {"id": "evaluation.x", "severity": "warning", "message": "found here", "evidence": {}, "advice": ""}
    ]
    tables = {"detections": frame, **analysis.tables, "suspects": suspects(dataset, analysis.errors)}
    run.save_evaluation("test", metrics, tables, analysis.curves)
    return run
