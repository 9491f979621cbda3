"""The run folder: nothing is overwritten, half written or read torn, whatever happens to the disk or the process."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from helpers import ROOT, box, dataset_of, files_below
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.raw import rejected_rows
from pipeline.errors import RunError
from pipeline.findings import Finding
from pipeline.runs import DETECTIONS_SCHEMA, EPOCHS, EVENTS, STEPS, Run, list_runs, write_atomic


def _run(folder: Path, name: str = "steel", **state: Any) -> Run:
    run = Run.create(folder, name)
    write_atomic(run.path / "config.yaml", "name: steel\n")
    run.update_state(state="running", **state)
    return run


# ---- making and finding ---------------------------------------------------------------------------------------------


def test_a_run_of_the_same_name_gets_a_number_and_nothing_is_overwritten(tmp_path: Path) -> None:
    first = Run.create(tmp_path / "runs", "steel")
    (first.path / "kept.txt").write_text("kept")
    names = [Run.create(tmp_path / "runs", "steel").name for _ in range(3)]
    assert [first.name, *names] == ["steel", "steel-2", "steel-3", "steel-4"]
    assert (first.path / "kept.txt").read_text() == "kept"
    (tmp_path / "runs" / "crops").write_text("a file of that name")
    assert Run.create(tmp_path / "runs", "crops").name == "crops-2"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a b/c", "a-b-c"),
        ("../../etc", "etc"),
        ("..", "run"),
        ("", "run"),
        ("Grübchen é", "Grübchen-é"),
        (".git", "git"),
    ],
)
def test_a_run_never_leaves_the_folder_of_runs(tmp_path: Path, name: str, folder: str) -> None:
    run = Run.create(tmp_path / "runs", name)
    assert run.path == tmp_path / "runs" / folder
    assert run.path.is_dir()


def test_two_processes_that_make_runs_at_once_never_share_one(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from pipeline.runs import Run
while time.time() < float(sys.argv[2]):
    pass
print(*(Run.create(Path(sys.argv[1]), "steel").name for _ in range(40)))
"""
    start = str(time.time() + 1.5)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), start], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    made = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [len(names) for names in made] == [40, 40]
    assert len({*made[0], *made[1]}) == 80
    assert len(list(tmp_path.iterdir())) == 80


def test_opening_what_is_no_run_names_the_absolute_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"no run here \(config\.yaml is missing\)") as caught:
        Run.open("runs/gone")
    assert str(tmp_path / "runs" / "gone") in str(caught.value)


def test_what_was_not_written_yet_reads_as_empty(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert (run.config, run.environment, run.data_record, run.state) == ({}, {}, {}, {})
    assert (run.findings(), run.events(), run.evaluations()) == ([], [], {})
    assert run.steps().is_empty()
    assert run.epochs().is_empty()
    assert dict(run.detections("val").schema) == DETECTIONS_SCHEMA
    assert not run.is_being_trained()
    assert files_below(tmp_path) == []


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    for name, started in (("b", "2026-03-02T10:00:00+00:00"), ("a", "2026-03-03T09:00:00+00:00"), ("c", "2026-03-01")):
        _run(tmp_path, name, started=started)
    (tmp_path / "notes").mkdir()
    (tmp_path / "loose.txt").touch()
    assert [run.name for run in list_runs(tmp_path)] == ["a", "b", "c"]
    assert list_runs(tmp_path / "gone") == []


@pytest.mark.parametrize("content", [b"", b'{"state": "runn', b"\xff\xfe", b"[1, 2]", b'"text"', b"7", b"null"])
def test_one_broken_state_hides_no_other_run(tmp_path: Path, content: bytes) -> None:
    for name, started in (("old", "2026-03-01"), ("broken", "2026-03-02"), ("new", "2026-03-03")):
        _run(tmp_path, name, started=started)
    (tmp_path / "broken" / "state.json").write_bytes(content)
    assert [run.name for run in list_runs(tmp_path)] == ["new", "old", "broken"]
    broken = Run(tmp_path / "broken")
    assert broken.condition["state"] == "damaged"
    assert str(broken.path / "state.json") in broken.condition["reason"]
    assert Run(tmp_path / "old").condition == Run(tmp_path / "old").state
    with pytest.raises(RunError, match=r"state\.json"):
        _ = broken.state
    with pytest.raises(RunError, match=r"state\.json"):
        broken.is_being_trained()  # so that it is not taken up again as if nothing had been done
    with pytest.raises(RunError, match=r"state\.json"):
        broken.update_state(state="complete")
    assert (broken.path / "state.json").read_bytes() == content


# ---- is it being trained --------------------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that does nothing."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_living_process_on_this_machine_is_training(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    run = _run(tmp_path, pid=sleeper.pid, host=platform.node())
    assert run.is_being_trained()
    run.update_state(host="another-machine")
    assert not run.is_being_trained()
    run.update_state(host=platform.node(), state="complete")
    assert not run.is_being_trained()


def test_a_process_that_ended_is_not_training_even_before_its_parent_looks(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    run = _run(tmp_path, pid=sleeper.pid, host=platform.node())
    sleeper.kill()
    until = time.time() + 10
    while run.is_being_trained() and time.time() < until:
        time.sleep(0.01)
    assert psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE
    assert not run.is_being_trained()
    sleeper.wait()
    assert not run.is_being_trained()


def test_a_number_that_another_process_got_after_a_restart_is_not_training(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    run = _run(tmp_path, pid=sleeper.pid, host=platform.node())
    long_ago = time.time() - 3600
    os.utime(run.path / "state.json", (long_ago, long_ago))
    assert not run.is_being_trained()


@pytest.mark.parametrize("pid", [None, 0, pytest.param(os.getpid(), id="this"), 2**22 + 5, "12", 3.5])
def test_no_process_and_this_very_process_are_not_training(tmp_path: Path, pid: Any) -> None:
    assert not _run(tmp_path, pid=pid, host=platform.node()).is_being_trained()


# ---- history --------------------------------------------------------------------------------------------------------

_VALUES = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),  # with line ends, quotes and signs of every kind
    st.none(),
    st.booleans(),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.dictionaries(st.text(max_size=5), _VALUES, max_size=4), max_size=3), max_size=4))
def test_records_come_back_as_they_were_appended(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[dict[str, Any]]]
) -> None:
    run = Run(tmp_path_factory.mktemp("run"))
    for batch in batches:
        run.append(STEPS, batch)
    assert run.records(STEPS) == [record for batch in batches for record in batch]


def test_histories_become_tables(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.append(STEPS, [{"step": 0, "loss": 1, "clipped": None}, {"step": 1, "loss": 0.5, "clipped": True, "late": 3}])
    run.append(EPOCHS, [{"epoch": 0, "fitness": 0.25}])
    run.append(EVENTS, [{"event": "start", "epoch": 0}])
    assert run.steps().to_dict(as_series=False) == {
        "step": [0, 1],
        "loss": [1.0, 0.5],
        "clipped": [None, True],
        "late": [None, 3],
    }
    assert run.epochs().rows() == [(0, 0.25)]
    assert run.events() == [{"event": "start", "epoch": 0}]


def test_numbers_that_are_none_become_null_and_are_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.append(
        STEPS, [{"loss": math.nan, "norm": math.inf, "layers": {"a": -math.inf, "b": [1.0, math.nan]}, "ok": 1.0}]
    )
    assert run.records(STEPS) == [
        {
            "loss": None,
            "norm": None,
            "layers": {"a": None, "b": [1.0, None]},
            "ok": 1.0,
            "non_finite": ["loss", "norm", "layers.a", "layers.b.1"],
        }
    ]
    assert "NaN" not in (tmp_path / "history" / "steps.jsonl").read_text()


@pytest.mark.parametrize("tail", ['{"step": 3, "lo', '{"step": 3}', "\0\0\0\0", "é".encode()[:1], "x" * 100_000])
def test_a_torn_last_line_is_not_read_and_glues_nothing_together(tmp_path: Path, tail: str | bytes) -> None:
    run = Run(tmp_path)
    run.append(STEPS, [{"step": 1}, {"step": 2}])
    with (tmp_path / "history" / "steps.jsonl").open("ab") as file:
        file.write(tail.encode() if isinstance(tail, str) else tail)
    assert run.records(STEPS) == [{"step": 1}, {"step": 2}]
    run.append(STEPS, [{"step": 3, "loss": 0.5}])
    assert run.records(STEPS) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5}]
    assert (tmp_path / "history" / "steps.jsonl").read_bytes().count(b"\n") == 3


def test_a_history_that_is_nothing_but_a_torn_line_starts_anew(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "steps.jsonl").write_text('{"step": 0, "loss"')
    run.append(STEPS, [{"step": 0}])
    assert run.records(STEPS) == [{"step": 0}]


@pytest.mark.parametrize("line", ["{oops}", "[1, 2]", "7", ""])
def test_a_spoilt_line_in_the_middle_is_named(tmp_path: Path, line: str) -> None:
    run = Run(tmp_path)
    run.append(STEPS, [{"step": 1}])
    with (tmp_path / "history" / "steps.jsonl").open("a") as file:
        file.write(f'{line}\n{{"step": 3}}\n')
    with pytest.raises(RunError, match=r"steps\.jsonl:2: not a record"):
        run.records(STEPS)


def _history(run: Run, first_epoch: int, last_epoch: int, *, torn: bool = False) -> None:
    """Write three steps for each epoch and the epoch's record, as training does; the last epoch may lack its record."""
    for epoch in range(first_epoch, last_epoch + 1):
        run.append(STEPS, [{"step": 3 * epoch + n, "epoch": epoch, "loss": math.nan if n else 1.0} for n in range(3)])
        if not (torn and epoch == last_epoch):
            run.append(EPOCHS, [{"epoch": epoch, "fitness": 0.1}])


def test_rewinding_gives_every_step_once_and_keeps_the_resumes(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.append(EVENTS, [{"event": "start", "epoch": 0}, {"event": "warmup_end", "epoch": 2}])
    _history(run, 0, 3, torn=True)
    for resumed in range(2):  # killed in epoch 3 twice over
        run.rewind(3)
        run.append(
            EVENTS, [{"event": "resume", "epoch": 3, "text": f"number {resumed}"}, {"event": "best", "epoch": 3}]
        )
        _history(run, 3, 3 if resumed == 0 else 5, torn=resumed == 0)
    assert [record["step"] for record in run.records(STEPS)] == list(range(18))
    assert [record["epoch"] for record in run.records(EPOCHS)] == list(range(6))
    assert [event.get("text", event["event"]) for event in run.events()] == [
        "start",
        "warmup_end",
        "number 0",
        "number 1",
        "best",
    ]
    assert run.records(STEPS)[1] == {"step": 1, "epoch": 0, "loss": None, "non_finite": ["loss"]}


def test_rewinding_to_the_start_leaves_nothing_but_the_resumes(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.append(EVENTS, [{"event": "start", "epoch": 0}, {"event": "resume", "epoch": 2}])
    _history(run, 0, 2)
    with (tmp_path / "history" / "steps.jsonl").open("a") as file:
        file.write('{"step": 9, "ep')
    run.rewind(0)
    assert (run.records(STEPS), run.records(EPOCHS)) == ([], [])
    assert run.events() == [{"event": "resume", "epoch": 2}]


# ---- records of a run -----------------------------------------------------------------------------------------------


def test_the_state_changes_key_by_key(tmp_path: Path) -> None:
    run = _run(tmp_path, started="2026-03-01")
    run.update_state(epochs_done=3)
    state = run.state
    assert state.pop("updated")
    assert state == {"state": "running", "started": "2026-03-01", "epochs_done": 3}


def test_a_finding_of_the_same_id_is_replaced(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first = [Finding("a.one", "info", "1"), Finding("a.two", "error", "2", {"n": 2}, "do")]
    run.add_findings(first)
    run.add_findings([Finding("a.one", "warning", "new"), Finding("a.three", "info", "3")])
    assert run.findings() == [Finding("a.one", "warning", "new"), first[1], Finding("a.three", "info", "3")]


def test_the_dataset_comes_back_whole(tmp_path: Path) -> None:
    pictures = {1: {"group": "b1"}, 5: {"split": "val"}, 7: {"split": None}}
    dataset = dataset_of(
        [box(1, 0, 1.25, 2, 30, 40), box(5, 1, 0, 0, 9, 9, crowd=True)], pictures=pictures, root=tmp_path
    )
    run = Run(tmp_path / "run")
    run.save_dataset(dataset)
    again = run.dataset()
    assert again.images.equals(dataset.images)
    assert again.boxes.equals(dataset.boxes)
    assert (again.names, again.root) == (dataset.names, tmp_path)
    assert again.fingerprint() == dataset.fingerprint()
    assert again.value_range is None
    assert run.data_record["counts"] == dataset.counts()


def test_the_fingerprint_knows_the_content_of_the_pictures(tmp_path: Path) -> None:
    dataset = dataset_of([box(1, 0, 1, 2, 30, 40)], root=tmp_path)
    for content in (b"one" * 100_000, b"one" * 50_000 + b"two" * 50_000):  # same size, same first bytes
        (tmp_path / "1.png").write_bytes(content)
        (tmp_path / "2.png").write_bytes(b"other")
        Run(tmp_path / content[-3:].decode()).save_dataset(dataset)
    first, second = (Run(tmp_path / name).data_record["fingerprint"] for name in ("one", "two"))
    assert first != second
    Run(tmp_path / "again").save_dataset(dataset)
    assert Run(tmp_path / "again").data_record["fingerprint"] == second


def test_a_value_range_and_the_intake_come_back(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert (run.ledger(), run.audit) == (None, {})
    run.save_dataset(replace(dataset_of([], root=tmp_path), value_range=(12.0, 4095.5)))
    assert run.dataset().value_range == (12.0, 4095.5)
    ledger = rejected_rows([("labels.not_parsed", "a.txt:1", "dropped", "what")])
    run.save_intake(ledger, {"rows": {"read": 1}})
    kept = run.ledger()
    assert kept is not None
    assert kept.equals(ledger)
    assert run.audit == {"rows": {"read": 1}}


@pytest.mark.parametrize("spoil", ["dataset/images.parquet", "dataset/boxes.parquet", "data.json"])
@pytest.mark.parametrize("content", [None, b"PAR1 and no more", b"{}"])
def test_a_spoilt_dataset_is_a_run_error(tmp_path: Path, spoil: str, content: bytes | None) -> None:
    run = Run(tmp_path)
    run.save_dataset(dataset_of([], root=tmp_path))
    (tmp_path / spoil).unlink() if content is None else (tmp_path / spoil).write_bytes(content)
    with pytest.raises(RunError, match="cannot be read"):
        run.dataset()


def test_an_evaluation_comes_back_whole(tmp_path: Path) -> None:
    run = Run(tmp_path)
    found = pl.DataFrame([(3, 1, 0.75, 1.0, 2.0, 3.0, 4.0)], schema=DETECTIONS_SCHEMA, orient="row")
    folder = run.save_evaluation("val", {"map50": 0.5, "map75": math.nan}, {"detections": found})
    assert folder == tmp_path / "eval" / "val"
    assert run.evaluations() == {"val": {"map50": 0.5, "map75": None}}
    assert run.detections("val").equals(found)
    assert run.detections("test").is_empty()
    (folder / "detections.parquet").write_bytes(b"no parquet")
    with pytest.raises(RunError, match=r"detections\.parquet: cannot be read .*; evaluate again"):
        run.detections("val")


@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("config.yaml", lambda run: run.config),
        ("environment.json", lambda run: run.environment),
        ("data.json", lambda run: run.data_record),
        ("findings.json", lambda run: run.findings()),
        ("eval/val/metrics.json", lambda run: run.evaluations()),
    ],
)
@pytest.mark.parametrize("content", [b'{"a": [', b"\xff\xfe\x00", b"7", b'["text"]'])
def test_a_spoilt_record_is_named(tmp_path: Path, file: str, read: Callable[[Run], Any], content: bytes) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read(Run(tmp_path))
    assert str(path) in str(caught.value)


def test_what_json_prints_of_a_run_is_json(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.add_findings([Finding("a.one", "info", "1", {"share": math.nan})])
    run.save_evaluation("val", {"map50": 0.5}, {"detections": pl.DataFrame(schema=DETECTIONS_SCHEMA)})
    document = json.loads(json.dumps(run.to_dict(), allow_nan=False))
    assert document["name"] == "steel"
    assert document["evaluations"]["val"]["map50"] == 0.5
    assert document["findings"][0]["evidence"] == {"share": None}
