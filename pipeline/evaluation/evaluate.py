"""Evaluate a run or a checkpoint on a named split; read `evaluate_run` from top to bottom."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config
from ..data.dataset import Dataset
from ..errors import RunError
from ..findings import Finding
from ..leash import tighten
from ..runs import Run, now
from . import split_guard
from .analysis import analyse, grouping
from .predict import PredictSettings, predict_dataset
from .split_guard import weights_digest
from .tables import Detections, Truth


@dataclass(frozen=True)
class Evaluation:
    """One evaluated split; `metrics` is what stands in `eval/<split>/metrics.json`."""

    run: Run
    metrics: dict[str, Any]
    findings: tuple[Finding, ...] = ()

    @property
    def split(self) -> str:
        """The split that was evaluated."""
        return str(self.metrics["split"])

    @property
    def map50(self) -> float | None:
        """COCO's AP at IoU 0.50, mean over classes; None without ground truth."""
        return self.metrics["map50"]  # type: ignore[no-any-return]

    @property
    def map50_95(self) -> float | None:
        """COCO's AP, mean over IoU 0.50 to 0.95 and classes; None without ground truth."""
        return self.metrics["map50_95"]  # type: ignore[no-any-return]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics and where they were written."""
        return {"run": str(self.run.path), **self.metrics}


def evaluate_run(run: Run, config: Config, *, which: str = "best") -> Evaluation:
    """Evaluate the weights of a run on a split of the data it was trained with, and keep the result in the run.

    Args:
        run: a run with weights.
        config: its sections `eval` and `train` (imgsz, device) say how.
        which: `best` or `last`.

    Raises:
        RunError: the run has no weights yet.
        DataError: the split is empty, or pictures are gone.
    """
    weights = run.weights(which)
    if not weights.is_file():
        raise RunError(f"{run.path}: no weights/{which}.pt yet; the first epoch was not completed")
    dataset = run.dataset()
    split = choose_split(dataset, config.eval.split)
    chose = which == "best" and split == "val"
    about = {"split": split, "chose_checkpoint": chose, "trained_on": split == "train"}
    about["optimism"] = split_guard.optimism(run.epochs()) if chose else None
    return _evaluate(run, weights, dataset.split(split), config, about)


def evaluate_checkpoint(weights: Path, run: Run, config: Config) -> Evaluation:
    """Evaluate a checkpoint from elsewhere on the data that `run` holds; nothing is known of how it was chosen.

    Raises:
        DataError: the split is empty, or pictures are gone.
        ModelError: the checkpoint cannot be read, or knows other classes.
    """
    dataset = run.dataset()
    split = choose_split(dataset, config.eval.split)
    unknown = {"chose_checkpoint": None, "trained_on": None, "optimism": None}
    return _evaluate(run, weights, dataset.split(split), config, {"split": split, **unknown})


def choose_split(dataset: Dataset, wanted: str) -> str:
    """Return the split to evaluate; `auto` is test where there is one, else val."""
    if wanted != "auto":
        return wanted
    return next((split for split in ("test", "val") if split in dataset.splits), "train")


def is_evaluated(run: Run, split: str, config: Config) -> bool:
    """Whether the run holds an evaluation of its present best weights on this split with these settings.

    The folder of a checkpoint from elsewhere has no weights of its own; what was evaluated is all that it is.
    """
    metrics = run.evaluations().get(split, {})
    weights = run.weights("best")
    return (
        metrics.get("settings") == _settings_record(predict_settings(config))
        and (not weights.is_file() or metrics.get("weights") == weights_digest(weights))
        and metrics.get("fingerprint") == run.dataset().split(split).fingerprint()
    )


def predict_settings(config: Config) -> PredictSettings:
    """Return how a run predicts, from the sections `eval` and `train` of its configuration."""
    return PredictSettings(
        imgsz=config.train.imgsz,
        conf=config.eval.conf,
        iou=config.eval.iou,
        max_det=config.eval.max_det,
        batch=config.eval.batch,
        device=str(config.train.device or ""),
    )


def _evaluate(run: Run, weights: Path, part: Dataset, config: Config, about: dict[str, Any]) -> Evaluation:
    tighten()
    started = time.perf_counter()
    split, fingerprint = about["split"], part.fingerprint()
    findings = [*split_guard.changed_pictures(run, part), *split_guard.changed_labels(part, config)]
    settings = predict_settings(config)
    predictions = predict_dataset(weights, part, settings)
    truth = Truth.of(part)
    detections = Detections.of(truth, predictions.detections)
    analysis = analyse(truth, detections, grouping(part), resamples=config.eval.resamples, limit=config.eval.limit)
    digest = weights_digest(weights)
    uses = split_guard.count_use(run, split, fingerprint, digest)
    findings += split_guard.use_findings(split, uses, part.images.height, analysis.deviation)
    metrics = {
        **about,
        **analysis.metrics,
        "uses": uses,
        "checkpoint": str(weights.absolute()),
        "weights": digest,
        "fingerprint": fingerprint,
        "date": now(),
        "seconds": round(time.perf_counter() - started, 2),
        "ms_per_image": round(predictions.ms_per_image, 2),
        "settings": _settings_record(settings),
    }
    run.save_evaluation(split, metrics, {"detections": predictions.detections, **analysis.tables}, analysis.curves)
    found = (*analysis.findings, *findings)
    run.add_findings(found)
    return Evaluation(run, metrics, found)


def _settings_record(settings: PredictSettings) -> dict[str, Any]:
    return {"imgsz": settings.imgsz, "conf": settings.conf, "iou": settings.iou, "max_det": settings.max_det}
