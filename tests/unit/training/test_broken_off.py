"""What torch or Ultralytics raise for want of memory, or by a bug, is told apart from a training that had to stop."""

from __future__ import annotations

import pytest

from pipeline.errors import TrainingError
from pipeline.training import session


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "Halve train.batch"),
        ("DataLoader worker (pid 7) is killed by signal: Killed", "train.workers=0"),
        ("[Errno 28] No space left on device", "No space left on device"),
        ("", "OSError"),
    ],
)
def test_what_breaks_a_training_off_says_what_to_do_and_is_no_result(text: str, words: str) -> None:
    error = session._explained(OSError(text) if "Errno" in text or not text else RuntimeError(text))
    assert isinstance(error, TrainingError)
    assert error.broke_off
    assert not TrainingError("10 steps in a row were not finite").broke_off
    assert words in str(error)
