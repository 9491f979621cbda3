"""Evaluate a run or a checkpoint on a named split; read `evaluate_run` from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config
from ..data.dataset import Dataset
from ..errors import RunError
from ..leash import tighten
from ..runs import Run, now
from .average_precision import coco_metrics
from .predict import PredictSettings, predict_dataset


@dataclass(frozen=True)
class Evaluation:
    """One evaluated split; `metrics` is what stands in `eval/<split>/metrics.json`."""

    run: Run
    metrics: dict[str, Any]

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
    chosen = {"chose_checkpoint": which == "best" and split == "val", "trained_on": split == "train"}
    return _evaluate(run, weights, dataset.split(split), config, {"split": split, **chosen})


def evaluate_checkpoint(weights: Path, run: Run, config: Config) -> Evaluation:
    """Evaluate a checkpoint from elsewhere on the data that `run` holds; nothing is known of how it was chosen.

    Raises:
        DataError: the split is empty, or pictures are gone.
        ModelError: the checkpoint cannot be read, or knows other classes.
    """
    dataset = run.dataset()
    split = choose_split(dataset, config.eval.split)
    unknown = {"chose_checkpoint": None, "trained_on": None}
    return _evaluate(run, weights, dataset.split(split), config, {"split": split, **unknown})


def choose_split(dataset: Dataset, wanted: str) -> str:
    """Return the split to evaluate; `auto` is test where there is one, else val."""
    if wanted != "auto":
        return wanted
    return next((split for split in ("test", "val") if split in dataset.splits), "train")


def _evaluate(run: Run, weights: Path, dataset: Dataset, config: Config, about: dict[str, Any]) -> Evaluation:
    tighten()
    settings = PredictSettings(
        imgsz=config.train.imgsz,
        conf=config.eval.conf,
        iou=config.eval.iou,
        max_det=config.eval.max_det,
        batch=config.eval.batch,
        device=str(config.train.device or ""),
    )
    predictions = predict_dataset(weights, dataset, settings)
    metrics = {
        **about,
        "definition": "COCO, computed by pycocotools",
        "images": dataset.images.height,
        "boxes": dataset.boxes.height,
        **coco_metrics(dataset, predictions.detections),
        "checkpoint": str(weights.absolute()),
        "fingerprint": dataset.fingerprint(),
        "date": now(),
        "seconds": round(predictions.seconds, 2),
        "ms_per_image": round(predictions.ms_per_image, 2),
        "settings": {"imgsz": settings.imgsz, "conf": settings.conf, "iou": settings.iou, "max_det": settings.max_det},
    }
    run.save_evaluation(about["split"], metrics, predictions.detections)
    return Evaluation(run, metrics)
