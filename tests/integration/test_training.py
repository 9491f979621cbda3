"""Real trainings of seconds: what a run leaves behind, and that the same configuration gives the same run."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from alone import train_alone
from ultralytics import YOLO

from pipeline import evaluation_verbs, verbs
from pipeline.config import load_config
from pipeline.errors import ModelError, UsageError
from pipeline.policy import Policy, entries
from pipeline.runs import Run


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in {"seconds", "time"}} for record in records]


def test_a_run_is_complete_and_says_so(tiny_run: Run) -> None:
    assert tiny_run.state["state"] == "complete"
    assert tiny_run.epochs()["epoch"].to_list() == [0, 1, 2]
    assert next(event["event"] for event in tiny_run.events()) == "start"
    assert {"warmup_end", "close_mosaic", "end"} <= {event["event"] for event in tiny_run.events()}
    assert sorted(p.name for p in (tiny_run.path / "weights").iterdir()) == ["best.pt", "last.pt"]
    page = (tiny_run.path / "report.html").read_text()
    assert "complete" in page
    assert 'http-equiv="refresh"' not in page


def test_every_step_is_recorded_once_with_what_ultralytics_hides(tiny_run: Run) -> None:
    steps = tiny_run.steps()
    assert steps["step"].to_list() == list(range(steps.height))
    # Three epochs of 12 pictures; Ultralytics never steps with the batch that is left open at the very end.
    assert steps["images"].to_list() == [4, 4, 8, 8, 8]
    assert steps["grad_norm_before_clip"].is_finite().all()
    assert (steps["grad_norm_before_clip"] > 0).all()
    assert {"lr_weight", "lr_bn", "lr_bias", "o2m_box_loss", "o2o_cls_loss", "o2m", "clipped"} <= set(steps.columns)
    assert not steps["skipped"].any()
    by_hand = steps["grad_norm_before_clip"] * steps["images"] > 10.0
    assert steps["clipped"].to_list() == by_hand.to_list()


def test_the_norm_of_every_tensor_adds_up_to_the_total(tiny_run: Run) -> None:
    norms, steps = tiny_run.norms(), tiny_run.steps()
    assert norms.steps.tolist() == steps["step"].to_list()
    assert len(norms.tensors) == 366  # all of yolo26n that can be trained
    total = np.sqrt((np.maximum(norms.values.astype(float), 0) ** 2).sum(1))
    np.testing.assert_allclose(total, steps["grad_norm_before_clip"].to_numpy(), rtol=1e-5)
    np.testing.assert_allclose(np.sqrt((norms.by_layer**2).sum(1)), total, rtol=1e-12)


def test_the_recorded_terms_add_up_to_the_loss_that_is_optimised(tiny_run: Run) -> None:
    """YOLO26 optimises o2m * one-to-many + o2o * one-to-one; Ultralytics shows the terms of one-to-one alone."""
    steps = tiny_run.steps()
    branches = {b: sum(steps[f"{b}_{term}_loss"] for term in ("box", "cls", "l1")) for b in ("o2m", "o2o")}
    together = steps["o2m"] * branches["o2m"] + steps["o2o"] * branches["o2o"]
    np.testing.assert_allclose(steps["loss"].to_numpy(), together.to_numpy(), rtol=1e-5)
    assert ((steps["loss"] - branches["o2o"]).abs() > 1e-3).all()
    assert steps["o2m"].to_list()[0] == pytest.approx(0.8)
    assert steps["o2m"].to_list()[-1] == pytest.approx(0.1)


def test_train_val_and_an_unaugmented_sample_are_measured_by_the_same_terms(tiny_run: Run) -> None:
    epochs = tiny_run.epochs()
    for part in ("train", "val", "sample"):
        assert epochs[f"{part}_loss"].is_finite().all()
        assert {f"{part}_{b}_{t}_loss" for b in ("o2m", "o2o") for t in ("box", "cls", "l1")} <= set(epochs.columns)
    branches = {b: sum(epochs[f"val_{b}_{term}_loss"] for term in ("box", "cls", "l1")) for b in ("o2m", "o2o")}
    together = epochs["o2m"] * branches["o2m"] + epochs["o2o"] * branches["o2o"]
    np.testing.assert_allclose(epochs["val_loss"].to_numpy(), together.to_numpy(), rtol=1e-6)


def test_a_model_with_one_branch_keeps_its_own_terms(tiny_overrides: list[str], tmp_path: Path) -> None:
    overrides = [o for o in tiny_overrides if not o.startswith("model=")]
    run = train_alone([*overrides, "model=yolo11n.yaml", f"runs={tmp_path}", "epochs=1"])
    steps = run.steps()
    together = steps["box_loss"] + steps["cls_loss"] + steps["dfl_loss"]
    np.testing.assert_allclose(steps["loss"].to_numpy(), together.to_numpy(), rtol=1e-5)
    assert "o2m" not in steps.columns


@pytest.mark.parametrize("optimizer", ["SGD", "MuSGD", "NAdam", "RMSprop"])
def test_every_optimizer_is_followed(tiny_overrides: list[str], tmp_path: Path, optimizer: str) -> None:
    run = train_alone([*tiny_overrides, f"optimizer={optimizer}", "lr0=0.001", "epochs=1", "nbs=4", f"runs={tmp_path}"])
    assert run.context["optimizer"] == optimizer
    assert run.context["augmentation"] == list(entries(Policy.model_validate(run.config["augment"])))
    assert {"mosaic", "fliplr"} <= set(run.context["augmentation"])
    last = [probe for probe in run.records("probes") if probe["kind"] == "update"][-1]
    assert set(last["ratio"]) == set(run.norms().layer_names)
    assert all(math.isfinite(value) and value > 0 for value in last["ratio"].values())


def test_probes_follow_the_schedule_and_hold_no_secrets(tiny_run: Run) -> None:
    probes = tiny_run.records("probes")
    updates = [probe for probe in probes if probe["kind"] == "update"]
    assert [probe["step"] for probe in updates] == tiny_run.steps()["step"].to_list()  # short runs: every step
    assert updates[0]["ratio"]["model.0"] == 0.0  # warm-up starts at a rate of zero
    # No large object in a batch: the box branches for large ones get a gradient of exactly zero.
    assert all(re.match(r"model\.23\.(one2one_)?cv2\.[12]\.", name) for name in updates[0]["unmoved"])
    assert all(-1 <= probe["cosine"] <= 1 for probe in updates if probe.get("cosine") is not None)
    health = [probe for probe in probes if probe["kind"] == "health"]
    assert [probe["epoch"] for probe in health] == [0, 0, 1, 2]  # before the first step, then after every epoch
    assert len(health[0]["norms"]) == 114
    shares = [probe["shares"] for probe in probes if probe["kind"] == "terms"]
    assert all(sum(share.values()) == pytest.approx(1.0) for share in shares)


def test_two_runs_with_the_same_seed_are_the_same_run(tiny_run: Run, tiny_overrides: list[str], tmp_path: Path) -> None:
    again = verbs.train(overrides=[*tiny_overrides, f"runs={tmp_path}", "name=tiny"])
    for kind in ("steps", "epochs"):
        assert without_times(again.records(kind)) == without_times(tiny_run.records(kind))
    assert again.detections("test").equals(tiny_run.detections("test"))


def test_another_seed_is_another_run(tiny_run: Run, tiny_overrides: list[str], tmp_path: Path) -> None:
    other = train_alone([*tiny_overrides, f"runs={tmp_path}", "seed=7", "epochs=1"])
    assert other.steps()["loss"][0] != tiny_run.steps()["loss"][0]


def test_a_second_run_never_overwrites_the_first(tiny_run: Run, tiny_overrides: list[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in tiny_run.path.rglob("*")}
    second = verbs.train(overrides=[*tiny_overrides, f"runs={tiny_run.path.parent}", "name=tiny", "epochs=1"])
    assert second.name == "tiny-2"
    assert {p: p.stat().st_mtime_ns for p in tiny_run.path.rglob("*")} == before


def test_the_runs_configuration_trains_the_same_run_again(tiny_run: Run) -> None:
    config = load_config(tiny_run.path / "config.yaml")
    assert config.data.path is not None
    assert config.data.path.is_absolute()
    assert load_config(tiny_run.path / "config.yaml") == config
    assert config.train.epochs == 3
    assert config.train.lr0 == 0.002


def test_metrics_name_the_split_and_whether_it_chose_the_weights(tiny_run: Run) -> None:
    metrics = tiny_run.evaluations()["test"]
    assert metrics["chose_checkpoint"] is False
    assert (metrics["images"], len(metrics["per_class"])) == (5, 2)
    val = evaluation_verbs.evaluate(tiny_run, overrides=["eval.split=val"])
    assert val.metrics["chose_checkpoint"] is True
    assert json.loads((tiny_run.path / "eval" / "val" / "metrics.json").read_text()) == val.metrics


def test_detections_are_in_pixels_of_the_original_pictures(tiny_run: Run) -> None:
    found = tiny_run.detections("test")
    sizes = tiny_run.dataset().images.select("image_id", "width", "height")
    joined = found.join(sizes, on="image_id")
    assert joined.height == found.height > 0
    assert joined.filter((pl.col("x2") > pl.col("width")) | (pl.col("y2") > pl.col("height"))).is_empty()
    assert joined.filter((pl.col("x1") < 0) | (pl.col("y1") < 0)).is_empty()


def test_best_weights_load_in_plain_ultralytics_and_predict_the_same_boxes(tiny_run: Run) -> None:
    dataset = tiny_run.dataset().split("test")
    image_id, path = dataset.images.select("image_id", "path").row(0)
    picture = cv2.imread(str(dataset.picture_path(path)))
    ours = tiny_run.detections("test").filter(pl.col("image_id") == image_id)
    result = YOLO(tiny_run.weights("best")).predict(
        picture, imgsz=64, conf=0.001, iou=0.7, max_det=300, verbose=False, device="cpu", rect=True
    )[0]
    # `predict` keeps one class per box, we keep all of them; the boxes it keeps must be among ours.
    theirs = result.boxes.data.double().numpy()
    table = ours.select("x1", "y1", "x2", "y2", "score", "class_id").to_numpy()
    for row in theirs[:20]:
        distance = np.abs(table - row).max(axis=1).min()
        assert distance < 0.05


def test_weights_of_a_run_can_be_fine_tuned(tiny_run: Run, tiny_overrides: list[str], tmp_path: Path) -> None:
    overrides = [o for o in tiny_overrides if not o.startswith("model=")]
    run = train_alone([*overrides, f"model={tiny_run.weights('best')}", f"runs={tmp_path}", "epochs=1"])
    assert run.steps()["loss"][0] < tiny_run.steps()["loss"][0]


def test_a_checkpoint_is_evaluated_on_data_of_its_own(tiny_run: Run, tiny_data: Path, tmp_path: Path) -> None:
    evaluation = evaluation_verbs.evaluate(
        tiny_run.weights("best"), overrides=[f"data={tiny_data}", "imgsz=64", f"runs={tmp_path}"]
    )
    assert evaluation.metrics["chose_checkpoint"] is None
    assert evaluation.map50 == tiny_run.evaluations()["test"]["map50"]
    assert evaluation.run.path.parent == tmp_path


def test_a_checkpoint_is_evaluated_on_all_that_a_single_file_holds(
    tiny_run: Run, tiny_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "only").mkdir()
    for kind in ("images", "labels"):
        (tmp_path / "only" / kind).symlink_to(tiny_data / kind)
    (tmp_path / "only" / "data.yaml").write_text("test: images/train\nnames: [square, disc]\n")
    overrides = [f"data={tmp_path / 'only'}", "imgsz=64", f"runs={tmp_path / 'runs'}"]
    evaluation = evaluation_verbs.evaluate(tiny_run.weights("best"), overrides=overrides)
    assert (evaluation.split, evaluation.metrics["images"]) == ("test", 12)


def test_a_failed_evaluation_of_a_checkpoint_leaves_nothing(tiny_run: Run, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"path: {tiny_data}\nval: images/val\nnames: [square, ring]\n")
    with pytest.raises(ModelError, match="does not know the data's class ring"):
        evaluation_verbs.evaluate(tiny_run.weights("best"), overrides=[f"data={tmp_path}", f"runs={tmp_path / 'runs'}"])
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize("override", ["data=elsewhere", "epochs=5", "model=yolo11n.pt"])
def test_a_run_is_not_evaluated_on_other_data_in_silence(tiny_run: Run, override: str) -> None:
    with pytest.raises(UsageError, match="a run is evaluated on the data it was trained with"):
        evaluation_verbs.evaluate(tiny_run, overrides=[override])


def test_eval_takes_the_newest_run_that_has_weights(tiny_run: Run) -> None:
    Run.create(tiny_run.path.parent, "later").update_state(state="failed", started="2999-01-01T00:00:00+00:00")
    (tiny_run.path.parent / "later" / "config.yaml").write_text("{}")
    assert verbs.newest_run(tiny_run.path.parent).name == "later"
    assert verbs.newest_run(tiny_run.path.parent, with_weights=True).weights("best").is_file()


@pytest.mark.parametrize("wanted", ["", "None", "-1", "[-1, -1]", "cpu"])
def test_a_device_that_training_takes_can_predict(wanted: str) -> None:
    from pipeline.evaluation.predict import _device

    assert _device(wanted).type in {"cpu", "cuda"}


def test_the_first_of_several_gpus_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.evaluation import predict

    asked: list[object] = []
    monkeypatch.setattr(predict.torch, "zeros", lambda size, device: asked.append(str(device)))
    for wanted in ("2", "[2, 3]", "2,3", "[2]"):
        predict._device(wanted)
    assert asked == ["cuda:2"] * 4


def test_ultralytics_says_nothing_on_the_screen(tiny_run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    evaluation_verbs.evaluate(tiny_run, overrides=["eval.split=train"])
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""
    assert "optimizer" in (tiny_run.path / "ultralytics.log").read_text()


def test_running_out_of_memory_halves_the_batch_and_leaves_no_half_step(
    tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.training.trainer import TuneUpTrainer

    original, calls = TuneUpTrainer.preprocess_batch, []

    def exhausted(self: TuneUpTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        calls.append(self.batch_size)
        if len(calls) == 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, batch)

    monkeypatch.setattr(TuneUpTrainer, "preprocess_batch", exhausted)
    run = train_alone([*tiny_overrides, "epochs=2", "nbs=16", f"runs={tmp_path}"])
    assert run.state["state"] == "complete"
    assert run.state["batch"] == run.context["batch"] == 2
    events = [event["event"] for event in run.events()]
    assert events.count("out_of_memory") == events.count("warmup_end") == 1
    assert run.context["total_steps"] == run.steps().height - 1  # and the one before memory ran out
    steps = run.steps()
    assert steps["step"].to_list() == list(range(steps.height))
    assert set(steps["images"].to_list()[1:]) <= {2, 4, 6, 8, 10, 12, 14, 16}
    branches = {b: sum(steps[f"{b}_{term}_loss"] for term in ("box", "cls", "l1")) for b in ("o2m", "o2o")}
    together = steps["o2m"] * branches["o2m"] + steps["o2o"] * branches["o2o"]
    np.testing.assert_allclose(steps["loss"].to_numpy(), together.to_numpy(), rtol=1e-5)


def test_frozen_layers_are_neither_measured_nor_missed(tiny_overrides: list[str], tmp_path: Path) -> None:
    run = train_alone([*tiny_overrides, "epochs=1", "freeze=3", f"runs={tmp_path}"])
    assert not [name for name in run.norms().tensors if name.startswith(("model.0.", "model.1.", "model.2."))]
    assert {name.split(".")[1] for name in run.context["frozen"]} == {"0", "1", "2"}
    updates = [probe for probe in run.records("probes") if probe["kind"] == "update"]
    assert "model.0" not in updates[-1]["ratio"]
    assert "model.3" in updates[-1]["ratio"]


def test_a_compiled_model_is_measured_under_its_plain_names(
    tiny_run: Run, tiny_overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With torch.compile's eager backend: the wrapper and the split forward pass are those of inductor."""
    import torch
    import ultralytics.engine.trainer as upstream

    def compiled(model: Any, **kwargs: Any) -> Any:
        return torch.compile(model, backend="eager") if kwargs["mode"] else model

    monkeypatch.setattr(upstream, "attempt_compile", compiled)
    run = train_alone([*tiny_overrides, "epochs=1", "compile=true", f"runs={tmp_path}"])
    assert run.norms().tensors == tiny_run.norms().tensors
    assert (run.norms().values > 0).any(1).all()
    steps = run.steps()
    branches = {b: sum(steps[f"{b}_{term}_loss"] for term in ("box", "cls", "l1")) for b in ("o2m", "o2o")}
    assert steps["loss"][0] == pytest.approx(0.8 * branches["o2m"][0] + 0.2 * branches["o2o"][0], rel=1e-5)
    probes = run.records("probes")
    assert {probe["kind"] for probe in probes} == {"update", "health", "terms"}
    assert len(next(probe for probe in probes if probe["kind"] == "health")["norms"]) == 114
