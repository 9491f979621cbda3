"""Pictures are cut on disk: every pixel is there, depth and channels stay, nothing is overwritten, it reads back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from helpers import ORIENTATION, box, corners, dataset_of, files_below, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.dataset import Dataset
from pipeline.data.images import read_picture, read_stored
from pipeline.data.intake import read_dataset
from pipeline.data.tile import tile_rectangles
from pipeline.data.tile_plan import TileSettings, plan_tiles
from pipeline.data.tiling import Tiled, _too_small, tile_dataset
from pipeline.errors import DataError, UsageError
from pipeline.findings import Finding


def _noise(height: int, width: int, dtype: str = "uint8", channels: int = 3) -> NDArray[Any]:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return (np.random.default_rng(0).random(shape) * 250).astype(dtype)


def _source(
    folder: Path, pictures: dict[str, NDArray[Any]], boxes: list[dict[str, Any]], split: str = "val"
) -> Dataset:
    """Write pictures, and return them as a dataset with ids 1, 2, ..."""
    rows = {}
    for number, (name, pixels) in enumerate(pictures.items(), 1):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(file.suffix, pixels)[1].tobytes())
        rows[number] = {"path": name, "width": pixels.shape[1], "height": pixels.shape[0], "split": split}
    return dataset_of(boxes, pictures=rows, root=folder)


def _finding(tiled: Tiled, key: str) -> Finding:
    (found,) = [finding for finding in tiled.findings if finding.id == key]
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "dtype", "suffix"),
    [
        ("a.png", "uint8", ".png"),
        ("a.bmp", "uint8", ".png"),
        ("a.webp", "uint8", ".png"),
        ("a.png", "uint16", ".png"),
        ("a.tif", "uint16", ".png"),
        ("a.tif", "int16", ".tif"),
        ("a.tif", "float32", ".tif"),
    ],
)
def test_all_pixels_of_a_picture_are_in_its_tiles(
    tmp_path: Path, name: str, dtype: str, suffix: str, channels: int
) -> None:
    pictures = {name: _noise(50, 70, dtype, channels), f"flat/{name}": _noise(20, 70, dtype, channels)}
    source = _source(tmp_path / "s", pictures, [])
    before = snapshot(tmp_path / "s")
    tiled = tile_dataset(source, tmp_path / "t", TileSettings(32))
    assert snapshot(tmp_path / "s") == before
    for picture, place, height in ((name, "a/a", 50), (f"flat/{name}", "flat/a/a", 20)):
        whole = read_stored(tmp_path / "s" / picture)
        rectangles = tile_rectangles(70, height, 32, 0.2)
        paths = tiled.dataset.images.filter(pl.col("group") == picture)["path"].to_list()
        assert paths == [f"images/val/{place}_x{left}_y{top}{suffix}" for left, top, _, _ in rectangles]
        put_back = np.zeros_like(whole)
        for path, (left, top, right, bottom) in zip(paths, rectangles, strict=True):
            tile = read_stored(tmp_path / "t" / path)
            assert tile.dtype == whole.dtype
            put_back[top:bottom, left:right] = tile
        np.testing.assert_array_equal(put_back, whole)


def test_tiles_of_a_jpeg_are_jpegs_that_hardly_differ(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(_noise(120, 120), (0, 0), 3)
    source = _source(tmp_path / "s", {"a.jpg": smooth}, [])
    (tmp_path / "s" / "a.jpg").rename(tmp_path / "s" / "a.png")  # content counts, not the name
    images = source.images.with_columns(path=pl.lit("a.png"))
    source = Dataset(source.names, images, source.boxes, source.root)
    tiled = tile_dataset(source, tmp_path / "t", TileSettings(65))
    whole = read_picture(tmp_path / "s" / "a.png")
    assert tiled.dataset.images.height == 9
    for path, (left, top, right, bottom) in zip(
        tiled.dataset.images["path"], tile_rectangles(120, 120, 65, 0.2), strict=True
    ):
        assert path.endswith(".jpg")
        assert (tmp_path / "t" / path).read_bytes()[:2] == b"\xff\xd8"
        assert cv2.PSNR(read_picture(tmp_path / "t" / path), whole[top:bottom, left:right]) > 40


def test_a_picture_turned_by_exif_is_cut_as_it_is_seen(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(_noise(40, 60)).save(tmp_path / "s" / "a.png", exif=exif)
    pictures = {1: {"path": "a.png", "width": 40, "height": 60, "split": "val"}}
    tiled = tile_dataset(dataset_of([], pictures=pictures, root=tmp_path / "s"), tmp_path / "t", TileSettings(40))
    assert tiled.dataset.images.select("width", "height").unique().rows() == [(40, 40)]
    whole = read_picture(tmp_path / "s" / "a.png")
    assert whole.shape[:2] == (60, 40)
    for path, top in zip(tiled.dataset.images["path"], (0, 20), strict=True):
        np.testing.assert_array_equal(read_picture(tmp_path / "t" / path), whole[top : top + 40])


def test_a_picture_that_fits_is_copied_byte_by_byte(tmp_path: Path) -> None:
    source = _source(tmp_path / "s", {"a/b.jpg": _noise(30, 40), "a/c.png": _noise(30, 41)}, [box(1, 0, 1, 2, 3, 4)])
    tiled = tile_dataset(source, tmp_path / "t", TileSettings(40))
    assert tiled.dataset.images["path"][0] == "images/val/a/b.jpg"
    assert (tmp_path / "t/images/val/a/b.jpg").read_bytes() == (tmp_path / "s/a/b.jpg").read_bytes()
    assert corners(tiled.dataset.boxes) == [(1.0, 2.0, 3.0, 4.0)]


def test_what_was_written_reads_back_with_ignored_parts_and_groups(tmp_path: Path) -> None:
    boxes = [
        box(1, 1, 4, 4, 24.5, 20),  # whole in the first tile
        box(1, 0, 30, 10, 130, 20),  # 10 and 90 % in two tiles of 40 px; all of the one between
        box(2, 0, 1, 1, 9, 9, crowd=True),
    ]
    pictures = {"p/a.png": _noise(40, 140), "p/b.jpg": _noise(50, 60)}
    source = _source(tmp_path / "s", pictures, boxes, "train")
    tiled = tile_dataset(source, tmp_path / "t", TileSettings(40, overlap=0.0, visible=0.3, background=9))
    again = read_dataset(tiled.data)
    assert again.counts()["repaired"] == again.counts()["dropped"] == 0
    assert set(again.dataset.images["path"]) == set(tiled.dataset.images["path"])
    columns = ["path", "class_id", "x1", "y1", "x2", "y2", "crowd", "split", "group", "width", "height"]
    tables = [
        set.boxes.join(set.images, on="image_id").select(columns).sort(columns)
        for set in (tiled.dataset, again.dataset)
    ]
    assert tables[0].equals(tables[1])
    assert again.dataset.names == source.names
    of_a = tables[0].filter(pl.col("group") == "p/a.png").sort("path", "x1").select("path", "x1", "x2", "crowd").rows()
    assert [(Path(path).stem, *rest) for path, *rest in of_a] == [
        ("a_x0_y0", 4.0, 24.5, False),
        ("a_x0_y0", 30.0, 40.0, True),
        ("a_x100_y0", 0.0, 30.0, False),
        ("a_x40_y0", 0.0, 40.0, False),
        ("a_x80_y0", 0.0, 40.0, False),
    ]
    assert set(again.dataset.images["group"]) == {"p/a.png", "p/b.jpg"}


def test_the_range_of_deep_pictures_stays_that_of_the_whole_set(tmp_path: Path) -> None:
    source = _source(tmp_path / "s", {"a.png": _noise(40, 80, "uint16", 1)}, [])
    deep = Dataset(source.names, source.images, source.boxes, source.root, (0.0, 4095.0))
    assert tile_dataset(deep, tmp_path / "t", TileSettings(40)).dataset.value_range == (0.0, 4095.0)


# ---- what cannot be done --------------------------------------------------------------------------------------------


def test_a_picture_that_cannot_be_decoded_is_left_out_and_named(tmp_path: Path) -> None:
    pictures = {f"{name}.png": _noise(30, 60) for name in "abc"}
    source = _source(tmp_path / "s", pictures, [box(number, 0, 1, 1, 20, 20) for number in (1, 2, 3)])
    damaged = tmp_path / "s" / "b.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    (tmp_path / "s" / "c.png").write_bytes(cv2.imencode(".png", _noise(31, 60))[1].tobytes())  # another size by now
    tiled = tile_dataset(source, tmp_path / "t", TileSettings(30))
    assert {path.split("/")[2] for path in tiled.dataset.images["path"]} == {"a"}
    assert tiled.dataset.boxes.height == 1
    finding = _finding(tiled, "tiles.unreadable")
    assert finding.severity == "warning"
    assert finding.evidence["pictures"] == ["b.png", "c.png"]
    assert "60 x 31 pixels, but its header says 60 x 30" in finding.evidence["files"][1]
    assert {file.split("/")[2] for file in files_below(tmp_path / "t") if file.startswith("images/")} == {"a"}


def test_when_no_picture_can_be_decoded_nothing_is_said_to_be_done(tmp_path: Path) -> None:
    source = _source(tmp_path / "s", {"a.png": _noise(30, 60)}, [])
    (tmp_path / "s" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="none of the 1 pictures can be decoded"):
        tile_dataset(source, tmp_path / "t", TileSettings(30))


def test_a_small_picture_that_is_gone_is_left_out_like_others(tmp_path: Path) -> None:
    source = _source(tmp_path / "s", {"a.png": _noise(9, 9), "b.png": _noise(9, 9)}, [])
    (tmp_path / "s" / "a.png").unlink()
    tiled = tile_dataset(source, tmp_path / "t", TileSettings(30))
    assert tiled.dataset.images["path"].to_list() == ["images/val/b.png"]
    assert _finding(tiled, "tiles.unreadable").evidence["pictures"] == ["a.png"]


@pytest.mark.parametrize("also_val", [False, True])
def test_train_without_any_box_is_refused(tmp_path: Path, also_val: bool) -> None:
    source = _source(tmp_path / "s", {"a.png": _noise(30, 60), "b.png": _noise(30, 60)}, [box(2, 0, 1, 1, 9, 9)])
    splits = ["train", "val"] if also_val else ["train", "train"]
    images = source.images.with_columns(split=pl.Series(splits))
    boxes = source.boxes if also_val else source.boxes.clear()
    with pytest.raises(DataError, match="no training picture has a box"):
        tile_dataset(Dataset(source.names, images, boxes, source.root), tmp_path / "t", TileSettings(30))
    assert not (tmp_path / "t").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = _source(tmp_path / "s", {"a.png": _noise(30, 60)}, [])
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    for folder in ("t", "t/mine.txt"):
        with pytest.raises(UsageError, match="not empty"):
            tile_dataset(source, tmp_path / folder, TileSettings(30))
    with pytest.raises(UsageError, match="cannot be written"):
        tile_dataset(source, tmp_path / "t" / "mine.txt" / "x", TileSettings(30))
    assert snapshot(tmp_path) == before


# ---- what is said ---------------------------------------------------------------------------------------------------


def test_the_summary_counts_pictures_and_tiles(tmp_path: Path) -> None:
    pictures = {"a.png": _noise(30, 90), "b.png": _noise(30, 30)}
    source = _source(tmp_path / "s", pictures, [box(1, 0, 1, 1, 9, 9)], "train")
    tiled = tile_dataset(source, tmp_path / "t", TileSettings(30, overlap=0.0))
    finding = _finding(tiled, "tiles.cut")
    said = "1 of 2 pictures were cut into 1 tiles of 30 pixels; 2 more training tiles without a box were left out"
    assert (finding.severity, finding.message) == ("info", said)
    assert "eval.tile=30 eval.overlap=0" in finding.advice
    assert finding.evidence["by_split"] == {"train": 1}
    assert _finding(tiled, "tiles.no_val").evidence["count"] == 2
    whole = tile_dataset(source, tmp_path / "u", TileSettings(90))
    assert _finding(whole, "tiles.cut").severity == "warning"
    assert [finding.id for finding in whole.findings] == ["tiles.cut"]


def test_parts_of_boxes_are_counted(tmp_path: Path) -> None:
    boxes = [box(1, 0, 25, 1, 35, 9), box(1, 0, 29, 1, 39, 9), box(1, 0, 25, 1, 35, 9, crowd=True)]
    tiled = tile_dataset(
        _source(tmp_path / "s", {"a.png": _noise(30, 60)}, boxes), tmp_path / "t", TileSettings(30, 0, 0.2)
    )
    evidence = _finding(tiled, "tiles.fragments").evidence
    assert evidence == {"count": 4, "objects": 3, "ignored": 1}  # 5 + 5 of 10 pixels, and 1 + 9


@settings(deadline=None, max_examples=40)
@given(data=st.data(), side=st.integers(8, 40), overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5]))
def test_the_overlap_that_is_advised_shows_every_box_whole(data: st.DataObject, side: int, overlap: float) -> None:
    width, height = data.draw(st.integers(10, 120)), data.draw(st.integers(10, 120))
    boxes: list[dict[str, Any]] = []
    for _ in range(data.draw(st.integers(1, 4))):
        x1, y1 = data.draw(st.floats(0, width - 1)), data.draw(st.floats(0, height - 1))
        x2, y2 = data.draw(st.floats(x1 + 0.5, width)), data.draw(st.floats(y1 + 0.5, height))
        boxes.append(box(1, 0, x1, y1, x2, y2, source=f"a:{len(boxes)}"))
    dataset = dataset_of(boxes, pictures={1: {"width": width, "height": height, "split": "val"}})
    chosen = TileSettings(side, overlap)
    found = _too_small(dataset, plan_tiles(dataset, chosen), chosen)
    tiles = tile_rectangles(width, height, side, overlap)
    cut = [
        row["source"]
        for row in boxes
        if not any(
            left <= row["x1"] and top <= row["y1"] and row["x2"] <= right and row["y2"] <= bottom
            for left, top, right, bottom in tiles
        )
    ]
    assert (found.evidence["rows"] if found else []) == cut
    if found is None:
        return
    assert found.evidence["count"] == len(cut)
    if found.evidence["overlap"] is not None:
        assert math.isclose(found.evidence["overlap"] * 100, round(found.evidence["overlap"] * 100))
        better = TileSettings(side, found.evidence["overlap"])
        assert _too_small(dataset, plan_tiles(dataset, better), better) is None
    larger = TileSettings(found.evidence["tile"], overlap or 0.2)
    assert _too_small(dataset, plan_tiles(dataset, larger), larger) is None


def test_the_advised_overlap_is_rounded_up() -> None:
    pictures = {1: {"width": 1800, "height": 900, "split": "val"}}
    dataset = dataset_of([box(1, 0, 668, 10, 1001.4, 50, source="a:1")], pictures=pictures)
    found = _too_small(dataset, plan_tiles(dataset, TileSettings(1000)), TileSettings(1000))
    assert found is not None
    assert (found.evidence["overlap"], found.evidence["tile"]) == (0.34, 1667)
    assert found.message == "1 of 1 boxes are whole in no tile; the largest has 333.4 pixels, neighbours share 200"
    better = TileSettings(1000, 0.34)
    assert _too_small(dataset, plan_tiles(dataset, better), better) is None


def test_a_box_that_is_an_object_in_no_tile_is_counted() -> None:
    pictures = {1: {"width": 3000, "height": 900, "split": "val"}}
    boxes = [box(1, 0, 0, 0, 3000, 900), box(1, 0, 668, 10, 1001.4, 50)]
    dataset = dataset_of(boxes, pictures=pictures)
    strict = TileSettings(1000, visible=0.5)  # each tile shows a third of the first box
    found = _too_small(dataset, plan_tiles(dataset, strict), strict)
    assert found is not None
    assert (found.evidence["count"], found.evidence["nowhere"], found.evidence["overlap"]) == (2, 1, None)
    assert found.message.endswith("neighbours share 200; 1 of them are an object in none")
    assert found.advice == "tile=15000 overlap=0.2"
