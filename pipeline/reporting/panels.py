"""Panels, lines and marks in the style of the report, and the way from matplotlib to a piece of a page.

The SVG stands inside an HTML page: it has no size of its own, takes the text colour and font of the page, and takes its
line colours from the CSS variables `--series-1`, `--series-2`, ... (with a colour-blind-safe default), so that a page
can change them in the dark.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

Values = npt.NDArray[np.float64]
Event = Mapping[str, Any]

MOST_POINTS = 1500  # per line: more cannot be seen on a figure that is shown 500 pixels wide
_INK = "#010203"  # stands for the page's text colour until the SVG is finished
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
_WIDTH = 480.0
HEAD = 26.0  # above each panel, for its name and legend
_LEFT, _RIGHT, _FOOT = 48.0, 16.0, 40.0
_EVENT_ROW = 13.0  # between the first panel and its name
_ROUND = [1, 2, 5, 10]
_STYLE = {
    "svg.fonttype": "none",  # real text: small, and in the font of the page
    "text.parse_math": False,  # a "$" in a name is a "$"
    "font.size": 12,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
    "axes.xmargin": 0.02,
    "path.simplify": True,
}
_EVENT_LABELS = {
    "resume": "resumed",
    "warmup_end": "warm-up ends",
    "close_mosaic": "mosaic off",
    "interrupted": "interrupted",
    "early_stop": "stopped early",
    "failed": "failed",
}


def thin(x: Values, y: Values, most: int = MOST_POINTS) -> tuple[Values, Values]:
    """Leave out what is not finite, then keep the lowest and the highest value of each stretch of the line."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(y) <= most:
        return x, y
    kept: list[int] = []
    for start, stop in _stretches(len(y), most // 2):
        kept += [start + int(np.argmin(y[start:stop])), start + int(np.argmax(y[start:stop]))]
    rows = np.unique(kept)
    return x[rows], y[rows]


def smooth(x: Values, y: Values) -> tuple[Values, Values]:
    """Return the running median over a fortieth of the line; what is not finite is left out."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(y) > MOST_POINTS:  # medians of stretches first: a median over 2,500 neighbours of every step would be slow
        parts = _stretches(len(y), MOST_POINTS // 2)
        x = np.array([x[(start + stop) // 2] for start, stop in parts])
        y = np.array([np.median(y[start:stop]) for start, stop in parts])
    width = max(5, len(y) // 40) | 1
    if len(y) < width:
        return x, y
    padded = np.pad(y, width // 2, constant_values=np.nan)
    return x, np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)


def share_of(x: Values, flags: Values, most: int = 300) -> tuple[Values, Values]:
    """Return the edges of at most `most` stretches and the share of set flags in each, the last one repeated."""
    parts = _stretches(len(x), min(most, len(x)))
    share = [float(np.mean(np.nan_to_num(flags[start:stop]))) for start, stop in parts]
    return np.array([*(x[start] for start, _ in parts), x[-1] + 1]), np.array([*share, share[-1]])


def _stretches(length: int, count: int) -> list[tuple[int, int]]:
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
    odd = x[~np.isfinite(y)]
    if len(odd):
        shown, _ = thin(odd, odd, 60)
        axes.plot(
            shown, np.full(len(shown), 0.97), "x", transform=axes.get_xaxis_transform(), color=SERIES[1], markersize=5
        )
        axes.plot([], [], "x", color=SERIES[1], markersize=5, label=f"not a number ({len(odd):,})")


def mark_events(panels: Sequence[Any], events: Sequence[Event], key: str) -> None:
    """Draw each event as a thin line with its label above; a label that would cover the one before is left out."""
    low, high = panels[0].get_xlim()
    width = _WIDTH - _LEFT - _RIGHT
    free = -np.inf
    for event in sorted((e for e in events if e.get(key) is not None), key=lambda e: float(e[key])):
        label = _EVENT_LABELS.get(str(event.get("event")))
        at = float(event[key]) + (1 if key == "epoch" else 0)
        if label is None or not low <= at <= high:
            continue
        for panel in panels:
            panel.axvline(at, color=_INK, alpha=0.45, linewidth=0.7, dashes=(3, 3))
        half = 2.9 * len(label)
        middle = min(max((at - low) / (high - low) * width, half), width - half)
        if middle - half > free:
            place = {"ha": "center", "va": "bottom", "fontsize": 10, "alpha": 0.75}
            panels[0].text(middle / width, 1 + 3 / _height(panels[0]), label, transform=panels[0].transAxes, **place)
            free = middle + half + 4


def title(axes: Any, text: str, wide_range: bool = False, legend: bool = True) -> None:
    """Put the name of the panel above it, the legend beside the name, and choose the scale of y."""
    if wide_range:
        _log_scale(axes)
        text += ", log scale"
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4 if _height(axes) < 120 else 6, steps=_ROUND))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lift = _EVENT_ROW if axes is axes.figure.axes[0] else 0.0
    axes.set_title(text, loc="left", fontsize=12, pad=7 + lift)
    axes.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.6)
    if legend:
        _legend(axes, lift, room=_WIDTH - _LEFT - _RIGHT - 6.6 * len(text))


def _legend(axes: Any, lift: float, room: float) -> None:
    """Put the legend beside the panel's name, or inside the panel, at the right, where the name leaves no room."""
    labels = axes.get_legend_handles_labels()[1]
    if not labels:
        return
    spacing = {"handlelength": 1.1, "handletextpad": 0.4, "columnspacing": 1.0, "borderaxespad": 0.2, "borderpad": 0.2}
    if sum(28 + 6.2 * len(label) for label in labels) <= room:
        place = {"loc": "lower right", "bbox_to_anchor": (1.01, 1 + lift / _height(axes)), "ncols": len(labels)}
    else:
        place = {"loc": "upper right"}
    axes.legend(frameon=False, fontsize=11, **place, **spacing)


def _height(axes: Any) -> float:
    return float(axes.bbox.height)


def _log_scale(axes: Any) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if decades > 2.5 else (1, 2, 5), numticks=9))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", size=0)


def finish_x(panels: Sequence[Any], label: str) -> None:
    """Give the panels whole numbers on their common x axis, and the lowest one the label."""
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1, steps=_ROUND))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.tick_params(labelbottom=panel is panels[-1], bottom=panel is panels[-1])
    panels[-1].set_xlabel(label)


def svg(name: str, label: str, heights: Sequence[float], draw: Callable[[list[Any]], None]) -> str:
    """Set up panels above each other, let `draw` fill them, and return the finished SVG."""
    total = _EVENT_ROW + sum(heights) + len(heights) * HEAD + _FOOT
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(_WIDTH / 72, total / 72), dpi=72)
        panels: list[Any] = []
        top = total - _EVENT_ROW
        for height in heights:
            top -= HEAD + height
            box = (_LEFT / _WIDTH, top / total, (_WIDTH - _LEFT - _RIGHT) / _WIDTH, height / total)
            panels.append(figure.add_axes(box, sharex=panels[0] if panels else None))
        draw(panels)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), label, total)


def _inline(file: str, label: str, height: float) -> str:
    """Turn matplotlib's stand-alone file into an element of a page."""
    body = file[file.index(">", file.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # the same in every figure, and ids must be unique in a page
    body = body.replace("xlink:href", "href")
    body = re.sub(r'd="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]).replace("\n", " "), body)
    # Matplotlib up to 3.10 writes "font: 11px 'DejaVu Sans', ...", later ones "font-size" and "font-family".
    body = re.sub(r"font: (?:[\w ]+ )?([\d.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r" ?font-family: [^;\"]*;?", "", body)
    body = body.replace(_INK, "currentColor")
    for number, colour in enumerate(SERIES, start=1):
        body = body.replace(colour, f"var(--series-{number}, {colour})")
    body = re.sub(r">\s+<", "><", body)
    head = f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="{html.escape(label)}"'
    return f'{head} stroke-linejoin="round">{body}'.strip()
