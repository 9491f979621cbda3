"""Does the advice help? Train each fault that a knob can mend, turn the knob that the first finding names, compare.

    python benchmarks/faults/advice.py heldout OUT --pcb DEEPPCB [--cells 2] [--jobs N]    # trains, then prints
    python benchmarks/faults/advice.py heldout OUT --score                                 # prints what is kept

Each case is an ordinary run with its preflight, and `tuneup advise RUN --verify` on it. What is kept already is not
trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from case import Case, Fault
from catalogue import CELLS, case_of, cases, settings_of
from doors import Onset
from judge import right_ids
from material import Material
from run import boards_of, door_of, folder_of, in_processes, positive, start_and_data, told
from score import print_table, share

import pipeline
from pipeline.errors import TrainingError, TuneUpError, UsageError
from pipeline.runs import Run

HELPED = ("fixed", "better")
NOTHING: dict[str, Any] = {"finding": "", "turned": "", "found": [], "left": [], "direction": "none"}


def chosen(part: str, cells: int) -> list[Case]:
    """Return the faults that a knob can mend and a CPU can bring about, each in its first cells."""
    counts: dict[str, int] = {}
    found = []
    for case in cases(part):
        if case.fault is not None and case.fault.knob and not case.fault.needs_gpu:
            counts[case.fault.name] = counts.get(case.fault.name, 0) + 1
            if counts[case.fault.name] <= cells:
                found.append(case)
    return found


def perform(name: str, folder: Path, pcb: Path | None) -> dict[str, Any]:
    """Train the case of a name, verify the advice, and keep what came out."""
    case = case_of(folder.name, name)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        overrides = [*settings_of(case), *start_and_data(case, Material(folder, pcb)), f"runs={temporary}", "name=run"]
        with door_of(case, Onset()):
            _train(overrides)
            record = _verified(Run(Path(temporary) / "run"))
    record = {"case": name, "fault": case.variant.name, "seconds": round(time.perf_counter() - started, 1), **record}
    (folder / "advice").mkdir(exist_ok=True)
    (folder / "advice" / f"{name}.json").write_text(json.dumps(record))
    return record


def _train(overrides: list[str]) -> None:
    """Train; one that its checks refuse, or that stops, has findings as well."""
    try:
        pipeline.train(overrides=overrides)
    except TuneUpError as error:
        if isinstance(error, TrainingError) and error.broke_off:
            raise  # memory or a disk: nothing that the fault did


def _verified(run: Run) -> dict[str, Any]:
    if not (run.path / "config.yaml").is_file():
        return {**NOTHING, "verdict": "refused"}
    try:
        advice = pipeline.advise(run, verify=True)
    except UsageError as error:
        return {**NOTHING, "verdict": "nothing to turn", "turned": str(error)}
    first, trial = advice.first, advice.trial
    assert first is not None
    assert trial is not None
    turned = " ".join(f"{knob.key}={knob.value}" for knob in first.knobs)
    found, left = ([name.partition(" of ")[0] for name in side.alarms] for side in (trial.before, trial.after))
    change = {"measure": trial.change.measure, "direction": trial.change.direction}
    lines = list(trial.lines())
    return {
        "verdict": trial.verdict,
        "finding": first.finding.id,
        "turned": turned,
        "found": found,
        "left": left,
        **change,
        "lines": lines,
    }


def is_mended(record: dict[str, Any], fault: Fault) -> bool:
    """Whether the verdict is fixed or better, and of the findings that are right about the fault none is left.

    A verdict is about the finding whose knob was turned; that alone could be another one than the fault's. A fault that
    was never found is not mended either, whatever else is.
    """
    right = set(right_ids(fault))
    return record["verdict"] in HELPED and bool(right & set(record["found"])) and not right & set(record["left"])


def print_scores(folder: Path, part: str, cells: int) -> None:
    """Print what is kept; a case that is not counts as one that was not mended."""
    rows, mended, up = [], [], 0
    for case in chosen(part, cells):
        path = folder / "advice" / f"{case.name}.json"
        record = json.loads(path.read_text()) if path.is_file() else None
        assert case.fault is not None
        mended.append(record is not None and is_mended(record, case.fault))
        if record is None:
            rows.append((case.fault.name, case.cell.name, "not kept", "", "", "", "no"))
            continue
        up += mended[-1] and record["direction"] == "up"
        detects = {"up": "better", "down": "worse", "none": "alike"}[record["direction"]]
        told = (record["finding"], record["turned"], record["verdict"], detects, "yes" if mended[-1] else "no")
        rows.append((case.fault.name, case.cell.name, *told))
    head = ("fault", "training", "first finding that can be turned", "turned", "verdict", "detection", "mended")
    print_table(head, rows)
    print(f"mended: {share(sum(mended), len(mended))}; of these with detection or loss measurably better: {up}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(CELLS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--pcb", type=Path, help="folder of DeepPCB: train.json, test.json and images/")
    parser.add_argument("--cells", type=int, default=2, help="trainings of each fault")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1)
    parser.add_argument("--score", action="store_true", help="print what is kept, train nothing")
    options = parser.parse_args()
    folder = (options.out / options.part).absolute()
    failures = 0
    if not options.score:
        folder, pcb = folder_of(options.out, options.part), boards_of(options.pcb)
        wanted = [case for case in chosen(options.part, options.cells) if options.only in case.name]
        failures = _run_all(
            [c for c in wanted if not (folder / "advice" / f"{c.name}.json").is_file()], folder, pcb, options.jobs
        )
    if not list((folder / "advice").glob("*.json")):
        sys.exit(f"{folder}: holds no verified advice; without --score this program makes some")
    print_scores(folder, options.part, options.cells)
    sys.exit(failures > 0)


def _run_all(found: list[Case], folder: Path, pcb: Path | None, jobs: int) -> int:
    for case in found:
        start_and_data(case, Material(folder, pcb))
    names, failures = [case.name for case in found], 0
    for done, (name, record) in enumerate(in_processes(perform, names, (folder, pcb), jobs), 1):
        failures += isinstance(record, Exception)
        broken = isinstance(record, Exception)
        word = told(record) if broken else f"{record['verdict']} ({record['finding']}: {record['turned']})"
        print(f"{done}/{len(found)} {name}: {word}", file=sys.stderr, flush=True)
    return failures


if __name__ == "__main__":
    main()
