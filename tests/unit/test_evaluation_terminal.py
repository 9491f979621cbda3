"""What a person reads of evaluations, comparisons, gates and suspects in the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.evaluation import chosen
from pipeline.evaluation.analysis import analyse, grouping
from pipeline.evaluation.compare import compare_tables
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.operating_point import Rule
from pipeline.evaluation.tables import Detections, Truth
from pipeline.evaluation_terminal import (
    insights,
    print_comparison,
    print_evaluation,
    print_gate,
    print_suspects,
    trust_words,
)

sys.path.append(str(Path(__file__).parent / "evaluation"))
from simulated_detector import simulated_detections, simulated_truth


def read(show: Callable[[Console], None]) -> str:
    out = io.StringIO()
    show(Console(file=out, width=240))
    return out.getvalue()


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    dataset = simulated_truth(40, names=("pit", "[red]scratch"))
    truth = Truth.of(dataset)
    found = Detections.of(truth, simulated_detections(dataset, 1))
    analysis = analyse(truth, found, grouping(dataset), resamples=200)
    point, _ = chosen.choose(analysis, Rule("f1"), "test", "w", {})
    about = {
        "split": "test",
        "chose_checkpoint": False,
        "trained_on": False,
        "ms_per_image": 3.0,
        "settings": {"conf": 0.1},
    }
    return {**about, **analysis.metrics, **chosen.figures(analysis, "test", point)}


def test_every_figure_has_its_interval(metrics: dict[str, Any]) -> None:
    text = read(lambda console: print_evaluation(console, metrics))
    interval = metrics["intervals"]["map50_95"]
    assert f"mAP50-95 {metrics['map50_95']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]" in text
    for row in metrics["per_class"]:
        assert row["name"] in text
        assert f"[{row['intervals']['ap50_95']['low']:.3f}, {row['intervals']['ap50_95']['high']:.3f}]" in text
    assert "200 resamples of 40 pictures" in text
    assert "conf 0.1" in text


def test_what_the_figures_are_made_of_is_said(metrics: dict[str, Any]) -> None:
    rows = insights(metrics)
    text = " ".join(f"{head} {words}" for head, words in rows)
    costliest = max((row for row in metrics["errors"] if row["remedy"]), key=lambda row: row["cost"]["value"])
    assert f"{costliest['type']}: {100 * costliest['cost']['value']:.1f} points of AP50" in text
    escape = metrics["operating_point"]["figures"]["escape"]
    assert f"{escape['events']} of {escape['trials']}" in text
    assert "chosen on test by best F1 score" in text
    assert "Ultralytics would report" in text
    assert insights({}) == []


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"chose_checkpoint": True, "optimism": {"map50_95": 0.0123}}, "flatters by about 1.2 points"),
        ({"chose_checkpoint": True, "optimism": {"map50_95": 0.0}}, "so the figure flatters"),
        ({"chose_checkpoint": True}, "so the figure flatters"),
    ],
)
def test_by_how_much_a_split_flatters(about: dict[str, Any], words: str) -> None:
    assert trust_words(about).endswith(words)


def test_a_comparison_and_a_gate_are_sentences_with_a_table() -> None:
    dataset = simulated_truth(80)
    truth = Truth.of(dataset)
    tables = [
        analyse(
            truth, Detections.of(truth, simulated_detections(dataset, 1, **q)), grouping(dataset), resamples=100
        ).table
        for q in ({"found": 0.5}, {"found": 0.95, "jitter": 0.02})
    ]
    comparison = compare_tables(tables[0], tables[1], image_weights(80, 200), ("[b]old", "new"))
    text = read(lambda console: print_comparison(console, comparison.to_dict()))
    assert "new is better than [b]old" in text
    assert "pit" in text
    assert text.count("better") >= 3
    closed = Gate(compare_tables(tables[1], tables[0], image_weights(80, 200), ("new", "old")), 0.01, False)
    assert read(lambda console: print_gate(console, closed.to_dict())).startswith("failed: mAP50-95 -")


def test_suspects_are_listed_with_where_the_label_stands() -> None:
    row = {"suspicion": 0.8, "kind": "class", "path": "a[1].png", "why": "labelled 'pit'", "source": "a.txt:3"}
    text = read(lambda console: print_suspects(console, [row] * 25))
    assert "a[1].png" in text
    assert "a.txt:3" in text
    assert "5 more" in text
    assert "no label is suspected" in read(lambda console: print_suspects(console, []))
