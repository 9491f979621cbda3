"""Rules on what was not finite: gradients, losses, and half precision looking for its loss scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ..findings import Finding
from .history import History
from .incidents import describe_incident, distinct, some_of
from .judging import Rule, percent, rate_in_use, rate_knob, trained_weights

REPEATS = 3  # steps not finite until it is no accident: after the third the guard keeps no more of them either
REPEAT_SHARE = 0.02  # or so large a share of the steps; one bad picture in a set of 100 spoils 8 % of batches of 8
AMP_SHARE = 0.05  # of the steps after warm-up; a rule of thumb
AMP_MIN_STEPS = 40  # steps before a share is one
# GradScaler starts at 2^16 and halves with every skip (docs.pytorch.org, torch.amp.GradScaler): after nine in a row its
# scale is 128, far below where healthy detectors settle.
AMP_IN_A_ROW = 9


def judge_non_finite(history: History) -> Finding | None:
    """Report steps that were not finite and not taken: where it began, with which pictures, how to repeat it."""
    steps = _skipped(history, "non_finite")
    if not len(steps) and not history.incidents:
        return None
    incidents = history.incidents
    count = max(len(steps), len(incidents))
    first = int(steps[0]) if len(steps) else int(incidents[0].get("step") or 0)
    stopped = any(e.get("event") == "failed" and "finite" in str(e.get("text")) for e in history.events)
    often = count >= REPEATS and count >= REPEAT_SHARE * history.steps.height
    files = distinct(incidents, "files") or distinct(incidents, "batch_files")
    replays = [record["replay"] for record in incidents if record.get("replay")]
    what = describe_incident(incidents[0]) if incidents else "its gradients or its loss were nan or inf"
    times = f"; {count} steps in all" if count > 1 else ""
    return Finding(
        "gradient.non_finite",
        "error" if stopped or often else "warning",
        f"step {first} was not finite and not taken: {what}{times}{', then the training stopped' if stopped else ''}",
        {
            "step": first,
            "steps": [int(step) for step in steps[:50]],
            "count": count,
            "modules": distinct(incidents, "module"),
            "loss_terms": distinct(incidents, "loss_terms"),
            "tensors": distinct(incidents, "tensors")[:50],
            "statistics": distinct(incidents, "statistics")[:50],
            "files": files[:50],
            "replay": replays[0] if replays else None,
        },
        _mend(history, files, replays),
    )


def _mend(history: History, files: Sequence[str], replays: Sequence[str]) -> str:
    incidents = history.incidents
    again = f"; `{replays[0]}` repeats the step" if replays else ""
    if any(record.get("phase") == "pictures" for record in incidents):
        return f"data: repair or leave out {some_of(files)}: their pixels are not numbers{again}"
    if history.context.get("precision") == "fp16":
        return f"train.amp=bf16: it has the range of float32, half precision ends at 65,504{again}"
    if any(record.get("told_apart") for record in incidents):
        return f"data: look at {some_of(files)}, which bring it about on their own{again}"
    at_once = [record for record in incidents if record.get("phase") == "statistics" and record.get("step") == 0]
    if at_once:
        return f"{_fresh_weights(history, str(at_once[0].get('module')))}{again}"
    rate = rate_in_use(history) / 3
    if np.isfinite(rate):
        return f"{rate_knob(history, rate)}: a third; weights that grow too fast overflow first{again}"
    return f"train.amp=false: rules out the number format{again}"


def _fresh_weights(history: History, layer: str) -> str:
    return f"model={trained_weights(history)}: fresh weights; those of the layer before {layer} are far too large"


def judge_amp(history: History) -> Finding | None:
    """Report half precision that skips steps for longer than it takes to find its loss scale."""
    skipped = _skipped(history, "amp")
    if not len(skipped):
        return None
    taken = history.steps.height - history.warmup_steps
    late = skipped[skipped >= history.warmup_steps]
    share = len(late) / taken if taken >= AMP_MIN_STEPS else 0.0
    row = _longest_row(skipped)
    if share <= AMP_SHARE and row < AMP_IN_A_ROW:
        return None
    scale = history.step_values("loss_scale")
    first, last = float(scale[0]), float(scale[-1])
    why = f"{percent(share)} of the steps after warm-up" if share > AMP_SHARE else f"{row} steps in a row"
    return Finding(
        "amp.skipping",
        "warning",
        f"half precision overflows and skips {why}, since step {skipped[0]}; the loss scale went {first:g} to {last:g}",
        {
            "step": int(skipped[0]),
            "skipped": len(skipped),
            "share_after_warmup": round(share, 4),
            "in_a_row": row,
            "loss_scale_first": first,
            "loss_scale_last": last,
        },
        "train.amp=bf16: it needs no loss scale and skips nothing; train.amp=false where the device has no bf16",
    )


def _skipped(history: History, reason: str) -> np.ndarray:
    """Return the steps that were skipped for a reason."""
    table = history.steps
    if not {"skip_reason", "step"} <= set(table.columns) or table["skip_reason"].dtype != pl.String:
        return np.zeros(0, int)
    found: np.ndarray = table.filter(pl.col("skip_reason") == reason)["step"].to_numpy()
    return found


def _longest_row(steps: np.ndarray) -> int:
    breaks = np.flatnonzero(np.diff(steps) != 1)
    edges = np.concatenate([[-1], breaks, [len(steps) - 1]])
    return int(np.diff(edges).max())


def judge_statistics(history: History) -> Finding | None:
    """Report BatchNorm statistics that are not finite: outputs before them overflowed, the loss may look sound."""
    for probe in history.probes_of("health"):
        layers = [name for name, row in (probe.get("norms") or {}).items() if row.get("non_finite")]
        if layers:
            step = int(probe.get("step") or 0)
            more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
            return Finding(
                "norm.not_finite",
                "error",
                f"the statistics of {layers[0]}{more} are not finite at step {step}: what goes into it overflows",
                {"step": step, "layer": layers[0], "layers": layers},
                _fresh_weights(history, layers[0]),
            )
    return None


RULES: tuple[Rule, ...] = (judge_non_finite, judge_statistics, judge_amp)
