"""The commands about data: audit, import, split and tile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from . import data_verbs, import_verbs
from .command_line import AsJson, Words, answer, subject_of, subjects_of
from .data_terminal import print_audit, print_written
from .errors import UsageError
from .reporting.data_page import write_audit_page

FromTo = Annotated[list[str] | None, typer.Argument(metavar="SOURCE FOLDER [KEY=VALUE]...", show_default=False)]
To = Annotated[str, typer.Option("--to", help="Format to write: yolo, coco or voc.")]
Link = Annotated[
    bool, typer.Option("--link", help="Link the pictures instead of copying them; the set depends on its source then.")
]


def audit(
    words: Words = None,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page with pictures of what was found.")] = None,
    labels_only: Annotated[bool, typer.Option("--labels-only", help="Do not decode the pictures.")] = False,
    as_json: AsJson = False,
) -> int:
    """Say what would spoil a training on this data (SUBJECT: folder, file or configuration); nothing is changed."""
    subject, overrides = subject_of(words)
    audited = data_verbs.audit(subject, overrides=overrides, pictures=not labels_only)
    if page is not None:
        write_audit_page(page, audited.dataset, audited.to_dict())

    def show(console: Console) -> None:
        print_audit(console, audited)
        if page is not None:
            console.print(escape(str(page)), highlight=False)

    answer(as_json, audited.to_dict(), show)
    return 1 if any(finding.severity == "error" for finding in audited.audit.findings) else 0


def import_data(words: FromTo = None, to: To = "yolo", link: Link = False, as_json: AsJson = False) -> int:
    """Read a dataset in any format (or a zip or tar of it), repair it in the open, write it anew."""
    source, folder, overrides = _from_to(words, "import")
    written = import_verbs.import_dataset(source, folder, to=to, link=link, overrides=overrides)
    answer(as_json, written.to_dict(), lambda console: print_written(console, written))
    return 0


def split(words: FromTo = None, to: To = "yolo", link: Link = False, as_json: AsJson = False) -> int:
    """Divide a dataset by class and by what belongs together: data.val_fraction, data.test_fraction, data.group."""
    source, folder, overrides = _from_to(words, "split")
    written = import_verbs.split_dataset(source, folder, to=to, link=link, overrides=overrides)
    answer(as_json, written.to_dict(), lambda console: print_written(console, written))
    return 0


def tile(
    words: FromTo = None,
    visible: Annotated[float | None, typer.Option(help="Share of a box that a tile must show to keep it.")] = None,
    background: Annotated[float | None, typer.Option(help="Tiles without a box for each one with boxes.")] = None,
    as_json: AsJson = False,
) -> int:
    """Cut large pictures into overlapping tiles with their labels: tile=640 overlap=0.2."""
    source, folder, overrides = _from_to(words, "tile")
    written = import_verbs.tile(source, folder, visible=visible, background=background, overrides=overrides)
    answer(as_json, written.to_dict(), lambda console: print_written(console, written))
    return 0


def _from_to(words: list[str] | None, verb: str) -> tuple[str, str, list[str]]:
    subjects, overrides = subjects_of(words)
    if len(subjects) != 2:
        raise UsageError(f"tuneup {verb} SOURCE FOLDER: where the data is, and a new folder to write it into")
    return subjects[0], subjects[1], overrides
