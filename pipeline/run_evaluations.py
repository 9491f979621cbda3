"""What evaluations leave behind in a run: one folder for each split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from .errors import RunError
from .findings import Finding
from .records import read_json, write_atomic, write_json
from .run_history import RunHistory

SHOWN_FROM = 0.25  # least score of a detection that a person is shown: the default of Ultralytics' own `predict`

DETECTIONS_SCHEMA: dict[str, Any] = {
    "image_id": pl.UInt32,
    "class_id": pl.UInt16,
    "score": pl.Float64,
    "x1": pl.Float64,  # corners in pixels of the original picture
    "y1": pl.Float64,
    "x2": pl.Float64,
    "y2": pl.Float64,
}


class RunEvaluations(RunHistory):
    """The part of a run that evaluations write: `eval/<split>/`."""

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """Return `metrics.json` of every evaluated split."""
        found = sorted((self.path / "eval").glob("*/metrics.json"))
        return {path.parent.name: read_json(path, {}) for path in found}

    def evaluation_findings(self) -> list[Finding]:
        """Return what the evaluations found; each evaluation of a split takes the place of the one before."""
        return [
            Finding.from_dict(record)
            for metrics in self.evaluations().values()
            for record in metrics.get("findings") or []
        ]

    def save_evaluation(
        self,
        split: str,
        metrics: Mapping[str, Any],
        tables: Mapping[str, pl.DataFrame],
        curves: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write what came out on one split, the metrics last; returns the folder.

        Args:
            split: its name.
            metrics: the figures.
            tables: `detections` (columns of `DETECTIONS_SCHEMA`) and others, each a parquet file of its name.
            curves: what only the figures of the report need.
        """
        folder = self.path / "eval" / split
        for name, table in tables.items():
            write_atomic(folder / f"{name}.parquet", table.write_parquet)
        write_json(folder / "curves.json", dict(curves or {}))
        write_json(folder / "metrics.json", dict(metrics))
        return folder

    def curves(self, split: str) -> dict[str, Any]:
        """Return `curves.json` of an evaluated split."""
        return dict(read_json(self.path / "eval" / split / "curves.json", {}))

    def detections(self, split: str) -> pl.DataFrame:
        """Return the detections of an evaluated split, in pixels of the original pictures.

        Raises:
            RunError: they are damaged.
        """
        table = self.evaluation_table(split, "detections")
        return pl.DataFrame(schema=DETECTIONS_SCHEMA) if table is None else table

    def evaluation_table(self, split: str, name: str) -> pl.DataFrame | None:
        """Return one of the tables of an evaluated split, None where there is none of this name.

        Raises:
            RunError: it is damaged.
        """
        path = self.path / "eval" / split / f"{name}.parquet"
        try:
            return pl.read_parquet(path) if path.is_file() else None
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunError(f"{path}: cannot be read ({error}); evaluate again") from error
