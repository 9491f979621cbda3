"""Evaluate a run or a checkpoint on a named split; read `evaluate_run` from top to bottom."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ..config import Config
from ..data.dataset import Dataset
from ..errors import RunError, UsageError
from ..findings import Finding
from ..leash import tighten
from ..runs import Run, now
from . import chosen, split_guard
from .analysis import Analysis, analyse, grouping
from .changed_data import changed_data, refuse_missing
from .intervals import image_weights
from .label_errors import suspects
from .operating_point import Rule
from .predict import Change, PredictSettings, predict_dataset
from .predict_latency import measure_latency
from .robustness import Robustness, robustness
from .slices import Slices, slices
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


def evaluate_run(run: Run, config: Config) -> Evaluation:
    """Evaluate the best weights of a run on a split of the data it was trained with, and keep the result in the run.

    Args:
        run: a run with weights.
        config: its sections `eval` and `train` (imgsz, device) say how.

    Raises:
        RunError: the run has no weights yet.
        DataError: the split is empty, or pictures are gone.
    """
    weights = run.weights("best")
    if not weights.is_file():
        raise RunError(f"{run.path}: no weights/best.pt yet; the first epoch was not completed")
    dataset = run.dataset()
    split = choose_split(dataset, config.eval.split)
    chose = split == "val"
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
        metrics.get("settings") == settings_record(predict_settings(config))
        and (not weights.is_file() or metrics.get("weights") == weights_digest(weights))
        and metrics.get("fingerprint") == run.dataset().split(split).fingerprint()
    )


def detect(run: Run | None, weights: Path, part: Dataset, config: Config) -> pl.DataFrame:
    """Return the detections of weights on a split, those that the run keeps where they are of these very settings.

    Nothing is written but the use of the split.

    Args:
        run: that the weights belong to; None for a checkpoint from elsewhere.
        weights: the checkpoint.
        part: pictures and boxes of one split.
        config: its sections `eval` and `train` say how.

    Raises:
        DataError, ModelError, UsageError: as `predict_dataset`.
    """
    split = str(part.images["split"][0])
    there = run is not None and is_evaluated(run, split, config)
    if not weights.is_file() and not there:
        raise RunError(f"{weights}: no such file; what was evaluated with other settings cannot be evaluated again")
    digest = weights_digest(weights) if weights.is_file() else str((run or Run(".")).evaluations()[split]["weights"])
    runs, name = (config.runs, weights.name) if run is None else (run.path.parent, run.name)
    split_guard.count_use(runs, name, split, part.fingerprint(), digest)
    if run is not None and there:
        return run.detections(split)
    tighten()
    return predict_dataset(weights, part, predict_settings(config)).detections


def predict_settings(config: Config) -> PredictSettings:
    """Return how a run predicts, from the sections `eval` and `train` of its configuration."""
    return PredictSettings(
        imgsz=config.train.imgsz,
        conf=config.eval.conf,
        iou=config.eval.iou,
        max_det=config.eval.max_det,
        batch=config.eval.batch,
        device=str(config.train.device or ""),
        head=config.eval.head,
        half=config.eval.half,
        tile=config.eval.tile,
        overlap=config.eval.overlap,
    )


def _evaluate(run: Run, weights: Path, part: Dataset, config: Config, about: dict[str, Any]) -> Evaluation:
    tighten()
    started, rule = time.perf_counter(), rule_of(config)
    split, fingerprint = about["split"], part.fingerprint()
    refuse_missing(part, split)
    findings = [] if about["chose_checkpoint"] is None else changed_data(run, part, config)
    settings = predict_settings(config)
    predictions = predict_dataset(weights, part, settings)
    truth = Truth.of(part)
    detections = Detections.of(truth, predictions.detections)
    analysis = analyse(
        truth,
        detections,
        grouping(part),
        resamples=config.eval.resamples,
        limit=config.eval.limit,
        max_det=settings.max_det,
    )
    robust = _robustness(weights, part, settings, predictions.detections, analysis) if config.eval.corruptions else None
    findings += [robust.finding()] if robust else []
    alone = measure_latency(weights, part, settings, pictures=config.eval.latency) if config.eval.latency else None
    digest = weights_digest(weights)
    uses = split_guard.count_use(run.path.parent, run.name, split, fingerprint, digest)
    views = threshold_views(run, split, analysis, rule, digest, settings_record(settings))
    by_group = _slices(part, analysis, config.eval.resamples)
    findings += by_group.findings if by_group else ()
    if split == "test":
        findings += split_guard.use_findings(split, uses, part.images.height, analysis.deviation)
    metrics = {
        **about,
        **analysis.metrics,
        **views,
        "slices": [by_group.to_dict()] if by_group else [],
        "robustness": robust.to_dict() if robust else None,
        "uses": uses,
        "checkpoint": str(weights.absolute()),
        "weights": digest,
        "fingerprint": fingerprint,
        "date": now(),
        "seconds": time.perf_counter() - started,
        "ms_per_image": predictions.ms_per_image,
        "head": predictions.head,
        "latency": predictions.latency,
        "latency_one_by_one": alone.to_dict() if alone else None,
        "settings": settings_record(settings),
    }
    found = (*analysis.findings, *findings)
    metrics["findings"] = [finding.to_dict() for finding in found]
    tables = {"detections": predictions.detections, **analysis.tables, "suspects": suspects(part, analysis.errors)}
    run.save_evaluation(split, metrics, tables, analysis.curves)
    return Evaluation(run, metrics, found)


def threshold_views(
    run: Run, split: str, analysis: Analysis, rule: Rule | None, weights: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return the figures at the thresholds that were chosen on val; val itself chooses them.

    A split of a run without val, or a checkpoint's, chooses its own and says so.
    """
    kept = chosen.kept(run, weights)
    if split == "val":
        # A rule once asked for holds until another is: evaluating val again does not undo it.
        rule = rule or (kept.point.rule if kept else None) or Rule("f1")
        found, why_not = chosen.choose(analysis, rule, split, weights, settings)
        if found is not None:
            chosen.keep(run, found)
        return chosen.figures(analysis, split, found, why_not)
    if kept is None:
        found, why_not = chosen.choose(analysis, rule or Rule("f1"), split, weights, settings)
        return chosen.figures(analysis, split, found, why_not)
    other = chosen.differing(kept, settings)
    again = f"choose anew: tuneup eval {run.path} eval.split=val"
    if rule is not None and rule != kept.point.rule:
        why_not = f"the run's thresholds were chosen by another rule ({kept.point.rule.text}); {again}"
    else:
        why_not = (
            f"the run's thresholds were chosen on pictures predicted otherwise ({other}); {again}" if other else ""
        )
    return chosen.figures(analysis, split, None if why_not else kept, why_not)


def rule_of(config: Config) -> Rule | None:
    """Return how thresholds are chosen where the configuration says so: by an escape rate, or by what an escape costs.

    Raises:
        UsageError: both are asked for.
    """
    rate, cost = config.eval.escape_rate, config.eval.escape_cost
    if rate is not None and cost is not None:
        raise UsageError("eval.escape_rate and eval.escape_cost: thresholds are chosen by one of them; leave out one")
    if rate is not None:
        return Rule("max_escape", rate)
    return None if cost is None else Rule("cost", cost)


def _robustness(
    weights: Path, part: Dataset, settings: PredictSettings, clean: pl.DataFrame, analysis: Analysis
) -> Robustness | None:
    """Predict all pictures again under every corruption; None without boxes."""

    def predict(change: Change) -> pl.DataFrame:
        return predict_dataset(weights, part, settings, change=change).detections

    return robustness(
        predict, analysis.table.truth, clean, analysis.weights, units=analysis.groups.units, limit=analysis.table.limit
    )


def _slices(part: Dataset, analysis: Analysis, resamples: int) -> Slices | None:
    """Return the figures of each group of pictures (board, field); None where the data knows no groups."""
    groups = part.images.sort("image_id")["group"]
    if groups.n_unique() < 2:
        return None
    weights = image_weights(part.images.height, resamples)  # pictures: a group drawn whole has no spread of its own
    return slices(analysis.table, groups.to_list(), weights)


def settings_record(settings: PredictSettings) -> dict[str, Any]:
    """Return what decides on the detections, fit for JSON."""
    names = ("imgsz", "conf", "iou", "max_det", "head", "half", "tile")
    record = {name: getattr(settings, name) for name in names}
    return record if settings.tile is None else {**record, "overlap": settings.overlap}
