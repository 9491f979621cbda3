"""Strange boxes: each kind planted once, and sets like those that people have, which must stay silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import box, dataset_of

from pipeline.data.checks import take_snapshot
from pipeline.data.checks.boxes import at_border, covers_picture, same_size, unusual_shape, unusual_size

PICTURE = {"width": 640, "height": 480}


def _drawn(count: int = 60, classes: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """Return boxes as a person draws them: sizes within a third, anywhere in the picture, cut at its border."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        side = 40 * np.exp(rng.normal(0, 0.3, 2))
        x, y = rng.random(2) * (640, 480)
        corners = np.clip((x - side[0] / 2, y - side[1] / 2, x + side[0] / 2, y + side[1] / 2), 0, (640, 480, 640, 480))
        rows.append(box(1, n % classes, *corners, source=f"a.txt:{n + 1}"))
    return rows


def _snapshot(rows: list[dict[str, Any]]) -> Any:
    return take_snapshot(dataset_of(rows, pictures={1: PICTURE}), 640)


def test_drawn_boxes_are_not_strange() -> None:
    for seed in range(5):
        snapshot = _snapshot(_drawn(600, seed=seed))
        for check in (covers_picture, unusual_size, unusual_shape, at_border, same_size):
            assert check(snapshot) == [], check.__name__


def test_a_box_over_the_whole_picture_is_a_mistake_where_others_are_small() -> None:
    (finding,) = covers_picture(_snapshot([*_drawn(), box(1, 1, 2, 0, 640, 480, source="a.txt:99")]))
    assert (finding.severity, finding.evidence["rows"]) == ("warning", ["a.txt:99"])
    assert "scratch" in finding.message


@pytest.mark.parametrize(("side", "severity"), [(300, "warning"), (280, "warning"), (360, "info")])
def test_whether_a_class_is_usually_small_decides(side: int, severity: str) -> None:
    pictures = {n: {"width": 640, "height": 480} for n in range(1, 9)}
    rows = [box(n, 0, 0, 0, side, 240) for n in range(1, 8)]  # 22 to 28 % of the picture
    (finding,) = covers_picture(take_snapshot(dataset_of([*rows, box(8, 0, 0, 0, 640, 480)], pictures=pictures), 640))
    assert finding.severity == severity


def test_a_large_box_is_no_mistake() -> None:
    assert covers_picture(_snapshot([*_drawn(), box(1, 1, 2, 0, 600, 480)])) == []  # 93 % of the width


def test_boxes_over_the_whole_picture_are_a_note_where_all_are() -> None:
    pictures = {n: PICTURE for n in range(1, 9)}
    rows = [box(n, 0, 0, 0, 640, 480) for n in range(1, 9)]
    (finding,) = covers_picture(take_snapshot(dataset_of(rows, pictures=pictures), 640))
    assert finding.severity == "info"


def test_a_box_far_larger_or_smaller_than_its_class_is_named() -> None:
    odd = [box(1, 0, 50, 50, 450, 400, source="a.txt:90"), box(1, 0, 300, 300, 303, 303, source="a.txt:91")]
    (finding,) = unusual_size(_snapshot([*_drawn(), *odd]))
    assert (finding.severity, finding.evidence["count"]) == ("info", 2)
    assert set(finding.evidence["rows"]) == {"a.txt:90", "a.txt:91"}
    assert (finding.evidence["smaller"], finding.evidence["larger"]) == (1, 1)


def _equal(*more: tuple[float, float]) -> Any:
    """Return a class of boxes of 40 x 40 pixels, a little more or less, and further ones of these sizes."""
    sides = [(40 + n % 3, 40 + n % 2) for n in range(60)] + list(more)
    return _snapshot([box(1, 0, 20 + n, 30 + n, 20 + n + w, 30 + n + h) for n, (w, h) in enumerate(sides)])


def test_nothing_within_a_factor_of_3_in_size_or_5_in_shape_is_far() -> None:
    assert unusual_size(_equal((115, 115), (14.5, 14.5))) == []
    assert unusual_size(_equal((130, 130), (12.5, 12.5)))[0].evidence["count"] == 2
    assert unusual_shape(_equal((90, 19), (19, 90))) == []
    assert unusual_shape(_equal((100, 19), (19, 100)))[0].evidence["count"] == 2


def test_a_few_boxes_have_no_usual_size() -> None:
    assert unusual_size(_snapshot([*_drawn(20, classes=1), box(1, 0, 50, 50, 450, 400)])) == []


def test_a_small_piece_at_the_border_is_not_unusual() -> None:
    assert unusual_size(_snapshot([*_drawn(), box(1, 0, 636, 300, 640, 303)])) == []


def test_a_far_longer_box_than_usual_is_named_but_not_in_a_class_of_long_ones() -> None:
    long = box(1, 0, 100, 200, 500, 215, source="a.txt:90")
    (finding,) = unusual_shape(_snapshot([*_drawn(), long]))
    assert finding.evidence["rows"] == ["a.txt:90"]
    scratches = [box(1, 1, 50, 5 * n, 450, 5 * n + 12 + n % 5) for n in range(60)]
    assert unusual_shape(_snapshot([*_drawn(60, classes=1), *scratches])) == []


@pytest.mark.parametrize(("left", "found"), [(0.0, True), (1.0, True), (1.5, False)])
def test_touching_is_within_a_pixel(left: float, found: bool) -> None:
    rows = [box(1, 0, left, 20 + 4 * n, left + 30, 50 + 4 * n) for n in range(60)]
    assert [finding.id for finding in at_border(_snapshot(rows))] == (["labels.at_one_border"] if found else [])


def test_boxes_clipped_to_a_smaller_picture_hug_two_sides() -> None:
    rng = np.random.default_rng(1)
    corner = rng.random((300, 2)) * (960, 720)  # labels of a picture one and a half times as large
    xyxy = np.clip(np.concatenate([corner, corner + 40], axis=1), 0, (640, 480, 640, 480))
    sound = xyxy[(xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])]
    sound[:, 2:] = np.where(rng.random((len(sound), 1)) < 0.3, (640, 480), sound[:, 2:])
    (finding,) = at_border(_snapshot([box(1, 0, *row) for row in sound]))
    assert "right or bottom" in finding.message
    assert finding.severity == "warning"


def test_boxes_that_end_at_all_sides_alike_are_not_suspicious() -> None:
    assert at_border(_snapshot(_drawn(2000))) == []
    assert at_border(_snapshot([box(1, 0, 600, 10 * n, 640, 10 * n + 9) for n in range(5)])) == []  # too few to tell


@pytest.mark.parametrize(("others", "found"), [(10, True), (15, True), (20, False), (60, False)])
def test_one_border_needs_four_times_as_many(others: int, found: bool) -> None:
    begin = [box(1, 0, 0, 5 * n, 30, 5 * n + 30) for n in range(65)]
    end = [box(1, 0, 600, 20 + 5 * n, 640, 50 + 5 * n) for n in range(others)]
    assert bool(at_border(_snapshot([*begin, *end]))) == found


@pytest.mark.parametrize(("same", "found"), [(29, False), (31, True), (45, True)])
def test_half_of_a_class_must_have_one_size(same: int, found: bool) -> None:
    rows = [box(1, 0, 50, 2 * n + 4, 82, 2 * n + 36) for n in range(same)]
    rows += [box(1, 0, 50, 2 * n + 4, 80 + n / 5, 2 * n + 36.5) for n in range(60 - same)]
    assert bool(same_size(_snapshot(rows))) == found


def test_boxes_set_by_a_click_are_found() -> None:
    rng = np.random.default_rng(2)
    clicks = [box(1, 1, x, y, x + 32, y + 32) for x, y in (rng.random((60, 2)) * 440 + 4).tolist()]
    (finding,) = same_size(_snapshot([*_drawn(60, classes=1), *clicks]))
    assert finding.evidence["classes"] == {"scratch": 60}
    assert "scratch 60 of 60 with 32 x 32" in finding.message
