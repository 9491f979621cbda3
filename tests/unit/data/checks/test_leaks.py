"""Duplicates and leaks: what pairs of pictures mean, by the splits that they stand in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from helpers import box, dataset_of

from pipeline.data.checks import Snapshot, figures_of, take_snapshot
from pipeline.data.checks.leaks import alike, copies, labels_of_copies, leak_alike, leak_identical, not_compared
from pipeline.data.duplicates import PAIRS_SCHEMA, Duplicates

SPLITS = ("train", "train", "val", "test", None, None)
Pair = tuple[int, int, str]


def _set(
    *pairs: Pair, rows: list[dict[str, Any]] | None = None, flat: tuple[str, ...] = (), left_out: int = 0
) -> Snapshot:
    """Return six pictures (two in train, one in val, one in test, two in none) of which so many pairs are known."""
    pictures = {n: {"split": split} for n, split in enumerate(SPLITS, start=1)}
    table = [
        {
            "one": f"{a}.png",
            "other": f"{b}.png",
            "kind": kind,
            "distance": 0,
            "orientation": "as it is",
            "correlation": 1.0 if kind == "identical" else 0.95,
            "one_split": SPLITS[a - 1],
            "other_split": SPLITS[b - 1],
        }
        for a, b, kind in pairs
    ]
    clusters = tuple((f"{a}.png", f"{b}.png") for a, b, _ in pairs)
    duplicates = Duplicates(pl.DataFrame(table, PAIRS_SCHEMA), clusters, flat, left_out)
    return take_snapshot(dataset_of(rows or [], pictures=pictures), 640, duplicates=duplicates)


ALL = (leak_identical, leak_alike, copies, alike, labels_of_copies, not_compared)


def test_no_pairs_and_no_search_say_nothing() -> None:
    for snapshot in (_set(), take_snapshot(dataset_of([]), 640)):
        for check in ALL:
            assert check(snapshot) == [], check.__name__


@pytest.mark.parametrize(("other", "severity"), [(3, "error"), (4, "error")])
def test_the_same_file_in_train_and_another_split_is_an_error(other: int, severity: str) -> None:
    snapshot = _set((1, other, "identical"))
    (finding,) = leak_identical(snapshot)
    assert finding.severity == severity
    assert finding.message.startswith(
        f"1 {SPLITS[other - 1]} picture is the very same file as a picture of another split"
    )
    assert finding.evidence["pairs"] == [f"1.png (train) and {other}.png ({SPLITS[other - 1]})"]
    assert copies(snapshot) == [] == leak_alike(snapshot)


def test_the_same_file_in_val_and_test_is_a_warning() -> None:
    (finding,) = leak_identical(_set((3, 4, "identical")))
    assert finding.severity == "warning"
    assert finding.message.startswith("1 val and 1 test pictures are")


def test_pictures_that_look_alike_across_splits_are_a_warning() -> None:
    (finding,) = leak_alike(_set((1, 3, "alike"), (2, 3, "alike"), (2, 4, "alike")))
    assert (finding.severity, finding.evidence["count"]) == ("warning", 3)
    assert finding.message.startswith("1 val and 1 test pictures look like a picture of another split")
    assert finding.evidence["splits"] == {"train and val": 2, "test and train": 1}


def test_a_picture_that_moves_the_score_by_less_than_half_of_luck_is_a_note() -> None:
    """One of n: 1 / n, against a quarter of the interval's width of 1 / sqrt(n): equal at 16 pictures."""

    def severity(pictures: int) -> str:
        snapshot = _set((1, 3, "alike"))
        many = snapshot.images.filter(pl.col("split") == "val").head(1)
        others = [many.with_columns(path=pl.lit(f"more{number}.png")) for number in range(pictures - 1)]
        images = pl.concat([snapshot.images.filter((pl.col("split") != "val") | (pl.col("image_id") == 3)), *others])
        (finding,) = leak_alike(replace(snapshot, images=images))
        return finding.severity

    assert [severity(15), severity(16)] == ["warning", "info"]


@pytest.mark.parametrize("pair", [(1, 2), (5, 6)], ids=["both in train", "both in no split"])
def test_pairs_within_a_split_are_a_note(pair: tuple[int, int]) -> None:
    same = _set((*pair, "identical"))
    (finding,) = copies(same)
    assert (finding.severity, finding.evidence["count"]) == ("info", 1)
    (finding,) = alike(_set((*pair, "alike")))
    assert finding.evidence["clusters"] == [[f"{pair[0]}.png", f"{pair[1]}.png"]]
    assert leak_identical(same) == [] == leak_alike(_set((*pair, "alike")))


def test_a_picture_in_no_split_leaks_nowhere() -> None:
    snapshot = _set((1, 5, "identical"), (3, 6, "alike"))
    assert leak_identical(snapshot) == [] == leak_alike(snapshot)


def test_copies_with_other_boxes_are_found_whatever_their_splits() -> None:
    rows = [box(1, 0, 5, 5, 40, 40), box(2, 0, 5.2, 5, 40, 40), box(3, 1, 5, 5, 40, 40)]
    snapshot = _set((1, 2, "identical"), (1, 3, "identical"), (1, 4, "identical"), (2, 3, "alike"), rows=rows)
    (finding,) = labels_of_copies(snapshot)
    assert (finding.severity, finding.evidence["count"]) == ("warning", 2)
    assert finding.evidence["pairs"] == ["1.png (1 boxes) and 3.png (1)", "1.png (1 boxes) and 4.png (0)"]


def test_pictures_that_could_not_be_compared_and_pairs_that_are_not_listed_are_told() -> None:
    snapshot = _set((1, 2, "alike"), flat=("5.png", "6.png"), left_out=7)
    (finding,) = not_compared(snapshot)
    assert (finding.id, finding.severity) == ("images.flat", "info")
    assert finding.evidence == {"count": 2, "pictures": ["5.png", "6.png"]}
    (finding,) = alike(snapshot)
    assert "7 further pairs" in finding.message
    assert finding.evidence["not_listed"] == 7
    figures = figures_of(snapshot)["duplicates"]
    assert (figures["flat"], figures["not_listed"]) == (2, 7)
    (finding,) = alike(_set((1, 2, "alike")))
    assert "further" not in finding.message
