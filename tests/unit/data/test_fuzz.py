"""No input of any format brings a traceback, a hang, a wrong sum or a changed source; see `fuzzing`."""

from __future__ import annotations

import pytest
from fuzzing import FORMATS, fuzz


@pytest.mark.parametrize("format", FORMATS)
def test_any_dataset_is_read_or_refused_in_words(format: str) -> None:
    tally = fuzz(format, 40)
    assert tally.cases >= 40
    assert tally.refused < tally.cases, "a grammar that is always refused tries nothing"
    assert tally.kept > 0
    assert tally.dropped + tally.repaired > 0
