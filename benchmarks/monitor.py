"""What watching the gradients costs: the time of a training step with the monitor over that without, step by step.

One model, one optimizer, one kept sequence of batches; the ways of watching take turns within each step number, so that
a change of the machine's speed hits all of them alike. `plain` is Ultralytics' own optimizer_step (clip_grad_norm_ at
10, no guard). The monitor runs as in training: norms of every tensor at every step, guard, records written to the run's
files, probes by their schedule. Beside it two usual ways: hooks on every parameter that make a histogram of its
gradient, as `wandb.watch(log="gradients", log_freq=1)` does, and `.norm().item()` on every parameter.

On the CPU the time is that of the process (run it with one thread), because a shared machine's clock on the wall
measures its other work.

    OMP_NUM_THREADS=1 python benchmarks/monitor.py [--steps 40] [--imgsz 320] [--batch 16] [--device cpu]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pipeline
from pipeline.config import load_config
from pipeline.model_source import resolve_model
from pipeline.runs import Run
from pipeline.training import session
from pipeline.training.trial import Trial, trial

STEPS_OF_A_RUN = 900  # of the demo: sets the schedule of the probes


class Bench:
    """A training that is taken step by step."""

    def __init__(self, bench: Trial) -> None:
        self.trainer = trainer = bench.trainer
        trainer.train_time_start = time.time()
        trainer.epoch = 0
        trainer._batches = -1
        trainer.observer.schedule(STEPS_OF_A_RUN, 30)
        trainer.monitor.watch(trainer.model.named_parameters())
        trainer.guard.watch(trainer.model)
        trainer.observer.watch(bench.model, trainer.optimizer, trainer._group_names())
        trainer.run.begin_norms(trainer.monitor.tensors, ["layer"] * len(trainer.monitor.tensors))
        for group in trainer.optimizer.param_groups:
            group["lr"] = 1e-4
        trainer.branch_weights = {"o2m": 0.8, "o2o": 0.2}

    def forward_backward(self, raw: dict[str, Any]) -> None:
        """Do what comes before the optimizer's step, as Ultralytics' loop does."""
        trainer = self.trainer
        batch = trainer.preprocess_batch(dict(raw))
        loss, trainer.loss_items = trainer.model(batch)
        trainer.loss = loss.sum()
        trainer.loss.backward()

    def synchronize(self) -> None:
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize()

    def plain_step(self) -> None:
        """Step as BaseTrainer.optimizer_step does."""
        trainer = self.trainer
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), max_norm=10.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.ema.update(trainer.model)
        trainer.guard.forget_batches()

    def monitored_step(self) -> None:
        self.trainer.optimizer_step()

    def item_step(self) -> None:
        """Read every parameter's norm on the host, then step."""
        self.norms = [float(p.grad.norm()) for p in self.trainer.model.parameters() if p.grad is not None]
        self.plain_step()


def watch_like_wandb(model: torch.nn.Module) -> list[Any]:
    """Put a hook on every parameter that makes a histogram of 64 bins of its gradient, at every step."""

    def hook(gradient: Tensor) -> None:
        flat = gradient.detach().flatten().float()
        low, high = float(flat.min()), float(flat.max())
        torch.histc(flat, 64, low, high if high > low else low + 1e-12).tolist()

    return [p.register_hook(hook) for p in model.parameters() if p.requires_grad]


def clock(device: str) -> float:
    """Return the time: on the CPU that of this process, which other work on a shared machine does not prolong."""
    return time.process_time() if device == "cpu" else time.perf_counter()


def measure(bench: Bench, batches: list[dict[str, Any]], steps: int) -> dict[str, list[float]]:
    """Return the seconds of every step by way of watching."""
    device = bench.trainer.device.type
    ways: dict[str, Callable[[], None]] = {
        "plain": bench.plain_step,
        "monitor": bench.monitored_step,
        "hooks": bench.plain_step,
        "item": bench.item_step,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for number in range(steps + 3):
        raw = batches[number % len(batches)]
        for name in order[number % len(order) :] + order[: number % len(order)]:
            hooks = watch_like_wandb(bench.trainer.model) if name == "hooks" else []
            bench.synchronize()
            started = clock(device)
            bench.forward_backward(raw)
            ways[name]()
            bench.synchronize()
            taken = clock(device) - started
            for hook in hooks:
                hook.remove()
            if number >= 3:  # the first ones warm up
                seconds[name].append(taken)
    return seconds


def report(seconds: dict[str, list[float]], bench: Bench) -> None:
    words = {
        "plain": "Ultralytics' optimizer_step",
        "monitor": "the same with monitor, guard and probes",
        "hooks": "the same with a histogram hook on every parameter",
        "item": "the same with `.item()` on every parameter's norm",
    }
    print("\n| | median step, ms | median of the paired ratios | ratio of the means |\n|---|---|---|---|")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, seconds["plain"], strict=True))
        mean = statistics.fmean(values) / statistics.fmean(seconds["plain"])
        print(f"| {words[name]} | {1000 * statistics.median(values):.1f} | {ratio:.3f} | {mean:.3f} |")
    monitor, guard = bench.trainer.monitor, bench.trainer.guard
    values = sum(p.numel() for p in monitor._parameters) * 4
    kept = sum(buffer.numel() * buffer.element_size() for buffer in guard._kept)
    row = bench.trainer.run.path / "history" / "tensors.bin"
    print(
        f"\nMemory: {len(monitor.tensors)} norms a step on the device ({len(monitor.tensors) * 4 / 1024:.1f} kB), "
        f"{kept / 1e6:.2f} MB for the statistics that the guard keeps; in a sampled step (every "
        f"{bench.trainer.observer.period}th) a copy of weights and gradients, {2 * values / 1e6:.1f} MB. On disk "
        f"{row.stat().st_size / bench.trainer.steps_done / 1024:.1f} kB of norms a step."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="yolo26n.yaml")
    options = parser.parse_args()
    words = [f"imgsz={options.imgsz}", f"batch={options.batch}", f"device={options.device}", f"model={options.model}"]
    with tempfile.TemporaryDirectory() as folder:
        data = pipeline.make_demo("steel", Path(folder) / "steel")
        settled = ["optimizer=AdamW", "lr0=0.001", "nbs=16", "mosaic=0", "workers=0", "amp=false"]
        config = load_config(None, [f"data={data}", *settled, *words])
        dataset = session.prepare_data(config).dataset
        model = resolve_model(config.model.name, config.model.weights)
        with trial(config, dataset, session._overrides(Run(folder), config, model)) as made:
            bench = Bench(made)
            loader = iter(bench.trainer.train_loader)
            batches = [next(loader) for _ in range(8)]
            seconds = measure(bench, batches, options.steps)
            bench.trainer.monitor.flush()
            device = torch.cuda.get_device_name(0) if bench.trainer.device.type == "cuda" else "CPU"
            print(
                f"{options.model}, imgsz {options.imgsz}, batch {options.batch}, {device}, {torch.get_num_threads()} "
                f"threads, torch {torch.__version__}, {options.steps} steps of each kind in turns"
            )
            report(seconds, bench)


if __name__ == "__main__":
    main()
