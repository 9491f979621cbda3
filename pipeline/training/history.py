"""The history of a run as diagnosis reads it: tables and arrays, measured earlier, by whatever process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ..run_history import PROBES, RunHistory
from ..tensor_norms import TensorNorms

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """What was measured, and on what.

    Args:
        steps: one row per optimiser step, as in `steps.jsonl`.
        epochs: one row per epoch.
        events: start, resume, warmup_end, close_mosaic, skipped, out_of_memory, ...
        probes: sampled measurements of the kinds `update`, `health` and `terms`.
        norms: gradient norms per tensor and step.
        incidents: steps that were not finite.
        context: what `history/context.json` says.
    """

    steps: pl.DataFrame
    epochs: pl.DataFrame
    events: list[dict[str, Any]]
    probes: list[dict[str, Any]]
    norms: TensorNorms
    incidents: list[dict[str, Any]]
    context: Mapping[str, Any]

    @classmethod
    def of(cls, run: RunHistory) -> History:
        """Read the history of a run folder.

        Raises:
            RunError: a record is damaged.
        """
        records = (run.steps(), run.epochs(), run.events(), run.records(PROBES), run.norms(), run.incidents())
        return cls(*records, run.context)

    def step_values(self, name: str) -> Values:
        """Return a column of the steps as floats; nan where it is null or there is no such column."""
        return column(self.steps, name)

    def epoch_values(self, name: str) -> Values:
        """Return a column of the epochs as floats; nan where it is null or there is no such column."""
        return column(self.epochs, name)

    def probes_of(self, kind: str) -> list[dict[str, Any]]:
        """Return the probes of one kind in their order."""
        return [probe for probe in self.probes if probe["kind"] == kind]

    @cached_property
    def warmup_steps(self) -> int:
        """Optimiser steps of warm-up."""
        return int(self.context.get("warmup_steps") or 0)


def column(table: pl.DataFrame, name: str) -> Values:
    """Return a column as floats; nan where it is null or there is no such column."""
    if name not in table.columns:
        return np.full(table.height, np.nan)
    values: Values = table[name].cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    return values
