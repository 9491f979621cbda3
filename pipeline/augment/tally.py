"""Adds up what the drawn pictures of one entry show: boxes, contrast, noise, brightness."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .contrast import Contrast, contrast_of, contrast_ratio, detail_ratio, noise_ratio
from .entry_measure import EntryMeasure
from .stage import Drawn

_BOXES = 12  # boxes of one picture whose contrast is taken: a picture of wheat has a hundred, all of a kind
_SMALL = 2.0  # grey levels: an object that stands out by less cannot lose anything
_DARK, _BRIGHT = 2, 253  # grey levels taken for black and white: JPEG's rounding leaves 0 and 255 uncertain
_BLACK_PICTURE = 10  # grey levels: Ultralytics' division by 255 of an already divided picture leaves 4 to 10 [0..255]


@dataclass(frozen=True)
class Plain:
    """A picture as the stage delivers it when it does nothing, and what its boxes look like."""

    drawn: Drawn
    grey: npt.NDArray[np.uint8]
    contrasts: dict[int, Contrast]  # row of the box -> contrast
    own: Counter[str]


def plain_picture(drawn: Drawn, names: Sequence[str]) -> Plain:
    """Return what there is to compare with, from a draw of the stage that does nothing."""
    grey = to_grey(drawn.picture)
    rows = drawn.rows[:_BOXES]
    found = {int(row): contrast_of(grey, box) for row, box in zip(rows, drawn.boxes, strict=False)}
    contrasts = {row: value for row, value in found.items() if value is not None and value.contrast >= _SMALL}
    return Plain(drawn, grey, contrasts, Counter(names[c] for c in drawn.class_ids))


class Tally:
    """Gathers what the drawn pictures of one entry show."""

    def __init__(self, names: Sequence[str], plain: dict[int, Plain]) -> None:
        self.names, self.plain = names, plain
        self.own: Counter[str] = Counter()
        self.yielded: Counter[str] = Counter()
        self.counts: dict[int, tuple[Counter[str], Counter[str]]] = {}  # picture -> own, yielded
        self.pasted: Counter[str] = Counter()
        self.inflations: list[float] = []
        self.contrasts: dict[str, list[tuple[float, float, float]]] = {}  # ratio, noise after, noise before
        self.details: dict[str, list[float]] = {}
        self.short_before: list[float] = []
        self.short_after: list[float] = []
        self.pictures: list[tuple[bool, float, float, bool, float]] = []

    def add(self, index: int, drawn: Drawn) -> None:
        """Take in one picture."""
        plain = self.plain[index]
        grey = to_grey(drawn.picture)
        yielded = Counter(self.names[c] for c in drawn.class_ids[drawn.rows >= 0])
        self.own += plain.own
        self.yielded += yielded
        own_before, yielded_before = self.counts.get(index, (Counter(), Counter()))
        self.counts[index] = own_before + plain.own, yielded_before + yielded
        self.pasted += Counter(self.names[c] for c in drawn.class_ids[drawn.rows < 0])
        self.inflations += inflations(drawn)
        self.short_before += _short_sides(plain.drawn)
        self.short_after += _short_sides(drawn)
        for row, class_id, box in zip(drawn.rows, drawn.class_ids, drawn.boxes, strict=True):
            before = plain.contrasts.get(int(row))
            after = contrast_of(grey, box) if before is not None else None
            if before is not None and after is not None:
                facts = contrast_ratio(before, after), noise_ratio(after), noise_ratio(before)
                self.contrasts.setdefault(self.names[class_id], []).append(facts)
                detail = detail_ratio(before, after)
                if detail is not None:
                    self.details.setdefault(self.names[class_id], []).append(detail)
        self.pictures.append(_picture_facts(plain, drawn, grey))

    def result(self, entry: str, probability: float, **rest: Any) -> EntryMeasure:
        """Sum up."""
        facts = np.array(self.pictures, dtype=float)
        medians = {name: np.median(rows, axis=0).tolist() for name, rows in sorted(self.contrasts.items())}
        return EntryMeasure(
            entry=entry,
            probability=probability,
            pictures=len(facts),
            drawn_pictures=len(self.counts),
            changed=float(facts[:, 0].mean()),
            yielded=dict(self.yielded),
            own=dict(self.own),
            survival_error={name: ratio_error(list(self.counts.values()), name) for name in self.own},
            pasted=dict(self.pasted),
            inflation=statistics.median(self.inflations) if self.inflations else None,
            contrast={name: (middle[0], len(self.contrasts[name])) for name, middle in medians.items()},
            detail={name: (statistics.median(rows), len(rows)) for name, rows in sorted(self.details.items())},
            noise={name: (middle[1], middle[2]) for name, middle in medians.items()},
            short_before=tuple(sorted(self.short_before)),
            short_after=tuple(sorted(self.short_after)),
            mean_shift=float(facts[:, 1].mean()),
            mean_change=float(np.abs(facts[:, 1]).mean()),
            deviation_ratio=float(np.median(facts[:, 2])),
            black=float(facts[:, 3].mean()),
            clipped=float(facts[:, 4].mean()),
            **rest,
        )


def ratio_error(counts: Sequence[tuple[Counter[str], Counter[str]]], name: str) -> float:
    """Return the standard error of the share of a class's boxes that come out, from own and yielded of each picture.

    That of a ratio of two sums over clusters (Cochran, Sampling Techniques, 1977, equation 2.46, without the correction
    for a finite population): the clusters are pictures.
    """
    pairs = np.array([(own[name], yielded[name]) for own, yielded in counts], dtype=float)
    total = pairs[:, 0].sum()
    if len(pairs) < 2 or total == 0:
        return 0.0
    residuals = pairs[:, 1] - pairs[:, 1].sum() / total * pairs[:, 0]
    return float(np.sqrt(len(pairs) / (len(pairs) - 1) * (residuals**2).sum()) / total)


def _picture_facts(plain: Plain, drawn: Drawn, grey: npt.NDArray[np.uint8]) -> tuple[bool, float, float, bool, float]:
    """Return changed, shift of the mean, ratio of deviations, black, clipped pixels gained."""
    before = plain.grey
    changed = not np.array_equal(plain.drawn.picture, drawn.picture)
    ends = [float(((picture <= _DARK) | (picture >= _BRIGHT)).mean()) for picture in (before, grey)]
    black = _is_black(plain, drawn, grey)
    ratio = (float(grey.std()) + 1) / (float(before.std()) + 1)
    return changed, float(grey.mean()) - float(before.mean()), ratio, black, ends[1] - ends[0]


def _is_black(plain: Plain, drawn: Drawn, grey: npt.NDArray[np.uint8]) -> bool:
    """Whether a picture is all but black and was not.

    On a dark field what lies between the objects is black by itself: there a picture counts only if its objects are
    black as well. A crop or a quarter of a mosaic that holds none says nothing.
    """
    if np.percentile(grey, 99) > _BLACK_PICTURE or np.percentile(plain.grey, 99) <= _BLACK_PICTURE:
        return False
    if np.median(plain.grey) > _BLACK_PICTURE:
        return True
    corners = drawn.boxes[drawn.rows >= 0].astype(int)
    parts = [grey[y0 : y1 + 1, x0 : x1 + 1] for x0, y0, x1, y1 in corners]
    return bool(parts) and all(np.percentile(part, 90) <= _BLACK_PICTURE for part in parts if part.size)


def inflations(drawn: Drawn) -> list[float]:
    """Return box area / area of the turned label, for the boxes that lie wholly inside the picture."""
    size = np.prod(drawn.boxes[:, 2:] - drawn.boxes[:, :2], axis=1)
    x, y = drawn.quads[..., 0], drawn.quads[..., 1]
    # The shoelace formula.
    area = np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)) / 2
    use = drawn.whole & (area > 1) & (drawn.rows >= 0)
    return [float(ratio) for ratio in size[use] / area[use]]


def _short_sides(drawn: Drawn) -> list[float]:
    own = drawn.boxes[drawn.rows >= 0]
    return [float(side) for side in (own[:, 2:] - own[:, :2]).min(axis=1)] if len(own) else []


def to_grey(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the brightness of an RGB picture."""
    grey: npt.NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return grey


def is_grey(picture: npt.NDArray[np.uint8]) -> bool:
    return bool((picture == picture[..., :1]).all())
