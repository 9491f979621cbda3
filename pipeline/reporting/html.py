"""`write_report`: a run folder becomes one HTML file that needs nothing else.

The page is a view of the run's records; nothing is computed here but words and widths. It is rewritten every epoch
while the training goes on (and then refreshes itself), and by hand with `tuneup report RUN`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..errors import TuneUpError
from ..findings import Finding, worst_first
from ..runs import Run, write_atomic
from . import figures, gallery
from .wording import count, duration, moment, precision, rows, sections, short, with_code

REFRESH_SECONDS = 15
SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}
_SPLIT_ORDER = ("test", "val", "train")  # the most telling first
_DEFAULT_SAMPLES = 12
_HELD_OUT = "took no part in training"
_NOTES = {
    _HELD_OUT: "The {} split neither trained the model nor chose the checkpoint.",
    "chose the checkpoint": "The {} split chose the checkpoint, so this number is somewhat too high for new pictures. "
    "Quote a number from a split that took no part in training.",
    "trained on": "The model has trained on these pictures: this says how well it learned, not how well it will do.",
    "origin unknown": "It is not known whether these pictures trained or chose the checkpoint; "
    "if they did, the number is too high.",
}


def write_report(run: Run) -> Path:
    """Write `report.html` into the run folder and return its path.

    Raises:
        RunError: a record of the run is damaged, or the folder cannot be written.
    """
    path = run.path / "report.html"
    write_atomic(path, render(run).encode("utf-8", errors="replace"))
    return path


def render(run: Run) -> str:
    """Return the page; whatever the run does not have yet, the page says so."""
    state, config = run.state, run.config
    word, reason = _condition(run, state)
    steps, epochs, evaluations = run.steps(), run.epochs(), _in_order(run.evaluations())
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_code"] = with_code
    return environment.get_template("report.html.j2").render(
        name=run.name,
        state=word,
        reason=reason,
        refresh=REFRESH_SECONDS if word == "running" else 0,
        updated=moment(state.get("updated")),
        subtitle=[text for text in (_model(config), _data(run.data_record)) if text],
        progress=_progress(state, epochs),
        verdict=_verdict(evaluations, epochs),
        facts=_facts(run, steps, epochs, running=word == "running"),
        findings=[_finding(finding) for finding in worst_first(run.findings())],
        curves=figures.curves(steps, epochs, run.events()),
        evaluations=[_evaluation(split, metrics) for split, metrics in evaluations.items()],
        samples=_samples(run, list(evaluations)),
        settings=sections(config),
        machine=rows(run.environment),
    )


# ---- the head of the page --------------------------------------------------------------------------------------------


def _condition(run: Run, state: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state of the run and the reason for it; one whose process is gone is not running any more."""
    word, pid = str(state.get("state", "not started")), state.get("pid")
    here = state.get("host") == platform.node()
    if word == "running" and here and pid not in {None, os.getpid()} and not run.is_being_trained():
        return "interrupted", f"The process is gone without a word; go on with `tuneup train --resume {run.path}`."
    return word, str(state.get("reason") or "")


def _model(config: Mapping[str, Any]) -> str:
    model = config.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    return Path(str(name)).name if name else ""


def _device(state: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    device = str(state.get("device") or "")
    if device.startswith("cuda") and environment.get("gpu"):
        return short(environment["gpu"])
    if device == "cpu" and environment.get("cpu_cores"):
        return f"CPU, {count(environment['cpu_cores'], 'core')}"
    return device


def _optimizer(state: Mapping[str, Any]) -> str:
    parts = {"": state.get("optimizer"), "learning rate ": state.get("lr0"), "batch ": state.get("batch")}
    return ", ".join(label + short(value) for label, value in parts.items() if value is not None)


def _data(record: Mapping[str, Any]) -> str:
    if not record:
        return ""
    classes = len(record.get("names", []))
    return f"{Path(str(record.get('root', ''))).name}, {count(classes, 'class', 'classes')}"


def _progress(state: Mapping[str, Any], epochs: pl.DataFrame) -> dict[str, Any]:
    done, planned = int(state.get("epochs_done") or epochs.height), int(state.get("epochs") or 0)
    return {"done": done, "planned": planned, "percent": min(100.0, 100 * done / planned) if planned else 0.0}


def _verdict(evaluations: Mapping[str, Mapping[str, Any]], epochs: pl.DataFrame) -> dict[str, Any] | None:
    """Return the number to quote, the split it stands for, and what to keep in mind about it."""
    measured = [(split, metrics) for split, metrics in evaluations.items() if metrics.get("map50_95") is not None]
    if measured:
        split, metrics = measured[0]
        return {
            "value": precision(metrics["map50_95"]),
            "where": f"on the {SPLIT_WORDS.get(split, split)} split",
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
        "detail": f"mAP50 {precision(row.get('val_map50'))}, measured during training in epoch {row['epoch'] + 1}",
        "others": [],
        **_standing("val", {"chose_checkpoint": True}),
    }


def _other(split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    standing = _standing(split, metrics)
    return {"value": precision(metrics["map50_95"]), "where": f"{SPLIT_WORDS.get(split, split)} split", **standing}


def _standing(split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far a split's number can be trusted for pictures that nobody has seen."""
    chose = metrics.get("chose_checkpoint")
    if metrics.get("trained_on", split == "train"):
        label = "trained on"
    elif chose is None:
        label = "origin unknown"
    else:
        label = "chose the checkpoint" if chose else _HELD_OUT
    return {"label": label, "held_out": label == _HELD_OUT, "note": _NOTES[label].format(SPLIT_WORDS.get(split, split))}


def _facts(run: Run, steps: pl.DataFrame, epochs: pl.DataFrame, running: bool) -> list[tuple[str, str]]:
    state, progress = run.state, _progress(run.state, epochs)
    planned = f" of {progress['planned']:,}" if progress["planned"] else ""
    trained = bool(progress["planned"] or steps.height)  # else a checkpoint from elsewhere was evaluated
    facts = [
        ("Epochs done", f"{progress['done']:,}{planned}" if trained else ""),
        ("Optimiser steps", f"{steps.height:,}" if trained else ""),
        ("Training time", duration(state.get("seconds")) if trained else ""),
        ("Device", _device(state, run.environment)),
        ("Optimiser", _optimizer(state)),
        ("Started", moment(state.get("started"))),
        ("Last update", moment(state.get("updated"))),
    ]
    if running and epochs.height and "seconds" in epochs.columns:
        left = max(0, progress["planned"] - progress["done"]) * median(epochs["seconds"].drop_nulls().to_list() or [0])
        facts.insert(3, ("Time left, about", duration(left)))
    for split, held in run.data_record.get("counts", {}).items():
        empty = f" ({held['empty']:,} empty)" if held.get("empty") else ""
        text = f"{held.get('images', 0):,}{empty}, {count(held.get('boxes', 0), 'box', 'boxes')}"
        facts.append((f"{SPLIT_WORDS.get(split, split).capitalize()} pictures", text))
    return [(label, value) for label, value in facts if value]


def _finding(finding: Finding) -> dict[str, Any]:
    return {**finding.to_dict(), "evidence": [(key, short(value)) for key, value in finding.evidence.items()]}


# ---- evaluations and pictures ----------------------------------------------------------------------------------------


def _evaluation(split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
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
    speed = metrics.get("ms_per_image")
    about = [
        str(metrics.get("definition") or ""),
        f"checkpoint {Path(str(metrics['checkpoint'])).name}" if metrics.get("checkpoint") else "",
        f"{speed:.1f} ms per picture" if speed is not None else "",
        *(f"{key} {value}" for key, value in (metrics.get("settings") or {}).items()),
    ]
    return {
        "title": f"{SPLIT_WORDS.get(split, split).capitalize()} split",
        "size": _size(metrics),
        "scores": [(label, precision(value)) for label, value in scores.items()],
        "classes": [
            {
                "name": str(row.get("name", "")),
                "images": row.get("images", 0),
                "boxes": row.get("boxes", 0),
                "ap": precision(row.get("ap50_95")),
                "ap50": precision(row.get("ap50")),
                "percent": round(100 * (row.get("ap50_95") or 0.0), 1),
            }
            for row in classes
        ],
        "about": ", ".join(text for text in about if text),
        "gaps": any(value is None for value in (*scores.values(), *(row.get("ap50_95") for row in classes))),
        **_standing(split, metrics),
    }


def _size(metrics: Mapping[str, Any]) -> str:
    return f"{count(metrics.get('images', 0), 'picture')}, {count(metrics.get('boxes', 0), 'box', 'boxes')}"


def _samples(run: Run, splits: list[str]) -> dict[str, Any]:
    """Return the sample pictures of the most telling evaluated split, or the reason why there are none."""
    report = run.config.get("report")
    wanted = report.get("samples", _DEFAULT_SAMPLES) if isinstance(report, Mapping) else _DEFAULT_SAMPLES
    shown: dict[str, Any] = {"samples": [], "legend": [], "split": "", "score": gallery.SHOWN_SCORE, "missing": ""}
    if not splits:
        return {**shown, "missing": "Sample predictions appear once a split has been evaluated."}
    if not wanted:
        return {**shown, "missing": "Switched off by report.samples: 0."}
    try:
        dataset = run.dataset().split(splits[0])
        samples = gallery.make_samples(dataset, run.detections(splits[0]), wanted)
    except (TuneUpError, OSError, pl.exceptions.PolarsError) as error:
        return {**shown, "missing": f"The pictures of this run cannot be shown: {error}"}
    drawn = sorted({mark.class_id for sample in samples for mark in (*sample.truth, *sample.found)})
    return {
        **shown,
        "samples": samples,
        "legend": [(gallery.name_of(dataset.names, c), gallery.colour_of(c)) for c in drawn],
        "split": SPLIT_WORDS.get(splits[0], splits[0]),
    }


def _in_order(evaluations: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    known = [split for split in _SPLIT_ORDER if split in evaluations]
    return {split: evaluations[split] for split in (*known, *(s for s in evaluations if s not in known))}
