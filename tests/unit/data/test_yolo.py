"""YOLO in and out: the many ways in which people's files differ, and a round trip that loses nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import yaml
from helpers import box, corners, dataset_of, draw, snapshot, yolo_set
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.dataset import Dataset
from pipeline.data.formats.yolo import find_data_yaml, write_yolo
from pipeline.data.intake import Intake, read_dataset
from pipeline.data.split import with_groups
from pipeline.errors import DataError, UsageError

ROW = "0 .5 .5 .5 .5\n"


def _read(folder: Path, document: str) -> Intake:
    """Read a set of one labelled picture, images/train/a.png, with this data.yaml."""
    yolo_set(folder, {"train/a.png": ROW})
    (folder / "data.yaml").write_text(document, "utf-8")
    return read_dataset(folder)


def _names(folder: Path, names: str) -> tuple[str, ...]:
    return _read(folder, f"train: images/train\n{names}\n").dataset.names


# ---- data.yaml ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [pit, scratch]", ("pit", "scratch")),
        ("names:\n  - pit\n  - scratch", ("pit", "scratch")),
        ("names:\n  0: pit\n  1: scratch", ("pit", "scratch")),
        ("names: {1: scratch, 0: pit}", ("pit", "scratch")),
        ("names: {'0': pit, '1': scratch}", ("pit", "scratch")),
        ("names: {" + ", ".join(f"{n}: c{n}" for n in range(12)) + "}", tuple(f"c{n}" for n in range(12))),
        ("names: [yes, no]", ("yes", "no")),  # YAML 1.1 would make True and False of them
        ("names: [1, 007, on, ~pit]", ("1", "007", "on", "~pit")),
        ("names: [' pit ', Grübchen]", ("pit", "Grübchen")),
        ("nc: 1\nnames: [pit]", ("pit",)),
    ],
)
def test_names_are_read(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    assert _names(tmp_path, text) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list of classes `names:` is missing"),
        ("names:", "list of classes `names:` is missing"),
        ("names: []", "list of classes `names:` is missing"),
        ("names: {}", "list of classes `names:` is missing"),
        ("nc: 2", "list of classes `names:` is missing"),
        ("names: pit", "list of classes `names:` is missing"),
        ("names: {0: pit, 2: scratch}", r"from 0 without gaps, found \[0, 2\]"),
        ("names: {1: pit, 2: scratch}", r"from 0 without gaps, found \[1, 2\]"),
        ("names: {0: pit, one: scratch}", "from 0 without gaps"),
        ("names: {'²': pit}", "from 0 without gaps"),
        ("names: {0: pit, 0: scratch}", "given twice"),
        ("names: [pit, pit]", "empty or repeated class: 'pit', 'pit'"),
        ("names: [pit, ' pit']", "empty or repeated class"),
        ("names: [pit, '']", "empty or repeated class: 'pit', ''"),
        ("names:\n  - pit\n  -", "empty or repeated class: 'pit', ''"),
        ("nc: 3\nnames: [pit, scratch]", "`nc` is 3, but `names` has 2"),
    ],
)
def test_wrong_names_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _names(tmp_path, text)
    assert str(tmp_path / "data.yaml") in str(caught.value)


def test_a_download_line_is_refused_with_its_line_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    script = f"download: |\n  from pathlib import Path\n  Path({str(trap)!r}).touch()\n"
    with pytest.raises(DataError, match=r"data\.yaml:3: `download:` would be run as a program"):
        _read(tmp_path, f"train: images/train\nnames: [pit]\n{script}")
    assert not trap.exists()


def test_a_python_tag_is_refused_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(DataError, match="tags are not allowed"):
        _names(tmp_path, f"names: !!python/object/apply:os.mkdir ['{trap}']")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [pit]", "no split is given; write at least `train: images/train`"),
        ("train:\nval: ''\nnames: [pit]", "no split is given"),
        ("train: empty\nnames: [pit]", "`train: empty` has no pictures"),
        ("train: images/train/a.png\nnames: [pit]", r"neither a folder of pictures nor a \.txt list"),
    ],
)
def test_a_split_without_pictures_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        _read(tmp_path, text + "\n")


@pytest.mark.parametrize("base", ["", "path: ../elsewhere\n"])
def test_a_missing_folder_names_the_absolute_paths_that_were_tried(tmp_path: Path, base: str) -> None:
    folder = tmp_path / "set"
    with pytest.raises(DataError, match=r"`val: \.\./valid/images` is not there; looked for") as caught:
        _read(folder, f"{base}train: {folder}/images/train\nval: ../valid/images\nnames: [pit]\n")
    tried = {line.strip() for line in str(caught.value).splitlines()[1:]}
    assert {str(tmp_path / "valid/images"), str(folder / "valid/images")} <= tried
    assert not base or str(tmp_path / "valid/images") in tried


@pytest.mark.parametrize("key", ["val", "valid"])
def test_both_words_for_validation_are_understood(tmp_path: Path, key: str) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW, "other/b.png": ROW})
    (tmp_path / "data.yaml").write_text(f"train: images/train\n{key}: images/other\nnames: [pit]\n")
    images = read_dataset(tmp_path).dataset.images
    assert images.sort("path").select("path", "split").rows() == [
        ("images/other/b.png", "val"),
        ("images/train/a.png", "train"),
    ]


def test_roboflows_paths_that_lead_out_of_the_folder(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        draw(tmp_path / split / "images" / f"{split}.jpg")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / f"{split}.txt").write_text(ROW)
    lines = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['pit']\n"
    (tmp_path / "data.yaml").write_text(lines)
    dataset = read_dataset(tmp_path).dataset
    assert dataset.counts() == {split: {"images": 1, "boxes": 1, "empty": 0} for split in ("train", "val", "test")}
    assert dataset.images["path"].to_list() == [
        "test/images/test.jpg",
        "train/images/train.jpg",
        "valid/images/valid.jpg",
    ]


@pytest.mark.parametrize("name", ["data.yml", "dataset.yaml", "steel.yaml"])
def test_a_data_yaml_of_another_name_is_found(tmp_path: Path, name: str) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW})
    (tmp_path / "data.yaml").rename(tmp_path / name)
    (tmp_path / "notes.yaml").write_text("author: somebody\n")
    (tmp_path / "folder.yaml").mkdir()
    assert find_data_yaml(tmp_path) == [tmp_path / name]
    assert read_dataset(tmp_path).dataset.boxes.height == 1
    assert read_dataset(tmp_path / name).dataset.boxes.height == 1


# ---- where the pictures are ------------------------------------------------------------------------------------------


def test_a_list_of_pictures_with_relative_absolute_and_blank_lines(tmp_path: Path) -> None:
    yolo_set(tmp_path, {"train/a.png": ROW, "train/b.png": ROW, "train/c.png": ROW})
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_bytes(
        f"\ufeff../images/train/a.png\r\n\r\n{tmp_path}/images/train/c.png  \r\n".encode()
    )
    (tmp_path / "data.yaml").write_text("train: lists/train.txt\nnames: [pit]\n")
    assert read_dataset(tmp_path).dataset.images["path"].to_list() == ["images/train/a.png", "images/train/c.png"]
    (lists / "train.txt").write_text("../images/train/a.png\n../images/train/gone.png\n")
    with pytest.raises(DataError, match=r"train\.txt:2: no such picture") as caught:
        read_dataset(tmp_path)
    assert str(tmp_path / "images/train/gone.png") in str(caught.value)


def test_a_split_may_be_a_list_of_folders(tmp_path: Path) -> None:
    yolo_set(tmp_path, {"a/1.png": ROW, "b/2.png": ROW}, "train: [images/a, images/b]\nnames: [pit]\n")
    (tmp_path / "data.yaml").write_text("train: [images/a, images/b]\nnames: [pit]\n")
    assert read_dataset(tmp_path).dataset.counts() == {"train": {"images": 2, "boxes": 2, "empty": 0}}


def test_only_the_last_folder_called_images_has_its_labels_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "shop" / "images" / "set"
    yolo_set(folder, {"train/images.png": ROW, "train/sub/b.png": ROW})
    dataset = read_dataset(folder).dataset
    assert dataset.boxes["source"].to_list() == ["labels/train/images.txt:1", "labels/train/sub/b.txt:1"]


def test_labels_may_stand_beside_their_pictures_and_end_in_capitals(tmp_path: Path) -> None:
    draw(tmp_path / "shots" / "a.png")
    (tmp_path / "shots" / "a.TXT").write_text(ROW)
    draw(tmp_path / "shots" / "sub" / "B.JPG")
    (tmp_path / "shots" / "sub" / "B.txt").write_text(ROW + ROW.replace("0", "1", 1))
    (tmp_path / "data.yaml").write_text("train: shots\nnames: [pit, scratch]\n")
    assert read_dataset(tmp_path).dataset.boxes["source"].to_list() == [
        "shots/a.TXT:1",
        "shots/sub/B.txt:1",
        "shots/sub/B.txt:2",
    ]


def test_pictures_outside_of_the_data_yaml_keep_relative_names_and_the_fingerprint_travels(tmp_path: Path) -> None:
    found = []
    for place in ("here", "there"):
        folder = tmp_path / place / "pictures"
        yolo_set(folder, {"train/a.png": ROW, "val/b.png": ROW})
        for written in (str(folder), "../pictures"):
            file = tmp_path / place / "configs" / "steel.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"path: {written}\ntrain: images/train\nval: images/val\nnames: [pit]\n")
            found.append(read_dataset(file).dataset)
    for dataset in found:
        assert dataset.images["path"].to_list() == ["images/train/a.png", "images/val/b.png"]
        assert dataset.boxes["source"].to_list() == ["labels/train/a.txt:1", "labels/val/b.txt:1"]
        assert all(dataset.picture_path(path).is_file() for path in dataset.images["path"])
    assert len({dataset.fingerprint() for dataset in found}) == 1


def test_a_way_with_dots_gives_the_same_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yolo_set(tmp_path / "set", {"train/a.png": ROW})
    expected = read_dataset(tmp_path / "set").dataset
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    for way in (Path("../set"), Path("../other/../set/data.yaml")):
        dataset = read_dataset(way).dataset
        assert dataset.images["path"].to_list() == ["images/train/a.png"]
        assert dataset.fingerprint() == expected.fingerprint()


def test_two_pictures_of_one_label_file_are_refused(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ROW, "train/a.jpg": ROW})
    with pytest.raises(DataError, match=r"two pictures each(.|\n)*labels/train/a\.txt: of a\.jpg and a\.png"):
        read_dataset(folder)


def test_a_picture_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ROW})
    try:
        os.rename(folder / "images/train/a.png", os.fsencode(folder / "images/train") + b"/gr\xfcn.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(DataError, match=r"not UTF-8 text; rename them(.|\n)*gr\\udcfcn\.png"):
        read_dataset(folder)


# ---- label files ----------------------------------------------------------------------------------------------------


def test_a_missing_label_file_is_reported_and_an_empty_one_is_not(tmp_path: Path) -> None:
    intake = read_dataset(yolo_set(tmp_path, {"train/a.png": ROW, "train/b.png": "", "train/c.png": None}))
    assert intake.dataset.counts() == {"train": {"images": 3, "boxes": 1, "empty": 2}}
    assert [finding.id for finding in intake.findings] == ["labels.no_file"]
    assert intake.findings[0].message == "1 of 3 pictures have no label file and count as empty"
    assert intake.findings[0].evidence == {"count": 1, "pictures": ["images/train/c.png"]}


@pytest.mark.parametrize("text", ["\ufeff{0}", "{0}\r\n", "\n \n{0}\n\n", "\t{0}  ", "{0}\u2028"])
def test_marks_ends_and_blanks_do_not_matter(tmp_path: Path, text: str) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": text.format("1\t.5  .5 .5 .5")})
    assert corners(read_dataset(folder).dataset.boxes) == [(10, 7.5, 30, 22.5)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0 .5 .5 .2 .2 .97", r"6 columns, expected 5 \(class, centre x, centre y, width, height\)"),
        ("0 .5 .5 .2", "4 columns"),
        ("0 .1 .1 .2 .1 .2 .2 .1 .2", "9 columns"),  # a polygon
        ("pit .5 .5 .2 .2", "'pit .5 .5 .2 .2' is not five numbers"),
        ("class x y w h", "is not five numbers"),
        ("0,.5,.5,.2,.2", "1 columns"),
        ("0 0,5 0,5 0,2 0,2", "is not five numbers"),
        ("0 320 240 40 40", "looks like pixels"),
    ],
)
def test_a_row_of_another_form_is_refused_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": f"{ROW}\n{row}\n"})
    with pytest.raises(DataError, match=rf"labels/train/a\.txt:3: .*{message}"):
        read_dataset(folder)


def test_infinity_is_a_dropped_row_and_no_pixel_number(tmp_path: Path) -> None:
    intake = read_dataset(yolo_set(tmp_path, {"train/a.png": f"0 inf .5 .2 .2\n{ROW}"}))
    assert intake.ledger.select("id", "source").rows() == [("labels.not_finite", "labels/train/a.txt:1")]
    assert intake.dataset.boxes.height == 1


@pytest.mark.parametrize("content", ["0 .5 .5 .2 .2 # grün\n".encode("latin-1"), ROW.encode("utf-16")])
def test_a_label_file_in_another_encoding_is_named(tmp_path: Path, content: bytes) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ""})
    (folder / "labels/train/a.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"labels/train/a\.txt: not UTF-8 text .*; save it as UTF-8"):
        read_dataset(folder)


def test_a_data_yaml_in_another_encoding_is_named(tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"train/a.png": ""})
    (folder / "data.yaml").write_bytes("train: images/train\nnames: [grün]\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"not UTF-8 text \(line 2\)"):
        read_dataset(folder)


# ---- writing ---------------------------------------------------------------------------------------------------------

_SIZES = {"s.png": (17, 11), "m.png": (640, 480), "l.png": (5000, 4)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name, (width, height) in _SIZES.items():
        draw(folder / name, width, height)
    return folder


@st.composite
def _boxes(draw_from: st.DrawFn) -> list[tuple[int, int, tuple[float, ...]]]:
    """Return (picture, class, corners) of boxes at least a thousandth of a pixel wide, no two alike."""
    rows = []
    for _ in range(draw_from(st.integers(0, 6))):
        index = draw_from(st.integers(0, len(_SIZES) - 1))
        edges: list[float] = []
        for side in list(_SIZES.values())[index]:
            edges += sorted(draw_from(st.tuples(st.floats(0, side / 2), st.floats(side / 2 + 1e-3, side))))
        xyxy = (edges[0], edges[2], edges[1], edges[3])
        rows.append((index + 1, draw_from(st.integers(0, 2)), xyxy))
    return list(
        {
            (image, class_id, tuple(round(v, 3) for v in xyxy)): (image, class_id, xyxy)
            for image, class_id, xyxy in rows
        }.values()
    )


def _plain_rows(folder: Path) -> dict[str, list[list[float]]]:
    """Read labels as YOLO describes them, without the program: class, centre and size in fractions by picture."""
    found = {}
    for picture in sorted((folder / "images").rglob("*.png")):
        label = folder / "labels" / picture.relative_to(folder / "images").with_suffix(".txt")
        found[picture.resolve().name] = [[float(v) for v in line.split()] for line in label.read_text().splitlines()]
    return found


@settings(deadline=None, max_examples=25)
@given(_boxes())
def test_what_is_written_reads_back_the_same(pictures: Path, rows: list[tuple[int, int, tuple[float, ...]]]) -> None:
    sizes = dict(enumerate(_SIZES.items(), start=1))
    splits = {1: "train", 2: "val", 3: "test"}
    table = {n: {"path": name, "width": w, "height": h, "split": splits[n]} for n, (name, (w, h)) in sizes.items()}
    dataset = dataset_of(
        [box(image, class_id, *xyxy) for image, class_id, xyxy in rows],
        pictures=table,
        names=("yes", "1e-3", "a: b, [c]"),
        root=pictures,
    )
    with tempfile.TemporaryDirectory() as scratch:
        file = write_yolo(dataset, Path(scratch) / "new")
        again = read_dataset(file)
        plain = _plain_rows(file.parent)
    assert again.findings == ()
    assert again.dataset.names == dataset.names
    assert again.dataset.counts() == dataset.counts()

    def by_picture(one: Dataset) -> dict[str, list[tuple[float, ...]]]:
        joined = one.boxes.join(one.images, on="image_id", maintain_order="left")
        found: dict[str, list[tuple[float, ...]]] = {}
        for path, class_id, xyxy in zip(joined["path"], joined["class_id"], corners(joined), strict=True):
            found.setdefault(Path(path).name, []).append((class_id, *xyxy))
        return found  # in the order of the rows

    expected, found = by_picture(dataset), by_picture(again.dataset)
    assert found.keys() == expected.keys()
    for name, boxes in expected.items():
        width, height = _SIZES[name]
        for one, other in zip(found[name], boxes, strict=True):
            assert one == pytest.approx(other, abs=1e-6, rel=0)
        centres = [
            [c, (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
            for c, x1, y1, x2, y2 in boxes
        ]
        for one, other in zip(plain[name], centres, strict=True):
            assert one == pytest.approx(other, abs=1e-11)


def _written(tmp_path: Path, pictures: dict[str, str | None]) -> tuple[Path, Path]:
    """Write a dataset of pictures by path with their split; returns (source, written folder)."""
    source = tmp_path / "source"
    for number, path in enumerate(pictures):
        draw(source / path, 20 + number, 10)
    table = {
        n: {"path": path, "width": 19 + n, "height": 10, "split": split}
        for n, (path, split) in enumerate(pictures.items(), start=1)
    }
    boxes = [box(n, 0, 1, 1, 1 + n, 5) for n in table]
    dataset = dataset_of(boxes, pictures=table, root=source)
    return source, write_yolo(dataset, tmp_path / "written").parent


def test_pictures_are_links_and_the_source_stays_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "source"
    draw(source / "a.png", 100, 80)
    before = snapshot(source)
    folder = write_yolo(
        dataset_of([box(1, 0, 1, 1, 5, 5)], pictures={1: {"path": "a.png"}}, root=source), tmp_path / "w"
    ).parent
    link = folder / "images" / "train" / "a.png"
    assert link.is_symlink()
    assert link.samefile(source / "a.png")
    assert not (folder / "labels" / "train" / "a.txt").is_symlink()
    read_dataset(folder)
    assert snapshot(source) == before


@pytest.mark.parametrize(
    "paths",
    [
        ["left/a.png", "right/a.png"],
        ["train/a.png", "images/train/a.png", "a.png"],  # folders that are left out make names alike
        ["a.png", "a.jpg", "a-2.png"],
        ["images/a.png", "deep/images/a.png", "deep/labels/a.png"],
        ["train.png", "train/train.png", "images.png", "images/images/images.png"],  # files named like folders
        ["a.b.png", "a.c.png"],
    ],
)
def test_no_two_pictures_take_the_same_place(tmp_path: Path, paths: list[str]) -> None:
    source, folder = _written(tmp_path, dict.fromkeys(paths, "train"))
    intake = read_dataset(folder)
    assert intake.findings == ()
    dataset = intake.dataset
    assert sorted(dataset.images["width"]) == [20 + n for n in range(len(paths))]
    joined = dataset.boxes.join(dataset.images, on="image_id")
    for x2, width, path in joined.select("x2", "width", "path").iter_rows():
        assert x2 == pytest.approx(width - 18)  # each one has its own box
        assert dataset.picture_path(path).resolve().is_relative_to(source)
        folders = Path(path).parent.parts
        assert folders.count("images") == 1
        assert "labels" not in folders


def test_pictures_without_a_split_are_written_for_training(tmp_path: Path) -> None:
    _, folder = _written(tmp_path, {"a.png": "val", "b.png": None})
    assert read_dataset(folder).dataset.counts() == {
        split: {"images": 1, "boxes": 1, "empty": 0} for split in ("train", "val")
    }


def test_the_data_yaml_reads_the_same_with_any_yaml_reader_and_names_no_path(tmp_path: Path) -> None:
    names = ["yes", "on", "1e-3", "010", "1:30", "null", "grün", "# hash", "2024-01-31"]
    draw(tmp_path / "a.png", 100, 80)
    dataset = dataset_of([], pictures={1: {"path": "a.png", "split": "val"}}, names=names, root=tmp_path)
    file = write_yolo(dataset, tmp_path / "written")
    document = yaml.safe_load(file.read_text("utf-8"))
    assert document == {"val": "images/val", "names": dict(enumerate(names))}
    assert read_dataset(file).dataset.names == tuple(names)


def test_crowds_are_left_out(tmp_path: Path) -> None:
    draw(tmp_path / "1.png", 100, 80)
    rows = [box(1, 0, 1, 1, 9, 9), box(1, 1, 0, 0, 100, 80, crowd=True)]
    file = write_yolo(dataset_of(rows, pictures=1, root=tmp_path), tmp_path / "written")
    assert corners(read_dataset(file).dataset.boxes) == [pytest.approx((1, 1, 9, 9))]


def test_a_folder_with_anything_in_it_and_a_file_are_refused(tmp_path: Path) -> None:
    dataset = dataset_of([], root=tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").touch()
    (tmp_path / "file").touch()
    for place in ("full", "file"):
        with pytest.raises(UsageError, match="not empty; choose another folder"):
            write_yolo(dataset, tmp_path / place)
    assert [path.name for path in (tmp_path / "full").iterdir()] == [".hidden"]
    assert (tmp_path / "file").read_bytes() == b""


def test_a_written_set_has_groups_by_folder(tmp_path: Path) -> None:
    _, folder = _written(tmp_path, {"board1/a.png": "train", "board2/a.png": "train", "board2/b.png": "train"})
    grouped = with_groups(read_dataset(folder).dataset, "folder")
    assert grouped.images.group_by("group").len().height == 2
