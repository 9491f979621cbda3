"""How a picture lies in the network's input, and the way back into its own pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.letterbox import PADDING, Letterbox

SIDES = st.integers(1, 5000)
INPUTS = st.tuples(st.sampled_from([32, 64]), st.integers(1, 20)).map(lambda pair: (pair[0] * pair[1], pair[0]))


@settings(deadline=None, max_examples=150)
@given(height=SIDES, width=SIDES, size=INPUTS)
def test_the_input_is_a_multiple_of_the_stride_and_no_larger_than_asked(
    height: int, width: int, size: tuple[int, int]
) -> None:
    imgsz, stride = size
    box = Letterbox.fit(height, width, imgsz, stride)
    assert all(side % stride == 0 and 0 < side <= imgsz for side in box.shape)
    assert max(box.shape) == max(box.inner) == imgsz
    # Around the picture there is less than one stride, and as much on one side as on the other.
    for outer, inner, before in zip(box.shape, box.inner, (box.top, box.left), strict=True):
        after = outer - inner - before
        assert 0 <= before <= after <= before + 1
        assert outer - inner < stride


@settings(deadline=None, max_examples=150)
@given(height=SIDES, width=SIDES, size=INPUTS, data=st.data())
def test_a_box_comes_back_within_half_a_scaled_pixel(
    height: int, width: int, size: tuple[int, int], data: st.DataObject
) -> None:
    x = sorted(data.draw(st.tuples(st.floats(0, width), st.floats(0, width))))
    y = sorted(data.draw(st.tuples(st.floats(0, height), st.floats(0, height))))
    box = Letterbox.fit(height, width, *size)
    # Where the corner lies in the input by the plain ratio, which the rounding of the inner size changes a little.
    original = np.array([[x[0], y[0], x[1], y[1]]])
    placed = original * box.ratio + np.array([box.left, box.top] * 2)
    half = 0.5 / box.ratio
    thin = np.array([width, height] * 2) * box.ratio < 0.5  # a side that becomes less than one pixel is given one
    found = box.to_original(placed, height, width)
    assert (np.abs(found - original)[0][~thin] <= half + 1e-9 * max(height, width)).all()


@settings(deadline=None)
@given(height=SIDES, width=SIDES, size=INPUTS)
def test_the_inner_rectangle_is_the_whole_picture_and_padding_is_clipped(
    height: int, width: int, size: tuple[int, int]
) -> None:
    box = Letterbox.fit(height, width, *size)
    inner = [box.left, box.top, box.left + box.inner[1], box.top + box.inner[0]]
    rows = np.array([inner, [-50.0, -50.0, box.shape[1] + 50.0, box.shape[0] + 50.0]])
    assert box.to_original(rows, height, width) == pytest.approx(np.array([[0, 0, width, height]] * 2))


@pytest.mark.parametrize(
    ("height", "width", "inner", "shape"),
    [
        (480, 640, (480, 640), (480, 640)),
        (640, 640, (640, 640), (640, 640)),
        (1000, 2000, (320, 640), (320, 640)),
        (427, 640, (427, 640), (448, 640)),
        (30, 40, (480, 640), (480, 640)),  # small ones are made larger
        (1, 5000, (1, 640), (32, 640)),
        (5000, 1, (640, 1), (640, 32)),
        (1, 1, (640, 640), (640, 640)),
    ],
)
def test_known_sizes(height: int, width: int, inner: tuple[int, int], shape: tuple[int, int]) -> None:
    box = Letterbox.fit(height, width, 640, 32)
    assert (box.inner, box.shape) == (inner, shape)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 300), width=st.integers(1, 300), size=INPUTS)
def test_the_picture_is_laid_in_grey(height: int, width: int, size: tuple[int, int]) -> None:
    box = Letterbox.fit(height, width, *size)
    canvas = box.place(np.full((height, width, 3), (10, 20, 30), np.uint8))
    assert canvas.shape == (*box.shape, 3)
    assert canvas.dtype == np.uint8
    inside = np.zeros(box.shape, bool)
    inside[box.top : box.top + box.inner[0], box.left : box.left + box.inner[1]] = True
    assert (canvas[inside] == (10, 20, 30)).all()
    assert (canvas[~inside] == PADDING).all()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (200, 300), (1000, 50), (37, 41), (5, 900)])
def test_a_drawn_box_is_found_where_it_was_drawn(height: int, width: int) -> None:
    x1, y1, x2, y2 = width // 5, height // 5, width * 3 // 5, height * 4 // 5
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y1:y2, x1:x2] = 255
    box = Letterbox.fit(height, width, 320, 32)
    rows, columns = np.nonzero(box.place(picture)[..., 0] > 150)
    found = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float64)
    assert np.abs(box.to_original(found, height, width) - [[x1, y1, x2, y2]]).max() <= max(1.5 / box.ratio, 1.5)


def test_a_picture_of_the_right_size_is_not_resampled() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    assert (Letterbox.fit(64, 96, 96, 32).place(picture) == picture).all()
