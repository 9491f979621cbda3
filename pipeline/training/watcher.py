"""Following a training from outside, and asking it to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..findings import Finding
from ..runs import Run


class Watcher:
    """Someone who follows a training: terminal, report, logger. Called on rank 0 only; itself it does nothing."""

    def on_preflight(self, seconds: float, result: Mapping[str, Any] | None) -> None:
        """The checks before the training begin, with at most so many seconds (None), or have ended (their record)."""

    def on_start(self, run: Run, epochs: int, first_epoch: int, batches: int) -> None:
        """Training begins or goes on; `batches` per epoch."""

    def on_batch(self, epoch: int, batch: int) -> None:
        """A batch was back-propagated; `batch` counts from 1 within the epoch."""

    def on_steps(self, records: list[dict[str, Any]]) -> None:
        """Optimiser steps were taken: the records of `steps.jsonl`.

        The last one also has, from the step sampled last, `update_ratio` (|dw|/|w| by optimizer group) and `largest`
        (the layer with the largest such ratio, and the ratio).
        """

    def on_findings(self, findings: list[Finding]) -> None:
        """The diagnosis found something that was not known before."""

    def on_epoch(self, record: dict[str, Any]) -> None:
        """An epoch was trained and validated; the record of `epochs.jsonl`."""


class StopRequested(Exception):
    """Raised between two batches when somebody asked the training to stop."""
