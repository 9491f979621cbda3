"""The demo sets: exact boxes, the same bytes for the same seed, and a folder that is whole or not there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.synthetic import DEMOS, Picture, demo, demo_picture, field, make_demo, plants, steel
from pipeline.data.synthetic.drawing import LEAST_SHARE, LEAST_SIDE, SEEN, Placement, Sprite, box_of_mask, place
from pipeline.errors import UsageError

KINDS = tuple(DEMOS)
SMALL = {"train": 3, "val": 2}


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Boxes


@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    centre=st.tuples(st.floats(-20, 60), st.floats(-20, 60)),
)
@settings(max_examples=100, deadline=None)
def test_place_gives_the_box_of_the_pixels_that_stay_inside(
    seed: int, height: int, width: int, centre: tuple[float, float]
) -> None:
    size, margin = 40, 60
    rng = np.random.default_rng(seed)
    opacity = (rng.random((height, width)) * (rng.random((height, width)) < 0.3)).astype(np.float32)
    placement = place(Sprite(opacity, np.zeros((height, width, 3), np.float32)), centre, size)

    # The same by brute force: on a field wide enough for the whole sprite, then cut.
    wide = np.zeros((size + 2 * margin, size + 2 * margin), np.float32)
    left, top = round(centre[0] - width / 2) + margin, round(centre[1] - height / 2) + margin
    wide[top : top + height, left : left + width] = np.where(opacity > SEEN, opacity, 0)
    inside = wide[margin : margin + size, margin : margin + size]
    rows, columns = np.nonzero(inside)
    enough = len(rows) and inside.sum() >= LEAST_SHARE * wide.sum() * (1 + 1e-6)
    if not len(rows) or inside.sum() < LEAST_SHARE * wide.sum() * (1 - 1e-6):
        assert placement is None
    elif enough and min(np.ptp(rows), np.ptp(columns)) + 1 >= LEAST_SIDE:
        assert placement is not None
        assert placement.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.array_equal(placement.opacity, inside[placement.rows, placement.columns])
    elif enough:
        assert placement is None


def test_an_object_that_the_border_cuts_keeps_the_box_of_its_visible_part() -> None:
    disc = Sprite(np.ones((20, 20), np.float32), np.zeros((20, 20, 3), np.float32))
    placed = place(disc, (2, 50), 100)
    assert placed is not None
    assert placed.box == (0, 40, 12, 60)
    assert place(disc, (-6, 50), 100) is None  # a fifth of it would be left
    thin = Sprite(np.ones((2, 20), np.float32), np.zeros((2, 20, 3), np.float32))
    assert place(thin, (50, 50), 100) is None  # narrower than 3 pixels


def test_an_empty_mask_has_no_box() -> None:
    assert box_of_mask(np.zeros((4, 5), bool)) is None


@pytest.mark.parametrize(("kind", "module"), [("steel", steel), ("field", field)])
def test_boxes_are_those_of_the_masks_that_were_painted(
    kind: str, module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[np.ndarray] = []
    paint_over = module.paint_over  # type: ignore[attr-defined]

    def watched(image: np.ndarray, placement: Placement, light: np.ndarray | None = None) -> None:
        mask = np.zeros(image.shape[:2], bool)
        mask[placement.rows, placement.columns] = placement.opacity > SEEN
        masks.append(mask)
        before = image.copy()
        paint_over(image, placement, light)
        assert not (image != before).any(axis=2)[~mask].any()  # nothing is painted beside the mask

    monkeypatch.setattr(module, "paint_over", watched)
    for index in range(1, 9):
        masks.clear()
        picture = demo_picture(kind, "train", index, size=160)
        assert [tuple(box) for box in picture.boxes] == [box_of_mask(mask) for mask in masks]


def test_a_steel_defect_changes_the_picture_in_its_box_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [demo_picture("steel", "train", index) for index in range(1, 9)]
    monkeypatch.setattr(steel, "paint_over", lambda image, placement, light=None: None)
    for index, picture in enumerate(pictures, start=1):
        bare = demo_picture("steel", "train", index)
        changed = (picture.image != bare.image).any(axis=2)
        covered = np.zeros_like(changed)
        for x1, y1, x2, y2 in picture.boxes.astype(int):
            assert changed[y1:y2, x1:x2].any()
            covered[max(y1 - 4, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 4] = True  # the lens blurs by a few pixels
        assert not changed[~covered].any()


def _steel_sprites(rng: np.random.Generator) -> list[Sprite]:
    sheet = steel._bare_sheet(rng, 256)
    return [draw(rng, sheet) for draw in steel._DRAW]


def _plant_sprites(rng: np.random.Generator) -> list[Sprite]:
    sun = plants.Sun(1.0, 0.5)
    return [plants.draw_crop(rng, width, sun).sprite for width in (20, 60, 110)] + [
        habit(rng, width, sun).sprite
        for width in (14, 40, 70)
        for habit in (plants._grass, plants._toothed, plants._branching)
    ]


@pytest.mark.parametrize("draw", [_steel_sprites, _plant_sprites])
def test_no_sprite_is_cut_by_its_own_edge(draw: Callable[[np.random.Generator], list[Sprite]]) -> None:
    for seed in range(12):
        for sprite in draw(np.random.default_rng(seed)):
            edge = np.ones(sprite.opacity.shape, bool)
            edge[1:-1, 1:-1] = False
            assert sprite.opacity[edge].max() <= SEEN
            assert sprite.opacity.max() > 0.3
            assert np.isfinite(sprite.paint).all()


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32), size=st.integers(64, 150))
@settings(max_examples=25, deadline=None)
def test_every_picture_is_well_formed(kind: str, seed: int, size: int) -> None:
    picture = DEMOS[kind].draw(np.random.default_rng(seed), size)
    assert picture.image.dtype == np.uint8
    assert picture.image.shape == (size, size, 3)
    assert picture.boxes.shape == (len(picture.class_ids), 4)
    assert picture.boxes.dtype == np.float64
    assert (picture.boxes >= 0).all()
    assert (picture.boxes <= size).all()
    assert (picture.boxes[:, 2:] - picture.boxes[:, :2] >= LEAST_SIDE).all()
    assert set(picture.class_ids) <= set(range(len(DEMOS[kind].names)))


def test_steel_has_every_class_some_empty_pictures_and_at_most_five_defects() -> None:
    pictures = [demo_picture("steel", "train", index, size=64) for index in range(1, 101)]
    counts = [len(picture.class_ids) for picture in pictures]
    assert 4 <= counts.count(0) <= 25
    assert max(counts) <= 5
    assert set(np.concatenate([picture.class_ids for picture in pictures])) == {0, 1, 2, 3}


def test_steel_defects_have_the_promised_sizes() -> None:
    lengths: dict[int, list[float]] = {class_id: [] for class_id in range(4)}
    for seed in range(25):
        rng = np.random.default_rng(seed)
        sheet = steel._bare_sheet(rng, 64)  # half the size that the lengths are given for: puts the scale to the test
        for class_id, draw in enumerate(steel._DRAW):
            x1, y1, x2, y2 = box_of_mask(draw(rng, sheet).opacity > SEEN) or (0, 0, 0, 0)
            extent = math.hypot(x2 - x1, y2 - y1) if class_id == 0 else max(x2 - x1, y2 - y1)
            lengths[class_id].append(2 * extent)
    for class_id, (least, most) in enumerate([(30, 92), (9, 26), (18, 58), (34, 106)]):
        assert least <= min(lengths[class_id])
        assert max(lengths[class_id]) <= most


def test_field_has_both_classes_and_some_bare_soil() -> None:
    pictures = [demo_picture("field", "train", index, size=64) for index in range(1, 61)]
    assert 1 <= sum(len(picture.class_ids) == 0 for picture in pictures) <= 14
    assert set(np.concatenate([picture.class_ids for picture in pictures])) == {0, 1}


def test_a_plant_almost_hidden_by_others_is_left_out() -> None:
    def plant(left: int, right: int) -> tuple[int, Placement, np.ndarray]:
        opacity = np.ones((20, right - left), np.float32)
        box = (float(left), 0.0, float(right), 20.0)
        inside = (slice(0, 20), slice(0, right - left))
        return 0, Placement(slice(0, 20), slice(left, right), inside, opacity, opacity[..., None], box), opacity

    hidden, half, top = plant(10, 20), plant(18, 38), plant(0, 28)
    assert field._not_hidden([hidden, half, top], 40) == [half, top]


# The set on disk


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(kind: str, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_demo(kind, tmp_path / name, seed=seed, size=96, counts=SMALL)
    a, b, c = (files_of(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert all(a[name] != c[name] for name in a if name.endswith(".jpg"))


def test_no_two_pictures_are_alike(tmp_path: Path) -> None:
    make_demo("steel", tmp_path, size=64, counts={"train": 6, "val": 6, "test": 6})
    pictures = [data for name, data in files_of(tmp_path).items() if name.endswith(".jpg")]
    assert len(set(pictures)) == 18


def test_a_picture_does_not_depend_on_how_many_others_are_made(tmp_path: Path) -> None:
    make_demo("steel", tmp_path / "few", size=64, counts={"val": 2})
    make_demo("steel", tmp_path / "many", size=64, counts={"train": 3, "val": 4})
    few, many = files_of(tmp_path / "few"), files_of(tmp_path / "many")
    for name in ("images/val/steel_00002.jpg", "labels/val/steel_00002.txt"):
        assert few[name] == many[name]


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_complete_and_say_what_was_drawn(kind: str, tmp_path: Path) -> None:
    path = make_demo(kind, tmp_path / "set", seed=3, size=120, counts={"train": 9, "test": 2})
    assert path == tmp_path / "set" / "data.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = dict(enumerate(DEMOS[kind].names))
    assert data == {"train": "images/train", "test": "images/test", "names": names}
    assert sorted(p.name for p in path.parent.iterdir()) == ["card.md", "data.yaml", "images", "labels"]
    for split, count in (("train", 9), ("test", 2)):
        for index in range(1, count + 1):
            drawn = demo_picture(kind, split, index, seed=3, size=120)
            _assert_stored(path.parent, f"{split}/{kind}_{index:05d}", drawn)
        assert len(list((path.parent / "images" / split).iterdir())) == count
        assert len(list((path.parent / "labels" / split).iterdir())) == count


def _assert_stored(folder: Path, name: str, drawn: Picture) -> None:
    image = cv2.imread(str(folder / "images" / f"{name}.jpg"))
    assert image is not None
    assert image.shape == drawn.image.shape
    assert np.abs(image.astype(float) - drawn.image).mean() < 12  # JPEG thins out the noise, and no more
    rows = [line.split() for line in (folder / "labels" / f"{name}.txt").read_text(encoding="utf-8").splitlines()]
    assert [int(row[0]) for row in rows] == drawn.class_ids.tolist()
    cx, cy, w, h = np.array([row[1:] for row in rows], float).reshape(-1, 4).T * len(image)
    read = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)
    assert np.allclose(read, drawn.boxes, atol=1e-5)


def test_the_card_says_synthetic_and_gives_the_command_and_the_counts(tmp_path: Path) -> None:
    make_demo("steel", tmp_path / "set", seed=7, size=64, counts=SMALL)
    card = (tmp_path / "set" / "card.md").read_text(encoding="utf-8")
    assert "**Synthetic.**" in card
    assert 'make_demo("steel", Path("DIR"), seed=7, size=64, counts={' in card
    assert "says nothing about your own pictures" in card
    labels = [p.read_text(encoding="utf-8") for p in sorted((tmp_path / "set/labels/train").iterdir())]
    first = [line.split()[0] for text in labels for line in text.splitlines()]
    per_class = " | ".join(str(first.count(str(class_id))) for class_id in range(4))
    assert f"| train | 3 | {labels.count('')} | {per_class} |" in card


@pytest.mark.parametrize(("seed", "command"), [(0, "tuneup demo steel DIR\n"), (7, "tuneup demo steel DIR --seed 7\n")])
def test_the_card_of_a_default_set_gives_the_command_line(
    seed: int, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(DEMOS["steel"], size=64, counts=SMALL)  # what is small here is the default
    monkeypatch.setitem(DEMOS, "steel", small)
    make_demo("steel", tmp_path / "set", seed=seed)
    assert f"    {command}" in (tmp_path / "set" / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("taken", ["images", "labels"])
def test_a_folder_with_pictures_is_refused_and_left_as_it_is(taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).mkdir()
    (tmp_path / taken / "mine.jpg").write_bytes(b"mine")
    (tmp_path / "data.yaml").write_text("mine", encoding="utf-8")
    before = files_of(tmp_path)
    with pytest.raises(UsageError, match="choose another folder, or remove"):
        make_demo("steel", tmp_path, size=64, counts=SMALL)
    assert files_of(tmp_path) == before


def test_a_card_and_a_data_yaml_alone_are_written_anew(tmp_path: Path) -> None:
    for name in ("card.md", "data.yaml", "notes.txt"):
        (tmp_path / name).write_text("old", encoding="utf-8")
    make_demo("steel", tmp_path, size=64, counts=SMALL)
    assert (tmp_path / "card.md").read_text(encoding="utf-8") != "old"
    assert (tmp_path / "data.yaml").read_text(encoding="utf-8") != "old"
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError("disk full")])
def test_a_set_that_was_broken_off_leaves_nothing_behind(
    fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.yaml").write_text("old", encoding="utf-8")
    threads = cv2.getNumThreads()
    write_split = demo._write_split

    def broken(kind: str, root: Path, split: str, *rest: int) -> object:
        if split == "val":
            raise fault
        return write_split(kind, root, split, *rest)

    monkeypatch.setattr(demo, "_write_split", broken)
    with pytest.raises(UsageError if isinstance(fault, OSError) else KeyboardInterrupt):
        make_demo("steel", tmp_path, size=64, counts=SMALL)
    assert files_of(tmp_path) == {"data.yaml": b"old"}
    assert [p.name for p in tmp_path.iterdir()] == ["data.yaml"]
    assert cv2.getNumThreads() == threads


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file"):
        make_demo("steel", tmp_path / "set", size=64, counts=SMALL)
    assert (tmp_path / "set").read_text(encoding="utf-8") == "mine"


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="steel, field"):
        make_demo("wood", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"size": 10}, "64 to 2048 pixels, not 10"),
        ({"counts": {"training": 4}}, "no split 'training'"),
        ({"counts": {"train": 0}}, "1 picture or more, not 0"),
        ({"counts": {}}, "at least one split"),
    ],
)
def test_impossible_numbers_are_refused(wrong: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        make_demo("steel", tmp_path / "set", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "set").exists()


def test_pictures_are_numbered_from_one() -> None:
    with pytest.raises(UsageError, match="numbered from 1"):
        demo_picture("steel", "train", 0)
