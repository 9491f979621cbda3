"""Corrupted pictures and what a detector loses on them."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import albumentations
import numpy as np
import polars as pl
import pytest
from helpers import ROOT, box, dataset_of
from numpy.typing import NDArray
from scipy import stats

from pipeline.errors import TuneUpError
from pipeline.evaluation import corruptions as module
from pipeline.evaluation.corruptions import CORRUPTIONS, STRENGTHS, Change, check_corruptions, corrupt
from pipeline.evaluation.intervals import image_weights
from pipeline.evaluation.matching import match
from pipeline.evaluation.metrics import RANGES, measure
from pipeline.evaluation.robustness import robustness
from pipeline.evaluation.tables import Detections, Truth
from pipeline.runs import DETECTIONS_SCHEMA

NAMES = [corruption.name for corruption in CORRUPTIONS]
Picture = NDArray[np.uint8]


def _scene(height: int = 300, width: int = 640) -> Picture:
    """Return a picture with flat parts, edges and fine texture, none of it near black or white."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:height, :width]
    grey = 90 + 60 * ((rows // 20 + columns // 30) % 2) + rng.integers(-15, 16, (height, width))
    return np.stack([grey, grey + 10, grey - 20], axis=2).astype(np.uint8)


def _psnr(before: Picture, after: Picture) -> float:
    error = np.square(before.astype(float) - after).mean()
    return float(10 * np.log10(255**2 / error)) if error else np.inf


# ---- pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_pictures_get_worse_with_the_strength(name: str) -> None:
    picture = _scene()
    before = picture.copy()
    made = [corrupt(name, strength, picture, 3) for strength in STRENGTHS]
    assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in made)
    quality = [_psnr(picture, one) for one in made]
    assert np.isfinite(quality[0])
    assert all(low < high - 0.3 for high, low in itertools.pairwise(quality))  # dB
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(8, 8), (8, 33), (70, 5), (1, 1), (480, 17)])
def test_small_and_grey_pictures_keep_size_and_grey(name: str, shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(40, 200, shape).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    for strength in STRENGTHS:
        changed = corrupt(name, strength, picture, 1)
        assert changed.shape == picture.shape
        assert changed.dtype == np.uint8
        if name in ("motion_blur", "defocus", "darker", "brighter"):
            assert np.array_equal(changed[..., 0], changed[..., 1])
            assert np.array_equal(changed[..., 0], changed[..., 2])


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_decides(name: str) -> None:
    picture = _scene()
    random.seed(4)
    np.random.seed(4)  # noqa: NPY002  # the global state is what must not matter
    states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    first = corrupt(name, 4, picture, 9)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # type: ignore[index]  # noqa: NPY002
    corrupt(name, 2, picture[:50], 8)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    assert np.array_equal(corrupt(name, 4, picture, 9), first)
    other = corrupt(name, 4, picture, 10)
    assert np.array_equal(other, first) == (name not in ("motion_blur", "noise"))


@pytest.mark.parametrize("name", ["motion_blur", "defocus"])
def test_blur_moves_nothing_and_keeps_the_light(name: str) -> None:
    picture = np.zeros((201, 640, 3), np.uint8)
    picture[96:105, 316:325] = 240
    rows, columns = np.mgrid[:201, :640]
    for strength in STRENGTHS:
        for seed in range(4):
            light = corrupt(name, strength, picture, seed)[..., 0].astype(float)
            centre = (rows * light).sum() / light.sum(), (columns * light).sum() / light.sum()
            assert centre == pytest.approx((100, 320), abs=0.6)
            assert light.sum() == pytest.approx(picture[..., 0].sum(dtype=float), rel=0.03)


@pytest.mark.parametrize("name", ["motion_blur", "defocus"])
@pytest.mark.parametrize("strength", [3, 4, 5])
def test_blur_grows_with_the_picture(name: str, strength: int) -> None:
    def width(side: int) -> float:
        """Return how far a single bright pixel is spread, standard deviation in shares of the side."""
        picture = np.zeros((side // 4 + 1, side, 3), np.uint8)
        middle = side // 8, side // 2
        picture[middle] = 255
        light = corrupt(name, strength, picture, 2)[..., 0].astype(float)
        rows, columns = np.mgrid[: picture.shape[0], :side]
        squares = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2
        return float(np.sqrt((squares * light).sum() / light.sum()) / side)

    assert width(1280) == pytest.approx(width(640), rel=0.25)


def test_noise_has_the_stated_deviation_and_exposure_the_stated_gain() -> None:
    grey = np.full((200, 300, 3), 128, np.uint8)
    for strength, level in zip(STRENGTHS[:4], module.BY_NAME["noise"].levels, strict=False):
        spread = (corrupt("noise", strength, grey, 1).astype(float) - 128).std() / 255
        assert spread == pytest.approx(level, abs=0.001 + 0.5 / 255)  # whole grey values
    assert corrupt("brighter", 5, grey, 1)[0, 0, 0] == pytest.approx(128 * 2 ** (1 / 2.2), abs=1)
    assert corrupt("darker", 5, grey, 1)[0, 0, 0] == pytest.approx(128 * 2 ** (-3.5 / 2.2), abs=1)


@pytest.mark.parametrize(
    ("attribute", "replacement", "name"),
    [
        ("MotionBlur", lambda *_, **__: albumentations.NoOp(p=1), "motion_blur"),
        ("GaussNoise", lambda *_, **__: albumentations.GaussNoise((0.1, 0.1), p=1), "noise"),  # ignores the strength
        ("Defocus", lambda *_, **__: albumentations.Resize(10, 10, p=1), "defocus"),
        ("ImageCompression", None, "jpeg"),
        ("MotionBlur", ImportError, "motion_blur"),
    ],
)
def test_a_corruption_that_does_not_work_is_no_clean_picture(
    monkeypatch: pytest.MonkeyPatch, attribute: str, replacement: Any, name: str
) -> None:
    check_corruptions()
    if replacement is ImportError:
        monkeypatch.setitem(sys.modules, "albumentations", None)
    elif replacement is None:
        monkeypatch.delattr(albumentations, attribute)
    else:
        monkeypatch.setattr(albumentations, attribute, replacement)
    with pytest.raises(TuneUpError, match=rf"Albumentations .* '{name}'.*install albumentations==2\.0\.8"):
        check_corruptions()


def test_torch_is_not_loaded() -> None:
    code = (
        "import sys, pipeline.evaluation.robustness; sys.exit('torch' in sys.modules or 'ultralytics' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# ---- figures --------------------------------------------------------------------------------------------------------


def _truth(images: int) -> Truth:
    """Return pictures 1, 2, ... with one box of 20 x 20 px each."""
    return Truth.of(dataset_of([box(n, 0, 10, 10, 30, 30) for n in range(1, images + 1)], pictures=images))


def _frame(found: list[tuple[int, float]]) -> pl.DataFrame:
    """Return detections of picture and IoU with its box, in falling score."""
    rows = [(n, 0, 0.9 - 0.001 * k, 10, 10, 10 + 20 * iou, 30) for k, (n, iou) in enumerate(found)]
    return pl.DataFrame(rows, schema=DETECTIONS_SCHEMA, orient="row")


class _Detector:
    """Looks at the corrupted pictures, and finds what `rule` says for the corruption that it can tell from them."""

    def __init__(self, images: int, rule: Callable[[str, int], list[tuple[int, float]]]) -> None:
        self.images, self.rule = images, rule
        self.picture = _scene(60, 90)
        self.conditions = [(name, strength) for name in NAMES for strength in STRENGTHS]
        self.seen: list[dict[int, Picture]] = []

    def __call__(self, change: Change) -> pl.DataFrame:
        order = range(1, self.images + 1) if len(self.seen) % 2 else range(self.images, 0, -1)
        self.seen.append({number: change(self.picture, number) for number in order})
        return _frame(self.rule(*self.conditions[len(self.seen) - 1]))


def test_the_figures_are_those_of_a_calculation_by_hand() -> None:
    images = 8

    def rule(name: str, strength: int) -> list[tuple[int, float]]:
        if name == "jpeg":  # one box fewer with each strength, always the last ones
            return [(n, 1.0) for n in range(1, images + 1 - strength)]
        if name == "noise" and strength == 5:  # all found, but with an IoU of 0.72: right at 5 of 10 thresholds
            return [(n, 0.72) for n in range(1, images + 1)]
        return [(n, 1.0) for n in range(1, images + 1)]

    detector = _Detector(images, rule)
    clean = _frame([(n, 1.0) for n in range(1, images + 1)])
    weights = image_weights(images, 300, seed=1)
    result = robustness(detector, _truth(images), clean, weights, units=images)
    assert result is not None
    assert (result.clean.value, result.clean.low, result.clean.high) == (1.0, 1.0, 1.0)
    by_condition = {(one.corruption, one.strength): one for one in result.conditions}
    assert list(by_condition) == detector.conditions
    # Recall ends at (8 - s) / 8 with precision 1: of the points 0.00 to 1.00 those up to there are reached.
    reached = [np.floor(100 * (images - s) / images + 1e-9) + 1 for s in STRENGTHS]
    jpeg = [points / 101 for points in reached]
    for strength, expected in zip(STRENGTHS, jpeg, strict=True):
        one = by_condition["jpeg", strength]
        assert (one.map50_95, one.map50) == pytest.approx((expected, expected))
        assert (one.drop.value, one.drop50.value) == pytest.approx((1 - expected, 1 - expected))
        assert one.drop.low <= one.drop.value <= one.drop.high
    noise = by_condition["noise", 5]
    assert (noise.map50_95, noise.map50) == (pytest.approx(0.5), 1.0)
    assert (noise.drop.value, noise.drop.low, noise.drop.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (noise.drop50.value, noise.drop50.low, noise.drop50.high) == (0, 0, 0)
    untouched = by_condition["darker", 3]
    assert (untouched.drop.value, untouched.drop.low, untouched.drop.high) == (0, 0, 0)
    mpc = (sum(jpeg) + 0.5 + 24) / 30
    assert result.mpc.value == pytest.approx(mpc)
    assert result.rpc is not None
    assert result.rpc.value == pytest.approx(mpc)
    assert result.rpc.low < mpc < result.rpc.high
    assert result.drops["jpeg"].value == pytest.approx(1 - np.mean(jpeg))
    assert result.drops["noise"].value == pytest.approx(0.1)
    record = result.to_dict()
    assert len(record["conditions"]) == 30
    assert record["conditions"][0]["parameter"] == 3


def test_the_resamples_are_paired() -> None:
    """Half of the pictures are lost under JPEG: the interval is that of the lost share in each resample."""
    images = 10
    half = [(n, 1.0) for n in range(1, 6)]
    whole = [(n, 1.0) for n in range(1, 11)]
    weights = image_weights(images, 400, seed=3)
    detector = _Detector(images, lambda name, _: half if name == "jpeg" else whole)
    result = robustness(detector, _truth(images), _frame(whole), weights, units=images)
    assert result is not None
    kept = weights[:, :5].sum(axis=1) / images
    points = np.where(kept > 0, np.floor(100 * kept + 1e-9) + 1, 0)
    tail = stats.norm.cdf(-stats.t.ppf(0.975, images - 1))
    low, high = np.quantile(1 - points / 101, [tail, 1 - tail])
    drop = result.drops["jpeg"]
    assert (drop.low, drop.high) == pytest.approx((low, high))


def test_the_clean_figure_is_the_one_that_the_metrics_give() -> None:
    images = 9
    truth, clean, weights = _truth(images), _frame([(n, 1 - 0.05 * n) for n in range(1, 7)]), image_weights(images, 60)
    result = robustness(_Detector(images, lambda *_: []), truth, clean, weights, units=images)
    assert result is not None
    numbers = measure(match(truth, Detections.of(truth, clean), ranges=RANGES), weights)
    assert result.to_dict()["clean"] == pytest.approx(numbers["intervals"]["map50_95"])


def test_one_picture_has_figures_and_no_interval() -> None:
    result = robustness(_Detector(1, lambda *_: []), _truth(1), _frame([(1, 1.0)]), image_weights(1, 6), units=1)
    assert result is not None
    assert (result.clean.value, result.mpc.value) == (1.0, 0.0)
    record, finding = result.to_dict(), result.finding()
    assert (record["clean"], record["mpc"], record["rpc"], record["drops"]["jpeg"]) == (None,) * 4
    assert (finding.severity, finding.evidence["drop"]) == ("info", None)


def test_each_picture_is_corrupted_alike_in_any_order() -> None:
    detector = _Detector(3, lambda *_: [(1, 1.0)])
    truth, clean, weights = _truth(3), _frame([(1, 1.0)]), image_weights(3, 5)
    robustness(detector, truth, clean, weights, units=3)
    first, detector.seen = detector.seen, [{}]
    detector.conditions.insert(0, ("", 0))
    robustness(detector, truth, clean, weights, units=3)
    for one, other in zip(first, detector.seen[1:], strict=True):
        assert list(one) != list(other)
        assert all(np.array_equal(one[number], other[number]) for number in one)
    noise = first[NAMES.index("noise") * 5]
    assert not np.array_equal(noise[1], noise[2])


def test_pictures_that_were_not_corrupted_are_noticed() -> None:
    def forgetful(change: Change) -> pl.DataFrame:
        change(_scene(20, 20), 2)
        return _frame([(1, 1.0)])

    with pytest.raises(TuneUpError, match="2 of 3 pictures were predicted without 'motion_blur'"):
        robustness(forgetful, _truth(3), _frame([(1, 1.0)]), image_weights(3, 5), units=3)


def test_without_a_box_or_a_hit() -> None:
    detector = _Detector(2, lambda *_: [])
    nothing = Truth.of(dataset_of([], pictures=2))
    assert robustness(detector, nothing, _frame([]), image_weights(2, 5), units=2) is None
    result = robustness(detector, _truth(2), _frame([]), image_weights(2, 5), units=2)
    assert result is not None
    assert (result.mpc.value, result.rpc, result.to_dict()["rpc"]) == (0, None, None)
    assert result.finding().message == "no corruption costs more than noise"


@pytest.mark.parametrize(
    ("lost", "severity", "words"),
    [
        ({}, "info", "no corruption costs more than noise"),
        ({("defocus", 4): 4, ("defocus", 5): 6, ("noise", 5): 3}, "info", r"defocus costs most: \d+\.\d points"),
        (
            {("darker", s): 5 for s in STRENGTHS},
            "warning",
            r"underexposure costs most: .*at strength 1, which is hardly",
        ),
    ],
)
def test_the_worst_corruption_is_named_with_advice(lost: dict[tuple[str, int], int], severity: str, words: str) -> None:
    images = 12

    def rule(name: str, strength: int) -> list[tuple[int, float]]:
        return [(n, 1.0) for n in range(1, images + 1 - lost.get((name, strength), 0))]

    clean = _frame([(n, 1.0) for n in range(1, images + 1)])
    weights = image_weights(images, 200)
    result = robustness(_Detector(images, rule), _truth(images), clean, weights, units=images)
    assert result is not None
    finding = result.finding()
    assert (finding.id, finding.severity) == ("robustness.worst", severity)
    assert re.search(words, finding.message)
    assert bool(finding.advice) == bool(lost)
