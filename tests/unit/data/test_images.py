"""Picture files: sizes that hold for what is read later, and words for files that are no pictures."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import ORIENTATION, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from pipeline.data.images import MAX_LISTED, is_picture, listed, picture_size, picture_sizes, read_picture
from pipeline.errors import DataError

SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", SUFFIXES[:-1])
def test_a_turned_picture_has_the_size_and_content_that_are_read(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = draw(tmp_path / f"turned{suffix}", 60, 40, orientation=orientation)
    picture = read_picture(path)
    assert picture_size(path) == (picture.shape[1], picture.shape[0])
    assert picture_size(path) == ((40, 60) if orientation >= 5 else (60, 40))
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))[..., ::-1]  # an oracle of its own: Pillow
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).mean() < 6  # two decoders of JPEG and WebP differ a little


_XMP = b'<x:xmpmeta><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'


def _late_exif(content: bytes) -> bytes:
    """Move a PNG's EXIF behind its pixels, where some tools write it."""
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    rest = content[:start] + content[end:]
    at = rest.index(b"IEND") - 4
    return rest[:at] + content[start:end] + rest[at:]


@pytest.mark.parametrize("kind", ["jpg xmp", "webp xmp", "png xmp", "png text", "png late", "jpg damaged", "jpg 9"])
def test_the_size_goes_by_the_same_marks_as_the_reading(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind.split()[0]}"
    picture = Image.new("RGB", (60, 40))
    exif = Image.Exif()
    exif[ORIENTATION] = 9 if kind == "jpg 9" else 6
    text = PngImagePlugin.PngInfo()
    if kind == "png xmp":
        text.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    elif kind == "png text":
        text.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n")
    if kind in {"jpg xmp", "webp xmp"}:
        picture.save(path, xmp=_XMP)
    elif kind == "jpg damaged":
        picture.save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05")
    elif kind in {"png xmp", "png text"}:
        picture.save(path, pnginfo=text)
    else:
        picture.save(path, exif=exif)
    if kind == "png late":
        path.write_bytes(_late_exif(path.read_bytes()))
    height, width = read_picture(path).shape[:2]
    assert picture_sizes([path])[0] == (width, height) == ((40, 60) if kind == "png late" else (60, 40))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pixels_come_in_bgr_order_and_three_channels(tmp_path: Path, suffix: str) -> None:
    picture = read_picture(draw(tmp_path / f"a{suffix}", 60, 40))
    assert picture.dtype == np.uint8
    assert picture.shape == (40, 60, 3)
    blue, green, red = picture[5, 5].astype(int)
    assert red > 200
    assert max(blue, green) < 60


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_colour_mode_gives_three_channels(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (12, 7), (200, 200, 200)).convert(mode).save(path)
    assert read_picture(path).shape == (7, 12, 3)
    assert picture_size(path) == (12, 7)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("a.jpg", True),
        ("A.JPEG", True),
        ("b c.PnG", True),
        ("ä.tiff", True),
        ("._a.jpg", False),  # what macOS leaves behind
        ("a.txt", False),
        ("jpg", False),
        ("a.jpg.part", False),
    ],
)
def test_pictures_are_known_by_their_name(name: str, counts: bool) -> None:
    assert is_picture(Path("images") / name) is counts


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    with pytest.raises(DataError, match=r"a\.jpg: the file is empty"):
        picture_size(path)
    with pytest.raises(DataError, match=r"a\.jpg: not a picture"):
        read_picture(path)


def test_a_web_page_named_jpg_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("<html><body>404 not found</body></html>")
    for read in (picture_size, read_picture):
        with pytest.raises(DataError, match=r"a\.jpg: not a picture"):
            read(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for read in (picture_size, read_picture):
        with pytest.raises(DataError, match=r"gone\.jpg"):
            read(tmp_path / "gone.jpg")
        with pytest.raises(DataError, match=r"folder\.jpg"):
            read(tmp_path / "folder.jpg")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_cut_header_gives_the_size_or_a_data_error(tmp_path: Path, suffix: str) -> None:
    whole = draw(tmp_path / f"a{suffix}", 20, 12).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    messages = []
    for length in (*range(1, min(80, len(whole))), len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:length])
        try:
            assert picture_sizes([cut]) == [(20, 12)]
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all(str(cut) in message for message in messages)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(SUFFIXES), st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=4))
def test_spoilt_headers_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, spoilt: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("spoilt") / f"a{suffix}"
    content = bytearray(draw(path, 9, 7).read_bytes())
    for position, value in spoilt:
        content[position % len(content)] = value
    path.write_bytes(content)
    with contextlib.suppress(DataError):  # every other error, and every warning, fails the test
        assert min(picture_sizes([path])[0]) >= 0


def _png_that_claims(path: Path, side: int) -> Path:
    """Write a grey PNG whose header says side x side pixels; the data behind it is that of a small one."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(8 * 9))),
        (b"IEND", b""),
    ]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def test_a_decompression_bomb_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    path = _png_that_claims(tmp_path / "bomb.png", 20_000)  # 400 megapixels
    with pytest.raises(DataError, match=r"bomb\.png: too large to be opened safely"):
        picture_sizes([path])


def test_a_large_picture_is_fine_and_gives_no_warning(tmp_path: Path) -> None:
    assert picture_sizes([_png_that_claims(tmp_path / "a.png", 10_000)]) == [(10_000, 10_000)]


def test_more_pixels_than_opencv_reads_are_a_data_error(tmp_path: Path) -> None:
    assert read_picture(_png_that_claims(tmp_path / "good.png", 8)).shape == (8, 8, 3)
    with pytest.raises(DataError, match=r"a\.png: not a picture that can be decoded"):
        read_picture(_png_that_claims(tmp_path / "a.png", 2**20))


def test_sizes_keep_the_order_and_all_bad_files_are_named(tmp_path: Path) -> None:
    good = [draw(tmp_path / f"{width}.png", width, 5) for width in (9, 3, 7)]
    assert picture_sizes(good) == [(9, 5), (3, 5), (7, 5)]
    bad = [tmp_path / f"bad{number}.png" for number in range(3)]
    for path in bad:
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="3 of 6 pictures cannot be read") as caught:
        picture_sizes([*good, *bad])
    assert all(str(path) in str(caught.value) for path in bad)
    assert not any(str(path) in str(caught.value) for path in good)


def test_a_long_list_of_problems_is_cut_and_the_rest_counted() -> None:
    few = [f"problem {number}" for number in range(MAX_LISTED)]
    assert listed("head", few).splitlines() == ["head:", *(f"  {problem}" for problem in few)]
    many = [*few, "one more", "and another"]
    assert listed("head", many).splitlines()[-1] == "  ... and 2 more"
    assert "one more" not in listed("head", many)
