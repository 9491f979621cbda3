"""The collapsed tables of an evaluated split: by size and group, recall, confusions, counting, suspects.

A table is `title`, `caption`, `headings` and `rows` of texts, as the page's template wants it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runs import Run
from .scores import interval_words
from .threshold_words import kept_record
from .wording import count, precision

_SUSPECTS = 12  # labels that are listed; all of them stand in suspects.parquet
_CONFUSIONS = 20  # pairs of classes; with 80 classes there are thousands
_SIZES = {
    "below_5_percent": "below 5 % of the picture's side",
    "5_to_15_percent": "5 to 15 % of the picture's side",
    "above_15_percent": "above 15 % of the picture's side",
}


def tables(run: Run, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of one split; one that has nothing to show is left out."""
    found = [
        _sizes(metrics),
        _recall(metrics),
        _confusions(metrics),
        _counting(kept_record(run), metrics),
        *map(_slices, metrics.get("slices") or []),
        _robustness(metrics.get("robustness")),
    ]
    return [table for table in found if table["rows"]]


def _table(title: str, caption: str, headings: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "headings": headings, "rows": rows}


def _sizes(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return _table(
        "By size in the picture",
        "The side of a box (the root of its area) against that of its picture. A dash: no such box.",
        ["size of the object", "boxes", "mAP50-95", "mAP50"],
        [
            [
                _SIZES.get(row["name"], row["name"]),
                f"{row['boxes']:,}",
                precision(row["map50_95"]),
                precision(row["map50"]),
            ]
            for row in metrics.get("relative_size") or []
        ],
    )


def _recall(metrics: Mapping[str, Any]) -> dict[str, Any]:
    at = {"ar1": 1, "ar10": 10, "ar": metrics.get("limit")}
    return _table(
        "Average recall",
        "Share of the boxes found, mean over IoU 0.50 to 0.95 and classes, when so many detections are looked at.",
        ["detections per picture and class", "average recall"],
        [[f"at most {most}", precision(metrics[key])] for key, most in at.items() if most and key in metrics],
    )


def _confusions(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return which classes are taken for which, in detections that are sure enough to be shown."""
    sure = [row for row in metrics.get("confusions") or [] if row["confident"] and "detected" in row]
    sure.sort(key=lambda row: -row["confident"])
    more = len(sure) - _CONFUSIONS
    rest = f"; {count(more, 'pair')} with fewer are left out" if more > 0 else ""
    return _table(
        "Classes taken for others",
        f"Sure ones: detections with a score of 0.25 or more that lie on an object of another class{rest}.",
        ["true class", "detected", "sure ones"],
        [[row["truth_class"], row["detected"], f"{row['confident']:,}"] for row in sure[:_CONFUSIONS]],
    )


def _counting(kept: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the thresholds for those who count; of other weights they say nothing."""
    counting = kept.get("counting") or {}
    thresholds = {"all classes together": counting.get("overall"), **(counting.get("per_class") or {})}
    known = bool(counting) and kept.get("weights") == metrics.get("weights")
    split = (kept.get("point") or {}).get("split", "val")
    return _table(
        "Thresholds for counting",
        f"Thresholds at which the total count on {split} was right: a suggestion for those who count. Misses and false "
        "alarms still occur, they make up for each other. A dash: no threshold leaves as many detections as objects.",
        ["class", "threshold"],
        [[name, "–" if value is None else f"{value:.3g}"] for name, value in thresholds.items() if known],
    )


def _slices(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the slices that the pictures were divided into by one column."""
    rest = f"; {part['left_out']} smaller ones are left out" if part["left_out"] else ""
    return _table(
        f"By {part['column']}: {count(len(part['rows']), 'slice')} of the pictures",
        f"No finding is no proof that all are alike: few pictures hide most differences{rest}.",
        [part["column"], "pictures", "boxes", "mAP50-95", "95 % interval"],
        [
            [
                row["name"],
                f"{row['images']:,}",
                f"{row['boxes']:,}",
                precision(row["map50_95"]),
                interval_words(row["intervals"]["map50_95"]),
            ]
            for row in part["rows"]
        ],
    )


def _robustness(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what worse pictures cost; without rows where that was not asked for."""
    record = record or {"drops": {}, "conditions": [], "clean": None, "mpc": None}
    figures = {(one["corruption"], one["strength"]): one["map50_95"] for one in record["conditions"]}
    strengths = sorted({strength for _, strength in figures})
    clean, mean = (record[key]["value"] if record[key] else None for key in ("clean", "mpc"))
    return _table(
        "Under worse pictures",
        f"mAP50-95 is {precision(clean)} on the pictures as they are, {precision(mean)} on these.",
        ["corruption", *(f"strength {n}" for n in strengths), "loses on average", "95 % interval"],
        [
            [
                name.replace("_", " "),
                *(precision(figures[name, strength]) for strength in strengths),
                f"{100 * drop['value']:.1f} points",
                f"{100 * drop['low']:.1f} to {100 * drop['high']:.1f}",
            ]
            for name, drop in record["drops"].items()
            if drop
        ],
    )


def suspects(run: Run, split: str) -> dict[str, Any]:
    """Return the labels that are most likely wrong, where they lie, and how many are suspected in all."""
    table = run.evaluation_table(split, "suspects")
    if table is None or table.is_empty():
        return {"rows": [], "total": 0}
    rows = table.head(_SUSPECTS).select("kind", "suspicion", "path", "why", "x1", "y1").to_dicts()
    return {
        "rows": [
            {**row, "suspicion": f"{row['suspicion']:.2f}", "place": f"at {row['x1']:.0f}, {row['y1']:.0f}"}
            for row in rows
        ],
        "total": table.height,
    }
