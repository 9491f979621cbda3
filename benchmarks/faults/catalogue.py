"""The faults of the benchmark and the healthy trainings, each written down before any threshold was tuned on them.

A *cell* is a model, a data set, an optimizer, a number format and a seed. Calibration and held-out cells share neither
seeds nor drawings of the data; yolov8n and the circuit boards stand in held-out cells alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import doors
from doors import Door


@dataclass(frozen=True)
class Cell:
    """What a training is made of, apart from its fault.

    Args:
        model: architecture; random weights unless a fault or a healthy variant starts from trained ones.
        data: kind and seed of the drawing, or of the sample of boards.
        optimizer: at its usual rate.
        seed: of the training.
        amp: value of `train.amp`; bf16 is computed on the CPU as well.
    """

    model: str
    data: str
    optimizer: str
    seed: int
    amp: str = "false"

    @property
    def name(self) -> str:
        """Unique among the cells."""
        return f"{self.model}-{self.data}-{self.optimizer}-{self.seed}-{self.amp}"


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
    "small": (Cell("yolo26n", "field-20", "AdamW", 0),),
}
# About 100 optimiser steps of 8 pictures; the last two thirds at the full rate.
SETTINGS = {
    "steel": ["imgsz=96", "epochs=4", "mosaic=0"],  # 240 pictures
    "field": ["imgsz=96", "epochs=8", "close_mosaic=2"],  # 120 pictures
    "pcb": ["imgsz=128", "epochs=5", "mosaic=0"],  # 160 pictures
}
SMALL_SETTINGS = ["imgsz=64", "epochs=4", "close_mosaic=1"]  # 60 steps
CHECKED = ("calibration", "heldout")  # parts whose trainings are checked before they begin, as `tuneup doctor` does
COMMON = ["batch=8", "nbs=8", "warmup_epochs=1", "workers=0", "device=cpu", "report.samples=0", "report.every=1000"]
RATES = {
    "AdamW": ["optimizer=AdamW", "lr0=0.002", "warmup_bias_lr=0"],
    "SGD": ["optimizer=SGD", "lr0=0.01"],
    "MuSGD": ["optimizer=MuSGD", "lr0=0.01"],
    "auto": ["optimizer=auto"],
}


@dataclass(frozen=True)
class Fault:
    """A fault, its true cause, and what counts as having seen it.

    Args:
        name: unique.
        cause: in words.
        door: how a person brings it about: configuration, data, checkpoint, edited block, own code, resume.
        names: ids of findings that name the cause.
        sees: further ids that are right about it without naming it: a consequence, or a neighbouring cause.
        kinds: generic symptoms that are right in the alarms of other tools.
        settings: laid over those of the cell.
        change: of the labels (`material.CHANGED_LABELS`).
        start: None: random weights; "plain": trained ones; else a change of them (`material.CHANGED_WEIGHTS`).
        patch: code of the user's own.
        resumes: stop after half of the epochs and go on; "lost": without the optimizer's state.
        onset: "start" (step 0), "door" (noted by it), "resume", or "gap" (where val leaves train behind).
        knob: whether turning a knob of the configuration mends it.
        optimizer: instead of the cell's.
        needs_gpu: cannot be brought about on a CPU.
    """

    name: str
    cause: str
    door: str
    names: tuple[str, ...]
    sees: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    change: str | None = None
    start: str | None = None
    patch: Door | None = None
    resumes: str = ""
    onset: str = "start"
    knob: bool = False
    optimizer: str = ""
    needs_gpu: bool = False


_RATE_HIGH = ("optimizer.lr_too_high", "preflight.lr_too_high")
_RATE_LOW = ("optimizer.lr_too_low", "preflight.lr_too_low")
_BLEW_UP = ("loss.divergence", "gradient.exploding", "gradient.non_finite", "gradient.conflict")
_LABELS = ("labels.not_learnable", "preflight.cannot_overfit")
_PROOF = ("proof.gradient_wrong",)
_NO_BOXES = ("data.no_boxes", "preflight.no_boxes", "labels.none", "labels.none_in_train")
_OVERFIT = ("freeze=0", "scale=0", "translate=0", "fliplr=0", "hsv_h=0", "hsv_s=0", "hsv_v=0", "mosaic=0")

FAULTS: tuple[Fault, ...] = (
    Fault(
        "adamw_rate_high",
        "AdamW at a learning rate of 0.1",
        "configuration",
        _RATE_HIGH,
        _BLEW_UP,
        ("update_too_large", "exploding_gradient", "loss_oscillates", "loss_not_falling"),
        ("lr0=0.1",),
        optimizer="AdamW",
        knob=True,
    ),
    Fault(
        "rate_low",
        "a learning rate of 1e-7",
        "configuration",
        _RATE_LOW,
        ("loss.plateau", "gradient.clipped_away"),
        ("update_too_small", "loss_not_falling"),
        ("lr0=1e-7", "warmup_bias_lr=0"),
        knob=True,
    ),
    Fault(
        "sgd_without_warmup",
        "SGD at a learning rate of 1 from the first step",
        "configuration",
        _RATE_HIGH,
        _BLEW_UP,
        ("update_too_large", "exploding_gradient", "loss_oscillates", "loss_not_falling", "non_finite"),
        ("lr0=1.0", "warmup_epochs=0"),
        optimizer="SGD",
        knob=True,
    ),
    Fault(
        "nan_pictures",
        "preprocessing that divides some pictures by a deviation of zero: NaN pixels",
        "own code",
        ("gradient.non_finite", "preflight.not_finite"),
        (),
        ("non_finite",),
        patch=doors.prepared(doors.standardise_flat),
        onset="door",
    ),
    Fault(
        "inf_gradient",
        "one Inf in one gradient at one step",
        "own code",
        ("gradient.non_finite",),
        (),
        ("non_finite",),
        patch=doors.inf_in_gradient("model.5", 40),
        onset="door",
    ),
    Fault(
        "overflow",
        "a convolution whose weights are so large that its output overflows",
        "checkpoint",
        ("gradient.non_finite", "preflight.not_finite", "norm.not_finite", "layer.weights_out_of_scale"),
        ("norm.drifting", "layer.never_updated", "gradient.vanishing", "preflight.check_failed"),
        ("non_finite", "bad_initialisation", "bad_initial_loss", "vanishing_gradient", "unchanged_weights"),
        start="overflowing_conv",
        onset="start",
    ),
    Fault(
        "fp16_overflow",
        "half precision, and a convolution 10,000 times too large for it",
        "checkpoint",
        ("gradient.non_finite", "amp.skipping", "preflight.not_finite"),
        ("norm.drifting",),
        ("non_finite",),
        ("amp=true", "device=0"),
        start="huge_conv",
        knob=True,
        needs_gpu=True,
    ),
    Fault(
        "tiny_weights",
        "a convolution of the backbone a million times too small",
        "checkpoint",
        ("layer.weights_out_of_scale", "gradient.vanishing"),
        ("preflight.cannot_overfit", "labels.not_learnable", "norm.drifting"),
        ("vanishing_gradient", "bad_initialisation", "update_too_large"),
        start="tiny_conv",
    ),
    Fault(
        "dead_layer",
        "a layer whose BatchNorm biases of -20 hold every output where SiLU is flat",
        "checkpoint",
        ("layer.dead_units",),
        ("gradient.vanishing", "norm.variance_collapsed", "preflight.cannot_overfit"),
        ("dead_units", "vanishing_gradient", "bad_initialisation", "unchanged_weights"),
        start="dead_layer",
    ),
    Fault(
        "batch_of_one",
        "BatchNorm over batches of one picture",
        "configuration",
        ("norm.batch_too_small",),
        ("norm.drifting",),
        ("loss_oscillates",),
        ("batch=1", "nbs=1", "epochs=1", "warmup_epochs=0.2"),
        knob=True,
    ),
    Fault(
        "block_detached",
        "an edited Bottleneck that detaches its input; the gradient has a way around it",
        "edited block",
        (*_PROOF, "layer.never_updated"),
        ("gradient.vanishing", "preflight.cannot_overfit"),
        ("vanishing_gradient", "unchanged_weights"),
        patch=doors.edited_block(doors.BOTTLENECK, "detached"),
    ),
    Fault(
        "pooling_detached",
        "an edited SPPF that detaches its input: nothing reaches the layers before it",
        "edited block",
        (*_PROOF, "layer.never_updated"),
        ("gradient.vanishing",),
        ("vanishing_gradient", "unchanged_weights"),
        patch=doors.edited_block(doors.POOLING, "detached"),
    ),
    Fault(
        "wrong_sign",
        "an edited Bottleneck whose own backward pass has the wrong sign",
        "edited block",
        _PROOF,
        ("preflight.cannot_overfit", "gradient.conflict", "loss.plateau", "labels.not_learnable"),
        ("loss_not_falling", "loss_oscillates"),
        patch=doors.edited_block(doors.BOTTLENECK, "sign"),
    ),
    Fault(
        "wrong_sign_pooling",
        "an edited SPPF whose own backward pass has the wrong sign",
        "edited block",
        _PROOF,
        ("preflight.cannot_overfit", "gradient.conflict", "loss.plateau", "labels.not_learnable"),
        ("loss_not_falling", "loss_oscillates"),
        patch=doors.edited_block(doors.POOLING, "sign"),
    ),
    Fault(
        "not_in_optimizer",
        "an optimizer of one's own that forgets a block",
        "own code",
        ("layer.not_in_optimizer", "layer.never_updated"),
        (),
        ("unchanged_weights",),
        patch=doors.left_out_of_optimizer("model.8"),
    ),
    Fault(
        "frozen_by_code",
        "a callback that freezes a block of the neck",
        "own code",
        ("layer.frozen_unintended", "layer.never_updated"),
        (),
        ("unchanged_weights",),
        patch=doors.at_start(doors.freeze_part("model.13")),
    ),
    Fault(
        "frozen_random",
        "freeze=22 although the weights are random",
        "configuration",
        ("layer.frozen_unintended",),
        ("preflight.cannot_overfit", "layer.never_updated"),
        ("unchanged_weights", "loss_not_falling"),
        ("freeze=22",),
        knob=True,
    ),
    Fault(
        "labels_shuffled",
        "label files of other pictures",
        "data",
        ("labels.not_learnable", "labels.not_on_objects"),
        ("preflight.cannot_overfit", "loss.plateau"),
        ("loss_not_falling", "overfitting"),
        change="shuffled",
    ),
    Fault(
        "classes_random",
        "annotators who name the classes at random",
        "data",
        ("labels.not_learnable", "labels.classes_not_learnable"),
        ("preflight.cannot_overfit",),
        ("loss_not_falling",),
        change="random_classes",
    ),
    Fault(
        "classes_permuted",
        "classes of train numbered by another list than those of val",
        "data",
        ("labels.classes_differ",),
        ("labels.not_learnable", "split.deviation", "loss.overfitting"),
        ("overfitting",),
        change="permuted_in_train",
    ),
    Fault(
        "labels_empty",
        "label files without a row",
        "data",
        _NO_BOXES,
        (),
        ("class_imbalance",),
        change="empty",
    ),
    Fault(
        "labels_as_corners",
        "rows of corners where centre and size belong",
        "data",
        (
            "labels.not_on_objects",
            "labels.unusual_size",
            "labels.unusual_shape",
            "labels.covers_picture",
            "labels.outside",
            "labels.outside_clipped",
        ),
        _LABELS,
        ("loss_not_falling",),
        change="corners",
    ),
    Fault(
        "labels_transposed",
        "a converter that exchanges x and y",
        "data",
        ("labels.not_learnable", "labels.not_on_objects", "labels.turned"),
        ("preflight.cannot_overfit", "loss.plateau"),
        ("loss_not_falling",),
        change="swapped_axes",
    ),
    Fault(
        "box_gain",
        "a gain of the box loss a thousand times too large",
        "configuration",
        ("loss.term_imbalance",),
        ("optimizer.lr_too_high", "gradient.clipped_away", "preflight.cannot_overfit"),
        ("exploding_gradient", "bad_initial_loss"),
        ("box=7500",),
        knob=True,
    ),
    Fault(
        "class_gain_zero",
        "a gain of the class loss of nothing",
        "configuration",
        ("loss.term_imbalance",),
        ("preflight.cannot_overfit", "labels.not_learnable"),
        ("loss_not_falling",),
        ("cls=0.0",),
        knob=True,
    ),
    Fault(
        "not_scaled",
        "pixels of 0 to 255 where the network has learnt 0 to 1",
        "own code",
        ("norm.drifting",),
        ("preflight.not_finite", "gradient.exploding"),
        ("bad_initial_loss", "exploding_gradient"),
        start="plain",
        patch=doors.prepared(doors.forget_scaling),
    ),
    Fault(
        "resume_without_state",
        "resumed without the optimizer's state",
        "resume",
        ("resume.not_restored",),
        ("gradient.exploding", "loss.divergence"),
        ("loss_oscillates", "exploding_gradient"),
        resumes="lost",
        onset="resume",
    ),
    Fault(
        "overfitting",
        "twenty pictures, seen sixty times, without augmentation",
        "configuration",
        ("loss.overfitting",),
        ("loss.divergence",),
        ("overfitting",),
        ("fraction=20", "epochs=60", "warmup_epochs=3", *_OVERFIT[1:]),
        onset="gap",
        knob=True,
    ),
    Fault(
        "loss_scale_forced",
        "half precision with a loss scale of 2^24 from the first step",
        "own code",
        ("amp.skipping",),
        ("gradient.non_finite",),
        ("non_finite",),
        ("amp=true", "device=0"),
        patch=doors.scale_forced,
        needs_gpu=True,
    ),
    Fault(
        "rate_ignored",
        "lr0 written down, and optimizer=auto, which ignores it",
        "configuration",
        ("optimizer.auto_ignores_lr0",),
        settings=("lr0=0.0005",),
        optimizer="auto",
        knob=True,
    ),
    Fault(
        "all_warmup",
        "a warm-up that is longer than the run",
        "configuration",
        ("schedule.too_few_steps",),
        (),
        ("update_too_small", "loss_not_falling"),
        ("warmup_epochs=20",),
        knob=True,
    ),
    Fault(
        "clip_tiny",
        "gradients clipped to 0.001",
        "configuration",
        ("gradient.clipped_away",),
        ("optimizer.lr_too_low", "loss.plateau"),
        ("update_too_small", "loss_not_falling", "vanishing_gradient"),
        ("monitor.clip=0.001",),
        optimizer="SGD",
        knob=True,
    ),
    Fault(
        "weight_decay",
        "a weight decay two thousand times the usual one",
        "configuration",
        ("optimizer.weight_decay_too_high",),
        ("gradient.vanishing", "layer.weights_out_of_scale", "optimizer.lr_too_high", "loss.plateau", *_LABELS),
        ("loss_not_falling", "update_too_large", "vanishing_gradient"),
        ("weight_decay=1.0",),
        optimizer="AdamW",
        knob=True,
    ),
    Fault(
        "black_pictures",
        "a transform that makes nearly every picture black",
        "configuration",
        ("augment.black", "augment.dtype", "augment.shift", "augment.contrast_lost"),
        ("labels.not_learnable", "preflight.cannot_overfit"),
        ("loss_not_falling", "overfitting"),
        ("augment.transforms=[{RandomBrightnessContrast: {brightness_limit: [-0.97, -0.95], p: 1}}]",),
        knob=True,
    ),
)


# ---- healthy ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Healthy:
    """A training that is merely one of many ways to train; see `Fault` for the fields."""

    name: str
    settings: tuple[str, ...] = ()
    change: str | None = None
    start: str | None = None
    resumes: str = ""
    optimizer: str = ""
    amp: str = ""
    patch: Door | None = field(default=None, repr=False)
    onset: str = "start"


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
# In how many cells each fault and each healthy variant is trained; the next one begins with the next cell. Held out:
# every fault in all five, every healthy variant in three, which makes sixty.
FAULT_CELLS_EACH = {"calibration": 2, "heldout": 5, "small": 1}
HEALTHY_CELLS_EACH = {"calibration": 1, "heldout": 3, "small": 1}
SMALL_FAULTS = (
    "adamw_rate_high",
    "rate_low",
    "inf_gradient",
    "dead_layer",
    "pooling_detached",
    "not_in_optimizer",
    "frozen_by_code",
    "labels_empty",
)
SMALL_HEALTHY = ("plain", "fine_tuned", "resumed", "accumulated", "backgrounds", "rate_thrice")


@dataclass(frozen=True)
class Case:
    """One training of the benchmark: a fault or a healthy variant in a cell."""

    name: str
    cell: Cell
    fault: Fault | None
    variant: Fault | Healthy
    part: str


def cases(part: str) -> list[Case]:
    """Return the trainings of a part: `calibration`, `heldout` or `small`."""
    cells = CELLS[part]
    small = part == "small"
    faults = [f for f in FAULTS if not small or f.name in SMALL_FAULTS]
    healthy = [h for h in HEALTHY if not small or h.name in SMALL_HEALTHY]
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
    of_data = SMALL_SETTINGS if case.part == "small" else SETTINGS[case.cell.data.split("-")[0]]
    laid = [*COMMON, *of_data, *RATES[optimizer], f"amp={case.cell.amp}"]
    laid += [f"seed={case.cell.seed}", *variant.settings]
    last = {text.split("=", 1)[0]: text for text in laid}
    return list(last.values())
