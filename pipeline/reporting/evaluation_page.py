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
from .scores import interval_words
from .wording import percent, precision

_CUTS = 8  # pictures of each group of errors: two rows of the page
_SUSPECTS = 12  # labels that are listed; all of them stand in suspects.parquet


def view(run: Run, split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures, error rows, inspection sentences, galleries and suspects of one split for the template."""
    curves = run.curves(split)
    return {
        "figures": [figure for figure in _figures(curves, metrics) if figure["svg"]],
        "errors": [_error_row(row) for row in metrics.get("errors") or [] if row["count"] and row["remedy"]],
        "sentences": _sentences(metrics),
        "tables": [*_slice_tables(metrics), *_robustness_tables(metrics.get("robustness"))],
        "suspects": _suspects(run, split),
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
    figures = (point["check"] or point)["figures"] if point else None
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
            "Escape: defective pictures that pass. Overkill: good pictures that are rejected.",
            draw.rejection(curves.get("rejection") or {}, figures, point["overall"] if point else None),
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
    cost = row["cost"]
    interval = None if cost["low"] is None else cost
    return {
        "type": row["type"],
        "count": f"{row['confident']:,}" if row["type"] != "missed" else f"{row['count']:,}",
        "cost": f"{100 * (cost['value'] or 0.0):.1f}",
        "range": "" if interval is None else f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f}",
        "remedy": row["remedy"],
    }


def _sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Return what thresholds, counts, calibration and Ultralytics' own figure come to, in plain sentences."""
    said = []
    point = metrics.get("operating_point")
    if point:
        said.append(
            f"Threshold {point['overall']:.3g} (chosen on {point['split']}: {point['rule']['text']}"
            f"{', classes with their own: ' + ', '.join(point['own']) if point['own'] else ''})."
        )
        figures = (point["check"] or point)["figures"]
        for name, what in (("escape", "defective pictures pass"), ("overkill", "good pictures are rejected")):
            rate = figures[name]
            if rate["value"] is not None:
                bounds = f"{percent(rate['low'])} to {percent(rate['high'])}"
                said.append(f"{rate['events']} of {rate['trials']} {what}: {percent(rate['value'])} ({bounds}).")
        said += [*figures["notes"], *point["notes"], *(point["check"] or {}).get("sentences", ())]
    if metrics.get("operating_point_note"):
        said.append(f"Thresholds: {metrics['operating_point_note']}.")
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


def _slice_tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each column that the pictures were sliced by the figures of its slices."""
    found = []
    for part in metrics.get("slices") or []:
        rows = [
            [
                row["name"],
                f"{row['images']:,}",
                f"{row['boxes']:,}",
                precision(row["map50_95"]),
                interval_words(row["intervals"]["map50_95"]),
            ]
            for row in part["rows"]
        ]
        rest = f"; {part['left_out']} smaller ones are left out" if part["left_out"] else ""
        found.append(
            {
                "title": f"By {part['column']}: {len(rows)} slices of the pictures",
                "caption": f"No finding is no proof that all are alike: few pictures hide most differences{rest}.",
                "headings": [part["column"], "pictures", "boxes", "mAP50-95", "95 % interval"],
                "rows": rows,
            }
        )
    return found


def _robustness_tables(record: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the table of what worse pictures cost; none where that was not asked for."""
    if not record:
        return []
    names = list(record["drops"])
    figures = {(one["corruption"], one["strength"]): one["map50_95"] for one in record["conditions"]}
    strengths = sorted({strength for _, strength in figures})
    rows = [
        [
            name.replace("_", " "),
            *(precision(figures[name, strength]) for strength in strengths),
            f"{100 * record['drops'][name]['value']:.1f} points",
            " to ".join(f"{100 * record['drops'][name][end]:.1f}" for end in ("low", "high")),
        ]
        for name in names
        if record["drops"][name]
    ]
    clean, mean = (record[key]["value"] if record[key] else None for key in ("clean", "mpc"))
    return [
        {
            "title": "Under worse pictures",
            "caption": f"mAP50-95 is {precision(clean)} on the pictures as they are, {precision(mean)} on these.",
            "headings": ["corruption", *(f"strength {n}" for n in strengths), "loses on average", "95 % interval"],
            "rows": rows,
        }
    ]


def _suspects(run: Run, split: str) -> dict[str, Any]:
    """Return the labels that are most likely wrong, and how many are suspected in all."""
    table = run.evaluation_table(split, "suspects")
    if table is None or table.is_empty():
        return {"rows": [], "total": 0}
    rows = table.head(_SUSPECTS).select("kind", "suspicion", "path", "why", "source").to_dicts()
    return {"rows": [{**row, "suspicion": f"{row['suspicion']:.2f}"} for row in rows], "total": table.height}
