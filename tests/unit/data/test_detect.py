"""Which format a folder or file holds: what tells it, and what must not fool it."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, draw, yolo_set
from test_cvat import PLAIN, cvat, image
from test_label_studio import annotation, export, region, task
from test_labelme import labelme, shape
from test_voc import obj, voc

from pipeline.data.formats import READERS, Detected, detect_format, reader
from pipeline.errors import DataError

SHARED = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data"
COCO = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "pit"}]}


def _coco(folder: Path) -> Path:
    draw(folder / "a.png")
    (folder / "train.json").write_text(json.dumps(COCO))
    return folder


def _yolo_plain(folder: Path) -> Path:
    """Write pictures with label files beside them and a classes.txt, as LabelImg does."""
    draw(folder / "a.png")
    (folder / "a.txt").write_text("0 .5 .5 .2 .2\n")
    (folder / "classes.txt").write_text("pit\n")
    return folder


SETS: dict[str, Any] = {
    "yolo": lambda folder: yolo_set(folder, {"train/a.png": "0 .5 .5 .2 .2\n"}),
    "coco": _coco,
    "voc": lambda folder: voc(folder / "Annotations" / "a.xml", obj(), picture="../JPEGImages/a.png").parent,
    "labelme": lambda folder: labelme(folder / "a.json", shape()),
    "cvat": lambda folder: cvat(folder / "annotations.xml", image("a.png", PLAIN)),
    "label_studio": lambda folder: export(folder / "project.json", task(1, "a.png", annotation(region()))),
}
FILES = {
    "yolo": ("data.yaml", "YOLO"),
    "coco": ("train.json", "COCO"),
    "voc": ("Annotations/a.xml", "Pascal VOC"),
    "labelme": ("a.json", "LabelMe"),
    "cvat": ("annotations.xml", "CVAT for images"),
    "label_studio": ("project.json", "Label Studio"),
}


@pytest.mark.parametrize("name", list(READERS))
def test_each_format_is_told_by_a_folder_or_a_file(tmp_path: Path, name: str) -> None:
    SETS[name](tmp_path)
    file, called = FILES[name]
    assert detect_format(tmp_path) == Detected(name, f"{file} is {called}")
    assert detect_format(tmp_path / file) == Detected(name, f"{Path(file).name} is {called}")


def test_a_yolo_folder_without_data_yaml_is_told(tmp_path: Path) -> None:
    assert detect_format(_yolo_plain(tmp_path)).format == "yolo"


@pytest.mark.parametrize("name", list(READERS))
def test_two_formats_in_one_folder_are_both_named(tmp_path: Path, name: str) -> None:
    other = "voc" if name != "voc" else "coco"
    SETS[name](tmp_path)
    SETS[other](tmp_path)
    with pytest.raises(DataError, match="holds more than one format") as caught:
        detect_format(tmp_path)
    for one in (name, other):
        assert f"{FILES[one][0]} is {FILES[one][1]}" in str(caught.value)
        assert f"data.format={one}" in str(caught.value)


@pytest.mark.parametrize("name", ["voc", "labelme", "cvat", "label_studio", "coco"])
def test_a_list_of_classes_makes_no_yolo(tmp_path: Path, name: str) -> None:
    SETS[name](tmp_path)
    (tmp_path / "classes.txt").write_text("pit\nscratch\n")
    assert detect_format(tmp_path).format == name


def test_lists_of_splits_make_no_yolo(tmp_path: Path) -> None:
    SETS["voc"](tmp_path)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    assert detect_format(tmp_path).format == "voc"


def test_words_of_coco_in_another_file_make_no_coco(tmp_path: Path) -> None:
    words = '"images" "annotations" "categories"'
    labelme(tmp_path / "labelme" / "a.json", shape(label=words), images=[], annotations=[], categories=[])
    assert detect_format(tmp_path / "labelme").format == "labelme"
    export(tmp_path / "studio" / "a.json", {**task(1, "a.png", annotation(region())), "images": []})
    assert detect_format(tmp_path / "studio").format == "label_studio"


def test_files_of_other_kinds_are_no_dataset(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "notes.json").write_text('{"categories": [], "info": {}}')
    (tmp_path / "pom.xml").write_text("<project/>")
    (tmp_path / "readme.txt").write_text("pictures of steel\n")
    (tmp_path / ".hidden.xml").write_text("<annotation/>")
    for place in (tmp_path, tmp_path / "notes.json", tmp_path / "pom.xml", tmp_path / "a.png"):
        with pytest.raises(DataError, match=r"no dataset found; expected a data\.yaml"):
            detect_format(place)


def test_a_run_is_no_dataset_and_hides_none(tmp_path: Path) -> None:
    SETS["voc"](tmp_path)
    run = tmp_path / "runs" / "one"
    for name in ("config.yaml", "environment.json", "data.json", "findings.json"):
        run.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    export(run / "eval.json", task(1, "a.png", annotation(region())))
    assert detect_format(tmp_path).format == "voc"
    with pytest.raises(DataError, match="a run of this program, not a dataset"):
        detect_format(run)


def test_an_archive_is_to_be_unpacked_first(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.yaml", "w") as packed:  # by its content, not by its name
        packed.writestr("data.yaml", "names: [pit]")
    with pytest.raises(DataError, match=r"an archive; `tuneup import .*set\.yaml FOLDER` unpacks and reads it"):
        detect_format(tmp_path / "set.yaml")


def test_what_is_not_there_is_said_with_a_hint_for_the_demo(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file or folder$"):
        detect_format(tmp_path / "gone")
    with pytest.raises(DataError, match="made by `make demo`"):
        detect_format(tmp_path / "datasets" / "steel")


def test_readers_are_found_by_name(tmp_path: Path) -> None:
    assert all(reader(name) is READERS[name] for name in SETS)
    with pytest.raises(DataError, match=r"data\.format: 'tfrecord' is not a known format \(yolo, coco, voc, "):
        reader("tfrecord")


def test_a_large_folder_is_told_by_a_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SETS["voc"](tmp_path)
    for number in range(300):
        (tmp_path / "Annotations" / f"b{number}.xml").write_text("<annotation/>")
    opened: list[Path] = []
    plain = Path.open

    def counting(self: Path, *args: Any, **more: Any) -> Any:
        opened.append(self)
        return plain(self, *args, **more)

    monkeypatch.setattr(Path, "open", counting)
    assert detect_format(tmp_path).format == "voc"
    assert len(opened) < 100


@pytest.mark.parametrize(("name", "format"), [("bccd", "voc"), ("deeppcb", "coco")])
def test_real_sets_are_told(name: str, format: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the pictures of {name} are not here (TUNEUP_SHARED names their folder)")
    assert detect_format(SHARED / name).format == format
