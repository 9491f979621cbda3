"""Rules on how a training was set up: what can be told from the context alone, or from the first steps."""

from __future__ import annotations

import math

import numpy as np

from ..findings import Finding
from .history import History
from .judging import (
    UNUSUAL,
    USUAL_RATES,
    Rule,
    median,
    named,
    number,
    percent,
    plain_loss,
    starts_random,
    usual_rate,
)

DEFAULT_LR0 = (
    0.01  # of Ultralytics; a person who writes it under optimizer=auto cannot be told from one who wrote nothing
)
WARMUP_NOTED, WARMUP_LARGE = 0.3, 0.5  # share of all steps; a rule of thumb
FEW_STEPS = 60  # calibrated on benchmarks/healthy_runs.py: from random weights nothing is found in fewer
GOOD_WARMUP = 0.1  # share that the advice aims at: Ultralytics' 3 of its 100 epochs, and room for a few steps more
ENOUGH_STEPS = 300  # of the advice: what the demo needs until it finds most of its objects from random weights
# Share of a weight that decay takes in a step. In equilibrium, where what the gradient adds is what decay takes, a step
# turns the weights by sqrt(2 x share) (Kosson, Messmer and Jaggi, arXiv 2305.17212): 5 % here, as much as
# `optimizer.lr_too_high` allows. Ultralytics' own settings: 1e-6 (AdamW) to 8e-5 (SGD).
DECAY_TOO_HIGH = 1.25e-3
DEFAULT_DECAY = 0.0005  # of Ultralytics
RESUME_WINDOW = 10  # steps before and after a resume that are compared
RESUME_JUMP = 1.5  # calibrated: a resume that restores everything leaves the loss within its noise, about 10 %


def judge_boxes(history: History) -> Finding | None:
    """Report a train split without a single box: the loss then only teaches to predict nothing."""
    boxes = history.context.get("train_boxes")
    images = history.context.get("train_images") or "the"
    box_terms = [name for name in history.steps.columns if name.endswith("box_loss")]
    never = (
        len(box_terms) > 0 and history.steps.height >= 5 and not any(history.step_values(n).any() for n in box_terms)
    )
    if boxes != 0 and not (boxes is None and never):
        return None
    return Finding(
        "data.no_boxes",
        "error",
        f"{images} pictures of train and not one box: the network can only learn to find nothing",
        {"train_boxes": 0, "train_images": history.context.get("train_images"), "step": 0},
        "data=PATH: point it at labels that hold boxes (YOLO: labels/ beside images/ under the same names; COCO: its "
        "JSON file), because every loss term but the classes' is zero without them",
    )


def judge_auto_rate(history: History) -> Finding | None:
    """Report that `optimizer=auto` put aside the learning rate that was asked for."""
    context = history.context
    asked, used = number(context.get("lr0_requested")), number(context.get("lr0"))
    chosen = context.get("optimizer")
    if context.get("optimizer_requested") != "auto" or asked in (DEFAULT_LR0, used) or not math.isfinite(asked):
        return None
    return Finding(
        "optimizer.auto_ignores_lr0",
        "warning",
        f"optimizer=auto ignores lr0={asked:g} and momentum: it took {chosen} with lr0={used:g}",
        {"lr0_requested": asked, "lr0": used, "optimizer": chosen, "step": 0},
        _to_count(str(chosen), asked, used),
    )


def _to_count(chosen: str, asked: float, used: float) -> str:
    """Return what makes the rate count; one far above the usual ones was meant for another optimizer."""
    if not asked > UNUSUAL * max(used, USUAL_RATES.get(chosen, used)):
        return f"{named(chosen)}: naming the optimizer makes lr0={asked:g} count"
    return (
        f"{named(chosen)} with train.lr0={used:g}: writes down what was used; lr0={asked:g} is "
        f"{asked / used:.2g} times that, too much for {chosen}"
    )


def judge_decay(history: History) -> Finding | None:
    """Report a weight decay that outweighs the gradients at a usual rate; a rate that is too high is told as such."""
    context = history.context
    decay, momentum = number(context.get("weight_decay")), number(context.get("momentum"))
    rate = min(number(context.get("lr0")), usual_rate(history))
    decoupled = context.get("optimizer") in ("AdamW", "Adam")  # the others pass decay through their momentum
    share = rate * decay / (1.0 if decoupled or not momentum < 1 else 1.0 - momentum)
    if not share > DECAY_TOO_HIGH:
        return None
    return Finding(
        "optimizer.weight_decay_too_high",
        "warning",
        f"weight decay takes {percent(share)} of every weight in each step: after {math.ceil(1 / share)} steps little "
        "is left of what was learnt before",
        {"step": 0, "share": share, "limit": DECAY_TOO_HIGH, "weight_decay": decay, "lr0": rate},
        f"train.weight_decay={DEFAULT_DECAY}: Ultralytics' default",
    )


def judge_gains(history: History) -> Finding | None:
    """Report a term of the loss that a gain of zero switches off."""
    gains = {str(name): number(value) for name, value in (history.context.get("gains") or {}).items()}
    off = [name for name in ("box", "cls") if gains.get(name) == 0]
    if not off:
        return None
    what, advice = {
        "box": ("where objects are", "train.box=7.5: Ultralytics' default"),
        "cls": ("of which class objects are, or that there are any", "train.cls=0.5: Ultralytics' default"),
    }[off[0]]
    return Finding(
        "loss.term_imbalance",
        "warning",
        f"the gain of {off[0]} is 0: nothing teaches {what}",
        {"step": 0, "gains": gains},
        advice,
    )


def judge_length(history: History) -> Finding | None:
    """Report a schedule in which warm-up takes too large a part, or that has too few optimiser steps in all."""
    context = history.context
    total, warmup = int(context.get("total_steps") or 0), history.warmup_steps
    if not total:
        return None
    share = warmup / total
    if share < WARMUP_NOTED and total >= FEW_STEPS:
        return None
    return Finding(
        "schedule.too_few_steps",
        "warning" if share >= WARMUP_LARGE else "info",
        f"{total} optimiser steps in all: {_warmup_words(share, warmup)}",
        {"total_steps": total, "warmup_steps": warmup, "accumulate": context.get("accumulate"), "step": 0},
        _more_steps(history, total, share),
    )


def _warmup_words(share: float, warmup: int) -> str:
    return f"warm-up takes {percent(share)} of them ({warmup})" if warmup else "too few to learn much from"


def _more_steps(history: History, total: int, share: float) -> str:
    context = history.context
    batch, accumulate = context.get("batch"), int(context.get("accumulate") or 1)
    epochs = int(context.get("epochs") or 1)
    if accumulate > 1 and batch:
        return f"train.nbs={batch}: a step after every batch instead of every {accumulate} gives about " + (
            f"{total * accumulate} steps for the same pictures"
        )
    if share >= WARMUP_NOTED and total >= FEW_STEPS:
        wanted = max(round(GOOD_WARMUP * epochs, 1), 0.1)
        return f"train.warmup_epochs={wanted:g}: leaves {percent(1 - GOOD_WARMUP)} of the steps at the full rate"
    wanted_epochs = math.ceil(epochs * ENOUGH_STEPS / total)
    why = "; from random weights fewer find little" if starts_random(history) else ""
    return f"train.epochs={wanted_epochs}: gives about {ENOUGH_STEPS} steps{why}"


def judge_resume(history: History) -> Finding | None:
    """Report a resume after which the optimizer's moments are missing, or the loss is not where it was."""
    restored = history.context.get("restored") or {}
    got, expected = restored.get("optimizer_tensors"), restored.get("optimizer_tensors_expected")
    step = max((int(e.get("step") or 0) for e in history.events if e.get("event") == "resume"), default=0)
    lost = isinstance(got, int) and isinstance(expected, int) and expected > 0 and got < expected / 2
    if lost:
        return Finding(
            "resume.not_restored",
            "error",
            f"resumed at step {step} without the optimizer's state: moments of {got} tensors instead of {expected}",
            {"step": step, "optimizer_tensors": got, "optimizer_tensors_expected": expected},
            "model=RUN/weights/last.pt: start a new run from the last weights: its warm-up lets the moments build up "
            "at a small rate",
        )
    jump = _loss_jump(history, step)
    if not step or not jump > RESUME_JUMP:
        return None
    return Finding(
        "resume.not_restored",
        "warning",
        f"after the resume at step {step} the loss is {jump:.1f} times what it was: weights or statistics are not "
        "those that were saved",
        {"step": step, "loss_ratio": round(jump, 3)},
        "model=RUN/weights/last.pt: start a new run from the last weights; the state that was resumed is not theirs",
    )


def _loss_jump(history: History, step: int) -> float:
    loss = plain_loss(history)
    before, after = loss[max(0, step - RESUME_WINDOW) : step], loss[step : step + RESUME_WINDOW]
    if len(before) < RESUME_WINDOW or len(after) < RESUME_WINDOW:
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(median(after), median(before)))


RULES: tuple[Rule, ...] = (judge_boxes, judge_resume, judge_auto_rate, judge_decay, judge_gains, judge_length)
