"""Small drawn sets for the tests of stage and contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.augment.contract import Contract, check_contract
from pipeline.augment.stage import Stage
from pipeline.config import config_from_dict
from pipeline.data.dataset import Dataset
from pipeline.data.intake import read_dataset
from pipeline.policy import Policy

SIZE = 96


def squares(folder: Path, *, side: int = 24, pictures: int = 8, grey: int = 90, ink: int = 170) -> Dataset:
    """Draw pictures with one square each near the middle, on a surface with a little texture, and read them."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(pictures):
            picture = random.normal(grey, 3, (SIZE, SIZE)).clip(0, 255).astype(np.uint8)
            x, y = (SIZE - side) // 2 + number % 3, (SIZE - side) // 2 - number % 2
            picture[y : y + side, x : x + side] = random.normal(ink, 3, (side, side)).clip(0, 255)
            cv2.imwrite(str(folder / "images" / split / f"{number}.png"), picture)
            row = [number % 2, (x + side / 2) / SIZE, (y + side / 2) / SIZE, side / SIZE, side / SIZE]
            (folder / "labels" / split / f"{number}.txt").write_text(" ".join(map(str, row)) + "\n")
    (folder / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [pit, spot]\n")
    return read_dataset(folder).dataset.split("train")


def stage_of(dataset: Dataset, policy: Policy | None = None) -> Stage:
    """Open the stage on all pictures of a split."""
    return Stage(dataset, range(dataset.images.height), policy or Policy.off(), SIZE)


def contract_of(dataset: Dataset, policy: Policy, *, transforms: Any = (), **limits: Any) -> Contract:
    """Check the contract of a policy."""
    config = config_from_dict({"augment": policy, "train": {"imgsz": SIZE}, "contract": limits})
    return check_contract(dataset, config, transforms=transforms)


def found(contract: Contract, entry: str) -> dict[str, str]:
    """Return id -> severity of what was found about an entry."""
    return {f.id: f.severity for f in contract.findings if f.evidence.get("entry") == entry}
