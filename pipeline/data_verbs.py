"""The verb audit as a function, and what its subject may be; import, split and tile stand in `import_verbs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .config import Config, Configurable, load_config, settle
from .data.audit import Audit
from .data.audit import audit as audit_dataset
from .data.dataset import Dataset
from .data.intake import Intake, survey
from .data.split import prepare_splits
from .errors import DataError
from .findings import Finding


@dataclass(frozen=True)
class Audited:
    """What `audit` looked at, and what it found."""

    dataset: Dataset
    intake: Intake
    audit: Audit

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {**self.intake.to_dict(), **self.audit.to_dict()}


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
