"""Detections of overlapping tiles become those of the picture: an object on a seam is reported once.

Two detections of one class from two tiles are the same object when they agree about what both tiles show:

- cut to the area that the tiles share they overlap with an IoU of at least `AGREEMENT`. For an object that both tiles
  show whole that is the plain IoU; for one that a tile cuts, the fragment is held against the same part of the other.
  Or, as thin slivers have no reliable IoU: one is a fragment, cut where the other goes on, and lies inside the other
  (intersection over smaller area, after which SAHI, arXiv 2202.06934, merges throughout);
- each is cut where the other goes beyond its tile.

The best agreement goes first, and two detections of one tile never become one: the network told them apart. So objects
side by side stay two, each joined with its own counterpart. Of the detections of an object, one that no tile cuts is
kept; where every tile cuts the object, their union is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.boxes import iou_of_pairs
from ..data.tile import clip_to_tile, inner_edges

AGREEMENT = 0.5  # IoU from which COCO takes two boxes for one object
INSIDE = 0.8  # share of a sliver inside the other box; a whole neighbour that touches it is far below


@dataclass(frozen=True)
class TileDetections:
    """Detections of one picture's tiles, in pixels of the picture.

    Args:
        boxes: [n, 4] corners, each within its tile.
        scores: [n].
        classes: [n].
        tile: [n] index of the tile it was found in.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.float64]
    tile: NDArray[np.int64]


@dataclass(frozen=True)
class Merged:
    """Detections of a picture, best first; `scores` are those of the best detection that each is made of."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.float64]


def merge_tiles(
    found: TileDetections, tiles: NDArray[np.int64], size: tuple[int, int], tolerance: float, iou: float
) -> Merged:
    """Merge the detections of a picture's tiles.

    Args:
        found: what the network found in each tile.
        tiles: [T, 4] corners.
        size: (width, height) of the picture.
        tolerance: how far from the edge of its tile, in pixels of the picture, the box of a cut object may end.
        iou: two results that share no tile and overlap by more are one, as in NMS.
    """
    cut = _cut(found, tiles, size, tolerance)
    groups = _group(found, tiles, cut, tolerance)
    order = np.lexsort((-found.scores, cut.any(axis=1), groups))  # by group, the whole ones first, the surest first
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) != 0]) if len(order) else np.zeros(0, int)
    boxes, first = found.boxes[order], order[starts]
    union = np.concatenate([np.minimum.reduceat(boxes[:, :2], starts), np.maximum.reduceat(boxes[:, 2:], starts)], 1)
    whole = ~cut[first].any(axis=1)
    merged = np.where(whole[:, None], found.boxes[first], union)
    scores = np.where(whole, found.scores[first], np.maximum.reduceat(found.scores[order], starts))
    best = np.argsort(-scores, kind="stable")
    rank = np.empty_like(best)
    rank[best] = np.arange(len(best))
    number = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))  # of the group, for each detection
    result = Merged(merged[best], scores[best], found.classes[first][best])
    keep = _distinct(result, rank[number], found.tile[order], tiles, iou)
    return Merged(result.boxes[keep], result.scores[keep], result.classes[keep])


def _cut(found: TileDetections, tiles: NDArray[np.int64], size: tuple[int, int], tolerance: float) -> NDArray[np.bool_]:
    """Return [n, 4]: whether a box ends at an edge of its tile that lies inside the picture."""
    near = np.abs(found.boxes - tiles[found.tile]) <= tolerance
    return np.asarray(near & inner_edges(tiles, *size)[found.tile])


def _group(
    found: TileDetections, tiles: NDArray[np.int64], cut: NDArray[np.bool_], tolerance: float
) -> NDArray[np.int64]:
    """Return [n]: a number for each object; greedy by agreement, at most one detection of each tile in a group."""
    group = np.arange(len(found.tile))
    members = {int(k): [int(k)] for k in group}
    for first, second in _pairs(found, tiles, cut, tolerance):
        one, other = int(group[first]), int(group[second])
        if one == other or set(found.tile[members[one]]) & set(found.tile[members[other]]):
            continue
        group[members[other]] = one
        members[one] += members.pop(other)
    return group


def _pairs(
    found: TileDetections, tiles: NDArray[np.int64], cut: NDArray[np.bool_], tolerance: float
) -> NDArray[np.int64]:
    """Return [m, 2] pairs of detections that show one object, those that agree best first."""
    of_tile = [np.flatnonzero(found.tile == k) for k in range(len(tiles))]
    pairs, worth = [np.zeros((0, 2), np.int64)], [np.zeros(0)]
    for one, other, shared in _neighbours(tiles):
        first, second = _meeting(found.boxes, found.classes, of_tile[one], of_tile[other], shared)
        a, b = found.boxes[first], found.boxes[second]
        agree = iou_of_pairs(clip_to_tile(a, shared)[0], clip_to_tile(b, shared)[0])
        beyond_b, beyond_a = _beyond(a, tiles[other], tolerance), _beyond(b, tiles[one], tolerance)
        fits = ~(beyond_b & ~cut[second]).any(axis=1) & ~(beyond_a & ~cut[first]).any(axis=1)
        sliver = (beyond_b.any(axis=1) & (_inside(b, a, tolerance) >= INSIDE)) | (
            beyond_a.any(axis=1) & (_inside(a, b, tolerance) >= INSIDE)
        )
        kept = fits & ((agree >= AGREEMENT) | sliver)
        pairs.append(np.column_stack([first, second])[kept])
        worth.append(agree[kept])
    found_pairs = np.concatenate(pairs)
    return np.asarray(found_pairs[np.argsort(-np.concatenate(worth), kind="stable")])


def _neighbours(tiles: NDArray[np.int64]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yield pairs of tiles that share an area, and its corners [4]."""
    low = np.maximum(tiles[:, None, :2], tiles[None, :, :2])
    high = np.minimum(tiles[:, None, 2:], tiles[None, :, 2:])
    for one, other in np.argwhere(np.triu((high > low).all(axis=2), 1)).tolist():
        yield one, other, np.r_[low[one, other], high[one, other]]


def _meeting(
    boxes: NDArray[np.float64],
    classes: NDArray[np.float64],
    ones: NDArray[np.int64],
    others: NDArray[np.int64],
    shared: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of one class, of those boxes that reach into the area that two tiles share."""
    sides = []
    for side in (ones, others):
        reach = (boxes[side, :2] < shared[2:]).all(axis=1) & (boxes[side, 2:] > shared[:2]).all(axis=1)
        sides.append(side[reach])
    first, second = np.nonzero(classes[sides[0]][:, None] == classes[sides[1]][None, :])
    return sides[0][first], sides[1][second]


def _beyond(boxes: NDArray[np.float64], tile: NDArray[np.int64], tolerance: float) -> NDArray[np.bool_]:
    """Return [n, 4]: whether a box goes on beyond the left, upper, right and lower edge of a tile."""
    return np.concatenate([boxes[:, :2] < tile[:2] - tolerance, boxes[:, 2:] > tile[2:] + tolerance], axis=1)


def _inside(fragments: NDArray[np.float64], boxes: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Return [n]: the share of each fragment that lies inside its box, give or take the tolerance."""
    wider: NDArray[np.float64] = boxes + np.array([-1.0, -1.0, 1.0, 1.0]) * tolerance
    return clip_to_tile(fragments, wider)[1]


def _distinct(
    result: Merged, rank: NDArray[np.intp], tile: NDArray[np.int64], tiles: NDArray[np.int64], iou: float
) -> NDArray[np.bool_]:
    """Return [r]: which results NMS keeps within the class, best first; those that share a tile are left alone.

    Args:
        result: r results, best first.
        rank: [n] the result that each detection went into.
        tile: [n] the tile that it came from.
        tiles: [T, 4] corners.
        iou: overlap above which the lesser one goes.
    """
    of_tile = [np.unique(rank[tile == k]) for k in range(len(tiles))]
    members = [set(part.tolist()) for part in of_tile]
    close: dict[int, set[int]] = {}
    for one, other, shared in _neighbours(tiles):
        first, second = _meeting(result.boxes, result.classes, of_tile[one], of_tile[other], shared)
        near = iou_of_pairs(result.boxes[first], result.boxes[second]) > iou
        for a, b in zip(first[near].tolist(), second[near].tolist(), strict=True):
            if a != b and not any(a in part and b in part for part in members):
                close.setdefault(min(a, b), set()).add(max(a, b))
    keep = np.ones(len(result.scores), bool)
    for better in sorted(close):
        if keep[better]:
            keep[list(close[better])] = False
    return keep
