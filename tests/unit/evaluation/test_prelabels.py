"""Pre-labels, read back by the rules of the two formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import polars as pl
import pytest
from helpers import box, dataset_of, files_below

from pipeline.data.dataset import Dataset
from pipeline.errors import DataError, RunError
from pipeline.evaluation.error_types import classify
from pipeline.evaluation.label_errors import suspects
from pipeline.evaluation.matching import match
from pipeline.evaluation.prelabels import narrow, write_cvat, write_label_studio
from pipeline.evaluation.tables import Detections, Truth
from pipeline.runs import DETECTIONS_SCHEMA

ODD = 'pit <"1" & 2>, Kratzer ä 深'


def dataset_with(names: tuple[str, ...] = (ODD, "scratch"), path: str = "a & b/über <1>.png") -> Dataset:
    return dataset_of([], pictures={1: {"path": path}, 2: {"width": 640, "height": 480}, 3: {}}, names=names)


def boxes_of(*rows: tuple[Any, ...]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), DETECTIONS_SCHEMA, orient="row")


BOXES = boxes_of((1, 0, 0.4, 10, 20, 30.5, 50.25), (1, 1, 0.9, 0, 0, 100, 80), (2, 1, 0.7, 320, 120, 480, 360))


def read_cvat(path: Path) -> dict[str, list[dict[str, Any]]]:
    root = ElementTree.parse(path).getroot()
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    found = {}
    for image in root.iter("image"):
        shapes = []
        for shape in image.iter("box"):
            assert shape.get("occluded") == "0"
            corners = tuple(float(shape.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
            about = {item.attrib["name"]: item.text for item in shape.iter("attribute")}
            shapes.append({"label": shape.attrib["label"], "corners": corners, **about})
        found[image.attrib["name"]] = shapes
    return found


def test_cvat_has_every_picture_with_its_boxes(tmp_path: Path) -> None:
    write_cvat(tmp_path / "pre.xml", dataset_with(), BOXES)
    assert read_cvat(tmp_path / "pre.xml") == {
        "2.png": [{"label": "scratch", "corners": (320, 120, 480, 360), "score": "0.7000"}],
        "3.png": [],
        "a & b/über <1>.png": [
            {"label": "scratch", "corners": (0, 0, 100, 80), "score": "0.9000"},
            {"label": ODD, "corners": (10, 20, 30.5, 50.25), "score": "0.4000"},
        ],
    }
    root = ElementTree.parse(tmp_path / "pre.xml").getroot()
    assert [label.findtext("name") for label in root.iter("label")] == [ODD, "scratch"]
    images = [image.attrib for image in root.iter("image")]
    assert [image["id"] for image in images] == ["0", "1", "2"]
    assert (images[0]["width"], images[0]["height"]) == ("640", "480")
    assert files_below(tmp_path) == ["pre.xml"]


def test_label_studio_in_percent_leads_back_to_pixels(tmp_path: Path) -> None:
    write_label_studio(tmp_path / "pre.json", dataset_with(), BOXES)
    tasks = json.loads((tmp_path / "pre.json").read_text("utf-8"))
    start = "/data/local-files/?d="
    assert [unquote(task["data"]["image"].removeprefix(start)) for task in tasks] == [
        "2.png",
        "3.png",
        "a & b/über <1>.png",
    ]
    assert "&" not in tasks[2]["data"]["image"]
    pixels = []
    for task in tasks:
        (prediction,) = task["predictions"]
        for region in prediction["result"]:
            assert (region["type"], region["from_name"], region["to_name"]) == ("rectanglelabels", "label", "image")
            value, width, height = region["value"], region["original_width"], region["original_height"]
            x, y = value["x"] * width / 100, value["y"] * height / 100
            corners = (x, y, x + value["width"] * width / 100, y + value["height"] * height / 100)
            pixels.append((*value["rectanglelabels"], region["score"], *corners))
    assert pixels == [
        pytest.approx(("scratch", 0.7, 320, 120, 480, 360)),
        pytest.approx(("scratch", 0.9, 0, 0, 100, 80)),
        pytest.approx((ODD, 0.4, 10, 20, 30.5, 50.25)),
    ]
    assert tasks[2]["predictions"][0]["score"] == pytest.approx(0.65)
    assert "score" not in tasks[1]["predictions"][0]
    numbers = [region["id"] for task in tasks for region in task["predictions"][0]["result"]]
    assert len(set(numbers)) == len(numbers)


def test_another_address(tmp_path: Path) -> None:
    write_label_studio(tmp_path / "pre.json", dataset_with(), BOXES, address="https://pictures.example/set/")
    tasks = json.loads((tmp_path / "pre.json").read_text("utf-8"))
    assert tasks[0]["data"]["image"] == "https://pictures.example/set/2.png"


def test_boxes_are_cut_at_the_edge_and_left_out_beyond(tmp_path: Path) -> None:
    beyond = boxes_of((3, 0, 0.9, -10, -5, 120, 40), (3, 0, 0.8, 101, 10, 130, 20), (3, 0, 0.7, 5, 5, 5, 20))
    write_cvat(tmp_path / "pre.xml", dataset_with(), beyond)
    assert [shape["corners"] for shape in read_cvat(tmp_path / "pre.xml")["3.png"]] == [(0, 0, 100, 40)]
    write_label_studio(tmp_path / "pre.json", dataset_with(), beyond)
    tasks = json.loads((tmp_path / "pre.json").read_text("utf-8"))
    assert [region["value"]["width"] for region in tasks[1]["predictions"][0]["result"]] == [100]


def test_suspects_are_exported_with_their_reason(tmp_path: Path) -> None:
    dataset = dataset_of([box(1, 1, 0, 0, 20, 20), box(2, 0, 50, 50, 70, 70)], pictures=3)
    truth = Truth.of(dataset)
    found = boxes_of((1, 0, 0.8, 0, 0, 20, 20))
    rows = suspects(dataset, classify(match(truth, Detections.of(truth, found))))
    assert sorted(rows["kind"]) == ["class", "extra"]
    some = narrow(dataset, rows)
    assert some.images["image_id"].to_list() == [1, 2]
    write_cvat(tmp_path / "pre.xml", some, rows)
    shapes = read_cvat(tmp_path / "pre.xml")
    assert shapes["1.png"] == [
        {
            "label": "pit",
            "corners": (0, 0, 20, 20),
            "score": "0.8000",
            "why": "labelled 'scratch', detected as 'pit' with 0.80",
        }
    ]
    assert [set(shape) for shape in shapes["2.png"]] == [{"label", "corners", "why"}]  # a label has no score
    write_label_studio(tmp_path / "pre.json", some, rows)
    tasks = json.loads((tmp_path / "pre.json").read_text("utf-8"))
    regions = [task["predictions"][0]["result"][0] for task in tasks]
    assert [region["meta"]["text"] for region in regions] == [[shapes["1.png"][0]["why"]], [shapes["2.png"][0]["why"]]]
    assert "score" not in regions[1]


@pytest.mark.parametrize("where", ["class", "file"])
def test_what_xml_cannot_hold_is_said(tmp_path: Path, where: str) -> None:
    dataset = dataset_with(names=("bell\x07", "b")) if where == "class" else dataset_with(path="bell\x07.png")
    with pytest.raises(DataError, match=r"bell.*cannot hold"):
        write_cvat(tmp_path / "pre.xml", dataset, BOXES)
    assert files_below(tmp_path) == []
    write_label_studio(tmp_path / "pre.json", dataset, BOXES)
    assert "bell" in (tmp_path / "pre.json").read_text("utf-8")


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "pre.json"
    path.write_text("old")
    many = pl.concat([BOXES] * 2000)
    with pytest.raises(RunError, match="disk is full"):
        write_label_studio(path, dataset_with(), many)
    assert path.read_text() == "old"
