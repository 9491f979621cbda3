"""The command advise."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .advice import Suggestion
from .advice_verb import RESULT, Advice, advise
from .command_line import AsJson, answer, console_for
from .reporting.wording import count
from .terminal import SEVERITY_STYLES, TrainingView

INTERRUPTED = 130
_STYLES = {"fixed": "bold green", "better": "green", "no change": "yellow", "worse": "bold red"}


def advice(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    verify: Annotated[bool, typer.Option("--verify", help="Train again with the first one turned.")] = False,
    as_json: AsJson = False,
) -> int:
    """List what settings could mend in a run; --verify trains again with the first one turned, and compares on val."""
    view = TrainingView(console_for(as_json))
    try:
        found = advise(run, verify=verify, watchers=[view])
    finally:
        view.close()
    answer(as_json, found.to_dict(), lambda console: print_advice(console, found))
    if found.interrupted is not None:
        return INTERRUPTED
    return 0 if found.helped else 1


def print_advice(console: Console, advice: Advice) -> None:
    """Print what would be turned for each finding, or what came of turning it."""

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    if advice.interrupted is not None:
        line(f"stopped in {escape(str(advice.interrupted.path))}; the same command goes on")
    elif advice.trial is not None:
        style = _STYLES[advice.trial.verdict]
        console.print()
        for head, text in advice.trial.lines():
            line(f"[bold]{head:<10}[/]{f'[{style}]{escape(text)}[/]' if head == 'Verdict' else escape(text)}")
        if advice.trial.change.measure != "end":
            line("[dim]one training on each side: chance between trainings is not in the interval[/]")
        line(escape(f"{advice.trial.after.run}/{RESULT}"))
    else:
        told = [one for one in advice.suggestions if one.knobs or one.finding.severity != "info"]
        for suggestion in told:
            _print_suggestion(console, suggestion, suggestion is advice.first)
        notes = len(advice.suggestions) - len(told)
        if notes:
            line(f"  [dim]and {count(notes, 'note')} that no setting mends, explained in the report[/]")
        line(_what_next(advice))


def _print_suggestion(console: Console, suggestion: Suggestion, is_first: bool) -> None:
    finding = suggestion.finding
    style = SEVERITY_STYLES[finding.severity]
    head = f"  [{style}]{finding.severity}[/] {escape(finding.message)} [dim]({finding.id})[/]"
    console.print(head, highlight=False, soft_wrap=True)
    turned = escape(", ".join(suggestion.overrides))
    if suggestion.why_not:
        turned = f"[dim]nothing: {escape(suggestion.why_not)}{f' ({turned})' if turned else ''}[/]"
    elif is_first:
        turned = f"[bold]{turned}[/]  (first)"
    elif not suggestion.is_turnable:
        turned += "  [dim](a note: --verify does not try it)[/]"
    console.print(f"    [dim]turn[/] {turned}", highlight=False, soft_wrap=True)


def _what_next(advice: Advice) -> str:
    if advice.first is None:
        return "nothing to turn: no error or warning names a setting that the run does not have already"
    run, settings = advice.run.path, " ".join(map(shlex.quote, advice.first.overrides))
    if advice.run.state.get("state") not in ("complete", "failed"):
        return escape(f"it was interrupted: train anew with {settings}, or bring it to its end and verify it then")
    return escape(
        f"tuneup advise {shlex.quote(str(run))} --verify   trains again with {settings} and says whether it helps"
    )
