"""`write_report`: a run folder becomes one HTML file that needs nothing else.

The page is a view of the run's records; nothing is computed here but words and widths. It is rewritten every epoch
while the training goes on (and then refreshes itself), and by hand with `tuneup report RUN`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..errors import TuneUpError
from ..findings import Finding, worst_first
from ..runs import Run, write_atomic
from . import figures, gallery
from .wording import count, duration, moment, precision, rows, sections, short, with_code

REFRESH_SECONDS = 15
SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}
_SPLIT_ORDER = ("test", "val", "train")  # the most telling first
_DEFAULT_SAMPLES = 8


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
        state=str(state.get("state", "not started")),
        reason=str(state.get("reason") or ""),
        refresh=REFRESH_SECONDS if state.get("state") == "running" else 0,
        updated=moment(state.get("updated")),
        subtitle=[text for text in (_model(config), _data(run.data_record)) if text],
        progress=_progress(state, epochs),
        verdict=_verdict(evaluations, epochs),
        facts=_facts(run, steps, epochs),
        findings=[_finding(finding) for finding in worst_first(run.findings())],
        curves=_curves(steps, epochs, run.events()),
        evaluations=[_evaluation(split, metrics) for split, metrics in evaluations.items()],
        samples=_samples(run, list(evaluations)),
        settings=sections(config),
        machine=rows(run.environment),
    )


# ---- the head of the page --------------------------------------------------------------------------------------------


def _model(config: Mapping[str, Any]) -> str:
    model = config.get("model")
    if isinstance(model, Mapping):
        model = next((model[key] for key in ("weights", "name", "path", "architecture") if model.get(key)), "")
    return Path(str(model)).name if model else ""


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
    measured = {split: metrics for split, metrics in evaluations.items() if metrics.get("map50_95") is not None}
    for split, metrics in measured.items():
            return {
                "value": precision(metrics["map50_95"]),
                "where": f"on the {SPLIT_WORDS.get(split, split)} split",
                "detail": f"{_size(metrics)}, mAP50 {precision(metrics.get('map50'))}",
                **_standing(split, bool(metrics.get("chose_checkpoint"))),
            }
    best = figures.best_epoch(epochs)
    if best is None:
        return None
    row = epochs.row(best, named=True)
    return {
        "value": precision(row["val_map50_95"]),
        "where": "on the validation split so far",
        "detail": f"best epoch: {row['epoch'] + 1}, mAP50 {precision(row.get('val_map50'))}, measured during training",
        **_standing("val", True),
    }


def _standing(split: str, chose_checkpoint: bool) -> dict[str, Any]:
    """Return how far a split's number can be trusted for pictures that nobody has seen."""
    word = SPLIT_WORDS.get(split, split)
    if chose_checkpoint:
        return {
            "label": "chose the checkpoint",
            "held_out": False,
            "note": f"The {word} split chose the checkpoint, so this number is somewhat too high for new pictures. "
            "Quote a number from a split that took no part in training.",
        }
    if split == "train":
        return {
            "label": "trained on",
            "held_out": False,
            "note": "The model has trained on these pictures: this says how well it learned, not how well it will do.",
        }
    return {
        "label": "took no part in training",
        "held_out": True,
        "note": f"The {word} split neither trained the model nor chose the checkpoint.",
    }


def _facts(run: Run, steps: pl.DataFrame, epochs: pl.DataFrame) -> list[tuple[str, str]]:
    state, environment = run.state, run.environment
    progress = _progress(state, epochs)
    counts = run.data_record.get("counts", {})
    planned = f" of {progress['planned']:,}" if progress["planned"] else ""
    facts = [
        ("Epochs done", f"{progress['done']:,}{planned}"),
        ("Optimiser steps", f"{steps.height:,}"),
        ("Training time", duration(state.get("seconds"))),
        ("Device", str(environment.get("device") or "")),
        ("Started", moment(state.get("started"))),
        ("Last update", moment(state.get("updated"))),
    ]
    if state.get("state") == "running" and epochs.height and "seconds" in epochs.columns:
        left = max(0, progress["planned"] - progress["done"]) * median(epochs["seconds"].drop_nulls().to_list() or [0])
        facts.insert(3, ("Time left, about", duration(left)))
    for split, held in counts.items():
        boxes, empty = count(held.get("boxes", 0), "box", "boxes"), held.get("empty", 0)
        text = f"{held.get('images', 0):,}, {boxes}" + (f", {empty:,} without any" if empty else "")
        facts.append((f"{SPLIT_WORDS.get(split, split).capitalize()} pictures", text))
    return [(label, value) for label, value in facts if value]


def _finding(finding: Finding) -> dict[str, Any]:
    return {**finding.to_dict(), "evidence": [(key, short(value)) for key, value in finding.evidence.items()]}


# ---- curves, evaluations, pictures -----------------------------------------------------------------------------------


def _curves(steps: pl.DataFrame, epochs: pl.DataFrame, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return title, caption and SVG of every figure that has something to show."""
    entries: list[tuple[Callable[..., str], pl.DataFrame, str, str]] = [
        (
            figures.validation_map,
            epochs,
            "mAP on the validation split, which chooses the checkpoint",
            "Higher is better. The ringed epoch is the one that is kept as best.pt.",
        ),
        (
            figures.loss_curve,
            steps,
            "Loss at every optimiser step",
            "Lower is better; the light line is every step, the dark one its running median.",
        ),
        (
            figures.epoch_losses,
            epochs,
            "Training and validation loss",
            "Validation rising while training falls means overfitting. Training loss is measured on augmented "
            "pictures, so it may lie above validation.",
        ),
        (
            figures.gradient_norm,
            steps,
            "Size of the gradient",
            "Before clipping, per image. A steady or slowly falling line is healthy; jumps by a factor of ten are not.",
        ),
        (
            figures.learning_rates,
            steps,
            "Learning rates",
            "One line per parameter group: up during warm-up, then down as scheduled.",
        ),
    ]
    drawn = [(title, caption, draw(table, events)) for draw, table, title, caption in entries]
    return [{"title": title, "caption": caption, "svg": Markup(svg)} for title, caption, svg in drawn if svg]


def _evaluation(split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    classes = sorted(
        metrics.get("per_class") or [],
        key=lambda row: (row.get("ap50_95") is None, -(row.get("ap50_95") or 0.0), str(row.get("name"))),
    )
    scores = [
        ("mAP50-95", "map50_95"),
        ("mAP50", "map50"),
        ("mAP75", "map75"),
        ("small objects", "map_small"),
        ("medium objects", "map_medium"),
        ("large objects", "map_large"),
    ]
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
        "scores": [(label, precision(metrics.get(key))) for label, key in scores],
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
        **_standing(split, bool(metrics.get("chose_checkpoint"))),
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
