"""Splits: what belongs together stays together, classes are shared out, and the same seed takes the same part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import ROOT, box, dataset_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.data.dataset import Dataset
from pipeline.data.intake import read_dataset
from pipeline.data.split import prepare_splits, split_table
from pipeline.errors import DataError
from pipeline.findings import Finding
from pipeline.sections import DataConfig

DEEPPCB = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data" / "deeppcb"


def _train_set(count: int, group: Any = None, split: str | None = "train") -> Dataset:
    """Return a dataset of `count` pictures with both classes in each; `group(n)` names the n-th one's group."""
    pictures = {
        n: {"path": f"p{n:04}.png", "group": group(n) if group else None, "split": split} for n in range(1, count + 1)
    }
    return dataset_of([box(n, c, 1, 1, 9, 9) for n in pictures for c in (0, 1)], pictures=pictures)


def _prepared(dataset: Dataset, **changes: Any) -> tuple[Dataset, dict[str, Finding]]:
    divided, findings = prepare_splits(dataset, DataConfig(**changes))
    named = {finding.id: finding for finding in findings}
    assert len(named) == len(findings)
    return divided, named


def _paths(dataset: Dataset, split: str = "val") -> set[str]:
    return set(dataset.images.filter(pl.col("split") == split)["path"])


def _crossed(dataset: Dataset) -> int:
    """Return the number of groups in more than one split."""
    splits = dataset.images.drop_nulls("group").group_by("group").agg(pl.col("split").n_unique())
    return splits.filter(pl.col("split") > 1).height


# ---- keep: validation from train -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
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
        divided, findings = _prepared(dataset, val_fraction=fraction, seed=seed)
    except DataError:
        assert min(*sizes, *[1] * bool(alone)) >= 2 * fraction * dataset.images.height - 1e-9
        assume(False)
    assert _crossed(divided) == 0
    assert divided.splits == ("train", "val")

    target, taken = fraction * dataset.images.height, len(_paths(divided))
    # One more group, or one less, would not come nearer.
    assert abs(taken - target) <= max(*sizes, 1) / 2 + 1e-9 or taken == min(*sizes, *[1] * bool(alone))
    assert findings["split.val_from_train"].evidence["count"] == taken

    same, _ = _prepared(dataset, val_fraction=fraction, seed=seed)
    assert same.images.equals(divided.images)
    assert divided.boxes.equals(dataset.boxes)
    assert divided.images.drop("split").equals(dataset.images.drop("split"))


@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_pictures(random: Any) -> None:
    dataset = _train_set(40, lambda n: f"g{n % 9}")
    order = list(range(40))
    random.shuffle(order)
    shuffled = Dataset(dataset.names, dataset.images[order], dataset.boxes, dataset.root)
    changes: dict[str, Any] = {"val_fraction": 0.2, "seed": 3}
    assert _paths(_prepared(shuffled, **changes)[0]) == _paths(_prepared(dataset, **changes)[0])


def test_another_seed_takes_another_part() -> None:
    parts = {frozenset(_paths(_prepared(_train_set(100), val_fraction=0.2, seed=seed)[0])) for seed in range(8)}
    assert len(parts) == 8


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(100, 0.2, 20), (1000, 0.1, 100), (10, 0.5, 5), (7, 0.15, 1)]
)
def test_pictures_without_groups_give_the_exact_share(count: int, fraction: float, expected: int) -> None:
    divided, findings = _prepared(_train_set(count), val_fraction=fraction)
    assert divided.counts()["val"]["images"] == expected
    message = findings["split.val_from_train"].message
    assert message.startswith(
        f"the data has no validation split: {expected} of {count} train pictures were taken for it"
    )


def test_the_finding_names_the_groups_that_were_taken_and_the_share_that_was_missed() -> None:
    divided, findings = _prepared(_train_set(60, lambda n: f"board{n % 6}"), val_fraction=0.3, seed=5)
    taken = set(divided.images.filter(pl.col("split") == "val")["group"])
    finding = findings["split.val_from_train"]
    assert finding.evidence == {"count": 20, "share": 0.3333, "wanted": 0.3, "groups": sorted(taken), "seed": 5}
    assert "(2 of 6 groups)" in finding.message
    assert "val has 33% of the pictures instead of 30%, since groups stay whole" in finding.message
    assert "instead" not in _prepared(_train_set(100), val_fraction=0.2)[1]["split.val_from_train"].message


@pytest.mark.parametrize("splits", ["keep", "repair", "new"])
@pytest.mark.parametrize("count", [1, 30])
def test_a_single_group_cannot_be_divided(count: int, splits: str) -> None:
    with pytest.raises(DataError, match="in 1 groups") as caught:
        _prepared(_train_set(count, lambda n: "board7"), splits=splits)
    assert "data.group=none" in str(caught.value)


@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_a_fraction_too_small_for_one_picture_is_refused_with_advice(fraction: float) -> None:
    with pytest.raises(DataError, match=rf"val_fraction={fraction:g}; give a val split, another data\.val_fraction"):
        _prepared(_train_set(3), val_fraction=fraction)


def test_without_train_pictures_the_present_splits_are_named() -> None:
    dataset = dataset_of([], pictures={1: {"split": "val"}, 2: {"split": "test"}})
    with pytest.raises(DataError, match=r"no picture is in the split 'train' \(there is val, test\)"):
        _prepared(dataset)


def test_pictures_of_no_split_are_trained_and_those_of_test_stay() -> None:
    pictures = {n: {"path": f"{n}.png", "split": ("train", "test", None)[n % 3]} for n in range(60)}
    divided, findings = _prepared(dataset_of([], pictures=pictures), val_fraction=0.5)
    assert {split: counts["images"] for split, counts in divided.counts().items()} == {
        "train": 20,
        "val": 20,
        "test": 20,
    }
    assert _paths(divided, "test") == {f"{n}.png" for n in pictures if n % 3 == 1}
    assert findings["split.rest_to_train"].evidence["count"] == 20
    assert "split.rest_to_train" not in _prepared(_train_set(20, split=None))[1]  # no split at all is no surprise


def test_a_split_for_validation_that_is_there_stays_as_it_is() -> None:
    pictures = {n: {"split": "val" if n == 4 else "train"} for n in range(1, 5)}
    dataset = dataset_of([box(n, c, 1, 1, 9, 9) for n in pictures for c in (0, 1)], pictures=pictures)
    divided, findings = _prepared(dataset, val_fraction=0.5)
    assert divided is dataset
    assert set(findings) == set()  # nothing to say of what is divided evenly


def test_rare_classes_are_shared_out_and_crowds_are_not_counted() -> None:
    rows = [box(n, 0, 1, 1, 9, 9) for n in range(1, 81)] + [box(n, 1, 1, 1, 9, 9, crowd=n > 8) for n in range(1, 41)]
    for seed in range(4):
        divided, _ = _prepared(dataset_of(rows, pictures=80), val_fraction=0.25, seed=seed)
        val = divided.split("val")
        assert val.images.height == 20
        assert val.boxes.filter((pl.col("class_id") == 1) & ~pl.col("crowd")).height == 2


def test_pictures_without_boxes_are_shared_out() -> None:
    boxes_of = {"a": (4, 0, 0, 0), "b": (1, 1, 1, 1), "c": (4, 0, 0, 0), "d": (1, 1, 1, 1)}
    every = [(group, count) for group, counts in boxes_of.items() for count in counts]
    rows = [box(n, 0, i, 1, 9, 9) for n, (_, count) in enumerate(every) for i in range(count)]
    dataset = dataset_of(rows, pictures={n: {"path": f"{n:02}.png", "group": g} for n, (g, _) in enumerate(every)})
    for seed in range(8):
        divided, _ = _prepared(dataset, val_fraction=0.5, seed=seed)
        assert divided.counts()["val"] == {"images": 8, "boxes": 8, "empty": 3}  # a or c, not both


# ---- repair ----------------------------------------------------------------------------------------------------------


def _leaking(rows: list[tuple[str | None, str, int]]) -> Dataset:
    """Return a dataset of so many pictures of each group and split, one box of either class in turn."""
    every = [(group, split) for group, split, count in rows for _ in range(count)]
    pictures = {n: {"path": f"p{n:04}.png", "group": g, "split": s} for n, (g, s) in enumerate(every)}
    return dataset_of([box(n, n % 2, 1, 1, 9, 9) for n in pictures], pictures=pictures)


def test_groups_that_cross_splits_go_whole_to_one_of_theirs() -> None:
    sizes = {"a": (40, 4, 0), "b": (6, 14, 0), "c": (50, 0, 0), "d": (0, 5, 0), "e": (0, 0, 9), None: (3, 2, 0)}
    splits = ("train", "val", "test")
    dataset = _leaking([(g, split, n) for g, counts in sizes.items() for split, n in zip(splits, counts, strict=True)])
    divided, findings = _prepared(dataset, splits="repair")
    assert _crossed(divided) == 0
    moved = {
        row["group"]: row["split"] for row in divided.images.select("group", "split").drop_nulls().unique().to_dicts()
    }
    assert moved == {"a": "train", "b": "val", "c": "train", "d": "val", "e": "test"}
    alone = pl.col("group").is_null()
    assert divided.images.filter(alone).equals(dataset.images.filter(alone))
    finding = findings["split.repaired"]
    assert finding.message == (
        "2 groups stood in more than one split; 10 pictures were moved: 6 from train to val, 4 from val to train"
    )
    assert finding.evidence["moved"] == {"train to val": 6, "val to train": 4}
    assert finding.evidence["groups"] == ["a", "b"]
    assert finding.evidence["before"] == {"train": 99, "val": 25, "test": 9}
    assert finding.evidence["after"] == {"train": 97, "val": 27, "test": 9}
    assert "split.group_in_two_splits" not in findings


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["train", "val", "test"]), st.integers(1, 9)), min_size=4))
def test_repair_leaves_no_group_crossing_and_moves_nothing_else(rows: list[tuple[int, str, int]]) -> None:
    dataset = _leaking([(f"g{group}", split, count) for group, split, count in rows])
    assume("train" in dataset.splits)
    try:
        divided, findings = _prepared(dataset, splits="repair")
    except DataError:
        assume(False)
    assert _crossed(divided) == 0
    if "split.val_from_train" not in findings:
        crossing = dataset.images.group_by("group").agg(pl.col("split").n_unique()).filter(pl.col("split") > 1)["group"]
        stays = ~dataset.images["group"].is_in(crossing.implode())
        assert divided.images.filter(stays).equals(dataset.images.filter(stays))
        now = divided.images.filter(~stays).select("group", "split").unique()
        assert now.join(dataset.images, on=["group", "split"], how="anti").is_empty()  # each to one of its own splits


def test_a_large_group_with_a_few_pictures_in_val_does_not_swell_it() -> None:
    dataset = _leaking(
        [("a", "train", 100), ("a", "val", 6), ("b", "train", 20), ("c", "train", 24), ("d", "train", 8)]
    )
    _, findings = _prepared(dataset, splits="repair", val_fraction=0.15)
    assert findings["split.repaired"].evidence["moved"] == {"val to train": 6}
    assert findings["split.val_from_train"].evidence["count"] == 24  # val is taken anew, by whole groups


def test_repair_that_would_empty_a_split_is_refused() -> None:
    dataset = _leaking([("a", "train", 50), ("b", "train", 50), ("a", "test", 3), ("c", "val", 20)])
    with pytest.raises(DataError, match=r"would leave no picture in test, .* data\.splits=new divides all"):
        _prepared(dataset, splits="repair")


def test_nothing_to_repair_changes_nothing() -> None:
    dataset = _leaking([("a", "train", 5), ("b", "val", 5), (None, "train", 5)])
    divided, findings = _prepared(dataset, splits="repair")
    assert divided is dataset
    assert set(findings) == {"split.deviation"}


# ---- new -------------------------------------------------------------------------------------------------------------


def test_new_splits_have_the_shares_that_were_asked_for() -> None:
    dataset = _leaking([(None, "train", 100), (None, "val", 50), (None, "test", 50)])
    divided, findings = _prepared(dataset, splits="new", val_fraction=0.1, test_fraction=0.2)
    assert {split: (n["images"], n["boxes"]) for split, n in divided.counts().items()} == {
        "train": (140, 140),
        "val": (20, 20),
        "test": (40, 40),
    }
    assert set(divided.split("val").boxes["class_id"].value_counts()["count"]) == {10}
    assert findings["split.new"].message == (
        "all 200 pictures were divided anew: 140 train, 20 val, 40 test; the data's own splits were not used "
        "(100 train, 50 val, 50 test)"
    )
    two, findings = _prepared(_train_set(40, lambda n: f"b{n % 10}", split=None), splits="new", val_fraction=0.2)
    assert two.splits == ("train", "val")
    assert findings["split.new"].message == "all 40 pictures (10 groups) were divided anew: 32 train, 8 val"


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.2), (0.5, 0.5), (0.01, 0.2), (0.2, 0.01)])
def test_fractions_that_leave_a_split_empty_are_refused(val: float, test: float) -> None:
    message = rf"20 pictures in 20 groups cannot be divided into train, val, test at val_fraction={val:g} and test"
    with pytest.raises(DataError, match=message):
        _prepared(_train_set(20), splits="new", val_fraction=val, test_fraction=test)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_new_splits_never_cross_groups_and_have_every_class_that_they_can(seed: int) -> None:
    rng = np.random.default_rng(seed)
    member = rng.integers(0, 25, 150)
    pictures = {n: {"path": f"p{n:04}.png", "group": f"b{member[n]}"} for n in range(150)}
    classes = {n: rng.choice(4, rng.integers(0, 4), p=[0.6, 0.25, 0.1, 0.05]) for n in pictures}
    rows = [box(n, int(c), 1, 1, 9, 9) for n, found in classes.items() for c in found]
    dataset = dataset_of(rows, pictures=pictures, names=("a", "b", "c", "d"))
    divided, findings = _prepared(dataset, splits="new", val_fraction=0.2, test_fraction=0.2, seed=seed % 7)
    assert _crossed(divided) == 0
    groups_with = [len({member[n] for n, found in classes.items() if c in found}) for c in range(4)]
    missing = {name for finding in findings.values() for name in finding.evidence.get("classes", [])}
    assert missing <= {"abcd"[c] for c in range(4) if groups_with[c] < 3}


# ---- findings and the table ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["val", "test"])
def test_groups_in_two_splits_are_reported(other: str) -> None:
    pictures = {n: {"path": f"{n}.png", "split": other if n > 6 else "train", "group": f"b{n % 4}"} for n in range(8)}
    dataset = dataset_of([box(n, c, 1, 1, 9, 9) for n in pictures for c in (0, 1)], pictures=pictures)
    finding = _prepared(dataset, val_fraction=0.3)[1]["split.group_in_two_splits"]
    assert finding.severity == "warning"
    assert finding.evidence == {"count": 1, "groups": ["b3"]}
    assert finding.message.startswith("1 of 4 groups stand in more than one split")
    assert "data.splits=repair" in finding.advice


@pytest.mark.parametrize("brought", [False, True])
def test_a_class_without_a_box_in_val_is_reported(brought: bool) -> None:
    pictures = {n: {"path": f"p{n:02}.png", "split": "val" if brought and n > 15 else "train"} for n in range(20)}
    rows = [box(n, 0, 1, 1, 9, 9) for n in pictures] + [box(3, 1, 1, 1, 9, 9), box(19, 1, 0, 0, 100, 80, crowd=True)]
    _, findings = _prepared(dataset_of(rows, pictures=pictures, names=("pit", "scratch", "dent")), val_fraction=0.2)
    expected = {"split.class_missing_in_val", "split.deviation"}
    assert set(findings) == expected | (set() if brought else {"split.val_from_train"})
    missing = findings["split.class_missing_in_val"]
    assert missing.evidence == {"count": 2, "classes": ["scratch", "dent"], "groups": {"scratch": 1, "dent": 0}}
    assert "no box of scratch, dent" in missing.message  # a crowd counts in no score
    assert "In fewer pictures than there are splits: scratch in 1 picture, dent in 0 pictures" in missing.message


def test_a_class_without_a_box_in_test_is_reported() -> None:
    pictures = {n: {"path": f"{n}.png", "split": "test" if n < 3 else "val" if n < 6 else "train"} for n in range(12)}
    rows = [box(n, 0, 1, 1, 9, 9) for n in pictures] + [box(n, 1, 1, 1, 9, 9) for n in range(3, 12)]
    finding = _prepared(dataset_of(rows, pictures=pictures))[1]["split.class_missing_in_test"]
    assert finding.message == (
        "the test split has no box of scratch; nothing tells how well they are found on new pictures"
    )
    assert finding.evidence == {"count": 1, "classes": ["scratch"], "groups": {"scratch": 9}}


def test_the_table_has_boxes_shares_and_deviations() -> None:
    pictures = {n: {"split": "val" if n == 1 else None if n == 6 else "train"} for n in range(1, 7)}
    rows = [box(n, 0, n, 1, 9, 9) for n in (1, 1, 2, 3, 6)] + [box(2, 1, 1, 1, 9, 9, crowd=True)]
    table = split_table(dataset_of(rows, pictures=pictures, names=("pit", "scratch")))
    assert table.to_dict(as_series=False) == {
        "class": ["pit", "scratch", "pictures"],
        "train_boxes": [2, 0, 4],
        "train_share": [0.5, None, 0.8],
        "train_wanted": [0.8, 0.8, 0.8],
        "train_deviation": [pytest.approx(-30), None, 0],
        "val_boxes": [2, 0, 1],
        "val_share": [0.5, None, 0.2],
        "val_wanted": [0.2, 0.2, 0.2],
        "val_deviation": [pytest.approx(30), None, 0],
    }


def test_the_table_of_a_dataset_without_splits_has_its_classes_alone() -> None:
    dataset = _train_set(3, split=None)
    assert split_table(dataset).to_dict(as_series=False) == {"class": ["pit", "scratch", "pictures"]}


def test_the_least_even_class_is_named() -> None:
    pictures = {n: {"path": f"{n}.png", "split": "val" if n < 5 else "train"} for n in range(20)}
    rows = [box(n, 0, 1, 1, 9, 9) for n in pictures] + [box(n, 1, 1, 1, 9, 9) for n in (0, 1, 2, 9)]
    finding = _prepared(dataset_of(rows, pictures=pictures))[1]["split.deviation"]
    assert finding.message == (
        "of all classes scratch is divided least evenly: train has 75.0% of the pictures and 25.0% of its boxes "
        "(1 of 4)"
    )
    assert finding.evidence["points"] == -50


# ---- real boards -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not DEEPPCB.is_dir(), reason="the DeepPCB pictures are not here")
def test_the_boards_of_deeppcb_no_longer_cross_after_a_repair() -> None:
    dataset = read_dataset(DEEPPCB).dataset
    rule = r"(group\d+)"
    _, findings = _prepared(dataset, group=rule)
    assert findings["split.group_in_two_splits"].message.startswith("7 of 11 groups")
    repaired, findings = _prepared(dataset, group=rule, splits="repair")
    assert _crossed(repaired) == 0
    assert "split.group_in_two_splits" not in findings
    assert findings["split.repaired"].evidence["after"]["test"] == pytest.approx(500, abs=25)
    before, after = (split_table(d)["test_share"].to_numpy()[:-1] for d in (dataset, repaired))
    assert np.abs(after - before).max() < 0.03  # 0.020: the share of each class stays near that of the official split


def test_dividing_anew_keeps_the_share_of_test_unless_another_is_asked_for() -> None:
    dataset = _leaking([(None, "train", 60), (None, "test", 40)])
    divided, _ = _prepared(dataset, splits="new", val_fraction=0.1)
    assert divided.counts()["test"]["images"] == 40
    without, _ = _prepared(dataset, splits="new", val_fraction=0.1, test_fraction=0.0)
    assert without.splits == ("train", "val")


def test_folders_in_two_splits_are_asked_about_where_nobody_named_groups() -> None:
    pictures = {
        n: {"path": f"board{n % 4}/{n}.png", "split": "train" if n % 4 < 2 or n % 8 > 3 else "test"}
        for n in range(1, 41)
    }
    _, findings = _prepared(dataset_of([box(n, 0, 1, 1, 9, 9) for n in pictures], pictures=pictures))
    assert findings["split.folder_in_two_splits"].evidence["folders"] == [f"board{n}" for n in range(4)]
    _, findings = _prepared(dataset_of([box(1, 0, 1, 1, 9, 9)], pictures=pictures), group="folder")
    assert "split.folder_in_two_splits" not in findings
