"""Thousands of datasets drawn at random from each reader's grammar: no traceback, no hang, the sums always right.

python benchmarks/fuzz.py --cases 2000
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests" / "unit"
sys.path[:0] = [str(TESTS), str(TESTS / "data")]

from fuzzing import FORMATS, fuzz  # noqa: E402  # lives with the tests, which run a few cases of it


def main() -> None:
    """Run and print one line a format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    arguments = parser.parse_args()
    print(
        f"{'format':<14}{'cases':>7}{'refused':>9}{'rows':>9}{'kept':>9}{'repaired':>10}{'dropped':>9}{'slowest':>9}{'time':>8}"
    )
    for format in arguments.formats:
        started = time.monotonic()
        tally = fuzz(format, arguments.cases)
        print(
            f"{format:<14}{tally.cases:>7,}{tally.refused:>9,}{tally.rows:>9,}{tally.kept:>9,}{tally.repaired:>10,}"
            f"{tally.dropped:>9,}{tally.slowest:>8.2f}s{time.monotonic() - started:>7.0f}s",
            flush=True,
        )


if __name__ == "__main__":
    main()
