"""A training of the benchmark as it is kept: a folder of parquet tables, from which it can be judged again.

`steps.parquet`, `epochs.parquet`, `norms.parquet` (one row per optimiser step, one column per tensor) and
`records.parquet` (everything else, as JSON texts: events, probes, incidents, context, what the preflight found, how it
ended).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.findings import Finding
from pipeline.run_history import RunHistory
from pipeline.tensor_norms import EMPTY, TensorNorms
from pipeline.training.history import History

KINDS = ("events", "probes", "incidents")


@dataclass(frozen=True)
class Stored:
    """One kept training.

    Args:
        name: of the case.
        history: as a run folder gives it.
        preflight: what the checks before the training found.
        outcome: `refused` (a message, before training), `ended` (complete, or a message), `onset` (step or None),
            `seconds`, `finite` (whether all final weights are).
    """

    name: str
    history: History
    preflight: list[Finding]
    outcome: Mapping[str, Any]


def save(folder: Path, run: Path | None, preflight: list[dict[str, Any]], outcome: Mapping[str, Any]) -> None:
    """Keep a training; `run` is its folder, None where it was refused before it had one."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    history = History.of(RunHistory(run or part))
    history.steps.write_parquet(part / "steps.parquet")
    history.epochs.write_parquet(part / "epochs.parquet")
    norms = {"step": history.norms.steps, **dict(zip(history.norms.tensors, history.norms.values.T, strict=True))}
    pl.DataFrame(norms).write_parquet(part / "norms.parquet")
    rows = [(kind, record) for kind in KINDS for record in getattr(history, kind)]
    rows += [("preflight", record) for record in preflight]
    rows += [("context", dict(history.context)), ("layers", list(history.norms.layers)), ("outcome", dict(outcome))]
    table = {"kind": [kind for kind, _ in rows], "record": [json.dumps(record) for _, record in rows]}
    pl.DataFrame(table).write_parquet(part / "records.parquet")
    part.rename(folder)


def load(folder: Path) -> Stored:
    """Return a kept training."""
    records: dict[str, list[Any]] = {}
    for kind, record in pl.read_parquet(folder / "records.parquet").iter_rows():
        records.setdefault(kind, []).append(json.loads(record))
    norms = pl.read_parquet(folder / "norms.parquet")
    (layers,) = records["layers"]
    tensors = tuple(norms.columns[1:])
    kept = EMPTY
    if tensors:
        values = norms.drop("step").to_numpy().astype(np.float32, copy=False)
        kept = TensorNorms(tensors, tuple(layers), norms["step"].to_numpy(), values)
    history = History(
        steps=pl.read_parquet(folder / "steps.parquet"),
        epochs=pl.read_parquet(folder / "epochs.parquet"),
        norms=kept,
        context=records["context"][0],
        **{kind: records.get(kind, []) for kind in KINDS},
    )
    preflight = [Finding.from_dict(record) for record in records.get("preflight", [])]
    return Stored(folder.name, history, preflight, records["outcome"][0])
