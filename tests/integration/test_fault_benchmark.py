"""The fault benchmark in small: eight broken trainings and six healthy ones of 60 steps, kept, judged, judged again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def call(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "faults" / program), *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=800, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_broken_trainings_are_named_and_healthy_ones_left_in_peace(tmp_path: Path) -> None:
    trained = call("run.py", "small", str(tmp_path), "--jobs", "2")
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert "14 trainings in" in trained.stderr
    again = call("run.py", "small", str(tmp_path))
    assert re.match(r"0 trainings in", again.stderr.splitlines()[-1])
    scored = call("score.py", str(tmp_path / "small"), "--json", str(tmp_path / "lines.jsonl"))
    assert scored.returncode == 0, scored.stderr
    assert "| detected: a right warning or error before the end | 8 of 8," in scored.stdout
    assert "| named: the right cause first | 8 of 8," in scored.stdout
    assert "| healthy trainings with an error | 0 of 6," in scored.stdout
    assert "| healthy trainings with a warning of their curves | 0 of 6," in scored.stdout
    assert "| not finite: its first step not taken, with the checks before left out | 1 of 1," in scored.stdout
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert len(lines) == 14
