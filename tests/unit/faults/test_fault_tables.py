"""What the other programs of the fault benchmark count, choose and print from what is kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import advice
import catalogue
import falls
import pictures
import pytest
from fabricated_history import Shape
from test_scoring import a_case, keep

FAULT = next(fault for fault in catalogue.FAULTS if fault.name == "adamw_rate_high")


@pytest.mark.parametrize(
    ("verdict", "found", "left", "mended"),
    [
        ("fixed", ["optimizer.lr_too_high"], [], True),
        ("better", ["preflight.lr_too_high", "images.blank"], ["images.blank"], True),
        ("fixed", ["optimizer.lr_too_high", "loss.divergence"], ["loss.divergence"], False),  # a consequence is left
        ("fixed", ["images.blank"], [], False),  # of something else: the fault was never found
        ("no change", ["optimizer.lr_too_high"], [], False),
        ("worse", ["optimizer.lr_too_high"], [], False),
        ("nothing to turn", [], [], False),
    ],
)
def test_an_advice_counts_where_the_fault_was_found_and_nothing_of_it_is_left(
    verdict: str, found: list[str], left: list[str], mended: bool
) -> None:
    assert advice.is_mended({"verdict": verdict, "found": found, "left": left}, FAULT) is mended


def test_a_case_that_is_not_kept_is_one_that_was_not_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    advice.print_scores(tmp_path, "fresh", 1)
    count = len(advice.chosen("fresh", 1))
    assert count == sum(fault.knob and not fault.needs_gpu for fault in catalogue.FAULTS)
    assert f"mended: 0 of {count}," in capsys.readouterr().out


def test_of_memory_or_disk_no_verdict_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.errors import DataError, TrainingError

    def ending(error: Exception) -> None:
        def train(**kwargs: Any) -> None:
            raise error

        monkeypatch.setattr(advice.pipeline, "train", train)
        advice._train([])

    broken = TrainingError("no memory")
    broken.broke_off = True
    with pytest.raises(TrainingError, match="no memory"):
        ending(broken)
    ending(DataError("no labels"))
    ending(TrainingError("the loss is no number"))


def test_falls_say_what_was_told_of_the_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "long"
    keep(folder, a_case("long", "labels_shuffled"), Shape(steps=450, planned=450, loss=lambda p: 1 - 0.02 * p, map50=0))
    keep(folder, a_case("long", None), Shape(steps=450, planned=450))
    monkeypatch.setattr(sys, "argv", ["falls.py", str(folder)])
    falls.main()
    wrong, right = capsys.readouterr().out.splitlines()[2:4]
    assert wrong.startswith("| of other pictures |")
    assert wrong.endswith("| labels.not_learnable |")
    assert right.startswith("| right (plain) |")
    assert right.endswith("| nothing |")
    monkeypatch.setattr(sys, "argv", ["falls.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="holds no trainings"):
        falls.main()


def test_a_picture_has_a_healthy_training_of_the_same_way_beside_it(tmp_path: Path) -> None:
    folder, picture = tmp_path / "heldout", pictures.PICTURES[0]
    kept = catalogue.cases("heldout")
    for case in kept:
        if case.fault is FAULT or (case.fault is None and case.variant.name in ("plain", "bf16", "auto")):
            keep(folder, case, Shape(steps=20, planned=20))
    found = pictures._kept(picture, folder)
    assert found is not None
    broken, healthy = found
    assert healthy is not None
    assert pictures._way(broken) == pictures._way(healthy)
    assert pictures._way(healthy)[2] == "AdamW"
    assert pictures._kept(pictures.PICTURES[-1], folder) is None
