"""The gradient of every layer at every step as one picture: a row a layer, a column some steps, colour the size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle
from matplotlib.transforms import IdentityTransform

from ..tensor_norms import TensorNorms
from .curve import Event, LayerNames, Values
from .events import mark_events
from .panels import INK, Margins, finish_x, name_panel, svg

MOST_COLUMNS = 150
_STEPS_AT_ONCE = 4096  # of the norms, so that a long run does not need its size in memory several times over
_MOST_LABELS, _LONGEST_LABEL = 44, 18
_ROW = (7.0, 13.0)  # the lowest and the highest row, in units of the figure
_GAP = 0.6  # rows between backbone, neck and head
_ODD, _ZERO = "#e0500a", "#8d96a0"  # not finite, exactly zero: no colour of viridis is orange or grey
_PALETTE = "viridis"  # even in lightness, and told apart by colour-blind eyes
_FOOT = 74.0  # the numbers of the axis, its name, and the legend

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """What is drawn.

    Args:
        layers: in the order of the network, `[l]`.
        first: the first step.
        last: the last step.
        width: steps in a column.
        values: median norm of the finite steps of a cell, `[l, c]`; nan where there is none.
        odd: cells with at least one step that was not finite, `[l, c]`.
    """

    layers: tuple[str, ...]
    first: int
    last: int
    width: int
    values: Values
    odd: Mask


def cells(norms: TensorNorms, order: Sequence[str] = ()) -> Cells:
    """Return at most `MOST_COLUMNS` columns of layers' norms.

    Args:
        norms: of the run, at least one step.
        order: the layers of the network; those without a norm (frozen ones) get a row without values.
    """
    layers = [*order, *(name for name in norms.layer_names if name not in order)]
    width = -(-len(norms.steps) // MOST_COLUMNS)
    rows = [layers.index(name) for name in norms.layer_names]
    block = _STEPS_AT_ONCE // width * width or width
    parts = [_reduced(norms, start, start + block, width) for start in range(0, len(norms.steps), block)]
    values = np.full((len(layers), sum(part.shape[1] for part, _ in parts)), np.nan)
    odd = np.zeros(values.shape, bool)
    values[rows] = np.concatenate([part for part, _ in parts], axis=1)
    odd[rows] = np.concatenate([part for _, part in parts], axis=1)
    return Cells(tuple(layers), int(norms.steps[0]), int(norms.steps[-1]), width, values, odd)


def _reduced(norms: TensorNorms, start: int, stop: int, width: int) -> tuple[Values, Mask]:
    """Return medians and what was not finite, `[l, c]` each, of some steps."""
    part = TensorNorms(norms.tensors, norms.layers, norms.steps[start:stop], norms.values[start:stop])
    by_layer = part.by_layer
    numbers = {name: index for index, name in enumerate(norms.layer_names)}
    member = np.zeros((len(norms.layers), len(numbers)), np.float32)
    member[np.arange(len(norms.layers)), [numbers[layer] for layer in norms.layers]] = 1
    present = (~(part.values < 0)).astype(np.float32) @ member > 0
    steps, layers = by_layer.shape
    columns = -(-steps // width)
    finite = np.full((columns * width, layers), np.nan)
    finite[:steps] = np.where(present, by_layer, np.nan)
    odd = np.zeros(finite.shape, bool)
    odd[:steps] = np.isnan(by_layer)
    shape = (columns, width, layers)
    return _median(finite.reshape(shape)).T, odd.reshape(shape).any(axis=1).T


def _median(values: Values) -> Values:
    """Return the median over the second axis, of what is a number; numpy's own is slow where there are gaps."""
    ordered = np.sort(values, axis=1)  # what is not a number comes last
    count = np.isfinite(ordered).sum(axis=1, keepdims=True)
    middle = (np.maximum(count - 1, 0) // 2, np.minimum(count // 2, values.shape[1] - 1))
    low, high = (np.take_along_axis(ordered, at, axis=1) for at in middle)
    found: Values = np.where(count > 0, (low + high) / 2, np.nan)[:, 0]
    return found


def heat_map(norms: TensorNorms, context: Mapping[str, Any], events: Sequence[Event] = ()) -> str:
    """Draw the gradient norms per image, layer by step, on a logarithmic scale of colours."""
    if not len(norms.steps) or not norms.layers:
        return ""
    names = LayerNames(context)
    found = cells(norms, names.order)
    positive = found.values[np.isfinite(found.values) & (found.values > 0)]
    low, high = np.log10(np.percentile(positive, [1, 99])) if len(positive) else (0.0, 0.0)
    scale = (low, max(high, low + 0.5))
    blocks = _blocks(found.layers, names)
    rows = blocks[-1][2] + len(blocks[-1][1])

    def draw(panels: list[Any]) -> None:
        axes = panels[0]
        for place, members, top in blocks:
            _draw_block(axes, found, members, top, scale)
            _name_place(axes, place, top + len(members) / 2)
        _mark_odd(axes, found, blocks)
        axes.set_xlim(found.first - 0.5, found.last + 0.5)
        axes.set_ylim(rows, 0)
        at = [top + i + 0.5 for _, members, top in blocks for i in range(len(members))]
        _label_rows(axes, at, [names.label(layer) for layer in found.layers])
        name_panel(axes, "gradient norm per image, log scale")
        mark_events(panels, events, "step")
        finish_x(panels, "optimiser step")
        _legend(axes, found, scale)

    height = float(np.clip(262 / rows, *_ROW) * rows)
    longest = max(len(_cut(names.label(layer))) for layer in found.layers)
    margins = Margins(left=14 + 5.6 * longest, right=72, foot=_FOOT)
    return svg("heat", "Gradient norm of every layer at every optimiser step", [height], draw, margins=margins)


Block = tuple[str, list[int], float]  # its place in the network, its layers, the row at which it begins


def _blocks(layers: Sequence[str], names: LayerNames) -> list[Block]:
    """Divide the layers into backbone, neck and head, and the head into its branches."""
    found: list[Block] = []
    for index, layer in enumerate(layers):
        place = names.place(layer)
        if found and found[-1][0] == place:
            found[-1][1].append(index)
        else:
            top = found[-1][2] + len(found[-1][1]) + _GAP if found else 0.0
            found.append((place, [index], top))
    return found


def _draw_block(axes: Any, found: Cells, members: list[int], top: float, scale: tuple[float, float]) -> None:
    values = found.values[members]
    with np.errstate(divide="ignore"):
        place = (np.log10(values) - scale[0]) / (scale[1] - scale[0])
    colours = matplotlib.colormaps[_PALETTE](np.nan_to_num(np.clip(place, 0, 1)), bytes=True)
    colours[np.isnan(values)] = 0  # the page shows through
    colours[values == 0] = _rgba(_ZERO)
    colours[found.odd[members]] = _rgba(_ODD)
    right = found.first + found.values.shape[1] * found.width - 0.5
    extent = (found.first - 0.5, right, top + len(members), top)
    axes.imshow(colours, extent=extent, aspect="auto", interpolation="none", origin="upper")
    frame = ([extent[0], found.last + 0.5, found.last + 0.5, extent[0], extent[0]], [top, top, *[extent[2]] * 2, top])
    axes.plot(*frame, color=INK, alpha=0.5, linewidth=0.6, clip_on=False)


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue, 255


def _mark_odd(axes: Any, found: Cells, blocks: Sequence[Block]) -> None:
    """Put a cross on the first layer of each column that was not finite: a narrow cell alone is overlooked."""
    rows = {member: top + i + 0.5 for _, members, top in blocks for i, member in enumerate(members)}
    columns = np.flatnonzero(found.odd.any(axis=0))
    x = np.minimum(found.first + (columns + 0.5) * found.width - 0.5, found.last)
    y = [rows[int(np.argmax(found.odd[:, column]))] for column in columns]
    axes.plot(x, y, "x", color=INK, markersize=5, markeredgewidth=1.2)


def _name_place(axes: Any, place: str, middle: float) -> None:
    """Write backbone, neck or head beside its rows."""
    axes.text(1.015, middle, place, transform=axes.get_yaxis_transform(), va="center", fontsize=10, alpha=0.75)


def _label_rows(axes: Any, at: Sequence[float], labels: Sequence[str]) -> None:
    every = -(-len(at) // _MOST_LABELS)
    axes.set_yticks([])  # ticks with labels take ten times as long as texts
    for y, label in list(zip(at, labels, strict=True))[::every]:
        place = {"ha": "right", "va": "center", "fontsize": 10}
        axes.text(-0.01, y, _cut(label), transform=axes.get_yaxis_transform(), **place)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _cut(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _legend(axes: Any, found: Cells, scale: tuple[float, float]) -> None:
    """Draw the scale of colours and the marks that occur below the map."""
    on_figure: dict[str, Any] = {"transform": IdentityTransform(), "clip_on": False}
    colours = matplotlib.colormaps[_PALETTE](np.linspace(0, 1, 64), bytes=True)[None]
    axes.imshow(colours, extent=(16, 146, 20, 29), aspect="auto", interpolation="none", **on_figure)
    ticks = np.arange(np.ceil(scale[0]), np.floor(scale[1]) + 1)
    ticks = ticks[:: -(-len(ticks) // 4)] if len(ticks) > 1 else np.array(scale)
    for tick in ticks:
        at = 16 + 130 * (tick - scale[0]) / (scale[1] - scale[0])
        axes.text(at, 17, f"{10.0**tick:.2g}", ha="center", va="top", fontsize=10, **on_figure)
    empty = np.isnan(found.values) & ~found.odd
    left = 170.0
    for words, colour, occurs in (
        ("not finite", _ODD, found.odd.any()),
        ("exactly zero", _ZERO, (found.values == 0).any()),
        ("no gradient", "none", empty.any()),
    ):
        if occurs:
            axes.add_patch(Rectangle((left, 20), 9, 9, facecolor=colour, edgecolor=INK, linewidth=0.6, **on_figure))
            axes.text(left + 14, 20.5, words, fontsize=10, **on_figure)
            left += 32 + 5.4 * len(words)
