"""Whether backpropagation is healthy: what the optimiser does with the gradients, and what the layers let through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .curve import Cell, Event, LayerNames, Probe, Table, Values, number, probes_of
from .events import mark_events
from .panels import (
    LEGEND_FOOT,
    SERIES,
    Margins,
    colours,
    finish_x,
    legend_at_the_foot,
    line,
    stretches,
    svg,
    title,
)
from .wording import percent

# Where findings begin: above, a step changes a twentieth of the weights; below, hardly anything. Measured on healthy
# runs: median 1.1e-2 with AdamW, 1.6e-3 with SGD, 5e-3 with MuSGD; CS231n's textbook value is 1e-3.
USUAL_RATIO = (1e-5, 5e-2)
WORST_NORMS = 6  # rows of the table of BatchNorm layers
SETTLED_AFTER = 200  # steps: with a momentum of 0.03 what the running statistics began with counts 0.2 % then
_MOST_GROUPS = 4  # lines: MuSGD has up to eight groups
_MOST_POINTS = 300  # of a band

# ---- the optimiser's steps -------------------------------------------------------------------------------------------


def update_ratio(probes: Sequence[Probe], context: Mapping[str, Any], events: Sequence[Event] = ()) -> str:
    """Draw how far a step moves the weights, over layers and optimiser groups, and the direction it takes."""
    taken = [probe for probe in probes_of(probes, "update") if _positive(probe.get("ratio")).size]
    if not taken:
        return ""
    x = np.array([number(probe.get("step")) for probe in taken])
    low, middle, high = np.array([np.percentile(_positive(p["ratio"]), [0, 50, 100]) for p in taken]).T
    groups = _groups(taken)
    cosine = np.array([number(probe.get("cosine")) for probe in taken])
    foot = LEGEND_FOOT + (16 if len(groups) > 1 else 0)
    with_cosine = bool(np.isfinite(cosine).any())

    def draw(panels: list[Any]) -> None:
        top = panels[0]
        top.fill_between(*_band(x, low, high), color=SERIES[0], alpha=0.22, linewidth=0, label="all layers")
        line(top, x, middle, SERIES[0], label="median")
        for (name, values), colour in zip(groups.items(), SERIES[1:], strict=False):
            line(top, x, values, colour, label=name, linewidth=1)
        _mark_usual(top, float(low.min()), float(high.max()))
        title(top, "weight change per step", wide_range=True, legend=False)
        for panel in panels[1:]:
            panel.axhline(0, color=SERIES[0], alpha=0.5, linewidth=0.6)
            line(panel, x, cosine, SERIES[2])
            panel.set_ylim(-1, 1)
            title(panel, "successive gradients: cosine")
            panel.set_yticks([-1, 0, 1])
        mark_events(panels, events, "step")
        finish_x(panels, "optimiser step")
        legend_at_the_foot(top)

    optimizer = str(context.get("optimizer") or "the optimizer")
    label = f"Change of the weights by {optimizer}, relative to their size, and cosine of successive gradients"
    return svg("update", label, [178.0, 60.0] if with_cosine else [264.0], draw, margins=Margins(foot=foot))


def _positive(record: Any) -> Values:
    """Return the positive figures of a record by name: a rate of zero, as in warm-up's first step, moves nothing."""
    values = np.array([number(value) for value in record.values()] if isinstance(record, Mapping) else [])
    found: Values = values[np.isfinite(values) & (values > 0)]
    return found


def _groups(taken: Sequence[Probe]) -> dict[str, Values]:
    """Return the ratio of each optimiser group; nothing for a single group, which is the sum of all layers."""
    names = list(dict.fromkeys(name for probe in taken for name in probe.get("group_ratio") or {}))
    if len(names) < 2:
        return {}
    found = {}
    for name in names[:_MOST_GROUPS]:
        values = np.array([number((probe.get("group_ratio") or {}).get(name)) for probe in taken])
        found[name] = np.where(values > 0, values, np.nan)
    return found


def _band(x: Values, low: Values, high: Values) -> tuple[Values, Values, Values]:
    if len(x) == 1:  # a single point has no area
        return np.array([x[0], x[0] + 1]), low.repeat(2), high.repeat(2)
    parts = stretches(len(x), min(len(x), _MOST_POINTS))
    return (
        np.array([x[start] for start, _ in parts]),
        np.array([low[start:stop].min() for start, stop in parts]),
        np.array([high[start:stop].max() for start, stop in parts]),
    )


def _mark_usual(axes: Any, low: float, high: float) -> None:
    """Shade the usual range, as far as it lies in view."""
    bottom, top = low / 1.5, high * 1.5
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    if bottom < USUAL_RATIO[1] and top > USUAL_RATIO[0]:
        shown = (max(bottom, USUAL_RATIO[0]), min(top, USUAL_RATIO[1]))
        axes.axhspan(*shown, color=SERIES[2], alpha=0.12, linewidth=0, label="usual")


def update_facts(probes: Sequence[Probe], context: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Name the layers that move most and least in the last quarter of the samples, and the gradient noise."""
    taken = [probe for probe in probes_of(probes, "update") if _positive(probe.get("ratio")).size]
    recent = taken[-max(1, len(taken) // 4) :]
    sizes: dict[str, list[float]] = {}
    for probe in recent:
        for layer, value in probe["ratio"].items():
            if number(value) >= 0:
                sizes.setdefault(layer, []).append(float(value))
    if not sizes:
        return ()
    names = LayerNames(context)
    medians = {layer: float(np.median(values)) for layer, values in sizes.items()}
    most, least = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
    facts = [
        ("moves most, of late", f"{names.label(most)}, {percent(medians[most])} per step"),
        ("moves least, of late", f"{names.label(least)}, {percent(medians[least])} per step"),
    ]
    noise = [number(probe.get("noise_scale")) for probe in recent]
    noise = [value for value in noise if np.isfinite(value)]
    if noise:
        facts.append(("gradient noise scale, a hint", f"{np.median(noise):,.0f} images"))
    return tuple(facts)


# ---- what the loss terms ask for -------------------------------------------------------------------------------------


def term_shares(probes: Sequence[Probe], events: Sequence[Event] = ()) -> str:
    """Draw how much of the gradient at the neck each loss term sends back, stacked to the whole."""
    taken = [probe for probe in probes_of(probes, "terms") if _positive(probe.get("shares")).size]
    names = list(dict.fromkeys(name for probe in taken for name in probe["shares"]))
    if not names:
        return ""
    x = np.array([number(probe.get("step")) for probe in taken])
    values = np.array([[number(probe["shares"].get(name)) for name in names] for probe in taken])
    heights = np.concatenate([np.zeros((len(x), 1)), np.nan_to_num(values).cumsum(axis=1)], axis=1)
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(int))

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        for index, (name, colour) in enumerate(zip(names, colours(len(names)), strict=True)):
            edges, low, high = x[rows], heights[rows, index], heights[rows, index + 1]
            if len(rows) == 1:
                edges, low, high = np.array([edges[0], edges[0] + 1]), low.repeat(2), high.repeat(2)
            label = name.removesuffix("_loss")
            axes.fill_between(edges, low, high, color=colour, alpha=0.7, linewidth=0, label=label)
        axes.set_ylim(0, 1)
        title(axes, "share of the gradient")
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        mark_events(panels, events, "step")
        finish_x(panels, "optimiser step")

    return svg("shares", "Share of each loss term in the gradient at the neck", [200.0], draw)


# ---- BatchNorm and activations ---------------------------------------------------------------------------------------

_HEADINGS = ("layer", "values per channel", "flat outputs", "constant channels", "mean shift", "variance ratio")


def norm_health(probes: Sequence[Probe], context: Mapping[str, Any]) -> Table | None:
    """Return the BatchNorm layers that stand out most in the latest measurement; None where there is none."""
    measured = [probe for probe in probes_of(probes, "health") if probe.get("norms")]
    if not measured:
        return None
    names = LayerNames(context)
    latest: Mapping[str, Mapping[str, Any]] = measured[-1]["norms"]
    settled = number(measured[-1].get("step")) >= SETTLED_AFTER
    worst = sorted(latest, key=lambda layer: -_concern(latest[layer]))[:WORST_NORMS]
    return Table(_HEADINGS, tuple((names.part(layer), _cells(latest[layer], settled)) for layer in worst))


def norm_facts(probes: Sequence[Probe]) -> tuple[tuple[str, str], ...]:
    """Return how many layers were measured and when, and how flat the flattest was at first."""
    measured = [probe for probe in probes_of(probes, "health") if probe.get("norms")]
    if not measured:
        return ()
    first, last = measured[0]["norms"], measured[-1]
    facts = [("measured", f"{len(last['norms'])} layers, at step {int(last.get('step', 0)):,}")]
    smallest = min((number(row.get("smallest_variance")) for row in last["norms"].values()), default=float("nan"))
    if np.isfinite(smallest):
        facts.append(("smallest running variance", f"{smallest:.2g}"))
    if len(measured) > 1:
        ends = [max(number(row.get("dead")) for row in norms.values()) for norms in (first, last["norms"])]
        facts.append(("flattest layer, first → now", f"{percent(ends[0])} → {percent(ends[1])} flat"))
    return tuple(facts)


def _concern(row: Mapping[str, Any]) -> float:
    """Return by how much a layer stands out: 1 at the limits of `_cells`, more beyond them."""
    if row.get("non_finite"):
        return float("inf")
    values, variance, ratio = (number(row.get(key)) for key in ("values", "smallest_variance", "variance_ratio"))
    concerns = [
        2 * number(row.get("dead")),
        10 * number(row.get("constant")),
        16 / values if values > 0 else 0.0,
        1e-6 / variance if variance > 0 else 0.0,
        number(row.get("mean_shift")) / 5,
        abs(np.log10(ratio)) / 2 if ratio > 0 else 0.0,
    ]
    return float(np.nanmax(concerns))


def _cells(row: Mapping[str, Any], settled: bool) -> tuple[Cell, ...]:
    """Return the figures of a layer; what is beyond a limit is set apart.

    The limits: half of the outputs flat (SageMaker Debugger's dead-relu rule), fewer than 16 values behind a training
    statistic, a tenth of the channels constant, batch and running statistics five deviations or a factor 100 apart
    (rules of thumb: nobody has measured them on detectors), the last only once the running statistics have settled.
    """
    if row.get("non_finite"):
        return (Cell("not finite", odd=True), *(Cell("–"),) * 4)
    values, dead, constant, shift, ratio = (
        number(row.get(key)) for key in ("values", "dead", "constant", "mean_shift", "variance_ratio")
    )
    return (
        Cell(_shown(f"{values:,.0f}", values), values < 16),
        Cell(_shown(percent(dead), dead), dead > 0.5),
        Cell(_shown(percent(constant), constant), constant > 0.1),
        Cell(_shown(f"{shift:.2g}", shift), settled and shift > 5),
        Cell(_shown(f"{ratio:.2g}", ratio), settled and not 0.01 <= ratio <= 100),
    )


def _shown(text: str, value: float) -> str:
    return text if np.isfinite(value) else "–"
