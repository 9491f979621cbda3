"""The verb ablate: train with a policy and without each of its entries, seed by seed, and say which entries help.

Every training is an ordinary run folder in the folder of the ablation. That folder is all that is remembered: a second
call looks at the runs that are there, leaves out what is complete, goes on with what was interrupted, and trains the
rest.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import evaluation_verbs, verbs
from .ablation_plan import arm_policy, comparable, differences, folder_name, make_plan
from .ablation_result import Ablation, Mode, Plan, Record, State
from .config import Config, Configurable, load_config, settle
from .errors import RunError, TuneUpError
from .records import exclusive, explain_disk_errors, read_json, write_json
from .reporting.ablation_page import write_ablation_page
from .runs import Run
from .training.watcher import Watcher

RESULT, PAGE = "ablation.json", "ablation.html"
# A run that was cut off before it had a config.yaml holds no more than these.
_BEFORE_A_RUN = {"dataset", "data.json", "audit.json", "findings.json", "environment.json", "state.json"}


class AblationWatcher(Watcher):
    """Someone who follows an ablation and each of its trainings; itself it does nothing."""

    def on_plan(self, ablation: Ablation) -> None:
        """It is known what will be trained, and what is there already."""

    def on_training(self, number: int, arm: str, seed: int) -> None:
        """A training begins or goes on; `number` counts from 1 over all that are planned."""

    def on_result(self, ablation: Ablation) -> None:
        """A training is complete; its record is the last one."""


def ablate(
    config: Configurable = None,
    *,
    overrides: Sequence[str] = (),
    mode: Mode = "leave-one-out",
    seeds: int = 3,
    folder: Path | str | None = None,
    watchers: Sequence[Watcher] = (),
) -> Ablation:
    """Train with and without each entry of the policy `config.augment`, and say whether each one helps.

    All trainings have the same data, the same number of epochs (without early stopping) and, seed by seed, the same
    `train.seed`. Checks before the training run for the first one. `ablation.json` and `ablation.html` are
    written anew after each training, so that they can be read at any time.

    Args:
        config: as for `train`.
        overrides: `key=value` texts laid over it.
        mode: leave-one-out compares the whole policy with it less one entry; add-one-in no augmentation with one entry.
        seeds: how often each arm is trained; 2 or more.
        folder: where the runs lie; by default `<runs>/<name>`, or a name of data, policy and mode. One that holds a
            part of this ablation is gone on with.
        watchers: who follows the trainings; those that are an `AblationWatcher` follow the ablation as well.

    Returns:
        What came out; its `state` is `interrupted` after Ctrl-C.

    Raises:
        UsageError: there is nothing to compare, or the trainings would not be comparable.
        RunError: the folder holds runs of another configuration or of other data.
        ConfigError, DataError, ModelError, TrainingError: as `train`.
    """
    settled = comparable(settle(config, overrides), mode, seeds)
    place = (Path(folder) if folder is not None else settled.runs / folder_name(settled, mode)).absolute()
    with _reserved(place, mode):
        return _Session(settled, make_plan(settled, mode, seeds), place, watchers).run()


@contextmanager
def _reserved(place: Path, mode: Mode) -> Iterator[None]:
    """Hold the folder of an ablation, made if need be, while the block runs."""
    if place.exists() and not place.is_dir():
        raise RunError(f"{place}: a file; name another folder for the ablation")
    there = [file.name for file in place.iterdir() if not file.name.startswith(".")] if place.is_dir() else []
    if there and RESULT not in there:
        raise RunError(f"{place}: holds something else than an ablation; choose another name with name=NAME")
    other = dict(read_json(place / RESULT, {})).get("mode", mode)
    if other != mode:
        raise RunError(f"{place}: holds an ablation of mode {other}; choose another name for this one with name=NAME")
    with explain_disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with exclusive(place / ".lock", "is being worked on"):
        yield


class _Session:
    """One call of `ablate`: the records so far, and the next training."""

    def __init__(self, config: Config, plan: Plan, place: Path, watchers: Sequence[Watcher]) -> None:
        self.config, self.place, self.watchers = config, place, watchers
        self.followers = [watcher for watcher in watchers if isinstance(watcher, AblationWatcher)]
        self.fingerprint = ""
        self.ablation = Ablation(plan, folder=str(place))

    def run(self) -> Ablation:
        """Train what is not there yet; returns the ablation, complete or interrupted."""
        trainings = self.ablation.plan.trainings
        for arm, seed in trainings:  # all of them first: better an error now than after hours
            if (run := self._found(arm, seed)) is not None and self._is_measured(run):
                self._add(arm, seed, run)
        self._write("running")
        for follower in self.followers:
            follower.on_plan(self.ablation)
        there = {(record.arm, record.seed) for record in self.ablation.records}
        try:
            for number, (arm, seed) in enumerate(trainings, start=1):
                if (arm, seed) not in there and not self._train(number, arm, seed):
                    return self._write("interrupted", "stopped on request")
        except KeyboardInterrupt:
            return self._write("interrupted", "stopped on request")
        except TuneUpError as error:
            self._write("failed", str(error))
            raise
        return self._write("complete")

    def _train(self, number: int, arm: str, seed: int) -> bool:
        """Bring one training to its end and take in its record; False when it was interrupted."""
        for follower in self.followers:
            follower.on_training(number, arm, seed)
        run = self._finished(arm, seed)
        if run.state.get("state") != "complete":
            return False
        self._add(arm, seed, run)
        self._write("running")
        for follower in self.followers:
            follower.on_result(self.ablation)
        return True

    def _finished(self, arm: str, seed: int) -> Run:
        """Train, go on with, or evaluate a run, whatever it lacks."""
        run = self._found(arm, seed)
        if run is None:
            return verbs.train(self._config(arm, seed), watchers=self.watchers)
        if run.state.get("state") == "complete" and run.evaluations():
            evaluation_verbs.evaluate(run, overrides=[f"eval.split={self._split(run)}"])
            return run
        return verbs.resume(run, watchers=self.watchers)

    def _config(self, arm: str, seed: int) -> Config:
        plan, config = self.ablation.plan, self.config
        changes: dict[str, Any] = {
            "name": f"{arm}-seed{seed}",
            "runs": self.place,
            "train": config.train.model_copy(update={"seed": seed}),
            "augment": arm_policy(config.augment, plan, arm),
        }
        # Data and network are checked once, with the first policy. The others are parts of it: one that does nothing on
        # these pictures is a result, and no reason to stop.
        if (arm, seed) != plan.trainings[0]:
            changes["monitor"] = config.monitor.model_copy(update={"preflight": 0.0})
        return config.model_copy(update=changes)

    def _found(self, arm: str, seed: int) -> Run | None:
        """Return the run that is there, complete or to be gone on with; what is left of a mere start is cleared away.

        Raises:
            RunError: it was trained otherwise, or another process is training it.
        """
        wanted = self._config(arm, seed)
        path = self.place / str(wanted.name)
        if not path.exists():
            return None
        run = Run(path)
        if run.is_being_trained():
            raise RunError(f"{path}: is being trained by another process; end that one first")
        if not (path / "config.yaml").is_file():
            if any(file.name not in _BEFORE_A_RUN and not file.name.startswith(".") for file in path.iterdir()):
                raise RunError(f"{path}: no run, though it has the name of one; move it elsewhere")
            shutil.rmtree(path)
            return None
        from .training.environment import deciding, environment_record

        changed = differences(load_config(path / "config.yaml").to_dict(), wanted.to_dict())
        changed += differences(deciding(read_json(path / "environment.json", {})), deciding(environment_record()))
        if changed:
            raise RunError(
                f"{path}: was trained with another configuration or version ({'; '.join(changed)}). Choose another "
                f"name for this ablation with name=NAME, or delete that folder"
            )
        if _is_mere_start(run):
            shutil.rmtree(path)  # begun anew, with its checks
            return None
        return run

    def _split(self, run: Run) -> str:
        wanted = self.config.eval.split
        return wanted if wanted != "auto" else ("test" if "test" in run.data_record["counts"] else "val")

    def _is_measured(self, run: Run) -> bool:
        from .evaluation.evaluate import is_evaluated

        if run.state.get("state") != "complete" or self._split(run) not in run.evaluations():
            return False
        return is_evaluated(run, self._split(run), self.config)  # not one made by hand, with other settings

    def _add(self, arm: str, seed: int, run: Run) -> None:
        """Take in the record of a complete run.

        Raises:
            RunError: it was trained on other pictures than the first one, or there was nothing to measure.
        """
        fingerprint, split = str(run.data_record["fingerprint"]), self._split(run)
        self.fingerprint = self.fingerprint or fingerprint
        if fingerprint != self.fingerprint:
            raise RunError(
                f"{run.path}: pictures or labels of {self.config.data.path} changed while the ablation went on, so "
                f"that its trainings cannot be compared. Restore them, or begin anew under another name with name=NAME"
            )
        evaluations = run.evaluations()
        metrics = evaluations[split]
        if metrics["map50_95"] is None:
            raise RunError(f"{run.path}: {split} has no boxes, so there is nothing to compare; see eval.split")
        seconds = float(run.state.get("seconds") or 0.0) + sum(float(m["seconds"]) for m in evaluations.values())
        scores = (float(metrics["map50_95"]), float(metrics["map50"]))
        record = Record(arm, seed, run.name, *scores, round(seconds, 1), bool(metrics["chose_checkpoint"]))
        ablation = self.ablation
        plan = replace(ablation.plan, split=split)
        self.ablation = replace(ablation, plan=plan, records=(*ablation.records, record))

    def _write(self, state: State, reason: str = "") -> Ablation:
        """Write the results as they stand; returns them."""
        self.ablation = replace(self.ablation, state=state, reason=reason)
        write_json(self.place / RESULT, self.ablation.to_dict())
        write_ablation_page(self.place / PAGE, self.ablation)
        return self.ablation


def _is_mere_start(run: Run) -> bool:
    """Whether a training ended before its first epoch was complete; `resume` would begin anew without checks."""
    ended_early = run.state.get("state") in {"running", "interrupted", "failed"}
    return ended_early and run.epochs().height < 2 and not run.weights("resume").is_file()
