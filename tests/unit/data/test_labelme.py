"""LabelMe in: every shape it knows, paths from other machines, and files that are broken."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from grammar_labelme import cases
from grammar_voc import written
from helpers import corners, draw, snapshot
from hypothesis import HealthCheck, given, settings

from pipeline.data.formats.labelme import find_labelme, read_labelme
from pipeline.data.intake import read_dataset
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError
from pipeline.findings import Finding
from pipeline.sections import DataConfig

BOX = (3, 4, 20, 25)


def shape(points: Any = ((3, 4), (20, 25)), kind: Any = "rectangle", label: Any = "pit", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def labelme(file: Path, *shapes: Any, picture: str | None = None, **changes: Any) -> Path:
    """Write a JSON file as LabelMe does, and its picture unless `picture` is empty; returns the JSON file's folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": f"{file.stem}.png"}
    document |= {"imageData": "iVBORw0KGgo" * 20_000, "imageHeight": 30, "imageWidth": 40}
    file.write_text(json.dumps(document | changes), "utf-8")
    if picture != "":
        draw(file.parent / (picture or f"{file.stem}.png"))
    return file.parent


def read(path: Path, **settings: Any) -> RawDataset:
    return read_labelme(path, DataConfig(**settings))


def found(raw: RawDataset, id: str) -> Finding:
    return next(finding for finding in raw.findings if finding.id == id)


def ids(raw: RawDataset) -> list[str]:
    return sorted(finding.id for finding in raw.findings)


# ---- shapes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [((3, 4), (20, 25)), ((20, 25), (3, 4)), ((3, 25), (20, 4)), ((20, 4), (3, 25))])
def test_a_rectangle_is_two_points_in_any_order(tmp_path: Path, points: Any) -> None:
    raw = read(labelme(tmp_path / "a.json", shape(points)))
    assert corners(raw.boxes) == [BOX]
    assert raw.boxes.select("source", "notes").rows() == [("a.json:shape 0", None)]
    assert raw.images.rows() == [("a.png", "train", 40, 30)]


@pytest.mark.parametrize(
    ("points", "kind", "box"),
    [
        ([(3, 9), (20, 4), (8, 25)], "polygon", BOX),
        ([(3, 9), (20, 4), (8, 25)], None, BOX),  # the first versions did not name the type
        ([(3, 4), (20, 4), (20, 25), (3, 25)], "rotation", BOX),
        ([(10, 12), (13, 16)], "circle", (5, 7, 15, 17)),
        ([(3, 4), (20, 25)], "mask", BOX),
        ([(3, 9, 2), (20, 4, 1), (8, 25, 0)], "polygon", BOX),
    ],
)
def test_outlines_become_the_boxes_around_them(tmp_path: Path, points: Any, kind: Any, box: Any) -> None:
    raw = read(labelme(tmp_path / "a.json", shape(points, kind)))
    assert corners(raw.boxes) == [box]
    assert raw.boxes["notes"].item() == "labels.polygon"
    assert raw.boxes["text"].item().startswith("pit ")
    assert read_dataset(tmp_path).counts()["repaired"] == 1


def test_a_rectangle_of_four_points_is_one_without_a_note(tmp_path: Path) -> None:
    raw = read(labelme(tmp_path / "a.json", shape([(3, 4), (20, 4), (20, 25), (3, 25)], difficult=True)))
    assert corners(raw.boxes) == [BOX]
    assert raw.boxes.select("notes", "difficult").rows() == [(None, True)]


@pytest.mark.parametrize("kind", ["line", "linestrip", "point", "points", ["polygon"], 5])
def test_points_and_lines_are_dropped_and_named(tmp_path: Path, kind: Any) -> None:
    raw = read(labelme(tmp_path / "a.json", shape(), shape([(1, 2), (3, 4)], kind)))
    assert corners(raw.boxes) == [BOX]
    rejected = raw.rejected.row(0, named=True)
    assert (rejected["id"], rejected["source"], rejected["action"]) == (
        "labels.not_rectangle",
        "a.json:shape 1",
        "dropped",
    )


@pytest.mark.parametrize(
    "row",
    [
        shape([]),
        shape([(1, 2)]),
        shape([(1, 2)], "polygon"),
        shape([(1, 2), (3, "4")]),
        shape([(1, 2), (3,)]),
        shape([(1, 2), (3, True)]),
        shape([(1, 2), (10**400, 4)]),
        shape([[1, 2], None]),
        shape({"x": 1}),
        shape(None),
        shape([(1, 2), (3, 4), (5, 6)], "circle"),
        shape(kind="cube"),
        shape(label=""),
        shape(label=None),
        shape(label=True),
        shape(label=["pit"]),
        "pit",
        None,
    ],
)
def test_a_shape_that_is_no_box_is_dropped_and_stops_nothing(tmp_path: Path, row: Any) -> None:
    labelme(tmp_path / "a.json", shape(), row, shape([(5, 5), (9, 9)]))
    raw = read(tmp_path)
    assert corners(raw.boxes) == [BOX, (5, 5, 9, 9)]
    assert raw.rejected.select("id", "source").rows() == [("labels.not_parsed", "a.json:shape 1")]


def test_numbers_that_are_not_finite_are_the_intakes_to_judge(tmp_path: Path) -> None:
    shapes = [
        shape([(1, 2), (float("nan"), 4)]),
        shape([(float("inf"), 1), (2, 3)], "polygon"),
        shape([(-1.7e308, 1), (1.7e308, 1)], "circle"),
    ]
    intake = read_dataset(labelme(tmp_path / "a.json", *shapes))
    assert intake.counts()["dropped"] == 3
    assert set(intake.ledger["id"]) == {"labels.not_finite"}


def test_a_label_may_be_a_number_or_hold_half_a_character(tmp_path: Path) -> None:
    raw = read(labelme(tmp_path / "a.json", shape(label=7), shape(label=" pit "), shape(label="p\ud800")))
    assert raw.names == ("7", "p?", "pit")


def test_shapes_of_one_group_stay_apart_and_are_told(tmp_path: Path) -> None:
    labelme(
        tmp_path / "a.json", shape(group_id=1), shape([(5, 5), (9, 9)], group_id=1), shape(label="dent", group_id=1)
    )
    labelme(tmp_path / "b.json", shape(group_id=1), shape(group_id=2))
    raw = read(tmp_path)
    assert raw.boxes.height == 5
    assert found(raw, "labels.grouped").evidence == {"count": 1, "files": ["a.json"]}


# ---- files and pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "stated", "picture"),
    [
        ("a.json", "a.png", "a.png"),
        ("a.json", "..\\images\\a.jpg", "a.png"),
        ("json/a.json", "../images/a.png", "images/a.png"),
        ("json/7.json", "..\\images\\a.png", "images/a.png"),
        ("json/7.json", "/home/me/set/images/a.png", "images/a.png"),
        ("json/7.json", "C:\\set\\a.png", "deep/down/a.png"),
        ("val/a.json", 5, "val/A.PNG"),
    ],
)
def test_paths_of_other_machines_lead_to_the_picture_below_the_folder(
    tmp_path: Path, label: str, stated: Any, picture: str
) -> None:
    labelme(tmp_path / label, shape(), imagePath=stated, picture="")
    draw(tmp_path / picture)
    raw = read(tmp_path)
    assert raw.boxes["path"].to_list() == [picture]
    assert raw.images["split"].to_list() == ["val" if picture.startswith("val") else "train"]
    assert find_labelme(tmp_path) == [tmp_path / label]


def test_a_path_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    draw(tmp_path / "secret.png")
    labelme(tmp_path / "set" / "a.json", shape(), imagePath="../secret.png", picture="")
    with pytest.raises(DataError, match=r"not '\.\./secret\.png' of a\.json"):
        read(tmp_path / "set")


def test_one_picture_goes_to_the_file_that_agrees_with_most_of_its_path(tmp_path: Path) -> None:
    labelme(tmp_path / "json" / "1.json", shape(), imagePath="x/board/a.png", picture="")
    labelme(tmp_path / "json" / "2.json", shape(), imagePath="other/a.png", picture="")
    draw(tmp_path / "board" / "a.png")
    raw = read(tmp_path)
    assert raw.boxes["source"].to_list() == ["json/1.json:shape 0"]
    assert found(raw, "labels.no_picture").evidence["files"] == ["json/2.json (other/a.png)"]


def test_a_name_that_fits_two_pictures_fits_none(tmp_path: Path) -> None:
    labelme(tmp_path / "json" / "1.json", shape(), imagePath="a.png", picture="")
    for folder in ("one", "two"):
        draw(tmp_path / folder / "a.png")
    with pytest.raises(DataError, match="none of the 1 labelled pictures is there"):
        read(tmp_path)


def test_a_set_may_have_coco_keys_too(tmp_path: Path) -> None:
    labelme(tmp_path / "a.json", shape(label='"images" "annotations"'), images=[], annotations=[], categories=[])
    assert read_dataset(tmp_path).format == "labelme"


@pytest.mark.parametrize(
    ("content", "file"),
    [
        (b'{"shapes": [', "b.json:1"),
        (b'{"version": "5",\n "shapes": [\n}', "b.json:3"),
        (b'{"shapes": 5, "imagePath": "b.png"}', "b.json"),
        (b'{"shapes": ' + b"[" * 200_000, "b.json:1"),
        (b'{"shapes": [], "x": ' + b"9" * 5000 + b"}", "b.json:1"),
        (b"", "b.json:1"),
        (b"\x00\xff\xff", "b.json:1"),
    ],
)
def test_a_broken_file_takes_its_picture_along_and_nothing_else(tmp_path: Path, content: bytes, file: str) -> None:
    labelme(tmp_path / "a.json", shape())
    labelme(tmp_path / "b.json")
    (tmp_path / "b.json").write_bytes(content)
    raw = read(tmp_path)
    assert raw.images["path"].to_list() == ["a.png"]
    assert found(raw, "labels.file_broken").evidence == {"count": 1, "files": [file]}
    (tmp_path / "a.json").unlink()
    with pytest.raises(DataError, match="export it again"):
        read(tmp_path)


def test_other_json_files_are_left_alone(tmp_path: Path) -> None:
    labelme(tmp_path / "a.json", shape())
    for name, text in {"x": "{}", "y": '[{"shapes": []}]', "z": '{"images": [{"shapes": []}]}'}.items():
        (tmp_path / f"{name}.json").write_text(text)
    assert ids(read(tmp_path)) == []
    (tmp_path / "a.json").unlink()
    with pytest.raises(DataError, match="no LabelMe JSON file found"):
        read(tmp_path)


def test_files_that_are_not_utf_8_are_read_and_told(tmp_path: Path) -> None:
    for name, encoding in {"a": "latin-1", "b": "utf-16", "c": "utf-8-sig"}.items():
        labelme(tmp_path / f"{name}.json")
        text = json.dumps({"shapes": [shape(label="Öl")], "imagePath": f"{name}.png"}, ensure_ascii=False)
        (tmp_path / f"{name}.json").write_bytes(text.encode(encoding))
    raw = read(tmp_path)
    assert raw.names == ("Öl",)
    told = found(raw, "labels.encoding")
    assert (told.severity, told.evidence["files"]) == ("info", ["a.json", "b.json"])
    assert "UTF-16 and Windows-1252" in told.message


def test_labels_txt_gives_the_order_without_its_two_first_names(tmp_path: Path) -> None:
    labelme(tmp_path / "a.json", shape(), shape(label="dent"))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\npit\ndent\n")
    assert read(tmp_path).names == ("pit", "dent")


def test_pictures_without_file_count_as_empty(tmp_path: Path) -> None:
    labelme(tmp_path / "a.json", shape())
    draw(tmp_path / "b.png")
    raw = read(tmp_path)
    assert found(raw, "labels.no_file").evidence == {"count": 1, "pictures": ["b.png"]}
    assert read_dataset(tmp_path).dataset.counts()["train"] == {"images": 2, "boxes": 1, "empty": 1}


def _shapes_in(content: bytes) -> int:
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    try:
        document = json.loads(text.rstrip("\x1a"))
    except (ValueError, RecursionError):
        return 0
    shapes = document.get("shapes") if isinstance(document, dict) else None
    return len(shapes) if isinstance(shapes, list) else 0


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=cases())
def test_anything_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, files: Mapping[str, bytes]
) -> None:
    folder = written(tmp_path_factory.mktemp("labelme"), files)
    before = snapshot(folder)
    with contextlib.suppress(DataError):
        raw = read(folder)
        assert raw.rows_read == raw.boxes.height + raw.rejected.height == sum(map(_shapes_in, files.values()))
    assert snapshot(folder) == before
