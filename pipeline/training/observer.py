"""Takes the sampled measurements of a training when they are due, and keeps them in the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..augment.table_dataset import TableDataset
from ..data.dataset import Dataset
from ..runs import PROBES, Run
from . import losses, probes

SAMPLE_PICTURES = 32  # of train, not augmented: their loss, beside that of val, shows overfitting
HEALTH_PICTURES = 8  # of these, for BatchNorm, dead units and the loss terms' shares
SAMPLES_OF_EPOCHS = (
    15  # per run: with 32 pictures about 3 % of the time of a small set's epochs (docs/benchmarks/monitor)
)


class Observer:
    """Follows one training.

    Args:
        run: gets the records of `history/probes.jsonl`.
        records: whether this process keeps records (rank 0).
    """

    def __init__(self, run: Run, *, records: bool) -> None:
        self.run = run
        self.records = records
        self.period = 1
        self.epoch_period = 1
        self.probe: probes.UpdateProbe | None = None
        self.newest: dict[
            str, Any
        ] = {}  # |dw|/|w| per optimizer group in the step sampled last, and the largest layer's
        self._pending: dict[str, Any] | None = None
        self._sample: list[dict[str, Any]] = []

    def schedule(self, total_steps: int, epochs: int) -> None:
        """Settle how often to measure, from the length of the run."""
        self.period = probes.period(total_steps)
        self.epoch_period = max(1, -(-epochs // SAMPLES_OF_EPOCHS))

    def watch(self, model: nn.Module, optimizer: torch.optim.Optimizer, group_names: Sequence[str]) -> None:
        """Take the model and the optimizer of a training that is set up."""
        if self.records:
            self.probe = probes.UpdateProbe(model, optimizer, group_names)

    # ---- steps -----------------------------------------------------------------------------------------------------

    def before_step(self, step: int, images: int) -> None:
        """Compare with the step before if that was sampled, and keep what this one needs if it is due."""
        if self.probe is None:
            return
        if self._pending is not None:
            self._pending |= self.probe.successor(images) or {}
            self._write_pending()
        if step % self.period == 0:
            self.probe.before()

    def after_step(self, step: int, epoch: int) -> None:
        """Measure what the optimizer did, if this step is due."""
        if self.probe is not None and step % self.period == 0:
            found = self.probe.after()
            self._pending = {"kind": "update", "step": step, "epoch": epoch, **found}
            if found["ratio"]:
                largest = max(found["ratio"], key=found["ratio"].__getitem__)
                self.newest = {
                    "update_ratio": dict(found["group_ratio"]),
                    "largest": (largest, found["ratio"][largest]),
                }

    def step_was_skipped(self) -> None:
        """The open step is not taken: there is nothing to compare."""
        if self.probe is not None:
            self.probe.forget()
            self._write_pending()

    def _write_pending(self) -> None:
        if self._pending is not None:
            self.run.append(PROBES, [self._pending])
            self._pending = None

    # ---- epochs ----------------------------------------------------------------------------------------------------

    def keep_sample(self, dataset: Dataset, imgsz: int, stride: int, args: Any) -> None:
        """Read the fixed pictures of train, prepared as for validation."""
        self._sample = keep_pictures(dataset, SAMPLE_PICTURES, imgsz, stride, args)

    def is_due(self, epoch: int, epochs: int) -> bool:
        """Whether the fixed sample is to be measured after this epoch (counted from 0)."""
        return self.records and ((epoch + 1) % self.epoch_period == 0 or epoch + 1 >= epochs)

    def sample_terms(self, average: nn.Module) -> dict[str, float]:
        """Return the loss terms of the weights' average on the fixed sample, as on val."""
        return losses.mean_terms(average, self._batches(average)) if self._sample else {}

    def probe_health(self, model: nn.Module, step: int, epoch: int, batch: int) -> None:
        """Record BatchNorm health, dead units and the loss terms' shares of the live model."""
        first = next(self._batches(model), None)
        if first is None or not self.records:
            return
        few = first_of(first, max(1, min(batch, HEALTH_PICTURES)))
        try:
            health = probes.activation_health(model, few["img"], batch)
            shares = probes.term_shares(model, few)
        except torch.OutOfMemoryError as error:  # the training fits, this does not: it goes on without
            self._sample = []
            why = str(error).splitlines()[0][:200]
            self.run.append(PROBES, [{"kind": "failed", "step": step, "epoch": epoch, "why": why}])
            return
        self.run.append(
            PROBES,
            [
                {"kind": "health", "step": step, "epoch": epoch, "norms": health},
                {"kind": "terms", "step": step, "epoch": epoch, "shares": shares},
            ],
        )

    def end_epoch(self) -> None:
        """Write what waits: a resumed run cannot compare gradients across the end of an epoch, so none does."""
        self._write_pending()
        if self.probe is not None:
            self.probe.forget()

    def _batches(self, model: nn.Module) -> Iterator[Mapping[str, Any]]:
        device = next(model.parameters()).device
        for batch in self._sample:
            moved = {key: v.to(device) if isinstance(v, torch.Tensor) else v for key, v in batch.items()}
            yield {**moved, "img": moved["img"].float() / 255}


def first_of(batch: Mapping[str, Any], pictures: int) -> dict[str, Any]:
    """Return the first pictures of a batch with their boxes."""
    member = batch["batch_idx"] < pictures
    rows = {key: batch[key][member] for key in ("cls", "bboxes", "batch_idx")}
    return {**batch, **rows, "img": batch["img"][:pictures]}


def keep_pictures(dataset: Dataset, count: int, imgsz: int, stride: int, args: Any) -> list[dict[str, Any]]:
    """Read pictures, evenly spread over a split and not augmented, as batches of at most `HEALTH_PICTURES`.

    Args:
        dataset: one split.
        count: pictures wanted.
        imgsz: long side in pixels.
        stride: largest stride of the model.
        args: Ultralytics' arguments of the training.
    """
    wanted = min(dataset.images.height, count)
    table = TableDataset(
        dataset,
        fraction=wanted if wanted > 1 else 1.0 / max(dataset.images.height, 1),
        imgsz=imgsz,
        batch_size=HEALTH_PICTURES,
        augment=False,
        hyp=args,
        rect=True,
        stride=stride,
        pad=0.5,
        data={"names": dict(enumerate(dataset.names)), "nc": len(dataset.names), "channels": 3},
        task="detect",
    )
    items = [table[index] for index in range(len(table))]
    chunks = [items[start : start + HEALTH_PICTURES] for start in range(0, len(items), HEALTH_PICTURES)]
    return [table.collate_fn(chunk) for chunk in chunks]
