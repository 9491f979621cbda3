"""A kept training gives the same findings as its run folder, and the catalogue holds what it promises."""

from __future__ import annotations

from pathlib import Path

import catalogue
import numpy as np
import pytest
import stored
from fabricated_history import Shape
from material import BOARDS

from pipeline.findings import Finding
from pipeline.run_history import EPOCHS, EVENTS, PROBES, STEPS, RunHistory
from pipeline.training.diagnosis import diagnose
from pipeline.training.history import History
from pipeline.training.rules_learning import JUDGED_FROM, LEAST_PICTURES, LEAST_STEPS


def written(folder: Path, history: History) -> Path:
    (folder / "history").mkdir(parents=True)
    run = RunHistory(folder)
    for kind, records in ((STEPS, history.steps.to_dicts()), (EPOCHS, history.epochs.to_dicts()),
                          (EVENTS, history.events), (PROBES, history.probes)):  # fmt: skip
        run.append(kind, records)
    run.save_context(dict(history.context))
    run.begin_norms(history.norms.tensors, history.norms.layers)
    run.append_norms(history.norms.steps.tolist(), history.norms.values)
    return folder


@pytest.mark.parametrize("fault", [{}, {"ratio": lambda step: 0.1}, {"health": {"model.4": {"dead": 1.0}}}],
                         ids=["healthy", "rate", "dead"])  # fmt: skip
def test_what_is_kept_is_judged_as_the_run_was(tmp_path: Path, fault: dict[str, object]) -> None:
    run = written(tmp_path / "run", Shape(**fault).build())  # type: ignore[arg-type]
    early = Finding("preflight.lr_too_high", "warning", "x", {"lr0": 0.1}, "y")
    stored.save(tmp_path / "kept", run, [early.to_dict()], {"refused": "", "ended": "complete", "onset": None})
    kept = stored.load(tmp_path / "kept")
    assert kept.preflight == [early]
    assert kept.outcome["ended"] == "complete"
    own = History.of(RunHistory(run))
    assert np.array_equal(kept.history.norms.values, own.norms.values, equal_nan=True)
    assert kept.history.norms.layers == own.norms.layers
    assert diagnose(kept.history) == diagnose(own)


def test_a_training_that_was_refused_is_kept_without_steps(tmp_path: Path) -> None:
    stored.save(tmp_path / "kept", None, [], {"refused": "ConfigError: no", "ended": "", "onset": None})
    kept = stored.load(tmp_path / "kept")
    assert kept.history.steps.height == 0
    assert diagnose(kept.history) == []


def test_the_parts_share_no_seeds_and_no_data() -> None:
    data = [name for cells in catalogue.CELLS.values() for name in {cell.data for cell in cells}]
    assert len(set(data)) == len(data)
    seeds = [
        {case.cell.seed for case in catalogue.cases(part)}
        for part in ("calibration", "heldout", "fresh", "third", "late", "fourth", "later", "longer")
    ]
    assert sum(map(len, seeds)) == len(set.union(*seeds))
    calibration, heldout = (catalogue.cases(part) for part in ("calibration", "heldout"))
    assert {c.cell.model for c in heldout} - {c.cell.model for c in calibration} == {"yolov8n"}
    assert {c.cell.data.split("-")[0] for c in heldout} - {c.cell.data.split("-")[0] for c in calibration} == {"pcb"}


def test_afresh_every_fault_is_trained_three_times_in_other_company() -> None:
    fresh, heldout = catalogue.cases("fresh"), catalogue.cases("heldout")
    assert sum(case.fault is None for case in fresh) == 60
    assert all(sum(case.fault is fault for case in fresh) == 3 for fault in catalogue.FAULTS)

    assert not {company(case.cell) for case in fresh} & {company(case.cell) for case in heldout if case.fault}


def test_the_fourth_part_has_other_company_than_all_before() -> None:
    own = catalogue.cases("fourth")
    assert sum(case.fault is None for case in own) == 60
    assert {case.fault.name for case in own if case.fault} == {f.name for f in catalogue.FAULTS if f.knob}
    before = {company(cell) for part in ("calibration", "heldout", "fresh", "third", "late")
              for cell in catalogue.CELLS[part]}  # fmt: skip
    assert not {company(cell) for cell in catalogue.CELLS["fourth"]} & before


def company(cell: catalogue.Cell) -> tuple[str, str, str]:
    kind = cell.data.split("-")[0]
    return cell.model, "pcb" if kind in BOARDS else kind, cell.optimizer


def test_the_longest_trainings_are_long_enough_for_the_rules_that_wait() -> None:
    assert sum(case.fault is None for case in catalogue.cases("third")) == 60
    for case in [*catalogue.cases("long"), *catalogue.cases("longer")]:
        settings = dict(word.split("=", 1) for word in catalogue.settings_of(case))
        steps = int(settings["epochs"]) * (240 if "steel" in case.cell.data else 160) // 8
        assert JUDGED_FROM * steps >= LEAST_STEPS
        assert 8 * JUDGED_FROM * steps >= LEAST_PICTURES


def test_every_fault_is_held_out_five_times_and_sixty_trainings_are_healthy() -> None:
    heldout = catalogue.cases("heldout")
    assert len({case.name for case in heldout}) == len(heldout)
    assert sum(case.fault is None for case in heldout) == 60
    for fault in catalogue.FAULTS:
        own = [case for case in heldout if case.fault is fault]
        assert len({case.cell for case in own}) == 5, fault.name
    small = catalogue.cases("small")
    assert [sum((case.fault is None) is healthy for case in small) for healthy in (False, True)] == [8, 6]


def test_what_counts_as_right_is_documented() -> None:
    documents = Path(__file__).resolve().parents[3] / "docs"
    text = "".join(page.read_text("utf-8") for page in documents.glob("*.md"))
    known = {f for fault in catalogue.FAULTS for f in (*fault.names, *fault.sees)}
    missing = {name for name in known if name not in text}
    assert not missing
