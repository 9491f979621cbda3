"""Which boxes are trained: the same ones that Ultralytics' own loader lets through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import box, dataset_of, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.cfg import get_cfg

from pipeline.augment.table_dataset import TableDataset
from pipeline.data.checks import take_snapshot
from pipeline.data.checks.effective import below_one_cell, too_small_to_train, too_thin_to_train
from pipeline.data.dataset import Dataset

WIDE = {"width": 1280, "height": 720}


def _trained_by_ultralytics(dataset: Dataset, imgsz: int) -> set[int]:
    """Return the classes that come out of the loader with everything random switched off."""
    off = dict.fromkeys(("mosaic", "scale", "translate", "fliplr", "hsv_h", "hsv_s", "hsv_v"), 0.0)
    data = {"names": dict(enumerate(dataset.names)), "nc": len(dataset.names), "channels": 3}
    cfg = get_cfg(overrides=off)
    loaded = TableDataset(dataset, imgsz=imgsz, batch_size=4, augment=True, hyp=cfg, data=data, task="detect")
    return {int(c) for index in range(len(loaded)) for c in loaded[index]["cls"].numpy().ravel()}


@pytest.mark.parametrize(("width", "height"), [(200, 120), (120, 200), (333, 77)])
@pytest.mark.parametrize("imgsz", [64, 320])
def test_trained_boxes_are_those_that_come_out_of_the_loader(
    tmp_path: Path, width: int, height: int, imgsz: int
) -> None:
    draw(tmp_path / "a.png", width, height)
    ratio = imgsz / max(width, height)
    seen = [(w, h) for w in (0.5, 1.9, 2.1, 3, 9) for h in (1.5, 1.95, 2.05, 8)]  # pixels of the input
    boxes = [box(1, n, 5, 5, 5 + w / ratio, 5 + h / ratio) for n, (w, h) in enumerate(seen)]
    boxes.append(box(1, len(seen), 1, 5, width - 1, 5 + 0.9 * (width - 2) / 100))  # too thin
    boxes.append(box(1, len(seen) + 1, 1, 5, width - 1, 5 + 1.1 * (width - 2) / 100))
    names = [f"c{n}" for n in range(len(boxes))]
    dataset = dataset_of(boxes, pictures={1: {"path": "a.png", "width": width, "height": height}}, names=names)
    dataset = Dataset(dataset.names, dataset.images, dataset.boxes, tmp_path)
    kept = take_snapshot(dataset, imgsz).boxes.filter("trained")["class_id"]
    expected = _trained_by_ultralytics(dataset, imgsz)
    assert set(kept) == expected
    assert 0 < len(expected) < len(boxes)


def test_small_boxes_are_counted_by_class_and_split_and_an_imgsz_is_named_that_keeps_them() -> None:
    small = [box(1, 0, 10 * n, 10, 10 * n + 3, 13) for n in range(30)]  # 1.5 pixels at 640
    large = [box(1, 1, 10 * n, 50, 10 * n + 90, 90) for n in range(30)]
    dataset = dataset_of([*small, *large, box(2, 0, 5, 5, 8, 8)], pictures={1: WIDE, 2: {**WIDE, "split": "val"}})
    (finding,) = too_small_to_train(take_snapshot(dataset, 640))
    assert finding.severity == "warning"
    assert finding.message.startswith("30 of 60 train boxes are at most 2 pixels wide or high at imgsz 640")
    assert "(pit 30 of 30); val and test count 1 such boxes" in finding.message
    assert finding.evidence["classes"] == {"pit": 31}
    assert finding.evidence["splits"]["val"] == {"lost": 1, "boxes": 1}
    assert finding.evidence["suggested_imgsz"] == 864  # more than 2 x 1280 / 3 = 853.3
    larger = take_snapshot(dataset, finding.evidence["suggested_imgsz"])
    assert too_small_to_train(larger) == []
    assert finding.evidence["kept"] == 31


def test_tiles_are_advised_where_a_larger_input_would_cost_too_much() -> None:
    huge = {"width": 8000, "height": 6000}
    dataset = dataset_of([box(1, 0, 100 * n, 10, 100 * n + 7, 17) for n in range(50)], pictures={1: huge})
    (finding,) = too_small_to_train(take_snapshot(dataset, 640))
    tile = finding.evidence["suggested_tile"]
    assert tile == 2208  # 640 / 2208 x 7 = 2.03 pixels, and the next multiple of 32 has 1.9997
    assert f"tiles of {tile} pixels" in finding.advice
    whole = dataset_of([box(1, 0, 10, 10, 17, 17)], pictures={1: {"width": tile, "height": tile}})
    assert too_small_to_train(take_snapshot(whole, 640)) == []


@pytest.mark.parametrize(
    ("side", "suggested"),
    [(2.01, {"suggested_imgsz": 1280}), (1.99, {"suggested_tile": 608})],
    ids=["twice the side", "more than twice"],
)
def test_an_input_of_up_to_twice_the_side_is_advised_and_beyond_it_tiles(
    side: float, suggested: dict[str, int]
) -> None:
    picture = {"width": 1280, "height": 1280}
    (finding,) = too_small_to_train(
        take_snapshot(dataset_of([box(1, 0, 9, 9, 9 + side, 90)], pictures={1: picture}), 640)
    )
    assert {key: finding.evidence[key] for key in suggested} == suggested


@pytest.mark.parametrize(("side", "helps"), [(0.42, True), (0.39, False)], ids=["tiles of 128", "smaller tiles"])
def test_tiles_of_less_than_128_pixels_are_not_advised(side: float, helps: bool) -> None:
    picture = {"width": 4000, "height": 4000}
    (finding,) = too_small_to_train(
        take_snapshot(dataset_of([box(1, 0, 9, 9, 9 + side, 90)], pictures={1: picture}), 640)
    )
    assert (finding.evidence.get("suggested_tile") == 128) == helps
    assert ("no input size helps" in finding.advice) != helps


@pytest.mark.parametrize(("slips", "kept"), [(2, 199), (3, None)], ids=["2 of 201", "3 of 201"])
def test_the_smallest_hundredth_of_the_small_boxes_does_not_decide(slips: int, kept: int | None) -> None:
    rows = [box(1, 0, 4 * n, 10, 4 * n + 3, 90) for n in range(201 - slips)]  # 1.5 pixels at 640: 864 keeps them
    rows += [box(1, 0, 4 * n, 10, 4 * n + 0.2, 90) for n in range(slips)]
    (finding,) = too_small_to_train(take_snapshot(dataset_of(rows, pictures={1: WIDE}), 640))
    assert finding.evidence.get("kept") == kept
    assert finding.evidence.get("suggested_imgsz") == (864 if kept else None)


def test_nothing_helps_with_boxes_that_have_no_pixels() -> None:
    huge = {"width": 8000, "height": 6000}
    dataset = dataset_of([box(1, 0, 100, 10, 100.3, 17)], pictures={1: huge})
    (finding,) = too_small_to_train(take_snapshot(dataset, 640))
    assert "no input size helps" in finding.advice


def test_a_single_small_box_of_many_is_a_note_and_none_is_silence() -> None:
    many = [box(1, 0, 5 * n, 10, 5 * n + 40, 50) for n in range(200)]
    assert too_small_to_train(take_snapshot(dataset_of(many, pictures={1: WIDE}), 640)) == []
    (finding,) = too_small_to_train(take_snapshot(dataset_of([*many, box(1, 0, 1, 1, 3, 9)], pictures={1: WIDE}), 640))
    assert finding.severity == "info"


@pytest.mark.parametrize(
    ("small", "of_class", "total", "severity"),
    [(4, 200, 500, "info"), (5, 200, 500, "warning"), (1, 21, 500, "info"), (1, 20, 500, "warning")],
)
def test_a_warning_from_1_percent_of_a_split_or_5_of_a_class(
    small: int, of_class: int, total: int, severity: str
) -> None:
    rows = [box(1, 0, n, 10, n + 3, 50) for n in range(small)]
    rows += [box(1, 0, n, 10, n + 40, 50) for n in range(of_class - small)]
    rows += [box(1, 1, n, 10, n + 40, 50) for n in range(total - of_class)]
    (finding,) = too_small_to_train(take_snapshot(dataset_of(rows, pictures={1: WIDE}), 640))
    assert finding.severity == severity


def test_boxes_that_no_scale_saves_are_counted() -> None:
    rows = [box(1, 0, 10, 10, 10 + 2 * side, 90) for side in (1.0, 1.3, 1.4, 2.0)]  # pixels of the input
    (finding,) = too_small_to_train(take_snapshot(dataset_of(rows, pictures={1: WIDE}), 640))
    assert (finding.evidence["count"], finding.evidence["never_trained_at_scale_half"]) == (4, 2)


def test_crowds_are_neither_lost_nor_counted() -> None:
    dataset = dataset_of([box(1, 0, 1, 1, 2, 2, crowd=True), box(1, 0, 10, 10, 50, 50)], pictures={1: WIDE})
    snapshot = take_snapshot(dataset, 640)
    assert too_small_to_train(snapshot) == []
    assert snapshot.per_class["boxes"].to_list() == [1]


def test_thin_boxes_are_found_apart_from_small_ones() -> None:
    dataset = dataset_of([box(1, 1, 0, 10, 1270, 20), box(1, 0, 10, 10, 60, 60)], pictures={1: WIDE})
    assert too_small_to_train(take_snapshot(dataset, 640)) == []
    (finding,) = too_thin_to_train(take_snapshot(dataset, 640))
    assert finding.severity == "warning"
    assert finding.evidence["classes"] == {"scratch": 1}


def test_boxes_below_one_cell_are_a_note() -> None:
    tiny = [box(1, 0, 20 * n, 10, 20 * n + 12, 22) for n in range(20)]  # 6 pixels at 640
    (finding,) = below_one_cell(take_snapshot(dataset_of(tiny, pictures={1: WIDE}), 640))
    assert (finding.severity, finding.evidence["count"]) == ("info", 20)
    assert below_one_cell(take_snapshot(dataset_of(tiny, pictures={1: WIDE}), 1280)) == []


@settings(deadline=None)
@given(
    st.integers(32, 5000),
    st.integers(32, 5000),
    st.sampled_from([320, 640, 1280]),
    st.lists(st.floats(0.1, 40.0), min_size=1, max_size=8),
)
def test_the_advice_keeps_what_it_promises(width: int, height: int, imgsz: int, sides: list[float]) -> None:
    boxes = [box(1, 0, 0, 0, min(side, width), min(side, height)) for side in sides]
    dataset = dataset_of(boxes, pictures={1: {"width": width, "height": height}})
    snapshot = take_snapshot(dataset, imgsz)
    lost = snapshot.boxes.filter(pl.col("short") <= 2).height
    found = too_small_to_train(snapshot)
    assert len(found) == (lost > 0)
    if not found:
        return
    evidence = found[0].evidence
    assert evidence["count"] == lost
    if "suggested_imgsz" in evidence:
        again = take_snapshot(dataset, evidence["suggested_imgsz"])
        # The short side of the picture is rounded up, which may save one more.
        assert int((again.boxes["short"] > 2).sum()) >= evidence["kept"] + len(boxes) - lost
    elif "suggested_tile" in evidence:
        scale = imgsz / evidence["suggested_tile"]
        assert int((np.array(sides) * scale > 2).sum()) >= evidence["kept"]
