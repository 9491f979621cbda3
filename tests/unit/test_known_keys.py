"""What the installed Ultralytics knows: every key classified, its limits ours, its values checked."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from pipeline.known_keys import (
    AUGMENT_KEYS,
    FRACTION_KEYS,
    NOT_OURS,
    TRAIN_KEYS,
    KnownKey,
    check_value,
    known_keys,
    limits,
    parse_defaults,
)

# Keys that older versions or other modes had; users still bring them along.
OLDER_KEYS = {"half", "int8", "label_smoothing", "save_dir"}


def _constants_of_ultralytics() -> dict[str, Any]:
    """Read the tables of its cfg/__init__.py without importing it."""
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0], "cfg", "__init__.py").read_text(encoding="utf-8")
    tables = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value.args[0] if isinstance(node.value, ast.Call) and node.value.args else node.value
            if node.targets[0].id.startswith("CFG_"):
                tables[node.targets[0].id] = ast.literal_eval(value)
    return tables


def test_every_key_of_the_installed_version_is_classified_once() -> None:
    groups = [set(TRAIN_KEYS), set(AUGMENT_KEYS), set(NOT_OURS)]
    installed = set(known_keys())
    assert len(installed) > 100
    assert installed - set.union(*groups) == set(), "new in this version: put each into one of the three lists"
    assert set.union(*groups) - installed == OLDER_KEYS
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_limits_agree_with_those_of_the_installed_version() -> None:
    theirs = _constants_of_ultralytics()
    ours = {*TRAIN_KEYS, *AUGMENT_KEYS}
    assert FRACTION_KEYS == (theirs["CFG_FRACTION_KEYS"] & ours) - {"fraction"}
    for name, lowest in theirs["CFG_INT_MIN"].items():
        assert name not in ours or limits(name)[0] == lowest, name
    for name in theirs["CFG_BOOL_KEYS"] & ours:
        assert known_keys()[name].types == ("bool",)
    for name in theirs["CFG_INT_KEYS"] & ours:
        assert known_keys()[name].types == ("int",)


@pytest.mark.parametrize("name", [*TRAIN_KEYS, *AUGMENT_KEYS])
def test_every_default_is_accepted_and_nonsense_is_not(name: str) -> None:
    default = known_keys()[name].default
    assert check_value(name, default) == default
    for nonsense in ({}, float("nan"), "", object()):
        with pytest.raises(ValueError, match="should be"):
            check_value(name, nonsense)


def test_a_line_of_default_yaml() -> None:
    text = "# title\nbatch: 16 # (int | float) batch size; -1 (auto)\ntime: # (float, optional) max hours\nx: 1\n"
    assert parse_defaults(text) == {
        "batch": KnownKey("batch", 16, ("int", "float"), False, "batch size; -1 (auto)"),
        "time": KnownKey("time", None, ("float",), True, "max hours"),
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch", -1),
        ("batch", 0.7),
        ("fraction", 0.5),
        ("fraction", 20),
        ("freeze", 10),
        ("freeze", [0, 1, "23.cv2"]),
        ("scale", [0.5, 2.0]),
        ("device", "cpu"),
        ("device", [0, 1]),
        ("device", -1),
        ("device", None),
        ("cache", "ram"),
        ("amp", "bf16"),
        ("lr0", 1),
        ("mosaic", 0),
        ("degrees", 180),
        ("pretrained", "best.pt"),
        ("compile", "reduce-overhead"),
        ("save_period", -1),
        ("patience", 0),
    ],
)
def test_accepted(name: str, value: object) -> None:
    assert check_value(name, value) == value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "should be a whole number from 1"),
        ("epochs", 5.0, "should be a whole number from 1"),
        ("epochs", True, "should be a whole number from 1"),
        ("epochs", None, "should be a whole number from 1"),
        ("time", 0, "should be a number of hours above 0, or null"),
        ("batch", 0, "should be a whole number from 1, -1"),
        ("batch", -2, "should be a whole number from 1, -1"),
        ("batch", 1.5, "should be a whole number from 1, -1"),
        ("imgsz", [640, 480], "should be a single whole number from 32; training pictures are square"),
        ("imgsz", 16, "should be a single whole number from 32"),
        ("optimizer", "Lion", "should be one of auto, SGD, MuSGD"),
        ("cache", "disk", "should be one of false, true, ram .disk would write files beside your pictures"),
        ("cache", 1, "should be one of false, true, ram"),
        ("amp", "fp8", "should be one of true, false, fp16, bf16, fp32"),
        ("lr0", 1.5, "should be a number from 0 to 1"),
        ("lr0", "1e-3x", "should be a number from 0 to 1"),
        ("lr0", float("inf"), "should be a number from 0 to 1"),
        ("box", -1, "should be a number from 0"),
        ("mosaic", 1.1, "should be a number from 0 to 1"),
        ("scale", [2.0, 0.5], "should be a number from 0 to 1, or a list"),
        ("scale", [0.5], "should be a number from 0 to 1, or a list"),
        ("fraction", [0.5, 0.5], "should be a share of the training pictures"),
        ("fraction", 0, "should be a share of the training pictures"),
        ("freeze", -1, "should be a whole number of layers"),
        ("freeze", [1.5], "should be a whole number of layers"),
        ("device", [], "should be cpu, mps"),
        ("cos_lr", 0, "should be true or false"),
        ("pretrained", 3, "should be true or false or text"),
        ("channels_last", "on", "should be true or false, or null"),
        ("degrees", 200, "should be a number from 0 to 180"),
    ],
)
def test_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_value(name, value)


def test_the_usual_spelling_is_kept() -> None:
    assert check_value("optimizer", "adamw") == "AdamW"
    assert check_value("amp", "BF16") == "bf16"
    assert check_value("cache", "RAM") == "ram"
    assert check_value("scale", (0.5, 1.5)) == [0.5, 1.5]
