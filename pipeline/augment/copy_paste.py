"""Copy-paste for boxes: rare or small objects, cut from training pictures and pasted into others, without polygons."""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..errors import ConfigError
from .blending import blended, rescaled
from .object_bank import REASONS, SMALL_AREA, Cut, Floats, Pixels, cut_out, pick, survey, training_pictures
from .places import Ground
from .quotas import Wanted, numbers_to_paste, rates

if TYPE_CHECKING:
    from ..policy import CopyPaste

TRIES = 4  # objects of a kind that are tried in a picture until one finds a place
_TRIALS = 32  # pictures on which the share of successful pastes is measured beforehand: it is within 0.09 of the truth
_LEAST_PLACED = 0.25  # share that is made up for by trying more often; rarer kinds would take the room of the others
_SMALL = "small objects"
_WHERE = "augment.copy_paste"


@dataclass(frozen=True)
class Pasted:
    """What `Paster.paste` made of a picture.

    Args:
        picture: uint8 `[h, w, 3]`, BGR; the one that was given if nothing was pasted.
        boxes: `[m, 4]`, px, corners of the pasted objects alone.
        class_ids: `[m]`.
    """

    picture: Pixels
    boxes: Floats
    class_ids: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What is pasted of one kind, and how far it gets; shares are of all boxes, pasted ones included.

    Args:
        kind: class name, or None for small objects.
        cuts: objects in the bank.
        share: without pasting.
        wanted: as the policy has it.
        reached: to be expected: less than `wanted` where `per_picture` or a lack of fitting places stands against it.
        per_picture: objects tried in one picture, mean.
        placed: share of them that found a place, measured on up to 32 of the pictures.
    """

    kind: str | None
    cuts: int
    share: float
    wanted: float
    reached: float
    per_picture: float
    placed: float


@dataclass(frozen=True)
class Paster:
    """Pastes objects of a bank into pictures of training size. All randomness comes from the generator passed in.

    Args:
        plans: one per quota, in the order of the policy, small objects last.
        blend: feather or seamless.
        bank: the objects of each plan.
    """

    plans: tuple[Plan, ...]
    blend: Literal["feather", "seamless"]
    bank: tuple[tuple[Cut, ...], ...]

    @classmethod
    def of(cls, dataset: Dataset, settings: CopyPaste, imgsz: int) -> Paster | None:
        """Cut out the objects and work out how many are to be pasted; None if every share is reached as it is.

        Args:
            dataset: the training split, and nothing else.
            settings: of the policy.
            imgsz: px, long side of the pictures in training.

        Raises:
            ConfigError: a class is unknown, or none of its objects can be cut out, or the shares are too large.
            DataError: a picture cannot be read.
        """
        surveyed = survey(dataset, settings, imgsz)
        found = _usable(dataset.names, surveyed, settings, imgsz)
        if not found:
            return None
        picked = {kind: pick(table, settings) for kind, table in found.items()}
        cuts = cut_out(dataset, picked, settings, imgsz, {_SMALL: SMALL_AREA})
        return _planned(dataset, settings, imgsz, surveyed, cuts)

    def paste(self, picture: Pixels, boxes: Floats, draw: random.Random) -> Pasted:
        """Paste objects into a picture where they fit; neither the picture nor the boxes passed in are changed.

        Args:
            picture: uint8 `[h, w, 3]`, BGR, at training size.
            boxes: `[n, 4]`, px, corners of what stands in it, which is kept clear of.
            draw: source of all random numbers.
        """
        tried = sum(plan.per_picture for plan in self.plans)
        count = math.floor(tried) + (draw.random() < tried % 1)
        kinds = draw.choices(self.bank, [plan.per_picture for plan in self.plans], k=count)
        return self._into(picture, boxes, kinds, draw)

    def _into(self, picture: Pixels, boxes: Floats, kinds: Sequence[tuple[Cut, ...]], draw: random.Random) -> Pasted:
        """Paste one object of each of the kinds."""
        ground, result = Ground(picture), picture
        taken, found, class_ids = boxes.reshape(-1, 4), [], []
        for cuts in kinds:
            for _ in range(TRIES):
                cut = draw.choice(cuts)
                low, high = cut.scale
                sized = rescaled(cut, low * (high / low) ** draw.random())
                place = ground.find(sized, taken, draw)
                if place is not None:
                    break
            else:
                continue
            left, top = place
            height, width = sized.pixels.shape[:2]
            result = picture.copy() if result is picture else result
            area = result[top : top + height, left : left + width]
            area[:] = blended(sized, area, self.blend)
            # Further objects keep clear of the margin as well, so that what `ground` knows of the rest stays true.
            taken = np.append(taken, [[left, top, left + width, top + height]], axis=0)
            found.append(sized.box + np.array([left, top, left, top]))
            class_ids.append(sized.class_id)
        return Pasted(result, np.array(found, np.float64).reshape(-1, 4), np.array(class_ids, np.int64))


def _usable(names: Sequence[str], surveyed: pl.DataFrame, settings: CopyPaste, imgsz: int) -> dict[str, pl.DataFrame]:
    """Return the boxes that can be cut out, by class name, those of small objects under a name of their own.

    Raises:
        ConfigError: see `Paster.of`.
    """
    problems = [f"{_WHERE}.quotas.{name}: {_unknown(name, names)}" for name in settings.quotas if name not in names]
    good = surveyed.filter(pl.col("reason").is_null())
    found: dict[str, pl.DataFrame] = {}
    for name in settings.quotas:
        if name in names:
            of_class = pl.col("class_id") == names.index(name)
            found[name] = good.filter(of_class)
            if found[name].is_empty():
                problems.append(f"{_WHERE}.quotas.{name}: {_none_usable(surveyed.filter(of_class), imgsz)}")
    if settings.small:
        with_quota = [names.index(name) for name in found]
        fits = (pl.col("area") * settings.scale[0] ** 2 < SMALL_AREA) & ~pl.col("class_id").is_in(with_quota)
        found[_SMALL] = good.filter(fits & (pl.col("area") < SMALL_AREA))
        if found[_SMALL].is_empty():
            problems.append(
                f"{_WHERE}.small: no box below 32 x 32 px at imgsz={imgsz} can be cut out among the classes without a "
                "quota; leave small out, or the quota of a class with small objects"
            )
    if problems:
        raise ConfigError(problems)
    return found


def _unknown(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f"there is no such class{f', did you mean {near[0]}?' if near else ''} (classes: {', '.join(names)})"


def _none_usable(boxes: pl.DataFrame, imgsz: int) -> str:
    """Say why none of a class's boxes can be cut out, and what to do."""
    if boxes.is_empty():
        return "no box of this class is in the training split; label some, or leave the quota out"
    counts = dict(boxes["reason"].value_counts(sort=True, parallel=False).iter_rows())
    why = ", ".join(f"{count} {REASONS[reason].format(imgsz)}" for reason, count in counts.items())
    larger = "raise imgsz, " if "tiny" in counts else ""
    return f"none of its {boxes.height} boxes can be cut out: {why}; {larger}label more, or leave the quota out"


def _planned(
    dataset: Dataset, settings: CopyPaste, imgsz: int, surveyed: pl.DataFrame, cuts: Mapping[str, tuple[Cut, ...]]
) -> Paster | None:
    """Work out how many objects of each kind are to be tried, from the boxes that train."""
    boxes = surveyed.filter(~pl.col("crowd"))
    small = [1.0 if name == _SMALL else _share_of_small(found) for name, found in cuts.items()]
    wanted = [
        Wanted(boxes.filter(pl.col("class_id") == dataset.names.index(name)).height, share, of_small)
        for (name, share), of_small in zip(settings.quotas.items(), small, strict=False)
    ]
    small_ones = (
        Wanted(boxes.filter(pl.col("area") < SMALL_AREA).height, settings.small, 1.0) if settings.small else None
    )
    try:
        numbers = numbers_to_paste(boxes.height, wanted, small_ones)
    except ValueError as error:
        raise ConfigError(
            [f"{_WHERE}: {error}, small included, which leaves nothing for the other boxes; lower them"]
        ) from error
    numbers = numbers[: len(cuts)]  # without a quota of small objects the last number stands for nothing
    if not numbers.any():
        return None
    placed = _placed(dataset, surveyed, imgsz, tuple(cuts.values()))
    tried = rates(numbers, dataset.images.height, placed.clip(_LEAST_PLACED), settings.per_picture)
    reached = tried * placed * dataset.images.height
    kinds = [*wanted, *([small_ones] if small_ones else [])]
    total = boxes.height + reached.sum()
    gained = [*reached[: len(wanted)], float((reached * small).sum())]
    plans = [
        Plan(
            kind=None if name == _SMALL else name,
            cuts=len(found),
            share=kinds[k].count / boxes.height,
            wanted=kinds[k].share,
            reached=float((kinds[k].count + gained[k]) / total),
            per_picture=float(tried[k]),
            placed=float(placed[k]),
        )
        for k, (name, found) in enumerate(cuts.items())
    ]
    return Paster(tuple(plans), settings.blend, tuple(cuts.values()))


def _share_of_small(cuts: Sequence[Cut]) -> float:
    """Return the expected share of small ones among pasted objects; factors are drawn uniformly in their logarithm."""
    shares = []
    for cut in cuts:
        low, high = map(math.log, cut.scale)
        limit = math.log(SMALL_AREA / float((cut.box[2:] - cut.box[:2]).prod())) / 2
        shares.append(float(limit > low) if low == high else min(max((limit - low) / (high - low), 0.0), 1.0))
    return float(np.mean(shares))


def _placed(
    dataset: Dataset, surveyed: pl.DataFrame, imgsz: int, bank: Sequence[tuple[Cut, ...]]
) -> NDArray[np.float64]:
    """Return for each kind the share of pictures in which one of its objects finds a place."""
    step = -(-dataset.images.height // _TRIALS)
    chosen = dataset.images["image_id"].gather_every(step).to_list()
    by_image = surveyed.partition_by("image_id", as_dict=True)
    trial, draw = Paster((), "feather", ()), random.Random(0)
    found = np.zeros(len(bank))
    for image_id, picture in training_pictures(dataset, chosen, imgsz):
        boxes = by_image.get((image_id,), surveyed.clear()).select("x1", "y1", "x2", "y2").to_numpy()
        found += [len(trial._into(picture, boxes, [cuts], draw).boxes) for cuts in bank]
    return found / len(chosen)
