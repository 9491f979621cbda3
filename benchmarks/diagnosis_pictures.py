"""Draw the pictures of docs/diagnoses.md: for each finding the curve that its rule looks at, healthy and not.

The curves are drawn from formulas that follow measured runs; the limits are the rules' own.

    python benchmarks/diagnosis_pictures.py [FOLDER]      # default: docs/diagnoses
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

from pipeline.training import (
    rules_gradients,
    rules_layers,
    rules_learning,
    rules_norms,
    rules_setup,
    rules_terms,
    rules_updates,
)

Curve = Callable[[np.ndarray], np.ndarray]
HEALTHY, FAULTY, LIMIT = "#7a8a99", "#c43c2e", "#1f6f43"
X = np.arange(120.0)


@dataclass(frozen=True)
class Picture:
    """One finding's curve.

    Args:
        label: of the y axis.
        healthy: what it looks like when all is well; None leaves it out.
        faulty: what it looks like when the finding is due.
        limit: where the rule draws its line, in units of the y axis.
        noise: relative deviation of the curves, for those that are noisy.
        log: whether the y axis is logarithmic.
        x: label of the x axis.
    """

    label: str
    healthy: Curve | None
    faulty: Curve
    limit: float | None = None
    noise: float = 0.0
    log: bool = False
    x: str = "optimiser step"


def warm(x: np.ndarray) -> np.ndarray:
    return np.minimum(1, (x + 1) / 16)


def falling(x: np.ndarray, part: float = 0.5) -> np.ndarray:
    return 9 * (1 - part * (1 - np.exp(-x / 30)))


def norm(x: np.ndarray) -> np.ndarray:
    return 6 + 150 * np.exp(-x / 4)


def level(value: float) -> Curve:
    return lambda x: np.full(len(x), value)


def bump(x: np.ndarray, height: float, start: int) -> np.ndarray:
    return np.where(x >= start, height, 1.0)


LOSS = "loss per picture"
PICTURES: dict[str, Picture] = {
    "data.no_boxes": Picture("box loss", lambda x: falling(x) / 2, level(0.0), noise=0.05),
    "labels.not_learnable": Picture(
        LOSS, falling, lambda x: falling(x, 0.1), 9 * (1 - rules_learning.LEARNS), noise=0.05
    ),
    "schedule.too_few_steps": Picture(
        "learning rate / lr0",
        lambda x: warm(x) * (1.01 - x / 120),
        lambda x: np.where(x < 70, x / 70, 1.01 - x / 120),
        rules_setup.WARMUP_LARGE,
    ),
    "resume.not_restored": Picture(
        LOSS, falling, lambda x: falling(x) * (1 + 1.2 * (x > 60) * np.exp((60 - x) / 20)), noise=0.04
    ),
    "optimizer.auto_ignores_lr0": Picture("learning rate", lambda x: 0.005 * warm(x), lambda x: 0.001667 * warm(x)),
    "optimizer.lr_too_high": Picture(
        "|dw| / |w| per step",
        lambda x: 1e-2 * warm(x) * (1.01 - x / 120),
        lambda x: 0.16 * warm(x) * np.exp(-x / 40),
        rules_updates.TOO_HIGH,
        0.1,
        True,
    ),
    "optimizer.lr_too_low": Picture(
        "|dw| / |w| per step",
        lambda x: 1e-2 * warm(x) * (1.01 - x / 120),
        lambda x: 5e-7 * warm(x) * (1.01 - x / 120),
        rules_updates.TOO_LOW,
        0.1,
        True,
    ),
    "gradient.vanishing": Picture(
        "layer's norm / o2m",
        norm,
        lambda x: norm(x) * np.where(x > 60, 1e-5, 1.0),
        6 * rules_gradients.VANISHED,
        0.3,
        True,
    ),
    "gradient.exploding": Picture(
        "norm per picture",
        norm,
        lambda x: norm(x) * bump(x, 600, 80),
        6 * np.exp(rules_gradients.EXPLODED_Z * rules_gradients.LEAST_DEVIATION),
        0.3,
        True,
    ),
    "gradient.non_finite": Picture(
        "norm per picture", norm, lambda x: np.where(np.isin(x, range(68, 76)), np.nan, norm(x)), None, 0.3, True
    ),
    "gradient.clipped_away": Picture(
        "norm / clip",
        lambda x: norm(x) * 0.8,
        lambda x: norm(x) * 0.8 * np.exp(np.maximum(x - 40, 0) / 15),
        4.8 * rules_gradients.CLIPPED_MORE,
        0.3,
        True,
    ),
    "gradient.head_drowns_backbone": Picture(
        "head / backbone",
        lambda x: 1 + x / 20,
        lambda x: (1 + x / 20) * bump(x, 1e3, 70),
        rules_gradients.DROWNED,
        0.3,
        True,
    ),
    "gradient.conflict": Picture("cosine", level(0.05), level(-0.55), rules_updates.OPPOSED),
    "layer.never_updated": Picture("|dw| / |w| of the layer", lambda x: 1e-2 * warm(x), level(0.0)),
    "layer.frozen_unintended": Picture("|dw| / |w| of the layer", lambda x: 1e-2 * warm(x), level(0.0)),
    "layer.not_in_optimizer": Picture("|dw| / |w| of the layer", lambda x: 1e-2 * warm(x), level(0.0)),
    "layer.weights_out_of_scale": Picture(
        "|dw| / |w| of the layer",
        lambda x: 1e-2 * warm(x),
        lambda x: 1.6 * np.exp(-x / 8) + 1e-2,
        rules_layers.OWN_CHANGE,
        0.1,
        True,
    ),
    "optimizer.weight_decay_too_high": Picture(
        "size of the weights", level(1.0), lambda x: np.maximum(0.99**x, 0.15), None, 0.01
    ),
    "layer.dead_units": Picture(
        "share of flat outputs", level(0.01), lambda x: np.minimum(1, x / 60), rules_layers.DEAD_SHARE
    ),
    "norm.batch_too_small": Picture(
        "values per channel",
        lambda x: 9 * (x + 1),
        lambda x: np.where(x < 1, 9.0, np.nan),
        rules_norms.FEWEST_VALUES,
        x="batch - 1",
    ),
    "norm.variance_collapsed": Picture(
        "constant channels", lambda x: (x < 5).astype(float), level(0.9), rules_norms.CONSTANT_SHARE
    ),
    "norm.not_finite": Picture("running variance", level(1.0), lambda x: np.where(x < 1, 1.0, np.nan), None, x="step"),
    "norm.drifting": Picture(
        "batch / running var.",
        lambda x: np.minimum(1, 1e-2 * 0.97**-x),
        lambda x: 1.5e-5 + 1e-2 * np.exp(-x),
        1 / rules_norms.LARGEST_RATIO,
        0.1,
        True,
    ),
    "loss.term_imbalance": Picture(
        "share of cls", lambda x: 0.02 + 0.4 * x / 120, level(2e-5), rules_terms.OTHER_TERM, 0.1, True
    ),
    "loss.plateau": Picture(LOSS, falling, lambda x: np.maximum(falling(x), 7.6), noise=0.03),
    "loss.divergence": Picture(LOSS, falling, lambda x: falling(x) + np.maximum(x - 60, 0) * 0.15, None, 0.04),
    "loss.overfitting": Picture(
        "loss on val", falling, lambda x: falling(x, 0.3) + np.maximum(x - 50, 0) * 0.03, None, 0.02
    ),
    "amp.skipping": Picture("loss scale", level(2.0**16), lambda x: 2.0 ** np.maximum(24 - x, 12), log=True),
}


def draw(name: str, picture: Picture, path: Path) -> None:
    """Draw one picture."""
    rng = np.random.default_rng(sum(map(ord, name)))
    figure, axes = plt.subplots(figsize=(4.6, 2.1))
    for curve, colour, label in ((picture.healthy, HEALTHY, "healthy"), (picture.faulty, FAULTY, name)):
        if curve is not None:
            values = curve(X) * np.exp(rng.normal(0, 1, len(X)) * picture.noise)
            axes.plot(X, np.round(values, 8), color=colour, label=label, linewidth=1.3)
    if picture.limit is not None:
        axes.axhline(picture.limit, color=LIMIT, linestyle="--", linewidth=1, label="limit")
    if picture.log:
        axes.set_yscale("log")
    if name == "norm.batch_too_small":
        axes.set_xlim(-0.5, 9)
        axes.set_ylim(0, 90)
        axes.plot([0], [9], color=FAULTY, marker="o")
    axes.set_ylabel(picture.label, fontsize=7)
    axes.set_xlabel(picture.x, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=6, frameon=False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/diagnoses")
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"svg.hashsalt": "diagnoses", "svg.fonttype": "none"})
    for name, picture in PICTURES.items():
        path = folder / f"{name}.svg"
        draw(name, picture, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
