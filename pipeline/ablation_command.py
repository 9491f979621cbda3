"""The command ablate, and what a person sees while it goes on."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from .ablation import PAGE, AblationWatcher, ablate
from .ablation_result import Ablation, Mode
from .command_line import AsJson, Words, answer, console_for, subject_of
from .findings import Finding
from .reporting.ablation_page import interval, points
from .reporting.wording import count, duration
from .terminal import print_findings

INTERRUPTED = 130
_STYLES = {"helps": "green", "hurts": "bold red", "not distinguishable": "yellow"}


def ablation(
    words: Words = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each arm; 2 at least, 5 and more tell more.")] = 3,
    mode: Annotated[str, typer.Option(help="leave-one-out or add-one-in.")] = "leave-one-out",
    as_json: AsJson = False,
) -> int:
    """Train with and without each entry of a policy, and say which help (SUBJECT is a YAML file)."""
    config, overrides = subject_of(words)
    view = AblationView(console_for(as_json))
    try:
        found = ablate(config, overrides=overrides, mode=cast(Mode, mode), seeds=seeds, watchers=[view])
    finally:
        view.close()
    answer(as_json, found.to_dict(), lambda console: print_ablation(console, found))
    return INTERRUPTED if found.state == "interrupted" else 0


class AblationView(AblationWatcher):
    """Prints a line for each training; on a terminal, the epoch it is at as well.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status: Status | None = None
        self.head, self.epochs, self.total = "", 0, 0

    def on_plan(self, ablation: Ablation) -> None:
        """Print what will be trained, and how long it will take as far as that is known."""
        plan, done = ablation.plan, len(ablation.records)
        self.total = total = len(plan.trainings)
        self._print(f"[bold]{plan.mode}[/] of {escape(plan.policy or 'the policy')}  {escape(ablation.folder)}")
        sizes = f"{len(plan.arms)} arms x {len(plan.seeds)} seeds = {total} trainings of {count(plan.epochs, 'epoch')}"
        there = f", {done} of them there already" if done else ""
        left = ablation.seconds_left
        time = "; how long it takes is known after the first one" if left is None else f"; left about {duration(left)}"
        self._print(f"  {sizes}{there}{time if done < total else ''}")

    def on_training(self, number: int, arm: str, seed: int) -> None:
        """Remember which training it is."""
        self.head = f"\\[{number}/{self.total}] {escape(arm)}, seed {seed}"
        if self.console.is_terminal:
            self.status = self.console.status(self.head)
            self.status.start()
        else:
            self._print(f"{self.head}: begins")

    def on_start(self, run: Any, epochs: int, first_epoch: int, batches: int) -> None:
        """Remember how many epochs there are."""
        self.epochs = epochs

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Show the epoch."""
        if self.status:
            self.status.update(f"{self.head}: epoch {record['epoch'] + 1} of {self.epochs}")

    def on_findings(self, findings: list[Finding]) -> None:
        """Print what was found to be wrong with the training."""
        print_findings(self.console, [finding for finding in findings if finding.severity == "error"])

    def on_result(self, ablation: Ablation) -> None:
        """Print the training's score, and how long the rest will take."""
        self.close()
        record, left = ablation.records[-1], ablation.seconds_left
        rest = f"; left about {duration(left)}" if left else ""
        self._print(
            f"{self.head}: mAP50-95 {record.map50_95:.3f}, mAP50 {record.map50:.3f} on {ablation.plan.split} "
            f"in {duration(record.seconds)}{rest}"
        )

    def close(self) -> None:
        """Take the live line away."""
        if self.status:
            self.status.stop()
            self.status = None

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


def print_ablation(console: Console, ablation: Ablation) -> None:
    """Print the table, how large chance is, and what to keep in mind."""
    table = Table("entry", "set to", "seeds", "mAP50-95", "95 % interval", "mAP50", "verdict", box=None, pad_edge=False)
    for column in table.columns[2:6]:
        column.justify = "right"
    for row in ablation.rows:
        style = _STYLES.get(row.verdict, "dim")
        verdict = f"[{style}]{row.verdict}[/]" + (f" ({row.detail})" if row.detail else "")
        numbers = [points(found.mean if found else None) for found in (row.contribution, row.map50)]
        cells = [escape(row.entry), escape(row.setting), str(len(row.seeds)), numbers[0], interval(row.contribution)]
        table.add_row(*cells, numbers[1], verdict)
    console.print()
    console.print(table)
    score, noise = ablation.reference_score, ablation.noise
    reference = "" if score is None else f"; {ablation.plan.reference} scores {score:.3f} on {ablation.plan.split}"
    chance = "" if noise is None else f"; seeds alone move a score by {100 * noise:.1f} (standard deviation)"
    lines = [f"[dim]in points of mAP, with the entry less without it{reference}{chance}[/]"]
    lines += [f"[dim]{escape(note)}[/]" for note in ablation.notes]
    lines.append(escape(f"{ablation.folder}/{PAGE}"))
    if ablation.state == "interrupted":
        lines.append("stopped; the same command goes on")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
