"""What each entry of a policy, and the whole stage, does to the pictures of a dataset; measures, and judges nothing."""

from __future__ import annotations

import copy
import pickle
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..data.dataset import Dataset
from ..errors import TuneUpError
from ..policy import PROBABILITIES, Policy
from ..transform_specs import spec_of
from .contrast import Contrast, contrast_of, contrast_ratio, noise_ratio
from .stage import Drawn, Stage

WHOLE = "the whole stage"
_TIMED = 8  # pictures
_BOXES = 12  # boxes of one picture whose contrast is taken: a picture of wheat has a hundred, all of a kind
_SMALL = 2.0  # grey levels: an object that stands out by less cannot lose anything
_DARK, _BRIGHT = 2, 253  # grey levels taken for black and white: JPEG's rounding leaves 0 and 255 uncertain
_BLACK_PICTURE = 10  # grey levels: Ultralytics' division by 255 of an already divided picture leaves 4 to 10 [0..255]


@dataclass(frozen=True)
class EntryMeasure:
    """What one entry does when it acts, or what the whole stage does as it is trained.

    Args:
        entry: its name, or `the whole stage`.
        probability: with which it acts in training.
        pictures: that were drawn.
        failure: what broke, in words; the rest is then empty.
        changed: share of pictures in which any pixel changed.
        yielded: class name -> boxes in the pictures that came out.
        own: class name -> boxes of the pictures that were asked for; a mosaic yields those of others as well.
        pasted: class name -> pasted objects, not counted in `yielded`.
        inflation: median area of the box / area of the quadrilateral into which the labelled box was turned.
        contrast: class name -> (median contrast after / before, boxes).
        noise: class name -> (median noise / contrast after, median before).
        short_sides: px, of the boxes that came out, sorted: before and after.
        mean_shift: grey levels, mean over pictures of the change of their mean.
        deviation_ratio: median over pictures of the deviation after / before.
        black: share of pictures that are all but black.
        clipped: share of pixels at the ends of the range, after minus before.
        milliseconds: per picture, reading not included; for an entry, what it adds to a stage that does nothing.
        repeatable: whether one seed gives one picture.
        restored: what a stage restored from its record did otherwise, in words; empty if nothing.
    """

    entry: str
    probability: float
    pictures: int = 0
    failure: str = ""
    changed: float = 0.0
    yielded: dict[str, int] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    pasted: dict[str, int] = field(default_factory=dict)
    inflation: float | None = None
    contrast: dict[str, tuple[float, int]] = field(default_factory=dict)
    noise: dict[str, tuple[float, float]] = field(default_factory=dict)
    short_before: tuple[float, ...] = ()
    short_after: tuple[float, ...] = ()
    mean_shift: float = 0.0
    deviation_ratio: float = 1.0
    black: float = 0.0
    clipped: float = 0.0
    milliseconds: float = 0.0
    repeatable: bool = True
    restored: str = ""

    @property
    def survival(self) -> float | None:
        """Share of all boxes that come out; above 1 where pictures are mixed."""
        own = sum(self.own.values())
        return sum(self.yielded.values()) / own if own else None

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON, without the side of every box."""
        record = asdict(self)
        for name in ("short_before", "short_after"):
            record[name] = _quantiles(record[name])
        return {**record, "survival": self.survival}


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {f"p{share}": round(float(np.percentile(values, share)), 2) for share in (0, 10, 50)}


@dataclass(frozen=True)
class Plain:
    """A picture as the stage delivers it when it does nothing, and what its boxes look like."""

    drawn: Drawn
    grey: npt.NDArray[np.uint8]
    contrasts: dict[int, Contrast]  # row of the box -> contrast
    own: Counter[str]


class Measure:
    """Measures policies on the same pictures of one dataset.

    Args:
        stage: of the train split.
        names: of the classes.
        indices: of the pictures to draw.
    """

    def __init__(self, stage: Stage, names: Sequence[str], indices: Sequence[int]) -> None:
        self.stage, self.names, self.indices = stage, names, list(indices)
        self.reading = self._read()
        with self.stage.acting(Policy.off()):
            self.plain = {index: self._plain(index) for index in self.indices}
            self._plain_seconds = self._seconds()

    def _read(self) -> float:
        """Read the pictures once; returns the seconds for one."""
        started = time.perf_counter()
        for index in self.indices:
            self.stage.read(index)
        return (time.perf_counter() - started) / len(self.indices)

    def _seconds(self) -> float:
        """Return the median time of the stage that acts, per picture."""
        return statistics.median(self.stage.seconds(index, seed_of(index, 0)) for index in self.indices[:_TIMED])

    def _plain(self, index: int) -> Plain:
        drawn = self.stage.draw(index, 0)
        grey = _grey(drawn.picture)
        rows = drawn.rows[:_BOXES]
        found = {int(row): contrast_of(grey, box) for row, box in zip(rows, drawn.boxes, strict=False)}
        contrasts = {row: value for row, value in found.items() if value is not None and value.contrast >= _SMALL}
        return Plain(drawn, grey, contrasts, Counter(self.names[c] for c in drawn.class_ids))

    def entry(self, entry: str, policy: Policy, *, draws: int = 1) -> EntryMeasure:
        """Measure one entry, forced to act on every picture; `entry` may also be `WHOLE`, which acts as in training."""
        whole = entry == WHOLE
        acting = policy if whole else policy.only(entry, forced=True)
        return self._measure(entry, 1.0 if whole else probability_of(policy, entry), acting, (), draws)

    def transform(self, transform: Any) -> EntryMeasure:
        """Measure an Albumentations object that a policy may or may not hold, forced to act on every picture."""
        forced = copy.deepcopy(transform)
        forced.p = 1.0
        return self._measure(type(transform).__name__, float(transform.p), Policy.off(), (forced,), 1)

    def _measure(
        self, entry: str, probability: float, acting: Policy, objects: Sequence[Any], draws: int
    ) -> EntryMeasure:
        tally = _Tally(self.names, self.plain)
        try:
            with self.stage.acting(acting, objects):
                for index in self.indices:
                    for draw in range(draws):
                        tally.add(index, self.stage.draw(index, seed_of(index, draw)))
                last = self.indices[-1]
                repeatable = same(self.stage.draw(last, 7), self.stage.draw(last, 7))
                restored = self._restored(acting, objects, last)
                seconds = self._seconds()
        except TuneUpError as error:
            return EntryMeasure(entry, probability, failure=str(error))
        own = seconds if entry == WHOLE else max(0.0, seconds - self._plain_seconds)
        return tally.result(entry, probability, milliseconds=own * 1000, repeatable=repeatable, restored=restored)

    def _restored(self, acting: Policy, objects: Sequence[Any], index: int) -> str:
        """Say what differs once the policy was written down and read again, and the loader sent to another process."""
        expected = self.stage.draw(index, 11)
        try:
            written = acting.replaced(transforms=[*acting.transforms, *map(spec_of, objects)])
            with self.stage.acting(Policy.model_validate(written.model_dump(mode="json"))):
                if not same(expected, self.stage.draw(index, 11)):
                    return "other pictures after it was written down and read again"
        except (TuneUpError, ValueError) as error:
            return str(error)
        try:
            copied = pickle.loads(pickle.dumps(self.stage))
        except Exception as error:  # pickle and the classes that it calls raise many kinds
            return f"cannot be sent to another process: {type(error).__name__}: {error}"
        return "" if same(expected, copied.draw(index, 11)) else "other pictures in another process"


def probability_of(policy: Policy, entry: str) -> float:
    """Return the probability with which an entry acts on a picture."""
    only = policy.only(entry)
    if only.transforms:
        return float(next(iter(only.transforms[0].values()))["p"])
    return float(policy[entry]) if entry in PROBABILITIES else 1.0


def seed_of(index: int, draw: int) -> int:
    """Return the seed for one draw of one picture; the preview shows what was measured."""
    return index * 1_000 + draw + 1


def same(one: Drawn, other: Drawn) -> bool:
    """Return whether two draws have the same pixels and boxes."""
    return bool(
        np.array_equal(one.picture, other.picture)
        and np.array_equal(one.boxes, other.boxes)
        and np.array_equal(one.class_ids, other.class_ids)
    )


class _Tally:
    """Gathers what the drawn pictures of one entry show."""

    def __init__(self, names: Sequence[str], plain: dict[int, Plain]) -> None:
        self.names, self.plain = names, plain
        self.own: Counter[str] = Counter()
        self.yielded: Counter[str] = Counter()
        self.pasted: Counter[str] = Counter()
        self.inflations: list[float] = []
        self.contrasts: dict[str, list[tuple[float, float, float]]] = {}  # ratio, noise after, noise before
        self.short_before: list[float] = []
        self.short_after: list[float] = []
        self.pictures: list[tuple[bool, float, float, bool, float]] = []

    def add(self, index: int, drawn: Drawn) -> None:
        """Take in one picture."""
        plain = self.plain[index]
        grey = _grey(drawn.picture)
        self.own += plain.own
        self.yielded += Counter(self.names[c] for c in drawn.class_ids[drawn.rows >= 0])
        self.pasted += Counter(self.names[c] for c in drawn.class_ids[drawn.rows < 0])
        self.inflations += inflations(drawn)
        self.short_before += _short_sides(plain.drawn)
        self.short_after += _short_sides(drawn)
        for row, class_id, box in zip(drawn.rows, drawn.class_ids, drawn.boxes, strict=True):
            before = plain.contrasts.get(int(row))
            after = contrast_of(grey, box) if before is not None else None
            if before is not None and after is not None:
                facts = contrast_ratio(before, after), noise_ratio(after), noise_ratio(before)
                self.contrasts.setdefault(self.names[class_id], []).append(facts)
        self.pictures.append(_picture_facts(plain, drawn, grey))

    def result(self, entry: str, probability: float, **rest: Any) -> EntryMeasure:
        """Sum up."""
        facts = np.array(self.pictures, dtype=float)
        medians = {name: np.median(rows, axis=0).tolist() for name, rows in sorted(self.contrasts.items())}
        return EntryMeasure(
            entry=entry,
            probability=probability,
            pictures=len(facts),
            changed=float(facts[:, 0].mean()),
            yielded=dict(self.yielded),
            own=dict(self.own),
            pasted=dict(self.pasted),
            inflation=statistics.median(self.inflations) if self.inflations else None,
            contrast={name: (middle[0], len(self.contrasts[name])) for name, middle in medians.items()},
            noise={name: (middle[1], middle[2]) for name, middle in medians.items()},
            short_before=tuple(sorted(self.short_before)),
            short_after=tuple(sorted(self.short_after)),
            mean_shift=float(facts[:, 1].mean()),
            deviation_ratio=float(np.median(facts[:, 2])),
            black=float(facts[:, 3].mean()),
            clipped=float(facts[:, 4].mean()),
            **rest,
        )


def _picture_facts(plain: Plain, drawn: Drawn, grey: npt.NDArray[np.uint8]) -> tuple[bool, float, float, bool, float]:
    """Return changed, shift of the mean, ratio of deviations, black, clipped pixels gained."""
    before = plain.grey
    changed = not np.array_equal(plain.drawn.picture, drawn.picture)
    ends = [float(((picture <= _DARK) | (picture >= _BRIGHT)).mean()) for picture in (before, grey)]
    black = bool(np.percentile(grey, 99) <= _BLACK_PICTURE < np.percentile(before, 99))
    ratio = (float(grey.std()) + 1) / (float(before.std()) + 1)
    return changed, float(grey.mean()) - float(before.mean()), ratio, black, ends[1] - ends[0]


def inflations(drawn: Drawn) -> list[float]:
    """Return box area / area of the turned label, for the boxes that lie wholly inside the picture."""
    size = np.prod(drawn.boxes[:, 2:] - drawn.boxes[:, :2], axis=1)
    x, y = drawn.quads[..., 0], drawn.quads[..., 1]
    # The shoelace formula.
    area = np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)) / 2
    use = drawn.whole & (area > 1) & (drawn.rows >= 0)
    return [float(ratio) for ratio in size[use] / area[use]]


def _short_sides(drawn: Drawn) -> list[float]:
    own = drawn.boxes[drawn.rows >= 0]
    return [float(side) for side in (own[:, 2:] - own[:, :2]).min(axis=1)] if len(own) else []


def _grey(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    grey: npt.NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return grey


def choose_pictures(dataset: Dataset, count: int) -> list[int]:
    """Return the rows of pictures to look at: some of every class, rare classes first, evenly spread over the split."""
    rows = {image_id: row for row, image_id in enumerate(dataset.images["image_id"])}
    boxes = dataset.boxes.filter(~dataset.boxes["crowd"])
    chosen: dict[int, None] = {}
    by_class = boxes.group_by("class_id", maintain_order=True).agg("image_id").sort("class_id")
    classes = sorted(by_class.iter_rows(), key=lambda pair: len(set(pair[1])))
    share = max(1, count // max(1, len(classes)))
    for _, image_ids in classes:
        chosen.update(dict.fromkeys(_spread(sorted({rows[image_id] for image_id in image_ids}), share)))
    rest = [row for row in range(dataset.images.height) if row not in chosen]
    chosen.update(dict.fromkeys(_spread(rest, count - len(chosen))))
    return sorted(list(chosen)[:count])


def _spread(rows: list[int], count: int) -> list[int]:
    if count <= 0 or not rows:
        return []
    return [rows[index * len(rows) // count] for index in range(count)] if count < len(rows) else rows
