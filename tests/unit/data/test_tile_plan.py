"""Every tile shows what is really to be seen in it, by counting pixels; which tiles stay, and how they are called."""

from __future__ import annotations

from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import box, corners, dataset_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.dataset import Dataset
from pipeline.data.tile import tile_rectangles
from pipeline.data.tile_plan import TilePlan, TileSettings, plan_tiles
from pipeline.errors import UsageError


def _picture(width: int, height: int, split: str | None = "val", **more: Any) -> dict[str, Any]:
    return {"width": width, "height": height, "split": split, **more}


def _boxes(draw: st.DrawFn, width: int, height: int, image_id: int) -> list[dict[str, Any]]:
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        x2, y2 = draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))
        rows.append(box(image_id, draw(st.integers(0, 1)), x1, y1, x2, y2, crowd=draw(st.booleans()), source=str(x1)))
    return rows


@st.composite
def _sets(draw: st.DrawFn) -> Dataset:
    sizes = {number: (draw(st.integers(1, 60)), draw(st.integers(1, 60))) for number in (3, 1, 2)}
    boxes = [row for number, (width, height) in sizes.items() for row in _boxes(draw, width, height, number)]
    return dataset_of(boxes, pictures={number: _picture(*size) for number, size in sizes.items()})


SETTINGS = st.builds(
    TileSettings,
    side=st.integers(10, 40),
    overlap=st.sampled_from([0.0, 0.2, 0.5, 0.7]),
    visible=st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.7, 1.0]),
)


@settings(deadline=None, max_examples=40)
@given(dataset=_sets(), cut=SETTINGS)
def test_tiles_show_what_counting_pixels_says(dataset: Dataset, cut: TileSettings) -> None:
    expected = []
    rows = dataset.boxes.rows(named=True)
    for image_id, width, height in dataset.images.select("image_id", "width", "height").iter_rows():
        for left, top, right, bottom in tile_rectangles(width, height, cut.side, cut.overlap).tolist():
            found = []
            for row in (row for row in rows if row["image_id"] == image_id):
                pixels = np.zeros((height, width), bool)
                pixels[int(row["y1"]) : int(row["y2"]), int(row["x1"]) : int(row["x2"])] = True
                ys, xs = np.nonzero(pixels[top:bottom, left:right])
                if len(ys):
                    share = Fraction(len(ys), int(pixels.sum()))
                    ignored = row["crowd"] or share < Fraction(str(cut.visible))
                    found.append(
                        (row["class_id"], xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, ignored, row["source"])
                    )
            expected.append(((image_id, left, top, right - left, bottom - top), found))
    plan = plan_tiles(dataset, cut)
    columns = ["class_id", "x1", "y1", "x2", "y2", "crowd", "source"]
    of_tile = plan.boxes.rows_by_key("image_id", named=True)
    actual = [
        (key, [tuple(row[name] for name in columns) for row in of_tile.get(tile, [])])
        for tile, *key in plan.tiles.select("image_id", "source_id", "left", "top", "width", "height").iter_rows()
    ]
    assert [(list(key), found) for key, found in expected] == actual


@settings(deadline=None, max_examples=40)
@given(dataset=_sets(), cut=SETTINGS, shift=st.floats(0, 0.99))
def test_parts_lie_in_their_tile_and_cover_the_box_when_put_back(
    dataset: Dataset, cut: TileSettings, shift: float
) -> None:
    moved = dataset.boxes.with_columns(pl.col("x1") + shift / 3, pl.col("y1") + shift / 7)  # no longer whole pixels
    plan = plan_tiles(Dataset(dataset.names, dataset.images, moved, dataset.root), cut)
    tiles = plan.tiles.select("image_id", "source_id", "left", "top", "width", "height")
    parts = plan.boxes.join(tiles, on="image_id", maintain_order="left")
    assert parts.filter(
        (pl.col("x1") < 0)
        | (pl.col("y1") < 0)
        | (pl.col("x2") > pl.col("width"))
        | (pl.col("y2") > pl.col("height"))
        | (pl.col("x1") >= pl.col("x2"))
        | (pl.col("y1") >= pl.col("y2"))
    ).is_empty()
    assert parts.height == plan.shown.height
    for number, row in enumerate(moved.iter_rows(named=True)):
        of_box = parts.filter(plan.shown["box"] == number)
        back = of_box.select(
            pl.col("x1") + pl.col("left"),
            pl.col("y1") + pl.col("top"),
            pl.col("x2") + pl.col("left"),
            pl.col("y2") + pl.col("top"),
        ).to_numpy()
        whole = np.array([row["x1"], row["y1"], row["x2"], row["y2"]])
        np.testing.assert_allclose(np.r_[back[:, :2].min(0), back[:, 2:].max(0)], whole, atol=1e-9)
        inside = tiles.filter(
            pl.col("source_id") == row["image_id"],
            pl.col("left") <= row["x1"],
            pl.col("top") <= row["y1"],
            pl.col("left") + pl.col("width") >= row["x2"],
            pl.col("top") + pl.col("height") >= row["y2"],
        )
        shows_whole = of_box.filter(np.isclose(back, whole, rtol=0, atol=1e-9).all(axis=1))
        assert shows_whole["image_id"].to_list() == inside["image_id"].to_list()  # once in each tile that holds it


# ---- which tiles stay -----------------------------------------------------------------------------------------------


def _sparse(split: str | None = "train") -> Dataset:
    """Ten pictures of 100 tiles: 1 to 5 have objects in 2, 3, 4, 5 and 6 of them, and 6 to 10 have no box at all."""
    boxes = [
        box(picture, 0, 20 * place + 1, 20 * picture + 1, 20 * place + 9, 20 * picture + 9)
        for picture in range(1, 6)
        for place in range(picture + 1)
    ]
    return dataset_of(boxes, pictures={number: _picture(200, 200, split) for number in range(1, 11)})


def _kept(plan: TilePlan) -> dict[str, int]:
    """Count tiles by what they show."""
    shown = plan.boxes.group_by("image_id").agg(objects=(~pl.col("crowd")).any())
    table = plan.tiles.join(shown, on="image_id", how="left").with_columns(bare=pl.col("source_id") > 5)
    return {
        "objects": table.filter("objects").height,
        "background": table.filter(pl.col("objects").is_null(), ~pl.col("bare")).height,
        "bare": table.filter("bare").height,
    }


@pytest.mark.parametrize(
    ("background", "others", "bare"),
    [(0, 0, 0), (0.1, 1, 1), (1.0, 10, 10), (3.0, 29, 31), (48.95, 480, 499), (1e9, 480, 500)],
)
def test_background_tiles_of_train_stand_in_proportion_and_bare_pictures_keep_their_share(
    background: float, others: int, bare: int
) -> None:
    plan = plan_tiles(_sparse(), TileSettings(20, overlap=0.0, background=background))
    assert _kept(plan) == {"objects": 20, "background": others, "bare": bare}
    assert plan.left_out == 1000 - 20 - others - bare


@pytest.mark.parametrize("split", ["val", "test", None])
def test_all_tiles_stay_where_a_score_is_measured_or_may_be(split: str | None) -> None:
    plan = plan_tiles(_sparse(split), TileSettings(20, overlap=0.0, background=0))
    assert (plan.tiles.height, plan.left_out) == (1000, 0)


def test_the_seed_decides_and_nothing_else() -> None:
    def kept(seed: int) -> list[tuple[int, int, int]]:
        tiles = plan_tiles(_sparse(), TileSettings(20, overlap=0.0, background=2.0, seed=seed)).tiles
        return tiles.select("source_id", "left", "top").rows()

    assert kept(0) == kept(0)
    assert kept(0) != kept(1)
    assert len(kept(0)) == len(kept(1)) == 60


def test_a_tile_of_ignored_boxes_stays_and_counts_for_nothing() -> None:
    boxes = [box(1, 0, 1, 1, 9, 9), box(1, 0, 21, 1, 29, 9, crowd=True)]
    plan = plan_tiles(
        dataset_of(boxes, pictures={1: _picture(200, 20, "train")}), TileSettings(20, overlap=0.0, background=2.0)
    )
    assert plan.tiles["left"].to_list()[:2] == [0, 20]
    assert plan.tiles.height == 2 + 2  # two of background for the one tile with an object
    assert plan.boxes["crowd"].to_list() == [False, True]


def test_pictures_that_fit_stay_as_they_are() -> None:
    boxes = [box(1, 0, 1.25, 1, 9, 30, difficult=True, source="a:1")]
    pictures = {1: _picture(40, 30, "train"), 2: _picture(39, 30, "train"), 3: _picture(41, 30, "train")}
    plan = plan_tiles(dataset_of(boxes, pictures=pictures), TileSettings(40, background=0))
    assert plan.tiles["cut"].to_list() == [False, False]  # the third has no box, and no tile of it was asked for
    assert plan.tiles["path"].to_list() == ["images/train/1.png", "images/train/2.png"]
    assert corners(plan.boxes) == [(1.25, 1.0, 9.0, 30.0)]
    assert plan.boxes.select("difficult", "source").row(0) == (True, "a:1")


def test_a_set_without_boxes_or_pictures() -> None:
    assert plan_tiles(dataset_of([], pictures={1: _picture(100, 20)}), TileSettings(20)).tiles.height == 6
    assert plan_tiles(dataset_of([], pictures={}), TileSettings(20)).tiles.is_empty()


def test_tiles_belong_to_their_picture_or_its_group() -> None:
    pictures = {1: _picture(30, 20, group="board 7"), 2: _picture(30, 20), 3: _picture(20, 20)}
    tiles = plan_tiles(dataset_of([], pictures=pictures), TileSettings(20)).tiles
    assert tiles.select("source_id", "group").unique(maintain_order=True).rows() == [
        (1, "board 7"),
        (2, "2.png"),
        (3, "3.png"),
    ]


# ---- names ----------------------------------------------------------------------------------------------------------


def test_names_tell_the_picture_and_the_position() -> None:
    pictures = {
        1: _picture(30, 20, "test", path="images/train/b1/x.png"),
        2: _picture(20, 30, "test", path="images/train/b2/x.png"),
        3: _picture(20, 30, "val", path="images/val/x.png"),
        4: _picture(20, 30, None, path="more/x.png"),
    }
    assert plan_tiles(dataset_of([], pictures=pictures), TileSettings(20)).tiles["path"].to_list() == [
        "images/test/b1/x/x_x0_y0",
        "images/test/b1/x/x_x10_y0",
        "images/test/b2/x/x_x0_y0",
        "images/test/b2/x/x_x0_y10",
        "images/val/x/x_x0_y0",
        "images/val/x/x_x0_y10",
        "images/train/more/x/x_x0_y0",
        "images/train/more/x/x_x0_y10",
    ]


NAMES = st.lists(
    st.tuples(
        st.sampled_from(["", "a/", "A/", "a/b/", "../", "images/train/", "a/a_x0_y0/"]),
        st.sampled_from(["a", "A", "a_2", "a_x0_y0", "b", "train", "x.y"]),
        st.sampled_from([".png", ".jpg", ".PNG"]),
        st.sampled_from(["test", "val", None]),
        st.sampled_from([10, 20]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda name: name[:3],
)


@settings(deadline=None, max_examples=60)
@given(names=NAMES)
def test_no_two_tiles_share_a_label_file(names: list[tuple[str, str, str, str | None, int]]) -> None:
    pictures = {
        number: _picture(width, 10, split, path=f"{folder}{stem}{suffix}")
        for number, (folder, stem, suffix, split, width) in enumerate(names, 1)
    }
    plan = plan_tiles(dataset_of([], pictures=pictures), TileSettings(10, overlap=0.0))
    paths = [PurePosixPath(path) for path in plan.tiles["path"]]
    names_alone = [path if cut else path.with_suffix("") for path, cut in zip(paths, plan.tiles["cut"], strict=True)]
    assert len({str(path).casefold() for path in names_alone}) == len(paths)
    assert all(path.parts[0] == "images" and ".." not in path.parts for path in paths)
    folders = {str(parent).casefold() for path in paths for parent in path.parents}
    files = {str(path).casefold() + (".png" if cut else "") for path, cut in zip(paths, plan.tiles["cut"], strict=True)}
    assert not folders & files


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"side": 0}, "a side of at least 1 pixel"),
        ({"overlap": 0.95}, "overlap"),
        ({"visible": 0.0}, "visible: 0.0"),
        ({"visible": 1.1}, "visible: 1.1"),
        ({"visible": float("nan")}, "visible: nan"),
        ({"background": -0.1}, "background: -0.1"),
        ({"background": float("inf")}, "background: inf"),
        ({"background": float("nan")}, "background: nan"),
        ({"seed": -1}, "seed: -1"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TileSettings(**{"side": 20, **changes})
