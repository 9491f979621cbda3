"""Whole Label Studio datasets for hypothesis: sound ones, and ones with everything that files of people may hold."""

from __future__ import annotations

import json
from typing import Any

from grammar_labelme import mostly_json
from grammar_voc import PICTURE, mostly, spoilt
from hypothesis import strategies as st

_PICTURES = ["a.png", "sub/b.png", "é.png", "c d.PNG"]
_ADDRESSES = mostly(
    st.sampled_from(
        [
            "/data/upload/1/0123abcd-a.png",
            "/data/local-files/?d=x/sub/b.png",
            "s3://bucket/%C3%A9.png",
            "https://example.org/c%20d.PNG?token=1",
        ]
    ),
    st.sampled_from(
        ["../../etc/a.png", "http://[broken/a.png", "data:image/png;base64,AAAA", "gone.png", "a.png#", ""]
    ),
)
_NUMBERS = mostly(st.integers(0, 50) | st.floats(0, 50), st.floats() | st.integers(-9, 120) | st.just(10**400), 40)
_KINDS = [
    *("polygonlabels", "ellipselabels", "brushlabels", "keypointlabels", "choices", "labels", "rectangle"),
    *("textarea", "relation", "videorectangle"),
]
_TIMES = ["2021-07-03T14:27:52Z", "2022-01-01T00:00:00Z"]
# Strategies that are drawn from often are made once: making them takes longer than drawing.
_PERCENT = mostly_json(_NUMBERS)
_POINTS = mostly_json(st.lists(st.lists(_NUMBERS, min_size=2, max_size=2), max_size=4))
_TURNS = mostly_json(mostly(st.just(0), st.sampled_from([90, 33.3]), 4))
_LABELS = mostly_json(
    mostly(st.just(["pit"]), st.lists(st.sampled_from(["pit", "scratch", "", "pit "]), max_size=2), 4)
)
_KEYS = {
    "ellipselabels": ["x", "y", "radiusX", "radiusY"],
    "polygonlabels": ["points"],
    "labels": ["x", "y", "width", "height", "points"],
}
_KIND = mostly(st.just("rectanglelabels"), st.sampled_from(_KINDS), 3)
_DROPPED = mostly(st.none(), st.integers(0, 3))
_ABOUT = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["r1", "r2"]),
        "original_width": mostly_json(st.just(40)),
        "original_height": mostly_json(st.just(30)),
        "image_rotation": mostly(st.just(0), st.sampled_from([90, "x"]), 30),
    }
)


@st.composite
def _drawn(draw: st.DrawFn) -> Any:
    kind = draw(_KIND)
    value: dict[str, Any] = {kind: draw(_LABELS), "rotation": draw(_TURNS)}
    left_out = draw(_DROPPED)
    for place, key in enumerate(_KEYS.get(kind, ["x", "y", "width", "height"])):
        if place != left_out:
            value[key] = draw(_POINTS if key == "points" else _PERCENT)
    return {**draw(_ABOUT), "type": kind, "value": value}


_REGIONS = mostly_json(st.lists(mostly_json(_drawn()), max_size=3))
_ANNOTATIONS = mostly_json(
    st.lists(
        mostly_json(
            st.fixed_dictionaries(
                {
                    "result": _REGIONS,
                    "was_cancelled": mostly(st.just(False), mostly_json(st.just(True))),
                    "ground_truth": mostly_json(st.just(False)),
                    "updated_at": mostly_json(st.sampled_from(_TIMES)),
                }
            )
        ),
        max_size=2,
    )
)
_NUMBER, _DATA = mostly_json(st.integers(0, 3)), st.fixed_dictionaries({"image": mostly_json(_ADDRESSES)})
_PREDICTIONS = mostly(st.just([]), st.just([{"result": []}]))
_TASKS = mostly_json(
    mostly(
        st.fixed_dictionaries({"id": _NUMBER, "annotations": _ANNOTATIONS, "data": _DATA, "predictions": _PREDICTIONS}),
        st.fixed_dictionaries({"id": _NUMBER, "image": _ADDRESSES, "annotator": st.just(1), "label": _REGIONS})
        | st.fixed_dictionaries({"completions": _ANNOTATIONS, "id": _NUMBER, "data": _DATA}),
        4,
    )
)
_DOCUMENTS = mostly_json(st.lists(_TASKS, min_size=1, max_size=4))


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    return draw(spoilt(json.dumps(draw(_DOCUMENTS), ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")))


@st.composite
def cases(draw: st.DrawFn) -> dict[str, bytes]:
    """Return a dataset: relative paths with their bytes."""
    folder = draw(st.sampled_from(["", "images/", "val/"]))
    files = {f"{folder}{name}": PICTURE for name in _PICTURES if draw(mostly(st.just(True), st.just(False)))}
    for name in draw(st.sampled_from([["project-1.json"], ["train.json", "val.json"]])):
        files[name] = draw(_files())
    if draw(mostly(st.just(False), st.just(True), 4)):
        files["classes.txt"] = b"scratch\npit\n"
    return files
