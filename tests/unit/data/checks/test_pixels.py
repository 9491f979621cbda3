"""Pictures by their pixels: planted on disk, looked at by `picture_facts`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from helpers import box, dataset_of

from pipeline.data.checks import Snapshot, take_snapshot
from pipeline.data.checks.pixels import blank, blurred, brightness, not_decoded
from pipeline.data.dataset import Dataset
from pipeline.data.picture_facts import FACTS_SCHEMA, PictureFacts, picture_facts

COUNT = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures with discs on an uneven ground, all alike in kind."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for n in range(1, COUNT + 1):
        picture = np.full((160, 160), rng.integers(95, 125), np.uint8)
        for x, y in rng.integers(10, 150, (rng.integers(4, 9), 2)).tolist():
            cv2.circle(picture, (x, y), int(rng.integers(5, 14)), int(rng.integers(150, 230)), -1)
        noisy = picture + rng.normal(0, 4, picture.shape)
        cv2.imwrite(str(folder / f"{n}.png"), np.clip(noisy, 0, 255).astype(np.uint8))
    return folder


def _snapshot(folder: Path, planted: dict[str, np.ndarray] | None = None) -> Snapshot:
    for name, picture in (planted or {}).items():
        cv2.imwrite(str(folder / name), picture)
    names = [f"{n}.png" for n in range(1, COUNT + 1)] + list(planted or {})
    pictures = {n: {"path": name, "width": 160, "height": 160} for n, name in enumerate(names, start=1)}
    made = dataset_of([box(COUNT + 1, 0, 5, 5, 40, 40)] if planted else [], pictures=pictures)
    dataset = Dataset(made.names, made.images, made.boxes, folder)
    return take_snapshot(dataset, 640, facts=picture_facts(dataset))


def _read(folder: Path, number: int) -> np.ndarray:
    return cv2.imread(str(folder / f"{number}.png"), cv2.IMREAD_GRAYSCALE)


def _measured(*odd: dict[str, float], usual: int = 60, spread: float = 0.0) -> Snapshot:
    """Return pictures of brightness 100, contrast 20 and sharpness 400 (its logarithm spread), and odd ones."""
    steps = np.exp(spread * np.linspace(-1, 1, usual))
    rows = [{"brightness": 100.0, "contrast": 20.0, "sharpness": 400.0 * step} for step in steps]
    rows += [{"brightness": 100.0, "contrast": 20.0, "sharpness": 400.0, **change} for change in odd]
    paths = [f"{n}.png" for n in range(1, len(rows) + 1)]
    table = pl.DataFrame([{"path": path, **row} for path, row in zip(paths, rows, strict=True)], FACTS_SCHEMA)
    facts = PictureFacts(table, np.zeros((len(rows), 32, 32), np.uint8))
    return take_snapshot(dataset_of([], pictures=len(rows)), 640, facts=facts)


def test_brightness_is_odd_beyond_40_percent_of_the_usual() -> None:
    assert brightness(_measured({"brightness": 61.0}, {"brightness": 139.0})) == []
    (finding,) = brightness(_measured({"brightness": 59.0}, {"brightness": 141.0}))
    assert finding.evidence["pictures"] == ["61.png", "62.png"]
    assert brightness(_measured({"brightness": 20.0}, usual=28)) == []  # no usual brightness yet
    assert len(brightness(_measured({"brightness": 20.0}, usual=29))) == 1


def test_sharpness_is_odd_below_a_half_and_3_and_a_half_deviations() -> None:
    assert blurred(_measured({"sharpness": 210.0})) == []
    assert len(blurred(_measured({"sharpness": 190.0}))) == 1
    # The median absolute deviation of an even spread of 1 is 0.5, so that 3.5 deviations are 2.59.
    assert blurred(_measured({"sharpness": 400 * np.exp(-2.3)}, spread=1.0)) == []
    assert len(blurred(_measured({"sharpness": 400 * np.exp(-2.9)}, spread=1.0))) == 1


def test_blank_is_a_contrast_below_1() -> None:
    assert blank(_measured({"contrast": 1.0})) == []
    assert len(blank(_measured({"contrast": 0.9}))) == 1


def test_sound_pictures_are_silent(folder: Path) -> None:
    snapshot = _snapshot(folder)
    for check in (not_decoded, blank, brightness, blurred):
        assert check(snapshot) == [], check.__name__


def test_without_a_look_at_the_pixels_nothing_is_said() -> None:
    snapshot = take_snapshot(dataset_of([]), 640)
    for check in (not_decoded, blank, brightness, blurred):
        assert check(snapshot) == []


def test_a_blank_picture_is_named_and_whether_it_has_boxes(folder: Path) -> None:
    (finding,) = blank(_snapshot(folder, {"blank.png": np.full((160, 160), 130, np.uint8)}))
    assert (finding.severity, finding.evidence["pictures"]) == ("warning", ["blank.png"])
    assert finding.message == "1 picture of one plain colour; 1 of them has boxes"


def test_dark_and_bright_pictures_are_named(folder: Path) -> None:
    dark, bright = (_read(folder, 1) * 0.2).astype(np.uint8), np.clip(_read(folder, 2) * 1.9, 0, 255).astype(np.uint8)
    (finding,) = brightness(_snapshot(folder, {"dark.png": dark, "bright.png": bright}))
    assert finding.severity == "info"
    assert set(finding.evidence["pictures"]) == {"dark.png", "bright.png"}
    assert "1 darker, 1 brighter" in finding.message


def test_a_blurred_picture_is_named(folder: Path) -> None:
    (finding,) = blurred(_snapshot(folder, {"soft.png": cv2.GaussianBlur(_read(folder, 3), (0, 0), 3)}))
    assert (finding.severity, finding.evidence["pictures"]) == ("info", ["soft.png"])


def test_a_picture_with_little_on_it_is_not_blurred(folder: Path) -> None:
    bare = np.full((160, 160), 110, np.uint8)
    cv2.circle(bare, (80, 80), 4, 200, -1)
    assert blurred(_snapshot(folder, {"bare.png": bare})) == []


def test_a_picture_that_cannot_be_decoded_is_an_error(folder: Path) -> None:
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:60])
    pictures = {1: {"path": "1.png", "width": 160, "height": 160}, 2: {"path": "cut.png", "width": 160, "height": 160}}
    made = dataset_of([], pictures=pictures)
    dataset = Dataset(made.names, made.images, made.boxes, folder)
    (finding,) = not_decoded(take_snapshot(dataset, 640, facts=picture_facts(dataset)))
    assert (finding.severity, finding.evidence["pictures"]) == ("error", ["cut.png"])
    assert finding.evidence["files"][0].endswith("save it again") or "cut.png" in finding.evidence["files"][0]
