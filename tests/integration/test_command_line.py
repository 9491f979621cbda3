"""The command line as a person or another program meets it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from pipeline.runs import Run


def test_train_prints_a_line_per_epoch_and_the_summary(
    tiny_overrides: list[str], tuneup: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = tuneup("train", *tiny_overrides, "epochs=2", "name=seen")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 2
    assert all("|g|" in line and "lr" in line and "left" in line for line in lines if line.startswith("epoch "))
    for heading in ("Run ", "Verdict ", "On test ", "Findings ", "Report ", "Weights ", "Next "):
        assert any(line.startswith(heading) for line in lines), heading
    assert "did not choose the weights" in done.stdout
    assert done.stderr == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == [".tuneup", "runs"]


def test_json_is_one_document_and_nothing_else(
    tiny_run: Run, tuneup: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    listed = tuneup("runs", str(tiny_run.path.parent), "--json")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["tiny"]["state"] == "complete"
    assert rows["tiny"]["split"] == "test"
    evaluated = tuneup("eval", str(tiny_run.path), "eval.split=test", "--json")
    assert json.loads(evaluated.stdout)["map50"] == rows["tiny"]["map50"]


def test_every_key_is_explained(tuneup: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    rows = json.loads(tuneup("train", "--explain", "--json").stdout)
    explained = {row["key"]: row["description"] for row in rows}
    assert {"data.path", "model.name", "train.epochs", "augment.mosaic", "monitor.clip", "eval.split"} <= set(explained)
    assert all(explained.values())
