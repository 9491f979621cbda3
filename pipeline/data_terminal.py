"""What a person sees in the terminal of a dataset: what was read, what was done to it, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .data.intake import Intake
from .data_verbs import Audited
from .import_verbs import Written
from .terminal import print_findings


def print_audit(console: Console, audited: Audited) -> None:
    """Print what was read, the classes with their effective labels, and the findings."""
    _print_intake(console, audited.intake)
    _print_rows(console, audited.audit.figures.get("classes", ()))
    print_findings(console, list(audited.audit.findings), "nothing to mend")


def print_written(console: Console, written: Written) -> None:
    """Print what was read, how it is divided, the findings, and where it lies now."""
    _print_intake(console, written.intake)
    _print_rows(console, written.splits)
    print_findings(console, list(written.findings))
    console.print(f"written: {escape(str(written.data))}", highlight=False)
    console.print(f"next: tuneup audit {escape(str(written.data))}", highlight=False)


def _print_intake(console: Console, intake: Intake) -> None:
    about = f" ({intake.why})" if intake.why else ""
    console.print(f"[bold]{escape(str(intake.dataset.root))}[/]  {intake.format}{escape(about)}", highlight=False)
    console.print(f"  {rows_words(intake.counts())}", highlight=False)
    sizes = [
        f"{split} {n['images']} pictures, {n['boxes']} boxes" + (f", {n['empty']} empty" if n["empty"] else "")
        for split, n in intake.dataset.counts().items()
    ]
    console.print(f"  {'; '.join(sizes)}", highlight=False)


def rows_words(counts: Mapping[str, int]) -> str:
    """Return the sum of the ledger in words: rows read = kept + repaired + dropped + refused."""
    parts = " + ".join(f"{counts[action]} {action}" for action in ("kept", "repaired", "dropped", "refused"))
    return f"{counts['read']} label rows read = {parts}"


def _print_rows(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
