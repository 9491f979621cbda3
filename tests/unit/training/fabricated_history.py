"""Histories of a small two-branch detector, healthy unless a test says otherwise. Shapes follow measured runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from pipeline.tensor_norms import TensorNorms
from pipeline.training.history import History

LAYERS = (
    *((f"model.{i}", "backbone") for i in range(6)),
    *((f"model.{i}", "neck") for i in range(6, 12)),
    *((f"model.12.{branch}", "head") for branch in ("cv2", "cv3", "one2one_cv2", "one2one_cv3")),
)
# The rate and |dw|/|w| at that rate of each optimizer in measured healthy runs.
OPTIMIZERS = {"AdamW": (0.002, 1.0e-2), "SGD": (0.01, 4e-3), "MuSGD": (0.01, 8e-3)}


@dataclass
class Shape:
    """What a fabricated history looks like; a test changes what it is about."""

    steps: int = 120
    planned: int = 120
    per_epoch: int = 15
    warmup: int = 16
    optimizer: str = "AdamW"
    seed: int = 0
    context: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    columns: dict[str, Callable[[np.ndarray], Sequence[Any]]] = field(default_factory=dict)  # of steps, from numbers
    loss: Callable[[float], float] = lambda part: 1 - 0.5 * (1 - math.exp(-4 * part)) / (1 - math.exp(-4))
    val: Callable[[float], float] | None = None  # part of the run -> factor of the first loss
    sample: Callable[[float], float] | None = None
    map50: float = 0.3  # at the end
    ratio: Callable[[int], float] | None = None  # |dw|/|w| by step
    layer_ratio: Mapping[str, float] = field(default_factory=dict)  # factor on the layer's ratio
    norm: Callable[[np.ndarray, str], np.ndarray] | None = None  # factor by step on a tensor's gradient norm
    unmoved: tuple[str, ...] = ()
    cosine: float = 0.05
    health: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by layer: values that differ
    shares: tuple[float, float] = (0.8, 0.17)  # box, cls

    def build(self) -> History:
        """Return the history."""
        rng = np.random.default_rng(self.seed)
        steps = np.arange(self.steps)
        return History(
            self._steps(steps, rng),
            self._epochs(),
            [
                {"event": "start", "epoch": 0, "step": 0},
                *([{"event": "warmup_end", "epoch": 1, "step": self.warmup}] if self.steps >= self.warmup else []),
                *self.events,
            ],
            self._probes(rng),
            self._norms(steps, rng),
            self.incidents,
            self._context(),
        )

    def _part(self, step: float) -> float:
        return step / max(self.planned, 1)

    def _rate(self, step: float) -> float:
        return OPTIMIZERS[self.optimizer][0] * min(1.0, step / max(self.warmup, 1)) * (1.01 - self._part(step))

    def _branches(self, step: int) -> tuple[float, float]:
        many = 0.8 - 0.7 * (step // self.per_epoch * self.per_epoch) / max(self.planned, 1)
        return many, 1 - many

    def _steps(self, steps: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
        if not len(steps):
            return pl.DataFrame()
        many = np.array([self._branches(step)[0] for step in steps])
        level = 9 * np.array([self.loss(self._part(step)) for step in steps]) * np.exp(rng.normal(0, 0.06, len(steps)))
        columns: dict[str, Any] = {
            "step": steps,
            "epoch": steps // self.per_epoch,
            "images": [8] * len(steps),
            "o2m": many,
            "o2o": 1 - many,
            **{f"lr_{name}": [self._rate(step) for step in steps] for name in ("weight", "bn", "bias")},
            **{
                f"{b}_{t}_loss": level * s
                for b in ("o2m", "o2o")
                for t, s in (("box", 0.5), ("cls", 0.49), ("l1", 0.01))
            },
            "loss": level,
            "grad_norm_before_clip": self._total(steps) * np.exp(rng.normal(0, 0.35, len(steps))),
            "clipped": [True] * len(steps),
            "loss_scale": [None] * len(steps),
            "skipped": [False] * len(steps),
            "skip_reason": [None] * len(steps),
        }
        columns |= {name: make(steps) for name, make in self.columns.items()}
        return pl.DataFrame(columns)

    def _total(self, steps: np.ndarray) -> np.ndarray:
        """Huge at first, in random initialisation, and down by more than a magnitude until warm-up ends."""
        return 6 + 150 * np.exp(-4 * steps / max(self.warmup, 1))

    def _epochs(self) -> pl.DataFrame:
        rows = []
        for epoch in range(self.steps // self.per_epoch):
            done = (epoch + 1) * self.per_epoch
            part = self._part(done)
            train = 9 * self.loss(part)
            val = 9 * self.val(part) if self.val else train * 1.05
            sample = 9 * self.sample(part) if self.sample else train * 1.04
            row: dict[str, Any] = {"epoch": epoch, "steps": done, "val_map50": self.map50 * part**2, "best": True}
            for name, value in (("train", train), ("val", val), ("sample", sample)):
                row |= {f"{name}_loss": value}
                row |= {f"{name}_{b}_{t}_loss": value / 2 for b in ("o2m", "o2o") for t in ("box", "cls")}
            rows.append(row)
        return pl.DataFrame(rows)

    def tensors(self) -> list[tuple[str, str]]:
        """Return the tensors with their layers: a weight and a bias each, by level in the head."""
        levels = {"head": (".0", ".1", ".2")}
        return [
            (f"{layer}{level}.{kind}", layer)
            for layer, place in LAYERS
            for level in levels.get(place, ("",))
            for kind in ("conv.weight", "bn.bias")
        ]

    def _norms(self, steps: np.ndarray, rng: np.random.Generator) -> TensorNorms:
        tensors = self.tensors()
        many = np.array([self._branches(step)[0] for step in steps])
        values = np.zeros((len(steps), len(tensors)), np.float32)
        for column, (name, layer) in enumerate(tensors):
            fed = 1 - many if "one2one" in layer else many
            own = fed * self._total(steps) / 10 * np.exp(rng.normal(0, 0.35, len(steps)))
            if ".one2one_cv2.2." in name or ".cv2.2." in name:
                own = own * (rng.random(len(steps)) > 0.4)  # no large object in the batch
            own = own * self.norm(steps, name) if self.norm else own
            values[:, column] = own
        return TensorNorms(tuple(n for n, _ in tensors), tuple(layer for _, layer in tensors), steps, values)

    def _probes(self, rng: np.random.Generator) -> list[dict[str, Any]]:
        probes: list[dict[str, Any]] = []
        full = OPTIMIZERS[self.optimizer][1] / OPTIMIZERS[self.optimizer][0]
        for step in range(0, self.steps, 2):
            ratio = self.ratio(step) if self.ratio else full * self._rate(step)
            probes.append(
                {
                    "kind": "update",
                    "step": step,
                    "epoch": step // self.per_epoch,
                    "ratio": {
                        n: ratio * self.layer_ratio.get(n, 1.0) * math.exp(rng.normal(0, 0.3)) for n, _ in LAYERS
                    },
                    "group_ratio": {"weight": ratio},
                    "against_gradient": {n: 0.3 for n, _ in LAYERS},
                    "unmoved": list(self.unmoved),
                    "cosine": self.cosine + rng.normal(0, 0.1),
                    "layer_cosine": {n: self.cosine for n, _ in LAYERS},
                    "noise_scale": None,
                }
            )
        for step in [0, *range(self.per_epoch - 1, self.steps, self.per_epoch)] if self.steps or self.health else []:
            left = 0.97**step
            rows = {
                f"{layer}.bn": {
                    "values": 128.0,
                    "smallest_variance": max(left, 2e-3),
                    "mean_shift": 0.3,
                    "variance_ratio": min(1.0, 1e-3 / left),
                    "dead": 0.0,
                    "constant": float(step == 0),
                    "non_finite": 0.0,
                    **self.health.get(layer, {}),
                }
                for layer, _ in LAYERS
            }
            box, cls = self.shares
            shares = {"box_loss": box, "cls_loss": cls, "l1_loss": 1 - box - cls}
            probes.append({"kind": "health", "step": step, "epoch": step // self.per_epoch, "norms": rows})
            probes.append({"kind": "terms", "step": step, "epoch": step // self.per_epoch, "shares": shares})
        return sorted(probes, key=lambda probe: probe["step"])

    def _context(self) -> dict[str, Any]:
        rate = OPTIMIZERS[self.optimizer][0]
        return {
            "optimizer": self.optimizer,
            "optimizer_requested": self.optimizer,
            "lr0": rate,
            "lr0_requested": rate,
            "batch": 8,
            "accumulate": 1,
            "epochs": self.planned // self.per_epoch,
            "batches_per_epoch": self.per_epoch,
            "total_steps": self.planned,
            "warmup_steps": self.warmup,
            "precision": "fp32",
            "clip": 10.0,
            "pretrained": False,
            "gains": {"box": 7.5, "cls": 0.5, "dfl": 1.5},
            "freeze": [".dfl"],
            "frozen": [],
            "not_in_optimizer": [],
            "classes": 2,
            "train_images": 120,
            "train_boxes": 400,
            "train_backgrounds": 9,
            "layers": [{"layer": n, "place": p, "kind": "Conv", "label": n} for n, p in LAYERS],
            **self.context,
        }
