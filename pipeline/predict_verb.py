"""The verb that uses a trained detector: predict folders and single pictures at the thresholds chosen on val."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Configurable, load_config, settle
from .errors import RunError, UsageError
from .run_evaluations import SHOWN_FROM
from .runs import Run

if TYPE_CHECKING:
    from .evaluation.predict_files import FilePredictions

FORMATS = ("json", "coco", "yolo", "drawn")


def predict(
    subject: Run | Path | str,
    sources: Sequence[Path | str],
    *,
    config: Configurable = None,
    overrides: Sequence[str] = (),
) -> FilePredictions:
    """Predict pictures with the weights of a run at its operating point, or with a checkpoint.

    Args:
        subject: a run, whose thresholds chosen on val are used, or a checkpoint (.pt), for which it is 0.25.
        sources: folders, their sub-folders included, and picture files.
        config: for a checkpoint: its sections `eval` and `train` (imgsz, device) say how; a run has its own.
        overrides: `key=value` texts laid over it; `eval.conf=0.4` takes the place of all thresholds.

    Raises:
        DataError: a source is not there, holds no pictures, or none of them can be read.
        RunError, ModelError, ConfigError, UsageError: with a message that says what to do.
    """
    from .evaluation.evaluate import predict_settings, settings_record
    from .evaluation.predict_files import predict_files
    from .leash import tighten

    if not sources:
        raise UsageError("name the pictures: tuneup predict runs/NAME FOLDER_OR_PICTURE ...")
    tighten()
    path = subject.path if isinstance(subject, Run) else Path(subject)
    run = None if path.suffix == ".pt" else Run.open(path)
    if run is not None and config is not None:
        raise UsageError("a run predicts with its own configuration; change single keys with key=value")
    settled = settle(config, overrides) if run is None else load_config(run.path / "config.yaml", overrides)
    weights = path if run is None else run.weights("best")
    if run is not None and not weights.is_file():
        raise RunError(f"{run.path}: no weights/best.pt; nothing can be predicted with it")
    settings = predict_settings(settled)
    if any(word.startswith(("eval.conf=", "conf=")) for word in overrides):
        words = "eval.conf, as asked for"
        return predict_files(sources, weights, settings, thresholds_from=words, value_range=_value_range(run))
    thresholds, words = (None, "") if run is None else _thresholds(run, weights, settings_record(settings))
    shown = replace(settings, conf=SHOWN_FROM)
    words = words or f"{SHOWN_FROM}, Ultralytics' default: none were chosen on val for these weights"
    return predict_files(sources, weights, shown, thresholds, thresholds_from=words, value_range=_value_range(run))


def _value_range(run: Run | None) -> tuple[float, float] | None:
    """Return how the run's training read pictures with more than 8 bits; None for a checkpoint and for older runs."""
    found = None if run is None else run.data_record.get("value_range")
    return (float(found[0]), float(found[1])) if found else None


def _thresholds(run: Run, weights: Path, settings: dict[str, Any]) -> tuple[Mapping[str, float] | None, str]:
    """Return the thresholds that were chosen for these weights and where they come from; None where none were."""
    from .evaluation.chosen import differing, kept
    from .evaluation.split_guard import weights_digest

    found = kept(run, weights_digest(weights))
    if found is None:
        return None, ""
    other = differing(found, {**settings, "conf": found.settings.get("conf"), "max_det": found.settings.get("max_det")})
    doubt = f", on pictures predicted otherwise ({other}): they may not fit here" if other else ""
    return found.point.thresholds, f"chosen on {found.point.split} by {found.point.rule.text}{doubt}"


def document(predictions: FilePredictions) -> dict[str, Any]:
    """Return what was predicted as one document fit for JSON."""
    from .evaluation.writers import document

    return document(predictions)


def write_predictions(predictions: FilePredictions, folder: Path | str, formats: Sequence[str]) -> list[Path]:
    """Write what was predicted into a folder; returns what was written.

    Args:
        predictions: from `predict`.
        folder: outside of the folders that the pictures came from; nothing in it is overwritten.
        formats: of `FORMATS`.

    Raises:
        UsageError: there is no such format, or something would be overwritten.
        RunError: it cannot be written.
    """
    from .evaluation import writers

    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UsageError(f"--format {', '.join(unknown)}: one of {', '.join(FORMATS)}")
    place = Path(folder)
    written = []
    for name in dict.fromkeys(formats):
        if name == "json":
            written.append(writers.write_json(predictions, place / "predictions.json"))
        elif name == "coco":
            written.append(writers.write_coco(predictions, place / "coco"))
        elif name == "yolo":
            written.append(writers.write_yolo(predictions, place / "labels"))
        else:
            written.append(writers.draw(predictions, place / "drawn"))
    return written
