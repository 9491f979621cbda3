"""What lies in a sample of the boxes, and at other places of the same pictures, taken while the audit reads them.

The sample is spread over the pictures and, as far as they have boxes, over the classes. Places are chosen beforehand,
so a picture only has to be cut where it is decoded anyway, in any order and by any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .dataset import Dataset
from .label_features import CUT, cut, features

WHOLE_SET = "none"  # the part of pictures without a split, as `Dataset.counts` calls it
# Boxes that are looked at in train (or in a set without splits) and in each other split, and how many of them are
# compared with a place elsewhere: docs/benchmarks/label_looks.md has what they cost and what they find.
MOST = {"train": 450, WHOLE_SET: 450}
MOST_MEASURED = 120
PAIRS = {"train": 160, WHOLE_SET: 160}
PAIRS_MEASURED = 60
PAIRS_EACH = 4  # of one picture
_TRIES = 20  # of finding a place that is free
_TOUCH = 0.1  # of the smaller of two boxes: more in common, and a place is not elsewhere

_SHARES = [
    pl.col(f"{axis}{n}") / pl.col(f"picture_{side}") for n in "12" for axis, side in (("x", "width"), ("y", "height"))
]

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class LabelLooks:
    """What a sample of the boxes looks like; rows of one order.

    Args:
        boxes: `image_id`, `path`, `class_id`, `part` (split or `none`), `x1` to `y2` as shares of the picture's sides,
            `elsewhere` (whether it has a place to be compared with).
        inside: features [n, d] of what lies in each box and around it.
        elsewhere: features [pairs, d] of the places, in the order of the boxes that have one.
        sizes: [n, 2], logarithms of width and height as shares of the picture's long side.
    """

    boxes: pl.DataFrame
    inside: NDArray[np.float32]
    elsewhere: NDArray[np.float32]
    sizes: Numbers


@dataclass
class _Cut:
    """Where one picture is cut: corners [k, 4] and the rows of the patches they go to."""

    corners: Numbers
    rows: NDArray[np.int64]


class LabelSampler:
    """Chooses boxes and places, and cuts them out of pictures as they come.

    Args:
        dataset: with splits.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._boxes = sampled(dataset)
        self._cuts: dict[str, _Cut] = {}
        count = self._boxes.height
        found = _places(dataset, self._boxes)
        self._paired = np.array([at for at, _ in found], np.int64)
        corners = np.concatenate([corners_of(self._boxes), np.reshape([place for _, place in found], (-1, 4))])
        paths = self._boxes["path"].to_list()
        rows: dict[str, list[int]] = {}
        for row, path in enumerate([*paths, *(paths[at] for at in self._paired)]):
            rows.setdefault(path, []).append(row)
        self._cuts = {path: _Cut(corners[places], np.array(places)) for path, places in rows.items()}
        self._patches = np.zeros((len(corners), CUT, CUT, 3), np.uint8)
        self._seen = np.zeros(len(corners), bool)
        self._count = count

    def look(self, path: str, picture: NDArray[np.uint8]) -> None:
        """Cut the chosen places out of a picture [height, width, 3]."""
        chosen = self._cuts.get(path)
        if chosen is not None:
            self._patches[chosen.rows] = cut(picture, chosen.corners)
            self._seen[chosen.rows] = True

    def looks(self) -> LabelLooks:
        """Return what was seen; boxes of pictures that never came are left out."""
        seen, seen_elsewhere = self._seen[: self._count], self._seen[self._count :]
        paired = np.zeros(self._count, bool)
        paired[self._paired[seen_elsewhere]] = True
        values = features(self._patches[self._seen])
        sides = (
            self._boxes.select("width", "height").to_numpy()
            / self._boxes.select(pl.max_horizontal("picture_width", "picture_height")).to_numpy()
        )
        table = self._boxes.select("image_id", "path", "class_id", "part", *_SHARES, elsewhere=pl.Series(paired))
        split = int(seen.sum())
        return LabelLooks(table.filter(pl.Series(seen)), values[:split], values[split:], np.log(sides[seen]))


def sampled(dataset: Dataset) -> pl.DataFrame:
    """Return the boxes that are looked at, ordered by picture, with `row`, `path`, `part`, `paired` and their sizes."""
    sizes = dataset.images.select("image_id", "path", "split", picture_width="width", picture_height="height")
    boxes = (
        dataset.boxes.with_row_index("row")
        .filter(~pl.col("crowd"))
        .join(sizes, on="image_id")
        .with_columns(
            part=pl.col("split").fill_null(WHOLE_SET),
            width=pl.col("x2") - pl.col("x1"),
            height=pl.col("y2") - pl.col("y1"),
        )
        .sort("part", "path", "row")
    )
    parts = [
        _thinned(table, MOST.get(part, MOST_MEASURED), PAIRS.get(part, PAIRS_MEASURED))
        for (part,), table in boxes.group_by("part")
    ]
    return pl.concat([boxes.clear().with_columns(paired=pl.lit(False)), *parts]).sort("part", "path", "row")


def _thinned(boxes: pl.DataFrame, most: int, pairs: int) -> pl.DataFrame:
    """Return at most so many boxes, as many of each class as can be, spread evenly; `paired` marks some of them."""
    counts = boxes.group_by("class_id").len("count").sort("count")
    limit, left, classes = 0, most, counts.height
    for count in counts["count"].to_list():  # rare classes whole, the others share what is left
        limit = max(left // classes, 1)
        left, classes = left - min(count, limit), classes - 1
    place, count = pl.int_range(pl.len()).over("class_id"), pl.len().over("class_id")
    share = pl.min_horizontal(pl.lit(1.0), limit / count)
    kept = boxes.filter((place * share).floor() != ((place + 1) * share).floor())
    rank = pl.int_range(pl.len()).shuffle(seed=0).over("image_id").rank("ordinal").over("image_id")
    order = kept.with_columns(rank=rank).filter(pl.col("rank") <= PAIRS_EACH).sort("rank", pl.col("row").hash(0))
    return kept.with_columns(paired=pl.col("row").is_in(order["row"].head(pairs).implode()))


def free_place(box: Numbers, taken: Numbers, sides: Numbers, middles: Numbers) -> Numbers | None:
    """Return corners [4] of a place of a box's size that hardly meets the boxes of its picture, or None.

    Args:
        box: corners [4].
        taken: corners [k, 4] of all boxes of the picture.
        sides: [2], width and height of the picture.
        middles: [m, 2] that are tried in this order, as shares of the sides; moved until the place is in the picture.
    """
    size = box[2:] - box[:2]
    if (size > sides / 2).all():
        return None
    starts = np.maximum(np.minimum(middles * sides - size / 2, sides - size), 0)
    common = np.minimum(starts[:, None] + size, taken[:, 2:]) - np.maximum(starts[:, None], taken[:, :2])
    smaller = np.minimum((taken[:, 2:] - taken[:, :2]).prod(1), size.prod())
    free = (np.maximum(common, 0).prod(2) <= _TOUCH * smaller).all(1)
    first = int(free.argmax())
    return np.concatenate([starts[first], starts[first] + size]) if free[first] else None


def middles_to_try(centres: Numbers, count: int, random: np.random.Generator) -> Numbers:
    """Return middles [count, tries, 2] for `free_place`.

    First come those of boxes of any picture, because objects and backgrounds have their usual places in a picture; only
    where those are taken, any.

    Args:
        centres: [m, 2], middles of boxes as shares of their pictures' sides.
        count: of places that are wanted.
        random: drawn from.
    """
    usual = centres[random.integers(len(centres), size=(count, _TRIES // 2))]
    return np.concatenate([usual, random.random((count, _TRIES - _TRIES // 2, 2))], axis=1)


def corners_of(boxes: pl.DataFrame) -> Numbers:
    """Return the corners of a table of boxes, [n, 4]."""
    return boxes.select("x1", "y1", "x2", "y2").to_numpy().astype(np.float64)


def centres_of(boxes: Numbers, sides: Numbers) -> Numbers:
    """Return the middles [n, 2] of boxes [n, 4] as shares of the sides [n, 2] of their pictures."""
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2 / sides)


def _places(dataset: Dataset, chosen: pl.DataFrame) -> list[tuple[int, Numbers]]:
    """Return the rows of paired boxes and a place elsewhere for each that has room for one."""
    joined = dataset.boxes.join(dataset.images.select("image_id", "width", "height"), on="image_id").sort("image_id")
    corners, sides = corners_of(joined), joined.select("width", "height").to_numpy().astype(np.float64)
    ids = joined["image_id"].to_numpy()
    wanted = np.flatnonzero(chosen["paired"].to_numpy())
    if not len(wanted):
        return []
    middles = middles_to_try(centres_of(corners, sides), len(wanted), np.random.default_rng(0))
    boxes, of = corners_of(chosen), chosen["image_id"].to_numpy()
    starts, stops = (np.searchsorted(ids, of, side=side) for side in ("left", "right"))
    found = []
    for at, tried in zip(wanted.tolist(), middles, strict=True):
        taken = corners[starts[at] : stops[at]]
        place = free_place(boxes[at], taken, sides[starts[at]], tried)
        if place is not None:
            found.append((at, place))
    return found
