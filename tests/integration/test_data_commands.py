"""audit, import, split and tile as a person meets them: the printed sum, the written sets, refusals, exit codes."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline import cli

BAD_ROWS = "0 .5 .5 .2 .2\n0 .5 .5 .2 .2\n1 .9 .5 .4 .2\n0 .5 .5 0 .2\n1,0.3,0.3,0.2,0.2\nwhat is this\n"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `tuneup ...` in this process, in an empty folder; returns the exit code and what was printed."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return int(ended.value.code or 0), printed.out + printed.err

    return run


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A YOLO set of 12 pictures whose first label file has one of most bad rows."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "messy"
    for number in range(12):
        picture = folder / "images" / f"board{number // 3}_{number}.png"
        label = folder / "labels" / f"board{number // 3}_{number}.txt"
        for place in (picture, label):
            place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(picture)
        label.write_text(BAD_ROWS if number == 0 else f"{number % 2} .4 .4 .3 .3\n")
    (folder / "data.yaml").write_text("train: images\nnames: [pit, scratch]\n")
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_audit_prints_the_sum_of_the_ledger_and_changes_nothing(call: Any, messy: Path) -> None:
    before = _files(messy)
    code, printed = call("audit", "messy")
    text = " ".join(printed.split())
    assert code == 0, printed
    assert "17 label rows read = 12 kept + 2 repaired + 3 dropped + 0 refused" in text
    assert "data.yaml" in text
    for key in ("duplicate", "outside_clipped", "no_size", "separator", "not_parsed"):
        assert f"(labels.{key})" in text
    assert _files(messy) == before


def test_audit_as_json_is_one_document_and_agrees_with_the_python_call(
    messy: Path, tuneup: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = tuneup("audit", "messy", "--json")
    document = json.loads(done.stdout)
    assert document["rows"] == {"read": 17, "kept": 12, "repaired": 2, "dropped": 3, "refused": 0}
    assert document["format"] == "yolo"
    called = pipeline.audit(messy).to_dict()
    assert {f["id"] for f in called["findings"]} == {f["id"] for f in document["findings"]}


def test_audit_of_what_is_refused_says_so_with_exit_code_1(call: Any, messy: Path) -> None:
    (messy / "labels" / "board3_9.txt").write_text("7 .4 .4 .3 .3\n")
    code, printed = call("audit", "messy", "--labels-only")
    assert code == 1
    assert "class 7 in 1 row of 1 file" in " ".join(printed.split())
    code, printed = call("train", "data=messy", "model=yolo26n.yaml")
    assert code == 3
    assert "class 7 in 1 row of 1 file" in " ".join(printed.split())


def test_the_page_of_the_audit_shows_pictures_and_loads_nothing(call: Any, messy: Path) -> None:
    code, _ = call("audit", "messy", "--page", "audit.html")
    assert code == 0
    page = Path("audit.html").read_text("utf-8")
    assert "data:image/jpeg;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "labels.outside_clipped" in page


def test_a_configuration_and_a_data_yaml_are_told_apart(call: Any, messy: Path) -> None:
    Path("run.yaml").write_text("data: messy\ntrain: {imgsz: 64}\n")
    for subject in ("run.yaml", "messy/data.yaml", "messy"):
        code, printed = call("audit", subject, "--labels-only")
        assert code == 0
        assert "17 label rows read" in printed


@pytest.mark.parametrize("to", ["yolo", "coco", "voc"])
def test_import_writes_a_clean_set_that_reads_back_and_leaves_the_source(call: Any, messy: Path, to: str) -> None:
    before = _files(messy)
    code, printed = call("import", "messy", "clean", "--to", to)
    assert code == 0, printed
    assert _files(messy) == before
    again = pipeline.read_dataset("clean")
    assert again.counts() == {"read": 14, "kept": 14, "repaired": 0, "dropped": 0, "refused": 0}
    assert again.dataset.names == ("pit", "scratch")
    record = json.loads(Path("clean/import.json").read_text())
    assert record["rows"]["read"] == 17
    ledger = Path("clean/ledger.csv").read_text()
    assert "labels.not_parsed" in ledger
    assert "what is this" in ledger


def test_import_says_what_the_format_cannot_carry(call: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "coco").mkdir()
    Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(tmp_path / "coco" / "a.png")
    boxes = [{"id": n, "image_id": 1, "category_id": 1, "bbox": [5 * n, 5, 20, 20], "iscrowd": n % 2} for n in range(5)]
    document = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": boxes}
    (tmp_path / "coco" / "train.json").write_text(json.dumps({**document, "categories": [{"id": 1, "name": "pit"}]}))
    code, printed = call("import", "coco", "out", "--json")
    written = json.loads(printed)
    assert code == 0
    (finding,) = [f for f in written["findings"] if f["id"] == "labels.not_carried"]
    assert finding["evidence"]["count"] == 2
    assert written["counts"]["train"]["boxes"] == 3
    assert pipeline.read_dataset("out").dataset.boxes.height == 3


def test_import_reads_an_archive_and_copies_its_pictures(call: Any, messy: Path) -> None:
    with zipfile.ZipFile("export.zip", "w") as archive:
        for path in sorted(messy.rglob("*")):
            archive.write(path, path.relative_to(messy.parent))
    code, printed = call("import", "export.zip", "clean")
    assert code == 0, printed
    pictures = [path for path in Path("clean/images").rglob("*.png")]
    assert len(pictures) == 12
    assert not any(path.is_symlink() for path in pictures)
    assert sorted(p.name for p in Path(".").iterdir()) == ["clean", "export.zip", "messy"]  # nothing else is left


def test_import_refuses_to_write_over_or_into_anything(call: Any, messy: Path) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    assert call("import", "messy", "full")[0] == 2
    assert call("import", "messy", "messy/out")[0] == 2
    assert call("import", "messy", "out", "--to", "tfrecord")[0] == 2
    assert call("import", "messy")[0] == 2
    assert not (messy / "out").exists()
    assert [p.name for p in Path("full").iterdir()] == ["mine.txt"]


def test_import_remaps_and_keeps_classes(call: Any, messy: Path) -> None:
    code, printed = call("import", "messy", "one", "data.remap={scratch: pit}")
    assert code == 0, printed
    assert pipeline.read_dataset("one").dataset.names == ("pit",)
    code, printed = call("import", "messy", "two", "keep=[pitt]")
    assert code == 3
    assert "did you mean" in printed.lower()
    assert not Path("two").exists()


def test_split_divides_by_group_and_says_how_near_it_came(call: Any, messy: Path) -> None:
    group = r"data.group=(board\d)_"
    code, printed = call("split", "messy", "parts", "val_fraction=0.25", "test_fraction=0.25", group)
    assert code == 0, printed
    dataset = pipeline.read_dataset("parts").dataset
    assert dict(dataset.images.group_by("split").len().iter_rows()) == {"train": 6, "val": 3, "test": 3}
    boards = dataset.images.with_columns(board=dataset.images["path"].str.extract(r"(board\d)"))
    assert boards.group_by("board").agg(n=boards["split"].n_unique()).height == 4
    assert all(part["split"].n_unique() == 1 for part in boards.partition_by("board"))
    assert "pit" in printed


def test_tile_cuts_as_prediction_will_and_the_tiles_train(call: Any, messy: Path) -> None:
    code, printed = call("tile", "messy", "tiles", "tile=64", "overlap=0.25")
    assert code == 0, printed
    intake = pipeline.read_dataset("tiles")
    assert set(intake.dataset.images.select("width", "height").unique().rows()) == {(64, 64)}
    assert intake.dataset.images["group"].null_count() == 0  # tiles follow their picture
    assert intake.dataset.images["group"].n_unique() <= 12
    assert call("tile", "messy", "again")[0] == 2


def test_a_run_keeps_ledger_audit_and_findings_and_its_report_shows_them(tiny_run: pipeline.Run) -> None:
    assert tiny_run.ledger() is not None
    assert tiny_run.audit["rows"]["read"] == tiny_run.audit["rows"]["kept"] > 0
    page = (tiny_run.path / "report.html").read_text("utf-8")
    assert "The data" in page
    assert "label rows read" in page
