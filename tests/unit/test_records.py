"""Files that outlive a full disk and a power cut: whole or not at all, in whole lines, with the usual rights."""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import files_below

from pipeline.errors import RunError
from pipeline.records import append_lines, read_lines, write_atomic, write_json
from pipeline.runs import STEPS, Run

# ---- whole files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"\x00\xff", "grün\n", "", lambda path: path.write_text("by a function")])
def test_a_file_is_written_whole_with_its_folders(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "deep" / "er" / "file.bin"
    write_atomic(path, content)
    expected = b"by a function" if callable(content) else content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == expected
    assert files_below(tmp_path) == ["deep/er/file.bin"]


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), RuntimeError("torch"), OSError(5, "bad disk")]
)
def test_a_writer_that_fails_half_way_leaves_the_old_content_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise error

    expected = RunError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected, match="bad disk" if isinstance(error, OSError) else None):
        write_atomic(path, half)
    assert path.read_text() == "old"
    assert files_below(tmp_path) == ["file.txt"]


def test_a_reader_meets_only_whole_files_while_they_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"n": 0, "fill": "x" * 100_000})
    code = """
import json, sys
from pathlib import Path
seen = set()
while True:
    n = json.loads(Path(sys.argv[1]).read_bytes())["n"]
    seen.add(n)
    if n == 60:
        break
print(len(seen))
"""
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as reader:
        for number in range(1, 61):
            write_json(path, {"n": number, "fill": "x" * 100_000})
            time.sleep(0.01)
        assert int(reader.communicate(timeout=30)[0]) > 5
        assert reader.returncode == 0


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664), (0o077, 0o600)])
def test_files_get_the_rights_that_the_umask_leaves(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a.txt", "text")
        write_atomic(tmp_path / "b.parquet", pl.DataFrame({"a": [1]}).write_parquet)
        append_lines(tmp_path / "c.jsonl", [{"a": 1}])
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.parquet", "c.jsonl")] == [mode] * 3


def test_a_json_document_has_no_numbers_that_json_lacks(tmp_path: Path) -> None:
    write_json(
        tmp_path / "a.json", {"a": math.nan, "b": [1.5, {"c": -math.inf}], "d": ("x", None, True), "e": np.float64(2)}
    )

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=refuse) == {
        "a": None,
        "b": [1.5, {"c": None}],
        "d": ["x", None, True],
        "e": 2,
    }


# ---- a full disk and a folder that cannot be written ----------------------------------------------------------------


def _torch_save(path: Path) -> None:
    import torch

    torch.save({"weights": torch.zeros(300_000)}, path)


@pytest.mark.parametrize(
    "content",
    [
        b"x" * 400_000,
        "x" * 400_000,
        lambda path: path.write_bytes(b"x" * 400_000),
        pl.DataFrame({"a": np.random.default_rng(0).random(100_000)}).write_parquet,
        _torch_save,
    ],
    ids=["bytes", "text", "function", "polars", "torch"],
)
def test_a_full_disk_is_a_run_error_that_leaves_the_old_file(small_disk: Path, content: Any) -> None:
    path = small_disk / "weights" / "last.pt"
    write_atomic(path, "old")
    with pytest.raises(RunError, match=r"last\.pt: the disk is full; free some space, then continue with --resume"):
        write_atomic(path, content)
    assert path.read_text() == "old"
    assert files_below(small_disk) == ["weights/last.pt"]


def test_a_history_on_a_full_disk_stays_readable_and_goes_on_afterwards(small_disk: Path) -> None:
    run = Run(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 200_000)
    written = 0

    def train_on() -> None:
        nonlocal written
        while True:
            run.append(STEPS, [{"step": written + n, "text": "x" * 300} for n in range(7)])
            written += 7

    with pytest.raises(RunError, match=r"steps\.jsonl: the disk is full"):
        train_on()
    assert written > 50
    assert [record["step"] for record in run.records(STEPS)] == list(range(written))  # all of a call, or none
    with pytest.raises(RunError, match="the disk is full"):
        run.update_state(state="failed", reason="x" * 9000)
    ballast.unlink()
    run.append(STEPS, [{"step": written}])
    run.update_state(state="running")
    assert [record["step"] for record in run.records(STEPS)] == list(range(written + 1))
    assert files_below(small_disk) == ["history/steps.jsonl", "state.json"]


def test_a_folder_that_cannot_be_written_is_a_run_error(small_disk: Path) -> None:
    run = Run.create(small_disk / "runs", "steel")
    run.update_state(state="running")
    run.append(STEPS, [{"step": 0, "epoch": 0}])
    before = {name: (small_disk / name).read_bytes() for name in files_below(small_disk)}
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for write in (
        lambda: write_atomic(run.path / "report.html", "page"),
        lambda: run.append(STEPS, [{"step": 1}]),
        lambda: run.update_state(state="complete"),
        lambda: run.rewind(0),
        lambda: Run.create(small_disk / "runs", "steel"),
    ):
        with pytest.raises(RunError, match="not writable; choose another folder with runs=FOLDER"):
            write()
    assert {name: (small_disk / name).read_bytes() for name in files_below(small_disk)} == before
    assert run.records(STEPS) == [{"step": 0, "epoch": 0}]


def test_a_file_where_a_folder_should_be_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match="choose another folder with runs=FOLDER"):
        Run.create(tmp_path / "runs", "steel")
    with pytest.raises(RunError, match="choose another folder with runs=FOLDER"):
        write_atomic(tmp_path / "runs" / "a" / "b.txt", "text")


def test_lines_of_a_file_that_cannot_be_read_are_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").mkdir()
    with pytest.raises(RunError, match=r"steps\.jsonl: cannot be read"):
        read_lines(tmp_path / "steps.jsonl")
