"""Label Studio in: addresses of pictures, several annotators, turned boxes, and files that are broken."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from grammar_label_studio import cases
from grammar_voc import written
from helpers import box, corners, dataset_of, draw, snapshot
from hypothesis import HealthCheck, given, settings

from pipeline.data.formats.label_studio import find_label_studio, read_label_studio
from pipeline.data.intake import read_dataset
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError
from pipeline.evaluation.prelabels import write_label_studio
from pipeline.findings import Finding
from pipeline.sections import DataConfig

BOX = (4, 6, 20, 27)  # pixels of a picture of 40 x 30
PERCENT = {"x": 10, "y": 20, "width": 40, "height": 70, "rotation": 0}
SIZE = {"original_width": 40, "original_height": 30, "image_rotation": 0}


def region(kind: str = "rectanglelabels", names: Any = ("pit",), value: Any = None, **more: Any) -> dict[str, Any]:
    about = {"id": "r", "type": kind, "from_name": "label", "to_name": "image", **SIZE, **more}
    return about | {"value": {**(PERCENT if value is None else value), kind: list(names)}}


def annotation(*results: Any, **more: Any) -> dict[str, Any]:
    return {"id": 1, "result": list(results), "was_cancelled": False, "ground_truth": False, **more}


def task(number: int, address: Any, *annotations: Any, **more: Any) -> dict[str, Any]:
    return {"id": number, "annotations": list(annotations), "predictions": [], "data": {"image": address}, **more}


def export(file: Path, *tasks: Any, pictures: str = "a.png") -> Path:
    """Write an export and pictures; returns the file's folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(tasks)), "utf-8")
    for picture in pictures.split():
        draw(file.parent / picture)
    return file.parent


def read(path: Path, **settings: Any) -> RawDataset:
    return read_label_studio(path, DataConfig(**settings))


def found(raw: RawDataset, id: str) -> Finding:
    return next(finding for finding in raw.findings if finding.id == id)


def ids(raw: RawDataset) -> list[str]:
    return sorted(finding.id for finding in raw.findings)


def one(folder: Path, *results: Any) -> RawDataset:
    """Read a set of one picture whose task has one annotation of these results."""
    return read(export(folder / "project.json", task(7, "a.png", annotation(*results))))


def pixels(raw: RawDataset) -> list[tuple[float, ...]]:
    """Return the corners in pixels of a picture of 40 x 30."""
    assert raw.fractions
    return [(40 * x1, 30 * y1, 40 * x2, 30 * y2) for x1, y1, x2, y2 in corners(raw.boxes)]


# ---- regions --------------------------------------------------------------------------------------------------------


def test_rectangles_are_read_with_their_place(tmp_path: Path) -> None:
    raw = one(tmp_path, region(), {"type": "choices", "value": {"choices": ["good"]}}, region(names=["dent"]))
    assert pixels(raw) == [pytest.approx(BOX)] * 2
    assert raw.boxes["source"].to_list() == ["project.json:task 7 result 0", "project.json:task 7 result 2"]
    assert raw.boxes["notes"].to_list() == [None, None]
    assert (raw.names, raw.images.rows(), ids(raw)) == (("dent", "pit"), [("a.png", "train", 40, 30)], [])
    assert corners(read_dataset(tmp_path).dataset.boxes) == [pytest.approx(BOX)] * 2


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (region("polygonlabels", value={"points": [[10, 90], [50, 20], [30, 40]]}), BOX),
        (region("ellipselabels", value={"x": 50, "y": 50, "radiusX": 25, "radiusY": 10}), (10, 12, 30, 18)),
        # A turn of a quarter exchanges the radii in pixels: 10 x 3 becomes 3 x 10.
        (
            region("ellipselabels", value={"x": 50, "y": 50, "radiusX": 25, "radiusY": 10, "rotation": 90}),
            (17, 5, 23, 25),
        ),
        # About the upper left corner, clockwise: 16 x 3 px at (20, 6) go down and to the left.
        (region(value={"x": 50, "y": 20, "width": 40, "height": 10, "rotation": 90}), (17, 6, 20, 22)),
        (region(value={"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 180}), (12, 12, 20, 15)),
    ],
)
def test_other_shapes_become_the_boxes_around_them(tmp_path: Path, result: Any, expected: tuple[float, ...]) -> None:
    raw = one(tmp_path, result)
    assert pixels(raw)[0] == pytest.approx(expected)
    assert raw.boxes["notes"].item() == "labels.polygon"


def test_a_turned_box_is_what_a_user_of_label_studio_measured(tmp_path: Path) -> None:
    """github.com/HumanSignal/label-studio/issues/2293: 300 x 100 at (200, 100), turned by 90 degrees, in 1000 x 500 px,
    covers exactly the box of 100 x 300 at (100, 100).
    """
    size = {"original_width": 1000, "original_height": 500}
    turned = region(value={"x": 20, "y": 20, "width": 30, "height": 20, "rotation": 90}, **size)
    upright = region(value={"x": 10, "y": 20, "width": 10, "height": 60, "rotation": 0}, **size)
    one_box, other = corners(one(tmp_path, turned, upright).boxes)
    assert one_box == pytest.approx(other)


def test_a_turn_in_percent_of_an_unknown_size_is_no_box(tmp_path: Path) -> None:
    raw = one(tmp_path, region(value={**PERCENT, "rotation": 5}, original_width=None), region(original_height="x"))
    assert pixels(raw) == [pytest.approx(BOX)]
    assert raw.rejected.select("id", "source").rows() == [("labels.not_parsed", "project.json:task 7 result 0")]


def test_a_drawing_and_its_class_may_be_two_results(tmp_path: Path) -> None:
    drawn = {"id": "x", "type": "rectangle", **SIZE, "value": PERCENT}
    named = {"id": "x", "type": "labels", **SIZE, "value": {**PERCENT, "labels": ["pit"]}}
    alone = {"id": "y", "type": "labels", **SIZE, "value": {**PERCENT, "labels": ["dent"]}}
    raw = one(tmp_path, named, drawn, alone)
    assert raw.boxes.select("class_id", "source").rows() == [
        (1.0, "project.json:task 7 result 1"),
        (0.0, "project.json:task 7 result 2"),
    ]
    assert raw.rejected.height == 0


def test_a_region_of_two_classes_is_two_boxes(tmp_path: Path) -> None:
    raw = one(tmp_path, region(names=["pit", "dent", "pit"]))
    assert [raw.names[int(number)] for number in raw.boxes["class_id"]] == ["pit", "dent"]


@pytest.mark.parametrize(
    ("result", "id"),
    [
        (region("brushlabels", value={"format": "rle", "rle": [1, 2]}), "labels.not_rectangle"),
        (region("keypointlabels", value={"x": 1, "y": 2, "width": 1}), "labels.not_rectangle"),
        (region("videorectangle", value={"sequence": []}), "labels.not_rectangle"),
        (region(names=[]), "labels.not_parsed"),
        (region(names=[""]), "labels.not_parsed"),
        (region(names=[None, 3.5]), "labels.not_parsed"),
        (region(value={"x": 1, "y": 2, "width": 3}), "labels.not_parsed"),
        (region(value={**PERCENT, "x": "1"}), "labels.not_parsed"),
        (region(value={**PERCENT, "rotation": None}), "labels.not_parsed"),
        (region("polygonlabels", value={"points": [[1, 2]]}), "labels.not_parsed"),
        (region("polygonlabels", value={"points": [[1, 2], [3]]}), "labels.not_parsed"),
        ({"type": "rectanglelabels", "value": 5}, "labels.not_parsed"),
        ({"type": "rectanglelabels"}, "labels.not_parsed"),
        ({}, "labels.not_parsed"),
        ("pit", "labels.not_parsed"),
        (None, "labels.not_parsed"),
    ],
)
def test_a_region_that_is_no_box_is_dropped_and_stops_nothing(tmp_path: Path, result: Any, id: str) -> None:
    raw = one(tmp_path, region(), result)
    assert pixels(raw) == [pytest.approx(BOX)]
    assert raw.rejected.select("id", "source").rows() == [(id, "project.json:task 7 result 1")]
    assert read_dataset(tmp_path).counts()["read"] == 2


def test_numbers_that_are_not_finite_are_the_intakes_to_judge(tmp_path: Path) -> None:
    one(tmp_path, region(), region(value={**PERCENT, "x": float("nan")}), region(value={**PERCENT, "rotation": 1e999}))
    assert read_dataset(tmp_path).counts()["dropped"] == 2


def test_a_picture_that_was_turned_in_the_tool_is_left_out(tmp_path: Path) -> None:
    tasks = [task(1, "a.png", annotation(region())), task(2, "b.png", annotation(region(image_rotation=90)))]
    raw = read(export(tmp_path / "project.json", *tasks, pictures="a.png b.png"))
    assert raw.images["path"].to_list() == ["a.png"]
    assert found(raw, "labels.picture_turned").evidence == {"count": 1, "files": ["project.json:task 2"]}
    assert raw.rejected["id"].to_list() == ["labels.picture_unusable"]
    with pytest.raises(DataError, match=r"were turned in Label Studio .* such as that of project\.json:task 2"):
        read(export(tmp_path / "project.json", tasks[1]))


def test_tasks_of_one_number_are_told_apart(tmp_path: Path) -> None:
    tasks = [task(7, "a.png", annotation(region())), task(7, "a.png", annotation(region(names=["pit", "dent"])))]
    raw = read(export(tmp_path / "project.json", *tasks))
    assert raw.images.height == 1
    assert raw.boxes["source"].to_list() == [
        "project.json:task 7 result 0",
        "project.json:task 7 (at 1) result 0",
        "project.json:task 7 (at 1) result 0 #2",
    ]


def test_thousands_of_pairs_of_a_drawing_and_its_class_are_joined(tmp_path: Path) -> None:
    pairs = [
        one
        for n in range(4000)
        for one in (region("rectangle", (), id=f"r{n}"), region("labels", ("pit",), value={}, id=f"r{n}"))
    ]
    for pair in pairs[::2]:
        del pair["value"]["rectangle"]
    raw = one(tmp_path, *pairs)
    assert (raw.boxes.height, raw.rejected.height, raw.rows_read) == (4000, 0, 4000)


def test_a_drawing_and_a_class_without_id_are_two_rows(tmp_path: Path) -> None:
    drawn, classed = region("rectangle", ()), region("labels", ("pit",))
    raw = one(tmp_path, {k: v for k, v in drawn.items() if k != "id"}, {k: v for k, v in classed.items() if k != "id"})
    assert (raw.boxes.height, raw.rejected.height, raw.rows_read) == (1, 1, 2)


# ---- annotations ----------------------------------------------------------------------------------------------------


def _chosen(folder: Path, *annotations: Any) -> str:
    raw = read(export(folder / "project.json", task(7, "a.png", *annotations)))
    return raw.names[int(raw.boxes["class_id"].item())]


def test_of_several_annotations_the_newest_counts_unless_one_is_ground_truth(tmp_path: Path) -> None:
    old = annotation(region(names=["old"]), updated_at="2021-07-03T14:27:52.880146Z", created_at="2023-01-01T00:00:00Z")
    new = annotation(region(names=["new"]), created_at="2022-01-01T00:00:00Z")
    late = annotation(region(names=["late"]), updated_at="2024-01-01T00:00:00Z", was_cancelled=True)
    true = annotation(region(names=["true"]), updated_at="2020-01-01T00:00:00Z", ground_truth=True)
    assert _chosen(tmp_path, old, new) == _chosen(tmp_path, new, old, late) == "new"
    assert _chosen(tmp_path, true, new) == "true"
    assert _chosen(tmp_path, annotation(region(names=["first"])), annotation(region(names=["last"]))) == "last"
    assert found(read(tmp_path), "labels.several_annotators").evidence == {"count": 1, "files": ["project.json:task 7"]}


def test_a_cancelled_annotation_alone_is_none(tmp_path: Path) -> None:
    tasks = [
        task(1, "a.png", annotation(region())),
        task(2, "b.png", annotation(region(), was_cancelled=True)),
        task(3, "c.png", annotation()),
        task(4, "d.png"),
    ]
    raw = read(export(tmp_path / "project.json", *tasks, pictures="a.png b.png c.png d.png"))
    assert (raw.images.height, raw.boxes.height) == (4, 1)
    finding = found(raw, "labels.no_file")
    assert (finding.severity, finding.evidence) == ("warning", {"count": 2, "pictures": ["b.png", "d.png"]})
    assert found(read(tmp_path, unlabelled=0.4), "labels.no_file").severity == "error"


def test_predictions_are_no_labels(tmp_path: Path) -> None:
    predicted = [{"model_version": "x", "result": [region(names=["guess"])]}]
    raw = read(export(tmp_path / "project.json", task(7, "a.png", annotation(region()), predictions=predicted)))
    assert raw.names == ("pit",)
    assert found(raw, "labels.predictions").evidence == {"count": 1, "files": ["project.json:task 7"]}


def test_the_old_name_of_annotations_is_read(tmp_path: Path) -> None:
    old = {"id": 3, "completions": [annotation(region())], "data": {"image": "a.png"}}
    assert pixels(read(export(tmp_path / "project.json", old))) == [pytest.approx(BOX)]


def test_the_short_form_is_read(tmp_path: Path) -> None:
    def record(number: int, name: str, at: str) -> dict[str, Any]:
        found = [{**PERCENT, "rectanglelabels": [name], **SIZE}]
        about = {"image": f"/data/upload/1/0123abcd-{number}.png", "id": number, "annotator": 1, "annotation_id": 5}
        return {**about, "bbox": found, "choice": "good", "updated_at": at}

    records = [record(1, "pit", "2021"), record(2, "old", "2021"), record(2, "new", "2022")]
    raw = read(export(tmp_path / "min.json", *records, pictures="1.png 2.png"))
    assert raw.names == ("new", "pit")
    assert raw.boxes.sort("path").select("path", "source").rows() == [
        ("1.png", "min.json:task 1 result 0"),
        ("2.png", "min.json:task 2 result 0"),
    ]
    assert pixels(raw) == [pytest.approx(BOX)] * 2
    assert ids(raw) == ["labels.several_annotators"]


# ---- pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "picture"),
    [
        ("/data/upload/1/0123abcd-a.png", "a.png"),
        ("/data/upload/1/0123abcd-a.png", "images/0123abcd-a.png"),
        ("/data/local-files/?d=set%2Fboard%201/a.png", "board 1/a.png"),
        ("/data/local-files/?d=set/board 1/a.png", "images/board 1/a.png"),
        ("s3://bucket/deep/%C3%A9.png", "é.png"),
        ("gs://bucket/a.png", "a.png"),
        ("https://host/x/a.png?token=ab/c.png&x=1", "x/a.png"),
        ("C:\\pictures\\a.png", "a.png"),
        ("100%25.png", "100%25.png"),
        ("100%.png", "100%.png"),
        ("a#1.png", "a#1.png"),
        ("/home/me/val/A.PNG", "val/a.png"),
    ],
)
def test_addresses_lead_to_pictures_below_the_folder(tmp_path: Path, address: str, picture: str) -> None:
    draw(tmp_path / picture)
    raw = read(export(tmp_path / "project.json", task(1, address, annotation(region())), pictures=""))
    assert raw.images.select("path", "split").rows() == [(picture, "val" if picture.startswith("val") else "train")]


def test_two_uploads_of_one_name_are_not_guessed_apart(tmp_path: Path) -> None:
    tasks = [task(n, f"/data/upload/1/{n * 11111111}-a.png", annotation(region())) for n in (1, 2)]
    tasks.append(task(3, "/data/upload/1/33333333-b.png", annotation(region())))
    raw = read(export(tmp_path / "project.json", *tasks, pictures="a.png b.png"))
    assert raw.images["path"].to_list() == ["b.png"]
    assert found(raw, "labels.no_picture").evidence["count"] == 2


@pytest.mark.parametrize("address", ["../secret.png", "/data/local-files/?d=../secret.png", "http://localhost:1/b.png"])
def test_nothing_outside_of_the_folder_is_looked_at_or_fetched(tmp_path: Path, address: str) -> None:
    draw(tmp_path / "secret.png")
    export(tmp_path / "set" / "project.json", task(1, address, annotation(region())))
    with pytest.raises(DataError, match="nothing is fetched from elsewhere"):
        read(tmp_path / "set")


@pytest.mark.parametrize(
    "data", [{}, {"text": "no picture"}, {"image": "data:image/png;base64,AAAA.png"}, {"image": ["a.png"]}, None, 5]
)
def test_a_task_without_picture_is_told(tmp_path: Path, data: Any) -> None:
    tasks = [task(1, "a.png", annotation(region())), {"id": 2, "annotations": [annotation(region())], "data": data}]
    raw = read(export(tmp_path / "project.json", *tasks, "no task at all"))
    assert raw.boxes.height == 1
    tasks_told = ["project.json:task 2", "project.json:task 2 (at 2)"]
    assert found(raw, "labels.task_without_picture").evidence["files"] == tasks_told


def test_the_picture_may_stand_under_any_key(tmp_path: Path) -> None:
    named = {"id": 1, "annotations": [annotation(region())], "data": {"note": "a.txt", "photo": "/x/a.png"}}
    assert read(export(tmp_path / "project.json", named)).images["path"].to_list() == ["a.png"]


def test_a_picture_of_two_tasks_has_the_rows_of_both_once(tmp_path: Path) -> None:
    tasks = [task(n, "a.png", annotation(region(names=("pit", "dent")), region("brushlabels"))) for n in (1, 2)]
    raw = read(export(tmp_path / "project.json", *tasks))
    assert raw.images["path"].to_list() == ["a.png"]
    assert (raw.boxes.height, raw.rejected.height, raw.rows_read) == (4, 2, 6)
    assert raw.boxes["source"].is_duplicated().any() is False


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "file"),
    [
        (b'[{"id": 1, "annotations": [], "data":\n', "b.json:2"),
        (b'[{"id": 1, "annotations": [], "data": {}}]', "b.json"),
        (b'[{"id": 1, "annotations": ' + b"[" * 200_000, "b.json:1"),
    ],
)
def test_a_broken_file_is_left_out_and_named(tmp_path: Path, content: bytes, file: str) -> None:
    export(tmp_path / "a.json", task(1, "a.png", annotation(region())))
    (tmp_path / "b.json").write_bytes(content)
    raw = read(tmp_path)
    assert raw.boxes.height == 1
    assert found(raw, "labels.file_broken").evidence == {"count": 1, "files": [file]}
    (tmp_path / "a.json").unlink()
    with pytest.raises(DataError, match=f"{file}: .*export it again"):
        read(tmp_path)


def test_an_export_may_lie_in_a_folder_of_its_own_and_name_its_split(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")
    draw(tmp_path / "images" / "b.png")
    export(tmp_path / "annotations" / "val.json", task(1, "a.png", annotation(region())), pictures="")
    assert find_label_studio(tmp_path) == [tmp_path / "annotations" / "val.json"]
    raw = read(tmp_path)
    assert raw.images.select("path", "split").rows() == [("images/a.png", "val")]
    assert found(raw, "images.not_listed").evidence["pictures"] == ["images/b.png"]
    assert ids(read(tmp_path / "annotations" / "val.json")) == []


@pytest.mark.parametrize(
    "document",
    [
        {"images": [], "annotations": [], "categories": []},
        {"shapes": [], "imagePath": "a.png"},
        [{"image": "a.png", "annotations": [{"label": "pit", "coordinates": {}}]}],  # CreateML
        [1, 2],
        [],
    ],
)
def test_other_json_files_are_left_alone(tmp_path: Path, document: Any) -> None:
    (tmp_path / "x.json").write_text(json.dumps(document))
    assert find_label_studio(tmp_path) == []
    with pytest.raises(DataError, match="no Label Studio JSON file found"):
        read(tmp_path)


def test_prelabels_of_this_program_read_back_once_they_are_confirmed(tmp_path: Path) -> None:
    dataset = dataset_of([], root=tmp_path)
    for path in dataset.images["path"]:
        draw(tmp_path / path, 100, 80)
    boxes = dataset_of([box(1, 1, 3, 4, 20.5, 25), box(2, 0, 0, 0, 100, 80)]).boxes.with_columns(score=0.75)
    write_label_studio(tmp_path / "tasks.json", dataset, boxes)
    raw = read(tmp_path)
    assert sorted(raw.images["path"]) == ["1.png", "2.png"]
    assert (raw.boxes.height, found(raw, "labels.no_file").severity) == (0, "error")
    assert found(raw, "labels.predictions").evidence["count"] == 2
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    confirmed = [{"id": n, "data": one["data"], "annotations": one["predictions"]} for n, one in enumerate(tasks)]
    (tmp_path / "tasks.json").write_text(json.dumps(confirmed))
    intake = read_dataset(tmp_path)
    assert (intake.format, intake.findings) == ("label_studio", ())
    joined = intake.dataset.boxes.join(intake.dataset.images, on="image_id").sort("path")
    assert [intake.dataset.names[n] for n in joined["class_id"]] == ["scratch", "pit"]
    assert corners(joined) == [pytest.approx((3, 4, 20.5, 25)), (0, 0, 100, 80)]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=cases())
def test_anything_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, files: Mapping[str, bytes]
) -> None:
    folder = written(tmp_path_factory.mktemp("label_studio"), files)
    before = snapshot(folder)
    with contextlib.suppress(DataError):
        raw = read(folder)
        assert raw.rows_read == raw.boxes.height + raw.rejected.height
    assert snapshot(folder) == before
