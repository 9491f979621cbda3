"""The greedy choice of COCO's matching: which candidate each detection takes, at every threshold and size range.

Nearly all boxes are wanted only by detections that overlap no other box. There nothing is chosen: the box goes to the
first detection that overlaps it enough, whatever the size range. A few arrays decide all of them at once. What is left,
detections that overlap several boxes and the boxes that these want, is decided in rounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidates, Groups, consecutive
from .tables import Truth

# An ignored box is taken only where no other is free. Scaled down by a power of two, which is exact, its overlap is
# below the lowest threshold, and so below that of every box that counts.
_IGNORED_SCALE = 2.0**-10
_AT_ONCE = 5_000  # detections that choose at once: their pairs stay in the processor's cache


def choose(
    pairs: Candidates, bounds: NDArray[np.float64], ignored: NDArray[np.bool_], truth: Truth
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return [F] places in COCO's order of the detections that may have found a box, and [A, T, F] boxes, -1 for none.

    Args:
        pairs: the candidates.
        bounds: [T] IoU thresholds.
        ignored: [A, M] boxes that do not count in each size range.
        truth: M boxes; a crowd may be taken more than once.
    """
    linked = _linked(pairs, len(truth.crowd))
    alone = np.flatnonzero(~linked)
    owner, box = pairs.owner.take(alone), pairs.box.take(alone)
    before, reached = _first_come(box, pairs.iou.take(alone), bounds, truth.crowd)
    takes = np.flatnonzero(reached > before)
    owner, box, before, reached = (part.take(takes) for part in (owner, box, before, reached))

    rest = np.flatnonzero(linked)
    choosers, chosen = _in_rounds(pairs, rest, bounds, ignored, truth)

    finds = np.zeros(len(pairs.place), np.bool_)
    finds[owner] = True
    finds[choosers] = True
    column = np.cumsum(finds) - 1
    found = np.full((len(ignored), len(bounds), int(finds.sum())), -1, np.int32)
    times = reached - before
    found[0, consecutive(before, times), np.repeat(column.take(owner), times)] = np.repeat(box, times)
    found[1:] = found[0]
    found[:, :, column.take(choosers)] = chosen
    return pairs.place[finds], found


def _linked(pairs: Candidates, boxes: int) -> NDArray[np.bool_]:
    """Return [P] which pairs have a box that is wanted by a detection with several candidates."""
    several = np.bincount(pairs.owner, minlength=len(pairs.place)) > 1
    wanted = np.zeros(boxes, np.bool_)
    wanted[pairs.box[several.take(pairs.owner)]] = True
    return wanted.take(pairs.box)


def _first_come(
    box: NDArray[np.int64], iou: NDArray[np.float64], bounds: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, by pair, how many thresholds were taken before it, and how many it reaches: what lies between is its own.

    Pairs are sorted by box and turn, and no detection has two.
    """
    reached = np.searchsorted(bounds, iou, side="right")
    group = np.cumsum(np.diff(box, prepend=-1) != 0) * (len(bounds) + 1)  # keeps the running maximum within a box
    highest = np.maximum.accumulate(group + reached)
    before = np.maximum(np.append(0, highest[:-1]) - group, 0)
    return np.where(crowd.take(box), 0, before), reached


def _in_rounds(
    pairs: Candidates,
    rest: NDArray[np.int64],
    bounds: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    truth: Truth,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the detections [c] of the pairs `rest` and the boxes [A, T, c] that they take, decided turn by turn.

    Detections of different pictures or classes cannot take the same box. So all first ones of their picture and class
    choose at the same time, then all second ones, and so on: as many rounds as one picture has detections that matter.
    """
    choosers, chooser = np.unique(pairs.owner[rest], return_inverse=True)
    boxes, box = np.unique(pairs.box[rest], return_inverse=True)
    group = np.empty(len(choosers), np.int64)
    group[chooser] = (truth.image[boxes].astype(np.int64) * len(truth.names) + truth.class_id[boxes])[box]
    together = np.argsort(group, kind="stable")
    turn = Groups(together, group[together]).turns()
    by_turn = np.lexsort((box, chooser, turn[chooser]))
    chooser, box, iou = chooser[by_turn], box[by_turn], pairs.iou[rest][by_turn]

    wanted = _Wanted(
        np.repeat(ignored.T[boxes], len(bounds), axis=1), truth.crowd[boxes], np.tile(bounds, len(ignored))
    )
    taken = np.full((len(choosers), len(wanted.bounds)), -1, np.int32)
    start = np.append(np.flatnonzero(np.diff(chooser, prepend=-1)), len(chooser))  # each detection's first pair
    ends = np.cumsum(np.bincount(turn)) if len(turn) else np.zeros(0, np.int64)
    first = 0
    for end in ends:
        for one in range(first, end, _AT_ONCE):
            here = slice(start[one], start[min(one + _AT_ONCE, end)])
            length = np.diff(start[one : min(one + _AT_ONCE, end) + 1])
            taken[one : one + len(length)] = wanted.take(box[here], iou[here], length)
        first = end
    found = np.empty_like(taken)
    found[chooser[start[:-1]]] = np.where(taken >= 0, boxes.astype(np.int32)[taken], np.int32(-1))
    return choosers, found.reshape(len(choosers), len(ignored), len(bounds)).transpose(1, 2, 0)


class _Wanted:
    """Boxes that may be taken, in every column: size range and threshold.

    Args:
        aside: [b, columns] boxes that do not count.
        crowd: [b] boxes that stay free.
        bounds: [columns] IoU thresholds.
    """

    def __init__(self, aside: NDArray[np.bool_], crowd: NDArray[np.bool_], bounds: NDArray[np.float64]) -> None:
        self.aside = aside
        self.crowd = crowd
        self.bounds = bounds
        self.free = np.ones_like(aside)

    def take(self, box: NDArray[np.int64], iou: NDArray[np.float64], length: NDArray[np.int64]) -> NDArray[np.int32]:
        """Let detections with `length` candidates each choose; returns [detections, columns] boxes, -1 for none."""
        overlap = np.repeat(iou[:, None], len(self.bounds), axis=1)
        weight = np.where(self.aside.take(box, axis=0), overlap * _IGNORED_SCALE, overlap)
        weight[(overlap < self.bounds) | ~self.free.take(box, axis=0)] = 0.0
        start = np.cumsum(length) - length
        best = np.maximum.reduceat(weight, start, axis=0)
        # Of equal overlaps the later box is taken, as in pycocotools.
        number = np.arange(len(box), dtype=np.int32)[:, None]
        equal = weight == np.repeat(best, length, axis=0)
        chosen = box.take(np.maximum.reduceat(np.where(equal, number, np.int32(-1)), start, axis=0)).astype(np.int32)
        detection, column = np.nonzero(best > 0)
        taken = chosen[detection, column]
        self.free[taken, column] = self.crowd[taken]
        return np.where(best > 0, chosen, np.int32(-1))
