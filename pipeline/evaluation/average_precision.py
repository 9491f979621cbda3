"""COCO's average precision and recall, read off the match table.

Definition: https://cocodataset.org/#detection-eval, as pycocotools 2.0.11 computes it (`accumulate`): the mean over 101
recall levels of the best precision at that recall or beyond. One difference: pycocotools adds 2e-16 to a denominator,
so that its perfect detector scores a hair below 1; here it scores 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import consecutive
from .matching import MatchTable
from .outcomes import Outcomes

RECALLS = np.linspace(0.0, 1.0, 101)  # as pycocotools makes them: 57 * 0.01 is a little more than 57 / 100
RECALL_LIMITS = (1, 10)  # COCO's AR1 and AR10; the third is the table's own limit


@dataclass(frozen=True)
class Scores:
    """Average precision and recall of every size range, threshold and class; nan where no box counts.

    Args:
        precision: [A, T, K] average precision at the table's limit.
        recall: [A, T, K] recall at the table's limit.
        recall_at: [2, T, K] recall over all sizes with 1 and with 10 detections per picture and class.
        boxes: [A, K] number of boxes that count.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    recall_at: NDArray[np.float64]
    boxes: NDArray[np.int64]


def scores(table: MatchTable) -> Scores:
    """Return average precision and recall for every size range, threshold and class of a match table."""
    classes, thresholds = len(table.truth.names), len(table.thresholds)
    boxes = np.stack(
        [np.bincount(table.truth.class_id[~ignored], minlength=classes) for ignored in table.ignored_truth]
    )
    some = np.where(boxes > 0, 1.0, np.nan)  # [A, K]
    hits = [_Hits.of(table, a, table.class_id) for a in range(len(table.ranges))]
    precision = [_interpolated(part, count, thresholds) for part, count in zip(hits, boxes, strict=True)]
    found = [part.per_class(thresholds, classes) for part in hits]
    rank = table.rank[hits[0].place]
    found_at = [hits[0].only(rank < limit).per_class(thresholds, classes) for limit in RECALL_LIMITS]
    return Scores(
        precision=np.stack(precision) * some[:, None],
        recall=np.stack(found) / (boxes * some)[:, None],
        recall_at=np.stack(found_at) / (boxes * some)[0],
        boxes=boxes,
    )


@dataclass(frozen=True)
class _Hits:
    """True positives of one size range by threshold, class and falling score.

    Args:
        class_id: [h]
        segment: [h] number of the threshold times K, plus the class.
        place: [h] in COCO's order.
        seen: [h] detections of the class that counted up to this one, itself included.
    """

    class_id: NDArray[np.int64]
    segment: NDArray[np.int64]
    place: NDArray[np.int64]
    seen: NDArray[np.int64]

    @classmethod
    def of(cls, table: MatchTable, a: int, class_id: NDArray[np.int32]) -> _Hits:
        """Read the hits in the size range `a` off the table; `class_id` is the table's."""
        flat = np.flatnonzero(table.found[a] >= 0)
        t, finder = np.divmod(flat, max(len(table.finders), 1))
        place = table.finders.take(finder)
        counts = ~table.ignored_truth[a].take(table.found[a].ravel().take(flat))
        classes = class_id.take(place).astype(np.int64)
        segment = t * len(table.truth.names) + classes
        # A detection that found nothing counts if its own size lies in the range; for one that did its box decides.
        inside = np.cumsum(table.inside[a])
        change = counts.astype(np.int64) - table.inside[a].take(place)
        changes = np.cumsum(change)
        before_class = np.append(0, inside)[np.searchsorted(class_id, np.arange(len(table.truth.names)))]
        first = np.flatnonzero(np.diff(segment, prepend=-1))
        before = (changes - change)[first].repeat(np.diff(np.append(first, len(segment))))
        seen = inside.take(place) - before_class.take(classes) + changes - before
        hit = np.flatnonzero(counts)
        return cls(classes.take(hit), segment.take(hit), place.take(hit), seen.take(hit))

    def only(self, keep: NDArray[np.bool_]) -> _Hits:
        """Return some of the hits."""
        return _Hits(self.class_id[keep], self.segment[keep], self.place[keep], self.seen[keep])

    def per_class(self, thresholds: int, classes: int) -> NDArray[np.int64]:
        """Return [T, K] their number."""
        return np.bincount(self.segment, minlength=thresholds * classes).reshape(thresholds, classes)


def _interpolated(hits: _Hits, boxes: NDArray[np.int64], thresholds: int) -> NDArray[np.float64]:
    """Return [T, K] average precision from the hits of one size range and the number of boxes of each class."""
    number = np.bincount(hits.segment, minlength=thresholds * len(boxes))
    end = np.cumsum(number)
    rank = np.arange(len(hits.segment)) - np.repeat(end - number, number)
    best = (rank + 1) / hits.seen
    for first, last in zip((end - number).tolist(), end.tolist(), strict=True):
        backwards = best[first:last][::-1]
        np.maximum.accumulate(backwards, out=backwards)
    found = consecutive(np.ones_like(boxes), boxes)  # 1, 2, ... up to the number of boxes, class by class
    levels = recall_levels(found / np.repeat(boxes, boxes))
    gained = np.where(found == 1, levels, np.diff(levels, prepend=0))
    area = best * gained.take(rank + (np.cumsum(boxes) - boxes).take(hits.class_id))
    return np.bincount(hits.segment, area, len(number)).reshape(thresholds, -1) / len(RECALLS)


def recall_levels(recall: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many of the 101 recall levels are reached, the level 0 included."""
    return np.searchsorted(RECALLS, recall, side="right")


@dataclass(frozen=True)
class Curve:
    """Precision and recall of one class at one IoU threshold as the score falls.

    Args:
        score: [n] scores of the detections that count, falling.
        precision: [n] with all detections down to this score.
        recall: [n] likewise.
        interpolated: [101] COCO's best precision at each recall level of `RECALLS` or beyond.
    """

    score: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    interpolated: NDArray[np.float64]

    @property
    def f1(self) -> NDArray[np.float64]:
        """[n] harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return np.asarray(np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0))


def curves(outcomes: Outcomes) -> list[Curve | None]:
    """Return a class's curve for each class, None for one without boxes."""
    boxes = np.bincount(outcomes.truth_class, minlength=outcomes.classes)
    found: list[Curve | None] = []
    for k, part in enumerate(outcomes.slices()):
        keep = ~outcomes.ignored[part]
        hits = np.cumsum(outcomes.hit[part][keep])
        if not boxes[k]:
            found.append(None)
            continue
        precision = hits / np.arange(1, len(hits) + 1)
        recall = hits / boxes[k]
        best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        at_level = best[np.searchsorted(recall, RECALLS, side="left")]
        found.append(Curve(outcomes.score[part][keep], precision, recall, at_level))
    return found


def mean(values: NDArray[np.float64]) -> float | None:
    """Return the mean of what could be measured, None where nothing could."""
    measured = values[~np.isnan(values)]
    return float(measured.mean()) if measured.size else None
