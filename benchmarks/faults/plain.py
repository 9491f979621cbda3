"""What plain Ultralytics says of the same faults: its warnings and errors, one training of each fault.

    python benchmarks/faults/plain.py OUT [--jobs N] [--only TEXT]      # trains what is not kept yet, then prints

YOLO26n on the drawn steel of the held-out part. A message that a healthy training brings as well is left out. One that
holds the words of `ABOUT` says something about the fault.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from case import Case, Fault, Healthy
from catalogue import FAULTS, cases, settings_of
from doors import Onset
from material import Material
from run import door_of, in_processes, told
from score import print_table, share
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER

CELL = next(cell for cell in {case.cell for case in cases("heldout")} if cell.data == "steel-11" and cell.seed == 103)
# Words by which a message is about its fault.
ABOUT = {
    "nan_pictures": "nan|inf|finite",
    "inf_gradient": "nan|inf|finite",
    "overflow": "nan|inf|finite",
    "labels_empty": "no labels",
    "labels_as_corners": "label",
    "rate_ignored": "lr0",
    "frozen_by_code": "requires_grad|freez",
    "frozen_random": "freez",
    "sgd_without_warmup": "nan|inf|finite",
    "adamw_rate_high": "nan|inf|finite",
}
OURS = ("monitor.", "report.", "augment.", "contract.")  # keys that plain Ultralytics does not have


class Heard(logging.Handler):
    """Keeps warnings and errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message in plain text, once."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage()).strip()
        if text and text not in self.texts:
            self.texts.append(text)


def perform(name: str, folder: Path) -> str:
    """Train a fault, or `healthy`, with plain Ultralytics and keep what it said."""
    variant: Fault | Healthy = next((f for f in FAULTS if f.name == name), Healthy("plain"))
    heard, ended = Heard(), "complete"
    LOGGER.addHandler(heard)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            _train(variant, Material(folder, None), Path(temporary))
        except Exception as error:  # whatever a person would see
            ended = f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            LOGGER.removeHandler(heard)
    record = {"fault": name, "messages": heard.texts, "ended": ended}
    (folder / "plain").mkdir(exist_ok=True)
    (folder / "plain" / f"{name}.json").write_text(json.dumps(record))
    return ended


def _train(variant: Fault | Healthy, material: Material, temporary: Path) -> None:
    case = Case(variant.name, CELL, None, variant, "heldout")
    data = material.data(CELL.data, variant.change).parent
    shutil.copytree(data, temporary / "data")  # Ultralytics writes its caches beside the pictures
    text = (temporary / "data" / "data.yaml").read_text().replace(str(data), str(temporary / "data"))
    (temporary / "data" / "data.yaml").write_text(text)
    start = None if variant.start == "plain" else variant.start
    model = f"{CELL.model}.yaml" if variant.start is None else str(material.weights(CELL.model, start))
    values = dict(word.split("=", 1) for word in settings_of(case) if not word.startswith(OURS))
    settings: dict[str, Any] = {key: _value(value) for key, value in values.items()}
    settings |= {
        "model": model,
        "data": str(temporary / "data" / "data.yaml"),
        "project": str(temporary),
        "plots": False,
    }
    if variant.name == "black_pictures":
        import albumentations

        settings["augmentations"] = [albumentations.RandomBrightnessContrast(brightness_limit=(-0.97, -0.95), p=1)]
    with door_of(case, Onset()):
        trainer = DetectionTrainer(overrides=settings)
        trainer.train()
        if variant.name == "resume_without_state":
            _resume(trainer)


def _resume(trainer: DetectionTrainer) -> None:
    """Go on from a checkpoint that lacks the optimizer's state."""
    checkpoint = torch.load(trainer.last, map_location="cpu", weights_only=False)
    torch.save({**checkpoint, "optimizer": None, "epoch": 1}, trainer.last)
    last = str(trainer.last)
    DetectionTrainer(overrides={"model": last, "resume": last, "data": trainer.args.data}).train()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def print_scores(folder: Path) -> None:
    """Print what is kept."""
    kept = {path.stem: json.loads(path.read_text()) for path in (folder / "plain").glob("*.json")}
    usual = set(kept.get("healthy", {}).get("messages", ()))
    rows, right = [], 0
    for fault in FAULTS:
        if fault.name not in kept:
            continue
        record = kept[fault.name]
        own = [text for text in record["messages"] if text not in usual]
        own += [record["ended"]] if record["ended"] != "complete" else []
        about = ABOUT.get(fault.name)
        hits = [text for text in own if about and re.search(about, text, re.IGNORECASE)]
        right += bool(hits)
        shown = hits or own
        rows.append((fault.name, "yes" if hits else "no", shown[0][:110].replace("|", "/") if shown else "nothing"))
    print_table(("fault", "says something about it", "first message"), rows)
    print(f"Plain Ultralytics says something about {share(right, len(rows))} of the faults.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="faults whose name holds this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    folder = (options.out / "heldout").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    names = ["healthy", *(fault.name for fault in FAULTS if not fault.needs_gpu)]
    missing = [n for n in names if options.only in n and not (folder / "plain" / f"{n}.json").is_file()]
    failures = 0
    for name, result in in_processes(perform, missing, (folder,), options.jobs):
        failures += isinstance(result, Exception)
        word = told(result) if isinstance(result, Exception) else str(result)
        print(f"{name}: {word}", file=sys.stderr, flush=True)
    print_scores(folder)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
