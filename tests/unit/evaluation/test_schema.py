"""The schema of metrics.json fits what is written, refuses what is not, and agrees with its pages."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import ROOT
from simulated_detector import simulated_detections, simulated_truth

from pipeline.config import config_from_dict
from pipeline.data.dataset import Dataset
from pipeline.errors import RunError
from pipeline.evaluation import evaluate
from pipeline.evaluation.evaluate import Evaluation, evaluate_run
from pipeline.evaluation.predict import Predictions, PredictSettings
from pipeline.evaluation.predict_pass import STAGES
from pipeline.evaluation.schema import check_metrics, metrics_schema
from pipeline.evaluation_verbs import evaluate_files
from pipeline.records import read_json
from pipeline.runs import Run

PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")
RANGES = ("Interval", "Difference", "Measured", "Rate", "Times")  # described once for all figures, as `*.value`
SPLITS = ("val", "test")

Keys = dict[str, tuple[str, str]]


# ---- real records ---------------------------------------------------------------------------------------------------


def made_run(folder: Path, dataset: Dataset) -> Run:
    """Return a run of empty pictures and weights; every other picture belongs to val."""
    folder.mkdir(exist_ok=True)
    images = dataset.images.with_columns(split=pl.Series([SPLITS[i % 2] for i in range(dataset.images.height)]))
    for path in images["path"]:
        (folder / path).touch()
    run = Run.create(folder / "runs", "a")
    run.save_dataset(Dataset(dataset.names, images, dataset.boxes, folder))
    run.weights("best").parent.mkdir()
    run.weights("best").touch()
    return run


def evaluated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dataset: Dataset, frame: pl.DataFrame, **settings: Any
) -> list[Evaluation]:
    """Evaluate val and then test of a run whose network is replaced by a table of detections."""

    def predict(weights: Path, part: Dataset, how: PredictSettings, *, change: Any = None) -> Predictions:
        ids = part.images["image_id"].to_list()
        for image_id in ids if change else ():
            change(np.zeros((32, 32, 3), np.uint8), image_id)
        rows = frame.filter(pl.col("image_id").is_in(ids)).gather_every(2 if change else 1)
        times = {stage: {"median": 1.5, "p95": 2.0} for stage in STAGES}
        return Predictions(rows, 0.1, 1.234, "nms", times)

    monkeypatch.setattr(evaluate, "predict_dataset", predict)
    run = made_run(folder, dataset)
    return [
        evaluate_run(run, config_from_dict({"eval": {"split": split, "resamples": 100, **settings}}))
        for split in SPLITS
    ]


def cut(dataset: Dataset, case: str) -> tuple[Dataset, pl.DataFrame, dict[str, Any]]:
    """Return a dataset, detections and settings of one kind."""
    settings: dict[str, Any] = {
        "tiles and a promise": {"tile": 64, "escape_rate": 0.2, "limit": 2},
        "a cost": {"escape_cost": 20.0},
    }.get(case, {})
    if case == "one class":
        dataset = simulated_truth(40, names=("pit",))
    frame = simulated_detections(dataset, 1)
    if case == "no ground truth":
        dataset = Dataset(dataset.names, dataset.images, dataset.boxes.clear(), dataset.root)
    if case == "groups":
        images = dataset.images.with_columns(group=pl.format("board {}", pl.col("image_id") // 2 % 13))
        dataset = Dataset(dataset.names, images, dataset.boxes, dataset.root)
    if case in ("two pictures", "no detections"):
        frame = frame.clear() if case == "no detections" else frame
        images = dataset.images.head(4 if case == "two pictures" else 40)
        boxes = dataset.boxes.filter(pl.col("image_id").is_in(images["image_id"].to_list()))
        dataset = Dataset(dataset.names, images, boxes, dataset.root)
    return dataset, frame, settings


@pytest.mark.parametrize(
    "case",
    [
        "usual",
        "one class",
        "groups",
        "tiles and a promise",
        "a cost",
        "two pictures",
        "no detections",
        "no ground truth",
    ],
)
def test_what_an_evaluation_writes_fits(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, frame, settings = cut(simulated_truth(40), case)
    for evaluation in evaluated(tmp_path, monkeypatch, dataset, frame, **settings):
        written = evaluation.run.path / "eval" / evaluation.split / "metrics.json"
        record = read_json(written, {})
        check_metrics(record)
        check_metrics({"run": "runs/a", **record})  # as --json prints it
        assert (record["operating_point"] is None) == (case in ("no detections", "no ground truth"))


def test_robustness_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = simulated_truth(12)
    found = evaluated(tmp_path, monkeypatch, dataset, simulated_detections(dataset, 1), corruptions=True)
    for evaluation in found:
        check_metrics(evaluation.metrics)
        assert len(evaluation.metrics["robustness"]["conditions"]) == 30


@pytest.fixture(scope="module")
def of_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of COCO files, of scores that are no probabilities."""
    folder = tmp_path_factory.mktemp("coco")
    boxes = [{"image_id": i, "category_id": 1 + i % 2, "bbox": [9, 9, 20 + i, 30]} for i in range(1, 9)]
    truth = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 90, "height": 90} for i in range(1, 9)],
        "categories": [{"id": 1, "name": "pit"}, {"id": 2, "name": "map50"}],
        "annotations": [{"id": n, "iscrowd": int(n == 3), **box} for n, box in enumerate(boxes)],
    }
    (folder / "gt.json").write_text(json.dumps(truth))
    (folder / "dt.json").write_text(json.dumps([{**box, "score": 3.0 - n} for n, box in enumerate(boxes)]))
    analysis = evaluate_files(folder / "gt.json", folder / "dt.json", overrides=["eval.limit=7"])
    findings = [finding.to_dict() for finding in analysis.findings]
    return {**analysis.metrics, "findings": findings}


def test_the_figures_of_coco_files_fit(of_files: dict[str, Any]) -> None:
    check_metrics(of_files)
    assert of_files["limit"] == 7


# ---- damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a run's test split, whose thresholds come from val."""
    with pytest.MonkeyPatch.context() as patch:
        dataset = simulated_truth(40)
        frame = simulated_detections(dataset, 1)
        return evaluated(tmp_path_factory.mktemp("run"), patch, dataset, frame)[-1].metrics


def damaged(record: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with another value at a path; the value `...` takes the key away."""
    copy: dict[str, Any] = json.loads(json.dumps(record))
    place: Any = copy
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in way:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("map50", 1.5, "less than or equal to 1 (1.5 was found)"),
        ("map50_95", math.nan, "finite number"),
        ("ar", -0.1, "greater than or equal to 0"),
        ("schema", "tuneup.metrics/0", "'tuneup.metrics/1'"),
        ("boxes", 3.5, "valid integer"),
        ("boxes", True, "valid integer"),
        ("detections", "12", "valid integer"),
        ("map60", 0.5, "there is no such key"),
        ("per_class.1.ap50", ..., "Field required"),
        ("per_class.1.ap_by_iou", [0.5] * 9, "at least 10 items"),
        ("errors.2.type", "Cls", "'class', 'place'"),
        ("ultralytics.map50.causes.luck", 0.1, "'interpolation', 'detection_limit'"),
        ("operating_point.check.figures.escape.value", 2.0, "less than or equal to 1"),
        ("counting.total.scatter.0", [1, 2], "at least 3 items"),
        ("calibration.reliability.bins.extra", [], "there is no such key"),
        ("latency.read.median", None, "valid number"),
        ("uses", ..., "Field required"),
    ],
)
def test_damage_is_named_by_its_path(record: dict[str, Any], path: str, value: Any, words: str) -> None:
    check_metrics(record)
    with pytest.raises(RunError) as caught:
        check_metrics(damaged(record, path, value))
    assert str(caught.value).startswith(f"metrics.json: {path}")
    assert words in str(caught.value)
    assert str(caught.value).count(";") == 1


def test_much_damage_is_summed_up(record: dict[str, Any], of_files: dict[str, Any]) -> None:
    with pytest.raises(RunError, match=r"metrics\.json: schema: Field required; .*; and \d+ more; evaluate again"):
        check_metrics({})
    with pytest.raises(RunError, match="the record: Input should be a valid dictionary"):
        check_metrics([record])
    with pytest.raises(RunError, match="uses: there is no such key"):
        check_metrics({**of_files, "uses": record["uses"]})  # what only a run knows


# ---- the pages ------------------------------------------------------------------------------------------------------


def test_the_schema_on_disk_is_the_one_of_the_program() -> None:
    command = [sys.executable, "-W", "error", "-m", "pipeline.evaluation.schema"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    kept = (ROOT / "docs" / "metrics.schema.json").read_text("utf-8")
    assert kept == done.stdout, f"{' '.join(command[-2:])} > docs/metrics.schema.json"
    assert json.loads(kept) == metrics_schema()


def described(title: str = "") -> list[str]:
    """Return the paths in the first column of the tables under a title, or of all those before the first such title."""
    parts = re.split(r"^\| key of `(.*?)` .*$", PAGE, flags=re.MULTILINE)
    text = parts[parts.index(title) + 1] if title else parts[0]
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [path for cell in cells for path in re.findall(r"`(.*?)`", cell)]


def keys_of(node: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each path below a node of the schema and what tells its definition from those of other keys."""
    for part in (*node.get("anyOf", ()), *([node["items"]] if "items" in node else ())):
        yield from keys_of(part, schema, path)
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        yield from keys_of(schema["$defs"][name], schema, "*." if name in RANGES else path)
    names = node.get("propertyNames", {}).get("enum", ())
    below = {**node.get("properties", {}), **dict.fromkeys(names, node.get("additionalProperties"))}
    for key, child in below.items():
        yield path + key, (key, "*" if path == "*." else json.dumps(child))
        yield from keys_of(child, schema, f"{path}{key}.")


def test_the_page_describes_every_figure_and_no_other() -> None:
    schema = metrics_schema()
    keys = dict(keys_of(schema, schema))
    page = described()
    assert len(page) == len(set(page)) > 150
    assert [path for path in page if path not in keys] == []
    told = {keys[path] for path in page}
    # A key may have several places, such as a figure and its check; one of them must be described.
    assert sorted({path for path, key in keys.items() if key not in told}) == []


def places(value: Any, path: str = "") -> set[str]:
    """Return the paths of a record; those of `precision_recall` and `point` end there."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(places(item, path) for item in value))
    if not isinstance(value, dict) or path in ("precision_recall", "point", "counting.per_class"):
        return {path}
    return set().union(*(places(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()))


def test_the_page_describes_the_files_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = simulated_truth(60)
    run = evaluated(tmp_path, monkeypatch, dataset, simulated_detections(dataset, 1))[0].run
    assert places(run.curves("val")) == set(described("curves.json"))
    assert places(read_json(run.path / "operating_point.json", {})) == set(described("operating_point.json"))
    assert {path.name for path in (run.path / "eval" / "val").iterdir()} == {
        "metrics.json",
        "curves.json",
        *re.findall(r"`(\w+\.parquet)`", PAGE),
    }
