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
        "the box stands out of its picture; it was clipped",
        "check the tool that exported them",
    ),
    "labels.outside": (
        _WARNING,
        "the box lies outside its picture; left out",
        "check that labels and pictures belong together",
    ),
    "labels.no_size": (
        _WARNING,
        "the box has no width or no height; left out",
        "draw them again if an object is there",
    ),
    "labels.not_finite": (_WARNING, "a number is not finite; left out", "draw them again"),
    "labels.duplicate": (_WARNING, "the very same box again; left out", ""),
    "labels.looks_like_pixels": (
        _WARNING,
        "numbers far above 1 where fractions of the picture belong; left out",
        "data.coordinates=pixels if all label files of this set are in pixels; else draw these boxes again",
    ),
    "labels.not_parsed": (_WARNING, "cannot be read as a box; left out", "mend them by hand"),
    "labels.not_rectangle": (
        _WARNING,
        "a point, a line or the like, which has no box; left out",
        "draw boxes if they mark objects",
    ),
    "labels.header": (_INFO, "a heading, no box", ""),
    "labels.picture_unusable": (
        _WARNING,
        "the picture cannot be used; left out with it",
        "see what is said of the pictures",
    ),
    "labels.class_left_out": (_INFO, "of a class that data.remap or data.keep leaves out", ""),
    "labels.polygon": (_INFO, "an outline; the box around it was taken", ""),
    "labels.confidence_column": (
        _WARNING,
        "a sixth number, taken for a confidence and left out",
        "if these are predictions, check them before training on them",
    ),
    "labels.keypoints": (_INFO, "keypoints behind the box, left out", ""),
    "labels.separator": (_INFO, "commas, semicolons or tabs between the numbers; read so", ""),
    "labels.decimal_comma": (_INFO, "decimal commas, read as points", ""),
    "labels.class_name": (_INFO, "the name of the class instead of its number; looked up", ""),
    "labels.swapped_corners": (_INFO, "corners in another order; sorted", ""),
    "labels.turned": (_INFO, "the box was turned with its picture", ""),
}


def row_findings(ledger: pl.DataFrame) -> list[Finding]:
    """Return one finding for each id of the ledger but those of refused classes, most rows first."""
    rows = ledger.filter(pl.col("action") != "refused").with_columns(pl.col("id").str.split(" ")).explode("id")
    counts = rows.group_by("id", maintain_order=True).agg(count=pl.len(), rows=pl.col("source").head(ROWS_NAMED))
    findings = []
    for key, count, named in counts.sort("count", descending=True, maintain_order=True).iter_rows():
        severity, words, advice = _WORDS[key]
        message = f"{count:,} label {'row' if count == 1 else 'rows'}: {words}"
        findings.append(Finding(key, severity, message, {"count": count, "rows": list(named)}, advice))
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
