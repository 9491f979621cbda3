"""An evaluated split on the page: figures, errors with pictures, sentences and suspected labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from evaluated_run import HOSTILE, evaluated_run
from parsed_page import Page

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
