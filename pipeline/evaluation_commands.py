"""The commands that judge trained detectors: eval, compare, gate, suspects and predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from . import evaluation_verbs, predict_verb, verbs
from .command_line import AsJson, Words, answer, console_for, subject_of, subjects_of
from .errors import UsageError
from .evaluation.gate import GATE_SUITE
from .evaluation_terminal import print_comparison, print_evaluation, print_gate, print_predictions, print_suspects
from .records import write_atomic
from .terminal import print_findings

GroundTruth = Annotated[
    Path | None, typer.Option("--ground-truth", help="COCO file with the boxes that COCO detection files belong to.")
]
TwoSubjects = Annotated[list[str] | None, typer.Argument(metavar="A B [KEY=VALUE]...", show_default=False)]


def evaluate(
    words: Words = None,
    ground_truth: GroundTruth = None,
    detections: Annotated[
        Path | None, typer.Option(help="COCO detection results of any detector, with --ground-truth.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Evaluate a run folder (the newest one by default), a checkpoint (.pt, with data=FOLDER), or COCO files."""
    subject, overrides = subject_of(words)
    if ground_truth is not None or detections is not None:
        if subject is not None or ground_truth is None or detections is None:
            raise UsageError("COCO files are evaluated with --ground-truth GT.json --detections DT.json and no subject")
        analysis = evaluation_verbs.evaluate_files(ground_truth, detections, overrides=overrides)
        metrics, findings, place = analysis.metrics, list(analysis.findings), ""
    else:
        run = subject or verbs.newest_run(Path("runs"), with_weights=True)
        evaluation = evaluation_verbs.evaluate(run, overrides=overrides)
        metrics, findings = evaluation.to_dict(), list(evaluation.findings)
        place = str(evaluation.run.path / "report.html")

    def show(console: Console) -> None:
        print_evaluation(console, metrics)
        print_findings(console, findings)
        if place:
            console.print(escape(place), highlight=False)

    answer(as_json, {**metrics, "findings": [finding.to_dict() for finding in findings]}, show)
    return 1 if any(finding.severity == "error" for finding in findings) else 0


def compare(words: TwoSubjects = None, ground_truth: GroundTruth = None, as_json: AsJson = False) -> int:
    """Say whether B is better than A beyond chance: runs, checkpoints (.pt, with data=FOLDER) or COCO detections."""
    subjects, overrides = subjects_of(words)
    if len(subjects) != 2:
        raise UsageError(f"two subjects are compared, found {len(subjects)}: tuneup compare runs/A runs/B")
    comparison = evaluation_verbs.compare(*subjects, ground_truth=ground_truth, overrides=overrides).to_dict()
    answer(as_json, comparison, lambda console: print_comparison(console, comparison))
    return 0


def gate(  # noqa: PLR0913 - the options of a command
    words: Words = None,
    baseline: Annotated[str | None, typer.Option(help="The run, checkpoint or file that must be held.")] = None,
    margin: Annotated[float, typer.Option(help="Drop of mAP50-95 that does not matter, such as 0.01.")] = 0.0,
    non_inferiority: Annotated[
        bool, typer.Option("--non-inferiority", help="Fail unless a larger drop can be ruled out.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write the result to this file as JUnit XML.")] = None,
    ground_truth: GroundTruth = None,
    as_json: AsJson = False,
) -> int:
    """Fail (exit code 1) when RUN is worse than the baseline by more than the margin, and not by chance."""
    subject, overrides = subject_of(words)
    if subject is None or baseline is None:
        raise UsageError("a run and a baseline are needed: tuneup gate runs/new --baseline runs/old --margin 0.01")
    result = evaluation_verbs.gate(
        subject,
        baseline=baseline,
        margin=margin,
        non_inferiority=non_inferiority,
        ground_truth=ground_truth,
        overrides=overrides,
    )
    if junit is not None:
        if junit.exists() and GATE_SUITE not in junit.read_bytes()[:300]:  # a build writes its result again and again
            raise UsageError(f"{junit}: exists already and is no result of a gate; choose another name")
        write_atomic(junit, result.to_junit())
    answer(as_json, result.to_dict(), lambda console: print_gate(console, result.to_dict()))
    return 0 if result.passed else 1


def suspects(
    words: Words = None,
    cvat: Annotated[Path | None, typer.Option(help="Write them to this file for CVAT.")] = None,
    label_studio: Annotated[Path | None, typer.Option(help="Write them to this file for Label Studio.")] = None,
    as_json: AsJson = False,
) -> int:
    """List the labels of RUN's evaluated split (eval.split=NAME) that are most likely wrong, or export them."""
    subject, overrides = subject_of(words)
    splits = [word.partition("=")[2] for word in overrides if word.startswith(("eval.split=", "split="))]
    if len(splits) != len(overrides):
        raise UsageError(f"{', '.join(overrides)}: only eval.split=NAME says which labels are looked at")
    run = subject or verbs.newest_run(Path("runs"), with_weights=True)
    split = splits[-1] if splits else None
    table = evaluation_verbs.suspects(run, split=split, cvat=cvat, label_studio=label_studio)
    answer(as_json, table.to_dicts(), lambda console: print_suspects(console, table.to_dicts()))
    return 0


def predict(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN PICTURES... [KEY=VALUE]...", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write into; nothing in it is overwritten.")] = None,
    formats: Annotated[str, typer.Option("--format", help="json, coco, yolo, drawn, or several with commas.")] = "json",
    as_json: AsJson = False,
) -> int:
    """Find objects in folders and pictures with a run (at the thresholds chosen on val) or a checkpoint (.pt)."""
    subjects, overrides = subjects_of(words)
    if not subjects:
        raise UsageError("a run or checkpoint and pictures are needed: tuneup predict runs/NAME FOLDER --out found")
    found = predict_verb.predict(subjects[0], subjects[1:], overrides=overrides)
    written = [] if out is None else predict_verb.write_predictions(found, out, formats.split(","))
    document = {**predict_verb.document(found), "written": [str(path) for path in written]}
    answer(as_json, document, lambda console: print_predictions(console, document))
    problem = found.problem()
    if problem is not None:
        console_for(True).print(f"[yellow]warning[/] {escape(problem)}", highlight=False)
    return 0
