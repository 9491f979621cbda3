"""Findings: what the record accepts, and that it survives the way through JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.findings import SEVERITIES, Finding, worst_first

_EVIDENCE = st.dictionaries(
    st.text(max_size=8),
    st.one_of(
        st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.lists(st.text(), max_size=3)
    ),
    max_size=4,
)


@given(
    id=st.from_regex(r"[a-z0-9_]+(\.[a-z0-9_]+)+", fullmatch=True),
    severity=st.sampled_from(SEVERITIES),
    message=st.text(),
    evidence=_EVIDENCE,
    advice=st.text(),
)
def test_a_finding_survives_json(id: str, severity: Any, message: str, evidence: dict[str, Any], advice: str) -> None:
    finding = Finding(id, severity, message, evidence, advice)
    assert Finding.from_dict(json.loads(json.dumps(finding.to_dict()))) == finding


def test_evidence_and_advice_may_be_left_out() -> None:
    record = {"id": "labels.empty", "severity": "info", "message": "no boxes"}
    assert Finding.from_dict(record).to_dict() == {**record, "evidence": {}, "advice": ""}


def test_the_record_holds_a_copy_of_the_evidence() -> None:
    finding = Finding("labels.empty", "info", "no boxes", {"count": 1})
    finding.to_dict()["evidence"]["count"] = 2
    assert finding.evidence == {"count": 1}


@pytest.mark.parametrize(
    "id", ["labels", "Labels.empty", "labels.", ".empty", "labels..empty", "labels empty", "", "labels.leer-ü", "a.b\n"]
)
def test_an_id_that_is_not_dotted_lower_case_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match=r"dotted lower case, such as 'labels\.empty'"):
        Finding(id, "info", "")


@pytest.mark.parametrize("severity", ["fatal", "Error", "", None])
def test_another_severity_is_refused_and_the_known_ones_are_named(severity: Any) -> None:
    with pytest.raises(ValueError, match="one of error, warning, info"):
        Finding("labels.empty", severity, "")


def test_an_unknown_or_missing_field_is_refused() -> None:
    with pytest.raises(TypeError, match="more"):
        Finding.from_dict({"id": "a.b", "severity": "info", "message": "", "more": 1})
    with pytest.raises(TypeError, match="message"):
        Finding.from_dict({"id": "a.b", "severity": "info"})


def test_a_finding_cannot_be_changed() -> None:
    finding = Finding("labels.empty", "info", "no boxes")
    with pytest.raises(FrozenInstanceError):
        finding.severity = "error"  # type: ignore[misc]


def test_what_spoils_a_training_comes_before_what_spoils_its_score_and_after_what_is_graver() -> None:
    ids = ["split.few", "augment.boxes_small", "images.blank", "images.class_forgotten", "layer.dead", "labels.x"]
    findings = [*(Finding(name, "warning", "") for name in ids), Finding("split.leak_identical", "error", "")]
    ordered = [finding.id for finding in worst_first(findings)]
    assert ordered == [
        "split.leak_identical", "images.class_forgotten", "layer.dead", "labels.x", "augment.boxes_small", "split.few",
        "images.blank",
    ]  # fmt: skip


@given(st.lists(st.sampled_from(SEVERITIES), max_size=12))
def test_the_worst_come_first_and_equals_keep_their_order(severities: list[Any]) -> None:
    findings = [Finding(f"a.n{number}", severity, "") for number, severity in enumerate(severities)]
    ordered = worst_first(findings)
    assert sorted(finding.id for finding in ordered) == sorted(finding.id for finding in findings)
    ranks = [(SEVERITIES.index(finding.severity), findings.index(finding)) for finding in ordered]
    assert ranks == sorted(ranks)
