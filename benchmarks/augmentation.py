"""What each transform of the shipped policies does to pictures, and what one costs beside Ultralytics' own stage.

    OMP_NUM_THREADS=1 python benchmarks/augmentation.py [effects|cost] [--rounds 7]

`effects`: the contract of every shipped policy on the demos and, where `../shared/data` has them, DeepPCB and BCCD, as
Markdown tables. `cost`: CPU milliseconds for one picture at imgsz 640 through the whole stage, taken in turns with
Ultralytics' own default stage on the same pictures.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import pipeline
from pipeline.augment.contract import Contract, check_contract, setting
from pipeline.augment.stage import seeded
from pipeline.augment.table_dataset import TableDataset
from pipeline.config import config_from_dict, load_config
from pipeline.data.dataset import Dataset
from pipeline.data.intake import read_dataset
from pipeline.leash import tighten
from pipeline.policy import Policy, entries

SHARED = Path(__file__).parents[2] / "shared" / "data"
POLICIES = ("none", "metal", "pcb", "fabric", "aerial", "leaf")
DATA = {  # data set: imgsz, the policies that are meant for pictures of its kind
    "steel demo": (256, ("metal", "fabric")),
    "field demo": (256, ("aerial", "leaf")),
    "DeepPCB": (640, ("pcb", "metal")),
    "BCCD": (640, ("leaf", "aerial")),
}
BATCH = 16


def datasets(folder: Path) -> dict[str, Dataset]:
    """Return the train splits of the data sets that are there."""
    found = {}
    for kind in ("steel", "field"):
        pipeline.make_demo(kind, folder / kind)
        found[f"{kind} demo"] = read_dataset(folder / kind).dataset.split("train")
    for name in ("DeepPCB", "BCCD"):
        place = SHARED / name.lower()
        if place.is_dir():
            dataset = read_dataset(place).dataset
            found[name] = dataset.split("train") if "train" in dataset.splits else dataset
        else:
            print(f"({name} is left out: {place} is not there)\n")
    return found


def shipped(name: str) -> Policy:
    """Return a shipped policy; `default` is Ultralytics' own stage."""
    return Policy(name="default") if name == "default" else load_config(None, [f"augment={name}"]).augment


def effects(sets: dict[str, Dataset]) -> None:
    """Print a table for each policy on each data set that it is meant for."""
    for title, dataset in sets.items():
        imgsz, meant = DATA[title]
        for name in ("default", *meant):
            contract = check_contract(dataset, config_from_dict({"augment": shipped(name), "train": {"imgsz": imgsz}}))
            print(f"### {name} on {title}, imgsz {imgsz}\n")
            print_contract(contract)


def print_contract(contract: Contract) -> None:
    """Print a contract as Markdown."""
    print("| entry | setting | p | boxes that come out | box growth | contrast | noise / contrast | mean | ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    for measure in contract.measures:
        known = measure.entry in entries(contract.policy)
        worst = min(measure.contrast.values(), default=None)
        noise = max((after for after, _ in measure.noise.values()), default=None)
        cells = (
            measure.entry,
            setting(contract.policy, measure.entry) if known else "as trained",
            f"{measure.probability:g}" if known else "",
            "-" if measure.survival is None else f"{measure.survival:.0%}",
            "-" if measure.inflation is None else f"{measure.inflation:.2f}",
            "-" if worst is None else f"{worst[0]:.2f}",
            "-" if noise is None else f"{noise:.2f}",
            f"{measure.mean_shift:+.0f}",
            f"{measure.milliseconds:.1f}",
        )
        print(f"| {' | '.join(cells)} |")
    told = [finding for finding in contract.findings if finding.severity != "info"]
    print("\n" + ("".join(f"- {f.severity}: {f.message}\n" for f in told) or "The contract is kept.\n"))


def loader_set(dataset: Dataset, policy: Policy | None, imgsz: int) -> TableDataset:
    """Return the training's dataset; without a policy, with Ultralytics' own default stage instead of ours."""
    from ultralytics.cfg import get_cfg
    from ultralytics.data.augment import Format, v8_transforms

    names = dict(enumerate(dataset.names))
    made = TableDataset(
        dataset,
        policy=policy,
        imgsz=imgsz,
        batch_size=BATCH,
        augment=True,
        hyp=get_cfg(),
        data={"names": names, "nc": len(names), "channels": 3},
        task="detect",
    )
    if policy is None:
        made.transforms = v8_transforms(made, imgsz, get_cfg())
        made.transforms.append(Format(bbox_format="xywh", normalize=True, batch_idx=True))
    return made


def cost(sets: dict[str, Dataset], rounds: int) -> None:
    """Print CPU milliseconds per picture for every policy, side by side with Ultralytics' default stage."""
    torch.set_num_threads(1)
    names = (*POLICIES, "default")
    for title in [name for name in ("steel demo", "DeepPCB", "BCCD") if name in sets]:
        dataset = sets[title]
        made: dict[str, TableDataset] = {"Ultralytics' own": loader_set(dataset, None, 640)}
        made.update({name: loader_set(dataset, shipped(name), 640) for name in names})
        pictures = range(0, dataset.images.height, max(1, dataset.images.height // 48))
        for loaded in made.values():  # from memory from here on
            for index in range(len(loaded)) if loaded.keeps_pictures else ():
                loaded.load_image(index)
        times: dict[str, list[float]] = {name: [] for name in made}
        for turn in range(rounds):
            for name, loaded in made.items():
                times[name].append(per_picture(loaded, pictures, turn))
        print(f"### {title}, imgsz 640\n\n| stage | ms per picture | share of Ultralytics' own |\n|---|---|---|")
        base = statistics.median(times["Ultralytics' own"])
        for name, found in times.items():
            middle = statistics.median(found)
            print(f"| {name} | {middle:.1f} ({min(found):.1f} to {max(found):.1f}) | {middle / base:.2f} |")
        print()


def per_picture(loaded: TableDataset, pictures: range, turn: int) -> float:
    """Return the CPU milliseconds of this process for one picture."""
    with seeded(turn):
        started = time.process_time()
        for index in pictures:
            loaded[index]
        return (time.process_time() - started) / len(pictures) * 1000


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("effects", "cost", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=7)
    arguments: Any = parser.parse_args()
    tighten()
    with tempfile.TemporaryDirectory() as folder:
        sets = datasets(Path(folder))
        if arguments.what in {"effects", "both"}:
            effects(sets)
        if arguments.what in {"cost", "both"}:
            cost(sets, arguments.rounds)


if __name__ == "__main__":
    main()
