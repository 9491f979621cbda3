"""The page of a training as its monitor and guard leave it behind: health, incidents, what was judged."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from fabricated_run import empty_run, epochs_table, full_run, incident, monitored, old_steps_table, steps_table
from parsed_page import Page

from pipeline.findings import Finding
from pipeline.reporting import incidents
from pipeline.reporting.html import render
from pipeline.run_history import EPOCHS, STEPS
from pipeline.runs import Run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return full_run(tmp_path_factory.mktemp("runs") / "steel")


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Run:
    run = Run(shutil.copytree(finished.path, tmp_path / "steel"))
    (run.path / "findings.json").unlink()
    return run


def text_of(run: Run) -> str:
    return Page(render(run)).text


def section(text: str, title: str, following: str) -> str:
    return text[text.index(title) : text.index(following)]


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_losses_come_before_gradients_and_these_before_the_rates(finished: Run) -> None:
    text = text_of(finished)
    order = [
        "Findings",
        "Loss at every optimiser step",
        "Is it overfitting?",
        "The terms of the loss",
        "Size of the gradient",
        "Size of the gradient, layer by layer",
        "How far a step moves the weights",
        "BatchNorm and activations",
        "Where the gradient comes from",
        "Learning rates",
        "How good it is",
    ]
    places = [text.index(title) for title in order]
    assert places == sorted(places)


def test_every_figure_has_words_that_tell_how_to_read_it(finished: Run) -> None:
    captions = re.findall(r'<h3>[^<]+</h3>\s*<p class="muted small">([^<]*)</p>', render(finished))
    assert len(captions) >= 10
    assert all(len(caption) > 40 for caption in captions)


def test_a_model_with_one_branch_has_no_word_about_branches(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "a", "complete")
    run.append(STEPS, steps_table(120, 4, branches=False).to_dicts())
    run.append(EPOCHS, epochs_table(4, branches=False).to_dicts())
    text = text_of(monitored(run, 120, 4, branches=False))
    for part in ("one-to-many", "one-to-one", "two branches"):
        assert part not in text
    assert "dfl" in text


def test_a_run_from_before_the_monitor_still_has_its_page(copied: Run) -> None:
    shutil.rmtree(copied.path / "history")
    copied.append(STEPS, old_steps_table(480, 12).to_dicts())
    old = epochs_table(12).select(
        pl.exclude(r"^sample_.*$", r"^train_o2m.*$", r"^val_o2m.*$", "train_loss", "val_loss")
    )
    copied.append(EPOCHS, old.rename(lambda name: name.replace("_o2o_", "_")).to_dicts())
    source = render(copied)
    assert source.count("<figure>") == 5  # mAP, loss, terms, gradient, rates
    assert "Health of the training" in source
    assert "Steps that were not taken" not in source
    assert "The training was not judged" in source
    assert "BatchNorm" not in source


def test_the_page_of_a_long_run_stays_below_a_megabyte(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "long", "complete")
    run.append(STEPS, steps_table(9000, 200).to_dicts())
    run.append(EPOCHS, epochs_table(200).to_dicts())
    for step in range(0, 9000, 30):
        run.add_incident(f"step-{step:06}", incident(step))
    assert len(render(monitored(run, 9000, 60))) < 1_000_000


def test_a_run_in_its_first_step_is_shown(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "fresh")
    run.append(STEPS, steps_table(1, 1).to_dicts())
    assert "Size of the gradient, layer by layer" in text_of(monitored(run, 1, 1))


# ---- what no findings mean -------------------------------------------------------------------------------------------


def test_a_judged_run_without_findings_says_that_nothing_was_found(copied: Run) -> None:
    assert "None. The data was checked and the training was judged from its first step to its last." in text_of(copied)
    copied.update_state(state="running")
    assert "The training is judged while it goes on" in text_of(copied)
    copied.update_state(state="failed")
    assert "judged as far as it went" in text_of(copied)


def test_findings_that_only_inform_leave_the_word_about_the_rest(copied: Run) -> None:
    copied.add_findings([Finding("data.split", "info", "A tenth was taken for validation.")])
    assert "No warnings and no errors. The data was checked and the training was judged" in text_of(copied)
    copied.add_findings([Finding("gradient.vanishing", "warning", "Layer 3 has stopped learning.")])
    assert "was judged" not in text_of(copied)


def test_a_run_without_context_or_steps_was_not_judged(copied: Run) -> None:
    (copied.path / "history" / "context.json").unlink()
    assert "The training was not judged: this run has no record of what it was measured on" in text_of(copied)
    copied.save_context({"optimizer": "AdamW"})
    (copied.path / "history" / "steps.jsonl").unlink()
    assert "The training was not judged" in text_of(copied)


# ---- incidents -------------------------------------------------------------------------------------------------------


def test_an_incident_says_where_it_began_with_which_picture_and_how_to_repeat_it(copied: Run) -> None:
    root = copied.data_record["root"]
    copied.add_incident("step-000081", incident(81, files=[f"{root}/train/004.png", "/elsewhere/5.png"]))
    source = render(copied)
    part = section(Page(source).text, "Steps that were not taken", "How good it is")
    assert "Step 81 epoch 3" in part
    assert "Forward pass: model.2.cv1.conv (Conv2d, in layer 2 C3k2 cv1.conv) made the first value" in part
    assert "Pictures that bring it about on their own: train/004.png, /elsewhere/5.png" in part
    assert "<code>tuneup doctor runs/steel/incidents/step-000081</code>" in source


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"phase": "pictures", "module": ""}, "The pixels of the pictures below are not finite."),
        ({"phase": "forward", "module": ""}, "the loss term o2m_box was not"),
        ({"phase": "backward"}, "Backward pass: the loss was finite, the gradient of model.2.cv1.conv"),
        ({"phase": "", "module": "", "repeated": False}, "in a replay of the step everything was finite"),
        ({"told_apart": False}, "Pictures of the step: train/004.png"),
    ],
)
def test_every_way_in_which_it_can_begin_has_its_words(copied: Run, changes: dict[str, object], expected: str) -> None:
    copied.add_incident("step-000001", incident(1, **changes))
    assert expected in text_of(copied)


def test_an_incident_that_was_not_replayed_names_tensors_and_batch(copied: Run) -> None:
    bare = {
        "step": 5,
        "epoch": 0,
        "tensors": [f"t{i}" for i in range(9)],
        "batch_files": [f"{i}.png" for i in range(20)],
    }
    copied.add_incident("step-000005", bare)
    text = text_of(copied)
    assert "The gradient of t0, t1, t2, t3 and 5 more was not finite. Not replayed" in text
    assert "7.png and 12 more" in text
    assert "Its record: incidents/step-000005" in text


def test_only_the_first_incidents_are_listed_and_the_rest_is_counted(copied: Run) -> None:
    for step in range(20):
        copied.add_incident(f"step-{step:06}", incident(step))
    source = render(copied)
    assert source.count('class="finding warning incident"') == incidents.MOST_SHOWN
    assert f"{20 - incidents.MOST_SHOWN} more steps like these" in Page(source).text


def test_steps_skipped_by_half_precision_are_counted_and_are_no_incident(copied: Run) -> None:
    path = copied.path / "history" / "steps.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    lines[3] |= {"skipped": True, "skip_reason": "amp", "grad_norm_before_clip": None}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    text = text_of(copied)
    assert "Optimiser steps 480, 1 of them not taken" in text
    assert "1 step left out by half precision" in section(text, "Steps that were not taken", "How good it is")


def test_without_incidents_there_is_no_such_section(copied: Run) -> None:
    assert "Steps that were not taken" not in text_of(copied)


def test_hostile_names_in_every_new_record_are_text_and_nothing_else(copied: Run) -> None:
    evil = "</code><script>alert(1)</script>`<img src=x onerror=alert(2)>"
    context = copied.context
    context["layers"][0] |= {"label": evil, "place": evil}
    copied.save_context({**context, "optimizer": evil})
    fields = dict.fromkeys(("module", "kind", "replay"), evil)
    copied.add_incident("step-000001", incident(1, **fields, files=[evil], loss_terms=[evil], tensors=[evil]))
    copied.add_incident("step-000002", incident(2, phase="", module="", files=[evil], tensors=[evil]))
    probe = {"ratio": {evil: 0.1}, "group_ratio": {evil: 0.1, "b": 0.2}, "shares": {evil: 1.0}, "step": 3, "epoch": 0}
    norms = {evil: {"dead": 0.9, "non_finite": 0.0}}
    copied.append("probes", [{**probe, "kind": kind, "norms": norms} for kind in ("update", "terms", "health")])
    page = Page(render(copied))
    assert not {"script", "img"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert evil.replace("`", "") in page.text.replace("`", "")


def test_nothing_is_loaded_and_nothing_runs(copied: Run) -> None:
    copied.add_incident("step-000001", incident(1))
    source = render(copied)
    page = Page(source)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in source
    assert "http" not in re.sub(r'http-equiv="[^"]+"', "", source)
    assert not {"script", "link", "iframe", "object", "img", "form"} & set(page.tags)
    assert all(v.startswith(("#", "data:image/jpeg;base64,", "data:image/png;base64,")) for v in page.values("href"))
    assert page.values("src") == []
