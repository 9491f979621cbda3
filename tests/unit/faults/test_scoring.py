"""Scores of the fault benchmark on trainings that were put together by hand: what counts, when, and what does not."""

from __future__ import annotations

from pathlib import Path

import catalogue
import numpy as np
import pytest
import score
import stored
from case import Case
from fabricated_history import Shape
from judge import BEFORE, Judged, judge, names_cause
from test_stored import written

from pipeline.findings import Finding

TWICE = Finding("labels.near_duplicate", "warning", "2 pairs of boxes lie in the same place", {}, "look")
AXES = Finding(
    "labels.not_on_objects", "warning", "with x and y exchanged they do", {"explanation": "axes"}, "exchange"
)


def a_case(part: str, fault: str | None, data: str = "", variant: str = "plain") -> Case:
    for case in catalogue.cases(part):
        name = case.fault.name if case.fault else None
        if name == fault and (fault or case.variant.name == variant) and case.cell.data.startswith(data):
            return case
    raise LookupError(fault)


def keep(
    folder: Path, case: Case, shape: Shape | None = None, before: tuple[Finding, ...] = (), **outcome: object
) -> None:
    run = written(folder / "runs" / case.name, (shape or Shape()).build())
    told = {"refused": "", "ended": "complete", "onset": None, "seconds": 1.0, "finite": True, **outcome}
    stored.save(folder / case.name, run, [finding.to_dict() for finding in before], told)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "heldout"


def judged(folder: Path, fault: str, *, of_data: frozenset[str] = frozenset(), **kept: object) -> Judged:
    case = a_case("heldout", fault)
    keep(folder, case, **kept)  # type: ignore[arg-type]
    return judge(case.name, folder, of_data)


def test_what_the_checks_said_counts_as_told_before(folder: Path) -> None:
    found = judged(folder, "labels_transposed", before=(AXES,))
    assert found.first_right() == BEFORE
    assert found.first_right(live_alone=True) is None
    assert score.is_detected(found)
    assert score.is_named(found)
    assert score.delay(found) is None


def test_what_is_true_of_the_unspoilt_data_is_skipped_in_one_figure_and_not_in_the_other(folder: Path) -> None:
    found = judged(folder, "labels_transposed", before=(TWICE, AXES), of_data=frozenset({TWICE.id}))
    assert [finding.id for finding in found.final[:2]] == [TWICE.id, AXES.id]
    assert score.is_named(found)
    assert not score.is_named(found, without_data=False)


@pytest.mark.parametrize(
    ("fault", "explanation", "named"),
    [
        ("labels_transposed", "axes", True),
        ("labels_transposed", None, False),
        ("labels_as_corners", "corners_as_centre", True),
        ("labels_as_corners", "corners_as_size", False),
        ("labels_shuffled", None, True),
        ("labels_shuffled", "axes", False),
    ],
)
def test_another_explanation_does_not_name_the_cause(fault: str, explanation: str | None, named: bool) -> None:
    finding = Finding("labels.not_on_objects", "warning", "x", {"explanation": explanation}, "y")
    known = next(f for f in catalogue.FAULTS if f.name == fault)
    assert names_cause(known, finding) is named
    assert not names_cause(known, None)


@pytest.mark.parametrize(("skipped", "seen"), [(30, None), (60, 61)])
def test_what_was_told_before_the_fault_acted_is_no_detection(folder: Path, skipped: int, seen: int | None) -> None:
    columns = {
        "skipped": lambda steps: np.isin(steps, [skipped]),
        "skip_reason": lambda steps: ["non_finite" if step == skipped else None for step in steps],
    }
    found = judged(folder, "inf_gradient", shape=Shape(columns=columns), onset=60)
    assert min(step for step, finding in found.live if finding.id == "gradient.non_finite") == skipped + 1
    assert found.first_right() == seen
    assert found.stopped_in_step is (skipped == 60)
    assert score.delay(found) == (None if seen is None else 1)


def test_what_is_told_after_sixty_steps_has_not_seen_a_fault_of_the_step_60(folder: Path) -> None:
    columns = {
        "skipped": lambda steps: np.isin(steps, [59]),
        "skip_reason": lambda steps: ["non_finite" if step == 59 else None for step in steps],
    }
    found = judged(folder, "inf_gradient", shape=Shape(columns=columns), onset=60)
    assert min(step for step, finding in found.live if finding.id == "gradient.non_finite") == 60
    assert found.first_right() is None


@pytest.mark.parametrize(
    ("ended", "finite", "kept_finite"),
    [
        ("complete", True, True),
        ("TrainingError: the weights are no longer finite after epoch 1, in model.3.bn.running_var; x", False, True),
    ],
)
def test_weights_that_were_not_written_are_not_finite_for_that(
    folder: Path, ended: str, finite: bool, kept_finite: bool
) -> None:
    found = judged(folder, "overflow", ended=ended)
    assert (found.finite, found.kept_finite) == (finite, kept_finite)


def test_a_training_that_is_refused_counts_as_stopped_and_still_among_those_that_acted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = Finding("preflight.not_finite", "error", "x", {}, "y")
    found = judged(folder, "overflow", before=(refusal,))
    score.print_summary([found], [])
    printed = capsys.readouterr().out
    assert "| not finite: refused before the first step, or its first step not taken | 1 of 1," in printed
    assert "| not finite: its first step not taken, with the checks before left out | 0 of 1," in printed


def test_learning_by_heart_begins_where_val_leaves_train_behind_for_good(folder: Path) -> None:
    case = a_case("heldout", "overfitting")
    keep(folder, case, Shape(val=lambda part: 0.7 if 0.2 < part < 0.8 else 10.0))  # open, closed, open for good
    history = stored.load(folder / case.name).history
    steps = history.epoch_values("steps")
    assert judge(case.name, folder).onset == int(steps[-2])


def test_a_lost_state_is_not_known_before_the_resume(folder: Path) -> None:
    restored = {"optimizer_tensors": 0, "optimizer_tensors_expected": 100}
    case = a_case("heldout", "resume_without_state")
    history = Shape().build()
    history.context["restored"] = restored  # type: ignore[index]
    history.events.append({"event": "resume", "step": 60})  # type: ignore[attr-defined]
    run = written(folder / "runs" / case.name, history)
    told = {"refused": "", "ended": "complete", "onset": 60, "seconds": 1.0, "finite": True}
    stored.save(folder / case.name, run, [Finding("resume.not_restored", "error", "x").to_dict()], told)
    found = judge(case.name, folder)
    assert found.first_right() is not None
    assert found.first_right() >= 60  # type: ignore[operator]
    assert score.delay(found) == found.first_right() - 60  # type: ignore[operator]
    assert min(step for step, finding in found.live if finding.id == "resume.not_restored") >= 60


def test_a_false_alarm_about_a_healthy_training_is_never_taken_as_true_of_its_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy = a_case("heldout", None)
    keep(folder, healthy, before=(TWICE,))
    broken = a_case("heldout", "labels_transposed", healthy.cell.data)
    keep(folder, broken, before=(TWICE, AXES))
    found = {one.name: one for one in score.judge_all(folder)}
    assert found[healthy.name].of_data == frozenset()
    assert found[broken.name].of_data == {TWICE.id}
    score.print_summary([found[broken.name]], [found[healthy.name]])
    printed = capsys.readouterr().out
    assert "| healthy trainings with a warning of the checks before | 1 of 1," in printed
    assert "| healthy trainings with any warning | 1 of 1," in printed
    assert "| healthy trainings with a warning of their curves | 0 of 1," in printed
    assert "| healthy trainings with an error | 0 of 1," in printed
    assert "| named: the right cause first | 1 of 1," in printed
    assert "| named, what is true of the unspoilt data set counted as well | 0 of 1," in printed


def test_what_a_setting_brings_about_is_not_true_of_the_data(folder: Path) -> None:
    turned = a_case("heldout", None, variant="strong_augmentation")
    keep(folder, turned, before=(TWICE,))
    broken = a_case("heldout", "labels_transposed", turned.cell.data)
    keep(folder, broken)
    assert next(one for one in score.judge_all(folder) if one.name == broken.name).of_data == frozenset()


def test_an_interrupted_training_is_left_out_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, cut = a_case("heldout", None), a_case("heldout", "tiny_weights")
    keep(folder, whole)
    keep(folder, cut, ended="interrupted")
    assert [one.name for one in score.judge_all(folder)] == [whole.name]
    said = capsys.readouterr().err
    assert f"{cut.name}: left out, it was interrupted" in said
    counts = [line.split()[0] for line in said.splitlines() if "not kept" in line]
    assert list(map(int, counts)) == [10, len(catalogue.cases("heldout")) - 12]
    assert "they need a GPU: fault-fp16_overflow" in said


def test_the_exact_interval_is_that_of_clopper_and_pearson() -> None:
    # 0 of 60: 1 - 0.025 ** (1 / 60); 60 of 60 mirrored.
    upper = 1 - 0.025 ** (1 / 60)
    assert score.share(0, 60) == f"0 of 60, 0 % (0 % to {upper:.0%})".replace("%)", " %)")
    assert score.share(60, 60).endswith(f"({1 - upper:.0%}".replace("%", " %") + " to 100 %)")
    assert score.share(0, 0) == "none"
