"""Groups: by folder, by expression, by column, by looks; and what the source brought is never torn apart."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from helpers import dataset_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.dataset import Dataset
from pipeline.data.groups import fill_groups
from pipeline.errors import DataError


def _set(paths: list[str], brought: list[str | None] | None = None, root: Path = Path("somewhere")) -> Dataset:
    groups = brought or [None] * len(paths)
    pictures = {n: {"path": path, "group": key} for n, (path, key) in enumerate(zip(paths, groups, strict=True))}
    return dataset_of([], pictures=pictures, root=root)


def _grouped(paths: list[str], group: str, brought: list[str | None] | None = None) -> list[str | None]:
    return fill_groups(_set(paths, brought), group)[0].images["group"].to_list()


# ---- rules -----------------------------------------------------------------------------------------------------------


def test_the_groups_of_a_regular_expression() -> None:
    paths = ["images/board7_a.png", "images/board12_b.png", "board7/c.png", "other.png"]
    assert _grouped(paths, r"(board\d+)") == ["board7", "board12", "board7", None]
    assert _grouped(paths, r"board(\d)\d?_") == ["7", "1", None, None]
    assert _grouped(paths, r"^images/([^_]+)_") == ["board7", "board12", None, None]


def test_an_empty_key_is_no_group() -> None:
    assert _grouped(["a1_x.png", "a_y.png", "a_z.png"], r"a(\d*)_") == ["1", None, None]


def test_the_groups_of_folders() -> None:
    assert _grouped(["a/1.png", "a/2.png", "a/b/3.png", "4.png"], "folder") == ["a", "a", "a/b", "."]


def test_no_rule_leaves_the_dataset_as_it_is() -> None:
    dataset = _set(["a.png", "b.png"], ["board", None])
    assert fill_groups(dataset, "none") == (dataset, [])


def test_an_expression_that_matches_nothing_is_refused_with_an_example() -> None:
    with pytest.raises(DataError, match=r"'\(field\\d\)' matches no picture, for instance not 'a/1.png'"):
        _grouped(["a/1.png"], r"(field\d)")


# ---- joined with what the source brought -----------------------------------------------------------------------------


def test_groups_that_share_a_picture_become_one() -> None:
    paths = ["a/1.png", "a/2.png", "b/3.png", "b/4.png", "c/5.png", "c/6.png"]
    brought = [None, "tiles9", "tiles9", None, None, "tiles7"]
    assert _grouped(paths, "folder", brought) == ["a", "a", "a", "a", "c", "c"]
    assert _grouped(paths, r"(c)/5", brought) == [None, "tiles9", "tiles9", None, "c", "tiles7"]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, "u", "v", "w", "x", "y", "z"])), min_size=1)
)
def test_joined_groups_are_the_finest_that_neither_relation_crosses(rows: list[tuple[str, str | None]]) -> None:
    paths = [f"{folder}/{n}.png" for n, (folder, _) in enumerate(rows)]
    found = _grouped(paths, "folder", [key for _, key in rows])

    # The oracle: connected parts by walking from picture to picture.
    near = defaultdict(set)
    for i, (folder, key) in enumerate(rows):
        for j, (other_folder, other_key) in enumerate(rows):
            if folder == other_folder or (key is not None and key == other_key):
                near[i].add(j)
    for start in range(len(rows)):
        reached, border = {start}, {start}
        while border:
            border = set().union(*(near[i] for i in border)) - reached
            reached |= border
        assert {j for j in range(len(rows)) if found[j] == found[start]} == reached


# ---- a column of images.csv ------------------------------------------------------------------------------------------


def _with_column(folder: Path, text: str, paths: list[str]) -> Dataset:
    (folder / "images.csv").write_text(text, "utf-8")
    return _set(paths, root=folder)


def test_the_groups_of_a_column(tmp_path: Path) -> None:
    dataset = _with_column(
        tmp_path, "path,board,day\nb.png,7,mon\na.png, 12 ,tue\nc.png,7,\n", ["a.png", "b.png", "c.png"]
    )
    grouped, findings = fill_groups(dataset, "column:board")
    assert grouped.images["group"].to_list() == ["12", "7", "7"]
    assert findings == []


def test_pictures_without_a_value_and_unknown_paths_are_counted(tmp_path: Path) -> None:
    text = "path,board\na.png,7\nb.png,\nz.png,8\ny/z.png,8\n"
    grouped, findings = fill_groups(_with_column(tmp_path, text, ["a.png", "b.png", "c.png"]), "column:board")
    assert grouped.images["group"].to_list() == ["7", None, None]
    assert [(f.id, f.severity, f.evidence) for f in findings] == [
        ("split.group_not_listed", "warning", {"count": 2, "pictures": ["b.png", "c.png"]}),
        ("split.group_unknown_path", "warning", {"count": 2, "files": ["z.png", "y/z.png"]}),
    ]
    assert findings[0].message == "2 of 3 pictures have no value in the column board of images.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "images.csv does not exist; it needs the columns path .* and board"),
        ("path,day\na.png,mon\n", r"has no such column \(columns: day\)"),
        ("path\na.png\n", r"has no such column \(columns: none besides path\)"),
        ("name,board\na.png,7\n", "column `path` is missing"),
        ("path,board\na.png,7\na.png,8\n", "names a picture more than once"),
        ("path,board\nimages\\a.png,7\n", "gives no picture of the dataset a value"),
    ],
)
def test_a_column_that_cannot_be_used_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "images.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        fill_groups(_set(["a.png"], root=tmp_path), "column:board")


# ---- pictures that look alike ----------------------------------------------------------------------------------------


def test_pictures_that_look_alike_are_one_group(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
    Image.open(tmp_path / "a.png").save(tmp_path / "copy.jpg", quality=80)
    dataset = _set(["a.png", "b.png", "c.png", "copy.jpg"], [None, "board", None, "board"], tmp_path)
    grouped, findings = fill_groups(dataset, "duplicates")
    groups = grouped.images["group"].to_list()
    assert groups[0] == groups[1] == groups[3]  # b.png stands on the board that the copy is from
    assert groups[2] is None
    assert [f.id for f in findings] == ["split.grouped_by_looks"]
    assert findings[0].evidence == {"count": 2, "clusters": 1, "largest": 2, "pictures": ["a.png", "copy.jpg"]}


def test_pictures_that_an_expression_does_not_match_are_named() -> None:
    dataset, findings = fill_groups(_set(["b1_a.png", "b1_b.png", "x.png"]), r"(b\d)_")
    assert dataset.images["group"].to_list() == ["b1", "b1", None]
    (finding,) = findings
    assert (finding.id, finding.severity) == ("split.group_no_match", "warning")
    assert finding.evidence == {"count": 1, "pictures": ["x.png"]}
