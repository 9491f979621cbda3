"""What the report shows of a dataset, and the page of its own that `tuneup audit --page` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.dataset import Dataset
from ..findings import Finding, worst_first
from ..records import now, write_atomic
from .data_figures import data_figures, size_fact
from .data_gallery import finding_groups
from .page import template
from .scores import SPLIT_WORDS
from .wording import count, moment, short


def write_audit_page(path: Path, dataset: Dataset, document: Mapping[str, Any]) -> Path:
    """Write one HTML file that needs nothing else: figures, findings, and pictures of what they are about.

    Args:
        path: of the file.
        dataset: the tables that were audited.
        document: of `Audited.to_dict`.

    Raises:
        RunError: the file cannot be written.
    """
    findings = worst_first([Finding.from_dict(record) for record in document["findings"]])
    page = template("audit.html.j2").render(
        name=dataset.root.name,
        place=str(dataset.root),
        format=document.get("format", ""),
        why=document.get("why", ""),
        facts=_facts(dataset),
        findings=[finding_record(finding) for finding in findings],
        data=view(dataset, document),
        updated=moment(now()),
    )
    write_atomic(path, page.encode("utf-8", errors="replace"))
    return path


def view(dataset: Dataset, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows of a dataset.

    Args:
        dataset: the tables.
        document: of `Audited.to_dict`, or what a run kept of it; a missing part is left out.
    """
    return {
        "rows": rows_sentence(document.get("rows") or {}),
        "classes": _classes(document.get("figures", {}).get("classes") or []),
        "figures": data_figures(dataset),
        "groups": finding_groups(dataset, document.get("findings") or []),
    }


def rows_sentence(counts: Mapping[str, int]) -> str:
    """Return the sum of the ledger in words."""
    if not counts:
        return ""
    parts = " + ".join(f"{counts[action]:,} {action}" for action in ("kept", "repaired", "dropped", "refused"))
    return f"{counts['read']:,} label rows read = {parts}."


def finding_record(finding: Finding) -> dict[str, Any]:
    """Return a finding as the template's article wants it."""
    return {**finding.to_dict(), "evidence": [(key, short(value)) for key, value in finding.evidence.items()]}


def _facts(dataset: Dataset) -> list[tuple[str, str]]:
    facts = [("Classes", f"{len(dataset.names)}"), ("Pictures", size_fact(dataset.images))]
    for split, held in dataset.counts().items():
        empty = f" ({held['empty']:,} empty)" if held["empty"] else ""
        text = f"{held['images']:,}{empty}, {count(held['boxes'], 'box', 'boxes')}"
        facts.append((f"{SPLIT_WORDS.get(split, split).capitalize()} pictures", text))
    return facts


def _classes(rows: list[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the table of classes; the columns are those that the audit counted."""
    if not rows:
        return None
    headings = [str(key).replace("_", " ") for key in rows[0]]
    return {"headings": headings, "rows": [[short(value) for value in row.values()] for row in rows]}
