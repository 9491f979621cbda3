"""What one card of the report holds: a figure or a small table with its words, and how columns become numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from markupsafe import Markup

Values = npt.NDArray[np.float64]
Event = Mapping[str, Any]
Probe = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A value of a table as it is read; `odd` sets it apart."""

    text: str
    odd: bool = False


@dataclass(frozen=True)
class Table:
    """A small table: its headings, and rows of a name and as many cells as there are headings after the first."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Curve:
    """A figure with its words; `facts` are the numbers worth reading off it, `table` stands in place of a drawing."""

    title: str
    caption: str
    svg: Markup = field(default_factory=Markup)
    facts: tuple[tuple[str, str], ...] = ()
    table: Table | None = None


def column(table: pl.DataFrame, name: str) -> Values:
    """Return a column as floats; what is null is not-a-number, and so is a column that is not there."""
    if name not in table.columns:
        return np.full(table.height, np.nan)
    values: Values = table[name].cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    return values


def number(value: Any) -> float:
    """Return a recorded number as a float; null, which stands for what is not finite, is not-a-number."""
    return float(value) if isinstance(value, int | float) else float("nan")


def probes_of(probes: Sequence[Probe], kind: str) -> list[Probe]:
    """Return the probes of one kind in their order."""
    return [probe for probe in probes if probe.get("kind") == kind]


def is_wide(values: Values) -> bool:
    """Whether a linear scale would press most of the line flat."""
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(len(positive) and positive.max() > 20 * np.median(positive))


class LayerNames:
    """How the layers of a run are called on the page, in the order of the network.

    Args:
        context: the run's `history/context.json`; without it the names of the model's own modules stand.
    """

    def __init__(self, context: Mapping[str, Any]) -> None:
        rows = [row for row in context.get("layers") or () if row.get("layer")]
        self.order = [str(row["layer"]) for row in rows]
        self._labels = {str(row["layer"]): str(row.get("label") or row["layer"]) for row in rows}
        self._places = {str(row["layer"]): str(row.get("place") or "") for row in rows}

    def label(self, layer: str) -> str:
        """Return the label of a layer: `model.2` is "2 C3k2"."""
        return self._labels.get(layer, layer.removeprefix("model."))

    def part(self, module: str) -> str:
        """Return the label of a module inside a layer: `model.2.m.0.cv1.bn` is "2 C3k2 m.0.cv1"."""
        inside = module.removesuffix(".bn")
        pieces = inside.split(".")
        for length in (3, 2):
            layer = ".".join(pieces[:length])
            if layer in self._labels:
                return " ".join((self._labels[layer], ".".join(pieces[length:]))).strip()
        return inside.removeprefix("model.")

    def place(self, layer: str) -> str:
        """Return backbone, neck or head, for the head's second branch "one-to-one"; "" where nothing is known."""
        place = self._places.get(layer, "")
        return "one-to-one" if place == "head" and ".one2one" in layer else place
