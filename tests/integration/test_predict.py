"""The pass over pictures with a real, tiny network: heads, batches, tiles, folders, latency."""

from __future__ import annotations

import copy
import functools
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
import torch

from pipeline.data.dataset import Dataset
from pipeline.data.intake import read_dataset
from pipeline.errors import DataError, UsageError
from pipeline.evaluation import predict_detector, predict_pass
from pipeline.evaluation.predict import PredictSettings, load_detector, pictures_of, predict_dataset
from pipeline.evaluation.predict_files import predict_files
from pipeline.evaluation.predict_latency import measure_latency
from pipeline.evaluation.predict_pass import STAGES, Times, predict_pictures
from pipeline.evaluation.writers import draw
from pipeline.model_source import load_weights
from pipeline.runs import DETECTIONS_SCHEMA

SETTINGS = PredictSettings(imgsz=64, conf=0.05, iou=0.7, max_det=300, batch=4, device="cpu")
NAMES = ("square", "disc")


def lively(path: Path, names: tuple[str, ...], data: Path) -> Path:
    """A YOLO26n of random weights that finds dozens of boxes in everything, more than a short training would."""
    from ultralytics.nn.tasks import DetectionModel

    seen = np.stack([cv2.imread(str(file)) for file in sorted((data / "images" / "train").iterdir())])
    torch.manual_seed(0)
    model = DetectionModel("yolo26n.yaml", nc=len(names), verbose=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.from_numpy(seen).permute(0, 3, 1, 2) / 255)  # sets BatchNorm's statistics
        head = model.model[-1]
        for level in (*head.cv2, *head.one2one_cv2):
            level[-1].weight.mul_(0.5)
            level[-1].bias.fill_(1.5)
        for level in (*head.cv3, *head.one2one_cv3):
            level[-1].weight.mul_(0.6)
            level[-1].bias.fill_(-2.0)
    model.names = dict(enumerate(names))
    torch.save({"model": model.eval(), "train_args": {}}, path)
    return path


@pytest.fixture(scope="module", autouse=True)
def _load_once() -> Iterator[None]:
    """Read each checkpoint once: reading safely takes ten times as long as predicting these few pictures."""
    read = functools.cache(load_weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_detector, "load_weights", lambda path: copy.deepcopy(read(path)))
        yield


@pytest.fixture(scope="module")
def best(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lively(tmp_path_factory.mktemp("weights") / "two.pt", NAMES, tiny_data)


@pytest.fixture(scope="module")
def one(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one class: Ultralytics' predict keeps each box's best class alone, its val and this program every class."""
    return lively(tmp_path_factory.mktemp("weights") / "one.pt", NAMES[:1], tiny_data)


@pytest.fixture(scope="module")
def data(tiny_data: Path) -> Dataset:
    return read_dataset(tiny_data).dataset.split("val")


@pytest.fixture(scope="module")
def mixed(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Pictures of seven sizes, whose inputs have three shapes."""
    root = tmp_path_factory.mktemp("mixed")
    sizes = [(64, 64), (128, 64), (64, 128), (100, 40), (90, 90), (30, 64), (64, 64)]
    rng = np.random.default_rng(5)
    rows = []
    for number, (width, height) in enumerate(sizes, start=1):
        picture = rng.integers(20, 80, (height, width, 3)).astype(np.uint8)
        cv2.rectangle(picture, (8, 8), (min(width, 28), min(height, 28)), (230, 230, 230), -1)
        cv2.imwrite(str(root / f"{number}.png"), picture)
        rows.append((number, f"{number}.png", width, height, "val", None))
    return Dataset(data.names, pl.DataFrame(rows, schema=data.images.schema, orient="row"), data.boxes.clear(), root)


def same(one: pl.DataFrame, other: pl.DataFrame) -> None:
    """The same detections to 0.02 pixels and 1e-4 in score, whatever the order of near ties."""
    assert one.height == other.height > 50
    a, b = (table.to_numpy() / [1e-9, 1e-9, 1e-4, 0.02, 0.02, 0.02, 0.02] for table in (one, other))
    left = np.ones(len(b), bool)
    for row in a:
        distance = np.where(left, np.abs(b - row).max(axis=1), np.inf)
        assert distance.min() <= 1, row
        left[distance.argmin()] = False


def ultralytics(best: Path, dataset: Dataset, **keys: Any) -> pl.DataFrame:
    """What Ultralytics' own predict finds, one picture after the other."""
    from ultralytics import YOLO

    model = YOLO(best)
    rows = []
    for image_id, path in dataset.images.select("image_id", "path").iter_rows():
        file = str(dataset.picture_path(path))
        found = model.predict(file, imgsz=64, iou=0.7, device="cpu", save=False, verbose=False, **keys)[0].boxes
        for box, label, score in zip(found.xyxy.tolist(), found.cls.tolist(), found.conf.tolist(), strict=True):
            rows.append((image_id, int(label), score, *box))
    return pl.DataFrame(rows, schema=DETECTIONS_SCHEMA, orient="row")


def replace_names(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    return Dataset(names, dataset.images, dataset.boxes, dataset.root)


def test_boxes_are_those_of_ultralytics_own_predict(one: Path, mixed: Dataset) -> None:
    only = replace_names(mixed, NAMES[:1])
    default = ultralytics(one, only, conf=SETTINGS.conf)
    for head, theirs in (("auto", default), ("end2end", ultralytics(one, only, conf=SETTINGS.conf, nms=False))):
        ours = predict_dataset(one, only, replace(SETTINGS, head=head))
        assert ours.head == {"auto": "nms", "end2end": "end2end"}[head]
        same(ours.detections, theirs)


def test_both_heads_are_there_and_differ(best: Path, data: Dataset) -> None:
    found = {head: predict_dataset(best, data, replace(SETTINGS, head=head)) for head in ("nms", "end2end")}
    assert {head: item.head for head, item in found.items()} == {"nms": "nms", "end2end": "end2end"}
    assert not found["nms"].detections.equals(found["end2end"].detections)


def test_a_model_with_one_head_keeps_to_it(data: Dataset, tmp_path: Path) -> None:
    from ultralytics.nn.tasks import DetectionModel

    plain = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
    plain.names = dict(enumerate(data.names))
    torch.save({"model": plain, "train_args": {}}, tmp_path / "plain.pt")
    assert load_detector(tmp_path / "plain.pt", SETTINGS).head == "nms"
    with pytest.raises(UsageError, match="has no head 'end2end'"):
        load_detector(tmp_path / "plain.pt", replace(SETTINGS, head="end2end"))
    fused = DetectionModel("yolo26n.yaml", nc=2, verbose=False).eval()
    fused.end2end = True
    fused.fuse(verbose=False)
    assert predict_detector.choose_head(tmp_path / "fused.pt", fused.model[-1], "auto") == "end2end"
    with pytest.raises(UsageError, match="has no head 'nms'; choose auto or end2end"):
        predict_detector.choose_head(tmp_path / "fused.pt", fused.model[-1], "nms")
    with pytest.raises(UsageError, match="one of auto, nms, end2end"):
        load_detector(tmp_path / "plain.pt", replace(SETTINGS, head="one2many"))


@pytest.mark.parametrize("head", ["nms", "end2end"])
def test_the_batch_size_does_not_matter(best: Path, mixed: Dataset, head: str) -> None:
    one, four = (predict_dataset(best, mixed, replace(SETTINGS, head=head, batch=size)) for size in (1, 4))
    same(one.detections, four.detections)
    again = predict_dataset(best, mixed, replace(SETTINGS, head=head, batch=4))
    assert again.detections.equals(four.detections)


def test_nms_on_the_best_candidates_first_is_nms_on_all(
    best: Path, mixed: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, conf=0.0001, max_det=10)
    monkeypatch.setattr(predict_detector, "FIRST_CANDIDATES", predict_detector.MOST_CANDIDATES)
    every = predict_dataset(best, mixed, settings).detections
    for first in (1, 12, 40):  # so few that they do not fill the 10, or just so
        monkeypatch.setattr(predict_detector, "FIRST_CANDIDATES", first)
        assert predict_dataset(best, mixed, settings).detections.equals(every)


def test_a_change_comes_before_the_letterbox_and_sees_every_picture(best: Path, mixed: Dataset) -> None:
    seen: dict[int, tuple[int, ...]] = {}
    lock = threading.Lock()

    def grey(picture: np.ndarray, image_id: int) -> np.ndarray:
        with lock:
            seen[image_id] = picture.shape
        return np.full_like(picture, 90)

    found = predict_dataset(best, mixed, SETTINGS, change=grey).detections
    assert seen == {i: (h, w, 3) for i, w, h in mixed.images.select("image_id", "width", "height").iter_rows()}
    assert not found.equals(predict_dataset(best, mixed, SETTINGS).detections)
    unchanged = predict_dataset(best, mixed, SETTINGS, change=lambda picture, _: picture).detections
    assert unchanged.equals(predict_dataset(best, mixed, SETTINGS).detections)


def test_few_pictures_wait_for_the_network(best: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = load_detector(best, replace(SETTINGS, batch=2))
    pictures = pictures_of(data) * 10
    read, most = [0], [0]
    original = predict_pass.read_picture

    def count(*about: Any) -> Any:
        read[0] += 1
        return original(*about)

    monkeypatch.setattr(predict_pass, "read_picture", count)
    for done, _ in enumerate(predict_pictures(detector, pictures, Times()), start=1):
        most[0] = max(most[0], read[0] - done)
    assert read[0] == len(pictures) == 60
    assert most[0] <= (predict_pass.WHOLE_AHEAD + 2) * 2 + 1


def test_stages_are_timed(best: Path, mixed: Dataset) -> None:
    found = predict_dataset(best, mixed, SETTINGS)
    assert set(found.latency) == set(STAGES)
    assert all(0 < item["median"] <= item["p95"] for item in found.latency.values())
    assert 0 < found.ms_per_image < 1000 * found.seconds
    alone = measure_latency(best, mixed, replace(SETTINGS, tile=40), pictures=3)
    assert set(alone.stages) == {*STAGES, "total"}
    assert (alone.pictures, alone.device, alone.head) == (3, "cpu", "nms")
    parts = [alone.stages[stage]["median"] for stage in STAGES]
    assert max(parts) < alone.stages["total"]["median"] < 5 * sum(parts)
    with pytest.raises(UsageError, match="at least 1"):
        measure_latency(best, mixed, SETTINGS, pictures=0)


def test_half_precision_needs_cuda_and_tiles_an_overlap(best: Path, data: Dataset) -> None:
    for settings, message in (
        (replace(SETTINGS, half=True), "half: 16-bit numbers need a CUDA device, this is 'cpu'"),
        (replace(SETTINGS, tile=32, overlap=0.0), "overlap: 0"),
        (replace(SETTINGS, tile=0), "tile: 0"),
        (replace(SETTINGS, tile=32, overlap=0.95), "overlap: 0.95"),
    ):
        with pytest.raises(UsageError, match=message):
            predict_dataset(best, data, settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("head", ["nms", "end2end"])
def test_half_precision_finds_about_the_same(best: Path, mixed: Dataset, head: str) -> None:
    full = predict_dataset(best, mixed, replace(SETTINGS, head=head, device="0")).detections
    half = predict_dataset(best, mixed, replace(SETTINGS, head=head, device="0", half=True)).detections
    same(full, predict_dataset(best, mixed, replace(SETTINGS, head=head)).detections)
    assert not half.equals(full)
    assert abs(half.height - full.height) <= 0.05 * full.height
    latency = measure_latency(best, mixed, replace(SETTINGS, head=head, device="0", half=True), pictures=5)
    assert latency.device.startswith("cuda")


class Bright:
    """Stands for the network: finds the bright rectangles of an input, exactly."""

    def __init__(self, detector: predict_detector.Detector) -> None:
        self.names, self.imgsz, self.stride, self.batch = detector.names, detector.imgsz, detector.stride, 3
        self.settings, self.head, self.device = detector.settings, detector.head, detector.device
        self.inputs = 0

    def detect(self, inputs: list[np.ndarray]) -> predict_detector.Found:
        assert len({item.shape for item in inputs}) == 1
        assert len(inputs) <= self.batch
        self.inputs += len(inputs)
        rows = []
        for item in inputs:
            _, _, parts, _ = cv2.connectedComponentsWithStats((item[..., 0] > 200).astype(np.uint8))
            boxes = [[x, y, x + w, y + h, 0.9, 0] for x, y, w, h, _ in parts[1:]]
            rows.append(np.array(boxes, np.float64).reshape(-1, 6))
        return predict_detector.Found(rows, {"network": 0.001, "nms": 0.001})


def test_tiles_find_each_object_of_a_large_picture_once(best: Path, data: Dataset, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truth: dict[int, list[list[int]]] = {}
    rows = []
    for number, (width, height) in enumerate([(500, 300), (301, 64), (50, 40)], start=1):
        picture = np.zeros((height, width, 3), np.uint8)
        truth[number] = []
        for x in range(4, width - 40, 45):
            for y in range(4, height - 40, 45) or [2]:
                w, h = (int(v) for v in rng.integers(12, 34, 2))
                picture[y : y + h, x : x + w] = 255
                truth[number].append([x, y, x + w, y + h])
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        rows.append((number, f"{number}.png", width, height, "val", None))
    dataset = Dataset(
        data.names, pl.DataFrame(rows, schema=data.images.schema, orient="row"), data.boxes.clear(), tmp_path
    )
    detector = Bright(load_detector(best, replace(SETTINGS, tile=64, overlap=0.55)))
    for picture, found in predict_pictures(detector, pictures_of(dataset), Times()):  # type: ignore[arg-type]
        within = 1.0 if picture.width > 64 else 1.5  # the small picture is enlarged
        boxes = sorted(truth[picture.image_id])
        assert len(found) == len(boxes)
        assert np.abs(np.array(sorted(found[:, :4].tolist())) - boxes).max() <= within
    assert detector.inputs > 100


def test_tiles_of_the_whole_size_are_the_whole_picture(best: Path, data: Dataset) -> None:
    whole = predict_dataset(best, data, SETTINGS).detections
    assert predict_dataset(best, data, replace(SETTINGS, tile=64)).detections.equals(whole)
    assert not predict_dataset(best, data, replace(SETTINGS, tile=40)).detections.equals(whole)


# ---- folders and single pictures -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tiny_data: Path, tmp_path: Path) -> Path:
    """Pictures in a folder and two sub-folders, one hidden; a text file, a torn and an empty picture among them."""
    source = tmp_path / "shots"
    pictures = sorted((tiny_data / "images" / "val").iterdir())
    for name, picture in zip(("a.png", "line 1/b.png", "line 1/c.png", ".cache/d.png"), pictures, strict=False):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, source / name)
    (source / "torn.png").write_bytes((source / "a.png").read_bytes()[:200])  # the header alone is whole
    (source / "line 1" / "empty.png").touch()
    (source / "notes.txt").write_text("none")
    return source


def test_a_folder_is_predicted_and_what_cannot_be_read_is_named(folder: Path, best: Path, data: Dataset) -> None:
    found = predict_files([folder], best, SETTINGS)
    assert found.pictures["name"].to_list() == ["a.png", "line 1/b.png", "line 1/c.png"]
    assert found.pictures.select("width", "height").unique().rows() == [(64, 64)]
    assert {path for path, _ in found.unreadable} == {str(folder / "torn.png"), str(folder / "line 1" / "empty.png")}
    problem = found.problem()
    assert problem is not None
    assert problem.startswith("2 of 5 pictures cannot be read, the others are predicted:")
    assert "torn.png: the file is cut off (its chunk 'IDAT' lacks " in problem
    assert "the file is empty" in problem
    # The same pictures as in the dataset, so the same detections.
    known = predict_dataset(best, data, SETTINGS).detections
    ids = data.images.sort("path")["image_id"].to_list()
    for number, image_id in zip(found.pictures["image_id"].to_list(), ids, strict=False):
        ours = found.detections.filter(pl.col("image_id") == number).drop("image_id")
        same_picture = known.filter(pl.col("image_id") == image_id).drop("image_id")
        assert ours.height == same_picture.height
        assert np.abs(ours.to_numpy() - same_picture.to_numpy()).max() < 1e-2


def test_single_pictures_and_folders_together_are_predicted_once(folder: Path, best: Path) -> None:
    single = folder / "line 1" / "b.png"
    found = predict_files([single, folder / "line 1", single], best, SETTINGS)
    assert found.pictures["name"].to_list() == ["b.png", "c.png"]
    other = folder.parent / "other"
    other.mkdir()
    shutil.copy(single, other / "b.png")
    both = predict_files([folder / "line 1", other], best, SETTINGS)
    assert both.pictures["name"].to_list() == ["c.png", "line 1/b.png", "other/b.png"]
    assert both.head == "nms"
    assert both.problem() is not None


def test_thresholds_are_per_class_and_inclusive(folder: Path, best: Path) -> None:
    every = predict_files([folder], best, replace(SETTINGS, conf=0.001))
    squares = every.detections.filter(pl.col("class_id") == 0)["score"].sort(descending=True)
    least = squares[4]
    some = predict_files([folder], best, replace(SETTINGS, conf=0.02), {"square": least})
    expected = every.detections.filter(
        pl.when(pl.col("class_id") == 0).then(pl.col("score") >= least).otherwise(pl.col("score") >= 0.02)
    )
    assert some.detections.equals(expected)
    assert some.thresholds == {"square": least, "disc": 0.02}
    with pytest.raises(UsageError, match=r"no class hole; .* knows square, disc"):
        predict_files([folder], best, SETTINGS, {"hole": 0.5})
    with pytest.raises(UsageError, match=r"square=1\.5: a score lies from 0 to 1"):
        predict_files([folder], best, SETTINGS, {"square": 1.5})


def test_sources_without_pictures_are_refused(folder: Path, best: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for sources, message in (
        ([tmp_path / "gone"], "no such file or folder"),
        ([empty], "no pictures in this folder"),
        ([folder / "notes.txt"], "not a picture file"),
        ([folder / "torn.png", folder / "line 1" / "empty.png"], "none of 2 pictures can be read"),
    ):
        with pytest.raises(DataError, match=message):
            predict_files(sources, best, SETTINGS)


def test_a_picture_of_another_size_than_the_data_says_is_no_silent_shift(best: Path, data: Dataset) -> None:
    wrong = Dataset(data.names, data.images.with_columns(width=pl.lit(65, pl.UInt32)), data.boxes, data.root)
    with pytest.raises(DataError, match="64 x 64 pixels, but its header or the data says 65 x 64"):
        predict_dataset(best, wrong, SETTINGS)


def test_deep_pictures_are_predicted_by_the_range_of_the_training(data: Dataset, best: Path, tmp_path: Path) -> None:
    source, copies = tmp_path / "deep", tmp_path / "plain"
    for folder in (source, copies):
        folder.mkdir()
    for path in data.images["path"].head(2):
        picture = cv2.imread(str(data.picture_path(path)))
        name = Path(path).name
        cv2.imwrite(str(copies / name), picture)
        cv2.imwrite(str(source / name), picture.astype(np.uint16) * 10 + 500)  # a camera's black level and steps
    before = {path: path.read_bytes() for path in source.iterdir()}
    found = predict_files([source], best, SETTINGS, value_range=(500, 3050))
    assert found.value_range == (500, 3050)
    same(found.detections, predict_files([copies], best, SETTINGS).detections)
    (image,) = [p for p in draw(found, tmp_path / "drawn").iterdir() if p.stem == Path(data.images["path"][0]).stem]
    assert 150 < cv2.imread(str(image)).max()
    with pytest.raises(DataError, match=r"none of 2 pictures can be read(.|\n)*16 bits per channel.*tuneup predict"):
        predict_files([source], best, SETTINGS)
    cv2.imwrite(str(source / "eight.png"), picture)
    mixed_depth = predict_files([source], best, SETTINGS)
    assert mixed_depth.pictures["name"].to_list() == ["eight.png"]
    assert len(mixed_depth.unreadable) == 2
    assert all(path.read_bytes() == content for path, content in before.items())


def test_deep_datasets_are_predicted_and_timed_by_their_range(data: Dataset, best: Path, tmp_path: Path) -> None:
    for path in data.images["path"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        picture = cv2.imread(str(data.picture_path(path))).astype(np.uint16)
        cv2.imwrite(str(tmp_path / path), picture * 10 + 500)
    deep = replace(data, root=tmp_path, value_range=(500.0, 3050.0))
    same(predict_dataset(best, deep, SETTINGS).detections, predict_dataset(best, data, SETTINGS).detections)
    assert measure_latency(best, deep, SETTINGS, pictures=2).pictures == 2
    with pytest.raises(DataError, match="16 bits per channel"):
        predict_dataset(best, replace(deep, value_range=None), SETTINGS)
