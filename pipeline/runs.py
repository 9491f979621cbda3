"""The run folder: everything that a later stage needs to know about one training, readable after a power cut.

```
runs/<name>/
  config.yaml        resolved and complete: training it again gives the same run
  environment.json   versions, device, cores
  data.json          root, class names, counts, fingerprint      dataset/{images,boxes}.parquet  the tables themselves
  state.json         running, complete, interrupted or failed, and why
  history/           steps.jsonl, epochs.jsonl, events.jsonl: one record a line, appended whole
  findings.json
  weights/           best.pt, last.pt; resume.pt until the run is complete
  eval/<split>/      metrics.json, detections.parquet
  report.html        ultralytics.log
```

A file is written to a temporary name and renamed, or appended in whole lines: a reader meets the old or the new, never
a half. A torn last line (the power went while it was written) is not read, and cut off before anything is appended.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from .data.dataset import Dataset
from .errors import RunError
from .findings import Finding

STEPS, EPOCHS, EVENTS = "steps", "epochs", "events"
DETECTIONS_SCHEMA: dict[str, Any] = {
    "image_id": pl.UInt32,
    "class_id": pl.UInt16,
    "score": pl.Float64,
    "x1": pl.Float64,  # corners in pixels of the original picture
    "y1": pl.Float64,
    "x2": pl.Float64,
    "y2": pl.Float64,
}


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into a RunError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            what, advice = "the disk is full", "free some space, then continue with --resume"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            what, advice = "not writable", "choose another folder with runs=FOLDER"
        else:
            what, advice = str(error.strerror or error), "choose another folder with runs=FOLDER"
        raise RunError(f"{path}: {what}; {advice}") from error


def write_atomic(path: Path, content: bytes | str | Callable[[Path], None]) -> None:
    """Write a file so that a reader, or a kill at any moment, meets either the old content or the new.

    Args:
        path: the file; its folder is created.
        content: bytes, text (UTF-8), or a function that writes to the path it is given.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            if callable(content):
                content(temporary)
            else:
                temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            _settle(temporary)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _settle(path: Path) -> None:
    """Give the file its usual rights (mkstemp makes it private) and push it to the disk before the rename."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically; raises RunError as `write_atomic` does."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, default: Any) -> Any:
    """Return the document, or `default` when there is none.

    Raises:
        RunError: the file is not JSON, which this program never writes.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore it or train again") from error


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """Replace non-finite numbers, which JSON does not know, by null and name them in `non_finite`."""
    odd = [k for k, v in record.items() if isinstance(v, float) and not math.isfinite(v)]
    if not odd:
        return dict(record)
    return {**record, **dict.fromkeys(odd), "non_finite": odd}


class Run:
    """One run folder. Reading methods return empty tables or `{}` for what has not been written yet."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

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
        except (OSError, ValueError, yaml.YAMLError) as error:
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

    def update_state(self, **changes: Any) -> None:
        """Change some fields of `state.json`."""
        state = {**self.state, **changes, "updated": now()}
        write_json(self.path / "state.json", state)

    def is_being_trained(self) -> bool:
        """Whether the process that trains this run on this machine is alive."""
        state = self.state
        pid = state.get("pid")
        if state.get("state") != "running" or not pid or state.get("host") != os.uname().nodename:
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return int(pid) != os.getpid()

    def findings(self) -> list[Finding]:
        """All findings so far."""
        return [Finding.from_dict(record) for record in read_json(self.path / "findings.json", [])]

    def add_findings(self, findings: Sequence[Finding]) -> None:
        """Add findings; one with an id that is there already replaces it."""
        known = {finding.id: finding for finding in self.findings()}
        known.update({finding.id: finding for finding in findings})
        write_json(self.path / "findings.json", [finding.to_dict() for finding in known.values()])

    # ---- history -----------------------------------------------------------------------------------------------

    def append(self, kind: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Append records to the history `steps`, `epochs` or `events`, each as one whole line.

        Raises:
            RunError: the disk is full or not writable.
        """
        if not records:
            return
        path = self._history(kind)
        lines = "".join(json.dumps(_finite(r), ensure_ascii=False) + "\n" for r in records)
        with explain_disk_errors(path):
            path.parent.mkdir(exist_ok=True)
            with path.open("ab", buffering=0) as file:
                view = memoryview(lines.encode())
                while view:
                    view = view[file.write(view) or 0 :]

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of one history in the order in which they were written."""
        path = self._history(kind)
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        found = []
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn, or empty
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise RunError(f"{path}:{number}: not a record ({error}); restore the file or train again") from error
        return found

    def rewind(self, epochs: int) -> None:
        """Cut the history back to its first `epochs` epochs, so that a resumed run has every step once."""
        for kind in (STEPS, EPOCHS, EVENTS):
            kept = [r for r in self.records(kind) if r["epoch"] < epochs]
            write_atomic(self._history(kind), "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept))

    def steps(self) -> pl.DataFrame:
        """One row per optimiser step."""
        return _table(self.records(STEPS))

    def epochs(self) -> pl.DataFrame:
        """One row per epoch."""
        return _table(self.records(EPOCHS))

    def events(self) -> list[dict[str, Any]]:
        """Marked events: start, resume, warmup_end, close_mosaic, best, interrupted, early_stop, end."""
        return self.records(EVENTS)

    def _history(self, kind: str) -> Path:
        return self.path / "history" / f"{kind}.jsonl"

    # ---- data, weights, evaluations ----------------------------------------------------------------------------

    def save_dataset(self, dataset: Dataset) -> None:
        """Keep the tables that the run is trained on; the pictures stay where they are."""
        write_atomic(self.path / "dataset" / "images.parquet", dataset.images.write_parquet)
        write_atomic(self.path / "dataset" / "boxes.parquet", dataset.boxes.write_parquet)
        record = {
            "root": str(dataset.root.absolute()),
            "fingerprint": dataset.fingerprint(),
            "names": list(dataset.names),
            "counts": dataset.counts(),
        }
        write_json(self.path / "data.json", record)

    def dataset(self) -> Dataset:
        """Return the tables that the run was trained on.

        Raises:
            RunError: they are missing or damaged.
        """
        record = self.data_record
        try:
            images = pl.read_parquet(self.path / "dataset" / "images.parquet")
            boxes = pl.read_parquet(self.path / "dataset" / "boxes.parquet")
            return Dataset(tuple(record["names"]), images, boxes, Path(record["root"]))
        except (OSError, KeyError, ValueError, pl.exceptions.PolarsError) as error:
            raise RunError(f"{self.path}/dataset: cannot be read ({error}); train again") from error

    def weights(self, which: str = "best") -> Path:
        """Return `weights/best.pt` (or last, resume); it may not exist yet."""
        return self.path / "weights" / f"{which}.pt"

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """Return `metrics.json` of every evaluated split."""
        found = sorted((self.path / "eval").glob("*/metrics.json"))
        return {path.parent.name: read_json(path, {}) for path in found}

    def save_evaluation(self, split: str, metrics: Mapping[str, Any], detections: pl.DataFrame) -> Path:
        """Write the detections and then the metrics of one split; returns the folder."""
        folder = self.path / "eval" / split
        write_atomic(folder / "detections.parquet", detections.write_parquet)
        write_json(folder / "metrics.json", dict(metrics))
        return folder

    def detections(self, split: str) -> pl.DataFrame:
        """Return the detections of an evaluated split, in pixels of the original pictures."""
        path = self.path / "eval" / split / "detections.parquet"
        return pl.read_parquet(path) if path.is_file() else pl.DataFrame(schema=DETECTIONS_SCHEMA)

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


def _table(records: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(records, infer_schema_length=None) if records else pl.DataFrame()


def list_runs(folder: Path) -> list[Run]:
    """Return the runs of a folder, newest first.

    The folders themselves are the index: it cannot disagree with them, whatever was killed, moved or deleted.
    """
    runs = [Run(path.parent) for path in folder.glob("*/config.yaml")]
    return sorted(runs, key=lambda run: str(run.state.get("started", "")), reverse=True)


def now() -> str:
    """Return the present time in UTC as ISO 8601 with seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
