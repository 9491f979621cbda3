"""Pictures by the tables and headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest
from helpers import box, dataset_of

from pipeline.data.checks import Snapshot, take_snapshot
from pipeline.data.checks.pictures import (
    background,
    enlarged,
    huge,
    modes,
    much_reduced,
    odd_sizes,
    several_pages,
    turned,
)
from pipeline.data.intake import Intake
from pipeline.data.picture_headers import HEADERS_SCHEMA
from pipeline.data.raw import LEDGER_SCHEMA

SIZED = {"width": 640, "height": 480}


def _set(count: int, empty: int = 0, sizes: Mapping[int, Mapping[str, Any]] | None = None) -> Snapshot:
    pictures = {n: {**SIZED, **(sizes or {}).get(n, {})} for n in range(1, count + 1)}
    rows = [box(n, 0, 10, 10, 60, 60) for n in range(empty + 1, count + 1)]
    return take_snapshot(dataset_of(rows, pictures=pictures), 640)


@pytest.mark.parametrize(
    ("empty", "expected"),
    [
        (0, ("images.no_background", "info")),
        (1, None),
        (10, None),
        (11, ("images.background_share", "info")),
        (50, ("images.background_share", "info")),
        (51, ("images.background_share", "warning")),
        (100, None),  # no boxes at all: another finding
    ],
)
def test_the_share_of_pictures_without_an_object(empty: int, expected: tuple[str, str] | None) -> None:
    found = background(_set(100, empty))
    assert [(finding.id, finding.severity) for finding in found] == ([expected] if expected else [])
    if found and empty:
        assert found[0].evidence["count"] == empty


def test_the_background_of_train_is_what_counts() -> None:
    pictures = {n: {"split": "val" if n < 40 else "train"} for n in range(1, 101)}
    rows = [box(n, 0, 10, 10, 60, 60) for n in range(41, 101)]
    assert background(take_snapshot(dataset_of(rows, pictures=pictures), 640)) == []


def test_one_picture_of_another_size_is_odd_and_many_are_a_mixture() -> None:
    assert odd_sizes(_set(40)) == []
    assert odd_sizes(_set(40, sizes={1: {"width": 1900, "height": 900}})) == []  # not three times as large
    (odd,) = odd_sizes(_set(40, sizes={1: {"width": 2000, "height": 900}, 7: {"width": 200, "height": 100}}))
    assert (odd.id, odd.severity, odd.evidence["pictures"]) == ("images.odd_size", "info", ["7.png", "1.png"])
    (three,) = odd_sizes(_set(40, sizes={n: {"width": 3000, "height": 900} for n in range(1, 4)}))
    assert three.id == "images.mixed_sizes"  # more than 5 %
    (mixed,) = odd_sizes(_set(40, sizes={n: {"width": 3000, "height": 900} for n in range(1, 11)}))
    assert (mixed.id, mixed.evidence["count"]) == ("images.mixed_sizes", 10)


def test_small_pictures_are_enlarged_and_a_smaller_imgsz_is_named() -> None:
    sizes = {n: {"width": 200, "height": 250} for n in range(1, 4)}
    (finding,) = enlarged(_set(5, sizes=sizes))
    assert (finding.severity, finding.evidence["count"]) == ("info", 3)
    assert "train.imgsz=256 is about 6 times as fast" in finding.advice
    assert enlarged(_set(5, sizes={1: {"width": 320, "height": 10}})) == []


def test_large_pictures_are_a_warning_only_where_their_boxes_become_small() -> None:
    large = {"width": 4000, "height": 3000}
    small = dataset_of([box(1, 0, 10 * n, 10, 10 * n + 40, 50) for n in range(9)], pictures={1: large, 2: SIZED})
    (finding,) = much_reduced(take_snapshot(small, 640))
    assert (finding.severity, finding.evidence["seen_size"]) == ("warning", 6.4)
    assert "tuneup tile" in finding.advice
    for side, severity in ((99, "warning"), (101, "info")):  # 15.8 and 16.2 pixels of the input
        usual = dataset_of([box(1, 0, 10, 10, 10 + side, 10 + side)], pictures={1: large})
        assert [f.severity for f in much_reduced(take_snapshot(usual, 640))] == [severity]
    wide = dataset_of([box(1, 0, 10, 10, 900, 900)], pictures={1: large})
    assert [f.severity for f in much_reduced(take_snapshot(wide, 640))] == ["info"]
    assert [f.severity for f in much_reduced(take_snapshot(dataset_of([], pictures={1: large}), 640))] == ["info"]
    assert much_reduced(take_snapshot(wide, 1024)) == []


def test_pictures_that_pillow_would_refuse_are_named() -> None:
    (finding,) = huge(_set(3, sizes={2: {"width": 20_000, "height": 9_000}}))
    assert (finding.severity, finding.evidence["pictures"]) == ("warning", ["2.png"])
    assert huge(_set(3, sizes={2: {"width": 20_000, "height": 8_900}})) == []


def _headers(*rows: Mapping[str, Any]) -> pl.DataFrame:
    usual = {"orientation": 1, "mode": "RGB", "bits": 8}
    table = [{"path": f"{n}.png", **usual, **row} for n, row in enumerate(rows, start=1)]
    return pl.DataFrame(table, {"path": pl.String, **HEADERS_SCHEMA})


def _with_headers(*rows: Mapping[str, Any], intake: bool = False) -> Snapshot:
    dataset = dataset_of([], pictures=len(rows))
    read = Intake(dataset, pl.DataFrame(schema=LEDGER_SCHEMA), 0) if intake else None
    return take_snapshot(dataset, 640, headers=_headers(*rows), intake=read)


def test_kinds_of_pictures_are_named_where_they_are_mixed() -> None:
    (finding,) = modes(_with_headers({}, {}, {"mode": "L"}, {"mode": "I;16"}))
    assert finding.evidence["kinds"] == {"colour": 2, "grey": 1, "grey of 16 bits": 1}
    assert finding.evidence["pictures"] == ["3.png", "4.png"]
    assert modes(_with_headers({}, {})) == []
    assert modes(_set(3)) == []  # nobody looked


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("RGBA", "transparency is dropped"),
        ("LA", "transparency is dropped"),
        ("P", "palette's colours are put in"),
        ("CMYK", "printing colours are made RGB"),
        ("1", "becomes 0 and 255"),
        ("YCbCr", "is made RGB"),
        ("LAB", "is made RGB"),
    ],
)
def test_a_kind_that_is_neither_grey_nor_colour_is_told_even_if_all_are_of_it(mode: str, words: str) -> None:
    (finding,) = modes(_with_headers({"mode": mode}, {"mode": mode}))
    assert (finding.id, finding.severity) == ("images.modes", "info")
    assert words in finding.message
    assert "pictures of one kind" in finding.message
    assert finding.evidence["pictures"] == ["1.png", "2.png"]
    (mixed,) = modes(_with_headers({"mode": mode}, {"mode": mode}, {}))
    assert words in mixed.message
    assert mixed.evidence["pictures"] == ["3.png", "1.png", "2.png"]


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "F"])
def test_plain_grey_and_plain_colour_alone_are_silent(mode: str) -> None:
    assert modes(_with_headers({"mode": mode}, {"mode": mode})) == []


def test_files_of_several_pages_are_told_with_what_is_not_read() -> None:
    rows = ({"pages": 1}, {"pages": 3}, {"pages": 12}, {"pages": 5, "problem": "images.truncated"})
    (finding,) = several_pages(_with_headers(*rows))
    assert (finding.id, finding.severity) == ("images.pages", "info")
    assert finding.evidence == {"count": 2, "pictures": ["3.png", "2.png"], "pages": [12, 3], "not_read": 13}
    assert "only the first is read" in finding.message
    assert several_pages(_with_headers({"pages": 1})) == [] == several_pages(_set(3))


def test_pictures_that_are_not_used_have_no_kind() -> None:
    assert modes(_with_headers({}, {"mode": "L", "problem": "images.truncated"})) == []


def test_turned_pictures_are_counted_where_no_intake_has_judged_them() -> None:
    (finding,) = turned(_with_headers({}, {"orientation": 6}))
    assert (finding.severity, finding.evidence["pictures"]) == ("warning", ["2.png"])
    assert turned(_with_headers({}, {"orientation": 6}, intake=True)) == []
    assert turned(_with_headers({}, {})) == []
