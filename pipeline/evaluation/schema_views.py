"""The records of `metrics.json`, as `schema` checks them: thresholds, counts and calibration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .schema_figures import Count, Difference, Interval, Measured, Positive, Rate, Record, Share, defined

Cell = Annotated[list[Count], Field(min_length=3, max_length=3)]


class BoxFigures(Record):
    """What thresholds do to boxes, at IoU 0.50."""

    recall: Rate = defined("share of the boxes that are found")
    precision: Rate = defined("share of the kept detections that are right")
    f1: Share | None = defined("harmonic mean of the two; null without boxes")
    false_alarms_per_picture: Positive = defined("wrong detections that are kept, per picture")


class NamedBoxFigures(BoxFigures):
    """The same for one class."""

    name: str = defined("class name")


class Figures(Record):
    """What thresholds do on the pictures of a split."""

    pictures: Count = defined("number of pictures")
    escape: Rate = defined("share of the defective pictures (with a box) that pass without a detection")
    overkill: Rate = defined("share of the good pictures (without a box) that are rejected for a detection")
    rejected_by_luck: Count = defined("defective pictures that are rejected although none of their boxes is found")
    boxes: BoxFigures = defined("all classes together")
    per_class: list[NamedBoxFigures] = defined("each class")
    notes: list[str] = defined("what cannot be said, and why")


class Rule(Record):
    """How thresholds were chosen."""

    kind: Literal["f1", "cost", "max_escape"] = defined("best F1 score, least cost, or a largest escape rate")
    value: float | None = defined("overkills that an escape costs, or the largest escape rate; null for f1")
    text: str = defined("the rule in words")


class Check(Record):
    """What the thresholds do on pictures that did not choose them."""

    split: str = defined("these pictures")
    figures: Figures = defined("what the thresholds do there")
    agrees: bool = defined("whether no rate differs beyond noise from where they were chosen")
    sentences: list[str] = defined("the same in words")


class OperatingPoint(Record):
    """The thresholds at which the detector is to be used."""

    split: str = defined("where they were chosen")
    rule: Rule = defined("how they were chosen")
    overall: float = defined("one threshold for all classes")
    thresholds: dict[str, float] = defined("by class name: what predictions are cut at")
    own: list[str] = defined("classes with a threshold of their own")
    promised: bool | None = defined(
        "max_escape: whether the split was large enough to promise it; null for other rules"
    )
    figures: Figures = defined("what the thresholds do where they were chosen")
    notes: list[str] = defined("about the choice")
    check: Check | None = defined("what they do on this split; null where this split chose them")


class CountFigures(Record):
    """How wrong the number of detections is, against the number of boxes."""

    boxes: Count = defined("boxes in all pictures")
    predicted: Count = defined("detections that reach their threshold in all pictures")
    mae: Measured = defined("mean absolute error of a picture's count")
    rmse: Measured = defined("root mean squared error of a picture's count")
    bias: Measured = defined("mean error of a picture's count; above 0: too many")
    relative_total: Measured | None = defined("(predicted - boxes) / boxes; null without boxes")
    relative_mean: Measured | None = defined("mean of |error| / boxes over pictures with boxes; null without boxes")
    scatter: list[Cell] = defined("[boxes, detections, pictures that have just these]")


class NamedCountFigures(CountFigures):
    """The same for one class."""

    name: str = defined("class name")


class Counting(Record):
    """The grower's view: counts at the thresholds of the operating point."""

    pictures: Count = defined("number of pictures")
    total: CountFigures = defined("all classes together")
    per_class: list[NamedCountFigures] = defined("each class")
    notes: list[str] = defined("what to keep in mind")


class Bins(Record):
    """The points of the reliability diagram, one for each bin."""

    count: list[Count] = defined("detections in the bin")
    score: list[Share] = defined("their mean score")
    precision: list[Share] = defined("share of them that is right")
    precision_low: list[Share] = defined("lower end of its range")
    precision_high: list[Share] = defined("upper end of its range")


class Reliability(Record):
    """Whether a score is the probability of being right."""

    least: Share = defined("lowest score that was looked at")
    detections: Count = defined("detections looked at")
    d_ece: Interval | None = defined(
        "detection calibration error; null without detections, or if one picture or group has all"
    )
    brier: Interval | None = defined("mean squared distance of score and outcome (0 or 1); null likewise")
    by_chance: Share | None = defined("error that 95 % of calibrated detectors stay below; null without detections")
    edges: list[float] = defined("bounds of the bins")
    bins: Bins = defined("the points of the diagram")
    level: Share = defined("probability of the ranges in `bins`")


class CalibrationCheck(Record):
    """What the calibrator does on pictures that it was not fitted on."""

    split: str = defined("these pictures")
    before: Reliability = defined("with the scores as they are")
    after: Reliability = defined("with calibrated scores")
    d_ece_change: Difference | None = defined("after minus before; null without detections")
    brier_change: Difference | None = defined("after minus before; null without detections")
    sentence: str = defined("whether it helps")


class Calibration(Record):
    """Reliability of the scores, and the calibrator."""

    reliability: Reliability = defined("of the scores on this split, as they are")
    method: Literal["isotonic", "platt"] | None = defined(
        "of the calibrator; null where there was too little to fit one"
    )
    check: CalibrationCheck | None = defined("the calibrator on this split; null where it was fitted here")
