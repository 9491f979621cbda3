from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from fabricated_run import empty_run, evaluate, full_run
from parsed_page import Page

from pipeline.errors import RunError
from pipeline.findings import Finding
from pipeline.reporting import html as report
from pipeline.reporting.html import render, write_report
from pipeline.runs import Run, write_json


def pictures(page: Page) -> list[str]:
    """Return the ids of the sample pictures; the heat map has embedded pictures too."""
    found = [value for tag, name, value in page.attributes if tag == "image" and name == "id"]
    return [value for value in found if value.startswith("picture-")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return full_run(tmp_path_factory.mktemp("runs") / "steel")


@pytest.fixture(scope="module")
def source(finished: Run) -> str:
    return render(finished)


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(finished.path, tmp_path / "steel"))


def test_the_report_is_one_file_that_needs_nothing_else(finished: Run) -> None:
    path = write_report(finished)
    source = path.read_text("utf-8")
    page = Page(source)
    assert path == finished.path / "report.html"
    assert "http://" not in source
    assert "https://" not in source
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", source)
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)
    assert not [name for name in (a for _, a, _ in page.attributes) if name.startswith("on")]
    assert all(v.startswith(("#", "data:image/jpeg;base64,", "data:image/png;base64,")) for v in page.values("href"))
    assert "url(http" not in source
    assert "@import" not in source


def test_ids_are_unique_and_every_reference_has_one(source: str) -> None:
    page = Page(source)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {v[1:] for v in page.values("href") if v.startswith("#")} <= set(ids)


def test_a_finished_run_shows_every_section(source: str) -> None:
    text = Page(source).text
    for part in ("Where it stands", "Findings", "Curves", "How good it is", "Sample predictions", "Configuration"):
        assert part in text
    for part in (
        "steel",
        "complete",
        "yolo26n.pt",
        "12 of 12",
        "1 h 2 min",
        "NVIDIA H100",
        "AdamW, learning rate 0.001, batch 16",
        "train",
    ):
        assert part in text
    assert source.count("<figure>") == 10
    assert "Health of the training" in text


def test_the_number_to_quote_is_that_of_the_split_which_took_no_part(source: str) -> None:
    text = Page(source).text
    head = text[: text.index("Where it stands")]
    assert "0.571 mAP50-95 on the test split" in head
    assert "The test split neither trained the model nor chose the checkpoint." in head
    assert "0.612 validation split chose the checkpoint" in head


def test_a_number_of_the_split_that_chose_the_checkpoint_says_so(copied: Run) -> None:
    shutil.rmtree(copied.path / "eval" / "test")
    head = Page(render(copied)).text.split("Where it stands")[0]
    assert "0.612 mAP50-95 on the validation split" in head
    assert "The validation split chose the checkpoint, so this number is somewhat too high" in head


def test_without_an_evaluation_the_best_epoch_stands_in_with_its_caveat(copied: Run) -> None:
    shutil.rmtree(copied.path / "eval")
    text = Page(render(copied)).text
    assert "measured during training in epoch" in text
    assert "The validation split chose the checkpoint" in text
    assert "No split has been evaluated yet." in text
    assert "Sample predictions appear once a split has been evaluated." in text


def test_the_training_split_is_never_called_held_out(copied: Run) -> None:
    shutil.rmtree(copied.path / "eval")
    evaluate(copied, "train", chose_checkpoint=False)
    text = Page(render(copied)).text
    assert "The model has trained on these pictures" in text
    assert "took no part in training" not in text


@pytest.mark.parametrize("state", ["running", "complete", "interrupted", "failed"])
def test_the_page_refreshes_itself_only_while_the_run_is_running(tmp_path: Path, state: str) -> None:
    page = Page(render(empty_run(tmp_path / "a", state, reason="The disk is full." if state == "failed" else "")))
    assert ("refresh" in page.values("http-equiv")) == (state == "running")
    assert state in page.text
    assert ("The disk is full." in page.text) == (state == "failed")
    assert any(f"badge {state}" == value for value in page.values("class"))


def test_a_run_that_has_just_started_says_what_is_missing(tmp_path: Path) -> None:
    text = Page(render(empty_run(tmp_path / "fresh"))).text
    for part in (
        "0 of 12",
        "It appears after the first epoch.",
        "Nothing to report so far.",
        "No optimiser step has been recorded yet.",
    ):
        assert part in text


def test_a_bare_folder_is_enough(tmp_path: Path) -> None:
    assert "not started" in Page(write_report(Run(tmp_path)).read_text("utf-8")).text


def test_a_torn_history_line_is_left_out(copied: Run) -> None:
    with (copied.path / "history" / "steps.jsonl").open("ab") as file:
        file.write(b'{"step": 48')
    assert "480" in Page(render(copied)).text


def test_while_running_the_time_left_is_estimated(copied: Run) -> None:
    copied.update_state(state="running", epochs=20)
    assert "Time left, about 1 min 40 s" in Page(render(copied)).text


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "\"'><svg onload=alert(2)>", "缺陷 &amp; Riß", "a{{ 7*7 }}b"]
    run = full_run(tmp_path / "hostile", names)
    evil = '</style><script>alert("3")</script>'
    run.add_findings([Finding("labels.odd", "warning", evil, {evil: [evil]}, f"Rename `{evil}` or {evil}")])
    run.update_state(state="failed", reason=evil)
    write_json(run.path / "environment.json", {"gpu": [evil], evil: {evil: evil}})
    record = run.data_record
    write_json(run.path / "data.json", {**record, "counts": {evil: {"images": 1}}})
    source = render(run)
    page = Page(source)
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert len(re.findall("</style>", source)) == 1
    for name in (*names, evil):
        assert name in page.text
    titles = [value for tag, name, value in page.attributes if name == "aria-label" and tag == "svg"]
    assert "ground truth: test/001.png" in titles


def test_a_checkpoint_from_elsewhere_is_neither_held_out_nor_trained(copied: Run) -> None:
    path = copied.path / "eval" / "test" / "metrics.json"
    write_json(path, {**json.loads(path.read_text("utf-8")), "chose_checkpoint": None, "trained_on": None})
    shutil.rmtree(copied.path / "history")
    shutil.rmtree(copied.path / "eval" / "val")
    write_json(copied.path / "state.json", {"state": "evaluated"})
    text = Page(render(copied)).text
    head = text.split("Where it stands")[0]
    assert "It is not known whether these pictures trained or chose the checkpoint" in head
    assert "took no part" not in text
    assert "A checkpoint was evaluated here; nothing was trained." in text
    assert "Epochs done" not in text


def test_a_run_whose_process_is_gone_is_not_called_running(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    run = empty_run(tmp_path / "a", "running", pid=ended.pid, host=platform.node())
    page = Page(render(run))
    assert "badge interrupted" in page.values("class")
    assert "refresh" not in page.values("http-equiv")
    assert "tuneup train --resume" in page.text
    run.update_state(pid=os.getpid())
    assert "badge running" in Page(render(run)).values("class")


def test_findings_come_worst_first_with_their_advice(source: str) -> None:
    text = Page(source).text
    assert text.index("The gradient jumped") < text.index("Nothing improved")
    assert "What to do: Set train.lr0=0.0003" in text
    assert "training.exploding" in text
    assert "812.25" in text


def test_what_stands_between_backticks_is_code(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "a")
    run.add_findings([Finding("a.b", "info", "Use `x<y`.", {}, "One ` alone.")])
    source = render(run)
    assert "Use <code>x&lt;y</code>." in source
    assert "One ` alone." in source


def test_classes_are_sorted_by_ap_and_undefined_ones_come_last(copied: Run) -> None:
    evaluate(copied, "test", chose_checkpoint=False, without_boxes=["scratch"])
    source = render(copied)
    (table, *_) = re.findall(r'<table class="classes">.*?</table>', source, re.DOTALL)
    assert re.findall(r'<th scope="row">(.*?)</th>', table) == ["pit", "crack", "scratch"]
    assert re.search(r"scratch\s*0\s*0\s*–\s*–", Page(table).text)
    assert "a dash: the split has no such object" in source


def test_gone_pictures_leave_a_placeholder_and_the_rest_of_the_report(copied: Run) -> None:
    record = copied.data_record
    write_json(copied.path / "data.json", {**record, "root": "/nowhere"})
    page = Page(render(copied))
    assert "No such file or directory" in page.text
    assert "test/002.png" in page.text
    assert pictures(page) == []


def test_damaged_tables_cost_only_the_pictures(copied: Run) -> None:
    (copied.path / "eval" / "test" / "detections.parquet").write_bytes(b"junk")
    assert "The pictures of this run cannot be shown" in Page(render(copied)).text
    shutil.rmtree(copied.path / "dataset")
    text = Page(render(copied)).text
    assert "The pictures of this run cannot be shown" in text
    assert "0.571" in text


def test_the_number_of_samples_is_the_configured_one(copied: Run) -> None:
    assert len(pictures(Page(render(copied)))) == 4
    (copied.path / "config.yaml").write_text("report: {samples: 0}", "utf-8")
    page = Page(render(copied))
    assert pictures(page) == []
    assert "report.samples: 0" in page.text


def test_every_sample_is_embedded_once_and_shown_twice(source: str) -> None:
    page = Page(source)
    shown_again = [v for tag, name, v in page.attributes if tag == "use" and name == "href" and "picture" in v]
    assert [f"#{p}" for p in pictures(page)] == shown_again


def test_writing_replaces_the_old_page_and_leaves_nothing_behind(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(copied).read_text("utf-8")
    copied.update_state(state="failed")
    monkeypatch.setattr(report.figures, "curves", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(copied)
    assert (copied.path / "report.html").read_text("utf-8") == before
    monkeypatch.undo()
    assert "failed" in write_report(copied).read_text("utf-8")
    assert not list(copied.path.glob(".*")), "a temporary file was left"


def test_file_names_that_are_not_unicode_do_not_stop_the_report(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "a")
    (run.path / "state.json").write_text(json.dumps({"state": "failed", "reason": "cannot read \udcff.png"}), "utf-8")
    assert "cannot read ?.png" in write_report(run).read_text("utf-8")


def test_a_damaged_record_is_named(copied: Run) -> None:
    (copied.path / "state.json").write_text("{", "utf-8")
    with pytest.raises(RunError, match=r"state\.json"):
        write_report(copied)


def test_same_run_same_page(finished: Run, source: str) -> None:
    assert render(finished) == source


def test_the_report_needs_neither_torch_nor_ultralytics() -> None:
    code = "import sys, pipeline.reporting.html; print([m for m in ('torch', 'ultralytics') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_detections_of_an_older_run_may_be_missing(copied: Run) -> None:
    (copied.path / "eval" / "test" / "detections.parquet").unlink()
    assert isinstance(copied.detections("test"), pl.DataFrame)
    assert "detections: none" in Page(render(copied)).text
