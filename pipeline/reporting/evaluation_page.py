"""What the page shows of an evaluated split beside its scores: figures, errors as pictures, suspected labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from ..errors import TuneUpError
from ..runs import Run
from . import evaluation_figures as draw
from .error_gallery import ErrorGroup, make_error_groups
from .evaluation_tables import suspects, tables
from .scores import interval_words
from .threshold_words import common_threshold, what_to_know, which

_CUTS = 8  # pictures of each group of errors: two rows of the page


def view(run: Run, split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures, error rows, inspection sentences, galleries and suspects of one split for the template."""
    curves = run.curves(split)
    return {
        "figures": [figure for figure in _figures(curves, metrics) if figure["svg"]],
        "errors": [_error_row(row) for row in metrics.get("errors") or [] if row["count"] and row["remedy"]],
        "sentences": _sentences(run, split, metrics),
        "tables": tables(run, metrics),
        "suspects": suspects(run, split),
    }


def gallery(run: Run, split: str) -> tuple[list[ErrorGroup], str]:
    """Return the worst errors of a split as pictures, or the reason why they cannot be shown."""
    try:
        errors = run.evaluation_table(split, "errors")
        if errors is None:
            return [], ""
        return make_error_groups(run.dataset().split(split), errors, _CUTS), ""
    except (TuneUpError, OSError, pl.exceptions.PolarsError) as error:
        return [], f"The errors cannot be shown: {error}"


def _figures(curves: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the figures as the template's macro wants them."""
    point = metrics.get("operating_point")
    common = common_threshold(point) if point else None  # else the point in use lies on no curve over one threshold
    figures = (point["check"] or point)["figures"] if point and common is not None else None
    apart = " Thresholds differ by class, so the chosen point is not on this curve over a common one."
    counting, calibration = metrics.get("counting"), metrics.get("calibration")
    check = calibration["check"] if calibration else None
    drawn = (
        (
            "Precision over recall",
            "At IoU 0.50: how many detections are right while more and more objects are found.",
            draw.precision_recall(curves.get("precision_recall") or {}),
        ),
        (
            "The inspector's view",
            "Escape: defective pictures that pass. Overkill: good pictures that are rejected."
            f"{apart if point and common is None else ''}",
            draw.rejection(curves.get("rejection") or {}, figures, common),
        ),
        (
            "Found against false alarms",
            "Share of the objects found when so many false alarms per picture are accepted (FROC).",
            draw.froc(curves.get("froc") or {}),
        ),
        (
            "The grower's view",
            "Detections at the chosen threshold against objects, picture by picture.",
            draw.count_scatter(counting["total"]) if counting else "",
        ),
        (
            "Is a score a probability?",
            "Share of right detections by score; on the diagonal a score means what it says.",
            draw.reliability(
                check["before"] if check else (calibration or {}).get("reliability") or {},
                check["after"] if check else None,
            ),
        ),
    )
    return [
        {"title": title, "caption": words, "svg": Markup(svg), "facts": [], "table": None}  # matplotlib escapes texts
        for title, words, svg in drawn
    ]


def _error_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a type of error as the page shows it; what costs nothing, or is never sure, needs no remedy."""
    cost = row["cost"]
    interval = None if cost["low"] is None else cost
    shown = "–" if cost["value"] is None else f"{100 * cost['value']:.1f}"
    return {
        "type": row["type"],
        "count": f"{row['confident']:,}",
        "cost": shown,
        "range": "" if interval is None else f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f}",
        "remedy": row["remedy"] if row["confident"] and shown != "0.0" else "",
    }


def _sentences(run: Run, split: str, metrics: Mapping[str, Any]) -> list[str]:
    """Return what thresholds, counts, calibration and Ultralytics' own figure come to, in plain sentences."""
    point = metrics.get("operating_point")
    said = [*([which(point)] if point else ()), *what_to_know(run, split, metrics)]
    total = (metrics.get("counting") or {}).get("total")
    if total and total["mae"]:
        mae, bias = total["mae"], total["bias"]
        said.append(
            f"Counts are off by {mae['value']:.2f} a picture on average ({interval_words(mae) or 'no interval'}), "
            f"bias {bias['value']:+.2f}."
        )
    check = (metrics.get("calibration") or {}).get("check")
    said += [check["sentence"]] if check else []
    said += [metrics["ultralytics"]["map50_95"]["words"]] if metrics.get("ultralytics") else []
    return [text[:1].upper() + text[1:] for text in dict.fromkeys(said)]
