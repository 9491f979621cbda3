"""Rows of YOLO label files: every form that people's tools write, and what must not be taken for one."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
from helpers import yolo_set
from hypothesis import given, settings
from hypothesis import strategies as st
from test_yolo import finding, raw

from pipeline.data.formats.label_text import decode, read_text
from pipeline.data.formats.yolo_rows import parse_rows

ROW = "0 .5 .5 .5 .5"
NAMES = {"pit": 0, "rolled in scale": 1, "Löß": 2, "7": 3, "a.b (c)": 4, "scale": 5, "SCALE": 6}
Form = tuple[float, tuple[float, ...], str | None]


def _parse(text: str, *, pixels: bool = False) -> pl.DataFrame:
    return parse_rows([text], NAMES, pixels=pixels)


def _form(row: str, *, pixels: bool = False) -> Form | str:
    """Return (class, corners, notes) of a row that stands after a sound one, or the id under which it is rejected."""
    table = _parse(f"{ROW}\n{row}", pixels=pixels)
    assert table["line"].to_list() == [1, 2]
    found = table.row(1, named=True)
    assert (found["text"] is None) == (found["id"] is None and found["notes"] is None)
    assert found["text"] in (None, row.strip())
    if found["id"] is not None:
        return str(found["id"])
    return found["class_id"], tuple(found[c] for c in ("x1", "y1", "x2", "y2")), found["notes"]


BOX = (0.25, 0.4, 0.75, 0.6)  # of the centre .5 .5 and the size .5 .2


@pytest.mark.parametrize(
    ("row", "class_id", "notes"),
    [
        ("0 .5 .5 .5 .2", 0, None),
        ("1 0.50 5e-1 +.5 0.2", 1, None),
        ("  2   .5 .5  .5 .2 ", 2, None),
        ("2\u00a0.5\u2003.5 .5 .2\u2028", 2, None),
        ("99 .5 .5 .5 .2", 99, None),  # whether there is such a class is for the intake to say
        ("-1 .5 .5 .5 .2", -1, None),
        ("1.5 .5 .5 .5 .2", 1.5, None),
        ("0 .5 .5 .5 .2 .97", 0, "confidence_column"),
        ("0 .5 .5 .5 .2 1", 0, "confidence_column"),
        ("0 .5 .5 .5 .2 0", 0, "confidence_column"),
        ("0,.5,.5,.5,.2", 0, "separator"),
        ("0, .5, .5, .5, .2", 0, "separator"),
        ("0,.5,.5,.5,.2,", 0, "separator"),
        ("0;.5;.5;.5;.2", 0, "separator"),
        ("0\t.5\t.5\t.5\t.2", 0, "separator"),
        ("0 .5,.5 .5,.2", 0, "separator"),
        ("0 0,5 0,5 0,5 0,2", 0, "decimal_comma"),
        ("0 0,5 0,5 0,5 0,2 0,9", 0, "decimal_comma confidence_column"),
        ("0;0,5;0,5;0,5;0,2", 0, "separator decimal_comma"),
        ("0, 0,5, 0,5, 0,5, 0,2", 0, "separator decimal_comma"),
        ("0\t0,5\t0,5\t0,5\t0,2", 0, "separator decimal_comma"),
        ("0 1/2 .5 .5 .2", "not_parsed", None),
        ("0 .25 .4 .75 .4 .75 .6", 0, "polygon"),
        ("0 .75 .6 .25 .4 .3 .5 .25 .4", 0, "polygon"),
        ("0 .25 .4 .75 .4 .75 .6 .9", 0, "polygon confidence_column"),
        ("0,.25,.4,.75,.4,.75,.6", 0, "separator polygon"),
        ("pit .25 .4 .75 .4 .75 .6", 0, "class_name polygon"),
        ("pit .5 .5 .5 .2", 0, "class_name"),
        ("PIT .5 .5 .5 .2", 0, "class_name"),
        ("'pit' .5 .5 .5 .2", 0, "class_name"),
        ("rolled in scale .5 .5 .5 .2", 1, "class_name"),
        ("Rolled  in\tscale;.5;.5;.5;.2", 1, "separator class_name"),
        ('"rolled in scale",.5,.5,.5,.2', 1, "separator class_name"),
        ("LÖß .5 .5 .5 .2", 2, "class_name"),
        ("7 .5 .5 .5 .2", 7, None),  # a number is a number, also where a class is called so
        ("7,.5,.5,.5,.2", 7, "separator"),
        ("a.b (c) .5 .5 .5 .2", 4, "class_name"),
        ("scale .5 .5 .5 .2", 5, "class_name"),
        ("SCALE .5 .5 .5 .2", 6, "class_name"),
        ("Scale .5 .5 .5 .2", "class_unknown", None),  # two classes differ from it in case
        ("pit 0,5 0,5 0,5 0,2 0,7", 0, "decimal_comma class_name confidence_column"),
        ("dent .5 .5 .5 .2", "class_unknown", None),
        ("pitch .5 .5 .5 .2", "class_unknown", None),
        ("rolled in .5 .5 .5 .2", "class_unknown", None),
        ("class x y w h", "not_parsed", None),  # a heading only where a heading stands
        ("0", "not_parsed", None),
        ("0 .5 .5 .5", "not_parsed", None),
        ("0 .5 .5 .5 .2 97", "not_parsed", None),
        ("0 .5 .5 .5 .2 nan", "not_parsed", None),
        ("0 .5 .5 .5 .2 -.1", "not_parsed", None),
        ("0 .1 .1 .2 .1 .2 .2 3", "not_parsed", None),
        ("0 .5 .5 .5 .2 # seen twice", "not_parsed", None),
        ("0 .5 .5 .5 0x1", "not_parsed", None),
        ("0 .5 .5 .5 1_0", "not_parsed", None),
        ("٠ .5 .5 .5 .2", "class_unknown", None),
        ("0,0,5,0,5,0,5,0,2", "not_parsed", None),  # a comma for everything: five numbers, or nine
        (",", "not_parsed", None),
        (";;;;", "not_parsed", None),
        ("0 320 240 40 40", "looks_like_pixels", None),
        ("0 .5 .5 .5 2.01", "looks_like_pixels", None),
        ("pit,320,240,40,40", "looks_like_pixels", None),
        ("0 10 10 90 10 90 80", "looks_like_pixels", None),
        ("0 320 240 40 40 .9", "looks_like_pixels", None),
    ],
)
def test_forms_of_rows(row: str, class_id: float | str, notes: str | None) -> None:
    if isinstance(class_id, str):
        assert _form(row) == f"labels.{class_id}"
        return
    spoken = notes and " ".join(f"labels.{note}" for note in notes.split())
    found = _form(row)
    assert isinstance(found, tuple)
    assert found == (class_id, pytest.approx(BOX, abs=1e-12), spoken)


def test_a_little_overhang_is_no_pixel_number() -> None:
    assert _form("0 1.2 -.5 2 2") == (0, pytest.approx((0.2, -1.5, 2.2, 0.5)), None)


def test_the_corners_of_a_picture_with_commas_are_a_polygon() -> None:
    assert _form("0,0,0,1,0,1,1,0,1") == (0, (0, 0, 1, 1), "labels.separator labels.polygon")


@pytest.mark.parametrize(
    ("row", "corners", "notes"),
    [
        ("0 320 240 40 20", (300, 230, 340, 250), None),
        ("0,320,240,40,20", (300, 230, 340, 250), "labels.separator"),
        ("0 320,5 240,5 41,0 21,0", (300, 230, 341, 251), "labels.decimal_comma"),
        ("0 10 20 90 20 90 80 10 80", (10, 20, 90, 80), "labels.polygon"),
        ("0,10,20,90,20,90,80,10,80", (10, 20, 90, 80), "labels.separator labels.polygon"),
        ("0 320 240 40 20 .5", (300, 230, 340, 250), "labels.confidence_column"),
    ],
)
def test_rows_in_pixels(row: str, corners: tuple[float, ...], notes: str | None) -> None:
    assert _form(row, pixels=True) == (0, corners, notes)


@pytest.mark.parametrize(
    "row", ["0 nan .5 .2 .2", "0 inf .5 .2 .2", "0 .5 .5 .2 -Infinity", "0 .1 .1 .2 .1 NaN .2", "0,nan,.5,.2,.2"]
)
@pytest.mark.parametrize("pixels", [False, True])
def test_numbers_that_are_not_finite_are_handed_on(row: str, pixels: bool) -> None:
    found = _form(row, pixels=pixels)
    assert isinstance(found, tuple)
    assert not all(map(math.isfinite, found[1]))


@pytest.mark.parametrize(
    "header", ["class x y w h", "# class_id cx cy w h", "class,x_center,y_center,width,height,conf", "label;x;y;w;h"]
)
def test_a_heading_is_told_from_a_spoiled_row(header: str) -> None:
    assert _parse(f"\n{header}\n{ROW}").select("line", "id").rows() == [(2, "labels.header"), (3, None)]
    assert _parse(f"{ROW}\n{header}")["id"].to_list() == [None, "labels.not_parsed"]
    assert _parse(f"dent .5 .5 .2 .2\n{header}")["id"].to_list() == ["labels.class_unknown", "labels.not_parsed"]


def test_one_spoiled_row_costs_no_other_and_lines_are_those_of_the_file() -> None:
    texts = ["", f"\n{ROW}\n\n nonsense\n{ROW}", "\n\n", f"{ROW}\n"]
    table = parse_rows(texts, {}, pixels=False)
    assert table.select("file", "line", "id").rows() == [
        (1, 2, None),
        (1, 4, "labels.not_parsed"),
        (1, 5, None),
        (3, 1, None),
    ]
    assert parse_rows([], {}, pixels=False).height == parse_rows(["", "\n \n"], {}, pixels=False).height == 0


def test_long_rows_are_kept_short_and_take_no_time() -> None:
    points = " ".join(["0.5"] * 100_000)
    blanks = "0 .5" + " " * 200_000 + ",.5"
    table = _parse(f"0 {points}\n{blanks}\n{'x,' * 100_000}\n{'1' * 200_000}x\n{'1' * 200_000}")
    assert table["id"].to_list() == [None, *["labels.not_parsed"] * 4]
    assert table["text"].str.len_chars().max() == 200


_NUMBERS = st.floats(0, 2).map(lambda value: f"{value:.6f}") | st.sampled_from(["0", "1", "nan", "1e-3"])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 5), st.lists(_NUMBERS, min_size=1, max_size=11)), max_size=12))
def test_plain_numbers_are_what_python_reads(rows: list[tuple[int, list[str]]]) -> None:
    table = _parse("\n".join(" ".join([str(class_id), *numbers]) for class_id, numbers in rows))
    assert table.height == len(rows)
    for (class_id, numbers), found in zip(rows, table.iter_rows(named=True), strict=True):
        values = [float(number) for number in numbers]
        sure = len(values) % 2 == 1 and len(values) >= 5 and 0 <= values[-1] <= 1
        points = values[:-1] if sure else values
        if len(points) < 4 or len(points) % 2:
            assert found["id"] == "labels.not_parsed"
            continue
        x, y, w, h = points[:4]
        corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        if len(points) > 4:
            nan = any(map(math.isnan, points))
            corners = [(nan and math.nan) or edge(points[axis::2]) for edge in (min, max) for axis in (0, 1)]
        assert [found[c] for c in ("x1", "y1", "x2", "y2")] == pytest.approx(corners, nan_ok=True)
        assert found["class_id"] == class_id


@pytest.mark.parametrize("sign", ["", "+", "-", "--"])
@pytest.mark.parametrize("end", ["", "e5", "E+5", "e-05", "e999", "e", "_0"])
def test_the_careful_way_knows_the_same_numbers_as_the_fast_one(sign: str, end: str) -> None:
    for word in (
        "1",
        "1.",
        "1.5",
        ".5",
        "00",
        "1" * 25,
        "nan",
        "NAN",
        "iNf",
        "infinity",
        ".",
        "1.5.1",
        "0x1",
        "½",
        "²",
    ):
        fast, careful = (
            _parse(row, pixels=True) for row in (f"0 .5 {sign}{word}{end} 1 1", f"0,.5,{sign}{word}{end},1,1")
        )
        assert (fast["id"][0] is None) == (careful["id"][0] is None), word
        assert careful.select("class_id", "x1", "y1", "x2", "y2").equals(
            fast.select("class_id", "x1", "y1", "x2", "y2")
        )
        assert fast["id"][0] is not None or careful["y1"][0] is not None


@pytest.mark.parametrize(
    ("row", "keypoints", "found"),
    [
        ("0 .5 .5 .5 .2 .1 .1 2 .9 .9 2", 6, "labels.keypoints"),
        ("0 .5 .5 .5 .2 .1 .1 .9 .9", 4, "labels.keypoints"),
        ("0 .5 .5 .5 .2 .1 .1 2", 3, "labels.keypoints"),  # as many columns as an outline and a confidence
        ("0 .5 .5 .5 .2 .1 .1 1", 3, "labels.keypoints"),
        ("0 .5 .5 .5 .2 nan .1 99", 3, "labels.keypoints"),
        ("0,.5,.5,.5,.2,.1,.1,1", 3, "labels.separator labels.keypoints"),
        ("pit .5 .5 .5 .2 .1 .1 1", 3, "labels.class_name labels.keypoints"),
        ("0 .5 .5 .5 .2 .1 .1 1 .93", 3, "labels.keypoints labels.confidence_column"),
        ("0 .5 .5 .5 .2 .93", 3, "labels.confidence_column"),
        ("0 .5 .5 .5 .2", 3, None),
    ],
)
def test_keypoints_behind_a_box_are_left_out(row: str, keypoints: int, found: str | None) -> None:
    table = parse_rows([f"{ROW}\n{row}"], NAMES, pixels=False, keypoints=keypoints)
    assert table["id"].to_list() == [None, None]
    assert table["notes"].to_list() == [None, found]
    assert table.select("x1", "y1", "x2", "y2").row(1) == pytest.approx(BOX)


@pytest.mark.parametrize("row", ["0 .1 .1 .9 .1 .9 .9", "0 .5 .5 .5 .2 .1 .1 1 7", "0 .5 .5 .5 .2 .1", "0 .5 .5 .5"])
def test_beside_keypoints_nothing_is_a_polygon(row: str) -> None:
    table = parse_rows([row], NAMES, pixels=False, keypoints=3)
    assert table["notes"].to_list() == ["labels.confidence_column" if row.endswith(".2 .1") else None]
    assert table["id"].to_list() == [None if row.endswith(".2 .1") else "labels.not_parsed"]


# ---- encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text", "encoding"),
    [
        (b"0 .5\n", "0 .5\n", "utf-8"),
        ("0 grün\n".encode(), "0 grün\n", "utf-8"),
        ("0 grün\n".encode("utf-8-sig"), "0 grün\n", "utf-8"),
        ("0 grün – €\n".encode("cp1252"), "0 grün – €\n", "cp1252"),
        ("0 grün\n".encode("latin-1"), "0 grün\n", "cp1252"),
        ("0 grün\n".encode("utf-16"), "0 grün\n", "utf-16-le"),
        ("0 grün\n".encode("utf-16-le"), "0 grün\n", "utf-16-le"),
        ("0 grün\n".encode("utf-16-be"), "0 grün\n", "utf-16-be"),
        (b"\xfe\xff" + "0 ж\n".encode("utf-16-be"), "0 ж\n", "utf-16-be"),
        (b"0\r\n1\r2\n\r\n3", "0\n1\n2\n\n3", "utf-8"),
        (b"\x81\xff", "\x81ÿ", "latin-1"),  # as in Chinese and Japanese encodings
        (b"0 \x7f", "0 \x7f", "utf-8"),
        (b"0\x1a", "0", "utf-8"),  # how DOS ended a file
        (b"", "", "utf-8"),
        (b"\xef\xbb\xbf", "", "utf-8"),
    ],
)
def test_text_is_decoded(content: bytes, text: str, encoding: str) -> None:
    found = decode(content)
    assert (found.text, found.encoding, found.problem) == (text, encoding, None)


@pytest.mark.parametrize(
    "content",
    [b"\0", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"0 .5\0 .5", b"\xff\xfe0", b"0\x01", b"\x1f\x8b\x08\0"],
)
def test_what_is_no_text_is_told(content: bytes) -> None:
    assert decode(content).problem == "its content is no text"


def test_files_are_read_whole_up_to_a_limit_and_never_raise(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"0" * 200_000)  # several blocks
    assert read_text(str(file)) == decode(b"0" * 200_000)
    assert read_text(str(file), limit=200_000).problem is None
    assert read_text(str(file), limit=199_999).problem == "larger than 0 MiB, so not what is expected here"
    assert read_text(str(tmp_path / "gone.txt")).problem == "No such file or directory"
    assert read_text(str(tmp_path)).problem == "Is a directory"
    assert "null" in str(read_text("a\0b").problem)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "cp1252"])
def test_label_files_in_other_encodings_are_read_and_named(tmp_path: Path, encoding: str) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": "", "train/b.png": ROW}, "names: [pit, Löß]\n")
    (folder / "labels/train/a.txt").write_bytes("\r\nLöß .5 .5 .5 .2\r".encode(encoding))
    found = raw(folder)
    assert found.boxes.select("source", "class_id", "notes").rows() == [
        ("labels/train/a.txt:2", 1.0, "labels.class_name"),
        ("labels/train/b.txt:1", 0.0, None),
    ]
    assert finding(found, "labels.encoding").evidence == {"count": 1, "files": ["labels/train/a.txt"]}
    assert finding(found, "labels.encoding").severity == "info"


def test_a_label_file_that_is_no_text_is_named_and_its_picture_left_out(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {f"train/{name}.png": ROW for name in "abc"})
    (folder / "labels/train/a.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    found = raw(folder)
    assert found.boxes.height == 2
    assert found.images["path"].to_list() == ["images/train/b.png", "images/train/c.png"]  # no background in silence
    notice = finding(found, "labels.file_broken")
    assert notice.severity == "warning"
    assert "how many rows they have is not known" in notice.message
    assert notice.evidence == {"count": 1, "files": ["labels/train/a.txt"]}
    (error,) = [one for one in raw(folder, unlabelled=0.3).findings if one.severity == "error"]
    assert error.id == "labels.no_file"


# ---- when it is most of the rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "key", "advice"),
    [
        ("0 320 240 40 40", "labels.looks_like_pixels", "data.coordinates=pixels"),
        ("dent .5 .5 .2", "labels.not_parsed", "export them as YOLO detection again"),
    ],
)
def test_half_of_the_rows_being_of_another_form_is_an_error(tmp_path: Path, row: str, key: str, advice: str) -> None:
    few = raw(yolo_set(tmp_path / "few", {"train/a.png": f"{ROW}\n{row}\n{ROW}\n"}))
    assert [one.severity for one in few.findings if one.id == key] == []
    assert few.rejected.select("id", "source", "action", "before").rows() == [
        (key, "labels/train/a.txt:2", "dropped", row)
    ]
    half = raw(yolo_set(tmp_path / "half", {"train/a.png": f"{ROW}\n{row}\n"}))
    error = finding(half, key)
    assert error.severity == "error"
    assert advice in error.advice
    assert row in error.message
    assert error.evidence == {"count": 1, "rows": ["labels/train/a.txt:2"]}


def test_pixels_are_taken_as_such_when_asked(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": "0 20 15 10 6\n"})
    found = raw(folder, coordinates="pixels")
    assert not found.fractions
    assert found.boxes.select("x1", "y1", "x2", "y2").rows() == [(15, 12, 25, 18)]
    assert found.findings == ()
    assert raw(folder).fractions
