"""The commands about augmentation: contract and preview."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from . import augment_verbs
from .augment_terminal import print_contract
from .command_line import AsJson, Words, answer, subject_of
from .terminal import print_findings


def contract(words: Words = None, as_json: AsJson = False) -> int:
    """Measure what augmentation does to your pictures (SUBJECT: folder, file or configuration; augment=metal)."""
    subject, overrides = subject_of(words)
    proved = augment_verbs.contract(subject, overrides=overrides)
    record = proved.to_dict()
    answer(as_json, record, lambda console: print_contract(console, record))
    return 1 if any(finding.severity == "error" for finding in proved.findings) else 0


def preview(
    words: Words = None,
    out: Annotated[Path, typer.Option(help="Picture to write, .jpg or .png.")] = Path("preview.jpg"),
    as_json: AsJson = False,
) -> int:
    """Draw your pictures beside augmented versions, row by row (SUBJECT as for contract)."""
    subject, overrides = subject_of(words)
    path, found = augment_verbs.preview(subject, out, overrides=overrides)

    def show(console: Console) -> None:
        print_findings(console, list(found.findings), "the contract is kept")
        console.print(escape(str(path)), highlight=False)

    record = {"preview": str(path), "findings": [finding.to_dict() for finding in found.findings]}
    answer(as_json, record, show)
    return 1 if any(finding.severity == "error" for finding in found.findings) else 0
