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
measures in pixels of the network's input, before boxes are cut at the picture's edge. With its own boxes its number is
met to the last digits, with ours it was .0002 off (a DeepPCB model, 167 pictures, 49,591 detections).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .average_precision import RECALLS, mean, recall_levels
from .candidates import Candidates, find_candidates
from .matching import ALL, THRESHOLDS, MatchTable, match
from .outcomes import Outcomes
from .tables import Detections, Truth

MAX_DET = 300  # Ultralytics' default
_EPSILON = 1e-7  # what its `box_iou` adds to the union
# Overlaps in single precision are off by a few parts in 10^7; pairs just below the lowest threshold are looked at too.
_SLACK = 1e-5
_THRESHOLDS = THRESHOLDS.astype(np.float32)
_SHOWN = 0.00005  # a smaller cause is 0.0000 as shown

_CAUSES = ("interpolation", "detection_limit", "ignored_boxes", "matching")

Levels = Callable[[NDArray[np.float64]], NDArray[np.float64]]


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
    single = _Single.of(labels, kept)
    steps = {
        "coco": _precision_of(table, _coco_levels),
        "interpolation": _precision_of(table, _ultralytics_levels),
        "detection_limit": _precision_of(limited, _ultralytics_levels),
        "ignored_boxes": _precision_of(labelled, _ultralytics_levels),
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


@dataclass(frozen=True)
class _Hits:
    """Hits at one threshold, by class and then by place.

    Args:
        class_id: [h] ascending.
        place: [h] its number among the detections of its class that count, from 1.
    """

    class_id: NDArray[np.int64]
    place: NDArray[np.int64]


def _precision_of(table: MatchTable, levels: Levels) -> NDArray[np.float64]:
    """Return [T, K] average precision of a match table over all sizes."""
    hits = (_hits(table.outcomes(t)) for t in range(len(table.thresholds)))
    boxes = np.bincount(table.truth.class_id[~table.ignored_truth[0]], minlength=len(table.truth.names))
    return np.stack([_precision(one, boxes, levels) for one in hits])


def _hits(outcomes: Outcomes) -> _Hits:
    counted = np.append(0, np.cumsum(~outcomes.ignored))
    before = counted[np.searchsorted(outcomes.class_id, np.arange(outcomes.classes))]
    at = np.flatnonzero(outcomes.hit)
    class_id = outcomes.class_id[at].astype(np.int64)
    return _Hits(class_id, counted[at + 1] - before[class_id])


def _precision(hits: _Hits, boxes: NDArray[np.int64], levels: Levels) -> NDArray[np.float64]:
    """Return [K] average precision, nan without boxes.

    Between two hits precision falls and recall stays, so the best precision beyond a recall is always that of a hit.
    """
    bounds = np.searchsorted(hits.class_id, np.arange(len(boxes) + 1))
    number = np.arange(len(hits.place)) - bounds[hits.class_id] + 1
    best = number / hits.place
    for first, last in pairwise(bounds):
        best[first:last] = np.maximum.accumulate(best[first:last][::-1])[::-1]
    reached = levels(number / boxes[hits.class_id])
    gained = np.diff(reached, prepend=0.0)
    gained[number == 1] = reached[number == 1]
    area = np.bincount(hits.class_id, weights=best * gained, minlength=len(boxes)).astype(np.float64)
    area[boxes == 0] = np.nan
    return area


def _coco_levels(recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the 101 recall levels that a recall reaches."""
    return recall_levels(recall) / len(RECALLS)


def _ultralytics_levels(recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of the recall axis that counts up to a recall above 0.

    That is the trapezoid's weight of the levels strictly below it: of equal recalls `numpy.interp` takes the last,
    where the best precision is already that of the next hit. The two outer levels weigh half as much as the others.
    """
    return (np.searchsorted(RECALLS, recall, side="left") - 0.5) / (len(RECALLS) - 1)


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


@dataclass(frozen=True)
class _Single:
    """Ultralytics' matches, in single precision.

    Args:
        boxes: [K] number of labels.
        found: per threshold [h] the places of the hits among the detections by class and falling score.
        class_id: [N] class at each place.
        first: [N] where the place's class begins.
        tie: [N] where the place's run of equal scores begins.
        tie_end: [N] where it ends.
    """

    boxes: NDArray[np.int64]
    found: list[NDArray[np.int64]]
    class_id: NDArray[np.int64]
    first: NDArray[np.int64]
    tie: NDArray[np.int64]
    tie_end: NDArray[np.int64]

    @classmethod
    def of(cls, labels: Truth, detections: Detections) -> _Single:
        """Match the detections with the labels."""
        label_boxes = labels.xyxy.astype(np.float32)
        boxes, score = detections.xyxy.astype(np.float32), detections.score.astype(np.float32)
        order = np.lexsort((detections.image, -score, detections.class_id))
        class_id, score = detections.class_id[order].astype(np.int64), score[order]
        pairs = find_candidates(
            replace(labels, xyxy=label_boxes.astype(np.float64), extent=_extent(label_boxes).astype(np.float64)),
            replace(detections, xyxy=boxes.astype(np.float64), extent=_extent(boxes).astype(np.float64)),
            order,
            float(_THRESHOLDS[0]) * (1 - _SLACK),
        )
        rows = order[pairs.place]
        iou = _overlap(label_boxes[pairs.box], boxes[rows[pairs.owner]])
        key = class_id[pairs.place] * len(labels.image_ids) + detections.image[rows]
        hit = _take(pairs, iou, key, len(label_boxes))
        new_class = np.diff(class_id, prepend=-1) != 0
        starts = np.flatnonzero(new_class | (np.diff(score, prepend=np.float32(0)) != 0))
        run = np.searchsorted(starts, np.arange(len(order)), side="right") - 1
        return cls(
            boxes=np.bincount(labels.class_id, minlength=len(labels.names)),
            found=[pairs.place[column] for column in hit.T],
            class_id=class_id,
            first=np.searchsorted(class_id, class_id),
            tie=starts[run],
            tie_end=np.append(starts[1:], len(order))[run],
        )

    def precision(self, places: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> NDArray[np.float64]:
        """Return [T, K] average precision with the hits at the places that `places` gives them."""
        return np.stack(
            [
                _precision(_Hits(self.class_id[at], places(at) - self.first[at] + 1), self.boxes, _ultralytics_levels)
                for at in self.found
            ]
        )

    def in_order(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leave hits where they are."""
        return at

    def hits_first(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Put hits before the false alarms of the same score: no order gives more."""
        return self.tie[at] + self._number(at)

    def alarms_first(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Put hits behind the false alarms of the same score: no order gives less."""
        tie = self.tie[at]
        hits = np.searchsorted(tie, tie, side="right") - np.searchsorted(tie, tie)
        return self.tie_end[at] - hits + self._number(at)

    def _number(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many hits of the same score come before each."""
        tie = self.tie[at]
        return np.arange(len(at)) - np.searchsorted(tie, tie)


def _extent(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]))


def _overlap(label: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [P] IoU in single precision, in Ultralytics' order of operations."""
    width = np.minimum(label[:, 2], found[:, 2]) - np.maximum(label[:, 0], found[:, 0])
    height = np.minimum(label[:, 3], found[:, 3]) - np.maximum(label[:, 1], found[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    return np.asarray(shared / (_extent(label) + _extent(found) - shared + np.float32(_EPSILON)))


def _take(pairs: Candidates, iou: NDArray[np.float32], key: NDArray[np.int64], labels: int) -> NDArray[np.bool_]:
    """Let every detection take the free label that it overlaps most, the first of equals; returns [C, T] hits.

    All first detections of their picture and class choose at the same time, then all second ones, and so on.

    Args:
        pairs: the candidates.
        iou: [P] their overlap.
        key: [C] number of picture and class of the detections that have a pair.
        labels: M.
    """
    together = np.argsort(key, kind="stable")
    turn = np.empty(len(key), np.int64)
    turn[together] = np.arange(len(key)) - np.searchsorted(key[together], key[together])
    by_turn = np.lexsort((pairs.box, pairs.owner, turn[pairs.owner]))
    box, owner, iou = pairs.box[by_turn], pairs.owner[by_turn], iou[by_turn]
    ends = np.cumsum(np.bincount(turn[owner]))
    hit = np.zeros((len(key), len(_THRESHOLDS)), np.bool_)
    free = np.ones((labels, len(_THRESHOLDS)), np.bool_)
    for first, last in pairwise([0, *ends.tolist()]):
        start = np.flatnonzero(np.diff(owner[first:last], prepend=-1))
        weight = np.where(free[box[first:last]], iou[first:last, None], np.float32(0))
        best = np.maximum.reduceat(weight, start, axis=0)
        equal = weight == np.repeat(best, np.diff(start, append=last - first), axis=0)
        number = np.arange(first, last)[:, None]
        chosen = np.minimum.reduceat(np.where(equal, number, last), start, axis=0)
        detection, column = np.nonzero(best >= _THRESHOLDS)
        hit[owner[first + start[detection]], column] = True
        free[box[chosen[detection, column]], column] = False
    return hit
