"""Small things that several tests need: pictures, datasets on disk, a look at a folder, another Python process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from pipeline.data.dataset import Dataset, dataset_from_rows

ROOT = Path(__file__).resolve().parents[2]
ORIENTATION = 0x0112  # EXIF tag


def draw(path: Path, width: int = 40, height: int = 30, *, orientation: int | None = None) -> Path:
    """Write a picture whose four corners differ, in the format of its suffix; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((height, width, 3), 90, np.uint8)
    pixels[: height // 2, : width // 2] = (250, 10, 10)
    pixels[height // 2 :, width // 2 :] = (10, 250, 10)
    options: dict[str, Any] = {"quality": 95} if path.suffix.lower() in {".jpg", ".jpeg"} else {}
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    Image.fromarray(pixels).save(path, **options)
    return path


def yolo_set(folder: Path, labels: Mapping[str, str | None], header: str = "names: [pit, scratch]\n") -> Path:
    """Write a YOLO set: pictures of 40 x 30 px by their path below images/, with the text of the label file or None."""
    splits = dict.fromkeys(name.split("/")[0] for name in labels)
    for name, text in labels.items():
        draw(folder / "images" / name)
        if text is not None:
            label = (folder / "labels" / name).with_suffix(".txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text, "utf-8")
    (folder / "data.yaml").write_text("".join(f"{s}: images/{s}\n" for s in splits) + header, "utf-8")
    return folder


def dataset_of(
    boxes: Sequence[Mapping[str, Any]],
    *,
    pictures: Mapping[int, Mapping[str, Any]] | int = 2,
    names: Sequence[str] = ("pit", "scratch"),
    root: Path = Path("somewhere"),
) -> Dataset:
    """Return a dataset of 100 x 80 px pictures (ids 1, 2, ...) that need not exist; boxes as `box` makes them."""
    given = pictures if isinstance(pictures, Mapping) else {number: {} for number in range(1, pictures + 1)}
    images = [
        {"image_id": number, "path": f"{number}.png", "width": 100, "height": 80, "split": "train", **changes}
        for number, changes in given.items()
    ]
    return dataset_from_rows(names, images, [dict(row) for row in boxes], root)


def box(image_id: int, class_id: int, *corners: float, **more: Any) -> dict[str, Any]:
    """Return one row of the table of boxes."""
    return {
        "image_id": image_id,
        "class_id": class_id,
        **dict(zip(("x1", "y1", "x2", "y2"), map(float, corners), strict=True)),
        **more,
    }


def corners(boxes: pl.DataFrame) -> list[tuple[float, ...]]:
    """Return the corners of a table of boxes as plain numbers."""
    return [tuple(row) for row in boxes.select("x1", "y1", "x2", "y2").iter_rows()]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return time of change and content of everything below a folder, the folder itself included."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, b"" if path.is_dir() else path.read_bytes())
        for path in (folder, *folder.rglob("*"))
    }


def files_below(folder: Path) -> list[str]:
    """Return the files below a folder, hidden ones included, by their relative paths."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def run_python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own: home and working folder are new, and no switch of Ultralytics is set."""
    for place in ("home", "work"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG") if key in os.environ}
    home = str(folder / "home")
    settled = {**kept, "HOME": home, "XDG_CONFIG_HOME": home + "/.config", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder / "work",
        env=settled,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def answer_of(process: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON that a program of `run_python` printed last."""
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])
