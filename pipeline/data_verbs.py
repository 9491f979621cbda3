"""The verbs about data as functions: audit, import, split and tile."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from .config import Config, Configurable, load_config, settle
from .data.archives import is_archive, unpack
from .data.audit import Audit
from .data.audit import audit as audit_dataset
from .data.dataset import Dataset
from .data.formats.coco_writer import write_coco
from .data.formats.voc_writer import write_voc
from .data.formats.yolo_writer import write_yolo
from .data.intake import Intake, read, survey
from .data.split import prepare_splits, split_table, with_groups
from .data.tiling import TileSettings, tile_dataset
from .errors import DataError, UsageError
from .findings import Finding, worst_first
from .records import write_atomic, write_json

WRITERS: dict[str, Callable[..., Path]] = {"yolo": write_yolo, "coco": write_coco, "voc": write_voc}
RECORD, LEDGER = "import.json", "ledger.csv"  # beside what was written: where it came from, and every touched row


@dataclass(frozen=True)
class Audited:
    """What `audit` looked at, and what it found."""

    dataset: Dataset
    intake: Intake
    audit: Audit

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {**self.intake.to_dict(), **self.audit.to_dict()}


@dataclass(frozen=True)
class Written:
    """A dataset that was written.

    Args:
        data: what to give to `data=`.
        dataset: the tables that were written.
        intake: what was read.
        findings: worst first.
        splits: one row for each class with its boxes per split; see `split_table`.
    """

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
            "names": list(self.dataset.names),
            "counts": self.dataset.counts(),
            "splits": list(self.splits),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def audit(subject: Configurable = None, *, overrides: Sequence[str] = (), pictures: bool = True) -> Audited:
    """Read a dataset and say everything about it that is worth a person's time; nothing is changed.

    Args:
        subject: folder or file of a dataset, or a configuration as for `train`.
        overrides: `key=value` texts laid over it.
        pictures: decode the pictures: brightness, duplicates and leaks; without, the labels alone are looked at.

    Raises:
        ConfigError: a setting is wrong.
        DataError: there is nothing that can be looked at.
    """
    config = data_config(subject, overrides)
    intake = survey(config.data)
    dataset, found = _as_trained(intake, config)
    result = audit_dataset(dataset, intake=intake, imgsz=int(config.train.imgsz), pictures=pictures, findings=found)
    return Audited(dataset, intake, result)


def _as_trained(intake: Intake, config: Config) -> tuple[Dataset, list[Finding]]:
    """Divide a dataset as a training would; where that cannot be done, that is a finding, and its splits stay."""
    try:
        return prepare_splits(intake.dataset, config.data)
    except DataError as error:
        return intake.dataset, [Finding("split.impossible", "error", str(error), {}, "see the message")]


def import_dataset(
    source: Path | str,
    folder: Path | str,
    *,
    to: str = "yolo",
    config: Configurable = None,
    overrides: Sequence[str] = (),
) -> Written:
    """Read a dataset in any format, repair it in the open and write it anew; the source stays as it is.

    Args:
        source: folder, file or archive (zip, tar).
        folder: to be written; new or empty.
        to: yolo, coco or voc.
        config: as for `train`; its section `data` says how to read.
        overrides: `key=value` texts such as `data.splits=new` or `data.keep=[pit]`.

    Raises:
        ConfigError, UsageError: a setting is wrong, or the folder is not empty.
        DataError: the source cannot be read, or a finding of severity error refuses it.
    """
    settings = settle(config, overrides)
    target = _free(Path(folder), Path(source), to)
    with _source(Path(source), target) as (place, temporary), _staged(target) as stage:
        intake = read(settings.data.model_copy(update={"path": place}))
        dataset, findings = _divided(intake, settings)
        data = WRITERS[to](dataset, stage, copy=temporary)
        written = _written(target / data.relative_to(stage), dataset, intake, findings)
        _record(stage, Path(source), written)
    return written


def split_dataset(
    source: Path | str,
    folder: Path | str,
    *,
    to: str = "yolo",
    config: Configurable = None,
    overrides: Sequence[str] = (),
) -> Written:
    """Divide a dataset anew, by class and by what belongs together, and write it; as `import_dataset` otherwise.

    The shares are `data.val_fraction` and `data.test_fraction`; `data.group` says what is never separated;
    `data.splits=repair` keeps the source's splits and moves only what crosses them.
    """
    settings = settle(config, overrides)
    if settings.data.splits == "keep":
        overrides = [*overrides, "data.splits=new"]
    return import_dataset(source, folder, to=to, config=config, overrides=overrides)


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
    target = _free(Path(folder), Path(source), "coco")
    with _source(Path(source), target) as (place, _), _staged(target) as stage:
        intake = read(settings.data.model_copy(update={"path": place}))
        dataset, findings = _divided(intake, settings)
        chosen = {"visible": visible, "background": background}
        tiles = TileSettings(
            side=settings.eval.tile,
            overlap=settings.eval.overlap,
            seed=settings.data.seed,
            **{key: value for key, value in chosen.items() if value is not None},
        )
        tiled = tile_dataset(dataset, stage, tiles)
        written = _written(
            target / tiled.data.relative_to(stage),
            replace(tiled.dataset, root=target),
            intake,
            [*findings, *tiled.findings],
        )
        _record(stage, Path(source), written)
    return written


def data_config(subject: Configurable, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration that a subject stands for: a dataset's own folder or file, or a configuration.

    Raises:
        ConfigError: a setting is wrong.
    """
    if isinstance(subject, str | Path) and _is_dataset(Path(subject)):
        return settle(None, [*overrides, f"data.path={subject}"])
    return load_config(Path(subject), overrides) if isinstance(subject, str | Path) else settle(subject, overrides)


def _is_dataset(path: Path) -> bool:
    """Whether a path is a dataset rather than a configuration: both may be YAML files, but only one has `names`."""
    if path.is_dir() or path.suffix.lower() not in {".yaml", ".yml"} or not path.is_file():
        return path.suffix.lower() not in {".yaml", ".yml"}
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False  # the configuration's own reader says what is wrong
    return isinstance(found, dict) and "names" in found


def _free(folder: Path, source: Path, to: str) -> Path:
    """Return where to write; never into the source, never over anything.

    Raises:
        UsageError: it is a file, not empty, inside the source, or there is no such format to write.
    """
    if to not in WRITERS:
        raise UsageError(f"--to {to}: written are {', '.join(WRITERS)}")
    target = Path(os.path.abspath(folder))
    inside = Path(os.path.abspath(source))
    if inside.is_dir() and target.resolve().is_relative_to(inside.resolve()):
        raise UsageError(f"{folder}: lies inside the source {source}, where nothing is ever written; choose another")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{folder}: not empty; choose another folder or remove it")
    return target


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
        return with_groups(intake.dataset, settings.data.group), list(intake.findings)
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


def _written(data: Path, dataset: Dataset, intake: Intake, findings: Sequence[Finding]) -> Written:
    table = tuple(split_table(dataset).to_dicts())
    return Written(data, dataset, intake, tuple(worst_first(list(findings))), table)


def _record(stage: Path, source: Path, written: Written) -> None:
    """Write down beside the data where it came from and what was done to every row."""
    write_json(stage / RECORD, {"source": str(source.absolute()), **written.to_dict()})
    write_atomic(stage / LEDGER, written.intake.ledger.write_csv())
