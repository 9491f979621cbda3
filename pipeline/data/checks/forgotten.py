"""Pictures on which objects seem to have been forgotten: none is labelled, where all others have many.

The numbers of boxes on the other pictures of a group give a negative binomial distribution (mean m, variance v, shape
s = m^2 / (v - m), chance of none (s / (s + m))^s; the Poisson distribution where v <= m). A picture without is reported
where that distribution expects fewer than 0.05 such pictures in the whole group, and at most 5 % are without: a group
with more has them on purpose. The column `group` says what belongs together; without it the set is one group.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...findings import Finding
from .evidence import counted, listed_names, of_pictures
from .snapshot import Snapshot

RARELY = 0.05  # judgement; of fewer than 20 pictures, a single one is more
BY_CHANCE = 0.05  # pictures expected in a whole group; judgement: a false alarm in one of twenty groups


def suspiciously_empty(snapshot: Snapshot) -> list[Finding]:
    """Find pictures without any box in groups where the others have many."""
    labelled = snapshot.images.filter((pl.col("boxes") > 0) | (pl.col("ignored") > 0))
    numbers = labelled.select("image_id", "group", "boxes", class_id=pl.lit(0, pl.UInt16))
    found = _without(snapshot.images, numbers)
    if found.is_empty():
        return []
    usual = float(found["usual"].median())  # type: ignore[arg-type]
    message = (
        f"{counted(found.height, 'picture')} without a box, where pictures like "
        f"{'it' if found.height == 1 else 'them'} have about {usual:.0f}"
    )
    advice = "look at them: they may have been forgotten in labelling; an empty label file is right if nothing is there"
    return [Finding("images.suspiciously_empty", "warning", message, of_pictures(found, usual_boxes=usual), advice)]


def forgotten_class(snapshot: Snapshot) -> list[Finding]:
    """Find pictures without a class of which the others have many, though they have boxes of other classes."""
    if len(snapshot.names) < 2:
        return []
    labelled = snapshot.images.filter(pl.col("boxes") > 0)
    numbers = snapshot.per_picture.join(labelled.select("image_id", "group"), on="image_id")
    found = _without(labelled, numbers)
    if found.is_empty():
        return []
    by_class = found.group_by("class_id").agg(count=pl.len(), usual=pl.col("usual").median()).sort("class_id")
    words = [f"{n:,} without {snapshot.names[c]} (usually {usual:.0f})" for c, n, usual in by_class.iter_rows()]
    message = f"{counted(found.height, 'picture')} with boxes, but none of a class that all others have: "
    message += listed_names(words, 5)
    advice = "look at them: if the objects are there, they teach the network not to see them; label them"
    classes = {snapshot.names[c]: n for c, n, _ in by_class.iter_rows()}
    evidence = of_pictures(found, classes=classes)
    return [Finding("images.class_forgotten", "warning", message, evidence, advice)]


def _without(images: pl.DataFrame, numbers: pl.DataFrame) -> pl.DataFrame:
    """Return the pictures that are unexpectedly without a class: `path`, `class_id`, `usual` (its mean on the others).

    Args:
        images: `image_id`, `path`, `group` of all pictures that could have the class.
        numbers: `image_id`, `group`, `class_id`, `boxes` where there are any.
    """
    totals = images.group_by("group").len("pictures")
    stats = (
        numbers.group_by("group", "class_id")
        .agg(has=pl.len(), usual=pl.col("boxes").mean(), variance=pl.col("boxes").var())
        .join(totals, on="group", nulls_equal=True)
        .with_columns(lacks=pl.col("pictures").cast(pl.Int64) - pl.col("has"))
        .filter(pl.col("lacks") > 0, pl.col("lacks") <= RARELY * pl.col("pictures"))
    )
    none = _chance_of_none(stats["usual"].to_numpy(), stats["variance"].to_numpy())
    odd = stats.filter(pl.Series(stats["pictures"].to_numpy() * none < BY_CHANCE, dtype=pl.Boolean))
    pairs = images.select("image_id", "path", "group").join(
        odd.select("group", "class_id", "usual"), on="group", nulls_equal=True, maintain_order="left"
    )
    return pairs.join(numbers, on=["image_id", "class_id"], how="anti", maintain_order="left")


def _chance_of_none(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the chance of 0 in the negative binomial distribution of a mean and variance [n], or in Poisson's."""
    wide = variance > mean
    shape = np.divide(mean**2, variance - mean, out=np.ones_like(mean), where=wide)
    return np.asarray(np.where(wide, (shape / (shape + mean)) ** shape, np.exp(-mean)))
