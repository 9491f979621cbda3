from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET

import numpy as np
import polars as pl
import pytest
from fabricated_run import (
    context_of,
    epochs_table,
    norms_of,
    old_steps_table,
    probes_table,
    steps_table,
)

from pipeline.reporting import figures
from pipeline.reporting.curve import Curve
from pipeline.reporting.loss_figures import epoch_losses, epoch_terms, loss_curve, loss_curves
from pipeline.reporting.panels import share_of, smooth, thin

OF_STEPS = (loss_curve, figures.gradient_norm, figures.learning_rates)
OF_EPOCHS = (figures.validation_map, epoch_losses, epoch_terms)
EVENTS = [
    {"event": "start", "epoch": 0, "step": 0},
    {"event": "warmup_end", "epoch": 1, "step": 30},
    {"event": "resume", "epoch": 1, "step": 31},
    {"event": "close_mosaic", "epoch": 9, "step": 300},
    {"event": "end", "epoch": None, "step": None},
]


def whole_page(steps: int, epochs: int, branches: bool = True) -> list[Curve]:
    """Return every figure of a run with all its records."""
    table, context = steps_table(steps, epochs, branches), context_of(steps, epochs, branches)
    layers = [row["layer"] for row in context["layers"]]
    probes = probes_table(steps, epochs, layers)
    drawn = figures.curves(table, epochs_table(epochs, branches), EVENTS)
    return drawn + figures.health(table, EVENTS, norms_of(steps, layers), probes, context)


def words(svg: str) -> str:
    return " | ".join(text.strip() for text in ET.fromstring(svg).itertext() if text.strip())


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (2, 2), (7, 3), (400, 12), (5000, 200)])
def test_every_figure_is_wellformed_whatever_its_length(steps: int, epochs: int) -> None:
    drawn = [draw(steps_table(steps, epochs), EVENTS) for draw in OF_STEPS]
    drawn += [draw(epochs_table(epochs), EVENTS) for draw in OF_EPOCHS]
    for svg in drawn:
        assert ET.fromstring(svg).tag == "svg"


@pytest.mark.parametrize("draw", [*OF_STEPS, *OF_EPOCHS])
def test_an_empty_table_draws_nothing(draw) -> None:
    assert draw(pl.DataFrame(), EVENTS) == ""
    assert draw(pl.DataFrame({"step": [0], "epoch": [0]}), EVENTS) == ""


def test_figures_are_the_same_every_time_and_share_no_ids() -> None:
    first = [curve.svg for curve in whole_page(400, 12) if curve.svg]
    assert first == [curve.svg for curve in whole_page(400, 12) if curve.svg]
    assert len(first) == 9
    ids = [name for svg in first for name in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    for svg in first:
        own = set(re.findall(r'\bid="([^"]+)"', svg))
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)) <= {(i, "") for i in own} | {
            ("", i) for i in own
        }


def test_figures_take_font_and_ink_from_the_page() -> None:
    for curve in whole_page(50, 5):
        assert "font-family" not in curve.svg
        assert not re.search(r"\bfont:", curve.svg)
        assert "#010203" not in curve.svg
        assert "currentColor" in curve.svg or curve.table
        assert "http" not in curve.svg


def test_a_hundred_thousand_steps_stay_small_and_quick() -> None:
    started = time.perf_counter()
    drawn = whole_page(100_000, 300)
    assert time.perf_counter() - started < 30  # takes three seconds, half of them to make it up
    assert len(drawn) == 10
    assert sum(len(curve.svg) for curve in drawn) < 700_000


def test_thin_keeps_every_extreme() -> None:
    x = np.arange(100_000.0)
    y = np.sin(x / 1000)
    y[12_345], y[67_890], y[500] = 50.0, -50.0, np.nan
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) <= 1500
    assert np.all(np.diff(thin_x) > 0)
    assert dict(zip(thin_x, thin_y, strict=True))[12_345] == 50.0
    assert dict(zip(thin_x, thin_y, strict=True))[67_890] == -50.0
    assert np.isfinite(thin_y).all()


@pytest.mark.parametrize("count", [3, 60, 4000])
def test_smooth_is_not_moved_by_a_single_spike(count: int) -> None:
    y = np.ones(count)
    y[count // 3] = 1e9 if count > 5 else 1.0
    y[-1] = np.nan
    x, smoothed = smooth(np.arange(float(count)), y)
    assert len(x) == len(smoothed)
    assert (smoothed == 1).all()


def test_share_of_counts_all_flags() -> None:
    flags = np.zeros(3000)
    flags[:1500] = 1
    edges, share = share_of(np.arange(3000.0), flags)
    assert edges[0] == 0
    assert edges[-1] == 3000
    assert share[:-1].mean() == 0.5


def test_the_map_figure_says_that_its_split_chooses_the_checkpoint() -> None:
    svg = figures.validation_map(epochs_table(12))
    assert "this split chooses the checkpoint" in svg
    assert "validation split" in words(svg)
    curve = figures.curves(pl.DataFrame(), epochs_table(12), [])[0]
    assert "chooses the checkpoint" in curve.title


def test_the_best_epoch_is_the_last_one_marked() -> None:
    table = pl.DataFrame(
        {"epoch": [0, 1, 2, 3], "val_map50_95": [0.1, 0.3, 0.2, None], "best": [True, True, False, True]}
    )
    assert figures.best_epoch(table) == 1
    assert "0.300 | validation split | mAP50-95 | best: epoch 2" in words(figures.validation_map(table))
    facts = dict(figures.curves(pl.DataFrame(), table, [])[0].facts)
    assert facts == {"best epoch": "2", "epochs since": "2", "mAP50-95": "0.300"}


def test_events_are_labelled_in_plain_words_and_not_on_top_of_each_other() -> None:
    shown = words(loss_curve(steps_table(400, 12), EVENTS))
    assert "warm-up ends" in shown
    assert "mosaic off" in shown
    assert "resumed" not in shown  # one step after the end of the warm-up: its label would cover the other


def test_losses_that_are_not_numbers_are_marked_and_counted() -> None:
    steps = steps_table(200, 4).with_columns(loss=pl.when(pl.col("step") < 3).then(None).otherwise(pl.col("loss")))
    assert "not a number (3)" in words(loss_curve(steps))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 0.0])
def test_a_column_without_one_drawable_value_does_not_crash(value: float | None) -> None:
    steps = steps_table(20, 2).with_columns(
        loss=pl.lit(value), o2o_box_loss=pl.lit(value), grad_norm_before_clip=pl.lit(value), o2m=pl.lit(None)
    )
    for draw in OF_STEPS:
        ET.fromstring(draw(steps, EVENTS))
    epochs = epochs_table(3).with_columns(
        val_map50_95=pl.lit(value), val_o2o_box_loss=pl.lit(value), sample_loss=pl.lit(value)
    )
    for draw in OF_EPOCHS:
        svg = draw(epochs, EVENTS)
        assert not svg or ET.fromstring(svg) is not None


def test_a_loss_that_explodes_is_drawn_on_a_log_scale() -> None:
    steps = steps_table(200, 4).with_columns(loss=pl.when(pl.col("step") == 9).then(1e7).otherwise(pl.col("loss")))
    assert "log scale" in words(loss_curve(steps))
    assert "log scale" not in words(loss_curve(steps_table(200, 4)))


def test_a_high_first_rate_of_the_biases_does_not_hide_the_others() -> None:
    steps = steps_table(200, 4).with_columns(lr_bias=pl.when(pl.col("step") < 9).then(0.1).otherwise(pl.col("lr_bias")))
    assert "log scale" in words(figures.learning_rates(steps))
    assert "log scale" not in words(figures.learning_rates(steps_table(200, 4)))


def test_parameter_groups_with_the_same_rate_share_a_line() -> None:
    shown = words(figures.learning_rates(steps_table(100, 4)))
    assert "weight, bn" in shown
    assert "one-to-many" in shown
    more = {f"lr_more_{i}": pl.col("lr_weight") for i in range(4)}
    assert "weight and 5 more" in words(figures.learning_rates(steps_table(100, 4).with_columns(**more)))
    assert "one-to-many" not in words(figures.learning_rates(steps_table(100, 4, branches=False)))


def test_names_of_losses_are_escaped_and_never_read_as_formulas() -> None:
    steps = steps_table(30, 2, branches=False).rename({"box_loss": r"<b>$\frac_loss"})
    svg = loss_curve(steps)
    assert "<b>" not in svg
    assert r"<b>$\frac" in words(svg)


# ---- the loss --------------------------------------------------------------------------------------------------------


def test_both_branches_are_shown_with_the_weight_they_have_in_the_loss() -> None:
    shown = words(loss_curve(steps_table(400, 12)))
    assert "one-to-many × its weight (0.80 → 0.10)" in shown
    assert "one-to-one × its weight (0.20 → 0.90)" in shown


def test_a_model_with_one_branch_and_an_old_run_have_one_panel_of_terms() -> None:
    for table in (steps_table(400, 12, branches=False), old_steps_table(400, 12)):
        shown = words(loss_curve(table))
        assert "its terms, running median" in shown
        assert "one-to-many" not in shown


def test_the_last_step_is_written_as_the_sum_that_it_is() -> None:
    (fact,) = loss_curves(steps_table(400, 12), pl.DataFrame(), [])[0].facts
    assert fact[0] == "last step, per image"
    total, weight, many, other, one = (float(found) for found in re.findall(r"[\d.]+", fact[1]))
    assert abs(weight * many + other * one - total) < 0.02 * total
    assert abs(weight + other - 1) < 1e-9
    (fact,) = loss_curves(steps_table(400, 12, branches=False), pl.DataFrame(), [])[0].facts
    total, *terms = (float(found) for found in re.findall(r"[\d.]+", fact[1]))
    assert abs(sum(terms) - total) < 0.02 * total
    assert "box" in fact[1]


def test_terms_that_do_not_add_up_are_not_written_as_a_sum() -> None:
    other = old_steps_table(400, 12).with_columns(pl.col("box_loss") * 1.1)  # one branch's terms, both branches' loss
    assert loss_curves(other, pl.DataFrame(), [])[0].facts == ()


def test_the_gap_is_that_of_the_last_epoch_with_a_sample() -> None:
    table = pl.DataFrame(
        {
            "epoch": [0, 1, 2],
            "train_loss": [3.0, 2.0, 1.0],
            "val_loss": [3.0, 2.5, 2.4],
            "sample_loss": [3.0, 2.0, None],
        }
    )
    curve = loss_curves(pl.DataFrame(), table, [])[1]
    assert curve.facts == (("validation minus sample, epoch 2", "+0.5, 25 % of the sample's"),)
    assert "overfitting" in curve.caption
    assert "augmented" in curve.caption
    assert "sample of train" in words(curve.svg)


def test_epochs_without_a_sample_or_without_the_whole_loss_still_have_their_terms() -> None:
    old = epochs_table(12, branches=False).select(pl.exclude(r"^sample_.*$", "train_loss", "val_loss"))
    assert epoch_losses(old) == ""
    shown = words(epoch_terms(old))
    assert "validation" in shown
    assert "sample" not in shown
    assert [curve.title for curve in figures.curves(pl.DataFrame(), old, [])][-1].startswith("The terms")


def test_the_terms_of_two_branches_stand_beside_each_other() -> None:
    shown = words(epoch_terms(epochs_table(12)))
    assert shown.index("box, one-to-many") < shown.index("box, one-to-one") < shown.index("cls, one-to-many")


# ---- steps that were not taken, events -------------------------------------------------------------------------------


def test_steps_that_were_not_taken_are_marked_and_counted() -> None:
    away = pl.col("step").is_in([20, 21, 90])
    steps = steps_table(200, 4).with_columns(
        skipped=away, grad_norm_before_clip=pl.when(away).then(None).otherwise("grad_norm_before_clip")
    )
    shown = words(figures.gradient_norm(steps))
    assert "not taken (3)" in shown
    assert "not a number" not in shown
    health = figures.health(steps, [], norms_of(1, ["a"]), [], {"clip": 10.0})
    assert ("not taken", "3 of 200 steps") in health[0].facts
    assert health[0].facts[0][0] == "clipped at 10"


def test_hundreds_of_skipped_steps_do_not_paint_the_figures_black() -> None:
    few = [{"event": "skipped", "epoch": 0, "step": step} for step in (10, 200)]
    many = [{"event": "skipped", "epoch": 0, "step": step} for step in range(400)]
    steps = steps_table(400, 12)
    assert "not taken" in words(figures.learning_rates(steps, few))
    assert len(figures.learning_rates(steps, many)) < len(figures.learning_rates(steps, few)) + 4000
    assert "not taken" not in words(figures.validation_map(epochs_table(12), few))


def test_the_terms_are_drawn_as_they_count_in_the_loss() -> None:
    columns = {"o2m": 0.001, "o2m_box_loss": 1000.0, "o2o": 1.0, "o2o_box_loss": 2.0, "loss": 3.0}
    steps = pl.DataFrame({"step": range(20), **{name: [value] * 20 for name, value in columns.items()}})
    ticks = re.findall(r"(?<!\()\b[\d.]+\b(?!\))", words(loss_curve(steps)))
    assert max(float(tick) for tick in ticks) < 30  # 1000 × 0.001 on the axis, not 1000; the steps go to 20
