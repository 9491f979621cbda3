"""What the YOLO reader tells about label files as a whole: missing, left over, shared, unreadable, in another unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from ...findings import Finding
from ..raw import MOST_ROWS, ROWS_NAMED
from ..row_findings import refused_classes
from .yolo_files import Pairs
from .yolo_rows import unknown_name

CLASS_PROBLEMS = ("labels.class_out_of_range", "labels.class_unknown")


def label_findings(table: pl.DataFrame, unlabelled: float, looked_in: str) -> list[Finding]:
    """Return what is to be said of pictures without label file and of label files that could not be read.

    Args:
        table: one row per picture and split: `path`, `split`, `label` (or null), `problem` of that file (or null).
        unlabelled: largest share of a split that may be without labels; setting `data.unlabelled`.
        looked_in: folders where a missing label file would have been found.
    """
    findings = []
    without = table.filter(pl.col("label").is_null())
    if without.height:
        message = f"{without.height} of {table.height} pictures have no label file and count as empty"
        advice = "put an empty .txt file beside pictures that are meant to be empty; label the others"
        evidence = _named("pictures", without["path"].to_list())
        findings.append(Finding("labels.no_file", "warning", message, evidence, advice))
    broken = table.filter(pl.col("problem").is_not_null()).unique("label", maintain_order=True)
    if broken.height:
        first = f"{broken['label'][0]}: {broken['problem'][0]}"
        message = (
            f"{broken.height} label files cannot be read and were left out with their pictures ({first}); how many "
            "rows they have is not known, they are in no count"
        )
        advice = "export or mend them again"
        evidence = _named("files", broken["label"].to_list())
        findings.append(Finding("labels.file_broken", "warning", message, evidence, advice))
    bare = pl.col("label").is_null() | pl.col("problem").is_not_null()
    shares = table.group_by("split", maintain_order=True).agg(
        share=bare.mean(), count=pl.len(), pictures=pl.col("path").filter(bare)
    )
    for split, share, count, pictures in shares.filter(pl.col("share") > unlabelled).iter_rows():
        message = (
            f"{share:.0%} of the {count} pictures of '{split}' have no label file that can be read, more than the "
            f"{unlabelled:.0%} that data.unlabelled allows; looked in {looked_in}"
        )
        advice = "put the label files there; data.unlabelled=1 if these pictures are meant to be empty"
        evidence = {**_named("pictures", pictures), "split": split, "share": share}
        findings.append(Finding("labels.no_file", "error", message, evidence, advice))
    return findings


def pairing_findings(pairs: Pairs, relative: Callable[[str], str]) -> list[Finding]:
    """Return what is to be said of the way in which pictures and label files were paired."""
    findings = []
    if pairs.shared:
        named = [f"{relative(label)} (of {' and '.join(map(relative, owners))})" for label, owners in pairs.shared]
        message = f"{len(named)} label files stand for two pictures each: {named[0]}"
        advice = "rename one of the two pictures, and give it a label file of its own"
        findings.append(Finding("labels.shared_file", "error", message, _named("files", named), advice))
    if pairs.by_case:
        named = [f"{relative(picture)} has {relative(label)}" for picture, label in pairs.by_case]
        message = f"{len(named)} label files were found although their names differ in upper and lower case: {named[0]}"
        advice = "rename them: other programs take these pictures for empty ones"
        findings.append(Finding("labels.name_case", "warning", message, _named("files", named), advice))
    if pairs.by_link:
        named = [f"{relative(picture)} has {relative(label)}" for picture, label in pairs.by_link]
        message = f"{len(named)} label files were found where the picture's link leads to: {named[0]}"
        advice = "other programs take these pictures for empty ones; `tuneup import` writes a set with plain names"
        findings.append(Finding("labels.linked_name", "warning", message, _named("files", named), advice))
    if pairs.orphans:
        named = [relative(path) for path in pairs.orphans]
        message = f"{len(named)} label files belong to no picture; their rows were not read"
        advice = "look for the missing pictures, or remove the files"
        findings.append(Finding("labels.no_picture", "warning", message, _named("files", named), advice))
    return findings


def row_errors(rejected: pl.DataFrame, rows_read: int) -> list[Finding]:
    """Return errors where at least half of all rows are no boxes in the same way: then it is the form of the files.

    Args:
        rejected: columns of `LEDGER_SCHEMA`.
        rows_read: number of all rows.
    """
    kinds = {
        "labels.looks_like_pixels": (
            "hold numbers far above 1 where fractions of the picture belong: these label files look like pixels",
            "data.coordinates=pixels reads them as class, centre x, centre y, width and height in pixels",
        ),
        "labels.not_parsed": (
            "cannot be read as a box: these label files are of another form",
            "a row should be: class number, centre x, centre y, width, height, with blanks between them, all but the "
            "class in fractions of the picture's size; export them as YOLO detection again",
        ),
    }
    findings = []
    for key, (words, advice) in kinds.items():
        rows = rejected.filter(pl.col("id") == key)
        if rows.height and rows.height >= MOST_ROWS * rows_read:
            message = f"{rows.height} of {rows_read} rows {words}, such as '{rows['before'][0][:60]}'"
            evidence = _named("rows", rows["source"].to_list())
            findings.append(Finding(key, "error", message, evidence, advice))
    return findings


def class_errors(rejected: pl.DataFrame, names: Sequence[str], numbers: Sequence[int]) -> list[Finding]:
    """Return errors for rows whose class is none of the list, told as it stands in the files.

    Args:
        rejected: columns of `LEDGER_SCHEMA`.
        names: of the classes.
        numbers: that they have in the files.
    """
    list_of_numbers = ", ".join(map(str, numbers[:ROWS_NAMED])) + (", ..." if len(numbers) > ROWS_NAMED else "")
    list_of_names = ", ".join(names[:ROWS_NAMED]) + (", ..." if len(names) > ROWS_NAMED else "")
    known = {
        "labels.class_out_of_range": f"but names has {list_of_numbers}",
        "labels.class_unknown": f"but names has {list_of_names}",
    }
    findings = []
    for key in CLASS_PROBLEMS:
        rows = rejected.filter(pl.col("id") == key)
        if rows.height:
            named = key == "labels.class_unknown"
            told = [repr(unknown_name(text)) if named else f"{float(text.split()[0]):g}" for text in rows["before"]]
            table = rows.select(pl.Series("class", told, pl.String), "source")
            advice = "add the missing names to the list, or mend these rows"
            findings.append(refused_classes(key, table, known[key], advice))
    return findings


def _named(kind: str, names: Sequence[str]) -> dict[str, object]:
    return {"count": len(names), kind: list(names[:ROWS_NAMED])}
