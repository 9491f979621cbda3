"""The gallery of errors: which are chosen, where they are cut, and what is drawn."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from helpers import box, dataset_of, snapshot

from pipeline.data.dataset import Dataset
from pipeline.evaluation.error_types import ERRORS_SCHEMA, classify
from pipeline.evaluation.matching import match
from pipeline.evaluation.tables import Detections, Truth
from pipeline.reporting.error_gallery import SHOWN, SMALLEST, Cut, ErrorGroup, make_error_groups
from pipeline.runs import DETECTIONS_SCHEMA

CORNERS = ("x1", "y1", "x2", "y2")


def error(
    kind: str, image_id: int, found: tuple[float, ...] | None, truth: tuple[float, ...] | None, **more: Any
) -> Any:
    """Return a row of the stored table: found is (class, score, corners), truth (class, corners)."""
    row: dict[str, Any] = {"type": kind, "image_id": image_id, "owns": False}
    if found is not None:
        row |= {"detection": 0, "class_id": found[0], "score": found[1], **dict(zip(CORNERS, found[2:], strict=True))}
    if truth is not None:
        row |= {"truth": 0, "truth_class": truth[0]}
        row |= {f"truth_{name}": value for name, value in zip(CORNERS, truth[1:], strict=True)}
        row |= {"iou": 0.4} if found is not None else {}
    return row | more


def table(*rows: Any) -> pl.DataFrame:
    return pl.DataFrame(list(rows), ERRORS_SCHEMA)


def pictures(root: Path, count: int = 2, size: tuple[int, int] = (400, 300), boxes: Any = ()) -> Dataset:
    """Return pictures whose every pixel holds its column in blue and its row in green, in steps of four."""
    width, height = size
    drawn = np.zeros((height, width, 3), np.uint8)
    drawn[..., 0] = np.arange(width)[None] // 4 % 256
    drawn[..., 1] = np.arange(height)[:, None] // 4 % 256
    about = {number: {"path": f"{number}.png", "width": width, "height": height} for number in range(1, count + 1)}
    for image in about.values():
        assert cv2.imwrite(str(root / image["path"]), drawn)
    return dataset_of(boxes, pictures=about, root=root)


def decode(cut: Cut) -> np.ndarray:
    content = base64.b64decode(cut.picture.removeprefix("data:image/jpeg;base64,"))
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def only(groups: list[ErrorGroup]) -> Cut:
    ((cut,),) = [group.cuts for group in groups]
    return cut


def test_every_kind_has_its_group_and_the_worst_come_first(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    rows = [
        error("background", 1, (0, 0.5, 10, 10, 30, 30), None),
        error("duplicate", 2, (0, 0.9, 10, 10, 30, 30), (0, 10, 10, 30, 30)),
        error("both", 1, (0, 0.7, 10, 10, 30, 30), (1, 10, 10, 30, 30)),
        error("missed", 1, None, (0, 10, 10, 20, 20)),
        error("missed", 2, None, (1, 10, 10, 90, 90)),
        error("class", 1, (0, 0.9, 10, 10, 30, 30), (1, 10, 10, 30, 30)),
        error("class", 2, (0, 0.4, 10, 10, 30, 30), (1, 10, 10, 30, 30), owns=True),
        error("place", 1, (0, 0.8, 10, 10, 30, 30), (0, 10, 10, 30, 18), owns=True),
    ]
    groups = make_error_groups(dataset, table(*rows), 5)
    assert [(group.heading, group.total) for group in groups] == [
        ("False alarms", 3),
        ("Missed", 2),
        ("Confusions", 2),
        ("Wrong place", 1),
    ]
    owned = "those whose object nothing else found come first, then the surest."
    assert [group.text.endswith(owned) for group in groups] == [False, False, True, True]
    captions = [[cut.caption for cut in group.cuts] for group in groups]
    assert captions == [
        [
            "pit 0.90, but a surer detection has found this pit",
            "pit 0.70 near a scratch (IoU 0.40)",
            "pit 0.50, nothing is labelled here",
        ],
        ["scratch of 80 × 80 pixels, not found", "pit of 10 × 10 pixels, not found"],
        [
            "labelled scratch, found as pit 0.40 (IoU 0.40)",  # nothing else found this box
            "labelled scratch, found as pit 0.90 (IoU 0.40)",
        ],
        ["pit 0.80 overlaps its label by IoU 0.40"],
    ]


def test_one_bad_picture_does_not_fill_a_group(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, 3)
    rows = [error("background", 1, (0, s, 10, 10, 30, 30), None) for s in (0.9, 0.8, 0.7)]
    rows += [error("background", number, (0, 0.1 * number, 10, 10, 30, 30), None) for number in (2, 3)]
    (group,) = make_error_groups(dataset, table(*rows), 4)
    assert [(cut.name, cut.found[0].text) for cut in group.cuts] == [
        ("1.png", "pit 0.90"),
        ("3.png", "pit 0.30"),
        ("2.png", "pit 0.20"),
        ("1.png", "pit 0.80"),
    ]
    assert group.total == 5


def test_without_errors_or_without_wish_there_is_nothing(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    assert make_error_groups(dataset, table(), 5) == []
    (group,) = make_error_groups(dataset, table(error("missed", 1, None, (0, 10, 10, 20, 20))), 0)
    assert (group.total, group.cuts) == (1, ())


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((180, 130, 220, 150), (140, 80, 260, 200)),  # three times the longer side, around the middle
        ((198, 148, 202, 152), (168, 118, 232, 182)),  # at least SMALLEST
        ((0, 0, 40, 40), (0, 0, 120, 120)),  # moved inside
        ((390, 290, 420, 330), (280, 180, 400, 300)),  # a box beyond the edge
        ((0, 0, 400, 300), (0, 0, 400, 300)),  # no more than the picture
    ],
)
def test_the_cut_shows_the_box_and_what_is_around(tmp_path: Path, corners: Any, expected: tuple[int, ...]) -> None:
    dataset = pictures(tmp_path)
    cut = only(make_error_groups(dataset, table(error("background", 1, (0, 0.5, *corners), None)), 1))
    left, top, right, bottom = expected
    assert (cut.width, cut.height) == pytest.approx(
        (
            (right - left) * SHOWN / max(right - left, bottom - top),
            (bottom - top) * SHOWN / max(right - left, bottom - top),
        )
    )
    shown = decode(cut)
    assert max(shown.shape[:2]) <= SHOWN
    scale = shown.shape[1] / (right - left)
    for x, y in ((0.2, 0.2), (0.8, 0.8)):  # the colour says where in the picture this is
        blue, green, _ = shown[int(y * shown.shape[0]), int(x * shown.shape[1])]
        assert 4 * int(blue) == pytest.approx(left + x * shown.shape[1] / scale, abs=16)
        assert 4 * int(green) == pytest.approx(top + y * shown.shape[0] / scale, abs=16)
    (mark,) = cut.found
    unit = SHOWN / max(right - left, bottom - top)
    inside = np.clip(corners, [left, top] * 2, [right, bottom] * 2)
    assert (mark.x, mark.y) == pytest.approx(((inside[0] - left) * unit, (inside[1] - top) * unit))
    assert (mark.width, mark.height) == pytest.approx(((inside[2] - inside[0]) * unit, (inside[3] - inside[1]) * unit))
    assert SMALLEST == 64


def test_detection_and_label_are_both_in_the_cut(tmp_path: Path) -> None:
    labels = [
        box(1, 1, 100, 100, 140, 140),
        box(1, 0, 150, 100, 160, 110),
        box(1, 0, 390, 290, 399, 299),
        box(2, 0, 100, 100, 140, 140),
    ]
    dataset = pictures(tmp_path, boxes=labels)
    cut = only(
        make_error_groups(dataset, table(error("class", 1, (0, 0.5, 120, 100, 160, 140), (1, 100, 100, 140, 140))), 1)
    )
    assert [mark.text for mark in cut.found] == ["pit 0.50"]
    assert [(mark.text, mark.tag) for mark in cut.truth] == [
        ("pit", ""),
        ("scratch", "scratch"),
    ]  # the one concerned last
    own = cut.truth[-1]
    assert own.width == pytest.approx(40 * SHOWN / 180)
    assert own.tag_y == pytest.approx(own.y + own.height)  # below, the detection's is above
    assert cut.name == "1.png"
    assert cut.link == (tmp_path / "1.png").as_uri()


@pytest.mark.parametrize("size", [(1, 1), (8, 3), (2000, 3), (3, 2000), (1200, 900)])
@pytest.mark.parametrize("corners", [(0, 0, 1, 1), (0, 0, 3000, 3000), (2, 2, 2, 2), (-5, -5, -1, -1)])
def test_pictures_and_boxes_of_every_size(tmp_path: Path, size: tuple[int, int], corners: Any) -> None:
    cut = only(
        make_error_groups(pictures(tmp_path, 1, size), table(error("background", 1, (0, 0.5, *corners), None)), 1)
    )
    assert not cut.problem
    assert 1 <= max(decode(cut).shape[:2]) <= SHOWN
    assert all(0 <= value <= SHOWN for mark in cut.found for value in (mark.x, mark.y, mark.width, mark.height))


def test_a_missing_or_changed_file_is_said_in_its_place(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, 4)
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes(b"no picture")
    assert cv2.imwrite(str(tmp_path / "3.png"), np.zeros((30, 40, 3), np.uint8))
    (tmp_path / "4.png").write_bytes(b"")
    rows = [error("background", number, (0, 1 - number / 10, 10, 10, 30, 30), None) for number in (1, 2, 3, 4)]
    (group,) = make_error_groups(dataset, table(*rows), 4)
    assert [cut.picture for cut in group.cuts] == [""] * 4
    assert [cut.problem for cut in group.cuts] == [
        "No such file or directory",
        "the file is not a picture that can be decoded",
        "the picture is now 40 x 30 pixels, it was evaluated with 400 x 300",
        "the file is not a picture that can be decoded",
    ]
    assert all(cut.found for cut in group.cuts)


def test_a_16_bit_picture_is_stretched(tmp_path: Path) -> None:
    drawn = np.tile(np.linspace(1000, 3000, 100).astype(np.uint16), (80, 1))
    assert cv2.imwrite(str(tmp_path / "1.png"), drawn)
    dataset = dataset_of([], pictures=1, root=tmp_path)
    cut = only(make_error_groups(dataset, table(error("background", 1, (0, 0.5, 0, 0, 100, 80), None)), 1))
    shown = decode(cut)
    assert shown.min() < 20
    assert shown.max() > 235


def test_a_16_bit_picture_is_shown_by_the_range_of_the_dataset(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "1.png"), np.tile(np.linspace(1000, 3000, 100).astype(np.uint16), (80, 1)))
    dataset = replace(dataset_of([], pictures=1, root=tmp_path), value_range=(0.0, 4000.0))
    cut = only(make_error_groups(dataset, table(error("background", 1, (0, 0.5, 0, 0, 100, 80), None)), 1))
    shown = decode(cut)
    assert (shown.min(), shown.max()) == (pytest.approx(64, abs=4), pytest.approx(191, abs=4))


def test_the_stored_table_of_an_evaluation_is_shown_and_nothing_is_written(tmp_path: Path) -> None:
    dataset = pictures(tmp_path, boxes=[box(1, 0, 100, 100, 140, 140), box(2, 1, 10, 10, 60, 60)])
    truth = Truth.of(dataset)
    rows = [(1, 1, 0.9, 100, 100, 140, 140), (1, 0, 0.8, 300, 200, 340, 240)]
    found = pl.DataFrame(rows, DETECTIONS_SCHEMA, orient="row")
    before = snapshot(tmp_path)
    groups = make_error_groups(dataset, classify(match(truth, Detections.of(truth, found))).to_frame(), 3)
    assert [group.heading for group in groups] == ["False alarms", "Missed", "Confusions"]
    assert all(cut.picture for group in groups for cut in group.cuts)
    assert snapshot(tmp_path) == before
