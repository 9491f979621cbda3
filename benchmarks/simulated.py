"""Simulated detectors: any number of new pictures of the same kind, so that the true mAP is known.

A picture has a difficulty, an object has one of its own and that of its picture; hard objects are missed more often,
placed worse and scored lower, and hard pictures have more false alarms. Two detectors can share most of their luck, as
two checkpoints of one training do. Pictures can come in groups (boards, fields) that share their difficulty and their
kinds of objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.tables import Detections, Truth

SIDE = 640  # pictures are square
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detector:
    """How good a detector is.

    Args:
        skill: 0 is weak (mAP about .3), 1.5 is strong.
        false_alarms: mean number per picture.
        own: share of its luck that it does not have in common with another detector, 0 to 1.
    """

    skill: float
    false_alarms: float = 6.0
    own: float = 0.15


@dataclass(frozen=True)
class Kind:
    """What the pictures are like.

    Args:
        classes: K; class k is about 1.5 times as frequent as class k + 1.
        boxes: mean number of objects per picture.
        group: pictures per group.
        alike: share of a picture's difficulty that is its group's, 0 to 1.
    """

    classes: int
    boxes: float = 4.0
    group: int = 1
    alike: float = 0.0


@dataclass(frozen=True)
class _Pictures:
    """Pictures with their objects and the luck that detectors share."""

    difficulty: Floats  # [I]
    image: NDArray[np.int64]  # [M]
    class_id: NDArray[np.int64]  # [M]
    xyxy: Floats  # [M, 4]
    hardness: Floats  # [M]
    luck: Floats  # [M, 7]: found, place (4), score, confused
    seed: int  # of the false alarms


def simulate(kind: Kind, images: int, detectors: tuple[Detector, ...], seed: int) -> tuple[Truth, list[Detections]]:
    """Return the ground truth of new pictures and what each detector finds in them; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    pictures = _pictures(kind, images, rng)
    extent = (pictures.xyxy[:, 2:] - pictures.xyxy[:, :2]).prod(axis=1)
    nowhere = np.zeros(len(extent), np.bool_)
    truth = Truth(
        names=tuple(f"class {k}" for k in range(kind.classes)),
        image_ids=np.arange(images),
        sizes=np.full((images, 2), float(SIDE)),
        image=pictures.image.astype(np.int32),
        class_id=pictures.class_id.astype(np.int32),
        xyxy=pictures.xyxy,
        extent=extent,
        area=extent,
        crowd=nowhere,
        ignored=nowhere,
    )
    return truth, [_detect(kind, pictures, detector, rng) for detector in detectors]


def groups_of(kind: Kind, images: int) -> NDArray[np.int32]:
    """Return [I] the group of each picture."""
    return (np.arange(images) // kind.group).astype(np.int32)


def _pictures(kind: Kind, images: int, rng: np.random.Generator) -> _Pictures:
    of = groups_of(kind, images)
    shared = rng.normal(size=of[-1] + 1)[of]
    difficulty = np.sqrt(kind.alike) * shared + np.sqrt(1 - kind.alike) * rng.normal(size=images)
    count = rng.poisson(kind.boxes * rng.gamma(2.0, 0.5, images))  # some pictures are full, some are empty
    image = np.repeat(np.arange(images), count)
    frequency = 1.5 ** -np.arange(kind.classes)
    class_id = rng.choice(kind.classes, len(image), p=frequency / frequency.sum())
    favourite = rng.choice(kind.classes, of[-1] + 1, p=frequency / frequency.sum())[of]
    class_id = np.where(rng.random(len(image)) < 0.3, favourite[image], class_id)
    luck = rng.normal(size=(len(image), 7))
    hardness = 0.6 * difficulty[image] + 0.8 * rng.normal(size=len(image))
    return _Pictures(
        difficulty, image, class_id, random_boxes(len(image), rng), hardness, luck, int(rng.integers(2**31))
    )


def random_boxes(count: int, rng: np.random.Generator) -> Floats:
    """Return [count, 4] corners of boxes of all three of COCO's sizes."""
    size = np.exp(rng.normal(3.9, 0.6, (count, 2))).clip(8, 250)
    first = rng.random((count, 2)) * (SIDE - size)
    return np.concatenate([first, first + size], axis=1)


def _detect(kind: Kind, pictures: _Pictures, detector: Detector, rng: np.random.Generator) -> Detections:
    luck = _mixed(pictures.luck, rng.normal(size=pictures.luck.shape), detector.own)
    ease = detector.skill - pictures.hardness
    found = 1.3 + ease + luck[:, 0] > 0
    noise = 0.11 * np.exp(-0.35 * ease)[:, None] * luck[:, 1:5]
    side = np.tile(pictures.xyxy[:, 2:] - pictures.xyxy[:, :2], 2)
    placed = pictures.xyxy + noise * side
    score = 0.2 + 0.9 * ease - 4 * np.abs(noise).mean(axis=1) + 0.7 * luck[:, 5]
    confused = (luck[:, 6] > 1.6 + 0.4 * detector.skill) & (kind.classes > 1)
    named = np.where(confused, (pictures.class_id + 1) % kind.classes, pictures.class_id)
    parts = [(pictures.image[found], named[found], score[found], placed[found])]
    parts.append(_doubles(parts[0], rng))
    parts.append(_false_alarms(kind, pictures, detector, rng))
    image, class_id, score, xyxy = (np.concatenate(column) for column in zip(*parts, strict=True))
    xyxy[:, 2:] = np.maximum(xyxy[:, 2:], xyxy[:, :2] + 1)
    extent = (xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1)
    return Detections(image.astype(np.int32), class_id.astype(np.int32), 1 / (1 + np.exp(-score)), xyxy, extent)


def _mixed(shared: Floats, own: Floats, share: float) -> Floats:
    return np.asarray(np.sqrt(1 - share) * shared + np.sqrt(share) * own)


def _doubles(found: tuple[Any, ...], rng: np.random.Generator) -> tuple[Any, ...]:
    """Return a second, less sure detection of every twelfth object."""
    image, class_id, score, xyxy = found
    again = rng.random(len(image)) < 0.08
    moved = xyxy[again] + rng.normal(0, 4, (int(again.sum()), 4))
    return image[again], class_id[again], score[again] - 1.5, moved


def _false_alarms(kind: Kind, pictures: _Pictures, detector: Detector, rng: np.random.Generator) -> tuple[Any, ...]:
    """Return alarms; those that detectors share come from the pictures' own seed."""
    common = np.random.default_rng(pictures.seed)
    parts = []
    for source, share in ((common, 1 - detector.own), (rng, detector.own)):
        mean = detector.false_alarms * share * np.exp(0.5 * pictures.difficulty)
        image = np.repeat(np.arange(len(pictures.difficulty)), source.poisson(mean))
        score = source.normal(-2.2, 1.1, len(image)) + 0.4 * pictures.difficulty[image] - 0.3 * detector.skill
        parts.append((image, source.integers(0, kind.classes, len(image)), score, random_boxes(len(image), source)))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
