"""Whole CVAT datasets for hypothesis: sound ones, and ones with everything that files of people may hold."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from grammar_voc import PICTURE, encodings, mostly, spoilt
from hypothesis import strategies as st

_NUMBERS = mostly(
    st.floats(0, 30).map(lambda value: f"{value:.2f}"),
    st.one_of(
        st.integers(-3, 45).map(str),
        st.sampled_from(["", "1,5", "nan", "inf", "1e400", "ten", "1_0", "9" * 400]),
        st.text(max_size=4),
    ),
    30,
)
_PICTURES = ["a.png", "sub/b.png", "é.png", "c d.PNG"]
_KEYS = {
    "box": ["xtl", "ytl", "xbr", "ybr"],
    "ellipse": ["cx", "cy", "rx", "ry"],
    "mask": ["left", "top", "width", "height"],
    "polygon": ["points"],
    "polyline": ["points"],
    "points": ["points"],
    "tag": [],
    "cuboid": ["xtl1"],
    "skeleton": [],
    "attribute": ["name"],
}
_POINTS = st.sampled_from(["1,2;30,4;5.5,20", "1,2;3", "", ";", "1,2,3;4,5", "nan,1;2,3", "1 2 3", "1,2 3,4"])


def _attributes(about: dict[str, str]) -> str:
    return " ".join(f"{key}={quoteattr(value.encode('utf-8', 'replace').decode())}" for key, value in about.items())


# Strategies that are drawn from often are made once: making them takes longer than drawing.
_TAGS = mostly(st.just("box"), st.sampled_from(sorted(_KEYS)), 3)
_LABELS = mostly(st.sampled_from(["pit", "scratch"]), st.sampled_from(["", "other", " pit"]) | st.text(max_size=3))
_LEFT_OUT = mostly(st.none(), st.integers(0, 3))
_TURNS = mostly(st.just({}), st.fixed_dictionaries({"rotation": _NUMBERS}), 4)
_MARKS = mostly(st.just({}), st.sampled_from([{"outside": "1"}, {"occluded": "1"}]), 6)
_INSIDE = st.sampled_from(["", '<attribute name="difficult">true</attribute>', '<points points="1,2"/>'])
_NAMES = mostly(
    st.sampled_from(_PICTURES), st.sampled_from(["gone.png", "../../etc/a.png", "/a.png", "C:\\x\\a.png", ""])
)
_WIDTHS = mostly(st.just("40"), _NUMBERS)
_SUBSETS = st.sampled_from([{}, {"subset": "Train"}, {"subset": "Validation"}, {"subset": "odd"}])
_TRACKS = mostly(st.just(""), st.just('<track id="0" label="pit"><box frame="0"/></track>'), 40)
_ROOTS = mostly(st.just("annotations"), st.just("annotation"), 40)
_HOPELESS = mostly(st.none(), st.just(b"<annotations>" + b"<a>" * 100_000), 40)


@st.composite
def _shapes(draw: st.DrawFn) -> str:
    tag, left_out = draw(_TAGS), draw(_LEFT_OUT)
    about = {"label": draw(_LABELS)}
    for place, key in enumerate(_KEYS[tag]):
        if place != left_out:
            about[key] = draw(_POINTS if key == "points" else _NUMBERS)
    return f"<{tag} {_attributes(about | draw(_TURNS) | draw(_MARKS))}>{draw(_INSIDE)}</{tag}>\n"


_ROWS = st.lists(_shapes(), max_size=4)


@st.composite
def _images(draw: st.DrawFn) -> str:
    about = {"id": "0", "name": draw(_NAMES), "width": draw(_WIDTHS), "height": "30"} | draw(_SUBSETS)
    return f"<image {_attributes(about)}>\n{''.join(draw(_ROWS))}</image>\n"


_ENTRIES = st.lists(_images(), max_size=4)
_CLASSES = st.lists(st.sampled_from(["pit", "scratch", ""]), max_size=3)


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    labels = "".join(f"<label><name>{name}</name></label>" for name in draw(_CLASSES))
    meta = f"<meta><task><subset>Test</subset><labels>{labels}</labels></task></meta>"
    root = draw(_ROOTS)
    body = f"{meta}\n{''.join(draw(_ENTRIES))}{draw(_TRACKS)}"
    text = f"<?xml version='1.0' encoding='utf-8'?>\n<{root}>{body}</{root}>"
    hopeless = draw(_HOPELESS)
    return draw(spoilt(text.encode(draw(encodings()), "replace"))) if hopeless is None else hopeless


@st.composite
def cases(draw: st.DrawFn) -> dict[str, bytes]:
    """Return a dataset: relative paths with their bytes."""
    folder = draw(st.sampled_from(["", "images/", "train/"]))
    files = {f"{folder}{name}": PICTURE for name in _PICTURES if draw(mostly(st.just(True), st.just(False)))}
    for name in draw(st.sampled_from([["annotations.xml"], ["train.xml", "val.xml"], ["annotations/all.XML"]])):
        files[name] = draw(_files())
    return files
