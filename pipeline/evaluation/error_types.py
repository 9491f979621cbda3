"""Why average precision is lost: every wrong detection and every missed box by type, and what each type costs.

Types and costs are TIDE's (Bolya, Foley, Hays and Hoffman, ECCV 2020, arXiv 2008.08115) at its thresholds of IoU: 0.5
for a find, 0.1 for background. The rules are those of its program tidecv 1.0.1, which are finer than the paper's:

- A wrong detection is of the first type that fits: place (the nearest box of its class at 0.1 to 0.5), class (a box of
  another class at 0.5 or more), duplicate (a box of its class at 0.5 or more, found by a surer one), background (no box
  above 0.1), both (the rest).
- A box that no detection found belongs to the surest place or class error at it; with none it is missed.
- Mending a type: a place or class error that a box belongs to becomes a find (a class error in the box's class), all
  others of that type go away; missed boxes are no longer asked for. The cost is AP50 after that minus AP50. A class
  that is left without boxes scores 0 if it has detections, and does not count otherwise.

Ours differs from tidecv in what COCO says otherwise: the limit of detections is per picture and class (tidecv: the 100
surest of the picture), a detection in an ignored box or crowd is no error (tidecv gives it a type although it does not
count, and lets it own a box), a class without boxes does not count (tidecv: 0 if something is detected), the recall
levels are COCO's, and of equal scores the earlier picture comes first. Where a set has none of these, the costs agree
(`benchmarks/error_types.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..run_evaluations import SHOWN_FROM
from .candidates import find_candidates
from .matching import MatchTable
from .outcomes import Outcomes

FOREGROUND, BACKGROUND = 0.5, 0.1  # TIDE's thresholds
CONFIDENT = SHOWN_FROM  # an error from here on is one that a person sees
TYPES = ("class", "place", "both", "duplicate", "background", "missed")
TIDE_NAMES = dict(zip(TYPES, ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), strict=True))
# TIDE's two special errors: what AP50 lacks for all wrong detections, and for all boxes that were not found.
SPECIAL = ("false_positives", "false_negatives")
_CLASS, _PLACE, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = range(6)

ERRORS_SCHEMA: dict[str, Any] = {
    "type": pl.String,  # one of TYPES
    "image_id": pl.UInt32,
    "detection": pl.UInt32,  # row of the detections as given; null for a missed box, as are the next six
    "class_id": pl.UInt16,  # what was detected
    "score": pl.Float64,
    "x1": pl.Float64,  # the detection, corners in pixels of the original picture
    "y1": pl.Float64,
    "x2": pl.Float64,
    "y2": pl.Float64,
    "truth": pl.UInt32,  # row of the split's boxes: the box concerned; null where there is none, as are the next six
    "truth_class": pl.UInt16,
    "truth_x1": pl.Float64,
    "truth_y1": pl.Float64,
    "truth_x2": pl.Float64,
    "truth_y2": pl.Float64,
    "iou": pl.Float64,  # of detection and box; null for a missed one
    "owns": pl.Boolean,  # the box concerned was found by nothing else, and counts as this error's
}


@dataclass(frozen=True)
class ErrorTable:
    """The errors of a match table at IoU 0.5: E wrong detections, and the boxes that nothing found.

    Args:
        table: the match table.
        outcomes: its outcomes at IoU 0.5.
        place: [E] places in the table's order, ascending.
        type: [E] index into `TYPES`, never that of "missed".
        truth: [E] the box concerned, -1 for background.
        iou: [E] overlap with it, 0 for background.
        owns: [E] whether the box concerned was found by nothing, and this is the surest place or class error at it.
        missed: boxes that no detection found and no error owns, ascending.
        found: boxes that were found, ascending.
    """

    table: MatchTable
    outcomes: Outcomes
    place: NDArray[np.int64]
    type: NDArray[np.int8]
    truth: NDArray[np.int32]
    iou: NDArray[np.float64]
    owns: NDArray[np.bool_]
    missed: NDArray[np.int64]
    found: NDArray[np.int64]

    def count(self, kind: str) -> int:
        """Return how many errors there are of one of `TYPES` or `SPECIAL`."""
        if kind == "false_positives":
            return len(self.place)
        if kind == "false_negatives":
            return len(self.missed) + int(self.owns.sum())
        return len(self.missed) if kind == "missed" else int((self.type == TYPES.index(kind)).sum())

    def confident(self, kind: str) -> int:
        """Return how many of these a person would be shown: detections from `CONFIDENT` on, and all missed boxes."""
        if kind in ("missed", "false_negatives"):
            return self.count(kind)
        sure = self.table.score[self.place] >= CONFIDENT
        return int((sure & (self.type == TYPES.index(kind))).sum() if kind in TYPES else sure.sum())

    def to_frame(self) -> pl.DataFrame:
        """Return all errors with the columns of `ERRORS_SCHEMA`: detections, the surest first, then missed boxes."""
        truth, detections = self.table.truth, self.table.detections
        first = np.lexsort((self.table.order[self.place], -self.table.score[self.place]))
        row, box = self.table.order[self.place[first]], pl.Series(self.truth[first], dtype=pl.Int64)
        wrong = pl.DataFrame(
            {
                "type": np.array(TYPES)[self.type[first]],
                "image_id": truth.image_ids[detections.image[row]],
                "detection": row,
                "class_id": detections.class_id[row],
                "score": detections.score[row],
                **dict(zip(("x1", "y1", "x2", "y2"), detections.xyxy[row].T, strict=True)),
                "truth": box,
                "iou": self.iou[first],
                "owns": self.owns[first],
            }
        ).with_columns(pl.when(box >= 0).then(pl.col("truth", "iou")))
        missed = pl.DataFrame({"image_id": truth.image_ids[truth.image[self.missed]], "truth": self.missed})
        missed = missed.with_columns(type=pl.lit("missed"), owns=pl.lit(False))
        labels = pl.DataFrame({"truth": np.arange(len(truth.xyxy)), "truth_class": truth.class_id})
        corners = ("truth_x1", "truth_y1", "truth_x2", "truth_y2")
        labels = labels.with_columns(
            pl.Series(name, column) for name, column in zip(corners, truth.xyxy.T, strict=True)
        )
        both = pl.concat([wrong, missed], how="diagonal").join(labels, on="truth", how="left", maintain_order="left")
        return both.select(pl.col(name).cast(kind) for name, kind in ERRORS_SCHEMA.items())


def classify(table: MatchTable) -> ErrorTable:
    """Return the type of every wrong detection and the missed boxes.

    Raises:
        ValueError: the table was not matched at IoU 0.5.
    """
    at = np.flatnonzero(table.thresholds == FOREGROUND)
    if not len(at):
        raise ValueError(f"error types need a match at IoU {FOREGROUND}, the table has {table.thresholds}")
    outcomes, truth = table.outcomes(int(at[0])), table.truth
    found = np.zeros(len(truth.class_id), np.bool_)
    found[table.matched(int(at[0]))[outcomes.hit]] = True
    wrong = np.flatnonzero(~outcomes.hit & ~outcomes.ignored)
    row, box, iou = _near(table, wrong)
    alike = outcomes.class_id[wrong[row]] == truth.class_id[box]
    same_box, same = _nearest(row[alike], box[alike], iou[alike], len(wrong))
    other_box, other = _nearest(row[~alike], box[~alike], iou[~alike], len(wrong))
    any_box, nearest = np.where(same >= other, same_box, other_box), np.maximum(same, other)
    kind = np.full(len(wrong), _BOTH, np.int8)  # from the last rule to the first, which overrules the others
    kind[nearest <= BACKGROUND] = _BACKGROUND
    kind[same >= FOREGROUND] = _DUPLICATE
    kind[other >= FOREGROUND] = _CLASS
    kind[(same >= BACKGROUND) & (same <= FOREGROUND)] = _PLACE
    concerned = np.choose(kind, [other_box, same_box, any_box, same_box, np.int32(-1)])
    overlap = np.choose(kind, [other, same, nearest, same, 0.0])
    able = kind <= _PLACE
    able[able] = ~found[concerned[able]]
    owns = _owners(concerned, able, table, wrong)
    counted = ~table.ignored_truth[0] & ~found
    counted[concerned[owns]] = False
    missed = np.flatnonzero(counted)
    return ErrorTable(table, outcomes, wrong, kind, concerned, overlap, owns, missed, np.flatnonzero(found))


def _near(table: MatchTable, wrong: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Return the pairs (index into `wrong`, box, IoU) of 0.1 and more, of all classes, with boxes that count."""
    truth, detections = table.truth, table.detections
    one_class = replace(truth, class_id=np.zeros_like(truth.class_id))
    all_alike = replace(detections, class_id=np.zeros_like(detections.class_id))
    pairs = find_candidates(one_class, all_alike, table.order[wrong], BACKGROUND)
    keep = ~table.ignored_truth[0][pairs.box]
    return pairs.place[pairs.owner[keep]], pairs.box[keep], pairs.iou[keep]


def _nearest(
    row: NDArray[np.int64], box: NDArray[np.int64], iou: NDArray[np.float64], rows: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the box with the largest overlap of every row, the earlier of equal ones; -1 and 0 for none."""
    order = np.lexsort((box, -iou, row))
    first = order[np.flatnonzero(np.diff(row[order], prepend=-1))]
    boxes, overlaps = np.full(rows, -1, np.int32), np.zeros(rows)
    boxes[row[first]], overlaps[row[first]] = box[first], iou[first]
    return boxes, overlaps


def _owners(
    box: NDArray[np.int32], able: NDArray[np.bool_], table: MatchTable, wrong: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which errors own their box: of those that could be its find, the surest, the earlier of equal ones."""
    owns = np.zeros(len(wrong), np.bool_)
    could = np.flatnonzero(able)
    order = could[np.lexsort((table.order[wrong[could]], -table.score[wrong[could]], box[could]))]
    owns[order[np.flatnonzero(np.diff(box[order], prepend=-1))]] = True
    return owns


def confusions(errors: ErrorTable) -> pl.DataFrame:
    """Return how often one class was taken for another, the most frequent first.

    Columns: truth_class, class_id (what was detected), count (all class errors), confident (with a score of at least
    `CONFIDENT`), owning (the box was found by nothing else), score (the highest).
    """
    found = errors.to_frame().filter(pl.col("type") == "class").group_by("truth_class", "class_id")
    counts = found.agg(
        count=pl.len(),
        confident=(pl.col("score") >= CONFIDENT).sum(),
        owning=pl.col("owns").sum(),
        score=pl.col("score").max(),
    )
    return counts.sort("confident", "count", "truth_class", "class_id", descending=[True, True, False, False])
