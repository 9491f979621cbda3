"""What was predicted, read back from the files by other means than those that wrote it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from pycocotools.coco import COCO

from pipeline.data.class_colours import COLOURS
from pipeline.errors import UsageError
from pipeline.evaluation.drawing import Label, draw_boxes, readable
from pipeline.evaluation.predict import PredictSettings
from pipeline.evaluation.predict_files import PICTURES_SCHEMA, FilePredictions
from pipeline.evaluation.writers import draw, write_coco, write_json, write_yolo
from pipeline.runs import DETECTIONS_SCHEMA

SIZE = (80, 60)
NAMES = ["a.jpg", "a.png", "day 1/b.jpg", "day 1/empty.png"]
FOUND = [
    (1, 0, 0.9, 10, 10, 30, 40),
    (1, 1, 0.5, 12.25, 11, 20, 20.5),
    (2, 1, 0.75, 0, 0, 80, 60),
    (3, 0, 1, 5, 5, 9, 9),
]


@pytest.fixture
def predictions(tmp_path: Path) -> FilePredictions:
    """Four pictures in two folders, two of them of one stem; the last one is empty, a fifth could not be read."""
    source = tmp_path / "pictures"
    rows = []
    for number, name in enumerate(NAMES, start=1):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((SIZE[1], SIZE[0], 3), 40 * number, np.uint8))
        rows.append((number, str(path), name, *SIZE))
    settings = PredictSettings(64, 0.25, 0.7, 300, 4, "cpu")
    return FilePredictions(
        names=("pit", "Kratzer ü"),
        pictures=pl.DataFrame(rows, schema=PICTURES_SCHEMA, orient="row"),
        detections=pl.DataFrame(FOUND, schema=DETECTIONS_SCHEMA, orient="row"),
        unreadable=((str(source / "torn.png"), "not a picture"),),
        sources=(source,),
        weights=Path("best.pt"),
        settings=settings,
        thresholds={"pit": 0.25, "Kratzer ü": 0.4},
        thresholds_from="given",
        head="nms",
        latency={},
    )


def test_the_document_holds_everything(predictions: FilePredictions, tmp_path: Path) -> None:
    document = json.loads(write_json(predictions, tmp_path / "out" / "found.json").read_text("utf-8"))
    assert [picture["name"] for picture in document["pictures"]] == NAMES
    assert [len(picture["detections"]) for picture in document["pictures"]] == [2, 1, 1, 0]
    second = document["pictures"][0]["detections"][1]
    assert second == {"class_id": 1, "class": "Kratzer ü", "score": 0.5, "box": [12.25, 11, 20, 20.5]}
    assert document["unreadable"] == [{"path": str(tmp_path / "pictures" / "torn.png"), "why": "not a picture"}]
    assert document["settings"]["imgsz"] == 64
    assert document["thresholds"] == predictions.thresholds
    assert (document["head"], document["weights"], document["names"]) == ("nms", "best.pt", ["pit", "Kratzer ü"])


def test_pycocotools_reads_the_results(predictions: FilePredictions, tmp_path: Path) -> None:
    folder = write_coco(predictions, tmp_path / "coco")
    found = COCO(str(folder / "images.json")).loadRes(str(folder / "detections.json"))
    assert [found.imgs[k]["file_name"] for k in (1, 2, 3, 4)] == NAMES
    assert {k: found.cats[k]["name"] for k in found.cats} == {1: "pit", 2: "Kratzer ü"}
    rows = [(a["image_id"], a["category_id"] - 1, a["score"], *a["bbox"]) for a in found.dataset["annotations"]]
    assert rows == [(i, k, s, x1, y1, x2 - x1, y2 - y1) for i, k, s, x1, y1, x2, y2 in FOUND]


def test_yolo_rows_are_fractions_of_the_picture(predictions: FilePredictions, tmp_path: Path) -> None:
    folder = write_yolo(predictions, tmp_path / "labels")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.txt"))
    assert files == ["a.jpg.txt", "a.png.txt", "day 1/b.txt", "day 1/empty.txt"]  # one stem twice: kept apart
    assert (folder / "day 1" / "empty.txt").read_text() == ""
    back = []
    for name, number in zip(files, (1, 2, 3, 4), strict=True):
        for line in (folder / name).read_text().splitlines():
            k, cx, cy, w, h, score = map(float, line.split())
            box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]) * [*SIZE, *SIZE]
            back.append((number, k, score, *box))
    assert np.array(back) == pytest.approx(np.array(FOUND), abs=1e-6)


def test_drawn_pictures_show_every_box_in_its_colour(predictions: FilePredictions, tmp_path: Path) -> None:
    folder = draw(predictions, tmp_path / "drawn")
    assert (folder / "day 1" / "b.jpg").is_file()
    empty = cv2.imread(str(folder / "day 1" / "empty.jpg"))
    assert empty.shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(empty.astype(int) - 160).max() <= 2
    assert np.abs(cv2.imread(str(folder / "a.png.jpg")).astype(int) - 80).max() > 50


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_boxes_and_names_stand_out_from_every_ground(ground: int) -> None:
    picture = np.full((200, 300, 3), ground, np.uint8)
    before = picture.copy()
    drawn = draw_boxes(picture, [Label((100, 80, 200, 150), k, f"class {k}") for k in range(1)])
    assert (picture == before).all()
    colour = np.array([int(COLOURS[0][k : k + 2], 16) for k in (5, 3, 1)])
    rows, columns = np.nonzero((drawn == colour).all(axis=2))
    assert (columns.min(), columns.max(), rows.max()) == (100, 200, 150)
    assert 55 <= rows.min() < 80  # the name stands above the box
    assert (drawn[83:148, 103:198] == ground).all()  # inside it nothing is drawn
    # Light and dark beside each other: one of them stands out whatever lies below.
    edge = drawn[115, 96:104].astype(int).mean(axis=1)
    assert edge.max() - edge.min() > 80


def test_a_name_beyond_the_edge_is_moved_into_the_picture() -> None:
    picture = np.zeros((120, 160, 3), np.uint8)
    drawn = draw_boxes(picture, [Label((150, 2, 159, 30), 0, "scratch 0.91"), Label((0, 100, 20, 119), 1, "pit 0.50")])
    assert drawn.shape == picture.shape
    tag = (drawn == np.array([int(COLOURS[0][k : k + 2], 16) for k in (5, 3, 1)])).all(axis=2)
    assert tag[:, :100].any()  # pushed to the left


def test_names_do_not_hide_each_other() -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    box = (100.0, 80.0, 130.0, 110.0)
    crowd = [Label(box, 0, "scratch 0.31"), Label(box, 1, "scratch 0.92"), Label((140, 80, 170, 110), 2, "scratch 0.9")]
    drawn = draw_boxes(picture, crowd)
    for label in crowd:  # of each colour there is nearly as much to be seen as when the label is the only one
        colour = np.array([int(COLOURS[label.class_id][c : c + 2], 16) for c in (5, 3, 1)])
        alone, among = ((view == colour).all(axis=2).sum() for view in (draw_boxes(picture, [label]), drawn))
        assert among >= 0.75 * alone


def tag_height(side: int) -> int:
    """Return how many rows the ground of a name takes in a square picture."""
    drawn = draw_boxes(np.zeros((side, side, 3), np.uint8), [Label((300, 300, 500, 500), 0, "pit 0.50")])
    colour = np.array([int(COLOURS[0][k : k + 2], 16) for k in (5, 3, 1)])
    rows = np.flatnonzero((drawn == colour).all(axis=2).any(axis=1))
    return int((rows < 300).sum())


def test_letters_grow_with_the_picture_to_twice_their_size() -> None:
    plain, double, more = map(tag_height, (640, 1280, 5120))
    assert double == pytest.approx(2 * plain, abs=4)
    assert more == double


def test_a_name_that_the_font_lacks_becomes_the_number() -> None:
    assert readable("Kratzer ü 0.50", 3) == "Kratzer ü 0.50"
    assert readable("царапина 0.50", 3) == "царапина 0.50"
    assert readable("划痕 0.50", 3) == "class 3 0.50"


@pytest.mark.parametrize("writer", [write_coco, write_yolo, draw])
def test_nothing_is_written_among_the_pictures(predictions: FilePredictions, tmp_path: Path, writer: object) -> None:
    source = tmp_path / "pictures"
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    link = tmp_path / "link"
    link.symlink_to(source / "day 1", target_is_directory=True)
    for folder in (source, source / "day 1", source / "new", link):
        with pytest.raises(UsageError, match=r"lies among the pictures|exists already"):
            writer(predictions, folder)  # type: ignore[operator]
    single = replace(predictions, sources=(source / "a.jpg",))
    with pytest.raises(UsageError, match=r"lies among the pictures|exists already"):
        writer(single, source)  # type: ignore[operator]
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("writer", [write_coco, write_yolo, draw])
def test_nothing_is_overwritten(predictions: FilePredictions, tmp_path: Path, writer: object) -> None:
    writer(predictions, tmp_path / "out")  # type: ignore[operator]
    with pytest.raises(UsageError, match="exists already"):
        writer(predictions, tmp_path / "out")  # type: ignore[operator]
    write_json(predictions, tmp_path / "found.json")
    with pytest.raises(UsageError, match="exists already"):
        write_json(predictions, tmp_path / "found.json")
