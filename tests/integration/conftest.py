"""One tiny training that many tests look at, and a way to run the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import verbs
from pipeline.runs import Run


@pytest.fixture(scope="session")
def tiny_run(tiny_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A complete run of three epochs. Tests must not change it."""
    runs = tmp_path_factory.mktemp("runs")
    return verbs.train(overrides=[*tiny_overrides, f"runs={runs}", "name=tiny"])


@pytest.fixture
def tuneup(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `tuneup ...` to its end in a process of its own, in `tmp_path`."""

    def call(*words: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "200"}
        command = [sys.executable, "-m", "pipeline", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False, **kwargs
        )  # type: ignore[call-overload]

    return call
