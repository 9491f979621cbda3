"""`write_report`: a run folder becomes one HTML file that needs nothing else.

The page is a view of the run's records; nothing is computed here but words and widths. It is rewritten every epoch
while the training goes on (and then refreshes itself), and by hand with `tuneup report RUN`.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from ..data.class_colours import colour_of
from ..errors import TuneUpError
from ..findings import Finding, worst_first
from ..run_evaluations import SHOWN_FROM
from ..runs import PROBES, Run, write_atomic
from . import augmentation, data_page, evaluation_page, figures, gallery, incidents
from .data_page import finding_record
from .page import template
from .scores import SPLIT_WORDS, evaluation, in_order, verdict
from .wording import count, duration, moment, rows, sections, short

REFRESH_SECONDS = 15
_DEFAULT_SAMPLES = 12


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
    steps, epochs, evaluations = run.steps(), run.epochs(), in_order(run.evaluations())
    events, context, findings = run.events(), run.context, [*run.findings(), *run.evaluation_findings()]
    return template("report.html.j2").render(
        name=run.name,
        state=word,
        reason=reason,
        refresh=REFRESH_SECONDS if word == "running" else 0,
        updated=moment(state.get("updated")),
        subtitle=[text for text in (_model(config), _data(run.data_record)) if text],
        progress=_progress(state, epochs),
        verdict=verdict(evaluations, epochs),
        facts=_facts(run, steps, epochs, running=word == "running"),
        findings=[finding_record(finding) for finding in worst_first(findings)],
        nothing_found=_nothing_found(word, bool(context) and not steps.is_empty(), findings),
        curves=figures.curves(steps, epochs, events),
        health=figures.health(steps, events, run.norms(), run.records(PROBES), context),
        incidents=incidents.listed(run, steps),
        evaluations=[
            {**evaluation(split, metrics), **evaluation_page.view(run, split, metrics)}
            for split, metrics in evaluations.items()
        ],
        errors=_errors(run, list(evaluations)),
        samples=_samples(run, list(evaluations)),
        data=_data_view(run),
        augmentation=augmentation.view(run),
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


def _facts(run: Run, steps: pl.DataFrame, epochs: pl.DataFrame, running: bool) -> list[tuple[str, str]]:
    state, progress = run.state, _progress(run.state, epochs)
    planned = f" of {progress['planned']:,}" if progress["planned"] else ""
    trained = bool(progress["planned"] or steps.height)  # else a checkpoint from elsewhere was evaluated
    facts = [
        ("Epochs done", f"{progress['done']:,}{planned}" if trained else ""),
        ("Optimiser steps", f"{steps.height:,}{_left_out(steps)}" if trained else ""),
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


def _left_out(steps: pl.DataFrame) -> str:
    skipped = incidents.skipped_steps(steps)
    return f", {skipped:,} of them not taken" if skipped else ""


def _nothing_found(state: str, judged: bool, findings: Sequence[Finding]) -> str:
    """Say what it means that nothing is wrong: that was looked and nothing found, or that nobody looked.

    Args:
        state: of the run.
        judged: whether the training left behind what it is judged by.
        findings: of the run; with a warning or an error among them there is nothing to say.
    """
    if any(finding.severity != "info" for finding in findings):
        return ""
    none = "No warnings and no errors" if findings else "None"
    if state == "running":
        said = f"{none} so far." if findings else "Nothing to report so far."
        return f"{said} The training is judged while it goes on; what is found appears here." if judged else said
    if state == "evaluated":
        return f"{none}. A checkpoint was evaluated here: the data was checked, there was no training to judge."
    if not judged:
        return (
            f"{none} about the data. The training was not judged: this run has no record of what it was measured on "
            "(history/context.json)."
        )
    far = "from its first step to its last" if state == "complete" else "as far as it went"
    return f"{none}. The data was checked and the training was judged {far}."


def _data_view(run: Run) -> dict[str, Any] | None:
    """Return what the page shows of the data, or None where the run kept no audit.

    The page is written anew every epoch, the data stays the same: it is drawn once.
    """
    document = run.audit
    if not document:
        return None
    key = (str(run.path), json.dumps(document, sort_keys=True))
    if key not in _DRAWN:
        _DRAWN.clear()  # one run at a time
        try:
            _DRAWN[key] = data_page.view(run.dataset(), document)
        except TuneUpError:
            return None  # the tables are damaged; whoever needs them says so
    return _DRAWN[key]


_DRAWN: dict[tuple[str, str], dict[str, Any]] = {}


# ---- pictures ----------------------------------------------------------------------------------------


def _samples(run: Run, splits: list[str]) -> dict[str, Any]:
    """Return the sample pictures of the most telling evaluated split, or the reason why there are none."""
    report = run.config.get("report")
    wanted = report.get("samples", _DEFAULT_SAMPLES) if isinstance(report, Mapping) else _DEFAULT_SAMPLES
    shown: dict[str, Any] = {"samples": [], "legend": [], "split": "", "score": SHOWN_FROM, "missing": ""}
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
        "legend": [(gallery.name_of(dataset.names, c), colour_of(c)) for c in drawn],
        "split": SPLIT_WORDS.get(splits[0], splits[0]),
    }


def _errors(run: Run, splits: list[str]) -> dict[str, Any]:
    """Return the worst errors of the most telling evaluated split as pictures."""
    groups, problem = evaluation_page.gallery(run, splits[0]) if splits else ([], "")
    return {"groups": groups, "problem": problem, "split": SPLIT_WORDS.get(splits[0], splits[0]) if splits else ""}
