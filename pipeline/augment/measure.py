"""What each entry of a policy, and the whole stage, does to the pictures of a dataset; measures, and judges nothing."""

from __future__ import annotations

import copy
import math
import pickle
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..data.dataset import Dataset
from ..errors import ConfigError, TuneUpError
from ..policy import PROBABILITIES, Policy, entries
from ..transform_specs import spec_of
from .contrast import Contrast, contrast_of, contrast_ratio, detail_ratio, noise_ratio
from .entry_measure import WHOLE, EntryMeasure
from .stage import Drawn, Stage

__all__ = ["WHOLE", "EntryMeasure", "Measure", "Plain", "choose_pictures", "inflations", "same", "seed_of"]

_TIMED = 8  # pictures
_BOXES = 12  # boxes of one picture whose contrast is taken: a picture of wheat has a hundred, all of a kind
_SMALL = 2.0  # grey levels: an object that stands out by less cannot lose anything
_DARK, _BRIGHT = 2, 253  # grey levels taken for black and white: JPEG's rounding leaves 0 and 255 uncertain
_BLACK_PICTURE = 10  # grey levels: Ultralytics' division by 255 of an already divided picture leaves 4 to 10 [0..255]


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
            # The first pass still warms up: on DeepPCB it took a fifth longer than the next.
            self._plain_seconds = min(self._seconds() for _ in range(3))
        self.grey = all(_is_grey(plain.drawn.picture) for plain in self.plain.values())

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
        return self._measure(entry, probability_of(policy, entry), acting, (), draws)

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
        except ConfigError as error:
            return EntryMeasure(entry, probability, failure="; ".join(error.problems))
        except TuneUpError as error:
            return EntryMeasure(entry, probability, failure=str(error))
        own = seconds if entry == WHOLE else max(0.0, seconds - self._plain_seconds)
        rest = {"milliseconds": own * 1000, "grey": self.grey, "repeatable": repeatable, "restored": restored}
        return tally.result(entry, probability, **rest)

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
    """Return the probability with which an entry acts on a picture; of `WHOLE`: that any of them acts."""
    if entry == WHOLE:
        return 1 - math.prod(1 - probability_of(policy, name) for name in entries(policy))
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
        self.counts: dict[int, tuple[Counter[str], Counter[str]]] = {}  # picture -> own, yielded
        self.pasted: Counter[str] = Counter()
        self.inflations: list[float] = []
        self.contrasts: dict[str, list[tuple[float, float, float]]] = {}  # ratio, noise after, noise before
        self.details: dict[str, list[float]] = {}
        self.short_before: list[float] = []
        self.short_after: list[float] = []
        self.pictures: list[tuple[bool, float, float, bool, float]] = []

    def add(self, index: int, drawn: Drawn) -> None:
        """Take in one picture."""
        plain = self.plain[index]
        grey = _grey(drawn.picture)
        yielded = Counter(self.names[c] for c in drawn.class_ids[drawn.rows >= 0])
        self.own += plain.own
        self.yielded += yielded
        own_before, yielded_before = self.counts.get(index, (Counter(), Counter()))
        self.counts[index] = own_before + plain.own, yielded_before + yielded
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
                detail = detail_ratio(before, after)
                if detail is not None:
                    self.details.setdefault(self.names[class_id], []).append(detail)
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
            survival_error={name: ratio_error(list(self.counts.values()), name) for name in self.own},
            pasted=dict(self.pasted),
            inflation=statistics.median(self.inflations) if self.inflations else None,
            contrast={name: (middle[0], len(self.contrasts[name])) for name, middle in medians.items()},
            detail={name: (statistics.median(rows), len(rows)) for name, rows in sorted(self.details.items())},
            noise={name: (middle[1], middle[2]) for name, middle in medians.items()},
            short_before=tuple(sorted(self.short_before)),
            short_after=tuple(sorted(self.short_after)),
            mean_shift=float(facts[:, 1].mean()),
            mean_change=float(np.abs(facts[:, 1]).mean()),
            deviation_ratio=float(np.median(facts[:, 2])),
            black=float(facts[:, 3].mean()),
            clipped=float(facts[:, 4].mean()),
            **rest,
        )


def ratio_error(counts: Sequence[tuple[Counter[str], Counter[str]]], name: str) -> float:
    """Return the standard error of the share of a class's boxes that come out, from own and yielded of each picture.

    That of a ratio of two sums over clusters (Cochran, Sampling Techniques, 1977, equation 2.46, without the correction
    for a finite population): the clusters are pictures.
    """
    pairs = np.array([(own[name], yielded[name]) for own, yielded in counts], dtype=float)
    total = pairs[:, 0].sum()
    if len(pairs) < 2 or total == 0:
        return 0.0
    residuals = pairs[:, 1] - pairs[:, 1].sum() / total * pairs[:, 0]
    return float(np.sqrt(len(pairs) / (len(pairs) - 1) * (residuals**2).sum()) / total)


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


def _is_grey(picture: npt.NDArray[np.uint8]) -> bool:
    return bool((picture == picture[..., :1]).all())


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
