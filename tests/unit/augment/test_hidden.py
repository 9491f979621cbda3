"""Objects that a transform hides while their boxes stay: found by looking for the object, not by its contrast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from stages import contract_of, found, squares, stage_of

import pipeline
from pipeline.augment.contract import check_contract
from pipeline.augment.entry_measure import WHOLE, EntryMeasure
from pipeline.augment.judge import doubtful, violations
from pipeline.augment.measure import Measure
from pipeline.augment.stage import Stage
from pipeline.augment.used_pictures import choose_pictures
from pipeline.config import ContractConfig, config_from_dict
from pipeline.data.dataset import Dataset
from pipeline.data.intake import read_dataset
from pipeline.policy import Policy

OFF = Policy.off()
LIMITS = ContractConfig()
TRIAL = {
    "num_holes_range": [12, 16],
    "hole_height_range": [0.15, 0.2],
    "hole_width_range": [0.15, 0.2],
    "fill": 130,
}


HOLE = {"num_holes_range": [1, 1], "hole_height_range": [0.3, 0.3], "hole_width_range": [0.3, 0.3], "fill": 90}


# ---- judged ---------------------------------------------------------------------------------------------------------

FIGURES = EntryMeasure(
    "x", 0.5, pictures=24, drawn_pictures=24, changed=1.0, looked_at={"pit": 100, "rust": 10},
    made_out={"pit": 100, "rust": 10}, made_out_error={"pit": 0.0, "rust": 0.0},
)  # fmt: skip
STAGE = replace(FIGURES, entry=WHOLE, probability=1.0)


@pytest.mark.parametrize(
    ("measure", "change", "expected"),
    [
        (FIGURES, {}, {}),
        # Wilson: 8 of 100 are 4.1 % at least, 7 of 100 3.4 %, 6 of 100 2.8 %.
        (FIGURES, {"made_out": {"pit": 92, "rust": 10}}, {"pit": 0.08}),
        (FIGURES, {"made_out": {"pit": 93, "rust": 10}}, {"pit": 0.07}),
        (FIGURES, {"made_out": {"pit": 94, "rust": 10}}, {}),
        (FIGURES, {"made_out": {"pit": 92, "rust": 10}, "made_out_error": {"pit": 0.1}, "hidden_error": 0.1}, {}),
        # Too few of each class to prove it, not of all: 7 of 110 are 3.1 % at least.
        (FIGURES, {"made_out": {"pit": 94, "rust": 9}}, {"pit": 0.06, "rust": 0.1}),
        (STAGE, {"made_out": {"pit": 94, "rust": 9}}, {}),
        (STAGE, {"made_out": {"pit": 50, "rust": 10}}, {"pit": 0.5}),
    ],
    ids=lambda value: value.entry if isinstance(value, EntryMeasure) else str(value)[:60],
)
def test_the_limit_at_both_sides(measure: EntryMeasure, change: dict[str, Any], expected: dict[str, float]) -> None:
    judged = violations(replace(measure, **change), LIMITS)
    assert [v.id for v in judged if not v.figures["hidden"]] == (
        ["augment.objects_hidden"] if measure is STAGE and not expected else []
    )
    named = {name: value for v in judged for name, value in v.figures["hidden"].items()}
    assert named == pytest.approx(expected)
    assert {v.severity for v in judged} <= {"warning"}


def test_a_stage_that_hides_most_of_a_class_is_an_error_and_an_entry_is_not() -> None:
    mostly = {"made_out": {"pit": 39, "rust": 10}}
    assert [v.severity for v in violations(replace(STAGE, **mostly), LIMITS)] == ["error"]
    assert [v.severity for v in violations(replace(FIGURES, **mostly), LIMITS)] == ["warning"]
    half = {"made_out": {"pit": 41, "rust": 10}}  # Wilson: 59 of 100 are 49 % at least, 61 of 100 51 %
    assert [v.severity for v in violations(replace(STAGE, **half), LIMITS)] == ["warning"]


def test_what_is_in_doubt() -> None:
    assert not doubtful(FIGURES, LIMITS)
    assert doubtful(replace(FIGURES, made_out={"pit": 94, "rust": 10}), LIMITS)
    assert not doubtful(replace(FIGURES, made_out={"pit": 97, "rust": 10}), LIMITS)  # below the limit
    assert not doubtful(replace(FIGURES, made_out={"pit": 60, "rust": 10}), LIMITS)  # told already
    assert not doubtful(EntryMeasure("x", 0.5), LIMITS)
    assert FIGURES.hidden == 0
    assert EntryMeasure("x", 0.5).hidden is None
    assert replace(FIGURES, made_out={"pit": 89, "rust": 10}).to_dict()["hidden"] == pytest.approx(0.1)


# ---- the real stage -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("squares"), pictures=8)


@pytest.fixture(scope="module")
def steel(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.getbasetemp() / "demo-steel"
    data = folder / "data.yaml" if folder.is_dir() else pipeline.make_demo("steel", folder)
    return read_dataset(data).dataset.split("train")


def only(name: str, **parameters: Any) -> Policy:
    return OFF.replaced(transforms=[{name: {**parameters, "p": 1.0}}])


def test_objects_are_counted_by_class_and_by_picture(dataset: Dataset) -> None:
    measure = Measure(stage_of(dataset), dataset.names, range(8))
    flipped = measure.entry("RandomRotate90", only("RandomRotate90"), draws=2)
    assert flipped.looked_at == flipped.made_out == {"pit": 8, "spot": 8}
    assert (flipped.pictures, flipped.drawn_pictures, flipped.hidden) == (16, 8, 0)
    white = measure.entry("RandomBrightnessContrast", only("RandomBrightnessContrast", brightness_limit=[1, 1]))
    assert white.looked_at == {"pit": 4, "spot": 4}
    assert white.made_out == {"pit": 0, "spot": 0}
    assert white.hidden == 1
    away = measure.entry("Affine", only("Affine", translate_px={"x": [40, 40], "y": [0, 0]}))
    assert away.yielded == {"pit": 4, "spot": 4}
    assert away.looked_at == {}  # cut by the border: nothing is said


def test_a_stage_that_hides_every_object_stops_the_training(dataset: Dataset) -> None:
    white = only("RandomBrightnessContrast", brightness_limit=[1.0, 1.0])
    contract = contract_of(dataset, white)
    assert found(contract, WHOLE)["augment.objects_hidden"] == "error"
    assert found(contract, "RandomBrightnessContrast")["augment.objects_hidden"] == "warning"


def test_what_is_in_doubt_is_measured_on_more_draws(dataset: Dataset) -> None:
    """One object of eight is hidden: no proof on one draw, proof on four."""
    always = contract_of(dataset, only("CoarseDropout", **HOLE))
    assert always.measures[0].pictures == 32
    assert contract_of(dataset, only("HorizontalFlip")).measures[0].pictures == 8


@pytest.fixture(scope="module")
def on_steel(steel: Dataset) -> Measure:
    indices = choose_pictures(steel, LIMITS.pictures)
    return Measure(Stage(steel, indices, OFF, 160), steel.names, indices)


def told(measured: EntryMeasure) -> dict[str, str]:
    return {violation.id: violation.severity for violation in violations(measured, LIMITS)}


def test_grey_holes_over_a_minority_are_found_and_smaller_ones_advised(steel: Dataset, on_steel: Measure) -> None:
    """No median of a class changes by them: only every tenth object is gone."""
    policy = only("CoarseDropout", **TRIAL)
    contract = check_contract(steel, config_from_dict({"augment": policy, "train": {"imgsz": 160}}))
    (finding,) = contract.findings
    assert (finding.id, finding.severity) == ("augment.objects_hidden", "warning")
    assert 0.05 < (contract.measures[0].hidden or 0) < 0.25
    assert "hole_height_range 0.105 to 0.14" in finding.advice
    milder = {**TRIAL, "hole_height_range": [0.105, 0.14], "hole_width_range": [0.105, 0.14]}
    assert told(on_steel.entry("CoarseDropout", only("CoarseDropout", **milder), draws=4)) == {}


def test_a_cutout_is_no_improvement(on_steel: Measure) -> None:
    holes = {"num_holes_range": [2, 4], "hole_height_range": [0.4, 0.6], "hole_width_range": [0.4, 0.6]}
    measured = on_steel.entry("CoarseDropout", only("CoarseDropout", **holes))
    assert told(measured)["augment.objects_hidden"] == "warning"
    assert "augment.contrast_raised" not in told(measured)
    assert max(ratio for ratio, _ in measured.contrast.values()) <= 1.0


def test_contrast_that_is_raised_is_still_told_and_black_corners_are_not(on_steel: Measure) -> None:
    assert told(on_steel.entry("Equalize", only("Equalize")))["augment.contrast_raised"] == "info"
    turned = on_steel.entry("Rotate", only("Rotate", limit=[30, 30]))
    assert max(ratio for ratio, _ in turned.contrast.values()) <= 1.1
    assert turned.hidden == 0


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("RandomFog", {"fog_coef_range": [1.0, 1.0], "alpha_coef": 0.3}),
        ("RandomShadow", {"shadow_intensity_range": [0.95, 1.0], "shadow_roi": [0, 0, 1, 1]}),
        ("GridDropout", {"ratio": 0.6}),
        ("Erasing", {"scale": [0.3, 0.6]}),
    ],
)
def test_other_ways_to_hide(on_steel: Measure, name: str, parameters: dict[str, Any]) -> None:
    assert told(on_steel.entry(name, only(name, **parameters)))["augment.objects_hidden"] == "warning"


SMALL_HOLES = {"num_holes_range": [3, 8], "hole_height_range": [0.03, 0.08], "hole_width_range": [0.03, 0.08]}


@pytest.mark.parametrize(
    ("entry", "policy"),
    [
        ("mosaic", OFF.replaced(mosaic=1.0)),
        ("degrees", OFF.replaced(degrees=30.0)),
        ("mixup", OFF.replaced(mixup=1.0)),
        ("InvertImg", only("InvertImg")),
        ("GaussianBlur", only("GaussianBlur", sigma_limit=[2, 2])),
        ("GaussNoise", only("GaussNoise", std_range=[0.05, 0.05])),
        ("ElasticTransform", only("ElasticTransform")),
        ("ImageCompression", only("ImageCompression", quality_range=[20, 20])),
        ("CoarseDropout", only("CoarseDropout", **SMALL_HOLES)),  # of `leaf`
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_hides_nothing_is_not_accused(on_steel: Measure, entry: str, policy: Policy) -> None:
    measured = on_steel.entry(entry, policy)
    assert measured.looked_at
    assert measured.hidden == 0
