"""How many objects are to be pasted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.augment.quotas import Wanted, numbers_to_paste, rates

SHARES = st.floats(0.01, 0.6)
WANTED = st.builds(Wanted, count=st.integers(0, 300), share=SHARES, small=st.floats(0, 1))


def _by_patience(boxes: int, classes: list[Wanted], small: Wanted | None) -> tuple[float, ...]:
    """Raise the total until nothing is missing; a slow way to the same numbers."""
    total = float(boxes)
    for _ in range(20_000):
        missing = [max(w.share * total - w.count, 0.0) for w in classes]
        own = sum(m * w.small for m, w in zip(missing, classes, strict=True))
        others = max(small.share * total - small.count - own, 0.0) if small else 0.0
        following = boxes + sum(missing) + others
        if following - total < 1e-10 * total:
            break
        total = following
    return (*missing, others)


@given(st.lists(WANTED, max_size=3), st.none() | WANTED, st.integers(0, 500))
def test_every_share_is_reached_and_none_is_passed(classes: list[Wanted], small: Wanted | None, rest: int) -> None:
    boxes = sum(w.count for w in classes) + rest + 1
    try:
        numbers = numbers_to_paste(boxes, classes, small)
    except ValueError:
        assert sum(w.share for w in classes) + (small.share if small else 0) > 0.99
        return
    total = boxes + numbers.sum()
    assert (numbers >= 0).all()
    for wanted, number in zip(classes, numbers, strict=False):
        assert wanted.count + number >= wanted.share * total - 1e-6 * total
        assert number == 0 or wanted.count + number == pytest.approx(wanted.share * total)
    if sum(w.share for w in classes) + (small.share if small else 0) < 0.99:
        np.testing.assert_allclose(numbers, _by_patience(boxes, classes, small), rtol=1e-4, atol=1e-4)


def test_a_class_above_its_share_falls_below_it_when_others_grow() -> None:
    pasted = numbers_to_paste(100, [Wanted(21, 0.2, 0.0), Wanted(0, 0.5, 0.0)], None)
    total = 100 + pasted.sum()
    assert (21 + pasted[0]) / total == pytest.approx(0.2)
    assert pasted[1] / total == pytest.approx(0.5)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.2)], ids=["all", "more than all"])
def test_shares_that_leave_nothing_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="add up"):
        numbers_to_paste(10, [Wanted(1, share, 0.0) for share in shares], None)


def test_failures_are_made_up_for_until_a_picture_is_full() -> None:
    numbers, placed = np.array([10.0, 20.0]), np.array([1.0, 0.5])
    np.testing.assert_allclose(rates(numbers, 100, placed, 3), [0.1, 0.4])
    np.testing.assert_allclose(rates(numbers, 10, placed, 3), [0.6, 2.4])
