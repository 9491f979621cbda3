"""The preview: rows, marks, and pixels that are the stage's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers import box, dataset_of, files_below, snapshot
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from pipeline.augment.contract import Contract
from pipeline.augment.entry_measure import WHOLE, EntryMeasure
from pipeline.augment.measure import seed_of
from pipeline.augment.preview import draw_preview, facts_words, preview_rows, spoken_names
from pipeline.augment.preview_sheet import FRAMES, TILE, Head, Place, Row, Tile, compose, font, tile_image, wrap
from pipeline.augment.stage import Stage
from pipeline.data.class_colours import colour_of
from pipeline.data.dataset import Dataset
from pipeline.errors import RunError, TrainingError, UsageError
from pipeline.findings import Finding, Severity
from pipeline.policy import Policy

SIZE = 64
NAMES = ("pit", "scratch")
POLICY = Policy.off().replaced(degrees=30.0, fliplr=0.5)
ENTRIES = ("degrees", "fliplr")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six pictures: the first is empty, the third alone has a scratch."""
    root = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0)
    for number in range(1, 7):
        picture = noise.integers(60, 200, (SIZE, SIZE, 3), dtype=np.uint8)
        assert cv2.imwrite(str(root / f"{number}.png"), picture)
    boxes = [box(number, 0, 20, 24, 36, 44) for number in range(2, 7)]
    boxes += [box(number, 0, 40, 6, 52, 18) for number in (2, 5)]
    boxes.append(box(3, 1, 8, 40, 30, 60))
    sizes = {number: {"width": SIZE, "height": SIZE} for number in range(1, 7)}
    return dataset_of(boxes, pictures=sizes, names=NAMES, root=root)


def contract_of(policy: Policy, findings: Sequence[Finding] = (), entries: Sequence[str] = ENTRIES) -> Contract:
    measures = tuple(EntryMeasure(name, 1.0, pictures=6, own={"pit": 4}, yielded={"pit": 3}) for name in entries)
    whole = EntryMeasure(WHOLE, 1.0, pictures=12, own={"pit": 4}, yielded={"pit": 4})
    return Contract(policy, SIZE, tuple(range(6)), (*measures, whole), tuple(findings), 6, 0.001, 0.1)


def finding(entry: str, severity: Severity, key: str = "augment.shift", **evidence: Any) -> Finding:
    return Finding(key, severity, f"{entry} does harm.", {"entry": entry, **evidence})


def composed(rows: Sequence[Row], columns: int = 4) -> tuple[np.ndarray[Any, Any], list[Place]]:
    sheet, places = compose(Head("A title", ("a line",), {0: "pit"}), rows, columns)
    return np.asarray(sheet), places


def shown(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_NEAREST))


def away_from(boxes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return where a tile has no line of a box, nor the inside of one."""
    free = np.ones((TILE, TILE), bool)
    for x1, y1, x2, y2 in boxes * TILE / SIZE:
        free[max(0, int(y1) - 4) : int(y2) + 5, max(0, int(x1) - 4) : int(x2) + 5] = False
    return free


def test_there_is_a_row_for_each_entry_and_some_for_the_whole_stage(data: Dataset) -> None:
    rows = preview_rows(data, contract_of(POLICY), versions=3)
    assert [row.name for row in rows[:3]] == ["degrees", "fliplr", WHOLE]
    assert len(rows) == 5
    assert len({row.source for row in rows[2:]}) == 3
    assert [len(row.tiles) for row in rows] == [4, 2, 4, 4, 4]
    assert rows[0].setting == "30, on every picture"
    assert rows[1].setting == "p 0.5"
    assert rows[1].note == "the same every time"
    assert rows[0].facts.startswith("75% as many boxes come out")


def test_every_tile_is_the_stages_own_draw(data: Dataset) -> None:
    rows = preview_rows(data, contract_of(POLICY), versions=3)
    sheet, places = composed(rows)
    stage = Stage(data, range(data.images.height), POLICY, SIZE)
    index = data.images["path"].to_list().index(rows[0].source)
    with stage.acting(Policy.off()):
        drawn = [stage.draw(index, 0)]
    with stage.acting(POLICY.only("degrees", forced=True)):
        drawn += [stage.draw(index, seed_of(index, version)) for version in range(3)]
    assert len(places[0].tiles) == 4
    for (x, y), one in zip(places[0].tiles, drawn, strict=True):
        tile, free = sheet[y : y + TILE, x : x + TILE], away_from(one.boxes)
        assert free.mean() > 0.5
        np.testing.assert_array_equal(tile[free], shown(one.picture)[free])
        assert not np.array_equal(tile, shown(one.picture))  # its boxes


@pytest.mark.parametrize(("severity", "other"), [("error", "warning"), ("warning", "error")])
def test_a_row_that_breaks_the_contract_has_a_frame(data: Dataset, severity: Severity, other: Severity) -> None:
    rows = preview_rows(data, contract_of(POLICY, [finding("degrees", severity)]), versions=1)
    sheet, places = composed(rows, 2)
    left, top, right, bottom = places[0].frame
    colour = ImageColor.getrgb(FRAMES[severity])
    for line in (sheet[top, left:right], sheet[bottom, left:right], sheet[top:bottom, left], sheet[top:bottom, right]):
        assert (line == colour).all()
    broken = (ImageColor.getrgb(FRAMES[severity]), ImageColor.getrgb(FRAMES[other]))
    below = sheet[places[1].frame[1], left:right]
    assert not any((below == one).all(axis=1).any() for one in broken)
    assert rows[0].messages == ((severity, "degrees does harm."),)
    assert rows[1].messages == ()


def test_the_worst_of_several_findings_counts(data: Dataset) -> None:
    found = [finding("degrees", "warning"), finding("degrees", "error"), finding("degrees", "info")]
    row = preview_rows(data, contract_of(POLICY, found), versions=1)[0]
    assert row.severity == "error"
    assert [severity for severity, _ in row.messages] == ["error", "warning", "info"]


def test_the_picture_has_the_class_that_a_finding_names_and_else_boxes(data: Dataset) -> None:
    named = finding("degrees", "warning", "augment.contrast_lost", contrast={"scratch": 0.2})
    assert preview_rows(data, contract_of(POLICY, [named]), versions=1)[0].source == "3.png"
    many = finding("degrees", "warning", "augment.contrast_lost", contrast={"pit": 0.2})
    assert preview_rows(data, contract_of(POLICY, [many]), versions=1)[0].source == "2.png"
    assert preview_rows(data, contract_of(POLICY), versions=1)[0].source != "1.png"


def test_an_entry_that_breaks_has_a_row_that_says_so(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = Stage.draw

    def draw(stage: Stage, index: int, seed: int) -> Any:
        if stage.dataset.policy["degrees"]:
            raise TrainingError("augmentation degrees: broke")
        return drawing(stage, index, seed)

    monkeypatch.setattr(Stage, "draw", draw)
    broken, whole, good = (preview_rows(data, contract_of(POLICY), versions=2)[number] for number in (0, 2, 1))
    for row in (broken, whole):
        assert row.messages == (("error", "augmentation degrees: broke"),)
        assert row.severity == "error"
        assert row.note == "cannot be drawn"
        assert len(row.tiles) == 1
    assert good.severity == "info"


def test_what_was_not_measured_and_what_changes_nothing_is_said(data: Dataset) -> None:
    rows = preview_rows(data, contract_of(POLICY, entries=["degrees"]), versions=2)
    assert rows[1].facts == "not measured"
    (idle,) = {row.note for row in preview_rows(data, contract_of(Policy.off(), entries=[]), versions=2)}
    assert idle == "the original, every time"


def test_pasted_objects_have_a_dashed_frame(data: Dataset) -> None:
    grey = np.full((SIZE, SIZE, 3), 120, np.uint8)
    frames = []
    for pasted in (False, True):
        tile = Tile(grey, np.array([[16.0, 16.0, 48.0, 48.0]]), np.array([1]), np.array([pasted]))
        line = np.asarray(tile_image(tile))[16 * TILE // SIZE - 1, 60:160]
        frames.append((line == ImageColor.getrgb(colour_of(1))).all(axis=1))
    assert frames[0].all()
    assert 0.4 < frames[1].mean() < 0.8


@pytest.mark.parametrize("level", [0, 128, 255])
def test_boxes_lie_around_their_objects_and_stand_out_on_any_ground(level: int) -> None:
    picture = np.full((SIZE, SIZE, 3), level, np.uint8)
    tile = Tile(picture, np.array([[16.0, 16.0, 48.0, 48.0]]), np.array([7]), np.array([False]))
    image = np.asarray(tile_image(tile))
    assert (image[56:164, 56:164] == level).all()
    across = image[100, :56].astype(int).mean(axis=1)
    assert np.abs(across - level).max() > 80
    assert across.max() - across.min() > 80


def test_only_the_picture_is_written(data: Dataset, tmp_path: Path) -> None:
    before = snapshot(data.root)
    sizes = []
    for name in ("a/preview.jpg", "a/preview.png"):
        path = draw_preview(data, contract_of(POLICY, [finding("fliplr", "error")]), tmp_path / name, versions=2)
        with Image.open(path) as picture:
            sizes.append((picture.format, picture.size))
    assert files_below(tmp_path) == ["a/preview.jpg", "a/preview.png"]
    assert snapshot(data.root) == before
    assert [kind for kind, _ in sizes] == ["JPEG", "PNG"]
    (width, height), other = sizes[0][1], sizes[1][1]
    assert (width, height) == other
    assert width > 3 * TILE
    assert height > 5 * TILE


def test_a_path_that_is_no_picture_or_cannot_be_written_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"preview\.jpg"):
        draw_preview(data, contract_of(POLICY), tmp_path / "preview.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError):
        draw_preview(data, contract_of(POLICY), tmp_path / "file" / "preview.jpg", versions=1)


def test_letters_that_the_font_lacks_become_the_number_of_the_class(data: Dataset) -> None:
    assert spoken_names(["pit", "焊点"]) == ["pit", "class 1"]
    named = replace(data, names=("焊点", "scratch"))
    told = Finding("augment.shift", "warning", "degrees loses 焊点 and 漢.", {"entry": "degrees"})
    row = preview_rows(named, contract_of(POLICY, [told]), versions=1)[0]
    assert row.messages == (("warning", "degrees loses class 0 and ?."),)


def test_facts_are_told_in_short() -> None:
    measure = EntryMeasure(
        "degrees",
        1.0,
        pictures=8,
        own={"pit": 10},
        yielded={"pit": 9},
        pasted={"pit": 3},
        inflation=1.25,
        contrast={"pit": (0.8, 9), "scratch": (0.4, 9)},
        milliseconds=2.34,
    )
    assert facts_words(measure, {"pit": "pit", "scratch": "class 1"}) == (
        "90% as many boxes come out · 3 objects pasted into 8 pictures · boxes 1.25 times as large as their objects · "
        "lowest object contrast 0.40 of before (class 1) · 2.3 ms a picture"
    )
    assert facts_words(EntryMeasure("x", 1.0, failure="broke"), {}) == ""


@given(st.lists(st.text("abcW ilM", max_size=30), max_size=12), st.integers(40, 400))
def test_wrapped_lines_fit_and_lose_no_letter(words: list[str], width: int) -> None:
    text = " ".join(words)
    lines = wrap(text, 15, width)
    assert all(font(15).getlength(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
