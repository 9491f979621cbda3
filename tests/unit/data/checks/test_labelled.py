"""A set in which nothing is labelled: one error, and nothing that only repeats it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import box, dataset_of, yolo_set

from pipeline.data.audit import audit
from pipeline.data.checks import CHECKS, take_snapshot
from pipeline.data.checks.labelled import nothing_labelled
from pipeline.data.intake import survey
from pipeline.sections import DataConfig


def _splits(**counts: int) -> dict[int, dict[str, Any]]:
    names = [split for split, count in counts.items() for _ in range(count)]
    return {n: {"split": split, "width": 640, "height": 480} for n, split in enumerate(names, start=1)}


def test_a_set_without_any_box_has_one_error_and_no_other_word_about_labels() -> None:
    snapshot = take_snapshot(dataset_of([], pictures=_splits(train=60, val=20, test=9)), 640)
    found = [finding for check in CHECKS for finding in check(snapshot)]
    assert [(finding.id, finding.severity) for finding in found] == [("labels.none", "error")]
    assert found[0].evidence["count"] == 89
    assert "nothing to learn" in found[0].message
    assert "data.path" in found[0].advice


def test_boxes_that_are_all_crowd_are_never_trained() -> None:
    (finding,) = nothing_labelled(take_snapshot(dataset_of([box(1, 0, 5, 5, 40, 40, crowd=True)]), 640))
    assert finding.id == "labels.none"
    assert finding.evidence["ignored"] == 1
    assert "crowd" in finding.message


def test_a_train_split_without_a_box_is_an_error_of_its_own() -> None:
    rows = [box(n, 0, 5, 5, 40, 40) for n in (4, 5, 6)]
    snapshot = take_snapshot(dataset_of(rows, pictures=_splits(train=3, val=2, test=1)), 640)
    (finding,) = nothing_labelled(snapshot)
    assert (finding.id, finding.severity) == ("labels.none_in_train", "error")
    assert finding.evidence["splits"] == {"val": 2, "test": 1}
    assert finding.evidence["pictures"] == ["1.png", "2.png", "3.png"]
    assert "split.class_missing_in_train" not in [f.id for check in CHECKS for f in check(snapshot)]


@pytest.mark.parametrize("split", ["train", None])
def test_one_box_that_is_trained_is_enough(split: str | None) -> None:
    pictures = {1: {"split": split}, 2: {"split": split}}
    assert nothing_labelled(take_snapshot(dataset_of([box(1, 0, 5, 5, 9, 9)], pictures=pictures), 640)) == []
    assert nothing_labelled(take_snapshot(dataset_of([], pictures={}), 640)) == []


def test_the_advice_names_the_file_in_which_labels_were_looked_for(tmp_path: Path) -> None:
    intake = survey(DataConfig(path=yolo_set(tmp_path, {"train/a.png": "", "val/b.png": ""}), format="yolo"))
    (finding,) = (f for f in audit(intake.dataset, intake=intake, pictures=False).findings if f.severity == "error")
    assert finding.id == "labels.none"
    assert str(tmp_path / "labels" / "train" / "a.txt") in finding.advice
