"""The verbs that judge trained detectors: evaluate, compare, gate and suspects."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Config, Configurable, load_config, require_data, settle
from .errors import RunError, UsageError
from .runs import Run, now, write_atomic

if TYPE_CHECKING:
    import polars as pl

    from .evaluation.analysis import Analysis, Grouping
    from .evaluation.compare import Comparison
    from .evaluation.evaluate import Evaluation
    from .evaluation.gate import Gate
    from .evaluation.matching import MatchTable
    from .evaluation.subjects import Subject


def evaluate(subject: Run | Path | str, *, config: Configurable = None, overrides: Sequence[str] = ()) -> Evaluation:
    """Evaluate a run, or a checkpoint (.pt) on the data that the configuration names.

    For a run the run's own configuration is the base, for a checkpoint `config`; overrides such as `eval.split=val` lie
    on top. A checkpoint's result goes into a run folder of its own.

    Raises:
        RunError: there is no such run or it has no weights yet.
        ConfigError, DataError, ModelError: with a message that says what to do.
    """
    from .evaluation.evaluate import evaluate_checkpoint, evaluate_run
    from .reporting.html import write_report
    from .reporting.model_card import write_card

    path = subject.path if isinstance(subject, Run) else Path(subject)
    if path.suffix == ".pt":
        settled = settle(config, overrides)
        run = _run_for_checkpoint(path, settled)
        try:
            evaluation = evaluate_checkpoint(path, run, settled)
        except BaseException:
            shutil.rmtree(run.path, ignore_errors=True)  # made a moment ago; a folder without a result helps nobody
            raise
        run.update_state(seconds=evaluation.metrics["seconds"])
    else:
        if config is not None:
            raise UsageError("a run is evaluated with its own configuration; change single keys with key=value")
        run = Run.open(path)
        evaluation = evaluate_run(run, _evaluation_config(run, overrides))
    write_report(run)
    write_card(run)
    return evaluation


def evaluate_files(
    ground_truth: Path | str, detections: Path | str, *, config: Configurable = None, overrides: Sequence[str] = ()
) -> Analysis:
    """Evaluate any detector's COCO detections on a COCO ground truth; no pictures are needed and nothing is written.

    Args:
        ground_truth: COCO file with images, annotations and categories.
        detections: COCO results, a list of image_id, category_id, bbox and score.
        config: its section `eval` says how many detections count (`eval.limit`) and how many resamples are drawn.
        overrides: `key=value` texts laid over it.

    Raises:
        DataError: a file cannot be read, or the two do not belong together.
        ConfigError: with a message that says what to do.
    """
    from .evaluation.analysis import Grouping, analyse
    from .evaluation.coco_files import read_detections, read_ground_truth

    foreign = [word for word in overrides if not word.removeprefix("eval.").startswith(("limit=", "resamples="))]
    if foreign:
        raise UsageError(f"{', '.join(foreign)}: of COCO files only eval.limit and eval.resamples can be set")
    settings = settle(config, overrides).eval
    read = read_ground_truth(Path(ground_truth))
    found = read_detections(Path(detections), read)
    groups = Grouping("picture", len(read.truth.image_ids), None)
    analysis = analyse(read.truth, found.detections, groups, resamples=settings.resamples, limit=settings.limit)
    about = {
        "split": Path(ground_truth).name,
        "chose_checkpoint": None,
        "trained_on": None,
        "optimism": None,
        "ground_truth": str(ground_truth),
        "detections_file": str(detections),
    }
    return replace(analysis, metrics={**about, **analysis.metrics}, findings=(*found.findings, *analysis.findings))


def compare(
    first: Run | Path | str,
    second: Run | Path | str,
    *,
    ground_truth: Path | str | None = None,
    config: Configurable = None,
    overrides: Sequence[str] = (),
) -> Comparison:
    """Say whether the second detector is better than the first, worse, or the same within noise.

    Args:
        first, second: runs, checkpoints (.pt, with `data` in the configuration) or COCO detection files (.json).
        ground_truth: COCO file that the detection files belong to.
        config: for checkpoints.
        overrides: `key=value` texts, such as `eval.split=val`.

    Raises:
        DataError: the two were not measured on the same ground truth.
        UsageError, RunError, ConfigError, ModelError: with a message that says what to do.
    """
    from .evaluation.compare import compare_tables
    from .evaluation.intervals import image_weights

    paths = [subject.path if isinstance(subject, Run) else Path(subject) for subject in (first, second)]
    alone = [path for path in paths if path.suffix == ".json" and ground_truth is None]
    if alone:
        raise UsageError(f"{alone[0]}: COCO detection files need their ground truth: --ground-truth GT.json")
    settings = _settings(paths[0], config, overrides)
    tables, groups = (
        _tables_of_files(Path(ground_truth), paths, settings)
        if ground_truth is not None
        else _tables_of_subjects(paths, config, overrides, settings)
    )
    weights = image_weights(len(tables[0].truth.image_ids), settings.eval.resamples, groups=groups.number)
    return compare_tables(tables[0], tables[1], weights, _names(paths), unit=groups.unit, units=groups.units)


def gate(
    run: Run | Path | str,
    *,
    baseline: Run | Path | str,
    margin: float = 0.0,
    non_inferiority: bool = False,
    ground_truth: Path | str | None = None,
    overrides: Sequence[str] = (),
) -> Gate:
    """Say whether a run holds what a baseline reached, for a build server.

    Args:
        run, baseline: as for `compare`.
        margin: drop of mAP50-95 that does not matter, from 0 to 1.
        non_inferiority: fail unless a larger drop can be ruled out; otherwise fail only when one is shown.
        ground_truth: as for `compare`.
        overrides: as for `compare`.

    Raises:
        UsageError: the margin is out of range.
        DataError, RunError, ConfigError, ModelError: as `compare`.
    """
    from .evaluation.gate import Gate

    if not 0 <= margin < 1:
        raise UsageError(f"--margin {margin:g}: a drop of mAP50-95 from 0 to 1, such as 0.01 for one point")
    return Gate(compare(baseline, run, ground_truth=ground_truth, overrides=overrides), margin, non_inferiority)


def suspects(
    run: Run | Path | str,
    *,
    split: str | None = None,
    cvat: Path | str | None = None,
    label_studio: Path | str | None = None,
) -> pl.DataFrame:
    """Return the labels of an evaluated split that are most likely wrong, the most suspicious first.

    Args:
        run: a run with an evaluation.
        split: which one; test where it was evaluated, else the first there is.
        cvat: write them to this new file for CVAT (CVAT for images 1.1).
        label_studio: write them to this new file for Label Studio (JSON with predictions).

    Returns:
        A table with the columns of `evaluation.label_errors.SUSPECTS_SCHEMA`.

    Raises:
        UsageError: a file exists already: nothing is overwritten.
        RunError: there is no such run or evaluation, or a file cannot be written.
    """
    from .evaluation.prelabels import narrow, write_cvat, write_label_studio

    taken = [str(path) for path in (cvat, label_studio) if path is not None and Path(path).exists()]
    if taken:
        raise UsageError(f"{', '.join(taken)}: exists already; nothing is overwritten, choose another name")
    found = Run.open(run.path if isinstance(run, Run) else run)
    there = list(found.evaluations())
    split = split or ("test" if "test" in there else next(iter(there), ""))
    table = found.evaluation_table(split, "suspects")
    if table is None:
        known = f"; evaluated are {', '.join(there)}" if there else ""
        how = f"tuneup eval {found.path} eval.split={split or 'val'}"
        raise RunError(f"{found.path}: the split '{split}' was not evaluated yet{known}: {how}")
    part = narrow(found.dataset().split(split), table)
    if cvat is not None:
        write_cvat(Path(cvat), part, table)
    if label_studio is not None:
        write_label_studio(Path(label_studio), part, table)
    return table


# ---- what a verb was given ------------------------------------------------------------------------------------------


# What may differ between a training and its evaluation; everything else belongs to the training.
_EVALUATION_KEYS = ("eval.", "report.", "train.imgsz", "train.device")


def _evaluation_config(run: Run, overrides: Sequence[str]) -> Config:
    """Return the run's configuration with overrides that concern the evaluation alone."""
    base = load_config(run.path / "config.yaml")
    settled = load_config(run.path / "config.yaml", overrides)
    before, after = _flat(base.to_dict()), _flat(settled.to_dict())
    foreign = [key for key in after if after[key] != before[key] and not key.startswith(_EVALUATION_KEYS)]
    if foreign:
        raise UsageError(
            f"{', '.join(foreign)}: a run is evaluated on the data it was trained with; only eval.*, imgsz and "
            f"device can change. For other data: tuneup eval {run.weights('best')} data=FOLDER"
        )
    return settled


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _run_for_checkpoint(weights: Path, config: Config) -> Run:
    """Make a run folder that holds the data and nothing else."""
    from .data.intake import read
    from .model_source import load_weights

    load_weights(weights)
    require_data(config)
    intake = read(config.data)  # as it is: nothing is taken for val here
    dataset, findings = intake.dataset, intake.findings
    run = Run.create(config.runs, config.name or f"eval-{weights.stem}")
    run.save_dataset(dataset)
    run.save_intake(intake.ledger, intake.to_dict())
    run.add_findings(findings)
    run.update_state(state="evaluated", reason=f"checkpoint {weights.absolute()}", started=now())
    write_atomic(run.path / "config.yaml", config.to_yaml())
    return run


def _settings(path: Path, config: Configurable, overrides: Sequence[str]) -> Config:
    """Return the settings that a comparison goes by: those of the first run, or the configuration's."""
    return _evaluation_config(Run.open(path), overrides) if path.is_dir() else settle(config, overrides)


def _tables_of_files(ground_truth: Path, paths: Sequence[Path], settings: Config) -> tuple[list[MatchTable], Grouping]:
    from .evaluation.analysis import Grouping
    from .evaluation.coco_files import read_detections, read_ground_truth
    from .evaluation.matching import match

    other = [str(path) for path in paths if path.suffix != ".json"]
    if other:
        raise UsageError(f"{', '.join(other)}: with --ground-truth, COCO detection files (.json) are compared")
    read = read_ground_truth(ground_truth)
    tables = [match(read.truth, read_detections(path, read).detections, limit=settings.eval.limit) for path in paths]
    return tables, Grouping("picture", len(read.truth.image_ids), None)


def _tables_of_subjects(
    paths: Sequence[Path], config: Configurable, overrides: Sequence[str], settings: Config
) -> tuple[list[MatchTable], Grouping]:
    from .evaluation.analysis import grouping
    from .evaluation.matching import match
    from .evaluation.subjects import on_ground_truth_of
    from .evaluation.tables import Detections, Truth

    first, second = (_evaluated(path, config, overrides) for path in paths)
    truth = Truth.of(first.part)
    frames = (first.detections, on_ground_truth_of(first, second))
    tables = [match(truth, Detections.of(truth, frame), limit=settings.eval.limit) for frame in frames]
    return tables, grouping(first.part)


def _evaluated(path: Path, config: Configurable, overrides: Sequence[str]) -> Subject:
    """Return what a run or checkpoint finds on the split that is compared; nothing in the run is changed."""
    from .data.intake import read
    from .evaluation.evaluate import choose_split, detect
    from .evaluation.subjects import Subject

    if path.suffix == ".pt":
        settings = settle(config, overrides)
        run, weights = None, path
        require_data(settings)
        dataset = read(settings.data).dataset
    else:
        run = Run.open(path)
        settings, weights, dataset = _evaluation_config(run, overrides), run.weights("best"), run.dataset()
    part = dataset.split(choose_split(dataset, settings.eval.split))
    return Subject(path.name, part, detect(run, weights, part, settings))


def _names(paths: Sequence[Path]) -> list[str]:
    """Return what to call the two: their file or folder names, or their whole paths where those are the same."""
    names = [path.resolve().name for path in paths]
    return names if names[0] != names[1] else [str(path) for path in paths]
