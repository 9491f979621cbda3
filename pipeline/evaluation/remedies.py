"""What to do about a type of error: one knob and a reason, chosen by a look at the errors themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .error_types import CONFIDENT, TYPES, ErrorTable
from .matching import RELATIVE_RANGES

_SMALL = RELATIVE_RANGES[0].high  # of the picture's side: COCO's "small" in a picture of 640


def remedy(errors: ErrorTable, kind: str) -> str:
    """Return what to try, after a look at the errors: what holds for more than half of them decides."""
    if kind == "missed":
        return _for_missed(errors)
    chosen = errors.type == TYPES.index(kind)
    sure = chosen & (errors.table.score[errors.place] >= CONFIDENT)
    rules = {
        "class": _for_class,
        "place": _for_place,
        "both": _for_both,
        "duplicate": _for_duplicate,
        "background": _for_background,
    }
    return rules[kind](errors, np.flatnonzero(sure if sure.any() else chosen))  # unsure ones are many, and say little


def _name(errors: ErrorTable, class_id: int) -> str:
    return f"'{errors.table.truth.names[class_id]}'"


def _commonest(errors: ErrorTable, classes: NDArray[np.int32]) -> tuple[str, int]:
    counts = np.bincount(classes)
    return _name(errors, int(counts.argmax())), int(counts.max())


def _of(count: int, chosen: NDArray[np.int64]) -> str:
    return f"{count:,} of {len(chosen):,}"


def _for_class(errors: ErrorTable, chosen: NDArray[np.int64]) -> str:
    pair = np.stack([errors.outcomes.class_id[errors.place[chosen]], errors.table.truth.class_id[errors.truth[chosen]]])
    pairs, counts = np.unique(np.sort(pair, axis=0), axis=1, return_counts=True)
    a, b = (_name(errors, int(k)) for k in pairs[:, counts.argmax()])
    most = _of(int(counts.max()), chosen)
    return f"{most} are between {a} and {b}: check the labels of these two, and add pictures of them"


def _for_place(errors: ErrorTable, chosen: NDArray[np.int64]) -> str:
    row, box = errors.table.order[errors.place[chosen]], errors.truth[chosen]
    own, label = errors.table.detections.extent[row], errors.table.truth.extent[box]
    # An area that differs by a factor of two caps the IoU at 0.5, wherever the detection lies.
    larger, smaller = int((own >= 2 * label).sum()), int((label >= 2 * own).sum())
    for count, what in (
        (larger, "at least twice as large as the label"),
        (smaller, "at most half as large as the label"),
    ):
        if 2 * count > len(box):
            return f"{_of(count, chosen)} are {what}: check that labels are drawn equally tight in training and here"
    small = _small(errors, box)
    if 2 * small > len(box):
        return f"{_of(small, chosen)} are at small objects: raise `train.imgsz`, or cut the pictures into tiles"
    return "check that labels are drawn equally tight everywhere; a larger `train.imgsz` places boxes more exactly"


def _for_both(errors: ErrorTable, chosen: NDArray[np.int64]) -> str:
    name, count = _commonest(errors, errors.table.truth.class_id[errors.truth[chosen]])
    return f"{_of(count, chosen)} are near objects of {name}: add pictures of it, and check its labels"


def _for_duplicate(errors: ErrorTable, chosen: NDArray[np.int64]) -> str:
    return (
        "lower `eval.iou`, so that non-maximum suppression drops more; a model without it (end-to-end, such as YOLO26) "
        "needs longer training or more pictures instead"
    )


def _for_background(errors: ErrorTable, chosen: NDArray[np.int64]) -> str:
    score = errors.table.score
    hits = score[errors.outcomes.hit & (score >= CONFIDENT)]
    sure = int((score[errors.place[chosen]] >= np.median(hits)).sum()) if len(hits) else 0
    if not sure:
        return "add pictures without objects that look like these"
    return (
        f"{sure:,} are as sure as the better half of the right detections: look first whether labels are missing; "
        f"then add pictures without objects that look like the rest"
    )


def _for_missed(errors: ErrorTable) -> str:
    truth, missed = errors.table.truth, errors.missed
    counted = np.flatnonzero(~errors.table.ignored_truth[0])
    small = _small(errors, missed)
    if 2 * small > len(missed) and small * len(counted) > _small(errors, counted) * len(missed):
        return (
            f"{small:,} of {len(missed):,} have a side below {_SMALL:.0%} of the picture's: raise `train.imgsz`, or "
            f"cut the pictures into tiles"
        )
    name, count = _commonest(errors, truth.class_id[missed])
    if len(truth.names) > 1 and 2 * count > len(missed):
        return f"{count:,} of {len(missed):,} are {name}: add pictures of it, and check that its labels can be seen"
    return "add pictures like these, and check that what is labelled can be seen"


def _small(errors: ErrorTable, box: NDArray[Any]) -> int:
    """Return how many boxes are small for their picture; none where sizes are not known."""
    truth = errors.table.truth
    side = np.sqrt(np.maximum(truth.extent[box], 0) / truth.sizes.prod(axis=1)[truth.image[box]])
    return int((side < _SMALL).sum())
