"""Class names against what the pictures show: names that mean nothing, and another order of the names in val or test.

Both are judged by the discriminant of `looks`, which knows less than a network will: nothing is said of classes that
are merely hard to tell apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...findings import Finding
from ..label_discriminant import (
    ClassScores,
    Share,
    by_chance,
    chance_of_features,
    mean_area,
    scores_elsewhere,
    standardised,
)
from ..label_explanations import LEAST_PICTURES, ONE_SIDED
from ..label_looks import LabelLooks
from .evidence import boxes_word, listed_names, plain
from .looks import misplaced
from .snapshot import Snapshot

# All limits were set on the seeds 0 to 4 of benchmarks/label_looks.py; docs/benchmarks/label_looks.md has the others.
# Classes cannot be told apart where no single feature and no area under the curve is better than under exchanged names
# (a chance above 1 % for three classes or more, 5 % for two), and even at the upper end of the interval by no more than
# this.
ALL_CHANCE, ALL_AT_MOST = 0.01, 0.15
TWO_CHANCE, TWO_AT_MOST = 0.05, 0.1
DOUBTFUL_AREA = 0.7  # sound pairs of classes have 0.8 and more, from 40 boxes of each on
LEAST_BOXES, LEAST_OF_ANY = 40, 12  # of a class, to compare two; to compare all
MOST_CLASSES = 12  # the commonest are compared: 66 pairs
# Another list of classes: so many boxes are taken for the other class, as an average of the classes that differ, and so
# many of train's own are recognised. Between two and 3.3 standard errors is all that ten pictures can give.
TAKEN = 0.5
KNOWN = 0.5
CERTAIN = 2.3  # standard errors: 1 %
LEAST_MEASURED = 5  # boxes of a class

Numbers = NDArray[np.float64]


def classes_not_learnable(snapshot: Snapshot) -> list[Finding]:
    """Find classes that look the same, in whatever split."""
    sample = _sample(snapshot)
    if sample is None:
        return []
    known = _ClassLooks(*sample)
    numbers = known.enough(LEAST_OF_ANY, most=MOST_CLASSES)
    if len(numbers) < 2 or len(np.unique(known.pictures)) < LEAST_PICTURES:
        return []
    every = known.compared(numbers)
    alike = _alike(known, every)
    if not alike or classes_differ(snapshot):  # of names that change from split to split, that is said
        return []
    return [_not_learnable(snapshot, known, every, alike)]


def _alike(known: _ClassLooks, every: dict[tuple[int, int], Share]) -> list[tuple[int, int]]:
    """Return the pairs of classes that cannot be told apart: all, or some of those with enough boxes."""
    numbers = sorted({number for pair in every for number in pair})
    if len(numbers) > 2 and mean_area(every) < DOUBTFUL_AREA and known.by_chance(numbers, ALL_CHANCE, ALL_AT_MOST):
        return list(every)
    many = set(known.enough(LEAST_BOXES))
    low = [pair for pair, share in every.items() if share.value - ONE_SIDED * share.error < DOUBTFUL_AREA]
    return [pair for pair in low if many.issuperset(pair) and known.by_chance(list(pair), TWO_CHANCE, TWO_AT_MOST)]


def _not_learnable(
    snapshot: Snapshot, known: _ClassLooks, every: dict[tuple[int, int], Share], alike: list[tuple[int, int]]
) -> Finding:
    names, numbers = snapshot.names, sorted({number for pair in alike for number in pair})
    which = listed_names([names[number] for number in numbers])
    if len(alike) < len(every) and len(alike) > 1:
        which = listed_names([f"{names[one]} and {names[other]}" for one, other in alike])
    area = mean_area({pair: every[pair] for pair in alike})
    message = f"boxes of different classes cannot be told apart by level, colour, texture, shape or size: {which} "
    message += f"(area under the ROC curve {area:.2f}; 0.5 is chance)"
    advice = (
        "look at boxes of these classes: if the names were given at random, or mean the same, label them anew or put "
        "them together with data.remap; if they differ in fine detail, go on, and look at their scores in val"
    )
    boxes = {names[number]: int((known.classes == number).sum()) for number in numbers}
    pairs = [{"classes": [names[one], names[two]], "area": plain(every[one, two].value)} for one, two in alike[:10]]
    evidence = {"count": sum(boxes.values()), "classes": boxes, "area": plain(area), "pairs": pairs}
    return Finding("labels.classes_not_learnable", "warning", message, evidence, advice)


def classes_differ(snapshot: Snapshot) -> list[Finding]:
    """Find splits whose classes look like other classes of train, as after another order of the class list."""
    sample = _sample(snapshot)
    if sample is None:
        return []
    train = _ClassLooks(*sample, snapshot.training_part)
    findings = []
    for part in snapshot.measured_parts:
        exchange = _exchange(train, _ClassLooks(*sample, part))
        if exchange is None or exchange.errors < CERTAIN:
            continue
        names, moved = snapshot.names, exchange.moved
        words = [
            f"{names[one]} like {names[two]} ({exchange.shares[one][two]:.0%} of {boxes_word(exchange.boxes[one])})"
            for one, two in moved.items()
        ]
        message = f"classes of {part} look like other classes of train: {listed_names(words, 5)}"
        advice = f"compare the class lists of both exports; the splits fit together when {part}'s "
        advice += listed_names([f"{names[one]} is called {names[two]}" for one, two in moved.items()], 5)
        evidence = {
            "split": part,
            "count": sum(exchange.boxes[one] for one in moved),
            "exchange": {names[one]: names[two] for one, two in moved.items()},
            "taken_for_it": {names[one]: plain(exchange.shares[one][two]) for one, two in moved.items()},
            "taken_for_itself": {names[one]: plain(exchange.shares[one][one]) for one in moved},
            "standard_errors": plain(exchange.errors, 1),
        }
        findings.append(Finding("labels.classes_differ", "warning", message, evidence, advice))
    return findings


class _Exchange(NamedTuple):
    """Classes that are taken for others, shares by which each class is taken for each, boxes, and how sure it is."""

    moved: dict[int, int]
    shares: dict[int, Numbers]
    boxes: dict[int, int]
    errors: float


def _exchange(train: _ClassLooks, other: _ClassLooks) -> _Exchange | None:
    """Return which classes of another part are taken for which of train, if any are."""
    numbers = train.enough(LEAST_MEASURED)
    measured = [number for number in other.enough(LEAST_MEASURED) if number in numbers]
    if len(numbers) < 2 or not measured:
        return None
    rows = np.isin(other.classes, measured)
    classes, pictures = other.classes[rows], other.pictures[rows]
    taken = train.recognise(other.values[rows], numbers)
    shares = _shares(classes, taken, max(numbers) + 1)
    moved = {one: two for one, two in _assigned(shares).items() if shares[one][two] > shares[one][one]}
    if not moved or not _known(moved, train.recognised(numbers), shares):
        return None
    chosen = np.isin(classes, list(moved))
    gain = (taken[chosen] == np.array([moved[c] for c in classes[chosen]])) * 1.0 - (taken[chosen] == classes[chosen])
    _, place = np.unique(pictures[chosen], return_inverse=True)
    sums = np.bincount(place, gain)
    errors = float(sums.sum()) / math.sqrt(max(float((sums**2).sum()), 1e-9))  # of a sum that would be none
    return _Exchange(moved, shares, {number: int((classes == number).sum()) for number in measured}, errors)


def _shares(classes: NDArray[np.int64], taken: NDArray[np.int64], size: int) -> dict[int, Numbers]:
    """Return for each class that occurs the shares of its boxes that are taken for each of `size` classes."""
    return {
        number: np.bincount(taken[classes == number], minlength=size) / (classes == number).sum()
        for number in np.unique(classes).tolist()
    }


def _assigned(shares: dict[int, Numbers]) -> dict[int, int]:
    """Return a class of train for each class, each once at most: the largest shares first."""
    cells = sorted(((-share, one, two) for one, row in shares.items() for two, share in enumerate(row)))
    found: dict[int, int] = {}
    for _, one, two in cells:
        if one not in found and two not in found.values():
            found[one] = two
    return found


def _known(moved: dict[int, int], own: dict[int, Numbers], shares: dict[int, Numbers]) -> bool:
    """Whether train's own boxes of these classes are recognised, and taken for each other far less often."""
    recognised = np.mean([own[one][one] for one in moved])
    confused = np.mean([own[one][two] for one, two in moved.items()])
    taken = np.mean([shares[one][two] for one, two in moved.items()])
    return bool(taken >= TAKEN and recognised >= KNOWN and confused < taken / 2)


class _ClassLooks:
    """Boxes of a part: values standardised by those of train, classes, pictures."""

    def __init__(self, looks: LabelLooks, values: Numbers, part: str | None = None) -> None:
        chosen = np.ones(len(values), bool) if part is None else (looks.boxes["part"] == part).to_numpy()
        self.values = values[chosen]
        self.classes = looks.boxes["class_id"].to_numpy().astype(np.int64)[chosen]
        self.pictures = looks.boxes["image_id"].to_numpy().astype(np.int64)[chosen]

    def enough(self, boxes: int, most: int | None = None) -> list[int]:
        """Return the classes with so many boxes, in the order of their numbers; of more than `most` the commonest."""
        numbers, counts = np.unique(self.classes, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:most]
        return sorted(numbers[order][counts[order] >= boxes].tolist())

    def _scores(self, numbers: list[int]) -> tuple[ClassScores, NDArray[np.int64]]:
        rows = np.isin(self.classes, numbers)
        return ClassScores(self.values[rows], self.pictures[rows]), np.searchsorted(numbers, self.classes[rows])

    def compared(self, numbers: list[int]) -> dict[tuple[int, int], Share]:
        """Return how well each two of some classes are told apart."""
        scores, places = self._scores(numbers)
        found = scores.pairs(places, len(numbers))
        return {(numbers[one], numbers[two]): share for (one, two), share in found.items()}

    def by_chance(self, numbers: list[int], least: float, at_most: float) -> bool:
        """Whether these classes are told apart no better than under exchanged names, and can hardly be."""
        scores, places = self._scores(numbers)
        found = scores.pairs(places, len(numbers))
        area = mean_area(found)
        error = min(share.error for share in found.values()) / math.sqrt(len(found))
        if area - 0.5 + ONE_SIDED * error >= at_most:  # saves the exchanging, which takes its time
            return False
        rows = np.isin(self.classes, numbers)
        if chance_of_features(self.values[rows], places, len(numbers)) <= least:
            return False
        chance = by_chance(scores, places, len(numbers))
        beyond = (1 + int((chance >= area).sum())) / (1 + len(chance))
        return beyond > least and area - 0.5 + ONE_SIDED * max(float(chance.std()), error) < at_most

    def recognised(self, numbers: list[int]) -> dict[int, Numbers]:
        """Return for each class the shares of its boxes that are taken for each class, cross-validated."""
        scores, places = self._scores(numbers)
        taken = np.array(numbers)[scores.of(places, len(numbers)).argmax(1)]
        return _shares(np.array(numbers)[places], taken, max(numbers) + 1)

    def recognise(self, values: Numbers, numbers: list[int]) -> NDArray[np.int64]:
        """Return the class that boxes of another part look like."""
        rows = np.isin(self.classes, numbers)
        places = np.searchsorted(numbers, self.classes[rows])
        scores = scores_elsewhere(self.values[rows], places, len(numbers), values)
        return np.asarray(np.array(numbers)[scores.argmax(1)], np.int64)


def _sample(snapshot: Snapshot) -> tuple[LabelLooks, Numbers] | None:
    """Return the sample and its features [n, d], standardised by those of the training part; None if there is nothing.

    What does not lie on objects has no class: of such boxes nothing is said here.
    """
    labels = snapshot.facts.labels if snapshot.facts is not None else None
    if labels is None or len(snapshot.names) < 2 or any(misplaced(part) for part in labels.parts):
        return None
    looks = labels.looks
    train = (looks.boxes["part"] == snapshot.training_part).to_numpy()
    if not train.any():
        return None
    values = np.concatenate([looks.inside, looks.sizes], axis=1)
    return looks, standardised(values, values[train])
