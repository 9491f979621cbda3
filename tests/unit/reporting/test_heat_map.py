from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from fabricated_run import context_of, norms_of
from PIL import Image

from pipeline.reporting.heat_map import MOST_COLUMNS, cells, heat_map
from pipeline.tensor_norms import NO_GRADIENT, TensorNorms

CONTEXT = context_of(400, 12)
LAYERS = [row["layer"] for row in CONTEXT["layers"]]


def words(svg: str) -> list[str]:
    return [text.strip() for text in ET.fromstring(svg).itertext() if text.strip()]


def pictures(svg: str) -> list[np.ndarray]:
    """Return the pixels of the embedded pictures, in the order in which they stand in the SVG."""
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', svg)
    return [np.asarray(Image.open(BytesIO(base64.b64decode(part)))) for part in found]


def one_layer(values: list[float]) -> TensorNorms:
    return TensorNorms(("a.weight",), ("a",), np.arange(len(values)), np.array(values, np.float32)[:, None])


def test_layers_come_in_the_order_of_the_network_and_the_branches_of_the_head_apart() -> None:
    shuffled = norms_of(50, LAYERS[::-1])
    shown = words(heat_map(shuffled, CONTEXT))
    labels = [row["label"] for row in CONTEXT["layers"]]
    assert [text for text in shown if text in labels] == labels
    assert [text for text in shown if text in {"backbone", "neck", "head", "one-to-one"}] == [
        "backbone",
        "neck",
        "head",
        "one-to-one",
    ]
    rows = [len(picture) for picture in pictures(heat_map(shuffled, CONTEXT))][:4]
    assert rows == [11, 6, 2, 2]


def test_without_a_context_the_layers_have_their_own_names() -> None:
    shown = words(heat_map(norms_of(5, ["model.0", "model.1"]), {}))
    assert "0" in shown
    assert "1" in shown


@pytest.mark.parametrize("steps", [1, 2, 149, 150, 151, 299, 301, 900, 9001])
def test_there_are_at_most_150_columns_and_every_step_counts(steps: int) -> None:
    norms = norms_of(steps, LAYERS[:3], 2)
    values = norms.values.copy()
    values[-1, 0] = np.nan
    found = cells(replace(norms, values=values))
    columns = found.values.shape[1]
    assert min(steps, MOST_COLUMNS // 2) <= columns <= MOST_COLUMNS
    assert columns * found.width >= steps
    assert (columns - 1) * found.width < steps
    assert found.odd.sum() == 1
    assert found.odd[0, -1]


def test_a_cell_is_the_median_of_its_steps() -> None:
    noise = np.random.default_rng(0)
    values = noise.lognormal(0, 1, 901)
    found = cells(one_layer(values.tolist()))
    expected = [np.median(values[start : start + 7].astype(np.float32)) for start in range(0, 901, 7)]
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-6)


def test_one_step_that_is_not_finite_marks_its_cell_and_leaves_the_median() -> None:
    values = [1.0] * 600
    values[302] = float("inf")
    found = cells(one_layer(values))
    assert np.flatnonzero(found.odd[0]).tolist() == [302 // 4]
    assert found.values[0, 302 // 4] == 1.0


def test_a_missing_gradient_is_neither_zero_nor_not_finite() -> None:
    found = cells(one_layer([NO_GRADIENT, 0.0, 2.0, float("nan")]))
    np.testing.assert_array_equal(found.values[0], [np.nan, 0.0, 2.0, np.nan])
    assert found.odd[0].tolist() == [False, False, False, True]


def test_a_layer_with_one_gradient_is_not_missing() -> None:
    norms = TensorNorms(("a.w", "a.b"), ("a", "a"), np.arange(2), np.array([[3, -1], [-1, -1]], np.float32))
    np.testing.assert_array_equal(cells(norms).values[0], [3.0, np.nan])


def test_a_frozen_layer_keeps_its_row() -> None:
    found = cells(norms_of(10, LAYERS[2:]), LAYERS)
    assert found.layers == tuple(LAYERS)
    assert np.isnan(found.values[:2]).all()
    assert np.isfinite(found.values[2:]).all()
    assert "no gradient" in words(heat_map(norms_of(10, LAYERS[2:]), CONTEXT))


def test_odd_cells_have_colours_of_their_own_and_stand_in_the_legend() -> None:
    svg = heat_map(one_layer([1.0, 0.1, float("nan"), 0.0, NO_GRADIENT]), {})
    low, high, odd, zero, gone = (tuple(pixel) for pixel in pictures(svg)[0][0][[1, 0, 2, 3, 4]])
    assert len({low, high, odd, zero, gone}) == 5
    assert gone[3] == 0
    assert {low[3], high[3], odd[3], zero[3]} == {255}
    assert {"not finite", "exactly zero", "no gradient"} <= set(words(svg))
    assert not {"not finite", "exactly zero", "no gradient"} & set(words(heat_map(one_layer([1.0, 0.1]), {})))


@pytest.mark.parametrize("value", [0.0, 1.0, NO_GRADIENT, float("nan")])
def test_a_run_without_any_difference_is_drawn_all_the_same(value: float) -> None:
    ET.fromstring(heat_map(one_layer([value] * 3), {}))


def test_nothing_recorded_draws_nothing() -> None:
    assert heat_map(TensorNorms((), (), np.zeros(0, np.int64), np.zeros((0, 0), np.float32)), CONTEXT) == ""
    none = TensorNorms(("a.w",), ("a",), np.zeros(0, np.int64), np.zeros((0, 1), np.float32))
    assert heat_map(none, CONTEXT) == ""


def test_a_long_run_of_many_layers_stays_small() -> None:
    layers = [f"model.{i}" for i in range(120)]
    assert len(heat_map(norms_of(9000, layers, 1), {})) < 120_000


def test_names_of_layers_are_escaped_and_cut() -> None:
    evil = "</text><script>alert(1)</script>" + "x" * 50
    layers = [{"layer": "model.0", "place": "<b>", "kind": evil, "label": evil}]
    svg = heat_map(norms_of(5, ["model.0"]), {"layers": layers})
    assert "<script" not in svg
    assert "<b>" not in svg
    assert len(max(words(svg), key=len)) < 40


def test_the_picture_is_not_blurred_and_carries_no_address() -> None:
    svg = heat_map(norms_of(30, LAYERS), CONTEXT)
    assert "pixelated" in svg
    assert "http" not in svg
