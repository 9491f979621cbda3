"""Ultralytics' own rules of matching and of average precision, in single precision as it computes them (8.4.190)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .average_precision import RECALLS
from .candidates import Candidates, find_candidates
from .matching import THRESHOLDS
from .tables import Detections, Truth

_EPSILON = 1e-7  # what its `box_iou` adds to the union
# Overlaps in single precision are off by a few parts in 10^7; pairs just below the lowest threshold are looked at too.
_SLACK = 1e-5
_THRESHOLDS = THRESHOLDS.astype(np.float32)

Levels = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Hits:
    """Hits at one threshold, by class and then by place.

    Args:
        class_id: [h] ascending.
        place: [h] its number among the detections of its class that count, from 1.
    """

    class_id: NDArray[np.int64]
    place: NDArray[np.int64]


def precision_of_hits(hits: Hits, boxes: NDArray[np.int64], levels: Levels) -> NDArray[np.float64]:
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


def ultralytics_levels(recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of the recall axis that counts up to a recall above 0.

    That is the trapezoid's weight of the levels strictly below it: of equal recalls `numpy.interp` takes the last,
    where the best precision is already that of the next hit. The two outer levels weigh half as much as the others.
    """
    return (np.searchsorted(RECALLS, recall, side="left") - 0.5) / (len(RECALLS) - 1)


@dataclass(frozen=True)
class SinglePrecision:
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
    def of(cls, labels: Truth, detections: Detections) -> SinglePrecision:
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
                precision_of_hits(
                    Hits(self.class_id[at], places(at) - self.first[at] + 1), self.boxes, ultralytics_levels
                )
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
