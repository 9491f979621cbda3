"""Whole Pascal VOC datasets for hypothesis: sound ones, and ones with everything that files of people may hold."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from hypothesis import strategies as st
from PIL import Image


def picture() -> bytes:
    """Return a picture of 40 x 30 px."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (90, 120, 60)).save(file, "PNG")
    return file.getvalue()


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write a case into a folder, which is returned."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def mostly(sound: st.SearchStrategy[Any], odd: st.SearchStrategy[Any], times: int = 12) -> st.SearchStrategy[Any]:
    """Draw the odd one once in so many times."""
    return st.integers(0, times - 1).flatmap(lambda number: odd if number == times // 2 else sound)


@st.composite
def spoilt(draw: st.DrawFn, content: bytes) -> bytes:
    """Return a file as it is, or cut, or changed in one place, or other bytes altogether."""
    fault = draw(mostly(st.just("none"), st.sampled_from(["cut", "changed", "other"])))
    if fault == "none":
        return content
    at = draw(st.integers(0, len(content)))
    if fault == "cut":
        return content[:at]
    return (
        content[:at] + draw(st.binary(max_size=6)) + content[at:]
        if fault == "changed"
        else draw(st.binary(max_size=40))
    )


def encodings() -> st.SearchStrategy[str]:
    """Give the encodings that label files have."""
    return mostly(st.just("utf-8"), st.sampled_from(["utf-8-sig", "utf-16", "latin-1"]))


PICTURE = picture()
SUFFIXES = mostly(st.just(".png"), st.sampled_from([".PNG", ".jpg"]))
_STEMS = ["a", "B", "c d", "é", "1.5", "a.jpg"]
_NAMES = mostly(
    st.sampled_from(["pit", "scratch"]),
    st.sampled_from(["", " pit ", "Pit", "a & b", "pit\npit", "é", "𝔞" * 3]) | st.text(max_size=4),
)
_ODD_NUMBERS = st.one_of(
    st.floats(-50, 90).map(str),
    st.sampled_from(["", " 7 ", "1,5", "nan", "inf", "-inf", "1e400", "0x10", "1_0", "ten", "12 13", "9" * 400, "٣"]),
    st.text(max_size=5),
)


def _text(value: str) -> str:
    """Return a text as XML holds it; control characters cannot stand in it, and stay as a fault."""
    return escape(value.encode("utf-8", "replace").decode())


def _side(low: int, high: int) -> st.SearchStrategy[str]:
    sound = st.integers(low, high).map(str) | st.floats(low, high).map(lambda value: f"{value:.2f}")
    return mostly(sound, _ODD_NUMBERS, 30)


def _box(sides: tuple[str, ...]) -> str:
    inside = zip(("xmin", "ymin", "xmax", "ymax"), map(_text, sides), strict=True)
    return f"<bndbox>{''.join(f'<{side}>{value}</{side}>' for side, value in inside)}</bndbox>"


_SHAPES = mostly(
    st.tuples(_side(0, 20), _side(0, 14), _side(21, 40), _side(15, 30)).map(_box),
    st.sampled_from(
        [
            "",
            "<bndbox/>",
            "<bndbox><xmin>3</xmin></bndbox>",
            _box(("30", "4", "3", "9")),
            "<polygon><x1>3</x1><y1>4</y1><x2>9.5</x2><y2>1</y2><x3>inf</x3><y3>2</y3></polygon>",
            "<polygon><pt><x>3</x><y>4</y></pt><pt><x>8</x><y>9</y></pt></polygon>",
            "<polygon><x1>3</x1></polygon>",
            "<robndbox><cx>9</cx><cy>9</cy><w>4</w><h>2</h><angle>0.7</angle></robndbox>",
        ]
    ),
    6,
)
_HEADS = mostly(
    st.sampled_from(["", "<?xml version='1.0' encoding='utf-8'?>\n"]),
    st.sampled_from(
        [
            "<?xml version='1.0' encoding='gbk'?>\n",
            "<?xml version='1.0' encoding='utf-16'?>\n",
            "<?xml version='1.0' encoding='idna'?>\n",
            "<!DOCTYPE a [<!ENTITY b 'c'>]>\n",
        ]
    ),
)
_SIZES = mostly(
    st.just("<size><width>40</width><height>30</height></size>"),
    st.sampled_from(["", "<size/>", "<size><width>-1</width><height>1e99</height></size>"]),
    4,
)


@st.composite
def _objects(draw: st.DrawFn) -> str:
    difficult = draw(st.sampled_from(["", "<difficult>1</difficult>", "<difficult>x</difficult>"]))
    return f"<object><name>{_text(draw(_NAMES))}</name>{difficult}{draw(_SHAPES)}</object>\n"


@st.composite
def _files(draw: st.DrawFn, stem: str) -> bytes:
    objects = "".join(draw(st.lists(_objects(), max_size=4)))
    odd = st.sampled_from([f"{stem}.jpg", "other.png", "", "../../a.png", "C:\\x\\a.png", "/etc/a.png"])
    name = draw(mostly(st.just(f"{stem}.png"), odd, 4))
    text = f"<annotation><filename>{name}</filename>{draw(_SIZES)}\n{objects}</annotation>"
    return draw(spoilt((draw(_HEADS) + text).encode(draw(encodings()), "replace")))


@st.composite
def cases(draw: st.DrawFn) -> dict[str, bytes]:
    """Return a dataset: relative paths with their bytes."""
    layouts = [("Annotations/", "JPEGImages/"), ("", ""), ("train/", "train/"), ("valid/xml/", "valid/images/")]
    labels, pictures = draw(st.sampled_from(layouts))
    files: dict[str, bytes] = {}
    for stem in draw(st.lists(st.sampled_from(_STEMS), min_size=1, max_size=4, unique=True)):
        if draw(mostly(st.just(True), st.just(False))):
            files[f"{pictures}{stem}{draw(SUFFIXES)}"] = PICTURE
        if draw(mostly(st.just(True), st.just(False))):
            files[f"{labels}{stem}{draw(mostly(st.just('.xml'), st.just('.XML')))}"] = draw(_files(stem))
    lists = st.lists(st.sampled_from(["train", "val", "trainval", "test", "pit_val"]), max_size=2)
    for name in draw(mostly(st.just([]), lists, 4)):
        lines = draw(st.lists(st.sampled_from([*_STEMS, "a -1", "x/a.png", "", "\x00", "gone"]), max_size=4))
        files[f"ImageSets/Main/{name}.txt"] = "\n".join(lines).encode()
    if draw(mostly(st.just(False), st.just(True), 4)):
        known = st.sampled_from([b"scratch\npit\n", b"", b"\xff\xfe", b"other\n"])
        files["classes.txt"] = draw(known | st.binary(max_size=9))
    if draw(mostly(st.just(False), st.just(True), 8)):
        files["label_map.pbtxt"] = b"item { id: 2 name: 'pit' } item { id: 1 name: 'scratch' } item {"
    return files
