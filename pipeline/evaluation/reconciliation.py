"""Why Ultralytics says another number: its own mAP of the same detections, and what each of its rules adds to it.

The rules are those of version 8.4.190 (`utils/metrics.py`, `engine/validator.py`, `models/yolo/detect/val.py`),
computed here from match tables. On the way from COCO's number to Ultralytics' one rule is changed at a time:

1. interpolation: COCO takes the mean of the best precision at 101 recalls or beyond, Ultralytics the trapezoid under
   the best precision strictly beyond. Nothing lies beyond a recall of 1, so its perfect detector scores 0.995.
2. detection_limit: COCO looks at 100 detections per picture and class, Ultralytics at `max_det` per picture.
3. ignored_boxes: its labels hold no crowds (its converter drops them), so what is found in one is a false alarm; and no
   difficult boxes either: those count like all others.
4. matching: in both the surest detection chooses first. Of equal overlaps COCO takes the later box, Ultralytics the
   earlier; it works in single precision, and adds 1e-7 to the area by which it divides.

Its sort is not stable and its pictures come sorted by shape, so equal scores have no order in it. Here they are counted
by picture and row, as COCO does; `lowest` and `highest` say what any other order could give. One thing is left out: it
measures in pixels of the network's input, before boxes are cut at the picture's edge.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .average_precision import RECALLS, mean, recall_levels
from .matching import ALL, MatchTable, match
from .outcomes import Outcomes
from .tables import Detections, Truth
from .ultralytics_rules import Hits, Levels, SinglePrecision, precision_of_hits, ultralytics_levels

MAX_DET = 300  # Ultralytics' default
_SHOWN = 0.00005  # a smaller cause is 0.0000 as shown

_CAUSES = ("interpolation", "detection_limit", "ignored_boxes", "matching")


@dataclass(frozen=True)
class Reconciliation:
    """One figure by COCO's definition and by Ultralytics'.

    Args:
        name: `map50_95` or `map50`.
        coco: ours; None where no box counts.
        ultralytics: what its validator reports for the same detections; 0 where there are no boxes, as it does.
        causes: what each rule adds, in the order in which they are changed; they add up to the difference. Empty where
            there is no COCO number.
        lowest, highest: bounds of what it can report, as the order of equal scores is left open.
        max_det: detections per picture that it looks at.
    """

    name: str
    coco: float | None
    ultralytics: float
    causes: dict[str, float]
    lowest: float
    highest: float
    max_det: int

    def to_dict(self) -> dict[str, Any]:
        """Return the record fit for JSON, with the line of `words`."""
        return {**asdict(self), "words": self.words()}

    def words(self) -> str:
        """Return one plain line; causes that the shown digits cannot tell from nothing are left out."""
        title = {"map50_95": "mAP50-95", "map50": "mAP50"}[self.name]
        if self.coco is None:
            return f"Ultralytics would report {title} {self.ultralytics:.4f}; by COCO's rules no box counts here"
        said = {
            "interpolation": "interpolation",
            "detection_limit": f"limit of {self.max_det} detections per picture",
            "ignored_boxes": "crowds and difficult boxes",
            "matching": "matching (equal overlaps, rounding)",
        }
        parts = [f"{delta:+.4f} {said[cause]}" for cause, delta in self.causes.items() if abs(delta) >= _SHOWN]
        line = f"Ultralytics would report {title} {self.ultralytics:.4f} for the same detections, COCO {self.coco:.4f}"
        line += f": {', '.join(parts)}" if parts else ""
        if self.highest - self.lowest >= 2 * _SHOWN:
            line += (
                f"; it could be {self.lowest:.4f} to {self.highest:.4f}, as it leaves the order of equal scores open"
            )
        return line


def reconcile(table: MatchTable, *, max_det: int = MAX_DET) -> dict[str, Reconciliation]:
    """Return `map50_95` and `map50` by COCO's and by Ultralytics' rules, with the causes of the difference.

    Args:
        table: of COCO's ten thresholds; its first size range holds all sizes.
        max_det: the `max_det` with which Ultralytics validates. Its default of 300 is raised where a picture holds more
            boxes, as it does itself outside of a training; the detections must not have been cut lower before.
    """
    truth, detections = table.truth, table.detections
    labels = _labels(truth)
    if max_det == MAX_DET:
        max_det = max(max_det, int(np.bincount(labels.image).max(initial=0)))
    kept = _surest(detections, max_det)
    complete = len(kept.score) == len(detections.score) == len(table.order)
    limited = table if complete else _match_all(truth, kept, table)
    labelled = _match_all(labels, kept, table) if truth.ignored.any() else limited
    single = SinglePrecision.of(labels, kept)
    steps = {
        "coco": _precision_of(table, _coco_levels),
        "interpolation": _precision_of(table, ultralytics_levels),
        "detection_limit": _precision_of(limited, ultralytics_levels),
        "ignored_boxes": _precision_of(labelled, ultralytics_levels),
        "matching": single.precision(single.in_order),
        "lowest": single.precision(single.alarms_first),
        "highest": single.precision(single.hits_first),
    }
    return {
        "map50_95": _account("map50_95", {name: mean(ap) for name, ap in steps.items()}, max_det),
        "map50": _account("map50", {name: mean(ap[0]) for name, ap in steps.items()}, max_det),
    }


def _account(name: str, values: dict[str, float | None], max_det: int) -> Reconciliation:
    path = [values[step] for step in ("coco", *_CAUSES)]
    measured = [value for value in path if value is not None]
    causes = dict(zip(_CAUSES, np.diff(measured).tolist(), strict=True)) if path[0] is not None else {}
    return Reconciliation(
        name, path[0], path[-1] or 0.0, causes, values["lowest"] or 0.0, values["highest"] or 0.0, max_det
    )


# ---- average precision from the hits alone --------------------------------------------------------------------------


def _precision_of(table: MatchTable, levels: Levels) -> NDArray[np.float64]:
    """Return [T, K] average precision of a match table over all sizes."""
    hits = (_hits(table.outcomes(t)) for t in range(len(table.thresholds)))
    boxes = np.bincount(table.truth.class_id[~table.ignored_truth[0]], minlength=len(table.truth.names))
    return np.stack([precision_of_hits(one, boxes, levels) for one in hits])


def _hits(outcomes: Outcomes) -> Hits:
    counted = np.append(0, np.cumsum(~outcomes.ignored))
    before = counted[np.searchsorted(outcomes.class_id, np.arange(outcomes.classes))]
    at = np.flatnonzero(outcomes.hit)
    class_id = outcomes.class_id[at].astype(np.int64)
    return Hits(class_id, counted[at + 1] - before[class_id])


def _coco_levels(recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the 101 recall levels that a recall reaches."""
    return recall_levels(recall) / len(RECALLS)


# ---- Ultralytics' detections, labels and matching -------------------------------------------------------------------


def _labels(truth: Truth) -> Truth:
    """Return the boxes that Ultralytics' labels hold: no crowds; difficult ones are nothing special."""
    keep = ~truth.crowd
    columns = ("image", "class_id", "xyxy", "extent", "area", "crowd")
    kept: dict[str, Any] = {name: getattr(truth, name)[keep] for name in columns}
    return replace(truth, **kept, ignored=kept["crowd"])


def _surest(detections: Detections, most: int) -> Detections:
    """Return the `most` surest detections of every picture over all classes; of equal scores the first rows."""
    count = np.bincount(detections.image)
    if not len(count) or count.max() <= most:
        return detections
    order = np.lexsort((-detections.score, detections.image))
    first = np.cumsum(count) - count
    rank = np.arange(len(order)) - first[detections.image[order]]
    rows = np.sort(order[rank < most])
    return Detections(*(getattr(detections, name)[rows] for name in ("image", "class_id", "score", "xyxy", "extent")))


def _match_all(truth: Truth, detections: Detections, table: MatchTable) -> MatchTable:
    """Return the matches without a limit per class, at the thresholds of `table`."""
    limit = max(1, len(detections.score))
    return match(truth, detections, limit=limit, ranges=(ALL,), thresholds=table.thresholds)
