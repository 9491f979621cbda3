"""Parts of the pictures: measured as if there were no others, and called worse only beyond noise."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.evaluation.average_precision import mean, scores
from pipeline.evaluation.intervals import class_mean, image_weights, mean_interval, resampled_map
from pipeline.evaluation.matching import ALL, MatchTable, match
from pipeline.evaluation.slices import FEWEST_UNITS, MOST, part_of, slices
from pipeline.evaluation.tables import Detections, Truth


def _table(seed: int = 0, images: int = 60, hard: NDArray[np.bool_] | None = None, crowds: float = 0.1) -> MatchTable:
    """Return the matches of a detector that finds most boxes, and few in the pictures `hard` [I]."""
    rng = np.random.default_rng(seed)
    boxes = images * 6
    hard = np.zeros(images, np.bool_) if hard is None else hard
    corner = rng.uniform(0, 400, (boxes, 2))
    xyxy = np.hstack([corner, corner + rng.uniform(20, 80, (boxes, 2))])
    image = np.sort(rng.integers(0, images, boxes)).astype(np.int32)
    class_id = rng.integers(0, 3, boxes).astype(np.int32)
    crowd = rng.random(boxes) < crowds
    found = np.flatnonzero(rng.random(boxes) < np.where(hard[image], 0.3, 0.85))
    alarms = boxes // 2
    corner = rng.uniform(0, 400, (alarms, 2))
    detected = np.vstack([xyxy[found] + rng.normal(0, 2, (len(found), 4)), np.hstack([corner, corner + 40])])
    truth = Truth(
        names=("a", "b", "c"),
        image_ids=np.arange(images, dtype=np.int64),
        sizes=np.full((images, 2), 500.0),
        image=image,
        class_id=class_id,
        xyxy=xyxy,
        extent=_extent(xyxy),
        area=_extent(xyxy),
        crowd=crowd,
        ignored=crowd,
    )
    detections = Detections(
        image=np.append(image[found], rng.integers(0, images, alarms)).astype(np.int32),
        class_id=np.append(class_id[found], rng.integers(0, 3, alarms)).astype(np.int32),
        score=np.append(rng.beta(4, 2, len(found)), rng.beta(2, 4, alarms)),
        xyxy=detected,
        extent=_extent(detected),
    )
    return match(truth, detections)


def _extent(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]))


def _alone(table: MatchTable, chosen: NDArray[np.bool_]) -> MatchTable:
    """Return the matches of some pictures matched on their own, all other rows taken out."""

    def rows(record: Any, keep: NDArray[np.bool_]) -> dict[str, Any]:
        values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
        return {name: v[keep] if name not in {"names", "image_ids", "sizes"} else v for name, v in values.items()}

    truth = Truth(**rows(table.truth, chosen[table.truth.image]))
    return match(truth, Detections(**rows(table.detections, chosen[table.detections.image])), ranges=(ALL,))


def _labels(images: int, parts: int) -> list[str | None]:
    return [f"part {i * parts // images}" for i in range(images)]


@pytest.mark.parametrize("seed", range(3))
def test_a_part_is_what_its_pictures_give_on_their_own(seed: int) -> None:
    table = _table(seed)
    chosen = np.random.default_rng(seed).random(60) < 0.4
    part, alone = part_of(table, chosen), _alone(table, chosen)
    np.testing.assert_array_equal(scores(part).precision[0], scores(alone).precision[0])
    np.testing.assert_array_equal(scores(part).recall[0], scores(alone).recall[0])
    np.testing.assert_array_equal(scores(part).boxes[0], scores(alone).boxes[0])


def test_a_part_resampled_is_the_whole_with_the_other_pictures_at_weight_nought() -> None:
    table = _table()
    chosen = np.arange(60) % 3 == 0
    weights = image_weights(60, 20)
    np.testing.assert_allclose(
        resampled_map(part_of(table, chosen), weights), resampled_map(table, weights * chosen), atol=1e-12
    )


def test_figures_and_intervals_of_a_slice() -> None:
    table, weights = _table(), image_weights(60, 100)
    labels = [None if i < 5 else "left" if i < 25 else "right" for i in range(60)]
    found = slices(table, labels, weights, column="side")
    assert [(row.name, row.images) for row in found.rows] == [("right", 35), ("left", 20)]
    for row in found.rows:
        chosen = np.array([label == row.name for label in labels])
        alone = scores(_alone(table, chosen))
        assert row.boxes == alone.boxes[0].sum()
        draws = resampled_map(table, weights * chosen)
        for interval, value, draw in (
            (row.map50_95, mean(alone.precision[0]), class_mean(draws).mean(axis=1)),
            (row.map50, mean(alone.precision[0, 0]), class_mean(draws[:, 0])),
        ):
            assert interval is not None
            assert value is not None
            expected = mean_interval(value, draw, units=row.images)
            assert interval.to_dict() == pytest.approx(expected.to_dict(), abs=1e-12)
    record = found.to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["rows"][0]["intervals"]["map50"]["value"] == record["rows"][0]["map50"]


def test_the_largest_slices_are_measured_and_the_rest_counted() -> None:
    images = 90
    labels: list[str | None] = [f"{i % 30:02}" for i in range(images)]
    labels[0] = "05"
    found = slices(_table(images=images), labels, image_weights(images, 5))
    assert [row.name for row in found.rows] == ["05", *(f"{k:02}" for k in range(1, 21) if k != 5)]
    assert [row.images for row in found.rows] == [4, *[3] * (MOST - 1)]
    assert found.left_out == 30 - MOST


def test_a_slice_that_is_worse_is_found_and_named() -> None:
    images = 160
    labels = _labels(images, 4)
    hard = np.array([label == "part 2" for label in labels])
    found = slices(_table(images=images, hard=hard), labels, image_weights(images, 200), column="group")
    (finding,) = found.findings
    assert (finding.id, finding.severity) == ("evaluation.worse_slice", "warning")
    assert finding.message.startswith("group 'part 2' is worse than the other pictures: -")
    assert "on 40 pictures" in finding.message
    difference = finding.evidence["difference"]
    assert difference["low"] < difference["value"] < difference["high"] < 0
    table = _table(images=images, hard=hard)
    rest, part = (scores(_alone(table, chosen)).precision[0] for chosen in (~hard, hard))
    assert difference["value"] == pytest.approx(float(np.mean(part - rest)), abs=1e-12)
    draws = [resampled_map(table, image_weights(images, 200) * chosen) for chosen in (hard, ~hard)]
    resampled = np.mean(draws[0] - draws[1], axis=(1, 2))
    assert (difference["low"] + difference["high"]) / 2 == pytest.approx(2 * difference["value"] - resampled.mean())
    assert difference["high"] - difference["low"] == pytest.approx(2 * 1.959964 * resampled.std(ddof=1), abs=1e-6)
    assert json.dumps(finding.to_dict())


def test_slices_drawn_at_random_are_not_called_worse() -> None:
    """About 1 in 40 sets may hold one that is, by chance; more than 3 of 30 has a chance of 1 in 200."""
    called = [
        bool(slices(_table(seed, 120), _labels(120, 6), image_weights(120, 100, seed=seed)).findings)
        for seed in range(30)
    ]
    assert sum(called) <= 3


def test_a_slice_of_hard_classes_alone_is_no_worse() -> None:
    table = _table(images=80)
    first = np.arange(80) < 40
    wrong = table.detections.class_id == 2  # class 2 is never found in its place, and stands in the first half only
    xyxy = table.detections.xyxy + np.where(wrong, 300.0, 0.0)[:, None]
    truth = table.truth
    class_id = np.where(~first[truth.image] & (truth.class_id == 2), 1, truth.class_id).astype(np.int32)
    detected = table.detections.class_id
    moved = np.where(~first[table.detections.image] & wrong, 1, detected).astype(np.int32)
    still = np.where((moved == 2)[:, None], xyxy, table.detections.xyxy)
    changed = match(
        dataclasses.replace(truth, class_id=class_id),
        dataclasses.replace(table.detections, class_id=moved, xyxy=still, extent=_extent(still)),
    )
    found = slices(changed, ["first" if f else "second" for f in first], image_weights(80, 100))
    by_name = {row.name: row.map50_95 for row in found.rows}
    assert by_name["first"] is not None
    assert by_name["second"] is not None
    assert by_name["first"].value < by_name["second"].value - 0.15
    assert found.findings == ()


def test_small_slices_and_those_drawn_as_a_whole_are_shown_but_not_judged() -> None:
    images = 60
    hard = np.arange(images) < FEWEST_UNITS - 1
    table = _table(images=images, hard=hard)
    labels = ["few" if few else "many" for few in hard]
    assert slices(table, labels, image_weights(images, 100)).findings == ()
    groups = np.array([int(label == "many") for label in labels], np.int32)
    for row in slices(table, labels, image_weights(images, 100, groups=groups)).rows:
        assert row.map50_95 is not None
        assert np.isnan(row.map50_95.low)
        assert row.to_dict()["intervals"] == {"map50_95": None, "map50": None}


def test_one_slice_no_label_and_no_boxes() -> None:
    table, weights = _table(), image_weights(60, 20)
    (row,) = slices(table, ["all"] * 60, weights).rows
    assert row.map50_95 is not None
    assert row.map50_95.value == pytest.approx(mean(scores(table).precision[0]))
    assert slices(table, [None] * 60, weights).rows == ()
    bare = _table(crowds=1.0)
    found = slices(bare, _labels(60, 3), weights)
    assert [(row.boxes, row.map50_95, row.map50) for row in found.rows] == [(0, None, None)] * 3
    assert found.to_dict()["rows"][0]["map50_95"] is None
    assert found.findings == ()
