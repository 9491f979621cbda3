"""Error types: every rule on a picture of its own, and costs against two oracles.

The first oracle is a slow program of the paper's definitions in plain loops; the second is tidecv, where it is
installed.
"""

from __future__ import annotations

import math
import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import ROOT, box, dataset_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.dataset import Dataset
from pipeline.evaluation import error_types
from pipeline.evaluation.average_precision import RECALLS
from pipeline.evaluation.error_costs import error_costs
from pipeline.evaluation.error_types import (
    ERRORS_SCHEMA,
    SPECIAL,
    TIDE_NAMES,
    TYPES,
    ErrorTable,
    classify,
    confusions,
)
from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.matching import match
from pipeline.evaluation.tables import Detections, Truth
from pipeline.runs import DETECTIONS_SCHEMA

BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "error_types.py"))
LABEL = (10, 10, 30, 30)


def errors_of(dataset: Dataset, *rows: Sequence[Any]) -> ErrorTable:
    """Return the errors of detections (image_id, class_id, score, x1, y1, x2, y2)."""
    return errors_in(dataset, pl.DataFrame([tuple(row) for row in rows], DETECTIONS_SCHEMA, orient="row"))


def errors_in(dataset: Dataset, frame: pl.DataFrame, **options: Any) -> ErrorTable:
    truth = Truth.of(dataset)
    return classify(match(truth, Detections.of(truth, frame), **options))


def costs_of(errors: ErrorTable) -> dict[str, float]:
    weights = image_weights(len(errors.table.truth.image_ids), 2)
    return {cost.type: cost.cost.value for cost in error_costs(errors, weights)}


# ---- one rule, one picture ------------------------------------------------------------------------------------------

RIGHT = (1, 0, 0.9, 10, 10, 30, 30)


@pytest.mark.parametrize(
    ("detections", "expected"),
    [
        ([(1, 0, 0.5, 10, 10, 30, 18)], "place"),  # IoU 0.4
        ([(1, 0, 0.5, 10, 10, 30, 12)], "place"),  # exactly 0.1
        (
            [RIGHT, (1, 0, 0.5, 10, 10, 30, 20)],
            "place",
        ),  # exactly 0.5: the paper's range is closed, also if the box is taken
        ([(1, 1, 0.5, 10, 10, 30, 30)], "class"),
        ([(1, 1, 0.5, 10, 10, 30, 20)], "class"),  # exactly 0.5
        ([(1, 1, 0.5, 10, 10, 30, 18)], "both"),
        ([RIGHT, (1, 0, 0.5, 10, 10, 30, 30)], "duplicate"),
        ([(1, 0, 0.5, 60, 60, 80, 80)], "background"),
        ([(1, 0, 0.5, 10, 10, 30, 11)], "background"),  # 0.05
        ([(1, 1, 0.5, 10, 10, 30, 12)], "background"),  # exactly 0.1 of another class
        ([(2, 0, 0.5, 10, 10, 30, 30)], "background"),  # another picture
    ],
)
def test_the_type_of_a_wrong_detection(detections: list[tuple[float, ...]], expected: str) -> None:
    errors = errors_of(dataset_of([box(1, 0, *LABEL)]), *detections)
    assert [TYPES[kind] for kind in errors.type] == [expected]
    assert errors.count(expected) == 1
    assert errors.count("false_positives") == 1


def test_a_place_error_comes_before_a_class_error_and_this_before_a_duplicate() -> None:
    both_classes = dataset_of([box(1, 0, *LABEL), box(1, 1, 10, 10, 30, 18)])
    near_own_on_other = errors_of(both_classes, (1, 1, 0.9, 10, 10, 30, 18), (1, 1, 0.5, 10, 10, 30, 28))
    assert [TYPES[kind] for kind in near_own_on_other.type] == ["place"]  # IoU 0.44 with its own, 0.9 with the other
    same_place = dataset_of([box(1, 0, *LABEL), box(1, 1, *LABEL)])
    again = errors_of(same_place, RIGHT, (1, 0, 0.5, *LABEL))
    assert [TYPES[kind] for kind in again.type] == ["class"]


def test_a_box_belongs_to_the_surest_error_and_is_missed_without_one() -> None:
    dataset = dataset_of([box(1, 0, *LABEL), box(1, 0, 50, 10, 70, 30), box(1, 0, 10, 50, 30, 70)])
    errors = errors_of(
        dataset,
        (1, 0, 0.5, 10, 10, 30, 18),
        (1, 1, 0.6, *LABEL),  # surer: the box is this one's
        (1, 0, 0.4, 50, 10, 70, 18),
    )
    owners = {int(errors.table.order[place]): bool(owns) for place, owns in zip(errors.place, errors.owns, strict=True)}
    assert owners == {0: False, 1: True, 2: True}
    assert errors.missed.tolist() == [2]
    assert errors.count("missed") == 1
    assert errors.count("false_negatives") == 3


def test_what_a_crowd_or_a_difficult_box_holds_is_no_error() -> None:
    dataset = dataset_of(
        [box(1, 0, *LABEL), box(1, 0, 50, 10, 90, 50, crowd=True), box(1, 1, 10, 50, 30, 70, difficult=True)]
    )
    errors = errors_of(
        dataset, RIGHT, (1, 0, 0.8, 55, 15, 60, 20), (1, 0, 0.7, 61, 15, 66, 20), (1, 1, 0.6, 10, 50, 30, 70)
    )
    assert len(errors.place) == 0
    assert errors.missed.tolist() == []
    spare = errors_of(dataset, RIGHT, (1, 0, 0.6, 10, 50, 30, 70))
    assert [TYPES[kind] for kind in spare.type] == ["background"]  # a difficult box is no truth that explains an error


def test_detections_beyond_the_limit_are_not_there() -> None:
    dataset = dataset_of([box(1, 0, *LABEL)])
    frame = pl.DataFrame([RIGHT, (1, 0, 0.5, 60, 60, 80, 80)], DETECTIONS_SCHEMA, orient="row")
    assert len(errors_in(dataset, frame, limit=1).place) == 0


def test_other_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"IoU 0\.5"):
        errors_in(dataset_of([]), pl.DataFrame(schema=DETECTIONS_SCHEMA), thresholds=np.array([0.75]))


# ---- the table that is stored ---------------------------------------------------------------------------------------


def test_the_stored_table_has_both_boxes_and_nulls_where_there_is_none() -> None:
    dataset = dataset_of([box(1, 0, *LABEL), box(2, 1, 40, 40, 60, 60)])
    frame = errors_of(dataset, (1, 0, 0.3, 60, 60, 80, 80), (1, 1, 0.8, 10, 10, 30, 28)).to_frame()
    assert dict(frame.schema) == ERRORS_SCHEMA
    assert frame.select("type", "image_id", "detection", "score", "truth", "truth_class", "iou", "owns").rows() == [
        ("class", 1, 1, 0.8, 0, 0, pytest.approx(0.9), True),
        ("background", 1, 0, 0.3, None, None, None, False),
        ("missed", 2, None, None, 1, 1, None, False),
    ]
    corners = frame.select("x1", "y1", "x2", "y2", "truth_x1", "truth_y1", "truth_x2", "truth_y2").rows()
    assert corners == [
        (10, 10, 30, 28, 10, 10, 30, 30),
        (60, 60, 80, 80, None, None, None, None),
        (None, None, None, None, 40, 40, 60, 60),
    ]


@pytest.mark.parametrize("boxes", [[], [box(1, 0, *LABEL)]])
@pytest.mark.parametrize("rows", [[], [(1, 0, 0.5, 60, 60, 80, 80)]])
def test_nothing_on_either_side(boxes: list[dict[str, Any]], rows: list[tuple[float, ...]]) -> None:
    errors = errors_of(dataset_of(boxes), *rows)
    frame = errors.to_frame()
    assert dict(frame.schema) == ERRORS_SCHEMA
    assert frame["type"].to_list() == ["background"] * len(rows) + ["missed"] * len(boxes)
    costs = costs_of(errors)
    if boxes:
        assert costs["missed"] == (0.0 if rows else 1.0)  # what is left is a false alarm, or nothing at all
    else:
        assert all(math.isnan(value) for value in costs.values())
        records = [cost.to_dict() for cost in error_costs(errors, image_weights(2, 5))]
        assert {record["cost"]["low"] for record in records} == {None}


def test_confusions_are_counted_by_pair() -> None:
    boxes = [box(1, 0, x, 10, x + 10, 20) for x in (0, 20, 40)] + [box(1, 1, 60, 10, 70, 20)]
    found = [(1, 1, s, x, 10, x + 10, 20) for s, x in ((0.9, 0), (0.1, 20), (0.2, 20))]
    frame = confusions(errors_of(dataset_of(boxes), *found, (1, 0, 0.8, 60, 10, 70, 20)))
    assert frame.columns == ["truth_class", "class_id", "count", "confident", "owning", "score"]
    assert frame.rows() == [(0, 1, 3, 1, 2, 0.9), (1, 0, 1, 1, 1, 0.8)]


# ---- the first oracle -----------------------------------------------------------------------------------------------


@dataclass
class Found:
    image: int
    class_id: int
    score: float
    corners: tuple[float, ...]
    hit: bool = False
    kind: str = ""
    box: int = -1
    owns: bool = False


def slow_iou(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def slow_errors(dataset: Dataset, frame: pl.DataFrame) -> tuple[list[Found], list[tuple[int, int]], set[int], set[int]]:
    """Return detections with their types, (picture, class) of the boxes, and which were found and missed."""
    boxes = [(r["image_id"], r["class_id"], (r["x1"], r["y1"], r["x2"], r["y2"])) for r in dataset.boxes.to_dicts()]
    rows = [
        Found(r["image_id"], r["class_id"], r["score"], (r["x1"], r["y1"], r["x2"], r["y2"])) for r in frame.to_dicts()
    ]
    taken: set[int] = set()
    for found in sorted(rows, key=lambda f: -f.score):
        best = 0.5
        for number, (image, class_id, corners) in enumerate(boxes):
            if (image, class_id) == (found.image, found.class_id) and number not in taken:
                iou = slow_iou(found.corners, corners)
                if iou >= best:
                    best, found.box, found.hit = iou, number, True
        if found.hit:
            taken.add(found.box)
    usable: set[int] = set()
    for found in sorted(rows, key=lambda f: -f.score):
        if found.hit:
            continue
        found.kind, found.box = slow_type(found, boxes)
        if found.kind in ("place", "class") and found.box not in taken | usable:
            found.owns = True
            usable.add(found.box)
    missed = set(range(len(boxes))) - taken - usable
    return rows, [(image, class_id) for image, class_id, _ in boxes], taken, missed


def slow_type(found: Found, boxes: list[tuple[int, int, tuple[float, ...]]]) -> tuple[str, int]:
    inside = [(slow_iou(found.corners, c), -n, k) for n, (image, k, c) in enumerate(boxes) if image == found.image]
    same = max((entry for entry in inside if entry[2] == found.class_id), default=(0.0, 1, 0))
    other = max((entry for entry in inside if entry[2] != found.class_id), default=(0.0, 1, 0))
    if 0.1 <= same[0] <= 0.5:
        return "place", -same[1]
    if other[0] >= 0.5:
        return "class", -other[1]
    if same[0] >= 0.5:
        return "duplicate", -same[1]
    return "background" if max(same[0], other[0]) <= 0.1 else "both", -1


def slow_ap(points: list[tuple[float, bool]], boxes: int) -> float | None:
    """Return AP of (score, hit); None for a class that does not count after mending."""
    if boxes == 0:
        return 0.0 if points else None
    hits, curve = 0, []
    for number, (_, hit) in enumerate(sorted(points, key=lambda point: -point[0]), start=1):
        hits += hit
        curve.append((hits / boxes, hits / number))
    return float(np.mean([max((p for r, p in curve if r >= level), default=0.0) for level in RECALLS]))


def slow_costs(dataset: Dataset, frame: pl.DataFrame) -> dict[str, float]:
    rows, boxes, taken, missed = slow_errors(dataset, frame)
    asked = {class_id for _, class_id in boxes}

    def mean_ap(kind: str) -> float:
        points: dict[int, list[tuple[float, bool]]] = {k: [] for k in range(len(dataset.names))}
        for found in rows:
            if found.hit or (found.kind != kind and kind != "false_positives"):
                points[found.class_id].append((found.score, found.hit))
            elif kind in ("place", "class") and found.owns:
                points[boxes[found.box][1]].append((found.score, True))
        gone = {"missed": missed, "false_negatives": set(range(len(boxes))) - taken}.get(kind, set())
        counts = [sum(c == k and n not in gone for n, (_, c) in enumerate(boxes)) for k in range(len(dataset.names))]
        values = [slow_ap(points[k], counts[k]) for k in asked]
        counted = [value for value in values if value is not None]
        return float(np.mean(counted)) if counted else 1.0

    before = mean_ap("")
    gains = {kind: mean_ap(kind) - before for kind in (*TYPES, *SPECIAL)}
    return {kind: gain if kind in SPECIAL else max(gain, 0.0) for kind, gain in gains.items()}


def compare(dataset: Dataset, frame: pl.DataFrame) -> None:
    errors = errors_in(dataset, frame)
    rows, _, taken, missed = slow_errors(dataset, frame)
    order = errors.table.order
    ours = {
        int(order[place]): (TYPES[kind], bool(owns))
        for place, kind, owns in zip(errors.place, errors.type, errors.owns, strict=True)
    }
    assert ours == {number: (found.kind, found.owns) for number, found in enumerate(rows) if not found.hit}
    concerned = {
        int(order[p]): int(b) for p, b, k in zip(errors.place, errors.truth, errors.type, strict=True) if k in (0, 1, 3)
    }
    assert concerned == {n: f.box for n, f in enumerate(rows) if f.kind in ("class", "place", "duplicate")}
    assert set(errors.missed.tolist()) == missed
    assert set(errors.found.tolist()) == taken
    assert costs_of(errors) == pytest.approx(slow_costs(dataset, frame), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_types_and_costs_equal_the_slow_program_on_random_sets(seed: int) -> None:
    compare(*BENCHMARK["random_set"](seed, pictures=12, classes=1 + seed % 4))


CORNERS = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6))
PLACES = st.tuples(st.integers(1, 2), st.integers(0, 1), CORNERS)


@settings(max_examples=150, deadline=None)
@given(labels=st.lists(PLACES, min_size=1, max_size=5), found=st.lists(PLACES, max_size=8), order=st.randoms())
def test_types_and_costs_equal_the_slow_program_on_whole_pixels(labels: Any, found: Any, order: Any) -> None:
    scores = [(number + 1) / 10 for number in range(len(found))]
    order.shuffle(scores)
    dataset = dataset_of([box(image, k, x, y, x + w, y + h) for image, k, (x, y, w, h) in labels])
    rows = [(i, k, s, x, y, x + w, y + h) for (i, k, (x, y, w, h)), s in zip(found, scores, strict=True)]
    compare(dataset, pl.DataFrame(rows, DETECTIONS_SCHEMA, orient="row"))


# ---- the second oracle ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # tidecv's own
@pytest.mark.parametrize("seed", range(20))
def test_costs_agree_with_tidecv(seed: int) -> None:
    pytest.importorskip("tidecv")
    dataset, frame = BENCHMARK["random_set"](seed, pictures=25, classes=2 + seed % 5, detections=10 + 5 * (seed % 4))
    frame = BENCHMARK["surest_100"](frame)
    theirs = BENCHMARK["tide_costs"](dataset, frame, coco_levels=True)
    ours = costs_of(errors_in(dataset, frame))
    assert {TIDE_NAMES[kind]: 100 * ours[kind] for kind in TYPES} == pytest.approx(
        {name: theirs[name] for name in TIDE_NAMES.values()}, abs=1e-9
    )
    assert 100 * ours["false_positives"] == pytest.approx(theirs["FalsePos"], abs=1e-9)
    assert 100 * ours["false_negatives"] == pytest.approx(theirs["FalseNeg"], abs=1e-9)


# ---- intervals ------------------------------------------------------------------------------------------------------


def test_a_resample_costs_what_the_copied_set_costs() -> None:
    dataset, frame = BENCHMARK["random_set"](3, pictures=10, classes=3)
    errors = errors_in(dataset, frame)
    weights = image_weights(10, 4, seed=1)
    for drawn in weights:
        resampled = {c.type: c.cost for c in error_costs(errors, np.stack([drawn, drawn]))}
        picked = np.repeat(np.arange(10), drawn)
        copies = [
            table.join(pl.DataFrame({"image_id": [old + 1], "new": [new + 1]}).cast(pl.UInt32), on="image_id")
            .with_columns(image_id="new")
            .drop("new")
            for table in (dataset.images, dataset.boxes, frame)
            for new, old in enumerate(picked)
        ]
        images, boxes, found = (pl.concat(copies[i * 10 : i * 10 + 10]) for i in range(3))
        copied = costs_of(errors_in(Dataset(dataset.names, images, boxes, dataset.root), found))
        assert {kind: cost.low for kind, cost in resampled.items()} == pytest.approx(copied, abs=1e-12)
        assert {kind: cost.high for kind, cost in resampled.items()} == pytest.approx(copied, abs=1e-12)


def test_the_interval_holds_the_cost_and_is_the_same_for_the_same_seed() -> None:
    dataset, frame = BENCHMARK["random_set"](5)
    errors = errors_in(dataset, frame)
    first, again = (error_costs(errors, image_weights(40, 200, seed=2)) for _ in range(2))
    assert first == again
    assert all(cost.cost.low <= cost.cost.value <= cost.cost.high for cost in first)
    assert all(cost.cost.low >= 0 for cost in first)


def test_a_class_without_boxes_does_not_count() -> None:
    dataset, frame = BENCHMARK["random_set"](7, pictures=12, classes=2)
    more = Dataset((*dataset.names, "never"), dataset.images, dataset.boxes, dataset.root)
    alarms = frame.head(5).with_columns(class_id=pl.lit(2, pl.UInt16), score=pl.col("score") / 2)
    with_alarms = errors_in(more, pl.concat([frame, alarms]))
    assert costs_of(with_alarms) == pytest.approx(costs_of(errors_in(dataset, frame)))


# ---- remedies -------------------------------------------------------------------------------------------------------


def remedy(errors: ErrorTable, kind: str) -> str:
    return next(cost.remedy for cost in error_costs(errors, image_weights(2, 2)) if cost.type == kind)


def test_there_is_no_remedy_where_there_is_no_error() -> None:
    errors = errors_of(dataset_of([box(1, 0, *LABEL)]), RIGHT)
    assert {cost.remedy for cost in error_costs(errors, image_weights(2, 2))} == {""}
    assert {cost.count for cost in error_costs(errors, image_weights(2, 2))} == {0}


def test_the_remedy_for_confusions_names_the_pair() -> None:
    names = ("pit", "scratch", "stain")
    boxes = [box(1, k, x, 10, x + 10, 20) for k, x in ((0, 0), (1, 20), (2, 40))]
    found = [
        (1, 1, 0.9, 0, 10, 10, 20),
        (1, 0, 0.8, 20, 10, 30, 20),
        (1, 0, 0.7, 40, 10, 50, 20),
        (1, 1, 0.1, 40, 10, 50, 20),
    ]
    text = remedy(errors_of(dataset_of(boxes, names=names), *found), "class")
    assert text.startswith("2 of 3 are between 'pit' and 'scratch'")  # the fourth is too unsure to be shown


def test_the_remedy_for_places_looks_at_size_and_tightness() -> None:
    large = dataset_of([box(1, 0, *LABEL)])
    assert "at least twice as large" in remedy(errors_of(large, (1, 0, 0.9, 0, 0, 40, 40)), "place")
    assert "at most half as large" in remedy(errors_of(large, (1, 0, 0.9, 10, 10, 20, 24)), "place")
    assert "equally tight everywhere" in remedy(errors_of(large, (1, 0, 0.9, 20, 10, 40, 30)), "place")
    small = dataset_of([box(1, 0, 10, 10, 13, 13)])
    assert "`train.imgsz`" in remedy(errors_of(small, (1, 0, 0.9, 12, 10, 15, 13)), "place")


def test_the_remedy_for_missed_boxes_looks_at_size_and_class() -> None:
    found = [(1, 0, 0.9, *LABEL), (1, 0, 0.9, 50, 10, 70, 30)]
    large = [box(1, 0, *LABEL), box(1, 0, 50, 10, 70, 30)]
    small = [box(2, 0, x, 10, x + 3, 13) for x in (10, 20)]
    assert "`train.imgsz`" in remedy(errors_of(dataset_of([*large, *small]), *found), "missed")
    all_small = [box(2, k, x, 10, x + 3, 13) for x, k in ((10, 0), (20, 1))]
    assert "add pictures like these" in remedy(errors_of(dataset_of(all_small)), "missed")  # not smaller than the rest
    others = [box(2, 1, 10, 10, 40, 40), box(2, 1, 50, 50, 80, 80)]
    assert "2 of 2 are 'scratch'" in remedy(errors_of(dataset_of([*large, *others]), *found), "missed")


def test_the_remedies_for_false_alarms() -> None:
    dataset = dataset_of([box(1, 0, *LABEL)])
    sure = errors_of(dataset, (1, 0, 0.6, *LABEL), (2, 0, 0.7, 60, 60, 80, 80))
    assert "labels are missing" in remedy(sure, "background")
    unsure = errors_of(dataset, (1, 0, 0.6, *LABEL), (2, 0, 0.5, 60, 60, 80, 80))
    assert remedy(unsure, "background") == "add pictures without objects that look like these"
    assert "`eval.iou`" in remedy(errors_of(dataset, RIGHT, (1, 0, 0.5, *LABEL)), "duplicate")
    assert "'pit'" in remedy(errors_of(dataset, (1, 1, 0.5, 10, 10, 30, 18)), "both")


def test_a_file_without_picture_sizes_still_has_remedies() -> None:
    dataset = dataset_of([box(1, 0, 10, 10, 13, 13)], pictures={1: {"width": None, "height": None}})
    errors = errors_in(dataset, pl.DataFrame(schema=DETECTIONS_SCHEMA))
    assert np.isnan(errors.table.truth.sizes).all()
    costs = error_costs(errors, image_weights(1, 2))
    assert next(cost.remedy for cost in costs if cost.type == "missed").startswith("1 of 1 are 'pit'")


def test_confident_counts_leave_out_what_nobody_is_shown() -> None:
    errors = errors_of(dataset_of([box(1, 0, *LABEL)]), (1, 0, 0.25, 60, 60, 80, 80), (1, 0, 0.2, 60, 60, 80, 80))
    costs = {cost.type: cost for cost in error_costs(errors, image_weights(2, 2))}
    assert (costs["background"].count, costs["background"].confident) == (2, 1)
    assert (costs["false_positives"].count, costs["false_positives"].confident) == (2, 1)
    assert (costs["missed"].count, costs["missed"].confident) == (1, 1)
    assert error_types.CONFIDENT == 0.25
