"""The first check before a training: what the audit says of the data, as far as the time allows."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..config import Config
from ..data.audit import Audit, audit
from ..data.dataset import Dataset
from ..data.images import read_picture
from ..data.intake import Intake
from ..errors import TuneUpError
from ..findings import Finding
from ..leash import cpu_count
from .preflight import Checked

_PROBES = 12  # pictures that are read to tell how long all of them will take
# Of the budget; hashing and comparing come on top of reading, and the other checks need time as well.
_SHARE = 0.4


@dataclass(frozen=True)
class Prepared:
    """A dataset that is ready to train on: with its splits, how it was read, and what dividing it found."""

    dataset: Dataset
    intake: Intake
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class DataCheck:
    """The audit, and how it stands among the checks of the preflight."""

    checked: Checked
    audit: Audit


def check_labels(config: Config, prepared: Prepared) -> Audit:
    """Audit the labels alone: no picture is decoded, and unless `check_data` follows, that is said."""
    return _audit(config, prepared, pictures=False, said=config.monitor.preflight == 0)


def check_data(config: Config, prepared: Prepared, *, budget: float | None = None) -> DataCheck:
    """Audit labels and pictures.

    Args:
        config: of the training.
        prepared: its data.
        budget: seconds of all checks together; where decoding every picture would take too much of them, the labels
            alone are looked at, and a finding says so. None: everything is looked at.
    """
    started = time.monotonic()
    needed = 0.0 if budget is None else _reading_time(prepared.dataset)
    pictures = budget is None or needed <= _SHARE * budget
    result = _audit(config, prepared, pictures=pictures, said=not pictures, seconds=needed)
    words = _words(prepared, result)
    found = any(finding.severity != "info" for finding in result.findings)
    checked = Checked("data", "found" if found else "passed", words, time.monotonic() - started, result.figures)
    return DataCheck(checked, result)


def _audit(config: Config, prepared: Prepared, *, pictures: bool, said: bool, seconds: float = 0.0) -> Audit:
    findings = list(prepared.findings)
    if said:
        about = f", which would take about {seconds:.0f} s" if seconds else ""
        message = (
            f"the pictures themselves were not looked at{about}: no search for duplicates and leaks between splits"
        )
        advice = "`tuneup audit DATA` does it; monitor.preflight=SECONDS changes the time allowed here"
        findings.append(Finding("audit.pictures_not_checked", "info", message, {"seconds": round(seconds)}, advice))
    return audit(
        prepared.dataset,
        intake=prepared.intake,
        imgsz=int(config.train.imgsz),
        pictures=pictures,
        findings=findings,
    )


def _reading_time(dataset: Dataset) -> float:
    """Return the seconds that reading all pictures will take, from a few of them spread over the set."""
    images = dataset.images
    paths = images["path"].gather_every(max(1, images.height // _PROBES)).to_list()
    started = time.monotonic()
    for path in paths:
        try:
            read_picture(dataset.picture_path(path), dataset.value_range)
        except TuneUpError:  # the audit itself says what is wrong with it
            continue
    return (time.monotonic() - started) / len(paths) * images.height / cpu_count()


def _words(prepared: Prepared, result: Audit) -> str:
    counts = prepared.intake.counts()
    rows = f"{counts['read']} label rows read, {counts['repaired']} repaired, {counts['dropped']} dropped"
    severities = [finding.severity for finding in result.findings]
    worst = [f"{severities.count(word)} {word}s" for word in ("error", "warning") if word in severities]
    return f"{rows}; {', '.join(worst) if worst else 'nothing to mend'}"
