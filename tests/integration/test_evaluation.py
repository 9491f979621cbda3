"""eval, compare and gate as a person or a build server calls them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import pipeline
from pipeline import cli
from pipeline.errors import DataError, UsageError
from pipeline.evaluation.schema import check_metrics
from pipeline.evaluation.split_guard import USES
from pipeline.records import read_lines
from pipeline.runs import Run

Tuneup = Callable[..., "subprocess.CompletedProcess[str]"]


def snapshot(folder: Path) -> dict[str, int]:
    """Return when each file of a folder was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def coco_files(run: Run, folder: Path) -> tuple[Path, Path]:
    """Write the test split and what a run found there as COCO files."""
    part, found = run.dataset().split("test"), run.detections("test")
    truth = {
        "images": [
            {"id": i, "file_name": path, "width": w, "height": h}
            for i, path, w, h in part.images.select("image_id", "path", "width", "height").iter_rows()
        ],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(part.names)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": k + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            for n, (i, k, x1, y1, x2, y2) in enumerate(
                part.boxes.select("image_id", "class_id", "x1", "y1", "x2", "y2").iter_rows(), start=1
            )
        ],
    }
    results = [
        {"image_id": i, "category_id": k + 1, "score": s, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for i, k, s, x1, y1, x2, y2 in found.iter_rows()
    ]
    for name, document in (("gt.json", truth), ("dt.json", results)):
        (folder / name).write_text(json.dumps(document))
    return folder / "gt.json", folder / "dt.json"


def test_another_detectors_files_give_the_same_figures_as_the_run(
    tiny_run: Run, tmp_path: Path, tuneup: Tuneup
) -> None:
    truth, found = coco_files(tiny_run, tmp_path)
    done = tuneup("eval", "--ground-truth", str(truth), "--detections", str(found), "--json")
    assert done.returncode == 0, done.stderr
    of_files, of_run = json.loads(done.stdout), tiny_run.evaluations()["test"]
    for name in ("map50_95", "map50", "map75", "ar"):
        assert of_files[name] == pytest.approx(of_run[name], abs=1e-6)
    check_metrics(of_run)
    check_metrics(of_files)
    told = tuneup("eval", "--ground-truth", str(truth), "--detections", str(found))
    assert "whether these pictures chose or trained the weights is not known" in told.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dt.json", "gt.json"]


def test_a_run_is_compared_with_its_last_weights_on_data_named_by_hand(
    tiny_run: Run, tiny_data: Path, tmp_path: Path
) -> None:
    best, last = (tiny_run.weights(which) for which in ("best", "last"))
    comparison = pipeline.compare(best, last, overrides=[f"data={tiny_data}", f"runs={tmp_path}", "imgsz=64"])
    assert comparison.images == 5
    assert (comparison.first, comparison.second) == ("best.pt", "last.pt")
    assert comparison.overall[0].first == pytest.approx(tiny_run.evaluations()["test"]["map50_95"], abs=1e-6)


def test_a_comparison_counts_as_a_use_and_changes_nothing_in_the_runs(tiny_run: Run) -> None:
    before = len(read_lines(tiny_run.path.parent / USES))
    files = snapshot(tiny_run.path)
    for overrides in ([], ["imgsz=96"], ["eval.split=val", "eval.conf=0.1"]):
        assert pipeline.compare(tiny_run, tiny_run, overrides=overrides).verdict in {"within noise", "not measured"}
    assert snapshot(tiny_run.path) == files
    assert len(read_lines(tiny_run.path.parent / USES)) == before + 6


def test_the_gate_is_open_for_the_same_run_and_writes_junit(tiny_run: Run, tmp_path: Path, tuneup: Tuneup) -> None:
    run = str(tiny_run.path)
    done = tuneup("gate", run, "--baseline", run, "--margin", "0.01", "--junit", "gate.xml", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] is True
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")


def test_the_gate_closes_on_a_drop_that_is_no_chance(tmp_path: Path, tuneup: Tuneup) -> None:
    images = [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 100} for i in range(1, 41)]
    boxes = [{"image_id": i, "category_id": 1, "bbox": [10, 10, 30 + i % 7, 40]} for i in range(1, 41)]
    truth = {
        "images": images,
        "categories": [{"id": 1, "name": "pit"}],
        "annotations": [{"id": n, "iscrowd": 0, **box} for n, box in enumerate(boxes)],
    }
    good = [{**box, "score": 0.9} for box in boxes]
    bad = [{**box, "score": 0.9} for box in boxes[::2]]
    for name, document in (("gt.json", truth), ("good.json", good), ("bad.json", bad)):
        (tmp_path / name).write_text(json.dumps(document))
    closed = tuneup("gate", "bad.json", "--baseline", "good.json", "--ground-truth", "gt.json")
    assert closed.returncode == 1
    assert "failed" in closed.stdout
    assert "is shown" in closed.stdout
    better = tuneup("compare", "bad.json", "good.json", "--ground-truth", "gt.json")
    assert "good.json is better than bad.json" in better.stdout
    assert tuneup("gate", "good.json", "--baseline", "bad.json", "--ground-truth", "gt.json").returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "a"), "two subjects are compared, found 1"),
        (("gate", "a"), "a baseline are needed"),
        (("gate", "a", "--baseline", "b", "--margin", "2"), "from 0 to 1"),
        (("compare", "a.json", "b.json"), "need their ground truth"),
        (("compare", "a.pt", "b.json", "--ground-truth", "gt.json"), "COCO detection files (.json) are compared"),
        (("eval", "--ground-truth", "gt.json"), "--ground-truth GT.json --detections DT.json"),
        (("eval", "--ground-truth", "gt.json", "--detections", "dt.json"), "gt.json"),
        (("eval", "--ground-truth", "g", "--detections", "d", "eval.conf=0.5"), "only eval.limit and eval.resamples"),
    ],
)
def test_wrong_usage_is_explained(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(words))
    assert stopped.value.code in {2, 3}
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_nothing_is_overwritten(tiny_run: Run, tmp_path: Path) -> None:
    notes = tmp_path / "notes.xml"
    notes.write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.xml: exists already"):
        pipeline.suspects(tiny_run, split="test", cvat=notes)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["gate", str(tiny_run.path), "--baseline", str(tiny_run.path), "--junit", str(notes)])
    assert stopped.value.code == 2
    assert notes.read_text() == "mine"
    result = tmp_path / "gate.xml"
    for _ in range(2):  # a build writes its own result again and again
        with pytest.raises(SystemExit) as ended:
            cli.main(["gate", str(tiny_run.path), "--baseline", str(tiny_run.path), "--junit", str(result)])
        assert ended.value.code == 0


def test_runs_on_other_data_are_not_compared(tiny_run: Run, tiny_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "fewer"
    shutil.copytree(tiny_data, data)
    for path in sorted((data / "images" / "test").iterdir())[:2]:
        path.unlink()
        (data / "labels" / "test" / path.with_suffix(".txt").name).unlink()
    evaluation = pipeline.evaluate(
        tiny_run.weights("best"), overrides=[f"data={data}", f"runs={tmp_path / 'runs'}", "imgsz=64"]
    )
    with pytest.raises(DataError, match=r"evaluated on 5 pictures and .* on 3, of which 3 are the same"):
        pipeline.compare(tiny_run, evaluation.run)
    with pytest.raises(UsageError, match="a run is evaluated with its own"):
        pipeline.evaluate(tiny_run, config={})
