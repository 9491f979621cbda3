"""Train on real circuit boards (DeepPCB as COCO JSON), at a size that a CPU can do.

The set is not part of this project: FOLDER holds train.json, test.json and images/ with a folder per board group. A
quarter of the train pictures is used at half the size, from random weights; val is taken from train by board group.

    python benchmarks/deeppcb.py FOLDER [key=value ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pipeline import cli

SETTINGS = (
    "model=yolo26n.yaml",
    "imgsz=320",
    "epochs=15",
    "fraction=0.25",
    "batch=4",
    "nbs=4",
    "optimizer=AdamW",
    "lr0=0.002",
    "lrf=0.05",
    "warmup_epochs=1",
    "warmup_bias_lr=0",
    "mosaic=0",
    "close_mosaic=0",
)

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    configuration = str(Path(__file__).resolve().parents[1] / "configs" / "defects.yaml")
    with tempfile.TemporaryDirectory() as runs:
        cli.main(["train", configuration, f"data={sys.argv[1]}", f"runs={runs}", *SETTINGS, *sys.argv[2:]])
