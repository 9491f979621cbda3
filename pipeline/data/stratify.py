"""Which group of pictures goes to which split, so that every class has its share in each; NumPy alone, no tables.

Groups are never cut. Few of them are tried in all ways. For more, a first assignment places the rarest class first, as
in iterative stratification (K. Sechidis, G. Tsoumakas, I. Vlahavas: On the Stratification of Multi-label Data, ECML
PKDD 2011); since groups are coarser than the single examples of that paper, moves and swaps of groups follow, as long
as one of them helps, from this start and from random ones.

What is minimised, in this order: the number of times that a column (a class, say) is missing in a split although it
stands in enough groups; then the largest deviation of a share from the wanted one plus the root mean square of all
deviations. The largest alone would be blind to every other class as soon as one rare class cannot be divided well.
A column in one group should be in the first split, one in two groups in the first two, and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXHAUSTIVE = 200_000  # so many assignments are all tried: 17 groups in two splits or 11 in three, in less than a second
STARTS = 8  # searches from different starts; docs/benchmarks/splits.md shows what more of them bring
SMALL = 500  # groups; from here on eight searches find nothing better than one (the same page)
CANDIDATES = 4096  # moves, or pairs of groups to swap, among which the best one is taken
PATIENCE = 5  # samples of candidates without a gain that end a search, where they are too many to look at all of them
STEPS = 2000  # most moves and swaps of one search, which ends by itself long before
MISSING = 10.0  # more than both kinds of deviation together can be
_LEAST = 1e-12  # smaller gains are rounding

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]


def stratify(counts: Floats, wanted: Floats, seed: int, allowed: Flags | None = None) -> Indices:
    """Return the split of every group [groups]; the same for the same arguments.

    Args:
        counts: [groups, columns] what is to be shared out: boxes of each class, pictures, pictures without boxes.
        wanted: [splits, columns] share of each column that each split should get; each column adds up to 1. The first
            split is the one that can least be without a column: train.
        seed: decides between assignments that are equally good.
        allowed: [groups, splits] where a group may go; each has at least one split. None: everywhere.
    """
    if allowed is None:
        allowed = np.ones((len(counts), len(wanted)), np.bool_)
    totals = counts.sum(axis=0)
    used = totals > 0
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(counts))  # what is equally good falls to the group that comes first
    problem = _Problem.of(counts[order][:, used] / totals[used], wanted[:, used], allowed[order])
    if problem.assignments() <= EXHAUSTIVE:
        found = _best_of_all(problem)
    else:
        found = _best_search(problem, STARTS if len(counts) <= SMALL else 1, rng)
    place = np.empty_like(found)
    place[order] = found
    return place


@dataclass(frozen=True)
class _Problem:
    share: Floats  # [groups, columns] share of each column that the group has
    has: Floats  # [groups, columns] 1 where the group has something of the column, else 0
    wanted: Floats  # [splits, columns]
    allowed: Flags  # [groups, splits]
    required: Flags  # [splits, columns] the column must not be missing in the split if that can be helped

    @classmethod
    def of(cls, share: Floats, wanted: Floats, allowed: Flags) -> _Problem:
        has = (share > 0).astype(np.float64)
        required = (has.sum(axis=0) > np.arange(len(wanted))[:, None]) & (allowed.T.astype(np.float64) @ has > 0)
        return cls(share, has, wanted, allowed, required)

    def assignments(self) -> float:
        """Return in how many ways the groups can be assigned."""
        return float(np.exp(np.log(self.allowed.sum(axis=1)).sum().clip(max=700)))

    def cost(self, off: Floats, holders: Floats) -> Any:
        """Return what is minimised, for one assignment or many.

        Args:
            off: [..., splits, columns] share that the split has, minus the wanted one.
            holders: [..., splits, columns] number of groups of the split that have something of the column.
        """
        missing = (self.required & (holders == 0)).sum(axis=(-2, -1))
        return MISSING * missing + np.abs(off).max(axis=(-2, -1)) + np.sqrt(np.square(off).mean(axis=(-2, -1)))


def _best_of_all(problem: _Problem) -> Indices:
    """Return the best of all assignments."""
    free = problem.allowed.sum(axis=1) > 1
    place: Indices = problem.allowed.argmax(axis=1)
    inside = (place == np.arange(len(problem.wanted))[:, None]) & ~free  # [splits, groups] of those that must stay
    off, holders = inside @ problem.share - problem.wanted, inside @ problem.has
    share, has, allowed = problem.share[free], problem.has[free], problem.allowed[free]
    options = np.argsort(~allowed, axis=1, kind="stable")  # the splits that a group may go to come first
    radix = allowed.sum(axis=1)
    step = np.append(1, np.cumprod(radix))
    least, best = np.inf, place[free]
    for first in range(0, int(step[-1]), CANDIDATES):
        number = np.arange(first, min(first + CANDIDATES, int(step[-1])))
        places = options[np.arange(len(radix)), number[:, None] // step[:-1] % radix]  # [assignments, free groups]
        chosen = (places[:, None, :] == np.arange(len(off))[:, None]).astype(np.float64)
        costs = problem.cost(off + chosen @ share, holders + chosen @ has)
        if costs.min() < least - _LEAST:
            least, best = costs.min(), places[costs.argmin()]
    place[free] = best
    return place


def _best_search(problem: _Problem, starts: int, rng: np.random.Generator) -> Indices:
    """Return the best of several searches: from the first assignment, then from random ones."""
    least, best = np.inf, np.empty(0, np.intp)
    for number in range(starts):
        start = _random_assignment(problem, rng) if number else _first_assignment(problem)
        search = _Search.begin(problem, start)
        cost = search.improve(rng)
        if cost < least - _LEAST:
            least, best = cost, search.place
    return best


def _random_assignment(problem: _Problem, rng: np.random.Generator) -> Indices:
    odds = np.where(problem.allowed, problem.wanted.mean(axis=1) + _LEAST, 0.0).cumsum(axis=1)
    drawn: Indices = (rng.random((len(odds), 1)) * odds[:, -1:] >= odds).sum(axis=1)
    return drawn


def _first_assignment(problem: _Problem) -> Indices:
    """Return the split of every group, placed one by one: the column in the fewest groups first, large groups first.

    A group goes to the split that lacks most of what the group has, measured by what has been placed so far.
    """
    share, wanted, allowed = problem.share, problem.wanted, problem.allowed
    place: Indices = allowed.argmax(axis=1)  # where groups stay in which there is nothing to count
    lacking = np.zeros_like(wanted)
    barred = np.where(allowed, 0.0, -np.inf)
    has: Flags = problem.has > 0
    waiting = np.atleast_1d(has.any(axis=1))
    while waiting.any():
        holders = (has & waiting[:, None]).sum(axis=0)
        column = int(np.where(holders > 0, holders, len(share) + 1).argmin())
        groups = np.flatnonzero(has[:, column] & waiting)
        for group in groups[np.argsort(-share[groups, column], kind="stable")]:
            lacking += wanted * share[group]
            split = int((lacking @ share[group] + barred[group]).argmax())
            lacking[split] -= share[group]
            place[group] = split
        waiting[groups] = False
    return place


@dataclass
class _Search:
    """An assignment that is made better by the best move of one group, or else by the best swap of two."""

    problem: _Problem
    place: Indices  # [groups]
    off: Floats  # [splits, columns] as in `_Problem.cost`
    holders: Floats  # [splits, columns]
    share: Floats  # [groups + 1, columns] those of the problem; the last row is no group at all
    has: Floats  # [groups + 1, columns]

    @classmethod
    def begin(cls, problem: _Problem, place: Indices) -> _Search:
        inside = (place == np.arange(len(problem.wanted))[:, None]).astype(np.float64)  # [splits, groups]
        off, holders = inside @ problem.share - problem.wanted, inside @ problem.has
        share, has = (np.vstack([table, np.zeros_like(table[:1])]) for table in (problem.share, problem.has))
        return cls(problem, place, off, holders, share, has)

    def improve(self, rng: np.random.Generator) -> float:
        """Change the assignment as long as that helps, and return what it costs in the end."""
        cost, fruitless = float(self.problem.cost(self.off, self.holders)), 0
        for _ in range(STEPS):
            found, all_seen = self._best(self._moves, cost, rng)
            if found is None:
                found, all_swaps_seen = self._best(self._swaps, cost, rng)
                all_seen &= all_swaps_seen
            if found is not None:
                cost, fruitless = found[0], 0
                self._change(*found[1:])
                continue
            fruitless += 1
            if all_seen or fruitless == PATIENCE:
                break
        return cost

    def _best(
        self,
        changes: Callable[[int, int, np.random.Generator], tuple[Indices, bool]],
        cost: float,
        rng: np.random.Generator,
    ) -> tuple[tuple[float, int, int, Indices] | None, bool]:
        """Return the best change below a cost as (cost, split, split, groups), and whether all changes were seen."""
        best, all_seen = None, True
        for a, b in combinations(range(len(self.off)), 2):
            groups, complete = changes(a, b, rng)
            all_seen &= complete
            costs = self._costs(a, b, groups)
            least = int(costs.argmin()) if len(costs) else -1
            if least >= 0 and costs[least] < cost - _LEAST:
                cost = float(costs[least])
                best = (cost, a, b, groups[least])
        return best, all_seen

    def _moves(self, a: int, b: int, rng: np.random.Generator) -> tuple[Indices, bool]:
        """Return groups [n, 2] that may leave one split for the other; the second one, or the first, is none."""
        ones, others = self._movable(a, b)
        groups = np.full((len(ones) + len(others), 2), len(self.place))
        groups[: len(ones), 0] = ones
        groups[len(ones) :, 1] = others
        if len(groups) <= CANDIDATES:
            return groups, True
        return groups[np.sort(rng.choice(len(groups), CANDIDATES, replace=False))], False

    def _swaps(self, a: int, b: int, rng: np.random.Generator) -> tuple[Indices, bool]:
        """Return pairs of groups [n, 2], one of each split, that may change places."""
        ones, others = self._movable(a, b)
        pairs = len(ones) * len(others)
        drawn = np.arange(pairs) if pairs <= CANDIDATES else rng.integers(0, pairs, CANDIDATES)
        width = max(len(others), 1)
        return np.stack([ones[drawn // width], others[drawn % width]], axis=1), pairs <= CANDIDATES

    def _movable(self, a: int, b: int) -> tuple[Indices, Indices]:
        allowed = self.problem.allowed
        return np.flatnonzero((self.place == a) & allowed[:, b]), np.flatnonzero((self.place == b) & allowed[:, a])

    def _costs(self, a: int, b: int, groups: Indices) -> Floats:
        """Return what it costs to bring the first group of each row from a to b and the second one from b to a."""
        after = []
        for table, flow in self._flows(groups):
            changed = np.repeat(table[None], len(groups), axis=0)
            changed[:, a] -= flow
            changed[:, b] += flow
            after.append(changed)
        costs: Floats = self.problem.cost(*after)
        return costs

    def _flows(self, groups: Indices) -> list[tuple[Floats, Floats]]:
        """Return the two tables, each with what every row of groups takes from the first split [n, columns]."""
        first, second = groups[..., 0], groups[..., 1]
        return [(self.off, self.share[first] - self.share[second]), (self.holders, self.has[first] - self.has[second])]

    def _change(self, a: int, b: int, groups: Indices) -> None:
        for table, flow in self._flows(groups):
            table[a] -= flow
            table[b] += flow
        for group, split in zip(groups, (b, a), strict=True):
            if group < len(self.place):
                self.place[group] = split
