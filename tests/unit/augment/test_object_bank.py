"""Which objects are cut out, and what a cut holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import box, dataset_of
from pasting import RED, background, drawn_set, settings
from ultralytics.cfg import get_cfg

from pipeline.augment import object_bank
from pipeline.augment.object_bank import cut_out, pick, survey, training_pictures
from pipeline.augment.table_dataset import TableDataset

PLAIN = settings(scale=[1.0, 1.0])


def _reasons(*rows: dict[str, object], imgsz: int = 100) -> list[str | None]:
    return survey(dataset_of(rows), PLAIN, imgsz)["reason"].to_list()


@pytest.mark.parametrize(
    ("corners", "imgsz", "reason"),
    [
        ((40, 40, 60, 60), 100, None),
        ((2, 2, 12, 12), 100, None),
        ((1, 40, 12, 52), 100, "border"),
        ((40, 69, 52, 80), 100, "border"),
        ((40, 40, 43, 60), 100, None),
        ((40, 40, 43, 60), 99, "tiny"),
    ],
)
def test_what_cannot_be_cut_out(corners: tuple[float, ...], imgsz: int, reason: str | None) -> None:
    assert _reasons(box(1, 0, *corners), imgsz=imgsz) == [reason]


def test_crowds_are_never_taken_and_spoil_their_neighbours() -> None:
    crowd, near, far = box(1, 0, 10, 10, 50, 50, crowd=True), box(1, 1, 40, 40, 60, 60), box(2, 1, 40, 40, 60, 60)
    assert _reasons(crowd, near, far) == ["crowd", "overlap", None]


def test_an_object_that_another_lies_in_is_not_taken() -> None:
    # The small one covers 1 % of the large one, and would be pasted along without a label.
    assert _reasons(box(1, 0, 10, 10, 60, 60), box(1, 1, 30, 30, 35, 35)) == ["overlap", "overlap"]


def test_neighbours_that_only_touch_are_taken() -> None:
    assert _reasons(box(1, 0, 10, 10, 30, 30), box(1, 1, 32, 10, 52, 30)) == [None, None]


def test_a_cut_holds_the_object_where_its_box_says(tmp_path: Path) -> None:
    dataset = drawn_set(tmp_path, [box(1, 1, 40, 30, 60, 40)], 1)
    table = survey(dataset, PLAIN, 96)
    (cut,) = cut_out(dataset, {"scratch": table}, PLAIN, 96, {})["scratch"]
    assert cut.class_id == 1
    assert cut.pixels.shape == (14, 26, 3)  # 15 % of 20 px is 3, of 10 px less than the 2 that a margin has at least
    assert cut.box.tolist() == [3, 2, 23, 12]
    assert (cut.pixels[2:12, 3:23] == RED).all()
    assert not (cut.pixels[0] == RED).all(axis=1).any()


def test_margins_survive_the_shrinking(tmp_path: Path) -> None:
    dataset = drawn_set(tmp_path, [box(1, 1, 40, 30, 60, 40)], 1)
    wide = settings(scale=[0.25, 1.0], margin=0.0)
    (cut,) = cut_out(dataset, {"scratch": survey(dataset, wide, 96)}, wide, 96, {})["scratch"]
    assert cut.box.tolist() == [8, 8, 28, 18]


def test_small_objects_stay_small(tmp_path: Path) -> None:
    dataset = drawn_set(tmp_path, [box(1, 1, 30, 30, 60, 60)], 1)
    grown = settings(scale=[0.5, 2.0])
    (cut,) = cut_out(dataset, {"small": survey(dataset, grown, 96)}, grown, 96, {"small": 1024.0})["small"]
    assert cut.scale == pytest.approx((0.5, 32 / 30))


def test_the_bank_is_capped_and_spread_over_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [box(number, 1, 40, 30, 60, 40) for number in range(1, 1001)]
    table = survey(dataset_of(rows, pictures=1000), PLAIN, 100)
    taken = pick(table, PLAIN)["image_id"].to_numpy()
    assert len(taken) == object_bank.MAX_CUTS
    assert np.diff(taken).min() >= 3
    assert np.diff(taken).max() <= 4
    monkeypatch.setattr(object_bank, "MAX_BYTES", 20 * 26 * 14 * 3)
    fewer = pick(table, PLAIN)["image_id"].to_numpy()
    assert len(fewer) == 20
    assert np.ptp(fewer) > 900
    monkeypatch.setattr(object_bank, "MAX_BYTES", 1)
    assert pick(table, PLAIN).height == 1


@pytest.mark.parametrize("size", [(96, 80), (150, 47), (33, 97), (500, 3)], ids=str)
def test_pictures_are_those_that_train(tmp_path: Path, size: tuple[int, int]) -> None:
    dataset = drawn_set(tmp_path, [], {1: background(1, *size), 2: background(2, *size)})
    loader = TableDataset(
        dataset, imgsz=64, augment=True, hyp=get_cfg(), data={"names": {0: "pit"}, "channels": 3}, task="detect"
    )
    pictures = dict(training_pictures(dataset, [1, 2], 64))
    for index, image_id in enumerate(dataset.images["image_id"]):
        np.testing.assert_array_equal(pictures[image_id], loader.load_image(index)[0])
    sides = survey(drawn_set(tmp_path, [box(1, 0, 1, 1, 3, 3)], {1: background(1, *size)}), PLAIN, 64)
    assert sides.select("height", "width").row(0) == pictures[1].shape[:2]


def test_boxes_of_pictures_that_are_left_out_do_not_count() -> None:
    dataset = dataset_of([box(1, 0, 40, 40, 60, 60), box(9, 0, 40, 40, 60, 60)])
    assert survey(dataset, PLAIN, 100).select(pl.col("image_id")).to_series().to_list() == [1]
