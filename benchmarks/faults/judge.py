"""One kept training judged: what was found before it, while it ran and at its end, and whether that was right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from case import Case, Fault
from catalogue import case_of
from rivals import RIVALS, Alarm
from stored import Stored, load

from pipeline.findings import Finding, worst_first
from pipeline.training.causes import causes_first
from pipeline.training.diagnosis import diagnose
from pipeline.training.history import History
from pipeline.training.history_prefix import history_until
from pipeline.training.judging import plain_loss
from pipeline.training.trainer import JUDGED_EVERY

AUDIT = ("audit.", "augment.", "boxes.", "classes.", "images.", "labels.", "split.")  # of what the pictures are told
LIVE_LABELS = ("labels.not_learnable",)  # of the diagnosis, not of the audit
NOT_FINITE = "weights are no longer finite"  # with these words a training ends whose weights are not written for it
BEFORE = -1  # stands for a step before the first


@dataclass(frozen=True)
class Judged:
    """What was said about a training.

    Args:
        part: of the benchmark.
        name: of the training.
        before: warnings and errors before the first step, the worst first, as the version that trained found them.
        refused: whether the product would not begin (an error before the first step, or an exception).
        live: (step, finding) of each warning and error at each moment at which a live training is judged.
        final: warnings and errors at the end, those of the preflight included, as the report orders them.
        of_data: ids of what is true of the unspoilt data set as well.
        alarms: of other tools, by tool.
        onset: optimiser step at which the fault first acted; None for healthy runs and faults that never did.
        finite: whether the weights were, when the training ended.
        kept_finite: whether those in the checkpoint are; also where none was written.
        stopped_in_step: for what is not finite: whether the very step of the onset was not taken.
        version: of the code that trained; "" where none was recorded.
    """

    part: str
    name: str
    before: tuple[Finding, ...]
    refused: bool
    live: tuple[tuple[int, Finding], ...]
    final: tuple[Finding, ...]
    of_data: frozenset[str]
    alarms: dict[str, list[Alarm]]
    onset: int | None
    finite: bool
    kept_finite: bool
    stopped_in_step: bool
    seconds: float
    version: str

    @property
    def case(self) -> Case:
        """Which training it is."""
        return case_of(self.part, self.name)

    @property
    def told(self) -> dict[str, tuple[int, Finding]]:
        """Each id with the step at which it was first told, `BEFORE` for before the first, and the finding."""
        first: dict[str, tuple[int, Finding]] = {}
        for step, finding in [*((BEFORE, finding) for finding in self.before), *self.live]:
            first.setdefault(finding.id, (step, finding))
        return first

    def first_right(self, *, live_alone: bool = False) -> int | None:
        """Return the first step at which a right finding was told; None if none was.

        `BEFORE` where the checks before the training told it; not of a resume, which they do not see. What was told of
        a training before the fault acted on it was no finding of the fault, and does not become one later.

        Args:
            live_alone: leave out what was told before the first step.
        """
        fault = self.case.fault
        assert fault is not None
        right = right_ids(fault)
        if not live_alone and fault.onset != "resume" and any(finding.id in right for finding in self.before):
            return BEFORE
        since = self.onset or 0 if fault.onset != "start" else 0
        if fault.onset == "door" and since:
            since += 1  # what was judged after 60 steps has not seen the step of the number 60
        untimely = {finding.id for step, finding in self.live if step < since}
        return next((step for step, finding in self.live if finding.id in right and finding.id not in untimely), None)

    def first_told(self, *, without_data: bool) -> Finding | None:
        """Return what stands first at the end; `without_data`: of what is not true of the unspoilt data as well."""
        skipped = self.of_data if without_data else frozenset()
        return next((finding for finding in self.final if finding.id not in skipped), None)


def judge(name: str, part: Path, of_data: frozenset[str] = frozenset()) -> Judged:
    """Judge a kept training: its curves by the rules of this version.

    What the checks before the first step found is kept with the training and taken as it is: data and weights that they
    looked at are not kept.

    Args:
        name: of the training.
        part: folder of the benchmark's part, in which it is kept.
        of_data: ids that the audit finds in the unspoilt data set: true, and about no fault of the training.
    """
    case, stored = case_of(part.name, name), load(part / name)
    before = [*_alarms(stored.preflight), *_refusal(stored)]
    live = _told_live(stored.history)
    told = [finding for _, finding in live]  # a run keeps what was told while it went on
    final = causes_first(_unique([*before, *told, *diagnose(stored.history)]))
    skipped = stored.history.step_values("skipped")
    onset = _onset(case, stored)
    return Judged(
        part.name,
        name,
        tuple(worst_first(before)),
        bool(stored.outcome["refused"]) or any(finding.severity == "error" for finding in before),
        tuple(live),
        tuple(worst_first(_alarms(final))),
        of_data,
        {tool: find(stored.history) for tool, find in RIVALS.items()} if stored.history.steps.height else {},
        onset,
        bool(stored.outcome["finite"]) and NOT_FINITE not in str(stored.outcome["ended"]),
        bool(stored.outcome["finite"]),
        onset is not None and onset < len(skipped) and bool(skipped[onset] == 1),
        float(stored.outcome["seconds"]),
        str(stored.outcome.get("version", "")),
    )


def audit_ids(folder: Path) -> set[str]:
    """Return the ids of warnings and errors of the audit in a kept training."""
    found = _alarms(load(folder).preflight)
    return {f.id for f in found if f.id.startswith(AUDIT) and f.id not in LIVE_LABELS}


def was_interrupted(folder: Path) -> bool:
    """Whether a kept training was cut off by whoever ran the benchmark: it is no training of it."""
    return bool(load(folder).outcome["ended"] == "interrupted")


def _alarms(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity != "info"]


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    return list({finding.id: finding for finding in findings}.values())


def _refusal(stored: Stored) -> list[Finding]:
    """A configuration or data that is refused with a message counts as an error of the id `refused`."""
    text = str(stored.outcome["refused"])
    return [Finding("product.refused", "error", text)] if text else []


def _told_live(history: History) -> list[tuple[int, Finding]]:
    """Return warnings and errors at each moment at which a live training is judged, with the step."""
    steps = history.steps.height
    ends = {int(step) for step in history.epoch_values("steps") if step == step}
    skipped = np.flatnonzero(history.step_values("skipped") == 1) + 1
    moments = sorted({*range(0, steps, JUDGED_EVERY), *ends, *skipped.tolist(), steps})
    return [(step, finding) for step in moments for finding in _alarms(diagnose(history_until(history, step)))]


def _onset(case: Case, stored: Stored) -> int | None:
    if case.fault is None:
        return None
    if case.fault.onset == "start":
        return 0
    if case.fault.onset == "gap":
        return _gap_opens(stored.history)
    return stored.outcome["onset"]


def _gap_opens(history: History) -> int | None:
    """Return the step from which the loss on val stays half as large again as on train: learning by heart begins."""
    train, val = plain_loss(history, "train"), plain_loss(history, "val")
    closed = np.flatnonzero(~(val > 1.5 * train))
    first = int(closed[-1]) + 1 if len(closed) else 0
    return int(history.epoch_values("steps")[first]) if first < len(val) else None


def right_ids(fault: Fault) -> tuple[str, ...]:
    """Return the ids that count as having seen a fault."""
    return (*fault.names, *fault.sees)


def names_cause(fault: Fault, finding: Finding | None) -> bool:
    """Whether a finding names the cause of a fault."""
    if finding is None or finding.id not in fault.names:
        return False
    if finding.id == "labels.not_on_objects" and fault.explanations:
        return finding.evidence.get("explanation") in fault.explanations
    return True
