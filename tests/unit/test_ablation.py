"""The verb ablate with a training that only writes what a real one leaves behind: order, going on, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import ablation as module
from pipeline.ablation import AblationWatcher, ablate
from pipeline.ablation_plan import arm_policy, make_plan, setting
from pipeline.ablation_result import Ablation
from pipeline.config import Config, settle
from pipeline.errors import ConfigError, DataError, RunError, TuneUpError, UsageError
from pipeline.policy import CopyPaste, Policy, entries
from pipeline.records import write_atomic, write_json
from pipeline.runs import Run
from pipeline.training.environment import environment_record

VALUES: dict[str, Any] = {
    "model": "yolo26n.yaml",
    "train": {"epochs": 5, "seed": 3, "patience": 2, "batch": 4},
    "augment": {"name": "mine", "mosaic": 0.5, "close_mosaic": 2, "transforms": [{"GaussNoise": {"p": 0.3}}]},
}
OFF = {knob: 0.0 for knob in ("translate", "scale", "hsv_h", "hsv_s", "hsv_v", "fliplr")}
ORDER = [f"{arm}-seed{seed}" for seed in (3, 4) for arm in ("full", "without-mosaic", "without-GaussNoise")]


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "set").mkdir()
    augment = {**OFF, **VALUES["augment"]}
    return {**VALUES, "augment": augment, "data": str(tmp_path / "set"), "runs": str(tmp_path / "runs")}


class FakeTrainer:
    """In place of `verbs.train` and `verbs.resume`: remembers what was asked for, ends as it is told."""

    def __init__(self) -> None:
        self.trained: list[Config] = []
        self.resumed: list[str] = []
        self.ends: dict[str, str | BaseException] = {}  # by the run's name: its state, or what is raised
        self.fingerprint, self.split, self.on_done = "same", "test", lambda run: None

    @property
    def names(self) -> list[str | None]:
        return [config.name for config in self.trained]

    def train(self, config: Config, *, watchers: object) -> Run:
        self.trained.append(config)
        assert config.name is not None
        run = Run.create(config.runs, config.name)
        write_json(run.path / "environment.json", environment_record())
        counts = {"train": {}, "val": {}, self.split: {}}
        write_json(run.path / "data.json", {"fingerprint": self.fingerprint, "counts": counts})
        write_atomic(run.path / "config.yaml", config.model_copy(update={"name": run.name}).to_yaml())
        return self._end(run, self.ends.pop(run.name, "complete"))

    def resume(self, run: Run, *, watchers: object) -> Run:
        self.resumed.append(run.name)
        return self._end(run, "complete")

    def _end(self, run: Run, end: str | BaseException) -> Run:
        state = end if isinstance(end, str) else "running"
        run.update_state(state=state, seconds=10.0)
        if state == "interrupted":
            write_atomic(run.weights("resume"), b"exact state")
        if isinstance(end, BaseException):
            raise end
        if state == "complete":
            self.evaluate(run)
            self.on_done(run)
        return run

    def evaluate(self, run: Run, overrides: object = ()) -> None:
        seed = int(run.name.rsplit("seed", 1)[1])
        score = 0.4 + 0.01 * seed - (0.05 + 0.001 * seed if "mosaic" in run.name else 0.0)
        metrics = {"map50_95": score, "map50": score + 0.2, "seconds": 2.0, "chose_checkpoint": self.split == "val"}
        run.save_evaluation(self.split, {**metrics, "settings": "the configuration's"}, {})


def _is_evaluated(run: Run, split: str, config: Config) -> bool:
    return bool(run.evaluations()[split]["settings"] == "the configuration's")


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> FakeTrainer:
    fake = FakeTrainer()
    monkeypatch.setattr(module.verbs, "train", fake.train)
    monkeypatch.setattr(module.verbs, "resume", fake.resume)
    monkeypatch.setattr("pipeline.evaluation.evaluate.is_evaluated", _is_evaluated)
    monkeypatch.setattr(module.evaluation_verbs, "evaluate", fake.evaluate)
    # Drawing takes longer than all the rest here; pages are looked at in `test_ablation_page`.
    monkeypatch.setattr(module, "write_ablation_page", lambda path, found: path.write_text(found.state))
    return fake


def folder_of(values: dict[str, Any]) -> Path:
    return Path(values["runs"]) / "set-mine-leave-one-out"


def document(values: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads((folder_of(values) / "ablation.json").read_text("utf-8")))


def test_trainings_go_seed_by_seed_with_equal_budgets(values: dict[str, Any], trainer: FakeTrainer) -> None:
    found = ablate(values, seeds=2)
    assert trainer.names == ORDER
    assert {(c.train.epochs, c.train.patience, c.runs) for c in trainer.trained} == {(5, 5, folder_of(values))}
    assert [c.train.seed for c in trainer.trained] == [3, 3, 3, 4, 4, 4]
    assert [c.augment.mosaic for c in trainer.trained] == [0.5, 0.0, 0.5] * 2
    assert [len(c.augment.transforms) for c in trainer.trained] == [1, 1, 0] * 2
    assert [c.monitor.preflight > 0 for c in trainer.trained] == [True] + [False] * 5
    assert found.state == "complete"
    mosaic, noise = found.rows
    assert mosaic.contribution is not None
    assert mosaic.contribution.mean == pytest.approx(0.0535)
    assert noise.verdict == "no effect"
    assert document(values)["table"][0]["verdict"] == mosaic.verdict
    assert (folder_of(values) / "ablation.html").read_text() == "complete"


def test_a_second_call_trains_nothing_and_more_seeds_train_only_the_new_ones(
    values: dict[str, Any], trainer: FakeTrainer
) -> None:
    first = ablate(values, seeds=2)
    again = ablate(values, seeds=2)
    assert len(trainer.trained) == 6
    assert again.to_dict() == first.to_dict()
    assert len(ablate(values, seeds=3).records) == 9
    assert trainer.names[6:] == ["full-seed5", "without-mosaic-seed5", "without-GaussNoise-seed5"]


def test_an_interrupted_training_stops_the_ablation_and_is_gone_on_with(
    values: dict[str, Any], trainer: FakeTrainer
) -> None:
    trainer.ends["without-mosaic-seed3"] = "interrupted"
    found = ablate(values, seeds=2)
    assert (found.state, len(found.records)) == ("interrupted", 1)
    assert document(values)["state"] == "interrupted"
    assert [row["verdict"] for row in document(values)["table"]] == ["not trained yet"] * 2
    assert ablate(values, seeds=2).state == "complete"
    assert trainer.resumed == ["without-mosaic-seed3"]
    assert trainer.names == ORDER


@pytest.mark.parametrize("end", [KeyboardInterrupt(), RuntimeError("killed")], ids=["ctrl-c", "killed"])
def test_a_training_that_ended_before_its_first_epoch_begins_anew(
    values: dict[str, Any], trainer: FakeTrainer, end: BaseException
) -> None:
    trainer.ends["full-seed4"] = end
    if isinstance(end, KeyboardInterrupt):
        assert ablate(values, seeds=2).state == "interrupted"
    else:
        with pytest.raises(RuntimeError):
            ablate(values, seeds=2)
    Run(folder_of(values) / "full-seed4").update_state(pid=None)
    assert document(values)["done"] == 3
    found = ablate(values, seeds=2)
    assert found.state == "complete"
    assert trainer.resumed == []
    assert trainer.names.count("full-seed4") == 2
    assert sorted(path.name for path in folder_of(values).iterdir() if path.is_dir()) == sorted(ORDER)


def test_what_was_cut_off_before_it_was_a_run_is_cleared_away(values: dict[str, Any], trainer: FakeTrainer) -> None:
    ablate(values, seeds=2)
    cut = folder_of(values) / "full-seed4"
    shutil.rmtree(cut)
    write_json(cut / "data.json", {})
    assert ablate(values, seeds=2).state == "complete"
    assert trainer.names[6:] == ["full-seed4"]


def test_a_folder_of_something_else_is_left_alone(values: dict[str, Any], trainer: FakeTrainer) -> None:
    ablate(values, seeds=2)
    own = folder_of(values) / "full-seed4"
    shutil.rmtree(own)
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="no run, though it has the name of one"):
        ablate(values, seeds=2)
    assert (own / "thesis.txt").is_file()
    with pytest.raises(RunError, match="holds something else than an ablation"):
        ablate(values, seeds=2, folder=own)


def test_a_score_of_other_settings_is_not_taken(values: dict[str, Any], trainer: FakeTrainer) -> None:
    before = ablate(values, seeds=2).rows
    run = Run(folder_of(values) / "full-seed3")
    run.save_evaluation("test", {**run.evaluations()["test"], "map50_95": 0.9, "settings": "by hand"}, {})
    after = ablate(values, seeds=2)
    assert len(trainer.trained) == 6
    assert after.rows == before


def test_trainings_of_another_version_are_not_mixed(values: dict[str, Any], trainer: FakeTrainer) -> None:
    ablate(values, seeds=2)
    path = folder_of(values) / "full-seed4" / "environment.json"
    write_json(path, {**json.loads(path.read_text()), "torch": "1.0"})
    with pytest.raises(RunError, match=r"full-seed4: was trained with another .*version \(torch 1.0 there"):
        ablate(values, seeds=2)


def test_a_run_that_was_not_evaluated_is_evaluated(values: dict[str, Any], trainer: FakeTrainer) -> None:
    ablate(values, seeds=2)
    for name in ("full-seed3", "full-seed4"):
        shutil.rmtree(folder_of(values) / name / "eval")
    Run(folder_of(values) / "full-seed4").save_evaluation("val", {"seconds": 1.0}, {})
    assert len(ablate(values, seeds=2).records) == 6
    assert trainer.resumed == ["full-seed3"]  # lacks every evaluation; the other one only that on test
    assert len(trainer.trained) == 6


@pytest.mark.parametrize(
    ("override", "key"),
    [("train.lr0=0.5", "train.lr0 0.01 there, 0.5 now"), ("mosaic=0.7", "augment.mosaic 0.5 there, 0.7 now")],
)
def test_runs_of_another_configuration_are_refused_before_anything_is_trained(
    values: dict[str, Any], trainer: FakeTrainer, override: str, key: str
) -> None:
    ablate(values, seeds=2)
    with pytest.raises(RunError, match=f"full-seed3: was trained with another configuration.*{key}.*name=NAME"):
        ablate(values, overrides=[override], seeds=2)
    assert len(trainer.trained) == 6


def test_what_decides_on_no_score_may_change(values: dict[str, Any], trainer: FakeTrainer) -> None:
    ablate(values, seeds=2)
    ablate(values, overrides=["monitor.preflight=0", "report.samples=2"], seeds=2)
    assert len(trainer.trained) == 6


def test_the_other_mode_needs_a_folder_of_its_own(values: dict[str, Any], trainer: FakeTrainer, tmp_path: Path) -> None:
    ablate(values, seeds=2)
    with pytest.raises(RunError, match="holds an ablation of mode leave-one-out"):
        ablate(values, seeds=2, mode="add-one-in", folder=folder_of(values))
    found = ablate(values, seeds=2, mode="add-one-in")
    assert found.folder.endswith("set-mine-add-one-in")
    assert trainer.names[6:9] == ["none-seed3", "only-mosaic-seed3", "only-GaussNoise-seed3"]


def test_data_that_changes_meanwhile_stops_the_ablation(values: dict[str, Any], trainer: FakeTrainer) -> None:
    def change(run: Run) -> None:
        trainer.fingerprint = "another"

    trainer.on_done = change
    with pytest.raises(RunError, match=r"without-mosaic-seed3: pictures or labels of .*set changed"):
        ablate(values, seeds=2)
    assert document(values)["state"] == "failed"
    assert document(values)["done"] == 1


def test_an_error_of_a_training_is_kept_and_told(values: dict[str, Any], trainer: FakeTrainer) -> None:
    trainer.ends["without-mosaic-seed3"] = DataError("a picture is gone")
    with pytest.raises(DataError, match="a picture is gone"):
        ablate(values, seeds=2)
    assert (document(values)["state"], document(values)["reason"]) == ("failed", "a picture is gone")


def test_val_is_taken_where_there_is_no_test_and_said_to_have_chosen(
    values: dict[str, Any], trainer: FakeTrainer
) -> None:
    trainer.split = "val"
    found = ablate(values, seeds=2)
    assert found.plan.split == "val"
    assert all(record.chose_checkpoint for record in found.records)
    assert any("val also chose the weights" in note for note in found.notes)


def test_a_watcher_hears_the_plan_every_training_and_how_long_the_rest_takes(
    values: dict[str, Any], trainer: FakeTrainer
) -> None:
    heard: list[Any] = []

    class Follower(AblationWatcher):
        def on_plan(self, ablation: Ablation) -> None:
            heard.append((len(ablation.records), ablation.seconds_left))

        def on_training(self, number: int, arm: str, seed: int) -> None:
            heard.append((number, arm, seed))

        def on_result(self, ablation: Ablation) -> None:
            heard.append(ablation.seconds_left)

    trainer.ends["without-GaussNoise-seed3"] = "interrupted"
    ablate(values, seeds=2, watchers=[Follower()])
    training = [(1, "full", 3), 60.0, (2, "without-mosaic", 3), 48.0, (3, "without-GaussNoise", 3)]
    assert heard == [(0, None), *training]
    heard.clear()
    ablate(values, seeds=2, watchers=[Follower()])
    assert heard[:2] == [(2, 48.0), (3, "without-GaussNoise", 3)]
    assert heard[-1] == 0.0


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"seeds": 1}, UsageError, "one training says nothing about chance"),
        ({"mode": "both"}, UsageError, "there are leave-one-out and add-one-in"),
        ({"overrides": ["mosaic=0", "augment.transforms=[]"]}, UsageError, "the policy does nothing"),
        ({"overrides": ["train.time=1"]}, UsageError, "train.time"),
        ({"overrides": ["batch=-1"]}, UsageError, "train.batch=-1"),
        ({"overrides": ["eval.split=train"]}, UsageError, "eval.split=train"),
        ({"overrides": ["train.epochs=many"]}, ConfigError, "train.epochs"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_what_could_not_be_compared_is_refused(
    values: dict[str, Any], trainer: FakeTrainer, change: dict[str, Any], error: type[TuneUpError], words: str
) -> None:
    with pytest.raises(error, match=words):
        ablate(values, **change)
    assert not Path(values["runs"]).exists()


def test_no_data_is_said(values: dict[str, Any], trainer: FakeTrainer) -> None:
    with pytest.raises(ConfigError, match=r"data.path: not set"):
        ablate({key: value for key, value in values.items() if key != "data"})


def test_two_processes_do_not_work_on_one_ablation(values: dict[str, Any], trainer: FakeTrainer) -> None:
    def again(run: Run) -> None:
        with pytest.raises(RunError, match="is being worked on by another process"):
            ablate(values, seeds=2)

    trainer.on_done = again
    assert ablate(values, seeds=2).state == "complete"


def test_alone_an_entry_keeps_what_is_no_augmentation_of_its_own(values: dict[str, Any]) -> None:
    config = settle(values, ["augment.min_visibility=0.3"])
    plan = make_plan(config, "add-one-in", 2)
    nothing, mosaic = (arm_policy(config.augment, plan, arm) for arm in ("none", "only-mosaic"))
    assert entries(nothing) == ()
    assert entries(mosaic) == ("mosaic",)
    for policy in (nothing, mosaic):
        assert (policy.close_mosaic, policy.min_visibility, policy.name) == (2, 0.3, "mine")


def test_settings_read_as_in_the_file() -> None:
    policy = Policy(
        mosaic=0.5, transforms=[{"GaussNoise": {"std_range": [0.01, 0.03], "p": 0.2}}], copy_paste=CopyPaste(small=0.2)
    )
    assert setting(policy, "mosaic") == "0.5"
    assert setting(policy, "GaussNoise").startswith("std_range: 0.01, 0.03, p: 0.2")
    assert "small: 0.2" in setting(policy, "copy_paste")
