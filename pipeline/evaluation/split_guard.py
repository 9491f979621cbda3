"""How far a split's figure can be trusted: did it choose the weights, and how often was it used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from ..errors import RunError
from ..findings import Finding
from ..records import append_lines, now, read_lines

USES = "split-uses.jsonl"  # beside the run folders: what one run cannot know, what all of them did with a split
_NEIGHBOURS = 3  # epochs on each side of the best one that tell what it would have scored without luck
# From this many different weights on, the best of them owes half of its lead to chance or more (see `selection_bonus`).
_MANY_WEIGHTS = 5


def optimism(epochs: pl.DataFrame) -> dict[str, Any] | None:
    """Estimate by how much the split that chose the weights flatters them; None where too few epochs tell.

    The chosen epoch is compared with a straight line through its neighbours, `_NEIGHBOURS` on each side, itself left
    out: what it stands above them is chance, because learning is smooth from one epoch to the next. Neighbours share
    weights (EMA), so their chance is alike in part, and the estimate is rather too low.

    Returns:
        `map50_95`, the estimate, 0 or more; `epochs`, how many could have been chosen.
    """
    if epochs.is_empty() or "val_map50_95" not in epochs.columns:
        return None
    scores = epochs["val_map50_95"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    chosen = epochs["best"].arg_true()
    if not len(chosen):
        return None
    best = int(chosen[-1])
    first = max(0, best - _NEIGHBOURS)
    others = np.array([e for e in range(first, min(len(scores), best + _NEIGHBOURS + 1)) if e != best])
    others = others[np.isfinite(scores[others])] if len(others) else others
    if len(others) < _NEIGHBOURS or not np.isfinite(scores[best]):
        return None
    line = np.polyfit(others - best, scores[others], 1)
    return {"map50_95": max(0.0, float(scores[best] - line[1])), "epochs": len(scores)}


def selection_bonus(candidates: int) -> float:
    """Return by how many standard deviations the best of so many equal ones lies above their mean, by chance alone.

    Source: Blom, Statistical Estimates and Transformed Beta-Variables (1958).
    """
    return NormalDist().inv_cdf((candidates - 0.375) / (candidates + 0.25)) if candidates > 1 else 0.0


def weights_digest(weights: Path) -> str:
    """Return what tells one checkpoint from another: half of the SHA-256 of the file."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:32]


def count_use(runs: Path, name: str, split: str, fingerprint: str, weights: str) -> dict[str, int]:
    """Write down that a split judged some weights, and return how often that happened so far.

    The list lies beside the run folders, because the question is what all runs did with the same pictures.

    Args:
        runs: the folder of the run folders.
        name: of the run, or of the checkpoint.
        split: its name.
        fingerprint: of its pictures and boxes.
        weights: digest of the checkpoint.

    Returns:
        `times` in all, `different_weights`, `times_of_run`.

    Raises:
        RunError: the list is damaged or cannot be written.
    """
    place = runs / USES
    uses = read_lines(place)
    for number, use in enumerate(uses, start=1):
        if not {"fingerprint", "weights", "run"} <= use.keys():
            raise RunError(f"{place}:{number}: is no use of a split; take the line out, or restore the file")
    use = {"date": now(), "run": name, "split": split, "fingerprint": fingerprint, "weights": weights}
    append_lines(place, [use])
    same = [record for record in [*uses, use] if record["fingerprint"] == fingerprint]
    return {
        "times": len(same),
        "different_weights": len({record["weights"] for record in same}),
        "times_of_run": sum(record["run"] == name for record in same),
    }


def use_findings(split: str, uses: dict[str, int], images: int, deviation: float | None) -> list[Finding]:
    """Return a finding when a split has judged so many weights that the best of them flatters.

    Args:
        split: its name.
        uses: from `count_use`.
        images: number of its pictures.
        deviation: standard deviation of mAP50-95 over samples of pictures, if it could be measured.
    """
    if uses["different_weights"] < _MANY_WEIGHTS:
        return []
    lead = 100 * selection_bonus(uses["different_weights"]) * (deviation or 0.0)
    bonus = "" if deviation is None else f", by up to {lead:.1f} points"
    message = (
        f"the {images} pictures of '{split}' have judged {uses['different_weights']} different weights; "
        f"the best of them looks better than it is{bonus}"
    )
    advice = "choose between models on val, and use test for the last one alone; or label new pictures for test"
    return [Finding("evaluation.split_used_often", "warning", message, dict(uses), advice)]
