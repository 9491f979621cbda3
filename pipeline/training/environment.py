"""What a run was trained with."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ..leash import cpu_count

# Packages whose versions decide what a run gives.
_RECORDED = ("yolo-tuneup", "ultralytics", "torch", "torchvision", "albumentations", "opencv-python-headless", "numpy")


def deciding(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an environment's record decides what a training gives: versions and devices."""
    return {key: record[key] for key in (*_RECORDED, "gpu") if key in record}


def environment_record() -> dict[str, Any]:
    """Return what `environment.json` keeps: versions, device, cores and the command."""

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        **{package: installed(package) for package in _RECORDED},
        "platform": platform.platform(),
        "cpu_cores": cpu_count(),
        "gpu": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        "command": " ".join(sys.argv),
    }
