"""What follows from what: such a finding is kept as a note, because one cause should not read as five.

Findings of the checks before a training and of the diagnosis are set in order together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..findings import Finding

_BROKEN_LAYERS = ("layer.not_in_optimizer", "layer.frozen_unintended", "layer.never_updated", "layer.dead_units")
_RATES = ("optimizer.lr_too_high", "optimizer.lr_too_low")
_ROOTS = (
    "proof.gradient_wrong",
    "optimizer.weight_decay_too_high",
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
# What spoils a start spoils what the checks before a training try out on it.
_SPOILT_STARTS = (
    *_BROKEN_LAYERS,
    "layer.weights_out_of_scale",
    "loss.term_imbalance",
    "norm.batch_too_small",
    "norm.not_finite",
    "optimizer.weight_decay_too_high",
    "preflight.not_finite",
    "proof.gradient_wrong",
)
_NO_BOXES = ("data.no_boxes", "preflight.no_boxes")
# Corners that are read as centre and size lie beyond the picture, and large ones cover it.
_CORNERS = ("labels.not_on_objects=corners_as_centre", "labels.not_on_objects=corners_as_size")
# Symptom: causes with which it is a note; `id=explanation` where only a finding with that explanation is one.
FOLLOWS: dict[str, tuple[str, ...]] = {
    "gradient.clipped_away": ("gradient.exploding", "optimizer.lr_too_high", "loss.term_imbalance"),
    "gradient.conflict": ("optimizer.lr_too_high",),
    "gradient.exploding": ("optimizer.lr_too_high", "gradient.non_finite", "resume.not_restored"),
    "gradient.head_drowns_backbone": ("gradient.vanishing", *_ROOTS),
    "gradient.vanishing": _ROOTS,
    "labels.covers_picture": _CORNERS,
    "labels.not_learnable": _ROOTS,
    "labels.outside": _CORNERS,
    "labels.outside_clipped": _CORNERS,
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
    "optimizer.lr_too_high": ("optimizer.weight_decay_too_high",),
    "optimizer.lr_too_low": ("gradient.clipped_away", "data.no_boxes"),
    "preflight.cannot_overfit": (*_SPOILT_STARTS, *_NO_BOXES),
    "preflight.lr_too_high": _SPOILT_STARTS,
    "preflight.lr_too_low": (*_SPOILT_STARTS, *_NO_BOXES),
}


def causes_first(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings in their order, with those that follow from others as notes that name their causes."""
    alarms = {name for finding in findings if finding.severity != "info" for name in _names(finding)}
    result = []
    for finding in findings:
        told = [cause for cause in FOLLOWS.get(finding.id, ()) if cause in alarms and cause != finding.id]
        causes = [cause.partition("=")[0] for cause in told]
        if causes and finding.severity != "info":
            finding = replace(finding, severity="info", evidence={**finding.evidence, "follows_from": causes})
        result.append(finding)
    return result


def _names(finding: Finding) -> tuple[str, ...]:
    explanation = finding.evidence.get("explanation")
    return (finding.id, f"{finding.id}={explanation}") if isinstance(explanation, str) else (finding.id,)
