"""Ground truth and detections as arrays; what does not fit is refused."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import pytest
from helpers import box, dataset_of

from pipeline.errors import DataError
from pipeline.evaluation.tables import Detections, Truth
from pipeline.runs import DETECTIONS_SCHEMA


def found(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Return detections from (image_id, class_id, score, x1, y1, x2, y2)."""
    return pl.DataFrame(list(rows), DETECTIONS_SCHEMA, orient="row")


def test_ground_truth_keeps_the_order_of_its_boxes_and_finds_their_pictures() -> None:
    rows = [box(30, 1, 1, 2, 11, 22), box(7, 0, 0, 0, 4, 5, crowd=True), box(30, 0, 3, 3, 9, 9, difficult=True)]
    truth = Truth.of(dataset_of(rows, pictures={30: {"width": 50}, 7: {}, 12: {}}))
    assert truth.names == ("pit", "scratch")
    assert truth.image_ids.tolist() == [7, 12, 30]
    assert truth.sizes.tolist() == [[100, 80], [100, 80], [50, 80]]
    assert truth.image.tolist() == [2, 0, 2]
    assert truth.class_id.tolist() == [1, 0, 0]
    assert truth.xyxy.tolist() == [[1, 2, 11, 22], [0, 0, 4, 5], [3, 3, 9, 9]]
    assert truth.extent.tolist() == truth.area.tolist() == [200, 20, 36]
    assert truth.crowd.tolist() == [False, True, False]
    assert truth.ignored.tolist() == [False, True, True]  # difficult ones do not count either


def test_detections_keep_their_order() -> None:
    truth = Truth.of(dataset_of([], pictures={30: {}, 7: {}}))
    detections = Detections.of(truth, found((30, 1, 0.25, 1, 2, 3, 5), (7, 0, 0.75, 0, 0, 4, 4)))
    assert detections.image.tolist() == [1, 0]
    assert detections.class_id.tolist() == [1, 0]
    assert detections.score.tolist() == [0.25, 0.75]
    assert detections.xyxy.tolist() == [[1, 2, 3, 5], [0, 0, 4, 4]]
    assert detections.extent.tolist() == [6, 16]


def test_there_may_be_nothing() -> None:
    truth = Truth.of(dataset_of([], pictures=2))
    assert truth.xyxy.shape == (0, 4)
    assert Detections.of(truth, found()).xyxy.shape == (0, 4)
    nowhere = Truth.of(dataset_of([], pictures={}))
    assert nowhere.sizes.shape == (0, 2)
    assert len(Detections.of(nowhere, found()).score) == 0


@pytest.mark.parametrize("column", ["score", "x1", "y1", "x2", "y2"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_detection_that_is_no_number_is_refused(column: str, value: float) -> None:
    good = found((1, 0, 0.5, 1, 1, 9, 9), (1, 0, 0.4, 2, 2, 9, 9))
    spoilt = good.with_columns(pl.Series(column, [good[column][0], value]))
    with pytest.raises(DataError, match=r"1 detections have a score or corner that is no number, the first in row 1"):
        Detections.of(Truth.of(dataset_of([box(1, 0, 1, 1, 9, 9)])), spoilt)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_box_that_is_no_number_is_refused(value: float) -> None:
    dataset = dataset_of([box(1, 0, 1, 1, 9, 9), box(2, 0, 1, 1, 9, value)])
    with pytest.raises(DataError, match=r"1 boxes .* no number, the first in row 1"):
        Truth.of(dataset)


def test_detections_of_unknown_pictures_are_refused_counted_and_named() -> None:
    truth = Truth.of(dataset_of([], pictures={1: {}, 5: {}}))
    rows = [(image, 0, 0.5, 1, 1, 9, 9) for image in (1, 3, 9, 3, 5)]
    with pytest.raises(DataError, match=r"3 detections belong to no picture .* \(image_id 3, 9\)"):
        Detections.of(truth, found(*rows))


def test_detections_of_an_unknown_class_are_refused() -> None:
    truth = Truth.of(dataset_of([], names=("pit",)))
    with pytest.raises(DataError, match="a detection has class 1, but there are 1 classes"):
        Detections.of(truth, found((1, 1, 0.5, 1, 1, 9, 9)))


def test_a_detection_without_a_picture_or_class_is_refused() -> None:
    truth = Truth.of(dataset_of([]))
    for column in ("image_id", "class_id", "score", "x1"):
        frame = found((1, 1, 0.5, 1, 1, 9, 9)).with_columns(pl.lit(None).alias(column).cast(DETECTIONS_SCHEMA[column]))
        with pytest.raises(DataError, match="1 detections"):
            Detections.of(truth, frame)
