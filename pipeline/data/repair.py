"""What is done to a row: turned, scaled, clipped, dropped or refused; every change goes into the ledger."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from .raw import LEDGER_SCHEMA
from .remap import ClassChanges

# A box may stand out of its picture by rounding alone; less than this many pixels is not worth a word.
ROUNDING = 0.51
CORNERS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Repaired:
    """Boxes that stay, with `image_id` and the new `class_id`; the ledger of those that were touched; and the rows that
    were refused for their class (`class_id`, `source`).
    """

    boxes: pl.DataFrame
    ledger: pl.DataFrame
    refused: pl.DataFrame


def repair(rows: pl.DataFrame, images: pl.DataFrame, changes: ClassChanges, *, fractions: bool) -> Repaired:
    """Make boxes of raw rows.

    Args:
        rows: columns of `RAW_BOXES_SCHEMA`.
        images: usable pictures, with `orientation` by which their boxes are to be turned.
        changes: what becomes of each class.
        fractions: the corners are fractions of the picture's size.
    """
    joined = rows.join(
        images.select("path", "image_id", "width", "height", "orientation"),
        on="path",
        how="left",
        maintain_order="left",
    )
    table = _in_pixels(joined, fractions).with_columns(**{f"raw_{corner}": pl.col(corner) for corner in CORNERS})
    table = _judged(_clipped(_turned(table)), changes)
    stays = pl.col("fate").is_null() | (pl.col("fate") == "repaired")
    table = table.with_columns(again=stays & _repeats(table, stays)).with_columns(
        fate=pl.when("again").then(pl.lit("dropped")).otherwise("fate"),
        ids=pl.when("again").then(pl.lit("labels.duplicate")).otherwise("ids"),
    )
    boxes = table.filter(stays).with_columns(class_id="new_class")
    refused = table.filter(pl.col("fate") == "refused").select("class_id", "source")
    return Repaired(boxes, _ledger(table), refused)


def _repeats(table: pl.DataFrame, stays: pl.Expr) -> pl.Series:
    """Return which rows that stay are the same box as an earlier one.

    One number for each row tells almost all of them apart, five times faster than comparing whole rows; those whose
    number is there twice are compared.
    """
    columns = ["image_id", "new_class", *CORNERS, "crowd"]
    key = pl.lit(0, pl.UInt64)
    for seed, column in enumerate(columns):
        key = key ^ pl.col(column).hash(seed)
    suspects = table.with_row_index("row").filter(stays).filter(key.is_duplicated())
    again = suspects.filter(~pl.struct(columns).is_first_distinct())["row"]
    return pl.Series(np.isin(np.arange(table.height), again.to_numpy()))


def _in_pixels(table: pl.DataFrame, fractions: bool) -> pl.DataFrame:
    if not fractions:
        return table
    # Of a picture that was labelled unturned they are those of its sides as stored, which a quarter turn exchanges.
    unturned = pl.col("orientation") > 1
    across = pl.when(unturned).then("height").otherwise("width")
    down = pl.when(unturned).then("width").otherwise("height")
    return table.with_columns(*(pl.col(c) * across for c in ("x1", "x2")), *(pl.col(c) * down for c in ("y1", "y2")))


def _turned(table: pl.DataFrame) -> pl.DataFrame:
    """Turn boxes that were drawn on the picture as stored; a quarter turn makes its height the width that is read.

    Where a point of the stored picture comes to lie follows from the EXIF standard (CIPA DC-008, tag Orientation).
    """
    if table.filter(pl.col("orientation") > 1).is_empty():
        return table
    x1, y1, x2, y2 = (pl.col(corner) for corner in CORNERS)
    width, height = pl.col("width"), pl.col("height")  # as read
    across = {5: (y1, x1, y2, x2), 6: (width - y2, x1, width - y1, x2)}
    across |= {7: (width - y2, height - x2, width - y1, height - x1), 8: (y1, height - x2, y2, height - x1)}
    turned = []
    for place, corner in enumerate(CORNERS):
        value = pl.col(corner)
        for orientation, corners in across.items():
            value = pl.when(pl.col("orientation") == orientation).then(corners[place]).otherwise(value)
        turned.append(value.alias(corner))
    noted = pl.when(pl.col("orientation") > 1).then(_with("notes", "labels.turned")).otherwise("notes")
    return table.with_columns(*turned, notes=noted)


def _clipped(table: pl.DataFrame) -> pl.DataFrame:
    limits = {"x1": "width", "y1": "height", "x2": "width", "y2": "height"}
    finite = pl.all_horizontal(pl.col(corner).is_finite() for corner in CORNERS)
    table = table.with_columns(
        # The sum turns -0.0 into 0.0.
        **{f"clipped_{c}": pl.col(c).clip(0.0, pl.col(limit).cast(pl.Float64)) + 0.0 for c, limit in limits.items()},
        finite=finite.fill_null(False),
        positive=(pl.col("x2") > pl.col("x1")) & (pl.col("y2") > pl.col("y1")),
    )
    overhang = pl.max_horizontal((pl.col(f"clipped_{corner}") - pl.col(corner)).abs() for corner in CORNERS)
    inside = (pl.col("clipped_x2") > pl.col("clipped_x1")) & (pl.col("clipped_y2") > pl.col("clipped_y1"))
    return table.with_columns(overhangs=overhang > ROUNDING, inside=inside)


def _judged(table: pl.DataFrame, changes: ClassChanges) -> pl.DataFrame:
    """Decide on each row: `fate` (null, repaired, dropped, refused) and `ids` of the reasons."""
    class_id = pl.col("class_id")
    whole = class_id.is_finite() & (class_id == class_id.floor())
    known = whole & class_id.is_between(0, len(changes.index) - 1)
    new_class = (
        pl.when(known.fill_null(False))
        .then(class_id)
        .otherwise(None)
        .cast(pl.UInt32)
        .replace_strict({old: new for old, new in enumerate(changes.index)}, default=None, return_dtype=pl.UInt16)
    )
    # The first reason that holds decides; a row without a class is refused whatever its box looks like.
    verdicts = [
        (pl.col("image_id").is_null(), "dropped", "labels.picture_unusable"),
        (~whole.fill_null(False), "refused", "labels.class_not_whole"),
        (~known.fill_null(False), "refused", "labels.class_out_of_range"),
        (~pl.col("finite"), "dropped", "labels.not_finite"),
        (~pl.col("positive"), "dropped", "labels.no_size"),
        (~pl.col("inside"), "dropped", "labels.outside"),
        (new_class.is_null(), "dropped", "labels.class_left_out"),
        (pl.col("overhangs"), "repaired", "labels.outside_clipped"),
    ]
    fate, reason = pl.lit(None, pl.String), pl.lit(None, pl.String)
    for holds, action, key in reversed(verdicts):
        fate = pl.when(holds).then(pl.lit(action)).otherwise(fate)
        reason = pl.when(holds).then(pl.lit(key)).otherwise(reason)
    noted = pl.col("notes").is_not_null()
    table = table.with_columns(fate=fate, reason=reason, new_class=new_class)
    return table.with_columns(
        fate=pl.when(pl.col("fate").is_null() & noted).then(pl.lit("repaired")).otherwise("fate"),
        # Of a row that goes, only the reason counts, not what was mended before.
        ids=pl.when(pl.col("fate").is_in(["dropped", "refused"]))
        .then("reason")
        .otherwise(pl.concat_str("notes", "reason", separator=" ", ignore_nulls=True)),
        **{corner: pl.col(f"clipped_{corner}") for corner in CORNERS},
    )


def _with(column: str, key: str) -> pl.Expr:
    """Return a column of ids with one more at the end."""
    return pl.concat_str(pl.col(column), pl.lit(key), separator=" ", ignore_nulls=True).str.strip_chars()


def _ledger(table: pl.DataFrame) -> pl.DataFrame:
    touched = table.filter(pl.col("fate").is_not_null())
    ledger = touched.select(
        id="ids",
        source="source",
        action="fate",
        before=pl.col("text").fill_null(_as_text("raw_")),
        after=pl.when(pl.col("fate") == "repaired").then(_as_text("")).otherwise(pl.lit("")),
    )
    return ledger.cast(pl.Schema(LEDGER_SCHEMA))


def _as_text(prefix: str) -> pl.Expr:
    """Return corners in pixels as text, six digits each."""
    return pl.concat_str(
        [pl.col(f"{prefix}{corner}").round_sig_figs(6).cast(pl.String).str.strip_suffix(".0") for corner in CORNERS],
        separator=" ",
        ignore_nulls=True,
    )
