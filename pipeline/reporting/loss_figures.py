"""The loss: step by step what is optimised and what it is made of, epoch by epoch what it is on which pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from .curve import Curve, Event, Values, column, is_wide
from .events import mark_events
from .panels import (
    HEAD,
    LEGEND_FOOT,
    SERIES,
    Margins,
    colours,
    finish_x,
    legend_at_the_foot,
    line,
    mark_not_finite,
    marker,
    smooth,
    svg,
    title,
)
from .wording import percent

BRANCHES = {"o2m": "one-to-many", "o2o": "one-to-one"}  # of YOLO26, as `training/losses.py` names them
_PARTS = {"train": "training", "val": "validation", "sample": "sample of train"}
_STEP_CAPTION = "Lower is better; the light line is every step, the dark one its running median. "
_BRANCH_CAPTION = (
    "Below, the terms of the model's two branches, each multiplied by the weight its branch has in the loss: added up, "
    "they are the loss. The weight moves from one-to-many to one-to-one as the training goes on, so a line may fall "
    "because the weight does."
)
_GAP_CAPTION = (
    "Lower is better. Validation and the sample of training pictures are measured alike, on plain pictures with the "
    "averaged weights; the model has seen only the sample, so a gap that opens between the two is overfitting. "
    "The training line is measured on augmented pictures (mosaic, flips, colours), which are harder: "
    "it may lie above the others without anything being wrong. In a short run it may lie below them: the average lags "
    "behind the weights that train."
)
_OLD_CAPTION = (
    "Validation rising while training falls means overfitting. Training loss is measured on augmented pictures, so it "
    "may lie above validation."
)


def loss_curves(steps: pl.DataFrame, epochs: pl.DataFrame, events: Sequence[Event]) -> list[Curve]:
    """Return the figures of the loss; one that has nothing to show has an empty `svg`."""
    two = bool(_weights(steps))
    moving = " With two branches their weights move every epoch, and this loss with them; the terms do not."
    sampled = np.isfinite(column(epochs, "sample_loss")).any()
    return [
        Curve(
            "Loss at every optimiser step",
            _STEP_CAPTION + (_BRANCH_CAPTION if two else "Below, its terms: added up, they are the loss."),
            Markup(loss_curve(steps, events)),
            _sum_of_last_step(steps),
        ),
        Curve(
            "Is it overfitting? Training and validation loss",
            (_GAP_CAPTION if sampled else _OLD_CAPTION) + (moving if two else ""),
            Markup(epoch_losses(epochs, events)),
            _gap(epochs),
        ),
        Curve(
            "The terms of the loss, epoch by epoch",
            "What each term does on its own, before any branch's weight: box is how well the boxes fit, cls how well "
            "the classes are told apart, dfl or l1 how sharply the edges are placed. "
            "A term that stays flat while the others fall is the one that does not learn.",
            Markup(epoch_terms(epochs, events)),
        ),
    ]


# ---- every step ------------------------------------------------------------------------------------------------------


def loss_curve(steps: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw the optimised loss of every optimiser step, its median, and below it the terms that add up to it."""
    if "loss" not in steps.columns or steps.is_empty():
        return ""
    x, loss, parts = column(steps, "step"), column(steps, "loss"), _parts(steps)

    def draw(panels: list[Any]) -> None:
        top = panels[0]
        line(top, x, loss, SERIES[0], alpha=0.3, linewidth=0.8)
        line(top, *smooth(x, loss), SERIES[0], label="running median", linewidth=1.6)
        mark_not_finite(top, x, loss)
        title(top, "optimised loss per image", wide_range=is_wide(loss))
        for panel, (name, terms) in zip(panels[1:], parts, strict=True):
            for (term, values), colour in zip(terms.items(), colours(len(terms)), strict=True):
                line(panel, *smooth(x, values), colour, label=term)
            title(panel, name)
        if len(parts) > 1:  # on one scale, so that a person sees which branch counts
            highest = max(panel.get_ylim()[1] for panel in panels[1:])
            for panel in panels[1:]:
                panel.set_ylim(0, highest)
        mark_events(panels, events, "step")
        finish_x(panels, "optimiser step")

    heights = {0: [264.0], 1: [150.0, 88.0]}.get(len(parts), [112.0, 62.0, 62.0])
    return svg("loss", "Loss per optimiser step", heights, draw)


def _parts(steps: pl.DataFrame) -> list[tuple[str, dict[str, Values]]]:
    """Return the panels of terms: one for each branch, weighted as in the loss, or one for all terms."""
    weights = _weights(steps)
    if not weights:
        terms = {name.removesuffix("_loss"): column(steps, name) for name in steps.columns if name.endswith("_loss")}
        return [("its terms, running median", terms)] if terms else []
    found = []
    for branch, weight in weights.items():
        first, last = weight[np.isfinite(weight)][[0, -1]]
        names = [name for name in steps.columns if re.fullmatch(rf"{branch}_\w+_loss", name)]
        terms = {name[len(branch) + 1 :].removesuffix("_loss"): column(steps, name) * weight for name in names}
        found.append((f"{BRANCHES[branch]} × its weight ({first:.2f} → {last:.2f})", terms))
    return found


def _weights(steps: pl.DataFrame) -> dict[str, Values]:
    """Return the weights of a two-branch model's branches in the loss, where their terms are recorded as well."""
    found = {}
    for branch in BRANCHES:
        weight = column(steps, branch)
        if np.isfinite(weight).any() and any(name.startswith(f"{branch}_") for name in steps.columns):
            found[branch] = weight
    return found if len(found) == len(BRANCHES) else {}


def _sum_of_last_step(steps: pl.DataFrame) -> tuple[tuple[str, str], ...]:
    """Write the loss of the last finite step as the sum that it is; nothing where the records do not add up."""
    loss = column(steps, "loss")
    rows = np.flatnonzero(np.isfinite(loss))
    if not len(rows):
        return ()
    row, parts, weights = rows[-1], [], _weights(steps)
    if weights:
        for branch, weight in weights.items():
            names = [name for name in steps.columns if re.fullmatch(rf"{branch}_\w+_loss", name)]
            parts.append((float(weight[row]), sum(float(column(steps, name)[row]) for name in names), ""))
    else:
        names = [name for name in steps.columns if name.endswith("_loss")]
        parts = [(1.0, float(column(steps, name)[row]), name.removesuffix("_loss")) for name in names]
    total = sum(weight * value for weight, value, _ in parts)
    if not parts or not abs(total - loss[row]) <= 0.01 * abs(loss[row]):
        return ()
    written = " + ".join(f"{w:.2f} × {v:.3g}" if weights else f"{v:.3g} {name}" for w, v, name in parts)
    return (("last step, per image", f"{loss[row]:.3g} = {written}"),)


# ---- every epoch -----------------------------------------------------------------------------------------------------


def epoch_losses(epochs: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw the whole loss per epoch: training, validation, and the sample of train that is not augmented."""
    if not all(np.isfinite(column(epochs, f"{part}_loss")).any() for part in ("train", "val")):
        return ""

    def draw(panels: list[Any]) -> None:
        _draw_parts(panels[0], epochs, "loss", legend=True)
        title(panels[0], "loss per image", wide_range=is_wide(column(epochs, "val_loss")))
        mark_events(panels, events, "epoch")
        finish_x(panels, "epoch")

    return svg("epochs", "Training and validation loss per epoch", [264.0], draw)


def epoch_terms(epochs: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw each loss term per epoch, training, validation and sample in one panel; a column for each branch."""
    terms = [
        name.removeprefix("train_")
        for name in epochs.columns
        if re.fullmatch(r"train_\w+_loss", name) and name.replace("train_", "val_", 1) in epochs.columns
    ]
    if not terms:
        return ""
    branches = [[term for term in terms if term.startswith(f"{branch}_")] for branch in BRANCHES]
    two = len(branches[0]) == len(branches[1]) and sum(map(len, branches)) == len(terms)
    ordered = [term for pair in zip(*branches, strict=True) for term in pair] if two else terms
    columns = 2 if two else 1

    def draw(panels: list[Any]) -> None:
        for panel, term in zip(panels, ordered, strict=True):
            _draw_parts(panel, epochs, term, legend=panel is panels[0])
            title(panel, _term_words(term), legend=False)
        for number in range(columns):
            mark_events(panels[number::columns], events, "epoch")
            finish_x(panels[number::columns], "epoch")
        legend_at_the_foot(panels[0])

    rows = len(ordered) // columns
    height = max(44.0, 280 / rows - HEAD)
    margins = Margins(left=42 if two else 48, foot=LEGEND_FOOT)
    return svg("terms", "Loss terms per epoch", [height] * rows, draw, columns, margins)


def _draw_parts(axes: Any, epochs: pl.DataFrame, term: str, legend: bool) -> None:
    x = column(epochs, "epoch") + 1
    for (part, words), colour in zip(_PARTS.items(), SERIES, strict=False):
        values = column(epochs, f"{part}_{term}")
        measured = np.isfinite(values)
        if measured.any():
            how = {"label": words} if legend else {}
            line(axes, x, values, colour, **how, **marker(x[measured]))


def _term_words(term: str) -> str:
    branch, _, rest = term.removesuffix("_loss").partition("_")
    return f"{rest}, {BRANCHES[branch]}" if branch in BRANCHES and rest else term.removesuffix("_loss")


def _gap(epochs: pl.DataFrame) -> tuple[tuple[str, str], ...]:
    """Return the overfitting gap of the last epoch in which the sample was measured."""
    gap = column(epochs, "val_loss") - column(epochs, "sample_loss")
    rows = np.flatnonzero(np.isfinite(gap))
    if not len(rows):
        return ()
    row = int(rows[-1])
    sample = column(epochs, "sample_loss")[row]
    share = gap[row] / sample if sample > 0 else np.nan
    said = f"{gap[row]:+.3g}" + (f", {percent(share)} of the sample's" if np.isfinite(share) else "")
    return ((f"validation minus sample, epoch {int(column(epochs, 'epoch')[row]) + 1}", said),)
