"""Train the fault benchmark: broken and healthy trainings, each kept as a history that can be judged again.

    python benchmarks/faults/run.py calibration OUT --pcb DEEPPCB    # the trainings that thresholds may be set on
    python benchmarks/faults/run.py heldout OUT --pcb DEEPPCB        # those of the published table, run once
    python benchmarks/faults/run.py fresh OUT --pcb DEEPPCB          # and those after what the table taught was mended
    python benchmarks/faults/run.py late OUT --pcb DEEPPCB           # longer ones, for the rules that wait
    python benchmarks/faults/run.py small OUT                        # eight faults and six healthy ones, in minutes
    python benchmarks/faults/score.py OUT/heldout                    # the tables, in seconds

What is kept already is not trained again, so that a benchmark that was interrupted goes on. `--only TEXT` takes the
cases whose name holds the text; `--jobs N` trainings go side by side, one thread each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small gain nothing from a second thread

import torch
from case import Case
from catalogue import CELLS, CHECKED, case_of, cases, settings_of
from doors import Onset
from material import BASE_DATA, BOARDS, Material
from stored import save

from pipeline.config import load_config
from pipeline.errors import TuneUpError
from pipeline.runs import Run
from pipeline.training import session
from pipeline.training.watcher import StopRequested, Watcher

WEIGHTS = "weights of "
RUNS_PER_PROCESS = 12  # a training leaves some memory behind


class StopAfter(Watcher):
    """Stops a training when half of its epochs are done, as Ctrl-C does."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_start(self, run: Run, epochs: int, first_epoch: int, batches: int) -> None:
        """Remember how long the run is meant to be."""
        self.epochs = epochs

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Stop in the middle."""
        if record["epoch"] + 1 == self.epochs // 2:
            raise StopRequested


def perform(name: str, folder: Path, pcb: Path | None) -> str:
    """Check and train the case of a name and keep what it left; returns how it ended in a word.

    By name, because the code that a fault brings in cannot be sent to another process.
    """
    case = case_of(folder.name, name)
    if (folder / name).is_dir():
        return "kept meanwhile by another call"
    material = Material(folder, pcb)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        overrides = [*settings_of(case), *start_and_data(case, material), f"runs={temporary}", "name=run"]
        checked, refused = _check(case, overrides)
        run, onset, ended = (None, Onset(), refused) if refused else _train(case, overrides, Path(temporary))
        if ended == "interrupted":
            raise RuntimeError(f"{name} was interrupted; it is not kept")
        outcome = {
            "refused": refused,
            "ended": ended,
            "onset": onset.step,
            "seconds": round(time.perf_counter() - started, 1),
            "finite": run is None or _weights_are_finite(run),
            "version": VERSION,
        }
        save(folder / case.name, run.path if run else None, checked, outcome)
    return ended


def start_and_data(case: Case, material: Material) -> list[str]:
    """Return the overrides that name data and start of a case; both are made if need be."""
    variant, model = case.variant, case.cell.model
    data = f"data={material.data(case.cell.data, variant.change)}"
    if variant.start is None:
        return [data, f"model={model}.yaml"]
    return [data, f"model={material.weights(model, None if variant.start == 'plain' else variant.start)}"]


def _check(case: Case, overrides: list[str]) -> tuple[list[dict[str, Any]], str]:
    """Return what the preflight finds, and the message if the product refuses to begin at all."""
    if case.part not in CHECKED:
        return [], ""
    try:
        with door_of(case, Onset()):
            return [finding.to_dict() for finding in session.check(load_config(None, overrides)).findings], ""
    except TuneUpError as error:
        return [], f"{type(error).__name__}: {error}"


def _train(case: Case, overrides: list[str], folder: Path) -> tuple[Run | None, Onset, str]:
    onset = Onset()
    run = Run(folder / "run")
    resumes = case.variant.resumes
    try:
        with door_of(case, onset):
            config = load_config(None, [*overrides, "monitor.preflight=0"])
            run = session.train(config, watchers=[StopAfter()] if resumes else [])
            if resumes:
                onset.step = run.steps().height
                if resumes == "lost":
                    _forget_optimizer(run)
                run = session.resume(run)
        return run, onset, str(run.state.get("state"))
    except TuneUpError as error:
        return (run if (run.path / "history").is_dir() else None), onset, f"{type(error).__name__}: {error}"


def door_of(case: Case, onset: Onset) -> contextlib.AbstractContextManager[None]:
    """Return the block in which a case's own code is in place."""
    return case.fault.patch(onset) if case.fault and case.fault.patch else contextlib.nullcontext()


def _forget_optimizer(run: Run) -> None:
    path = run.weights("resume")
    state = torch.load(path, weights_only=True)
    state["optimizer"]["state"] = {}
    torch.save(state, path)


def _weights_are_finite(run: Run) -> bool:
    path = run.weights("last")
    if not path.is_file():
        return True  # stopped before an epoch was complete: nothing that is not finite was written
    model = torch.load(path, map_location="cpu", weights_only=False)["model"]
    return all(bool(value.isfinite().all()) for value in model.state_dict().values())


def _version() -> str:
    """Return the commit whose checks and training this is; `+` where files differ from it."""
    git = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


VERSION = _version()  # once: a process trains with the code that it has loaded, whatever is committed meanwhile


def _can_run(case: Case, pcb: Path | None) -> bool:
    """Say which cases are left out, and why."""
    missing = []
    if case.fault and case.fault.needs_gpu and not torch.cuda.is_available():
        missing.append("a GPU")
    if case.cell.data.split("-")[0] in BOARDS and pcb is None:
        missing.append("DeepPCB (--pcb FOLDER)")
    if missing:
        print(f"{case.name}: left out, it needs {' and '.join(missing)}", file=sys.stderr)
    return not missing


def _run_all(found: list[Case], folder: Path, pcb: Path | None, jobs: int) -> int:
    """Train what begins with random weights beside the weights that the others begin with, then the others."""
    material = Material(folder, pcb)
    for case in found:  # before several processes ask for them
        material.data(case.cell.data, case.variant.change)
    at_random = [case.name for case in found if case.variant.start is None]
    others = [case for case in found if case.variant.start is not None]
    weights = [f"{WEIGHTS}{model}" for model in sorted({case.cell.model for case in others})]
    if weights:
        material.data(BASE_DATA)
    failures = _perform_all([*weights, *at_random], folder, pcb, jobs)
    for case in others:
        start_and_data(case, material)
    return failures + _perform_all([case.name for case in others], folder, pcb, jobs)


def _perform_all(names: list[str], folder: Path, pcb: Path | None, jobs: int) -> int:
    failures = 0
    for done, (name, result) in enumerate(in_processes(_task, names, (folder, pcb), jobs), 1):
        failures += isinstance(result, Exception)
        word = told(result) if isinstance(result, Exception) else str(result).splitlines()[0][:150]
        print(f"{done}/{len(names)} {name}: {word}", file=sys.stderr, flush=True)
    return failures


def _task(name: str, folder: Path, pcb: Path | None) -> str:
    """Perform the case of a name, or make the weights of an architecture."""
    if not name.startswith(WEIGHTS):
        return perform(name, folder, pcb)
    Material(folder, pcb).weights(name.removeprefix(WEIGHTS))
    return "made"


def in_processes(
    work: Callable[..., Any], names: Sequence[str], rest: tuple[Any, ...], jobs: int
) -> Iterator[tuple[str, Any]]:
    """Yield each name with what `work(name, *rest)` returned or raised; fresh processes from time to time.

    Not by `max_tasks_per_child`, which can wait for ever (Python's issue 115634).
    """
    size = RUNS_PER_PROCESS * jobs
    for start in range(0, len(names), size):
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            waiting = {pool.submit(work, name, *rest): name for name in names[start : start + size]}
            for future in as_completed(waiting):
                error = future.exception()
                yield waiting[future], error if error is not None else future.result()


def told(error: Exception) -> str:
    """Return an exception of the benchmark itself with where it came from."""
    return f"THE BENCHMARK FAILED\n{''.join(traceback.format_exception(error))}"


def positive(text: str) -> int:
    """Return a number of processes."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a number of processes is 1 or more")
    return int(text)


def folder_of(out: Path, part: str) -> Path:
    """Return the folder of a part, made if need be; ends the program where there can be none."""
    folder = (out / part).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"{folder}: cannot be made ({error.strerror}); OUT is a folder for the benchmark")
    return folder


def boards_of(folder: Path | None) -> Path | None:
    """Return the folder of DeepPCB; ends the program where it is none."""
    missing = [name for name in ("train.json", "test.json", "images") if folder and not (folder / name).exists()]
    if missing:
        sys.exit(f"{folder}: holds no {missing[0]}; --pcb takes DeepPCB as train.json, test.json (COCO) and images/")
    return folder.absolute() if folder else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(CELLS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--pcb", type=Path, help="folder of DeepPCB: train.json, test.json and images/")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1)
    options = parser.parse_args()
    folder, pcb = folder_of(options.out, options.part), boards_of(options.pcb)
    wanted = [case for case in cases(options.part) if options.only in case.name]
    if not wanted:
        sys.exit(f"{options.only}: no training of {options.part} has this text in its name")
    found = [case for case in wanted if _can_run(case, pcb) and not (folder / case.name).is_dir()]
    started = time.perf_counter()
    failures = _run_all(found, folder, pcb, options.jobs)
    print(
        f"{len(found)} trainings in {(time.perf_counter() - started) / 60:.1f} min, {failures} failed", file=sys.stderr
    )
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
