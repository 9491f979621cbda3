"""Pictures that are the same file, or look the same: pairs of them, and the clusters that pairs make.

Nothing is deleted by this. Whether two pictures that look alike are one picture twice or two of the same kind (the same
place of two circuit boards) is not always to be seen at 32 x 32 pixels, and a person has to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .alignment import aligned_correlation
from .dataset import Dataset
from .perceptual_hash import ORIENTATIONS, Hashes, distances, near_pairs, turned
from .picture_facts import PictureFacts

PAIRS_SCHEMA: dict[str, Any] = {
    "one": pl.String,
    "other": pl.String,  # later than `one` in the order of the alphabet
    "kind": pl.String,  # "identical" files, or pictures that look "alike"
    "distance": pl.UInt8,  # bits in which the hashes differ
    "orientation": pl.String,  # one of ORIENTATIONS: how to turn `other` to see `one`
    "correlation": pl.Float64,  # of the aligned thumbnails
    "one_split": pl.String,
    "other_split": pl.String,
}
# Both limits are measured, see docs/benchmarks/duplicates.md.
NEAR = 16  # bits of 64
ALIKE = 0.92  # correlation
# Standard deviation of a thumbnail, in grey levels. Below it hash and correlation are those of noise and rounding: of
# steel pictures as faint as that, one in three is found again when saved as JPEG of quality 50; at 1.5 nearly all are.
FLAT = 1.0
BLANK = 0.5  # standard deviation of the whole picture, in grey levels: of one colour, but for rounding
PAIRS_EACH = 10  # pairs that are listed of one picture within its split, and as many across splits
_BATCH = 1024  # pairs whose thumbnails are compared at a time


@dataclass(frozen=True)
class Duplicates:
    """Pictures that are the same or look alike.

    Args:
        pairs: columns of `PAIRS_SCHEMA`. Of identical files the first is paired with each of the others, and only the
            first is compared with other pictures.
        clusters: paths of pictures that are joined by pairs, directly or through others, listed or not; largest first.
        flat: paths of pictures that are nearly of one grey: compared as files only, because their hashes are noise; and
            of those that are of one colour, such as empty tiles, which are compared with nothing.
        left_out: pairs that were near and are not listed, because both pictures have `PAIRS_EACH` listed already.
    """

    pairs: pl.DataFrame
    clusters: tuple[tuple[str, ...], ...]
    flat: tuple[str, ...]
    left_out: int


def find_duplicates(dataset: Dataset, facts: PictureFacts) -> Duplicates:
    """Find identical files, and pictures that look alike in one of eight orientations.

    Two pictures look alike when their perceptual hashes differ in at most `NEAR` bits and their thumbnails, aligned,
    correlate by at least `ALIKE`. That finds copies that were saved again, turned by quarters, mirrored, made brighter,
    turned by 3 degrees or cut by 3 %. Of overlapping cuttings of one large picture many are missed: give them a group.
    All pairs are compared, so the time grows with the square of the number of pictures.

    Args:
        dataset: only its pictures are compared; their splits are named in the pairs.
        facts: of these pictures, or of more.
    """
    table = (
        facts.table.with_row_index("place")
        .filter(pl.col("problem").is_null() & (pl.col("digest") != ""))
        .join(dataset.images.select("path", "split"), on="path")
        .sort("path")
        .with_columns(first=pl.col("path").first().over("digest"))
    )
    blank = table.filter(pl.col("contrast") < BLANK)["path"].to_list()  # empty tiles are all the same, and leak nothing
    table = table.filter(pl.col("contrast") >= BLANK)
    identical = table.filter(pl.col("path") != pl.col("first")).select(
        one="first",
        other="path",
        kind=pl.lit("identical"),
        distance=pl.lit(0),
        orientation=pl.lit(ORIENTATIONS[0]),
        correlation=pl.lit(1.0),
    )
    different = table.filter(pl.col("path") == pl.col("first"))
    level = facts.thumbnails[different["place"].to_numpy()].std(axis=(1, 2)) < FLAT
    flat, comparable = different.filter(level), different.filter(~level)
    search = _Search(comparable, facts.thumbnails)
    search.run()
    alike = search.pairs()
    splits = table.select("path", "split")
    pairs = (
        pl.concat([identical.cast(alike.schema), alike])
        .join(splits.rename({"path": "one", "split": "one_split"}), on="one", how="left")
        .join(splits.rename({"path": "other", "split": "other_split"}), on="other", how="left")
        .sort(pl.col("kind") == "alike", -pl.col("correlation"), "one", "other")
        .cast(pl.Schema(PAIRS_SCHEMA))
    )
    joined = dict(zip(comparable["path"], search.roots().tolist(), strict=True))
    clusters = _clusters(table, joined)
    return Duplicates(pairs, clusters, tuple(sorted([*flat["path"], *blank])), search.left_out)


def cluster_keys(dataset: Dataset, duplicates: Duplicates) -> list[str | None]:
    """Return for each row of `dataset.images` the first path of its cluster, or None where a picture stands alone."""
    key = {path: cluster[0] for cluster in duplicates.clusters for path in cluster}
    return [key.get(path) for path in dataset.images["path"]]


def _clusters(table: pl.DataFrame, root: dict[str, int]) -> tuple[tuple[str, ...], ...]:
    """Join identical files and connected pictures.

    Args:
        table: all pictures, by path, with the path of the `first` that is the same file.
        root: component of pictures that were compared by looks; a flat one is a component of its own.
    """
    members: dict[int | str, list[str]] = {}
    for path, first in table.select("path", "first").iter_rows():
        members.setdefault(root.get(first, first), []).append(path)
    several = [tuple(paths) for paths in members.values() if len(paths) > 1]
    return tuple(sorted(several, key=lambda paths: (-len(paths), paths[0])))


class _Search:
    """Finds the pictures that look alike, of a table sorted by path, and joins them.

    When thousands of pictures are alike there are millions of pairs. A pair is looked at only as long as it can tell
    something: its pictures are not joined yet, or one of them has not `PAIRS_EACH` pairs.
    """

    def __init__(self, table: pl.DataFrame, thumbnails: NDArray[np.uint8]) -> None:
        self.left_out = 0
        self._paths = table["path"]
        self._place = table["place"].to_numpy()
        self._thumbnails = thumbnails
        hashes = table["hashes"].explode().to_numpy() if table.height else np.zeros(0, np.uint64)
        self._hashes: Hashes = hashes.reshape(-1, len(ORIENTATIONS))
        self._split = table["split"].fill_null("").rank("dense").to_numpy()
        self._parent = np.arange(table.height)
        self._listed = np.zeros((table.height, 2), np.int64)  # pairs within the split, across splits
        self._kept: list[tuple[int, int, int, int, float]] = []

    def run(self) -> None:
        for i, j in near_pairs(self._hashes, NEAR):
            share = _BATCH
            while len(i):  # the more pairs were looked at, the fewer of the rest are worth it; but asking costs, too
                i, j = self._worth_a_look(i, j)
                for start in range(0, min(share, len(i)), _BATCH):
                    batch = slice(start, start + _BATCH)
                    self._look_at(i[batch], j[batch])
                i, j = i[share:], j[share:]
                share *= 2

    def roots(self) -> NDArray[np.intp]:
        """Return the component of each picture: the number of its first picture."""
        while not np.array_equal(upper := self._parent[self._parent], self._parent):
            self._parent = upper
        return self._parent

    def pairs(self) -> pl.DataFrame:
        columns = ("i", "j", "distance", "orientation", "correlation")
        found = pl.DataFrame(self._kept, schema=columns, orient="row")
        return found.select(
            one=self._paths.gather(found["i"].cast(pl.UInt32)),
            other=self._paths.gather(found["j"].cast(pl.UInt32)),
            kind=pl.lit("alike"),
            distance=pl.col("distance").cast(pl.UInt8),
            orientation=pl.Series(ORIENTATIONS).gather(found["orientation"].cast(pl.UInt32)),
            correlation=pl.col("correlation").cast(pl.Float64),
        )

    def _worth_a_look(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        roots = self.roots()
        across = (self._split[i] != self._split[j]).astype(np.intp)
        full = (self._listed[i, across] >= PAIRS_EACH) & (self._listed[j, across] >= PAIRS_EACH)
        known = full & (roots[i] == roots[j])
        self.left_out += int(known.sum())
        return i[~known], j[~known]

    def _look_at(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> None:
        """Compare the thumbnails of pairs, join the pictures that are alike, and list the pairs."""
        near = distances(self._hashes[i, :1], self._hashes[j])  # [pairs, 8]
        correlation = np.full(near.shape, -1.0)
        for orientation in range(len(ORIENTATIONS)):
            fits = np.flatnonzero(near[:, orientation] <= NEAR)
            one, other = (self._thumbnails[self._place[k[fits]]] for k in (i, j))
            correlation[fits, orientation] = aligned_correlation(one, turned(other, orientation))
        best = correlation.argmax(axis=1)
        rows = np.arange(len(i))
        alike = correlation[rows, best] >= ALIKE
        columns = (i, j, near[rows, best], best, correlation[rows, best])
        for first, second, bits, orientation, value in zip(
            *(column[alike].tolist() for column in columns), strict=True
        ):
            self._join(first, second)
            across = int(self._split[first] != self._split[second])
            if min(self._listed[first, across], self._listed[second, across]) < PAIRS_EACH:
                self._listed[[first, second], across] += 1
                self._kept.append((first, second, bits, orientation, value))
            else:
                self.left_out += 1

    def _join(self, first: int, second: int) -> None:
        low, high = sorted((self._root(first), self._root(second)))
        self._parent[high] = low

    def _root(self, place: int) -> int:
        while self._parent[place] != place:
            self._parent[place] = place = int(self._parent[self._parent[place]])
        return place
