"""What is chosen on val for the weights of a run: thresholds and a calibrator. Kept, checked on test, and used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from ..records import read_json, write_json
from ..runs import Run
from . import calibration, calibrators, operating_point, point_check
from .analysis import Analysis
from .calibrators import Calibrator
from .counting import counting, unbiased_thresholds
from .operating_point import OperatingPoint, Rule

FILE = "operating_point.json"


@dataclass(frozen=True)
class Chosen:
    """Thresholds and calibrator for one set of weights.

    Args:
        weights: digest of the checkpoint; for other weights nothing of this holds.
        settings: how the pictures were predicted that it was chosen on; scores of another input size are others.
        point: the thresholds.
        calibrator: turns scores into probabilities; None where there was too little to fit one.
        counting: thresholds at which the total count was right, by class name and `overall`; a suggestion for growers.
    """

    weights: str
    settings: dict[str, Any]
    point: OperatingPoint
    calibrator: Calibrator | None
    counting: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it stands in `operating_point.json`."""
        return {
            "weights": self.weights,
            "settings": self.settings,
            "point": self.point.to_dict(),
            "calibrator": None if self.calibrator is None else self.calibrator.to_dict(),
            "counting": self.counting,
        }


def choose(
    analysis: Analysis, rule: Rule, split: str, weights: str, settings: dict[str, Any]
) -> tuple[Chosen | None, str]:
    """Choose thresholds by a rule, and fit a calibrator, on an analysed split; or return None and why not."""
    try:
        point = operating_point.choose(analysis.table, rule, split, analysis.weights, analysis.groups.number)
    except DataError as error:
        return None, str(error)
    try:
        calibrator = calibrators.fit(analysis.table, split)
    except DataError:
        calibrator = None
    return Chosen(weights, settings, point, calibrator, unbiased_thresholds(analysis.table).to_dict()), ""


def keep(run: Run, chosen: Chosen) -> None:
    """Write what was chosen into the run."""
    write_json(run.path / FILE, chosen.to_dict())


def kept(run: Run, weights: str) -> Chosen | None:
    """Return what was chosen for these weights, None where nothing was.

    Raises:
        RunError: the record is damaged.
    """
    path = run.path / FILE
    record = read_json(path, {})
    if not record or record.get("weights") != weights:
        return None
    calibrator = record.get("calibrator")
    return Chosen(
        weights=weights,
        settings=dict(record.get("settings") or {}),
        point=OperatingPoint.from_dict(record.get("point") or {}, str(path)),
        calibrator=None if calibrator is None else Calibrator.from_dict(calibrator, str(path)),
        counting=dict(record.get("counting") or {}),
    )


def differing(chosen: Chosen, settings: dict[str, Any]) -> str:
    """Return in what the pictures are predicted otherwise than those that it was chosen on; empty for nothing."""
    names = [key for key in {**chosen.settings, **settings} if chosen.settings.get(key) != settings.get(key)]
    return ", ".join(f"{name} {settings.get(name)} instead of {chosen.settings.get(name)}" for name in names)


def figures(analysis: Analysis, split: str, chosen: Chosen | None, why_not: str = "") -> dict[str, Any]:
    """Return what the thresholds and the calibrator do on a split: `operating_point`, `counting` and `calibration`.

    Args:
        analysis: of the split.
        split: its name.
        chosen: what to go by; None where nothing could be chosen.
        why_not: the reason for that.
    """
    table, weights, groups = analysis.table, analysis.weights, analysis.groups.number
    if chosen is None:
        return {"operating_point": None, "counting": None, "calibration": None, "operating_point_note": why_not}
    here = chosen.point.split == split
    checked = None if here else point_check.check(chosen.point, table, split, weights, groups).to_dict()
    calibrated: dict[str, Any] = {"reliability": calibration.reliability(table, weights).to_dict(), "check": None}
    if chosen.calibrator is not None and not here:
        calibrated["check"] = calibrators.check(table, chosen.calibrator, split, weights).to_dict()
    calibrated["method"] = None if chosen.calibrator is None else chosen.calibrator.method
    return {
        "operating_point": {**chosen.point.to_dict(), "check": checked},
        "counting": counting(table, chosen.point.array(table.truth.names), weights, groups).to_dict(),
        "calibration": calibrated,
        "operating_point_note": f"chosen on these very pictures ({split}), so the figures at it flatter"
        if here
        else "",
    }
