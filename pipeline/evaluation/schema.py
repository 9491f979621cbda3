"""The names, kinds and bounds of all figures in `metrics.json`; `docs/metrics.md` defines each, with its source.

`python -m pipeline.evaluation.schema > docs/metrics.schema.json` writes them down as JSON Schema.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from ..errors import RunError
from .schema_figures import (
    ClassRow,
    Confusion,
    Count,
    Difference,
    ErrorRow,
    HeadIntervals,
    Interval,
    Measured,
    Positive,
    Reconciliations,
    Record,
    Resampling,
    Share,
    SizeRow,
    Slices,
    defined,
)
from .schema_views import Calibration, Counting, OperatingPoint

_SHOWN = 3  # misfits that a message names


class Optimism(Record):
    """By how much the split that chose the weights flatters them."""

    map50_95: Share = defined("estimated excess of Ultralytics' mAP50-95")
    epochs: Count = defined("epochs that could have been chosen")


class Uses(Record):
    """How often these pictures have judged weights, over all runs of the folder."""

    times: Count = defined("evaluations in all")
    different_weights: Count = defined("different weights that were judged")
    times_of_run: Count = defined("evaluations of this run")


class Times(Record):
    """Milliseconds per picture."""

    median: Positive = defined("median")
    p95: Positive = defined("95th percentile")


class OneByOne(Record):
    """Milliseconds per picture with one picture at a time."""

    stages: dict[Literal["read", "letterbox", "network", "nms", "to_picture", "total"], Times] = defined(
        "each stage, and their sum picture by picture"
    )
    pictures: Count = defined("how many were timed")
    device: str = defined("where the network ran")
    head: Literal["nms", "end2end"] = defined("the head that was used")


class Condition(Record):
    """The figures under one corruption at one strength."""

    corruption: str = defined("name of the corruption")
    strength: int = defined("1, barely visible, to 5", ge=1, le=5)
    parameter: float = defined("parameter of the corruption at this strength")
    map50_95: Share = defined("mAP50-95 on the corrupted pictures")
    map50: Share = defined("mAP50 on the corrupted pictures")
    drop50_95: Difference | None = defined("clean minus corrupted mAP50-95; null without a range")
    drop50: Difference | None = defined("clean minus corrupted mAP50; null without a range")


class Robustness(Record):
    """What worse pictures cost."""

    clean: Interval | None = defined("mAP50-95 on the pictures as they are")
    mpc: Interval | None = defined("mean mAP50-95 over all corruptions and strengths")
    rpc: Measured | None = defined("mpc / clean; null where clean is 0")
    drops: dict[str, Difference | None] = defined("by corruption: loss of mAP50-95, mean over the strengths")
    conditions: list[Condition] = defined("every corruption at every strength")


class Settings(Record):
    """How the detections were made."""

    imgsz: Count = defined("side of the network's input in pixels")
    conf: Share = defined("detections below this score are dropped")
    iou: Share = defined("overlap above which non-maximum suppression drops a detection")
    max_det: Count = defined("detections per picture")
    head: Literal["auto", "nms", "end2end"] = defined("the head that was asked for")
    half: bool = defined("half precision")
    tile: Count | None = defined("side of the tiles in pixels; null: whole pictures")
    overlap: Share | None = defined("share of a tile that its neighbours see as well; only with tiles", default=None)


class FindingRecord(Record):
    """What a person should know."""

    id: str = defined("dotted and stable")
    severity: Literal["error", "warning", "info"] = defined("how bad it is")
    message: str = defined("one plain sentence")
    evidence: dict[str, Any] = defined("the numbers behind it")
    advice: str = defined("what to do; empty where there is nothing to do")


# ---- the whole record -----------------------------------------------------------------------------------------------


class _Analysed(Record):
    """What is read off detections and boxes alone."""

    schema_: Literal["tuneup.metrics/1"] = defined("changes when a key changes its name or meaning", alias="schema")
    definition: Literal["COCO"] = defined("whose rules average precision and recall follow")
    split: str = defined("the pictures: train, val or test, or the name of the ground truth file")
    chose_checkpoint: bool | None = defined("whether this split chose the weights; null where that is not known")
    trained_on: bool | None = defined("whether the weights were trained on these pictures; null where not known")
    optimism: Optimism | None = defined("by how much the choice flatters; null where nothing was chosen or can be told")
    limit: Count = defined("detections per picture and class that were looked at")
    images: Count = defined("number of pictures")
    boxes: Count = defined("boxes that count, in all classes")
    ignored_boxes: Count = defined("crowds and difficult boxes, which do not count")
    detections: Count = defined("detections that were given, at all scores")
    resampling: Resampling = defined("what the intervals rest on")
    map50_95: Share | None = defined("mean average precision, IoU 0.50 to 0.95; null where no box counts, as all below")
    map50: Share | None = defined("mean average precision at IoU 0.50")
    map75: Share | None = defined("mean average precision at IoU 0.75")
    map_small: Share | None = defined("mAP50-95 of boxes with an area of at most 32 x 32 pixels")
    map_medium: Share | None = defined("mAP50-95 of boxes with an area of 32 x 32 to 96 x 96 pixels")
    map_large: Share | None = defined("mAP50-95 of boxes with an area of at least 96 x 96 pixels")
    ar1: Share | None = defined("average recall with 1 detection per picture and class")
    ar10: Share | None = defined("average recall with 10 detections per picture and class")
    ar: Share | None = defined("average recall at the limit")
    ar_small: Share | None = defined("average recall at the limit, of boxes as in `map_small`")
    ar_medium: Share | None = defined("average recall at the limit, of boxes as in `map_medium`")
    ar_large: Share | None = defined("average recall at the limit, of boxes as in `map_large`")
    intervals: HeadIntervals = defined("intervals of the head figures")
    per_class: list[ClassRow] = defined("each class, in the order of its number")
    relative_size: list[SizeRow] = defined("boxes by their size in the picture")
    errors: list[ErrorRow] = defined("each type of error")
    confusions: list[Confusion] = defined("pairs of classes, the most frequent first")
    ultralytics: Reconciliations = defined("why Ultralytics reports other figures")


class RunMetrics(_Analysed):
    """`eval/<split>/metrics.json` of a run; `tuneup eval --json` adds `run`."""

    run: str | None = defined("the run folder; not in the file", default=None)
    operating_point: OperatingPoint | None = defined("thresholds; null where none could be chosen")
    operating_point_note: str = defined("why there are none, or that they were chosen on these pictures; else empty")
    counting: Counting | None = defined("count errors at the thresholds; null without thresholds")
    calibration: Calibration | None = defined("whether scores are probabilities; null without thresholds")
    slices: list[Slices] = defined("the figures of groups of pictures; empty where there are none")
    robustness: Robustness | None = defined("what worse pictures cost; null unless asked for", default=None)
    uses: Uses = defined("how often these pictures have judged weights")
    checkpoint: str = defined("file of the weights")
    weights: str = defined("half of the SHA-256 of that file")
    fingerprint: str = defined("digest of the split's pictures and labels")
    date: str = defined("time of the evaluation, UTC, ISO 8601")
    seconds: Positive = defined("wall time of the evaluation, without the report")
    ms_per_image: Positive = defined("milliseconds of network and suppression per picture, mean")
    head: Literal["nms", "end2end"] = defined("the head that was used")
    latency: dict[Literal["read", "letterbox", "network", "nms", "to_picture"], Times] | None = defined(
        "milliseconds per picture of each stage of this pass", default=None
    )
    latency_one_by_one: OneByOne | None = defined("pictures timed one by one; null unless asked for", default=None)
    settings: Settings = defined("how the detections were made")
    findings: list[FindingRecord] = defined("what a person should know")


class FileMetrics(_Analysed):
    """`tuneup eval --ground-truth GT --detections DT --json`: no run, so nothing that only a run knows."""

    ground_truth: str = defined("COCO file with the boxes")
    detections_file: str = defined("COCO file with the detections")
    findings: list[FindingRecord] = defined("what a person should know", default=[])


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles, which only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def metrics_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `metrics.json` and of what `tuneup eval --json` prints."""
    schema = TypeAdapter(RunMetrics | FileMetrics).json_schema(schema_generator=_Untitled)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


def check_metrics(record: Any) -> None:
    """Make sure that a record is one of `metrics.json`, or what `tuneup eval --json` prints.

    Raises:
        RunError: it is not; names the first keys that do not fit.
    """
    kind = FileMetrics if isinstance(record, Mapping) and "ground_truth" in record else RunMetrics
    try:
        kind.model_validate(record)
    except ValidationError as error:
        misfits = error.errors(include_url=False)
        words = "; ".join(map(_words, misfits[:_SHOWN]))
        more = f"; and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
        raise RunError(f"metrics.json: {words}{more}; evaluate again") from error


def _words(misfit: Mapping[str, Any]) -> str:
    """Say where something does not fit, and what is there."""
    path = ".".join(map(str, misfit["loc"])) or "the record"
    unknown = misfit["type"] in ("extra_forbidden", "string_pattern_mismatch")
    found = "" if misfit["type"] == "missing" or unknown else f" ({repr(misfit['input'])[:60]} was found)"
    return f"{path}: {'there is no such key' if unknown else misfit['msg']}{found}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(metrics_schema(), indent=1) + "\n")
