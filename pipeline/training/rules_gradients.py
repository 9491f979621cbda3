"""Rules on the size of the gradients, against baselines that know how a detector's gradients move.

Norms are per picture and divided by the weight of the branch of the loss that feeds the layer: YOLO26's one-to-many
weight falls from 0.8 to 0.1 over a run, and the backbone's gradient with it, by the schedule alone.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from ..findings import Finding
from .history import History, Values
from .judging import (
    MAD_TO_DEVIATION,
    UNSETTLED,
    Rule,
    assigned_from,
    branch_weights,
    files_of_steps,
    layer_norms,
    median,
    medians,
    name_layer,
    number,
    one_digit,
    places,
    plain_loss,
    rate_in_use,
    rate_knob,
    restart,
    starts_random,
    trained_weights,
)

WINDOW = 20  # steps of a baseline and of what is compared with it; a rule of thumb
VANISHED = 1e-3  # of the layer's own baseline; a rule of thumb; healthy runs: 1e-2 and more
# ... and of what the other layers did meanwhile: a network that converges has small gradients everywhere. Where the
# loss has not come down to CONVERGING of what it was, gradients that fade everywhere are no sign of that.
VANISHED_TO_OTHERS, CONVERGING = 1e-2, 0.8
# A layer against the median layer of the backbone, at one time. Calibrated: healthy runs 7e-2 and more.
CLIFF = 1e-4
EXPLODED_Z = 6.0  # robust z of the log norm; three times: a rule of thumb
EXPLODED_TIMES, EXPLODED_WITHIN = 3, 10  # hits, in so many steps
HISTORY_OF_Z = 30  # steps behind a step that it is compared with
# Least robust deviation of the log norm: a batch more or less crowded changes the norm by a third. So z = 6 is six
# times the norm at least. Calibrated on benchmarks/healthy_runs.py.
LEAST_DEVIATION = 0.3
CLIPPED_MORE = 10.0  # growth of norm / clip over its own baseline; the level says nothing: clip 10 is always active
USUAL_CLIP = 10.0  # fixed in Ultralytics
CLIPPED_TO_NOTHING = 1000.0  # norm / clip under a clip of one's own; healthy runs at Ultralytics' clip: 2 to 20
DROWNED = 100.0  # growth of head / backbone; a rule of thumb; healthy runs: up to 10


def judge_vanishing(history: History) -> Finding | None:
    """Report a layer whose gradient has gone, against its own past or against the layers beside it."""
    norms = layer_norms(history)
    return _faded(history, norms) or _cliff(history, norms)


def _faded(history: History, norms: Values) -> Finding | None:
    begin = restart(history)
    if len(norms) < begin + 2 * WINDOW:
        return None
    base, now = medians(norms[begin : begin + WINDOW]), medians(norms[-WINDOW:])
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(base > 0, now / base, np.nan)
    judged = _with_objects(history)
    others = median(change[judged])
    loss = plain_loss(history)
    converging = median(loss[-WINDOW:]) < CONVERGING * median(loss[begin : begin + WINDOW])
    floor = 0.0 if converging else VANISHED
    gone = np.flatnonzero(judged & (change < VANISHED) & (change < VANISHED_TO_OTHERS * max(others, floor)))
    if not len(gone):
        return None
    names = [history.norms.layer_names[index] for index in gone]
    worst = gone[np.argmin(change[gone])]
    layer = history.norms.layer_names[worst]
    since = begin + int(np.argmax(np.nan_to_num(norms[begin:, worst], nan=np.inf) < VANISHED * base[worst]))
    return _vanished(
        history,
        names,
        f"the gradient of {name_layer(history, layer)} has fallen to {change[worst]:.0e} of what it was after step "
        f"{begin}, that of the other layers to {others:.0e}; below a thousandth since step {since}",
        {"step": since, "layer": layer, "change": float(change[worst]), "others": others},
    )


def _cliff(history: History, norms: Values) -> Finding | None:
    where = places(history)
    backbone = [i for i, layer in enumerate(history.norms.layer_names) if where.get(layer) == "backbone"]
    if len(norms) < WINDOW or len(backbone) < 3:
        return None
    now = medians(norms[-WINDOW:])[backbone]
    middle = median(now)
    low = [i for i, value in zip(backbone, now, strict=True) if 0 < value < CLIFF * middle]
    if not low:
        return None
    names = [history.norms.layer_names[index] for index in low]
    share = float(np.min(now[now > 0]) / middle)
    return _vanished(
        history,
        names,
        f"the gradient of {name_layer(history, names[-1])} is {share:.0e} of the median layer's over {WINDOW} steps",
        {"step": len(norms) - WINDOW, "layer": names[-1], "share": share},
    )


def _vanished(history: History, layers: list[str], message: str, evidence: dict[str, object]) -> Finding:
    advice = (
        f"{rate_knob(history, rate_in_use(history) * 3)}: three times the rate, while the layer still moves"
        if not starts_random(history)
        else f"model={trained_weights(history)}: pretrained weights, because a layer whose gradient is gone does not "
        "come back by itself"
    )
    return Finding("gradient.vanishing", "warning", message, {**evidence, "layers": layers}, advice)


def _with_objects(history: History) -> npt.NDArray[np.bool_]:
    """Return which layers may be judged, `[l]`: not those of a level that has no objects to learn from.

    The box branches of a level without objects have a gradient of exactly zero, and the neck behind it only learns to
    say nothing there, which it soon does. Each level below the finest owns two neck layers.
    """
    layers, tensors = history.norms.layer_names, history.norms.tensors
    levels = {name: found[1] for name in tensors if (found := re.search(r"\.(?:one2one_)?cv2\.(\d+)\.", name))}
    recent = history.norms.values[-WINDOW:]
    starved = {
        level
        for index, name in enumerate(tensors)
        if (level := levels.get(name)) is not None and len(recent) and (recent[:, index] == 0).mean() > 0.25
    }
    where = places(history)
    neck = [layer for layer in layers if where.get(layer) == "neck"]
    count = 2 * sum(level != "0" for level in starved)
    left_out = set(neck[len(neck) - count :]) if count else set()
    return np.array([where.get(layer) in ("backbone", "neck") and layer not in left_out for layer in layers], bool)


def judge_exploding(history: History) -> Finding | None:
    """Report a gradient norm that leaves its own past several times."""
    norm = history.step_values("grad_norm_before_clip")
    begin = assigned_from(history)
    norm = np.where((norm > 0) & np.isfinite(norm), norm, np.nan)[begin:]
    log = np.log(norm)
    if len(log) < HISTORY_OF_Z + EXPLODED_TIMES or np.isfinite(log).sum() < HISTORY_OF_Z:
        return None
    filled = np.where(np.isfinite(log), log, np.nanmedian(log))
    past = np.lib.stride_tricks.sliding_window_view(filled, HISTORY_OF_Z)[:-1]
    middle = np.median(past, axis=1)
    spread = MAD_TO_DEVIATION * np.median(np.abs(past - middle[:, None]), axis=1)
    z = (log[HISTORY_OF_Z:] - middle) / np.maximum(spread, LEAST_DEVIATION)
    hits = np.flatnonzero(z > EXPLODED_Z)
    if starts_random(history):  # of few objects assigned, some batches have none: norms differ by magnitudes
        hits = hits[hits + begin + HISTORY_OF_Z >= UNSETTLED]
    close = (
        hits[EXPLODED_TIMES - 1 :] - hits[: -EXPLODED_TIMES + 1] < EXPLODED_WITHIN if len(hits) >= 3 else np.zeros(0)
    )
    if not close.any():
        return None
    first = int(hits[int(close.argmax())])
    step = begin + HISTORY_OF_Z + first
    steps = [begin + HISTORY_OF_Z + int(hit) for hit in hits]
    times = float(np.exp(log[HISTORY_OF_Z + first] - middle[first]))
    layer = _grown_most(history, step)
    rate = rate_in_use(history)
    return Finding(
        "gradient.exploding",
        "warning",
        f"the gradient norm per picture is {times:,.0f} times its median at step {step}, and {len(hits)} steps are "
        f"beyond {EXPLODED_Z:.0f} deviations{layer and f'; {name_layer(history, layer)} grew most'}",
        {
            "step": step,
            "steps": steps[:50],
            "layer": layer,
            "times": times,
            "z": float(z[first]),
            "norm": float(norm[HISTORY_OF_Z + first]),
            "files": files_of_steps(history, steps)[:20],
        },
        f"{rate_knob(history, rate / 3)}: a third; the weights have come to where the loss is steep",
    )


def _grown_most(history: History, step: int) -> str:
    norms = layer_norms(history)
    if step >= len(norms):
        return ""
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = norms[step] / medians(norms[max(0, step - HISTORY_OF_Z) : step])
    growth = np.where(np.isfinite(growth), growth, 0.0)
    return history.norms.layer_names[int(growth.argmax())] if growth.any() else ""


def judge_clipping(history: History) -> Finding | None:
    """Report clipping that grows against its own baseline under SGD, whose steps shrink in proportion."""
    clip = number(history.context.get("clip"))
    if "SGD" not in str(history.context.get("optimizer")) or not clip > 0:
        return None
    severity = history.step_values("grad_norm_before_clip") * history.step_values("images") / clip
    begin = restart(history)
    if len(severity) < begin + 2 * WINDOW:
        return None
    base, now = median(severity[begin : begin + WINDOW]), median(severity[-WINDOW:])
    if clip < USUAL_CLIP / 10 and base > CLIPPED_TO_NOTHING:
        return Finding(
            "gradient.clipped_away",
            "warning",
            f"clip={clip:g} divides the gradient by {base:,.0f} after warm-up, and SGD's steps with it",
            {"step": begin, "severity": now, "baseline": base, "clip": clip},
            f"monitor.clip={USUAL_CLIP:g}: Ultralytics' own value, which healthy runs exceed by 2 to 20 times",
        )
    settled = assigned_from(history)
    base = median(severity[settled : settled + WINDOW])
    grown = len(severity) >= settled + 2 * WINDOW and now > CLIPPED_MORE * max(base, 0.1) and now > CLIPPED_MORE
    if not grown:
        return None
    return Finding(
        "gradient.clipped_away",
        "warning",
        f"clipping now divides the gradient by {now:,.0f}, after warm-up it was {base:,.1f}: SGD's steps have become "
        f"{now / base:,.0f} times smaller than the learning rate says",
        {"step": len(severity) - WINDOW, "severity": now, "baseline": base, "clip": clip},
        f"monitor.clip={one_digit(clip * now / base)}: keeps the steps in proportion; AdamW would not mind the scale",
    )


def judge_head(history: History) -> Finding | None:
    """Report a head whose gradient outgrows the backbone's, so that clipping leaves the backbone nothing."""
    where = places(history)
    layers = history.norms.layer_names
    head = [i for i, layer in enumerate(layers) if where.get(layer) == "head"]
    backbone = [i for i, layer in enumerate(layers) if where.get(layer) == "backbone"]
    norms = layer_norms(history)
    begin = restart(history)
    if not head or not backbone or len(norms) < begin + 2 * WINDOW:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt((norms[:, head] ** 2).sum(axis=1) / (norms[:, backbone] ** 2).sum(axis=1))
    base, now = median(ratio[begin : begin + WINDOW]), median(ratio[-WINDOW:])
    if not (now > DROWNED * base and now > DROWNED):
        return None
    share = median(branch_weights(history, layers)[-WINDOW:, head[0]])
    return Finding(
        "gradient.head_drowns_backbone",
        "warning",
        f"the head's gradient is {now:,.0f} times the backbone's, after step {begin} it was {base:,.1f}: clipping by "
        "the total leaves the backbone next to nothing",
        {"step": len(norms) - WINDOW, "ratio": now, "baseline": base, "o2m": share},
        f"train.freeze={len(backbone)}: freezes the backbone until the head has settled; then train on with freeze=0",
    )


RULES: tuple[Rule, ...] = (judge_vanishing, judge_exploding, judge_clipping, judge_head)
