"""Rows of YOLO label files: `class cx cy w h`, and what tools and people write in their place.

Whole files go through columns. A row of plain numbers is told by its number of columns; only a row with something else
in it (a comma, a class name) is looked at by itself, and is mended into plain numbers if it can be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ..raw import RAW_BOXES_SCHEMA

# A fraction can overhang its picture a little; twice its size is no fraction any more.
LARGEST_FRACTION = 2.0
_CORNERS = ("x1", "y1", "x2", "y2")
PARSED_SCHEMA: dict[str, Any] = {
    "file": pl.UInt32,  # index into the files
    "line": pl.UInt32,  # from 1
    "id": pl.String,  # why the row is no box, or null
    **{name: RAW_BOXES_SCHEMA[name] for name in ("class_id", *_CORNERS, "notes", "text")},
}
_BOX_NUMBERS = 4
_HEADER_COLUMNS = 4  # at least: a header names the four numbers of a box
_TEXT_KEPT = 200  # characters of a row that are kept for the ledger; a polygon may have thousands

# What polars takes for a number, and no more; no two ways to match, or a long row of digits would take minutes.
_NUMBER = re.compile(r"[-+]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]+)?|nan|inf(?:inity)?)", re.IGNORECASE)
_COMMA_AND_BLANK = re.compile(r" , ?|, ")
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]+(?:,[0-9]+)?")
_COMMAS_OF_BOTH_KINDS = re.compile(r"[0-9]+(?:,[0-9]+){8}")  # five numbers, or a polygon of four points


def parse_rows(texts: Sequence[str], numbers: Mapping[str, int], *, pixels: bool, keypoints: int = 0) -> pl.DataFrame:
    """Parse the rows of many label files.

    Args:
        texts: content of each file, lines ended by newlines.
        numbers: the number that a class has in these files, by its name.
        pixels: the numbers are pixels, so that large ones are in order.
        keypoints: numbers that stand behind those of the box in files of poses (`kpt_shape` of a data.yaml), or 0.

    Returns:
        `PARSED_SCHEMA`, one row per line that holds something, in the order of the files. Class numbers are as read;
        corners are those of the box, or of the box around a polygon, in the unit of the file.
    """
    lines = (
        pl.DataFrame({"text": texts}, schema={"text": pl.String})
        .with_row_index("file")
        .with_columns(pl.col("text").str.split("\n"))
        .with_columns(line=pl.int_ranges(1, pl.col("text").list.len() + 1, dtype=pl.UInt32))
        .explode("text", "line")
        .with_columns(pl.col("text").str.strip_chars())
        .filter(pl.col("text") != "")
        .with_row_index("row")
    )
    parts = lines.select(part=pl.col("text").str.split_exact(" ", 5)).unnest("part")
    values = parts.select(pl.col(f"field_{n}").cast(pl.Float64, strict=False).alias(f"v{n}") for n in range(5))
    plain = values.select(pl.all_horizontal(pl.all().is_not_null())).to_series() & parts["field_5"].is_null()
    found = [_from_centres(lines.hstack(values).filter(plain).with_columns(notes=pl.lit(None, pl.String)))]
    if not plain.all():
        odd = lines.with_columns(first=pl.col("file").is_first_distinct()).filter(~plain)
        found.extend(_of_other_form(odd, numbers, keypoints, pixels=pixels))
    table = pl.concat(found).sort("row") if len(found) > 1 else found[0]
    if not pixels:
        far = pl.col("id").is_null() & pl.col("far")
        table = table.with_columns(id=pl.when(far).then(pl.lit("labels.looks_like_pixels")).otherwise("id"))
    told = pl.col("id").is_not_null() | pl.col("notes").is_not_null()
    text = pl.when(told).then(pl.col("text").str.slice(0, _TEXT_KEPT))
    return table.with_columns(text=text).select(pl.col(name).cast(dtype) for name, dtype in PARSED_SCHEMA.items())


_PARTS = ("row", "file", "line", "text", "notes", "id", "class_id", *_CORNERS, "far")


def _from_centres(rows: pl.DataFrame) -> pl.DataFrame:
    """Turn class, centre and size in the columns v0 to v4 into corners."""
    cx, cy, width, height = (pl.col(f"v{n}") for n in range(1, 5))
    return rows.with_columns(
        id=pl.lit(None, pl.String),
        class_id="v0",
        x1=cx - width / 2,
        y1=cy - height / 2,
        x2=cx + width / 2,
        y2=cy + height / 2,
        far=pl.any_horizontal(v.is_finite() & (v > LARGEST_FRACTION) for v in (cx, cy, width, height)),
    ).select(_PARTS)


def _of_other_form(
    lines: pl.DataFrame, numbers: Mapping[str, int], keypoints: int, *, pixels: bool
) -> list[pl.DataFrame]:
    """Parse rows that are not five numbers with a blank between two of them."""
    tab = pl.when(pl.col("text").str.contains("\t")).then(pl.lit("labels.separator"))
    table = _numbers(lines.with_columns(spaced=pl.col("text").str.replace_all(r"\s+", " "), notes=tab))
    sound = table["values"].list.eval(pl.element().is_null()).list.any().not_()
    found = _by_columns(table.filter(sound), keypoints)
    odd = table.filter(~sound)
    if odd.is_empty():
        return found
    names = _ClassNames(numbers)
    mended = [_mend(text, names, first=first, pixels=pixels) for text, first in odd.select("text", "first").iter_rows()]
    columns = {"spaced": pl.String, "notes": pl.String, "id": pl.String}
    odd = odd.drop("spaced", "notes", "values").hstack(pl.DataFrame(mended, columns, orient="row"))
    return [
        *found,
        *_by_columns(_numbers(odd.filter(pl.col("id").is_null()).drop("id")), keypoints),
        _no_boxes(odd.filter(pl.col("id").is_not_null())),
    ]


def _numbers(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the numbers of each row as a list; what is no number is null in it."""
    parts = pl.col("spaced").str.split(" ").list.eval(pl.element().cast(pl.Float64, strict=False))
    return rows.with_columns(values=parts)


def _no_boxes(rows: pl.DataFrame) -> pl.DataFrame:
    nothing = {name: pl.lit(None, pl.Float64) for name in ("class_id", *_CORNERS)}
    return rows.with_columns(**nothing, notes=pl.lit(None, pl.String), far=pl.lit(False)).select(_PARTS)


def _by_columns(rows: pl.DataFrame, keypoints: int) -> list[pl.DataFrame]:
    """Tell box, polygon and confidence by the number of columns; the last of an even number may be a confidence.

    Where boxes have keypoints behind them, nothing is a polygon, and one number more than theirs is the confidence.
    """
    count, last = pl.col("values").list.len(), pl.col("values").list.last()
    pose = (count == 5 + keypoints) | ((count == 6 + keypoints) & last.is_between(0, 1)) if keypoints else pl.lit(False)
    even = pl.lit(False) if keypoints else (count > 6) & (count % 2 == 0)
    sure = ((count == 6) | (count == 6 + keypoints) | even) & last.is_between(0, 1)
    polygon = (count >= 7) & ((count % 2 == 1) | sure) & (keypoints == 0)
    notes = pl.concat_str(
        "notes",
        pl.when(pose).then(pl.lit("labels.keypoints")),
        pl.when(polygon).then(pl.lit("labels.polygon")),
        pl.when(sure).then(pl.lit("labels.confidence_column")),
        separator=" ",
        ignore_nulls=True,
    )
    rows = rows.with_columns(
        kind=pl.when(polygon).then(2).when((count == 5) | pose | sure).then(1).otherwise(0),
        sure=sure,
        notes=pl.when(notes != "").then(notes),
    )
    boxes, polygons, others = (rows.filter(pl.col("kind") == kind) for kind in (1, 2, 0))
    return [
        _from_centres(boxes.with_columns(pl.col("values").list.get(n).alias(f"v{n}") for n in range(5))),
        _from_polygons(polygons),
        _no_boxes(others.with_columns(id=pl.lit("labels.not_parsed"))),
    ]


def _from_polygons(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the box around `class x y x y x y ...`; one point that is not finite makes the whole box so."""
    points = pl.col("values").list.slice(1, pl.col("values").list.len() - 1 - pl.col("sure").cast(pl.UInt32))
    rows = rows.with_columns(points=points)
    finite = pl.col("points").list.eval(pl.element().is_finite()).list.all()
    x, y = (pl.col("points").list.gather_every(2, offset) for offset in (0, 1))
    corners = dict(zip(_CORNERS, (x.list.min(), y.list.min(), x.list.max(), y.list.max()), strict=True))
    return rows.with_columns(
        id=pl.lit(None, pl.String),
        class_id=pl.col("values").list.first(),
        **{name: pl.when(finite).then(corner).otherwise(float("nan")) for name, corner in corners.items()},
        far=finite & (pl.col("points").list.max() > LARGEST_FRACTION),
    ).select(_PARTS)


class _ClassNames:
    """Finds class names at the start of rows; a name that is a number stands for none.

    The blanks inside of a name may be any number of them, and its case may differ if that leaves no doubt.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self.listed = bool(numbers)
        words = {" ".join(name.split()): number for name, number in numbers.items()}
        self._exact = {w: number for w, number in words.items() if not _NUMBER.fullmatch(w.replace(",", "."))}
        folded = [word.casefold() for word in self._exact]
        self._folded = {w.casefold(): n for w, n in self._exact.items() if folded.count(w.casefold()) == 1}
        longest_first = sorted(self._exact, key=len, reverse=True)
        spelled = "|".join(r"\s+".join(map(re.escape, word.split())) for word in longest_first)
        self._pattern = re.compile(rf"([\"']?)({spelled})\1[\s,;]+", re.IGNORECASE) if spelled else None

    def replaced(self, text: str) -> str | None:
        """Return the row with the class's number in place of its name, or None if it starts with no name."""
        match = self._pattern.match(text) if self._pattern else None
        if match is None:
            return None
        word = " ".join(match[2].split())
        number = self._exact.get(word, self._folded.get(word.casefold()))
        return None if number is None else f"{number} {text[match.end() :]}"


def _mend(text: str, names: _ClassNames, *, first: bool, pixels: bool) -> tuple[str | None, str | None, str | None]:
    """Return (plain numbers with blanks between them, ids of what was mended, None) or (None, None, id of why not)."""
    numbered = names.replaced(text)
    spaced, notes = _without_separators(text if numbered is None else numbered)
    words = spaced.split()
    if not (_is_ambiguous(text) and not pixels) and all(map(_NUMBER.fullmatch, words)):
        return " ".join(words), " ".join([*notes, *(["labels.class_name"] if numbered is not None else [])]), None
    header = first and len(words) >= _HEADER_COLUMNS and not any(map(_NUMBER.fullmatch, re.split(r"[\s,;]+", text)))
    unknown = names.listed and unknown_name(spaced)
    return None, None, "labels.header" if header else "labels.class_unknown" if unknown else "labels.not_parsed"


def unknown_name(row: str) -> str:
    """Return what stands in place of the class number before the four numbers of a box, or nothing."""
    words = row.split()
    box, name = words[-_BOX_NUMBERS:], words[:-_BOX_NUMBERS]
    named = name and not any(map(_NUMBER.fullmatch, name)) and all(map(_NUMBER.fullmatch, box))
    return " ".join(name) if named else ""


def _is_ambiguous(text: str) -> bool:
    """Whether commas may stand both between and inside of numbers, as in `0,0,5,0,5,0,2,0,2`.

    A polygon of the picture's own corners, all 0 and 1, is meant as it stands.
    """
    return bool(_COMMAS_OF_BOTH_KINDS.fullmatch(text)) and not set(text.split(",")) <= {"0", "1"}


def _without_separators(text: str) -> tuple[str, list[str]]:
    """Put blanks between the columns and points into the numbers; return that, and the ids of what was mended.

    A comma is a decimal one if the row has no point, at least five columns without splitting at commas, and each of
    them is a number with at most one comma inside.
    """
    single = " ".join(re.sub(r"[;\t]", " ", text).split())
    spaced = _COMMA_AND_BLANK.sub(" ", single)
    notes = ["labels.separator"] if spaced != single or ";" in text or "\t" in text else []
    if "," not in spaced:
        return spaced, notes
    words = spaced.split()
    if len(words) >= 5 and all(map(_DECIMAL_COMMA.fullmatch, words)):
        return spaced.replace(",", "."), [*notes, "labels.decimal_comma"]
    return spaced.replace(",", " "), ["labels.separator"]
