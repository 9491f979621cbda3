"""The gate for continuous integration: does the new detector hold what the old one reached?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from .compare import Comparison

GATE_SUITE = b'<testsuite name="tuneup gate"'  # how a JUnit file of a gate begins


@dataclass(frozen=True)
class Gate:
    """Whether a comparison passes, and why.

    Args:
        comparison: the run (second) against the baseline (first).
        margin: drop of mAP50-95 that does not matter, such as 0.01.
        non_inferiority: fail unless a larger drop can be ruled out; otherwise fail only when one is shown.
    """

    comparison: Comparison
    margin: float
    non_inferiority: bool

    @property
    def passed(self) -> bool:
        """True where the gate is open; never without ground truth."""
        difference = self.comparison.overall[0].difference
        if difference is None:
            return False
        return difference.low >= -self.margin if self.non_inferiority else difference.high >= -self.margin

    def words(self) -> str:
        """Return the result and its reason as one plain sentence."""
        difference = self.comparison.overall[0].difference
        if difference is None:
            return "failed: the ground truth has no boxes, so nothing was measured"
        points = (
            f"mAP50-95 {100 * difference.value:+.1f} points [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
        )
        most = f"{100 * self.margin:g} points"
        if self.non_inferiority:
            reason = f"a drop of more than {most} {'is ruled out' if self.passed else 'cannot be ruled out'}"
        else:
            reason = f"a drop of more than {most} is {'not shown' if self.passed else 'shown'}"
        return f"{'passed' if self.passed else 'failed'}: {points} against {self.comparison.first}; {reason}"

    def to_dict(self) -> dict[str, Any]:
        """Return the record fit for JSON."""
        return {
            "passed": self.passed,
            "words": self.words(),
            "margin": self.margin,
            "non_inferiority": self.non_inferiority,
            "comparison": self.comparison.to_dict(),
        }

    def to_junit(self) -> bytes:
        """Return the result as a JUnit test suite of one test, the form that build servers read."""
        suite = ElementTree.Element(
            "testsuite", name="tuneup gate", tests="1", failures="0" if self.passed else "1", errors="0", skipped="0"
        )
        case = ElementTree.SubElement(
            suite, "testcase", classname="tuneup.gate", name=f"{self.comparison.second} against {self.comparison.first}"
        )
        if not self.passed:
            ElementTree.SubElement(case, "failure", message=self.words()).text = self.comparison.words()
        ElementTree.SubElement(case, "system-out").text = self.words()
        return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))
