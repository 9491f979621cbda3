"""Random sets with everything that is awkward in them, and what pycocotools makes of them.

Ids of annotations start at 1: with 0 pycocotools takes a box that was found for one that was not.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.evaluation.average_precision import Scores, mean, scores
from pipeline.evaluation.matching import COCO_RANGES, LIMIT, MatchTable, match
from pipeline.evaluation.tables import Detections, Truth

Array = NDArray[Any]
SMALLEST = 1e-9  # the largest difference that is allowed


@dataclass(frozen=True)
class CocoSet:
    """Ground truth and detections as a COCO file has them: boxes are x, y, width, height.

    Args:
        images, classes: their numbers; image `i` has the id `i`, class `k` the id `k + 1`.
        box, box_image, box_class, area, crowd: of the ground truth.
        found, found_image, found_class, score: of the detections.
    """

    images: int
    classes: int
    box: Array
    box_image: Array
    box_class: Array
    area: Array
    crowd: Array
    found: Array
    found_image: Array
    found_class: Array
    score: Array

    @classmethod
    def of(
        cls,
        truth: list[tuple[int, int, tuple[float, ...]]],
        found: list[tuple[int, int, float, tuple[float, ...]]],
        *,
        images: int = 2,
        classes: int = 2,
        crowd: tuple[int, ...] = (),
    ) -> CocoSet:
        """Return a set from (image, class, box) and (image, class, score, box); `crowd` names rows of the first."""
        box = np.array([row[2] for row in truth], float).reshape(-1, 4)
        return cls(
            images=images,
            classes=classes,
            box=box,
            box_image=np.array([row[0] for row in truth], int),
            box_class=np.array([row[1] for row in truth], int),
            area=box[:, 2] * box[:, 3],
            crowd=np.isin(np.arange(len(truth)), crowd),
            found=np.array([row[3] for row in found], float).reshape(-1, 4),
            found_image=np.array([row[0] for row in found], int),
            found_class=np.array([row[1] for row in found], int),
            score=np.array([row[2] for row in found], float),
        )

    def with_detections(self, rows: Array) -> CocoSet:
        """Return the set with the detections `rows` (numbers or a mask), in that order."""
        return replace(
            self,
            found=self.found[rows],
            found_image=self.found_image[rows],
            found_class=self.found_class[rows],
            score=self.score[rows],
        )


def random_set(seed: int) -> CocoSet:
    """Return a small set; crowds, ties, integer boxes and the numbers of everything differ from seed to seed."""
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 8)), int(rng.integers(1, 5))
    boxes, detections = int(rng.integers(0, 40)), int(rng.integers(0, 90))
    integer, crowded, tied = seed % 3 == 0, (0.0, 0.1, 0.3)[seed // 3 % 3], (0.0, 0.3, 1.0)[seed // 2 % 3]

    def anywhere(count: int) -> Array:
        size = np.exp(rng.uniform(1, 5.2, (count, 2)))
        return np.concatenate([rng.uniform(0, 150, (count, 2)), size], axis=1)

    box = anywhere(boxes)
    again = rng.random(boxes) < 0.15  # objects that lie nearly on another
    box[again] = box[rng.integers(0, max(boxes, 1), int(again.sum()))] * rng.uniform(0.9, 1.1, (int(again.sum()), 4))
    box = np.round(box) if integer else box
    image, class_id = rng.integers(0, images, boxes), rng.integers(0, classes, boxes)
    odd = rng.random(boxes)
    area = box[:, 2] * box[:, 3] * np.where(odd < 0.5, 1.0, rng.uniform(0.3, 1.0, boxes))
    area = np.select([odd < 0.05, odd < 0.1], [32.0**2, 96.0**2], area)

    near = rng.random(detections) < (0.75 if boxes else 0.0)
    of = rng.integers(0, max(boxes, 1), detections)[near]
    found = anywhere(detections)
    shift = rng.normal(0, 1, (len(of), 4)) * box[of][:, [2, 3, 2, 3]] * rng.choice([0, 0.03, 0.1, 0.3], (len(of), 1))
    found[near] = box[of] + shift
    found = np.round(found) if integer else found
    strange = rng.random(detections) < 0.03
    found[strange, 2:] *= rng.choice([0.0, -1.0, 1.0], (int(strange.sum()), 2))
    where, what = rng.integers(0, images, detections), rng.integers(0, classes, detections)
    where[near] = image[of]
    what[near] = np.where(rng.random(len(of)) < 0.85, class_id[of], what[near])
    score = rng.random(detections)
    score = np.where(rng.random(detections) < tied, np.round(score, 1), score)
    return CocoSet(images, classes, box, image, class_id, area, rng.random(boxes) < crowded, found, where, what, score)


def arrays(given: CocoSet) -> tuple[Truth, Detections]:
    """Return the set as arrays: corners are x + width, y + height; the extent is width times height as written."""
    truth = Truth(
        names=tuple(f"class {k}" for k in range(given.classes)),
        image_ids=np.arange(given.images),
        sizes=np.full((given.images, 2), np.nan),
        image=given.box_image.astype(np.int32),
        class_id=given.box_class.astype(np.int32),
        xyxy=_corners(given.box),
        extent=given.box[:, 2] * given.box[:, 3],
        area=given.area,
        crowd=given.crowd,
        ignored=given.crowd,
    )
    extent = given.found[:, 2] * given.found[:, 3]
    where, what = given.found_image.astype(np.int32), given.found_class.astype(np.int32)
    return truth, Detections(where, what, given.score, _corners(given.found), extent)


def _corners(xywh: Array) -> Array:
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def matched(given: CocoSet, limit: int = LIMIT) -> MatchTable:
    return match(*arrays(given), limit=limit)


def pycocotools_on(given: CocoSet, limit: int = LIMIT) -> COCOeval:
    """Return pycocotools' evaluation, accumulated."""
    annotations = [
        {
            "id": n + 1,
            "image_id": int(given.box_image[n]),
            "category_id": int(given.box_class[n]) + 1,
            "bbox": given.box[n].tolist(),
            "area": float(given.area[n]),
            "iscrowd": int(given.crowd[n]),
        }
        for n in range(len(given.box))
    ]
    results = [
        {
            "image_id": int(given.found_image[n]),
            "category_id": int(given.found_class[n]) + 1,
            "bbox": given.found[n].tolist(),
            "score": float(given.score[n]),
        }
        for n in range(len(given.found))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(given.images)],
            "categories": [{"id": k + 1} for k in range(given.classes)],
            "annotations": annotations,
        }
        truth.createIndex()
        if results:
            found = truth.loadRes(results)
        else:  # loadRes knows no empty list
            found = COCO()
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        run = COCOeval(truth, found, "bbox")
        run.params.maxDets = [min(1, limit), min(10, limit), limit]
        run.evaluate()
        run.accumulate()
    return run


def their_scores(run: COCOeval) -> dict[str, Array]:
    """Return pycocotools' figures in the form of `Scores`, nan where there is no box, and the [A, T, K, 101] curves."""
    curve = run.eval["precision"][..., -1].transpose(3, 0, 2, 1)  # of T, R, K, A
    recall = run.eval["recall"].transpose(3, 2, 0, 1)  # of T, K, A, M
    found = {"precision": curve.mean(axis=-1), "recall": recall[-1], "recall_at": recall[:2, 0], "curve": curve}
    return {name: np.where(values < 0, np.nan, values) for name, values in found.items()}


def twelve(figures: Scores | dict[str, Array]) -> list[float | None]:
    """Return COCO's 12 numbers, in its order."""
    one = figures if isinstance(figures, dict) else vars(figures)
    precision, recall = one["precision"], one["recall"]
    parts = [precision[0], precision[0, 0], precision[0, 5], *precision[1:], *one["recall_at"], *recall]
    return [mean(part) for part in parts]


def assert_agrees(given: CocoSet, limit: int = LIMIT) -> Scores:
    """Compare the 12 numbers and every figure per size range, threshold and class; returns ours."""
    ours, theirs = scores(matched(given, limit)), their_scores(pycocotools_on(given, limit))
    for name in ("precision", "recall", "recall_at"):
        np.testing.assert_allclose(getattr(ours, name), theirs[name], rtol=0, atol=SMALLEST, err_msg=name)
    for own, other in zip(twelve(ours), twelve(theirs), strict=True):
        assert (own is None) == (other is None)
        assert own is None or other is None or abs(own - other) <= SMALLEST
    return ours


def their_matches(given: CocoSet, limit: int = LIMIT) -> dict[tuple[int, int, int], Array]:
    """Return, by size range, picture and class, [T, D] the boxes that the detections found, the surest first; or -1."""
    run = pycocotools_on(given, limit)
    areas = {tuple(bounds): a for a, bounds in enumerate(run.params.areaRng)}
    assert len(areas) == len(COCO_RANGES)
    return {
        (areas[tuple(one["aRng"])], one["image_id"], one["category_id"] - 1): one["dtMatches"].astype(int) - 1
        for one in run.evalImgs
        if one is not None
    }
