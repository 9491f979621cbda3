"""The sections: a file that says everything, values that cannot change, and every key explained."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import config_from_dict, load_config
from pipeline.known_keys import AUGMENT_KEYS, TRAIN_KEYS, ultralytics_version
from pipeline.sections import SECTIONS, explain


def test_the_written_file_says_everything_and_loads_to_the_same(tmp_path: Path) -> None:
    config = load_config(
        None, ["data=a b", "name=yes", "group=(1e)", "scale=[0.5, 1]", "freeze=[0, 23.cv2]", "lr0=1e-5"]
    )
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    again = load_config(path)
    assert again == config
    assert again.to_yaml() == config.to_yaml()
    assert config_from_dict(config.to_dict()) == config
    assert set(again.train.given) == set(TRAIN_KEYS)
    assert set(again.augment.given) == {*AUGMENT_KEYS, "name", "transforms", "min_visibility", "copy_paste"}


def test_a_configuration_cannot_be_changed_and_travels_to_workers() -> None:
    config = load_config(None, ["epochs=3"])
    with pytest.raises(ValueError, match="frozen"):
        config.train.epochs = 4
    with pytest.raises(ValueError, match="frozen"):
        config.name = "x"
    assert pickle.loads(pickle.dumps(config)) == config


def test_every_key_is_explained() -> None:
    rows = {row.key: row for row in explain()}
    assert set(rows) == {"base", "name", "runs"} | {
        f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields
    }
    assert all(row.type and row.default and row.description and row.defined_by for row in rows.values())
    assert rows["train.epochs"].to_dict() == {
        "key": "train.epochs",
        "type": "int",
        "default": "100",
        "description": "number of epochs to train for",
        "defined_by": f"ultralytics {ultralytics_version()}",
    }
    assert (rows["data.path"].type, rows["data.path"].default) == ("path | null", "null")
    assert (rows["data.format"].type, rows["data.format"].defined_by) == (
        "auto | yolo | coco | voc | labelme | cvat | label_studio",
        "tuneup",
    )
    assert rows["train.cache"].type == "false | true | ram"


def test_importing_it_loads_neither_torch_nor_ultralytics() -> None:
    heavy = {"torch", "ultralytics", "cv2", "polars", "numpy"}
    code = f"import sys, pipeline.config; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
