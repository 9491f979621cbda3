"""The faults of the benchmark and the healthy trainings, each written down before any threshold was tuned on them.

A *cell* is a model, a data set, an optimizer, a number format and a seed. The parts share neither seeds nor drawings of
the data; yolov8n and circuit boards are not in the calibration. `heldout` was trained and scored once; what was learnt
from it was then mended, and `fresh`, other boards and drawings, trained and scored once; what that taught was mended
as well, and `third`, healthy trainings alone, and `late`, for the rules that wait for 100 or 200 steps, scored once;
and once more `fourth`, healthy trainings and the faults that a knob mends, whose advice is tried; and `later`, healthy
ones as long as those of `late`, and what is not finite without the checks before; and `longer`, of 500 steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from case import Case, Cell, Healthy
from faults_of_code import OF_CODE
from faults_of_files import OF_FILES
from faults_of_settings import OF_SETTINGS

CELLS: dict[str, tuple[Cell, ...]] = {
    "calibration": (
        Cell("yolo26n", "steel-0", "AdamW", 0),
        Cell("yolo11n", "field-0", "SGD", 1),
        Cell("yolo26n", "field-0", "MuSGD", 2),
    ),
    "heldout": (
        Cell("yolov8n", "pcb-1", "AdamW", 101),
        Cell("yolo26n", "pcb-2", "SGD", 102),
        Cell("yolo26n", "steel-11", "MuSGD", 103),
        Cell("yolo11n", "steel-12", "AdamW", 104, "bf16"),
        Cell("yolo26n", "field-13", "AdamW", 105, "bf16"),
    ),
    "fresh": (
        Cell("yolo11n", "boards-1", "SGD", 201),
        Cell("yolo26n", "boards-2", "AdamW", 202),
        Cell("yolov8n", "steel-31", "MuSGD", 203),
        Cell("yolo11n", "steel-32", "SGD", 204, "bf16"),
        Cell("yolov8n", "field-33", "SGD", 205, "bf16"),
    ),
    "long": (Cell("yolov8n", "pcb-3", "AdamW", 7), Cell("yolo26n", "pcb-4", "SGD", 8)),
    "third": (
        Cell("yolov8n", "boards-3", "MuSGD", 401),
        Cell("yolo11n", "boards-4", "AdamW", 402, "bf16"),
        Cell("yolo26n", "steel-61", "SGD", 403),
        Cell("yolov8n", "steel-62", "AdamW", 404),
        Cell("yolo11n", "field-63", "MuSGD", 405, "bf16"),
    ),
    "late": (
        Cell("yolo26n", "boards-5", "AdamW", 301),
        Cell("yolo11n", "steel-51", "SGD", 302),
        Cell("yolov8n", "field-52", "MuSGD", 303),
        Cell("yolov8n", "boards-6", "SGD", 304),
    ),
    "fourth": (
        Cell("yolo26n", "boards-7", "MuSGD", 501),
        Cell("yolo11n", "boards-8", "MuSGD", 502, "bf16"),
        Cell("yolov8n", "steel-71", "SGD", 503),
        Cell("yolo11n", "steel-72", "MuSGD", 504),
        Cell("yolo26n", "field-73", "SGD", 505, "bf16"),
    ),
    "later": (
        Cell("yolo11n", "boards-9", "AdamW", 601),
        Cell("yolov8n", "boards-10", "AdamW", 602),
        Cell("yolo26n", "steel-81", "MuSGD", 603),
        Cell("yolo26n", "field-82", "AdamW", 604),
    ),
    "longer": (
        Cell("yolov8n", "boards-11", "AdamW", 701),
        Cell("yolo11n", "boards-12", "SGD", 702),
        Cell("yolo26n", "steel-91", "AdamW", 703),
    ),
    "small": (Cell("yolo26n", "field-20", "AdamW", 0),),
}
# About 100 optimiser steps of 8 pictures; the last two thirds at the full rate.
SETTINGS = {
    "steel": ["imgsz=96", "epochs=4", "mosaic=0"],  # 240 pictures
    "field": ["imgsz=96", "epochs=8", "close_mosaic=2"],  # 120 pictures
    "pcb": ["imgsz=128", "epochs=5", "mosaic=0"],  # 160 pictures
    "boards": ["imgsz=128", "epochs=5", "mosaic=0"],
}
# 255 to 270 steps: what the rules say that wait for 100 or 200
_LATE = {
    "steel": ["imgsz=96", "epochs=9", "mosaic=0"],
    "field": ["imgsz=96", "epochs=17", "close_mosaic=2"],
    "boards": ["imgsz=128", "epochs=13", "mosaic=0"],
}
OF_PART = {
    "small": {"field": ["imgsz=64", "epochs=4", "close_mosaic=1"]},  # 60 steps
    # 500 steps: when do the curves tell labels of other pictures?
    "long": {"pcb": ["imgsz=128", "epochs=25", "mosaic=0"]},
    "late": _LATE,
    "later": _LATE,
    # 500 steps: what all rules say, of healthy trainings
    "longer": {"boards": ["imgsz=128", "epochs=25", "mosaic=0"], "steel": ["imgsz=96", "epochs=17", "mosaic=0"]},
}
# Parts whose trainings begin with the checks of `tuneup doctor`.
CHECKED = ("calibration", "heldout", "fresh", "third", "fourth")
COMMON = ["batch=8", "nbs=8", "warmup_epochs=1", "workers=0", "device=cpu", "report.samples=0", "report.every=1000"]
RATES = {
    "AdamW": ["optimizer=AdamW", "lr0=0.002", "warmup_bias_lr=0"],
    "SGD": ["optimizer=SGD", "lr0=0.01"],
    "MuSGD": ["optimizer=MuSGD", "lr0=0.01"],
    "auto": ["optimizer=auto"],
}

_BY_NAME = {fault.name: fault for fault in (*OF_SETTINGS, *OF_FILES, *OF_CODE)}
# Their order decides in which cells of the calibration each one is trained.
ORDER = (
    "adamw_rate_high",
    "rate_low",
    "sgd_without_warmup",
    "nan_pictures",
    "inf_gradient",
    "overflow",
    "fp16_overflow",
    "tiny_weights",
    "dead_layer",
    "batch_of_one",
    "block_detached",
    "pooling_detached",
    "wrong_sign",
    "wrong_sign_pooling",
    "not_in_optimizer",
    "frozen_by_code",
    "frozen_random",
    "labels_shuffled",
    "classes_random",
    "classes_permuted",
    "labels_empty",
    "labels_as_corners",
    "labels_transposed",
    "box_gain",
    "class_gain_zero",
    "not_scaled",
    "resume_without_state",
    "overfitting",
    "loss_scale_forced",
    "rate_ignored",
    "all_warmup",
    "clip_tiny",
    "weight_decay",
    "black_pictures",
)
FAULTS = tuple(_BY_NAME[name] for name in ORDER)
HEALTHY: tuple[Healthy, ...] = (
    Healthy("plain"),
    Healthy("bf16", amp="bf16"),
    Healthy("fine_tuned", start="plain"),
    Healthy("fine_tuned_freeze10", ("freeze=10",), start="plain"),
    Healthy("fine_tuned_low_rate", ("lr0=0.0005",), start="plain", optimizer="AdamW"),
    Healthy("fine_tuned_bf16", start="plain", amp="bf16"),
    Healthy("resumed", resumes="whole"),
    Healthy("resumed_fine_tuned", start="plain", resumes="whole"),
    Healthy("accumulated", ("batch=2", "nbs=16", "epochs=4")),
    Healthy("step_per_16_batches", ("batch=2", "nbs=32", "epochs=8", "warmup_epochs=0.5"), start="plain"),
    Healthy("small_batch", ("batch=2", "nbs=2", "epochs=1", "warmup_epochs=0.2")),
    Healthy("large_batch", ("batch=32", "nbs=32", "epochs=12", "warmup_epochs=2")),
    Healthy("backgrounds", change="backgrounds"),
    Healthy("mosaic_closed", ("mosaic=1.0", "close_mosaic=2", "epochs=6")),
    Healthy("rate_thrice", ("lr0=0.006",), optimizer="AdamW"),
    Healthy("rate_tenth", ("lr0=0.0002",), optimizer="AdamW"),
    Healthy("sgd_rate_thrice", ("lr0=0.03",), optimizer="SGD"),
    Healthy("auto", optimizer="auto"),
    Healthy("strong_augmentation", ("mosaic=1.0", "mixup=0.2", "degrees=10", "scale=0.6")),
    Healthy("no_augmentation", ("mosaic=0", "scale=0", "translate=0", "fliplr=0", "hsv_s=0", "hsv_v=0", "epochs=5")),
)
# Of the parts `late` and `later` alone.
HEALTHY_LATE = (Healthy("accumulated_late", ("batch=2", "nbs=16", "epochs=16")),)
# In how many cells each fault and each healthy variant is trained; the next one begins with the next cell. Held out:
# every fault in all five, every healthy variant in three, which makes sixty; afresh both in three.
_FAULTS_EACH = {"calibration": 2, "heldout": 5, "fresh": 3, "long": 2, "late": 4, "fourth": 2, "later": 4}
_HEALTHY_EACH = {"calibration": 1, "long": 2, "later": 4, "small": 1}
FAULT_CELLS_EACH = {part: _FAULTS_EACH.get(part, 1) for part in CELLS}
HEALTHY_CELLS_EACH = {part: _HEALTHY_EACH.get(part, 3) for part in CELLS}
# Parts that hold some of the faults and of the healthy variants; the others hold all.
FAULTS_OF = {
    "small": (
        "adamw_rate_high",
        "rate_low",
        "inf_gradient",
        "dead_layer",
        "pooling_detached",
        "not_in_optimizer",
        "frozen_by_code",
        "labels_empty",
    ),
    "third": (),
    "long": ("labels_shuffled",),
    "late": ("labels_shuffled",),
    "longer": (),
    "later": ("nan_pictures", "inf_gradient", "overflow"),
    "fourth": tuple(fault.name for fault in FAULTS if fault.knob),
}
HEALTHY_OF = {
    "small": ("plain", "fine_tuned", "resumed", "accumulated", "backgrounds", "rate_thrice"),
    "long": ("plain",),
    "late": ("plain", "rate_tenth", "accumulated_late"),
    "longer": ("plain", "rate_tenth", "strong_augmentation"),
    "later": ("plain", "rate_tenth", "accumulated_late", "fine_tuned", "strong_augmentation"),
}


def cases(part: str) -> list[Case]:
    """Return the trainings of a part, one of `CELLS`."""
    cells = CELLS[part]
    faults = [f for f in FAULTS if f.name in FAULTS_OF.get(part, (f.name,))]
    usual = [h.name for h in HEALTHY]
    healthy = [h for h in (*HEALTHY, *HEALTHY_LATE) if h.name in HEALTHY_OF.get(part, usual)]
    found = []
    for number, fault in enumerate(faults):
        for cell in _turn(cells, number)[: FAULT_CELLS_EACH[part]]:
            found.append(Case(f"fault-{fault.name}-{cell.name}", cell, fault, fault, part))
    for number, variant in enumerate(healthy):
        for cell in _turn(cells, number)[: HEALTHY_CELLS_EACH[part]]:
            own = replace(cell, amp=variant.amp or cell.amp, seed=cell.seed + 1000)
            found.append(Case(f"healthy-{variant.name}-{own.name}", own, None, variant, part))
    return found


@cache
def case_of(part: str, name: str) -> Case:
    """Return a training of a part by its name; a case itself cannot be sent to another process."""
    return next(case for case in cases(part) if case.name == name)


def _turn(cells: Sequence[Cell], by: int) -> tuple[Cell, ...]:
    return (*cells[by % len(cells) :], *cells[: by % len(cells)])


def settings_of(case: Case) -> list[str]:
    """Return the overrides of a case, data and start left out; later ones win."""
    variant = case.variant
    optimizer = variant.optimizer or case.cell.optimizer
    of_data = OF_PART.get(case.part, SETTINGS)[case.cell.data.split("-")[0]]
    laid = [*COMMON, *of_data, *RATES[optimizer], f"amp={case.cell.amp}"]
    laid += [f"seed={case.cell.seed}", *variant.settings]
    last = {text.split("=", 1)[0]: text for text in laid}
    return list(last.values())
