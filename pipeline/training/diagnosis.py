"""Judges a history: `diagnose(history) -> findings`, pure, so that any old run can be judged again.

The rules stand beside this file, `rules_<what they judge>.py`, and in the order of `RULES` causes come before what
follows from them. A finding that follows from another one is kept as a note: one cause should not read as five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..findings import SEVERITIES, Finding, worst_first
from . import (
    rules_finite,
    rules_gradients,
    rules_layers,
    rules_losses,
    rules_norms,
    rules_setup,
    rules_updates,
)
from .history import History
from .judging import Rule

RULES: tuple[Rule, ...] = (
    *rules_setup.RULES,
    *rules_layers.RULES[:-1],
    *rules_updates.RULES,
    *rules_finite.RULES,
    *rules_norms.RULES,
    *rules_layers.RULES[-1:],
    *rules_losses.RULES,
    *rules_gradients.RULES,
)

_BROKEN_LAYERS = ("layer.not_in_optimizer", "layer.frozen_unintended", "layer.never_updated", "layer.dead_units")
_RATES = ("optimizer.lr_too_high", "optimizer.lr_too_low")
_ROOTS = (
    *_RATES,
    *_BROKEN_LAYERS,
    "data.no_boxes",
    "gradient.non_finite",
    "layer.weights_out_of_scale",
    "loss.term_imbalance",
    "norm.drifting",
    "norm.batch_too_small",
    "norm.not_finite",
    "resume.not_restored",
)
# What follows from what: with one of the causes at hand, the symptom is a note.
FOLLOWS: dict[str, tuple[str, ...]] = {
    "gradient.clipped_away": ("gradient.exploding", "optimizer.lr_too_high", "loss.term_imbalance"),
    "gradient.conflict": ("optimizer.lr_too_high",),
    "gradient.exploding": ("optimizer.lr_too_high", "gradient.non_finite", "resume.not_restored"),
    "gradient.head_drowns_backbone": ("gradient.vanishing", *_ROOTS),
    "gradient.vanishing": _ROOTS,
    "labels.not_learnable": _ROOTS,
    "layer.dead_units": ("optimizer.lr_too_high", "norm.drifting"),
    "layer.never_updated": ("layer.not_in_optimizer", "optimizer.lr_too_low"),
    "loss.divergence": (*_ROOTS, "gradient.exploding"),
    "loss.plateau": (*_ROOTS, "labels.not_learnable", "gradient.vanishing"),
    "loss.term_imbalance": ("optimizer.lr_too_high", "data.no_boxes"),
    "norm.drifting": ("optimizer.lr_too_high", "gradient.non_finite"),
    "norm.variance_collapsed": (
        "layer.dead_units",
        "layer.weights_out_of_scale",
        "layer.frozen_unintended",
        "optimizer.lr_too_high",
        "norm.drifting",
        "norm.not_finite",
    ),
    "optimizer.lr_too_low": ("gradient.clipped_away", "data.no_boxes"),
}


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
    return worst_first([*_causes_first(found), *_report(failed)])


def _is_worse(finding: Finding, other: Finding | None) -> bool:
    return other is None or SEVERITIES.index(finding.severity) < SEVERITIES.index(other.severity)


def _causes_first(found: dict[str, Finding]) -> list[Finding]:
    alarms = {name for name, finding in found.items() if finding.severity != "info"}
    result = []
    for name, finding in found.items():
        causes = [cause for cause in FOLLOWS.get(name, ()) if cause in alarms and cause != name]
        if causes and finding.severity != "info":
            finding = replace(finding, severity="info", evidence={**finding.evidence, "follows_from": causes})
        result.append(finding)
    return result


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
