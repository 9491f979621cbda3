"""Bad input through the command line: a clear message, the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import cli
from pipeline.runs import Run


class Outcome:
    """What a person saw, and the exit code."""

    def __init__(self, code: int, printed: str) -> None:
        self.code, self.printed = code, printed


@pytest.fixture
def tuneup(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `tuneup ...` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        printed = capsys.readouterr()
        text = printed.out + printed.err
        assert "Traceback" not in text
        assert "bug" not in text
        return Outcome(int(ended.value.code or 0), " ".join(text.split()))

    return call


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.target}",))


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["train", "train.epoch=3"], 2, "train.epoch: unknown key; did you mean train.epochs?"),
        (["train", "epochs=three", "imgsz=abc", "lr=1"], 2, "3 mistakes"),
        (["train", "epochs=three"], 2, "train.epochs: should be"),
        (["train", "nowhere.yaml"], 2, "no such file"),
        (["train"], 2, "data.path: not set"),
        (["train", "one.yaml", "two.yaml"], 2, "one subject is expected"),
        (["train", "--no-such-option"], 2, "--no-such-option"),
        (["train", "--resume", "nowhere"], 2, "no run here"),
        (["no-such-verb"], 2, "no-such-verb"),
        (["eval"], 2, "no run here yet"),
        (["eval", "nowhere"], 2, "no run here"),
        (["eval", "nowhere.pt", "data=x"], 2, "nowhere.pt"),
        (["report", "nowhere"], 2, "no run here"),
        (["demo", "wood", "somewhere"], 2, "steel"),
        (["train", "data=nowhere", "model=yolo26n.yaml"], 3, "no such file or folder"),
        (["train", "data=.", "model=yolo26n.yaml"], 3, "no dataset found"),
        (["train", "data=.", "model=yolo26q.yaml"], 2, "no architecture 'yolo26q.yaml'; did you mean yolo26"),
        (["train", "data=.", "model=yolo26x6.pt"], 2, "did you mean"),
        (["train", "data=.", "model=weights/mine.pt"], 2, "no such file"),
        (["train", "data=.", "model=resnet"], 2, "neither a checkpoint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage(tuneup: Any, words: list[str], code: int, text: str) -> None:
    outcome = tuneup(*words)
    assert outcome.code == code, outcome.printed
    assert text in outcome.printed
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("yaml", "text"),
    [
        ("train: images/train\n", "names"),
        ("train: images/train\nnames: [a]\ndownload: |\n  open('pwned', 'w')\n", "data.yaml:3: `download:`"),
        ("train: images/train\nnames: [a]\ndownload: touch pwned\n", "`download:`"),
        ("train: !!python/object/apply:os.system ['touch pwned']\nnames: [a]\n", "tags are not allowed"),
        ("train: images/nowhere\nnames: [a]\n", "images/nowhere"),
        ("names: [a]\n", "no split"),
        ("train: [images\n", "data.yaml:"),
        ("train: images/train\nnames: [a, a]\n", "twice"),
        ("train: images/train\nnames: [square]\n", "names has 1 (0)"),
    ],
    ids=[
        "no names",
        "download",
        "download shell",
        "python tag",
        "missing folder",
        "no split",
        "syntax",
        "twice",
        "class",
    ],
)
def test_wrong_data_yaml(tuneup: Any, tiny_data: Path, tmp_path: Path, yaml: str, text: str) -> None:
    shutil.copytree(tiny_data, tmp_path / "set")
    (tmp_path / "set" / "data.yaml").write_text(yaml)
    outcome = tuneup("train", "data=set", "model=yolo26n.yaml")
    assert outcome.code == 3, outcome.printed
    assert text in outcome.printed
    assert not list(tmp_path.rglob("pwned"))
    assert not Path("runs").exists()


def test_all_bad_rows_are_named_at_once(tuneup: Any, tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data, tmp_path / "set")
    (tmp_path / "set/labels/train/train_000.txt").write_text("0 0.5 0.5 0.1 0.1\nsquare 1 2\n7 .5 .5 .1 .1\n")
    (tmp_path / "set/labels/val/val_000.txt").write_text("-1 0.5 0.5 0.1 0.1\n")
    outcome = tuneup("train", "data=set", "model=yolo26n.yaml")
    assert outcome.code == 3
    for where in ("class -1 in 1 row of 1 file", "class 7", "train_000.txt:3", "val_000.txt:1"):
        assert where in outcome.printed
    audited = tuneup("audit", "set", "--labels-only")
    assert audited.code == 1
    assert "1 label row: cannot be read as a box" in audited.printed


def test_a_damaged_picture_is_named(tuneup: Any, tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data, tmp_path / "set")
    (tmp_path / "set/images/train/train_003.png").write_bytes(b"")
    (tmp_path / "set/images/train/page.jpg").write_text("<html>not found</html>")
    outcome = tuneup("audit", "set", "--labels-only", "--json")
    found = {finding["id"]: finding["evidence"].get("pictures") for finding in json.loads(outcome.printed)["findings"]}
    assert found["images.empty_file"] == ["images/train/train_003.png"]
    assert found["images.not_a_picture"] == ["images/train/page.jpg"]


def test_a_corrupt_checkpoint(tuneup: Any, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 this is no checkpoint")
    outcome = tuneup("train", f"data={tiny_data}", "model=broken.pt")
    assert outcome.code == 2
    assert "broken.pt: not a checkpoint that can be read" in outcome.printed


def test_a_hostile_checkpoint_is_refused_and_not_run(tuneup: Any, tiny_data: Path, tmp_path: Path) -> None:
    target = tmp_path / "pwned"
    torch.save({"model": Hostile(target), "train_args": {}}, tmp_path / "hostile.pt")
    for words in (("train", f"data={tiny_data}", "model=hostile.pt"), ("eval", "hostile.pt", f"data={tiny_data}")):
        outcome = tuneup(*words)
        assert outcome.code == 2
        assert "could run code of its own" in outcome.printed
        assert not target.exists()


def test_an_error_is_json_where_json_was_asked_for(tuneup: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["eval", "nowhere", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert ended.value.code == document["exit_code"] == 2
    assert "no run here" in document["error"]


def test_a_gpu_that_is_not_there(tuneup: Any, tiny_overrides: list[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    outcome = tuneup("train", *tiny_overrides, "device=0")
    assert outcome.code == 2
    assert "CUDA" in outcome.printed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB: room for the start of a run, not for its weights."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(tuneup: Any, tiny_overrides: list[str], small_disk: Path) -> None:
    outcome = tuneup("train", *tiny_overrides, f"runs={small_disk}", "name=full")
    assert outcome.code == 2
    assert "the disk is full" in outcome.printed
    run = Run.open(small_disk / "full")
    assert run.steps().height > 0
    assert run.state["state"] == "failed"


def test_a_folder_that_cannot_be_written(tuneup: Any, tiny_overrides: list[str], small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    outcome = tuneup("train", *tiny_overrides, f"runs={small_disk}/runs")
    assert outcome.code == 2
    assert "not writable" in outcome.printed


def test_runs_where_a_file_is(tuneup: Any, tiny_overrides: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = tuneup("train", *tiny_overrides, f"runs={tmp_path / 'file'}")
    assert outcome.code == 2
    assert str(tmp_path / "file") in outcome.printed
