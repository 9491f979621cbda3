"""What plain Ultralytics says of the same faults: all that it logs, one training of each fault.

    python benchmarks/faults/plain.py OUT [--jobs N] [--only TEXT]      # trains what is not kept yet, then prints

YOLO26n on the drawn steel of the held-out part. Lines that a healthy training brings as well, numbers apart, and the
list of all settings say nothing about a fault and are left out. Of what is left, a line that holds the words of `ABOUT`
says something about its fault; all that is left was read as well, and is printed.
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
from run import door_of, folder_of, in_processes, positive, told
from score import print_table, share
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER

CELL = next(cell for cell in {case.cell for case in cases("heldout")} if cell.data == "steel-11" and cell.seed == 103)
_NUMBERS = r"\bnan\b|\binf\b|finite|diverg|explo"
_RATE = rf"{_NUMBERS}|learning rate|\blr\d?\b"
_LABELS = "label|annotation|box"
_FROZEN = "requires_grad|freez|frozen"
_GRADIENT = "gradient|detach|never updated|not updated|unused"
# Words by which a line is about its fault, generously.
ABOUT = {
    "adamw_rate_high": _RATE,
    "rate_low": _RATE,
    "sgd_without_warmup": _RATE,
    "nan_pictures": _NUMBERS,
    "inf_gradient": _NUMBERS,
    "overflow": _NUMBERS,
    "tiny_weights": "weight|gradient",
    "dead_layer": "dead|gradient",
    "batch_of_one": "batch",
    "block_detached": _GRADIENT,
    "pooling_detached": _GRADIENT,
    "wrong_sign": _GRADIENT,
    "wrong_sign_pooling": _GRADIENT,
    "not_in_optimizer": f"{_FROZEN}|parameter",
    "frozen_by_code": _FROZEN,
    "frozen_random": _FROZEN,
    "labels_shuffled": _LABELS,
    "classes_random": f"{_LABELS}|class",
    "classes_permuted": f"{_LABELS}|class",
    "labels_empty": _LABELS,
    "labels_as_corners": _LABELS,
    "labels_transposed": _LABELS,
    "box_gain": "gain|box",
    "class_gain_zero": "gain|cls|class",
    "not_scaled": "scale|range|255",
    "resume_without_state": "optimizer",
    "overfitting": "overfit|patience",
    "rate_ignored": "lr0",
    "all_warmup": "warmup|warm-up",
    "weight_decay": "decay",
    "black_pictures": f"{_NUMBERS}|black|dark|bright",
}
SAME_AS_HEALTHY = ("clip_tiny",)  # plain Ultralytics has no such setting: it clips at 10 whatever one asks for
# Lines that list a setting as it was given, for every training, and are about none of them.
SETTINGS_LISTED = re.compile(r"INFO: (engine/trainer:|optimizer: \w+\(|albumentations: |Transferred )")
OURS = ("monitor.", "report.", "augment.", "contract.")  # keys that plain Ultralytics does not have


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the lines of a message in plain text, each once."""
        for line in re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", record.getMessage()).splitlines():
            text = f"{record.levelname}: {line.strip()}"
            if line.strip() and text not in self.texts:
                self.texts.append(text)


def perform(name: str, folder: Path) -> str:
    """Train a fault, or `healthy`, with plain Ultralytics and keep what it said."""
    variant = variant_of(name)
    heard, ended, level = Heard(), "complete", LOGGER.level
    LOGGER.setLevel(logging.INFO)
    LOGGER.addHandler(heard)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            _train(variant, Material(folder, None), Path(temporary))
        except Exception as error:  # whatever a person would see
            ended = f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            LOGGER.removeHandler(heard)
            LOGGER.setLevel(level)
    record = {"fault": name, "messages": heard.texts, "ended": ended}
    (folder / "plain").mkdir(exist_ok=True)
    (folder / "plain" / f"{name}.json").write_text(json.dumps(record))
    return ended


def variant_of(name: str) -> Fault | Healthy:
    """Return the fault of a name, or the healthy training."""
    return next((fault for fault in FAULTS if fault.name == name), Healthy("plain"))


def data_and_model(variant: Fault | Healthy, material: Material) -> tuple[Path, str]:
    """Return the folder of the pictures and the model of a training; both are made if need be."""
    data = material.data(CELL.data, variant.change).parent
    start = None if variant.start == "plain" else variant.start
    return data, f"{CELL.model}.yaml" if variant.start is None else str(material.weights(CELL.model, start))


def case_of(variant: Fault | Healthy) -> Case:
    """Return the training of a fault, or of none, in the one cell."""
    return Case(variant.name, CELL, variant if isinstance(variant, Fault) else None, variant, "heldout")


def _train(variant: Fault | Healthy, material: Material, temporary: Path) -> None:
    case = case_of(variant)
    data, model = data_and_model(variant, material)
    shutil.copytree(data, temporary / "data")  # Ultralytics writes its caches beside the pictures
    text = (temporary / "data" / "data.yaml").read_text().replace(str(data), str(temporary / "data"))
    (temporary / "data" / "data.yaml").write_text(text)
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
    usual = {_without_numbers(text) for text in kept["healthy"]["messages"]}
    rows, right = [], 0
    for name in (fault.name for fault in FAULTS if fault.name in kept and fault.name not in SAME_AS_HEALTHY):
        record = kept[name]
        own = [text for text in record["messages"] if _without_numbers(text) not in usual]
        own = [text for text in own if not SETTINGS_LISTED.match(text)]
        own += [record["ended"]] if record["ended"] != "complete" else []
        hits = [text for text in own if re.search(ABOUT[name], text, re.IGNORECASE)]
        right += bool(hits)
        rest = [text for text in own if text not in hits]
        shown = (_cell(hits), _cell(rest))
        rows.append((name, "yes" if hits else "no", *shown))
    print_table(("fault", "says something about it", "what", "what else it says"), rows)
    print(f"Plain Ultralytics says something about {share(right, len(rows))} of the faults.")


def _without_numbers(text: str) -> str:
    """Return a line without its figures, folders and the bars of its progress."""
    text = re.sub(r"(/[\w.+-]+)+", "/", text)
    text = re.sub(r"[\u2500-\u259f]+", "", text)
    return re.sub(r"\s+", " ", re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?", "#", text))


def _cell(texts: list[str]) -> str:
    """Return the first lines for a cell of a table."""
    short = [text[:110].replace("|", "/") for text in texts[:2]]
    return "; ".join(short) + (f"; and {len(texts) - 2} more" if len(texts) > 2 else "") or "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="faults whose name holds this text")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1)
    options = parser.parse_args()
    folder = folder_of(options.out, "heldout")
    names = ["healthy", *(f.name for f in FAULTS if not f.needs_gpu and f.name not in SAME_AS_HEALTHY)]
    wanted = [n for n in names if options.only in n or n == "healthy"]  # without the healthy one all is news
    missing = [n for n in wanted if not (folder / "plain" / f"{n}.json").is_file()]
    if missing == ["healthy"] and options.only and options.only not in "healthy":
        sys.exit(f"{options.only}: no fault has this text in its name")
    material, failures = Material(folder, None), 0
    for name in missing:  # before several processes ask for them
        data_and_model(variant_of(name), material)
    for name, result in in_processes(perform, missing, (folder,), options.jobs):
        failures += isinstance(result, Exception)
        word = told(result) if isinstance(result, Exception) else str(result)
        print(f"{name}: {word}", file=sys.stderr, flush=True)
    if not (folder / "plain" / "healthy.json").is_file():
        sys.exit("the healthy training is missing: without it no line can be told from the usual ones")
    print_scores(folder)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
