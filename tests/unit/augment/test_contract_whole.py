"""The contract of the whole stage: what adds up, what is excused, what it costs, and that it keeps within its time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import polars as pl
import pytest
from stages import SIZE, contract_of, found, squares, stage_of

from pipeline.augment.contract import check_contract, expected_milliseconds, trained_pictures
from pipeline.augment.entry_measure import WHOLE, EntryMeasure
from pipeline.augment.measure import Measure
from pipeline.augment.preview import preview_rows
from pipeline.augment.used_pictures import at_training_size, choose_pictures, evenly, thinned
from pipeline.config import config_from_dict, load_config
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError, TrainingError
from pipeline.policy import CopyPaste, Policy

OFF = Policy.off()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("squares"), pictures=12)


def test_the_time_of_the_stage_counts_every_entry_as_often_as_it_acts() -> None:
    entries = [EntryMeasure("a", 0.3, milliseconds=100.0), EntryMeasure("b", 1.0, milliseconds=4.0)]
    assert expected_milliseconds(2.0, entries) == pytest.approx(2 + 30 + 4)


def test_a_dear_transform_at_a_low_p_is_neither_missed_nor_taken_for_certain(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 ms at p 0.2 are 4 ms a picture; the median of some draws says 0."""
    blur = A.Blur.apply

    def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.02)
        return blur(self, *args, **kwargs)

    monkeypatch.setattr(A.Blur, "apply", slow)
    contract = contract_of(dataset, OFF.replaced(transforms=[{"Blur": {"p": 0.2}}]), pictures=8)
    forced = contract.measures[0].milliseconds
    assert forced >= 20
    # What is left is the stage that does nothing: milliseconds on a busy machine.
    assert 0.2 * forced <= contract.whole.milliseconds < 0.2 * forced + 15


def test_a_dark_field_is_not_black(tmp_path: Path) -> None:
    dark = squares(tmp_path / "dark", side=12, grey=4, ink=180, pictures=12)
    assert "augment.black" not in found(contract_of(dark, OFF.replaced(mosaic=1.0, scale=0.5)), WHOLE)
    gone = {"RandomBrightnessContrast": {"brightness_limit": [-1.0, -0.99], "p": 1.0}}
    assert found(contract_of(dark, OFF.replaced(transforms=[gone])), WHOLE)["augment.black"] == "error"


def test_colour_alone_on_grey_pictures_is_excused_and_anything_else_is_not(dataset: Dataset) -> None:
    contract = contract_of(dataset, OFF.replaced(hsv_h=0.1, hsv_s=0.3))
    assert {f.severity for f in contract.findings} == {"info"}
    still = {"RandomBrightnessContrast": {"brightness_limit": [0, 0], "contrast_limit": [0, 0], "p": 1.0}}
    mixed = contract_of(dataset, OFF.replaced(hsv_h=0.1, transforms=[still]))
    assert found(mixed, WHOLE) == {"augment.no_effect": "error"}


def test_losses_that_no_entry_has_alone_are_told_of_the_stage(dataset: Dataset) -> None:
    """One shift leaves 0.79 of a box in the picture, 0.5 are asked for; the second one pushes it out."""
    away = [{"Affine": {"translate_px": {"x": [41, 41], "y": [0, 0]}, "p": 1.0}}] * 2
    contract = contract_of(dataset, OFF.replaced(transforms=away, min_visibility=0.5), pictures=12)
    assert all("augment.boxes_lost" not in found(contract, entry) for entry in ("Affine", "Affine#2"))
    assert found(contract, WHOLE)["augment.boxes_lost"] == "error"


def test_what_an_entry_does_to_one_class_does_not_hide_another(dataset: Dataset) -> None:
    from pipeline.augment.contract import _together
    from pipeline.findings import Finding

    limits = config_from_dict({}).contract
    faded = {"pit": (0.3, 50), "spot": (0.2, 50)}
    whole = EntryMeasure(WHOLE, 1.0, pictures=24, changed=1.0, contrast=faded)
    told = [Finding("augment.contrast_lost", "warning", "x", {"contrast": {"pit": 0.3}, "limit": 0.5})]
    policy = OFF.replaced(fliplr=0.5)
    assert [f.id for f in _together(whole, policy, limits, told)] == ["augment.contrast_lost"]
    both = [*told, Finding("augment.contrast_lost", "warning", "x", {"contrast": {"spot": 0.2}})]
    assert _together(whole, policy, limits, both) == []


def test_the_contract_looks_at_the_pictures_that_fraction_leaves(dataset: Dataset) -> None:
    rare = dataset.images["image_id"][1]  # of every second picture, the first one is taken
    kinds = pl.when(pl.col("image_id") == rare).then(1).otherwise(0).cast(dataset.boxes["class_id"].dtype)
    few = replace(dataset, boxes=dataset.boxes.with_columns(class_id=kinds))
    pastes = OFF.replaced(copy_paste=CopyPaste(quotas={"spot": 0.5}))
    config = config_from_dict({"augment": pastes, "train": {"imgsz": SIZE, "fraction": 0.5}})
    assert check_contract(few, config.model_copy(update={"train": config_from_dict({"train": {"imgsz": SIZE}}).train}))
    with pytest.raises(ConfigError, match="spot"):
        check_contract(few, config)


def test_the_preview_draws_the_pictures_that_the_contract_measured(dataset: Dataset) -> None:
    config = config_from_dict({"augment": OFF.replaced(fliplr=1.0), "train": {"imgsz": SIZE, "fraction": 0.5}})
    contract, trained = check_contract(dataset, config), trained_pictures(dataset, config)
    assert contract.train_pictures == trained.images.height == 6
    rows = preview_rows(trained, contract, versions=1)
    assert {Path(row.source).name for row in rows} <= {Path(path).name for path in trained.images["path"]}


def test_a_budget_that_is_used_up_ends_the_draws(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = OFF.replaced(fliplr=0.5, transforms=[{"GaussNoise": {"p": 0.5}}])
    config = config_from_dict({"augment": policy, "train": {"imgsz": SIZE}, "contract": {"pictures": 12}})
    contract = check_contract(dataset, config, budget=1e-6)
    assert contract.whole.pictures == 4
    assert [f.id for f in contract.findings if f.severity == "info"] == ["augment.not_measured"]
    assert check_contract(dataset, config).whole.pictures == 24


def test_the_transform_that_breaks_is_named_and_no_other(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("no holes")

    monkeypatch.setattr(A.CoarseDropout, "apply", broken)
    transforms = [{"Blur": {"p": 1.0}}, {"CoarseDropout": {"p": 1.0}}, {"GaussNoise": {"p": 1.0}}]
    stage = stage_of(dataset, OFF.replaced(transforms=transforms))
    with pytest.raises(TrainingError, match=r"^augmentation CoarseDropout: ValueError: no holes"):
        stage.draw(0, 1)


@pytest.mark.parametrize(
    ("given", "says"),
    [(A.OneOf([A.HorizontalFlip(p=1)]), "OneOf: a group"), ("GaussNoise", "'GaussNoise': no Albumentations transform")],
    ids=["group", "text"],
)
def test_only_single_transforms_are_measured(dataset: Dataset, given: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        contract_of(dataset, OFF, transforms=[given])


def test_a_copy_paste_that_is_not_read_back_as_it_was_is_told(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = OFF.replaced(copy_paste=CopyPaste(quotas={"pit": 0.8}))
    measure = Measure(stage_of(dataset, policy), dataset.names, range(8))
    assert measure.whole(policy, 1).restored == ""
    dump = Policy.model_dump

    def forgetful(self: Policy, **kwargs: Any) -> Any:
        record = dump(self, **kwargs)
        return {**record, "copy_paste": {**record["copy_paste"], "quotas": {"pit": 0.7}}}

    monkeypatch.setattr(Policy, "model_dump", forgetful)
    assert "another copy_paste" in measure.whole(policy, 1).restored


@pytest.mark.parametrize("change", ["written", "sent"])
def test_a_stage_that_changes_on_the_way_is_told(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    policy = OFF.replaced(transforms=[{"InvertImg": {"p": 1.0}}])
    measure = Measure(stage_of(dataset, policy), dataset.names, range(8))
    if change == "written":
        monkeypatch.setattr(Policy, "model_validate", lambda record: OFF)
        assert measure.whole(policy, 1).restored == "other pictures after it was written down and read again"
    else:
        monkeypatch.setattr("pipeline.augment.measure.pickle.loads", lambda data: stage_of(dataset, OFF))
        assert measure.whole(policy, 1).restored == "other pictures in another process"


def test_rare_classes_are_looked_at_first(dataset: Dataset) -> None:
    ids = dataset.images["image_id"]
    rare = dataset.boxes.with_columns(class_id=pl.when(pl.col("image_id") == ids[11]).then(1).otherwise(0))
    many = replace(dataset, boxes=rare.with_columns(pl.col("class_id").cast(dataset.boxes["class_id"].dtype)))
    assert 11 in choose_pictures(many, 4)
    assert len(choose_pictures(many, 4)) == 4


def test_pictures_are_spread_evenly_and_sized_as_ultralytics_does(dataset: Dataset) -> None:
    assert evenly(10, 4) == [0, 2, 5, 7]
    assert evenly(3, 9) == [0, 1, 2]
    assert evenly(3, 0) == []
    assert thinned(dataset, 4).images.height == 4
    assert thinned(dataset, 1.0) is dataset
    picture = np.zeros((30, 47, 3), np.uint8)
    assert at_training_size(picture, 47) is picture
    assert at_training_size(picture, 32).shape == (21, 32, 3)
    assert np.array_equal(at_training_size(picture + 7, 32), cv2.resize(picture + 7, (32, 21)))


def test_what_a_policy_file_does_not_name_does_not_act(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("transforms:\n  - GaussNoise: {p: 0.3}\n")
    policy = load_config(None, [f"augment={tmp_path / 'mine.yaml'}"]).augment
    assert (policy.mosaic, policy.scale, policy.fliplr, policy.hsv_v) == (0.0, 0.0, 0.0, 0.0)
    assert load_config(None, [f"augment={tmp_path / 'mine.yaml'}", "mosaic=0.5"]).augment.mosaic == 0.5


def test_a_name_too_long_for_a_file_is_no_policy() -> None:
    with pytest.raises(ConfigError, match="no policy"):
        load_config(None, [f"augment={'x' * 300}"])


def test_no_setting_is_promised_that_there_was_no_time_to_measure(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock runs out while the first weaker setting is drawn, on four pictures."""
    from pipeline.augment import contract

    policy = OFF.replaced(transforms=[{"Rotate": {"limit": [45, 45], "p": 1.0}}])
    limits = config_from_dict({}).contract
    measure = Measure(stage_of(dataset, policy), dataset.names, range(12))
    found = contract.violations(measure.entry("Rotate", policy), limits)
    assert any(violation.weaker_helps for violation in found)
    assert contract._mended(measure, "Rotate", policy, found, limits, time.monotonic()) == {}
    assert contract._mended(measure, "Rotate", policy, found, limits, None)["augment.boxes_grown"] is not None
