"""Limits are laid on figures: each at both sides, chance set aside, and never more told for less."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.augment.entry_measure import WHOLE, EntryMeasure
from pipeline.augment.judge import named, upper_bound, violations
from pipeline.config import ContractConfig

LIMITS = ContractConfig()
NEUTRAL = EntryMeasure(
    "x", 0.5, pictures=24, drawn_pictures=24, changed=1.0,
    yielded={"pit": 100}, own={"pit": 100}, survival_error={"pit": 0.0}, inflation=1.0,
    contrast={"pit": (1.0, 50)}, detail={"pit": (1.0, 50)}, noise={"pit": (0.3, 0.3)},
    short_before=(9.0,) * 50, short_after=(9.0,) * 50,
)  # fmt: skip
STAGE = replace(NEUTRAL, entry=WHOLE, probability=1.0)


def told(measure: EntryMeasure, **changes: Any) -> dict[str, str]:
    return {violation.id: violation.severity for violation in violations(replace(measure, **changes), LIMITS)}


def test_what_changes_nothing_measurable_breaks_nothing() -> None:
    assert told(NEUTRAL) == told(STAGE) == {}
    assert told(EntryMeasure("mosaic", 1.0, pictures=24, changed=1.0)) == {}  # a set without boxes


@pytest.mark.parametrize(
    ("measure", "change", "expected"),
    [
        (NEUTRAL, {"detail": {"pit": (0.5, 50)}}, {}),
        (NEUTRAL, {"detail": {"pit": (0.49, 50)}}, {"augment.contrast_lost": "warning"}),
        (NEUTRAL, {"detail": {"pit": (0.1, 4)}}, {}),
        (NEUTRAL, {"detail": {"pit": (9.0, 50)}}, {}),
        (NEUTRAL, {"mean_change": 41.0, "mean_shift": 0.0}, {"augment.shift": "warning"}),
        (NEUTRAL, {"entry": "mosaic", "mean_change": 41.0, "deviation_ratio": 3.0, "moves": True}, {}),
        (NEUTRAL, {"deviation_ratio": 0.39}, {"augment.shift": "warning"}),
        (NEUTRAL, {"black": 0.5}, {"augment.black": "warning"}),
        (NEUTRAL, {"black": 0.51}, {"augment.black": "error"}),
        (STAGE, {"black": 0.05}, {"augment.black": "warning"}),
        (STAGE, {"black": 0.06}, {"augment.black": "error"}),
        (STAGE, {"yielded": {"pit": 80}}, {}),
        (STAGE, {"yielded": {"pit": 60}}, {"augment.boxes_lost": "warning"}),
        (NEUTRAL, {"short_after": (3.0,) * 6 + (9.0,) * 44}, {"augment.boxes_small": "warning"}),
        (STAGE, {"short_after": (3.0,) * 6 + (9.0,) * 44}, {"augment.boxes_small": "info"}),
        (STAGE, {"yielded": {"pit": 30}}, {"augment.boxes_lost": "error"}),
        (STAGE, {"yielded": {}}, {"augment.boxes_lost": "error"}),
        (STAGE, {"inflation": 1.26}, {"augment.boxes_grown": "warning"}),
        (STAGE, {"contrast": {"pit": (0.4, 50)}}, {"augment.contrast_lost": "warning"}),
        (STAGE, {"mean_change": 90.0}, {"augment.shift": "warning"}),
        (STAGE, {"mean_change": 90.0, "moves": True}, {}),
        (NEUTRAL, {"changed": 0.0, "pasted": {"pit": 1}}, {}),
        (NEUTRAL, {"probability": 0.0, "black": 1.0, "inflation": 3.0}, {"augment.never": "warning"}),
    ],
    ids=lambda value: value.entry if isinstance(value, EntryMeasure) else str(value)[:50],
)
def test_limits_at_both_sides(measure: EntryMeasure, change: dict[str, Any], expected: dict[str, str]) -> None:
    assert told(measure, **change) == expected


@pytest.mark.parametrize(
    ("entry", "grey", "severity"),
    [
        ("hsv_h", True, "info"),
        ("ToGray#2", True, "info"),
        ("hsv_h", False, "warning"),  # not because of the pictures
        ("GaussNoise", True, "warning"),
        ("cutmix", False, "warning"),
        (WHOLE, True, "error"),
    ],
)
def test_no_effect_is_excused_only_where_the_pictures_are_grey(entry: str, grey: bool, severity: str) -> None:
    assert told(NEUTRAL, entry=entry, grey=grey, changed=0.0, probability=1.0) == {"augment.no_effect": severity}


@pytest.mark.parametrize(("probability", "expected"), [(0.05, {}), (0.2, {"augment.no_effect": "error"})])
def test_a_stage_that_acts_seldom_is_not_called_dead(probability: float, expected: dict[str, str]) -> None:
    """In 48 pictures a stage of p 0.05 does nothing once in 12 times, one of p 0.2 once in 45,000 times."""
    assert told(STAGE, changed=0.0, pictures=48, probability=probability) == expected


@pytest.mark.parametrize(
    ("failure", "expected", "words"),
    [
        ("augmentation ToFloat: gives float32 instead of uint8; so", "augment.dtype", "gives float32 instead of uint8"),
        ("augmentation Crop: gives 3 x 3; of one size", "augment.shape", "gives 3 x 3"),
        ("augmentation Rotate: ValueError: odd", "augment.failed", "ValueError: odd"),
        ("AlbumentationsX 2.5.1 stands there: do this", "augment.library", "AlbumentationsX 2.5.1 stands there: do"),
        ("Copy-paste: no pictures", "augment.failed", "Copy-paste: no pictures"),
    ],
)
def test_what_breaks_is_told_by_kind_and_in_its_own_words(failure: str, expected: str, words: str) -> None:
    (violation,) = violations(EntryMeasure("x", 0.5, failure=failure), LIMITS)
    assert (violation.id, violation.severity) == (expected, "error")
    assert violation.text.startswith(f"cannot be used: {words}")


def test_chance_is_set_aside_box_by_box_and_picture_by_picture() -> None:
    few = {"yielded": {"pit": 3}, "own": {"pit": 4}}
    assert told(NEUTRAL, **few) == {}
    many = {"yielded": {"pit": 66}}
    assert told(NEUTRAL, **many) == {"augment.boxes_lost": "warning"}
    # The same from a mosaic whose partners differ: the share of DeepPCB's `spur` varies by 0.11 between seeds.
    assert told(NEUTRAL, **many, survival_error={"pit": 0.11}) == {}


def _wilson(kept: int, total: int) -> float:
    """The larger p at which `kept` of `total` lies 1.96 deviations below p: the definition, solved by bisection."""
    low, high = kept / total, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        inside = middle - kept / total <= 1.96 * (middle * (1 - middle) / total) ** 0.5
        low, high = (middle, high) if inside else (low, middle)
    return low


@given(st.integers(1, 400), st.data())
def test_the_upper_bound_is_wilsons(total: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, total))
    assert upper_bound(kept, total) == pytest.approx(_wilson(kept, total), abs=1e-9)


_SHARE = st.floats(0.0, 1.0)


@given(_SHARE, _SHARE, st.integers(0, 99), st.floats(0, 5), st.booleans())
def test_a_weaker_effect_never_adds_a_violation(
    share: float, ratio: float, lost: int, noise: float, stage: bool
) -> None:
    """Every figure moves towards where it was when nothing happens."""

    def at(part: float) -> EntryMeasure:
        gone = round(lost * part)
        return replace(
            STAGE if stage else NEUTRAL,
            yielded={"pit": 100 - gone},
            inflation=1 + ratio * part,
            contrast={"pit": (1 - ratio * part, 50)},
            detail={"pit": (1 - ratio * part, 50)},
            noise={"pit": (0.3 + noise * part, 0.3)},
            mean_change=90 * part * ratio,
            deviation_ratio=1 + 3 * ratio * part,
            clipped=ratio * part,
            black=ratio * part,
        )

    strong, weak = violations(at(1.0), LIMITS), violations(at(share), LIMITS)
    assert {violation.id for violation in weak} <= {violation.id for violation in strong}
    assert not [
        v for v in weak if v.severity == "error" and ("error", v.id) not in [(s.severity, s.id) for s in strong]
    ]


@given(st.floats(0.05, 1.0), st.floats(1.0, 3.0))
def test_looser_limits_never_tell_more(low: float, growth: float) -> None:
    harsh = replace(NEUTRAL, contrast={"pit": (0.3, 50)}, inflation=2.0)
    found = violations(harsh, ContractConfig(contrast=[low, 2.0], inflation=growth))
    assert named(found, "augment.contrast_lost") is (low > 0.3)
    assert named(found, "augment.boxes_grown") is (growth < 2.0)
