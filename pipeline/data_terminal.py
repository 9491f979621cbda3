"""What a person sees in the terminal of a dataset: what was read, what was done to it, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .data.dataset import SPLITS, Dataset
from .data.intake import Intake
from .data_verbs import Audited
from .findings import Finding, worst_first
from .import_verbs import Written
from .terminal import print_findings

_PLACES = 3  # named behind a finding; --json and --page have ten, the ledger all


def print_audit(console: Console, audited: Audited) -> None:
    """Print what was read, the classes with their effective labels, and the findings."""
    _print_intake(console, audited.intake, audited.dataset)
    _print_rows(console, audited.audit.figures.get("classes", ()))
    _print_findings(console, audited.audit.findings)


def print_written(console: Console, written: Written) -> None:
    """Print what was read, how it is divided, the findings, and where it lies now."""
    _print_intake(console, written.intake, written.dataset)
    columns = ("class", *(f"{split}_{kind}" for split in SPLITS for kind in ("boxes", "deviation")))
    _print_rows(console, [{key: row[key] for key in columns if key in row} for row in written.splits])
    _print_findings(console, written.findings)
    console.print(f"written: {escape(str(written.data))}", highlight=False)
    console.print(f"next: tuneup audit {escape(str(written.data))}", highlight=False)


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print each finding with the first places that it names."""
    if not findings:
        print_findings(console, [], "nothing to mend")
    for finding in worst_first(list(findings)):
        print_findings(console, [finding])
        if places := places_words(finding.evidence):
            console.print(f"    [dim]at {escape(places)}[/]", highlight=False)


def places_words(evidence: Mapping[str, Any]) -> str:
    """Return the first rows, files or pictures that a finding names, and how many more there are."""
    named = next((list(evidence[key]) for key in ("rows", "files", "pictures") if evidence.get(key)), [])
    shown = named[:_PLACES]
    more = int(evidence.get("count", len(named))) - len(shown)
    tail = f" and {more} more" if shown and more > 0 else ""
    return ", ".join(map(str, shown)) + tail


def _print_intake(console: Console, intake: Intake, dataset: Dataset) -> None:
    about = f" ({intake.why})" if intake.why else ""
    console.print(f"[bold]{escape(str(intake.dataset.root))}[/]  {intake.format}{escape(about)}", highlight=False)
    console.print(f"  {rows_words(intake.counts())}", highlight=False)
    own, divided = intake.dataset.counts(), dataset.counts()
    if own != divided:
        console.print(f"  read: {_sizes(own)}", highlight=False)
    console.print(f"  {'then: ' if own != divided else ''}{_sizes(divided)}", highlight=False)


def _sizes(counts: Mapping[str, Mapping[str, int]]) -> str:
    return "; ".join(
        f"{split} {n['images']} pictures, {n['boxes']} boxes" + (f", {n['empty']} empty" if n["empty"] else "")
        for split, n in counts.items()
    )


def rows_words(counts: Mapping[str, int]) -> str:
    """Return the sum of the ledger in words: rows read = kept + repaired + dropped + refused."""
    parts = " + ".join(f"{counts[action]} {action}" for action in ("kept", "repaired", "dropped", "refused"))
    return f"{counts['read']} label rows read = {parts}"


def _print_rows(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    table = Table(*(str(key).replace("_", " ") for key in rows[0]), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
