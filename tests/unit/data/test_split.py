"""Splits: what belongs together stays together, and the same seed always takes the same part."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from helpers import box, dataset_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.data.dataset import Dataset
from pipeline.data.split import with_groups, with_validation
from pipeline.errors import DataError


def _train_set(count: int, group: Any = None) -> Dataset:
    """Return a dataset of `count` train pictures with both classes in each; `group(n)` names the n-th one's group."""
    pictures = {n: {"path": f"p{n:04}.png", "group": group(n) if group else None} for n in range(1, count + 1)}
    return dataset_of([box(n, c, 1, 1, 9, 9) for n in pictures for c in (0, 1)], pictures=pictures)


def _val_paths(dataset: Dataset) -> set[str]:
    return set(dataset.images.filter(pl.col("split") == "val")["path"])


# ---- groups ----------------------------------------------------------------------------------------------------------


def _grouped(paths: list[str], group: str) -> list[str | None]:
    pictures = {number: {"path": path} for number, path in enumerate(paths)}
    return with_groups(dataset_of([], pictures=pictures), group).images["group"].to_list()


def test_the_groups_of_a_regular_expression() -> None:
    paths = ["images/board7_a.png", "images/board12_b.png", "board7/c.png", "other.png"]
    assert _grouped(paths, r"(board\d+)") == ["board7", "board12", "board7", None]
    assert _grouped(paths, r"board(\d)\d?_") == ["7", "1", None, None]
    assert _grouped(paths, r"^images/([^_]+)_") == ["board7", "board12", None, None]


def test_the_groups_of_folders() -> None:
    assert _grouped(["a/1.png", "a/2.png", "a/b/3.png", "4.png"], "folder") == ["a", "a", "a/b", "."]


def test_no_groups_leave_the_dataset_as_it_is() -> None:
    dataset = _train_set(3, lambda n: "given")
    assert with_groups(dataset, "none") is dataset


def test_an_expression_that_matches_nothing_is_refused_with_an_example() -> None:
    with pytest.raises(DataError, match=r"'\(field\\d\)' matches no picture, for instance not 'a/1.png'"):
        _grouped(["a/1.png"], r"(field\d)")


# ---- validation from train -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=30),
    alone=st.integers(0, 8),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 1000),
)
def test_groups_are_never_separated_and_the_share_is_near(
    sizes: list[int], alone: int, fraction: float, seed: int
) -> None:
    members = [f"board{number}" for number, size in enumerate(sizes) for _ in range(size)]
    dataset = _train_set(len(members) + alone, lambda n: members[n - 1] if n <= len(members) else None)
    try:
        divided, findings = with_validation(dataset, fraction, seed)
    except DataError:
        assume(False)
    groups = divided.images.drop_nulls("group").group_by("group").agg(pl.col("split").n_unique())
    assert groups["split"].max() == 1
    assert divided.splits == ("train", "val")

    target, taken = fraction * dataset.images.height, len(_val_paths(divided))
    # The last group that was let in or left out is the largest error that there can be.
    assert abs(taken - target) <= max(*sizes, 1)
    assert findings[0].id == "split.val_from_train"
    assert findings[0].evidence["pictures"] == taken

    same, _ = with_validation(dataset, fraction, seed)
    assert same.images.equals(divided.images)
    assert divided.boxes.equals(dataset.boxes)
    assert divided.images.drop("split").equals(dataset.images.drop("split"))


@given(st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_pictures(random: Any) -> None:
    dataset = _train_set(40, lambda n: f"g{n % 9}")
    order = list(range(40))
    random.shuffle(order)
    shuffled = Dataset(dataset.names, dataset.images[order], dataset.boxes, dataset.root)
    assert _val_paths(with_validation(shuffled, 0.2, 3)[0]) == _val_paths(with_validation(dataset, 0.2, 3)[0])


def test_another_seed_takes_another_part() -> None:
    parts = {frozenset(_val_paths(with_validation(_train_set(100), 0.2, seed)[0])) for seed in range(8)}
    assert len(parts) == 8


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(100, 0.2, 20), (1000, 0.1, 100), (10, 0.5, 5), (7, 0.2, 1)]
)
def test_pictures_without_groups_give_the_exact_share(count: int, fraction: float, expected: int) -> None:
    divided, findings = with_validation(_train_set(count), fraction, 0)
    assert divided.counts()["val"]["images"] == expected
    assert findings[0].message == (
        f"the data has no validation split: {expected} of {count} train pictures were taken for it"
    )


def test_the_finding_names_the_groups_that_were_taken() -> None:
    divided, findings = with_validation(_train_set(60, lambda n: f"board{n % 6}"), 0.33, 5)
    taken = set(divided.images.filter(pl.col("split") == "val")["group"])
    assert findings[0].evidence == {"pictures": 20, "groups": sorted(taken), "seed": 5}
    assert "(2 of 6 groups)" in findings[0].message


@pytest.mark.parametrize("count", [1, 30])
def test_a_single_group_cannot_be_divided(count: int) -> None:
    with pytest.raises(DataError, match="in 1 groups") as caught:
        with_validation(_train_set(count, lambda n: "board7"), 0.2, 0)
    assert "give a val split" in str(caught.value)
    assert "data.group=none" in str(caught.value)


def test_a_fraction_too_small_for_one_picture_is_refused_with_advice() -> None:
    with pytest.raises(DataError, match=r"val_fraction=0\.1; give a val split, another data\.val_fraction"):
        with_validation(_train_set(3), 0.1, 0)


def test_without_train_pictures_the_present_splits_are_named() -> None:
    dataset = dataset_of([], pictures={1: {"split": "val"}, 2: {"split": "test"}})
    with pytest.raises(DataError, match=r"no picture is in the split 'train' \(there is val, test\)"):
        with_validation(dataset, 0.2, 0)


def test_pictures_of_test_and_of_no_split_are_never_taken() -> None:
    pictures = {n: {"path": f"{n}.png", "split": ("train", "test", None)[n % 3]} for n in range(60)}
    divided, _ = with_validation(dataset_of([], pictures=pictures), 0.5, 0)
    assert divided.counts()["val"]["images"] == 10
    before = {f"{n}.png" for n in pictures if n % 3}
    assert not _val_paths(divided) & before


def test_a_split_for_validation_that_is_there_stays_as_it_is() -> None:
    pictures = {n: {"split": "val" if n == 4 else "train"} for n in range(1, 5)}
    dataset = dataset_of([box(n, c, 1, 1, 9, 9) for n in pictures for c in (0, 1)], pictures=pictures)
    divided, findings = with_validation(dataset, 0.5, 0)
    assert divided is dataset
    assert findings == []


# ---- findings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["val", "test"])
def test_groups_in_two_splits_are_reported(other: str) -> None:
    pictures = {n: {"path": f"{n}.png", "split": other if n > 6 else "train", "group": f"b{n % 4}"} for n in range(8)}
    dataset = dataset_of([box(n, c, 1, 1, 9, 9) for n in pictures for c in (0, 1)], pictures=pictures)
    findings = [f for f in with_validation(dataset, 0.3, 0)[1] if f.id == "split.group_in_two_splits"]
    assert len(findings) == 1
    assert findings[0].severity == "warning"
    assert findings[0].evidence == {"groups": ["b3"]}
    assert findings[0].message.startswith("1 of 4 groups stand in more than one split")


@pytest.mark.parametrize("brought", [False, True])
def test_a_class_without_a_box_in_val_is_reported(brought: bool) -> None:
    pictures = {n: {"path": f"{n}.png", "split": "val" if brought and n > 15 else "train"} for n in range(20)}
    rows = [box(n, 0, 1, 1, 9, 9) for n in pictures] + [box(19, 1, 0, 0, 100, 80, crowd=True)]
    _, findings = with_validation(dataset_of(rows, pictures=pictures, names=("pit", "scratch", "dent")), 0.2, 0)
    found = {finding.id: finding for finding in findings}
    assert set(found) == {"split.class_missing_in_val"} | (set() if brought else {"split.val_from_train"})
    missing = found["split.class_missing_in_val"]
    assert missing.evidence == {"classes": ["scratch", "dent"]}  # a crowd counts in no score
    assert "no box of scratch, dent" in missing.message
