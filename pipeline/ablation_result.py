"""What an ablation says: from the records of its trainings to a table with intervals and verdicts. Pure functions.

An entry's contribution is the mean, over seeds, of how much higher the trainings with it score than those without it,
so that more than 0 means that it helps, in both modes. Trainings are paired by seed. The verdict goes by mAP50-95, with
Holm's correction over the entries; mAP50 is shown beside it without one, because two verdicts on every entry would
raise false alarms twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from statistics import fmean, median
from typing import Any, Literal

from .ablation_statistics import LEVEL, Paired, holm, paired, pooled_deviation, seeds_needed

Mode = Literal["leave-one-out", "add-one-in"]
MODES: tuple[Mode, ...] = ("leave-one-out", "add-one-in")
REFERENCES: dict[Mode, str] = {"leave-one-out": "full", "add-one-in": "none"}
Verdict = Literal["helps", "hurts", "not distinguishable", "no effect", "nothing learned", "open", "not trained yet"]
State = Literal["running", "complete", "interrupted", "failed"]
METRICS = ("map50_95", "map50")
MANY_SEEDS = 1000  # beyond, the number itself says nothing but "never mind"


@dataclass(frozen=True)
class Plan:
    """Which trainings an ablation consists of.

    Args:
        mode: what is compared: the whole policy with it less one entry, or no augmentation with one entry alone.
        policy: its name, "" for one without.
        settings: each entry, in the order of the stage, and what it is set to.
        seeds: `train.seed` of each row of trainings.
        epochs: of every training.
        split: on which the trainings are compared.
    """

    mode: Mode
    policy: str
    settings: dict[str, str]
    seeds: tuple[int, ...]
    epochs: int
    split: str = ""

    @property
    def reference(self) -> str:
        """The arm that all others are compared with."""
        return REFERENCES[self.mode]

    @property
    def arms(self) -> dict[str, str | None]:
        """Name of each arm, which is that of its folders as well, and its entry; None for the reference."""
        return {self.reference: None, **{self.arm(entry): entry for entry in self.settings}}

    @property
    def trainings(self) -> list[tuple[str, int]]:
        """Arm and seed of every training in their order: seed by seed, so that an early end leaves whole rows."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms]

    def arm(self, entry: str) -> str:
        """Return the name of an entry's arm: `without-mosaic`, `only-GaussNoise-2`."""
        return f"{'without' if self.mode == 'leave-one-out' else 'only'}-{entry.replace('#', '-')}"


@dataclass(frozen=True)
class Record:
    """One training that is complete: which, where, and what it scored.

    Args:
        arm, seed: which.
        run: name of its folder.
        map50_95, map50: COCO's, from 0 to 1, on the split of the plan.
        seconds: it took, with its evaluation.
        chose_checkpoint: whether the split chose the epoch whose weights were measured.
    """

    arm: str
    seed: int
    run: str
    map50_95: float
    map50: float
    seconds: float
    chose_checkpoint: bool


@dataclass(frozen=True)
class Row:
    """What is known of one entry.

    Args:
        entry, setting: which, and what it is set to.
        verdict: by mAP50-95.
        contribution: to mAP50-95: with the entry less without it; None before the first pair.
        map50: the same of mAP50.
        seeds: of the pairs.
        differences: of mAP50-95 for each of them.
        corrected: p value with Holm's correction over the entries.
        needed: seeds that would show a difference of this size, where it cannot be told from chance.
    """

    entry: str
    setting: str
    verdict: Verdict
    contribution: Paired | None
    map50: Paired | None
    seeds: tuple[int, ...] = ()
    differences: tuple[float, ...] = ()
    corrected: float | None = None
    needed: int | None = None

    @property
    def detail(self) -> str:
        """What belongs to the verdict, "" for nothing."""
        if self.verdict == "open":
            return "one seed, two at least are needed"
        if self.needed is None:
            return ""
        about = f"about {self.needed}" if self.needed <= MANY_SEEDS else f"more than {MANY_SEEDS:,}"
        return f"needs {about} seeds to see a difference of this size"

    @property
    def words(self) -> str:
        """The verdict as a person reads it."""
        return f"{self.verdict} ({self.detail})" if self.detail else self.verdict


@dataclass(frozen=True)
class Ablation:
    """An ablation, whole or in part; `rows` is what it says.

    Args:
        plan: what is trained.
        records: the trainings that are complete, in any order.
        folder: where it lies.
        state: how far it is; `reason` says more.
    """

    plan: Plan
    records: tuple[Record, ...] = ()
    folder: str = ""
    state: State = "running"
    reason: str = ""

    @cached_property
    def _by_arm(self) -> dict[str, dict[int, Record]]:
        held: dict[str, dict[int, Record]] = {arm: {} for arm in self.plan.arms}
        for record in sorted(self.records, key=lambda record: record.seed):
            held[record.arm][record.seed] = record
        return held

    @property
    def rows(self) -> list[Row]:
        """The table: a row for each entry, in the order of the stage."""
        rows = [self._measured(entry, setting) for entry, setting in self.plan.settings.items()]
        corrected = holm([row.contribution.p if row.contribution else None for row in rows])
        return [self._judged(row, p) for row, p in zip(rows, corrected, strict=True)]

    def scores(self, arm: str, metric: str = "map50_95") -> dict[int, float]:
        """Return what the trainings of an arm scored, by seed."""
        return {seed: getattr(record, metric) for seed, record in self._by_arm[arm].items()}

    @property
    def reference_score(self) -> float | None:
        """Mean mAP50-95 of the reference; None before its first training."""
        scores = self.scores(self.plan.reference).values()
        return fmean(scores) if scores else None

    @property
    def noise(self) -> float | None:
        """Standard deviation of mAP50-95 between trainings that differ in nothing but the seed, over all arms."""
        return pooled_deviation([list(self.scores(arm).values()) for arm in self.plan.arms])

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take, at the median time of the trainings so far; None before the first."""
        if not self.records:
            return None
        left = len(self.plan.trainings) - len(self.records)
        return left * median(record.seconds for record in self.records)

    @property
    def notes(self) -> list[str]:
        """What to keep in mind about this table."""
        notes = []
        missing = len(self.plan.trainings) - len(self.records)
        if missing:
            notes.append(f"In part: {missing} of {len(self.plan.trainings)} trainings are not there yet.")
        if self.records and not any(record.map50 for record in self.records):
            notes.append("No training found anything yet: with more epochs there will be something to compare.")
        if any(record.chose_checkpoint for record in self.records):
            notes.append(
                f"The split {self.plan.split} also chose the weights of each training, so every score flatters; the "
                f"differences do so less, because each arm chose in the same way."
            )
        elif self.records:
            notes.append(
                f"What is chosen by this table is chosen on {self.plan.split}, which will flatter the final detector; "
                f"eval.split=val keeps {self.plan.split} for it."
            )
        if len(self.plan.seeds) == 2:
            notes.append("Two seeds say little about chance: with three the intervals are about a quarter as wide.")
        if alone := [row.entry for row in self.rows if _stands_out(row)]:
            notes.append(
                f"{', '.join(alone)}: the interval leaves out 0, but of {len(self.plan.settings)} entries one may do "
                f"so by chance; with Holm's correction for that many it is no proof."
            )
        return notes

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in `ablation.json`."""
        rows = [{**asdict(row), "words": row.words} for row in self.rows]
        return {
            "state": self.state,
            "reason": self.reason,
            "folder": self.folder,
            "metric": "map50_95",
            "level": LEVEL,
            **asdict(self.plan),
            "reference": self.plan.reference,
            "reference_score": self.reference_score,
            "noise": self.noise,
            "planned": len(self.plan.trainings),
            "done": len(self.records),
            "seconds_left": self.seconds_left,
            "notes": self.notes,
            "table": rows,
            "trainings": [asdict(record) for record in _ordered(self.records, self.plan)],
        }

    def _measured(self, entry: str, setting: str) -> Row:
        seeds, differences = self._differences(entry, "map50_95")
        other = self._differences(entry, "map50")[1]
        verdict: Verdict = "not trained yet" if not seeds else "open" if len(seeds) == 1 else "not distinguishable"
        return Row(entry, setting, verdict, paired(differences), paired(other), tuple(seeds), tuple(differences))

    def _differences(self, entry: str, metric: str) -> tuple[list[int], list[float]]:
        """Return the seeds that both arms have, and with the entry less without it for each."""
        sign = 1 if self.plan.mode == "add-one-in" else -1
        arm, reference = self.scores(self.plan.arm(entry), metric), self.scores(self.plan.reference, metric)
        seeds = [seed for seed in arm if seed in reference]
        return seeds, [sign * (arm[seed] - reference[seed]) for seed in seeds]

    def _judged(self, row: Row, corrected: float | None) -> Row:
        """Return the row with its verdict."""
        found = row.contribution
        if found is None or found.pairs < 2:
            return row
        verdict, needed = row.verdict, None
        if not any(row.differences):
            verdict = self._why_zero(row)
        elif corrected is not None and corrected < 1 - LEVEL:
            verdict = "helps" if found.mean > 0 else "hurts"
        elif found.deviation and found.mean:
            needed = max(found.pairs + 1, seeds_needed(found.mean, found.deviation, len(self.plan.settings)))
        return replace(row, verdict=verdict, corrected=corrected, needed=needed)

    def _why_zero(self, row: Row) -> Verdict:
        """Return why every pair has the same mAP50-95: the entry does nothing, or there was nothing to measure."""
        arm = self.scores(self.plan.arm(row.entry))
        if not any(arm[seed] for seed in row.seeds):
            return "nothing learned"
        return "no effect" if not any(self._differences(row.entry, "map50")[1]) else "not distinguishable"


def _stands_out(row: Row) -> bool:
    found = row.contribution
    if row.verdict != "not distinguishable" or found is None or found.low is None or found.high is None:
        return False
    return found.low > 0 or found.high < 0


def _ordered(records: Sequence[Record], plan: Plan) -> list[Record]:
    place = {training: number for number, training in enumerate(plan.trainings)}
    return sorted(records, key=lambda record: place[record.arm, record.seed])
