"""Pairs of detections and boxes: all that overlap enough, and no others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from coco_oracle import CocoSet, arrays, random_set
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import candidates
from pipeline.evaluation.candidates import Candidates, Groups, consecutive, find_candidates


def pairs_of(found: Candidates) -> dict[tuple[int, int], float]:
    """Return the overlap by (place, box)."""
    places = found.place[found.owner].tolist()
    return dict(zip(zip(places, found.box.tolist(), strict=True), found.iou.tolist(), strict=True))


def by_class(given_set: CocoSet) -> np.ndarray:
    return np.argsort(given_set.found_class, kind="stable")


def plain_pairs(given_set: CocoSet, order: np.ndarray, least: float) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield every pair by looking at all of them, one by one."""
    for place, row in enumerate(order):
        x, y, w, h = given_set.found[row]
        for number, (bx, by, bw, bh) in enumerate(given_set.box):
            if given_set.found_image[row] != given_set.box_image[number]:
                continue
            if given_set.found_class[row] != given_set.box_class[number]:
                continue
            wide, high = min(x + w, bx + bw) - max(x, bx), min(y + h, by + bh) - max(y, by)
            if wide <= 0 or high <= 0:
                continue
            whole = w * h if given_set.crowd[number] else w * h + bw * bh - wide * high
            if wide * high / whole >= least:
                yield (place, number), wide * high / whole


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), least=st.sampled_from([1e-6, 0.1, 0.5, 0.75, 1.0]))
def test_they_are_those_of_a_look_at_every_pair(seed: int, least: float) -> None:
    given_set = random_set(seed)
    order = by_class(given_set)
    found = find_candidates(*arrays(given_set), order, least)
    assert pairs_of(found) == dict(plain_pairs(given_set, order, least))
    assert len(found.owner) == len(pairs_of(found))  # none twice
    assert found.place.tolist() == sorted(set(found.place[found.owner].tolist()))


@pytest.mark.parametrize("at_once", [1, 7, 50])
def test_the_size_of_a_piece_changes_nothing(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        given_set = random_set(seed)
        whole = find_candidates(*arrays(given_set), by_class(given_set), 0.3)
        with monkeypatch.context() as patch:
            patch.setattr(candidates, "_PAIRS_AT_ONCE", at_once)
            pieces = find_candidates(*arrays(given_set), by_class(given_set), 0.3)
        for name in ("place", "owner", "box", "iou"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


def test_nothing_pairs_with_nothing() -> None:
    for truth, found in (([], []), ([(0, 0, (1, 1, 5, 5))], []), ([], [(0, 0, 0.5, (1, 1, 5, 5))])):
        one = CocoSet.of(truth, found)
        assert pairs_of(find_candidates(*arrays(one), np.arange(len(found)), 0.1)) == {}


@pytest.mark.parametrize("images", [3, 200, 300, 70_000])
def test_turns_count_the_detections_of_the_same_picture_and_class(images: int) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.choice([0, 1, images - 1], 60)
    one = CocoSet.of(
        [], [(int(i), int(k), 0.5, (1, 1, 5, 5)) for i, k in zip(pictures, rng.integers(0, 3, 60), strict=True)]
    )
    one = CocoSet(**{**vars(one), "images": images, "classes": 3})
    order = by_class(one)
    turns = Groups.of(*arrays(one), order).turns()
    seen: dict[tuple[int, int], int] = {}
    for place, row in enumerate(order):
        key = (int(one.found_image[row]), int(one.found_class[row]))
        assert turns[place] == seen.get(key, 0)
        seen[key] = turns[place] + 1


@given(st.lists(st.tuples(st.integers(-5, 100), st.integers(0, 6)), max_size=12))
def test_consecutive_numbers(rows: list[tuple[int, int]]) -> None:
    first, length = (np.array([row[i] for row in rows], np.int64) for i in (0, 1))
    assert consecutive(first, length).tolist() == [f + n for f, many in rows for n in range(many)]
