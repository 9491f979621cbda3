"""Headers against two oracles that read the same files by other means: Pillow's headers, and OpenCV's decoding."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers import ORIENTATION, ROOT, draw, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from pipeline.data import picture_headers as module
from pipeline.data.images import read_stored
from pipeline.data.picture_headers import HEADERS_SCHEMA, picture_headers, problem_of
from pipeline.errors import DataError

SHARED = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data"
NOISE = np.random.default_rng(0).integers(0, 256, (37, 53, 3)).astype(np.uint8)
PICTURE = Image.fromarray(NOISE)
DEEP = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 16)
KINDS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def header(folder: Path, content: bytes) -> dict[str, Any]:
    path = folder / "picture.dat"  # no suffix gives anything away
    path.write_bytes(content)
    return picture_headers([path]).row(0, named=True)


def decoded(content: bytes) -> np.ndarray[Any, Any] | None:
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None


# ---- what Pillow says ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=120)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I", "F"]),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.integers(1, 8),
)
def test_size_and_mode_are_those_that_pillow_reads(
    tmp_path_factory: pytest.TempPathFactory, kind: str, mode: str, size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP") else {}
    try:
        content = encoded(Image.new(mode, size), kind, **options)
    except (OSError, ValueError):
        return  # there is no such file
    row = header(tmp_path_factory.mktemp("any"), content)
    with Image.open(io.BytesIO(content)) as known:
        stored = (
            (known.tag_v2[256], known.tag_v2[257]) if isinstance(known, TiffImagePlugin.TiffImageFile) else known.size
        )
        known_mode = "RGB" if kind == "WEBP" and known.mode == "RGBX" else known.mode
    if row["problem"] is not None:  # what OpenCV does not decode
        assert decoded(content) is None
        return
    assert (row["stored_width"], row["stored_height"]) == stored
    assert row["orientation"] == (orientation if options else 1)
    assert (row["width"], row["height"]) == (stored[::-1] if row["orientation"] >= 5 else stored)
    assert row["bytes"] == len(content)
    if kind == "GIF" or (kind, mode) == ("BMP", "P"):
        return  # Pillow's mode depends on the colours that are used
    assert row["mode"] == known_mode
    assert row["bits"] in {"1": (1,), "I;16": (16,), "I": (32,), "F": (32,), "P": (1, 2, 4, 8)}.get(known_mode, (8,))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_pages_are_counted(tmp_path: Path, kind: str) -> None:
    more = [Image.new("RGB", PICTURE.size, (40 * number, 9, 9)) for number in range(4)]
    content = encoded(PICTURE, kind, save_all=True, append_images=more)
    with Image.open(io.BytesIO(content)) as known:
        assert header(tmp_path, content)["pages"] == known.n_frames == 5
    assert header(tmp_path, encoded(PICTURE, kind))["pages"] == 1


def test_a_chain_of_pages_that_runs_in_a_circle_ends(tmp_path: Path) -> None:
    content = bytearray(encoded(PICTURE, "TIFF"))
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * entries, start)
    row = header(tmp_path, bytes(content))
    assert (row["pages"], row["problem"]) == (1, None)


def test_a_damaged_size_of_64_bits_is_a_row_as_well(tmp_path: Path) -> None:
    content = bytearray(encoded(PICTURE, "TIFF", big_tiff=True))
    (entry,) = (at for at in range(16, 400) if content[at : at + 4] == struct.pack("<HH", 256, 4))
    struct.pack_into("<HHQQ", content, entry, 256, 16, 1, 1 << 40)
    row = header(tmp_path, bytes(content))
    assert (row["problem"], row["stored_width"]) == ("images.too_large", None)
    assert decoded(bytes(content)) is None


@pytest.mark.parametrize("folder", ["deeppcb/images", "bccd/JPEGImages"])
def test_real_pictures(folder: str) -> None:
    paths = sorted((SHARED / folder).rglob("*.jpg"))[::7]
    if not paths:
        pytest.skip(f"{folder} is not in the folder shared/data")
    table = picture_headers(paths)
    assert table["problem"].null_count() == len(paths)
    for row, path in zip(table.iter_rows(named=True), paths, strict=True):
        with Image.open(path) as known:
            assert (row["width"], row["height"], row["mode"]) == (*known.size, known.mode)
    assert table["bytes"].to_list() == [path.stat().st_size for path in paths]


# ---- what OpenCV does ------------------------------------------------------------------------------------------------

SAMPLES = ((1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (10, 1), (12, 1), (14, 1), (16, 1), (16, 2), (16, 3))
SAMPLES += ((24, 1), (32, 1), (32, 2), (32, 3), (64, 1), (64, 3))


def tiff(photometric: int, channels: int, bits: int, kind: int, planar: int = 1, order: str = "<") -> bytes:
    """Return an uncompressed TIFF of 20 x 12 random pixels, put together by hand."""
    width, height, parts = 20, 12, channels if planar == 2 else 1
    length = (width * bits * channels // parts + 7) // 8 * height
    fields = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 277: [channels]}
    fields |= {278: [height], 279: [length] * parts, 284: [planar], 339: [kind] * channels, 273: [0] * parts}
    if photometric == 3:
        fields[320] = list(range(3 << bits))
    colours = {2: 3, 5: 4, 6: 3, 8: 3}.get(photometric, 1)
    if channels > colours:
        fields[338] = [0] * (channels - colours)
    long = {273, 279}
    start = 8 + 2 + 12 * len(fields) + 4
    room = {tag: len(values) * (4 if tag in long else 2) for tag, values in fields.items()}
    pixels = start + sum(size for size in room.values() if size > 4)
    fields[273] = [pixels + length * part for part in range(parts)]
    entries, values = b"", b""
    for tag in sorted(fields):
        code, letter = (4, "I") if tag in long else (3, "H")
        raw = struct.pack(f"{order}{len(fields[tag])}{letter}", *fields[tag])
        inline = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(order + "I", start + len(values))
        values += raw if len(raw) > 4 else b""
        entries += struct.pack(order + "HHI", tag, code, len(fields[tag])) + inline
    top = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(fields))
    return top + entries + bytes(4) + values + np.random.default_rng(1).bytes(length * parts)


@pytest.mark.parametrize("photometric", [0, 1, 2, 3, 5, 6, 8])
def test_a_tiff_is_a_picture_if_opencv_decodes_it_in_full_depth(tmp_path: Path, photometric: int) -> None:
    found = set()
    for channels in range(1, 6):
        for bits, kind in SAMPLES:
            if photometric == 3 and (channels > 1 or bits > 8):
                continue
            for planar, order in ((1, "<"), *([(1, ">")] if bits >= 16 else []), *([(2, "<")] if channels > 1 else [])):
                content = tiff(photometric, channels, bits, kind, planar, order)
                row, picture = header(tmp_path, content), decoded(content)
                full = picture is not None and picture.dtype != np.int8 and (picture.dtype != np.uint8) == (bits > 8)
                assert (row["problem"] is None) == full, (channels, bits, kind, planar, row["detail"])
                assert row["problem"] in (None, "images.not_a_picture")
                assert not full or ((row["width"], row["height"]) == (20, 12) and row["bits"] == bits)
                found.add(full)
    assert found == {True, False}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd"])
def test_compressions_of_tiff(tmp_path: Path, compression: str, big: bool) -> None:
    content = encoded(PICTURE, "TIFF", compression=compression, big_tiff=big)
    assert (header(tmp_path, content)["problem"] is None) == (decoded(content) is not None)


@pytest.mark.parametrize("code", [34661, 34712, 34887, 34925, 50000, 50001])
def test_compressions_that_opencv_lacks(tmp_path: Path, code: int) -> None:
    plain, field = tiff(1, 1, 8, 1), struct.pack("<HHI", 259, 3, 1)
    content = plain.replace(field + struct.pack("<H", 1), field + struct.pack("<H", code))
    row = header(tmp_path, content)
    assert row["detail"].startswith("a TIFF compressed by ")
    assert row["problem"] == "images.not_a_picture"
    picture = decoded(content)
    assert picture is None or not picture.any()  # JPEG 2000 comes out black, without a word


@pytest.mark.parametrize("kind", [*KINDS, "progressive", "deep"])
def test_a_file_that_ends_too_early_is_found_by_its_header_alone(tmp_path: Path, kind: str) -> None:
    picture = DEEP if kind == "deep" else PICTURE
    options = {"progressive": True} if kind == "progressive" else {}
    whole = encoded(picture, {"progressive": "JPEG", "deep": "PNG"}.get(kind, kind), **options)
    assert header(tmp_path, whole)["problem"] is None
    for length in (*range(12, len(whole), 1 + len(whole) // 60), *range(len(whole) - 12, len(whole))):
        row = header(tmp_path, whole[:length])
        assert row["problem"] == "images.truncated", (length, row)
        assert row["width"] is None
        assert decoded(whole[:length]) is None  # as OpenCV sees it


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([*KINDS, "deep"]),
    st.lists(st.tuples(st.integers(0, 160), st.sampled_from([0, 1, 77, 255, 128])), min_size=1, max_size=3),
)
def test_spoilt_headers_are_rows_and_sizes_hold(
    tmp_path_factory: pytest.TempPathFactory, kind: str, spoilt: list[tuple[int, int]]
) -> None:
    exif = Image.Exif()
    exif.update({ORIENTATION: 6, 0x010F: "a maker of cameras", 0x011A: 72.0})
    options = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "deep") else {}
    content = bytearray(encoded(DEEP, "PNG", **options) if kind == "deep" else encoded(PICTURE, kind, **options))
    for place, value in spoilt:
        content[place] = value
    row, picture = header(tmp_path_factory.mktemp("spoilt"), bytes(content)), decoded(bytes(content))
    if row["problem"] is None and picture is not None:
        assert (row["height"], row["width"]) == picture.shape[:2]


# ---- EXIF ------------------------------------------------------------------------------------------------------------

HEAD = b"Exif\0\0"


def exif_data(*entries: bytes, order: str = ">") -> bytes:
    mark = b"MM" if order == ">" else b"II"
    return mark + struct.pack(order + "HIH", 42, 8, len(entries)) + b"".join(entries) + bytes(4)


def turned(value: int, order: str = ">") -> bytes:
    return struct.pack(order + "HHIHH", ORIENTATION, 3, 1, value, 0)


SIX, ONE = exif_data(turned(6)), exif_data(turned(1))
LOST_TEXT = struct.pack(">HHII", 0x010E, 2, 1000, 5000)
LOST_FRACTION = struct.pack(">HHII", 0x011A, 5, 1, 5000)
EXIF = {
    "little end first": [exif_data(turned(6, "<"), order="<")],
    "two, the first counts": [SIX, ONE],
    "two, the first is upright": [ONE, SIX],
    "the first states nothing": [exif_data(), SIX],
    "a text outside before": [exif_data(LOST_TEXT, turned(6))],
    "a text outside behind": [exif_data(turned(6), LOST_TEXT)],
    "a fraction outside before": [exif_data(LOST_FRACTION, turned(6))],
    "twice in one": [exif_data(turned(6), turned(1))],
    "as 32 bits": [exif_data(struct.pack(">HHII", ORIENTATION, 4, 1, 6))],
    "as 32 bits, little end first": [exif_data(struct.pack("<HHII", ORIENTATION, 4, 1, 6), order="<")],
    "0": [exif_data(turned(0))],
    "9": [exif_data(turned(9))],
    "more entries than there are": [SIX.replace(b"\0\x01\x01\x12", b"\0\x32\x01\x12")],
    "not 42": [SIX.replace(b"\0*", b"\0+")],
    "no order": [b"MI" + SIX[2:]],
    "cut off": [SIX[:18]],
    "nothing": [b""],
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("case", EXIF)
def test_exif_counts_where_opencv_heeds_it(tmp_path: Path, kind: str, case: str) -> None:
    content = encoded(PICTURE, kind)
    if kind == "JPEG":
        parts = [b"\xff\xe1" + struct.pack(">H", len(HEAD + data) + 2) + HEAD + data for data in EXIF[case]]
        content = content[:2] + b"".join(parts) + content[2:]
    elif kind == "PNG":
        parts = [chunk(b"eXIf", data) for data in EXIF[case]]
        content = content[:33] + b"".join(parts) + content[33:]
    else:
        frame = b"VP8X" + struct.pack("<IIHBHB", 10, 0x08, 52, 0, 36, 0)
        parts = [b"EXIF" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for data in EXIF[case]]
        body = frame + content[12:] + b"".join(parts)
        content = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    row, picture = header(tmp_path, content), decoded(content)
    assert picture is not None
    assert (row["height"], row["width"]) == picture.shape[:2]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("change", ["", "not announced", "beyond the stated length", "a film"])
def test_exif_of_a_webp_counts_where_it_is_announced(tmp_path: Path, change: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    film = {"save_all": True, "append_images": [Image.new("RGB", PICTURE.size)]} if change == "a film" else {}
    content = bytearray(encoded(PICTURE, "WEBP", exif=exif, **film))
    if change == "not announced":
        content[20] &= ~0x08
    elif change == "beyond the stated length":
        struct.pack_into("<I", content, 4, len(content) - 8 - 6)
    row, picture = header(tmp_path, bytes(content)), decoded(bytes(content))
    assert picture is not None
    assert (row["height"], row["width"]) == picture.shape[:2] == ((37, 53) if change else (53, 37))


def test_exif_of_a_png_with_a_wrong_checksum_is_passed_over(tmp_path: Path) -> None:
    plain = encoded(PICTURE, "PNG")
    damaged = plain[:33] + chunk(b"eXIf", SIX)[:-1] + b"x" + plain[33:]
    assert header(tmp_path, damaged)["orientation"] == 1
    assert decoded(damaged).shape[:2] == (37, 53)  # type: ignore[union-attr]


# ---- ends of JPEGs ---------------------------------------------------------------------------------------------------


BEHIND = {"a zero": b"\0", "line ends": b"\n\n", "padding": bytes(100_000), "another": b"\xff\xd8\xff\xd9"}
BEHIND["a film"] = bytes(range(250)) * 12_000


@pytest.mark.parametrize("case", BEHIND)
def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(tmp_path: Path, case: str) -> None:
    behind = BEHIND[case]
    content = encoded(PICTURE, "JPEG") + behind  # padding of cameras, films that phones hang on
    assert header(tmp_path, content)["problem"] is None
    assert decoded(content) is not None


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(tmp_path: Path) -> None:
    whole = encoded(PICTURE, "JPEG")
    small = HEAD + ONE + whole  # EXIF keeps small pictures so
    content = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + whole[2:-2]
    assert header(tmp_path, content)["problem"] == "images.truncated"
    assert decoded(content) is None


def test_fill_bytes_between_segments_are_allowed(tmp_path: Path) -> None:
    whole = encoded(PICTURE, "JPEG")
    content = whole[:2] + b"\xff\xff\xff" + whole[2:]
    assert header(tmp_path, content)["width"] == 53
    assert decoded(content) is not None


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC9])
def test_kinds_of_jpeg_that_are_not_decoded(tmp_path: Path, frame: int) -> None:
    content = encoded(PICTURE, "JPEG").replace(b"\xff\xc0", bytes([0xFF, frame]), 1)
    row = header(tmp_path, content)
    assert (row["problem"] is None) == (decoded(content) is not None)
    twelve = encoded(PICTURE, "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c", 1)
    assert header(tmp_path, twelve)["detail"] == (
        "a JPEG of a kind that OpenCV does not decode (3 channels of 12 bits)"
    )


@pytest.mark.parametrize("change", ["no length", "upside down", "wrong length"])
def test_the_length_that_a_bmp_states_does_not_matter(tmp_path: Path, change: str) -> None:
    content = bytearray(encoded(PICTURE, "BMP"))
    if change == "upside down":
        struct.pack_into("<i", content, 22, -37)
    else:
        struct.pack_into("<I", content, 2, 0 if change == "no length" else 1 << 28)
    row = header(tmp_path, bytes(content))
    assert (row["width"], row["height"], row["problem"]) == (53, 37, None)
    assert decoded(bytes(content)) is not None


# ---- files that are no pictures --------------------------------------------------------------------------------------

FOREIGN = {
    "a web page": (b"\n<!DOCTYPE html><html>404</html>", "starts like a web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "a pointer of Git LFS"),
    "svg": (b"<svg xmlns=''/>", "starts like XML or SVG"),
    "json": (b'{"error": "no access"}', "starts like JSON"),
    "pdf": (b"%PDF-1.4", "a PDF document"),
    "zip": (b"PK\x03\x04\0\0", "a ZIP archive"),
    "exr": (b"v/1\x01\x02\0\0\0", "an OpenEXR picture"),
    "hdr": (b"#?RADIANCE\n", "a Radiance HDR picture"),
    "heic": (b"\0\0\0\x18ftypheic", "a HEIC picture"),
    "avif": (b"\0\0\0\x18ftypavif", "an AVIF picture"),
    "film": (b"\0\0\0\x18ftypisom", "a film"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    "netpbm": (b"P6\n2 2\n255\n", "a Netpbm picture"),
    "dicom": (bytes(128) + b"DICM", "a DICOM file"),
    "zeros": (bytes(5000), "starts with nothing but zeros"),
    "text": (b"nothing here\n", "starts like text"),
    "noise": (b"\x07\x80\x90\xa0\xb0", "starts with the bytes 07 80 90 a0"),
    "a sound": (b"RIFF\x10\0\0\0WAVEfmt ", "starts with the bytes 52 49 46 46"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_no_picture_is_called_by_its_name(tmp_path: Path, case: str) -> None:
    content, words = FOREIGN[case]
    row = header(tmp_path, content)
    assert row["problem"] == "images.not_a_picture"
    assert row["detail"].startswith(words)


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(PICTURE.convert("LA"), "PNG"))
    row = picture_headers([path]).row(0, named=True)
    assert (row["mode"], row["width"], row["problem"]) == ("LA", 53, None)


def test_missing_empty_folders_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    (tmp_path / "file").touch()
    names = ["gone.png", "empty.png", "folder.png", "pipe.png", "file/below.png", "nul\0.png", "x" * 300 + ".png"]
    rows = list(picture_headers([tmp_path / name for name in names]).iter_rows(named=True))
    ids = ["missing", "empty_file", "not_a_picture", "not_a_picture", "missing", "missing", "missing"]
    assert [row["problem"] for row in rows] == [f"images.{word}" for word in ids]
    assert [row["detail"] for row in rows[:4]] == ["no such file", "the file is empty", "a folder", "not a file"]
    assert all(row["detail"] for row in rows)


def png_that_claims(width: int, height: int) -> bytes:
    data = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", data) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((20_000, 20_000), None),  # beyond the 179 megapixels that Pillow opens
        ((1 << 15, 1 << 15), None),
        ((1 << 15, (1 << 15) + 1), "images.too_large"),
        ((1_000_001, 1), "images.too_large"),
        ((0, 5), "images.not_a_picture"),
    ],
)
def test_only_more_pixels_than_opencv_decodes_are_too_many(
    tmp_path: Path, size: tuple[int, int], problem: str | None
) -> None:
    row = header(tmp_path, png_that_claims(*size))
    assert row["problem"] == problem
    assert (row["width"], row["height"]) == ((None, None) if problem else size)


def test_the_limit_is_that_of_opencv() -> None:
    row = np.zeros((1, 1_000_001), np.uint8)
    assert decoded(cv2.imencode(".bmp", row)[1].tobytes()) is not None
    assert decoded(cv2.imencode(".bmp", row[:, :1_000_000])[1].tobytes()) is not None
    assert module.MOST_PIXELS == int(os.environ.get("OPENCV_IO_MAX_IMAGE_PIXELS", 1 << 30))


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_table_keeps_the_order_and_nothing_is_written(tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{number % 3}" / f"{number}.jpg", 20 + number, 15) for number in range(150)]
    before = snapshot(tmp_path)
    table = picture_headers([*paths, tmp_path / "gone.jpg", paths[0]])
    assert dict(table.schema) == HEADERS_SCHEMA
    assert table["width"].to_list() == [*range(20, 170), None, 20]
    assert table["problem"].to_list() == [*[None] * 150, "images.missing", None]
    assert snapshot(tmp_path) == before
    assert dict(picture_headers([]).schema) == HEADERS_SCHEMA


def test_one_file_is_asked_for_its_problem(tmp_path: Path) -> None:
    assert problem_of(draw(tmp_path / "a.png")) is None
    assert problem_of(tmp_path / "b.png") == "no such file"
    with pytest.raises(DataError, match=r"b\.png"):
        read_stored(tmp_path / "b.png")
