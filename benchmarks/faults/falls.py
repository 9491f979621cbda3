"""When do the curves tell labels of other pictures? The fall of the loss and the best mAP50 after so many steps.

python benchmarks/faults/falls.py OUT/long      # trainings of `run.py long`
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from catalogue import CELLS, cases
from score import print_table
from stored import load

from pipeline.training.history_prefix import history_until
from pipeline.training.judging import plain_loss
from pipeline.training.rules_learning import fall_of

STEPS = (100, 150, 200, 300, 400, 500)


def main() -> None:
    if len(sys.argv) != 2 or Path(sys.argv[1]).absolute().name not in CELLS:
        sys.exit(__doc__)
    folder = Path(sys.argv[1]).absolute()
    rows = []
    for case in [case for case in cases(folder.name) if (folder / case.name).is_dir()]:
        history = load(folder / case.name).history
        seen = [history_until(history, steps) for steps in STEPS if steps <= history.steps.height]
        falls = [f"{fall_of(plain_loss(part))[2]:.0%}".replace("%", " %") for part in seen]
        found = [f"{np.nanmax(part.epoch_values('val_map50')):.3f}" for part in seen]
        words = [f"{fall}, {score}" for fall, score in zip(falls, found, strict=True)]
        rows.append((case.variant.name, case.cell.name, *words, *[""] * (len(STEPS) - len(seen))))
    print_table(("labels", "training", *(f"after {steps} steps" for steps in STEPS)), rows)


if __name__ == "__main__":
    main()
