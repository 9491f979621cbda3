"""contract and preview as a person meets them, and what a training does with a policy that breaks the contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import pytest

from pipeline import augment_verbs, cli, verbs
from pipeline.errors import TrainingError
from pipeline.runs import Run

BLACK = "augment.transforms=[{RandomBrightnessContrast: {brightness_limit: [-1.0, -0.99], p: 1}}]"
QUICK = ["contract.pictures=6", "imgsz=64"]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `tuneup ...` in this process, in an empty folder; returns the exit code, and both outputs."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_contract_prints_a_row_per_entry_and_agrees_with_its_json(call: Any, tiny_data: Path) -> None:
    policy = ["augment.policy=none", "augment.fliplr=0.5", "augment.transforms=[{GaussNoise: {p: 0.5}}]"]
    code, printed, _ = call("contract", str(tiny_data), *policy, *QUICK)
    assert code == 0
    as_json, document, _ = call("contract", str(tiny_data), *policy, *QUICK, "--json")
    assert as_json == 0
    record = json.loads(document)
    entries = [row["entry"] for row in record["entries"]]
    assert entries[:-1] == ["GaussNoise", "fliplr"]
    assert all(entry in printed for entry in entries)


def test_contract_ends_with_1_on_an_error_and_names_the_transform(call: Any, tiny_data: Path) -> None:
    code, printed, _ = call("contract", str(tiny_data), "augment.policy=none", BLACK, *QUICK)
    assert code == 1
    assert "RandomBrightnessContrast" in printed
    assert "black" in printed


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["augment=metel"], 2, "metal"),
        (["augment.policy=none", "augment.transforms=[{GausNoise: {p: 1}}]"], 2, "GaussNoise"),
        (["augment.policy=none", "augment.transforms=[{GaussNoise: {std: 1}}]"], 2, "std_range"),
        (["augment.policy=none", "augment.transforms=[{Normalize: {p: 1}}]"], 2, "Normalize"),
        (["augment.copy_paste={quotas: {scratch: 0.2}}"], 2, "scratch"),
    ],
    ids=["policy", "transform", "parameter", "refused", "class"],
)
def test_what_cannot_be_built_is_said_in_words(
    call: Any, tiny_data: Path, words: list[str], code: int, says: str
) -> None:
    ended, out, err = call("contract", str(tiny_data), *words, *QUICK)
    assert ended == code, out + err
    assert says in out + err


def test_preview_writes_a_picture_that_can_be_read(call: Any, tiny_data: Path, tmp_path: Path) -> None:
    code, printed, _ = call(
        *("preview", str(tiny_data), "augment.policy=none", "augment.fliplr=0.5", "--out", "seen.png", *QUICK)
    )
    assert code == 0
    assert "seen.png" in printed
    assert cv2.imread(str(tmp_path / "seen.png")).shape[0] > 100


def test_ablate_refuses_in_words_what_it_cannot_compare(call: Any, tiny_data: Path) -> None:
    code, out, err = call("ablate", f"data={tiny_data}", "augment=none", "model=yolo26n.yaml")
    assert code == 2
    assert "there is nothing to leave out; name one: augment=metal" in out + err


def test_a_policy_that_breaks_the_contract_stops_the_training(tiny_overrides: list[str], tmp_path: Path) -> None:
    overrides = [*tiny_overrides, "monitor.preflight=60", "augment.policy=none", BLACK, f"runs={tmp_path}", "name=dark"]
    with pytest.raises(TrainingError, match=r"not started: .*black"):
        verbs.train(overrides=overrides)
    run = Run.open(tmp_path / "dark")
    assert run.steps().height == 0
    assert next(f.severity for f in run.findings() if f.id == "augment.black") == "error"
    assert (run.path / "preview.jpg").is_file()
    assert json.loads((run.path / "contract.json").read_text())["entries"]


def test_objects_from_python_are_proved_as_they_are(tiny_data: Path) -> None:
    transforms = [A.GaussNoise(std_range=(0.02, 0.05), p=0.5)]
    proved = augment_verbs.contract(overrides=[f"data={tiny_data}", "augment=none", *QUICK], transforms=transforms)
    assert proved.contract.measures[0].entry == "GaussNoise"
    assert proved.contract.measures[0].changed == 1.0
