"""The verb advise: what a setting could mend in a run, and, trained again with it, whether it does.

The second training is an ordinary run beside the first one, `<name>-advice`. It is all that is remembered: a second
call goes on with it where it was interrupted and takes it as it is where it is complete. `advice.json` in it says that
it has been judged.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import evaluation_verbs, verbs
from .ablation_plan import differences
from .advice import Suggestion, suggestions
from .advice_result import Change, Side, Trial, alarms_of, end_alone, loss_change, map_change
from .config import Config, config_from_dict, load_config, require_data
from .data.digests import picture_digests
from .errors import ConfigError, DataError, RunError, TrainingError, UsageError
from .records import exclusive, write_json
from .runs import Run
from .training.diagnosis import diagnose
from .training.history import History
from .training.watcher import Watcher

RESULT = "advice.json"


@dataclass(frozen=True)
class Advice:
    """What `advise` found out about a run.

    Args:
        run: the run.
        suggestions: its findings with what would be turned, the first one first.
        trial: the verification; None where none was asked for, or it was interrupted.
        interrupted: the run of a verification that was stopped by Ctrl-C; the same call goes on with it.
    """

    run: Run
    suggestions: tuple[Suggestion, ...]
    trial: Trial | None = None
    interrupted: Run | None = None

    @property
    def first(self) -> Suggestion | None:
        """What a verification turns: the worst finding, cause first, that settings can mend.

        Of a training that never began, an error: to turn anything less would not let it begin either.
        """
        turnable = [suggestion for suggestion in self.suggestions if suggestion.is_turnable]
        if self.run.state.get("state") == "failed" and self.run.steps().is_empty():
            turnable = [suggestion for suggestion in turnable if suggestion.finding.severity == "error"]
        return next(iter(turnable), None)

    @property
    def helped(self) -> bool:
        """Whether nothing was tried, or what was tried is worth keeping."""
        return self.trial is None or self.trial.verdict in ("fixed", "better")

    def to_dict(self) -> dict[str, Any]:
        """Return the record fit for JSON."""
        return {
            "run": str(self.run.path),
            "suggestions": [suggestion.to_dict() for suggestion in self.suggestions],
            "first": self.first.finding.id if self.first else None,
            "trial": self.trial.to_dict() if self.trial else None,
            "interrupted": str(self.interrupted.path) if self.interrupted else None,
        }


def advise(run: Run | Path | str, *, verify: bool = False, watchers: Sequence[Watcher] = ()) -> Advice:
    """Return what settings could mend in a run; with `verify`, train again with the first of them and compare on val.

    The second training has the data and the seed of the first, and its start and epochs unless these are what is
    turned: only the knobs of one finding differ. It is not evaluated on test: what is chosen with its help must not be
    chosen there. `advice.json` in its folder keeps the verdict.

    Args:
        run: a run, or its folder.
        verify: whether to train.
        watchers: who follows the training.

    Raises:
        UsageError: the folder holds no training, or there is nothing to turn.
        RunError: there is no such run, it has not come to an end, it or its verification is being trained, or its data
            has changed since.
        ConfigError, DataError, ModelError: as `train`.
        TrainingError: memory, a disk or a loader process ended the training; another call goes on with it.
    """
    found = run if isinstance(run, Run) else Run.open(run)
    if found.state.get("state") == "evaluated":
        raise UsageError(f"{found.path}: holds the evaluation of a checkpoint, no training that could be advised on")
    config = load_config(found.path / "config.yaml")
    last = found.weights("last") if found.weights("last").is_file() else None
    order = [finding.id for finding in diagnose(History.of(found))]
    advice = Advice(found, suggestions(found.findings(), config, order=order, last=last))
    return _verified(advice, config, watchers) if verify else advice


def _verified(advice: Advice, config: Config, watchers: Sequence[Watcher]) -> Advice:
    run, first = advice.run, advice.first
    if run.is_being_trained():
        raise RunError(f"{run.path}: is being trained; its advice can be verified when it has come to its end")
    if run.state.get("state") not in ("complete", "failed"):
        raise RunError(f"{run.path}: was interrupted; bring it to its end first: tuneup train --resume {run.path}")
    if first is None:
        raise UsageError(
            f"{run.path}: nothing to turn: no error or warning of it names a setting that the run does not have "
            f"already; tuneup advise {run.path} lists what was found"
        )
    wanted = _turned(run, config, first)
    if not require_data(wanted).exists():
        raise DataError(
            f"{run.path}: its data {wanted.data.path} is not there any more, so that nothing can be trained or "
            f"compared on it; put it back{_known(wanted)}"
        )
    with exclusive(run.path / ".advice.lock", "its advice is being verified"):
        after = _ended(run, wanted, watchers)
    if after.state.get("state") not in ("complete", "failed"):
        return Advice(run, advice.suggestions, interrupted=after)
    before_side, after_side = _side(run), _side(after, first.dropped)
    trial = Trial(first, before_side, after_side, _change(run, after, before_side, after_side, config))
    write_json(after.path / RESULT, trial.to_dict())
    return Advice(run, advice.suggestions, trial)


def _known(wanted: Config) -> str:
    """Return where the verdict of an earlier verification stands; "" where there is none."""
    earlier = _there(wanted)
    if earlier is None or not (earlier.path / RESULT).is_file():
        return ""
    return f"; what an earlier verification found stands in {earlier.path / RESULT}"


def _turned(run: Run, config: Config, suggestion: Suggestion) -> Config:
    """Return the configuration of the run with the knobs turned, for a run beside it that is evaluated on val."""
    turned = config_from_dict(config.to_dict(), suggestion.overrides)
    return turned.model_copy(
        update={
            "name": f"{run.name}-advice",
            "runs": run.path.parent,
            "eval": turned.eval.model_copy(update={"split": "val"}),
        }
    )


def _ended(first: Run, wanted: Config, watchers: Sequence[Watcher]) -> Run:
    """Train, or go on, or take what is there; returns the run, whatever its state."""
    run = _there(wanted)
    if run is not None:
        if run.is_being_trained():
            raise RunError(f"{run.path}: is being trained by another process; end that one first")
        ended = run.state.get("state")
        if (ended == "complete" and run.evaluations()) or (ended == "failed" and (run.path / RESULT).is_file()):
            return run
        if _is_mere_start(run):
            shutil.rmtree(run.path)  # begun anew, with its checks
            run = None
    _refuse_other_data(first, wanted)
    try:
        return verbs.train(wanted, watchers=watchers) if run is None else verbs.resume(run, watchers=watchers)
    except TrainingError as error:
        stopped = _there(wanted)
        if stopped is None or error.broke_off:
            raise  # what breaks off says nothing about the advice; the same call goes on, or begins anew
        return stopped  # that it stops is what the verification has found out


def _there(wanted: Config) -> Run | None:
    """Return the verification that was begun with this very configuration; runs of others are left alone."""
    for path in _names(wanted.runs / str(wanted.name)):
        if not (path / "config.yaml").is_file():
            continue
        try:
            other = load_config(path / "config.yaml").to_dict()
        except ConfigError:
            continue  # of another version
        if not differences(other, wanted.to_dict()):
            return Run(path)
    return None


def _names(path: Path) -> Iterator[Path]:
    """Yield the folders that `Run.create` has made so far for a name."""
    number = 1
    while (folder := path if number == 1 else path.with_name(f"{path.name}-{number}")).exists():
        yield folder
        number += 1


def _is_mere_start(run: Run) -> bool:
    """Whether a training ended before its first epoch was complete; `resume` would begin anew without checks."""
    return run.state.get("state") != "complete" and run.epochs().height < 2 and not run.weights("resume").is_file()


def _refuse_other_data(run: Run, wanted: Config) -> None:
    """Make sure that a training now would be one on the pictures and labels of the run.

    Raises:
        RunError: it would not.
        DataError: the data cannot be read.
    """
    from .training.session import prepare_data

    if run.picture_digests().is_empty():
        return  # older runs keep no digests
    dataset = prepare_data(wanted).dataset
    digests = picture_digests([dataset.picture_path(path) for path in dataset.images["path"]])
    if dataset.fingerprint(digests) != run.data_record.get("fingerprint"):
        raise RunError(
            f"{run.path}: pictures or labels of {wanted.data.path} have changed since it was trained, so that a new "
            f"training could not be compared with it; restore them, or train it again"
        )


def _side(run: Run, dropped: str = "") -> Side:
    state, alarms = run.state, alarms_of(run.findings(), dropped)
    return Side(str(run.path), str(state.get("state")), str(state.get("reason") or ""), alarms)


def _change(first: Run, second: Run, before: Side, after: Side, config: Config) -> Change:
    if not (first.weights("best").is_file() and second.weights("best").is_file()):
        return end_alone(before, after)
    comparison = evaluation_verbs.compare(first, second, overrides=["eval.split=val"])
    return map_change(comparison) or losses_between(first, second, config)


def losses_between(first: Run, second: Run, config: Config) -> Change:
    """Compare the plain losses of both on the same pictures of val, at the first one's size.

    Of the last weights: where no epoch finds anything, the best ones are those of the first epoch. BatchNorm's
    statistics are measured anew on the same train pictures for both.
    """
    from .evaluation.analysis import grouping
    from .evaluation.intervals import image_weights
    from .training.picture_losses import picture_losses, spread

    dataset = first.dataset()
    part, train = spread(dataset.split("val")), dataset.split("train")
    groups = grouping(part)
    weights = image_weights(part.images.height, config.eval.resamples, groups=groups.number)
    imgsz, device = int(config.train.imgsz), str(config.train.device or "")
    found = [
        picture_losses(run.weights("last"), part, train, imgsz, device, run.context.get("freeze") or ())
        for run in (first, second)
    ]
    return loss_change(found[0], found[1], weights, groups.units)
