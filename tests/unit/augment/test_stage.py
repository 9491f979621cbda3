"""The stage as trained: Ultralytics' own transforms in its order, strict Albumentations, every box followed."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import random
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from stages import SIZE, squares, stage_of
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import Format, v8_transforms

from pipeline.augment.albumentations_stage import AlbumentationsStage
from pipeline.augment.measure import same
from pipeline.augment.stage import Stage, seeded
from pipeline.augment.tally import inflations
from pipeline.data.dataset import Dataset
from pipeline.errors import TrainingError
from pipeline.policy import Policy

BUSY = Policy(
    mosaic=0.5, degrees=10.0, mixup=0.3, cutmix=0.3, bgr=0.5, flipud=0.5,
    transforms=[{"GaussNoise": {"p": 0.5}}, {"Rotate": {"limit": 20, "p": 0.5}}],
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("squares"))


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"mosaic": 0.0, "degrees": 20.0, "shear": 5.0, "perspective": 0.0005, "flipud": 0.5},
        {"mosaic": 0.5, "mixup": 0.5, "cutmix": 0.5, "bgr": 0.5, "hsv_h": 0.1},
    ],
    ids=["defaults", "geometry", "mixes"],
)
def test_the_stage_is_ultralytics_own_without_its_hidden_transforms(dataset: Dataset, knobs: dict[str, float]) -> None:
    stage = stage_of(dataset, Policy(**knobs))
    hyp = get_cfg(overrides={key: value for key, value in knobs.items()})
    theirs = v8_transforms(stage.dataset, SIZE, hyp)
    theirs.transforms = [part for part in theirs.transforms if type(part).__name__ != "Albumentations"]
    theirs.append(Format(bbox_format="xywh", normalize=True, batch_idx=True, bgr=hyp.bgr))
    ours = stage.dataset.transforms
    assert [type(part) for part in ours.transforms] == [type(part) for part in theirs.transforms]
    for index in range(4):
        for seed in range(4):
            expected = stage.draw(index, seed)
            stage.dataset.transforms = theirs
            assert same(expected, stage.draw(index, seed))
            stage.dataset.transforms = ours


def test_one_seed_one_picture_also_in_another_process(dataset: Dataset) -> None:
    stage = stage_of(dataset, BUSY)
    drawn = [stage.draw(index, 5) for index in range(4)]
    assert all(same(one, stage.draw(index, 5)) for index, one in enumerate(drawn))
    assert not all(same(one, stage.draw(index, 6)) for index, one in enumerate(drawn))
    copied = pickle.loads(pickle.dumps(stage))
    assert all(same(one, copied.draw(index, 5)) for index, one in enumerate(drawn))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        far = pool.apply(_draw_all, (stage,))
    assert all(np.array_equal(one.picture, picture) for one, picture in zip(drawn, far, strict=True))


def _draw_all(stage: Stage) -> list[Any]:
    return [stage.draw(index, 5).picture for index in range(4)]


def test_drawing_leaves_the_random_numbers_alone(dataset: Dataset) -> None:
    stage = stage_of(dataset, BUSY)
    with seeded(3):
        expected = random.random(), np.random.random(), float(torch.rand(1))  # noqa: NPY002
    with seeded(3):
        stage.draw(0, 8)
        assert (random.random(), np.random.random(), float(torch.rand(1))) == expected  # noqa: NPY002


def test_transforms_of_equal_probability_act_independently(dataset: Dataset) -> None:
    """Given one seed, Albumentations hands it to all transforms: those of equal p would always act together."""
    stage = AlbumentationsStage([A.InvertImg(p=0.5), A.HorizontalFlip(p=0.5)], 0.1)
    fired = []
    with seeded(0):
        for _ in range(300):
            labels = _labels(np.tile(np.arange(32, dtype=np.uint8)[None, :, None], (32, 1, 3)))
            picture = stage(labels)["img"][0, :, 0].astype(int)
            fired.append((picture.max() > 200, (picture[1] > picture[0]) == (picture.max() > 200)))
    one, other = np.array(fired).T
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.2
    assert 0.35 < one.mean() < 0.65


def _labels(picture: Any, boxes: Any = ((8.0, 8.0, 20.0, 20.0),)) -> dict[str, Any]:
    from ultralytics.utils.instance import Instances

    found = np.array(boxes, np.float32).reshape(-1, 4)
    return {
        "img": picture,
        "cls": np.arange(len(found), dtype=np.float32)[:, None],
        "instances": Instances(found, np.zeros((0, 1000, 2), np.float32), None, "xyxy", normalized=False),
    }


def test_a_box_of_which_next_to_nothing_is_left_is_dropped() -> None:
    """Ultralytics' wrapper keeps a 60 x 40 box of which 1 x 40 px are left."""
    move = A.Affine(translate_px={"x": (79, 79), "y": (0, 0)}, p=1)
    stage = AlbumentationsStage([move], 0.1)
    labels = _labels(np.zeros((100, 100, 3), np.uint8), [[20, 20, 80, 60], [0, 20, 10, 60]])
    with seeded(0):
        after = stage(labels)
    assert after["cls"].ravel().tolist() == [1.0]
    np.testing.assert_allclose(after["instances"].bboxes, [[79, 20, 89, 60]], atol=1e-4)


def test_colours_are_those_that_albumentations_expects() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 200  # BGR, as in Ultralytics' stage
    grey = A.ToGray(p=1)
    with seeded(0):
        after = AlbumentationsStage([copy.deepcopy(grey)], 0.1)(_labels(red.copy()))["img"]
    assert np.array_equal(after, grey(image=red[..., ::-1].copy())["image"][..., ::-1])
    assert int(after[0, 0, 0]) == pytest.approx(0.299 * 200, abs=1)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (A.ToFloat(p=1), "ToFloat: gives float32 instead of uint8"),
        (A.Normalize(p=1), "Normalize: gives float32 instead of uint8"),
        (A.RandomCrop(32, 32, p=1), "RandomCrop: gives 32 x 32 x 3 instead of 96 x 96 x 3"),
        (A.Resize(48, 64, p=1), "Resize: gives 48 x 64 x 3 instead of 96 x 96 x 3"),
    ],
    ids=["ToFloat", "Normalize", "RandomCrop", "Resize"],
)
def test_what_would_spoil_a_batch_stops_with_its_name(transform: Any, words: str) -> None:
    stage = AlbumentationsStage([transform], 0.1)
    with pytest.raises(TrainingError, match=words):
        stage(_labels(np.full((96, 96, 3), 128, np.uint8)))


@pytest.mark.parametrize("angle", [10, 30, 45])
def test_boxes_are_followed_through_a_turn(tmp_path: Path, angle: int) -> None:
    stage = stage_of(squares(tmp_path, side=20, pictures=4))
    turn = {"Rotate": {"limit": [angle, angle], "p": 1.0}}
    with stage.acting(Policy.off().replaced(transforms=[turn])):
        ratios = [ratio for index in range(4) for ratio in inflations(stage.draw(index, 1))]
    radians = np.deg2rad(angle)
    expected = (np.cos(radians) + np.sin(radians)) ** 2  # of a square
    assert len(ratios) == 4
    assert np.median(ratios) == pytest.approx(expected, rel=0.06)


def test_rows_and_classes_come_back_with_the_boxes(dataset: Dataset) -> None:
    stage = stage_of(dataset, BUSY)
    known = dict(zip(range(dataset.boxes.height), dataset.boxes["class_id"], strict=True))
    for index in range(len(stage.dataset)):
        drawn = stage.draw(index, index)
        assert [known[row] for row in drawn.rows] == drawn.class_ids.tolist()
