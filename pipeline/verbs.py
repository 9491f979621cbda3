"""The verbs as functions: what the command line calls and what Python programs use.

Each puts the layers together that one verb needs: train, then evaluate, then report. Those that judge what was trained
stand in `evaluation_verbs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Configurable, load_config, settle
from .errors import RunError, TuneUpError
from .findings import Finding
from .runs import Run, list_runs
from .training.watcher import Watcher

if TYPE_CHECKING:
    from .training.preflight import Preflight
    from .training.proof import ProofResult
    from .training.replay import Culprit


def train(config: Configurable = None, *, overrides: Sequence[str] = (), watchers: Sequence[Watcher] = ()) -> Run:
    """Train, evaluate the best weights on `eval.split`, write the report; returns the run.

    Args:
        config: a `Config`, the path of a YAML file, or plain values as such a file holds them.
        overrides: `key=value` texts laid over it, such as `train.epochs=5`.
        watchers: who follows the training.

    Raises:
        ConfigError, DataError, ModelError, RunError, TrainingError: with a message that says what to do.
    """
    from .training import session

    settled = settle(config, overrides)
    report_watcher = ReportWatcher(settled.report.every)
    try:
        run = session.train(settled, watchers=[*watchers, report_watcher])
    except TuneUpError:
        report_watcher.write()
        raise
    return _finish(run)


def resume(run: Run | Path | str, *, watchers: Sequence[Watcher] = ()) -> Run:
    """Go on with a run that was killed or interrupted, then evaluate and report as `train` does.

    Raises:
        RunError: there is no such run, it is complete, or another process is training it.
        DataError, ModelError, TrainingError: as `train`.
    """
    from .training import session

    found = run if isinstance(run, Run) else Run.open(run)
    if found.state.get("state") == "complete" and not found.evaluations():
        return _finish(found)  # it was stopped between training and evaluation
    report_watcher = ReportWatcher(load_config(found.path / "config.yaml").report.every)
    try:
        session.resume(found, watchers=[*watchers, report_watcher])
    except TuneUpError:
        report_watcher.write()
        raise
    return _finish(found)


def doctor(config: Configurable = None, *, overrides: Sequence[str] = ()) -> Preflight:
    """Check a training before it begins: memory, first step, learning rate, whether it can learn, backpropagation.

    Args:
        config: as for `train`.
        overrides: `key=value` texts laid over it.

    Raises:
        ConfigError, DataError, ModelError, TrainingError: with a message that says what to do.
    """
    from .training import session

    return session.check(settle(config, overrides))


def diagnose(run: Run | Path | str) -> list[Finding]:
    """Judge the history of a run anew, by the rules of this version; the findings are kept in the run.

    Raises:
        RunError: there is no such run, or a record is damaged.
    """
    from .training.causes import causes_first
    from .training.diagnosis import diagnose as judge
    from .training.history import History

    found = run if isinstance(run, Run) else Run.open(run)
    findings = judge(History.of(found))
    found.add_findings(findings)
    found.add_findings(causes_first(found.findings()))
    return findings


def replay(incident: Path | str, *, device: str = "cpu") -> Culprit:
    """Repeat a step that was not finite, from the folder `incidents/step-...` of a run, and name the culprit.

    Raises:
        RunError: the folder holds no step, or it is damaged.
    """
    from .training.replay import load_step
    from .training.replay import replay as run_again

    situation, batches = load_step(Path(incident) / "step.pt", device)
    return run_again(situation, batches, [])


def prove_backprop(model: str = "yolo26n.yaml", *, config: Configurable = None) -> ProofResult:
    """Compare a model's backpropagation with finite differences in float64, on its own loss.

    For a model with layers of your own in Python: `pipeline.training.proof.prove_backprop(module)`.

    Args:
        model: an architecture (.yaml), a checkpoint (.pt), or a run folder, whose best weights are taken.
        config: its section `model` says where weights by name are looked for.

    Raises:
        ModelError: there is no such model.
        TrainingError: the model cannot be computed in float64.
    """
    from .model_source import resolve_model
    from .training.proof import prove_backprop as prove
    from .training.trial import bare_model

    path = Run.open(model).weights("best") if Path(model).is_dir() else None
    path = path or resolve_model(model, settle(config, ()).model.weights)
    return prove(bare_model(path))


def report(run: Run | Path | str) -> Path:
    """Write `report.html` of a run anew; returns its path.

    Raises:
        RunError: there is no such run, or its folder cannot be written.
    """
    from .reporting.html import write_report

    return write_report(run if isinstance(run, Run) else Run.open(run))


def make_demo(kind: str, folder: Path | str, *, seed: int = 0) -> Path:
    """Draw a demo set, `steel` or `field`, into a folder; returns its data.yaml.

    Raises:
        UsageError: there is no such demo, or the folder has pictures already.
    """
    from .data.synthetic import make_demo as draw

    return draw(kind, Path(folder), seed=seed)


def newest_run(folder: Path, *, with_weights: bool = False) -> Run:
    """Return the run that was started last; `with_weights` passes over those that have none.

    Raises:
        RunError: there is none.
    """
    runs = [run for run in list_runs(folder) if not with_weights or run.weights("best").is_file()]
    if not runs:
        raise RunError(f"{folder.absolute()}: no run here yet; train one with `make train` or `tuneup train CONFIG`")
    return runs[0]


class ReportWatcher(Watcher):
    """Rewrites report.html while a training goes on."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.run: Run | None = None

    def on_start(self, run: Run, epochs: int, first_epoch: int, batches: int) -> None:
        """Remember the run and write its first page."""
        self.run = run
        self.write()

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Write the page anew."""
        if record["epoch"] % self.every == 0:
            self.write()

    def write(self) -> None:
        """Write the page, if a run was started."""
        if self.run is not None:
            report(self.run)


def _finish(run: Run) -> Run:
    """Evaluate what was trained, on val to choose thresholds and then on the split to report; write the last report."""
    if run.weights("best").is_file():
        from .evaluation.evaluate import choose_split, evaluate_run
        from .reporting.model_card import write_card

        config, dataset = load_config(run.path / "config.yaml"), run.dataset()
        wanted = choose_split(dataset, config.eval.split)
        for split in dict.fromkeys(["val", wanted] if "val" in dataset.splits else [wanted]):
            evaluate_run(run, config.model_copy(update={"eval": config.eval.model_copy(update={"split": split})}))
        write_card(run)
    report(run)
    return run
