"""Splits: too small, or unlike train."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest
from helpers import box, dataset_of
from scipy import stats

from pipeline.data.checks import Snapshot, take_snapshot
from pipeline.data.checks.splits import _ks, classes_differ, looks_differ, too_small
from pipeline.data.picture_facts import FACTS_SCHEMA, PictureFacts

Draw = Callable[[np.random.Generator], float]


def _set(
    counts: dict[str, int],
    boxes: int = 4,
    kinds: dict[str, Sequence[float]] | None = None,
    side: dict[str, Draw] | None = None,
    seed: int = 0,
) -> Snapshot:
    """Return a set with so many pictures in each split, each with so many boxes of one class and one size."""
    rng = np.random.default_rng(seed)
    pictures, rows = {}, []
    for split, count in counts.items():
        for _ in range(count):
            pictures[len(pictures) + 1] = {"split": split, "width": 1000, "height": 1000}
            class_id = int(rng.choice(2, p=(kinds or {}).get(split, (0.5, 0.5))))
            size = (side or {}).get(split, lambda r: 100 * np.exp(r.normal(0, 0.3)))(rng)
            rows += [box(len(pictures), class_id, 100 * n, 100, 100 * n + size, 100 + size) for n in range(boxes)]
    return take_snapshot(dataset_of(rows, pictures=pictures), 640)


@pytest.mark.parametrize(
    ("pictures", "boxes", "severity"),
    [
        (200, 1, None),
        (199, 1, "info"),
        (49, 4, "warning"),
        (49, 5, "info"),  # as many boxes as 61 pictures of four
        (20, 50, None),
        (9, 100, "warning"),  # whatever the boxes
        (50, 1, "info"),
    ],
)
def test_small_splits(pictures: int, boxes: int, severity: str | None) -> None:
    found = too_small(_set({"train": 20, "val": pictures}, boxes))
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    assert all(finding.id == "split.val_too_small" for finding in found)


def test_the_width_agrees_with_what_was_measured() -> None:
    (finding,) = too_small(_set({"train": 20, "test": 100}))
    assert 9.5 <= finding.evidence["width_points"] <= 10.5  # docs/benchmarks/coverage.md: 9.7 and 10.3


def test_train_alone_is_not_measured() -> None:
    snapshot = _set({"train": 5})
    assert too_small(snapshot) == [] == classes_differ(snapshot)
    assert looks_differ(snapshot) == []


def test_without_any_box_there_is_no_score_to_be_wide() -> None:
    assert too_small(_set({"train": 20, "val": 10}, boxes=0)) == []


def test_val_and_test_that_differ_are_two_findings_with_ids_of_their_own() -> None:
    other = {"val": (0.95, 0.05), "test": (0.95, 0.05)}
    small = dict.fromkeys(("val", "test"), lambda r: 60 * np.exp(r.normal(0, 0.3)))
    snapshot = _set({"train": 200, "val": 100, "test": 100}, kinds=other, side=small)
    found = [finding.id for finding in (*classes_differ(snapshot), *looks_differ(snapshot))]
    assert found == [
        f"split.{what}_differ_in_{split}" for what in ("classes", "box_sizes") for split in ("val", "test")
    ]


def test_random_parts_of_one_set_do_not_differ() -> None:
    for seed in range(40):
        snapshot = _set({"train": 200, "val": 30 + 2 * seed, "test": 60}, seed=seed)
        assert classes_differ(snapshot) == [], seed
        assert looks_differ(snapshot) == [], seed


def test_other_shares_of_classes_are_a_warning() -> None:
    (finding,) = classes_differ(_set({"train": 200, "val": 100}, kinds={"train": (0.5, 0.5), "val": (0.9, 0.1)}))
    assert (finding.id, finding.severity) == ("split.classes_differ_in_val", "warning")
    assert 0.3 < finding.evidence["distance"] < 0.5


def test_other_sizes_of_boxes_are_a_warning_with_both_medians() -> None:
    (finding,) = looks_differ(_set({"train": 200, "test": 100}, side={"test": lambda r: 60 * np.exp(r.normal(0, 0.3))}))
    assert (finding.id, finding.severity) == ("split.box_sizes_differ_in_test", "warning")
    train, test = finding.evidence["medians"]
    assert train == pytest.approx(0.1, rel=0.1)
    assert test == pytest.approx(0.06, rel=0.1)


def test_a_difference_that_few_pictures_make_by_chance_is_not_said() -> None:
    assert looks_differ(_set({"train": 200, "test": 6}, side={"test": lambda r: 75 * np.exp(r.normal(0, 0.3))})) == []


def test_another_camera_or_light_is_a_warning() -> None:
    snapshot = _set({"train": 100, "val": 60})
    images = snapshot.dataset.images
    bright = pl.when(pl.col("split") == "val").then(150.0).otherwise(100.0) + pl.col("image_id") % 20
    table = images.select("path", brightness=bright).with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in FACTS_SCHEMA.items() if name not in ("path", "brightness")
    )
    facts = PictureFacts(table.select(list(FACTS_SCHEMA)), np.zeros((images.height, 32, 32), np.uint8))
    (finding,) = looks_differ(take_snapshot(snapshot.dataset, 640, facts=facts))
    assert (finding.id, finding.evidence["distance"]) == ("split.brightness_differ_in_val", 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_distance_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = np.sort(rng.integers(0, 30, 80).astype(float)), np.sort(rng.integers(5, 40, 50).astype(float))
    assert _ks(one, other) == pytest.approx(stats.ks_2samp(one, other).statistic)
