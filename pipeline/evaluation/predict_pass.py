"""One pass of a detector over pictures: read ahead by threads, in batches of one shape, tiles merged at their seams."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.images import ValueRange, read_picture
from ..data.tile import tile_rectangles
from ..errors import DataError
from ..leash import cpu_count
from .letterbox import Letterbox
from .predict_detector import Detector
from .tile_merge import TileDetections, merge_tiles

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, int], Pixels]

READERS = 8  # threads that read at most
WHOLE_AHEAD = 2  # batches of pictures, letterboxed, that wait for the network
LARGE_AHEAD = 2  # large pictures, at full size, that wait to be cut into tiles
FINEST_CELL = 8  # pixels of the input: the finest grid of a YOLO, within which it places the edge of a cut object
STAGES = ("read", "letterbox", "network", "nms", "to_picture")


@dataclass(frozen=True)
class Picture:
    """A picture to predict and its size in pixels, as `read_picture` delivers it.

    `value_range` is what becomes black and white where it has more than 8 bits: that of the set that was trained on.
    """

    image_id: int
    path: Path
    width: int
    height: int
    value_range: ValueRange | None = None


@dataclass
class Times:
    """How long each stage took: seconds, and the number of pictures that they were spent on."""

    of_stage: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {stage: [] for stage in STAGES})

    def add(self, stage: str, seconds: float, pictures: float = 1) -> None:
        """Note how long a stage took for a number of pictures; any thread may do so."""
        self.of_stage[stage].append((seconds, pictures))

    def total(self, *stages: str) -> float:
        """Return the seconds of some stages."""
        return sum(seconds for stage in stages for seconds, _ in self.of_stage[stage])

    def summary(self) -> dict[str, dict[str, float]]:
        """Return for each stage median and 95th percentile in milliseconds per picture."""
        found = {}
        for stage, values in self.of_stage.items():
            if values:
                each = 1000 * np.array([seconds / pictures for seconds, pictures in values])
                found[stage] = {"median": float(np.median(each)), "p95": float(np.percentile(each, 95))}
        return found


@dataclass
class _Job:
    """A picture on its way: how its windows (the picture itself, or its tiles) lie in the input, what was found."""

    picture: Picture
    windows: NDArray[np.int64]  # [n, 4] corners in pixels of the picture; all of one size
    box: Letterbox
    found: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def inputs(self, pixels: Pixels) -> Iterator[Pixels]:
        """Yield what the network is given of each window, RGB."""
        for x1, y1, x2, y2 in self.windows.tolist():
            yield np.asarray(cv2.cvtColor(self.box.place(pixels[y1:y2, x1:x2]), cv2.COLOR_BGR2RGB), np.uint8)

    def result(self, iou: float) -> NDArray[np.float64]:
        """Return [k, 6] corners in pixels of the picture, score and class, best first."""
        width, height = (self.windows[0, 2:] - self.windows[0, :2]).tolist()
        rows = [self.found[k] for k in range(len(self.windows))]
        boxes = [
            self.box.to_original(part[:, :4], height, width) + np.tile(window[:2], 2)
            for part, window in zip(rows, self.windows, strict=True)
        ]
        if len(rows) == 1:
            return np.column_stack([boxes[0], rows[0][:, 4:6]])
        of_tile = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        scores, classes = np.concatenate(rows)[:, 4:6].T
        found = TileDetections(np.concatenate(boxes), scores, classes, of_tile)
        size = (self.picture.width, self.picture.height)
        merged = merge_tiles(found, self.windows, size, FINEST_CELL / self.box.ratio, iou)
        return np.column_stack([merged.boxes, merged.scores, merged.classes])


def predict_pictures(
    detector: Detector,
    pictures: Sequence[Picture],
    times: Times,
    *,
    change: Change | None = None,
    failed: Callable[[Picture, DataError], None] | None = None,
) -> Iterator[tuple[Picture, NDArray[np.float64]]]:
    """Yield every picture with its detections, [k, 6] corners in pixels of the picture, score and class, best first.

    Pictures of one input shape come together, so the order is another. Memory holds a few batches of inputs, or of
    large pictures that are cut into tiles two at full size, however many pictures there are.

    Args:
        times: takes what every stage took; reading and letterboxing happen beside the network.
        change: what is done to a picture before it is letterboxed; called from several threads.
        failed: is told of a picture that cannot be read, and the rest is predicted; without it the error is raised.

    Raises:
        DataError: a picture cannot be read, or has another size than stated.
    """
    batch: list[tuple[_Job, int, Pixels]] = []
    for job, inputs in _read_ahead(detector, pictures, _Reader(times, change), failed):
        for index, pixels in enumerate(inputs):
            if batch and batch[0][2].shape != pixels.shape:
                yield from _detect(detector, batch, times)
                batch = []
            batch.append((job, index, pixels))
            if len(batch) == detector.batch:
                yield from _detect(detector, batch, times)
                batch = []
    if batch:
        yield from _detect(detector, batch, times)


def _detect(
    detector: Detector, batch: list[tuple[_Job, int, Pixels]], times: Times
) -> Iterator[tuple[Picture, NDArray[np.float64]]]:
    """Run the network on a batch; yield the pictures that are complete with it."""
    found = detector.detect([pixels for _, _, pixels in batch])
    share = sum(1 / len(job.windows) for job, _, _ in batch)  # a tile is a part of a picture
    for stage, seconds in found.seconds.items():
        times.add(stage, seconds, share)
    for (job, index, _), rows in zip(batch, found.rows, strict=True):
        job.found[index] = rows
        if len(job.found) == len(job.windows):
            started = time.perf_counter()
            result = job.result(detector.settings.iou)
            times.add("to_picture", time.perf_counter() - started)
            yield job.picture, result


@dataclass(frozen=True)
class _Reader:
    times: Times
    change: Change | None

    def __call__(self, job: _Job) -> Iterator[Pixels]:
        """Return the inputs of a picture: made at once of a whole one, one by one of the tiles of a large one."""
        started = time.perf_counter()
        pixels = read_picture(job.picture.path, job.picture.value_range)
        self.times.add("read", time.perf_counter() - started)
        stated = (job.picture.height, job.picture.width)
        if pixels.shape[:2] != stated:
            raise DataError(
                f"{job.picture.path}: {pixels.shape[1]} x {pixels.shape[0]} pixels, but its header or the data says "
                f"{stated[1]} x {stated[0]}; read the data again, or save the picture again"
            )
        if self.change is not None:
            pixels = self.change(pixels, job.picture.image_id)
        if len(job.windows) > 1:
            return self._timed(job.inputs(pixels))
        return iter(list(self._timed(job.inputs(pixels))))

    def _timed(self, inputs: Iterator[Pixels]) -> Iterator[Pixels]:
        spent = 0.0
        while True:
            started = time.perf_counter()
            item = next(inputs, None)
            spent += time.perf_counter() - started
            if item is None:
                self.times.add("letterbox", spent)
                return
            yield item


def _read_ahead(
    detector: Detector,
    pictures: Sequence[Picture],
    reader: _Reader,
    failed: Callable[[Picture, DataError], None] | None,
) -> Iterator[tuple[_Job, Iterator[Pixels]]]:
    """Yield pictures with their inputs, those of one shape together; threads read the next ones meanwhile."""
    jobs = sorted((plan(detector, picture) for picture in pictures), key=lambda job: job.box.shape)
    large = any(len(job.windows) > 1 for job in jobs)
    ahead = LARGE_AHEAD if large else WHOLE_AHEAD * detector.batch
    pool = ThreadPoolExecutor(min(READERS, cpu_count(), ahead), thread_name_prefix="reader")
    waiting: deque[tuple[_Job, Future[Iterator[Pixels]]]] = deque()
    try:
        for job in jobs:
            waiting.append((job, pool.submit(reader, job)))
            if len(waiting) > ahead:
                yield from _next(waiting, failed)
        while waiting:
            yield from _next(waiting, failed)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _next(
    waiting: deque[tuple[_Job, Future[Iterator[Pixels]]]], failed: Callable[[Picture, DataError], None] | None
) -> Iterator[tuple[_Job, Iterator[Pixels]]]:
    job, future = waiting.popleft()
    try:
        inputs = future.result()
    except DataError as error:
        if failed is None:
            raise
        failed(job.picture, error)
        return
    yield job, inputs


def plan(detector: Detector, picture: Picture) -> _Job:
    """Return how a picture is shown to the network: whole, or in tiles."""
    settings = detector.settings
    width, height = picture.width, picture.height
    windows = np.array([[0, 0, width, height]])
    if settings.tile is not None:
        windows = tile_rectangles(width, height, settings.tile, settings.overlap)
    x1, y1, x2, y2 = windows[0].tolist()
    return _Job(picture, windows, Letterbox.fit(y2 - y1, x2 - x1, detector.imgsz, detector.stride))
