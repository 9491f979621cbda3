"""The verb advise with a training that only writes what a real one leaves behind: what is trained, reused, refused."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import advice_verb as module
from pipeline import cli
from pipeline.advice_verb import RESULT, advise
from pipeline.config import Config, load_config, settle
from pipeline.errors import DataError, RunError, TrainingError, UsageError
from pipeline.evaluation.compare import Comparison, Difference
from pipeline.evaluation.intervals import Interval
from pipeline.findings import Finding
from pipeline.records import exclusive, write_atomic
from pipeline.runs import Run

HIGH = Finding("optimizer.lr_too_high", "error", "too large steps", {"step": 3}, "train.lr0=0.002: smaller steps")
FEW = Finding("schedule.too_few_steps", "warning", "few steps", {}, "train.epochs=50: more")
NOTE = Finding("split.val_too_small", "info", "few pictures", {}, "more pictures")


def finished(run: Run, state: str, findings: Sequence[Finding], *, weights: bool = True) -> Run:
    run.add_findings(findings)
    run.update_state(state=state, reason="" if state == "complete" else "NaN", pid=None)
    if weights:
        write_atomic(run.weights("best"), b"weights")
        write_atomic(run.weights("last"), b"weights")
    if state == "complete":
        run.save_evaluation("val", {"map50": 0.1}, {})
    return run


@pytest.fixture
def first(tmp_path: Path) -> Run:
    run = Run.create(tmp_path / "runs", "bad")
    (tmp_path / "set").mkdir()
    values = {"model": "yolo26n.yaml", "data": str(tmp_path / "set"), "train": {"lr0": 0.1, "epochs": 5, "seed": 3}}
    config = settle(values, ["monitor.preflight=7", f"runs={tmp_path / 'runs'}", "name=bad", "eval.split=test"])
    write_atomic(run.path / "config.yaml", config.to_yaml())
    return finished(run, "complete", [NOTE, FEW, HIGH])


class FakeTrainer:
    """In place of `verbs.train` and `verbs.resume`, and of the comparison."""

    def __init__(self) -> None:
        self.trained: list[Config] = []
        self.resumed: list[str] = []
        self.compared: list[tuple[str, str, list[str]]] = []
        self.ends: list[tuple[str, list[Finding]] | BaseException] = []
        self.verdict = "within noise"

    def train(self, config: Config, *, watchers: object) -> Run:
        self.trained.append(config)
        run = Run.create(config.runs, str(config.name))
        write_atomic(run.path / "config.yaml", config.model_copy(update={"name": run.name}).to_yaml())
        return self._end(run)

    def resume(self, run: Run, *, watchers: object) -> Run:
        self.resumed.append(run.name)
        return self._end(run)

    def _end(self, run: Run) -> Run:
        end = self.ends.pop(0) if self.ends else ("complete", [FEW])
        if isinstance(end, BaseException):
            finished(run, "failed", [HIGH], weights=False)
            raise end
        state, findings = end
        if state == "interrupted":
            write_atomic(run.weights("resume"), b"exact state")
            run.update_state(state=state)
            return run
        return finished(run, state, findings)

    def compare(self, first: Run, second: Run, *, overrides: list[str]) -> Comparison:
        self.compared.append((first.name, second.name, overrides))
        rows = tuple(
            Difference(name, 0.2, 0.3, Interval(0.1, -0.1, 0.3), self.verdict, 30) for name in ("map50_95", "map50")
        )
        return Comparison(first.name, second.name, rows, (), 20, "picture", 20)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> FakeTrainer:
    fake = FakeTrainer()
    monkeypatch.setattr(module.verbs, "train", fake.train)
    monkeypatch.setattr(module.verbs, "resume", fake.resume)
    monkeypatch.setattr(module.evaluation_verbs, "compare", fake.compare)
    return fake


def test_listing_trains_nothing_and_writes_nothing(first: Run, trainer: FakeTrainer) -> None:
    before = sorted(first.path.rglob("*"))
    found = advise(first.path)
    assert [s.finding.id for s in found.suggestions] == [HIGH.id, FEW.id, NOTE.id]
    assert found.first is not None
    assert found.first.finding == HIGH
    assert (found.trial, found.helped, trainer.trained) == (None, True, [])
    assert sorted(first.path.rglob("*")) == before
    assert json.loads(json.dumps(found.to_dict()))["first"] == HIGH.id


def test_only_the_knob_changes_and_test_is_left_alone(first: Run, trainer: FakeTrainer) -> None:
    found = advise(first, verify=True)
    assert found.trial is not None
    assert found.trial.verdict == "fixed"
    (config,) = trainer.trained
    old, new = load_config(first.path / "config.yaml").to_dict(), config.to_dict()
    changed = {
        (section, key)
        for section, values in old.items()
        if isinstance(values, dict)
        for key in values
        if values[key] != new[section][key]
    }
    assert changed == {("train", "lr0"), ("eval", "split")}
    assert (config.train.lr0, config.name, config.monitor.preflight) == (0.002, "bad-advice", 7.0)
    assert config.eval.split == "val"
    assert trainer.compared == [("bad", "bad-advice", ["eval.split=val"])]
    kept = json.loads((first.path.parent / "bad-advice" / RESULT).read_text())
    assert kept == found.trial.to_dict()
    assert (kept["from"], kept["turned"]) == ({"train.lr0": 0.1}, {"train.lr0": "0.002"})


def test_a_second_call_trains_nothing_and_says_the_same(first: Run, trainer: FakeTrainer) -> None:
    once, twice = advise(first, verify=True), advise(first, verify=True)
    assert once.to_dict() == twice.to_dict()
    assert (len(trainer.trained), trainer.resumed) == (1, [])


def test_a_run_of_another_advice_is_left_alone(first: Run, trainer: FakeTrainer) -> None:
    advise(first, verify=True)
    first.add_findings([Finding(HIGH.id, "error", "x", {}, "train.lr0=0.001: smaller")])
    found = advise(first, verify=True)
    assert found.trial is not None
    assert Path(found.trial.after.run).name == "bad-advice-2"
    assert [c.train.lr0 for c in trainer.trained] == [0.002, 0.001]
    assert load_config(first.path.parent / "bad-advice" / "config.yaml").train.lr0 == 0.002


def test_an_interrupted_verification_is_gone_on_with(first: Run, trainer: FakeTrainer) -> None:
    trainer.ends = [("interrupted", [])]
    stopped = advise(first, verify=True)
    assert stopped.interrupted is not None
    assert stopped.trial is None
    assert not (stopped.interrupted.path / RESULT).exists()
    assert advise(first, verify=True).trial is not None
    assert (len(trainer.trained), trainer.resumed) == (1, ["bad-advice"])


def test_a_mere_start_is_begun_anew_with_its_checks(first: Run, trainer: FakeTrainer) -> None:
    trainer.ends = [("interrupted", [])]
    stopped = advise(first, verify=True).interrupted
    assert stopped is not None
    stopped.weights("resume").unlink()
    assert advise(first, verify=True).trial is not None
    assert ([c.name for c in trainer.trained], trainer.resumed) == (["bad-advice"] * 2, [])
    assert not (first.path.parent / "bad-advice-2").exists()


def test_a_training_that_stops_is_an_answer_and_is_not_tried_again(first: Run, trainer: FakeTrainer) -> None:
    trainer.ends = [TrainingError("10 steps were not finite")]
    found = advise(first, verify=True)
    assert found.trial is not None
    assert (found.trial.verdict, found.trial.change.measure, found.helped) == ("worse", "end", False)
    assert advise(first, verify=True).to_dict() == found.to_dict()
    assert (len(trainer.trained), trainer.resumed, trainer.compared) == (1, [], [])


def test_a_training_that_breaks_off_for_want_of_memory_is_no_answer_and_is_tried_again(
    first: Run, trainer: FakeTrainer
) -> None:
    broken = TrainingError("out of memory: 8 GB asked for")
    broken.broke_off = True
    trainer.ends = [broken]
    with pytest.raises(TrainingError, match="out of memory"):
        advise(first, verify=True)
    assert not (first.path.parent / "bad-advice" / RESULT).exists()
    found = advise(first, verify=True)
    assert found.trial is not None
    assert (found.trial.verdict, len(trainer.trained)) == ("fixed", 2)
    assert not (first.path.parent / "bad-advice-2").exists()


def test_a_run_that_stopped_is_fixed_when_the_next_comes_to_its_end(first: Run, trainer: FakeTrainer) -> None:
    first.update_state(state="failed", reason="not started: NaN")
    first.weights("best").unlink()
    found = advise(first, verify=True)
    assert found.trial is not None
    assert (found.trial.verdict, found.trial.change.direction, trainer.compared) == ("fixed", "up", [])


def test_other_errors_than_those_of_the_training_go_up(first: Run, trainer: FakeTrainer) -> None:
    trainer.ends = [RunError("the disk is full")]
    with pytest.raises(RunError, match="disk is full"):
        advise(first, verify=True)
    assert not (first.path.parent / "bad-advice" / RESULT).exists()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"state": "interrupted"}, RunError, "tuneup train --resume"),
        ({"state": "running", "pid": 10**9}, RunError, "tuneup train --resume"),
        ({"state": "running", "pid": os.getppid(), "host": platform.node()}, RunError, "is being trained"),
        ({"state": "evaluated"}, UsageError, "no training"),
    ],
)
def test_what_has_no_end_or_no_training_is_refused(
    first: Run, trainer: FakeTrainer, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    first.update_state(**changes)
    with pytest.raises(error, match=words):
        advise(first, verify=True)
    assert trainer.trained == []


def test_a_verification_that_another_process_trains_is_left_alone(first: Run, trainer: FakeTrainer) -> None:
    trainer.ends = [("interrupted", [])]
    stopped = advise(first, verify=True).interrupted
    assert stopped is not None
    stopped.update_state(state="running", pid=os.getppid(), host=platform.node())
    with pytest.raises(RunError, match="bad-advice: is being trained by another process"):
        advise(first, verify=True)


def test_data_that_is_gone_is_named_before_anything_is_trained(
    first: Run, trainer: FakeTrainer, tmp_path: Path
) -> None:
    (tmp_path / "set").rmdir()
    with pytest.raises(DataError, match=r"runs/bad: its data .*set is not there any more"):
        advise(first, verify=True)
    assert trainer.trained == []


def test_data_is_looked_at_before_a_verification_goes_on_too(
    first: Run, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.ends = [("interrupted", [])]
    assert advise(first, verify=True).interrupted is not None

    def changed(run: Run, config: Config) -> None:
        raise RunError("pictures have changed")

    monkeypatch.setattr(module, "_refuse_other_data", changed)
    with pytest.raises(RunError, match="have changed"):
        advise(first, verify=True)
    assert trainer.resumed == []


def test_of_a_training_that_never_began_nothing_less_than_its_error_is_turned(first: Run, trainer: FakeTrainer) -> None:
    unmendable = Finding("preflight.not_finite", "error", "the loss is inf", {}, "model=FILE: another checkpoint")
    write_atomic(first.path / "findings.json", json.dumps([unmendable.to_dict(), FEW.to_dict()]))
    assert advise(first).first is not None  # of a training that came to its end, the few steps can be mended
    first.update_state(state="failed")
    assert advise(first).first is None
    with pytest.raises(UsageError, match="nothing to turn"):
        advise(first, verify=True)


def test_two_verifications_at_once_would_begin_two_trainings(first: Run, trainer: FakeTrainer) -> None:
    with exclusive(first.path / ".advice.lock", "held by the test"), pytest.raises(RunError, match="is being verified"):
        advise(first, verify=True)
    assert trainer.trained == []
    assert advise(first, verify=True).trial is not None


def test_nothing_to_turn_is_wrong_usage_and_still_a_list(first: Run, trainer: FakeTrainer) -> None:
    write_atomic(first.path / "findings.json", json.dumps([NOTE.to_dict()]))
    assert advise(first).first is None
    with pytest.raises(UsageError, match="nothing to turn"):
        advise(first, verify=True)


def test_the_command_lists_verifies_and_says_by_its_exit_code_whether_it_helped(
    first: Run, trainer: FakeTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    def tuneup(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["advise", *words])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return int(str(ended.value.code)), shown.out + shown.err

    code, text = tuneup(str(first.path))
    assert code == 0
    assert "turn train.lr0=0.002  (first)" in text
    assert "turn train.epochs=50" in text
    assert "1 note" in text
    assert f"tuneup advise {first.path} --verify" in text
    code, text = tuneup(str(first.path), "--verify")
    assert code == 0
    assert "Verdict   fixed: optimizer.lr_too_high is gone, detection is as it was" in text
    trainer.verdict = "worse"
    code, text = tuneup(str(first.path), "--verify", "--json")
    assert (code, json.loads(text)["trial"]["verdict"]) == (1, "worse")
    code, text = tuneup(str(first.path.parent / "none"))
    assert (code, "no run here" in text) == (2, True)
    first.add_findings(
        [
            Finding("loss.noise", "info", "a note", {}, "train.batch=32: calmer"),
            Finding("layer.frozen", "warning", "the same", {}, "train.lr0=0.1: as it is"),
            Finding("data.no_boxes", "warning", "no knob", {}, "look at it"),
        ]
    )
    code, text = tuneup(str(first.path))
    assert "turn train.batch=32  (a note: --verify does not try it)" in text
    assert "turn nothing: the run has this setting already (train.lr0=0.1)" in text
    assert "turn nothing: no setting mends it" in text
    code, text = tuneup()
    assert (code, "Missing argument 'run'; see `tuneup --help`" in text.replace("RUN", "run")) == (2, True)
    first.add_findings([Finding(HIGH.id, "error", "x", {}, "train.lr0=0.001: smaller")])
    trainer.ends = [("interrupted", [])]
    code, text = tuneup(str(first.path), "--verify")
    assert (code, "the same command goes on" in text) == (130, True)
