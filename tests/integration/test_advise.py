"""An advice tried for real: a learning rate far too high, and the same training with the one that the finding names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import verbs
from pipeline.advice_verb import RESULT, advise
from pipeline.config import load_config
from pipeline.errors import DataError, RunError
from pipeline.runs import Run
from pipeline.training.picture_losses import spread

NETWORK = """nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [24, 3, 2]]
  - [-1, 1, Conv, [24, 3, 2]]
  - [-1, 1, Conv, [24, 3, 2]]
head:
  - [[2, 3, 4], 1, Detect, [nc]]
"""


@pytest.mark.slow
def test_a_rate_too_high_is_mended_by_its_advice(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.yaml").write_text(NETWORK)
    monkeypatch.setattr(verbs, "report", lambda run: run)  # half of the time, and tested elsewhere
    data = tmp_path / "set"
    data.symlink_to(tiny_data)
    first = verbs.train(
        {
            "data": str(data),
            "name": "high",
            "model": str(tmp_path / "net.yaml"),
            "runs": str(tmp_path / "runs"),
            "train": {"epochs": 3, "imgsz": 32, "batch": 4, "nbs": 4, "optimizer": "AdamW", "lr0": 0.9}
            | {"device": "cpu", "warmup_epochs": 0.0, "workers": 0},
            "augment": {"mosaic": 0.0},
            "monitor": {"preflight": 0.0},
            "eval": {"resamples": 100},
        }
    )
    found = advise(first, verify=True)
    assert found.trial is not None
    assert found.first is not None
    assert found.first.finding.id == "optimizer.lr_too_high"
    second = Run.open(found.trial.after.run)
    assert second.name == "high-advice"
    assert "optimizer.lr_too_high" not in found.trial.after.alarms
    # After nine steps no prediction of either network is assigned to an object: a loss of nothing is not compared.
    assert (found.trial.change.measure, found.trial.change.direction) == ("val_loss", "none")
    assert "no usable loss on 5 of them before and 5 after" in found.trial.change.words
    assert found.trial.verdict == "fixed"
    assert list(second.evaluations()) == ["val"]
    assert json.loads((second.path / RESULT).read_text()) == found.trial.to_dict()
    configs = [load_config(run.path / "config.yaml") for run in (first, second)]
    assert configs[0].train.seed == configs[1].train.seed
    assert first.data_record["fingerprint"] == second.data_record["fingerprint"]

    times = {path: path.stat().st_mtime_ns for path in second.path.rglob("*") if path.is_file()}
    assert advise(first, verify=True).to_dict() == found.to_dict()
    del times[second.path / RESULT]
    assert {path: path.stat().st_mtime_ns for path in times} == times  # nothing was trained again

    part = spread(first.dataset().split("val"))
    assert set(part.boxes["image_id"]) == set(part.images["image_id"])  # empty pictures are left out
    data.unlink()
    with pytest.raises(DataError, match=f"not there any more.*found stands in {second.path / RESULT}"):
        advise(first, verify=True)
    (second.path / "config.yaml").rename(second.path / "config.old")  # as if it had never been tried
    with pytest.raises(DataError, match=r"not there any more.*put it back$"):
        advise(first, verify=True)
    data.mkdir()
    (data / "images").symlink_to(tiny_data / "images")
    (data / "data.yaml").write_text((tiny_data / "data.yaml").read_text())
    (data / "labels").mkdir()
    for split in ("train", "val", "test"):
        (data / "labels" / split).mkdir()
        for file in (tiny_data / "labels" / split).iterdir():
            (data / "labels" / split / file.name).write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(RunError, match="have changed since it was trained"):
        advise(first, verify=True)
    assert sorted(path.name for path in first.path.parent.iterdir() if path.is_dir()) == ["high", "high-advice"]
