"""What the ledger of the intake amounts to: one finding for each kind of thing that happened to rows."""

from __future__ import annotations

import polars as pl

from ..findings import Finding, Severity
from .raw import ROWS_NAMED

_WARNING: Severity = "warning"
_INFO: Severity = "info"
# id: severity, what happened, what to do. Info: the row means the same afterwards.
_WORDS: dict[str, tuple[Severity, str, str]] = {
    "labels.outside_clipped": (
        _WARNING,
        "boxes stood out of their picture and were clipped to it",
        "check the tool that exported them",
    ),
    "labels.outside": (
        _WARNING,
        "boxes lie outside their picture and were left out",
        "check that labels and pictures belong together",
    ),
    "labels.no_size": (
        _WARNING,
        "boxes have no width or no height and were left out",
        "draw them again if an object is there",
    ),
    "labels.not_finite": (_WARNING, "boxes hold a number that is not finite and were left out", "draw them again"),
    "labels.duplicate": (_WARNING, "boxes repeat another box exactly and were left out", ""),
    "labels.looks_like_pixels": (
        _WARNING,
        "rows hold numbers far above 1 where fractions of the picture belong, and were left out",
        "data.coordinates=pixels if all label files of this set are in pixels; else draw these boxes again",
    ),
    "labels.not_parsed": (_WARNING, "rows could not be read as a box and were left out", "mend them by hand"),
    "labels.not_rectangle": (
        _WARNING,
        "rows are points, lines or the like, which have no box, and were left out",
        "draw boxes if they mark objects",
    ),
    "labels.header": (_INFO, "rows are headings, not boxes", ""),
    "labels.picture_unusable": (_WARNING, "rows belong to pictures that cannot be used", "see the pictures' findings"),
    "labels.class_left_out": (_INFO, "boxes are of classes that data.remap or data.keep leaves out", ""),
    "labels.polygon": (_INFO, "outlines became the boxes around them", ""),
    "labels.confidence_column": (
        _WARNING,
        "rows have a sixth number, which was taken for a confidence and left out",
        "if these are predictions, check them before training on them",
    ),
    "labels.keypoints": (_INFO, "rows have keypoints behind the box, which were left out", ""),
    "labels.separator": (_INFO, "rows have commas, semicolons or tabs between their numbers; they were read so", ""),
    "labels.decimal_comma": (_INFO, "rows have decimal commas; they were read as points", ""),
    "labels.class_name": (_INFO, "rows name their class instead of its number; the name was looked up", ""),
    "labels.swapped_corners": (_INFO, "boxes have their corners in another order; they were sorted", ""),
    "labels.turned": (_INFO, "boxes were turned with their pictures", ""),
}


def row_findings(ledger: pl.DataFrame) -> list[Finding]:
    """Return one finding for each id of the ledger but those of refused classes, most rows first."""
    rows = ledger.filter(pl.col("action") != "refused").with_columns(pl.col("id").str.split(" ")).explode("id")
    counts = rows.group_by("id", maintain_order=True).agg(count=pl.len(), rows=pl.col("source").head(ROWS_NAMED))
    findings = []
    for key, count, named in counts.sort("count", descending=True, maintain_order=True).iter_rows():
        severity, words, advice = _WORDS[key]
        findings.append(Finding(key, severity, f"{count} {words}", {"count": count, "rows": list(named)}, advice))
    return findings


def class_findings(refused: pl.DataFrame, names: tuple[str, ...]) -> list[Finding]:
    """Return an error for rows whose class number does not exist.

    Args:
        refused: `class_id` and `source` of the rows.
        names: the classes that there are.
    """
    if refused.is_empty():
        return []
    known = f"names has {len(names)} (0 to {len(names) - 1})" if len(names) > 1 else f"names has {len(names)} (0)"
    ordered = refused.sort("class_id", maintain_order=True)
    classes = ordered.select(pl.Series("class", [f"{value:g}" for value in ordered["class_id"]], pl.String), "source")
    whole = pl.col("class_id").is_finite() & (pl.col("class_id") == pl.col("class_id").floor())
    if refused.filter(whole).is_empty():
        words = f"class numbers are whole numbers, and {known}"
        return [refused_classes("labels.class_not_whole", classes, words, "mend these rows")]
    advice = "add the missing names in their order, or mend these rows"
    if refused["class_id"].unique().to_list() == [len(names)]:
        advice += "; data.first_class=1 if the files count classes from 1"
    return [refused_classes("labels.class_out_of_range", classes, f"but {known}", advice)]


def refused_classes(id: str, rows: pl.DataFrame, known: str, advice: str) -> Finding:
    """Return an error that says which classes do not exist, in how many rows of how many files.

    Args:
        id: of the finding.
        rows: `class` as it stands in the files and `source`, one row each.
        known: what classes there are, as the end of the sentence.
        advice: what to do.
    """
    file = pl.col("source").str.replace(r":[^:]*$", "")
    by_class = rows.group_by("class", maintain_order=True).agg(rows=pl.len(), files=file.n_unique())
    listed = ", ".join(
        f"class {name} in {count} row{'s' if count > 1 else ''} of {files} file{'s' if files > 1 else ''}"
        for name, count, files in by_class.head(ROWS_NAMED).iter_rows()
    )
    evidence = {
        "count": rows.height,
        "rows": rows["source"].head(ROWS_NAMED).to_list(),
        "classes": by_class["class"].head(ROWS_NAMED).to_list(),
    }
    return Finding(id, "error", f"{listed}, {known}", evidence, advice)
