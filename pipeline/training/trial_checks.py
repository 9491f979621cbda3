"""What can be tried out before a training: each check takes a `Trial` and says what it found.

Each leaves the trial's weights as the training will start.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from .observer import first_of
from .replay import Batch
from .trial import Trial

MEMORY_PICTURES = 2  # measured; what a picture needs grows in step with the batch

OVERFIT_PICTURES = 4
OVERFIT_STEPS = 60
OVERFIT_RATE = 0.005  # AdamW: the demos' loss falls to 0.08 to 0.2 of its start (docs/benchmarks/preflight)
OVERFIT_LARGEST = 320  # pixels: larger pictures only take longer to learn by heart

RANGE_STEPS = 60
RANGE_LOWEST, RANGE_HIGHEST = 1e-6, 1.0  # the span of all optimizers' useful rates
RANGE_BATCHES = 4  # taken in turns: each is compared with its own median, so that hard ones do not count as jumps


# ---- memory --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Bytes that a training step needs, and those that are free for it."""

    needed: int
    free: int
    per_picture: int
    batch: int
    seconds: float = 0.0  # of a forward pass of the whole batch, from that of two pictures

    @property
    def needed_for_one(self) -> int:
        """Bytes for a step with a single picture."""
        return self.needed - self.per_picture * (self.batch - 1)

    @property
    def fitting_batch(self) -> int:
        """The largest power of two that fits, at least 1."""
        fixed = self.needed - self.per_picture * self.batch
        room = max(self.free - fixed, 0) // max(self.per_picture, 1)
        return 1 << max(int(room).bit_length() - 1, 0) if room else 1


def estimate_memory(trial: Trial) -> Memory:
    """Return what a step at the real batch will need: weights, gradients, moments, average, and what autograd keeps.

    Counted, not guessed: every tensor that autograd saves in a forward pass of two pictures, each piece of memory once.
    The allocator's reserve and the workspace of convolutions come on top.
    """
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would hold the graph that holds it, for ever

    batch = first_of(next(trial.training_batches()), MEMORY_PICTURES)
    pictures = len(batch["img"])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        float(trial.situation.run(dict(batch))[0].detach())
    # Timed apart: the first pass allocates and chooses kernels. Multiplied up to a whole step it once looked like 40 s
    # on a machine that was busy for a moment, so that no other check was begun.
    started = time.perf_counter()
    with torch.no_grad():
        float(trial.situation.run(dict(batch))[0])
    seconds = time.perf_counter() - started
    trial.restore()
    weights = sum(value.numel() * value.element_size() for value in trial.model.state_dict().values())
    own = {value.untyped_storage().data_ptr() for value in trial.model.state_dict().values()}
    per_picture = sum(size for pointer, size in saved.items() if pointer not in own) // pictures
    moments = 1 if type(trial.trainer.optimizer).__name__ == "SGD" else 2  # all others that Ultralytics offers keep two
    fixed = weights * (3 + moments)  # weights, gradients, average, and the optimizer's moments
    count = int(trial.trainer.batch_size)
    if trial.device.type == "cuda":
        free = torch.cuda.mem_get_info(trial.device)[0] + torch.cuda.memory_reserved(trial.device)
    else:
        free = psutil.virtual_memory().available
    return Memory(fixed + per_picture * count, int(free), per_picture, count, seconds / pictures * count)


# ---- one step ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OneStep:
    """A forward and backward pass at the real batch in the requested number format."""

    precision: str
    loss: float
    gradient_norm: float
    seconds: float
    spoilt: tuple[str, ...] = ()  # BatchNorm layers whose statistics are nan or inf after it

    @property
    def is_finite(self) -> bool:
        """Whether loss, gradient and BatchNorm's statistics are finite."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm) and not self.spoilt


def try_one_step(trial: Trial) -> OneStep:
    """Run one augmented batch forward and back; loss and gradient norm are per picture.

    The loss is multiplied by the loss scale that half precision starts with, and the gradients divided by it again: a
    scale that is too large for the first steps is no fault, GradScaler finds a smaller one.
    """
    batch = next(trial.training_batches())
    count = len(batch["img"])
    for _ in range(2):  # the first pass is slower: memory is allocated, kernels are chosen
        trial.model.zero_grad(set_to_none=True)
        started = time.perf_counter()
        loss, _ = trial.situation.run(dict(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())
    norms = torch.stack([p.grad.norm() for p in trial.model.parameters() if p.grad is not None])
    norm = float(norms.norm())
    seconds = time.perf_counter() - started
    buffers = {name: value for name, value in trial.model.named_buffers() if value.is_floating_point()}
    spoilt = dict.fromkeys(n.rpartition(".")[0] for n, value in buffers.items() if not bool(value.isfinite().all()))
    trial.restore()
    return OneStep(trial.trainer.precision_name, float(loss.detach()) / count, norm / count, seconds, tuple(spoilt))


# ---- learning a batch by heart --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overfit:
    """How far the loss of a few pictures fell when they were all there was to learn."""

    pictures: int
    losses: tuple[float, ...]  # per picture, at every step

    @property
    def largest(self) -> float:
        """The largest loss of the first half.

        Not the very first: where hardly any box is assigned at first, the loss rises before it falls.
        """
        return max(self.losses[: max(1, len(self.losses) // 2)])

    @property
    def share_left(self) -> float:
        """Mean loss of the last five steps as a share of the largest in the first half."""
        return float(np.mean(self.losses[-5:])) / self.largest if self.largest else 0.0


def overfit(trial: Trial) -> Overfit | None:
    """Learn four pictures by heart; None if train has no boxes.

    A network that can learn anything learns this (Karpathy, "A Recipe for Training Neural Networks", 2019). What is
    wrong if it cannot: frozen or dead layers, a broken custom layer or loss, boxes that contradict each other.
    """
    imgsz = min(int(trial.trainer.args.imgsz), OVERFIT_LARGEST)
    batch = trial.fixed_batch(OVERFIT_PICTURES, imgsz)
    if batch is None:
        return None
    parameters = [p for p in trial.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=OVERFIT_RATE, weight_decay=0.0)
    losses = list(_descend(trial, optimizer, itertools.repeat(batch, OVERFIT_STEPS)))
    trial.restore()
    return Overfit(len(batch["img"]), tuple(losses))


def _descend(trial: Trial, optimizer: torch.optim.Optimizer, batches: Iterator[Batch]) -> Iterator[float]:
    """Take a step with each batch, clipped as in training; yield the loss per picture before it.

    As in training a step whose gradient is not finite is not taken: one such gradient says nothing about the rate.
    """
    trial.model.train()
    for batch in batches:
        optimizer.zero_grad()
        loss, _ = trial.situation.run(dict(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(trial.model.parameters(), trial.trainer.monitor.clip)
        if bool(norm.isfinite()):
            optimizer.step()
        yield float(loss.detach()) / len(batch["img"])


# ---- learning rates --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RangeTest:
    """Loss against learning rate, and what follows for lr0.

    Args:
        rates: rising in equal factors.
        losses: of each step, as a share of the median loss of the same batch.
        highest: the rate from which on the loss blows up; None if it never did.
        proposal: for lr0.
    """

    optimizer: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    highest: float | None
    proposal: float

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON."""
        return {
            "optimizer": self.optimizer,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "highest": self.highest,
            "proposal": self.proposal,
        }


def range_test(trial: Trial) -> RangeTest:
    """Raise the learning rate from step to step and see where the loss falls and where it blows up.

    The test is Smith's (arXiv 1506.01186). Precision is float32 or bfloat16 as in training; with fp16 the loss is not
    scaled here. One batch a step, also where the training gathers several: AdamW and clipped gradients do not care for
    the factor.
    """
    optimizer = trial.new_optimizer()
    initial = [float(group["lr"]) for group in optimizer.param_groups]
    rates = np.geomspace(RANGE_LOWEST, RANGE_HIGHEST, RANGE_STEPS)
    pool = list(itertools.islice(trial.training_batches(), RANGE_BATCHES))
    descent = _descend(trial, optimizer, itertools.cycle(pool))
    losses: list[float] = []
    for rate in rates:
        for group, own in zip(optimizer.param_groups, initial, strict=True):
            group["lr"] = float(rate) * own / initial[-1]  # MuSGD's head keeps its higher rate
        losses.append(next(descent))
        if not math.isfinite(losses[-1]):
            break
    trial.restore()
    shares = _by_batch(np.array(losses), len(pool))
    name = type(optimizer).__name__
    highest, proposal = read_range(rates[: len(losses)], shares, MARGINS.get(name, OTHER_MARGIN))
    return RangeTest(name, tuple(rates[: len(losses)].tolist()), tuple(shares.tolist()), highest, proposal)


def _by_batch(losses: Curve, batches: int) -> Curve:
    """Return losses as shares of the median loss of the same batch, so that a hard batch does not count as a jump."""
    shares: Curve = losses.copy()
    for first in range(min(batches, len(losses))):
        own = losses[first::batches]
        middle = float(np.median(own[np.isfinite(own)])) if np.isfinite(own).any() else 1.0
        shares[first::batches] = own / middle if middle > 0 else own
    return shares


Curve = npt.NDArray[np.float64]
FALL = 0.03  # a smoothed loss that fell by less than 3 % shows no best rate: small batches vary by as much
JUMP, ROSE = 4.0, 1.5  # of the median: one step, or the middle of three in a row; few boxes alone double a loss
# How far below the rate that blows the loss up to stay. Adam's kin go on lowering the loss for some steps at rates that
# move the weights by a tenth of their size a step (docs/benchmarks/preflight), so that they need the larger distance.
MARGINS = {"SGD": 30.0, "MuSGD": 30.0}
OTHER_MARGIN = 300.0


def read_range(rates: Curve, losses: Curve, margin: float) -> tuple[float | None, float]:
    """Return the rate at which the loss blows up, if it does, and a proposal for lr0.

    The proposal is a tenth of the rate with the lowest loss (the rule of fastai's finder), and no more than the rate
    that blows the loss up divided by `margin`; where the loss did not fall within the few steps of the test, that
    alone. Two significant digits.

    Args:
        rates: rising, `[n]`.
        losses: as shares of their median, `[n]`; the last one may be nan or inf.
        margin: of the optimizer, see `MARGINS`.
    """
    known = np.where(np.isfinite(losses), losses, 10.0)
    smooth = np.array([np.median(known[max(0, i - 2) : i + 3]) for i in range(len(known))])
    threes = np.array([np.median(known[max(0, i - 1) : i + 2]) for i in range(len(known))])
    # Where hardly any box is assigned at first the loss rises to its usual height: no blow-up before it was there.
    there = int(np.argmax(smooth >= 1.0)) if (smooth >= 1.0).any() else 0
    above = np.flatnonzero(((known > JUMP) | (threes > ROSE)) & (np.arange(len(known)) > there))
    highest = float(rates[above[0]]) if len(above) else None
    stable = smooth[: above[0]] if len(above) else smooth
    proposal = (highest if highest is not None else float(rates[-1])) / margin
    peak = int(np.argmax(stable))
    best = peak + int(np.argmin(stable[peak:]))
    if stable[best] < stable[peak] * (1 - FALL):
        proposal = min(proposal, float(rates[best]) / 10)
    return highest, float(f"{proposal:.1e}")
