"""The thresholds of an evaluated split in plain sentences: which are used, how far they can be trusted, what they do.

The page and the model card say the same.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ..records import read_json
from ..runs import Run
from .wording import percent

_MOST_CLASSES = 8  # that a sentence names
_RATES = (("escape", "defective pictures pass"), ("overkill", "good pictures are rejected"))


def kept_record(run: Run) -> dict[str, Any]:
    """Return the thresholds and the calibrator that the run holds now; empty where none were chosen.

    Raises:
        RunError: the record is damaged.
    """
    return read_json(run.path / "operating_point.json", {})  # type: ignore[no-any-return]


def common_threshold(point: Mapping[str, Any]) -> float | None:
    """Return the threshold that all classes have; None where they differ."""
    overall = float(point["overall"])
    return overall if all(value == overall for value in point["thresholds"].values()) else None


def which(point: Mapping[str, Any]) -> str:
    """Return the thresholds that predictions are cut at, where they were chosen and how, in one sentence."""
    common, chosen = common_threshold(point), f"chosen on {point['split']}: {point['rule']['text']}"
    if common is not None:
        return f"Threshold {common:.3g} for every class ({chosen})."
    thresholds, overall = point["thresholds"], point["overall"]
    named = list(thresholds)
    if len(named) > _MOST_CLASSES:  # those that have the overall one need no names
        named = [name for name in named if thresholds[name] != overall]
    words = ", ".join(f"{name} {thresholds[name]:.3g}" for name in named[:_MOST_CLASSES])
    words += f", and {len(named) - _MOST_CLASSES} more" if len(named) > _MOST_CLASSES else ""
    others = len(thresholds) - len(named)
    words += f"; {overall:.3g} for the other {others}" if others else ""
    return f"Thresholds by class ({chosen}): {words}."


def what_to_know(run: Run, split: str, metrics: Mapping[str, Any]) -> list[str]:
    """Return how far the thresholds of an evaluated split can be trusted, and what they do on its pictures.

    Args:
        run: that the split was evaluated for.
        split: its name.
        metrics: its figures; without thresholds the reason for that is all.
    """
    point, note = metrics.get("operating_point"), metrics.get("operating_point_note") or ""
    if not point:
        return [f"No thresholds: {note}."] if note else []
    check = point["check"]
    if not (check or note):
        note = f"chosen on these very pictures ({split}), so the figures at them flatter"
    said = [f"Thresholds: {note}."] if note else []
    said += _stale(run, split, metrics)
    if point["promised"] is False:
        said.append(f"{point['split']} is too small, or lets too many pass, to promise an {point['rule']['text']}.")
    figures = (check or point)["figures"]
    said += [*point["notes"], *(_rate(figures[name], what) for name, what in _RATES if figures[name]["trials"])]
    return [*said, *figures["notes"], *(check or {}).get("sentences", ())]


def _rate(rate: Mapping[str, Any], what: str) -> str:
    bounds = f"{percent(rate['low'])} to {percent(rate['high'])}"
    return f"{rate['events']} of {rate['trials']} {what}: {percent(rate['value'])} ({bounds})."


def _stale(run: Run, split: str, metrics: Mapping[str, Any]) -> list[str]:
    """Say it where the run's thresholds are not those that the split was measured with."""
    kept, point = kept_record(run), metrics["operating_point"]
    if not kept:
        return []
    other_weights = kept.get("weights") != metrics.get("weights")
    command = f"tuneup eval {shlex.quote(str(run.path))}"
    if point["check"]:
        if other_weights or (kept.get("point") or {}).get("thresholds") != point["thresholds"]:
            return [f"The thresholds were chosen anew since this split was measured: `{command} eval.split={split}`."]
    elif other_weights:  # a split that had to choose its own, as there were none for its weights
        split_then = f"`{command} eval.split=val`, then `{command} eval.split={split}`"
        return [f"The run's thresholds belong to other weights than those measured here: {split_then}."]
    return []
