"""The two tables: what they refuse, and the questions that can be put to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from helpers import box, dataset_of
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.dataset import BOXES_SCHEMA, IMAGES_SCHEMA, Dataset, dataset_from_rows
from pipeline.errors import DataError

BOXES = [box(1, 0, 10, 10, 30, 30), box(1, 1, 5, 5, 9, 9, crowd=True), box(3, 1, 0, 0, 100, 80), box(3, 1, 1, 1, 2, 2)]


def _example() -> Dataset:
    pictures = {1: {}, 2: {}, 3: {"split": "val"}, 4: {"split": None, "group": "board7"}}
    return dataset_of(BOXES, pictures=pictures)


def test_missing_columns_of_a_record_become_null_or_false() -> None:
    dataset = _example()
    assert dict(dataset.images.schema) == IMAGES_SCHEMA
    assert dict(dataset.boxes.schema) == BOXES_SCHEMA
    assert dataset.boxes["crowd"].to_list() == [False, True, False, False]
    assert dataset.boxes["difficult"].to_list() == [False] * 4
    assert dataset.images["group"].to_list() == [None, None, None, "board7"]


def test_a_dataset_may_have_no_boxes_at_all() -> None:
    dataset = dataset_of([])
    assert dataset.counts() == {"train": {"images": 2, "boxes": 0, "empty": 2}}
    assert len(dataset.fingerprint()) == 64


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("images", lambda t: t.drop("group")),
        ("images", lambda t: t.with_columns(pl.col("width").cast(pl.Int64))),
        ("images", lambda t: t.with_columns(more=pl.lit(1))),
        ("boxes", lambda t: t.rename({"x1": "left"})),
        ("boxes", lambda t: t.with_columns(pl.col("class_id").cast(pl.Float64))),
        ("boxes", lambda t: t.drop("source")),
    ],
)
def test_a_table_of_another_form_is_refused(table: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    dataset = _example()
    with pytest.raises(ValueError, match=f"{table} has the columns"):
        replace(dataset, **{table: change(getattr(dataset, table))})


def test_split_takes_its_pictures_and_their_boxes_only() -> None:
    dataset = _example()
    assert dataset.splits == ("train", "val")
    train, val = dataset.split("train"), dataset.split("val")
    assert train.images["image_id"].to_list() == [1, 2]
    assert train.boxes["image_id"].to_list() == [1, 1]
    assert val.images["image_id"].to_list() == [3]
    assert val.boxes.equals(dataset.boxes.filter(pl.col("image_id") == 3))
    assert val.names == dataset.names


def test_an_empty_split_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(DataError, match=r"split 'test' \(splits with pictures: train, val\)"):
        _example().split("test")
    with pytest.raises(DataError, match="splits with pictures: none"):
        dataset_from_rows(["pit"], [], [], Path("somewhere")).split("train")


def test_counts_say_pictures_boxes_and_empty_pictures_of_each_split() -> None:
    assert _example().counts() == {
        "train": {"images": 2, "boxes": 2, "empty": 1},
        "val": {"images": 1, "boxes": 2, "empty": 0},
        "none": {"images": 1, "boxes": 0, "empty": 1},
    }


@given(
    order=st.permutations(range(4)),
    rows=st.permutations(range(4)),
    ids=st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4, unique=True),
)
def test_fingerprint_knows_neither_row_order_nor_ids(order: list[int], rows: list[int], ids: list[int]) -> None:
    dataset = _example()
    new = dict(zip((1, 2, 3, 4), ids, strict=True))
    renumbered = pl.col("image_id").replace_strict(new, return_dtype=pl.UInt32)
    images = dataset.images[order].with_columns(renumbered)
    boxes = dataset.boxes[rows].with_columns(renumbered, source=pl.lit("elsewhere.txt:9"))
    other = Dataset(dataset.names, images, boxes, Path("elsewhere"))
    assert other.fingerprint() == dataset.fingerprint()


def test_fingerprint_does_not_depend_on_the_order_of_boxes_that_differ_in_a_flag() -> None:
    twins = [box(1, 0, 1, 1, 5, 5, crowd=True), box(1, 0, 1, 1, 5, 5), box(1, 0, 1, 1, 5, 5, difficult=True)]
    assert dataset_of(twins).fingerprint() == dataset_of(twins[::-1]).fingerprint()


def _with(table: str, row: int, **values: object) -> Callable[[Dataset], Dataset]:
    def change(dataset: Dataset) -> Dataset:
        records = getattr(dataset, table).to_dicts()
        records[row].update(values)
        schema = IMAGES_SCHEMA if table == "images" else BOXES_SCHEMA
        return replace(dataset, **{table: pl.DataFrame(records, schema)})

    return change


@pytest.mark.parametrize(
    "change",
    [
        _with("boxes", 0, x1=11.0),
        _with("boxes", 2, y2=79.0),
        _with("boxes", 0, class_id=1),
        _with("boxes", 0, crowd=True),
        _with("boxes", 0, difficult=True),
        _with("boxes", 0, image_id=2),
        _with("images", 0, split="val"),
        _with("images", 0, split=None),
        _with("images", 1, path="other.png"),
        _with("images", 1, width=101),
        _with("images", 1, group="board7"),
        lambda dataset: replace(dataset, names=("pit", "dent")),
        lambda dataset: replace(dataset, names=("scratch", "pit")),
        lambda dataset: replace(dataset, boxes=dataset.boxes[:-1]),
        lambda dataset: replace(dataset, images=dataset.images[:-1]),
        lambda dataset: replace(dataset, boxes=pl.concat([dataset.boxes, dataset.boxes[:1]])),
    ],
)
def test_fingerprint_changes_with_every_content(change: Callable[[Dataset], Dataset]) -> None:
    dataset = _example()
    assert change(dataset).fingerprint() != dataset.fingerprint()
