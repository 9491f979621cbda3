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
from catalogue import CELLS, cases
from judge import BEFORE, Judged, audit_ids, judge, names_cause, was_interrupted
from rivals import RIVALS
from scipy.stats import binomtest

FEW = 8  # trainings that are judged sooner than other processes have begun
JUST_FINITE = ("nan_pictures", "inf_gradient", "overflow", "fp16_overflow")


def judge_all(folder: Path) -> list[Judged]:
    """Judge every kept training of a part of the benchmark, and say which are not there."""
    kept = [case for case in cases(folder.name) if (folder / case.name / "records.parquet").is_file()]
    if kept:
        _say_missing([case for case in cases(folder.name) if case not in kept])
    cut = [case for case in kept if was_interrupted(folder / case.name)]
    for case in cut:
        print(f"{folder / case.name}: left out, it was interrupted; delete it and train it again", file=sys.stderr)
    kept = [case for case in kept if case not in cut]
    told = _told_of_data(kept, folder)
    names = [case.name for case in kept]
    of_data = [told.get(case.cell.data, frozenset()) if case.fault else frozenset() for case in kept]
    parts = [folder] * len(kept)
    if len(kept) < FEW:
        return list(map(judge, names, parts, of_data))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return list(pool.map(judge, names, parts, of_data))


def _say_missing(missing: list[Case]) -> None:
    """Say which trainings are in no figure: on a CPU those that need a GPU, and what was not trained yet."""
    for words, needs_gpu in (("need a GPU", True), ("were not trained", False)):
        found = [case.name for case in missing if bool(case.fault and case.fault.needs_gpu) is needs_gpu]
        if found:
            print(
                f"{len(found)} trainings are not kept and in no figure, they {words}: {', '.join(found)}",
                file=sys.stderr,
            )


def _told_of_data(kept: list[Case], folder: Path) -> dict[str, frozenset[str]]:
    """Return what the audit says of each data set when nothing was done to it, and no setting was turned."""
    told: dict[str, set[str]] = {}
    for case in kept:
        if case.fault is None and case.variant.change is None and not case.variant.settings:
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
    return judged.first_right() is not None


def is_named(judged: Judged, *, without_data: bool = True) -> bool:
    """Whether the first of all warnings and errors names the cause; see `Judged.first_told`."""
    return names_cause(_fault(judged), judged.first_told(without_data=without_data))


def delay(judged: Judged) -> int | None:
    """Return the steps from onset to the first right finding of a training that had begun; None without one."""
    found = judged.first_right()
    return None if found in (None, BEFORE) or judged.onset is None else max(found - judged.onset, 0)


def _fault(judged: Judged) -> Fault:
    assert judged.case.fault is not None
    return judged.case.fault


def print_summary(broken: list[Judged], healthy: list[Judged]) -> None:
    """Print the figures that the benchmark is about."""
    delays = [d for j in broken if (d := delay(j)) is not None]
    numbers = [j for j in broken if _fault(j).name in JUST_FINITE]
    acted = [j for j in numbers if j.onset is not None]
    all_ = [*broken, *healthy]
    rows = [
        ("detected: a right warning or error before the end", _share(is_detected(j) for j in broken)),
        ("named: the right cause first", _share(is_named(j) for j in broken)),
        (
            "named, what is true of the unspoilt data set counted as well",
            _share(is_named(j, without_data=False) for j in broken),
        ),
        ("told before the first step", _share(j.first_right() == BEFORE for j in broken)),
        ("seen by the curves alone", _share(j.first_right(live_alone=True) is not None for j in broken)),
        ("steps from onset to the first right finding, where it was not told before", _median(delays)),
        (
            "not finite: refused before the first step, or its first step not taken",
            _share(j.refused or j.stopped_in_step for j in acted),
        ),
        (
            "not finite: its first step not taken, with the checks before left out",
            _share(j.stopped_in_step for j in acted),
        ),
        ("weights finite at the end, not finite", _share(j.finite for j in acted)),
        ("weights finite at the end, all trainings", _share(j.finite for j in all_)),
        ("checkpoints finite, all trainings", _share(j.kept_finite for j in all_)),
        ("healthy trainings with an error", _share(_has(j, "error") for j in healthy)),
        ("healthy trainings with any warning", _share(bool(j.told) for j in healthy)),
        (
            "healthy trainings with a warning of their curves",
            _share(any(s >= 0 for s, _ in j.told.values()) for j in healthy),
        ),
        ("healthy trainings with a warning of the checks before", _share(bool(j.before) for j in healthy)),
    ]
    print_table(("", ""), rows)


def _share(flags: Iterable[bool]) -> str:
    values = list(flags)
    return share(sum(values), len(values))


def _median(values: list[int]) -> str:
    return f"{statistics.median(values):.0f} (median of {len(values)})" if values else "none"


def _has(judged: Judged, severity: str) -> bool:
    return any(f.severity == severity for f in [*(f for _, f in judged.told.values()), *judged.final])


def print_by_fault(broken: list[Judged]) -> None:
    """Print one row per fault."""
    rows = []
    for name in dict.fromkeys(_fault(j).name for j in broken):
        runs = [j for j in broken if _fault(j).name == name]
        firsts = [first.id if (first := j.first_told(without_data=True)) else "nothing" for j in runs]
        said = ", ".join(f"{i} {firsts.count(i)}" for i in dict.fromkeys(firsts))
        live = sum(j.first_right(live_alone=True) is not None for j in runs)
        early = sum(j.first_right() == BEFORE for j in runs)
        delays = [d for j in runs if (d := delay(j)) is not None]
        counts = (
            _with_interval(sum(map(is_detected, runs)), len(runs)),
            _with_interval(sum(map(is_named, runs)), len(runs)),
        )
        rows.append((name, _fault(runs[0]).cause, *counts, f"{live}/{len(runs)}", str(early), _median(delays), said))
    head = (
        "fault",
        "what it is",
        "detected",
        "named",
        "by the curves alone",
        "told before",
        "else steps after",
        "first",
    )
    print_table(head, rows)


def _with_interval(hits: int, of: int) -> str:
    low, high = binomtest(hits, of).proportion_ci(method="exact")
    return f"{hits}/{of} ({low * 100:.0f} to {high * 100:.0f} %)"


# ---- healthy trainings, other tools ----------------------------------------------------------------------------------


def print_false_alarms(healthy: list[Judged]) -> None:
    """Print what warnings and errors were told of healthy trainings, those of the curves one by one."""
    told = [(judged, step, finding) for judged in healthy for step, finding in judged.told.values()]
    early = [(judged, finding) for judged, step, finding in told if step == BEFORE]
    rows = []
    for name in dict.fromkeys(finding.id for _, finding in early):
        found = [finding for _, finding in early if finding.id == name]
        rows.append((found[0].severity, name, str(len(found)), found[0].message))
    print_table(("severity", "finding of the checks before", "trainings", "words of the first"), rows)
    late = [
        (judged.case.name, f.severity, f.id, f"step {step}", f.message) for judged, step, f in told if step != BEFORE
    ]
    head = ("training", "severity", "finding of the curves", "told", "words")
    print_table(head, late or [("none", "", "", "", "")])


def print_rivals(broken: list[Judged], healthy: list[Judged]) -> None:
    """Print the same figures for the rules of other tools, on the same trainings.

    A fault without a kind that their rules know (`Fault.kinds`) is left out.
    """
    trained = [j for j in broken if j.alarms and _fault(j).kinds]
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
    parser.add_argument("folder", type=Path, help=f"OUT/PART, PART one of {', '.join(CELLS)}")
    parser.add_argument("--misses", action="store_true", help="say what was found where the cause was not named")
    parser.add_argument("--json", type=Path, help="write a line per training there")
    options = parser.parse_args()
    started = time.perf_counter()
    if options.folder.absolute().name not in CELLS:
        sys.exit(f"{options.folder}: is no part of the benchmark; name OUT/PART, PART one of {', '.join(CELLS)}")
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
    versions = ", ".join(sorted({j.version or "not recorded" for j in judged}))
    took = time.perf_counter() - started
    print(f"{len(judged)} trainings ({hours:.1f} h; versions: {versions}) judged in {took:.1f} s", file=sys.stderr)


def _line(judged: Judged) -> dict[str, object]:
    told = [(step, f.severity, f.id) for step, f in judged.told.values()]
    return {
        "case": judged.case.name,
        "version": judged.version,
        "told": told,
        "final": [(f.severity, f.id) for f in judged.final],
        "of_data": sorted(judged.of_data),
    }


if __name__ == "__main__":
    main()
