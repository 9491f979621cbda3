"""Whole datasets drawn at random from a reader's grammar, through the reader and the intake.

`grammar_<format>.cases()` draws them. The suite runs a few of each, `benchmarks/fuzz.py` thousands.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from helpers import snapshot
from hypothesis import HealthCheck, given, settings

from pipeline.data.formats import reader
from pipeline.data.intake import Intake, survey
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError
from pipeline.sections import DataConfig

FORMATS = ("yolo", "coco", "voc", "labelme", "cvat", "label_studio")
HANGS = 60.0  # seconds; a case of a few pictures takes some hundredths


@dataclass
class Tally:
    """What became of the cases of one format."""

    format: str
    cases: int = 0
    refused: int = 0
    rows: int = 0
    kept: int = 0
    repaired: int = 0
    dropped: int = 0
    slowest: float = 0.0


def fuzz(format: str, cases: int) -> Tally:
    """Draw datasets and check each: read or refused in words, the ledger's sum right, nothing on disk changed."""
    grammar = importlib.import_module(f"grammar_{format}")
    tally = Tally(format)

    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(grammar.cases())
    def check(files: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), files)
            before = snapshot(Path(folder))
            started = time.monotonic()
            tally.cases += 1
            try:
                config = DataConfig(path=Path(folder), format=format)  # type: ignore[arg-type]
                intake = survey(config)
                _nothing_lost(reader(format)(Path(folder), config), intake)
            except DataError as error:
                words = str(error).strip()
                tally.refused += 1
                assert words
            else:
                _sums(intake, tally)
                _sound(intake)
            seconds = time.monotonic() - started
            assert seconds < HANGS
            tally.slowest = max(tally.slowest, seconds)
            assert snapshot(Path(folder)) == before

    check()
    return tally


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        place = folder / name
        assert place.resolve().is_relative_to(folder.resolve()), "a grammar must not write elsewhere"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def _nothing_lost(raw: RawDataset, intake: Intake) -> None:
    """Check that all rows that the reader met in the files reach the intake, each one once."""
    assert raw.rows_read == raw.boxes.height + raw.rejected.height == intake.rows_read


def _sums(intake: Intake, tally: Tally) -> None:
    counts = intake.counts()
    assert counts["read"] == counts["kept"] + counts["repaired"] + counts["dropped"] + counts["refused"]
    assert min(counts.values()) >= 0
    assert intake.dataset.boxes.height == counts["kept"] + counts["repaired"]
    tally.rows += counts["read"]
    tally.kept += counts["kept"]
    tally.repaired += counts["repaired"]
    tally.dropped += counts["dropped"] + counts["refused"]
    tally.refused += bool(intake.errors)
    told = {key for finding in intake.findings for key in [finding.id]}
    touched = intake.ledger.filter(pl.col("action") != "refused")["id"].str.split(" ").explode().unique()
    assert set(touched) <= told, "every kind of change is told"


def _sound(intake: Intake) -> None:
    boxes = intake.dataset.boxes.join(intake.dataset.images, on="image_id", how="left")
    sound = (
        (pl.col("x1") >= 0)
        & (pl.col("y1") >= 0)
        & (pl.col("x2") <= pl.col("width"))
        & (pl.col("y2") <= pl.col("height"))
        & (pl.col("x2") > pl.col("x1"))
        & (pl.col("y2") > pl.col("y1"))
        & (pl.col("class_id") < len(intake.dataset.names))
    )
    assert boxes.filter(~sound.fill_null(False)).is_empty()
    names = intake.dataset.names
    assert len(set(names)) == len(names)
    assert all(name.strip() for name in names)
