"""The figures of one evaluation as plain records, read off the match table; `docs/metrics.md` defines each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .average_precision import RECALL_LIMITS, Curve, Scores, curves, mean, scores
from .intervals import class_mean, mean_interval, resampled_map, to_record
from .matching import COCO_RANGES, IOU50, IOU75, RELATIVE_RANGES, MatchTable

RANGES = (*COCO_RANGES, *RELATIVE_RANGES)
# With fewer boxes a class's interval is too wide, and covers too rarely, to lean on (docs/benchmarks/coverage.md).
FEW_BOXES = 30


def coco_numbers(table: MatchTable, measured: Scores) -> dict[str, float | None]:
    """Return COCO's twelve numbers; None where there is no ground truth of that kind.

    `map50_95`, `map50`, `map75`, `map_small`, `map_medium`, `map_large`, `ar1`, `ar10`, `ar` (at the table's limit,
    COCO's AR100 for 100), `ar_small`, `ar_medium`, `ar_large`.
    """
    sizes = [(a, size.name) for a, size in enumerate(table.ranges[1:4], start=1)]
    numbers = {
        "map50_95": mean(measured.precision[0]),
        "map50": mean(measured.precision[0, IOU50]),
        "map75": mean(measured.precision[0, IOU75]),
        **{f"map_{name}": mean(measured.precision[a]) for a, name in sizes},
        **{f"ar{limit}": mean(measured.recall_at[i]) for i, limit in enumerate(RECALL_LIMITS)},
        "ar": mean(measured.recall[0]),
        **{f"ar_{name}": mean(measured.recall[a]) for a, name in sizes},
    }
    return numbers


def measure(table: MatchTable, weights: NDArray[np.int32], groups: NDArray[np.int32] | None = None) -> dict[str, Any]:
    """Return the figures of a match table made with `RANGES`, with intervals.

    Args:
        table: the matches.
        weights: [R, I] resamples of the pictures, from `intervals.image_weights`.
        groups: [I] the group of each picture where whole groups were drawn.
    """
    unit = np.arange(len(table.truth.image_ids)) if groups is None else groups
    units = len(np.unique(unit))
    measured = scores(table)
    resampled = resampled_map(table, weights)  # [R, T, K]
    numbers = coco_numbers(table, measured)
    draws = {
        "map50_95": class_mean(resampled).mean(axis=1),
        "map50": class_mean(resampled[:, IOU50]),
        "map75": class_mean(resampled[:, IOU75]),
    }
    intervals = {
        name: None
        if numbers[name] is None
        else to_record(mean_interval(float(numbers[name] or 0.0), draw, units=units))
        for name, draw in draws.items()
    }
    found = curves(table.outcomes(IOU50))
    return {
        **numbers,
        "intervals": intervals,
        "per_class": [
            _class_row(table, measured, resampled[:, :, k], k, found[k], unit) for k in range(len(table.truth.names))
        ],
        "relative_size": [
            {
                "name": size.name,
                "boxes": int(measured.boxes[a].sum()),
                "map50_95": mean(measured.precision[a]),
                "map50": mean(measured.precision[a, IOU50]),
            }
            for a, size in enumerate(table.ranges)
            if size.relative
        ],
    }


def precision_recall(table: MatchTable) -> dict[str, list[float]]:
    """Return for each class with boxes its 101 interpolated precisions at IoU 0.50, for the curves of the report."""
    found = curves(table.outcomes(IOU50))
    return {name: c.interpolated.tolist() for name, c in zip(table.truth.names, found, strict=True) if c is not None}


def _class_row(
    table: MatchTable,
    measured: Scores,
    resampled: NDArray[np.float64],
    k: int,
    curve: Curve | None,
    unit: NDArray[np.int64] | NDArray[np.int32],
) -> dict[str, Any]:
    truth = table.truth
    counted = (truth.class_id == k) & ~truth.ignored
    row: dict[str, Any] = {
        "name": truth.names[k],
        "images": len(np.unique(truth.image[counted])),
        "boxes": int(counted.sum()),
        "ap50_95": mean(measured.precision[0, :, k]),
        "ap50": _number(measured.precision[0, IOU50, k]),
        "ap75": _number(measured.precision[0, IOU75, k]),
        "ap_by_iou": [_number(value) for value in measured.precision[0, :, k]],
        "recall50": _number(measured.recall[0, IOU50, k]),
        "best_f1": None if curve is None else _best_f1(curve),
        "intervals": {"ap50_95": None, "ap50": None},
        "note": "",
    }
    if row["ap50_95"] is not None:
        units = len(np.unique(unit[truth.image[counted]]))  # boxes of one picture say nothing of other pictures
        row["intervals"] = {
            "ap50_95": to_record(mean_interval(row["ap50_95"], resampled.mean(axis=1), units=units)),
            "ap50": to_record(mean_interval(row["ap50"], resampled[:, IOU50], units=units)),
        }
        row["note"] = _note(row)
    return row


def _best_f1(curve: Curve) -> dict[str, float] | None:
    """Return the threshold with the best F1 score and what it gives; ties go to the higher threshold."""
    last = np.append(np.diff(curve.score) != 0, True) if len(curve.score) else np.zeros(0, np.bool_)
    if not last.any():
        return None  # equal scores cannot be divided by a threshold, so only the last of them is a place to stop
    places = np.flatnonzero(last)
    best = places[int(np.argmax(curve.f1[places]))]
    values = {"score": curve.score, "f1": curve.f1, "precision": curve.precision, "recall": curve.recall}
    return {name: float(value[best]) for name, value in values.items()}


def _note(row: dict[str, Any]) -> str:
    """Say in a plain sentence when a class's figure rests on too few boxes."""
    if row["boxes"] >= FEW_BOXES:
        return ""
    boxes = "1 box" if row["boxes"] == 1 else f"{row['boxes']} boxes"
    interval = row["intervals"]["ap50_95"]
    if interval is None:
        return f"{row['name']}: {boxes}, too few for an interval"
    return f"{row['name']}: {boxes}, interval {100 * (interval['high'] - interval['low']):.0f} points wide"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
