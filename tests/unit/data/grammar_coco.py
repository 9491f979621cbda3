"""COCO datasets as they come out of tools and hands, sound and broken, as files for property tests."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

from hypothesis import strategies as st
from PIL import Image

_NAMES = ("a.png", "b.png", "sub/c.png", "Größe 4.png")
_SIZE = (40, 30)  # pixels
_LAYOUTS = {  # layout: (label files, folder of the pictures)
    "beside": (("train.json",), ""),
    "images": (("train.json", "val.json"), "images/"),
    "annotations": (("annotations/instances_train2017.json", "annotations/instances_val2017.json"), "train2017/"),
    "roboflow": (("train/_annotations.coco.json", "valid/_annotations.coco.json"), "train/"),
    "cvat": (("annotations/instances_default.json",), "images/default/"),
}


@cache
def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", _SIZE, (90, 120, 30)).save(buffer, "png")
    return buffer.getvalue()


@cache
def _json_values() -> st.SearchStrategy[Any]:
    text = st.text(st.characters(), max_size=8)  # lone surrogates among them
    single = st.none() | st.booleans() | st.integers() | st.integers(10**300, 10**320) | st.floats() | text
    return st.recursive(
        single, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=3), max_leaves=6
    )


@st.composite
def _mostly(draw: st.DrawFn, sound: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> Any:
    return draw(odd if draw(st.integers(0, 23)) == 7 else sound)


@cache
def _numbers() -> st.SearchStrategy[Any]:
    return st.integers(-5, 45) | st.floats(-5, 45) | st.sampled_from([float("nan"), float("inf"), 1e308, 0, -0.0])


@cache
def _outlines() -> st.SearchStrategy[Any]:
    polygon = st.lists(_numbers(), min_size=5, max_size=9)
    counts = st.lists(st.integers(0, 600), max_size=6) | st.text("0123456789PQZabcdefo`\\", max_size=10)
    size = st.sampled_from([[30, 40], [40, 30], [0, 0], [30], "30x40", [1 << 40, 2]])
    mask = st.fixed_dictionaries({"counts": counts, "size": size})
    return st.lists(polygon, max_size=3) | polygon | mask | _json_values()


@cache
def _annotations() -> st.SearchStrategy[Any]:
    keys = st.sampled_from([1, 2, 3, 77, 1.0, "x", "1", True, None])
    sound = st.fixed_dictionaries(
        {
            "image_id": st.sampled_from([1, 2, 3, 77]),
            "category_id": st.sampled_from([*[1] * 24, 2, 0, 90]),
            "bbox": st.tuples(st.floats(0, 20), st.floats(0, 15), st.floats(1, 25), st.floats(1, 20)).map(list),
        },
        optional={
            "id": st.integers(0, 9) | st.integers() | st.text(st.characters(), max_size=3),
            "iscrowd": st.sampled_from([0, 1, True, "1", None, []]),
            "segmentation": _outlines(),
            "difficult": st.booleans(),
            "area": st.floats(),
        },
    )
    odd = st.fixed_dictionaries(
        {},
        optional={
            "image_id": keys,
            "category_id": keys,
            "bbox": st.lists(_numbers() | st.sampled_from(["1", None, True]), max_size=6) | _json_values(),
            "segmentation": _outlines(),
            "id": _json_values(),
        },
    )
    outline = st.lists(st.floats(0, 30), min_size=6, max_size=10).map(lambda flat: [flat[: len(flat) // 2 * 2]])
    mask = st.sampled_from([[100, 40, 20, 40, 1000], "T3X1d00dn0"]).map(lambda c: {"counts": c, "size": [30, 40]})
    outlined = st.fixed_dictionaries(
        {"image_id": st.just(1), "category_id": st.just(1), "segmentation": outline | mask},
        optional={"bbox": st.sampled_from([[], None]), "iscrowd": st.just(1)},
    )
    return st.lists(_mostly(sound | outlined, odd | _json_values()), min_size=2, max_size=8)


@cache
def _images() -> st.SearchStrategy[Any]:
    odd_names = [
        "/etc/passwd",
        "../up.png",
        "C:\\data\\a.png",
        "sub\\c.png",
        "",
        " ",
        "gone.png",
        "\0.png",
        "\ud800.png",
    ]
    names = _mostly(st.sampled_from(_NAMES), st.sampled_from([*odd_names, "a/" * 200 + "x.png", ".", "sub//c.png"]))
    side = _mostly(st.sampled_from(_SIZE), _json_values())
    record = st.fixed_dictionaries({"file_name": names}, optional={"width": side, "height": side})
    odd_record = st.dictionaries(st.sampled_from(["file_name", "width"]), _json_values(), max_size=2)
    ids = _mostly(st.just([1, 2, 3, 77]), st.lists(st.sampled_from([1, 2, 3, "x"]) | _json_values(), max_size=4))

    any_record, more = _mostly(record, odd_record), _mostly(st.just([]), st.lists(_json_values(), max_size=2))

    @st.composite
    def numbered(draw: st.DrawFn) -> list[Any]:
        return [*({"id": key, **draw(any_record)} for key in draw(ids)), *draw(more)]

    return numbered()


@cache
def _categories() -> st.SearchStrategy[Any]:
    root = [
        {"id": 0, "name": "defects-7", "supercategory": "none"},
        {"id": 1, "name": "pit", "supercategory": "defects-7"},
    ]
    usual = [
        [{"id": 1, "name": "pit"}, {"id": 2, "name": "scratch"}],
        [{"id": 2, "name": "pit"}, {"id": 1, "name": "scratch"}],
        [{"id": 0, "name": "Grübchen"}, {"id": 90, "name": "scratch"}, {"id": 1, "name": "dent"}],
        root,
    ]
    names = st.sampled_from(["pit", "pit ", "", "  ", "\ud800", 5, None, ["pit"], "x" * 300])
    record = st.fixed_dictionaries({"id": st.integers(-1, 3) | _json_values(), "name": names})
    return _mostly(st.sampled_from(usual), st.lists(record | _json_values(), max_size=4))


@st.composite
def _documents(draw: st.DrawFn) -> Any:
    document = {"images": draw(_images()), "annotations": draw(_annotations()), "categories": draw(_categories())}
    document["info"] = draw(_json_values())
    if draw(st.integers(0, 19)) == 7:
        document[draw(st.sampled_from(sorted(document)))] = draw(_json_values())
    if draw(st.integers(0, 19)) == 7:
        del document[draw(st.sampled_from(sorted(document)))]
    return {key: document[key] for key in draw(st.permutations(sorted(document)))}


@cache
def _contents() -> st.SearchStrategy[Any]:
    return _mostly(_documents(), _json_values())


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    document = draw(_contents())
    text = json.dumps(document, indent=draw(st.sampled_from([None, 2])), ensure_ascii=draw(st.booleans()))
    encoding = draw(_mostly(st.just("utf-8"), st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "latin-1"])))
    content = text.encode(encoding, "backslashreplace" if encoding == "latin-1" else "replace")
    if draw(st.integers(0, 19)) == 7:
        content = content[: draw(st.integers(0, len(content)))]
    if draw(st.integers(0, 19)) == 7:
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.binary(max_size=4)) + content[place + draw(st.integers(0, 3)) :]
    return content


@st.composite
def cases(draw: st.DrawFn) -> dict[str, bytes]:
    """Return a COCO dataset as content by relative path, pictures included."""
    labels, folder = _LAYOUTS[draw(st.sampled_from(sorted(_LAYOUTS)))]
    wanted = draw(st.integers(1, len(labels)))
    case = {file: draw(_files()) for file in labels[:wanted]}
    present = draw(_mostly(st.just(list(_NAMES)), st.lists(st.sampled_from(_NAMES), unique=True)))
    case |= {folder + name: draw(_mostly(st.just(_picture()), st.binary(max_size=40))) for name in present}
    return case
