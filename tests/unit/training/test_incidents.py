"""What is said of a step that was not taken, by what its replay found, and where there was none."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.training.incidents import describe_incident

VARIANCE = ["model.3.bn.running_var"]
FOUND = {"repeated": True, "module": "model.3.bn", "kind": "BatchNorm2d"}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            {**FOUND, "phase": "statistics", "statistics": VARIANCE},
            "the running statistics of model.3.bn (BatchNorm2d) overflow although the loss is finite",
        ),
        ({"tensors": [], "statistics": VARIANCE}, f"the running statistics of {VARIANCE[0]} were not finite"),
        (
            {"repeated": False, "statistics": VARIANCE},
            f"the running statistics of {VARIANCE[0]} were not finite; a replay was",
        ),
        (
            {"tensors": ["model.3.conv.weight"], "statistics": VARIANCE},
            "the gradient of model.3.conv.weight was not finite",
        ),
        ({"tensors": []}, "the gradient of some layer was not finite"),
    ],
)
def test_statistics_are_named_where_nothing_else_was_spoilt(record: dict[str, Any], words: str) -> None:
    assert describe_incident(record) == words
