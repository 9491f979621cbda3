"""`tuneup predict` as a person calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import pipeline
from pipeline import cli
from pipeline.errors import DataError, RunError, UsageError
from pipeline.evaluation import chosen
from pipeline.predict_verb import write_predictions
from pipeline.records import read_json
from pipeline.run_evaluations import SHOWN_FROM
from pipeline.runs import Run

Tuneup = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def pictures(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data / "images" / "test", tmp_path / "pictures"))


def test_a_run_predicts_at_the_thresholds_that_were_chosen_on_val(tiny_run: Run, pictures: Path) -> None:
    found = pipeline.predict(tiny_run, [pictures])
    record = read_json(tiny_run.path / chosen.FILE, {})
    if record:  # three epochs may find nothing on val; then nothing is chosen
        assert found.thresholds == record["point"]["thresholds"]
    else:
        assert set(found.thresholds.values()) == {SHOWN_FROM}
    everything = pipeline.predict(tiny_run, [pictures], overrides=["eval.conf=0.001"])
    assert set(everything.thresholds.values()) == {0.001}
    kept = everything.detections.filter(
        everything.detections["score"]
        >= everything.detections["class_id"].replace_strict(
            {0: found.thresholds["square"], 1: found.thresholds["disc"]}
        )
    )
    assert kept.height == found.detections.height


def test_a_checkpoint_predicts_from_a_quarter_on(tiny_run: Run, pictures: Path) -> None:
    found = pipeline.predict(tiny_run.weights("best"), [pictures], overrides=["imgsz=64"])
    assert set(found.thresholds.values()) == {SHOWN_FROM}
    with pytest.raises(UsageError, match="its own configuration"):
        pipeline.predict(tiny_run, [pictures], config={})
    with pytest.raises(UsageError, match="name the pictures"):
        pipeline.predict(tiny_run, [])


def test_the_command_writes_what_it_is_asked_for_and_nothing_else(
    tiny_run: Run, pictures: Path, tmp_path: Path, tuneup: Tuneup
) -> None:
    before = {path: path.read_bytes() for path in pictures.iterdir()}
    call = (
        "predict",
        str(tiny_run.path),
        "pictures",
        "eval.conf=0.01",
        "--out",
        "found",
        "--format",
        "json,yolo,drawn",
    )
    done = tuneup(*call, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(document["pictures"]) == 5
    written = json.loads((tmp_path / "found" / "predictions.json").read_text())
    assert written == {key: value for key, value in document.items() if key != "written"}
    names = {path.stem for path in pictures.iterdir()}
    assert {path.stem for path in (tmp_path / "found" / "labels").iterdir()} == names
    assert {path.stem for path in (tmp_path / "found" / "drawn").iterdir()} == names
    assert {path: path.read_bytes() for path in pictures.iterdir()} == before
    with pytest.raises(UsageError, match="nothing is overwritten"):
        write_predictions(pipeline.predict(tiny_run, [pictures]), tmp_path / "found", ["json"])


def test_an_unreadable_picture_is_named_and_the_others_are_predicted(
    tiny_run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "spoilt.png").write_bytes(b"no picture")
    monkeypatch.chdir(pictures.parent)
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", str(tiny_run.path), "pictures"])
    told = capsys.readouterr()
    assert ended.value.code == 0
    assert "5 pictures" in told.out
    assert "spoilt.png" in told.err


def test_wrong_uses_are_explained(tiny_run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"):
        pipeline.predict(tmp_path, [tmp_path])
    found = pipeline.predict(tiny_run, [Path(tiny_run.dataset().root) / "images" / "val"])
    with pytest.raises(UsageError, match="--format xml: one of json"):
        write_predictions(found, tmp_path / "out", ["xml"])


def test_a_run_on_deep_pictures_predicts_new_ones_by_its_range(tiny_run: Run, pictures: Path, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(tiny_run.path, tmp_path / "deep")))
    run.save_dataset(replace(run.dataset(), value_range=(500.0, 3050.0)))
    assert Run(run.path).dataset().value_range == (500.0, 3050.0)
    plain = pipeline.predict(run, [pictures], overrides=["eval.conf=0.01"])
    for path in list(pictures.iterdir()):
        cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 10 + 500)
    deep = pipeline.predict(run, [pictures], overrides=["eval.conf=0.01"])
    assert deep.value_range == (500.0, 3050.0)
    assert deep.detections.height == plain.detections.height
    assert pipeline.predict(run, [pictures]).value_range == (500.0, 3050.0)
    for subject in (tiny_run, run.weights("best")):  # trained on 8 bits; a bare checkpoint
        with pytest.raises(DataError, match=r"16 bits per channel.*tuneup predict runs/NAME"):
            pipeline.predict(subject, [pictures], overrides=["imgsz=64"])
