"""The intake's look at pictures: which ones can be used, how large they are, and which way up their labels stand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ..errors import DataError
from ..findings import Finding, Severity
from .dataset import IMAGES_SCHEMA, SPLITS
from .images import listed
from .picture_headers import picture_headers
from .raw import ROWS_NAMED
from .value_range import sampled_range

MOST_UNREADABLE = 0.5  # of a split: from here on it is not single files that are broken, but the copy of the data
QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


@dataclass(frozen=True)
class PictureTable:
    """The pictures of a source.

    Args:
        images: columns of `IMAGES_SCHEMA` and `orientation`: the EXIF value by which boxes have to be turned, else 1;
            one row for each picture that can be used, in the order of their paths.
        headers: `path`, `split` and the columns of `picture_headers`, for every picture of the source.
        value_range: as `Dataset` has it.
        findings: what a person should know.
    """

    images: pl.DataFrame
    headers: pl.DataFrame
    value_range: tuple[float, float] | None
    findings: tuple[Finding, ...]


def take_pictures(root: Path, listed_images: pl.DataFrame) -> PictureTable:
    """Look at every picture's header, and leave out those that cannot be read.

    Args:
        root: folder that paths are relative to.
        listed_images: columns of `RAW_IMAGES_SCHEMA`.

    Raises:
        DataError: not a single picture can be read.
    """
    once, double_findings = _once_each(listed_images)
    headers = pl.concat(
        [
            once.rename({"width": "stated_width", "height": "stated_height"}),
            picture_headers([root / path for path in once["path"]]).drop("path", strict=False),
        ],
        how="horizontal",
    )
    usable = headers.filter(pl.col("problem").is_null())
    if usable.is_empty():
        problems = [f"{root / path}: {detail}" for path, detail in headers.select("path", "detail").iter_rows()]
        raise DataError(listed(f"none of the {headers.height} pictures can be read", problems))
    usable, turn_findings = _turned(usable)
    images = usable.with_row_index("image_id", offset=1).with_columns(group=pl.lit(None, pl.String))
    table = images.select(*(pl.col(name).cast(dtype) for name, dtype in IMAGES_SCHEMA.items()), "orientation")
    value_range, deep_findings = _depth(root, usable)
    findings = (*double_findings, *_unreadable(headers), *turn_findings, *deep_findings)
    return PictureTable(table, headers, value_range, findings)


def _once_each(images: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Keep every picture once: in test before val before train, so that the score cannot flatter."""
    rank = pl.col("split").replace_strict({s: i for i, s in enumerate(SPLITS)}, default=-1, return_dtype=pl.Int8)
    ordered = images.with_columns(rank=rank).sort(["path", "rank"], descending=[False, True], maintain_order=True)
    twice = ordered.filter(pl.col("path").is_duplicated())
    once = ordered.unique("path", keep="first", maintain_order=True).drop("rank")
    if twice.is_empty():
        return once, []
    spread = twice.group_by("path", maintain_order=True).agg(pl.col("split").n_unique())
    across = spread.filter(pl.col("split") > 1)["path"]
    same = spread.filter(pl.col("split") == 1)["path"]
    findings = []
    if across.len():
        message = f"{across.len()} of {once.height} pictures stand in two splits; a score on them would flatter"
        advice = "list each picture in one split only; the same folder given as train and val counts as well"
        findings.append(Finding("images.two_splits", "error", message, _named(across), advice))
    if same.len():
        message = f"{_pictures(same.len())}: listed more than once in a split; taken once"
        findings.append(Finding("images.listed_twice", "warning", message, _named(same), "remove the second entry"))
    return once, findings


def _turned(usable: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Find out which way up the labels of EXIF-turned pictures stand, by the sizes that their label files state."""
    width, height = pl.col("width"), pl.col("height")
    stated = (pl.col("stated_width"), pl.col("stated_height"))
    as_read = (stated[0] == width) & (stated[1] == height)
    quarter = pl.col("orientation").is_in(QUARTER_TURNS) & (width != height)
    as_stored = quarter & (stated[0] == pl.col("stored_width")) & (stated[1] == pl.col("stored_height"))
    table = usable.with_columns(
        as_stored=as_stored.fill_null(False),
        differs=(~as_read & ~as_stored).fill_null(False),
        unknown=(pl.col("orientation") != 1) & ~(quarter & as_read).fill_null(False) & ~as_stored.fill_null(False),
    )
    findings = []
    texts: list[tuple[str, str, Severity, str, str]] = [
        (
            "as_stored",
            "images.labelled_unturned",
            "warning",
            "turned by EXIF data, but labelled as stored; the boxes were turned with the picture",
            "look at one of them in the report, to be sure",
        ),
        (
            "differs",
            "images.size_differs",
            "warning",
            "another size than the label file states; the picture's own was used",
            "check that the labels were drawn on these very pictures, and not on resized ones",
        ),
        (
            "unknown",
            "images.turned",
            "warning",
            "turned by EXIF data, and nothing tells whether the labels were drawn so",
            "look at one of them in the report; if its boxes are off, label the turned pictures",
        ),
    ]
    for column, key, severity, words, advice in texts:
        paths = table.filter(pl.col(column))["path"]
        if paths.len():
            findings.append(Finding(key, severity, f"{_pictures(paths.len())}: {words}", _named(paths), advice))
    turn = pl.when("as_stored").then(pl.col("orientation")).otherwise(pl.lit(1)).cast(pl.UInt8)
    return table.with_columns(orientation=turn), findings


_PROBLEM_WORDS = {
    "images.missing": "named by the labels, but not there",
    "images.empty_file": "an empty file",
    "images.not_a_picture": "no picture, whatever the name says",
    "images.truncated": "cut off: the file ends too early",
    "images.too_large": "more pixels than can be decoded",
}
_PROBLEM_ADVICE = {
    "images.too_large": "cut them into smaller pictures before",
    "images.missing": "put them in place, or remove them from the labels",
}


def _unreadable(headers: pl.DataFrame) -> list[Finding]:
    """Say which pictures were left out; an error where it is most of a split."""
    broken = headers.filter(pl.col("problem").is_not_null())
    if broken.is_empty():
        return []
    findings = []
    for key in broken["problem"].unique(maintain_order=True):
        of_kind = broken.filter(pl.col("problem") == key)
        named = [f"{path}: {detail}" for path, detail in of_kind.select("path", "detail").head(ROWS_NAMED).iter_rows()]
        evidence = {"count": of_kind.height, "pictures": of_kind["path"].head(ROWS_NAMED).to_list(), "files": named}
        message = f"{_pictures(of_kind.height)}: {_PROBLEM_WORDS[key]}; left out with all rows"
        findings.append(Finding(key, "warning", message, evidence, _PROBLEM_ADVICE.get(key, "save or copy them again")))
    shares = headers.group_by("split", maintain_order=True).agg(
        share=pl.col("problem").is_not_null().mean(), count=pl.len()
    )
    for split, share, count in shares.filter(pl.col("share") >= MOST_UNREADABLE).iter_rows():
        message = f"{share:.0%} of the {count} pictures of '{split}' cannot be read"
        advice = "copy or unpack the data again"
        findings.append(Finding("images.most_unreadable", "error", message, {"split": split, "share": share}, advice))
    return findings


def _depth(root: Path, usable: pl.DataFrame) -> tuple[tuple[float, float] | None, list[Finding]]:
    """Return the range by which pictures with more than 8 bits are scaled, None where they have none in common.

    Only a sample of them is decoded. One of it that turns out to be damaged is named and stays in the set, as those do
    that are not in the sample: the audit, which decodes all pictures, refuses them.
    """
    deep = usable.filter(pl.col("bits") > 8)
    if deep.is_empty():
        return None, []
    fractions, whole = pl.col("mode") == "F", (pl.col("bits") <= 16) | (pl.col("mode") == "I")
    of_each = [deep.filter(kind)["path"].first() for kind in (whole, fractions)]  # as far as the headers tell
    if None not in of_each:
        return None, [_mixed_depth(deep.height, *map(str, of_each))]
    named = {root / path: path for path in deep["path"]}
    found = sampled_range(list(named))
    findings = []
    if found.unusable:
        paths = [named[path] for path, _ in found.unusable]
        files = [f"{path}: {why}" for path, (_, why) in zip(paths, found.unusable, strict=True)]
        evidence = {"count": len(paths), "pictures": paths[:ROWS_NAMED], "files": files[:ROWS_NAMED]}
        message = (
            f"{len(paths)} pictures with more than 8 bits cannot be decoded, although their headers are sound: "
            "a training would stop at them"
        )
        advice = "copy or save them again, or take them out"
        findings.append(Finding("images.undecodable", "warning", message, evidence, advice))
    if found.whole and found.fractions:
        return None, [*findings, _mixed_depth(deep.height, named[found.whole], named[found.fractions])]
    if found.value_range is None:
        return None, findings
    low, high = found.value_range
    message = (
        f"{deep.height} pictures have more than 8 bits: their values {low:g} to {high:g} become 0 to 255, in all of "
        "them alike"
    )
    advice = "nothing to do: the range is kept with the run and used again in prediction"
    evidence = {**_named(deep["path"]), "range": [low, high]}
    return (low, high), [*findings, Finding("images.deep", "info", message, evidence, advice)]


def _mixed_depth(count: int, whole: str, fractions: str) -> Finding:
    message = (
        f"of {count} pictures with more than 8 bits some hold whole numbers, such as {whole}, and others fractions, "
        f"such as {fractions}: there is no range of values in common by which they could be shown"
    )
    evidence = {"count": count, "pictures": [whole, fractions]}
    return Finding("images.mixed_depth", "error", message, evidence, "save all of them in one form")


def _named(paths: pl.Series) -> dict[str, object]:
    return {"count": paths.len(), "pictures": paths.head(ROWS_NAMED).to_list()}


def _pictures(count: int) -> str:
    return f"{count:,} {'picture' if count == 1 else 'pictures'}"
