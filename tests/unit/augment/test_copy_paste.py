"""Objects pasted into pictures."""

from __future__ import annotations

import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from helpers import box
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pasting import RED, background, drawn_set, extent, one_rare, settings

from pipeline.augment.blending import Sized, blended, rescaled
from pipeline.augment.copy_paste import Paster, Plan
from pipeline.augment.object_bank import Cut
from pipeline.augment.places import GAP, Ground
from pipeline.data.dataset import Dataset
from pipeline.data.images import read_picture
from pipeline.errors import ConfigError
from pipeline.policy import CopyPaste

NOTHING = np.zeros((0, 4))
Blend = Literal["feather", "seamless"]
both = pytest.mark.parametrize("blend", ["feather", "seamless"])


def _paster(dataset: Dataset, chosen: CopyPaste) -> Paster:
    paster = Paster.of(dataset, chosen, 96)
    assert paster is not None
    return paster


def _always(paster: Paster) -> Paster:
    """Return one that tries three objects in each picture."""
    plans = tuple(replace(plan, per_picture=3.0) for plan in paster.plans)
    return Paster(plans, paster.blend, paster.bank)


def _pictures(dataset: Dataset) -> dict[int, tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    boxes = dataset.boxes.partition_by("image_id", as_dict=True)
    return {
        number: (
            read_picture(dataset.picture_path(path)),
            boxes[(number,)].select("x1", "y1", "x2", "y2").to_numpy() if (number,) in boxes else NOTHING,
        )
        for number, path in dataset.images.select("image_id", "path").iter_rows()
    }


def test_a_quota_is_reached_within_chance(tmp_path: Path) -> None:
    dataset = one_rare(tmp_path)
    paster = _paster(dataset, settings())
    (plan,) = paster.plans
    assert (plan.kind, plan.cuts, plan.wanted, plan.reached) == ("scratch", 1, 0.3, pytest.approx(0.3))
    assert plan.share == pytest.approx(1 / 13)
    draw, passes, counts = random.Random(3), 60, []
    for _ in range(passes):
        counts += [len(paster.paste(*pair, draw).boxes) for pair in _pictures(dataset).values()]
    scratches = passes + sum(counts)
    share = scratches / (scratches + 12 * passes)
    # Each picture gets one object or none: the number of pasted ones is binomial.
    chance = sum(counts) / len(counts)
    assert set(counts) == {0, 1}
    deviation = np.sqrt(len(counts) * chance * (1 - chance)) / (scratches + 12 * passes)
    assert abs(share - 0.3) < 3 * deviation < 0.05


@both
def test_pasted_objects_touch_nothing_and_change_nothing_else(tmp_path: Path, blend: Blend) -> None:
    dataset = one_rare(tmp_path)
    paster, draw = _always(_paster(dataset, settings(blend=blend))), random.Random(1)
    pasted_in_all = 0
    for picture, boxes in _pictures(dataset).values():
        before, boxes_before = picture.copy(), boxes.copy()
        pasted = paster.paste(picture, boxes, draw)
        np.testing.assert_array_equal(picture, before)
        np.testing.assert_array_equal(boxes, boxes_before)
        untouched = np.ones(picture.shape[:2], bool)
        everything = np.concatenate([boxes, pasted.boxes])
        for x1, y1, x2, y2 in pasted.boxes:
            margin = [0.15 * 1.25 * (x2 - x1) + 2, 0.15 * 1.25 * (y2 - y1) + 2]
            untouched[
                max(int(y1 - margin[1]), 0) : int(y2 + margin[1]) + 1,
                max(int(x1 - margin[0]), 0) : int(x2 + margin[0]) + 1,
            ] = False
        np.testing.assert_array_equal(pasted.picture[untouched], picture[untouched])
        for one in range(len(boxes), len(everything)):
            for other in range(one):
                (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = everything[one], everything[other]
                assert max(ax1 - bx2, bx1 - ax2, ay1 - by2, by1 - ay2) >= GAP
        pasted_in_all += len(pasted.boxes)
        assert pasted.boxes.shape == (len(pasted.class_ids), 4)
        assert set(pasted.class_ids.tolist()) <= {1}
    assert pasted_in_all > 12


@both
@pytest.mark.parametrize("scale", [[1.0, 1.0], [0.6, 0.6], [1.3, 1.3]], ids=str)
def test_the_box_is_where_the_object_is(tmp_path: Path, blend: Blend, scale: list[float]) -> None:
    dataset = one_rare(tmp_path)
    paster = _always(_paster(dataset, settings(blend=blend, scale=scale)))
    seen = 0
    for seed in range(12):
        pasted = paster.paste(background(40 + seed), NOTHING, random.Random(seed))
        for x1, y1, x2, y2 in pasted.boxes:
            part = pasted.picture[int(y1) - 2 : int(y2) + 3, int(x1) - 2 : int(x2) + 3]
            left, top, right, bottom = extent(part)
            found = np.add((left, top, right, bottom), (int(x1) - 2, int(y1) - 2) * 2)
            assert np.abs(found - (x1, y1, x2, y2)).max() <= (0 if scale == [1.0, 1.0] else 1)
            seen += 1
    assert seen > 5


def test_only_a_ground_like_that_of_the_origin_is_taken(tmp_path: Path) -> None:
    white = {number: background(number, grey=220) for number in (1, 2, 3)}
    dataset = drawn_set(tmp_path, [box(1, 1, 50, 30, 68, 40), box(2, 0, 10, 10, 30, 30)], white)
    paster = _always(_paster(dataset, settings(quotas={"scratch": 0.9})))
    black, half = background(9, grey=20), background(8, grey=220)
    half[:, :48] = black[:, :48]
    for seed in range(10):
        nothing = paster.paste(black, NOTHING, random.Random(seed))
        assert len(nothing.boxes) == 0
        assert nothing.picture is black
        pasted = paster.paste(half, NOTHING, random.Random(seed))
        assert len(pasted.boxes) > 0
        assert (pasted.boxes[:, 0] > 48).all()


def test_a_blurred_ground_is_refused_for_a_sharp_object() -> None:
    coarse = np.random.default_rng(5).normal(120, 25, (80, 96, 3)).clip(0, 255).astype(np.uint8)
    sharp = Sized(coarse[10:30, 10:40].copy(), np.array([4.0, 4.0, 26.0, 16.0]), 1)
    smooth = np.full((80, 96, 3), 120, np.uint8)
    assert Ground(coarse).find(sharp, NOTHING, random.Random(1)) is not None
    assert Ground(smooth).find(sharp, NOTHING, random.Random(1)) is None


def test_brushing_must_run_the_same_way() -> None:
    rows = np.random.default_rng(5).normal(120, 10, (96, 1, 1))
    across = np.broadcast_to(rows, (96, 96, 3)).astype(np.uint8)
    cut = Sized(across[10:40, 10:40].copy(), np.array([6.0, 6.0, 24.0, 24.0]), 1)
    assert Ground(across).find(cut, NOTHING, random.Random(1)) is not None
    assert Ground(np.ascontiguousarray(across.transpose(1, 0, 2))).find(cut, NOTHING, random.Random(1)) is None


def test_an_object_on_an_edge_is_put_on_an_edge() -> None:
    board = np.full((128, 128, 3), 30, np.uint8)
    board[70:] = 230  # 2 of 100 places fit
    cut = Sized(board[60:80, 20:50].copy(), np.array([4.0, 4.0, 26.0, 16.0]), 1)
    for seed in range(5):
        place = Ground(board).find(cut, NOTHING, random.Random(seed))
        assert place is not None
        assert place[1] == 60
    assert Ground(np.full_like(board, 30)).find(cut, NOTHING, random.Random(0)) is None


@both
def test_brightness_is_brought_to_that_of_the_place(blend: Blend) -> None:
    ground = np.full((40, 40, 3), 140, np.uint8)
    object_ = np.full((20, 20, 3), 125, np.uint8)
    object_[5:15, 5:15] = 60
    result = blended(Sized(object_, np.array([5.0, 5.0, 15.0, 15.0]), 0), ground[:20, :20], blend)
    assert np.abs(result[:4].astype(int) - 140).max() <= 2
    assert np.abs(result[7:13, 7:13].astype(int) - 75).max() <= 2


def test_the_same_numbers_give_the_same_pastes_also_after_pickling(tmp_path: Path) -> None:
    paster = _always(_paster(one_rare(tmp_path), settings()))
    again: Paster = pickle.loads(pickle.dumps(paster))
    state = random.getstate()
    one, other = (p.paste(background(5), NOTHING, random.Random(7)) for p in (paster, again))
    np.testing.assert_array_equal(one.picture, other.picture)
    np.testing.assert_array_equal(one.boxes, other.boxes)
    assert random.getstate() == state
    third = paster.paste(background(5), NOTHING, random.Random(8))
    assert not np.array_equal(one.boxes, third.boxes)


def test_planning_is_repeatable(tmp_path: Path) -> None:
    dataset = one_rare(tmp_path)
    assert _paster(dataset, settings()).plans == _paster(dataset, settings()).plans


def test_a_full_picture_limits_the_share(tmp_path: Path) -> None:
    dataset = one_rare(tmp_path)
    (plan,) = _paster(dataset, settings(quotas={"scratch": 0.9}, per_picture=2)).plans
    assert plan.per_picture == 2
    assert plan.reached < 0.75 < plan.wanted


def test_places_that_are_missing_limit_the_share(tmp_path: Path) -> None:
    grounds = {number: background(number, grey=200 if number == 1 else 40) for number in range(1, 13)}
    dataset = drawn_set(tmp_path, [box(n, int(n == 1), 30, 30, 50, 44) for n in grounds], grounds)
    (plan,) = _paster(dataset, settings()).plans
    assert plan.placed == pytest.approx(1 / 12)
    assert plan.reached < 0.2


def test_nothing_is_pasted_where_every_share_is_reached(tmp_path: Path) -> None:
    dataset = one_rare(tmp_path)
    assert Paster.of(dataset, settings(quotas={"pit": 0.5}), 96) is None
    assert Paster.of(dataset, settings(quotas={}), 96) is None


def test_small_objects_reach_their_share_and_stay_small(tmp_path: Path) -> None:
    rows = [box(n, 0, 4, 4, 44, 44) for n in range(1, 9)]
    dataset = drawn_set(tmp_path, [*rows, box(1, 1, 60, 30, 88, 58)], 8)
    paster = _paster(dataset, settings(quotas={}, small=0.4, scale=[0.8, 2.0]))
    (plan,) = paster.plans
    assert (plan.kind, plan.share) == (None, pytest.approx(1 / 9))
    assert plan.reached == pytest.approx(0.4)
    sizes = [
        float((b[2] - b[0]) * (b[3] - b[1]))
        for seed in range(20)
        for b in _always(paster).paste(background(seed), NOTHING, random.Random(seed)).boxes
    ]
    assert len(sizes) > 10
    assert max(sizes) < 1024


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"quotas": {"scrach": 0.2}}, r"quotas\.scrach: there is no such class, did you mean scratch\?"),
        ({"quotas": {"pit": 0.6, "scratch": 0.5}}, r"the shares add up to 1\.1"),
        ({"quotas": {"pit": 0.5, "scratch": 0.2}, "small": 0.5}, r"copy_paste\.small: no box below 32 x 32 px"),
    ],
    ids=["unknown", "too large", "no small ones left"],
)
def test_quotas_that_cannot_be(tmp_path: Path, chosen: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Paster.of(one_rare(tmp_path), CopyPaste(**chosen), 96)


def test_a_class_without_a_usable_object_says_why(tmp_path: Path) -> None:
    rows = [
        box(1, 0, 20, 20, 40, 40),
        box(1, 1, 0, 50, 20, 60),
        box(1, 1, 30, 30, 60, 60),
        box(2, 1, 9, 9, 50, 50, crowd=True),
    ]
    with pytest.raises(ConfigError) as caught:
        Paster.of(drawn_set(tmp_path, rows), settings(), 96)
    (problem,) = caught.value.problems
    assert problem.startswith("augment.copy_paste.quotas.scratch: none of its 3 boxes can be cut out: ")
    for why in ("1 touch the border", "1 mark a crowd", "1 overlap other boxes"):
        assert why in problem
    assert "imgsz" not in problem


def test_a_class_without_a_box_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"quotas\.scratch: no box of this class"):
        Paster.of(drawn_set(tmp_path, [box(1, 0, 20, 20, 40, 40)]), settings(), 96)


def _cut(width: int, height: int, margins: tuple[int, int, int, int]) -> Cut:
    left, top, right, bottom = margins
    pixels = np.full((height + top + bottom, width + left + right, 3), 120, np.uint8)
    pixels[top : top + height, left : left + width] = RED
    return Cut(pixels, np.array([left, top, left + width, top + height], float), 1, (0.5, 2.0))


@given(
    side=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    object_=st.tuples(st.integers(3, 30), st.integers(3, 30)),
    margins=st.tuples(*[st.integers(2, 4)] * 4),
    factor=st.floats(0.3, 2.0),
    blend=st.sampled_from(["feather", "seamless"]),
    taken=st.lists(st.tuples(*[st.integers(-5, 45)] * 4), max_size=3),
)
def test_odd_sizes(
    side: tuple[int, int],
    object_: tuple[int, int],
    margins: tuple[int, int, int, int],
    factor: float,
    blend: Blend,
    taken: list[tuple[int, int, int, int]],
) -> None:
    picture = background(1, *side)
    boxes = np.sort(np.array(taken, float).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    sized = rescaled(_cut(*object_, margins), factor)
    place = Ground(picture).find(sized, boxes, random.Random(0))
    height, width = sized.pixels.shape[:2]
    if height > side[1] or width > side[0]:
        assert place is None
    if place is None:
        return
    left, top = place
    assert 0 <= left <= side[0] - width
    assert 0 <= top <= side[1] - height
    for x1, y1, x2, y2 in boxes:
        assert left >= x2 + GAP or left + width <= x1 - GAP or top >= y2 + GAP or top + height <= y1 - GAP
    result = blended(sized, picture[top : top + height, left : left + width], blend)
    assert result.shape == sized.pixels.shape


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_pictures_of_any_size_are_taken(width: int, height: int, seed: int) -> None:
    plan = Plan("scratch", cuts=1, share=0.0, wanted=0.5, reached=0.5, per_picture=3.0, placed=1.0)
    paster = Paster((plan,), "feather", ((_cut(4, 3, (2, 2, 2, 2)),),))
    whole = np.array([[0.0, 0.0, width, height]])
    picture = background(seed, width, height)
    assert len(paster.paste(picture, whole, random.Random(seed)).boxes) == 0
    pasted = paster.paste(picture, NOTHING, random.Random(seed))
    assert (pasted.boxes >= 0).all()
    assert (pasted.boxes[:, 2:] <= (width, height)).all()
    assert len(pasted.boxes) <= 3
