"""One training from configuration to a complete run folder; read `train` from top to bottom."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..augment.contract import trained_pictures
from ..augment.preview import draw_preview
from ..config import Config, load_config, require_data
from ..data.audit import Audit
from ..data.formats import detect_format
from ..data.intake import read
from ..data.split import prepare_splits
from ..errors import RunError, TrainingError, TuneUpError
from ..known_keys import AUGMENT_KEYS
from ..leash import chatter_to, tighten
from ..model_source import load_weights, resolve_model
from ..runs import EVENTS, Run, now, write_atomic, write_json
from .causes import causes_first
from .contract_check import SHARE, ContractCheck, check_augmentation, with_loading
from .data_check import Prepared, check_data, check_labels
from .diagnosis import diagnose
from .environment import environment_record
from .history import History
from .loggers import logger_watchers
from .preflight import Preflight, broken_preflight, run_preflight
from .signals import sigterm_as_interrupt, stop_on_signal
from .trainer import TuneUpTrainer
from .watcher import StopRequested, Watcher


def train(config: Config, *, watchers: Sequence[Watcher] = ()) -> Run:
    """Train a detector and return its run, complete or stopped by Ctrl-C (`run.state` says which).

    Args:
        config: what to train on what, as `load_config` returns it.
        watchers: who follows the training, such as the terminal and the report.

    Raises:
        DataError: the dataset cannot be read.
        ModelError: the weights cannot be found, read or trusted.
        RunError: the run folder cannot be written.
        TrainingError: training could not start or had to stop.
    """
    if not require_data(config).exists():
        detect_format(require_data(config))  # says what is wrong before any weights are fetched
    tighten(config.monitor.loggers)
    model = _checked_model(config)
    prepared = prepare_data(config)
    run = _start_run(config, prepared)
    with run.exclusive():
        return _train(run, config, model, watchers, check=prepared if config.monitor.preflight > 0 else None)


def check(config: Config) -> Preflight:
    """Run every check of the preflight on a training that has not begun, without a limit of time.

    Raises:
        DataError, ModelError: as `train`.
        TrainingError: the training cannot even be set up.
    """
    tighten()
    model = _checked_model(config)
    prepared = prepare_data(config)
    first = check_data(config, prepared)
    second = check_augmentation(config, prepared.dataset)
    try:
        rest = run_preflight(config, prepared.dataset, _overrides(Run(config.runs), config, model))
        return with_loading(rest, second, config)[0].after(first.checked, first.audit.findings)
    except TuneUpError:
        raise
    except Exception as error:
        raise _explained(error) from error


def resume(run: Run, *, watchers: Sequence[Watcher] = ()) -> Run:
    """Go on with a run that was killed or interrupted, from its last complete epoch.

    On the CPU the result equals that of a run that was never stopped. With loader processes (on a GPU) the order of the
    pictures differs from there on.

    Raises:
        RunError: the run is complete, is being trained by another process, or its exact state is missing.
    """
    config = load_config(run.path / "config.yaml")
    tighten(config.monitor.loggers)
    with run.exclusive():
        return _train(run, config, _rewound(run, config), watchers)


def _rewound(run: Run, config: Config) -> Path:
    """Cut the history back to the exact state, and return the model that it belongs to."""
    if run.state.get("state") == "evaluated":
        raise RunError(f"{run.path}: holds the evaluation of a checkpoint, no training; train with `tuneup train`")
    if run.state.get("state") == "complete":
        raise RunError(
            f"{run.path}: complete, there is nothing to go on with; train again for a new run, or `tuneup eval`"
        )
    kept = _epochs_kept(run)
    if kept:
        run.rewind(kept)
        return run.weights("last")  # its architecture; the exact state brings the weights
    model = _checked_model(config)
    run.rewind(0)
    for which in ("best", "last"):  # of a first epoch that was cut off while its files were written
        run.weights(which).unlink(missing_ok=True)
    return model


def prepare_data(config: Config) -> Prepared:
    """Read the dataset and see to it that it has a train and a val split.

    Raises:
        DataError: it cannot be read or divided.
    """
    intake = read(config.data)
    dataset, findings = prepare_splits(intake.dataset, config.data)
    return Prepared(dataset, intake, tuple(findings))


def _checked_model(config: Config) -> Path:
    """Return the model's file; a checkpoint is read once now, so that a bad one leaves no half run behind."""
    path = resolve_model(config.model.name, config.model.weights)
    for weights in (str(path), config.train.pretrained):
        if isinstance(weights, str) and weights.endswith(".pt"):
            load_weights(Path(weights))
    return path


def _start_run(config: Config, prepared: Prepared) -> Run:
    data = require_data(config).absolute()
    place = data.parent if data.is_file() else data
    own = Path(config.model.name)
    model = str(own.absolute()) if own.is_file() else config.model.name
    name = config.name or f"{place.name}-{own.stem}"
    run = Run.create(config.runs, name)
    settled = config.model_copy(
        update={
            "name": run.name,
            "runs": config.runs.absolute(),
            "data": config.data.model_copy(update={"path": data}),
            "model": config.model.model_copy(update={"name": model, "weights": config.model.weights.absolute()}),
        }
    )
    run.save_dataset(prepared.dataset)
    _keep_audit(run, prepared, check_labels(config, prepared))
    write_json(run.path / "environment.json", environment_record())
    run.update_state(state="running", reason="", started=now(), epochs_done=0, epochs=config.train.epochs, seconds=0.0)
    write_atomic(run.path / "config.yaml", settled.to_yaml())  # last: from here on the folder counts as a run
    return run


def _keep_audit(run: Run, prepared: Prepared, audit: Audit) -> None:
    run.save_intake(prepared.intake.ledger, {**prepared.intake.to_dict(), **audit.to_dict()})
    run.add_findings(audit.findings)


def _draw_preview(run: Run, config: Config, check: ContractCheck) -> None:
    if check.contract is not None:
        train = trained_pictures(run.dataset().split("train"), config)
        draw_preview(train, check.contract, run.preview, versions=3, rect=bool(config.train.rect))


def _epochs_kept(run: Run) -> int:
    """Return how many complete epochs the exact state stands for; a run cut off in its first epoch begins anew."""
    path = run.weights("resume")
    if not path.is_file():
        recorded = run.epochs().height
        if recorded > 1:
            raise RunError(
                f"{path}: missing, although {recorded} epochs are recorded; without the exact state the run cannot go "
                f"on. Start a new one from its weights with model={run.weights('last')}"
            )
        return 0
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True)["epoch"]) + 1
    except Exception as error:  # torch raises many kinds for a damaged file
        raise RunError(
            f"{path}: damaged ({type(error).__name__}); start a new run with model={run.weights('last')}"
        ) from error


def _train(run: Run, config: Config, model: Path, watchers: Sequence[Watcher], *, check: Prepared | None = None) -> Run:
    started = time.time()
    before = float(run.state.get("seconds") or 0.0)
    run.update_state(state="running", reason="", pid=os.getpid(), host=platform.node())
    outcome = {"state": "failed", "reason": "ended unexpectedly"}
    try:
        if check is not None:
            _check_first(run, config, model, watchers, check)
        with chatter_to(run.path / "ultralytics.log"):
            trainer = TuneUpTrainer(overrides=_overrides(run, config, model))
            (run.path / "args.yaml").unlink(missing_ok=True)  # config.yaml says the same, and more
            trainer.watchers = [*watchers, *logger_watchers(config.monitor.loggers)]
            with stop_on_signal(trainer):
                outcome = _run_to_end(trainer)
    except TuneUpError as error:
        outcome = {"state": "failed", "reason": str(error)}
        raise
    except KeyboardInterrupt:  # a training takes the first one itself; this one came before it, or is the second
        outcome = {"state": "interrupted", "reason": "stopped at once, on request"}
    except Exception as error:
        outcome = {"state": "failed", "reason": f"{type(error).__name__}: {error}"}
        raise _explained(error) from error
    finally:
        _close(run, outcome, round(before + time.time() - started, 1))
    return run


def _check_first(run: Run, config: Config, model: Path, watchers: Sequence[Watcher], prepared: Prepared) -> None:
    """Run the preflight within its budget, keep what it found, and stop here on an error.

    Whatever goes wrong in the preflight itself is a warning: the training says more, or works all the same.
    """
    for watcher in watchers:
        watcher.on_preflight(config.monitor.preflight, None)
    overrides, budget, began = _overrides(run, config, model), config.monitor.preflight, time.monotonic()
    with sigterm_as_interrupt():
        first = check_data(config, prepared, budget=budget)  # its parts that fail are findings of their own
        _keep_audit(run, prepared, first.audit)
        left = max(0.0, budget - first.checked.seconds)
        second = check_augmentation(config, run.dataset(), budget=SHARE * left)
        _draw_preview(run, config, second)
        left = budget - (time.monotonic() - began)
        try:
            rest = run_preflight(config, run.dataset(), overrides, budget=max(0.0, left))
        except Exception as error:
            rest = broken_preflight(error)
    rest, cost = with_loading(rest, second, config)
    if second.contract is not None:
        write_json(run.path / "contract.json", {**second.contract.to_dict(), "cost": cost.to_dict() if cost else {}})
    preflight = rest.after(first.checked, first.audit.findings)
    write_json(run.path / "preflight.json", preflight.to_dict())
    run.add_findings(preflight.findings)
    for watcher in watchers:
        watcher.on_preflight(config.monitor.preflight, preflight.to_dict())
    errors = [finding for finding in preflight.findings if finding.severity == "error"]
    if errors:
        worst = errors[0]
        refusal = TrainingError(
            f"not started: {worst.message.rstrip('.')}. What to do: {worst.advice.rstrip('.')}. monitor.preflight=0 "
            f"starts all the same"
        )
        refusal.exit_code = 1  # a finding of severity error ends every command so
        raise refusal


def _run_to_end(trainer: TuneUpTrainer) -> dict[str, str]:
    try:
        trainer.train()
    except StopRequested:
        for loader in (trainer.train_loader, trainer.test_loader):
            loader.close()
        done = trainer.run.epochs().height
        return {"state": "interrupted", "reason": f"stopped on request after {done} complete epochs"}
    # Asked of the run, not of the trainer: on several GPUs the training went on in other processes.
    return {"state": "complete", "reason": "early stop" if trainer.run.epochs().height < trainer.epochs else ""}


def _close(run: Run, outcome: dict[str, str], seconds: float) -> None:
    """Record how the run ended; a disk that is full now must not hide the error that came first."""
    steps, epochs = run.steps(), run.epochs()
    word = {"complete": "end", "interrupted": "interrupted"}.get(outcome["state"], "failed")
    event = {"event": word, "epoch": max(epochs.height - 1, 0), "step": steps.height, "time": now()}
    try:
        run.append(EVENTS, [{**event, "text": outcome["reason"]}])
        run.add_findings(diagnose(History.of(run)))
        run.add_findings(causes_first(run.findings()))  # those of the checks before it among them
        run.update_state(**outcome, seconds=seconds, pid=None)
        if outcome["state"] == "complete":
            run.weights("resume").unlink(missing_ok=True)
    except RunError:
        if outcome["state"] != "failed":
            raise


def _overrides(run: Run, config: Config, model: Path) -> dict[str, Any]:
    """Return the arguments of Ultralytics' trainer: what the person chose, and what this program sees to itself."""
    return {
        **config.train.model_dump(),
        **{knob: config.augment[knob] for knob in AUGMENT_KEYS},
        "task": "detect",
        "mode": "train",
        "model": str(model),
        "data": str(run.path / "data.json"),
        "iou": config.eval.iou,
        "max_det": config.eval.max_det,
        "save_dir": str(run.path),
        "exist_ok": True,
        "save": True,
        "val": True,
        "plots": False,
        "verbose": False,
        "resume": False,
    }


def _explained(error: Exception) -> TrainingError:
    """Put what torch or Ultralytics raised into words and a next step."""
    text = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    text = re.sub(r"^ERROR\W*", "", text).rstrip(". ")
    if "out of memory" in str(error).lower():
        message = f"out of memory: {text}. Halve train.batch or lower train.imgsz"
    elif "DataLoader worker" in str(error):
        message = f"a loader process ended: {text}. Try train.workers=0; if that works, memory is short"
    else:
        message = f"training stopped: {type(error).__name__}: {text}. ultralytics.log in the run has the rest"
    explained = TrainingError(message)
    explained.broke_off = True
    return explained
