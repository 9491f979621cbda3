"""Outliers by median and median absolute deviation, which the outliers themselves do not move."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

# Five standard deviations from the mean is datumaro's default ("far from mean"); with median and median absolute
# deviation in their place, because a few wild values inflate mean and deviation until nothing is far from them.
FAR = 5.0
TO_DEVIATION = 1.4826  # median absolute deviation of a normal distribution to its standard deviation


def deviations(values: pl.Series, groups: pl.Series, least: float) -> NDArray[np.float64]:
    """Return how many robust standard deviations each value is away from its group's median, with its sign.

    Args:
        values: [n] numbers.
        groups: [n] group of each.
        least: smallest standard deviation that is believed; groups of equal values would make everything an outlier.
    """
    table = pl.DataFrame({"value": values, "group": groups})
    median = table.group_by("group").agg(median=pl.col("value").median())
    table = table.join(median, on="group", maintain_order="left").with_columns(off=pl.col("value") - pl.col("median"))
    spread = table.group_by("group").agg(spread=pl.col("off").abs().median() * TO_DEVIATION)
    table = table.join(spread, on="group", maintain_order="left")
    return table.select(pl.col("off") / pl.max_horizontal("spread", pl.lit(least))).to_series().to_numpy()
