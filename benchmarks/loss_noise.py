"""How far apart are the losses that `tuneup advise --verify` compares, in trainings that differ in the seed alone?

Two demo sets, three optimizers, three seeds: as in `healthy_runs.py`, YOLO26n from random weights, but 60 optimiser
steps, after which hardly anything is found: only then are losses compared. Every two of one set and optimizer are
compared as a verification does it; where their losses are called different, that is a false verdict, and the program
ends with exit code 1.

    python benchmarks/loss_noise.py FOLDER      # trains (about ten minutes on a core), then compares
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small gain nothing from a second thread

import healthy_runs

from pipeline.advice_result import BLIND
from pipeline.advice_verb import losses_between
from pipeline.config import load_config
from pipeline.runs import Run

SEEDS = (0, 1, 2)
SETS = {"steel": ["epochs=2", "mosaic=0.0"], "field": ["epochs=4", "mosaic=1.0", "close_mosaic=1"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    healthy_runs.train_all(folder, SEEDS, SETS)
    told, blind = [], []
    print("| set | optimizer | seeds | mAP50 | loss of the second, times that of the first | pictures without a loss |")
    print("|---|---|---|---|---|---|")
    for kind, optimizer in itertools.product(SETS, healthy_runs.OPTIMIZERS):
        for seeds in itertools.combinations(SEEDS, 2):
            first, second = (Run(folder / "runs" / f"{kind}-{optimizer}-{seed}") for seed in seeds)
            change = losses_between(first, second, load_config(first.path / "config.yaml"))
            ratio, without = change.figures["ratio"], change.figures["without_loss"]
            interval = f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
            lost = f"{without['before']}, {without['after']}"
            scores = [float(run.epochs()["val_map50"][-1]) for run in (first, second)]
            found = f"{scores[0]:.3f}, {scores[1]:.3f}"
            print(f"| {kind} | {optimizer} | {seeds[0]}, {seeds[1]} | {found} | {interval} | {lost} |", flush=True)
            told.append(change.direction != "none")
            blind.append(max(scores) < BLIND)
    both = sum(map(bool.__and__, told, blind))
    print(f"\ncalled different: {sum(told)} of {len(told)}; where neither finds anything {both} of {sum(blind)}")
    sys.exit(any(told))


if __name__ == "__main__":
    main()
