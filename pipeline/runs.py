"""The run folder: everything that a later stage needs to know about one training, readable after a power cut.

```
runs/<name>/
  config.yaml        resolved and complete: training it again gives the same run
  environment.json   versions, device, cores
  data.json          root, class names, counts, fingerprint, value range
  dataset/           images, boxes, files (digests of the pictures) and ledger (every row touched) as .parquet
  audit.json         what the audit made of the data
  state.json         running, complete, interrupted or failed, and why
  history/           steps, epochs, events and probes as .jsonl: one record a line, appended whole
                     tensors.bin: gradient norm of every tensor at every step   context.json: what they were measured on
  incidents/<step>/  a step that was not finite and therefore not taken: what was found, and how to repeat it
  findings.json
  weights/           best.pt, last.pt; resume.pt until the run is complete
  eval/<split>/      metrics.json, curves.json; detections, errors and suspects as .parquet
  operating_point.json   thresholds and calibrator, chosen on val for these weights
  report.html        model_card.md      ultralytics.log
```

How the files are written, so that a reader meets the old or the new and never a half, is told in `records`.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import yaml

from .data.dataset import Dataset
from .data.digests import picture_digests
from .errors import RunError
from .findings import Finding
from .records import exclusive, explain_disk_errors, now, read_json, write_atomic, write_json
from .run_evaluations import DETECTIONS_SCHEMA, RunEvaluations
from .run_history import EPOCHS, EVENTS, PROBES, STEPS

__all__ = [
    "DETECTIONS_SCHEMA",
    "EPOCHS",
    "EVENTS",
    "PROBES",
    "STEPS",
    "Run",
    "list_runs",
    "now",
    "write_atomic",
    "write_json",
]

CLOCK_SLACK = 5.0  # seconds by which two clocks of one machine may differ


class Run(RunEvaluations):
    """One run folder. Reading methods return empty tables or `{}` for what has not been written yet."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    # ---- making and finding ------------------------------------------------------------------------------------

    @classmethod
    def create(cls, runs: Path, name: str) -> Run:
        """Make a new folder `runs/name`, or `name-2`, `name-3`, ... where that exists: a run is never overwritten.

        Raises:
            RunError: the folder cannot be made.
        """
        safe = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
        with explain_disk_errors(runs / safe):
            runs.mkdir(parents=True, exist_ok=True)
            number = 1
            while True:
                path = runs / (safe if number == 1 else f"{safe}-{number}")
                try:
                    path.mkdir()
                    return cls(path)
                except FileExistsError:
                    number += 1

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Return an existing run.

        Raises:
            RunError: the folder is not a run.
        """
        run = cls(path)
        if not (run.path / "config.yaml").is_file():
            raise RunError(
                f"{run.path.absolute()}: no run here (config.yaml is missing); `tuneup runs` lists the runs there are"
            )
        return run

    # ---- whole records -----------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        path = self.path / "config.yaml"
        try:
            return dict(yaml.safe_load(path.read_text("utf-8")) or {})
        except FileNotFoundError:
            return {}
        except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
            raise RunError(f"{path}: cannot be read ({error}); restore it or train again") from error

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, device and cores of the machine that trained."""
        return dict(read_json(self.path / "environment.json", {}))

    @property
    def data_record(self) -> dict[str, Any]:
        """Root, class names, counts per split and fingerprint of the dataset."""
        return dict(read_json(self.path / "data.json", {}))

    @property
    def state(self) -> dict[str, Any]:
        """`state` (running, complete, interrupted, failed), `reason`, `started`, `seconds`, `epochs_done`, ..."""
        return dict(read_json(self.path / "state.json", {}))

    @property
    def condition(self) -> dict[str, Any]:
        """The state, or `damaged` and why where `state.json` cannot be read, so that one such run hides no others."""
        try:
            return self.state
        except RunError as error:
            return {"state": "damaged", "reason": str(error)}

    def update_state(self, **changes: Any) -> None:
        """Change some fields of `state.json`.

        Raises:
            RunError: the file is damaged, the disk is full or not writable.
        """
        write_json(self.path / "state.json", {**self.state, **changes, "updated": now()})

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other processes from training this run while the block runs; raises RunError if one does already."""
        return exclusive(self.path / ".lock", "is being trained")

    def is_being_trained(self) -> bool:
        """Whether another process on this machine, the one that `state.json` names, is training this run.

        Raises:
            RunError: `state.json` is damaged, so that nobody can know.
        """
        state = self.state
        pid = state.get("pid")
        if state.get("state") != "running" or not isinstance(pid, int) or state.get("host") != platform.node():
            return False
        try:
            process = psutil.Process(pid)
            ended = process.status() == psutil.STATUS_ZOMBIE
            born = process.create_time()
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True
        # A number is given out again after a restart: whoever is younger than the trainer's last word is another one.
        younger = born > (self.path / "state.json").stat().st_mtime + CLOCK_SLACK
        return not ended and not younger and pid != os.getpid()

    def findings(self) -> list[Finding]:
        """All findings so far."""
        path = self.path / "findings.json"
        try:
            return [Finding.from_dict(record) for record in read_json(path, [])]
        except (TypeError, ValueError) as error:
            raise RunError(f"{path}: cannot be read ({error}); restore it or train again") from error

    def add_findings(self, findings: Sequence[Finding]) -> None:
        """Add findings; one with an id that is there already replaces it, if it is about the same entry of a policy."""
        known = {_subject(finding): finding for finding in self.findings()}
        known.update({_subject(finding): finding for finding in findings})
        write_json(self.path / "findings.json", [finding.to_dict() for finding in known.values()])

    # ---- data, weights, evaluations ----------------------------------------------------------------------------

    def save_dataset(self, dataset: Dataset) -> None:
        """Keep the tables that the run is trained on and digests of the pictures, which stay where they are."""
        paths = dataset.images["path"]
        digests = picture_digests([dataset.picture_path(path) for path in paths])
        files = pl.DataFrame({"path": paths, "digest": pl.Series(digests, dtype=pl.String)})
        write_atomic(self.path / "dataset" / "files.parquet", files.write_parquet)
        self.save_tables(dataset, dataset.fingerprint(digests))

    def save_tables(self, dataset: Dataset, fingerprint: str = "") -> None:
        """Keep the tables alone, for a folder that is soon thrown away."""
        write_atomic(self.path / "dataset" / "images.parquet", dataset.images.write_parquet)
        write_atomic(self.path / "dataset" / "boxes.parquet", dataset.boxes.write_parquet)
        record = {
            "root": str(dataset.root.absolute()),
            "fingerprint": fingerprint,
            "names": list(dataset.names),
            "counts": dataset.counts(),
            "value_range": dataset.value_range,
        }
        write_json(self.path / "data.json", record)

    def save_intake(self, ledger: pl.DataFrame, document: Mapping[str, Any]) -> None:
        """Keep what was done to every row of the source, and what the audit made of the data.

        Args:
            ledger: columns of `LEDGER_SCHEMA`.
            document: format, counts of rows, findings and figures; see `audit`.
        """
        write_atomic(self.path / "dataset" / "ledger.parquet", ledger.write_parquet)
        write_json(self.path / "audit.json", document)

    @property
    def audit(self) -> dict[str, Any]:
        """What the audit made of the data, as `save_intake` was given it."""
        return dict(read_json(self.path / "audit.json", {}))

    @property
    def contract(self) -> dict[str, Any]:
        """What the augmentation does to the pictures, as measured before the training; empty where it was not."""
        return dict(read_json(self.path / "contract.json", {}))

    @property
    def preview(self) -> Path:
        """Where the pictures of the augmentation are; older runs have none."""
        return self.path / "preview.jpg"

    def ledger(self) -> pl.DataFrame | None:
        """Return the ledger of the intake, or None for runs without one.

        Raises:
            RunError: it is damaged.
        """
        return self._table("ledger")

    def picture_digests(self) -> pl.DataFrame:
        """Return `path` and `digest` of every picture as it was when the run kept its data; empty for older runs."""
        table = self._table("files")
        return pl.DataFrame(schema={"path": pl.String, "digest": pl.String}) if table is None else table

    def _table(self, name: str) -> pl.DataFrame | None:
        path = self.path / "dataset" / f"{name}.parquet"
        try:
            return pl.read_parquet(path) if path.is_file() else None
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunError(f"{path}: cannot be read ({error}); train again") from error

    def dataset(self) -> Dataset:
        """Return the tables that the run was trained on.

        Raises:
            RunError: they are missing or damaged.
        """
        record = self.data_record
        try:
            images = pl.read_parquet(self.path / "dataset" / "images.parquet")
            boxes = pl.read_parquet(self.path / "dataset" / "boxes.parquet")
            low_high = record.get("value_range")  # missing in older runs
            value_range = (float(low_high[0]), float(low_high[1])) if low_high else None
            return Dataset(tuple(record["names"]), images, boxes, Path(record["root"]), value_range)
        except (OSError, KeyError, ValueError, pl.exceptions.PolarsError) as error:
            raise RunError(f"{self.path}/dataset: cannot be read ({error}); train again") from error

    def weights(self, which: str = "best") -> Path:
        """Return `weights/best.pt` (or last, resume); it may not exist yet."""
        return self.path / "weights" / f"{which}.pt"

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints of a run."""
        return {
            "run": str(self.path),
            "name": self.name,
            "state": self.state,
            "data": self.data_record,
            "evaluations": self.evaluations(),
            "findings": [finding.to_dict() for finding in self.findings()],
        }


def _subject(finding: Finding) -> tuple[str, str]:
    return finding.id, str(finding.evidence.get("entry", ""))


def list_runs(folder: Path) -> list[Run]:
    """Return the runs of a folder, newest first; those whose state cannot be read come last.

    The folders themselves are the index: it cannot disagree with them, whatever was killed, moved or deleted.
    """
    runs = [Run(path.parent) for path in folder.glob("*/config.yaml")]
    return sorted(runs, key=lambda run: str(run.condition.get("started", "")), reverse=True)
