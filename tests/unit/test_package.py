"""The package from outside: quick to import, and it exports what it says."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from helpers import answer_of, run_python

import pipeline

HEAVY = {"albumentations", "cv2", "matplotlib", "numpy", "polars", "pydantic", "torch", "torchvision", "ultralytics"}


def test_importing_is_quick_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = """
import json, sys, time
started = time.perf_counter()
import pipeline
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "modules": sorted({name.split(".")[0] for name in sys.modules})}))
"""
    answers = [answer_of(run_python(code, tmp_path)) for _ in range(5)]
    assert not HEAVY & set(answers[0]["modules"])
    assert min(answer["seconds"] for answer in answers) < 0.3


def test_importing_touches_no_file(tmp_path: Path) -> None:
    process = run_python("import pipeline", tmp_path)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["home", "work"]


def test_every_exported_name_resolves_and_nothing_else_is_promised() -> None:
    assert pipeline.__all__ == sorted(pipeline.__all__)
    assert set(pipeline.__all__) == set(pipeline._HOMES)
    for name in pipeline.__all__:
        value = getattr(pipeline, name)
        assert value.__module__.startswith("pipeline.")
        assert value.__name__ == name
        assert value.__doc__
    assert set(pipeline.__all__) <= set(dir(pipeline))


def test_star_import_gives_exactly_the_exported_names(tmp_path: Path) -> None:
    code = """
import json
before = set(globals())
from pipeline import *
print(json.dumps(sorted(set(globals()) - before - {"before"})))
"""
    assert answer_of(run_python(code, tmp_path)) == sorted(pipeline.__all__)


def test_the_type_checker_sees_the_same_names() -> None:
    tree = ast.parse(Path(pipeline.__file__).read_text("utf-8"))
    imports = next(node.body for node in tree.body if isinstance(node, ast.If))  # if TYPE_CHECKING:
    homes = {name.name: node.module for node in imports if isinstance(node, ast.ImportFrom) for name in node.names}
    assert homes == pipeline._HOMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'trian'"):
        _ = pipeline.trian


def test_the_version_is_that_of_the_distribution() -> None:
    text = (Path(pipeline.__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    assert f"version = {json.dumps(pipeline.__version__)}\n" in text
