"""What becomes of objects on the seams of tiles, merged in three ways?

Random scenes are seen by a detector that is known: in each tile it reports what is to be seen there of each object, cut
at the tile's edge and off by up to 2 pixels, with a random score. Then an object is right if exactly one result has an
IoU of at least 0.75 with it; `extra` counts results that belong to no object, per 100 objects. Seeded.

    OMP_NUM_THREADS=1 python benchmarks/tiles.py [--scenes 200]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from pipeline.data.tile import clip_to_tile, tile_rectangles
from pipeline.evaluation.tile_merge import TileDetections, merge_tiles

Boxes = NDArray[np.float64]
SIZE, SIDE, OVERLAP = (2000, 1500), 640, 0.2
TILES = tile_rectangles(*SIZE, SIDE, OVERLAP)
LEAST = 12  # pixels of an object that the detector needs to see
KINDS = {  # objects, their sides in pixels, whether they may overlap
    "small, apart": (60, (20, 120), False),
    "small, crowded": (250, (20, 120), True),
    "up to a tile": (16, (100, 640), False),
    "larger than a tile": (6, (500, 1200), False),
}


def iou(a: Boxes, b: Boxes) -> Boxes:
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.maximum(sides, 0).prod(axis=2)
    return common / (area(a)[:, None] + area(b)[None] - common)


def area(boxes: Boxes) -> Boxes:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def scene(rng: np.random.Generator, count: int, sides: tuple[int, int], overlapping: bool) -> Boxes:
    boxes = np.zeros((0, 4))
    for _ in range(20 * count):
        size = rng.uniform(*sides, 2)
        corner = rng.uniform(0, np.array(SIZE) - size)
        box = np.r_[corner, corner + size][None]
        if (iou(box, boxes) <= (0.5 if overlapping else 0)).all():
            boxes = np.concatenate([boxes, box])
        if len(boxes) == count:
            break
    return boxes


def detect(rng: np.random.Generator, objects: Boxes) -> TileDetections:
    boxes, tile = [], []
    for number, rectangle in enumerate(TILES):
        shown, _ = clip_to_tile(objects, rectangle)
        shown = shown[((shown[:, 2:] - shown[:, :2]) >= LEAST).all(axis=1)]
        off = shown + rng.uniform(-2, 2, shown.shape)
        boxes.append(np.clip(off, np.tile(rectangle[:2], 2), np.tile(rectangle[2:], 2)))
        tile.append(np.full(len(shown), number))
    count = sum(map(len, tile))
    return TileDetections(np.concatenate(boxes), rng.uniform(0.3, 1, count), np.zeros(count), np.concatenate(tile))


def by_nms(found: TileDetections) -> Boxes:
    """Plain NMS over all tiles, as at IoU 0.5."""
    rest, kept = np.argsort(-found.scores), []
    while len(rest):
        kept.append(rest[0])
        rest = rest[1:][iou(found.boxes[rest[:1]], found.boxes[rest[1:]])[0] <= 0.5]
    return found.boxes[kept]


def by_smaller_area(found: TileDetections) -> Boxes:
    """Greedy merging into the surest box where intersection over the smaller area is above 0.5, by union."""
    rest, kept = np.argsort(-found.scores), []
    while len(rest):
        first, others = found.boxes[rest[:1]], found.boxes[rest[1:]]
        sides = np.minimum(first[:, 2:], others[:, 2:]) - np.maximum(first[:, :2], others[:, :2])
        share = np.maximum(sides, 0).prod(axis=1) / np.minimum(area(first), area(others))
        group = np.concatenate([first, others[share > 0.5]])
        kept.append(np.r_[group[:, :2].min(axis=0), group[:, 2:].max(axis=0)])
        rest = rest[1:][share <= 0.5]
    return np.array(kept).reshape(-1, 4)


def by_shared_area(found: TileDetections) -> Boxes:
    return merge_tiles(found, TILES, SIZE, 8.0, 0.7).boxes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    scenes = parser.parse_args().scenes
    print(f"{scenes} scenes of {SIZE[0]} x {SIZE[1]} pixels, {len(TILES)} tiles of {SIDE}, overlap {OVERLAP}\n")
    print("| objects | merged by | right | extra per 100 | ms per scene |\n|---|---|---|---|---|")
    for kind, (count, sides, overlapping) in KINDS.items():
        for name, merge in (("NMS", by_nms), ("smaller area", by_smaller_area), ("shared area", by_shared_area)):
            right = extra = total = 0
            spent = 0.0
            for seed in range(scenes):
                rng = np.random.default_rng(seed)
                objects = scene(rng, count, sides, overlapping)
                found = detect(rng, objects)
                began = time.perf_counter()
                merged = merge(found)
                spent += time.perf_counter() - began
                close = iou(objects, merged) >= 0.75
                right += int((close.sum(axis=1) == 1).sum())
                extra += int((~close.any(axis=0)).sum())
                total += len(objects)
            ms = 1000 * spent / scenes
            print(f"| {kind} | {name} | {right / total:.3f} | {100 * extra / total:.1f} | {ms:.1f} |", flush=True)


if __name__ == "__main__":
    main()
