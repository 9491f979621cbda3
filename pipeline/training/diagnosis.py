"""Judges a history: `diagnose(history) -> findings`, pure, so that any old run can be judged again.

The rules stand beside this file, `rules_<what they judge>.py`, and in the order of `RULES` causes come before what
follows from them; `causes` says what follows from what.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..findings import SEVERITIES, Finding, worst_first
from . import (
    rules_finite,
    rules_gradients,
    rules_layers,
    rules_learning,
    rules_losses,
    rules_norms,
    rules_setup,
    rules_terms,
    rules_updates,
)
from .causes import causes_first
from .history import History
from .judging import Rule

RULES: tuple[Rule, ...] = (
    *rules_setup.RULES,
    *rules_layers.RULES[:-1],
    *rules_updates.RULES,
    *rules_finite.RULES,
    *rules_norms.RULES,
    *rules_layers.RULES[-1:],
    *rules_terms.RULES,
    *rules_learning.RULES,
    *rules_losses.RULES,
    *rules_gradients.RULES,
)


def diagnose(history: History) -> list[Finding]:
    """Return the findings of a history, the worst first and among equals the cause first; one per id."""
    return diagnose_with(RULES, history)


def diagnose_with(rules: Sequence[Rule], history: History) -> list[Finding]:
    """Return what the given rules find; a rule that crashes is itself a finding, never the end of a training."""
    found: dict[str, Finding] = {}
    failed: list[str] = []
    for rule in rules:
        try:
            with np.errstate(all="ignore"):  # a division by zero gives nan or inf, which no rule takes for a finding
                finding = rule(history)
        except Exception as error:  # whatever it is: the training matters more
            failed.append(f"{getattr(rule, '__name__', 'rule')}: {type(error).__name__}: {error}")
            continue
        if finding is not None and _is_worse(finding, found.get(finding.id)):
            found[finding.id] = finding
    return worst_first([*causes_first(list(found.values())), *_report(failed)])


def _is_worse(finding: Finding, other: Finding | None) -> bool:
    return other is None or SEVERITIES.index(finding.severity) < SEVERITIES.index(other.severity)


def _report(failed: list[str]) -> list[Finding]:
    if not failed:
        return []
    return [
        Finding(
            "diagnosis.rule_failed",
            "info",
            f"{len(failed)} rule{'s' * (len(failed) > 1)} of the diagnosis could not judge this history: {failed[0]}",
            {"rules": failed},
            "report it with the run's history/ folder; the training itself is not affected",
        )
    ]
