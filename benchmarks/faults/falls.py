"""When do the curves tell labels of other pictures? The fall of the loss and the best mAP50 after so many steps.

    python benchmarks/faults/falls.py OUT/long      # trainings of `run.py long`, or of `late`

Cells: by how much the loss has fallen, the best mAP50 on val so far. Last column: what is told at the end.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from catalogue import CELLS, cases
from score import print_table
from stored import load

from pipeline.training.diagnosis import diagnose
from pipeline.training.history_prefix import history_until
from pipeline.training.judging import plain_loss
from pipeline.training.rules_learning import fall_of

STEPS = (100, 150, 200, 250, 300, 400, 500)
RULES = ("labels.not_learnable", "loss.plateau")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="OUT/long or OUT/late")
    folder = parser.parse_args().folder.absolute()
    kept = [case for case in cases(folder.name) if (folder / case.name).is_dir()] if folder.name in CELLS else []
    if not kept:
        sys.exit(f"{folder}: holds no trainings; benchmarks/faults/run.py long OUT makes some in OUT/long")
    rows = []
    for case in kept:
        history = load(folder / case.name).history
        seen = [history_until(history, steps) for steps in STEPS if steps <= history.steps.height]
        falls = [f"{fall_of(plain_loss(part))[2]:.0%}".replace("%", " %") for part in seen]
        found = [f"{np.nanmax(part.epoch_values('val_map50')):.3f}" for part in seen]
        words = [f"{fall}, {score}" for fall, score in zip(falls, found, strict=True)]
        labels = "of other pictures" if case.fault else f"right ({case.variant.name})"
        told = [finding.id for finding in diagnose(history) if finding.id in RULES]
        training = f"{case.cell.model}, {case.cell.data}, {case.variant.optimizer or case.cell.optimizer}"
        words += [""] * (len(STEPS) - len(seen))
        rows.append((labels, training, *words, ", ".join(told) or "nothing"))
    print_table(("labels", "training", *(f"after {steps} steps" for steps in STEPS), "told of it"), rows)


if __name__ == "__main__":
    main()
