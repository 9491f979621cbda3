"""The match table: which detection found which box. Matched once; every figure of the evaluation is read off it.

The rules are COCO's (https://cocodataset.org/#detection-eval, pycocotools 2.0.11 `evaluateImg`): within a picture and
class the detections, the surest first, each take the free box that they overlap most. Boxes that do not count (crowds,
difficult ones, those outside of a size range) are taken only where no box that counts is left; a crowd can be taken
more than once, and its overlap is measured against the detection's own area.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import Groups, find_candidates
from .choice import choose
from .outcomes import Outcomes
from .tables import Detections, Truth

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # as pycocotools makes them: the last digit counts where an IoU is just 0.6
IOU50, IOU75 = 0, 5  # places of 0.50 and 0.75 among them
LIMIT = 100  # COCO's largest number of detections per picture and class
_ALMOST_ONE = 1 - 1e-10  # pycocotools' bound for a threshold of 1


@dataclass(frozen=True)
class SizeRange:
    """A range of object sizes, bounds included.

    Args:
        name: as it stands in the metrics.
        low: smallest area in square pixels; with `relative` the smallest side, sqrt(area / picture's area).
        high: largest, likewise.
        relative: measured against the picture.
    """

    name: str
    low: float
    high: float
    relative: bool = False


ALL = SizeRange("all", 0, 1e5**2)
COCO_RANGES = (ALL, SizeRange("small", 0, 32**2), SizeRange("medium", 32**2, 96**2), SizeRange("large", 96**2, 1e5**2))
# COCO's bounds of 32 and 96 pixels, in a picture of 640: what they mean for pictures of any size.
RELATIVE_RANGES = (
    SizeRange("below_5_percent", 0.0, 0.05, relative=True),
    SizeRange("5_to_15_percent", 0.05, 0.15, relative=True),
    SizeRange("above_15_percent", 0.15, np.inf, relative=True),
)


@dataclass(frozen=True)
class MatchTable:
    """Detections in COCO's order and the boxes that they found.

    Args:
        truth: the ground truth, M boxes.
        detections: the detections as given.
        thresholds: [T] IoU thresholds.
        ranges: [A] size ranges; the first holds all sizes.
        limit: largest number of detections per picture and class; those beyond it are left out.
        order: [N] rows of `detections`: by class, then falling score, then picture, then row.
        rank: [N] place within picture and class, 0 for the surest.
        inside: [A, N] whether the detection's own size lies in the range.
        ignored_truth: [A, M] whether a box does not count in the range.
        finders: [F] places in `order` of the detections that may have found a box.
        found: [A, T, F] the box that each of these found, -1 for none.
    """

    truth: Truth
    detections: Detections
    thresholds: NDArray[np.float64]
    ranges: tuple[SizeRange, ...]
    limit: int
    order: NDArray[np.int64]
    rank: NDArray[np.int64]
    inside: NDArray[np.bool_]
    ignored_truth: NDArray[np.bool_]
    finders: NDArray[np.int64]
    found: NDArray[np.int32]

    @property
    def image(self) -> NDArray[np.int32]:
        """[N] row of the picture in `truth.image_ids`."""
        return np.asarray(self.detections.image[self.order])

    @property
    def class_id(self) -> NDArray[np.int32]:
        """[N] class, ascending."""
        return np.asarray(self.detections.class_id[self.order])

    @property
    def score(self) -> NDArray[np.float64]:
        """[N] score, falling within a class."""
        return np.asarray(self.detections.score[self.order])

    def matched(self, t: int) -> NDArray[np.int32]:
        """Return [N] the box that each detection found at `thresholds[t]`, all sizes; -1 for none."""
        boxes = np.full(len(self.order), -1, np.int32)
        boxes[self.finders] = self.found[0, t]
        return boxes

    def outcomes(self, t: int, a: int = 0) -> Outcomes:
        """Return what became of every detection at `thresholds[t]` in the size range `ranges[a]`."""
        taken = np.flatnonzero(self.found[a, t] >= 0)
        place = self.finders[taken]
        counts = ~self.ignored_truth[a][self.found[a, t, taken]]
        hit = np.zeros(len(self.order), np.bool_)
        hit[place] = counts
        ignored = ~self.inside[a]
        ignored[place] = ~counts
        counted = ~self.ignored_truth[a]
        return Outcomes(
            classes=len(self.truth.names),
            image=self.image,
            class_id=self.class_id,
            score=self.score,
            hit=hit,
            ignored=ignored,
            truth_image=self.truth.image[counted],
            truth_class=self.truth.class_id[counted],
        )


def match(
    truth: Truth,
    detections: Detections,
    *,
    limit: int = LIMIT,
    ranges: tuple[SizeRange, ...] = COCO_RANGES,
    thresholds: NDArray[np.float64] = THRESHOLDS,
) -> MatchTable:
    """Match detections with ground truth.

    Args:
        truth: the boxes.
        detections: of the same pictures.
        limit: detections per picture and class that are looked at, the surest first.
        ranges: size ranges, each matched on its own, because a box outside of one does not count there.
        thresholds: [T] IoU thresholds, ascending, above 0.001.
    """
    order = _coco_order(detections)
    rank = Groups.of(truth, detections, order).turns()
    if len(rank) and rank.max() >= limit:
        keep = rank < limit
        order, rank = order[keep], rank[keep]
    ignored_truth = np.stack([truth.ignored | ~_inside(size, truth.area, truth.image, truth) for size in ranges])
    extent, image = detections.extent.take(order), detections.image.take(order)
    inside = np.stack([_inside(size, extent, image, truth) for size in ranges])
    bounds = np.minimum(thresholds, _ALMOST_ONE)
    pairs = find_candidates(truth, detections, order, float(bounds[0]))
    finders, found = choose(pairs, bounds, ignored_truth, truth)
    return MatchTable(
        truth=truth,
        detections=detections,
        thresholds=thresholds,
        ranges=ranges,
        limit=limit,
        order=order,
        rank=rank,
        inside=inside,
        ignored_truth=ignored_truth,
        finders=finders,
        found=found,
    )


def _coco_order(detections: Detections) -> NDArray[np.int64]:
    """Return rows by class, falling score, picture and row."""
    rows = np.argsort(detections.image, kind="stable")
    falling = -detections.score.take(rows)
    by_score = np.argsort(falling)  # twice as fast as a stable sort; the few equal scores are put in order below
    falling = falling.take(by_score)
    equal = falling[1:] == falling[:-1]
    if equal.any():
        run = np.cumsum(np.append(False, ~equal))
        tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
        by_score[tied] = by_score[tied][np.lexsort((by_score[tied], run[tied]))]
    rows = rows.take(by_score)
    class_id = detections.class_id.take(rows)
    most = class_id.max(initial=0)
    return rows.take(np.argsort(class_id.astype(np.min_scalar_type(most)), kind="stable"))


def _inside(size: SizeRange, area: NDArray[np.float64], image: NDArray[np.int32], truth: Truth) -> NDArray[np.bool_]:
    """Return which objects lie in the range; both bounds belong to it, as in COCO."""
    measure = np.sqrt(np.maximum(area, 0) / truth.sizes.prod(axis=1)[image]) if size.relative else area
    return np.asarray((measure >= size.low) & (measure <= size.high))
