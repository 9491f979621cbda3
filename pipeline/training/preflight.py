"""Checks before a training: whether it can work, whether it fits, and how fast it should learn.

`run_preflight` sets the training up in a folder of its own and tries things out on it; the real training starts from
the same weights and random numbers whether there was a preflight or not. Within a time budget the checks run in the
order of `CHECKS`; what does not fit is named. The audit of the data (`data_check`) and the contract of the augmentation
(`contract_check`) come before them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from ..config import Config
from ..data.dataset import Dataset
from ..errors import TuneUpError
from ..findings import Finding, Severity, worst_first
from ..tensor_norms import EMPTY
from . import proof, trial_checks
from .causes import causes_first
from .diagnosis import diagnose
from .history import History
from .judging import UNUSUAL, USUAL_RATES, named
from .trial import Trial, trial

# Of the loss left after learning four pictures by heart: healthy starts leave 0.08 to 0.2 on drawn pictures
# (docs/benchmarks/preflight.md), on circuit boards with tiny defects more than half (docs/benchmarks/faults.md).
LEARNT = 0.7
LOW_ANYWAY = 1.0  # loss per picture: a fine-tuned model starts low and cannot fall to a half
TOO_SLOW = 100  # times below the proposal: the range test is no finer than a factor of ten either way
# Two range tests differ by up to a factor of five (docs/benchmarks/preflight.md), and on some sets the loss blows up
# below an optimizer's usual rate, which trains well there (docs/benchmarks/faults.md): doubtful up to thrice that.
SCATTER = 5.0


@dataclass(frozen=True)
class Checked:
    """One check: how it ended, in words, and what it takes to repeat or draw it.

    Args:
        name: data, augmentation, steps, memory, one_step, overfit, learning_rate or backprop.
        state: `passed`, `found` (see the findings), `skipped` (the budget was used up) or `failed` (it broke down).
        words: what came out.
        seconds: that it took.
        figures: the numbers behind it, fit for JSON.
    """

    name: str
    state: str
    words: str
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "words": self.words,
            "seconds": round(self.seconds, 2),
            "figures": self.figures,
        }


@dataclass(frozen=True)
class Preflight:
    """All checks of one preflight and what they found."""

    checks: tuple[Checked, ...]
    findings: tuple[Finding, ...]

    def after(self, checked: Checked, findings: Sequence[Finding]) -> Preflight:
        """Return these checks behind one that was made before them."""
        return Preflight((checked, *self.checks), tuple(worst_first(causes_first([*findings, *self.findings]))))

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON and `preflight.json`."""
        return {
            "checks": [check.to_dict() for check in self.checks],
            "findings": [finding.to_dict() for finding in self.findings],
        }


Outcome = tuple[str, dict[str, Any], list[Finding]]  # words, figures, findings


def run_preflight(
    config: Config, dataset: Dataset, overrides: dict[str, Any], *, budget: float | None = None
) -> Preflight:
    """Check a training that has not begun.

    Args:
        config: of the training.
        dataset: with its splits.
        overrides: arguments for Ultralytics' trainer, as the training will get them.
        budget: seconds; no check begins that is not expected to end within them. None: all checks run.

    Raises:
        TuneUpError: the training cannot even be set up.
    """
    started = time.monotonic()
    checks: list[Checked] = []
    findings: list[Finding] = []
    with trial(config, dataset, overrides) as bench:
        step = 0.0  # seconds of one step, once it is known
        for name, check, cost in CHECKS:
            left = None if budget is None else budget - (time.monotonic() - started)
            if left is not None and (left <= 0 or cost(step, bench) > left):
                words = "no time left" if left <= 0 else f"would take about {cost(step, bench):.0f} s"
                checks.append(Checked(name, "skipped", words))
                continue
            checked, found = _run(name, check, bench)
            step = float(checked.figures.get("seconds_per_step", step))
            checks.append(checked)
            findings += found
            if any(finding.id == "preflight.memory" for finding in found):
                break  # a step that does not fit would take the machine down
    return Preflight(tuple(checks), tuple(worst_first(causes_first(findings + _not_run(checks, budget)))))


def _run(name: str, check: Callable[[Trial], Outcome], bench: Trial) -> tuple[Checked, list[Finding]]:
    """Run one check; one that breaks down becomes a finding, the training itself will say more."""
    started = time.monotonic()
    try:
        words, figures, found = check(bench)
        state = "found" if any(finding.severity != "info" for finding in found) else "passed"
    except TuneUpError as error:
        words, figures, found, state = str(error), {}, [], "failed"
    except Exception as error:
        words, figures, found, state = f"{type(error).__name__}: {error}".splitlines()[0][:300], {}, [], "failed"
    finally:
        bench.restore()
    if state == "failed":
        message = f"The preflight check {name} broke down: {words}"
        advice = "if the training fails as well, its message says more; otherwise please report this"
        found = [Finding("preflight.check_failed", "warning", message, {"check": name}, advice)]
    return Checked(name, state, words, time.monotonic() - started, figures), found


def _not_run(checks: Sequence[Checked], budget: float | None) -> list[Finding]:
    skipped = [check.name for check in checks if check.state == "skipped"]
    if not skipped:
        return []
    message = f"Not checked before the training, in the {budget:.0f} s that were left for it: {', '.join(skipped)}."
    advice = "`tuneup doctor CONFIG` runs every check; monitor.preflight=SECONDS changes the time allowed"
    return [Finding("preflight.not_run", "info", message, {"checks": skipped, "budget": budget}, advice)]


# ---- the checks ------------------------------------------------------------------------------------------------------


def _steps(bench: Trial) -> Outcome:
    """What the schedule alone gives away: diagnosis of a history that has no step yet."""
    context = bench.context()
    empty = History(pl.DataFrame(), pl.DataFrame(), [], [], EMPTY, [], context)
    words = (
        f"{context['total_steps']} optimiser steps in all, {context['warmup_steps']} of them warm-up; "
        f"{context['batch'] * context['accumulate']} pictures a step"
    )
    return words, {"total_steps": context["total_steps"], "warmup_steps": context["warmup_steps"]}, diagnose(empty)


def _memory(bench: Trial) -> Outcome:
    memory = trial_checks.estimate_memory(bench)
    words = (
        f"about {memory.needed / 1e9:.1f} GB for a step with {memory.batch} pictures, {memory.free / 1e9:.1f} GB free"
    )
    figures: dict[str, Any] = {
        "needed": memory.needed,
        "free": memory.free,
        "per_picture": memory.per_picture,
        "batch": memory.batch,
    }
    figures["seconds_per_step"] = memory.seconds * 3  # backward takes about twice the forward pass
    if memory.needed <= memory.free:
        return words, figures, []
    advice = f"train.batch={memory.fitting_batch}: that many pictures fit; or lower train.imgsz"
    hopeless = memory.needed_for_one > memory.free  # else Ultralytics may get by with half the batch
    severity: Severity = "error" if hopeless else "warning"
    return words, figures, [Finding("preflight.memory", severity, f"Memory will not do: {words}.", figures, advice)]


def _one_step(bench: Trial) -> Outcome:
    step = trial_checks.try_one_step(bench)
    words = (
        f"{step.precision}, batch {bench.trainer.batch_size}: loss {step.loss:.3g} per picture, {step.seconds:.2f} s"
    )
    figures: dict[str, Any] = {"precision": step.precision, "loss": step.loss, "seconds_per_step": step.seconds}
    figures.update(batch=int(bench.trainer.batch_size), device=bench.device.type)
    if step.is_finite:
        return words, figures, []
    if step.spoilt:
        message = f"After one step in {step.precision} the statistics of {step.spoilt[0]} are nan or inf: " + (
            "what goes into it overflows."
        )
        figures["layers"] = list(step.spoilt)
    else:
        message = f"The first step is not finite in {step.precision}: loss {step.loss}, gradient norm " + (
            f"{step.gradient_norm}."
        )
    weights = "the weights are at fault: model=FILE"
    other = {"fp16": "bf16", "bf16": "false"}.get(step.precision)
    advice = f"train.amp={other}: another number format; if it stays so, {weights}" if other else weights
    return words, figures, [Finding("preflight.not_finite", "error", message, figures, advice)]


def _overfit(bench: Trial) -> Outcome:
    result = trial_checks.overfit(bench)
    if result is None:
        finding = Finding(
            "preflight.no_boxes",
            "error",
            "No training picture has a box: there is nothing to learn.",
            {},
            "check that label files lie where data.path says, and that their names match the pictures'",
        )
        return "no boxes", {}, [finding]
    share, last = result.share_left, result.losses[-1]
    words = (
        f"{result.pictures} pictures learnt by heart in {len(result.losses)} steps: loss {result.largest:.3g} to "
        f"{last:.3g}"
    )
    figures = {"losses": list(result.losses), "share_left": share}
    if share <= LEARNT or last <= LOW_ANYWAY:
        return words, figures, []
    message = f"The network cannot learn even {result.pictures} pictures by heart: {share:.0%} of the loss is left."
    advice = (
        "look for frozen layers (train.freeze=null), a custom layer or loss that sends no gradient back "
        "(`tuneup proof`), and labels that contradict each other"
    )
    return words, figures, [Finding("preflight.cannot_overfit", "warning", message, {"share_left": share}, advice)]


def _learning_rate(bench: Trial) -> Outcome:
    result = trial_checks.range_test(bench)
    own = float(bench.trainer.optimizer.param_groups[-1]["initial_lr"])
    upper = "never blew up" if result.highest is None else f"blows up at {result.highest:.1e}"
    words = f"{result.optimizer}: lr0 about {result.proposal:g} proposed, yours is {own:g}; the loss {upper}"
    figures = {**result.to_dict(), "lr0": own}
    auto = bench.context().get("optimizer_requested") == "auto"
    choice = named(result.optimizer) if auto else f"train.optimizer={result.optimizer}"
    advice = f"train.lr0={result.proposal:g} with {choice}: what the range test proposes"
    if result.highest is not None and own >= result.highest * _margin(own, result.optimizer):
        message = (
            f"lr0 {own:g} is too high for {result.optimizer}: in a range test the loss blew up at {result.highest:.1e}."
        )
        return words, figures, [Finding("preflight.lr_too_high", "warning", message, _brief(figures), advice)]
    if own < result.proposal / TOO_SLOW:
        message = (
            f"lr0 {own:g} is far below what {result.optimizer} takes here; a range test proposes {result.proposal:g}."
        )
        return words, figures, [Finding("preflight.lr_too_low", "warning", message, _brief(figures), advice)]
    return words, figures, []


def _margin(rate: float, optimizer: str) -> float:
    """Return how far above the rate that blew the loss up a rate must be to be called too high."""
    return 1.0 if rate > UNUSUAL * USUAL_RATES.get(optimizer, rate) else SCATTER


def _brief(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: figures[key] for key in ("optimizer", "lr0", "proposal", "highest")}


def _backprop(bench: Trial) -> Outcome:
    result = proof.prove_backprop(bench.model)
    # A warning at most: a straight-through layer is meant to differ, and the training may still be right.
    found = [
        replace(finding, severity="warning") for finding in proof.findings_of(result) if finding.severity != "info"
    ]
    words = f"autograd agrees with finite differences to {result.relative_error:.1e} (relative, float64)"
    words = words if result.passed else "autograd and finite differences do not agree"
    return words, {"relative_error": result.relative_error}, found


def _overfit_cost(step: float, bench: Trial) -> float:
    """Return the seconds for learning by heart: fewer and smaller pictures than a step of the training has."""
    imgsz = int(bench.trainer.args.imgsz)
    pixels = trial_checks.OVERFIT_PICTURES * min(imgsz, trial_checks.OVERFIT_LARGEST) ** 2
    return trial_checks.OVERFIT_STEPS * step * min(1.0, pixels / (int(bench.trainer.batch_size) * imgsz**2))


def _proof_cost(step: float, bench: Trial) -> float:
    """Return the seconds for the proof, which grow with the weights: yolo26n, 2.6 million, takes 4, or 8 if busy."""
    return 8.0 * sum(p.numel() for p in bench.model.parameters()) / 2.6e6


# Name, check, and the seconds that it is expected to take from those of one step.
CHECKS: tuple[tuple[str, Callable[[Trial], Outcome], Callable[[float, Trial], float]], ...] = (
    ("steps", _steps, lambda step, bench: 0.0),
    ("memory", _memory, lambda step, bench: 0.0),
    ("one_step", _one_step, lambda step, bench: 2 * step),
    ("learning_rate", _learning_rate, lambda step, bench: trial_checks.RANGE_STEPS * step),
    ("overfit", _overfit, _overfit_cost),
    ("backprop", _backprop, _proof_cost),
)


def broken_preflight(error: Exception) -> Preflight:
    """Return the record of a preflight that broke down before its first check."""
    words = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    advice = "if the training fails as well, its message says more; monitor.preflight=0 leaves the checks out"
    finding = Finding(
        "preflight.check_failed", "warning", f"The checks before the training broke down: {words}", {}, advice
    )
    return Preflight((Checked("setup", "failed", words),), (finding,))
