"""A linear discriminant, cross-validated by picture: can what lies in boxes be told apart?

Boxes of one picture resemble each other, so a picture is never learnt from and tested on at once, and every standard
error counts pictures, not boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
# Added to the diagonal of the covariance of standardised features. Of 0.03 to 0.3 all give the same within two points
# on the four sets of docs/benchmarks/label_looks.md.
_RIDGE = 0.1
_CLIP = 4.0  # standard deviations; one odd picture must not decide

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """A share of boxes or pairs, and how sure it is.

    Args:
        value: 0.5 is chance.
        error: standard error with pictures as units.
        count: boxes or pairs.
        pictures: that they come from.
    """

    value: float
    error: float
    count: int
    pictures: int


def standardised(values: NDArray[np.floating], like: NDArray[np.floating] | None = None) -> Numbers:
    """Return features [n, d] minus their means, over their deviations in `like` [m, d], clipped."""
    known = values if like is None else like
    deviation = known.std(0)
    scaled = (values - known.mean(0)) / np.where(deviation > 1e-6, deviation, 1.0)
    return np.asarray(np.clip(scaled, -_CLIP, _CLIP), np.float64)


def folds_of(pictures: Places) -> Places:
    """Return a fold for each row: pictures are dealt out at random, always in the same way."""
    distinct, place = np.unique(pictures, return_inverse=True)
    return np.asarray(np.random.default_rng(0).permutation(len(distinct)) % FOLDS)[place]


def told_apart(boxes: NDArray[np.floating], elsewhere: NDArray[np.floating], pictures: Places) -> Numbers:
    """Return for each pair whether a discriminant that never saw its picture takes the box for the box: 1, 0, or 0.5.

    Args:
        boxes: features [pairs, d].
        elsewhere: features [pairs, d] of another place of the same picture.
        pictures: [pairs], to which picture a pair belongs.
    """
    if not len(boxes):
        return np.zeros(0)
    both = standardised(np.concatenate([boxes, elsewhere]))
    differences = both[: len(boxes)] - both[len(boxes) :]
    folds = folds_of(pictures)
    right = np.full(len(boxes), 0.5)
    for fold in range(FOLDS):
        learnt, tested = differences[folds != fold], differences[folds == fold]
        if len(learnt) and len(tested):
            scores = tested @ _solved(learnt.T @ learnt / len(learnt), learnt.mean(0))
            right[folds == fold] = 0.5 + np.sign(scores) / 2
    return right


def share_of(right: Numbers, pictures: Places) -> Share:
    """Return the mean with the error of a ratio of sums over pictures."""
    if not len(right):
        return Share(0.5, 0.5, 0, 0)
    _, place = np.unique(pictures, return_inverse=True)
    value = float(right.mean())
    sums = np.bincount(place, right - value)
    # At least that of one more pair on either side, since of a few pairs all may be right by chance.
    least = 0.5 / (len(right) + 1)
    return Share(value, max(float(np.sqrt((sums**2).sum())) / len(right), least), len(right), len(sums))


def _solved(covariance: Numbers, means: Numbers) -> Numbers:
    """Return the inverse of a shrunk covariance [d, d] times means [d] or [d, classes]."""
    size = len(covariance)
    shrunk = covariance + _RIDGE * max(float(np.trace(covariance)) / size, 1e-9) * np.eye(size)
    return np.asarray(np.linalg.solve(shrunk, means))


class ClassScores:
    """Scores of classes for boxes, cross-validated by picture.

    The covariance is that of all boxes, whatever their class, so that classes can be exchanged at random many times for
    the price of their means.

    Args:
        values: features [n, d], standardised.
        pictures: [n].
    """

    def __init__(self, values: Numbers, pictures: Places) -> None:
        self.pictures = pictures
        self._folds = folds_of(pictures)
        self._parts = []
        for fold in range(FOLDS):
            learnt = self._folds != fold
            if learnt.any() and not learnt.all():
                known = values[learnt] - values[learnt].mean(0)
                tested = values[~learnt] - values[learnt].mean(0)
                inverse = _solved(known.T @ known / len(known), np.eye(known.shape[1]))
                self._parts.append((np.flatnonzero(learnt), np.flatnonzero(~learnt), known, tested @ inverse, inverse))

    def of(self, classes: Places, count: int) -> Numbers:
        """Return scores [n, count] under classes [n], each 0 to count - 1."""
        scores = np.zeros((len(classes), count))
        for learnt, tested, known, new, inverse in self._parts:
            means = _means_of(classes[learnt], count) @ known
            scores[tested] = new @ means.T - ((means @ inverse) * means).sum(1) / 2
        return scores

    def pairs(self, classes: Places, count: int) -> dict[tuple[int, int], Share]:
        """Return for each two classes how often a box of one scores more like it than a box of the other does.

        That is the area under the ROC curve, over pairs of boxes of one fold. Its error is DeLong's with the boxes of a
        picture taken together (Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 1997).
        """
        scores = self.of(classes, count)
        return {
            (one, other): self._area(scores[:, one] - scores[:, other], classes == one, classes == other)
            for one in range(count)
            for other in range(one + 1, count)
        }

    def _area(self, scores: Numbers, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Share:
        placed = np.zeros(len(scores))
        wins, compared = 0.0, 0
        weights = np.zeros(len(scores))
        for fold in range(FOLDS):
            ones, others = (np.flatnonzero(chosen & (self._folds == fold)) for chosen in (first, second))
            above = 0.5 + np.sign(scores[ones][:, None] - scores[others][None]) / 2
            wins, compared = wins + float(above.sum()), compared + above.size
            placed[ones], placed[others] = above.sum(1), above.sum(0)
            weights[ones], weights[others] = len(others), len(ones)
        if not compared:
            return Share(0.5, 0.5, 0, 0)
        value = wins / compared
        _, place = np.unique(self.pictures, return_inverse=True)
        sums = np.bincount(place, placed - value * weights) / compared
        used = first | second
        return Share(value, float(np.sqrt((sums**2).sum())), int(used.sum()), len(np.unique(self.pictures[used])))


def by_chance(scores: ClassScores, classes: Places, count: int, times: int = 100) -> Numbers:
    """Return the mean area over all pairs of classes under classes that were exchanged between boxes at random.

    Source: Ojala and Garriga, "Permutation tests for studying classifier performance" (JMLR 2010), test 1.
    """
    random = np.random.default_rng(0)
    return np.array([mean_area(scores.pairs(random.permutation(classes), count)) for _ in range(times)])


def chance_of_features(values: Numbers, classes: Places, count: int, times: int = 200) -> float:
    """Return the chance that some single feature differs as much between classes as it does, if names mean nothing.

    A discriminant of a hundred features can overlook the one that tells two similar classes apart. The statistic is
    that of Kruskal and Wallis, the largest of all features, against exchanged names.

    Args:
        values: features [n, d].
        classes: [n], each 0 to count - 1.
        count: of classes.
        times: that the names are exchanged.
    """
    ranks = values.argsort(0).argsort(0).astype(np.float64) - (len(values) - 1) / 2
    random = np.random.default_rng(0)

    def largest(named: Places) -> float:
        chosen = (named[None] == np.arange(count)[:, None]).astype(np.float64)
        return float(((chosen @ ranks) ** 2 / np.maximum(chosen.sum(1, keepdims=True), 1)).sum(0).max())

    found = largest(classes)
    beyond = sum(largest(random.permutation(classes)) >= found for _ in range(times))
    return (1 + beyond) / (1 + times)


def mean_area(pairs: dict[tuple[int, int], Share]) -> float:
    """Return the mean over pairs of classes (Hand and Till, "A simple generalisation of the area ...", 2001)."""
    return float(np.mean([share.value for share in pairs.values()]))


def scores_elsewhere(learnt: Numbers, classes: Places, count: int, new: Numbers) -> Numbers:
    """Return scores [m, count] for new boxes of a discriminant learnt from others: both standardised alike."""
    centre = learnt.mean(0)
    chosen = _means_of(classes, count)
    means = chosen @ (learnt - centre)
    within = learnt - centre - means[classes]
    solved = _solved(within.T @ within / len(within), means.T)
    return np.asarray((new - centre) @ solved - np.einsum("kd,dk->k", means, solved) / 2)


def _means_of(classes: Places, count: int) -> Numbers:
    """Return the matrix [count, n] that makes class means of rows; a class without rows has the mean 0."""
    chosen = (classes[None] == np.arange(count)[:, None]).astype(np.float64)
    return np.asarray(chosen / np.maximum(chosen.sum(1, keepdims=True), 1))
