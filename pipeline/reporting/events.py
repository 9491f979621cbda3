"""Marked events of a run on the axes of its figures: warm-up, mosaic off, resumed, steps that were not taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .curve import Event
from .panels import INK, height_of, width_of

_EVENT_LABELS = {
    "resume": "resumed",
    "warmup_end": "warm-up ends",
    "close_mosaic": "mosaic off",
    "interrupted": "interrupted",
    "early_stop": "stopped early",
    "failed": "failed",
    "skipped": "not taken",
    "out_of_memory": "out of memory",
}
_MOST_OF_A_KIND = 30  # lines of one kind of event: a run that skips hundreds of steps would be drawn black


def mark_events(panels: Sequence[Any], events: Sequence[Event], key: str) -> None:
    """Draw each event as a thin line with its label above; a label that would cover the one before is left out."""
    low, high = panels[0].get_xlim()
    width = width_of(panels[0])
    free = -np.inf
    shown = [(at, label) for at, label in _places(events, key) if low <= at <= high]
    x = [value for at, _ in shown for value in (at, at, np.nan)]
    for panel in panels if shown else ():  # all lines of a panel are one path
        how = {"color": INK, "alpha": 0.45, "linewidth": 0.7, "dashes": (3, 3), "scalex": False, "scaley": False}
        panel.plot(x, [0, 1, np.nan] * len(shown), transform=panel.get_xaxis_transform(), **how)
    for at, label in shown:
        half = 2.9 * len(label)
        middle = min(max((at - low) / (high - low) * width, half), width - half)
        if middle - half > free:
            place = {"ha": "center", "va": "bottom", "fontsize": 10, "alpha": 0.75}
            panels[0].text(middle / width, 1 + 3 / height_of(panels[0]), label, transform=panels[0].transAxes, **place)
            free = middle + half + 4


def _places(events: Sequence[Event], key: str) -> list[tuple[float, str]]:
    """Return where the events lie on the axis, and their labels; single steps are not marked among epochs."""
    kinds: dict[str, list[float]] = {}
    for event in events:
        kind = str(event.get("event"))
        if event.get(key) is not None and kind in _EVENT_LABELS and (kind, key) != ("skipped", "epoch"):
            kinds.setdefault(kind, []).append(float(event[key]) + (1 if key == "epoch" else 0))
    found = []
    for kind, places in kinds.items():
        rows = np.unique(np.linspace(0, len(places) - 1, min(len(places), _MOST_OF_A_KIND)).astype(int))
        found += [(places[row], _EVENT_LABELS[kind]) for row in rows]
    return sorted(found)
