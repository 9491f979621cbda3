"""`write_card`: what the user of a trained model must know, as `model_card.md` beside the weights' run.

Form: Mitchell et al., Model Cards for Model Reporting (2019, arXiv 1810.03993), cut down to what the records hold.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..records import read_json
from ..runs import Run, write_atomic
from .scores import SPLIT_WORDS, in_order, interval_words
from .threshold_words import what_to_know, which
from .wording import precision


def write_card(run: Run) -> Path:
    """Write `model_card.md` into the run folder and return its path.

    Raises:
        RunError: a record of the run is damaged, or the folder cannot be written.
    """
    path = run.path / "model_card.md"
    write_atomic(path, card(run))
    return path


def card(run: Run) -> str:
    """Return the card as Markdown."""
    evaluations = in_order(run.evaluations())
    parts = [f"# {_plain(run.name)}", _about(run)]
    parts += [_figures(split, metrics) for split, metrics in evaluations.items()]
    if evaluations:
        parts += [_use(run, *next(iter(evaluations.items()))), _limits(evaluations)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(run: Run) -> str:
    config, data, environment = run.config, run.data_record, run.environment
    model = config.get("model") or {}
    counts = data.get("counts") or {}
    sizes = ", ".join(f"{name} {n['images']} pictures with {n['boxes']} boxes" for name, n in counts.items())
    rows = {
        "Model": model.get("name") if isinstance(model, Mapping) else model,
        "Weights": "weights/best.pt" if run.weights("best").is_file() else run.state.get("reason", ""),
        "Classes": ", ".join(data.get("names") or ()),
        "Data": f"{Path(str(data.get('root', ''))).name}: {sizes}",
        "Augmentation": _augmentation(run),
        "Data fingerprint": str(data.get("fingerprint", ""))[:16],
        "Made with": f"ultralytics {environment['ultralytics']}" if environment.get("ultralytics") else "",
    }
    return "\n".join(f"- {name}: {_plain(value)}" for name, value in rows.items() if value)


def _augmentation(run: Run) -> str:
    """Return which policy the pictures were changed by, and whether it was proved on them."""
    record = read_json(run.path / "contract.json", {})
    name = (run.config.get("augment") or {}).get("name") or "Ultralytics' own stage, as the configuration sets it"
    if not record:
        return f"{name}; not checked on these pictures"
    worst = [finding["severity"] for finding in record["findings"] if finding["severity"] != "info"]
    return f"{name}; {f'{len(worst)} warnings or errors on' if worst else 'kept its contract on'} these pictures"


def _figures(split: str, metrics: Mapping[str, Any]) -> str:
    title = f"## On the {SPLIT_WORDS.get(split, split)} split ({metrics['images']} pictures, {metrics['boxes']} boxes)"
    chose = metrics.get("chose_checkpoint")
    standing = {
        True: "This split chose the weights: the figures flatter.",
        False: "This split neither trained nor chose the weights.",
        None: "It is not known whether this split trained or chose the weights.",
    }[chose]
    if metrics.get("trained_on", split == "train"):
        standing = "The network was trained on this split: no measure of quality."
    head = ["| | value | 95 % interval |", "|---|---|---|"]
    intervals = metrics.get("intervals") or {}
    rows = [
        f"| {label} | {precision(metrics.get(key))} | {interval_words(intervals.get(key))} |"
        for key, label in (("map50_95", "mAP50-95"), ("map50", "mAP50"), ("map75", "mAP75"))
    ]
    rows += [
        f"| AP50-95 of {_plain(row['name'])} ({row['boxes']} boxes) | {precision(row['ap50_95'])} | "
        f"{interval_words((row.get('intervals') or {}).get('ap50_95'))} |"
        for row in metrics["per_class"]
    ]
    return "\n".join([title, "", standing, "", *head, *rows])


def _use(run: Run, split: str, metrics: Mapping[str, Any]) -> str:
    """Return the thresholds and what they do, as `tuneup predict` uses them, and how to use it."""
    point, known = metrics.get("operating_point"), what_to_know(run, split, metrics)
    lines = [_plain(which(point))] if point else [] if known else ["No thresholds: evaluate on val first."]
    lines += [" ".join(text.split()) for text in known]
    latency = metrics.get("latency") or {}
    if latency:
        spent = ", ".join(f"{stage} {times['median']:.1f}" for stage, times in latency.items())
        lines.append(f"Median ms per picture on the machine of the evaluation: {spent}.")
    subject = run.path if run.weights("best").is_file() else metrics.get("checkpoint") or run.path
    lines.append(f"Use: `tuneup predict {' '.join(shlex.quote(str(subject)).split())} PICTURES`.")
    return "\n".join(["## Use", "", *(f"- {text[:1].upper()}{text[1:].rstrip('.')}." for text in dict.fromkeys(lines))])


def _limits(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what was found wrong with the figures, and the classes that rest on too few boxes."""
    lines = [row["note"] for metrics in evaluations.values() for row in metrics["per_class"] if row.get("note")]
    lines += [found["message"] for metrics in evaluations.values() for found in metrics.get("findings") or []]
    lines.append("The figures hold for pictures like these: another camera, light or product needs its own test split.")
    return "\n".join(["## Limits", "", *(f"- {_plain(line)}" for line in dict.fromkeys(lines))])


def _plain(value: Any) -> str:
    """Return a text on one line in which Markdown finds nothing to do; names can hold anything."""
    text = " ".join(str(value).split())
    return "".join(f"\\{sign}" if sign in "\\`*[]<>|#" else sign for sign in text)
