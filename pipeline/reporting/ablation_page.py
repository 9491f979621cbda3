"""The page of an ablation: what each entry of a policy is worth, as a figure and as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter

from ..ablation_result import Ablation, Row
from ..ablation_statistics import Paired
from ..records import now, write_atomic
from .page import template
from .panels import INK, LEGEND_FOOT, SERIES, Margins, legend_at_the_foot, svg
from .wording import count, duration, moment, precision

# An interval is drawn no farther than this many times the largest difference of a single seed: with two seeds it
# reaches nine deviations, and everything else would be one dot.
_REACH = 2.5
_ROW = 30.0  # units of the figure for each entry
_COLOURS = {"helps": SERIES[2], "hurts": SERIES[1]}
_NEITHER = SERIES[0]
_STANDING = {"helps": "good", "hurts": "bad"}
_QUESTIONS = {
    "leave-one-out": "The whole policy, compared with the policy less one entry.",
    "add-one-in": "One entry alone, compared with no augmentation.",
}


def write_ablation_page(path: Path, ablation: Ablation) -> Path:
    """Write one HTML file that needs nothing else.

    Raises:
        RunError: the file cannot be written.
    """
    rows = ablation.rows
    page = template("ablation.html.j2").render(
        name=f"Does each entry of {ablation.plan.policy or 'the policy'} help?",
        place=ablation.folder,
        question=_QUESTIONS[ablation.plan.mode],
        state=ablation.state,
        reason=ablation.reason,
        facts=_facts(ablation),
        rows=[_table_row(row) for row in rows],
        figure=_figure(ablation, rows),
        trainings=_trainings(ablation),
        notes=ablation.notes,
        updated=moment(now()),
    )
    write_atomic(path, page.encode("utf-8", errors="replace"))
    return path


def points(value: float | None) -> str:
    """Return a difference of mAP in points (hundredths) with its sign; a dash for None."""
    if value is None:
        return "–"
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def interval(found: Paired | None) -> str:
    """Return the interval of a difference in points; a dash where there is none."""
    return "–" if found is None or found.low is None else f"{points(found.low)} to {points(found.high)}"


def _facts(ablation: Ablation) -> list[tuple[str, str]]:
    plan, done = ablation.plan, len(ablation.records)
    noise = ablation.noise
    facts = [
        ("Trainings", f"{done} of {len(plan.trainings)}, {count(plan.epochs, 'epoch')} each"),
        ("Seeds", f"{len(plan.seeds)} ({plan.seeds[0]} to {plan.seeds[-1]})"),
        ("Measured on", plan.split or "nothing yet"),
        (f"mAP50-95 of {plan.reference}, mean", precision(ablation.reference_score)),
        (
            "Noise: deviation between seeds",
            "not known yet" if noise is None else f"{100 * noise:.1f} points of mAP50-95",
        ),
    ]
    if done < len(plan.trainings):
        facts.append(("Time left", duration(ablation.seconds_left) or "not known yet"))
    else:
        facts.append(("Time", duration(sum(record.seconds for record in ablation.records))))
    return facts


def _table_row(row: Row) -> dict[str, Any]:
    found, other = row.contribution, row.map50
    return {
        "entry": row.entry,
        "setting": row.setting,
        "seeds": len(row.seeds),
        "difference": points(found.mean if found else None),
        "interval": interval(found) if found else "",
        "map50": points(other.mean if other else None),
        "map50_interval": interval(other) if other else "",
        "verdict": row.verdict,
        "detail": row.detail,
        "standing": _STANDING.get(row.verdict, ""),
    }


def _trainings(ablation: Ablation) -> dict[str, Any]:
    """Return the score of every training, a row for each arm and a column for each seed."""
    runs = {(record.arm, record.seed): record for record in ablation.records}
    rows = []
    for arm, entry in ablation.plan.arms.items():
        cells = []
        for seed in ablation.plan.seeds:
            record = runs.get((arm, seed))
            link = f"{record.run}/report.html" if record else ""
            cells.append({"text": precision(record.map50_95 if record else None), "link": link})
        words = "none" if ablation.plan.mode == "add-one-in" else "the whole policy"
        part = "without" if ablation.plan.mode == "leave-one-out" else "only"
        rows.append({"arm": words if entry is None else f"{part} {entry}", "cells": cells})
    return {"seeds": ablation.plan.seeds, "rows": rows}


def _figure(ablation: Ablation, rows: list[Row]) -> dict[str, Any] | None:
    """Return the figure of contributions as the template's macro wants it; None before the first pair."""
    drawing = forest(rows)
    if not drawing:
        return None
    caption = (
        "The large dot is the mean over seeds, the line its 95 % interval (an arrow: it goes on), each ring one seed. "
        "Right of 0 the trainings with the entry score higher. A line that crosses 0 proves nothing."
    )
    return {
        "title": "What each entry adds to mAP50-95",
        "caption": caption,
        "svg": Markup(drawing),
        "facts": [],
        "table": None,
    }


def forest(rows: list[Row]) -> str:
    """Draw each entry's contribution with its interval and the differences of single seeds; "" without any."""
    shown = [row for row in rows if row.contribution is not None]
    if not shown:
        return ""
    largest = max((abs(100 * value) for row in shown for value in row.differences), default=0.0) or 1.0
    limit = min(_REACH * largest, max([1.1 * largest, *(1.1 * _far(row) for row in shown)]))

    def draw(panels: list[Any]) -> None:
        (axes,) = panels
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, row in enumerate(shown):
            _draw_row(axes, place, row, limit)
        for label, colour in _legend(shown).items():
            axes.plot([], [], "o", color=colour, markersize=7, label=label)
        axes.plot([], [], "o", markerfacecolor="none", markeredgecolor=INK, markersize=4.5, label="one seed")
        axes.set_xlim(-limit, limit)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), [row.entry for row in shown])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
        axes.set_xlabel("points of mAP50-95")
        axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.6)
        for text, x, side in (("← hurts", -0.02, "right"), ("helps →", 0.02, "left")):
            axes.text(limit * x, 1.03, text, transform=axes.get_xaxis_transform(), ha=side)
        legend_at_the_foot(axes)

    margins = Margins(left=24.0 + 6.6 * max(len(row.entry) for row in shown), foot=LEGEND_FOOT + 8)
    return svg(
        "ablation", "What each entry adds to mAP50-95, with intervals", [_ROW * len(shown)], draw, margins=margins
    )


def _far(row: Row) -> float:
    found = row.contribution
    bounds = (found.low, found.high) if found else (None, None)
    return max((abs(100 * bound) for bound in bounds if bound is not None), default=0.0)


def _legend(rows: list[Row]) -> dict[str, str]:
    """Return the verdicts that occur and their colours; those that say nothing share one."""
    named = {str(row.verdict): _COLOURS[row.verdict] for row in rows if row.verdict in _COLOURS}
    return {
        **named,
        **({"neither" if named else "mean": _NEITHER} if any(r.verdict not in _COLOURS for r in rows) else {}),
    }


def _draw_row(axes: Any, place: int, row: Row, limit: float) -> None:
    found = row.contribution
    if found is None:
        return
    colour = _COLOURS.get(row.verdict, _NEITHER)
    if found.low is not None and found.high is not None:
        low, high = 100 * found.low, 100 * found.high
        axes.plot([max(low, -limit), min(high, limit)], [place, place], color=colour, linewidth=2)
        for bound, sign in ((low, "<"), (high, ">")):
            if abs(bound) > limit:
                axes.plot(np.sign(bound) * limit, place, sign, color=colour, markersize=7, clip_on=False)
    axes.plot(100 * found.mean, place, "o", color=colour, markersize=7)
    single = 100 * np.array(row.differences)
    axes.plot(
        single, np.full(len(single), place + 0.28), "o", markerfacecolor="none", markeredgecolor=INK, markersize=4.5
    )
