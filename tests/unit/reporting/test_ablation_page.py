"""The page of an ablation: what it says, that it is whole at any stage, and that it loads and runs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from parsed_page import Page

from pipeline.ablation_result import Ablation, Plan, Record
from pipeline.reporting.ablation_page import forest, interval, points, write_ablation_page

HOSTILE = "<script>alert(1)</script> $x$ & co"
PLAN = Plan("leave-one-out", HOSTILE, {"mosaic": "0.5", "GaussNoise": HOSTILE}, (0, 1, 2), 30, "test")


def ablation(trainings: int) -> Ablation:
    steps = {"full": 0.0, "without-mosaic": -0.05, "without-GaussNoise": 0.001}
    records = []
    for arm, seed in PLAN.trainings[:trainings]:
        score = 0.4 + steps[arm] + 0.01 * seed + (0.0004 * seed * seed if arm != "full" else 0)
        records.append(Record(arm, seed, f"{arm}-seed{seed}", score, score + 0.2, 60.0, False))
    state = "complete" if trainings == len(PLAN.trainings) else "interrupted"
    return Ablation(PLAN, tuple(records), "somewhere/runs", state, "" if state == "complete" else "stopped on request")


def page_of(found: Ablation, folder: Path) -> Page:
    return Page(write_ablation_page(folder / "ablation.html", found).read_text("utf-8"))


@pytest.mark.parametrize("trainings", [0, 1, 2, 4, 5, 9])
def test_the_page_is_whole_at_any_stage_and_loads_nothing(trainings: int, tmp_path: Path) -> None:
    page = page_of(ablation(trainings), tmp_path)
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert f"{trainings} of 9, 30 epochs each" in page.text
    links = [v for v in page.values("href") if not v.startswith("#")]
    assert links == [f"{run}/report.html" for run in sorted(links_of(trainings), key=links_of(9).index)]
    assert page.tags.count("svg") == (1 if trainings > 1 else 0)


def links_of(trainings: int) -> list[str]:
    """Return the runs in the order of the table: by arm, then by seed."""
    return [
        f"{arm}-seed{seed}" for arm in PLAN.arms for seed in PLAN.seeds if (arm, seed) in PLAN.trainings[:trainings]
    ]


def test_the_table_says_how_much_how_sure_and_what_follows(tmp_path: Path) -> None:
    page = page_of(ablation(9), tmp_path)
    assert "mosaic 0.5 3 +4.9 +4.7 to +5.1 +4.9 +4.7 to +5.1 helps" in page.text
    assert "not distinguishable needs about" in page.text
    assert "mAP50-95 of full, mean 0.410" in page.text
    assert "Noise: deviation between seeds 1.1 points of mAP50-95" in page.text
    assert "is chosen on test" in page.text


def test_a_page_in_part_says_what_is_missing(tmp_path: Path) -> None:
    page = page_of(ablation(5), tmp_path)
    assert "interrupted" in page.text
    assert "Time left 4 min 0 s" in page.text
    assert "one seed, two at least are needed" in page.text
    assert "In part: 4 of 9 trainings are not there yet." in page.text


def test_the_figure_has_a_dot_for_each_seed_and_an_arrow_where_an_interval_goes_on() -> None:
    plan = Plan("add-one-in", "", {"flipud": "0.5", "fliplr": "0.5"}, (0, 1), 30, "test")
    scores = {"none": (0.4, 0.4), "only-flipud": (0.5, 0.3), "only-fliplr": (0.41, 0.42)}
    records = [
        Record(arm, seed, "run", s, s, 1.0, False) for arm, held in scores.items() for seed, s in enumerate(held)
    ]
    drawing = forest(Ablation(plan, tuple(records)).rows)
    assert "flipud" in drawing
    assert drawing.index("flipud") < drawing.index("fliplr")
    assert "one seed" in drawing
    assert forest(Ablation(plan).rows) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "+1.2"), (-0.3, "-30.0"), (0.00001, "0.0"), (-0.0004, "0.0"), (0.0, "0.0"), (None, "–")],
)
def test_differences_are_points_with_a_sign(value: float | None, text: str) -> None:
    assert points(value) == text


def test_an_interval_of_one_seed_is_a_dash() -> None:
    rows = ablation(3).rows
    assert interval(rows[0].contribution) == "–"
    assert interval(None) == "–"
