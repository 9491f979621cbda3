"""What loading costs beside a step, and how the contract stands in the preflight."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.augment.contract import Contract
from pipeline.augment.entry_measure import WHOLE, EntryMeasure
from pipeline.config import config_from_dict
from pipeline.policy import Policy
from pipeline.training import contract_check
from pipeline.training.contract_check import ContractCheck, loading_cost, loading_findings, with_loading
from pipeline.training.preflight import Checked, Preflight

POLICY = Policy.off().replaced(mosaic=1.0, transforms=[{"Blur": {"p": 0.5}}])


def contract(milliseconds: float, reading: float = 0.02) -> Contract:
    measures = (
        EntryMeasure("mosaic", 1.0, pictures=24, changed=1.0, milliseconds=6.0),
        EntryMeasure("Blur", 0.5, pictures=24, changed=1.0, milliseconds=30.0),
        EntryMeasure(WHOLE, 1.0, pictures=24, changed=1.0, milliseconds=milliseconds),
    )
    return Contract(POLICY, 640, (0, 1), measures, (), train_pictures=100, reading=reading, seconds=1.0)


@pytest.fixture(autouse=True)
def _fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_check, "cpu_count", lambda: 16)
    monkeypatch.setattr(contract_check, "fits_in_memory", lambda pictures, imgsz, processes: True)


def test_on_a_gpu_processes_load_beside_the_network() -> None:
    cost = loading_cost(contract(10.0), config_from_dict({"train": {"workers": 8}}), 0.1, 16, "cuda")
    assert cost.seconds == pytest.approx(0.010 * 16 / 8)
    assert cost.share == pytest.approx(0.2)
    assert cost.beside is True


def test_no_more_processes_are_counted_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_check, "cpu_count", lambda: 2)
    cost = loading_cost(contract(10.0), config_from_dict({"train": {"workers": 8}}), 0.1, 16, "cuda")
    assert cost.seconds == pytest.approx(0.08)


def test_on_a_cpu_loading_comes_on_top() -> None:
    cost = loading_cost(contract(10.0), config_from_dict({"train": {"workers": 8}}), 0.48, 16, "cpu")
    assert cost.seconds == pytest.approx(0.16)
    assert cost.share == pytest.approx(0.25)
    assert cost.beside is False


def test_pictures_that_do_not_fit_into_memory_are_read_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_check, "fits_in_memory", lambda pictures, imgsz, processes: False)
    cost = loading_cost(contract(10.0, reading=0.02), config_from_dict({}), 0.1, 16, "cpu")
    assert cost.seconds == pytest.approx(0.030 * 16)


@pytest.mark.parametrize(("milliseconds", "told"), [(49.0, False), (51.0, True)])
def test_a_loader_slower_than_the_network_is_told_with_what_takes_most(milliseconds: float, told: bool) -> None:
    slow = contract(milliseconds)
    cost = loading_cost(slow, config_from_dict({"train": {"workers": 8}}), 0.1, 16, "cuda")
    found = loading_findings(cost, slow, limit=1.0)
    assert bool(found) is told
    for finding in found:
        assert finding.id == "augment.slow"
        assert finding.evidence["slowest"] == ["Blur", "mosaic"]  # 15 and 6 ms a picture
        assert "raise train.workers" in finding.advice


def preflight(*checks: Checked) -> Preflight:
    return Preflight(checks, ())


def checked(**figures: Any) -> Checked:
    return Checked("one_step", "passed", "", 1.0, figures)


def test_the_contract_stands_before_the_checks_and_is_set_beside_their_step() -> None:
    check = ContractCheck(Checked("augmentation", "passed", "words"), (), contract(51.0))
    step = checked(seconds_per_step=0.1, batch=16, device="cuda")
    joined, cost = with_loading(preflight(step), check, config_from_dict({"train": {"workers": 8}}))
    assert [made.name for made in joined.checks] == ["augmentation", "one_step"]
    assert [finding.id for finding in joined.findings] == ["augment.slow"]
    assert cost is not None
    assert cost.step == 0.1


@pytest.mark.parametrize("without", ["step", "contract"])
def test_without_a_step_or_a_contract_nothing_is_said_of_the_cost(without: str) -> None:
    kept = None if without == "contract" else contract(51.0)
    check = ContractCheck(Checked("augmentation", "passed", "words"), (), kept)
    step = [] if without == "step" else [checked(seconds_per_step=0.1, batch=16, device="cuda")]
    joined, cost = with_loading(preflight(*step), check, config_from_dict({}))
    assert cost is None
    assert joined.findings == ()
