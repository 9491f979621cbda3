"""Identical files and pictures that look alike: copies are found, others are not, and clusters are complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data import duplicates as module
from pipeline.data.alignment import aligned_correlation
from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.data.duplicates import ALIKE, NEAR, PAIRS_EACH, PAIRS_SCHEMA, Duplicates, cluster_keys, find_duplicates
from pipeline.data.perceptual_hash import ORIENTATIONS, dct_hashes, distances, turned
from pipeline.data.picture_facts import FACTS_SCHEMA, PictureFacts, picture_facts

BCCD = Path(os.environ.get("TUNEUP_SHARED", ROOT.parent / "shared")) / "data" / "bccd"
Picture = NDArray[np.uint8]


def _scene(seed: int) -> Picture:
    """Return 240 x 320 pixels of discs and bars on an uneven ground."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.uniform(60, 190, (3, 4, 3)).astype(np.float32), (320, 240), interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        centre = (int(rng.integers(320)), int(rng.integers(240)))
        colour = tuple(float(v) for v in rng.uniform(0, 255, 3))
        if rng.random() < 0.5:
            cv2.circle(ground, centre, int(rng.integers(8, 45)), colour, -1)
        else:
            cv2.line(ground, centre, (int(rng.integers(320)), int(rng.integers(240))), colour, int(rng.integers(4, 20)))
    return np.clip(ground + rng.normal(0, 4, ground.shape), 0, 255).astype(np.uint8)


def _encoded(picture: Picture, suffix: str = ".png", quality: int = 95) -> bytes:
    return bytes(cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else [])[1])


def _found(root: Path, files: Mapping[str, Picture | bytes], **splits: str) -> Duplicates:
    """Write files, look at them and find duplicates; splits by the first letter of a name."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else _encoded(content))
    rows = [
        {"image_id": i, "path": name, "width": 320, "height": 240, "split": splits.get(name[0], "train")}
        for i, name in enumerate(files)
    ]
    dataset = dataset_from_rows(["pit"], rows, [], root)
    return find_duplicates(dataset, picture_facts(dataset))


def _listed(found: Duplicates) -> set[tuple[str, str, str]]:
    return set(found.pairs.select("kind", "one", "other").iter_rows())


# ---- identical files ------------------------------------------------------------------------------------------------


def test_identical_files_are_found_whatever_their_names(tmp_path: Path) -> None:
    content = _encoded(_scene(0), ".jpg")
    files = {"b/Bild ä.JPG": content, "a.png": content, "c.jpeg": content, "other.png": _scene(1)}
    found = _found(tmp_path, files, b="val", c="test")
    assert found.pairs.schema == PAIRS_SCHEMA
    assert found.pairs.rows() == [
        ("a.png", "b/Bild ä.JPG", "identical", 0, "as it is", 1.0, "train", "val"),
        ("a.png", "c.jpeg", "identical", 0, "as it is", 1.0, "train", "test"),
    ]
    assert found.clusters == (("a.png", "b/Bild ä.JPG", "c.jpeg"),)


def test_pictures_of_one_colour_are_compared_with_nothing(tmp_path: Path) -> None:
    blank = _encoded(np.full((64, 64, 3), 200, np.uint8), ".png")
    found = _found(tmp_path, {"a.png": blank, "b.png": blank, "c.png": blank, "d.png": _scene(1)}, b="val")
    assert found.pairs.is_empty()  # empty tiles of different pictures leak nothing
    assert found.clusters == ()
    assert found.flat == ("a.png", "b.png", "c.png")


def test_files_that_show_nothing_are_no_copies_of_each_other(tmp_path: Path) -> None:
    found = _found(tmp_path, {"a.png": b"", "b.png": b"", "c.png": b"torn", "d.png": b"torn"})
    assert found.pairs.is_empty()
    assert found.pairs.schema == PAIRS_SCHEMA
    assert found.clusters == ()


def test_pictures_of_one_grey_are_compared_as_files_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files: dict[str, Picture] = {
        f"{level}.png": np.clip(rng.normal(level, 3, (240, 320, 3)), 0, 255).astype(np.uint8) for level in (90, 91, 200)
    }
    found = _found(tmp_path, {**files, "again.png": files["90.png"], "scene.png": _scene(0)})
    assert _listed(found) == {("identical", "90.png", "again.png")}
    assert found.clusters == (("90.png", "again.png"),)
    assert found.flat == ("200.png", "90.png", "91.png")


# ---- copies that look alike -----------------------------------------------------------------------------------------


def _jpeg(picture: Picture) -> Picture:
    return np.asarray(cv2.imdecode(np.frombuffer(_encoded(picture, ".jpg", 50), np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _rotated(picture: Picture) -> Picture:
    matrix = cv2.getRotationMatrix2D((160, 120), 3, 1)
    return np.asarray(cv2.warpAffine(picture, matrix, (320, 240), borderMode=cv2.BORDER_REFLECT), np.uint8)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "png": lambda p: p,
    "jpeg 50": _jpeg,
    "half the size": lambda p: np.asarray(cv2.resize(p, (160, 120), interpolation=cv2.INTER_AREA), np.uint8),
    "brighter": lambda p: np.clip(p * 1.2 + 15, 0, 255).astype(np.uint8),
    "grey": lambda p: cv2.cvtColor(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
    "crop 3 %": lambda p: p[7:, :-9],
    "3 degrees": _rotated,
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_others_are_not(tmp_path: Path, kind: str) -> None:
    scenes = [_scene(seed) for seed in range(8)]
    copies = {f"copy{k}.png": _encoded(COPIES[kind](scene)) for k, scene in enumerate(scenes[:6])}
    originals = {f"a{k}.jpg": _encoded(scene, ".jpg") for k, scene in enumerate(scenes)}
    found = _found(tmp_path, {**originals, **copies}, c="val")
    assert _listed(found) == {("alike", f"a{k}.jpg", f"copy{k}.png") for k in range(6)}
    assert found.clusters == tuple((f"a{k}.jpg", f"copy{k}.png") for k in range(6))
    assert set(found.pairs["orientation"]) == {"as it is"}
    assert found.pairs["distance"].max() <= NEAR
    assert found.pairs["correlation"].is_between(ALIKE, 1.0).all()
    assert found.pairs["correlation"].is_sorted(descending=True)
    assert found.pairs.select("one_split", "other_split").unique().rows() == [("train", "val")]


@pytest.mark.parametrize("way", range(8))
def test_turned_and_mirrored_copies_are_found_and_named(tmp_path: Path, way: int) -> None:
    """`orientation` says how to turn `other` to see `one`: the original is the turned one here."""
    files = {f"other{k}.png": _scene(k) for k in range(4)}
    files |= {
        f"a{k}.png": np.ascontiguousarray(turned(_scene(k).transpose(2, 0, 1), way).transpose(1, 2, 0))
        for k in range(3)
    }
    if way == 0:
        files |= {f"a{k}.png": _jpeg(_scene(k)) for k in range(3)}
    found = _found(tmp_path, files)
    assert _listed(found) == {("alike", f"a{k}.png", f"other{k}.png") for k in range(3)}
    assert found.pairs["orientation"].to_list() == [ORIENTATIONS[way]] * 3
    assert found.pairs["correlation"].min() > 0.99


def test_copies_of_copies_are_one_cluster_and_the_largest_comes_first(tmp_path: Path) -> None:
    one, two = _scene(0), _scene(1)
    files = {
        "p.png": _encoded(two),
        "q.jpg": _encoded(two, ".jpg"),
        "x.png": _encoded(one),
        "x again.png": _encoded(one),
        "y.jpg": _encoded(one, ".jpg", 60),
    }
    found = _found(tmp_path, files)
    assert found.clusters == (("x again.png", "x.png", "y.jpg"), ("p.png", "q.jpg"))
    assert _listed(found) == {
        ("identical", "x again.png", "x.png"),
        ("alike", "x again.png", "y.jpg"),
        ("alike", "p.png", "q.jpg"),
    }
    assert found.pairs["kind"][0] == "identical"


# ---- against a plain loop over all pairs ----------------------------------------------------------------------------


def _made_up(pictures: list[Picture], splits: list[str]) -> tuple[Dataset, PictureFacts]:
    """Return a dataset and its facts without files, from thumbnails."""
    paths = [f"{place:03}.png" for place in range(len(pictures))]
    table = pl.DataFrame(
        {
            "path": paths,
            "digest": paths,
            "brightness": [100.0] * len(paths),
            "contrast": [40.0] * len(paths),
            "sharpness": [50.0] * len(paths),
            "hashes": [dct_hashes(picture.astype(np.float32)).tolist() for picture in pictures],
            "problem": [None] * len(paths),
        },
        schema=FACTS_SCHEMA,
    )
    rows = [
        {"image_id": place, "path": path, "width": 320, "height": 240, "split": splits[place]}
        for place, path in enumerate(paths)
    ]
    thumbnails = np.array(pictures, np.uint8).reshape(-1, 32, 32)
    return dataset_from_rows(["pit"], rows, [], Path("somewhere")), PictureFacts(table, thumbnails)


def _family(seed: int, count: int) -> list[Picture]:
    """Return thumbnails of a few motifs, each more or less changed and turned."""
    rng = np.random.default_rng(seed)
    motifs = [cv2.resize(rng.normal(0, 1, (9, 9)), (32, 32), interpolation=cv2.INTER_CUBIC) for _ in range(4)]
    motifs[3] += 0.97 * motifs[3][:, ::-1]  # nearly the same when mirrored: which way fits best has to be found out
    pictures = []
    for _ in range(count):
        picture = motifs[int(rng.integers(4))] + rng.uniform(0, 1.2) * rng.normal(0, 1, (32, 32))
        pictures.append(turned(np.clip(128 + 35 * picture, 0, 255).astype(np.uint8), int(rng.integers(8))))
    return pictures


def _by_hand(facts: PictureFacts) -> tuple[dict[tuple[str, str], float], list[list[str]]]:
    """Return pairs with their best correlation, and clusters by a walk through the pictures that pairs join."""
    paths, hashes = facts.table["path"].to_list(), np.array(facts.table["hashes"].to_list(), np.uint64)
    pairs: dict[tuple[str, str], float] = {}
    for j in range(len(paths)):
        for i in range(j):
            for way in range(8):
                if distances(hashes[i, :1], hashes[j, way : way + 1])[0] <= NEAR:
                    other = turned(facts.thumbnails[j], way)[None]
                    correlation = aligned_correlation(facts.thumbnails[i][None], other)[0]
                    if correlation >= ALIKE:
                        pairs[paths[i], paths[j]] = max(correlation, pairs.get((paths[i], paths[j]), 0))
    left, clusters = set(paths), []
    while left:
        cluster, new = set(), {min(left)}
        while new:
            cluster |= new
            new = {b for p in pairs for a, b in (p, p[::-1]) if a in new} - cluster
        clusters.append(sorted(cluster))
        left -= cluster
    return pairs, sorted((c for c in clusters if len(c) > 1), key=lambda c: (-len(c), c[0]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 14), st.randoms(use_true_random=False))
def test_pairs_and_clusters_are_those_of_a_plain_loop(seed: int, count: int, random: Any) -> None:
    dataset, facts = _made_up(_family(seed, count), ["train"] * count)
    pairs, clusters = _by_hand(facts)
    found = find_duplicates(dataset, facts)
    listed = {
        (one, other): value for one, other, value in found.pairs.select("one", "other", "correlation").iter_rows()
    }
    assert listed == pytest.approx(pairs, abs=1e-4)
    assert [list(cluster) for cluster in found.clusters] == clusters
    assert found.left_out == 0

    order = random.sample(range(count), count)  # in another order nothing changes, nor when facts know more pictures
    shuffled = PictureFacts(facts.table[order], facts.thumbnails[order])
    again = find_duplicates(dataset, shuffled)
    assert again.pairs.equals(found.pairs)
    assert again.clusters == found.clusters


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_clusters_are_complete_however_few_pairs_are_listed(seed: int) -> None:
    dataset, facts = _made_up(_family(seed, 18), ["train", "val"] * 9)
    whole = find_duplicates(dataset, facts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAIRS_EACH", 1)
        patch.setattr(module, "_BATCH", 3)
        few = find_duplicates(dataset, facts)
    assert few.clusters == whole.clusters
    assert few.pairs.height <= whole.pairs.height
    assert set(few.pairs.select("one", "other").iter_rows()) <= set(whole.pairs.select("one", "other").iter_rows())


def test_a_pair_that_joins_two_clusters_is_looked_at_though_its_pictures_have_pairs_enough() -> None:
    """Four pictures on a way from one motif to another: neighbours are alike, others are not."""
    rng = np.random.default_rng(1)
    one, two = (cv2.resize(rng.normal(0, 1, (9, 9)), (32, 32), interpolation=cv2.INTER_CUBIC) for _ in range(2))
    angles = (0, 60, 20, 40, 1, 2, 3, 59, 58, 57)
    pictures = [one * np.cos(np.radians(angle)) + two * np.sin(np.radians(angle)) for angle in angles]
    dataset, facts = _made_up([np.clip(128 + 35 * p, 0, 255).astype(np.uint8) for p in pictures], ["train"] * 10)
    assert (("000.png", "003.png") in _by_hand(facts)[0], ("002.png", "003.png") in _by_hand(facts)[0]) == (False, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAIRS_EACH", 1)
        patch.setattr(module, "_BATCH", 1)
        assert len(find_duplicates(dataset, facts).clusters[0]) == 10


def test_hundreds_of_frames_of_one_film_do_not_explode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 200)
    rng = np.random.default_rng(0)
    motif = cv2.resize(rng.normal(0, 1, (9, 9)), (32, 32), interpolation=cv2.INTER_CUBIC)
    frames = [
        np.clip(128 + 35 * (motif + 0.1 * rng.normal(0, 1, (32, 32))), 0, 255).astype(np.uint8) for _ in range(300)
    ]
    dataset, facts = _made_up(frames, ["train"] * 270 + ["val"] * 30)
    found = find_duplicates(dataset, facts)
    assert found.clusters == (tuple(dataset.images["path"]),)
    assert found.pairs.height + found.left_out == 300 * 299 / 2
    across = pl.col("one_split") != pl.col("other_split")
    for listed in (found.pairs.filter(across), found.pairs.filter(~across)):
        each = pl.concat([listed["one"], listed["other"]]).value_counts()
        assert each.height == 300
        assert each["count"].min() >= PAIRS_EACH
        assert listed.height <= PAIRS_EACH * 300


# ---- parts and keys -------------------------------------------------------------------------------------------------


def test_only_pictures_of_the_dataset_count(tmp_path: Path) -> None:
    scene = _scene(0)
    files = {"a.png": _encoded(scene), "b.jpg": _encoded(scene, ".jpg"), "c.jpg": _encoded(scene, ".jpg", 70)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    rows = [{"image_id": i, "path": name, "width": 320, "height": 240} for i, name in enumerate(files)]
    whole = dataset_from_rows(["pit"], rows, [], tmp_path)
    part = dataset_from_rows(["pit"], rows[:2], [], tmp_path)
    found = find_duplicates(part, picture_facts(whole))
    assert found.clusters == (("a.png", "b.jpg"),)
    assert found.pairs.select("one_split", "other_split").row(0) == (None, None)


def test_cluster_keys_stand_beside_the_rows(tmp_path: Path) -> None:
    rows = [{"image_id": i, "path": path, "width": 9, "height": 9} for i, path in enumerate(("d", "c", "b", "a"))]
    dataset = dataset_from_rows(["pit"], rows, [], tmp_path)
    found = Duplicates(pl.DataFrame(schema=PAIRS_SCHEMA), (("a", "d"),), (), 0)
    assert cluster_keys(dataset, found) == ["a", None, None, "a"]


def test_a_dataset_without_pictures_has_none() -> None:
    dataset, facts = _made_up([], [])
    found = find_duplicates(dataset, facts)
    assert (found.pairs.height, found.clusters, found.flat, found.left_out) == (0, (), (), 0)
    assert cluster_keys(dataset, found) == []


@pytest.mark.skipif(not (BCCD / "JPEGImages").is_dir(), reason="the blood cell pictures (BCCD) are not here")
def test_blood_smears_photographed_twice_are_found() -> None:
    """Two places were photographed twice; both pairs were judged by eye, and no others are claimed."""
    rows = [
        {"image_id": i, "path": f"JPEGImages/{file.name}", "width": 640, "height": 480}
        for i, file in enumerate(sorted((BCCD / "JPEGImages").glob("BloodImage_00[03]*.jpg")))
    ]
    dataset = dataset_from_rows(["cell"], rows, [], BCCD)
    names = ["BloodImage_00037", "BloodImage_00038", "BloodImage_00386", "BloodImage_00391"]
    paths = [f"JPEGImages/{name}.jpg" for name in names]
    assert find_duplicates(dataset, picture_facts(dataset)).clusters == (tuple(paths[:2]), tuple(paths[2:]))
