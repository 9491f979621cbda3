"""What reaches the network from the tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from stages import squares
from ultralytics.cfg import get_cfg

from pipeline.augment import table_dataset
from pipeline.augment.table_dataset import TableDataset
from pipeline.data.dataset import Dataset
from pipeline.data.intake import read_dataset
from pipeline.errors import DataError
from pipeline.evaluation.predict import PredictSettings, pictures_of
from pipeline.evaluation.predict_detector import Found
from pipeline.evaluation.predict_pass import Times, predict_pictures
from pipeline.policy import CopyPaste, Policy


def loader_set(dataset: Dataset, *, augment: bool = False, imgsz: int = 64, **knobs: Any) -> TableDataset:
    data = {"names": dict(enumerate(dataset.names)), "nc": len(dataset.names), "channels": 3}
    policy = Policy.off().model_copy(update=knobs)
    cfg = get_cfg()
    return TableDataset(
        dataset, policy=policy, imgsz=imgsz, batch_size=4, augment=augment, hyp=cfg, data=data, task="detect"
    )


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_boxes_arrive_as_the_label_files_state_them(tiny_data: Path) -> None:
    dataset = read_dataset(tiny_data).dataset.split("val")
    loaded = loader_set(dataset)
    for index, file in enumerate(loaded.im_files):
        label = Path(file.replace("/images/", "/labels/")).with_suffix(".txt")
        expected = np.array(label.read_text().split(), float).reshape(-1, 5)
        sample = loaded[index]
        np.testing.assert_allclose(sample["bboxes"].numpy(), expected[:, 1:], atol=1e-6)
        np.testing.assert_array_equal(sample["cls"].numpy().ravel(), expected[:, 0])


def test_a_wide_picture_keeps_its_shape_and_its_boxes(tmp_path: Path, tiny_data: Path) -> None:
    picture = np.zeros((40, 200, 3), np.uint8)
    picture[10:30, 50:150] = 255
    cv2.imwrite(str(tmp_path / "wide.png"), picture)
    base = read_dataset(tiny_data).dataset
    images = base.images.head(1).with_columns(
        path=pl.lit("wide.png"), width=pl.lit(200, pl.UInt32), height=pl.lit(40, pl.UInt32), split=pl.lit("val")
    )
    boxes = base.boxes.head(1).with_columns(image_id=images["image_id"], x1=50.0, y1=10.0, x2=150.0, y2=30.0)
    loaded = loader_set(Dataset(base.names, images, boxes, tmp_path))
    _, original, now = loaded.load_image(0)
    assert (original, now) == ((40, 200), (13, 64))
    sample = loaded[0]
    cx, cy, w, h = sample["bboxes"].numpy()[0] * 64
    bright = np.argwhere(sample["img"].numpy().min(axis=0) > 200)
    (y1, x1), (y2, x2) = bright.min(axis=0), bright.max(axis=0) + 1
    assert np.allclose((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), (x1, y1, x2, y2), atol=1.5)


def test_crowds_do_not_train(tiny_data: Path) -> None:
    dataset = read_dataset(tiny_data).dataset.split("train")
    crowd = Dataset(dataset.names, dataset.images, dataset.boxes.with_columns(crowd=True), dataset.root)
    assert sum(len(label["cls"]) for label in loader_set(crowd).labels) == 0


def test_the_source_is_never_touched(tiny_data: Path) -> None:
    (tiny_data / "images" / "train" / "train_000.npy").write_bytes(b"somebody's own file")
    before = snapshot(tiny_data)
    loaded = loader_set(read_dataset(tiny_data).dataset.split("train"), augment=True)
    for index in range(len(loaded)):
        loaded[index]
    assert snapshot(tiny_data) == before
    (tiny_data / "images" / "train" / "train_000.npy").unlink()


@pytest.mark.parametrize("share", [0.25, 0.0], ids=["all in memory", "read anew"])
def test_pictures_are_the_same_with_and_without_memory(
    tiny_data: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_dataset, "CACHE_SHARE", share)
    loaded = loader_set(read_dataset(tiny_data).dataset.split("train"), augment=True, mosaic=1.0)
    assert loaded.keeps_pictures is bool(share)
    for _ in range(2):
        for index in range(len(loaded)):
            assert loaded[index]["img"].shape == (3, 64, 64)
            np.testing.assert_array_equal(loaded.load_image(index)[0], cv2.imread(loaded.im_files[index]))
    kept = sum(picture is not None for picture in loaded.ims)
    assert kept == len(loaded) if share else kept <= loaded.max_buffer_length


def test_a_picture_that_vanished_is_named(tiny_data: Path) -> None:
    dataset = read_dataset(tiny_data).dataset.split("train")
    moved = Dataset(dataset.names, dataset.images, dataset.boxes, Path("/nowhere"))
    with pytest.raises(DataError, match=r"/nowhere/images/train/train_000\.png"):
        loader_set(moved).load_image(0)


@pytest.mark.parametrize(("fraction", "numbers"), [(0.5, [0, 2, 4, 6, 8, 10]), (3, [0, 4, 8]), (1.0, list(range(12)))])
def test_a_fraction_is_spread_over_the_split(tiny_data: Path, fraction: float, numbers: list[int]) -> None:
    dataset = read_dataset(tiny_data).dataset.split("train")
    data = {"names": {0: "a", 1: "b"}, "nc": 2, "channels": 3}
    some = TableDataset(dataset, imgsz=64, hyp=get_cfg(), data=data, task="detect", fraction=fraction)
    assert [Path(file).stem for file in some.im_files] == [f"train_{number:03}" for number in numbers]
    for file, label in zip(some.im_files, some.labels, strict=True):
        rows = Path(file.replace("/images/", "/labels/")).with_suffix(".txt").read_text().splitlines()
        assert len(label["cls"]) == len(rows)


class _Watcher:
    """Stands in for a detector: keeps what the network would be given."""

    imgsz, stride, batch = 64, 32, 1
    settings = PredictSettings(64, 0.25, 0.7, 300, 1, "cpu")

    def __init__(self) -> None:
        self.inputs: list[np.ndarray[Any, Any]] = []

    def detect(self, inputs: list[np.ndarray[Any, Any]]) -> Found:
        self.inputs += inputs
        return Found([np.zeros((0, 6)) for _ in inputs], {"network": 0.0, "nms": 0.0})


def test_training_and_prediction_see_the_same_pixels_of_deep_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for number in range(3):
        values = rng.integers(0, 4096, (64, 64)).astype(np.uint16)  # 12 used bits in 16
        for folder in ("images", "labels"):
            (tmp_path / folder / "train").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / "train" / f"{number}.png"), values)
        (tmp_path / "labels" / "train" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [pit]\n")
    before = snapshot(tmp_path)
    dataset = read_dataset(tmp_path).dataset
    assert dataset.value_range is not None
    assert np.abs(np.subtract(dataset.value_range, (0, 4095))).max() < 20
    loaded, watcher = loader_set(dataset), _Watcher()
    list(predict_pictures(watcher, pictures_of(dataset), Times()))  # type: ignore[arg-type]
    for index, seen in enumerate(watcher.inputs):
        trained, _, _ = loaded.load_image(index)
        np.testing.assert_array_equal(seen[..., ::-1], trained)  # the network is given RGB
        assert (trained.min(), trained.max()) == (0, 255)
        assert cv2.imread(loaded.im_files[index]).max() <= 16  # what OpenCV makes of it, and Ultralytics with it
    assert len(watcher.inputs) == 3
    assert snapshot(tmp_path) == before


def test_closing_the_mosaic_leaves_transforms_and_pasted_objects(tmp_path: Path) -> None:
    dataset = squares(tmp_path, pictures=12)
    pastes = CopyPaste(quotas={"pit": 0.8}, per_picture=2)
    knobs = {
        "mosaic": 1.0,
        "mixup": 0.5,
        "cutmix": 0.5,
        "transforms": [{"InvertImg": {"p": 1.0}}],
        "copy_paste": pastes,
    }
    loaded = loader_set(dataset, augment=True, imgsz=96, **knobs)
    loaded.close_mosaic(get_cfg())
    assert (loaded.policy.mosaic, loaded.policy.mixup, loaded.policy.cutmix) == (0.0, 0.0, 0.0)
    samples = [loaded[index] for index in range(len(loaded))]
    assert sum(len(sample["cls"]) for sample in samples) > dataset.boxes.height
    assert all(float(sample["img"].float().mean()) > 128 for sample in samples)  # dark pictures, turned bright


def test_nothing_is_pasted_over_a_crowd(tmp_path: Path) -> None:
    dataset = squares(tmp_path, pictures=12)
    spots = dataset.boxes.filter(pl.col("class_id") == 1)
    everywhere = spots.with_columns(
        x1=pl.lit(0.0), y1=pl.lit(0.0), x2=pl.lit(96.0), y2=pl.lit(96.0), crowd=pl.lit(True)
    )
    pastes = CopyPaste(quotas={"pit": 0.8}, per_picture=2)
    covered = replace(dataset, boxes=pl.concat([dataset.boxes, everywhere]))
    loaded = loader_set(covered, augment=True, imgsz=96, copy_paste=pastes)
    ids = dataset.images["image_id"].to_list()
    counts = {ids[index]: sum(len(loaded[index]["cls"]) for _ in range(4)) for index in range(len(loaded))}
    assert {counts[image_id] for image_id in spots["image_id"]} == {4}
    assert max(counts.values()) > 4
