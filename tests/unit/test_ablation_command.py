"""What a person sees in the terminal while an ablation goes on, and at its end."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from pipeline import ablation_command
from pipeline.ablation_command import AblationView, ablation, print_ablation
from pipeline.ablation_result import Ablation, Plan, Record, State

PLAN = Plan("leave-one-out", "metal[1]", {"mosaic": "0.5", "fliplr": "[0, 1]"}, (0, 1), 30, "test")


def found(trainings: int, state: State = "running") -> Ablation:
    steps = {"full": 0.0, "without-mosaic": -0.05, "without-fliplr": 0.001}
    scores = [(arm, seed, 0.4 + steps[arm] * (1 + 0.01 * seed)) for arm, seed in PLAN.trainings[:trainings]]
    records = tuple(Record(arm, seed, f"{arm}-seed{seed}", s, s + 0.2, 60.0, False) for arm, seed, s in scores)
    return Ablation(PLAN, records, "runs/metal", state)


def console() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=200), text


def test_a_training_has_two_lines_in_a_file_with_the_time_that_the_rest_takes() -> None:
    screen, text = console()
    view = AblationView(screen)
    view.on_plan(found(0))
    view.on_training(1, "full", 0)
    view.on_epoch({"epoch": 0})
    view.on_result(found(1))
    view.close()
    lines = text.getvalue().splitlines()
    assert lines[0] == "leave-one-out of metal[1]  runs/metal"
    assert lines[1] == ("  3 arms x 2 seeds = 6 trainings of 30 epochs; how long it takes is known after the first one")
    assert lines[2] == "[1/6] full, seed 0: begins"
    assert lines[3] == "[1/6] full, seed 0: mAP50-95 0.400, mAP50 0.600 on test in 1 min 0 s; left about 5 min 0 s"
    assert len(lines) == 4


def test_what_is_there_already_tells_how_long_it_takes() -> None:
    screen, text = console()
    AblationView(screen).on_plan(found(4))
    assert "6 trainings of 30 epochs, 4 of them there already; left about 2 min 0 s" in text.getvalue()


def test_the_end_is_a_table_with_what_to_keep_in_mind() -> None:
    screen, text = console()
    print_ablation(screen, found(6, "complete"))
    lines = text.getvalue().splitlines()
    mosaic, fliplr = (next(line for line in lines if line.startswith(name)) for name in ("mosaic", "fliplr"))
    assert mosaic.split()[:7] == ["mosaic", "0.5", "2", "+5.0", "+4.7", "to", "+5.3"]
    assert mosaic.split()[-1] == "helps"
    assert "[0, 1]" in fliplr
    assert "full scores 0.400 on test" in text.getvalue()
    assert "is chosen on test" in text.getvalue()
    assert lines[-1] == "runs/metal/ablation.html"


@pytest.mark.parametrize(("state", "code"), [("complete", 0), ("interrupted", 130)])
def test_the_command_returns_130_when_it_was_stopped_and_prints_json_alone(
    state: State, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def ablate(config: Any, **how: Any) -> Ablation:
        asked.update(how, config=config)
        return found(2, state)

    monkeypatch.setattr(ablation_command, "ablate", ablate)
    assert ablation(["my.yaml", "epochs=3"], seeds=5, mode="add-one-in", as_json=True) == code
    assert (asked["config"], asked["overrides"], asked["seeds"], asked["mode"]) == (
        "my.yaml",
        ["epochs=3"],
        5,
        "add-one-in",
    )
    assert json.loads(capsys.readouterr().out)["state"] == state
    assert ablation(["my.yaml"]) == code
    assert ("the same command goes on" in capsys.readouterr().out) == (state == "interrupted")
