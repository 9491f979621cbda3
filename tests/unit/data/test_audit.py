"""The audit as a whole: order, what fails, what is said twice, and figures that add up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import ROOT, box, dataset_of, draw, yolo_set

from pipeline.data import audit as audit_module
from pipeline.data.audit import Audit, audit
from pipeline.data.checks import CHECKS, Snapshot, take_snapshot
from pipeline.data.dataset import Dataset
from pipeline.data.intake import Intake, read_dataset
from pipeline.data.raw import LEDGER_SCHEMA
from pipeline.data.synthetic import make_demo
from pipeline.findings import SEVERITIES, Finding

SHARED = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data"


def _intake(dataset: Dataset, *findings: Finding) -> Intake:
    return Intake(dataset, pl.DataFrame(schema=LEDGER_SCHEMA), dataset.boxes.height, findings)


def _ids(result: Audit) -> list[str]:
    return [finding.id for finding in result.findings]


def _small() -> Dataset:
    return dataset_of([box(1, 0, 5, 5, 40, 40), box(2, 1, 5, 5, 40, 40)])


def test_findings_come_worst_first_and_those_of_the_intake_before_their_equals() -> None:
    dataset = dataset_of([box(1, 0, 5, 5, 40, 40), box(2, 1, 5, 5, 40, 40)], pictures={1: {}, 2: {"split": "val"}})
    intake = _intake(dataset, Finding("labels.polygon", "info", "x"), Finding("labels.no_size", "warning", "x"))
    split = Finding("split.group_in_two_splits", "warning", "x")
    result = audit(dataset, intake=intake, pictures=False, findings=[split])
    ranks = [SEVERITIES.index(finding.severity) for finding in result.findings]
    assert ranks == sorted(ranks)
    ids = _ids(result)
    assert ids[0] == "split.class_missing_in_train"
    warnings = [finding.id for finding in result.findings if finding.severity == "warning"]
    assert warnings[:2] == ["labels.no_size", "split.group_in_two_splits"]
    infos = [finding.id for finding in result.findings if finding.severity == "info"]
    assert infos[0] == "labels.polygon"


def test_what_was_said_before_is_not_said_again() -> None:
    dataset = dataset_of([box(1, 0, 5, 5, 40, 40), box(2, 0, 5, 5, 40, 40)], pictures={1: {}, 2: {"split": "val"}})
    assert "classes.unused" in _ids(audit(dataset, pictures=False))
    before = Finding("classes.unused", "info", "known")
    result = audit(dataset, intake=_intake(dataset, before), pictures=False)
    assert [finding for finding in result.findings if finding.id == "classes.unused"] == [before]


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Snapshot) -> list[Finding]:
        raise KeyError("width")

    monkeypatch.setattr(audit_module, "CHECKS", (broken, *CHECKS))
    sound = audit(_small(), pictures=False)
    failed = [finding for finding in sound.findings if finding.id == "audit.check_failed"]
    assert failed[0].evidence["count"] == 1
    assert [finding.severity for finding in failed] == ["warning"]
    assert "test_audit.broken" in failed[0].message
    assert "KeyError" in failed[0].message
    assert "classes.rare_pictures" in _ids(sound)


def test_all_checks_that_fail_are_named_in_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(_: Snapshot) -> list[Finding]:
        raise KeyError("width")

    def other(_: Snapshot) -> list[Finding]:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(audit_module, "CHECKS", (one, other, *CHECKS))
    (failed,) = [finding for finding in audit(_small(), pictures=False).findings if "check_failed" in finding.id]
    assert "2 checks failed" in failed.message
    assert set(failed.evidence["checks"]) == {"test_audit.one", "test_audit.other"}
    assert "by zero" in failed.message


def _planted() -> list[Dataset]:
    """Sets in which as much as possible is wrong, in val and in test alike."""
    rng = np.random.default_rng(0)
    splits = ["train"] * 120 + ["val"] * 60 + ["test"] * 60
    sizes = {"train": (900, 800), "val": (300, 200), "test": (4000, 3000)}
    pictures = {
        n: {"split": split, "width": sizes[split][0], "height": sizes[split][1]}
        for n, split in enumerate(splits, start=1)
    }
    rows = []
    for n, split in enumerate(splits, start=1):
        side = {"train": 300, "val": 20, "test": 1.5}[split] * rng.uniform(0.9, 1.1)
        kind = 0 if split == "train" and n % 9 else 1 if split == "train" else 2 * (n % 2)
        rows += [box(n, kind, 3 * k, 5, 3 * k + side, 5 + side) for k in range(n % 4)]
    names = ("pit", "Pit", "dent", "unused")
    whole = dataset_of(rows, pictures=pictures, names=names)
    return [
        whole,
        dataset_of([], pictures=pictures, names=names),
        dataset_of([row for row in rows if row["image_id"] > 120], pictures=pictures, names=names),
        dataset_of(rows, pictures={n: {**picture, "split": None} for n, picture in pictures.items()}, names=names),
    ]


@pytest.mark.parametrize("number", range(4), ids=["whole", "empty", "train empty", "no splits"])
def test_no_two_findings_of_the_checks_have_one_id(number: int) -> None:
    snapshot = take_snapshot(_planted()[number], 640)
    ids = [finding.id for check in CHECKS for finding in check(snapshot)]
    assert sorted(ids) == sorted(set(ids))
    if number == 0:
        both = {
            f"split.{what}_differ_in_{s}" for what in ("classes", "box_sizes", "picture_sizes") for s in ("val", "test")
        }
        assert both <= set(ids)


def test_findings_of_one_id_that_come_from_outside_are_put_together() -> None:
    before = [
        Finding("labels.no_file", "warning", "one of train", {"count": 1}),
        Finding("labels.no_file", "error", "most of val", {"count": 9}, "put them there"),
    ]
    result = audit(_small(), intake=_intake(_small(), *before), pictures=False)
    (finding,) = [finding for finding in result.findings if finding.id == "labels.no_file"]
    assert (finding.severity, finding.advice) == ("error", "put them there")
    assert finding.message == "most of val; one of train"
    assert finding.evidence == {"count": 9, "more": [{"count": 1}]}


def test_pictures_that_cannot_be_looked_at_do_not_stop_the_checks_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise MemoryError("too many")

    monkeypatch.setattr(audit_module, "picture_facts", broken)
    result = audit(_small())
    assert "audit.check_failed" in _ids(result)
    assert result.figures["duplicates"] is None
    assert "classes.rare_pictures" in _ids(result)


def test_no_check_fails_on_a_set_without_boxes_pictures_or_splits() -> None:
    nothing = dataset_of([], pictures={})
    bare = dataset_of([], pictures={1: {"split": None}, 2: {"split": None}})
    crowded = dataset_of([box(1, 0, 5, 5, 40, 40, crowd=True)])
    one = dataset_of([box(1, 0, 5, 5, 40, 40)], pictures={1: {"split": "test"}}, names=("pit",))
    for dataset in (nothing, bare, crowded, one):
        result = audit(dataset, pictures=False)
        assert "audit.check_failed" not in _ids(result)
        json.dumps(result.to_dict(), allow_nan=False)


def test_figures_add_up(tmp_path: Path) -> None:
    labels = {
        "train/a.png": "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.004 0.2\n",
        "train/b.png": "",
        "val/c.png": "1 0.1 0.1 0.1 0.1\n0 0.9 0.9 0.1 0.1\n0 0.4 0.4 0.1 0.1\n",
    }
    intake = read_dataset(yolo_set(tmp_path, labels))
    figures = audit(intake.dataset, intake=intake, imgsz=320).figures
    assert figures["splits"]["train"] == {
        "pictures": 2, "empty": 1, "boxes": 2, "ignored": 0, "effective": 1, "lost": 1,
    }  # fmt: skip
    rows = {(row["class"], row["split"]): row for row in figures["classes"]}
    assert rows["scratch", "train"] == {
        "class": "scratch", "split": "train", "pictures": 1, "boxes": 1, "effective": 0, "lost": 1,
    }  # fmt: skip
    assert sum(map(sum, figures["box_sizes"]["classes"].values())) == 5 == sum(map(sum, figures["box_centres"]))
    assert figures["box_centres"][18][18] == 1
    assert figures["picture_sizes"] == {"distinct": 1, "most_frequent": [{"width": 40, "height": 30, "pictures": 3}]}
    assert figures["ledger"]["kept"] == 5
    assert set(figures["seconds"]) >= {"tables", "picture_facts", "duplicates", "figures", "leaks.leak_alike"}
    json.dumps(figures, allow_nan=False)


def test_copies_across_splits_are_found_on_disk(tmp_path: Path) -> None:
    labels = {"train/a.png": "0 0.5 0.5 0.2 0.2\n", "train/b.png": "0 0.5 0.5 0.2 0.2\n", "val/c.png": ""}
    yolo_set(tmp_path, labels)
    draw(tmp_path / "images" / "train" / "b.png", 50, 30)
    draw(tmp_path / "images" / "val" / "c.png", 40, 30)
    result = audit(read_dataset(tmp_path).dataset)
    worst = result.findings[0]
    assert (worst.id, worst.severity) == ("split.leak_identical", "error")
    assert worst.evidence["pictures"] == ["images/train/a.png", "images/val/c.png"]
    assert "labels.differ_on_copies" in _ids(result)
    assert result.figures["duplicates"]["identical"] == {"pairs": 1, "across_splits": 1}


@pytest.mark.parametrize("kind", ["steel", "field"])
def test_demo_sets_have_no_errors_and_no_warnings(kind: str, tmp_path: Path) -> None:
    counts = {"train": 60, "val": 50} if kind == "steel" else {"train": 30, "val": 20}
    result = audit(read_dataset(make_demo(kind, tmp_path, size=96, counts=counts)).dataset)
    assert [finding for finding in result.findings if finding.severity != "info"] == []


def test_bccd_has_pictures_with_forgotten_cells_and_boxes_of_the_wrong_class() -> None:
    if not (SHARED / "bccd").is_dir():
        pytest.skip(f"the BCCD pictures are not in {SHARED}")
    result = audit(read_dataset(SHARED / "bccd").dataset, pictures=False)
    found = {finding.id: finding for finding in result.findings}
    assert found["images.class_forgotten"].evidence["classes"] == {"RBC": 15}
    # Copied in labelImg, which puts the copy 2 pixels to the right and down.
    assert found["labels.near_duplicate"].evidence["count"] == 7
    # Looked at: two white cells labelled as platelets, and a platelet labelled as a white cell.
    assert [Path(path).stem for path in found["labels.unusual_size"].evidence["pictures"]] == [
        "BloodImage_00113", "BloodImage_00133", "BloodImage_00135",
    ]  # fmt: skip


def test_deeppcb_has_no_warning_about_its_labels() -> None:
    if not (SHARED / "deeppcb").is_dir():
        pytest.skip(f"the DeepPCB pictures are not in {SHARED}")
    result = audit(read_dataset(SHARED / "deeppcb").dataset, pictures=False)
    assert [finding.id for finding in result.findings if finding.severity != "info"] == []
