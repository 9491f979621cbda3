"""Is the diagnosis silent when a training is healthy? Twelve healthy trainings, judged at every fifth step.

Three optimizers at ordinary rates, two demo sets, two seeds; YOLO26n from random weights, 120 optimiser steps. A
warning or an error, at the end or on the way, is a false alarm, and the program then ends with exit code 1.

    python benchmarks/healthy_runs.py [--keep FOLDER]      # trains (about ten minutes on one core), then judges
    python benchmarks/healthy_runs.py --rejudge FOLDER     # judges the runs kept there by the rules of this version
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small gain nothing from a second thread

import numpy as np

import pipeline
from pipeline.findings import Finding
from pipeline.run_history import RunHistory
from pipeline.training.diagnosis import diagnose
from pipeline.training.history import History
from pipeline.training.history_prefix import history_until
from pipeline.training.judging import lags, layer_norms, places, plain_loss, restart

EVERY = 5  # steps between two judgements
OPTIMIZERS = {
    "AdamW": ["lr0=0.002", "warmup_bias_lr=0.0"],
    "SGD": ["lr0=0.01"],
    "MuSGD": ["lr0=0.01"],
}
SETS = {
    "steel": ["epochs=4", "mosaic=0.0"],  # 240 pictures: 30 steps an epoch
    "field": ["epochs=8", "mosaic=1.0", "close_mosaic=2"],  # 120 pictures: 15 steps an epoch
}
SEEDS = (0, 1)
COMMON = ["model=yolo26n.yaml", "imgsz=96", "batch=8", "nbs=8", "warmup_epochs=1", "workers=0", "device=cpu"]
QUICK = ["monitor.preflight=0", "report.samples=0", "report.every=100"]


def train_all(folder: Path, seeds: Sequence[int] = SEEDS, sets: Mapping[str, Sequence[str]] = SETS) -> None:
    """Train what is not there yet."""
    for kind, of_set in sets.items():
        data = folder / "data" / kind / "data.yaml"
        if not data.is_file():
            pipeline.make_demo(kind, data.parent)
        for optimizer, of_optimizer in OPTIMIZERS.items():
            for seed in seeds:
                name = f"{kind}-{optimizer}-{seed}"
                if (folder / "runs" / name / "weights" / "best.pt").is_file():
                    continue
                started = time.perf_counter()
                own = [f"data={data}", f"runs={folder / 'runs'}", f"name={name}", f"optimizer={optimizer}"]
                pipeline.train(overrides=[*COMMON, *QUICK, *own, *of_set, *of_optimizer, f"seed={seed}"])
                print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def judge_prefixes(history: History) -> tuple[dict[tuple[str, str], int], int]:
    """Return the first step at which each finding was reported, by severity and id, and how often was judged."""
    first: dict[tuple[str, str], int] = {}
    moments = [*range(0, history.steps.height, EVERY), history.steps.height]
    for steps in moments:
        for finding in diagnose(history_until(history, steps)):
            first.setdefault((finding.severity, finding.id), steps)
    return first, len(moments)


def row_of(run: RunHistory) -> tuple[str, bool]:
    """Return a run's row of the table, and whether it is free of warnings and errors."""
    history = History.of(run)
    first, moments = judge_prefixes(history)
    final: list[Finding] = diagnose(history)
    loss, scores = history.step_values("loss"), history.epoch_values("val_map50")
    alarms = [
        f"{name} ({severity}, from step {step})" for (severity, name), step in first.items() if severity != "info"
    ]
    notes = sorted({finding.id for finding in final if finding.severity == "info"})
    cells = (
        run.path.name,
        str(history.steps.height),
        f"{loss[:10].mean():.1f} → {loss[-10:].mean():.1f}",
        f"{scores[-1]:.2f}",
        str(moments),
        ", ".join(alarms) or "none",
        ", ".join(notes) or "none",
    )
    return f"| {' | '.join(cells)} |", not alarms


def extremes(history: History) -> dict[str, tuple[float, bool]]:
    """Return the figures that thresholds are set against, and whether the largest of all runs counts."""
    probes = history.probes_of("update")
    groups = np.array([max(probe["group_ratio"].values()) for probe in probes])
    cosines = np.array([np.nan if probe.get("cosine") is None else probe["cosine"] for probe in probes])
    layers = [np.array([value for value in probe["ratio"].values() if value > 0]) for probe in probes]
    layers = [values for values in layers if len(values)]
    loss = plain_loss(history)
    late = int(0.9 * len(loss))
    norms, begin, names = layer_norms(history), restart(history), history.norms.layer_names
    body = [i for i, name in enumerate(names) if places(history).get(name) == "backbone"]
    base, now = (np.median(norms[part], axis=0)[body] for part in (slice(begin, begin + 20), slice(-20, None)))
    rows = [row for p in history.probes_of("health") if p["step"] for row in p["norms"].values() if not lags(row)]
    shares = [probe["shares"] for probe in history.probes_of("terms")]
    severity = history.step_values("grad_norm_before_clip") * history.step_values("images") / history.context["clip"]
    return {
        "change of the weights per step, median of three samples": (np.median(windows(groups, 3), axis=1).max(), True),
        "the same, median of the run": (np.median(groups), False),
        "largest change of a layer in one step": (max(values.max() for values in layers), True),
        "the same, times the median layer's": (max(values.max() / np.median(values) for values in layers), True),
        "cosine of successive gradients, mean of ten": (np.nanmean(windows(cosines, 10), axis=1).min(), False),
        "way of the weights, sum of their changes": (groups.mean() * len(loss), False),
        "fall of the loss by 90 % of the run": (1 - np.median(loss[late - 20 : late]) / np.median(loss[:20]), False),
        "backbone layer's norm at the end / after warm-up": ((now / base).min(), False),
        "backbone layer's norm at the end / median layer's": (now.min() / np.median(now), False),
        "norm / clip, median of 20 steps after warm-up": (np.median(windows(severity[begin:], 20), axis=1).max(), True),
        "share of flat outputs of a layer": (max(row["dead"] for row in rows), True),
        "share of cls in the gradient at the neck": (min(row["cls_loss"] for row in shares), False),
        "share of box in the gradient at the neck": (max(row["box_loss"] for row in shares), True),
        "values per channel of a BatchNorm layer": (min(row["values"] for row in rows), False),
    }


def windows(values: np.ndarray, length: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, min(length, len(values)))


def print_extremes(histories: list[History]) -> None:
    """Print, for each figure, the run that comes nearest to its threshold."""
    found = [extremes(history) for history in histories]
    print("\n| figure | | of all runs |\n|---|---|---|")
    for name, (_, largest) in found[0].items():
        values = [row[name][0] for row in found]
        print(f"| {name} | {'largest' if largest else 'smallest'} | {max(values) if largest else min(values):.2g} |")


def judge_all(runs: Path) -> bool:
    """Print the table; returns whether all runs are free of warnings and errors."""
    folders = sorted(path.parent.parent for path in runs.glob("*/history/steps.jsonl"))
    if not folders:
        sys.exit(f"{runs}: holds no runs")
    print("| run | steps | loss, first and last ten steps | mAP50 | judged | warnings and errors | notes at the end |")
    print("|---|---|---|---|---|---|---|")
    silent = []
    for folder in folders:
        row, clean = row_of(RunHistory(folder))
        print(row, flush=True)
        silent.append(clean)
    print_extremes([History.of(RunHistory(folder)) for folder in folders])
    print(f"\n{sum(silent)} of {len(silent)} runs without a warning or an error at any moment")
    return all(silent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="folder for data and runs; without it they go")
    parser.add_argument("--rejudge", type=Path, help="judge the runs kept in this folder")
    options = parser.parse_args()
    if options.rejudge:
        kept = options.rejudge
        sys.exit(not judge_all(kept / "runs" if (kept / "runs").is_dir() else kept))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).absolute()
        started = time.perf_counter()
        train_all(folder)
        print(f"trained in {(time.perf_counter() - started) / 60:.1f} min", file=sys.stderr)
        sys.exit(not judge_all(folder / "runs"))


if __name__ == "__main__":
    main()
