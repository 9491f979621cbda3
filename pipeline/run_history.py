"""What grows while a run is trained: its steps, epochs, events, probes, gradient norms and incidents."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from . import tensor_norms
from .records import append_lines, as_line, read_json, read_lines, write_atomic, write_json
from .tensor_norms import TensorNorms

STEPS, EPOCHS, EVENTS, PROBES = "steps", "epochs", "events", "probes"


class RunHistory:
    """The records below `history/` and `incidents/` of a run folder; empty tables for what is not there yet."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def append(self, kind: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Append records to the history `steps`, `epochs` or `events` ..., each as one whole line, all or none.

        Raises:
            RunError: the disk is full or not writable.
        """
        if records:
            append_lines(self._history(kind), records)

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of one history in the order in which they were written."""
        return read_lines(self._history(kind))

    def rewind(self, epochs: int) -> None:
        """Cut the history back to its first `epochs` epochs, so that a resumed run has every step once.

        The events `resume` all stay: how often a run was taken up again is part of its story.
        """
        for kind in (STEPS, EPOCHS, EVENTS, PROBES):
            kept = [r for r in self.records(kind) if r["epoch"] < epochs or r.get("event") == "resume"]
            if kept or self._history(kind).is_file():
                write_atomic(self._history(kind), "".join(map(as_line, kept)))
        steps = len(self.records(STEPS))
        tensor_norms.rewind(self.path / "history", steps)
        for record in self.incidents():
            if record["step"] >= steps:
                shutil.rmtree(self.incident_folder(record["name"]), ignore_errors=True)

    def steps(self) -> pl.DataFrame:
        """One row per optimiser step."""
        return _table(self.records(STEPS))

    def epochs(self) -> pl.DataFrame:
        """One row per epoch."""
        return _table(self.records(EPOCHS))

    def events(self) -> list[dict[str, Any]]:
        """Marked events: start, resume, warmup_end, close_mosaic, skipped, out_of_memory, early_stop, end, ..."""
        return self.records(EVENTS)

    # ---- what the monitor measured ---------------------------------------------------------------------------------

    @property
    def context(self) -> dict[str, Any]:
        """What the history was measured on: optimizer, schedule, layers, frozen tensors, sizes; `{}` before a start."""
        return dict(read_json(self.path / "history" / "context.json", {}))

    def save_context(self, context: Mapping[str, Any]) -> None:
        """Write the context; raises RunError as `write_json` does."""
        write_json(self.path / "history" / "context.json", context)

    def begin_norms(self, tensors: Sequence[str], layers: Sequence[str]) -> None:
        """Name the tensors whose gradient norms will be recorded, and the layer of each.

        Raises:
            RunError: other tensors are recorded already.
        """
        tensor_norms.begin(self.path / "history", tensors, layers)

    def append_norms(self, steps: Sequence[int], values: npt.NDArray[np.float32]) -> None:
        """Append gradient norms `[steps, tensors]`, per picture, before clipping; raises RunError on a full disk."""
        tensor_norms.append(self.path / "history", steps, values)

    def norms(self) -> TensorNorms:
        """Gradient norms of every tensor at every recorded step."""
        return tensor_norms.read(self.path / "history")

    # ---- steps that were not finite --------------------------------------------------------------------------------

    def incident_folder(self, name: str) -> Path:
        """Return the folder of an incident, such as `incidents/step-000123`."""
        return self.path / "incidents" / name

    def add_incident(self, name: str, record: Mapping[str, Any]) -> None:
        """Keep what was found about a step that was not taken."""
        write_json(self.incident_folder(name) / "incident.json", record)

    def incidents(self) -> list[dict[str, Any]]:
        """Return the records of all incidents with their names, in the order of their steps."""
        found = sorted((self.path / "incidents").glob("*/incident.json"))
        return [{"name": path.parent.name, **read_json(path, {})} for path in found]

    def _history(self, kind: str) -> Path:
        return self.path / "history" / f"{kind}.jsonl"


def _table(records: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(records, infer_schema_length=None) if records else pl.DataFrame()
