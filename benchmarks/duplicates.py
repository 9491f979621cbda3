"""Are planted copies of pictures found, what else is found, and how long does it take?

FOLDER holds pictures (DeepPCB's `images`, BCCD's `JPEGImages`); they are not part of this project, and a folder that is
missing is skipped. The steel pictures of the demo are always looked at. Of some pictures of each set, copies of every
kind are written into a temporary folder. Pairs of pictures that nobody planted are drawn side by side into OUT, for a
person to judge. Seeded.

    OMP_NUM_THREADS=1 python benchmarks/duplicates.py [FOLDER ...] [--each 200] [--out OUT]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import polars as pl
from duplicates_copies import COPY, KINDS, Picture, jpeg_50, plant
from numpy.typing import NDArray

from pipeline.data.alignment import aligned_correlation
from pipeline.data.dataset import Dataset, dataset_from_rows
from pipeline.data.duplicates import ALIKE, NEAR, Duplicates, find_duplicates
from pipeline.data.images import is_picture, read_picture
from pipeline.data.perceptual_hash import ORIENTATIONS, dct_hashes, distances, near_pairs, thumbnail, turned
from pipeline.data.picture_facts import FACTS_SCHEMA, PictureFacts, picture_facts
from pipeline.data.synthetic.demo import make_demo

ORIGINAL = "originals"


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def dataset_of(root: Path, paths: Sequence[str]) -> Dataset:
    rows = [{"image_id": place, "path": path, "width": 640, "height": 640} for place, path in enumerate(paths)]
    return dataset_from_rows(["any"], rows, [], root)


def arrays(facts: PictureFacts) -> tuple[list[str], NDArray[np.uint64], Picture]:
    return facts.table["path"].to_list(), np.array(facts.table["hashes"].to_list(), np.uint64), facts.thumbnails


def best_match(
    one: tuple[NDArray[np.uint64], Picture], other: tuple[NDArray[np.uint64], Picture], near: int
) -> NDArray[np.float64]:
    """Return the correlation of pairs in their best orientation within `near` bits; -1 where there is none."""
    apart = distances(one[0][:, :1], other[0])
    best = np.full(len(apart), -1.0)
    for way in range(len(ORIENTATIONS)):
        fits = apart[:, way] <= near
        best[fits] = np.maximum(best[fits], aligned_correlation(one[1][fits], turned(other[1][fits], way)))
    return best


def difference_hashes(thumbnails: Picture) -> NDArray[np.uint64]:
    """The hash of differences that other tools use: is a pixel brighter than its left neighbour, at 9 x 8 pixels?"""
    small = [cv2.resize(picture, (9, 8), interpolation=cv2.INTER_AREA) for picture in thumbnails]
    bits = np.diff(np.array(small).astype(int), axis=2) > 0
    return np.packbits(bits.reshape(-1, 64), axis=1).view(np.uint64)


def limits(facts: PictureFacts, copied: dict[str, list[str]]) -> None:
    """Print what other limits would find, and the difference hash beside them."""
    paths, hashes, thumbnails = arrays(facts)
    place = {path: number for number, path in enumerate(paths)}
    old = np.array([number for path, number in place.items() if path.startswith(ORIGINAL)])
    pairs = {
        kind: np.array([(place[f"{COPY}/{kind}/{k:04}.png"], place[path]) for k, path in enumerate(chosen)]).T
        for kind, chosen in copied.items()
    }
    print("\n| rule | pairs nobody planted | " + " | ".join(KINDS) + " |\n|---|---|" + "---|" * len(KINDS))
    for near, alike in [(10, -1.0), *((near, ALIKE) for near in (10, 12, 14, NEAR, 18)), (NEAR, 0.85), (NEAR, 0.95)]:
        found = np.concatenate([np.zeros((2, 0), int), *map(np.array, near_pairs(hashes[old], near))], axis=1)
        i, j = old[found]
        others = best_match((hashes[i], thumbnails[i]), (hashes[j], thumbnails[j]), near) >= alike
        shares = [
            (best_match((hashes[a], thumbnails[a]), (hashes[b], thumbnails[b]), near) >= max(alike, -0.99)).mean()
            for a, b in pairs.values()
        ]
        also = f"correlation {alike}" if alike > 0 else "hash alone"
        row(f"{near} bits, {also}", others.sum(), *(f"{share:.3f}" for share in shares))
    simple = difference_hashes(thumbnails)
    others = sum(int((distances(simple[k], simple[old[old > k]]) <= 4).sum()) for k in old)
    row(
        "difference hash, 4 bits",
        others,
        *(f"{(distances(simple[a], simple[b]) <= 4).mean():.3f}" for a, b in pairs.values()),
    )


def correlations(facts: PictureFacts, copied: dict[str, list[str]]) -> None:
    """Print the correlation of thumbnails, as they are and aligned, for copies a little off and for strangers."""
    paths, _, thumbnails = arrays(facts)
    place = {path: number for number, path in enumerate(paths)}
    rng = np.random.default_rng(0)
    old = [number for path, number in place.items() if path.startswith(ORIGINAL)]
    strangers = rng.choice(old, (4_000, 2))
    pairs = {"random pairs: highest of 100, of 1,000": strangers[strangers[:, 0] != strangers[:, 1]]} | {
        f"{kind}: lowest, median": np.array(
            [(place[f"{COPY}/{kind}/{k:04}.png"], place[path]) for k, path in enumerate(chosen)]
        )
        for kind, chosen in copied.items()
        if kind in ("3 degrees", "crop 3 %")
    }
    print("\n| correlation | plain | aligned |\n|---|---|---|")
    for name, both in pairs.items():
        one, other = thumbnails[both[:, 0]], thumbnails[both[:, 1]]
        shares = (0.99, 0.999) if "random" in name else (0, 0.5)
        flat = [half.reshape(len(both), -1) - half.mean(axis=(1, 2))[:, None] for half in (one, other)]
        plain = (flat[0] * flat[1]).sum(axis=1) / np.maximum(
            np.prod([np.linalg.norm(f, axis=1) for f in flat], axis=0), 1
        )
        row(
            name,
            *(np.quantile(values, shares).round(2).tolist() for values in (plain, aligned_correlation(one, other))),
        )


def recall(dataset: Dataset, facts: PictureFacts, copied: dict[str, list[str]]) -> None:
    """Print how many of the copies of each kind are listed as a pair with their original, each kind searched alone."""
    print(
        "\n| kind | copies | found | research | orientation right | pairs with another original |\n" + "|---" * 6 + "|"
    )
    for kind, chosen in copied.items():
        mine = pl.col("path").str.starts_with(ORIGINAL) | pl.col("path").str.starts_with(f"{COPY}/{kind}/")
        part = dataset_of(dataset.root, dataset.images.filter(mine)["path"].to_list())
        pairs = find_duplicates(part, facts).pairs.filter(pl.col("one").str.starts_with(COPY))
        pairs = pairs.filter(pl.col("other").str.starts_with(ORIGINAL))
        own = pairs.filter(
            pl.col("other") == pl.col("one").str.slice(-8, 4).cast(pl.Int32).replace_strict(dict(enumerate(chosen)))
        )
        straight = "–" if kind in ("flip", "quarter turn") else f"{(own['orientation'] == ORIENTATIONS[0]).mean():.3f}"
        row(kind, len(chosen), f"{own.height / len(chosen):.3f}", KINDS[kind][1], straight, pairs.height - own.height)


def flat_pictures(root: Path, originals: Sequence[str]) -> None:
    """Print how well a copy saved as JPEG 50 is found when the contrast goes away."""
    rng = np.random.default_rng(0)
    chosen = [read_picture(root / originals[k]) for k in rng.choice(len(originals), 60, replace=False)]
    print("\n| deviation of the thumbnail, grey levels | JPEG 50 found |\n|---|---|")
    for level in (0.5, 0.75, 1.0, 1.5, 2.0, 4.0):
        pairs = []
        for picture in chosen:
            scale = level / max(thumbnail(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)).std(), 1.0)
            faint = np.rint(128 + (picture - picture.mean()) * scale).astype(np.uint8)
            again = jpeg_50(faint, rng)
            faint, again = (cv2.cvtColor(version, cv2.COLOR_BGR2GRAY) for version in (faint, again))
            pairs.append([thumbnail(faint), thumbnail(again)])
        hashes = [np.array([dct_hashes(pair[k]) for pair in pairs]) for k in (0, 1)]
        small = [np.rint([pair[k] for pair in pairs]).astype(np.uint8) for k in (0, 1)]
        found = best_match((hashes[0], small[0]), (hashes[1], small[1]), NEAR) >= ALIKE
        row(level, f"{found.mean():.2f}")


def contact_sheet(file: Path, root: Path, found: Duplicates, most: int = 60) -> None:
    """Draw pairs side by side, the second turned as it was found, from the least to the most alike."""
    pairs = found.pairs.filter(pl.col("kind") == "alike").sort("correlation")
    pairs = pairs[np.unique(np.linspace(0, pairs.height - 1, min(most, pairs.height)).astype(int)).tolist()]
    cells = []
    for pair in pairs.iter_rows(named=True):
        one, other = (
            cv2.resize(read_picture(root / pair[k]), (150, 150), interpolation=cv2.INTER_AREA) for k in ("one", "other")
        )
        other = turned(other.transpose(2, 0, 1), ORIENTATIONS.index(pair["orientation"])).transpose(1, 2, 0)
        cell = np.full((170, 310, 3), 255, np.uint8)
        cell[:150, :150], cell[:150, 154:304] = one, other
        stems = " ".join(Path(pair[k]).stem[-8:] for k in ("one", "other"))
        text = f"{stems} {pair['distance']} {pair['correlation']:.2f}"
        cv2.putText(cell, text, (2, 164), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 200), 1, cv2.LINE_AA)
        cells.append(cell)
    cells += [np.full((170, 310, 3), 255, np.uint8)] * (-len(cells) % 6)
    if cells:
        cv2.imwrite(str(file), np.vstack([np.hstack(cells[k : k + 6]) for k in range(0, len(cells), 6)]))


def study(folder: Path, each: int, out: Path) -> None:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if is_picture(path))
    originals = [f"{ORIGINAL}/{name}" for name in names]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / ORIGINAL).symlink_to(folder.resolve(), target_is_directory=True)
        dataset = dataset_of(root, originals)
        began, worked = time.perf_counter(), time.process_time()
        facts = picture_facts(dataset)
        between = time.perf_counter()
        found = find_duplicates(dataset, facts)
        ended = time.perf_counter()
        work = time.process_time() - worked
        print(f"\n## {folder.parent.name}: {len(originals)} pictures")
        print(f"facts {between - began:.2f} s, search {ended - between:.2f} s, ", end="")
        print(f"processor {work:.2f} s, peak {peak()} MB")
        groups = found.pairs.select(
            same=pl.col("one").str.replace(r"[^/]*$", "") == pl.col("other").str.replace(r"[^/]*$", "")
        )
        sizes = [len(cluster) for cluster in found.clusters]
        within = int(groups["same"].sum())
        print(f"{found.pairs.height} pairs nobody planted, {within} of them within one folder; ", end="")
        print(f"{len(sizes)} clusters of {sum(sizes)} pictures, the largest {sizes[:5]}; {len(found.flat)} flat")
        contact_sheet(out / f"{folder.parent.name}.png", root, found)
        copied = plant(root, originals, each)
        copies = [path.relative_to(root).as_posix() for path in sorted((root / COPY).rglob("*.png"))]
        whole = dataset_of(root, [*originals, *copies])
        facts = picture_facts(whole)
        recall(whole, facts, copied)
        correlations(facts, copied)
        limits(facts, copied)
        flat_pictures(root, originals)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def made_up(count: int, film: bool) -> tuple[Dataset, PictureFacts, set[tuple[str, str]]]:
    """Return facts of pictures without files: every hundredth a turned copy of the one before; or frames of a film."""
    rng = np.random.default_rng(0)
    motifs = rng.normal(0, 1, (1 if film else count, 9, 9)).astype(np.float32)
    small = np.array(
        [cv2.resize(motifs[k % len(motifs)], (32, 32), interpolation=cv2.INTER_CUBIC) for k in range(count)]
    )
    small += 0.1 * rng.normal(0, 1, small.shape)
    paths = [f"{k:06}.png" for k in range(count)]
    planted = set()
    for k in range(1, 0 if film else count, 100):
        small[k] = turned(small[k - 1], int(rng.integers(8))) + 0.1 * rng.normal(0, 1, (32, 32))
        planted.add((paths[k - 1], paths[k]))
    levels = np.clip(128 + 35 * small, 0, 255).astype(np.uint8)
    hashes = [dct_hashes(picture.astype(np.float32)).tolist() for picture in levels]
    columns = {"path": paths, "digest": paths, "hashes": hashes} | {
        name: [0.0] * count for name in ("brightness", "contrast", "sharpness")
    }
    table = pl.DataFrame(columns, schema_overrides=FACTS_SCHEMA).with_columns(problem=pl.lit(None, pl.String))
    return dataset_of(Path("nowhere"), paths), PictureFacts(table.select(list(FACTS_SCHEMA)), levels), planted


def growth() -> None:
    print(
        "\n## Growth\n\n| pictures | | seconds | processor s | pairs listed | left out | planted found | peak MB |\n|"
        + "---|" * 8
    )
    for film, counts in ((False, (1000, 2000, 5000, 10000, 20000)), (True, (1000, 2000, 5000, 10000))):
        for count in counts:
            dataset, facts, planted = made_up(count, film)
            began, worked = time.perf_counter(), time.process_time()
            found = find_duplicates(dataset, facts)
            took, work = time.perf_counter() - began, time.process_time() - worked
            listed = set(found.pairs.select("one", "other").iter_rows())
            share = (
                f"{len(planted & listed)} of {len(planted)}" if planted else f"one cluster of {len(found.clusters[0])}"
            )
            kind = "frames of one film" if film else "different"
            row(count, kind, f"{took:.2f}", f"{work:.2f}", found.pairs.height, found.left_out, share, peak())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--each", type=int, default=200, help="copies of each kind")
    parser.add_argument("--out", type=Path, default=Path("duplicates"), help="folder for the contact sheets")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for folder in given.folders:
        if folder.is_dir():
            study(folder, given.each, given.out)
        else:
            print(f"skipped: there is no folder {folder}")
    with tempfile.TemporaryDirectory() as place:
        make_demo("steel", Path(place) / "steel")
        study(Path(place) / "steel" / "images", given.each, given.out)
    growth()


if __name__ == "__main__":
    main()
