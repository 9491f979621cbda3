"""The splits of scikit-learn and scikit-multilearn, for benchmarks/splits.py; runs under an interpreter that has them.

    PYTHON benchmarks/splits_peers.py CASES.npz PLACES.npz

In: `counts_N` [groups, classes] boxes, and `parts`, wanted fifths of each split. Out: `NAME_N` split of every group.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from skmultilearn.model_selection import IterativeStratification

SEEDS = 5


def stratified_group_kfold(counts: np.ndarray, parts: np.ndarray, seed: int | None) -> list[np.ndarray]:
    """Return the assignments that the five folds give: each fold in turn is the first part of the last split."""
    groups, classes = counts.nonzero()
    group = np.repeat(groups, counts[groups, classes])
    class_id = np.repeat(classes, counts[groups, classes])
    folds = StratifiedGroupKFold(int(parts.sum()), shuffle=seed is not None, random_state=seed)
    fold_of = np.zeros(len(counts), int)
    for number, (_, chosen) in enumerate(folds.split(class_id, class_id, group)):
        fold_of[group[chosen]] = number
    split_of = np.repeat(np.arange(len(parts)), parts)[::-1]  # the first fold belongs to the last split
    return [split_of[(fold_of + turn) % len(split_of)] for turn in range(len(split_of))]


def iterative_stratification(counts: np.ndarray, parts: np.ndarray, order: int, seed: int) -> np.ndarray:
    """Return the assignment of groups by the classes that they have."""
    np.random.seed(seed)  # noqa: NPY002  the package draws from NumPy's global generator
    fractions = (parts / parts.sum()).tolist()
    stratifier = IterativeStratification(len(parts), order=order, sample_distribution_per_fold=fractions)
    place = np.zeros(len(counts), int)
    for split, (_, chosen) in enumerate(stratifier.split(counts, (counts > 0).astype(int))):
        place[chosen] = split
    return place


def main(cases: str, places: str) -> None:
    """Divide every case in every way."""
    warnings.simplefilter("ignore")  # classes with fewer boxes than folds
    given, found, seconds = np.load(cases), {}, {"kfold": 0.0, "iterative": 0.0}
    parts = given["parts"]
    for name in given.files:
        if name == "parts":
            continue
        counts, number = given[name], name.removeprefix("counts_")
        start = time.process_time()
        found[f"kfold_{number}"] = np.array(stratified_group_kfold(counts, parts, None))
        seconds["kfold"] += time.process_time() - start
        shuffled = [stratified_group_kfold(counts, parts, seed) for seed in range(SEEDS)]
        found[f"kfold_shuffled_{number}"] = np.concatenate(shuffled)
        start = time.process_time()
        found[f"iterative_{number}"] = np.array([iterative_stratification(counts, parts, 1, 0)])
        seconds["iterative"] += time.process_time() - start
        orders = [iterative_stratification(counts, parts, order, s) for order in (1, 2) for s in range(SEEDS)]
        found[f"iterative_seeds_{number}"] = np.array(orders)
    np.savez(places, seconds=np.array(list(seconds.values())), **found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
