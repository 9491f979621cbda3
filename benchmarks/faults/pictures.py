"""Draw four cases of the fault benchmark: what the curve of a broken training looks like, and who says what when.

    python benchmarks/faults/pictures.py OUT/heldout [FOLDER]      # default: docs/benchmarks/faults

Each picture holds the broken training, a healthy one on the same pictures, the step at which the fault begins, the
first right finding, and the alarms of other tools below.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from case import Case
from catalogue import CELLS, cases
from judge import BEFORE, Judged, judge, right_ids
from stored import load

mpl.use("Agg")
import matplotlib.pyplot as plt

from pipeline.training.history import History, Values
from pipeline.training.judging import plain_loss

HEALTHY, FAULTY, FOUND, OTHERS = "#7a8a99", "#c43c2e", "#1f6f43", "#555555"
Curve = Callable[[History], tuple[Values, Values]]  # steps, values


def loss(history: History) -> tuple[Values, Values]:
    """The loss under fixed weights of its branches."""
    values = plain_loss(history)
    return np.arange(len(values), dtype=float), values


def change(history: History) -> tuple[Values, Values]:
    """|dw| / |w| of a step, of the optimizer group that changes most."""
    probes = history.probes_of("update")
    steps = np.array([float(probe["step"]) for probe in probes])
    return steps, np.array([max(probe["group_ratio"].values(), default=np.nan) for probe in probes])


def val_loss(history: History) -> tuple[Values, Values]:
    """The loss on val after each epoch."""
    return history.epoch_values("steps"), plain_loss(history, "val")


@dataclass(frozen=True)
class Picture:
    """A case: its fault, the curve that shows it or fails to, what there is to see, and on which kind of data."""

    fault: str
    curve: Curve
    label: str
    title: str
    data: str
    log: bool = False
    beside: Curve | None = None  # of the same training, in place of a healthy one


PICTURES = (
    Picture("adamw_rate_high", loss, "loss", "AdamW at 0.1: the loss falls all the same", "steel"),
    Picture(
        "adamw_rate_high", change, "|dw| / |w|", "... but a step replaces a sixth of the weights", "steel", log=True
    ),
    Picture(
        "wrong_sign_pooling", loss, "loss", "a backward pass of the wrong sign: nothing to be seen in the loss", "steel"
    ),
    Picture("inf_gradient", loss, "loss", "one Inf in one gradient: the step is not taken, training goes on", "steel"),
    Picture(
        "overfitting", val_loss, "loss", "twenty pictures, sixty times each: learnt by heart", "steel", beside=loss
    ),
)


def draw(picture: Picture, folder: Path, path: Path) -> None:
    """Draw one picture from the first kept training of its fault on its kind of data."""
    kept = _kept(picture, folder)
    assert kept is not None
    case, partner = kept
    judged = judge(case.name, folder)
    figure, axes = plt.subplots(figsize=(6.4, 2.8))
    history = load(folder / case.name).history
    if picture.beside is not None:
        axes.plot(*picture.beside(history), color=HEALTHY, label="on the twenty pictures", linewidth=1.3)
    elif partner is not None:
        healthy = load(folder / partner.name).history
        axes.plot(*picture.curve(healthy), color=HEALTHY, label="healthy, same pictures", linewidth=1.3)
    label = "on val" if picture.beside is not None else picture.fault
    axes.plot(*picture.curve(history), color=FAULTY, label=label, linewidth=1.3)
    _mark(axes, judged, case)
    if picture.log:
        axes.set_yscale("log")
    axes.set_title(picture.title, fontsize=8, loc="left")
    axes.set_ylabel(picture.label, fontsize=7)
    axes.set_xlabel("optimiser step", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=6, frameon=False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _kept(picture: Picture, folder: Path) -> tuple[Case, Case | None] | None:
    """Return a training with the fault and a healthy one of the same way and pictures; without one if none is kept."""
    kept = [case for case in cases(folder.name) if (folder / case.name).is_dir()]
    broken = [case for case in kept if case.fault is not None and case.fault.name == picture.fault]
    broken = [case for case in broken if case.cell.data.startswith(picture.data)]
    healthy = {_way(case): case for case in reversed(kept) if case.fault is None and _is_plain(case)}
    pairs = [(case, healthy.get(_way(case))) for case in broken]
    return min(pairs, key=lambda pair: pair[1] is None, default=None)


def _way(case: Case) -> tuple[str, ...]:
    return case.cell.model, case.cell.data, case.variant.optimizer or case.cell.optimizer, case.cell.amp


def _is_plain(case: Case) -> bool:
    variant = case.variant
    return not (variant.settings or variant.start or variant.change or variant.resumes)


def _mark(axes: plt.Axes, judged: Judged, case: Case) -> None:
    assert case.fault is not None
    found = judged.first_right()
    if judged.onset:
        axes.axvline(judged.onset, color=FAULTY, linestyle=":", linewidth=1)
    if found is not None:
        told = [*((BEFORE, finding) for finding in judged.before), *judged.live]
        name = next(finding.id for step, finding in told if step == found and finding.id in right_ids(case.fault))
        where = "before the first step" if found < 0 else f"step {found}"
        axes.axvline(max(found, 0), color=FOUND, linestyle="--", linewidth=1.2)
        axes.annotate(f"{name}\n{where}", (max(found, 0), 0.97), xycoords=("data", "axes fraction"), fontsize=6,
                      color=FOUND, va="top", xytext=(3, 0), textcoords="offset points",
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8})  # fmt: skip
    said = []
    for tool, alarms in judged.alarms.items():
        first = [alarm for alarm in alarms if alarm.kind in case.fault.kinds]
        said.append(f"{tool}: {f'{first[0].rule}, step {first[0].step}' if first else 'nothing about it'}")
    axes.annotate("   ".join(said), (0, -0.32), xycoords="axes fraction", fontsize=5.5, color=OTHERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="OUT/heldout")
    parser.add_argument("target", type=Path, nargs="?", default=Path("docs/benchmarks/faults"))
    options = parser.parse_args()
    folder, target = options.folder.absolute(), options.target
    missing = [one.fault for one in PICTURES if folder.name not in CELLS or _kept(one, folder) is None]
    if missing:
        sys.exit(f"{folder}: holds no training with {missing[0]}; benchmarks/faults/run.py heldout OUT makes one")
    target.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"svg.hashsalt": "faults", "svg.fonttype": "none"})
    for number, picture in enumerate(PICTURES, 1):
        path = target / f"{number}-{picture.fault}.svg"
        draw(picture, folder, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
