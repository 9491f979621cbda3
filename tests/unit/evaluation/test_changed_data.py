"""What is said when the data on disk is no longer that of the run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from helpers import draw, yolo_set

from pipeline.config import Config, config_from_dict
from pipeline.data.intake import read, read_dataset
from pipeline.data.split import prepare_splits
from pipeline.errors import DataError
from pipeline.evaluation.changed_data import (
    changed_data,
    changed_labels,
    changed_pictures,
    changed_set,
    differing_labels,
    refuse_missing,
)
from pipeline.runs import Run


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Run, Config, Path]:
    data = yolo_set(
        tmp_path / "set", {"train/a.png": "0 .5 .5 .4 .4\n", "test/b.png": "1 .5 .5 .2 .2\n", "test/c.png": ""}
    )
    run = Run.create(tmp_path / "runs", "one")
    run.save_dataset(read_dataset(data).dataset)
    return run, config_from_dict({"data": {"path": str(data)}}), data


def test_unchanged_data_gives_no_finding(kept: tuple[Run, Config, Path]) -> None:
    run, config, _ = kept
    part = run.dataset().split("test")
    assert changed_pictures(run, part) == []
    assert changed_labels(part, differing_labels(part, read(config.data).dataset)) == []


def test_changed_and_missing_pictures_are_named(kept: tuple[Run, Config, Path]) -> None:
    run, _, data = kept
    content = bytearray((data / "images/test/b.png").read_bytes())
    content[-20] ^= 1
    (data / "images/test/b.png").write_bytes(content)
    (data / "images/test/c.png").unlink()
    (finding,) = changed_pictures(run, run.dataset().split("test"))
    assert finding.id == "evaluation.pictures_changed"
    assert finding.evidence["pictures"] == ["images/test/b.png", "images/test/c.png"]
    (run.path / "dataset" / "files.parquet").unlink()  # a run of an earlier version
    assert changed_pictures(run, run.dataset().split("test")) == []


def test_changed_labels_of_the_split_are_named_and_others_are_not(kept: tuple[Run, Config, Path]) -> None:
    run, config, data = kept
    part = run.dataset().split("test")
    (data / "labels/train/a.txt").write_text("0 .5 .5 .3 .3\n")
    assert changed_labels(part, differing_labels(part, read(config.data).dataset)) == []
    (data / "labels/test/c.txt").write_text("0 .5 .5 .3 .3\n")
    (finding,) = changed_labels(part, differing_labels(part, read(config.data).dataset))
    assert (finding.id, finding.evidence["pictures"]) == ("evaluation.labels_changed", ["images/test/c.png"])


def test_data_that_is_gone_is_said(kept: tuple[Run, Config, Path]) -> None:
    run, config, data = kept
    shutil.rmtree(data)
    (finding,) = [f for f in changed_data(run, run.dataset().split("test"), config) if "pictures" not in f.id]
    assert (finding.id, finding.severity) == ("evaluation.labels_unknown", "warning")


def test_nothing_is_said_of_data_that_is_as_it_was(kept: tuple[Run, Config, Path]) -> None:
    run, config, _ = kept
    assert changed_data(run, run.dataset().split("test"), config) == []


def test_names_pictures_and_splits_that_changed_are_named(kept: tuple[Run, Config, Path]) -> None:
    run, _, data = kept
    draw(data / "images/test/new.png")
    (data / "labels/test/new.txt").write_text("")
    (data / "images/test/c.png").rename(data / "images/train/d.png")
    (data / "labels/train/d.txt").write_text("")
    text = (data / "data.yaml").read_text().replace("names: [pit, scratch]", "names: [pit, crack]")
    (data / "data.yaml").write_text(text)
    (finding,) = changed_set(run.dataset(), read_dataset(data).dataset, [], True)
    assert finding.evidence == {
        "names": ["pit", "crack"],
        "new": ["images/test/new.png", "images/train/d.png"],
        "gone": ["images/test/c.png"],
    }


def test_a_picture_listed_in_another_split_is_named_but_not_val_taken_from_train(tmp_path: Path) -> None:
    data = yolo_set(tmp_path / "set", {f"train/{n}.png": "0 .5 .5 .4 .4\n" for n in "abcdef"} | {"test/z.png": ""})
    config = config_from_dict({"data": {"path": str(data), "val_fraction": 0.3}})
    there = read(config.data).dataset
    divided, _ = prepare_splits(there, config.data)
    assert "val" in divided.splits
    assert changed_set(divided, there, [], True) == []
    (data / "data.yaml").write_text("train: images/test\ntest: images/train\nnames: [pit, scratch]\n")
    (finding,) = changed_set(divided, read(config.data).dataset, [], True)
    assert len(finding.evidence["in_another_split"]) == 7
    assert changed_set(divided, read(config.data).dataset, [], False) == []


def test_labels_that_changed_in_other_splits_are_named_and_a_new_class_name_changes_no_label(
    kept: tuple[Run, Config, Path],
) -> None:
    run, config, data = kept
    (data / "labels/train/a.txt").write_text("")
    text = (data / "data.yaml").read_text().replace("names: [pit, scratch]", "names: [pit, crack]")
    (data / "data.yaml").write_text(text)
    (finding,) = changed_data(run, run.dataset().split("test"), config)
    assert finding.id == "evaluation.data_changed"
    assert finding.evidence == {"names": ["pit", "crack"], "labels": ["images/train/a.png"]}


def test_pictures_that_are_gone_are_named_with_what_to_do(kept: tuple[Run, Config, Path]) -> None:
    run, _, data = kept
    part = run.dataset().split("test")
    refuse_missing(part, "test")
    (data / "images/test/b.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 pictures of 'test' are gone .*data=FOLDER"):
        refuse_missing(part, "test")


def test_the_same_box_twice_is_another_label_than_once(kept: tuple[Run, Config, Path]) -> None:
    dataset = kept[0].dataset()
    twice = replace(dataset, boxes=pl.concat([dataset.boxes, dataset.boxes.head(1)]))
    assert differing_labels(dataset, dataset) == []
    assert differing_labels(dataset, twice) == ["images/train/a.png"]
    assert differing_labels(twice, dataset) == ["images/train/a.png"]
