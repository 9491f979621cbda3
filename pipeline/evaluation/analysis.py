"""Everything that is read off one match table: figures with intervals, errors, the inspector's and the grower's view.

No network and no pictures are needed here, so that another detector's COCO files are analysed by the same path.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..findings import Finding
from .error_costs import error_costs
from .error_types import ErrorTable, classify, confusions
from .froc import froc
from .inspection import rejection_curve
from .intervals import image_weights
from .matching import LIMIT, MatchTable, match
from .metrics import RANGES, measure, precision_recall
from .reconciliation import MAX_DET, reconcile
from .tables import Detections, Truth

SCHEMA = "tuneup.metrics/1"  # changes when a figure changes its name or meaning; docs/metrics.md
DEFINITION = "COCO"
SEED = 0  # of the resamples: the same data and detections always have the same intervals
# Down to so many groups their intervals hold what they say (docs/benchmarks/coverage.md); of fewer, pictures are drawn.
FEWEST_GROUPS = 8
# With fewer boxes a class's interval holds the truth too rarely, and so does that of a mean with such classes.
FEWEST_BOXES = 15


@dataclass(frozen=True)
class Grouping:
    """What is drawn in a resample: pictures, or groups of pictures that belong together.

    Args:
        unit: picture or group.
        units: how many there are.
        number: [I] the group of each picture in the order of its id; None when pictures are drawn.
    """

    unit: str
    units: int
    number: NDArray[np.int32] | None


@dataclass(frozen=True)
class Analysis:
    """What came out.

    Args:
        table: the match table that everything was read off.
        weights: [R, I] the resamples of its pictures.
        groups: what they drew.
        errors: wrong detections and missed boxes by type.
        metrics: the figures, as they stand in `metrics.json`.
        curves: what only the figures of the report need, `curves.json`.
        tables: errors and the like, each a parquet file of its name.
        findings: what a person should know.
    """

    table: MatchTable
    weights: NDArray[np.int32]
    groups: Grouping
    errors: ErrorTable
    metrics: dict[str, Any]
    curves: dict[str, Any]
    tables: dict[str, pl.DataFrame]
    findings: tuple[Finding, ...] = ()

    @property
    def deviation(self) -> float | None:
        """Standard deviation of mAP50-95 over samples of pictures; None without ground truth."""
        interval = self.metrics["intervals"]["map50_95"]
        return None if interval is None else (interval["high"] - interval["low"]) / (2 * NormalDist().inv_cdf(0.975))


def grouping(part: Dataset) -> Grouping:
    """Return what to draw for a split: whole groups where there are enough of them."""
    images = part.images.sort("image_id")
    keys = images.select(pl.coalesce("group", "path"))["group"]
    groups = keys.n_unique()
    if images["group"].is_null().all() or groups < FEWEST_GROUPS:
        return Grouping("picture", images.height, None)
    return Grouping("group", groups, keys.rank("dense").to_numpy().astype(np.int32))


def analyse(
    truth: Truth,
    detections: Detections,
    groups: Grouping,
    *,
    resamples: int,
    limit: int = LIMIT,
    max_det: int = MAX_DET,
) -> Analysis:
    """Match detections with ground truth and read everything off the table.

    Args:
        truth: I pictures and their boxes.
        detections: of the same pictures.
        groups: what a resample draws.
        resamples: R, how many.
        limit: detections per picture and class.
        max_det: detections per picture that Ultralytics would look at.
    """
    table = match(truth, detections, limit=limit, ranges=RANGES)
    weights = image_weights(len(truth.image_ids), resamples, groups=groups.number, seed=SEED)
    errors = classify(table)
    metrics: dict[str, Any] = {
        "schema": SCHEMA,
        "definition": DEFINITION,
        "limit": limit,
        "images": len(truth.image_ids),
        "boxes": int((~truth.ignored).sum()),
        "ignored_boxes": int(truth.ignored.sum()),
        "detections": len(detections.score),
        "resampling": {"unit": groups.unit, "units": groups.units, "resamples": resamples, "seed": SEED},
        **measure(table, weights, groups.number),
        "errors": [cost.to_dict() for cost in error_costs(errors, weights, groups.units)],
        "confusions": _named(confusions(errors), truth.names),
        "ultralytics": {name: found.to_dict() for name, found in reconcile(table, max_det=max_det).items()},
    }
    curves = {
        "precision_recall": precision_recall(table),
        "rejection": rejection_curve(table, weights, groups.number).to_dict(),
        "froc": froc(table, weights, groups.number).to_dict(),
    }
    findings = tuple(_few_boxes(metrics["per_class"]))
    return Analysis(table, weights, groups, errors, metrics, curves, {"errors": errors.to_frame()}, findings)


def _few_boxes(rows: list[dict[str, Any]]) -> list[Finding]:
    """Return a finding where the mean over classes rests on classes with too few boxes."""
    few = {row["name"]: row["boxes"] for row in rows if 0 < row["boxes"] < FEWEST_BOXES}
    if not few:
        return []
    message = (
        f"{len(few)} of {sum(row['boxes'] > 0 for row in rows)} classes have fewer than {FEWEST_BOXES} boxes here: the "
        "intervals of mAP and of these classes are too narrow"
    )
    advice = (
        "label more pictures with " + ", ".join(list(few)[:5]) + "; differences between two detectors hold all the same"
    )
    return [Finding("evaluation.few_boxes", "info", message, {"boxes": few}, advice)]


def _named(confused: pl.DataFrame, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the confusions with the names of the classes in place of their numbers."""
    rows = confused.rename({"class_id": "detected"}).to_dicts()
    return [{**row, **{key: names[row[key]] for key in ("truth_class", "detected")}} for row in rows]
