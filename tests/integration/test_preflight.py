"""The checks before a training, on real models and data, with faults that they are there to find."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import verbs
from pipeline.config import load_config
from pipeline.errors import TrainingError
from pipeline.runs import Run
from pipeline.training import preflight, session, trial_checks
from pipeline.training.preflight import run_preflight
from pipeline.training.trial import Trial, trial
from pipeline.training.trial_checks import Memory, read_range


@pytest.fixture(scope="module")
def bench(tiny_overrides: list[str]) -> Any:
    config = load_config(None, tiny_overrides)
    dataset = session.prepare_data(config).dataset
    with trial(config, dataset, session._overrides(Run("x"), config, Path("yolo26n.yaml"))) as made:
        yield made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_checks, "RANGE_STEPS", 20)


def weights(bench: Trial) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in bench.model.state_dict().items()}


def test_doctor_finds_a_sound_training_sound(tiny_overrides: list[str], quick: None) -> None:
    result = verbs.doctor(overrides=tiny_overrides)
    assert [check.name for check in result.checks] == [
        *("data", "augmentation", "steps", "memory", "one_step", "learning_rate", "overfit", "backprop")
    ]
    assert not [f for f in result.findings if f.severity == "error"]
    assert {check.state for check in result.checks if check.name not in {"data", "augmentation", "steps"}} == {"passed"}
    checks = json.loads(json.dumps(result.to_dict()))["checks"]
    assert checks[0]["figures"]["splits"]["train"]["pictures"] == 12
    assert checks[2]["figures"]["total_steps"] == 5


def test_every_check_leaves_the_weights_as_they_were(bench: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_checks, "RANGE_STEPS", 8)
    monkeypatch.setattr(trial_checks, "OVERFIT_STEPS", 6)
    before = weights(bench)
    for check in (
        *(trial_checks.estimate_memory, trial_checks.try_one_step, trial_checks.overfit, trial_checks.range_test),
    ):
        check(bench)
        assert all(torch.equal(value, before[name]) for name, value in bench.model.state_dict().items()), check


def test_a_training_is_the_same_with_and_without_a_preflight(
    tiny_run: Run, tiny_overrides: list[str], tmp_path: Path, quick: None
) -> None:
    overrides = [o for o in tiny_overrides if "preflight" not in o]
    run = verbs.train(overrides=[*overrides, "monitor.preflight=20", f"runs={tmp_path}"])
    assert run.steps()["loss"].to_list() == tiny_run.steps()["loss"].to_list()
    assert run.norms().values.tobytes() == tiny_run.norms().values.tobytes()
    record = json.loads((run.path / "preflight.json").read_text())
    assert record["checks"][0]["state"] in {"passed", "found"}


def test_what_does_not_fit_into_the_budget_is_named(tiny_overrides: list[str]) -> None:
    config = load_config(None, tiny_overrides)
    dataset = session.prepare_data(config).dataset
    overrides = session._overrides(Run("x"), config, Path("yolo26n.yaml"))
    result = run_preflight(config, dataset, overrides, budget=0.001)
    (finding,) = [f for f in result.findings if f.id == "preflight.not_run"]
    assert "backprop" in finding.evidence["checks"]
    assert "overfit" in finding.message


def test_memory_is_counted_and_grows_with_the_batch(bench: Trial) -> None:
    memory = trial_checks.estimate_memory(bench)
    activations = memory.per_picture
    assert 1e6 < activations < 2e7  # yolo26n at 64 px: 1.3 MB of pixels become some MB of saved tensors
    fixed = memory.needed - activations * memory.batch
    assert fixed == pytest.approx(5 * 4 * 2.5e6, rel=0.1)  # weights, gradients, average and two moments, float32


def test_a_first_pass_that_takes_long_does_not_count_as_the_time_of_a_step(
    bench: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Multiplied up to a batch it would leave no time for any other check."""
    run, calls = bench.situation.run, []

    def cold(batch: dict[str, Any]) -> Any:
        calls.append(1)
        time.sleep(2.0 if len(calls) == 1 else 0.0)
        return run(batch)

    monkeypatch.setattr(bench, "situation", SimpleNamespace(run=cold))
    memory = trial_checks.estimate_memory(bench)
    assert memory.seconds < 2.0 / trial_checks.MEMORY_PICTURES * memory.batch


def test_the_estimate_of_memory_keeps_no_memory(bench: Trial) -> None:
    """A saved tensor that is handed back as it is holds the graph that holds it: nothing would ever free it."""
    import gc
    import weakref

    outputs: list[Any] = []
    convolution = bench.model.get_submodule("model.0.conv")
    hook = convolution.register_forward_hook(lambda module, args, output: outputs.append(weakref.ref(output)))
    try:
        trial_checks.estimate_memory(bench)
    finally:
        hook.remove()
    gc.collect()
    assert [output() for output in outputs] == [None, None]  # of the counted pass and of the timed one


def test_nothing_of_a_trial_outlives_it(tiny_overrides: list[str]) -> None:
    import weakref

    config = load_config(None, tiny_overrides)
    dataset = session.prepare_data(config).dataset
    with trial(config, dataset, session._overrides(Run("x"), config, Path("yolo26n.yaml"))) as made:
        model, trainer = weakref.ref(made.model), weakref.ref(made.trainer)
    assert (model(), trainer()) == (None, None)


def test_a_preflight_that_cannot_be_set_up_does_not_stop_the_training(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.training.trial.tempfile.TemporaryDirectory", no_room)
    overrides = [o for o in tiny_overrides if "preflight" not in o]
    run = verbs.train(overrides=[*overrides, "epochs=1", f"runs={tmp_path}"])
    assert run.state["state"] == "complete"
    assert "preflight.check_failed" in [finding.id for finding in run.findings()]


@pytest.mark.parametrize("wait", ["check", "train"])
def test_ctrl_c_before_the_training_is_told(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: str
) -> None:
    def stopped(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    target = "pipeline.training.session.run_preflight" if wait == "check" else "pipeline.training.session.TuneUpTrainer"
    monkeypatch.setattr(target, stopped)
    overrides = [o for o in tiny_overrides if "preflight" not in o or wait == "train"]
    run = verbs.train(overrides=[*overrides, f"runs={tmp_path}"])
    assert run.state["state"] == "interrupted"
    assert "on request" in run.state["reason"]


@pytest.mark.parametrize(("free", "batch"), [(100, 1), (1000, 1), (1000 + 45, 4), (1000 + 160, 16)])
def test_the_batch_that_fits_is_a_power_of_two(free: int, batch: int) -> None:
    assert Memory(needed=1000 + 64 * 10, free=free, per_picture=10, batch=64).fitting_batch == batch


def test_too_little_memory_stops_before_anything_is_tried(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_checks, "estimate_memory", lambda bench: Memory(10**12, 10**9, 10**10, 64))
    overrides = [o for o in tiny_overrides if "preflight" not in o]
    with pytest.raises(TrainingError, match=r"not started: Memory will not do.*train.batch=.*monitor.preflight=0"):
        verbs.train(overrides=[*overrides, f"runs={tmp_path}", "name=large"])
    run = Run.open(tmp_path / "large")
    assert run.state["state"] == "failed"
    assert run.steps().is_empty()
    assert "preflight.memory" in [finding.id for finding in run.findings()]


def test_a_first_step_that_is_not_finite_is_found(bench: Trial) -> None:
    from pipeline.training import preflight

    with torch.no_grad():
        bench.model.get_parameter("model.0.conv.weight")[0, 0, 0, 0] = float("nan")
    _, _, (finding,) = preflight._one_step(bench)
    assert (finding.id, finding.severity) == ("preflight.not_finite", "error")
    assert trial_checks.try_one_step(bench).is_finite  # the check put the weights back


def test_a_layer_that_overflows_in_the_first_step_is_named(bench: Trial) -> None:
    """The loss stays finite: BatchNorm divides by an infinite deviation and passes on a constant."""
    from pipeline.training import preflight

    with torch.no_grad():
        bench.model.get_parameter("model.3.conv.weight").mul_(1e30)
    _, _, (finding,) = preflight._one_step(bench)
    assert (finding.id, finding.severity) == ("preflight.not_finite", "error")
    assert "model.3.bn" in finding.message


def test_one_gradient_that_is_not_finite_does_not_count_against_the_rate(bench: Trial) -> None:
    calls = []

    def once(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return gradient * float("nan") if len(calls) == 20 else gradient

    hook = bench.model.get_parameter("model.5.conv.weight").register_hook(once)
    try:
        result = trial_checks.range_test(bench)
    finally:
        hook.remove()
    assert len(result.rates) == trial_checks.RANGE_STEPS
    assert result.highest is None or result.highest > 0.05


def test_a_network_that_cannot_learn_is_found(bench: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.training import preflight

    monkeypatch.setattr(trial_checks, "OVERFIT_STEPS", 12)
    for name, parameter in bench.model.named_parameters():
        parameter.requires_grad_(name.startswith("model.0."))
    try:
        _, figures, (finding,) = preflight._overfit(bench)
    finally:
        bench.model.requires_grad_(True)
        bench.restore()
    assert finding.id == "preflight.cannot_overfit"
    assert figures["share_left"] > 0.5


@pytest.mark.parametrize(
    ("optimizer", "highest", "rate", "is_too_high"),
    [
        ("SGD", 0.0073, 0.01, False),  # seen: the usual rate, at which the training went well
        ("SGD", 0.0019, 0.01, True),
        ("SGD", 0.8, 1.0, True),
        ("SGD", None, 1.0, False),
        ("AdamW", 0.0023, 0.006, False),
        ("AdamW", 0.0023, 0.1, True),
    ],
)
def test_a_usual_rate_has_the_benefit_of_the_doubt(
    optimizer: str, highest: float | None, rate: float, is_too_high: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = trial_checks.RangeTest(optimizer, (), (), highest, 1e-4)
    monkeypatch.setattr(trial_checks, "range_test", lambda bench: test)
    groups = [{"initial_lr": rate}]
    trainer = SimpleNamespace(optimizer=SimpleNamespace(param_groups=groups))
    for requested in (optimizer, "auto"):  # with a name instead of auto goes what auto sets beside the rate
        bench: Any = SimpleNamespace(trainer=trainer, context=lambda own=requested: {"optimizer_requested": own})
        found = preflight._learning_rate(bench)[2]
        assert [finding.id for finding in found] == (["preflight.lr_too_high"] if is_too_high else [])
        assert all(("train.warmup_bias_lr=0" in f.advice) is (requested == "auto") for f in found)


@pytest.mark.parametrize(("lr0", "found"), [(0.9, "preflight.lr_too_high"), (1e-9, "preflight.lr_too_low"), (0.01, "")])
def test_a_rate_far_from_what_the_range_test_says_is_found(
    bench: Trial, monkeypatch: pytest.MonkeyPatch, lr0: float, found: str
) -> None:
    from pipeline.training import preflight
    from pipeline.training.trial_checks import RangeTest

    result = RangeTest("AdamW", (1e-6, 1.0), (1.0, 0.9), 0.3, 0.005)
    monkeypatch.setattr(trial_checks, "range_test", lambda bench: result)
    bench.trainer.optimizer.param_groups[-1]["initial_lr"] = lr0
    try:
        words, _, findings = preflight._learning_rate(bench)
    finally:
        bench.trainer.optimizer.param_groups[-1]["initial_lr"] = 0.002
    assert [finding.id for finding in findings] == ([found] if found else [])
    assert "0.005" in words
    assert all("train.lr0=0.005" in finding.advice for finding in findings)


def test_a_check_that_breaks_down_becomes_a_finding(tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(bench: Trial) -> Any:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(trial_checks, "try_one_step", broken)
    config = load_config(None, tiny_overrides)
    dataset = session.prepare_data(config).dataset
    overrides = session._overrides(Run("x"), config, Path("yolo26n.yaml"))
    result = run_preflight(config, dataset, overrides, budget=2.5)
    (finding,) = [f for f in result.findings if f.id == "preflight.check_failed"]
    assert "one_step broke down: ZeroDivisionError: by zero" in finding.message


def curve(fall_at: float, blow_at: float | None, depth: float = 0.3, noise: float = 0.02) -> tuple[Any, Any]:
    rates = np.geomspace(1e-6, 1, 60)
    losses = 1 - depth / (1 + (fall_at / rates) ** 2)
    if blow_at is not None:
        losses = np.where(rates >= blow_at, 2.5, losses)
    return rates, losses + np.random.default_rng(0).normal(0, noise, 60)


def test_the_range_is_read_off_a_curve() -> None:
    highest, proposal = read_range(*curve(1e-3, 1e-1), margin=30)
    assert highest == pytest.approx(1e-1, rel=0.3)
    assert 3e-4 < proposal <= 1e-2


def test_a_loss_that_never_fell_is_read_from_where_it_blows_up() -> None:
    highest, proposal = read_range(*curve(1.0, 3e-1, depth=0.0, noise=0.005), margin=30)
    assert highest == pytest.approx(3e-1, rel=0.3)
    assert proposal == pytest.approx(1e-2, rel=0.4)


def test_a_loss_that_falls_until_it_blows_up_does_not_propose_the_edge() -> None:
    """As with AdamW, whose loss may be lowest just before the end: a tenth of that rate would be too high."""
    highest, proposal = read_range(*curve(1e-1, 5e-1, depth=0.5), margin=100)
    assert highest == pytest.approx(0.5, rel=0.3)
    assert proposal == pytest.approx(highest / 100, rel=0.05)


def test_a_loss_that_first_rises_to_its_usual_height_is_no_blow_up() -> None:
    """As where hardly any box is assigned at first: the loss starts low, rises, and only then falls."""
    rates, losses = curve(1e-2, 3e-1, depth=0.4)
    losses[:12] = np.linspace(0.1, 0.9, 12)
    highest, proposal = read_range(rates, losses, margin=30)
    assert highest == pytest.approx(3e-1, rel=0.3)
    assert 1e-3 < proposal <= 1e-2


def test_not_a_number_counts_as_blown_up() -> None:
    rates, losses = curve(1e-3, None)
    losses[50:] = np.nan
    assert read_range(rates, losses, margin=30)[0] == pytest.approx(rates[50])
