"""Are faults of labels found by looking at what lies in the boxes, and are sound sets left in peace?

The demo sets are drawn into a temporary folder. DeepPCB (COCO) and BCCD (VOC) are not part of this project: their
folders are given, and without them they are left out. Of each set pictures are drawn at random, as they stand in its
splits; their labels are spoilt by the faults of benchmarks/faults and a few more. Only what these checks need is run,
on pictures in memory, except for the time, which is that of the whole audit.

    OMP_NUM_THREADS=1 python benchmarks/label_looks.py [FOLDER ...] [--seeds 10-14] [--pictures 20,60,100,200]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent / "faults"))
from material import CHANGED_LABELS, Labels

import pipeline
from pipeline.data import audit as audit_module
from pipeline.data.audit import audit
from pipeline.data.checks import class_looks, looks
from pipeline.data.checks.snapshot import take_snapshot
from pipeline.data.dataset import BOXES_SCHEMA, Dataset
from pipeline.data.images import read_picture
from pipeline.data.intake import read_dataset
from pipeline.data.label_explanations import label_facts
from pipeline.data.label_looks import LabelSampler
from pipeline.data.picture_facts import FACTS_SCHEMA, PictureFacts
from pipeline.findings import Finding

DEMOS = ("steel", "field")
UNLABELLED = "two of five pictures without their boxes"
NOT_ON_OBJECTS, NOT_LEARNABLE, DIFFER = "labels.not_on_objects", "labels.classes_not_learnable", "labels.classes_differ"


def _mirrored(labels: list[Labels], split: str, classes: int) -> list[Labels]:
    return [[[row[0], f"{1 - float(row[1]):.6f}", *row[2:]] for row in rows] for rows in labels]


def _shifted(labels: list[Labels], split: str, classes: int) -> list[Labels]:
    return [*labels[1:], *labels[:1]]


def _one_class_in_two(labels: list[Labels], split: str, classes: int) -> list[Labels]:
    """Give half of the boxes of the first class a new name."""
    drawn = random.Random(len(labels))
    return [
        [[str(classes) if row[0] == "0" and drawn.random() < 0.5 else row[0], *row[1:]] for row in rows]
        for rows in labels
    ]


Change = Callable[[list[Labels], str, int], list[Labels]]
FAULTS: dict[str, tuple[Change, str, str]] = {  # the change, the finding that is right, the explanation that is right
    "shuffled": (CHANGED_LABELS["shuffled"], NOT_ON_OBJECTS, ""),
    "shifted by one": (_shifted, NOT_ON_OBJECTS, "previous"),
    "swapped_axes": (CHANGED_LABELS["swapped_axes"], NOT_ON_OBJECTS, "axes"),
    "mirrored": (_mirrored, NOT_ON_OBJECTS, "mirrored"),
    "corners": (CHANGED_LABELS["corners"], NOT_ON_OBJECTS, "corners_as_centre"),
    "random_classes": (CHANGED_LABELS["random_classes"], NOT_LEARNABLE, ""),
    "one class in two": (_one_class_in_two, NOT_LEARNABLE, ""),
    "permuted_in_train": (CHANGED_LABELS["permuted_in_train"], DIFFER, ""),
}


def spoilt(dataset: Dataset, change: Change) -> Dataset:
    """Write the boxes as rows of YOLO label files, change them, and read them as the intake does: clipped."""
    tables, kept = [], dataset.images.sort("path")
    boxes = dict(dataset.boxes.partition_by("image_id", as_dict=True).items())
    for (split,), images in kept.group_by("split", maintain_order=True):
        rows: list[Labels] = []
        for image_id, width, height in images.select("image_id", "width", "height").iter_rows():
            table = boxes.get((image_id,), dataset.boxes.clear())
            rows.append(
                [_row(box, width, height) for box in table.select("class_id", "x1", "y1", "x2", "y2").iter_rows()]
            )
        changed = change(rows, str(split), len(dataset.names))
        sizes = images.select("image_id", "width", "height").iter_rows()
        for (image_id, width, height), new in zip(sizes, changed, strict=True):
            tables += [(image_id, *_box(row, width, height)) for row in new]
    schema = {name: BOXES_SCHEMA[name] for name in ("image_id", "class_id", "x1", "y1", "x2", "y2")}
    table = pl.DataFrame(tables, schema=schema, orient="row").filter(
        (pl.col("x2") > pl.col("x1")) & (pl.col("y2") > pl.col("y1"))
    )
    table = table.with_columns(crowd=pl.lit(False), difficult=pl.lit(False), source=pl.lit("")).cast(
        pl.Schema(BOXES_SCHEMA)
    )
    return replace(dataset, boxes=table, names=(*dataset.names, "new"))


def _row(box: tuple[float, ...], width: int, height: int) -> list[str]:
    number, x1, y1, x2, y2 = box
    values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return [str(number), *(f"{value:.6f}" for value in values)]


def _box(row: list[str], width: int, height: int) -> tuple[float, ...]:
    x, y, w, h = map(float, row[1:])
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    return int(row[0]), x1 * width, y1 * height, x2 * width, y2 * height


def subset(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Return so many pictures of a set, drawn at random."""
    chosen = np.random.default_rng(seed).permutation(dataset.images.height)[:count]
    images = dataset.images[np.sort(chosen).tolist()]
    return replace(
        dataset, images=images, boxes=dataset.boxes.join(images.select("image_id"), on="image_id", how="semi")
    )


def findings_of(dataset: Dataset, pictures: dict[str, NDArray[np.uint8]]) -> list[Finding]:
    """Run the three checks on pictures in memory."""
    sampler = LabelSampler(dataset)
    for path, picture in pictures.items():
        sampler.look(path, picture)
    nothing = pl.DataFrame(schema=FACTS_SCHEMA)
    facts = PictureFacts(nothing, np.zeros((0, 32, 32), np.uint8), label_facts(dataset, sampler.looks()))
    snapshot = take_snapshot(dataset, 640, facts=facts)
    return [
        f
        for check in (looks.not_on_objects, class_looks.classes_differ, class_looks.classes_not_learnable)
        for f in check(snapshot)
    ]


def added_time(dataset: Dataset, rounds: int = 5) -> tuple[float, float]:
    """Return the least seconds of the processor of some audits without and with a look at the labels."""
    times = defaultdict(list)
    sampler, facts = audit_module.LabelSampler, audit_module.label_facts
    for number in range(2 * rounds):
        without = number % 2 == 0
        if without:
            audit_module.LabelSampler = lambda data: sampler(replace(data, boxes=data.boxes.clear()))
        began = time.process_time()
        audit(dataset)
        times[without].append(time.process_time() - began)
        audit_module.LabelSampler, audit_module.label_facts = sampler, facts
    return min(times[True]), min(times[False])


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


class Table:
    """Counts of what was found."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int, str], list[bool]] = defaultdict(list)
        self.named: dict[tuple[str, int, str], list[bool]] = defaultdict(list)
        self.others: Counter[tuple[str, str]] = Counter()
        self.alarms: dict[tuple[str, int, str], list[bool]] = defaultdict(list)

    def look(self, kind: str, dataset: Dataset, count: int, seed: int) -> None:
        part = subset(dataset, count, seed)
        pictures = {path: read_picture(part.picture_path(path)) for path in part.images["path"]}
        for words, sound in (("sound", part), (UNLABELLED, spoilt(part, CHANGED_LABELS["unlabelled"]))):
            found = findings_of(sound, pictures)
            self.alarms[words, count, kind].append(bool(found))
            for finding in found:
                print(f"  {words} {kind} {count} seed {seed}: {finding.message} {dict(finding.evidence)}", flush=True)
        for name, (change, right, explanation) in FAULTS.items():
            found = findings_of(spoilt(part, change), pictures)
            self.found[name, count, kind].append(any(f.id == right for f in found))
            if explanation:
                self.named[name, count, kind].append(any(f.evidence.get("explanation") == explanation for f in found))
            self.others.update({(name, f.id) for f in found if f.id != right})
            wrong = {f.evidence.get("explanation") for f in found} - {None, explanation}
            self.others.update((name, f"explained by {word}") for word in wrong)

    def show(self, kinds: list[str], counts: list[int]) -> None:
        row("fault", "pictures", *kinds, "in all", "rightly explained")
        row(*["---"] * (len(kinds) + 4))
        for name in FAULTS:
            for count in counts:
                cells = [self.found[name, count, kind] for kind in kinds]
                every = [found for cell in cells for found in cell]
                named = [found for kind in kinds for found in self.named[name, count, kind]]
                words = f"{sum(named)} of {len(named)}" if named else ""
                row(name, count, *(f"{sum(c)} of {len(c)}" for c in cells), f"{sum(every)} of {len(every)}", words)
        print(f"\nOther findings on spoilt sets: {dict(self.others)}\n")
        row("alarms", "pictures", *kinds, "in all")
        row(*["---"] * (len(kinds) + 3))
        for words in ("sound", UNLABELLED):
            for count in counts:
                cells = [self.alarms[words, count, kind] for kind in kinds]
                every = [found for cell in cells for found in cell]
                row(words, count, *(f"{sum(c)} of {len(c)}" for c in cells), f"{sum(every)} of {len(every)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--seeds", default="10-14")
    parser.add_argument("--pictures", default="20,60,100,200")
    parser.add_argument("--demos", type=Path, help="folder that keeps the drawn sets")
    settings = parser.parse_args()
    first, last = map(int, settings.seeds.split("-"))
    counts = [int(word) for word in settings.pictures.split(",")]
    real = {folder.resolve().name: read_dataset(folder).dataset for folder in settings.folders}
    kinds, table = [*DEMOS, *real], Table()
    with tempfile.TemporaryDirectory() as scratch:
        root = settings.demos or Path(scratch)
        for seed in range(first, last + 1):
            for kind in DEMOS:
                if not (root / f"{kind}-{seed}").exists():
                    pipeline.make_demo(kind, root / f"{kind}-{seed}", seed=seed)
            for kind in kinds:
                dataset = real[kind] if kind in real else read_dataset(root / f"{kind}-{seed}").dataset
                for count in counts:
                    table.look(kind, dataset, count, seed)
        table.show(kinds, counts)
        print()
        row("whole set", "pictures", "audit before, s", "with the look, s", "added")
        row(*["---"] * 5)
        for kind in kinds:
            dataset = real[kind] if kind in real else read_dataset(root / f"{kind}-{first}").dataset
            before, after = added_time(dataset)
            row(kind, dataset.images.height, f"{before:.2f}", f"{after:.2f}", f"{after / before - 1:.0%}")


if __name__ == "__main__":
    main()
