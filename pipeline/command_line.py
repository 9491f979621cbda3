"""What all commands of the command line share: words, consoles and answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from .errors import UsageError

Words = Annotated[list[str] | None, typer.Argument(metavar="[SUBJECT] [KEY=VALUE]...", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def subject_of(words: list[str] | None) -> tuple[str | None, list[str]]:
    """Divide the words into the subject, which has no `=`, and the overrides.

    Raises:
        UsageError: there is more than one subject.
    """
    subjects, overrides = subjects_of(words)
    if len(subjects) > 1:
        raise UsageError(f"one subject is expected, found {', '.join(subjects)}; settings are written key=value")
    return (subjects[0] if subjects else None), overrides


def subjects_of(words: list[str] | None) -> tuple[list[str], list[str]]:
    """Divide the words into subjects, which have no `=`, and overrides."""
    return [word for word in words or [] if "=" not in word], [word for word in words or [] if "=" in word]


def console_for(as_json: bool) -> Console:
    """Return where a person reads: stdout, or stderr where stdout carries JSON. A pipe gets wide lines."""
    stream = sys.stderr if as_json else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 160)


def answer(as_json: bool, document: Any, show: Callable[[Console], None]) -> None:
    """Print the answer of a command: the document, or what a person reads."""
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    else:
        show(console_for(False))
