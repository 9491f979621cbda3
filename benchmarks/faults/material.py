"""What the fault benchmark trains on: three sets in YOLO's layout, spoilt copies of them, and starting weights.

Everything is made in the folder of the benchmark. The demo sets are drawn; the circuit boards are quarters of DeepPCB
pictures, which are no part of this project: `--pcb FOLDER` says where train.json and images/ lie.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

import pipeline
from pipeline.config import load_config
from pipeline.model_source import load_weights
from pipeline.training import session

SPLITS = ("train", "val", "test")
PCB_SIDE = 320  # pixels of a quarter; a defect is about 30 pixels wide
BOARDS = {"pcb": "train.json", "boards": "test.json"}  # of DeepPCB, from which a set is cut
PCB_PICTURES = {"train": 160, "val": 40}
BASE_DATA = "field-7700"  # on which the starting weights are trained; in no part of the benchmark
BASE_SETTINGS = ["imgsz=96", "batch=8", "nbs=8", "epochs=6", "workers=0", "device=cpu", "warmup_epochs=1"]
BACKGROUNDS = "backgrounds"
Labels = list[list[str]]  # the rows of one label file, split at spaces


class Material:
    """The data sets and checkpoints of a benchmark folder; each is made when it is first asked for.

    Args:
        folder: of the benchmark.
        pcb: folder of DeepPCB, or None: cells that need it are left out by the runner.
    """

    def __init__(self, folder: Path, pcb: Path | None) -> None:
        self.folder = folder
        self.pcb = pcb

    def data(self, name: str, change: str | None = None) -> Path:
        """Return the data.yaml of a set such as `steel-7` (kind and seed of its drawing), spoilt by a change or not."""
        plain = self.folder / "data" / name
        if not (plain / "data.yaml").is_file():
            kind, seed = name.split("-")
            if kind in BOARDS:
                self._cut_boards(plain, int(seed), BOARDS[kind])
            else:
                pipeline.make_demo(kind, plain, seed=int(seed))
        if change is None:
            return plain / "data.yaml"
        spoilt = self.folder / "data" / f"{name}-{change}"
        if not (spoilt / "data.yaml").is_file():
            add_backgrounds(plain, spoilt) if change == BACKGROUNDS else spoil(plain, spoilt, change)
        return spoilt / "data.yaml"

    def weights(self, model: str, change: str | None = None) -> Path:
        """Return trained weights of an architecture, from another set than the benchmark's; changed or not."""
        plain = self.folder / "weights" / f"{model}.pt"
        if not plain.is_file():
            run = session.train(load_config(None, [*BASE_SETTINGS, *self._base(model)]))
            plain.parent.mkdir(parents=True, exist_ok=True)
            part = plain.with_suffix(".part")
            shutil.copyfile(run.weights("last"), part)
            part.replace(plain)
        if change is None:
            return plain
        changed = self.folder / "weights" / f"{model}-{change}.pt"
        if not changed.is_file():
            network = load_weights(plain).float()
            with torch.no_grad():
                CHANGED_WEIGHTS[change](network)
            record = torch.load(plain, map_location="cpu", weights_only=False)  # our own file
            part = changed.with_suffix(".part")
            torch.save({**record, "model": network}, part)
            part.replace(changed)
        return changed

    def _base(self, model: str) -> list[str]:
        own = [f"model={model}.yaml", f"data={self.data(BASE_DATA)}", f"runs={self.folder / 'weights' / 'runs'}"]
        return [*own, "optimizer=AdamW", "lr0=0.002", "warmup_bias_lr=0", "mosaic=0", "monitor.preflight=0"]

    def _cut_boards(self, target: Path, seed: int, file: str) -> None:
        """Cut quarters of randomly chosen boards; a box stays with the quarter that holds its centre."""
        if self.pcb is None:
            raise SystemExit(f"DeepPCB is needed for this cell: --pcb FOLDER (with {file} and images/)")
        record = json.loads((self.pcb / file).read_text())
        chosen = random.Random(seed).sample(record["images"], sum(PCB_PICTURES.values()) // 4)
        boxes: dict[int, list[dict]] = {}
        for row in record["annotations"]:
            boxes.setdefault(row["image_id"], []).append(row)
        first = min(row["id"] for row in record["categories"])
        quarters = [(image, part) for image in chosen for part in range(4)]
        for number, (image, part) in enumerate(quarters):
            split = "train" if number < PCB_PICTURES["train"] else "val"
            left, top = part % 2 * PCB_SIDE, part // 2 * PCB_SIDE
            rows = [_row_in_quarter(box, left, top, first) for box in boxes.get(image["id"], [])]
            stem = f"{Path(image['file_name']).stem}_{part}"
            for kind in ("images", "labels"):
                (target / kind / split).mkdir(parents=True, exist_ok=True)
            picture = cv2.imread(str(self.pcb / "images" / image["file_name"]))
            cut = picture[top : top + PCB_SIDE, left : left + PCB_SIDE]
            cv2.imwrite(str(target / "images" / split / f"{stem}.png"), cut)
            text = "".join(f"{row}\n" for row in rows if row)
            (target / "labels" / split / f"{stem}.txt").write_text(text)
        names = {row["id"] - first: row["name"] for row in record["categories"]}
        description = {"path": str(target), "train": "images/train", "val": "images/val", "names": names}
        (target / "data.yaml").write_text(yaml.safe_dump(description))


def _row_in_quarter(box: dict, left: int, top: int, first: int) -> str:
    x, y, width, height = box["bbox"]
    if not (left <= x + width / 2 < left + PCB_SIDE and top <= y + height / 2 < top + PCB_SIDE):
        return ""
    x0, x1 = max(x - left, 0), min(x + width - left, PCB_SIDE)
    y0, y1 = max(y - top, 0), min(y + height - top, PCB_SIDE)
    centre = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
    return " ".join([str(box["category_id"] - first), *(f"{value / PCB_SIDE:.6f}" for value in centre)])


# ---- spoilt labels ---------------------------------------------------------------------------------------------------


def spoil(source: Path, target: Path, change: str) -> None:
    """Copy a data set and change its label files by one of `CHANGED_LABELS`."""
    description = _copied(source, target)
    classes = len(description["names"])
    for split in SPLITS:
        files = sorted((target / "labels" / split).glob("*.txt"))
        labels = [[line.split() for line in file.read_text().splitlines()] for file in files]
        changed = CHANGED_LABELS[change](labels, split, classes)
        for file, rows in zip(files, changed, strict=True):
            file.write_text("".join(" ".join(row) + "\n" for row in rows))
    (target / "data.yaml").write_text(yaml.safe_dump({**description, "path": str(target)}))


def _copied(source: Path, target: Path) -> dict:
    """Copy all but data.yaml and return that: written last, it says that a copy has been changed to its end."""
    shutil.rmtree(target, ignore_errors=True)  # half of a copy
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("data.yaml"))
    return yaml.safe_load((source / "data.yaml").read_text())


def _shuffled(labels: list[Labels], split: str, classes: int) -> list[Labels]:
    """Give every picture the label file of another one, as after sorting one of two lists."""
    mixed = list(labels)
    random.Random(5).shuffle(mixed)
    return mixed


def _random_classes(labels: list[Labels], split: str, classes: int) -> list[Labels]:
    """Draw the class of every box anew, as annotators do who were never told the classes apart."""
    drawn = random.Random(5)
    return [[[str(drawn.randrange(classes)), *row[1:]] for row in rows] for rows in labels]


def _permuted_in_train(labels: list[Labels], split: str, classes: int) -> list[Labels]:
    """Number the classes of train by another list than those of val, as after two exports of one project."""
    if split != "train":
        return labels
    return [[[str((int(row[0]) + 1) % classes), *row[1:]] for row in rows] for rows in labels]


def _empty(labels: list[Labels], split: str, classes: int) -> list[Labels]:
    return [[] for _ in labels]


def _corners(labels: list[Labels], split: str, classes: int) -> list[Labels]:
    """Write x1 y1 x2 y2 where YOLO's format wants centre and size."""
    return [[_as_corners(row) for row in rows] for rows in labels]


def _as_corners(row: list[str]) -> list[str]:
    x, y, width, height = map(float, row[1:5])
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return [row[0], *(f"{value:.6f}" for value in corners)]


def _swapped_axes(labels: list[Labels], split: str, classes: int) -> list[Labels]:
    """Exchange x and y, as converters do that take rows for x."""
    return [[[row[0], row[2], row[1], row[4], row[3]] for row in rows] for rows in labels]


CHANGED_LABELS: dict[str, Callable[[list[Labels], str, int], list[Labels]]] = {
    "shuffled": _shuffled,
    "random_classes": _random_classes,
    "permuted_in_train": _permuted_in_train,
    "empty": _empty,
    "corners": _corners,
    "swapped_axes": _swapped_axes,
    "unlabelled": lambda labels, split, classes: [rows if i % 5 > 1 else [] for i, rows in enumerate(labels)],
}


def add_backgrounds(source: Path, target: Path) -> None:
    """Copy a data set and paint over the objects of every third picture of train: healthy, with 30 % backgrounds."""
    description = _copied(source, target)
    for number, file in enumerate(sorted((target / "labels" / "train").glob("*.txt"))):
        if number % 10 < 3:
            (picture_file,) = (target / "images" / "train").glob(f"{file.stem}.*")
            cv2.imwrite(str(picture_file), _without_objects(cv2.imread(str(picture_file)), file.read_text()))
            file.write_text("")
    (target / "data.yaml").write_text(yaml.safe_dump({**description, "path": str(target)}))


def _without_objects(picture: np.ndarray, text: str) -> np.ndarray:
    height, width = picture.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for line in text.splitlines():
        x, y, w, h = (float(word) for word in line.split()[1:5])
        left, right = int((x - w / 2) * width) - 3, int((x + w / 2) * width) + 3
        top, bottom = int((y - h / 2) * height) - 3, int((y + h / 2) * height) + 3
        mask[max(top, 0) : bottom, max(left, 0) : right] = 255
    return cv2.inpaint(picture, mask, 3, cv2.INPAINT_TELEA)


# ---- spoilt weights --------------------------------------------------------------------------------------------------


def _scale_conv(layer: str, factor: float) -> Callable[[torch.nn.Module], None]:
    def change(network: torch.nn.Module) -> None:
        network.get_submodule(layer).conv.weight.mul_(factor)

    return change


def _sink_bias(network: torch.nn.Module) -> None:
    network.get_submodule("model.5").bn.bias.fill_(-20.0)


CHANGED_WEIGHTS: dict[str, Callable[[torch.nn.Module], None]] = {
    "tiny_conv": _scale_conv("model.5", 1e-6),
    "huge_conv": _scale_conv("model.3", 1e4),
    "overflowing_conv": _scale_conv("model.3", 1e30),
    "dead_layer": _sink_bias,
}
