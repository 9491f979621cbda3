"""Does every class get its share in every split, beside scikit-learn and scikit-multilearn?

Random cases: 15 to 200 groups of 1 to 50 pictures, 3 to 30 classes whose frequencies fall like a power, each group with
its own mixture of classes. The figure is the largest deviation: over classes and splits, of the share of the class's
boxes in the split from the wanted share.

    OMP_NUM_THREADS=1 python benchmarks/splits.py --sklearn-python PYTHON [--cases 200]

PYTHON is an interpreter of an environment with scikit-learn and scikit-multilearn; the project does not need them.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from pipeline.data import stratify as module

# How the assignments of benchmarks/splits_peers.py are read: name, its words, only the first one or the best of all.
PEERS = (
    ("kfold", "StratifiedGroupKFold, first fold", True),
    ("kfold", "best of its 5 folds", False),
    ("kfold_shuffled", "best of 5 folds with 5 seeds", False),
    ("iterative", "iterative stratification of groups", True),
    ("iterative_seeds", "best of orders 1 and 2 with 5 seeds", False),
)
FIRST_SEED = 10_000  # none of these cases was looked at when the search was made
Case = tuple[Any, Any]  # boxes [groups, classes], pictures [groups]


def random_case(seed: int) -> Case:
    """Return boxes and pictures of random groups."""
    rng = np.random.default_rng(seed)
    classes, groups = int(rng.integers(3, 31)), int(rng.integers(15, 201))
    frequency = np.arange(1, classes + 1) ** -rng.uniform(0.5, 2)
    frequency /= frequency.sum()
    pictures = rng.lognormal(1.5, 1, groups).astype(int).clip(1, 50)
    alike = rng.choice([0.5, 2, 10])  # small: a group has few of the classes
    mixtures = np.array([rng.dirichlet(frequency * alike * classes + 1e-9) for _ in range(groups)])
    counts = rng.multinomial(rng.poisson(rng.uniform(1, 5) * pictures), mixtures)
    return counts[:, counts.sum(axis=0) > 0], pictures


def our_places(case: Case, fractions: Any) -> Any:
    """Return our split of every group, with boxes and pictures as columns."""
    columns = np.column_stack(case).astype(float)
    return module.stratify(columns, np.repeat(fractions[:, None], columns.shape[1], axis=1), 0)


def judged(case: Case, place: Any, fractions: Any) -> tuple[float, float, int, float]:
    """Return largest and mean deviation of classes, classes missing that need not be, and deviation of pictures."""
    inside = (place == np.arange(len(fractions))[:, None]).astype(int)
    off = np.abs(inside @ case[0] / case[0].sum(axis=0) - fractions[:, None])
    holders = inside @ (case[0] > 0)
    missing = int(((holders.sum(axis=0) > np.arange(len(fractions))[:, None]) & (holders == 0)).sum())
    pictures = np.abs(inside @ case[1] / case[1].sum() - fractions).max()
    return float(off.max()), float(off.mean()), missing, float(pictures)


def peers(python: str, cases: list[Case], parts: Any) -> Any:
    """Return the assignments that the two packages find, by name and case, and their seconds."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "cases.npz", Path(folder) / "places.npz"
        np.savez(given, parts=parts, **{f"counts_{n}": counts for n, (counts, _) in enumerate(cases)})
        script = Path(__file__).with_name("splits_peers.py")
        subprocess.run([python, str(script), str(given), str(found)], check=True)
        with np.load(found) as places:
            return dict(places)


def compare(python: str, cases: list[Case], parts: Any) -> None:
    """Print the table of one way to divide."""
    fractions = parts / parts.sum()
    found = peers(python, cases, parts)
    start = time.process_time()
    mine = np.array([judged(case, our_places(case, fractions), fractions) for case in cases])
    took = time.process_time() - start
    with patch.object(module, "MISSING", 0.0):
        unruled = np.array([judged(case, our_places(case, fractions), fractions) for case in cases])
    print(f"\n## {' / '.join(f'{f:g}' for f in fractions)}\n")
    print("| | mean | median | mean of all classes | pictures | missing | better / equal / worse |")
    print("|---|---|---|---|---|---|---|")
    print(f"| **ours** | {_figures(mine)} | |")
    print(f"| ours without the rule on missing classes | {_figures(unruled)} | |")
    lost: set[int] = set()
    for name, words, first in PEERS:
        rows = []
        for number, case in enumerate(cases):
            tried = found[f"{name}_{number}"]
            rows.append(min(judged(case, place, fractions) for place in (tried[:1] if first else tried)))
        other = np.array(rows)
        gain, gain_unruled = (np.round(other[:, 0] - ours[:, 0], 9) for ours in (mine, unruled))
        lost |= {int(n) for n in np.flatnonzero(gain < 0) if other[n, 2] <= mine[n, 2]}
        wins = " / ".join(str((np.sign(gain) == sign).sum()) for sign in (1, 0, -1))
        unruled_wins = " / ".join(str((np.sign(gain_unruled) == sign).sum()) for sign in (1, 0, -1))
        print(f"| {words} | {_figures(other)} | {wins} (without the rule {unruled_wins}) |")
    print(f"\nWorse in a case without more missing classes: {len(lost)} {sorted(lost)}.")
    kfold, iterative = 1e3 * found["seconds"] / len(cases)
    print(f"CPU ms per case: ours {1e3 * took / len(cases):.0f}, k-fold {kfold:.0f}, iterative {iterative:.0f}.")


def _figures(rows: Any) -> str:
    points = 100 * rows
    means = f"{points[:, 1].mean():.2f} | {points[:, 3].mean():.2f} | {int(rows[:, 2].sum())}"
    return f"{points[:, 0].mean():.2f} | {np.median(points[:, 0]):.2f} | {means}"


def starts(cases: list[Case]) -> None:
    """Print what more searches bring."""
    fractions = np.array([0.6, 0.2, 0.2])
    print("\n| searches | mean largest deviation, points | CPU ms per case |\n|---|---|---|")
    for count in (1, 2, 4, 8, 16, 32):
        start = time.process_time()
        with patch.object(module, "STARTS", count):
            mine = np.array([judged(case, our_places(case, fractions), fractions) for case in cases])
        took = 1e3 * (time.process_time() - start) / len(cases)
        print(f"| {count} | {100 * mine[:, 0].mean():.2f} | {took:.0f} |")


def speed() -> None:
    """Print time and deviation for many groups of 30 classes, ten boxes each on average."""
    print("\n| groups | splits | searches | seconds | largest deviation, points |\n|---|---|---|---|---|")
    frequency = np.arange(1, 31) ** -1.5
    for groups in (500, 2_000, 10_000, 100_000):
        rng = np.random.default_rng(1)
        counts = rng.poisson(10 * frequency / frequency.sum(), (groups, 30))
        case = counts[:, counts.sum(axis=0) > 0], np.ones(groups)
        for fractions in (np.array([0.85, 0.15]), np.array([0.7, 0.15, 0.15])):
            for searches in (1, module.STARTS) if groups <= 2000 else (1,):
                start = time.process_time()
                with patch.object(module, "STARTS", searches), patch.object(module, "SMALL", 2000):
                    place = our_places(case, fractions)
                took, off = time.process_time() - start, judged(case, place, fractions)[0]
                print(f"| {groups} | {len(fractions)} | {searches} | {took:.2f} | {100 * off:.3f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sklearn-python", required=True)
    parser.add_argument("--cases", type=int, default=200)
    options = parser.parse_args()
    random_cases = [random_case(FIRST_SEED + number) for number in range(options.cases)]
    for parts in ([4, 1], [3, 1, 1]):
        compare(options.sklearn_python, random_cases, np.array(parts))
    starts(random_cases[: options.cases // 5])
    speed()
