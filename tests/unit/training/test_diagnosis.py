"""Diagnosis on fabricated histories: silent on healthy shapes, and each fault's shape brings its own finding first."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fabricated_history import LAYERS, OPTIMIZERS, Shape
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.findings import Finding
from pipeline.tensor_norms import EMPTY, NO_GRADIENT
from pipeline.training.causes import FOLLOWS, causes_first
from pipeline.training.diagnosis import RULES, diagnose, diagnose_with
from pipeline.training.history import History
from pipeline.training.history_prefix import history_until

Case = tuple[str, Shape, str, str, int, str, str]


def alarms(history: History) -> list[Finding]:
    return [finding for finding in diagnose(history) if finding.severity != "info"]


def first(history: History) -> Finding:
    findings = diagnose(history)
    assert findings, "nothing was found"
    return findings[0]


# ---- healthy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("planned", [60, 120, 300, 900])
def test_a_healthy_run_is_silent_at_every_moment(optimizer: str, planned: int) -> None:
    history = Shape(steps=planned, planned=planned, warmup=planned // 8, optimizer=optimizer).build()
    for steps in [*range(0, planned, max(5, planned // 24)), planned]:
        found = diagnose(history_until(history, steps))
        assert [f.message for f in found] == [], f"at step {steps}"


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    steps=st.integers(0, 200),
    fall=st.floats(0.25, 0.8),
    cosine=st.floats(-0.05, 0.4),
)
def test_healthy_runs_of_any_seed_are_silent(seed: int, optimizer: str, steps: int, fall: float, cosine: float) -> None:
    shape = Shape(steps=steps, planned=200, seed=seed, optimizer=optimizer, loss=lambda p: 1 - fall * p, cosine=cosine)
    assert alarms(shape.build()) == []


def test_a_converged_network_has_small_gradients_and_is_silent() -> None:
    fading = Shape(steps=240, planned=240, norm=lambda steps, name: np.exp(-steps / 15.0) + 1e-6)
    assert alarms(fading.build()) == []


def test_the_end_of_mosaic_is_no_alarm() -> None:
    def loss(part: float) -> float:
        return 0.8 - 0.3 * part if part < 0.75 else 0.45 - 0.1 * part

    close = {"event": "close_mosaic", "epoch": 6, "step": 90}
    assert alarms(Shape(loss=loss, events=[close]).build()) == []


def test_the_neck_of_a_level_without_objects_may_fall_silent() -> None:
    def silent(steps: np.ndarray, name: str) -> np.ndarray:
        return np.exp(-steps / 6.0) if name.startswith(("model.10.", "model.11.")) else np.ones(len(steps))

    assert alarms(Shape(steps=200, planned=200, norm=silent).build()) == []


def test_statistics_that_lag_behind_for_an_epoch_are_no_alarm() -> None:
    """Seen in a healthy run that gathers 16 batches: val 8, 8, 8, 1636, 410, 83 while training goes on well."""

    def val(part: float) -> float:
        return 0.9 if part < 0.6 else 200 * 0.25 ** ((part - 0.6) * 8)

    lagging = {"dead": 0.7, "constant": 0.0, "variance_ratio": 300.0, "mean_shift": 5.2, "smallest_variance": 1e-3}
    shape = Shape(val=val, sample=val, health={layer: lagging for layer, _ in LAYERS}, shares=(1e-4, 0.9998))
    found = {finding.id for finding in alarms(history_until(shape.build(), 100))}
    assert found <= {"norm.drifting"}


def test_a_short_or_small_training_says_nothing_about_its_labels() -> None:
    """Healthy starts on circuit boards: the loss has fallen by 7 to 30 % after 100 steps, by 17 % after 240."""
    slow = {"loss": lambda p: 1 - 0.1 * p, "map50": 0.0}
    assert alarms(Shape(steps=380, planned=380, **slow).build()) == []  # type: ignore[arg-type]
    pairs = {"images": lambda steps: [2] * len(steps)}
    assert alarms(Shape(steps=440, planned=440, columns=pairs, **slow).build()) == []  # type: ignore[arg-type]


def test_a_small_rate_is_not_blamed_on_the_labels() -> None:
    """Seen at a tenth of AdamW's rate on circuit boards: after 500 steps the loss has fallen by 20 %."""
    curves: dict[str, Any] = {"loss": lambda p: 1 - 0.2 * p, "sample": lambda p: 1 - 0.3 * p, "map50": 0.005}
    told = [
        {f.id for f in alarms(Shape(steps=450, planned=450, context={"lr0_requested": rate}, **curves).build())}
        for rate in (0.0002, 0.002)
    ]
    assert ["labels.not_learnable" in ids for ids in told] == [False, True]


def test_the_classes_come_first_in_random_weights() -> None:
    """Seen on circuit boards: cls has 99.8 % of the gradient for a hundred steps, at Ultralytics' own gains."""
    shares = (2e-5, 0.9999)
    assert alarms(Shape(shares=shares).build()) == []
    for context in ({"gains": {"box": 7.5, "cls": 50.0, "dfl": 1.5}}, {"pretrained": True}):
        found = {finding.id for finding in alarms(Shape(shares=shares, context=context).build())}
        assert "loss.term_imbalance" in found, context


def test_a_loss_that_rose_when_objects_were_assigned_and_falls_again_does_not_diverge() -> None:
    """Seen on circuit boards from random weights: 3.0, 3.8, 10.7, 11.8, 10.3 ... 8.2 at step 170, 6.9 at step 290."""

    def late(part: float) -> float:
        return 0.45 if part < 0.15 else 1.2 - 0.4 * part

    assert alarms(Shape(steps=200, planned=200, loss=late).build()) == []
    assert "loss.divergence" in {
        f.id for f in alarms(Shape(steps=200, planned=200, loss=lambda p: 0.95 if p < 0.15 else 0.75 + 1.3 * p).build())
    }


def assigned_from(epoch: int, part: str) -> History:
    """Return a training whose box loss in a part is next to nothing before an epoch: no object is assigned."""
    history = Shape(steps=360, planned=360, per_epoch=30, val=lambda p: 0.9).build()
    early = pl.col("epoch") < epoch
    boxes = [name for name in history.epochs.columns if name.startswith(part) and name.endswith("_box_loss")]
    rest = [name for name in history.epochs.columns if name.startswith(part) and name.endswith("_cls_loss")]
    epochs = history.epochs.with_columns(
        *(pl.when(early).then(pl.col(n) * 0.01).otherwise(pl.col(n)) for n in boxes),
        *(pl.when(early).then(pl.col(n) * 0.05).otherwise(pl.col(n)) for n in rest),
    )
    return replace(history, epochs=epochs)


def test_a_loss_on_val_of_nothing_is_no_best() -> None:
    """Seen with 16 batches a step: val_box 3.2, 0.0, 2.9, 2.7, because running statistics lagged behind once."""
    assert alarms(assigned_from(3, "val_")) == []
    rising = Shape(steps=360, planned=360, per_epoch=30, val=lambda p: 1.0 if p < 0.5 else 12 * p, map50=0.0)
    assert "loss.divergence" in {finding.id for finding in alarms(rising.build())}


def test_a_loss_on_val_that_rises_while_detection_gets_better_does_not_diverge() -> None:
    """Seen with 16 batches a step: val 8.9 to 63, its mAP50 0.07 to 0.13."""
    rising = Shape(steps=360, planned=360, per_epoch=30, val=lambda p: 1.0 if p < 0.5 else 12 * p, map50=0.1)
    assert "loss.divergence" not in {finding.id for finding in alarms(rising.build())}


def test_batches_that_differ_by_magnitudes_do_not_diverge_before_they_rise_above_all_of_them() -> None:
    """Seen with batches of two from random weights: 0.6, 9.0, 8.1, 0.6, 9.9, ... and then 9 all the time."""

    def noisy(height: float) -> Shape:
        def losses(steps: np.ndarray) -> np.ndarray:
            return np.where(steps < 40, np.where(steps % 3 == 0, 13.0, 7.0), height)

        columns = {f"{b}_{t}_loss": losses for b in ("o2m", "o2o") for t in ("box", "cls")}
        return Shape(steps=80, planned=80, columns={**columns, "loss": losses})

    told = [{finding.id for finding in alarms(noisy(height).build())} for height in (11.0, 14.0)]
    assert ["loss.divergence" in ids for ids in told] == [False, True]


def test_a_loss_on_val_that_comes_down_from_lagging_statistics_is_not_learnt_by_heart() -> None:
    """Seen with 16 batches a step: 9, 37674, 18188, 1375, 324, 53, 42, 15, the sample likewise."""
    learnt = {"loss": lambda p: 1 - 0.9 * p, "sample": lambda p: 1 - 0.9 * p}
    heights = {0.125: 0.9, 0.25: 60.0, 0.375: 30.0, 0.5: 20.0, 0.625: 12.0, 0.75: 6.0, 0.875: 3.0, 1.0: 1.5}
    sinking = Shape(steps=240, planned=240, per_epoch=30, val=lambda p: heights[p], **learnt)  # type: ignore[arg-type]
    assert "loss.overfitting" not in {finding.id for finding in alarms(sinking.build())}


def test_statistics_are_not_judged_while_weights_move_from_where_they_began() -> None:
    """Seen with batches of two, after 54 steps of 8 batches: 40 layers by up to 8,000 times the variance."""
    still = {"variance_ratio": 1.0, "mean_shift": 0.1}
    off = {"model.0": still, "model.5": {"variance_ratio": 8000.0, "mean_shift": 67.0}}
    context = {"batches_per_epoch": 120}  # of which 8 make a step
    told = [
        {f.id for f in alarms(Shape(steps=n, planned=n, sample=lambda p: 1.2, health=off, context=context).build())}
        for n in (150, 250)
    ]
    assert ["norm.drifting" in ids for ids in told] == [False, True]


def late_assignment(at: int, times: float) -> dict[str, Any]:
    """Columns of a start that assigns no object before a step: loss and gradient sink to nothing and rise again."""

    def loss(steps: np.ndarray) -> np.ndarray:
        return np.where(steps < at, 2.0 * np.exp(-steps / 12), 2.0)

    def norm(steps: np.ndarray) -> np.ndarray:
        return np.where(steps < at, 30 * np.exp(-steps / 10), np.where(steps < at + 60, 30.0, 30.0 * times))

    boxes = {f"{branch}_{term}_loss": loss for branch in ("o2m", "o2o") for term in ("box", "cls")}
    return {**boxes, "loss": loss, "grad_norm_before_clip": norm}


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_gradients_are_compared_once_objects_are_assigned(optimizer: str) -> None:
    """Seen with YOLOv8n on circuit boards: no object for 65 steps, gradients from 0.05 to 40 from then on."""

    def told(times: float) -> set[str]:
        shape = Shape(steps=160, planned=160, optimizer=optimizer, columns=late_assignment(65, times))
        return {finding.id for finding in alarms(replace(shape, context={"clip": 10.0}).build())}

    growing = {"gradient.exploding", "gradient.clipped_away"}
    assert not growing & told(1.0)
    assert growing & told(300.0)


def test_a_late_start_is_no_slow_one() -> None:
    """Seen at a tenth of the rate on circuit boards: no object is assigned for 130 steps, then the loss stands."""

    def ids(steps: int) -> set[str]:
        shape = Shape(steps=steps, planned=steps, columns=late_assignment(130, 1.0), map50=0.0)
        return {finding.id for finding in alarms(shape.build())}

    slow = {"labels.not_learnable", "loss.plateau"}
    assert not slow & ids(340)
    assert slow & ids(660)


def test_a_loss_on_val_that_is_off_on_train_pictures_as_well_does_not_diverge() -> None:
    """Seen with 8 batches of two a step: val 9.6 to 67.5 while training stood at 6, the sample as far off."""
    rising = Shape(steps=360, planned=360, per_epoch=30, val=lambda p: 1.0 if p < 0.5 else 12 * p, map50=0.0)
    off = replace(rising, sample=rising.val)
    told = [{finding.id for finding in alarms(shape.build())} for shape in (rising, off)]
    assert ["loss.divergence" in ids for ids in told] == [True, False]


def test_what_gets_no_better_on_train_pictures_is_not_learnt_by_heart() -> None:
    gap: dict[str, Any] = {"val": lambda p: 0.8 if p < 0.4 else 1.1 + 0.1 * p, "loss": lambda p: 0.75 - 0.01 * p}
    stands = Shape(steps=240, planned=240, sample=lambda p: 0.75, **gap)
    falls = Shape(steps=240, planned=240, sample=lambda p: 0.75 - 0.3 * p, **{**gap, "loss": lambda p: 0.75 - 0.3 * p})
    told = [{finding.id for finding in alarms(shape.build())} for shape in (stands, falls)]
    assert ["loss.overfitting" in ids for ids in told] == [False, True]


def test_what_gets_worse_in_training_is_not_learnt_by_heart() -> None:
    """Seen on circuit boards at a tenth of the usual rate: objects are still being assigned."""
    curves: dict[str, Any] = {"val": lambda p: 0.9 if p < 0.5 else 1.2, "sample": lambda p: 0.9 - 0.3 * p}
    told = [
        {finding.id for finding in alarms(Shape(steps=240, planned=240, loss=loss, **curves).build())}
        for loss in (lambda p: 0.8 + 0.1 * p, lambda p: 0.8 - 0.1 * p)
    ]
    assert ["loss.overfitting" in ids for ids in told] == [False, True]


def test_new_classes_of_a_trained_network_come_first_too() -> None:
    """Seen in fine-tuning on a set of other classes: 99.6 % of the gradient before the first step."""
    context = {"pretrained": True, "gains": {"box": 7.5, "cls": 0.5, "dfl": 1.5}}
    shapes = [Shape(steps=n, planned=n, shares=(1e-4, 0.9998), context=context) for n in (60, 160)]
    told = ["loss.term_imbalance" in {finding.id for finding in alarms(shape.build())} for shape in shapes]
    assert told == [False, True]


def test_outputs_behind_lagging_statistics_may_stand_still() -> None:
    """Seen at three times the usual rate of SGD: half of a layer constant once, behind 22 times the variance."""
    still, lagging = {"constant": 0.8}, {"variance_ratio": 22.0, "mean_shift": 3.0}
    layers = [layer for layer, _ in LAYERS]
    spoilt = {layers[4]: still, **{layer: lagging for layer in layers[5:8]}}
    assert "norm.variance_collapsed" not in {finding.id for finding in alarms(Shape(health=spoilt).build())}
    assert "norm.variance_collapsed" in {finding.id for finding in alarms(Shape(health={layers[4]: still}).build())}


# ---- one fault each --------------------------------------------------------------------------------------------------


def skipped(numbers: range, reason: str) -> dict[str, Any]:
    return {
        "skipped": lambda steps: np.isin(steps, numbers),
        "skip_reason": lambda steps: [reason if step in numbers else None for step in steps],
    }


def faded(start: int, layer: str) -> Any:
    return lambda steps, name: np.where((steps > start) & name.startswith(f"{layer}."), 1e-5, 1.0)


def incident(step: int, **more: Any) -> dict[str, Any]:
    record = {"name": f"step-{step:06}", "step": step, "epoch": 1, "tensors": ["model.2.conv.weight"]}
    return {**record, "replay": f"tuneup doctor incidents/step-{step:06}", **more}


PICTURE = {"phase": "pictures", "files": ["bad.jpg"], "told_apart": True}
ANY = -1  # step

# id, shape, severity, layer ("" for none), step of onset, words of the message, start of the advice
CASES: list[Case] = [
    ("optimizer.lr_too_high", Shape(ratio=lambda s: 0.1, context={"lr0_requested": 0.1, "lr0": 0.1}), "warning", "", 0,
     "10 % per step", "train.lr0=0.002:"),
    ("optimizer.lr_too_high", Shape(ratio=lambda s: 0.4, optimizer="SGD", context={"lr0_requested": 1.0, "lr0": 1.0},
     loss=lambda p: 1.0 if p < 0.1 else 1e-6), "error", "", 0, "the loss is zero", "train.lr0=0.006:"),
    ("optimizer.lr_too_low", Shape(ratio=lambda s: 5e-7, context={"lr0_requested": 1e-7}, loss=lambda p: 1.0),
     "warning", "", ANY, "less than 1e-05", "train.lr0=0.002:"),
    ("optimizer.auto_ignores_lr0", Shape(context={"optimizer_requested": "auto", "lr0_requested": 0.005}), "warning",
     "", 0, "ignores lr0=0.005", "train.optimizer=AdamW with train.momentum=0.9 with train.warmup_bias_lr=0: naming"),
    ("optimizer.auto_ignores_lr0", Shape(context={"optimizer_requested": "auto", "lr0_requested": 0.0001}), "warning",
     "", 0, "ignores lr0=0.0001", "train.optimizer=AdamW with train.momentum=0.9 with train.warmup_bias_lr=0: naming"),
    ("optimizer.auto_ignores_lr0", Shape(context={"optimizer_requested": "auto", "lr0_requested": 0.02}), "warning",
     "", 0, "ignores lr0=0.02", "train.optimizer=AdamW with train.momentum=0.9 with train.warmup_bias_lr=0 with "
     "train.lr0=0.002: writes down"),
    ("gradient.vanishing", Shape(steps=150, planned=300, norm=faded(60, "model.2")), "warning", "model.2", 61,
     "has fallen to", "model=yolo26n.pt:"),
    ("gradient.vanishing", Shape(norm=faded(-1, "model.3")), "warning", "model.3", ANY, "of the median layer's",
     "model=yolo26n.pt:"),
    ("gradient.exploding", Shape(steps=160, planned=160, columns={"grad_norm_before_clip": lambda s:
     np.where(s > 120, 4e3, 6.0) + s % 3}), "warning", "", 121, "times its median", "train.lr0=0.0007:"),
    ("gradient.non_finite", Shape(columns=skipped(range(40, 41), "non_finite"), incidents=[incident(40, **PICTURE)]),
     "warning", "", 40, "pixels of bad.jpg", "data: repair or leave out bad.jpg"),
    ("gradient.non_finite", Shape(columns=skipped(range(40, 45), "non_finite"), incidents=[incident(s) for s in
     range(40, 45)]), "error", "", 40, "5 steps in all", "train.lr0=0.0007:"),
    ("gradient.clipped_away", Shape(optimizer="SGD", context={"lr0_requested": 0.01}, columns={
     "grad_norm_before_clip": lambda s: 6.0 * np.exp(np.maximum(s - 40, 0) / 15)}), "warning", "", 100,
     "clipping now divides", "monitor.clip="),
    ("gradient.clipped_away", Shape(optimizer="SGD", context={"clip": 0.001}), "warning", "", 16,
     "clip=0.001 divides", "monitor.clip=10:"),
    ("gradient.head_drowns_backbone", Shape(norm=lambda s, n: np.where((s > 60) & n.startswith("model.12."), 1e4, 1.0)),
     "warning", "", 100, "times the backbone's", "train.freeze=6:"),
    ("gradient.conflict", Shape(cosine=-0.6), "warning", "model.0", ANY, "mean cosine -0.", "train.lr0=0.0007:"),
    ("layer.not_in_optimizer", Shape(context={"not_in_optimizer": ["model.4.conv.weight"]}), "error", "model.4", 0,
     "not in the optimizer", "callbacks:"),
    ("layer.never_updated", Shape(norm=lambda s, n: _cut(s, n)), "error",
     "model.2", 0, "no gradient reached", "model=yolo26n.yaml:"),
    ("layer.never_updated", Shape(unmoved=("model.3.conv.weight", "model.12.cv2.2.conv.weight")), "error", "model.3", 0,
     "yet never moved", "train.freeze=0:"),
    ("layer.frozen_unintended", Shape(context={"frozen": ["model.0.conv.weight"], "freeze": ["model.0."]}), "warning",
     "model.0", 0, "random values", "train.freeze=0:"),
    ("layer.weights_out_of_scale", Shape(ratio=lambda s: 3e-3, layer_ratio={"model.5": 900.0}), "warning", "model.5",
     ANY, "far too small", "model=yolo26n.pt:"),
    ("layer.dead_units", Shape(health={"model.4": {"dead": 1.0}}), "error", "model.4.bn", 0, "100 % of the outputs",
     "model=yolo26n.pt:"),
    ("norm.batch_too_small", Shape(context={"batch": 1}), "warning", "", 0, "batch=1", "train.batch=4:"),
    ("norm.batch_too_small", Shape(context={"batch": 2}, health={"model.9": {"values": 8.0}}), "warning", "model.9.bn",
     0, "from 8 values per channel", "train.batch=16:"),
    ("norm.variance_collapsed", Shape(health={"model.4": {"constant": 0.8}}), "warning", "model.4.bn", 14,
     "channels are constant", "model=yolo26n.pt:"),
    ("norm.not_finite", Shape(health={"model.4": {"non_finite": 1.0}}), "error", "model.4.bn", 0, "overflows",
     "model=yolo26n.pt:"),
    ("optimizer.weight_decay_too_high", Shape(context={"weight_decay": 5.0, "momentum": 0.9}), "warning", "", 0,
     "takes 1 % of every weight", "train.weight_decay=0.0005:"),
    ("optimizer.weight_decay_too_high", Shape(optimizer="SGD", context={"weight_decay": 0.02, "momentum": 0.9}),
     "warning", "", 0, "takes 0.2 % of every weight", "train.weight_decay=0.0005:"),
    ("loss.term_imbalance", Shape(context={"gains": {"box": 7.5, "cls": 0.0, "dfl": 1.5}}), "warning", "", 0,
     "the gain of cls is 0", "train.cls=0.5:"),
    ("norm.drifting", Shape(health={"model.0": {"variance_ratio": 1.5e-5, "smallest_variance": 14.0}}), "error",
     "model.0.bn", ANY, "times as large", "augment: divide pixels by 255"),
    ("norm.drifting", Shape(steps=600, planned=600, sample=lambda p: 1.2,
     health={"model.5": {"mean_shift": 40.0}}), "warning", "model.5.bn", ANY, "deviations away", "train.lr0"),
    ("loss.term_imbalance", Shape(shares=(0.9999, 2e-5), context={"gains": {"box": 7500.0, "cls": 0.5, "dfl": 1.5}}),
     "warning", "", 14, "box has 99.99 %", "train.box=7.5:"),
    ("loss.divergence", Shape(loss=lambda p: 1 - p if p < 0.5 else 0.5 + 1.5 * (p - 0.5)), "warning", "", ANY,
     "times its best", "train.lr0=0.0007:"),
    ("loss.overfitting", Shape(steps=240, planned=240, loss=lambda p: 1 - 0.9 * p, sample=lambda p: 1 - 0.9 * p,
     val=lambda p: 1 - p if p < 0.4 else 0.6 + 0.2 * (p - 0.4)), "warning", "", ANY, "above that on unaugmented",
     "train.epochs="),
    ("loss.overfitting", Shape(steps=90, planned=90, per_epoch=3, warmup=6, context={"train_images": 20},
     loss=lambda p: 1 - 0.8 * p, val=lambda p: 0.95), "warning", "", ANY, "learnt by heart", "label more"),
    ("loss.overfitting", Shape(steps=90, planned=90, per_epoch=3, warmup=6, context={"train_images": 20},
     loss=lambda p: 1 - 0.8 * p, val=lambda p: 1 - 0.4 * p), "warning", "", ANY, "learnt by heart", "label more"),
    ("loss.overfitting", Shape(steps=90, planned=90, per_epoch=3, warmup=6, loss=lambda p: 1 - 0.8 * p,
     val=lambda p: 1 - 0.4 * p, context={"train_images": 20, "augmentation": ["hsv_v"]}), "warning", "", ANY,
     "learnt by heart", "augment.scale=0.5 with augment.translate=0.1 with"),
    ("loss.overfitting", Shape(steps=90, planned=90, per_epoch=3, warmup=6, loss=lambda p: 1 - 0.8 * p,
     sample=lambda p: 0.6, val=lambda p: 0.95 - p if p < 0.3 else 0.65 + 0.4 * (p - 0.3),
     context={"train_images": 20, "augmentation": ["fliplr"]}), "warning", "", ANY, "learnt by heart",
     "train.epochs=9:"),
    ("loss.plateau", Shape(steps=360, planned=600, loss=lambda p: 1 - min(p, 0.16) * 1.9, map50=0.0), "warning", "",
     ANY, "has stood at", "train.lr0=0.006:"),
    ("labels.not_learnable", Shape(steps=450, planned=450, loss=lambda p: 1 - 0.02 * p, map50=0.0), "warning", "", 450,
     "weights have moved", "data: look at"),
    ("labels.not_learnable", Shape(steps=450, planned=450, loss=lambda p: 1 - 0.2 * p, sample=lambda p: 1 - 0.3 * p,
     map50=0.005), "warning", "", 450, "validation finds nothing", "data: look at"),
    ("data.no_boxes", Shape(context={"train_boxes": 0}), "error", "", 0, "not one box", "data=PATH"),
    ("schedule.too_few_steps", Shape(warmup=70), "warning", "", 0, "120 optimiser steps in all: warm-up takes 58 %",
     "train.warmup_epochs=0.8:"),
    ("amp.skipping", Shape(columns={**skipped(range(11), "amp"), "loss_scale": lambda s:
     2.0 ** (24 - np.minimum(s, 11))}, context={"precision": "fp16"}), "warning", "", 0,
     "11 steps in a row", "train.amp=bf16:"),
    ("resume.not_restored", Shape(context={"restored": {"optimizer_tensors": 0, "optimizer_tensors_expected": 366}},
     events=[{"event": "resume", "epoch": 4, "step": 60}]), "error", "", 60, "0 tensors instead of 366", "model=RUN"),
    ("resume.not_restored", Shape(events=[{"event": "resume", "epoch": 4, "step": 60}], loss=lambda p: 1 - p if p < 0.5
     else 1.2 - 0.4 * p), "warning", "", 60, "times what it was", "model=RUN"),
]  # fmt: skip


def _cut(steps: np.ndarray, name: str) -> np.ndarray:
    return np.full(len(steps), -np.inf) if name.startswith("model.2.") else np.ones(len(steps))


def build(shape: Shape) -> History:
    """Build a history; a norm of minus infinity stands for no gradient at all."""
    history = shape.build()
    values = np.where(np.isneginf(history.norms.values), NO_GRADIENT, history.norms.values).astype(np.float32)
    norms = type(history.norms)(history.norms.tensors, history.norms.layers, history.norms.steps, values)
    return History(
        history.steps, history.epochs, history.events, history.probes, norms, history.incidents, history.context
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_fault_is_named_first_with_step_layer_and_a_concrete_value(case: Case) -> None:
    name, shape, severity, layer, step, words, advice = case
    found = first(build(shape))
    assert (found.id, found.severity) == (name, severity), [f.message for f in diagnose(build(shape))]
    assert words in found.message
    assert found.advice.startswith(advice), found.advice
    assert not layer or layer in (found.evidence.get("layer"), *found.evidence.get("layers", ()))
    if step != ANY:
        assert found.evidence["step"] == step


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_findings_speak_plainly_and_fit_json(case: Case) -> None:
    for finding in diagnose(build(case[1])):
        assert finding.message.count("\n") == 0
        assert "nan" not in finding.message.split()
        assert "nan" not in finding.advice
        assert Finding.from_dict(finding.to_dict()) == finding
        pl.DataFrame([{"evidence": str(finding.evidence)}])


# What the checks before a training tell; `test_preflight` and `test_proof` bring each about.
EARLY = {f"preflight.{name}" for name in ("cannot_overfit", "lr_too_high", "lr_too_low", "no_boxes", "not_finite")}
EARLY |= {"proof.gradient_wrong"}
# What the audit tells; `tests/unit/data` brings each about.
OF_LABELS = {"labels.covers_picture", "labels.not_on_objects", "labels.outside", "labels.outside_clipped"}


def test_every_id_has_a_case() -> None:
    known = {case[0] for case in CASES} | {"diagnosis.rule_failed", *EARLY, *OF_LABELS}
    named = set(FOLLOWS) | {cause.partition("=")[0] for causes in FOLLOWS.values() for cause in causes}
    assert named <= known


def test_boxes_beyond_the_picture_follow_from_corners_alone() -> None:
    beyond = Finding("labels.outside_clipped", "warning", "763 label rows: the box stands out of its picture")

    def told(explanation: str | None) -> list[str]:
        misread = Finding("labels.not_on_objects", "warning", "as rows x1 y1 x2 y2 do", {"explanation": explanation})
        return [finding.severity for finding in causes_first([beyond, misread])]

    assert told("corners_as_centre") == told("corners_as_size") == ["info", "warning"]
    assert told("axes") == told(None) == ["warning", "warning"]


def test_every_finding_has_a_section_and_a_picture() -> None:
    docs = Path(__file__).resolve().parents[3] / "docs"
    sections = set(re.findall(r"^## (\S+)$", (docs / "diagnoses.md").read_text(), re.MULTILINE))
    assert sections == {case[0] for case in CASES} | {"diagnosis.rule_failed"}
    for name in sections - {"diagnosis.rule_failed"}:
        assert (docs / "diagnoses" / f"{name}.svg").stat().st_size < 100_000


# ---- the whole -------------------------------------------------------------------------------------------------------


def test_what_follows_from_a_cause_is_a_note() -> None:
    shape = Shape(ratio=lambda s: 0.4, health={"model.4": {"dead": 0.9}}, loss=lambda p: 1.0 if p < 0.2 else 2.0)
    found = {finding.id: finding for finding in diagnose(shape.build())}
    assert found["optimizer.lr_too_high"].severity == "error"
    assert found["layer.dead_units"].severity == "info"
    assert found["layer.dead_units"].evidence["follows_from"] == ["optimizer.lr_too_high"]


def test_what_a_check_tells_follows_from_what_spoilt_it() -> None:
    early = Finding("preflight.lr_too_high", "warning", "x", {"lr0": 0.1}, "y")
    later = Finding("norm.batch_too_small", "warning", "x")
    first, second = causes_first([early, later])
    assert (first.severity, first.evidence) == ("info", {"lr0": 0.1, "follows_from": ["norm.batch_too_small"]})
    assert second == later
    assert causes_first([early]) == [early]


def test_a_rule_that_crashes_is_a_finding() -> None:
    def judge_nothing(history: History) -> Finding | None:
        raise KeyError("gone")

    found = diagnose_with([judge_nothing, *RULES], Shape(context={"train_boxes": 0}).build())
    assert [finding.id for finding in found][:1] == ["data.no_boxes"]
    note = next(finding for finding in found if finding.id == "diagnosis.rule_failed")
    assert note.severity == "info"
    assert "judge_nothing: KeyError" in note.message


def test_an_empty_history_is_silent() -> None:
    assert diagnose(History(pl.DataFrame(), pl.DataFrame(), [], [], EMPTY, [], {})) == []


@pytest.mark.parametrize("key", sorted(Shape().build().context))
def test_a_missing_context_key_breaks_nothing(key: str) -> None:
    history = Shape().build()
    less = {name: value for name, value in history.context.items() if name != key}
    for context in (less, {**less, key: None}):
        parts = (history.steps, history.epochs, history.events, history.probes, history.norms, history.incidents)
        assert alarms(History(*parts, context)) == []


@pytest.mark.parametrize("column", Shape().build().steps.columns)
def test_a_missing_or_null_column_breaks_nothing(column: str) -> None:
    history = Shape().build()
    for steps in (history.steps.drop(column), history.steps.with_columns(pl.lit(None).alias(column))):
        parts = (history.epochs, history.events, history.probes, history.norms, history.incidents, history.context)
        found = diagnose(History(steps, *parts))
        assert [f for f in found if f.severity != "info" or f.id == "diagnosis.rule_failed"] == []


def test_null_figures_in_probes_break_nothing() -> None:
    history = Shape().build()
    probes = copy.deepcopy(history.probes)
    for probe in probes:
        for key in ("ratio", "group_ratio", "norms", "shares", "cosine", "layer_cosine"):
            value = probe.get(key)
            if isinstance(value, dict):
                probe[key] = {k: {n: None for n in v} if isinstance(v, dict) else None for k, v in value.items()}
            elif key in probe:
                probe[key] = None
    parts = (history.norms, history.incidents, history.context)
    found = diagnose(History(history.steps, history.epochs, history.events, probes, *parts))
    assert "diagnosis.rule_failed" not in [f.id for f in found]


@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: case[0])
def test_diagnosis_is_pure(case: Case) -> None:
    history = build(case[1])
    kept = copy.deepcopy(
        (history.events, history.probes, history.incidents, dict(history.context), history.norms.values)
    )
    steps = history.steps.clone()
    once, twice = diagnose(history), diagnose(history)
    assert [f.to_dict() for f in once] == [f.to_dict() for f in twice]
    assert steps.equals(history.steps)
    assert kept[:4] == (history.events, history.probes, history.incidents, dict(history.context))
    assert np.array_equal(kept[4], history.norms.values, equal_nan=True)


@pytest.mark.parametrize("name", ["optimizer.lr_too_high", "layer.dead_units", "layer.never_updated", "data.no_boxes"])
def test_what_was_found_early_stays_found(name: str) -> None:
    history = build(next(case[1] for case in CASES if case[0] == name))
    hits = [name in [f.id for f in alarms(history_until(history, steps))] for steps in range(0, 121, 10)]
    assert hits == sorted(hits), "found, then forgotten"
    assert hits[2]


def test_findings_come_worst_first() -> None:
    shape = Shape(context={"optimizer_requested": "auto", "lr0_requested": 0.005, "train_boxes": 0}, warmup=40)
    assert [f.severity for f in diagnose(shape.build())] == ["error", "warning", "info"]


def test_a_single_branch_model_is_judged_too() -> None:
    def single(history: History) -> History:
        steps = history.steps.rename({f"o2m_{t}_loss": f"{t}_loss" for t in ("box", "cls", "l1")})
        steps = steps.drop("o2m", "o2o", *(f"o2o_{t}_loss" for t in ("box", "cls", "l1")))
        parts = (history.epochs, history.events, history.probes, history.norms, history.incidents, history.context)
        return History(steps, *parts)

    assert alarms(single(Shape().build())) == []
    assert first(single(Shape(health={"model.4": {"dead": 1.0}}).build())).id == "layer.dead_units"


def test_diagnosis_needs_neither_torch_nor_ultralytics() -> None:
    code = "import sys, pipeline.training.diagnosis; sys.exit(bool({'torch', 'ultralytics'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_layers_of_the_fabricated_network_are_those_of_its_norms() -> None:
    assert Shape(steps=3).build().norms.layer_names == tuple(name for name, _ in LAYERS)


def test_what_random_weights_send_back_before_the_first_step_is_not_judged() -> None:
    history = Shape(shares=(0.9999, 2e-5)).build()
    probes = [probe for probe in history.probes if probe["kind"] != "terms" or not probe["step"]]
    parts = (history.steps, history.epochs, history.events, probes, history.norms, history.incidents)
    assert "loss.term_imbalance" not in [finding.id for finding in diagnose(History(*parts, history.context))]
    pretrained = {**history.context, "pretrained": True}
    assert "loss.term_imbalance" in [finding.id for finding in diagnose(History(*parts, pretrained))]


def test_pictures_that_are_not_finite_are_not_blamed_on_the_rate() -> None:
    shape = Shape(ratio=lambda s: 0.07)
    history = shape.build()
    for incident, severity in (
        ({"step": 9, "phase": "pictures"}, "warning"),
        ({"step": 9, "phase": "forward"}, "error"),
    ):
        parts = (history.steps, history.epochs, history.events, history.probes, history.norms, [incident])
        found = {finding.id: finding for finding in diagnose(History(*parts, history.context))}
        assert found["optimizer.lr_too_high"].severity == severity
