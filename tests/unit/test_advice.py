"""Knobs are read off an advice whole or not at all, and come in the order in which they would be tried."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.advice import Knob, knobs_of, suggestions
from pipeline.config import Config, settle
from pipeline.findings import Finding, Severity


def finding(advice: str, finding_id: str = "loss.plateau", severity: Severity = "warning") -> Finding:
    return Finding(finding_id, severity, "something", {}, advice)


def texts(advice: str, last: Path | None = None) -> list[str]:
    return [str(knob) for knob in knobs_of(finding(advice), last)]


@pytest.mark.parametrize(
    ("advice", "expected"),
    [
        ("train.lr0=0.002: steps of this size forget", ["train.lr0=0.002"]),
        ("train.lr0=6e-07: a third", ["train.lr0=6e-07"]),
        ("train.lr0=0.005 with train.optimizer=AdamW: proposed", ["train.lr0=0.005", "train.optimizer=AdamW"]),
        ("train.lr0=0.005 with train.optimizer=AdamW", ["train.lr0=0.005", "train.optimizer=AdamW"]),
        ("train.amp=bf16: it needs no scale; train.amp=false where there is no bf16", ["train.amp=bf16"]),
        ("model=yolo26n.pt: fresh weights", ["model=yolo26n.pt"]),
        ("monitor.clip=10: Ultralytics' own value", ["monitor.clip=10"]),
        ("augment.mosaic=0", ["augment.mosaic=0"]),
        ("augment.copy_paste=null: no weaker setting keeps the limit", ["augment.copy_paste=null"]),
        ("augment.degrees=5.0 instead of 45.0: there the limit is kept; or augment.degrees=0", ["augment.degrees=5.0"]),
        ("augment.scale=[0.9, 1.1] instead of [0.1, 2.0]: there", ["augment.scale=[0.9, 1.1]"]),
    ],
)
def test_what_can_be_turned_is_read(advice: str, expected: list[str]) -> None:
    assert texts(advice) == expected


@pytest.mark.parametrize(
    "advice",
    [
        "",
        "look at a dozen pictures",
        "data: look at train.lr0=0.1",
        "try train.lr0=0.002: not at the start",
        "train.lr0: a third of it",
        "train.lr0=nan: no number",
        "train.lr0=3: more than 1 is refused",
        "train.lr0=: nothing",
        "train.learning_rate=0.1: no such key",
        "lr0=0.1: only a part of a key",
        "train.freeze=10.5: no whole number",
        "train.amp=bf16 if this was fp16, else train.amp=false",
        "train.imgsz=960 keeps 300 of them",
        "train.lr0=0.005 with train.optimizer=Magic: one of the two is no setting",
        "train.lr0=0.005 with care: no second knob",
        "train.lr0=0.002 (with train.optimizer=AdamW): in brackets",
        "data=PATH: point it at labels",
        "data.splits=new: other pictures are another comparison",
        "model=RUN/weights/last.pt: of no run",
        "train.seed=1: another seed is no comparison",
        "train.fraction=0.5: other pictures are none either",
        "model=FILE: which one?",
        "monitor.preflight=60: changes no training",
        "eval.conf=0.1: changes no training",
        "GaussNoise: std 0.1 instead of 0.5: there the limit is kept",
    ],
)
def test_what_is_no_setting_gives_no_knob(advice: str) -> None:
    assert texts(advice) == []


def test_the_run_stands_for_its_last_weights(tmp_path: Path) -> None:
    last = tmp_path / "a run=1" / "weights" / "last.pt"
    assert texts("model=RUN/weights/last.pt: start anew", last) == [f"model={last}"]
    elsewhere = tmp_path / "DATA" / "RUN" / "weights" / "last.pt"  # folders that are called as placeholders are
    assert texts("model=RUN/weights/last.pt: start anew", elsewhere) == [f"model={elsewhere}"]


_GOOD = {"train.lr0": "0.01", "train.optimizer": "SGD", "train.epochs": "5", "augment.mosaic": "0", "model": "a.pt"}
_BAD = {"train.lr": "0.01", "train.epochs": "-1", "data": "PATH", "augment.degrees": "900", "train.amp": "maybe"}


@given(
    good=st.lists(st.sampled_from(sorted(_GOOD)), unique=True, max_size=4),
    bad=st.lists(st.sampled_from(sorted(_BAD)), unique=True, max_size=2),
    order=st.randoms(use_true_random=False),
    tail=st.text(max_size=20),
)
def test_several_knobs_are_taken_whole_or_not_at_all(good: list[str], bad: list[str], order: object, tail: str) -> None:
    pairs = [*((key, _GOOD[key]) for key in good), *((key, _BAD[key]) for key in bad)]
    order.shuffle(pairs)  # type: ignore[attr-defined]
    found = knobs_of(finding(f"{' with '.join(f'{k}={v}' for k, v in pairs)}: {tail}"))
    assert found == (() if bad else tuple(Knob(*pair) for pair in pairs))


@given(st.text(alphabet="trainlr0.=: with", max_size=40))
def test_no_text_breaks_the_reading(advice: str) -> None:
    for knob in knobs_of(finding(advice)):
        assert settle(None, [str(knob)])
        assert advice.startswith(f"{knob}") or f" with {knob}" in advice


# ---- the order -------------------------------------------------------------------------------------------------------


def config(*overrides: str) -> Config:
    return settle(None, ["model=yolo26n.yaml", "train.epochs=10", *overrides])


def test_the_worst_comes_first_then_causes_then_what_needs_more_epochs() -> None:
    found = [
        finding("augment.mosaic=0", "augment.boxes_lost"),
        finding("train.epochs=50: more", "schedule.too_few_steps"),
        finding("train.lr0=0.003: a third", "gradient.exploding"),  # fired once, not found any more
        finding("train.lr0=0.001: a third", "loss.divergence"),
        finding("train.freeze=0: trains every layer", "layer.frozen_unintended"),
        finding("train.lr0=0.005 with train.optimizer=AdamW", "preflight.lr_too_high"),
        finding("train.box=7.5: the default", "loss.term_imbalance", "error"),
        finding("look at it", "labels.same_size", "info"),
    ]
    order = ["schedule.too_few_steps", "layer.frozen_unintended", "loss.divergence"]
    ids = [s.finding.id for s in suggestions(found, config(), order=order)]
    assert ids == [
        "loss.term_imbalance",
        "preflight.lr_too_high",
        "layer.frozen_unintended",
        "loss.divergence",
        "gradient.exploding",
        "augment.boxes_lost",
        "schedule.too_few_steps",
        "labels.same_size",
    ]


BLACK = "augment.transforms=[{GaussNoise: {std_range: [0.01, 0.03], p: 0.2}}, {ToGray: {p: 0.5}}, {ToGray: {p: 1}}]"


@pytest.mark.parametrize(
    ("advice", "left"),
    [
        ("drop GaussNoise from the policy: no weaker one does", [{"ToGray": {"p": 0.5}}, {"ToGray": {"p": 1}}]),
        ("drop GaussNoise from the policy", [{"ToGray": {"p": 0.5}}, {"ToGray": {"p": 1}}]),
        ("ToGray#2: p 0.1 instead of 1: there the limit is kept; or drop ToGray#2 from the policy",
         [{"GaussNoise": {"std_range": [0.01, 0.03], "p": 0.2}}, {"ToGray": {"p": 0.5}}]),
        ("drop Blur from the policy: it has none", None),
        ("lower the p, or drop GaussNoise from the policy", None),
    ],
)  # fmt: skip
def test_a_transform_is_dropped_by_the_list_without_it(advice: str, left: list[dict[str, object]] | None) -> None:
    own = config(BLACK)
    (suggestion,) = suggestions([finding(advice, "augment.black", "error")], own)
    assert suggestion.is_turnable == (left is not None)
    if left is not None:
        turned = settle(own, suggestion.overrides)
        assert turned.augment.transforms == left
        assert turned == settle(own, ["augment.transforms=[]"]).model_copy(update={"augment": turned.augment})


def test_what_makes_pictures_black_comes_before_what_black_pictures_do() -> None:
    found = [
        finding("train.amp=false: another number format", "preflight.not_finite", "error"),
        finding("train.lr0=0.002: less", "preflight.lr_too_high"),
        finding("drop ToGray from the policy", "augment.black", "error"),
        finding("augment.mosaic=0", "augment.boxes_lost"),
    ]
    first = suggestions(found, config(BLACK, "train.lr0=0.1"))
    assert [s.finding.id for s in first] == [
        "augment.black", "preflight.not_finite", "preflight.lr_too_high", "augment.boxes_lost",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("advice", "overrides", "why_not"),
    [
        ("look at it", [], "no setting mends it"),
        ("train.lr0=0.002: less", [], ""),
        ("train.lr0=0.002: less", ["train.lr0=0.002"], "the run has this setting already"),
        ("train.freeze=0: trains every layer", ["train.freeze=null"], "the run has this setting already"),
        ("train.freeze=0: trains every layer", ["train.freeze=3"], ""),
        ("train.lr0=0.002 with train.optimizer=AdamW: x", ["train.lr0=0.002", "train.optimizer=auto"], ""),
        ("model=yolo26n.yaml: try it", [], "the run has this setting already"),
    ],
)
def test_what_the_run_has_already_cannot_be_turned(advice: str, overrides: list[str], why_not: str) -> None:
    (suggestion,) = suggestions([finding(advice)], config(*overrides))
    assert (suggestion.why_not, suggestion.is_turnable) == (why_not, not why_not)


def test_a_note_is_told_but_not_tried() -> None:
    (suggestion,) = suggestions([finding("train.lr0=0.002: less", severity="info")], config("train.lr0=0.1"))
    assert suggestion.to_dict()["knobs"] == {"train.lr0": "0.002"}
    assert suggestion.to_dict()["now"] == {"train.lr0": 0.1}
    assert not suggestion.is_turnable
