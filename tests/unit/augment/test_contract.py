"""The contract: what Ultralytics swallows is caught by name, harm is measured, advice keeps what it promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
from helpers import ROOT
from scipy.stats import wasserstein_distance
from stages import SIZE, contract_of, found, squares

import pipeline
import pipeline.augment.contract
from pipeline.augment.contract import weakened
from pipeline.augment.contrast import contrast_of
from pipeline.augment.entry_measure import WHOLE, EntryMeasure
from pipeline.augment.judge import upper_bound, violations
from pipeline.augment.used_pictures import choose_pictures
from pipeline.config import ContractConfig, load_config
from pipeline.data.dataset import Dataset
from pipeline.data.intake import read_dataset
from pipeline.policy import CopyPaste, Policy, entries

OFF = Policy.off()
LIMITS = ContractConfig()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("squares"), pictures=12)


def _same(image: Any, **_: Any) -> Any:
    return 255 - image


def test_what_ultralytics_swallows_is_caught_by_name(dataset: Dataset) -> None:
    objects = [
        *(A.Lambda(image=_same, name="mine", p=1), A.Normalize(p=1), A.ToFloat(p=1), A.RandomCrop(32, 32, p=1)),
        *(A.Resize(50, 50, p=1), A.NoOp(p=1)),
    ]
    contract = contract_of(dataset, OFF.replaced(fliplr=0.5), transforms=objects)
    assert found(contract, "Lambda")["augment.not_restored"] == "error"
    assert found(contract, "Normalize") == {"augment.dtype": "error"}
    assert found(contract, "ToFloat") == {"augment.dtype": "error"}
    assert found(contract, "RandomCrop") == {"augment.shape": "error"}
    assert found(contract, "Resize") == {"augment.shape": "error"}
    assert found(contract, "NoOp")["augment.no_effect"] == "warning"
    assert found(contract, "fliplr") == {}


def test_harm_is_named_and_the_advice_keeps_the_limit(dataset: Dataset) -> None:
    turn, noise = {"Rotate": {"limit": 45, "p": 0.4}}, {"GaussNoise": {"std_range": [0.4, 0.5], "p": 0.4}}
    policy = OFF.replaced(transforms=[turn, noise, {"Solarize": {"threshold_range": [0.5, 0.5], "p": 0.2}}])
    contract = contract_of(dataset, policy)
    assert found(contract, "Rotate")["augment.boxes_grown"] == "warning"
    assert found(contract, "GaussNoise")["augment.noise"] == "warning"
    grown = next(f for f in contract.findings if f.id == "augment.boxes_grown")
    assert "limit 45" in grown.advice
    assert "p 0.4" in grown.message
    for entry, finding_id in (("Rotate", "augment.boxes_grown"), ("GaussNoise", "augment.noise")):
        milder = [weakened(policy, entry, share) for share in (0.7, 0.5, 0.35, 0.2, 0.1)]
        kept = [m for m in milder if m and finding_id not in found(contract_of(dataset, m), entry)]
        assert kept, entry
        name, parameters = next(iter(kept[0].transforms[0].items()))
        key = "limit" if name == "Rotate" else "std_range"
        strongest = parameters[key][-1] if isinstance(parameters[key], list) else parameters[key]
        advice = next(f.advice for f in contract.findings if f.id == finding_id and f.evidence["entry"] == entry)
        assert f"{strongest:.4g}" in advice


def test_solarize_erases_bright_boards(tmp_path: Path) -> None:
    board = squares(tmp_path, grey=235, ink=20, pictures=12)
    policy = OFF.replaced(transforms=[{"Solarize": {"threshold_range": [0.5, 0.5], "p": 0.2}}])
    contract = contract_of(board, policy)
    assert found(contract, "Solarize")["augment.contrast_lost"] == "warning"
    assert min(ratio for ratio, _ in contract.measures[0].contrast.values()) < 0.05


def test_boxes_that_leave_are_counted_by_class(dataset: Dataset) -> None:
    away = {"Affine": {"translate_px": {"x": [70, 70], "y": [0, 0]}, "p": 0.5}}
    contract = contract_of(dataset, OFF.replaced(transforms=[away]))
    lost = next(f for f in contract.findings if f.id == "augment.boxes_lost" and f.evidence["entry"] == "Affine")
    assert lost.evidence["survival"] == {"pit": 0.0, "spot": 0.0}
    assert contract.measures[0].own == {"pit": 6, "spot": 6}


def test_without_effect_and_never(dataset: Dataset) -> None:
    policy = OFF.replaced(hsv_h=0.5, transforms=[{"HorizontalFlip": {"p": 0.0}}])
    contract = contract_of(dataset, policy)
    assert found(contract, "hsv_h") == {"augment.no_effect": "info"}
    assert found(contract, "HorizontalFlip") == {"augment.never": "warning"}
    assert found(contract, WHOLE) == {"augment.no_effect": "error"}


def test_a_policy_without_entries_has_nothing_to_keep(dataset: Dataset) -> None:
    contract = contract_of(dataset, OFF)
    assert contract.findings == ()
    assert [measure.entry for measure in contract.measures] == [WHOLE]


def test_a_quota_out_of_reach_is_told(dataset: Dataset) -> None:
    pastes = CopyPaste(quotas={"pit": 0.9}, per_picture=1)
    contract = contract_of(dataset, OFF.replaced(copy_paste=pastes))
    told = next(f for f in contract.findings if f.id == "augment.quota")
    assert told.evidence["kind"] == "pit"
    assert told.evidence["reached"] < 0.8
    assert contract.whole.pasted["pit"] > 0


def test_pasted_objects_go_through_the_rest_of_the_stage(dataset: Dataset) -> None:
    pastes = CopyPaste(quotas={"pit": 0.7}, per_picture=2)
    contract = contract_of(dataset, OFF.replaced(copy_paste=pastes, fliplr=0.5, degrees=5.0))
    assert contract.whole.pasted["pit"] > 3
    assert not [f for f in contract.findings if f.severity == "error"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("steel", "metal"), ("steel", "pcb"), ("steel", "fabric"), ("field", "aerial"), ("field", "leaf")],
)
def test_the_shipped_policies_keep_the_contract(tmp_path_factory: pytest.TempPathFactory, kind: str, name: str) -> None:
    folder = tmp_path_factory.getbasetemp() / f"demo-{kind}"
    data = folder / "data.yaml" if folder.is_dir() else pipeline.make_demo(kind, folder)
    config = load_config(None, [f"augment={name}", "imgsz=256", f"data={data}", "contract.pictures=12"])
    contract = pipeline.augment.contract.check_contract(read_dataset(data).dataset.split("train"), config)
    assert [f.message for f in contract.findings if f.severity != "info"] == []


def test_the_shipped_policies_are_all_there() -> None:
    names = sorted(path.stem for path in (ROOT / "configs" / "augment").glob("*.yaml"))
    assert names == ["aerial", "fabric", "leaf", "metal", "none", "pcb"]
    for name in names:
        policy = load_config(None, [f"augment={name}"]).augment
        assert policy.name == name
        assert bool(entries(policy)) is (name != "none")


# ---- the measures themselves ----------------------------------------------------------------------------------------


def test_contrast_is_the_distance_of_the_two_distributions() -> None:
    random = np.random.default_rng(1)
    grey = random.integers(40, 90, (60, 60)).astype(np.uint8)
    grey[20:40, 24:36] = random.integers(100, 220, (20, 12))
    measured = contrast_of(grey, np.array([24.0, 20.0, 36.0, 40.0]))
    assert measured is not None
    ring = np.ones((60, 60), bool)
    ring[20:40, 24:36] = False
    ring[:15], ring[45:], ring[:, :21], ring[:, 39:] = False, False, False, False
    assert measured.contrast == pytest.approx(wasserstein_distance(grey[20:40, 24:36].ravel(), grey[ring]), rel=1e-6)


@pytest.mark.parametrize("sigma", [5, 10, 20])
def test_noise_is_found_again(sigma: int) -> None:
    random = np.random.default_rng(2)
    slope = np.linspace(60, 180, 160)[None, :].repeat(160, axis=0)
    grey = (slope + random.normal(0, sigma, slope.shape)).clip(0, 255).astype(np.uint8)
    measured = contrast_of(grey, np.array([40.0, 40.0, 120.0, 120.0]))
    assert measured is not None
    assert measured.noise == pytest.approx(sigma, rel=0.1)


def test_wilsons_upper_bound() -> None:
    """Newcombe (Statistics in Medicine 17, 1998), table I: 81 of 263 gives 0.2553 to 0.3662."""
    assert upper_bound(81, 263) == pytest.approx(0.3662, abs=1e-4)
    assert upper_bound(0, 0) == 1.0
    assert upper_bound(30, 20) == 1.5  # a mosaic yields more boxes than went in
    # Student's two-sided 95 % points, from any table: 23 and 3 degrees of freedom.
    assert upper_bound(15, 20, error=0.2) == pytest.approx(0.75 + 2.069 * 0.2, abs=1e-3)
    assert upper_bound(15, 20, error=0.2, pictures=4) == pytest.approx(0.75 + 3.182 * 0.2, rel=0.01)


SOUND = EntryMeasure(
    "x", 0.5, pictures=24, drawn_pictures=24, changed=1.0, yielded={"pit": 50}, own={"pit": 50}, inflation=1.0,
    contrast={"pit": (1.0, 50)}, noise={"pit": (0.3, 0.3)}, short_before=(9.0,) * 50, short_after=(9.0,) * 50,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"yielded": {"pit": 36}}, []),
        ({"yielded": {"pit": 31}}, ["augment.boxes_lost"]),
        ({"inflation": 1.25}, []),
        ({"inflation": 1.26}, ["augment.boxes_grown"]),
        ({"contrast": {"pit": (0.5, 50)}}, []),
        ({"contrast": {"pit": (0.49, 50)}}, ["augment.contrast_lost"]),
        ({"contrast": {"pit": (0.1, 4)}}, []),
        ({"contrast": {"pit": (2.01, 50)}}, ["augment.contrast_raised"]),
        ({"noise": {"pit": (1.01, 0.3)}}, ["augment.noise"]),
        ({"noise": {"pit": (1.5, 1.2)}}, []),
        ({"short_after": (3.0,) * 5 + (9.0,) * 45}, []),
        ({"short_after": (3.0,) * 6 + (9.0,) * 44}, ["augment.boxes_small"]),
        ({"mean_change": 41.0}, ["augment.shift"]),
        ({"entry": "mosaic", "mean_change": 41.0, "moves": True}, []),
        ({"yielded": {"pit": 31}, "survival_error": {"pit": 0.2}}, []),
        ({"detail": {"pit": (0.49, 50)}}, ["augment.contrast_lost"]),
        ({"failure": "Albumentations is not there"}, ["augment.library"]),
        ({"failure": "augmentation Rotate: ValueError: no"}, ["augment.failed"]),
        ({"deviation_ratio": 2.6}, ["augment.shift"]),
        ({"clipped": 0.26}, ["augment.shift"]),
        ({"black": 0.1}, ["augment.black"]),
        ({"changed": 0.0}, ["augment.no_effect"]),
        ({"probability": 0.0}, ["augment.never"]),
        ({"repeatable": False}, ["augment.not_repeatable"]),
        ({"restored": "other pictures"}, ["augment.not_restored"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_limit_at_both_sides(change: dict[str, Any], expected: list[str]) -> None:
    assert [violation.id for violation in violations(replace(SOUND, **change), LIMITS)] == expected


def test_limits_come_from_the_configuration() -> None:
    loose = ContractConfig(inflation=2.5, contrast=[0.01, 9.0])
    harsh = replace(SOUND, inflation=2.0, contrast={"pit": (0.05, 50)})
    assert [v.id for v in violations(harsh, LIMITS)] == ["augment.boxes_grown", "augment.contrast_lost"]
    assert violations(harsh, loose) == []


def test_rare_classes_are_among_the_pictures_that_are_looked_at(tmp_path: Path) -> None:
    dataset = squares(tmp_path, pictures=30)
    rare = dataset.boxes.with_columns(class_id=(dataset.boxes["image_id"] == 17).cast(dataset.boxes["class_id"].dtype))
    chosen = choose_pictures(replace(dataset, boxes=rare), 6)
    assert len(chosen) == len(set(chosen)) == 6
    assert dataset.images["image_id"].to_list().index(17) in chosen


def test_nothing_is_written_beside_the_pictures(dataset: Dataset) -> None:
    before = sorted(path.name for path in dataset.root.rglob("*"))
    contract_of(dataset, OFF.replaced(mosaic=1.0, fliplr=0.5))
    assert sorted(path.name for path in dataset.root.rglob("*")) == before
    assert cv2.imread(str(dataset.picture_path(dataset.images["path"][0]))).shape == (SIZE, SIZE, 3)
