"""The tree of exceptions: exit codes, and that the drawing in the module's docstring is true."""

from __future__ import annotations

import inspect
import re

import pytest

from pipeline import errors
from pipeline.errors import ConfigError, TuneUpError

TREE = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, TuneUpError)}


def test_the_drawn_tree_has_every_error_with_its_exit_code() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d)", errors.__doc__ or ""))
    assert {name: str(kind.exit_code) for name, kind in TREE.items() if kind is not TuneUpError} == drawn


@pytest.mark.parametrize("name", [name for name in TREE if name != "TuneUpError"])
def test_every_error_is_a_direct_child_and_tells_what_it_means(name: str) -> None:
    assert TREE[name].__bases__ == (TuneUpError,)
    assert TREE[name].__doc__
    assert TREE[name].exit_code in {2, 3}


def test_data_that_cannot_be_read_has_an_exit_code_of_its_own() -> None:
    assert [name for name, kind in TREE.items() if kind.exit_code == 3] == ["DataError"]


def test_a_message_is_passed_on_as_it_is() -> None:
    for name, kind in TREE.items():
        if name != "ConfigError":
            assert str(kind("data/a.txt:3: class 7")) == "data/a.txt:3: class 7"


def test_a_config_error_lists_every_problem() -> None:
    one = ConfigError(["train.epoch: unknown"])
    assert str(one) == "The configuration has 1 mistake:\n  train.epoch: unknown"
    three = ConfigError(["a: x", "b: y", "c: z"])
    assert str(three).splitlines() == ["The configuration has 3 mistakes:", "  a: x", "  b: y", "  c: z"]
    assert three.problems == ("a: x", "b: y", "c: z")
