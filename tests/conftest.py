"""Shared by all tests: a tiny dataset that a detector can be trained on in seconds."""

from __future__ import annotations

import os
from pathlib import Path

# Networks this small gain nothing from a second thread, and two threads wait for each other when the machine is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pytest

import pipeline  # before anything imports torch or Ultralytics

ROOT = Path(__file__).resolve().parents[1]
assert Path(pipeline.__file__).parents[1] == ROOT, "the tests must run on this checkout"
NAMES = ("square", "disc")


def draw_tiny_set(folder: Path, counts: dict[str, int], size: int = 64, seed: int = 0) -> Path:
    """Draw bright squares and discs on noise, labelled in YOLO form; every fifth picture is empty."""
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            picture = rng.integers(20, 80, (size, size, 3)).astype(np.uint8)
            rows = []
            for _ in range(0 if number % 5 == 4 else int(rng.integers(1, 3))):
                half = int(rng.integers(size // 8, size // 5))
                cx, cy = (int(v) for v in rng.integers(half, size - half, 2))
                class_id = int(rng.integers(0, 2))
                if class_id == 0:
                    cv2.rectangle(picture, (cx - half, cy - half), (cx + half - 1, cy + half - 1), (230, 230, 230), -1)
                else:
                    cv2.circle(picture, (cx, cy), half, (200, 120, 40), -1)
                rows.append(f"{class_id} {cx / size} {cy / size} {2 * half / size} {2 * half / size}\n")
            cv2.imwrite(str(folder / "images" / split / f"{split}_{number:03}.png"), picture)
            (folder / "labels" / split / f"{split}_{number:03}.txt").write_text("".join(rows))
    lines = [f"{split}: images/{split}\n" for split in counts]
    (folder / "data.yaml").write_text("".join(["path: .\n", *lines, f"names: [{', '.join(NAMES)}]\n"]))
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 train, 6 val and 5 test pictures of 64 x 64 px."""
    return draw_tiny_set(tmp_path_factory.mktemp("tiny"), {"train": 12, "val": 6, "test": 5})


@pytest.fixture(scope="session")
def tiny_overrides(tiny_data: Path) -> list[str]:
    """A training of seconds on the tiny set: 3 epochs of 3 batches."""
    return [
        f"data={tiny_data}",
        "model=yolo26n.yaml",
        "epochs=3",
        "imgsz=64",
        "batch=4",
        "nbs=8",
        "optimizer=AdamW",
        "lr0=0.002",
        "close_mosaic=1",
        "warmup_epochs=1",
        "device=cpu",
        "monitor.preflight=0",
    ]


@pytest.fixture(scope="session", autouse=True)
def _own_working_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Work in a scratch folder, so that settings and runs never land in the checkout."""
    os.chdir(tmp_path_factory.mktemp("work"))
