"""Measures against what is known beforehand: turned boxes, faded patterns, black pictures, clusters of boxes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
from helpers import ROOT, box, dataset_of
from stages import SIZE, contract_of, found, squares, stage_of

from pipeline.augment.contrast import Contrast, contrast_of, contrast_ratio, detail_ratio, noise_ratio
from pipeline.augment.entry_measure import WHOLE
from pipeline.augment.measure import Measure, probability_of
from pipeline.augment.tally import inflations, ratio_error
from pipeline.data.dataset import Dataset
from pipeline.policy import Policy

OFF = Policy.off()
REAL_X = Path(os.environ.get("TUNEUP_ALBUMENTATIONSX", ROOT / ".venv" / "albumentationsx"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("squares"), pictures=8)


def only(name: str, **parameters: Any) -> Policy:
    return OFF.replaced(transforms=[{name: {"p": 1.0, **parameters}}])


# ---- boxes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [7, 25, 60])
def test_growth_of_a_turned_long_box(tmp_path: Path, angle: int) -> None:
    """(w |cos| + h |sin|) (w |sin| + h |cos|) / (w h), for a box in the middle of the picture."""
    width, height = 40, 10
    cv2.imwrite(str(tmp_path / "1.png"), np.full((SIZE, SIZE, 3), 90, np.uint8))
    middle = SIZE / 2
    row = box(1, 0, middle - width / 2, middle - height / 2, middle + width / 2, middle + height / 2)
    stage = stage_of(dataset_of([row], pictures={1: {"width": SIZE, "height": SIZE}}, root=tmp_path))
    with stage.acting(only("Affine", rotate=[angle, angle])):
        (ratio,) = inflations(stage.draw(0, 3))
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    expected = (width * cos + height * sin) * (width * sin + height * cos) / (width * height)
    assert ratio == pytest.approx(expected, rel=0.05)


def test_the_error_of_a_share_is_that_of_resampled_pictures() -> None:
    """Against the bootstrap over pictures, which knows no formula."""
    random = np.random.default_rng(5)
    own = random.integers(1, 9, 60)
    yielded = random.binomial(own, random.choice([0.3, 1.0], 60))  # boxes of one picture are lost together
    counts = [(Counter(a=int(o)), Counter(a=int(y))) for o, y in zip(own, yielded, strict=True)]
    picks = random.integers(0, 60, (4000, 60))
    resampled = (yielded[picks].sum(axis=1) / own[picks].sum(axis=1)).std()
    assert ratio_error(counts, "a") == pytest.approx(resampled, rel=0.08)
    assert ratio_error(counts, "b") == ratio_error(counts[:1], "a") == 0.0


def test_two_draws_of_a_picture_count_as_one_cluster(dataset: Dataset) -> None:
    measure = Measure(stage_of(dataset), dataset.names, range(8))
    away = OFF.replaced(transforms=[{"Affine": {"translate_px": {"x": [40, 80], "y": [0, 0]}, "p": 1.0}}])
    result = measure.whole(away, 2)
    tallied = []
    with measure.stage.acting(away):
        for index in range(8):
            kept = sum(
                int((measure.stage.draw(index, index * 1000 + 1 + draw).class_ids == 0).sum()) for draw in (0, 1)
            )
            tallied.append((Counter(pit=2 * (1 - index % 2)), Counter(pit=kept)))
    assert 0 < result.yielded["pit"] < result.own["pit"] == 8
    assert result.survival_error["pit"] == pytest.approx(ratio_error(tallied, "pit"))
    assert (result.pictures, result.drawn_pictures) == (16, 8)


def test_a_mosaic_that_is_unlucky_with_its_partners_loses_nothing(dataset: Dataset) -> None:
    measure = Measure(stage_of(dataset), dataset.names, range(8)).entry("mosaic", OFF.replaced(mosaic=1.0))
    assert set(measure.survival_error) == set(measure.own)
    assert min(measure.survival_error.values()) > 0.02
    still = Measure(stage_of(dataset), dataset.names, range(8)).entry("fliplr", OFF.replaced(fliplr=1.0))
    assert still.survival == 1.0
    assert set(still.survival_error.values()) == {0.0}


# ---- what can be seen -----------------------------------------------------------------------------------------------

BOX = np.array([24.0, 24.0, 72.0, 72.0])


def stripes(strength: float) -> np.ndarray[Any, Any]:
    """A board of conductors: equally bright inside and around the box, but for a break in the pattern."""
    grey = np.full((96, 96), 120.0)
    grey[:, ::8] = grey[:, 1::8] = grey[:, 2::8] = grey[:, 3::8] = 220
    return np.asarray((170 + (grey - 170) * strength).round().astype(np.uint8))


def seen(grey: np.ndarray[Any, Any]) -> Contrast:
    measured = contrast_of(grey, BOX)
    assert measured is not None
    return measured


def test_a_pattern_that_fades_is_seen_where_inside_and_around_are_equally_bright() -> None:
    before, after = seen(stripes(1.0)), seen(stripes(0.4))
    assert contrast_ratio(before, after) > 0.9
    assert before.detail == pytest.approx(50, rel=0.2)
    assert detail_ratio(before, after) == pytest.approx(0.4, abs=0.05)


def test_noise_is_no_detail() -> None:
    random = np.random.default_rng(0)
    noisy = (stripes(1.0) + random.normal(0, 15, (96, 96))).clip(0, 255).astype(np.uint8)
    before, after = seen(stripes(1.0)), seen(noisy)
    assert detail_ratio(before, after) == pytest.approx(1.0, abs=0.1)
    flat = (np.full((96, 96), 120) + random.normal(0, 15, (96, 96))).astype(np.uint8)
    assert seen(flat).detail < 8
    assert detail_ratio(seen(flat), after) is None
    assert noise_ratio(after) > 3 * noise_ratio(before)


def test_boxes_without_inside_or_ring_are_not_measured() -> None:
    grey = np.zeros((20, 20), np.uint8)
    assert contrast_of(grey, np.array([30.0, 3.0, 40.0, 9.0])) is None
    assert contrast_of(grey, np.array([0.0, 0.0, 20.0, 20.0])) is None


def test_darker_and_brighter_pictures_do_not_cancel(dataset: Dataset) -> None:
    measure = Measure(stage_of(dataset), dataset.names, range(8))
    policy = only("RandomBrightnessContrast", brightness_limit=[-0.3, 0.3], contrast_limit=[0, 0])
    result = measure.entry("RandomBrightnessContrast", policy)
    assert result.mean_change > 1.5 * abs(result.mean_shift)
    shifts = []
    with measure.stage.acting(policy):
        for index in range(8):
            drawn = measure.stage.draw(index, index * 1000 + 1)
            shifts.append(cv2.cvtColor(drawn.picture, cv2.COLOR_RGB2GRAY).mean() - measure.plain[index].grey.mean())
    assert result.mean_change == pytest.approx(np.abs(shifts).mean())
    assert result.mean_shift == pytest.approx(np.mean(shifts))


def test_grey_pictures_are_told_from_coloured_ones(dataset: Dataset, tmp_path: Path) -> None:
    assert Measure(stage_of(dataset), dataset.names, [0]).grey
    cv2.imwrite(str(tmp_path / "1.png"), np.dstack([np.full((SIZE, SIZE), level, np.uint8) for level in (90, 90, 91)]))
    coloured = dataset_of([], pictures={1: {"width": SIZE, "height": SIZE}}, root=tmp_path)
    assert not Measure(stage_of(coloured), coloured.names, [0]).grey


def test_a_stage_acts_if_any_of_its_entries_does() -> None:
    policy = OFF.replaced(fliplr=0.5, transforms=[{"GaussNoise": {"p": 0.2}}])
    assert probability_of(policy, WHOLE) == pytest.approx(1 - 0.5 * 0.8)
    assert probability_of(OFF, WHOLE) == 0
    assert probability_of(policy.replaced(degrees=3.0), WHOLE) == 1


# ---- what a transform can do to a stage -----------------------------------------------------------------------------


class Own(A.ImageOnlyTransform):  # type: ignore[misc]
    """A person's own transform."""

    def apply(self, img: Any, **_: Any) -> Any:
        return 255 - img


_numbers = np.random.default_rng(0)


def _unseeded(image: Any, **_: Any) -> Any:
    return image ^ _numbers.integers(0, 2, image.shape, dtype=np.uint8)


def _nothing_left(image: Any, **_: Any) -> Any:
    return (image / 255).astype(np.uint8)


def _breaks(image: Any, **_: Any) -> Any:
    raise KeyError("no such thing")


def test_what_else_may_go_wrong_has_a_name(dataset: Dataset) -> None:
    objects = [Own(p=1), *(A.Lambda(image=does, name="mine", p=0.3) for does in (_unseeded, _nothing_left, _breaks))]
    contract = contract_of(dataset, OFF.replaced(fliplr=0.5), transforms=objects)
    own, unseeded, black, broken = contract.measures[:4]
    assert found(contract, "Own") == {"augment.not_restored": "error", "augment.shift": "warning"}
    assert "own code" in own.restored
    assert not unseeded.repeatable
    assert black.black == 1.0
    assert found(contract, "Lambda")["augment.not_repeatable"] == found(contract, "Lambda")["augment.black"] == "error"
    assert found(contract, "Lambda")["augment.failed"] == "error"
    assert "no such thing" in broken.failure
    assert [measure.probability for measure in contract.measures[:4]] == [1, 0.3, 0.3, 0.3]
    assert objects[1].p == 0.3  # the person's own object is left as it was
    assert found(contract, WHOLE) == {}  # it holds the policy, not the objects


def test_entries_that_add_up_are_told_of_the_whole_stage(dataset: Dataset) -> None:
    """A turn by 6 degrees keeps the limit of 1.25; three of them do not."""
    turn = {"Affine": {"rotate": [6, 6], "p": 1.0}}
    contract = contract_of(dataset, OFF.replaced(transforms=[turn, turn, turn]))
    assert found(contract, "Affine") == found(contract, "Affine#2") == {}
    assert found(contract, WHOLE) == {"augment.boxes_grown": "warning"}
    assert "add up" in next(f.advice for f in contract.findings if f.evidence["entry"] == WHOLE)
    alone = contract_of(dataset, OFF.replaced(transforms=[{"Affine": {"rotate": [40, 40], "p": 1.0}}]))
    assert found(alone, "Affine")["augment.boxes_grown"] == "warning"
    assert found(alone, WHOLE) == {}  # told once


def test_a_transform_that_acts_once_in_a_hundred_pictures_does_not_stop_a_training(dataset: Dataset) -> None:
    contract = contract_of(dataset, OFF.replaced(transforms=[{"InvertImg": {"p": 0.001}}]))
    assert contract.whole.changed == 0
    assert found(contract, WHOLE) == {}


IN_PLACE = """
import sys
sys.path[:0] = [{tests!r}, {augment!r}]
from pathlib import Path
import json, pipeline
from stages import contract_of, squares
from pipeline.config import config_from_dict
from pipeline.policy import Policy

class GaussNoise:
    p = 0.3

contract = contract_of(squares(Path({folder!r}), pictures=4), Policy.off(), transforms=[GaussNoise()])
told = [finding.to_dict() for finding in contract.findings]
try:
    config_from_dict({{"augment": {{"transforms": [{{"GaussNoise": {{"p": 0.3}}}}]}}}})
except pipeline.TuneUpError as error:
    print(json.dumps([told, str(error)]))
"""


def test_albumentationsx_is_caught_by_name(tmp_path: Path) -> None:
    """With it Ultralytics trains without any augmentation and does not say so."""
    if not (REAL_X / "albumentations").is_dir():
        pytest.skip(f"needs AlbumentationsX in {REAL_X}, see .ci/run")
    unit = ROOT / "tests" / "unit"
    code = IN_PLACE.format(tests=str(unit), augment=str(unit / "augment"), folder=str(tmp_path / "data"))
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REAL_X), str(ROOT)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    told, refused = json.loads(result.stdout.splitlines()[-1])
    assert [(finding["id"], finding["severity"]) for finding in told] == [("augment.library", "error")]
    assert told[0]["message"].startswith("GaussNoise cannot be used: AlbumentationsX ")
    assert "pip uninstall" in told[0]["message"]
    assert "AlbumentationsX" in refused


@pytest.mark.parametrize("policy", [Policy(), Policy(hsv_v=0.9)], ids=["default", "strong"])
def test_pictures_without_boxes_can_be_measured(tmp_path: Path, policy: Policy) -> None:
    empty = squares(tmp_path, pictures=4)
    contract = contract_of(replace(empty, boxes=empty.boxes.clear()), policy)
    assert contract.whole.survival is None
    assert contract.whole.contrast == {}
    assert not [finding for finding in contract.findings if finding.severity == "error"]
