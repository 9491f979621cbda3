"""The command line: parse, call one function, print.

Exit codes: 0 fine; 1 a finding of severity error, or a failed gate; 2 wrong usage or configuration; 3 data unreadable;
130 stopped by Ctrl-C; 70 a bug in this program.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import __version__, ablation_command, advice_command, augment_commands, data_commands, evaluation_commands
from .command_line import AsJson, Words, answer, console_for, subject_of
from .errors import TuneUpError, UsageError
from .runs import Run, list_runs

app = typer.Typer(
    name="tuneup",
    help="Fine-tune a YOLO detector on your own pictures, see whether learning is healthy, trust the number.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
INTERRUPTED, BUG = 130, 70


@app.command()
def train(
    words: Words = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder instead.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="List every key of the configuration.")] = False,
    as_json: AsJson = False,
) -> int:
    """Train by a configuration (SUBJECT is a YAML file), evaluate, and write the report."""
    if explain:
        return _explain(as_json)
    from . import verbs
    from .terminal import TrainingView, print_summary

    config, overrides = subject_of(words)
    if config is not None and Path(config).is_dir():
        raise UsageError(f"{config}: a folder, but a configuration is a YAML file; did you mean data={config}?")
    view = TrainingView(console_for(as_json))
    try:
        if resume is not None:
            if words:
                raise UsageError("--resume goes on with the run's own configuration; leave out everything else")
            run = verbs.resume(resume, watchers=[view])
        else:
            run = verbs.train(config, overrides=overrides, watchers=[view])
    finally:
        view.close()
    answer(as_json, run.to_dict(), lambda console: print_summary(console, run))
    return _exit_code(run)


app.command()(data_commands.audit)
app.command("import")(data_commands.import_data)
app.command()(data_commands.split)
app.command()(data_commands.tile)
app.command("eval")(evaluation_commands.evaluate)
app.command("ablate")(ablation_command.ablation)
app.command("advise")(advice_command.advice)
app.command()(augment_commands.contract)
app.command()(augment_commands.preview)
app.command()(evaluation_commands.compare)
app.command()(evaluation_commands.gate)
app.command()(evaluation_commands.suspects)
app.command()(evaluation_commands.predict)


@app.command()
def doctor(words: Words = None, as_json: AsJson = False) -> int:
    """Check a training before it begins (SUBJECT is a YAML file), judge a run folder anew, or repeat an incident."""
    from . import verbs
    from .terminal import print_culprit, print_findings, print_preflight

    subject, overrides = subject_of(words)
    folder = Path(subject) if subject is not None and Path(subject).is_dir() else None
    if folder is not None and overrides:
        raise UsageError(f"{', '.join(overrides)}: a folder is looked at as it is; leave out the settings")
    if folder is not None and (folder / "incident.json").is_file():
        culprit = verbs.replay(folder)
        answer(as_json, culprit.to_dict(), lambda console: print_culprit(console, culprit.to_dict()))
        return 1 if culprit.repeated else 0
    if folder is not None and not (folder / "config.yaml").is_file():
        inside = sorted(folder.glob("step-*/incident.json"))
        raise UsageError(
            f"{folder}: name one of the incidents in it, such as {inside[0].parent}"
            if inside
            else f"{folder}: neither a run nor an incident; to check a training on data: tuneup doctor data={folder}"
        )
    if folder is not None:
        findings = verbs.diagnose(folder)
        answer(as_json, [f.to_dict() for f in findings], lambda console: print_findings(console, findings, "healthy"))
    else:
        preflight = verbs.doctor(subject, overrides=overrides)
        findings = list(preflight.findings)
        answer(as_json, preflight.to_dict(), lambda console: print_preflight(console, preflight.to_dict(), findings))
    return 1 if any(finding.severity == "error" for finding in findings) else 0


@app.command()
def proof(
    model: Annotated[
        str, typer.Argument(help="Architecture (.yaml), checkpoint (.pt) or run folder.")
    ] = "yolo26n.yaml",
    as_json: AsJson = False,
) -> int:
    """Prove backpropagation: compare a model's gradients with finite differences, after an example by hand."""
    from . import verbs
    from .training.proof import explanation

    result = verbs.prove_backprop(model)

    def show(console: Console) -> None:
        for line in explanation(result):
            console.print(escape(line), highlight=False, soft_wrap=True)

    answer(as_json, result.to_dict(), show)
    return 0 if result.passed else 1


@app.command()
def demo(
    kind: Annotated[str, typer.Argument(help="steel or field")],
    folder: Annotated[Path, typer.Argument(help="Folder to draw it into.")],
    seed: Annotated[int, typer.Option(help="Another seed draws another set.")] = 0,
    as_json: AsJson = False,
) -> int:
    """Draw a demo set: pictures of steel with defects, or of a field with crops and weeds."""
    from . import verbs

    data = verbs.make_demo(kind, folder, seed=seed)
    answer(as_json, {"data": str(data)}, lambda console: console.print(f"drawn: {escape(str(data))}", highlight=False))
    return 0


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder with run folders.")] = Path("runs"), as_json: AsJson = False
) -> int:
    """List the runs with their data, model, mAP, date and state."""
    from .terminal import print_runs, run_row

    found = list_runs(folder)
    if not found and not as_json:
        console_for(False).print(f"no runs in {escape(str(folder.absolute()))} yet", highlight=False)
        return 0
    answer(as_json, [run_row(run) for run in found], lambda console: print_runs(console, found))
    return 0


@app.command()
def report(
    run: Annotated[Path | None, typer.Argument(help="Run folder; the newest one by default.")] = None,
    as_json: AsJson = False,
) -> int:
    """Write report.html of a run anew."""
    from . import verbs

    path = verbs.report(run if run is not None else verbs.newest_run(Path("runs")))
    answer(as_json, {"report": str(path)}, lambda console: console.print(escape(str(path)), highlight=False))
    return 0


@app.command()
def version() -> int:
    """Print the version."""
    console_for(False).print(f"yolo-tuneup {__version__}", highlight=False)
    return 0


def _explain(as_json: bool) -> int:
    from .config import explain

    rows = explain()

    def show(console: Console) -> None:
        table = Table("key", "takes", "default", "meaning", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*(escape(text) for text in (row.key, row.type, row.default, row.description)))
        console.print(table)

    answer(as_json, [row.to_dict() for row in rows], show)
    return 0


def _exit_code(run: Run) -> int:
    if run.state.get("state") == "interrupted":
        return INTERRUPTED
    return 1 if any(finding.severity == "error" for finding in run.findings()) else 0


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; a person never sees a traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    sys.exit(_guarded(words))


def _guarded(words: list[str]) -> int:
    try:
        return int(app(words, standalone_mode=False) or 0)
    except TuneUpError as error:
        return _refuse(words, str(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _refuse(words, "stopped", INTERRUPTED)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # `tuneup` alone
            console_for(False).print(escape(str(error)), highlight=False)
            return 2
        if hasattr(error, "format_message"):  # click's own: a wrong option, a missing argument
            return _refuse(words, f"{error.format_message().rstrip('.')}; see `tuneup --help`", 2)
        note = Path(".tuneup") / "crash.txt"
        try:
            note.parent.mkdir(exist_ok=True)
            note.write_text(traceback.format_exc(), "utf-8")
        except OSError:
            note = Path("nowhere, this folder cannot be written")
        text = f"{type(error).__name__}: {error}\nThis is a bug in YOLO Tune-Up. What happened stands in {note}"
        return _refuse(words, text, BUG)


def _refuse(words: list[str], text: str, code: int) -> int:
    if "--json" in words:
        sys.stdout.write(json.dumps({"error": text, "exit_code": code}, ensure_ascii=False) + "\n")
    else:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error[/] {escape(text)}", highlight=False)
    return code
