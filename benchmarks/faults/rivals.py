"""Published rules beside our own diagnosis: what three tools say of the trainings that our diagnosis is scored on.

Each tool stands in a file of its own, written from its documentation; where a history lacks what a rule reads, the
rule's docstring says what stands in and whom that favours. No rule reads beyond the step at which it fires, so a
rival's delay from onset is as honest as ours.

    python benchmarks/faults/rivals.py RUN ...      # what they say of kept runs
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import rivals_autotrainer
import rivals_cs231n
import rivals_sagemaker
from rivals_alarm import KINDS, Alarm

from pipeline.run_history import RunHistory
from pipeline.training.history import History

__all__ = ["KINDS", "NOT_EVALUATED", "RIVALS", "Alarm"]

RIVALS: dict[str, Callable[[History], list[Alarm]]] = {
    rivals_sagemaker.TOOL: rivals_sagemaker.sagemaker_debugger,
    rivals_autotrainer.TOOL: rivals_autotrainer.autotrainer,
    rivals_cs231n.TOOL: rivals_cs231n.cs231n,
}
# By tool: published rules that are not scored, with the reason.
NOT_EVALUATED: dict[str, dict[str, str]] = {
    rivals_sagemaker.TOOL: rivals_sagemaker.NOT_EVALUATED,
    rivals_autotrainer.TOOL: rivals_autotrainer.NOT_EVALUATED,
    rivals_cs231n.TOOL: rivals_cs231n.NOT_EVALUATED,
}


def main(runs: list[str]) -> None:
    """Print the alarms of all tools on kept runs.

    Raises:
        RunError: a record of a run is damaged.
    """
    for run in runs:
        history = History.of(RunHistory(run))
        print(f"{run} ({history.steps.height} steps)")
        for tool, judge in RIVALS.items():
            print(f"  {tool:<20}", ", ".join(f"{a.rule} @{a.step}" for a in judge(history)) or "silent")


if __name__ == "__main__":
    main(sys.argv[1:])
