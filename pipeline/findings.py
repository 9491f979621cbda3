"""A finding: the one way in which the program tells a person something.

Audit, augmentation contract, preflight, training diagnosis and evaluation all return this record; the command line, the
report and `findings.json` only show it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

# What comes later among equals: what a training can live with, then what leaves it as it is and only spoils its score.
LATER = (("augment.boxes_small",), ("audit.", "classes.", "images.", "split."))
OF_LABELS = ("images.class_forgotten", "images.suspiciously_empty")  # missing boxes teach not to see the objects

_ID = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")


@dataclass(frozen=True)
class Finding:
    """What was noticed, how bad it is, what it rests on, and what to do about it.

    Args:
        id: dotted and stable, such as `labels.class_out_of_range`; other programs may rely on it.
        severity: `error` (stops or must be mended), `warning` (worth a look) or `info`.
        message: one plain sentence.
        evidence: the numbers and file names behind it, fit for JSON.
        advice: what to do: the knob, its value and why; empty when there is nothing to do.
    """

    id: str
    severity: Severity
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"a finding's id is dotted lower case, such as 'labels.empty', not {self.id!r}")
        if self.severity not in SEVERITIES:
            raise ValueError(f"a finding's severity is one of {', '.join(SEVERITIES)}, not {self.severity!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it stands in `findings.json`."""
        return {
            "id": self.id,
            "severity": self.severity,
            "message": self.message,
            "evidence": dict(self.evidence),
            "advice": self.advice,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Finding:
        """Rebuild a finding from `to_dict`; unknown keys are an error."""
        return cls(**dict(record))


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Return the findings ordered by severity, and among equals by what they spoil (`LATER`); else as they came."""

    def rank(finding: Finding) -> tuple[int, int]:
        later = next((n for n, prefixes in enumerate(LATER, 1) if finding.id.startswith(prefixes)), 0)
        return SEVERITIES.index(finding.severity), 0 if finding.id in OF_LABELS else later

    return sorted(findings, key=rank)
