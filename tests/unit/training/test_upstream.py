"""The methods that we override, as they stood in the Ultralytics they were written for.

When this fails after an upgrade: read what changed upstream, carry it over where it matters, then write the new hash.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from ultralytics import __version__
from ultralytics.data.augment import v8_transforms
from ultralytics.data.base import BaseDataset
from ultralytics.data.dataset import YOLODataset
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules.head import Detect
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.torch_utils import ModelEMA, autocast, strip_optimizer

from pipeline.augment.table_dataset import TableDataset
from pipeline.training.losses import BranchLoss
from pipeline.training.trainer import TuneUpTrainer

WRITTEN_FOR = "8.4.190"
METHODS: dict[str, tuple[Callable[..., Any], str]] = {
    "BaseDataset.__init__": (BaseDataset.__init__, "458ff66ff8fbae35"),
    "BaseDataset.build_transforms": (BaseDataset.build_transforms, "7bcf6d269d06ffb6"),
    "BaseDataset.get_image_and_label": (BaseDataset.get_image_and_label, "ed0c3955ff19aaef"),
    "BaseDataset.get_img_files": (BaseDataset.get_img_files, "baca2eb4485fbd45"),
    "BaseDataset.get_labels": (BaseDataset.get_labels, "293c055a8cf309e5"),
    "BaseDataset.load_image": (BaseDataset.load_image, "088d1a203d122cdd"),
    "BaseValidator.__call__": (BaseValidator.__call__, "29da273b2118ebb6"),
    "Detect.forward": (Detect.forward, "164f309a5c8f7cb5"),
    "Detect.forward_head": (Detect.forward_head, "11688d4db3c67b34"),
    "ModelEMA.update": (ModelEMA.update, "0010b896c0351aec"),
    "autocast": (autocast, "981faedb74a7c815"),
    "v8_transforms": (v8_transforms, "61e0ccbf8db71f1a"),
    "v8DetectionLoss.loss": (v8DetectionLoss.loss, "9762b7e6c2ca12e7"),
    "BaseTrainer.__init__": (BaseTrainer.__init__, "f65efe9d96beca31"),
    "BaseTrainer._build_train_pipeline": (BaseTrainer._build_train_pipeline, "07afcc0627f2c8b2"),
    "BaseTrainer._do_train": (BaseTrainer._do_train, "87a635e3bfc4fd3f"),
    "BaseTrainer._handle_nan_recovery": (BaseTrainer._handle_nan_recovery, "e465d82576a3bc80"),
    "BaseTrainer._setup_train": (BaseTrainer._setup_train, "aecd0c111afe4314"),
    "BaseTrainer.build_dataset": (BaseTrainer.build_dataset, "2b7d63f6d3480e37"),
    "BaseTrainer.build_optimizer": (BaseTrainer.build_optimizer, "108f7055e6005628"),
    "BaseTrainer.final_eval": (BaseTrainer.final_eval, "398e74e935f34789"),
    "BaseTrainer.get_dataset": (BaseTrainer.get_dataset, "611e9c8ae89f060e"),
    "BaseTrainer.optimizer_step": (BaseTrainer.optimizer_step, "bec16cbc552a8f2d"),
    "BaseTrainer.plot_metrics": (BaseTrainer.plot_metrics, "046604f9dfb25d8a"),
    "BaseTrainer.preprocess_batch": (BaseTrainer.preprocess_batch, "f8f150c8015ad189"),
    "BaseTrainer.resume_training": (BaseTrainer.resume_training, "a43cef5955c0cf67"),
    "BaseTrainer.save_metrics": (BaseTrainer.save_metrics, "aec243b661fc9ce9"),
    "BaseTrainer.save_model": (BaseTrainer.save_model, "47f61ede98e6f12b"),
    "BaseTrainer.setup_model": (BaseTrainer.setup_model, "33c98eece052d628"),
    "DetectionTrainer._build_train_pipeline": (DetectionTrainer._build_train_pipeline, "a86453b56fab7d9a"),
    "DetectionTrainer.build_dataset": (DetectionTrainer.build_dataset, "2d004adb8adc8a0f"),
    "DetectionTrainer.preprocess_batch": (DetectionTrainer.preprocess_batch, "cd3df8d7801c310d"),
    "E2ELoss.__call__": (E2ELoss.__call__, "ee56aa4371273d07"),
    "E2ELoss.update": (E2ELoss.update, "c3563dc11a928dfb"),
    "YOLODataset.build_transforms": (YOLODataset.build_transforms, "be1309198aa112b5"),
    "YOLODataset.close_mosaic": (YOLODataset.close_mosaic, "62c6ff1f2c2bcf2d"),
    "YOLODataset.get_labels": (YOLODataset.get_labels, "bd53038c16bfa12e"),
    "non_max_suppression": (non_max_suppression, "51cdbaecdb0627c5"),
    "strip_optimizer": (strip_optimizer, "ff25c3f06964d958"),
}


def fingerprint(function: Callable[..., Any]) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", METHODS)
def test_upstream_method_is_the_one_our_code_was_written_for(name: str) -> None:
    function, known = METHODS[name]
    assert fingerprint(function) == known, f"{name} changed in ultralytics {__version__} (written for {WRITTEN_FOR})"


def overridden(ours: type, *theirs: type) -> set[str]:
    own = {name for kind in ours.__mro__ if kind.__module__.startswith("pipeline.") for name in vars(kind)}
    return {
        f"{parent.__name__}.{name}"
        for parent in theirs
        for name, value in vars(parent).items()
        if name in own and inspect.isfunction(value) and name != "__init__"
    }


def test_every_overridden_method_is_watched() -> None:
    methods = overridden(TuneUpTrainer, BaseTrainer, DetectionTrainer)
    methods |= overridden(TableDataset, BaseDataset, YOLODataset) | overridden(BranchLoss, E2ELoss)
    assert methods <= set(METHODS), f"not watched: {sorted(methods - set(METHODS))}"
