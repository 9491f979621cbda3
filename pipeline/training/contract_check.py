"""The contract of the augmentation as the second check before a training, and what loading costs beside a step."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..augment.contract import Contract, check_contract
from ..augment.table_dataset import fits_in_memory
from ..config import Config
from ..data.dataset import Dataset
from ..errors import TuneUpError
from ..findings import Finding
from ..leash import cpu_count
from .preflight import Checked, Preflight

SHARE = 0.4  # of the time that is left for the preflight: the other checks need some as well


@dataclass(frozen=True)
class ContractCheck:
    """How the contract stands among the checks of the preflight; `contract` is None where it could not be measured."""

    checked: Checked
    findings: tuple[Finding, ...]
    contract: Contract | None


@dataclass(frozen=True)
class LoadingCost:
    """What loading a batch costs beside a training step.

    Args:
        seconds: for the pictures of one step, as far as they cannot be loaded in parallel.
        step: seconds of the step itself.
        share: of the one in the other; where nothing loads beside the step, of the time of both.
        beside: whether loader processes work while the network does.
        words: the same, for a person.
    """

    seconds: float
    step: float
    share: float
    beside: bool
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON."""
        return {
            "seconds": round(self.seconds, 4),
            "step": round(self.step, 4),
            "share": round(self.share, 4),
            "beside": self.beside,
            "words": self.words,
        }


def check_augmentation(config: Config, dataset: Dataset, *, budget: float | None = None) -> ContractCheck:
    """Measure the policy of a configuration on the train split of its data.

    Args:
        config: of the training.
        dataset: with its splits.
        budget: seconds; None: every entry is measured.
    """
    started = time.monotonic()
    try:
        contract = check_contract(dataset.split("train"), config, budget=budget)
    except TuneUpError as error:
        finding = Finding("augment.failed", "error", f"The augmentation cannot be used: {error}", {}, "see the message")
        return ContractCheck(Checked("augmentation", "found", str(error), time.monotonic() - started), (finding,), None)
    found = any(finding.severity != "info" for finding in contract.findings)
    checked = Checked("augmentation", "found" if found else "passed", words_of(contract), contract.seconds)
    return ContractCheck(checked, contract.findings, contract)


def words_of(contract: Contract) -> str:
    """Return a contract in one line."""
    count = len(contract.measures) - 1
    if not count:
        return "none: pictures are trained as they are"
    name = f"{contract.policy.name}: " if contract.policy.name else ""
    whole = contract.whole
    boxes = "" if whole.survival is None else f", {whole.survival:.0%} as many boxes come out"
    return f"{name}{count} entries on {len(contract.indices)} pictures{boxes}, {whole.milliseconds:.1f} ms a picture"


def loading_cost(contract: Contract, config: Config, step: float, batch: int, device: str) -> LoadingCost:
    """Return what loading costs.

    Args:
        contract: with the measured times of one picture.
        config: of the training.
        step: seconds of one training step.
        batch: pictures of it.
        device: `cpu`, `mps` or `cuda`; on the first two Ultralytics loads in the training's own process.
    """
    picture = contract.loading
    processes = min(int(config.train.workers), cpu_count()) if device == "cuda" else 0
    if not fits_in_memory(contract.train_pictures, contract.imgsz, max(1, processes)):
        picture += contract.reading  # otherwise every picture is read once, in the first epoch
    seconds = picture * batch / max(1, processes)
    share = seconds / step if processes else seconds / (seconds + step)
    where = f"in {processes} processes beside" if processes else "before"
    words = (
        f"{picture * 1000:.1f} ms a picture; a batch of {batch} takes {seconds:.2f} s {where} a step of {step:.2f} s"
    )
    return LoadingCost(seconds, step, share, bool(processes), f"{words} ({share:.0%})")


def loading_findings(cost: LoadingCost, contract: Contract, limit: float) -> list[Finding]:
    """Report a loader that cannot keep up with the network, and the entries that take most of the time."""
    if cost.seconds <= limit * cost.step:
        return []
    slowest = sorted(contract.measures[:-1], key=lambda measure: -measure.milliseconds * measure.probability)[:3]
    each = ", ".join(f"{m.entry} {m.milliseconds:.0f} ms at p {m.probability:g}" for m in slowest)
    message = f"Loading the pictures takes longer than learning from them: {cost.words}."
    evidence = {**cost.to_dict(), "limit": limit, "slowest": [measure.entry for measure in slowest]}
    advice = f"most of it: {each}; drop the first one or lower its p" + (
        ", or raise train.workers" if cost.beside else ""
    )
    return [Finding("augment.slow", "warning", message, evidence, advice)]


def with_loading(preflight: Preflight, check: ContractCheck, config: Config) -> tuple[Preflight, LoadingCost | None]:
    """Return a preflight with the contract before its checks, and what loading costs beside the step it measured."""
    contract, cost, findings = check.contract, None, list(check.findings)
    measured = [made.figures for made in preflight.checks if made.name == "one_step" and "batch" in made.figures]
    if contract is not None and measured and len(contract.measures) > 1 and not contract.whole.failure:
        step = measured[0]
        cost = loading_cost(contract, config, float(step["seconds_per_step"]), int(step["batch"]), str(step["device"]))
        findings += loading_findings(cost, contract, config.contract.loading)
    return preflight.after(check.checked, findings), cost
