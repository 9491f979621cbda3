"""Lets the tests below import the scripts of `benchmarks/faults` and fabricated histories of `tests/unit/training`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
for folder in (ROOT / "benchmarks" / "faults", ROOT / "tests" / "unit" / "training"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
