"""Whole LabelMe datasets for hypothesis: sound ones, and ones with everything that files of people may hold."""

from __future__ import annotations

import json
from typing import Any

from grammar_voc import PICTURE, SUFFIXES, encodings, mostly, spoilt
from hypothesis import strategies as st

_STEMS = ["a", "B", "c d", "é", "a.png"]
_ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.sampled_from(["", "pit", "\ud800", "\x00", "9" * 50])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


def mostly_json(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what is usual, and once in a while any JSON value."""
    return mostly(usual, _ODD, 25)


_NUMBERS = mostly(st.integers(0, 30) | st.floats(0, 30), st.floats() | st.integers(-9, 99) | st.just(10**400), 30)
_PAIRS = st.lists(_NUMBERS, min_size=2, max_size=2)
_POINTS = st.lists(_PAIRS, min_size=2, max_size=2) | st.lists(_PAIRS, min_size=1, max_size=5)
_KINDS = ["polygon", "circle", "line", "linestrip", "point", "points", "mask", "rotation", "cube"]


# Strategies that are drawn from often are made once: making them takes longer than drawing.
_KEYS = {
    "label": mostly_json(mostly(st.sampled_from(["pit", "scratch"]), st.sampled_from([" pit", "Pit"]))),
    "points": mostly_json(_POINTS),
    "shape_type": mostly_json(st.just("rectangle") | st.sampled_from(_KINDS)),
    "group_id": mostly_json(st.none() | st.integers(0, 2)),
    "difficult": mostly_json(st.booleans()),
}
_SHAPES = mostly_json(
    st.lists(mostly_json(mostly(st.fixed_dictionaries(_KEYS), st.fixed_dictionaries({}, optional=_KEYS))), max_size=4)
)
_SIZES = mostly_json(st.just(40)), mostly_json(st.just(30))
_COCO_TOO = mostly(st.just({}), st.just({"images": [], "annotations": [], "categories": []}))
_LEFT_OUT = mostly(st.none(), st.sampled_from(["shapes", "imagePath", "imageWidth", "imageHeight"]))
_PATHS = mostly_json(mostly(st.just("own"), st.sampled_from(["..\\img\\a.png", "/home/me/a.png", "C:\\a.png", ""]), 4))
_WHOLE = mostly_json(st.none())
_HOPELESS = mostly(st.none(), st.sampled_from([b"[" * 100_000, b""]), 40)


@st.composite
def _files(draw: st.DrawFn, stem: str) -> bytes:
    path = draw(_PATHS)
    document = {
        "version": "5.4.1",
        "shapes": draw(_SHAPES),
        "imagePath": f"{stem}.png" if path == "own" else path,
        "imageData": draw(st.sampled_from([None, "iVBORw0KGgo=", 5])),
        "imageWidth": draw(_SIZES[0]),
        "imageHeight": draw(_SIZES[1]),
    }
    document |= draw(_COCO_TOO)
    document.pop(draw(_LEFT_OUT), None)
    other = draw(_WHOLE)
    text = json.dumps(document if other is None else other, ensure_ascii=draw(st.booleans()))
    hopeless = draw(_HOPELESS)
    return draw(spoilt(text.encode(draw(encodings()), "replace"))) if hopeless is None else hopeless


@st.composite
def cases(draw: st.DrawFn) -> dict[str, bytes]:
    """Return a dataset: relative paths with their bytes."""
    labels, pictures = draw(st.sampled_from([("", ""), ("json/", "images/"), ("val/", "val/"), ("ann/x/", "img/x/")]))
    files: dict[str, bytes] = {}
    for stem in draw(st.lists(st.sampled_from(_STEMS), min_size=1, max_size=4, unique=True)):
        if draw(mostly(st.just(True), st.just(False))):
            files[f"{pictures}{stem}{draw(SUFFIXES)}"] = PICTURE
        if draw(mostly(st.just(True), st.just(False))):
            files[f"{labels}{stem}.json"] = draw(_files(stem))
    if draw(mostly(st.just(False), st.just(True), 4)):
        files["labels.txt"] = draw(st.sampled_from([b"__ignore__\n_background_\nscratch\npit\n", b"\xff", b"x\n"]))
    if draw(mostly(st.just(False), st.just(True), 4)):
        files["notes.json"] = draw(st.sampled_from([b"{}", b'{"shapes": 5}', b'{"shapes"', b"[1, 2]"]))
    return files
