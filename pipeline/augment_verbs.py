"""The verbs contract and preview as functions: what augmentation does to a person's own pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Config, Configurable
from .data.dataset import Dataset
from .data_verbs import data_config
from .errors import ModelError
from .findings import Finding
from .leash import tighten

if TYPE_CHECKING:
    from .augment.contract import Contract
    from .training.contract_check import LoadingCost


@dataclass(frozen=True)
class Proved:
    """A policy's contract, and what loading costs beside a training step.

    Args:
        contract: what was measured and found.
        cost: None where the step could not be measured.
        why: then, why not.
        findings: of the contract and of the cost.
    """

    contract: Contract
    cost: LoadingCost | None
    why: str
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        cost = self.cost.to_dict() if self.cost is not None else {"words": self.why}
        return {**self.contract.to_dict(), "cost": cost, "findings": [finding.to_dict() for finding in self.findings]}


def contract(subject: Configurable = None, *, overrides: Sequence[str] = (), transforms: Sequence[Any] = ()) -> Proved:
    """Measure what a policy does to the training pictures, entry by entry, and judge it.

    Args:
        subject: folder or file of a dataset, or a configuration as for `train`.
        overrides: `key=value` texts laid over it, such as `augment=metal`.
        transforms: Albumentations objects to be measured as well, whether or not a policy may hold them.

    Raises:
        ConfigError: a setting is wrong.
        DataError: the data cannot be read.
    """
    from .augment.contract import check_contract
    from .training.contract_check import loading_findings

    config, train = _train_split(subject, overrides)
    found = check_contract(train, config, transforms=transforms)
    cost, why = _cost(found, config)
    slow = loading_findings(cost, found, config.contract.loading) if cost is not None else []
    return Proved(found, cost, why, (*found.findings, *slow))


def preview(
    subject: Configurable = None, path: Path | str = "preview.jpg", *, overrides: Sequence[str] = ()
) -> tuple[Path, Contract]:
    """Draw originals beside augmented versions, a row for every entry of the policy and some for the whole stage.

    Args:
        subject: as for `contract`.
        path: picture to write, .jpg or .png.
        overrides: `key=value` texts laid over the configuration.

    Returns:
        The path, and the contract that the rows are marked by.

    Raises:
        ConfigError, DataError: as `contract`.
        UsageError: the path is no picture that can be written.
    """
    from .augment.contract import check_contract, trained_pictures
    from .augment.preview import draw_preview, kind_of

    target = Path(path)
    kind_of(target)  # a wrong name is told before the minutes of work
    config, train = _train_split(subject, overrides)
    found = check_contract(train, config)
    return draw_preview(trained_pictures(train, config), found, target, rect=bool(config.train.rect)), found


def _train_split(subject: Configurable, overrides: Sequence[str]) -> tuple[Config, Dataset]:
    from .training.session import prepare_data

    tighten()
    config = data_config(subject, overrides)
    return config, prepare_data(config).dataset.split("train")


def _cost(found: Contract, config: Config) -> tuple[LoadingCost | None, str]:
    """Measure a training step of the configured network; its architecture suffices, no weights are fetched."""
    from .training.contract_check import loading_cost
    from .training.step_time import step_time

    if found.whole.failure or len(found.measures) < 2:
        return None, ""
    try:
        timed = step_time(config)
    except ModelError as error:
        return None, f"the share of a training step is not known: {error}"
    return loading_cost(found, config, timed.seconds, timed.batch, timed.device), ""
