"""Score the kept trainings of the fault benchmark; nothing is trained.

    python benchmarks/faults/score.py OUT/heldout [--misses] [--json FILE]

Prints the tables of docs/benchmarks/faults.md: what was detected, named, how late, and what was said about healthy
trainings, with exact binomial intervals (Clopper and Pearson 1934); beside them the rules of other tools.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from case import Case, Fault
from catalogue import cases
from judge import Judged, audit_ids, judge, right_ids
from rivals import RIVALS
from scipy.stats import binomtest

JUST_FINITE = ("nan_pictures", "inf_gradient", "overflow", "fp16_overflow")


def judge_all(folder: Path) -> list[Judged]:
    """Judge every kept training of a part of the benchmark."""
    kept = [case for case in cases(folder.name) if (folder / case.name / "records.parquet").is_file()]
    told = _told_of_data(kept, folder)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        work = [pool.submit(judge, case.name, folder, told.get(case.cell.data, frozenset())) for case in kept]
        return [future.result() for future in work]


def _told_of_data(kept: list[Case], folder: Path) -> dict[str, frozenset[str]]:
    """Return what the audit says of each data set when nothing was done to it."""
    told: dict[str, set[str]] = {}
    for case in kept:
        if case.fault is None and case.variant.change is None:
            told.setdefault(case.cell.data, set()).update(audit_ids(folder / case.name))
    return {data: frozenset(ids) for data, ids in told.items()}


def share(hits: int, of: int) -> str:
    """Return a share with its exact interval, 95 %."""
    if not of:
        return "none"
    low, high = binomtest(hits, of).proportion_ci(method="exact")
    return f"{hits} of {of}, {hits / of:.0%} ({low:.0%} to {high:.0%})".replace("%", " %")


# ---- faults ----------------------------------------------------------------------------------------------------------


def is_detected(judged: Judged) -> bool:
    """Whether a right warning or error was told before the end."""
    return judged.first_right(_right(judged)) is not None or _is_refused_rightly(judged)


def is_named(judged: Judged) -> bool:
    """Whether the first of all warnings and errors names the cause."""
    return bool(judged.final) and judged.final[0].id in _fault(judged).names


def delay(judged: Judged) -> int | None:
    """Return the steps from onset to the first right finding; 0 if it came before the first step; None if never."""
    found = judged.first_right(_right(judged))
    if found is None or judged.onset is None:
        return None
    return max(found - judged.onset, 0)


def _fault(judged: Judged) -> Fault:
    assert judged.case.fault is not None
    return judged.case.fault


def _right(judged: Judged) -> tuple[str, ...]:
    return right_ids(_fault(judged))


def _is_refused_rightly(judged: Judged) -> bool:
    return any(finding.id == "product.refused" for finding in judged.before) and "product.refused" in _right(judged)


def print_summary(broken: list[Judged], healthy: list[Judged]) -> None:
    """Print the figures that the benchmark is about."""
    live = [j for j in broken if j.first_right(_right(j)) not in (None, -1)]
    delays = [d for j in live if (d := delay(j)) is not None]
    numbers = [j for j in broken if _fault(j).name in JUST_FINITE]
    early = sum(j.first_right(_right(j)) == -1 for j in broken)
    rows = [
        ("detected: a right warning or error before the end", share(sum(map(is_detected, broken)), len(broken))),
        ("named: the right cause first", share(sum(map(is_named, broken)), len(broken))),
        ("told before the first step", share(early, len(broken))),
        ("steps from onset to the first right finding, median of the others", _median(delays)),
        ("not finite: weights finite at the end", share(sum(j.finite for j in numbers), len(numbers))),
        *_same_step(numbers),
    ]
    for severity in ("error", "warning"):
        rows.append(
            (f"healthy trainings with a false {severity}", share(sum(_has(j, severity) for j in healthy), len(healthy)))
        )
    print_table(("", ""), rows)


def _same_step(numbers: list[Judged]) -> list[tuple[str, str]]:
    acted = [j for j in numbers if j.onset is not None and not j.refused]
    return [("not finite: stopped in the same step", share(sum(j.stopped_in_step for j in acted), len(acted)))]


def _median(values: list[int]) -> str:
    return f"{statistics.median(values):.0f} (of {len(values)})" if values else "none"


def _has(judged: Judged, severity: str) -> bool:
    return any(f.severity == severity for f in [*judged.before, *(f for _, f in judged.live), *judged.final])


def print_by_fault(broken: list[Judged]) -> None:
    """Print one row per fault."""
    rows = []
    for name in dict.fromkeys(_fault(j).name for j in broken):
        runs = [j for j in broken if _fault(j).name == name]
        delays = [d for j in runs if (d := delay(j)) is not None]
        firsts = [j.final[0].id if j.final else "nothing" for j in runs]
        said = ", ".join(f"{i} {firsts.count(i)}" for i in dict.fromkeys(firsts))
        found = f"{sum(map(is_detected, runs))}/{len(runs)}"
        rows.append(
            (name, _fault(runs[0]).door, found, f"{sum(map(is_named, runs))}/{len(runs)}", _median(delays), said)
        )
    print_table(("fault", "door", "detected", "named", "delay", "first finding, runs"), rows)


# ---- healthy trainings, other tools ----------------------------------------------------------------------------------


def print_false_alarms(healthy: list[Judged]) -> None:
    """Print every warning and error about a healthy training."""
    rows = []
    for judged in healthy:
        told = {f.id: (f"{'before' if step < 0 else f'step {step}'}", f) for step, f in _moments(judged)}
        rows += [(judged.case.name, f.severity, f.id, when, f.message) for when, f in told.values()]
    print_table(("training", "severity", "finding", "told", "words"), rows or [("none", "", "", "", "")])


def _moments(judged: Judged) -> Iterable[tuple[int, object]]:
    yield from ((-1, finding) for finding in judged.before)
    yield from judged.live


def print_rivals(broken: list[Judged], healthy: list[Judged]) -> None:
    """Print the same figures for the rules of other tools, on the same trainings."""
    trained = [j for j in broken if j.alarms]
    rows = []
    for tool in RIVALS:
        seen = [j for j in trained if any(a.kind in _fault(j).kinds for a in j.alarms[tool])]
        named = [j for j in trained if j.alarms[tool] and j.alarms[tool][0].kind in _fault(j).kinds]
        false = [j for j in healthy if j.alarms.get(tool)]
        count = sum(len(j.alarms.get(tool, [])) for j in healthy)
        rows.append(
            (
                tool,
                share(len(seen), len(trained)),
                share(len(named), len(trained)),
                share(len(false), len(healthy)),
                f"{count / max(len(healthy), 1):.1f}",
            )
        )
    print_table(
        ("rules of", "a right alarm", "the first alarm is right", "healthy trainings with an alarm", "alarms each"),
        rows,
    )


def print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print a table as Markdown."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    print()


def print_misses(broken: list[Judged]) -> None:
    """Print what was said where the cause was not named."""
    for judged in broken:
        if is_named(judged):
            continue
        print(f"{judged.case.name}{'' if is_detected(judged) else '  NOT DETECTED'}")
        for finding in judged.final:
            print(f"    {finding.severity} {finding.id}: {finding.message}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="OUT/calibration, OUT/heldout or OUT/small")
    parser.add_argument("--misses", action="store_true", help="say what was found where the cause was not named")
    parser.add_argument("--json", type=Path, help="write a line per training there")
    options = parser.parse_args()
    started = time.perf_counter()
    judged = judge_all(options.folder.absolute())
    if not judged:
        sys.exit(f"{options.folder}: holds no trainings; make them with benchmarks/faults/run.py")
    broken, healthy = [j for j in judged if j.case.fault], [j for j in judged if not j.case.fault]
    print_summary(broken, healthy)
    print_by_fault(broken)
    print_false_alarms(healthy)
    print_rivals(broken, healthy)
    if options.misses:
        print_misses(broken)
    if options.json:
        options.json.write_text("".join(json.dumps(_line(j)) + "\n" for j in judged))
    hours = sum(j.seconds for j in judged) / 3600
    print(f"{len(judged)} trainings ({hours:.1f} h) judged in {time.perf_counter() - started:.1f} s", file=sys.stderr)


def _line(judged: Judged) -> dict[str, object]:
    told = [(step, f.severity, f.id) for step, f in _moments(judged)]
    return {"case": judged.case.name, "told": told, "final": [(f.severity, f.id) for f in judged.final]}


if __name__ == "__main__":
    main()
