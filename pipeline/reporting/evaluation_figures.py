"""The figures of an evaluation: records of `eval/<split>/` in, inline SVG out; `""` where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from .curve import Values, number
from .panels import (
    INK,
    LEGEND_FOOT,
    SERIES,
    Margins,
    colours,
    legend_at_the_foot,
    line,
    name_panel,
    svg,
    title,
)
from .wording import count, percent

Record = Mapping[str, Any]

_FALSE_ALARMS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
_MOST_LINES = 6  # as many colours as there are
_LONGEST_NAME = 22
_MOST_DOTS = 500
_BAND = {"alpha": 0.18, "linewidth": 0}
_SHARES = [0, 0.2, 0.4, 0.6, 0.8, 1]

# ---- the inspector's view --------------------------------------------------------------------------------------------


def rejection(record: Record, point: Record | None = None, threshold: float | None = None) -> str:
    """Draw escape and overkill rate over the threshold, and against each other where there are pictures of both kinds.

    Args:
        record: of `RejectionCurve.to_dict`.
        point: figures at the operating point on the same split, of `Figures.to_dict`.
        threshold: the overall threshold of the operating point.
    """
    points = record.get("points") or {}
    names = [name for name in ("escape", "overkill") if points.get(name)]
    if not names or len(points["threshold"]) < 2:
        return ""
    score = np.array([np.nan, *points["threshold"][1:]], float)
    unit = bool(np.nanmin(score) >= 0 and np.nanmax(score) <= 1)  # else the panels have no x axis in common
    rates = {name: np.array([points[name + end] for end in ("", "_low", "_high")], float) for name in names}

    def draw(panels: list[Any]) -> None:
        for name, colour in zip(names, (SERIES[1], SERIES[0]) if "escape" in names else SERIES[:1], strict=False):
            value, low, high = rates[name][:, 1:]
            panels[0].fill_between(score[1:], low, high, color=colour, step="pre", **_BAND)
            line(panels[0], score[1:], value, colour, label=name, drawstyle="steps-pre")
        if threshold is not None:
            panels[0].axvline(threshold, color=INK, alpha=0.6, linewidth=0.8, dashes=(3, 3), label="threshold")
        title(panels[0], "rate", legend=False)
        _shares(panels[0], "y")
        panels[0].xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        panels[0].set_xlabel("threshold on the score")
        if unit:
            panels[0].xaxis.set_major_locator(FixedLocator(_SHARES))
            panels[0].set_xlim(-0.02, 1.02)
        if len(panels) == 2:
            _against_each_other(panels[1], rates, point)
        legend_at_the_foot(panels[0])

    label = f"{' and '.join(names).capitalize()} rate over the threshold, with 95 % intervals"
    return svg(
        "rejection", label, [210], draw, columns=len(names) if unit else 1, margins=Margins(foot=LEGEND_FOOT + 4)
    )


def _against_each_other(axes: Any, rates: Mapping[str, Values], point: Record | None) -> None:
    escape, overkill = rates["escape"], rates["overkill"]
    axes.fill_between(overkill[0], escape[1], escape[2], color=SERIES[2], step="post", **_BAND)
    line(axes, overkill[0], escape[0], SERIES[2], drawstyle="steps-post")
    at = [_interval(point[name]) for name in ("overkill", "escape")] if point else []
    if at and np.isfinite(at).all():
        (x, *_), (y, *_) = at
        reach = [[[value - low], [high - value]] for value, low, high in at]
        axes.errorbar([x], [y], reach[1], reach[0], "o", color=SERIES[1], markersize=6, linewidth=1.2, label="chosen")
    title(axes, "escape rate")
    _shares(axes, "y")
    axes.tick_params(labelbottom=False)  # the panels share their x axis, but here it is in percent
    for share in _SHARES:
        place = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "top"}
        axes.text(share, -0.028, f"{100 * share:g}", **place)
    axes.set_xlabel("overkill rate, %", labelpad=18)


def froc(record: Record) -> str:
    """Draw the share of the boxes found against the false alarms per picture, of `Froc.to_dict`."""
    points, at = record.get("points") or {}, record.get("at") or []
    if not at:
        return ""
    x, y = np.array(points["false_alarms"], float), np.array(points["sensitivity"], float)

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        axes.set_xscale("log", base=2)
        axes.set_xlim(1 / 10, 10)
        left = y[x <= 1 / 10]
        start = float(left.max()) if len(left) else 0.0
        inside = x > 1 / 10
        end = float(y[inside & (x <= 10)].max(initial=start))
        line_x, line_y = np.array([0.1, *x[inside], 10.0]), np.array([start, *y[inside], end])
        order = np.argsort(line_x, kind="stable")
        axes.plot(line_x[order], line_y[order], color=SERIES[0], linewidth=1.5, drawstyle="steps-post")
        value, low, high = np.array([_interval(row) for row in at]).T
        rate = np.array([row["false_alarms"] for row in at], float)
        reach = np.abs([value - low, high - value])
        axes.errorbar(rate, value, reach, fmt="o", color=SERIES[0], markersize=4, linewidth=1.2, label="95 % interval")
        title(axes, "share of the boxes found")
        axes.set_ylim(0, 1.02)
        _shares(axes, "y")
        axes.xaxis.set_major_locator(FixedLocator(_FALSE_ALARMS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"1/{1 / v:.0f}" if v < 1 else f"{v:.0f}"))
        axes.set_xlabel("false alarms per picture")

    return svg("froc", "Share of the boxes found against false alarms per picture", [220], draw)


# ---- the grower's view -----------------------------------------------------------------------------------------------


def count_scatter(record: Record) -> str:
    """Draw detections against objects in each picture, of `CountFigures.to_dict`; a larger dot is more pictures."""
    rows = np.array(record.get("scatter") or np.zeros((0, 3)), float)
    if not len(rows):
        return ""
    top = max(float(rows[:, :2].max()), 1.0)
    true, predicted, pictures = _fewer_dots(rows, top).T

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        ends = np.array([0, top * 1.05])
        axes.plot(ends, ends, color=INK, alpha=0.5, linewidth=0.8, label="as many as there are")
        size = 12 + 140 * pictures / max(pictures.max(), 8)
        label = f"pictures ({int(pictures.sum()):,})"
        axes.scatter(true, predicted, size, color=SERIES[0], alpha=0.45, linewidth=0, label=label)
        title(axes, "detections", legend=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        axes.set_xlim(-0.04 * top, 1.08 * top)
        axes.set_ylim(-0.04 * top, 1.08 * top)
        axes.set_xlabel("objects in the picture")
        legend_at_the_foot(axes)

    return svg("counts", "Detections against objects, picture by picture", [300], draw, margins=Margins(92, 88, 58))


def _fewer_dots(rows: Values, top: float) -> Values:
    """Return at most some hundred dots [n, 3]: those of a cell become one at their mean."""
    if len(rows) <= _MOST_DOTS:
        return rows
    cells = np.floor(rows[:, :2] / (top / 40))
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    pictures = np.bincount(cell, rows[:, 2])
    means = [np.bincount(cell, rows[:, side] * rows[:, 2]) / pictures for side in (0, 1)]
    return np.column_stack([*means, pictures])


# ---- calibration -----------------------------------------------------------------------------------------------------


def reliability(record: Record, after: Record | None = None) -> str:
    """Draw the precision of the detections of each bin of scores, and below how many they are.

    Args:
        record: of `Reliability.to_dict`.
        after: the same with calibrated scores.
    """
    drawn = [(name, found) for name, found in (("scores", record), ("calibrated", after)) if found]
    drawn = [(name, found) for name, found in drawn if found.get("detections")]
    if not drawn:
        return ""

    def draw(panels: list[Any]) -> None:
        top, below = panels
        top.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=0.8)
        for (name, found), colour in zip(drawn, SERIES, strict=False):
            bins = {key: np.array(values, float) for key, values in found["bins"].items()}
            value = bins["precision"]
            reach = np.abs([value - bins["precision_low"], bins["precision_high"] - value])
            words = f"{name}, error {number((found.get('d_ece') or {}).get('value')):.3f}" if len(drawn) > 1 else ""
            how = {"markersize": 4, "linewidth": 1.2, "label": words or None}
            top.errorbar(bins["score"], value, reach, fmt="o-", color=colour, **how)
            edges = np.array(found["edges"], float)
            how = {"linewidth": 0.6, "edgecolor": colour, "facecolor": colour, "alpha": 0.45}
            below.bar(edges[:-1], bins["count"] / np.diff(edges), np.diff(edges), align="edge", **how)
        title(top, "share that is right", legend=False)
        top.set_ylim(0, 1.02)
        _shares(top, "y")
        total = sum(drawn[0][1]["bins"]["count"])
        name_panel(below, f"where the {count(int(total), 'detection')} lie (area)")
        below.set_yticks([])
        below.set_xlim(0, 1.01)
        below.set_xticks(_SHARES)
        top.tick_params(labelbottom=False, bottom=False)
        below.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        below.set_xlabel("score")
        if len(drawn) > 1:
            legend_at_the_foot(top)

    margins = Margins(60, 60, LEGEND_FOOT if len(drawn) > 1 else 40)
    return svg("reliability", "Share of detections that are right, by score", [230, 48], draw, margins=margins)


# ---- classes ---------------------------------------------------------------------------------------------------------


def precision_recall(classes: Mapping[str, Sequence[float]]) -> str:
    """Draw precision at IoU 0.50 over recall, [101] for each class; of many classes their mean and the three lowest."""
    curves = {name: np.array(values, float) for name, values in classes.items() if len(values)}
    if not curves:
        return ""
    recall = np.linspace(0, 1, len(next(iter(curves.values()))))
    worst = sorted(curves, key=lambda name: float(curves[name].mean()))[:3]
    named = list(curves) if len(curves) <= _MOST_LINES else worst
    rows = -(-(len(named) + (len(curves) > 1)) // (3 if (len(named) + 1) % 3 == 0 else 4))

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        for name in curves.keys() - set(named):
            axes.plot(recall, curves[name], color=INK, alpha=0.16, linewidth=0.7)
        for name, colour in zip(named, colours(len(named) + 1)[1:] if len(curves) > 1 else SERIES, strict=False):
            axes.plot(recall, curves[name], color=colour, linewidth=1.2, label=_cut(name))
        if len(curves) > 1:
            mean = np.mean(list(curves.values()), axis=0)
            axes.plot(recall, mean, color=INK if len(named) == _MOST_LINES else SERIES[0], linewidth=2.2, label="mean")
        title(axes, "precision", legend=False)
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0, 1.01)
        _shares(axes, "y")
        _shares(axes, "x")
        axes.set_xlabel("recall")
        legend_at_the_foot(axes)

    margins = Margins(foot=LEGEND_FOOT + 16 * (rows - 1))
    return svg("precision-recall", "Precision over recall of each class at IoU 0.50", [230], draw, margins=margins)


# ---- parts -----------------------------------------------------------------------------------------------------------


def _interval(record: Record) -> tuple[float, float, float]:
    """Return value, low and high; nan for what is None."""
    return number(record.get("value")), number(record.get("low")), number(record.get("high"))


def _shares(axes: Any, which: str) -> None:
    """Write an axis in percent."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda v, _: percent(v) if v else "0"))


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
