"""Whether a split's figure can be trusted: what chose the weights, how often it was used, whether data changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.errors import RunError
from pipeline.evaluation.split_guard import (
    USES,
    count_use,
    optimism,
    selection_bonus,
    use_findings,
    weights_digest,
)


def epochs_of(scores: list[float], best: int | None = None) -> pl.DataFrame:
    best = int(np.argmax(scores)) if best is None else best
    return pl.DataFrame(
        {"val_map50_95": scores, "best": [e <= best and scores[e] == max(scores[: e + 1]) for e in range(len(scores))]}
    )


def test_a_peak_above_a_smooth_curve_is_the_optimism() -> None:
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.55 + 0.03, 0.6 - 0.1, 0.5, 0.5]
    estimate = optimism(epochs_of(scores))
    assert estimate is not None
    line = np.polyfit([-3, -2, -1, 1, 2, 3], [0.3, 0.4, 0.5, 0.5, 0.5, 0.5], 1)[1]
    assert estimate["map50_95"] == pytest.approx(0.58 - line)
    assert estimate["epochs"] == 9


def test_a_curve_that_rises_without_noise_flatters_nobody() -> None:
    estimate = optimism(epochs_of([0.1 * e for e in range(9)]))
    assert estimate is not None
    assert estimate["map50_95"] == pytest.approx(0.0, abs=1e-12)


def test_chance_alone_is_seen_on_average() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        estimate = optimism(epochs_of((0.5 + 0.01 * rng.standard_normal(30)).tolist()))
        assert estimate is not None
        found.append(estimate["map50_95"])
    # The best of 30 equal epochs lies two standard deviations above the truth.
    assert np.mean(found) == pytest.approx(0.01 * selection_bonus(30), rel=0.15)


@pytest.mark.parametrize("scores", [[], [0.1], [0.1, 0.2, 0.15], [float("nan")] * 8])
def test_too_few_epochs_tell_nothing(scores: list[float]) -> None:
    table = pl.DataFrame(
        {"val_map50_95": scores, "best": [True] * len(scores)}, schema={"val_map50_95": pl.Float64, "best": pl.Boolean}
    )
    assert optimism(table) is None
    assert optimism(pl.DataFrame()) is None


def test_the_expected_best_of_many_agrees_with_simulation() -> None:
    draws = np.random.default_rng(0).standard_normal((20_000, 20))
    for count in (2, 5, 20):
        assert selection_bonus(count) == pytest.approx(draws[:, :count].max(axis=1).mean(), abs=0.03)
    assert selection_bonus(1) == 0.0


def test_every_use_of_a_split_is_counted_across_runs(tmp_path: Path) -> None:
    assert count_use(tmp_path, "a", "test", "data", "w1") == {"times": 1, "different_weights": 1, "times_of_run": 1}
    assert count_use(tmp_path, "a", "test", "data", "w1") == {"times": 2, "different_weights": 1, "times_of_run": 2}
    assert count_use(tmp_path, "b", "test", "data", "w2") == {"times": 3, "different_weights": 2, "times_of_run": 1}
    assert count_use(tmp_path, "b", "test", "other", "w2") == {"times": 1, "different_weights": 1, "times_of_run": 1}
    for line in ("no record", '{"date": "2026-01-01"}'):
        (tmp_path / USES).write_text(f"{line}\n")
        with pytest.raises(RunError, match=f"{USES}:1"):
            count_use(tmp_path, "a", "test", "data", "w1")


def test_many_weights_on_one_split_are_a_finding_with_a_size() -> None:
    assert use_findings("test", {"times": 9, "different_weights": 4, "times_of_run": 1}, 50, 0.02) == []
    (finding,) = use_findings("test", {"times": 20, "different_weights": 10, "times_of_run": 1}, 50, 0.02)
    assert finding.id == "evaluation.split_used_often"
    assert f"{100 * 0.02 * selection_bonus(10):.1f} points" in finding.message
    assert (
        "points"
        not in use_findings("test", {"times": 20, "different_weights": 10, "times_of_run": 1}, 50, None)[0].message
    )


def test_a_digest_tells_checkpoints_apart(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    digests = [weights_digest(tmp_path / name) for name in "abc"]
    assert digests[0] == digests[2] != digests[1]
