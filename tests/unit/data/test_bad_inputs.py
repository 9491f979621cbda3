"""Bad inputs that users really have, one by one on real files: what becomes of them, and what is said.

Each case names the line of the table in docs/data.md that it stands for.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import corners, draw, snapshot, yolo_set
from PIL import Image

from pipeline.data.audit import audit
from pipeline.data.checks import CHECKS, take_snapshot
from pipeline.data.images import read_picture
from pipeline.data.intake import Intake, read, survey
from pipeline.errors import DataError
from pipeline.findings import Finding
from pipeline.sections import DataConfig

GOOD = "0 .5 .5 .4 .4\n"
BOX = (12, 9, 28, 21)  # GOOD in pixels of the 40 x 30 px pictures that `yolo_set` draws


@dataclass(frozen=True)
class Case:
    """A label file, and what becomes of it.

    Args:
        text: of the label file of one of three pictures; the others are good.
        ids: of the findings, with their severity's first letter, such as `labels.no_size w`.
        counts: rows (kept, repaired, dropped, refused), the two good ones left out.
        boxes: corners that the file's picture ends up with, in pixels.
        settings: of the section `data`.
    """

    text: str | bytes
    ids: frozenset[str]
    counts: tuple[int, int, int, int]
    boxes: tuple[tuple[float, ...], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "overhang is clipped": Case(
        "0 1 .5 .4 .4\n", frozenset({"labels.outside_clipped w"}), (0, 1, 0, 0), ((32, 9, 40, 21),)
    ),
    "coordinates a little above 1": Case(
        "0 .9 .5 .3 .4\n", frozenset({"labels.outside_clipped w"}), (0, 1, 0, 0), ((30, 9, 40, 21),)
    ),
    "wholly outside": Case("0 1.5 .5 .4 .4\n", frozenset({"labels.outside w"}), (0, 0, 1, 0)),
    "pixels instead of fractions": Case("0 20 15 16 12\n", frozenset({"labels.looks_like_pixels w"}), (0, 0, 1, 0)),
    "negative width": Case("0 .5 .5 -.4 .4\n", frozenset({"labels.no_size w"}), (0, 0, 1, 0)),
    "zero height": Case("0 .5 .5 .4 0\n" + GOOD, frozenset({"labels.no_size w"}), (1, 0, 1, 0), (BOX,)),
    "class above the names": Case("3 .5 .5 .4 .4\n", frozenset({"labels.class_out_of_range e"}), (0, 0, 0, 1)),
    "class -1": Case("-1 .5 .5 .4 .4\n", frozenset({"labels.class_out_of_range e"}), (0, 0, 0, 1)),
    "class 1.5": Case("1.5 .5 .5 .4 .4\n", frozenset({"labels.class_not_whole e"}), (0, 0, 0, 1)),
    "nan": Case("0 nan .5 .4 .4\n" + GOOD, frozenset({"labels.not_finite w"}), (1, 0, 1, 0), (BOX,)),
    "inf": Case("0 .5 inf .4 .4\n", frozenset({"labels.not_finite w"}), (0, 0, 1, 0)),
    "exact duplicate": Case(GOOD + GOOD, frozenset({"labels.duplicate w"}), (1, 0, 1, 0), (BOX,)),
    "polygon": Case(
        "0 .3 .3 .7 .3 .7 .7 .3 .7\n", frozenset({"labels.polygon i"}), (0, 1, 0, 0), (BOX,)
    ),
    "polygon and box mixed": Case(
        "0 .3 .3 .7 .3 .5 .7\n1 .5 .5 .4 .4\n", frozenset({"labels.polygon i"}), (1, 1, 0, 0), (BOX, BOX)
    ),
    "confidence column": Case(
        "0 .5 .5 .4 .4 .87\n", frozenset({"labels.confidence_column w"}), (0, 1, 0, 0), (BOX,)
    ),
    "5 and 6 columns mixed": Case(
        "0 .5 .5 .4 .4 .87\n1 .5 .5 .4 .4\n", frozenset({"labels.confidence_column w"}), (1, 1, 0, 0), (BOX, BOX)
    ),
    "commas": Case("0,.5,.5,.4,.4\n", frozenset({"labels.separator i"}), (0, 1, 0, 0), (BOX,)),
    "decimal commas": Case("0 0,5 0,5 0,4 0,4\n", frozenset({"labels.decimal_comma i"}), (0, 1, 0, 0), (BOX,)),
    "class name": Case("scratch .5 .5 .4 .4\n", frozenset({"labels.class_name i"}), (0, 1, 0, 0), (BOX,)),
    "unknown class name": Case("dent .5 .5 .4 .4\n", frozenset({"labels.class_unknown e"}), (0, 0, 0, 1)),
    "header": Case("class x y w h\n" + GOOD, frozenset({"labels.header i"}), (1, 0, 1, 0), (BOX,)),
    "nonsense": Case("see attached\n" + GOOD, frozenset({"labels.not_parsed w"}), (1, 0, 1, 0), (BOX,)),
    "UTF-16": Case(GOOD.encode("utf-16"), frozenset({"labels.encoding i"}), (1, 0, 0, 0), (BOX,)),
    "Latin-1": Case(
        "Löß .5 .5 .4 .4\n".encode("latin-1"),
        frozenset({"labels.encoding i", "labels.class_name i"}),
        (0, 1, 0, 0),
        (BOX,),
    ),
    "byte order mark": Case(b"\xef\xbb\xbf" + GOOD.encode(), frozenset(), (1, 0, 0, 0), (BOX,)),
    "CRLF": Case(GOOD.replace("\n", "\r\n") + "\r\n", frozenset(), (1, 0, 0, 0), (BOX,)),
    "empty file": Case("", frozenset(), (0, 0, 0, 0)),
    "all in pixels, and told so": Case(
        "0 20 15 16 12\n", frozenset(), (1, 0, 0, 0), (BOX,), {"coordinates": "pixels"}
    ),
}  # fmt: skip


def _told(intake: Intake) -> set[str]:
    return {f"{finding.id} {finding.severity[0]}" for finding in intake.findings}


def _audited(intake: Intake) -> dict[str, Finding]:
    """Return what the audit of labels and headers finds, by id; no id may come twice, and no check may fail."""
    taken = take_snapshot(intake.dataset, 640, intake=intake, headers=intake.headers)
    ids = [finding.id for check in CHECKS for finding in check(taken)]
    assert sorted(ids) == sorted(set(ids))
    findings = audit(intake.dataset, intake=intake, pictures=False).findings
    found = {finding.id: finding for finding in findings}
    assert len(found) == len(findings)
    assert "audit.check_failed" not in found
    return found


def _set_of(folder: Path, text: str | bytes, others: str = GOOD) -> Path:
    yolo_set(folder, {f"train/{name}.png": others for name in "abc"}, "names: [pit, scratch, Löß]\n")
    (folder / "labels/train/a.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


@pytest.mark.parametrize("name", ROWS)
def test_rows(tmp_path: Path, name: str) -> None:
    case = ROWS[name]
    others = "0 20 15 16 12\n" if case.settings else GOOD
    folder = _set_of(tmp_path, case.text, others)
    before = snapshot(folder)
    intake = survey(DataConfig(path=folder, **case.settings))
    assert _told(intake) == case.ids
    counts = intake.counts()
    assert (counts["kept"] - 2, counts["repaired"], counts["dropped"], counts["refused"]) == case.counts
    assert counts["read"] == sum(counts[action] for action in ("kept", "repaired", "dropped", "refused"))
    own = intake.dataset.boxes.filter(intake.dataset.boxes["source"].str.starts_with("labels/train/a.txt:"))
    assert [tuple(round(v, 6) for v in box) for box in corners(own)] == [tuple(map(float, box)) for box in case.boxes]
    assert intake.dataset.images.height == 3, "one bad row never costs a picture"
    if any(key.endswith(" e") for key in case.ids):
        with pytest.raises(DataError, match=r"labels/train/a\.txt:1"):
            read(DataConfig(path=folder))
    for finding in intake.findings:
        if "rows" in finding.evidence:
            assert all(row.startswith("labels/train/a.txt:") for row in finding.evidence["rows"])
    assert snapshot(folder) == before
    _audited(intake)


def test_a_set_that_is_all_pixels_is_refused_with_the_knob(tmp_path: Path) -> None:
    folder = _set_of(tmp_path, "0 20 15 16 12\n", "0 20 15 16 12\n")
    with pytest.raises(DataError, match=r"data\.coordinates=pixels"):
        read(DataConfig(path=folder))
    assert corners(read(DataConfig(path=folder, coordinates="pixels")).dataset.boxes) == [tuple(map(float, BOX))] * 3


# ---- files and pairs ------------------------------------------------------------------------------------------------


def _yolo(tmp_path: Path) -> Path:
    return yolo_set(tmp_path, {f"train/{name}.png": GOOD for name in "abcd"})


def _upper_label(folder: Path) -> None:
    (folder / "labels/train/a.txt").rename(folder / "labels/train/a.TXT")


def _other_case(folder: Path) -> None:
    (folder / "labels/train/a.txt").rename(folder / "labels/train/A.txt")


def _capital_picture(folder: Path) -> None:
    (folder / "images/train/a.png").rename(folder / "images/train/a.PNG")


def _link(folder: Path) -> None:
    (folder / "store").mkdir()
    (folder / "images/train/a.png").rename(folder / "images/train/original.png")
    (folder / "labels/train/a.txt").rename(folder / "labels/train/original.txt")
    os.replace(folder / "images/train/original.png", folder / "store/original.png")
    os.symlink(folder / "store/original.png", folder / "images/train/link.png")
    os.replace(folder / "labels/train/original.txt", folder / "store/original.txt")


def _no_label(folder: Path) -> None:
    (folder / "labels/train/a.txt").unlink()


def _no_labels(folder: Path) -> None:
    for name in "abc":
        (folder / f"labels/train/{name}.txt").unlink()


def _no_picture(folder: Path) -> None:
    (folder / "images/train/a.png").unlink()


def _shared(folder: Path) -> None:
    draw(folder / "images/train/a.jpg")


def _cut_jpeg(folder: Path) -> None:
    (folder / "images/train/a.png").unlink()
    whole = draw(folder / "images/train/a.jpg", 200, 150).read_bytes()
    (folder / "images/train/a.jpg").write_bytes(whole[: len(whole) * 2 // 3])


def _cut_png(folder: Path) -> None:
    whole = (folder / "images/train/a.png").read_bytes()
    (folder / "images/train/a.png").write_bytes(whole[:-20])


def _odd_end(folder: Path) -> None:
    (folder / "images/train/a.png").unlink()
    whole = draw(folder / "images/train/a.jpg").read_bytes()
    (folder / "images/train/a.jpg").write_bytes(whole + b"\x00" * 37 + b"tail")


def _zero_bytes(folder: Path) -> None:
    (folder / "images/train/a.png").write_bytes(b"")


def _web_page(folder: Path) -> None:
    (folder / "images/train/a.png").write_bytes(b"<!DOCTYPE html><title>404</title>")


def _png_called_jpg(folder: Path) -> None:
    (folder / "images/train/a.png").rename(folder / "images/train/a.jpg")


def _turned(folder: Path) -> None:
    (folder / "images/train/a.png").unlink()
    draw(folder / "images/train/a.jpg", orientation=6)


def _deep(folder: Path) -> None:
    values = np.linspace(0, 4095, 40 * 30).reshape(30, 40).astype(np.uint16)
    for name in "abcd":
        Image.fromarray(values).save(folder / f"images/train/{name}.png")


def _accents(folder: Path) -> None:
    (folder / "images/train/a.png").rename(folder / "images/train/Wärme bild (1).png")
    (folder / "labels/train/a.txt").rename(folder / "labels/train/Wärme bild (1).txt")


FILES: dict[str, tuple[Callable[[Path], None], set[str], int, int]] = {
    # change, findings, pictures and boxes that stay
    "label .TXT": (_upper_label, {"labels.name_case w"}, 4, 4),
    "label of another case": (_other_case, {"labels.name_case w"}, 4, 4),
    "picture .PNG": (_capital_picture, set(), 4, 4),
    "blanks and accents": (_accents, set(), 4, 4),
    "picture behind a link of another name": (_link, {"labels.linked_name w"}, 4, 4),
    "picture without label file": (_no_label, {"labels.no_file w"}, 4, 3),
    "most pictures without label file": (_no_labels, {"labels.no_file w", "labels.no_file e"}, 4, 1),
    "label without picture": (_no_picture, {"labels.no_picture w"}, 3, 3),
    "a.jpg and a.png share a.txt": (_shared, {"labels.shared_file e"}, 5, 5),
    "cut JPEG": (_cut_jpeg, {"images.truncated w", "labels.picture_unusable w"}, 3, 3),
    "cut PNG": (_cut_png, {"images.truncated w", "labels.picture_unusable w"}, 3, 3),
    "JPEG with odd end bytes": (_odd_end, set(), 4, 4),
    "zero bytes": (_zero_bytes, {"images.empty_file w", "labels.picture_unusable w"}, 3, 3),
    "web page named .png": (_web_page, {"images.not_a_picture w", "labels.picture_unusable w"}, 3, 3),
    "PNG named .jpg": (_png_called_jpg, set(), 4, 4),
    "EXIF rotation": (_turned, {"images.turned w"}, 4, 4),
    "16-bit pictures": (_deep, {"images.deep i"}, 4, 4),
}


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path: Path, name: str) -> None:
    change, told, pictures, boxes = FILES[name]
    folder = _yolo(tmp_path)
    change(folder)
    before = snapshot(folder)
    intake = survey(DataConfig(path=folder))
    assert _told(intake) == told
    assert (intake.dataset.images.height, intake.dataset.boxes.height) == (pictures, boxes)
    assert snapshot(folder) == before
    concerned = {"label of another case": "/A.txt", "picture behind a link of another name": "/link.png"}
    for finding in intake.findings:
        named = [entry for key in ("pictures", "files", "rows") for entry in finding.evidence.get(key, ())]
        assert any(concerned.get(name, "/a.") in entry for entry in named), finding.id
        assert finding.severity == "info" or finding.advice
    _audited(intake)


def test_pictures_without_labels_may_be_allowed(tmp_path: Path) -> None:
    folder = _yolo(tmp_path)
    _no_labels(folder)
    with pytest.raises(DataError, match=r"data\.unlabelled=1"):
        read(DataConfig(path=folder))
    assert read(DataConfig(path=folder, unlabelled=1.0)).dataset.images.height == 4


def test_16_bit_pictures_are_not_nearly_black(tmp_path: Path) -> None:
    folder = _yolo(tmp_path)
    _deep(folder)
    dataset = read(DataConfig(path=folder)).dataset
    pixels = read_picture(dataset.picture_path(dataset.images["path"][0]), dataset.value_range)
    assert pixels.min() < 5
    assert pixels.max() > 250


def _damaged_deep(folder: Path) -> None:
    _deep(folder)
    path = folder / "images/train/a.png"
    raw = bytearray(path.read_bytes())
    start = raw.index(b"IDAT") + 4
    raw[start : start + 40] = bytes(40)
    path.write_bytes(raw)
    for name in "bcd":
        draw(folder / f"images/train/{name}.png")


def _mixed_deep(folder: Path) -> None:
    _deep(folder)
    (folder / "images/train/a.png").unlink()
    Image.fromarray(np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)).save(folder / "images/train/a.tif")


def _huge(folder: Path) -> None:
    """Write a PNG of 182 megapixels, black and white, in about 20 kB."""
    width, height = 14_000, 13_000
    rows = zlib.compress(bytes((1 + width // 8) * height), 1)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    with (folder / "images/train/a.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, body in parts:
            file.write(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))


def _one_class_in_val(folder: Path) -> None:
    yolo_set(folder, {"train/a.png": GOOD + "1 .2 .2 .2 .2\n", "train/b.png": GOOD, "val/c.png": GOOD})


def _label(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "labels/train/a.txt").write_text(text)

    return change


def _no_boxes(folder: Path) -> None:
    for name in "abcd":
        (folder / f"labels/train/{name}.txt").write_text("")


def _no_boxes_in_train(folder: Path) -> None:
    yolo_set(folder, {"train/a.png": "", "train/b.png": "", "val/c.png": GOOD})
    for name in "cd":
        (folder / f"images/train/{name}.png").unlink()
        (folder / f"labels/train/{name}.txt").unlink()


# What only the audit sees: change, id and severity, what the evidence or the message has to name
AUDITED: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "picture above 179 megapixels": (_huge, "images.huge w", "images/train/a.png"),
    "class never in val": (_one_class_in_val, "split.class_missing_in_val w", "scratch"),
    "near duplicate boxes of one class": (_label(GOOD + "0 .5 .5 .41 .4\n"), "labels.near_duplicate w", "a.txt:2"),
    "near duplicate boxes of two classes": (_label(GOOD + "1 .5 .5 .41 .4\n"), "labels.two_classes w", "a.txt:2"),
    "no box at all": (_no_boxes, "labels.none e", "images/train/a.png"),
    "no box in train": (_no_boxes_in_train, "labels.none_in_train e", "images/train/a.png"),
    "16-bit picture that cannot be decoded": (_damaged_deep, "images.undecodable w", "images/train/a.png"),
    "16-bit pictures and pictures of fractions": (_mixed_deep, "images.mixed_depth e", "images/train/a.tif"),
}


@pytest.mark.parametrize("name", AUDITED)
def test_what_the_audit_tells(tmp_path: Path, name: str) -> None:
    change, told, named = AUDITED[name]
    folder = _yolo(tmp_path)
    key = told.split()[0]
    assert key not in _audited(survey(DataConfig(path=folder)))
    change(folder)
    before = snapshot(folder)
    finding = _audited(survey(DataConfig(path=folder)))[key]
    assert f"{finding.id} {finding.severity[0]}" == told
    assert named in json.dumps(dict(finding.evidence))
    assert finding.advice
    assert snapshot(folder) == before


KINDS = {
    "RGBA": "transparency is dropped",
    "LA": "transparency is dropped",
    "P": "palette",
    "CMYK": "CMYK 1",
    "1": "black and white becomes 0 and 255",
    "L": "grey 1",
    "float": "grey in fractions 1",
    "multi-page": "only the first is read, and 2 others are not seen",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_is_read_and_told(tmp_path: Path, kind: str) -> None:
    folder = _yolo(tmp_path)
    (folder / "images/train/a.png").unlink()
    pixels = np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    if kind == "multi-page":
        picture.save(folder / "images/train/a.tif", save_all=True, append_images=[picture] * 2)
    elif kind == "float":
        Image.fromarray(pixels[..., 0].astype(np.float32) * 100).save(folder / "images/train/a.tif")
    else:
        picture.convert(kind).save(folder / ("images/train/a.jpg" if kind == "CMYK" else "images/train/a.png"))
    intake = survey(DataConfig(path=folder))
    assert intake.dataset.images.height == 4
    for path in intake.dataset.images["path"]:
        assert read_picture(intake.dataset.picture_path(path), intake.dataset.value_range).shape == (30, 40, 3)
    finding = _audited(intake)["images.pages" if kind == "multi-page" else "images.modes"]
    assert finding.severity == "info"
    assert KINDS[kind] in finding.message
    assert [Path(entry).stem for entry in finding.evidence["pictures"]] == ["a"]


@pytest.mark.parametrize("kind", ["RGBA", "LA"])
def test_transparency_is_dropped_as_the_audit_says(tmp_path: Path, kind: str) -> None:
    colours = np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    plain = Image.fromarray(colours).convert(kind.removesuffix("A"))
    clear = plain.copy().convert(kind)
    clear.putalpha(Image.fromarray(np.zeros((30, 40), np.uint8)))
    plain.save(tmp_path / "plain.png")
    clear.save(tmp_path / "clear.png")
    assert np.array_equal(read_picture(tmp_path / "clear.png"), read_picture(tmp_path / "plain.png"))


# ---- data.yaml ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("train: images/train\nnames: [a, a]\n", "twice"),
        ("train: images/train\nnames: [a, '']\n", "empty"),
        ("train: images/train\nnames: [true, no]\n", "quotes"),
        ("train: images/train\nnc: 3\nnames: [a, b]\n", "`nc` is 3"),
        ("train: images/train\nval: images/train\nnames: [a, b]\n", "two splits"),
        ("train: images/gone\nnames: [a, b]\n", "looked for"),
        ("path: /nowhere/at/all\ntrain: images/gone\nnames: [a, b]\n", "/nowhere/at/all/images/gone"),
    ],
    ids=["twice", "empty", "true", "nc", "val is train", "missing folder", "wrong path"],
)
def test_a_data_yaml_that_cannot_be_right_is_refused(tmp_path: Path, yaml: str, words: str) -> None:
    folder = _yolo(tmp_path)
    (folder / "data.yaml").write_text(yaml)
    with pytest.raises(DataError) as caught:
        read(DataConfig(path=folder))
    assert words in str(caught.value)
    assert "data.yaml" in str(caught.value) or "images/train" in str(caught.value)


def test_valid_is_accepted_for_val(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": GOOD, "valid/b.png": GOOD})
    assert read(DataConfig(path=folder)).dataset.splits == ("train", "val")


def test_numbers_with_gaps_are_renumbered_in_the_open(tmp_path: Path) -> None:
    folder = _yolo(tmp_path)
    (folder / "data.yaml").write_text("train: images/train\nnames: {0: pit, 3: scratch}\n")
    (folder / "labels/train/b.txt").write_text("3 .5 .5 .4 .4\n")
    intake = survey(DataConfig(path=folder))
    assert _told(intake) == {"names.renumbered w"}
    assert intake.dataset.names == ("pit", "scratch")
    assert intake.dataset.boxes["class_id"].to_list() == [0, 1, 0, 0]


def test_only_the_last_folder_called_images_counts(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path / "images" / "mine", {"train/a.png": GOOD})
    assert read(DataConfig(path=folder)).dataset.boxes.height == 1


# ---- COCO and VOC ---------------------------------------------------------------------------------------------------


def _coco(folder: Path, **changes: Any) -> Path:
    for name in ("a.png", "b.png"):
        draw(folder / name)
    annotation = {"id": 1, "image_id": 7, "category_id": 5, "bbox": [12, 9, 16, 12]}
    document: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
        "annotations": [annotation],
        "categories": [{"id": 0, "name": "pit"}, {"id": 5, "name": "scratch"}],
    }
    (folder / "train.json").write_text(json.dumps({**document, **changes}))
    return folder


def test_coco_ids_with_gaps_are_mapped_in_their_order(tmp_path: Path) -> None:
    dataset = read(DataConfig(path=_coco(tmp_path))).dataset
    assert dataset.names == ("pit", "scratch")
    assert dataset.boxes["class_id"].to_list() == [1]
    assert corners(dataset.boxes) == [tuple(map(float, BOX))]


def test_coco_crowds_stay_crowds(tmp_path: Path) -> None:
    crowd = {"id": 1, "image_id": 7, "category_id": 5, "bbox": [12, 9, 16, 12], "iscrowd": 1}
    assert read(DataConfig(path=_coco(tmp_path, annotations=[crowd]))).dataset.boxes["crowd"].to_list() == [True]


def test_coco_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "../../a.png"}, {"id": 9, "file_name": "b.png"}]
    with pytest.raises(DataError, match="outside"):
        read(DataConfig(path=_coco(tmp_path, images=images)))


def _voc(folder: Path, objects: str) -> Path:
    draw(folder / "JPEGImages/a.png")
    (folder / "Annotations").mkdir()
    size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
    text = f"<annotation><filename>a.png</filename>{size}{objects}</annotation>"
    (folder / "Annotations/a.xml").write_text(text)
    return folder


def _object(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    box = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<object><name>pit</name>{more}<bndbox>{box}</bndbox></object>"


def test_voc_has_an_option_for_its_offset(tmp_path: Path) -> None:
    folder = _voc(tmp_path, _object(13, 10, 28, 21))
    assert corners(read(DataConfig(path=folder)).dataset.boxes) == [(13, 10, 28, 21)]
    assert corners(read(DataConfig(path=folder, voc_offset=1)).dataset.boxes)[0][:2] == (12, 9)


def test_voc_difficult_is_a_flag(tmp_path: Path) -> None:
    folder = _voc(tmp_path, _object(1, 1, 9, 9, "<difficult>1</difficult>") + _object(2, 2, 9, 9))
    assert read(DataConfig(path=folder)).dataset.boxes["difficult"].to_list() == [True, False]


def test_voc_swapped_corners_are_sorted(tmp_path: Path) -> None:
    intake = read(DataConfig(path=_voc(tmp_path, _object(28, 21, 12, 9))))
    assert corners(intake.dataset.boxes) == [tuple(map(float, BOX))]
    assert intake.ledger["id"].to_list() == ["labels.swapped_corners"]
