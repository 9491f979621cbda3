"""What each entry of a policy, and the whole stage, does to the pictures of a dataset; measures, and judges nothing."""

from __future__ import annotations

import copy
import math
import pickle
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError, TuneUpError
from ..policy import PROBABILITIES, Policy, entries
from ..transform_list import MOVES
from ..transform_specs import require_albumentations, spec_of
from .entry_measure import WHOLE, EntryMeasure
from .stage import Drawn, Stage
from .tally import Tally, is_grey, plain_picture

_TIMED = 8  # pictures
_LEAST = 4  # pictures that are drawn however little time there is


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
            self.plain = {index: plain_picture(stage.draw(index, 0), names) for index in self.indices}
            # The first pass still warms up: on DeepPCB it took a fifth longer than the next.
            self.plain_seconds = min(self._seconds() for _ in range(3))
        self.grey = all(is_grey(plain.drawn.picture) for plain in self.plain.values())

    def _read(self) -> float:
        """Read the pictures once; returns the seconds for one."""
        started = time.perf_counter()
        for index in self.indices:
            self.stage.read(index)
        return (time.perf_counter() - started) / len(self.indices)

    def _seconds(self) -> float:
        """Return the median time of the stage that acts, per picture."""
        return statistics.median(self.stage.seconds(index, seed_of(index, 0)) for index in self.indices[:_TIMED])

    def entry(self, entry: str, policy: Policy, *, draws: int = 1, until: float | None = None) -> EntryMeasure:
        """Measure one entry, forced to act on every picture.

        Args:
            entry: of the policy.
            policy: as in training.
            draws: of every picture.
            until: `time.monotonic()` after which only as many more pictures are drawn as it takes to say anything.
        """
        return self._measure(
            entry, probability_of(policy, entry), policy.only(entry, forced=True), draws=draws, until=until
        )

    def whole(self, policy: Policy, draws: int, *, until: float | None = None) -> EntryMeasure:
        """Measure the whole stage, which acts as in training, on so many draws of every picture."""
        return self._measure(WHOLE, probability_of(policy, WHOLE), policy, draws=draws, until=until)

    def transform(self, transform: Any) -> EntryMeasure:
        """Measure an Albumentations object that a policy may or may not hold, forced to act on every picture.

        Raises:
            ConfigError: it is none, or a group of several.
        """
        name, probability = type(transform).__name__, float(getattr(transform, "p", 1.0))
        try:
            require_albumentations()
        except ConfigError as error:
            return EntryMeasure(name, probability, failure="; ".join(error.problems))
        single_transform(transform)
        forced = copy.deepcopy(transform)
        forced.p = 1.0
        return self._measure(name, probability, Policy.off(), (forced,))

    def _measure(
        self,
        entry: str,
        probability: float,
        acting: Policy,
        objects: Sequence[Any] = (),
        *,
        draws: int = 1,
        until: float | None = None,
    ) -> EntryMeasure:
        tally = Tally(self.names, self.plain)
        try:
            with self.stage.acting(acting, objects):
                for number, (draw, index) in enumerate((d, i) for d in range(draws) for i in self.indices):
                    if until is not None and number >= _LEAST and time.monotonic() > until:
                        break
                    tally.add(index, self.stage.draw(index, seed_of(index, draw)))
                last = self.indices[-1]
                repeatable = same(self.stage.draw(last, 7), self.stage.draw(last, 7))
                restored = self._restored(acting, objects, last)
                seconds = self._seconds()
        except ConfigError as error:
            return EntryMeasure(entry, probability, failure="; ".join(error.problems))
        except TuneUpError as error:
            return EntryMeasure(entry, probability, failure=str(error))
        own = seconds if entry == WHOLE else max(0.0, seconds - self.plain_seconds)
        names = {name.partition("#")[0] for name in entries(acting)} | {type(item).__name__ for item in objects}
        return tally.result(
            entry,
            probability,
            milliseconds=own * 1000,
            grey=self.grey,
            moves=bool(MOVES & names),
            repeatable=repeatable,
            restored=restored,
        )

    def _restored(self, acting: Policy, objects: Sequence[Any], index: int) -> str:
        """Say what differs once the policy was written down and read again, and the loader sent to another process."""
        expected = self.stage.draw(index, 11)
        try:
            written = acting.replaced(transforms=[*acting.transforms, *map(spec_of, objects)])
            read = Policy.model_validate(written.model_dump(mode="json"))
            if read.copy_paste != written.copy_paste:
                return "another copy_paste after it was written down and read again"
            with self.stage.acting(read):
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


def single_transform(transform: Any) -> None:
    """Raise ConfigError for what is no single Albumentations transform."""
    import albumentations

    if isinstance(transform, albumentations.BaseCompose):
        raise ConfigError([f"{type(transform).__name__}: a group; give its transforms one by one: its `transforms`"])
    if not isinstance(transform, albumentations.BasicTransform):
        raise ConfigError([f"{transform!r}: no Albumentations transform; give objects such as A.GaussNoise(p=0.3)"])
