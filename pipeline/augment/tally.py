"""Adds up what the drawn pictures of one entry show: boxes, contrast, noise, brightness."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .contrast import Contrast, contrast_of, contrast_ratio, detail_ratio, noise_ratio
from .entry_measure import EntryMeasure
from .stage import Drawn
from .visibility import MADE_OUT, Looks, certain, seen

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
    places: dict[int, int]  # row of the box -> its place in `looks`, where one could say that it is hidden
    looks: Looks
    own: Counter[str]


def plain_picture(drawn: Drawn, names: Sequence[str]) -> Plain:
    """Return what there is to compare with, from a draw of the stage that does nothing."""
    grey = to_grey(drawn.picture)
    rows = drawn.rows[:_BOXES]
    found = {int(row): contrast_of(grey, box) for row, box in zip(rows, drawn.boxes, strict=False)}
    contrasts = {row: value for row, value in found.items() if value is not None and value.contrast >= _SMALL}
    known = [place for place, row in enumerate(rows) if int(row) in contrasts]
    looks, sure = certain(grey, drawn.boxes[known])
    places = {int(rows[at]): place for place, at in enumerate(known) if sure[place]}
    return Plain(drawn, grey, contrasts, places, looks, Counter(names[c] for c in drawn.class_ids))


class Tally:
    """Gathers what the drawn pictures of one entry show."""

    def __init__(self, names: Sequence[str], plain: dict[int, Plain]) -> None:
        self.names, self.plain = names, plain
        self.own: Counter[str] = Counter()
        self.yielded: Counter[str] = Counter()
        self.counts: dict[int, tuple[Counter[str], Counter[str]]] = {}  # picture -> own, yielded
        self.sights: dict[int, tuple[Counter[str], Counter[str]]] = {}  # picture -> looked at, made out
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
        _count(self.counts, index, plain.own, yielded)
        self.pasted += Counter(self.names[c] for c in drawn.class_ids[drawn.rows < 0])
        self.inflations += inflations(drawn)
        self.short_before += _short_sides(plain.drawn)
        self.short_after += _short_sides(drawn)
        self._add_contrasts(plain, drawn, grey, self._looked(index, plain, drawn, grey))
        self.pictures.append(_picture_facts(plain, drawn, grey))

    def _looked(self, index: int, plain: Plain, drawn: Drawn, grey: npt.NDArray[np.uint8]) -> dict[int, float]:
        """Look which objects can be made out; returns the gain of those that can, by place in `drawn`."""
        known = [at for at, row in enumerate(drawn.rows) if int(row) in plain.places and drawn.whole[at]]
        before = plain.looks.of([plain.places[int(drawn.rows[at])] for at in known])
        sights = seen(before, grey, drawn.quads[known])
        names = [self.names[drawn.class_ids[at]] for at in known]
        out = Counter(name for name, share in zip(names, sights.share, strict=True) if share >= MADE_OUT)
        _count(self.sights, index, Counter(names), out)
        return {at: float(sights.gain[i]) for i, at in enumerate(known) if sights.share[i] >= MADE_OUT}

    def _add_contrasts(
        self, plain: Plain, drawn: Drawn, grey: npt.NDArray[np.uint8], gains: Mapping[int, float]
    ) -> None:
        for at, (row, class_id, box) in enumerate(zip(drawn.rows, drawn.class_ids, drawn.boxes, strict=True)):
            before = plain.contrasts.get(int(row))
            after = contrast_of(grey, box) if before is not None else None
            if before is not None and after is not None:
                # Edges of holes and black corners are contrast too, but none of the object's.
                ratio = min(contrast_ratio(before, after), max(1.0, gains.get(at, 1.0)))
                facts = ratio, noise_ratio(after), noise_ratio(before)
                self.contrasts.setdefault(self.names[class_id], []).append(facts)
                detail = detail_ratio(before, after)
                if detail is not None:
                    self.details.setdefault(self.names[class_id], []).append(detail)

    def result(self, entry: str, probability: float, **rest: Any) -> EntryMeasure:
        """Sum up."""
        facts = np.array(self.pictures, dtype=float)
        sights = list(self.sights.values())
        looked_at, made_out = (sum((pair[side] for pair in sights), Counter[str]()) for side in (0, 1))
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
            looked_at=dict(looked_at),
            made_out={name: made_out[name] for name in looked_at},
            made_out_error={name: ratio_error(sights, name) for name in looked_at},
            hidden_error=ratio_error([_together(*pair) for pair in sights], ""),
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


def _count(
    counts: dict[int, tuple[Counter[str], Counter[str]]], index: int, total: Counter[str], kept: Counter[str]
) -> None:
    """Add to the two counts of a picture."""
    before = counts.get(index, (Counter(), Counter()))
    counts[index] = before[0] + total, before[1] + kept


def _together(total: Counter[str], kept: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """Return the two counts of a picture over all classes."""
    return Counter({"": total.total()}), Counter({"": kept.total()})


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
    if not _all_but_black(grey) or _all_but_black(plain.grey):
        return False
    if np.median(plain.grey) > _BLACK_PICTURE:
        return True
    corners = drawn.boxes[drawn.rows >= 0].astype(int)
    parts = [grey[y0 : y1 + 1, x0 : x1 + 1] for x0, y0, x1, y1 in corners]
    return bool(parts) and all(np.percentile(part, 90) <= _BLACK_PICTURE for part in parts if part.size)


def _all_but_black(grey: npt.NDArray[np.uint8]) -> bool:
    return bool(np.count_nonzero(grey > _BLACK_PICTURE) <= 0.01 * grey.size)


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
