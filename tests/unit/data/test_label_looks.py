"""Labels against what the pictures show, on small drawn sets whose faults are planted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data import label_explanations, picture_facts
from pipeline.data.audit import audit
from pipeline.data.checks import take_snapshot
from pipeline.data.checks.class_looks import classes_differ, classes_not_learnable
from pipeline.data.checks.looks import not_on_objects
from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.data.images import read_picture
from pipeline.data.label_discriminant import (
    ClassScores,
    by_chance,
    chance_of_features,
    folds_of,
    mean_area,
    share_of,
    told_apart,
)
from pipeline.data.label_explanations import label_facts
from pipeline.data.label_features import CUT, cut, features
from pipeline.data.label_looks import MOST, PAIRS, LabelSampler, free_place, sampled
from pipeline.data.picture_facts import FACTS_SCHEMA, PictureFacts
from pipeline.findings import Finding

WIDTH, HEIGHT = 128, 96
TRAIN, VAL = 48, 16
CHECKS = (not_on_objects, classes_differ, classes_not_learnable)
Boxes = NDArray[np.float64]


def _draw(random: np.random.Generator) -> tuple[NDArray[np.uint8], list[tuple[int, float, float, float, float]]]:
    """Return a picture with five objects: bright discs (0), dark squares (1), striped squares (2), and their boxes."""
    picture = np.clip(random.normal(110 + random.integers(-20, 20), 12, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    rows: list[tuple[int, float, float, float, float]] = []
    for kind in random.integers(0, 3, 5).tolist():
        side = int(random.integers(10, 18))
        x, y = int(random.integers(2, WIDTH - side - 2)), int(random.integers(2, HEIGHT - side - 2))
        if any(x < x2 + 4 and x1 < x + side + 4 and y < y2 + 4 and y1 < y + side + 4 for _, x1, y1, x2, y2 in rows):
            continue
        if kind == 0:
            cv2.circle(picture, (x + side // 2, y + side // 2), side // 2, (150, 170, 190), -1)
        else:
            picture[y : y + side, x : x + side] -= np.uint8(45 if kind == 1 else 0)
        if kind == 2:
            picture[y : y + side : 3, x : x + side] = 60
        rows.append((kind, x, y, x + side, y + side))
    return picture, rows


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("looks")
    random = np.random.default_rng(0)
    images, boxes = [], []
    for number in range(TRAIN + VAL):
        picture, rows = _draw(random)
        path = f"{number:03}.png"
        assert cv2.imwrite(str(root / path), picture)
        split = "train" if number < TRAIN else "val"
        images.append({"image_id": number, "path": path, "width": WIDTH, "height": HEIGHT, "split": split})
        keys = ("class_id", "x1", "y1", "x2", "y2")
        boxes += [{"image_id": number, **dict(zip(keys, map(float, row), strict=True))} for row in rows]
    boxes = [{**row, "class_id": int(row["class_id"])} for row in boxes]
    return dataset_from_rows(["disc", "square", "stripes"], images, boxes, root)


def _found(dataset: Dataset) -> list[Finding]:
    sampler = LabelSampler(dataset)
    for path in dataset.images["path"]:
        sampler.look(path, read_picture(dataset.picture_path(path)))
    facts = PictureFacts(
        pl.DataFrame(schema=FACTS_SCHEMA), np.zeros((0, 32, 32), np.uint8), label_facts(dataset, sampler.looks())
    )
    snapshot = take_snapshot(dataset, 640, facts=facts)
    return [finding for check in CHECKS for finding in check(snapshot)]


def _moved(dataset: Dataset, change: Callable[[Boxes], Boxes]) -> Dataset:
    """Change all boxes, given as shares of the picture, and clip them as reading does."""
    sides = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], float)
    shares = np.clip(change(dataset.boxes.select("x1", "y1", "x2", "y2").to_numpy() / sides), 0, 1) * sides
    columns = {name: pl.Series(shares[:, place]) for place, name in enumerate(("x1", "y1", "x2", "y2"))}
    return replace(dataset, boxes=dataset.boxes.with_columns(**columns))


def _renamed(dataset: Dataset, change: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]) -> Dataset:
    """Change classes; the change gets the classes, and which boxes are in train."""
    old = dataset.boxes["class_id"].to_numpy().astype(int)
    new = change(old, dataset.boxes["image_id"].to_numpy() < TRAIN)
    return replace(dataset, boxes=dataset.boxes.with_columns(class_id=pl.Series(new, dtype=pl.UInt16)))


def _other_pictures(dataset: Dataset, order: Callable[[NDArray[Any]], NDArray[Any]]) -> Dataset:
    """Give the boxes of each picture to another one of its split."""
    to = np.concatenate([order(np.arange(TRAIN)), order(np.arange(TRAIN, TRAIN + VAL))])
    ids = pl.Series(to[dataset.boxes["image_id"].to_numpy()], dtype=pl.UInt32)
    return replace(dataset, boxes=dataset.boxes.with_columns(image_id=ids))


def _as_corners(shares: Boxes) -> Boxes:
    x1, y1, x2, y2 = shares.T
    return np.stack([x1 - x2 / 2, y1 - y2 / 2, x1 + x2 / 2, y1 + y2 / 2], axis=1)


# ---- the findings ----------------------------------------------------------------------------------------------------


def test_a_sound_set_is_left_alone_and_each_picture_decoded_once(
    sound: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    lock = threading.Lock()

    def counting(path: Path, *more: Any) -> NDArray[np.uint8]:
        with lock:
            read.append(path.name)
        return read_picture(path, *more)

    monkeypatch.setattr(picture_facts, "read_picture", counting)
    monkeypatch.setattr(label_explanations, "read_picture", counting)
    result = audit(sound)
    assert sorted(read) == sound.images["path"].to_list()
    ids = {finding.id for finding in result.findings}
    assert not ids & {"labels.not_on_objects", "labels.classes_differ", "labels.classes_not_learnable"}
    assert "audit.check_failed" not in ids
    assert {"label_sample", "label_looks", "looks.not_on_objects"} <= set(result.figures["seconds"])


MISTAKES: dict[str, Callable[[Dataset], Dataset]] = {
    "axes": lambda data: _moved(data, lambda box: box[:, [1, 0, 3, 2]]),
    "upside_down": lambda data: _moved(
        data, lambda box: np.stack([box[:, 0], 1 - box[:, 3], box[:, 2], 1 - box[:, 1]], 1)
    ),
    "previous": lambda data: _other_pictures(data, lambda ids: np.roll(ids, 1)),
    "corners_as_centre": lambda data: _moved(data, _as_corners),
    "corners_as_size": lambda data: _moved(data, lambda box: np.hstack([box[:, :2], box[:, :2] + box[:, 2:]])),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_in_the_boxes_is_found_and_named(sound: Dataset, mistake: str) -> None:
    found = _found(MISTAKES[mistake](sound))
    assert [finding.id for finding in found] == ["labels.not_on_objects"] * len(found) != []
    finding = found[0]
    assert finding.evidence["parts"][0] == "train"
    assert (finding.severity, finding.evidence["explanation"]) == ("warning", mistake)
    assert finding.evidence["again"]["train"][mistake]["share"] > 0.9
    assert finding.evidence["pictures"][0] == "000.png"
    assert {other.evidence["explanation"] for other in found} <= {mistake, None}


def test_labels_of_other_pictures_are_found_where_no_mistake_explains_them(sound: Dataset) -> None:
    (finding,) = _found(_other_pictures(sound, np.random.default_rng(1).permutation))
    assert finding.id == "labels.not_on_objects"
    assert finding.evidence["explanation"] is None
    assert finding.evidence["told_apart"]["train"]["share"] < 0.65
    assert "other pictures" in finding.advice


def test_one_split_with_wrong_labels_is_the_one_that_is_named(sound: Dataset) -> None:
    turned = _moved(sound, lambda box: box[:, [1, 0, 3, 2]])
    train = pl.col("image_id") < TRAIN
    mixed = replace(sound, boxes=pl.concat([sound.boxes.filter(~train), turned.boxes.filter(train)]))
    assert [finding.evidence["parts"] for finding in _found(mixed)] == [["train"]]


def test_names_at_random_are_found(sound: Dataset) -> None:
    drawn = np.random.default_rng(2)
    (finding,) = _found(_renamed(sound, lambda old, _: drawn.integers(0, 3, len(old))))
    assert (finding.id, finding.severity) == ("labels.classes_not_learnable", "warning")
    assert sorted(finding.evidence["classes"]) == ["disc", "square", "stripes"]
    assert abs(finding.evidence["area"] - 0.5) < 0.1


def test_of_two_names_for_one_class_these_are_named(sound: Dataset) -> None:
    drawn = np.random.default_rng(3)
    halved = _renamed(sound, lambda old, _: np.where(old < 2, drawn.integers(0, 2, len(old)), old))
    (finding,) = _found(halved)
    assert finding.id == "labels.classes_not_learnable"
    assert sorted(finding.evidence["classes"]) == ["disc", "square"]


def test_classes_that_are_hard_but_can_be_told_apart_are_not_mentioned(sound: Dataset) -> None:
    drawn = np.random.default_rng(4)

    def blurred(old: NDArray[Any], _: NDArray[Any]) -> NDArray[Any]:
        return np.where((old < 2) & (drawn.random(len(old)) < 0.3), 1 - old, old)  # three of ten names are wrong

    assert _found(_renamed(sound, blurred)) == []


@pytest.mark.parametrize("order", [(1, 2, 0), (1, 0, 2)], ids=str)
def test_another_order_of_the_names_in_one_split_is_found_with_the_exchange(
    sound: Dataset, order: tuple[int, ...]
) -> None:
    mixed = _renamed(sound, lambda old, train: np.where(train, np.array(order)[old], old))
    (finding,) = _found(mixed)
    assert (finding.id, finding.severity) == ("labels.classes_differ", "warning")
    moved = {sound.names[old]: sound.names[new] for old, new in enumerate(order) if old != new}
    assert finding.evidence["exchange"] == moved
    assert all(share > 0.7 for share in finding.evidence["taken_for_it"].values())


def test_a_few_boxes_one_class_or_no_pictures_say_nothing(sound: Dataset) -> None:
    few = sound.images.filter((pl.col("image_id") < 10) | (pl.col("image_id") >= TRAIN + VAL - 5))
    kept = sound.boxes.join(few.select("image_id"), on="image_id", how="semi")
    small = replace(sound, images=few, boxes=kept)
    assert _found(_moved(small, lambda box: box[:, [1, 0, 3, 2]])) == []
    assert _found(_renamed(replace(sound, names=("thing",)), lambda old, _: old * 0)) == []
    assert _found(replace(sound, boxes=sound.boxes.clear())) == []
    assert [check(take_snapshot(sound, 640)) for check in CHECKS] == [[], [], []]


# ---- the sample ------------------------------------------------------------------------------------------------------


def test_the_order_of_pictures_changes_nothing_and_missing_ones_are_left_out(sound: Dataset) -> None:
    paths = sound.images["path"].to_list()
    forward, backward = LabelSampler(sound), LabelSampler(sound)
    for path in paths:
        forward.look(path, read_picture(sound.picture_path(path)))
    for path in reversed(paths[5:]):
        backward.look(path, read_picture(sound.picture_path(path)))
    whole, part = forward.looks(), backward.looks()
    kept = (~whole.boxes["path"].is_in(paths[:5])).to_numpy()
    assert part.boxes.equals(whole.boxes.filter(pl.Series(kept)))
    assert np.array_equal(part.inside, whole.inside[kept])
    paired = whole.boxes["elsewhere"].to_numpy()
    assert np.array_equal(part.elsewhere, whole.elsewhere[kept[paired]])
    assert len(part.sizes) == len(part.inside) < len(whole.inside)


def test_the_sample_keeps_rare_classes_and_spreads_over_the_pictures() -> None:
    images = [{"image_id": n, "path": f"{n:04}.png", "width": 100, "height": 100, "split": "train"} for n in range(400)]
    place = {"x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0}
    boxes = [{"image_id": n, "class_id": int(k == 0 and n % 20 == 0), **place} for n in range(400) for k in range(10)]
    boxes += [{"image_id": n, "class_id": 1, "crowd": True, **place} for n in range(400)]
    table = sampled(dataset_from_rows(["many", "rare"], images, boxes, Path()))
    assert not table["crowd"].any()
    assert 0.95 * MOST["train"] <= table.height <= MOST["train"]
    assert (table["class_id"] == 1).sum() == 20
    thirds = np.bincount(table["image_id"].to_numpy() // 100)
    assert thirds.min() > 0.8 * thirds.max()
    assert table["paired"].sum() == PAIRS["train"]
    assert table.filter("paired")["image_id"].n_unique() > 0.9 * PAIRS["train"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(2, 60))
def test_a_free_place_is_inside_and_hardly_meets_a_box(seed: int, count: int, side: float) -> None:
    random = np.random.default_rng(seed)
    starts = random.uniform(0, 40, (count, 2))
    taken = np.hstack([starts, starts + random.uniform(1, 30, (count, 2))])
    place = free_place(np.array([0, 0, side, side / 2]), taken, np.array([90.0, 70.0]), random.random((20, 2)))
    if place is None:
        return
    assert place[2:] - place[:2] == pytest.approx([side, side / 2])
    assert place[:2].min() >= 0
    assert (place[2:] <= np.array([90, 70]) + 1e-9).all()
    for box in taken:
        common = np.clip(np.minimum(place[2:], box[2:]) - np.maximum(place[:2], box[:2]), 0, None).prod()
        assert common <= 0.1 * min(side * side / 2, (box[2:] - box[:2]).prod()) + 1e-9


def test_a_picture_full_of_its_box_has_no_place_elsewhere() -> None:
    random = np.random.default_rng(0)
    box = np.array([5.0, 5.0, 95.0, 75.0])
    assert free_place(box, box[None], np.array([100.0, 80.0]), random.random((20, 2))) is None


# ---- features --------------------------------------------------------------------------------------------------------


def test_a_patch_has_the_box_in_its_middle_and_repeats_the_border() -> None:
    picture = np.full((60, 80, 3), 50, np.uint8)
    picture[20:36, 30:54] = (200, 100, 0)
    picture[:10, :10] = 250
    inside, corner = cut(picture, np.array([[30.0, 20.0, 54.0, 36.0], [-10.0, -10.0, 10.0, 10.0]]))
    assert np.unique(inside[9:23, 9:23].reshape(-1, 3), axis=0).tolist() == [[200, 100, 0]]
    assert (inside[:7] == 50).all()
    assert (inside[:, 25:] == 50).all()
    assert (corner[:20, :20] == 250).all()


@pytest.mark.parametrize(
    "corners",
    [(0, 0, 640, 480), (3, 3, 3.5, 3.2), (630, 470, 640, 480), (-900, -900, 2000, 2000), (5, 5, 635, 6)],
    ids=str,
)
def test_features_of_any_box_are_finite(corners: tuple[float, ...]) -> None:
    for picture in (
        np.zeros((480, 640, 3), np.uint8),
        np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8),
    ):
        patches = cut(picture, np.array([corners], float))
        assert patches.shape == (1, CUT, CUT, 3)
        assert np.isfinite(features(patches)).all()


def test_features_of_a_patch_do_not_depend_on_its_neighbours() -> None:
    patches = np.random.default_rng(1).integers(0, 255, (7, CUT, CUT, 3), np.uint8)
    together = features(patches)
    alone = np.concatenate([features(patches[n : n + 1]) for n in range(7)])
    assert together == pytest.approx(alone, abs=1e-3)
    assert features(patches[:0]).shape == (0, together.shape[1])


# ---- the discriminant ------------------------------------------------------------------------------------------------


def test_pairs_are_told_apart_where_there_is_something_and_not_by_chance() -> None:
    random = np.random.default_rng(0)
    pictures = np.repeat(np.arange(60), 4)
    noise, other = random.normal(size=(2, 240, 30))
    chance = share_of(told_apart(noise, other, pictures), pictures)
    assert abs(chance.value - 0.5) < 4 * chance.error < 0.2
    different = other.copy()
    different[:, 3] += 3
    assert share_of(told_apart(different, noise, pictures), pictures).value > 0.95
    assert len(told_apart(noise[:0], other[:0], pictures[:0])) == 0


def test_what_only_tells_pictures_apart_is_not_taken_for_a_class() -> None:
    """Every picture has a colour and all its boxes one class: learnt by box it would be known, by picture it is not."""
    random = np.random.default_rng(0)
    pictures = np.repeat(np.arange(40), 6)
    values = random.normal(size=(40, 20))[pictures] + 0.01 * random.normal(size=(240, 20))
    share = ClassScores(values, pictures).pairs((pictures % 2).astype(np.int64), 2)[0, 1]
    assert share.value < 0.7
    assert share.error > 0.06  # 40 pictures, not 240 boxes


def test_the_error_of_a_share_counts_pictures() -> None:
    share = share_of(np.array([1.0, 1, 0, 0]), np.array([7, 7, 9, 9]))
    assert (share.value, share.count, share.pictures) == (0.5, 4, 2)
    assert share.error == pytest.approx(np.sqrt(1**2 + 1**2) / 4)
    spread = share_of(np.array([1.0, 0, 1, 0]), np.array([7, 7, 9, 9]))
    assert spread.error < share.error


def test_the_area_is_the_share_of_pairs_of_one_fold_in_the_right_order() -> None:
    random = np.random.default_rng(5)
    pictures, classes = random.integers(0, 30, 90), random.integers(0, 3, 90)
    values = random.normal(size=(90, 8)) + classes[:, None] * 0.4
    scores = ClassScores(values, pictures)
    found, table, folds = scores.pairs(classes, 3), scores.of(classes, 3), folds_of(pictures)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        order = [
            float(table[a, one] - table[a, other] > table[b, one] - table[b, other])
            for a in np.flatnonzero(classes == one)
            for b in np.flatnonzero(classes == other)
            if folds[a] == folds[b]
        ]
        assert found[one, other].value == pytest.approx(np.mean(order))
    chance = by_chance(scores, classes, 3)
    assert abs(chance.mean() - 0.5) < 0.05
    assert mean_area(found) > chance.max()


def test_one_feature_of_many_that_differs_is_noticed() -> None:
    random = np.random.default_rng(6)
    values, classes = random.normal(size=(200, 60)), random.integers(0, 2, 200)
    assert chance_of_features(values, classes, 2) > 0.01
    values[:, 17] += 1.2 * classes
    assert chance_of_features(values, classes, 2) < 0.01
