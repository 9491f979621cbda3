"""Intake: raw rows with their `file:line` become a Dataset, and every row that was touched stands in a ledger.

`read_dataset` is the one way in. Readers only parse; what is wrong with a row is decided here, for all formats alike.
Rows read = kept + repaired + dropped + refused, always. Nothing in the source is ever written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ..errors import ConfigError, DataError
from ..findings import Finding, worst_first
from ..sections import DataConfig
from .dataset import BOXES_SCHEMA, Dataset
from .formats import detect_format, reader
from .images import listed
from .images_csv import groups_of
from .pictures import take_pictures
from .raw import LEDGER_SCHEMA, RawDataset
from .remap import class_changes
from .repair import repair
from .row_findings import class_findings, row_findings

__all__ = ["LEDGER_SCHEMA", "Intake", "read", "read_dataset", "survey", "take_in"]


@dataclass(frozen=True)
class Intake:
    """What came in, and what had to be done to it.

    Args:
        dataset: the pictures and boxes that are used.
        ledger: columns of `LEDGER_SCHEMA`, one row for each row that was touched; kept rows are only counted.
        rows_read: rows in the label files, whatever became of them.
        findings: worst first; an error refuses the dataset.
        headers: one row for each picture of the source, usable or not: `path`, `split`, what `picture_headers` tells.
        format: that was read.
        why: what told the format, if it was looked for.
    """

    dataset: Dataset
    ledger: pl.DataFrame
    rows_read: int
    findings: tuple[Finding, ...] = ()
    headers: pl.DataFrame = field(default_factory=pl.DataFrame)
    format: str = ""
    why: str = ""

    def counts(self) -> dict[str, int]:
        """Return the number of rows read, kept, repaired, dropped and refused."""
        by_action = dict(self.ledger.group_by("action").len().iter_rows())
        touched = {action: int(by_action.get(action, 0)) for action in ("repaired", "dropped", "refused")}
        return {"read": self.rows_read, "kept": self.rows_read - sum(touched.values()), **touched}

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that refuse the dataset."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints of it: the counts and the findings, without the tables."""
        return {
            "root": str(self.dataset.root),
            "format": self.format,
            "why": self.why,
            "names": list(self.dataset.names),
            "counts": self.dataset.counts(),
            "rows": self.counts(),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def read_dataset(path: Path | str, *, format: str = "auto", **settings: Any) -> Intake:
    """Read a dataset from disk.

    Args:
        path: a folder or file with pictures and labels.
        format: yolo, coco, voc, labelme, cvat, label_studio, or auto to find out.
        settings: further keys of the section `data` of the configuration, such as `coordinates="pixels"`.

    Raises:
        ConfigError: a setting is wrong.
        DataError: it cannot be found or read, or a finding of severity error refuses it.
    """
    from ..config import config_from_dict

    return read(config_from_dict({"data": {"path": Path(path), "format": format, **settings}}).data)


def read(settings: DataConfig) -> Intake:
    """Read a dataset that is going to be used.

    Raises:
        DataError: it cannot be found or read, or a finding of severity error refuses it.
    """
    intake = survey(settings)
    if intake.errors:
        raise DataError(_refusal(intake))
    return intake


def survey(settings: DataConfig) -> Intake:
    """Read a dataset to look at it: what refuses it is among the findings.

    Raises:
        ConfigError: `data.path` is not set.
        DataError: there is nothing that can be looked at: no such file, no format known, no picture that can be read.
    """
    if settings.path is None:
        raise ConfigError(["data.path: not set; say where the pictures are, such as data=FOLDER on the command line"])
    path = Path(os.path.abspath(settings.path))
    why = ""
    name: str = settings.format
    if name == "auto":
        name, why = detect_format(path)
    return take_in(reader(name)(path, settings), settings, format=name, why=why)


def take_in(raw: RawDataset, settings: DataConfig | None = None, *, format: str = "", why: str = "") -> Intake:
    """Check and repair raw rows.

    Args:
        raw: what a reader found.
        settings: section `data` of the configuration; the defaults if None.
        format, why: handed on to the Intake.

    Raises:
        DataError: no picture can be read, or the settings name classes that there are not.
    """
    settings = settings or DataConfig()
    if raw.images.is_empty():
        raise DataError(f"{raw.root}: no pictures found")
    pictures = take_pictures(raw.root, raw.images)
    if raw.rows_read is not None and raw.rows_read != raw.boxes.height + raw.rejected.height:
        raise AssertionError(f"{raw.rows_read} rows were read, {raw.boxes.height + raw.rejected.height} handed on")
    changes = class_changes(raw.names, settings.remap, settings.keep)
    repaired = repair(raw.boxes, pictures.images, changes, fractions=raw.fractions)
    ledger = pl.concat([raw.rejected, repaired.ledger])
    images, group_findings = groups_of(raw.root, pictures.images.drop("orientation"))
    boxes = repaired.boxes.select(pl.col(name).cast(dtype) for name, dtype in BOXES_SCHEMA.items())
    dataset = Dataset(changes.names, images, boxes, raw.root, pictures.value_range)
    refused = {finding.id for finding in raw.findings if finding.severity == "error"}  # the reader has told of them
    rows = [finding for finding in row_findings(ledger) if finding.id not in refused]
    found = [*raw.findings, *class_findings(repaired.refused, raw.names), *pictures.findings, *rows]
    found += [*changes.findings, *group_findings]
    rows_read = raw.boxes.height + raw.rejected.height
    return Intake(dataset, ledger, rows_read, tuple(worst_first(found)), pictures.headers, format, why)


def _refusal(intake: Intake) -> str:
    """Put the findings that refuse a dataset in one message."""
    problems = [f"{error.message.rstrip('.')}{_examples(error.evidence)}; {error.advice}" for error in intake.errors]
    return listed(f"{intake.dataset.root}: cannot be used as it is (nothing was changed)", problems)


def _examples(evidence: Any) -> str:
    named: Sequence[Any] = next((evidence[key] for key in ("rows", "files", "pictures") if evidence.get(key)), ())
    more = int(evidence.get("count", len(named))) - len(named[:3])
    tail = f" and {more} more" if more > 0 else ""
    return f" ({', '.join(map(str, named[:3]))}{tail})" if named else ""
