"""Pictures by what their pixels say: unreadable, blank, too dark or bright, blurred."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...findings import Finding
from .evidence import counted, of_pictures, plain
from .robust import FAR, deviations
from .snapshot import Snapshot

# Standard deviation of the grey levels: less than rounding to 8 bits and saving as JPEG leave; judgement: pictures of
# the four sets have at least 4.6.
BLANK = 1.0
BRIGHTNESS = 0.4  # of the usual brightness: Ultralytics' default `hsv_v=0.4` changes it by so much in training
# Iglewicz and Hoaglin's limit for median and median absolute deviation. The least sharp pictures of four sound sets are
# at 2.8; a Gaussian blur of 3 pixels in 640 puts them at 3.3 to 6.7 (docs/findings-data.md).
BLURRED = 3.5
BLUR = 2.0  # times less sharp than usual, at least
ENOUGH = 30  # pictures from which on there is a usual brightness and sharpness; judgement


def not_decoded(snapshot: Snapshot) -> list[Finding]:
    """Find pictures whose header is sound but whose pixels are not: a training would stop at the first of them."""
    if snapshot.facts is None:
        return []
    broken = snapshot.facts.table.filter(pl.col("problem").is_not_null())
    if snapshot.headers is not None and snapshot.said("images.mixed_depth"):  # none of the deep ones can be shown
        deep = snapshot.headers.filter(pl.col("bits") > 8)
        broken = broken.join(deep, on="path", how="anti", maintain_order="left")
    if broken.is_empty():
        return []
    message = f"{counted(broken.height, 'picture')} cannot be decoded although the header is sound; training would stop"
    evidence = of_pictures(broken, files=broken["problem"].head(10).to_list())
    return [Finding("images.not_decoded", "error", message, evidence, "copy or save them again, or take them out")]


def blank(snapshot: Snapshot) -> list[Finding]:
    """Find pictures of a single grey level."""
    table = _decoded(snapshot)
    flat = table.filter(pl.col("contrast") < BLANK)
    if flat.is_empty():
        return []
    labelled = int((flat["boxes"] > 0).sum())
    rest = f"; {labelled:,} of them {'has' if labelled == 1 else 'have'} boxes" if labelled else ""
    message = f"{counted(flat.height, 'picture')} of one plain colour{rest}"
    advice = "take them out, unless the camera really sees nothing at times"
    evidence = of_pictures(flat.sort("boxes", descending=True), labelled=labelled)
    return [Finding("images.blank", "warning", message, evidence, advice)]


def brightness(snapshot: Snapshot) -> list[Finding]:
    """Find pictures far darker or brighter than the others."""
    table = _decoded(snapshot).filter(pl.col("contrast") >= BLANK)
    if table.height < ENOUGH:
        return []
    usual = float(table["brightness"].median())  # type: ignore[arg-type]
    off = deviations(table["brightness"], _one_group(table), max(BRIGHTNESS * usual, 1) / FAR)
    odd = _farthest(table, off, np.abs(off) > FAR)
    if odd.is_empty():
        return []
    dark = int((odd["brightness"] < usual).sum())
    message = (
        f"{counted(odd.height, 'picture')} far from the usual brightness of {usual:.0f} grey levels: {dark:,} darker, "
        f"{odd.height - dark:,} brighter"
    )
    advice = "look at them: wrong exposure, or pictures of something else"
    evidence = of_pictures(odd, usual=plain(usual, 1), levels=[plain(v, 1) for v in odd["brightness"].head(10)])
    return [Finding("images.brightness", "info", message, evidence, advice)]


def blurred(snapshot: Snapshot) -> list[Finding]:
    """Find pictures far less sharp than the others.

    The measure is the variance of the Laplacian at 256 x 256 pixels over that of the grey levels, as a logarithm: a
    picture with little on it is not blurred.
    """
    table = _decoded(snapshot).filter(pl.col("contrast") >= BLANK)
    if table.height < ENOUGH:
        return []
    table = table.with_columns(relative=pl.max_horizontal("sharpness", pl.lit(1e-6)) / pl.col("contrast") ** 2)
    off = deviations(table["relative"].log(), _one_group(table), math.log(BLUR) / BLURRED)
    odd = _farthest(table, off, off < -BLURRED)
    if odd.is_empty():
        return []
    message = f"{counted(odd.height, 'picture')} far less sharp than the others"
    advice = "look at them: out of focus, shaken, or enlarged from small pictures"
    usual = float(table["relative"].median())  # type: ignore[arg-type]
    evidence = of_pictures(odd, usual=plain(usual, 4), sharpness=[plain(v, 4) for v in odd["relative"].head(10)])
    return [Finding("images.blurred", "info", message, evidence, advice)]


def _decoded(snapshot: Snapshot) -> pl.DataFrame:
    """Return the facts of pictures that could be decoded, and their number of `boxes`; empty without facts."""
    numbers = snapshot.images.select("path", "part", "boxes")
    if snapshot.facts is None:
        return numbers.clear().with_columns(pl.lit(0.0).alias(name) for name in ("brightness", "contrast", "sharpness"))
    decoded = snapshot.facts.table.filter(pl.col("problem").is_null())
    return decoded.select("path", "brightness", "contrast", "sharpness").join(numbers, on="path", maintain_order="left")


def _one_group(table: pl.DataFrame) -> pl.Series:
    return pl.Series(np.zeros(table.height, np.uint8))


def _farthest(table: pl.DataFrame, off: NDArray[np.float64], chosen: NDArray[np.bool_]) -> pl.DataFrame:
    rows = np.flatnonzero(chosen)
    return table[rows[np.argsort(-np.abs(off[rows]), kind="stable")]]
