"""Panels, lines and marks in the style of the report, and the way from matplotlib to a piece of a page.

The SVG stands inside an HTML page: it has no size of its own, takes the text colour and font of the page, and takes its
line colours from the CSS variables `--series-1`, `--series-2`, ... (with a colour-blind-safe default), so that a page
can change them in the dark.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .curve import Values

MOST_POINTS = 1500  # per line: more cannot be seen on a figure that is shown 500 pixels wide
INK = "#010203"  # stands for the page's text colour until the SVG is finished
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
WIDTH = 480.0
HEAD = 26.0  # above each panel, for its name and legend
_EVENT_ROW = 13.0  # between the first panel and its name
LEGEND_FOOT = 58.0  # below the last row of panels, with one line of legend
_ROUND = [1, 2, 5, 10]
_STYLE = {
    "svg.fonttype": "none",  # real text: small, and in the font of the page
    "text.parse_math": False,  # a "$" in a name is a "$"
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
    "axes.xmargin": 0.02,
    "path.simplify": True,
    "image.composite_image": False,  # else images are resampled to the size of the figure
}


def thin(x: Values, y: Values, most: int = MOST_POINTS) -> tuple[Values, Values]:
    """Leave out what is not finite, then keep the lowest and the highest value of each stretch of the line."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(y) <= most:
        return x, y
    kept: list[int] = []
    for start, stop in stretches(len(y), most // 2):
        kept += [start + int(np.argmin(y[start:stop])), start + int(np.argmax(y[start:stop]))]
    rows = np.unique(kept)
    return x[rows], y[rows]


def smooth(x: Values, y: Values) -> tuple[Values, Values]:
    """Return the running median over a fortieth of the line; what is not finite is left out."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(y) > MOST_POINTS:  # medians of stretches first: a median over 2,500 neighbours of every step would be slow
        parts = stretches(len(y), MOST_POINTS // 2)
        x = np.array([x[(start + stop) // 2] for start, stop in parts])
        y = np.array([np.median(y[start:stop]) for start, stop in parts])
    width = max(5, len(y) // 40) | 1
    if len(y) < width:
        return x, y
    padded = np.pad(y, width // 2, constant_values=np.nan)
    return x, np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)


def share_of(x: Values, flags: Values, most: int = 300) -> tuple[Values, Values]:
    """Return the edges of at most `most` stretches and the share of set flags in each, the last one repeated."""
    parts = stretches(len(x), min(most, len(x)))
    share = [float(np.mean(np.nan_to_num(flags[start:stop]))) for start, stop in parts]
    return np.array([*(x[start] for start, _ in parts), x[-1] + 1]), np.array([*share, share[-1]])


def stretches(length: int, count: int) -> list[tuple[int, int]]:
    """Divide a line into `count` stretches of nearly the same length; returns where each starts and stops."""
    return list(pairwise(np.linspace(0, length, count + 1).astype(int).tolist()))


def colours(count: int) -> list[str]:
    """Return a colour for each of `count` lines."""
    return [SERIES[i % len(SERIES)] for i in range(count)]


def marker(x: Values) -> dict[str, Any]:
    """Show the points of a short line: a single epoch would otherwise be invisible."""
    return {"marker": "o", "markersize": 3} if len(x) <= 30 else {}


def line(axes: Any, x: Values, y: Values, colour: str, **how: Any) -> None:
    """Draw a line, thinned; `how` goes to matplotlib."""
    x, y = thin(x, y)
    if len(y) == 1:
        how.setdefault("marker", "o")
    axes.plot(x, y, color=colour, **{"linewidth": 1.5, **how})


def mark_not_finite(axes: Any, x: Values, y: Values) -> None:
    """Mark the steps whose value was not a number: a gap in a line is too easy to overlook."""
    mark_steps(axes, x[~np.isfinite(y)], "not a number")


def mark_steps(axes: Any, steps: Values, label: str) -> None:
    """Mark single steps with a cross at the upper edge, and count them in the legend."""
    if len(steps):
        shown, _ = thin(steps, steps, 60)
        at = {"transform": axes.get_xaxis_transform(), "color": SERIES[1], "markersize": 5}
        axes.plot(shown, np.full(len(shown), 0.97), "x", **at)
        axes.plot([], [], "x", color=SERIES[1], markersize=5, label=f"{label} ({len(steps):,})")


def title(axes: Any, text: str, wide_range: bool = False, legend: bool = True) -> None:
    """Put the name of the panel above it, the legend beside the name, and choose the scale of y."""
    if wide_range:
        _log_scale(axes)
        text += ", log scale"
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4 if height_of(axes) < 120 else 6, steps=_ROUND))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    name_panel(axes, text)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    if legend:
        _legend(axes, room=width_of(axes) - 6.6 * len(text))


def name_panel(axes: Any, text: str) -> None:
    """Put the name of a panel above it; with `y` given, matplotlib does not measure all labels to find a place."""
    axes.set_title(text, loc="left", fontsize=12, pad=7 + _lift_of(axes), y=1.0)


def _legend(axes: Any, room: float) -> None:
    """Put the legend beside the panel's name, or inside the panel, at the right, where the name leaves no room."""
    labels = axes.get_legend_handles_labels()[1]
    if not labels:
        return
    spacing = {"handlelength": 1.1, "handletextpad": 0.4, "columnspacing": 1.0, "borderaxespad": 0.2, "borderpad": 0.2}
    if sum(28 + 6.2 * len(label) for label in labels) <= room:
        place = {
            "loc": "lower right",
            "bbox_to_anchor": (1.01, 1 + _lift_of(axes) / height_of(axes)),
            "ncols": len(labels),
        }
    else:
        place = {"loc": "upper right"}
    axes.legend(frameon=False, fontsize=11, **place, **spacing)


def legend_at_the_foot(axes: Any) -> None:
    """Put the legend of a panel below the whole figure, where many entries have room; it takes `LEGEND_FOOT`."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 3 if len(labels) % 3 == 0 else 4
    spacing = {"handlelength": 1.1, "handletextpad": 0.4, "columnspacing": 1.2, "borderaxespad": 0.1}
    axes.figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False, fontsize=11, **spacing)


def _lift_of(axes: Any) -> float:
    """Return by how much the name of a panel is lifted: above the first row stand the events."""
    return _EVENT_ROW if axes.bbox.y1 == axes.figure.axes[0].bbox.y1 else 0.0


def height_of(axes: Any) -> float:
    """Return the height of a panel in units of the figure."""
    return float(axes.bbox.height)


def width_of(axes: Any) -> float:
    """Return the width of a panel in units of the figure."""
    return float(axes.bbox.width)


def _log_scale(axes: Any) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if decades > 2.5 else (1, 2, 5), numticks=9))
    axes.yaxis.set_minor_locator(NullLocator())  # not to be seen here, and dozens of them take most of the time


def finish_x(panels: Sequence[Any], label: str) -> None:
    """Give the panels whole numbers on their common x axis, and the lowest one the label."""
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1, steps=_ROUND))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.tick_params(labelbottom=panel is panels[-1], bottom=panel is panels[-1])
    panels[-1].set_xlabel(label)


@dataclass(frozen=True)
class Margins:
    """Space around the panels, in units of the figure; `foot` is below the last row, for its numbers and name."""

    left: float = 48.0
    right: float = 16.0
    foot: float = 40.0


MARGINS = Margins()


def svg(
    name: str,
    label: str,
    heights: Sequence[float],
    draw: Callable[[list[Any]], None],
    columns: int = 1,
    margins: Margins = MARGINS,
) -> str:
    """Set up panels, let `draw` fill them, and return the finished SVG.

    Args:
        name: of the figure, so that what has an id in it has another one in every figure.
        label: what the figure shows, for those who cannot see it.
        heights: of the rows of panels.
        draw: takes the panels, row by row.
        columns: panels beside each other.
        margins: around the panels, and between those of a row.
    """
    total = _EVENT_ROW + sum(heights) + len(heights) * HEAD + margins.foot
    pitch = (WIDTH - margins.right) / columns
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH / 72, total / 72), dpi=72)
        panels: list[Any] = []
        top = total - _EVENT_ROW
        for height in heights:
            top -= HEAD + height
            for number in range(columns):
                left = number * pitch + margins.left
                box = (left / WIDTH, top / total, (pitch - margins.left) / WIDTH, height / total)
                panels.append(figure.add_axes(box, sharex=panels[0] if panels else None))
        draw(panels)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), name, label, total)


def _inline(file: str, name: str, label: str, height: float) -> str:
    """Turn matplotlib's stand-alone file into an element of a page."""
    body = file[file.index(">", file.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # the same in every figure, and ids must be unique in a page
    body = re.sub(r'(<image[^>]*? id=")', rf"\1{name}-", body)
    body = body.replace("xlink:href", "href").replace("base64,\n", "base64,")
    body = re.sub(r'd="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]).replace("\n", " "), body)
    # Matplotlib up to 3.10 writes "font: 11px 'DejaVu Sans', ...", later ones "font-size" and "font-family".
    body = re.sub(r"font: (?:[\w ]+ )?([\d.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r" ?font-family: [^;\"]*;?", "", body)
    body = body.replace(INK, "currentColor")
    for number, colour in enumerate(SERIES, start=1):
        body = body.replace(colour, f"var(--series-{number}, {colour})")
    body = re.sub(r">\s+<", "><", body)
    head = f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{html.escape(label)}"'
    return f'{head} stroke-linejoin="round">{body}'.strip()
