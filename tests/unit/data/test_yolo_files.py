"""Which label file belongs to which picture: cases, links, leftovers; and how often the disk is asked."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from helpers import draw, snapshot, yolo_set
from test_yolo import finding, raw

from pipeline.data.formats.yolo_files import Folders, Picture, label_places, pair
from pipeline.errors import DataError

ROW = "0 .5 .5 .5 .5\n"


def _rename(folder: Path, old: str, new: str) -> None:
    (folder / old).rename(folder / new)


def _sources(folder: Path) -> dict[str, str]:
    return dict(raw(folder, unlabelled=1).boxes.select("path", "source").iter_rows())


def test_labels_lie_where_ultralytics_looks_or_beside() -> None:
    """The same places as `img2label_paths` of ultralytics 8.4: the last folder called images counts."""
    place = label_places(os.path.join(os.sep, "images", "x", "images", "train"))
    assert place == ["/images/x/labels/train", "/images/x/images/train"]
    assert label_places("/data/shots") == ["/data/shots"]


@pytest.mark.parametrize(
    ("picture", "label"),
    [("a.png", "a.TXT"), ("IMG.JPG", "img.txt"), ("img.jpg", "IMG.TXT"), ("GRÖSSE.png", "größe.txt")],
)
def test_names_that_differ_in_case_are_paired_in_the_open(tmp_path: Path, picture: str, label: str) -> None:
    folder = yolo_set(tmp_path, {"train/x.png": ROW})
    _rename(folder, "labels/train/x.txt", f"labels/train/{label}")
    (folder / "images/train/x.png").unlink()
    draw(folder / "images/train" / picture)
    before = snapshot(folder)
    found = raw(folder)
    assert found.boxes.select("path", "source").rows() == [(f"images/train/{picture}", f"labels/train/{label}:1")]
    assert [one.id for one in found.findings] == ["labels.name_case"]
    notice = finding(found, "labels.name_case")
    assert notice.evidence == {"count": 1, "files": [f"images/train/{picture} has labels/train/{label}"]}
    assert snapshot(folder) == before


def test_the_two_ways_to_write_an_accent_are_the_same_name(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/grün.png": ROW})
    _rename(folder, "labels/train/grün.txt", f"labels/train/{unicodedata.normalize('NFD', 'grün')}.txt")
    assert len(_sources(folder)) == 1


def test_a_name_that_is_equal_goes_first(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ROW, "train/A.png": ROW, "train/B.png": ROW})
    if len(list((folder / "labels/train").iterdir())) < 3:
        pytest.skip("this file system does not tell a from A")
    assert _sources(folder) == {f"images/train/{name}.png": f"labels/train/{name}.txt:1" for name in "aAB"}
    (folder / "labels/train/A.txt").unlink()  # a.txt is the other picture's, and no stand-in
    found = raw(folder)
    assert dict(found.boxes.select("path", "source").iter_rows()) == {
        f"images/train/{name}.png": f"labels/train/{name}.txt:1" for name in "aB"
    }
    assert finding(found, "labels.no_file").evidence["pictures"] == ["images/train/A.png"]


def test_labels_may_stand_beside_their_pictures(tmp_path: Path) -> None:
    draw(tmp_path / "shots" / "a.b.png")
    (tmp_path / "shots" / "a.b.txt").write_text(ROW)
    draw(tmp_path / "shots" / "sub" / "B.JPG")
    (tmp_path / "shots" / "sub" / "B.txt").write_text(ROW + ROW.replace("0", "1", 1))
    (tmp_path / "shots" / "notes.txt").write_text("Taken on 3 May.\n")
    (tmp_path / "data.yaml").write_text("train: shots\nnames: [pit, scratch]\n")
    found = raw(tmp_path)
    assert found.boxes["source"].to_list() == ["shots/a.b.txt:1", "shots/sub/B.txt:1", "shots/sub/B.txt:2"]
    assert found.findings == ()


# ---- links ----------------------------------------------------------------------------------------------------------


def test_a_picture_that_is_a_link_of_another_name_has_the_labels_of_its_target(tmp_path: Path) -> None:
    store = yolo_set(tmp_path / "store", {"all/scan_17.png": ROW, "all/scan_18.png": ROW})
    folder = tmp_path / "set"
    (folder / "images/train").mkdir(parents=True)
    (folder / "labels/train").mkdir(parents=True)
    (folder / "data.yaml").write_text("train: images/train\nnames: [pit]\n")
    (folder / "images/train/one.png").symlink_to(store / "images/all/scan_17.png")
    (folder / "images/train/two.png").symlink_to(store / "images/all/scan_18.png")
    (folder / "images/train/again.png").symlink_to(store / "images/all/scan_18.png")
    (folder / "labels/train/one.txt").write_text(ROW + ROW)  # its own name goes first
    found = raw(folder)
    there = f"{store}/labels/all/scan_18.txt"
    assert found.boxes.select("path", "source").rows() == [
        ("images/train/again.png", f"{there}:1"),
        ("images/train/one.png", "labels/train/one.txt:1"),
        ("images/train/one.png", "labels/train/one.txt:2"),
        ("images/train/two.png", f"{there}:1"),
    ]
    assert [one.id for one in found.findings] == ["labels.linked_name"]
    assert finding(found, "labels.linked_name").evidence["files"] == [
        f"images/train/{name}.png has {there}" for name in ("again", "two")
    ]


def test_a_linked_folder_has_the_labels_of_its_target(tmp_path: Path) -> None:
    yolo_set(tmp_path / "store", {"all/a.png": ROW})
    (tmp_path / "set/images").mkdir(parents=True)
    (tmp_path / "set/images/train").symlink_to(tmp_path / "store/images/all")
    (tmp_path / "set/data.yaml").write_text("train: images/train\nnames: [pit]\n")
    found = raw(tmp_path / "set")
    assert found.boxes.select("path", "source").rows() == [
        ("images/train/a.png", f"{tmp_path}/store/labels/all/a.txt:1")
    ]


def test_links_in_a_circle_and_to_nowhere_are_passed_over(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ROW})
    (folder / "images/train/up").symlink_to(folder / "images")
    (folder / "images/train/loop.png").symlink_to("loop.png")
    (folder / "images/train/gone.png").symlink_to("nowhere.png")
    (folder / "labels/train/gone.txt").symlink_to("nowhere.txt")
    found = raw(folder)
    assert found.images["path"].to_list() == ["images/train/a.png"]
    assert found.findings == ()


# ---- without a partner -----------------------------------------------------------------------------------------------


def test_label_files_without_picture_are_named(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ROW, "train/b.png": ROW})
    (folder / "images/train/b.png").unlink()
    for name in ("classes.txt", ".hidden.txt", "a.json"):
        (folder / "labels/train" / name).write_text("pit\n")
    draw(folder / "shots/c.png")
    for name, text in {
        "c.txt": ROW,
        "d.txt": ROW,
        "README.txt": "5 pictures of 17 boards, 3 bad\n",
        "e.txt": "",
    }.items():
        (folder / "shots" / name).write_text(text)
    (folder / "data.yaml").write_text("train: [images/train, shots]\nnames: [pit]\n")
    found = raw(folder)
    notice = finding(found, "labels.no_picture")
    assert notice.severity == "warning"
    assert notice.evidence == {"count": 2, "files": ["labels/train/b.txt", "shots/d.txt"]}
    assert found.boxes.height == 2


def test_missing_label_files_are_reported_and_empty_ones_are_not(tmp_path: Path) -> None:
    found = raw(yolo_set(tmp_path, {"train/a.png": ROW, "train/b.png": "", "train/c.png": None}))
    assert found.images.height == 3
    assert [(one.id, one.severity) for one in found.findings] == [("labels.no_file", "warning")]
    assert found.findings[0].message == "1 of 3 pictures have no label file and count as empty"
    assert found.findings[0].evidence == {"count": 1, "pictures": ["images/train/c.png"]}


@pytest.mark.parametrize(
    ("unlabelled", "splits"), [(0.5, ["val"]), (0.2, ["train", "val"]), (0.99, ["val"]), (1.0, [])]
)
def test_too_many_missing_label_files_are_an_error_of_their_split(
    tmp_path: Path, unlabelled: float, splits: list[str]
) -> None:
    labels = {"train/a.png": ROW, "train/b.png": None, "val/c.png": None, "val/d.png": None}
    found = raw(yolo_set(tmp_path, labels), unlabelled=unlabelled)
    errors = [one for one in found.findings if one.severity == "error"]
    assert [one.evidence["split"] for one in errors] == splits
    for one in errors:
        share = {"train": "50%", "val": "100%"}[one.evidence["split"]]
        assert one.message.startswith(f"{share} of the 2 pictures of '{one.evidence['split']}' have no label file")
        assert f"looked in {tmp_path}/labels/train and" in one.message
        assert "data.unlabelled=1" in one.advice
    assert finding(raw(yolo_set(tmp_path / "other", labels), unlabelled=1), "labels.no_file").evidence["count"] == 3


def test_two_pictures_of_one_label_file_are_an_error(tmp_path: Path) -> None:
    found = raw(yolo_set(tmp_path, {"train/a.png": ROW, "train/a.jpg": ROW, "train/b.png": ROW}))
    error = finding(found, "labels.shared_file")
    assert error.severity == "error"
    assert error.evidence == {
        "count": 1,
        "files": ["labels/train/a.txt (of images/train/a.jpg and images/train/a.png)"],
    }


# ---- the disk --------------------------------------------------------------------------------------------------------


def test_each_folder_is_listed_once_and_no_file_is_asked_for_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = yolo_set(tmp_path, {f"{s}/{n}.png": ROW if n % 3 else None for s in ("train", "val") for n in range(12)})
    asked: Counter[str] = Counter()
    listings: Counter[str] = Counter()
    for name in ("stat", "lstat"):
        ask = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *a, _ask=ask, **k: (asked.update([str(path)]), _ask(path, *a, **k))[1]
        )
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": (listings.update([str(path)]), scan(path))[1])
    raw(folder, unlabelled=1)
    below = {f"{folder}/{kind}/{split}" for kind in ("images", "labels") for split in ("train", "val")}
    assert below <= set(listings)
    assert {listings[place] for place in below} == {1}
    assert [path for path in asked if path.endswith((".png", ".txt", ".TXT"))] == []


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", forbid)
    with pytest.raises(DataError, match=f"{tmp_path}: this folder cannot be read .Permission denied"):
        Folders()[str(tmp_path)]


def test_pairs_come_in_the_order_of_the_pictures(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ROW, "train/b.png": None})
    place = str(folder / "images/train")
    pictures = [Picture("val", place, "b.png"), Picture("train", place, "a.png"), Picture("val", place, "a.png")]
    label = str(folder / "labels/train/a.txt")
    found = pair(pictures, Folders())
    assert found.labels == [None, label, label]
    assert found.shared == []
