"""The part of the trainer that feeds it: dataset, model and optimizer come from the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unwrap_model

from ..augment.table_dataset import TableDataset
from ..data.dataset import Dataset
from ..model_source import load_weights
from ..policy import Policy
from ..runs import Run


class RunDataTrainer(DetectionTrainer):  # type: ignore[misc]
    """Ultralytics' trainer on the tables of a run; see `trainer` for what is overridden and why."""

    run: Run
    dataset: Dataset
    starts_from_weights = False
    model: Any

    def get_dataset(self) -> dict[str, Any]:
        """Describe the run's dataset the way Ultralytics wants it; a split's name stands for its path."""
        self.dataset = self.run.dataset()
        names = dict(enumerate(self.dataset.names))
        splits = {name: name for name in ("train", "val", "test")}
        return {"names": names, "nc": len(names), "channels": 3, "path": str(self.dataset.root), **splits}

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> TableDataset:
        """Build the loader's dataset of one split."""
        training = mode == "train"
        processes = max(1, self.args.workers) * (1 if training else 2) if self.args.workers else 1
        return TableDataset(
            self.dataset.split(img_path),
            policy=Policy.model_validate(self.run.config["augment"]) if training else None,
            processes=processes,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            rect=self.args.rect or not training,
            stride=max(int(unwrap_model(self.model).stride.max()), 32),
            pad=0.0 if training else 0.5,
            fraction=self.args.fraction if training else 1.0,
            data=self.data,
            task="detect",
        )

    def setup_model(self) -> None:
        """Build the model, with the weights of a checkpoint where there is one."""
        path = str(self.model)
        weights = load_weights(Path(path)) if path.endswith(".pt") else None
        cfg = weights.yaml if weights is not None else path
        if isinstance(self.args.pretrained, str):
            weights = load_weights(Path(self.args.pretrained))
        elif self.args.pretrained is False:
            weights = None
        self.starts_from_weights = weights is not None
        self.model = self.get_model(cfg=cfg, weights=weights, verbose=False)

    def build_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Build the optimizer; on the CPU with torch's fused step, as Ultralytics does on a GPU."""
        optimizer: torch.optim.Optimizer = super().build_optimizer(*args, **kwargs)
        if self.device.type == "cpu" and type(optimizer) in {torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD}:
            for group in optimizer.param_groups:
                group.update(fused=True, foreach=False)
        return optimizer
