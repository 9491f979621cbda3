"""What a training of the fault benchmark is made of: a cell, and a fault or one of many healthy ways to train in it."""

from __future__ import annotations

from dataclasses import dataclass

from doors import Door


@dataclass(frozen=True)
class Cell:
    """What a training is made of, apart from its fault.

    Args:
        model: architecture; random weights unless a fault or a healthy variant starts from trained ones.
        data: kind and seed of the drawing, or of the sample of boards.
        optimizer: at its usual rate.
        seed: of the training.
        amp: value of `train.amp`; bf16 is computed on the CPU as well.
    """

    model: str
    data: str
    optimizer: str
    seed: int
    amp: str = "false"

    @property
    def name(self) -> str:
        """Unique among the cells."""
        return f"{self.model}-{self.data}-{self.optimizer}-{self.seed}-{self.amp}"


@dataclass(frozen=True)
class Fault:
    """A fault, its true cause, and what counts as having seen it.

    Args:
        name: unique.
        cause: in words.
        door: how a person brings it about: configuration, data, checkpoint, edited block, own code, resume.
        names: ids of findings that name the cause.
        sees: further ids that are right about it without naming it: a consequence, or a neighbouring cause.
        kinds: generic symptoms that are right in the alarms of other tools.
        settings: laid over those of the cell.
        change: of the labels (`material.CHANGED_LABELS`).
        start: None: random weights; "plain": trained ones; else a change of them (`material.CHANGED_WEIGHTS`).
        patch: code of the user's own.
        resumes: stop after half of the epochs and go on; "lost": without the optimizer's state.
        onset: "start" (step 0), "door" (noted by it), "resume", or "gap" (where val leaves train behind).
        knob: whether turning a knob of the configuration mends it.
        optimizer: instead of the cell's.
        needs_gpu: cannot be brought about on a CPU.
        explanations: of `labels.not_on_objects`, with which it names the cause; None is "without one".
    """

    name: str
    cause: str
    door: str
    names: tuple[str, ...]
    sees: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    change: str | None = None
    start: str | None = None
    patch: Door | None = None
    resumes: str = ""
    onset: str = "start"
    knob: bool = False
    optimizer: str = ""
    needs_gpu: bool = False
    explanations: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Healthy:
    """A training that is merely one of many ways to train; see `Fault` for the fields."""

    name: str
    settings: tuple[str, ...] = ()
    change: str | None = None
    start: str | None = None
    resumes: str = ""
    optimizer: str = ""
    amp: str = ""


@dataclass(frozen=True)
class Case:
    """One training of the benchmark: a fault or a healthy variant in a cell."""

    name: str
    cell: Cell
    fault: Fault | None
    variant: Fault | Healthy
    part: str
