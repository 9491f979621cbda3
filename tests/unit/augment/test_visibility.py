"""How much of an object can be made out after it was covered, turned, blurred, inverted or drowned in noise."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.augment.visibility import MADE_OUT, Sight, certain, quads_of, seen

Grey = npt.NDArray[np.uint8]
SIDE = 160
BOX = np.array([[60.0, 60.0, 100.0, 100.0]])


def scene(*, flat: bool = False, radius: int = 20, step: float = 60.0, seed: int = 0) -> Grey:
    """Draw a disc with or without a cross on it, on a surface with a little noise."""
    grey = np.random.default_rng(seed).normal(90, 3, (SIDE, SIDE))
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    disc = np.hypot(x - 80, y - 80) < radius
    grey[disc] += step
    if not flat:
        grey[disc & (abs(x - 80) < 4)] -= 80
        grey[disc & (abs(y - 70) < 4)] -= 40
    return grey.clip(0, 255).astype(np.uint8)


def covered(grey: Grey, share: float, fill: int = 130) -> Grey:
    """Cover a share of the box from the left, and its surround there."""
    after = grey.copy()
    after[40:120, 40 : round(60 + 40 * share)] = fill
    return after


def look(before: Grey, after: Grey, quads: npt.NDArray[np.float64] | None = None) -> Sight:
    looks, sure = certain(before, BOX)
    assert sure.all()
    return seen(looks, after, quads_of(BOX) if quads is None else quads)


def share(before: Grey, after: Grey, quads: npt.NDArray[np.float64] | None = None) -> float:
    return float(look(before, after, quads).share[0])


def noisy(grey: Grey, sigma: float) -> Grey:
    noise = np.random.default_rng(1).normal(0, sigma, grey.shape)
    return np.asarray((grey + noise).clip(0, 255), dtype=np.uint8)


def jpeg(grey: Grey) -> Grey:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 0), dtype=np.uint8)


HARMLESS: dict[str, Callable[[Grey], Grey]] = {
    "same": lambda grey: grey,
    "inverted": lambda grey: 255 - grey,
    "dark": lambda grey: (grey * 0.3).astype(np.uint8),
    "fog": lambda grey: (grey * 0.15 + 200).astype(np.uint8),
    "noise": lambda grey: noisy(grey, 15),
    "blur": lambda grey: cv2.GaussianBlur(grey, (0, 0), 3).astype(np.uint8),
    "jpeg": jpeg,
    "mixed": lambda grey: ((grey.astype(int) + np.roll(scene(seed=5), 60, axis=1)) // 2).astype(np.uint8),
}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", HARMLESS)
def test_what_leaves_an_object_to_be_seen(name: str, flat: bool) -> None:
    before = scene(flat=flat)
    assert share(before, HARMLESS[name](before)) > 0.6


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("fill", [0, 130, 255])
def test_the_more_is_covered_the_less_is_seen(flat: bool, fill: int) -> None:
    before = scene(flat=flat)
    shares = [share(before, covered(before, part, fill)) for part in (0.0, 0.25, 0.5, 0.8, 1.5)]
    assert shares == sorted(shares, reverse=True)
    quarter, half, most, whole = shares[1:]
    assert quarter > 0.55
    # Half of the object visible is not hidden, four fifths covered are, whatever the hole is filled with.
    assert half >= 1.1 * MADE_OUT
    assert most <= 0.95 * MADE_OUT
    assert whole < 0.05


def test_what_is_left_below_two_grey_levels_is_gone() -> None:
    before = scene()
    assert share(before, np.full_like(before, 255)) == 0
    assert share(before, (before * 0.03 + 200).astype(np.uint8)) < MADE_OUT


def test_gain_is_the_objects_own() -> None:
    before = scene()
    assert look(before, before).gain[0] == pytest.approx(1, abs=0.01)
    assert look(before, (before * 0.5).astype(np.uint8)).gain[0] == pytest.approx(0.5, abs=0.02)
    stretched = ((before.astype(int) - 10) * 1.6).clip(0, 255).astype(np.uint8)
    assert look(before, stretched).gain[0] == pytest.approx(1.6, abs=0.02)
    assert look(before, covered(before, 0.6, 0)).gain[0] < 1


@pytest.mark.parametrize(("angle", "scale"), [(30, 1.0), (90, 1.0), (200, 0.5), (0, 0.4)])
def test_an_object_is_followed_where_it_went(angle: float, scale: float) -> None:
    before = scene()
    turn = cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), angle, scale)
    after = np.asarray(cv2.warpAffine(before, turn, (SIDE, SIDE), borderValue=114), dtype=np.uint8)
    corners = cv2.transform((quads_of(BOX) - 0.5).astype(np.float32), turn).astype(np.float64) + 0.5
    assert share(before, after, corners) > 0.8
    away = np.asarray(cv2.rectangle(after.copy(), (50, 50), (110, 110), 60, -1), dtype=np.uint8)
    assert share(before, away, corners) < 0.05


def test_another_picture_beside_the_box_hides_nothing() -> None:
    """A mosaic's seam along two sides of the box."""
    before = scene(flat=True)
    after = noisy(np.full_like(before, 170), 25)
    after[:100, :100] = before[:100, :100]
    assert share(before, after) > 0.5


def test_a_corner_that_is_a_pixel_off_hides_no_small_object() -> None:
    """Albumentations mirrors corners at width - 1 - x."""
    before = noisy(np.full((60, 60), 90, np.uint8), 2)
    before[30:33, 28:31] = 200
    box = np.array([[28.0, 30.0, 31.0, 33.0]])
    looks, sure = certain(before, box)
    assert sure.all()
    for step in ((1, 0), (-1, 1), (0, -1), (1, 1)):
        assert seen(looks, before, quads_of(box) + step).share[0] >= MADE_OUT
    assert seen(looks, noisy(np.full((60, 60), 90, np.uint8), 2), quads_of(box)).share[0] < 0.1


def test_nothing_is_said_of_an_object_that_any_camera_would_hide() -> None:
    assert not certain(scene(flat=True, step=3.0), BOX)[1].any()
    assert certain(scene(flat=True, step=20.0), BOX)[1].all()


def test_boxes_at_the_border_and_pictures_without_boxes() -> None:
    before = np.roll(scene(), (-60, -60), axis=(0, 1))
    box = np.array([[0.0, 0.0, 40.0, 40.0]])
    looks, sure = certain(before, box)
    assert sure.all()
    assert not looks.there.all()
    assert seen(looks, before, quads_of(box)).share[0] > 0.95
    none, sure = certain(before, box[:0])
    assert len(sure) == 0
    assert len(seen(none, before, quads_of(box[:0])).share) == 0
