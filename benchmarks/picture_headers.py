"""How fast are headers read, beside Pillow, and what does one range for a set of deep pictures keep?

The first part writes files of one kind into a temporary folder, and reads their headers: all of it (size, orientation,
mode, depth, pages, and whether the file ends too early) by `picture_headers`, in one thread and in eight; and only size
and orientation by Pillow. The methods take turns; figures are files per second of CPU and of wall time, medians. The
second part makes sets of 12-bit pictures as cameras deliver them, and asks three rules for black and white. Seeded.

    OMP_NUM_THREADS=1 python benchmarks/picture_headers.py [--files 10000] [--folder FOLDER_OF_JPEGS]
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import picture_headers as headers
from pipeline.data.images import scaled
from pipeline.data.value_range import ENOUGH, value_range_of

ROUNDS = 5
DIFFERENT = 20  # pictures of a kind, of several sizes
ORIENTATION = 0x0112


def contents(kind: str) -> list[bytes]:
    """Return files of a kind as a camera or a drawing program writes them."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(DIFFERENT):
        side = 320 + 32 * number
        smooth = cv2.resize(rng.integers(0, 256, (20, 20, 3)).astype(np.uint8), (side, side))
        pixels = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
        exif = Image.Exif()
        exif.update({ORIENTATION: 6, 0x010F: "maker", 0x0110: "model", 0x0132: "2026:01:01 00:00:00"})
        options: dict[str, object] = {"exif": exif} if kind.endswith("EXIF") else {}
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 16 if "16" in kind else pixels)
        file = io.BytesIO()
        picture.save(file, kind.split()[0], **options)
        found.append(file.getvalue())
    return found


def with_pillow(paths: Sequence[Path]) -> None:
    """Read what Pillow has without decoding; its orientation of a PNG costs the decoding, and is left out."""
    for path in paths:
        with Image.open(path) as picture:
            _ = picture.size, picture.mode
            if picture.format != "PNG":
                picture.getexif().get(ORIENTATION)


def in_one_thread(paths: Sequence[Path]) -> None:
    headers._read_share(paths)


METHODS: dict[str, Callable[[Sequence[Path]], object]] = {
    "Pillow": with_pillow,
    "ours, one thread": in_one_thread,
    "ours, the table": headers.picture_headers,
}


def measure(name: str, paths: Sequence[Path]) -> None:
    """Print one row: the methods take turns."""
    cpu: dict[str, list[float]] = {method: [] for method in METHODS}
    wall: dict[str, list[float]] = {method: [] for method in METHODS}
    for path in paths:
        path.stat()
    for _ in range(ROUNDS):
        for method, read in METHODS.items():
            started, used = time.perf_counter(), time.process_time()
            read(paths)
            cpu[method].append(len(paths) / (time.process_time() - used))
            wall[method].append(len(paths) / (time.perf_counter() - started))
    ratio = median(a / b for a, b in zip(cpu["ours, one thread"], cpu["Pillow"], strict=True))
    cells = [f"{median(cpu[method]):,.0f} ({median(wall[method]):,.0f})" for method in METHODS]
    size = sum(path.stat().st_size for path in paths) / len(paths) / 1000
    print(f"| {name} | {size:,.0f} | {' | '.join(cells)} | {ratio:.1f} |", flush=True)


def speed(count: int, folder: Path | None) -> None:
    print(f"\n| files | kB each | {' | '.join(METHODS)} | times Pillow, one thread |\n|---|---|---|---|---|---|")
    for kind in ("JPEG", "JPEG EXIF", "PNG", "PNG 16", "TIFF", "TIFF 16", "BMP", "WEBP EXIF"):
        of_kind = count if kind == "JPEG" else max(count // 10, DIFFERENT)
        with tempfile.TemporaryDirectory() as place:
            files = contents(kind)
            paths = [Path(place) / f"{number:05}.dat" for number in range(of_kind)]
            for number, path in enumerate(paths):
                path.write_bytes(files[number % DIFFERENT])
            measure(f"{of_kind:,} {kind}", paths)
    if folder is not None:
        real = sorted(folder.rglob("*.jpg"))
        measure(f"{len(real):,} of {folder.name}", real)


# ---- one range for a set ---------------------------------------------------------------------------------------------

Values = NDArray[np.uint16]
Range = tuple[float, float]


def camera_set(kind: str) -> tuple[list[Values], NDArray[np.bool_]]:
    """Return 30 pictures of an evenly lit surface, 12 used bits of 16, and where the defect of the first one lies."""
    rng = np.random.default_rng(7)
    pictures = []
    defect = np.zeros((400, 400), bool)
    defect[200:212, 150:162] = True
    for number in range(30):
        lit = rng.normal(1000, 25, (400, 400)) * (np.linspace(0.5, 2, 30)[number] if kind == "exposures" else 1)
        if kind == "part on dark ground":
            lit[:, :80] = rng.normal(60, 5, (400, 80))
        if number % 3 == 0:
            lit[defect] = {"dark defect": 300}.get(kind, 2600) * (lit[0, 0] / 1000 if kind == "exposures" else 1)
        picture = np.clip(lit, 0, 4095).astype(np.uint16)
        if kind == "hot pixels":
            picture[rng.integers(0, 400, 40), rng.integers(0, 400, 40)] = 65_535
        pictures.append(picture)
    if kind == "one broken picture":
        pictures[11][:] = 65_535
    return pictures, defect


def of_minimum_and_maximum(paths: Sequence[Path]) -> Range:
    read = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]
    return float(min(one.min() for one in read)), float(max(one.max() for one in read))


def of_quantiles(paths: Sequence[Path]) -> Range:
    values = np.concatenate([cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ravel() for path in paths])
    low, high = np.quantile(values, (0.001, 0.999))
    return float(low), float(high)


RULES: dict[str, Callable[[Sequence[Path]], Range]] = {
    "0 to 65,535": lambda paths: (0.0, 65_535.0),
    "minimum, maximum": of_minimum_and_maximum,
    "quantiles .1, 99.9 %": of_quantiles,
    "**ours**": value_range_of,
}


def ranges() -> None:
    print(f"\nSets of 30 pictures (more than {ENOUGH}):\n")
    print("| set | rule | black | white | grey levels of the surface | defect stands out by | s |")
    print("|---|---|---|---|---|---|---|")
    for kind in (
        "bright defect",
        "part on dark ground",
        "dark defect",
        "hot pixels",
        "one broken picture",
        "exposures",
    ):
        pictures, defect = camera_set(kind)
        with tempfile.TemporaryDirectory() as place:
            paths = [Path(place) / f"{number:02}.png" for number in range(len(pictures))]
            for path, picture in zip(paths, pictures, strict=True):
                cv2.imwrite(str(path), picture)
            for rule, find in RULES.items():
                started = time.perf_counter()
                black, white = find(paths)
                spent = time.perf_counter() - started
                shown = scaled(pictures[0], (black, white)).astype(int)
                surface = shown[:, 80:][~defect[:, 80:]]
                levels = len(np.unique(surface))
                apart = shown[defect].mean() - surface.mean()
                print(f"| {kind} | {rule} | {black:,.0f} | {white:,.0f} | {levels} | {apart:+.0f} | {spent:.2f} |")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=10_000)
    arguments.add_argument("--folder", type=Path)
    given = arguments.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        speed(given.files, given.folder)
        ranges()


if __name__ == "__main__":
    main()
