"""From the records of trainings to verdicts: signs, pairs, missing runs, how often chance is taken for an effect."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.ablation_result import Ablation, Mode, Plan, Record
from pipeline.ablation_statistics import seeds_needed

SETTINGS = {"mosaic": "1", "GaussNoise": "p: 0.3", "GaussNoise#2": "p: 0.1", "fliplr": "0.5"}


def record(arm: str, seed: int, score: float, map50: float | None = None) -> Record:
    return Record(arm, seed, f"{arm}-seed{seed}", score, score + 0.3 if map50 is None else map50, 60.0, False)


def plan_of(mode: Mode = "leave-one-out", seeds: int = 3, settings: dict[str, str] = SETTINGS) -> Plan:
    return Plan(mode, "metal", settings, tuple(range(7, 7 + seeds)), 30, "test")


def ablation(scores: dict[str, list[float]], plan: Plan) -> Ablation:
    """Return an ablation in which the entries score so, by the names of their arms."""
    records = [record(arm, seed, s) for arm, held in scores.items() for seed, s in zip(plan.seeds, held, strict=False)]
    return Ablation(plan, tuple(records))


@pytest.mark.parametrize(("mode", "sign"), [("leave-one-out", -1), ("add-one-in", 1)])
def test_more_than_0_means_that_the_entry_helps(mode: Mode, sign: int) -> None:
    plan = plan_of(mode, seeds=4, settings={"mosaic": "1", "fliplr": "0.5"})
    base = [0.40, 0.42, 0.41, 0.44]
    steps = [0.050, 0.051, 0.052, 0.051]
    better, worse = ([b + s * sign * step for b, step in zip(base, steps, strict=True)] for s in (1, -1))
    rows = ablation({plan.reference: base, plan.arm("mosaic"): better, plan.arm("fliplr"): worse}, plan).rows
    assert [(row.entry, row.verdict) for row in rows] == [("mosaic", "helps"), ("fliplr", "hurts")]
    assert rows[0].contribution is not None
    assert rows[0].contribution.mean == pytest.approx(0.051)
    expected = stats.ttest_1samp(steps, 0.0)
    assert rows[0].contribution.p == pytest.approx(expected.pvalue)
    assert rows[0].corrected == pytest.approx(2 * expected.pvalue)
    assert rows[0].map50 is not None
    assert rows[0].map50.mean == pytest.approx(0.051)


def test_trainings_are_paired_by_seed() -> None:
    """Between seeds the scores differ by far more than between arms; only pairs see the difference."""
    plan = plan_of(seeds=4, settings={"mosaic": "1"})
    full = [0.1, 0.5, 0.3, 0.7]
    found = ablation({"full": full, "without-mosaic": [s - 0.01 - 0.001 * i for i, s in enumerate(full)]}, plan)
    assert found.rows[0].verdict == "helps"
    assert found.noise == pytest.approx(np.std(full, ddof=1), rel=0.01)


def test_chance_is_called_chance_and_the_seeds_that_would_tell_are_named() -> None:
    plan = plan_of(settings={"mosaic": "1"})
    row = ablation({"full": [0.40, 0.42, 0.41], "without-mosaic": [0.39, 0.43, 0.405]}, plan).rows[0]
    assert row.verdict == "not distinguishable"
    assert row.needed is not None
    assert row.needed > 3
    assert row.words == f"not distinguishable (needs about {row.needed} seeds to see a difference of this size)"


def test_a_difference_close_to_0_needs_more_seeds_than_anybody_trains() -> None:
    plan = plan_of(settings={"mosaic": "1"})
    row = ablation({"full": [0.40, 0.42, 0.41], "without-mosaic": [0.39, 0.43, 0.4099]}, plan).rows[0]
    assert row.words == "not distinguishable (needs more than 1,000 seeds to see a difference of this size)"


def test_an_entry_that_never_acts_has_no_effect() -> None:
    plan = plan_of(settings={"mosaic": "1"})
    row = ablation({"full": [0.40, 0.42, 0.41], "without-mosaic": [0.40, 0.42, 0.41]}, plan).rows[0]
    assert row.contribution is not None
    assert (row.verdict, row.contribution.mean, row.contribution.low) == ("no effect", 0.0, 0.0)


def test_equal_map50_95_alone_is_no_proof_that_the_trainings_were_the_same() -> None:
    plan = plan_of(seeds=2, settings={"mosaic": "1"})
    pairs = [("full", 0.6), ("without-mosaic", 0.7)]
    records = [record(arm, seed, 0.4, map50) for arm, map50 in pairs for seed in plan.seeds]
    assert Ablation(plan, tuple(records)).rows[0].verdict == "not distinguishable"


def test_trainings_that_learned_nothing_do_not_look_like_an_entry_without_effect() -> None:
    plan = plan_of(seeds=2, settings={"mosaic": "1"})
    records = [record(arm, seed, 0.0, 0.0) for arm in plan.arms for seed in plan.seeds]
    found = Ablation(plan, tuple(records))
    assert found.rows[0].verdict == "nothing learned"
    assert any("No training found anything" in note for note in found.notes)


def test_one_seed_leaves_the_question_open_and_none_says_so() -> None:
    plan = plan_of()
    found = ablation({"full": [0.4, 0.41], "without-mosaic": [0.3, 0.29], "without-GaussNoise": [0.4]}, plan)
    assert [row.verdict for row in found.rows] == ["not distinguishable", "open", "not trained yet", "not trained yet"]
    assert found.rows[1].contribution is not None
    assert found.rows[1].contribution.low is None
    assert found.notes[0] == "In part: 10 of 15 trainings are not there yet."
    assert found.seconds_left is not None


def test_a_training_without_its_reference_is_no_pair() -> None:
    plan = plan_of(settings={"mosaic": "1"})
    records = [record("full", 7, 0.4), record("full", 9, 0.5), record("without-mosaic", 8, 0.1)]
    assert Ablation(plan, tuple(records)).rows[0].verdict == "not trained yet"
    found = Ablation(plan, (*records, record("without-mosaic", 9, 0.45))).rows[0]
    assert (found.seeds, found.differences) == ((9,), (pytest.approx(0.05),))


def test_a_verdict_of_a_table_in_part_is_never_bolder_than_with_all_entries() -> None:
    plan = plan_of(seeds=3)
    full, less = [0.40, 0.42, 0.41], [0.38, 0.403, 0.389]
    row = ablation({"full": full, "without-mosaic": less}, plan).rows[0]
    assert row.contribution is not None
    assert row.contribution.p is not None
    assert row.contribution.p < 0.05
    assert row.corrected == pytest.approx(4 * row.contribution.p)


def test_arms_are_named_after_entries_fit_for_folders() -> None:
    assert list(plan_of().arms) == [
        "full",
        "without-mosaic",
        "without-GaussNoise",
        "without-GaussNoise-2",
        "without-fliplr",
    ]
    assert list(plan_of("add-one-in").arms)[:2] == ["none", "only-mosaic"]
    assert plan_of(seeds=2).trainings[4:6] == [("without-fliplr", 7), ("full", 8)]


def test_the_split_that_chose_the_weights_is_named() -> None:
    plan = plan_of(settings={"mosaic": "1"})
    on_val = Ablation(plan, (Record("full", 7, "full-seed7", 0.4, 0.7, 60.0, True),))
    assert any("also chose the weights" in note for note in on_val.notes)
    on_test = Ablation(plan, (record("full", 7, 0.4),))
    assert any("is chosen on test" in note for note in on_test.notes)


@st.composite
def some_records(draw: st.DrawFn) -> tuple[Plan, list[Record]]:
    plan = plan_of(draw(st.sampled_from(["leave-one-out", "add-one-in"])))
    there = draw(st.lists(st.sampled_from(plan.trainings), unique=True))
    scores = st.floats(0, 1).map(lambda v: round(v, 3))
    return plan, [record(arm, seed, draw(scores), draw(scores)) for arm, seed in there]


@given(some_records(), st.randoms())
@settings(max_examples=60)
def test_the_order_of_the_trainings_does_not_matter_and_the_document_is_json(
    held: tuple[Plan, list[Record]], shuffle: random.Random
) -> None:
    plan, records = held
    document = Ablation(plan, tuple(records)).to_dict()
    shuffle.shuffle(records)
    again = Ablation(plan, tuple(records)).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(again, allow_nan=False))
    assert len(document["table"]) == len(SETTINGS)


def test_pure_chance_is_taken_for_an_effect_in_at_most_5_percent_of_all_ablations() -> None:
    """Family-wise: not one entry of six may be called helpful or harmful, though all share one reference."""
    plan = plan_of(settings={f"entry{number}": "1" for number in range(6)})
    rng = np.random.default_rng(0)
    alarms, count = 0, 1500
    for _ in range(count):
        noise = rng.normal(0.4, 0.01, (len(plan.arms), len(plan.seeds)))
        rows = ablation(dict(zip(plan.arms, noise.tolist(), strict=True)), plan).rows
        alarms += any(row.verdict in ("helps", "hurts") for row in rows)
    assert alarms <= stats.binom.ppf(0.999, count, 0.05)


def test_a_difference_of_the_size_that_was_asked_for_is_found_as_often_as_promised() -> None:
    """The seeds that a verdict names have a power of 0.8: seen in simulation, not in the formula."""
    needed = seeds_needed(0.01, 0.01 * np.sqrt(2), 1)
    plan = plan_of(seeds=needed, settings={"mosaic": "1"})
    rng = np.random.default_rng(1)
    found, count = 0, 800
    for _ in range(count):
        full, less = rng.normal(0.41, 0.01, needed), rng.normal(0.40, 0.01, needed)
        found += ablation({"full": full.tolist(), "without-mosaic": less.tolist()}, plan).rows[0].verdict == "helps"
    low, high = stats.binom.interval(0.999, count, 0.8)
    assert low <= found <= high + 0.03 * count  # rounded up to whole seeds
