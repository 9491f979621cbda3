"""Time of an epoch, side by side with `yolo detect train` at the same settings, on the CPU unless told otherwise.

Both train the same demo set by turns, each in a process of its own. An epoch is everything from one epoch's start
to the next: batches, validation, checkpoint, and for us the records and the report as well. The first epoch is left
out (both warm up), the median of the others is taken per run and then over the runs.

    python benchmarks/epoch_time.py [--rounds 3] [--epochs 4] [--imgsz 320] [--device cpu]
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]


def settings(options: argparse.Namespace) -> dict[str, object]:
    """Return what both are told."""
    return {
        "model": "yolo26n.yaml",
        "epochs": options.epochs,
        "imgsz": options.imgsz,
        "batch": 16,
        "fraction": 0.4,
        "nbs": 16,
        "optimizer": "AdamW",
        "lr0": 0.002,
        "device": options.device,
        "close_mosaic": 0,
    }


def call(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def ours(folder: Path, data: Path, options: argparse.Namespace) -> list[float]:
    """Return the seconds of the epochs but the first and last, from the step records of a run."""
    words = [f"{key}={value}" for key, value in settings(options).items()]
    command = [sys.executable, "-m", "pipeline", "train", *words, f"data={data}", f"runs={folder}", "name=ours"]
    call(command, folder, dict(os.environ))
    code = (
        "from pipeline import Run\n"
        "steps = Run('ours').steps().group_by('epoch').first().sort('epoch')['seconds']\n"
        "print(*steps.diff().drop_nulls()[1:])"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return [float(word) for word in printed.stdout.split()]


def theirs(folder: Path, data: Path, options: argparse.Namespace) -> list[float]:
    """Return the seconds of the epochs but the first and last, from Ultralytics' results.csv."""
    words = [f"{key}={value}" for key, value in settings(options).items()]
    where = [f"project={folder}", "name=plain", "plots=False", "exist_ok=True"]
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment |= {"YOLO_CONFIG_DIR": str(folder / "settings"), "YOLO_OFFLINE": "1"}
    yolo = Path(sys.executable).with_name("yolo")
    call([str(yolo), "detect", "train", f"data={data}", *words, *where], folder, environment)
    with (folder / "plain" / "results.csv").open() as file:
        times = [float(row["time"]) for row in csv.DictReader(file)]
    return [after - before for before, after in pairwise(times)][: options.epochs - 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    options = parser.parse_args()
    data = ROOT / "datasets" / "steel" / "data.yaml"
    if not data.is_file():
        sys.exit("the demo set is missing; `make demo` draws it")
    rows = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plain = median(theirs(folder, data, options))
            tuned = median(ours(folder, data, options))
        rows.append((plain, tuned, tuned / plain))
        print(f"round {number + 1}: yolo {plain:.2f} s, tuneup {tuned:.2f} s, ratio {tuned / plain:.2f}", flush=True)
    plain, tuned, ratio = (median(column) for column in zip(*rows, strict=True))
    print(
        f"\ndevice {options.device}, {os.cpu_count()} cores, imgsz {options.imgsz}, median of {options.rounds} rounds"
    )
    print("| | seconds per epoch |\n|---|---|")
    print(f"| yolo detect train | {plain:.2f} |\n| tuneup train | {tuned:.2f} |\n| ratio | **{ratio:.2f}** |")


if __name__ == "__main__":
    main()
