"""YOLO Tune-Up: fine-tune a YOLO detector on your own pictures, see whether learning is healthy, trust the number.

Importing this package is quick and loads neither torch nor Ultralytics; it sets the switches that keep Ultralytics
offline, safe and quiet, so import it first. The names below are loaded when they are used:

    import pipeline
    run = pipeline.train("configs/demo.yaml", overrides=["train.epochs=5"])
    metrics = pipeline.evaluate(run)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .leash import set_switches

if TYPE_CHECKING:
    from .ablation import ablate
    from .advice_verb import advise
    from .augment_verbs import contract, preview
    from .config import Config, load_config
    from .data.dataset import Dataset
    from .data.intake import read_dataset
    from .data_verbs import audit
    from .errors import ConfigError, DataError, ModelError, RunError, TrainingError, TuneUpError, UsageError
    from .evaluation_verbs import compare, evaluate, gate, suspects
    from .findings import Finding
    from .import_verbs import import_dataset, split_dataset, tile
    from .policy import CopyPaste, Policy
    from .predict_verb import predict
    from .runs import Run
    from .verbs import diagnose, doctor, make_demo, prove_backprop, replay, report, resume, train

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "ConfigError": "errors",
    "DataError": "errors",
    "CopyPaste": "policy",
    "Dataset": "data.dataset",
    "Finding": "findings",
    "ModelError": "errors",
    "Policy": "policy",
    "Run": "runs",
    "RunError": "errors",
    "TrainingError": "errors",
    "TuneUpError": "errors",
    "UsageError": "errors",
    "ablate": "ablation",
    "advise": "advice_verb",
    "audit": "data_verbs",
    "compare": "evaluation_verbs",
    "contract": "augment_verbs",
    "diagnose": "verbs",
    "doctor": "verbs",
    "evaluate": "evaluation_verbs",
    "gate": "evaluation_verbs",
    "import_dataset": "import_verbs",
    "load_config": "config",
    "make_demo": "verbs",
    "predict": "predict_verb",
    "preview": "augment_verbs",
    "prove_backprop": "verbs",
    "read_dataset": "data.intake",
    "replay": "verbs",
    "report": "verbs",
    "resume": "verbs",
    "split_dataset": "import_verbs",
    "suspects": "evaluation_verbs",
    "tile": "import_verbs",
    "train": "verbs",
}
__all__ = [
    "Config",
    "ConfigError",
    "CopyPaste",
    "DataError",
    "Dataset",
    "Finding",
    "ModelError",
    "Policy",
    "Run",
    "RunError",
    "TrainingError",
    "TuneUpError",
    "UsageError",
    "ablate",
    "advise",
    "audit",
    "compare",
    "contract",
    "diagnose",
    "doctor",
    "evaluate",
    "gate",
    "import_dataset",
    "load_config",
    "make_demo",
    "predict",
    "preview",
    "prove_backprop",
    "read_dataset",
    "replay",
    "report",
    "resume",
    "split_dataset",
    "suspects",
    "tile",
    "train",
]

set_switches()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
