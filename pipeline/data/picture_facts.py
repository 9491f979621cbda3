"""What one look at the pixels of every picture tells: brightness, contrast, sharpness, hashes, thumbnails, problems."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import DataError
from .dataset import Dataset
from .digests import picture_digest
from .images import read_picture
from .label_explanations import LabelFacts
from .perceptual_hash import ORIENTATIONS, SIDE, dct_hashes, thumbnail

FACTS_SCHEMA: dict[str, Any] = {
    "path": pl.String,
    "digest": pl.String,  # of the whole file; empty where it cannot be read
    "brightness": pl.Float64,  # mean grey level, 0 to 255
    "contrast": pl.Float64,  # standard deviation of the grey levels
    "sharpness": pl.Float64,  # variance of the Laplacian at 256 x 256 pixels
    "hashes": pl.Array(pl.UInt64, len(ORIENTATIONS)),  # perceptual, in the order of ORIENTATIONS; the first is as it is
    "problem": pl.String,  # why it cannot be decoded, or null; then all but path and digest are null
}
_THREADS = 8
_LARGE = 16_000_000  # pixels; larger pictures are decoded one at a time: eight of 100 megapixels would take 3 GB
_SHARPNESS_SIDE = 256  # pixels a side


@dataclass(frozen=True)
class PictureFacts:
    """Facts about pictures.

    Args:
        table: columns of `FACTS_SCHEMA`, one row per picture.
        thumbnails: grey, uint8 [pictures, 32, 32], in the order of the table; 0 where a picture has a problem.
        labels: what lies in a sample of the boxes, if that was looked at.
    """

    table: pl.DataFrame
    thumbnails: NDArray[np.uint8]
    labels: LabelFacts | None = None


Looker = Callable[[str, NDArray[np.uint8]], None]


def picture_facts(dataset: Dataset, *, paths: Sequence[str] | None = None, look: Looker | None = None) -> PictureFacts:
    """Decode every picture once and gather what its pixels tell.

    Never holds more pictures than there are threads. A picture that cannot be decoded has a `problem`.

    Args:
        dataset: whose pictures are read, deep ones with its `value_range`.
        paths: only these of `images.path`, in this order.
        look: called with the path and the pixels [height, width, 3] of every picture that can be decoded, from several
            threads.
    """
    named = dataset.images["path"].to_list() if paths is None else list(paths)
    large = set(dataset.images.filter(pl.col("width").cast(pl.UInt64) * pl.col("height") > _LARGE)["path"])
    thumbnails = np.zeros((len(named), SIDE, SIDE), np.uint8)
    rows: list[tuple[Any, ...]] = [()] * len(named)

    def look_at(place: int) -> None:
        rows[place] = _look_at(dataset, named[place], thumbnails[place], look)

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(look_at, [place for place, path in enumerate(named) if path not in large]))
    for place, path in enumerate(named):
        if path in large:
            look_at(place)
    return PictureFacts(pl.DataFrame(rows, schema=FACTS_SCHEMA, orient="row"), thumbnails)


def _look_at(dataset: Dataset, name: str, small: NDArray[np.uint8], look: Looker | None) -> tuple[Any, ...]:
    """Return the row of one picture and write its thumbnail into `small`."""
    path = dataset.picture_path(name)
    digest = picture_digest(path)
    try:
        picture = read_picture(path) if dataset.value_range is None else read_picture(path, dataset.value_range)
    except DataError as error:
        return (name, digest, None, None, None, None, str(error))
    if look is not None:
        look(name, picture)
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    mean, deviation = cv2.meanStdDev(grey)
    shrunk = thumbnail(grey)
    small[:] = np.rint(shrunk)
    return (name, digest, float(mean[0, 0]), float(deviation[0, 0]), sharpness(grey), dct_hashes(shrunk).tolist(), None)


def sharpness(grey: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of a picture resized to 256 x 256 pixels.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy" (2000). The fixed size makes pictures
    of one set comparable; between sets it says little, because it depends on what they show.
    """
    resized = cv2.resize(grey, (_SHARPNESS_SIDE, _SHARPNESS_SIDE), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(resized, cv2.CV_32F).var())
