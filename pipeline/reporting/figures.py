"""The curves of a run: tables in, inline SVG out; `""` where a table has nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from ..tensor_norms import TensorNorms
from . import health_figures
from .curve import Curve, Event, Probe, Values, column, is_wide
from .events import mark_events
from .heat_map import heat_map
from .incidents import skipped_steps
from .loss_figures import BRANCHES, loss_curves
from .panels import (
    SERIES,
    colours,
    finish_x,
    line,
    mark_not_finite,
    mark_steps,
    marker,
    share_of,
    smooth,
    svg,
    title,
)
from .wording import percent, precision

# How to read the figures, for somebody who sees them for the first time.
_GRADIENT = (
    "Before clipping, per image. It may fall steeply at first; later a steady line is healthy, and jumps by a "
    "factor of ten are not. Clipping many steps is usual for YOLO."
)
_LAYERS = (
    "A row is a layer, from the picture (top) to the boxes (bottom), a column a few steps (their median); "
    "brighter is a larger gradient, per image. Healthy rows change slowly and together. A row that turns dark "
    "has stopped learning, one that brightens alone is exploding, a crossed cell was not finite. In the head "
    "cv2 finds the boxes and cv3 the classes."
)
_UPDATE = (
    "Change of the weights relative to their size: the line is the middle layer, the band reaches from the "
    "layer that moves least to the one that moves most. Above the usual range the steps are too large, far "
    "below it hardly anything is learned; it follows the learning rate. Below, whether successive gradients "
    "point the same way: near 0 is usual for small batches, long below 0 means that the steps overshoot."
)
_NORMS = (
    "The layers that stand out most, over fixed training pictures; what is beyond a limit is bold. Flat "
    "outputs (below -6) pass no gradient back. Mean shift (in deviations) and variance ratio compare "
    "these pictures with the running statistics that the model will use; early in training they differ "
    "widely, later they should be near 0 and 1. Few values per channel: the batch is too small."
)


def curves(steps: pl.DataFrame, epochs: pl.DataFrame, events: Sequence[Event]) -> list[Curve]:
    """Return the figures that say what is learned, the one that decides first; those that have something to show."""
    drawn = [
        Curve(
            "mAP on the validation split, which chooses the checkpoint",
            "Higher is better. The ringed epoch is the one whose weights are kept as best.pt.",
            Markup(validation_map(epochs, events)),
            _best_facts(epochs),
        ),
        *loss_curves(steps, epochs, events),
    ]
    return [curve for curve in drawn if curve.svg]


def health(
    steps: pl.DataFrame,
    events: Sequence[Event],
    norms: TensorNorms,
    probes: Sequence[Probe],
    context: Mapping[str, Any],
) -> list[Curve]:
    """Return the figures that say whether backpropagation is healthy; those that have something to show."""
    table = health_figures.norm_health(probes, context)
    drawn = [
        Curve(
            "Size of the gradient",
            _GRADIENT,
            Markup(gradient_norm(steps, events)),
            _gradient_facts(steps, context),
        ),
        Curve(
            "Size of the gradient, layer by layer",
            _LAYERS,
            Markup(heat_map(norms, context, events)),
        ),
        Curve(
            "How far a step moves the weights",
            _UPDATE,
            Markup(health_figures.update_ratio(probes, context, events)),
            health_figures.update_facts(probes, context),
        ),
        Curve(
            "BatchNorm and activations",
            _NORMS,
            facts=health_figures.norm_facts(probes),
            table=table,
        ),
        Curve(
            "Where the gradient comes from",
            "Share of each loss term in the gradient that reaches the neck, over fixed training pictures"
            f"{', one-to-many branch' if 'o2m' in steps.columns else ''}. "
            "A term with nearly all of it silences the others: its gain (box, cls, dfl) is the knob.",
            Markup(health_figures.term_shares(probes, events)),
        ),
        Curve(
            "Learning rates",
            "One line per parameter group: up (biases: down) during warm-up, then down as scheduled.",
            Markup(learning_rates(steps, events)),
        ),
    ]
    return [curve for curve in drawn if curve.svg or curve.table]


def _gradient_facts(steps: pl.DataFrame, context: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    facts = []
    if "clipped" in steps.columns and steps.height:
        share = float(np.mean(np.nan_to_num(column(steps, "clipped"))))
        at = f"clipped at {context['clip']:g}" if isinstance(context.get("clip"), int | float) else "clipped"
        facts.append((at, f"{percent(share)} of {steps.height:,} steps"))
    if skipped := skipped_steps(steps):
        facts.append(("not taken", f"{skipped:,} of {steps.height:,} steps"))
    return tuple(facts)


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


def validation_map(epochs: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw mAP50 and mAP50-95 of the validation split per epoch and mark the best epoch."""
    if "val_map50_95" not in epochs.columns or not np.isfinite(column(epochs, "val_map50_95")).any():
        return ""
    x = column(epochs, "epoch") + 1
    best = best_epoch(epochs)

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        for name, label, colour in (
            ("val_map50", "mAP50", SERIES[5]),
            ("val_map50_95", "mAP50-95", SERIES[0]),
        ):
            if name in epochs.columns:
                line(axes, x, column(epochs, name), colour, label=label, **marker(x))
        if best is not None:
            _mark_best(axes, x[best], column(epochs, "val_map50_95")[best])
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
    """Draw the gradient norm per image before clipping (log scale), and which steps were clipped or not taken."""
    if "grad_norm_before_clip" not in steps.columns:
        return ""
    x, norm = column(steps, "step"), column(steps, "grad_norm_before_clip")
    with_clip = "clipped" in steps.columns

    def draw(panels: list[Any]) -> None:
        top = panels[0]
        positive = np.where(norm > 0, norm, np.nan)
        line(top, x, positive, SERIES[0], alpha=0.3, linewidth=0.8)
        line(top, *smooth(x, positive), SERIES[0], label="running median", linewidth=1.6)
        taken = ~(column(steps, "skipped") > 0)
        mark_steps(top, x[~taken], "not taken")
        mark_not_finite(top, x[taken], norm[taken])
        title(top, "gradient norm per image", wide_range=bool(np.isfinite(positive).any()))
        for panel in panels[1:]:
            edges, share = share_of(x, column(steps, "clipped"))
            panel.fill_between(edges, share, step="post", color=SERIES[1], alpha=0.75, linewidth=0)
            panel.set_ylim(0, 1)
            title(panel, "steps that were clipped")
            panel.set_yticks([0, 1], ["none", "all"])
        mark_events(panels, events, "step")
        finish_x(panels, "optimiser step")

    return svg("gradient", "Gradient norm per optimiser step", [206, 32] if with_clip else [264], draw)


def learning_rates(steps: pl.DataFrame, events: Sequence[Event] = ()) -> str:
    """Draw the learning rate of every parameter group and, for YOLO26, the weights of its branches."""
    groups = _equal_columns(steps, [name for name in steps.columns if name.startswith("lr_")])
    if not groups:
        return ""
    x = column(steps, "step")
    wide = is_wide(np.concatenate(list(groups.values())))  # the biases often start at 0.1
    branches = {words: column(steps, name) for name, words in BRANCHES.items()}
    branches = {words: weight for words, weight in branches.items() if np.isfinite(weight).any()}

    def draw(panels: list[Any]) -> None:
        for (names, values), colour in zip(groups.items(), colours(len(groups)), strict=True):
            line(panels[0], x, np.where(values > 0, values, np.nan) if wide else values, colour, label=names)
        if not wide:
            panels[0].set_ylim(0, None)
        title(panels[0], "learning rate", wide_range=wide)
        for panel in panels[1:]:
            for (words, weight), colour in zip(branches.items(), SERIES[2:], strict=False):
                line(panel, x, weight, colour, label=words)
            panel.set_ylim(0, 1)
            title(panel, "branch's weight in the loss")
            panel.set_yticks([0, 1])
        mark_events(panels, events, "step")
        finish_x(panels, "optimiser step")

    heights = [178.0, 60.0] if branches else [264.0]
    return svg("rates", "Learning rates per optimiser step", heights, draw)


def best_epoch(epochs: pl.DataFrame) -> int | None:
    """Return the row whose weights are the best checkpoint: the last one marked `best`; None without any."""
    if "best" not in epochs.columns or "val_map50_95" not in epochs.columns:
        return None
    rows = np.flatnonzero((column(epochs, "best") > 0) & np.isfinite(column(epochs, "val_map50_95")))
    return int(rows[-1]) if len(rows) else None


def _equal_columns(table: pl.DataFrame, names: Sequence[str]) -> dict[str, Values]:
    """Return the columns under their joint name, such as "weight, bn": equal lines would hide each other."""
    groups: list[tuple[list[str], Values]] = []
    for name in names:
        values = column(table, name)
        same = next((held for held, other in groups if np.array_equal(values, other, equal_nan=True)), None)
        if same is None:
            groups.append(([name.removeprefix("lr_")], values))
        else:
            same.append(name.removeprefix("lr_"))
    return {_joined(held): values for held, values in groups}


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{names[0]} and {len(names) - 1} more"
