"""The curves of a run: tables in, inline SVG out; `""` where a table has nothing to draw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from .panels import (
    HEAD,
    SERIES,
    Event,
    Values,
    colours,
    finish_x,
    line,
    mark_events,
    mark_not_finite,
    marker,
    share_of,
    smooth,
    svg,
    title,
)
from .wording import precision


@dataclass(frozen=True)
class Curve:
    """A figure with its words; `facts` are the numbers worth reading off it."""

    title: str
    caption: str
    svg: Markup
    facts: tuple[tuple[str, str], ...] = ()


def curves(steps: pl.DataFrame, epochs: pl.DataFrame, events: Sequence[Event]) -> list[Curve]:
    """Return every figure that has something to show, the one that decides first."""
    drawn = [
        Curve(
            "mAP on the validation split, which chooses the checkpoint",
            "Higher is better. The ringed epoch is the one whose weights are kept as best.pt.",
            Markup(validation_map(epochs, events)),
            _best_facts(epochs),
        ),
        Curve(
            "Loss at every optimiser step",
            "Lower is better; the light line is every step, the dark one its running median.",
            Markup(loss_curve(steps, events)),
        ),
        Curve(
            "Training and validation loss",
            "Validation rising while training falls means overfitting. Training loss is measured on augmented "
            "pictures, so it may lie above validation.",
            Markup(epoch_losses(epochs, events)),
        ),
        Curve(
            "Size of the gradient",
            "Before clipping, per image. It may fall steeply at first; later a steady line is healthy, and jumps by a "
            "factor of ten are not.",
            Markup(gradient_norm(steps, events)),
        ),
        Curve(
            "Learning rates",
            "One line per parameter group: up during warm-up, then down as scheduled.",
            Markup(learning_rates(steps, events)),
        ),
    ]
    return [curve for curve in drawn if curve.svg]


def _best_facts(epochs: pl.DataFrame) -> tuple[tuple[str, str], ...]:
    best = best_epoch(epochs)
    if best is None:
        return ()
    row = epochs.row(best, named=True)
    metrics = (
        ("mAP50-95", "val_map50_95"),
        ("mAP50", "val_map50"),
        ("precision", "val_precision"),
        ("recall", "val_recall"),
    )
    since = epochs.height - 1 - best
    return (
        ("best epoch", str(row["epoch"] + 1)),
        ("epochs since", str(since)),
        *((label, precision(row[key])) for label, key in metrics if row.get(key) is not None),
    )


def loss_curve(steps: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw the optimised loss of every optimiser step, its median, and the loss terms below it."""
    terms = [name for name in steps.columns if name.endswith("_loss")]
    if "loss" not in steps.columns or steps.is_empty():
        return ""
    x = _column(steps, "step")

    def draw(panels: list[Any]) -> None:
        top = panels[0]
        loss = _column(steps, "loss")
        line(top, x, loss, SERIES[0], alpha=0.3, linewidth=0.8)
        line(top, *smooth(x, loss), SERIES[0], label="running median", linewidth=1.6)
        mark_not_finite(top, x, loss)
        title(top, "optimised loss per image", wide_range=_is_wide(loss))
        for panel in panels[1:]:
            for name, colour in zip(terms, colours(len(terms)), strict=True):
                line(panel, *smooth(x, _column(steps, name)), colour, label=name.removesuffix("_loss"))
            title(panel, "its terms, running median")
        mark_events(panels, events, "step")
        finish_x(panels, "optimiser step")

    return svg("loss", "Loss per optimiser step", [150, 88] if terms else [264], draw)


def epoch_losses(epochs: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw each loss term per epoch, training and validation in one panel."""
    terms = [
        name.removeprefix("train_")
        for name in epochs.columns
        if re.fullmatch(r"train_\w+_loss", name) and name.replace("train_", "val_", 1) in epochs.columns
    ]
    if not terms:
        return ""
    x = _column(epochs, "epoch") + 1

    def draw(panels: list[Any]) -> None:
        for panel, term in zip(panels, terms, strict=True):
            for part, colour in (("train", SERIES[0]), ("val", SERIES[1])):
                label = {"train": "training", "val": "validation"}[part]
                line(panel, x, _column(epochs, f"{part}_{term}"), colour, label=label, **marker(x))
            title(panel, f"{term.removesuffix('_loss')} loss", legend=panel is panels[0])
        mark_events(panels, events, "epoch")
        finish_x(panels, "epoch")

    height = max(60, 290 / len(terms) - HEAD)
    return svg("epochs", "Training and validation loss per epoch", [height] * len(terms), draw)


def validation_map(epochs: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw mAP50 and mAP50-95 of the validation split per epoch and mark the best epoch."""
    if "val_map50_95" not in epochs.columns or not np.isfinite(_column(epochs, "val_map50_95")).any():
        return ""
    x = _column(epochs, "epoch") + 1
    best = best_epoch(epochs)

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        for name, label, colour in (
            ("val_map50", "mAP50", SERIES[5]),
            ("val_map50_95", "mAP50-95", SERIES[0]),
        ):
            if name in epochs.columns:
                line(axes, x, _column(epochs, name), colour, label=label, **marker(x))
        if best is not None:
            _mark_best(axes, x[best], _column(epochs, "val_map50_95")[best])
        axes.set_ylim(0, None)
        title(axes, "validation split")
        mark_events(panels, events, "epoch")
        finish_x(panels, "epoch")

    label = "mAP on the validation split per epoch; this split chooses the checkpoint"
    return svg("map", label, [250], draw)


def _mark_best(axes: Any, epoch: float, value: float) -> None:
    """Ring the point and write its value above it."""
    ring = {"markersize": 8, "markerfacecolor": "none", "markeredgewidth": 2}
    axes.plot(epoch, value, "o", color=SERIES[1], label=f"best: epoch {epoch:.0f}", **ring)
    place = {"textcoords": "offset points", "ha": "center", "color": SERIES[1]}
    axes.annotate(f"{value:.3f}", (epoch, value), (0, 9), **place)


def gradient_norm(steps: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw the gradient norm per image before clipping (log scale) and, below it, which steps were clipped."""
    if "grad_norm_before_clip" not in steps.columns:
        return ""
    x, norm = _column(steps, "step"), _column(steps, "grad_norm_before_clip")
    with_clip = "clipped" in steps.columns

    def draw(panels: list[Any]) -> None:
        top = panels[0]
        positive = np.where(norm > 0, norm, np.nan)
        line(top, x, positive, SERIES[0], alpha=0.3, linewidth=0.8)
        line(top, *smooth(x, positive), SERIES[0], label="running median", linewidth=1.6)
        mark_not_finite(top, x, norm)
        title(top, "gradient norm per image", wide_range=bool(np.isfinite(positive).any()))
        for panel in panels[1:]:
            edges, share = share_of(x, _column(steps, "clipped"))
            panel.fill_between(edges, share, step="post", color=SERIES[1], alpha=0.75, linewidth=0)
            panel.set_ylim(0, 1)
            title(panel, "steps that were clipped")
            panel.set_yticks([0, 1], ["none", "all"])
        mark_events(panels, events, "step")
        finish_x(panels, "optimiser step")

    return svg("gradient", "Gradient norm per optimiser step", [206, 32] if with_clip else [264], draw)


def learning_rates(steps: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw the learning rate of every parameter group and, for YOLO26, the weight of its one-to-many branch."""
    groups = _equal_columns(steps, [name for name in steps.columns if name.startswith("lr_")])
    if not groups:
        return ""
    x = _column(steps, "step")
    wide = _is_wide(np.concatenate(list(groups.values())))  # the biases often start at 0.1
    branch = _column(steps, "o2m") if "o2m" in steps.columns else np.full(len(x), np.nan)

    def draw(panels: list[Any]) -> None:
        for (names, values), colour in zip(groups.items(), colours(len(groups)), strict=True):
            line(panels[0], x, np.where(values > 0, values, np.nan) if wide else values, colour, label=names)
        if not wide:
            panels[0].set_ylim(0, None)
        title(panels[0], "learning rate", wide_range=wide)
        for panel in panels[1:]:
            line(panel, x, branch, SERIES[3])
            panel.set_ylim(0, 1)
            title(panel, "weight of the one-to-many branch in the loss")
            panel.set_yticks([0, 1])
        mark_events(panels, events, "step")
        finish_x(panels, "optimiser step")

    heights = [178.0, 60.0] if np.isfinite(branch).any() else [264.0]
    return svg("rates", "Learning rates per optimiser step", heights, draw)


def best_epoch(epochs: pl.DataFrame) -> int | None:
    """Return the row whose weights are the best checkpoint: the last one marked `best`; None without any."""
    if "best" not in epochs.columns or "val_map50_95" not in epochs.columns:
        return None
    rows = np.flatnonzero((_column(epochs, "best") > 0) & np.isfinite(_column(epochs, "val_map50_95")))
    return int(rows[-1]) if len(rows) else None


def _column(table: pl.DataFrame, name: str) -> Values:
    """Return a column as floats; what is null becomes not-a-number."""
    values: Values = table[name].cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    return values


def _equal_columns(table: pl.DataFrame, names: Sequence[str]) -> dict[str, Values]:
    """Return the columns under their joint name, such as "weight, bn": equal lines would hide each other."""
    groups: list[tuple[list[str], Values]] = []
    for name in names:
        values = _column(table, name)
        same = next((held for held, other in groups if np.array_equal(values, other, equal_nan=True)), None)
        if same is None:
            groups.append(([name.removeprefix("lr_")], values))
        else:
            same.append(name.removeprefix("lr_"))
    return {_joined(held): values for held, values in groups}


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{names[0]} and {len(names) - 1} more"


def _is_wide(values: Values) -> bool:
    """Whether a linear scale would press most of the line flat."""
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(len(positive) and positive.max() > 20 * np.median(positive))
