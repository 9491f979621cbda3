"""Audit: everything about a dataset that would spoil the result, as findings, and the numbers behind them.

Checks are pure functions of one snapshot (`checks/`). One that fails is a finding itself, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from ..findings import Finding, worst_first
from .checks import CHECKS, Check, figures_of, take_snapshot
from .dataset import Dataset
from .duplicates import find_duplicates
from .label_explanations import label_facts
from .label_looks import LabelSampler
from .picture_facts import picture_facts
from .picture_headers import picture_headers

if TYPE_CHECKING:
    from .intake import Intake

T = TypeVar("T")


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Args:
        findings: each id once; worst first; among equals those of the intake first, then in the order of the checks.
        figures: counts by class and split, sizes, duplicates (see `figures_of`), and `seconds` of each part; fit for
            JSON.
    """

    findings: tuple[Finding, ...]
    figures: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return both, fit for JSON."""
        return {"findings": [finding.to_dict() for finding in self.findings], "figures": self.figures}


def audit(
    dataset: Dataset,
    *,
    intake: Intake | None = None,
    imgsz: int = 640,
    pictures: bool = True,
    findings: Sequence[Finding] = (),
) -> Audit:
    """Check a dataset.

    Args:
        dataset: with splits and groups as it will be trained.
        intake: how it was read: its findings come first, and what it has said is not said again.
        imgsz: side of the network's input in pixels.
        pictures: decode all pictures to find blank, odd and duplicate ones; without, the tables alone are checked.
        findings: what was found on the way, such as in dividing; they follow those of the intake and are not repeated.
    """
    run = _Run()
    headers = intake.headers if intake is not None and intake.headers.width else None
    looked = run.look_at_pictures(dataset, headers) if pictures else {"headers": headers}
    with run.timed("tables"):
        snapshot = take_snapshot(dataset, imgsz, intake=intake, **looked)
    for check in CHECKS:
        run.findings += run.tried(_name(check), lambda check=check: check(snapshot)) or []  # type: ignore[misc]
    figures = run.tried("figures", lambda: figures_of(snapshot)) or {}
    before = (*(intake.findings if intake is not None else ()), *findings)
    said = {finding.id for finding in before}
    new = [finding for finding in (*run.findings, *run.failures()) if finding.id not in said]
    return Audit(tuple(_once_each(worst_first([*before, *new]))), {**figures, "seconds": run.seconds})


class _Run:
    """Findings and times of one audit while it goes on."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.seconds: dict[str, float] = {}
        self._failed: dict[str, str] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - began, 4)

    def tried(self, name: str, part: Callable[[], T]) -> T | None:
        """Return what a part returns, or None if it fails, which becomes a finding."""
        with self.timed(name):
            try:
                return part()
            except Exception as error:  # whatever it is, the other checks are worth having
                self._failed[name] = f"{type(error).__name__}: {error}"
                return None

    def failures(self) -> list[Finding]:
        """Return one finding that names all parts that failed."""
        if not self._failed:
            return []
        words = "; ".join(f"{name} ({error})" for name, error in self._failed.items())
        count = "a check" if len(self._failed) == 1 else f"{len(self._failed)} checks"
        message = f"{count} failed, and nothing is known of what would have been found: {words}"
        advice = "this is an error of the program: report it with this message, please"
        evidence = {"count": len(self._failed), "checks": dict(self._failed)}
        return [Finding("audit.check_failed", "warning", message, evidence, advice)]

    def look_at_pictures(self, dataset: Dataset, headers: pl.DataFrame | None) -> dict[str, Any]:
        """Return headers, facts and duplicates, each None if looking failed."""
        if headers is None:
            headers = self.tried("picture_headers", lambda: _headers(dataset))
        sampler = self.tried("label_sample", lambda: LabelSampler(dataset))
        look = None if sampler is None else sampler.look
        facts = self.tried("picture_facts", lambda: picture_facts(dataset, look=look))
        if facts is None:
            return {"headers": headers}
        if sampler is not None:
            labels = self.tried("label_looks", lambda: label_facts(dataset, sampler.looks()))
            facts = replace(facts, labels=labels)
        return {
            "headers": headers,
            "facts": facts,
            "duplicates": self.tried("duplicates", lambda: find_duplicates(dataset, facts)),
        }


def _once_each(findings: list[Finding]) -> list[Finding]:
    """Put findings of one id together, because a run keeps one of each: the first leads, the others are `more`."""
    by_id: dict[str, list[Finding]] = {}
    for finding in findings:
        by_id.setdefault(finding.id, []).append(finding)
    return [first if not more else _joined(first, more) for first, *more in by_id.values()]


def _joined(first: Finding, more: list[Finding]) -> Finding:
    message = "; ".join(finding.message for finding in (first, *more))
    return replace(first, message=message, evidence={**first.evidence, "more": [dict(f.evidence) for f in more]})


def _name(check: Check) -> str:
    return f"{check.__module__.rsplit('.', 1)[-1]}.{check.__name__}"


def _headers(dataset: Dataset) -> pl.DataFrame:
    table = picture_headers([dataset.picture_path(path) for path in dataset.images["path"]])
    return table.drop("path", strict=False).with_columns(dataset.images["path"])
