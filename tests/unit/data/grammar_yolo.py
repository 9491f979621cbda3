"""YOLO datasets as they come out of tools and hands, sound and broken, as files for property tests."""

from __future__ import annotations

import io
from functools import cache

from hypothesis import strategies as st
from PIL import Image

_STEMS = ("a", "B", "c.d", "Größe 4", "classes")
_NAMES = ("pit", "scratch", "rolled in scale", "Löß", "7")
_LAYOUTS = {  # layout: (folder of pictures, folder of label files) of each split
    "by kind": {s: (f"images/{s}", f"labels/{s}") for s in ("train", "val")},
    "by split": {s: (f"{s}/images", f"{s}/labels") for s in ("train", "valid", "test")},
    "no splits": {"train": ("images", "labels")},
    "beside": {"train": ("shots", "shots")},
    "cvat": {"train": ("obj_train_data", "obj_train_data"), "val": ("obj_Validation_data", "obj_Validation_data")},
}


@cache
def _picture(suffix: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (90, 120, 30)).save(buffer, "jpeg" if suffix.lower() == ".jpg" else "png")
    return buffer.getvalue()


_PICTURES = [_picture(suffix, size) for suffix in (".png", ".jpg") for size in ((40, 30), (17, 64))]


def _mostly(sound: st.SearchStrategy[str], odd: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 14).flatmap(lambda number: odd if number == 7 else sound)


def _classes() -> st.SearchStrategy[str]:
    odd = [*_NAMES, "PIT", '"pit"', "dent", "-1", "1.5", "99", "1e3", "nan", "1e30", "0x1", "١", ""]
    return _mostly(st.integers(0, 2).map(str), st.sampled_from(odd))


def _fractions() -> st.SearchStrategy[str]:
    return st.floats(0, 1).map(lambda value: f"{value:.4f}") | st.sampled_from(["0", "1", ".5", "5e-1", "+0.25"])


def _numbers() -> st.SearchStrategy[str]:
    odd = ["nan", "inf", "-inf", "-0.1", "1.04", "2.5", "320", "1e400", "1e-400", "0.5.1", "1_0", "--1", "²", "½", "#"]
    return _mostly(_fractions(), st.sampled_from(odd) | st.floats().map(str) | st.text(max_size=3))


def _sound_rows() -> st.SearchStrategy[str]:
    centre, size = st.floats(0.3, 0.7), st.floats(0.1, 0.5)
    numbers = st.tuples(centre, centre, size, size).map(lambda box: " ".join(f"{value:.6f}" for value in box))
    return st.tuples(st.integers(0, 2).map(str), numbers).map(" ".join)


@st.composite
def _odd_rows(draw: st.DrawFn) -> str:
    """Return a row that may have more or fewer columns, other separators, decimal commas, anything."""
    count = draw(st.sampled_from([4, 4, 4, 4, 4, 4, 5, 6, 7, 8, 9, 3, 0, 1]))
    columns = [draw(_classes()), *(draw(_numbers()) for _ in range(count))]
    if draw(st.integers(0, 9)) == 7:
        columns = [column.replace(".", ",") for column in columns]
    separator = draw(st.sampled_from([" "] * 8 + ["\t", ",", ";", ", ", "  ", " ;", "\u00a0"]))
    around = draw(st.sampled_from(["{}"] * 8 + [" {} ", "\t{}", "{},", "{} # seen twice", "\u2028{}"]))
    return around.format(separator.join(columns))


@st.composite
def _label_files(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 14)) == 7:
        return draw(
            st.binary(max_size=60) | st.sampled_from([*_PICTURES, b"\xff\xfe", b"\0", b"\x1a", b"\xef\xbb\xbf"])
        )
    anything = st.sampled_from(["", " "]) | st.text(max_size=20)
    rows = draw(st.lists(_mostly(_sound_rows(), _odd_rows()), max_size=6))
    if draw(st.integers(0, 4)) == 3:
        rows += draw(st.lists(_mostly(_odd_rows(), anything), max_size=4))
    if draw(st.integers(0, 9)) == 7:
        rows.insert(0, draw(st.sampled_from(["class x y w h", "# class;x;y;w;h", "class,cx,cy,w,h,conf"])))
    text = draw(st.sampled_from(["\n"] * 4 + ["\r\n", "\r"])).join([*rows, ""])
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]))
    return text.encode(encoding, "replace")


def _name_lines() -> st.SearchStrategy[str]:
    shuffled = st.permutations(_NAMES).map(list)
    listed = shuffled.map(lambda names: f"names: [{', '.join(names)}]\n")
    numbered = st.tuples(shuffled, st.lists(st.integers(0, 12), min_size=5, max_size=5, unique=True)).map(
        lambda drawn: "names:\n" + "".join(f"  {key}: {name}\n" for name, key in zip(*drawn, strict=True))
    )
    odd = ["", "names:\n", "names: []\n", "names: pit\n", "names: {a: pit}\n", "names: [pit, true]\n", "names: [~]\n"]
    odd += [
        "names: [pit, pit]\n",
        "nc: 3\nnames: [pit]\n",
        "nc: 2\nnames: [pit, 2]\n",
        "names: [[pit]]\n",
        "names: [.5]\n",
    ]
    odd += ['names: ["\\uD800", pit]\n', "names: {1: pit, '1': pit}\n", "names: [' ']\n"]
    return _mostly(listed | numbered, st.sampled_from(odd))


@st.composite
def _data_yamls(draw: st.DrawFn, folders: dict[str, str]) -> bytes:
    lines = []
    for split, folder in folders.items():
        odd = st.sampled_from(["gone", "../" + folder, f"[{folder}, gone]", "1", "{a: 1}", "list.txt", "'a\\0b'", "."])
        lines.append(f"{split}: {draw(_mostly(st.just(folder), odd))}\n")
    odd_lines = [
        "path: .\n",
        "path: gone\n",
        "path: /\n",
        "train: images\n",
        "download: rm\n",
        "nc: x\n",
        "- 1\n",
        "a: [\n",
    ]
    lines += draw(st.lists(st.sampled_from(odd_lines), max_size=1)) if draw(st.integers(0, 9)) == 3 else []
    lines.append(draw(_name_lines()))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "cp1252"]))
    content = "".join(lines).encode(encoding)
    return draw(st.binary(max_size=40)) if draw(st.integers(0, 29)) == 7 else content


@st.composite
def cases(draw: st.DrawFn) -> dict[str, bytes]:
    """Draw a whole dataset: relative path to content of each file."""
    layout = _LAYOUTS[draw(st.sampled_from(sorted(_LAYOUTS)))]
    splits = {split: layout[split] for split in list(layout)[: draw(st.integers(1, len(layout)))]}
    files: dict[str, bytes] = {}
    taken: set[str] = set()  # by lower case, for the sake of file systems that know no other
    lines = []

    def put(name: str, content: bytes) -> None:
        if name.lower() not in taken:
            taken.add(name.lower())
            files[name] = content

    for images, labels in splits.values():
        for stem in draw(st.lists(st.sampled_from(_STEMS), min_size=1, max_size=3, unique=True)):
            suffix = draw(st.sampled_from([".png"] * 5 + [".jpg", ".JPG", ".tif"]))
            put(f"{images}/{stem}{suffix}", draw(st.sampled_from(_PICTURES * 8 + [b"", b"<html>"])))
            lines.append(f"./{images}/{stem}{suffix}\n")
            if draw(st.integers(0, 49)) == 7:
                put(f"{images}/{stem}.bmp", _PICTURES[0])
            label = draw(st.sampled_from([stem] * 14 + [stem.swapcase(), "other", None]))
            if label is not None:
                put(f"{labels}/{label}{draw(st.sampled_from(['.txt'] * 8 + ['.TXT']))}", draw(_label_files()))
    if draw(st.integers(0, 3)) != 3:
        put("data.yaml", draw(_data_yamls({split: images for split, (images, _) in splits.items()})))
    if draw(st.booleans()):
        odd_list = draw(st.sampled_from([b"", b"\0\1", b"pit\npit\n", b"gone.png\n"]) | st.binary(max_size=30))
        names = draw(st.sampled_from(["classes.txt", "labels/classes.txt", "obj.names"]))
        put(names, draw(st.sampled_from(["\n".join(_NAMES).encode(), "\r\n".join(_NAMES).encode("utf-16"), odd_list])))
        put(
            "list.txt",
            draw(st.sampled_from(["".join(lines).encode(), ("gone.png\n" + "".join(lines)).encode(), odd_list])),
        )
    return files
