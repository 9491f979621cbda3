"""The rules of rival tools: each fires at its step and alone, is silent just below, and reads no later steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from calm_history import STEPS, calm, context_with, epochs_with, norms_with, probes_with, steps_with
from fabricated_history import Shape
from hypothesis import given, settings
from hypothesis import strategies as st
from rivals import KINDS, NOT_EVALUATED, RIVALS, Alarm
from rivals_sagemaker import GRADIENT_RANGE, VANISHING

from pipeline.tensor_norms import EMPTY, NO_GRADIENT
from pipeline.training.history import History
from pipeline.training.history_prefix import history_until

SAGEMAKER, AUTOTRAINER, CS231N = RIVALS
CHANCE = (0.5 * math.log(640**2 * 2 / (5 * 32**2)), 0.5 * (math.log(640**2 * 2 / (5 * 8**2)) + 15 * 0.15**2 * 8))


def said(tool: str, *changes: Callable[[History], History]) -> list[tuple[str, str, int]]:
    return [(alarm.rule, alarm.kind, alarm.step) for alarm in RIVALS[tool](calm(*changes))]


def ratio(value: float, other: float | None = None) -> dict[str, float]:
    return {"a": value, "b": value if other is None else other}


def dead(share: float) -> dict[str, dict[str, float]]:
    return {"a.bn": {"dead": 0.0}, "b.bn": {"dead": share}}


FLAT = {epoch: 0.3 for epoch in range(12)}  # an accuracy that does not move
SWINGS = dict(enumerate([0.5, 0.7, 0.6, 0.75, 0.7, 0.8, 0.75, 0.85, 0.8, 0.9, 0.85, 0.95]))
# Both fall, and by less than 0.01 in all.
STALE = {step: 9 * 0.98**59 - 1e-4 * (step - 59) for step in range(60, 120)}
STALE_EPOCHS = {epoch: 5.0 - 5e-4 * epoch for epoch in range(1, 12)}
FIRES = [
    # Amazon SageMaker Debugger
    (SAGEMAKER, "ExplodingTensor", "non_finite", 33, [norms_with(33, 1, np.inf)]),
    (SAGEMAKER, "ExplodingTensor", "non_finite", 34, [steps_with("cls_loss", {34: math.nan})]),
    (SAGEMAKER, "ExplodingTensor", "non_finite", 35, [steps_with("non_finite", {35: ["loss"]})]),
    (SAGEMAKER, "ExplodingTensor", "non_finite", 39, [epochs_with("non_finite", {3: ["val_loss"]})]),
    (SAGEMAKER, "ExplodingTensor", "non_finite", 7, [norms_with(7, 1, np.inf), steps_with("skip_reason", {7: "amp"})]),
    (SAGEMAKER, "VanishingGradient", "vanishing_gradient", 42, [norms_with(slice(42, 99), 2, 0.9 * VANISHING / 8)]),
    (SAGEMAKER, "VanishingGradient", "vanishing_gradient", 42, [norms_with(42, 2, 0.0)]),
    (SAGEMAKER, "PoorWeightInitialization", "bad_initialisation", 9, [norms_with(9, 2, GRADIENT_RANGE / 1.5 / 8)]),
    (SAGEMAKER, "UnchangedTensor", "unchanged_weights", 51, [probes_with("update", "unmoved", {50: ["x"], 51: ["x"]})]),
    (SAGEMAKER, "UnchangedTensor", "unchanged_weights", 1, [context_with(frozen=["model.0.conv.weight"])]),
    (
        SAGEMAKER,
        "WeightUpdateRatio (large)",
        "update_too_large",
        8,
        [probes_with("update", "ratio", {8: ratio(1e-3, 11)})],
    ),
    (SAGEMAKER, "WeightUpdateRatio (small)", "update_too_small", 0, [probes_with("update", "ratio", {0: ratio(0.0)})]),
    (SAGEMAKER, "DeadRelu", "dead_units", 69, [probes_with("health", "norms", {69: dead(0.51), 79: dead(0.9)})]),
    (SAGEMAKER, "LossNotDecreasing", "loss_not_falling", 30, [steps_with("loss", {30: 9 * 0.98**20})]),
    (SAGEMAKER, "LossNotDecreasing", "loss_not_falling", 30, [steps_with("loss", {30: 1.06 * 9 * 0.98**20})]),
    (
        SAGEMAKER,
        "Overfit",
        "overfitting",
        59,
        [epochs_with("train_loss", {5: 1.0}), epochs_with("val_loss", {5: 1.11})],
    ),
    # AutoTrainer
    (AUTOTRAINER, "Exploding gradient (not finite)", "non_finite", 29, [norms_with(25, 1, np.nan)]),
    (AUTOTRAINER, "Exploding gradient (not finite)", "non_finite", 9, [steps_with("non_finite", {2: ["cls_loss"]})]),
    (AUTOTRAINER, "Exploding gradient (not finite)", "non_finite", 19, [steps_with("skip_reason", {10: "non_finite"})]),
    (AUTOTRAINER, "Exploding gradient (not finite)", "non_finite", 19, [epochs_with("non_finite", {1: ["val_loss"]})]),
    (AUTOTRAINER, "Exploding gradient", "exploding_gradient", 59, [norms_with(59, 0, 0.5 * 71)]),
    (AUTOTRAINER, "Exploding gradient", "exploding_gradient", 39, [norms_with(slice(0, 60), 0, 0.5 * 71)]),
    (AUTOTRAINER, "Exploding gradient", "exploding_gradient", 19, [epochs_with("val_loss", {1: 1e5})]),
    (AUTOTRAINER, "Vanishing gradient", "vanishing_gradient", 89, [norms_with(89, 0, 9e-5)]),
    (
        AUTOTRAINER,
        "Vanishing gradient",
        "vanishing_gradient",
        89,
        [norms_with(89, 0, NO_GRADIENT), norms_with(89, 3, 9e-5)],
    ),
    (AUTOTRAINER, "Dying ReLU", "dead_units", 79, [norms_with(79, [0, 1, 2, 4], 0.0)]),
    (AUTOTRAINER, "Slow convergence", "loss_not_falling", 39, [epochs_with("val_map50", FLAT)]),
    (AUTOTRAINER, "Oscillating loss", "loss_oscillates", 39, [epochs_with("val_map50", SWINGS)]),
    # CS231n
    (CS231N, "loss is not a number", "non_finite", 35, [steps_with("non_finite", {35: ["loss"]})]),
    (CS231N, "loss is not a number", "non_finite", 36, [norms_with(35, 1, np.nan)]),
    (CS231N, "loss at chance", "bad_initial_loss", 0, [steps_with("cls_loss", {0: 1.01 * CHANCE[1]})]),
    (CS231N, "loss at chance", "bad_initial_loss", 0, [steps_with("cls_loss", {0: 0.99 * CHANCE[0]})]),
    (CS231N, "loss above three times the first", "update_too_large", 88, [steps_with("loss", {88: 27.1})]),
    (
        CS231N,
        "weights:updates ratio (high)",
        "update_too_large",
        50,
        [probes_with("update", "ratio", {s: ratio(1.1e-2) for s in (2, 50, 60)})],
    ),
    (CS231N, "weights:updates ratio (low)", "update_too_small", 5, [probes_with("update", "ratio", {5: ratio(9e-5)})]),
    (CS231N, "loss barely changing", "loss_not_falling", 19, [epochs_with("train_loss", {1: 9 * 0.98**9 * 0.991})]),
    (CS231N, "train/val gap", "overfitting", 79, [epochs_with("val_loss", {6: 3.0, 7: 3.1})]),
]
SILENT = [
    (SAGEMAKER, [norms_with(slice(42, 99), 2, 1.1 * VANISHING / 8)]),
    (SAGEMAKER, [norms_with(slice(None), 2, NO_GRADIENT)]),  # nothing to see, so nothing that vanishes
    (SAGEMAKER, [norms_with(9, 2, GRADIENT_RANGE / 1.3 / 8)]),
    (SAGEMAKER, [norms_with(10, 2, GRADIENT_RANGE / 1.5 / 8)]),  # only the first ten steps are looked at
    (SAGEMAKER, [probes_with("update", "unmoved", {50: ["x"], 51: ["y"], 52: ["x"]})]),
    (SAGEMAKER, [probes_with("update", "ratio", {8: ratio(9.9), 9: ratio(1.1e-8)})]),
    (SAGEMAKER, [probes_with("health", "norms", {69: dead(0.5)})]),
    (SAGEMAKER, [steps_with("loss", {31: 20.0})]),  # between two comparisons
    (SAGEMAKER, [steps_with("loss", {30: 0.998 * 9 * 0.98**20})]),  # down by more than 0.1 %
    (SAGEMAKER, [steps_with("loss", {30: 1.04 * 9 * 0.98**20})]),  # up by less than 5 %
    (SAGEMAKER, [epochs_with("non_finite", {3: ["sample_loss"]})]),  # a measurement of ours
    (AUTOTRAINER, [norms_with(slice(0, 30), 0, 100.0)]),  # before three tenths of the epochs
    (AUTOTRAINER, [norms_with(59, 0, 0.5 * 69)]),
    (AUTOTRAINER, [norms_with(58, 0, 100.0)]),  # between two ends of epochs
    (AUTOTRAINER, [norms_with(99, 0, 100.0), epochs_with("val_map50", {9: 0.7})]),  # has converged
    (AUTOTRAINER, [norms_with(89, 0, 1.1e-4)]),
    (AUTOTRAINER, [norms_with(89, [0, 4], 9e-5)]),  # small, as the last one is
    (AUTOTRAINER, [norms_with(79, [0, 1, 4], 0.0)]),
    (AUTOTRAINER, [norms_with(25, 1, np.inf), steps_with("skip_reason", {25: "amp"})]),
    (AUTOTRAINER, [epochs_with("val_map50", FLAT | {1: 0.325})]),
    (AUTOTRAINER, [epochs_with("val_loss", {1: 9.9e4})]),
    (AUTOTRAINER, [epochs_with("val_map50", {epoch: value - 0.4 for epoch, value in SWINGS.items()})]),  # not converged
    (CS231N, [steps_with("cls_loss", {0: 0.99 * CHANCE[1]})]),
    (CS231N, [steps_with("cls_loss", {0: 1.01 * CHANCE[0]})]),
    (CS231N, [steps_with("cls_loss", {0: 0.1}), context_with(pretrained=True)]),
    (CS231N, [steps_with("loss", {88: 26.9})]),
    (CS231N, [probes_with("update", "ratio", {0: ratio(0.0), 4: ratio(1.0)})]),  # in warm-up
    (CS231N, [probes_with("update", "ratio", {50: {"a": 1.0, "b": 1e-3, "c": 1e-3}})]),  # one layer of three
    (CS231N, [norms_with(STEPS - 1, 1, np.nan)]),  # the loss after it is not seen any more
    (CS231N, [norms_with(35, 1, np.inf), steps_with("skip_reason", {35: "amp"})]),
    (CS231N, [epochs_with("train_loss", {1: 9 * 0.98**9 * 0.98})]),
    (CS231N, [epochs_with("val_loss", {6: 3.0, 8: 3.0})]),
]


@pytest.mark.parametrize(
    ("tool", "rule", "kind", "step", "changes"), FIRES, ids=[f"{i}-{case[1]}" for i, case in enumerate(FIRES)]
)
def test_a_rule_fires_alone_and_at_its_step(tool, rule, kind, step, changes):
    assert said(tool, *changes) == [(rule, kind, step)]


@pytest.mark.parametrize(("tool", "changes"), SILENT, ids=[f"{i}-{case[0]}" for i, case in enumerate(SILENT)])
def test_a_rule_is_silent_just_below_its_threshold(tool, changes):
    assert said(tool, *changes) == []


def test_overtraining_waits_for_ten_validations_and_five_steps_without_a_new_optimum():
    changes = [steps_with("loss", STALE), epochs_with("val_loss", STALE_EPOCHS)]
    # val is at its optimum in epoch 1; the tenth validation after it is epoch 11, at step 119.
    assert ("Overtraining", "overfitting", 119) in said(SAGEMAKER, *changes)
    improving = steps_with("loss", {step: 9 - 0.005 * step for step in range(120)})  # by 0.01 in every third step
    assert not any(rule == "Overtraining" for rule, _, _ in said(SAGEMAKER, *changes, improving))


def test_a_calm_training_is_left_in_peace_by_all():
    assert all(judge(calm()) == [] for judge in RIVALS.values())


def test_a_training_that_has_not_begun_is_left_in_peace():
    nothing = History(pl.DataFrame(), pl.DataFrame(), [], [], EMPTY, [], {})
    assert all(judge(nothing) == [] for judge in RIVALS.values())


def test_alarms_come_by_step_and_within_a_step_in_the_tools_own_order():
    found = said(
        AUTOTRAINER, epochs_with("val_map50", FLAT), norms_with(39, [0, 1, 2, 4], 0.0), norms_with(5, 0, np.nan)
    )
    assert [(rule, step) for rule, _, step in found] == [
        ("Exploding gradient (not finite)", 9),
        ("Dying ReLU", 39),
        ("Slow convergence", 39),
    ]


def test_every_rule_that_is_scored_has_a_test_in_which_it_fires():
    from rivals_autotrainer import RULES as AUTOTRAINERS
    from rivals_cs231n import RULES as CS231NS
    from rivals_sagemaker import RULES as SAGEMAKERS

    tested = {(tool, rule, kind) for tool, rule, kind, _, _ in FIRES} | {(SAGEMAKER, "Overtraining", "overfitting")}
    rules = {SAGEMAKER: SAGEMAKERS, AUTOTRAINER: AUTOTRAINERS, CS231N: CS231NS}
    assert tested == {(tool, rule.name, rule.kind) for tool, some in rules.items() for rule in some}
    assert not any(rule.name in NOT_EVALUATED[tool] for tool, some in rules.items() for rule in some)


@given(st.lists(st.floats(-1e3, 1e3, width=32, allow_subnormal=False), min_size=1, max_size=40))
def test_what_stands_in_for_unknown_elements_never_makes_a_rule_fire_that_would_not(elements):
    norm = float(np.linalg.norm(elements)) * (1 + 1e-12)
    assert np.abs(elements).mean() <= norm
    assert np.ptp(np.percentile(elements, [5, 95])) <= math.sqrt(2) * norm


def test_what_is_not_evaluated_has_its_reason():
    assert NOT_EVALUATED.keys() == RIVALS.keys()
    assert all(len(reason) > 10 for reasons in NOT_EVALUATED.values() for reason in reasons.values())


def test_an_alarm_of_an_unknown_kind_is_refused():
    assert "dead_units" in KINDS
    with pytest.raises(ValueError, match="not 'dead_unit'"):
        Alarm(SAGEMAKER, "DeadRelu", "dead_unit", 3)


def test_a_crash_is_not_swallowed():
    broken = replace(calm(), context={})  # a history always says how many epochs are meant
    with pytest.raises(KeyError, match="epochs"):
        RIVALS[AUTOTRAINER](broken)


def _random_history(seed: int) -> History:
    """Return a history in which about everything happens somewhere, so that most rules fire at some step."""
    rng = np.random.default_rng(seed)
    rate = float(rng.choice([0.0, 0.01, 0.05]))

    def some(rows: int, value: Callable[[], Any]) -> dict[int, Any]:
        return {int(row): value() for row in np.flatnonzero(rng.random(rows) < rate)}

    norms = rng.choice(
        [0.5, 0.0, 1e-9, 1e-5, 90.0, np.nan, np.inf, NO_GRADIENT], (STEPS, 5), p=[1 - rate, *[rate / 7] * 7]
    )
    accuracy = np.clip(np.cumsum(rng.normal(0.02, 0.05, 12)), 0, 1)
    return calm(
        lambda history: replace(history, norms=replace(history.norms, values=norms.astype(np.float32))),
        steps_with(
            "loss", {i: float(v) for i, v in enumerate(9 * 0.99 ** np.arange(STEPS) * rng.lognormal(0, 0.2, STEPS))}
        ),
        steps_with("loss", some(STEPS, lambda: None)),
        steps_with("non_finite", some(STEPS, lambda: ["loss"])),
        steps_with("skip_reason", some(STEPS, lambda: str(rng.choice(["amp", "non_finite"])))),
        epochs_with("val_loss", {e: float(v) for e, v in enumerate(rng.choice([3.0, 5.0, 6.0, 9.0, 2e5], 12))}),
        epochs_with("val_map50", {epoch: float(value) for epoch, value in enumerate(accuracy)}),
        epochs_with("non_finite", some(12, lambda: ["val_loss"])),
        probes_with("update", "ratio", some(STEPS, lambda: ratio(float(rng.choice([0.0, 1e-5, 0.1, 20]))))),
        probes_with("update", "unmoved", {s: ["x"] for s in range(STEPS) if rng.random() < 3 * rate}),
        probes_with("health", "norms", {s: dead(float(rng.random())) for s in range(STEPS) if rng.random() < rate}),
        context_with(frozen=["x"] if rng.random() < rate else []),
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, STEPS))
def test_an_alarm_is_the_same_when_the_history_ends_after_it(seed, cut):
    whole, part = _random_history(seed), history_until(_random_history(seed), cut)
    for judge in RIVALS.values():
        assert judge(part) == [alarm for alarm in judge(whole) if alarm.step < cut]


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "MuSGD"])
def test_a_measured_shape_gives_the_same_alarms_step_by_step(optimizer):
    whole = Shape(optimizer=optimizer, steps=60, planned=60, seed=3).build()
    for judge in RIVALS.values():
        alarms = judge(whole)
        for cut in range(1, 61, 7):
            assert judge(history_until(whole, cut)) == [alarm for alarm in alarms if alarm.step < cut]


def test_textbook_rules_alarm_on_a_healthy_detector():
    """A box head without large objects in the batch has a gradient of exactly zero: measured, and no fault."""
    found = [alarm.rule for alarm in RIVALS[SAGEMAKER](Shape(seed=1).build())]
    assert "VanishingGradient" in found
