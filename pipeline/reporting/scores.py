"""The numbers of an evaluation, and how far each can be trusted for pictures that nobody has seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from . import figures
from .wording import count, precision

SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}
_SPLIT_ORDER = ("test", "val", "train")  # the most telling first
_HELD_OUT = "took no part in training"
_NOTES = {
    _HELD_OUT: "The {} split neither trained the model nor chose the checkpoint.",
    "chose the checkpoint": "The {} split chose the checkpoint, so this number is somewhat too high for new pictures. "
    "Quote a number from a split that took no part in training.",
    "trained on": "The model has trained on these pictures: this says how well it learned, not how well it will do.",
    "origin unknown": "It is not known whether these pictures trained or chose the checkpoint; "
    "if they did, the number is too high.",
}


def verdict(evaluations: Mapping[str, Mapping[str, Any]], epochs: pl.DataFrame) -> dict[str, Any] | None:
    """Return the number to quote, the split it stands for, and what to keep in mind about it."""
    measured = [(split, metrics) for split, metrics in evaluations.items() if metrics.get("map50_95") is not None]
    if measured:
        split, metrics = measured[0]
        return {
            "value": precision(metrics["map50_95"]),
            "where": f"on the {SPLIT_WORDS.get(split, split)} split",
            "range": interval_words(_interval(metrics, "map50_95")),
            "detail": f"{_size(metrics)}, mAP50 {precision(metrics.get('map50'))}",
            "others": [_other(split, metrics) for split, metrics in measured[1:]],
            **_standing(split, metrics),
        }
    best = figures.best_epoch(epochs)
    if best is None:
        return None
    row = epochs.row(best, named=True)
    return {
        "value": precision(row["val_map50_95"]),
        "where": "on the validation split",
        "range": "",
        "detail": f"mAP50 {precision(row.get('val_map50'))}, measured during training in epoch {row['epoch'] + 1}",
        "others": [],
        **_standing("val", {"chose_checkpoint": True}),
    }


def _other(split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    standing = _standing(split, metrics)
    return {"value": precision(metrics["map50_95"]), "where": f"{SPLIT_WORDS.get(split, split)} split", **standing}


def _interval(metrics: Mapping[str, Any], name: str) -> Mapping[str, float] | None:
    return (metrics.get("intervals") or {}).get(name)


def interval_words(interval: Mapping[str, float] | None) -> str:
    """Return the bounds of an interval, empty where there is none."""
    return f"{precision(interval['low'])} to {precision(interval['high'])}" if interval else ""


def _standing(split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far a split's number can be trusted for pictures that nobody has seen."""
    chose = metrics.get("chose_checkpoint")
    if metrics.get("trained_on", split == "train"):
        label = "trained on"
    elif chose is None:
        label = "origin unknown"
    else:
        label = "chose the checkpoint" if chose else _HELD_OUT
    optimism = metrics.get("optimism")
    by = (
        f" By how much: about {100 * optimism['map50_95']:.1f} points."
        if chose and optimism and optimism["map50_95"] > 0.0005
        else ""
    )
    note = _NOTES[label].format(SPLIT_WORDS.get(split, split)) + by
    return {"label": label, "held_out": label == _HELD_OUT, "note": note}


def evaluation(split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of the evaluation of one split."""
    classes = sorted(
        metrics.get("per_class") or [],
        key=lambda row: (row.get("ap50_95") is None, -(row.get("ap50_95") or 0.0), str(row.get("name"))),
    )
    labels = {
        "map50_95": "mAP50-95",
        "map50": "mAP50",
        "map75": "mAP75",
        "map_small": "small objects",
        "map_medium": "medium objects",
        "map_large": "large objects",
    }
    scores = {label: metrics.get(key) for key, label in labels.items()}
    ranges = {label: interval_words(_interval(metrics, key)) for key, label in labels.items()}
    speed = metrics.get("ms_per_image")
    about = [
        str(metrics.get("definition") or ""),
        f"checkpoint {Path(str(metrics['checkpoint'])).name}" if metrics.get("checkpoint") else "",
        f"{speed:.1f} ms per picture" if speed is not None else "",
        *(f"{key} {value}" for key, value in (metrics.get("settings") or {}).items() if value not in (None, False)),
    ]
    return {
        "title": f"{SPLIT_WORDS.get(split, split).capitalize()} split",
        "size": _size(metrics),
        "scores": [(label, precision(value), ranges[label]) for label, value in scores.items()],
        "classes": [
            {
                "name": str(row.get("name", "")),
                "images": row.get("images", 0),
                "boxes": row.get("boxes", 0),
                "ap": precision(row.get("ap50_95")),
                "ap50": precision(row.get("ap50")),
                "percent": round(100 * (row.get("ap50_95") or 0.0), 1),
                "range": interval_words((row.get("intervals") or {}).get("ap50_95")),
                "few": bool(row.get("note")),
            }
            for row in classes
        ],
        "about": ", ".join(text for text in about if text),
        "drawn": _drawn(metrics.get("resampling")),
        "gaps": any(value is None for value in (*scores.values(), *(row.get("ap50_95") for row in classes))),
        **_standing(split, metrics),
    }


def _drawn(resampling: Mapping[str, Any] | None) -> str:
    """Say what the intervals rest on."""
    if not resampling:
        return ""
    drawn = count(resampling["units"], resampling["unit"])
    return f"Grey: 95 % intervals, from {resampling['resamples']:,} resamples of {drawn}."


def _size(metrics: Mapping[str, Any]) -> str:
    return f"{count(metrics.get('images', 0), 'picture')}, {count(metrics.get('boxes', 0), 'box', 'boxes')}"


def in_order(evaluations: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the evaluations by split, the most telling first."""
    known = [split for split in _SPLIT_ORDER if split in evaluations]
    return {split: evaluations[split] for split in (*known, *(s for s in evaluations if s not in known))}
