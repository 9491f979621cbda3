"""What the preflight says of healthy starts: how far four pictures are learnt by heart, and which rate it proposes.

Both demo sets, two models, three optimizers, from random weights; the range test twice, with other batches. And the
time of every check.

    OMP_NUM_THREADS=1 python benchmarks/preflight.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import pipeline
from pipeline.config import load_config
from pipeline.model_source import resolve_model
from pipeline.runs import Run
from pipeline.training import session, trial_checks
from pipeline.training.trial import trial

RATES = {"AdamW": 0.002, "SGD": 0.01, "MuSGD": 0.01}


def row(data: Path, kind: str, model: str, optimizer: str) -> str:
    words = [f"data={data}", f"model={model}", f"optimizer={optimizer}", f"lr0={RATES[optimizer]}"]
    config = load_config(None, [*words, "imgsz=128", "batch=8", "nbs=8", "device=cpu", "mosaic=0"])
    dataset = session.prepare_data(config).dataset
    overrides = session._overrides(Run(data.parent), config, resolve_model(model, config.model.weights))
    with trial(config, dataset, overrides) as bench:
        started = time.perf_counter()
        heart = trial_checks.overfit(bench)
        between = time.perf_counter()
        ranges = [trial_checks.range_test(bench) for _ in range(2)]
        ended = time.perf_counter()
    if heart is None:
        raise SystemExit(f"{data}: no boxes")
    proposals = " / ".join(f"{result.proposal:g}" for result in ranges)
    highest = " / ".join("never" if result.highest is None else f"{result.highest:.2g}" for result in ranges)
    return (
        f"| {kind} | {model.removesuffix('.yaml')} | {optimizer} | {heart.largest:.1f} → {heart.losses[-1]:.2f} "
        f"({heart.share_left:.2f}) | {proposals} | {highest} | {between - started:.0f} / {(ended - between) / 2:.0f} |"
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print("| data | model | optimizer | four pictures: loss (share left) | lr0 proposed, twice | blows up at | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("steel", "field"):
            data = pipeline.make_demo(kind, Path(folder) / kind)
            for model in ("yolo26n.yaml", "yolo11n.yaml"):
                for optimizer in RATES:
                    print(row(data, kind, model, optimizer), flush=True)


if __name__ == "__main__":
    main()
