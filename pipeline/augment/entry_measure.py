"""The record of what one entry of a policy, or the whole stage, does to the pictures of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

WHOLE = "the whole stage"


@dataclass(frozen=True)
class EntryMeasure:
    """What one entry does when it acts, or what the whole stage does as it is trained.

    Args:
        entry: its name, or `the whole stage`.
        probability: with which it acts in training; of the whole stage: that anything acts.
        pictures: how many were drawn; of the whole stage some twice.
        drawn_pictures: different ones among them.
        failure: what broke, in words; the rest is then empty.
        changed: share of pictures in which any pixel changed.
        yielded: class name -> boxes in the pictures that came out.
        own: class name -> boxes of the pictures that were asked for; a mosaic yields those of others as well.
        survival_error: class name -> standard error of yielded / own, over pictures: boxes of one picture are lost
            together, and what a mosaic yields depends on which partners it draws.
        looked_at: class name -> boxes that came out and whose object was looked for: those that lie wholly in the
            picture, and of the first dozen of a picture.
        made_out: class name -> how many of these objects can be made out.
        made_out_error: class name -> standard error of made_out / looked_at, over pictures.
        hidden_error: of the share that cannot be made out, over pictures and all classes.
        pasted: class name -> pasted objects, not counted in `yielded`.
        inflation: median area of the box / area of the quadrilateral into which the labelled box was turned.
        contrast: class name -> (median contrast after / before, boxes); above 1 only as far as it is the object's own.
        detail: class name -> (median detail after / before, boxes that have any).
        noise: class name -> (median noise / contrast after, median before).
        short_before: px, short sides of the boxes of the pictures that were asked for, sorted.
        short_after: px, of the boxes that came out.
        mean_shift: grey levels, mean over pictures of the change of their mean.
        mean_change: the same without its sign: darker and brighter pictures do not cancel.
        deviation_ratio: median over pictures of the deviation after / before.
        black: share of pictures that are all but black.
        clipped: share of pixels at the ends of the range, after minus before.
        milliseconds: per picture, reading not included; for an entry, what it adds to a stage that does nothing.
        grey: whether all pictures were grey before.
        moves: whether it changes places or mixes pictures, so that padding and other pictures come into view.
        repeatable: whether one seed gives one picture.
        restored: what a stage restored from its record did otherwise, in words; empty if nothing.
    """

    entry: str
    probability: float
    pictures: int = 0
    drawn_pictures: int = 0
    failure: str = ""
    changed: float = 0.0
    yielded: dict[str, int] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    survival_error: dict[str, float] = field(default_factory=dict)
    looked_at: dict[str, int] = field(default_factory=dict)
    made_out: dict[str, int] = field(default_factory=dict)
    made_out_error: dict[str, float] = field(default_factory=dict)
    hidden_error: float = 0.0
    pasted: dict[str, int] = field(default_factory=dict)
    inflation: float | None = None
    contrast: dict[str, tuple[float, int]] = field(default_factory=dict)
    detail: dict[str, tuple[float, int]] = field(default_factory=dict)
    noise: dict[str, tuple[float, float]] = field(default_factory=dict)
    short_before: tuple[float, ...] = ()
    short_after: tuple[float, ...] = ()
    mean_shift: float = 0.0
    mean_change: float = 0.0
    deviation_ratio: float = 1.0
    black: float = 0.0
    clipped: float = 0.0
    milliseconds: float = 0.0
    grey: bool = False
    moves: bool = False
    repeatable: bool = True
    restored: str = ""

    @property
    def survival(self) -> float | None:
        """Share of all boxes that come out; above 1 where pictures are mixed."""
        own = sum(self.own.values())
        return sum(self.yielded.values()) / own if own else None

    @property
    def hidden(self) -> float | None:
        """Share of the objects looked at that cannot be made out any more, though their boxes come out."""
        total = sum(self.looked_at.values())
        return 1 - sum(self.made_out.values()) / total if total else None

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON, without the side of every box."""
        record = asdict(self)
        for name in ("short_before", "short_after"):
            record[name] = _quantiles(record[name])
        return {**record, "survival": self.survival, "hidden": self.hidden}


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {f"p{share}": round(float(np.percentile(values, share)), 2) for share in (0, 10, 50)}
