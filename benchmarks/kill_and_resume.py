"""Kill a training with SIGKILL at random moments, resume it each time, and look at what is left.

After every kill all files of the run are read; at the end every step and epoch must stand in the history once, and the
records must equal those of the same training without a kill.

    python benchmarks/kill_and_resume.py [--kills 5] [--epochs 12] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import torch

from pipeline import Run

ROOT = Path(__file__).resolve().parents[1]


def words(data: Path, runs: Path, name: str, epochs: int) -> list[str]:
    """Return the command line of the training."""
    settings = ["model=yolo26n.yaml", "imgsz=64", "batch=16", "nbs=32", "optimizer=AdamW", "lr0=0.002", "device=cpu"]
    return ["train", f"data={data}", f"runs={runs}", f"name={name}", f"epochs={epochs}", *settings]


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def read_everything(run: Run) -> str:
    """Read all files of the run; raises if one cannot be read. Returns how far it is."""
    for path in run.path.rglob("*"):
        if path.name.startswith(".") or path.is_dir():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".parquet":
            pl.read_parquet(path)
        elif path.name == "resume.pt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".pt":
            torch.load(path, weights_only=False)
    return f"{run.steps().height} steps, {run.epochs().height} epochs recorded"


def time_whole(process: subprocess.Popen[bytes], run: Run) -> tuple[float, float]:
    """Return the seconds until the first step of a training, and from there to its end."""
    started = time.monotonic()
    while process.poll() is None and run.steps().is_empty():
        time.sleep(0.05)
    first = time.monotonic()
    if process.wait():
        sys.exit("the training without a kill failed")
    return first - started, time.monotonic() - first


def without_times(run: Run, kind: str) -> list[dict[str, object]]:
    return [{k: v for k, v in record.items() if k not in {"seconds", "time"}} for record in run.records(kind)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = ROOT / "datasets" / "steel" / "data.yaml"
    if not data.is_file():
        sys.exit("the demo set is missing; `make demo` draws it")
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        reference, run = Run(runs / "whole"), Run(runs / "killed")
        startup, length = time_whole(start(words(data, runs, "whole", options.epochs)), reference)
        arguments = words(data, runs, "killed", options.epochs)
        for number in range(options.kills):
            process = start(arguments)
            wait = chance.uniform(0.5 * startup, startup + length / (options.kills + 1))
            time.sleep(wait)
            ended = process.poll() is not None
            process.kill()
            process.wait()
            word = "had ended" if ended else "killed"
            print(f"{number + 1}: {word} after {wait:.1f} s; all files readable; {read_everything(run)}", flush=True)
            if ended:
                break
            arguments = ["train", "--resume", str(run.path)]
        if run.state["state"] != "complete" and start(["train", "--resume", str(run.path)]).wait():
            sys.exit("the last resume failed")
        read_everything(run)
        for kind in ("steps", "epochs"):
            same = without_times(run, kind) == without_times(reference, kind)
            print(f"{kind}: {len(run.records(kind))}, equal to the run without a kill: {same}")
            if not same:
                sys.exit(1)


if __name__ == "__main__":
    main()
