"""What a person sees in the terminal: a training as it goes on, how it ended, and lists of things."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from .errors import RunError
from .evaluation_terminal import evaluation_words
from .findings import Finding, worst_first
from .reporting.wording import duration
from .runs import Run
from .training.incidents import describe_incident
from .training.watcher import Watcher

SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


class TrainingView(Watcher):
    """Follows a training: a live line with a bar on a terminal, one line per epoch everywhere.

    Args:
        console: where to print; a file or pipe gets the lines alone.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Live | None = None
        self.record: dict[str, Any] = {}
        self.labels: dict[str, str] = {}
        self.epochs = self.batches = self.epoch = self.first_epoch = 0
        self.started = 0.0

    def on_preflight(self, seconds: float, result: Mapping[str, Any] | None) -> None:
        """Say that the checks before the training begin, and what came out."""
        if result is None:
            self.console.print(f"checking before the training, for at most {seconds:g} s", highlight=False)
        else:
            print_checks(self.console, result["checks"])

    def on_start(self, run: Run, epochs: int, first_epoch: int, batches: int) -> None:
        """Print where the run is and what it starts with."""
        self.epochs, self.first_epoch, self.epoch, self.batches = epochs, first_epoch, first_epoch, batches
        self.started = time.monotonic()
        state, counts = run.state, run.data_record["counts"]
        self.labels = {layer["layer"]: layer["label"] for layer in run.context.get("layers", ())}
        sizes = ", ".join(f"{name} {n['images']}" for name, n in counts.items())
        self.console.print(f"[bold]{escape(run.name)}[/]  {escape(str(run.path))}", highlight=False)
        self.console.print(
            f"  {escape(run.config['model']['name'])} on {state['device']} ({state['threads']} threads), "
            f"{state['optimizer']} lr0 {state['lr0']:.3g}, batch {state['batch']}; pictures: {sizes}",
            highlight=False,
        )
        self._print_what_was_found(run.findings())
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[facts]}"))
            self.progress = Progress(*columns, console=self.console)
            self.task = self.progress.add_task("", total=batches, facts="")
            self.live = Live(Group(self.progress), console=self.console, transient=True, refresh_per_second=4)
            self.live.start()

    def _print_what_was_found(self, findings: Sequence[Finding]) -> None:
        """Print warnings and errors, and name the notes, which are many: what is trained on is told in the report."""
        print_findings(self.console, [finding for finding in findings if finding.severity != "info"])
        notes = [finding.id for finding in findings if finding.severity == "info"]
        if notes:
            words = f"  {len(notes)} notes, explained in the report: {', '.join(notes)}"
            self.console.print(words, highlight=False, style="dim")

    def on_batch(self, epoch: int, batch: int) -> None:
        """Move the bar."""
        self.epoch = epoch
        if self.live:
            words = f"epoch {epoch + 1}/{self.epochs}"
            self.progress.update(self.task, completed=batch, description=words, facts=self._facts(batch))

    def on_steps(self, records: list[dict[str, Any]]) -> None:
        """Remember the newest figures."""
        self.record = {**self.record, **records[-1]}

    def on_findings(self, findings: list[Finding]) -> None:
        """Print what the diagnosis has just found."""
        print_findings(self.console, findings)

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Print the epoch's line."""
        parts = {"train": "train_loss", "val": "val_loss", "train not augmented": "sample_loss"}
        losses = " ".join(f"{label} {record[key]:.3g}" for label, key in parts.items() if record.get(key) is not None)
        losses = losses if record.get("train_loss") is not None else f"train - (no step in this epoch) {losses}"
        best = " [green]best[/]" if record["best"] else ""
        self.console.print(
            f"epoch {record['epoch'] + 1:>3}/{self.epochs}  loss {losses}  {self._step_facts()}  "
            f"val mAP50 {record['val_map50']:.3f} mAP50-95 {record['val_map50_95']:.3f}  "
            f"{record['seconds']:.1f} s  left {duration(self._left(record['epoch'] + 1))}{best}",
            highlight=False,
            soft_wrap=True,
        )

    def close(self) -> None:
        """Take the live line away."""
        if self.live:
            self.live.stop()
            self.live = None

    def _facts(self, batch: int) -> str:
        done = self.epoch - self.first_epoch + batch / max(self.batches, 1)
        loss = f"loss {_number(self.record['loss'])}  " if self.record else ""
        return (
            f"{batch}/{self.batches}  {loss}{self._step_facts()}  left {duration(self._left(self.first_epoch + done))}"
        )

    def _step_facts(self) -> str:
        """Return learning rate, gradient norm per picture, relative update and the layer that moves most."""
        if not self.record:
            return ""
        rates = {key: value for key, value in self.record.items() if key.startswith("lr_")}
        rate = next((rates[key] for key in ("lr_muon_rest", "lr_weight") if key in rates), max(rates.values()))
        words = f"lr {rate:.2e}  |g| {_number(self.record['grad_norm_before_clip'])}"
        if self.record.get("update_ratio"):
            layer, largest = self.record["largest"]
            name = self.labels.get(layer, layer)
            words += f"  |dw|/|w| {max(self.record['update_ratio'].values()):.1e} (most: {escape(name)} {largest:.1e})"
        return words

    def _left(self, done: float) -> float:
        """Return the seconds left, from the mean time of an epoch so far; `done` counts from the very first epoch."""
        trained = done - self.first_epoch
        return (time.monotonic() - self.started) / trained * (self.epochs - done) if trained > 0 else 0.0


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def print_findings(console: Console, findings: Sequence[Finding], nothing: str = "") -> None:
    """Print findings, the worst first, with their advice; `nothing` where there are none."""
    if nothing and not findings:
        console.print(f"  [green]{nothing}[/]: no findings", highlight=False)
    for finding in worst_first(list(findings)):
        style = SEVERITY_STYLES[finding.severity]
        console.print(
            f"  [{style}]{finding.severity}[/] {escape(finding.message)} [dim]({finding.id})[/]", highlight=False
        )
        if finding.advice:
            console.print(f"    [dim]->[/] {escape(finding.advice)}", highlight=False)


_STATES = {
    "passed": "[green]passed[/]",
    "found": "[yellow]found[/]",
    "skipped": "[dim]skipped[/]",
    "failed": "[red]failed[/]",
}


def print_checks(console: Console, checks: Sequence[Mapping[str, Any]]) -> None:
    """Print the checks of a preflight, one a line."""
    for check in checks:
        name = check["name"].replace("_", " ")
        console.print(f"  {_STATES[check['state']]} {name}: {escape(check['words'])}", highlight=False, soft_wrap=True)


def print_preflight(console: Console, preflight: Mapping[str, Any], findings: Sequence[Finding]) -> None:
    """Print all checks of a preflight and what they found."""
    print_checks(console, preflight["checks"])
    print_findings(console, findings, "ready to train")


def print_culprit(console: Console, culprit: Mapping[str, Any]) -> None:
    """Print what a replay of an incident found."""
    if not culprit["repeated"]:
        console.print("the step was finite when it was repeated: the cause lies outside of it (device, time, chance)")
        return
    console.print(escape(describe_incident(culprit)), highlight=False, soft_wrap=True)
    apart = culprit["told_apart"] or culprit["phase"] == "pictures"
    shared = "" if culprit["phase"] == "statistics" else "every one of them"  # of all pictures together
    rows = {
        "phase": culprit["phase"],
        "module": f"{culprit['module']} ({culprit['kind']})" if culprit["module"] else "",
        "loss terms": ", ".join(culprit["loss_terms"]),
        "pictures": ", ".join(culprit["files"]) if apart else shared,
    }
    for name, text in rows.items():
        if text:
            console.print(f"[bold]{name:<11}[/]{escape(text)}", highlight=False, soft_wrap=True)


def print_summary(console: Console, run: Run) -> None:
    """Print the end of a run in about ten lines: verdict, figures with their split, findings, what to type next."""
    console.print()
    for head, text in summary_rows(run):
        console.print(f"[bold]{head:<10}[/]{text}", highlight=False, soft_wrap=True)


def summary_rows(run: Run) -> list[tuple[str, str]]:
    """Return (heading, text with markup) for the end of a run."""
    state, epochs = run.state, run.epochs()
    reason = f" ({state['reason']})" if state.get("reason") else ""
    done = f"{state.get('epochs_done', 0)} of {state.get('epochs', 0)} epochs in {duration(state.get('seconds', 0))}"
    rows = [("Run", f"{escape(run.name)}: {state.get('state')}{escape(reason)}, {done}")]
    if not epochs.is_empty():
        rows.append(("Verdict", _verdict(run)))
    for split, metrics in run.evaluations().items():
        rows.append((f"On {split}", evaluation_words(metrics)))
        weakest = [c for c in metrics["per_class"] if c["ap50"] is not None]
        if len(weakest) > 1:
            low = min(weakest, key=lambda c: c["ap50"])
            rows.append(("Weakest", f"{escape(low['name'])}: AP50 {low['ap50']:.3f} on {low['boxes']} boxes"))
    findings = [*run.findings(), *run.evaluation_findings()]
    counts = [f"{n} {s}" for s in ("error", "warning", "info") if (n := sum(f.severity == s for f in findings))]
    rows.append(("Findings", ", ".join(counts) or "none"))
    rows.append(("Report", escape(str(run.path / "report.html"))))
    if run.weights("best").is_file():
        rows.append(("Weights", escape(str(run.weights("best")))))
    rows.append(("Next", escape(_next_command(run))))
    return rows


def _verdict(run: Run) -> str:
    """Say what the curves show so far: whether training ended before or after its best epoch."""
    epochs = run.epochs()
    best = epochs.filter(pl.col("best")).row(-1, named=True)  # the last one marked is the one that best.pt holds
    last = epochs.height
    words = f"best val mAP50 {best['val_map50']:.3f} in epoch {best['epoch'] + 1} of {last} (val chose these weights)"
    if best["val_map50"] < 0.01:
        broken = any(finding.severity == "error" for finding in run.findings())
        rest = "its errors come first" if broken else "train longer, or check labels and classes"
        return f"nothing was learned yet: {words}; {rest}"
    if last - best["epoch"] <= max(1, last // 10):
        return f"{words}; it was still getting better at the end: more epochs may help"
    return f"{words}; no better since"


def _next_command(run: Run) -> str:
    if run.state.get("state") != "complete":
        return f"tuneup train --resume {run.path}"
    if any(finding.severity == "error" for finding in run.findings()):
        return f"tuneup advise {run.path}"
    done = run.evaluations()
    if "val" not in done:
        return f"tuneup eval {run.path} eval.split=val"
    return f"tuneup predict {run.path} YOUR_PICTURES --out found"


def print_runs(console: Console, runs: Sequence[Run]) -> None:
    """Print the runs as a table, newest first."""
    table = Table("name", "state", "model", "data", "mAP50 (split)", "epochs", "started", box=None, pad_edge=False)
    for row in (run_row(run) for run in runs):
        score = "-" if row["map50"] is None else f"{row['map50']:.3f} ({row['split']})"
        started = str(row["started"])[:16].replace("T", " ")
        cells = [row["name"], row["state"], row["model"], row["data"], score, f"{row['epochs_done']}/{row['epochs']}"]
        table.add_row(*(escape(str(cell)) for cell in cells), started)
    console.print(table)


def run_row(run: Run) -> dict[str, Any]:
    """Return what the list of runs shows of one run; one with a damaged record is shown as such and hides no others."""
    try:
        return _run_row(run)
    except RunError as error:
        empty = dict.fromkeys(("model", "data", "map50", "map50_95", "split"))
        zero = {"epochs_done": 0, "epochs": 0, "started": ""}
        return {"name": run.name, "path": str(run.path), "state": "damaged", "reason": str(error), **empty, **zero}


def _run_row(run: Run) -> dict[str, Any]:
    state, config = run.state, run.config
    word = state.get("state", "unknown")
    if word == "running" and not run.is_being_trained():
        word = "killed"
    done = run.evaluations()
    split = next((name for name in ("test", "val", *done) if name in done), None)  # test's figure is worth more
    return {
        "name": run.name,
        "path": str(run.path),
        "state": word,
        "model": config.get("model", {}).get("name"),
        "data": config.get("data", {}).get("path"),
        "map50": done[split]["map50"] if split else None,
        "map50_95": done[split]["map50_95"] if split else None,
        "split": split,
        "epochs_done": state.get("epochs_done", 0),
        "epochs": state.get("epochs", 0),
        "started": state.get("started", ""),
    }
