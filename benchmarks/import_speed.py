"""How long does it take to read a large COCO file, repair its rows and write it as YOLO, and how much memory?

Makes a data set of N pictures (hard links to 100 different JPEGs of 640 x 640 pixels) with ten boxes for each, a few of
them broken, and measures in fresh processes, median of ROUNDS, without the start of the interpreter and its imports.
Seconds of CPU count, those of all threads together, so that other work on a shared machine does not:

- this program: `read_dataset` (headers of all pictures, repair, ledger, findings) and `write_yolo` (label files, and a
  link for each picture);
- supervision: `DetectionDataset.from_coco` and `as_yolo`, label files only;
- datumaro: `Dataset.import_from` and `export`, label files only;
- the repair of rows alone, on 10,000 to 1,000,000 boxes.

The peers are measured on --peer-images pictures, with this program beside them on the same files, each in an
environment of its own:

    python -m venv sv && sv/bin/pip install supervision
    python -m venv dm && dm/bin/pip install datumaro
    export OMP_NUM_THREADS=1
    python benchmarks/import_speed.py --supervision-python sv/bin/python --datumaro-python dm/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BOXES = 10  # per picture
SIDE = 640  # pixels
LABELS = "annotations/instances_train.json"
BASES = 100  # different pictures
CLASSES = 10
BAR_TIMES, BAR_MB, BAR_CHECKS = 10.0, 2000, 3.0
REPAIRED = (10_000, 100_000, 1_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--peer-images", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--supervision-python", type=Path)
    parser.add_argument("--datumaro-python", type=Path)
    parser.add_argument("--scratch", type=Path, help="folder for the data set, such as one in memory")
    parser.add_argument("--program", help=argparse.SUPPRESS)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.program:
        print(json.dumps(PROGRAMS[asked.program](asked.at, asked.out)))
        return
    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        met = [repairs(asked.rounds), whole(asked, Path(folder)), peers(asked, Path(folder))]
    sys.exit(not all(met))


# ---- what is measured, each in its own process ----------------------------------------------------------------------


Moment = tuple[float, float]


def now() -> Moment:
    return time.process_time(), time.perf_counter()


def spent(began: Moment, read: Moment, end: Moment) -> dict[str, float]:
    """Return seconds of CPU until everything was read, from then on, and together; and those on the clock."""
    times = {"reading": read[0] - began[0], "writing": end[0] - read[0], "seconds": end[0] - began[0]}
    return {**times, "clock": end[1] - began[1]}


def import_ours(folder: str, out: str) -> dict[str, Any]:
    from pipeline.data.formats.yolo_writer import write_yolo
    from pipeline.data.intake import read_dataset

    began = now()
    intake = read_dataset(Path(folder), format="coco")
    read = now()
    counts = intake.counts()
    dataset = intake.dataset
    del intake
    write_yolo(dataset, Path(out))
    end = now()
    return {**spent(began, read, end), "counts": counts}


def import_supervision(folder: str, out: str) -> dict[str, Any]:
    import supervision

    began = now()
    dataset = supervision.DetectionDataset.from_coco(f"{folder}/images/train", f"{folder}/{LABELS}")
    read = now()
    dataset.as_yolo(annotations_directory_path=f"{out}/labels", data_yaml_path=f"{out}/data.yaml")
    end = now()
    return {**spent(began, read, end), "version": supervision.__version__}


def import_datumaro(folder: str, out: str) -> dict[str, Any]:
    import datumaro

    began = now()
    dataset = datumaro.Dataset.import_from(folder, "coco")
    read = now()
    dataset.export(out, "yolo", save_media=False)
    end = now()
    return {**spent(began, read, end), "version": datumaro.__version__}


def repair_ours(count: str, _: str) -> dict[str, Any]:
    import numpy as np
    import polars as pl

    from pipeline.data.raw import raw_boxes
    from pipeline.data.remap import class_changes
    from pipeline.data.repair import repair
    from pipeline.data.row_findings import row_findings

    boxes = int(count)
    pictures = boxes // BOXES
    generator = np.random.default_rng(0)
    near = generator.uniform(0, SIDE - 20, (boxes, 2))
    far = near + generator.uniform(4, 120, (boxes, 2))  # a good part stands out of the picture
    far[::50] = near[::50]
    near[::77] = np.nan
    paths = [f"images/{number:06d}.jpg" for number in range(pictures)]
    rows = raw_boxes(
        {
            "path": pl.Series(paths).gather(generator.integers(0, pictures, boxes)),
            "class_id": generator.integers(0, CLASSES, boxes).astype(float),
            "x1": near[:, 0],
            "y1": near[:, 1],
            "x2": far[:, 0],
            "y2": far[:, 1],
            "source": pl.Series(np.arange(boxes)).cast(pl.String),
        }
    )
    sides = {"width": SIDE, "height": SIDE, "orientation": 1}
    images = pl.DataFrame({"path": paths}).with_row_index("image_id", offset=1)
    images = images.with_columns(pl.lit(value, pl.UInt32).alias(name) for name, value in sides.items())
    changes = class_changes([f"class {number}" for number in range(CLASSES)], {}, [])
    began = now()
    repaired = repair(rows, images, changes, fractions=False)
    findings = row_findings(repaired.ledger)
    end = now()
    found = {finding.id: finding.evidence["count"] for finding in findings}
    return {**spent(began, end, end), "kept": repaired.boxes.height, "found": found}


PROGRAMS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "tuneup": import_ours,
    "supervision": import_supervision,
    "datumaro": import_datumaro,
    "repair": repair_ours,
}


def measured(program: str, at: str | Path, out: Path = Path(), python: Path | str = sys.executable) -> dict[str, Any]:
    """Run one program in a process of its own; returns what it says and the peak of its memory in MB."""
    command = [str(python), __file__, "--program", program, "--at", str(at), "--out", str(out)]
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, **({"PYTHONPATH": root} if python == sys.executable else {})}
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=said, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        said.seek(0)
        errors.seek(0)
        if status:
            raise SystemExit(f"{program} failed:\n{errors.read()[-2000:]}")
        return {**json.loads(said.read().splitlines()[-1]), "mb": usage.ru_maxrss / 1024}


def rounds_of(program: str, folder: Path, rounds: int, python: Path | str = sys.executable) -> list[dict[str, Any]]:
    """Measure a program on a data set; nothing is removed in between, as ext4 makes new files slowly after that."""
    return [measured(program, folder, folder / "out" / f"{program}-{number}", python) for number in range(rounds)]


# ---- tables ---------------------------------------------------------------------------------------------------------


def repairs(rounds: int) -> bool:
    """Print what the checks of rows take; whether the largest number stays under its bar."""
    print("| boxes | repair and findings, s of CPU | s on the clock | microseconds per box | kept | touched |")
    print("|---|---|---|---|---|---|")
    seconds = 0.0
    for count in REPAIRED:
        found = [measured("repair", str(count)) for _ in range(rounds)]
        seconds = median(found, "seconds")
        touched = sum(found[0]["found"].values())
        print(
            f"| {count:,} | {seconds:.3f} | {median(found, 'clock'):.3f} | {seconds / count * 1e6:.2f} "
            f"| {found[0]['kept']:,} | {touched:,} |"
        )
    print(f"\nbar for {REPAIRED[-1]:,} boxes: {BAR_CHECKS:g} s\n")
    return seconds <= BAR_CHECKS


def whole(asked: argparse.Namespace, scratch: Path) -> bool:
    """Print what the whole import takes at a hundredth, a tenth and the whole of the size."""
    print("| pictures | boxes | read and repaired | written | s of CPU | s on the clock | microseconds per box | MB |")
    print("|---|---|---|---|---|---|---|---|")
    peak = 0.0
    for count in (asked.images // 100, asked.images // 10, asked.images):
        folder = make_set(scratch / f"ours-{count}", count)
        found = rounds_of("tuneup", folder, asked.rounds)
        peak = max(peak, *(one["mb"] for one in found))
        seconds = median(found, "seconds")
        print(
            f"| {count:,} | {count * BOXES:,} | {median(found, 'reading'):.2f} | {median(found, 'writing'):.2f} "
            f"| {seconds:.2f} | {median(found, 'clock'):.2f} | {seconds / count / BOXES * 1e6:.1f} "
            f"| {median(found, 'mb'):.0f} |"
        )
    print(f"\nrows: {found[0]['counts']}; bar for memory: {BAR_MB} MB\n")
    return peak <= BAR_MB


def peers(asked: argparse.Namespace, scratch: Path) -> bool:
    """Print how long the peers take on the same files, and how many times that of this program it is."""
    given = {"supervision": asked.supervision_python, "datumaro": asked.datumaro_python}
    folder = make_set(scratch / "peers", asked.peer_images, broken=False)
    print(f"{asked.peer_images:,} pictures, {asked.peer_images * BOXES:,} boxes, all sound:\n")
    print("| | read | written | s of CPU | s on the clock | times | MB |\n|---|---|---|---|---|---|---|")
    base = 0.0
    ratios = {}
    for name in ("tuneup", *given):
        python = given.get(name, sys.executable)
        if python is None:
            print(f"| {name} | not measured: no interpreter was given | | | | | |")
            continue
        found = rounds_of(name, folder, asked.rounds, python)
        seconds = median(found, "seconds")
        base = base or seconds
        ratios[name] = seconds / base
        called = f"{name} {found[0].get('version', '')}".strip()
        print(
            f"| {called} | {median(found, 'reading'):.2f} | {median(found, 'writing'):.2f} | {seconds:.2f} "
            f"| {median(found, 'clock'):.2f} | {ratios[name]:.1f} | {median(found, 'mb'):.0f} |"
        )
    print(f"\nbar: supervision takes at least {BAR_TIMES:g} times as long")
    return ratios.get("supervision", BAR_TIMES) >= BAR_TIMES


def median(found: list[dict[str, Any]], key: str) -> float:
    return statistics.median(one[key] for one in found)


# ---- the data set ---------------------------------------------------------------------------------------------------


def make_set(folder: Path, count: int, *, broken: bool = True) -> Path:
    """Write a COCO set: pictures, labels and an empty folder for what is written from it."""
    import numpy as np
    from PIL import Image

    for place in ("images/train", "annotations", "bases", "out"):
        (folder / place).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(BASES):
        blocks = generator.integers(0, 255, (SIDE // 16, SIDE // 16, 3), np.uint8)
        picture = np.kron(blocks, np.ones((16, 16, 1), np.uint8))
        Image.fromarray(picture).save(folder / "bases" / f"{number}.jpg", quality=85)
    for number in range(count):
        os.link(folder / "bases" / f"{number % BASES}.jpg", folder / "images" / "train" / f"{number:06d}.jpg")
    shutil.rmtree(folder / "bases")
    with (folder / LABELS).open("w", encoding="utf-8") as file:
        categories = [{"id": n, "name": f"class {n}", "supercategory": "none"} for n in range(1, CLASSES + 1)]
        images = [
            {"id": n, "file_name": f"{n:06d}.jpg", "width": SIDE, "height": SIDE, "license": 1} for n in range(count)
        ]
        file.write(f'{{"info": {{}}, "categories": {json.dumps(categories)}, "images": {json.dumps(images)}, ')
        file.write('"annotations": [')
        for number, annotation in enumerate(annotations(count, broken)):
            file.write(("," if number else "") + json.dumps(annotation))
        file.write("]}")
    return folder


def annotations(pictures: int, broken: bool) -> Any:
    """Give ten annotations for each picture, in no order, as tools write them; one in a hundred is broken if asked."""
    choose = random.Random(0)
    for number in range(pictures * BOXES):
        width, height = (round(choose.uniform(4, 120), 2) for _ in range(2))
        x, y = round(choose.uniform(0, SIDE - width), 2), round(choose.uniform(0, SIDE - height), 2)
        box = [x, y, width, height]
        if broken and number % 100 == 0:
            box = [[x, y, 0, height], [x, y, SIDE, height], [x, y, None, height], [x + SIDE, y, width, height]][
                number // 100 % 4
            ]
        yield {
            "id": number + 1,
            "image_id": choose.randrange(pictures),
            "category_id": choose.randrange(CLASSES) + 1,
            "bbox": box,
            "area": round(width * height, 3),
            "segmentation": [],
            "iscrowd": 0,
        }


if __name__ == "__main__":
    main()
