"""Picture files: sizes that hold for what is read later, and words for files that are no pictures."""

from __future__ import annotations

import contextlib
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
from PIL import Image, ImageOps, PngImagePlugin

from pipeline.data.images import (
    MAX_LISTED,
    is_picture,
    listed,
    picture_size,
    picture_sizes,
    read_picture,
    read_stored,
    scaled,
    sizes_or_problems,
)
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


def test_a_picture_beyond_what_opencv_decodes_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    path = _png_that_claims(tmp_path / "bomb.png", 40_000)  # 1,600 megapixels
    with pytest.raises(DataError, match=r"bomb\.png: too large to be decoded \(40,000 x 40,000 pixels.*cut it into"):
        picture_sizes([path])
    with pytest.raises(DataError, match=r"bomb\.png: not a picture that can be decoded \(40,000 x 40,000 pixels"):
        read_picture(path)


def test_a_large_picture_is_fine_and_gives_no_warning(tmp_path: Path) -> None:
    for side in (10_000, 20_000):  # Pillow warns of the first and refuses the second as a bomb
        assert picture_sizes([_png_that_claims(tmp_path / "a.png", side)]) == [(side, side)]


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


# ---- pictures with more than 8 bits ----------------------------------------------------------------------------------

NOISE = np.random.default_rng(3).integers(0, 256, (23, 31, 3)).astype(np.uint8)
SHARED = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data"


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_pictures_of_8_bits_are_what_opencv_reads_bit_for_bit(tmp_path: Path, kind: str, mode: str) -> None:
    path = tmp_path / "a.dat"
    try:
        Image.fromarray(NOISE).convert(mode).save(path, kind)
    except (OSError, ValueError):
        pytest.skip(f"there is no {kind} of mode {mode}")
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)
    for value_range in (None, (0.0, 10.0)):
        picture = read_picture(path, value_range)
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, expected)
    assert picture_size(path) == (31, 23)


@pytest.mark.parametrize("folder", ["deeppcb/images", "bccd/JPEGImages"])
def test_real_pictures_are_what_opencv_reads_bit_for_bit(folder: str) -> None:
    paths = sorted((SHARED / folder).rglob("*.jpg"))[::97]
    if not paths:
        pytest.skip(f"{folder} is not in the folder shared/data")
    for path in paths:
        np.testing.assert_array_equal(read_picture(path), cv2.imread(str(path), cv2.IMREAD_COLOR))


def test_alpha_is_dropped_and_nothing_is_composited(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.dstack([NOISE, np.zeros(NOISE.shape[:2], np.uint8)])).save(path)  # wholly transparent
    np.testing.assert_array_equal(read_picture(path), NOISE[..., ::-1])
    np.testing.assert_array_equal(read_stored(path), NOISE[..., ::-1])


def test_the_first_of_several_pages_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(NOISE).save(path, save_all=True, append_images=[Image.new("RGB", (9, 5))])
    np.testing.assert_array_equal(read_picture(path), NOISE[..., ::-1])


DTYPES = ("uint16", "int16", "uint32", "int32", "float32", "float64")


def _deep(path: Path, dtype: str, channels: int = 1) -> np.ndarray[Any, Any]:
    """Write a picture of that type, values around 1,000 and below zero where they can be; returns it."""
    rng = np.random.default_rng(5)
    values = rng.integers(0 if dtype.startswith("u") else -500, 4096, (23, 31, channels)).squeeze().astype(dtype)
    assert cv2.imwrite(str(path), values)
    return values


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_deep_pictures_are_scaled_by_the_range(tmp_path: Path, dtype: str, channels: int) -> None:
    path = tmp_path / "a.tif"
    values = _deep(path, dtype, channels)
    stored = read_stored(path)
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored, values)
    picture = read_picture(path, (200, 3000))
    expected = np.clip((values.astype(float) - 200) / 2800, 0, 1) * 255
    assert picture.shape == (23, 31, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture - expected.reshape(23, 31, channels)).max() <= 0.5 + 1e-9
    assert (picture.min(), picture.max()) == (0, 255)
    assert picture_size(path) == (31, 23)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_deep_picture_without_a_range_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    _deep(path, "uint16")
    with pytest.raises(DataError, match=r"16 bits per channel.*kept in a run.*tuneup predict runs/NAME.*with 8 bits"):
        read_picture(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_deep_picture_is_turned_as_its_exif_data_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    values = np.arange(23 * 31, dtype=np.uint16).reshape(23, 31)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(values).save(path, exif=exif)
    flips = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose, 6: lambda a: np.rot90(a, -1)}
    flips |= {1: np.asarray, 7: lambda a: np.rot90(a.T, 2), 8: np.rot90}
    np.testing.assert_array_equal(read_stored(path), flips[orientation](values))  # type: ignore[operator]
    assert picture_size(path) == read_stored(path).shape[::-1]


def test_what_used_to_be_0_to_15_of_255_spans_the_range(tmp_path: Path) -> None:
    path = tmp_path / "camera.png"
    values = np.tile(np.arange(4096, dtype=np.uint16), (8, 1))  # 12 used bits in 16
    cv2.imwrite(str(path), values)
    before = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert before.max() <= 16
    picture = read_picture(path, (0, 4095))
    assert np.unique(picture).tolist() == list(range(256))
    assert (np.diff(picture[0, :, 0].astype(int)) >= 0).all()


def test_what_is_no_number_is_black_and_infinity_white(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32))
    assert read_picture(path, (0, 1))[0, :, 0].tolist() == [0, 255, 0, 128]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(DTYPES),
    st.integers(-40_000, 40_000),
    st.integers(1, 80_000),
    st.lists(st.integers(0, 32_000), min_size=2, max_size=20),
)
def test_scaling_keeps_the_order_of_values(dtype: str, black: int, width: int, values: list[int]) -> None:
    picture = np.sort(np.array([values], dtype), axis=1)
    found = scaled(picture, (black, black + width)).astype(int)
    assert (np.diff(found) >= 0).all()
    exact = np.clip((picture.astype(float) - black) / width, 0, 1) * 255
    assert np.abs(found - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("value_range", [(1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))])
def test_a_range_without_width_is_a_mistake_of_the_program(value_range: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="value_range"):
        scaled(np.zeros((2, 2), np.uint16), value_range)


def test_large_deep_pictures_are_scaled_in_parts() -> None:
    picture = np.random.default_rng(0).random((1000, 40)).astype(np.float32)
    np.testing.assert_array_equal(
        scaled(picture, (0.1, 0.9)), np.concatenate([scaled(r[None], (0.1, 0.9)) for r in picture])
    )


@pytest.mark.parametrize("content", [b"v/1\x01\x02\0\0\0", None])
def test_pictures_of_the_film_industry_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content or cv2.imencode(".hdr", np.full((5, 5, 3), 0.5, np.float32))[1].tobytes())
    for read in (picture_size, read_stored, lambda p: read_picture(p, (0, 1))):
        with pytest.raises(DataError, match=r"(OpenEXR|Radiance HDR) picture, which is not read; save it as TIFF"):
            read(path)


def test_a_file_that_ends_too_early_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(draw(tmp_path / "b.jpg").read_bytes()[:-10])
    with pytest.raises(DataError, match=r"a\.jpg: the file is cut off \(its end-of-image marker is missing\)"):
        picture_size(path)
    with pytest.raises(DataError, match=r"a\.jpg: not a picture that can be decoded \(its end-of-image marker"):
        read_picture(path)
    assert sizes_or_problems([tmp_path / "b.jpg", path])[0] == (40, 30)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    _deep(tmp_path / "a.tif", "uint16")
    draw(tmp_path / "b.jpg", orientation=6)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "b.jpg").read_bytes() + b"\0\0")  # Ultralytics would rewrite it
    before = snapshot(tmp_path)
    for path in (tmp_path / "a.tif", tmp_path / "b.jpg"):
        read_picture(path, (0, 100))
        picture_size(path)
    assert snapshot(tmp_path) == before
