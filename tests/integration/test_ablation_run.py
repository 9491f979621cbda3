"""A whole ablation with real trainings of a network of five layers: killed half-way, gone on with, called again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline import verbs
from pipeline.ablation import AblationWatcher, ablate
from pipeline.config import load_config
from pipeline.runs import Run
from pipeline.training import session

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
OFF = {knob: 0.0 for knob in ("mosaic", "translate", "scale", "hsv_h", "hsv_s", "hsv_v")}
TRAIN = {"epochs": 2, "imgsz": 32, "batch": 6, "nbs": 6, "optimizer": "AdamW", "device": "cpu", "warmup_epochs": 0.0}


class Killed(BaseException):
    """Ends a training the way a power cut does: nothing after it is written."""


class KillsTheFourth(AblationWatcher):
    """Lets the fourth training end after its first epoch."""

    number = 0

    def on_training(self, number: int, arm: str, seed: int) -> None:
        self.number = number

    def on_batch(self, epoch: int, batch: int) -> None:
        if self.number == 4 and epoch == 1:
            raise Killed


def times_of(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for run in folder.glob("*-seed*") for path in sorted(run.rglob("*"))}


@pytest.mark.slow
def test_an_ablation_survives_a_kill_and_trains_nothing_twice(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.yaml").write_text(NETWORK)
    values: dict[str, Any] = {
        "data": str(tiny_data),
        "name": "tried",
        "model": str(tmp_path / "net.yaml"),
        "runs": str(tmp_path / "runs"),
        "train": TRAIN,
        "augment": {**OFF, "close_mosaic": 0, "flipud": 1e-12, "fliplr": 0.5},
        "monitor": {"preflight": 0.0},
        "eval": {"resamples": 100},
    }
    folder = tmp_path / "runs" / "tried"
    monkeypatch.setattr(verbs, "report", lambda run: run)  # half of the time, and tested elsewhere

    close = session._close

    def close_unless_killed(run: Run, *how: Any) -> None:
        if run.name != "full-seed1":
            close(run, *how)

    with monkeypatch.context() as patch:
        patch.setattr(session, "_close", close_unless_killed)
        with pytest.raises(Killed):
            ablate(values, seeds=2, watchers=[KillsTheFourth()])
    cut = Run.open(folder / "full-seed1")
    assert (cut.state["state"], cut.epochs().height) == ("running", 1)
    cut.update_state(pid=None)
    before = {path: time for path, time in times_of(folder).items() if "seed0" in path}

    found = ablate(values, seeds=2)
    assert (found.state, len(found.records)) == ("complete", 6)
    assert "resume" in [event["event"] for event in cut.events()]
    after = times_of(folder)
    assert {path: after[path] for path in before} == before

    again = ablate(values, seeds=2)
    assert times_of(folder) == after
    assert again.to_dict() == found.to_dict()
    assert found.plan.split == "test"

    runs = {name: Run.open(folder / name) for name in os.listdir(folder) if "seed" in name}
    configs = {name: load_config(run.path / "config.yaml") for name, run in runs.items()}
    assert {run.epochs().height for run in runs.values()} == {2}
    assert len({run.data_record["fingerprint"] for run in runs.values()}) == 1
    assert configs["without-fliplr-seed1"].augment.fliplr == 0.0
    assert (configs["full-seed0"].train.seed, configs["full-seed1"].train.seed) == (0, 1)
    for seed in (0, 1):  # what never acts leaves every step as it was; what acts does not
        losses = {arm: runs[f"{arm}-seed{seed}"].steps()["loss"].to_list() for arm in found.plan.arms}
        assert losses["without-flipud"] == losses["full"] != losses["without-fliplr"]
    assert found.rows[0].entry == "flipud"
    assert found.rows[0].differences == (0.0, 0.0)
