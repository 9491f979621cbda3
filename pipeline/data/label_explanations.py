"""Boxes that mark nothing, and the mistakes that would explain it, each tried on the same pictures.

A set whose boxes are told from other places of their pictures is left alone, and costs nothing here. Of another one
some pictures are read again: as a reference with the boxes of pictures far away, which cannot belong to them, and with
the boxes as they would be without this or that mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .dataset import Dataset
from .images import read_picture
from .label_discriminant import Share, share_of, told_apart
from .label_features import cut, features
from .label_looks import WHOLE_SET, LabelLooks, centres_of, corners_of, free_place, middles_to_try

# From 20 pictures on; docs/benchmarks/label_looks.md has what is found then.
LEAST_PAIRS = 40
LEAST_PICTURES = 15
ONE_SIDED = 1.64  # standard errors: 95 %
# With its error less than this share of pairs told apart, and a set is looked at more closely: the four sets of
# docs/benchmarks/label_looks.md have 0.85 to 1.
SUSPICIOUS = 0.8
_PICTURES = 80  # that are read again, of each part
_BOXES = 4  # of each of them
_FAR = (0.25, 0.5, 0.75)  # of the list of pictures: how far away the boxes come from that serve as a reference
_FITS = 0.98  # of boxes that must be possible corners, before that is tried
# Correlation of boxes' sizes with their places, and boxes that do not touch the border, that make one think of corners:
# sets written so have 0.83 and more (all but a few of their boxes fit, of other sets' hardly one does).
_ALONG = 0.7
_LEAST_FREE = 12
_BORDER = 0.002  # of the picture's side: about a pixel

Numbers = NDArray[np.float64]
Boxes = list[
    Numbers
]  # corners [k, 4] in shares of the picture's sides, for each picture of a part, in the order of paths


@dataclass(frozen=True)
class PartLooks:
    """Whether the boxes of a part are told from other places of their pictures.

    Args:
        part: split, or `none`.
        told: of the whole sample.
        given: on the pictures that were read again; None where that was not needed.
        reference: with boxes of other pictures.
        tried: without the mistakes of that name.
    """

    part: str
    told: Share
    given: Share | None = None
    reference: Share | None = None
    tried: dict[str, Share] | None = None


@dataclass(frozen=True)
class LabelFacts:
    """What lies in the boxes.

    Args:
        looks: features of a sample of them.
        parts: of train, val, test or the whole set, as far as they have boxes.
    """

    looks: LabelLooks
    parts: tuple[PartLooks, ...]


def label_facts(dataset: Dataset, looks: LabelLooks) -> LabelFacts:
    """Tell boxes from other places, and where that cannot be done, try the mistakes that would explain it.

    Raises:
        DataError: a picture that was read a moment ago cannot be read any more.
    """
    if looks.boxes.is_empty():
        return LabelFacts(looks, ())
    paired = looks.boxes["elsewhere"].to_numpy()
    pictures = looks.boxes["image_id"].to_numpy().astype(np.int64)[paired]
    parts = looks.boxes["part"].to_numpy()[paired]
    right = told_apart(looks.inside[paired], looks.elsewhere, pictures)
    found = []
    for part in looks.boxes["part"].unique(maintain_order=True):
        told = share_of(right[parts == part], pictures[parts == part])
        found.append(_looked_into(dataset, part, told, corners_of(looks.boxes.filter(part=part))))
    return LabelFacts(looks, tuple(found))


def _looked_into(dataset: Dataset, name: str, told: Share, sample: Numbers) -> PartLooks:
    grown = _possible_corners(sample)
    doubtful = told.count >= LEAST_PAIRS and told.pictures >= LEAST_PICTURES
    if not grown and not (doubtful and told.value + ONE_SIDED * told.error < SUSPICIOUS):
        return PartLooks(name, told)
    part = _Part(dataset, name)
    far = [part.from_others(max(round(share * len(part.labelled)), 1), labelled=True) for share in _FAR]
    mistakes = part.taken_back(grown) if grown else part.misplaced()
    given, *others = part.shares([part.boxes, *far, *mistakes.values()])
    elsewhere, tried = others[: len(far)], others[len(far) :]
    error = math.sqrt(sum(share.error**2 for share in elsewhere)) / len(elsewhere)
    pairs = sum(share.count for share in elsewhere) // len(elsewhere)
    mean = sum(share.value for share in elsewhere) / len(elsewhere)
    reference = Share(mean, error, pairs, min(share.pictures for share in elsewhere))
    return PartLooks(name, told, given, reference, dict(zip(mistakes, tried, strict=True)))


class _Part:
    """The pictures of a part in the order of their paths, and their boxes."""

    def __init__(self, dataset: Dataset, name: str) -> None:
        self._dataset = dataset
        images = dataset.images.filter(pl.col("split").fill_null(WHOLE_SET) == name).sort("path")
        self._paths = images["path"].to_list()
        self._sides = images.select("width", "height").to_numpy().astype(np.float64)
        counted = dataset.boxes.filter(~pl.col("crowd"))
        table = counted.join(images.select("image_id", place=pl.int_range(pl.len())), on="image_id").sort("place")
        place = table["place"].to_numpy()
        shares = corners_of(table) / np.tile(self._sides[place], 2)
        starts = np.searchsorted(place, np.arange(images.height + 1))
        self.boxes: Boxes = np.split(shares, starts[1:-1])
        self.labelled = [number for number, boxes in enumerate(self.boxes) if len(boxes)]

    def changed(self, change: Callable[[Numbers], Numbers]) -> Boxes:
        """Return every picture's boxes changed."""
        return [change(boxes) for boxes in self.boxes]

    def misplaced(self) -> dict[str, Boxes]:
        """Return the boxes without each mistake that keeps their sizes."""
        return {
            "axes": self.changed(lambda box: box[:, [1, 0, 3, 2]]),
            "mirrored": self.changed(
                lambda box: np.stack([1 - box[:, 2], box[:, 1], 1 - box[:, 0], box[:, 3]], axis=1)
            ),
            "upside_down": self.changed(
                lambda box: np.stack([box[:, 0], 1 - box[:, 3], box[:, 2], 1 - box[:, 1]], axis=1)
            ),
            "next": self.from_others(1),
            "previous": self.from_others(-1),
        }

    def from_others(self, far: int, *, labelled: bool = False) -> Boxes:
        """Return the boxes of pictures further on in the list, of all pictures or of those with boxes."""
        places = self.labelled if labelled else list(range(len(self.boxes)))
        moved = dict(zip(places, [*places[far:], *places[:far]], strict=True))
        return [self.boxes[moved[place]] if place in moved else boxes for place, boxes in enumerate(self.boxes)]

    def taken_back(self, names: list[str]) -> dict[str, Boxes]:
        """Return boxes as they would be if their rows had been corners; those cut at the border cannot be."""
        return {name: [_taken_back(boxes, _CORNERS[name](boxes)) for boxes in self.boxes] for name in names}

    def shares(self, choices: list[Boxes]) -> list[Share]:
        """Return how well boxes are told from other places under several choices of boxes, on the same pictures."""
        number = min(_PICTURES, len(self.labelled))
        chosen = [self.labelled[place] for place in np.linspace(0, len(self.labelled) - 1, number).round().astype(int)]
        centres = [centres_of(np.concatenate(boxes), np.ones(2)) for boxes in choices]
        pairs: list[list[tuple[int, NDArray[np.uint8]]]] = [[] for _ in choices]
        random = np.random.default_rng(0)
        for place in chosen:
            picture = self._read(self._paths[place])
            for kept, boxes, middles in zip(pairs, choices, centres, strict=True):
                corners = boxes[place] * np.tile(self._sides[place], 2)
                for pair in _pairs(corners, self._sides[place], middles, random):
                    kept.append((place, cut(picture, pair)))
        return [_share(kept) for kept in pairs]

    def _read(self, path: str) -> NDArray[np.uint8]:
        return read_picture(self._dataset.picture_path(path), self._dataset.value_range)


def _pairs(corners: Numbers, sides: Numbers, centres: Numbers, random: np.random.Generator) -> Iterator[Numbers]:
    """Yield corners [2, 4] of a few boxes and of a place elsewhere."""
    if not len(corners):
        return
    chosen = np.linspace(0, len(corners) - 1, min(_BOXES, len(corners))).round().astype(int)
    for place, middles in zip(chosen, middles_to_try(centres, len(chosen), random), strict=True):
        other = free_place(corners[place], corners, sides, middles)
        if other is not None:
            yield np.stack([corners[place], other])


def _share(pairs: list[tuple[int, NDArray[np.uint8]]]) -> Share:
    if not pairs:
        return share_of(np.zeros(0), np.zeros(0, np.int64))
    pictures = np.array([place for place, _ in pairs])
    values = features(np.concatenate([patches for _, patches in pairs]))
    return share_of(told_apart(values[::2], values[1::2], pictures), pictures)


def _middles(boxes: Numbers) -> Numbers:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)


def _starts(boxes: Numbers) -> Numbers:
    return boxes[:, :2]


_CORNERS: dict[str, Callable[[Numbers], Numbers]] = {"corners_as_centre": _middles, "corners_as_size": _starts}


def _possible_corners(boxes: Numbers) -> list[str]:
    """Return by which mistakes boxes [n, 4], as shares, can have come from rows x1 y1 x2 y2.

    Read as centre and size, or as corner and size, these make boxes that grow with their distance from the upper left
    corner.
    """
    free = boxes[_inside(boxes)]
    if len(free) < _LEAST_FREE:
        return []
    return [name for name, start in _CORNERS.items() if _grow(start(free), free[:, 2:] - free[:, :2])]


def _inside(boxes: Numbers) -> NDArray[np.bool_]:
    return np.asarray((boxes[:, :2] > _BORDER).all(1) & (boxes[:, 2:] < 1 - _BORDER).all(1))


def _grow(starts: Numbers, ends: Numbers) -> bool:
    """Whether two columns each can be the first and second corner of boxes, and go along with each other."""
    if (ends > starts).all(1).mean() < _FITS or starts.std(0).min() < 1e-6 or ends.std(0).min() < 1e-6:
        return False
    return bool(min(np.corrcoef(starts[:, axis], ends[:, axis])[0, 1] for axis in (0, 1)) > _ALONG)


def _taken_back(boxes: Numbers, starts: Numbers) -> Numbers:
    """Return the boxes whose first corner is a start and whose second is the size; those at the border are left out."""
    ends = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([starts, ends], axis=1)[_inside(boxes) & (ends > starts).all(1)]
