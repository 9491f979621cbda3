"""What a person sees in the terminal of an augmentation: each entry with what it does, what is wrong, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .findings import SEVERITIES, Finding
from .reporting.augmentation import CAPTION, HEADINGS, EntryRow, about, cost_words, entry_rows, milliseconds
from .terminal import SEVERITY_STYLES, print_findings

_LEFT, _SETTING = 2, 14  # columns that are text: entry and setting; characters of the latter


def print_contract(console: Console, record: Mapping[str, Any]) -> None:
    """Print what was measured of every entry, the findings with their advice, and the cost.

    Args:
        console: where to print.
        record: of `Contract.to_dict`, with `cost` beside it where that was measured.
    """
    console.print(escape(about(record)), highlight=False)
    rows = entry_rows(record)
    if len(rows) > 1:
        console.print(_table(rows))
        console.print(f"[dim]{CAPTION}[/]", highlight=False)
    findings = [Finding.from_dict(finding) for finding in record["findings"]]
    print_findings(console, findings, "the contract is kept")
    for line in cost_lines(record):
        console.print(f"[dim]{escape(line)}[/]", highlight=False)


def cost_lines(record: Mapping[str, Any]) -> list[str]:
    """Return what the stage costs: time per picture, pictures per second of one process, and beside a training step."""
    whole = record["entries"][-1]
    spent = whole["milliseconds"]
    if whole["failure"]:
        return []
    rate = f", {1000 / spent:,.0f} pictures a second in one process" if spent >= 0.1 else ""
    reading = f"; reading a picture takes {record['reading_milliseconds']:.1f} ms"
    lines = [f"cost: {milliseconds(spent)} ms a picture{rate}{reading}"]
    words = cost_words(record)
    return [*lines, f"loading: {words}"] if words else lines


def _table(rows: list[EntryRow]) -> Table:
    table = Table(*HEADINGS, box=None, pad_edge=False)
    table.columns[0].overflow, table.columns[1].min_width = "fold", _SETTING
    for column in table.columns[_LEFT:]:
        column.justify = "right"
    for row in rows:
        worst = min((finding["severity"] for finding in row.findings), key=SEVERITIES.index, default="info")
        name = escape(row.name) if worst == "info" else f"[{SEVERITY_STYLES[worst]}]{escape(row.name)}[/]"
        if row.failure:
            table.add_row(name, f"[{SEVERITY_STYLES['error']}]{row.failure}[/]")
            continue
        cells = (f"[yellow]{escape(cell.text)}[/]" if cell.odd else escape(cell.text) for cell in row.cells)
        table.add_row(name, *cells)
    return table
