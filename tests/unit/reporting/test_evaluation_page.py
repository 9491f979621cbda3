"""An evaluated split on the page: figures, errors with pictures, sentences and suspected labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from evaluated_run import HOSTILE, evaluated_run
from parsed_page import Page

from pipeline.records import write_json
from pipeline.reporting import evaluation_page
from pipeline.reporting.html import render
from pipeline.runs import Run


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return evaluated_run(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(scope="module")
def page(evaluated: Run) -> Page:
    return Page(render(evaluated))


def test_the_figure_of_the_head_has_its_interval(evaluated: Run, page: Page) -> None:
    interval = evaluated.evaluations()["test"]["intervals"]["map50_95"]
    assert f"{interval['low']:.3f} to {interval['high']:.3f}" in page.text


def test_every_view_is_there(page: Page) -> None:
    for words in (
        "Precision over recall",
        "The inspector's view",
        "Found against false alarms",
        "The grower's view",
        "Is a score a probability?",
        "What is lost, and what to try",
        "False alarms",
        "Missed",
        "Ultralytics would report",
        "chosen on these very pictures",
        "Labels to look at first",
        "found here",
    ):
        assert words in page.text, words
    labels = {value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"}
    assert {
        "Precision over recall of each class at IoU 0.50",
        "Detections against objects, picture by picture",
    } <= labels


def test_names_are_text_and_nothing_else(page: Page) -> None:
    assert "blink" not in page.tags
    assert HOSTILE in page.text


def test_errors_are_linked_to_their_pictures(evaluated: Run, page: Page) -> None:
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert links
    root = evaluated.dataset().root
    assert all(link.startswith(root.as_uri()) for link in links)


def view(run: Run, **changes: Any) -> dict[str, Any]:
    return evaluation_page.view(run, "test", {**run.evaluations()["test"], **changes})


def table(shown: dict[str, Any], title: str) -> list[list[str]]:
    return next((found["rows"] for found in shown["tables"] if found["title"] == title), [])


def test_the_figure_marks_a_threshold_only_if_all_classes_have_it(evaluated: Run) -> None:
    metrics = evaluated.evaluations()["test"]
    point = metrics["operating_point"]
    same = {**point, "thresholds": dict.fromkeys(point["thresholds"], point["overall"])}
    differ = {**point, "thresholds": {name: 0.1 + k / 10 for k, name in enumerate(point["thresholds"])}}
    for used, marked in ((same, True), (differ, False)):
        (figure,) = [
            f for f in view(evaluated, operating_point=used)["figures"] if f["title"] == "The inspector's view"
        ]
        assert (">threshold<" in figure["svg"]) == marked
        assert ("not on this curve" in figure["caption"]) != marked


def test_an_error_that_costs_nothing_or_is_never_sure_has_no_remedy(evaluated: Run) -> None:
    def row(kind: str, confident: int, value: float | None) -> dict[str, Any]:
        cost = {"value": value, "low": None, "high": None}
        return {"type": kind, "count": 9, "confident": confident, "cost": cost, "remedy": "add pictures"}

    rows = [row("class", 3, 0.00049), row("place", 0, 0.2), row("both", 3, 0.0006), row("background", 3, None)]
    shown = view(evaluated, errors=rows)["errors"]
    assert [(r["cost"], r["remedy"]) for r in shown] == [
        ("0.0", ""),
        ("20.0", ""),
        ("0.1", "add pictures"),
        ("–", "add pictures"),
    ]


def test_what_else_was_measured_stands_in_tables(evaluated: Run) -> None:
    metrics = evaluated.evaluations()["test"]
    shown = view(evaluated)
    sizes = table(shown, "By size in the picture")
    assert [row[0] for row in sizes] == [
        f"{part} of the picture's side" for part in ("below 5 %", "5 to 15 %", "above 15 %")
    ]
    assert sum(int(row[1].replace(",", "")) for row in sizes) >= metrics["boxes"]  # one at a border is in both
    recall = [["at most 1", metrics["ar1"]], ["at most 10", metrics["ar10"]], ["at most 100", metrics["ar"]]]
    assert table(shown, "Average recall") == [[name, f"{value:.3f}"] for name, value in recall]
    many = [{"truth_class": "pit", "detected": HOSTILE, "count": 99, "confident": number} for number in range(30)]
    rows = table(view(evaluated, confusions=many[:2]), "Classes taken for others")
    assert rows == [["pit", HOSTILE, "1"]]  # the other one is never sure
    numbers = [row[2] for row in table(view(evaluated, confusions=many), "Classes taken for others")]
    assert numbers == [str(number) for number in range(29, 9, -1)]


def test_thresholds_for_counting_are_shown_for_their_weights_alone(evaluated: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(evaluated.path, tmp_path / "steel"))
    counting = {"overall": 0.4123, "per_class": {"pit": 0.3, HOSTILE: None}}
    kept = {"weights": "w", "point": {"split": "val", "thresholds": {}}, "counting": counting}
    assert table(view(run), "Thresholds for counting") == []
    write_json(run.path / "operating_point.json", kept)
    rows = table(view(run), "Thresholds for counting")
    assert rows == [["all classes together", "0.412"], ["pit", "0.3"], [HOSTILE, "–"]]
    write_json(run.path / "operating_point.json", {**kept, "weights": "other"})
    assert table(view(run), "Thresholds for counting") == []


def test_suspects_of_one_picture_can_be_told_apart(evaluated: Run, page: Page) -> None:
    listed = evaluated.evaluation_table("test", "suspects")
    assert listed is not None
    for row in listed.head(12).iter_rows(named=True):
        assert f"at {row['x1']:.0f}, {row['y1']:.0f}" in page.text


def test_a_page_without_the_pictures_still_says_everything(evaluated: Run, tmp_path: Path) -> None:
    gone = Run(shutil.copytree(evaluated.path, tmp_path / "steel"))
    (gone.path / "dataset" / "images.parquet").unlink()
    text = Page(render(gone)).text
    assert "The errors cannot be shown" in text
    assert "What is lost, and what to try" in text


def test_an_evaluation_of_an_earlier_version_is_still_shown(evaluated: Run, tmp_path: Path) -> None:
    old = Run(shutil.copytree(evaluated.path, tmp_path / "steel"))
    folder = old.path / "eval" / "test"
    for name in ("curves.json", "errors.parquet", "suspects.parquet"):
        (folder / name).unlink()
    known = ("split", "chose_checkpoint", "trained_on", "images", "boxes", "map50_95", "map50", "per_class")
    metrics = {key: value for key, value in old.evaluations()["test"].items() if key in known}
    old.save_evaluation("test", metrics, {})
    assert "took no part in training" in Page(render(old)).text
