"""Classes: missing, rare, uneven, and names that mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from helpers import box, dataset_of

from pipeline.data.checks import Snapshot, take_snapshot
from pipeline.data.checks.classes import balance, few_measured, missing_classes, names_alike, rare_classes

NAMES = ("pit", "scratch", "dent")


def _set(counts: Mapping[str, Sequence[int]], names: Sequence[str] = NAMES) -> Snapshot:
    """Return a set with so many boxes of each class in each split, one box on a picture."""
    pictures, rows = {}, []
    for split, numbers in counts.items():
        for class_id, number in enumerate(numbers):
            for _ in range(number):
                pictures[len(pictures) + 1] = {"split": split}
                rows.append(box(len(pictures), class_id, 5, 5, 40, 40))
    return take_snapshot(dataset_of(rows, pictures=pictures, names=names), 640)


def _ids(findings: list) -> dict[str, str]:
    return {finding.id: finding.severity for finding in findings}


def test_a_healthy_set_is_silent() -> None:
    snapshot = _set({"train": (200, 150, 120), "val": (40, 30, 20), "test": (20, 20, 20)})
    for check in (missing_classes, rare_classes, few_measured, balance, names_alike):
        assert check(snapshot) == [], check.__name__


def test_a_class_that_is_only_measured_is_an_error() -> None:
    (finding,) = missing_classes(_set({"train": (20, 20, 0), "val": (9, 9, 3)}))
    assert (finding.id, finding.severity) == ("split.class_missing_in_train", "error")
    assert finding.evidence["classes"] == ["dent"]
    assert finding.message.startswith("dent has boxes in val or test")


def test_a_class_that_is_never_measured_is_a_warning_for_each_split() -> None:
    found = missing_classes(_set({"train": (20, 20, 20), "val": (9, 9, 0), "test": (0, 9, 0)}))
    assert _ids(found) == {"split.class_missing_in_val": "warning", "split.class_missing_in_test": "warning"}
    assert found[1].evidence["classes"] == ["pit", "dent"]


def test_a_class_that_is_never_used_is_said_once() -> None:
    (finding,) = missing_classes(_set({"train": (20, 0, 20), "val": (9, 0, 9)}))
    assert (finding.id, finding.evidence["classes"]) == ("classes.unused", ["scratch"])


def test_a_set_without_splits_can_have_unused_classes_alone() -> None:
    pictures = {1: {"split": None}}
    snapshot = take_snapshot(dataset_of([box(1, 0, 5, 5, 9, 9)], pictures=pictures), 640)
    assert _ids(missing_classes(snapshot)) == {"classes.unused": "warning"}


def test_boxes_on_pictures_outside_the_splits_are_not_measured() -> None:
    pictures = {1: {}, 2: {"split": "val"}, 3: {"split": None}}
    rows = [box(1, 0, 5, 5, 9, 9), box(2, 0, 5, 5, 9, 9), box(3, 1, 5, 5, 9, 9)]
    assert missing_classes(take_snapshot(dataset_of(rows, pictures=pictures), 640)) == []


def test_a_set_without_any_box_says_nothing_of_classes() -> None:
    snapshot = take_snapshot(dataset_of([]), 640)
    for check in (missing_classes, rare_classes, few_measured, balance):
        assert check(snapshot) == []


def test_rare_classes_are_counted_in_pictures_not_boxes() -> None:
    rows = [box(1, 0, 5, n, 40, n + 9) for n in range(60)]  # sixty boxes on one picture
    snapshot = take_snapshot(dataset_of(rows), 640)
    (finding,) = rare_classes(snapshot)
    assert (finding.id, finding.severity) == ("classes.rare_pictures", "warning")
    assert finding.evidence["training_pictures"] == {"pit": 1}
    assert finding.evidence["classes"] == {"pit": 60}


@pytest.mark.parametrize(
    ("pictures", "found"),
    [
        (10, {"classes.rare_pictures": "warning"}),
        (100, {"classes.few_pictures": "info"}),
        (11, {"classes.few_pictures": "info"}),
        (101, {}),
    ],
)
def test_rare_ends_at_10_pictures_and_few_at_100(pictures: int, found: dict[str, str]) -> None:
    assert _ids(rare_classes(_set({"train": (pictures, 200, 200)}))) == found


def test_a_class_with_fewer_than_15_boxes_in_val_is_not_measured() -> None:
    (finding,) = few_measured(_set({"train": (50, 50, 50), "val": (15, 14, 30)}))
    assert (finding.id, finding.severity) == ("split.few_boxes_in_val", "warning")
    assert finding.evidence["classes"] == {"scratch": 14}


@pytest.mark.parametrize(
    ("counts", "severity"),
    [((90, 10, 30), None), ((100, 10, 30), "info"), ((490, 10, 30), "info"), ((500, 10, 0), "warning")],
)
def test_uneven_classes(counts: tuple[int, int, int], severity: str | None) -> None:
    found = balance(_set({"train": counts}))
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    if found:
        assert found[0].evidence["ratio"] == max(counts) / 10


def test_evenness_is_one_over_the_number_when_one_class_has_all() -> None:
    (finding,) = balance(_set({"train": (3000, 1, 1)}))
    assert finding.evidence["evenness"] == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (("Pit", "pit ", "dent"), [["Pit", "pit "]]),
        (("pin-hole", "pin_hole", "pinhole"), [["pin-hole", "pin_hole", "pinhole"]]),
        (("weed", "weeds", "crop"), [["weed", "weeds"]]),
        (("ﬁssure", "fissure", "b"), [["ﬁssure", "fissure"]]),
        (("ga", "gas", "crop"), []),  # no plural
        (("glass", "pass", "class"), []),
        (("type 1", "type 2", "type 12"), []),
        (("+", "-", "_"), []),
        (("1.5 mm", "15 mm", "b"), []),
    ],
)
def test_names_that_mean_the_same(names: tuple[str, ...], groups: list[list[str]]) -> None:
    found = names_alike(_set({"train": (3, 2, 1)}, names))
    assert [finding.evidence["names"] for finding in found] == ([groups] if groups else [])
    if found:
        assert "boxes)" in found[0].message
        assert "data.remap" in found[0].advice
