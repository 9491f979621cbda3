"""What a person sees in the terminal of evaluations, comparisons and gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

VERDICT_STYLES = {
    "better": "green",
    "worse": "bold red",
    "within noise": "yellow",
    "too few boxes": "dim",
    "not measured": "dim",
}


def evaluation_words(metrics: Mapping[str, Any]) -> str:
    """Return one split's figures with their intervals, and how far they can be trusted."""
    intervals = metrics.get("intervals") or {}
    values = [
        f"mAP50-95 {_score(metrics['map50_95'], intervals.get('map50_95'))}",
        f"mAP50 {_score(metrics['map50'], intervals.get('map50'))}",
    ]
    size = f"on {metrics['images']} pictures, {metrics['boxes']} boxes"
    return f"{'  '.join(values)}  {size}; {trust_words(metrics)}"


def trust_words(metrics: Mapping[str, Any]) -> str:
    """Return what the split had to do with the weights, and by how much that flatters."""
    if metrics.get("trained_on"):
        return "the network was trained on these pictures: no measure of quality"
    if metrics["chose_checkpoint"]:
        optimism = metrics.get("optimism")
        about = (
            f" by about {100 * optimism['map50_95']:.1f} points" if optimism and optimism["map50_95"] > 0.0005 else ""
        )
        return f"this split chose the weights, so the figure flatters{about}"
    if metrics["chose_checkpoint"] is None:
        return "whether these pictures chose or trained the weights is not known"
    return "this split did not choose the weights"


def _score(value: float | None, interval: Mapping[str, float] | None) -> str:
    if value is None:
        return "none (no boxes)"
    return f"[bold]{value:.3f}[/]{_range(interval)}"


def _range(interval: Mapping[str, float] | None) -> str:
    # The bracket is escaped: rich would read it as a style.
    return f" \\[{interval['low']:.3f}, {interval['high']:.3f}]" if interval else ""


def print_evaluation(console: Console, metrics: Mapping[str, Any]) -> None:
    """Print one split's figures with a row per class, and what they rest on."""
    table = Table("class", "pictures", "boxes", "AP50-95", "95 % interval", "AP50", "AP75", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in metrics["per_class"]:
        scores = ["-" if row[key] is None else f"{row[key]:.3f}" for key in ("ap50_95", "ap50", "ap75")]
        interval = _range(row["intervals"]["ap50_95"]).strip() or "-"
        table.add_row(escape(row["name"]), str(row["images"]), str(row["boxes"]), scores[0], interval, *scores[1:])
    console.print(f"[bold]{metrics['split']}[/]  {evaluation_words(metrics)}", highlight=False, soft_wrap=True)
    console.print(table)
    for row in metrics["per_class"]:
        if row["note"]:
            console.print(f"  [yellow]few boxes[/] {escape(row['note'])}", highlight=False)
    for head, text in insights(metrics):
        console.print(f"[bold]{head:<12}[/]{escape(text)}", highlight=False, soft_wrap=True)
    console.print(f"[dim]{escape(footing(metrics))}[/]", highlight=False, soft_wrap=True)


_SHOWN_ERRORS = 2  # types of errors that are named: the costliest ones
_SHOWN_COST = 0.0005  # a smaller one is 0.0 points as shown


def insights(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (heading, sentence) about what the figures are made of: errors, thresholds, counts, Ultralytics' own."""
    rows = [("Costs most", text) for text in _costly(metrics.get("errors") or [])]
    point = metrics.get("operating_point")
    if point:
        rows += _inspection(point)
    if metrics.get("operating_point_note"):
        rows.append(("", metrics["operating_point_note"]))
    uses = metrics.get("uses")
    if uses:
        rows.append(("Used", f"{uses['times']} times so far, for {uses['different_weights']} different weights"))
    alone = metrics.get("latency_one_by_one")
    if alone:
        total = alone["stages"]["total"]
        rows.append(
            (
                "Latency",
                f"{total['median']:.1f} ms a picture (95 %: {total['p95']:.1f}) one by one on {alone['device']}",
            )
        )
    mae = ((metrics.get("counting") or {}).get("total") or {}).get("mae")
    if mae:
        bias = metrics["counting"]["total"]["bias"]
        rows.append(("Counts", f"off by {mae['value']:.2f} a picture on average, bias {bias['value']:+.2f}"))
    if metrics.get("ultralytics"):
        rows.append(("By the way", metrics["ultralytics"]["map50_95"]["words"]))
    return rows


def _inspection(point: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the thresholds are, what they do, and what to keep in mind about them."""
    figures = (point["check"] or point)["figures"]
    found = [f"{name} {_rate(figures[name])}" for name in ("escape", "overkill") if figures[name]["value"] is not None]
    rows = [("Inspection", "; ".join(found) or "nothing to measure")]
    rows.append(("", f"{threshold_words(point)}, chosen on {point['split']} by {point['rule']['text']}"))
    if point["promised"] is False:
        rows.append(("", f"{point['split']} is too small to promise it"))
    notes = [*point["notes"], *figures["notes"], *(point["check"] or {}).get("sentences", ())]
    return rows + [("", sentence) for sentence in dict.fromkeys(notes)]


_SHOWN_THRESHOLDS = 8


def threshold_words(point: Mapping[str, Any]) -> str:
    """Return the thresholds that are used: one for all classes, or those of each."""
    if not point["own"]:
        return f"threshold {point['overall']:.3g}"
    named = [f"{name} {value:.3g}" for name, value in point["thresholds"].items()]
    rest = f" and {len(named) - _SHOWN_THRESHOLDS} more" if len(named) > _SHOWN_THRESHOLDS else ""
    return f"thresholds {', '.join(named[:_SHOWN_THRESHOLDS])}{rest}"


def _costly(errors: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each of the costliest types of error, without those that cost nothing beyond chance."""
    types = [row for row in errors if row["remedy"] and (row["cost"]["low"] or 0) > 0]
    types = [row for row in types if row["cost"]["value"] >= _SHOWN_COST]
    types.sort(key=lambda row: -row["cost"]["value"])
    return [
        f"{row['type']}: {100 * row['cost']['value']:.1f} points of AP50 "
        f"[{100 * row['cost']['low']:.1f}, {100 * row['cost']['high']:.1f}]; {row['remedy']}"
        for row in types[:_SHOWN_ERRORS]
    ]


def _rate(rate: Mapping[str, Any]) -> str:
    low, high = rate["low"], rate["high"]
    return f"{100 * rate['value']:.1f} % [{100 * low:.1f}, {100 * high:.1f}], {rate['events']} of {rate['trials']}"


def footing(metrics: Mapping[str, Any]) -> str:
    """Return the definition, the settings and what was resampled, as one line."""
    settings = ", ".join(
        f"{key} {value}" for key, value in (metrics.get("settings") or {}).items() if value not in (None, False)
    )
    drawn = metrics["resampling"]
    speed = f"{metrics['ms_per_image']:.1f} ms per picture" if metrics.get("ms_per_image") is not None else ""
    parts = (
        f"definition {metrics['definition']}",
        settings,
        speed,
        f"95 % intervals from {drawn['resamples']} resamples of {drawn['units']} {drawn['unit']}s",
    )
    return "; ".join(part for part in parts if part)


def print_comparison(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print how the second detector compares with the first, overall and by class."""
    style = VERDICT_STYLES[comparison["verdict"]]
    console.print(f"[{style}]{escape(comparison['words'])}[/]", highlight=False, soft_wrap=True)
    table = Table(
        "", "boxes", comparison["first"], comparison["second"], "difference, points", "95 % interval", "verdict",
        box=None, pad_edge=False,
    )  # fmt: skip
    for column in table.columns[1:-1]:
        column.justify = "right"
    for row in (*comparison["overall"], *comparison["per_class"]):
        table.add_row(*_comparison_cells(row))
    console.print(table)
    console.print(
        f"[dim]paired resamples of {comparison['units']} {comparison['unit']}s; a class is called better or worse only "
        "beyond the bound of all classes together[/]",
        highlight=False,
        soft_wrap=True,
    )


def _comparison_cells(row: Mapping[str, Any]) -> list[str]:
    values = ["-" if row[key] is None else f"{row[key]:.3f}" for key in ("first", "second")]
    difference, style = row["difference"], VERDICT_STYLES[row["verdict"]]
    cells = ["-", "-"]
    if difference is not None:
        low, high = 100 * difference["low"], 100 * difference["high"]
        cells = [f"{100 * difference['value']:+.1f}", f"\\[{low:+.1f}, {high:+.1f}]"]
    return [escape(row["name"]), str(row["boxes"]), *values, *cells, f"[{style}]{row['verdict']}[/]"]


def print_gate(console: Console, gate: Mapping[str, Any]) -> None:
    """Print whether the gate is open, and why."""
    style = "green" if gate["passed"] else "bold red"
    console.print(f"[{style}]{escape(gate['words'])}[/]", highlight=False, soft_wrap=True)


_SHOWN_SUSPECTS = 20


def print_suspects(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the labels that are most likely wrong."""
    if not rows:
        console.print("[green]no label is suspected[/]", highlight=False)
        return
    table = Table("suspicion", "kind", "picture", "why", "label", box=None, pad_edge=False)
    for row in rows[:_SHOWN_SUSPECTS]:
        cells = (row["kind"], row["path"], row["why"], row["source"] or "")
        table.add_row(f"{row['suspicion']:.2f}", *(escape(text) for text in cells))
    console.print(table)
    rest = len(rows) - _SHOWN_SUSPECTS
    more = f"{rest} more; all of them with --json, --cvat FILE or --label-studio FILE. " if rest > 0 else ""
    console.print(f"[dim]{more}A suspicion is no proof: look at them.[/]", highlight=False)


_SHOWN_PICTURES = 20


def print_predictions(console: Console, document: Mapping[str, Any]) -> None:
    """Print how many objects of each class were found in each picture, and what was written."""
    pictures = document["pictures"]
    for picture in pictures[:_SHOWN_PICTURES]:
        counts = Counter(found["class"] for found in picture["detections"])
        words = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
        console.print(f"{escape(picture['name'])}: {escape(words)}", highlight=False, soft_wrap=True)
    total = sum(len(picture["detections"]) for picture in pictures)
    rest = f", {len(pictures) - _SHOWN_PICTURES} of them not shown" if len(pictures) > _SHOWN_PICTURES else ""
    console.print(f"[bold]{total}[/] objects in {len(pictures)} pictures{rest}", highlight=False)
    thresholds = ", ".join(f"{name} {value:.3g}" for name, value in document["thresholds"].items())
    spent = ", ".join(f"{stage} {times['median']:.1f}" for stage, times in document["latency"].items())
    console.print(f"[dim]{escape(document['thresholds_from'])}[/]", highlight=False, soft_wrap=True)
    console.print(
        f"[dim]thresholds: {escape(thresholds)}; median ms per picture: {spent}[/]", highlight=False, soft_wrap=True
    )
    for path in document["written"]:
        console.print(f"written: {escape(path)}", highlight=False, soft_wrap=True)
