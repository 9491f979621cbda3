"""The verbs that write a dataset anew as functions: import, split and tile; the source stays as it is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from .config import Config, Configurable, settle
from .data.archives import is_archive, unpack
from .data.dataset import Dataset
from .data.formats.coco_writer import write_coco
from .data.formats.voc_writer import write_voc
from .data.formats.yolo_writer import write_yolo
from .data.groups import fill_groups
from .data.intake import Intake, read
from .data.split import prepare_splits, split_table
from .data.split_findings import division_findings
from .data.tiling import TileSettings, tile_dataset
from .errors import UsageError
from .findings import Finding, worst_first
from .records import write_atomic, write_json

WRITERS: dict[str, Callable[..., Path]] = {"yolo": write_yolo, "coco": write_coco, "voc": write_voc}
RECORD, LEDGER = "import.json", "ledger.csv"  # beside what was written: where it came from, and every touched row


@dataclass(frozen=True)
class Written:
    """A dataset that was written.

    Args:
        source: where it came from.
        data: what to give to `data=`.
        dataset: the tables that were written.
        intake: what was read.
        findings: worst first.
        splits: one row for each class with its boxes per split; see `split_table`.
    """

    source: Path
    data: Path
    dataset: Dataset
    intake: Intake
    findings: tuple[Finding, ...]
    splits: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "data": str(self.data),
            **self.intake.to_dict(),
            "root": str(self.source.absolute()),
            "names": list(self.dataset.names),
            "counts": self.dataset.counts(),
            "splits": list(self.splits),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def import_dataset(
    source: Path | str,
    folder: Path | str,
    *,
    to: str = "yolo",
    link: bool = False,
    config: Configurable = None,
    overrides: Sequence[str] = (),
) -> Written:
    """Read a dataset in any format, repair it in the open and write it anew; the source stays as it is.

    Args:
        source: folder, file or archive (zip, tar).
        folder: to be written; new or empty.
        to: yolo, coco or voc.
        link: link the pictures instead of copying them: quick and small, but the set cannot be moved, and a program
            that changes its pictures changes the source's. Those of an archive are always copied.
        config: as for `train`; its section `data` says how to read.
        overrides: `key=value` texts such as `data.splits=new` or `data.keep=[pit]`.

    Raises:
        ConfigError, UsageError: a setting is wrong, or the folder is not empty.
        DataError: the source cannot be read, or a finding of severity error refuses it.
    """
    if to not in WRITERS:
        raise UsageError(f"--to {to}: written are {', '.join(WRITERS)}")

    def write(dataset: Dataset, stage: Path, temporary: bool) -> tuple[Path, Dataset, list[Finding]]:
        data = WRITERS[to](dataset, stage, copy=temporary or not link)
        kept = dataset if to == "coco" else replace(dataset, boxes=dataset.boxes.filter(~pl.col("crowd")))
        return data, kept, _not_carried(dataset, to)

    return _rewritten(Path(source), Path(folder), settle(config, overrides), write)


def split_dataset(
    source: Path | str,
    folder: Path | str,
    *,
    to: str = "yolo",
    link: bool = False,
    config: Configurable = None,
    overrides: Sequence[str] = (),
) -> Written:
    """Divide a dataset anew, by class and by what belongs together, and write it; as `import_dataset` otherwise.

    The shares are `data.val_fraction` and `data.test_fraction`; `data.group` says what is never separated;
    `data.splits=repair` keeps the source's splits and moves only what crosses them.
    """
    if settle(config, overrides).data.splits == "keep":
        overrides = [*overrides, "data.splits=new"]
    return import_dataset(source, folder, to=to, link=link, config=config, overrides=overrides)


def tile(
    source: Path | str,
    folder: Path | str,
    *,
    visible: float | None = None,
    background: float | None = None,
    config: Configurable = None,
    overrides: Sequence[str] = (),
) -> Written:
    """Cut large pictures into overlapping tiles with their labels, as prediction with the same `eval.tile` will.

    Args:
        source: folder or file of a dataset.
        folder: to be written; new or empty.
        visible: share of a box's area that a tile must show to keep it; see `TileSettings`.
        background: tiles without a box for each tile with one, in train; see `TileSettings`.
        config: as for `train`.
        overrides: `key=value` texts such as `eval.tile=640` and `eval.overlap=0.2`.

    Raises:
        ConfigError, UsageError: a setting is wrong or missing, or the folder is not empty.
        DataError: the source cannot be read, or a finding of severity error refuses it.
    """
    settings = settle(config, overrides)
    if settings.eval.tile is None:
        raise UsageError("how large are the tiles? Say for instance tile=640, in pixels of the picture")
    chosen = {"visible": visible, "background": background}
    tiles = TileSettings(
        side=settings.eval.tile,
        overlap=settings.eval.overlap,
        seed=settings.data.seed,
        **{key: value for key, value in chosen.items() if value is not None},
    )

    def write(dataset: Dataset, stage: Path, _: bool) -> tuple[Path, Dataset, list[Finding]]:
        tiled = tile_dataset(dataset, stage, tiles)
        return tiled.data, tiled.dataset, list(tiled.findings)

    return _rewritten(Path(source), Path(folder), settings, write)


def _rewritten(
    source: Path,
    folder: Path,
    settings: Config,
    write: Callable[[Dataset, Path, bool], tuple[Path, Dataset, list[Finding]]],
) -> Written:
    """Read, divide, write and record.

    Args:
        source: folder, file or archive.
        folder: to be written.
        settings: how to read and divide.
        write: takes the dataset, the folder to write it into, and whether its pictures are about to go away; returns
            what to give to `data=`, the tables as written, and findings.
    """
    target = _free(folder)
    if source.is_dir():
        _refuse_inside(target, source)
    with _source(source, target) as (place, temporary):
        intake = read(settings.data.model_copy(update={"path": place}))
        _refuse_inside(target, _picture_folder(intake.dataset))
        dataset, findings = _divided(intake, settings)
        with _staged(target) as stage:
            data, as_written, more = write(dataset, stage, temporary)
            table = tuple(split_table(as_written).to_dicts())
            found = tuple(worst_first([*findings, *more]))
            written = Written(source, target / data.relative_to(stage), as_written, intake, found, table)
            write_json(stage / RECORD, written.to_dict())
            write_atomic(stage / LEDGER, intake.ledger.write_csv())
    return written


def _not_carried(dataset: Dataset, to: str) -> list[Finding]:
    """Return findings about what the format to be written has no word for."""
    lost = {"crowds (ignored boxes)": pl.col("crowd")} if to != "coco" else {}
    lost |= {"marks of difficult boxes": pl.col("difficult")} if to == "yolo" else {}
    counts = {what: count for what, holds in lost.items() if (count := dataset.boxes.filter(holds).height)}
    if not counts:
        return []
    parts = [f"{count} {what}" for what, count in counts.items()]
    message = f"{to} has no word for {' and '.join(parts)}; they were left out"
    advice = "--to coco keeps them"
    return [Finding("labels.not_carried", "warning", message, {"count": sum(counts.values())}, advice)]


def _free(folder: Path) -> Path:
    """Return where to write; never over anything.

    Raises:
        UsageError: it is a file, or not empty.
    """
    target = Path(os.path.abspath(folder))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{folder}: not empty; choose another folder or remove it")
    return target


def _picture_folder(dataset: Dataset) -> Path:
    """Return the nearest folder above all pictures."""
    return Path(os.path.commonpath([dataset.picture_path(path).parent for path in dataset.images["path"]]))


def _refuse_inside(target: Path, source: Path) -> None:
    """Make sure that nothing is written into the source.

    Raises:
        UsageError: the target lies in it.
    """
    source = source.resolve()
    if source != Path(source.anchor) and target.resolve().is_relative_to(source):
        raise UsageError(f"{target}: lies inside the source {source}, where nothing is ever written; choose another")


@contextmanager
def _source(source: Path, target: Path) -> Iterator[tuple[Path, bool]]:
    """Give the place to read from, and whether it goes away afterwards, because it was an archive."""
    if not source.is_file() or not is_archive(source):
        yield source, False
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=target.parent) as place:
        yield unpack(source, Path(place)), True


def _divided(intake: Intake, settings: Config) -> tuple[Dataset, list[Finding]]:
    """Divide the dataset where that is asked for; a set that is only written in another form keeps its splits."""
    if settings.data.splits == "keep":
        dataset, findings = fill_groups(intake.dataset, settings.data.group)
        findings += division_findings(dataset)
    else:
        dataset, findings = prepare_splits(intake.dataset, settings.data)
    return dataset, [*intake.findings, *findings]


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Give a folder to write into that takes the target's place when everything is written; else nothing is left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield stage
        stage.chmod(0o777 & ~_umask())  # mkdtemp gives it to its owner alone
        os.replace(stage, target)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
