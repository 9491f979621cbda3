"""The records of `metrics.json`, as `schema` checks them: ranges, head figures, classes, sizes, errors, Ultralytics."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Gain = Annotated[float, Field(ge=-1, le=1)]
Positive = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


def defined(description: str, **more: Any) -> Any:
    """Return the field of a key with its definition in short."""
    return Field(description=description, **more)


class Record(BaseModel):
    """Base of the records: no unknown keys, no conversion, no NaN or infinity, which JSON does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# ---- a figure and its range -----------------------------------------------------------------------------------------


class Interval(Record):
    """A figure from 0 to 1 and the range in which its true value lies."""

    value: Share = defined("the figure")
    low: Share = defined("lower end of the range")
    high: Share = defined("upper end of the range")
    level: Share = defined("probability that the range holds the true value")


class Difference(Record):
    """A difference of two figures, from -1 to 1, and its range."""

    value: Gain = defined("the difference")
    low: Gain = defined("lower end of the range")
    high: Gain = defined("upper end of the range")
    level: Share = defined("probability that the range holds the true value")


class Measured(Record):
    """A figure in a unit of its own and its range."""

    value: float | None = defined("the figure; null where it cannot be measured")
    low: float | None = defined("lower end of the range; null where the pictures do not tell how the figure varies")
    high: float | None = defined("upper end of the range; null likewise")
    level: Share = defined("probability that the range holds the true value")


class Rate(Record):
    """A share of counted cases and its range."""

    value: Share | None = defined("events / trials; null without cases")
    low: Share | None = defined("lower end of the range; null without cases")
    high: Share | None = defined("upper end of the range; null without cases")
    level: Share = defined("probability that the range holds the true value")
    events: Count = defined("cases with the property")
    trials: Count = defined("cases")
    effective_trials: Positive = defined("independent cases that they are worth")


# ---- head figures, classes and sizes --------------------------------------------------------------------------------


class Resampling(Record):
    """What the intervals rest on."""

    unit: Literal["picture", "group"] = defined("what is drawn: single pictures, or whole groups of them")
    units: Count = defined("how many of these there are")
    resamples: Count = defined("how often half of them is drawn")
    seed: int = defined("start of the random numbers; the same seed gives the same intervals")


class HeadIntervals(Record):
    """Intervals of the head figures; null where nothing can be said."""

    map50_95: Interval | None = defined("of `map50_95`")
    map50: Interval | None = defined("of `map50`")
    map75: Interval | None = defined("of `map75`")


class BestF1(Record):
    """The threshold with the best F1 score on these very pictures, at IoU 0.50."""

    score: float = defined("threshold")
    f1: Share = defined("harmonic mean of precision and recall")
    precision: Share = defined("share of the detections that are right")
    recall: Share = defined("share of the boxes that are found")


class ClassIntervals(Record):
    """Intervals of a class."""

    ap50_95: Interval | None = defined("of `ap50_95`")
    ap50: Interval | None = defined("of `ap50`")


class ClassRow(Record):
    """The figures of one class."""

    name: str = defined("class name")
    images: Count = defined("pictures with a box of the class that counts")
    boxes: Count = defined("boxes of the class that count")
    ap50_95: Share | None = defined("average precision, mean over IoU 0.50 to 0.95; null without boxes")
    ap50: Share | None = defined("average precision at IoU 0.50")
    ap75: Share | None = defined("average precision at IoU 0.75")
    ap_by_iou: list[Share | None] = defined(
        "average precision at IoU 0.50, 0.55, ... 0.95", min_length=10, max_length=10
    )
    recall50: Share | None = defined("share of the boxes found at IoU 0.50 by all detections")
    best_f1: BestF1 | None = defined("best threshold by F1 on these pictures; null without boxes or detections")
    intervals: ClassIntervals = defined("intervals of the two; null where one picture or group has all boxes")
    note: str = defined("said where the class has few boxes, else empty")


class SizeRow(Record):
    """The figures of the boxes of one size, relative to their picture."""

    name: Literal["below_5_percent", "5_to_15_percent", "above_15_percent"] = defined("root of box area / picture area")
    boxes: Count = defined("boxes of this size that count")
    map50_95: Share | None = defined("mAP50-95 of this size; null without boxes")
    map50: Share | None = defined("mAP50 of this size")


class SliceIntervals(Record):
    """Intervals of a slice; null for a single picture or without boxes."""

    map50_95: Interval | None = defined("of `map50_95`")
    map50: Interval | None = defined("of `map50`")


class SliceRow(Record):
    """The figures of one group of pictures."""

    name: str = defined("the label that its pictures share")
    images: Count = defined("number of pictures")
    boxes: Count = defined("boxes that count")
    map50_95: Share | None = defined("mAP50-95 of these pictures alone; null without boxes")
    map50: Share | None = defined("mAP50 of these pictures alone")
    intervals: SliceIntervals = defined("their intervals")


class Slices(Record):
    """The pictures divided by one column."""

    column: str = defined("what they are divided by")
    rows: list[SliceRow] = defined("the largest slices, 20 at most")
    left_out: Count = defined("smaller slices, not measured")


# ---- errors and Ultralytics -----------------------------------------------------------------------------------------


class ErrorRow(Record):
    """One type of error and what it costs."""

    type: Literal[
        "class", "place", "both", "duplicate", "background", "missed", "false_positives", "false_negatives"
    ] = defined("TIDE's type")
    count: Count = defined("number of such errors, at all scores")
    confident: Count = defined("of these, detections with a score of 0.25 or more, or missed boxes")
    cost: Measured = defined("mAP50 that mending these alone would gain; null without boxes")
    remedy: str = defined("what to try; empty where there is no error")


class Confusion(Record):
    """How often one class was taken for another."""

    truth_class: str = defined("the true class")
    detected: str = defined("the class that was detected")
    count: Count = defined("class errors of this kind, at all scores")
    confident: Count = defined("of these, with a score of 0.25 or more")
    owning: Count = defined("of these, at boxes that nothing else found")
    score: float = defined("highest score among them")


class Reconciliation(Record):
    """One figure by COCO's rules and by Ultralytics'."""

    name: Literal["map50_95", "map50"] = defined("the figure")
    coco: Share | None = defined("by COCO's rules; null where no box counts")
    ultralytics: Share = defined("what Ultralytics' validation would report for the same detections")
    causes: dict[Literal["interpolation", "detection_limit", "ignored_boxes", "matching"], Gain] = defined(
        "what each of its rules adds; empty where there is no COCO figure"
    )
    lowest: Share = defined("least that it can report, as it leaves the order of equal scores open")
    highest: Share = defined("most that it can report")
    max_det: Count = defined("detections per picture that it looks at")
    words: str = defined("the same in one line")


class Reconciliations(Record):
    """Why Ultralytics reports other figures."""

    map50_95: Reconciliation = defined("mAP50-95")
    map50: Reconciliation = defined("mAP50")
